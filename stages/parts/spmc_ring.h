/* spmc_ring.h - a bounded queue without a lock: one producer, many consumers.
 *
 * Invariants, at every instant:
 *   - head <= tail <= head + SPMC_SIZE;
 *   - items head .. tail-1 are in the ring, item i in slot[i % SPMC_SIZE];
 *   - only the producer writes tail and the slots;
 *   - head moves by one, by a compare-and-swap that can succeed for only one
 *     consumer: so each item is taken exactly once, oldest first.
 *
 *            head                      tail
 *         (consumers)               (producer)
 *             |                         |
 *      +----+----+----+----+----+----+----+----+
 *      | .. | 41 | 42 | 43 | 44 | 45 |    |    |   slot[i % SPMC_SIZE]
 *      +----+----+----+----+----+----+----+----+
 *
 * Indices count items since the start and are 64 bits wide: at a thousand
 * million items a second they wrap after 584 years.  With narrow ones a
 * consumer that was preempted for one wrap would find "its" head again and
 * take an item that is not there any more (ABA).
 *
 * Source of the algorithm: Lamport's bounded ring, with the consumer side
 * shared by compare-and-swap as in the run queues of the Go scheduler
 * (runtime/proc.go, runqput and runqget, after D. Vyukov's design of 2012).
 * Progress: push is wait-free, pop lock-free (a failed swap means that another
 * consumer got its item).
 */
#ifndef SPMC_RING_H
#define SPMC_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atom.h"
#include "pad.h"

#ifndef SPMC_SIZE
#define SPMC_SIZE 1024 /* items; a power of two */
#endif

struct spmc_ring {
    PADDED ATOMIC(uint64_t) head; /* consumers: the next item to take */
    PADDED ATOMIC(uint64_t) tail; /* producer: the next item to add */
    uint64_t head_seen;           /* producer only: head, some time ago */
    PADDED ATOMIC(void *) slot[SPMC_SIZE];
};

_Static_assert((SPMC_SIZE & (SPMC_SIZE - 1)) == 0, "a power of two");
_Static_assert(PAD_APART(struct spmc_ring, head, tail), "head apart");
_Static_assert(PAD_APART(struct spmc_ring, tail, slot), "tail apart");

static inline void spmc_init(struct spmc_ring *r)
{
    a_init(&r->head, 0);
    a_init(&r->tail, 0);
    r->head_seen = 0;
    for (size_t i = 0; i < SPMC_SIZE; i++)
        a_init(&r->slot[i], NULL);
}

/* Producer only.  False: the ring is full and nothing was added. */
static inline bool spmc_push(struct spmc_ring *r, void *item)
{
    /* relaxed: no other thread writes tail, so this is our own last store. */
    uint64_t tail = a_load(&r->tail, relaxed);

    if (tail - r->head_seen >= SPMC_SIZE) {
        /* Looks full: look again.  The old head is good enough until then,
         * and saves fetching the consumers' line with every push.
         * acquire: pairs with the release in spmc_pop(), so the consumer has
         * read the slot that we are about to write over. */
        r->head_seen = a_load(&r->head, acquire);
        if (tail - r->head_seen >= SPMC_SIZE)
            return false;
    }
    /* relaxed: published by the store to tail. */
    a_slot_store(&r->slot[tail % SPMC_SIZE], item);
    /* release: the slot, and what the item points to, are visible to any
     * consumer that sees the new tail. */
    a_store(&r->tail, tail + 1, release);
    return true;
}

/* Any consumer.  The oldest item, or NULL: the ring is empty. */
static inline void *spmc_pop(struct spmc_ring *r)
{
    /* acquire: the thread that moved head here had seen a tail beyond it; so
     * must we, or head would be ahead of our tail.  The same when the swap
     * fails. */
    uint64_t head = a_load(&r->head, acquire);

    for (;;) {
        /* acquire: pairs with the release in spmc_push(). */
        uint64_t tail = a_load(&r->tail, acquire);
        void *item;

        if (head >= tail)
            return NULL;
        /* relaxed, and atomic though it is read before it is ours: when the
         * producer writes this slot meanwhile, head has moved on, the swap
         * fails, and what we read here is thrown away. */
        item = a_slot_load(&r->slot[head % SPMC_SIZE]);
        /* release: the slot was read before the producer learns that it is
         * free.  Nothing to acquire: tail has given us the item. */
        if (a_cas(&r->head, &head, head + 1, release, acquire))
            return item;
    }
}

/* Any thread; true at some instant during the call, old news afterwards. */
static inline bool spmc_empty(struct spmc_ring *r)
{
    uint64_t head = a_load(&r->head, acquire);

    return head >= a_load(&r->tail, acquire);
}

#endif
