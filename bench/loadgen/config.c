/* config.c - see config.h. */
#include "config.h"

#include <argp.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "net.h"

enum {
    USAGE = 64,
    MAX_BODY = 64 << 20, /* bytes; what /bytes/N serves at most */
    MAX_EXPECT = 64 << 20,
};

enum key {
    KEY_HOST = 256,
    KEY_PORT,
    KEY_SOURCES,
    KEY_APP,
    KEY_METHOD,
    KEY_PATH,
    KEY_SIZE,
    KEY_EXPECT_BODY,
    KEY_EXPECT_FILE,
    KEY_EXPECT_ANY,
    KEY_EXPECT_STATUS,
    KEY_SERVICE,
    KEY_SERVICE_KIND,
    KEY_MIX,
    KEY_CONNECTIONS,
    KEY_THREADS,
    KEY_PIPELINE,
    KEY_CLOSE,
    KEY_RATE,
    KEY_ARRIVALS,
    KEY_PATTERN,
    KEY_SPIN,
    KEY_ENGINE,
    KEY_DURATION,
    KEY_WARMUP,
    KEY_TURNS,
    KEY_TIMEOUT,
    KEY_CONNECT_TIMEOUT,
    KEY_HOLD,
    KEY_SEED,
    KEY_IDLE,
    KEY_PROCESSES,
    KEY_HEARTBEAT,
    KEY_CPU,
    KEY_SERVER_PID,
    KEY_SERVER_CPUS,
    KEY_JSON,
    KEY_HGRM,
    KEY_CELLS,
    KEY_QUIET,
    KEY_TEST_PAUSE,
};

