/* reply.c - see reply.h. */
#include "reply.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "check.h"

enum {
    HOLD_SIZE = 32 * 1024, /* bytes; a longer header section is malformed */
    MAX_INTERIM = 8,       /* 1xx replies before the real one */
};

enum phase {
    HEAD,
    BODY,     /* `left` bytes by Content-Length */
    TO_EOF,   /* until the connection ends */
    SIZE,     /* chunk-size digits */
    SIZE_EXT, /* a chunk extension */
    SIZE_LF,
    CHUNK,    /* `left` bytes of a chunk */
    CHUNK_CR, /* CRLF behind it */
    CHUNK_LF,
    TRAILER, /* at the start of a trailer line */
    TRAILER_IN,
    TRAILER_EOL, /* LF that ends a trailer line */
    TRAILER_LF,  /* LF that ends everything */
};

void reply_reset(struct reply *r)
{
    r->phase = HEAD;
    r->interim = 0;
    r->mismatch = false;
    r->left = r->got = 0;
    r->head_len = r->held = 0;
}

void reply_free(struct reply *r)
{
    free(r->hold);
    *r = (struct reply){0};
}

/* ---- the header section ---- */

static bool is_token(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];

        if (c <= ' ' || c >= 127 || strchr("\"(),/:;<=>?@[\\]{}", c))
            return false;
    }
    return n > 0;
}

static bool is_name(const char *p, size_t n, const char *name)
{
    return n == strlen(name) && strncasecmp(p, name, n) == 0;
}

/* A list value holds the word, in any case. */
static bool has_word(const char *p, size_t n, const char *word)
{
    size_t len = strlen(word), i = 0;

    while (i < n) {
        size_t start, end;

        while (i < n && (p[i] == ' ' || p[i] == '\t' || p[i] == ','))
            i++;
        start = i;
        while (i < n && p[i] != ',')
            i++;
        end = i;
        while (end > start && (p[end - 1] == ' ' || p[end - 1] == '\t'))
            end--;
        if (end - start == len && strncasecmp(p + start, word, len) == 0)
            return true;
    }
    return false;
}

static bool field_length(const char *p, size_t n, struct head *h)
{
    int64_t v = 0;

    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9' || v > INT64_MAX / 10 - 1)
            return false;
        v = v * 10 + (p[i] - '0');
    }
    if (n == 0 || (h->length >= 0 && h->length != v))
        return false;
    h->length = v;
    return true;
}

static bool field(const char *line, size_t n, struct head *h)
{
    const char *colon = memchr(line, ':', n), *value;
    size_t name_len, len;

    if (!colon)
        return false;
    name_len = (size_t)(colon - line);
    value = colon + 1;
    len = n - name_len - 1;
    if (!is_token(line, name_len))
        return false;
    while (len > 0 && (value[0] == ' ' || value[0] == '\t'))
        value++, len--;
    while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        len--;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)value[i] < ' ' && value[i] != '\t')
            return false;
    if (is_name(line, name_len, "content-length"))
        return field_length(value, len, h);
    if (is_name(line, name_len, "transfer-encoding")) {
        h->chunked = is_name(value, len, "chunked");
        return h->chunked;
    }
    if (is_name(line, name_len, "connection")) {
        if (has_word(value, len, "close"))
            h->close = true;
        else if (has_word(value, len, "keep-alive"))
            h->close = false;
    }
    return true;
}

