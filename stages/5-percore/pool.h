/* pool.h - helper threads that run requests for the workers of stage 5.
 *
 *      worker (owns ring, connections)          helpers
 *      -------------------------------          -------
 *      received bytes -> job                    wait for a job
 *      pool_hand(job)  --- queue --->           step, work, step ...
 *      ... other connections ...                what does it want now?
 *      pool_back()     <-- returns ---          push it, wake the worker
 *      submits what the job wants
 *
 * Two ways to queue, to be compared:
 *  - spmc: every worker has a lock-free ring (spmc_ring.h) and helpers of its
 *    own; workers share nothing;
 *  - mutex: one queue, one lock for all workers and helpers (mutex_queue.h).
 * Either way the job returns to its owner by a list without a lock (mpsc.h),
 * because only the owner may submit on its ring.
 *
 * Invariants:
 *  - A job is in one place at a time: with its owner, in one queue, with one
 *    helper, or on one list.  Whoever has it may touch its session.
 *  - A worker has at most `share` jobs out, so the queue always has room; more
 *    wait with their owner, in order, until some have come back.
 *
 * Waking the owner: a helper that finds the list empty posts one completion
 * into the owner's ring (MSG_RING), or writes its eventfd.  MSG_RING is the
 * cheaper one from 6.11 on, the eventfd before.
 */
#ifndef POOL_H
#define POOL_H

#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "gate.h"
#include "net.h"
#include "parts/mpsc.h"
#include "parts/mutex_queue.h"
#include "parts/spmc_ring.h"
#include "parts/uring.h"
#include "service.h"

/* clang-format off */
#define OWN_LIST(X)                                                            \
    X(enobufs, counter, "receives that found no buffer")                       \
    X(handed, counter, "requests handed to a helper")                          \
    X(wakes, counter, "wake-ups sent to another thread")                       \
    X(cq_overflow, counter, "completions that overflowed the queue")
/* clang-format on */
STATS_OWN(OWN_LIST);

enum pool_by { POOL_INLINE, POOL_SPMC, POOL_MUTEX };
enum wake_by { WAKE_MSG, WAKE_EVENTFD };

struct job {
    struct mpsc_node node; /* first: the return list links jobs by it */
    struct crew *crew;     /* where it returns to */
    struct session *s;
    enum want want; /* what it wants when it returns; never WANT_WORK */
};

/* What a worker shares with its helpers; and, on lines of its own, what it
 * keeps about that to itself. */
struct crew {
    struct spmc_ring ring;
    struct gate gate;
    struct mpsc returns;
    struct pool *pool;
    int eventfd; /* the owner keeps a read armed on it */
    int ring_fd; /* the owner's ring, for MSG_RING: user_data is the crew */
    /* The owner's: */
    PADDED uint64_t posts; /* the read puts the eventfd's count here */
    bool listening;        /* the read is armed */
    unsigned out, share;   /* jobs that are out, and may be at a time */
    struct mpsc_node *later, **later_end; /* jobs that wait for that */
};

struct helper {
    struct stats stats; /* first: on lines of its own */
    struct crew *crew;
    struct io_uring ring; /* to send messages from */
    bool sends;           /* it has that ring */
    pthread_t thread;
    int cpu; /* where it is pinned, or negative */
};

struct pool {
    enum pool_by by;
    enum wake_by wake;
    int per_worker; /* helpers */
    unsigned share; /* of the queue, for each worker */
    bool pin;
    struct mutex_queue queue; /* by mutex: of all */
    _Atomic bool stop;
    int n_helpers;
    struct helper *helpers;
};

/* Steps until the session wants something of its owner.  *held_ms: grows by the
 * time that handlers took. */
static inline enum want job_run(struct session *s, struct stats *st,
                                int64_t *held_ms)
{
    enum want want;

    while ((want = session_step(s, st)) == WANT_WORK)
        *held_ms += service_work(s, st);
    return want;
}

/* Owner: the step that it takes itself.  WANT_WORK: this is for a helper, so
 * hand it over.  Bytes that have arrived are; an answer that goes on is not. */
