/* test_http_parse.c - the request parser, over raw bytes.
 *
 * Every input is placed so that it ends at an unmapped page: a read of one byte
 * too many is a crash, not a chance.
 */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "http_cases.h"

/* ======== a place that ends where memory ends ============================ */

enum { ROOM = 128 * 1024 };

static char *edge; /* edge[-1] is the last byte that may be read */

static void map_edge(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *p = mmap(NULL, ROOM + page, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert(p != MAP_FAILED);
    cr_assert_eq(mprotect(p + ROOM, page, PROT_NONE), 0);
    edge = p + ROOM;
}

static const char *place(const void *bytes, size_t len)
{
    cr_assert(len <= ROOM);
    return memcpy(edge - len, bytes, len);
}

static int head(const void *bytes, size_t len, struct http_req *r)
{
    memset(r, 0xa5, sizeof(*r)); /* whatever is not set shows */
    return http_parse_head(place(bytes, len), len, r);
}

static int head_of(const char *bytes)
{
    struct http_req r;

    return head(bytes, strlen(bytes), &r);
}

static bool inside(struct http_str s, size_t len)
{
    return s.p >= edge - len && s.p + s.len <= edge;
}

TestSuite(http_parse, .init = map_edge);

/* ======== the table ====================================================== */

Test(http_parse, table)
{
    char text[512];
    struct http_req r;

    cr_assert_geq((int)HTTP_CASES, 150);
    for (int i = 0; i < HTTP_CASES; i++) {
        const struct http_case *c = &http_cases[i];
        int n = head(c->bytes, c->len, &r);

        describe(n, &r, text, sizeof(text));
        cr_expect_str_eq(text, c->want, "case %d %s", i, c->bytes);
        if (n <= 0)
            continue;
        cr_expect_eq((size_t)n, c->len, "case %d ends at %d", i, n);
        cr_expect(inside(r.target, c->len), "case %d", i);
        cr_expect(r.content_type.p == NULL || inside(r.content_type, c->len));
    }
}

/* What a prefix was told is what the whole is told: nothing changes but from
 * "more" to an answer, once, and for a valid request only at its last byte. */
Test(http_parse, every_split_point)
{
    struct http_req r;

    for (int i = 0; i < HTTP_CASES; i++) {
        const struct http_case *c = &http_cases[i];
        int whole = head(c->bytes, c->len, &r);
        bool settled = false;

        for (size_t len = 0; len <= c->len; len++) {
            int n = head(c->bytes, len, &r);

            settled |= n != 0;
            cr_expect_eq(n, settled ? whole : 0, "case %d at %zu", i, len);
            if (whole > 0)
                cr_expect_eq(settled, len == c->len, "case %d at %zu", i, len);
        }
    }
}

/* ... and whatever follows it makes no difference. */
Test(http_parse, bytes_behind_do_not_matter)
{
    static const char *const tails[] = {
        "\r\n", "GET / HTTP/1.1\r\n", "\n", "\x01\xff", " ", "X: y\r\n\r\n"};
    struct http_req r;
    char bytes[1024], want[512], got[512];

    for (int i = 0; i < HTTP_CASES; i++) {
        const struct http_case *c = &http_cases[i];
        int whole = head(c->bytes, c->len, &r);

        if (whole == 0)
            continue;
        describe(whole, &r, want, sizeof(want));
        for (size_t k = 0; k < sizeof(tails) / sizeof(tails[0]); k++) {
            size_t more = strlen(tails[k]);

            cr_assert(c->len + more <= sizeof(bytes));
            memcpy(bytes, c->bytes, c->len);
            memcpy(bytes + c->len, tails[k], more);
            cr_expect_eq(head(bytes, c->len + more, &r), whole, "case %d", i);
            describe(whole, &r, got, sizeof(got));
            cr_expect_str_eq(got, want, "case %d tail %zu", i, k);
        }
    }
}

/* ======== every byte value in every place ================================ */

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* The sets once more, written differently, so that a slip in the parser's
 * table is not repeated here. */
static bool in(const char *set, int c)
{
    return c != 0 && strchr(set, c);
}

static bool tchar(int c)
{
    return in(LOWER UPPER DIGITS "!#$%&'*+-.^_`|~", c);
}

static bool value_byte(int c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

static bool host_byte(int c)
{
    return in(LOWER UPPER DIGITS "-._~!$&'()*+,;=", c);
}

static int with_byte(const char *before, int c, const char *after)
{
    char bytes[256];
    struct http_req r;
    int n = snprintf(bytes, sizeof(bytes), "%s%c%s", before, c, after);

    return head(bytes, (size_t)n, &r);
}

Test(http_parse, every_byte)
{
    for (int c = 0; c < 256; c++) {
        int n = with_byte("G", c, "T / HTTP/1.1\r\nHost: a\r\n\r\n");
        /* A blank ends the method: then "T" is no target. */
        cr_expect_eq(n > 0, tchar(c), "method %d: %d", c, n);

        n = with_byte("GET /a", c, "b HTTP/1.1\r\nHost: a\r\n\r\n");
        cr_expect_eq(n > 0, (host_byte(c) || in("/:?@[]", c)), "target %d: %d",
                     c, n);

        n = with_byte("GET / HTTP/1.1\r\nHost: a", c, "b\r\n\r\n");
        cr_expect_eq(n > 0, host_byte(c), "host %d: %d", c, n);

        n = with_byte("GET / HTTP/1.1\r\nHost: a:", c, "\r\n\r\n");
        cr_expect_eq(n > 0, in(DIGITS " \t", c), "port %d: %d", c, n);

        n = with_byte("GET / HTTP/1.1\r\nHost: a\r\nX", c, "Y: b\r\n\r\n");
        cr_expect_eq(n > 0, tchar(c) || c == ':', "name %d: %d", c, n);

        n = with_byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1", c,
                      "2\r\n\r\n");
        cr_expect_eq(n > 0, in(DIGITS, c), "length %d: %d", c, n);

        n = with_byte("GET / HTTP/1", c, "1\r\nHost: a\r\n\r\n");
        cr_expect_eq(n > 0, c == '.', "version %d: %d", c, n);

        n = with_byte("GET / HTTP/", c, ".1\r\nHost: a\r\n\r\n");
        cr_expect_eq(n > 0, c == '1', "major %d: %d", c, n);
        cr_expect_eq(n == -505, in("023456789", c), "major %d: %d", c, n);

        n = with_byte("GET / HTTP/1.", c, "\r\nHost: a\r\n\r\n");
        cr_expect_eq(n > 0, in(DIGITS, c), "minor %d: %d", c, n);
    }
}

/* Values are scanned in words: the odd byte sits at each offset of one. */
Test(http_parse, every_value_byte_at_every_offset)
{
    static const char dots[] = ".....................";

    for (int c = 0; c < 256; c++) {
        for (int at = 0; at < 20; at++) {
            char before[80];
            int n;

            snprintf(before, sizeof(before),
                     "GET / HTTP/1.1\r\nHost: a\r\nX: %.*s", at, dots);
            n = with_byte(before, c, ".........\r\n\r\n");
            cr_expect_eq(n > 0, value_byte(c), "byte %d at %d", c, at);
            n = with_byte(before, c, "\r\n\r\n");
            /* A CR here doubles the one that follows. */
            cr_expect_eq(n > 0, value_byte(c), "byte %d at %d", c, at);
        }
    }
}

/* ======== limits ========================================================= */

/* "GET /aaa... HTTP/1.1" with a target of len bytes. */
static size_t long_target(char *dst, size_t len)
{
    static const char end[] = " HTTP/1.1\r\nHost: a\r\n\r\n";

    memcpy(dst, "GET /", 5);
    memset(dst + 5, 'a', len - 1);
    memcpy(dst + 4 + len, end, sizeof(end) - 1);
    return 4 + len + sizeof(end) - 1;
}

Test(http_parse, target_limit)
{
    static char bytes[ROOM];
    size_t max = HTTP_MAX_TARGET, len = long_target(bytes, max);
    struct http_req r;

    cr_expect_eq(head(bytes, len, &r), (int)len);
    cr_expect_eq(r.target.len, max);
    cr_expect_eq(head(bytes, 4 + max, &r), 0); /* its end is still to come */

    len = long_target(bytes, max + 1);
    cr_expect_eq(head(bytes, len, &r), -414);
    cr_expect_eq(head(bytes, 4 + max, &r), 0);
    /* Too long is too long, whatever would have come next. */
    cr_expect_eq(head(bytes, 4 + max + 1, &r), -414);
    bytes[4 + max + 1] = '\0';
    cr_expect_eq(head(bytes, len, &r), -414);
    bytes[4 + max] = '\0';
    cr_expect_eq(head(bytes, len, &r), -400);

    len = long_target(bytes, 20000);
    cr_expect_eq(head(bytes, len, &r), -414);
}

/* The query counts: the limit is on what was sent. */
Test(http_parse, target_limit_counts_the_query)
{
    static char bytes[ROOM];
    size_t len = long_target(bytes, HTTP_MAX_TARGET);
    struct http_req r;

    bytes[6] = '?';
    cr_expect_eq(head(bytes, len, &r), (int)len);
    cr_expect_eq(r.target.len, 2u);
    len = long_target(bytes, HTTP_MAX_TARGET + 1);
    bytes[6] = '?';
    cr_expect_eq(head(bytes, len, &r), -414);
}

/* A section of exactly len bytes, filled up by one long value. */
static void section_of(char *dst, size_t len)
{
    static const char before[] = "GET / HTTP/1.1\r\nHost: a\r\nX: ";

    memset(dst, 'x', len);
    memcpy(dst, before, sizeof(before) - 1);
    memcpy(dst + len - 4, "\r\n\r\n", 4);
}

Test(http_parse, section_limit)
{
    static char bytes[ROOM];
    size_t max = HTTP_MAX_HEAD;
    struct http_req r;

    section_of(bytes, 15 * 1024);
    cr_expect_eq(head(bytes, 15 * 1024, &r), 15 * 1024);
    section_of(bytes, max);
    cr_expect_eq(head(bytes, max, &r), (int)max);
    cr_expect_eq(head(bytes, max - 1, &r), 0);

    for (size_t over = 1; over <= 5; over++) {
        section_of(bytes, max + over);
        cr_expect_eq(head(bytes, max - 1, &r), 0);
        cr_expect_eq(head(bytes, max, &r), -431);
        cr_expect_eq(head(bytes, max + over, &r), -431);
    }
    section_of(bytes, 100000);
    cr_expect_eq(head(bytes, 100000, &r), -431);
    /* Nothing behind the limit is looked at. */
    bytes[max] = '\0';
    cr_expect_eq(head(bytes, 100000, &r), -431);
    bytes[max - 1] = '\0';
    cr_expect_eq(head(bytes, 100000, &r), -400);
}

/* A method or a name that never ends meets the same limit. */
Test(http_parse, section_limit_in_any_part)
{
    static char bytes[ROOM];
    struct http_req r;

    memset(bytes, 'M', sizeof(bytes));
    cr_expect_eq(head(bytes, HTTP_MAX_HEAD - 1, &r), 0);
    cr_expect_eq(head(bytes, HTTP_MAX_HEAD, &r), -431);
    memcpy(bytes, "GET / HTTP/1.1\r\n", 16);
    cr_expect_eq(head(bytes, HTTP_MAX_HEAD - 1, &r), 0);
    cr_expect_eq(head(bytes, HTTP_MAX_HEAD, &r), -431);
}

static size_t many_fields(char *dst, int n)
{
    char *p = dst + sprintf(dst, "GET / HTTP/1.1\r\nHost: a\r\n");

    for (int i = 1; i < n; i++)
        p += sprintf(p, "X-%d: %d\r\n", i, i);
    return (size_t)(p + sprintf(p, "\r\n") - dst);
}

Test(http_parse, number_of_fields)
{
    static char bytes[ROOM];
    struct http_req r;
    size_t len = many_fields(bytes, 65);

    cr_expect_eq(head(bytes, len, &r), (int)len);
    len = many_fields(bytes, HTTP_MAX_FIELDS);
    cr_expect_eq(head(bytes, len, &r), (int)len);
    len = many_fields(bytes, HTTP_MAX_FIELDS + 1);
    cr_expect_eq(head(bytes, len, &r), -431);
}

/* The odd field is found wherever it stands among many. */
Test(http_parse, fields_that_matter_are_found_anywhere)
{
    char bytes[4096];

    for (int at = 0; at <= 70; at++) {
        char *p = bytes + sprintf(bytes, "GET / HTTP/1.1\r\n");

        for (int i = 0; i <= 70; i++)
            p += sprintf(p, i == at ? "Content-Length: x\r\n" : "X: y\r\n");
        sprintf(p, "Host: a\r\n\r\n");
        cr_expect_eq(head_of(bytes), -400, "at %d", at);
    }
}

/* Slices point at the bytes themselves. */
Test(http_parse, slices)
{
    static const char bytes[] = "GET http://b/c%20d?e HTTP/1.1\r\nHost: a\r\n"
                                "Content-Type: \t a/b; c \r\n\r\n";
    struct http_req r;
    size_t len = sizeof(bytes) - 1;

    cr_assert_eq(head(bytes, len, &r), (int)len);
    cr_expect_eq(r.target.p, edge - len + 12);
    cr_expect_eq(r.target.len, 6u);
    cr_expect_eq(r.content_type.len, 6u);
    cr_expect_eq(memcmp(r.content_type.p, "a/b; c", 6), 0);
}

/* ======== chunks ========================================================= */

enum { MORE = 0, ALL = 1 }; /* of the table: ALL of the bytes were used */

struct piece {
    const char *bytes;
    size_t len;
    int want;
    uint64_t size;
};

#define CHUNK(raw, want, size)                                                 \
    {                                                                          \
        raw, sizeof(raw) - 1, want, size                                       \
    }

static const struct piece chunks[] = {
    CHUNK("0\r\n", ALL, 0),
    CHUNK("5\r\n", ALL, 5),
    CHUNK("1a\r\n", ALL, 0x1a),
    CHUNK("1A\r\n", ALL, 0x1a),
    CHUNK("fF\r\n", ALL, 0xff),
    CHUNK("123456789\r\n", ALL, 0x123456789),
    CHUNK("abcdef\r\n", ALL, 0xabcdef),
    CHUNK("ABCDEF\r\n", ALL, 0xabcdef),
    CHUNK("0005\r\n", ALL, 5),
    CHUNK("00000000000000000000000000000005\r\n", ALL, 5),
    CHUNK("7fffffffffffffff\r\n", ALL, INT64_MAX),
    CHUNK("5;a\r\n", ALL, 5),
    CHUNK("5;a=b\r\n", ALL, 5),
    CHUNK("5;a=\"b c\";d\r\n", ALL, 5),
    CHUNK("5 ;a\r\n", ALL, 5),
    CHUNK("5\t; a\r\n", ALL, 5),
    CHUNK("5;\xff\r\n", ALL, 5),
    CHUNK("8000000000000000\r\n", -400, 0),
    CHUNK("ffffffffffffffff\r\n", -400, 0),
    CHUNK("10000000000000000\r\n", -400, 0),
    CHUNK("10000000000000005\r\n", -400, 0),
    CHUNK("fffffffffffffffffffff\r\n", -400, 0),
    CHUNK("\r\n", -400, 0),
    CHUNK("\n", -400, 0),
    CHUNK("5\n", -400, 0),
    CHUNK("5\r5\r\n", -400, 0),
    CHUNK("5\r\r\n", -400, 0),
    CHUNK("5 \r\n", -400, 0),
    CHUNK("5\t\r\n", -400, 0),
    CHUNK(" 5\r\n", -400, 0),
    CHUNK("5 5\r\n", -400, 0),
    CHUNK("-5\r\n", -400, 0),
    CHUNK("+5\r\n", -400, 0),
    CHUNK("0x5\r\n", -400, 0),
    CHUNK("5h\r\n", -400, 0),
    CHUNK("g\r\n", -400, 0),
    CHUNK("5,\r\n", -400, 0),
    CHUNK("5.\r\n", -400, 0),
    CHUNK("\0"
          "5\r\n",
          -400, 0),
    CHUNK("5\0\r\n", -400, 0),
    CHUNK(";a\r\n", -400, 0),
    CHUNK(" ;a\r\n", -400, 0),
    CHUNK("5;a\n", -400, 0),
    CHUNK("5;a\rb\r\n", -400, 0),
    CHUNK("5;a=\"\n\"\r\n", -400, 0),
    CHUNK("5;a\0\r\n", -400, 0),
    CHUNK("5;a\x7f\r\n", -400, 0),
    CHUNK("", MORE, 0),
    CHUNK("5", MORE, 0),
    CHUNK("5\r", MORE, 0),
    CHUNK("5 ", MORE, 0),
    CHUNK("5;", MORE, 0),
    CHUNK("5;a", MORE, 0),
};

static int chunk(const char *bytes, size_t len, uint64_t *size)
{
    return http_parse_chunk(place(bytes, len), len, size);
}

Test(http_parse, chunk_sizes)
{
    for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
        const struct piece *c = &chunks[i];
        uint64_t size = 77;
        int whole = c->want == ALL ? (int)c->len : c->want;
        bool settled = false;
        char more[64];

        cr_expect_eq(chunk(c->bytes, c->len, &size), whole, "%zu", i);
        if (c->want == ALL)
            cr_expect_eq(size, c->size, "%zu", i);
        for (size_t len = 0; len <= c->len; len++) {
            int n = chunk(c->bytes, len, &size);

            settled |= n != 0;
            cr_expect_eq(n, settled ? whole : 0, "%zu at %zu", i, len);
            cr_expect(c->want != ALL || settled == (len == c->len));
        }
        if (whole == 0)
            continue;
        memcpy(more, c->bytes, c->len);
        memcpy(more + c->len, "5\r\nx", 4);
        cr_expect_eq(chunk(more, c->len + 4, &size), whole, "%zu", i);
    }
}

