/* test_http.c - every route and rule of the contract through a real socket. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "client.h"

TestSuite(http_routes, .timeout = 300);
TestSuite(http_upload, .timeout = 300);

#define GET(target) "GET " target " HTTP/1.1\r\nHost: test\r\n\r\n"

/* ==== routes ============================================================== */

/* Within a day of now and in the one format of RFC 9110 5.6.7. */
static void date_must_be_right(const struct reply *r)
{
    const char *text = reply_field(r, "Date");
    struct tm tm = {0};
    const char *end;
    time_t then;

    cr_assert(text, "no Date in %s", r->head);
    end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    cr_assert(end && *end == '\0' && strlen(text) == 29, "Date: %s", text);
    then = timegm(&tm);
    cr_assert(labs((long)(then - time(NULL))) < 60, "Date: %s", text);
}

static const struct {
    const char *request;
    int status;
    const char *body; /* NULL: any */
} routes[] = {
    {GET("/"), 200, "Hello, World!\n"},
    {GET("/?a=b"), 200, "Hello, World!\n"},
    {GET("http://test/"), 200, "Hello, World!\n"},
    {GET("http://test"), 200, "Hello, World!\n"},
    {GET("http://test/healthz?x"), 200, NULL},
    {GET("/healthz"), 200, NULL},
    {GET("/%68ealthz"), 200, NULL},
    {GET("/%2568ealthz"), 404, NULL},
    {GET("/metrics"), 200, NULL},
    {GET("/bytes/0"), 200, ""},
    {GET("/bytes/5"), 200, "abcde"},
    {GET("/bytes/28"), 200, "abcdefghijklmnopqrstuvwxyzab"},
    {GET("/bytes/5?n=9"), 200, "abcde"},
    {GET("/bytes/67108865"), 400, NULL},
    {GET("/bytes/18446744073709551621"), 400, NULL},
    {GET("/bytes/-1"), 400, NULL},
    {GET("/work/0"), 200, NULL},
    {GET("/work/1000001"), 400, NULL},
    {GET("/sleep/0"), 200, NULL},
    {GET("/sleep/1000001"), 400, NULL},
    {GET("/nothing"), 404, NULL},
    {GET("/healthz/x"), 404, NULL},
    {GET("/files/x"), 404, NULL}, /* without --root */
    {GET("/%zz"), 400, NULL},
    {GET("/%4"), 400, NULL},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyz", 200,
     "xyz"},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0003\r\n\r\nxyz", 200,
     "xyz"},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 200, ""},
    {"POST /echo HTTP/1.1\r\nHost: a\r\n\r\n", 200, ""},
    {"POST /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404, NULL},
    {"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501, NULL},
    {"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501, NULL},
    /* A body on a request that needs none is skipped. */
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /", 200,
     "Hello, World!\n"},
    {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
     "5\r\nGET /\r\n0\r\n\r\n",
     200, "Hello, World!\n"},
    {"GET /no HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /", 404,
     NULL},
    {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /", 405, NULL},
    {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, "Hello, World!\n"},
    {"GET / HTTP/1.1\r\nhOST:a\r\n\r\n", 200, "Hello, World!\n"},
};

/* After each answer the same connection goes on, or it has said that it will
 * not and ends.  Both in one piece and byte by byte. */
Test(http_routes, table)
{
    struct rng r = rng_start(10);
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < 2 * sizeof(routes) / sizeof(routes[0]); i++) {
        const char *request = routes[i / 2].request;
        const char *body = routes[i / 2].body;
        struct client c;
        struct reply a;

        client_open(&c, &s);
        cr_assert(client_send_pieces(&c, request, strlen(request), &r,
                                     i % 2 ? 1 : 4096));
        cr_assert(client_reply(&c, &a), "no answer to %s", request);
        cr_expect(a.status == routes[i / 2].status, "%d to %s", a.status,
                  request);
        cr_expect(!body || (a.len == strlen(body) &&
                            memcmp(a.body, body, a.len) == 0),
                  "%s brought %.60s", request, a.body);
        date_must_be_right(&a);
        if (a.close)
            cr_expect(client_ends_silently(&c), "%s", request);
        else
            cr_expect(client_ping(&c), "the next request after %s", request);
        reply_free(&a);
        client_close(&c);
    }
    server_stop(&s);
}

Test(http_routes, wrong_method_names_the_right_ones)
{
    static const char *const table[][3] = {
        {"POST", "/", "GET"},          {"DELETE", "/healthz", "GET"},
        {"PUT", "/bytes/5", "GET"},    {"GET", "/echo", "POST"},
        {"HEAD", "/echo", "POST"},     {"POST", "/metrics", "GET"},
        {"OPTIONS", "/work/1", "GET"}, {"PATCH", "/sleep/1", "GET"},
    };
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const char *allow;
        struct client c;
        struct reply a;

        client_open(&c, &s);
        client_printf(&c, "%s %s HTTP/1.1\r\nHost: a\r\n\r\n", table[i][0],
                      table[i][1]);
        cr_assert(client_head(&c, &a));
        allow = reply_field(&a, "Allow");
        cr_expect(a.status == 405, "%s %s: %d", table[i][0], table[i][1],
                  a.status);
        cr_expect(allow && strstr(allow, table[i][2]), "Allow: %s",
                  allow ? allow : "(none)");
        cr_expect(allow && !strstr(allow, table[i][0]), "Allow: %s",
                  allow ? allow : "(none)");
        client_close(&c);
    }
    server_stop(&s);
}

