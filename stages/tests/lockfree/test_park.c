/* test_park.c - parking, the sentinel's sleep and the state word of stage 6
 * under real threads. */
#define DEQUE_SIZE 64
#include "stumble.h"

#include "6-stealing/state.h"
#include "parts/busy.h"
#include "parts/deque.h"
#include "parts/park.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

TestSuite(park, .timeout = 120);

/* ---- a small scheduler: workers spawn tasks, steal them, and sleep ---- */

enum { WORKERS = 6, TASKS = 30000, WAVES = 300, CHAIN = 30 };

struct task {
    int id;
    uint64_t body; /* plain */
    _Atomic int runs;
};

static struct task tasks[TASKS];
static void (*run)(int w, struct task *t); /* what the tasks of a test do */
static int goal;                           /* how many there are */
static _Atomic int spawned, done, wrong, sleeps;
static _Atomic int root[WORKERS]; /* 1 + the task that comes from outside */
static struct park park;
static struct deque queue[WORKERS];
static int event[WORKERS];

static void post(int w)
{
    const uint64_t one = 1;

    if (write(event[w], &one, sizeof one) != sizeof one)
        abort();
}

static void wake_one(void)
{
    int w = park_wake(&park);

    if (w >= 0)
        post(w);
}

static void push(int w, int i)
{
    tasks[i].id = i;
    tasks[i].body = (uint64_t)i + 7;
    if (!deque_push(&queue[w], &tasks[i]))
        abort();
    wake_one();
}

static void finish(struct task *t)
{
    if (t->body != (uint64_t)t->id + 7)
        wrong++;
    if (++done == goal)
        for (int i = 0; i < WORKERS; i++)
            post(i);
}

static struct task *steal(int w)
{
    struct task *t = NULL;

    for (int i = 1; i < WORKERS && !t; i++)
        t = deque_steal(&queue[(w + i) % WORKERS], &queue[w]);
    return t;
}

static bool anything(void)
{
    for (int i = 0; i < WORKERS; i++)
        if (deque_len(&queue[i]) > 0)
            return true;
    return false;
}

/* The owner's queue first, then, for a searcher, those of the others. */
static struct task *find(int w, bool *searching)
{
    int i = atomic_exchange(&root[w], 0);
    struct task *t;

    if (i > 0)
        push(w, i - 1);
    t = deque_pop(&queue[w]);
    if (!t && !*searching)
        *searching = park_search(&park);
    if (!t && *searching)
        t = steal(w);
    if (t && *searching && park_found(&park))
        wake_one();
    return t;
}

static void *worker(void *arg)
{
    int w = (int)(intptr_t)arg;
    bool searching = false;
    uint64_t n;

    while (done < goal) {
        struct task *t = find(w, &searching);

        if (t) {
            searching = false;
            t->runs++;
            run(w, t);
            continue;
        }
        park_enter(&park, w, searching);
        if (anything() || done == goal) {
            park_cancel(&park, w);
            searching = true;
            continue;
        }
        sleeps++;
        if (read(event[w], &n, sizeof n) != sizeof n)
            abort();
        searching = park_leave(&park, w);
    }
    return NULL;
}

static pthread_t threads[WORKERS];

static void start_workers(void (*tasks_do)(int, struct task *), int n)
{
    run = tasks_do;
    goal = n;
    park_init(&park, WORKERS);
    for (int i = 0; i < WORKERS; i++) {
        deque_init(&queue[i]);
        event[i] = eventfd(0, 0);
        cr_assert_geq(event[i], 0);
    }
    for (intptr_t i = 0; i < WORKERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, worker, (void *)i), 0);
}

/* To a worker that may sleep: what comes from outside is posted. */
static void give(int w, int i)
{
    root[w] = 1 + i;
    post(w);
}

static void end_workers(void)
{
    int lost = 0, twice = 0;

    for (int i = 0; i < WORKERS; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < goal; i++) {
        lost += tasks[i].runs == 0;
        twice += tasks[i].runs > 1;
    }
    cr_assert_eq(lost, 0, "%d tasks lost", lost);
    cr_assert_eq(twice, 0, "%d tasks ran twice", twice);
    cr_assert_eq((int)wrong, 0);
}

