/* test_whatif_cores.c - the variants of stages 4 to 6 do what they say, by
 * counts.
 */
#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "tests/temp.h"

TestSuite(http_whatif, .timeout = 300);

#define GET(target) "GET " target " HTTP/1.1\r\nHost: test\r\n\r\n"

enum { TRIES = 20 };

static void must_be(const char *variant)
{
    if (!server_is(variant))
        cr_skip("this is about %s", variant);
}

static long total(const struct server *s, const char *name)
{
    return server_sample(s, name, -1);
}

/* ==== stage 4 ============================================================= */

/* Of a process that has touched its memory. */
static long huge_kib(pid_t pid)
{
    char path[64], line[256];
    long kib = 0, n;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
    f = fopen(path, "r");
    cr_assert(f, "%s", path);
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "AnonHugePages: %ld", &n) == 1 ||
            sscanf(line, "Private_Hugetlb: %ld", &n) == 1)
            kib += n;
    fclose(f);
    return kib;
}

/* A fragmented machine may have no huge page: ours is the control. */
static bool kernel_gives_huge_pages(void)
{
    size_t size = 8 << 20;
    char *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool gives;

    cr_assert(mem != MAP_FAILED);
    madvise(mem, size, MADV_HUGEPAGE);
    memset(mem, 1, size);
    gives = huge_kib(getpid()) > 0;
    munmap(mem, size);
    return gives;
}

Test(http_whatif, the_arena_lies_on_huge_pages)
{
    struct server s;

    must_be("4-huge-pages");
    server_start(&s, NULL);
    cr_assert(client_traffic(&s, 4) == 4);
    if (strstr(server_stderr(&s), "huge pages advised") &&
        !kernel_gives_huge_pages())
        cr_skip("no memory in pieces of 2 MiB");
    cr_assert(huge_kib(s.pid) >= 2048, "%s", server_stderr(&s));
    server_stop(&s);
}

Test(http_whatif, files_go_by_sendfile)
{
    enum { SIZE = 600000 };
    char dir[TEMP_DIR], path[TEMP_PATH], *bytes = malloc(SIZE);
    struct client c;
    struct server s;
    FILE *f;

    must_be("4-sendfile");
    cr_assert(temp_dir(dir, "whatif") && chmod(dir, 0755) == 0);
    snprintf(path, sizeof(path), "%s/file", dir);
    f = fopen(path, "w");
    for (int i = 0; i < SIZE; i++)
        bytes[i] = (char)('a' + i % 26);
    cr_assert(f && fwrite(bytes, SIZE, 1, f) == 1 && fclose(f) == 0);
    server_start(&s, "--root", dir, NULL);
    client_open(&c, &s);
    for (int i = 1; i <= 3; i++) {
        struct reply a;

        cr_assert(client_get(&c, "/files/file", &a));
        cr_assert(a.len == SIZE && pattern_is(a.body, a.len, 0));
        reply_free(&a);
        cr_assert(total(&s, "sendfile_bytes") == (long)i * SIZE);
    }
    client_close(&c);
    server_stop(&s);
    free(bytes);
    unlink(path);
    rmdir(dir);
}

/* ==== stage 5 ============================================================= */

/* Runs on the n-th of these cpus from here on. */
static void run_on(const cpu_set_t *all, int n)
{
    cpu_set_t one;
    int cpu = 0;

    for (n++; n > 0; cpu++)
        n -= CPU_ISSET(cpu, all) != 0;
    CPU_ZERO(&one);
    CPU_SET(cpu - 1, &one);
    cr_assert(sched_setaffinity(0, sizeof(one), &one) == 0);
}

/* Over loopback the cpu of the client is the one that receives its packets.
 * An interrupt may move one of them: then another try. */
static void must_get_all(const struct server *s, int worker)
{
    enum { N = 16 };
    struct client c[N];
    bool all = false;

    for (int try = 0; try < TRIES && !all; try++) {
        long mine = server_sample(s, "accepted", worker);
        long other = server_sample(s, "accepted", 1 - worker);

        clients_open(c, N, s);
        for (int i = 0; i < N; i++)
            cr_assert(client_ping(&c[i]));
        clients_close(c, N);
        mine = server_sample(s, "accepted", worker) - mine;
        other = server_sample(s, "accepted", 1 - worker) - other;
        all = other == 0 && mine >= N;
    }
    cr_assert(all, "worker %d did not get the connections of its cpu", worker);
}

Test(http_whatif, connections_follow_the_cpu)
{
    struct server s;
    cpu_set_t all;

    if (!server_is("5-cbpf") && !server_is("5-incoming-cpu"))
        cr_skip("this stage does not steer");
    cr_assert(sched_getaffinity(0, sizeof(all), &all) == 0);
    if (CPU_COUNT(&all) < 2)
        cr_skip("there is one cpu");
    server_start(&s, "--workers", "2", NULL);
    for (int worker = 0; worker < 2; worker++) {
        run_on(&all, worker);
        must_get_all(&s, worker);
    }
    server_stop(&s);
}

