/* park.h - idle workers sleep, and no wake-up is lost.
 *
 * A worker with an empty queue searches its siblings' queues, and parks (goes
 * to sleep) when those are empty, too.  A thread that queues work which it will
 * not run at once wakes one parked worker, unless a worker searches already.
 *
 *   worker                                 the thread that pushes
 *   ------                                 ----------------------
 *   park_search()      may I search?       push to its own queue
 *     steal ... nothing                    target = park_wake()
 *   park_enter()       bit set, fence        fence
 *   look at every queue once more            one searches, or none parked?
 *     something there: park_cancel()           then wake none (-1)
 *   sleep (epoll_wait, eventfd)              clear one bit, count a searcher
 *   park_leave()       woken, or an event  post target's eventfd
 *
 * One word holds searchers and sleepers, so that each step is one operation:
 *
 *      | searchers (8 bits) | a bit per parked worker (56) |
 *
 * Why no wake-up is lost: the worker writes its bit, then (full fence) reads
 * the queues; the pusher writes its queue, then (full fence) reads the word.
 * At least one of them sees the other's write.  A pusher that saw a searcher
 * woke no worker.  If that searcher finds nothing, it goes through park_enter()
 * and looks once more.  If it finds work, the last searcher to stop looks once
 * more, and wakes another worker if a queue is not empty.
 * The sleep itself loses nothing: an eventfd stays readable until it is read,
 * also when it was posted before the worker slept.  It is level-triggered in
 * the worker's epoll set, and only that worker reads it: a thief that harvests
 * the set leaves it alone.
 *
 * Why at most half of the workers search: each searcher reads the cache lines
 * of every other queue, and a second searcher finds little that the first has
 * not found.  (A worker that was woken, or has seen work while parking, is
 * never refused.)
 *
 * Source: the handshake is Dekker's; searchers and the rule for the last one
 * are those of the Go and tokio schedulers.
 */
#ifndef PARK_H
#define PARK_H

#include <stdbool.h>
#include <stdint.h>

#include "atom.h"
#include "pad.h"

enum { PARK_WORKERS = 56 }; /* at most */

#define PARK_SEARCHER (UINT64_C(1) << PARK_WORKERS)
#define PARK_BIT(w) (UINT64_C(1) << (w))

struct park {
    PADDED ATOMIC(uint64_t) word; /* searchers, parked workers */
    int workers;
};

static inline void park_init(struct park *p, int workers)
{
    a_init(&p->word, 0);
    p->workers = workers;
}

static inline uint64_t park_searchers(uint64_t word)
{
    return word >> PARK_WORKERS;
}

static inline uint64_t park_parked(uint64_t word)
{
    return word & (PARK_SEARCHER - 1);
}

/* No worker sleeps or searches: at this moment all have work. */
static inline bool park_none(struct park *p)
{
    return a_load(&p->word, relaxed) == 0;
}

/* Called by a worker without work.  True: it counts as a searcher now, and must
 * call park_found() or park_enter(searching) afterwards.  False: it may not
 * search. */
static inline bool park_search(struct park *p)
{
    /* relaxed: the limit is a matter of cost.  What is searched is ordered by
     * the queues. */
    uint64_t old = a_load(&p->word, relaxed);

    do {
        if (2 * park_searchers(old) >= (uint64_t)p->workers)
            return false;
    } while (!a_cas(&p->word, &old, old + PARK_SEARCHER, seq_cst, relaxed));
    return true;
}

/* A searcher has found something and will run it.  True: it was the last
 * searcher.  Threads that pushed meanwhile relied on it: it must look at all
 * queues after this, and call park_wake() when there is something in one. */
static inline bool park_found(struct park *p)
{
    /* seq_cst: a pusher's look at word comes before or after this in the one
     * order of all seq_cst operations. */
    if (park_searchers(a_add(&p->word, -PARK_SEARCHER, seq_cst)) != 1)
        return false;
    a_fence(&p->word); /* no longer counted, before the look */
    return true;
}

/* Worker w is going to sleep.  It must look at all queues after this, and call
 * park_cancel() when there is something in one. */
static inline void park_enter(struct park *p, int w, bool searching)
{
    a_add(&p->word, PARK_BIT(w) - (searching ? PARK_SEARCHER : 0), seq_cst);
    a_fence(&p->word); /* the bit before the look: see the top */
}

/* Worker w has seen work, and does not sleep: it counts as a searcher. */
static inline void park_cancel(struct park *p, int w)
{
    uint64_t old = a_load(&p->word, relaxed);

    do {
        /* A waker was faster: it has counted us as a searcher.  Its post ends
         * our next sleep at once; no harm. */
        if (!(old & PARK_BIT(w)))
            return;
    } while (!a_cas(&p->word, &old, old - PARK_BIT(w) + PARK_SEARCHER, seq_cst,
                    relaxed));
}

/* Worker w is awake.  True: a waker chose it, and it is a searcher; false: it
 * woke by itself (its own readiness, a deadline). */
static inline bool park_leave(struct park *p, int w)
{
    uint64_t old = a_load(&p->word, relaxed);

    do {
        if (!(old & PARK_BIT(w)))
            return true;
    } while (!a_cas(&p->word, &old, old - PARK_BIT(w), seq_cst, relaxed));
    return false;
}

/* After a push (or several).  Returns the worker to wake: it counts as a
 * searcher now, and the caller must post its eventfd.  -1: a worker searches
 * already, or all are awake. */
static inline int park_wake(struct park *p)
{
    uint64_t old, bit;

    a_fence(&p->word); /* the push before the look: see the top */
    old = a_load(&p->word, relaxed);
    do {
        if (park_searchers(old) > 0 || park_parked(old) == 0)
            return -1;
        bit = old & -old; /* always the lowest: the others sleep longer */
    } while (
        !a_cas(&p->word, &old, old - bit + PARK_SEARCHER, seq_cst, relaxed));
    return __builtin_ctzll(bit);
}

#endif
