/* Stage 6: idle cores take readiness and work from busy ones.
 *
 * What stage 5 could not do: help.  A request that takes long holds up all who
 * hashed to its core, while other cores sleep.
 *
 *      worker 0                        worker 1
 *      --------                        --------
 *      readiness set (epoll)  <------- harvested, while 0 is in a handler
 *        v harvest
 *      queue: c9 c4 h7 h2     <------- stolen, the older half
 *        v run
 *      plain calls, or a batch         parks when there is nothing anywhere
 *      of SQEs; then one handler       sentinel: wakes it when 0 is stuck
 *
 * The one new idea: a connection belongs to whoever runs it now.  All it takes
 * is one atomic word (state.h).  And readiness must be takeable too: a ring of
 * DEFER_TASKRUN can be entered by its owner only, so what arrives for a worker
 * in a long handler would stay unseen.  Anybody can wait on an epoll set.
 *
 * Kernel features: those of stage 5; epoll edges (2.6.2), RWF_NOWAIT (4.14).
 *
 * Invariants
 *  - Exactly one thread touches a connection: who claimed it.  Nothing of it is
 *    in flight then; a batch ends before its worker does anything else.
 *  - Its slot, timer and registration stay with its home, whoever runs it: who
 *    closes it sends the slot home.
 *  - An edge is told once.  So whoever stops short of EAGAIN queues the
 *    connection again, and who takes an event from a set queues it, always.
 *  - No wake-up is lost: park.h, busy.h.
 *
 * What is still wrong: nothing is preempted.  When every worker is in a handler
 * the rest waits, and on balanced short requests stealing only costs.
 */

/* -------------------------------------------------------------- includes */

#include <liburing.h>
#include <sys/epoll.h>

#include "batch.h"
#include "conn.h"
#include "home.h"
#include "io.h"
#include "sentinel.h"

enum { MAX_EVENTS = 256 }; /* taken by one epoll_wait */

/* ------------------------------------------------------------ connection */

/* Its life, and who may touch what: conn.h.  What its runner does with it:
 * io.h, batch.h.  What only its home does: home.h. */

/* The clock of everything below: read after whatever may have taken long. */
static void tick(struct worker *w)
{
    w->now_us = clock_us();
    w->now_ms = w->now_us / 1000;
}

/* Is there something in a sibling's queue? */
static bool work_elsewhere(struct worker *w)
{
    for (int i = 1; i < w->team->n_workers; i++) {
        struct seat *v = sibling(w->seat, i);

        if (ready_ripe(&v->ready, w->now_us, w->own.depth, w->own.age_us))
            return true;
    }
    return false;
}

/* There is more than we can do at once.  One sleeper at a time: it wakes the
 * next if it finds something (stop_searching), so a burst wakes as many as it
 * can feed, and no herd. */
static void wake_one(struct worker *w)
{
    if (w->own.steal != STEAL_OFF && team_wake(w->team))
        OWN_ADD(&w->stats, wakes, 1);
}

/* We have something to do.  Who pushed while we were the only one to search has
 * relied on us: if we were the last, we look for them, and send another. */
static void stop_searching(struct worker *w)
{
    if (!w->searching)
        return;
    w->searching = false;
    if (park_found(&w->team->park)) {
        a_fence(&w->team->park.word); /* no longer counted before we look */
        if (work_elsewhere(w))
            wake_one(w);
    }
}

/* The handler of one connection: the only place where a worker is away for
 * long.  What it leaves behind others may take. */
static void run_handler(struct worker *w, struct conn *c)
{
    bool seen = w->own.steal == STEAL_ALL;

    CHECK(state_claim(&c->state));
    c->work = c->hears = false;
    c->share = SHARE;
    c->readable = true; /* perhaps: it waited in the queue */
    if (ready_len(&w->seat->ready) > 0)
        wake_one(w);
    tick(w);
    if (seen)
        busy_begin(&w->seat->busy, &w->team->sentinel, w->now_us);
    service_work(&c->s, &w->stats);
    if (seen)
        busy_end(&w->seat->busy);
    tick(w);
    a_store(&c->due_ms, w->now_ms + c->rest_ms, relaxed);
    conn_run(w, c, false);
}

/* Runs c, or the first in the queue, and those behind it, up to the first
 * handler; that goes last.  False: there was nothing. */