static const struct argp_option options[] = {
    {0, 0, 0, 0, "Where to:", 1},
    {"host", KEY_HOST, "ADDR", 0, "server (127.0.0.1)", 0},
    {"port", KEY_PORT, "N", 0, "its port; must be given", 0},
    {"sources", KEY_SOURCES, "K", 0,
     "connect from 127.0.0.2, 127.0.0.3 ... K of them (the kernel chooses)", 0},
    {0, 0, 0, 0, "What to ask:", 2},
    {"app", KEY_APP, "http|echo", 0, "protocol (http)", 0},
    {"method", KEY_METHOD, "GET|HEAD|POST", 0,
     "GET, or POST with a body of its own in each request", 0},
    {"path", KEY_PATH, "PATH", 0, "target (/, for POST /echo)", 0},
    {"size", KEY_SIZE, "BYTES", 0, "of an echo message or POST body (64)", 0},
    {"service", KEY_SERVICE, "DIST", 0,
     "const:US, exp:MEAN_US or bimodal:SHARE_SLOW:FAST_US:SLOW_US: ask for "
     "/work/US",
     0},
    {"service-kind", KEY_SERVICE_KIND, "work|sleep", 0, "/sleep instead", 0},
    {"pipeline-mix", KEY_MIX, 0, 0,
     "ask for /bytes/k with another k each time, so that order shows", 0},
    {"expect-body", KEY_EXPECT_BODY, "TEXT", 0,
     "the body that must come (known for /, /bytes/N and /echo; any for "
     "others); \\n and \\\\ are understood",
     0},
    {"expect-file", KEY_EXPECT_FILE, "FILE", 0, "the same, from a file", 0},
    {"expect-any", KEY_EXPECT_ANY, 0, 0, "do not compare bodies", 0},
    {"expect-status", KEY_EXPECT_STATUS, "CODE", 0, "(200)", 0},
    {0, 0, 0, 0, "How:", 3},
    {"connections", KEY_CONNECTIONS, "C", 0, "(64)", 0},
    {"threads", KEY_THREADS, "T", 0, "(1)", 0},
    {"pipeline", KEY_PIPELINE, "D", 0, "requests in flight on each (1)", 0},
    {"close", KEY_CLOSE, 0, 0, "a connection per request", 0},
    {"rate", KEY_RATE, "R", 0,
     "open loop: R requests a second at intended times, and latency from "
     "these (closed loop)",
     0},
    {"arrivals", KEY_ARRIVALS, "fixed|poisson", 0, "open loop (fixed)", 0},
    {"pattern", KEY_PATTERN, "PATTERN", 0,
     "uneven connections: any, uniform, hot:SHARE, zipf:S (any)", 0},
    {"spin", KEY_SPIN, "auto|on|off", 0,
     "poll instead of sleeping, which makes the server pay for a wake-up: auto "
     "does, when each thread has a cpu (--cpu) that the server may not use; "
     "otherwise only in the last 100 us before a send time (auto)",
     0},
    {"engine", KEY_ENGINE, "epoll|uring|auto", 0,
     "how it waits, receives and sends: uring takes less CPU a request, and is "
     "refused where there is none; auto takes it where there is one (epoll)",
     0},
    {"duration", KEY_DURATION, "S", 0, "measured (10)", 0},
    {"warmup", KEY_WARMUP, "S", 0, "before, not measured (1)", 0},
    {"turns", KEY_TURNS, "S", 0,
     "instead of both: a turn of S seconds for each byte that standard input, "
     "a socket, brings: m to measure, w to warm up; it is sent back when the "
     "last answer of the turn has come; the end of the input is the end",
     0},
    {"timeout", KEY_TIMEOUT, "S", 0, "for a reply (5)", 0},
    {"connect-timeout", KEY_CONNECT_TIMEOUT, "S", 0, "(5)", 0},
    {"hold", KEY_HOLD, 0, 0,
     "once connected, print `connected` and read from stdin when the warm-up "
     "begins: nanoseconds of CLOCK_MONOTONIC",
     0},
    {"seed", KEY_SEED, "X", 0, "of all draws (1)", 0},
    {0, 0, 0, 0, "An idle crowd beside it:", 4},
    {"idle", KEY_IDLE, "N", 0, "connections that stay open", 0},
    {"processes", KEY_PROCESSES, "P", 0, "that hold them (as many as needed)",
     0},
    {"heartbeat", KEY_HEARTBEAT, "S", 0, "each sends a request every S seconds",
     0},
    {0, 0, 0, 0, "What to note:", 5},
    {"cpu", KEY_CPU, "N[,N...]", 0, "run thread i on the i-th of these", 0},
    {"server-pid", KEY_SERVER_PID, "PID[,PID...]", 0,
     "sample the server at the borders of the measured window", 0},
    {"server-cpus", KEY_SERVER_CPUS, "N", 0,
     "how many it may use (from its affinity and threads)", 0},
    {"json", KEY_JSON, "FILE", 0, "write the result there; - is stdout", 0},
    {"hgrm", KEY_HGRM, "FILE", 0, "write the latency distribution there", 0},
    {"cells", KEY_CELLS, 0, 0,
     "the JSON has every cell of the histograms, so that they can be merged",
     0},
    {"quiet", KEY_QUIET, 0, 0, "no summary", 0},
    {"test-pause", KEY_TEST_PAUSE, "AT:MS", OPTION_HIDDEN, 0, 0},
    {0},
};

static double number(struct argp_state *state, const char *name,
                     const char *arg, double min, double max)
{
    char *end;
    double v;

    errno = 0;
    v = strtod(arg, &end);
    if (end == arg || *end != '\0' || errno != 0 || !(v >= min && v <= max))
        argp_error(state, "--%s: '%s' is not a number from %g to %g", name, arg,
                   min, max);
    return v;
}

static int64_t whole(struct argp_state *state, const char *name,
                     const char *arg, int64_t min, int64_t max)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(arg, &end, 10);
    if (end == arg || *end != '\0' || errno != 0 || v < min || v > max)
        argp_error(state, "--%s: '%s' is not a whole number from %lld to %lld",
                   name, arg, (long long)min, (long long)max);
    return v;
}

static int64_t seconds(struct argp_state *state, const char *name,
                       const char *arg, double min)
{
    return (int64_t)(number(state, name, arg, min, 86400) * 1e9);
}

/* The position of arg in a list of words that ends with NULL. */
static int word(struct argp_state *state, const char *name, const char *arg,
                const char *const *words)
{
    for (int i = 0; words[i]; i++)
        if (strcmp(arg, words[i]) == 0)
            return i;
    argp_error(state, "--%s: '%s' is not one of its words", name, arg);
    return 0;
}

