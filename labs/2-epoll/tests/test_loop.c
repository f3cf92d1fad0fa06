/* test_loop.c - lab 2: the student's loop, seen from outside. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "client.h"
#include "lab_calls.h"
#include "one_loop.h"
#include "params.h"
#include "server.h"

#define HEADER_S (LOOP_HEADER_MS / 1000.0)

/* ---- step 0 ---- */

/* Calls that fail in the ways that a kernel may fail them. */
Test(step0, faults)
{
    static const char *const plans[] = {
        "recv:EINTR:every=3,send:EINTR:every=4,epoll_wait:EINTR:every=5,"
        "accept4:EINTR:every=2",
        "send:short:every=2:most=900,recv:short:every=3:most=50",
        "recv:EAGAIN:every=4,accept4:ECONNABORTED:every=2",
    };

    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        struct server s;
        unsigned hit, seen;

        server_start_as(&s, &(struct launch){.fault = plans[i]}, NULL);
        cr_assert_eq(client_traffic(&s, 4), 4,
                     "a connection was lost, or bytes of it, with\n  %s",
                     plans[i]);
        server_stop_faulty(&s, &hit, &seen);
        cr_assert(hit > 10, "%s: hit %u of %u calls only", plans[i], hit, seen);
    }
}

/* ---- step 1: deadlines ---- */

/* Waits for the end of a connection on which the peer says nothing more. */
static bool ends(struct client *c, double seconds)
{
    client_timeout(c, scaled(seconds));
    return client_gone(c);
}

Test(step1, idle)
{
    struct server s;

    server_start(&s, "--idle-timeout", "1", NULL);
    loop_ends_idle(&s);
    lab_counts(&s);
}

/* Sends a byte of a header now and then, until the connection ends. */
static double dribble(struct client *c, double seconds)
{
    double since = now();

    client_timeout(c, 0.1);
    cr_assert(client_text(c, "GET / HTTP/1.1\r\nX: "));
    while (in_time(since, seconds)) {
        char byte;

        if (!client_text(c, "x"))
            break;
        client_read(c, &byte, 1); /* waits a tenth of a second */
        if (c->eof || c->err == ECONNRESET || c->err == EPIPE)
            break;
    }
    return now() - since;
}

Test(step1, header)
{
    struct server s;
    struct client c;
    double took;

    server_start(&s, "--idle-timeout", "60", NULL);
    client_open(&c, &s);
    took = dribble(&c, 6);
    cr_assert(took < scaled(6),
              "a header that grows by a byte every 0.1 s is not closed after "
              "6 s; HEADER_TIME_MS is %d",
              LOOP_HEADER_MS);
    cr_assert(took > HEADER_S * 0.9,
              "closed after %.3f s; HEADER_TIME_MS is %d", took,
              LOOP_HEADER_MS);
    client_close(&c);
    client_open(&c, &s);
    cr_assert(client_text(&c, "GET / HTTP/1.1\r\nHo"));
    cr_assert(ends(&c, 6), "a header of which nothing more comes is not "
                           "closed");
    client_close(&c);
    client_open(&c, &s);
    pause_s(HEADER_S * 2);
    cr_assert(client_ping(&c), "a peer that has said nothing yet is idle, but "
                               "it was closed");
    client_close(&c);
    lab_counts(&s);
}

Test(step1, body_has_its_own_time)
{
    static struct reply r;
    struct server s;
    struct client c;

    server_start(&s, "--idle-timeout", "60", NULL);
    client_open(&c, &s);
    cr_assert(client_text(&c, "POST /echo HTTP/1.1\r\nHost: a\r\n"
                              "Content-Length: 3\r\n\r\n"));
    for (int i = 0; i < 3; i++) {
        pause_s(HEADER_S * (i == 1 ? 1.5 : 0.6));
        cr_assert(client_text(&c, "x"), "closed before byte %d of the body", i);
    }
    cr_assert(client_reply(&c, &r), "closed during the body");
    cr_assert_eq(r.len, 3);
    reply_free(&r);
    client_close(&c);
    lab_counts(&s);
}

/* Each piece ends a request and begins the next one.  False: we did not get the
 * core often enough to tell. */
