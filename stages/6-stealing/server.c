/* Stage 6: idle cores take readiness and work from busy ones.
 *
 * What stage 5 could not do: help.  A request that takes long holds up every
 * connection that was hashed to its core, while other cores sleep.
 *
 *      worker 0                        worker 1
 *      --------                        --------
 *      readiness set (epoll)  <------- harvested, while 0 is in a handler
 *        v harvest
 *      queue: c9 c4 h7 s2     <------- stolen, the older half
 *        v run
 *      receives and sends (c, s) in    parks when there is nothing anywhere
 *      one batch; then one handler (h)   sentinel: wakes it when 0 is stuck
 *
 * The one new idea: a connection belongs to the thread that runs it now.  All
 * it takes is one atomic word (state.h).  And readiness must be takeable too: a
 * ring of DEFER_TASKRUN can be entered by its owner only, so what arrives for a
 * worker in a long handler would stay unseen.  Any thread can wait on an epoll
 * set.
 *
 * Kernel features: those of stage 5; epoll edges (2.6.2), RWF_NOWAIT (4.14).
 *
 * Invariants
 *  - Exactly one thread touches a connection: its runner, which has claimed it.
 *    Nothing of it is in flight then; a batch ends before its worker does
 *    anything else.
 *  - Its slot, timer and registration stay with its home, whoever runs it: the
 *    runner that closes it sends the slot home.
 *  - An edge is told once.  So a runner releases a connection only when a call
 *    has found its socket empty (or full), else it queues it again.  A thread
 *    that takes an event from a set always queues its connection.
 *  - What waits is in a queue, also a reply.  Nothing is held in a variable
 *    while a handler runs, because then no thread could take it.
 *  - No wake-up is lost: park.h, busy.h.
 *
 * What is still wrong: nothing is preempted.  When every worker is in a handler
 * the rest waits, and on balanced short requests stealing only costs.
 */

/* -------------------------------------------------------------- includes */

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "container_of.h"
#include "lockable.h"
#include "net.h"
#include "parts/busy.h"
#include "parts/deque.h"
#include "parts/disk.h"
#include "parts/launch.h"
#include "parts/park.h"
#include "parts/pieces.h"
#include "parts/uring.h"
#include "service.h"
#include "state.h"
#include "timer_wheel.h"

enum {
    MAX_EVENTS = 256,    /* taken by one epoll_wait */
    BATCH = 256,         /* connections run together at most */
    HARVEST_US = 50,     /* our set is looked at so often, between handlers */
    ACCEPTS_A_TURN = 64, /* then the connections have their turn */
};

#define NEVER_MS (INT64_MAX / 2) /* a deadline that stands still */

#ifndef BATCH_LEAST
#define BATCH_LEAST 4 /* connections; fewer are run by plain calls */
#endif

/* clang-format off */
#define OWN_LIST(X)                                                            \
    X(wakes, counter, "wake-ups sent to another thread")                       \
    X(enters, counter, "batches given to the ring")                            \
    X(completions, counter, "completions that those batches returned")         \
    X(runs, counter, "turns that connections were given")                      \
    X(injected, counter, "connections queued by their own events")             \
    X(stolen, counter, "connections taken from a sibling's queue")             \
    X(rescued, counter, "events taken from the set of a stuck sibling")        \
    X(searches, counter, "searches for work elsewhere")                        \
    X(parks, counter, "sleeps for want of work anywhere")                      \
    X(cq_overflow, counter, "completions that overflowed the queue")
/* clang-format on */
STATS_OWN(OWN_LIST);

/* ------------------------------------------------------------ connection */

/* What its next runner does with it. */
enum next { NEXT_RECV, NEXT_SEND, NEXT_STEP, NEXT_WORK };

/* Three parties: the runner (session, descriptor, windows), home, the worker
 * that accepted it (slot, timer, registration), and any thread (atomic words).
 * A slot is never freed while workers run, so a late event may always look at
 * its state word: the generation there tells that the event is late. */
