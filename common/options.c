/* options.c - one command line for all six servers (argp). */
#include "options.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sysexits.h>

#include "check.h"
#include "net.h"

#define VERSION "ioladder 0.1.0"

enum {
    MAX_WORKERS = 65535,
    MAX_CONNS = 1 << 20,
    MAX_BODY = 1 << 30, /* lengths are kept in 32 bits, with room to add */
    MAX_SECONDS = 24 * 60 * 60,
    SPARE_FDS = 64, /* listeners, rings, files: what is not a connection */
};

enum key {
    KEY_APP = 0x1000, /* no letter: a stage's own switches may have those */
    KEY_HOST,
    KEY_PORT,
    KEY_WORKERS,
    KEY_ROOT,
    KEY_MAX_BODY,
    KEY_MAX_CONNS,
    KEY_IDLE,
    KEY_DRAIN,
    KEY_STATS,
};

static const struct argp_option switches[] = {
    {"app", KEY_APP, "http|echo", 0, "The protocol (http)", 0},
    {"host", KEY_HOST, "ADDR", 0, "Address to listen on (127.0.0.1)", 0},
    {"port", KEY_PORT, "N", 0, "Port; 0: the kernel picks (8080)", 0},
    {"workers", KEY_WORKERS, "N", 0, "Threads that run connections", 0},
    {"root", KEY_ROOT, "DIR", 0, "Serve files below DIR as /files/", 0},
    {"max-body", KEY_MAX_BODY, "BYTES", 0,
     "Largest request body; k and m are understood (1m)", 0},
    {"max-conns", KEY_MAX_CONNS, "N", 0,
     "Connections at a time (from the descriptor limit)", 0},
    {"idle-timeout", KEY_IDLE, "S", 0,
     "Seconds for a request to arrive, or a byte to be taken (60)", 0},
    {"drain-timeout", KEY_DRAIN, "S", 0,
     "Seconds for requests in flight after SIGTERM (5)", 0},
    {"stats", KEY_STATS, "S", 0, "Print counters every S seconds (off)", 0},
    {0}};

/* Decimal digits at p, one at least; *end is behind them.  -1: no digits.  What
 * does not fit comes back as INT64_MAX, which no range here contains. */
static int64_t digits(const char *p, const char **end)
{
    int64_t n = 0;

    *end = p + strspn(p, "0123456789");
    if (*end == p)
        return -1;
    for (; p < *end; p++)
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, *p - '0', &n))
            return INT64_MAX;
    return n;
}

int64_t option_int(struct argp_state *state, const char *name, const char *arg,
                   int64_t min, int64_t max)
{
    bool minus = *arg == '-';
    const char *end;
    int64_t n = digits(arg + minus, &end);

    if (minus)
        n = -n;
    if (end == arg + minus || *end || n < min || n > max)
        argp_error(state, "--%s: %s is not a number from %lld to %lld",
                   name + strspn(name, "-"), arg, (long long)min,
                   (long long)max);
    return n;
}

/* Bytes, or with a suffix KiB or MiB. */
static uint32_t option_size(struct argp_state *state, const char *name,
                            const char *arg)
{
    const char *end;
    int64_t n = digits(arg, &end), unit = 1;

    if (*end == 'k' || *end == 'K')
        unit = 1024;
    else if (*end == 'm' || *end == 'M')
        unit = 1024 * 1024;
    if (unit > 1)
        end++;
    if (n < 0 || *end || n > MAX_BODY / unit)
        argp_error(state,
                   "--%s: %s is not a number of bytes from 0 to %d"
                   " (k and m are understood)",
                   name, arg, MAX_BODY);
    return (uint32_t)(n * unit);
}

/* Seconds with a decimal fraction, as milliseconds, rounded up: the smallest
 * time that is not 0 must not become "off". */
static int64_t option_ms(struct argp_state *state, const char *name,
                         const char *arg, int min_ms)
{
    const char *end;
    int64_t ms = digits(arg, &end);
    bool bad = ms < 0 || ms > MAX_SECONDS, more = false;

    ms *= bad ? 0 : 1000;
    if (!bad && *end == '.') {
        int unit = 100;
        const char *p = end + 1;

        bad = digits(p, &end) < 0;
        for (; p < end; p++, unit /= 10) {
            ms += (*p - '0') * unit;
            more = more || (unit == 0 && *p != '0');
        }
    }
    ms += more;
    if (bad || *end || ms < min_ms || ms > MAX_SECONDS * INT64_C(1000))
        argp_error(state, "--%s: %s is not a number of seconds from %s to %d",
                   name, arg, min_ms ? "0.001" : "0", MAX_SECONDS);
    return ms;
}

