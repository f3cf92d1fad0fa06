/* scene_gate.c - gate.h: nobody sleeps while there is an item.  A consumer does
 * not come back from its item, so that the other has to be woken for a second.
 * Under c11 that would take too long: one item there.
 */
#include "scene.h"

#include "../../5-percore/gate.h"

SCENE_VAR struct gate gate;
SCENE_VAR uint64_t queue; /* how many items are in it; that is all there is */
SCENE_VAR int taken[VX_THREADS];

static void init(void)
{
    gate_init(&gate);
    queue = 0;
    taken[1] = taken[2] = 0;
    vx_name(&gate.count, "count");
    vx_name(&gate.seq, "seq");
    vx_name(&queue, "queue");
}

static void produce(int n)
{
    for (int i = 0; i < n; i++) {
        vx_forget();
        a_add(&queue, 1, release);
        gate_wake(&gate);
    }
}

static void producer(void) { produce(2); }
static void producer1(void) { produce(1); }

static bool pop(void)
{
    uint64_t n = a_load(&queue, acquire);

    while (n > 0)
        if (a_cas(&queue, &n, n - 1, acquire, acquire))
            return true;
    return false;
}

static void consume(int who)
{
    while (taken[who] == 0) {
        vx_forget();
        if (!pop()) {
            uint32_t key = gate_enter(&gate);

            if (!pop()) {
                gate_sleep(&gate, key);
                continue;
            }
            gate_leave(&gate);
        }
        taken[who]++;
    }
}

static void consumer1(void) { consume(1); }
static void consumer2(void) { consume(2); }

static void check(void)
{
    if (queue > 0 && vx_anyone_asleep())
        vx_fail("lost wake-up: an item is queued and a consumer sleeps");
}

const struct vx_scenario scene_gate = {
    "gate", init, {producer, consumer1, consumer2},
    {"producer", "consumer1", "consumer2"}, check, VX_SC | VX_TSO,
};

const struct vx_scenario scene_gate1 = {
    "gate-1", init, {producer1, consumer1, consumer2},
    {"producer", "consumer1", "consumer2"}, check, 0,
};
