/* request.h - what is sent, and what must come back for it.
 *
 * A plan is made once from the command line.  Most plans send the same bytes
 * every time: then request_same() gives them ready made, as many copies as may
 * be in flight, and a request costs its send() and nothing else.
 *
 * Bodies that come back (echo, POST /echo) begin with a tag when they have room
 * for one, so that a reply says which request it belongs to:
 *
 *      0      4        8           16
 *      | "ildr" | conn | sequence  | a..z from a letter chosen by sequence ...
 */
#ifndef REQUEST_H
#define REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

enum { TAG_SIZE = 16 };

struct tag {
    uint32_t magic, conn;
    uint64_t seq;
};

struct plan {
    enum {
        PLAN_SAME,    /* the same request each time */
        PLAN_SERVICE, /* /work/US or /sleep/US, drawn */
        PLAN_MIX,     /* /bytes/k */
        PLAN_POST,    /* a body with a tag */
        PLAN_ECHO,    /* no HTTP at all */
    } kind;
    char *head, *tail; /* before and after what varies */
    size_t head_len, tail_len;
    char *same; /* PLAN_SAME: `copies` requests in a row */
    size_t same_len;
    int copies;
    size_t body_len; /* bytes of a POST body or echo message */
    size_t max_len;  /* no request is longer */
    uint32_t mix;    /* a prime above the depth: k differs among neighbours */
    struct service service;

    /* what must come back */
    enum { BODY_ANY, BODY_TEXT, BODY_LETTERS, BODY_TAGGED, BODY_NONE } body;
    const char *text;
    uint64_t reply_len; /* LETTERS, TEXT */
    int status;
};

/* What the reply to one request must be. */
struct expect {
    int body; /* one of plan.body */
    int status;
    const char *text;
    uint64_t len;
    uint32_t conn;
    uint64_t seq;
};

void plan_init(struct plan *p, const struct config *cf);
void plan_free(struct plan *p);

/* The number that makes this request differ: microseconds, or k. */
uint32_t request_arg(const struct plan *p, struct rng *r, uint32_t conn,
                     uint64_t seq, bool *slow);

/* Writes one request to dst (plan.max_len bytes are enough); its length. */
size_t request_build(const struct plan *p, char *dst, uint32_t conn,
                     uint64_t seq, uint32_t arg);

void request_expect(const struct plan *p, struct expect *e, uint32_t conn,
                    uint64_t seq, uint32_t arg);

/* True when n bytes at offset off of the body are what they must be. */
bool expect_match(const struct expect *e, uint64_t off, const char *p,
                  size_t n);

/* The tag at p, false when there is none. */
bool tag_read(const char *p, size_t n, struct tag *t);

#endif
