/* test_netpoll.c - lab 7: the student's netpoller under stage 1's server. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "lab_calls.h"
#include "one_loop.h"
#include "server.h"

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
    lab_counts(&s);
}

/* ---- step 2 ---- */

Test(step2, many_at_once)
{
    struct server s;

    server_start(&s, NULL);
    loop_asked(&s, 200, 3, 0);
    cr_assert_eq(server_threads(&s), 1, "%d threads", server_threads(&s));
    lab_counts(&s);
}

Test(step2, a_stalled_reader)
{
    struct server s;
    struct client stalled[8], c;

    server_start(&s, NULL);
    loop_stalled(stalled, 8, &s);
    client_open(&c, &s);
    for (int i = 0; i < 20; i++)
        cr_assert(client_ping(&c), "not answered beside stalled readers");
    for (int i = 0; i < 8; i++)
        client_reset(&stalled[i]);
    client_close(&c);
    lab_counts(&s);
}

Test(step2, bytes)
{
    struct server s;

    server_start(&s, NULL);
    loop_talked(&s, 50, 40000);
    lab_counts(&s);
}

/* ---- step 3 ---- */

Test(step3, timeout)
{
    struct server s;

    server_start(&s, "--idle-timeout", "1", NULL);
    loop_ends_idle(&s);
    lab_counts(&s);
}

Test(step3, numbers_come_back)
{
    struct server s;

    server_start(&s, "--idle-timeout", "1", NULL);
    loop_reuses_numbers(&s);
    lab_counts(&s);
}

Test(step3, sleeps)
{
    enum { N = 50 };
    struct server s;
    struct counts counts;

    server_start(&s, NULL);
    loop_asked(&s, N, 1, 1);
    counts = lab_counts(&s);
    /* A few for each request and each close; one that polls makes thousands. */
    cr_assert(counts.waits < 10 * N, "%lu calls of epoll_wait while all wait",
              counts.waits);
}

/* ---- step 4: counts ---- */

Test(step4, registered_once)
{
    enum { N = 10, REQUESTS = 100 };
    struct server s;
    struct counts counts;

    server_start(&s, NULL);
    loop_asked(&s, N, REQUESTS, 0);
    counts = lab_counts(&s);
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
    counts = lab_counts(&s);
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
    lab_counts(&s);
}
