/* Stage 5: a ring, a listener and helpers for every core.
 *
 * What stage 4 could not do: use a second core.
 *
 *      core 0                            core 1
 *      ------                            ------
 *      listener, ring, arena,            listener, ring, arena,
 *      wheel, connections                wheel, connections
 *        v      ^ (--pool N)               v      ^
 *      N helpers                         N helpers
 *
 * The one new idea: share nothing.  Stage 4 runs once on every core, in a
 * pinned thread (parts/launch.h), and the kernel deals out the connections
 * (SO_REUSEPORT).  No word that a worker writes for a request is read by
 * another worker: there is no lock to wait for, no cache line to fight over.
 * With --pool, helpers run the requests (pool.h) and give them back: only the
 * owner of a ring may submit on it.
 *
 * Kernel features: those of stage 4, SO_REUSEPORT (3.9), MSG_RING (5.18).
 *
 * Invariants: those of stage 4 for every worker by itself, and
 *  - A connection lives and dies on one worker.  While a helper has it
 *    (OP_POOL) the worker does not look into it.
 *  - Waiting for a helper, a piece or the ring is not the peer's idleness: the
 *    deadline stands still.
 *
 * What is still wrong: the hash does not know what a request costs.  When the
 * load is uneven, one core has too much to do while the others sleep.
 */

/* -------------------------------------------------------------- includes */

#include <errno.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "container_of.h"
#include "lockable.h"
#include "net.h"
#include "parts/arena.h"
#include "parts/launch.h"
#include "parts/uring.h"
#include "pool.h"
#include "probe.h"
#include "service.h"
#include "switches.h"
#include "timer_wheel.h"

/* ------------------------------------------------------------ connection */

enum op { OP_NONE, OP_RECV, OP_SEND, OP_READ, OP_POOL };

struct conn {
    struct session s;
    struct job job; /* for the helpers */
    struct timer timer;
    LIST_ENTRY(conn) link;      /* on w->live */
    STAILQ_ENTRY(conn) waiting; /* on w->waiting */
    int fd;
    uint32_t restarts; /* s.restarts when the deadline was last set */
    uint64_t acked;    /* for net_grace_ms() */
    enum op op;        /* the operation in flight */
    bool more;         /* the last receive left bytes in the socket */
    bool back;         /* a helper has found out what it wants: job.want */
    int64_t left_ms;   /* to the deadline, while it stands still */
};

/* Made by its own thread, on its own core; others read the counters only. */
struct worker {
    struct stats stats; /* first: on lines of its own */
    struct seat *seat;
    struct crew crew;  /* its helpers, and what it shares with them */
    struct service sv; /* a copy */
    struct uring_options uring;
    struct arena arena;
    struct timer_wheel wheel;
    LIST_HEAD(, conn) live;
    STAILQ_HEAD(, conn) waiting; /* found no piece, or no room in the SQ */
    int n_conns;
    struct io_uring ring;
    bool watched, callable;   /* the ring watches the listener; the eventfd */
    bool peers;               /* some may wait at the listener */
    bool serving;             /* no drain yet */
    int64_t now_ms, retry_ms; /* the loop's clock; when to accept again */
    int64_t held_ms;          /* how long handlers held the loop (service.h) */
    int grace;                /* turns left once the drain is over */
};

/* What main sets up; then it is only read. */
static struct server server = {
    .uring.taskrun = "defer",
    .buffers = 1024,
    .team.service = &server.service,
};

/* Starts the peer's --idle-timeout anew.  (same as 4-fixed) */
static void conn_touch(struct worker *w, struct conn *c)
{
    c->restarts = c->s.restarts;
    wheel_set(&w->wheel, &c->timer, w->now_ms + w->sv.opt.idle_ms);
}

/* Stops the deadline; conn_resume() lets it go on where it stood.  If it began
 * anew, a peer that sends a byte a second would move it with every wait. */
