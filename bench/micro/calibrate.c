/* calibrate.c - how fast this cpu is right now: a fixed loop, timed.
 *
 *   calibrate CPU [MS]   prints {"schema": ..., "cpu": .., "round_ns": ..,
 *                        "slow_pct": .., "slow_ms": ..}; it takes MS
 *                        milliseconds, and never less than 200 rounds
 *
 * The same commit takes 5.3 us a request now and 7.1 us two minutes later, on
 * one machine, with nobody else seen: the host has states.  So bench/run.py
 * runs this before and after each block, and measures again a block in which
 * the machine changed.
 *
 * The loop does what a server does all day: system calls, and copies into and
 * out of the kernel.  A round is timed by the thread's own clock, so that a
 * program that takes the cpu for a while is not seen, but a slower cpu is.  The
 * lower quartile of the rounds is reported: cold caches behind such a program
 * slow down a few rounds, another state of the host slows down all of them.
 *
 * A host may also take most of the speed away for some milliseconds, and count
 * none of it as steal.  Medians hide that, and a p99 is made of it.  So the
 * rounds that took more than twice the median are reported too: their share of
 * the time, and the longest stretch of them.
 */
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "cpu_set.h"
#include "inherit.h"

enum {
    ROUNDS = 200, /* at least, of a quarter of a millisecond or more */
    MOST_ROUNDS = 1 << 18,
    MOST_MS = 60000,
    WARM_UP = 10, /* before, not timed */
    CALLS = 400,  /* of each, a round */
    COPIES = 200,
    BYTES = 4096, /* a copy */
};

static int64_t clock_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* To the kernel and back: the other end is ours. */
static void one_copy(const int fds[2], char *bytes)
{
    if (send(fds[0], bytes, BYTES, 0) != BYTES ||
        recv(fds[1], bytes, BYTES, MSG_WAITALL) != BYTES)
        die("calibrate: a socket pair: %s", strerror(errno));
}

static int64_t one_round(const int fds[2], char *bytes)
{
    int64_t began = clock_ns(CLOCK_THREAD_CPUTIME_ID);

    for (int i = 0; i < CALLS; i++)
        syscall(SYS_getppid);
    for (int i = 0; i < COPIES; i++)
        one_copy(fds, bytes);
    return clock_ns(CLOCK_THREAD_CPUTIME_ID) - began;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* Rounds until `ms` have passed, by the clock on the wall: how many. */
static int look(const int fds[2], char *bytes, int64_t ns[MOST_ROUNDS],
                int64_t ms)
{
    int64_t end = clock_ns(CLOCK_MONOTONIC) + ms * 1000000;
    int n = 0;

    while (n < ROUNDS || (n < MOST_ROUNDS && clock_ns(CLOCK_MONOTONIC) < end))
        ns[n++] = one_round(fds, bytes);
    return n;
}

/* What the slow rounds took, in ns: all of them, and those of the longest
 * stretch.  `all`: what all rounds took. */
struct slow {
    int64_t sum, longest, all;
};

static struct slow slow_rounds(const int64_t ns[], int n, int64_t median)
{
    struct slow s = {0};
    int64_t stretch = 0;

    for (int i = 0; i < n; i++) {
        bool slow = ns[i] > 2 * median;

        stretch = slow ? stretch + ns[i] : 0;
        s.sum += slow ? ns[i] : 0;
        s.all += ns[i];
        if (stretch > s.longest)
            s.longest = stretch;
    }
    return s;
}

/* A number from 0 to `most`, or -1. */
static long from_0_to(long most, const char *arg)
{
    char *end;
    long n = strtol(arg, &end, 10);

    return end != arg && *end == '\0' && n <= most ? n : -1;
}

int main(int argc, char **argv)
{
    static char bytes[BYTES];
    static struct cpus set;
    static int64_t ns[MOST_ROUNDS], sorted[MOST_ROUNDS];
    struct slow slow;
    int fds[2], n;
    long cpu = argc > 1 ? from_0_to(CPUS_MOST - 1, argv[1]) : -1;
    long ms = argc > 2 ? from_0_to(MOST_MS, argv[2]) : 0;

    inherit_clean();
    if (argc > 3 || cpu < 0 || ms < 0)
        die_status(64, "usage: calibrate CPU [MS], of 0 to %d ms", MOST_MS);
    cpus_add(&set, (int)cpu);
    if (cpus_pin(&set) < 0)
        die("calibrate: cpu %ld: %s", cpu, strerror(errno));
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
        die("calibrate: socketpair: %s", strerror(errno));
    for (int i = 0; i < WARM_UP; i++)
        one_round(fds, bytes);
    n = look(fds, bytes, ns, ms);
    memcpy(sorted, ns, (size_t)n * sizeof(*ns));
    qsort(sorted, (size_t)n, sizeof(*sorted), by_size);
    slow = slow_rounds(ns, n, sorted[n / 2]);
    printf("{\"schema\": \"ioladder-calibration/1\", \"cpu\": %ld, "
           "\"round_ns\": %lld, \"slow_pct\": %.2f, \"slow_ms\": %.2f}\n",
           cpu, (long long)sorted[n / 4],
           100 * (double)slow.sum / (double)slow.all,
           (double)slow.longest / 1e6);
    return fflush(stdout) == 0 ? 0 : 1;
}
