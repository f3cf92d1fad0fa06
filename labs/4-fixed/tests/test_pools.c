/* test_pools.c - lab 4: the student's pools under an echo server, over a model
 * of a ring (labs/support) and over a real one. */
#include <criterion/criterion.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "echo.h"
#include "model_peers.h"
#include "model_ring.h"
#include "params.h"
#include "real_peers.h"

enum { SMALL_SIZE = 3000, LARGE_SIZE = 12000 };

static const unsigned groups[POOLS] = {POOL_SMALL_GROUP, POOL_LARGE_GROUP};

static struct {
    struct io_uring ring;
    struct app app;
    struct cancel stop;
    struct stats stats;
    struct pool pools[POOLS];
} t;

/* ==== the loop, and peers that check each byte ============================ */

static void pools_make(unsigned n_small, unsigned n_large)
{
    const unsigned n[POOLS] = {n_small, n_large},
                   size[POOLS] = {SMALL_SIZE, LARGE_SIZE};

    for (int i = 0; i < POOLS; i++) {
        void *ring = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        void *memory =
            mmap(NULL, (size_t)n[i] * size[i] + 4096, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        cr_assert(ring != MAP_FAILED && memory != MAP_FAILED);
        t.pools[i] = (struct pool){
            .ring = ring, .memory = memory, .n = n[i], .size = size[i]};
    }
    t.app =
        (struct app){.proto = &proto_echo, .cancel = &t.stop, .root_fd = -1};
}

static void begin(unsigned n_small, unsigned n_large)
{
    pools_make(n_small, n_large);
    model_open(&t.ring, 256);
    model.accept_data = ACCEPTS_DATA;
    for (int i = 0; i < POOLS; i++)
        model_buffers(groups[i], t.pools[i].ring, t.pools[i].n,
                      t.pools[i].memory, t.pools[i].size);
    pools_open(t.pools);
    model_buffers_look();
    echo_open(&t.ring, model_listener(), &t.app, &t.stats);
}

unsigned turn(void)
{
    echo_turn();
    return model_turn(echo_complete);
}

static void must_be_conserved(void)
{
    for (int i = 0; i < POOLS; i++)
        cr_assert_eq(model_buffers_held(groups[i]), t.pools[i].n,
                     "%u of %u %s buffers are in their ring at the end\n%s",
                     model_buffers_held(groups[i]), t.pools[i].n,
                     i == SMALL ? "small" : "large", model_story());
}

/* The group of the last receive that was submitted, which is for this peer. */
static unsigned last_group(int fd)
{
    cr_assert(model.recvs > 0 && model.started[model.recvs - 1] == fd,
              "no receive was submitted for %d\n%s", fd, model_story());
    return model.group[model.recvs - 1];
}

static void must_receive_into(int fd, int which, const char *after)
{
    unsigned group = last_group(fd);

    cr_assert_eq(group, groups[which],
                 "after %s the next receive asks for group %u; it should be "
                 "%u, the %s one\n%s",
                 after, group, groups[which],
                 which == SMALL ? "small" : "large", model_story());
}

/* ==== step 1: two rings =================================================== */

Test(step1, every_buffer_is_in_its_ring)
{
    begin(8, 4);
    must_be_conserved();
    for (int i = 0; i < POOLS; i++) {
        const struct io_uring_buf_ring *ring = t.pools[i].ring;

        cr_assert_eq(ring->tail, t.pools[i].n,
                     "the tail of ring %d is %u, with %u buffers", i,
                     ring->tail, t.pools[i].n);
    }
}

Test(step1, one_connection)
{
    int fd;

    begin(4, 4);
    fd = connected();
    must_receive_into(fd, SMALL, "the accept");
    for (int i = 0; i < 6; i++) {
        say(fd, 40);
        run();
        must_hear_all(fd);
        must_be_conserved();
    }
}

Test(step1, a_buffer_is_held_for_several_sends)
{
    int a, b;

    begin(2, 1);
    a = connected();
    b = connected();
    say(a, SMALL_SIZE + 9000);
    say(b, SMALL_SIZE + 11000);
    run();
    must_hear_all(a);
    must_hear_all(b);
    must_be_conserved();
}

/* The tail of a ring has 16 bits. */
Test(step1, the_ring_goes_round)
{
    int fd;

    begin(4, 1);
    fd = connected();
    for (unsigned i = 0; i < 70000; i++) {
        model_say(fd, "0123456789", 10);
        for (int n = 0; n < 3; n++)
            turn();
    }
    must_be_conserved();
    cr_assert(model.recvs > 70000, "%u receives for 70,000 messages",
              model.recvs);
}

Test(step1, one_that_vanishes_gives_it_back)
{
    int fd;

    begin(1, 1);
    for (int i = 0; i < 5; i++) {
        fd = connected();
        model_stall(fd, true);
        say(fd, 2900);
        run();
        model_reset(fd);
        run();
        cr_assert(model_is_closed(fd), "%d is open after a reset\n%s", fd,
                  model_story());
        must_be_conserved();
    }
}

/* ==== step 2: the size is chosen ========================================== */

Test(step2, one_that_fills_a_small_buffer)
{
    int fd;

    begin(4, 4);
    fd = connected();
    say(fd, SMALL_SIZE - 1);
    run();
    must_receive_into(fd, SMALL, "a receive of a small buffer less one byte");
    say(fd, SMALL_SIZE);
    run();
    must_receive_into(fd, LARGE, "a receive that fills a small buffer");
    say(fd, 9000);
    run();
    must_receive_into(fd, LARGE, "a receive of 9,000 bytes");
    must_hear_all(fd);
    must_be_conserved();
}

Test(step2, calm_again)
{
    int fd;

    begin(4, 4);
    fd = connected();
    for (int round = 0; round < 2; round++) {
        say(fd, SMALL_SIZE);
        run();
        for (int i = 0; i < POOL_CALM - 1; i++) {
            say(fd, i % 2 ? SMALL_SIZE : 1);
            run();
            must_receive_into(fd, LARGE, "fewer than CALM small receives");
        }
        say(fd, SMALL_SIZE + 1);
        run();
        for (int i = 0; i < POOL_CALM; i++) {
            must_receive_into(fd, LARGE,
                              "a large one, and fewer than CALM "
                              "small receives after it");
            say(fd, SMALL_SIZE);
            run();
        }
        must_receive_into(fd, SMALL, "CALM small receives in a row");
    }
    must_hear_all(fd);
    must_be_conserved();
}

Test(step2, each_for_itself)
{
    int a, b;

    begin(4, 4);
    a = connected();
    b = connected();
    say(a, SMALL_SIZE);
    run();
    must_receive_into(a, LARGE, "a receive that fills a small buffer");
    say(b, 10);
    run();
    must_receive_into(b, SMALL,
                      "a small receive of its own, beside a large "
                      "one of another connection");
    must_hear_all(a);
    must_hear_all(b);
    must_be_conserved();
}

/* ==== step 3: waiting ===================================================== */

Test(step3, fifty_clients_and_two_buffers)
{
    enum { N = 50 };
    int first = MODEL_FD + 1;

    begin(1, 1);
    for (int i = 0; i < N; i++)
        model_peer();
    run();
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < N; i++)
            say(first + i, i % 3 ? 100 : 7000);
        run();
        for (int i = 0; i < N; i++)
            must_hear_all(first + i);
        must_be_conserved();
    }
}

