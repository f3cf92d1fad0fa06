/* test_line.c - peers that stand in line: when the server is told to end, and
 * when it is full.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

TestSuite(any_line, .timeout = 300);
TestSuite(http_line, .timeout = 300);

#define GET(target) "GET " target " HTTP/1.1\r\nHost: test\r\n\r\n"

/* Half of client_ping(), and the other half. */
static void ask(struct client *c)
{
    cr_assert(client_text(c, app_is_http() ? GET("/") : "echo"));
}

static bool answered(struct client *c)
{
    struct reply a;
    char text[4];
    bool ok;

    if (!app_is_http())
        return client_read_all(c, text, 4) && memcmp(text, "echo", 4) == 0;
    ok = client_reply(c, &a) && a.status == 200;
    reply_free(&a);
    return ok;
}

/* Within that time: bytes, or an end. */
static bool hears(const struct client *c, int ms)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};

    return poll(&p, 1, ms) > 0;
}

static const char *joined(const char *const args[])
{
    static char text[200];

    text[0] = '\0';
    for (; *args; args++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s ",
                 *args);
    return text;
}

/* ==== told to end ========================================================= */

enum { LINE = 256 };

/* The server stands still while the line forms, so all of it is there when the
 * signal is heard.  At least `least` of it are served, and none after that. */
static void must_serve(int least, const char *const args[])
{
    struct client c[LINE];
    struct server s;
    int served = 0;

    server_launch(&s, &(struct launch){0}, args);
    server_signal(&s, SIGSTOP);
    for (int i = 0; i < LINE; i++) {
        client_open(&c[i], &s);
        ask(&c[i]);
    }
    server_signal(&s, SIGTERM);
    server_signal(&s, SIGCONT);
    for (int i = 0; i < LINE; i++)
        served += answered(&c[i]);
    /* server_signal() may have sent a peer that takes a place, too. */
    if (least < LINE && sanitizer_threads())
        least -= 3;
    cr_assert(served >= least, "%s: %d of %d served", joined(args), served,
              LINE);
    clients_close(c, LINE);
    cr_assert(server_wait(&s, scaled(15)) == 0, "%s: %s", joined(args),
              server_stderr(&s));
}

#define SERVE(least, ...)                                                      \
    must_serve((least), (const char *[]){__VA_ARGS__, NULL})

Test(any_line, all_of_it_is_served_at_the_end)
{
    SERVE(LINE, NULL);
    SERVE(100, "--max-conns", "100");
    SERVE(5, "--max-conns", "5");
    if (server_stage() < 5)
        return;
    SERVE(LINE, "--workers", "4");
    SERVE(100, "--workers", "4", "--max-conns", "100");
    if (server_places("rr")) {
        SERVE(LINE, "--workers", "3", "--place", "rr");
        SERVE(100, "--workers", "3", "--place", "rr", "--max-conns", "100");
    }
    if (server_places("one"))
        SERVE(LINE, "--workers", "3", "--place", "one");
    if (server_stage() == 5)
        SERVE(LINE, "--workers", "2", "--pool", "1");
    else
        SERVE(LINE, "--workers", "2", "--steal", "off");
}

/* The line forms while a handler holds a loop; the signal comes then. */
static void must_serve_behind(const char *const args[])
{
    enum { N = 24 };
    struct client slow, c[N];
    struct server s;

    server_launch(&s, &(struct launch){0}, args);
    client_open(&slow, &s);
    cr_assert(client_text(&slow, GET("/sleep/400000")));
    cr_assert(client_is_heard(&slow));
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        ask(&c[i]);
    }
    server_signal(&s, SIGTERM);
    for (int i = 0; i < N; i++)
        cr_assert(answered(&c[i]), "%s: no answer to %d: %s", joined(args), i,
                  strerror(c[i].err));
    cr_assert(answered(&slow), "%s", joined(args));
    clients_close(c, N);
    client_close(&slow);
    cr_assert(server_wait(&s, scaled(15)) == 0, "%s", server_stderr(&s));
}

Test(http_line, behind_a_handler)
{
    must_serve_behind((const char *[]){NULL});
    if (server_stage() >= 5)
        must_serve_behind((const char *[]){"--workers", "2", NULL});
}

/* ==== full ================================================================ */

/* A place anywhere is for any peer: all places are used, whichever listener a
 * peer has come to, one more waits, and gets the place of one that leaves. */