struct conn {
    PADDED struct session s;
    struct mpsc_node node; /* on home's list of returns, or of free slots */
    struct state state;
    ATOMIC(int64_t) due_ms; /* its deadline: the runner writes, home reads */
    struct worker *home;
    struct timer timer; /* home's */
    uint32_t gen, slot; /* home's: of this connection; number in the slab */
    uint32_t turn;      /* s.turn when the deadline was last set */
    uint64_t acked;     /* for net_grace_ms() */
    int fd, res;        /* res: of its last receive or send */
    int64_t rest_ms;    /* until its deadline, while it waits for a handler */
    enum next next;
    bool readable; /* news came, and no receive has emptied it since */
    bool tail;     /* a short receive does not mean: empty (state.h) */
};

/* What the command line says. */
struct choice {
    struct uring_options uring;
    int steal, place; /* enum steal_by, enum deal_by */
    int64_t stuck_us;
    int pin; /* 0: on */
};

/* In its upper part is what siblings use too, and each of these words lies on
 * cache lines of its own.  The lower part is for its own thread. */
struct worker {
    struct stats stats;
    struct deque ready;      /* connections to be run */
    struct busy busy;        /* since when it is in a handler */
    struct mpsc returns;     /* slots of its connections that have ended */
    PADDED struct disk disk; /* file reads in flight */
    int epoll;               /* the readiness set; only read, as is the slab: */
    struct conn *conns;      /* max_conns; one never used costs nothing */
    PADDED struct seat *seat;
    struct server *server;
    struct service sv; /* a copy, as is the next */
    struct choice own;
    struct pieces pieces;
    struct timer_wheel wheel;
    struct mpsc_node *spare; /* slots used before */
    int n_used, n_swept;     /* slots ever used; looked at by the drain */
    int n_last;              /* peers that the drain lets in */
    struct io_uring ring;
    int batch_most;
    bool accepting; /* the listener is registered */
    bool full;      /* no permit: our eventfd tells when there may be one */
    bool draining;
    bool searching;  /* counted as such: park.h */
    bool rich;       /* our last harvest was */
    bool has_upkeep; /* a descriptor of its own said so: no sleep before that */
    int64_t now_us, now_ms, harvested_us, retry_ms;
};

/* What all workers share.  For a request none of it is written, as long as no
 * worker sleeps. */
struct server {
    struct park park;
    struct sentinel sentinel;
    PADDED struct service service;
    struct choice own;
    struct team team;
    ATOMIC(bool) over;
};

enum steal_by { STEAL_OFF, STEAL_QUEUE, STEAL_ALL };
static const char *const steal_names[] = {"off", "queue", "all", NULL};

/* An event tells of a connection, by generation and slot, or of one of the
 * worker's own descriptors, by a number that no slot has. */
enum { EVENT_LISTENER = 1 << 24, EVENT_WAKE, EVENT_DISK, EVENT_SIGNAL };

/* Connections are edge-triggered: an edge is told once, so no system call says
 * "not now" for one that waits in a queue.  The worker's own descriptors are
 * level-triggered, so that a thief takes nothing away. */
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

/* The clock of everything below: read after whatever may have taken long. */
static void tick(struct worker *w)
{
    w->now_us = clock_us();
    w->now_ms = w->now_us / 1000;
}

/* The peer has another --idle-timeout from here on. */
static void conn_touch(struct worker *w, struct conn *c)
{
    c->turn = c->s.turn;
    a_store(&c->due_ms, w->now_ms + w->sv.opt.idle_ms, relaxed);
}

/* Slots that come home, from whichever worker ran the connection last. */
static void take_returns(struct worker *w)
{
    struct mpsc_node *node = mpsc_take(&w->returns), *next;

    for (; node; node = next) {
        struct conn *c = container_of(node, struct conn, node);

        next = node->next;
        wheel_cancel(&w->wheel, &c->timer);
        node->next = w->spare;
        w->spare = node;
    }
}

/* A free slot: one used before, or the next of the slab.  There is one: a slot
 * is sent home before its connection's permit is given back. */
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

/* The single path to close, for its runner.  The slot goes home, and home looks
 * for it every turn: there is no need to wake it. */
