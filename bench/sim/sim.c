/* sim.c - see sim.h. */

#include "sim.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "lines.h"

enum { HARVEST_US = 50, BATCH = 256, LOOKS_SLOWER = 4 }; /* as in stage 6 */
enum { MANY = 16 };

enum state { PARKED, WAKING, BUSY };

struct core {
    enum state state;
    struct line queue;   /* may be stolen from */
    struct line arrived; /* not looked at yet */
    struct line turn;    /* hash: replies leave when all of it has run */
    bool handles;        /* it is in a handler, since: */
    double since;
    double looked; /* when it last looked at what had arrived */
    bool watched;  /* by the sentinel */
};

/* A lock, a cache line, a cpu or a worker of a pool: one at a time. */
struct resource {
    double free_at;
};

struct connection {
    int home;
    bool busy;
    struct line waiting; /* at the client */
};

struct sim {
    struct config cf;
    struct core core[MAX_CORES];
    struct line shared; /* one, mutex; ring: in the first core of a group */
    struct resource lock[MAX_CORES], worker[MAX_CORES], cpu[MAX_CORES];
    struct connection *conns;
    int parked, waking;
    double now;
    struct heap heap;
    uint64_t arrived, done;
    double busy_us, search_us, sentinel_us, waited_us;
    struct rng arrivals, services, places, sleeps;
    struct request *spare;
    struct found *found;
};

static void plan(struct sim *s, double at, enum kind kind, int core,
                 struct request *r)
{
    heap_add(&s->heap, (struct event){at, 0, kind, core, r});
}

/* ---- what costs ---- */

/* Waits from `at` for its turn and has it for `us`: when it is through. */
static double take(struct resource *r, double at, double us)
{
    double begin = r->free_at > at ? r->free_at : at;

    return r->free_at = begin + us;
}

static double take_lock(struct sim *s, int i, double at, double us)
{
    double end = take(&s->lock[i], at, us);

    s->waited_us += end - us - at;
    return end;
}

/* When `us` of cpu time from `at` on are over. */
static double take_cpu(struct sim *s, double at, double us)
{
    struct resource *best = &s->cpu[0];

    if (s->cf.cpus == 0)
        return at + us;
    for (int i = 1; i < s->cf.cpus; i++)
        if (s->cpu[i].free_at < best->free_at)
            best = &s->cpu[i];
    return take(best, at, us);
}

/* ---- requests ---- */

/* How late a sleep ends.  One in 10^x is at least so late. */
static double late_draw(struct sim *s)
{
    const struct config *cf = &s->cf;
    const double half = log10(2);
    double x = rng_exp(&s->sleeps, 1) / log(10);

    if (cf->late_99_us <= 0 || x <= half)
        return cf->late_us;
    if (x < 1)
        return cf->late_us +
               (cf->late_90_us - cf->late_us) * (x - half) / (1 - half);
    return cf->late_90_us + (cf->late_99_us - cf->late_90_us) * (x - 1);
}

static struct request *request_new(struct sim *s)
{
    struct request *r = s->spare;
    int c = (int)(rng_next(&s->places) % (uint64_t)s->cf.connections);

    if (r)
        s->spare = r->next;
    else
        r = malloc(sizeof *r);
    CHECK(r);
    *r = (struct request){
        .came = s->now, .connection = c, .home = s->conns[c].home};
    r->service = service_draw(&s->cf.service, &s->services, &r->slow);
    if (r->service > 0)
        r->service += late_draw(s);
    return r;
}

/* It reaches its server after half of base_us, or waits for its connection. */
static void request_send(struct sim *s, struct request *r, double at)
{
    struct connection *c = &s->conns[r->connection];

    if (c->busy)
        line_push(&c->waiting, r);
    else
        plan(s, at + s->cf.base_us / 2, SEEN, r->home, r);
    c->busy = true;
}

/* Its reply leaves the server at `at`. */
static void request_end(struct sim *s, struct request *r, double at)
{
    struct connection *c = &s->conns[r->connection];
    double back = at + s->cf.base_us / 2;
    struct request *next = line_pop(&c->waiting);

    if (s->done++ >= s->cf.warmup) {
        hist_add(&s->found->all, (uint64_t)((back - r->came) * 1000));
        if (!r->slow)
            hist_add(&s->found->fast, (uint64_t)((back - r->came) * 1000));
    }
    c->busy = false;
    if (next)
        request_send(s, next, back);
    r->next = s->spare;
    s->spare = r;
}

/* ---- cores ---- */

