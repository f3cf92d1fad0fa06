/* scene_gate.c - gate.h: nobody sleeps while there is an item.  A consumer does
 * not come back from its item, so that the other has to be woken for a second.
 * Under c11 that would take too long: one item there.
 */
#include "scene.h"

#include "5-percore/gate.h"

SCENE_VAR struct gate gate;
SCENE_VAR uint64_t head, tail; /* a queue of which only the length matters */
SCENE_VAR int taken[VX_THREADS];

static void init(void)
{
    gate_init(&gate);
    head = tail = 0;
    taken[1] = taken[2] = 0;
    vx_name(&gate.count, "count");
    vx_name(&gate.seq, "seq");
    vx_name(&head, "head");
    vx_name(&tail, "tail");
}

static void produce(int n)
{
    for (int i = 0; i < n; i++) {
        vx_forget();
        a_store(&tail, (uint64_t)i + 1, release);
        gate_wake(&gate);
    }
}

static void producer(void)
{
    produce(2);
}
static void producer1(void)
{
    produce(1);
}

static bool pop(void)
{
    uint64_t first = a_load(&head, acquire);

    while (first < a_load(&tail, acquire))
        if (a_cas(&head, &first, first + 1, release, acquire))
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

static void consumer1(void)
{
    consume(1);
}
static void consumer2(void)
{
    consume(2);
}

static void check(void)
{
    if (head < tail && vx_anyone_asleep())
        vx_fail("lost wake-up: an item is queued and a consumer sleeps");
}

const struct vx_scenario scene_gate = {
    "gate",
    init,
    {producer, consumer1, consumer2},
    {"producer", "consumer1", "consumer2"},
    check,
    VX_SC | VX_TSO,
};

const struct vx_scenario scene_gate1 = {
    "gate-1",
    init,
    {producer1, consumer1, consumer2},
    {"producer", "consumer1", "consumer2"},
    check,
    0,
};
