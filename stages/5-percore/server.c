/* Stage 5: a ring, a listener and a pool for every core.
 *
 * What stage 4 could not do: use a second core.
 *
 *      core 0                            core 1
 *      ------                            ------
 *      listener, ring, arena,            listener, ring, arena,
 *      wheel, connections                wheel, connections
 *        v      ^ (--pool)                 v      ^
 *      helpers of core 0                 helpers of core 1
 *
 * The one new idea: share nothing.  Stage 4 runs once on every core, pinned;
 * the kernel deals out the connections (SO_REUSEPORT).  No word that a worker
 * writes for a request is read by another: no lock to wait for, no cache line
 * to fight over.  Who sits where: topology.h.  With --pool (pool.h) helpers run
 * the requests, and give them back to the owner: only it may use its ring.
 *
 * Kernel features: those of stage 4, SO_REUSEPORT (3.9), MSG_RING (5.18).
 *
 * Invariants: those of stage 4 for every worker by itself, and
 *  - A connection lives and dies on one worker.  While a helper has it
 *    (OP_POOL) nobody else looks into it, and its deadline stands still.
 *
 * What is still wrong: the hash does not know what a request costs.  When the
 * load is uneven one core drowns while the others sleep.
 */

/* -------------------------------------------------------------- includes */

#include <errno.h>
#include <liburing.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "container_of.h"
#include "net.h"
#include "service.h"
#include "timer_wheel.h"
#include "topology.h"

/* ------------------------------------------------------------ connection */

enum op { OP_NONE, OP_RECV, OP_SEND, OP_READ, OP_POOL };

struct conn {
    struct session s;
    struct job job; /* for the pool */
    struct timer timer;
    LIST_ENTRY(conn) link;      /* on w->live */
    STAILQ_ENTRY(conn) waiting; /* on w->waiting */
    int fd;
    uint32_t place;  /* in w->conns */
    uint32_t turn;   /* s.turn when the deadline was last set */
    uint64_t acked;  /* for net_grace_ms() */
    enum op op;      /* the operation in flight */
    bool more;       /* the last receive left bytes in the socket */
    int64_t rest_ms; /* until its deadline, while a helper has it */
};

/* Made by its own thread, on its own core; others read the counters only. */
struct worker {
    struct stats stats; /* first: on lines of its own */
    struct seat *seat;
    struct service sv; /* a copy */
    struct own_options own;
    struct arena arena;
    struct timer_wheel wheel;
    struct conn *conns; /* max_conns of them; one never used costs nothing */
    LIST_HEAD(, conn) live, spare;
    STAILQ_HEAD(, conn) waiting; /* found no piece, or no room in the SQ */
    int n_conns;
    struct io_uring ring;
    int listener;
    int accepts;              /* armed */
    bool serving;             /* no drain yet */
    int64_t now_ms, retry_ms; /* the loop's clock; when to accept again */
    int64_t held_ms;          /* that handlers held the loop: see service.h */
    int grace;                /* turns left once the drain is over */
};

/* The peer has another --idle-timeout from here on.  (same as 4-fixed) */
static void conn_touch(struct worker *w, struct conn *c)
{
    c->turn = c->s.turn;
    wheel_set(&w->wheel, &c->timer, w->now_ms + w->sv.opt.idle_ms);
}

static struct conn *conn_new(struct worker *w, int fd)
{
    struct conn *c = LIST_FIRST(&w->spare);
    uint32_t place = c ? c->place : (uint32_t)w->n_conns; /* the first unused */

    CHECK(w->n_conns < w->seat->max_conns); /* accept_arm sees to it */
    if (c)
        LIST_REMOVE(c, link);
    c = &w->conns[place];
    *c = (struct conn){.fd = fd, .place = place, .more = true};
    session_init(&c->s, &w->sv.app);
    c->job = (struct job){.crew = &w->seat->crew, .s = &c->s};
    conn_touch(w, c);
    LIST_INSERT_HEAD(&w->live, c, link);
    w->n_conns++;
    STAT_ADD(&w->stats, accepted, 1);
    return c;
}

/* The single path to close: nothing of this connection is in flight here. */
static void conn_close(struct worker *w, struct conn *c)
{
    CHECK(c->op == OP_NONE);
    LIST_REMOVE(c, link);
    wheel_cancel(&w->wheel, &c->timer);
    net_close(c->fd);
    arena_reclaim(&w->arena, &c->s.in);
    arena_reclaim(&w->arena, &c->s.out);
    session_end(&c->s);
    LIST_INSERT_HEAD(&w->spare, c, link);
    w->n_conns--;
    STAT_ADD(&w->stats, closed, 1);
}

