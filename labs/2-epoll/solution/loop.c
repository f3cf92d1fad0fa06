/* loop.c - one epoll loop for all connections.
 *
 *      epoll_wait   sleeps until any of the peers has news
 *      for each:    recv -> step -> send      never sleeps
 *      ... and round again
 */
#include "loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "net.h"
#include "params.h"
#include "timer_wheel.h" /* clock_ms(), and nothing else */

enum {
    MAX_EVENTS = 512,
    ACCEPTS_A_TURN = 64,
    /* The numbers of this course. */
    HEADER_TIME_MS = LOOP_HEADER_MS, /* for a whole header section */
    TURN = LOOP_TURN_BYTES, /* that one connection may move, each way */
};

/* LAB-BEGIN */
/* Invariants
 *  - Events only mark connections and queue them.  Connections are closed, and
 *    new ones accepted, when all events of the turn are used up: so no event
 *    can be for a connection that is gone.
 *  - A connection is on exactly one list of deadlines.  All on a list have the
 *    same time, so the list is in order, and its first one is due next.
 *  - A connection is on the queue when it could go on without news: its turn
 *    was over, and the edge that told of its bytes has been used up.
 */

/* What a connection waits for, and so how long it may take. */
enum due {
    DUE_IDLE,   /* the first byte of a request */
    DUE_HEADER, /* the rest of a header section */
    DUE_FLOW,   /* the next byte of a body, in or out */
    N_DUES
};
/* LAB-END */

struct conn {
    struct session s;
    LIST_ENTRY(conn) link; /* on lp.live */
    int fd;
    /* LAB-BEGIN */
    TAILQ_ENTRY(conn) by_due; /* on lp.due[due] */
    TAILQ_ENTRY(conn) next;   /* on lp.queue */
    enum due due;
    int64_t due_ms;
    size_t left_in, left_out; /* bytes that it may still move in this turn */
    bool moved, sent;         /* bytes, since its deadline was last looked at */
    bool queued;
    bool heard;    /* its first turn is over: it may have to make room */
    bool readable; /* epoll said so, and the socket was not found empty since */
    bool ending;   /* the peer will send no more: receive up to the end */
    bool full;     /* a send would block */
    bool broken;   /* a call has failed: close it */
    /* LAB-ELSE
     *     uint32_t watched; // what epoll watches for: EPOLLIN or EPOLLOUT
     */
    /* LAB-END */
    uint8_t in[BUF_SIZE], out[BUF_SIZE];
};

TAILQ_HEAD(conns, conn);

static struct {
    struct service *sv;
    struct stats *stats;
    int epoll, listener;
    LIST_HEAD(, conn) live;
    int n_conns;
    bool accepting;           /* the listener is registered */
    int64_t now_ms, retry_ms; /* the loop's clock; when to accept again */
    int64_t held_ms;          /* how long handlers held the loop */
    /* LAB-BEGIN */
    struct conns due[N_DUES]; /* soonest first */
    struct conns queue;       /* those that can go on */
    bool peers;               /* wait at the listener */
    /* LAB-END */
} lp;

/* ------------------------------------------------------------ connection */

/* LAB-BEGIN */
static void conn_due(struct conn *c, enum due due)
{
    int64_t ms = due == DUE_HEADER ? HEADER_TIME_MS : lp.sv->opt.idle_ms;

    TAILQ_REMOVE(&lp.due[c->due], c, by_due);
    c->due = due;
    c->due_ms = lp.now_ms + ms;
    TAILQ_INSERT_TAIL(&lp.due[due], c, by_due);
}

/* The end of a turn: what does it wait for now?  A header has its time in all;
 * only a request that was answered meanwhile makes it the next header. */
static void conn_rest(struct conn *c)
{
    struct session *s = &c->s;
    enum due due = session_in_flight(s)            ? DUE_FLOW
                   : buf_len(&s->in) > 0 || s->fin ? DUE_HEADER
                                                   : DUE_IDLE;

    if (due != c->due || c->sent || (c->moved && due != DUE_HEADER))
        conn_due(c, due);
    c->moved = c->sent = false;
    c->heard = true;
}

/* It can go on, in its own turn. */
static void conn_queue(struct conn *c)
{
    if (!c->queued)
        TAILQ_INSERT_TAIL(&lp.queue, c, next);
    c->queued = true;
}
/* LAB-ELSE
 * // Changes what epoll tells about a connection.
 * static bool conn_watch(struct conn *c, uint32_t events)
 * {
 *     struct epoll_event ev = {.events = events, .data.ptr = c};
 *     int op = c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
 *
 *     if (c->watched != events && epoll_ctl(lp.epoll, op, c->fd, &ev) < 0)
 *         return false;
 *     c->watched = events;
 *     return true;
 * }
 */
