/* line.c - a protocol of lines, as a step: bytes in, bytes out, no socket.
 *
 *      in:   "E hello\nS 1 2 3\nQ\n"       letters and limits: params.h
 *      out:  "hello\n6\nbye\n"
 *
 * Rules
 *  - A request is one line.  It may arrive in any number of pieces.
 *  - The lines that have arrived are answered together, as far as `out` has
 *    room for the longest answer; what is left waits in `in`.
 *  - A line of more than LINE_LIMIT bytes is answered once, as soon as that is
 *    known, and skipped to its end.  It is never held.
 *  - Whenever the answer is WANT_RECV, `in` has room.
 */
#include "params.h"
#include "session.h"

enum {
    SKIPPING = 1, /* in s->flags: the rest of this line is not wanted */
    DIGITS = 10,  /* of one number, at most */
    ANSWER_MAX = LINE_LIMIT + 1,
};

static void answer(struct session *s, const char *text)
{
    buf_append(&s->out, text, strlen(text));
}

/* The bytes of a line behind its letter and one blank. */
static size_t text_of(const uint8_t *line, size_t len, const uint8_t **text)
{
    size_t skip = len > 1 && line[1] == ' ' ? 2 : 1;

    *text = line + skip;
    return len - skip;
}

static void do_echo(struct session *s, const uint8_t *text, size_t len)
{
    buf_append(&s->out, text, len);
    answer(s, "\n");
}

static void do_reverse(struct session *s, const uint8_t *text, size_t len)
{
    /* LAB-BEGIN */
    while (len > 0)
        buf_append(&s->out, &text[--len], 1);
    answer(s, "\n");
    /* LAB-ELSE
     * (void)text;
     * (void)len;
     * answer(s, "error unknown\n");
     */
    /* LAB-END */
}

/* LAB-BEGIN */
/* One number of at most DIGITS digits; moves *text behind it.  False: there is
 * none. */
static bool number(const uint8_t **text, const uint8_t *end, uint64_t *value)
{
    const uint8_t *begin = *text;

    *value = 0;
    while (*text < end && **text >= '0' && **text <= '9')
        *value = *value * 10 + (uint64_t)(*(*text)++ - '0');
    return *text > begin && *text - begin <= DIGITS;
}
/* LAB-END */

/* Up to LINE_NUMBERS numbers with one blank between two of them. */
static void do_sum(struct session *s, const uint8_t *text, size_t len)
{
    /* LAB-BEGIN */
    const uint8_t *end = text + len;
    uint64_t sum = 0, value;
    char digits[24], *p = digits + sizeof digits;

    for (int n = 0;; n++) {
        if (!number(&text, end, &value)) {
            answer(s, "error number\n");
            return;
        }
        if (n == LINE_NUMBERS) {
            answer(s, "error count\n");
            return;
        }
        sum += value;
        if (text == end)
            break;
        if (*text++ != ' ') {
            answer(s, "error number\n");
            return;
        }
    }
    do
        *--p = (char)('0' + sum % 10);
    while ((sum /= 10) > 0);
    buf_append(&s->out, p, (size_t)(digits + sizeof digits - p));
    answer(s, "\n");
    /* LAB-ELSE
     * (void)text;
     * (void)len;
     * answer(s, "error unknown\n");
     */
    /* LAB-END */
}

/* One whole line, without its end.  True: the connection is to be closed. */
static bool do_line(struct session *s, const uint8_t *line, size_t len)
{
    const uint8_t *text;
    size_t n;

    if (len == 0) {
        answer(s, "error unknown\n");
        return false;
    }
    n = text_of(line, len, &text);
    switch (line[0]) {
    case LINE_ECHO:
        do_echo(s, text, n);
        break;
    case LINE_REVERSE:
        do_reverse(s, text, n);
        break;
    case LINE_SUM:
        do_sum(s, text, n);
        break;
    case LINE_QUIT:
        answer(s, "bye\n");
        return true;
    default:
        answer(s, "error unknown\n");
    }
    return false;
}

/* LAB-BEGIN */
/* Takes the next line off `in`, or drops what belongs to a line that is too
 * long.  False: it is not whole yet. */
static bool next_line(struct session *s, bool *quit)
{
    struct buf *in = &s->in;
    uint8_t *begin = buf_data(in);
    size_t held = buf_len(in), len;
    uint8_t *end = memchr(begin + s->scanned, '\n', held - s->scanned);

    len = end ? (size_t)(end - begin) : held;
    if (s->flags & SKIPPING) {
        s->scanned = 0;
        if (end)
            s->flags &= (uint8_t)~SKIPPING;
        buf_consume(in, end ? len + 1 : len);
        return end != NULL;
    }
    if (len > LINE_LIMIT) {
        s->scanned = 0;
        answer(s, "error long\n");
        s->flags |= SKIPPING; /* what is held of it goes in the next round */
        return true;
    }
    s->scanned = (uint16_t)(end ? 0 : held);
    if (!end)
        return false;
    *quit = do_line(s, begin, len);
    buf_consume(in, len + 1);
    s->restarts++;
    return true;
}
/* LAB-END */

static enum want line_step(struct session *s, struct stats *st)
{
    /* LAB-BEGIN */
    uint32_t before = s->restarts;
    bool quit = s->phase;

    while (!quit && buf_len(&s->in) > 0 && buf_room(&s->out) >= ANSWER_MAX)
        if (!next_line(s, &quit))
            break;
    STAT_ADD(st, requests, s->restarts - before);
    s->phase = quit;
    if (buf_len(&s->out) > 0)
        return WANT_SEND;
    if (quit || s->eof)
        return WANT_CLOSE;
    buf_compact(&s->in);
    return WANT_RECV;
    /* LAB-ELSE
     * struct buf *in = &s->in;
     * uint8_t *end = memchr(buf_data(in), '\n', buf_len(in));
     *
     * // Right as long as one receive brings exactly one line.
     * if (end) {
     *     do_line(s, buf_data(in), (size_t)(end - buf_data(in)));
     *     buf_consume(in, buf_len(in));
     *     STAT_ADD(st, requests, 1);
     *     return WANT_SEND;
     * }
     * return s->eof ? WANT_CLOSE : WANT_RECV;
     */
    /* LAB-END */
}

/* A line that has begun counts as a request in flight. */
static bool line_in_flight(const struct session *s)
{
    return buf_len(&s->in) > 0 || buf_len(&s->out) > 0;
}

const struct proto proto_line = {
    .name = "line",
    .step = line_step,
    .in_flight = line_in_flight,
};
