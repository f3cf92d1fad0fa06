/* Tokens: levels, chains, deadlines, threads that race, sleepers that wake. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/time.h>
#include <time.h>

#include "cancel.h"
#include "race.h"

enum { MS = 1000000 };

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void sleep_ms(int ms)
{
    struct timespec ts = {ms / 1000, (long)(ms % 1000) * MS};

    nanosleep(&ts, NULL);
}

Test(cancel, levels_only_rise)
{
    struct cancel c;

    cancel_init(&c, NULL);
    cr_assert_eq(cancel_level(&c), CANCEL_NONE);
    cancel_request(&c, CANCEL_NONE);
    cr_assert_eq(cancel_level(&c), CANCEL_NONE);
    cancel_request(&c, CANCEL_DRAIN);
    cr_assert_eq(cancel_level(&c), CANCEL_DRAIN);
    cancel_request(&c, CANCEL_NONE);
    cr_assert_eq(cancel_level(&c), CANCEL_DRAIN);
    cancel_request(&c, CANCEL_NOW);
    cancel_request(&c, CANCEL_DRAIN);
    cr_assert_eq(cancel_level(&c), CANCEL_NOW);
}

Test(cancel, a_child_is_cancelled_with_any_of_its_parents)
{
    struct cancel c[4];

    for (int raised = 0; raised < 4; raised++) {
        for (int i = 0; i < 4; i++)
            cancel_init(&c[i], i ? &c[i - 1] : NULL);
        cancel_request(&c[raised], CANCEL_DRAIN);
        for (int i = 0; i < 4; i++)
            cr_assert_eq(cancel_level(&c[i]),
                         i >= raised ? CANCEL_DRAIN : CANCEL_NONE);
    }
    /* The highest counts, wherever it is. */
    cancel_request(&c[1], CANCEL_NOW);
    cr_assert_eq(cancel_level(&c[3]), CANCEL_NOW);
    cr_assert_eq(cancel_level(&c[0]), CANCEL_NONE);
}

Test(cancel, a_deadline_turns_to_now)
{
    struct cancel root, child;

    cancel_init(&root, NULL);
    cancel_init(&child, &root);
    cancel_deadline(&root, now_ns() + 500 * (int64_t)MS);
    cr_assert_eq(cancel_level(&child), CANCEL_NONE);
    cancel_request(&child, CANCEL_DRAIN);
    cr_assert_eq(cancel_level(&child), CANCEL_DRAIN);
    sleep_ms(510);
    cr_assert_eq(cancel_level(&child), CANCEL_NOW);
    cr_assert_eq(cancel_level(&root), CANCEL_NOW);
}

Test(cancel, the_earlier_deadline_stays)
{
    struct cancel c, child;
    int64_t far = now_ns() + INT64_C(3600) * 1000 * MS;

    cancel_init(&c, NULL);
    cancel_init(&child, &c);
    cancel_deadline(&child, far); /* a later one below does not hide it */
    cancel_deadline(&c, far);
    cancel_deadline(&c, far + 1);
    cr_assert_eq(atomic_load(&c.deadline_ns), far);
    cr_assert_eq(cancel_level(&child), CANCEL_NONE);
    cancel_deadline(&c, now_ns() - 1);
    cancel_deadline(&c, far);
    cr_assert_eq(cancel_level(&c), CANCEL_NOW);
    cr_assert_eq(cancel_level(&child), CANCEL_NOW);
}

Test(cancel, the_nearer_deadline_counts_wherever_it_is)
{
    struct cancel c[3];
    int64_t far = now_ns() + INT64_C(3600) * 1000 * MS;

    for (int near = 0; near < 3; near++) {
        for (int i = 0; i < 3; i++) {
            cancel_init(&c[i], i ? &c[i - 1] : NULL);
            cancel_deadline(&c[i], i == near ? now_ns() - 1 : far);
        }
        cr_assert_eq(cancel_level(&c[2]), CANCEL_NOW);
    }
}

Test(cancel, an_instant_of_zero_or_less_is_past_not_absent)
{
    struct cancel c;

    for (int64_t at = -1; at <= 1; at++) {
        cancel_init(&c, NULL);
        cancel_deadline(&c, at);
        cr_assert_eq(cancel_level(&c), CANCEL_NOW);
    }
}

/* Threads race. */

static struct cancel tokens[RACE_STEPS];

/* Who raises what changes from step to step. */
static int64_t deadline_of(int me, int i)
{
    return INT64_MAX - (i * 7 + me * 3) % 11;
}

static void raise_one(int me, int i)
{
    cancel_request(&tokens[i], me == i % 2 ? CANCEL_NOW : CANCEL_DRAIN);
}

static void hasten_one(int me, int i)
{
    cancel_deadline(&tokens[i], deadline_of(me, i));
}

Test(cancel, the_highest_level_wins_a_race)
{
    for (int i = 0; i < RACE_STEPS; i++)
        cancel_init(&tokens[i], NULL);
    race(raise_one);
    for (int i = 0; i < RACE_STEPS; i++)
        cr_assert_eq(cancel_level(&tokens[i]), CANCEL_NOW, "at step %d", i);
}