/* LAB-END */

static struct conn *conn_new(int fd)
{
    struct conn *c = malloc(sizeof *c);
    /* LAB-BEGIN */
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP |
                                       (uint32_t)EPOLLET,
                             .data.ptr = c};
    /* LAB-END */

    if (!c)
        return NULL;
    memset(c, 0, offsetof(struct conn, in));
    c->fd = fd;
    session_init(&c->s, &lp.sv->app);
    buf_lend(&c->s.in, c->in, BUF_SIZE);
    buf_lend(&c->s.out, c->out, BUF_SIZE);
    /* LAB-BEGIN */
    if (epoll_ctl(lp.epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
        /* LAB-ELSE
         *     if (!conn_watch(c, EPOLLIN)) {
         */
        /* LAB-END */
        free(c);
        return NULL;
    }
    /* LAB-BEGIN */
    TAILQ_INSERT_TAIL(&lp.due[DUE_IDLE], c, by_due);
    conn_due(c, DUE_IDLE);
    /* LAB-END */
    LIST_INSERT_HEAD(&lp.live, c, link);
    lp.n_conns++;
    STAT_ADD(lp.stats, accepted, 1);
    return c;
}

/* The single path to close.  Closing takes the descriptor out of epoll. */
static void conn_close(struct conn *c)
{
    LIST_REMOVE(c, link);
    /* LAB-BEGIN */
    TAILQ_REMOVE(&lp.due[c->due], c, by_due);
    if (c->queued)
        TAILQ_REMOVE(&lp.queue, c, next);
    /* LAB-END */
    net_close(c->fd);
    session_end(&c->s);
    free(c);
    lp.n_conns--;
    STAT_ADD(lp.stats, closed, 1);
}

/* ---------------------------------------------------------------- engine */

/* LAB-BEGIN */
/* Both return false when the turn ends here. */
static bool conn_recv(struct conn *c)
{
    struct buf *in = &c->s.in;
    size_t most = buf_room(in) < c->left_in ? buf_room(in) : c->left_in;
    ssize_t n;

    if (c->s.fin)
        shutdown(c->fd, SHUT_WR);
    if (service_draining(lp.sv) && !session_in_flight(&c->s))
        shutdown(c->fd, SHUT_RD);
    if (!c->readable)
        return false;
    if (most == 0) {
        conn_queue(c);
        return false;
    }
    n = recv(c->fd, buf_tail(in), most, 0);
    STAT_ADD(lp.stats, recvs, 1);
    if (n < 0 && errno == EINTR)
        return true;
    c->broken = n < 0 && errno != EAGAIN;
    /* A short read has emptied the socket; the end may stand behind it. */
    c->readable = n == (ssize_t)most || (c->ending && n > 0);
    if (n < 0)
        return false;
    c->s.eof |= n == 0;
    c->moved = true;
    c->left_in -= (size_t)n;
    buf_commit(in, (size_t)n);
    STAT_ADD(lp.stats, bytes_in, (uint64_t)n);
    return true;
}

static bool conn_send(struct conn *c)
{
    struct buf *out = &c->s.out;
    size_t most = buf_len(out) < c->left_out ? buf_len(out) : c->left_out;
    ssize_t n;

    if (c->full)
        return false;
    if (most == 0) {
        conn_queue(c);
        return false;
    }
    n = send(c->fd, buf_data(out), most, MSG_NOSIGNAL);
    STAT_ADD(lp.stats, sends, 1);
    if (n < 0 && errno == EINTR)
        return true;
    c->broken = n < 0 && errno != EAGAIN;
    c->full = n < 0; /* a short send says nothing: the next one does */
    if (n < 0)
        return false;
    c->moved = c->sent = true;
    c->left_out -= (size_t)n;
    buf_consume(out, (size_t)n);
    STAT_ADD(lp.stats, bytes_out, (uint64_t)n);
    return true;
}
/* LAB-ELSE
 * // Waits for epoll to report these events.  Always false.
 * static bool conn_later(struct conn *c, uint32_t events)
 * {
 *     if (!conn_watch(c, events))
 *         conn_close(c);
 *     return false;
 * }
 *
 * // Both return false when there is nothing to do before the next event, or
 * // the connection is gone.
 * static bool conn_recv(struct conn *c)
 * {
 *     struct buf *in = &c->s.in;
 *     ssize_t n;
 *
 *     if (c->s.fin)
 *         shutdown(c->fd, SHUT_WR);
 *     if (service_draining(lp.sv) && !session_in_flight(&c->s))
 *         shutdown(c->fd, SHUT_RD);
 *     n = recv(c->fd, buf_tail(in), buf_room(in), 0);
 *     STAT_ADD(lp.stats, recvs, 1);
 *     if (n < 0 && (errno == EAGAIN || errno == EINTR))
 *         return conn_later(c, EPOLLIN);
 *     if (n < 0) {
 *         conn_close(c);
 *         return false;
 *     }
 *     c->s.eof |= n == 0;
 *     buf_commit(in, (size_t)n);
 *     STAT_ADD(lp.stats, bytes_in, (uint64_t)n);
 *     return true;
 * }
 *
 * static bool conn_send(struct conn *c)
 * {
 *     struct buf *out = &c->s.out;
 *     ssize_t n = send(c->fd, buf_data(out), buf_len(out), MSG_NOSIGNAL);
 *
 *     STAT_ADD(lp.stats, sends, 1);
 *     if (n < 0 && (errno == EAGAIN || errno == EINTR))
 *         return conn_later(c, EPOLLOUT);
 *     if (n < 0) {
 *         conn_close(c);
 *         return false;
 *     }
 *     buf_consume(out, (size_t)n);
 *     STAT_ADD(lp.stats, bytes_out, (uint64_t)n);
 *     return true;
 * }
 */
