/* test_proto_http.c - HTTP over bytes: routes, bodies, errors, endings.
 *
 * ways() is the heart: it plays the same input in many pieces through many
 * pieces of output and demands the same transcript each time.
 */
#include <fcntl.h>
#include <ftw.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "files.h"
#include "talk.h"
#include "temp.h"

/* ======== transcripts ==================================================== */

#define HEADER(status, more) "HTTP/1.1 " status "\r\nDate: *\r\n" more "\r\n"
#define CLOSE "Connection: close\r\n"
#define PLAIN "Content-Type: text/plain\r\n"
#define LENGTH(n) "Content-Length: " #n "\r\n"
#define BINARY "Content-Type: application/octet-stream\r\n"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define HEAD(path) "HEAD " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define POST(path, fields, body)                                               \
    "POST " path " HTTP/1.1\r\nHost: x\r\n" fields "\r\n" body

#define HELLO HEADER("200 OK", PLAIN LENGTH(14)) "Hello, World!\n"
#define HELLO_CLOSE HEADER("200 OK", CLOSE PLAIN LENGTH(14)) "Hello, World!\n"
#define OK HEADER("200 OK", PLAIN LENGTH(3)) "ok\n"
#define DONE HEADER("200 OK", PLAIN LENGTH(5)) "done\n"
#define NOT_FOUND HEADER("404 Not Found", PLAIN LENGTH(14)) "404 Not Found\n"
#define BAD HEADER("400 Bad Request", PLAIN LENGTH(16)) "400 Bad Request\n"
#define BAD_CLOSE                                                              \
    HEADER("400 Bad Request", CLOSE PLAIN LENGTH(16)) "400 Bad Request\n"
#define TOO_LARGE                                                              \
    HEADER("413 Content Too Large", CLOSE PLAIN LENGTH(22))                    \
    "413 Content Too Large\n"
#define TOO_LONG                                                               \
    HEADER("414 URI Too Long", CLOSE PLAIN LENGTH(17))                         \
    "414 URI Too Long\n"
#define EXPECTATION                                                            \
    HEADER("417 Expectation Failed", CLOSE PLAIN LENGTH(23))                   \
    "417 Expectation Failed\n"
#define FIELDS_TOO_LARGE(more)                                                 \
    HEADER("431 Request Header Fields Too Large", more PLAIN LENGTH(36))       \
    "431 Request Header Fields Too Large\n"
#define WRONG_METHOD(allow, more)                                              \
    HEADER("405 Method Not Allowed",                                           \
           more PLAIN LENGTH(23) "Allow: " allow "\r\n")
#define NOT_GET WRONG_METHOD("GET, HEAD", "") "405 Method Not Allowed\n"
#define NOT_POST WRONG_METHOD("POST", "") "405 Method Not Allowed\n"
#define UNKNOWN                                                                \
    HEADER("501 Not Implemented", PLAIN LENGTH(20))                            \
    "501 Not Implemented\n"
#define UNKNOWN_CLOSE                                                          \
    HEADER("501 Not Implemented", CLOSE PLAIN LENGTH(20))                      \
    "501 Not Implemented\n"
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define ECHOED(more, n, body) HEADER("200 OK", more LENGTH(n)) body

static const size_t pieces[] = {0, 1, 2, 7, 100, 5000};
enum { PIECES = sizeof pieces / sizeof pieces[0] };

TestSuite(http, .fini = talk_end);

static struct talk *http(void)
{
    return talk_new(&proto_http);
}

/* The input in every way, then the end of it: always the same answers. */
static void ways_of(struct talk *t, const char *input, size_t len,
                    const char *expected)
{
    for (size_t i = 0; i < 2 * PIECES * PIECES; i++) {
        const char *heard;

        talk_again(t);
        t->in_piece = pieces[i % PIECES];
        t->out_piece = pieces[i / PIECES % PIECES];
        t->borrow = i >= PIECES * PIECES;
        t->drip_file = i % 3 == 0;
        cr_assert_eq(talk_bytes(t, input, len, false), WANT_CLOSE);
        heard = talk_heard(t);
        cr_assert(strcmp(heard, expected) == 0,
                  "in by %zu, out by %zu:\n%.600s\n-- sent --\n%s\n"
                  "-- expected --\n%s\n",
                  t->in_piece, t->out_piece, input, heard, expected);
    }
    talk_again(t);
    t->in_piece = t->out_piece = 0;
    t->borrow = t->drip_file = false;
}

static void ways(const char *input, const char *expected)
{
    struct talk *t = http();

    ways_of(t, input, strlen(input), expected);
    talk_free(t);
}

static void expect_say(struct talk *t, const char *input, enum want want,
                       const char *expected)
{
    enum want got = talk_say(t, input);
    const char *heard = talk_heard(t);

    cr_assert_eq(got, want, "%s\nwants %d, not %d", input, got, want);
    cr_assert_str_eq(heard, expected);
}

/* ======== routes ========================================================= */

Test(http, home)
{
    ways(GET("/"), HELLO);
    ways(GET("/?a=b/../c"), HELLO);
    ways("GET http://example.org HTTP/1.1\r\nHost: x\r\n\r\n", HELLO);
    ways("GET http://example.org/?q HTTP/1.1\r\nHost: x\r\n\r\n", HELLO);
    ways("GET http://example.org/healthz HTTP/1.1\r\nHost: x\r\n\r\n", OK);
    ways("\r\n" GET("/"), HELLO);
}

Test(http, healthz)
{
    ways(GET("/healthz"), OK);
    ways(GET("/healthz?verbose"), OK);
}

Test(http, head_is_the_same_header)
{
    ways(HEAD("/"), HEADER("200 OK", PLAIN LENGTH(14)));
    ways(HEAD("/healthz"), HEADER("200 OK", PLAIN LENGTH(3)));
    ways(HEAD("/bytes/100000"), HEADER("200 OK", BINARY LENGTH(100000)));
    ways(HEAD("/bytes/0"), HEADER("200 OK", BINARY LENGTH(0)));
    ways(HEAD("/work/5"), HEADER("200 OK", PLAIN LENGTH(5)));
    ways(HEAD("/sleep/5"), HEADER("200 OK", PLAIN LENGTH(5)));
    ways(HEAD("/nowhere"), HEADER("404 Not Found", PLAIN LENGTH(14)));
    ways(HEAD("/echo"), WRONG_METHOD("POST", ""));
    ways(HEAD("/work/x"), HEADER("400 Bad Request", PLAIN LENGTH(16)));
    ways(HEAD("/metrics"),
         HEADER("200 OK", "Content-Type: text/plain; version=0.0.4\r\n"
                          "Transfer-Encoding: chunked\r\n"));
    /* What follows a HEAD begins where a body would have been. */
    ways(HEAD("/") GET("/") HEAD("/bytes/7") GET("/healthz"),
         HEADER("200 OK", PLAIN LENGTH(14))
             HELLO HEADER("200 OK", BINARY LENGTH(7)) OK);
}

Test(http, paths_that_are_not_there)
{
    ways(GET("/nowhere"), NOT_FOUND);
    ways(GET("//"), NOT_FOUND);
    ways(GET("/healthz/"), NOT_FOUND);
    ways(GET("/healthzz"), NOT_FOUND);
    ways(GET("/health"), NOT_FOUND);
    ways(GET("/echo/"), NOT_FOUND);
    ways(GET("/bytes"), NOT_FOUND);
    ways(GET("/byte/1"), NOT_FOUND);
    ways(GET("/work"), NOT_FOUND);
    ways(GET("/files"), NOT_FOUND);
    ways(GET("/HEALTHZ"), NOT_FOUND);
    ways("PUT /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", NOT_FOUND);
    ways("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", NOT_FOUND);
}

Test(http, methods)
{
    ways(GET("/echo"), NOT_POST);
    ways("PUT /echo HTTP/1.1\r\nHost: x\r\n\r\n", NOT_POST);
    ways(POST("/", "", ""), NOT_GET);
    ways(POST("/bytes/1", "", ""), NOT_GET);
    ways(POST("/bytes/x", "", ""), NOT_GET);
    ways(POST("/metrics", "", ""), NOT_GET);
    ways(POST("/work/1", "", ""), NOT_GET);
    ways(POST("/sleep/1", "", ""), NOT_GET);
    ways(POST("/files/x", "", ""), NOT_GET);
    ways("DELETE /healthz HTTP/1.1\r\nHost: x\r\n\r\n" GET("/"), NOT_GET HELLO);
    ways("BREW / HTTP/1.1\r\nHost: x\r\n\r\n" GET("/"), UNKNOWN HELLO);
    ways("BREW /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" GET("/"), UNKNOWN HELLO);
    ways("get / HTTP/1.1\r\nHost: x\r\n\r\n" GET("/"), UNKNOWN HELLO);
}

