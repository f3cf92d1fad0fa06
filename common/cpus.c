/* cpus.c - see cpus.h. */
#include "cpus.h"

#include <errno.h>
#include <sched.h>

#include "check.h"

enum { MOST = 1 << 20 };

/* As large as the kernel needs it: a machine may have more cpus than a
 * cpu_set_t has bits. */
static cpu_set_t *cpus;
static size_t size; /* bytes */

static void find(void)
{
    for (int n = CPU_SETSIZE; !cpus; n *= 2) {
        cpus = CPU_ALLOC((size_t)n);
        size = CPU_ALLOC_SIZE((size_t)n);
        if (!cpus)
            die("no memory for the list of cpus");
        if (sched_getaffinity(0, size, cpus) == 0)
            return;
        if (errno != EINVAL || n >= MOST) { /* it does not tell */
            CPU_ZERO_S(size, cpus);
            return;
        }
        CPU_FREE(cpus);
        cpus = NULL;
    }
}

static int count(void)
{
    if (!cpus)
        find();
    return CPU_COUNT_S(size, cpus);
}

int cpus_allowed(void)
{
    return count() > 0 ? count() : 1;
}

int cpus_number(int n)
{
    int left = n % cpus_allowed(), cpu = 0;

    if (count() == 0)
        return -1;
    while (!CPU_ISSET_S((size_t)cpu, size, cpus) || left-- > 0)
        cpu++;
    return cpu;
}
