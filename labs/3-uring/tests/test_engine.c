/* test_engine.c - lab 3: the engine over a model of a ring (labs/support), and
 * over a real one. */
#include <criterion/criterion.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"
#include "model_peers.h"
#include "model_ring.h"
#include "params.h"
#include "real_peers.h"

enum { IDLE_MS = 30000, BIG_SQ = 256, SMALL_SQ = 4, FOR_LONG = 1000000 };

static struct {
    struct io_uring ring;
    struct app app;
    struct cancel stop;
    struct stats stats;
    unsigned turns;
} t;

/* ==== the loop, and peers that check each byte ============================ */

static void begin(unsigned sq_entries)
{
    t.app =
        (struct app){.proto = &proto_echo, .cancel = &t.stop, .root_fd = -1};
    model.deadline_ms = IDLE_MS;
    model.send_limit = URING_SEND_MOST;
    model.accept_data = URING_ACCEPT;
    model_open(&t.ring, sq_entries);
    engine_open(&(struct engine_setup){.ring = &t.ring,
                                       .listener = model_listener(),
                                       .idle_ms = IDLE_MS,
                                       .app = &t.app,
                                       .stats = &t.stats});
}

unsigned turn(void)
{
    t.turns++;
    engine_turn();
    return model_turn(engine_complete);
}

static void must_be_closed(int fd, const char *after)
{
    cr_assert(model_is_closed(fd), "%d is still open after %s\n%s", fd, after,
              model_story());
}

static void must_be_open(int fd, const char *after)
{
    cr_assert(!model_is_closed(fd), "%d was closed after %s\n%s", fd, after,
              model_story());
}

/* ==== kept: what is right in the starter, and must stay so ================ */

Test(kept, echo)
{
    int fd;

    begin(BIG_SQ);
    fd = connected();
    for (int i = 0; i < 5; i++) {
        say(fd, 100);
        run();
        must_hear_all(fd);
    }
    cr_assert_eq(model.sends, 5, "%u sends for 5 messages", model.sends);
}

Test(kept, many)
{
    int first = MODEL_FD + 1;

    begin(BIG_SQ);
    for (int i = 0; i < 100; i++)
        model_peer();
    run();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 100; i++)
            say(first + i, 50 + (size_t)i);
        run();
        for (int i = 0; i < 100; i++)
            must_hear_all(first + i);
    }
    cr_assert_eq(model.blocks, 100, "%u pieces of memory for 100 connections",
                 model.blocks);
}

Test(kept, nothing_happened)
{
    int fd;

    begin(BIG_SQ);
    fd = connected();
    for (int i = 0; i < 4; i++) {
        model_fail(fd, i % 2 ? -EAGAIN : -EINTR); /* of the receive */
        run();
        must_be_open(fd, "-EINTR or -EAGAIN of its receive");
        model_stall(fd, true);
        say(fd, 200);
        run();
        model_fail(fd, i % 2 ? -EINTR : -EAGAIN); /* of the send */
        model_stall(fd, false);
        run();
        must_be_open(fd, "-EINTR or -EAGAIN of its send");
        must_hear_all(fd);
    }
}

Test(kept, one_accept)
{
    begin(BIG_SQ);
    for (int i = 0; i < 20; i++)
        connected();
    cr_assert_eq(model.accepts, 1,
                 "%u accepts were armed for 20 peers; the first was multishot "
                 "and never ended",
                 model.accepts);
}

Test(kept, no_needless_submission)
{
    int first = MODEL_FD + 1;

    begin(BIG_SQ);
    for (int i = 0; i < 30; i++)
        model_peer();
    run();
    for (int i = 0; i < 30; i++)
        say(first + i, 10);
    run();
    cr_assert_eq(model.submits, 0,
                 "%u calls of io_uring_submit(), with room in the SQ: the "
                 "loop's one call a turn submits all",
                 model.submits);
}

/* ==== step 1: short sends ================================================= */

Test(step1, a_send_has_a_limit)
{
    int fd;

    begin(BIG_SQ);
    fd = connected();
    say(fd, 16000);
    run();
    must_hear_all(fd);
    cr_assert_eq(model.largest_send, URING_SEND_MOST,
                 "the largest send had %u bytes; SEND_MOST of this course is "
                 "%d",
                 model.largest_send, URING_SEND_MOST);
}

Test(step1, short_sends)
{
    int fd;

    begin(BIG_SQ);
    fd = connected();
    for (unsigned most = 2; most < 3000; most = most * 3 + 1) {
        model.send_most = most;
        say(fd, 7500);
        run();
        must_hear_all(fd);
    }
}

