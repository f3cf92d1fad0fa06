/* crowd.h - connections that stay open and, mostly, silent.
 *
 * A process has a descriptor limit, so the crowd is spread over processes; a
 * source address has 28,000 ports, so --sources spreads it over addresses.
 * Each process counts in memory that it shares with the generator.
 */
#ifndef CROWD_H
#define CROWD_H

#include "config.h"
#include "hist.h"

struct crowd_counts {
    int open;           /* now */
    int failed;         /* could not be opened */
    int lost;           /* ended by the server */
    int64_t opening_ns; /* from the first connect until all were open */
    uint64_t heartbeats, heartbeat_errors;
    struct hist latency; /* of heartbeats in the window */
};

struct crowd;

/* Starts the processes and waits until all connections are open or have failed
 * within the connect timeout.  NULL when the crowd is empty. */
struct crowd *crowd_start(const struct config *cf);

/* Heartbeats intended in that time count. */
void crowd_window(struct crowd *c, int64_t begin_ns, int64_t end_ns);

/* Adds the processes' counts up.  Heartbeats of the window may still be under
 * way; later is better. */
void crowd_read(const struct crowd *c, struct crowd_counts *sum);

/* Ends the processes. */
void crowd_stop(struct crowd *c);

#endif
