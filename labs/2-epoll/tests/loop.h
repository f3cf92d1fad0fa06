/* loop.h - lab 2: the one function that you write, and what it may use.
 *
 * The server opens everything, calls loop_run() and reports when it returns.
 *
 *      loop_run()                                   common/
 *      epoll_wait, accept, recv, send               session.h, buf.h, net.h
 *      whose deadline is next, whose turn is it     service.h, stats.h
 */
#ifndef LOOP_H
#define LOOP_H

#include "service.h"

struct loop_setup {
    struct service *sv;  /* sv->opt: max_conns, idle_ms; sv->signal: readable
                          * once the server is to stop */
    struct stats *stats; /* for session_step(), service_work(), STAT_ADD() */
    int epoll;           /* an empty set */
    int listener;        /* non-blocking; net_unlisten() closes it */
};

/* Serves until the server is to stop, then what the accept queue holds and what
 * is in flight, until service_over() at the latest.  All connections and the
 * listener are closed when it returns.  One thread. */
void loop_run(struct loop_setup *setup);

#endif
