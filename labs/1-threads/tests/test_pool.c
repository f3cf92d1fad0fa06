/* test_pool.c - lab 1: the student's pool under stage 1's conversation. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "lab_calls.h"
#include "params.h"
#include "server.h"

#define GET(target, more) "GET " target " HTTP/1.1\r\nHost: a\r\n" more "\r\n"
#define CLOSE "Connection: close\r\n"
#define HALF_UPLOAD                                                            \
    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab"

/* The rest of a request was sent: is it answered, with status 200? */
static bool answered(struct client *c)
{
    static struct reply r;
    bool good;

    client_timeout(c, scaled(8));
    good = client_reply(c, &r) && r.status == 200;
    if (good)
        reply_free(&r);
    return good;
}

static void half_upload(struct client *c, const struct server *s)
{
    client_open(c, s);
    cr_assert(client_text(c, HALF_UPLOAD));
    cr_assert(client_is_heard(c), "an upload was not received");
}

/* ---- step 1: a pool ---- */

Test(step1, reused)
{
    enum { N = 300 };
    struct server s;
    struct client c;
    struct counts counts;

    server_start(&s, "--workers", "4", NULL);
    for (int i = 0; i < N; i++) {
        client_open(&c, &s);
        cr_assert(client_text(&c, GET("/", CLOSE)) && answered(&c),
                  "connection %d was not answered", i + 1);
        client_close(&c);
    }
    counts = lab_counts(&s);
    cr_assert(counts.threads <= 4 + N / 10,
              "%lu threads were started for %d connections, one after "
              "the other, with --workers 4",
              counts.threads, N);
}

/* All ask for a handler that takes a while: all of them are there at once. */
Test(step1, bounded)
{
    enum { N = 40 };
    static struct client c[N];
    struct server s;
    struct counts counts;
    int most = 0;

    server_start(&s, "--workers", "4", NULL);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        cr_assert(client_text(&c[i], GET("/sleep/10000", CLOSE)));
    }
    for (int i = 0; i < N; i++) {
        int threads = server_threads(&s);

        most = threads > most ? threads : most;
        cr_assert(answered(&c[i]), "connection %d was not answered", i + 1);
        client_close(&c[i]);
    }
    counts = lab_counts(&s);
    cr_assert(most <= 1 + 4 + sanitizer_threads(),
              "%d threads with --workers 4", most);
    cr_assert(counts.threads <= 4,
              "%lu threads were started for %d connections at once, with "
              "--workers 4",
              counts.threads, N);
}

/* Last come, first finished: none is served because another one has ended. */
static void finish_uploads(struct client c[], int n)
{
    for (int i = n - 1; i >= 0; i--) {
        cr_assert(client_is_heard(&c[i]) && client_text(&c[i], "cd") &&
                      answered(&c[i]),
                  "connection %d of %d, which are served at the same time, was "
                  "not answered",
                  i + 1, n);
        client_close(&c[i]);
    }
}

Test(step1, at_once)
{
    enum { N = 8 };
    struct client c[N];
    struct server s;

    server_start(&s, "--workers", "8", NULL);
    for (int i = 0; i < N; i++)
        half_upload(&c[i], &s);
    finish_uploads(c, N);
    /* Again, all in one moment, for the threads that are free now. */
    lab_stop(&s);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        cr_assert(client_text(&c[i], HALF_UPLOAD));
    }
    server_signal(&s, SIGCONT);
    finish_uploads(c, N);
    lab_counts(&s);
}

Test(step1, on_demand)
{
    struct server s;
    struct client c;
    int threads;

    server_start(&s, "--workers", "30", NULL);
    client_open(&c, &s);
    for (int i = 0; i < 10; i++)
        cr_assert(client_ping(&c));
    threads = server_threads(&s);
    cr_assert(threads <= 3 + sanitizer_threads(),
              "%d threads for one connection, with --workers 30", threads);
    client_close(&c);
    lab_counts(&s);
}

/* ---- step 2: those that wait ---- */

enum { BUSY = 3, LATE = 6 };

