/* timer_wheel.h - deadlines of many connections, one wheel per worker.
 *
 * A hashed wheel (Varghese and Lauck 1987, scheme 6) of 512 slots of 128 ms,
 * with lazy re-arming: moving a deadline later only stores the new time; the
 * entry is looked at when its old slot comes round and moves on then.  So the
 * deadline of every request costs one store.  Not thread safe; no allocation:
 * the entry is part of its owner.  Deadlines fire up to one slot late, never
 * early.
 */
#ifndef TIMER_WHEEL_H
#define TIMER_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WHEEL_SLOTS = 512, WHEEL_TICK_MS = 128 };

struct timer {
    struct timer *next, **link; /* link: what points here; NULL: not armed */
    int64_t when_ms;            /* the deadline, CLOCK_MONOTONIC */
    int64_t slot_tick;          /* the tick at which its slot is looked at */
};

struct timer_wheel {
    struct timer *slot[WHEEL_SLOTS];
    uint64_t used[WHEEL_SLOTS / 64]; /* a bit per slot that may be occupied */
    int64_t tick;                    /* slots up to here have been looked at */
};

int64_t clock_ms(void); /* CLOCK_MONOTONIC, milliseconds */

void wheel_init(struct timer_wheel *w, int64_t now_ms);

/* Arms, or moves later in O(1) without touching a list; earlier re-links. */
void wheel_set(struct timer_wheel *w, struct timer *t, int64_t when_ms);
void wheel_cancel(struct timer_wheel *w, struct timer *t);
static inline bool timer_armed(const struct timer *t)
{
    return t->link;
}

/* Takes one expired timer out and returns it; NULL when none is left.  Call in
 * a loop with the same now_ms.  Work is bounded by the entries in due slots. */
struct timer *wheel_expired(struct timer_wheel *w, int64_t now_ms);

/* Milliseconds until the next slot must be looked at, for the loop's wait;
 * -1 when nothing is armed, so that an idle server sleeps for good. */
int wheel_wait_ms(const struct timer_wheel *w, int64_t now_ms);

#endif
