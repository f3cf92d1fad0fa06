/* load.h - one thread of the generator: its connections, its loop, its counts.
 *
 * Threads share nothing while they run: connections, schedule and histograms
 * belong to one thread each and are added up at the end.
 *
 *   connect all -> | warm-up | measured window | drain: replies still owed |
 *                            begin             end
 *
 * Closed loop: a request is counted when its reply is complete, and the window
 * decides.  Open loop: latency counts the requests whose intended time lies in
 * the window, whenever they are answered, so that a stall at the end is not cut
 * off; the rate counts replies in the window.
 *
 * Turns.  On a machine whose speed moves, two servers are compared in turns so
 * short that both meet the same speed: each has a generator of its own, and one
 * of them at a time is told to go on.  The window is then the sum of the turns,
 * each from quiet to quiet: nothing is in flight when it begins, and it ends
 * with its last answer, so that the server's CPU clock is exact at both ends.
 *
 * Sleeping.  A generator that sleeps makes the server pay for waking it: over
 * loopback that was a third of a request's cost.  So a thread that has a cpu of
 * its own polls, in both loops, and the time that it polls in vain counts as
 * idle.  Every sleep in the window is counted, whoever was to blame for it.
 *
 * Who is to blame.  The generator is late when it could have sent and did not.
 * For each request of the open loop it knows the earliest moment at which it
 * could have: the intended time, or, when no connection was free, the time one
 * became free, or would have, had the request before on that connection been
 * sent in time: a queue that a late generator has made is its own fault, to the
 * last request in it.  `lag` is what passed from there to the send.  A reply
 * may lie in the kernel while the generator is elsewhere: it can have arrived
 * at any moment since the last look, and the whole of that time is charged to
 * the generator (`attended`), so that a doubt never counts against the server.
 */
#ifndef LOAD_H
#define LOAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "config.h"
#include "hist.h"
#include "reply.h"
#include "request.h"
#include "sample.h"

/* Each failed request, or connection without a request, counts once. */
#define ERROR_LIST(X)                                                          \
    X(status, "another status")                                                \
    X(length, "body longer or shorter")                                        \
    X(bytes, "other bytes")                                                    \
    X(order, "the reply to another request")                                   \
    X(duplicate, "a reply that had come already")                              \
    X(malformed, "not HTTP")                                                   \
    X(extra, "bytes that nobody asked for")                                    \
    X(lost, "connection ended before the reply")                               \
    X(reset, "connection reset before the reply")                              \
    X(timeout, "no reply in time")                                             \
    X(connect, "no connection")

enum error {
#define X(name, help) ERROR_##name,
    ERROR_LIST(X)
#undef X
        ERROR_KINDS
};

struct tally {
    uint64_t requests; /* answered, every byte right */
    uint64_t bytes_in, bytes_out, header_bytes, headers;
    uint64_t connects;
    uint64_t abandoned; /* in flight when we closed because of an error */
    uint64_t retried;   /* in flight behind an announced close */
    uint64_t errors[ERROR_KINDS];
};

enum phase_of_run { RUN_CONNECT, RUN_WARMUP, RUN_MEASURE, RUN_DRAIN, RUN_DONE };
enum {
    CLASSES = 2,          /* fast, slow */
    DRAIN_NS = 200000000, /* beyond the time that an answer may take */
};

/* What the histograms of one thread hold, in nanoseconds. */
struct marks {
    struct hist latency, uncorrected, lateness, class[CLASSES];
    uint64_t blame[HIST_CELLS]; /* generator's share of the latencies there */
};

/* What one thread has used up; the difference of two is the window's. */
struct usage {
    int64_t at_ns, user_ns, sys_ns;
    int64_t sleeps;  /* times it gave its cpu away */
    int64_t idle_ns; /* spent polling with nothing to do */
};

/* What all threads are told. */
struct run {
    const struct config *cf;
    const struct plan *plan;
    bool crowd; /* connections that ended are not opened again */
    bool spins; /* threads never sleep while the clock runs */
    _Atomic int64_t begin_ns, end_ns; /* of the window; the crowd learns late */
    _Atomic int64_t drain_end_ns;
    pthread_barrier_t connected, started;
    struct server_clock server[2]; /* at the window's borders, by thread 0 */
    struct server_status base;     /* --turns: before the first measured one */
};

/* A request that waits to be sent. */
struct wish {
    int64_t intended_ns;
    uint32_t arg;
    bool slow;
};

struct queue {
    struct wish *at;
    uint32_t head, len, cap; /* cap: a power of two */
};

struct conn;
struct engine;

struct load {
    struct run *run;
    const struct config *cf;
    const struct plan *plan;
    int index, first, step; /* connections first, first + step, ... */
    pthread_t thread;

    enum phase_of_run phase;
    const struct engine *engine; /* how it waits, receives and sends */
    void *own;                   /* the engine's */
    int n_conns;
    struct conn *conns;
    double *cdf, share; /* weights of these connections; of the whole rate */
    int up, connecting, connect_errno;
    uint64_t outstanding; /* requests given to connections, not answered */
    uint64_t queued;      /* wishes in queues */
    char *scratch;
    size_t scratch_len;
    struct head_cache cache;
    struct rng rng;

    /* open loop */
    struct schedule schedule;
    struct queue again;                 /* wishes to be repeated */
    struct conn *free_head, *free_tail; /* have room, longest free first */
    bool starved;                       /* a wish is due and nobody is free */
    int64_t looked_ns;                  /* the last look at the sockets */
    int64_t attended_ns;                /* replies now read came no earlier */
    int64_t idle_ns;
    bool idle_turn; /* the last turn found nothing to do */

    int64_t now_ns; /* the clock when it was last read */
    int64_t next_sweep_ns, pause_at_ns;
    struct tally *t, warm, measured; /* t: where counts go now */
    struct marks *marks;
    struct usage usage[2];
    uint64_t unfinished; /* open loop: never answered, counted by their age */
    uint64_t arrivals;   /* open loop: intended in the window */
};

static inline int64_t clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static inline void load_clock(struct load *l)
{
    l->now_ns = clock_ns();
}

/* Allocates; connection i of all belongs to thread i % threads. */
void load_init(struct load *l, struct run *run, int index);
void load_free(struct load *l);

/* The thread's body.  Signals are left to the main thread. */
void *load_main(void *load);

/* Its parts, for the crowd.  Connects all, a few at a time; says in up and
 * connect_errno how that went. */
void load_connect(struct load *l);
void load_start_schedule(struct load *l, int64_t start_ns);

/* Waits for something to happen, handles it, sends what is due. */
void load_turn(struct load *l);

/* ---- for conn.c ---- */

/* A reply came whole and right.  The record goes away after this. */
struct pending;
void load_record(struct load *l, const struct pending *p);
void load_error(struct load *l, enum error kind, uint64_t n);

/* Open loop: no reply will come; its age counts as its latency, which is less
 * than the truth but does not make the tail look short. */
void load_unfinished(struct load *l, const struct pending *p);

/* The connection may have room for a request: give it one, now or later. */
void load_feed(struct load *l, struct conn *c);

/* Requests are still to be sent. */
static inline bool load_wants(const struct load *l)
{
    return l->phase == RUN_WARMUP || l->phase == RUN_MEASURE ||
           (l->phase == RUN_DRAIN && l->cf->rate > 0);
}

/* The connection of an event; NULL when the event is an earlier one's, that had
 * its place. */
struct conn *load_conn(struct load *l, uint32_t index, uint32_t generation);

void queue_push(struct queue *q, struct wish w);
struct wish queue_pop(struct queue *q);

#endif
