/* options.c - one command line for all six servers (argp). */
#include "options.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sysexits.h>
#include <unistd.h>

#include "check.h"
#include "cpus.h"
#include "net.h"
#include "quota.h"

/* Listeners, files ...: what is not a connection also needs descriptors. */
enum { SPARE_FDS = 64, MAX_CONNS = 1 << 20, DAY_MS = 24 * 60 * 60 * 1000 };

enum kind { TEXT, HOST, APP, COUNT, RANGE, BYTES, SECONDS };

struct rule {
    const char *name, *arg, *help;
    enum kind kind;
    size_t field;     /* offset in struct options */
    int64_t min, max; /* of the field: milliseconds, for seconds */
};

#define TO(field) offsetof(struct options, field)
static const struct rule rules[] = {
    {"app", "http|echo", "The protocol (http)", APP, TO(echo), 0, 0},
    {"host", "ADDR", "Address or name to listen on (127.0.0.1)", HOST, TO(host),
     0, 0},
    {"port", "N", "0: the kernel picks (8080)", COUNT, TO(port), 0, 65535},
    {"workers", "N", "Threads for connections (stage 6: or MIN:MAX)", RANGE,
     TO(workers), 1, 65535},
    {"root", "DIR", "Serve files below DIR as /files/", TEXT, TO(root), 0, 0},
    {"max-body", "BYTES", "Largest request body (1m)", BYTES, TO(max_body), 0,
     1 << 30}, /* lengths are kept in 32 bits, with room to add */
    {"max-conns", "N", "Connections (descriptor limit)", COUNT, TO(max_conns),
     1, MAX_CONNS},
    {"idle-timeout", "S", "Patience with a peer (60)", SECONDS, TO(idle_ms), 1,
     DAY_MS},
    {"drain-timeout", "S", "Patience after SIGTERM (5)", SECONDS, TO(drain_ms),
     0, DAY_MS},
    {"stats", "S", "Print counters every S seconds (off)", SECONDS,
     TO(stats_ms), 0, DAY_MS},
};
#undef TO

/* No letters as keys: a stage's own switches may have those. */
enum { RULES = sizeof rules / sizeof *rules, KEY = 0x1000 };

struct input { /* what argp hands to both parsers */
    struct options *o;
    void *own;
};

/* The number in arg by the rule's kind and range; otherwise leaves.  Only
 * digits: strtoll alone would take blanks, and saturates, which is no harm. */
static int64_t number(struct argp_state *state, const struct rule *r,
                      const char *arg)
{
    static const char *const what[] = {[COUNT] = "",
                                       [RANGE] = "",
                                       [BYTES] = " of bytes (or 64k, 1m)",
                                       [SECONDS] = " of seconds"};
    int64_t unit = r->kind == SECONDS ? 1000 : 1;
    const char *p = arg + (*arg == '-');
    char *end = (char *)p;
    bool bad = !isdigit((unsigned char)*p);
    int64_t n = bad ? 0 : strtoll(p, &end, 10), scale = unit;

    if (r->kind == BYTES && (*end == 'k' || *end == 'm'))
        scale = *end++ == 'k' ? 1 << 10 : 1 << 20;
    bad = bad || __builtin_mul_overflow(n, scale, &n);
    if (r->kind == SECONDS && *end == '.') {
        for (scale = 100; isdigit((unsigned char)*++end); scale /= 10) {
            bad = bad || scale == 0; /* finer than the field */
            n += (*end - '0') * scale;
        }
        bad = bad || end[-1] == '.';
    }
    n = p > arg ? -n : n;
    if (bad || *end || n < r->min || n > r->max)
        argp_error(state, "--%s: %s is not a number%s from %.12g to %.12g",
                   r->name, arg, what[r->kind], (double)r->min / (double)unit,
                   (double)r->max / (double)unit);
    return n;
}

int64_t option_int(struct argp_state *state, const char *name, const char *arg,
                   int64_t min, int64_t max)
{
    struct rule r = {name + strspn(name, "-"), NULL, NULL, COUNT, 0, min, max};

    return number(state, &r, arg);
}

/* N, or MIN:MAX. */
static void set_range(struct argp_state *state, struct options *o,
                      const struct rule *r, char *arg)
{
    char *colon = strchr(arg, ':');

    o->workers_min = 0;
    if (colon && (colon == arg || !colon[1]))
        argp_error(state, "--%s: %s is not MIN:MAX", r->name, arg);
    if (colon) {
        *colon = '\0';
        o->workers_min = (int)number(state, r, arg);
        *colon = ':'; /* as /proc shows the command line */
        arg = colon + 1;
    }
    o->workers = (int)number(state, r, arg);
    if (o->workers_min > o->workers)
        argp_error(state, "--%s: MIN %d is more than MAX %d", r->name,
                   o->workers_min, o->workers);
}

