/* mutex_queue.h - a bounded queue with a mutex, to compare the others with.
 *
 * As good as one lock gets:
 *   - a bounded ring inside, no allocation, two copies of a pointer per item;
 *   - the lock is held for a few instructions, never while waking a thread;
 *   - no thread is woken while all are awake, and none twice;
 *   - a look at its length does not take the lock.
 *
 * Invariants, while the lock is held:
 *   - head <= tail <= head + MUTEX_QUEUE_SIZE; items head .. tail-1 are in it;
 *   - waiting threads are in mq_wait(); woken of them have a signal under way;
 *   - waiting > woken implies that the queue was empty when they went to sleep
 *     and that every item pushed since has woken one, or was taken by a thread
 *     that was awake.
 *
 *        lock | head, tail | waiting, woken | slot[] ...
 *
 * It has no padding between head and tail: a thread that touches one
 * holds the lock, and with it the line.
 */
#ifndef MUTEX_QUEUE_H
#define MUTEX_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atom.h"
#include "pad.h"

#ifndef MUTEX_QUEUE_SIZE
#define MUTEX_QUEUE_SIZE 1024 /* items; a power of two */
#endif

struct mutex_queue {
    PADDED pthread_mutex_t lock;
    ATOMIC(uint64_t) head, tail; /* written with the lock, read without */
    unsigned waiting, woken;
    bool closed;
    pthread_cond_t filled;
    void *slot[MUTEX_QUEUE_SIZE];
};

_Static_assert((MUTEX_QUEUE_SIZE & (MUTEX_QUEUE_SIZE - 1)) == 0,
               "a power of two");

static inline void mq_init(struct mutex_queue *q)
{
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->filled, NULL);
    a_init(&q->head, 0);
    a_init(&q->tail, 0);
    q->waiting = q->woken = 0;
    q->closed = false;
}

static inline void mq_destroy(struct mutex_queue *q)
{
    pthread_cond_destroy(&q->filled);
    pthread_mutex_destroy(&q->lock);
}

/* relaxed, all of it: with the lock nothing else is needed, and without it the
 * answer is a hint. */
static inline uint64_t mq_len(struct mutex_queue *q)
{
    uint64_t head = a_load(&q->head, relaxed);
    uint64_t tail = a_load(&q->tail, relaxed);

    return tail > head ? tail - head : 0;
}

/* With the lock, and not empty. */
static inline void *mq_first(struct mutex_queue *q)
{
    uint64_t head = a_load(&q->head, relaxed);

    a_store(&q->head, head + 1, relaxed);
    return q->slot[head % MUTEX_QUEUE_SIZE];
}

/* Any thread.  False: the queue is full and nothing was added. */
static inline bool mq_push(struct mutex_queue *q, void *item)
{
    bool room, wake = false;

    pthread_mutex_lock(&q->lock);
    room = mq_len(q) < MUTEX_QUEUE_SIZE;
    if (room) {
        uint64_t tail = a_load(&q->tail, relaxed);

        q->slot[tail % MUTEX_QUEUE_SIZE] = item;
        a_store(&q->tail, tail + 1, relaxed);
        wake = q->waiting > q->woken;
        q->woken += wake;
    }
    pthread_mutex_unlock(&q->lock);
    /* After the unlock, or the woken thread would run into the lock. */
    if (wake)
        pthread_cond_signal(&q->filled);
    return room;
}

/* Takes up to max of the oldest items; returns how many. */
static inline size_t mq_take(struct mutex_queue *q, void **items, size_t max)
{
    size_t n = 0;

    if (mq_len(q) == 0)
        return 0;
    pthread_mutex_lock(&q->lock);
    while (n < max && mq_len(q) > 0)
        items[n++] = mq_first(q);
    pthread_mutex_unlock(&q->lock);
    return n;
}

/* Any thread.  The oldest item, or NULL: the queue is empty. */
static inline void *mq_pop(struct mutex_queue *q)
{
    void *item = NULL;

    mq_take(q, &item, 1);
    return item;
}

/* Takes the older half, as a thief does: at most max, at least one if there
 * is one. */
static inline size_t mq_steal(struct mutex_queue *q, void **items, size_t max)
{
    size_t n = 0, half;

    if (mq_len(q) == 0)
        return 0;
    pthread_mutex_lock(&q->lock);
    half = (size_t)(mq_len(q) + 1) / 2;
    while (n < max && n < half)
        items[n++] = mq_first(q);
    pthread_mutex_unlock(&q->lock);
    return n;
}

/* Sleeps until there is an item and takes it; NULL: closed and empty. */
static inline void *mq_wait(struct mutex_queue *q)
{
    void *item = NULL;

    pthread_mutex_lock(&q->lock);
    while (mq_len(q) == 0 && !q->closed) {
        q->waiting++;
        pthread_cond_wait(&q->filled, &q->lock);
        q->waiting--;
        /* A wake-up without a signal takes another thread's off the count:
         * the next push then signals once too often, never too seldom. */
        if (q->woken > 0)
            q->woken--;
    }
    if (mq_len(q) > 0)
        item = mq_first(q);
    pthread_mutex_unlock(&q->lock);
    return item;
}

/* No item will follow: mq_wait() returns NULL once the queue is empty. */
static inline void mq_close(struct mutex_queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_mutex_unlock(&q->lock);
    pthread_cond_broadcast(&q->filled);
}

#endif
