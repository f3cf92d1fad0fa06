/* test_arena.c - the arena: where its pieces are, and that each comes back. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "parts/arena.h"
#include "parts/uring.h"

TestSuite(arena, .timeout = 30);

enum { N = 8 };

/* False, and the test is over: no ring here. */
static bool ring_open(struct io_uring *ring)
{
    int err = io_uring_queue_init(16, ring, 0);

    if (err < 0)
        fprintf(stderr, "skipped: no io_uring: %s\n", uring_reason(err));
    return err == 0;
}

static void open_arena(struct arena *a, struct io_uring *ring, unsigned n,
                       unsigned leave)
{
    a->n = n;
    arena_open(a, ring, "test", leave);
}

static void finish(struct arena *a, struct io_uring *ring)
{
    io_uring_queue_exit(ring);
    arena_free(a);
}

/* One receive with a piece that the kernel chooses: the piece, or -errno. */
static int receive(struct io_uring *ring, int fd)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    struct io_uring_cqe *cqe;
    int got;

    io_uring_prep_recv(sqe, fd, NULL, BUF_SIZE, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUF_GROUP;
    cr_assert(io_uring_submit_and_wait(ring, 1) == 1);
    cr_assert(io_uring_peek_cqe(ring, &cqe) == 0);
    got =
        cqe->res < 0 ? cqe->res : (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    io_uring_cqe_seen(ring, cqe);
    return got;
}

static unsigned piece_of(const struct arena *a, const struct buf *b)
{
    return (unsigned)((size_t)((const uint8_t *)b->mem - a->mem) /
                      PIECE_STRIDE);
}

Test(arena, sending_pieces_are_half_of_all)
{
    struct buf b[N] = {{0}}, more = {0};
    struct io_uring ring;
    struct arena a;
    void *mem;

    if (!ring_open(&ring))
        return;
    open_arena(&a, &ring, N, 0);
    cr_assert(a.n_free == N / 2 && a.in_ring == N / 2 && !arena_low(&a));
    for (int i = 0; i < N / 2; i++) {
        cr_assert(arena_lend(&a, &b[i]) && arena_has(&a, b[i].mem));
        cr_assert(piece_of(&a, &b[i]) < N / 2, "a piece of the ring");
        for (int k = 0; k < i; k++)
            cr_assert(b[k].mem != b[i].mem, "lent twice");
    }
    cr_assert(!arena_lend(&a, &more) && !more.mem && arena_low(&a));
    mem = b[1].mem;
    arena_reclaim(&a, &b[1]);
    cr_assert(!b[1].mem && arena_lend(&a, &more));
    cr_assert(more.mem == mem, "not the one used last");
    finish(&a, &ring);
}

Test(arena, registers_no_more_than_it_may)
{
    struct io_uring ring;
    struct arena a;

    if (!ring_open(&ring))
        return;
    open_arena(&a, &ring, N, 3);
    cr_assert(a.n_fixed <= N / 2, "%u registered", a.n_fixed);
    cr_assert(!arena_fixed(&a, a.mem + (size_t)a.n_fixed * PIECE_STRIDE));
    if (a.n_fixed > 0)
        cr_assert(arena_fixed(&a, a.mem + BUF_SIZE - 1));
    cr_assert(!arena_fixed(&a, &a) && !arena_has(&a, NULL));
    cr_assert(!arena_has(&a, a.mem + (size_t)N * PIECE_STRIDE));
    finish(&a, &ring);
}

/* The kernel takes a piece when bytes arrive, says when there is none, and
 * finds the piece that came back. */
Test(arena, the_kernel_takes_and_gets_back)
{
    struct io_uring ring;
    struct arena a;
    struct buf in[N] = {{0}};
    int fds[2], piece;

    if (!ring_open(&ring))
        return;
    open_arena(&a, &ring, N, 0);
    cr_assert(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) == 0);
    for (int i = 0; i < N / 2; i++) {
        cr_assert(write(fds[1], "hello", 5) == 5);
        piece = receive(&ring, fds[0]);
        cr_assert(piece >= N / 2, "piece %d", piece);
        arena_got(&a, (unsigned)piece, &in[i]);
        buf_commit(&in[i], 5);
        cr_assert(memcmp(buf_data(&in[i]), "hello", 5) == 0);
    }
    cr_assert(a.in_ring == 0);
    cr_assert(write(fds[1], "hello", 5) == 5);
    cr_assert(receive(&ring, fds[0]) == -ENOBUFS);
    piece = (int)piece_of(&a, &in[2]);
    arena_reclaim(&a, &in[2]);
    cr_assert(!in[2].mem && a.in_ring == 1);
    cr_assert(receive(&ring, fds[0]) == piece, "not the one given back");
    finish(&a, &ring);
}

/* What the windows hold moves with them; the pieces are free again. */
Test(arena, spilled_bytes_are_the_same)
{
    struct session s = {0};
    struct buf other = {0};
    struct io_uring ring;
    struct arena a;
    void *piece;

    if (!ring_open(&ring))
        return;
    open_arena(&a, &ring, 2, 0);
    cr_assert(arena_lend(&a, &s.out) && arena_has(&a, s.out.mem));
    piece = s.out.mem;
    memcpy(buf_tail(&s.out), "0123456789", 10);
    buf_commit(&s.out, 10);
    buf_consume(&s.out, 3);
    cr_assert(arena_lend(&a, &s.out) && s.out.mem == piece, "exchanged");
    cr_assert(arena_spill(&a, &s) && !arena_has(&a, s.out.mem) && !s.in.mem);
    cr_assert(buf_len(&s.out) == 7);
    cr_assert(memcmp(buf_data(&s.out), "3456789", 7) == 0);
    cr_assert(arena_lend(&a, &other) && other.mem == piece);
    piece = s.out.mem;
    cr_assert(arena_spill(&a, &s) && s.out.mem == piece, "spilled twice");
    arena_reclaim(&a, &s.out); /* frees it: the leak checker looks */
    cr_assert(!s.out.mem && !arena_lend(&a, &s.out), "a piece from nowhere");
    arena_reclaim(&a, &s.out); /* nothing: nothing happens */
    finish(&a, &ring);
}
