/* test_quota.c - limits of control groups, from files made for it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cpu_set.h"
#include "quota.h"

static char top[256];

/* Writes a file below `top`, with the folders on the way. */
static void put(const char *name, const char *text)
{
    char path[1024];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", top, name);
    for (char *p = path + strlen(top) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(path, 0755);
        *p = '/';
    }
    f = fopen(path, "w");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}

static void set_up(void)
{
    const char *where = getenv("TMPDIR");

    snprintf(top, sizeof(top), "%s/ioladder-quota-XXXXXX",
             where ? where : "/tmp");
    cr_assert_not_null(mkdtemp(top));
}

static void tear_down(void)
{
    char command[512];

    snprintf(command, sizeof(command), "rm -rf '%s'", top);
    cr_assert_eq(system(command), 0);
}

TestSuite(quota, .init = set_up, .fini = tear_down);

/* A hierarchy mounted at top/cg, of which `root` is what the mount shows. */
static void mounted(const char *root, const char *type, const char *options)
{
    char text[1024];

    snprintf(text, sizeof(text),
             "20 1 0:5 / /proc rw - proc proc rw\n"
             "30 1 0:9 %s %s/cg rw,nosuid - %s cgroup %s\n",
             root, top, type, options);
    put("proc/self/mountinfo", text);
}

static struct quota read_quota(void)
{
    char proc[512];
    struct quota q;

    snprintf(proc, sizeof(proc), "%s/proc", top);
    quota_read(proc, 7, &q);
    return q;
}

Test(quota, version_2_and_every_group_above)
{
    struct quota q;

    mounted("/", "cgroup2", "rw,nsdelegate");
    put("proc/7/cgroup", "0::/outer/inner\n");
    put("cg/outer/cpu.max", "50000 100000\n");
    put("cg/outer/cpu.stat", "usage_usec 9\nnr_periods 40\nnr_throttled 30\n"
                             "throttled_usec 1500000\n");
    put("cg/outer/inner/cpu.max", "max 100000\n");
    put("cg/outer/inner/cpu.stat", "nr_throttled 2\nthrottled_usec 500000\n");
    q = read_quota();
    cr_assert_float_eq(q.cpus, 0.5, 1e-9);
    cr_assert_eq(q.throttled, 32);
    cr_assert_float_eq(q.throttled_s, 2.0, 1e-9);
}

Test(quota, version_1)
{
    struct quota q;

    mounted("/", "cgroup", "rw,cpu,cpuacct");
    put("proc/7/cgroup", "9:name=systemd:/\n4:cpuset:/no\n"
                         "3:cpu,cpuacct:/half\n0::/\n");
    put("cg/cpu.cfs_quota_us", "-1\n");
    put("cg/cpu.cfs_period_us", "100000\n");
    put("cg/half/cpu.cfs_quota_us", "150000\n");
    put("cg/half/cpu.cfs_period_us", "100000\n");
    put("cg/half/cpu.stat", "nr_periods 3\nnr_throttled 2\n"
                            "throttled_time 70000000\n");
    q = read_quota();
    cr_assert_float_eq(q.cpus, 1.5, 1e-9);
    cr_assert_eq(q.throttled, 2);
    cr_assert_float_eq(q.throttled_s, 0.07, 1e-9);
}

Test(quota, a_part_of_the_hierarchy)
{
    mounted("/docker/abc", "cgroup2", "rw");
    put("proc/7/cgroup", "0::/docker/abc\n");
    put("cg/cpu.max", "200000 100000\n");
    cr_assert_float_eq(read_quota().cpus, 2, 1e-9);
}

Test(quota, none)
{
    mounted("/", "cgroup2", "rw");
    cr_assert_eq(read_quota().cpus, 0); /* no such process */
    put("proc/7/cgroup", "0::/here\n");
    put("cg/here/cpu.max", "max 100000\n");
    cr_assert_eq(read_quota().cpus, 0);
    cr_assert_eq(read_quota().throttled, 0);
    put("cg/here/cpu.max", "");
    cr_assert_eq(read_quota().cpus, 0);
}

Test(cpus, more_than_1024)
{
    struct cpus set;

    cpus_clear(&set);
    cr_assert(cpus_add(&set, 1500));
    cr_assert(cpus_has(&set, 1500) && !cpus_has(&set, 1499));
    cr_assert_not(cpus_add(&set, CPUS_MOST));
    cr_assert_eq(cpus_count(&set), 1);
    cpus_clear(&set);
    cr_assert_eq(cpus_of(0, &set), 0);
    cr_assert_gt(cpus_count(&set), 0);
    cr_assert_eq(cpus_pin(&set), 0);
}
