/* pool.h - helpers: threads that run the requests of one worker.
 *
 *      worker (owns ring, connections)          its helpers
 *      -------------------------------          -----------
 *      received bytes -> job                    wait for a job (gate.h)
 *      pool_hand()  ------ SPMC ring ------>    step, work, step ...
 *      ... other connections ...                what does it want now?
 *      pool_back()  <----- MPSC list -------    push it; wake the worker, if
 *      submits what the job wants               the list was empty (MSG_RING)
 *
 * Invariants:
 *  - Exactly one of these has a job at any time: its worker, the ring, one
 *    helper, the list.  A thread that has it may touch its session.
 *  - At most SPMC_SIZE jobs are out, so the ring always has room; more of them
 *    wait with the worker, in order, until some have come back.
 *  - No wake-up is lost.  To the helpers: gate.h.  To the worker: mpsc.h says
 *    which push owes it one, a completion stays in the ring until it is taken,
 *    and a message that cannot be sent becomes a write to the seat's eventfd,
 *    which the worker's ring watches.
 *
 * Nothing here is shared with another worker.
 */
#ifndef POOL_H
#define POOL_H

#include "gate.h"
#include "parts/launch.h"
#include "parts/mpsc.h"
#include "parts/spmc_ring.h"
#include "parts/uring.h"
#include "session.h"

/* clang-format off */
#define OWN_LIST(X)                                                            \
    X(handed, counter, "requests handed to a helper")                          \
    X(wakes, counter, "wake-ups sent to a worker")                             \
    X(enobufs, counter, "receives that found no buffer")                       \
    X(cq_overflow, counter, "completions that overflowed the queue")
/* clang-format on */
STATS_OWN(OWN_LIST);

struct job {
    struct mpsc_node node; /* first: lists link jobs by it */
    struct session *s;
    enum want want; /* when it is back; never WANT_WORK */
};

struct crew {
    struct spmc_ring ring;
    struct gate gate;
    struct mpsc returns;
    /* Only read while helpers run: */
    PADDED struct seat *seat;
    int ring_fd; /* the worker's ring */
    int n;       /* helpers; 0: none of this is used */
    struct helper *helpers;
    _Atomic bool stop;
    /* The worker's: */
    PADDED unsigned out;                  /* jobs */
    struct mpsc_node *later, **later_end; /* jobs that wait for room */
};

/* Starts n helpers, pinned behind the workers; n may be 0.  ring: the worker's,
 * open.  Dies with the reason. */
void pool_open(struct crew *c, struct seat *seat, int n,
               const struct io_uring *ring);

/* Call it when no job is out, before the worker's ring is closed: a helper may
 * be about to send its last message. */
void pool_close(struct crew *c);

/* From here on the session is the helpers', until pool_back() has the job. */
void pool_hand(struct crew *c, struct job *job);

/* All jobs that came back, oldest first, linked by node.next; or NULL.  Their
 * wake-up is a completion with the crew as its data. */
struct mpsc_node *pool_back(struct crew *c);

/* Prints " cpu 1, cpu 2": the cpus of the helpers. */
void pool_print(const struct crew *c);

#endif
