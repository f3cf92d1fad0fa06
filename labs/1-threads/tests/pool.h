/* pool.h - lab 1: peers of the server, and the pool of threads that you write.
 *
 *      your main thread            one of your threads
 *      poll: listener, signal
 *      accept, peer_new
 *      hand it over  ------------> peer_serve      recv, step, send: blocking
 *                                    pool_rests      answered; recv sleeps
 *                                    pool_wakes      recv has returned
 *                                    pool_leaves     then it is freed
 *                                  ... and the next peer
 */
#ifndef POOL_H
#define POOL_H

#include <stdbool.h>
#include <sys/queue.h>

#include "service.h"

struct peer {
    int fd;
    /* The rest is yours; the server does not look at it.  Add what you need. */
    TAILQ_ENTRY(peer) link, rest;
    bool resting, ended;
};

/* ---- what the server offers ---- */

/* For an accepted descriptor.  NULL: no memory, and the descriptor is closed.
 * Any thread. */
struct peer *peer_new(int fd);

/* Leads the whole conversation, on the calling thread, which sleeps in it and
 * needs STACK_SIZE bytes of stack.  *p is closed and freed when it returns. */
void peer_serve(struct peer *p);

/* Closes and frees a peer that was not served. */
void peer_drop(struct peer *p);

/* Any thread, until pool_leaves() of that peer has returned.  peer_end(): if no
 * request of it is in flight, recv reports the end as soon as all that has
 * arrived was received.  While the server drains, a peer with a request in
 * flight ends by itself after its answer.  peer_cut(): all its calls fail. */
void peer_end(struct peer *p);
void peer_cut(struct peer *p);

enum { STACK_SIZE = 128 * 1024 };

/* ---- what you write ---- */

struct pool_setup {
    struct service *sv; /* sv->opt.workers: the most threads beside the main
                         * one; sv->signal: readable once it is to stop */
    int listener;       /* non-blocking; net_unlisten() closes it */
};

/* Serves until the server is to stop, then what the accept queue holds and what
 * is in flight, until service_over() at the latest.  When it returns no peer is
 * left. */
void pool_run(struct pool_setup *setup);

/* Called by peer_serve(), on its thread.  A peer rests from when it has been
 * answered until recv returns: bytes of the next request, the end, or a
 * timeout.  It leaves once, and does not rest then. */
void pool_rests(struct peer *p);
void pool_wakes(struct peer *p);
void pool_leaves(struct peer *p);

#endif
