/* test_elastic.c - the two rules, fed with counts; and a worker that rests. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "parts/elastic.h"

TestSuite(elastic, .timeout = 60);

static struct elastic e;
static struct elastic_load load;
static int64_t now_us;

static void set_up(enum elastic_rule rule, int min, int max, int64_t period_us)
{
    memset(&e, 0, sizeof e);
    memset(&load, 0, sizeof load);
    e.rule = rule;
    e.min = min;
    e.max = max;
    e.period_us = period_us;
    now_us = 1000000;
    elastic_init(&e, now_us);
}

/* A sample after us microseconds, in which all workers together have run so
 * many tasks, of which so many were late, and each has slept for so long.  The
 * number that the rule wants is active from then on. */
static int judge(int64_t us, uint64_t tasks, uint64_t late, int64_t slept_us)
{
    int n = elastic_active(&e), wanted;

    now_us += us;
    load.tasks += tasks;
    load.late += late;
    for (int i = 0; i < n; i++)
        load.slept_us[i] += slept_us;
    wanted = elastic_judge(&e, now_us, &load);
    cr_assert(wanted >= e.min && wanted <= e.max, "%d workers", wanted);
    cr_assert(wanted == n || elastic_change(&e, n, wanted));
    return wanted;
}

/* The article's factors, at the borders. */
Test(elastic, load_has_four_bands)
{
    static const struct {
        int before, each, after;
    } to[] = {{10, 0, 8},     {10, 199, 8},   {10, 200, 10},  {10, 600, 10},
              {10, 601, 15},  {10, 1200, 15}, {10, 1201, 20}, {1, 0, 1},
              {2, 100, 1},    {3, 100, 2},    {1, 700, 2},    {2, 700, 3},
              {20, 9999, 20}, {12, 5000, 20}};

    for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
        int n = to[i].before, wanted;

        set_up(ELASTIC_LOAD, 1, 20, 500000);
        cr_assert(n == 1 || elastic_change(&e, 1, n));
        for (int k = 0; k < FEW_SAMPLES; k++) {
            wanted = judge(500000, (uint64_t)(n * to[i].each), 0, 0);
            if (wanted != n)
                break;
        }
        cr_expect(wanted == to[i].after, "%d workers, %d tasks each: %d", n,
                  to[i].each, wanted);
    }
}

/* Tasks count for 500 ms, however long ago the last sample was. */
Test(elastic, load_knows_the_time)
{
    set_up(ELASTIC_LOAD, 1, 8, 5000);
    cr_assert(judge(5000, 6, 0, 0) == 1); /* 600 in 500 ms */
    cr_assert(judge(5000, 7, 0, 0) == 2);
    cr_assert(judge(50000000, 20000, 0, 0) == 2); /* 100 each */
    cr_assert(judge(50000000, 20000, 0, 0) == 1);
}

/* One sample with few tasks is no reason yet. */
Test(elastic, load_waits_for_a_second_sample)
{
    set_up(ELASTIC_LOAD, 1, 8, 500000);
    cr_assert(judge(500000, 5000, 0, 0) == 2);
    for (int i = 0; i < 4; i++) {
        cr_assert(judge(500000, 10, 0, 0) == 2);
        cr_assert(judge(500000, 600, 0, 0) == 2);
    }
    cr_assert(judge(500000, 10, 0, 0) == 2);
    cr_assert(judge(500000, 10, 0, 0) == 1);
}

/* From no number of tasks a factor leads to one that undoes it. */
Test(elastic, load_does_not_swing)
{
    for (uint64_t tasks = 0; tasks <= 20000; tasks += 50) {
        int before = 0, last = 0, turns = 0;

        set_up(ELASTIC_LOAD, 1, 16, 500000);
        for (int i = 0; i < 60; i++) {
            int n = judge(500000, tasks, 0, 0);

            turns += last > before && n < last;
            turns += last < before && last > 0 && n > last;
            before = last;
            last = n;
        }
        cr_expect(turns <= 1, "%d tasks: %d turns", (int)tasks, turns);
    }
}

/* One such sample is no reason yet: the machine may have stood still. */
Test(elastic, wait_grows_at_one_late_in_100)
{
    set_up(ELASTIC_WAIT, 1, 8, 10000);
    cr_assert(judge(10000, 1000, 10, 0) == 1);
    cr_assert(judge(10000, 1000, 11, 0) == 1);
    cr_assert(judge(10000, 1000, 10, 0) == 1);
    cr_assert(judge(10000, 1000, 11, 0) == 1);
    cr_assert(judge(10000, 1000, 11, 0) == 2);
    cr_assert(judge(10000, 1, 1, 0) == 3);
    cr_assert(judge(10000, 0, 0, 0) == 3);
    cr_assert(judge(10000, 100, 50, 0) == 3);
    cr_assert(judge(10000, 100, 50, 0) == 5);
    cr_assert(judge(10000, 100, 50, 0) == 8);
    cr_assert(judge(10000, 100, 50, 0) == 8);
}

/* So many workers, by samples in which half of the tasks are late. */
static void grow_to(int n)
{
    while (elastic_active(&e) < n)
        judge(10000, 100, 50, 0);
    cr_assert(elastic_active(&e) == n);
}