static void spawn(int w)
{
    int i;

    if (deque_room(&queue[w]) > 0 && (i = spawned++) < TASKS)
        push(w, i);
}

/* Every task is followed by another, some by two; some take a while, and what
 * is queued behind them is to be stolen. */
static void spread(int w, struct task *t)
{
    spawn(w);
    if (t->id % 3 == 0)
        spawn(w);
    if (t->id % 64 == 0)
        usleep(50);
    finish(t);
}

Test(park, workers_run_every_task_once)
{
    spawned = 1;
    start_workers(spread, TASKS);
    give(0, 0);
    end_workers();
}

static void wait_for(int i)
{
    while (tasks[i].runs == 0)
        sched_yield();
}

/* Handlers that wait for what they have queued: they do not return before
 * others have taken it.  Of three tasks the first queues the other two at once,
 * and one of those holds up whoever runs it until a third worker has the other:
 * so one wake-up must be followed by another.  At most two wait at a time. */
static void pass_on(int w, struct task *t)
{
    int i = t->id;

    if (i % 3 == 1)
        wait_for(i + 1);
    if (i % 3 == 0) {
        push(w, i + 1);
        push(w, i + 2);
        wait_for(i + 1);
        wait_for(i + 2);
        if ((i + 3) % CHAIN != 0) {
            push(w, i + 3);
            wait_for(i + 3);
        }
    }
    finish(t);
}

/* Each wave begins when all sleep, and ends only if somebody wakes for each of
 * its tasks: a lost wake-up is a test that does not end. */
Test(park, a_sleeper_wakes_for_every_task)
{
    const uint64_t all = PARK_BIT(WORKERS) - 1;

    start_workers(pass_on, WAVES * CHAIN);
    for (int i = 0; i < WAVES; i++) {
        while (done < i * CHAIN || atomic_load(&park.word) != all)
            usleep(20);
        give(i % WORKERS, i * CHAIN);
    }
    end_workers();
    cr_assert_geq((int)sleeps, WAVES, "%d sleeps", (int)sleeps);
}

Test(park, at_most_half_of_the_workers_search)
{
    for (int workers = 2; workers <= 9; workers++) {
        int n = 0;

        park_init(&park, workers);
        while (park_search(&park))
            n++;
        cr_assert_eq(n, (workers + 1) / 2, "%d of %d search", n, workers);
        for (; n > 1; n--)
            cr_assert_not(park_found(&park));
        cr_assert(park_found(&park), "the last one must wake another");
    }
}

Test(park, wakes_one_parked_worker_and_only_when_nobody_searches)
{
    park_init(&park, 4);
    cr_assert_eq(park_wake(&park), -1);
    park_enter(&park, 2, false);
    park_enter(&park, 3, false);
    cr_assert(park_search(&park));
    cr_assert_eq(park_wake(&park), -1);
    park_enter(&park, 0, true);
    cr_assert_eq(park_wake(&park), 0);
    cr_assert_eq(park_wake(&park), -1, "worker 0 searches now");
    cr_assert(park_leave(&park, 0));
    cr_assert(park_found(&park));
    cr_assert_eq(park_wake(&park), 2);
    cr_assert_not(park_leave(&park, 3), "it woke by itself");
    park_cancel(&park, 2);
    cr_assert(park_found(&park));
    cr_assert_eq(atomic_load(&park.word), 0u);
}

/* ---- busy.h: a sentinel looks after workers, and sleeps ---- */

enum { BUSY = 3, HANDLERS = 100000 };

static struct busy busy[BUSY];
static struct sentinel watch;
static _Atomic bool noticed[BUSY], watch_over;
static int watch_sleeps;

/* Every fourth handler lasts until the sentinel has noticed it: one that it
 * sleeps through is a test that does not end. */
static void *handlers(void *arg)
{
    int w = (int)(intptr_t)arg;

    for (int i = 0; i < HANDLERS; i++) {
        noticed[w] = false;
        busy_begin(&busy[w], &watch, clock_us());
        while (i % 4 == 0 && !noticed[w])
            sched_yield();
        busy_end(&busy[w]);
        if (i % 32 == w)
            usleep(20);
    }
    return NULL;
}