static void conn_close(struct worker *w, struct conn *c)
{
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

/* A connection with a permit.  Once it is registered any worker may run it.  If
 * that fails it is closed like any other, so that its generation is over. */
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
    if (watch(w, fd, EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET,
              c->gen, c->slot))
        return;
    STAT_ADD(&w->stats, refused, 1);
    w->retry_ms = w->now_ms + RETRY_MS;
    conn_close(w, c);
}

/* Onto our own queue: room has been seen to, or c has just been taken off. */
static void enqueue(struct worker *w, struct conn *c)
{
    CHECK(deque_push(&w->ready, c));
}

/* Not done, but others have their turn first; an idle worker may have it. */
static void conn_requeue(struct worker *w, struct conn *c, enum next next)
{
    c->next = next;
    piece_reclaim(&w->pieces, &c->s.out);
    state_requeue(&c->state);
    enqueue(w, c);
}

/* Nothing to do before the next event.  Idle, it borrows no memory. */
static void conn_release(struct worker *w, struct conn *c, enum next next)
{
    c->next = next;
    piece_reclaim(&w->pieces, &c->s.in);
    piece_reclaim(&w->pieces, &c->s.out);
    if (state_release(&c->state)) /* there was one meanwhile */
        enqueue(w, c);
}

/* From a queue: it is ours, with all that events have said of it. */
static void conn_claim(struct worker *w, struct conn *c)
{
    uint64_t marks;

    CHECK(state_claim(&c->state, &marks));
    c->readable |= (marks & STATE_NEWS) != 0;
    c->tail |= (marks & STATE_TAIL) != 0;
    OWN_ADD(&w->stats, runs, 1);
}

/* ---------------------------------------------------------------- engine */

/* Has its deadline come, and is its peer late?  Then it is shut down: receives
 * and sends fail from here on, so it goes on to its end. */
static bool conn_late(struct worker *w, struct conn *c)
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
    /* A short receive has emptied the socket: the next byte is an edge. */
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

/* The same for a send.  False also when it waits for room. */
static bool send_done(struct worker *w, struct conn *c)
{
    int n = c->res;

    STAT_ADD(&w->stats, sends, 1);
    if (n == -EAGAIN && !conn_late(w, c)) {
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

/* It waits for bytes: in the queue if its socket may hold some, else for an
 * event.  In a drain an idle peer has no more to say. */
static void conn_recv(struct worker *w, struct conn *c)
{
    c->next = NEXT_RECV;
    if (c->s.fin)
        shutdown(c->fd, SHUT_WR);
    if (service_draining(&w->sv) && !session_in_flight(&c->s)) {
        shutdown(c->fd, SHUT_RD);
        c->readable = true;
    }
    if (c->readable || conn_late(w, c))
        conn_requeue(w, c, NEXT_RECV);
    else
        conn_release(w, c, NEXT_RECV);
}

/* Reads what is cached at once; the rest is read by a thread of the kernel's
 * (disk.h).  False: it is on its way, or the connection is gone. */
static bool conn_file(struct worker *w, struct conn *c)
{
    ssize_t n = disk_cached(&c->s);

    STAT_ADD(&w->stats, reads, 1);
    c->next = NEXT_STEP;
    if (n < 0 && disk_read(&w->disk, &c->s, c))
        return false;
    if (n < 0)
        n = disk_wait(&c->s);
    session_file(&c->s, n);
    return true;
}

/* Left in the queue for a worker that has time, us included.  To wait for a
 * handler is not to be idle, so its deadline stands still. */
static void conn_work(struct worker *w, struct conn *c)
{
    c->rest_ms = a_load(&c->due_ms, relaxed) - w->now_ms;
    a_store(&c->due_ms, NEVER_MS, relaxed);
    conn_requeue(w, c, NEXT_WORK);
}

/* Leads the conversation on until it needs its socket, a disk or a handler.
 * True: it has something to send, and is still ours.  False: it waits, or is
 * queued, or is gone, so it may be another thread's by now. */
static bool conn_step(struct worker *w, struct conn *c)
{
    enum want want = WANT_FILE;

    while (want == WANT_FILE) {
        want = WANT_CLOSE;
        if (piece_lend(&w->pieces, &c->s.out))
            want = session_step(&c->s, &w->stats);
        if (c->turn != c->s.turn)
            conn_touch(w, c);
        piece_reclaim(&w->pieces, &c->s.in);
        if (want == WANT_FILE && !conn_file(w, c))
            return false;
    }
    if (want == WANT_RECV)
        conn_recv(w, c);
    else if (want == WANT_WORK)
        conn_work(w, c);
    else if (want == WANT_CLOSE)
        conn_close(w, c);
    return want == WANT_SEND;
}

/* The receive or send that it waits for, by a plain call.  Sockets do not
 * block.  Returns bytes or -errno, as the ring does. */
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

/* The same operation for the ring.  There is room: a batch is no longer. */
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
        }
    }
}

