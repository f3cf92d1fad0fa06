/* scene_mpsc.c - mpsc.h: two helpers return nodes, the owner sleeps between. */
#include "scene.h"

#include <string.h>

#include "../../5-percore/mpsc.h"

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

static void owner(void)
{
    int last[2] = {-1, -1};

    for (;;) {
        struct mpsc_node *n;

        event_wait(&event);
        for (n = mpsc_take(&list); n; n = n->next) {
            int i = (int)((struct ret *)n - ret);

            if (i <= last[i / 2])
                vx_fail("node %d came after node %d", i, last[i / 2]);
            last[i / 2] = i;
            item_take(2, ret[i].item);
        }
    }
}

static void check(void)
{
    if (list.head)
        vx_fail("lost wake-up: the list holds a node and the owner sleeps");
    items_check(4);
}

const struct vx_scenario scene_mpsc = {
    "mpsc", init, {helper1, helper2, owner}, {"helper1", "helper2", "owner"},
    check,  0,
};
