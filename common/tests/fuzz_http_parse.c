/* fuzz_http_parse.c - libFuzzer target for the parser.
 *
 * The first byte picks the function (c, t, d: chunk size, trailers, decode; any
 * other: head), the rest is its input.  Every call gets a copy of exactly its
 * size, so that AddressSanitizer sees the read of one byte too many.
 */
#include <string.h>

#include "check.h"
#include "http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a call said, in a form that can be compared: where slices begin counts
 * from the input. */
struct answer {
    int n;
    struct http_req req;
    size_t target, type;
    uint64_t size;
};

typedef struct answer parse_fn(const char *p, size_t len);

static size_t offset(struct http_str s, const char *p, size_t len)
{
    if (s.p == NULL)
        return len;
    CHECK(s.p >= p && s.len <= len && s.p + s.len <= p + len);
    return (size_t)(s.p - p);
}

static struct answer parse_head(const char *p, size_t len)
{
    struct answer a = {0};

    a.n = http_parse_head(p, len, &a.req);
    if (a.n <= 0) {
        a.req = (struct http_req){0};
        return a;
    }
    CHECK(a.n <= HTTP_MAX_HEAD);
    CHECK(a.req.target.len > 0 && a.req.target.len <= HTTP_MAX_TARGET);
    CHECK(*a.req.target.p == '/' || *a.req.target.p == '*');
    CHECK(!memchr(a.req.target.p, '?', a.req.target.len));
    CHECK(a.req.minor == 0 || a.req.minor == 1);
    CHECK(a.req.content_length >= -1);
    CHECK(!a.req.chunked || (a.req.content_length < 0 && a.req.minor == 1));
    CHECK(!a.req.expect_continue || a.req.minor == 1);
    CHECK(a.req.method == HTTP_OTHER || a.req.known);
    a.target = offset(a.req.target, p, (size_t)a.n);
    a.type = offset(a.req.content_type, p, (size_t)a.n);
    return a;
}

static struct answer parse_chunk(const char *p, size_t len)
{
    struct answer a = {0};

    a.n = http_parse_chunk(p, len, &a.size);
    CHECK(a.n <= HTTP_MAX_CHUNK_LINE);
    CHECK(a.n <= 0 || a.size <= INT64_MAX);
    if (a.n <= 0)
        a.size = 0;
    return a;
}

static struct answer parse_trailers(const char *p, size_t len)
{
    struct answer a = {0};

    a.n = http_parse_trailers(p, len);
    CHECK(a.n <= HTTP_MAX_HEAD);
    return a;
}

static struct answer on_copy(parse_fn *f, const uint8_t *data, size_t len)
{
    char *copy = malloc(len + (len == 0));
    struct answer a;

    CHECK(copy);
    memcpy(copy, data, len);
    a = f(copy, len);
    free(copy);
    CHECK(a.n <= (int)len);
    return a;
}

/* Whatever was accepted ends in an LF, and holds no control character but tabs
 * and the two halves of CRLF in their order: nobody can see other lines in it
 * than we did. */
static void check_lines(const uint8_t *p, int n)
{
    CHECK(n < 2 || (p[n - 2] == '\r' && p[n - 1] == '\n'));
    for (int i = 0; i < n; i++) {
        CHECK(p[i] != '\r' || p[i + 1] == '\n');
        CHECK(p[i] != '\n' || (i > 0 && p[i - 1] == '\r'));
        CHECK(p[i] >= 0x20 || p[i] == '\t' || p[i] == '\r' || p[i] == '\n');
        CHECK(p[i] != 0x7f);
    }
}

static bool same(const struct answer *a, const struct answer *b)
{
    const struct http_req *x = &a->req, *y = &b->req;

    return a->n == b->n && a->size == b->size && x->method == y->method &&
           x->known == y->known && a->target == b->target &&
           x->target.len == y->target.len && a->type == b->type &&
           x->content_type.len == y->content_type.len && x->minor == y->minor &&
           x->keep_alive == y->keep_alive &&
           x->expect_continue == y->expect_continue &&
           x->chunked == y->chunked && x->content_length == y->content_length;
}

/* The answer to a prefix is "more" or the answer to the whole. */
static void check_prefixes(parse_fn *f, const uint8_t *data, size_t size)
{
    struct answer whole = on_copy(f, data, size);
    size_t step = size > 512 ? size / 128 : 1;
    bool settled = false;

    for (size_t len = 0; len <= size; len += step) {
        struct answer a = on_copy(f, data, len);

        settled |= a.n != 0;
        CHECK(settled ? same(&a, &whole) : a.n == 0);
    }
    if (whole.n <= 0)
        return;
    check_lines(data, whole.n);
    /* ... and a valid one is not told before its last byte. */
    CHECK(on_copy(f, data, (size_t)whole.n - 1).n == 0);
    CHECK(on_copy(f, data, (size_t)whole.n).n == whole.n);
}

static void check_decode(const uint8_t *data, size_t size)
{
    size_t cap = size ? data[0] : 0;
    char *src = malloc(size + 1), *dst = malloc(cap + 1);
    struct http_str s = {src, size};
    int n;

    CHECK(src && dst);
    memcpy(src, data, size);
    dst[cap] = 'x';
    n = http_decode(s, dst, cap);
    CHECK(n >= -1 && n <= (int)cap && n <= (int)size);
    CHECK(dst[cap] == 'x');
    CHECK(n <= 0 || !memchr(dst, '\0', (size_t)n));
    CHECK(n < 0 || memchr(src, '%', size) || (size_t)n == size);
    free(src);
    free(dst);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0]) {
    case 'c':
        check_prefixes(parse_chunk, data + 1, size - 1);
        break;
    case 't':
        check_prefixes(parse_trailers, data + 1, size - 1);
        break;
    case 'd':
        check_decode(data + 1, size - 1);
        break;
    default:
        check_prefixes(parse_head, data + 1, size - 1);
    }
    return 0;
}
