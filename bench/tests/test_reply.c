/* test_reply.c - the checker, by bytes: what it lets pass and what it names. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "reply.h"

#define OK_HEAD "HTTP/1.1 200 OK\r\n"

static const char hello[] = "Hello, World!\n";

static struct expect want_hello(void)
{
    return (struct expect){.body = BODY_TEXT,
                           .status = 200,
                           .text = hello,
                           .len = sizeof(hello) - 1};
}

static const char *verdict_name(enum verdict v)
{
    static const char *const names[] = {"more",   "ok",    "status",
                                        "length", "bytes", "malformed"};

    return names[v];
}

/* Feeds text in pieces of `step` bytes; the verdict at the first end, and in
 * *used how many bytes it took.  At the end of the text, EOF. */
static enum verdict feed(const char *text, size_t len, size_t step,
                         const struct expect *e, size_t *used)
{
    struct reply r = {0};
    struct head_cache cache = {0};
    enum verdict v = REPLY_MORE;
    size_t at = 0;

    while (at < len && v == REPLY_MORE) {
        size_t part = len - at < step ? len - at : step, took;
        char *copy = malloc(part); /* so that reading behind it shows */

        memcpy(copy, text + at, part);
        took = reply_feed(&r, &cache, e, copy, part, &v);
        cr_assert(took <= part);
        cr_assert(v != REPLY_MORE || took == part);
        at += took;
        free(copy);
    }
    if (v == REPLY_MORE)
        v = reply_eof(&r, e);
    reply_free(&r);
    *used = at;
    return v;
}

struct reply_case {
    const char *name, *text;
    enum verdict verdict;
};

