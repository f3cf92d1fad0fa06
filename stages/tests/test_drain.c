/* test_drain.c - SIGTERM: what is in flight is finished, the rest goes. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

TestSuite(any_drain, .timeout = 300);
TestSuite(http_drain, .timeout = 300);

#define GET(target) "GET " target " HTTP/1.1\r\nHost: test\r\n\r\n"

static void must_exit(struct server *s, double seconds)
{
    int status = server_wait(s, scaled(seconds));

    cr_assert(status == 0, "status %d (-1: still running): %s", status,
              server_stderr(s));
}

/* What /proc/PID/task/TID/status says after KEY; "" if the thread is gone. */
static const char *status_of(const struct server *s, const char *tid,
                             const char *key)
{
    static char line[256];
    char path[300];
    size_t n = strlen(key);
    const char *found = "";
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)s->pid, tid);
    f = fopen(path, "re");
    while (f && !*found && fgets(line, sizeof(line), f))
        if (strncmp(line, key, n) == 0)
            found = line + n + strspn(line + n, "\t ");
    if (f)
        fclose(f);
    return found;
}

/* A mask: bit n - 1 is signal n. */
static uint64_t signals_of(const struct server *s, const char *tid,
                           const char *key)
{
    return strtoull(status_of(s, tid, key), NULL, 16);
}

/* True once the main thread has taken the signal and sleeps again: then its
 * handler has told all threads.  False: it does not come that far, or the
 * server has ended. */
static bool hears(const struct server *s, int signo)
{
    char main[16], state = 'R';

    snprintf(main, sizeof(main), "%d", (int)s->pid);
    return EVENTUALLY(!(signals_of(s, main, "ShdPnd:") >> (signo - 1) & 1),
                      20) &&
           EVENTUALLY((state = *status_of(s, main, "State:")) != 'R' &&
                          state != 'D',
                      20) &&
           state == 'S';
}

/* A thread that runs connections is in the middle of something when the order
 * to end comes; the main thread waits for it. */
Test(any_drain, signals_of_the_end_are_the_main_threads)
{
    uint64_t ends = 1ULL << (SIGTERM - 1) | 1ULL << (SIGINT - 1);
    struct client c;
    struct server s;
    struct dirent *e;
    char path[64];
    DIR *dir;
    int others = 0;

    server_start(&s, NULL);
    client_open(&c, &s);
    cr_assert(client_ping(&c)); /* stage 1 has a thread for it now */
    snprintf(path, sizeof(path), "/proc/%d/task", (int)s.pid);
    dir = opendir(path);
    cr_assert(dir);
    while ((e = readdir(dir)) != NULL) {
        if (*e->d_name == '.')
            continue;
        if (atoi(e->d_name) == s.pid) {
            /* While it creates a thread, the library blocks them. */
            cr_expect(EVENTUALLY(
                (signals_of(&s, e->d_name, "SigBlk:") & ends) == 0, 5));
            continue;
        }
        cr_expect_eq(signals_of(&s, e->d_name, "SigBlk:") & ends, ends,
                     "thread %s", e->d_name);
        others++;
    }
    closedir(dir);
    if (server_stage() == 1)
        cr_expect(others > 0);
    client_close(&c);
    server_stop(&s);
}

/* Idle, or in the middle of a header: closed at once, long before any
 * timeout. */
Test(any_drain, idle_connections_go_at_once)
{
    enum { N = 20 };
    struct client c[N];
    struct server s;

    server_start(&s, "--drain-timeout", "60", NULL);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        if (i % 2)
            cr_assert(client_ping(&c[i]));
        if (i % 4 == 3 && app_is_http())
            client_text(&c[i], "GET / HTTP/1.1\r\nHo");
    }
    cr_assert(server_answers(&s));
    server_signal(&s, SIGTERM);
    must_exit(&s, 10);
    for (int i = 0; i < N; i++) {
        /* TCP_DEFER_ACCEPT: it does not know peers that have said nothing. */
        cr_assert((server_is("2-defer-accept") && i % 2 == 0) ||
                      client_gone(&c[i]),
                  "connection %d", i);
        client_close(&c[i]);
    }
}

