/* test_netpoll.c - lab 7: the student's netpoller under stage 1's server. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "server.h"
#include "talk.h"

struct counts {
    unsigned long ctls, polls, switches;
    int left;
};

/* Stops the server; what it counted is the last line it says. */
static struct counts stop(struct server *s)
{
    struct counts c = {0};
    const char *text, *line = NULL;

    server_signal(s, SIGTERM);
    cr_assert_eq(server_wait(s, 10), 0, "exit status %d\n%s", s->status,
                 server_stderr(s));
    text = server_stderr(s);
    for (const char *p = text; (p = strstr(p, "counts: ")) != NULL; p++)
        line = p;
    cr_assert(line && sscanf(line,
                             "counts: ctls %lu polls %lu switches %lu "
                             "left %d",
                             &c.ctls, &c.polls, &c.switches, &c.left) == 4,
              "the server said no counts:\n%s", text);
    cr_assert_eq(c.left, 0, "%d tasks did not end", c.left);
    return c;
}

/* ---- step 1 ---- */

Test(step1, one_connection)
{
    struct server s;
    struct client c;

    server_start(&s, NULL);
    client_open(&c, &s);
    for (int i = 0; i < 5; i++)
        cr_assert(client_ping(&c), "request %d was not answered", i + 1);
    client_close(&c);
    client_open(&c, &s);
    cr_assert(client_ping(&c), "the second connection was not answered");
    client_close(&c);
}

Test(step1, stops)
{
    struct server s;

    server_start(&s, NULL);
    cr_assert(server_answers(&s));
    stop(&s);
}

/* ---- step 2 ---- */

Test(step2, many_at_once)
{
    enum { N = 200 };
    static struct client c[N];
    struct server s;

    server_start(&s, NULL);
    for (int i = 0; i < N; i++)
        client_open(&c[i], &s);
    for (int round = 0; round < 3; round++)
        for (int i = N - 1; i >= 0; i--)
            cr_assert(client_ping(&c[i]), "round %d, connection %d", round, i);
    cr_assert_eq(server_threads(&s), 1, "%d threads", server_threads(&s));
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
    stop(&s);
}

Test(step2, a_stalled_reader)
{
    struct server s;
    struct client stalled[8], c;

    server_start(&s, NULL);
    for (int i = 0; i < 8; i++)
        client_open_small(&stalled[i], &s);
    clients_stall(stalled, 8, &s);
    client_open(&c, &s);
    for (int i = 0; i < 20; i++)
        cr_assert(client_ping(&c), "not answered beside stalled readers");
    for (int i = 0; i < 8; i++)
        client_reset(&stalled[i]);
    client_close(&c);
    stop(&s);
}

Test(step2, bytes)
{
    enum { N = 50 };
    static struct talk t[N];
    struct rng r = rng_start(7);
    struct server s;

    server_start(&s, NULL);
    for (int i = 0; i < N; i++)
        talk_make(&t[i], &r, 6, 40000);
    cr_assert(talk_all(t, N, &s, 15), "the conversations did not end");
    for (int i = 0; i < N; i++) {
        const char *wrong = talk_wrong(&t[i]);

        cr_assert(!wrong, "conversation %d: %s", i, wrong);
        talk_free(&t[i]);
    }
    stop(&s);
}

/* ---- step 3 ---- */

Test(step3, timeout)
{
    struct server s;
    struct client silent, busy;
    double last;

    server_start(&s, "--idle-timeout", "1", NULL);
    client_open(&silent, &s);
    client_open(&busy, &s);
    last = now();
    for (int i = 0; i < 6; i++) {
        cr_assert(client_keeps(&busy, &s, &last, 1), "a peer that talks");
        pause_s(0.4);
    }
    client_timeout(&silent, 5);
    cr_assert(client_gone(&silent), "a silent peer is still there");
    client_close(&busy);
    stop(&s);
}

Test(step3, numbers_come_back)
{
    struct server s;
    struct client c;

    server_start(&s, "--idle-timeout", "1", NULL);
    for (int i = 0; i < 300; i++) {
        client_open(&c, &s);
        cr_assert(client_ping(&c), "connection %d", i);
        client_close(&c);
    }
    /* What those left behind would now hit this one. */
    client_open(&c, &s);
    for (int i = 0; i < 8; i++) {
        cr_assert(client_ping(&c), "closed by another connection's timeout");
        pause_s(0.2);
    }
    client_close(&c);
    stop(&s);
}

Test(step3, sleeps)
{
    enum { N = 50 };
    static struct client c[N];
    struct server s;
    struct counts counts;

    server_start(&s, NULL);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        cr_assert(client_ping(&c[i]));
    }
    pause_s(1);
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
    counts = stop(&s);
    /* A few for each request and each close; one that polls makes thousands. */
    cr_assert(counts.polls < 10 * N, "%lu calls of epoll_wait while all wait",
              counts.polls);
}

/* ---- step 4: counts ---- */

Test(step4, registered_once)
{
    enum { N = 10, REQUESTS = 100 };
    struct server s;
    struct client c[N];
    struct counts counts;

    server_start(&s, NULL);
    for (int i = 0; i < N; i++)
        client_open(&c[i], &s);
    for (int k = 0; k < REQUESTS; k++)
        for (int i = 0; i < N; i++)
            cr_assert(client_ping(&c[i]));
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
    counts = stop(&s);
    /* The listener and the signal have theirs; some room for a deregistration
     * of each. */
    cr_assert(counts.ctls <= 2 * (N + 2),
              "%lu calls of epoll_ctl for %d connections and %d requests",
              counts.ctls, N, N * REQUESTS);
    cr_assert(counts.ctls >= N, "%lu calls of epoll_ctl: how does it wait?",
              counts.ctls);
}

Test(step4, no_needless_switch)
{
    enum { REQUESTS = 300 };
    static char text[REQUESTS * 40];
    static struct reply r;
    struct server s;
    struct client c;
    struct counts counts;
    size_t n = 0;

    server_start(&s, NULL);
    client_open(&c, &s);
    for (int i = 0; i < REQUESTS; i++)
        n += (size_t)sprintf(text + n, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    cr_assert(client_send(&c, text, n));
    for (int i = 0; i < REQUESTS; i++) {
        cr_assert(client_reply(&c, &r), "answer %d of a pipeline", i);
        reply_free(&r);
    }
    client_close(&c);
    counts = stop(&s);
    cr_assert(counts.switches <= 60,
              "%lu switches for %d requests that came in one piece",
              counts.switches, REQUESTS);
}

Test(step4, stacks_come_back)
{
    struct server s;
    struct client c;
    long before;

    server_start(&s, NULL);
    for (int i = 0; i < 50; i++)
        cr_assert(server_answers(&s));
    before = server_rss_kib(&s);
    for (int i = 0; i < 5000; i++) {
        client_open(&c, &s);
        cr_assert(client_ping(&c), "connection %d", i);
        client_close(&c);
    }
    /* A sanitizer keeps freed memory back for a while. */
    cr_assert(server_is_sanitized() || server_rss_kib(&s) < before + 2048,
              "5,000 connections left %ld KiB behind",
              server_rss_kib(&s) - before);
    stop(&s);
}
