/* scene_mpsc.c - mpsc.h: two helpers return nodes, the owner sleeps between.
 *
 * mpsc-2: a sibling takes nodes as well, as stage 6 does with connections that
 * were dealt to a worker who is stuck.  It leaves the eventfd alone.
 */
#include "scene.h"

#include <string.h>

#include "parts/mpsc.h"

SCENE_VAR struct mpsc list;
struct ret {
    struct mpsc_node node;
    void *item;
};

SCENE_VAR struct ret ret[ITEMS];
SCENE_VAR uint64_t event;

static void init(void)
{
    items_init();
    mpsc_init(&list);
    memset(ret, 0, sizeof ret);
    event = 0;
    vx_name(&list.head, "head");
    vx_name(&event, "eventfd");
    for (int i = 0; i < ITEMS; i++)
        vx_name(&ret[i].node, "node %d", i);
}

static void give_back(int first, int n)
{
    for (int i = first; i < first + n; i++) {
        ret[i].item = item_make(i);
        if (mpsc_push(&list, &ret[i].node))
            event_post(&event);
    }
}

static void helper1(void)
{
    give_back(0, 2);
}
static void helper2(void)
{
    give_back(2, 2);
}

static void take(int taker, int last[2])
{
    for (struct mpsc_node *n = mpsc_take(&list); n; n = n->next) {
        int i = (int)((struct ret *)n - ret);

        if (i <= last[i / 2])
            vx_fail("node %d came after node %d", i, last[i / 2]);
        last[i / 2] = i;
        item_take(taker, ret[i].item);
    }
}

static void owner(void)
{
    int last[2] = {-1, -1};

    for (;;) {
        event_wait(&event);
        take(2, last);
    }
}

static void sibling(void)
{
    int last[2] = {-1, -1};

    take(1, last);
    take(1, last);
}

static void check(void)
{
    if (list.head)
        vx_fail("lost wake-up: the list holds a node and the owner sleeps");
    items_check(4);
}

static void check2(void)
{
    if (list.head)
        vx_fail("lost wake-up: the list holds a node and the owner sleeps");
    items_check(2);
}

const struct vx_scenario scene_mpsc = {
    "mpsc", init, {helper1, helper2, owner}, {"helper1", "helper2", "owner"},
    check,  0,
};

const struct vx_scenario scene_mpsc_2 = {
    "mpsc-2", init, {helper1, sibling, owner}, {"helper", "sibling", "owner"},
    check2,   0,
};
