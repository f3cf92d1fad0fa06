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

Test(arena, sending_pieces_are_half_of_all)
{
    struct io_uring ring;
    struct arena a;
    void *mem[N];

    if (!ring_open(&ring))
        return;
    cr_assert(arena_init(&a, &ring, N, 0, true));
    if (a.ring) {
        cr_assert(a.n_free == N / 2 && a.in_ring == N / 2);
        for (int i = 0; i < N / 2; i++) {
            mem[i] = arena_take(&a);
            cr_assert(mem[i] && arena_has(&a, mem[i]));
            cr_assert(arena_piece(&a, mem[i]) < N / 2, "a piece of the ring");
            for (int k = 0; k < i; k++)
                cr_assert(mem[k] != mem[i], "lent twice");
        }
        cr_assert(!arena_take(&a) && arena_low(&a));
        arena_give(&a, mem[1]);
        cr_assert(arena_take(&a) == mem[1], "not the one used last");
    }
    finish(&a, &ring);
}

Test(arena, without_a_ring_all_pieces_are_for_sending)
{
    struct io_uring ring;
    struct arena a;

    if (!ring_open(&ring))
        return;
    cr_assert(arena_init(&a, &ring, N, 0, false));
    cr_assert(!a.ring && a.n_free == N && !arena_low(&a));
    for (int i = 0; i < N; i++)
        cr_assert(arena_take(&a));
    cr_assert(!arena_take(&a));
    finish(&a, &ring);
}

Test(arena, registers_no_more_than_it_may)
{
    struct io_uring ring;
    struct arena a;

    if (!ring_open(&ring))
        return;
    cr_assert(arena_init(&a, &ring, N, 3, false));
    cr_assert(a.n_fixed <= N / 2, "%u registered", a.n_fixed);
    cr_assert(!arena_fixed(&a, arena_at(&a, a.n_fixed)));
    if (a.n_fixed > 0)
        cr_assert(arena_fixed(&a, arena_at(&a, a.n_fixed - 1)));
    cr_assert(!arena_fixed(&a, &a) && !arena_has(&a, NULL));
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
    cr_assert(arena_init(&a, &ring, N, 0, true));
    cr_assert(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) == 0);
    for (int i = 0; a.ring && i < N / 2; i++) {
        cr_assert(write(fds[1], "hello", 5) == 5);
        piece = receive(&ring, fds[0]);
        cr_assert(piece >= N / 2, "piece %d", piece);
        arena_got(&a, (unsigned)piece, &in[i]);
        buf_commit(&in[i], 5);
        cr_assert(memcmp(buf_data(&in[i]), "hello", 5) == 0);
    }
    if (a.ring) {
        cr_assert(a.in_ring == 0);
        cr_assert(write(fds[1], "hello", 5) == 5);
        cr_assert(receive(&ring, fds[0]) == -ENOBUFS);
        piece = (int)arena_piece(&a, in[2].mem);
        arena_reclaim(&a, &in[2]);
        cr_assert(!in[2].mem && a.in_ring == 1);
        cr_assert(receive(&ring, fds[0]) == piece, "not the one given back");
    }
    finish(&a, &ring);
}

/* What a window holds moves with it; the piece is free again. */
Test(arena, spilled_bytes_are_the_same)
{
    struct io_uring ring;
    struct arena a;
    struct buf b = {0};
    void *piece;

    if (!ring_open(&ring))
        return;
    cr_assert(arena_init(&a, &ring, 2, 0, true));
    cr_assert(arena_lend(&a, &b) && arena_has(&a, b.mem));
    piece = b.mem;
    memcpy(buf_tail(&b), "0123456789", 10);
    buf_commit(&b, 10);
    buf_consume(&b, 3);
    cr_assert(arena_lend(&a, &b) && b.mem == piece, "memory was exchanged");
    cr_assert(arena_spill(&a, &b) && !arena_has(&a, b.mem));
    cr_assert(buf_len(&b) == 7 && memcmp(buf_data(&b), "3456789", 7) == 0);
    cr_assert(arena_take(&a) == piece);
    cr_assert(arena_spill(&a, &b), "spilled twice");
    arena_reclaim(&a, &b); /* frees it: the leak checker looks */
    cr_assert(!b.mem && !arena_lend(&a, &b), "a piece from nowhere");
    cr_assert(buf_own(&b) && buf_room(&b) == BUF_SIZE);
    arena_reclaim(&a, &b);
    finish(&a, &ring);
}

/* A pinned piece is not lent again before its last pin is gone. */
Test(arena, pinned_pieces_stay)
{
    struct io_uring ring;
    struct arena a;
    void *mem;
    unsigned piece;

    if (!ring_open(&ring))
        return;
    cr_assert(arena_init(&a, &ring, 2, 0, true));
    mem = arena_take(&a);
    piece = arena_piece(&a, mem);
    arena_pin(&a, piece);
    arena_pin(&a, piece);
    arena_give(&a, mem);
    while (arena_take(&a))
        ;
    arena_unpin(&a, piece);
    cr_assert(!arena_take(&a), "lent while a pin is left");
    arena_unpin(&a, piece);
    cr_assert(arena_take(&a) == mem);
    finish(&a, &ring);
}