/* A peer that holds a small buffer until it reads again: more was said than one
 * answer holds. */
static int holder(void)
{
    int fd = connected();

    model_stall(fd, true);
    say(fd, 2900);
    run();
    return fd;
}

/* Says a few bytes, and finds no buffer. */
static void starve(int fd)
{
    unsigned before = model.no_buffers;

    say(fd, 50);
    turn();
    cr_assert_eq(
        model.no_buffers, before + 1,
        "the receive of %d found a buffer; the test holds them all\n%s", fd,
        model_story());
}

/* The receives from number `begun` on: first that of a, then of b, then c. */
static void must_try_in_order(unsigned begun, const int peer[], int n)
{
    int at = 0;

    for (unsigned i = begun; i < model.recvs && at < n; i++) {
        for (int k = at + 1; k < n; k++)
            cr_assert(
                model.started[i] != peer[k],
                "descriptor %d tries again before %d, which came first\n%s",
                peer[k], peer[at], model_story());
        at += model.started[i] == peer[at];
    }
    cr_assert_eq(at, n, "only %d of %d in line have tried again\n%s", at, n,
                 model_story());
}

Test(step3, in_order)
{
    enum { N = 6 };
    static const int order[N] = {3, 0, 5, 1, 4, 2};
    int hold, peer[N], line[N];
    unsigned begun;

    begin(1, 1);
    for (int i = 0; i < N; i++)
        peer[i] = connected();
    hold = holder();
    for (int i = 0; i < N; i++) {
        line[i] = peer[order[i]];
        starve(line[i]);
    }
    begun = model.recvs;
    model_stall(hold, false);
    run();
    must_try_in_order(begun, line, N);
    for (int i = 0; i < N; i++)
        must_hear_all(peer[i]);
    must_be_conserved();
}

