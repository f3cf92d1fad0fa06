/* test_uring.c - what only the ring stages have: no ring at all, little locked
 * memory, few buffers, a small completion queue.  Run against the variants of
 * stage 4 they test the other ways to move bytes.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "talk.h"
#include "tests/temp.h"

TestSuite(any_uring, .timeout = 300);
TestSuite(http_uring, .timeout = 300);

static const struct launch usual;

static void need_ring(void)
{
    if (server_stage() != 3 && server_stage() != 4)
        cr_skip("%s: only stages 3 and 4 are one ring", server_path());
}

static void need_arena(void)
{
    if (server_stage() != 4)
        cr_skip("%s: only stage 4 lends buffers", server_path());
}

/* ==== counters ============================================================ */

static unsigned long metric(const struct server *s, const char *name)
{
    char key[96];
    struct client c;
    struct reply a;
    unsigned long n = 0;
    const char *at;

    client_open(&c, s);
    cr_assert(client_get(&c, "/metrics", &a) && a.status == 200, "%s", a.head);
    snprintf(key, sizeof(key), "\nioladder_%s_total{", name);
    at = strstr(a.body, key);
    cr_assert(at, "no %s in /metrics", name);
    at = strstr(at, "} ");
    cr_assert(at);
    n = strtoul(at + 2, NULL, 10);
    reply_free(&a);
    client_close(&c);
    return n;
}

/* What must come back to where it was. */
struct trace {
    int fds, threads;
};

static struct trace trace_of(const struct server *s)
{
    return (struct trace){server_fds(s), server_threads(s)};
}

static void must_return_to(const struct server *s, struct trace t,
                           const char *what)
{
    cr_assert(EVENTUALLY(server_fds(s) <= t.fds, 10),
              "%s: %d descriptors, %d at the start", what, server_fds(s),
              t.fds);
    t.threads += sanitizer_threads();
    cr_assert(EVENTUALLY(server_threads(s) <= t.threads, 10),
              "%s: %d threads, %d at the start", what, server_threads(s),
              t.threads);
}

/* Plays them all; every one must have been right. */
static void must_all(struct talk t[], int n, const struct server *s,
                     const char *what)
{
    bool done = talk_all(t, n, s, 60);

    for (int i = 0; i < n; i++) {
        const char *wrong = talk_wrong(&t[i]);

        cr_assert(!wrong,
                  "%s: client %d of %d: %s (%zu of %zu bytes said, %zu heard), "
                  "seed %lu: %s",
                  what, i, n, wrong, t[i].sent, t[i].n_out, t[i].n_in,
                  (unsigned long)seed_of_run(), server_stderr(s));
        talk_free(&t[i]);
    }
    cr_assert(done, "%s: not done in time", what);
}

/* ==== no ring ============================================================= */

static void must_refuse(struct server *s, int status, const char *how)
{
    const char *said = server_stderr(s);

    cr_assert(status == 77, "%s: status %d: %s", how, status, said);
    cr_assert(strstr(said, "no io_uring"), "no reason: %s", said);
    cr_assert(strstr(said, "use stage 1 or 2"), "no way out: %s", said);
    cr_assert(*server_stdout(s) == '\0', "%s", server_stdout(s));
}

static void denied(int err, const char *name)
{
    struct launch how = {.deny = err};
    struct server s;
    int status;

    need_ring();
    status = server_run(&s, &how, "--port", "0", NULL);
    must_refuse(&s, status, name);
    cr_assert(strstr(server_stderr(&s), name), "%s not named: %s", name,
              server_stderr(&s));
    /* A command line that makes no sense makes none here either. */
    status = server_run(&s, &how, "--port", "none", NULL);
    cr_assert(status == 64, "status %d: %s", status, server_stderr(&s));
    status = server_run(&s, &how, "--taskrun", "later", NULL);
    cr_assert(status == 64, "status %d: %s", status, server_stderr(&s));
}

Test(any_uring, forbidden_by_a_filter)
{
    denied(EPERM, "EPERM");
}

Test(any_uring, unknown_to_the_kernel)
{
    denied(ENOSYS, "ENOSYS");
}