/* With a listener each, or one that all of them watch, all of eight workers
 * would be told of each peer: seven events more. */
Test(http_whatif, a_peer_wakes_one_worker)
{
    enum { N = 100 };
    struct client c;
    struct server s;
    long before, after;

    must_be("5-exclusive");
    server_start(&s, "--workers", "8", NULL);
    before = total(&s, "events");
    for (int i = 0; i < N; i++) {
        client_open(&c, &s);
        cr_assert(client_ping(&c));
        client_close(&c);
    }
    after = total(&s, "events");
    /* A peer, a receive, a send, the end: four. */
    cr_assert(after - before >= 3 * N && after - before < 6 * N,
              "%ld events for %d connections", after - before, N);
    server_stop(&s);
}

Test(http_whatif, any_thread_takes_a_completion)
{
    enum { N = 16 };
    struct client c[N];
    struct server s;
    long away = 0;

    must_be("5-shared-ring");
    server_start(&s, "--workers", "2", NULL);
    clients_open(c, N, &s);
    for (int try = 0; try < TRIES && away == 0; try++) {
        for (int i = 0; i < N; i++)
            cr_assert(client_text(&c[i], GET("/work/200")));
        for (int i = 0; i < N; i++)
            client_must_be_ok(&c[i], i);
        away = total(&s, "away");
    }
    cr_assert(away > 0, "each completion came to the thread that submitted");
    clients_close(c, N);
    server_stop(&s);
}

/* ==== stage 6 ============================================================= */

/* All ask while the worker is in the handler of `slow`, and all are answered:
 * so their events come together. */
static void ask_behind_a_sleeper(struct client *slow, struct client c[], int n)
{
    cr_assert(client_text(slow, GET("/sleep/50000")));
    cr_assert(client_is_heard(slow));
    for (int i = 0; i < n; i++)
        cr_assert(client_text(&c[i], GET("/")));
    for (int i = 0; i < n; i++)
        client_must_be_ok(&c[i], i);
    client_must_be_ok(slow, 0);
}

/* Of one worker: all speak while it is in a handler, so it finds them together.
 */
static bool injects(const char *most, bool together)
{
    enum { N = 32 };
    struct client c[N], slow;
    struct server s;
    bool as_said = false;

    server_start(&s, "--workers", "1", "--inject", most, NULL);
    clients_open(c, N, &s);
    client_open(&slow, &s);
    for (int i = 0; i < N; i++)
        cr_assert(client_ping(&c[i]));
    for (int try = 0; try < TRIES && !as_said; try++) {
        long injected = total(&s, "injected"), batches = total(&s, "injects");

        ask_behind_a_sleeper(&slow, c, N);
        injected = total(&s, "injected") - injected;
        batches = total(&s, "injects") - batches;
        /* The two samples have events of their own. */
        cr_assert(injected >= N && (together || injected - batches < 8),
                  "%ld in %ld batches", injected, batches);
        as_said = !together || 3 * batches < injected;
    }
    client_close(&slow);
    clients_close(c, N);
    server_stop(&s);
    return as_said;
}

Test(http_whatif, ready_connections_are_queued_together)
{
    must_be("6-batch-inject");
    cr_assert(injects("1", false));
    cr_assert(injects("256", true));
}

/* How the rounds of one worker were done, by the variant's counters. */
struct rounds {
    long single, ready, free;
};

static struct rounds rounds_of(const struct server *s)
{
    return (struct rounds){total(s, "rounds_single"), total(s, "rounds_ready"),
                           total(s, "rounds_free")};
}

/* Some connections ask one by one, and then all while the worker is in a
 * handler, so that it finds them together. */
static struct rounds few_and_many(const char *ready, const char *free)
{
    enum { N = 32 };
    struct client c[N], slow;
    struct rounds found;
    struct server s;

    server_start(&s, "--workers", "1", "--submit-ready", ready, "--submit-free",
                 free, NULL);
    clients_open(c, N, &s);
    client_open(&slow, &s);
    for (int i = 0; i < N; i++)
        cr_assert(client_ping(&c[i]));
    ask_behind_a_sleeper(&slow, c, N);
    found = rounds_of(&s);
    cr_assert((found.ready > 0 || found.free > 0) == (total(&s, "enters") > 0));
    client_close(&slow);
    clients_close(c, N);
    server_stop(&s);
    return found;
}

Test(http_whatif, two_thresholds_decide_for_the_ring)
{
    struct rounds found;

    must_be("6-submit-hybrid");
    found = few_and_many("1", "0");
    cr_assert(found.ready > 0 && found.single == 0 && found.free == 0);
    found = few_and_many("64", "0"); /* more than there are connections */
    cr_assert(found.single > 0 && found.ready == 0 && found.free == 0);
    found = few_and_many("64", "255"); /* a batch is one connection */
    cr_assert(found.free > 0 && found.single == 0 && found.ready == 0);
    found.ready = 0;
    for (int try = 0; try < TRIES && found.ready == 0; try++)
        found = few_and_many("8", "0");
    cr_assert(found.ready > 0 && found.single > 0 && found.free == 0,
              "%ld by calls, %ld by the ring", found.single, found.ready);
}