static void core_wake(struct sim *s, int i)
{
    s->core[i].state = WAKING;
    s->parked--;
    s->waking++;
    s->found->wakes++;
    plan(s, s->now + (s->cf.policy == ONE ? 0 : s->cf.wake_us), WOKEN, i, NULL);
}

/* The first parked core of [from, from + n), if there is one. */
static void wake_any(struct sim *s, int from, int n)
{
    for (int i = from; i < from + n && s->parked > 0; i++)
        if (s->core[i].state == PARKED) {
            core_wake(s, i);
            return;
        }
}

static void core_park(struct sim *s, struct core *c)
{
    c->state = PARKED;
    s->parked++;
}

/* From `at` on it is in handlers for `us`. */
static void core_handle(struct sim *s, int i, double at, double us,
                        struct request *r)
{
    s->core[i].handles = true;
    s->core[i].since = at;
    s->busy_us += us;
    plan(s, at + us, DONE, i, r);
}

/* The receive and the reply of one request among n. */
static double io_of(const struct config *cf, int n)
{
    double share = n > 1 ? log2(n < MANY ? n : MANY) / log2(MANY) : 0;

    return cf->io_us + share * (cf->io_many_us - cf->io_us);
}

/* Half of what the receive and the reply of n requests cost. */
static double half_io(struct sim *s, double at, int n)
{
    double us = io_of(&s->cf, n) / 2 * n;

    s->busy_us += us;
    return take_cpu(s, at, us);
}

/* ---- hash: a turn ---- */

static void hash_turn(struct sim *s, int i)
{
    struct core *c = &s->core[i];
    int n = s->cf.at_once && c->arrived.n > 1 ? 1 : c->arrived.n;
    double us = 0;

    if (n == 0) {
        core_park(s, c);
        return;
    }
    line_move(&c->turn, &c->arrived, n);
    for (struct request *r = c->turn.first; r; r = r->next)
        us += r->service;
    core_handle(s, i, half_io(s, s->now, n), us, NULL);
}

static void hash_done(struct sim *s, int i)
{
    struct core *c = &s->core[i];
    double end = half_io(s, s->now, c->turn.n);
    struct request *r;

    while ((r = line_pop(&c->turn)) != NULL)
        request_end(s, r, end);
    plan(s, end, TURN, i, NULL);
}

/* ---- steal and rescue ---- */

/* What has arrived becomes work that others may see. */
static void core_look(struct sim *s, struct core *c)
{
    if (c->queue.n > 0 && s->now - c->looked < HARVEST_US)
        return;
    c->looked = s->now;
    line_move(&c->queue, &c->arrived, c->arrived.n);
}

static bool is_stuck(const struct sim *s, const struct core *c)
{
    return c->handles && s->now - c->since >= s->cf.stuck_us;
}

/* Half of the first queue that has something, from the next core on; or what
 * has arrived at a core that is stuck.  *us: what the search costs. */
static bool find_elsewhere(struct sim *s, int i, bool rescues, double *us)
{
    struct core *c = &s->core[i];

    for (int k = 1; k < s->cf.cores; k++) {
        struct core *from = &s->core[(i + k) % s->cf.cores];

        *us += s->cf.look_at_us;
        if (!rescues && from->queue.n > 0) {
            line_move(&c->queue, &from->queue, (from->queue.n + 1) / 2);
            s->found->steals++;
        } else if (rescues && from->arrived.n > 0 && is_stuck(s, from)) {
            line_move(&c->queue, &from->arrived, from->arrived.n);
            s->found->rescues++;
        }
        if (c->queue.n > 0) {
            *us += s->cf.steal_us;
            return true;
        }
    }
    return false;
}

/* Core i has found its queue empty: what it spent, or negative: it parks. */
static double core_search(struct sim *s, int i)
{
    double us = 0;
    bool found = find_elsewhere(s, i, false, &us) ||
                 (s->cf.policy == RESCUE && find_elsewhere(s, i, true, &us));

    s->search_us += us;
    s->busy_us += us;
    return found ? us : -1;
}