static bool sysctl_set(char value)
{
    int fd = open(RINGS_SYSCTL, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, &value, 1) == 1;

    if (fd >= 0)
        close(fd);
    return ok;
}

static char sysctl_get(void)
{
    int fd = open(RINGS_SYSCTL, O_RDONLY | O_CLOEXEC);
    char value = '?';

    if (fd >= 0 && read(fd, &value, 1) != 1)
        value = '?';
    if (fd >= 0)
        close(fd);
    return value;
}

/* A child that sets the sysctl back when *guard is closed: when this test is
 * done, and also when it dies. */
static pid_t sysctl_guard(int *guard)
{
    int fds[2];
    pid_t pid;
    char byte;

    cr_assert(pipe2(fds, O_CLOEXEC) == 0);
    pid = fork();
    cr_assert(pid >= 0);
    if (pid > 0) {
        close(fds[0]);
        *guard = fds[1];
        return pid;
    }
    setsid(); /* a signal for the test's group is not for the guard */
    close(fds[1]);
    while (read(fds[0], &byte, 1) < 0 && errno == EINTR)
        ;
    _exit(!sysctl_set('0'));
}

/* Value 1 forbids rings to the unprivileged only, so that whatever else runs on
 * this machine as root is left alone. */
Test(any_uring, forbidden_by_the_sysctl)
{
    struct launch how = {.uid = 65534};
    struct server s;
    int status, guard, back, lock;
    pid_t pid;

    need_ring();
    if (getuid() != 0 || sysctl_get() != '0')
        cr_skip("%s is %c, user %d: cannot be tried", RINGS_SYSCTL,
                sysctl_get(), (int)getuid());
    lock = rings_lock(true);
    pid = sysctl_guard(&guard);
    if (!sysctl_set('1')) {
        close(guard);
        waitpid(pid, &back, 0);
        cr_skip("%s cannot be written", RINGS_SYSCTL);
    }
    status = server_run(&s, &how, "--port", "0", NULL);
    close(guard);
    cr_assert(waitpid(pid, &back, 0) == pid && back == 0, "not set back");
    cr_assert(sysctl_get() == '0', "not set back");
    rings_unlock(lock);
    must_refuse(&s, status, "sysctl");
    cr_assert(strstr(server_stderr(&s), "kernel.io_uring_disabled"), "%s",
              server_stderr(&s));
}

static const char *const wrong[][3] = {
    {"--taskrun", "sometimes"}, {"--taskrun", ""},  {"--cq", "1"},
    {"--cq", "65537"},          {"--cq", "many"},   {"--buffers", "0"},
    {"--buffers", "1"},         {"--buffers", "3"}, {"--buffers", "131072"},
};

Test(any_uring, wrong_switches_are_64)
{
    need_ring();
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct server s;
        int status = server_run_argv(&s, &usual, wrong[i]);

        cr_expect(status == 64, "%s %s: status %d", wrong[i][0], wrong[i][1],
                  status);
        cr_expect(strstr(server_stderr(&s), wrong[i][0]), "%s not named: %s",
                  wrong[i][0], server_stderr(&s));
        close(s.out);
        close(s.err);
    }
}

/* ==== little locked memory ================================================ */

/* Two users of its own for each test: what is locked is counted by user. */
static int nobody_else(void)
{
    return getuid() == 0 ? 70000 + 2 * (int)(getpid() % 100000) : 0;
}

static unsigned long registered(const struct server *s, unsigned long *of)
{
    const char *at = strstr(server_stderr(s), "POLL_FIRST ");
    unsigned long n = ~0UL;

    cr_assert(at && sscanf(at, "POLL_FIRST %*[a-z], %lu of %lu pieces fixed",
                           &n, of) == 2,
              "not said how many: %s", server_stderr(s));
    return n;
}

