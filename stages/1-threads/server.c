/* Stage 1: a thread for every connection, blocking calls.
 *
 * The question.  What does the plainest server do, and what does it cost?
 *
 *      main thread                     one thread a connection
 *      -----------                     -----------------------
 *      poll: listener, stop            recv   sleeps until bytes come
 *      accept4                         step   bytes in, bytes out
 *      start a thread  ------------->  send   sleeps until they fit
 *      shut down who is late           ... until the peer leaves
 *
 * The one idea: whoever has to wait, sleeps in the kernel with its whole state
 * on its own stack.  The code reads like the conversation it leads.
 *
 * Kernel features: accept4 (2.6.28), eventfd (2.6.22).  Any Linux has them.
 *
 * Invariants
 *  - Only its own thread touches a connection's session.  The main thread may
 *    call shutdown() on the socket, never close(): so no number is reused under
 *    a thread that is still inside recv().
 *  - `late`, `busy` and `hears` are the only words of a connection that two
 *    threads use without the lock.
 *  - A connection is on the list `live` from accept to just before close().
 *
 * What is still wrong: a stack, two windows and a wake-up for every
 * connection, also for those that say nothing.  Stage 2 waits for all at once.
 */

/* -------------------------------------------------------------- includes */

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"
#include "service.h"
#include "timer_wheel.h"

enum {
    STACK_SIZE = 128 * 1024, /* bytes: a request needs a few KiB of it */
};

/* ------------------------------------------------------------ connection */

struct conn {
    struct stats stats; /* first: it is aligned to its own cache lines */
    struct session s;
    struct worker *w;
    LIST_ENTRY(conn) link; /* on w->live, w->done or w->spare */
    pthread_t thread;
    int fd;
    uint32_t turn;        /* s.turn when `late` was last set */
    uint64_t acked;       /* the main thread's: for net_grace_ms() */
    _Atomic int64_t late; /* deadline in ms; INT64_MAX while a handler runs */
    _Atomic bool busy;    /* a request is in flight: the drain waits for it */
    _Atomic bool hears;   /* its thread waits for bytes */
    uint8_t in[BUF_SIZE], out[BUF_SIZE];
};

struct worker {
    struct service sv;
    struct stats stats; /* what the main thread itself counts */
    int listener;
    int freed; /* eventfd: a thread ended and the main thread waits for one */
    int64_t now_ms, retry_ms, scan_ms;
    pthread_mutex_t lock; /* guards what follows */
    LIST_HEAD(, conn) live, done, spare;
    int n_conns;
    bool wake; /* the main thread wants to hear of every thread that ends */
};

/* The peer has another --idle-timeout from here on. */
static void conn_touch(struct worker *w, struct conn *c)
{
    c->turn = c->s.turn;
    atomic_store_explicit(&c->late, clock_ms() + w->sv.opt.idle_ms,
                          memory_order_relaxed);
}

/* A connection whose counters stay for good: a counter must not go down when
 * the connection that it counted for ends. */
static struct conn *conn_new(struct worker *w, int fd)
{
    struct conn *c = LIST_FIRST(&w->spare);

    if (c) {
        LIST_REMOVE(c, link);
    } else {
        c = aligned_alloc(_Alignof(struct conn), sizeof *c);
        if (!c)
            return NULL;
        stats_register(&c->stats, 0);
    }
    c->w = w;
    c->fd = fd;
    c->acked = 0;
    session_init(&c->s, &w->sv.app);
    buf_lend(&c->s.in, c->in, BUF_SIZE);
    buf_lend(&c->s.out, c->out, BUF_SIZE);
    atomic_store(&c->busy, false);
    conn_touch(w, c);
    LIST_INSERT_HEAD(&w->live, c, link);
    w->n_conns++;
    STAT_ADD(&c->stats, accepted, 1);
    return c;
}

/* The single path to close.  Off the list first: once it is off, the main
 * thread can no longer shut down a descriptor number that is somebody else's.
 */
