/* test_peers.c - peers that come and go at a bad moment: they leave before they
 * are let in, or go on talking when all is said.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "talk.h"

TestSuite(any_peers, .timeout = 300);
TestSuite(http_peers, .timeout = 300);

/* ==== at the door ========================================================= */

/* Half of the accepts bring only word of a peer that is gone.  That is no
 * shortage: no peer is refused, and there is no pause. */
static void must_not_pause(const char *plan)
{
    struct launch how = {.binary = fault_path(), .fault = plan};
    bool ring = strncmp(plan, "ring_", 5) == 0;
    struct server s;
    const char *done;

    if (ring != (server_stage() == 3 || server_stage() == 4))
        return;
    server_start_as(&s, &how, NULL);
    for (int i = 0; i < 20; i++)
        cr_assert(server_answers(&s), "%s: peer %d", plan, i);
    server_signal(&s, SIGTERM);
    cr_assert(server_wait(&s, scaled(15)) == 0, "%s: %s", plan,
              server_stderr(&s));
    done = strstr(server_stderr(&s), ": done: ");
    cr_assert(done, "no summary: %s", server_stderr(&s));
    cr_assert(!strstr(done, " refused "), "%s: %s", plan, done);
    cr_assert(strstr(done, "accepted 2"), "%s: %s", plan, done);
    close(s.out);
    close(s.err);
}

Test(any_peers, one_that_left_early_costs_no_pause)
{
    must_not_pause("accept4:ECONNABORTED:every=2");
    must_not_pause("accept4:EPROTO:every=2");
    must_not_pause("ring_accept:ECONNABORTED:every=2");
    must_not_pause("ring_accept:EPROTO:every=2");
    must_not_pause("ring_accept:EINTR:every=2");
}

/* ==== urgent data ========================================================= */

/* Says all of it, its k-th byte as urgent data: a receive stops before that,
 * with the rest behind it in the socket. */
static void say_urgently(struct client *c, const char *said, size_t n, size_t k)
{
    cr_assert(client_send(c, said, k));
    cr_assert(send(c->fd, said + k, 1, MSG_NOSIGNAL | MSG_OOB) == 1);
    cr_assert(client_send(c, said + k + 1, n - k - 1));
}

static bool hears_all(struct client *c, const char *said, size_t n)
{
    char heard[4096];
    struct reply a = {0};
    bool ok;

    if (!app_is_http())
        return client_read_all(c, heard, n) && memcmp(said, heard, n) == 0;
    ok = client_reply(c, &a) && a.status == 200 && a.len == 1000 &&
         memcmp(a.body, strstr(said, "\r\n\r\n") + 4, 1000) == 0;
    reply_free(&a);
    return ok;
}

/* Urgent data is data like any other, for one peer and for many at once.  The
 * server is stopped meanwhile, so that it finds all of it at once. */
static void must_take_urgent_data(const struct server *s, int peers,
                                  struct rng *r)
{
    enum { MOST = 8 };
    struct client c[MOST];
    char said[MOST][1100];
    size_t n[MOST];

    for (int i = 0; i < peers; i++) {
        char *body = said[i];

        if (app_is_http())
            body += sprintf(said[i], "POST /echo HTTP/1.1\r\nHost: a\r\n"
                                     "Content-Length: 1000\r\n\r\n");
        for (int k = 0; k < 1000; k++)
            body[k] = (char)rng_between(r, 'a', 'z');
        n[i] = (size_t)(body + 1000 - said[i]);
        client_open(&c[i], s);
        client_timeout(&c[i], scaled(5));
        cr_assert(client_ping(&c[i]));
    }
    server_signal(s, SIGSTOP);
    for (int i = 0; i < peers; i++)
        say_urgently(&c[i], said[i], n[i], rng_between(r, 0, n[i] - 1));
    server_signal(s, SIGCONT);
    for (int i = 0; i < peers; i++) {
        cr_assert(hears_all(&c[i], said[i], n[i]), "%d of %d, seed %llu", i,
                  peers, (unsigned long long)seed_of_run());
        cr_assert(client_ping(&c[i]));
        client_close(&c[i]);
    }
}

