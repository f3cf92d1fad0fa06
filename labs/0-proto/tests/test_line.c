/* test_line.c - lab 0: the line protocol, bytes only.
 *
 * A small engine without a socket feeds a session and writes down what it says.
 * The window `in` ends at a page that cannot be read, so that one byte too far
 * is seen at once.
 */
#include <criterion/criterion.h>
#include <sys/mman.h>
#include <unistd.h>

#include "params.h"
#include "session.h"

extern const struct proto proto_line;

enum { WINDOW = 4096, SAID = 1 << 16, TURNS = 100000 };

static struct {
    struct app app;
    struct cancel stop;
    struct stats stats;
    struct session s;
    uint8_t *in; /* WINDOW bytes, then a page that cannot be touched */
    uint8_t out[WINDOW];
    size_t out_size;
    char said[SAID];
    size_t len;
    unsigned sends;
    bool closed;
} t;

static void begin(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *memory = mmap(NULL, WINDOW + page, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert(memory != MAP_FAILED);
    cr_assert(mprotect(memory + WINDOW, page, PROT_NONE) == 0);
    memset(&t.app, 0, sizeof t.app);
    t.app.proto = &proto_line;
    t.app.cancel = &t.stop;
    t.app.root_fd = -1;
    t.in = memory;
    t.out_size = WINDOW;
    session_init(&t.s, &t.app);
    buf_lend(&t.s.in, t.in, WINDOW);
    buf_lend(&t.s.out, t.out, t.out_size);
}

/* Steps until the session wants bytes or an end. */
static void run(void)
{
    for (int turn = 0; turn < TURNS; turn++) {
        switch (session_step(&t.s, &t.stats)) {
        case WANT_SEND:
            cr_assert(buf_len(&t.s.out) > 0, "WANT_SEND, but nothing to send");
            cr_assert(t.len + buf_len(&t.s.out) <= SAID, "endless output");
            memcpy(t.said + t.len, buf_data(&t.s.out), buf_len(&t.s.out));
            t.len += buf_len(&t.s.out);
            buf_consume(&t.s.out, buf_len(&t.s.out));
            t.sends++;
            break;
        case WANT_RECV:
            cr_assert(!t.s.eof, "wants bytes after the end");
            cr_assert(buf_room(&t.s.in) > 0,
                      "wants bytes, but `in` has no room: %zu held of %d",
                      buf_len(&t.s.in), WINDOW);
            return;
        case WANT_CLOSE:
            t.closed = true;
            return;
        default:
            cr_assert_fail("this protocol has neither files nor work");
        }
    }
    cr_assert_fail("%d steps without an end", TURNS);
}

static void feed(const char *bytes, size_t n)
{
    while (n > 0 && !t.closed) {
        size_t room = buf_room(&t.s.in), piece = n < room ? n : room;

        buf_append(&t.s.in, bytes, piece);
        bytes += piece;
        n -= piece;
        run();
    }
}

static void feed_text(const char *text)
{
    feed(text, strlen(text));
}

static void end(void)
{
    t.s.eof = true;
    if (!t.closed)
        run();
    cr_assert(t.closed, "the peer has ended, and the session does not close");
}

/* Some bytes around a place, as C would write them. */
static const char *shown(const char *bytes, size_t n, size_t at)
{
    static char text[2][256];
    static int next;
    char *p = text[next++ % 2], *begin = p;

    for (size_t i = at > 20 ? at - 20 : 0; i < n && p < begin + 200; i++)
        if (bytes[i] == '\n')
            p += sprintf(p, "\\n");
        else if (bytes[i] < ' ' || bytes[i] > '~')
            p += sprintf(p, "\\x%02x", (unsigned char)bytes[i]);
        else
            *p++ = bytes[i];
    *p = '\0';
    return begin;
}

static void expect(const char *wanted, size_t n)
{
    size_t same = 0;

    while (same < n && same < t.len && t.said[same] == wanted[same])
        same++;
    cr_assert(t.len == n && same == n,
              "expected %zu bytes, got %zu; the first difference is at %zu:\n"
              "  expected \"%s\"\n  got      \"%s\"",
              n, t.len, same, shown(wanted, n, same),
              shown(t.said, t.len, same));
}

static void expect_text(const char *wanted)
{
    expect(wanted, strlen(wanted));
}

static char *line(char letter, const char *text)
{
    static char lines[8][LINE_LIMIT + 64];
    static int next;
    char *l = lines[next++ % 8];

    snprintf(l, sizeof lines[0], "%c %s\n", letter, text);
    return l;
}

/* A conversation with every kind of line in it, and its answers. */
static const char *talk(const char **answers)
{
    static char text[4096], said[4096];

    snprintf(text, sizeof text, "%s%s%s%s%s", line(LINE_ECHO, "hello, world"),
             line(LINE_REVERSE, "abc"), line(LINE_SUM, "1 2 3"), "\n",
             line(LINE_ECHO, "last"));
    snprintf(said, sizeof said, "hello, world\ncba\n6\nerror unknown\nlast\n");
    *answers = said;
    return text;
}

/* ---- step 1: one line ---- */

Test(step1, echo, .init = begin)
{
    feed_text(line(LINE_ECHO, "hello"));
    expect_text("hello\n");
    cr_expect(!t.closed);
}

Test(step1, reverse, .init = begin)
{
    feed_text(line(LINE_REVERSE, "stressed desserts!"));
    expect_text("!stressed desserts\n");
}

Test(step1, sum, .init = begin)
{
    char numbers[256] = "", wanted[64];

    feed_text(line(LINE_SUM, "7"));
    feed_text(line(LINE_SUM, "1 20 300 0"));
    for (int i = 0; i < LINE_NUMBERS; i++)
        strcat(numbers, i ? " 9999999999" : "9999999999");
    feed_text(line(LINE_SUM, numbers));
    snprintf(wanted, sizeof wanted, "7\n321\n%llu\n",
             9999999999ULL * LINE_NUMBERS);
    expect_text(wanted);
}

Test(step1, bad_numbers, .init = begin)
{
    static const char *bad[] = {"",       "x",           "1  2", "-1",
                                "1 2x 3", "12345678901", "1 ",   " 1"};
    char numbers[256] = "";

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        t.len = 0;
        feed_text(line(LINE_SUM, bad[i]));
        expect_text("error number\n");
    }
    for (int i = 0; i < LINE_NUMBERS + 1; i++)
        strcat(numbers, i ? " 1" : "1");
    t.len = 0;
    feed_text(line(LINE_SUM, numbers));
    expect_text("error count\n");
}

