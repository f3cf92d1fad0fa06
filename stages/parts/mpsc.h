/* mpsc.h - the return list: many threads push, the owner takes everything.
 *
 * A thread that has finished with a connection (a helper of stage 5, a runner
 * of stage 6) pushes it here; the worker that owns it takes the whole list at
 * once.
 *
 *      head --> n3 --> n2 --> n1 --> NULL      newest first, as pushed
 *      mpsc_take():  n1 --> n2 --> n3 --> NULL oldest first, head is NULL
 *
 * Invariants:
 *   - every node pushed and not yet taken is on the list exactly once;
 *   - a node's link is written by its pusher until the swap succeeds and by
 *     the owner after the take: never by two threads at a time;
 *   - the push that finds the list empty, and only that one, owes the owner a
 *     wake-up.  The owner must take the list after every wake-up it gets; the
 *     wake-up itself must stay pending while the owner is awake (an eventfd
 *     count, a completion in its ring do), so none can be lost.
 *
 * No ABA: nodes leave only all together, so a head that compares equal still
 * means "the list that my node's link continues".
 *
 * Source of the algorithm: R. K. Treiber's stack (1986) with an exchange as
 * its only removal.  push is lock-free, take wait-free.
 */
#ifndef MPSC_H
#define MPSC_H

#include <stdbool.h>
#include <stddef.h>

#include "atom.h"
#include "pad.h"

struct mpsc_node {
    struct mpsc_node *next;
};

struct mpsc {
    PADDED ATOMIC(struct mpsc_node *) head;
};

static inline void mpsc_init(struct mpsc *m)
{
    a_init(&m->head, NULL);
}

/* Any thread.  True: the list was empty, wake the owner. */
static inline bool mpsc_push(struct mpsc *m, struct mpsc_node *node)
{
    /* relaxed: only compared, never followed. */
    struct mpsc_node *old = a_load(&m->head, relaxed);

    do {
        node->next = old;
        /* release: the node and its link are visible to the owner.  A later
         * push is a read-modify-write too, so it carries our release on. */
    } while (!a_cas(&m->head, &old, node, release, relaxed));
    return old == NULL;
}

/* Takes all nodes: oldest first, linked by next; NULL: none.  Called by the
 * owner; in stage 6 also by a sibling, when the owner is stuck.  Then each node
 * goes to one of the two, and the owner's wake-up stays pending. */
static inline struct mpsc_node *mpsc_take(struct mpsc *m)
{
    struct mpsc_node *fifo = NULL, *node, *next;

    /* relaxed: if we miss a push here, no harm: that push wakes us, or has done
     * so already. */
    if (a_load(&m->head, relaxed) == NULL)
        return NULL;
    /* acquire: pairs with the release of every push that is on the list. */
    for (node = a_xchg(&m->head, NULL, acquire); node; node = next) {
        next = node->next;
        node->next = fifo;
        fifo = node;
    }
    return fifo;
}

#endif
