/* arena.c - see arena.h. */

#include "parts/arena.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"

void *arena_take(struct arena *a)
{
    return a->n_free > 0 ? arena_at(a, a->free[--a->n_free]) : NULL;
}

static void arena_put(struct arena *a, unsigned piece)
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

void arena_give(struct arena *a, void *mem)
{
    unsigned piece = arena_piece(a, mem);

    if (!arena_has(a, mem))
        free(mem); /* NULL too */
    else if (a->pins[piece] > 0)
        a->given[piece] = true;
    else
        arena_put(a, piece);
}

void arena_pin(struct arena *a, unsigned piece)
{
    a->pins[piece]++;
}

void arena_unpin(struct arena *a, unsigned piece)
{
    CHECK(a->pins[piece] > 0);
    if (--a->pins[piece] > 0 || !a->given[piece])
        return;
    a->given[piece] = false;
    arena_put(a, piece);
}

void arena_got(struct arena *a, unsigned piece, struct buf *in)
{
    CHECK(piece < a->n && a->in_ring > 0);
    a->in_ring--;
    buf_lend(in, arena_at(a, piece), BUF_SIZE);
}

bool arena_lend(struct arena *a, struct buf *b)
{
    void *mem = b->mem ? NULL : arena_take(a);

    if (mem)
        buf_lend(b, mem, BUF_SIZE);
    return b->mem != NULL;
}

void arena_reclaim(struct arena *a, struct buf *b)
{
    buf_consume(b, buf_len(b));
    arena_give(a, buf_reclaim(b));
}

bool arena_spill(struct arena *a, struct buf *b)
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

bool buf_own(struct buf *b)
{
    void *mem = malloc(BUF_SIZE);

    if (mem)
        buf_lend(b, mem, BUF_SIZE);
    return mem != NULL;
}

/* Registers as much as is allowed, and at most `most` pieces. */
static void arena_register(struct arena *a, struct io_uring *ring,
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

/* The ring of buffers is memory that the kernel reads and we write: a page or
 * more. */
static void arena_ring(struct arena *a, struct io_uring *ring)
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

bool arena_init(struct arena *a, struct io_uring *ring, unsigned n,
                unsigned leave, bool lend)
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

void arena_free(struct arena *a)
{
    munmap(a->mem, (size_t)a->n * PIECE_STRIDE);
    if (a->ring)
        munmap(a->ring, a->n / 2 * sizeof(struct io_uring_buf));
    free(a->free);
    free(a->pins);
    free(a->given);
}
