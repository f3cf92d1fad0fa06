/* queues.c - how long a task takes from a producer to a consumer.
 *
 *   queues [--blocks N] [--seconds S] [--rate R] [--consumers N] [--json FILE]
 *          [--only QUEUE[,QUEUE...]]
 *
 * Queues: the ring of stage 5 (spmc), its mutex queue (mutex), Concurrency
 * Kit's ring (ck, if it was there at build time), the ready queue of stage 6
 * (deque) and the classic deque (chase-lev).  One producer pushes; consumers
 * take, from the deques as thieves do.
 *
 *   load   paced: a task every 1/R s (default 1,000,000 a second)
 *          flat:  as fast as the queue takes them; one in 64 is timed
 *   wait   spin:  consumers look again at once
 *          park:  consumers sleep; the mutex queue on its condition variable,
 *                 the others at gate.h
 *
 * Latency is from just before the push to just after the pop; "due" counts
 * from when the producer should have pushed, so that a producer held up by its
 * own queue is not forgiven.  All queues run once per block, in random order,
 * producer and consumers pinned to different cpus as far as there are.  What is
 * compared is the median over the blocks of ratios within a block.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if HAVE_CK /* the Makefile has seen that it links */
#include <ck_ring.h>
#endif

#include "5-percore/gate.h"
#include "check.h"
#include "cpu_set.h"
#include "hist.h"
#include "inherit.h"
#include "parts/chase_lev.h"
#include "parts/deque.h"
#include "parts/mutex_queue.h"
#include "parts/spmc_ring.h"
#include "rows.h"

enum {
    CONSUMERS_MAX = 16,
    BLOCKS_MAX = 1000,
    LATE_BITS = 22,
    WARM_UP = 1 << 18
};
enum load { PACED, FLAT, LOADS };
enum wait { SPIN, PARK, WAITS };

static const char *const load_name[] = {"paced", "flat"};
static const char *const wait_name[] = {"spin", "park"};

/* ---- the queues, all behind the same three calls ---- */

struct queue {
    const char *name;
    void (*init)(void);
    bool (*push)(void *item);
    void *(*pop)(int consumer);
    bool sleeps; /* has a wait of its own; else the gate */
};

static struct spmc_ring ring;
static struct mutex_queue mutex;
static struct deque deque, thieves[CONSUMERS_MAX];
static struct chase_lev chase_lev;
static struct gate gate;

static void ring_init(void)
{
    spmc_init(&ring);
}
static bool ring_push(void *item)
{
    return spmc_push(&ring, item);
}

static void *ring_pop(int me)
{
    (void)me;
    return spmc_pop(&ring);
}

static void mutex_init(void)
{
    static bool used;

    if (used)
        mq_destroy(&mutex);
    used = true;
    mq_init(&mutex);
}

static bool mutex_push(void *item)
{
    return mq_push(&mutex, item);
}

static void *mutex_pop(int me)
{
    (void)me;
    return mq_pop(&mutex);
}

static void deques_init(void)
{
    deque_init(&deque);
    for (int i = 0; i < CONSUMERS_MAX; i++)
        deque_init(&thieves[i]);
}

static bool deque_put(void *item)
{
    return deque_push(&deque, item);
}

static void *deque_get(int me)
{
    void *item = deque_pop(&thieves[me]);

    return item ? item : deque_steal(&deque, &thieves[me]);
}

static void chase_init(void)
{
    chase_lev_init(&chase_lev);
}
static bool chase_push(void *item)
{
    return chase_lev_push(&chase_lev, item);
}

static void *chase_pop(int me)
{
    (void)me;
    return chase_lev_steal(&chase_lev);
}

#if HAVE_CK
static PADDED struct ck_ring ck;
static struct ck_ring_buffer ck_buffer[SPMC_SIZE];

static void ck_start(void)
{
    ck_ring_init(&ck, SPMC_SIZE);
}

static bool ck_push(void *item)
{
    return ck_ring_enqueue_spmc(&ck, ck_buffer, item);
}

static void *ck_pop(int me)
{
    void *item;

    (void)me;
    return ck_ring_dequeue_spmc(&ck, ck_buffer, &item) ? item : NULL;
}
#endif

