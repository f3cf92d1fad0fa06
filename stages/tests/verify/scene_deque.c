/* scene_deque.c - deque.h, capacity 2: owner and thieves meet at the last
 * item, and the ring comes round under a slow thief.
 */
#define DEQUE_SIZE 2
#include "scene.h"

#include "parts/deque.h"

SCENE_VAR struct deque own, mine[VX_THREADS];
SCENE_VAR int pushed;

static void init(void)
{
    items_init();
    pushed = 0;
    deque_init(&own);
    vx_name(&own.head, "head");
    vx_name(&own.tail, "tail");
    for (int i = 0; i < DEQUE_SIZE; i++) {
        vx_name(&own.slot[i], "slot %d", i);
    }
    for (int i = 1; i < VX_THREADS; i++)
        deque_init(&mine[i]);
}

static void push(void)
{
    pushed += deque_push(&own, item_make(pushed));
}

static void pop(void)
{
    void *item = deque_pop(&own);

    if (item)
        item_take(0, item);
}

static void owner(void)
{
    push();
    push();
    pop();
    push();
    pop();
}

static void thief(int who)
{
    void *item = deque_steal(&own, &mine[who]);

    if (item)
        item_take(who, item);
}

static void thief1(void)
{
    thief(1);
}
static void thief2(void)
{
    thief(2);
}

static void check(void)
{
    for (uint64_t i = own.head; i != own.tail; i++)
        item_left(own.slot[i % DEQUE_SIZE]);
    items_in_order();
    items_check(pushed);
}

const struct vx_scenario scene_deque = {
    "deque", init, {owner, thief1, thief2}, {"owner", "thief1", "thief2"},
    check,   0,
};

static void wrap_owner(void)
{
    for (int i = 0; i < 2; i++) {
        push();
        push();
        pop();
        pop();
    }
    push();
}

const struct vx_scenario scene_deque_wrap = {
    "deque-wrap", init, {wrap_owner, thief1}, {"owner", "thief1"}, check, 0,
};