/* Runs what is in the queue, up to the first handler; that one runs last. */
static void steal_turn(struct sim *s, int i)
{
    struct core *c = &s->core[i];
    struct line batch, again;
    struct request *r, *work = NULL;
    double spent = 0, at;

    core_look(s, c);
    if (c->queue.n == 0 && (spent = core_search(s, i)) < 0) {
        core_park(s, c);
        return;
    }
    line_init(&batch);
    line_init(&again);
    while (!work && batch.n < BATCH && (r = line_pop(&c->queue)) != NULL) {
        if (r->phase == HANDLE || (s->cf.at_once && r->phase == RECEIVE))
            work = r;
        else
            line_push(&batch, r);
    }
    at = half_io(s, s->now + spent, batch.n + (work && work->phase == RECEIVE));
    while ((r = line_pop(&batch)) != NULL) {
        if (r->phase == REPLY) {
            request_end(s, r, at);
        } else {
            r->phase = HANDLE;
            line_push(&again, r);
        }
    }
    line_move(&c->queue, &again, again.n);
    /* One searcher at a time; it wakes the next if it leaves something. */
    if (c->queue.n > 0 && s->waking == 0)
        wake_any(s, 0, s->cf.cores);
    if (work)
        core_handle(s, i, at, work->service, work);
    else
        plan(s, at, TURN, i, NULL);
}

static void steal_done(struct sim *s, int i, struct request *r)
{
    if (s->cf.at_once) {
        double end = half_io(s, s->now, 1);

        request_end(s, r, end);
        plan(s, end, TURN, i, NULL);
        return;
    }
    r->phase = REPLY;
    line_push(&s->core[i].queue, r);
    steal_turn(s, i);
}

static void steal_seen(struct sim *s, struct request *r)
{
    struct core *c = &s->core[r->home];

    line_push(&c->arrived, r);
    if (c->state == PARKED)
        core_wake(s, r->home);
    else if (c->watched && is_stuck(s, c))
        wake_any(s, 0, s->cf.cores);
    else
        c->watched = false;
}

/* The sentinel looks at all cores, and again after a while. */
static void sentinel_look(struct sim *s)
{
    for (int i = 0; i < s->cf.cores; i++) {
        struct core *c = &s->core[i];

        s->sentinel_us += s->cf.look_at_us;
        if (!is_stuck(s, c))
            continue;
        if (!c->watched && c->arrived.n > 0)
            wake_any(s, 0, s->cf.cores);
        c->watched = true;
    }
    if (s->done < s->cf.requests)
        plan(s, s->now + s->cf.look_us, LOOK, 0, NULL);
}

/* ---- one, mutex and ring: helpers ---- */

static int group_of(const struct sim *s, int core)
{
    return core - core % s->cf.helpers;
}

static int group_size(const struct sim *s, int first)
{
    int left = s->cf.cores - first;

    return left < s->cf.helpers ? left : s->cf.helpers;
}

/* The worker of a group, which may sleep, does half of what io_us is. */
static double by_worker(struct sim *s, int group)
{
    struct resource *w = &s->worker[group];
    double at = s->now;

    if (w->free_at < at)
        at += s->cf.wake_us;
    else
        at = w->free_at;
    return w->free_at = take_cpu(s, at, s->cf.io_us / 2);
}

static void pool_seen(struct sim *s, struct request *r)
{
    int group = group_of(s, r->home);
    double at = s->now;

    if (s->cf.policy != ONE)
        at = by_worker(s, group);
    if (s->cf.policy == MUTEX)
        at = take_lock(s, 0, at, s->cf.lock_us);
    plan(s, at, VISIBLE, group, r);
}

static void pool_visible(struct sim *s, int group, struct request *r)
{
    bool ring = s->cf.policy == RING;

    line_push(ring ? &s->core[group].queue : &s->shared, r);
    wake_any(s, ring ? group : 0, ring ? group_size(s, group) : s->cf.cores);
}

static void pool_turn(struct sim *s, int i)
{
    int group = group_of(s, i);
    bool ring = s->cf.policy == RING;
    struct request *r = line_pop(ring ? &s->core[group].queue : &s->shared);
    double at = s->now;

    if (!r) {
        core_park(s, &s->core[i]);
        return;
    }
    if (s->cf.policy == ONE)
        at = half_io(s, at, 2);
    else
        at = take_lock(s, ring ? group : 0, at,
                       ring ? s->cf.line_us : s->cf.lock_us);
    core_handle(s, i, at, r->service, r);
}

static void pool_done(struct sim *s, int i, struct request *r)
{
    double end = s->now;

    if (s->cf.policy != ONE) {
        request_end(s, r, by_worker(s, group_of(s, r->home)));
        end = take_cpu(s, end, s->cf.hand_us);
        s->busy_us += s->cf.hand_us;
    } else {
        request_end(s, r, end);
    }
    plan(s, end, TURN, i, NULL);
}

/* ---- events ---- */

static void core_turn(struct sim *s, int i)
{
    s->core[i].state = BUSY;
    if (s->cf.policy == HASH)
        hash_turn(s, i);
    else if (s->cf.policy == STEAL || s->cf.policy == RESCUE)
        steal_turn(s, i);
    else
        pool_turn(s, i);
}

