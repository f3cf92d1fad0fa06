/* arena.h - one piece of memory for the windows of all connections.
 *
 *      mem                                                        n pieces
 *      | sending half: a stack of free pieces | receiving half: in the ring |
 *      |<----- registered, as far as the limit on locked memory goes ----->|
 *
 * The halves never mix.  A connection that holds received bytes needs a piece
 * to answer into; were the two drawn from one stack, received bytes could take
 * the last piece and all would wait for each other.
 *
 *  - Receiving: pieces lie in a provided-buffer ring.  The kernel takes one
 *    when bytes arrive, never before, and says which in the completion.
 *  - Sending: arena_take() when there is something to answer.
 *  - arena_give() returns either kind, and frees memory not of the arena.
 *  - A zero-copy send keeps its piece until the kernel's notification has come:
 *    pinned pieces are given back when the last pin is gone.
 *
 * Pieces lie BUF_SIZE + 192 bytes apart: at a power of two, the first lines of
 * all pieces would fall into the same few sets of the caches.
 *
 * Owned by one thread.  Needs provided-buffer rings (5.19), or n / 2 pieces are
 * all it has.
 */
#ifndef ARENA_H
#define ARENA_H

#include <sys/mman.h>

#include "../uring.h"
#include "buf.h"

enum {
    PIECE_STRIDE = BUF_SIZE + 192,
    MOST_PIECES = 65536, /* half of them in a ring, which holds 32768 */
    BUF_GROUP = 0,
};

struct arena {
    uint8_t *mem;
    unsigned n;       /* pieces; a power of two */
    unsigned n_fixed; /* the first so many are registered, as buffer 0 */
    unsigned n_free;  /* on the stack */
    unsigned in_ring; /* that the kernel may still take, as far as we know */
    uint32_t *free;   /* the stack: the piece used last is still in the cache */
    uint16_t *pins;   /* of each piece: notifications to come */
    bool *given;      /* given back while pinned */
    struct io_uring_buf_ring *ring; /* n / 2 entries, or NULL */
};

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

static inline bool arena_fixed(const struct arena *a, const void *mem)
{
    return arena_has(a, mem) && arena_piece(a, mem) < a->n_fixed;
}

/* A piece to send from, or NULL: wait until one comes back. */
static inline void *arena_take(struct arena *a)
{
    return a->n_free > 0 ? arena_at(a, a->free[--a->n_free]) : NULL;
}

/* No more than a quarter of the sending half is left: whoever may hold a piece
 * for long should use memory of its own.  That the last piece is always "low"
 * keeps two peers who wait for each other's from doing so for good. */
static inline bool arena_low(const struct arena *a)
{
    return a->n_free <= a->n / 8;
}

/* Half of all pieces, or fewer, are left on the stack. */
static inline bool arena_half(const struct arena *a)
{
    return a->n_free <= a->n / 2;
}

/* The kernel put bytes into this piece (the buffer id of a completion): lends
 * it to the window. */
static inline void arena_got(struct arena *a, unsigned piece, struct buf *in)
{
    CHECK(piece < a->n && a->in_ring > 0);
    a->in_ring--;
    buf_lend(in, arena_at(a, piece), BUF_SIZE);
}

static inline void arena_put(struct arena *a, unsigned piece)
{
    if (!a->ring || piece < a->n / 2) {
        CHECK(a->n_free < a->n);
        a->free[a->n_free++] = piece;
        return;
    }
    io_uring_buf_ring_add(a->ring, arena_at(a, piece), BUF_SIZE,
                          (unsigned short)piece,
                          io_uring_buf_ring_mask(a->n / 2), 0);
    io_uring_buf_ring_advance(a->ring, 1);
    a->in_ring++;
}

static inline void arena_give(struct arena *a, void *mem)
{
    unsigned piece = arena_piece(a, mem);

    if (!arena_has(a, mem))
        free(mem); /* NULL too */
    else if (a->pins[piece] > 0)
        a->given[piece] = true;
    else
        arena_put(a, piece);
}

/* A zero-copy send of this piece will be notified. */
static inline void arena_pin(struct arena *a, unsigned piece)
{
    a->pins[piece]++;
}

