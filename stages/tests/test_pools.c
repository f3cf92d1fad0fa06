/* test_pools.c - several workers, and helpers that run their requests. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "talk.h"
#include "tests/temp.h"

TestSuite(any_pools, .timeout = 300);
TestSuite(http_pools, .timeout = 300);

#define GET(target) "GET " target " HTTP/1.1\r\nHost: test\r\n\r\n"

static void must_have_pools(void)
{
    if (server_stage() != 5)
        cr_skip("this stage has no pools");
}

/* Is "NAME N" in the last line of --stats? */
static bool counted(const struct server *s, const char *name, unsigned n)
{
    const char *p = server_stderr(s), *last = NULL;
    size_t len = strlen(name);

    for (; (p = strstr(p, name)) != NULL; p++)
        if (p[-1] == ' ' && p[len] == ' ')
            last = p;
    return last && strtoul(last + len, NULL, 10) >= n;
}

/* ==== what a helper is for ================================================ */

/* While `slow` sleeps in a handler, another one is served.  The machine may
 * be so busy that the second is over: then another try. */
static bool served_beside(const struct server *s, const char *slow)
{
    struct client a, b;
    bool beside = false;

    client_open(&b, s);
    for (int try = 0; try < 5 && !beside; try++) {
        client_open(&a, s);
        cr_assert(client_text(&a, slow));
        if (strstr(slow, "GET / "))
            client_must_be_ok(&a, 0);
        cr_assert(client_ping(&b));
        beside = !client_hears(&a);
        client_must_be_ok(&a, 1);
        client_close(&a);
    }
    client_close(&b);
    return beside;
}

Test(http_pools, a_handler_holds_up_nobody)
{
    struct server s;

    must_have_pools();
    server_start(&s, "--workers", "1", "--pool", "2", NULL);
    cr_assert(served_beside(&s, GET("/sleep/1000000")));
    /* The first answer leaves by itself, and then no bytes are left that would
     * have to be looked at: only the handler is. */
    cr_assert(served_beside(&s, GET("/") GET("/sleep/1000000")),
              "in a pipeline");
    server_stop(&s);
}

/* More requests than the queue has places, behind one that takes long.  All of
 * them go through the pool, in the end. */
Test(http_pools, more_jobs_than_places)
{
    enum { N = 1500 };
    struct client *c = calloc(N, sizeof(*c)), slow;
    struct server s;

    must_have_pools();
    server_start(&s, "--workers", "1", "--pool", "1", "--buffers", "4096",
                 "--stats", "0.05", NULL);
    client_open(&slow, &s);
    cr_assert(client_text(&slow, GET("/sleep/1000000")));
    for (int i = 0; i < N; i++) {
        client_open_small(&c[i], &s);
        cr_assert(client_text(&c[i], GET("/work/10")));
    }
    client_must_be_ok(&slow, -1);
    for (int i = 0; i < N; i++)
        client_must_be_ok(&c[i], i);
    cr_assert(EVENTUALLY(counted(&s, "handed", N + 1), 10), "%s",
              server_stderr(&s));
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
    client_close(&slow);
    free(c);
    server_stop(&s);
}

/* Fewer pieces of memory than requests. */
Test(http_pools, two_thousand_and_one_helper)
{
    enum { N = 2000 };
    struct client *c = calloc(N, sizeof(*c));
    struct server s;

    must_have_pools();
    server_start(&s, "--workers", "1", "--pool", "1", "--buffers", "64", NULL);
    for (int i = 0; i < N; i++) {
        client_open_small(&c[i], &s);
        cr_assert(client_text(&c[i], GET("/work/50")));
    }
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < N; i++)
            client_must_be_ok(&c[i], i);
        for (int i = 0; i < N && turn == 0; i++)
            cr_assert(client_text(&c[i], GET("/work/10")));
    }
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
    free(c);
    server_stop(&s);
}

/* ==== peers that leave ==================================================== */