static inline enum want pool_step(struct pool *p, struct session *s,
                                  struct stats *st, int64_t *held_ms)
{
    if (p->by == POOL_INLINE)
        return job_run(s, st, held_ms);
    if (buf_len(&s->in) > 0 && buf_len(&s->out) == 0)
        return WANT_WORK;
    return session_step(s, st);
}

/* Owner: jobs that waited go out, as many as may. */
static inline void crew_feed(struct crew *c)
{
    while (c->later && c->out < c->share) {
        struct mpsc_node *job = c->later;

        c->later = job->next;
        c->out++;
        if (c->pool->by == POOL_MUTEX) {
            CHECK(mq_push(&c->pool->queue, job));
        } else {
            CHECK(spmc_push(&c->ring, job));
            gate_wake(&c->gate);
        }
    }
    if (!c->later)
        c->later_end = &c->later;
}

/* Owner: from here on the session is not ours, until the job is back. */
static inline void pool_hand(struct job *job)
{
    struct crew *c = job->crew;

    job->node.next = NULL;
    *c->later_end = &job->node;
    c->later_end = &job->node.next;
    crew_feed(c);
}

static inline struct job *job_next(const struct job *job)
{
    return (struct job *)job->node.next;
}

/* Owner: all jobs that came back, oldest first, or NULL. */
static inline struct job *pool_back(struct crew *c)
{
    struct job *first = (struct job *)mpsc_take(&c->returns);

    for (struct job *job = first; job; job = job_next(job))
        c->out--;
    crew_feed(c);
    return first;
}

/* Helper: the next job; NULL: the pool stops. */
static inline struct job *pool_wait(struct pool *p, struct crew *c)
{
    struct job *job;

    if (p->by == POOL_MUTEX)
        return mq_wait(&p->queue);
    while ((job = spmc_pop(&c->ring)) == NULL) {
        uint32_t key;

        if (atomic_load(&p->stop))
            return NULL;
        key = gate_enter(&c->gate);
        /* Announced first, then looked once more: see gate.h. */
        if (!spmc_empty(&c->ring) || atomic_load(&p->stop))
            gate_leave(&c->gate);
        else
            gate_sleep(&c->gate, key);
    }
    return job;
}

/* Helper: one completion in the owner's ring.  False: it may not have got
 * there.  An operation left over from an interrupted call goes with the next
 * one: a wake-up too many, which costs its owner one turn. */
static inline bool crew_message(struct helper *h, struct crew *c)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&h->ring);
    bool told = sqe != NULL;

    if (sqe)
        io_uring_prep_msg_ring(sqe, c->ring_fd, 0, (uintptr_t)c, 0);
    if (io_uring_submit_and_wait(&h->ring, 1) < 0 ||
        io_uring_cq_ready(&h->ring) == 0)
        return false;
    while (io_uring_cq_ready(&h->ring) > 0)
        told &= uring_take(&h->ring).res >= 0;
    return told;
}

/* Helper: the owner has a return.  A message that cannot be sent (no such
 * operation, the ring is full) becomes a write to the eventfd. */
static inline void crew_wake(struct helper *h, struct crew *c)
{
    OWN_ADD(&h->stats, wakes, 1);
    if (!h->sends || !crew_message(h, c))
        eventfd_write(c->eventfd, 1);
}

static inline void *helper_main(void *arg)
{
    struct helper *h = arg;
    struct pool *p = h->crew->pool;
    struct job *job;
    int64_t took_ms = 0; /* nobody waits for a helper: of no interest */

    while ((job = pool_wait(p, h->crew)) != NULL) {
        struct crew *home = job->crew;

        job->want = job_run(job->s, &h->stats, &took_ms);
        if (mpsc_push(&home->returns, &job->node))
            crew_wake(h, home);
    }
    return NULL;
}

/* By the owner, once it has its ring. */
static inline void crew_init(struct crew *c, struct pool *p, int ring_fd)
{
    spmc_init(&c->ring);
    gate_init(&c->gate);
    mpsc_init(&c->returns);
    c->pool = p;
    c->ring_fd = ring_fd;
    c->share = p->share;
    c->later_end = &c->later;
    c->eventfd = eventfd(0, EFD_CLOEXEC); /* blocking: reads wait in the ring */
    if (c->eventfd < 0)
        die("stage5: eventfd: %s", strerror(errno));
}

