/* Stage 6: idle workers take events and connections from busy ones.
 *
 * What stage 5 could not do: help.  A request that takes long holds up every
 * connection that was hashed to its core, while other cores sleep.
 *
 *      worker 0                        worker 1
 *      --------                        --------
 *      readiness set (epoll)  <------- harvests it, while 0 is in a handler
 *        v harvest: events are taken, their connections are queued
 *      queue: r9 r4 h7 s2     <------- steals the older half, h7 and s2
 *        v run
 *      receives (r) and sends (s) in   parks when it finds no work anywhere;
 *      a batch; then one handler (h)     the sentinel wakes it if 0 is stuck
 *
 * The one new idea: a connection belongs to the thread that runs it now.  One
 * atomic word (state.h) gives it to one thread at a time.  Other threads must
 * reach its events, too.  A ring of DEFER_TASKRUN may be entered by its owner
 * only, so what arrives for a worker in a long handler would stay unseen; but
 * any thread may wait on an epoll set.
 *
 * Kernel features: of stages 2 and 3; SO_REUSEPORT (3.9), RWF_NOWAIT (4.14).
 *
 * Invariants
 *  - At most one thread touches a connection: the runner, which has claimed it.
 *    The operations of a batch are over before the worker does anything else;
 *    during a file read no thread touches the connection (disk.h).
 *  - Its slot, its timer and its entry in the epoll set stay at home: with the
 *    worker that accepted it.  A runner that closes it sends the slot home.
 *  - An edge is reported once.  So a runner releases a connection only after a
 *    call found the socket empty (or full), else the runner queues it again.
 *    A thread that takes an event marks the connection; it queues an idle one.
 *  - A connection that waits for a worker is in a queue, also with a reply to
 *    send.  A worker in a handler holds that one only: none could take others.
 *  - No wake-up is lost: park.h, busy.h.
 *  - With --workers MIN:MAX a worker rests only when it holds nothing.  Until
 *    it runs again another worker, its keeper, harvests its set, and looks
 *    after its slots, timers and listener, under a lock (elastic.h).
 *
 * What is still wrong: nothing is preempted.  When every worker is in a handler
 * all else waits, and on balanced short requests stealing only costs.
 */

/* -------------------------------------------------------------- includes */

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sysexits.h>

#include "container_of.h"
#include "lockable.h"
#include "net.h"
#include "parts/busy.h"
#include "parts/deque.h"
#include "parts/disk.h"
#include "parts/elastic.h"
#include "parts/launch.h"
#include "parts/park.h"
#include "parts/pieces.h"
#include "parts/uring.h"
#include "probe.h"
#include "service.h"
#include "state.h"
#include "timer_wheel.h"

enum {
    MAX_EVENTS = 256,    /* taken by one epoll_wait, at most */
    BATCH = 256,         /* connections run together, at most */
    HARVEST_US = 50,     /* between two harvests of our set: worker_loop */
    ACCEPTS_A_TURN = 64, /* then connections are run again */
    BATCH_LEAST = 4,     /* connections; fewer are run by plain calls */
};

#define NEVER_MS (INT64_MAX / 2) /* a deadline that does not come */

/* clang-format off */
#define OWN_LIST(X)                                                            \
    X(wakes, counter, "wake-ups sent to another thread")                       \
    X(enters, counter, "batches given to the ring")                            \
    X(completions, counter, "completions that those batches returned")         \
    X(runs, counter, "times that a connection was run")                        \
    X(injected, counter, "connections queued by their own events")             \
    X(stolen, counter, "connections taken from a sibling's queue")             \
    X(rescued, counter, "events taken from the set of a stuck sibling")        \
    X(searches, counter, "searches for work elsewhere")                        \
    X(parks, counter, "sleeps for want of work anywhere")                      \
    X(active, gauge, "1: the worker runs; 0: it rests")                        \
    X(grows, counter, "times that the worker was called from its rest")        \
    X(shrinks, counter, "times that the worker went to rest")                  \
    X(adopted, counter, "events taken from the sets of resting workers")       \
    X(cq_overflow, counter, "completions that overflowed the queue")
/* clang-format on */
STATS_OWN(OWN_LIST);

/* ------------------------------------------------------------ connection */

/* What the next runner of a connection does first: receive, send, go on with
 * the session after a file read, or run the handler. */
enum next { NEXT_RECV, NEXT_SEND, NEXT_STEP, NEXT_WORK };

/* The runner has session, descriptor and windows.  Home, the worker that has
 * accepted it, has slot, timer and registration.  Any thread may use the atomic
 * words.  A slot's memory stays while workers run: a thread with an old event
 * may read the state word, whose generation then differs from the event's. */
struct conn {
    PADDED struct session s;
    struct mpsc_node node; /* in home->returns, or in home->spare */
    struct state state;
    ATOMIC(int64_t) due_ms; /* deadline: the runner writes, home reads */
    struct worker *home;
    struct timer timer; /* home's */
    uint32_t gen, slot; /* home's: generation; index in home->conns */
    uint32_t restarts;  /* s.restarts when the deadline was last set */
    uint64_t acked;     /* for net_grace_ms() */
    int64_t ready_us;   /* when it was last queued, if workers are elastic */
    int fd, res;        /* res: what its last receive or send returned */
    int64_t left_ms;    /* to the deadline, when the wait for a handler began */
    enum next next;
    bool readable; /* an event came; no receive found the socket empty since */
    bool tail;     /* the end may come after a short receive (state.h) */
};

/* The switches of this stage. */
struct choice {
    struct uring_options uring;
    int steal, place; /* enum steal_by, enum deal_by */
    int64_t stuck_us;
    int pin;            /* 0: on; 1: off */
    int elastic;        /* enum elastic_rule */
    int64_t elastic_ms; /* from sample to sample; 0: the rule's own */
};

/* Siblings use the members above seat, too; those that change lie on separate
 * cache lines.  From seat on, all is for the worker's own thread; but others
 * read seat and me, and while it rests its keeper has the timers and slots. */