/* ---------------------------------------------------------------- engine */

/* The place for a connection's next operation; conn_run has seen to it that
 * there is one.  (same as 4-fixed) */
static struct io_uring_sqe *conn_sqe(struct worker *w, struct conn *c,
                                     enum op op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

    io_uring_sqe_set_data(sqe, c);
    c->op = op;
    return sqe;
}

/* Asks for whatever arrives next, and names memory for it only if half a
 * request is there already. */
static void conn_recv(struct worker *w, struct conn *c)
{
    struct io_uring_sqe *sqe = conn_sqe(w, c, OP_RECV);

    if (c->s.fin)
        shutdown(c->fd, SHUT_WR);
    if (service_draining(&w->sv) && !session_in_flight(&c->s))
        shutdown(c->fd, SHUT_RD);
    prep_recv(&w->own, sqe, c->fd, &c->s.in, c->more);
    STAT_ADD(&w->stats, recvs, 1);
}

static void recv_done(struct worker *w, struct conn *c, int n, unsigned flags)
{
    if (n == 0)
        c->s.eof = true;
    c->more = flags & IORING_CQE_F_SOCK_NONEMPTY;
    buf_commit(&c->s.in, (size_t)n);
    STAT_ADD(&w->stats, bytes_in, (uint64_t)n);
}

static void conn_send(struct worker *w, struct conn *c)
{
    struct io_uring_sqe *sqe = conn_sqe(w, c, OP_SEND);

    prep_send(&w->arena, sqe, c->fd, &c->s.out);
    STAT_ADD(&w->stats, sends, 1);
}

/* A short send is legal: what is left goes with the next one. */
static void send_done(struct worker *w, struct conn *c, int n)
{
    conn_touch(w, c);
    buf_consume(&c->s.out, (size_t)n);
    if (buf_len(&c->s.out) == 0) /* another piece next: this may be pinned */
        arena_reclaim(&w->arena, &c->s.out);
    STAT_ADD(&w->stats, bytes_out, (uint64_t)n);
}

/* Files complete like sockets do.  A page that is not cached is fetched by a
 * thread of the kernel's, and this loop goes on.  (same as 4-fixed) */
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

/* To a helper, whom no deadline hurries. */
static void conn_hand(struct worker *w, struct conn *c)
{
    c->op = OP_POOL;
    c->rest_ms = c->timer.when_ms - w->now_ms;
    wheel_cancel(&w->wheel, &c->timer);
    OWN_ADD(&w->stats, handed, 1);
    pool_hand(&c->job);
}

/* Does what the session wants of its owner. */
static void conn_act(struct worker *w, struct conn *c, enum want want)
{
    if (c->turn != c->s.turn)
        conn_touch(w, c);
    if (!windows_settle(&w->arena, &c->s, want))
        want = WANT_CLOSE;
    if (want == WANT_RECV)
        conn_recv(w, c);
    else if (want == WANT_SEND)
        conn_send(w, c);
    else if (want == WANT_FILE)
        conn_file(w, c);
    else if (want == WANT_WORK)
        conn_hand(w, c);
    else
        conn_close(w, c);
}

/* Leads the conversation on until its next operation is on its way; without a
 * piece or a place for that it waits and is run again when there is one. */
static void conn_run(struct worker *w, struct conn *c)
{
    if (uring_room(&w->ring, &w->stats) && arena_lend(&w->arena, &c->s.out))
        return conn_act(
            w, c,
            pool_step(&w->seat->server->pool, &c->s, &w->stats, &w->held_ms));
    if (c->s.in.mem) /* first in line: it holds a piece that others wait for */
        STAILQ_INSERT_HEAD(&w->waiting, c, waiting);
    else
        STAILQ_INSERT_TAIL(&w->waiting, c, waiting);
}

/* From the helpers.  Who finds no place is run again: it wants the same. */
static void take_returns(struct worker *w)
{
    for (struct job *job = pool_back(&w->seat->crew), *next; job; job = next) {
        struct conn *c = container_of(job, struct conn, job);

        next = job_next(job);
        c->op = OP_NONE;
        wheel_set(&w->wheel, &c->timer, w->now_ms + c->rest_ms);
        if (uring_room(&w->ring, &w->stats))
            conn_act(w, c, job->want);
        else
            conn_run(w, c);
    }
}