/* What a reply to `GET /` may look like, and may not. */
static const struct reply_case cases[] = {
    {"plain", OK_HEAD "Content-Length: 14\r\n\r\nHello, World!\n", REPLY_OK},
    {"no reason", "HTTP/1.1 200\r\nContent-Length: 14\r\n\r\nHello, World!\n",
     REPLY_OK},
    {"name in any case",
     OK_HEAD "Date: x\r\ncontent-LENGTH:14\r\n\r\nHello, World!\n", REPLY_OK},
    {"same length twice",
     OK_HEAD "Content-Length: 14\r\nContent-Length: 14\r\n\r\nHello, World!\n",
     REPLY_OK},
    {"one chunk",
     OK_HEAD "Transfer-Encoding: chunked\r\n\r\ne\r\nHello, World!\n\r\n0\r\n"
             "\r\n",
     REPLY_OK},
    {"chunks, extension, trailer",
     OK_HEAD "Transfer-Encoding: chunked\r\n\r\n05;a=b\r\nHello\r\n9\r\n, World"
             "!\n\r\n000\r\nA: b\r\nC: d\r\n\r\n",
     REPLY_OK},
    {"to the end", OK_HEAD "Connection: close\r\n\r\nHello, World!\n",
     REPLY_OK},
    {"1.0 to the end", "HTTP/1.0 200 OK\r\n\r\nHello, World!\n", REPLY_OK},
    {"interim first",
     "HTTP/1.1 100 Continue\r\n\r\n" OK_HEAD
     "Content-Length: 14\r\n\r\nHello, World!\n",
     REPLY_OK},

    {"404", "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n",
     REPLY_STATUS},
    {"404 with the right body",
     "HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\nHello, World!\n",
     REPLY_STATUS},
    {"304 has no body", "HTTP/1.1 304 Not Modified\r\n\r\n", REPLY_STATUS},
    {"shorter", OK_HEAD "Content-Length: 13\r\n\r\nHello, World!",
     REPLY_LENGTH},
    {"longer", OK_HEAD "Content-Length: 15\r\n\r\nHello, World!\n!",
     REPLY_LENGTH},
    {"empty", OK_HEAD "Content-Length: 0\r\n\r\n", REPLY_LENGTH},
    {"shorter to the end", OK_HEAD "Connection: close\r\n\r\nHello",
     REPLY_LENGTH},
    {"shorter in chunks",
     OK_HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n0\r\n\r\n",
     REPLY_LENGTH},
    {"first byte", OK_HEAD "Content-Length: 14\r\n\r\nhello, World!\n",
     REPLY_BYTES},
    {"last byte", OK_HEAD "Content-Length: 14\r\n\r\nHello, World!\r",
     REPLY_BYTES},
    {"byte in a chunk",
     OK_HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nHellO\r\n9\r\n, World!\n"
             "\r\n0\r\n\r\n",
     REPLY_BYTES},

    {"body cut off", OK_HEAD "Content-Length: 14\r\n\r\nHello", REPLY_MORE},
    {"chunk cut off", OK_HEAD "Transfer-Encoding: chunked\r\n\r\ne\r\nHello",
     REPLY_MORE},
    {"last chunk missing",
     OK_HEAD "Transfer-Encoding: chunked\r\n\r\ne\r\nHello, World!\n\r\n",
     REPLY_MORE},
    {"head cut off", OK_HEAD "Content-Le", REPLY_MORE},

    {"not HTTP", "hello\r\n\r\n", REPLY_MALFORMED},
    {"HTTP/2", "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n", REPLY_MALFORMED},
    {"1.2", "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", REPLY_MALFORMED},
    {"two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
     REPLY_MALFORMED},
    {"four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
     REPLY_MALFORMED},
    {"no framing", OK_HEAD "\r\nHello, World!\n", REPLY_MALFORMED},
    {"bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", REPLY_MALFORMED},
    {"no colon", OK_HEAD "Content-Length 14\r\n\r\n", REPLY_MALFORMED},
    {"space before colon", OK_HEAD "Content-Length : 14\r\n\r\n",
     REPLY_MALFORMED},
    {"folded", OK_HEAD "A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
     REPLY_MALFORMED},
    {"no number", OK_HEAD "Content-Length: \r\n\r\n", REPLY_MALFORMED},
    {"signed", OK_HEAD "Content-Length: +14\r\n\r\n", REPLY_MALFORMED},
    {"too large", OK_HEAD "Content-Length: 99999999999999999999\r\n\r\n",
     REPLY_MALFORMED},
    {"two lengths", OK_HEAD "Content-Length: 14\r\nContent-Length: 15\r\n\r\n",
     REPLY_MALFORMED},
    {"both framings",
     OK_HEAD "Content-Length: 14\r\nTransfer-Encoding: chunked\r\n\r\n",
     REPLY_MALFORMED},
    {"unknown coding", OK_HEAD "Transfer-Encoding: gzip\r\n\r\n",
     REPLY_MALFORMED},
    {"control character", OK_HEAD "A: \001\r\nContent-Length: 0\r\n\r\n",
     REPLY_MALFORMED},
    {"no chunk size", OK_HEAD "Transfer-Encoding: chunked\r\n\r\n\r\nHello",
     REPLY_MALFORMED},
    {"bad chunk size", OK_HEAD "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
     REPLY_MALFORMED},
    {"chunk size with bare LF",
     OK_HEAD "Transfer-Encoding: chunked\r\n\r\n5\nHello", REPLY_MALFORMED},
    {"chunk size with stray CR",
     OK_HEAD "Transfer-Encoding: chunked\r\n\r\n5\rxHello", REPLY_MALFORMED},
    {"bare LF in a trailer",
     OK_HEAD "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n\r\n",
     REPLY_MALFORMED},
    {"overflowing chunk size",
     OK_HEAD "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
     REPLY_MALFORMED},
    {"chunk longer than its size",
     OK_HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nHello!\r\n0\r\n\r\n",
     REPLY_MALFORMED},
    {"switching protocols", "HTTP/1.1 101 x\r\n\r\n", REPLY_MALFORMED},
};