Test(http_parse, every_byte_of_a_chunk_line)
{
    for (int c = 0; c < 256; c++) {
        char bytes[16] = {'1', (char)c, '\r', '\n'};
        uint64_t size;

        cr_expect_eq(chunk(bytes, 4, &size) == 4, in(DIGITS "abcdefABCDEF;", c),
                     "byte %d", c);
        memcpy(bytes, "1;aaaaaaa", 9);
        bytes[9] = (char)c;
        memcpy(bytes + 10, "\r\n", 2);
        cr_expect_eq(chunk(bytes, 12, &size) == 12, value_byte(c), "%d", c);
    }
}

Test(http_parse, chunk_line_limit)
{
    static char bytes[2 * HTTP_MAX_CHUNK_LINE];
    size_t max = HTTP_MAX_CHUNK_LINE;
    uint64_t size;

    memset(bytes, 'x', sizeof(bytes));
    memcpy(bytes, "5;", 2);
    cr_expect_eq(chunk(bytes, max - 1, &size), 0);
    cr_expect_eq(chunk(bytes, max, &size), -400);
    cr_expect_eq(chunk(bytes, max + 1, &size), -400);
    memcpy(bytes + max - 1, "\r\n", 2);
    cr_expect_eq(chunk(bytes, max + 1, &size), -400);
    memcpy(bytes + max - 2, "\r\n", 2);
    cr_expect_eq(chunk(bytes, max, &size), (int)max);
    cr_expect_eq(size, 5u);
    memset(bytes, '0', sizeof(bytes));
    cr_expect_eq(chunk(bytes, max, &size), -400);
}