static void conn_pause(struct worker *w, struct conn *c)
{
    c->left_ms = c->timer.when_ms - w->now_ms;
    wheel_cancel(&w->wheel, &c->timer);
}

static void conn_resume(struct worker *w, struct conn *c)
{
    wheel_set(&w->wheel, &c->timer, w->now_ms + c->left_ms);
}

static struct conn *conn_new(struct worker *w, int fd)
{
    struct conn *c = malloc(sizeof *c);

    if (!c)
        return NULL;
    *c = (struct conn){.fd = fd, .more = true, .job.s = &c->s};
    session_init(&c->s, &w->sv.app);
    conn_touch(w, c);
    LIST_INSERT_HEAD(&w->live, c, link);
    w->n_conns++;
    STAT_ADD(&w->stats, accepted, 1);
    PROBE(conn_open, w->stats.worker, c, fd);
    return c;
}

/* The single path to close: nothing of this connection is in flight here. */
static void conn_close(struct worker *w, struct conn *c)
{
    CHECK(c->op == OP_NONE);
    PROBE(conn_close, w->stats.worker, c);
    LIST_REMOVE(c, link);
    wheel_cancel(&w->wheel, &c->timer);
    net_close(c->fd);
    arena_reclaim(&w->arena, &c->s.in);
    arena_reclaim(&w->arena, &c->s.out);
    session_end(&c->s);
    free(c);
    w->n_conns--;
    STAT_ADD(&w->stats, closed, 1);
    team_leave(w->seat->team);
}

/* ---------------------------------------------------------------- engine */

/* The SQE for a connection's next operation: conn_run() has made sure that the
 * SQ has room for it.  (same as 4-fixed) */
static struct io_uring_sqe *conn_sqe(struct worker *w, struct conn *c,
                                     enum op op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

    io_uring_sqe_set_data(sqe, c);
    c->op = op;
    PROBE(submit, c);
    return sqe;
}

/* Asks for whatever arrives next, in a piece that the kernel will choose, or in
 * the window that holds half a request.  When the last receive emptied the
 * socket, trying at once would only fail: POLL_FIRST skips the attempt.
 * (same as 4-fixed) */
