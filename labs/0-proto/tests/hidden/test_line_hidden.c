/* test_line_hidden.c - lab 0: what no student has seen.
 *
 * Two connections at the same time: what is remembered of one must not be known
 * to the other.  And text of any bytes: a line ends at '\n', not at 0.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "params.h"
#include "session.h"

extern const struct proto proto_line;

enum { WINDOW = 4096, TURNS = 1000 };

struct peer {
    struct session s;
    uint8_t in[WINDOW], out[WINDOW];
    char heard[WINDOW];
    size_t len;
};

static struct app app;
static struct cancel stop;
static struct stats stats;

static void peer_open(struct peer *p)
{
    app = (struct app){.proto = &proto_line, .cancel = &stop, .root_fd = -1};
    p->len = 0;
    session_init(&p->s, &app);
    buf_lend(&p->s.in, p->in, WINDOW);
    buf_lend(&p->s.out, p->out, WINDOW);
}

/* Says these bytes, and hears what is answered at once. */
static void peer_says(struct peer *p, const char *bytes, size_t n)
{
    struct buf *out = &p->s.out;

    cr_assert(buf_room(&p->s.in) >= n);
    buf_append(&p->s.in, bytes, n);
    for (int turn = 0; turn < TURNS; turn++) {
        if (session_step(&p->s, &stats) != WANT_SEND)
            return;
        cr_assert(p->len + buf_len(out) <= WINDOW, "endless output");
        memcpy(p->heard + p->len, buf_data(out), buf_len(out));
        p->len += buf_len(out);
        buf_consume(out, buf_len(out));
    }
    cr_assert_fail("%d steps without an end", TURNS);
}

static void peer_heard(const struct peer *p, const char *name,
                       const char *wanted, size_t n)
{
    cr_assert(p->len == n && memcmp(p->heard, wanted, n) == 0,
              "%s heard %zu bytes \"%.*s\"\n  expected %zu bytes \"%.*s\"",
              name, p->len, (int)p->len, p->heard, n, (int)n, wanted);
}

/* One is in the middle of a line that is too long, and the other of a short
 * one; then the second closes, and the first goes on. */
Test(hidden, two_connections)
{
    static struct peer one, two;
    static char text[LINE_LIMIT + 16], line[64];
    int n;

    peer_open(&one);
    peer_open(&two);
    memset(text, LINE_ECHO, sizeof text);
    n = snprintf(line, sizeof line, "%c first half", LINE_ECHO);
    peer_says(&two, line, (size_t)n);
    peer_says(&one, text, sizeof text);
    n = snprintf(line, sizeof line, ", second\n%c\n", LINE_QUIT);
    peer_says(&two, line, (size_t)n);
    n = snprintf(line, sizeof line, "\n%c next\n", LINE_ECHO);
    peer_says(&one, line, (size_t)n);
    peer_heard(&two, "the second", "first half, second\nbye\n", 23);
    peer_heard(&one, "the first", "error long\nnext\n", 16);
}

Test(hidden, any_byte)
{
    static struct peer p;
    char text[260], wanted[520];
    size_t n = 0, m = 0;

    peer_open(&p);
    for (int byte = 0; byte < 256; byte++)
        if (byte != '\n')
            text[2 + n++] = (char)byte;
    text[0] = LINE_ECHO;
    text[1] = ' ';
    text[2 + n] = '\n';
    peer_says(&p, text, n + 3);
    text[0] = LINE_REVERSE;
    peer_says(&p, text, n + 3);
    memcpy(wanted, text + 2, n + 1);
    m = n + 1;
    while (n > 0)
        wanted[m++] = text[2 + --n];
    wanted[m++] = '\n';
    cr_assert(p.len == m && memcmp(p.heard, wanted, m) == 0,
              "of lines that hold every byte but '\\n', %zu bytes came back, "
              "expected %zu, or others",
              p.len, m);
}
