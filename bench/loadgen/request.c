/* request.c - see request.h. */
#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum {
    TAG_MAGIC = 0x72646c69, /* "ildr" in memory on a little-endian machine */
    LETTERS = 26,
    TABLE = 64 * 1024, /* bytes of letters compared or copied at a time */
};

/* a..z over and over: from any of the first 26 places on, TABLE bytes. */
static char letters[TABLE + LETTERS];

static void letters_init(void)
{
    for (size_t i = 0; i < sizeof(letters); i++)
        letters[i] = (char)('a' + i % LETTERS);
}

static void letters_copy(char *dst, uint64_t from, size_t n)
{
    while (n > 0) {
        size_t part = n < TABLE ? n : TABLE;

        memcpy(dst, letters + from % LETTERS, part);
        dst += part;
        from += part;
        n -= part;
    }
}

static bool letters_match(uint64_t from, const char *p, size_t n)
{
    while (n > 0) {
        size_t part = n < TABLE ? n : TABLE;

        if (memcmp(p, letters + from % LETTERS, part) != 0)
            return false;
        p += part;
        from += part;
        n -= part;
    }
    return true;
}

/* ---- bodies with a tag ---- */

static struct tag tag_of(uint32_t conn, uint64_t seq)
{
    return (struct tag){TAG_MAGIC, conn, seq};
}

bool tag_read(const char *p, size_t n, struct tag *t)
{
    if (n < TAG_SIZE)
        return false;
    memcpy(t, p, sizeof(*t));
    return t->magic == TAG_MAGIC;
}

/* Letters follow the tag; a body too short for a tag is letters only.  Each
 * message begins at another letter, so that even a short one taken for its
 * neighbour shows. */
static void tagged_build(char *dst, size_t n, uint32_t conn, uint64_t seq)
{
    struct tag t = tag_of(conn, seq);

    if (n < TAG_SIZE) {
        letters_copy(dst, seq, n);
        return;
    }
    memcpy(dst, &t, sizeof(t));
    letters_copy(dst + TAG_SIZE, seq % LETTERS, n - TAG_SIZE);
}

static bool tagged_match(const struct expect *e, uint64_t off, const char *p,
                         size_t n)
{
    struct tag t = tag_of(e->conn, e->seq);

    if (e->len < TAG_SIZE)
        return letters_match(e->seq % LETTERS + off, p, n);
    if (off < TAG_SIZE) {
        size_t part = TAG_SIZE - (size_t)off;

        if (part > n)
            part = n;
        if (memcmp(p, (const char *)&t + off, part) != 0)
            return false;
        p += part;
        n -= part;
        off += part;
    }
    return letters_match(e->seq % LETTERS + (off - TAG_SIZE), p, n);
}

/* ---- the plan ---- */

static bool is_prime(uint32_t n)
{
    for (uint32_t d = 2; d * d <= n; d++)
        if (n % d == 0)
            return false;
    return true;
}

static char *copy_of(const char *text)
{
    char *s = strdup(text);

    if (!s)
        die("loadgen: out of memory");
    return s;
}

/* The Host field's value; an IPv6 address stands in brackets. */
static void host_text(const struct config *cf, char *dst, size_t cap)
{
    if (strchr(cf->host, ':'))
        snprintf(dst, cap, "[%s]:%d", cf->host, cf->port);
    else
        snprintf(dst, cap, "%s:%d", cf->host, cf->port);
}

/* Everything before and after the part that varies. */
static void plan_head(struct plan *p, const struct config *cf)
{
    static const char *const methods[] = {"GET", "HEAD", "POST"};
    char line[9000], fields[512], host[300], body[96] = "";

    if (p->kind == PLAN_SERVICE)
        snprintf(line, sizeof(line), "GET /%s/",
                 cf->service_sleep ? "sleep" : "work");
    else if (p->kind == PLAN_MIX)
        snprintf(line, sizeof(line), "GET /bytes/");
    else if (cf->service.kind == SERVICE_CONST)
        snprintf(line, sizeof(line), "GET /%s/%u",
                 cf->service_sleep ? "sleep" : "work", cf->service.us);
    else
        snprintf(line, sizeof(line), "%s %s", methods[cf->method], cf->path);
    if (p->kind == PLAN_POST)
        snprintf(body, sizeof(body),
                 "Content-Type: application/octet-stream\r\n"
                 "Content-Length: %zu\r\n",
                 p->body_len);
    host_text(cf, host, sizeof(host));
    snprintf(fields, sizeof(fields), " HTTP/1.1\r\nHost: %s\r\n%s%s\r\n", host,
             body, cf->close ? "Connection: close\r\n" : "");
    p->head = copy_of(line);
    p->tail = copy_of(fields);
    p->head_len = strlen(p->head);
    p->tail_len = strlen(p->tail);
}

static void plan_same(struct plan *p, const struct config *cf)
{
    p->copies = cf->depth;
    p->same_len = p->head_len + p->tail_len;
    p->same = malloc(p->same_len * (size_t)p->copies);
    if (!p->same)
        die("loadgen: out of memory");
    for (char *to = p->same; to < p->same + p->same_len * (size_t)p->copies;) {
        to = mempcpy(to, p->head, p->head_len);
        to = mempcpy(to, p->tail, p->tail_len);
    }
}