Test(http, numbers)
{
    static const char *const bad[] = {
        "/bytes/67108865",
        "/bytes/4294967296",
        "/bytes/4294967297",
        "/bytes/18446744073709551617",
        "/bytes/",
        "/bytes/-1",
        "/bytes/+1",
        "/bytes/1x",
        "/bytes/0x10",
        "/bytes/1/",
        "/bytes/%201",
        "/bytes/1.0",
        "/work/1000001",
        "/sleep/1000001",
        "/work/",
        "/sleep/abc",
        "/work/99999999999",
        "/sleep/-5",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char input[200];

        snprintf(input, sizeof input, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n%s",
                 bad[i], GET("/"));
        ways(input, BAD HELLO);
    }
    ways(GET("/bytes/0000000000000000000000000003"),
         HEADER("200 OK", BINARY LENGTH(3)) "abc");
}

Test(http, percent_is_decoded_once)
{
    ways(GET("/%68ealth%7A"), OK);
    ways(GET("/healthz%3Fx"), NOT_FOUND);
    ways(GET("/%2568ealthz"), NOT_FOUND);
    ways(GET("/%2f"), NOT_FOUND);
    ways(GET("/bytes%2F4"), HEADER("200 OK", BINARY LENGTH(4)) "abcd");
    ways(GET("/bytes/%34"), HEADER("200 OK", BINARY LENGTH(4)) "abcd");
    ways(GET("/a%00b") GET("/"), BAD_CLOSE);
    ways(GET("/a%0") GET("/"), BAD_CLOSE);
    ways(GET("/a%zz"), BAD_CLOSE);
}

/* ======== /bytes ========================================================= */

/* Runs one request for n bytes and checks all of the body. */
static void bytes_checked(struct talk *t, size_t n, unsigned max_sends)
{
    char input[100];
    size_t at;

    snprintf(input, sizeof input, "GET /bytes/%zu HTTP/1.1\r\nHost: x\r\n\r\n",
             n);
    t->len = 0;
    t->sends = 0;
    cr_assert_eq(talk_say(t, input), WANT_RECV);
    at = (size_t)(strstr(t->said, "\r\n\r\n") + 4 - t->said);
    cr_assert_eq(t->len - at, n);
    for (size_t i = 0; i < n; i++)
        if (t->said[at + i] != (char)('a' + i % 26))
            cr_assert(false, "byte %zu of %zu is %d", i, n, t->said[at + i]);
    cr_assert_leq(t->sends, max_sends);
}

Test(http, bytes_follow_the_pattern)
{
    struct talk *t = http();

    for (size_t n = 0; n < 300; n++)
        bytes_checked(t, n, 1);
    for (size_t n = 16000; n < 16400; n += 13)
        bytes_checked(t, n, 2);
    bytes_checked(t, 1000000, 1000000 / BUF_SIZE + 2);
}

Test(http, bytes_through_any_window)
{
    struct talk *t = http();

    for (size_t i = 0; i < PIECES; i++) {
        t->out_piece = pieces[i];
        t->borrow = i % 2 == 0;
        bytes_checked(t, 20000, 30000);
    }
}

Test(http, bytes_up_to_64_mib, .timeout = 60)
{
    struct talk *t = http();

    bytes_checked(t, 64 << 20, (64 << 20) / BUF_SIZE + 2);
}

/* ======== keep-alive and versions ======================================== */

Test(http, version_1_1_stays_open_until_asked)
{
    struct talk *t = http();

    expect_say(t, GET("/"), WANT_RECV, HELLO);
    expect_say(t, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
               WANT_CLOSE, HELLO_CLOSE);
}

Test(http, version_1_0_closes_unless_asked)
{
    struct talk *t = http();

    expect_say(t, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", WANT_RECV,
               HEADER("200 OK", "Connection: keep-alive\r\n" PLAIN LENGTH(
                                    14)) "Hello, World!\n");
    expect_say(t, "GET / HTTP/1.0\r\n\r\n", WANT_CLOSE, HELLO_CLOSE);
    ways("GET / HTTP/1.0\r\n\r\n", HELLO_CLOSE);
    ways("HEAD /nowhere HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
         "GET / HTTP/1.0\r\n\r\n",
         HEADER("404 Not Found", "Connection: keep-alive\r\n" PLAIN LENGTH(14))
             HELLO_CLOSE);
}

Test(http, nothing_is_answered_after_a_close)
{
    ways("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" GET("/"),
         HELLO_CLOSE);
    ways("GET / HTTP/1.0\r\n\r\n" GET("/"), HELLO_CLOSE);
}

/* ======== pipelining ===================================================== */

Test(http, pipelined_answers_keep_their_order)
{
    ways(GET("/") GET("/nowhere")
             POST("/echo", "Content-Length: 5\r\n", "first") HEAD("/")
                 GET("/echo") GET("/bytes/30") GET("/work/1") GET("/healthz")
                     POST("/echo", "Transfer-Encoding: chunked\r\n",
                          "3\r\nsec\r\n3\r\nond\r\n0\r\n\r\n")
                         GET("/sleep/x") "BREW / HTTP/1.1\r\nHost: x\r\n\r\n"
                                         "oops\r\n" GET("/"),
         HELLO NOT_FOUND ECHOED("", 5, "first")
             HEADER("200 OK", PLAIN LENGTH(14)) NOT_POST HEADER(
                 "200 OK",
                 BINARY LENGTH(30)) "abcdefghijklmnopqrstuvwxyzabcd" DONE OK
                 ECHOED("", 6, "second") BAD UNKNOWN BAD_CLOSE);
}

Test(http, pipelined_requests_share_a_send)
{
    struct talk *t = http();
    char input[100 * sizeof GET("/")] = "";
    const char *heard;
    size_t n = 0;

    for (int i = 0; i < 100; i++)
        strcat(input, GET("/"));
    cr_assert_eq(talk_say(t, input), WANT_RECV);
    cr_assert_eq(t->sends, 1, "a hundred answers leave together");
    cr_assert_eq(t->recvs, 1);
    heard = talk_heard(t);
    for (; strncmp(heard, HELLO, sizeof HELLO - 1) == 0; n++)
        heard += sizeof HELLO - 1;
    cr_assert_eq(n, 100);
    cr_assert_eq(*heard, '\0');
    cr_assert_eq(t->st.requests, 100);
}

Test(http, pipelined_requests_wait_for_room)
{
    struct talk *t = http();
    char input[16000] = "";
    unsigned n = 0;

    while (strlen(input) + sizeof GET("/") < sizeof input) {
        strcat(input, GET("/"));
        n++;
    }
    cr_assert_eq(talk_say(t, input), WANT_RECV);
    cr_assert_eq(t->st.requests, n);
    cr_assert_geq(t->sends, 2);
    cr_assert_leq(t->sends, 5, "answers fill the window before they leave");
}

Test(http, large_answers_between_small_ones)
{
    struct talk *t = http();
    size_t whole;

    talk_say(t, GET("/") GET("/bytes/40000") GET("/") GET("/bytes/16384")
                    GET("/healthz"));
    whole = strlen(talk_heard(t));
    for (size_t i = 1; i < PIECES; i++) {
        t->out_piece = pieces[i];
        talk_say(t, GET("/") GET("/bytes/40000") GET("/") GET("/bytes/16384")
                        GET("/healthz"));
        cr_assert_eq(strlen(talk_heard(t)), whole);
        cr_assert_str_eq(t->said + whole - (sizeof OK - 1), OK);
    }
}

/* ======== bodies ========================================================= */

Test(http, echo)
{
    ways(POST("/echo", "Content-Length: 5\r\n", "hello"),
         ECHOED("", 5, "hello"));
    ways(POST("/echo", "Content-Length: 0005\r\n", "hello"),
         ECHOED("", 5, "hello"));
    ways(POST("/echo", "Content-Type: a/b; c=\"d\"\r\nContent-Length: 2\r\n",
              "hi"),
         ECHOED("Content-Type: a/b; c=\"d\"\r\n", 2, "hi"));
    ways(POST("/echo", "", "") GET("/"), ECHOED("", 0, "") HELLO);
    ways(POST("/echo", "Content-Length: 0\r\nContent-Type: a/b\r\n", "")
             GET("/"),
         ECHOED("Content-Type: a/b\r\n", 0, "") HELLO);
    ways(POST("/echo?x", "Content-Length: 1\r\n", "x") GET("/"),
         ECHOED("", 1, "x") HELLO);
    /* A body that looks like a request is none. */
    ways(POST("/echo", "Content-Length: 37\r\n",
              "GET /bytes/5 HTTP/1.1\r\nHost: body\r\n\r\n") GET("/"),
         ECHOED("", 37, "GET /bytes/5 HTTP/1.1\r\nHost: body\r\n\r\n") HELLO);
}

