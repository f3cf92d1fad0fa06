/* scene_chase_lev.c - chase_lev.h, capacity 2: take against steal at the last
 * item, on a fresh deque, and when it comes round.
 */
#define CHASE_LEV_SIZE 2
#include "scene.h"

#include "parts/chase_lev.h"

SCENE_VAR struct chase_lev q;
SCENE_VAR int pushed;

static void init(void)
{
    items_init();
    pushed = 0;
    chase_lev_init(&q);
    vx_name(&q.top, "top");
    vx_name(&q.bottom, "bottom");
    for (int i = 0; i < CHASE_LEV_SIZE; i++)
        vx_name(&q.slot[i], "slot %d", i);
}

static void push(void)
{
    pushed += chase_lev_push(&q, item_make(pushed));
}

static void take(void)
{
    void *item = chase_lev_take(&q);

    if (item)
        item_take(0, item);
}

static void owner(void)
{
    take(); /* empty, and bottom goes below 0 for a moment */
    push();
    push();
    take();
    take();
    push();
}

static void thief(int who)
{
    void *item = chase_lev_steal(&q);

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
    for (int64_t i = q.top; i < q.bottom; i++)
        item_left(q.slot[i % CHASE_LEV_SIZE]);
    items_check(pushed);
}

const struct vx_scenario scene_chase_lev = {
    "chase-lev", init, {owner, thief1, thief2}, {"owner", "thief1", "thief2"},
    check,       0,
};
