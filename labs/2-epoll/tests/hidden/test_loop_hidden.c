/* test_loop_hidden.c - lab 2: what no student has seen: a body that is slow,
 * but moves. */
#include <criterion/criterion.h>

#include "client.h"
#include "lab_calls.h"
#include "server.h"

/* A byte of a body now and then, longer in all than the timeout of a second.
 * False: the connection was closed.  That proves nothing yet: who does not get
 * the core for a second looks like a peer that is silent. */
static bool slow_body(const struct server *s)
{
    enum { BYTES = 10 };
    static struct reply r;
    struct client c;
    bool open = true;

    client_open(&c, s);
    cr_assert(client_text(&c, "POST /echo HTTP/1.1\r\nHost: a\r\n"
                              "Content-Length: 10\r\n\r\n"));
    for (int i = 0; open && i < BYTES; i++) {
        pause_s(0.25);
        open = client_text(&c, "x");
    }
    open = open && client_reply(&c, &r);
    if (open)
        reply_free(&r);
    client_close(&c);
    return open;
}

Test(hidden, slow_body)
{
    struct server s;
    int tries = 0;

    server_start(&s, "--idle-timeout", "1", NULL);
    while (!slow_body(&s))
        cr_assert(++tries < 5,
                  "a body of which a byte comes every 0.25 s is cut off by a "
                  "timeout of 1 s, %d times of %d",
                  tries, tries);
    lab_counts(&s);
}