static void with_memlock(long bytes, unsigned long least)
{
    enum { N = 20, PIECE = 16 * 1024 };
    struct launch how = {.memlock = bytes, .uid = nobody_else()};
    struct rng r = rng_start(40);
    struct talk t[N];
    struct server s;

    /* A bad address ends it late: 1 means that it got a ring before. */
    if (bytes > 0 && server_run(&s, &usual, "--port", "0", "--host",
                                "192.0.2.1", NULL) == 1) {
        int status =
            server_run(&s, &how, "--port", "0", "--host", "192.0.2.1", NULL);

        if (status == 77 && !how.uid)
            cr_skip("other servers of this user have locked what may be: %s",
                    server_stderr(&s));
        cr_assert(status == 1, "not with %ld bytes: %s", bytes,
                  server_stderr(&s));
    }
    if (how.uid) /* the first one's memory comes back a little later */
        how.uid++;
    server_start_as(&s, &how, NULL);
    if (server_stage() == 4) {
        unsigned long of = 0, n = registered(&s, &of);
        unsigned long fit = bytes < 0 ? 0 : (unsigned long)bytes / PIECE;

        cr_assert(of == 1024 && n <= fit && (n >= least || !how.uid),
                  "%lu of %lu registered with %ld bytes", n, of, bytes);
    }
    for (int i = 0; i < N; i++)
        talk_make(&t[i], &r, 4, 30000);
    must_all(t, N, &s, "little locked memory");
    server_stop(&s);
}

Test(any_uring, eight_mebibytes_may_be_locked)
{
    need_ring();
    with_memlock(8 << 20, 128);
}

Test(any_uring, little_may_be_locked)
{
    need_ring();
    with_memlock(64 << 10, 0);
}

Test(any_uring, nothing_may_be_locked)
{
    need_ring();
    with_memlock(-1, 0);
}

/* ==== few buffers ========================================================= */

/* Does it take a piece only when bytes come? */
static bool takes_late(void)
{
    return server_stage() == 4 && !server_is("4-recv-plain") &&
           !server_is("4-recv-fixed");
}

Test(any_uring, fifty_clients_two_buffers)
{
    enum { N = 50 };
    struct rng r = rng_start(41);
    struct talk *t = calloc(N, sizeof(*t));
    struct server s;
    struct trace start;
    unsigned long enobufs;
    const char *what = "2 buffers";

    need_arena();
    server_start(&s, "--buffers", "2", NULL);
    start = trace_of(&s);
    for (int i = 0; i < N; i++) {
        talk_make(&t[i], &r, 10, i % 10 == 0 ? 60000 : 3000);
        t[i].small = i % 5 == 1;
        t[i].most_sent = i % 3 == 2 ? 700 : 0;
        t[i].most_read = i % 4 == 3 ? 900 : 0;
        t[i].deaf = i % 7 == 6 ? now() + 0.1 : 0;
    }
    must_all(t, N, &s, what);
    must_return_to(&s, start, what);
    cr_assert(server_rests(&s, 0.02, 1), "%s: works when idle", what);
    cr_assert(server_answers(&s));
    if (app_is_http()) {
        enobufs = metric(&s, "enobufs");
        server_stop(&s);
    } else {
        enobufs = server_stop_counted(&s, "enobufs");
    }
    cr_assert(!takes_late() || enobufs > 0, "%s: none found the ring empty",
              what);
    free(t);
}

/* Stalled readers and half requests hold no piece. */
Test(any_uring, stalled_peers_hold_no_buffer)
{
    enum { STALLED = 200, HALF = 50 };
    struct client *c = calloc(STALLED + HALF, sizeof(*c)), other;
    struct server s;
    double since, longest = 0;

    need_arena();
    server_start(&s, "--buffers", "4", NULL);
    for (int i = 0; i < STALLED + HALF; i++)
        client_open_small(&c[i], &s);
    if (app_is_http())
        for (int i = 0; i < STALLED; i++)
            client_text(&c[i], "GET /bytes/1000000 HTTP/1.1\r\n"
                               "Host: a\r\n\r\n");
    else
        clients_stall(c, STALLED, &s);
    for (int i = STALLED; i < STALLED + HALF; i++)
        client_text(&c[i], "POST /echo HTTP/1.1\r\nHost: a\r\nConte");
    client_open(&other, &s);
    for (int i = 0; i < 50; i++) {
        since = now();
        cr_assert(client_ping(&other), "request %d", i);
        longest = now() - since > longest ? now() - since : longest;
    }
    cr_assert(longest < scaled(5), "%.3f s for an answer", longest);
    cr_assert(server_answers(&s), "no new peer");
    cr_assert(server_rests(&s, 0.2, 0.3), "spins");
    for (int i = 0; i < STALLED + HALF; i++)
        client_close(&c[i]);
    client_close(&other);
    server_stop(&s);
    free(c);
}