/* Several try: it may be one worker after the other that hears the signal. */
static bool served_by_any(const struct server *s)
{
    bool served = false;

    for (int i = 0; i < 8; i++)
        served |= server_answers(s);
    return served;
}

/* No new peer is served, also while an old one still is. */
Test(any_drain, nobody_new_is_served)
{
    struct client stuck, c;
    struct server s;

    server_start(&s, "--drain-timeout", "60", NULL);
    client_open_small(&stuck, &s);
    client_stall(&stuck, &s);
    cr_assert(server_answers(&s));
    server_signal(&s, SIGTERM);
    cr_assert(EVENTUALLY(!served_by_any(&s), 10), "served while draining");
    cr_assert(server_alive(&s), "did not wait for the one in flight");
    for (int i = 0; i < 5; i++) {
        if (!client_try(&c, s.port))
            continue;
        client_timeout(&c, 0.1);
        cr_assert(!client_ping(&c), "served while draining");
        client_close(&c);
    }
    client_close(&stuck);
    must_exit(&s, 10);
}

/* A peer that takes nothing does not hold the server longer than agreed. */
Test(any_drain, stuck_peer_ends_with_the_drain_timeout)
{
    struct client c;
    struct server s;
    double since;

    server_start(&s, "--drain-timeout", "1", NULL);
    client_open_small(&c, &s);
    client_stall(&c, &s);
    cr_assert(server_answers(&s));
    since = now();
    server_signal(&s, SIGTERM);
    must_exit(&s, 6);
    cr_assert(now() - since > 0.9, "gave up after %.3f s", now() - since);
    client_close(&c);
}

/* Signals that come together are one: a supervisor tells the process and its
 * group, a terminal tells both as well.  Later, a second one means "now". */
static bool survives_two(struct server *s, struct client *c, int first,
                         int second, double apart)
{
    server_start(s, "--drain-timeout", "60", NULL);
    client_open_small(c, s);
    client_stall(c, s);
    cr_assert(server_answers(s));
    server_signal(s, first);
    pause_s(apart);
    server_signal(s, second);
    cr_assert(EVENTUALLY(!served_by_any(s), 10), "served while draining");
    pause_s(scaled(0.3));
    return server_alive(s);
}

/* On a busy machine the server may run for the second one only 200 ms after the
 * first: then it is right to leave, and it is tried again. */
static void second_signal(int first, int second, double apart)
{
    struct client c;
    struct server s;
    int status, tries = 3;

    while (!survives_two(&s, &c, first, second, apart)) {
        client_close(&c);
        cr_assert(--tries > 0, "%d and %d, %.3f s later, ended it: %s", first,
                  second, apart, server_stderr(&s));
    }
    server_signal(&s, second);
    status = server_wait(&s, scaled(5));
    cr_assert(status == 128 + second, "status %d (-1: still running)", status);
    client_close(&c);
}

Test(any_drain, signals_that_come_together_are_one)
{
    second_signal(SIGTERM, SIGINT, 0);
    second_signal(SIGINT, SIGTERM, 0);
    second_signal(SIGTERM, SIGTERM, 0.001);
    second_signal(SIGTERM, SIGTERM, 0.05);
}

/* ==== requests in flight ================================================== */

/* 200, the body, FIN; then the server is gone.  True: it said Connection: close
 * as well. */
static bool finishes(struct server *s, struct client *c, const char *body)
{
    struct reply a;
    bool close;

    cr_assert(client_reply(c, &a), "no answer: %s", strerror(c->err));
    cr_assert(a.status == 200, "%s", a.head);
    cr_assert(!body ||
                  (a.len == strlen(body) && memcmp(a.body, body, a.len) == 0),
              "%s", a.body);
    cr_assert(client_ends_silently(c), "not closed");
    close = a.close;
    reply_free(&a);
    client_close(c);
    must_exit(s, 10);
    return close;
}

