/* The timer wheel against a list that is searched from end to end, in simulated
 * time: never early, at most a slot late, no wake-up for nothing. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <time.h>

#include "container_of.h"
#include "timer_wheel.h"

enum { N = 150, ROTATION_MS = WHEEL_SLOTS * WHEEL_TICK_MS };

static struct model {
    struct timer t;
    bool armed;
    int64_t due; /* the deadline, or when it was set if that was later */
} timers[N];

static struct timer_wheel wheel;
static int64_t now_ms;
static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

static void start(uint64_t s, int64_t now)
{
    seed = s * 0x9e3779b97f4a7c15u + 1;
    now_ms = now;
    wheel_init(&wheel, now_ms);
    for (int i = 0; i < N; i++)
        timers[i] = (struct model){0};
}

/* Near, past, within a rotation, beyond it, never. */
static int64_t random_deadline(void)
{
    switch (rnd(8)) {
    case 0:
        return now_ms - (int64_t)rnd(1000);
    case 1:
        return now_ms + (int64_t)rnd(5 * ROTATION_MS);
    case 2:
        return rnd(20) == 0 ? INT64_MAX : now_ms;
    case 3:
        return now_ms + (int64_t)rnd(2 * WHEEL_TICK_MS);
    default:
        return now_ms + (int64_t)rnd(ROTATION_MS);
    }
}

static void set(struct model *m, int64_t when)
{
    wheel_set(&wheel, &m->t, when);
    cr_assert(timer_armed(&m->t));
    m->armed = true;
    m->due = when > now_ms ? when : now_ms;
}

static void cancel(struct model *m)
{
    wheel_cancel(&wheel, &m->t);
    cr_assert(!timer_armed(&m->t));
    m->armed = false;
}

static void random_op(void)
{
    struct model *m = &timers[rnd(N)];

    if (rnd(4) == 0)
        cancel(m);
    else if (rnd(3) == 0 && m->armed && m->t.when_ms < INT64_MAX / 2)
        set(m, m->t.when_ms + (int64_t)rnd(ROTATION_MS)); /* later, lazily */
    else
        set(m, random_deadline());
}

static unsigned fire(bool meddle)
{
    struct timer *t;
    unsigned n = 0;

    while ((t = wheel_expired(&wheel, now_ms)) != NULL) {
        struct model *m = container_of(t, struct model, t);

        cr_assert(m->armed, "fired though cancelled, or twice");
        cr_assert(!timer_armed(t));
        cr_assert_leq(t->when_ms, now_ms, "early by %ld",
                      (long)(t->when_ms - now_ms));
        m->armed = false;
        n++;
        cr_assert_lt(n, 1000 * N, "the loop does not end");
        for (int i = 0; meddle && i < 2; i++)
            random_op();
    }
    return n;
}

/* What must hold whenever the expiry loop has run. */
static int check(void)
{
    int wait = wheel_wait_ms(&wheel, now_ms);
    bool any = false;

    for (int i = 0; i < N; i++) {
        const struct model *m = &timers[i];

        cr_assert_eq(timer_armed(&m->t), m->armed);
        if (!m->armed)
            continue;
        any = true;
        cr_assert_gt(m->due, now_ms - WHEEL_TICK_MS, "late by %ld at %ld",
                     (long)(now_ms - m->due), (long)now_ms);
        cr_assert_leq(wait, m->due - now_ms + WHEEL_TICK_MS, "oversleeps");
    }
    if (any)
        cr_assert_gt(wait, 0, "would spin");
    else
        cr_assert_eq(wait, -1, "would wake up for nothing");
    return wait;
}

static int64_t random_step(int wait)
{
    switch (rnd(10)) {
    case 0:
        return (int64_t)rnd(ROTATION_MS);
    case 1:
        return rnd(10) ? 0 : (int64_t)rnd(50) * ROTATION_MS + (int64_t)rnd(999);
    case 2:
    case 3:
        return (int64_t)rnd(WHEEL_TICK_MS);
    default:
        return wait < 0 ? (int64_t)rnd(300) : wait;
    }
}

Test(wheel, agrees_with_a_list_over_random_operations)
{
    unsigned long fired = 0;

    for (uint64_t s = 1; s <= 60; s++) {
        start(s, (int64_t)rnd(1u << 30));
        for (int step = 0; step < 1000; step++) {
            for (uint64_t ops = rnd(6); ops > 0; ops--)
                random_op();
            fired += fire(s % 2);
            now_ms += random_step(check());
            fired += fire(s % 2);
            check();
        }
    }
    cr_assert_gt(fired, 10000);
}

/* With nothing re-armed, a loop that obeys the wait fires everything. */
Test(wheel, everything_fires_in_the_end)
{
    unsigned fired = 0;

    start(7, 12345);
    for (int i = 0; i < N; i++)
        set(&timers[i], now_ms + (int64_t)rnd(3 * ROTATION_MS));
    for (int wait; (wait = check()) >= 0;) {
        now_ms += wait;
        fired += fire(false);
    }
    cr_assert_eq(fired, N);
}

