/* busy.h - which workers are in a handler; and how the sentinel, the thread
 * that looks at them, sleeps while none is.
 *
 *      worker                              sentinel
 *      ------                              --------
 *      busy_since = now                    asleep = 1
 *      fence                               fence
 *      asleep?  then post its eventfd      any worker busy?  asleep = 0
 *      the handler                         none?  wait for the eventfd
 *
 * Why the sentinel misses no handler: worker and sentinel each write their own
 * word, then (full fence) read the other's; at least one sees the other's
 * write.  After the last handler the sentinel looks QUIET_LOOKS times more
 * before it sleeps; else, with a handler now and then, each would wake it.
 *
 * Source: the handshake is Dekker's, as in park.h.
 */
#ifndef BUSY_H
#define BUSY_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "parts/atom.h"
#include "parts/pad.h"

enum {
    QUIET_LOOKS = 6,  /* without a handler, before the sentinel sleeps */
    LOOKS_SLOWER = 4, /* its pause grows to so many times --stuck-us */
};

/* One for every worker, which writes it; the others read it. */
struct busy {
    PADDED ATOMIC(int64_t) since_us; /* CLOCK_MONOTONIC; 0: in no handler */
};

struct sentinel {
    PADDED ATOMIC(uint32_t) asleep;
    int eventfd, epoll;
};

static inline int64_t clock_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static inline bool busy_now(struct busy *b)
{
    return a_load(&b->since_us, relaxed) != 0;
}

static inline bool busy_longer(struct busy *b, int64_t now_us, int64_t us)
{
    int64_t since = a_load(&b->since_us, relaxed);

    return since != 0 && now_us - since > us;
}

/* Worker: a handler begins. */
static inline void busy_begin(struct busy *b, struct sentinel *s,
                              int64_t now_us)
{
    a_store(&b->since_us, now_us, relaxed);
    a_fence(&b->since_us); /* our word before we look at the sentinel's */
    if (a_load(&s->asleep, relaxed) && a_xchg(&s->asleep, 0, acq_rel))
        eventfd_write(s->eventfd, 1);
}

static inline void busy_end(struct busy *b)
{
    a_store(&b->since_us, 0, relaxed);
}

/* Sentinel: announces that it will sleep.  It must look at all workers after
 * this, and call sentinel_stay() when one is busy. */
static inline void sentinel_enter(struct sentinel *s)
{
    a_store(&s->asleep, 1, relaxed);
    a_fence(&s->asleep); /* our word before we look at theirs */
}

/* Sentinel: does not sleep after all.  A worker may have posted it already;
 * then its next sleep ends early, no harm. */
static inline void sentinel_stay(struct sentinel *s)
{
    a_store(&s->asleep, 0, relaxed);
}

/* Sentinel: is awake again.  Called after the sleep, never before: else it
 * could clear a post and then sleep. */
static inline void sentinel_woken(struct sentinel *s)
{
    eventfd_t n;

    a_store(&s->asleep, 0, relaxed);
    eventfd_read(s->eventfd, &n);
}

#endif
