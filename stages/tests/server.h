/* server.h - the server under test: start it, watch it, stop it.
 *
 * The environment names it: SERVER (path of a stage's binary) and APP (http or
 * echo).  A variant is tested in the same way: SERVER=build/variants/4-send-zc.
 * STAGE_ARGS holds switches for every start: STAGE_ARGS='--taskrun none'.
 * TIME_SCALE multiplies every waiting time (which is 5 times as long for the
 * slow builds with sanitizers anyway); SEED replaces the fixed seed of the
 * random tests.
 *
 * A server is started through this very runner ("@launch"), which becomes the
 * server by exec after setting limits, closing what it inherited above 2 and
 * asking the kernel to kill it when the test that owns it dies: a server that
 * outlived its test would hold the runner's pipes open and hang the whole run.
 */
#ifndef TEST_SERVER_H
#define TEST_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct server {
    pid_t pid; /* 0: not running */
    int port;
    int out;         /* its stdout: the reading end of a pipe */
    int err;         /* its stderr: a file without a name */
    int status;      /* once it has ended: exit code, or 128 + signal */
    char ready[512]; /* the ready line, newline included */
};

/* How to start it; zero means as usual. */
struct launch {
    const char *binary;       /* instead of SERVER */
    const char *const *under; /* a command to run it under, path first */
    const char *fault;        /* schedule for fault_wrap.c */
    int nofile;               /* RLIMIT_NOFILE, soft and hard */
    long memlock;             /* RLIMIT_MEMLOCK in bytes; -1: none at all */
    int uid;                  /* run as this user */
    int deny;                 /* errno that io_uring_setup shall fail with */
};

/* Starts `SERVER --port 0 --app APP ARG...` (ARGs end with NULL) and waits for
 * the ready line.  Status 77 skips the calling test with the server's reason;
 * anything else that is not a ready line fails it. */
#define server_start(s, ...)                                                   \
    server_launch((s), &(struct launch){0}, (const char *[]){__VA_ARGS__})
#define server_start_as(s, how, ...)                                           \
    server_launch((s), (how), (const char *[]){__VA_ARGS__})
void server_launch(struct server *s, const struct launch *how,
                   const char *const args[]);

/* The same, but 0 when the ready line came, and otherwise the exit status (-1:
 * it still runs and has said nothing): for starts that may be refused. */
#define server_try(s, how, ...)                                                \
    server_try_argv((s), (how), (const char *[]){__VA_ARGS__})
int server_try_argv(struct server *s, const struct launch *how,
                    const char *const args[]);

/* SIGTERM, exit status 0, nothing but the ready line on stdout: or the test
 * fails and shows the server's stderr. */
void server_stop(struct server *s);

/* The same for a server with a fault schedule, which says at its end how many
 * calls its rules have seen and how many they have hit. */
void server_stop_faulty(struct server *s, unsigned *hit, unsigned *seen);

/* SIGTERM, exit status 0; what the summary at the end says of a counter (zeros
 * are left out there). */
unsigned long server_stop_counted(struct server *s, const char *name);

void server_signal(const struct server *s, int sig);

/* The exit status, or -1 when it still runs after that long (unscaled). */
int server_wait(struct server *s, double seconds);
bool server_alive(struct server *s);

/* What it has written to stderr so far, in a static buffer. */
const char *server_stderr(const struct server *s);

/* The rest of stdout, in a static buffer; call when the server has ended. */
const char *server_stdout(const struct server *s);

/* Runs a command line that is expected to end by itself; the whole argument
 * list is given.  Returns its exit status, -1 when it had to be killed;
 * s->out and s->err stay readable. */
#define server_run(s, how, ...)                                                \
    server_run_argv((s), (how), (const char *[]){__VA_ARGS__})
int server_run_argv(struct server *s, const struct launch *how,
                    const char *const args[]);

/* From /proc. */
int server_fds(const struct server *s);
int server_sockets(const struct server *s); /* those of them; no files */
int server_threads(const struct server *s);
long server_rss_kib(const struct server *s);
double server_cpu(const struct server *s); /* seconds, user and system */

bool server_sleeps(const struct server *s); /* all threads, at this moment */

/* True when the server takes less than `share` of a core for `seconds`.  A
 * server that spins never does; one that still has work does so later, so this
 * is tried several times. */
bool server_rests(const struct server *s, double share, double seconds);

/* A lock for code that depends on kernel.io_uring_disabled or sets it. */
#define RINGS_SYSCTL "/proc/sys/kernel/io_uring_disabled"
int rings_lock(bool to_forbid);
void rings_unlock(int lock);

/* The "@launch" half: argv after the marker.  Does not return. */
_Noreturn void launch_main(int argc, char **argv);

/* The environment of this run. */
const char *server_path(void); /* SERVER */
const char *fault_path(void);  /* FAULT: linked with fault_wrap.c; skips the
                                * test when there is no such build */
int server_stage(void); /* of build/stage4, build/variants/4-x: 4; or 0 */
bool server_is(const char *variant); /* that one: "4-send-zc" */

/* For "--place", HOW among the ARGs of a start.  Stage 6 has that switch.
 * Stage 5 has a variant for each HOW but "hash": server_launch() starts that
 * one instead.  False where the server under test is another variant of it. */
bool server_places(const char *how);
bool server_is_sanitized(void); /* its path says so: build/asan, build/tsan */
int sanitizer_threads(void); /* ThreadSanitizer starts one of its own, later */
long memory_bound(long kib); /* shadow memory and quarantine: eight times */
bool app_is_http(void);      /* APP */
double now(void);            /* seconds, CLOCK_MONOTONIC */
double scaled(double seconds);              /* times TIME_SCALE */
void pause_s(double seconds);               /* unscaled */
bool in_time(double since, double seconds); /* scaled */

/* Waits until cond holds; its value when time (scaled) is up. */
#define EVENTUALLY(cond, seconds)                                              \
    __extension__({                                                            \
        double since_ = now();                                                 \
        bool ok_;                                                              \
        while (!(ok_ = (cond)) && in_time(since_, (seconds)))                  \
            pause_s(0.01);                                                     \
        ok_;                                                                   \
    })

/* A small generator of its own (splitmix64), so that a seed means the same
 * bytes everywhere. */
struct rng {
    uint64_t state;
};

struct rng rng_start(uint64_t salt); /* from SEED; tests print seed_of_run() */
uint64_t seed_of_run(void);
uint64_t rng_next(struct rng *r);
size_t rng_between(struct rng *r, size_t low, size_t high); /* inclusive */
void rng_fill(struct rng *r, void *p, size_t n);

#endif
