/* http_parse.c - the strict HTTP/1.x request parser.
 *
 * One pass from left to right over the bytes.  Two rules make the answer
 * independent of how the bytes were cut into packets:
 *
 *  1. A wrong byte is refused when it is reached, and every limit is an offset
 *     in the input, not the length of what has arrived.  So an answer to a
 *     prefix (good or bad) is the answer to the whole.
 *  2. What only the whole section can tell (no Host, two kinds of framing) is
 *     checked once, after the blank line.
 *
 * All functions here share a cursor: they advance it and return true, or leave
 * the reason in `status` and return false.
 */
#include "http_parse.h"

#include <string.h>

/* ======== characters ===================================================== */

enum {
    TOKEN = 1,  /* RFC 9110 tchar: methods, field names, chunk extensions */
    VALUE = 2,  /* field values: all but control characters, tab allowed */
    TARGET = 4, /* RFC 3986: what a URI is made of, no '#' */
    HOST = 8,   /* RFC 3986 reg-name */
    HEX = 16,
    DIGIT = 32,
    BLANK = 64,
    PUNCT = VALUE | TARGET | HOST, /* in a URI, not in a token */
    ALNUM = TOKEN | PUNCT,
};

/* Square brackets belong to a URI only around an IPv6 address, but browsers
 * leave them bare in queries and they mean nothing here: allowed. */
/* clang-format off */
static const uint8_t classes[256] = {
    ['\t'] = VALUE | BLANK, [' '] = VALUE | BLANK, ['!'] = ALNUM,
    ['"'] = VALUE, ['#'] = TOKEN | VALUE, ['$' ... '\''] = ALNUM,
    ['(' ... ')'] = PUNCT, ['*' ... '+'] = ALNUM, [','] = PUNCT,
    ['-' ... '.'] = ALNUM, ['/'] = VALUE | TARGET,
    ['0' ... '9'] = ALNUM | HEX | DIGIT, [':'] = VALUE | TARGET,
    [';'] = PUNCT, ['<'] = VALUE, ['='] = PUNCT, ['>'] = VALUE,
    ['?' ... '@'] = VALUE | TARGET, ['A' ... 'F'] = ALNUM | HEX,
    ['G' ... 'Z'] = ALNUM, ['['] = VALUE | TARGET, ['\\'] = VALUE,
    [']'] = VALUE | TARGET, ['^'] = TOKEN | VALUE, ['_'] = ALNUM,
    ['`'] = TOKEN | VALUE, ['a' ... 'f'] = ALNUM | HEX,
    ['g' ... 'z'] = ALNUM, ['{'] = VALUE, ['|'] = TOKEN | VALUE,
    ['}'] = VALUE, ['~'] = ALNUM, [0x80 ... 0xff] = VALUE,
};
/* clang-format on */

static inline bool is(char c, int set)
{
    return classes[(unsigned char)c] & set;
}

/* The first byte that is not in the set, or end. */
static inline const char *scan(const char *p, const char *end, int set)
{
    while (p < end && is(*p, set))
        p++;
    return p;
}

/* scan(p, end, VALUE), eight bytes at a time: values are most of a request.
 * The arithmetic sets the top bit of a byte below 0x20 or equal to 0x7f (or
 * above one, by a borrow); from the first such byte on, or a tab, or the last
 * seven, the plain loop goes on. */
static const char *scan_value(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101u, tops = ones << 7;
    uint64_t x, y;

    for (; end - p >= 8; p += 8) {
        memcpy(&x, p, 8);
        y = x ^ (ones * 0x7f);
        if ((((x - ones * 0x20) & ~x) | ((y - ones) & ~y)) & tops)
            break;
    }
    return scan(p, end, VALUE);
}

/* Equal to a lower-case literal in any case.  Or-ing 0x20 in is exact because
 * control characters were refused before anything is compared. */
