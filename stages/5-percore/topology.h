/* topology.h - who sits where: workers, cpus, listeners, helpers.
 *
 *      main                        worker 0              worker 1 ...
 *      ----                        --------              --------
 *      sizes, listens
 *      starts worker 0  ------->   ring, arena
 *      starts worker 1  --- after that one is up --->    ring, arena
 *      starts the helpers
 *      says what there is
 *      |========================= all begin ===========================|
 *      sleeps                      runs                  runs
 *      counts who has ended  <--   serves nobody   <--   serves nobody
 *      joins the helpers
 *      |================== now the rings may be closed ================|
 *
 * One after the other, so that a worker that cannot start ends a process in
 * which nobody else runs.  After "all begin" what is here is only read.
 */
#ifndef TOPOLOGY_H
#define TOPOLOGY_H

#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <sysexits.h>

#include "lockable.h"
#include "switches.h"

enum {
    LEAST_LOCKED = 24 * 1024, /* bytes of locked memory for a worker's rings */
    HELPER_LOCKED = 8 * 1024,
};

/* One worker's place.  All that others know of it. */
struct seat {
    struct crew crew;
    struct server *server;
    struct stats *stats; /* the worker's: accepted, closed */
    const char *chosen;  /* in words */
    pthread_t thread;
    int n, cpu;     /* its number; where it is pinned, or negative */
    int listener;   /* or -1 */
    int max_conns;  /* its share of them */
    int left;       /* connections that did not end */
    int dealing;    /* connections on their way to others */
    uint64_t dealt; /* connections accepted for all */
};

struct server {
    struct service service;
    struct own_choice own;
    struct pool pool;
    int n_workers;
    struct seat seats[MAX_WORKERS]; /* one never used costs nothing */
    sem_t there;                    /* a worker is ready; has ended */
    pthread_barrier_t all;          /* the workers and main */
    _Atomic bool dealt; /* no connection is under way between two workers */
};

/* ---- what a worker does with its seat; in its own thread ---- */

/* Copies of what every worker has: what it reads at every request lies on no
 * line that another one writes. */
static inline void seat_copy(const struct seat *seat, struct service *sv,
                             struct own_options *own)
{
    *own = seat->server->own.io;
    *sv = seat->server->service;
    cancel_init(&sv->stop, &seat->server->service.stop);
    if (seat->n > 0)
        sv->opt.stats_ms = 0; /* one of them prints */
}

/* MSG_RING came with 5.18. */
static inline void seat_messages(struct seat *seat, struct io_uring *ring)
{
    static const char why[] = "no IORING_OP_MSG_RING here (Linux 5.18)";
    struct server *v = seat->server;

    if (seat->n > 0 || uring_has(ring, IORING_OP_MSG_RING))
        return;
    if (v->own.place == PLACE_RR)
        die_status(EX_SKIP, "stage5: --place rr: %s", why);
    if (v->pool.by != POOL_INLINE && v->pool.wake == WAKE_MSG)
        pool_no_msg(&v->pool, why);
}

/* Fills in what a worker has like every other, and tells the others what they
 * may know of it.  The signal's completion is &sv->signal. */
static inline void seat_open(struct seat *seat, struct service *sv,
                             struct own_options *own, struct io_uring *ring,
                             struct arena *a, struct stats *st)
{
    seat_copy(seat, sv, own);
    uring_open(ring, sv->name, &own->uring, seat->max_conns);
    seat_messages(seat, ring);
    a->n = own->buffers;
    arena_open(a, ring, sv->name, own->leave);
    uring_watch(ring, &sv->signal);
    crew_init(&seat->crew, &seat->server->pool, ring->ring_fd);
    stats_register(st, seat->n);
    seat->stats = st;
    seat->chosen = own_chosen(own, a);
}

/* Submits, and sleeps until there is a completion or ms have passed; -1: for
 * good. */
static inline void uring_wait(struct io_uring *ring, const char *name,
                              struct stats *st, int ms)
{
    struct __kernel_timespec ts = {ms / 1000, ms % 1000 * 1000000LL};
    struct io_uring_cqe *cqe;
    int err;

    OWN_ADD(st, cq_overflow, uring_overflows(ring));
    err = io_uring_submit_and_wait_timeout(ring, &cqe, 1, ms < 0 ? NULL : &ts,
                                           NULL);
    STAT_ADD(st, waits, 1);
    if (err < 0 && err != -ETIME && err != -EINTR && err != -EAGAIN &&
        err != -EBUSY)
        die("%s: io_uring_enter: %s", name, strerror(-err));
}

static inline void seat_begin(struct seat *seat)
{
    sem_post(&seat->server->there);
    pthread_barrier_wait(&seat->server->all);
}

