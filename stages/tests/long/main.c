/* main.c - the long run: starts the server, makes the weather, judges.
 *
 * The run is a row of floods, each followed by an ebb: nobody new comes, who
 * is there comes to an end.  At low water there are no connections, so that
 * what a server still holds can be compared from one to the next: descriptors
 * must be as many as at the start, memory no more than in the first half of
 * the run, no core is used, and /metrics agrees with what the crowds counted.
 * The end is a SIGTERM in the middle of a flood, and another one at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "long.h"
#include "tests/temp.h"

enum { MAX_TIDES = 60 };

static struct run run = {
    .crowds = 3,
    .peers = 60,
    .storm = 150,
    .seed = 20240229,
    .seconds = 60,
    .idle_s = 3,
    .patience_s = 20,
    .work_us = 20000,
};
static struct tally *judge;
static pid_t crowds[MAX_CROWDS];
static pid_t stopped; /* the process that SIGSTOP holds, or 0 */
static char root[TEMP_DIR];
static struct tide {
    double at;
    long kib, peak, threads;
    uint64_t connects;
} tides[MAX_TIDES];
static int n_tides;
static uint64_t drops_before;
static long fds_before;

/* ==== findings ============================================================ */

__attribute__((format(printf, 1, 2))) static void found(const char *fmt, ...)
{
    char text[600];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    COUNT(judge, found, 1);
    fprintf(stderr, "FOUND at %.1f s: %s\n", now() - run.start, text);
}

struct sums {
#define X(name) uint64_t name;
    TALLY(X)
#undef X
};

static struct sums total(void)
{
    struct sums sum = {0};

    for (int i = 0; i <= MAX_CROWDS; i++) {
#define X(name)                                                                \
    sum.name += atomic_load_explicit(&run.shared->tally[i].name,               \
                                     memory_order_relaxed);
        TALLY(X)
#undef X
    }
    return sum;
}

static void set_mood(enum mood mood)
{
    atomic_store(&run.shared->mood, (int)mood);
}

/* ==== files =============================================================== */

static const size_t sizes[N_FILES] = {0, 1, 1000, 16384, 70000, 300000};

static void file_name(char name[TEMP_PATH], int i)
{
    snprintf(name, TEMP_PATH, "%s/%d", root, i);
}

static void make_files(void)
{
    static char body[300000];
    struct rng r = rng_start(run.seed, 1, 1);

    if (!temp_dir(root, "long")) {
        perror(root);
        exit(2);
    }
    for (int i = 0; i < N_FILES; i++) {
        char name[TEMP_PATH];
        FILE *f;

        run.file_size[i] = sizes[i];
        run.file_token[i] = rng_next(&r);
        token_bytes(run.file_token[i], 0, body, sizes[i]);
        file_name(name, i);
        f = fopen(name, "w");
        if (!f || fwrite(body, 1, sizes[i], f) != sizes[i] || fclose(f) != 0) {
            perror(name);
            exit(2);
        }
    }
}

static void remove_files(void)
{
    for (int i = 0; i < N_FILES; i++) {
        char name[TEMP_PATH];

        file_name(name, i);
        unlink(name);
    }
    rmdir(root);
}

/* The server and the crowds end with their parent. */
static void on_signal(int signo)
{
    remove_files();
    _exit(128 + signo);
}

/* ==== crowds ============================================================== */

static void start_crowds(void)
{
    pid_t owner = getpid();

    for (int i = 0; i < run.crowds; i++) {
        crowds[i] = fork();
        if (crowds[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() == owner)
                crowd_main(&run, i);
            _exit(0);
        }
        if (crowds[i] < 0) {
            perror("fork");
            exit(2);
        }
    }
}

/* A crowd that is stopped reads nothing and answers nothing, with all of its
 * connections open: half the server's peers stall at the same moment.  Or the
 * server is stopped, perhaps beyond its own deadlines: what has arrived in the
 * meantime was in time.  Returns for how many seconds. */
