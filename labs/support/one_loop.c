/* one_loop.c - see one_loop.h. */
#include "one_loop.h"

#include <criterion/criterion.h>

#include "talk.h"

enum { MOST = 200 };

void loop_asked(const struct server *s, int n, int rounds, double silent)
{
    static struct client c[MOST];

    cr_assert(n <= MOST);
    clients_open(c, n, s);
    for (int k = 0; k < rounds; k++)
        for (int i = 0; i < n; i++)
            cr_assert(client_ping(&c[i]), "connection %d, request %d", i + 1,
                      k + 1);
    pause_s(silent);
    clients_close(c, n);
}

void loop_talked(const struct server *s, int n, size_t most)
{
    static struct talk t[MOST];
    struct rng r = rng_start(7);

    cr_assert(n <= MOST);
    for (int i = 0; i < n; i++)
        talk_make(&t[i], &r, 6, most);
    cr_assert(talk_all(t, n, s, 20), "the conversations did not end");
    for (int i = 0; i < n; i++) {
        const char *wrong = talk_wrong(&t[i]);

        cr_assert(!wrong, "conversation %d: %s", i, wrong);
        talk_free(&t[i]);
    }
}

/* `times` requests, one every `each` seconds. */
static void keeps_asking(struct client *c, const struct server *s, int times,
                         double each)
{
    double last = now();

    for (int i = 0; i < times; i++) {
        cr_assert(client_keeps(c, s, &last, 1),
                  "a peer that asks every %g s was closed by a timeout of 1 s, "
                  "or by that of another connection",
                  each);
        pause_s(each);
    }
}

void loop_ends_idle(const struct server *s)
{
    struct client silent[2], busy;

    clients_open(silent, 2, s);
    client_open(&busy, s);
    cr_assert(client_ping(&silent[0]));
    keeps_asking(&busy, s, 6, 0.4);
    for (int i = 0; i < 2; i++) {
        client_timeout(&silent[i], scaled(10));
        cr_assert(client_gone(&silent[i]),
                  "a silent peer is there 10 s after a timeout of 1 s; it has "
                  "asked %s",
                  i == 0 ? "once" : "nothing");
    }
    clients_close(silent, 2);
    client_close(&busy);
}

void loop_reuses_numbers(const struct server *s)
{
    struct client c;

    for (int i = 0; i < 300; i++) {
        client_open(&c, s);
        cr_assert(client_ping(&c), "connection %d", i);
        client_close(&c);
    }
    /* What those left behind would now hit this one. */
    client_open(&c, s);
    keeps_asking(&c, s, 8, 0.2);
    client_close(&c);
}

void loop_stalled(struct client c[], int n, const struct server *s)
{
    for (int i = 0; i < n; i++)
        client_open_small(&c[i], s);
    clients_stall(c, n, s);
}