Test(http, echo_chunked)
{
    ways(POST("/echo", "Transfer-Encoding: chunked\r\nContent-Type: t/u\r\n",
              "5\r\nhello\r\n6;a=b\r\n world\r\n00\r\n\r\n") GET("/"),
         ECHOED("Content-Type: t/u\r\n", 11, "hello world") HELLO);
    ways(POST("/echo", "Transfer-Encoding: chunked\r\n",
              "A\r\n0123456789\r\n0\r\nX-Sum: 45\r\nY: z\r\n\r\n") GET("/"),
         ECHOED("", 10, "0123456789") HELLO);
    ways(POST("/echo", "Transfer-Encoding: chunked\r\nContent-Type: t/u\r\n",
              "0\r\n\r\n") GET("/"),
         ECHOED("Content-Type: t/u\r\n", 0, "") HELLO);
}

Test(http, chunks_are_read_strictly)
{
    static const char *const bad[] = {
        "x\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\n0\r\n\r\n",
        "5\r\nhello\rX",
        "5\r\nhello\n",
        "-1\r\n",
        "5 \r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "\r\n",
        "ffffffffffffffffff\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\n: x\r\n\r\n",
        "0\r\na : b\r\n\r\n",
        "0\r\na: b\n\r\n",
        "1\r\na\r\n0\r\nX: \x01\r\n\r\n",
        "0\r\n a: b\r\n\r\n",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char input[300];

        snprintf(input, sizeof input, "%s%s%s",
                 POST("/echo", "Transfer-Encoding: chunked\r\n", ""), bad[i],
                 GET("/"));
        ways(input, BAD_CLOSE);
    }
}

Test(http, large_bodies_come_back_whole)
{
    enum { N = 300000 };
    struct talk *t = http();
    char *input = malloc(N + 200), *body;

    body = input + sprintf(input,
                           POST("/echo",
                                "Content-Length: %d\r\n"
                                "Content-Type: a/b\r\n",
                                ""),
                           N);
    for (size_t i = 0; i < N; i++)
        body[i] = (char)(' ' + (i * 31 + i / 7919) % 90);
    body[N] = '\0';
    for (size_t i = 0; i < PIECES * PIECES; i++) {
        const char *heard;

        if (pieces[i % PIECES] == 1 && pieces[i / PIECES] == 1)
            continue;
        talk_again(t);
        t->borrow = i % 2;
        t->in_piece = pieces[i % PIECES];
        t->out_piece = pieces[i / PIECES];
        cr_assert_eq(talk_bytes(t, input, strlen(input), true), WANT_RECV);
        heard = strstr(t->said, "\r\n\r\n") + 4;
        cr_assert_eq(t->len - (size_t)(heard - t->said), N);
        cr_assert(memcmp(heard, body, N) == 0);
        cr_assert_not_null(strstr(t->said, LENGTH(300000)));
        cr_assert_null(t->s.body.mem, "freed once it is sent");
    }
    free(input);
}

Test(http, bodies_that_nobody_asked_for_are_dropped)
{
    struct talk *t;
    long before;

    ways(
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nGET /echo " GET(
            "/healthz"),
        HELLO OK);
    ways("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
         "4\r\nGET \r\n0\r\nA: b\r\n\r\n" GET("/healthz"),
         HELLO OK);
    ways(
        "HEAD /bytes/3 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz" GET(
            "/"),
        HEADER("200 OK", BINARY LENGTH(3)) HELLO);
    ways("GET /work/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz" GET(
             "/"),
         DONE HELLO);
    ways("GET /bytes/3 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz" GET(
             "/"),
         HEADER("200 OK", BINARY LENGTH(3)) "abc" HELLO);
    t = http();
    t->said = malloc(t->cap = 4096);
    talk_say(t, GET("/"));
    before = alloc_count();
    talk_say(
        t,
        "GET /bytes/3 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
        "xyz" POST(
            "/nowhere", "Content-Length: 3\r\n",
            "xyz") "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
                   "xyz");
    cr_assert_eq(alloc_count(), before, "nothing is kept of them");
}

Test(http, an_error_that_stays_open_has_skipped_the_body)
{
    ways(POST("/nowhere", "Content-Length: 4\r\n", "body") GET("/"),
         NOT_FOUND HELLO);
    ways(POST("/", "Transfer-Encoding: chunked\r\n", "4\r\nbody\r\n0\r\n\r\n")
             GET("/"),
         NOT_GET HELLO);
    ways("BREW / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody" GET("/"),
         UNKNOWN HELLO);
    ways("GET /work/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody" GET(
             "/"),
         BAD HELLO);
}

