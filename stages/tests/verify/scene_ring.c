/* scene_ring.c - spmc_ring.h: the producer fills it and comes round while two
 * consumers take.
 */
#define SPMC_SIZE 2
#include "scene.h"

#include "parts/spmc_ring.h"

SCENE_VAR struct spmc_ring ring;
SCENE_VAR int pushed;

static void ring_init(void)
{
    items_init();
    pushed = 0;
    spmc_init(&ring);
    vx_name(&ring.head, "head");
    vx_name(&ring.tail, "tail");
    for (int i = 0; i < SPMC_SIZE; i++)
        vx_name(&ring.slot[i], "slot %d", i);
}

static void producer(void)
{
    for (int tries = 0; tries < 4 && pushed < 3; tries++)
        pushed += spmc_push(&ring, item_make(pushed));
}

static void pop_twice(int who)
{
    for (int i = 0; i < 2; i++) {
        void *item = spmc_pop(&ring);

        if (item)
            item_take(who, item);
    }
}

static void consumer1(void)
{
    pop_twice(1);
}
static void consumer2(void)
{
    pop_twice(2);
}

static void ring_check(void)
{
    for (uint64_t i = ring.head; i != ring.tail; i++)
        item_left(ring.slot[i % SPMC_SIZE]);
    items_in_order();
    items_check(pushed);
}

const struct vx_scenario scene_ring = {
    "ring",
    ring_init,
    {producer, consumer1, consumer2},
    {"producer", "consumer1", "consumer2"},
    ring_check,
    0,
};