/* False: the connection is gone, or waits for an event. */
static bool op_done(struct worker *w, struct conn *c)
{
    return c->next == NEXT_RECV ? recv_done(w, c) : send_done(w, c);
}

/* One operation of each: all that receive or send, then once more those that
 * have an answer now.  What is left after that goes back into the queue, so a
 * peer of a large download moves two windows before others have their turn.
 * By the ring a round is one system call instead of n.  For a few connections
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

/* There is more than we can do at once.  One sleeper at a time: it wakes the
 * next if it finds something (stop_searching), so a burst wakes as many as it
 * can feed, and no herd. */
static bool wake_one(struct server *v)
{
    int target = v->own.steal == STEAL_OFF ? -1 : park_wake(&v->park);

    if (target >= 0)
        seat_wake(&v->team.seats[target]);
    return target >= 0;
}

/* Is there something in a sibling's queue? */
static bool work_elsewhere(struct worker *w)
{
    for (int i = 1; i < w->server->team.n_workers; i++)
        if (deque_len(&sibling(w, i)->ready) > 0)
            return true;
    return false;
}

/* We have something to do.  A worker that pushed while we were the only one to
 * search has relied on us: if we were the last, we look for its work, and wake
 * another. */
static void stop_searching(struct worker *w)
{
    if (!w->searching)
        return;
    w->searching = false;
    if (park_found(&w->server->park) && work_elsewhere(w))
        OWN_ADD(&w->stats, wakes, wake_one(w->server));
}

/* The handler of one connection: the only place where a worker is away for
 * long.  What it leaves behind others may take: its queue, and its set. */
static void run_handler(struct worker *w, struct conn *c)
{
    if (deque_len(&w->ready) > 0)
        OWN_ADD(&w->stats, wakes, wake_one(w->server));
    tick(w);
    if (w->own.steal == STEAL_ALL)
        busy_begin(&w->busy, &w->server->sentinel, w->now_us);
    STAT_ADD(&w->stats, works, 1);
    session_work(&c->s);
    if (w->own.steal == STEAL_ALL)
        busy_end(&w->busy);
    tick(w);
    a_store(&c->due_ms, w->now_ms + c->rest_ms, relaxed);
    if (conn_step(w, c))
        conn_requeue(w, c, NEXT_SEND);
}

/* Is there a receive or a send to be done for it?  No: it is gone, or waits. */
static bool conn_begin(struct worker *w, struct conn *c)
{
    if (c->next == NEXT_STEP && !conn_step(w, c))
        return false;
    if (c->next == NEXT_STEP)
        c->next = NEXT_SEND;
    else if (c->next == NEXT_SEND) /* first: a send may find room by chance */
        conn_late(w, c);
    else if (c->next == NEXT_RECV && !piece_lend(&w->pieces, &c->s.in)) {
        conn_close(w, c);
        return false;
    }
    return true;
}

/* Runs c, or the first in the queue, and those behind it, up to the first
 * handler; that goes last.  False: there was nothing. */
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
        else if (conn_begin(w, c))
            batch[n++] = c;
        c = n < w->batch_most && !work ? deque_pop(&w->ready) : NULL;
    }
    run_batch(w, batch, n);
    if (work)
        run_handler(w, work);
    return true;
}