Test(step3, each_pool_by_itself)
{
    int large, waits, hold;

    begin(1, 1);
    large = connected();
    say(large, SMALL_SIZE);
    run();
    waits = connected();
    hold = holder();
    starve(waits);
    for (int i = 0; i < 3; i++) {
        say(large, 100);
        run();
        must_hear_all(large);
    }
    cr_assert_eq(model.no_buffers, 1,
                 "a large buffer came back, and %d, which is in line for a "
                 "small one, tried again\n%s",
                 waits, model_story());
    model_stall(hold, false);
    run();
    must_hear_all(waits);
    must_be_conserved();
}

Test(step3, one_leaves_the_line)
{
    int hold, peer[3];

    for (int gone = 0; gone < 3; gone++) {
        if (gone == 0)
            begin(1, 1);
        for (int i = 0; i < 3; i++)
            peer[i] = connected();
        hold = holder();
        for (int i = 0; i < 3; i++)
            starve(peer[i]);
        echo_drop(peer[gone]);
        model_stall(hold, false);
        run();
        for (int i = 0; i < 3; i++)
            if (i != gone)
                must_hear_all(peer[i]);
        must_be_conserved();
    }
}

/* ==== step 4: turns ======================================================= */

Test(step4, one_receive_for_one_buffer)
{
    enum { N = 12 };
    int hold, peer[N];

    begin(1, 1);
    for (int i = 0; i < N; i++)
        peer[i] = connected();
    hold = holder();
    for (int i = 0; i < N; i++)
        starve(peer[i]);
    model_stall(hold, false);
    run();
    for (int i = 0; i < N; i++)
        must_hear_all(peer[i]);
    cr_assert_eq(model.no_buffers, N,
                 "one buffer came back, %d were in line, and %u receives found "
                 "none after that\n%s",
                 N, model.no_buffers - N, model_story());
    must_be_conserved();
}

/* Turns until both small buffers are back. */
static void until_both_are_back(void)
{
    for (int i = 0; model_buffers_held(groups[SMALL]) < 2; i++) {
        turn();
        cr_assert(i < 50, "the buffers did not come back\n%s", model_story());
    }
}

