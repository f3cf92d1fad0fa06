/* test_queues.c - the queues of stages 5 and 6 under real threads.
 *
 * The explorer (../verify) runs every interleaving of a few operations; here
 * many threads run very many, more threads than there are cores, so that the
 * scheduler stops them in the middle.  Every item is unique and must be taken
 * exactly once; what it points to is plain memory, for ThreadSanitizer to see.
 * The queues are tiny, so that they are full and empty all the time.
 */
#define SPMC_SIZE 8
#define DEQUE_SIZE 8
#define CHASE_LEV_SIZE 8
#define MUTEX_QUEUE_SIZE 8
#include "stumble.h"

#include "5-percore/gate.h"
#include "parts/chase_lev.h"
#include "parts/deque.h"
#include "parts/mpsc.h"
#include "parts/mutex_queue.h"
#include "parts/spmc_ring.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { ITEMS = 40000, THREADS = 6, SOURCES = 4 };

struct item {
    struct mpsc_node node;
    uint64_t body; /* plain: written before the push, read after the take */
    _Atomic int taken;
};

static struct item items[ITEMS];
static _Atomic int left;  /* items not yet taken */
static _Atomic int wrong; /* items with the wrong body, or out of order */

static void setup(void)
{
    memset(items, 0, sizeof items);
    left = ITEMS;
    wrong = 0;
}

static struct item *make(int i)
{
    items[i].body = (uint64_t)i * 3 + 1;
    return &items[i];
}

static int take(struct item *it)
{
    int i = (int)(it - items);

    if (it->body != (uint64_t)i * 3 + 1)
        wrong++;
    it->taken++;
    left--;
    return i;
}

static void run_threads(void *(*first)(void *), void *(*rest)(void *), int n)
{
    pthread_t t[THREADS + SOURCES];

    for (intptr_t i = 0; i < n; i++)
        cr_assert_eq(
            pthread_create(&t[i], NULL, i == 0 ? first : rest, (void *)i), 0);
    for (int i = 0; i < n; i++)
        cr_assert_eq(pthread_join(t[i], NULL), 0);
}

static void check_once(void)
{
    int lost = 0, twice = 0;

    for (int i = 0; i < ITEMS; i++) {
        lost += items[i].taken == 0;
        twice += items[i].taken > 1;
    }
    cr_assert_eq(lost, 0, "%d items lost", lost);
    cr_assert_eq(twice, 0, "%d items taken more than once", twice);
    cr_assert_eq((int)wrong, 0, "%d items wrong or out of order", (int)wrong);
    cr_assert_eq((int)left, 0);
}

TestSuite(queues, .init = setup, .timeout = 120);

/* ---- spmc_ring.h ---- */

static struct spmc_ring ring;
static struct gate gate;

static void *ring_producer(void *arg)
{
    (void)arg;
    for (int i = 0; i < ITEMS; i++) {
        make(i);
        while (!spmc_push(&ring, &items[i]))
            sched_yield();
    }
    return NULL;
}

static void *ring_consumer(void *arg)
{
    int last = -1;

    (void)arg;
    while (left > 0) {
        struct item *it = spmc_pop(&ring);
        int i;

        if (!it) {
            sched_yield();
            continue;
        }
        i = take(it);
        if (i <= last)
            wrong++; /* each consumer sees the producer's order */
        last = i;
    }
    return NULL;
}

Test(queues, ring_gives_each_item_once_in_order)
{
    spmc_init(&ring);
    run_threads(ring_producer, ring_consumer, THREADS);
    check_once();
    cr_assert(spmc_empty(&ring));
}

static struct item stop; /* one for each consumer ends it */

static void *gate_producer(void *arg)
{
    (void)arg;
    for (int i = 0; i < ITEMS + THREADS - 1; i++) {
        struct item *it = i < ITEMS ? make(i) : &stop;

        while (!spmc_push(&ring, it))
            sched_yield();
        gate_wake(&gate);
    }
    return NULL;
}

static void *gate_consumer(void *arg)
{
    (void)arg;
    for (;;) {
        struct item *it = spmc_pop(&ring);

        if (!it) {
            uint32_t key = gate_enter(&gate);

            it = spmc_pop(&ring);
            if (!it) {
                gate_sleep(&gate, key);
                continue;
            }
            gate_leave(&gate);
        }
        if (it == &stop)
            return NULL;
        take(it);
    }
}

/* Ends only if no wake-up is lost. */
Test(queues, gate_loses_no_wakeup)
{
    spmc_init(&ring);
    gate_init(&gate);
    run_threads(gate_producer, gate_consumer, THREADS);
    check_once();
    cr_assert_eq(atomic_load(&gate.count), 0u);
}