static const struct queue queues[] = {
    {"spmc", ring_init, ring_push, ring_pop, false},
    {"mutex", mutex_init, mutex_push, mutex_pop, true},
#if HAVE_CK
    {"ck", ck_start, ck_push, ck_pop, false},
#endif
    {"deque", deques_init, deque_put, deque_get, false},
    {"chase-lev", chase_init, chase_push, chase_pop, false},
};
enum { QUEUES = sizeof queues / sizeof queues[0] };

/* ---- one slice ---- */

/* A task is its own time stamp: nanoseconds since the slice began, and how late
 * the producer was.  So nothing but the queue goes between the cores. */
#define TASK(ns, late) ((void *)(((uintptr_t)(ns) << LATE_BITS | (late)) + 2))
#define TASK_NS(task) (((uintptr_t)(task)-2) >> LATE_BITS)
#define TASK_LATE(task) (((uintptr_t)(task)-2) & ((1u << LATE_BITS) - 1))
#define STOP ((void *)(uintptr_t)1)

struct row {
    double mean, p50, p99, p999, due_mean, due_p99; /* ns */
    double rate;                                    /* tasks a second */
    bool done;
};

struct consumer {
    pthread_t thread;
    int number;
    struct hist latency, due;
    uint64_t taken;
};

struct options {
    int blocks, consumers;
    double seconds, rate;
    const char *json, *only;
};

static struct options opt = {.blocks = 15, .seconds = 0.05, .rate = 1e6};
static struct consumer *consumers;
static const struct queue *queue;
static enum load load;
static enum wait waits;
static uint64_t slice_began;
static atomic_int started; /* consumers on their cpus */
static int cpus[CONSUMERS_MAX + 1], ncpus;

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pin(int n)
{
    struct cpus set;

    cpus_clear(&set);
    cpus_add(&set, cpus[n % ncpus]);
    if (cpus_pin(&set) != 0)
        die("cannot pin to cpu %d", cpus[n % ncpus]);
}

static void push(void *item)
{
    while (!queue->push(item)) {
        if (ncpus == 1)
            sched_yield();
        cpu_relax();
    }
    if (waits == PARK && !queue->sleeps)
        gate_wake(&gate);
}

static void *pop_parked(int me)
{
    for (;;) {
        void *item = queue->pop(me);
        uint32_t key;

        if (item)
            return item;
        key = gate_enter(&gate);
        item = queue->pop(me);
        if (item) {
            gate_leave(&gate);
            return item;
        }
        gate_sleep(&gate, key);
    }
}

static void *pop_spinning(int me)
{
    void *item;

    while (!(item = queue->pop(me))) {
        if (ncpus == 1)
            sched_yield();
        cpu_relax();
    }
    return item;
}

static void *consume(void *arg)
{
    struct consumer *c = arg;

    pin(1 + c->number);
    atomic_fetch_add(&started, 1);
    for (;;) {
        void *task = waits == SPIN   ? pop_spinning(c->number)
                     : queue->sleeps ? mq_wait(&mutex)
                                     : pop_parked(c->number);
        uint64_t took;

        if (task == STOP)
            return NULL;
        c->taken++;
        if (TASK_NS(task) == 0)
            continue; /* not timed */
        took = now_ns() - slice_began - TASK_NS(task);
        hist_add(&c->latency, took);
        hist_add(&c->due, took + TASK_LATE(task));
    }
}

/* Untimed: the consumers are on their cpus, every slot has been touched.
 * Without it a slice would show how long a thread takes to start. */
static uint64_t warm_up(void)
{
    while (atomic_load(&started) < opt.consumers)
        sched_yield();
    for (uint64_t n = 0; n < WARM_UP; n++)
        push(TASK(0, 0));
    return WARM_UP;
}

/* Pushes until the time is over; returns how many. */
static uint64_t produce(void)
{
    uint64_t end = (uint64_t)(opt.seconds * 1e9), n = 0, ns = 0;
    double gap = 1e9 / opt.rate;

    if (load == FLAT) {
        while (ns < end)
            if (n++ % 64 == 0) {
                ns = now_ns() - slice_began;
                push(TASK(ns, 0));
            } else {
                push(TASK(0, 0));
            }
        return n;
    }
    for (;; n++) {
        uint64_t due = 1 + (uint64_t)((double)n * gap), late;

        while ((ns = now_ns() - slice_began) < due)
            cpu_relax();
        if (due >= end)
            return n;
        late = ns - due;
        if (late >= 1u << LATE_BITS)
            late = (1u << LATE_BITS) - 1;
        push(TASK(ns, late));
    }
}