Test(http_pools, resets_while_a_helper_has_it)
{
    enum { N = 150, ROUNDS = 3 };
    static const char *const says[] = {
        GET("/sleep/2000"), GET("/") GET("/sleep/2000"),
        GET("/sleep/2000") GET("/bytes/100000"), GET("/sleep/2000") "GET"};
    struct client c[N];
    struct server s;
    int fds;

    must_have_pools();
    server_start(&s, "--pool", "2", NULL);
    fds = server_fds(&s);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++) {
            client_open(&c[i], &s);
            cr_assert(client_text(&c[i], says[i % 4]));
        }
        for (int i = 0; i < N; i++)
            (i % 3 ? client_reset : client_close)(&c[i]);
        cr_assert(server_answers(&s));
    }
    cr_assert(EVENTUALLY(server_fds(&s) <= fds, 10), "%d descriptors are left",
              server_fds(&s) - fds);
    server_stop(&s);
}

/* Work in progress is not idleness; a request that dribbles in is, though every
 * byte of it goes to a helper and back. */
Test(http_pools, deadlines_stand_still_and_go_on)
{
    struct client c, slow;
    struct server s;
    double since;

    must_have_pools();
    server_start(&s, "--pool", "1", "--idle-timeout", "0.5", NULL);
    client_open(&c, &s);
    cr_assert(client_text(&c, GET("/sleep/1000000")));
    client_must_be_ok(&c, 0);
    client_close(&c);

    client_open(&slow, &s);
    since = now();
    client_text(&slow, "GET / HTTP/1.1\r\nA: ");
    for (int i = 0; i < 400 && client_text(&slow, "\n"); i++)
        pause_s(0.02);
    cr_assert(client_gone(&slow) && in_time(since, 5), "%.1f s", now() - since);
    client_close(&slow);
    server_stop(&s);
}

/* Of all workers, as /metrics tells. */
static long total(const struct server *s, const char *name)
{
    struct client c;
    struct reply a;
    char key[64];
    long sum = 0;

    client_open(&c, s);
    cr_assert(client_get(&c, "/metrics", &a));
    snprintf(key, sizeof(key), "\nioladder_%s_total{worker=\"", name);
    for (const char *p = a.body; (p = strstr(p, key)) != NULL;)
        sum += strtol(strchr(p += strlen(key), ' '), NULL, 10);
    reply_free(&a);
    client_close(&c);
    return sum;
}

/* Most of them wait for a piece of memory longer than the timeout: that is not
 * idleness, for them and for one more that asks.  And meanwhile the loop sleeps
 * until a piece comes back. */
Test(http_pools, to_wait_for_a_piece_is_not_idle)
{
    enum { N = 48 };
    struct client c[N], other;
    struct server s;
    long before;

    must_have_pools();
    server_start(&s, "--workers", "1", "--pool", "4", "--buffers", "16",
                 "--idle-timeout", "0.5", NULL);
    client_open(&other, &s);
    before = total(&s, "waits");
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        cr_assert(client_text(&c[i], GET("/sleep/100000")));
    }
    cr_assert(client_text(&other, GET("/")));
    client_must_be_ok(&other, -1);
    for (int i = 0; i < N; i++)
        client_must_be_ok(&c[i], i);
    before = total(&s, "waits") - before;
    cr_assert(before < 12 * N, "%ld turns for %d requests", before, N);
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
    client_close(&other);
    server_stop(&s);
}

/* ==== the end ============================================================= */

/* Some with a helper, most in the queue: all of them are answered. */
Test(http_pools, work_in_the_pool_is_finished)
{
    enum { N = 24 };
    struct client c[N], idle;
    struct server s;
    struct reply a;

    must_have_pools();
    server_start(&s, "--workers", "2", "--pool", "1", "--drain-timeout", "60",
                 "--stats", "0.02", NULL);
    client_open(&idle, &s);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        cr_assert(client_text(&c[i], GET("/sleep/50000")));
    }
    cr_assert(EVENTUALLY(counted(&s, "handed", N), 10), "%s",
              server_stderr(&s));
    server_signal(&s, SIGTERM);
    for (int i = 0; i < N; i++) {
        cr_assert(client_reply(&c[i], &a), "no answer to %d: %s", i,
                  strerror(c[i].err));
        cr_assert(a.status == 200);
        reply_free(&a);
        client_close(&c[i]);
    }
    cr_assert(client_ends_silently(&idle));
    client_close(&idle);
    cr_assert(server_wait(&s, scaled(10)) == 0, "%s", server_stderr(&s));
}

