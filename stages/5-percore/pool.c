/* pool.c - see pool.h. */

#include "pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"
#include "service.h"

struct helper {
    struct stats stats; /* first: on lines of its own */
    struct crew *crew;
    struct io_uring ring; /* to send messages from */
    bool sends;           /* it has that ring */
    pthread_t thread;
    int cpu; /* where it is pinned, or negative */
};

/* ---- the worker's side ---- */

/* Hands out jobs that waited, as far as the ring has room. */
static void feed(struct crew *c)
{
    while (c->later && c->out < SPMC_SIZE) {
        struct mpsc_node *job = c->later;

        c->later = job->next;
        c->out++;
        CHECK(spmc_push(&c->ring, job));
        gate_wake(&c->gate);
    }
    if (!c->later)
        c->later_end = &c->later;
}

void pool_hand(struct crew *c, struct job *job)
{
    job->node.next = NULL;
    *c->later_end = &job->node;
    c->later_end = &job->node.next;
    feed(c);
}

struct mpsc_node *pool_back(struct crew *c)
{
    struct mpsc_node *first = mpsc_take(&c->returns);

    for (struct mpsc_node *job = first; job; job = job->next)
        c->out--;
    feed(c);
    return first;
}

/* ---- the helpers' side ---- */

/* The next job; NULL: the helpers stop. */
static struct job *next_job(struct crew *c)
{
    struct job *job;

    while ((job = spmc_pop(&c->ring)) == NULL) {
        uint32_t key;

        if (atomic_load(&c->stop))
            return NULL;
        key = gate_enter(&c->gate);
        /* Announced first, then looked once more: see gate.h. */
        if (!spmc_empty(&c->ring) || atomic_load(&c->stop))
            gate_leave(&c->gate);
        else
            gate_sleep(&c->gate, key);
    }
    return job;
}

/* One completion in the worker's ring.  False: it may not have got there.  An
 * operation left over from an interrupted call goes with the next one: a
 * wake-up too many, which costs the worker one turn. */
static bool send_message(struct helper *h)
{
    struct crew *c = h->crew;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&h->ring);
    bool arrived = sqe != NULL;

    if (sqe)
        io_uring_prep_msg_ring(sqe, c->ring_fd, 0, (uintptr_t)c, 0);
    if (io_uring_submit_and_wait(&h->ring, 1) < 0 ||
        io_uring_cq_ready(&h->ring) == 0)
        return false;
    while (io_uring_cq_ready(&h->ring) > 0)
        arrived &= uring_take(&h->ring).res >= 0;
    return arrived;
}

/* Tells the worker that a job has come back. */
static void wake_worker(struct helper *h)
{
    OWN_ADD(&h->stats, wakes, 1);
    if (!h->sends || !send_message(h))
        seat_wake(h->crew->seat);
}

static void *helper_main(void *arg)
{
    struct helper *h = arg;
    struct crew *c = h->crew;
    struct job *job;

    while ((job = next_job(c)) != NULL) {
        PROBE(run, h->stats.worker, job->s);
        while ((job->want = session_step(job->s, &h->stats)) == WANT_WORK)
            service_work(job->s, &h->stats);
        if (mpsc_push(&c->returns, &job->node))
            wake_worker(h);
    }
    return NULL;
}

/* ---- start and end ---- */

/* The i-th helper, on the cpus behind the workers' own. */
static void helper_start(struct crew *c, int i, bool messages)
{
    struct team *t = c->seat->team;
    struct helper *h = &c->helpers[i];

    h->crew = c;
    stats_register(&h->stats, c->seat->n);
    h->sends = messages && io_uring_queue_init(2, &h->ring, 0) == 0;
    h->cpu = team_thread(t, &h->thread, t->n_workers * (i + 1) + c->seat->n,
                         helper_main, h);
}

void pool_open(struct crew *c, struct seat *seat, int n,
               const struct io_uring *ring)
{
    bool messages = uring_has((struct io_uring *)ring, IORING_OP_MSG_RING);

    spmc_init(&c->ring);
    gate_init(&c->gate);
    mpsc_init(&c->returns);
    c->seat = seat;
    c->ring_fd = ring->ring_fd;
    c->n = n;
    c->later_end = &c->later;
    if (n == 0)
        return;
    c->helpers =
        aligned_zeroed(_Alignof(struct helper), (size_t)n * sizeof *c->helpers);
    for (int i = 0; i < n; i++)
        helper_start(c, i, messages);
    if (seat->n == 0 && !c->helpers[0].sends)
        fprintf(stderr,
                "%s: helpers wake by eventfd: no message from ring to "
                "ring here (Linux 5.18), or no memory for rings\n",
                seat->team->service->name);
}

/* The helpers' memory stays: the registry of counters points into it. */
void pool_close(struct crew *c)
{
    atomic_store(&c->stop, true);
    for (int i = 0; i < c->n; i++) /* each wakes one */
        gate_wake(&c->gate);
    for (int i = 0; i < c->n; i++) {
        pthread_join(c->helpers[i].thread, NULL);
        if (c->helpers[i].sends)
            io_uring_queue_exit(&c->helpers[i].ring);
    }
}

void pool_print(const struct crew *c)
{
    for (int i = 0; i < c->n; i++)
        fprintf(stderr, c->helpers[i].cpu < 0 ? "%s cpu any" : "%s cpu %d",
                i ? "," : "", c->helpers[i].cpu);
}
