/* Stage 1: a thread for every connection, blocking calls.
 *
 * The question.  What does the plainest server do, and what does it cost?
 *
 *      main thread                     one thread a connection
 *      -----------                     -----------------------
 *      poll: listener, stop            recv   sleeps until bytes come
 *      accept4                         step   bytes in, bytes out
 *      start a thread  ------------->  send   sleeps until they fit
 *                                      ... until the peer leaves
 *
 * The one idea: a thread that has to wait sleeps in the kernel, with its whole
 * state on its own stack.  The code reads like the conversation it leads.
 *
 * Kernel features: accept4 (2.6.28).  Any Linux has it.
 *
 * Invariants
 *  - Only a connection's own thread touches its session and closes its socket.
 *    The main thread may call shutdown() on the socket, under the lock, while
 *    the connection is on the list `live`: so the number is not used again yet.
 *  - A thread sleeps no longer than its peer's deadline: the socket has it as
 *    its timeout (SO_RCVTIMEO, SO_SNDTIMEO).
 *
 * What is still wrong: a stack and two windows for every connection, also for a
 * silent one, and a wake-up for every message.  Stage 2 waits for all at once.
 */

/* -------------------------------------------------------------- includes */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"
#include "probe.h"
#include "service.h"
#include "timer_wheel.h"

enum {
    STACK_SIZE = 128 * 1024, /* bytes: a request needs a few KiB of it */
    FULL_MS = 100,           /* how often a full server looks for SIGTERM */
};

/* ------------------------------------------------------------ connection */

struct conn {
    struct session s;
    struct worker *w;
    struct stats *stats;   /* lent: they outlive the connection */
    LIST_ENTRY(conn) link; /* on w->live */
    int fd;
    uint32_t restarts;        /* s.restarts when the deadline was last set */
    int64_t due_ms;           /* the deadline */
    int64_t recv_ms, send_ms; /* how long the socket lets a call sleep */
    uint64_t acked;           /* for net_grace_ms() */
    _Atomic bool busy; /* a request is in flight: the drain waits for it */
};

struct worker {
    struct service sv;
    struct stats stats; /* what the main thread itself counts */
    int listener;
    int64_t retry_ms;     /* when to accept again */
    pthread_attr_t small; /* of a detached thread */
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t ended; /* a connection has ended */
    LIST_HEAD(, conn) live;
    int n_conns;
};

/* Starts the peer's --idle-timeout anew. */
static void conn_touch(struct worker *w, struct conn *c)
{
    c->restarts = c->s.restarts;
    c->due_ms = clock_ms() + w->sv.opt.idle_ms;
}

static struct conn *conn_new(struct worker *w, int fd)
{
    struct conn *c = calloc(1, sizeof *c);
    struct stats *stats = c ? stats_lend() : NULL;

    if (!stats) {
        free(c);
        return NULL;
    }
    c->w = w;
    c->stats = stats;
    c->fd = fd;
    session_init(&c->s, &w->sv.app);
    conn_touch(w, c);
    pthread_mutex_lock(&w->lock);
    LIST_INSERT_HEAD(&w->live, c, link);
    w->n_conns++;
    pthread_mutex_unlock(&w->lock);
    STAT_ADD(stats, accepted, 1);
    PROBE(conn_open, fd, c, fd); /* a nop that tracers find: probe.h */
    return c;
}

/* The single path to close.  Off the list first: then the main thread can no
 * longer shut down a number that is another connection's by now. */
static void conn_close(struct worker *w, struct conn *c)
{
    PROBE(conn_close, c->fd, c);
    pthread_mutex_lock(&w->lock);
    LIST_REMOVE(c, link);
    pthread_mutex_unlock(&w->lock);
    net_close(c->fd);
    session_end(&c->s);
    STAT_ADD(c->stats, closed, 1);
    stats_give(c->stats);
    free(c);
    pthread_mutex_lock(&w->lock);
    w->n_conns--;
    pthread_cond_signal(&w->ended);
    pthread_mutex_unlock(&w->lock);
}

/* ---------------------------------------------------------------- engine */

