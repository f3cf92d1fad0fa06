/* load.c - see load.h. */
#include "load.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "check.h"
#include "conn.h"
#include "cpu_set.h"
#include "engine.h"

enum {
    MAX_CONNECTING = 128, /* at a time, so that no backlog overflows */
    MAX_QUEUED = 1 << 20, /* wishes; the schedule waits beyond */
    SCRATCH = 64 * 1024,  /* bytes of requests built at a time, at least */
    SWEEP_NS = 100000000,
    SWEEP_CROWD_NS = 1000000000,
    IDLE_TURN_NS = 5000,  /* a longer one was not all spent polling */
    SPIN_NS = 100000,     /* before a send time, --spin auto */
    STARVED_NS = 1000000, /* a pause is noticed within this while starved */
    BLOCKED_NS = 2000,    /* a wait that took longer did block */
};

/* ---- wishes ---- */

void queue_push(struct queue *q, struct wish w)
{
    if (q->len == q->cap) {
        uint32_t cap = q->cap ? 2 * q->cap : 16;
        struct wish *at = malloc(cap * sizeof(*at));

        if (!at)
            die("loadgen: out of memory");
        for (uint32_t i = 0; i < q->len; i++)
            at[i] = q->at[(q->head + i) & (q->cap - 1)];
        free(q->at);
        *q = (struct queue){.at = at, .len = q->len, .cap = cap};
    }
    q->at[(q->head + q->len++) & (q->cap - 1)] = w;
}

struct wish queue_pop(struct queue *q)
{
    struct wish w = q->at[q->head];

    CHECK(q->len > 0);
    q->head = (q->head + 1) & (q->cap - 1);
    q->len--;
    return w;
}

static struct wish draw(struct load *l, int64_t intended_ns)
{
    struct wish w = {.intended_ns = intended_ns};

    if (l->plan->kind == PLAN_SERVICE)
        w.arg = request_arg(l->plan, &l->rng, 0, 0, &w.slow);
    return w;
}

static bool in_window(const struct load *l, int64_t t)
{
    return t >= l->run->begin_ns && t < l->run->end_ns;
}

/* ---- counting ---- */

void load_error(struct load *l, enum error kind, uint64_t n)
{
    struct tally *t = l->phase >= RUN_MEASURE ? &l->measured : &l->warm;

    t->errors[kind] += n;
}

static void add_latency(struct load *l, const struct pending *p, int64_t since)
{
    int64_t ns = l->now_ns - since;

    hist_add(&l->marks->latency, ns > 0 ? (uint64_t)ns : 0);
    if (l->plan->service.kind == SERVICE_BIMODAL)
        hist_add(&l->marks->class[p->slow], ns > 0 ? (uint64_t)ns : 0);
}

/* The time that the generator may have cost: sending late, and not reading. */
static void add_blame(struct load *l, const struct pending *p)
{
    int64_t ns = l->now_ns - p->intended_ns;
    int64_t came = l->attended_ns > p->sent_ns ? l->attended_ns : p->sent_ns;
    int64_t blame = p->lag_ns + (l->now_ns - came);

    if (ns > 0)
        l->marks->blame[hist_cell((uint64_t)ns)] +=
            (uint64_t)(blame < ns ? blame : ns);
}

void load_record(struct load *l, const struct pending *p)
{
    l->t->requests++;
    if (l->cf->rate == 0) {
        if (l->phase == RUN_MEASURE)
            add_latency(l, p, p->sent_ns);
    } else if (in_window(l, p->intended_ns)) {
        add_latency(l, p, p->intended_ns);
        hist_add(&l->marks->uncorrected, (uint64_t)(l->now_ns - p->sent_ns));
        hist_add(&l->marks->lateness, (uint64_t)p->lag_ns);
        add_blame(l, p);
    }
}

void load_unfinished(struct load *l, const struct pending *p)
{
    if (l->cf->rate == 0 || !in_window(l, p->intended_ns))
        return;
    l->unfinished++;
    add_latency(l, p, p->intended_ns);
}

static void usage_read(const struct load *l, struct usage *u)
{
    struct rusage r;

    getrusage(RUSAGE_THREAD, &r);
    u->user_ns = r.ru_utime.tv_sec * 1000000000 + r.ru_utime.tv_usec * 1000;
    u->sys_ns = r.ru_stime.tv_sec * 1000000000 + r.ru_stime.tv_usec * 1000;
    u->sleeps = r.ru_nvcsw;
    u->idle_ns = l->idle_ns;
    u->at_ns = l->now_ns;
}