/* The operation in flight has come back: its memory is ours again. */
static void conn_done(struct worker *w, struct conn *c, int res, unsigned flags)
{
    enum op op = c->op;
    bool open = true;

    c->op = OP_NONE;
    if (flags & IORING_CQE_F_BUFFER)
        arena_got(&w->arena, flags >> IORING_CQE_BUFFER_SHIFT, &c->s.in);
    if (res == -ENOBUFS && op == OP_RECV) {
        OWN_ADD(&w->stats, enobufs, 1);
        c->more = true; /* next time it takes the piece at once */
        STAILQ_INSERT_TAIL(&w->waiting, c, waiting);
        return;
    }
    if (res == -EAGAIN && op == OP_SEND) /* a slow reader */
        open = arena_spill(&w->arena, &c->s);
    else if (res == -EINTR || res == -EAGAIN)
        ; /* nothing happened: the step asks for the same again */
    else if (op == OP_READ)
        session_file(&c->s, res);
    else if (res >= 0 && op == OP_RECV)
        recv_done(w, c, res, flags);
    else if (res >= 0)
        send_done(w, c, res);
    else
        open = false;
    if (!open)
        return conn_close(w, c);
    conn_run(w, c);
}

/* ---------------------------------------------------------------- worker */

/* Arms accepts while there is room for what they bring: a full server leaves
 * its peers in the backlog. */
static void accept_arm(struct worker *w)
{
    int open = seat_holds(w->seat, w->n_conns);

    while (w->listener >= 0 && w->accepts < uring_accepts() &&
           open + w->accepts < w->seat->max_conns && w->retry_ms <= w->now_ms &&
           uring_room(&w->ring, &w->stats)) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

        uring_accept(sqe, w->listener);
        io_uring_sqe_set_data(sqe, &w->listener);
        w->accepts++;
    }
    if (w->accepts == 0 && open > w->n_conns && w->retry_ms <= w->now_ms)
        w->retry_ms = w->now_ms + RETRY_MS; /* nobody says: there is room */
}

/* Out of descriptors or memory: a pause. */
static void accept_done(struct worker *w, int res)
{
    w->accepts--;
    if (res >= 0 && !seat_deal(w->seat, &w->ring, &w->stats, res))
        conn_run(w, conn_new(w, res));
    if (res >= 0 || w->listener < 0 || !net_accept_later(res))
        return; /* fine, or the peer left already, or we are leaving */
    STAT_ADD(&w->stats, refused, 1);
    w->retry_ms = w->now_ms + RETRY_MS;
}

/* Whoever stands in line may have asked already: in, as far as there are free
 * places.  The accepts that are armed have theirs, and will bring somebody. */
static void accept_last(struct worker *w)
{
    for (int n = net_last(w->listener);
         n > 0 &&
         seat_holds(w->seat, w->n_conns) + w->accepts < w->seat->max_conns;
         n--) {
        int fd = net_accept(w->listener, false);

        if (fd < 0)
            return;
        w->accepts++;
        accept_done(w, fd);
    }
}

/* Whoever is late is shut down, and then leaves through its own completion. */
static void expire(struct worker *w)
{
    struct timer *t;

    while ((t = wheel_expired(&w->wheel, w->now_ms)) != NULL) {
        struct conn *c = container_of(t, struct conn, timer);
        int64_t more =
            net_grace_ms(c->fd, c->op == OP_RECV, w->sv.opt.idle_ms, &c->acked);

        if (more > 0) { /* looked at first: it is not late yet */
            wheel_set(&w->wheel, t, w->now_ms + more);
            continue;
        }
        shutdown(c->fd, SHUT_RDWR);
        STAT_ADD(&w->stats, timeouts, 1);
    }
}

/* SHUT_RD lets what has arrived be read and then reports the end: an idle peer
 * is sent away, a request that is already here is still answered.  Past the
 * drain timeout SHUT_RDWR brings back whatever is still in flight. */
static void drain(struct worker *w, int how)
{
    struct conn *c;

    w->serving = false;
    accept_last(w);
    net_unlisten(&w->listener);
    LIST_FOREACH (c, &w->live, link)
        if (how == SHUT_RDWR || (c->op != OP_POOL && !session_in_flight(&c->s)))
            shutdown(c->fd, how); /* OP_POOL: conn_recv will see to it */
}