Test(http, body_limit)
{
    struct talk *t = http();

    t->app.max_body = 5;
#define LIMITED(input, expected) ways_of(t, input, strlen(input), expected)
    LIMITED(POST("/echo", "Content-Length: 5\r\n", "12345"),
            ECHOED("", 5, "12345"));
    LIMITED(POST("/echo", "Content-Length: 6\r\n", "123456") GET("/"),
            TOO_LARGE);
    LIMITED(POST("/echo", "Content-Length: 9223372036854775807\r\n", ""),
            TOO_LARGE);
    LIMITED(POST("/echo", "Content-Length: 4294967301\r\n", "x"), TOO_LARGE);
    LIMITED(POST("/echo", "Transfer-Encoding: chunked\r\n",
                 "2\r\n12\r\n3\r\n345\r\n0\r\n\r\n") GET("/"),
            ECHOED("", 5, "12345") HELLO);
    LIMITED(POST("/echo", "Transfer-Encoding: chunked\r\n",
                 "2\r\n12\r\n4\r\n3456\r\n0\r\n\r\n") GET("/"),
            TOO_LARGE);
    LIMITED(POST("/echo", "Transfer-Encoding: chunked\r\n", "6\r\n"),
            TOO_LARGE);
    LIMITED(
        POST("/echo", "Transfer-Encoding: chunked\r\n", "7fffffffffffffff\r\n"),
        TOO_LARGE);
    LIMITED(POST("/echo", "Transfer-Encoding: chunked\r\n",
                 "1\r\nx\r\n100000000\r\n"),
            TOO_LARGE);
    /* Dropped bodies count as well: nobody sends us gigabytes for nothing. */
    LIMITED("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n123456",
            TOO_LARGE);
    LIMITED("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5\r\n12345\r\n1\r\n6\r\n0\r\n\r\n",
            TOO_LARGE);
    LIMITED(POST("/echo", "Content-Length: 6\r\nExpect: 100-continue\r\n", ""),
            TOO_LARGE);
    t->app.max_body = 0;
    LIMITED(POST("/echo", "Content-Length: 0\r\n", "") GET("/"),
            ECHOED("", 0, "") HELLO);
    LIMITED(POST("/echo", "Content-Length: 1\r\n", "x"), TOO_LARGE);
    LIMITED(POST("/echo", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            ECHOED("", 0, ""));
#undef LIMITED
}

Test(http, too_large_is_said_at_once)
{
    struct talk *t = http();

    t->app.max_body = 100;
    expect_say(t, POST("/echo", "Content-Length: 101\r\n", ""), WANT_RECV,
               TOO_LARGE);
    cr_assert(t->s.fin);
    talk_again(t);
    expect_say(t, POST("/echo", "Transfer-Encoding: chunked\r\n", "65\r\n"),
               WANT_RECV, TOO_LARGE);
}

Test(http, memory_grows_with_what_arrives_not_with_what_is_announced)
{
    struct talk *t = http();

    t->app.max_body = 1u << 30;
    talk_say(t, POST("/echo", "Content-Length: 1073741824\r\n", ""));
    cr_assert_leq(t->s.body.cap, 4096);
    talk_say(t, "0123456789");
    cr_assert_leq(t->s.body.cap, 4096);
    for (int i = 0; i < 100; i++) {
        char kib[1025];

        memset(kib, 'x', 1024);
        kib[1024] = '\0';
        talk_say(t, kib);
    }
    cr_assert_geq(t->s.body.cap, 102400);
    cr_assert_leq(t->s.body.cap, 4 * 102400);
    session_end(&t->s);
}

Test(http, a_body_block_keeps_to_the_limit)
{
    struct talk *t = http();
    char kib[1025];

    t->app.max_body = 10 * 1024;
    memset(kib, 'x', 1024);
    kib[1024] = '\0';
    talk_say(t, POST("/echo", "Transfer-Encoding: chunked\r\n", "2800\r\n"));
    for (int i = 0; i < 10; i++) {
        talk_say(t, kib);
        cr_assert_leq(t->s.body.cap, 10 * 1024);
    }
    session_end(&t->s);
}

Test(http, expect_continue)
{
    struct talk *t = http();

#define EXPECT "Expect: 100-continue\r\n"
    ways(POST("/echo", EXPECT "Content-Length: 5\r\n", "hello") GET("/"),
         CONTINUE ECHOED("", 5, "hello") HELLO);
    ways(POST("/echo", EXPECT "Transfer-Encoding: chunked\r\n",
              "5\r\nhello\r\n0\r\n\r\n"),
         CONTINUE ECHOED("", 5, "hello"));
    ways("GET / HTTP/1.1\r\nHost: x\r\n" EXPECT "Content-Length: 1\r\n\r\nx",
         CONTINUE HELLO);
    ways(POST("/echo", EXPECT, "") GET("/"), ECHOED("", 0, "") HELLO);
    ways(POST("/echo", EXPECT "Content-Length: 0\r\n", ""), ECHOED("", 0, ""));
    /* A body that the answer makes useless may or may not follow: close. */
    ways(POST("/nowhere", EXPECT "Content-Length: 5\r\n", "") GET("/"),
         HEADER("404 Not Found", CLOSE PLAIN LENGTH(14)) "404 Not Found\n");
    ways(POST("/", EXPECT "Content-Length: 5\r\n", "") GET("/"),
         WRONG_METHOD("GET, HEAD", CLOSE) "405 Method Not Allowed\n");
    ways("POST /echo HTTP/1.0\r\n" EXPECT "Content-Length: 5\r\n\r\nhello",
         ECHOED(CLOSE, 5, "hello"));
    ways(POST("/echo", "Expect: lunch\r\nContent-Length: 5\r\n", "hello"),
         EXPECTATION);
    /* The peer waits for it with the body still at home. */
    expect_say(t, POST("/echo", EXPECT "Content-Length: 2\r\n", ""), WANT_RECV,
               CONTINUE);
    cr_assert(session_in_flight(&t->s));
    expect_say(t, "ab", WANT_RECV, ECHOED("", 2, "ab"));
}

/* ======== errors ========================================================= */

Test(http, malformed_requests_end_the_connection)
{
    ways("GET\r\n\r\n" GET("/"), BAD_CLOSE);
    ways("GET / HTTP/1.1\r\n\r\n" GET("/"), BAD_CLOSE);
    ways("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n" GET("/"), BAD_CLOSE);
    ways("GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n" GET("/"), BAD_CLOSE);
    ways("GET / HTTP/1.1\nHost: x\n\n" GET("/"), BAD_CLOSE);
    ways("GET / HTTP/1.1\r\nHost: x\r\n\tb\r\n\r\n" GET("/"), BAD_CLOSE);
    ways(POST("/echo", "Content-Length: 1\r\nContent-Length: 2\r\n", "x"),
         BAD_CLOSE);
    ways(POST("/echo", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
              "0\r\n\r\n"),
         BAD_CLOSE);
    ways(POST("/echo", "Content-Length: +1\r\n", "x"), BAD_CLOSE);
    ways(POST("/echo", "Transfer-Encoding: gzip, chunked\r\n", "x"),
         UNKNOWN_CLOSE);
    ways("GET / HTTP/2.0\r\nHost: x\r\n\r\n" GET("/"),
         HEADER("505 HTTP Version Not Supported",
                CLOSE PLAIN LENGTH(31)) "505 HTTP Version Not Supported\n");
    ways(GET("/") "\x16\x03\x01 tls" GET("/"), HELLO BAD_CLOSE);
    ways("GET / HTTP/1.1", "");
    ways("oops no line end", BAD_CLOSE);
    /* Wrong where the input ends: said however few bytes came last. */
    ways("GET / HTTP/9x", BAD_CLOSE);
    ways(POST("/echo", "Transfer-Encoding: chunked\r\n", "1;aaaaaaaaa\x01"),
         BAD_CLOSE);
}

/* n bytes of filling between two texts */
static char *filled(const char *before, size_t n, const char *after)
{
    size_t a = strlen(before), b = strlen(after);
    char *text = malloc(a + n + b + 1);

    memcpy(text, before, a);
    memset(text + a, 'f', n);
    memcpy(text + a + n, after, b + 1);
    return text;
}

Test(http, size_limits)
{
    char *text;

    text = filled("GET /", 8192, " HTTP/1.1\r\nHost: x\r\n\r\n");
    ways(text, TOO_LONG);
    free(text);
    text = filled("GET /", 8191, " HTTP/1.1\r\nHost: x\r\n\r\n" GET("/"));
    ways(text, NOT_FOUND HELLO);
    free(text);
    text = filled("GET / HTTP/1.1\r\nHost: x\r\nF: ", 15 * 1024,
                  "\r\n\r\n" GET("/"));
    ways(text, HELLO HELLO);
    free(text);
    text = filled("GET / HTTP/1.1\r\nHost: x\r\nF: ", 16 * 1024,
                  "\r\n\r\n" GET("/"));
    ways(text, FIELDS_TOO_LARGE(CLOSE));
    free(text);
    /* Exactly the limit, and one byte more. */
    text = filled("GET / HTTP/1.1\r\nHost: x\r\nF: ", 16384 - 32, "\r\n\r\n");
    cr_assert_eq(strlen(text), 16384);
    ways(text, HELLO);
    free(text);
    text = filled("GET / HTTP/1.1\r\nHost: x\r\nF: ", 16384 - 31, "\r\n\r\n");
    ways(text, FIELDS_TOO_LARGE(CLOSE));
    free(text);
    /* Long, after another request: the window has to be moved up. */
    text = filled(GET("/") "GET / HTTP/1.1\r\nHost: x\r\nF: ", 15 * 1024,
                  "\r\n\r\n" GET("/"));
    ways(text, HELLO HELLO HELLO);
    free(text);
    text = filled(POST("/echo", "Transfer-Encoding: chunked\r\n", "0\r\nT: "),
                  17000, "\r\n\r\n");
    ways(text, FIELDS_TOO_LARGE(CLOSE));
    free(text);
    text = filled(POST("/echo", "Transfer-Encoding: chunked\r\n", "0\r\nT: "),
                  15000, "\r\n\r\n" GET("/"));
    ways(text, ECHOED("", 0, "") HELLO);
    free(text);
    text = filled(POST("/echo", "Transfer-Encoding: chunked\r\n", "1;"), 17000,
                  "\r\nx\r\n0\r\n\r\n");
    ways(text, BAD_CLOSE);
    free(text);
}

Test(http, content_type_of_any_sensible_length_is_repeated)
{
    char *text = filled("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: a/",
                        1022, "\r\nContent-Length: 1\r\n\r\nx");
    char *type = filled("Content-Type: a/", 1022, "\r\n");
    char expected[2000];

    snprintf(expected, sizeof expected,
             "HTTP/1.1 200 OK\r\nDate: *\r\n%sContent-Length: 1\r\n\r\nx",
             type);
    ways(text, expected);
    free(text);
    text = filled("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: a/", 1023,
                  "\r\nContent-Length: 1\r\n\r\nx" GET("/"));
    ways(text, FIELDS_TOO_LARGE("") HELLO);
    free(text);
    free(type);
}

Test(http, errors_are_counted)
{
    struct talk *t = http();

    talk_all(t, GET("/") GET("/nowhere")
                    GET("/work/x") "BREW / HTTP/1.1\r\nHost: x\r\n\r\nbad\r\n");
    cr_assert_eq(t->st.requests, 5);
    cr_assert_eq(t->st.client_errors, 3);
    cr_assert_eq(t->st.server_errors, 1);
}

/* ======== random conversations =========================================== */

static uint64_t seed = 88172645463325252u;

static size_t any(size_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (size_t)(seed % n);
}

Test(http, random_conversations_do_not_depend_on_the_pieces)
{
    static const char *const parts[] = {
        GET("/"),
        HEAD("/"),
        GET("/nowhere"),
        GET("/bytes/999"),
        GET("/bytes/20000"),
        GET("/work/1"),
        GET("/sleep/x"),
        GET("/echo"),
        POST("/echo", "Content-Length: 7\r\n", "seven77"),
        POST("/echo", EXPECT "Content-Length: 2\r\n", "22"),
        POST("/echo", "Transfer-Encoding: chunked\r\nContent-Type: q/r\r\n",
             "3\r\nabc\r\n1\r\nd\r\n0\r\nT: u\r\n\r\n"),
        "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nput",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\n" GET("/healthz"),
    };
    struct talk *t = http();

    for (int round = 0; round < 300; round++) {
        char input[8192] = "", *first;

        for (size_t n = 1 + any(30); n > 0; n--)
            strcat(input, parts[any(sizeof parts / sizeof parts[0])]);
        if (any(3) == 0)
            input[any(strlen(input))] ^= (char)(1 << any(7));
        talk_again(t);
        t->in_piece = t->out_piece = 0;
        t->borrow = false;
        talk_all(t, input);
        first = strdup(talk_heard(t));
        for (int way = 0; way < 4; way++) {
            talk_again(t);
            t->in_piece = 1 + any(60);
            t->out_piece = 1 + any(400);
            t->borrow = any(2);
            talk_all(t, input);
            cr_assert_str_eq(talk_heard(t), first, "%s", input);
        }
        free(first);
    }
}

/* ======== the end of the input =========================================== */

Test(http, every_prefix_then_the_end)
{
    static const char input[] =
        POST("/echo", "Content-Length: 5\r\nExpect: 100-continue\r\n", "hello")
            POST("/echo", "Transfer-Encoding: chunked\r\n",
                 "5\r\nhello\r\n0\r\nT: u\r\n\r\n") GET("/");
    static const char whole[] =
        CONTINUE ECHOED("", 5, "hello") ECHOED("", 5, "hello") HELLO;
    struct talk *t = http();
    size_t last = 0;

    for (size_t n = 0; n < sizeof input; n++) {
        const char *heard;

        talk_again(t);
        cr_assert_eq(talk_bytes(t, input, n, false), WANT_CLOSE);
        heard = talk_heard(t);
        cr_assert(strncmp(heard, whole, strlen(heard)) == 0,
                  "an unfinished request is not answered: %s", heard);
        cr_assert_geq(strlen(heard), last);
        last = strlen(heard);
        cr_assert_eq(t->s.file.fd, -1);
    }
    cr_assert_eq(last, sizeof whole - 1, "a request and FIN is answered");
    session_end(&t->s);
}

Test(http, half_close_still_gets_a_long_answer)
{
    struct talk *t = http();

    t->out_piece = 1000;
    cr_assert_eq(talk_all(t, GET("/bytes/200000")), WANT_CLOSE);
    cr_assert_gt(t->len, 200000);
}

Test(http, an_end_without_a_request_is_no_event)
{
    struct talk *t = http();

    cr_assert_eq(talk_all(t, ""), WANT_CLOSE);
    cr_assert_eq(t->len, 0);
    cr_assert_eq(t->st.requests, 0);
}

/* ======== closing without losing the answer ============================== */

Test(http, after_an_error_the_rest_is_discarded)
{
    struct talk *t = http();

    talk_say(t, "bad\r\n");
    cr_assert(t->s.fin, "everything is said");
    cr_assert_str_eq(talk_heard(t), BAD_CLOSE);
    cr_assert_eq(talk_say(t, GET("/")), WANT_RECV);
    cr_assert_eq(t->len, 0, "nothing is answered any more");
    cr_assert(!session_in_flight(&t->s));
    cr_assert_eq(talk_all(t, "tail"), WANT_CLOSE);
}

Test(http, fin_is_set_when_all_is_sent_not_before)
{
    struct talk *t = http();

    talk_lend(t);
    buf_append(&t->s.in, "bad\r\n", 5);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_SEND);
    cr_assert(!t->s.fin);
    buf_consume(&t->s.out, buf_len(&t->s.out) - 1);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_SEND);
    cr_assert(!t->s.fin);
    buf_consume(&t->s.out, 1);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_RECV);
    cr_assert(t->s.fin);
}