/* A piece that is sent without a copy is left alone until the kernel says so:
 * what waits in a socket for a slow reader is still the piece's own bytes. */
Test(any_uring, zero_copy_pieces_are_not_reused_early)
{
    enum { N = 48 };
    struct rng r = rng_start(42);
    struct talk *t = calloc(N, sizeof(*t));
    unsigned long copied;
    struct server s;

    if (!server_is("4-send-zc"))
        cr_skip("%s: only 4-send-zc sends without a copy", server_path());
    server_start(&s, "--buffers", "8", NULL);
    for (int i = 0; i < N; i++) {
        talk_make(&t[i], &r, 6, 40000);
        t[i].small = i % 2;
        t[i].most_read = i % 2 ? 2000 : 0;
        t[i].deaf = i % 4 == 3 ? now() + 0.2 : 0;
    }
    must_all(t, N, &s, "zero copy");
    /* More than there are pieces: each comes back and is sent from again. */
    for (int i = 0; i < 20; i++)
        cr_assert(server_answers(&s));
    copied = server_stop_counted(&s, "zc_copied");
    cr_assert(copied > 8, "%lu copied by loopback", copied);
    free(t);
}

/* ==== a small completion queue ============================================ */

static void overflow(const char *entries, const char *taskrun)
{
    enum { N = 200 };
    struct rng r = rng_start(43);
    struct talk *t = calloc(N, sizeof(*t));
    struct server s;
    struct trace start;
    char what[64];

    snprintf(what, sizeof(what), "--cq %s --taskrun %s", entries, taskrun);
    server_start(&s, "--cq", entries, "--taskrun", taskrun, NULL);
    cr_assert(strstr(server_stderr(&s), "CQ "), "%s", server_stderr(&s));
    start = trace_of(&s);
    for (int i = 0; i < N; i++)
        talk_make(&t[i], &r, 5, 2000);
    must_all(t, N, &s, what);
    must_return_to(&s, start, what);
    cr_assert(server_rests(&s, 0.1, 0.3), "%s: spins", what);
    cr_assert(server_stop_counted(&s, "cq_overflow") > 0,
              "%s: no overflow seen", what);
    free(t);
}

Test(any_uring, completions_overflow)
{
    need_ring();
    overflow("2", "defer");
    overflow("4", "coop");
    overflow("4", "none");
    overflow("8", "defer");
}

/* The SQ is full and the kernel takes nothing: a connection that finds no place
 * waits for one, and none is forgotten.  Completions must come meanwhile, or
 * none looks for a place: so not in the mode that holds them back. */
static void submission_refused(const char *plan)
{
    enum { N = 60 };
    struct launch how = {.binary = fault_path(), .fault = plan};
    struct rng r = rng_start(46);
    struct talk *t = calloc(N, sizeof(*t));
    struct server s;
    struct trace start;
    unsigned hit, seen;

    server_start_as(&s, &how, "--cq", "4", "--taskrun", "none", NULL);
    start = trace_of(&s);
    for (int i = 0; i < N; i++)
        talk_make(&t[i], &r, 5, 2000);
    must_all(t, N, &s, plan);
    must_return_to(&s, start, plan);
    cr_assert(server_rests(&s, 0.1, 0.3), "%s: spins", plan);
    server_stop_faulty(&s, &hit, &seen);
    cr_assert(hit > 10, "%s: hit %u of %u", plan, hit, seen);
    free(t);
}

Test(any_uring, submission_queue_is_full)
{
    need_ring();
    if (server_is("3-min-wait") || server_is("3-registered-wait"))
        cr_skip("it enters the ring by a call that is not replaced");
    submission_refused("ring_enter:EBUSY:every=2");
    submission_refused("ring_enter:EAGAIN:every=3,ring_enter:EBUSY:every=2");
    submission_refused("ring_enter:EINTR:every=3,ring_enter:EBUSY:every=4,"
                       "ring_enter:EAGAIN:every=2");
}