static bool run(struct worker *w, struct conn *c)
{
    struct conn *batch[BATCH];
    int n = 0;

    if (!c && (c = ready_pop(&w->seat->ready)) == NULL)
        return false;
    stop_searching(w);
    while (c && !c->work) {
        CHECK(state_claim(&c->state));
        c->share = SHARE;
        c->readable = true;
        batch[n++] = c;
        c = n < w->batch_most ? ready_pop(&w->seat->ready) : NULL;
    }
    OWN_ADD(&w->stats, runs, (uint64_t)n + (c != NULL));
    if (w->own.submit == SUBMIT_BATCH ||
        (w->own.submit == SUBMIT_HYBRID && n >= w->own.batch_at))
        run_batch(w, batch, n);
    else
        for (int i = 0; i < n; i++)
            run_single(w, batch[i]);
    if (c)
        run_handler(w, c);
    return true;
}

/* ---------------------------------------------------------------- engine */

/* Takes readiness from a set, ours or a sibling's, onto our queue: as much as
 * there is room for, since an edge is told once.  Returns how much it took. */
static int harvest(struct worker *w, struct seat *from, int wait_ms)
{
    struct epoll_event evs[MAX_EVENTS];
    uint64_t room = ready_room(&w->seat->ready);
    int n, queued = 0;

    if (room == 0)
        return 0; /* run those first */
    n = epoll_wait(from->epoll, evs, room < MAX_EVENTS ? (int)room : MAX_EVENTS,
                   wait_ms);
    tick(w);
    STAT_ADD(&w->stats, waits, 1);
    STAT_ADD(&w->stats, events, n > 0 ? (uint64_t)n : 0);
    for (int i = 0; i < n; i++) {
        uint64_t name = evs[i].data.u64;
        struct conn *c = &from->conns[name_place(name)];

        if (name_kind(name) != NAME_CONN)
            continue;
        if (evs[i].events & (ENDING | EPOLLPRI))
            a_store(&c->unsure, true, relaxed);
        if (state_event(&c->state, name_gen(name))) {
            enqueue(w, c);
            queued++;
        }
    }
    OWN_ADD(&w->stats, injected, (uint64_t)queued);
    for (int i = 0; i < n; i++) /* these take what room is left */
        if (name_kind(evs[i].data.u64) != NAME_CONN)
            own_event(w, from, name_kind(evs[i].data.u64));
    return n;
}

/* The older half of a sibling's queue.  Returns the first of it, to be run. */
static struct conn *steal(struct worker *w)
{
    for (int i = 1; i < w->team->n_workers; i++) {
        struct seat *v = sibling(w->seat, i);
        struct conn *c = NULL;
        uint64_t n;

        if (ready_ripe(&v->ready, w->now_us, w->own.depth, w->own.age_us))
            c = ready_steal(&v->ready, &w->seat->ready, &n);
        if (c) {
            OWN_ADD(&w->stats, stolen, n);
            return c;
        }
    }
    return NULL;
}

/* The readiness of a sibling who has been in one handler for too long. */
static bool rescue(struct worker *w)
{
    if (w->own.steal != STEAL_ALL)
        return false;
    for (int i = 1; i < w->team->n_workers; i++) {
        struct seat *v = sibling(w->seat, i);
        int n = 0;

        if (busy_longer(&v->busy, w->now_us, w->own.stuck_us))
            n = harvest(w, v, 0);
        if (n > 0 && ready_len(&w->seat->ready) > 0) {
            OWN_ADD(&w->stats, rescued, (uint64_t)n);
            return true;
        }
    }
    return false;
}

/* ---------------------------------------------------------------- worker */

/* The soonest of what would wake us if no peer did; full, we look out for slots
 * that come home, as nobody posts us for them. */
static int wait_ms(struct worker *w)
{
    bool full = w->listener >= 0 && !accept_room(w);

    return service_wait_ms(&w->sv, w->now_ms,
                           wheel_wait_ms(&w->wheel, w->now_ms),
                           full ? w->now_ms + RETRY_MS : w->retry_ms);
}

/* Nothing of our own to do: search, and sleep if there is nothing anywhere. */
static void idle(struct worker *w)
{
    struct park *p = &w->team->park;
    struct conn *c;

    if (!w->searching)
        w->searching = park_search(p);
    if (w->searching) {
        OWN_ADD(&w->stats, searches, 1);
        if ((c = steal(w)) != NULL) {
            run(w, c);
            return;
        }
        if (rescue(w))
            return;
    }
    /* Announce it first, then look once more: who pushed before that is seen
     * here, who pushes later sees us and wakes us. */
    park_enter(p, w->seat->n, w->searching);
    w->searching = false;
    if (work_elsewhere(w)) {
        park_cancel(p, w->seat->n);
        w->searching = true;
        return;
    }
    OWN_ADD(&w->stats, parks, 1);
    harvest(w, w->seat, wait_ms(w));
    w->fresh = true;
    w->searching = park_leave(p, w->seat->n);
}

