/* sim.h - a discrete-event simulator of ways to give requests to cores.
 *
 * Requests arrive at random (Poisson), each on a connection drawn evenly; a
 * connection has one request in flight, so the next one waits at the client.
 * A request is received, handled and answered.  What differs is which core may
 * do that, and when:
 *
 *   one      one queue, free of cost: no policy can do better
 *   hash     each core its own connections (stage 5).  A turn takes what has
 *            arrived, runs it all, and then sends all replies
 *   mutex    one queue behind a lock, helpers that run handlers, and a worker
 *            for each --helpers of them, which receives and replies (stage 5
 *            with its mutex pool)
 *   ring     the same with a queue without lock for each worker (stage 5's
 *            pool)
 *   steal    as hash; but what has arrived lies in the core's queue: receives,
 *            handlers and replies, one handler a turn.  An idle core takes half
 *            of another's queue (stage 6 with --steal queue).  What arrives
 *            behind a long handler is not seen before its end
 *   rescue   as steal; a sentinel looks every --look-us, and when a core has
 *            been in one handler for --stuck-us, it wakes an idle core, which
 *            takes what has arrived there (stage 6)
 *
 * Simplifications: cores never share a cache or an execution unit, the network
 * and the clients cost --base-us of latency and nothing else, a parked core
 * needs --wake-us to begin, and the sentinel has a core of its own.  With
 * --cpus the threads of the server share that many cpus, one request after the
 * other: for handlers that sleep.
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "draw.h"
#include "hist.h"

enum { MAX_CORES = 4096 };

enum policy { ONE, HASH, MUTEX, RING, STEAL, RESCUE, POLICIES };

/* Times in microseconds. */
struct config {
    enum policy policy;
    int cores, helpers, connections;
    int cpus;          /* 0: each core is one */
    double load, rate; /* rate: requests a second; 0: made from load */
    double io_us;      /* of cpu, half for the receive, half for the reply */
    double io_many_us; /* the same when 16 or more are done together; 0: io_us;
                          between the two a line over the logarithm */
    double hand_us;    /* mutex, ring: of a helper, to give it back */
    double late_us;    /* a handler ends so much later: half of all sleeps do;
                          one in 10 and one in 100 by so much or more (0: all
                          by late_us), the rest on lines over the logarithm */
    double late_90_us, late_99_us;
    double wake_us;           /* until a parked core begins */
    double base_us;           /* network and client: half before, half after */
    double steal_us;          /* a theft */
    double look_at_us;        /* a look at the queue of one other core */
    double stuck_us, look_us; /* look_us 0: four times stuck_us */
    double lock_us, line_us;  /* one pass through a lock; a queue's line */
    bool at_once;             /* a reply does not wait for the turn's end */
    uint64_t requests, warmup, seed;
    struct service service;
};

struct found {
    double load, rate; /* as simulated */
    double throughput; /* requests a second */
    double busy;       /* share of the cores' time */
    double search;     /* share of it spent on looking for work elsewhere */
    double sentinel;   /* share of a core */
    double waited_us;  /* for locks and lines, a request */
    uint64_t steals, rescues, wakes;
    struct hist all, fast; /* ns, after the warm-up; fast: of a bimodal one */
};

/* Fills *f, which may hold anything before.  Dies when memory runs out.  The
 * same config gives the same result. */
void simulate(const struct config *cf, struct found *f);

#endif