static void conn_recv(struct worker *w, struct conn *c)
{
    struct buf *in = &c->s.in;
    struct io_uring_sqe *sqe = conn_sqe(w, c, OP_RECV);

    if (c->s.fin)
        shutdown(c->fd, SHUT_WR);
    if (service_draining(&w->sv) && !session_in_flight(&c->s))
        shutdown(c->fd, SHUT_RD);
    if (in->mem) {
        io_uring_prep_recv(sqe, c->fd, buf_tail(in), buf_room(in), 0);
    } else {
        io_uring_prep_recv(sqe, c->fd, NULL, BUF_SIZE, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = BUF_GROUP;
    }
    if (w->uring.poll_first && !c->more)
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    STAT_ADD(&w->stats, recvs, 1);
}

/* (same as 4-fixed) */
static void recv_done(struct worker *w, struct conn *c, int n, unsigned flags)
{
    if (n == 0)
        c->s.eof = true;
    c->more = flags & IORING_CQE_F_SOCK_NONEMPTY;
    buf_commit(&c->s.in, (size_t)n);
    STAT_ADD(&w->stats, bytes_in, (uint64_t)n);
}

/* A piece must not wait for a reader: MSG_DONTWAIT sends from it what fits now.
 * What is left waits in memory of the connection's own.  (same as 4-fixed) */
static void conn_send(struct worker *w, struct conn *c)
{
    struct buf *out = &c->s.out;
    bool lent = arena_has(&w->arena, out->mem);
    struct io_uring_sqe *sqe = conn_sqe(w, c, OP_SEND);

    io_uring_prep_send(sqe, c->fd, buf_data(out), buf_len(out),
                       MSG_NOSIGNAL | (lent ? MSG_DONTWAIT : 0));
    STAT_ADD(&w->stats, sends, 1);
}

/* A short send is legal: what is left goes with the next one.
 * (same as 4-fixed) */
static void send_done(struct worker *w, struct conn *c, int n)
{
    conn_touch(w, c);
    buf_consume(&c->s.out, (size_t)n);
    STAT_ADD(&w->stats, bytes_out, (uint64_t)n);
}

/* Files complete like sockets do.  (same as 4-fixed) */
static void conn_file(struct worker *w, struct conn *c)
{
    struct session *s = &c->s;
    struct io_uring_sqe *sqe = conn_sqe(w, c, OP_READ);
    unsigned n = (unsigned)session_file_want(s);
    void *to = buf_tail(&s->out);

    if (arena_fixed(&w->arena, to))
        io_uring_prep_read_fixed(sqe, s->file.fd, to, n, s->file.off, 0);
    else
        io_uring_prep_read(sqe, s->file.fd, to, n, s->file.off);
    STAT_ADD(&w->stats, reads, 1);
}

/* Gives back pieces that are empty, or that would wait for the peer.
 * (same as 4-fixed) */
static bool windows_settle(struct worker *w, struct session *s, enum want want)
{
    struct arena *a = &w->arena;

    if (buf_len(&s->in) == 0)
        arena_reclaim(a, &s->in);
    if (want == WANT_RECV)
        arena_reclaim(a, &s->out);
    if (want == WANT_RECV || (want == WANT_FILE && arena_low(a)))
        return arena_spill(a, s);
    return true;
}

/* Hands the connection to the helpers.  When pieces are few it moves to memory
 * of its own first: a handler must not hold pieces that others need. */
static void conn_hand(struct worker *w, struct conn *c)
{
    if (arena_low(&w->arena) && !arena_spill(&w->arena, &c->s))
        return conn_close(w, c);
    c->op = OP_POOL;
    conn_pause(w, c);
    OWN_ADD(&w->stats, handed, 1);
    PROBE(ready, w->stats.worker, c, PATH_LOCAL);
    pool_hand(&w->crew, &c->job);
}

/* What the session wants of its worker.  With helpers, bytes that have arrived
 * are work for them; the worker only goes on with an answer that has begun. */
static enum want conn_step(struct worker *w, struct conn *c)
{
    bool arrived = buf_len(&c->s.in) > 0 && buf_len(&c->s.out) == 0;

    if (c->back) {
        c->back = false;
        return c->job.want;
    }
    return arrived && w->crew.n > 0 ? WANT_WORK
                                    : session_step(&c->s, &w->stats);
}

/* In line for a piece, or for room in the SQ.  A connection that holds a piece
 * goes first: others wait for that piece. */
static void conn_wait(struct worker *w, struct conn *c)
{
    conn_pause(w, c);
    if (c->s.in.mem)
        STAILQ_INSERT_HEAD(&w->waiting, c, waiting);
    else
        STAILQ_INSERT_TAIL(&w->waiting, c, waiting);
}

/* Leads the conversation on until its next operation is in the SQ.  Without a
 * piece, or room in the SQ, the connection waits and is run again later. */
static void conn_run(struct worker *w, struct conn *c)
{
    PROBE(run, w->stats.worker, c);
    while (uring_make_room(&w->ring, &w->stats) &&
           arena_lend(&w->arena, &c->s.out)) {
        enum want want = conn_step(w, c);

        if (c->restarts != c->s.restarts)
            conn_touch(w, c);
        if (!windows_settle(w, &c->s, want))
            want = WANT_CLOSE;
        switch (want) {
        case WANT_RECV:
            return conn_recv(w, c);
        case WANT_SEND:
            return conn_send(w, c);
        case WANT_FILE:
            return conn_file(w, c);
        case WANT_WORK:
            if (w->crew.n > 0)
                return conn_hand(w, c);
            w->held_ms += service_work(&c->s, &w->stats);
            break;
        case WANT_CLOSE:
            return conn_close(w, c);
        }
    }
    conn_wait(w, c);
}

/* The operation in flight has come back: its memory is ours again. */
static void conn_done(struct worker *w, struct conn *c, int res, unsigned flags)
{
    enum op op = c->op;

    PROBE(complete, c, res);
    c->op = OP_NONE;
    if (flags & IORING_CQE_F_BUFFER)
        arena_got(&w->arena, flags >> IORING_CQE_BUFFER_SHIFT, &c->s.in);
    if (res == -ENOBUFS && op == OP_RECV) {
        OWN_ADD(&w->stats, enobufs, 1);
        c->more = true; /* next time it takes the piece at once */
        return conn_wait(w, c);
    }
    if (res == -EINTR || (res == -EAGAIN && op != OP_SEND))
        ; /* nothing happened: the step asks for the same again */
    else if (res == -EAGAIN && arena_spill(&w->arena, &c->s))
        ; /* a slow reader: the same send, from memory that may wait */
    else if (op == OP_READ)
        session_file(&c->s, uring_file(&c->s, res));
    else if (res >= 0 && op == OP_RECV)
        recv_done(w, c, res, flags);
    else if (res >= 0)
        send_done(w, c, res);
    else
        return conn_close(w, c);
    conn_run(w, c);
}

/* ---------------------------------------------------------------- worker */

/* Asks for a completion when *fd becomes readable, unless *watched. */
static void watch(struct worker *w, int *fd, bool *watched)
{
    if (*watched || *fd < 0 || !uring_make_room(&w->ring, &w->stats))
        return;
    uring_watch(&w->ring, fd);
    *watched = true;
}

/* Begins a connection, with its permit.  Without memory accepting pauses. */
static void conn_begin(struct worker *w, int fd)
{
    struct conn *c = conn_new(w, fd);

    if (c)
        return conn_run(w, c);
    net_close(fd);
    team_leave(w->seat->team);
    STAT_ADD(&w->stats, refused, 1);
    w->retry_ms = w->now_ms + RETRY_MS;
}

/* An accept that waits in a ring would keep its permit from other workers.  So
 * the ring only watches the listener, and plain calls accept the peers that
 * wait there.  Without descriptors accepting pauses. */
static void accept_peers(struct worker *w)
{
    int most = ACCEPTS, fd = 0;

    while (w->peers && w->retry_ms <= w->now_ms && most-- > 0) {
        fd = seat_accept(w->seat, false);
        if (fd >= 0) {
            conn_begin(w, fd);
        } else if (fd == -EAGAIN) {
            w->peers = false;
        } else if (fd == -EBUSY) { /* full: see called() */
            return;
        } else {
            STAT_ADD(&w->stats, refused, 1);
            w->retry_ms = w->now_ms + RETRY_MS;
        }
    }
    if (w->retry_ms <= w->now_ms && !w->seat->shut)
        watch(w, &w->seat->listener, &w->watched);
}

/* A peer that is late is shut down, and leaves through its own completion.
 * (same as 3-uring) */
static void expire(struct worker *w)
{
    struct timer *t;

    while ((t = wheel_expired(&w->wheel, w->now_ms)) != NULL) {
        struct conn *c = container_of(t, struct conn, timer);
        int64_t more =
            net_grace_ms(c->fd, c->op == OP_RECV, w->sv.opt.idle_ms, &c->acked);

        if (more > 0) { /* not late yet */
            wheel_set(&w->wheel, t, w->now_ms + more);
            continue;
        }
        shutdown(c->fd, SHUT_RDWR);
        STAT_ADD(&w->stats, timeouts, 1);
    }
}

/* After SHUT_RD recv returns what has arrived, then reports the end: an idle
 * connection ends, a request that has arrived is still answered.  After the
 * drain timeout SHUT_RDWR completes what is still in flight. */
static void drain(struct worker *w, int how)
{
    struct conn *c;

    w->peers = true; /* look at the listener again */
    w->serving = false;
    LIST_FOREACH (c, &w->live, link)
        if (how == SHUT_RDWR || (c->op != OP_POOL && !session_in_flight(&c->s)))
            shutdown(c->fd, how); /* OP_POOL: conn_recv will see to it */
}

/* Are there pieces for the first in line?  in_ring: those for receives; an
 * answer needs one of the stack, unless it has one. */
static bool line_moves(const struct worker *w, unsigned in_ring)
{
    const struct conn *c = STAILQ_FIRST(&w->waiting);

    return c && (c->s.out.mem || w->arena.n_free > 0) &&
           (c->back || c->s.in.mem || in_ring > 0);
}

/* Submits what was written and sleeps until something completes: the one system
 * call of a turn.  A connection in line needs no timer: pieces come back in a
 * turn, and if one came back in this turn there is no sleep. */
static void ring_wait(struct worker *w)
{
    int ms =
        line_moves(w, w->arena.in_ring)
            ? 0
            : service_wait_ms(&w->sv, w->now_ms,
                              wheel_wait_ms(&w->wheel, w->now_ms), w->retry_ms);
    struct __kernel_timespec ts = {ms / 1000, ms % 1000 * 1000000LL};
    struct io_uring_cqe *cqe;
    int err;

    OWN_ADD(&w->stats, cq_overflow, uring_overflows(&w->ring));
    PROBE(park, w->stats.worker, ms);
    err = io_uring_submit_and_wait_timeout(&w->ring, &cqe, 1,
                                           ms < 0 ? NULL : &ts, NULL);
    STAT_ADD(&w->stats, waits, 1);
    uring_entered(w->sv.name, err);
}

/* Runs the connections in line while there are pieces. */
static void run_waiting(struct worker *w)
{
    unsigned in_ring = w->arena.in_ring;
    struct conn *c;

    while (line_moves(w, in_ring) && uring_make_room(&w->ring, &w->stats)) {
        c = STAILQ_FIRST(&w->waiting);
        STAILQ_REMOVE_HEAD(&w->waiting, waiting);
        in_ring -= !c->back && !c->s.in.mem;
        conn_resume(w, c);
        conn_run(w, c);
    }
}

/* Takes the jobs that the helpers have given back. */
static void take_returns(struct worker *w)
{
    struct mpsc_node *node = pool_back(&w->crew);

    while (node) {
        struct conn *c = container_of(node, struct conn, job.node);

        node = node->next;
        c->op = OP_NONE;
        c->back = true;
        conn_resume(w, c);
        conn_run(w, c);
    }
}

/* The eventfd: a permit may be free. */
static void called(struct worker *w)
{
    seat_clear_wake(w->seat);
    w->callable = false;
    w->peers = true;
}

static void completion(struct worker *w, struct io_uring_cqe cqe)
{
    void *data = io_uring_cqe_get_data(&cqe);

    if (data == &w->seat->listener)
        w->watched = !(w->peers = true);
    else if (data == &w->seat->eventfd)
        called(w);
    else if (data == &w->sv.signal)
        drain(w, SHUT_RD);
    else if (data != &w->crew) /* take_returns() follows */
        conn_done(w, data, cqe.res, cqe.flags);
}

/* In a drain: shuts the listener once no peer waits there.  True when then no
 * connection is left. */
static bool end_drain(struct worker *w)
{
    if (w->serving)
        return false;
    if (!w->peers)
        seat_shut(w->seat);
    return w->grace <= 0 || (w->seat->shut && w->n_conns == 0);
}

static void worker_loop(struct worker *w)
{
    while (!end_drain(w)) {
        unsigned n;

        accept_peers(w);
        watch(w, &w->seat->eventfd, &w->callable);
        ring_wait(w);
        w->now_ms = clock_ms() - w->held_ms;
        n = io_uring_cq_ready(&w->ring);
        PROBE(unpark, w->stats.worker, n);
        STAT_ADD(&w->stats, events, n);
        while (n-- > 0)
            completion(w, uring_take(&w->ring));
        take_returns(w);
        run_waiting(w);
        expire(w); /* after the events: a peer heard just now is not late */
        service_tick(&w->sv);
        if (service_over(&w->sv) && w->grace-- > 0)
            drain(w, SHUT_RDWR);
    }
}

/* ------------------------------------------------------------------ main */

/* In its own thread: only the maker of a DEFER_TASKRUN ring may enter it. */
static struct worker *worker_new(struct seat *seat)
{
    struct worker *w = aligned_zeroed(_Alignof(struct worker), sizeof *w);
    int conns = server.service.opt.max_conns / server.team.n_workers;

    *w = (struct worker){.seat = seat, .serving = true, .uring = server.uring};
    seat_service(seat, &w->sv);
    /* Roughly: where the hash is uneven the CQ is too small, and slower. */
    uring_open(&w->ring, w->sv.name, &w->uring, conns);
    w->arena.n = server.buffers;
    arena_open(&w->arena, &w->ring, w->sv.name, 0);
    uring_watch(&w->ring, &w->sv.signal);
    STAILQ_INIT(&w->waiting);
    stats_register(&w->stats, seat->n);
    w->now_ms = clock_ms();
    wheel_init(&w->wheel, w->now_ms);
    w->grace = GRACE_TURNS;
    pool_open(&w->crew, seat, server.helpers, &w->ring);
    seat->worker = w;
    return w;
}

static void *worker_main(void *arg)
{
    struct seat *seat = arg;
    struct worker *w = worker_new(seat);

    seat_begin(seat);
    worker_loop(w);
    seat->in_use = w->n_conns > 0; /* a helper or the kernel may still write */
    if (!seat->in_use) {
        pool_close(&w->crew);
        io_uring_queue_exit(&w->ring);
        arena_free(&w->arena);
    }
    seat_end(seat);
    return NULL; /* *w stays: the registry of counters points to it */
}

/* A line for each worker: the proof that nothing is shared. */
static void describe(const struct seat *seat)
{
    const struct worker *w = seat->worker;

    fprintf(stderr, "stage5: worker %d: cpu ", seat->n);
    fprintf(stderr, seat->cpu < 0 ? "any" : "%d", seat->cpu);
    fprintf(stderr, ", ring %d, listener %d, helpers: %d", w->ring.ring_fd,
            seat->listener, w->crew.n);
    pool_print(&w->crew);
    fputc('\n', stderr);
}

int main(int argc, char **argv)
{
    struct team *team = &server.team;
    const struct worker *w;

    stats_own(own_metrics, OWN_COUNTERS);
    service_open(&server.service, "stage5", "Stage 5: a ring for every core.",
                 argc, argv, &switches_argp, &server);
    team_size(team, TEAM_MOST, uring_afford(2), 4 + server.helpers);
    lockable_divide(team->n_workers, 4); /* three quarters for the arena */
    team_listen(team);
    team_start(team, worker_main);
    for (int i = 0; i < team->n_workers; i++)
        describe(&team->seats[i]);
    w = team->seats[0].worker;
    service_ready(&server.service,
                  "%d workers, %d helpers each, taskrun %s, CQ %u, "
                  "POLL_FIRST %s, %u of %u pieces fixed",
                  team->n_workers, w->crew.n, w->uring.taskrun, w->uring.cq,
                  w->uring.poll_first ? "yes" : "no", w->arena.n_fixed,
                  w->arena.n);
    team_run(team);
    service_close(&server.service);
    if (!team_join(team))
        _exit(0); /* the kernel may still write to this memory: free none */
    return 0;
}
