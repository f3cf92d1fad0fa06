/* http_cases.h - requests as raw bytes, and what a strict parser says of them.
 *
 * Used by the unit test and, through parse_driver, by the differential run
 * against another parser.  `want` is what describe() makes of the answer: a
 * status for what is refused, "more" for what is incomplete, otherwise what the
 * request asks for.
 */
#ifndef HTTP_CASES_H
#define HTTP_CASES_H

#include <stdio.h>

#include "http_parse.h"

struct http_case {
    const char *bytes;
    size_t len; /* bytes may hold NUL */
    const char *want;
};

/* Writes the parser's answer n for *r as text; returns dst. */
static inline const char *describe(int n, const struct http_req *r, char *dst,
                                   size_t cap)
{
    static const char *const names[] = {"GET", "HEAD", "POST"};
    char length[32] = "";

    if (n <= 0) {
        snprintf(dst, cap, n == 0 ? "more" : "%d", -n);
        return dst;
    }
    if (r->content_length >= 0)
        snprintf(length, sizeof(length), " length=%lld",
                 (long long)r->content_length);
    snprintf(dst, cap, "%s %.*s 1.%d %s%s%s%s%s%.*s",
             r->method != HTTP_OTHER ? names[r->method]
             : r->known              ? "known"
                                     : "unknown",
             (int)r->target.len, r->target.p, r->minor,
             r->keep_alive ? "keep" : "close", length,
             r->chunked ? " chunked" : "", r->expect_continue ? " expect" : "",
             r->content_type.p != NULL ? " type=" : "",
             (int)r->content_type.len,
             r->content_type.p != NULL ? r->content_type.p : "");
    return dst;
}

#define CASE(raw, want)                                                        \
    {                                                                          \
        raw, sizeof(raw) - 1, want                                             \
    }
/* A whole request around a target, a Host value, a field line. */
#define LINE(line) line "\r\nHost: a\r\n\r\n"
#define TARGET_OF(t) LINE("GET " t " HTTP/1.1")
#define HOST_OF(value) "GET / HTTP/1.1\r\nHost:" value "\r\n\r\n"
#define WITH(lines) "GET / HTTP/1.1\r\nHost: a\r\n" lines "\r\n\r\n"
#define POST(lines) "POST /echo HTTP/1.1\r\nHost: a\r\n" lines "\r\n\r\n"
#define OLD(lines) "GET / HTTP/1.0\r\n" lines "\r\n\r\n"
#define LENGTH_OF(v) POST("Content-Length:" v)
#define CODING_OF(v) POST("Transfer-Encoding:" v)
#define CONNECTION_OF(v) WITH("Connection:" v)
#define TEN(x) x x x x x x x x x x

#define PLAIN "GET / 1.1 keep"
#define CLOSE "GET / 1.1 close"

