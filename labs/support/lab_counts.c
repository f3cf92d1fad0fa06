/* lab_counts.c - see lab_calls.h.  The tests' side. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lab_calls.h"
#include "server.h"

struct counts lab_counts(struct server *s)
{
    struct counts c = {0};
    const char *text, *line = NULL;

    cr_assert(server_alive(s), "the server ended by itself, status %d:\n%s",
              s->status, server_stderr(s));
    server_signal(s, SIGTERM);
    cr_assert_eq(server_wait(s, scaled(15)), 0,
                 "status %d after SIGTERM (-1: it still runs):\n%s", s->status,
                 server_stderr(s));
    text = server_stderr(s);
    for (const char *p = text; (p = strstr(p, "counts: ")) != NULL; p++)
        line = p;
    cr_assert(line && sscanf(line,
                             "counts: recvs %lu sends %lu accepts %lu polls "
                             "%lu threads %lu waits %lu ctls %lu most_in %lu "
                             "most_out %lu early %lu gone %lu dry %lu",
                             &c.recvs, &c.sends, &c.accepts, &c.polls,
                             &c.threads, &c.waits, &c.ctls, &c.most_in,
                             &c.most_out, &c.early, &c.gone, &c.dry) == 12,
              "the server said no counts:\n%s", text);
    return c;
}
