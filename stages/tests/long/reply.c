/* reply.c - whether what a peer hears is what is due. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer.h"

static char why[400]; /* one thread a process */

/* ==== the header section ================================================== */

/* The value of a field in a copy that ends with it; NULL: not there. */
static const char *field(const struct peer *p, const char *name)
{
    static char value[HEAD];
    size_t n = strlen(name);

    for (const char *at = p->head; (at = strstr(at, "\r\n")) != NULL;) {
        at += 2;
        if (strncmp(at, name, n) == 0 && strncmp(at + n, ": ", 2) == 0) {
            const char *end = strstr(at, "\r\n");
            size_t len = (size_t)(end - at) - n - 2;

            memcpy(value, at + n + 2, len);
            value[len] = '\0';
            return value;
        }
    }
    return NULL;
}

static bool is_field(const struct peer *p, const char *name, const char *want)
{
    const char *got = field(p, name);

    return want ? got && strcmp(got, want) == 0 : !got;
}

static const char *wrong_length(const struct peer *p, const struct due *d)
{
    char want[24];
    const char *got = field(p, "Content-Length");

    if (d->ask == ASK_METRICS)
        return got || !is_field(p, "Transfer-Encoding", "chunked")
                   ? "an answer in chunks was due"
                   : NULL;
    snprintf(want, sizeof want, "%" PRIu64, d->length);
    if (d->ask == ASK_BAD ? got != NULL : got && strcmp(got, want) == 0)
        return NULL;
    snprintf(why, sizeof why, "Content-Length %s, %s was due",
             got ? got : "missing", want);
    return why;
}

static const char *wrong_head(struct peer *p, const struct run *run,
                              struct due *d)
{
    char want[40];
    const char *length = wrong_length(p, d);
    bool closes = is_field(p, "Connection", "close");

    snprintf(want, sizeof want, "HTTP/1.1 %d ", d->status);
    if (d->ends > p->said && d->ask != ASK_BAD)
        return "an answer to what was not yet asked";
    if (strncmp(p->head, want, strlen(want)) != 0) {
        snprintf(why, sizeof why, "'%.12s', status %d was due", p->head,
                 d->status);
        return why;
    }
    if (length)
        return length;
    if (!field(p, "Date"))
        return "no Date";
    if (d->ask == ASK_POST || d->ask == ASK_CHUNKED) {
        snprintf(want, sizeof want, "t/%016" PRIx64, d->token);
        if (!is_field(p, "Content-Type", want)) {
            const char *got = field(p, "Content-Type");

            snprintf(why, sizeof why, "the answer to %s, that to %s was due",
                     got ? got : "another request", want);
            return why;
        }
    }
    if (d->keep && !closes && !is_field(p, "Connection", "keep-alive"))
        return "no keep-alive for HTTP/1.0";
    if (d->close && !closes)
        return "no Connection: close";
    if (closes && !d->close) {
        if (mood_of(run) < DRAIN)
            return "Connection: close without a reason";
        d->close = true;
    }
    if (d->ask == ASK_BAD)
        d->size = d->length = strtoull(field(p, "Content-Length"), NULL, 10);
    return NULL;
}

/* ==== an answer's end ===================================================== */

static void answer_over(struct peer *p)
{
    struct due *d = due_first(p);

    p->part = NO_BODY;
    p->n_head = 0;
    p->body_off = 0;
    if (d->close) {
        p->over = true;
        p->n_due = 0; /* requests behind it are not looked at */
        return;
    }
    p->first = (p->first + 1) % MAX_DUE;
    p->n_due--;
    if (p->n_due == 0 && p->think > 0)
        p->ask_at = now() + p->think;
}

static void head_over(struct peer *p, const struct due *d)
{
    p->part = d->ask == ASK_METRICS ? CHUNK_LINE : BODY;
    p->n_head = 0;
    p->body_off = 0;
    if (p->part == BODY && d->size == 0)
        answer_over(p);
}

/* Takes bytes up to the blank line; *used: how many. */
static const char *take_head(struct peer *p, const struct run *run,
                             struct tally *t, const char *from, size_t n,
                             size_t *used)
{
    struct due *d = due_first(p);
    const char *no;
    size_t i = 0;

    while (i < n && p->n_head < HEAD - 1) {
        p->head[p->n_head++] = from[i++];
        if (p->n_head >= 4 &&
            memcmp(p->head + p->n_head - 4, "\r\n\r\n", 4) == 0)
            break;
    }
    *used = i;
    p->head[p->n_head] = '\0';
    if (p->n_head == HEAD - 1)
        return "a header section without end";
    if (p->n_head < 4 || memcmp(p->head + p->n_head - 4, "\r\n\r\n", 4) != 0)
        return NULL;
    if (strcmp(p->head, "HTTP/1.1 100 Continue\r\n\r\n") == 0) {
        if (!d->may_go_on)
            return "100 Continue, which nobody waits for";
        p->hold = p->hold && !d->held;
        d->may_go_on = false;
        p->n_head = 0;
        return NULL;
    }
    no = wrong_head(p, run, d);
    if (!no && d->may_go_on)
        no = "no 100 Continue before the answer";
    if (no)
        return no;
    COUNT(t, answered, 1);
    COUNT(t, works_done, d->ask == ASK_WORK || d->ask == ASK_SLEEP);
    COUNT(t, errors_got, d->status >= 400);
    head_over(p, d);
    return NULL;
}

