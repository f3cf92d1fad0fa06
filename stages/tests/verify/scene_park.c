/* scene_park.c - park.h: a worker queues two items and is stuck after that, the
 * others are stuck after their first item.  Nothing may stay queued while one
 * of them sleeps.  Under c11 that would take too long: one worker, one item.
 */
#include "scene.h"

#include "parts/park.h"

SCENE_VAR struct park park;
SCENE_VAR uint64_t head, tail; /* a queue of which only the length matters */
SCENE_VAR uint64_t event[VX_THREADS];
SCENE_VAR int taken[VX_THREADS];

static void init(void)
{
    park_init(&park, VX_THREADS);
    head = tail = 0;
    vx_name(&park.word, "word");
    vx_name(&head, "head");
    vx_name(&tail, "tail");
    for (int i = 0; i < VX_THREADS; i++) {
        event[i] = 0;
        taken[i] = 0;
        vx_name(&event[i], "eventfd %d", i);
    }
}

static void wake_one(void)
{
    int w = park_wake(&park);

    if (w >= 0)
        event_post(&event[w]);
}

static void push(int n)
{
    for (int i = 0; i < n; i++) {
        vx_forget();
        a_store(&tail, (uint64_t)i + 1, release);
        wake_one();
    }
}

static void pusher(void)
{
    push(2);
}
static void pusher1(void)
{
    push(1);
}

static bool pop(void)
{
    uint64_t first = a_load(&head, acquire);

    while (first < a_load(&tail, acquire))
        if (a_cas(&head, &first, first + 1, release, acquire))
            return true;
    return false;
}

/* The idle part of a worker's loop, as stage 6 has it. */
static void work(int w)
{
    bool searching = false;

    while (taken[w] == 0) {
        vx_forget();
        if (!searching)
            searching = park_search(&park);
        if (searching && pop()) {
            if (park_found(&park) &&
                a_load(&head, acquire) < a_load(&tail, acquire))
                wake_one();
            searching = false;
            taken[w]++;
            continue;
        }
        park_enter(&park, w, searching);
        if (a_load(&head, acquire) < a_load(&tail, acquire)) {
            park_cancel(&park, w);
            searching = true;
            continue;
        }
        event_wait(&event[w]);
        searching = park_leave(&park, w);
    }
}

static void worker1(void)
{
    work(1);
}
static void worker2(void)
{
    work(2);
}

static void check(void)
{
    if (head < tail && vx_anyone_asleep())
        vx_fail("lost wake-up: an item is queued and a worker sleeps");
    if (park_searchers(park.word) > 0)
        vx_fail("a searcher is counted that does not search");
}

const struct vx_scenario scene_park = {
    "park",
    init,
    {pusher, worker1, worker2},
    {"pusher", "worker1", "worker2"},
    check,
    VX_SC | VX_TSO,
};

/* ---- the last searcher leaves: worker 1 searches and finds item 0, worker 2
 * sleeps.  The pusher relies on the searcher, which is stuck with its item.
 * Three threads, so that it fits into c11 without the way there. ---- */

static void last_init(void)
{
    init();
    tail = 1;
    park.word = PARK_SEARCHER + PARK_BIT(2);
}

static void push_second(void)
{
    a_store(&tail, 2, release);
    wake_one();
}

static void last_searcher(void)
{
    if (!pop())
        return;
    if (park_found(&park) && a_load(&head, acquire) < a_load(&tail, acquire))
        wake_one();
}

static void sleeper(void)
{
    event_wait(&event[2]);
    if (park_leave(&park, 2) && pop())
        park_found(&park);
    else
        vx_fail("woken for nothing");
}

static void last_check(void)
{
    if (head < tail && vx_anyone_asleep())
        vx_fail("lost wake-up: an item is queued and a worker sleeps");
}

const struct vx_scenario scene_last = {
    "last-searcher",
    last_init,
    {push_second, last_searcher, sleeper},
    {"pusher", "searcher", "sleeper"},
    last_check,
    0,
};

const struct vx_scenario scene_park2 = {
    "park-2", init, {pusher1, worker1}, {"pusher", "worker1"}, check, 0,
};
