/* home.h - what a worker does for the connections that it accepted.
 *
 * Accepting, deadlines, the slots that come home and the drain.  Whoever runs
 * one of its connections meanwhile is not asked: home puts it into its queue,
 * as an event would, and the next runner finds that it is late, or idle in a
 * server that is leaving.
 */
#ifndef HOME_H
#define HOME_H

#include "conn.h"
#include "container_of.h"

enum { ACCEPTS_A_TURN = 64 };

/* Full, the listener is not watched: peers wait in the backlog. */
static inline bool accept_room(const struct worker *w)
{
    if (w->own.place == PLACE_HASH)
        return w->n_conns < w->seat->max_conns;
    return server_holds(w->team) < w->seat->max_conns;
}

/* Before an accept: by hash each worker has its share of places, and else there
 * is one count of them, as a sibling may accept for worker 0. */
static inline bool place_take(struct worker *w, uint64_t *turn)
{
    if (w->own.place == PLACE_HASH)
        return accept_room(w);
    *turn = a_add(&w->team->taken, 1, relaxed);
    if (server_holds(w->team) <= w->seat->max_conns)
        return true;
    a_add(&w->team->taken, -1, relaxed);
    return false;
}

/* There was nobody, or no memory for him. */
static inline void place_give(struct worker *w)
{
    if (w->own.place != PLACE_HASH)
        a_add(&w->team->taken, -1, relaxed);
}

static inline void accept_watch(struct worker *w)
{
    struct epoll_event ev = {.events = EPOLLIN,
                             .data.u64 = name_own(NAME_LISTENER)};
    bool want;

    if (w->listener < 0)
        return;
    want = accept_room(w) && w->retry_ms <= w->now_ms;
    if (want == w->accepting)
        return;
    if (epoll_ctl(w->seat->epoll, want ? EPOLL_CTL_ADD : EPOLL_CTL_DEL,
                  w->listener, &ev) == 0)
        w->accepting = want;
    else
        w->retry_ms = w->now_ms + RETRY_MS;
}

/* Takes up to n of those who wait, also at the door of a sibling who is stuck,
 * and these are ours; out of descriptors or memory: a pause. */
static inline void accept_ready(struct worker *w, struct seat *from, int n)
{
    bool deal = w->own.place == PLACE_RR && from == w->seat;
    uint64_t turn = 0;

    for (; n > 0 && w->serving && w->retry_ms <= w->now_ms &&
           place_take(w, &turn);
         n--) {
        int fd = net_accept(from->listener, true);

        if (fd >= 0 && deal && seat_deal(w->seat, turn, fd))
            continue;
        if (fd >= 0 && conn_new(w, fd))
            continue;
        place_give(w);
        if (fd == -EAGAIN || fd == -EINVAL)
            return; /* EINVAL: its home listens no more */
        if (fd >= 0)
            net_close(fd);
        STAT_ADD(&w->stats, refused, 1);
        w->retry_ms = w->now_ms + RETRY_MS;
    }
}

/* Connections that were dealt to us; or to a sibling who is stuck, and then
 * they are ours for good. */
static inline void take_dealt(struct worker *w, struct seat *from)
{
    struct mpsc_node *node, *next;

    for (node = mpsc_take(&from->dealt); node; node = next) {
        struct deal *deal = (struct deal *)node;

        next = node->next;
        if (!conn_new(w, deal->fd)) {
            place_give(w);
            net_close(deal->fd);
            STAT_ADD(&w->stats, refused, 1);
        }
        free(deal);
    }
}

/* Slots that come home, and connections that are new. */
static inline void take_home(struct worker *w)
{
    struct mpsc_node *node = mpsc_take(&w->seat->returns), *next;

    for (; node; node = next) {
        next = node->next;
        slot_free(w, container_of(node, struct conn, node));
        w->n_conns--;
    }
    take_dealt(w, w->seat);
}

/* Whoever's deadline has come is queued like after an event: only who runs it
 * may shut it down.  The timer stays until the slot comes home. */
static inline void expire(struct worker *w)
{
    struct timer *t;

    while (ready_room(&w->seat->ready) > 0 &&
           (t = wheel_expired(&w->wheel, w->now_ms)) != NULL) {
        struct conn *c = container_of(t, struct conn, timer);
        int64_t due = a_load(&c->due_ms, relaxed);
        bool late = due <= w->now_ms;

        /* In a handler or late: look again at the next tick. */
        if (late || due == INT64_MAX)
            due = w->now_ms + WHEEL_TICK_MS;
        wheel_set(&w->wheel, t, due);
        if (!late || !state_event(&c->state, c->gen))
            continue;
        /* Ours until it is queued.  A send would find room that the kernel has
         * made since, and take it for a sign of life. */
        c->late = !c->hears;
        enqueue(w, c);
    }
}

/* Each of our connections is run once more, as far as there is room in a turn:
 * its runner sends it away if it is idle. */
static inline void sweep(struct worker *w)
{
    while (w->n_swept < w->n_used && ready_room(&w->seat->ready) > 0) {
        struct conn *c = &w->seat->conns[w->n_swept++];

        if (state_event(&c->state, c->gen))
            enqueue(w, c);
    }
}

/* Whoever stands in line may have asked already: in, as far as there are free
 * places.  The listener is not closed before all workers have ended: a thief
 * may be about to accept from it, and its number must not be another's then. */
static inline void drain(struct worker *w)
{
    epoll_ctl(w->seat->epoll, EPOLL_CTL_DEL, w->sv.signal, NULL);
    w->retry_ms = 0;
    accept_ready(w, w->seat, net_last(w->listener));
    if (w->accepting)
        epoll_ctl(w->seat->epoll, EPOLL_CTL_DEL, w->listener, NULL);
    net_shut(w->listener);
    w->listener = -1;
    w->serving = false;
    if (w->seat->n == 0)
        a_store(&w->team->all_dealt, true, release);
}

/* Reads that are over: their connections are ours, and stealable. */
static inline void harvest_disk(struct worker *w, struct seat *from)
{
    struct conn *c;
    int res;

    while (ready_room(&w->seat->ready) > 0 &&
           (c = disk_take(&from->disk, &res)) != NULL) {
        if (res != -EINTR && res != -EAGAIN)
            session_file(&c->s, res);
        conn_requeue(w, c);
    }
}

/* Of a worker's own descriptors.  A thief passes over what only its owner can
 * do: they are level-triggered, so that takes nothing away. */
static inline void own_event(struct worker *w, struct seat *from, int name)
{
    bool thief = from != w->seat;

    if (name == NAME_LISTENER)
        accept_ready(w, from, ACCEPTS_A_TURN);
    else if (name == NAME_DISK)
        harvest_disk(w, from);
    else if (name == NAME_WAKE && thief && w->serving)
        take_dealt(w, from);
    if (thief)
        return;
    if (name == NAME_SIGNAL)
        drain(w);
    if (name == NAME_WAKE)
        seat_woken(w->seat);
    w->told = true; /* and it is told once: no sleep before upkeep() */
}

#endif
