/* Stage 2: one loop for all connections; EAGAIN means come back later.
 *
 * What stage 1 could not do: wait for ten thousand peers without ten thousand
 * stacks, and without a wake-up of another thread for every message.
 *
 *      one thread
 *      ----------
 *      epoll_wait   sleeps until any of all the peers has news
 *      for each:    recv -> step -> send      never sleeps
 *      timers       shut down peers that are late
 *      ... and round again
 *
 * The one new idea: readiness.  The kernel says which peers have news; the
 * calls that follow do not wait.  What would have been a sleeping stack is now
 * a struct: where the conversation stands is data, and the loop picks it up.
 *
 * Kernel features: epoll (2.6), accept4 (2.6.28), eventfd (2.6.22).
 *
 * Invariants
 *  - Level-triggered, one registration a connection, changed only when a send
 *    would block and again when it no longer does: no epoll_ctl per request.
 *  - A connection is freed only while its own event is handled, and has at most
 *    one event a turn: no event can be for a connection that is gone.
 *  - One recv an event, and a bounded number of sends: no peer holds the loop.
 *
 * What is still wrong: epoll knows no files, so a page that is not cached stops
 * all peers, and so does a handler that blocks (/sleep).  And every request
 * still costs two system calls.  Stage 3 hands whole calls to the kernel.
 */

/* -------------------------------------------------------------- includes */

#include <errno.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "container_of.h"
#include "net.h"
#include "probe.h"
#include "service.h"
#include "timer_wheel.h"

enum {
    MAX_EVENTS = 512,  /* taken by one epoll_wait */
    SENDS_A_TURN = 16, /* windows one peer may be sent before others */
    ACCEPTS_A_TURN = 64,
};

/* ------------------------------------------------------------ connection */

struct conn {
    struct session s;
    struct timer timer;
    LIST_ENTRY(conn) link; /* on w->live */
    int fd;
    uint32_t restarts; /* s.restarts when the deadline was last set */
    uint64_t acked;    /* for net_grace_ms() */
    uint32_t watched;  /* what epoll watches for: EPOLLIN or EPOLLOUT */
    uint8_t sends;     /* windows it may still send in this turn */
    bool readable;     /* epoll said so, and no recv has been done since */
    uint8_t in[BUF_SIZE], out[BUF_SIZE];
};

struct worker {
    struct service sv;
    struct stats stats;
    struct timer_wheel wheel;
    LIST_HEAD(, conn) live;
    int n_conns;
    int epoll, listener;
    bool accepting;           /* the listener is registered */
    int64_t now_ms, retry_ms; /* the loop's clock; when to accept again */
    int64_t held_ms;          /* how long handlers held the loop (service.h) */
};

/* Starts the peer's --idle-timeout anew. */
static void conn_touch(struct worker *w, struct conn *c)
{
    c->restarts = c->s.restarts;
    wheel_set(&w->wheel, &c->timer, w->now_ms + w->sv.opt.idle_ms);
}

/* Changes what epoll tells about a connection; mostly there is no change. */
static bool conn_watch(struct worker *w, struct conn *c, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};
    int op = c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (c->watched != events && epoll_ctl(w->epoll, op, c->fd, &ev) < 0)
        return false;
    c->watched = events;
    return true;
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
    if (!conn_watch(w, c, EPOLLIN)) {
        free(c);
        return NULL;
    }
    conn_touch(w, c);
    LIST_INSERT_HEAD(&w->live, c, link);
    w->n_conns++;
    STAT_ADD(&w->stats, accepted, 1);
    PROBE(conn_open, 0, c, fd);
    return c;
}