Test(step1, short_at_the_end)
{
    int fd;

    begin(BIG_SQ);
    fd = connected();
    model.send_most = 300;
    say(fd, 9000);
    model_fin(fd);
    run();
    must_hear_all(fd);
}

/* ==== step 2: an accept that ends ========================================= */

Test(step2, the_accept_ends)
{
    int fd;

    begin(BIG_SQ);
    connected();
    for (int i = 0; i < 3; i++) {
        model.accept_ends = true;
        fd = connected();
        say(fd, 10);
        run();
        must_hear_all(fd);
        cr_assert_eq(model.accepting, 1,
                     "a peer came without IORING_CQE_F_MORE, and no accept was "
                     "armed after it\n%s",
                     model_story());
        model_end_accept(i == 1 ? -ECONNABORTED : -EMFILE);
        run();
        cr_assert_eq(model.accepting, 1,
                     "the accept ended with an error, and no other one was "
                     "armed\n%s",
                     model_story());
    }
    fd = connected();
    say(fd, 10);
    run();
    must_hear_all(fd);
}

Test(step2, it_stops)
{
    begin(BIG_SQ);
    connected();
    engine_stop();
    model_end_accept(-EINVAL);
    run();
    cr_assert_eq(model.accepting, 0, "an accept was armed after engine_stop()");
}

/* ==== step 3: two completions, in any order =============================== */

/* Ends a connection in one of the ways in which it can end. */
static const char *end(int fd, int way)
{
    switch (way) {
    case 0:
        model_fin(fd);
        return "the peer's end";
    case 1:
        model_expire(fd, false);
        return "its deadline";
    case 2:
        model_reset(fd);
        return "a reset while it receives";
    default:
        model_stall(fd, true);
        say(fd, 100);
        model.hold_second = false;
        run();
        model.hold_second = true;
        if (way == 3)
            model_reset(fd);
        else
            model_expire(fd, false);
        return way == 3 ? "a reset while it sends" : "the deadline of its send";
    }
}

/* Between the two completions another peer is served. */
static void closes_once_both_are_back(int way, bool timeout_first)
{
    int fd = connected(), other;
    unsigned blocks = model.blocks, closed = model.closed;
    const char *how;

    model.timeout_first = timeout_first;
    model.hold_second = true;
    how = end(fd, way);
    run();
    must_be_open(fd, "the first of its two completions");
    model.hold_second = false;
    other = connected();
    say(other, 60);
    run();
    must_hear_all(other);
    model_release();
    run();
    must_be_closed(fd, how);
    cr_assert_eq(model.closed, closed + 1, "%u sockets were closed after %s",
                 model.closed - closed, how);
    cr_assert_eq(model.blocks, blocks,
                 "after %s: the memory of the connection was not released",
                 how);
}

Test(step3, both_are_back)
{
    begin(BIG_SQ);
    for (int way = 0; way < 5; way++) {
        closes_once_both_are_back(way, false);
        closes_once_both_are_back(way, true);
    }
}

Test(step3, bytes_at_the_deadline)
{
    begin(BIG_SQ);
    for (int i = 0; i < 2; i++) {
        int fd = connected();

        model.timeout_first = i;
        say(fd, 70);
        model_expire(fd, true);
        run();
        must_hear_all(fd);
        must_be_open(fd, "bytes that came at its deadline");
        say(fd, 70);
        run();
        must_hear_all(fd);
    }
}

/* ==== step 4: a full submission queue ===================================== */

Test(step4, room_is_made)
{
    enum { N = 40 };
    int first = MODEL_FD + 1;

    begin(SMALL_SQ);
    for (int i = 0; i < N; i++)
        model_peer();
    run();
    t.turns = 0;
    for (int i = 0; i < N; i++)
        say(first + i, 30);
    run();
    for (int i = 0; i < N; i++)
        must_hear_all(first + i);
    cr_assert(t.turns <= 12,
              "%u turns for one message of each of %d peers: what finds the SQ "
              "full should be submitted at once",
              t.turns, N);
}

/* While io_uring_submit() takes nothing an accept is in the SQ, then pairs: at
 * last there is room for one SQE. */
Test(step4, a_pair_stays_together)
{
    enum { N = 9 };
    int first = MODEL_FD + 1;

    begin(SMALL_SQ);
    for (int i = 0; i < N; i++)
        model_peer();
    run();
    for (int round = 0; round < 3; round++) {
        model_end_accept(-ECONNABORTED);
        turn();
        for (int i = 0; i < N; i++)
            say(first + i, 30);
        model.busy = FOR_LONG;
        turn();
        turn();
        model.busy = 0;
        run();
        for (int i = 0; i < N; i++)
            must_hear_all(first + i);
    }
}

