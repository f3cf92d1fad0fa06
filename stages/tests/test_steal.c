/* test_steal.c - connections that other workers run (stage 6). */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "client.h"
#include "talk.h"

TestSuite(any_steal, .timeout = 300);
TestSuite(http_steal, .timeout = 300);

#define GET(target) "GET " target " HTTP/1.1\r\nHost: test\r\n\r\n"

static void must_steal(void)
{
    if (server_stage() != 6 || server_is("6-notify-ring"))
        cr_skip("this stage does not steal");
}

static long total(const struct server *s, const char *name)
{
    return server_sample(s, name, -1);
}

/* ==== a worker in a handler =============================================== */

enum { OLD = 24, NEW = 8 };

/* While a slow request of ms milliseconds runs, all that were there before say
 * something, and new ones come.  False: one of them may have waited for it. */
static bool served_beside(const struct server *s, struct client old[], int who,
                          const char *slow, int ms)
{
    struct client fresh[NEW];
    char text[128];
    bool beside;

    snprintf(text, sizeof(text), GET("/%s/%d000"), slow, ms);
    cr_assert(client_text(&old[who], text));
    cr_assert(client_is_heard(&old[who]));
    for (int i = 0; i < OLD; i++)
        cr_assert(i == who || client_text(&old[i], GET("/")));
    clients_open(fresh, NEW, s);
    for (int i = 0; i < NEW; i++)
        cr_assert(client_text(&fresh[i], GET("/")));
    for (int i = 0; i < OLD; i++)
        if (i != who)
            client_must_be_ok(&old[i], i);
    for (int i = 0; i < NEW; i++)
        client_must_be_ok(&fresh[i], OLD + i);
    beside = !client_hears(&old[who]);
    client_must_be_ok(&old[who], who);
    clients_close(fresh, NEW);
    return beside;
}

/* A machine that is busy may need longer for the others than the slow one
 * takes: then another try, with a slower one. */
static void must_hold_up_nobody(const char *place, const char *workers,
                                const char *slow)
{
    struct client old[OLD];
    struct server s;

    server_start(&s, "--workers", workers, "--place", place, NULL);
    clients_open(old, OLD, &s);
    for (int i = 0; i < OLD; i++)
        cr_assert(client_ping(&old[i]));
    for (int who = 0; who < 2; who++) { /* of two workers, if dealt in turn */
        bool beside = false;

        for (int try = 1; try <= 5 && !beside; try++)
            beside = served_beside(&s, old, who, slow, 200 * try);
        cr_assert(beside, "%s workers, place %s: %d held them up by %s",
                  workers, place, who, slow);
    }
    clients_close(old, OLD);
    server_stop(&s);
}

Test(http_steal, a_handler_holds_up_nobody)
{
    must_steal();
    must_hold_up_nobody("hash", "2", "sleep");
    must_hold_up_nobody("rr", "2", "sleep");
    must_hold_up_nobody("one", "2", "sleep");
    must_hold_up_nobody("hash", "8", "sleep");
    must_hold_up_nobody("rr", "8", "sleep");
    must_hold_up_nobody("one", "8", "sleep");
    must_hold_up_nobody("hash", "1:4", "sleep");
}

/* Two that burn a core each, if there are so many; else they share. */
Test(http_steal, nor_does_one_that_computes)
{
    must_steal();
    must_hold_up_nobody("one", "3", "work");
}

/* The reply of a short handler that waits behind a long one: a sibling sends
 * it.  The first handler holds the worker until the others are in its queue.
 * Returns how many replies of 20 came only with the long one's. */
static int held_replies(struct client *hold, struct client *quick,
                        struct client *slow)
{
    int held = 0;

    for (int i = 0; i < 20; i++) {
        cr_assert(client_text(hold, GET("/sleep/2000")));
        cr_assert(client_text(quick, GET("/work/20")));
        cr_assert(client_text(slow, GET("/sleep/100000")));
        client_must_be_ok(quick, i);
        held += client_hears(slow);
        client_must_be_ok(slow, i);
        client_must_be_ok(hold, i);
    }
    return held;
}

