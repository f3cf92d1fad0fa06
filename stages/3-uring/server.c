/* Stage 3: start and finish part company.
 *
 * What stage 2 could not do: wait for a file, and do a hundred requests with
 * one system call.  epoll says that a call would not block; the call still has
 * to be made, one by one.
 *
 *      one thread                              the kernel
 *      ----------                              ----------
 *      write operations into the SQ  --.
 *      io_uring_enter: submit, wait    '---->  does them, now or when it can
 *      for each completion in the CQ <-------  puts the results here
 *          step, write the next operation
 *      timers; and round again
 *
 * The one new idea: completion.  An operation is handed over whole, with the
 * memory it needs; until its result comes back, that memory is the kernel's.
 * One system call a turn submits everything and waits for everything.
 *
 * Kernel features: FAST_POLL (5.7), EXT_ARG (5.11); and if it has them,
 * POLL_FIRST (5.19), SINGLE_ISSUER (6.0), DEFER_TASKRUN (6.1).
 *
 * Invariants
 *  - At most one operation in flight for a connection, and user_data is the
 *    connection: it is freed only while it handles a completion of its own, so
 *    no completion can be for a connection that is gone.
 *  - The CQ has room for a completion of every connection: it cannot overflow.
 *  - Accepts are one-shot and armed only while there is room for the result:
 *    --max-conns holds exactly.
 *
 * What is still wrong: two windows of memory a connection, also for those that
 * say nothing, because the memory must be there before the bytes are.  Stage 4
 * lets the kernel choose the memory when they arrive.
 */

/* -------------------------------------------------------------- includes */

#include <errno.h>
#include <fcntl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "container_of.h"
#include "net.h"
#include "parts/uring.h"
#include "probe.h"
#include "service.h"
#include "timer_wheel.h"

/* clang-format off */
#define OWN_LIST(X)                                                            \
    X(cq_overflow, counter, "completions that overflowed the queue")
/* clang-format on */
STATS_OWN(OWN_LIST);

/* ------------------------------------------------------------ connection */

enum op { OP_NONE, OP_RECV, OP_SEND, OP_READ };

struct conn {
    struct session s;
    struct timer timer;
    LIST_ENTRY(conn) link;      /* on w->live */
    STAILQ_ENTRY(conn) waiting; /* on w->waiting */
    int fd;
    uint32_t restarts; /* s.restarts when the deadline was last set */
    uint64_t acked;    /* for net_grace_ms() */
    enum op op;        /* the operation in flight */
    bool more;         /* the last receive left bytes in the socket */
    uint8_t in[BUF_SIZE], out[BUF_SIZE];
};

struct worker {
    struct service sv;
    struct uring_options uring;
    struct stats stats;
    struct timer_wheel wheel;
    LIST_HEAD(, conn) live;
    STAILQ_HEAD(, conn) waiting; /* found no room in the SQ: run them again */
    int n_conns;
    struct io_uring ring;
    int listener;
    int accepts;              /* armed */
    int64_t now_ms, retry_ms; /* the loop's clock; when to accept again */
    int64_t held_ms;          /* how long handlers held the loop (service.h) */
    int grace;                /* turns left once the drain is over */
};

/* Starts the peer's --idle-timeout anew.  (same as 2-epoll) */
static void conn_touch(struct worker *w, struct conn *c)
{
    c->restarts = c->s.restarts;
    wheel_set(&w->wheel, &c->timer, w->now_ms + w->sv.opt.idle_ms);
}

static struct conn *conn_new(struct worker *w, int fd)
{
    struct conn *c = malloc(sizeof *c);

    if (!c)
        return NULL;
    /* The windows stay as they come: an idle peer touches no page of them. */
    memset(c, 0, offsetof(struct conn, in));
    c->fd = fd;
    session_init(&c->s, &w->sv.app);
    buf_lend(&c->s.in, c->in, BUF_SIZE);
    buf_lend(&c->s.out, c->out, BUF_SIZE);
    c->more = true;
    conn_touch(w, c);
    LIST_INSERT_HEAD(&w->live, c, link);
    w->n_conns++;
    STAT_ADD(&w->stats, accepted, 1);
    PROBE(conn_open, 0, c, fd);
    return c;
}

/* The single path to close: nothing of this connection is in flight here. */
static void conn_close(struct worker *w, struct conn *c)
{
    CHECK(c->op == OP_NONE);
    PROBE(conn_close, 0, c);
    LIST_REMOVE(c, link);
    wheel_cancel(&w->wheel, &c->timer);
    net_close(c->fd);
    session_end(&c->s);
    free(c);
    w->n_conns--;
    STAT_ADD(&w->stats, closed, 1);
}