Test(queues, ring_full_and_empty)
{
    int x[SPMC_SIZE + 1];

    spmc_init(&ring);
    cr_assert_null(spmc_pop(&ring));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < SPMC_SIZE; i++)
            cr_assert(spmc_push(&ring, &x[i]));
        cr_assert_not(spmc_push(&ring, &x[SPMC_SIZE]));
        for (int i = 0; i < SPMC_SIZE; i++)
            cr_assert_eq(spmc_pop(&ring), (void *)&x[i]);
        cr_assert_null(spmc_pop(&ring));
    }
}

/* ---- mutex_queue.h ---- */

static struct mutex_queue mq;

static void *mutex_producer(void *arg)
{
    (void)arg;
    for (int i = 0; i < ITEMS; i++) {
        make(i);
        while (!mq_push(&mq, &items[i]))
            sched_yield();
    }
    mq_close(&mq);
    return NULL;
}

static void *mutex_consumer(void *arg)
{
    void *some[3];

    (void)arg;
    for (;;) {
        size_t n = mq_steal(&mq, some, 3);
        struct item *it;

        for (size_t i = 0; i < n; i++)
            take(some[i]);
        it = mq_wait(&mq);
        if (!it)
            return NULL;
        take(it);
    }
}

Test(queues, mutex_queue_gives_each_item_once)
{
    mq_init(&mq);
    run_threads(mutex_producer, mutex_consumer, THREADS);
    check_once();
    cr_assert_eq(mq.waiting, 0u);
    mq_destroy(&mq);
}

Test(queues, mutex_queue_steals_the_older_half)
{
    int x[5];
    void *got[8];

    mq_init(&mq);
    for (int i = 0; i < 5; i++)
        cr_assert(mq_push(&mq, &x[i]));
    cr_assert_eq(mq_steal(&mq, got, 8), 3u);
    cr_assert_eq(got[0], (void *)&x[0]);
    cr_assert_eq(got[2], (void *)&x[2]);
    cr_assert_eq(mq_steal(&mq, got, 8), 1u);
    cr_assert_eq(mq_pop(&mq), (void *)&x[4]);
    cr_assert_eq(mq_steal(&mq, got, 8), 0u);
    cr_assert_null(mq_pop(&mq));
    mq_destroy(&mq);
}

/* ---- mpsc.h ---- */

static struct mpsc list;
static int list_event;

static void *mpsc_helper(void *arg)
{
    const uint64_t one = 1;

    for (int i = (int)(intptr_t)arg - 1; i < ITEMS; i += SOURCES) {
        make(i);
        if (mpsc_push(&list, &items[i].node) &&
            write(list_event, &one, sizeof one) != sizeof one)
            abort();
    }
    return NULL;
}

static void *mpsc_owner(void *arg)
{
    int last[SOURCES];
    uint64_t n;

    (void)arg;
    memset(last, -1, sizeof last);
    while (left > 0) {
        if (read(list_event, &n, sizeof n) != sizeof n)
            abort();
        for (struct mpsc_node *p = mpsc_take(&list); p; p = p->next) {
            int i = take((struct item *)p);

            if (i <= last[i % SOURCES])
                wrong++; /* each helper's nodes come in its order */
            last[i % SOURCES] = i;
        }
    }
    return NULL;
}

/* The owner sleeps until it is woken, so this ends only if no push forgets to
 * wake it. */
Test(queues, return_list_keeps_order_and_wakes)
{
    list_event = eventfd(0, 0);
    cr_assert_geq(list_event, 0);
    mpsc_init(&list);
    run_threads(mpsc_owner, mpsc_helper, 1 + SOURCES);
    check_once();
    close(list_event);
}

/* ---- deque.h ---- */

static struct deque deques[THREADS];

static void *deque_owner(void *arg)
{
    struct item *it;

    (void)arg;
    for (int i = 0; i < ITEMS; i++) {
        make(i);
        while (!deque_push(&deques[0], &items[i]))
            if ((it = deque_pop(&deques[0])))
                take(it);
    }
    while ((it = deque_pop(&deques[0])))
        take(it);
    return NULL;
}

/* Steals from the owner and from the other thieves. */
static void *deque_thief(void *arg)
{
    int me = (int)(intptr_t)arg, victim = me;

    while (left > 0) {
        struct item *it = deque_pop(&deques[me]);

        victim = (victim + 1) % THREADS;
        if (!it && victim != me)
            it = deque_steal(&deques[victim], &deques[me]);
        if (it)
            take(it);
        else
            sched_yield();
    }
    return NULL;
}

Test(queues, deque_gives_each_item_once)
{
    for (int i = 0; i < THREADS; i++)
        deque_init(&deques[i]);
    run_threads(deque_owner, deque_thief, THREADS);
    check_once();
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(deque_len(&deques[i]), 0u);
}

static void fill(struct deque *q, int *x, int n)
{
    deque_init(q);
    for (int i = 0; i < n; i++)
        cr_assert(deque_push(q, &x[i]));
}