/* ======== trailers ======================================================= */

static const struct piece trailers[] = {
    CHUNK("\r\n", ALL, 0),
    CHUNK("X: y\r\n\r\n", ALL, 0),
    CHUNK("X:\r\nY: \x80\t\r\n\r\n", ALL, 0),
    CHUNK("Host: a\r\nExpect: magic\r\nConnection: close\r\n\r\n", ALL, 0),
    CHUNK("Host: a b\r\n\r\n", -400, 0),
    CHUNK("Content-Length: 5\r\n\r\n", -400, 0),
    CHUNK("Content-Length: 0\r\n\r\n", -400, 0),
    CHUNK("Content-Length: x\r\n\r\n", -400, 0),
    CHUNK("X: y\r\nTransfer-Encoding: chunked\r\n\r\n", -400, 0),
    CHUNK("", MORE, 0),
    CHUNK("\r", MORE, 0),
    CHUNK("X", MORE, 0),
    CHUNK("X: y\r\n", MORE, 0),
    CHUNK("\n", -400, 0),
    CHUNK("\r\r\n", -400, 0),
    CHUNK("X\r\n\r\n", -400, 0),
    CHUNK("X : y\r\n\r\n", -400, 0),
    CHUNK(": y\r\n\r\n", -400, 0),
    CHUNK(" X: y\r\n\r\n", -400, 0),
    CHUNK("X: y\n\r\n", -400, 0),
    CHUNK("X: y\r\n\n", -400, 0),
    CHUNK("X: y\r\n z\r\n\r\n", -400, 0),
    CHUNK("X: y\rz\r\n\r\n", -400, 0),
    CHUNK("X: y\0\r\n\r\n", -400, 0),
    CHUNK("X: y\x7f\r\n\r\n", -400, 0),
    CHUNK("X\0: y\r\n\r\n", -400, 0),
    CHUNK("0\r\n\r\n", -400, 0),
};

