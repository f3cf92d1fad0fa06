/* timer_wheel.c - the hashed wheel of timer_wheel.h.
 *
 * Tick k begins at k * WHEEL_TICK_MS.  A deadline belongs to the first tick
 * that begins at or after it: looked at then, it cannot be early.
 *
 * Invariant: an entry is 1 to WHEEL_SLOTS - 1 slots ahead of w->tick; only the
 * slot of w->tick itself, while it is being emptied, holds any at distance 0.
 * A deadline further away is looked at on the way and moves on, just like one
 * that was moved later.  So a due slot is emptied by taking its first entry
 * again and again, whatever the caller arms or cancels in between.
 */
#include "timer_wheel.h"

#include <time.h>

enum { WORDS = WHEEL_SLOTS / 64 };

int64_t clock_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static unsigned slot_of(int64_t tick)
{
    return (unsigned)((uint64_t)tick % WHEEL_SLOTS);
}

/* Rounded up, without overflow for a deadline of INT64_MAX ("never"). */
static int64_t tick_of(int64_t when_ms)
{
    return when_ms / WHEEL_TICK_MS + (when_ms % WHEEL_TICK_MS > 0);
}

static void insert(struct timer_wheel *w, struct timer *t)
{
    int64_t tick = tick_of(t->when_ms);
    unsigned s;

    if (tick <= w->tick)
        tick = w->tick + 1;
    if (tick > w->tick + WHEEL_SLOTS - 1)
        tick = w->tick + WHEEL_SLOTS - 1;
    s = slot_of(tick);
    *t = (struct timer){w->slot[s], &w->slot[s], t->when_ms, tick};
    if (t->next)
        t->next->link = &t->next;
    w->slot[s] = t;
    w->used[s / 64] |= UINT64_C(1) << (s % 64);
}

/* The bit goes with the last entry: nothing wakes up for an empty slot. */
static void take_out(struct timer_wheel *w, struct timer *t)
{
    unsigned s = slot_of(t->slot_tick);

    *t->link = t->next;
    if (t->next)
        t->next->link = t->link;
    t->link = NULL;
    if (!w->slot[s])
        w->used[s / 64] &= ~(UINT64_C(1) << (s % 64));
}

/* Slots from w->tick to the first occupied one; -1 when there is none. */
static int distance(const struct timer_wheel *w)
{
    unsigned start = slot_of(w->tick);
    uint64_t mask = UINT64_MAX << (start % 64);

    /* The first word comes twice: at the end, for what lies below start. */
    for (unsigned n = 0; n <= WORDS; n++, mask = UINT64_MAX) {
        unsigned i = (start / 64 + n) % WORDS;
        uint64_t word = w->used[i] & mask;

        if (word)
            return (int)slot_of(i * 64 + __builtin_ctzll(word) - w->tick);
    }
    return -1;
}

void wheel_init(struct timer_wheel *w, int64_t now_ms)
{
    *w = (struct timer_wheel){.tick = now_ms / WHEEL_TICK_MS};
}

void wheel_set(struct timer_wheel *w, struct timer *t, int64_t when_ms)
{
    t->when_ms = when_ms;
    if (timer_armed(t) && tick_of(when_ms) >= t->slot_tick)
        return; /* its slot comes round before that */
    wheel_cancel(w, t);
    insert(w, t);
}

void wheel_cancel(struct timer_wheel *w, struct timer *t)
{
    if (timer_armed(t))
        take_out(w, t);
}

struct timer *wheel_expired(struct timer_wheel *w, int64_t now_ms)
{
    int64_t target = now_ms / WHEEL_TICK_MS;

    /* After a pause of more than a rotation all slots are due: once will do. */
    if (w->tick < target - WHEEL_SLOTS)
        w->tick = target - WHEEL_SLOTS;
    for (int d; (d = distance(w)) >= 0 && w->tick + d <= target;) {
        struct timer *t = w->slot[slot_of(w->tick += d)];

        take_out(w, t);
        if (t->when_ms <= now_ms)
            return t;
        insert(w, t);
    }
    if (w->tick < target)
        w->tick = target;
    return NULL;
}

int wheel_wait_ms(const struct timer_wheel *w, int64_t now_ms)
{
    int d = distance(w);
    int64_t wait = (w->tick + d) * WHEEL_TICK_MS - now_ms;

    return d < 0 ? -1 : wait < 0 ? 0 : (int)wait;
}