static int list(struct argp_state *state, const char *name, const char *arg,
                int *out, int cap)
{
    char *copy = strdup(arg), *save = NULL;
    int n = 0;

    if (!copy)
        die("out of memory");
    for (char *p = strtok_r(copy, ",", &save); p;
         p = strtok_r(NULL, ",", &save)) {
        if (n == cap)
            argp_error(state, "--%s: more than %d", name, cap);
        out[n++] = (int)whole(state, name, p, 0, INT32_MAX);
    }
    free(copy);
    if (n == 0)
        argp_error(state, "--%s: nothing in '%s'", name, arg);
    return n;
}

/* "a\nb" of the command line into bytes. */
static void expect_text(struct config *cf, const char *arg)
{
    char *text = malloc(strlen(arg) + 1), *to = text;

    if (!text)
        die("out of memory");
    for (; *arg; arg++) {
        if (arg[0] == '\\' && (arg[1] == 'n' || arg[1] == '\\'))
            *to++ = *++arg == 'n' ? '\n' : '\\';
        else
            *to++ = *arg;
    }
    cf->expect = text;
    cf->expect_len = to - text;
}

static void expect_file(struct argp_state *state, struct config *cf,
                        const char *name)
{
    FILE *f = fopen(name, "rb");
    char *mem;
    size_t n;

    if (!f)
        argp_error(state, "--expect-file: %s: %s", name, strerror(errno));
    mem = malloc(MAX_EXPECT + 1);
    if (!mem)
        die("out of memory");
    n = fread(mem, 1, MAX_EXPECT + 1, f);
    if (ferror(f) || n > MAX_EXPECT)
        argp_error(state, "--expect-file: %s: %s", name,
                   ferror(f) ? "cannot be read" : "over 64 MiB");
    fclose(f);
    cf->expect = mem;
    cf->expect_len = (int64_t)n;
}

static void test_pause(struct argp_state *state, struct config *cf,
                       const char *arg)
{
    double at, ms;
    char extra;

    if (sscanf(arg, "%lf:%lf%c", &at, &ms, &extra) != 2)
        argp_error(state, "--test-pause: '%s' is not AT_S:MS", arg);
    cf->pause_at_ns = (int64_t)(at * 1e9);
    cf->pause_ns = (int64_t)(ms * 1e6);
}