/* The ring is closed when nobody sends messages to it any more. */
static inline void seat_end(struct seat *seat, int n_conns,
                            struct io_uring *ring, struct arena *a)
{
    seat->left = n_conns + seat->dealing;
    sem_post(&seat->server->there);
    pthread_barrier_wait(&seat->server->all);
    io_uring_queue_exit(ring);
    arena_free(a);
    close(seat->crew.eventfd);
}

/* ---- --place rr: worker 0 accepts, and deals out by messages ---- */

/* Connections that count against this seat's share: who deals counts those of
 * all. */
static inline int seat_holds(const struct seat *seat, int n_conns)
{
    const struct server *v = seat->server;
    uint64_t open = seat->dealt;

    if (open == 0)
        return n_conns;
    for (int i = 0; i < v->n_workers; i++)
        open -= atomic_load_explicit(&v->seats[i].stats->closed,
                                     memory_order_relaxed);
    return (int)open;
}

/* Sends the descriptor to whose turn it is; to its receiver it looks like an
 * accept of its listener.  Our own completion is odd, as no pointer is.  False:
 * it is our turn, or there is no way to. */
static inline bool seat_deal(struct seat *seat, struct io_uring *ring,
                             struct stats *st, int fd)
{
    struct server *v = seat->server;
    struct io_uring_sqe *sqe;
    struct seat *to;

    if (v->own.place != PLACE_RR)
        return false;
    to = &v->seats[seat->dealt++ % (unsigned)v->n_workers];
    if (to == seat || !uring_room(ring, st))
        return false;
    sqe = io_uring_get_sqe(ring);
    io_uring_prep_msg_ring(sqe, to->crew.ring_fd, (unsigned)fd,
                           (uintptr_t)&to->listener, 0);
    sqe->user_data = (uint64_t)fd << 1 | 1;
    seat->dealing++;
    return true;
}

/* The completion of a message.  True: it did not get there, and the descriptor
 * is still ours. */
static inline bool seat_undealt(struct seat *seat,
                                const struct io_uring_cqe *cqe)
{
    bool ours = cqe->user_data & 1;

    seat->dealing -= ours;
    return ours && cqe->res < 0;
}

/* The descriptor that either of them is about. */
static inline int seat_fd(const struct io_uring_cqe *cqe)
{
    return cqe->user_data & 1 ? (int)(cqe->user_data >> 1) : cqe->res;
}

/* Who deals says when all has been dealt; until then nobody else leaves. */
static inline bool seat_all_dealt(struct seat *seat, bool accepts)
{
    if (seat->n == 0 && !accepts && seat->dealing == 0)
        atomic_store(&seat->server->dealt, true);
    return atomic_load(&seat->server->dealt);
}

/* ---- what main does ---- */

/* --workers, or one for each cpu; but no more than can have a ring each, and
 * leave half of the descriptors to connections. */
static inline int server_workers(const struct options *opt, int limit, int each)
{
    int n = opt->workers ? opt->workers : net_cpus();

    if (opt->workers > MAX_WORKERS)
        die_status(EX_USAGE,
                   "stage5: --workers: at most %d: each of them is a place in "
                   "a fixed table",
                   MAX_WORKERS);
    while (!opt->workers && n > 1 &&
           (n > MAX_WORKERS || n * each > limit / 2 - 16 ||
            lockable() / LEAST_LOCKED < (unsigned)n))
        n--;
    return n;
}

/* Descriptors: every thread has a few of its own; connections get the rest.  A
 * worker without a connection to have is not started. */
static inline void server_size(struct server *v)
{
    struct options *opt = &v->service.opt;
    int each = v->own.pool == POOL_INLINE ? 4 : 4 + v->own.helpers;
    int limit = (int)sysconf(_SC_OPEN_MAX);
    int n = server_workers(opt, limit, each), most = limit - 16 - each * n;

    if (most < n)
        die("stage5: %d descriptors are too few for %d workers", limit, n);
    if (opt->max_conns > most)
        opt->max_conns = most;
    v->n_workers = n < opt->max_conns ? n : opt->max_conns;
    lockable_divide(v->n_workers, 4); /* the rest is for the arena */
    v->pool = (struct pool){.by = (enum pool_by)v->own.pool,
                            .wake = (enum wake_by)v->own.wake,
                            .per_worker = v->own.helpers,
                            .pin = !v->own.unpinned};
    atomic_init(&v->dealt, v->own.place != PLACE_RR);
}

/* What a ring takes, about. */
static inline size_t ring_bytes(size_t cq)
{
    return cq * 16 + (cq < SQ_ENTRIES ? cq : SQ_ENTRIES) * 72;
}

/* Rings are locked memory, on most kernels.  Left alone, the first worker would
 * take all that may be locked, and the second would find no room for its ring.
 * So each has a share: at most one half of it is for the ring; what the rings
 * of its helpers and of its buffers leave is for pieces. */