Test(http_whatif, thresholds_have_limits)
{
    static const char *const wrong[][2] = {{"--submit-ready", "0"},
                                           {"--submit-ready", "258"},
                                           {"--submit-free", "256"},
                                           {"--submit-free", "-1"}};

    must_be("6-submit-hybrid");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct server s;

        cr_assert_eq(
            server_run(&s, &(struct launch){0}, wrong[i][0], wrong[i][1], NULL),
            64);
        cr_assert(strstr(server_stderr(&s), wrong[i][0]), "%s",
                  server_stderr(&s));
        close(s.out);
        close(s.err);
    }
}

/* The sentinel has a set in any case. */
static int epoll_sets(pid_t pid)
{
    char path[64], link[64];
    int found = 0;

    for (int fd = 0; fd < 256; fd++) {
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
        n = readlink(path, link, sizeof(link) - 1);
        link[n < 0 ? 0 : n] = '\0';
        found += strcmp(link, "anon_inode:[eventpoll]") == 0;
    }
    return found;
}

Test(http_whatif, a_ring_tells_what_is_ready)
{
    enum { N = 40, WORKERS = 3 };
    bool ring = server_is("6-notify-ring");
    struct client c[N];
    struct server s;
    int fds;

    if (!ring && !server_is("stage6"))
        cr_skip("this is about 6-notify-ring");
    server_start(&s, "--workers", "3", "--place", "rr", NULL);
    cr_assert_eq(epoll_sets(s.pid), ring ? 1 : WORKERS + 1);
    fds = server_fds(&s);
    for (int turn = 0; turn < 3; turn++) { /* slots are used again */
        clients_open(c, N, &s);
        for (int i = 0; i < N; i++)
            cr_assert(client_ping(&c[i]), "turn %d, connection %d", turn, i);
        clients_close(c, N);
    }
    cr_assert(EVENTUALLY(server_fds(&s) <= fds, 20));
    cr_assert(total(&s, "events") >= 2 * 3 * N);
    server_stop(&s);
    if (!ring)
        return;
    cr_assert_eq(server_run(&s, &(struct launch){0}, "--steal", "queue", NULL),
                 64);
    cr_assert(strstr(server_stderr(&s), "--steal off"), "%s",
              server_stderr(&s));
    close(s.out);
    close(s.err);
}

static void work_together(const struct server *s, const char *says)
{
    enum { N = 16 };
    struct client c[N];

    clients_open(c, N, s);
    for (int i = 0; i < N; i++)
        cr_assert(client_text(&c[i], says));
    for (int i = 0; i < N; i++)
        client_must_be_ok(&c[i], i);
    clients_close(c, N);
}

Test(http_whatif, any_worker_runs_any_connection)
{
    struct server s;
    long foreign = 0;

    must_be("6-global-queue");
    server_start(&s, "--workers", "3", "--place", "one", NULL);
    for (int try = 0; try < TRIES && foreign == 0; try++) {
        work_together(&s, GET("/sleep/10000"));
        foreign = total(&s, "foreign");
    }
    cr_assert(foreign > 0, "each was run by its home");
    cr_assert(server_sample(&s, "accepted", 1) == 0 || total(&s, "rescued") > 0,
              "all were placed on worker 0");
    server_stop(&s);
}

/* The home of an idle connection is in a handler when its deadline comes. */
Test(http_whatif, a_sibling_sees_a_deadline)
{
    struct client idle, slow;
    struct server s;
    long away = 0;

    must_be("6-timer-heap");
    server_start(&s, "--workers", "2", "--place", "one", "--idle-timeout",
                 "0.5", NULL);
    for (int try = 0; try < TRIES && away == 0; try++) {
        client_open(&idle, &s);
        work_together(&s, GET("/sleep/5000")); /* both workers, then sleep */
        client_open(&slow, &s);
        cr_assert(client_text(&slow, GET("/sleep/1000000")));
        cr_assert(client_gone(&idle));
        client_must_be_ok(&slow, try);
        client_close(&idle);
        client_close(&slow);
        away = total(&s, "expired_away");
    }
    cr_assert(away > 0, "only homes have looked at deadlines");
    server_stop(&s);
}

Test(http_whatif, each_window_is_allocated)
{
    enum { N = 200 };
    struct client c;
    struct server s;
    long mallocs, frees;

    must_be("6-malloc");
    server_start(&s, "--workers", "2", NULL);
    client_open(&c, &s);
    mallocs = total(&s, "mallocs");
    for (int i = 0; i < N; i++)
        cr_assert(client_ping(&c));
    client_close(&c);
    mallocs = total(&s, "mallocs") - mallocs;
    cr_assert(mallocs >= 2 * N, "%ld for %d requests", mallocs, N);
    mallocs = total(&s, "mallocs");
    frees = total(&s, "frees");
    /* That of the asking connection, and what is not counted yet. */
    cr_assert(labs(mallocs - frees) < 16, "%ld got, %ld given back", mallocs,
              frees);
    server_stop(&s);
}