/* The single path to close.  Closing takes the descriptor out of epoll. */
static void conn_close(struct worker *w, struct conn *c)
{
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

/* Waits for epoll to report these events.  Always false: the turn ends here. */
static bool conn_later(struct worker *w, struct conn *c, uint32_t events)
{
    if (!conn_watch(w, c, events))
        conn_close(w, c);
    return false;
}

/* Takes what has arrived, once an event; a short read has emptied the socket.
 * False: come back later, or the connection is gone. */
static bool conn_recv(struct worker *w, struct conn *c)
{
    struct buf *in = &c->s.in;
    ssize_t n;

    if (c->s.fin)
        shutdown(c->fd, SHUT_WR);
    if (service_draining(&w->sv) && !session_in_flight(&c->s))
        shutdown(c->fd, SHUT_RD);
    if (!c->readable)
        return conn_later(w, c, EPOLLIN);
    c->readable = false;
    n = recv(c->fd, buf_tail(in), buf_room(in), 0);
    STAT_ADD(&w->stats, recvs, 1);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return conn_later(w, c, EPOLLIN);
    if (n < 0) {
        conn_close(w, c);
        return false;
    }
    if (n == 0)
        c->s.eof = true;
    buf_commit(in, (size_t)n);
    STAT_ADD(&w->stats, bytes_in, (uint64_t)n);
    return true;
}

/* Sends straight after the step: the socket nearly always has room, so asking
 * epoll first would waste a system call.  epoll is asked when there is no room,
 * or when this peer has had SENDS_A_TURN. */
static bool conn_send(struct worker *w, struct conn *c)
{
    struct buf *out = &c->s.out;
    ssize_t n;

    if (c->sends == 0)
        return conn_later(w, c, EPOLLOUT);
    c->sends--;
    n = send(c->fd, buf_data(out), buf_len(out), MSG_NOSIGNAL);
    STAT_ADD(&w->stats, sends, 1);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return conn_later(w, c, EPOLLOUT);
    if (n < 0) {
        conn_close(w, c);
        return false;
    }
    conn_touch(w, c);
    buf_consume(out, (size_t)n);
    STAT_ADD(&w->stats, bytes_out, (uint64_t)n);
    return true;
}

/* Reads a piece of a file.  epoll cannot wait for a file: while the disk works,
 * this loop stands still, with all its peers. */
static void conn_file(struct worker *w, struct conn *c)
{
    struct session *s = &c->s;
    ssize_t n = pread(s->file.fd, buf_tail(&s->out), session_file_want(s),
                      (off_t)s->file.off);

    STAT_ADD(&w->stats, reads, 1);
    session_file(s, n < 0 ? -errno : n);
}

/* Leads the conversation on until it would have to wait. */
static void conn_run(struct worker *w, struct conn *c)
{
    bool going = true;

    PROBE(run, 0, c);
    while (going) {
        enum want want = session_step(&c->s, &w->stats);

        if (c->restarts != c->s.restarts)
            conn_touch(w, c);
        switch (want) {
        case WANT_RECV:
            going = conn_recv(w, c);
            break;
        case WANT_SEND:
            going = conn_send(w, c);
            break;
        case WANT_FILE:
            conn_file(w, c);
            break;
        case WANT_WORK:
            w->held_ms += service_work(&c->s, &w->stats);
            break;
        case WANT_CLOSE:
            return conn_close(w, c);
        }
    }
}

/* ---------------------------------------------------------------- worker */

/* The listener is watched while there is room for one more connection, so that
 * a full server does not spin on peers that it cannot take. */
static void accept_watch(struct worker *w)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &w->listener};
    bool want = w->listener >= 0 && w->n_conns < w->sv.opt.max_conns &&
                w->retry_ms <= w->now_ms;

    if (want != w->accepting && w->listener >= 0) {
        if (epoll_ctl(w->epoll, want ? EPOLL_CTL_ADD : EPOLL_CTL_DEL,
                      w->listener, &ev) == 0)
            w->accepting = want;
        else /* no memory: try again later */
            w->retry_ms = w->now_ms + RETRY_MS;
    }
}

/* Accepts up to n peers.  Without descriptors or memory accepting pauses. */
static void accept_ready(struct worker *w, int n)
{
    for (; n > 0 && w->n_conns < w->sv.opt.max_conns; n--) {
        int fd = net_accept(w->listener, true);

        if (fd == -EAGAIN)
            return;
        if (fd < 0 || !conn_new(w, fd)) {
            if (fd >= 0)
                net_close(fd);
            STAT_ADD(&w->stats, refused, 1);
            w->retry_ms = w->now_ms + RETRY_MS;
            return;
        }
    }
}