static void must_finish(struct server *s, struct client *c, const char *body)
{
    cr_assert(finishes(s, c, body), "no Connection: close");
}

/* Requests sent together: n times the first, and the last; how long a handler
 * sleeps for each, in seconds, and the last answer (NULL: whatever it is). */
struct row {
    int n;
    const char *first, *last;
    double first_s, last_s;
    const char *body;
};

/* The signal comes while the handlers sleep.  All are answered, and the last
 * answer says that the connection ends.  True: that was shown.  False: perhaps
 * that answer began before the server heard of the signal.  On a busy machine
 * this is no fault. */
static bool finishes_row(struct server *s, const char *workers, struct row r)
{
    double since, sleeps = r.n * r.first_s + r.last_s;
    struct client c;
    struct reply a;
    char text[2048];
    bool heard;
    int len = 0;

    for (int i = 0; i <= r.n; i++)
        len += snprintf(text + len, sizeof(text) - (size_t)len, "%s",
                        i < r.n ? r.first : r.last);
    server_start(s, "--drain-timeout", "30", workers ? "--workers" : NULL,
                 workers, NULL);
    client_open(&c, s);
    since = now();
    client_text(&c, text);
    cr_assert(client_is_heard(&c));
    server_signal(s, SIGTERM);
    heard = hears(s, SIGTERM) && now() - since < sleeps;
    for (int i = 0; i < r.n; i++) {
        cr_assert(client_reply(&c, &a) && a.status == 200, "answer %d", i);
        reply_free(&a);
    }
    cr_assert(finishes(s, &c, r.body) || !heard, "no Connection: close");
    return heard;
}

/* The same with one handler of a second, then with 2, then with 4. */
static void must_finish_handler(struct server *s, const char *workers)
{
    static const char one[] = GET("/sleep/1000000");
    struct row r = {0, one, one, 1, 1, NULL};
    int tries = 5;

    while (!finishes_row(s, workers, r)) {
        cr_assert(--tries > 0, "the signal came late each time");
        r.n = tries > 2 ? 1 : 3;
    }
}

Test(http_drain, upload_is_finished)
{
    static const char *const heads[] = {
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345",
        ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         "5\r\n12345\r\n"),
    };
    static const char *const rests[] = {"1234567890", "67890",
                                        "5\r\n67890\r\n0\r\n\r\n"};

    for (int i = 0; i < 3; i++) {
        struct client c, idle;
        struct server s;

        server_start(&s, "--drain-timeout", "30", NULL);
        client_open(&idle, &s);
        client_open(&c, &s);
        client_text(&c, heads[i]);
        cr_assert(client_is_heard(&c));
        cr_assert(server_answers(&s)); /* by a loop that went on since */
        server_signal(&s, SIGTERM);
        cr_assert(hears(&s, SIGTERM));
        /* TCP_DEFER_ACCEPT: the server does not know the silent one. */
        cr_assert(server_is("2-defer-accept") || client_ends_silently(&idle),
                  "the idle one stays");
        pause_s(0.2);
        cr_assert(server_alive(&s), "upload %d dropped", i);
        client_text(&c, rests[i]);
        must_finish(&s, &c, "1234567890");
        client_close(&idle);
    }
}

Test(http_drain, download_is_finished)
{
    enum { ALL = 64 << 20, FIRST = 1 << 20 };
    struct client c;
    struct server s;
    struct reply a;

    server_start(&s, "--drain-timeout", "60", NULL);
    client_open(&c, &s);
    client_text(&c, GET("/bytes/67108864"));
    cr_assert(client_head(&c, &a) && a.length == ALL);
    cr_assert(client_pattern(&c, 0, FIRST) == FIRST);
    server_signal(&s, SIGTERM);
    pause_s(0.2);
    cr_assert(client_pattern(&c, FIRST, ALL - FIRST) == ALL - FIRST,
              "cut off: %s", strerror(c.err));
    cr_assert(client_ends_silently(&c));
    client_close(&c);
    must_exit(&s, 10);
}