static bool status_line(const char *p, size_t n, struct head *h)
{
    if (n < 12 || memcmp(p, "HTTP/1.", 7) != 0 ||
        (p[7] != '0' && p[7] != '1') || p[8] != ' ' || (n > 12 && p[12] != ' '))
        return false;
    for (int i = 9; i < 12; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    h->status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
    h->close = p[7] == '0';
    return h->status >= 100;
}

/* A complete section of n bytes, blank line included. */
static bool parse_head(const char *p, size_t n, struct head *h)
{
    const char *end = p + n - 2, *lf;
    bool first = true;

    *h = (struct head){.length = -1};
    while (p < end) {
        lf = memchr(p, '\n', (size_t)(end - p));
        if (!lf || lf == p || lf[-1] != '\r')
            return false;
        if (first ? !status_line(p, (size_t)(lf - p) - 1, h)
                  : !field(p, (size_t)(lf - p) - 1, h))
            return false;
        first = false;
        p = lf + 1;
    }
    return !first && !(h->chunked && h->length >= 0);
}

/* How the body is framed decides the phase that follows. */
static enum verdict head_done(struct reply *r, const struct expect *e)
{
    const struct head *h = &r->head;

    if (h->status < 200) {
        if (h->status == 101 || r->interim++ == MAX_INTERIM)
            return REPLY_MALFORMED;
        return REPLY_MORE;
    }
    r->left = 0;
    if (e->body == BODY_NONE || h->status == 204 || h->status == 304) {
        r->phase = BODY;
    } else if (h->chunked) {
        r->phase = SIZE;
    } else if (h->length >= 0) {
        r->phase = BODY;
        r->left = (uint64_t)h->length;
    } else if (h->close) {
        r->phase = TO_EOF;
    } else {
        return REPLY_MALFORMED; /* no way to know where it ends */
    }
    return REPLY_MORE;
}

static void cache_head(struct head_cache *c, const char *p, size_t n,
                       const struct head *h)
{
    c->len = 0;
    if (n > sizeof(c->bytes) || h->status < 200)
        return;
    memcpy(c->bytes, p, n);
    c->head = *h;
    c->len = n;
}

/* Adds to what is held of the section; returns the bytes taken, and sets *end
 * to the section's length once it is complete. */
static size_t hold(struct reply *r, const char *p, size_t n, size_t *end)
{
    size_t before = r->held, part = HOLD_SIZE - before;
    size_t from = before < 3 ? 0 : before - 3;
    const char *blank;

    if (!r->hold)
        r->hold = malloc(HOLD_SIZE);
    if (!r->hold)
        die("loadgen: out of memory");
    if (part > n)
        part = n;
    memcpy(r->hold + before, p, part);
    r->held += (uint32_t)part;
    blank = memmem(r->hold + from, r->held - from, "\r\n\r\n", 4);
    if (!blank)
        return part;
    *end = (size_t)(blank - r->hold) + 4;
    return *end - before;
}

static size_t feed_head(struct reply *r, struct head_cache *cache,
                        const struct expect *e, const char *p, size_t n,
                        enum verdict *v)
{
    const char *section = p, *blank;
    size_t used, end = 0;

    if (r->held == 0 && cache->len > 0 && n >= cache->len &&
        memcmp(p, cache->bytes, cache->len) == 0) {
        r->head = cache->head;
        r->head_len = (uint32_t)cache->len;
        *v = head_done(r, e);
        return cache->len;
    }
    blank = r->held == 0 ? memmem(p, n, "\r\n\r\n", 4) : NULL;
    if (blank) {
        used = end = (size_t)(blank - p) + 4;
    } else {
        used = hold(r, p, n, &end);
        section = r->hold;
        if (end == 0) {
            *v = r->held == HOLD_SIZE ? REPLY_MALFORMED : REPLY_MORE;
            return used;
        }
    }
    if (end > HOLD_SIZE || !parse_head(section, end, &r->head)) {
        *v = REPLY_MALFORMED;
        return used;
    }
    cache_head(cache, section, end, &r->head);
    r->head_len += (uint32_t)end;
    r->held = 0;
    *v = head_done(r, e);
    return used;
}

/* ---- the body ---- */

static void body_bytes(struct reply *r, const struct expect *e, const char *p,
                       size_t n)
{
    if (e->body == BODY_TAGGED && r->got < TAG_SIZE) {
        size_t part = TAG_SIZE - (size_t)r->got;

        memcpy(r->tag + r->got, p, part < n ? part : n);
    }
    if (!r->mismatch && r->head.status == e->status &&
        !expect_match(e, r->got, p, n))
        r->mismatch = true;
    r->got += n;
}

static enum verdict verdict(const struct reply *r, const struct expect *e)
{
    if (r->head.status != e->status)
        return REPLY_STATUS;
    if (e->body != BODY_ANY && e->body != BODY_NONE && r->got != e->len)
        return REPLY_LENGTH;
    return r->mismatch ? REPLY_BYTES : REPLY_OK;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of chunked framing; false when it is wrong. */
static bool framing(struct reply *r, char c, bool *done)
{
    switch (r->phase) {
    case SIZE:
        if (hex(c) >= 0) {
            if (r->left >> 56 || r->held == 16)
                return false;
            r->left = r->left * 16 + (uint64_t)hex(c);
            r->held++;
            return true;
        }
        r->phase = c == '\r' ? SIZE_LF : SIZE_EXT;
        return r->held > 0 && (c == '\r' || c == ';');
    case SIZE_EXT:
        if (c == '\r')
            r->phase = SIZE_LF;
        return c != '\n';
    case SIZE_LF:
        r->held = 0;
        r->phase = r->left > 0 ? CHUNK : TRAILER;
        return c == '\n';
    case CHUNK_CR:
        r->phase = CHUNK_LF;
        return c == '\r';
    case CHUNK_LF:
        r->phase = SIZE;
        return c == '\n';
    case TRAILER:
        r->phase = c == '\r' ? TRAILER_LF : TRAILER_IN;
        return c != '\n';
    case TRAILER_IN:
        if (c == '\r')
            r->phase = TRAILER_EOL;
        return c != '\n';
    case TRAILER_EOL:
        r->phase = TRAILER;
        return c == '\n';
    default:
        *done = true;
        return c == '\n';
    }
}

static size_t feed_chunked(struct reply *r, const struct expect *e,
                           const char *p, size_t n, enum verdict *v)
{
    size_t i = 0;
    bool done = false;

    while (i < n && !done) {
        if (r->phase == CHUNK) {
            size_t part = n - i < r->left ? n - i : (size_t)r->left;

            body_bytes(r, e, p + i, part);
            r->left -= part;
            i += part;
            if (r->left == 0)
                r->phase = CHUNK_CR;
        } else if (!framing(r, p[i++], &done)) {
            *v = REPLY_MALFORMED;
            return i;
        }
    }
    *v = done ? verdict(r, e) : REPLY_MORE;
    return i;
}

size_t reply_feed(struct reply *r, struct head_cache *cache,
                  const struct expect *e, const char *p, size_t n,
                  enum verdict *v)
{
    size_t used = 0, part;

    *v = REPLY_MORE;
    while (r->phase == HEAD && used < n && *v == REPLY_MORE)
        used += feed_head(r, cache, e, p + used, n - used, v);
    if (r->phase == HEAD || *v != REPLY_MORE)
        return used;
    p += used;
    n -= used;
    if (r->phase >= SIZE)
        return used + feed_chunked(r, e, p, n, v);
    if (r->phase == TO_EOF) {
        body_bytes(r, e, p, n);
        return used + n;
    }
    part = n < r->left ? n : (size_t)r->left;
    body_bytes(r, e, p, part);
    r->left -= part;
    if (r->left == 0)
        *v = verdict(r, e);
    return used + part;
}

enum verdict reply_eof(const struct reply *r, const struct expect *e)
{
    return r->phase == TO_EOF ? verdict(r, e) : REPLY_MORE;
}