/* Two try again, and two others, which never waited, are faster. */
Test(step4, it_keeps_its_place)
{
    int fast[2], hold[2], peer[4];
    unsigned begun;

    begin(2, 1);
    for (int i = 0; i < 2; i++)
        fast[i] = connected();
    for (int i = 0; i < 4; i++)
        peer[i] = connected();
    for (int i = 0; i < 2; i++)
        hold[i] = holder();
    for (int i = 0; i < 4; i++)
        starve(peer[i]);
    for (int i = 0; i < 2; i++)
        model_stall(hold[i], false);
    until_both_are_back();
    for (int i = 0; i < 2; i++) {
        model_stall(fast[i], true);
        say(fast[i], 2900);
    }
    turn(); /* the first two of the line try, and find nothing */
    cr_assert_eq(model.no_buffers, 6, "%u receives found no buffer, not 6\n%s",
                 model.no_buffers, model_story());
    begun = model.recvs;
    for (int i = 0; i < 2; i++)
        model_stall(fast[i], false);
    run();
    must_try_in_order(begun, peer, 4);
    for (int i = 0; i < 4; i++)
        must_hear_all(peer[i]);
    must_be_conserved();
}

/* The first in line has nothing to receive. */
Test(step4, none_is_blocked)
{
    int silent, talks, hold;

    begin(1, 1);
    silent = connected();
    talks = connected();
    hold = holder();
    model_fail(silent, -ENOBUFS);
    turn();
    starve(talks);
    model_stall(hold, false);
    run();
    must_hear_all(talks);
    say(silent, 20);
    run();
    must_hear_all(silent);
    must_be_conserved();
}

/* ==== a real ring ========================================================= */

static uint16_t taken; /* buffers, by the kernel */

static void begin_real(unsigned n_small, unsigned n_large, int send_buffer)
{
    int err = io_uring_queue_init(128, &t.ring, 0);

    cr_assert(err == 0, "io_uring_queue_init: %s", strerror(-err));
    pools_make(n_small, n_large);
    for (int i = 0; i < POOLS; i++) {
        struct io_uring_buf_reg reg = {
            .ring_addr = (uintptr_t)t.pools[i].ring,
            .ring_entries = t.pools[i].n,
            .bgid = (uint16_t)groups[i],
        };

        err = io_uring_register_buf_ring(&t.ring, &reg, 0);
        cr_assert(err == 0, "io_uring_register_buf_ring: %s", strerror(-err));
    }
    pools_open(t.pools);
    echo_open(&t.ring, peers_listener(send_buffer), &t.app, &t.stats);
    model.accept_data = ACCEPTS_DATA;
}

static void completed(const struct io_uring_cqe *cqe)
{
    taken += (cqe->flags & IORING_CQE_F_BUFFER) != 0;
    echo_complete(cqe);
}

static void real_step(int ms)
{
    echo_turn();
    real_turn(&t.ring, ms, completed);
}

/* All peers leave; then as many buffers were given as were taken, and those of
 * the beginning. */
static void must_be_conserved_for_real(int n)
{
    uint16_t given;

    peers_vanish(n);
    must_have_no_connection(real_step);
    given = (uint16_t)(t.pools[SMALL].ring->tail + t.pools[LARGE].ring->tail);
    cr_assert_eq(given, (uint16_t)(taken + t.pools[SMALL].n + t.pools[LARGE].n),
                 "the kernel took %u buffers and was given %u, with the %u of "
                 "the beginning",
                 taken, given, t.pools[SMALL].n + t.pools[LARGE].n);
}

Test(ring, fifty_clients_and_two_buffers)
{
    begin_real(1, 1, 0);
    peers_open(50, 9000);
    talk(50, 8192, real_step);
    must_be_conserved_for_real(50);
}

Test(ring, mixed)
{
    begin_real(8, 4, 0);
    peers_open(60, 20);
    for (int round = 0; round < 6; round++) {
        talk(60, 8192, real_step);
        for (int i = 0; i < 60; i++)
            peers[i].all += (size_t)(i % 4 == 0 ? 20000 : 30 * (round + 1));
    }
    talk(60, 8192, real_step);
    must_be_conserved_for_real(60);
}

Test(ring, peers_that_vanish)
{
    begin_real(4, 2, 4096);
    for (int round = 0; round < 5; round++) {
        peers_open(30, 30000);
        for (int k = 0; k < 8 + round; k++) {
            for (int i = 0; i < 30; i++)
                peer_step(i, i % 3 ? 500 : 0);
            real_step(0);
        }
        must_be_conserved_for_real(30);
    }
}
