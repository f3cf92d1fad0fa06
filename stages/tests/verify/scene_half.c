/* scene_half.c - deque.h, capacity 4: a thief takes two of four while another
 * steals from it in turn.
 */
#define DEQUE_SIZE 4
#include "scene.h"

#include "parts/deque.h"

SCENE_VAR struct deque q[VX_THREADS];
SCENE_VAR int pushed;

static void init(void)
{
    items_init();
    pushed = 0;
    for (int i = 0; i < VX_THREADS; i++) {
        deque_init(&q[i]);
        vx_name(&q[i].head, "head %d", i);
        vx_name(&q[i].tail, "tail %d", i);
        for (int k = 0; k < DEQUE_SIZE; k++)
            vx_name(&q[i].slot[k], "slot %d.%d", i, k);
    }
}

static void owner(void)
{
    void *item;

    for (int i = 0; i < 5; i++) {
        pushed += deque_push(&q[0], item_make(pushed));
    }
    item = deque_pop(&q[0]);
    if (item)
        item_take(0, item);
}

static void steal(int from, int who)
{
    void *item = deque_steal(&q[from], &q[who]);

    if (item)
        item_take(who, item);
}

static void thief1(void)
{
    void *item;

    steal(0, 1);
    item = deque_pop(&q[1]);
    if (item)
        item_take(1, item);
}

static void thief2(void)
{
    steal(1, 2);
}

static void check(void)
{
    for (int i = 0; i < VX_THREADS; i++)
        for (uint64_t k = q[i].head; k != q[i].tail; k++)
            item_left(q[i].slot[k % DEQUE_SIZE]);
    items_in_order();
    items_check(pushed);
}

const struct vx_scenario scene_deque_half = {
    "deque-half", init, {owner, thief1, thief2}, {"owner", "thief1", "thief2"},
    check,        0,
};