Test(http_steal, a_reply_is_not_held_by_the_next_handler)
{
    struct client hold, quick, slow;
    struct server s;
    int held = 20;

    must_steal();
    server_start(&s, "--workers", "2", "--place", "one", NULL);
    client_open(&hold, &s);
    client_open(&quick, &s);
    client_open(&slow, &s);
    /* A machine that stands still for 100 ms holds some, too. */
    for (int try = 0; try < 5 && held > 2; try++)
        held = held_replies(&hold, &quick, &slow);
    cr_assert(held <= 2, "%d of 20 came with the long one", held);
    client_close(&hold);
    client_close(&quick);
    client_close(&slow);
    server_stop(&s);
}

/* The sentinel waits for readiness and does not look for it, nor does a sibling
 * spin on a signal that the stuck worker has not seen. */
static double share_beside_a_handler(bool drain)
{
    struct client idle[8], slow;
    struct server s;
    double since, share;

    server_start(&s, "--workers", "8", NULL);
    clients_open(idle, 8, &s);
    for (int i = 0; i < 8; i++)
        cr_assert(client_ping(&idle[i]));
    client_open(&slow, &s);
    cr_assert(client_text(&slow, GET("/sleep/700000")));
    cr_assert(client_is_heard(&slow));
    if (drain)
        server_signal(&s, SIGTERM);
    pause_s(0.05);
    since = now();
    share = server_cpu(&s);
    pause_s(0.5);
    share = (server_cpu(&s) - share) / (now() - since);
    client_must_be_ok(&slow, 0);
    client_close(&slow);
    clients_close(idle, 8);
    if (drain)
        cr_assert(server_wait(&s, scaled(10)) == 0, "%s", server_stderr(&s));
    else
        server_stop(&s);
    return share;
}

/* In a drain each of the eight looks every 10 ms whether all is over. */
Test(http_steal, one_long_handler_costs_nothing_beside_it)
{
    must_steal();
    for (int drain = 0; drain < 2; drain++) {
        double share = 1, most = scaled(drain ? 0.04 : 0.02);

        for (int try = 0; try < 5 && share > most; try++)
            share = share_beside_a_handler(drain);
        cr_expect(share <= most, "%s: %.1f %% of a core",
                  drain ? "drain" : "sleep", 100 * share);
    }
}

/* ==== what is taken, and where to ========================================= */

/* Handlers that block, all on the connections of one worker. */
static void sleep_together(const struct server *s, int n)
{
    struct client *c = calloc((size_t)n, sizeof(*c));

    clients_open(c, n, s);
    for (int i = 0; i < n; i++)
        cr_assert(client_text(&c[i], GET("/sleep/20000")));
    for (int i = 0; i < n; i++)
        client_must_be_ok(&c[i], i);
    clients_close(c, n);
    free(c);
}

/* One sleeps, then others on the same worker say something. */
static void speak_meanwhile(const struct server *s)
{
    struct client slow, c[4];

    client_open(&slow, s);
    clients_open(c, 4, s);
    for (int i = 0; i < 4; i++)
        cr_assert(client_ping(&c[i]));
    cr_assert(client_text(&slow, GET("/sleep/300000")));
    cr_assert(client_is_heard(&slow));
    pause_s(0.05);
    for (int i = 0; i < 4; i++)
        cr_assert(client_ping(&c[i]));
    client_must_be_ok(&slow, 0);
    clients_close(c, 4);
    client_close(&slow);
}