/* The switches about what to ask for. */
static error_t parse_what(int key, char *arg, struct argp_state *state)
{
    static const char *const apps[] = {"http", "echo", NULL};
    static const char *const methods[] = {"GET", "HEAD", "POST", NULL};
    static const char *const kinds[] = {"work", "sleep", NULL};
    struct config *cf = state->input;

    switch (key) {
    case KEY_APP:
        cf->echo = word(state, "app", arg, apps) == 1;
        break;
    case KEY_METHOD:
        cf->method = (enum method)word(state, "method", arg, methods);
        break;
    case KEY_PATH:
        if (arg[0] != '/' || strpbrk(arg, " \r\n") || strlen(arg) > 8192)
            argp_error(state, "--path: '%s' is not a path", arg);
        cf->path = arg;
        break;
    case KEY_SIZE:
        cf->size = whole(state, "size", arg, 0, MAX_BODY);
        break;
    case KEY_SERVICE:
        if (!service_parse(arg, &cf->service))
            argp_error(state,
                       "--service: '%s' is not const:US, exp:US or "
                       "bimodal:SHARE:US:US, all up to %d",
                       arg, SERVICE_MAX_US);
        break;
    case KEY_SERVICE_KIND:
        cf->service_sleep = word(state, "service-kind", arg, kinds) == 1;
        break;
    case KEY_MIX:
        cf->mix = true;
        break;
    case KEY_EXPECT_BODY:
        expect_text(cf, arg);
        break;
    case KEY_EXPECT_FILE:
        expect_file(state, cf, arg);
        break;
    case KEY_EXPECT_ANY:
        cf->expect_any = true;
        break;
    case KEY_EXPECT_STATUS:
        cf->expect_status = (int)whole(state, "expect-status", arg, 200, 599);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* The switches about how to ask. */
static error_t parse_how(int key, char *arg, struct argp_state *state)
{
    static const char *const arrivals[] = {"fixed", "poisson", NULL};
    static const char *const spins[] = {"auto", "on", "off", NULL};
    static const char *const engines[] = {"epoll", "uring", "auto", NULL};
    struct config *cf = state->input;

    switch (key) {
    case KEY_CONNECTIONS:
        cf->connections = (int)whole(state, "connections", arg, 0, 1000000);
        break;
    case KEY_THREADS:
        cf->threads = (int)whole(state, "threads", arg, 1, 1024);
        break;
    case KEY_PIPELINE:
        cf->depth = (int)whole(state, "pipeline", arg, 1, CONFIG_MAX_DEPTH);
        break;
    case KEY_CLOSE:
        cf->close = true;
        break;
    case KEY_RATE:
        cf->rate = number(state, "rate", arg, 0.01, 1e8);
        break;
    case KEY_ARRIVALS:
        cf->poisson = word(state, "arrivals", arg, arrivals) == 1;
        break;
    case KEY_PATTERN:
        if (!pattern_parse(arg, &cf->pattern))
            argp_error(state,
                       "--pattern: '%s' is not any, uniform, "
                       "hot:SHARE (to 1) or zipf:S (to 10)",
                       arg);
        break;
    case KEY_SPIN:
        cf->spin = (enum spin)word(state, "spin", arg, spins);
        break;
    case KEY_ENGINE:
        cf->engine = (enum engine_kind)word(state, "engine", arg, engines);
        break;
    case KEY_DURATION:
        cf->duration_ns = seconds(state, "duration", arg, 0.01);
        break;
    case KEY_WARMUP:
        cf->warmup_ns = seconds(state, "warmup", arg, 0);
        break;
    case KEY_TURNS:
        cf->turn_ns = seconds(state, "turns", arg, 0.001);
        break;
    case KEY_TIMEOUT:
        cf->timeout_ns = seconds(state, "timeout", arg, 0.01);
        break;
    case KEY_CONNECT_TIMEOUT:
        cf->connect_timeout_ns = seconds(state, "connect-timeout", arg, 0.01);
        break;
    case KEY_HOLD:
        cf->hold = true;
        break;
    case KEY_SEED:
        cf->seed = (uint64_t)whole(state, "seed", arg, 0, INT64_MAX);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static error_t parse_rest(int key, char *arg, struct argp_state *state)
{
    struct config *cf = state->input;

    switch (key) {
    case KEY_HOST:
        cf->host = net_host(arg);
        break;
    case KEY_PORT:
        cf->port = (int)whole(state, "port", arg, 1, 65535);
        break;
    case KEY_SOURCES:
        cf->sources = (int)whole(state, "sources", arg, 1, 250);
        break;
    case KEY_IDLE:
        cf->idle = (int)whole(state, "idle", arg, 0, 10000000);
        break;
    case KEY_PROCESSES:
        cf->processes = (int)whole(state, "processes", arg, 1, 1000);
        break;
    case KEY_HEARTBEAT:
        cf->heartbeat_ns = seconds(state, "heartbeat", arg, 0.01);
        break;
    case KEY_CPU:
        cf->cpu_count = list(state, "cpu", arg, cf->cpus, CONFIG_MAX_CPUS);
        break;
    case KEY_SERVER_PID:
        cf->pid_count =
            list(state, "server-pid", arg, cf->pids, CONFIG_MAX_PIDS);
        break;
    case KEY_SERVER_CPUS:
        cf->server_cpus = number(state, "server-cpus", arg, 0.01, 4096);
        break;
    case KEY_JSON:
        cf->json = arg;
        break;
    case KEY_HGRM:
        cf->hgrm = arg;
        break;
    case KEY_CELLS:
        cf->cells = true;
        break;
    case KEY_QUIET:
        cf->quiet = true;
        break;
    case KEY_TEST_PAUSE:
        test_pause(state, cf, arg);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* Switches that contradict each other or cannot be checked. */
static const char *contradiction(const struct config *cf)
{
    if (cf->port == 0)
        return "--port must be given";
    if (cf->close && cf->depth > 1)
        return "--close asks once on each connection: no --pipeline";
    if (cf->echo && (cf->path || cf->service.kind || cf->mix ||
                     cf->method != METHOD_GET || cf->expect || cf->close))
        return "--app echo has no requests: no --path, --method, --service, "
               "--pipeline-mix, --expect-body or --close";
    if (cf->echo && cf->size == 0)
        return "--app echo needs a --size of at least 1";
    if (cf->service.kind && (cf->path || cf->mix))
        return "--service chooses the path: no --path or --pipeline-mix";
    if (cf->mix && cf->path)
        return "--pipeline-mix chooses the path: no --path";
    if ((cf->mix || cf->service.kind) && cf->method != METHOD_GET)
        return "--service and --pipeline-mix are GET";
    if (cf->size >= 0 && !cf->echo && cf->method != METHOD_POST)
        return "--size is for --app echo and --method POST";
    if (cf->connections == 0 && cf->idle == 0)
        return "--connections 0 only makes sense with --idle";
    if (cf->heartbeat_ns > 0 && cf->idle == 0)
        return "--heartbeat is for --idle";
    if (cf->rate > 0 && cf->connections == 0)
        return "--rate needs --connections";
    if (cf->turn_ns > 0 && (cf->rate > 0 || cf->idle > 0 || cf->threads > 1 ||
                            cf->connections == 0))
        return "--turns is for one thread and a closed loop: no --rate, "
               "--idle or --threads";
    if (cf->cells && !cf->json)
        return "--cells is for --json";
    if (cf->hold && cf->turn_ns > 0)
        return "--hold and --turns each want stdin";
    if (cf->json && cf->hgrm && strcmp(cf->json, cf->hgrm) == 0)
        return "--json and --hgrm need a place each";
    return NULL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    const char *why;

    if (key == ARGP_KEY_ARG)
        argp_error(state, "'%s' is not a switch", arg);
    if (key == ARGP_KEY_END) {
        why = contradiction(state->input);
        if (why)
            argp_error(state, "%s", why);
        return 0;
    }
    if (parse_what(key, arg, state) == 0 || parse_how(key, arg, state) == 0)
        return 0;
    return parse_rest(key, arg, state);
}

void config_address(struct config *cf, const struct addrinfo *ai)
{
    memcpy(&cf->addr, ai->ai_addr, ai->ai_addrlen);
    cf->addr_len = ai->ai_addrlen;
}

/* Name or number into cf->addrs, and the first into cf->addr. */
static void resolve(struct config *cf)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char port[16];
    int err;

    if (cf->sources > 0) /* these are addresses of version 4 */
        hints.ai_family = AF_INET;
    snprintf(port, sizeof(port), "%d", cf->port);
    err = getaddrinfo(cf->host, port, &hints, &cf->addrs);
    if (err != 0)
        die_status(USAGE, "loadgen: --host %s: %s", cf->host,
                   gai_strerror(err));
    config_address(cf, cf->addrs);
}

void config_parse(struct config *cf, int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "",
        "A load generator that checks every byte: closed or open loop.\v"
        "Exit status: 0 measured without an error, 1 measured and errors "
        "counted, 2 could not measure, 64 wrong usage, 77 this machine has no "
        "ring for --engine uring.",
        NULL,
        NULL,
        NULL};

    *cf = (struct config){
        .host = "127.0.0.1",
        .size = -1,
        .expect_status = 200,
        .connections = 64,
        .threads = 1,
        .depth = 1,
        .duration_ns = 10000000000,
        .warmup_ns = 1000000000,
        .timeout_ns = 5000000000,
        .connect_timeout_ns = 5000000000,
        .seed = 1,
    };
    argp_err_exit_status = USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, cf);
    if (!cf->path)
        cf->path = cf->method == METHOD_POST ? "/echo" : "/";
    if (cf->size < 0)
        cf->size = 64;
    if (cf->threads > cf->connections)
        cf->threads = cf->connections > 0 ? cf->connections : 1;
    resolve(cf);
}