struct worker {
    struct stats stats;
    struct deque ready;      /* connections to be run */
    struct busy busy;        /* when its handler began */
    struct mpsc returns;     /* slots of its connections that have ended */
    PADDED struct disk disk; /* file reads in flight */
    int epoll;               /* the readiness set; it stays, as the next does */
    struct conn *conns;      /* max_conns slots; unused ones cost no memory */
    PADDED struct seat *seat;
    struct server *server;
    struct elastic *elastic; /* NULL: the number of workers is fixed */
    struct member *me;       /* our place in it */
    struct service sv;       /* a copy, as is the next */
    struct choice choice;
    struct pieces pieces;
    struct timer_wheel wheel;
    struct mpsc_node *spare; /* slots used before */
    int n_used, n_swept;     /* slots ever used; those that sweep() has seen */
    int n_last;              /* peers that a drain still lets in */
    int kept_ms; /* until the soonest deadline in a home that we keep, or -1 */
    struct io_uring ring;
    int batch_most; /* connections in a batch */
    bool accepting; /* the listener is registered */
    bool full;      /* no permit; our eventfd is posted when one may be free */
    bool draining;
    bool searching;  /* one of the searchers that park.h counts */
    bool more_soon;  /* the last harvest was large: harvest before we sleep */
    bool has_upkeep; /* after an event of our own: upkeep() before a sleep */
    int64_t now_us, now_ms, harvested_us;
    int64_t retry_ms; /* until then: no accept, and no rest */
    int64_t fresh_us; /* in harvest(): when its events came, about; else 0 */
};

/* What all workers share.  While no worker sleeps, a request writes none of
 * it. */
struct server {
    struct park park;
    struct sentinel sentinel;
    PADDED struct service service;
    struct choice choice;
    struct team team;
    struct elastic elastic;
    ATOMIC(bool) over; /* all workers have ended; so does the sentinel */
};

enum steal_by { STEAL_OFF, STEAL_QUEUE, STEAL_ALL }; /* ALL: sets, too */
static const char *const steal_names[] = {"off", "queue", "all", NULL};

/* An event tells of a connection, by generation and slot, or of one of the
 * worker's own descriptors, by a number that no slot has.  EVENT_KEPT + n: the
 * set of worker n, which rests, has events. */
enum {
    EVENT_LISTENER = 1 << 24,
    EVENT_WAKE,
    EVENT_DISK,
    EVENT_SIGNAL,
    EVENT_KEPT,
};

/* Adds fd to the worker's set.  Connections are edge-triggered: one that waits
 * in a queue is not reported again and again.  The worker's own descriptors are
 * level-triggered (but the signal): what a thief leaves is reported again. */
static bool watch(struct worker *w, int fd, uint32_t events, uint32_t gen,
                  uint32_t number)
{
    struct epoll_event ev = {.events = events,
                             .data.u64 = (uint64_t)gen << 32 | number};

    return epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &ev) == 0;
}

/* The i-th worker after w, in a circle. */
static struct worker *sibling(struct worker *w, int i)
{
    struct team *t = &w->server->team;

    return t->seats[(w->seat->n + i) % t->n_workers].worker;
}

/* Sets the clock that all functions read; after each call that may be long. */
static void tick(struct worker *w)
{
    w->now_us = clock_us();
    w->now_ms = w->now_us / 1000;
}

/* The peer has another --idle-timeout from here on. */
static void conn_touch(struct worker *w, struct conn *c)
{
    c->restarts = c->s.restarts;
    a_store(&c->due_ms, w->now_ms + w->sv.opt.idle_ms, relaxed);
}

/* Takes the slots that have come home.  Their connections are closed. */
static void take_returns(struct worker *home)
{
    struct mpsc_node *node = mpsc_take(&home->returns), *next;

    for (; node; node = next) {
        struct conn *c = container_of(node, struct conn, node);

        next = node->next;
        wheel_cancel(&home->wheel, &c->timer);
        node->next = home->spare;
        home->spare = node;
    }
}

/* Takes a free slot: one used before, or the next new one.  There is always
 * one: the caller has a permit, and a slot goes home before its permit does. */
static struct conn *slot_take(struct worker *w)
{
    struct conn *c;

    if (!w->spare)
        take_returns(w);
    if (w->spare) {
        c = container_of(w->spare, struct conn, node);
        w->spare = w->spare->next;
        return c;
    }
    CHECK(w->n_used < w->sv.opt.max_conns);
    c = &w->conns[w->n_used];
    c->home = w;
    c->slot = (uint32_t)w->n_used++;
    state_init(&c->state);
    return c;
}

/* The single path to close, for the runner; or for home, when no other has c.
 * The slot goes home; home looks in every turn, so it needs no wake-up. */
static void conn_close(struct worker *w, struct conn *c)
{
    PROBE(conn_close, w->stats.worker, c);
    net_close(c->fd);
    c->fd = -1;
    piece_drop(&w->pieces, &c->s.in);
    piece_drop(&w->pieces, &c->s.out);
    session_end(&c->s);
    STAT_ADD(&w->stats, closed, 1);
    state_close(&c->state);
    mpsc_push(&c->home->returns, &c->node);
    team_leave(&w->server->team);
}

/* A new connection, which has a permit.  After watch() any worker may run it,
 * so we touch it no more; if watch() fails it is closed like any other. */
static void conn_new(struct worker *w, int fd)
{
    struct conn *c = slot_take(w);

    session_init(&c->s, &w->sv.app);
    c->fd = fd;
    c->next = NEXT_RECV;
    c->readable = c->tail = false;
    c->acked = 0;
    conn_touch(w, c);
    wheel_set(&w->wheel, &c->timer, w->now_ms + w->sv.opt.idle_ms);
    if (c->slot < (uint32_t)w->n_swept)
        w->n_swept = (int)c->slot; /* the drain has to look at it too */
    c->gen = state_open(&c->state);
    STAT_ADD(&w->stats, accepted, 1);
    PROBE(conn_open, w->stats.worker, c, fd);
    if (watch(w, fd, EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET,
              c->gen, c->slot))
        return;
    STAT_ADD(&w->stats, refused, 1);
    w->retry_ms = w->now_ms + RETRY_MS;
    conn_close(w, c);
}

/* Adds c to our own queue.  The caller knows that there is room. */
static void enqueue(struct worker *w, struct conn *c, enum probe_path path)
{
    if (w->elastic)
        c->ready_us = w->fresh_us ? w->fresh_us : w->now_us;
    PROBE(ready, w->stats.worker, c, path);
    CHECK(deque_push(&w->ready, c));
}

/* c has more to do, after the others in the queue.  A thief may take it. */
static void conn_requeue(struct worker *w, struct conn *c, enum next next)
{
    c->next = next;
    piece_reclaim(&w->pieces, &c->s.out);
    state_requeue(&c->state);
    enqueue(w, c, PATH_LOCAL);
}

/* c has nothing to do before its next event, so it gives its memory back. */
static void conn_release(struct worker *w, struct conn *c, enum next next)
{
    c->next = next;
    piece_reclaim(&w->pieces, &c->s.in);
    piece_reclaim(&w->pieces, &c->s.out);
    if (state_release(&c->state)) /* an event came meanwhile */
        enqueue(w, c, PATH_LOCAL);
}

