/* worlds.h - what tests do with the operations of atoms.h.
 *
 * A test chooses the world before it calls the student's code.  All of it is
 * for one thread, but WORLD_THREADS, which counts and shows nothing.
 */
#ifndef WORLDS_H
#define WORLDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum world {
    WORLD_ALONE,   /* each operation is counted, and shown to world_seen() */
    WORLD_THREADS, /* real threads, which now and then lose the core */
    WORLD_SETUP,   /* as ALONE, for a scenario's init(): a_name() names */
    WORLD_EXPLORED /* while the threads of a scenario run */
};
void world_enter(enum world w);

/* WORLD_ALONE: how many operations there were since the last reset. */
struct world_count {
    unsigned loads, stores, swaps, fences; /* swaps: all read-modify-writes */
};
extern struct world_count world_count;

/* WORLD_ALONE: if it is set, called for every operation on a word.  A swap
 * reads and writes, even if it fails. */
extern void (*world_seen)(const void *p, size_t size, bool reads, bool writes);

/* WORLD_ALONE: from now on the values of atomic words are kept elsewhere, and
 * the words themselves hold nonsense: what touches them past atoms.h sees it.
 * A word is hidden by its first operation. */
void world_hide(void);
void world_show(void); /* the values go back to their words */
bool world_hides(const void *byte);

/* Explores one scenario.  Fails the test, with the schedule, if it is wrong. */
void world_explore(const char *scenario);

#endif