/* ---------------------------------------------------------------- worker */

/* Full, or short of memory, the listener is not watched: peers wait. */
static void accept_watch(struct worker *w)
{
    int fd = w->seat->listener;
    bool want = !w->draining && !w->full && w->retry_ms <= w->now_ms;

    if (fd < 0 || want == w->accepting)
        return;
    if (want ? watch(w, fd, EPOLLIN, 0, EVENT_LISTENER)
             : epoll_ctl(w->epoll, EPOLL_CTL_DEL, fd, NULL) == 0)
        w->accepting = want;
    else
        w->retry_ms = w->now_ms + RETRY_MS;
}

/* Takes up to n peers that wait, also at the listener of a sibling that is
 * stuck, and these are ours.  Out of descriptors or memory: a pause.  Returns
 * how many of n are left, if that is for want of a permit (w->full). */
static int accept_ready(struct worker *w, struct worker *from, int n)
{
    int listener = from->seat->listener;

    for (; n > 0 && !(w->full = !seat_admit(w->seat)); n--) {
        bool may = listener >= 0 && w->retry_ms <= w->now_ms;
        int fd = may ? net_accept(listener, true) : -EAGAIN;

        if (fd >= 0 && from == w && seat_deal(w->seat, fd))
            continue;
        if (fd >= 0) {
            conn_new(w, fd);
            continue;
        }
        team_leave(&w->server->team);
        if (fd == -EAGAIN || fd == -EINVAL) /* none; or it listens no more */
            return 0;
        STAT_ADD(&w->stats, refused, 1);
        w->retry_ms = w->now_ms + RETRY_MS;
    }
    return n;
}

/* Connections that were dealt to us; or to a sibling that is stuck, and then
 * they are ours for good. */
static void take_dealt(struct worker *w, struct worker *from)
{
    struct mpsc_node *list = seat_dealt(from->seat);

    while (list)
        conn_new(w, dealt_next(&list));
}

/* As an event does it, but for a reason of home's. */
static void conn_poke(struct worker *w, struct conn *c)
{
    if (state_event(&c->state, c->gen, STATE_NEWS))
        enqueue(w, c);
}

/* A connection whose deadline has come is queued, as only its runner may shut
 * it down.  Its timer stays until the slot comes home. */
static void expire(struct worker *w)
{
    struct timer *t;

    while (deque_room(&w->ready) > 0 &&
           (t = wheel_expired(&w->wheel, w->now_ms)) != NULL) {
        struct conn *c = container_of(t, struct conn, timer);
        int64_t due = a_load(&c->due_ms, relaxed);

        if (due <= w->now_ms)
            conn_poke(w, c);
        if (due <= w->now_ms || due == NEVER_MS) /* late, or in a handler */
            due = w->now_ms + WHEEL_TICK_MS;
        wheel_set(&w->wheel, t, due);
    }
}

/* In a drain each of our connections is run once more, as far as there is room
 * in a turn: its runner sends it away if it is idle. */
static void sweep(struct worker *w)
{
    while (w->n_swept < w->n_used && deque_room(&w->ready) > 0)
        conn_poke(w, &w->conns[w->n_swept++]);
}

/* What stands in the accept queue may have asked already, so it is let in, as
 * soon as there are permits.  Then the listener refuses peers. */
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

/* Our eventfd was posted: there are dealt connections, or a permit, or we were
 * woken to search.  Cleared first: what comes after that posts it again. */
static void woken(struct worker *w)
{
    seat_woken(w->seat);
    if (w->full) /* without a peer we give the permit to the next worker */
        accept_ready(w, w, ACCEPTS_A_TURN);
}

/* Reads that are over: their connections are ours now. */
static void take_reads(struct worker *w, struct worker *from)
{
    struct conn *c;
    int res;

    while (deque_room(&w->ready) > 0 &&
           (c = disk_take(&from->disk, &res)) != NULL) {
        if (res == -ECANCELED) /* the kernel has no thread for it */
            res = (int)disk_wait(&c->s);
        if (res != -EINTR && res != -EAGAIN)
            session_file(&c->s, res);
        conn_requeue(w, c, NEXT_STEP);
    }
}