/* After a receive or a send that failed.  True: try again.  At the deadline the
 * socket is asked, and a peer that is not late gets more time. */
static bool conn_extend(struct worker *w, struct conn *c, bool hears)
{
    int64_t more = 1;

    if (errno == EAGAIN && c->due_ms <= clock_ms()) {
        more = net_grace_ms(c->fd, hears, w->sv.opt.idle_ms, &c->acked);
        c->due_ms = clock_ms() + more;
        STAT_ADD(c->stats, timeouts, more == 0);
    }
    return more > 0 && (errno == EAGAIN || errno == EINTR);
}

/* Sleeps until the peer has sent something.  False: the connection is gone, or
 * its peer is late. */
static bool conn_recv(struct worker *w, struct conn *c)
{
    struct buf *in = &c->s.in;
    ssize_t n;

    if (c->s.fin)
        shutdown(c->fd, SHUT_WR);
    if (service_draining(&w->sv) && !session_in_flight(&c->s))
        shutdown(c->fd, SHUT_RD);
    do {
        net_limit(c->fd, SO_RCVTIMEO, c->due_ms - clock_ms(), &c->recv_ms);
        PROBE(park, c->fd, c->recv_ms);
        n = recv(c->fd, buf_tail(in), buf_room(in), 0);
        PROBE(unpark, c->fd, 1);
        STAT_ADD(c->stats, recvs, 1);
    } while (n < 0 && conn_extend(w, c, true));
    if (n < 0)
        return false;
    if (n == 0)
        c->s.eof = true;
    buf_commit(in, (size_t)n);
    STAT_ADD(c->stats, bytes_in, (uint64_t)n);
    PROBE(run, c->fd, c);
    return true;
}

/* Sleeps until `out` has gone into the socket.  At the deadline a send returns
 * with less, or with EAGAIN: a peer that took nothing meanwhile is late. */
static bool conn_send(struct worker *w, struct conn *c)
{
    struct buf *out = &c->s.out;
    ssize_t n;

    conn_touch(w, c);
    do {
        net_limit(c->fd, SO_SNDTIMEO, c->due_ms - clock_ms(), &c->send_ms);
        n = send(c->fd, buf_data(out), buf_len(out), MSG_NOSIGNAL);
        STAT_ADD(c->stats, sends, 1);
        if (n >= 0) {
            buf_consume(out, (size_t)n);
            STAT_ADD(c->stats, bytes_out, (uint64_t)n);
            errno = EAGAIN; /* for the rest, if there is any */
        }
    } while (buf_len(out) > 0 && conn_extend(w, c, false));
    return buf_len(out) == 0;
}

/* Reads a piece of a file; a page that is not cached puts this thread to
 * sleep, and only this one. */
static void conn_file(struct conn *c)
{
    struct session *s = &c->s;
    ssize_t n = pread(s->file.fd, buf_tail(&s->out), session_file_want(s),
                      (off_t)s->file.off);

    STAT_ADD(c->stats, reads, 1);
    session_file(s, n < 0 ? -errno : n);
}