/* c comes from a queue.  It is ours from here on, with its marks. */
static void conn_claim(struct worker *w, struct conn *c)
{
    uint64_t marks;

    CHECK(state_claim(&c->state, &marks));
    c->readable |= (marks & STATE_NEWS) != 0;
    c->tail |= (marks & STATE_TAIL) != 0;
    OWN_ADD(&w->stats, runs, 1);
    PROBE(run, w->stats.worker, c);
    if (w->elastic)
        note_run(w->me, w->now_us, c->ready_us);
}

/* ---------------------------------------------------------------- engine */

/* If the deadline has come, and the peer has no grace left, shuts the socket
 * down.  The next receive finds the end, or a send fails: c will be closed. */
static bool conn_shut_if_late(struct worker *w, struct conn *c)
{
    int64_t more;

    if (a_load(&c->due_ms, relaxed) > w->now_ms)
        return false;
    more =
        net_grace_ms(c->fd, c->next == NEXT_RECV, w->sv.opt.idle_ms, &c->acked);
    a_store(&c->due_ms, more > 0 ? w->now_ms + more : NEVER_MS, relaxed);
    if (more > 0)
        return false;
    shutdown(c->fd, SHUT_RDWR);
    STAT_ADD(&w->stats, timeouts, 1);
    return true;
}

/* A receive has ended: bytes, or -errno.  False: the connection is gone. */
static bool recv_done(struct worker *w, struct conn *c)
{
    int n = c->res;

    STAT_ADD(&w->stats, recvs, 1);
    if (n < 0 && n != -EAGAIN && n != -EINTR) {
        conn_close(w, c);
        return false;
    }
    /* Short, without tail: the socket is empty, the next byte is an edge. */
    c->readable =
        n == -EINTR || (n > 0 && ((size_t)n == buf_room(&c->s.in) || c->tail));
    if (n == 0)
        c->s.eof = true;
    if (n > 0) {
        buf_commit(&c->s.in, (size_t)n);
        STAT_ADD(&w->stats, bytes_in, (uint64_t)n);
    }
    return true;
}

/* A send has ended.  False: the connection is gone, or waits for room.  A late
 * connection is shut down here, and its next send fails. */
static bool send_done(struct worker *w, struct conn *c)
{
    int n = c->res;

    STAT_ADD(&w->stats, sends, 1);
    if (n == -EAGAIN && !conn_shut_if_late(w, c)) {
        conn_release(w, c, NEXT_SEND);
        return false;
    }
    if (n < 0 && n != -EAGAIN && n != -EINTR) {
        conn_close(w, c);
        return false;
    }
    if (n > 0) {
        conn_touch(w, c);
        buf_consume(&c->s.out, (size_t)n);
        STAT_ADD(&w->stats, bytes_out, (uint64_t)n);
    }
    return true;
}

/* c waits for bytes: in the queue if its socket may hold some, else for an
 * event.  In a drain an idle c is queued: its next receive finds the end. */
static void conn_wait_recv(struct worker *w, struct conn *c)
{
    c->next = NEXT_RECV; /* conn_shut_if_late() asks */
    if (c->s.fin)
        shutdown(c->fd, SHUT_WR);
    if (service_draining(&w->sv) && !session_in_flight(&c->s)) {
        shutdown(c->fd, SHUT_RD);
        c->readable = true;
    }
    if (c->readable || conn_shut_if_late(w, c))
        conn_requeue(w, c, NEXT_RECV);
    else
        conn_release(w, c, NEXT_RECV);
}

/* Reads a part of a file: at once if it is cached, else by a thread of the
 * kernel (disk.h).  False: that read is in flight, and c no longer ours. */
static bool conn_file(struct worker *w, struct conn *c)
{
    ssize_t n = disk_read_cached(&c->s);

    STAT_ADD(&w->stats, reads, 1);
    c->next = NEXT_STEP;
    if (n < 0 && disk_read(&w->disk, &c->s, c))
        return false;
    if (n < 0)
        n = disk_read_blocking(&c->s);
    session_file(&c->s, n);
    return true;
}

/* c waits in the queue for a worker with time for its handler, perhaps us.
 * Meanwhile its deadline does not come: it is the peer that waits. */
static void conn_wait_work(struct worker *w, struct conn *c)
{
    c->left_ms = a_load(&c->due_ms, relaxed) - w->now_ms;
    a_store(&c->due_ms, NEVER_MS, relaxed);
    conn_requeue(w, c, NEXT_WORK);
}

/* Runs the session until it needs its socket, a disk or a handler.  True: c has
 * something to send, and is still ours.  False: c waits, or is queued, or is
 * closed, so another thread may have it by now: do not touch it. */
static bool conn_step(struct worker *w, struct conn *c)
{
    enum want want = WANT_FILE;

    while (want == WANT_FILE) {
        want = WANT_CLOSE; /* if there is no window */
        if (piece_lend(&w->pieces, &c->s.out))
            want = session_step(&c->s, &w->stats);
        if (c->restarts != c->s.restarts)
            conn_touch(w, c);
        piece_reclaim(&w->pieces, &c->s.in);
        if (want == WANT_FILE && !conn_file(w, c))
            return false;
    }
    if (want == WANT_RECV)
        conn_wait_recv(w, c);
    else if (want == WANT_WORK)
        conn_wait_work(w, c);
    else if (want == WANT_CLOSE)
        conn_close(w, c);
    return want == WANT_SEND;
}

/* Does the next receive or send of c, by a plain call.  Sockets do not block.
 * Returns bytes or -errno, as the ring does. */
static int conn_call(struct conn *c)
{
    struct buf *in = &c->s.in, *out = &c->s.out;
    ssize_t n;

    if (c->next == NEXT_RECV)
        n = recv(c->fd, buf_tail(in), buf_room(in), 0);
    else
        n = send(c->fd, buf_data(out), buf_len(out), MSG_NOSIGNAL);
    return n < 0 ? -errno : (int)n;
}

/* The same by the ring, which has room: a batch is no longer than its SQ. */
static void conn_sqe(struct worker *w, struct conn *c)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);
    struct buf *in = &c->s.in, *out = &c->s.out;

    if (c->next == NEXT_RECV)
        io_uring_prep_recv(sqe, c->fd, buf_tail(in), buf_room(in),
                           MSG_DONTWAIT);
    else
        io_uring_prep_send(sqe, c->fd, buf_data(out), buf_len(out),
                           MSG_NOSIGNAL | MSG_DONTWAIT);
    io_uring_sqe_set_data(sqe, c);
    PROBE(submit, c);
}

