/* scene.c - the list of scenarios, and the items they share. */
#include "scene.h"

#include <string.h>

const struct vx_scenario *const vx_scenarios[] = {
    &scene_ring,         &scene_gate,           &scene_gate1,
    &scene_mpsc,         &scene_deque,          &scene_deque_half,
    &scene_deque_wrap,   &scene_chase_lev,      &scene_park,
    &scene_park2,        &scene_busy,           &scene_state,
    &scene_generation,   &scene_mpsc_2,         &scene_admit,
    &scene_admit_2,      &scene_reply,          &scene_watched,
    &scene_last,         &scene_slot,           &scene_slot_fails,
    &scene_team,         &scene_rescue,         &scene_team_late,
    &scene_rescue_late,  &scene_disk,           &scene_elastic,
    &scene_elastic_rest, &scene_elastic_sample,
};
const int vx_nscenarios = sizeof vx_scenarios / sizeof vx_scenarios[0];

const struct vx_scenario *const vx_small[] = {&scene_park2, &scene_generation};
const int vx_nsmall = sizeof vx_small / sizeof vx_small[0];

SCENE_VAR uint64_t body[ITEMS]; /* what an item points to; plain memory */
SCENE_VAR int got[VX_THREADS][ITEMS], ngot[VX_THREADS];
SCENE_VAR int count[ITEMS];

void items_init(void)
{
    memset(body, 0, sizeof body);
    memset(got, 0, sizeof got);
    memset(ngot, 0, sizeof ngot);
    memset(count, 0, sizeof count);
    for (int i = 0; i < ITEMS; i++)
        vx_name(&body[i], "item %d", i);
}

void *item_make(int i)
{
    plain_write(&body[i], (uint64_t)i + 100);
    return &body[i];
}

static int item_id(void *item)
{
    if ((uint64_t *)item < body || (uint64_t *)item >= body + ITEMS)
        vx_fail("a slot that holds no item was taken");
    return (int)((uint64_t *)item - body);
}

void item_take(int who, void *item)
{
    int id = item_id(item);

    if (plain_read(&body[id]) != (uint64_t)id + 100)
        vx_fail("item %d was taken before it was written", id);
    if (ngot[who] == ITEMS)
        vx_fail("more items taken than there are");
    got[who][ngot[who]++] = id;
}

int items_taken(int who)
{
    return ngot[who];
}

void item_left(void *item)
{
    count[item_id(item)]++;
}

void items_check(int n)
{
    for (int t = 0; t < VX_THREADS; t++)
        for (int i = 0; i < ngot[t]; i++)
            count[got[t][i]]++;
    for (int i = 0; i < ITEMS; i++) {
        if (count[i] > 1)
            vx_fail("item %d was taken %d times", i, count[i]);
        if (count[i] < (i < n))
            vx_fail("item %d was lost", i);
    }
}

void items_in_order(void)
{
    for (int t = 0; t < VX_THREADS; t++)
        for (int i = 1; i < ngot[t]; i++)
            if (got[t][i] < got[t][i - 1])
                vx_fail("item %d came after item %d", got[t][i], got[t][i - 1]);
}
