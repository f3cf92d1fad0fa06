/* c2c.c - how long a cache line takes from one cpu to another and back.
 *
 *   c2c [--json] [CPU ...]     default: all cpus this process may use
 *
 * Two pinned threads hand a counter to and fro on one line.  What is printed
 * is the round trip in nanoseconds: the lowest mean of several batches, since
 * a batch can only be made longer by interrupts and neighbours.
 *
 *   cpu A                     the line                     cpu B
 *   stores 1  ------------->  1, 2, 3, ...  <-------------  stores 2
 *   waits for 2                                             waits for 3
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

enum {
    ROUNDS = 2000, /* per batch */
    BATCHES = 15,
    CPUS_MAX = 64,
    ROUND_LIMIT_S = 2, /* two threads on one cpu would take for ever */
};

struct line {
    _Alignas(256) _Atomic uint32_t turn;
    _Alignas(256) _Atomic bool give_up;
};

struct side {
    struct line *line;
    int cpu;
    uint32_t parity; /* moves when turn % 2 is this */
};

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void pin(int cpu)
{
    struct cpus set;

    cpus_clear(&set);
    cpus_add(&set, cpu);
    if (cpus_pin(&set) != 0)
        die("c2c: cannot run on cpu %d: %s", cpu, strerror(errno));
}

/* Takes every second turn until the last one, or until somebody gives up. */
static void play(struct line *l, uint32_t parity, uint32_t last)
{
    for (uint32_t t = parity; t < last; t += 2) {
        while (atomic_load_explicit(&l->turn, memory_order_acquire) != t)
            if (atomic_load_explicit(&l->give_up, memory_order_relaxed))
                return;
        atomic_store_explicit(&l->turn, t + 1, memory_order_release);
    }
}

static void *partner(void *arg)
{
    struct side *s = arg;

    pin(s->cpu);
    play(s->line, s->parity, 2 * ROUNDS * BATCHES);
    return NULL;
}

/* Ends the game when the partner never answers in time. */
static void *referee(void *arg)
{
    struct line *l = arg;
    int64_t end = now_ns() + ROUND_LIMIT_S * INT64_C(1000000000);
    const struct timespec nap = {.tv_nsec = 1000000};

    while (atomic_load(&l->turn) < 2 * ROUNDS * BATCHES && now_ns() < end)
        nanosleep(&nap, NULL);
    atomic_store(&l->give_up, true);
    return NULL;
}

/* The round trip in nanoseconds, or a negative number: not measured. */
static double round_trip(int a, int b)
{
    static struct line line;
    struct side other = {&line, b, 1};
    pthread_t threads[2];
    int64_t best = INT64_MAX;

    atomic_store(&line.turn, 0);
    atomic_store(&line.give_up, false);
    if (pthread_create(&threads[0], NULL, referee, &line) != 0 ||
        pthread_create(&threads[1], NULL, partner, &other) != 0)
        die("c2c: cannot start a thread");
    pin(a);
    for (uint32_t i = 0; i < BATCHES; i++) {
        int64_t start = now_ns();
        uint32_t first = 2 * ROUNDS * i;

        for (uint32_t t = first; t < first + 2 * ROUNDS; t += 2) {
            while (atomic_load_explicit(&line.turn, memory_order_acquire) != t)
                if (atomic_load_explicit(&line.give_up, memory_order_relaxed))
                    break;
            atomic_store_explicit(&line.turn, t + 1, memory_order_release);
        }
        /* The first batch includes the partner's start. */
        if (i > 0 && now_ns() - start < best)
            best = now_ns() - start;
    }
    bool lost = atomic_load(&line.give_up) &&
                atomic_load(&line.turn) < 2 * ROUNDS * BATCHES;
    pthread_join(threads[1], NULL);
    pthread_join(threads[0], NULL);
    return lost ? -1 : (double)best / ROUNDS;
}

static int cpus_allowed(int cpus[CPUS_MAX])
{
    struct cpus set = {0};
    int n = 0;

    if (cpus_of(0, &set) != 0)
        die("c2c: sched_getaffinity: %s", strerror(errno));
    for (int cpu = 0; cpu < CPUS_MOST && n < CPUS_MAX; cpu++)
        if (cpus_has(&set, cpu))
            cpus[n++] = cpu;
    return n;
}

static int cpus_given(int argc, char **argv, int cpus[CPUS_MAX])
{
    int n = 0;

    for (int i = 0; i < argc && n < CPUS_MAX; i++) {
        char *end;
        long cpu = strtol(argv[i], &end, 10);

        if (*end != '\0' || end == argv[i] || cpu < 0 || cpu >= CPUS_MOST)
            die_status(64, "usage: c2c [--json] [CPU ...]");
        cpus[n++] = (int)cpu;
    }
    return n;
}

int main(int argc, char **argv)
{
    int cpus[CPUS_MAX];
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
    const char *comma = "";
    int n;

    inherit_clean();
    n = cpus_given(argc - 1 - json, argv + 1 + json, cpus);
    if (n == 0)
        n = cpus_allowed(cpus);
    if (json)
        printf("{\"unit\": \"ns per round trip\", \"pairs\": [");
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++) {
            double ns = round_trip(cpus[i], cpus[j]);

            if (json)
                printf("%s{\"a\": %d, \"b\": %d, \"ns\": %.1f}", comma, cpus[i],
                       cpus[j], ns);
            else if (ns < 0)
                printf("cpu %3d <-> cpu %3d   not measured\n", cpus[i],
                       cpus[j]);
            else
                printf("cpu %3d <-> cpu %3d   %7.1f ns\n", cpus[i], cpus[j],
                       ns);
            comma = ", ";
        }
    if (json)
        printf("]}\n");
    return 0;
}