static void must_take(const char *what, bool queued, bool readiness)
{
    struct server s;
    long helped = 0, stolen = 0, rescued = 0, wakes = 0;
    bool all = false;

    server_start(&s, "--workers", "3", "--place", "one", "--steal", what, NULL);
    /* A worker that is awake needs no waking, and so on: not all at once. */
    for (int try = 0; try < 20 && !all; try++) {
        sleep_together(&s, 40);
        speak_meanwhile(&s);
        stolen = total(&s, "stolen");
        rescued = total(&s, "rescued");
        wakes = total(&s, "wakes");
        helped = server_sample(&s, "works", 1) + server_sample(&s, "works", 2);
        all =
            (!queued || (stolen && wakes && helped)) && (!readiness || rescued);
    }
    cr_assert((stolen > 0) == queued, "%s: %ld stolen", what, stolen);
    cr_assert((rescued > 0) == readiness, "%s: %ld rescued", what, rescued);
    cr_assert((helped > 0) == queued, "%s: siblings ran %ld handlers", what,
              helped);
    cr_assert((wakes > 0) == queued, "%s: %ld wakes", what, wakes);
    cr_assert(server_sample(&s, "accepted", 1) == 0 || readiness,
              "all were placed on worker 0");
    server_stop(&s);
}

Test(http_steal, each_part_can_be_left_out)
{
    must_steal();
    if (server_is("6-global-queue"))
        cr_skip("there is no queue of a sibling");
    must_take("all", true, true);
    must_take("queue", true, false);
    must_take("off", false, false);
}

/* ==== every byte, in order ================================================ */

static void must_be_whole(const char *const args[])
{
    enum { N = 60 };
    struct talk t[N];
    struct server s;
    struct rng r = rng_start(61);
    char all[256] = "";

    for (int i = 0; args[i]; i++)
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s ", args[i]);
    server_launch(&s, &(struct launch){0}, args);
    for (int i = 0; i < N; i++) {
        talk_make(&t[i], &r, 10, i % 5 ? 3000 : 100000);
        t[i].half |= i % 2;
        t[i].small = i % 3 == 0;
        t[i].most_sent = i % 4 == 0 ? 700 : 0;
    }
    cr_assert(talk_all(t, N, &s, 60), "%s: stuck: %s", all, server_stderr(&s));
    for (int i = 0; i < N; i++) {
        const char *wrong = talk_wrong(&t[i]);

        cr_assert(!wrong, "%s: client %d: %s", all, i, wrong);
        talk_free(&t[i]);
    }
    server_stop(&s);
}

#define WHOLE(...) must_be_whole((const char *[]){__VA_ARGS__, NULL})

Test(any_steal, extremes)
{
    must_steal();
    WHOLE("--workers", "56", "--place", "hash");
    WHOLE("--workers", "8", "--place", "rr", "--stuck-us", "1");
    WHOLE("--workers", "2", "--stuck-us", "1000000");
    WHOLE("--workers", "3", "--place", "one");
    WHOLE("--workers", "1", "--steal", "all");
    WHOLE("--workers", "3", "--place", "one", "--cq", "2");
    WHOLE("--workers", "3", "--taskrun", "none", "--pin", "off");
}

/* Peers come while the workers are awake: each of them is heard. */
Test(any_steal, dealt_to_workers_that_are_busy)
{
    enum { N = 16, TURNS = 150 };
    struct client old[N], c[N];
    struct server s;

    must_steal();
    server_start(&s, "--workers", "8", "--place", "rr", NULL);
    clients_open(old, N, &s);
    for (int turn = 0; turn < TURNS; turn++) {
        clients_open(c, N, &s);
        for (int i = 0; i < N; i++) {
            cr_assert(client_ping(&old[i]));
            cr_assert(client_ping(&c[i]), "turn %d: %d is not heard", turn, i);
        }
        clients_close(c, N);
    }
    clients_close(old, N);
    server_stop(&s);
}

/* ==== peers that leave ==================================================== */

/* Slots, descriptors and memory come back, whichever side closed the
 * connection. */