static void conn_close(struct worker *w, struct conn *c)
{
    pthread_mutex_lock(&w->lock);
    LIST_REMOVE(c, link);
    pthread_mutex_unlock(&w->lock);
    STAT_ADD(&c->stats, closed, 1);
    net_close(c->fd);
    session_end(&c->s);
    pthread_mutex_lock(&w->lock);
    LIST_INSERT_HEAD(&w->done, c, link);
    w->n_conns--;
    if (w->wake)
        eventfd_write(w->freed, 1);
    pthread_mutex_unlock(&w->lock);
}

/* ---------------------------------------------------------------- engine */

/* Sleeps until the peer has sent something.  False: the connection is gone. */
static bool conn_recv(struct worker *w, struct conn *c)
{
    struct buf *in = &c->s.in;
    ssize_t n;

    if (c->s.fin)
        shutdown(c->fd, SHUT_WR);
    if (service_draining(&w->sv) && !session_in_flight(&c->s))
        shutdown(c->fd, SHUT_RD);
    atomic_store_explicit(&c->hears, true, memory_order_relaxed);
    do {
        n = recv(c->fd, buf_tail(in), buf_room(in), 0);
        STAT_ADD(&c->stats, recvs, 1);
    } while (n < 0 && errno == EINTR);
    atomic_store_explicit(&c->hears, false, memory_order_relaxed);
    if (n < 0)
        return false;
    if (n == 0)
        c->s.eof = true;
    buf_commit(in, (size_t)n);
    STAT_ADD(&c->stats, bytes_in, (uint64_t)n);
    return true;
}

/* Sleeps until some of `out` fitted into the socket.  A send that moved bytes
 * restarts the deadline: a slow reader is fine, one that takes nothing is not.
 */
