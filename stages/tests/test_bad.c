/* test_bad.c - malformed requests as raw bytes.
 *
 * Each gets its status, Connection: close and the close itself; nothing else is
 * answered on that connection, and the next connection works.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

TestSuite(http_bad, .timeout = 300);

struct bad {
    int status;
    const char *name, *bytes;
    size_t len;
};

#define BAD(status, name, bytes)                                               \
    {                                                                          \
        status, name, bytes, sizeof(bytes) - 1                                 \
    }
#define LINE "GET / HTTP/1.1\r\n"
#define HOST LINE "Host: a\r\n"
#define POST "POST /echo HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

static const struct bad table[] = {
    /* Host */
    BAD(400, "no Host", LINE "\r\n"),
    BAD(400, "two Host", HOST "Host: a\r\n\r\n"),
    BAD(400, "two different Host", HOST "Host: b\r\n\r\n"),
    BAD(400, "blank in Host", LINE "Host: a b\r\n\r\n"),
    BAD(400, "slash in Host", LINE "Host: a/b\r\n\r\n"),
    BAD(400, "tab in Host", LINE "Host: a\tb\r\n\r\n"),
    /* Framing */
    BAD(400, "both framings",
        POST
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
    BAD(400, "both framings, other order",
        POST
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    BAD(400, "length word", POST "Content-Length: abc\r\n\r\n"),
    BAD(400, "length minus", POST "Content-Length: -1\r\n\r\n"),
    BAD(400, "length plus", POST "Content-Length: +1\r\n\r\nx"),
    BAD(400, "length hex", POST "Content-Length: 0x1\r\n\r\nx"),
    BAD(400, "length empty", POST "Content-Length:\r\n\r\n"),
    BAD(400, "length blank", POST "Content-Length: 1 2\r\n\r\n"),
    BAD(400, "length decimal point", POST "Content-Length: 1.0\r\n\r\nx"),
    BAD(400, "length trailing letter", POST "Content-Length: 1a\r\n\r\nx"),
    BAD(400, "length list", POST "Content-Length: 1, 2\r\n\r\nx"),
    BAD(400, "length twice, different",
        POST "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"),
    BAD(400, "length overflows",
        POST "Content-Length: 99999999999999999999999\r\n\r\nx"),
    BAD(400, "length overflows to small",
        POST "Content-Length: 18446744073709551617\r\n\r\nx"),
    BAD(413, "length over the limit", POST "Content-Length: 1048577\r\n\r\n"),
    BAD(413, "length huge", POST "Content-Length: 9223372036854775807\r\n\r\n"),
    BAD(501, "coding gzip", POST "Transfer-Encoding: gzip\r\n\r\n"),
    BAD(501, "coding list", POST "Transfer-Encoding: gzip, chunked\r\n\r\n"),
    BAD(501, "coding with letter", POST "Transfer-Encoding: xchunked\r\n\r\n"),
    /* Chunks */
    BAD(400, "chunk size word", CHUNKED "g\r\n"),
    BAD(400, "chunk size minus", CHUNKED "-1\r\n"),
    BAD(400, "chunk size plus", CHUNKED "+1\r\n"),
    BAD(400, "chunk size empty", CHUNKED "\r\n"),
    BAD(400, "chunk size 0x", CHUNKED "0x1\r\n"),
    BAD(400, "chunk size blank first", CHUNKED " 1\r\n"),
    BAD(400, "chunk size overflows", CHUNKED "11111111111111111\r\n"),
    BAD(400, "chunk size overflows to 1", CHUNKED "10000000000000001\r\n"),
    BAD(400, "chunk size bare LF", CHUNKED "1\nx\r\n"),
    BAD(400, "chunk data too long", CHUNKED "1\r\nxy\r\n0\r\n\r\n"),
    BAD(400, "chunk end bare LF", CHUNKED "1\r\nx\n0\r\n\r\n"),
    BAD(400, "chunk control character", CHUNKED "1;a=\001\r\nx\r\n"),
    BAD(413, "chunk over the limit", CHUNKED "7fffffffffffffff\r\n"),
    BAD(400, "trailer folded", CHUNKED "0\r\nA: b\r\n c\r\n\r\n"),
    BAD(400, "trailer bare LF", CHUNKED "0\r\nA: b\n\r\n"),
    BAD(400, "trailer without colon", CHUNKED "0\r\nA\r\n\r\n"),
    BAD(400, "trailer space before colon", CHUNKED "0\r\nA : b\r\n\r\n"),
    /* Fields */
    BAD(400, "obs-fold blank", HOST "A: b\r\n c\r\n\r\n"),
    BAD(400, "obs-fold tab", HOST "A: b\r\n\tc\r\n\r\n"),
    BAD(400, "fold before the first field", LINE " Host: a\r\n\r\n"),
    BAD(400, "space before colon", HOST "A : b\r\n\r\n"),
    BAD(400, "tab before colon", HOST "A\t: b\r\n\r\n"),
    BAD(400, "no colon", HOST "Abc\r\n\r\n"),
    BAD(400, "empty name", HOST ": b\r\n\r\n"),
    BAD(400, "blank in name", HOST "A b: c\r\n\r\n"),
    BAD(400, "brackets in name", HOST "A(b): c\r\n\r\n"),
    BAD(400, "control in name", HOST "A\001: c\r\n\r\n"),
    BAD(400, "byte over 127 in name", HOST "A\377: c\r\n\r\n"),
    BAD(400, "NUL in name", HOST "A\0b: c\r\n\r\n"),
    BAD(400, "NUL in value", HOST "A: b\0c\r\n\r\n"),
    BAD(400, "control in value", HOST "A: b\001c\r\n\r\n"),
    BAD(400, "DEL in value", HOST "A: b\177c\r\n\r\n"),
    BAD(400, "bare CR in value", HOST "A: b\rc\r\n\r\n"),
    /* Line ends */
    BAD(400, "bare LF everywhere", "GET / HTTP/1.1\nHost: a\n\n"),
    BAD(400, "bare LF after the request line",
        "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    BAD(400, "bare LF after a field", LINE "Host: a\n\r\n"),
    BAD(400, "bare LF at the end", LINE "Host: a\r\n\n"),
    BAD(400, "bare CR in the request line", "GET / HTTP/1.1\rHost: a\r\n\r\n"),
    BAD(400, "bare LF first", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    /* Request line */
    BAD(400, "no version", "GET /\r\nHost: a\r\n\r\n"),
    BAD(400, "no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    BAD(400, "two blanks", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    BAD(400, "two blanks before the version",
        "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    BAD(400, "tab for blank", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    BAD(400, "blank first", " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    BAD(400, "blank at the end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    BAD(400, "four words", "GET / x HTTP/1.1\r\nHost: a\r\n\r\n"),
    BAD(400, "method with colon", "G:T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    BAD(400, "control in method", "G\001T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    BAD(400, "control in target", "GET /\001 HTTP/1.1\r\nHost: a\r\n\r\n"),
    BAD(400, "NUL in target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    BAD(400, "target is a word", "GET index HTTP/1.1\r\nHost: a\r\n\r\n"),
    BAD(400, "lower case version", "GET / http/1.1\r\nHost: a\r\n\r\n"),
    BAD(400, "version without minor", "GET / HTTP/1\r\nHost: a\r\n\r\n"),
    BAD(400, "version is a word", "GET / HTTP/x.y\r\nHost: a\r\n\r\n"),
    BAD(400, "version of two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    BAD(505, "version 2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    BAD(505, "version 0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    BAD(505, "version 3.1", "GET / HTTP/3.1\r\nHost: a\r\n\r\n"),
    /* Another protocol altogether */
    BAD(505, "HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    BAD(400, "TLS hello", "\026\003\001\002\0\001\0\001\374\003\003\r\n\r\n"),
    BAD(400, "SSH", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
};

/* The answer, its Connection: close, the end, and nothing in between. */
static void must_be_refused(const struct server *s, const struct bad *b,
                            struct rng *r, size_t piece)
{
    struct client c;
    struct reply a;

    client_open(&c, s);
    client_send_pieces(&c, b->bytes, b->len, r, piece);
    c.err = 0; /* byte by byte, the server may have closed by now */
    cr_expect(client_reply(&c, &a), "%s: no answer, %s", b->name,
              strerror(c.err));
    cr_expect(a.status == b->status, "%s: %d, not %d", b->name, a.status,
              b->status);
    cr_expect(a.close, "%s: no Connection: close", b->name);
    cr_expect(reply_field(&a, "Date"), "%s: no Date", b->name);
    cr_expect(a.length >= 0, "%s: no Content-Length", b->name);
    cr_expect(client_ends_silently(&c), "%s: not closed", b->name);
    reply_free(&a);
    client_close(&c);
    cr_assert(server_answers(s), "after %s: %s", b->name, server_stderr(s));
}

Test(http_bad, table)
{
    struct rng r = rng_start(20);
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        must_be_refused(&s, &table[i], &r, 1 << 20);
        must_be_refused(&s, &table[i], &r, 1);
    }
    server_stop(&s);
}

/* Whatever is wrong stays wrong behind requests that are right, which are
 * answered first; what follows it is not looked at. */
Test(http_bad, behind_good_requests)
{
    static const char good[] = "GET /bytes/7 HTTP/1.1\r\nHost: a\r\n\r\n";
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char wire[1024], *w = wire;
        struct client c;
        struct reply a;

        w = mempcpy(w, good, sizeof(good) - 1);
        w = mempcpy(w, good, sizeof(good) - 1);
        w = mempcpy(w, table[i].bytes, table[i].len);
        w = mempcpy(w, good, sizeof(good) - 1);
        client_open(&c, &s);
        client_send(&c, wire, (size_t)(w - wire));
        for (int k = 0; k < 2; k++) {
            cr_expect(client_reply(&c, &a) && a.status == 200 && a.len == 7,
                      "%s: good request %d", table[i].name, k);
            reply_free(&a);
        }
        /* The bytes that follow may complete what was incomplete. */
        cr_expect(client_reply(&c, &a) && a.status == table[i].status, "%s: %d",
                  table[i].name, a.status);
        reply_free(&a);
        cr_expect(client_ends_silently(&c), "%s: not closed", table[i].name);
        client_close(&c);
    }
    cr_assert(server_answers(&s));
    server_stop(&s);
}

/* ==== too large =========================================================== */

static void too_large(const struct server *s, int status, const char *name,
                      const char *start, const char *unit, size_t n,
                      const char *end)
{
    size_t size = strlen(start) + n * strlen(unit) + strlen(end) + 1;
    char *wire = malloc(size), *w = wire;
    struct rng r = rng_start(21);
    struct bad b = {status, name, wire, size - 1};

    w = stpcpy(w, start);
    for (size_t i = 0; i < n; i++)
        w = stpcpy(w, unit);
    stpcpy(w, end);
    must_be_refused(s, &b, &r, 1 << 20);
    must_be_refused(s, &b, &r, 1000);
    free(wire);
}

Test(http_bad, too_large_in_every_part)
{
    struct server s;

    server_start(&s, NULL);
    too_large(&s, 431, "one long value", HOST "A: ", "x", 17000, "\r\n\r\n");
    too_large(&s, 431, "one long value without end", HOST "A: ", "x", 100000,
              "");
    too_large(&s, 431, "one long name", HOST, "x", 17000, ": b\r\n\r\n");
    too_large(&s, 431, "many fields", HOST, "A: b\r\n", 3000, "\r\n");
    too_large(&s, 414, "long target", "GET /", "x", 8300,
              " HTTP/1.1\r\nHost: a\r\n\r\n");
    too_large(&s, 414, "endless target", "GET /", "x", 100000, "");
    server_stop(&s);
}

/* Many clients send the whole body before they read: they must see why it was
 * refused.  The others are served meanwhile, and nothing of it is kept. */
static void refused_upload(struct server *s, size_t size, bool chunked)
{
    static char piece[1 << 20];
    struct client c, other;
    struct reply a;
    long rss = server_rss_kib(s);

    client_open(&c, s);
    client_open(&other, s);
    if (chunked)
        client_printf(&c, CHUNKED "%zx\r\n", size);
    else
        client_printf(&c, POST "Content-Length: %zu\r\n\r\n", size);
    for (size_t sent = 0; sent < size; sent += sizeof(piece)) {
        cr_assert(client_send(&c, piece, sizeof(piece)), "%zu of %zu: %s", sent,
                  size, strerror(c.err));
        cr_assert(client_ping(&other), "at %zu of %zu", sent, size);
    }
    cr_expect(server_rss_kib(s) - rss < memory_bound(4096), "%ld KiB more",
              server_rss_kib(s) - rss);
    cr_assert(client_reply(&c, &a) && a.status == 413 && a.close, "%zu: %s",
              size, strerror(c.err));
    cr_assert(client_ends_silently(&c), "%zu: %s", size, strerror(c.err));
    reply_free(&a);
    client_close(&c);
    client_close(&other);
}

Test(http_bad, whole_upload_before_its_refusal_is_read)
{
    struct server s;

    server_start(&s, NULL);
    refused_upload(&s, 2 << 20, false);
    refused_upload(&s, 8 << 20, false);
    refused_upload(&s, 32 << 20, true);
    refused_upload(&s, 63 << 20, false);
    server_stop(&s);
}

/* One that stops half-way is not waited for longer than any silence. */
Test(http_bad, half_an_upload_after_its_refusal)
{
    static char piece[1 << 20];
    struct client c;
    struct server s;
    int base;

    server_start(&s, "--idle-timeout", "0.5", NULL);
    base = server_sockets(&s);
    client_open(&c, &s);
    client_printf(&c, POST "Content-Length: %d\r\n\r\n", 32 << 20);
    cr_assert(client_send(&c, piece, sizeof(piece)));
    cr_assert(EVENTUALLY(server_sockets(&s) == base + 1, 20));
    cr_assert(EVENTUALLY(server_sockets(&s) == base, 5), "still open");
    client_close(&c);
    server_stop(&s);
}

/* A refused upload has an end: a peer that sends for ever is cut off. */
Test(http_bad, endless_body_after_an_error)
{
    enum { MOST = 128 << 20 };
    static char piece[64 * 1024];
    struct client c;
    struct server s;
    size_t sent = 0;

    server_start(&s, NULL);
    client_open(&c, &s);
    client_text(&c, "BAD\r\n\r\n");
    while (sent < MOST && client_send(&c, piece, sizeof(piece)))
        sent += sizeof(piece);
    cr_assert(sent < MOST, "took %zu bytes after an error", sent);
    client_close(&c);
    cr_assert(server_answers(&s));
    server_stop(&s);
}

/* Random bytes, and good requests with one byte changed: any answer, no crash,
 * and the connection ends or goes on by the rules. */
Test(http_bad, random_damage)
{
    static const char good[] =
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        "Connection: close\r\n\r\n5\r\nhello\r\n0\r\nT: v\r\n\r\n";
    struct rng r = rng_start(22);
    struct server s;

    server_start(&s, NULL);
    for (int i = 0; i < 1500; i++) {
        char wire[sizeof(good)];
        size_t n = sizeof(good) - 1;
        struct client c;
        struct reply a;

        memcpy(wire, good, sizeof(good));
        if (i % 3 == 0)
            rng_fill(&r, wire, n);
        else
            wire[rng_next(&r) % n] = (char)rng_next(&r);
        client_open(&c, &s);
        client_send(&c, wire, n);
        client_fin(&c);
        if (client_reply(&c, &a))
            cr_expect(a.status >= 200 && a.status < 506, "%d", a.status);
        reply_free(&a);
        cr_expect(client_gone(&c), "damage %d, seed %llu: stays open", i,
                  (unsigned long long)seed_of_run());
        client_close(&c);
    }
    cr_assert(server_answers(&s), "seed %llu: %s",
              (unsigned long long)seed_of_run(), server_stderr(&s));
    server_stop(&s);
}
