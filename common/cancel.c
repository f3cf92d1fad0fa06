/* cancel.c - drain and deadline tokens; see cancel.h. */
#include "cancel.h"

#include <time.h>

enum { NS_PER_US = 1000, NS_PER_S = 1000000000 };

/* A sleeper looks at its token this often; the contract allows 10 ms, and the
 * rest is for the scheduler. */
enum { SLICE_NS = 8 * 1000 * 1000 };

/* cancel_request() may run in a signal handler: there a lock would deadlock. */
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "level needs lock-free int");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "deadline needs lock-free int64");

static int64_t clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

void cancel_init(struct cancel *c, const struct cancel *parent)
{
    c->parent = parent;
    atomic_init(&c->level, CANCEL_NONE);
    atomic_init(&c->deadline_ns, 0);
}

void cancel_request(struct cancel *c, enum cancel_level level)
{
    int old = atomic_load_explicit(&c->level, memory_order_relaxed);

    /* Release: a thread that sees the level sees what came before it. */
    while (old < (int)level && !atomic_compare_exchange_weak_explicit(
                                   &c->level, &old, (int)level,
                                   memory_order_release, memory_order_relaxed))
        ;
}

void cancel_deadline(struct cancel *c, int64_t monotonic_ns)
{
    int64_t old = atomic_load_explicit(&c->deadline_ns, memory_order_relaxed);

    if (monotonic_ns < 1)
        monotonic_ns = 1; /* 0 means "none"; 1 is as long past */
    while ((old == 0 || monotonic_ns < old) &&
           !atomic_compare_exchange_weak_explicit(
               &c->deadline_ns, &old, monotonic_ns, memory_order_release,
               memory_order_relaxed))
        ;
}

enum cancel_level cancel_level(const struct cancel *c)
{
    int highest = CANCEL_NONE;
    int64_t earliest = 0;

    for (; c; c = c->parent) {
        int level = atomic_load_explicit(&c->level, memory_order_acquire);
        int64_t at =
            atomic_load_explicit(&c->deadline_ns, memory_order_acquire);

        if (level > highest)
            highest = level;
        if (at != 0 && (earliest == 0 || at < earliest))
            earliest = at;
    }
    if (highest < CANCEL_NOW && earliest != 0 && clock_ns() >= earliest)
        highest = CANCEL_NOW;
    return (enum cancel_level)highest;
}

enum cancel_level cancel_sleep(const struct cancel *c, uint32_t us)
{
    int64_t now = clock_ns(), end = now + (int64_t)us * NS_PER_US;
    enum cancel_level level = cancel_level(c);

    /* Absolute times: signals and late wake-ups do not add to the sleep. */
    while (level < CANCEL_NOW && now < end) {
        int64_t until = end - now > SLICE_NS ? now + SLICE_NS : end;
        struct timespec ts = {until / NS_PER_S, until % NS_PER_S};

        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
        now = clock_ns();
        level = cancel_level(c);
    }
    return level;
}