static bool conn_send(struct worker *w, struct conn *c)
{
    struct buf *out = &c->s.out;
    ssize_t n;

    conn_touch(w, c);
    do {
        n = send(c->fd, buf_data(out), buf_len(out), MSG_NOSIGNAL);
        STAT_ADD(&c->stats, sends, 1);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return false;
    buf_consume(out, (size_t)n);
    STAT_ADD(&c->stats, bytes_out, (uint64_t)n);
    return true;
}

/* Reads a piece of a file; a page that is not cached puts this thread to
 * sleep, and only this one. */
static void conn_file(struct conn *c)
{
    struct session *s = &c->s;
    ssize_t n = pread(s->file.fd, buf_tail(&s->out), session_file_want(s),
                      (off_t)s->file.off);

    STAT_ADD(&c->stats, reads, 1);
    session_file(s, n < 0 ? -errno : n);
}

/* Work is not idleness: while the handler runs there is no deadline. */
static void conn_work(struct worker *w, struct conn *c)
{
    atomic_store_explicit(&c->late, INT64_MAX, memory_order_relaxed);
    service_work(&c->s, &c->stats);
    conn_touch(w, c);
}

/* Stored before the token is looked at (conn_recv), and read after the token
 * was raised (drain), all seq_cst: so at least one side sees the other,
 * and no idle connection is forgotten by both. */
static void conn_mark(struct conn *c)
{
    bool busy = session_in_flight(&c->s);

    if (busy != atomic_load_explicit(&c->busy, memory_order_relaxed))
        atomic_store(&c->busy, busy);
}

/* The conversation, from hello to goodbye. */
static void *conn_run(void *arg)
{
    struct conn *c = arg;
    struct worker *w = c->w;
    bool open = true;

    while (open) {
        enum want want = session_step(&c->s, &c->stats);

        conn_mark(c);
        if (c->turn != c->s.turn)
            conn_touch(w, c);
        switch (want) {
        case WANT_RECV:
            open = conn_recv(w, c);
            break;
        case WANT_SEND:
            open = conn_send(w, c);
            break;
        case WANT_FILE:
            conn_file(c);
            break;
        case WANT_WORK:
            conn_work(w, c);
            break;
        case WANT_CLOSE:
            open = false;
            break;
        }
    }
    conn_close(w, c);
    return NULL;
}

/* ---------------------------------------------------------------- worker */

/* Threads that have ended are joined here, so that nothing is left of them; the
 * lock is let go meanwhile, since the last lines of a thread take it. */
static void join_done(struct worker *w)
{
    struct conn *c;

    pthread_mutex_lock(&w->lock);
    while ((c = LIST_FIRST(&w->done)) != NULL) {
        LIST_REMOVE(c, link);
        pthread_mutex_unlock(&w->lock);
        pthread_join(c->thread, NULL);
        pthread_mutex_lock(&w->lock);
        LIST_INSERT_HEAD(&w->spare, c, link);
    }
    pthread_mutex_unlock(&w->lock);
}

/* Starts the thread that will lead this conversation.  The lock is held over
 * pthread_create so that c->thread is written before anybody joins it. */
static void conn_start(struct worker *w, int fd)
{
    pthread_attr_t attr;
    struct conn *c;
    int err = ENOMEM;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    pthread_mutex_lock(&w->lock);
    c = conn_new(w, fd);
    if (c) {
        err = pthread_create(&c->thread, &attr, conn_run, c);
        if (err) {
            LIST_REMOVE(c, link);
            LIST_INSERT_HEAD(&w->spare, c, link);
            w->n_conns--;
            STAT_ADD(&c->stats, closed, 1);
        }
    }
    pthread_mutex_unlock(&w->lock);
    pthread_attr_destroy(&attr);
    if (err) {
        net_close(fd);
        STAT_ADD(&w->stats, refused, 1);
        w->retry_ms = w->now_ms + RETRY_MS;
    }
}

/* One at a time: the thread that it starts may need this core at once.  When
 * descriptors or memory run out, accepting pauses instead of spinning. */
static void accept_ready(struct worker *w)
{
    int fd = net_accept(w->listener, false);

    if (fd >= 0)
        conn_start(w, fd);
    else if (fd != -EAGAIN) {
        STAT_ADD(&w->stats, refused, 1);
        w->retry_ms = w->now_ms + RETRY_MS;
    }
}

/* The deadline of c as it is now.  Whoever is late is woken, once, by shutting
 * the socket down: its thread returns from recv or send and takes the usual way
 * out.  One that has just received something still answers it, as only the
 * receiving side is shut; a deadline that it has just moved stays. */
static int64_t conn_late(struct worker *w, struct conn *c)
{
    int64_t late = atomic_load_explicit(&c->late, memory_order_relaxed), next;
    bool hears = atomic_load_explicit(&c->hears, memory_order_relaxed);

    if (late > w->now_ms)
        return late;
    next = net_grace_ms(c->fd, hears, w->sv.opt.idle_ms, &c->acked);
    next = next > 0 ? w->now_ms + next : INT64_MAX;
    if (!atomic_compare_exchange_strong(&c->late, &late, next))
        return late;
    if (next == INT64_MAX) {
        shutdown(c->fd, hears ? SHUT_RD : SHUT_RDWR);
        STAT_ADD(&w->stats, timeouts, 1);
    }
    return next;
}

/* The next scan is due when the soonest deadline is, not once a request: a
 * deadline only ever moves later. */
static void expire(struct worker *w)
{
    int64_t soonest = w->now_ms + w->sv.opt.idle_ms;
    struct conn *c;

    pthread_mutex_lock(&w->lock);
    LIST_FOREACH (c, &w->live, link) {
        int64_t late = conn_late(w, c);

        soonest = late < soonest ? late : soonest;
    }
    pthread_mutex_unlock(&w->lock);
    w->scan_ms = soonest; /* who connects later is due later than that */
}

/* Accepting stops at --workers threads; then new peers wait in the backlog. */
static bool may_accept(struct worker *w)
{
    bool room;

    pthread_mutex_lock(&w->lock);
    room = w->n_conns < w->sv.opt.workers;
    w->wake = !room || w->listener < 0;
    pthread_mutex_unlock(&w->lock);
    return room && w->listener >= 0 && w->retry_ms <= w->now_ms;
}

/* Whoever stands in line may have asked already: in, as far as there are free
 * places.  Everybody later is refused. */
static void accept_last(struct worker *w)
{
    w->retry_ms = 0;
    for (int n = net_last(w->listener); n > 0 && may_accept(w); n--)
        accept_ready(w);
}

/* SHUT_RD lets what has arrived be read and then reports the end: an idle peer
 * is sent away, a request that is already here is still answered.  Past the
 * drain timeout SHUT_RDWR wakes whoever is left. */
static void drain(struct worker *w, int how)
{
    struct conn *c;

    accept_last(w);
    net_unlisten(&w->listener);
    pthread_mutex_lock(&w->lock);
    w->wake = true;
    LIST_FOREACH (c, &w->live, link)
        if (how == SHUT_RDWR || !atomic_load(&c->busy))
            shutdown(c->fd, how);
    pthread_mutex_unlock(&w->lock);
}

/* The count is guarded by the lock: threads end when they like. */
static int live_conns(struct worker *w)
{
    int n;

    pthread_mutex_lock(&w->lock);
    n = w->n_conns;
    pthread_mutex_unlock(&w->lock);
    return n;
}

/* While nobody is connected no deadline can come. */
static int scan_in_ms(struct worker *w)
{
    int64_t ms = w->scan_ms > w->now_ms ? w->scan_ms - w->now_ms : 0;

    return live_conns(w) == 0 ? -1 : ms < INT_MAX ? (int)ms : INT_MAX;
}

/* The main thread: it accepts, joins and keeps the time, and never touches a
 * byte of a conversation. */
static void worker_loop(struct worker *w)
{
    enum { STOP, FREED, LISTENER };
    struct pollfd fds[] = {[STOP] = {.events = POLLIN, .fd = w->sv.signal},
                           [FREED] = {.events = POLLIN, .fd = w->freed},
                           [LISTENER] = {.events = POLLIN}};
    eventfd_t n;

    while (w->listener >= 0 || live_conns(w) > 0) {
        int scan = scan_in_ms(w);

        fds[LISTENER].fd = may_accept(w) ? w->listener : -1;
        poll(fds, 3, service_wait_ms(&w->sv, w->now_ms, scan, w->retry_ms));
        w->now_ms = clock_ms();
        if (service_draining(&w->sv) && w->listener >= 0) {
            fds[STOP].fd = -1; /* it stays readable, and has been heard */
            drain(w, SHUT_RD);
        } else if (fds[LISTENER].fd >= 0 && fds[LISTENER].revents) {
            accept_ready(w);
        }
        if (fds[FREED].revents)
            eventfd_read(w->freed, &n);
        join_done(w);
        if (w->now_ms >= w->scan_ms)
            expire(w);
        service_tick(&w->sv);
        if (service_over(&w->sv))
            break;
    }
}

/* ------------------------------------------------------------------ main */

static void worker_init(struct worker *w)
{
    net_listen(w->sv.opt.host, &w->sv.opt.port, 1, &w->listener);
    w->freed = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->freed < 0)
        die("stage1: eventfd: %s", strerror(errno));
    pthread_mutex_init(&w->lock, NULL);
    stats_register(&w->stats, 0);
    w->now_ms = clock_ms();
}

/* False: a thread is stuck in the kernel; the process ends over its head.  The
 * connections stay: the registry of counters points into them. */
static bool worker_join(struct worker *w)
{
    drain(w, SHUT_RDWR);
    for (int i = 0; live_conns(w) > 0 && i < 100; i++)
        poll(NULL, 0, 1);
    join_done(w);
    close(w->freed);
    return live_conns(w) == 0;
}

int main(int argc, char **argv)
{
    static struct worker w;
    bool whole;

    service_open(&w.sv, "stage1", "Stage 1: a thread per connection.", argc,
                 argv, NULL, NULL);
    if (w.sv.opt.workers == 0 || w.sv.opt.workers > w.sv.opt.max_conns)
        w.sv.opt.workers = w.sv.opt.max_conns;
    worker_init(&w);
    service_ready(&w.sv, "at most %d threads of %d KiB stack", w.sv.opt.workers,
                  STACK_SIZE / 1024);
    worker_loop(&w);
    whole = worker_join(&w);
    service_close(&w.sv);
    if (!whole)
        _exit(0);
    return 0;
}