/* BUSY uploads hold all threads; behind them LATE peers wait. */
static void crowd_up(struct server *s, struct client busy[BUSY],
                     struct client late[LATE])
{
    server_start(s, "--workers", "3", NULL);
    for (int i = 0; i < BUSY; i++)
        half_upload(&busy[i], s);
    for (int i = 0; i < LATE; i++) {
        client_open(&late[i], s);
        cr_assert(client_text(&late[i], GET("/", "")));
    }
    pause_s(0.2);
}

static void crowd_ends(struct server *s, struct client busy[BUSY],
                       struct client late[LATE])
{
    for (int i = 0; i < BUSY; i++) {
        cr_assert(client_text(&busy[i], "cd") && answered(&busy[i]),
                  "an upload was ended although it was in flight");
        client_close(&busy[i]);
    }
    for (int i = 0; i < LATE; i++) {
        cr_assert(answered(&late[i]),
                  "peer %d that had to wait was never served", i + 1);
        client_close(&late[i]);
    }
}

Test(step2, accept_waits)
{
    struct client busy[BUSY], late[LATE];
    struct server s;
    int sockets;

    crowd_up(&s, busy, late);
    sockets = server_sockets(&s);
    cr_assert(sockets == 1 + BUSY,
              "%d sockets, with --workers %d all busy and %d peers waiting: "
              "the listener and %d were due",
              sockets, BUSY, LATE, BUSY);
    crowd_ends(&s, busy, late);
    lab_counts(&s);
}

Test(step2, waits_asleep)
{
    struct client busy[BUSY], late[LATE];
    struct server s;
    struct counts counts;

    crowd_up(&s, busy, late);
    for (int i = 0; i < 3; i++) {
        cr_assert(EVENTUALLY(server_sleeps(&s), 5),
                  "the server spins while peers wait for a thread");
        pause_s(0.05);
    }
    crowd_ends(&s, busy, late);
    counts = lab_counts(&s);
    cr_assert(counts.polls + counts.accepts < 200,
              "%lu calls of poll and accept for %d connections", counts.polls,
              BUSY + LATE);
}

Test(step2, crowd)
{
    enum { N = 60, ROUNDS = 5 };
    static struct client c[N];
    struct server s;

    server_start(&s, "--workers", "4", NULL);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++) {
            client_open(&c[i], &s);
            cr_assert(client_text(&c[i], GET("/", CLOSE)));
        }
        for (int i = 0; i < N; i++) {
            cr_assert(answered(&c[i]),
                      "round %d: peer %d of %d was not served: was a wake-up "
                      "lost?",
                      round + 1, i + 1, N);
            client_close(&c[i]);
        }
    }
    lab_counts(&s);
}

/* The first thread can be started, every second one cannot. */
Test(step2, no_thread)
{
    enum { N = 8 };
    static const char plan[] = "pthread_create:EAGAIN:every=2,"
                               "poll:EINTR:every=3,"
                               "accept4:ECONNABORTED:every=4";
    struct client c[N];
    struct server s;
    unsigned hit, seen;

    server_start_as(&s, &(struct launch){.fault = plan}, "--workers", "8",
                    NULL);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        cr_assert(client_text(&c[i], GET("/sleep/50000", CLOSE)));
    }
    for (int i = 0; i < N; i++) {
        cr_assert(answered(&c[i]),
                  "peer %d was not served because pthread_create failed; one "
                  "thread was there",
                  i + 1);
        client_close(&c[i]);
    }
    server_stop_faulty(&s, &hit, &seen);
    cr_assert(hit > 0, "%u of %u calls failed", hit, seen);
}

/* ---- step 3: the end ---- */

Test(step3, the_line_is_served)
{
    struct client busy[BUSY], late[LATE];
    struct server s;

    crowd_up(&s, busy, late);
    server_signal(&s, SIGTERM);
    pause_s(0.2);
    cr_assert(server_alive(&s),
              "ended while %d uploads were in flight, "
              "status %d",
              BUSY, s.status);
    crowd_ends(&s, busy, late);
    cr_assert_eq(server_wait(&s, scaled(15)), 0,
                 "status %d after SIGTERM (-1: it still runs):\n%s", s.status,
                 server_stderr(&s));
}