Test(cancel, the_earliest_deadline_wins_a_race)
{
    for (int i = 0; i < RACE_STEPS; i++)
        cancel_init(&tokens[i], NULL);
    race(hasten_one);
    for (int i = 0; i < RACE_STEPS; i++) {
        int64_t a = deadline_of(0, i), b = deadline_of(1, i);

        cr_assert_eq(atomic_load(&tokens[i].deadline_ns), a < b ? a : b,
                     "at step %d", i);
    }
}

static struct cancel shared, shared_child;
static _Atomic bool stop;
static _Atomic int broken;

static void *watch(void *arg)
{
    enum cancel_level last = CANCEL_NONE;

    (void)arg;
    while (!atomic_load(&stop)) {
        enum cancel_level level = cancel_level(&shared_child);

        if (level < last)
            atomic_fetch_add(&broken, 1);
        last = level;
    }
    return NULL;
}

static void *lower(void *arg)
{
    while (!atomic_load(&stop))
        cancel_request(&shared, *(enum cancel_level *)arg);
    return NULL;
}

Test(cancel, nobody_sees_a_level_fall)
{
    enum cancel_level levels[2] = {CANCEL_NONE, CANCEL_DRAIN};
    pthread_t t[4];

    cancel_init(&shared, NULL);
    cancel_init(&shared_child, &shared);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&t[i], NULL, i < 2 ? watch : lower,
                                    i < 2 ? NULL : &levels[i - 2]),
                     0);
    sleep_ms(20);
    cancel_request(&shared, CANCEL_NOW);
    sleep_ms(50);
    atomic_store(&stop, true);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    cr_assert_eq(atomic_load(&broken), 0);
    cr_assert_eq(cancel_level(&shared_child), CANCEL_NOW);
}

/* Sleepers. */

static int64_t sleep_for(const struct cancel *c, uint32_t us,
                         enum cancel_level want)
{
    int64_t begin = now_ns();

    cr_assert_eq(cancel_sleep(c, us), want);
    return now_ns() - begin;
}

Test(cancel, a_sleep_lasts_as_long_as_asked)
{
    struct cancel c;

    cancel_init(&c, NULL);
    for (uint32_t us = 0; us <= 40000; us = us ? us * 3 : 50) {
        int64_t took = sleep_for(&c, us, CANCEL_NONE);

        cr_assert_geq(took, (int64_t)us * 1000);
        cr_assert_lt(took, (int64_t)us * 1000 + 2000 * (int64_t)MS);
    }
    /* A drain lets a handler finish. */
    cancel_request(&c, CANCEL_DRAIN);
    cr_assert_geq(sleep_for(&c, 30000, CANCEL_DRAIN), 30 * MS);
    cancel_request(&c, CANCEL_NOW);
    cr_assert_lt(sleep_for(&c, 20000000, CANCEL_NOW), 5000 * (int64_t)MS);
}

static int64_t raised_at;

static void *raise_soon(void *arg)
{
    sleep_ms(25);
    raised_at = now_ns();
    cancel_request(arg, CANCEL_NOW);
    return NULL;
}

/* The best of a few tries: a busy machine may add to any one of them. */
Test(cancel, a_sleeper_notices_within_10_ms)
{
    int64_t best = INT64_MAX;

    for (int i = 0; i < 6; i++) {
        struct cancel c, child;
        pthread_t t;
        int64_t late;

        cancel_init(&c, NULL);
        cancel_init(&child, &c);
        cr_assert_eq(pthread_create(&t, NULL, raise_soon, &c), 0);
        sleep_for(&child, 20000000, CANCEL_NOW);
        late = now_ns();
        pthread_join(t, NULL);
        late -= raised_at;
        if (late < best)
            best = late;
    }
    cr_assert_lt(best, 10 * MS, "noticed after %ld us", (long)best / 1000);
}

Test(cancel, a_deadline_ends_a_sleep)
{
    struct cancel c;
    int64_t took;

    cancel_init(&c, NULL);
    cancel_deadline(&c, now_ns() + 50 * MS);
    took = sleep_for(&c, 20000000, CANCEL_NOW);
    cr_assert_geq(took, 49 * MS);
    cr_assert_lt(took, 5000 * (int64_t)MS);
}

static struct cancel *in_handler;
static volatile sig_atomic_t alarms;

static void on_alarm(int signo)
{
    (void)signo;
    alarms++;
    if (in_handler)
        cancel_request(in_handler, CANCEL_NOW);
}

static void alarm_every(int usec)
{
    struct itimerval it = {{0, usec}, {0, usec}};
    struct sigaction sa = {.sa_handler = on_alarm};

    cr_assert_eq(sigaction(SIGALRM, &sa, NULL), 0);
    cr_assert_eq(setitimer(ITIMER_REAL, &it, NULL), 0);
}

Test(cancel, signals_neither_shorten_nor_lengthen_a_sleep)
{
    struct cancel c;
    int64_t took;

    cancel_init(&c, NULL);
    alarm_every(3000);
    took = sleep_for(&c, 100000, CANCEL_NONE);
    alarm_every(0);
    cr_assert_gt(alarms, 3);
    cr_assert_geq(took, 100 * MS);
    cr_assert_lt(took, 5000 * (int64_t)MS);
}

Test(cancel, a_handler_may_raise_it)
{
    struct cancel c;

    cancel_init(&c, NULL);
    in_handler = &c;
    alarm_every(20000);
    cr_assert_lt(sleep_for(&c, 20000000, CANCEL_NOW), 5000 * (int64_t)MS);
    alarm_every(0);
}