/* The header is that of GET, and what follows it is the next reply. */
Test(http_routes, head_has_no_body)
{
    static const char *const targets[] = {
        "/", "/bytes/100000", "/healthz", "/nothing", "/work/1", "/sleep/1"};
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        struct client c;
        struct reply head, get;

        client_open(&c, &s);
        client_printf(&c, "HEAD %s HTTP/1.1\r\nHost: a\r\n\r\n", targets[i]);
        cr_assert(client_head(&c, &head));
        cr_assert(client_get(&c, targets[i], &get), "%s", targets[i]);
        cr_expect(head.status == get.status && head.length == get.length,
                  "%s: %s against %s", targets[i], head.head, get.head);
        reply_free(&get);
        client_close(&c);
    }
    server_stop(&s);
}

Test(http_routes, bytes_are_the_pattern)
{
    static const unsigned sizes[] = {1,     25,    26,     16383,  16384,
                                     16385, 40000, 100000, 1 << 20};
    struct client c;
    struct server s;
    struct reply a;

    server_start(&s, NULL);
    client_open(&c, &s);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        client_printf(&c, "GET /bytes/%u HTTP/1.1\r\nHost: a\r\n\r\n",
                      sizes[i]);
        cr_assert(client_head(&c, &a) && a.status == 200);
        cr_assert(a.length == sizes[i], "%s", a.head);
        cr_assert(client_pattern(&c, 0, sizes[i]) == sizes[i]);
    }
    client_close(&c);
    server_stop(&s);
}

Test(http_routes, work_burns_and_sleep_does_not)
{
    struct client c;
    struct server s;
    struct reply a;
    double cpu, since;

    server_start(&s, NULL);
    client_open(&c, &s);
    cpu = server_cpu(&s);
    cr_assert(client_get(&c, "/work/200000", &a) && a.status == 200);
    reply_free(&a);
    cr_assert(server_cpu(&s) - cpu > 0.15, "burnt %.3f s of 0.2",
              server_cpu(&s) - cpu);
    cpu = server_cpu(&s);
    since = now();
    cr_assert(client_get(&c, "/sleep/400000", &a) && a.status == 200);
    reply_free(&a);
    cr_assert(now() - since > 0.39, "slept %.3f s of 0.4", now() - since);
    cr_assert(server_cpu(&s) - cpu < 0.2, "burnt %.3f s asleep",
              server_cpu(&s) - cpu);
    client_close(&c);
    server_stop(&s);
}

