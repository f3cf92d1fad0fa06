/* scene_elastic.c - elastic.h, elastic.c: worker 1 goes to rest, and worker 0
 * keeps its home.  An event comes for the set of worker 1, and a third thread
 * calls worker 1 back.  One thread at a time is in the home, the event is
 * taken, and the call is heard.
 *
 * The kernel of this scene: a set is a word, 1 if it has an event; when it is
 * in the keeper's set, the event wakes the keeper, and so does adding it.
 */
#include "scene.h"

#define ELASTIC_MOST 2

/* Before what elastic.c calls means something else. */
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

enum { KEEPER, OWNER, PERIOD_US = 10 };

SCENE_VAR uint64_t posted[2];   /* the eventfds; the keeper sleeps on its own */
SCENE_VAR uint64_t set, nested; /* worker 1's set; is it in the keeper's? */
SCENE_VAR uint64_t lock;        /* 1: free, as an eventfd */
SCENE_VAR uint64_t home, notes; /* plain memory */
SCENE_VAR int taken, entered;

static int nest(int op)
{
    a_xchg(&nested, op == EPOLL_CTL_ADD, seq_cst);
    if (op == EPOLL_CTL_ADD && a_load(&set, seq_cst))
        event_post(&posted[KEEPER]);
    return 0;
}

/* Sleeps until it is posted, and leaves it readable. */
static void sleep_on(uint64_t *event)
{
    event_wait(event);
    event_post(event);
}

#define pthread_mutex_init(m, attr) ((void)(m))
#define pthread_mutex_lock(m) ((void)(m), event_wait(&lock))
#define pthread_mutex_unlock(m) ((void)(m), event_post(&lock))
#define epoll_ctl(epoll, op, fd, ev) ((void)(ev), nest(op))
#define poll(p, n, ms) sleep_on(&posted[(p)->fd])
#define eventfd_write(fd, n) event_post(&posted[fd])
#define eventfd_read(fd, n) ((void)(n), a_xchg(&posted[fd], 0, seq_cst))
#include "parts/elastic.c"

SCENE_VAR struct elastic elastic;

static void init(void)
{
    posted[0] = posted[1] = set = nested = home = notes = 0;
    lock = 1;
    taken = entered = 0;
    memset(&elastic, 0, sizeof elastic);
    elastic.min = 1;
    elastic.max = 2;
    elastic.period_us = PERIOD_US;
    elastic_init(&elastic, 0);
    elastic_join(&elastic, KEEPER, 0, KEEPER);
    elastic_join(&elastic, OWNER, 0, OWNER);
    vx_name(&posted[KEEPER], "keeper's eventfd");
    vx_name(&posted[OWNER], "owner's eventfd");
    vx_name(&set, "set");
    vx_name(&nested, "nested");
    vx_name(&lock, "lock");
    vx_name(&home, "home");
    vx_name(&notes, "notes");
    vx_name(&elastic.active, "active");
    vx_name(&elastic.due_us, "due");
    vx_name(&elastic.member[KEEPER].kept, "kept");
}

static void look_after_home(void)
{
    plain_write(&home, plain_read(&home) + 1);
}

static void take_event(void)
{
    if (a_xchg(&set, 0, seq_cst))
        taken++;
}

/* It runs, rests, and runs again. */
static void owner(void)
{
    look_after_home();
    elastic_rest(&elastic, OWNER, 0, 0);
    look_after_home();
    take_event();
}

/* Two turns of its loop: it sleeps in its own set, which tells of the other. */
static void keeper(void)
{
    for (int i = 0; i < 2; i++) {
        vx_forget();
        event_wait(&posted[KEEPER]);
        take_event();
        if (a_load(&elastic.member[KEEPER].kept, acquire) &&
            home_enter(&elastic.member[OWNER])) {
            look_after_home();
            entered++;
            home_leave(&elastic.member[OWNER]);
        }
    }
}

static void caller(void)
{
    a_xchg(&set, 1, seq_cst);
    if (a_load(&nested, seq_cst))
        event_post(&posted[KEEPER]);
    elastic_resize(&elastic, 1, 2);
}

static void event_only(void)
{
    a_xchg(&set, 1, seq_cst);
    if (a_load(&nested, seq_cst))
        event_post(&posted[KEEPER]);
}

static void check(void)
{
    if (vx_asleep(OWNER))
        vx_fail("worker 1 was called and sleeps");
    if (taken != 1)
        vx_fail("the event was taken %d times", taken);
    if (home != 2 + (uint64_t)entered)
        vx_fail("two were in the home");
}

/* A keeper that has used up its turns would have gone on. */
static void check_rest(void)
{
    if (!vx_asleep(KEEPER))
        return;
    if (taken != 1)
        vx_fail("the event was taken %d times while worker 1 rested", taken);
    if (entered == 0)
        vx_fail("no worker knows of the timers of worker 1");
}

/* Two workers whose sample is due, with notes that belong to the sample. */
static void sampler(void)
{
    for (int64_t now_us = PERIOD_US; now_us <= 2 * PERIOD_US;
         now_us += PERIOD_US)
        if (elastic_turn(&elastic, now_us)) {
            plain_write(&notes, plain_read(&notes) + 1);
            elastic_sample(&elastic, now_us);
        }
}

static void check_samples(void)
{
    if (notes < 1 || notes > 2)
        vx_fail("%d samples in two periods", (int)notes);
}

const struct vx_scenario scene_elastic = {
    "elastic", init, {keeper, owner, caller}, {"keeper", "owner", "caller"},
    check,     0,
};
const struct vx_scenario scene_elastic_rest = {
    "elastic-rest",
    init,
    {keeper, owner, event_only},
    {"keeper", "owner", "event"},
    check_rest,
    0,
};
const struct vx_scenario scene_elastic_sample = {
    "elastic-sample",
    init,
    {sampler, sampler, NULL},
    {"worker0", "worker1", NULL},
    check_samples,
    0,
};
