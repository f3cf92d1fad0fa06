/* scene_busy.c - busy.h: workers go in and out of handlers, until one stays in
 * there; the sentinel must not sleep then.  And when it does not sleep it must
 * not seem to, or the next handler posts it for nothing.
 */
#include "scene.h"

#include <sys/eventfd.h>

SCENE_VAR uint64_t event;

/* busy.h shall sleep in the explorer's kernel, not in Linux. */
#define eventfd_write(fd, n) event_post(&event)
#define eventfd_read(fd, n) (event_wait(&event), (void)(n), 0)
#include "6-stealing/busy.h"

enum { WORKERS = 2, SENTINEL = 2, ROUNDS = 3, NOW = 1 };

SCENE_VAR struct busy busy[WORKERS];
SCENE_VAR struct sentinel watch;

static void init(void)
{
    event = 0;
    watch = (struct sentinel){0};
    vx_name(&event, "eventfd");
    vx_name(&watch.asleep, "asleep");
    for (int i = 0; i < WORKERS; i++) {
        busy[i].since_us = 0;
        vx_name(&busy[i].since_us, "busy %d", i);
    }
}

/* One handler, and then it is stuck in another. */
static void worker0(void)
{
    busy_begin(&busy[0], &watch, NOW);
    busy_end(&busy[0]);
    busy_begin(&busy[0], &watch, NOW);
}

static void worker1(void)
{
    busy_begin(&busy[1], &watch, NOW);
    busy_end(&busy[1]);
}

/* As in sentinel.h, without the looks at which it could not sleep anyhow. */
static void sentinel(void)
{
    for (int i = 0; i < ROUNDS; i++) {
        bool any = false;

        vx_forget();
        sentinel_enter(&watch);
        for (int w = 0; w < WORKERS; w++)
            any |= busy_longer(&busy[w], NOW, -1);
        if (any)
            sentinel_stay(&watch);
        else
            sentinel_sleep(&watch);
        if (a_load(&watch.asleep, relaxed))
            vx_fail("the sentinel is awake and seems to sleep");
    }
}

static void check(void)
{
    if (vx_asleep(SENTINEL) && busy[0].since_us != 0)
        vx_fail("the sentinel sleeps and a worker is in a handler");
}

const struct vx_scenario scene_busy = {
    "busy",
    init,
    {worker0, worker1, sentinel},
    {"worker0", "worker1", "sentinel"},
    check,
    0,
};
