/* admit.h - how many connections the whole server has, counted once.
 *
 * --max-conns is a limit of the server, and every worker accepts on its own.
 * So there is one count.  It is written when a connection comes or goes, never
 * for a request.
 *
 *      worker, a peer waits             worker, a connection has ended
 *      admit_take: conns < max?         admit_give: conns - 1
 *        yes: conns + 1, accept           full fence
 *        no: set our bit                  is a bit set?
 *        full fence                         clear it, wake that worker
 *        conns < max after all?
 *          yes: take our bit back, again
 *
 * Why no worker waits beside a free permit: of two threads that each write and
 * then, after a full fence, read what the other one wrote, at least one sees
 * the other's write (Dekker).  So either the giver sees the bit, or the worker
 * sees that there is room.  A worker that was woken takes a permit before it
 * accepts, and gives it back if its peer has gone: that wakes the next one.
 *
 * Why it is fair: bits are searched in a circle, from behind the worker that
 * was woken last, and a worker whose bit is set does not try before it is
 * woken.
 *
 * Invariants: conns is the number of permits taken, at most max; a worker's bit
 * is set only by itself.  Progress: lock-free.
 */
#ifndef ADMIT_H
#define ADMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atom.h"
#include "pad.h"

#ifndef ADMIT_WORKERS
#define ADMIT_WORKERS 256 /* a multiple of 64 */
#endif

struct admit {
    PADDED ATOMIC(int) conns;
    ATOMIC(uint32_t) last; /* the worker that was woken last */
    ATOMIC(uint64_t) waiting[(ADMIT_WORKERS + 63) / 64]; /* a bit a worker */
    PADDED int max;                                      /* only read */
};

static inline void admit_init(struct admit *a, int max)
{
    a_init(&a->conns, 0);
    a_init(&a->last, 0);
    for (size_t i = 0; i < sizeof a->waiting / sizeof *a->waiting; i++)
        a_init(&a->waiting[i], 0);
    a->max = max;
}

/* Clears the bit.  True: it was set, and this call cleared it. */
static inline bool admit_clear(struct admit *a, uint32_t worker)
{
    uint64_t bit = UINT64_C(1) << worker % 64;
    uint64_t old = a_load(&a->waiting[worker / 64], relaxed);

    /* relaxed: the wake-up that follows orders what the woken worker reads. */
    while (old & bit)
        if (a_cas(&a->waiting[worker / 64], &old, old & ~bit, relaxed, relaxed))
            return true;
    return false;
}

/* Takes a permit for one more connection.  False: the server is full, or it was
 * and this worker has not been woken since; admit_give() will name it. */
static inline bool admit_take(struct admit *a, uint32_t worker)
{
    uint64_t bit = UINT64_C(1) << worker % 64;
    int old = a_load(&a->conns, relaxed);

    if (a_load(&a->waiting[worker / 64], relaxed) & bit)
        return false;
    do {
        while (old < a->max)
            /* acquire: what the giver did before, as to send a slot home. */
            if (a_cas(&a->conns, &old, old + 1, acquire, relaxed))
                return true;
        /* An addition sets the bit: only we set it, so it is not set. */
        a_add(&a->waiting[worker / 64], bit, relaxed);
        a_fence(&a->conns); /* our bit before the second look */
        old = a_load(&a->conns, relaxed);
    } while (old < a->max && admit_clear(a, worker));
    return false; /* full; or we have been woken already */
}

/* Picks the worker to wake, because a permit may be free, and clears its bit.
 * -1: none waits. */
static inline int admit_pick(struct admit *a)
{
    uint32_t first;

    a_fence(&a->conns); /* the free permit before the look at the bits */
    first = a_load(&a->last, relaxed) + 1;
    for (uint32_t i = 0; i < ADMIT_WORKERS; i++) {
        uint32_t worker = (first + i) % ADMIT_WORKERS;

        if (a_load(&a->waiting[worker / 64], relaxed) == 0) {
            i += 63 - worker % 64; /* none in this word */
        } else if (admit_clear(a, worker)) {
            a_store(&a->last, worker, relaxed);
            return (int)worker;
        }
    }
    return -1;
}

/* Gives a permit back.  Returns the worker that the caller must wake, or -1. */
static inline int admit_give(struct admit *a)
{
    a_add(&a->conns, -1, release); /* pairs with the swap in admit_take() */
    return admit_pick(a);
}

#endif