/* Submits n operations and waits for all of them.  It is one system call: none
 * of them waits for its peer (DONTWAIT), so each completes while it is being
 * submitted, and nothing stays in flight. */
static void batch_submit(struct worker *w, int n)
{
    while (n > 0) {
        int err = io_uring_submit_and_wait(&w->ring, (unsigned)n);

        OWN_ADD(&w->stats, enters, 1);
        if (err < 0 && err != -EINTR && err != -EAGAIN && err != -EBUSY)
            die("stage6: io_uring_enter: %s", strerror(-err));
        OWN_ADD(&w->stats, cq_overflow, uring_overflows(&w->ring));
        for (; io_uring_cq_ready(&w->ring) > 0; n--) {
            struct io_uring_cqe cqe = uring_take(&w->ring);
            struct conn *c = io_uring_cqe_get_data(&cqe);

            c->res = cqe.res;
            OWN_ADD(&w->stats, completions, 1);
            PROBE(complete, c, c->res);
        }
    }
}

/* c->res is there.  False: the connection is gone, or waits for an event. */
static bool op_done(struct worker *w, struct conn *c)
{
    return c->next == NEXT_RECV ? recv_done(w, c) : send_done(w, c);
}

/* Two rounds.  First each connection does its receive or send; then those that
 * have something to send do one send.  A connection that has still more to send
 * goes back into the queue, so a large download moves two windows a turn.  By
 * the ring a round is one system call instead of n.  For a few connections
 * plain calls cost less. */
static void run_batch(struct worker *w, struct conn **c, int n)
{
    for (int round = 0; round < 2 && n > 0; round++) {
        bool ring = n >= BATCH_LEAST;
        int kept = 0;

        for (int i = 0; i < n; i++)
            if (ring)
                conn_sqe(w, c[i]);
            else
                c[i]->res = conn_call(c[i]);
        batch_submit(w, ring ? n : 0);
        for (int i = 0; i < n; i++)
            if (op_done(w, c[i]) && conn_step(w, c[i])) {
                c[i]->next = NEXT_SEND;
                c[kept++] = c[i];
            }
        n = kept;
    }
    for (int i = 0; i < n; i++)
        conn_requeue(w, c[i], NEXT_SEND);
}

/* Wakes one sleeper, as there is more than the caller can do.  If that worker
 * finds work it wakes the next (stop_searching), so a burst of events wakes as
 * many workers as find work, and no more.  False: no sleeper was woken. */
static bool wake_one(struct server *v)
{
    int target = v->choice.steal == STEAL_OFF ? -1 : park_wake(&v->park);

    if (target >= 0)
        seat_wake(&v->team.seats[target]);
    return target >= 0;
}

/* True: a sibling has a connection in its queue. */
static bool work_elsewhere(struct worker *w)
{
    for (int i = 1; i < w->server->team.n_workers; i++)
        if (deque_len(&sibling(w, i)->ready) > 0)
            return true;
    return false;
}

/* We have work, or go to rest.  While we searched, a worker that queued more
 * woke no sleeper: it relied on us.  So the last searcher looks for that work
 * once more, and wakes another worker for it. */
static void stop_searching(struct worker *w)
{
    if (!w->searching)
        return;
    w->searching = false;
    if (park_found(&w->server->park) && work_elsewhere(w))
        OWN_ADD(&w->stats, wakes, wake_one(w->server));
}

/* Runs the handler of c.  Only here a worker stays for long; meanwhile others
 * may take from its queue and from its set. */
static void run_handler(struct worker *w, struct conn *c)
{
    if (deque_len(&w->ready) > 0)
        OWN_ADD(&w->stats, wakes, wake_one(w->server));
    tick(w);
    if (w->choice.steal == STEAL_ALL)
        busy_begin(&w->busy, &w->server->sentinel, w->now_us);
    STAT_ADD(&w->stats, works, 1);
    session_work(&c->s);
    if (w->choice.steal == STEAL_ALL)
        busy_end(&w->busy);
    tick(w);
    a_store(&c->due_ms, w->now_ms + c->left_ms, relaxed);
    if (conn_step(w, c))
        conn_requeue(w, c, NEXT_SEND);
}

/* Prepares c for a receive or send.  False: c is closed, waits or is queued. */
static bool conn_prepare(struct worker *w, struct conn *c)
{
    if (c->next == NEXT_STEP && !conn_step(w, c))
        return false;
    if (c->next == NEXT_STEP)
        c->next = NEXT_SEND;
    else if (c->next == NEXT_SEND) /* now: a send moves the deadline */
        conn_shut_if_late(w, c);
    else if (c->next == NEXT_RECV && !piece_lend(&w->pieces, &c->s.in)) {
        conn_close(w, c);
        return false;
    }
    return true;
}

/* Runs c (NULL: the oldest in our queue) and what follows in our queue, to the
 * first handler or a full batch; the handler last.  False: nothing to run. */
static bool run(struct worker *w, struct conn *c)
{
    struct conn *batch[BATCH], *work = NULL;
    int n = 0;

    if (!c && (c = deque_pop(&w->ready)) == NULL)
        return false;
    stop_searching(w);
    while (c && !work) {
        conn_claim(w, c);
        if (c->next == NEXT_WORK)
            work = c;
        else if (conn_prepare(w, c))
            batch[n++] = c;
        c = n < w->batch_most && !work ? deque_pop(&w->ready) : NULL;
    }
    run_batch(w, batch, n);
    if (work)
        run_handler(w, work);
    return true;
}

/* ---------------------------------------------------------------- worker */

/* Watches the listener.  Peers wait while we drain, are full or lack memory. */
static void accept_watch(struct worker *w, struct worker *home)
{
    int fd = home->seat->listener;
    bool want = !w->draining && !w->full && w->retry_ms <= w->now_ms;

    if (fd < 0 || want == home->accepting)
        return;
    if (want ? watch(home, fd, EPOLLIN, 0, EVENT_LISTENER)
             : epoll_ctl(home->epoll, EPOLL_CTL_DEL, fd, NULL) == 0)
        home->accepting = want;
    else
        w->retry_ms = w->now_ms + RETRY_MS;
}

/* Accepts up to n peers at the listener of `from`: us, or a sibling that is
 * stuck or rests.  We are their home.  Without descriptors or memory it pauses.
 * When the server is full (w->full) it returns how many of the n are left. */
