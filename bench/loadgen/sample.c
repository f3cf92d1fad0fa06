/* sample.c - see sample.h. */
#include "sample.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu_set.h"

enum { MAX_TASKS = 4096 }; /* looked at, of each process */

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int server_clock_read(const struct config *cf, struct server_clock *s)
{
    *s = (struct server_clock){0};
    for (int i = 0; i < cf->pid_count; i++) {
        struct timespec ts;
        clockid_t id;

        if (clock_getcpuclockid(cf->pids[i], &id) != 0 ||
            clock_gettime(id, &ts) != 0)
            return -1;
        s->cpu_ns += (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
    }
    s->at_ns = now_ns();
    return 0;
}

/* The number behind "name:" in a file of such lines; 0 when it is not there. */
static int64_t status_field(const char *text, const char *name)
{
    const char *p = strstr(text, name);

    return p ? strtoll(p + strlen(name), NULL, 10) : 0;
}

static int read_file(const char *name, char *text, size_t cap)
{
    FILE *f = fopen(name, "r");
    size_t n;

    if (!f)
        return -1;
    n = fread(text, 1, cap - 1, f);
    fclose(f);
    text[n] = '\0';
    return n > 0 ? 0 : -1;
}

/* Calls back for each thread of a process that is alive; how many there were,
 * or -1. */
static int each_task(int pid, void (*f)(int pid, int tid, void *arg), void *arg)
{
    char name[64];
    struct dirent *d;
    DIR *dir;
    int n = 0;

    snprintf(name, sizeof(name), "/proc/%d/task", pid);
    dir = opendir(name);
    if (!dir)
        return -1;
    while (n < MAX_TASKS && (d = readdir(dir))) {
        if (!isdigit((unsigned char)d->d_name[0]))
            continue;
        f(pid, atoi(d->d_name), arg);
        n++;
    }
    closedir(dir);
    return n;
}

static void add_switches(int pid, int tid, void *arg)
{
    struct server_status *s = arg;
    char name[64], text[8192];

    snprintf(name, sizeof(name), "/proc/%d/task/%d/status", pid, tid);
    if (read_file(name, text, sizeof(text)) < 0)
        return;
    s->vol_ctx += status_field(text, "\nvoluntary_ctxt_switches:");
    s->invol_ctx += status_field(text, "\nnonvoluntary_ctxt_switches:");
}

/* The tenth field of /proc/PID/stat; the name before it may hold anything. */
static int64_t minor_faults(int pid)
{
    char name[64], text[1024], *p;
    long long v = 0;

    snprintf(name, sizeof(name), "/proc/%d/stat", pid);
    if (read_file(name, text, sizeof(text)) < 0)
        return 0;
    p = strrchr(text, ')');
    if (p && sscanf(p, ") %*c %*d %*d %*d %*d %*d %*u %lld", &v) != 1)
        v = 0;
    return v;
}

int server_status_read(const struct config *cf, struct server_status *s)
{
    char name[64], text[8192];

    *s = (struct server_status){0};
    for (int i = 0; i < cf->pid_count; i++) {
        int n = each_task(cf->pids[i], add_switches, s);

        snprintf(name, sizeof(name), "/proc/%d/status", cf->pids[i]);
        if (n < 0 || read_file(name, text, sizeof(text)) < 0)
            return -1;
        s->threads += n;
        s->rss_kib += status_field(text, "\nVmRSS:");
        s->anon_kib += status_field(text, "\nRssAnon:");
        s->minor_faults += minor_faults(cf->pids[i]);
    }
    return 0;
}

void host_clock_read(struct host_clock *h)
{
    long long v[8] = {0};
    char text[512];

    *h = (struct host_clock){0};
    if (read_file("/proc/stat", text, sizeof(text)) < 0 ||
        sscanf(text, "cpu %lld %lld %lld %lld %lld %lld %lld %lld", &v[0],
               &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) != 8)
        return;
    for (int i = 0; i < 8; i++)
        h->total += v[i];
    h->steal = v[7];
}

static void add_cpus(int pid, int tid, void *arg)
{
    (void)pid;
    cpus_of(tid, arg);
}

bool cpus_are_ours(const struct config *cf)
{
    struct cpus theirs;

    cpus_clear(&theirs);
    for (int i = 0; i < cf->pid_count; i++)
        each_task(cf->pids[i], add_cpus, &theirs);
    for (int i = 0; i < cf->cpu_count; i++)
        if (cpus_has(&theirs, cf->cpus[i]))
            return false;
    return cf->cpu_count >= cf->threads;
}

double server_cpus(const struct config *cf)
{
    struct cpus all;
    int tasks = 0, cpus;

    if (cf->server_cpus > 0)
        return cf->server_cpus;
    cpus_clear(&all);
    for (int i = 0; i < cf->pid_count; i++) {
        int n = each_task(cf->pids[i], add_cpus, &all);

        tasks += n > 0 ? n : 0;
    }
    cpus = cpus_count(&all);
    if (tasks < cpus)
        cpus = tasks;
    return cpus > 0 ? cpus : 1;
}