/* LAB-END */

/* Leads the conversation on until it would have to wait. */
static void conn_run(struct conn *c)
{
    bool going = true;

    /* LAB-BEGIN */
    c->left_in = c->left_out = TURN;
    /* LAB-END */
    while (going)
        switch (session_step(&c->s, lp.stats)) {
        case WANT_RECV:
            going = conn_recv(c);
            break;
        case WANT_SEND:
            going = conn_send(c);
            break;
        case WANT_WORK:
            lp.held_ms += service_work(&c->s, lp.stats);
            break;
        case WANT_FILE: /* no file is ever opened, but bytes are made up */
            session_file(&c->s, -EIO);
            break;
        case WANT_CLOSE:
            conn_close(c);
            return;
        }
    /* LAB-BEGIN */
    if (c->broken)
        conn_close(c);
    else
        conn_rest(c);
    /* LAB-END */
}

/* ---------------------------------------------------------------- worker */

/* LAB-BEGIN */
/* The connection that makes room for the next one, or NULL. */
static struct conn *longest_idle(void)
{
    struct conn *c = TAILQ_FIRST(&lp.due[DUE_IDLE]);

    return c && c->heard ? c : NULL;
}

static bool room(void)
{
    return lp.n_conns < lp.sv->opt.max_conns || longest_idle();
}
/* LAB-ELSE
 * static bool room(void)
 * {
 *     return lp.n_conns < lp.sv->opt.max_conns;
 * }
 */
/* LAB-END */

/* The listener is watched while there is room, so that a full server does not
 * spin on peers that it cannot take. */
static void accept_watch(void)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &lp.listener};
    bool want = lp.listener >= 0 && room() && lp.retry_ms <= lp.now_ms;

    if (want == lp.accepting || lp.listener < 0)
        return;
    if (epoll_ctl(lp.epoll, want ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, lp.listener,
                  &ev) == 0)
        lp.accepting = want;
    else /* no memory: try again later */
        lp.retry_ms = lp.now_ms + RETRY_MS;
}

/* Accepts up to n peers.  Without descriptors or memory accepting pauses. */
static void accept_ready(int n)
{
    for (; n > 0 && room(); n--) {
        int fd = net_accept(lp.listener, true);

        if (fd == -EAGAIN)
            return;
        /* LAB-BEGIN */
        if (fd >= 0 && lp.n_conns >= lp.sv->opt.max_conns)
            conn_close(longest_idle());
        /* LAB-END */
        if (fd < 0 || !conn_new(fd)) {
            if (fd >= 0)
                net_close(fd);
            STAT_ADD(lp.stats, refused, 1);
            lp.retry_ms = lp.now_ms + RETRY_MS;
            return;
        }
    }
}

/* Told to stop: peers in the accept queue are served, those without a request
 * are shut down, and end through their own events. */
static void drain(void)
{
    struct conn *c;

    accept_ready(net_last(lp.listener));
    net_unlisten(&lp.listener);
    LIST_FOREACH (c, &lp.live, link)
        if (!session_in_flight(&c->s))
            shutdown(c->fd, SHUT_RD);
}

