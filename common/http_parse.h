/* http_parse.h - a strict HTTP/1.x request parser: stateless, no allocation.
 *
 * Written from RFC 9110 and RFC 9112.  It accepts one spelling of everything
 * that request smuggling depends on: CRLF line ends only, no obs-fold,
 * no space before a colon, one Content-Length or chunked, never both.
 */
#ifndef HTTP_PARSE_H
#define HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HTTP_MAX_HEAD = 16 * 1024,  /* bytes of request line and fields: else 431 */
    HTTP_MAX_TARGET = 8 * 1024, /* bytes: else 414 */
    HTTP_MAX_FIELDS = 128,      /* header fields: else 431 */
    HTTP_MAX_CHUNK_LINE = 4096, /* bytes of a chunk-size line: else 400 */
};

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_OTHER };

/* A slice of the caller's buffer: valid as long as the bytes are. */
struct http_str {
    const char *p;
    size_t len;
};

struct http_req {
    enum http_method method; /* HTTP_OTHER: well formed but unknown: 501;
                              * PUT, DELETE ... are known: HTTP_OTHER with
                              * `known` set, so that a known path says 405 */
    bool known;
    struct http_str target;       /* path only: query and authority cut off */
    struct http_str content_type; /* p NULL when absent or empty */
    int minor;                    /* 0 or 1 */
    bool keep_alive;              /* after this request, by its own wish */
    bool expect_continue;         /* 1.1 only, and only if a body follows */
    bool chunked;
    int64_t content_length; /* -1 when absent */
};

/* Parses a request line and header section at p.  Returns
 *   > 0   bytes of the whole section, blank line included; *r is filled;
 *   0     incomplete: call again with more bytes from the same start;
 *   < 0   minus the status to answer before closing: 400 414 417 431 501 505.
 * Every prefix of a valid section is incomplete; an answer other than 0 stays
 * the same however many bytes follow.  A leading empty line is skipped
 * (RFC 9112 2.2).  CONNECT is 501 at once.  Never reads p[len]. */
int http_parse_head(const char *p, size_t len, struct http_req *r);

/* Parses one chunk-size line "1a;ext\r\n" at p.  Same results; *size is the
 * decoded size, at most INT64_MAX.  Extensions are ignored, but hold no
 * control characters. */
int http_parse_chunk(const char *p, size_t len, uint64_t *size);

/* Parses the trailer section after the last chunk, through its blank line, by
 * the rules of header fields; fields that would change the framing are 400.
 * Same results. */
int http_parse_trailers(const char *p, size_t len);

/* Decodes %XX once.  Returns the length in dst (cap bytes, not terminated), or
 * -1: bad escape, NUL, or it does not fit. */
int http_decode(struct http_str src, char *dst, size_t cap);

#endif
