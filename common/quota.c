/* quota.c - see quota.h. */
#include "quota.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 2 * PATH_MAX };

/* `word` stands in the list, between commas. */
static bool listed(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = list; (p = strstr(p, word)); p += n)
        if ((p == list || p[-1] == ',') && (p[n] == ',' || p[n] == '\0'))
            return true;
    return false;
}

static bool read_text(const char *dir, const char *name, char *text, size_t cap)
{
    char path[LINE + 64];
    FILE *f;
    size_t n;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "r");
    if (!f)
        return false;
    n = fread(text, 1, cap - 1, f);
    fclose(f);
    text[n] = '\0';
    return n > 0;
}

/* The number on the line that begins with this name. */
static double stat_value(const char *text, const char *name)
{
    size_t n = strlen(name);
    double v = 0;

    for (const char *p = text; p; p = strchr(p, '\n')) {
        p += *p == '\n';
        if (strncmp(p, name, n) == 0 && p[n] == ' ' &&
            sscanf(p + n, "%lf", &v) == 1)
            return v;
    }
    return 0;
}

/* One group's limit and counts, in the words of either version. */
static void add_group(const char *dir, struct quota *q)
{
    char text[4096], period[64];
    double most = 0, per = 0;

    if (read_text(dir, "cpu.max", text, sizeof(text))) {
        if (sscanf(text, "%lf %lf", &most, &per) != 2)
            most = 0; /* "max": no limit */
    } else if (read_text(dir, "cpu.cfs_quota_us", text, sizeof(text)) &&
               read_text(dir, "cpu.cfs_period_us", period, sizeof(period))) {
        if (sscanf(text, "%lf", &most) != 1 || sscanf(period, "%lf", &per) != 1)
            most = 0;
    }
    if (most > 0 && per > 0 && (q->cpus == 0 || most / per < q->cpus))
        q->cpus = most / per;
    if (!read_text(dir, "cpu.stat", text, sizeof(text)))
        return;
    q->throttled += (uint64_t)stat_value(text, "nr_throttled");
    q->throttled_s += stat_value(text, "throttled_usec") / 1e6;
    q->throttled_s += stat_value(text, "throttled_time") / 1e9;
}

/* From the process's group up to the mount's root. */
static void add_groups(const char *mount, const char *path, struct quota *q)
{
    char dir[LINE];
    size_t top = strlen(mount);
    int n = snprintf(dir, sizeof(dir), "%s%s", mount, path);

    if (n < 0 || (size_t)n >= sizeof(dir))
        return;
    while (strlen(dir) > top && dir[strlen(dir) - 1] == '/')
        dir[strlen(dir) - 1] = '\0';
    for (;;) {
        char *slash = strrchr(dir, '/');

        add_group(dir, q);
        if (!slash || (size_t)(slash - dir) < top)
            return;
        *slash = '\0';
    }
}

/* Where the hierarchy is mounted: of version 2, or the one of version 1 that
 * has the cpu controller.  Perhaps only a part is mounted: *root says which. */
static bool find_mount(const char *proc, bool v2, char *mount, char *root)
{
    char line[LINE], name[PATH_MAX], type[64], options[1024];
    bool found = false;
    FILE *f;

    snprintf(name, sizeof(name), "%s/self/mountinfo", proc);
    f = fopen(name, "r");
    if (!f)
        return false;
    while (!found && fgets(line, sizeof(line), f)) {
        const char *rest = strstr(line, " - ");

        if (!rest || sscanf(rest, " - %63s %*s %1023s", type, options) != 2 ||
            sscanf(line, "%*d %*d %*s %4095s %4095s", root, mount) != 2)
            continue;
        found = v2 ? strcmp(type, "cgroup2") == 0
                   : strcmp(type, "cgroup") == 0 && listed(options, "cpu");
    }
    fclose(f);
    return found;
}

void quota_read(const char *proc, int pid, struct quota *q)
{
    char line[LINE], name[PATH_MAX], mount[PATH_MAX], root[PATH_MAX];
    FILE *f;

    *q = (struct quota){0};
    snprintf(name, sizeof(name), "%s/%d/cgroup", proc, pid);
    f = fopen(name, "r");
    while (f && fgets(line, sizeof(line), f)) {
        char *list = strchr(line, ':'), *path;
        size_t skip;
        bool v2;

        path = list ? strchr(list + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        v2 = list[1] == '\0';
        if ((!v2 && !listed(list + 1, "cpu")) ||
            !find_mount(proc, v2, mount, root))
            continue;
        skip = strcmp(root, "/") == 0 ? 0 : strlen(root);
        add_groups(mount, strncmp(path, root, skip) == 0 ? path + skip : "", q);
    }
    if (f)
        fclose(f);
}

int quota_threads(int cpus)
{
    struct quota q;
    int n;

    quota_read("/proc", getpid(), &q);
    if (q.cpus <= 0 || q.cpus >= cpus)
        return cpus;
    n = (int)q.cpus;
    return n + (n < q.cpus);
}