static double stop_somebody(struct rng *r)
{
    bool server = rng_odds(r, 25);

    stopped =
        server ? run.server : crowds[rng_between(r, 0, (size_t)run.crowds - 1)];
    kill(stopped, SIGSTOP);
    return rng_real(r, 0.02, run.idle_s * (server ? 1.3 : 1.0 / 3));
}

static void continue_it(void)
{
    if (stopped > 0)
        kill(stopped, SIGCONT);
    stopped = 0;
}

static void end_crowds(void)
{
    double since = now();

    continue_it();
    set_mood(OVER);
    for (int i = 0; i < run.crowds; i++) {
        int status;

        while (waitpid(crowds[i], &status, WNOHANG) == 0) {
            if (now() - since > 60)
                kill(crowds[i], SIGKILL);
            usleep(5000);
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            found("crowd %d ended with status %x", i, status);
    }
}

/* ==== the tide ============================================================ */

static bool server_gone(void)
{
    int status = server_status(&run);

    if (status >= 0)
        found("the server ended with status %d", status);
    return status >= 0;
}

static void report(const char *what)
{
    struct sums t = total();

    printf("%6.1f s  %-5s  %" PRIu64 " connections (%" PRIu64 " open), %" PRIu64
           " answers, %" PRIu64 " MiB heard, %ld MiB\n",
           now() - run.start, what, t.connects, t.live, t.answered,
           t.heard >> 20, server_private_kib(&run) / 1024);
    fflush(stdout);
}

/* Floods until a moment; false: there is no use in going on. */
static bool flood(double until, struct rng *r)
{
    double stop_at = now() + rng_real(r, 0.3, 2), say_at = now() + 10;
    struct tide *tide = &tides[n_tides];

    set_mood(FLOOD);
    while (now() < until && total().found == 0) {
        long kib = server_private_kib(&run), threads = server_threads(&run);

        tide->peak = kib > tide->peak ? kib : tide->peak;
        tide->threads = threads > tide->threads ? threads : tide->threads;
        if (now() >= stop_at && stopped == 0) {
            stop_at = now() + stop_somebody(r);
        } else if (now() >= stop_at) {
            continue_it();
            stop_at = now() + rng_real(r, 0.3, 2);
        }
        if (now() >= say_at) {
            report("flood");
            say_at += 10;
        }
        if (server_gone())
            return false;
        usleep(20000);
    }
    continue_it();
    return total().found == 0;
}

/* Waits for cond, as long as patience lasts.  Counted in turns, because a
 * machine that stands still for a minute is nobody's fault. */
#define WAIT(cond)                                                             \
    __extension__({                                                            \
        for (int i_ = 0; !(cond) && i_ < run.patience_s * 100; i_++)           \
            usleep(10000);                                                     \
        (cond);                                                                \
    })

/* Counters of the server beside those of the crowds.  Connections that were
 * broken off leave it open how many of their requests were still heard. */
static const char *disagreement(const char *text)
{
    static char why[200];
    struct sums t = total();
    struct {
        const char *name;
        uint64_t low, high;
    } rows[] = {
        {"accepted", t.connects, t.connects},
        {"closed", t.connects - 1, t.connects - 1}, /* one asks */
        {"requests", t.answered, t.asked},
        {"works", t.works_done, t.works_asked},
        {"bytes_in", t.said_whole, t.said},
        {"timeouts", t.timed_out, t.timed_out + t.late + t.cut},
    };
    uint64_t errors =
                 metric(text, "client_errors") + metric(text, "server_errors"),
             dropped = listen_drops() - drops_before;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t is = metric(text, rows[i].name);

        if (i < 2)
            rows[i].low -= dropped < rows[i].low ? dropped : rows[i].low;
        if (is < rows[i].low || is > rows[i].high) {
            snprintf(why, sizeof why,
                     "/metrics says %s %" PRIu64 ", which should be %" PRIu64
                     " to %" PRIu64,
                     rows[i].name, is, rows[i].low, rows[i].high);
            return why;
        }
    }
    if (errors < t.errors_got || errors > t.errors_asked)
        return "/metrics: errors that nobody asked for, or too few";
    /* The answer with these figures is counted when it has left. */
    if (metric(text, "bytes_out") + (1 << 16) < t.heard)
        return "/metrics: bytes_out is less than was heard";
    return NULL;
}

