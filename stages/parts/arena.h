/* arena.h - one piece of memory for the windows of all connections.
 *
 *      mem                                                        n pieces
 *      | sending half: a stack of free pieces | receiving half: in the ring |
 *      |<----- registered, as far as the limit on locked memory goes ----->|
 *
 * The two halves never mix.  A connection that holds received bytes needs a
 * piece to answer into.  If both kinds came from one stack, received bytes
 * could take the last piece, and all connections would wait for each other.
 *
 *  - Receiving: pieces lie in a provided-buffer ring.  The kernel takes one
 *    when bytes arrive, never before, and the completion names it.
 *  - Sending: arena_take() when there is something to answer.
 *  - arena_give() returns a piece of either half.  It frees memory that is not
 *    of the arena, so a window can hold memory of its own.
 *  - A zero-copy send keeps its piece until the kernel's notification has come:
 *    a pinned piece is returned when its last pin is gone.
 *
 * Pieces are BUF_SIZE (16 KiB) long and lie 192 bytes further apart: at a power
 * of two, the first lines of all pieces would fall into the same few sets of
 * the caches.
 *
 * One thread owns an arena, the thread of its ring.  The ring of buffers needs
 * Linux 5.19; without it (a->ring is NULL) all pieces are on the stack.
 */
#ifndef ARENA_H
#define ARENA_H

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

enum {
    PIECE_STRIDE = BUF_SIZE + 192,
    MOST_PIECES = 65536, /* half of them in a ring, which holds 32768 */
    BUF_GROUP = 0,
};

struct arena {
    uint8_t *mem;
    unsigned n;       /* pieces; a power of two */
    unsigned n_fixed; /* pieces 0 to n_fixed - 1 are registered, as buffer 0 */
    unsigned n_free;  /* on the stack */
    unsigned in_ring; /* that the kernel may still take, as far as we know */
    uint32_t *free;   /* the stack: the piece used last is still in the cache */
    uint16_t *pins;   /* of each piece: notifications to come */
    bool *given;      /* given back while pinned */
    struct io_uring_buf_ring *ring; /* n / 2 entries, or NULL */
};

/* n: a power of two, from 2 to MOST_PIECES.  `leave`: so many pieces are not
 * registered.  `lend`: make the ring of buffers.  Registers what the limit on
 * locked memory allows: all, a half, a quarter ...  Less is slower for some
 * operations, never wrong.  False: no memory. */
bool arena_init(struct arena *a, struct io_uring *ring, unsigned n,
                unsigned leave, bool lend);

/* Only when the ring is gone: until then the kernel may write to it. */
void arena_free(struct arena *a);

/* Does `mem` point into the arena? */
static inline bool arena_has(const struct arena *a, const void *mem)
{
    return (uintptr_t)mem - (uintptr_t)a->mem < (size_t)a->n * PIECE_STRIDE;
}

static inline unsigned arena_piece(const struct arena *a, const void *mem)
{
    return (unsigned)(((const uint8_t *)mem - a->mem) / PIECE_STRIDE);
}

static inline void *arena_at(const struct arena *a, unsigned piece)
{
    return a->mem + (size_t)piece * PIECE_STRIDE;
}

/* Is `mem` in a registered piece? */
static inline bool arena_fixed(const struct arena *a, const void *mem)
{
    return arena_has(a, mem) && arena_piece(a, mem) < a->n_fixed;
}

/* A quarter of the sending half, or less, is free: an operation that may hold a
 * piece for long should use memory of its own.  The last piece always counts as
 * low, so two peers that wait for each other cannot hold all pieces. */
static inline bool arena_low(const struct arena *a)
{
    return a->n_free <= a->n / 8;
}

/* Half of all pieces, or fewer, are left on the stack. */
static inline bool arena_half(const struct arena *a)
{
    return a->n_free <= a->n / 2;
}

/* A piece of the sending half, or NULL: wait until one comes back. */
void *arena_take(struct arena *a);

/* Returns a piece that arena_take() or the kernel handed out, or frees `mem`.
 * NULL is allowed. */
void arena_give(struct arena *a, void *mem);

/* A zero-copy send of this piece will be notified; it has been notified. */
void arena_pin(struct arena *a, unsigned piece);
void arena_unpin(struct arena *a, unsigned piece);

/* ---- windows over pieces: lending for a step, and the way back ---- */

/* The kernel put bytes into this piece (the buffer id of a completion): lends
 * it to the window, which has no memory yet. */
void arena_got(struct arena *a, unsigned piece, struct buf *in);

/* Lends a piece to a window; one that has memory keeps it.  False: no piece is
 * free. */
bool arena_lend(struct arena *a, struct buf *b);

/* Takes the memory back; what the window held is dropped. */
void arena_reclaim(struct arena *a, struct buf *b);

/* Moves what a window holds from a piece to memory of its own, because it will
 * wait for a peer.  False: no memory. */
bool arena_spill(struct arena *a, struct buf *b);

/* Gives an empty window BUF_SIZE bytes of its own; arena_give() frees them.
 * False: no memory. */
bool buf_own(struct buf *b);

#endif
