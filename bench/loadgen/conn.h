/* conn.h - one connection of the generator.
 *
 * It owns no loop and does not wait: an engine (engine.h) says what happened to
 * its socket, and brings the bytes.
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

    /* the ring's (engine_uring.c) */
    uint8_t todo;       /* what its next submission does for us */
    bool receives;      /* a receive is in the kernel */
    int64_t todo_ns;    /* since when a send is among it */
    const char *flying; /* the bytes of the last send */
    uint32_t flying_len;
};

void conn_init(struct conn *c, uint32_t id, int depth);
void conn_free(struct conn *c);

static inline uint64_t conn_in_flight(const struct conn *c)
{
    return c->tail - c->head;
}

/* Starts to connect; false, and counted, when that failed at once. */
bool conn_open(struct load *l, struct conn *c);

/* Adds a request; conn_flush() has the engine send what was added, now or in a
 * moment. */
void conn_push(struct load *l, struct conn *c, struct wish w, int64_t lag);
void conn_flush(struct load *l, struct conn *c);

/* ---- what an engine says; after each, the connection may be another ---- */

/* Sends by send() what waits to be sent. */
void conn_write(struct load *l, struct conn *c);

/* The socket can be written to, or has connected, or has failed to. */
void conn_writable(struct load *l, struct conn *c);

/* Bytes came.  False: the connection is gone, with all that it was. */
bool conn_bytes(struct load *l, struct conn *c, const char *p, size_t n);

/* The server has said that no more will come. */
void conn_ended(struct load *l, struct conn *c);

/* The connection broke: what came before may still be read, but the replies
 * owed will not come. */
void conn_broke(struct load *l, struct conn *c, int err);

/* ---- for an engine that sends by itself ---- */

/* Requests that are not built yet, as bytes: as many as fit.  They are in
 * `room` (cap bytes) or in memory that stays.  Marks them as sent now. */
const char *conn_build(struct load *l, struct conn *c, char *room, size_t cap,
                       size_t *len);

/* Requests that are not built yet could have been sent at `since`; that they
 * were not is the generator's fault. */
void conn_held_up(const struct load *l, struct conn *c, int64_t since);

/* Bytes of which only some were sent: a copy of the rest waits its turn. */
void conn_keep(struct conn *c, const char *p, size_t n);

/* Closes without a word; requests in flight are dropped, unsent ones too. */
void conn_drop(struct load *l, struct conn *c);

/* Looks at the clock: late replies, late connects, closed ones to reopen. */
void conn_sweep(struct load *l, struct conn *c);

#endif