/* ---- giving requests to connections ---- */

static bool has_room(const struct load *l, const struct conn *c)
{
    if (l->cf->close)
        return c->state == CONN_DOWN && l->now_ns >= c->retry_ns;
    return c->state == CONN_UP && conn_in_flight(c) < (uint64_t)l->cf->depth;
}

/* Sends what was pushed.  With --close a connection begins here: the request is
 * tried at once, because on loopback the handshake is over by then. */
static void launch(struct load *l, struct conn *c)
{
    if (l->cf->close && c->state == CONN_DOWN && !conn_open(l, c))
        return;
    conn_flush(l, c);
}

static void give(struct load *l, struct conn *c, struct wish w)
{
    int64_t since = w.intended_ns > c->free_ns ? w.intended_ns : c->free_ns;
    int64_t lag = l->now_ns - since;

    conn_push(l, c, w, lag > 0 ? lag : 0);
}

/* Gives a connection its own wishes, as far as it has room. */
static void pump(struct load *l, struct conn *c)
{
    bool any = false;

    while (c->queue.len > 0 && has_room(l, c)) {
        give(l, c, queue_pop(&c->queue));
        l->queued--;
        any = true;
        if (l->cf->close)
            break;
    }
    if (any)
        launch(l, c);
}

static void assign(struct load *l, struct wish w)
{
    struct conn *c = &l->conns[pattern_pick(l->cdf, l->n_conns, &l->rng)];

    queue_push(&c->queue, w);
    l->queued++;
    pump(l, c);
}

/* Closed loop over uneven connections: as many requests as there would be with
 * even ones, each on a connection that is drawn. */
static void assign_closed(struct load *l)
{
    uint64_t all = (uint64_t)l->n_conns * (uint64_t)l->cf->depth;

    while (l->outstanding + l->queued < all)
        assign(l, draw(l, l->now_ns));
}

static void list_free(struct load *l, struct conn *c)
{
    if (c->listed || !has_room(l, c))
        return;
    c->listed = true;
    c->next_free = NULL;
    if (l->free_head)
        l->free_tail->next_free = c;
    else
        l->free_head = c;
    l->free_tail = c;
}

static struct conn *take_free(struct load *l)
{
    while (l->free_head) {
        struct conn *c = l->free_head;

        l->free_head = c->next_free;
        c->listed = false;
        if (has_room(l, c)) /* it may have ended since */
            return c;
    }
    return NULL;
}

static void refill(struct load *l, struct conn *c)
{
    bool any = false;

    while (has_room(l, c)) {
        conn_push(l, c, draw(l, l->now_ns), 0);
        any = true;
        if (l->cf->close)
            break;
    }
    if (any)
        launch(l, c);
}

void load_feed(struct load *l, struct conn *c)
{
    if (!load_wants(l))
        return;
    if (l->cf->rate == 0 && l->cdf)
        assign_closed(l);
    if (l->cdf)
        pump(l, c);
    else if (l->cf->rate > 0)
        list_free(l, c);
    else
        refill(l, c);
}

/* ---- the open loop ---- */

/* When the next wish wants to be sent. */
static int64_t next_due(const struct load *l)
{
    int64_t t;

    if (l->again.len > 0)
        return 0;
    t = schedule_next(&l->schedule);
    if (t >= l->run->end_ns || l->queued >= MAX_QUEUED)
        return INT64_MAX;
    return t;
}

static struct wish take_wish(struct load *l)
{
    struct wish w;

    if (l->again.len > 0) {
        l->queued--;
        return queue_pop(&l->again);
    }
    w = draw(l, schedule_next(&l->schedule));
    l->arrivals += in_window(l, w.intended_ns);
    schedule_advance(&l->schedule);
    return w;
}

/* Sends everything that is due; false when there was nothing to do. */
static bool send_due(struct load *l)
{
    bool any = false;

    l->starved = false;
    while (next_due(l) <= l->now_ns) {
        struct conn *c = NULL;

        if (!l->cdf && !(c = take_free(l))) {
            l->starved = true;
            break;
        }
        load_clock(l); /* what came before has taken its time */
        any = true;
        if (!c) {
            assign(l, take_wish(l));
            continue;
        }
        give(l, c, take_wish(l));
        launch(l, c);
        list_free(l, c);
    }
    return any;
}