/* Work in progress is not idleness.  The next request is there already, so that
 * only the handler takes its time. */
Test(http_routes, handler_may_outlast_the_idle_timeout)
{
    struct client c;
    struct server s;
    struct reply a;

    server_start(&s, "--idle-timeout", "0.3", NULL);
    client_open(&c, &s);
    client_text(&c, GET("/sleep/1000000") GET("/bytes/3"));
    cr_assert(client_reply(&c, &a) && a.status == 200);
    reply_free(&a);
    cr_assert(client_reply(&c, &a) && a.status == 200 && a.len == 3);
    reply_free(&a);
    client_close(&c);
    server_stop(&s);
}

/* ==== connections ========================================================= */

Test(http_routes, connection_close_and_http_1_0)
{
    static const struct {
        const char *request;
        bool stays, says_keep_alive;
    } table[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false,
         false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", false,
         false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", true,
         false},
        {"GET / HTTP/1.0\r\n\r\n", false, false},
        {"GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n", true,
         true},
        {"GET /metrics HTTP/1.0\r\n\r\n", false, false},
        {"POST /echo HTTP/1.0\r\nContent-Length: 2\r\n"
         "Connection: keep-alive\r\n\r\nab",
         true, true},
    };
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const char *said;
        struct client c;
        struct reply a;

        client_open(&c, &s);
        client_text(&c, table[i].request);
        cr_assert(client_reply(&c, &a) && a.status == 200, "%s",
                  table[i].request);
        said = reply_field(&a, "Connection");
        cr_expect(!strstr(table[i].request, "1.0") || !a.chunked,
                  "chunked to 1.0");
        cr_expect(!table[i].says_keep_alive ||
                      (said && strcasecmp(said, "keep-alive") == 0),
                  "%s: %s", table[i].request, a.head);
        if (table[i].stays)
            cr_expect(client_ping(&c), "%s", table[i].request);
        else
            cr_expect(client_ends_silently(&c), "%s", table[i].request);
        cr_expect(table[i].stays || a.close || strstr(table[i].request, "1.0"),
                  "no Connection: close in %s", a.head);
        reply_free(&a);
        client_close(&c);
    }
    server_stop(&s);
}

Test(http_routes, request_followed_by_fin_is_answered)
{
    static const char *const requests[] = {
        GET("/"),
        GET("/sleep/50000"),
        GET("/bytes/1000000"),
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyz",
    };
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        struct client c;
        struct reply a;

        client_open(&c, &s);
        client_text(&c, requests[i]);
        client_fin(&c);
        cr_assert(client_reply(&c, &a) && a.status == 200, "%s", requests[i]);
        cr_assert(client_ends_silently(&c), "stays open after %s", requests[i]);
        reply_free(&a);
        client_close(&c);
    }
    server_stop(&s);
}

/* Half a request and FIN: the server waits for no rest and invents nothing. */
Test(http_routes, half_a_request_followed_by_fin)
{
    static const char *const requests[] = {
        "",
        "G",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nxyz",
        ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
         "chunked\r\n\r\n5\r"),
    };
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        struct client c;
        struct reply a;

        client_open(&c, &s);
        client_text(&c, requests[i]);
        client_fin(&c);
        if (client_reply(&c, &a)) {
            cr_expect(a.status == 400, "%d to: %s", a.status, requests[i]);
            reply_free(&a);
        }
        cr_expect(client_ends(&c), "stays open after: %s", requests[i]);
        client_close(&c);
    }
    cr_assert(server_answers(&s));
    server_stop(&s);
}

/* ==== pipelining ========================================================== */

enum { PIPELINED = 200 };