static void must_fill(const char *const args[])
{
    enum { ALLOWED = 16, LAPS = 24 };
    struct client c[ALLOWED], next;
    struct server s;

    server_launch(&s, &(struct launch){0}, args);
    for (int i = 0; i < ALLOWED; i++) {
        client_open(&c[i], &s);
        cr_assert(client_ping(&c[i]), "%s: %d is not served", joined(args), i);
    }
    for (int lap = 0; lap < LAPS; lap++) {
        client_open(&next, &s);
        ask(&next);
        cr_assert(lap > 0 || !hears(&next, 300), "%s: one too many",
                  joined(args));
        client_close(&c[lap % ALLOWED]);
        cr_assert(answered(&next), "%s: lap %d: a place is not used",
                  joined(args), lap);
        c[lap % ALLOWED] = next;
    }
    clients_close(c, ALLOWED);
    server_stop(&s);
}

#define FILL(...)                                                              \
    must_fill((const char *[]){"--max-conns", "16", __VA_ARGS__, NULL})

Test(any_line, every_place_is_used)
{
    FILL(NULL);
    if (server_stage() < 5)
        return;
    for (int again = 0; again < 3; again++)
        FILL("--workers", "4");
    if (server_places("rr"))
        FILL("--workers", "3", "--place", "rr");
    if (server_places("one"))
        FILL("--workers", "3", "--place", "one");
    if (server_stage() == 5)
        FILL("--workers", "2", "--pool", "2");
}

/* The first that was served goes; which one that is, the server decides. */
static bool one_leaves(struct client c[], int n)
{
    for (int i = 0; i < n; i++) {
        if (c[i].fd < 0 || !hears(&c[i], 5))
            continue;
        cr_assert(answered(&c[i]), "%d is turned away: %s", i,
                  c[i].eof ? "FIN" : strerror(c[i].err));
        client_close(&c[i]);
        return true;
    }
    return false;
}

/* More peers than places come and go: none that was let in is turned away. */
static void must_turn_nobody_away(const char *const args[])
{
    enum { N = 8, ROUNDS = 60 };
    struct client c[N];
    struct server s;

    server_launch(&s, &(struct launch){0}, args);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++) {
            client_open(&c[i], &s);
            ask(&c[i]);
        }
        for (int left = N; left > 0; left--)
            cr_assert(EVENTUALLY(one_leaves(c, N), 20), "%s: round %d: stuck",
                      joined(args), round);
        clients_close(c, N);
    }
    server_signal(&s, SIGTERM);
    cr_assert(server_wait(&s, scaled(15)) == 0, "%s", server_stderr(&s));
    cr_assert_not(strstr(server_stderr(&s), " refused "), "%s: %s",
                  joined(args), server_stderr(&s));
}

#define AWAY(...)                                                              \
    must_turn_nobody_away(                                                     \
        (const char *[]){"--max-conns", "4", __VA_ARGS__, NULL})

Test(any_line, nobody_is_turned_away)
{
    AWAY(NULL);
    if (server_stage() < 5)
        return;
    AWAY("--workers", "2");
    if (server_places("rr"))
        AWAY("--workers", "3", "--place", "rr");
    if (server_places("one"))
        AWAY("--workers", "3", "--place", "one");
}

/* ==== a crowd ============================================================= */

/* Between any hundred that come in, the others have their turn. */
Test(http_line, a_crowd_is_let_in_bit_by_bit)
{
    enum { CROWD = 1500 };
    struct client *c = calloc(CROWD, sizeof(*c)), old;
    struct server s;
    long before;

    server_start(&s, NULL);
    client_open(&old, &s);
    before = client_sample(&old, "waits", -1);
    server_signal(&s, SIGSTOP);
    for (int i = 0; i < CROWD; i++)
        client_open(&c[i], &s);
    server_signal(&s, SIGCONT);
    cr_assert(EVENTUALLY(client_sample(&old, "accepted", -1) > CROWD, 10));
    if (server_stage() > 1) /* which lets in one at a time, and counts not */
        cr_assert(client_sample(&old, "waits", -1) - before >= CROWD / 100,
                  "%ld turns for %d peers",
                  client_sample(&old, "waits", -1) - before, CROWD);
    clients_close(c, CROWD);
    client_close(&old);
    free(c);
    server_stop(&s);
}