/* "/bytes/N" and nothing behind it. */
static bool bytes_path(const char *path, uint64_t *n)
{
    unsigned long long v;
    int end = 0;

    if (sscanf(path, "/bytes/%llu%n", &v, &end) != 1 || path[end] != '\0')
        return false;
    *n = v;
    return true;
}

/* What the body must be, where the path says it. */
static void plan_body(struct plan *p, const struct config *cf)
{
    p->status = cf->expect_status;
    p->body = BODY_ANY;
    if (cf->method == METHOD_HEAD) {
        p->body = BODY_NONE;
    } else if (cf->expect_any) {
        p->body = BODY_ANY;
    } else if (cf->expect) {
        p->body = BODY_TEXT;
        p->text = cf->expect;
        p->reply_len = (uint64_t)cf->expect_len;
    } else if (p->kind == PLAN_ECHO ||
               (p->kind == PLAN_POST && strcmp(cf->path, "/echo") == 0)) {
        p->body = BODY_TAGGED;
        p->reply_len = p->body_len;
    } else if (p->kind == PLAN_MIX ||
               (p->kind == PLAN_SAME && bytes_path(cf->path, &p->reply_len))) {
        p->body = BODY_LETTERS;
    } else if (p->kind == PLAN_SAME && strcmp(cf->path, "/") == 0 &&
               cf->service.kind == SERVICE_NONE) {
        p->body = BODY_TEXT;
        p->text = "Hello, World!\n";
        p->reply_len = strlen(p->text);
    }
}

void plan_init(struct plan *p, const struct config *cf)
{
    letters_init();
    *p = (struct plan){.service = cf->service};
    if (cf->echo)
        p->kind = PLAN_ECHO;
    else if (cf->service.kind == SERVICE_EXP ||
             cf->service.kind == SERVICE_BIMODAL)
        p->kind = PLAN_SERVICE;
    else if (cf->mix)
        p->kind = PLAN_MIX;
    else if (cf->method == METHOD_POST)
        p->kind = PLAN_POST;
    if (p->kind == PLAN_ECHO || p->kind == PLAN_POST)
        p->body_len = (size_t)cf->size;
    p->mix = (uint32_t)cf->depth < 97 ? 97 : (uint32_t)cf->depth + 1;
    while (!is_prime(p->mix))
        p->mix++;
    if (p->kind == PLAN_ECHO) {
        p->head = copy_of("");
        p->tail = copy_of("");
    } else {
        plan_head(p, cf);
    }
    p->max_len = p->head_len + 16 + p->tail_len + p->body_len;
    if (p->kind == PLAN_SAME)
        plan_same(p, cf);
    plan_body(p, cf);
}

void plan_free(struct plan *p)
{
    free(p->head);
    free(p->tail);
    free(p->same);
    *p = (struct plan){0};
}

/* ---- one request ---- */

uint32_t request_arg(const struct plan *p, struct rng *r, uint32_t conn,
                     uint64_t seq, bool *slow)
{
    *slow = false;
    if (p->kind == PLAN_SERVICE)
        return service_draw(&p->service, r, slow);
    if (p->kind == PLAN_MIX) /* 7 and a prime: all of mix before one repeats */
        return 1 + (uint32_t)((conn + seq) * 7 % p->mix);
    return 0;
}

static size_t decimal(char *dst, uint32_t v)
{
    char digits[10];
    size_t n = 0;

    do
        digits[n++] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    for (size_t i = 0; i < n; i++)
        dst[i] = digits[n - 1 - i];
    return n;
}

size_t request_build(const struct plan *p, char *dst, uint32_t conn,
                     uint64_t seq, uint32_t arg)
{
    char *to = dst;

    memcpy(to, p->head, p->head_len);
    to += p->head_len;
    if (p->kind == PLAN_SERVICE || p->kind == PLAN_MIX)
        to += decimal(to, arg);
    memcpy(to, p->tail, p->tail_len);
    to += p->tail_len;
    if (p->body_len > 0)
        tagged_build(to, p->body_len, conn, seq);
    return (size_t)(to - dst) + p->body_len;
}

void request_expect(const struct plan *p, struct expect *e, uint32_t conn,
                    uint64_t seq, uint32_t arg)
{
    e->body = p->body;
    e->status = p->status;
    e->text = p->text;
    e->len = p->kind == PLAN_MIX ? arg : p->reply_len;
    e->conn = conn;
    e->seq = seq;
}

bool expect_match(const struct expect *e, uint64_t off, const char *p, size_t n)
{
    if (e->body == BODY_ANY)
        return true;
    if (off + n > e->len || e->body == BODY_NONE)
        return n == 0;
    switch (e->body) {
    case BODY_TEXT:
        return memcmp(e->text + off, p, n) == 0;
    case BODY_LETTERS:
        return letters_match(off, p, n);
    case BODY_TAGGED:
        return tagged_match(e, off, p, n);
    default:
        return true;
    }
}
