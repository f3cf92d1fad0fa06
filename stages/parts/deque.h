/* deque.h - a worker's queue of ready connections, oldest first, stealable.
 *
 * The owner adds at the tail.  All threads, also the owner, take at the head,
 * so connections are served in the order in which they became ready.  In the
 * usual work-stealing deque the owner takes the newest item, and the oldest
 * request would starve (chase_lev.h is that deque, for comparison).
 *
 * Invariants, at every instant:
 *   - head <= tail <= head + DEQUE_SIZE; items head .. tail-1 are in it, item
 *     i in slot[i % DEQUE_SIZE];
 *   - only the owner writes tail and the slots;
 *   - head moves only by a compare-and-swap: the owner's by one, a thief's by
 *     half of what is there.  It succeeds for one of them, so each item has
 *     exactly one taker.
 *
 *      victim   head          tail        head      tail
 *                |             |            |         |
 *           | .. | a | b | c | d |   ->  .. | c | d |
 *                  \   \                  one swap moved head by two
 *                   \   copied behind the thief's tail, then published
 *                    returned to the thief, to be run at once
 *
 * A thief copies first and swaps afterwards.  When the swap fails the copies
 * are behind the thief's own tail, where no thread looks.  64-bit indices never
 * wrap, so a swap that succeeds means that nothing was taken in between.
 *
 * Source of the algorithm: the run queues of the Go scheduler
 * (runtime/proc.go, runqput, runqget, runqsteal).
 */
#ifndef DEQUE_H
#define DEQUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atom.h"
#include "pad.h"

#ifndef DEQUE_SIZE
#define DEQUE_SIZE 4096 /* items; a power of two */
#endif

struct deque {
    PADDED ATOMIC(uint64_t) head; /* owner and thieves: the next to take */
    PADDED ATOMIC(uint64_t) tail; /* owner: the next to add */
    PADDED ATOMIC(void *) slot[DEQUE_SIZE];
};

_Static_assert((DEQUE_SIZE & (DEQUE_SIZE - 1)) == 0, "a power of two");
_Static_assert(PAD_APART(struct deque, head, tail), "head apart from tail");
_Static_assert(PAD_APART(struct deque, tail, slot), "tail apart from slots");

static inline void deque_init(struct deque *q)
{
    a_init(&q->head, 0);
    a_init(&q->tail, 0);
    for (size_t i = 0; i < DEQUE_SIZE; i++)
        a_init(&q->slot[i], NULL);
}

/* Owner only: at least so many more items fit, until the next push. */
static inline uint64_t deque_room(struct deque *q)
{
    /* acquire: pairs with the release of the swap that freed the slots. */
    uint64_t head = a_load(&q->head, acquire);

    /* relaxed: our own last store. */
    return DEQUE_SIZE - (a_load(&q->tail, relaxed) - head);
}

/* Owner only.  False: full, nothing was added. */
static inline bool deque_push(struct deque *q, void *item)
{
    uint64_t tail = a_load(&q->tail, relaxed);

    if (deque_room(q) == 0)
        return false;
    /* relaxed: published by the store to tail. */
    a_slot_store(&q->slot[tail % DEQUE_SIZE], item);
    /* release: a thread that sees the new tail sees the slot, and the
     * connection that it points to. */
    a_store(&q->tail, tail + 1, release);
    return true;
}

/* Owner only.  The oldest item, or NULL: the queue is empty. */
static inline void *deque_pop(struct deque *q)
{
    /* relaxed: our own last store. */
    uint64_t tail = a_load(&q->tail, relaxed);
    /* relaxed: with an old head the swap fails, and the slots were written by
     * ourselves. */
    uint64_t head = a_load(&q->head, relaxed);
    void *item;

    do {
        if (head == tail)
            return NULL;
        item = a_slot_load(&q->slot[head % DEQUE_SIZE]);
        /* relaxed: only we reuse the slot, so only we must know that it is
         * free.  A read-modify-write carries the thieves' releases on. */
    } while (!a_cas(&q->head, &head, head + 1, relaxed, relaxed));
    return item;
}

/* A thief, the owner of `into`, takes the older half of `from`, as far as there
 * is room in `into`.  Returns the oldest item, and queues the rest on `into`.
 * NULL: there was nothing. */
static inline void *deque_steal(struct deque *from, struct deque *into)
{
    uint64_t base = a_load(&into->tail, relaxed);
    uint64_t room = deque_room(into);
    /* acquire: the thread that moved head had seen a larger tail, and we must
     * see it, too, or n would be negative.  The same when the swap fails. */
    uint64_t head = a_load(&from->head, acquire);

    for (;;) {
        /* acquire: pairs with the release in deque_push(). */
        uint64_t tail = a_load(&from->tail, acquire), n;
        void *first;

        if (head >= tail)
            return NULL;
        /* When head is out of date, n is too large; then the swap fails. */
        n = (tail - head) - (tail - head) / 2;
        if (n > room + 1)
            n = room + 1;
        first = a_slot_load(&from->slot[head % DEQUE_SIZE]);
        for (uint64_t i = 1; i < n; i++)
            a_slot_store(&into->slot[(base + i - 1) % DEQUE_SIZE],
                         a_slot_load(&from->slot[(head + i) % DEQUE_SIZE]));
        /* release: we have read the slots before the owner may reuse them.
         * No acquire: the load of tail has given us the items. */
        if (a_cas(&from->head, &head, head + n, release, acquire)) {
            /* release: as in deque_push(), for thieves of ours. */
            if (n > 1)
                a_store(&into->tail, base + n - 1, release);
            return first;
        }
    }
}

/* Items in the queue at some instant during the call. */
static inline uint64_t deque_len(struct deque *q)
{
    uint64_t head = a_load(&q->head, acquire);
    uint64_t tail = a_load(&q->tail, acquire);

    return tail > head ? tail - head : 0;
}

#endif