/* ==== hard conversations ================================================= */

/* Segmentation, pipelining, large bodies both ways, slow readers, and the end
 * of what a client says. */
static void hard_talk(const struct server *s, const char *what)
{
    enum { N = 14 };
    struct rng r = rng_start(44);
    struct talk *t = calloc(N, sizeof(*t));

    talk_make_one(&t[0], &r, ITEM_POST, 1 << 20);
    talk_make_one(&t[1], &r, ITEM_CHUNKED, 1 << 20);
    talk_make_one(&t[2], &r, ITEM_BYTES, app_is_http() ? 8 << 20 : 1 << 20);
    t[2].small = true;
    t[2].deaf = now() + 0.1;
    for (int i = 3; i < N; i++) {
        talk_make(&t[i], &r, 12, i % 3 ? 3000 : 60000);
        t[i].most_sent = i % 4 == 1 ? 7 : i % 4 == 2 ? 1000 : 0;
        t[i].most_read = i % 5 == 4 ? 500 : 0;
        t[i].small = i % 5 == 3;
        t[i].deaf = i % 5 == 3 ? now() + 0.1 : 0;
        t[i].half = i % 2 || !app_is_http();
    }
    for (int i = 3; i < N; i++) /* 7 bytes at a time: not for long ones */
        if (t[i].most_sent == 7 && t[i].n_out > 8000)
            t[i].most_sent = 300;
    must_all(t, N, s, what);
    free(t);
}

