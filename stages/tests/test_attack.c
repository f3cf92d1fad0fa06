/* test_attack.c - peers that behave badly, many peers, too many peers.
 *
 * No peer can end the process, stall another connection or grow memory without
 * bound; and nothing is left of a connection that is gone.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

TestSuite(any_attack, .timeout = 300);

enum { RSS_LIMIT_KIB = 64 * 1024 };

/* What must come back to where it was. */
struct trace {
    int fds, threads;
};

static struct trace trace_of(const struct server *s)
{
    return (struct trace){server_fds(s), server_threads(s)};
}

static void must_return_to(struct server *s, struct trace t)
{
    cr_assert(EVENTUALLY(server_fds(s) <= t.fds, 20),
              "%d descriptors, %d at the start", server_fds(s), t.fds);
    t.threads += sanitizer_threads();
    cr_assert(EVENTUALLY(server_threads(s) <= t.threads, 20),
              "%d threads, %d at the start", server_threads(s), t.threads);
}

/* ==== RST ================================================================= */

static const struct {
    const char *name, *http, *echo;
    size_t read; /* bytes taken before the RST */
    double wait; /* seconds before it */
} resets[] = {
    {"after connect", "", "", 0, 0},
    {"in the header", "GET / HTT", "x", 0, 0.01},
    {"after the request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "abc", 0, 0},
    {"reply unread", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "abc", 0, 0.02},
    {"reply half read", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "abcdef", 3, 0},
    {"in the body",
     "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab", "ab", 0,
     0.02},
    {"in a chunk",
     "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
     "chunked\r\n\r\n5\r\na",
     "ab", 0, 0.02},
    {"in a download", "GET /bytes/67108864 HTTP/1.1\r\nHost: a\r\n\r\n", "ab",
     1, 0.02},
    {"in a handler", "GET /sleep/100000 HTTP/1.1\r\nHost: a\r\n\r\n", "ab", 0,
     0.02},
    {"in a pipeline",
     "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /bytes/9000000 HTTP/1.1\r\n"
     "Host: a\r\n\r\nGET /sleep/1 HTTP/1.1\r\nHost: a\r\n\r\n",
     "ab", 0, 0.01},
    {"after an error", "BAD\r\n\r\n", "ab", 0, 0.02},
};

Test(any_attack, reset_in_every_state)
{
    struct server s;
    struct trace start;
    char byte;

    server_start(&s, NULL);
    start = trace_of(&s);
    cr_assert(server_answers(&s));
    for (size_t i = 0; i < 2 * sizeof(resets) / sizeof(resets[0]); i++) {
        size_t k = i / 2;
        struct client c;

        client_open(&c, &s);
        client_text(&c, app_is_http() ? resets[k].http : resets[k].echo);
        if (i % 2) /* also after a half-close */
            client_fin(&c);
        for (size_t n = 0; n < resets[k].read; n++)
            cr_assert(client_read(&c, &byte, 1) == 1);
        pause_s(resets[k].wait);
        client_reset(&c);
        cr_assert(server_answers(&s), "after RST %s: %s", resets[k].name,
                  server_stderr(&s));
    }
    must_return_to(&s, start);
    server_stop(&s);
}

Test(any_attack, reset_while_blocked_on_send)
{
    enum { N = 20 };
    struct client c[N];
    struct server s;
    struct trace start;

    server_start(&s, NULL);
    start = trace_of(&s);
    cr_assert(server_answers(&s));
    for (int i = 0; i < N; i++)
        client_open_small(&c[i], &s);
    clients_stall(c, N, &s);
    pause_s(0.05);
    for (int i = 0; i < N; i++)
        client_reset(&c[i]);
    cr_assert(server_answers(&s), "%s", server_stderr(&s));
    must_return_to(&s, start);
    server_stop(&s);
}

/* ==== readers that do not read ============================================ */

Test(any_attack, stalled_readers_starve_nobody)
{
    enum { N = 200 };
    struct client *stalled = calloc(N, sizeof(*stalled)), c;
    struct server s;
    long before;

    server_start(&s, NULL);
    cr_assert(server_answers(&s));
    before = server_rss_kib(&s);
    for (int i = 0; i < N; i++)
        client_open_small(&stalled[i], &s);
    clients_stall(stalled, N, &s);
    client_open(&c, &s);
    for (int i = 0; i < 100; i++)
        cr_assert(client_ping(&c), "request %d of the one that reads", i);
    client_close(&c);
    for (int i = 0; i < 20; i++)
        cr_assert(server_answers(&s), "new connection %d", i);
    cr_assert(server_rss_kib(&s) - before < memory_bound(RSS_LIMIT_KIB),
              "grew by %ld KiB for %d stalled readers",
              server_rss_kib(&s) - before, N);
    for (int i = 0; i < N; i++)
        client_close(&stalled[i]);
    cr_assert(server_answers(&s));
    free(stalled);
    server_stop(&s);
}

/* ==== crowds ============================================================== */

Test(any_attack, five_hundred_at_once)
{
    enum { N = 500 };
    struct client *c = calloc(N, sizeof(*c));
    struct server s;
    struct trace start;

    server_start(&s, NULL);
    start = trace_of(&s);
    cr_assert(server_answers(&s));
    for (int i = 0; i < N; i++)
        client_open(&c[i], &s);
    for (int i = 0; i < N; i++)
        cr_assert(client_ping(&c[i]), "connection %d", i);
    for (int i = N - 1; i >= 0; i--)
        cr_assert(client_ping(&c[i]), "connection %d, second time", i);
    cr_assert(server_fds(&s) >= start.fds + N);
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
    must_return_to(&s, start);
    free(c);
    server_stop(&s);
}

/* Connect and close, with and without a word, by FIN and by RST. */
Test(any_attack, connect_and_close_storm)
{
    struct rng r = rng_start(4);
    struct server s;
    struct trace start;
    int refused = 0;

    server_start(&s, NULL);
    start = trace_of(&s);
    cr_assert(server_answers(&s));
    for (int i = 0; i < 3000; i++) {
        struct client c;
        uint64_t kind = rng_next(&r);

        if (!client_try(&c, s.port)) {
            refused++;
            continue;
        }
        if (kind & 1)
            client_text(&c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        if (kind & 2)
            client_reset(&c);
        else
            client_close(&c);
    }
    cr_assert(refused == 0, "%d refused", refused);
    cr_assert(server_answers(&s), "%s", server_stderr(&s));
    must_return_to(&s, start);
    server_stop(&s);
}

Test(any_attack, nothing_is_left_of_two_thousand_connections)
{
    struct server s;
    struct trace start;
    long rss;

    server_start(&s, NULL);
    start = trace_of(&s);
    for (int i = 0; i < 100; i++)
        cr_assert(server_answers(&s));
    rss = server_rss_kib(&s);
    for (int i = 100; i < 2000; i++)
        cr_assert(server_answers(&s), "connection %d", i);
    must_return_to(&s, start);
    cr_assert(server_rss_kib(&s) - rss < memory_bound(16 * 1024),
              "grew from %ld to %ld KiB", rss, server_rss_kib(&s));
    server_stop(&s);
}

/* ==== limits ============================================================== */

Test(any_attack, max_conns_is_respected)
{
    enum { N = 20, ALLOWED = 8 };
    struct client c[N];
    struct server s;
    int base, served = 0;

    /* One worker: several have a share each, and fill up one by one. */
    server_start(&s, "--max-conns", "8",
                 server_stage() >= 5 ? "--workers" : NULL, "1", NULL);
    base = server_fds(&s);
    for (int i = 0; i < N; i++)
        client_open(&c[i], &s);
    /* In the order of connecting; the ninth has to wait. */
    for (int i = 0; i < ALLOWED; i++)
        served += client_ping(&c[i]);
    cr_assert(served == ALLOWED, "%d of the first %d served", served, ALLOWED);
    client_timeout(&c[ALLOWED], 0.5);
    cr_assert(!client_ping(&c[ALLOWED]), "more than --max-conns were served");
    cr_assert(server_fds(&s) <= base + ALLOWED + 1);
    client_close(&c[ALLOWED]);
    for (int i = 0; i < ALLOWED; i++)
        client_close(&c[i]);
    for (int i = ALLOWED + 1; i < N; i++) {
        cr_assert(client_ping(&c[i]), "connection %d never got its turn", i);
        client_close(&c[i]);
    }
    server_stop(&s);
}

/* 200 peers and 64 descriptors, --max-conns on either side of what fits. */
static void out_of_descriptors(const char *max_conns)
{
    enum { N = 200 };
    struct launch how = {.nofile = 64};
    struct client *c = calloc(N, sizeof(*c));
    struct server s;

    server_start_as(&s, &how, max_conns ? "--max-conns" : NULL, max_conns,
                    NULL);
    client_open(&c[0], &s);
    cr_assert(client_ping(&c[0]));
    for (int i = 1; i < N; i++)
        client_open(&c[i], &s);
    cr_assert(client_ping(&c[0]), "the first connection suffers");
    cr_assert(server_rests(&s, 0.5, 1), "spins while full");
    cr_assert(server_alive(&s), "%s", server_stderr(&s));
    cr_assert(server_fds(&s) <= 64);
    cr_assert(client_ping(&c[0]), "the first connection suffers");
    for (int i = 0; i < N - 5; i++)
        client_close(&c[i]);
    for (int i = N - 5; i < N; i++)
        cr_assert(client_ping(&c[i]), "connection %d never got its turn", i);
    for (int i = N - 5; i < N; i++)
        client_close(&c[i]);
    cr_assert(server_answers(&s));
    free(c);
    server_stop(&s);
}

Test(any_attack, out_of_descriptors_by_limit)
{
    out_of_descriptors(NULL);
}

Test(any_attack, out_of_descriptors_in_accept)
{
    out_of_descriptors("1000");
}

/* ==== deadlines =========================================================== */

/* Stage 1 caps its threads by --workers; further peers wait in the backlog. */
Test(any_attack, workers_cap_the_threads_of_stage_one)
{
    enum { N = 12 };
    struct client c[N];
    struct server s;
    int threads;

    if (server_stage() != 1)
        cr_skip("only stage 1 has a thread per connection");
    server_start(&s, "--workers", "4", NULL);
    threads = server_threads(&s) + sanitizer_threads();
    for (int i = 0; i < N; i++)
        client_open(&c[i], &s);
    for (int i = 0; i < 4; i++)
        cr_assert(client_ping(&c[i]));
    cr_assert(server_threads(&s) <= threads + 4);
    for (int i = 0; i < 4; i++)
        client_close(&c[i]);
    for (int i = 4; i < N; i++) {
        cr_assert(client_ping(&c[i]), "connection %d", i);
        client_close(&c[i]);
    }
    server_stop(&s);
}

Test(any_attack, idle_connection_is_closed)
{
    struct client c, never;
    struct server s;
    double since;

    server_start(&s, "--idle-timeout", "1", NULL);
    client_open(&never, &s);
    client_open(&c, &s);
    since = now();
    cr_assert(client_ping(&c));
    cr_assert(client_ends_silently(&c), "%s", strerror(c.err));
    cr_assert(now() - since > 0.9, "closed after %.3f s", now() - since);
    cr_assert(client_gone(&never), "a connection without a word stays");
    cr_assert(in_time(since, 5), "closed after %.1f s", now() - since);
    client_close(&c);
    client_close(&never);
    server_stop(&s);
}

Test(any_attack, busy_connection_is_not_closed)
{
    struct client c;
    struct server s;
    double last;

    server_start(&s, "--idle-timeout", "1", NULL);
    client_open(&c, &s);
    last = now();
    for (double since = last; now() - since < 2.5; pause_s(0.05))
        cr_assert(client_keeps(&c, &s, &last, 1), "closed after %.1f s",
                  now() - since);
    client_close(&c);
    server_stop(&s);
}

/* A reader that takes nothing for --idle-timeout is closed, whatever is owed;
 * meanwhile the others are served. */
Test(any_attack, reader_that_takes_nothing_is_closed)
{
    struct client stalled, c;
    struct server s;
    double last;
    int base;

    server_start(&s, "--idle-timeout", "0.5", NULL);
    base = server_fds(&s);
    cr_assert(server_answers(&s));
    client_open_small(&stalled, &s);
    client_stall(&stalled, &s);
    client_open(&c, &s);
    last = now();
    for (double since = last; now() - since < 1.5; pause_s(0.05))
        cr_assert(client_keeps(&c, &s, &last, 0.5));
    client_close(&c);
    cr_assert(EVENTUALLY(server_fds(&s) <= base, 5),
              "still open, %d descriptors against %d", server_fds(&s), base);
    cr_assert(client_gone(&stalled));
    client_close(&stalled);
    server_stop(&s);
}