Test(http, discarding_is_bounded)
{
    struct talk *t = http();
    char kib[1025];
    int n = 0;

    memset(kib, 'x', 1024);
    kib[1024] = '\0';
    talk_say(t, "bad\r\n");
    while (talk_say(t, kib) == WANT_RECV)
        cr_assert_leq(++n, 65536, "more than 64 MiB is being discarded");
    cr_assert_geq(n, 65000);
}

Test(http, a_peer_that_asked_for_the_close_gets_it)
{
    struct talk *t = http();

    expect_say(t, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
               WANT_CLOSE, HELLO_CLOSE);
    cr_assert(!t->s.fin);
    talk_again(t);
    /* Unless it went on sending: then a close would reset the connection. */
    expect_say(t, "GET / HTTP/1.0\r\n\r\nmore", WANT_RECV, HELLO_CLOSE);
    cr_assert(t->s.fin);
}

/* The end of an answer longer than a window may have a long way to go: bytes
 * that the peer sends meanwhile must not meet a closed socket. */
Test(http, after_a_long_answer_the_peers_end_is_waited_for)
{
    struct talk *t = http();

    cr_assert_eq(talk_say(t, "GET /bytes/16384 HTTP/1.0\r\n\r\n"), WANT_CLOSE);
    talk_again(t);
    cr_assert_eq(talk_say(t, "GET /bytes/16385 HTTP/1.0\r\n\r\n"), WANT_RECV);
    cr_assert(t->s.fin);
    cr_assert(!session_in_flight(&t->s));
    cr_assert_eq(talk_say(t, "late"), WANT_RECV);
    cr_assert_eq(talk_all(t, ""), WANT_CLOSE);
}

Test(http, an_error_after_the_end_closes_at_once)
{
    struct talk *t = http();

    cr_assert_eq(talk_all(t, "bad\r\n"), WANT_CLOSE);
    cr_assert_str_eq(talk_heard(t), BAD_CLOSE);
}

/* ======== drain ========================================================== */

Test(http, drain_answers_what_is_here_and_closes)
{
    struct talk *t = http();

    cancel_request(&t->stop, CANCEL_DRAIN);
    expect_say(t, GET("/"), WANT_RECV, HELLO_CLOSE);
    cr_assert(t->s.fin);
    ways_of(t, GET("/nowhere"), strlen(GET("/nowhere")),
            HEADER("404 Not Found", CLOSE PLAIN LENGTH(14)) "404 Not Found\n");
    talk_again(t);
    /* Only the last of several says so. */
    expect_say(t, GET("/") GET("/healthz") GET("/"), WANT_RECV,
               HELLO OK HELLO_CLOSE);
    talk_again(t);
    expect_say(t, GET("/") "GET / HTTP/1.1\r\nHost:", WANT_RECV, HELLO_CLOSE);
    talk_again(t);
    expect_say(t, GET("/") "bad\r\n", WANT_RECV, HELLO BAD_CLOSE);
}

Test(http, drain_waits_for_an_upload)
{
    struct talk *t = http();

    expect_say(t, POST("/echo", "Content-Length: 4\r\n", "ab"), WANT_RECV, "");
    cancel_request(&t->stop, CANCEL_DRAIN);
    cr_assert(session_in_flight(&t->s));
    expect_say(t, "cd", WANT_RECV, ECHOED(CLOSE, 4, "abcd"));
    cr_assert(!session_in_flight(&t->s));
}

Test(http, drain_waits_for_a_download)
{
    struct talk *t = http();
    size_t whole;

    talk_say(t, GET("/bytes/100000") GET("/"));
    whole = t->len;
    talk_again(t);
    talk_lend(t);
    buf_append(&t->s.in, GET("/bytes/100000") GET("/"),
               strlen(GET("/bytes/100000") GET("/")));
    cr_assert_eq(session_step(&t->s, &t->st), WANT_SEND);
    cancel_request(&t->stop, CANCEL_DRAIN);
    cr_assert(session_in_flight(&t->s));
    t->open = true;
    cr_assert_eq(talk_run(t), WANT_RECV);
    cr_assert(t->s.fin);
    cr_assert_eq(t->len, whole + sizeof CLOSE - 1);
}

Test(http, drain_of_an_open_1_0_connection)
{
    struct talk *t = http();

    cancel_request(&t->stop, CANCEL_DRAIN);
    expect_say(t, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", WANT_RECV,
               HELLO_CLOSE);
    cr_assert(t->s.fin);
}

/* ======== in flight ====================================================== */

