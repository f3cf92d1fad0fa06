/* scene_admit.c - admit.h: no worker waits beside a free permit.  The server
 * has one permit, and it is taken.  It is given back while two workers want it.
 * A worker that gets it gives it back, so both must get it.
 */
#define ADMIT_WORKERS 2

#include "scene.h"

#include "parts/admit.h"

SCENE_VAR struct admit admit;
SCENE_VAR uint64_t wake[VX_THREADS];

static void init(void)
{
    admit_init(&admit, 1);
    admit.conns = 1;
    wake[0] = wake[1] = wake[2] = 0;
    vx_name(&admit.conns, "conns");
    vx_name(&admit.waiting[0], "waiting");
    vx_name(&admit.last, "last");
    vx_name(&wake[0], "eventfd0");
    vx_name(&wake[1], "eventfd1");
}

static void give(void)
{
    int worker = admit_give(&admit);

    if (worker >= 0)
        event_post(&wake[worker]);
}

static void leaver(void)
{
    give();
}

static void want(uint32_t me)
{
    vx_forget();
    while (!admit_take(&admit, me)) {
        event_wait(&wake[me]);
        vx_forget();
    }
    give();
}

static void worker0(void)
{
    want(0);
}
static void worker1(void)
{
    want(1);
}

static void check(void)
{
    if (admit.conns < 0 || admit.conns > 1)
        vx_fail("%d permits of one are taken", admit.conns);
    if (admit.conns == 0 && vx_anyone_asleep())
        vx_fail("lost wake-up: a worker waits beside a free permit");
}

const struct vx_scenario scene_admit = {
    "admit",
    init,
    {leaver, worker0, worker1},
    {"leaver", "worker0", "worker1"},
    check,
    VX_SC | VX_TSO,
};

const struct vx_scenario scene_admit_2 = {
    "admit-2", init, {leaver, worker0, NULL}, {"leaver", "worker0", NULL},
    check,     0,
};