static bool same(struct http_str s, const char *lower, size_t len)
{
    if (s.len != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((s.p[i] | 0x20) != lower[i])
            return false;
    return true;
}

#define SAME(s, literal) same(s, literal, sizeof(literal) - 1)

/* ======== the cursor ===================================================== */

struct cursor {
    const char *p, *end;
    int status; /* why parsing stopped: 0 for want of bytes, or -400 ... */
};

static bool stop(struct cursor *c, int status)
{
    c->status = status;
    return false;
}

static bool crlf(struct cursor *c)
{
    for (int i = 0; i < 2; i++, c->p++) {
        if (c->p == c->end)
            return stop(c, 0);
        if (*c->p != "\r\n"[i])
            return stop(c, -400);
    }
    return true;
}

static bool token(struct cursor *c, struct http_str *t)
{
    const char *q = scan(c->p, c->end, TOKEN);

    if (q == c->end)
        return stop(c, 0);
    if (q == c->p)
        return stop(c, -400);
    *t = (struct http_str){c->p, (size_t)(q - c->p)};
    c->p = q;
    return true;
}

/* ======== request line =================================================== */

/* The methods that HTTP defines; the first three in the order of the enum. */
static bool method(struct cursor *c, struct http_req *r)
{
    static const char known[][8] = {"GET",    "HEAD",  "POST",    "PUT",
                                    "DELETE", "PATCH", "OPTIONS", "TRACE"};
    struct http_str t;

    if (!token(c, &t))
        return false;
    if (*c->p++ != ' ')
        return stop(c, -400);
    /* A tunnel: target and body are of another kind, so not served. */
    if (t.len == 7 && memcmp(t.p, "CONNECT", 7) == 0)
        return stop(c, -501);
    r->method = HTTP_OTHER;
    r->known = false;
    for (int i = 0; i < 8 && t.len < 8 && !r->known; i++) {
        r->known = memcmp(t.p, known[i], t.len) == 0 && !known[i][t.len];
        if (r->known && i < HTTP_OTHER)
            r->method = (enum http_method)i;
    }
    return true;
}

static bool escapes_ok(struct http_str s)
{
    const char *p = s.p, *end = s.p + s.len;

    while ((p = memchr(p, '%', (size_t)(end - p))) != NULL) {
        if (end - p < 3 || !is(p[1], HEX) || !is(p[2], HEX))
            return false;
        p += 3;
    }
    return true;
}

/* host [":" port] and nothing else: no user, blank, slash or empty name.  What
 * is inside the brackets of an IPv6 address is not looked at closely. */
static bool host_ok(struct http_str h)
{
    const char *p = h.p, *end = h.p + h.len;

    if (h.len > 2 && *p == '[') {
        for (p++; p < end && (is(*p, HOST) || *p == ':'); p++)
            continue;
        if (p == end || *p++ != ']' || p == h.p + 2)
            return false;
    } else {
        p = scan(p, end, HOST);
    }
    if (p == h.p)
        return false;
    if (p < end && *p == ':')
        for (p++; p < end && is(*p, DIGIT); p++)
            continue;
    return p == end && escapes_ok(h);
}

/* Cuts *t down to its path: the origin form has it in front, the absolute form
 * (which every server must take) after scheme and authority. */
static bool target_path(struct http_str *t, enum http_method m)
{
    const char *end = t->p + t->len, *q;

    if (!escapes_ok(*t))
        return false;
    if (*t->p != '/') {
        struct http_str scheme = {t->p, 7}, host;

        if (t->len == 1 && *t->p == '*')
            return m == HTTP_OTHER; /* OPTIONS: about the server itself */
        if (t->len < 7 || !SAME(scheme, "http://"))
            return false;
        host.p = q = t->p + 7;
        while (q < end && *q != '/' && *q != '?')
            q++;
        host.len = (size_t)(q - host.p);
        if (!host_ok(host))
            return false;
        if (q == end || *q == '?') {
            /* No path means "/".  There is one: the slash of the scheme. */
            *t = (struct http_str){t->p + 6, 1};
            return true;
        }
        *t = (struct http_str){q, (size_t)(end - q)};
    }
    q = memchr(t->p, '?', t->len);
    if (q != NULL)
        t->len = (size_t)(q - t->p);
    return true;
}

static bool target(struct cursor *c, struct http_req *r)
{
    /* Looking one byte too far at most keeps the 414 where it belongs, also
     * when a worse byte follows. */
    bool more = c->end - c->p > HTTP_MAX_TARGET;
    const char *q =
        scan(c->p, more ? c->p + HTTP_MAX_TARGET + 1 : c->end, TARGET);

    if (q - c->p > HTTP_MAX_TARGET)
        return stop(c, -414);
    if (q == c->end)
        return stop(c, 0);
    r->target = (struct http_str){c->p, (size_t)(q - c->p)};
    c->p = q + 1;
    if (*q != ' ' || !target_path(&r->target, r->method))
        return stop(c, -400);
    return true;
}

static bool version(struct cursor *c, struct http_req *r)
{
    static const char form[] = "HTTP/d.d";
    const char *p = c->p;

    for (int i = 0; i < 8; i++, c->p++) {
        if (c->p == c->end)
            return stop(c, 0);
        if (form[i] == 'd' ? !is(*c->p, DIGIT) : *c->p != form[i])
            return stop(c, -400);
    }
    if (!crlf(c))
        return false;
    /* A later minor version is answered as the latest that we know. */
    r->minor = p[7] != '0';
    return p[5] == '1' || stop(c, -505);
}

/* ======== fields ========================================================= */

/* One "name: value" line, blanks around the value cut off. */
static bool field_line(struct cursor *c, struct http_str *name,
                       struct http_str *value)
{
    const char *from, *to;

    if (!token(c, name))
        return false;
    if (*c->p != ':')
        return stop(c, -400); /* a blank before the colon, or no colon */
    from = scan(c->p + 1, c->end, BLANK);
    c->p = to = scan_value(from, c->end);
    if (!crlf(c))
        return false;
    while (to > from && is(to[-1], BLANK))
        to--;
    *value = (struct http_str){from, (size_t)(to - from)};
    return true;
}

/* Takes the next element off a comma-separated list; empty ones are skipped. */
static bool next_item(struct http_str *list, struct http_str *item)
{
    const char *p = list->p, *end = list->p + list->len, *q;

    while (p < end && (is(*p, BLANK) || *p == ','))
        p++;
    for (q = p; q < end && *q != ','; q++)
        continue;
    *list = (struct http_str){q, (size_t)(end - q)};
    while (q > p && is(q[-1], BLANK))
        q--;
    *item = (struct http_str){p, (size_t)(q - p)};
    return item->len > 0;
}

/* One plain decimal; repeats are harmless only when they say the same. */
static int content_length(struct http_str v, struct http_req *r)
{
    int64_t n = 0;

    for (size_t i = 0; i < v.len; i++) {
        if (!is(v.p[i], DIGIT) || __builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, v.p[i] - '0', &n))
            return -400;
    }
    if (v.len == 0 || (r->content_length >= 0 && n != r->content_length))
        return -400;
    r->content_length = n;
    return 0;
}

