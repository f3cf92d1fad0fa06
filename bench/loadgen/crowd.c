/* crowd.c - see crowd.h.
 *
 * A crowd process is a thread of the load generator by other means: the same
 * connections, checks and open loop, with a rate that gives each connection a
 * request every --heartbeat seconds (the one that has been silent longest is
 * next), or none at all.  What it must tell lies in shared memory.
 */
#include "crowd.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "conn.h"
#include "engine.h"

enum { SPARE_FDS = 64, UNMEASURED = 2 };

/* One process's part of the shared memory; it writes, the generator reads. */
struct part {
    struct run run; /* begin and end are the generator's to write */
    _Atomic bool ready;
    _Atomic int open, failed, lost, why;
    _Atomic uint64_t heartbeats, errors;
    struct marks marks;
};

struct crowd {
    int n;
    int64_t opening_ns;
    pid_t *pids;
    struct part *parts;
};

/* What the crowd asks for: the plain request, or an echo message. */
static void crowd_config(struct config *to, const struct config *cf,
                         int members)
{
    *to = *cf;
    to->connections = members;
    to->threads = to->depth = 1;
    to->close = to->mix = false;
    to->pattern = (struct pattern){.kind = PATTERN_ANY};
    to->spin = SPIN_OFF;
    to->engine = ENGINE_EPOLL; /* a process more than a ring each */
    to->poisson = false;
    to->rate = 0;
    to->pause_ns = 0;
    if (cf->heartbeat_ns > 0)
        to->rate = members / ((double)cf->heartbeat_ns / 1e9);
    if (cf->mix || cf->service.kind != SERVICE_NONE) {
        to->path = "/";
        to->service = (struct service){.kind = SERVICE_NONE};
    }
}

static void publish(struct part *p, const struct load *l, int failed)
{
    uint64_t errors = 0;

    for (int i = 0; i < ERROR_KINDS; i++)
        if (i != ERROR_connect)
            errors += l->warm.errors[i];
    p->open = l->up;
    p->failed = failed;
    p->lost = l->n_conns - failed - l->up;
    p->heartbeats = l->warm.requests;
    p->errors = errors;
}

/* Lives until it is killed. */
__attribute__((noreturn)) static void crowd_main(struct part *part,
                                                 const struct config *cf,
                                                 int members, uint32_t first)
{
    static struct config own;
    static struct plan plan;
    struct load l;
    int failed;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN); /* the generator decides when the crowd ends */
    signal(SIGTERM, SIG_IGN);
    crowd_config(&own, cf, members);
    plan_init(&plan, &own);
    part->run.cf = &own;
    part->run.plan = &plan;
    part->run.crowd = true;
    load_init(&l, &part->run, 0);
    l.engine = engine_of(&own);
    l.engine->open(&l);
    free(l.marks);
    l.marks = &part->marks;           /* the parent has reset it */
    for (int i = 0; i < members; i++) /* so that sources are used evenly */
        l.conns[i].id += first;
    load_connect(&l);
    failed = members - l.up;
    part->why = l.connect_errno;
    if (own.rate > 0) {
        l.phase = RUN_WARMUP;
        load_start_schedule(&l, l.now_ns);
        for (int i = 0; i < members; i++)
            load_feed(&l, &l.conns[i]);
    }
    publish(part, &l, failed);
    part->ready = true;
    for (;;) {
        load_turn(&l);
        publish(part, &l, failed);
    }
}

static int process_count(const struct config *cf)
{
    struct rlimit lim;
    int room;

    if (cf->processes > 0)
        return cf->processes < cf->idle ? cf->processes : cf->idle;
    if (getrlimit(RLIMIT_NOFILE, &lim) < 0 || lim.rlim_cur > INT32_MAX)
        return 1;
    room = (int)lim.rlim_cur - SPARE_FDS;
    return (cf->idle + room - 1) / room;
}

static struct crowd *make_crowd(int n)
{
    struct crowd *c = calloc(1, sizeof(*c));

    if (!c)
        die("loadgen: out of memory");
    c->n = n;
    c->pids = calloc((size_t)n, sizeof(*c->pids));
    c->parts = mmap(NULL, (size_t)n * sizeof(*c->parts), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!c->pids || c->parts == MAP_FAILED)
        die("loadgen: out of memory");
    for (int i = 0; i < n; i++) {
        c->parts[i].run.begin_ns = c->parts[i].run.end_ns = INT64_MAX;
        hist_reset(&c->parts[i].marks.latency);
        hist_reset(&c->parts[i].marks.uncorrected);
        hist_reset(&c->parts[i].marks.lateness);
    }
    return c;
}

static void wait_ready(struct crowd *c, const struct config *cf)
{
    struct timespec pause = {.tv_nsec = 2000000};
    int open = 0;

    for (int i = 0; i < c->n; i++) {
        while (!c->parts[i].ready) {
            if (waitpid(c->pids[i], NULL, WNOHANG) != 0)
                die_status(UNMEASURED, "loadgen: a crowd process ended");
            nanosleep(&pause, NULL);
        }
        open += c->parts[i].open;
    }
    if (open == 0)
        die_status(UNMEASURED, "loadgen: cannot connect to %s:%d: %s", cf->host,
                   cf->port, strerror(c->parts[0].why));
}

struct crowd *crowd_start(const struct config *cf)
{
    struct crowd *c;
    uint32_t first = 0;
    int64_t begin;
    int n;

    if (cf->idle == 0)
        return NULL;
    n = process_count(cf);
    c = make_crowd(n);
    begin = clock_ns();
    fflush(NULL);
    for (int i = 0; i < n; i++) {
        int members = cf->idle / n + (i < cf->idle % n);

        c->pids[i] = fork();
        if (c->pids[i] < 0)
            die_status(UNMEASURED, "loadgen: fork: %s", strerror(errno));
        if (c->pids[i] == 0)
            crowd_main(&c->parts[i], cf, members, first);
        first += (uint32_t)members;
    }
    wait_ready(c, cf);
    c->opening_ns = clock_ns() - begin;
    return c;
}

void crowd_window(struct crowd *c, int64_t begin_ns, int64_t end_ns)
{
    for (int i = 0; c && i < c->n; i++) {
        c->parts[i].run.end_ns = end_ns;
        c->parts[i].run.begin_ns = begin_ns;
    }
}

void crowd_read(const struct crowd *c, struct crowd_counts *sum)
{
    memset(sum, 0, sizeof(*sum));
    hist_reset(&sum->latency);
    sum->opening_ns = c ? c->opening_ns : 0;
    for (int i = 0; c && i < c->n; i++) {
        const struct part *p = &c->parts[i];

        sum->open += p->open;
        sum->failed += p->failed;
        sum->lost += p->lost;
        sum->heartbeats += p->heartbeats;
        sum->heartbeat_errors += p->errors;
        hist_merge(&sum->latency, &p->marks.latency);
    }
}

void crowd_stop(struct crowd *c)
{
    for (int i = 0; c && i < c->n; i++)
        kill(c->pids[i], SIGKILL);
    for (int i = 0; c && i < c->n; i++)
        waitpid(c->pids[i], NULL, 0);
    if (c) {
        munmap(c->parts, (size_t)c->n * sizeof(*c->parts));
        free(c->pids);
    }
    free(c);
}
