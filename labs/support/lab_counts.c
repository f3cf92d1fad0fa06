/* lab_counts.c - see lab_calls.h.  The tests' side. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>

#include "lab_calls.h"
#include "server.h"

/* The runner chooses it; its test processes and the servers inherit it. */
__attribute__((constructor(101))) static void nonce_choose(void)
{
    char text[32];
    uint64_t number = 0;

    if (getenv(LAB_NONCE) || getrandom(&number, sizeof number, 0) < 0)
        return;
    snprintf(text, sizeof text, " %016" PRIx64, number);
    setenv(LAB_NONCE, text, 1);
}

struct counts lab_counts(struct server *s)
{
    struct counts c = {0};
    const char *text, *line;
    char begin[80];

    cr_assert(server_alive(s), "the server ended by itself, status %d:\n%s",
              s->status, server_stderr(s));
    server_signal(s, SIGTERM);
    cr_assert_eq(server_wait(s, scaled(15)), 0,
                 "status %d after SIGTERM (-1: it still runs):\n%s", s->status,
                 server_stderr(s));
    text = server_stderr(s);
    snprintf(begin, sizeof begin, "counts%s: ", getenv(LAB_NONCE));
    line = strstr(text, begin);
    cr_assert(line &&
                  sscanf(line + strlen(begin),
                         "recvs %lu sends %lu accepts %lu polls "
                         "%lu threads %lu waits %lu ctls %lu most_in %lu "
                         "most_out %lu early %lu gone %lu dry %lu switches %lu",
                         &c.recvs, &c.sends, &c.accepts, &c.polls, &c.threads,
                         &c.waits, &c.ctls, &c.most_in, &c.most_out, &c.early,
                         &c.gone, &c.dry, &c.switches) == 13,
              "the server said no counts:\n%s", text);
    return c;
}

void lab_stop(const struct server *s)
{
    int status = 0;

    server_signal(s, SIGSTOP);
    cr_assert(waitpid(s->pid, &status, WUNTRACED) == s->pid &&
                  WIFSTOPPED(status),
              "the server has ended: %s", server_stderr(s));
}