/* What the fields said, until all of them have been seen. */
struct facts {
    bool host, close, keep_alive, expect, expect_other, coding, coding_other;
};

/* Most fields do not matter here; their length alone shows that. */
static int field(struct http_str name, struct http_str v, struct facts *f,
                 struct http_req *r)
{
    struct http_str item;

    if (name.len == 4 && SAME(name, "host")) {
        if (f->host || !host_ok(v))
            return -400;
        f->host = true;
    } else if (name.len == 6 && SAME(name, "expect")) {
        while (next_item(&v, &item)) {
            f->expect |= SAME(item, "100-continue");
            f->expect_other |= !SAME(item, "100-continue");
        }
    } else if (name.len == 10 && SAME(name, "connection")) {
        while (next_item(&v, &item)) {
            f->close |= SAME(item, "close");
            f->keep_alive |= SAME(item, "keep-alive");
        }
    } else if (name.len == 12 && SAME(name, "content-type")) {
        if (r->content_type.p == NULL && v.len > 0)
            r->content_type = v;
    } else if (name.len == 14 && SAME(name, "content-length")) {
        return content_length(v, r);
    } else if (name.len == 17 && SAME(name, "transfer-encoding")) {
        /* Twice chunked is not chunked either. */
        f->coding_other |= f->coding || !SAME(v, "chunked");
        f->coding = true;
    }
    return 0;
}