Test(http_parse, trailers)
{
    for (size_t i = 0; i < sizeof(trailers) / sizeof(trailers[0]); i++) {
        const struct piece *t = &trailers[i];
        int whole = t->want == ALL ? (int)t->len : t->want;
        bool settled = false;

        for (size_t len = 0; len <= t->len; len++) {
            int n = http_parse_trailers(place(t->bytes, len), len);

            settled |= n != 0;
            cr_expect_eq(n, settled ? whole : 0, "%zu at %zu", i, len);
            cr_expect(t->want != ALL || settled == (len == t->len));
        }
        cr_expect_eq(settled, whole != 0, "%zu", i);
    }
}

Test(http_parse, trailer_limits)
{
    static char bytes[ROOM];
    size_t max = HTTP_MAX_HEAD, len = 0;

    memset(bytes, 'x', sizeof(bytes));
    memcpy(bytes, "X: ", 3);
    cr_expect_eq(http_parse_trailers(place(bytes, max - 1), max - 1), 0);
    cr_expect_eq(http_parse_trailers(place(bytes, max), max), -431);
    memcpy(bytes + max - 4, "\r\n\r\n", 4);
    cr_expect_eq(http_parse_trailers(place(bytes, max), max), (int)max);

    for (int i = 0; i < HTTP_MAX_FIELDS; i++)
        len += (size_t)sprintf(bytes + len, "X: y\r\n");
    memcpy(bytes + len, "\r\n", 2);
    cr_expect_eq(http_parse_trailers(place(bytes, len + 2), len + 2),
                 (int)len + 2);
    memcpy(bytes + len, "Z: y\r\n\r\n", 8);
    cr_expect_eq(http_parse_trailers(place(bytes, len + 8), len + 8), -431);
}