static int accept_ready(struct worker *w, struct worker *from, int n)
{
    int listener = from->seat->listener;

    for (; n > 0; n--) {
        bool may = listener >= 0 && w->retry_ms <= w->now_ms;
        int fd;

        w->full = !seat_admit(w->seat);
        if (w->full)
            return n;
        fd = may ? net_accept(listener, true) : -EAGAIN;
        if (fd >= 0 && from == w && seat_deal(w->seat, fd))
            continue;
        if (fd >= 0) {
            conn_new(w, fd);
            continue;
        }
        team_leave(&w->server->team);
        if (fd == -EAGAIN || fd == -EINVAL) /* no peer; or listener shut */
            return 0;
        STAT_ADD(&w->stats, refused, 1);
        w->retry_ms = w->now_ms + RETRY_MS;
    }
    return 0;
}

/* Takes the connections that were dealt to `from`: to us, or to a sibling that
 * is stuck.  Either way we are their home. */
static void take_dealt(struct worker *w, struct worker *from)
{
    struct mpsc_node *list = seat_take_dealt(from->seat);

    while (list)
        conn_new(w, dealt_next(&list));
}

/* As if c had an event: marks it, and queues an idle one, to be looked at. */
static void conn_poke(struct worker *w, struct conn *c)
{
    if (state_event(&c->state, c->gen, STATE_NEWS))
        enqueue(w, c, PATH_LOCAL);
}

/* Queues each connection of home whose deadline has come, as only a runner may
 * shut it down.  Its timer is set again until the slot comes home. */
static void expire(struct worker *w, struct worker *home)
{
    struct timer *t;

    while (deque_room(&w->ready) > 0 &&
           (t = wheel_expired(&home->wheel, w->now_ms)) != NULL) {
        struct conn *c = container_of(t, struct conn, timer);
        int64_t due = a_load(&c->due_ms, relaxed);

        if (due <= w->now_ms)
            conn_poke(w, c);
        if (due <= w->now_ms || due == NEVER_MS) /* look again */
            due = w->now_ms + WHEEL_TICK_MS;
        wheel_set(&home->wheel, t, due);
    }
}

/* In a drain, queues each of our connections once, as many a turn as there is
 * room for.  The runner ends a connection that is idle. */
static void sweep(struct worker *w)
{
    while (w->n_swept < w->n_used && deque_room(&w->ready) > 0)
        conn_poke(w, &w->conns[w->n_swept++]);
}

/* A peer in the accept queue may have sent a request already, so it is accepted
 * as soon as there is a permit.  Then the listener is shut. */
static void drain(struct worker *w)
{
    if (!w->draining) {
        w->draining = true;
        w->retry_ms = 0;
        w->n_last = net_last(w->seat->listener);
    }
    w->n_last = accept_ready(w, w, w->n_last);
    if (w->n_last == 0)
        seat_shut(w->seat);
    sweep(w);
}

/* Our eventfd was posted: a permit is free, or we shall search, or peers were
 * dealt to us (our caller takes them).  Clear it first: later posts count. */
static void handle_wake(struct worker *w)
{
    seat_clear_wake(w->seat);
    if (w->full) /* a permit that we do not need wakes the next worker */
        accept_ready(w, w, ACCEPTS_A_TURN);
}

/* Takes reads of `from` that are over, and queues their connections. */
static void take_reads(struct worker *w, struct worker *from)
{
    struct conn *c;
    int res;

    while (deque_room(&w->ready) > 0 &&
           (c = disk_take(&from->disk, &res)) != NULL) {
        if (res == -ECANCELED) /* the kernel has no thread for it */
            res = (int)disk_read_blocking(&c->s);
        if (res != -EINTR && res != -EAGAIN)
            session_file(&c->s, res);
        conn_requeue(w, c, NEXT_STEP);
    }
}

static int harvest(struct worker *w, struct worker *from, int wait_ms);

/* The set of a resting worker, number n, has events: we take them.  A worker
 * that rests keeps no other, so the recursion ends here. */
static void adopt(struct worker *w, uint32_t n)
{
    int taken = harvest(w, w->server->team.seats[n].worker, 0);

    OWN_ADD(&w->stats, adopted, taken > 0 ? (uint64_t)taken : 0);
}

/* An event of one of the worker's own descriptors.  A thief (from != w) leaves
 * what only the owner can do; the event is level-triggered, so it is reported
 * again.  Only the signal is an edge, as it stays readable for good: the thief
 * wakes the owner instead. */
static void descriptor_event(struct worker *w, struct worker *from,
                             uint32_t number)
{
    if (number >= EVENT_KEPT) {
        adopt(w, number - EVENT_KEPT);
        return;
    }
    if (number == EVENT_SIGNAL && from != w) /* we took its only edge */
        seat_wake(from->seat);
    if (number == EVENT_WAKE && from == w)
        handle_wake(w);
    if (number == EVENT_WAKE)
        take_dealt(w, from);
    /* A stuck worker may have been woken for a permit: we accept instead. */
    if (number == EVENT_LISTENER || (number == EVENT_WAKE && from != w))
        accept_ready(w, from, ACCEPTS_A_TURN);
    if (number == EVENT_DISK)
        take_reads(w, from);
    w->has_upkeep |= from == w;
}

/* A harvest began at before_us and is over.  When did its events come, about?
 * Now if it slept (longer than the gap before it), else within that gap. */
static int64_t came_us(struct worker *w, int64_t before_us)
{
    int64_t gap_us = before_us - w->harvested_us;

    return w->now_us - before_us > gap_us ? w->now_us : w->now_us - gap_us / 2;
}

/* Takes events from the set of `from`, ours or a sibling's, and queues their
 * connections on our queue: at most as many as there is room for, since an edge
 * is reported once.  Returns the number of events. */