static void must_give_back(const char *place)
{
    enum { N = 12, ROUNDS = 100 };
    static const char *const says[] = {
        GET("/sleep/300"), GET("/") GET("/sleep/1000"),
        GET("/work/100") GET("/bytes/50000"), GET("/sleep/1000") "GET"};
    struct client c[N];
    struct server s;
    long open = 0;
    int fds;

    server_start(&s, "--workers", "4", "--place", place, "--max-conns", "64",
                 NULL);
    fds = server_fds(&s);
    for (int round = 0; round < ROUNDS; round++) {
        clients_open(c, N, &s);
        for (int i = 0; i < N; i++)
            cr_assert(client_text(&c[i], says[(i + round) % 4]));
        client_must_be_ok(&c[round % N], round);
        for (int i = 0; i < N; i++)
            (i % 3 ? client_reset : client_close)(&c[i]);
    }
    cr_assert(EVENTUALLY(server_fds(&s) <= fds, 10), "%s: %d descriptors left",
              place, server_fds(&s) - fds);
    /* Each look is a connection of its own, and the last may not be over. */
    cr_assert(EVENTUALLY(
                  (open = total(&s, "accepted") - total(&s, "closed")) < 3, 10),
              "%s: %ld are open", place, open);
    cr_assert(total(&s, "accepted") >= N * ROUNDS);
    cr_assert(server_rss_kib(&s) < memory_bound(64 << 10), "%ld KiB",
              server_rss_kib(&s));
    server_stop(&s);
}

Test(http_steal, resets_in_handlers)
{
    must_steal();
    must_give_back("hash");
    must_give_back("rr");
    must_give_back("one");
}

/* Work is not idleness.  A request that dribbles in is, and it ends although
 * its home is in one handler after the other. */
Test(http_steal, deadlines_beside_a_stuck_home)
{
    enum { TURNS = 3 };
    struct client busy[3], slow;
    struct server s;
    double since;

    must_steal();
    server_start(&s, "--workers", "2", "--place", "one", "--idle-timeout",
                 "0.5", NULL);
    client_open(&slow, &s);
    clients_open(busy, 3, &s);
    for (int turn = 0; turn < TURNS; turn++)
        for (int i = 0; i < 3; i++)
            cr_assert(client_text(&busy[i], GET("/sleep/700000")));
    since = now();
    client_text(&slow, "GET / HTTP/1.1\r\nA: ");
    for (int i = 0; i < 400 && client_text(&slow, "\n"); i++)
        pause_s(0.02);
    cr_assert(client_gone(&slow) && in_time(since, 8), "%.1f s", now() - since);
    for (int turn = 0; turn < TURNS; turn++)
        for (int i = 0; i < 3; i++)
            client_must_be_ok(&busy[i], i);
    client_close(&slow);
    clients_close(busy, 3);
    server_stop(&s);
}

/* ==== the end ============================================================= */

static void must_finish_all(const char *steal)
{
    enum { N = 60 };
    struct client c[N], idle;
    struct server s;
    struct reply a;

    server_start(&s, "--workers", "4", "--place", "one", "--steal", steal,
                 "--drain-timeout", "60", NULL);
    client_open(&idle, &s);
    clients_open(c, N, &s);
    for (int i = 0; i < N; i++)
        cr_assert(client_text(&c[i], GET("/sleep/20000")));
    for (int i = 0; i < N; i++)
        cr_assert(client_is_heard(&c[i]));
    server_signal(&s, SIGTERM);
    for (int i = 0; i < N; i++) {
        cr_assert(client_reply(&c[i], &a), "steal %s: no answer to %d: %s",
                  steal, i, strerror(c[i].err));
        cr_assert(a.status == 200);
        reply_free(&a);
        client_close(&c[i]);
    }
    cr_assert(client_ends_silently(&idle));
    client_close(&idle);
    cr_assert(server_wait(&s, scaled(10)) == 0, "%s", server_stderr(&s));
}

Test(http_steal, work_is_finished)
{
    must_steal();
    must_finish_all("all");
    must_finish_all("queue");
    must_finish_all("off");
}

/* Every worker is in a handler, and more wait than all could do in time. */
Test(http_steal, drain_timeout_ends_handlers)
{
    enum { N = 100 };
    struct client c[N];
    struct server s;

    must_steal();
    server_start(&s, "--workers", "2", "--drain-timeout", "0.5", NULL);
    clients_open(c, N, &s);
    for (int i = 0; i < N; i++)
        cr_assert(client_text(&c[i], GET("/sleep/1000000")));
    server_signal(&s, SIGTERM);
    cr_assert(server_wait(&s, scaled(15)) == 0, "%s", server_stderr(&s));
    clients_close(c, N);
}