static struct row run_slice(void)
{
    struct hist *latency = &consumers[0].latency, *due = &consumers[0].due;
    struct row row;
    uint64_t pushed, warm, taken = 0, took;

    queue->init();
    gate_init(&gate);
    atomic_store(&started, 0);
    for (int i = 0; i < opt.consumers; i++) {
        consumers[i].number = i;
        consumers[i].taken = 0;
        hist_reset(&consumers[i].latency);
        hist_reset(&consumers[i].due);
        if (pthread_create(&consumers[i].thread, NULL, consume,
                           &consumers[i]) != 0)
            die("cannot start a thread");
    }
    warm = warm_up();
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* it drains */
    slice_began = now_ns();
    pushed = produce();
    for (int i = 0; i < opt.consumers; i++)
        push(STOP);
    for (int i = 0; i < opt.consumers; i++) {
        pthread_join(consumers[i].thread, NULL);
        taken += consumers[i].taken;
        if (i > 0) {
            hist_merge(latency, &consumers[i].latency);
            hist_merge(due, &consumers[i].due);
        }
    }
    took = now_ns() - slice_began;
    if (taken != warm + pushed)
        die("%s: %llu tasks pushed, %llu taken", queue->name,
            (unsigned long long)(warm + pushed), (unsigned long long)taken);
    row = (struct row){
        .mean = hist_mean(latency),
        .p50 = (double)hist_percentile(latency, 50),
        .p99 = (double)hist_percentile(latency, 99),
        .p999 = (double)hist_percentile(latency, 99.9),
        .due_mean = hist_mean(due),
        .due_p99 = (double)hist_percentile(due, 99),
        .rate = (double)pushed * 1e9 / (double)took,
        .done = true,
    };
    return row;
}

/* ---- all slices, and what comes out ---- */

static struct row (*rows)[WAITS][LOADS][QUEUES]; /* [block] */

static bool chosen(const struct queue *q)
{
    const char *p = opt.only;
    size_t n = strlen(q->name);

    if (!p)
        return true;
    for (; (p = strstr(p, q->name)); p += n)
        if ((p == opt.only || p[-1] == ',') && (p[n] == ',' || p[n] == '\0'))
            return true;
    return false;
}

static void run_block(int block, unsigned *seed)
{
    int order[QUEUES];

    for (int w = 0; w < WAITS; w++)
        for (int l = 0; l < LOADS; l++) {
            random_order(order, QUEUES, seed);
            waits = (enum wait)w;
            load = (enum load)l;
            for (int i = 0; i < QUEUES; i++) {
                queue = &queues[order[i]];
                if (chosen(queue))
                    rows[block][w][l][order[i]] = run_slice();
            }
        }
}

static double figure_of(const struct row *row, size_t figure)
{
    double v;

    memcpy(&v, (const char *)row + figure, sizeof v);
    return v;
}

/* Of one figure over the blocks; base >= 0: of its ratio to that queue. */
static double median(int w, int l, int q, size_t figure, int base)
{
    static double v[BLOCKS_MAX];

    for (int b = 0; b < opt.blocks; b++) {
        v[b] = figure_of(&rows[b][w][l][q], figure);
        if (base >= 0)
            v[b] /= figure_of(&rows[b][w][l][base], figure);
    }
    return median_of(v, opt.blocks);
}

#define MEDIAN(figure) median(w, l, q, offsetof(struct row, figure), -1)
#define RATIO(figure) median(w, l, q, offsetof(struct row, figure), 0)

static void print_table(void)
{
    printf("medians of %d blocks, ns; ratios to %s\n", opt.blocks,
           queues[0].name);
    printf("%-5s %-5s %-10s %8s %8s %8s %9s %9s %10s %6s %6s\n", "wait", "load",
           "queue", "mean", "p50", "p99", "p99.9", "due p99", "tasks/s", "mean",
           "p99");
    for (int w = 0; w < WAITS; w++)
        for (int l = 0; l < LOADS; l++)
            for (int q = 0; q < QUEUES; q++) {
                if (!rows[0][w][l][q].done)
                    continue;
                printf("%-5s %-5s %-10s %8.0f %8.0f %8.0f %9.0f %9.0f %10.0f",
                       wait_name[w], load_name[l], queues[q].name, MEDIAN(mean),
                       MEDIAN(p50), MEDIAN(p99), MEDIAN(p999), MEDIAN(due_p99),
                       MEDIAN(rate));
                if (rows[0][w][l][0].done)
                    printf(" %6.2f %6.2f", RATIO(mean), RATIO(p99));
                printf("\n");
            }
}

