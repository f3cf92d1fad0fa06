/* prices.h - what all prices are measured with: clocks, cpus, a second thread.
 * Only prices.c includes it.
 */
#ifndef PRICES_H
#define PRICES_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { CONNS = 64 }; /* connections that work together in a price */

static int cpu_a, cpu_b = -1; /* cpu_b < 0: there is only one */

static int64_t clock_ns(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static void pin(int cpu)
{
    size_t size = CPU_ALLOC_SIZE(cpu + 1);
    cpu_set_t *set = CPU_ALLOC((size_t)cpu + 1);

    CPU_ZERO_S(size, set);
    CPU_SET_S((size_t)cpu, size, set);
    if (sched_setaffinity(0, size, set) != 0)
        die("prices: cannot run on cpu %d: %s", cpu, strerror(errno));
    CPU_FREE(set);
}

/* Nanoseconds of CPU since `begin`, without what looking at the clock takes. */
static int64_t spent_since(int64_t begin)
{
    int64_t end = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    int64_t clock = clock_ns(CLOCK_THREAD_CPUTIME_ID) - end;

    return end - begin - clock;
}

struct partner {
    _Alignas(256) _Atomic uint64_t word; /* added to, or handed to and fro */
    _Alignas(256) _Atomic bool begun, end;
    int cpu, rounds;
    int to, from; /* eventfds */
    void (*play)(struct partner *);
};

static void *partner_main(void *arg)
{
    struct partner *p = arg;

    pin(p->cpu);
    atomic_store(&p->begun, true);
    p->play(p);
    return NULL;
}

static pthread_t partner_start(struct partner *p)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, partner_main, p) != 0)
        die("prices: cannot start a thread");
    while (!atomic_load(&p->begun))
        sched_yield();
    return thread;
}

static int new_event(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);

    if (fd < 0)
        die("prices: eventfd: %s", strerror(errno));
    return fd;
}

static void event_write(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof one) != (ssize_t)sizeof one)
        die("prices: eventfd: %s", strerror(errno));
}

static void event_read(int fd)
{
    uint64_t value;

    if (read(fd, &value, sizeof value) != (ssize_t)sizeof value)
        die("prices: eventfd: %s", strerror(errno));
}

#endif
