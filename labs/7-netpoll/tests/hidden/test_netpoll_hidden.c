/* test_netpoll_hidden.c - lab 7: what no student has seen: more descriptors
 * than a table of 1,024 has places. */
#include <criterion/criterion.h>

#include "client.h"
#include "lab_calls.h"
#include "server.h"

Test(hidden, above_1023)
{
    enum { N = 1100 };
    static struct client c[N];
    struct server s;

    server_start(&s, NULL);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        cr_assert(client_ping(&c[i]), "connection %d of %d", i + 1, N);
    }
    for (int i = N - 1; i >= 0; i -= 50)
        cr_assert(client_ping(&c[i]), "connection %d, beside the others",
                  i + 1);
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
    lab_counts(&s);
}