/* Threads that sleep in recv for peers that have nothing to say. */
Test(step3, idle_peers_go)
{
    enum { N = 6 };
    struct client c[N];
    struct server s;

    server_start(&s, "--drain-timeout", "60", NULL);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        cr_assert(client_ping(&c[i]));
    }
    EVENTUALLY(server_sleeps(&s), 2); /* all of them sleep in recv now */
    server_signal(&s, SIGTERM);
    cr_assert_eq(server_wait(&s, scaled(15)), 0,
                 "still runs after SIGTERM, or another status than 0: %d",
                 s.status);
    for (int i = 0; i < N; i++) {
        cr_assert(client_ends_silently(&c[i]), "connection %d", i);
        client_close(&c[i]);
    }
}

/* ---- step 4: room, and fewer threads ---- */

Test(step4, makes_room)
{
    enum { N = 4 };
    struct client c[N], late;
    struct server s;

    server_start(&s, "--workers", "4", "--idle-timeout", "60", NULL);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        cr_assert(client_ping(&c[i]));
        EVENTUALLY(server_sleeps(&s), 2); /* so it rests before the next one */
    }
    cr_assert(client_ping(&c[0])); /* so number 1 rests longest now */
    EVENTUALLY(server_sleeps(&s), 2);
    client_open(&late, &s);
    client_timeout(&late, scaled(8));
    cr_assert(client_ping(&late),
              "a newcomer is not served, because %d peers "
              "that rest hold all threads",
              N);
    client_timeout(&c[1], scaled(8));
    cr_assert(client_gone(&c[1]), "the peer that rested longest is still "
                                  "there");
    for (int i = 0; i < N; i++) {
        if (i != 1)
            cr_assert(client_ping(&c[i]),
                      "peer %d was ended, too: one newcomer needs one thread",
                      i);
        client_close(&c[i]);
    }
    client_close(&late);
    lab_counts(&s);
}

Test(step4, none_that_asks)
{
    struct client busy[BUSY], rests, late;
    struct server s;

    server_start(&s, "--workers", "4", "--idle-timeout", "60", NULL);
    for (int i = 0; i < BUSY; i++) {
        client_open(&busy[i], &s);
        cr_assert(client_ping(&busy[i])); /* they have rested, too */
    }
    client_open(&rests, &s);
    cr_assert(client_ping(&rests));
    for (int i = 0; i < BUSY; i++) {
        cr_assert(client_text(&busy[i], HALF_UPLOAD));
        cr_assert(client_is_heard(&busy[i]));
    }
    EVENTUALLY(server_sleeps(&s), 2);
    client_open(&late, &s);
    client_timeout(&late, scaled(8));
    cr_assert(client_ping(&late), "a newcomer is not served, although one peer "
                                  "rests");
    for (int i = 0; i < BUSY; i++) {
        cr_assert(client_text(&busy[i], "cd") && answered(&busy[i]),
                  "an upload was ended to make room");
        client_close(&busy[i]);
    }
    client_close(&rests);
    client_close(&late);
    lab_counts(&s);
}

Test(step4, shrinks)
{
    enum { N = 12 };
    const int stay = 1 + POOL_LEAST + sanitizer_threads();
    struct client c[N];
    struct server s;

    server_start(&s, "--workers", "12", NULL);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        cr_assert(client_ping(&c[i]));
    }
    cr_assert(server_threads(&s) >= 1 + N, "%d threads for %d connections",
              server_threads(&s), N);
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
    cr_assert(EVENTUALLY(server_threads(&s) <= stay, 10),
              "%d threads although nothing is to be done; %d and the main "
              "thread were to stay",
              server_threads(&s), POOL_LEAST);
    pause_s(2 * POOL_SPARE_MS / 1000.0);
    cr_assert_eq(server_threads(&s), stay,
                 "%d threads after a while; %d and the main thread were to "
                 "stay",
                 server_threads(&s), POOL_LEAST);
    cr_assert(server_answers(&s));
    lab_counts(&s);
}