static void check_metrics(void)
{
    const char *no = "", *text;

    for (int i = 0; no && i < 100; i++) {
        if (i > 0)
            usleep(50000);
        text = probe(&run, judge, "/metrics");
        no = text ? disagreement(text) : "no answer to /metrics";
    }
    if (no)
        found("%s", no);
}

static void check_idle(void)
{
    double cpu = server_cpu(&run), at = now(), used;

    usleep(400000);
    used = (server_cpu(&run) - cpu) / (now() - at);
    if (used > 0.10)
        found("%.0f %% of a core in use without a connection", 100 * used);
}

/* One visitor after the other.  In a flood the next event makes good for a
 * wake-up that was lost; here nothing else happens, and it is missed.  And an
 * allocator gives back what is free when more of its kind is freed: the lowest
 * reading counts. */
static long low_water(void)
{
    static const char *const targets[] = {"/", "/work/20", "/sleep/20"};
    long low = server_private_kib(&run);

    for (int i = 0; i < 12 && total().found == 0; i++) {
        long kib;

        for (int k = 0; k < 30; k++)
            if (!probe(&run, judge, targets[k % 3])) {
                found("no answer to a lone GET %s", targets[k % 3]);
                break;
            }
        usleep(50000);
        kib = server_private_kib(&run);
        low = kib < low ? kib : low;
    }
    return low;
}

/* False: there is no use in going on. */
static bool ebb(bool calm)
{
    struct tide *tide = &tides[n_tides];

    set_mood(calm ? CALM : EBB);
    if (!WAIT(total().live == 0 || total().found > 0))
        found("%" PRIu64 " connections do not end", total().live);
    if (server_gone() || total().found > 0)
        return false;
    if (!WAIT(server_fds(&run) <= fds_before))
        found("%ld descriptors without a connection, %ld at the start",
              server_fds(&run), fds_before);
    if (calm && total().timed_out == 0 && total().connects > 1000 && !run.only)
        found("nobody was closed at a deadline");
    if (!run.echo && total().found == 0)
        check_metrics();
    if (total().found == 0)
        check_idle();
    tide->at = now() - run.start;
    tide->kib = low_water();
    tide->connects = total().connects;
    n_tides++;
    report(calm ? "calm" : "ebb");
    return !server_gone() && total().found == 0;
}

/* ==== the verdict ========================================================= */

/* The highest low water of a half.  What may grow by right is bounded: the
 * quarantine of all, each thread's own and its cache of free blocks, and some
 * 280 bytes that ASan keeps of every thread that there ever was, which in stage
 * 1 is one a connection. */
static void judge_memory(void)
{
    int half = n_tides / 2;
    long first = 0, second = 0, peak = 0, threads = 0, bound;
    uint64_t conns;

    if (n_tides < 4 || total().found > 0)
        return;
    for (int i = 1; i < n_tides; i++) {
        long *high = i <= half ? &first : &second;

        *high = tides[i].kib > *high ? tides[i].kib : *high;
        peak = tides[i].peak > peak ? tides[i].peak : peak;
        threads = tides[i].threads > threads ? tides[i].threads : threads;
    }
    conns = tides[n_tides - 1].connects - tides[half].connects;
    bound = 2048 + 128 * threads + (long)(conns / 4);
    printf("memory at low water: at most %ld KiB in the first half, %ld KiB in "
           "the second (%+ld, bound %ld), %" PRIu64 " connections later; "
           "%ld KiB at most\n",
           first, second, second - first, bound, conns, peak);
    /* In a short run the first half is still the warming up. */
    if (second - first > bound && n_tides > 4)
        found("memory grows: %ld KiB, then %ld KiB", first, second);
}

