/* service.h - what every server does before its loop starts and after it ends.
 *
 * No loop in here: a stage opens the service, runs its own loop, closes it.
 */
#ifndef SERVICE_H
#define SERVICE_H

#include "options.h"
#include "session.h"

enum {
    RETRY_MS = 100,     /* pause after accept ran out of descriptors */
    DRAIN_TICK_MS = 10, /* how often a drain looks at its deadline */
};

struct service {
    const char *name; /* "stage2" */
    struct options opt;
    struct app app;
    struct cancel stop; /* raised by SIGTERM and SIGINT */
    int signal;         /* eventfd: readable for good once stop was raised */
    int64_t stats_ms;   /* when the next line of --stats is due */
};

/* Parses the command line (see options_parse), opens --root, takes the signals.
 * Leaves the process with a message when that fails.  *v must be static or
 * outlive every session: sessions point into it. */
void service_open(struct service *v, const char *name, const char *doc,
                  int argc, char **argv, const struct argp *own,
                  void *own_input);

/* Wrong usage (exit 64) when --workers asks a stage of one loop for more. */
void service_one_loop(const struct service *v);

/* Prints what was chosen to stderr and the ready line to stdout.  Wrong usage
 * (exit 64) when --workers MIN:MAX is still in the options: a stage that knows
 * it has set workers_min to 0. */
__attribute__((format(printf, 2, 3))) void
service_ready(struct service *v, const char *chosen, ...);

static inline bool service_draining(const struct service *v)
{
    return cancel_level(&v->stop) >= CANCEL_DRAIN;
}

/* The drain timeout is over: leave, even if connections are open. */
static inline bool service_over(const struct service *v)
{
    return cancel_level(&v->stop) >= CANCEL_NOW;
}

/* How long a loop may sleep, in ms, -1 for good: the soonest of its timers (in
 * timers_ms, -1: none), the end of its pause in accepting (at retry_ms, if
 * still to come), the next --stats line, the next look at the drain's end. */
int service_wait_ms(const struct service *v, int64_t now_ms, int timers_ms,
                    int64_t retry_ms);

/* session_work(), counted; returns the ms it took.  A loop that runs it itself
 * sets its own clock back by them: it received nothing meanwhile, so that time
 * counts against no peer's deadline. */
int64_t service_work(struct session *s, struct stats *st);

/* Prints the --stats line when it is due.  One thread of the process. */
void service_tick(struct service *v);

/* The summary line on stderr; closes what service_open opened. */
void service_close(struct service *v);

#endif