/* ---------------------------------------------------------------- engine */

/* The SQE for a connection's next operation: conn_run() has made sure that the
 * SQ has room for it. */
static struct io_uring_sqe *conn_sqe(struct worker *w, struct conn *c,
                                     enum op op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

    io_uring_sqe_set_data(sqe, c);
    c->op = op;
    PROBE(submit, c);
    return sqe;
}

/* Asks for whatever arrives next.  When the last receive emptied the socket,
 * trying at once would only fail: POLL_FIRST skips the attempt. */
static void conn_recv(struct worker *w, struct conn *c)
{
    struct buf *in = &c->s.in;
    struct io_uring_sqe *sqe = conn_sqe(w, c, OP_RECV);

    if (c->s.fin)
        shutdown(c->fd, SHUT_WR);
    if (service_draining(&w->sv) && !session_in_flight(&c->s))
        shutdown(c->fd, SHUT_RD);
    io_uring_prep_recv(sqe, c->fd, buf_tail(in), buf_room(in), 0);
    if (w->uring.poll_first && !c->more)
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
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
    struct buf *out = &c->s.out;
    struct io_uring_sqe *sqe = conn_sqe(w, c, OP_SEND);

    io_uring_prep_send(sqe, c->fd, buf_data(out), buf_len(out), MSG_NOSIGNAL);
    STAT_ADD(&w->stats, sends, 1);
}

/* A short send is legal: what is left goes with the next one. */
static void send_done(struct worker *w, struct conn *c, int n)
{
    conn_touch(w, c);
    buf_consume(&c->s.out, (size_t)n);
    STAT_ADD(&w->stats, bytes_out, (uint64_t)n);
}

/* Files complete like sockets do.  A kernel thread fetches a page that is not
 * cached, and this loop goes on. */
static void conn_file(struct worker *w, struct conn *c)
{
    struct session *s = &c->s;
    struct io_uring_sqe *sqe = conn_sqe(w, c, OP_READ);

    io_uring_prep_read(sqe, s->file.fd, buf_tail(&s->out),
                       (unsigned)session_file_want(s), s->file.off);
    STAT_ADD(&w->stats, reads, 1);
}

/* Leads the conversation on until its next operation is in the SQ.  When that
 * has no room, the connection waits and is run again in the next turn. */
static void conn_run(struct worker *w, struct conn *c)
{
    PROBE(run, 0, c);
    while (uring_make_room(&w->ring, &w->stats)) {
        enum want want = session_step(&c->s, &w->stats);

        if (c->restarts != c->s.restarts)
            conn_touch(w, c);
        switch (want) {
        case WANT_RECV:
            return conn_recv(w, c);
        case WANT_SEND:
            return conn_send(w, c);
        case WANT_FILE:
            return conn_file(w, c);
        case WANT_WORK:
            w->held_ms += service_work(&c->s, &w->stats);
            break;
        case WANT_CLOSE:
            return conn_close(w, c);
        }
    }
    STAILQ_INSERT_TAIL(&w->waiting, c, waiting);
}

/* The operation in flight has come back: its memory is ours again. */
static void conn_done(struct worker *w, struct conn *c, int res, unsigned flags)
{
    enum op op = c->op;

    PROBE(complete, c, res);
    c->op = OP_NONE;
    if (res == -EINTR || res == -EAGAIN)
        ; /* nothing happened: the step asks for the same again */
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

/* Arms accepts while there is room for what they bring: a full server leaves
 * its peers in the backlog. */
static void accept_arm(struct worker *w)
{
    while (w->listener >= 0 && w->accepts < uring_accepts() &&
           w->n_conns + w->accepts < w->sv.opt.max_conns &&
           w->retry_ms <= w->now_ms && uring_make_room(&w->ring, &w->stats)) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

        uring_accept(sqe, w->listener);
        io_uring_sqe_set_data(sqe, &w->listener);
        w->accepts++;
    }
}

/* Begins a connection.  Without descriptors or memory accepting pauses. */
static void accept_done(struct worker *w, int res)
{
    struct conn *c = res < 0 ? NULL : conn_new(w, res);

    w->accepts--;
    if (c)
        return conn_run(w, c);
    if (res >= 0)
        net_close(res);
    else if (w->listener < 0 || !net_accept_later(res))
        return; /* the peer left already, or we are leaving */
    STAT_ADD(&w->stats, refused, 1);
    w->retry_ms = w->now_ms + RETRY_MS;
}

/* Peers in the accept queue may have sent a request already: they are accepted,
 * as far as --max-conns allows.  Armed accepts count: each brings a peer. */
