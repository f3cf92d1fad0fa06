/* cpu_set.h - sets of cpus.  A machine may have more than the 1,024 that fit
 * into one cpu_set_t, so a set here is a row of them. */
#ifndef CPU_SET_H
#define CPU_SET_H

#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

enum { CPUS_MOST = 65536 };

struct cpus {
    cpu_set_t part[CPUS_MOST / CPU_SETSIZE];
};

static inline void cpus_clear(struct cpus *c)
{
    memset(c, 0, sizeof(*c));
}

/* False when there can be no such cpu. */
static inline bool cpus_add(struct cpus *c, int cpu)
{
    if (cpu < 0 || cpu >= CPUS_MOST)
        return false;
    CPU_SET_S((size_t)cpu, sizeof(*c), c->part);
    return true;
}

static inline bool cpus_has(const struct cpus *c, int cpu)
{
    return cpu >= 0 && cpu < CPUS_MOST &&
           CPU_ISSET_S((size_t)cpu, sizeof(*c), c->part);
}

static inline int cpus_count(const struct cpus *c)
{
    return CPU_COUNT_S(sizeof(*c), c->part);
}

/* Adds the cpus that a thread may run on (0: the caller).  0, or -1. */
static inline int cpus_of(pid_t tid, struct cpus *c)
{
    struct cpus set;

    cpus_clear(&set);
    if (sched_getaffinity(tid, sizeof(set), set.part) < 0)
        return -1;
    CPU_OR_S(sizeof(set), c->part, c->part, set.part);
    return 0;
}

/* Binds the caller to these cpus.  0, or -1 and errno. */
static inline int cpus_pin(const struct cpus *c)
{
    return sched_setaffinity(0, sizeof(*c), c->part);
}

#endif
