/* scene.h - items that scenarios push and take, each exactly once. */
#ifndef SCENE_H
#define SCENE_H

#include "explore.h"

enum { ITEMS = 8 };

/* The sizes that the explorer can afford. */
#define PAD 0

void items_init(void);

/* Writes what the item points to, and returns the item, to be pushed. */
void *item_make(int i);

/* Thread `who` has it: reads what it points to. */
void item_take(int who, void *item);
int items_taken(int who);

/* In check(): an item that is still queued is not lost. */
void item_left(void *item);

/* In check(): items 0 .. n-1 were taken exactly once or are still queued. */
void items_check(int n);

/* In check(): each thread took its items in the order of their numbers. */
void items_in_order(void);

extern const struct vx_scenario scene_ring, scene_gate, scene_gate1;
extern const struct vx_scenario scene_mpsc, scene_mpsc_2, scene_park2;
extern const struct vx_scenario scene_deque, scene_deque_half, scene_deque_wrap;
extern const struct vx_scenario scene_chase_lev, scene_park, scene_busy;
extern const struct vx_scenario scene_reply, scene_watched, scene_last;
extern const struct vx_scenario scene_slot, scene_slot_fails;
extern const struct vx_scenario scene_team, scene_rescue;
extern const struct vx_scenario scene_disk;
extern const struct vx_scenario scene_team_late, scene_rescue_late;
extern const struct vx_scenario scene_state, scene_generation;
extern const struct vx_scenario scene_admit, scene_admit_2;
extern const struct vx_scenario scene_elastic, scene_elastic_rest;
extern const struct vx_scenario scene_elastic_sample;

#endif
