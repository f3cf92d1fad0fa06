/* main.c - ioladder's load generator.
 *
 *   config   the command line             load     a thread: loop, window
 *   draw     arrivals and service times   conn     a connection: send, receive
 *   request  what is sent and expected    reply    checks every byte
 *   hist     latencies                    sample   the server's CPU and memory
 *   crowd    idle connections             report   JSON, and who was the limit
 *   engine   how a thread waits, receives and sends: by epoll, or by a ring
 *
 * Linux and threads.  The engine of a ring takes less of the client's core; the
 * other runs where io_uring is forbidden, and shares no fault with the stages
 * that are measured.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "check.h"
#include "conn.h"
#include "cpu_set.h"
#include "engine.h"
#include "inherit.h"
#include "report.h"

enum {
    EXIT_CLEAN = 0,
    EXIT_ERRORS = 1,
    EXIT_UNMEASURED = 2,
    EXIT_SIGNAL = 128, /* and the signal's number */
    INTERRUPTED_DRAIN_NS = 500000000,
};

#define LAST_START_NS (INT64_MAX / 2) /* of --hold: times are added to it */

/* Everything of ours, the crowd too, stays on the cpus given; each thread then
 * keeps to one of them. */
static void pin_all(const struct config *cf)
{
    struct cpus set;
    bool known = true;

    if (cf->cpu_count == 0)
        return;
    cpus_clear(&set);
    for (int i = 0; i < cf->cpu_count; i++)
        known = cpus_add(&set, cf->cpus[i]) && known;
    errno = EINVAL;
    if (!known || cpus_pin(&set) < 0)
        die_status(EXIT_UNMEASURED, "loadgen: --cpu: %s", strerror(errno));
}

static void raise_limits(const struct config *cf)
{
    struct rlimit lim;

    if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
    }
    if ((rlim_t)cf->connections + 64 > lim.rlim_cur)
        die_status(EXIT_UNMEASURED,
                   "loadgen: %d connections, and only %llu descriptors",
                   cf->connections, (unsigned long long)lim.rlim_cur);
    prctl(PR_SET_TIMERSLACK, 1); /* ns: wake when asked to */
    signal(SIGPIPE, SIG_IGN);
}

/* The signals that end a measurement early; those that were ignored when we
 * began stay so, as a shell wants it of its background jobs. */