static void set_app(struct argp_state *state, struct options *o,
                    const char *arg)
{
    o->echo = strcmp(arg, "echo") == 0;
    if (!o->echo && strcmp(arg, "http") != 0)
        argp_error(state, "--app: %s is not http or echo", arg);
}

/* What argp hands to both parsers. */
struct input {
    struct options *o;
    void *own;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct input *in = state->input;
    struct options *o = in->o;

    switch (key) {
    case ARGP_KEY_INIT:
        if (in->own)
            state->child_inputs[0] = in->own;
        return 0;
    case KEY_APP:
        set_app(state, o, arg);
        return 0;
    case KEY_HOST:
        o->host = arg;
        return 0;
    case KEY_PORT:
        o->port = (int)option_int(state, "port", arg, 0, 65535);
        return 0;
    case KEY_WORKERS:
        o->workers = (int)option_int(state, "workers", arg, 1, MAX_WORKERS);
        return 0;
    case KEY_ROOT:
        o->root = arg;
        return 0;
    case KEY_MAX_BODY:
        o->max_body = option_size(state, "max-body", arg);
        return 0;
    case KEY_MAX_CONNS:
        o->max_conns = (int)option_int(state, "max-conns", arg, 1, MAX_CONNS);
        return 0;
    case KEY_IDLE:
        o->idle_ms = option_ms(state, "idle-timeout", arg, 1);
        return 0;
    case KEY_DRAIN:
        o->drain_ms = option_ms(state, "drain-timeout", arg, 0);
        return 0;
    case KEY_STATS:
        o->stats_ms = option_ms(state, "stats", arg, 0);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument: %s", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Raises the descriptor limit as far as it goes; returns how many connections
 * that allows. */
static int raise_limit(void)
{
    struct rlimit limit;
    rlim_t soft;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024 - SPARE_FDS; /* what POSIX systems start with */
    soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        soft = limit.rlim_max;
    if (soft > MAX_CONNS)
        return MAX_CONNS;
    return (int)(soft < 2 * SPARE_FDS ? soft / 2 : soft - SPARE_FDS);
}

void options_parse(struct options *o, int argc, char **argv, const char *doc,
                   const struct argp *own, void *own_input)
{
    struct argp_child children[] = {{own, 0, "Switches of this stage:", 1},
                                    {0}};
    struct argp argp = {switches, parse, NULL, doc, children, NULL, NULL};
    struct input input = {o, own ? own_input : NULL};

    *o = (struct options){
        .host = "127.0.0.1",
        .port = 8080,
        .max_body = 1 << 20,
        .max_conns = raise_limit(),
        .idle_ms = 60 * 1000,
        .drain_ms = 5 * 1000,
    };
    if (!own)
        argp.children = NULL;
    argp_err_exit_status = EX_USAGE;
    argp_program_version = VERSION;
    if (argp_parse(&argp, argc, argv, 0, NULL, &input) != 0)
        die("out of memory");
}

static const char *limit_text(int what, char *dst, size_t cap)
{
    struct rlimit limit = {0};

    getrlimit(what, &limit);
    if (limit.rlim_cur == RLIM_INFINITY)
        snprintf(dst, cap, "unlimited");
    else if (what == RLIMIT_MEMLOCK)
        snprintf(dst, cap, "%llu KiB",
                 (unsigned long long)limit.rlim_cur / 1024);
    else
        snprintf(dst, cap, "%llu", (unsigned long long)limit.rlim_cur);
    return dst;
}

void options_report(const struct options *o, const char *stage,
                    const char *chosen)
{
    struct utsname u = {0};
    char files[32], memlock[32];

    uname(&u);
    fprintf(stderr,
            "%s: %s %s, %d cpus, %s descriptors, memlock %s; app %s, "
            "at most %d connections%s%s\n",
            stage, u.sysname, u.release, net_cpus(),
            limit_text(RLIMIT_NOFILE, files, sizeof files),
            limit_text(RLIMIT_MEMLOCK, memlock, sizeof memlock),
            o->echo ? "echo" : "http", o->max_conns,
            chosen && *chosen ? "; " : "", chosen ? chosen : "");
}