/* RST with nothing, something, much under way. */
static void resets(const struct server *s, const char *what)
{
    for (int i = 0; i < 12; i++) {
        struct client c;

        client_open_small(&c, s);
        if (i % 4 == 1)
            client_text(&c, "GET / HT");
        else if (i % 4 == 2)
            client_text(&c, "GET /bytes/9000000 HTTP/1.1\r\nHost: a\r\n\r\n"
                            "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        else if (i % 4 == 3)
            client_text(&c, "POST /echo HTTP/1.1\r\nHost: a\r\n"
                            "Content-Length: 100000\r\n\r\nabc");
        if (i % 3 == 0)
            client_fin(&c);
        if (i > 5)
            pause_s(0.01);
        client_reset(&c);
    }
    cr_assert(server_answers(s), "%s: after RST", what);
}

/* One idle, one stalled, one in the middle: the server goes in time, and the
 * one in the middle is finished. */
static void drain(struct server *s, const char *what)
{
    struct client idle, stalled, mid;
    struct reply a = {0};
    double since;

    client_open(&idle, s);
    client_open_small(&stalled, s);
    client_open(&mid, s);
    cr_assert(client_ping(&idle), "%s", what);
    client_stall(&stalled, s);
    if (app_is_http())
        client_text(&mid, "POST /echo HTTP/1.1\r\nHost: a\r\n"
                          "Content-Length: 10\r\n\r\n12345");
    cr_assert(client_is_heard(&mid));
    cr_assert(client_ping(&idle), "%s", what);
    since = now();
    server_signal(s, SIGTERM);
    cr_assert(client_gone(&idle), "%s: idle and still there", what);
    if (app_is_http()) {
        client_text(&mid, "67890");
        cr_assert(client_reply(&mid, &a) && a.status == 200 && a.close &&
                      a.len == 10 && memcmp(a.body, "1234567890", 10) == 0,
                  "%s: not finished: %s", what, a.head);
        reply_free(&a);
    }
    cr_assert(server_wait(s, scaled(6)) == 0, "%s: status %d: %s", what,
              s->status, server_stderr(s));
    cr_assert(now() - since < scaled(5), "%s: %.1f s", what, now() - since);
    client_close(&idle);
    client_close(&stalled);
    client_close(&mid);
    close(s->out);
    close(s->err);
}

#define START(s, ...)                                                          \
    server_start((s), "--drain-timeout", "0.3", __VA_ARGS__, NULL)

static void must_be_chosen(const struct server *s, const char *option,
                           const char *value)
{
    char text[64];

    snprintf(text, sizeof(text), "%s %s", option, value);
    cr_assert(strstr(server_stderr(s), text), "asked for %s, got: %s", text,
              server_stderr(s));
}

static void hard_suite(struct server *s, const char *what)
{
    struct trace start = trace_of(s);

    hard_talk(s, what);
    resets(s, what);
    must_return_to(s, start, what);
    drain(s, what);
}

Test(any_uring, hard_conversations)
{
    static const char *const buffers[] = {"1024", "8", "2"};

    need_arena();
    for (int k = 0; k < 3; k++) {
        struct server s;

        START(&s, "--buffers", buffers[k]);
        hard_suite(&s, buffers[k]);
    }
}

Test(any_uring, every_taskrun)
{
    static const char *const modes[] = {"defer", "coop", "none"};

    need_ring();
    for (int k = 0; k < 3; k++) {
        struct server s;

        START(&s, "--taskrun", modes[k]);
        must_be_chosen(&s, "taskrun", modes[k]);
        hard_suite(&s, modes[k]);
    }
}

/* ==== files, each way ===================================================== */

static void file_make(const char *path, size_t n)
{
    FILE *f = fopen(path, "w");

    cr_assert(f);
    for (size_t i = 0; i < n; i++)
        putc('a' + (int)(i % 26), f);
    cr_assert(fclose(f) == 0);
}

/* The names that a file may be fetched by while 40 clients do, with few pieces:
 * both halves of the arena, and memory of the connection's own. */
Test(http_uring, files_with_few_buffers)
{
    enum { N = 40, SIZE = 300000 };
    char dir[TEMP_DIR], path[TEMP_PATH];

    need_arena();
    cr_assert(temp_dir(dir, "uring") && chmod(dir, 0755) == 0);
    snprintf(path, sizeof(path), "%s/file", dir);
    file_make(path, SIZE);
    for (int k = 0; k < 2; k++) {
        struct client c[N];
        struct server s;

        server_start(&s, "--root", dir, "--buffers", k == 0 ? "2" : "16", NULL);
        for (int i = 0; i < N; i++) {
            client_open_small(&c[i], &s);
            client_text(&c[i], "GET /files/file HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for (int i = 0; i < N; i++) {
            struct reply a;

            cr_assert(client_reply(&c[i], &a) && a.status == 200,
                      "client %d: %s", i, a.head);
            cr_assert(a.len == SIZE && pattern_is(a.body, SIZE, 0),
                      "client %d: wrong bytes", i);
            reply_free(&a);
            client_close(&c[i]);
        }
        server_stop(&s);
    }
    unlink(path);
    rmdir(dir);
}

/* ==== the end of a life =================================================== */

/* SIGTERM while something of every kind is under way. */
static void drain_busy(const char *const args[])
{
    enum { N = 96 };
    static const char *const said[] = {
        "",
        "GET / HTTP/1.1\r\nHo",
        "GET /bytes/60000000 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\nabc",
        "GET /sleep/2000 HTTP/1.1\r\nHost: a\r\n\r\n",
        "BAD\r\n\r\n",
        "GET /files/file HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    struct client *c = calloc(N, sizeof(*c));
    struct server s;
    double since;
    int status;

    server_launch(&s, &usual, args);
    for (int i = 0; i < N; i++) {
        client_open_small(&c[i], &s);
        client_text(&c[i], said[i % 8]);
    }
    cr_assert(server_answers(&s));
    since = now();
    server_signal(&s, SIGTERM);
    status = server_wait(&s, scaled(8));
    cr_assert(status == 0, "status %d: %s", status, server_stderr(&s));
    cr_assert(now() - since < scaled(5), "%.1f s", now() - since);
    for (int i = 0; i < N; i++) {
        cr_assert(client_gone(&c[i]), "client %d", i);
        client_close(&c[i]);
    }
    free(c);
}

Test(any_uring, drain_with_everything_under_way)
{
    char dir[TEMP_DIR], path[TEMP_PATH];

    need_ring();
    cr_assert(temp_dir(dir, "drain") && chmod(dir, 0755) == 0);
    snprintf(path, sizeof(path), "%s/file", dir);
    file_make(path, 4 << 20);
#define DRAIN(...)                                                             \
    drain_busy((const char *[]){"--drain-timeout", "0.5", "--root", dir,       \
                                __VA_ARGS__ __VA_OPT__(, ) NULL})
    DRAIN();
    DRAIN("--taskrun", "none", "--cq", "8");
    if (server_stage() == 4) {
        DRAIN("--buffers", "2");
        DRAIN("--buffers", "8");
    }
    unlink(path);
    rmdir(dir);
}

/* The deadline of 0.2 s and the rest of the request meet: an answer that is
 * right, or none, or the beginning of one. */
static void race_once(const struct server *s, struct rng *r, int *whole,
                      int *late)
{
    enum { N = 150 };
    struct talk *t = calloc(N, sizeof(*t));

    for (int i = 0; i < N; i++) {
        talk_make_one(&t[i], r, ITEM_POST, 2000);
        t[i].pause_at = rng_between(r, 1, t[i].n_out - 1);
        t[i].pause = 0.15 + (double)rng_between(r, 0, 1000) / 10000;
        t[i].start = now() + (double)rng_between(r, 0, 300) / 1000;
    }
    cr_assert(talk_all(t, N, s, 20), "one was not sent away");
    for (int i = 0; i < N; i++) {
        const char *wrong_so_far = talk_wrong_so_far(&t[i]);

        cr_assert(!wrong_so_far, "client %d: %s", i, wrong_so_far);
        *whole += !talk_wrong(&t[i]);
        *late += talk_wrong(&t[i]) != NULL;
        talk_free(&t[i]);
    }
    free(t);
}

/* Until both have been seen: a crowded machine makes all late. */
static void race_the_deadline(const char *const args[])
{
    struct rng r = rng_start(45);
    struct server s;
    struct trace start;
    int whole = 0, late = 0;

    server_launch(&s, &usual, args);
    start = trace_of(&s);
    for (int i = 0; i < 10 && (whole == 0 || late == 0); i++)
        race_once(&s, &r, &whole, &late);
    cr_assert(late > 0, "none was late");
    cr_assert(whole > 0 || server_is_sanitized(), "all were late");
    must_return_to(&s, start, "deadlines");
    server_stop(&s);
}

Test(any_uring, bytes_arrive_at_the_deadline)
{
    need_ring();
    race_the_deadline((const char *[]){"--idle-timeout", "0.2", NULL});
    if (server_stage() == 4)
        race_the_deadline(
            (const char *[]){"--idle-timeout", "0.2", "--buffers", "2", NULL});
}

/* ==== an idle crowd ======================================================= */

static long anonymous_kib(const struct server *s)
{
    char path[64], line[256];
    long kib = -1;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)s->pid);
    f = fopen(path, "r");
    cr_assert(f, "%s", path);
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, "Anonymous:", 10) == 0)
            kib = strtol(line + 10, NULL, 10);
    fclose(f);
    cr_assert(kib >= 0);
    return kib;
}

/* Two thousand that have said something once: no window, no CPU. */
Test(any_uring, idle_crowd_costs_next_to_nothing)
{
    enum { N = 2000 };
    struct client *c = calloc(N, sizeof(*c));
    struct server s;
    struct trace start;
    long before, grown;

    need_ring();
    if (server_is_sanitized())
        cr_skip("shadow memory would be measured");
    server_start(&s, NULL);
    start = trace_of(&s);
    for (int i = 0; i < 1100; i++) /* every piece of the arena is touched */
        cr_assert(server_answers(&s));
    before = anonymous_kib(&s);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        cr_assert(client_ping(&c[i]), "client %d", i);
    }
    grown = 1024 * (anonymous_kib(&s) - before) / N;
    if (takes_late()) /* 256 by design; pages round it up */
        cr_assert(grown <= 320, "%ld bytes a connection", grown);
    cr_assert(server_rests(&s, 0.01, 2), "works for idle peers");
    for (int i = 0; i < N; i += 37)
        cr_assert(client_ping(&c[i]), "client %d, woken", i);
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
    must_return_to(&s, start, "idle crowd");
    free(c);
    server_stop(&s);
}
