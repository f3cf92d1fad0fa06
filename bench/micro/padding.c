/* padding.c - what it costs when two cores write to one cache line.
 *
 *   padding [--blocks N] [--seconds S] [--threads N] [--json FILE]
 *
 * Pinned threads, one per cpu (default: two), each update a counter of their
 * own.  The counters are PAD bytes apart: 0 means side by side on one line.
 * Between two updates a thread computes for 0, 50, 500 or 5000 ns without
 * touching memory.  The tight loop shows the worst that can happen; the others
 * show what is left of it at the rate of a server, which updates such words a
 * few times a request.
 *
 *   PAD 0     | a b |         each update takes the line from the other core
 *   PAD 128   | a   | b   |   each core keeps its line
 *
 *   update   add:   atomic_fetch_add, as in a shared queue's head
 *            store: relaxed load, relaxed store, as in the servers' counters;
 *                   the store buffer hides the wait for the line
 *
 * What is reported is the CPU time per update, computing included, so that a
 * neighbour on the machine is not counted, and the ratio PAD 0 / PAD 128 within
 * a block (the median over the blocks).  All cases run once per block, in
 * random order.  How long a line takes between two cpus is measured by c2c.
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

#include "check.h"
#include "cpu_set.h"
#include "inherit.h"
#include "rows.h"

enum { THREADS_MAX = 64, BLOCKS_MAX = 1000, BATCH = 16 };
enum op { ADD, STORE, OPS };

static const char *const op_name[] = {"add", "store"};
static const int pads[] = {0, 64, 128, 256};
static const int gaps[] = {0, 50, 500, 5000}; /* ns */
enum { PADS = 4, GAPS = 4, PAD_0 = 0, PAD_128 = 2, CASES = OPS * PADS * GAPS };

struct options {
    int blocks, threads;
    double seconds;
    const char *json;
};

struct writer {
    pthread_t thread;
    int cpu;
    _Atomic uint64_t *counter;
    double ns; /* per update */
};

static struct options opt = {.blocks = 15, .threads = 2, .seconds = 0.02};
static struct writer writers[THREADS_MAX];
static _Alignas(4096) char memory[THREADS_MAX * 256];
static pthread_barrier_t start;
static _Alignas(256) _Atomic bool stop;
static _Alignas(256) enum op op; /* read-only while a slice runs */
static uint64_t spins;           /* between two updates */
static double spins_per_ns;

static double (*cost)[OPS][GAPS][PADS]; /* [block], ns per update */

/* CPU time of the calling thread, nanoseconds. */
static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Computes without touching memory; a chain, so that no core can shorten it. */
static inline void spin(uint64_t n)
{
    uint64_t x = n;

    while (n-- > 0)
        __asm__ volatile("" : "+r"(x), "+r"(n));
}

/* The fastest of several: others may have had the cpu meanwhile. */
static void calibrate(void)
{
    enum { N = 2000000 };

    for (int i = 0; i < 9; i++) {
        double began = now(), per_ns;

        spin(N);
        per_ns = N / (now() - began);
        if (per_ns > spins_per_ns)
            spins_per_ns = per_ns;
    }
}

static void update(_Atomic uint64_t *c)
{
    if (op == ADD)
        atomic_fetch_add_explicit(c, 1, memory_order_relaxed);
    else
        atomic_store_explicit(c,
                              atomic_load_explicit(c, memory_order_relaxed) + 1,
                              memory_order_relaxed);
}

static void *write_counter(void *arg)
{
    struct writer *w = arg;
    uint64_t n = 0;
    double began;
    struct cpus set;

    cpus_clear(&set);
    cpus_add(&set, w->cpu);
    if (cpus_pin(&set) != 0)
        die("cannot pin to cpu %d", w->cpu);
    pthread_barrier_wait(&start);
    began = now();
    do { /* once at least: it may get its cpu only when the slice is over */
        for (int i = 0; i < BATCH; i++) {
            update(w->counter);
            spin(spins);
        }
        n += BATCH;
    } while (!atomic_load_explicit(&stop, memory_order_relaxed));
    w->ns = (now() - began) / (double)n;
    if (atomic_load(w->counter) != n)
        die("a counter shows %llu after %llu updates",
            (unsigned long long)atomic_load(w->counter), (unsigned long long)n);
    return NULL;
}