static const struct http_case http_cases[] = {
    /* The plain ones. */
    CASE(WITH("X: y"), PLAIN),
    CASE(LINE("GET / HTTP/1.1"), PLAIN),
    CASE(LINE("HEAD / HTTP/1.1"), "HEAD / 1.1 keep"),
    CASE(LINE("POST /echo HTTP/1.1"), "POST /echo 1.1 keep"),
    CASE("GET / HTTP/1.0\r\n\r\n", "GET / 1.0 close"),
    CASE("GET / HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/7.88.1\r\n"
         "Accept: */*\r\n\r\n",
         PLAIN),
    CASE("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n"
         "Content-Length: 11\r\nConnection: close\r\n\r\n",
         "POST /echo 1.1 close length=11 type=text/plain"),
    CASE("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", PLAIN),

    /* Incomplete. */
    CASE("", "more"),
    CASE("\r", "more"),
    CASE("\r\n", "more"),
    CASE("G", "more"),
    CASE("GET", "more"),
    CASE("GET ", "more"),
    CASE("GET /", "more"),
    CASE("GET / ", "more"),
    CASE("GET / HTTP/1.", "more"),
    CASE("GET / HTTP/1.1", "more"),
    CASE("GET / HTTP/1.1\r", "more"),
    CASE("GET / HTTP/1.1\r\n", "more"),
    CASE("GET / HTTP/1.1\r\nHost", "more"),
    CASE("GET / HTTP/1.1\r\nHost:", "more"),
    CASE("GET / HTTP/1.1\r\nHost: a\r", "more"),
    CASE("GET / HTTP/1.1\r\nHost: a\r\n", "more"),
    CASE("GET / HTTP/1.1\r\nHost: a\r\n\r", "more"),
    CASE("GET / HTTP/2.0", "more"),

    /* What may stand before a request: one CRLF. */
    CASE("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    CASE("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    CASE("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    CASE(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    CASE("\x16\x03\x01\x02", "400"),
    CASE("\0", "400"),

    /* Methods are case-sensitive tokens. */
    CASE(LINE("PUT /a HTTP/1.1"), "known /a 1.1 keep"),
    CASE(LINE("DELETE /a HTTP/1.1"), "known /a 1.1 keep"),
    CASE(LINE("PATCH /a HTTP/1.1"), "known /a 1.1 keep"),
    CASE(LINE("OPTIONS /a HTTP/1.1"), "known /a 1.1 keep"),
    CASE(LINE("TRACE /a HTTP/1.1"), "known /a 1.1 keep"),
    CASE(LINE("get / HTTP/1.1"), "unknown / 1.1 keep"),
    CASE(LINE("GETS / HTTP/1.1"), "unknown / 1.1 keep"),
    CASE(LINE("GE / HTTP/1.1"), "unknown / 1.1 keep"),
    CASE(LINE("OPTION / HTTP/1.1"), "unknown / 1.1 keep"),
    CASE(LINE("OPTIONSS / HTTP/1.1"), "unknown / 1.1 keep"),
    CASE(LINE("BREW / HTTP/1.1"), "unknown / 1.1 keep"),
    CASE(LINE("!#$%&'*+-.^_`|~09 / HTTP/1.1"), "unknown / 1.1 keep"),
    CASE(LINE(TEN("LONG") " / HTTP/1.1"), "unknown / 1.1 keep"),
    CASE(LINE("CONNECT a:80 HTTP/1.1"), "501"),
    CASE(LINE("CONNECTS / HTTP/1.1"), "unknown / 1.1 keep"),
    CASE(LINE("connect / HTTP/1.1"), "unknown / 1.1 keep"),
    CASE(LINE("G(T / HTTP/1.1"), "400"),
    CASE(LINE("G\"T / HTTP/1.1"), "400"),
    CASE(LINE("GET: / HTTP/1.1"), "400"),
    CASE(LINE("G\x80T / HTTP/1.1"), "400"),
    CASE("GET\r\n\r\n", "400"),
    CASE("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),

    /* Targets: path, absolute form, asterisk. */
    CASE(TARGET_OF("/a/b/c"), "GET /a/b/c 1.1 keep"),
    CASE(TARGET_OF("/a?b"), "GET /a 1.1 keep"),
    CASE(TARGET_OF("/?"), PLAIN),
    CASE(TARGET_OF("/?a?b/c"), PLAIN),
    CASE(TARGET_OF("/a%20b"), "GET /a%20b 1.1 keep"),
    CASE(TARGET_OF("/%2e%2E/%00"), "GET /%2e%2E/%00 1.1 keep"),
    CASE(TARGET_OF("//b"), "GET //b 1.1 keep"),
    CASE(TARGET_OF("/-._~!$&'()*+,;=:@"), "GET /-._~!$&'()*+,;=:@ 1.1 keep"),
    CASE(TARGET_OF("/a[0]"), "GET /a[0] 1.1 keep"),
    CASE(TARGET_OF("http://b/"), PLAIN),
    CASE(TARGET_OF("http://b/c/d"), "GET /c/d 1.1 keep"),
    CASE(TARGET_OF("http://b/c?d"), "GET /c 1.1 keep"),
    CASE(TARGET_OF("http://b"), PLAIN),
    CASE(TARGET_OF("http://b?c/d"), PLAIN),
    CASE(TARGET_OF("HTTP://b:80/c"), "GET /c 1.1 keep"),
    CASE(TARGET_OF("http://[::1]:80/c"), "GET /c 1.1 keep"),
    CASE(TARGET_OF("http://b:/c"), "GET /c 1.1 keep"),
    CASE(LINE("OPTIONS * HTTP/1.1"), "known * 1.1 keep"),
    CASE(TARGET_OF("*"), "400"),
    CASE(TARGET_OF("**"), "400"),
    CASE(TARGET_OF("a"), "400"),
    CASE(TARGET_OF("a/b"), "400"),
    CASE(TARGET_OF("?a"), "400"),
    CASE(TARGET_OF("a:80"), "400"),
    CASE(TARGET_OF("http:"), "400"),
    CASE(TARGET_OF("http:/"), "400"),
    CASE(TARGET_OF("http://"), "400"),
    CASE(TARGET_OF("http:///a"), "400"),
    CASE(TARGET_OF("http://?a"), "400"),
    CASE(TARGET_OF("http://:80/"), "400"),
    CASE(TARGET_OF("http://u@b/"), "400"),
    CASE(TARGET_OF("http://u:p@b/"), "400"),
    CASE(TARGET_OF("http://b:8a/"), "400"),
    CASE(TARGET_OF("http://b:80:80/"), "400"),
    CASE(TARGET_OF("http://[::1/"), "400"),
    CASE(TARGET_OF("http://[]/"), "400"),
    CASE(TARGET_OF("http://b%zz/"), "400"),
    CASE(TARGET_OF("https://b/"), "400"),
    CASE(TARGET_OF("ftp://b/"), "400"),
    CASE(TARGET_OF("http;//b/"), "400"),
    CASE(TARGET_OF("/a%"), "400"),
    CASE(TARGET_OF("/a%4"), "400"),
    CASE(TARGET_OF("/a%4g"), "400"),
    CASE(TARGET_OF("/a?%"), "400"),
    CASE(TARGET_OF("/a#b"), "400"),
    CASE(TARGET_OF("/a\"b"), "400"),
    CASE(TARGET_OF("/a\\b"), "400"),
    CASE(TARGET_OF("/a<b"), "400"),
    CASE(TARGET_OF("/a|b"), "400"),
    CASE(TARGET_OF("/a\x7f"), "400"),
    CASE(TARGET_OF("/a\xc3\xa4"), "400"),
    CASE(TARGET_OF("/a\tb"), "400"),
    CASE(TARGET_OF("/a\0b"), "400"),
    CASE(TARGET_OF("/a b"), "400"),
    CASE("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    CASE("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    CASE("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    CASE("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "400"),
    CASE("GET /\r\n\r\n", "400"),
    CASE("GET / \r\n\r\n", "400"),
    CASE("GET HTTP/1.1\r\nHost: a\r\n\r\n", "400"),

    /* Versions. */
    CASE(LINE("GET / HTTP/1.2"), PLAIN),
    CASE(LINE("GET / HTTP/1.9"), PLAIN),
    CASE(LINE("GET / HTTP/0.9"), "505"),
    CASE(LINE("GET / HTTP/2.0"), "505"),
    CASE(LINE("GET / HTTP/3.1"), "505"),
    CASE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
    CASE(LINE("GET / http/1.1"), "400"),
    CASE(LINE("GET / Http/1.1"), "400"),
    CASE(LINE("GET / HTTP/1"), "400"),
    CASE(LINE("GET / HTTP/2"), "400"),
    CASE(LINE("GET / HTTP/11"), "400"),
    CASE(LINE("GET / HTTP/1.10"), "400"),
    CASE(LINE("GET / HTTP/01.1"), "400"),
    CASE(LINE("GET / HTTP/1,1"), "400"),
    CASE(LINE("GET / HTTP/a.b"), "400"),
    CASE(LINE("GET / HTP/1.1"), "400"),
    CASE(LINE("GET / HTTPS/1.1"), "400"),
    CASE(LINE("GET / FTP/1.1"), "400"),

    /* Line ends: CRLF and nothing else. */
    CASE("GET / HTTP/1.1\nHost: a\n\n", "400"),
    CASE("GET / HTTP/1.1\nHost: a\r\n\r\n", "400"),
    CASE("GET / HTTP/1.1\r\nHost: a\n\r\n", "400"),
    CASE("GET / HTTP/1.1\r\nHost: a\r\n\n", "400"),
    CASE("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "400"),
    CASE("GET / HTTP/1.1\rHost: a\r\n\r\n", "400"),
    CASE("GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n", "400"),
    CASE(WITH("X: a\rb"), "400"),
    CASE(WITH("X: a\nY: b"), "400"),
    CASE(WITH("X\r\n: a"), "400"),

    /* Field lines. */
    CASE(WITH("X:"), PLAIN),
    CASE(WITH("X: "), PLAIN),
    CASE(WITH("X:a"), PLAIN),
    CASE(WITH("X: \t a \t "), PLAIN),
    CASE(WITH("X: a b\tc"), PLAIN),
    CASE(WITH("X: \x80\xff"), PLAIN),
    CASE(WITH("X: 1234567\x80\xff tab\tand more after it"), PLAIN),
    CASE(WITH("X: a: b"), PLAIN),
    CASE(WITH("X::"), PLAIN),
    CASE(WITH("!#$%&'*+-.^_`|~aZ09: a"), PLAIN),
    CASE(WITH("X : a"), "400"),
    CASE(WITH("X\t: a"), "400"),
    CASE(WITH(" X: a"), "400"),
    CASE(WITH("\tX: a"), "400"),
    CASE(WITH("X: a\r\n b"), "400"),
    CASE(WITH("X: a\r\n\tb"), "400"),
    CASE(WITH("X: a\r\n "), "400"),
    CASE("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400"),
    CASE("GET / HTTP/1.1\r\n\tfold\r\nHost: a\r\n\r\n", "400"),
    CASE(WITH("X"), "400"),
    CASE(WITH(": a"), "400"),
    CASE(WITH("X Y: a"), "400"),
    CASE(WITH("X(Y): a"), "400"),
    CASE(WITH("X\x80: a"), "400"),
    CASE(WITH("X\0: a"), "400"),
    CASE(WITH("X: a\0b"), "400"),
    CASE(WITH("X: a\x01"), "400"),
    CASE(WITH("X: a\x0b"), "400"),
    CASE(WITH("X: a\x0c"), "400"),
    CASE(WITH("X: a\x1f"), "400"),
    CASE(WITH("X: a\x7f"), "400"),
    CASE(WITH("X: 1234567\x7f"
              "234567890"),
         "400"),
    CASE(WITH("X: 12345678\x01"
              "234567890"),
         "400"),
    CASE(WITH("X: \x80\x80\x80\x80\x80\x80\x80\x80\x1b"), "400"),

    /* Host: one of them, and a name in it. */
    CASE("GET / HTTP/1.1\r\n\r\n", "400"),
    CASE("GET / HTTP/1.1\r\nX: a\r\n\r\n", "400"),
    CASE("GET / HTTP/1.1\r\nHosts: a\r\n\r\n", "400"),
    CASE("GET / HTTP/1.1\r\nHos: a\r\n\r\n", "400"),
    CASE("GET http://a/ HTTP/1.1\r\n\r\n", "400"),
    CASE("GET / HTTP/1.2\r\n\r\n", "400"),
    CASE(WITH("Host: a"), "400"),
    CASE(WITH("hOST: b"), "400"),
    CASE(OLD("Host: a\r\nHost: a"), "400"),
    CASE(OLD("Host: a b"), "400"),
    CASE(OLD("Host: a"), "GET / 1.0 close"),
    CASE("GET / HTTP/1.1\r\nhOsT: a\r\n\r\n", PLAIN),
    CASE(HOST_OF("a"), PLAIN),
    CASE(HOST_OF("\t a:80 \t"), PLAIN),
    CASE(HOST_OF(" a.b-c_d~e"), PLAIN),
    CASE(HOST_OF(" 127.0.0.1:43121"), PLAIN),
    CASE(HOST_OF(" a:"), PLAIN),
    CASE(HOST_OF(" [::1]"), PLAIN),
    CASE(HOST_OF(" [fe80::1%25eth0]:80"), PLAIN),
    CASE(HOST_OF(" a%20b"), PLAIN),
    CASE(HOST_OF(" a%2"), "400"),
    CASE(HOST_OF(" a%2x"), "400"),
    CASE(HOST_OF(""), "400"),
    CASE(HOST_OF(" "), "400"),
    CASE(HOST_OF(" a b"), "400"),
    CASE(HOST_OF(" a\tb"), "400"),
    CASE(HOST_OF(" a/"), "400"),
    CASE(HOST_OF(" /a"), "400"),
    CASE(HOST_OF(" a/b"), "400"),
    CASE(HOST_OF(" http://a"), "400"),
    CASE(HOST_OF(" a\\b"), "400"),
    CASE(HOST_OF(" u@a"), "400"),
    CASE(HOST_OF(" a?b"), "400"),
    CASE(HOST_OF(" a#b"), "400"),
    CASE(HOST_OF(" :80"), "400"),
    CASE(HOST_OF(" a:b"), "400"),
    CASE(HOST_OF(" a:80:80"), "400"),
    CASE(HOST_OF(" a:80 80"), "400"),
    CASE(HOST_OF(" ["), "400"),
    CASE(HOST_OF(" []"), "400"),
    CASE(HOST_OF(" []:80"), "400"),
    CASE(HOST_OF(" [::1"), "400"),
    CASE(HOST_OF(" [::1/"), "400"),
    CASE(HOST_OF(" [::1]a"), "400"),
    CASE(HOST_OF(" [::1]]"), "400"),
    CASE(HOST_OF(" ::1"), "400"),
    CASE(HOST_OF(" a]"), "400"),
    CASE(HOST_OF(" \xc3\xa4"), "400"),

    /* Content-Length: one plain decimal. */
    CASE(LENGTH_OF(" 0"), "POST /echo 1.1 keep length=0"),
    CASE(LENGTH_OF("5"), "POST /echo 1.1 keep length=5"),
    CASE(LENGTH_OF(" 0005"), "POST /echo 1.1 keep length=5"),
    CASE(LENGTH_OF(TEN("000") "5"), "POST /echo 1.1 keep length=5"),
    CASE(LENGTH_OF(" \t5 \t"), "POST /echo 1.1 keep length=5"),
    CASE(LENGTH_OF(" 9223372036854775807"),
         "POST /echo 1.1 keep length=9223372036854775807"),
    CASE(LENGTH_OF(" 5\r\nContent-Length: 5"), "POST /echo 1.1 keep length=5"),
    CASE(LENGTH_OF(" 5\r\ncontent-length: 05"), "POST /echo 1.1 keep length=5"),
    CASE(OLD("Content-Length: 5"), "GET / 1.0 close length=5"),
    CASE(LENGTH_OF(" 5\r\nContent-Length: 6"), "400"),
    CASE(LENGTH_OF(" 0\r\nContent-Length: 1"), "400"),
    CASE(LENGTH_OF(" 5\r\nContent-Length: a"), "400"),
    CASE(LENGTH_OF(" 5\r\nContent-Length:"), "400"),
    CASE(LENGTH_OF(""), "400"),
    CASE(LENGTH_OF(" "), "400"),
    CASE(LENGTH_OF(" -1"), "400"),
    CASE(LENGTH_OF(" +5"), "400"),
    CASE(LENGTH_OF(" 5,5"), "400"),
    CASE(LENGTH_OF(" 5, 5"), "400"),
    CASE(LENGTH_OF(" 5 5"), "400"),
    CASE(LENGTH_OF(" 0x5"), "400"),
    CASE(LENGTH_OF(" 5a"), "400"),
    CASE(LENGTH_OF(" 5.0"), "400"),
    CASE(LENGTH_OF(" 1e3"), "400"),
    CASE(LENGTH_OF(" \"5\""), "400"),
    CASE(LENGTH_OF(" 5;"), "400"),
    CASE(LENGTH_OF(" \xb2"), "400"),
    CASE(LENGTH_OF(" 9223372036854775808"), "400"),
    CASE(LENGTH_OF(" 18446744073709551616"), "400"),
    CASE(LENGTH_OF(" 18446744073709551621"), "400"),
    CASE(LENGTH_OF(TEN("99999")), "400"),
    CASE(POST("Content-Length : 5"), "400"),
    CASE(POST("Content_Length: x"), "POST /echo 1.1 keep"),
    CASE(POST("Content-Lengths: x"), "POST /echo 1.1 keep"),

    /* Transfer-Encoding: chunked, once, alone, and not in 1.0. */
    CASE(CODING_OF(" chunked"), "POST /echo 1.1 keep chunked"),
    CASE(CODING_OF("chunked"), "POST /echo 1.1 keep chunked"),
    CASE(CODING_OF(" \tCHUNKED \t"), "POST /echo 1.1 keep chunked"),
    CASE(WITH("tRANSFER-eNCODING: Chunked"), "GET / 1.1 keep chunked"),
    CASE(CODING_OF(" gzip"), "501"),
    CASE(CODING_OF(" gzip, chunked"), "501"),
    CASE(CODING_OF(" chunked, gzip"), "501"),
    CASE(CODING_OF(" chunked, chunked"), "501"),
    CASE(CODING_OF(" chunked,"), "501"),
    CASE(CODING_OF(" ,chunked"), "501"),
    CASE(CODING_OF(" chunked\r\nTransfer-Encoding: chunked"), "501"),
    CASE(CODING_OF(" gzip\r\nTransfer-Encoding: chunked"), "501"),
    CASE(CODING_OF(" chunked\r\nTransfer-Encoding: gzip"), "501"),
    CASE(CODING_OF(" identity"), "501"),
    CASE(CODING_OF(""), "501"),
    CASE(CODING_OF(" xchunked"), "501"),
    CASE(CODING_OF(" chunkedx"), "501"),
    CASE(CODING_OF(" chunke"), "501"),
    CASE(CODING_OF(" \"chunked\""), "501"),
    CASE(CODING_OF(" chunked;q=1"), "501"),
    CASE(CODING_OF(" chunked\x0b"), "400"),
    CASE(CODING_OF(" \x0b"
                   "chunked"),
         "400"),
    CASE(CODING_OF(" chunked\xa0"), "501"),
    CASE(POST("Transfer-Encoding : chunked"), "400"),
    CASE(POST("Transfer-Encoding\t: chunked"), "400"),
    CASE(CODING_OF(" gzip\r\nbad"), "400"),
    CASE(CODING_OF(" chunked\r\nContent-Length: 5"), "400"),
    CASE(CODING_OF(" chunked\r\nContent-Length: 0"), "400"),
    CASE(CODING_OF(" gzip\r\nContent-Length: 5"), "400"),
    CASE(LENGTH_OF(" 5\r\nTransfer-Encoding: chunked"), "400"),
    CASE(LENGTH_OF(" 5\r\ntransfer-encoding: identity"), "400"),
    CASE(OLD("Transfer-Encoding: chunked"), "400"),
    CASE(OLD("Transfer-Encoding: identity"), "400"),

    /* Connection. */
    CASE(CONNECTION_OF(" close"), CLOSE),
    CASE(CONNECTION_OF("CLOSE"), CLOSE),
    CASE(CONNECTION_OF(" Close"), CLOSE),
    CASE(CONNECTION_OF(" keep-alive"), PLAIN),
    CASE(CONNECTION_OF(" keep-alive, close"), CLOSE),
    CASE(CONNECTION_OF(" close, keep-alive"), CLOSE),
    CASE(CONNECTION_OF(" upgrade\t,\tclose"), CLOSE),
    CASE(CONNECTION_OF(" ,,close,,"), CLOSE),
    CASE(CONNECTION_OF(" close \t, te"), CLOSE),
    CASE(CONNECTION_OF(" te\r\nConnection: close"), CLOSE),
    CASE(CONNECTION_OF(" close\r\nConnection: te"), CLOSE),
    CASE(CONNECTION_OF(" close-notify"), PLAIN),
    CASE(CONNECTION_OF(" disclose"), PLAIN),
    CASE(CONNECTION_OF(" close keep-alive"), PLAIN),
    CASE(CONNECTION_OF(" "), PLAIN),
    CASE(WITH("Connections: close"), PLAIN),
    CASE(WITH("Connectiom: close"), PLAIN),
    CASE(OLD("Connection: keep-alive"), "GET / 1.0 keep"),
    CASE(OLD("Connection: Keep-Alive"), "GET / 1.0 keep"),
    CASE(OLD("Connection: a, KEEP-ALIVE"), "GET / 1.0 keep"),
    CASE(OLD("Connection: a\r\nConnection: keep-alive"), "GET / 1.0 keep"),
    CASE(OLD("Connection: keep-alive , a"), "GET / 1.0 keep"),
    CASE(OLD("Connection: close"), "GET / 1.0 close"),
    CASE(OLD("Connection: keep-alive, close"), "GET / 1.0 close"),
    CASE(OLD("Connection: close, keep-alive"), "GET / 1.0 close"),
    CASE(OLD("Connection: keepalive"), "GET / 1.0 close"),

    /* Expect. */
    CASE(POST("Expect: 100-continue\r\nContent-Length: 5"),
         "POST /echo 1.1 keep length=5 expect"),
    CASE(POST("eXPECT: 100-Continue\r\nTransfer-Encoding: chunked"),
         "POST /echo 1.1 keep chunked expect"),
    CASE(POST("Expect: 100-continue\r\nContent-Length: 0"),
         "POST /echo 1.1 keep length=0"),
    CASE(WITH("Expect: 100-continue"), PLAIN),
    CASE(WITH("Expect:"), PLAIN),
    CASE(OLD("Expect: 100-continue\r\nContent-Length: 5"),
         "GET / 1.0 close length=5"),
    CASE(OLD("Expect: magic"), "GET / 1.0 close"),
    CASE(WITH("Expect: magic"), "417"),
    CASE(WITH("Expect: 100-continue, magic"), "417"),
    CASE(WITH("Expect: 100-continued"), "417"),
    CASE(WITH("Accept: 100-continue"), PLAIN),

    /* Content-Type is carried along. */
    CASE(WITH("Content-Type: a/b; c=d"), PLAIN " type=a/b; c=d"),
    CASE(WITH("content-type:\ta/b\t"), PLAIN " type=a/b"),
    CASE(WITH("Content-Type:"), PLAIN),
    CASE(WITH("Content-Type: a/b\r\nContent-Type: c/d"), PLAIN " type=a/b"),
    CASE(WITH("Content-Typo: a/b"), PLAIN),
};

enum { HTTP_CASES = sizeof(http_cases) / sizeof(http_cases[0]) };

#endif