Test(http, in_flight_from_the_header_to_the_last_byte)
{
    static const char head[] = "POST /echo HTTP/1.1\r\nHost: x\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n";
    static const char body[] = "2\r\nab\r\n0\r\nT: u\r\n\r\n";
    struct talk *t = http();

    cr_assert(!session_in_flight(&t->s), "new");
    for (size_t i = 0; i < sizeof head - 1; i++) {
        cr_assert(!session_in_flight(&t->s), "header, byte %zu", i);
        talk_bytes(t, head + i, 1, true);
    }
    for (size_t i = 0; i < sizeof body - 2; i++) {
        cr_assert(session_in_flight(&t->s), "body, byte %zu", i);
        talk_bytes(t, body + i, 1, true);
    }
    cr_assert(session_in_flight(&t->s));
    talk_lend(t);
    buf_append(&t->s.in, "\n", 1);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_SEND);
    cr_assert(session_in_flight(&t->s), "answered, not sent");
    buf_consume(&t->s.out, buf_len(&t->s.out) - 1);
    cr_assert(session_in_flight(&t->s));
    buf_consume(&t->s.out, 1);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_RECV);
    cr_assert(!session_in_flight(&t->s), "sent");
}

/* An engine that lends its windows steps without one for the input; counting
 * from no window is what clang's sanitizer would report. */
Test(http, waits_for_a_chunk_without_a_window)
{
    struct talk *t = http();

    talk_lend(t);
    expect_say(t, POST("/echo", "Transfer-Encoding: chunked\r\n", "1\r\na\r\n"),
               WANT_RECV, "");
    buf_reclaim(&t->s.in);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_RECV);
    expect_say(t, "0\r\n\r\n", WANT_RECV, ECHOED("", 1, "a"));
}

Test(http, in_flight_while_a_handler_runs)
{
    struct talk *t = http();

    talk_lend(t);
    buf_append(&t->s.in, GET("/sleep/1"), strlen(GET("/sleep/1")));
    cr_assert_eq(session_step(&t->s, &t->st), WANT_WORK);
    cr_assert(session_in_flight(&t->s));
    session_work(&t->s);
    cr_assert(session_in_flight(&t->s));
    cr_assert_eq(session_step(&t->s, &t->st), WANT_SEND);
    cr_assert(session_in_flight(&t->s));
}

/* ======== deadlines ====================================================== */

Test(http, the_deadline_moves_with_requests_not_with_bytes)
{
    static const char input[] = POST("/echo", "Content-Length: 3\r\n", "abc");
    struct talk *t = http();
    uint32_t restarts = t->s.restarts;

    for (int round = 0; round < 3; round++) {
        talk_bytes(t, input, 1, true);
        cr_assert_neq(t->s.restarts, restarts, "the first byte of a request");
        restarts = t->s.restarts;
        for (size_t i = 1; i < sizeof input - 2; i++) {
            talk_bytes(t, input + i, 1, true);
            cr_assert_eq(t->s.restarts, restarts, "byte %zu", i);
        }
        talk_bytes(t, input + sizeof input - 2, 1, true);
        cr_assert_neq(t->s.restarts, restarts, "answered");
        restarts = t->s.restarts;
        talk_lend(t);
        session_step(&t->s, &t->st);
        cr_assert_eq(t->s.restarts, restarts, "waiting for the next");
    }
    /* Empty lines before a request are its first bytes, too. */
    talk_say(t, "\r");
    cr_assert_neq(t->s.restarts, restarts);
    restarts = t->s.restarts;
    talk_say(t, "\n");
    talk_say(t, "G");
    cr_assert_eq(t->s.restarts, restarts);
}

Test(http, discarding_does_not_move_the_deadline)
{
    struct talk *t = http();
    uint32_t restarts;

    talk_say(t, "bad\r\n");
    restarts = t->s.restarts;
    talk_say(t, "more");
    talk_say(t, GET("/"));
    cr_assert_eq(t->s.restarts, restarts);
}

/* A peer that sends single bytes makes the parser look again only when a line
 * has ended or the amount has doubled: `scanned` moves then. */
Test(http, single_bytes_are_not_parsed_again_each_time)
{
    struct talk *t = http();
    char *text = filled("GET / HTTP/1.1\r\nHost: x\r\nF: ", 15000, "\r\n\r\n");
    unsigned looks = 0;
    uint16_t scanned = 0;

    t->borrow = true;
    for (size_t i = 0; i < strlen(text); i++) {
        talk_bytes(t, text + i, 1, true);
        looks += t->s.scanned != scanned;
        scanned = t->s.scanned;
    }
    cr_assert_str_eq(talk_heard(t), HELLO);
    cr_assert_leq(looks, 25);
    free(text);
}

/* ======== handlers ======================================================= */

static int64_t clock_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

Test(http, work_and_sleep_are_answered)
{
    struct talk *t = http();

    ways(GET("/work/0") GET("/work/20") GET("/sleep/0") GET("/sleep/20"),
         DONE DONE DONE DONE);
    talk_say(t, GET("/work/1") GET("/sleep/1") GET("/"));
    cr_assert_eq(t->works, 2);
}

Test(http, work_burns_cpu_of_this_thread)
{
    struct talk *t = http();
    int64_t before = clock_ns(CLOCK_THREAD_CPUTIME_ID), burnt;

    talk_say(t, GET("/work/50000"));
    burnt = clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
    cr_assert_geq(burnt, 50000000);
    cr_assert_leq(burnt, 100000000);
}

Test(http, sleep_takes_time_but_no_cpu)
{
    struct talk *t = http();
    int64_t wall = clock_ns(CLOCK_MONOTONIC);
    int64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);

    talk_say(t, GET("/sleep/50000"));
    cr_assert_geq(clock_ns(CLOCK_MONOTONIC) - wall, 50000000);
    cr_assert_leq(clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu, 25000000);
}

Test(http, earlier_answers_leave_before_a_handler_runs)
{
    struct talk *t = http();

    talk_lend(t);
    buf_append(&t->s.in, GET("/") GET("/work/1") GET("/"),
               strlen(GET("/") GET("/work/1") GET("/")));
    cr_assert_eq(session_step(&t->s, &t->st), WANT_SEND);
    talk_send(t);
    cr_assert_str_eq(talk_heard(t), HELLO);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_WORK);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_WORK, "still");
    session_work(&t->s);
    cr_assert_eq(buf_len(&t->s.out), 0, "the step writes, not the handler");
    cr_assert_eq(session_step(&t->s, &t->st), WANT_SEND);
    talk_send(t);
    cr_assert_str_eq(talk_heard(t), DONE HELLO);
}

Test(http, handlers_give_up_when_told)
{
    static const char *const inputs[] = {GET("/work/1000000"),
                                         GET("/sleep/1000000")};

    for (int i = 0; i < 2; i++) {
        struct talk *t = http();
        int64_t start = clock_ns(CLOCK_MONOTONIC);

        cancel_deadline(&t->stop, start + 20000000);
        talk_say(t, inputs[i]);
        cr_assert_leq(clock_ns(CLOCK_MONOTONIC) - start, 500000000);
        cr_assert_not_null(
            strstr(talk_heard(t), "503 Service Unavailable\r\n"));
        cr_assert_not_null(strstr(t->said, CLOSE));
    }
}

Test(http, a_drain_lets_handlers_finish)
{
    struct talk *t = http();
    int64_t start = clock_ns(CLOCK_MONOTONIC);

    cancel_request(&t->stop, CANCEL_DRAIN);
    talk_say(t, GET("/sleep/30000"));
    cr_assert_geq(clock_ns(CLOCK_MONOTONIC) - start, 30000000);
    cr_assert_str_eq(talk_heard(t),
                     HEADER("200 OK", CLOSE PLAIN LENGTH(5)) "done\n");
}

Test(http, no_work_without_a_handler, .signal = SIGABRT)
{
    struct talk *t = http();

    session_work(&t->s);
}

/* ======== /metrics ======================================================= */

/* Takes the chunks of a body apart, in place; returns what follows them. */
static char *unchunk(char *body)
{
    char *to = body, *from = body;

    for (;;) {
        char *end;
        size_t n = strtoul(from, &end, 16);

        cr_assert(end > from && strncmp(end, "\r\n", 2) == 0);
        from = end + 2;
        memmove(to, from, n);
        to += n;
        from += n;
        cr_assert(strncmp(from, "\r\n", 2) == 0);
        from += 2;
        if (n == 0)
            break;
    }
    *to = '\0';
    return from;
}