Test(http_drain, handler_is_finished)
{
    struct server s;

    must_finish_handler(&s, NULL);
}

/* A worker that waits for that has nothing to do: a look every 10 ms. */
Test(http_drain, waiting_for_a_handler_costs_nothing)
{
    unsigned long waits = 0;
    const char *done;
    struct server s;

    must_finish_handler(&s, server_stage() >= 5 ? "2" : NULL);
    done = strstr(server_stderr(&s), ": done: ");
    cr_assert(done, "%s", server_stderr(&s));
    if ((done = strstr(done, " waits ")) != NULL) /* not in stage 1 */
        waits = strtoul(done + strlen(" waits "), NULL, 10);
    cr_assert(waits < 1500, "%lu waits", waits);
}

/* All of them had arrived. */
Test(http_drain, pipeline_is_finished)
{
    struct row r = {3, GET("/sleep/500000"), GET("/bytes/3"), 0.5, 0, "abc"};
    int tries = 5;
    struct server s;

    while (!finishes_row(&s, NULL, r)) {
        cr_assert(--tries > 0, "the signal came late each time");
        r.n += 3;
    }
}

Test(http_drain, many_in_flight)
{
    enum { N = 40 };
    struct client c[N];
    struct server s;
    struct reply a;

    server_start(&s, "--drain-timeout", "30", NULL);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        client_text(&c[i], "POST /echo HTTP/1.1\r\nHost: a\r\n"
                           "Content-Length: 4\r\n\r\nab");
    }
    for (int i = 0; i < N; i++)
        cr_assert(client_is_heard(&c[i]));
    cr_assert(server_answers(&s));
    server_signal(&s, SIGTERM);
    cr_assert(hears(&s, SIGTERM));
    for (int i = N - 1; i >= 0; i--) {
        cr_assert(client_text(&c[i], "cd"));
        cr_assert(client_reply(&c[i], &a) && a.len == 4 && a.close, "upload %d",
                  i);
        reply_free(&a);
        cr_assert(client_ends_silently(&c[i]));
        client_close(&c[i]);
    }
    must_exit(&s, 10);
}

/* An upload that never ends is cut off by the drain timeout, too. */
Test(http_drain, stuck_upload_ends_with_the_drain_timeout)
{
    struct client c;
    struct server s;
    double since;

    server_start(&s, "--drain-timeout", "1", NULL);
    client_open(&c, &s);
    client_text(&c, "POST /echo HTTP/1.1\r\nHost: a\r\n"
                    "Content-Length: 4\r\n\r\nab");
    cr_assert(client_is_heard(&c));
    cr_assert(server_answers(&s));
    since = now();
    server_signal(&s, SIGTERM);
    must_exit(&s, 6);
    cr_assert(now() - since > 0.9, "gave up after %.3f s", now() - since);
    cr_assert(client_gone(&c));
    client_close(&c);
}

/* Also while a handler holds the loop. */
Test(http_drain, second_signal_in_a_handler)
{
    struct client c;
    struct server s;
    int status;

    server_start(&s, "--drain-timeout", "60", NULL);
    client_open(&c, &s);
    for (int i = 0; i < 20; i++)
        client_text(&c, GET("/sleep/1000000"));
    cr_assert(client_is_heard(&c));
    server_signal(&s, SIGTERM);
    pause_s(0.3);              /* two that come together would be one */
    server_signal(&s, SIGINT); /* another one: two of a kind may become one */
    status = server_wait(&s, scaled(4));
    cr_assert(status >= 0, "still running");
    client_close(&c);
}