static void on_seen(struct sim *s, struct request *r)
{
    struct core *c = &s->core[r->home];

    if (s->cf.policy == STEAL || s->cf.policy == RESCUE) {
        steal_seen(s, r);
    } else if (s->cf.policy == HASH) {
        line_push(&c->arrived, r);
        if (c->state == PARKED)
            core_wake(s, r->home);
    } else {
        pool_seen(s, r);
    }
}

static void on_done(struct sim *s, int i, struct request *r)
{
    s->core[i].handles = false;
    if (s->cf.policy == HASH)
        hash_done(s, i);
    else if (s->cf.policy == STEAL || s->cf.policy == RESCUE)
        steal_done(s, i, r);
    else
        pool_done(s, i, r);
}

static void on_arrive(struct sim *s)
{
    request_send(s, request_new(s), s->now);
    if (++s->arrived < s->cf.requests)
        plan(s, s->now + rng_exp(&s->arrivals, 1e6 / s->cf.rate), ARRIVE, 0,
             NULL);
}

static void on_event(struct sim *s, const struct event *e)
{
    switch (e->kind) {
    case ARRIVE:
        on_arrive(s);
        break;
    case SEEN:
        on_seen(s, e->request);
        break;
    case VISIBLE:
        pool_visible(s, e->core, e->request);
        break;
    case DONE:
        on_done(s, e->core, e->request);
        break;
    case WOKEN:
        s->waking--;
        core_turn(s, e->core);
        break;
    case TURN:
        core_turn(s, e->core);
        break;
    case LOOK:
        sentinel_look(s);
        break;
    }
}

/* ---- the run ---- */

static double mean_service(const struct config *cf)
{
    const struct service *v = &cf->service;
    double us = v->us;

    if (v->kind == SERVICE_BIMODAL)
        us = (1 - v->slow_share) * v->us + v->slow_share * v->slow_us;
    return cf->io_us + us + (us > 0 ? cf->late_us : 0);
}

static void sim_init(struct sim *s, const struct config *cf)
{
    double us = mean_service(cf);

    s->cf = *cf;
    if (!s->cf.rate)
        s->cf.rate = cf->load * cf->cores * 1e6 / us;
    s->cf.load = s->cf.rate * us / 1e6 / cf->cores;
    if (!s->cf.io_many_us)
        s->cf.io_many_us = cf->io_us;
    if (!s->cf.look_us)
        s->cf.look_us = LOOKS_SLOWER * cf->stuck_us;
    s->conns = calloc((size_t)cf->connections, sizeof *s->conns);
    CHECK(s->conns);
    rng_seed(&s->arrivals, cf->seed);
    rng_seed(&s->services, cf->seed + 1);
    rng_seed(&s->places, cf->seed + 2);
    rng_seed(&s->sleeps, cf->seed + 3);
    for (int i = 0; i < cf->connections; i++) {
        s->conns[i].home = (int)(rng_next(&s->places) % (uint64_t)cf->cores);
        line_init(&s->conns[i].waiting);
    }
    line_init(&s->shared);
    for (int i = 0; i < cf->cores; i++) {
        line_init(&s->core[i].queue);
        line_init(&s->core[i].arrived);
        line_init(&s->core[i].turn);
        s->core[i].looked = -DBL_MAX;
        s->worker[i].free_at = -1;
    }
    s->parked = cf->cores;
    plan(s, 0, ARRIVE, 0, NULL);
    if (cf->policy == RESCUE)
        plan(s, s->cf.look_us, LOOK, 0, NULL);
}

static void sim_free(struct sim *s)
{
    while (s->spare) {
        struct request *r = s->spare;

        s->spare = r->next;
        free(r);
    }
    free(s->conns);
    heap_free(&s->heap);
    free(s);
}

void simulate(const struct config *cf, struct found *f)
{
    struct sim *s = calloc(1, sizeof *s);
    double cores = cf->cores;

    CHECK(s);
    *f = (struct found){0};
    hist_reset(&f->all);
    hist_reset(&f->fast);
    s->found = f;
    sim_init(s, cf);
    while (s->heap.n > 0) {
        struct event e = heap_take(&s->heap);

        s->now = e.at;
        on_event(s, &e);
    }
    CHECK(s->done == cf->requests);
    f->load = s->cf.load;
    f->rate = s->cf.rate;
    f->throughput = (double)s->done / s->now * 1e6;
    f->busy = s->busy_us / s->now / cores;
    f->search = s->search_us / s->now / cores;
    f->sentinel = s->sentinel_us / s->now;
    f->waited_us = s->waited_us / (double)s->done;
    sim_free(s);
}