/* Submits what was written and sleeps until something completes: the one
 * system call of a turn. */
static void ring_wait(struct worker *w)
{
    uring_wait(&w->ring, w->sv.name, &w->stats,
               service_wait_ms(
                   &w->sv, w->now_ms, wheel_wait_ms(&w->wheel, w->now_ms),
                   STAILQ_EMPTY(&w->waiting) ? w->retry_ms : w->now_ms + 1));
}

/* In line, as far as the pieces go that have come back: a receive needs one in
 * the ring, an answer one on the stack.  (same as 4-fixed) */
static void run_waiting(struct worker *w)
{
    unsigned in_ring = w->arena.in_ring;
    struct conn *c;

    while ((c = STAILQ_FIRST(&w->waiting)) != NULL &&
           uring_room(&w->ring, &w->stats) && w->arena.n_free > 0 &&
           (c->s.in.mem || in_ring > 0)) {
        STAILQ_REMOVE_HEAD(&w->waiting, waiting);
        in_ring -= !c->s.in.mem;
        conn_run(w, c);
    }
}

static void completion(struct worker *w, const struct io_uring_cqe *cqe)
{
    void *data = io_uring_cqe_get_data(cqe);

    if (data == &w->listener)
        accept_done(w, uring_accepted(w->listener, cqe->res));
    else if (data == &w->sv.signal)
        drain(w, SHUT_RD);
    else if (data == &w->seat->listener || seat_undealt(w->seat, cqe))
        conn_run(w, conn_new(w, seat_fd(cqe)));
    else if (!crew_heard(&w->seat->crew, data) && !(cqe->user_data & 1))
        conn_done(w, data, cqe->res, cqe->flags);
}

static void worker_loop(struct worker *w)
{
    bool dealt = false; /* looked at before a turn, which brings the last */

    while (w->grace > 0 &&
           (w->serving || w->accepts > 0 || w->n_conns > 0 || !dealt)) {
        unsigned n;

        dealt = seat_all_dealt(w->seat, w->serving || w->accepts > 0);
        accept_arm(w);
        crew_listen(&w->seat->crew, &w->ring, &w->stats);
        ring_wait(w);
        w->now_ms = clock_ms() - w->held_ms;
        n = io_uring_cq_ready(&w->ring);
        STAT_ADD(&w->stats, events, n);
        for (struct io_uring_cqe cqe; n > 0; n--) {
            cqe = uring_take(&w->ring);
            completion(w, &cqe);
        }
        take_returns(w);
        run_waiting(w);
        expire(w); /* after the events: who was heard just now is not late */
        service_tick(&w->sv);
        if (service_over(&w->sv) && w->grace-- > 0)
            drain(w, SHUT_RDWR);
    }
}

/* ------------------------------------------------------------------ main */

/* In its own thread: a ring for DEFER_TASKRUN knows only its maker. */
static struct worker *worker_new(struct seat *seat)
{
    struct worker *w = own_lines(_Alignof(struct worker), sizeof *w);
    struct conn *conns = calloc((size_t)seat->max_conns, sizeof *conns);

    if (!conns)
        die("stage5: no memory for a worker");
    *w = (struct worker){.seat = seat, .conns = conns, .serving = true};
    w->listener = seat->listener;
    w->grace = GRACE_TURNS;
    w->now_ms = clock_ms();
    wheel_init(&w->wheel, w->now_ms);
    STAILQ_INIT(&w->waiting);
    seat_open(seat, &w->sv, &w->own, &w->ring, &w->arena, &w->stats);
    return w;
}

static void *worker_main(void *arg)
{
    struct seat *seat = arg;
    struct worker *w = worker_new(seat);

    seat_begin(seat);
    worker_loop(w);
    seat_end(seat, w->n_conns, &w->ring, &w->arena);
    free(w->conns);
    return NULL; /* *w stays: the registry of counters points to it */
}

int main(int argc, char **argv)
{
    static const struct argp own = {.options = own_choice_switches,
                                    .parser = own_choice_switch};
    static struct server v = {
        .own = {.io = {.uring.taskrun = "defer", .buffers = 1024},
                .helpers = 1}};

    stats_own(own_metrics, OWN_COUNTERS);
    service_open(&v.service, "stage5", "Stage 5: a ring for every core.", argc,
                 argv, &own, &v.own);
    server_run(&v, worker_main);
    return 0;
}