/* Runs the loop as a server does until it would sleep for good; counts. */
static int wake_ups(void)
{
    int n = 0;

    for (int wait; (wait = check()) >= 0; n++) {
        now_ms += wait;
        fire(false);
        cr_assert_lt(n, 100000);
    }
    return n;
}

Test(wheel, one_timer_costs_few_wake_ups)
{
    start(1, 1000003);
    set(&timers[0], now_ms + 60 * 1000);
    cr_assert_eq(wake_ups(), 1);
    set(&timers[0], now_ms + 600 * 1000); /* looked at once a rotation */
    cr_assert_leq(wake_ups(), 600 * 1000 / ROTATION_MS + 2);
    cr_assert_eq(wake_ups(), 0);
    set(&timers[0], INT64_MAX);
    cancel(&timers[0]);
    cr_assert_eq(wake_ups(), 0);
}

/* A deadline that moves with every request: 600 s of one each 10 ms. */
Test(wheel, moving_later_touches_no_list)
{
    int looks = 0;

    start(1, 0);
    set(&timers[0], now_ms + 60 * 1000);
    for (int64_t end = now_ms + 600 * 1000; now_ms < end; now_ms += 10) {
        struct timer before = timers[0].t;

        set(&timers[0], now_ms + 60 * 1000);
        cr_assert_eq(before.link, timers[0].t.link);
        cr_assert_eq(before.slot_tick, timers[0].t.slot_tick);
        if (wheel_wait_ms(&wheel, now_ms) > 0)
            continue;
        cr_assert_eq(fire(false), 0);
        looks++;
    }
    cr_assert_leq(looks, 11);
}

Test(wheel, moving_earlier_takes_effect)
{
    start(1, 5000);
    set(&timers[0], now_ms + 60 * 1000);
    set(&timers[0], now_ms + 500);
    now_ms += 500 + WHEEL_TICK_MS;
    cr_assert_eq(fire(false), 1);
}

Test(wheel, entries_of_one_slot_may_be_cancelled_while_it_is_emptied)
{
    struct timer *first;
    int left = 0;

    start(1, 0);
    for (int i = 0; i < 3; i++)
        set(&timers[i], 1000);
    now_ms = 2000;
    first = wheel_expired(&wheel, now_ms);
    cr_assert_not_null(first);
    container_of(first, struct model, t)->armed = false;
    for (int i = 0; i < 3; i++)
        if (timers[i].armed && left++ == 0)
            cancel(&timers[i]);
    cr_assert_eq(left, 2);
    cr_assert_eq(fire(false), 1);
    cr_assert_eq(check(), -1);
}

/* Re-arming for "now" inside the loop must not keep the loop for ever. */
Test(wheel, a_timer_that_is_always_due_fires_once_a_tick)
{
    start(1, 0);
    set(&timers[0], 0);
    for (int round = 0; round < 100; round++) {
        int n = 0;

        now_ms += WHEEL_TICK_MS;
        while (wheel_expired(&wheel, now_ms)) {
            timers[0].armed = false;
            set(&timers[0], now_ms);
            n++;
        }
        cr_assert_eq(n, 1);
    }
}

/* The loop may look at the wheel before it arms the first timer, or after. */
static void after_a_long_sleep(bool awake)
{
    start(1, 0);
    now_ms = INT64_C(3) * 365 * 24 * 3600 * 1000; /* nothing was armed */
    if (awake) {
        cr_assert_eq(fire(false), 0);
        set(&timers[0], now_ms + 1000);
        cr_assert_geq(check(), 1000, "a wake-up for nothing");
    }
    set(&timers[0], now_ms + 1000);
    set(&timers[1], now_ms + 60 * 1000);
    for (int wakes = 0; timers[0].armed || timers[1].armed; wakes++) {
        int wait = wheel_wait_ms(&wheel, now_ms);

        cr_assert(wait >= 0 && wait <= 60 * 1000 + WHEEL_TICK_MS);
        cr_assert_lt(wakes, 8);
        now_ms += wait;
        fire(false);
        check();
    }
}

Test(wheel, a_wheel_that_slept_for_good_serves_the_next_timer_in_time)
{
    after_a_long_sleep(false);
    after_a_long_sleep(true);
}

Test(wheel, the_clock_is_monotonic_and_in_milliseconds)
{
    struct timespec ts = {0, 30 * 1000 * 1000};
    int64_t before = clock_ms(), after;

    nanosleep(&ts, NULL);
    after = clock_ms();
    cr_assert_geq(after - before, 29);
    cr_assert_lt(after - before, 10000);
    clock_gettime(CLOCK_MONOTONIC, &ts);
    cr_assert_lt(labs(ts.tv_sec * 1000 - after), 10000);
}
