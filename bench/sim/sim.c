/* sim.c - a discrete-event simulator of ways to give requests to cores.
 *
 *   build/sim --policy rescue --cores 64 --load 0.7 --service bimodal:...
 *
 * Requests arrive at random (Poisson), each on a connection that has a home,
 * and need a core for --io-us and their handler's time.  What differs is who
 * may run them:
 *
 *   one      one queue, free of cost: no policy can do better
 *   hash     each core its own connections (stage 5)
 *   mutex    one queue behind a lock (stage 5's mutex pool)
 *   ring     a queue without lock for each group of --helpers cores (stage 5's
 *            pool)
 *   steal    as hash; an idle core takes half of another's queue (stage 6 with
 *            --steal queue).  A core looks for arrivals between two requests
 *            only, so those that wait behind a long handler are not seen.
 *   rescue   as steal; after --stuck-us in one handler a sentinel wakes an idle
 *            core, which takes what has arrived there (stage 6)
 *
 * Simplifications: cores never share a cache or an execution unit, the network
 * and the clients cost --base-us of latency and nothing else, a parked core
 * needs --wake-us to begin, and the sentinel has a core of its own.
 *
 * One JSON object on stdout; times in microseconds.
 */
#include <float.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "draw.h"
#include "hist.h"

enum { MAX_CORES = 4096, LOOK_US = 50 };

enum policy { ONE, HASH, MUTEX, RING, STEAL, RESCUE, POLICIES };

static const char *const policy_names[POLICIES] = {"one",  "hash",  "mutex",
                                                   "ring", "steal", "rescue"};

struct request {
    struct request *next;
    double came;
    double service; /* us, --io-us included */
    int home;
    bool slow;
};

/* First in, first out. */
struct line {
    struct request *first, **last;
    int n;
};

enum state { PARKED, WAKING, BUSY };

struct core {
    enum state state;
    struct line queue;   /* may be stolen from */
    struct line arrived; /* not looked at yet */
    struct request *running;
    double since;  /* when it began to run that */
    double looked; /* when it last looked at what had arrived */
    bool watched;  /* an event for --stuck-us is under way */
};

/* A lock or a cache line that one core has at a time. */
struct resource {
    double free_at;
    double waited;
};

enum kind { ARRIVE, VISIBLE, DONE, WOKEN, STUCK };

struct event {
    double at;
    uint64_t number; /* events of one moment keep their order */
    enum kind kind;
    int core;
    struct request *request;
};

struct config {
    enum policy policy;
    int cores, helpers, connections;
    double load, rate; /* rate: a second; made from load if not given */
    double io_us, wake_us, steal_us, stuck_us, base_us;
    double lock_us, line_us;
    uint64_t requests, warmup, seed;
    struct service service;
    const char *service_text;
};

struct sim {
    struct config cf;
    struct core core[MAX_CORES];
    struct line shared; /* one, mutex; ring: in the first core of a group */
    struct resource lock[MAX_CORES];
    int *home; /* of each connection */
    int parked, waking;
    double now;
    struct event *heap;
    size_t events, room;
    uint64_t number, arrived, done, steals, rescues, wakes;
    double busy_us;
    struct rng arrivals, services, places;
    struct request *spare;
    struct hist all, fast;
};

/* ---- lines and events ---- */

static void line_init(struct line *l)
{
    *l = (struct line){.last = &l->first};
}

static void line_push(struct line *l, struct request *r)
{
    r->next = NULL;
    *l->last = r;
    l->last = &r->next;
    l->n++;
}

static struct request *line_pop(struct line *l)
{
    struct request *r = l->first;

    if (!r)
        return NULL;
    l->first = r->next;
    if (!l->first)
        l->last = &l->first;
    l->n--;
    return r;
}

static void line_move(struct line *to, struct line *from, int n)
{
    while (n-- > 0)
        line_push(to, line_pop(from));
}

static bool before(const struct event *a, const struct event *b)
{
    return a->at < b->at || (a->at == b->at && a->number < b->number);
}

/* A binary heap, the next event at its root. */
static void plan(struct sim *s, double at, enum kind kind, int core,
                 struct request *r)
{
    struct event e = {at, s->number++, kind, core, r};
    size_t i;