static void stop_signals(sigset_t *set)
{
    static const int wanted[] = {SIGINT, SIGTERM};
    struct sigaction old;

    sigemptyset(set);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
        if (sigaction(wanted[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaddset(set, wanted[i]);
}

/* Sleeps until then, or until one of the signals, which are blocked, comes.
 * 0, or which. */
static int sleep_until(int64_t ns, const sigset_t *stop)
{
    for (;;) {
        int64_t left = ns - clock_ns();
        struct timespec ts = {left / 1000000000, left % 1000000000};
        int sig;

        if (left <= 0)
            return 0;
        sig = sigtimedwait(stop, NULL, &ts);
        if (sig > 0)
            return sig;
    }
}

/* 0, or the errno that a connection to cf->addr fails with. */
static int try_connect(const struct config *cf)
{
    int fd = socket(cf->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), err = 0;
    struct timeval limit = {
        .tv_sec = cf->connect_timeout_ns / 1000000000,
        .tv_usec = cf->connect_timeout_ns % 1000000000 / 1000,
    };

    if (fd < 0)
        return errno;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (const struct sockaddr *)&cf->addr, cf->addr_len) < 0)
        err = errno;
    close(fd);
    return err;
}

/* With --close nothing is connected before the clock starts, so one connection
 * is tried first: no server, no measurement.  Of several addresses the first
 * that takes it is used: the server may listen on one of them only. */
static void probe(struct config *cf)
{
    int err = 0;

    for (const struct addrinfo *ai = cf->addrs; ai; ai = ai->ai_next) {
        config_address(cf, ai);
        err = try_connect(cf);
        if (err == 0)
            return;
    }
    die_status(EXIT_UNMEASURED, "loadgen: cannot connect to %s:%d: %s",
               cf->host, cf->port, strerror(err));
}

static void check_connected(const struct config *cf, const struct load *loads)
{
    for (int i = 0; i < cf->threads; i++)
        if (!cf->close && loads[i].up < loads[i].n_conns)
            die_status(EXIT_UNMEASURED,
                       "loadgen: cannot connect to %s:%d: %s (%d of %d open)",
                       cf->host, cf->port, strerror(loads[i].connect_errno),
                       loads[i].up, loads[i].n_conns);
}

/* The quotas of both sides: the generator's first. */
static void quotas_read(const struct config *cf, struct quota *q)
{
    quota_read("/proc", getpid(), &q[0]);
    if (cf->pid_count > 0)
        quota_read("/proc", cf->pids[0], &q[1]);
}

/* A signal ends the window where it is: what was measured is reported.  A
 * second one ends the generator. */
static void cut_short(struct run *run, struct result *r, const sigset_t *stop)
{
    int64_t now = clock_ns();

    if (!r->stopped_by)
        return;
    run->end_ns = now;
    run->drain_end_ns = now + INTERRUPTED_DRAIN_NS;
    pthread_sigmask(SIG_UNBLOCK, stop, NULL);
}

static void judge_host(struct result *r, const struct host_clock *h0,
                       const struct host_clock *h1)
{
    if (h1->total > h0->total)
        r->steal_pct = 100.0 * (double)(h1->steal - h0->steal) /
                       (double)(h1->total - h0->total);
    r->server_cpus = server_cpus(r->cf);
}

static void join(const struct config *cf, const struct load *loads)
{
    for (int i = 0; i < cf->threads; i++)
        pthread_join(loads[i].thread, NULL);
}

/* The same where the thread is told from outside when to run. */
static void watch_turns(struct run *run, struct result *r,
                        const struct load *loads)
{
    const struct config *cf = run->cf;
    struct host_clock h0, h1;

    server_status_read(cf, &run->base);
    host_clock_read(&h0);
    quotas_read(cf, r->quota[0]);
    pthread_barrier_wait(&run->started);
    join(cf, loads);
    r->base = run->base;
    quotas_read(cf, r->quota[1]);
    r->have_server =
        cf->pid_count > 0 && server_status_read(cf, &r->after) == 0;
    host_clock_read(&h1);
    judge_host(r, &h0, &h1);
}

/* When the warm-up begins: now, or when the one that holds us says.  Generators
 * on several machines get the same order, each in its own clock. */
static int64_t start_time(const struct config *cf)
{
    char line[32], *end;
    int64_t start_ns;

    if (!cf->hold)
        return clock_ns();
    if (puts("connected") < 0 || fflush(stdout) != 0)
        die_status(EXIT_UNMEASURED, "loadgen: --hold: stdout is closed");
    if (!fgets(line, sizeof(line), stdin))
        die_status(EXIT_UNMEASURED, "loadgen: --hold: no start came");
    errno = 0;
    start_ns = strtoll(line, &end, 10);
    if (end == line || *end != '\n' || errno != 0 || start_ns > LAST_START_NS)
        die_status(EXIT_UNMEASURED, "loadgen: --hold: '%s' is no time",
                   strtok(line, "\n") ? line : "");
    if (start_ns + cf->warmup_ns < clock_ns())
        die_status(EXIT_UNMEASURED, "loadgen: --hold: that time is over");
    return start_ns;
}

/* Starts the clock, and takes what is sampled beside the threads. */
static void watch(struct run *run, struct result *r, struct crowd *crowd,
                  const sigset_t *stop, int64_t start_ns)
{
    const struct config *cf = run->cf;
    struct host_clock h0, h1;

    r->stopped_by = sleep_until(start_ns, stop);
    run->begin_ns = start_ns + cf->warmup_ns;
    run->end_ns = run->begin_ns + cf->duration_ns;
    run->drain_end_ns = run->end_ns + cf->timeout_ns + DRAIN_NS;
    crowd_window(crowd, run->begin_ns, run->end_ns);
    pthread_barrier_wait(&run->started);

    if (!r->stopped_by)
        r->stopped_by = sleep_until(run->begin_ns, stop);
    if (r->stopped_by) {
        fprintf(stderr, "loadgen: interrupted before the measured window\n");
        exit(EXIT_SIGNAL + r->stopped_by);
    }
    server_status_read(cf, &r->base);
    host_clock_read(&h0);
    quotas_read(cf, r->quota[0]);
    r->stopped_by = sleep_until(run->end_ns, stop);
    cut_short(run, r, stop);
    r->end_ns = run->end_ns;
    quotas_read(cf, r->quota[1]);
    r->have_server =
        cf->pid_count > 0 && server_status_read(cf, &r->after) == 0;
    host_clock_read(&h1);
    crowd_read(crowd, &r->idle);
    judge_host(r, &h0, &h1);
}

static void add_tally(struct tally *to, const struct tally *from)
{
    to->requests += from->requests;
    to->bytes_in += from->bytes_in;
    to->bytes_out += from->bytes_out;
    to->header_bytes += from->header_bytes;
    to->headers += from->headers;
    to->connects += from->connects;
    to->abandoned += from->abandoned;
    to->retried += from->retried;
    for (int i = 0; i < ERROR_KINDS; i++)
        to->errors[i] += from->errors[i];
}

static void add_usage(struct result *r, const struct usage *u)
{
    double wall = (double)(u[1].at_ns - u[0].at_ns);
    double user = (double)(u[1].user_ns - u[0].user_ns);
    double sys = (double)(u[1].sys_ns - u[0].sys_ns);
    double spin = (double)(u[1].idle_ns - u[0].idle_ns), busy;

    if (spin > user + sys) /* it was not on a cpu all that time */
        spin = user + sys;
    busy = wall > 0 ? (user + sys - spin) / wall : 0;
    r->user_s += user / 1e9;
    r->sys_s += sys / 1e9;
    r->spin_s += spin / 1e9;
    r->sleeps += u[1].sleeps - u[0].sleeps;
    if (busy > r->busy_max)
        r->busy_max = busy;
}

static void add_load(struct result *r, const struct load *l)
{
    double wall = (double)(l->usage[1].at_ns - l->usage[0].at_ns) / 1e9;

    add_tally(&r->sum, &l->measured);
    add_usage(r, l->usage);
    for (int i = 0; i < ERROR_KINDS; i++) {
        r->warm_errors += l->warm.errors[i];
        r->errors += l->measured.errors[i];
    }
    if (wall > 0) /* no turn at all has none */
        r->qps += (double)l->measured.requests / wall;
    r->unfinished += l->unfinished;
    r->arrivals += l->arrivals;
    if (l->index == 0)
        r->duration_s = wall;
    hist_merge(&r->marks->latency, &l->marks->latency);
    hist_merge(&r->marks->uncorrected, &l->marks->uncorrected);
    hist_merge(&r->marks->lateness, &l->marks->lateness);
    for (int i = 0; i < CLASSES; i++)
        hist_merge(&r->marks->class[i], &l -> marks -> class[i]);
    for (unsigned i = 0; i < HIST_CELLS; i++)
        r->marks->blame[i] += l->marks->blame[i];
}

static void collect(struct result *r, const struct run *run,
                    const struct load *loads)
{
    r->marks = calloc(1, sizeof(*r->marks));
    if (!r->marks)
        die("loadgen: out of memory");
    hist_reset(&r->marks->latency);
    hist_reset(&r->marks->uncorrected);
    hist_reset(&r->marks->lateness);
    for (int i = 0; i < CLASSES; i++)
        hist_reset(&r->marks->class[i]);
    for (int i = 0; i < run->cf->threads; i++)
        add_load(r, &loads[i]);
    r->achieved_rate = r->qps;
    r->server_s = (double)(run->server[1].cpu_ns - run->server[0].cpu_ns) / 1e9;
    if (run->server[0].at_ns == 0 || run->server[1].at_ns == 0)
        r->have_server = false;
    report_judge(r);
}

/* Opened before the measurement, so that nobody waits for what cannot be
 * written; what a file held stays until there is something to put there. */
static FILE *open_output(const char *name)
{
    FILE *f;

    if (!name)
        return NULL;
    f = strcmp(name, "-") == 0 ? stdout : fopen(name, "a");
    if (!f)
        die_status(EXIT_UNMEASURED, "loadgen: %s: %s", name, strerror(errno));
    return f;
}

static void empty_output(FILE *f)
{
    if (f != stdout && ftruncate(fileno(f), 0) < 0)
        errno = 0; /* a pipe or a device has nothing to empty */
}

static void close_output(FILE *f, const char *name)
{
    if (fflush(f) != 0 || ferror(f) || (f != stdout && fclose(f) != 0))
        die_status(EXIT_UNMEASURED, "loadgen: %s: cannot be written", name);
}

static void write_results(const struct result *r, FILE *json, FILE *hgrm)
{
    const struct config *cf = r->cf;
    bool taken = json == stdout || hgrm == stdout;

    if (json) {
        empty_output(json);
        report_json(r, json);
        close_output(json, cf->json);
    }
    if (hgrm) {
        empty_output(hgrm);
        hist_write_hgrm(&r->marks->latency, hgrm);
        close_output(hgrm, cf->hgrm);
    }
    if (!cf->quiet)
        report_text(r, taken ? stderr : stdout);
}

static int verdict(const struct result *r)
{
    if (r->stopped_by)
        return EXIT_SIGNAL + r->stopped_by;
    if (r->cf->connections > 0 && r->sum.requests == 0 && r->errors == 0) {
        fprintf(stderr, "loadgen: no reply in the measured window\n");
        return EXIT_UNMEASURED;
    }
    if (r->errors + r->warm_errors > 0 || r->idle.lost > 0 ||
        r->idle.failed > 0 || r->idle.heartbeat_errors > 0)
        return EXIT_ERRORS;
    return EXIT_CLEAN;
}

/* A crowd with heartbeats shares the generator's cpus. */
static bool may_spin(const struct config *cf)
{
    if (cf->spin == SPIN_AUTO)
        return cpus_are_ours(cf) && cf->heartbeat_ns == 0;
    return cf->spin == SPIN_ON;
}

static struct load *start_threads(struct run *run)
{
    const struct config *cf = run->cf;
    unsigned all = (unsigned)cf->threads + 1;
    struct load *loads = calloc((size_t)cf->threads, sizeof(*loads));

    if (!loads)
        die("loadgen: out of memory");
    pthread_barrier_init(&run->connected, NULL, all);
    pthread_barrier_init(&run->started, NULL, all);
    for (int i = 0; i < cf->threads; i++) {
        int err;

        load_init(&loads[i], run, i);
        err = pthread_create(&loads[i].thread, NULL, load_main, &loads[i]);
        if (err != 0)
            die_status(EXIT_UNMEASURED, "loadgen: pthread_create: %s",
                       strerror(err));
    }
    return loads;
}

int main(int argc, char **argv)
{
    static struct config cf;
    static struct plan plan;
    static struct run run = {.cf = &cf, .plan = &plan};
    static struct result r = {.cf = &cf};
    struct crowd *crowd;
    struct load *loads;
    FILE *json, *hgrm;
    sigset_t stop;
    int status;

    inherit_clean();
    config_parse(&cf, argc, argv);
    json = open_output(cf.json);
    hgrm = open_output(cf.hgrm);
    raise_limits(&cf);
    pin_all(&cf);
    engine_choose(&cf);
    plan_init(&plan, &cf);
    if (cf.pid_count > 0 && server_status_read(&cf, &r.before) < 0)
        die_status(EXIT_UNMEASURED, "loadgen: --server-pid: no such process");
    if (cf.close || cf.connections == 0 || cf.addrs->ai_next)
        probe(&cf);
    run.spins = r.spins = may_spin(&cf);
    crowd = crowd_start(&cf);
    loads = start_threads(&run);
    pthread_barrier_wait(&run.connected);
    check_connected(&cf, loads);
    if (cf.turn_ns > 0) {
        watch_turns(&run, &r, loads);
    } else {
        int64_t start_ns = start_time(&cf);

        stop_signals(&stop);
        pthread_sigmask(SIG_BLOCK, &stop, NULL);
        watch(&run, &r, crowd, &stop, start_ns);
        join(&cf, loads);
    }
    collect(&r, &run, loads);
    crowd_stop(crowd);
    write_results(&r, json, hgrm);
    status = verdict(&r);
    for (int i = 0; i < cf.threads; i++)
        load_free(&loads[i]);
    free(loads);
    free(r.marks);
    plan_free(&plan);
    freeaddrinfo(cf.addrs);
    return status;
}