/* Of a worker's own descriptors.  A thief passes over what only the owner can
 * do.  They are level-triggered, so that takes nothing away: the event is told
 * again.  Only the signal is an edge, as it stays readable for good; a thief
 * that has got it hands it on. */
static void own_event(struct worker *w, struct worker *from, uint32_t number)
{
    if (number == EVENT_SIGNAL && from != w) /* told once, and not for us */
        seat_wake(from->seat);
    if (number == EVENT_WAKE && from == w)
        woken(w);
    if (number == EVENT_WAKE)
        take_dealt(w, from);
    /* Also a permit that a stuck worker was woken for: is it for us? */
    if (number == EVENT_LISTENER || (number == EVENT_WAKE && from != w))
        accept_ready(w, from, ACCEPTS_A_TURN);
    if (number == EVENT_DISK)
        take_reads(w, from);
    w->has_upkeep |= from == w;
}

/* Takes readiness from a set, ours or a sibling's, onto our queue: as much as
 * there is room for, since an edge is told once.  Returns how much it took. */
static int harvest(struct worker *w, struct worker *from, int wait_ms)
{
    struct epoll_event evs[MAX_EVENTS];
    uint64_t room = deque_room(&w->ready);
    int n;

    if (room == 0)
        return 0; /* run those first */
    n = epoll_wait(from->epoll, evs, room < MAX_EVENTS ? (int)room : MAX_EVENTS,
                   wait_ms);
    tick(w); /* we may have slept: a new connection's deadline begins now */
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
            enqueue(w, &from->conns[slot]);
            OWN_ADD(&w->stats, injected, 1);
        }
    }
    for (int i = 0; i < n; i++) /* these take what room is left */
        if ((uint32_t)evs[i].data.u64 >= EVENT_LISTENER)
            own_event(w, from, (uint32_t)evs[i].data.u64);
    return n;
}

/* Our own set, when that was, and whether it is likely to hold more soon. */
static void harvest_own(struct worker *w, int wait_ms)
{
    w->rich = harvest(w, w, wait_ms) >= BATCH_LEAST;
    w->harvested_us = w->now_us;
}

/* The older half of a sibling's queue.  Returns the first of it, to be run. */
static struct conn *steal(struct worker *w)
{
    OWN_ADD(&w->stats, searches, 1);
    for (int i = 1; i < w->server->team.n_workers; i++) {
        struct conn *c = deque_steal(&sibling(w, i)->ready, &w->ready);

        if (c) {
            OWN_ADD(&w->stats, stolen, 1 + deque_len(&w->ready));
            return c;
        }
    }
    return NULL;
}

/* The readiness of a sibling that has been in one handler for too long.  We
 * look between the announcement and the sleep (idle): what comes after the look
 * is an event for the sentinel, and it wakes us. */
static bool rescue(struct worker *w)
{
    for (int i = 1; i < w->server->team.n_workers; i++) {
        struct worker *from = sibling(w, i);
        int n = 0;

        if (busy_longer(&from->busy, w->now_us, w->own.stuck_us))
            n = harvest(w, from, 0);
        OWN_ADD(&w->stats, rescued, n > 0 ? (uint64_t)n : 0);
        if (deque_len(&w->ready) > 0)
            return true;
    }
    return false;
}

/* How long we may sleep: until the soonest deadline. */
static int wait_ms(struct worker *w)
{
    return service_wait_ms(&w->sv, w->now_ms,
                           wheel_wait_ms(&w->wheel, w->now_ms), w->retry_ms);
}

/* Nothing of our own to do: search, and sleep if there is nothing anywhere. */
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
    /* Announce it first, then look once more: what was pushed before that is
     * seen here, and a thread that pushes later sees us and wakes us.  The same
     * for the set of a sibling that is stuck. */
    park_enter(p, w->seat->n, w->searching);
    w->searching = false;
    if (work_elsewhere(w) || rescue(w)) {
        park_cancel(p, w->seat->n);
        w->searching = true;
        return;
    }
    OWN_ADD(&w->stats, parks, 1);
    harvest_own(w, wait_ms(w));
    w->searching = park_leave(p, w->seat->n);
}