Test(queues, thief_takes_the_older_half)
{
    int x[DEQUE_SIZE];

    fill(&deques[0], x, 5);
    deque_init(&deques[1]);
    cr_assert_eq(deque_steal(&deques[0], &deques[1]), (void *)&x[0]);
    cr_assert_eq(deque_len(&deques[0]), 2u);
    cr_assert_eq(deque_len(&deques[1]), 2u);
    cr_assert_eq(deque_pop(&deques[1]), (void *)&x[1]);
    cr_assert_eq(deque_pop(&deques[1]), (void *)&x[2]);
    cr_assert_null(deque_pop(&deques[1]));
    cr_assert_eq(deque_pop(&deques[0]), (void *)&x[3]);
    cr_assert_eq(deque_steal(&deques[0], &deques[1]), (void *)&x[4]);
    cr_assert_null(deque_steal(&deques[0], &deques[1]));
}

Test(queues, thief_takes_no_more_than_it_has_room_for)
{
    int x[DEQUE_SIZE], y[DEQUE_SIZE];

    fill(&deques[0], x, DEQUE_SIZE);
    fill(&deques[1], y, DEQUE_SIZE - 1);
    cr_assert_eq(deque_room(&deques[1]), 1u);
    cr_assert_eq(deque_steal(&deques[0], &deques[1]), (void *)&x[0]);
    cr_assert_eq(deque_room(&deques[1]), 0u);
    cr_assert_eq(deque_len(&deques[0]), DEQUE_SIZE - 2u);
    cr_assert_not(deque_push(&deques[1], x));
    cr_assert_eq(deque_steal(&deques[0], &deques[1]), (void *)&x[2]);
    for (int i = 0; i < DEQUE_SIZE - 1; i++)
        cr_assert_eq(deque_pop(&deques[1]), (void *)&y[i]);
    cr_assert_eq(deque_pop(&deques[1]), (void *)&x[1]);
}

/* ---- chase_lev.h ---- */

static struct chase_lev lifo;

static void *chase_lev_owner(void *arg)
{
    struct item *it;

    (void)arg;
    for (int i = 0; i < ITEMS; i++) {
        make(i);
        while (!chase_lev_push(&lifo, &items[i]))
            if ((it = chase_lev_take(&lifo)))
                take(it);
        for (int n = i % 2 ? 2 : 0; n > 0; n--) /* down to the last one */
            if ((it = chase_lev_take(&lifo)))
                take(it);
    }
    while ((it = chase_lev_take(&lifo)))
        take(it);
    return NULL;
}

static void *chase_lev_thief(void *arg)
{
    (void)arg;
    while (left > 0) {
        struct item *it = chase_lev_steal(&lifo);

        if (it)
            take(it);
        else
            sched_yield();
    }
    return NULL;
}

Test(queues, chase_lev_gives_each_item_once)
{
    chase_lev_init(&lifo);
    run_threads(chase_lev_owner, chase_lev_thief, THREADS);
    check_once();
}

Test(queues, chase_lev_never_used_is_empty)
{
    int x[3];

    chase_lev_init(&lifo);
    cr_assert_null(chase_lev_take(&lifo));
    cr_assert_null(chase_lev_steal(&lifo));
    for (int i = 0; i < 3; i++)
        cr_assert(chase_lev_push(&lifo, &x[i]));
    cr_assert_eq(chase_lev_steal(&lifo), (void *)&x[0]);
    cr_assert_eq(chase_lev_take(&lifo), (void *)&x[2]);
    cr_assert_eq(chase_lev_take(&lifo), (void *)&x[1]);
    cr_assert_null(chase_lev_take(&lifo));
}

/* ---- layout ---- */

static uintptr_t line(const void *p)
{
    return (uintptr_t)p / PAD;
}

Test(queues, words_of_different_writers_are_on_different_lines)
{
    static struct spmc_ring two[2];

    cr_assert_eq(PAD, 128);
    cr_assert_eq(sizeof(struct spmc_ring) % PAD, 0u);
    cr_assert_neq(line(&ring.head), line(&ring.tail));
    cr_assert_eq(line(&ring.tail), line(&ring.head_seen));
    cr_assert_neq(line(&ring.tail), line(&ring.slot[0]));
    cr_assert_neq(line(&two[0].slot[SPMC_SIZE - 1]), line(&two[1].head));
    cr_assert_neq(line(&deques[0].head), line(&deques[0].tail));
    cr_assert_neq(line(&deques[0].slot[DEQUE_SIZE - 1]), line(&deques[1].head));
    cr_assert_neq(line(&lifo.top), line(&lifo.bottom));
    cr_assert_eq(sizeof(struct mpsc) % PAD, 0u);
    cr_assert_eq(sizeof(struct gate) % PAD, 0u);
}