Test(any_peers, urgent_data_is_data)
{
    struct rng r = rng_start(51);
    struct server s;

    /* At an urgent byte the kernel says EAGAIN if a signal is pending; a
     * multishot receive then waits for the next packet. */
    if (server_is("4-recv-multishot"))
        cr_skip("4-recv-multishot: the kernel may hold urgent data back until "
                "the peer says more");
    server_start(&s, NULL);
    for (int i = 0; i < 10; i++) {
        must_take_urgent_data(&s, 1, &r);
        must_take_urgent_data(&s, 8, &r);
    }
    server_stop(&s);
}

/* ==== at the end ========================================================== */

/* What a receive takes at most: the size of a window. */
enum { WINDOW = 16 * 1024 };

/* A request of n bytes that asks for the close, and `more` bytes after it in
 * the same write: the answer comes, and the end by FIN, not by RST. */
static void must_hear_all(const struct server *s, size_t n, size_t more)
{
    static const char head[] = "GET / HTTP/1.1\r\nHost: a\r\n"
                               "Connection: close\r\nX: ",
                      tail[] = "\r\n\r\n";
    size_t least = sizeof(head) - 1 + sizeof(tail) - 1;
    char *wire = malloc(n + more);
    struct client c;
    struct reply a;

    cr_assert(wire && n >= least);
    memset(wire, 'x', n + more);
    memcpy(wire, head, sizeof(head) - 1);
    memcpy(wire + n - (sizeof(tail) - 1), tail, sizeof(tail) - 1);
    client_open(&c, s);
    cr_assert(client_send(&c, wire, n + more));
    cr_assert(client_reply(&c, &a) && a.status == 200 && a.len == 14 && a.close,
              "%zu and %zu bytes: %s", n, more, strerror(c.err));
    cr_assert(client_ends_silently(&c), "%zu and %zu bytes: %s", n, more,
              strerror(c.err));
    /* A reset that came right behind the FIN would show here.  Where bytes were
     * in the window, the server goes on listening. */
    for (int i = 0; i < (n < WINDOW ? 3 : 1); i++) {
        pause_s(0.02);
        cr_assert(client_text(&c, "more"), "%zu and %zu bytes: %s", n, more,
                  strerror(c.err));
    }
    reply_free(&a);
    client_close(&c);
    free(wire);
}

Test(http_peers, more_bytes_with_the_last_request)
{
    struct server s;

    server_start(&s, NULL);
    /* They are in the window when the answer has been sent ... */
    must_hear_all(&s, 100, 1);
    must_hear_all(&s, 100, 1000);
    must_hear_all(&s, 100, WINDOW - 100);
    must_hear_all(&s, 100, 4 * WINDOW);
    /* ... or the request fills it, and they are still in the socket. */
    for (int i = 0; i < 5; i++)
        must_hear_all(&s, WINDOW, 1000);
    cr_assert(server_answers(&s));
    server_stop(&s);
}

/* The server has handed all of a long answer to the kernel, half of it has yet
 * to leave, and the peer speaks again. */
static void must_come_whole(const struct server *s, const char *request,
                            size_t len)
{
    struct client c;
    struct reply a;

    client_open_small(&c, s);
    cr_assert(client_text(&c, request));
    cr_assert(client_head(&c, &a) && a.status == 200 && a.close, "%s", a.head);
    pause_s(scaled(0.2));
    for (int i = 0; i < 5; i++) {
        cr_assert(client_text(&c, "and another thing"), "%s", strerror(c.err));
        pause_s(0.02);
    }
    cr_assert(client_pattern(&c, 0, len) == len, "%s: cut off: %s", request,
              strerror(c.err));
    cr_assert(client_ends_silently(&c), "%s: %s", request, strerror(c.err));
    client_close(&c);
}

Test(http_peers, more_bytes_while_a_long_answer_is_under_way)
{
    struct server s;

    server_start(&s, NULL);
    must_come_whole(&s,
                    "GET /bytes/200000 HTTP/1.1\r\nHost: a\r\n"
                    "Connection: close\r\n\r\n",
                    200000);
    must_come_whole(&s, "GET /bytes/200000 HTTP/1.0\r\n\r\n", 200000);
    server_stop(&s);
}

/* A peer that asked for the close, has it, and does not go: bounded like any
 * silence, and not put off by what is said. */
