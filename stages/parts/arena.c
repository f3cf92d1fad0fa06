/* arena.c - see arena.h. */

#include "parts/arena.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "options.h"
#include "parts/uring.h"

error_t arena_switch(const char *arg, struct argp_state *state, struct arena *a)
{
    a->n = (unsigned)option_int(state, "--buffers", arg, 2, MOST_PIECES);
    if (a->n & (a->n - 1))
        argp_error(state, "--buffers: %s is not a power of two", arg);
    return 0;
}

static unsigned arena_piece(const struct arena *a, const void *mem)
{
    return (unsigned)(((const uint8_t *)mem - a->mem) / PIECE_STRIDE);
}

static void *arena_at(const struct arena *a, unsigned piece)
{
    return a->mem + (size_t)piece * PIECE_STRIDE;
}

bool arena_has(const struct arena *a, const void *mem)
{
    return (uintptr_t)mem - (uintptr_t)a->mem < (size_t)a->n * PIECE_STRIDE;
}

bool arena_fixed(const struct arena *a, const void *mem)
{
    return arena_has(a, mem) && arena_piece(a, mem) < a->n_fixed;
}

static void arena_put(struct arena *a, unsigned piece)
{
    if (piece < a->n / 2) {
        CHECK(a->n_free < a->n / 2);
        a->free[a->n_free++] = piece;
        return;
    }
    io_uring_buf_ring_add(a->ring, arena_at(a, piece), BUF_SIZE,
                          (unsigned short)piece,
                          io_uring_buf_ring_mask(a->n / 2), 0);
    io_uring_buf_ring_advance(a->ring, 1);
    a->in_ring++;
}

void arena_got(struct arena *a, unsigned piece, struct buf *in)
{
    CHECK(piece < a->n && a->in_ring > 0);
    a->in_ring--;
    buf_lend(in, arena_at(a, piece), BUF_SIZE);
}

bool arena_lend(struct arena *a, struct buf *b)
{
    if (!b->mem && a->n_free > 0)
        buf_lend(b, arena_at(a, a->free[--a->n_free]), BUF_SIZE);
    return b->mem != NULL;
}

void arena_reclaim(struct arena *a, struct buf *b)
{
    void *mem;

    buf_consume(b, buf_len(b));
    mem = buf_reclaim(b);
    if (arena_has(a, mem))
        arena_put(a, arena_piece(a, mem));
    else
        free(mem); /* NULL too */
}

static bool window_spill(struct arena *a, struct buf *b)
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

bool arena_spill(struct arena *a, struct session *s)
{
    return window_spill(a, &s->in) && window_spill(a, &s->out);
}

/* Registers as much as is allowed: at most `most` pieces, and so many bytes. */
static void arena_register(struct arena *a, struct io_uring *ring,
                           unsigned most, size_t bytes)
{
    for (unsigned n = a->n; n > 0; n /= 2) {
        struct iovec all = {a->mem, (size_t)n * PIECE_STRIDE};

        if (n <= most && all.iov_len <= bytes &&
            io_uring_register_buffers(ring, &all, 1) == 0) {
            a->n_fixed = n;
            return;
        }
    }
}

/* Bytes of the ring of buffers: for half of n pieces, in whole pages. */
static size_t ring_of_buffers(unsigned n)
{
    return (n / 2 * sizeof(struct io_uring_buf) + PAGE - 1) / PAGE * PAGE;
}

/* The ring of buffers is memory that we write and the kernel reads: a page or
 * more. */
static int arena_ring(struct arena *a, struct io_uring *ring)
{
    unsigned n = a->n / 2;
    size_t bytes = ring_of_buffers(a->n);
    struct io_uring_buf_reg reg = {.ring_entries = n, .bgid = BUF_GROUP};
    void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int err;

    if (mem == MAP_FAILED)
        return -ENOMEM;
    reg.ring_addr = (uintptr_t)mem;
    err = io_uring_register_buf_ring(ring, &reg, 0);
    if (err < 0) {
        munmap(mem, bytes);
        return err;
    }
    a->ring = mem;
    io_uring_buf_ring_init(a->ring);
    return 0;
}

/* Makes the ring of buffers.  Where little memory may be locked there are fewer
 * pieces, so that the ring is smaller; it is never smaller than a page. */
static int arena_fit(struct arena *a, struct io_uring *ring, size_t most)
{
    int err;

    while (ring_of_buffers(a->n) > most && ring_of_buffers(a->n) > PAGE)
        a->n /= 2;
    while ((err = arena_ring(a, ring)) == -ENOMEM &&
           ring_of_buffers(a->n) > PAGE)
        a->n /= 2;
    return err;
}

void arena_open(struct arena *a, struct io_uring *ring, const char *name,
                unsigned leave)
{
    size_t rest = uring_rest(ring), used;
    int err;

    *a = (struct arena){.n = a->n};
    err = arena_fit(a, ring, rest);
    if (err < 0)
        die_status(EX_SKIP, "%s: no ring of buffers (Linux 5.19): %s", name,
                   err == -ENOMEM ? uring_reason(err) : strerror(-err));
    a->mem = mmap(NULL, (size_t)a->n * PIECE_STRIDE, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    a->free = calloc(a->n, sizeof *a->free);
    if (a->mem == MAP_FAILED || !a->free)
        die("%s: no memory for the arena", name);
    used = ring_of_buffers(a->n);
    arena_register(a, ring, leave < a->n ? a->n - leave : 0,
                   rest > used ? rest - used : 0);
    for (unsigned i = a->n; i-- > 0;)
        arena_put(a, i);
}

void arena_free(struct arena *a)
{
    munmap(a->mem, (size_t)a->n * PIECE_STRIDE);
    munmap(a->ring, ring_of_buffers(a->n));
    free(a->free);
}
