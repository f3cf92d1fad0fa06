/* test_peers.c - peers who come and go at a bad moment: they leave before they
 * are let in, or go on talking when all is said.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "talk.h"

TestSuite(any_peers, .timeout = 120);

/* ==== at the door ========================================================= */

/* Half of the accepts bring only word of a peer that is gone.  That is no
 * shortage: nobody is refused, and there is no pause. */
static void must_not_pause(const char *plan)
{
    struct launch how = {.binary = fault_path(), .fault = plan};
    bool ring = strncmp(plan, "ring_", 5) == 0;
    struct server s;
    const char *done;

    if (ring != (server_stage() >= 3))
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