/* Every set-aside: time, homecomers, deadlines, the drain. */
static void upkeep(struct worker *w)
{
    w->told = false;
    take_home(w);
    expire(w); /* after the events: who was heard just now is not late */
    if (!w->serving)
        sweep(w);
    accept_watch(w);
    service_tick(&w->sv);
}

/* No connection is left, ours or anybody's: until then we help. */
static bool finished(struct worker *w)
{
    if (w->counted && !w->serving && a_load(&w->team->all_dealt, acquire)) {
        take_home(w);
        w->counted = w->n_conns > 0;
        if (!w->counted)
            a_add(&w->team->serving, -1, acq_rel);
    }
    return service_over(&w->sv) || a_load(&w->team->serving, acquire) == 0;
}

/* Our own readiness between any two runs: a queue that never empties must not
 * keep a socket waiting.  It costs one system call, and takes 256 events. */
static void worker_loop(struct worker *w)
{
    bool alone = w->own.steal == STEAL_OFF;

    while (!finished(w)) {
        upkeep(w);
        if (!w->fresh && (!alone || ready_len(&w->seat->ready) > 0))
            harvest(w, w->seat, 0);
        else if (alone)
            harvest(w, w->seat, wait_ms(w));
        w->fresh = false;
        if (!run(w, NULL) && !alone && !w->told)
            idle(w);
    }
}

/* ------------------------------------------------------------------ main */

/* In its own thread: a ring for DEFER_TASKRUN knows only its maker. */
static struct worker *worker_new(struct seat *seat)
{
    struct worker *w = own_pages(sizeof *w);
    int most;

    *w = (struct worker){.seat = seat, .team = seat->server};
    seat_copy(seat, &w->sv, &w->own);
    uring_open(&w->ring, "stage6", &w->own.uring, BATCH);
    seat->taskrun = w->own.uring.taskrun;
    most = (int)io_uring_sq_space_left(&w->ring) - w->own.sq_free;
    w->batch_most = most < 1 ? 1 : most < BATCH ? most : BATCH;
    seat_open(seat, sizeof(struct conn));
    seat_watch(seat, seat->eventfd, name_own(NAME_WAKE));
    seat_watch(seat, seat->disk.ring.ring_fd, name_own(NAME_DISK));
    seat_watch(seat, w->sv.signal, name_own(NAME_SIGNAL));
    w->listener = seat->listener;
    w->serving = w->counted = true;
    tick(w);
    wheel_init(&w->wheel, w->now_ms);
    stats_register(&w->stats, seat->n);
    seat->stats = &w->stats;
    return w;
}

/* When no worker runs any more.  False: the kernel still reads into memory of
 * ours, so none of it may be freed. */
static bool worker_free(struct worker *w)
{
    take_home(w);
    io_uring_queue_exit(&w->ring);
    if (disk_close(&w->seat->disk) > 0)
        return false;
    for (int i = 0; i < w->n_used; i++)
        if (w->seat->conns[i].fd >= 0)
            conn_close(w, &w->seat->conns[i]);
    pieces_free(&w->pieces);
    net_unlisten(&w->seat->listener);
    close(w->seat->epoll);
    close(w->seat->eventfd);
    return true;
}

static void *worker_main(void *arg)
{
    struct seat *seat = arg;
    struct worker *w = worker_new(seat);

    seat_begin(seat);
    worker_loop(w);
    seat_end(seat);
    seat->whole = worker_free(w);
    return NULL; /* *w stays: the registry of counters points to it */
}

int main(int argc, char **argv)
{
    static const struct argp own = {.options = own_choice_switches,
                                    .parser = own_choice_switch};
    static struct server v = {.own = {.uring.taskrun = "defer",
                                      .steal = STEAL_ALL,
                                      .submit = SUBMIT_HYBRID,
                                      .batch_at = 4,
                                      .sq_free = 16,
                                      .stuck_us = 100,
                                      .depth = 1}};

    stats_own(own_metrics, OWN_COUNTERS);
    service_open(&v.service, "stage6", "Stage 6: idle cores help.", argc, argv,
                 &own, &v.own);
    server_run(&v, worker_main, sentinel_main);
    return 0;
}
