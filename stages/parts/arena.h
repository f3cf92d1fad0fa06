/* arena.h - one piece of memory for the windows of all connections.
 *
 *      mem                                                        n pieces
 *      | sending half: a stack of free pieces | receiving half: in the ring |
 *      |<----- registered, as far as the limit on locked memory goes ----->|
 *
 *  - Receiving: pieces lie in a provided-buffer ring (Linux 5.19).  The kernel
 *    takes one when bytes arrive, never before, and the completion names it.
 *  - Sending: the stack lends a piece when there is something to answer.
 *  - The halves never mix.  A connection that holds received bytes needs a
 *    piece to answer into.  If both came from one stack, received bytes could
 *    take the last piece, and all connections would wait for each other.
 *  - A window may also hold memory of its own, for a long wait.
 *
 * A piece is BUF_SIZE (16 KiB) long, and the next one begins 192 bytes after
 * its end: at a power of two, the first lines of all pieces would fall into the
 * same few sets of the caches.
 *
 * One thread owns an arena: the thread of its ring.
 */
#ifndef ARENA_H
#define ARENA_H

#include <argp.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#include "session.h"

enum {
    PAGE = 4096, /* bytes */
    PIECE_STRIDE = BUF_SIZE + 192,
    MOST_PIECES = 65536, /* half of them in a ring, which holds 32768 */
    BUF_GROUP = 0,
};

struct arena {
    uint8_t *mem;
    unsigned n;       /* pieces; a power of two */
    unsigned n_fixed; /* pieces 0 to n_fixed - 1 are registered, as buffer 0 */
    unsigned n_free;  /* on the stack */
    unsigned in_ring; /* pieces that the kernel may still take, as we know */
    uint32_t *free;   /* the stack: the piece used last is still in the cache */
    struct io_uring_buf_ring *ring; /* n / 2 entries */
};

#define ARENA_SWITCH                                                           \
    {                                                                          \
        "buffers", 'b', "N", 0, "pieces of 16 KiB, a power of two (1024)", 0   \
    }

/* Takes a->n from the value of --buffers: 0, or the process ends with 64. */
error_t arena_switch(const char *arg, struct argp_state *state,
                     struct arena *a);

/* Makes an arena of a->n pieces (2 to MOST_PIECES).  At least `leave` of them
 * are not registered.  Registers what the worker may lock (lockable.h): all, a
 * half, a quarter ...  Less is slower for some operations, never wrong.  Where
 * it is very little there are fewer pieces.  Without memory the process ends
 * with 1, without a ring of buffers with 77; `name` begins the message. */
void arena_open(struct arena *a, struct io_uring *ring, const char *name,
                unsigned leave);

/* Call it after the ring is closed: until then the kernel may write there. */
void arena_free(struct arena *a);

/* Is `mem` (any pointer) in the arena?  In a registered piece of it? */
bool arena_has(const struct arena *a, const void *mem);
bool arena_fixed(const struct arena *a, const void *mem);

/* True: a quarter of the sending half, or less, is free.  A connection that may
 * wait long should not hold a piece then.  The last piece always counts as low,
 * so two peers that wait for each other cannot hold all pieces. */
static inline bool arena_low(const struct arena *a)
{
    return a->n_free <= a->n / 8;
}

/* The kernel has put bytes into this piece (the buffer id of a completion).
 * Lends the piece to the window, which has no memory yet. */
void arena_got(struct arena *a, unsigned piece, struct buf *in);

/* Lends a piece of the sending half to a window; one that has memory keeps it.
 * False: no piece is free. */
bool arena_lend(struct arena *a, struct buf *b);

/* Takes the memory of a window back, and drops what it held. */
void arena_reclaim(struct arena *a, struct buf *b);

/* Moves the bytes of a session's windows to heap memory, because the session
 * will wait.  False: no memory. */
bool arena_spill(struct arena *a, struct session *s);

#endif