/* What home does for its connections, whoever runs them. */
static void upkeep(struct worker *w)
{
    w->has_upkeep = false;
    tick(w);
    take_returns(w);
    expire(w); /* after the events: what was heard just now is not late */
    if (service_draining(&w->sv))
        drain(w);
    accept_watch(w);
    service_tick(&w->sv);
}

/* No connection is left, ours or another worker's: until then we help. */
static bool finished(struct worker *w)
{
    return service_over(&w->sv) ||
           (w->draining && team_shut(&w->server->team) &&
            team_empty(&w->server->team));
}

/* Our set is harvested when our queue is empty, and every HARVEST_US, so that a
 * queue that never empties keeps no socket waiting; not between any two
 * handlers, as that costs a system call.  An empty queue after a poor harvest
 * is no reason for another: to sleep is to wait in the set anyhow (idle). */
static void worker_loop(struct worker *w)
{
    bool alone = w->own.steal == STEAL_OFF;

    while (!finished(w)) {
        bool empty;

        upkeep(w);
        empty = deque_len(&w->ready) == 0;
        if (w->now_us - w->harvested_us >= HARVEST_US ||
            (empty && (alone || w->rich)))
            harvest_own(w, alone && empty ? wait_ms(w) : 0);
        if (!run(w, NULL) && !alone && !w->has_upkeep)
            idle(w);
    }
}

/* The sets of workers that are stuck now go into the sentinel's own.  True: a
 * worker is in a handler, and its set is not in there. */
static bool sentinel_look(struct server *v, bool *watched)
{
    int64_t now_us = clock_us();
    bool looks = false;

    for (int i = 0; i < v->team.n_workers; i++) {
        struct worker *w = v->team.seats[i].worker;
        struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.fd = i};

        if (!watched[i] && busy_longer(&w->busy, now_us, v->own.stuck_us)) {
            watched[i] =
                epoll_ctl(v->sentinel.epoll, EPOLL_CTL_ADD, w->epoll, &ev) == 0;
            if (!watched[i]) /* no memory: an idle worker may look */
                wake_one(v);
        }
        looks |= !watched[i] && busy_now(&w->busy);
    }
    return looks;
}

/* Sleeps for us microseconds, or for good if negative.  Readiness in a set that
 * is watched is for an idle worker, if its owner is still stuck; else the owner
 * takes it, and the set is watched no more. */
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
            continue; /* a handler has begun: look */
        if (busy_longer(&w->busy, clock_us(), v->own.stuck_us)) {
            wake_one(v);
            continue;
        }
        epoll_ctl(v->sentinel.epoll, EPOLL_CTL_DEL, w->epoll, NULL);
        watched[k] = false;
    }
}

/* A worker that is stuck cannot say so, and one that sleeps cannot see it.  So
 * one more thread looks at all of them every so often while any is in a handler
 * (Go's sysmon does the same for its Ps).  How it goes to sleep without missing
 * a handler: busy.h. */
static void *sentinel_main(void *arg)
{
    struct server *v = arg;
    bool watched[PARK_WORKERS] = {false};
    int64_t us = v->own.stuck_us;
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
        us = sleeps ? v->own.stuck_us : 2 * us;
        if (us > LOOKS_SLOWER * v->own.stuck_us)
            us = LOOKS_SLOWER * v->own.stuck_us;
    }
    return NULL;
}

/* ------------------------------------------------------------------ main */

/* Zeroed pages, touched as they are used. */
static void *own_pages(size_t size)
{
    void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (mem == MAP_FAILED)
        die("stage6: no memory for a worker");
    return mem;
}

/* In its own thread: a ring for DEFER_TASKRUN knows only its maker. */
static struct worker *worker_new(struct seat *seat)
{
    struct worker *w = own_pages(sizeof *w);
    struct server *v = container_of(seat->team, struct server, team);
    unsigned room;