Test(reply, each_case_at_every_split)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct reply_case *c = &cases[i];
        size_t len = strlen(c->text), used;
        struct expect e = want_hello();

        for (size_t step = 1; step <= len; step++) {
            enum verdict v = feed(c->text, len, step, &e, &used);

            cr_assert_eq(v, c->verdict, "%s, step %zu: %s, not %s", c->name,
                         step, verdict_name(v), verdict_name(c->verdict));
        }
    }
}

Test(reply, takes_its_own_bytes_and_no_more)
{
    static const char two[] =
        OK_HEAD "Content-Length: 14\r\n\r\nHello, World!\n" OK_HEAD
                "Content-Length: 14\r\n\r\nHello, World!\n";
    struct expect e = want_hello();
    size_t used;

    for (size_t step = 1; step < sizeof(two); step++) {
        cr_assert_eq(feed(two, sizeof(two) - 1, step, &e, &used), REPLY_OK);
        cr_assert_eq(used, (sizeof(two) - 1) / 2, "step %zu", step);
    }
}

/* The cached header section must not make another one pass. */
Test(reply, a_header_that_changes_is_seen)
{
    static const char one[] =
        OK_HEAD "Content-Length: 14\r\n\r\nHello, World!\n";
    static const char other[] =
        OK_HEAD "Content-Length: 15\r\n\r\nHello, World!\n!";
    static const char third[] =
        "HTTP/1.1 500 OK\r\nContent-Length: 14\r\n\r\nHello, World!\n";
    struct expect e = want_hello();
    struct head_cache cache = {0};
    struct reply r = {0};
    enum verdict v;

    for (int i = 0; i < 3; i++) {
        reply_feed(&r, &cache, &e, one, sizeof(one) - 1, &v);
        cr_assert_eq(v, REPLY_OK);
        reply_reset(&r);
        cr_assert_gt(cache.len, 0);
        reply_feed(&r, &cache, &e, other, sizeof(other) - 1, &v);
        cr_assert_eq(v, REPLY_LENGTH);
        reply_reset(&r);
        reply_feed(&r, &cache, &e, third, sizeof(third) - 1, &v);
        cr_assert_eq(v, REPLY_STATUS);
        reply_reset(&r);
    }
}

Test(reply, close_is_noticed)
{
    static const struct {
        const char *text;
        bool close;
    } heads[] = {
        {OK_HEAD "Content-Length: 0\r\n\r\n", false},
        {OK_HEAD "Connection: close\r\nContent-Length: 0\r\n\r\n", true},
        {OK_HEAD "Connection: a, CLOSE\r\nContent-Length: 0\r\n\r\n", true},
        {OK_HEAD "Connection: closed\r\nContent-Length: 0\r\n\r\n", false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", true},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n"
         "\r\n",
         false},
    };
    struct expect e = {.body = BODY_ANY, .status = 200};

    for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
        struct reply r = {0};
        struct head_cache cache = {0};
        enum verdict v;

        reply_feed(&r, &cache, &e, heads[i].text, strlen(heads[i].text), &v);
        cr_assert_eq(v, REPLY_OK);
        cr_assert_eq(r.head.close, heads[i].close, "%s", heads[i].text);
    }
}

Test(reply, header_section_without_end_is_refused)
{
    size_t n = 100 * 1024, used;
    char *text = malloc(n);
    struct expect e = want_hello();

    memset(text, 'a', n);
    memcpy(text, OK_HEAD "A: ", sizeof(OK_HEAD "A: ") - 1);
    cr_assert_eq(feed(text, n, 5000, &e, &used), REPLY_MALFORMED);
    cr_assert_lt(used, 64 * 1024);
    free(text);
}

Test(reply, head_has_no_body)
{
    static const char text[] = OK_HEAD "Content-Length: 14\r\n\r\n";
    struct expect e = {.body = BODY_NONE, .status = 200};
    size_t used;

    for (size_t step = 1; step < sizeof(text); step++)
        cr_assert_eq(feed(text, sizeof(text) - 1, step, &e, &used), REPLY_OK);
}

/* ---- bodies that are computed ---- */

