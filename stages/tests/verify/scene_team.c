/* scene_team.c - deque.h, state.h and park.h together, as stage 6 has them.
 *
 * team: a worker harvests an event of one connection, queues it, and is stuck.
 * Two idle workers search, steal it, run it and park.  The connection must be
 * run by one of them, with all that the event brought, and must not stay queued
 * while one sleeps.
 *
 * rescue: the event stays in the set of a worker that is stuck already.  The
 * sentinel sees it there, and wakes an idle worker.
 */
#define DEQUE_SIZE 2

#include "scene.h"

#include <sys/eventfd.h>

SCENE_VAR uint64_t posted; /* the sentinel's: it does not sleep here */

#define eventfd_write(fd, n) event_post(&posted)
#define eventfd_read(fd, n) ((void)(n))
#include "6-stealing/state.h"
#include "parts/busy.h"
#include "parts/deque.h"
#include "parts/park.h"

enum { GEN = 7, NOW = 1 };

SCENE_VAR struct park park;
SCENE_VAR struct deque q[VX_THREADS];
SCENE_VAR uint64_t event[VX_THREADS];
SCENE_VAR struct state state; /* of the one connection */
SCENE_VAR uint64_t conn;      /* its fields: plain memory */
SCENE_VAR uint64_t bytes;     /* in its socket */
SCENE_VAR uint64_t edge;      /* in the set of worker 0 */
SCENE_VAR struct busy busy;   /* worker 0's */
SCENE_VAR int runs;
SCENE_VAR bool rescues;

static void init(void)
{
    park_init(&park, VX_THREADS);
    state.word = state_word(GEN, CONN_IDLE);
    conn = bytes = edge = posted = 0;
    busy.since_us = 0;
    runs = 0;
    rescues = false;
    vx_name(&park.word, "word");
    vx_name(&state.word, "state");
    vx_name(&conn, "conn");
    vx_name(&bytes, "bytes");
    vx_name(&edge, "edge");
    vx_name(&busy.since_us, "busy");
    for (int i = 0; i < VX_THREADS; i++) {
        deque_init(&q[i]);
        event[i] = 0;
        vx_name(&q[i].head, "head %d", i);
        vx_name(&q[i].tail, "tail %d", i);
        vx_name(&event[i], "eventfd %d", i);
        for (int k = 0; k < DEQUE_SIZE; k++)
            vx_name(&q[i].slot[k], "slot %d.%d", i, k);
    }
}

static void wake_one(void)
{
    int w = park_wake(&park);

    if (w >= 0)
        event_post(&event[w]);
}

static void harvested(int w)
{
    if (state_event(&state, GEN, STATE_NEWS))
        deque_push(&q[w], &conn);
}

static void run(int w)
{
    uint64_t marks;

    if (!state_claim(&state, &marks))
        vx_fail("a queued connection could not be claimed");
    plain_write(&conn, plain_read(&conn) + 1);
    runs++;
    if (!(marks & STATE_NEWS) || !a_load(&bytes, relaxed))
        vx_fail("it is run, and its bytes are not there");
    if (state_release(&state))
        deque_push(&q[w], &conn);
}

static bool work_elsewhere(void)
{
    return deque_len(&q[0]) > 0;
}

/* As in stage 6: the set of a worker that is stuck. */
static bool rescue(int w)
{
    if (!rescues || !busy_longer(&busy, NOW + 9, 1))
        return false;
    if (a_load(&edge, relaxed) && a_xchg(&edge, 0, seq_cst))
        harvested(w); /* an edge is told once */
    return deque_len(&q[w]) > 0;
}

/* An idle worker, as in stage 6, until it has run something. */
static void worker(int w, bool searching, bool asleep)
{
    for (;;) {
        void *item = NULL;

        vx_forget();
        if (asleep) {
            event_wait(&event[w]);
            searching = park_leave(&park, w);
            asleep = false;
        }
        if (!searching)
            searching = park_search(&park);
        if (searching)
            item = deque_steal(&q[0], &q[w]);
        if (!item)
            item = deque_pop(&q[w]);
        if (item) {
            if (searching && park_found(&park) && work_elsewhere())
                wake_one();
            run(w);
            return;
        }
        park_enter(&park, w, searching);
        searching = false;
        if (work_elsewhere() || rescue(w)) {
            park_cancel(&park, w);
            searching = true;
            continue;
        }
        asleep = true;
    }
}

static void home(void)
{
    a_store(&bytes, 1, relaxed);
    harvested(0);
    wake_one(); /* it goes into a handler: its queue is for others */
}

static void worker1(void)
{
    worker(1, false, false);
}
static void worker2(void)
{
    worker(2, false, false);
}

/* From here on, so that c11 can afford it: one searches, the other sleeps. */
static void one_searches(void)
{
    park.word = PARK_SEARCHER + PARK_BIT(2);
}
static void searcher(void)
{
    worker(1, true, false);
}
static void sleeper(void)
{
    worker(2, false, true);
}

static void check(void)
{
    bool queued = false;

    for (int i = 0; i < VX_THREADS; i++)
        queued |= q[i].head < q[i].tail;
    if ((queued || edge) && vx_anyone_asleep())
        vx_fail("lost wake-up: something is ready and a worker sleeps");
    if (runs > 1 || conn != (uint64_t)runs)
        vx_fail("it was run %d times", runs);
    if (!runs && !queued && !edge)
        vx_fail("the event was lost");
}

const struct vx_scenario scene_team = {
    "team",
    init,
    {home, worker1, worker2},
    {"home", "worker1", "worker2"},
    check,
    VX_SC | VX_TSO,
};

static void team_late_init(void)
{
    init();
    one_searches();
}

const struct vx_scenario scene_team_late = {
    "team-late",
    team_late_init,
    {home, searcher, sleeper},
    {"home", "searcher", "sleeper"},
    check,
    0,
};

/* ---- rescue ---- */

static void rescue_init(void)
{
    init();
    rescues = true;
    busy.since_us = NOW;
}

/* Bytes come; the kernel tells the sentinel, which watches the set. */
static void sentinel(void)
{
    a_store(&bytes, 1, relaxed);
    a_xchg(&edge, 1, seq_cst); /* under a lock of the kernel's */
    if (busy_longer(&busy, NOW + 9, 1))
        wake_one();
}

const struct vx_scenario scene_rescue = {
    "rescue",
    rescue_init,
    {sentinel, worker1, worker2},
    {"sentinel", "worker1", "worker2"},
    check,
    VX_SC | VX_TSO,
};

static void rescue_late_init(void)
{
    rescue_init();
    one_searches();
}

const struct vx_scenario scene_rescue_late = {
    "rescue-late",
    rescue_late_init,
    {sentinel, searcher, sleeper},
    {"sentinel", "searcher", "sleeper"},
    check,
    0,
};