static void judge_words(void)
{
    static const char *const bad[] = {"Sanitizer", "runtime error:", "CHECK("};
    const char *text = server_stderr(&run);

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (strstr(text, bad[i])) {
            found("'%s' on the server's stderr", bad[i]);
            break;
        }
    if (total().found > 0)
        fprintf(stderr, "---- the server's stderr ----\n%s----\n", text);
}

/* The fewest that are open when nobody is there, as the last probe may still be
 * on its way out. */
static void count_descriptors(void)
{
    fds_before = server_fds(&run);
    for (int i = 0; i < 20; i++) {
        long n = server_fds(&run);

        fds_before = n < fds_before ? n : fds_before;
        usleep(25000);
    }
}

/* SIGTERM in the middle of a flood; and again, as a supervisor does that tells
 * the process and its group: that is one request to end. */
static void end_server(void)
{
    struct rng r = rng_start(run.seed, 3, 3);
    double since = now();
    int status;

    if (server_status(&run) >= 0)
        return;
    set_mood(DRAIN);
    kill(run.server, SIGTERM);
    usleep((useconds_t)rng_between(&r, 0, 50000));
    if (server_status(&run) < 0)
        kill(run.server, rng_odds(&r, 50) ? SIGTERM : SIGINT);
    WAIT((status = server_status(&run)) >= 0);
    if (status < 0) {
        found("still running %.0f s after SIGTERM", now() - since);
        kill(run.server, SIGKILL);
        while (server_status(&run) < 0)
            usleep(5000);
    } else if (status != 0) {
        found("status %d after SIGTERM", status);
    } else {
        printf("%6.1f s  ended with 0, %.2f s after SIGTERM\n",
               now() - run.start, now() - since);
    }
}

/* ==== main ================================================================ */

static void tides_turn(void)
{
    struct rng r = rng_start(run.seed, 2, 2);
    int n = (int)(run.seconds / 10);

    n = n < 4 ? 4 : n > MAX_TIDES - 2 ? MAX_TIDES - 2 : n;
    for (int i = 0; i < n; i++) {
        double until = now() + run.seconds / n;

        if (!flood(until, &r) || !ebb(i % 3 == 1))
            return;
    }
    flood(now() + 1, &r);
}

static int verdict(void)
{
    struct sums t = total();

    printf("%" PRIu64 " connections: %" PRIu64 " as planned, %" PRIu64
           " broken off, %" PRIu64 " closed at their deadline, %" PRIu64
           " spared, %" PRIu64 " excused; %" PRIu64 " answers of %" PRIu64
           " asked for, %" PRIu64 " MiB said, %" PRIu64 " MiB heard\n",
           t.connects, t.ended, t.cut, t.timed_out, t.spared, t.late,
           t.answered, t.asked, t.said >> 20, t.heard >> 20);
    printf(t.found ? "FAILED: %" PRIu64 " findings, seed %" PRIu64 "\n"
                   : "passed: %" PRIu64 " findings, seed %" PRIu64 "\n",
           t.found, run.seed);
    return t.found ? 1 : 0;
}

