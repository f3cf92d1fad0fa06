/* test_workers.c - what stages 5 and 6 have in common: several workers, and
 * connections that are dealt to them.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "client.h"

TestSuite(any_workers, .timeout = 300);
TestSuite(http_workers, .timeout = 300);

#define GET(target) "GET " target " HTTP/1.1\r\nHost: test\r\n\r\n"

static void must_have_workers(void)
{
    if (server_stage() < 5)
        cr_skip("this stage has one worker");
}

/* What needs connections placed like that: "hash", "rr" or "one". */
static void must_place(const char *how)
{
    must_have_workers();
    if (!server_places(how))
        cr_skip("another variant than that of --place %s", how);
}

/* ==== the end ============================================================= */

/* A whole answer, or none; how many of them. */
static int whole_or_none(struct client *c, int i)
{
    char body[20000];
    struct reply a;

    if (!client_head(c, &a)) {
        cr_assert(a.status == 0 && c->len == 0,
                  "connection %d: half a header section", i);
        return 0;
    }
    cr_assert(a.status == 200 && a.length >= 0 &&
              a.length <= (int64_t)sizeof(body));
    cr_assert(client_read_all(c, body, (size_t)a.length),
              "connection %d: half an answer", i);
    return 1;
}

/* Requests are on their way everywhere when the signal comes.  ThreadSanitizer
 * sees a thread that looks into a session which another one has. */
static void must_end_in_the_middle(const char *const args[])
{
    enum { N = 50, TURNS = 6 };
    static const char *const says[] = {GET("/work/300"), GET("/"),
                                       GET("/bytes/20000"), GET("/sleep/500")};
    struct client c[N];
    struct server s;
    int whole = 0;

    server_launch(&s, &(struct launch){0}, args);
    clients_open(c, N, &s);
    for (int turn = 1; turn <= TURNS; turn++) {
        for (int i = 0; i < N; i++)
            cr_assert(client_text(&c[i], says[(i + turn) % 4]));
        if (turn == TURNS)
            server_signal(&s, SIGTERM);
        for (int i = 0; i < N; i++)
            whole += whole_or_none(&c[i], i);
    }
    cr_assert(whole >= N * (TURNS - 1), "%d answers", whole);
    cr_assert(server_wait(&s, scaled(15)) == 0, "%s", server_stderr(&s));
    clients_close(c, N);
}

#define MIDDLE(...) must_end_in_the_middle((const char *[]){__VA_ARGS__, NULL})

Test(http_workers, drain_in_the_middle)
{
    must_have_workers();
    for (int again = 0; again < 3; again++) {
        MIDDLE("--workers", "3");
        if (server_stage() == 5)
            MIDDLE("--workers", "2", "--pool", "2");
        if (server_stage() == 5 && server_places("rr"))
            MIDDLE("--workers", "3", "--pool", "1", "--place", "rr");
        if (server_places("rr"))
            MIDDLE("--workers", "3", "--place", "rr");
        if (server_places("one"))
            MIDDLE("--workers", "3", "--place", "one");
    }
}

/* Connections that are on their way from worker to worker when it ends. */
Test(any_workers, drain_while_connections_are_dealt)
{
    enum { N = 30 };
    struct client c[N];
    struct server s;

    must_place("rr");
    for (int again = 0; again < 10; again++) {
        server_start(&s, "--place", "rr", "--workers", "4", NULL);
        clients_open(c, N, &s);
        server_signal(&s, SIGTERM);
        cr_assert(server_wait(&s, scaled(10)) == 0, "%s", server_stderr(&s));
        for (int i = 0; i < N; i++)
            cr_assert(client_gone(&c[i]), "connection %d", i);
        clients_close(c, N);
    }
}

/* ==== which worker gets a connection ====================================== */

Test(http_workers, dealt_in_turn)
{
    enum { N = 30 };
    struct client c[N];
    struct server s;

    must_place("rr");
    server_start(&s, "--place", "rr", "--workers", "3", NULL);
    clients_open(c, N, &s);
    for (int i = 0; i < N; i++)
        cr_assert(client_ping(&c[i]));
    /* This worker's own ten, and the connection that asks for the sample. */
    for (int i = 0; i < 3; i++)
        cr_assert_eq(server_sample(&s, "accepted", i), 11, "worker %d", i);
    clients_close(c, N);
    server_stop(&s);
}

Test(http_workers, kept_by_one)
{
    struct server s;

    must_place("one");
    server_start(&s, "--place", "one", "--workers", "3", NULL);
    for (int i = 0; i < 10; i++)
        cr_assert(server_answers(&s));
    cr_assert_eq(server_sample(&s, "accepted", 0), 11);
    cr_assert_eq(server_sample(&s, "accepted", 1), 0);
    cr_assert_eq(server_sample(&s, "accepted", 2), 0);
    server_stop(&s);
}

/* --max-conns counts the connections of the server: so many are served,
 * whichever worker they come to, and no more. */
static void must_limit(const char *place)
{
    enum { N = 30, ALLOWED = 8 };
    struct client c[N];
    struct server s;
    int base, served = 0;

    server_start(&s, "--max-conns", "8", "--workers", "3", "--place", place,
                 NULL);
    base = server_fds(&s);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        if (i >= ALLOWED)
            client_timeout(&c[i], 0.05);
        served += client_ping(&c[i]);
    }
    cr_assert(served == ALLOWED, "%s: %d of %d served: %s", place, served, N,
              server_stderr(&s));
    cr_assert(server_fds(&s) <= base + ALLOWED);
    clients_close(c, N);
    cr_assert(EVENTUALLY(server_fds(&s) <= base, 10));
    cr_assert(server_answers(&s), "%s: full for good", place);
    server_stop(&s);
}

Test(any_workers, max_conns_of_all)
{
    static const char *const places[] = {"hash", "rr", "one"};

    must_have_workers();
    for (int i = 0; i < 3; i++)
        if (server_places(places[i]))
            must_limit(places[i]);
}