/* Requests of the window that were never sent, or never answered. */
static void count_unfinished(struct load *l)
{
    for (int i = 0; i < l->n_conns; i++) {
        struct conn *c = &l->conns[i];

        for (uint64_t s = c->head; s < c->tail; s++)
            if (!c->ring[s & c->mask].answered)
                load_unfinished(l, &c->ring[s & c->mask]);
        while (c->queue.len > 0) {
            struct wish w = queue_pop(&c->queue);

            load_unfinished(l, &(struct pending){.intended_ns = w.intended_ns,
                                                 .slow = w.slow});
        }
    }
    while (l->again.len > 0 || schedule_next(&l->schedule) < l->run->end_ns) {
        struct wish w = take_wish(l);

        load_unfinished(
            l, &(struct pending){.intended_ns = w.intended_ns, .slow = w.slow});
    }
}

/* ---- the loop ---- */

/* Nothing is owed any more, by us or by the server.  With --close it still owes
 * the end of each connection. */
static bool settled(const struct load *l)
{
    if (l->outstanding > 0 || l->queued > 0 || (l->cf->close && l->up > 0))
        return false;
    return l->cf->rate == 0 || schedule_next(&l->schedule) >= l->run->end_ns;
}

/* The borders of the window, and the end.  What is asked first is what the
 * last turn did, so replies up to here belong to the phase that ends. */
static void pass_borders(struct load *l)
{
    struct run *r = l->run;

    if (l->phase == RUN_WARMUP && l->now_ns >= r->begin_ns) {
        if (l->index == 0)
            server_clock_read(l->cf, &r->server[0]);
        load_clock(l);
        usage_read(l, &l->usage[0]);
        l->phase = RUN_MEASURE;
        l->t = &l->measured;
    }
    if (l->phase == RUN_MEASURE && l->now_ns >= r->end_ns) {
        if (l->index == 0)
            server_clock_read(l->cf, &r->server[1]);
        usage_read(l, &l->usage[1]);
        l->phase = RUN_DRAIN;
        l->t = &l->warm;
    }
    if (l->phase == RUN_DRAIN && (l->now_ns >= r->drain_end_ns || settled(l)))
        l->phase = RUN_DONE;
}

/* Until when the loop may sleep. */
static int64_t wake_at(const struct load *l)
{
    int64_t t = l->next_sweep_ns, due;

    /* A crowd passes no borders, so it is never woken for one. */
    if (l->phase == RUN_WARMUP && !l->run->crowd && l->run->begin_ns < t)
        t = l->run->begin_ns;
    if (l->phase == RUN_MEASURE && l->run->end_ns < t)
        t = l->run->end_ns;
    if (l->phase == RUN_CONNECT || l->cf->rate == 0)
        return t;
    if (l->starved)
        return l->now_ns + STARVED_NS < t ? l->now_ns + STARVED_NS : t;
    due = next_due(l);
    if (due != INT64_MAX && l->cf->spin == SPIN_AUTO)
        due -= SPIN_NS;
    return due < t ? due : t;
}

/* Adds up the time spent polling in vain.  A turn that took longer lost its cpu
 * meanwhile, and that is no use of it. */
static void note_idle(struct load *l, bool idle)
{
    int64_t ns = l->now_ns - l->looked_ns;

    if (idle && l->idle_turn)
        l->idle_ns += ns < IDLE_TURN_NS ? ns : IDLE_TURN_NS;
    l->idle_turn = idle;
}

/* Waits, notes how attentive the generator was, handles what came.  True when
 * there was something. */
static bool turn(struct load *l)
{
    int64_t before, until;
    int n;

    load_clock(l);
    before = l->now_ns;
    until = l->run->spins && l->phase != RUN_CONNECT ? before : wake_at(l);
    n = l->engine->wait(l, until - before);
    load_clock(l);
    if (until <= before || l->now_ns - before < BLOCKED_NS)
        l->attended_ns = l->looked_ns;
    else
        l->attended_ns = l->now_ns < until ? l->now_ns : until;
    note_idle(l, n == 0 && until <= before);
    l->looked_ns = l->now_ns;
    l->engine->deliver(l);
    return n > 0;
}

static void sweep(struct load *l)
{
    if (l->now_ns < l->next_sweep_ns)
        return;
    for (int i = 0; i < l->n_conns; i++)
        conn_sweep(l, &l->conns[i]);
    l->next_sweep_ns = l->now_ns + (l->run->crowd ? SWEEP_CROWD_NS : SWEEP_NS);
}