    if (s->events == s->room) {
        s->room = s->room ? 2 * s->room : 1024;
        s->heap = realloc(s->heap, s->room * sizeof *s->heap);
        CHECK(s->heap);
    }
    for (i = s->events++; i > 0 && before(&e, &s->heap[(i - 1) / 2]);
         i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = e;
}

static struct event next_event(struct sim *s)
{
    struct event top = s->heap[0], last = s->heap[--s->events];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child + 1 < s->events &&
            before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (child >= s->events || !before(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

/* ---- requests ---- */

static struct request *request_new(struct sim *s)
{
    struct request *r = s->spare;

    if (r)
        s->spare = r->next;
    else
        r = malloc(sizeof *r);
    CHECK(r);
    r->came = s->now;
    r->service =
        s->cf.io_us + service_draw(&s->cf.service, &s->services, &r->slow);
    r->home = s->home[rng_next(&s->places) % (uint64_t)s->cf.connections];
    return r;
}

static void request_end(struct sim *s, struct request *r)
{
    double us = s->now - r->came + s->cf.base_us;

    if (s->done++ >= s->cf.warmup) {
        hist_add(&s->all, (uint64_t)(us * 1000));
        if (!r->slow)
            hist_add(&s->fast, (uint64_t)(us * 1000));
    }
    r->next = s->spare;
    s->spare = r;
}

/* Waits for its turn and has it for `us`; returns when it is through. */
static double take(struct sim *s, struct resource *l, double us)
{
    double begin = l->free_at > s->now ? l->free_at : s->now;

    l->waited += begin - s->now;
    return l->free_at = begin + us;
}

/* ---- cores ---- */

static void core_run(struct sim *s, int i, struct request *r, double extra_us)
{
    struct core *c = &s->core[i];

    c->state = BUSY;
    c->running = r;
    c->since = s->now + extra_us;
    c->watched = false;
    s->busy_us += extra_us + r->service;
    plan(s, s->now + extra_us + r->service, DONE, i, NULL);
}

static void core_wake(struct sim *s, int i)
{
    s->core[i].state = WAKING;
    s->parked--;
    s->waking++;
    s->wakes++;
    plan(s, s->now + s->cf.wake_us, WOKEN, i, NULL);
}

/* Some parked core of [from, from + n), if there is one. */
static void wake_any(struct sim *s, int from, int n)
{
    int start;

    if (s->parked == 0)
        return;
    start = (int)(rng_next(&s->places) % (uint64_t)n);
    for (int k = 0; k < n; k++) {
        int i = from + (start + k) % n;

        if (s->core[i].state == PARKED) {
            core_wake(s, i);
            return;
        }
    }
}

/* What has arrived becomes work that others may see. */
static void core_look(struct sim *s, struct core *c)
{
    if (c->queue.n > 0 && s->now - c->looked < LOOK_US)
        return;
    c->looked = s->now;
    line_move(&c->queue, &c->arrived, c->arrived.n);
}

/* Half of the first queue that has something, from a random core on. */
static bool steal(struct sim *s, struct core *c)
{
    int start = (int)(rng_next(&s->places) % (uint64_t)s->cf.cores);

    for (int k = 0; k < s->cf.cores; k++) {
        struct core *from = &s->core[(start + k) % s->cf.cores];

        if (from != c && from->queue.n > 0) {
            line_move(&c->queue, &from->queue, (from->queue.n + 1) / 2);
            s->steals++;
            return true;
        }
    }
    return false;
}

static bool is_stuck(const struct sim *s, const struct core *c)
{
    return c->state == BUSY && s->now - c->since >= s->cf.stuck_us;
}

static bool rescue(struct sim *s, struct core *c)
{
    int start = (int)(rng_next(&s->places) % (uint64_t)s->cf.cores);

    for (int k = 0; k < s->cf.cores; k++) {
        struct core *from = &s->core[(start + k) % s->cf.cores];

        if (from != c && from->arrived.n > 0 && is_stuck(s, from)) {
            line_move(&c->queue, &from->arrived, from->arrived.n);
            s->rescues++;
            return true;
        }
    }
    return false;
}

static int group_of(const struct sim *s, int core)
{
    return core - core % s->cf.helpers;
}

static int group_size(const struct sim *s, int first)
{
    int left = s->cf.cores - first;

    return left < s->cf.helpers ? left : s->cf.helpers;
}

/* The queue that core i takes from, and what taking costs. */
static struct line *line_of(struct sim *s, int i, struct resource **l,
                            double *us)
{
    *l = NULL;
    *us = 0;
    switch (s->cf.policy) {
    case ONE:
        return &s->shared;
    case MUTEX:
        *l = &s->lock[0];
        *us = s->cf.lock_us;
        return &s->shared;
    case RING:
        *l = &s->lock[group_of(s, i)];
        *us = s->cf.line_us;
        return &s->core[group_of(s, i)].queue;
    default:
        return &s->core[i].queue;
    }
}

/* Core i has nothing to do: finds it something, or parks it. */
static void core_next(struct sim *s, int i)
{
    struct core *c = &s->core[i];
    bool steals = s->cf.policy == STEAL || s->cf.policy == RESCUE;
    struct resource *l;
    double extra = 0, us;
    struct line *queue = line_of(s, i, &l, &us);
    struct request *r;

    if (steals)
        core_look(s, c);
    if (steals && queue->n == 0 &&
        (steal(s, c) || (s->cf.policy == RESCUE && rescue(s, c))))
        extra = s->cf.steal_us;
    r = line_pop(queue);
    if (!r) {
        c->state = PARKED;
        s->parked++;
        return;
    }
    if (l)
        extra = take(s, l, us) - s->now;
    core_run(s, i, r, extra);
    /* One searcher at a time; it wakes the next if it leaves something. */
    if (steals && queue->n > 0 && s->waking == 0)
        wake_any(s, 0, s->cf.cores);
}

/* ---- events ---- */

static void on_visible(struct sim *s, struct request *r)
{
    struct core *c = &s->core[r->home];
    int first = group_of(s, r->home);

    switch (s->cf.policy) {
    case ONE:
    case MUTEX:
        line_push(&s->shared, r);
        wake_any(s, 0, s->cf.cores);
        break;
    case RING:
        line_push(&s->core[first].queue, r);
        wake_any(s, first, group_size(s, first));
        break;
    case HASH:
        line_push(&c->queue, r);
        if (c->state == PARKED)
            core_wake(s, r->home);
        break;
    default:
        line_push(&c->arrived, r);
        if (c->state == PARKED)
            core_wake(s, r->home);
        else if (s->cf.policy == RESCUE && is_stuck(s, c))
            wake_any(s, 0, s->cf.cores);
        else if (s->cf.policy == RESCUE && c->state == BUSY && !c->watched) {
            c->watched = true;
            plan(s, c->since + s->cf.stuck_us, STUCK, r->home, c->running);
        }
        break;
    }
}

static void on_arrive(struct sim *s)
{
    struct request *r = request_new(s);

    s->arrived++;
    if (s->arrived < s->cf.requests)
        plan(s, s->now + rng_exp(&s->arrivals, 1e6 / s->cf.rate), ARRIVE, 0,
             NULL);
    if (s->cf.policy == MUTEX)
        plan(s, take(s, &s->lock[0], s->cf.lock_us), VISIBLE, 0, r);
    else
        on_visible(s, r);
}

static void on_event(struct sim *s, const struct event *e)
{
    struct core *c = &s->core[e->core];

    switch (e->kind) {
    case ARRIVE:
        on_arrive(s);
        break;
    case VISIBLE:
        on_visible(s, e->request);
        break;
    case DONE:
        request_end(s, c->running);
        c->running = NULL;
        core_next(s, e->core);
        break;
    case WOKEN:
        s->waking--;
        core_next(s, e->core);
        break;
    case STUCK:
        if (c->state == BUSY && c->running == e->request && c->arrived.n > 0)
            wake_any(s, 0, s->cf.cores);
        break;
    }
}

/* ---- the run ---- */

static double mean_service(const struct config *cf)
{
    const struct service *v = &cf->service;

    if (v->kind == SERVICE_BIMODAL)
        return cf->io_us + (1 - v->slow_share) * v->us +
               v->slow_share * v->slow_us;
    return cf->io_us + v->us;
}

static void sim_init(struct sim *s, const struct config *cf)
{
    s->cf = *cf;
    if (!s->cf.rate)
        s->cf.rate = cf->load * cf->cores * 1e6 / mean_service(cf);
    s->cf.load = s->cf.rate * mean_service(cf) / 1e6 / cf->cores;
    s->home = calloc((size_t)cf->connections, sizeof *s->home);
    CHECK(s->home);
    rng_seed(&s->arrivals, cf->seed);
    rng_seed(&s->services, cf->seed + 1);
    rng_seed(&s->places, cf->seed + 2);
    for (int i = 0; i < cf->connections; i++)
        s->home[i] = (int)(rng_next(&s->places) % (uint64_t)cf->cores);
    line_init(&s->shared);
    for (int i = 0; i < cf->cores; i++) {
        line_init(&s->core[i].queue);
        line_init(&s->core[i].arrived);
        s->core[i].looked = -DBL_MAX;
    }
    s->parked = cf->cores;
    hist_reset(&s->all);
    hist_reset(&s->fast);
    plan(s, 0, ARRIVE, 0, NULL);
}

static void sim_run(struct sim *s)
{
    while (s->events > 0) {
        struct event e = next_event(s);

        s->now = e.at;
        on_event(s, &e);
    }
    CHECK(s->done == s->cf.requests);
}

static double us_at(const struct hist *h, double p)
{
    return (double)hist_percentile(h, p) / 1e3;
}

static void print_hist(const char *name, const struct hist *h)
{
    double n = (double)h->count;

    printf("  \"%s\": {\"count\": %.0f, \"mean\": %.3f, \"p50\": %.3f, "
           "\"p90\": %.3f, \"p99\": %.3f, \"p99.9\": %.3f, \"max\": %.3f},\n",
           name, n, n > 0 ? (double)h->sum / n / 1e3 : 0, us_at(h, 50),
           us_at(h, 90), us_at(h, 99), us_at(h, 99.9), us_at(h, 100));
}

static void print(const struct sim *s)
{
    const struct config *cf = &s->cf;
    double waited = 0;

    for (int i = 0; i < cf->cores; i++)
        waited += s->lock[i].waited;
    printf("{\"schema\": \"ioladder-sim/1\", \"simulated\": true,\n"
           "  \"policy\": \"%s\", \"cores\": %d, \"load\": %.4f, "
           "\"rate\": %.1f, \"service\": \"%s\", \"seed\": %llu,\n",
           policy_names[cf->policy], cf->cores, cf->load, cf->rate,
           cf->service_text, (unsigned long long)cf->seed);
    print_hist("latency_us", &s->all);
    print_hist("fast_us", &s->fast);
    printf("  \"throughput\": %.1f, \"busy\": %.4f, \"steals\": %llu, "
           "\"rescues\": %llu, \"wakes\": %llu, \"waited_us\": %.4f}\n",
           (double)s->done / s->now * 1e6, s->busy_us / s->now / cf->cores,
           (unsigned long long)s->steals, (unsigned long long)s->rescues,
           (unsigned long long)s->wakes, waited / (double)s->done);
}

/* ---- the command line ---- */

static double number(const char *name, const char *text, double low,
                     double high)
{
    char *end;
    double v = strtod(text, &end);

    if (end == text || *end || !(v >= low && v <= high)) {
        fprintf(stderr, "sim: --%s %s: not a number from %g to %g\n", name,
                text, low, high);
        exit(64);
    }
    return v;
}

static enum policy policy_of(const char *text)
{
    for (int i = 0; i < POLICIES; i++)
        if (strcmp(text, policy_names[i]) == 0)
            return (enum policy)i;
    fprintf(stderr,
            "sim: --policy %s: one, hash, mutex, ring, steal or "
            "rescue\n",
            text);
    exit(64);
}

/* Options with a number: where it goes, and its bounds. */
struct numeric {
    const char *name;
    double *to, low, high;
};

static void parse(int argc, char **argv, struct config *cf)
{
    double cores = 2, helpers = 8, connections = 0, requests = 1e6, seed = 1;
    const struct numeric all[] = {
        {"cores", &cores, 1, MAX_CORES},
        {"helpers", &helpers, 1, MAX_CORES},
        {"connections", &connections, 0, 1e7},
        {"requests", &requests, 100, 1e9},
        {"seed", &seed, 0, 1e15},
        {"load", &cf->load, 1e-6, 10},
        {"rate", &cf->rate, 1e-3, 1e12},
        {"io-us", &cf->io_us, 0, 1e6},
        {"wake-us", &cf->wake_us, 0, 1e6},
        {"steal-us", &cf->steal_us, 0, 1e6},
        {"stuck-us", &cf->stuck_us, 0, 1e9},
        {"base-us", &cf->base_us, 0, 1e6},
        {"lock-us", &cf->lock_us, 0, 1e6},
        {"line-us", &cf->line_us, 0, 1e6},
    };
    enum { N = sizeof all / sizeof *all };
    struct option options[N + 3] = {0};
    int found;

    for (int i = 0; i < N; i++)
        options[i] =
            (struct option){all[i].name, required_argument, NULL, 256 + i};
    options[N] = (struct option){"policy", required_argument, NULL, 'p'};
    options[N + 1] = (struct option){"service", required_argument, NULL, 's'};
    while ((found = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (found == 'p')
            cf->policy = policy_of(optarg);
        else if (found == 's')
            cf->service_text = optarg;
        else if (found == '?')
            exit(64);
        else
            *all[found - 256].to =
                number(all[found - 256].name, optarg, all[found - 256].low,
                       all[found - 256].high);
    }
    if (optind < argc || !service_parse(cf->service_text, &cf->service)) {
        fprintf(stderr, "sim: %s\n",
                optind < argc ? "only options, see the head of sim.c"
                              : "--service: const:US, exp:US or "
                                "bimodal:SHARE:US:SLOW_US");
        exit(64);
    }
    cf->cores = (int)cores;
    cf->helpers = (int)helpers;
    cf->connections = connections > 0 ? (int)connections : 64 * cf->cores;
    cf->requests = (uint64_t)requests;
    cf->warmup = cf->requests / 10;
    cf->seed = (uint64_t)seed;
}

int main(int argc, char **argv)
{
    static struct sim s;
    struct config cf = {.policy = ONE,
                        .load = 0.7,
                        .stuck_us = 100,
                        .service_text = "exp:1000"};

    parse(argc, argv, &cf);
    sim_init(&s, &cf);
    sim_run(&s);
    print(&s);
    return 0;
}