Test(http_peers, the_end_of_a_long_answer_is_not_waited_for_without_end)
{
    struct client c;
    struct server s;
    double since;

    server_start(&s, "--idle-timeout", "0.5", NULL);
    client_open(&c, &s);
    cr_assert(client_text(&c, "GET /bytes/50000 HTTP/1.0\r\n\r\n"));
    cr_assert(client_ends(&c));
    since = now();
    while (in_time(since, 20) && client_text(&c, "x"))
        pause_s(0.05);
    cr_assert(in_time(since, 20), "still listens");
    client_close(&c);
    cr_assert(server_answers(&s));
    server_stop(&s);
}

/* ==== without a copy ====================================================== */

/* Once the crowd has gone there is enough to lock, and sends do without a copy
 * again; loopback says of each that it has copied after all.  A kernel that
 * says nothing (before 6.2) cannot be asked. */
static void copied_again(struct server *s, long memlock)
{
    enum { PINGS = 400 };
    struct client c;
    const char *at;

    client_open(&c, s);
    for (int i = 0; i < PINGS; i++)
        cr_assert(client_ping(&c), "%ld bytes, request %d", memlock, i);
    client_close(&c);
    server_signal(s, SIGTERM);
    cr_assert(server_wait(s, scaled(15)) == 0, "%s", server_stderr(s));
    at = strstr(server_stderr(s), " zc_copied ");
    cr_assert(!at || memlock < 1 << 20 || atoi(at + 11) > PINGS / 2,
              "%ld bytes: %s", memlock, server_stderr(s));
    close(s->out);
    close(s->err);
}

/* Zero-copy sends lock the pages that they send from.  With less to lock than
 * there are pieces, some may have to be copied after all, and whichever way a
 * byte goes, it is the right one: also for readers that let it wait. */
static void without_a_copy(long memlock)
{
    enum { N = 64 };
    struct launch how = {.memlock = memlock};
    struct rng r = rng_start(50);
    struct talk *t = calloc(N, sizeof(*t));
    struct server s;
    bool done;

    if (getuid() == 0) /* locked pages are counted by user: one of our own */
        how.uid = 30000 + (int)(getpid() % 30000) + (int)(memlock >> 20);
    cr_assert(t);
    server_start_as(&s, &how, NULL);
    for (int i = 0; i < N; i++) {
        talk_make(&t[i], &r, 8, 100000);
        t[i].small = i % 2;
        t[i].most_read = i % 2 ? 3000 : 0;
        t[i].deaf = i % 4 != 3 ? now() + 0.5 : 0;
    }
    done = talk_all(t, N, &s, 60);
    for (int i = 0; i < N; i++) {
        const char *wrong = talk_wrong(&t[i]);

        cr_assert(!wrong,
                  "%ld bytes, client %d: %s (%zu of %zu said, %zu "
                  "heard), seed %lu: %s",
                  memlock, i, wrong, t[i].sent, t[i].n_out, t[i].n_in,
                  (unsigned long)seed_of_run(), server_stderr(&s));
        talk_free(&t[i]);
    }
    cr_assert(done, "%ld bytes: not done in time", memlock);
    copied_again(&s, memlock);
    free(t);
}

Test(any_peers, zero_copy_with_little_to_lock)
{
    if (!server_is("4-send-zc"))
        cr_skip("%s: only 4-send-zc sends without a copy", server_path());
    without_a_copy(2 << 20);
    without_a_copy(1 << 20);
    without_a_copy(64 << 10);
}

/* ==== meanwhile =========================================================== */

/* Lines of --stats come by the clock on the wall, also when handlers leave a
 * loop no time of its own. */
Test(http_peers, stats_lines_come_while_handlers_run)
{
    struct client c;
    struct server s;
    struct reply a;
    double since;
    int lines;

    server_start(&s, "--stats", "0.5", NULL);
    client_open(&c, &s);
    since = now();
    do {
        cr_assert(client_get(&c, "/work/100000", &a) && a.status == 200);
        reply_free(&a);
        lines = 0;
        for (const char *p = server_stderr(&s); (p = strstr(p, "accepted 1"));
             p++)
            lines++;
    } while (lines < 2 && in_time(since, 20));
    cr_assert(lines >= 2, "%d lines: %s", lines, server_stderr(&s));
    client_close(&c);
    server_stop(&s);
}