/* A peer that is late is shut down, and leaves through its own event. */
static void expire(struct worker *w)
{
    struct timer *t;

    while ((t = wheel_expired(&w->wheel, w->now_ms)) != NULL) {
        struct conn *c = container_of(t, struct conn, timer);
        int64_t more = net_grace_ms(c->fd, c->watched == EPOLLIN,
                                    w->sv.opt.idle_ms, &c->acked);

        if (more > 0) { /* not late yet */
            wheel_set(&w->wheel, t, w->now_ms + more);
            continue;
        }
        shutdown(c->fd, SHUT_RDWR);
        STAT_ADD(&w->stats, timeouts, 1);
    }
}

/* Peers in the accept queue may have sent a request already: they are accepted,
 * as far as --max-conns allows.  Later ones are refused.
 *
 * After SHUT_RD recv returns what has arrived, then reports the end: an idle
 * connection ends, a request that has arrived is still answered. */
static void drain(struct worker *w)
{
    struct conn *c;

    accept_ready(w, net_last(w->listener));
    net_unlisten(&w->listener);
    LIST_FOREACH (c, &w->live, link)
        if (!session_in_flight(&c->s))
            shutdown(c->fd, SHUT_RD);
}

/* Whatever epoll reports but "room to send" is a reason to receive: bytes, the
 * end, or an error that recv then names. */
static void event(struct worker *w, const struct epoll_event *ev)
{
    struct conn *c = ev->data.ptr;

    if (ev->data.ptr == &w->listener) {
        if (w->listener >= 0)
            accept_ready(w, ACCEPTS_A_TURN);
    } else if (ev->data.ptr == &w->sv.signal) {
        epoll_ctl(w->epoll, EPOLL_CTL_DEL, w->sv.signal, NULL);
        drain(w);
    } else {
        c->readable = ev->events & ~(uint32_t)EPOLLOUT;
        c->sends = SENDS_A_TURN;
        conn_run(w, c);
    }
}

static void worker_loop(struct worker *w)
{
    struct epoll_event evs[MAX_EVENTS];

    while (w->listener >= 0 || w->n_conns > 0) {
        int n, wait;

        accept_watch(w);
        wait =
            service_wait_ms(&w->sv, w->now_ms,
                            wheel_wait_ms(&w->wheel, w->now_ms), w->retry_ms);
        PROBE(park, 0, wait);
        n = epoll_wait(w->epoll, evs, MAX_EVENTS, wait);
        PROBE(unpark, 0, n);
        w->now_ms = clock_ms() - w->held_ms;
        STAT_ADD(&w->stats, waits, 1);
        for (int i = 0; i < n; i++)
            event(w, &evs[i]);
        STAT_ADD(&w->stats, events, n > 0 ? (uint64_t)n : 0);
        expire(w); /* after the events: a peer heard just now is not late */
        service_tick(&w->sv);
        if (service_over(&w->sv))
            break;
    }
}

/* ------------------------------------------------------------------ main */

static void worker_init(struct worker *w)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &w->sv.signal};

    net_listen(w->sv.opt.host, &w->sv.opt.port, 1, &w->listener);
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (w->epoll < 0 ||
        epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->sv.signal, &ev) < 0)
        die("stage2: epoll: %s", strerror(errno));
    stats_register(&w->stats, 0);
    w->now_ms = clock_ms();
    wheel_init(&w->wheel, w->now_ms);
}

static void worker_free(struct worker *w)
{
    while (!LIST_EMPTY(&w->live))
        conn_close(w, LIST_FIRST(&w->live));
    net_unlisten(&w->listener);
    close(w->epoll);
}

int main(int argc, char **argv)
{
    static struct worker w;

    service_open(&w.sv, "stage2", "Stage 2: one epoll loop.", argc, argv, NULL,
                 NULL);
    service_one_loop(&w.sv);
    worker_init(&w);
    service_ready(&w.sv, "one loop, level-triggered");
    worker_loop(&w);
    worker_free(&w);
    service_close(&w.sv);
    return 0;
}