_Noreturn static void usage(int status)
{
    fprintf(status ? stderr : stdout,
            "Usage: long [OPTION...] SERVER [ITS-OPTION...]\n"
            "Mixed faults against one server, every byte of every answer "
            "checked.\n\n"
            "  --app=http|echo   the protocol (http)\n"
            "  --seconds=S       of flood (60)\n"
            "  --seed=N          of every peer's plan (20240229)\n"
            "  --crowds=N        processes that play peers (3)\n"
            "  --peers=N         that each plays at a time (60)\n"
            "  --storm=N         at most so many more at once (150)\n"
            "  --idle=S          the server's --idle-timeout (3)\n"
            "  --patience=S      nothing owed may take longer (20)\n"
            "  --work=US         the longest handler (20000)\n"
            "  --only=NAME,...   only peers of these manners\n");
    exit(status);
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"app", 1, NULL, 'a'},   {"seconds", 1, NULL, 't'},
        {"seed", 1, NULL, 's'},  {"crowds", 1, NULL, 'c'},
        {"peers", 1, NULL, 'p'}, {"storm", 1, NULL, 'm'},
        {"idle", 1, NULL, 'i'},  {"patience", 1, NULL, 'w'},
        {"only", 1, NULL, 'o'},  {"work", 1, NULL, 'u'},
        {"help", 0, NULL, '?'},  {NULL, 0, NULL, 0},
    };

    for (int c; (c = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
        switch (c) {
        case 'a':
            run.echo = strcmp(optarg, "echo") == 0;
            break;
        case 't':
            run.seconds = strtod(optarg, NULL);
            break;
        case 's':
            run.seed = strtoull(optarg, NULL, 0);
            break;
        case 'c':
            run.crowds = atoi(optarg);
            break;
        case 'p':
            run.peers = atoi(optarg);
            break;
        case 'm':
            run.storm = atoi(optarg);
            break;
        case 'i':
            run.idle_s = strtod(optarg, NULL);
            break;
        case 'w':
            run.patience_s = strtod(optarg, NULL);
            break;
        case 'u':
            run.work_us = atoi(optarg);
            break;
        case 'o':
            run.only = optarg;
            break;
        default:
            usage(optopt ? 64 : 0);
        }
    }
    if (optind == argc || run.crowds < 1 || run.crowds > MAX_CROWDS ||
        run.peers < 1 || run.storm < 0 || run.peers + run.storm > MAX_PEERS ||
        run.seconds <= 0 || run.idle_s < 1 || run.patience_s <= 0 ||
        run.work_us < 0 || run.work_us > 1000000)
        usage(64);
}

/* Freed memory comes back soon, so that a leak stands out. */
static void quiet_allocator(void)
{
    char text[1024];
    const char *given = getenv("ASAN_OPTIONS");

    snprintf(text, sizeof text,
             "quarantine_size_mb=2:thread_local_quarantine_size_kb=64:"
             "allocator_release_to_os_interval_ms=500:%s",
             given ? given : "");
    setenv("ASAN_OPTIONS", text, 1);
}

int main(int argc, char **argv)
{
    char *args[64] = {NULL}, idle[40];
    int n = 0, status;

    parse(argc, argv);
    run.shared = mmap(NULL, sizeof *run.shared, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (run.shared == MAP_FAILED)
        return 2;
    judge = &run.shared->tally[MAX_CROWDS];
    make_files();
    atexit(remove_files);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    quiet_allocator();
    snprintf(idle, sizeof idle, "--idle-timeout=%g", run.idle_s);
    args[n++] = argv[optind++];
    args[n++] = "--port=0";
    args[n++] = run.echo ? "--app=echo" : "--app=http";
    args[n++] = idle;
    args[n++] = "--drain-timeout=10";
    args[n++] = "--root";
    args[n++] = root;
    while (optind < argc && n < 63)
        args[n++] = argv[optind++];
    status = server_start(&run, args);
    if (status) {
        fprintf(stderr, "long: no server, status %d: %s\n", status,
                server_stderr(&run));
        return status == 77 ? 77 : 1;
    }
    run.start = now();
    drops_before = listen_drops();
    for (int i = 0; i < 20; i++)
        probe(&run, judge, "/");
    count_descriptors();
    start_crowds();
    tides_turn();
    end_server();
    end_crowds();
    judge_memory();
    judge_words();
    return verdict();
}
