/* conn.h - one connection of the generator.
 *
 * Registered once with epoll, edge-triggered, for everything: a request costs
 * one send(), its reply one recv(), and no epoll_ctl().  A receive that fills
 * less than its buffer has drained the socket; what comes later is a new edge.
 *
 * Requests are numbered.  The ring holds those that are not answered yet:
 *
 *      head                built              tail
 *       | sent, unanswered  | not yet written  |
 */
#ifndef CONN_H
#define CONN_H

#include "load.h"

struct pending {
    int64_t intended_ns, sent_ns;
    int64_t lag_ns; /* what the generator was late by, sending it */
    uint32_t arg;
    bool slow;
    bool answered; /* out of its turn */
};

enum conn_state {
    CONN_DOWN,
    CONN_CONNECTING,
    CONN_UP,
    CONN_ENDING, /* answered, and the end of the connection must follow */
};

struct conn {
    int fd;
    uint32_t id, generation; /* generation: moves with every socket */
    enum conn_state state;
    bool listed; /* in the list of free ones */
    uint64_t head, built, tail;
    struct pending *ring;
    uint32_t mask;
    struct reply reply;
    char *rest; /* written in part: what is left to send */
    size_t rest_off, rest_len, rest_cap;
    int64_t connect_ns; /* since when it connects */
    int64_t retry_ns;   /* not to be opened again before */
    int64_t free_ns;    /* since when it has room for a request, or would
                         * have, had the generator been in time */
    struct conn *next_free;
    struct queue queue; /* wishes that may go nowhere else */
};

void conn_init(struct conn *c, uint32_t id, int depth);
void conn_free(struct conn *c);

static inline uint64_t conn_in_flight(const struct conn *c)
{
    return c->tail - c->head;
}

/* Starts to connect; false, and counted, when that failed at once. */
bool conn_open(struct load *l, struct conn *c);

/* Adds a request; conn_flush() sends what was added. */
void conn_push(struct load *l, struct conn *c, struct wish w, int64_t lag);
void conn_flush(struct load *l, struct conn *c);

void conn_event(struct load *l, struct conn *c, uint32_t events);

/* Closes without a word; requests in flight are dropped, unsent ones too. */
void conn_drop(struct load *l, struct conn *c);

/* Looks at the clock: late replies, late connects, closed ones to reopen. */
void conn_sweep(struct load *l, struct conn *c);

#endif