static void write_row(FILE *f, const char **comma, int b, int w, int l, int q)
{
    const struct row *r = &rows[b][w][l][q];

    if (!r->done)
        return;
    fprintf(f,
            "%s\n  {\"block\": %d, \"wait\": \"%s\", \"load\": \"%s\", "
            "\"queue\": \"%s\", \"mean_ns\": %.1f, \"p50_ns\": %.0f, "
            "\"p99_ns\": %.0f, \"p99.9_ns\": %.0f, \"due_mean_ns\": %.1f, "
            "\"due_p99_ns\": %.0f, \"tasks_per_s\": %.0f}",
            *comma, b, wait_name[w], load_name[l], queues[q].name, r->mean,
            r->p50, r->p99, r->p999, r->due_mean, r->due_p99, r->rate);
    *comma = ",";
}

static void write_json(void)
{
    FILE *f = json_open(opt.json);
    const char *comma = "";

    fprintf(f,
            "{\"schema\": \"ioladder-queues/1\", \"blocks\": %d, "
            "\"seconds\": %g, \"rate\": %g, \"consumers\": %d, \"cpus\": %d, "
            "\"pad\": %d, \"rows\": [",
            opt.blocks, opt.seconds, opt.rate, opt.consumers, ncpus, PAD);
    for (int b = 0; b < opt.blocks; b++)
        for (int w = 0; w < WAITS; w++)
            for (int l = 0; l < LOADS; l++)
                for (int q = 0; q < QUEUES; q++)
                    write_row(f, &comma, b, w, l, q);
    fprintf(f, "]}\n");
    json_close(f, opt.json);
}

static void parse(char **argv)
{
    while (*++argv) {
        const char *name = argv[0], *arg = argv[1];

        if (strcmp(name, "--blocks") == 0)
            opt.blocks = (int)number(name, arg, 1, BLOCKS_MAX);
        else if (strcmp(name, "--seconds") == 0)
            opt.seconds = number(name, arg, 0.002, 60);
        else if (strcmp(name, "--rate") == 0)
            opt.rate = number(name, arg, 1, 1e8);
        else if (strcmp(name, "--consumers") == 0)
            opt.consumers = (int)number(name, arg, 1, CONSUMERS_MAX);
        else if (strcmp(name, "--json") == 0 && arg)
            opt.json = arg;
        else if (strcmp(name, "--only") == 0 && arg)
            opt.only = arg;
        else
            die_status(64, "usage: queues [--blocks N] [--seconds S] "
                           "[--rate R] [--consumers N] [--json FILE] "
                           "[--only QUEUE,...]");
        argv++;
    }
}

static void find_cpus(void)
{
    struct cpus set = {0};

    if (cpus_of(0, &set) != 0)
        die("sched_getaffinity: %s", strerror(errno));
    for (int i = 0; i < CPUS_MOST && ncpus <= CONSUMERS_MAX; i++)
        if (cpus_has(&set, i))
            cpus[ncpus++] = i;
}

int main(int argc, char **argv)
{
    unsigned seed = (unsigned)now_ns();

    (void)argc;
    inherit_clean();
    find_cpus();
    parse(argv);
    if (opt.consumers == 0)
        opt.consumers = ncpus > 2 ? (ncpus > 4 ? 3 : ncpus - 1) : 1;
    consumers = calloc((size_t)opt.consumers, sizeof *consumers);
    rows = calloc((size_t)opt.blocks, sizeof *rows);
    if (!consumers || !rows)
        die("out of memory");
    pin(0);
    for (int b = 0; b < opt.blocks; b++) {
        run_block(b, &seed);
        fprintf(stderr, "block %d of %d\n", b + 1, opt.blocks);
    }
    if (opt.json)
        write_json();
    if (wants_table(opt.json))
        print_table();
    free(consumers);
    free(rows);
    return 0;
}