static int harvest(struct worker *w, struct worker *from, int wait_ms)
{
    struct epoll_event evs[MAX_EVENTS];
    uint64_t room = deque_room(&w->ready);
    int64_t before_us = w->now_us;
    int n;

    if (room == 0)
        return 0; /* run some first */
    PROBE(park, w->stats.worker, wait_ms);
    n = epoll_wait(from->epoll, evs, room < MAX_EVENTS ? (int)room : MAX_EVENTS,
                   wait_ms);
    PROBE(unpark, w->stats.worker, n);
    tick(w); /* we may have slept: a new connection's deadline begins now */
    if (w->elastic && from == w)
        w->fresh_us = came_us(w, before_us);
    STAT_ADD(&w->stats, waits, 1);
    STAT_ADD(&w->stats, events, n > 0 ? (uint64_t)n : 0);
    for (int i = 0; i < n; i++) {
        uint32_t slot = (uint32_t)evs[i].data.u64;
        uint64_t marks = STATE_NEWS;

        if (slot >= EVENT_LISTENER)
            continue;
        if (evs[i].events & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            marks |= STATE_TAIL;
        if (state_event(&from->conns[slot].state, evs[i].data.u64 >> 32,
                        marks)) {
            enqueue(w, &from->conns[slot],
                    from != w && busy_now(&from->busy) ? PATH_RESCUED
                                                       : PATH_LOCAL);
            OWN_ADD(&w->stats, injected, 1);
        }
    }
    for (int i = 0; i < n; i++) /* may queue more, into the room left */
        if ((uint32_t)evs[i].data.u64 >= EVENT_LISTENER)
            descriptor_event(w, from, (uint32_t)evs[i].data.u64);
    return n;
}

/* Harvests our own set, notes the time, guesses whether more will come. */
static void harvest_own(struct worker *w, int wait_ms)
{
    w->more_soon = harvest(w, w, wait_ms) >= BATCH_LEAST;
    w->harvested_us = w->now_us;
    w->fresh_us = 0;
}

/* Takes the older half of a sibling's queue.  Returns the oldest, to be run. */
static struct conn *steal(struct worker *w)
{
    OWN_ADD(&w->stats, searches, 1);
    for (int i = 1; i < w->server->team.n_workers; i++) {
        struct worker *from = sibling(w, i);
        struct conn *c = deque_steal(&from->ready, &w->ready);

        if (c) {
            uint64_t n = 1 + deque_len(&w->ready);

            OWN_ADD(&w->stats, stolen, n);
            PROBE(steal, w->stats.worker, from->stats.worker, n);
            return c;
        }
    }
    return NULL;
}

/* Harvests sets of stuck siblings until our queue has work; false: it has none.
 * We have announced our sleep (idle), so an event that comes after this look is
 * not lost: the sentinel sees it and wakes us. */
static bool rescue(struct worker *w)
{
    for (int i = 1; i < w->server->team.n_workers; i++) {
        struct worker *from = sibling(w, i);
        int n = 0;

        if (busy_longer(&from->busy, w->now_us, w->choice.stuck_us))
            n = harvest(w, from, 0);
        OWN_ADD(&w->stats, rescued, n > 0 ? (uint64_t)n : 0);
        if (deque_len(&w->ready) > 0)
            return true;
    }
    return false;
}

/* How long we may sleep: until the soonest deadline, ours or one we keep. */
static int wait_ms(struct worker *w)
{
    int ms = wheel_wait_ms(&w->wheel, w->now_ms);

    if (w->kept_ms >= 0 && (ms < 0 || w->kept_ms < ms))
        ms = w->kept_ms;
    return service_wait_ms(&w->sv, w->now_ms, ms, w->retry_ms);
}

/* Our queue is empty: search elsewhere, and sleep if there is no work. */
static void idle(struct worker *w)
{
    struct park *p = &w->server->park;
    struct conn *c;

    if (!w->searching)
        w->searching = park_search(p);
    if (w->searching && (c = steal(w)) != NULL) {
        run(w, c);
        return;
    }
    /* Announce the sleep first, then look once more.  We see what was queued
     * before the announcement; a thread that queues later sees the announcement
     * and wakes us.  The same holds for the set of a sibling that is stuck. */
    park_enter(p, w->seat->n, w->searching);
    w->searching = false;
    if (work_elsewhere(w) || rescue(w)) {
        park_cancel(p, w->seat->n);
        w->searching = true;
        return;
    }
    OWN_ADD(&w->stats, parks, 1);
    if (w->elastic)
        note_sleep(w->me, w->now_us);
    harvest_own(w, wait_ms(w));
    if (w->elastic)
        note_awake(w->me, w->now_us);
    w->searching = park_leave(p, w->seat->n);
}

/* What home does for its connections; while it rests, its keeper w does it. */
static void upkeep_home(struct worker *w, struct worker *home)
{
    take_returns(home);
    expire(w, home); /* after the events: a peer heard just now is not late */
    if (service_draining(&w->sv) && home == w)
        drain(w);
    accept_watch(w, home);
}

/* The same for the homes of resting workers that are left to us.  Their owners
 * may take them back at any time: home_enter() asks whether one has. */
static void upkeep_kept(struct worker *w)
{
    uint64_t kept = a_load(&w->me->kept, acquire);

    for (w->kept_ms = -1; kept != 0; kept &= kept - 1) {
        struct team *t = &w->server->team;
        struct worker *home = t->seats[__builtin_ctzll(kept)].worker;
        int ms;

        if (!home_enter(home->me))
            continue;
        upkeep_home(w, home);
        ms = wheel_wait_ms(&home->wheel, w->now_ms);
        home_leave(home->me);
        if (ms >= 0 && (w->kept_ms < 0 || ms < w->kept_ms))
            w->kept_ms = ms;
    }
}

/* Between two batches, and before a sleep.  How many workers shall run?  The
 * first that comes here when a sample is due takes it: no thread wakes up. */
static void upkeep(struct worker *w)
{
    w->has_upkeep = false;
    tick(w);
    upkeep_home(w, w);
    if (w->elastic) {
        upkeep_kept(w);
        if (elastic_turn(w->elastic, w->now_us))
            elastic_sample(w->elastic, w->now_us);
    }
    service_tick(&w->sv);
}

/* True: fewer workers are wanted, so we shall rest.  In a drain all run. */
static bool surplus(struct worker *w)
{
    return w->elastic && elastic_rests(w->elastic, w->seat->n) &&
           w->retry_ms <= w->now_ms && !service_draining(&w->sv);
}

/* Our queue is empty, and fewer workers are wanted.  A worker that rests holds
 * nothing: no connection, no wait for a permit, no promise to search, and none
 * of the memory that it has kept. */
static void rest(struct worker *w)
{
    stop_searching(w);
    w->full = false;
    seat_unwait(w->seat);
    pieces_free(&w->pieces);
    OWN_ADD(&w->stats, shrinks, 1);
    OWN_ADD(&w->stats, active, UINT64_MAX); /* less 1 */
    if (!elastic_rest(w->elastic, w->seat->n, EVENT_KEPT, w->sv.signal))
        w->retry_ms = w->now_ms + RETRY_MS; /* no memory: run on */
    OWN_ADD(&w->stats, active, 1);
    OWN_ADD(&w->stats, grows, 1);
    tick(w);
    w->harvested_us = w->now_us;
}

/* True: to end.  In a drain we help until no worker has a connection left. */
static bool finished(struct worker *w)
{
    return service_over(&w->sv) ||
           (w->draining && team_shut(&w->server->team) &&
            team_empty(&w->server->team));
}

/* When we harvest our set: every HARVEST_US, so that sockets do not wait while
 * the queue never empties (after each handler would cost too many calls); and
 * when the queue is empty and the last harvest was large.  After a small one
 * idle() comes next, and its sleep is a harvest, too (alone: we sleep here). */
static void worker_loop(struct worker *w)
{
    bool alone = w->choice.steal == STEAL_OFF;

    while (!finished(w)) {
        bool empty, leaves = surplus(w); /* leaves: take no more events */

        upkeep(w);
        empty = deque_len(&w->ready) == 0;
        if (leaves && empty) {
            rest(w);
            continue;
        }
        if (!leaves && (w->now_us - w->harvested_us >= HARVEST_US ||
                        (empty && (alone || w->more_soon))))
            harvest_own(w, alone && empty ? wait_ms(w) : 0);
        if (!run(w, NULL) && !alone && !w->has_upkeep)
            idle(w);
    }
}

/* A stuck worker has work, and no worker is free for it: calls one from its
 * rest.  The workers cannot do that: they take samples between handlers, and
 * all that run may be in one. */
static void sentinel_call(struct server *v)
{
    struct elastic *e = &v->elastic;
    int n = elastic_active(e);

    if (e->rule == ELASTIC_WAIT && n < e->max && park_none(&v->park))
        elastic_resize(e, n, n + 1);
}

/* Adds sets of stuck workers to the sentinel's own; as edges, so that an event
 * wakes it once.  True: look again: a worker in a handler is not watched. */
static bool sentinel_look(struct server *v, bool *watched)
{
    int64_t now_us = clock_us();
    bool looks = false;

    for (int i = 0; i < v->team.n_workers; i++) {
        struct worker *w = v->team.seats[i].worker;
        struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.fd = i};

        if (!watched[i] && busy_longer(&w->busy, now_us, v->choice.stuck_us)) {
            watched[i] =
                epoll_ctl(v->sentinel.epoll, EPOLL_CTL_ADD, w->epoll, &ev) == 0;
            if (!watched[i]) /* no memory: wake a worker, to look */
                wake_one(v);
            if (deque_len(&w->ready) > 0)
                sentinel_call(v);
        }
        looks |= !watched[i] && busy_now(&w->busy);
    }
    return looks;
}