static bool always_half_a_header(const struct server *s)
{
    static struct reply r;
    struct client c;
    double last = now(), gap = 0;
    bool answered = true;

    client_open(&c, s);
    cr_assert(client_text(&c, "GET / HTTP/1.1\r\nHo"));
    for (int i = 0; answered && i < 10; i++) {
        pause_s(HEADER_S / 4);
        answered = client_text(&c, "st: a\r\n\r\nGET / HTTP/1.1\r\nHo") &&
                   client_reply(&c, &r);
        if (answered)
            reply_free(&r);
        gap = now() - last > gap ? now() - last : gap;
        last = now();
    }
    client_close(&c);
    cr_assert(answered || gap > HEADER_S / 2,
              "closed, although each header was complete %.2f s after its "
              "first byte; HEADER_TIME_MS is %d",
              gap, LOOP_HEADER_MS);
    return answered;
}

Test(step1, the_next_header)
{
    static struct reply r;
    struct server s;
    struct client c;
    int tries = 0;

    server_start(&s, "--idle-timeout", "60", NULL);
    client_open(&c, &s);
    cr_assert(client_text(&c, "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT"));
    cr_assert(client_reply(&c, &r));
    reply_free(&r);
    cr_assert(ends(&c, 6),
              "a header that began behind a whole request is not "
              "closed after 6 s; HEADER_TIME_MS is %d",
              LOOP_HEADER_MS);
    client_close(&c);
    while (!always_half_a_header(&s))
        cr_assert(++tries < 5, "this machine is too busy to tell");
    lab_counts(&s);
}

Test(step1, stalled_reader)
{
    struct server s;
    struct client c;

    server_start(&s, "--idle-timeout", "1", NULL);
    client_open_small(&c, &s);
    client_stall(&c, &s);
    cr_assert(EVENTUALLY(server_fds(&s) > 0 && server_answers(&s), 5));
    /* Nothing is read, so the end shows in the server's descriptors only. */
    cr_assert(EVENTUALLY(server_sockets(&s) == 1, 15),
              "a peer that takes nothing is there 15 s after a timeout of 1 s");
    client_close(&c);
    lab_counts(&s);
}

Test(step1, sleeps)
{
    enum { N = 20 };
    struct server s;
    struct counts counts;

    server_start(&s, "--idle-timeout", "60", NULL);
    loop_asked(&s, N, 1, 0.5);
    counts = lab_counts(&s);
    /* A few for each connection; a loop that polls makes thousands. */
    cr_assert(counts.waits < 10 * N,
              "%lu calls of epoll_wait for %d connections that ask once and "
              "are silent for half a second",
              counts.waits, N);
}

/* ---- step 2: closed is closed ---- */

enum { FULL = 8 };

static void fill(struct client c[FULL], struct server *s)
{
    char most[8];

    snprintf(most, sizeof most, "%d", FULL);
    server_start(s, "--idle-timeout", "60", "--max-conns", most, NULL);
    for (int i = 0; i < FULL; i++) {
        client_open(&c[i], s);
        cr_assert(client_ping(&c[i]));
    }
}

Test(step2, makes_room)
{
    struct client c[FULL], more[FULL / 2];
    struct server s;

    fill(c, &s);
    for (int i = 0; i < FULL; i += 2) /* now the odd ones are idle longer */
        cr_assert(client_ping(&c[i]));
    for (int i = 0; i < FULL / 2; i++) {
        client_open(&more[i], &s);
        client_timeout(&more[i], scaled(5));
        cr_assert(client_ping(&more[i]),
                  "newcomer %d of a full server was not answered", i + 1);
    }
    for (int i = 0; i < FULL; i++) {
        if (i % 2)
            cr_assert(ends(&c[i], 5),
                      "connection %d was idle longest and is "
                      "still there",
                      i);
        else
            cr_assert(client_ping(&c[i]),
                      "connection %d was closed, and others were idle longer",
                      i);
        client_close(&c[i]);
    }
    for (int i = 0; i < FULL / 2; i++)
        client_close(&more[i]);
    lab_counts(&s);
}

