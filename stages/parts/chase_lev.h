/* chase_lev.h - the classic work-stealing deque, to compare deque.h with.
 *
 * The owner pushes and takes at the bottom, last in, first out; thieves steal
 * the oldest item, one at a time, at the top.  Only for the last item do owner
 * and thief compete.
 *
 *           top (thieves, +1)        bottom (owner, +1 -1)
 *            |                         |
 *       | .. | a | b | c | d | e | f |
 *
 * Invariants:
 *   - items top .. bottom-1 are in it, item i in slot[i % CHASE_LEV_SIZE];
 *   - only the owner writes bottom and the slots; top only grows, by a
 *     compare-and-swap;
 *   - the owner takes item bottom-1 without a swap only when, after lowering
 *     bottom and a full fence, it sees top below it: a thief that could want
 *     the same item has then seen the lowered bottom, or has raised top.
 *
 * Indices are signed: on an empty deque the owner lowers bottom to top - 1, and
 * at the start that is -1, which as an unsigned number is "very full".
 * 64 bits, so they never come round.  The capacity is fixed: the published C11
 * version that grows its array has known bugs there.
 *
 * Source of the algorithm: Chase and Lev (SPAA 2005), orders after Le, Pop,
 * Cohen and Zappa Nardelli (PPoPP 2013), with store-releases instead of the
 * release fence, which ThreadSanitizer does not know.
 */
#ifndef CHASE_LEV_H
#define CHASE_LEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atom.h"
#include "pad.h"

#ifndef CHASE_LEV_SIZE
#define CHASE_LEV_SIZE 4096 /* items; a power of two */
#endif

struct chase_lev {
    PADDED ATOMIC(int64_t) top;    /* thieves, and the owner's last item */
    PADDED ATOMIC(int64_t) bottom; /* owner */
    PADDED ATOMIC(void *) slot[CHASE_LEV_SIZE];
};

_Static_assert((CHASE_LEV_SIZE & (CHASE_LEV_SIZE - 1)) == 0, "a power of two");
_Static_assert(PAD_APART(struct chase_lev, top, bottom), "top apart");
_Static_assert(PAD_APART(struct chase_lev, bottom, slot), "bottom apart");

static inline void chase_lev_init(struct chase_lev *q)
{
    a_init(&q->top, 0);
    a_init(&q->bottom, 0);
    for (size_t i = 0; i < CHASE_LEV_SIZE; i++)
        a_init(&q->slot[i], NULL);
}

/* Items in it at some instant during the call; a hint to all but the owner. */
static inline uint64_t chase_lev_len(struct chase_lev *q)
{
    int64_t top = a_load(&q->top, acquire);
    int64_t bottom = a_load(&q->bottom, acquire);

    return bottom > top ? (uint64_t)(bottom - top) : 0;
}

/* Owner only.  False: full, nothing was added. */
static inline bool chase_lev_push(struct chase_lev *q, void *item)
{
    /* relaxed: our own last store. */
    int64_t bottom = a_load(&q->bottom, relaxed);
    /* acquire: pairs with the thief's swap; it has read the slot. */
    int64_t top = a_load(&q->top, acquire);

    if (bottom - top >= CHASE_LEV_SIZE)
        return false;
    a_slot_store(&q->slot[bottom % CHASE_LEV_SIZE], item);
    /* release: the slot and the item are visible with the new bottom. */
    a_store(&q->bottom, bottom + 1, release);
    return true;
}

/* Owner only.  The newest item, or NULL. */
static inline void *chase_lev_take(struct chase_lev *q)
{
    int64_t bottom = a_load(&q->bottom, relaxed) - 1, top;
    void *item = NULL;

    /* release, here and below: a thief that reads this bottom relies on the
     * items under it just as if it had read the push's. */
    a_store(&q->bottom, bottom, release);
    /* The claim above must be visible before top is read; steal has the same
     * fence between the same two.  One of us sees the other. */
    a_fence(&q->bottom);
    /* relaxed: the fence has ordered it. */
    top = a_load(&q->top, relaxed);
    if (top <= bottom) {
        item = a_load(&q->slot[bottom % CHASE_LEV_SIZE], relaxed);
        if (top < bottom)
            return item;
        /* The last one: the thread that raises top has it.
         * seq_cst: in one order with the thieves' swaps and the fences. */
        if (!a_cas(&q->top, &top, top + 1, seq_cst, relaxed))
            item = NULL;
    }
    a_store(&q->bottom, bottom + 1, release);
    return item;
}

/* Thief.  The oldest item, or NULL: there was none. */
static inline void *chase_lev_steal(struct chase_lev *q)
{
    for (;;) {
        /* acquire: pairs with the swap that raised it, so that the slot below
         * is not read before the push that filled it again. */
        int64_t top = a_load(&q->top, acquire), bottom;
        void *item;

        a_fence(&q->top); /* see chase_lev_take() */
        /* acquire: pairs with the releases of bottom. */
        bottom = a_load(&q->bottom, acquire);
        if (top >= bottom)
            return NULL;
        item = a_slot_load(&q->slot[top % CHASE_LEV_SIZE]);
        /* seq_cst: see take.  It releases the slot to the owner, too. */
        if (a_cas(&q->top, &top, top + 1, seq_cst, relaxed))
            return item;
    }
}

#endif
