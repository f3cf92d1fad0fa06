/* conn.h - a connection, its worker, and who may touch which part of them.
 *
 *      the runner   whoever claimed it: session, descriptor, windows
 *      home         the worker that accepted it: slot, timer, registration
 *      anybody      the atomic words: state, due_ms, unsure
 *
 * A slot is memory of home's that is never freed while workers run, so a stale
 * event may look at its state word whenever it comes: the generation in there
 * tells it that it is stale.
 *
 * Who runs a connection ends with exactly one of conn_release (idle: the next
 * event owns it), conn_requeue (in our queue, where a thief may take it) and
 * conn_close (the slot goes home).  After that it is not ours to look at.
 */
#ifndef CONN_H
#define CONN_H

#include <liburing.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "container_of.h"
#include "net.h"
#include "service.h"
#include "state.h"
#include "timer_wheel.h"
#include "topology.h"
#include "windows.h"

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

enum {
    EVENTS = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | (int)EPOLLET,
    ENDING = EPOLLRDHUP | EPOLLHUP | EPOLLERR,
};

struct conn {
    PADDED struct session s;
    struct mpsc_node node; /* on home's list of returns, or of spare slots */
    struct state state;
    ATOMIC(int64_t) due_ms; /* its deadline; runners write, home reads */
    ATOMIC(bool) unsure;    /* an event said: its end is near, or urgent data */
    struct seat *home;
    struct timer timer; /* home's */
    uint32_t gen;       /* of this connection in this slot; home's */
    uint32_t place;     /* in home's slab */
    uint32_t turn;      /* s.turn when the deadline was last set */
    uint64_t acked;     /* for net_grace_ms() */
    int fd, res;        /* res: of its operation in a batch */
    int64_t rest_ms;    /* until its deadline, while it waits for a handler */
    uint8_t share;      /* windows it may still move in this turn */
    bool readable;      /* told so, and no receive has emptied it since */
    bool hears;         /* it waits for bytes, and for nothing else */
    bool work;          /* what it waits for in the queue is a handler */
    bool late;          /* its deadline came while it waited to send */
};

struct worker {
    struct stats stats; /* first: on lines of its own */
    struct seat *seat;
    struct server *team;
    struct service sv; /* a copy */
    struct own_choice own;
    struct pieces pieces;
    struct timer_wheel wheel;
    struct mpsc_node *spare; /* slots used before */
    int n_used, n_conns;     /* slots ever used; in use */
    int n_swept;             /* slots looked at by the drain */
    struct io_uring ring;
    int batch_most;
    int listener;
    bool accepting; /* the listener is registered */
    bool searching; /* counted as such: park.h */
    bool fresh;     /* the set was harvested a moment ago */
    bool told;      /* by a descriptor of its own: there is upkeep to do */
    bool serving;   /* no drain yet */
    bool counted;   /* in team->serving */
    int64_t now_us, now_ms, retry_ms;
};

/* Onto our own queue: room has been seen to, or it has just been taken off. */
static inline void enqueue(struct worker *w, struct conn *c)
{
    ready_push(&w->seat->ready, c, w->now_us);
}

/* The peer has another --idle-timeout from here on. */
static inline void conn_touch(struct worker *w, struct conn *c)
{
    c->turn = c->s.turn;
    a_store(&c->due_ms, w->now_ms + w->sv.opt.idle_ms, relaxed);
}

/* A free slot: one used before, or the next of the slab.  NULL: all are in use,
 * or still on their way home. */
static inline struct conn *slot_take(struct worker *w)
{
    struct conn *c;

    if (w->spare) {
        c = container_of(w->spare, struct conn, node);
        w->spare = w->spare->next;
        return c;
    }
    if (w->n_used == w->seat->max_conns)
        return NULL;
    c = &w->seat->conns[w->n_used];
    c->home = w->seat;
    c->place = (uint32_t)w->n_used++;
    state_init(&c->state);
    return c;
}

static inline void slot_free(struct worker *w, struct conn *c)
{
    wheel_cancel(&w->wheel, &c->timer);
    c->fd = -1;
    c->node.next = w->spare;
    w->spare = &c->node;
}

/* Once registered, any worker may run it.  False: it could not be. */
static inline bool conn_new(struct worker *w, int fd)
{
    struct conn *c = slot_take(w);
    struct epoll_event ev = {.events = EVENTS};

    if (!c)
        return false;
    session_init(&c->s, &w->sv.app);
    c->fd = fd;
    c->acked = 0;
    c->hears = true;
    c->work = c->late = false;
    a_store(&c->unsure, false, relaxed);
    conn_touch(w, c);
    wheel_set(&w->wheel, &c->timer, w->now_ms + w->sv.opt.idle_ms);
    c->gen = state_open(&c->state);
    ev.data.u64 = name_conn(c->place, c->gen);
    if (epoll_ctl(w->seat->epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
        slot_free(w, c);
        return false;
    }
    w->n_conns++;
    STAT_ADD(&w->stats, accepted, 1);
    return true;
}

/* The single path to close, by whoever runs it.  The slot goes home; nobody is
 * woken for that: home looks every turn, and often while it waits for room. */
static inline void conn_close(struct worker *w, struct conn *c)
{
    net_close(c->fd);
    piece_drop(&w->pieces, &c->s.in);
    piece_drop(&w->pieces, &c->s.out);
    session_end(&c->s);
    STAT_ADD(&w->stats, closed, 1);
    state_close(&c->state);
    mpsc_push(&c->home->returns, &c->node);
}

/* Not done, but others have their turn first; an idle worker may have it. */
static inline void conn_requeue(struct worker *w, struct conn *c)
{
    state_requeue(&c->state);
    enqueue(w, c);
}

/* Nothing to do before the next event.  Idle, it borrows no memory. */
static inline void conn_release(struct worker *w, struct conn *c)
{
    piece_reclaim(&w->pieces, &c->s.in);
    piece_reclaim(&w->pieces, &c->s.out);
    if (state_release(&c->state)) /* it is there already */
        enqueue(w, c);
}

#endif