Test(step2, none_is_idle)
{
    static struct reply r;
    struct client c[FULL], late;
    struct server s;
    struct counts counts;

    fill(c, &s);
    for (int i = 0; i < FULL;
         i++) { /* bodies, of which some bytes are missing */
        cr_assert(client_text(&c[i], "POST /echo HTTP/1.1\r\nHost: a\r\n"
                                     "Content-Length: 4\r\n\r\nab"));
        cr_assert(client_is_heard(&c[i]));
    }
    client_open(&late, &s);
    cr_assert(client_text(&late, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    pause_s(0.3);
    for (int i = 0; i < FULL; i++) {
        cr_assert(client_text(&c[i], "cd") && client_reply(&c[i], &r),
                  "connection %d was closed in the middle of its request", i);
        reply_free(&r);
    }
    client_timeout(&late, scaled(5));
    cr_assert(client_reply(&late, &r), "the newcomer was never answered");
    reply_free(&r);
    client_close(&late);
    for (int i = 0; i < FULL; i++)
        client_close(&c[i]);
    counts = lab_counts(&s);
    cr_assert(counts.waits < 100,
              "%lu calls of epoll_wait while a newcomer waits", counts.waits);
}

/* While the server is stopped newcomers connect, and behind them those speak
 * that have been idle longest: so one epoll_wait() returns the listener first,
 * then connections that may have been closed to make room. */
Test(step2, stale_event)
{
    struct client c[FULL], more[FULL / 2];
    struct server s;
    struct counts counts;

    fill(c, &s);
    lab_stop(&s);
    for (int i = 0; i < FULL / 2; i++)
        client_open(&more[i], &s);
    pause_s(0.1);
    for (int i = 0; i < FULL / 2; i++) {
        cr_assert(client_text(&c[i], "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        client_fin(&c[i]);
    }
    pause_s(0.1);
    server_signal(&s, SIGCONT);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < FULL / 2; i++)
            cr_assert(client_ping(&more[i]),
                      "newcomer %d was closed by an event of the connection "
                      "that made room for it",
                      i + 1);
    for (int i = 0; i < FULL; i++)
        client_close(&c[i]);
    for (int i = 0; i < FULL / 2; i++)
        client_close(&more[i]);
    counts = lab_counts(&s);
    cr_assert(counts.early == 0,
              "%lu calls of recv or send for a connection in the very turn "
              "that accepted it: epoll cannot have reported it",
              counts.early);
    cr_assert(counts.gone == 0,
              "%lu calls for a descriptor that was closed already (EBADF)",
              counts.gone);
}

Test(step2, numbers_come_back)
{
    struct server s;
    struct counts counts;

    server_start(&s, "--idle-timeout", "1", NULL);
    loop_reuses_numbers(&s);
    counts = lab_counts(&s);
    cr_assert(counts.gone == 0,
              "%lu calls for a descriptor that was closed already (EBADF)",
              counts.gone);
}

/* ---- step 3: turns ---- */

/* What the socket takes at once; returns how many bytes those were. */
static size_t fill_socket(struct client *c, const char *p, size_t n)
{
    size_t sent = 0;
    ssize_t got;

    do {
        got = send(c->fd, p + sent, n - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += got > 0 ? (size_t)got : 0;
    } while (got > 0 && sent < n);
    return sent;
}

Test(step3, turn_in)
{
    enum { BODY = 512 * 1024, TIMES = 4 };
    static char body[BODY];
    static struct reply r;
    struct server s;
    struct client c;
    struct counts counts;

    server_start(&s, NULL);
    client_open(&c, &s);
    memset(body, 'x', sizeof body);
    for (int i = 0; i < TIMES; i++) {
        size_t sent;

        /* So much that is there at once when the server goes on. */
        lab_stop(&s);
        cr_assert(client_printf(&c,
                                "POST /echo HTTP/1.1\r\nHost: a\r\n"
                                "Content-Length: %d\r\n\r\n",
                                BODY));
        sent = fill_socket(&c, body, sizeof body);
        cr_assert(sent > LOOP_TURN_BYTES + 1024);
        pause_s(0.05);
        server_signal(&s, SIGCONT);
        client_timeout(&c, scaled(10));
        cr_assert(client_send(&c, body + sent, sizeof body - sent) &&
                      client_reply(&c, &r),
                  "no answer to an upload of %d bytes", BODY);
        cr_assert_eq(r.len, (size_t)BODY);
        reply_free(&r);
    }
    client_close(&c);
    counts = lab_counts(&s);
    cr_assert(counts.most_in == LOOP_TURN_BYTES,
              "%lu bytes were received of one connection in its longest turn; "
              "there were more than enough for all %d of a turn",
              counts.most_in, LOOP_TURN_BYTES);
}

Test(step3, turn_out)
{
    enum { BYTES = 4 << 20 };
    static struct reply r;
    struct server s;
    struct client c;
    struct counts counts;

    server_start(&s, NULL);
    client_open(&c, &s);
    cr_assert(
        client_printf(&c, "GET /bytes/%d HTTP/1.1\r\nHost: a\r\n\r\n", BYTES));
    client_timeout(&c, scaled(5));
    cr_assert(client_head(&c, &r));
    cr_assert_eq(client_pattern(&c, 0, BYTES), (uint64_t)BYTES,
                 "not all of %d bytes came", BYTES);
    client_close(&c);
    counts = lab_counts(&s);
    cr_assert(counts.most_out == LOOP_TURN_BYTES,
              "%lu bytes were sent to one connection in its longest turn; "
              "there was room for all %d of a turn",
              counts.most_out, LOOP_TURN_BYTES);
}

Test(step3, end_behind_bytes)
{
    static struct reply r;
    struct server s;
    struct client c[4];

    server_start(&s, "--idle-timeout", "60", NULL);
    for (int i = 0; i < 4; i++) {
        client_open(&c[i], &s);
        cr_assert(client_ping(&c[i]));
    }
    lab_stop(&s);
    for (int i = 0; i < 4; i++) {
        cr_assert(client_text(&c[i], "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        client_fin(&c[i]);
    }
    pause_s(0.05);
    server_signal(&s, SIGCONT);
    for (int i = 0; i < 4; i++) {
        client_timeout(&c[i], scaled(5));
        cr_assert(client_reply(&c[i], &r), "a request behind which the end "
                                           "came was not answered");
        reply_free(&r);
        cr_assert(client_ends(&c[i]),
                  "the end that came with a request was not noticed");
        client_close(&c[i]);
    }
    lab_counts(&s);
}

Test(step3, bytes)
{
    struct counts counts;
    struct server s;

    server_start(&s, NULL);
    loop_talked(&s, 40, 100000);
    counts = lab_counts(&s);
    cr_assert(counts.most_in <= LOOP_TURN_BYTES &&
                  counts.most_out <= LOOP_TURN_BYTES,
              "%lu bytes in and %lu out in one turn, of %d at most",
              counts.most_in, counts.most_out, LOOP_TURN_BYTES);
}

/* ---- step 4: counts ---- */

Test(step4, registered_once)
{
    enum { N = 90, STALLED = 10 };
    static struct client stalled[STALLED];
    struct server s;
    struct counts counts;

    server_start(&s, NULL);
    loop_stalled(stalled, STALLED, &s);
    loop_asked(&s, N, 5, 0);
    for (int i = 0; i < STALLED; i++)
        client_reset(&stalled[i]);
    cr_assert_eq(server_threads(&s), 1, "%d threads", server_threads(&s));
    counts = lab_counts(&s);
    cr_assert(counts.ctls <= N + STALLED + 6 && counts.ctls >= N,
              "%lu calls of epoll_ctl for %d connections, of which %d do not "
              "read",
              counts.ctls, N + STALLED, STALLED);
}

Test(step4, calls_a_request)
{
    enum { N = 10, REQUESTS = 100 };
    struct server s;
    struct counts counts;
    unsigned long calls;

    server_start(&s, NULL);
    loop_asked(&s, N, REQUESTS, 0);
    counts = lab_counts(&s);
    calls = counts.waits + counts.recvs + counts.sends;
    /* Three, and some for each connection. */
    cr_assert(calls <= 3 * N * REQUESTS + 20 * N,
              "%lu calls for %d requests one by one: %lu epoll_wait, %lu recv "
              "(%lu of them found nothing), %lu send",
              calls, N * REQUESTS, counts.waits, counts.recvs, counts.dry,
              counts.sends);
    cr_assert(counts.recvs >= N * REQUESTS && counts.sends >= N * REQUESTS,
              "%lu recv and %lu send only: by what did the bytes move?",
              counts.recvs, counts.sends);
}