static inline void server_lock(struct server *v)
{
    struct own_options *io = &v->own.io;
    int n = v->n_workers, rings = v->own.place == PLACE_HASH ? n : 1;
    size_t share, used = LEAST_LOCKED / 2, most;
    unsigned all = CQ_LEAST, cq;

    CHECK(n > 0);
    share = lockable() / (unsigned)n;
    while (all < (unsigned)(v->service.opt.max_conns / rings + ACCEPTS + 2))
        all *= 2;
    for (cq = all; cq > CQ_FEWEST && ring_bytes(cq) > share / 2;)
        cq /= 2;
    if (cq < all && io->uring.cq == 0)
        io->uring.cq = cq;
    used += ring_bytes(cq) + io->buffers * sizeof(struct io_uring_buf) / 2;
    if (v->pool.by != POOL_INLINE)
        used += HELPER_LOCKED * (size_t)v->pool.per_worker;
    most = share > used ? (share - used) / PIECE_STRIDE : 0;
    io->leave = most < io->buffers ? io->buffers - (unsigned)most : 0;
}

/* By hash every worker has a listener and a fixed share of --max-conns: a
 * common count would be a word that all write.  Else worker 0 accepts. */
static inline void server_listen(struct server *v)
{
    int most = v->service.opt.max_conns, n = v->n_workers;
    bool hash = v->own.place == PLACE_HASH;
    int fds[MAX_WORKERS];

    net_listen(v->service.opt.host, &v->service.opt.port, hash ? n : 1, fds);
    for (int i = 0; i < n; i++) {
        struct seat *seat = &v->seats[i];

        seat->n = i;
        seat->server = v;
        seat->listener = hash || i == 0 ? fds[i] : -1;
        seat->max_conns = hash ? most / n + (i < most % n) : most;
        if (seat->listener >= 0) /* non-blocking would mean: fail, not wait */
            fcntl(seat->listener, F_SETFL, 0);
    }
}

/* Waits for one worker.  Signals are taken by whoever sleeps here. */
static inline void server_wait(struct server *v)
{
    while (sem_wait(&v->there) != 0)
        CHECK(errno == EINTR);
}

/* Helpers sit on the cpus after the workers' own. */
static inline void server_start(struct server *v, void *(*run)(void *))
{
    int n = v->n_workers, helpers = v->pool.by ? n * v->pool.per_worker : 0;

    pool_init(&v->pool, n);
    sem_init(&v->there, 0, 0);
    pthread_barrier_init(&v->all, NULL, (unsigned)n + 1);
    for (int i = 0; i < n; i++) {
        struct seat *seat = &v->seats[i];

        seat->cpu = thread_start(&seat->thread, v->pool.pin, i, run, seat);
        server_wait(v);
    }
    for (int i = 0; i < helpers; i++)
        helper_start(&v->pool, &v->seats[i % n].crew, i % n, n + i);
}

static inline void print_cpu(const char *before, int cpu)
{
    fprintf(stderr, cpu < 0 ? "%s any" : "%s %d", before, cpu);
}

/* A line for each worker, then the ready line: the proof that nothing is
 * shared. */
static inline void server_describe(struct server *v)
{
    for (int i = 0; i < v->n_workers; i++) {
        const struct seat *seat = &v->seats[i];

        fprintf(stderr, "stage5: worker %d:", i);
        print_cpu(" cpu", seat->cpu);
        fprintf(stderr, ", ring %d, listener ", seat->crew.ring_fd);
        fprintf(stderr, seat->listener < 0 ? "none" : "%d", seat->listener);
        fprintf(stderr, ", pool %s", pool_names[v->pool.by]);
        for (int h = i; h < v->pool.n_helpers; h += v->n_workers)
            print_cpu(h == i ? ": cpu" : ", cpu", v->pool.helpers[h].cpu);
        fputc('\n', stderr);
    }
    if (v->pool.pin && v->seats[0].cpu < 0)
        fprintf(stderr, "stage5: threads cannot be pinned: %s\n",
                strerror(-v->seats[0].cpu));
    service_ready(&v->service, "%d workers, place %s, pool %s, wake %s, %s",
                  v->n_workers, place_names[v->own.place],
                  pool_names[v->pool.by], wake_names[v->pool.wake],
                  v->seats[0].chosen);
}

/* From the sizes to the end of all workers. */
static inline void server_run(struct server *v, void *(*worker)(void *))
{
    bool whole = true;

    server_size(v);
    server_lock(v);
    server_listen(v);
    server_start(v, worker);
    server_describe(v);
    pthread_barrier_wait(&v->all);
    for (int i = 0; i < v->n_workers; i++)
        server_wait(v);
    for (int i = 0; i < v->n_workers; i++)
        whole = whole && v->seats[i].left == 0;
    if (!whole) { /* something is stuck in the kernel: leave over its head */
        service_close(&v->service);
        _exit(0);
    }
    pool_stop(&v->pool);
    pthread_barrier_wait(&v->all);
    for (int i = 0; i < v->n_workers; i++)
        pthread_join(v->seats[i].thread, NULL);
    service_close(&v->service);
}

#endif
