/* reply.h - reads one HTTP reply and checks it: status, length, every byte.
 *
 * Strict where looseness could hide a fault: CRLF line ends, one framing, known
 * version.  Bytes are fed as they come; nothing is copied but a header section
 * that was split between two receives.
 *
 * A header section that is byte for byte the one before it means the same as
 * the one before it, so it is compared instead of parsed; with Date in it that
 * works all but once a second.
 */
#ifndef REPLY_H
#define REPLY_H

#include "request.h"

enum verdict {
    REPLY_MORE,      /* not at its end yet */
    REPLY_OK,        /* every byte as it must be */
    REPLY_STATUS,    /* whole, but another status */
    REPLY_LENGTH,    /* whole, but longer or shorter */
    REPLY_BYTES,     /* whole and as long as it must be, other bytes */
    REPLY_MALFORMED, /* not HTTP: where it ends is unknown */
};

struct head {
    int status;
    int64_t length; /* Content-Length, -1 when absent */
    bool chunked, close;
};

/* The last header section parsed, one for each thread. */
struct head_cache {
    size_t len; /* 0: none */
    struct head head;
    char bytes[1024];
};

struct reply {
    uint8_t phase;
    uint8_t interim;  /* 1xx replies skipped */
    bool mismatch;    /* a byte of the body was wrong */
    struct head head; /* once the header section is complete */
    uint64_t left;    /* of the body or of the chunk */
    uint64_t got;     /* bytes of body so far */
    uint32_t head_len;
    uint32_t held;      /* bytes in hold */
    char *hold;         /* HOLD_SIZE bytes once a section was split */
    char tag[TAG_SIZE]; /* the first bytes of a tagged body, as they came */
};

/* Ready for the next reply.  A zeroed struct is ready too. */
void reply_reset(struct reply *r);
void reply_free(struct reply *r);

/* True once a byte of it has come. */
static inline bool reply_started(const struct reply *r)
{
    return r->phase != 0 || r->held > 0;
}

/* Takes bytes up to the end of this reply and returns how many it took; all of
 * them when *v is REPLY_MORE. */
size_t reply_feed(struct reply *r, struct head_cache *cache,
                  const struct expect *e, const char *p, size_t n,
                  enum verdict *v);

/* The connection has ended: the verdict when that ends the reply too, and
 * REPLY_MORE when bytes are missing. */
enum verdict reply_eof(const struct reply *r, const struct expect *e);

#endif
