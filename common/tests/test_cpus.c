/* Cpus: which of them there are, under masks narrow and very wide. */
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>

#include "cpus.h"

static int mask(cpu_set_t *set)
{
    CPU_ZERO(set);
    cr_assert_eq(sched_getaffinity(0, sizeof *set, set), 0);
    return CPU_COUNT(set);
}

Test(cpus, those_that_are_allowed_in_a_circle)
{
    cpu_set_t all;
    int n = mask(&all), last = -1;

    cr_assert_eq(cpus_allowed(), n);
    for (int i = 0; i < n; i++) {
        int cpu = cpus_number(i);

        cr_assert(CPU_ISSET(cpu, &all));
        cr_assert_gt(cpu, last, "each index is another cpu");
        cr_assert_eq(cpus_number(i + n), cpu);
        last = cpu;
    }
}

/* Also when what asks is pinned by now. */
Test(cpus, the_first_mask_counts)
{
    cpu_set_t one;
    int n = cpus_allowed(), first = cpus_number(0);

    CPU_ZERO(&one);
    CPU_SET(cpus_number(n - 1), &one);
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    cr_assert_eq(cpus_allowed(), n);
    cr_assert_eq(cpus_number(0), first);
}

Test(cpus, a_narrower_mask)
{
    cpu_set_t set, one;
    int cpu = -1;

    mask(&set);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set))
            cpu = i; /* the last */
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    cr_assert_eq(cpus_allowed(), 1);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(cpus_number(i), cpu);
}
