/* race.h - two threads that meet before each step.
 *
 * Threads that merely start together take turns on a busy machine and seldom
 * race.  These are pinned to different cpus and meet at every step; the last to
 * arrive would be ahead by the time its word takes to the other's cache, so it
 * pauses, for all lengths in turn.
 */
#ifndef RACE_H
#define RACE_H

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "cpus.h"

enum { RACE_STEPS = 2048 };

struct race {
    void (*step)(int me, int i); /* me: 0 or 1 */
    _Atomic int arrived, joined;
};

static inline void *race_run(void *arg)
{
    struct race *r = arg;
    int me = atomic_fetch_add(&r->joined, 1);
    cpu_set_t mine;

    CPU_ZERO(&mine);
    CPU_SET(cpus_number(me), &mine);
    pthread_setaffinity_np(pthread_self(), sizeof mine, &mine);
    for (int i = 0; i < RACE_STEPS; i++) {
        int all = (i + 1) * 2;
        int last = atomic_fetch_add(&r->arrived, 1) == all - 1;

        for (int spin = 1; atomic_load(&r->arrived) < all; spin++)
            if (spin % 100000 == 0)
                sched_yield();
        for (volatile int pause = last ? i % 256 : 0; pause > 0; pause--)
            ;
        r->step(me, i);
    }
    return NULL;
}

static inline void race(void (*step)(int me, int i))
{
    struct race r = {.step = step};
    pthread_t t[2];

    cpus_allowed(); /* the first call, while nothing runs beside it */
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&t[i], NULL, race_run, &r), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
}

#endif