/* --test-pause: the generator is away, as if it had been stopped. */
static void test_pause(struct load *l)
{
    struct timespec ts = {l->cf->pause_ns / 1000000000,
                          l->cf->pause_ns % 1000000000};

    if (l->cf->pause_ns == 0 || l->pause_at_ns == 0 ||
        l->now_ns < l->pause_at_ns)
        return;
    l->pause_at_ns = 0;
    nanosleep(&ts, NULL);
}

struct conn *load_conn(struct load *l, uint32_t index, uint32_t generation)
{
    struct conn *c = &l->conns[index];

    return c->generation == generation ? c : NULL;
}

void load_turn(struct load *l)
{
    turn(l);
    test_pause(l);
    if (l->cf->rate > 0 && send_due(l))
        l->idle_turn = false;
    sweep(l);
}

/* A few at a time, before the clock starts.  The limit is for the next one to
 * succeed: many may take longer.  A crowd goes on after a failure. */
void load_connect(struct load *l)
{
    int64_t limit;
    int next = 0, up = -1;

    load_clock(l);
    limit = l->now_ns;
    while (l->up < l->n_conns && (next < l->n_conns || l->connecting > 0) &&
           (l->connect_errno == 0 || l->run->crowd)) {
        if (l->up > up)
            limit = l->now_ns + l->cf->connect_timeout_ns;
        else if (l->now_ns > limit)
            break;
        up = l->up;
        while (next < l->n_conns && l->connecting < MAX_CONNECTING &&
               (l->connect_errno == 0 || l->run->crowd))
            conn_open(l, &l->conns[next++]);
        l->next_sweep_ns = l->now_ns + 10000000;
        turn(l);
    }
    if (l->up < l->n_conns && l->connect_errno == 0)
        l->connect_errno = ETIMEDOUT;
}

/* Each thread has its share of the rate, and its own part of the period. */
void load_start_schedule(struct load *l, int64_t start_ns)
{
    const struct config *cf = l->cf;
    double period = l->share > 0 ? 1e9 / (cf->rate * l->share) : 1e18;

    schedule_init(&l->schedule, (double)start_ns + period * l->index / l->step,
                  period, cf->poisson, cf->seed * 7919 + (uint64_t)l->index);
}

static void usage_add(struct usage *sum, const struct usage *from,
                      const struct usage *to)
{
    sum->at_ns += to->at_ns - from->at_ns;
    sum->user_ns += to->user_ns - from->user_ns;
    sum->sys_ns += to->sys_ns - from->sys_ns;
    sum->sleeps += to->sleeps - from->sleeps;
    sum->idle_ns += to->idle_ns - from->idle_ns;
}

/* From quiet to quiet; a server that owes an answer for too long ends it. */
static void one_turn(struct load *l)
{
    load_clock(l);
    l->looked_ns = l->attended_ns = l->now_ns;
    l->idle_turn = false;
    l->run->end_ns = l->now_ns + l->cf->turn_ns;
    l->run->drain_end_ns = l->run->end_ns + l->cf->timeout_ns + DRAIN_NS;
    for (int i = 0; i < l->n_conns; i++)
        load_feed(l, &l->conns[i]);
    while (l->now_ns < l->run->end_ns)
        load_turn(l);
    l->phase = RUN_DRAIN;
    while (l->now_ns < l->run->drain_end_ns && !settled(l))
        load_turn(l);
}

static void measured_turn(struct load *l)
{
    struct server_clock *sum = &l->run->server[1], from = {0}, to = {0};
    struct usage before, after;

    server_clock_read(l->cf, &from);
    load_clock(l);
    usage_read(l, &before);
    l->phase = RUN_MEASURE;
    l->t = &l->measured;
    one_turn(l);
    usage_read(l, &after);
    server_clock_read(l->cf, &to);
    usage_add(&l->usage[1], &before, &after);
    l->run->server[0].at_ns = from.at_ns;
    sum->at_ns = to.at_ns;
    sum->cpu_ns += to.cpu_ns - from.cpu_ns;
}

/* --turns.  The sums begin at nothing, as calloc() and the caller left them. */
static void run_turns(struct load *l)
{
    bool begun = false;
    char word;

    while (read(STDIN_FILENO, &word, 1) == 1) {
        l->phase = RUN_WARMUP;
        l->t = &l->warm;
        if (word == 'm' && !begun)
            server_status_read(l->cf, &l->run->base);
        begun = begun || word == 'm';
        if (word == 'm')
            measured_turn(l);
        else
            one_turn(l);
        if (l->outstanding > 0)
            load_error(l, ERROR_timeout, l->outstanding);
        if (l->outstanding > 0 || write(STDIN_FILENO, &word, 1) != 1)
            break;
    }
}