static void metrics_are(const char *text)
{
    for (const char *line = text; *line != '\0';) {
        size_t n = strcspn(line, "\n");

        cr_assert_eq(line[n], '\n', "whole lines: %s", line);
        cr_assert(strncmp(line, "# HELP ioladder_", 16) == 0 ||
                      strncmp(line, "# TYPE ioladder_", 16) == 0 ||
                      strncmp(line, "ioladder_", 9) == 0,
                  "%.80s", line);
        line += n + 1;
    }
#define X(name, kind, help)                                                    \
    cr_assert_not_null(strstr(text, "# HELP ioladder_" #name));
    STATS_LIST(X)
#undef X
    for (int i = 0; i < 100; i++) {
        char line[64];

        snprintf(line, sizeof line,
                 "ioladder_accepted_total{worker=\"%d\"} %d\n", i, i * i);
        cr_assert_not_null(strstr(text, line), "no %s", line);
    }
}

Test(http, metrics)
{
    static struct stats workers[100];
    struct talk *t = http();

    for (int i = 0; i < 100; i++) {
        stats_register(&workers[i], i);
        STAT_ADD(&workers[i], accepted, (uint64_t)(i * i));
    }
    for (size_t i = 0; i < PIECES; i++) {
        char *body, *after;

        t->out_piece = pieces[i];
        t->borrow = i % 2;
        talk_again(t);
        cr_assert_eq(talk_say(t, GET("/metrics") GET("/healthz")), WANT_RECV);
        talk_heard(t);
        body = strstr(t->said, "\r\n\r\n") + 4;
        cr_assert(strncmp(t->said,
                          HEADER("200 OK",
                                 "Content-Type: text/plain; version=0.0.4\r\n"
                                 "Transfer-Encoding: chunked\r\n"),
                          (size_t)(body - t->said)) == 0);
        after = unchunk(body);
        cr_assert_str_eq(after, OK, "the next answer follows at once");
        metrics_are(body);
    }
    /* HTTP/1.0 has no chunks: the end of the connection ends it, keep-alive or
     * not, and without waiting for the peer's own end. */
    talk_again(t);
    cr_assert_eq(talk_say(t, "GET /metrics HTTP/1.0\r\n"
                             "Connection: keep-alive\r\n\r\n"),
                 WANT_RECV);
    cr_assert(t->s.fin);
    talk_heard(t);
    cr_assert(strncmp(t->said,
                      HEADER("200 OK", CLOSE
                             "Content-Type: text/plain; version=0.0.4\r\n"),
                      60) == 0);
    cr_assert_null(strstr(t->said, "Transfer-Encoding"));
    metrics_are(strstr(t->said, "\r\n\r\n") + 4);
}

/* ======== what a request may not cost ==================================== */

#ifndef SANITIZED
/* In a process that dies of any system call but its exit. */
Test(http, home_makes_no_system_call)
{
    struct talk *t = http();
    int status;
    pid_t pid;

    talk_say(t, GET("/"));
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                     offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        };
        struct sock_fprog filter = {.len = 4, .filter = code};

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
            _exit(2);
        talk_lend(t);
        for (int i = 0; i < 10000; i++) {
            buf_append(&t->s.in, GET("/"), strlen(GET("/")));
            if (session_step(&t->s, &t->st) != WANT_SEND)
                _exit(3);
            buf_consume(&t->s.out, buf_len(&t->s.out));
            if (session_step(&t->s, &t->st) != WANT_RECV)
                _exit(4);
        }
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status), "killed by signal %d", WTERMSIG(status));
    cr_assert_eq(WEXITSTATUS(status), 0);
}
#endif

Test(http, a_request_without_a_body_never_allocates)
{
    static const char *const inputs[] = {
        GET("/"),
        HEAD("/"),
        GET("/healthz"),
        GET("/nowhere"),
        GET("/metrics"),
        GET("/bytes/100000"),
        GET("/work/1"),
        GET("/sleep/1"),
        GET("/echo"),
        GET("/files/x"),
        GET("/%68ealthz"),
        GET("/work/x"),
        POST("/echo", "Content-Type: a/b\r\nContent-Length: 0\r\n", ""),
        "BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    struct talk *t = http();
    char big[1 << 19];

    /* The transcript gets its memory first; so does the C library's idea of the
     * time zone, once per process. */
    memset(big, 'x', sizeof big);
    t->said = malloc(t->cap = 1 << 20);
    talk_say(t, GET("/"));
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        long before = alloc_count();

        t->len = 0;
        cr_assert_eq(talk_say(t, inputs[i]), WANT_RECV);
        cr_assert_eq(alloc_count(), before, "%s", inputs[i]);
        cr_assert_gt(t->len, 50);
    }
    talk_say(t, POST("/echo", "Content-Length: 1\r\n", "x"));
    cr_assert_gt(alloc_count(), 0, "the counter counts");
}

Test(http, a_connection_that_breaks_off_leaves_nothing)
{
    static const char input[] = POST(
        "/echo", "Content-Length: 5\r\nContent-Type: a/b\r\n", "hello")
        POST(
            "/echo", "Transfer-Encoding: chunked\r\nContent-Type: a/b\r\n",
            "5\r\nhello\r\n0\r\nT: u\r\n\r\n") "GET /files/x HTTP/1.1\r\nHost: "
                                               "x\r\nContent-Length: 3\r\n\r\n"
                                               "xyz" POST("/echo",
                                                          "Transfer-Encoding: "
                                                          "chunked\r\n",
                                                          "5\r\nhello\r\nx");
    struct talk *t = http();
    long before;

    t->said = malloc(t->cap = 1 << 16);
    talk_say(t, GET("/")); /* the C library reads the time zone, once */
    before = alloc_live();
    for (size_t n = 0; n < sizeof input; n++) {
        talk_bytes(t, input, n, true);
        session_end(&t->s);
        cr_assert_eq(alloc_live(), before, "after %zu bytes", n);
        talk_again(t);
    }
}

Test(http, no_memory_for_a_body_is_503)
{
    static const char unavailable[] =
        HEADER("503 Service Unavailable",
               CLOSE PLAIN LENGTH(24)) "503 Service Unavailable\n";
    static const char input[] =
        POST("/echo", "Content-Length: 5000\r\nContent-Type: a/b\r\n", "");

    for (long nth = 1; nth <= 3; nth++) {
        struct talk *t = http();
        char kib[1025];

        memset(kib, 'x', 1024);
        kib[1024] = '\0';
        t->said = malloc(t->cap = 1 << 16);
        if (!alloc_fail(nth))
            return; /* under a sanitizer */
        talk_say(t, input);
        for (int i = 0; i < 4 && t->len == 0; i++)
            talk_say(t, kib);
        alloc_fail(0);
        cr_assert_str_eq(talk_heard(t), unavailable);
        cr_assert_null(t->s.body.mem);
        cr_assert(t->s.fin);
        cr_assert_eq(t->st.server_errors, 1);
    }
}

/* ======== files ========================================================== */

static char root[TEMP_DIR];

static void make(const char *name, const char *text, size_t n)
{
    char path[TEMP_PATH];
    int fd;

    snprintf(path, sizeof path, "%s/%s", root, name);
    fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, n), (ssize_t)n);
    /* 1994-11-06 08:49:37: the example of RFC 9110. */
    cr_assert_eq(
        futimens(fd, (struct timespec[2]){{784111777, 0}, {784111777, 0}}), 0);
    close(fd);
}

static char large[100001];

