/* test_valgrind.c - a short life under valgrind: no error, nothing leaked. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"

#define SUPPRESSIONS "stages/tests/valgrind.supp"

TestSuite(any_valgrind, .timeout = 300);

/* The first of these that exists; skips the test when none does. */
static const char *find_valgrind(void)
{
    static const char *const places[] = {"/usr/bin/valgrind",
                                         "/usr/local/bin/valgrind"};

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (access(places[i], X_OK) == 0)
            return places[i];
    cr_skip("valgrind is not installed");
    return NULL;
}

/* What the peers of a short life do: good, bad, gone in the middle, stuck. */
static void short_life(const struct server *s)
{
    struct client c, stuck;

    cr_assert(client_traffic(s, 1) == 1, "%s", server_stderr(s));
    for (int i = 0; i < 5; i++)
        cr_assert(server_answers(s));
    client_open(&c, s);
    client_text(&c, "POST /echo HTTP/1.1\r\nHost: a\r\n"
                    "Content-Length: 5000\r\n\r\nabc");
    pause_s(0.1);
    client_reset(&c);
    client_open(&c, s);
    client_text(&c, "BAD\r\n\r\n");
    client_fin(&c);
    cr_assert(client_gone(&c));
    client_close(&c);
    client_open_small(&stuck, s);
    client_stall(&stuck, s);
    cr_assert(server_answers(s));
    client_close(&stuck);
}

Test(any_valgrind, clean_to_the_end)
{
    const char *under[] = {NULL,
                           "-q",
                           "--undef-value-errors=yes",
                           "--error-exitcode=99",
                           "--leak-check=full",
                           "--show-leak-kinds=definite,indirect,possible",
                           "--errors-for-leak-kinds=definite,indirect,possible",
                           "--suppressions=" SUPPRESSIONS,
                           NULL};
    struct launch how = {.under = under};
    struct server s;

    if (server_is_sanitized())
        cr_skip("a sanitizer is at work already");
    cr_assert_eq(access(SUPPRESSIONS, R_OK), 0,
                 "run it from the repository's root: no " SUPPRESSIONS);
    under[0] = find_valgrind();
    /* It does not see a ring's operations write into our memory. */
    if (server_stage() >= 3)
        under[2] = "--undef-value-errors=no";
    /* It runs one thread at a time, and none, nor a signal's handler, while one
     * waits in a ring.  So there is one worker, and its wait ends soon. */
    if (server_stage() >= 5)
        server_start_as(&s, &how, "--workers", "1", "--stats", "0.02", NULL);
    else if (server_stage() >= 3)
        server_start_as(&s, &how, "--stats", "0.02", NULL);
    else
        server_start_as(&s, &how, NULL);
    short_life(&s);
    server_stop(&s);
}