/* Sleeps until an event, at most us microseconds (negative: no limit).  Is the
 * owner of a set with events still stuck?  Then an idle worker is woken for
 * them.  If not, the owner takes them, and its set is no longer watched. */
static void sentinel_wait(struct server *v, bool *watched, int64_t us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    struct pollfd p = {.fd = v->sentinel.epoll, .events = POLLIN};
    struct epoll_event evs[PARK_WORKERS];
    int n;

    ppoll(&p, 1, us < 0 ? NULL : &t, NULL);
    sentinel_woken(&v->sentinel);
    n = epoll_wait(v->sentinel.epoll, evs, PARK_WORKERS, 0);
    for (int i = 0; i < n; i++) {
        int k = evs[i].data.fd;
        struct worker *w = k < 0 ? NULL : v->team.seats[k].worker;

        if (!w)
            continue; /* eventfd: a handler has begun */
        if (busy_longer(&w->busy, clock_us(), v->choice.stuck_us)) {
            if (!wake_one(v))
                sentinel_call(v);
            continue;
        }
        epoll_ctl(v->sentinel.epoll, EPOLL_CTL_DEL, w->epoll, NULL);
        watched[k] = false;
    }
}

/* A stuck worker cannot say that it is stuck, and a sleeping one cannot see it.
 * So one more thread looks at all workers, again and again, while one of them
 * is in a handler (as sysmon does in Go).  When none is, this thread sleeps;
 * busy.h says why it misses no handler. */
static void *sentinel_main(void *arg)
{
    struct server *v = arg;
    bool watched[PARK_WORKERS] = {false};
    int64_t us = v->choice.stuck_us;
    int quiet = 0;

    while (!a_load(&v->over, relaxed)) {
        bool sleeps = quiet > QUIET_LOOKS, looks;

        if (sleeps)
            sentinel_enter(&v->sentinel);
        looks = sentinel_look(v, watched) || a_load(&v->over, seq_cst);
        quiet = looks || sleeps ? 0 : quiet + 1;
        if (sleeps && looks)
            sentinel_stay(&v->sentinel);
        sentinel_wait(v, watched, sleeps && !looks ? -1 : us);
        us = sleeps ? v->choice.stuck_us : 2 * us;
        if (us > LOOKS_SLOWER * v->choice.stuck_us)
            us = LOOKS_SLOWER * v->choice.stuck_us;
    }
    return NULL;
}

/* ------------------------------------------------------------------ main */

/* Zeroed pages, which take memory when they are touched. */
static void *map_pages(size_t size)
{
    void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (mem == MAP_FAILED)
        die("stage6: no memory for a worker");
    return mem;
}

/* In the worker's thread: only its maker may use a DEFER_TASKRUN ring. */
static struct worker *worker_new(struct seat *seat)
{
    struct worker *w = map_pages(sizeof *w);
    struct server *v = container_of(seat->team, struct server, team);
    unsigned room;

    *w = (struct worker){
        .seat = seat, .server = v, .choice = v->choice, .kept_ms = -1};
    seat_service(seat, &w->sv);
    uring_open(&w->ring, "stage6", &w->choice.uring, BATCH);
    room = io_uring_sq_space_left(&w->ring);
    w->batch_most = room < BATCH ? (int)room : BATCH;
    disk_open(&w->disk, "stage6");
    deque_init(&w->ready);
    mpsc_init(&w->returns);
    w->conns = map_pages((size_t)w->sv.opt.max_conns * sizeof *w->conns);
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (w->epoll < 0 || !watch(w, seat->eventfd, EPOLLIN, 0, EVENT_WAKE) ||
        (disk_fd(&w->disk) >= 0 &&
         !watch(w, disk_fd(&w->disk), EPOLLIN, 0, EVENT_DISK)) ||
        !watch(w, w->sv.signal, EPOLLIN | EPOLLET, 0, EVENT_SIGNAL))
        die("stage6: epoll: %s", strerror(errno));
    if (v->elastic.min < v->elastic.max) {
        w->elastic = &v->elastic;
        w->me = elastic_join(w->elastic, seat->n, w->epoll, seat->eventfd);
    }
    tick(w);
    w->harvested_us = w->now_us;
    wheel_init(&w->wheel, w->now_ms);
    stats_register(&w->stats, seat->n);
    OWN_ADD(&w->stats, active, 1);
    seat->worker = w;
    return w;
}

