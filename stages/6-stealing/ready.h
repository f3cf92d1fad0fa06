/* ready.h - a worker's ready queue: one of three, to be compared (--queue).
 *
 *   fifo       deque.h: oldest first, thieves take half.  The default
 *   chase-lev  chase_lev.h: the owner takes the newest, thieves one at a time.
 *              Fast, and unfair: what became ready first may wait longest
 *   mutex      mutex_queue.h: oldest first, half, one lock
 *
 * The owner pushes and pops, siblings steal.  All take READY_SIZE items.
 */
#ifndef READY_H
#define READY_H

enum {
    READY_SIZE = 4096, /* connections in one queue; a power of two */
    BATCH = 256,       /* connections run together at most */
};

#define DEQUE_SIZE READY_SIZE
#define CHASE_LEV_SIZE READY_SIZE
#define MUTEX_QUEUE_SIZE READY_SIZE

#include "parts/chase_lev.h"
#include "parts/deque.h"
#include "parts/mutex_queue.h"

enum queue_by { QUEUE_FIFO, QUEUE_CHASE_LEV, QUEUE_MUTEX };

struct ready {
    enum queue_by by;
    union {
        struct deque fifo;
        struct chase_lev lifo;
        struct mutex_queue locked;
    };
};

static inline void ready_init(struct ready *q, enum queue_by by)
{
    q->by = by;
    if (by == QUEUE_FIFO)
        deque_init(&q->fifo);
    else if (by == QUEUE_CHASE_LEV)
        chase_lev_init(&q->lifo);
    else
        mq_init(&q->locked);
}

/* Any thread: how many there are at some instant during the call. */
static inline uint64_t ready_len(struct ready *q)
{
    if (q->by == QUEUE_FIFO)
        return deque_len(&q->fifo);
    if (q->by == QUEUE_CHASE_LEV)
        return chase_lev_len(&q->lifo);
    return mq_len(&q->locked);
}

/* Owner: how many more fit, at least, until the next push. */
static inline uint64_t ready_room(struct ready *q)
{
    return READY_SIZE - ready_len(q);
}

/* Owner, who has seen to it that there is room.  now_us: for ready_ripe(). */
static inline void ready_push(struct ready *q, void *item, int64_t now_us)
{
    bool fits;

    if (q->by == QUEUE_FIFO)
        fits = deque_push(&q->fifo, item, now_us);
    else if (q->by == QUEUE_CHASE_LEV)
        fits = chase_lev_push(&q->lifo, item);
    else
        fits = mq_push(&q->locked, item);
    CHECK(fits);
}

/* Owner: the next to run, or NULL. */
static inline void *ready_pop(struct ready *q)
{
    if (q->by == QUEUE_FIFO)
        return deque_pop(&q->fifo);
    if (q->by == QUEUE_CHASE_LEV)
        return chase_lev_take(&q->lifo);
    return mq_pop(&q->locked);
}

/* Any thread, a hint: is it worth stealing from?  Only the FIFO knows ages. */
static inline bool ready_ripe(struct ready *q, int64_t now_us, uint64_t depth,
                              int64_t age_us)
{
    if (q->by == QUEUE_FIFO)
        return deque_ripe(&q->fifo, now_us, depth, age_us);
    return ready_len(q) >= depth;
}

/* Thief, who owns `into`: the oldest, to be run at once, or NULL.  *n: how many
 * were taken; the others are on `into` now, unless they were stolen again. */
static inline void *ready_steal(struct ready *from, struct ready *into,
                                uint64_t *n)
{
    void *items[BATCH], *first;

    if (from->by == QUEUE_FIFO) {
        uint64_t tail = a_load(&into->fifo.tail, relaxed);

        first = deque_steal(&from->fifo, &into->fifo);
        *n = first ? 1 + a_load(&into->fifo.tail, relaxed) - tail : 0;
        return first;
    }
    if (from->by == QUEUE_CHASE_LEV) {
        first = chase_lev_steal(&from->lifo);
        *n = first ? 1 : 0;
        return first;
    }
    *n = mq_steal(&from->locked, items, BATCH);
    for (uint64_t i = 1; i < *n; i++)
        ready_push(into, items[i], 0);
    return *n > 0 ? items[0] : NULL;
}

#endif