static void make_root(void)
{
    char path[TEMP_PATH];

    cr_assert(temp_dir(root, "http"));
    make("hello.txt", "hello", 5);
    make("empty.html", "", 0);
    make("a b%41.css", "x", 1);
    for (size_t i = 0; i < sizeof large - 1; i++)
        large[i] = (char)(' ' + (i * 17 + i / 4001) % 90);
    make("large", large, sizeof large - 1);
    snprintf(path, sizeof path, "%s/dir", root);
    cr_assert_eq(mkdir(path, 0755), 0);
    make("dir/in.json", "{}", 2);
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void remove_root(void)
{
    talk_end();
    nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(http_files, .init = make_root, .fini = remove_root);

static struct talk *http_files(void)
{
    struct talk *t = http();

    t->app.root_fd = files_root(root);
    return t;
}

#define MODIFIED "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
#define HELLO_TXT HEADER("200 OK", PLAIN LENGTH(5) MODIFIED) "hello"

Test(http_files, are_sent)
{
    struct talk *t = http_files();
    char expected[sizeof large + 1000];

#define FILES(input, expected) ways_of(t, input, strlen(input), expected)
    FILES(GET("/files/hello.txt"), HELLO_TXT);
    FILES(GET("/files/hello.txt?v=2"), HELLO_TXT);
    FILES(GET("/files/hell%6f.txt"), HELLO_TXT);
    FILES(GET("/files/empty.html"),
          HEADER("200 OK", "Content-Type: text/html\r\n" LENGTH(0) MODIFIED));
    FILES(GET("/files/dir/in.json"),
          HEADER("200 OK",
                 "Content-Type: application/json\r\n" LENGTH(2) MODIFIED) "{}");
    FILES(
        GET("/files/a%20b%2541.css"),
        HEADER("200 OK", "Content-Type: text/css\r\n" LENGTH(1) MODIFIED) "x");
    FILES(GET("/files/a%20b%41.css"), NOT_FOUND);
    FILES(HEAD("/files/hello.txt") GET("/files/hello.txt"),
          HEADER("200 OK", PLAIN LENGTH(5) MODIFIED) HELLO_TXT);
    FILES("GET /files/hello.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
          "\r\nxyz" GET("/"),
          HELLO_TXT HELLO);
    FILES("GET /files/dir HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
          "\r\nxyz" GET("/"),
          NOT_FOUND HELLO);
    FILES("GET /files/hello.txt HTTP/1.0\r\n\r\n",
          HEADER("200 OK", CLOSE PLAIN LENGTH(5) MODIFIED) "hello");
    snprintf(expected, sizeof expected, "%s%s%s%s", HELLO,
             HEADER("200 OK", BINARY LENGTH(100000) MODIFIED), large,
             HELLO_TXT HELLO);
    FILES(GET("/") GET("/files/large") GET("/files/hello.txt") GET("/"),
          expected);
    session_end(&t->s);
}

Test(http_files, share_a_send_with_their_header)
{
    struct talk *t = http_files();

    talk_say(t, GET("/files/hello.txt"));
    cr_assert_eq(t->sends, 1);
    cr_assert_eq(t->reads, 1);
    talk_again(t);
    talk_say(t, GET("/files/large"));
    cr_assert_leq(t->reads, sizeof large / BUF_SIZE + 1);
    talk_again(t);
    talk_say(t, GET("/files/empty.html"));
    cr_assert_eq(t->reads, 0);
}

Test(http_files, are_not_read_into_a_remainder_of_the_window)
{
    struct talk *t = http_files();

    talk_lend(t);
    for (int i = 0; i < 115; i++)
        buf_append(&t->s.in, GET("/"), strlen(GET("/")));
    buf_append(&t->s.in, GET("/files/large"), strlen(GET("/files/large")));
    cr_assert_eq(session_step(&t->s, &t->st), WANT_SEND);
    cr_assert_lt(buf_room(&t->s.out), 4096, "this is about a small rest");
    cr_assert_eq(buf_len(&t->s.in), 0);
    cr_assert_eq(t->st.requests, 116);
}

Test(http_files, only_what_is_below_and_regular)
{
    struct talk *t = http_files();
    char path[TEMP_PATH], to[TEMP_PATH];
    static const char *const missing[] = {
        "nothing",
        "",
        ".",
        "dir",
        "dir/",
        "dir/nothing",
        "hello.txt/",
        "..",
        "../",
        "../hello.txt",
        "dir/../hello.txt",
        "%2e%2e/hello.txt",
        "..%2fhello.txt",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "../../../../../../etc/passwd",
        "link",
        "up/hello.txt",
        "inside",
        "pipe",
        "hello.txt%20",
    };

    snprintf(path, sizeof path, "%s/link", root);
    cr_assert_eq(symlink("/etc/passwd", path), 0);
    snprintf(path, sizeof path, "%s/inside", root);
    cr_assert_eq(symlink("hello.txt", path), 0);
    snprintf(path, sizeof path, "%s/up", root);
    snprintf(to, sizeof to, "../%s", strrchr(root, '/') + 1);
    cr_assert_eq(symlink(to, path), 0);
    snprintf(path, sizeof path, "%s/pipe", root);
    cr_assert_eq(mkfifo(path, 0644), 0);
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        char input[400];

        snprintf(input, sizeof input,
                 "GET /files/%s HTTP/1.1\r\nHost: x\r\n\r\n", missing[i]);
        talk_again(t);
        talk_say(t, input);
        cr_assert_str_eq(talk_heard(t), NOT_FOUND, "%s", missing[i]);
    }
    FILES(GET("/files/hello.txt%00.html") GET("/"), BAD_CLOSE);
}

Test(http_files, without_a_root_there_are_none)
{
    ways(GET("/files/hello.txt"), NOT_FOUND);
    ways(GET("/files/"), NOT_FOUND);
}

Test(http_files, a_long_name_is_not_found)
{
    struct talk *t = http_files();
    char *text = filled("GET /files/", 8000, " HTTP/1.1\r\nHost: x\r\n\r\n");

    FILES(text, NOT_FOUND);
    free(text);
    text = filled("GET /files/", 300, " HTTP/1.1\r\nHost: x\r\n\r\n");
    FILES(text, NOT_FOUND);
    free(text);
}

Test(http_files, one_that_shrinks_ends_the_connection)
{
    struct talk *t = http_files();
    char path[TEMP_PATH];

    snprintf(path, sizeof path, "%s/large", root);
    talk_lend(t);
    buf_append(&t->s.in, GET("/files/large") GET("/"),
               strlen(GET("/files/large") GET("/")));
    cr_assert_eq(session_step(&t->s, &t->st), WANT_FILE);
    talk_file(t);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_SEND);
    cr_assert_eq(truncate(path, 20000), 0);
    t->open = true;
    cr_assert_eq(talk_run(t), WANT_CLOSE);
    cr_assert_lt(t->len, 21000);
    cr_assert_gt(t->len, 20000, "what could be read was sent");
    cr_assert_eq(t->s.file.fd, -1);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_CLOSE);
}

Test(http_files, one_that_fails_at_once_sends_its_header_and_closes)
{
    struct talk *t = http_files();

    talk_lend(t);
    buf_append(&t->s.in, GET("/files/hello.txt"),
               strlen(GET("/files/hello.txt")));
    cr_assert_eq(session_step(&t->s, &t->st), WANT_FILE);
    session_file(&t->s, -EIO);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_SEND);
    talk_send(t);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_CLOSE);
}

Test(http_files, one_that_grows_is_cut_where_it_was)
{
    struct talk *t = http_files();

    talk_lend(t);
    buf_append(&t->s.in, GET("/files/hello.txt"),
               strlen(GET("/files/hello.txt")));
    cr_assert_eq(session_step(&t->s, &t->st), WANT_FILE);
    make("hello.txt", "hello and more", 14);
    t->open = true;
    cr_assert_eq(talk_run(t), WANT_RECV);
    cr_assert_str_eq(talk_heard(t), HELLO_TXT);
}

Test(http_files, a_time_to_come_is_not_claimed)
{
    struct talk *t = http_files();
    char path[TEMP_PATH], *field;
    struct tm tm = {0};

    snprintf(path, sizeof path, "%s/hello.txt", root);
    cr_assert_eq(
        utimensat(AT_FDCWD, path,
                  (struct timespec[2]){{4000000000, 0}, {4000000000, 0}}, 0),
        0);
    talk_say(t, GET("/files/hello.txt"));
    field = strstr(t->said, "Last-Modified: ");
    cr_assert_not_null(field);
    strptime(field + 15, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    cr_assert_leq(timegm(&tm), time(NULL) + 1);
    cr_assert_eq(utimensat(AT_FDCWD, path,
                           (struct timespec[2]){{-1000, 0}, {-1000, 0}}, 0),
                 0);
    talk_say(t, GET("/files/hello.txt"));
    cr_assert_not_null(
        strstr(t->said, "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n"));
}

Test(http_files, no_descriptor_is_503_and_the_connection_lives)
{
    struct talk *t = http_files();
    struct rlimit old, none = {0, 0};

    getrlimit(RLIMIT_NOFILE, &old);
    none.rlim_max = old.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    talk_say(t, GET("/files/hello.txt") GET("/"));
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    cr_assert_str_eq(
        talk_heard(t),
        HEADER("503 Service Unavailable",
               PLAIN LENGTH(24)) "503 Service Unavailable\n" HELLO);
}

static int open_now(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

Test(http_files, descriptors_are_closed)
{
    struct talk *t = http_files();
    int before = open_now();

    ways_of(t, GET("/files/hello.txt") GET("/files/dir"),
            strlen(GET("/files/hello.txt") GET("/files/dir")),
            HELLO_TXT NOT_FOUND);
    cr_assert_eq(open_now(), before);
    talk_say(t, HEAD("/files/large"));
    cr_assert_eq(open_now(), before, "while the connection is idle");
    talk_say(t, GET("/files/large") HEAD("/files/dir") GET("/files/empty.html")
                    GET("/files/hello.txt"));
    cr_assert_eq(open_now(), before, "one connection, many files");
    talk_again(t);
    talk_lend(t);
    buf_append(&t->s.in, GET("/files/large"), strlen(GET("/files/large")));
    cr_assert_eq(session_step(&t->s, &t->st), WANT_FILE);
    cr_assert(session_in_flight(&t->s));
    cr_assert_eq(open_now(), before + 1);
    session_end(&t->s); /* in the middle of a file */
    cr_assert_eq(open_now(), before);
}