/* Samples until there is one worker fewer; 0: none of 1,000. */
static int samples_to_fewer(int64_t slept_us)
{
    int n = elastic_active(&e);

    for (int i = 1; i <= 1000; i++)
        if (judge(10000, 100, 0, slept_us) < n)
            return i;
    return 0;
}

/* Two workers are awake for 30 % each: one will be for 60 %. */
Test(elastic, wait_shrinks_when_the_rest_can_do_it)
{
    set_up(ELASTIC_WAIT, 1, 8, 10000);
    grow_to(2);
    cr_assert(samples_to_fewer(6900) == 0, "31 %% each");
    cr_assert(samples_to_fewer(7000) == CALM_PERIODS);
    cr_assert(elastic_active(&e) == 1);
}

/* A late sample, a change or a busy one: the calm time begins anew. */
Test(elastic, wait_is_patient)
{
    set_up(ELASTIC_WAIT, 1, 8, 10000);
    grow_to(3);
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < CALM_PERIODS - 1; k++)
            cr_assert(judge(10000, 100, 0, 10000) == 3);
        cr_assert(judge(10000, 100, 0, 0) == 3); /* all three were awake */
    }
    cr_assert(samples_to_fewer(10000) == CALM_PERIODS);
    cr_assert(samples_to_fewer(10000) > CALM_PERIODS);
}

/* A sleep that lasts still counts up to now, and one that ended counts once. */
Test(elastic, sleeps_are_counted)
{
    struct member *m = &e.member[0];

    set_up(ELASTIC_WAIT, 1, 2, 10000);
    note_sleep(m, 100);
    cr_assert(note_slept(m, 400) == 300);
    note_awake(m, 600);
    cr_assert(note_slept(m, 900) == 500);
    note_sleep(m, 1000);
    cr_assert(note_slept(m, 1001) == 501);
    note_run(m, 1000 + LATE_US, 1000);
    cr_assert(a_load(&m->late, relaxed) == 0);
    note_run(m, 1001 + LATE_US, 1000);
    cr_assert(a_load(&m->late, relaxed) == 1);
    cr_assert(a_load(&m->tasks, relaxed) == 2);
}

/* A sample adds up what all workers have counted, and ends its turn. */
Test(elastic, a_sample_of_all)
{
    set_up(ELASTIC_LOAD, 1, 4, 0);
    cr_assert(e.period_us == TASKS_US);
    for (int i = 0; i < 4; i++)
        elastic_join(&e, i, -1, -1);
    for (int i = 0; i < 601; i++)
        note_run(&e.member[i % 4], now_us, now_us);
    cr_assert(!elastic_turn(&e, now_us));
    now_us += TASKS_US;
    cr_assert(elastic_turn(&e, now_us));
    cr_assert(!elastic_turn(&e, now_us), "one takes it");
    elastic_sample(&e, now_us);
    cr_assert(elastic_active(&e) == 2);
    cr_assert(elastic_turn(&e, now_us + TASKS_US));
}

static void *rests(void *arg)
{
    cr_assert(elastic_rest(&e, 1, 7, *(int *)arg));
    return NULL;
}

/* While worker 1 rests, worker 0 hears of its set, by number 7 + 1, and may
 * enter its home; afterwards it does neither. */
static void must_keep(bool by_signal)
{
    int sets[2], wake[2], signal = eventfd(0, 0), thing = eventfd(0, 0);
    struct epoll_event ev = {.events = EPOLLIN};
    pthread_t thread;

    set_up(ELASTIC_WAIT, 1, 2, 10000);
    for (int i = 0; i < 2; i++) {
        sets[i] = epoll_create1(0);
        wake[i] = eventfd(0, EFD_NONBLOCK);
        elastic_join(&e, i, sets[i], wake[i]);
    }
    cr_assert(epoll_ctl(sets[1], EPOLL_CTL_ADD, thing, &ev) == 0);
    cr_assert(!home_enter(&e.member[1]));
    pthread_create(&thread, NULL, rests, &signal);
    eventfd_write(thing, 1);
    cr_assert(epoll_wait(sets[0], &ev, 1, 10000) == 1);
    cr_assert(ev.data.u64 == 8);
    while (a_load(&e.member[0].kept, acquire) != 2)
        usleep(1000);
    cr_assert(home_enter(&e.member[1]));
    home_leave(&e.member[1]);
    eventfd_write(wake[1], 1); /* not called: it rests on */
    if (by_signal)
        eventfd_write(signal, 1);
    else
        elastic_resize(&e, 1, 2);
    pthread_join(thread, NULL);
    cr_assert(!home_enter(&e.member[1]));
    cr_assert(a_load(&e.member[0].kept, acquire) == 0);
    cr_assert(epoll_wait(sets[0], &ev, 1, 0) == 0);
    for (int i = 0; i < 2; i++) {
        close(sets[i]);
        close(wake[i]);
    }
    close(signal);
    close(thing);
}

Test(elastic, a_home_is_kept)
{
    must_keep(false);
    must_keep(true);
}

/* No room in the keeper's set: it does not rest. */
Test(elastic, no_keeper_no_rest)
{
    set_up(ELASTIC_WAIT, 1, 2, 10000);
    elastic_join(&e, 0, -1, -1);
    elastic_join(&e, 1, -1, -1);
    cr_assert(!elastic_rest(&e, 1, 7, -1));
    cr_assert(!home_enter(&e.member[1]));
}