static void *watcher(void *arg)
{
    (void)arg;
    while (!watch_over) {
        bool any = false;

        sentinel_enter(&watch);
        for (int w = 0; w < BUSY; w++)
            if (busy_now(&busy[w]))
                noticed[w] = any = true;
        if (any || watch_over) {
            sentinel_stay(&watch);
        } else {
            poll(&(struct pollfd){.fd = watch.eventfd, .events = POLLIN}, 1,
                 -1);
            sentinel_woken(&watch);
            watch_sleeps++;
        }
    }
    return NULL;
}

Test(park, the_sentinel_sleeps_through_no_handler)
{
    pthread_t sentinel, t[BUSY];

    watch.eventfd = eventfd(0, EFD_NONBLOCK);
    cr_assert_geq(watch.eventfd, 0);
    cr_assert_eq(pthread_create(&sentinel, NULL, watcher, NULL), 0);
    for (intptr_t i = 0; i < BUSY; i++)
        cr_assert_eq(pthread_create(&t[i], NULL, handlers, (void *)i), 0);
    for (int i = 0; i < BUSY; i++)
        cr_assert_eq(pthread_join(t[i], NULL), 0);
    watch_over = true;
    cr_assert_eq(eventfd_write(watch.eventfd, 1), 0);
    cr_assert_eq(pthread_join(sentinel, NULL), 0);
    cr_assert_gt(watch_sleeps, 0);
    cr_assert_eq(atomic_load(&watch.asleep), 0u);
    close(watch.eventfd);
}

Test(park, the_sentinel_is_posted_once_a_sleep)
{
    struct sentinel s = {.eventfd = eventfd(0, EFD_NONBLOCK)};
    struct busy b = {0}, other = {0};
    eventfd_t posts;

    cr_assert_geq(s.eventfd, 0);
    busy_begin(&b, &s, 5);
    cr_assert(busy_longer(&b, 8, 2));
    cr_assert_not(busy_longer(&b, 7, 2));
    busy_end(&b);
    cr_assert_not(busy_now(&b));
    cr_assert_lt(eventfd_read(s.eventfd, &posts), 0, "it was awake");
    sentinel_enter(&s);
    busy_begin(&b, &s, 5);
    busy_begin(&other, &s, 5);
    cr_assert_eq(eventfd_read(s.eventfd, &posts), 0);
    cr_assert_eq(posts, 1u);
    sentinel_enter(&s);
    sentinel_stay(&s);
    busy_begin(&b, &s, 5);
    cr_assert_lt(eventfd_read(s.eventfd, &posts), 0, "it stayed awake");
    close(s.eventfd);
}

/* ---- state.h ---- */

enum { CONNS = 8, EVENTS = 20000, HARVESTERS = 3, RUNNERS = 3 };

static struct conn {
    struct state state;
    _Atomic int arrived; /* what the peer has sent */
    int seen;            /* plain: the owner's */
    _Atomic int inside;  /* threads inside, must never be two */
} conns[CONNS];

/* All queues as one, with a lock: it is not under test here. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int ready[CONNS * 4], nready;
static _Atomic int harvesting, two_inside, queued_twice;

static void enqueue(int c)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < nready; i++)
        queued_twice += ready[i] == c;
    ready[nready++] = c;
    pthread_mutex_unlock(&lock);
}

static int dequeue(void)
{
    int c = -1;

    pthread_mutex_lock(&lock);
    if (nready > 0) {
        c = ready[0];
        memmove(ready, ready + 1, (size_t)--nready * sizeof ready[0]);
    }
    pthread_mutex_unlock(&lock);
    return c;
}

static void *harvester(void *arg)
{
    unsigned seed = (unsigned)(intptr_t)arg + 1;

    for (int i = 0; i < EVENTS; i++) {
        int c;

        seed = seed * 1103515245u + 12345u;
        c = (int)(seed >> 16) % CONNS;
        conns[c].arrived++;
        if (state_event(&conns[c].state, 1, STATE_NEWS))
            enqueue(c);
        if (seed >> 28 == 0)
            sched_yield();
    }
    harvesting--;
    return NULL;
}

static void *runner(void *arg)
{
    bool last = false;
    uint64_t marks;
    int c;

    (void)arg;
    for (;;) {
        bool over = harvesting == 0;

        c = dequeue();
        if (c < 0) {
            if (over && last)
                return NULL;
            last = over;
            sched_yield();
            continue;
        }
        if (!state_claim(&conns[c].state, &marks))
            queued_twice++;
        two_inside += conns[c].inside++ != 0;
        if (marks) /* no mark: nothing has arrived */
            conns[c].seen += atomic_exchange(&conns[c].arrived, 0);
        if (c % 2)
            sched_yield();
        conns[c].inside--;
        if (state_release(&conns[c].state))
            enqueue(c);
    }
}