/* ======== percent-decoding =============================================== */

static int decode(const char *src, size_t len, char *dst, size_t cap)
{
    struct http_str s = {place(src, len), len};

    return http_decode(s, dst, cap);
}

Test(http_parse, decode)
{
    static const struct {
        const char *src, *want; /* NULL: refused */
    } cases[] = {
        {"", ""},
        {"/", "/"},
        {"/a%20b", "/a b"},
        {"%2e%2E/", "../"},
        {"%41%5a%7A", "AZz"},
        {"%252e", "%2e"}, /* once, never twice */
        {"%ff%80", "\xff\x80"},
        {"a+b", "a+b"},
        {"%01", "\x01"},
        {"%00", NULL},
        {"a%00b", NULL},
        {"%", NULL},
        {"%4", NULL},
        {"a%4", NULL},
        {"%4g", NULL},
        {"%g4", NULL},
        {"%%41", NULL},
        {"% 41", NULL},
        {"%-1", NULL},
        {"%0x41", NULL},
    };
    char dst[64];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *want = cases[i].want;
        int n = decode(cases[i].src, strlen(cases[i].src), dst, sizeof(dst));

        cr_expect_eq(n, want != NULL ? (int)strlen(want) : -1, "%zu", i);
        if (want != NULL)
            cr_expect_eq(memcmp(dst, want, strlen(want)), 0, "%zu", i);
    }
    cr_expect_eq(decode("a\0b", 3, dst, sizeof(dst)), -1);
}

Test(http_parse, decode_every_escape)
{
    for (int c = 0; c < 256; c++) {
        char src[8], dst[1];

        snprintf(src, sizeof(src), c % 2 ? "%%%02x" : "%%%02X", c);
        cr_expect_eq(decode(src, 3, dst, 1), c == 0 ? -1 : 1, "%s", src);
        cr_expect(c == 0 || dst[0] == (char)c, "%s", src);
    }
}

Test(http_parse, decode_stays_within_its_room)
{
    char dst[8] = "........";

    cr_expect_eq(decode("abcd", 4, dst, 4), 4);
    cr_expect_eq(dst[4], '.');
    cr_expect_eq(decode("abcde", 5, dst, 4), -1);
    cr_expect_eq(dst[4], '.');
    cr_expect_eq(decode("%61%62%63%64", 12, dst, 4), 4);
    cr_expect_eq(decode("%61%62%63%64%65", 15, dst, 4), -1);
    cr_expect_eq(dst[4], '.');
    cr_expect_eq(decode("", 0, dst, 0), 0);
    cr_expect_eq(decode("a", 1, dst, 0), -1);
}