Test(step1, quit, .init = begin)
{
    char text[64];

    snprintf(text, sizeof text, "%c\n%s", LINE_QUIT, line(LINE_ECHO, "no"));
    feed_text(text);
    expect_text("bye\n");
    cr_assert(t.closed, "said bye and stays open");
}

/* ---- step 2: pieces ---- */

Test(step2, every_split, .init = begin)
{
    const char *answers, *text = talk(&answers);
    size_t n = strlen(text);

    for (size_t cut = 1; cut < n; cut++) {
        t.len = 0;
        feed(text, cut);
        feed(text + cut, n - cut);
        expect_text(answers);
    }
}

Test(step2, bytes, .init = begin)
{
    const char *answers, *text = talk(&answers);

    for (size_t i = 0; i < strlen(text); i++)
        feed(text + i, 1);
    expect_text(answers);
}

Test(step2, half_a_line_at_the_end, .init = begin)
{
    char text[128];

    snprintf(text, sizeof text, "%s%c half", line(LINE_ECHO, "whole"),
             LINE_ECHO);
    feed_text(text);
    end();
    expect_text("whole\n");
}

/* ---- step 3: many lines ---- */

Test(step3, pipeline, .init = begin)
{
    const char *answers, *text = talk(&answers);

    feed_text(text);
    expect_text(answers);
    cr_assert_eq(t.sends, 1, "%u sends for lines that came together", t.sends);
}

Test(step3, out_is_full, .init = begin)
{
    char text[WINDOW], wanted[WINDOW];
    size_t n = 0, m = 0, wide = LINE_LIMIT / 2;

    while (n + wide + 3 < sizeof text) {
        text[n++] = LINE_ECHO;
        text[n++] = ' ';
        memset(text + n, 'a' + (int)(m % 26), wide);
        memset(wanted + m, 'a' + (int)(m % 26), wide);
        n += wide;
        m += wide;
        text[n++] = wanted[m++] = '\n';
    }
    /* As little room as the seam ever gives. */
    t.s.out = (struct buf){0};
    buf_lend(&t.s.out, t.out, SESSION_OUT_MIN);
    feed(text, n);
    expect(wanted, m);
}

Test(step3, window_end, .init = begin)
{
    enum { N = LINE_LIMIT / 3, HALF = N / 2 };
    char whole[N], piece[N];
    size_t lines = 0;

    memset(whole, 'x', N);
    whole[0] = LINE_ECHO;
    whole[1] = ' ';
    whole[N - 1] = '\n';
    /* The end of a line and half of the next, so that `in` is never empty. */
    memcpy(piece, whole + HALF, N - HALF);
    memcpy(piece + N - HALF, whole, HALF);
    feed(whole, HALF);
    for (; lines < 3 * WINDOW / N; lines++)
        feed(piece, N);
    cr_assert_eq(t.len, lines * (N - 2), "%zu bytes of answers to %zu lines",
                 t.len, lines);
}

/* ---- step 4: limits ---- */

Test(step4, limit, .init = begin)
{
    char text[LINE_LIMIT + 16], wanted[2 * LINE_LIMIT];
    int n;

    memset(text, 'y', sizeof text);
    text[0] = LINE_ECHO;
    text[1] = ' ';
    text[LINE_LIMIT] = '\n';
    feed(text, LINE_LIMIT + 1);
    text[LINE_LIMIT] = 'y';
    text[LINE_LIMIT + 1] = '\n';
    feed(text, LINE_LIMIT + 2);
    feed_text(line(LINE_ECHO, "next"));
    memset(wanted, 'y', sizeof wanted);
    n = LINE_LIMIT - 2;
    n +=
        snprintf(wanted + n, sizeof wanted - (size_t)n, "\nerror long\nnext\n");
    expect(wanted, (size_t)n);
}

Test(step4, endless_line, .init = begin)
{
    char block[1000];

    memset(block, LINE_ECHO, sizeof block);
    for (int i = 0; i < 100; i++)
        feed(block, sizeof block);
    expect_text("error long\n");
    cr_assert(buf_len(&t.s.in) <= LINE_LIMIT + 1,
              "%zu bytes of a refused line are held", buf_len(&t.s.in));
    feed_text("\n");
    feed_text(line(LINE_ECHO, "after"));
    expect_text("error long\nafter\n");
}