/* Field lines through the blank line. */
static bool fields(struct cursor *c, struct facts *f, struct http_req *r)
{
    struct http_str name, value;

    for (int n = 0;; n++) {
        int status;

        if (c->p == c->end)
            return stop(c, 0);
        if (*c->p == '\r')
            return crlf(c);
        if (n == HTTP_MAX_FIELDS)
            return stop(c, -431);
        if (!field_line(c, &name, &value))
            return false;
        status = field(name, value, f, r);
        if (status != 0)
            return stop(c, status);
    }
}

/* What only the whole section can tell.  Framing that two readers could read
 * in two ways comes first: nothing after it on the connection can be trusted.
 * HTTP/1.0 had no Transfer-Encoding, so a 1.0 proxy in between has passed the
 * chunks on without knowing them (RFC 9112 6.1). */
static int conclude(const struct facts *f, struct http_req *r)
{
    if (r->minor > 0 && !f->host)
        return -400;
    if (f->coding && (r->content_length >= 0 || r->minor == 0))
        return -400;
    if (f->coding_other)
        return -501;
    if (f->expect_other && r->minor > 0)
        return -417;
    r->chunked = f->coding;
    r->keep_alive = !f->close && (r->minor > 0 || f->keep_alive);
    r->expect_continue =
        f->expect && r->minor > 0 && (r->chunked || r->content_length > 0);
    return 0;
}

/* ======== the interface ================================================== */

static struct cursor start(const char *p, size_t len, size_t limit)
{
    return (struct cursor){.p = p, .end = p + (len < limit ? len : limit)};
}

int http_parse_head(const char *p, size_t len, struct http_req *r)
{
    struct cursor c = start(p, len, HTTP_MAX_HEAD);
    struct facts f = {0};
    int status;

    r->content_length = -1;
    r->content_type = (struct http_str){0};
    /* Some clients end a body with a CRLF that its length does not count. */
    if ((c.p < c.end && *c.p == '\r' && !crlf(&c)) || !method(&c, r) ||
        !target(&c, r) || !version(&c, r) || !fields(&c, &f, r))
        return c.status == 0 && len >= HTTP_MAX_HEAD ? -431 : c.status;
    status = conclude(&f, r);
    return status != 0 ? status : (int)(c.p - p);
}

int http_parse_trailers(const char *p, size_t len)
{
    struct cursor c = start(p, len, HTTP_MAX_HEAD);
    struct http_req r = {.content_length = -1};
    struct facts f = {0};

    if (!fields(&c, &f, &r))
        return c.status == 0 && len >= HTTP_MAX_HEAD ? -431 : c.status;
    /* Framing fields after the body can only mislead. */
    return f.coding || r.content_length >= 0 ? -400 : (int)(c.p - p);
}

static int hex_value(char c)
{
    return is(c, DIGIT) ? c - '0' : (c | 0x20) - 'a' + 10;
}

int http_parse_chunk(const char *p, size_t len, uint64_t *size)
{
    struct cursor c = start(p, len, HTTP_MAX_CHUNK_LINE);
    const char *q;

    for (*size = 0; c.p < c.end && is(*c.p, HEX); c.p++) {
        if (*size > INT64_MAX >> 4)
            return -400;
        *size = *size << 4 | (uint64_t)hex_value(*c.p);
    }
    /* Extensions mean nothing to us.  But every server on the way must see the
     * same line end, so they hold no control characters. */
    q = scan(c.p, c.end, BLANK);
    if (c.p > p && q < c.end && *q == ';')
        c.p = q = scan_value(q, c.end);
    if (q < c.end && (q != c.p || c.p == p))
        return -400; /* no size, or blanks that lead to no extension */
    c.p = q;
    if (!crlf(&c))
        return c.status == 0 && len >= HTTP_MAX_CHUNK_LINE ? -400 : c.status;
    return (int)(c.p - p);
}

int http_decode(struct http_str src, char *dst, size_t cap)
{
    const char *end = src.p + src.len;
    size_t n = 0;

    for (const char *p = src.p; p < end; p++) {
        char c = *p;

        if (c == '%') {
            if (end - p < 3 || !is(p[1], HEX) || !is(p[2], HEX))
                return -1;
            c = (char)(hex_value(p[1]) << 4 | hex_value(p[2]));
            p += 2;
        }
        if (c == '\0' || n == cap)
            return -1;
        dst[n++] = c;
    }
    return (int)n;
}