static void accept_last(struct worker *w)
{
    for (int n = net_last(w->listener);
         n > 0 && w->n_conns + w->accepts < w->sv.opt.max_conns; n--) {
        int fd = net_accept(w->listener, false);

        if (fd < 0)
            return;
        w->accepts++;
        accept_done(w, fd);
    }
}

/* A peer that is late is shut down, and leaves through its own completion. */
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

    accept_last(w);
    net_unlisten(&w->listener);
    LIST_FOREACH (c, &w->live, link)
        if (how == SHUT_RDWR || !session_in_flight(&c->s))
            shutdown(c->fd, how);
}

/* Submits what was written and sleeps until something completes: the one
 * system call of a turn. */
static void ring_wait(struct worker *w)
{
    int ms = service_wait_ms(
        &w->sv, w->now_ms, wheel_wait_ms(&w->wheel, w->now_ms),
        STAILQ_EMPTY(&w->waiting) ? w->retry_ms : w->now_ms + 1);
    struct __kernel_timespec ts = {ms / 1000, ms % 1000 * 1000000LL};
    struct io_uring_cqe *cqe;
    int err;

    OWN_ADD(&w->stats, cq_overflow, uring_overflows(&w->ring));
    PROBE(park, 0, ms);
    err = io_uring_submit_and_wait_timeout(&w->ring, &cqe, 1,
                                           ms < 0 ? NULL : &ts, NULL);
    STAT_ADD(&w->stats, waits, 1);
    uring_entered(w->sv.name, err);
}

/* Connections that found the SQ full are run again. */
static void run_waiting(struct worker *w)
{
    struct conn *c;

    while ((c = STAILQ_FIRST(&w->waiting)) != NULL &&
           uring_make_room(&w->ring, &w->stats)) {
        STAILQ_REMOVE_HEAD(&w->waiting, waiting);
        conn_run(w, c);
    }
}

static void completion(struct worker *w, struct io_uring_cqe cqe)
{
    void *data = io_uring_cqe_get_data(&cqe);

    if (data == &w->listener)
        accept_done(w, uring_accepted(w->listener, cqe.res));
    else if (data == &w->sv.signal)
        drain(w, SHUT_RD);
    else
        conn_done(w, data, cqe.res, cqe.flags);
}

static void worker_loop(struct worker *w)
{
    while (w->grace > 0 &&
           (w->listener >= 0 || w->accepts > 0 || w->n_conns > 0)) {
        unsigned n;

        accept_arm(w);
        ring_wait(w);
        w->now_ms = clock_ms() - w->held_ms;
        n = io_uring_cq_ready(&w->ring);
        PROBE(unpark, 0, n);
        STAT_ADD(&w->stats, events, n);
        while (n-- > 0)
            completion(w, uring_take(&w->ring));
        run_waiting(w);
        expire(w); /* after the events: a peer heard just now is not late */
        service_tick(&w->sv);
        if (service_over(&w->sv) && w->grace-- > 0)
            drain(w, SHUT_RDWR);
    }
}

/* ------------------------------------------------------------------ main */

static void worker_init(struct worker *w)
{
    uring_open(&w->ring, w->sv.name, &w->uring, w->sv.opt.max_conns);
    net_listen(w->sv.opt.host, &w->sv.opt.port, 1, &w->listener);
    fcntl(w->listener, F_SETFL, 0); /* non-blocking accepts do not wait */
    STAILQ_INIT(&w->waiting);
    stats_register(&w->stats, 0);
    w->now_ms = clock_ms();
    wheel_init(&w->wheel, w->now_ms);
    w->grace = GRACE_TURNS;
    uring_watch(&w->ring, &w->sv.signal);
}

static error_t parse_switch(int key, char *arg, struct argp_state *state)
{
    return uring_switch(key, arg, state, state->input);
}

int main(int argc, char **argv)
{
    static const struct argp_option switches[] = {URING_SWITCHES, {0}};
    static const struct argp argp = {.options = switches,
                                     .parser = parse_switch};
    static struct worker w = {.uring.taskrun = "defer"};

    stats_own(own_metrics, OWN_COUNTERS);
    service_open(&w.sv, "stage3", "Stage 3: one io_uring.", argc, argv, &argp,
                 &w.uring);
    service_one_loop(&w.sv);
    worker_init(&w);
    service_ready(&w.sv, "taskrun %s, CQ %u, POLL_FIRST %s", w.uring.taskrun,
                  w.uring.cq, w.uring.poll_first ? "yes" : "no");
    worker_loop(&w);
    service_close(&w.sv);
    if (w.n_conns > 0)
        _exit(0); /* the kernel may still write to this memory: free none */
    io_uring_queue_exit(&w.ring);
    return 0;
}