/* ==== bodies ============================================================== */

static void due_bytes(const struct run *run, const struct due *d, uint64_t off,
                      char *to, size_t n)
{
    static const char *const texts[] = {"Hello, World!\n", "ok\n", "done\n",
                                        "404 Not Found\n",
                                        "405 Method Not Allowed\n"};
    int text = d->ask == ASK_HELLO     ? 0
               : d->ask == ASK_HEALTH  ? 1
               : d->ask == ASK_MISSING ? 3
               : d->ask == ASK_WRONG   ? 4
                                       : 2;

    if (d->ask == ASK_BYTES)
        pattern_bytes(off, to, n);
    else if (d->ask == ASK_POST || d->ask == ASK_CHUNKED || d->ask == ASK_RAW)
        token_bytes(d->token, off, to, n);
    else if (d->ask == ASK_FILE)
        token_bytes(run->file_token[d->token % N_FILES], off, to, n);
    else
        memcpy(to, texts[text] + off, n);
}

static const char *wrong_body(const struct run *run, const struct due *d,
                              uint64_t off, const char *from, size_t n)
{
    char want[4096];

    if (d->ask == ASK_BAD) /* the words are the server's, within reason */
        return d->size > 100 ? "a long body for an error" : NULL;
    while (n > 0) {
        size_t part = n < sizeof want ? n : sizeof want, i = 0;

        due_bytes(run, d, off, want, part);
        if (memcmp(want, from, part) != 0) {
            while (want[i] == from[i])
                i++;
            snprintf(why, sizeof why,
                     "byte %" PRIu64 " of a body of %" PRIu64
                     " is %02x, %02x was due",
                     off + i, d->size, (unsigned char)from[i],
                     (unsigned char)want[i]);
            return why;
        }
        off += part;
        from += part;
        n -= part;
    }
    return NULL;
}

static const char *take_body(struct peer *p, const struct run *run,
                             const char *from, size_t n, size_t *used)
{
    struct due *d = due_first(p);
    /* A stream cannot come back before it was said. */
    uint64_t left = (d->size < p->said ? d->size : p->said) - p->body_off;
    const char *no;

    if (d->ask != ASK_RAW)
        left = d->size - p->body_off;

    *used = n < left ? n : (size_t)left;
    no = wrong_body(run, d, p->body_off, from, *used);
    p->body_off += *used;
    if (!no && p->body_off == d->size && d->ask != ASK_RAW)
        answer_over(p);
    return no;
}

/* A line of /metrics is never split between chunks, nor are there blank ones;
 * its values are the judge's business. */
static const char *take_chunk(struct peer *p, const char *from, size_t n,
                              size_t *used)
{
    size_t part = n < p->body_left ? n : (size_t)p->body_left;

    if (p->part == CHUNK_DATA) {
        p->body_left -= part;
        *used = part;
        if (p->body_left == 0) {
            if (from[part - 1] != '\n')
                return "a chunk that ends within a line";
            p->part = CHUNK_END;
        }
        return NULL;
    }
    *used = 1;
    p->head[p->n_head++] = *from;
    if (*from != '\n')
        return p->n_head < 10 ? NULL : "a long chunk size";
    p->head[p->n_head] = '\0';
    p->n_head = 0;
    if (p->part != CHUNK_LINE) {
        if (strcmp(p->head, "\r\n") != 0)
            return "no CRLF behind a chunk";
        if (p->part == LAST_END)
            answer_over(p);
        else
            p->part = CHUNK_LINE;
        return NULL;
    }
    p->body_left = strtoull(p->head, NULL, 16);
    p->part = p->body_left > 0 ? CHUNK_DATA : LAST_END;
    return NULL;
}

const char *reply_take(struct peer *p, const struct run *run, struct tally *t,
                       const char *from, size_t n)
{
    while (n > 0) {
        const char *no;
        size_t used = 0;

        if (p->over || p->n_due == 0) {
            snprintf(why, sizeof why,
                     "%zu bytes that nobody asked for: '%.40s'", n, from);
            return why;
        }
        if (due_first(p)->ask == ASK_RAW)
            p->part = BODY;
        if (p->part == NO_BODY)
            no = take_head(p, run, t, from, n, &used);
        else if (p->part == BODY)
            no = take_body(p, run, from, n, &used);
        else
            no = take_chunk(p, from, n, &used);
        if (no)
            return no;
        if (used == 0)
            return "more bytes than were said";
        from += used;
        n -= used;
    }
    return NULL;
}

bool reply_partial(const struct peer *p)
{
    return p->n_head > 0 || p->part != NO_BODY;
}

void reply_settle(struct peer *p)
{
    struct due *d = due_first(p);

    if (p->n_due > 0 && d->ask == ASK_RAW && p->body_off == d->size)
        answer_over(p);
}