/* A hundred seconds of sleep with one helper, and a drain that ends earlier. */
Test(http_pools, drain_timeout_ends_sleeping_helpers)
{
    enum { N = 100 };
    struct client c[N];
    struct server s;

    must_have_pools();
    server_start(&s, "--workers", "1", "--pool", "1", "--drain-timeout", "0.5",
                 "--stats", "0.02", NULL);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        cr_assert(client_text(&c[i], GET("/sleep/1000000")));
    }
    cr_assert(EVENTUALLY(counted(&s, "handed", N), 10), "%s",
              server_stderr(&s));
    server_signal(&s, SIGTERM);
    cr_assert(server_wait(&s, scaled(10)) == 0, "%s", server_stderr(&s));
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
}

/* ==== wake-ups ============================================================ */

/* Everything at once, and completions that do not fit. */
static void must_wake(const struct launch *how, const char *const args[])
{
    enum { N = 80 };
    struct talk t[N];
    struct server s;
    struct rng r = rng_start(51);

    server_launch(&s, how, args);
    for (int i = 0; i < N; i++)
        talk_make(&t[i], &r, 12, 2000);
    cr_assert(talk_all(t, N, &s, 60), "%s %s: stuck: %s", args[1], args[3],
              server_stderr(&s));
    for (int i = 0; i < N; i++) {
        const char *wrong = talk_wrong(&t[i]);

        cr_assert(!wrong, "%s %s: client %d: %s", args[1], args[3], i, wrong);
        talk_free(&t[i]);
    }
    server_stop(&s);
}

#define WAKE(how, ...) must_wake(how, (const char *[]){__VA_ARGS__, NULL})

Test(any_pools, no_wake_up_is_lost)
{
    const struct launch usual = {0};

    must_have_pools();
    WAKE(&usual, "--pool", "1", "--cq", "4");
    WAKE(&usual, "--pool", "1", "--taskrun", "none");
    WAKE(&usual, "--pool", "8", "--workers", "1");
    WAKE(&usual, "--pool", "2", "--buffers", "2");
}

/* Messages that cannot be sent become writes to the eventfd. */
Test(any_pools, interrupted_messages)
{
    struct launch how = {.fault = "ring_enter:EINTR:every=3"};
    struct launch busy = {.fault = "ring_enter:EBUSY:every=2"};

    must_have_pools();
    how.binary = busy.binary = fault_path();
    WAKE(&how, "--pool", "2", "--workers", "2");
    WAKE(&busy, "--pool", "1", "--workers", "2");
}

/* ==== which cpu a thread has ============================================== */

/* How many threads of the server may run on just so many cpus. */
static int threads_on(const struct server *s, int cpus)
{
    char path[64];
    cpu_set_t set;
    int found = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)s->pid);
    dir = opendir(path);
    cr_assert(dir, "%s", path);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (e->d_name[0] != '.' &&
            sched_getaffinity(atoi(e->d_name), sizeof(set), &set) == 0)
            found += CPU_COUNT(&set) == cpus;
    closedir(dir);
    return found;
}

static int lines_with(const char *text, const char *words)
{
    int n = 0;

    while ((text = strstr(text, words)) != NULL) {
        text += strlen(words);
        n++;
    }
    return n;
}