static struct config config_of(const char *path)
{
    return (struct config){.host = "127.0.0.1",
                           .port = 80,
                           .path = path,
                           .size = 0,
                           .expect_status = 200,
                           .depth = 4};
}

Test(reply, bytes_route_is_letters)
{
    struct config cf = config_of("/bytes/200000");
    struct plan p;
    struct expect e;
    char *body = malloc(200000);

    plan_init(&p, &cf);
    request_expect(&p, &e, 0, 0, 0);
    cr_assert_eq(e.body, BODY_LETTERS);
    cr_assert_eq(e.len, 200000);
    for (int i = 0; i < 200000; i++)
        body[i] = (char)('a' + i % 26);
    cr_assert(expect_match(&e, 0, body, 200000));
    for (int i = 0; i < 200000; i += 997) {
        body[i] ^= 1;
        cr_assert_not(expect_match(&e, 0, body, 200000), "byte %d", i);
        body[i] ^= 1;
    }
    for (uint64_t off = 0; off < 60; off++)
        cr_assert(expect_match(&e, off, body + off, 150000));
    cr_assert_not(expect_match(&e, 1, body, 100));
    cr_assert_not(expect_match(&e, 0, body, 200001)); /* longer than it is */
    plan_free(&p);
    free(body);
}

Test(reply, a_message_matches_no_other)
{
    struct config cf = config_of("/echo");
    struct plan p;
    struct expect e;
    char msg[200];

    for (int64_t size = 2; size <= 100; size += 7) {
        cf.echo = true;
        cf.size = size;
        plan_init(&p, &cf);
        cr_assert_eq(request_build(&p, msg, 3, 1000, 0), (size_t)size);
        request_expect(&p, &e, 3, 1000, 0);
        cr_assert(expect_match(&e, 0, msg, (size_t)size));
        for (int64_t i = 0; i < size; i++) {
            msg[i] ^= 4;
            cr_assert_not(expect_match(&e, 0, msg, (size_t)size));
            msg[i] ^= 4;
        }
        for (uint64_t seq = 975; seq < 1026; seq++) {
            request_expect(&p, &e, 3, seq, 0);
            if (seq != 1000 && (size >= TAG_SIZE || (1000 - seq) % 26 != 0))
                cr_assert_not(expect_match(&e, 0, msg, (size_t)size));
        }
        request_expect(&p, &e, 4, 1000, 0);
        if (size >= TAG_SIZE)
            cr_assert_not(expect_match(&e, 0, msg, (size_t)size));
        plan_free(&p);
    }
}

Test(reply, mixed_sizes_differ_among_neighbours)
{
    struct config cf = config_of("/");
    struct plan p;
    bool slow;

    cf.mix = true;
    cf.depth = 300;
    plan_init(&p, &cf);
    for (uint64_t seq = 0; seq < 2000; seq++)
        for (uint64_t back = 1; back < 300 && back <= seq; back++)
            cr_assert_neq(request_arg(&p, NULL, 5, seq, &slow),
                          request_arg(&p, NULL, 5, seq - back, &slow));
    plan_free(&p);
}

Test(reply, requests_are_spelled_right)
{
    struct config cf = config_of("/x?y");
    struct plan p;
    char text[4096];
    size_t n;

    plan_init(&p, &cf);
    n = request_build(&p, text, 0, 0, 0);
    cr_assert_eq(n, p.same_len);
    cr_assert_eq(memcmp(text, p.same, n), 0);
    cr_assert_eq(memcmp(p.same + 3 * n, text, n), 0); /* depth copies */
    text[n] = '\0';
    cr_assert_str_eq(text, "GET /x?y HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n");
    plan_free(&p);

    cf.close = true;
    cf.service = (struct service){.kind = SERVICE_EXP, .us = 5};
    plan_init(&p, &cf);
    n = request_build(&p, text, 0, 0, 1200);
    text[n] = '\0';
    cr_assert_str_eq(text, "GET /work/1200 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n"
                           "Connection: close\r\n\r\n");
    plan_free(&p);
}