static void run_loop(struct load *l)
{
    if (l->cf->rate > 0)
        load_start_schedule(l, l->run->begin_ns - l->cf->warmup_ns);
    load_clock(l);
    l->phase = RUN_WARMUP;
    l->looked_ns = l->attended_ns = l->now_ns;
    if (l->cf->pause_ns > 0)
        l->pause_at_ns = l->run->begin_ns + l->cf->pause_at_ns;
    pass_borders(l); /* without a warm-up the window is open already */
    for (int i = 0; i < l->n_conns; i++)
        load_feed(l, &l->conns[i]);
    while (l->phase != RUN_DONE) {
        load_turn(l);
        pass_borders(l);
    }
    if (l->cf->rate > 0)
        count_unfinished(l);
    else if (l->outstanding > 0)
        load_error(l, ERROR_timeout, l->outstanding);
}

static void pin(const struct load *l)
{
    const struct config *cf = l->cf;
    struct cpus set;
    int cpu;

    if (cf->cpu_count == 0)
        return;
    cpu = cf->cpus[l->index % cf->cpu_count];
    cpus_clear(&set);
    cpus_add(&set, cpu);
    if (cpus_pin(&set) < 0)
        die_status(2, "loadgen: --cpu %d: %s", cpu, strerror(errno));
}

void *load_main(void *arg)
{
    struct load *l = arg;
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    pin(l);
    l->engine = engine_of(l->cf);
    l->engine->open(l);
    if (!l->cf->close)
        load_connect(l);
    pthread_barrier_wait(&l->run->connected);
    pthread_barrier_wait(&l->run->started); /* the main thread set the times */
    if (l->cf->turn_ns > 0)
        run_turns(l);
    else if (l->run->end_ns > 0)
        run_loop(l);
    l->engine->close(l);
    return NULL;
}

/* ---- setting up ---- */

static void *zeroed(size_t n, size_t size)
{
    void *p = calloc(n > 0 ? n : 1, size);

    if (!p)
        die("loadgen: out of memory");
    return p;
}

/* The share of all requests that goes to this thread's connections. */
static void weigh(struct load *l)
{
    const struct config *cf = l->cf;
    double all = 0, own = 0;

    if (cf->pattern.kind != PATTERN_ANY)
        l->cdf = zeroed((size_t)l->n_conns, sizeof(double));
    for (int i = 0; i < cf->connections; i++) {
        double w = pattern_weight(&cf->pattern, i, cf->connections);

        all += w;
        if (i % l->step != l->index)
            continue;
        own += w;
        if (l->cdf)
            l->cdf[i / l->step] = own;
    }
    l->share = all > 0 ? own / all : 0;
}

void load_init(struct load *l, struct run *run, int index)
{
    const struct config *cf = run->cf;

    *l = (struct load){.run = run, .cf = cf, .plan = run->plan, .index = index};
    l->step = cf->threads;
    l->n_conns = (cf->connections - index + l->step - 1) / l->step;
    l->conns = zeroed((size_t)l->n_conns, sizeof(*l->conns));
    for (int i = 0; i < l->n_conns; i++)
        conn_init(&l->conns[i], (uint32_t)(index + i * l->step), cf->depth);
    l->scratch_len = l->plan->max_len > SCRATCH ? l->plan->max_len : SCRATCH;
    l->scratch = zeroed(1, l->scratch_len);
    l->marks = zeroed(1, sizeof(*l->marks));
    l->t = &l->warm;
    /* Written now, so that the window has no page faults of ours. */
    hist_reset(&l->marks->latency);
    hist_reset(&l->marks->uncorrected);
    hist_reset(&l->marks->lateness);
    for (int i = 0; i < CLASSES; i++)
        hist_reset(&l->marks->class[i]);
    memset(l->marks->blame, 0, sizeof(l->marks->blame));
    rng_seed(&l->rng, cf->seed * 1000003 + (uint64_t)index);
    weigh(l);
}

void load_free(struct load *l)
{
    for (int i = 0; i < l->n_conns; i++)
        conn_free(&l->conns[i]);
    free(l->conns);
    free(l->cdf);
    free(l->again.at);
    free(l->scratch);
    free(l->marks);
}
