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

/* WORLD_ALONE: one thread calls what several threads will call.  Each byte of
 * some memory has an owner, and what another one does to it has to be an
 * operation on an atomic word.  So while a call runs, the words that their
 * owner writes without one are not what they were, unless the owner calls. */
struct world_guard {
    unsigned char *memory;
    size_t size; /* at most WORLD_GUARDED */
    int (*owner)(size_t byte);
    /* Fails the test: `who` called `what`, and it changed another's byte. */
    void (*blame)(const char *what, int who, size_t byte);
};
enum { WORLD_GUARDED = 1 << 16 };
void world_guard(const struct world_guard *g); /* NULL: no longer */
void world_call(int who);                      /* before a call, and ... */
void world_called(int who, const char *what);  /* ... behind it */

/* Numbers that the course's seed (SEED) decides; the first one starts again. */
void world_seed(void);
uint32_t world_any(uint32_t n); /* 0 .. n-1 */

/* scenes.c: a scenario of the explorer under a name of its own. */
#define SCENE(id, name, scene, models)                                         \
    static const struct vx_scenario id = {name, scene, models}

/* Explores one scenario.  Fails the test, with the schedule, if it is wrong. */
void world_explore(const char *scenario);

#endif