/* Runs after all workers have ended.  *w stays: main still reads counters. */
static void worker_free(struct worker *w)
{
    io_uring_queue_exit(&w->ring);
    w->seat->in_use = disk_close(&w->disk) > 0;
    for (int i = 0; i < w->n_used && !w->seat->in_use; i++)
        if (w->conns[i].fd >= 0)
            conn_close(w, &w->conns[i]);
    pieces_free(&w->pieces);
    close(w->epoll);
}

static void *worker_main(void *arg)
{
    struct worker *w = worker_new(arg);

    seat_begin(w->seat);
    worker_loop(w);
    seat_end(w->seat);
    worker_free(w);
    return NULL;
}

static const char *const elastic_names[] = {"wait", "load", NULL};

static error_t parse_switch(int key, char *arg, struct argp_state *state)
{
    static const char *const pin[] = {"on", "off", NULL};
    struct choice *choice = state->input;

    if (key == 'P')
        choice->pin = option_choice(state, "--pin", arg, pin);
    else if (key == 'l')
        choice->place = option_choice(state, "--place", arg, deal_names);
    else if (key == 's')
        choice->steal = option_choice(state, "--steal", arg, steal_names);
    else if (key == 'u')
        choice->stuck_us = option_int(state, "--stuck-us", arg, 1, 1000000);
    else if (key == 'e')
        choice->elastic = option_choice(state, "--elastic", arg, elastic_names);
    else if (key == 'm')
        choice->elastic_ms = option_int(state, "--elastic-ms", arg, 1, 60000);
    else
        return uring_switch(key, arg, state, &choice->uring);
    return 0;
}

/* A line for each worker, then the ready line. */
static void server_describe(struct server *v)
{
    struct team *t = &v->team;
    struct worker *first = t->seats[0].worker;

    for (int i = 0; i < t->n_workers; i++) {
        struct worker *w = t->seats[i].worker;

        fprintf(stderr, "stage6: worker %d: cpu ", i);
        fprintf(stderr, w->seat->cpu < 0 ? "any" : "%d", w->seat->cpu);
        fprintf(stderr, ", set %d, listener ", w->epoll);
        fprintf(stderr, w->seat->listener < 0 ? "none\n" : "%d\n",
                w->seat->listener);
    }
    if (first->elastic)
        fprintf(stderr,
                "stage6: %d to %d workers run: rule %s, a sample in %d ms\n",
                v->elastic.min, v->elastic.max, elastic_names[v->elastic.rule],
                (int)(v->elastic.period_us / 1000));
    service_ready(
        &v->service, "%d workers, place %s, steal %s, taskrun %s, lines of %d",
        t->n_workers, deal_names[t->deal], steal_names[v->choice.steal],
        first->choice.uring.taskrun, PAD);
}

/* --workers MIN:MAX.  Siblings must be able to take each other's events; and
 * not --place rr, as worker 0 would deal to workers that rest, too. */
static void server_size(struct server *v)
{
    struct elastic *e = &v->elastic;
    int min = v->service.opt.workers_min;

    if (min > 0 && (v->choice.steal != STEAL_ALL || v->team.deal == DEAL_RR))
        die_status(EX_USAGE, "stage6: --workers MIN:MAX needs --steal all, and "
                             "--place hash or one");
    v->service.opt.workers_min = 0; /* understood */
    team_size(&v->team, PARK_WORKERS, uring_afford(2), 6);
    e->max = v->team.n_workers;
    e->min = min > 0 && min < e->max ? min : e->max;
    e->rule = (enum elastic_rule)v->choice.elastic;
    e->period_us = 1000 * v->choice.elastic_ms;
    elastic_init(e, clock_us());
}

/* The life of the server: sizes, start of all threads, end of all threads. */
static void server_run(struct server *v)
{
    struct team *t = &v->team;
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = -1};
    bool guarded, whole; /* there is a sentinel; no read is in flight */
    pthread_t thread;

    if (v->service.opt.max_conns > EVENT_LISTENER)
        v->service.opt.max_conns = EVENT_LISTENER;
    server_size(v);
    lockable_divide(t->n_workers, 2); /* the batch ring, the disk */
    if (t->n_workers == 1)
        v->choice.steal = STEAL_OFF; /* there is no sibling */
    guarded = v->choice.steal == STEAL_ALL;
    team_listen(t);
    park_init(&v->park, t->n_workers);
    team_start(t, worker_main);
    v->sentinel.epoll = epoll_create1(EPOLL_CLOEXEC);
    v->sentinel.eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (epoll_ctl(v->sentinel.epoll, EPOLL_CTL_ADD, v->sentinel.eventfd, &ev))
        die("stage6: eventfd: %s", strerror(errno));
    if (guarded)
        team_thread(t, &thread, -1, sentinel_main, v);
    server_describe(v);
    team_run(t);
    a_store(&v->over, true, seq_cst);
    eventfd_write(v->sentinel.eventfd, 1);
    if (guarded)
        pthread_join(thread, NULL);
    whole = team_join(t);
    service_close(&v->service);
    if (!whole)
        _exit(0); /* the kernel still reads a file into our memory */
}

int main(int argc, char **argv)
{
    static const struct argp_option switches[] = {
        {"pin", 'P', "on|off", 0, "keep threads on their cpus (on)", 0},
        {"place", 'l', "HOW", 0, "connections: hash (default), rr or one", 0},
        {"steal", 's', "WHAT", 0, "off, queue or all (default): readiness too",
         0},
        {"stuck-us", 'u', "US", 0,
         "in a handler for so long: siblings harvest its set (100)", 0},
        {"elastic", 'e', "RULE", 0,
         "of --workers MIN:MAX: wait (default) or load", 0},
        {"elastic-ms", 'm', "MS", 0, "a sample in MS (wait: 10, load: 500)", 0},
        URING_SWITCHES,
        {0}};
    static const struct argp argp = {.options = switches,
                                     .parser = parse_switch};
    static struct server v = {.choice = {.uring.taskrun = "defer",
                                         .steal = STEAL_ALL,
                                         .stuck_us = 100}};

    stats_own(own_metrics, OWN_COUNTERS);
    service_open(&v.service, "stage6", "Stage 6: idle cores help.", argc, argv,
                 &argp, &v.choice);
    v.team = (struct team){.service = &v.service,
                           .deal = (enum deal_by)v.choice.place,
                           .unpinned = v.choice.pin};
    server_run(&v);
    return 0;
}