/* The conversation, from hello to goodbye. */
static void *conn_run(void *arg)
{
    struct conn *c = arg;
    struct worker *w = c->w;
    uint8_t in[BUF_SIZE], out[BUF_SIZE];
    bool open = true;

    buf_lend(&c->s.in, in, sizeof in);
    buf_lend(&c->s.out, out, sizeof out);
    while (open) {
        enum want want = session_step(&c->s, c->stats);

        c->busy = session_in_flight(&c->s); /* see drain() */
        if (c->restarts != c->s.restarts)
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
            service_work(&c->s, c->stats);
            conn_touch(w, c); /* work is not idleness */
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

/* Accepts one peer: the thread that it starts may need this core at once.  When
 * descriptors, memory or threads run out, accepting pauses. */
static void accept_one(struct worker *w)
{
    int fd = net_accept(w->listener, false);
    struct conn *c = fd < 0 ? NULL : conn_new(w, fd);
    pthread_t thread;

    if (fd == -EAGAIN ||
        (c && pthread_create(&thread, &w->small, conn_run, c) == 0))
        return;
    if (c)
        conn_close(w, c);
    else if (fd >= 0)
        net_close(fd);
    STAT_ADD(&w->stats, refused, 1);
    w->retry_ms = clock_ms() + RETRY_MS;
}

/* With the lock held: sleeps until a connection ends, ms at most. */
static void await_end(struct worker *w, int ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ms * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_clockwait(&w->ended, &w->lock, CLOCK_MONOTONIC, &until);
}

/* At --workers threads accepting stops, and new peers wait in the backlog:
 * sleeps FULL_MS at most.  True: there was room for one more. */
static bool await_room(struct worker *w)
{
    bool room;

    pthread_mutex_lock(&w->lock);
    room = w->n_conns < w->sv.opt.workers;
    if (!room)
        await_end(w, FULL_MS);
    pthread_mutex_unlock(&w->lock);
    return room;
}

/* The main thread: it accepts, and never touches a byte of a conversation. */
static void worker_loop(struct worker *w)
{
    struct pollfd fds[] = {{.fd = w->sv.signal, .events = POLLIN},
                           {.events = POLLIN}};

    while (!service_draining(&w->sv)) {
        int64_t now_ms = clock_ms();

        service_tick(&w->sv);
        if (!await_room(w))
            continue;
        fds[1].fd = w->retry_ms > now_ms ? -1 : w->listener;
        fds[1].revents = 0;
        poll(fds, 2, service_wait_ms(&w->sv, now_ms, -1, w->retry_ms));
        if (fds[1].revents)
            accept_one(w);
    }
}

/* After SHUT_RD recv returns what has arrived, then reports the end: an idle
 * connection ends, a request that has arrived is still answered.  A thread
 * stores `busy` and then looks at the token (conn_recv); here the token was
 * raised first, and `busy` is read after it.  Both are sequentially consistent,
 * so at least one side sees the other. */
static void shut(struct worker *w, int how)
{
    struct conn *c;

    LIST_FOREACH (c, &w->live, link)
        if (how == SHUT_RDWR || !c->busy)
            shutdown(c->fd, how);
}

/* Peers in the accept queue may have sent a request already: they are accepted,
 * as far as there is room.  Then requests in flight have the drain timeout. */
static void drain(struct worker *w)
{
    for (int n = net_last(w->listener); n > 0 && await_room(w); n--)
        accept_one(w);
    net_unlisten(&w->listener);
    pthread_mutex_lock(&w->lock);
    shut(w, SHUT_RD);
    while (w->n_conns > 0 && !service_over(&w->sv)) {
        await_end(w, DRAIN_TICK_MS);
        service_tick(&w->sv);
    }
    shut(w, SHUT_RDWR);
    for (int i = 0; w->n_conns > 0 && i < 100; i++)
        await_end(w, 1);
    pthread_mutex_unlock(&w->lock);
}

/* ------------------------------------------------------------------ main */

static void worker_init(struct worker *w)
{
    sigset_t all;

    net_listen(w->sv.opt.host, &w->sv.opt.port, 1, &w->listener);
    pthread_attr_init(&w->small);
    pthread_attr_setstacksize(&w->small, STACK_SIZE);
    pthread_attr_setdetachstate(&w->small, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_attr_setsigmask_np(&w->small, &all); /* they are for main() */
    stats_register(&w->stats, 0);
}

int main(int argc, char **argv)
{
    static struct worker w = {.lock = PTHREAD_MUTEX_INITIALIZER,
                              .ended = PTHREAD_COND_INITIALIZER};

    service_open(&w.sv, "stage1", "Stage 1: a thread per connection.", argc,
                 argv, NULL, NULL);
    if (w.sv.opt.workers == 0 || w.sv.opt.workers > w.sv.opt.max_conns)
        w.sv.opt.workers = w.sv.opt.max_conns;
    worker_init(&w);
    service_ready(&w.sv, "at most %d threads of %d KiB stack", w.sv.opt.workers,
                  STACK_SIZE / 1024);
    worker_loop(&w);
    drain(&w);
    service_close(&w.sv);
    return 0;
}
