/* talk.h - many conversations at once, each of which proves its own bytes.
 *
 * One poll loop plays all the clients, so that a server with two buffers meets
 * fifty of them at the same moment.  What a client sends is made first; what it
 * receives is kept, and compared with what was due when the conversation ends.
 */
#ifndef TEST_TALK_H
#define TEST_TALK_H

#include "client.h"

enum { TALK_ITEMS = 16 };

enum item_kind { ITEM_HELLO, ITEM_BYTES, ITEM_POST, ITEM_CHUNKED };

struct item {
    enum item_kind kind;
    size_t size;
};

struct talk {
    int fd;
    char *out, *in; /* all that is said; all that was heard */
    size_t n_out, sent, n_in, cap;
    struct item item[TALK_ITEMS]; /* HTTP only */
    int n_items;
    size_t most_sent;   /* bytes a send; 0: all there are */
    size_t most_read;   /* bytes a receive; 0: 64 KiB */
    double start, deaf; /* when it starts to talk, and to listen: now() */
    size_t pause_at;    /* after so many bytes said it waits ... */
    double pause;       /* ... for so long, once */
    bool half;          /* half-closes after its last byte */
    bool small;         /* small kernel buffers */
    bool eof, reset;    /* how it ended */
};

/* Makes a conversation of n exchanges (for echo: of n random pieces) of up to
 * `most` bytes each, one after the other without waiting for answers. */
void talk_make(struct talk *t, struct rng *r, int n, size_t most);

/* One exchange, of exactly that kind and size; echo: size random bytes. */
void talk_make_one(struct talk *t, struct rng *r, enum item_kind kind,
                   size_t size);

/* Connects them all and plays them to their ends; false when that takes longer
 * than `seconds` (scaled). */
bool talk_all(struct talk t[], int n, const struct server *s, double seconds);

/* What was due, all of it and nothing else; or why not. */
const char *talk_wrong(const struct talk *t);

/* Whatever was heard before the end was right so far. */
const char *talk_wrong_so_far(const struct talk *t);

void talk_free(struct talk *t);

#endif