Test(any_pools, threads_sit_where_it_says)
{
    struct server s;
    cpu_set_t set, one;
    int cpu = 0, all, pinned;

    must_have_pools();
    if (server_is("5-shared-ring"))
        cr_skip("all helpers are those of the one ring");
    cr_assert(sched_getaffinity(0, sizeof(set), &set) == 0);
    all = CPU_COUNT(&set);
    while (!CPU_ISSET(cpu, &set))
        cpu++;

    server_start(&s, "--workers", "3", "--pool", "2", "--pin", "on", NULL);
    cr_assert(lines_with(server_stderr(&s), "stage5: worker ") == 3);
    cr_assert(lines_with(server_stderr(&s), ", helpers: 2 cpu ") == 3);
    pinned = threads_on(&s, 1);
    cr_assert(all == 1 || (pinned >= 9 && pinned <= 9 + sanitizer_threads()),
              "%d threads are pinned", pinned);
    cr_assert(server_answers(&s));
    server_stop(&s);

    server_start(&s, "--workers", "3", "--pool", "0", "--pin", "off", NULL);
    cr_assert(lines_with(server_stderr(&s), ": cpu any, ring ") == 3);
    cr_assert(all == 1 || threads_on(&s, 1) == 0);
    server_stop(&s);

    /* As in a container that has one cpu of many. */
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    cr_assert(sched_setaffinity(0, sizeof(one), &one) == 0);
    server_start(&s, "--pool", "1", NULL);
    cr_assert(getenv("STAGE_ARGS") ||
                  lines_with(server_stderr(&s), "stage5: worker ") == 1,
              "%s", server_stderr(&s));
    cr_assert(server_answers(&s));
    server_stop(&s);
    server_start(&s, "--workers", "4", NULL);
    cr_assert(lines_with(server_stderr(&s), "stage5: worker ") == 4);
    cr_assert(server_answers(&s));
    server_stop(&s);
}

/* ==== limits ============================================================== */

/* Less of everything than one would like: it starts, and serves. */
Test(any_pools, few_descriptors)
{
    struct launch few = {.nofile = 44};
    struct server s;

    must_have_pools();
    server_start_as(&s, &few, "--workers", "2", "--pool", "2", NULL);
    cr_assert(client_traffic(&s, 2) == 2);
    server_stop(&s);
    server_start(&s, "--workers", "6", "--max-conns", "2", NULL);
    cr_assert(client_traffic(&s, 2) == 2);
    server_stop(&s);
    cr_assert(server_run(&s, &few, "--port", "0", "--workers", "40", NULL) ==
              1);
    cr_assert(strstr(server_stderr(&s), "40 workers"), "%s", server_stderr(&s));
}

/* Rings count as locked memory: the workers have to share what there is.  It is
 * counted by user, and given back when the kernel likes: so each server has a
 * user of its own, and one that no other program is likely to have. */
static int fresh_user(void)
{
    static int n;

    return 20000 + (int)getpid() % 40000 + n++;
}

static void must_share(const char *binary, long memlock, const char *workers)
{
    struct launch how = {.memlock = memlock, .uid = fresh_user()};
    struct server s;
    int status;

    /* Status 77 is no reason to skip the test: there are rings, and locked
     * memory for some. */
    how.binary = binary;
    status = server_try(&s, &how, "--pool", "1", "--workers", workers, NULL);
    cr_assert(status == 0, "status %d with %ld bytes and %s workers: %s",
              status, memlock, workers, server_stderr(&s));
    cr_assert(lines_with(server_stderr(&s), "stage5: worker ") ==
              atoi(workers));
    cr_assert(client_traffic(&s, 4) == 4);
    server_stop(&s);
}

Test(any_pools, little_may_be_locked)
{
    char copy[TEMP_PATH], command[TEMP_PATH + 1024];
    struct server s;

    must_have_pools();
    if (geteuid() != 0)
        cr_skip("only root has users to spare");
    server_start(&s, NULL); /* is there any io_uring? */
    server_stop(&s);
    cr_assert(temp_dir(copy, "pools") && chmod(copy, 0755) == 0);
    strcat(copy, "/stage5");
    snprintf(command, sizeof(command), "cp '%s' %s", server_path(), copy);
    cr_assert(system(command) == 0);
    must_share(copy, 64 << 10, "2");
    must_share(copy, 8 << 20, "8");
    unlink(copy);
    *strrchr(copy, '/') = '\0';
    rmdir(copy);
}