/* Request i of the pipeline; answer i proves by its length whose it is. */
static int pipeline_request(char *to, size_t cap, int i)
{
    switch (i % 5) {
    case 1:
        return snprintf(to, cap,
                        "POST /echo HTTP/1.1\r\nHost: a\r\n"
                        "Content-Length: 8\r\n\r\nnum %04d",
                        i);
    case 2:
        return snprintf(to, cap, "HEAD /bytes/%d HTTP/1.1\r\nHost: a\r\n\r\n",
                        100 + i);
    case 3:
        return snprintf(to, cap,
                        "POST /echo HTTP/1.1\r\nHost: a\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n4\r\nnum \r\n"
                        "4;x=y\r\n%04d\r\n0\r\nT: v\r\n\r\n",
                        i);
    case 4:
        return snprintf(to, cap, "GET /work/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    default:
        return snprintf(to, cap, "GET /bytes/%d HTTP/1.1\r\nHost: a\r\n\r\n",
                        100 * i);
    }
}

static void pipeline_answer(struct client *c, int i)
{
    char expected[16];
    struct reply a;

    if (i % 5 == 2) {
        cr_assert(client_head(c, &a), "answer %d", i);
        cr_assert(a.status == 200 && a.length == 100 + i, "answer %d", i);
        return;
    }
    cr_assert(client_reply(c, &a), "answer %d", i);
    cr_assert(a.status == 200, "answer %d: %s", i, a.head);
    snprintf(expected, sizeof(expected), "num %04d", i);
    if (i % 5 == 0)
        cr_assert(a.len == (size_t)(100 * i) && pattern_is(a.body, a.len, 0),
                  "answer %d has %zu bytes", i, a.len);
    else if (i % 5 != 4)
        cr_assert(a.len == 8 && memcmp(a.body, expected, 8) == 0,
                  "answer %d: %s", i, a.body);
    reply_free(&a);
}

Test(http_routes, two_hundred_requests_in_one_write)
{
    static char all[PIPELINED * 160];
    struct rng r = rng_start(11);
    struct server s;
    size_t n = 0;

    for (int i = 0; i < PIPELINED; i++)
        n += (size_t)pipeline_request(all + n, sizeof(all) - n, i);
    server_start(&s, NULL);
    /* In one write, in random pieces, byte by byte; the last time with FIN. */
    for (int turn = 0; turn < 4; turn++) {
        static const size_t piece[] = {sizeof(all), 700, 1, sizeof(all)};
        struct client c;

        client_open(&c, &s);
        cr_assert(piece[turn] > n
                      ? client_send(&c, all, n)
                      : client_send_pieces(&c, all, n, &r, piece[turn]));
        if (turn == 3)
            client_fin(&c);
        for (int i = 0; i < PIPELINED; i++)
            pipeline_answer(&c, i);
        cr_assert(turn == 3 ? client_ends_silently(&c) : client_ping(&c));
        client_close(&c);
    }
    server_stop(&s);
}

Test(http_routes, nothing_is_answered_after_connection_close)
{
    struct client c;
    struct server s;
    struct reply a;

    server_start(&s, NULL);
    client_open(&c, &s);
    client_text(&c, GET("/") "GET /bytes/3 HTTP/1.1\r\nHost: a\r\n"
                             "Connection: close\r\n\r\n" GET("/healthz"));
    cr_assert(client_reply(&c, &a) && a.len == 14);
    reply_free(&a);
    cr_assert(client_reply(&c, &a) && a.len == 3 && a.close);
    reply_free(&a);
    cr_assert(client_gone(&c));
    cr_assert(c.len == 0);
    client_close(&c);
    server_stop(&s);
}

/* ==== uploads ============================================================= */

/* POST /echo, the body cut at random by TCP and (chunked) by the protocol. */
static void echo_post(struct client *c, size_t n, bool chunked, size_t piece,
                      struct rng *r)
{
    char *body = malloc(n + 1), *wire = malloc(3 * n + 4096), *w = wire;
    struct reply a;
    const char *type;

    for (size_t i = 0; i < n; i++)
        body[i] = (char)rng_next(r);
    w += sprintf(w, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: x/%zu\r\n",
                 n);
    if (chunked) {
        w += sprintf(w, "Transfer-Encoding: chunked\r\n\r\n");
        for (size_t i = 0, k; i < n; i += k) {
            k = rng_between(r, 1, n - i < 20000 ? n - i : 20000);
            k = k < 16 && n - i > 16 ? 16 : k;
            w += sprintf(w, "%zx\r\n", k);
            memcpy(w, body + i, k);
            w += k;
            w += sprintf(w, "\r\n");
        }
        w += sprintf(w, "0\r\n\r\n");
    } else {
        w += sprintf(w, "Content-Length: %zu\r\n\r\n", n);
        memcpy(w, body, n);
        w += n;
    }
    cr_assert(client_send_pieces(c, wire, (size_t)(w - wire), r, piece));
    cr_assert(client_reply(c, &a), "%zu bytes", n);
    cr_assert(a.status == 200 && a.len == n && memcmp(a.body, body, n) == 0,
              "%zu bytes, chunked %d, pieces up to %zu, seed %llu: %d, %zu", n,
              chunked, piece, (unsigned long long)seed_of_run(), a.status,
              a.len);
    type = reply_field(&a, "Content-Type");
    snprintf(body, n + 1, "x/%zu", n);
    cr_assert(type && (n < 10 || strcmp(type, body) == 0), "type %s", type);
    reply_free(&a);
    free(body);
    free(wire);
}

Test(http_upload, random_segments)
{
    static const size_t sizes[] = {0,     1,     16,     4000,    16384,
                                   16385, 65536, 300000, 1 << 20, 8 << 20};
    struct rng r = rng_start(12);
    struct client c;
    struct server s;

    cr_log_info("seed %llu", (unsigned long long)seed_of_run());
    server_start(&s, "--max-body", "8388608", NULL);
    client_open(&c, &s);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (int chunked = 0; chunked < 2; chunked++)
            echo_post(&c, sizes[i], chunked, sizes[i] > 70000 ? 65536 : 1500,
                      &r);
    echo_post(&c, 3000, false, 1, &r);
    echo_post(&c, 3000, true, 1, &r);
    echo_post(&c, 30000, true, 7, &r);
    for (int i = 0; i < 20; i++)
        echo_post(&c, rng_between(&r, 1, (size_t)1 << (i + 1)), i % 2,
                  rng_between(&r, 1, 30000), &r);
    client_close(&c);
    server_stop(&s);
}

Test(http_upload, expect_100_continue)
{
    static const char head[] = "POST /echo HTTP/1.1\r\nHost: a\r\n"
                               "Expect: 100-continue\r\nContent-Length: 5\r\n"
                               "\r\n";
    struct client c;
    struct server s;
    struct reply a;

    server_start(&s, NULL);
    client_open(&c, &s);
    for (int i = 0; i < 3; i++) {
        client_text(&c, head);
        cr_assert(client_head(&c, &a) && a.status == 100, "%s", a.head);
        client_text(&c, "hello");
        cr_assert(client_reply(&c, &a) && a.status == 200 && a.len == 5);
        reply_free(&a);
    }
    /* The body is too large: the final answer, and no invitation. */
    client_text(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                    "Content-Length: 9999999\r\n\r\n");
    cr_assert(client_head(&c, &a) && a.status == 413, "%s", a.head);
    client_close(&c);
    server_stop(&s);
}

/* The client goes on sending after the answer was decided; it must still get
 * it, and not an RST in its place. */
Test(http_upload, refused_body_delivers_the_answer)
{
    enum { BODY = 2 << 20 };
    static char body[BODY];
    struct server s;

    server_start(&s, NULL);
    memset(body, 'x', sizeof(body));
    for (int i = 0; i < 20; i++) {
        bool chunked = i % 2;
        struct client c;
        struct reply a;

        client_open(&c, &s);
        client_printf(&c, "POST /echo HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n",
                      chunked ? "Transfer-Encoding: chunked\r\n\r\n200000"
                              : "Content-Length: 2097152");
        client_send(&c, body, sizeof(body));
        c.err = 0; /* the server may have closed: the answer is there */
        cr_assert(client_reply(&c, &a), "no answer, %s", strerror(c.err));
        cr_assert(a.status == 413 && a.close, "%s", a.head);
        reply_free(&a);
        client_close(&c);
        cr_assert(server_answers(&s));
    }
    server_stop(&s);
}

Test(http_upload, limit_is_exact)
{
    struct rng r = rng_start(13);
    struct server s;

    server_start(&s, "--max-body", "100", NULL);
    for (int chunked = 0; chunked < 2; chunked++) {
        struct client c;
        struct reply a;

        client_open(&c, &s);
        echo_post(&c, 100, chunked, 50, &r);
        client_printf(&c, "POST /echo HTTP/1.1\r\nHost: a\r\n%s",
                      chunked ? "Transfer-Encoding: chunked\r\n\r\n64\r\n"
                              : "Content-Length: 101\r\n\r\n");
        for (int i = 0; i < 100; i++)
            client_text(&c, "x");
        if (chunked)
            client_text(&c, "\r\n1\r\nx\r\n");
        cr_assert(client_reply(&c, &a) && a.status == 413, "%s", a.head);
        cr_assert(a.close && client_ends_silently(&c));
        reply_free(&a);
        client_close(&c);
    }
    server_stop(&s);
}

Test(http_upload, largest_header_that_is_fine)
{
    static char wire[16 * 1024];
    struct client c;
    struct server s;
    struct reply a;
    size_t n;

    server_start(&s, NULL);
    client_open(&c, &s);
    /* 65 fields, 15 KiB in all. */
    n = (size_t)sprintf(wire, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 64; i++)
        n += (size_t)sprintf(wire + n, "X-%02d: %0*d\r\n", i, 230, i);
    n += (size_t)sprintf(wire + n, "\r\n");
    cr_assert(n > 15000 && n < 15 * 1024 + 1);
    for (int i = 0; i < 3; i++) {
        cr_assert(client_send(&c, wire, n));
        cr_assert(client_reply(&c, &a) && a.status == 200, "%s", a.head);
        reply_free(&a);
    }
    client_close(&c);
    server_stop(&s);
}

/* ==== slow peers that speak HTTP ========================================== */

/* One byte now and then does not extend the deadline of a request; others are
 * served meanwhile. */
static void drip(const char *start)
{
    struct client slow, other;
    struct server s;
    bool open = true;
    double since, last;
    char byte;

    server_start(&s, "--idle-timeout", "0.5", NULL);
    client_open(&slow, &s);
    client_open(&other, &s);
    since = last = now();
    client_text(&slow, start);
    while (open && in_time(since, 10)) {
        ssize_t n;

        client_text(&slow, "x");
        cr_assert(client_keeps(&other, &s, &last, 0.5), "the other suffers");
        n = recv(slow.fd, &byte, 1, MSG_DONTWAIT);
        open = n < 0 && slow.err == 0 && (errno == EAGAIN || errno == EINTR);
        pause_s(0.05);
    }
    cr_assert(!open, "still open after %.1f s: %s", now() - since, start);
    cr_assert(now() - since > 0.4, "closed after %.3f s", now() - since);
    client_close(&slow);
    client_close(&other);
    server_stop(&s);
}

Test(http_upload, slowloris_in_the_header)
{
    drip("GET / HTTP/1.1\r\nHost: a\r\nX: ");
}

Test(http_upload, slowloris_in_the_body)
{
    drip("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n");
}

Test(http_upload, slowloris_in_a_chunk)
{
    drip("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         "ffff\r\n");
}

/* 64 MiB for a reader with pauses: it takes longer than --idle-timeout and is
 * not cut off, and the server does not keep what the reader does not take. */
Test(http_upload, slow_reader_with_64_mib_coming)
{
    enum { ALL = 64 << 20, PIECE = 2 << 20 };
    struct client c;
    struct server s;
    struct reply a;
    long before, most = 0;

    server_start(&s, "--idle-timeout", "2", NULL);
    cr_assert(server_answers(&s));
    before = server_rss_kib(&s);
    client_open(&c, &s);
    client_text(&c, GET("/bytes/67108864"));
    cr_assert(client_head(&c, &a) && a.length == ALL, "%s", a.head);
    for (uint64_t got = 0; got < ALL; got += PIECE) {
        cr_assert(client_pattern(&c, got, PIECE) == PIECE, "after %lu: %s",
                  (unsigned long)got, strerror(c.err));
        if (server_rss_kib(&s) > most)
            most = server_rss_kib(&s);
        pause_s(0.08);
    }
    cr_assert(most - before < memory_bound(64 * 1024), "grew by %ld KiB",
              most - before);
    cr_assert(client_ping(&c), "the connection does not go on");
    client_close(&c);
    server_stop(&s);
}

/* ==== metrics ============================================================= */

/* The sum over all workers, or -1 when the metric is not there. */
static double metric(const char *text, const char *name)
{
    size_t n = strlen(name);
    double sum = 0;
    bool found = false;

    for (const char *p = text; p && *p; p = strchr(p, '\n') + 1) {
        if (strncmp(p, name, n) == 0 && (p[n] == '{' || p[n] == ' ')) {
            const char *value = strchr(p, ' ');

            sum += value ? strtod(value, NULL) : 0;
            found = true;
        }
        if (!strchr(p, '\n'))
            break;
    }
    return found ? sum : -1;
}

/* NAME{worker="N"} VALUE, and # HELP and # TYPE before the first of a name. */
static void metrics_must_be_well_formed(char *text)
{
    char typed[128] = "", *save = NULL;

    cr_assert(strlen(text) > 100 && text[strlen(text) - 1] == '\n');
    for (char *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        char name[128], rest[256], *end;

        if (sscanf(line, "# TYPE %100s %20s", name, rest) == 2) {
            cr_expect(strcmp(rest, "counter") == 0 ||
                          strcmp(rest, "gauge") == 0,
                      "%s", line);
            strcpy(typed, name);
            continue;
        }
        if (strncmp(line, "# HELP ", 7) == 0)
            continue;
        cr_assert(
            sscanf(line, "%100[a-z_]{worker=\"%*d\"} %100s", name, rest) == 2,
            "line: %s", line);
        cr_expect(strcmp(name, typed) == 0, "no TYPE before %s", line);
        strtod(rest, &end);
        cr_expect(*end == '\0', "value in %s", line);
    }
}

Test(http_routes, metrics_count)
{
    struct client c;
    struct server s;
    struct reply a;
    double requests, errors, accepted;

    server_start(&s, NULL);
    client_open(&c, &s);
    cr_assert(client_get(&c, "/metrics", &a) && a.status == 200);
    cr_assert(strstr(reply_field(&a, "Content-Type"), "text/plain"));
    requests = metric(a.body, "ioladder_requests_total");
    errors = metric(a.body, "ioladder_client_errors_total");
    accepted = metric(a.body, "ioladder_accepted_total");
    cr_assert(requests >= 0 && errors >= 0 && accepted >= 1, "%s", a.body);
    metrics_must_be_well_formed(a.body);
    reply_free(&a);
    for (int i = 0; i < 10; i++)
        cr_assert(server_answers(&s));
    for (int i = 0; i < 3; i++) {
        cr_assert(client_get(&c, "/nothing", &a) && a.status == 404);
        reply_free(&a);
    }
    cr_assert(client_get(&c, "/metrics", &a));
    cr_expect(metric(a.body, "ioladder_requests_total") == requests + 14, "%s",
              a.body);
    cr_expect(metric(a.body, "ioladder_client_errors_total") == errors + 3);
    cr_expect(metric(a.body, "ioladder_accepted_total") == accepted + 10);
    reply_free(&a);
    /* HTTP/1.0 gets the same text, ended by the close. */
    client_text(&c, "GET /metrics HTTP/1.0\r\n\r\n");
    cr_assert(client_reply(&c, &a) && a.status == 200 && !a.chunked);
    metrics_must_be_well_formed(a.body);
    reply_free(&a);
    client_close(&c);
    server_stop(&s);
}