Test(step4, in_order)
{
    enum { N = 12 };
    int first = MODEL_FD + 1;

    begin(SMALL_SQ);
    turn();
    for (int i = 0; i < N; i++)
        model_peer();
    model.busy = FOR_LONG;
    turn(); /* here all are accepted, and two find room */
    turn();
    model.busy = 0;
    run();
    cr_assert_eq(model.recvs, N,
                 "%u receives for %d peers, after io_uring_submit() took "
                 "nothing for a while\n%s",
                 model.recvs, N, model_story());
    for (int i = 0; i < N; i++)
        cr_assert_eq(model.started[i], first + i,
                     "receive %d is for descriptor %d; in the order in which "
                     "they began to wait it is the turn of %d\n%s",
                     i, model.started[i], first + i, model_story());
}

Test(step4, none_is_lost)
{
    enum { N = 25 };
    int first = MODEL_FD + 1;

    begin(SMALL_SQ);
    for (int i = 0; i < N; i++)
        model_peer();
    model.busy = 5;
    run();
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < N; i++)
            say(first + i, 100 + (size_t)round);
        model.accept_ends = true;
        model_peer();
        model.send_most = 90;
        model.busy = 4 + round;
        run();
        for (int i = 0; i < N; i++)
            must_hear_all(first + i);
    }
    cr_assert_eq(model.accepting, 1, "no accept is in flight\n%s",
                 model_story());
    for (int i = 0; i < N; i++)
        model_fin(first + i);
    model.busy = 6;
    run();
    for (int i = 0; i < N; i++)
        must_be_closed(first + i, "its end");
}

/* ==== a real ring ========================================================= */

enum { PEER_BYTES = 40000 };

static void begin_real(unsigned sq_entries, int idle_ms, int send_buffer)
{
    int err = io_uring_queue_init(sq_entries, &t.ring, 0);

    model.send_limit = URING_SEND_MOST;
    model.accept_data = URING_ACCEPT;
    cr_assert(err == 0, "io_uring_queue_init: %s", strerror(-err));
    t.app =
        (struct app){.proto = &proto_echo, .cancel = &t.stop, .root_fd = -1};
    engine_open(&(struct engine_setup){.ring = &t.ring,
                                       .listener = peers_listener(send_buffer),
                                       .idle_ms = idle_ms,
                                       .app = &t.app,
                                       .stats = &t.stats});
}

static void real_step(int ms)
{
    engine_turn();
    real_turn(&t.ring, ms, engine_complete);
}

Test(ring, many)
{
    begin_real(8, 60000, 0);
    peers_open(60, PEER_BYTES);
    talk(60, 8192, real_step);
    for (int i = 0; i < 60; i++)
        close(peers[i].fd);
    must_have_no_connection(real_step);
}

Test(ring, slow_readers)
{
    begin_real(64, 60000, 4096);
    peers_open(10, 30000);
    for (int k = 0; k < 50; k++) { /* they only talk */
        for (int i = 0; i < 10; i++)
            peer_step(i, 0);
        real_step(1);
    }
    talk(10, 700, real_step);
}

/* Some of them leave at once; the others only wait. */
Test(ring, silent_peers)
{
    enum { N = 20 };
    begin_real(64, 100, 0);
    peers_open(N, 0);
    for (int i = 0; i < N / 2; i++)
        shutdown(peers[i].fd, SHUT_WR);
    for (int left = N; left > 0;) {
        real_step(1);
        left = 0;
        for (int i = 0; i < N; i++) {
            if (!peers[i].ended)
                peer_step(i, 1);
            left += !peers[i].ended;
        }
        cr_assert(!peers_are_stuck((size_t)left),
                  "%d of %d silent peers were not closed", left, N);
    }
    must_have_no_connection(real_step);
}

Test(ring, peers_that_vanish)
{
    begin_real(16, 60000, 4096);
    for (int round = 0; round < 5; round++) {
        peers_open(30, PEER_BYTES);
        for (int k = 0; k < 10 + round; k++) {
            for (int i = 0; i < 30; i++)
                peer_step(i, i % 3 ? 500 : 0);
            real_step(0);
        }
        peers_vanish(30);
        must_have_no_connection(real_step);
    }
}

Test(ring, enters)
{
    enum { N = 40, ROUNDS = 20 };

    begin_real(BIG_SQ, 60000, 0);
    peers_open(N, 0);
    for (int k = 0; k < ROUNDS; k++) {
        for (int i = 0; i < N; i++)
            peers[i].all += 64;
        talk(N, 8192, real_step);
    }
    /* Two or three a round are enough; one for each operation is 1600. */
    cr_assert(real_enters < N * ROUNDS / 2,
              "%u calls of io_uring_enter for %d requests on %d connections",
              real_enters, N * ROUNDS, N);
}