/* Owner: keeps a read of the eventfd armed, where helpers write that cannot
 * send messages. */
static inline void crew_listen(struct crew *c, struct io_uring *ring,
                               struct stats *st)
{
    struct io_uring_sqe *sqe;

    if (c->listening || c->pool->by == POOL_INLINE || !uring_room(ring, st))
        return;
    sqe = io_uring_get_sqe(ring);
    io_uring_prep_read(sqe, c->eventfd, &c->posts, sizeof c->posts, 0);
    io_uring_sqe_set_data(sqe, &c->posts);
    c->listening = true;
}

/* Owner: was this completion a helper's?  Then pool_back() has something. */
static inline bool crew_heard(struct crew *c, const void *data)
{
    if (data == &c->posts)
        c->listening = false;
    return data == c || data == &c->posts;
}

/* Starts a thread on the n-th cpu (modulo) if `pin`: it inherits the place of
 * the one that starts it.  Returns the cpu, or a negative number. */
static inline int thread_start(pthread_t *thread, bool pin, int n,
                               void *(*run)(void *), void *arg)
{
    cpu_set_t here;
    bool known = !pthread_getaffinity_np(pthread_self(), sizeof here, &here);
    int cpu = pin ? net_pin(n) : -1;
    int err = pthread_create(thread, NULL, run, arg);

    if (err)
        die("stage5: cannot start a thread: %s", strerror(err));
    if (known && cpu >= 0)
        pthread_setaffinity_np(pthread_self(), sizeof here, &here);
    return cpu;
}

/* Zeroed memory that shares no cache line with anybody's. */
static inline void *own_lines(size_t align, size_t size)
{
    void *mem;

    if (posix_memalign(&mem, align, size) != 0)
        die("stage5: no memory for threads");
    return memset(mem, 0, size);
}

/* From here on helpers are given no ring. */
static inline void pool_no_msg(struct pool *p, const char *why)
{
    p->wake = WAKE_EVENTFD;
    fprintf(stderr, "stage5: helpers wake by eventfd: %s\n", why);
}

/* A helper of this crew, on the cpu-th cpu. */
static inline void helper_start(struct pool *p, struct crew *crew, int worker,
                                int cpu)
{
    struct helper *h = &p->helpers[p->n_helpers++];
    int err = 0;

    *h = (struct helper){.crew = crew};
    stats_register(&h->stats, worker);
    if (p->wake == WAKE_MSG)
        err = io_uring_queue_init(2, &h->ring, 0);
    if (err)
        pool_no_msg(p, strerror(-err));
    h->sends = p->wake == WAKE_MSG;
    h->cpu = thread_start(&h->thread, p->pin, cpu, helper_main, h);
}

/* Before any thread.  The helpers stay: the registry of counters points into
 * them. */
static inline void pool_init(struct pool *p, int n_workers)
{
    size_t most = (size_t)n_workers * (size_t)p->per_worker;

    CHECK(n_workers > 0);
    mq_init(&p->queue);
    p->share = p->by == POOL_MUTEX ? MUTEX_QUEUE_SIZE / (unsigned)n_workers
                                   : SPMC_SIZE;
    if (p->by == POOL_INLINE)
        return;
    p->helpers = own_lines(_Alignof(struct helper), most * sizeof *p->helpers);
}

/* When no job is out, and the rings of the owners are still there: a helper
 * may be about to send its last message. */
static inline void pool_stop(struct pool *p)
{
    atomic_store(&p->stop, true);
    mq_close(&p->queue);
    for (int i = 0; i < p->n_helpers; i++) /* each wakes one of its crew */
        gate_wake(&p->helpers[i].crew->gate);
    for (int i = 0; i < p->n_helpers; i++) {
        pthread_join(p->helpers[i].thread, NULL);
        if (p->helpers[i].sends)
            io_uring_queue_exit(&p->helpers[i].ring);
    }
    mq_destroy(&p->queue);
}

#endif