static inline void arena_unpin(struct arena *a, unsigned piece)
{
    CHECK(a->pins[piece] > 0);
    if (--a->pins[piece] > 0 || !a->given[piece])
        return;
    a->given[piece] = false;
    arena_put(a, piece);
}

/* Windows over pieces: lending for a step, and the way back. */

/* False: no piece is free.  A window that has memory keeps it. */
static inline bool arena_lend(struct arena *a, struct buf *b)
{
    void *mem = b->mem ? NULL : arena_take(a);

    if (mem)
        buf_lend(b, mem, BUF_SIZE);
    return b->mem != NULL;
}

/* Memory of its own, for a window that will wait a long time.  arena_give frees
 * it. */
static inline bool buf_own(struct buf *b)
{
    void *mem = malloc(BUF_SIZE);

    if (mem)
        buf_lend(b, mem, BUF_SIZE);
    return mem != NULL;
}

/* What the window holds no longer matters. */
static inline void arena_reclaim(struct arena *a, struct buf *b)
{
    buf_consume(b, buf_len(b));
    arena_give(a, buf_reclaim(b));
}

/* Moves what a window holds to memory of its own, for its peer is being waited
 * for.  False: no memory. */
static inline bool arena_spill(struct arena *a, struct buf *b)
{
    size_t n = buf_len(b);
    uint8_t *own;

    if (!arena_has(a, b->mem))
        return true;
    own = malloc(BUF_SIZE);
    if (!own)
        return false;
    memcpy(own, buf_data(b), n);
    arena_reclaim(a, b);
    buf_lend(b, own, BUF_SIZE);
    buf_commit(b, n);
    return true;
}

/* Registers as much as the limit on locked memory allows, and at most `most`
 * pieces: all or a half or a quarter ...  Less registered is slower for some
 * operations, never wrong. */
static inline void arena_register(struct arena *a, struct io_uring *ring,
                                  unsigned most)
{
    for (unsigned n = a->n; n > 0; n /= 2) {
        struct iovec all = {a->mem, (size_t)n * PIECE_STRIDE};

        if (n <= most && io_uring_register_buffers(ring, &all, 1) == 0) {
            a->n_fixed = n;
            return;
        }
    }
}

/* The ring itself is memory that both sides write: ours, a page or more. */
static inline void arena_ring(struct arena *a, struct io_uring *ring)
{
    unsigned n = a->n / 2;
    struct io_uring_buf_reg reg = {.ring_entries = n, .bgid = BUF_GROUP};
    void *mem =
        mmap(NULL, n * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (mem == MAP_FAILED)
        return;
    reg.ring_addr = (uintptr_t)mem;
    if (io_uring_register_buf_ring(ring, &reg, 0) < 0) {
        munmap(mem, n * sizeof(struct io_uring_buf));
        return;
    }
    a->ring = mem;
    io_uring_buf_ring_init(a->ring);
}

/* n: a power of two, at least 2.  `leave`: so many are not registered.  `lend`:
 * make the provided-buffer ring; without it, or when the kernel has none, all
 * pieces are on the stack.  False: no memory. */
static inline bool arena_init(struct arena *a, struct io_uring *ring,
                              unsigned n, unsigned leave, bool lend)
{
    *a = (struct arena){.n = n};
    a->mem = mmap(NULL, (size_t)n * PIECE_STRIDE, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    a->free = calloc(n, sizeof *a->free);
    a->pins = calloc(n, sizeof *a->pins);
    a->given = calloc(n, sizeof *a->given);
    if (a->mem == MAP_FAILED || !a->free || !a->pins || !a->given)
        return false;
    arena_register(a, ring, n - leave);
    if (lend)
        arena_ring(a, ring);
    for (unsigned i = n; i-- > 0;)
        arena_put(a, i);
    return true;
}

/* After the ring is gone. */
static inline void arena_free(struct arena *a)
{
    munmap(a->mem, (size_t)a->n * PIECE_STRIDE);
    if (a->ring)
        munmap(a->ring, a->n / 2 * sizeof(struct io_uring_buf));
    free(a->free);
    free(a->pins);
    free(a->given);
}

#endif