Test(park, state_word_loses_no_event_and_lets_one_thread_in)
{
    pthread_t t[HARVESTERS + RUNNERS];
    int seen = 0;

    harvesting = HARVESTERS;
    for (int i = 0; i < CONNS; i++) {
        state_init(&conns[i].state);
        state_close(&conns[i].state);
        cr_assert_eq(state_gen(&conns[i].state), 1u);
    }
    for (intptr_t i = 0; i < HARVESTERS + RUNNERS; i++)
        cr_assert_eq(pthread_create(&t[i], NULL,
                                    i < HARVESTERS ? harvester : runner,
                                    (void *)i),
                     0);
    for (int i = 0; i < HARVESTERS + RUNNERS; i++)
        cr_assert_eq(pthread_join(t[i], NULL), 0);
    for (int i = 0; i < CONNS; i++) {
        seen += conns[i].seen;
        cr_assert_eq(atomic_load(&conns[i].state.word),
                     state_word(1, CONN_IDLE));
    }
    cr_assert_eq(seen, EVENTS * HARVESTERS, "%d events seen", seen);
    cr_assert_eq((int)two_inside, 0);
    cr_assert_eq((int)queued_twice, 0);
}

Test(park, state_word_step_by_step)
{
    const uint64_t both = STATE_NEWS | STATE_TAIL;
    struct state s;
    uint64_t marks;
    uint32_t gen;

    state_init(&s);
    gen = state_gen(&s);
    cr_assert(state_event(&s, gen, STATE_NEWS), "idle: queue it");
    cr_assert_not(state_event(&s, gen, both), "queued already");
    cr_assert(state_claim(&s, &marks));
    cr_assert_eq(marks, both, "of all events");
    cr_assert_not(state_release(&s), "nothing happened meanwhile");
    cr_assert_eq(atomic_load(&s.word), state_word(gen, CONN_IDLE));
    cr_assert(state_event(&s, gen, STATE_NEWS));
    cr_assert(state_claim(&s, &marks));
    cr_assert_eq(marks, (uint64_t)STATE_NEWS);
    cr_assert_not(state_event(&s, gen, STATE_NEWS), "its owner will look");
    cr_assert_not(state_event(&s, gen, STATE_NEWS));
    cr_assert(state_release(&s), "the owner must queue it");
    cr_assert(state_claim(&s, &marks));
    cr_assert_eq(marks, (uint64_t)STATE_NEWS);
    state_requeue(&s);
    cr_assert(state_claim(&s, &marks));
    cr_assert_eq(marks, 0u, "no event: no need to look");
    cr_assert_not(state_event(&s, gen, both));
    state_requeue(&s);
    cr_assert_not(state_event(&s, gen, STATE_NEWS), "queued by its owner");
    cr_assert(state_claim(&s, &marks));
    cr_assert_eq(marks, both, "the mark went with it");
    cr_assert_not(state_claim(&s, &marks), "it has an owner");
    state_close(&s);
    cr_assert_not(state_event(&s, gen, both), "of the old connection");
    cr_assert_eq(state_gen(&s), gen + 1);
    cr_assert(state_event(&s, gen + 1, STATE_NEWS));
}

Test(park, generation_comes_round)
{
    struct state s;

    a_init(&s.word, state_word(UINT32_MAX, CONN_RUNNING));
    state_close(&s);
    cr_assert_eq(state_gen(&s), 0u);
    cr_assert_not(state_event(&s, UINT32_MAX, STATE_NEWS));
    cr_assert(state_event(&s, 0, STATE_NEWS));
}
