/* sentinel.h - a thread that notices who is stuck in a handler.
 *
 * A worker that runs a handler cannot say so any more, and a worker that sleeps
 * cannot see it.  So one thread looks at all of them every --stuck-us: when
 * somebody has been inside one handler for longer than that, and has readiness
 * that nobody takes, it wakes an idle worker, which harvests it.  (Go's sysmon
 * does the same for its Ps.)
 *
 * It sleeps while nobody is in a handler: a server of short answers never hears
 * of it.  How it goes to sleep without missing one: busy.h.
 */
#ifndef SENTINEL_H
#define SENTINEL_H

#include <poll.h>
#include <sys/prctl.h>
#include <time.h>

#include "topology.h"

/* At least us, and not much more. */
static inline void sentinel_nap(int64_t us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};

    nanosleep(&t, NULL);
}

/* Is there readiness in the set that nobody has taken? */
static inline bool set_ready(int epoll)
{
    struct pollfd p = {.fd = epoll, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

/* Wakes an idle worker when somebody is stuck in a handler, see sentinel.h. */
static inline void *sentinel_main(void *arg)
{
    struct server *v = arg;
    int quiet = 0;

    prctl(PR_SET_TIMERSLACK, 1000);
    while (!a_load(&v->over, relaxed)) {
        bool busy = false, wake = false;

        if (quiet > LINGER)
            sentinel_enter(&v->sentinel);
        for (int i = 0; i < v->n_workers; i++) {
            struct seat *seat = &v->seats[i];

            busy |= busy_longer(&seat->busy, clock_us(), -1);
            wake |= busy_longer(&seat->busy, clock_us(), v->own.stuck_us) &&
                    set_ready(seat->epoll);
        }
        if (wake)
            team_wake(v);
        if (quiet > LINGER && !busy && !a_load(&v->over, seq_cst))
            sentinel_sleep(&v->sentinel);
        else if (quiet > LINGER)
            sentinel_stay(&v->sentinel);
        quiet = busy || quiet > LINGER ? 0 : quiet + 1;
        sentinel_nap(v->own.stuck_us);
    }
    return NULL;
}

#endif