    *w = (struct worker){.seat = seat, .server = v, .own = v->own};
    seat_service(seat, &w->sv);
    uring_open(&w->ring, "stage6", &w->own.uring, BATCH);
    room = io_uring_sq_space_left(&w->ring);
    w->batch_most = room < BATCH ? (int)room : BATCH;
    disk_open(&w->disk, "stage6");
    deque_init(&w->ready);
    mpsc_init(&w->returns);
    w->conns = own_pages((size_t)w->sv.opt.max_conns * sizeof *w->conns);
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (w->epoll < 0 || !watch(w, seat->eventfd, EPOLLIN, 0, EVENT_WAKE) ||
        (disk_fd(&w->disk) >= 0 &&
         !watch(w, disk_fd(&w->disk), EPOLLIN, 0, EVENT_DISK)) ||
        !watch(w, w->sv.signal, EPOLLIN | EPOLLET, 0, EVENT_SIGNAL))
        die("stage6: epoll: %s", strerror(errno));
    tick(w);
    wheel_init(&w->wheel, w->now_ms);
    stats_register(&w->stats, seat->n);
    seat->worker = w;
    return w;
}

/* When no worker runs any more.  *w stays: the registry of counters has it. */
static void worker_free(struct worker *w)
{
    io_uring_queue_exit(&w->ring);
    w->seat->stuck = disk_close(&w->disk) > 0;
    for (int i = 0; i < w->n_used && !w->seat->stuck; i++)
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

static error_t own_switch(int key, char *arg, struct argp_state *state)
{
    static const char *const pin[] = {"on", "off", NULL};
    struct choice *own = state->input;

    if (key == 'P')
        own->pin = option_choice(state, "--pin", arg, pin);
    else if (key == 'l')
        own->place = option_choice(state, "--place", arg, deal_names);
    else if (key == 's')
        own->steal = option_choice(state, "--steal", arg, steal_names);
    else if (key == 'u')
        own->stuck_us = option_int(state, "--stuck-us", arg, 1, 1000000);
    else
        return uring_switch(key, arg, state, &own->uring);
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
    service_ready(&v->service,
                  "%d workers, place %s, steal %s, taskrun %s, lines of %d",
                  t->n_workers, deal_names[t->deal], steal_names[v->own.steal],
                  first->own.uring.taskrun, PAD);
}

/* From the sizes to the end of all workers. */
static void server_run(struct server *v)
{
    struct team *t = &v->team;
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = -1};
    bool watched, whole;
    pthread_t thread;

    if (v->service.opt.max_conns > EVENT_LISTENER)
        v->service.opt.max_conns = EVENT_LISTENER;
    team_size(t, PARK_WORKERS, uring_afford(2), 6);
    lockable_divide(t->n_workers, 2); /* the batch ring, the disk */
    if (t->n_workers == 1)
        v->own.steal = STEAL_OFF; /* from whom? */
    watched = v->own.steal == STEAL_ALL;
    team_listen(t);
    park_init(&v->park, t->n_workers);
    team_start(t, worker_main);
    v->sentinel.epoll = epoll_create1(EPOLL_CLOEXEC);
    v->sentinel.eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (epoll_ctl(v->sentinel.epoll, EPOLL_CTL_ADD, v->sentinel.eventfd, &ev))
        die("stage6: eventfd: %s", strerror(errno));
    if (watched)
        team_thread(t, &thread, -1, sentinel_main, v);
    server_describe(v);
    team_run(t);
    a_store(&v->over, true, seq_cst);
    eventfd_write(v->sentinel.eventfd, 1);
    if (watched)
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
        URING_SWITCHES,
        {0}};
    static const struct argp own = {.options = switches, .parser = own_switch};
    static struct server v = {
        .own = {.uring.taskrun = "defer", .steal = STEAL_ALL, .stuck_us = 100}};

    stats_own(own_metrics, OWN_COUNTERS);
    service_open(&v.service, "stage6", "Stage 6: idle cores help.", argc, argv,
                 &own, &v.own);
    v.team = (struct team){.service = &v.service,
                           .deal = (enum deal_by)v.own.place,
                           .unpinned = v.own.pin};
    server_run(&v);
    return 0;
}