static void set(struct argp_state *state, struct options *o,
                const struct rule *r, char *arg)
{
    void *field = (char *)o + r->field;

    switch (r->kind) {
    case TEXT:
        *(const char **)field = arg;
        break;
    case HOST:
        o->host = net_host(arg);
        break;
    case APP:
        o->echo = strcmp(arg, "echo") == 0;
        if (!o->echo && strcmp(arg, "http") != 0)
            argp_error(state, "--app: %s is not http or echo", arg);
        break;
    case COUNT:
        *(int *)field = (int)number(state, r, arg);
        break;
    case RANGE:
        set_range(state, o, r, arg);
        break;
    case BYTES:
        *(uint32_t *)field = (uint32_t)number(state, r, arg);
        break;
    case SECONDS:
        *(int64_t *)field = number(state, r, arg);
        break;
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct input *in = state->input;

    if (key == ARGP_KEY_INIT && in->own)
        state->child_inputs[0] = in->own;
    else if (key == ARGP_KEY_ARG)
        argp_error(state, "unexpected argument: %s", arg);
    else if (key >= KEY && key < KEY + RULES)
        set(state, in->o, &rules[key - KEY], arg);
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

/* Raises the descriptor limit; returns how many connections that allows. */
static int raise_limit(void)
{
    struct rlimit r = {0};
    rlim_t soft;

    getrlimit(RLIMIT_NOFILE, &r);
    soft = r.rlim_cur;
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) == 0)
        soft = r.rlim_max;
    if (soft > MAX_CONNS)
        soft = MAX_CONNS;
    return (int)(soft < 2 * SPARE_FDS ? soft / 2 : soft - SPARE_FDS);
}

void options_parse(struct options *o, int argc, char **argv, const char *doc,
                   const struct argp *own, void *own_input)
{
    struct argp_child child[] = {{own, 0, "Switches of this stage:", 1}, {0}};
    struct argp_option switches[RULES + 1] = {0};
    struct argp argp = {.options = switches, .parser = parse, .doc = doc};
    struct input input = {o, own ? own_input : NULL};

    cpus_allowed(); /* before anything is pinned */
    *o = (struct options){.host = "127.0.0.1",
                          .port = 8080,
                          .max_body = 1 << 20,
                          .max_conns = raise_limit(),
                          .idle_ms = 60 * 1000,
                          .drain_ms = 5 * 1000};
    argp.children = own ? child : NULL;
    for (int i = 0; i < RULES; i++)
        switches[i] = (struct argp_option){
            rules[i].name, KEY + i, rules[i].arg, 0, rules[i].help, 0};
    argp_err_exit_status = EX_USAGE;
    argp_program_version = "ioladder 0.1.0";
    if (argp_parse(&argp, argc, argv, 0, NULL, &input) != 0)
        die("out of memory");
}

void options_report(const struct options *o, const char *stage,
                    const char *chosen)
{
    struct utsname u = {0};
    struct rlimit files = {0}, mem = {0};
    char memlock[32] = "unlimited", quota[32] = "";
    struct quota q;

    uname(&u);
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_MEMLOCK, &mem);
    if (mem.rlim_cur != RLIM_INFINITY)
        snprintf(memlock, sizeof memlock, "%llu KiB",
                 (unsigned long long)mem.rlim_cur / 1024);
    quota_read("/proc", getpid(), &q);
    if (q.cpus > 0)
        snprintf(quota, sizeof quota, " (a quota of %.2f)", q.cpus);
    fprintf(stderr,
            "%s: %s %s, %d cpus%s, %llu descriptors, memlock %s; "
            "app %s, at most %d connections%s%s\n",
            stage, u.sysname, u.release, cpus_allowed(), quota,
            (unsigned long long)files.rlim_cur, memlock,
            o->echo ? "echo" : "http", o->max_conns,
            chosen && *chosen ? "; " : "", chosen ? chosen : "");
}

int option_choice(struct argp_state *state, const char *name, const char *arg,
                  const char *const names[])
{
    char list[128] = "";

    for (int i = 0; names[i]; i++) {
        if (strcmp(arg, names[i]) == 0)
            return i;
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s",
                 i ? ", " : "", names[i]);
    }
    argp_error(state, "%s: '%s' is not one of: %s", name, arg, list);
    return 0;
}
