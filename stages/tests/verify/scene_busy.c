/* scene_busy.c - busy.h: workers go in and out of handlers, until one stays in
 * there.  The sentinel may sleep for good then only if it watches the set of
 * that worker.  And when it does not sleep it must not seem to, or the next
 * handler posts it for nothing.
 */
#include "scene.h"

#include <sys/eventfd.h>

SCENE_VAR uint64_t event;

/* busy.h shall sleep in the explorer's kernel, not in Linux. */
#define eventfd_write(fd, n) event_post(&event)
#define eventfd_read(fd, n) ((void)(n))
#include "parts/busy.h"

enum { WORKERS = 2, SENTINEL = 2, ROUNDS = 3, NOW = 1 };

SCENE_VAR struct busy busy[WORKERS];
SCENE_VAR struct sentinel sentinel;
SCENE_VAR bool watched[WORKERS];
SCENE_VAR uint64_t ready; /* worker 0's set has readiness */

static void init(void)
{
    event = ready = 0;
    sentinel = (struct sentinel){0};
    vx_name(&event, "eventfd");
    vx_name(&sentinel.asleep, "asleep");
    vx_name(&ready, "ready");
    for (int i = 0; i < WORKERS; i++) {
        busy[i].since_us = 0;
        watched[i] = false;
        vx_name(&busy[i].since_us, "busy %d", i);
    }
}

/* One handler, and then it is stuck in another. */
static void worker0(void)
{
    busy_begin(&busy[0], &sentinel, NOW);
    busy_end(&busy[0]);
    busy_begin(&busy[0], &sentinel, NOW);
}

static void worker1(void)
{
    busy_begin(&busy[1], &sentinel, NOW);
    busy_end(&busy[1]);
}

/* As in stage 6, without the looks at which it could not sleep anyhow.  Each
 * worker that it finds in a handler is watched from then on. */
static void watcher(void)
{
    for (int i = 0; i < ROUNDS; i++) {
        bool any = false;

        vx_forget();
        sentinel_enter(&sentinel);
        for (int w = 0; w < WORKERS; w++) {
            if (!watched[w] && busy_now(&busy[w])) {
                any = true;
                watched[w] = i > 0; /* in the first round not for long enough */
            }
        }
        if (any) {
            sentinel_stay(&sentinel);
        } else {
            event_wait(&event);
            sentinel_woken(&sentinel);
        }
        if (a_load(&sentinel.asleep, relaxed))
            vx_fail("the sentinel is awake and seems to sleep");
    }
}

static void check(void)
{
    if (vx_asleep(SENTINEL) && busy[0].since_us != 0 && !watched[0])
        vx_fail("the sentinel sleeps and a worker is in a handler");
}

const struct vx_scenario scene_busy = {
    "busy",
    init,
    {worker0, worker1, watcher},
    {"worker0", "worker1", "sentinel"},
    check,
    0,
};

/* ---- a stuck worker whose set is watched leaves its handler, and is stuck in
 * the next one when readiness comes: it must be watched again, or awake ---- */

static void watched_init(void)
{
    init();
    busy[0].since_us = NOW;
    watched[0] = true;
}

static void leaves_and_is_stuck(void)
{
    busy_end(&busy[0]);
    busy_begin(&busy[0], &sentinel, NOW);
}

static void peer(void)
{
    a_store(&ready, 1, seq_cst); /* the kernel's: its lock orders it */
    event_post(&event);
}

/* Readiness in a watched set: if its worker is in no handler, it is for that
 * worker, and the set is watched no more. */
static void watcher_of_one(void)
{
    for (int i = 0; i < ROUNDS; i++) {
        bool any;

        vx_forget();
        sentinel_enter(&sentinel);
        any = !watched[0] && busy_now(&busy[0]);
        if (any) {
            watched[0] = true; /* what is in the set already is an event */
            sentinel_stay(&sentinel);
            if (a_load(&ready, relaxed))
                return; /* it wakes an idle worker */
            continue;
        }
        event_wait(&event);
        sentinel_woken(&sentinel);
        if (!watched[0] || !a_load(&ready, relaxed))
            continue;
        if (busy_now(&busy[0]))
            return; /* it wakes an idle worker */
        watched[0] = false;
    }
}

static void watched_check(void)
{
    if (vx_asleep(1) && ready && busy[0].since_us != 0)
        vx_fail("readiness of a stuck worker, and the sentinel sleeps");
}

const struct vx_scenario scene_watched = {
    "watched",
    watched_init,
    {leaves_and_is_stuck, watcher_of_one, peer},
    {"worker", "sentinel", "peer"},
    watched_check,
    0,
};