static double run_slice(enum op what, int pad, int gap)
{
    size_t apart = pad ? (size_t)pad : sizeof(uint64_t);
    struct timespec t = {
        (time_t)opt.seconds,
        (long)((opt.seconds - (double)(time_t)opt.seconds) * 1e9)};
    double sum = 0;

    op = what;
    spins = (uint64_t)((double)gap * spins_per_ns);
    stop = false;
    memset(memory, 0, sizeof memory);
    pthread_barrier_init(&start, NULL, (unsigned)opt.threads + 1);
    for (int i = 0; i < opt.threads; i++) {
        writers[i].counter = (_Atomic uint64_t *)(memory + apart * (size_t)i);
        if (pthread_create(&writers[i].thread, NULL, write_counter,
                           &writers[i]) != 0)
            die("cannot start a thread");
    }
    pthread_barrier_wait(&start);
    nanosleep(&t, NULL);
    stop = true;
    for (int i = 0; i < opt.threads; i++) {
        pthread_join(writers[i].thread, NULL);
        sum += writers[i].ns;
    }
    pthread_barrier_destroy(&start);
    return sum / opt.threads;
}

static void run_block(int block, unsigned *seed)
{
    int order[CASES];

    random_order(order, CASES, seed);
    for (int i = 0; i < CASES; i++) {
        int o = order[i] / (PADS * GAPS), g = order[i] / PADS % GAPS;
        int p = order[i] % PADS;

        cost[block][o][g][p] = run_slice((enum op)o, pads[p], gaps[g]);
    }
}

/* Over the blocks: the cost, or with a base its ratio to that padding's. */
static double median(int o, int g, int p, int base)
{
    static double v[BLOCKS_MAX];

    for (int b = 0; b < opt.blocks; b++)
        v[b] = cost[b][o][g][p] / (base < 0 ? 1 : cost[b][o][g][base]);
    return median_of(v, opt.blocks);
}

static void print_table(void)
{
    printf("ns per update, medians of %d blocks, %d threads\n", opt.blocks,
           opt.threads);
    printf("%-6s %8s %9s %9s %9s %9s %12s\n", "update", "every ns", "PAD 0",
           "PAD 64", "PAD 128", "PAD 256", "PAD 0 / 128");
    for (int o = 0; o < OPS; o++)
        for (int g = 0; g < GAPS; g++) {
            printf("%-6s %8d", op_name[o], gaps[g]);
            for (int p = 0; p < PADS; p++)
                printf(" %9.2f", median(o, g, p, -1));
            printf(" %12.3f\n", median(o, g, PAD_0, PAD_128));
        }
}

static void write_json(void)
{
    FILE *f = json_open(opt.json);
    const char *comma = "";

    fprintf(f,
            "{\"schema\": \"ioladder-padding/1\", \"blocks\": %d, "
            "\"seconds\": %g, \"threads\": %d, \"rows\": [",
            opt.blocks, opt.seconds, opt.threads);
    for (int b = 0; b < opt.blocks; b++)
        for (int o = 0; o < OPS; o++)
            for (int g = 0; g < GAPS; g++)
                for (int p = 0; p < PADS; p++) {
                    fprintf(f,
                            "%s\n  {\"block\": %d, \"update\": \"%s\", "
                            "\"every_ns\": %d, \"pad\": %d, "
                            "\"ns_per_update\": %.3f}",
                            comma, b, op_name[o], gaps[g], pads[p],
                            cost[b][o][g][p]);
                    comma = ",";
                }
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
            opt.seconds = number(name, arg, 0.001, 60);
        else if (strcmp(name, "--threads") == 0)
            opt.threads = (int)number(name, arg, 1, THREADS_MAX);
        else if (strcmp(name, "--json") == 0 && arg)
            opt.json = arg;
        else
            die_status(64, "usage: padding [--blocks N] [--seconds S] "
                           "[--threads N] [--json FILE]");
        argv++;
    }
}

static void choose_cpus(void)
{
    struct cpus set = {0};
    int n = 0;

    if (cpus_of(0, &set) != 0)
        die("sched_getaffinity: %s", strerror(errno));
    for (int i = 0; i < CPUS_MOST && n < opt.threads; i++)
        if (cpus_has(&set, i))
            writers[n++].cpu = i;
    if (n < opt.threads)
        die_status(77, "%d cpus are needed, there are %d", opt.threads, n);
}

int main(int argc, char **argv)
{
    unsigned seed = (unsigned)time(NULL);

    (void)argc;
    inherit_clean();
    parse(argv);
    choose_cpus();
    cost = calloc((size_t)opt.blocks, sizeof *cost);
    if (!cost)
        die("out of memory");
    calibrate();
    for (int b = 0; b < opt.blocks; b++) {
        run_block(b, &seed);
        fprintf(stderr, "block %d of %d\n", b + 1, opt.blocks);
    }
    if (opt.json)
        write_json();
    if (wants_table(opt.json))
        print_table();
    free(cost);
    return 0;
}
