/* quota.h - how much cpu time a control group leaves to a process.
 *
 * A container with half a cpu is stopped for 50 ms out of 100.  No other figure
 * shows that: the process is not idle, no other one runs, and no steal time is
 * counted.  Both versions of the interface are read, for every group from the
 * process's own up to the top: a limit at any of them counts.
 */
#ifndef QUOTA_H
#define QUOTA_H

#include <stdint.h>

struct quota {
    double cpus;        /* the smallest limit on the way, 0: none */
    uint64_t throttled; /* times that one of the groups was stopped */
    double throttled_s; /* for how long, of all cpus together */
};

/* How many threads of this process can be busy on so many cpus: as many as the
 * quota allows, rounded up, where that is less. */
int quota_threads(int cpus);

/* `proc` is "/proc", but for tests.  What cannot be read is no limit. */
void quota_read(const char *proc, int pid, struct quota *q);

#endif