/* LAB-BEGIN */
static void event(const struct epoll_event *ev)
{
    struct conn *c = ev->data.ptr;
    uint32_t end = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

    if (ev->data.ptr == &lp.listener) {
        lp.peers = true;
    } else if (ev->data.ptr != &lp.sv->signal) {
        c->ending |= ev->events & end;
        c->readable |= ev->events & (end | EPOLLIN);
        c->full &= !(ev->events & (end | EPOLLOUT));
        conn_queue(c);
    }
}

/* All that are on the queue now; those that are not done come again in the next
 * turn, after the events. */
static void run_queue(void)
{
    struct conns now = TAILQ_HEAD_INITIALIZER(now);
    struct conn *c;

    TAILQ_CONCAT(&now, &lp.queue, next);
    while ((c = TAILQ_FIRST(&now)) != NULL) {
        TAILQ_REMOVE(&now, c, next);
        c->queued = false;
        conn_run(c);
    }
}

/* After the events: a peer heard just now is not late. */
static void expire(void)
{
    struct conn *c;

    for (int i = 0; i < N_DUES; i++)
        while ((c = TAILQ_FIRST(&lp.due[i])) && c->due_ms <= lp.now_ms) {
            STAT_ADD(lp.stats, timeouts, 1);
            conn_close(c);
        }
}

/* Milliseconds that the loop may sleep; -1: until there is news. */
static int sleep_ms(void)
{
    int64_t due_ms = INT64_MAX;
    struct conn *c;

    if (!TAILQ_EMPTY(&lp.queue))
        return 0;
    for (int i = 0; i < N_DUES; i++)
        if ((c = TAILQ_FIRST(&lp.due[i])) && c->due_ms < due_ms)
            due_ms = c->due_ms;
    due_ms -= due_ms == INT64_MAX ? 0 : lp.now_ms;
    return service_wait_ms(lp.sv, lp.now_ms,
                           due_ms == INT64_MAX ? -1
                           : due_ms < 0        ? 0
                                               : (int)due_ms,
                           lp.retry_ms);
}
/* LAB-ELSE
 * static void event(const struct epoll_event *ev)
 * {
 *     if (ev->data.ptr == &lp.listener) {
 *         if (lp.listener >= 0)
 *             accept_ready(ACCEPTS_A_TURN);
 *     } else if (ev->data.ptr == &lp.sv->signal) {
 *         epoll_ctl(lp.epoll, EPOLL_CTL_DEL, lp.sv->signal, NULL);
 *         drain();
 *     } else {
 *         conn_run(ev->data.ptr);
 *     }
 * }
 */
/* LAB-END */

/* ------------------------------------------------------------------ loop */

static void loop_open(struct loop_setup *setup)
{
    struct epoll_event ev = {.events = EPOLLIN};

    lp.sv = setup->sv;
    lp.stats = setup->stats;
    lp.epoll = setup->epoll;
    lp.listener = setup->listener;
    ev.data.ptr = &lp.sv->signal;
    CHECK(epoll_ctl(lp.epoll, EPOLL_CTL_ADD, lp.sv->signal, &ev) == 0);
    lp.now_ms = clock_ms();
    /* LAB-BEGIN */
    for (int i = 0; i < N_DUES; i++)
        TAILQ_INIT(&lp.due[i]);
    TAILQ_INIT(&lp.queue);
    /* LAB-END */
}

void loop_run(struct loop_setup *setup)
{
    struct epoll_event evs[MAX_EVENTS];
    int n;

    loop_open(setup);
    while ((lp.listener >= 0 || lp.n_conns > 0) && !service_over(lp.sv)) {
        accept_watch();
        /* LAB-BEGIN */
        n = epoll_wait(lp.epoll, evs, MAX_EVENTS, sleep_ms());
        lp.now_ms = clock_ms() - lp.held_ms;
        for (int i = 0; i < n; i++)
            event(&evs[i]);
        run_queue();
        expire();
        if (lp.peers && lp.listener >= 0)
            accept_ready(ACCEPTS_A_TURN);
        lp.peers = false;
        if (lp.listener >= 0 && service_draining(lp.sv)) {
            epoll_ctl(lp.epoll, EPOLL_CTL_DEL, lp.sv->signal, NULL);
            drain();
        }
        /* LAB-ELSE
         *         n = epoll_wait(lp.epoll, evs, MAX_EVENTS,
         *                        service_wait_ms(lp.sv, lp.now_ms, -1,
         *                                        lp.retry_ms));
         *         lp.now_ms = clock_ms() - lp.held_ms;
         *         for (int i = 0; i < n; i++)
         *             event(&evs[i]);
         */
        /* LAB-END */
        service_tick(lp.sv);
    }
    while (!LIST_EMPTY(&lp.live))
        conn_close(LIST_FIRST(&lp.live));
    net_unlisten(&lp.listener);
}
