/* topology.h - who sits where: workers, cpus, sets, listeners, the sentinel.
 *
 *      main                        worker 0              worker 1 ...
 *      ----                        --------              --------
 *      sizes, listens
 *      starts worker 0  ------->   set, rings
 *      starts worker 1  --- after that one is up --->    set, rings
 *      starts the sentinel
 *      says what there is
 *      |========================= all begin ===========================|
 *      sleeps                      runs                  runs
 *      |======= all have ended: nobody runs a connection now ==========|
 *      joins the sentinel          closes what is left   ...
 *
 * One after the other, so that a worker that cannot start ends a process in
 * which nobody else runs.
 */
#ifndef TOPOLOGY_H
#define TOPOLOGY_H

#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sysexits.h>

#include "busy.h"
#include "disk.h"
#include "net.h"
#include "parts/mpsc.h"
#include "service.h"
#include "switches.h"

struct conn;
struct server;

/* What an event tells of: a connection, by its place and generation, or one of
 * a worker's own descriptors. */
enum { NAME_CONN, NAME_LISTENER, NAME_SIGNAL, NAME_WAKE, NAME_DISK };

static inline uint64_t name_own(int kind)
{
    return (uint64_t)kind << 24;
}

static inline uint64_t name_conn(uint32_t place, uint32_t gen)
{
    return (uint64_t)gen << 32 | place;
}

static inline int name_kind(uint64_t name)
{
    return name >> 24 & 0xff;
}

static inline uint32_t name_place(uint64_t name)
{
    return name & 0xffffff;
}

static inline uint32_t name_gen(uint64_t name)
{
    return (uint32_t)(name >> 32);
}

/* A worker as its siblings see it.  What they write lies on its own lines. */
struct seat {
    struct ready ready;
    struct busy busy;
    PADDED struct mpsc returns; /* its connections that ended elsewhere */
    PADDED struct mpsc dealt;   /* descriptors: --place rr */
    /* Only read once all have begun. */
    PADDED struct server *server;
    struct conn *conns;  /* max_conns of them; one never used costs nothing */
    struct stats *stats; /* the worker's */
    const char *taskrun; /* the mode of its ring */
    struct disk disk;
    pthread_t thread;
    int n, cpu;    /* its number; where it is pinned, or negative */
    int epoll;     /* the readiness set */
    int eventfd;   /* wakes it */
    int listener;  /* or -1 */
    int max_conns; /* its share of them */
    bool whole;    /* all that it had is closed */
};

struct server {
    struct park park;
    struct sentinel sentinel;
    PADDED ATOMIC(int) serving; /* workers that still have connections */
    PADDED ATOMIC(bool) all_dealt, over;
    PADDED ATOMIC(uint64_t) taken; /* places ever taken; not by hash */
    struct service service;
    struct own_choice own;
    int n_workers;
    pthread_t watch;       /* the sentinel's thread */
    sem_t up;              /* a worker is ready; or has ended */
    pthread_barrier_t all; /* the workers and main */
    struct seat seats[PARK_WORKERS];
};

/* One descriptor on its way to another worker. */
struct deal {
    struct mpsc_node node; /* first */
    int fd;
};

/* ---- what a worker does with its seat; in its own thread ---- */

/* What it reads at every request lies on no line that another one writes. */
static inline void seat_copy(const struct seat *seat, struct service *sv,
                             struct own_choice *own)
{
    *own = seat->server->own;
    *sv = seat->server->service;
    cancel_init(&sv->stop, &seat->server->service.stop);
    if (seat->n > 0)
        sv->opt.stats_ms = 0; /* one of them prints */
}

/* A descriptor that its owner asks about itself: any number of events may tell
 * of it, so it stays level-triggered. */
static inline void seat_watch(const struct seat *seat, int fd, uint64_t name)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = name};

    if (epoll_ctl(seat->epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
        die("stage6: epoll: %s", strerror(errno));
}

/* Zeroed pages, touched as they are used. */
static inline void *own_pages(size_t size)
{
    void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (mem == MAP_FAILED)
        die("stage6: no memory for a worker");
    return mem;
}

static inline void seat_open(struct seat *seat, size_t conn_size)
{
    int err;

    ready_init(&seat->ready, (enum queue_by)seat->server->own.queue);
    mpsc_init(&seat->returns);
    mpsc_init(&seat->dealt);
    seat->conns = own_pages((size_t)seat->max_conns * conn_size);
    seat->epoll = epoll_create1(EPOLL_CLOEXEC);
    seat->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (seat->epoll < 0 || seat->eventfd < 0)
        die("stage6: epoll: %s", strerror(errno));
    err = disk_open(&seat->disk);
    if (err < 0)
        die_status(EX_SKIP, "stage6: no io_uring: %s", uring_reason(err));
}

static inline void seat_begin(struct seat *seat)
{
    sem_post(&seat->server->up);
    pthread_barrier_wait(&seat->server->all);
}

/* Until nobody runs a connection any more. */
static inline void seat_end(struct seat *seat)
{
    sem_post(&seat->server->up);
    pthread_barrier_wait(&seat->server->all);
}

static inline void seat_wake(struct seat *seat)
{
    eventfd_write(seat->eventfd, 1);
}

static inline void seat_woken(struct seat *seat)
{
    eventfd_t n;

    eventfd_read(seat->eventfd, &n);
}

/* Wakes one of the parked, unless somebody is searching already: false.  The
 * push that it is for comes before. */
static inline bool team_wake(struct server *v)
{
    int target = park_wake(&v->park);

    if (target >= 0)
        seat_wake(&v->seats[target]);
    return target >= 0;
}

/* The i-th after ours, in a circle. */
static inline struct seat *sibling(struct seat *seat, int i)
{
    struct server *v = seat->server;

    return &v->seats[(seat->n + i) % v->n_workers];
}

/* ---- --place rr: worker 0 accepts, and deals the descriptors out ---- */

/* Connections that there are, of all workers; not for --place hash. */
static inline int server_holds(struct server *v)
{
    uint64_t n = a_load(&v->taken, relaxed);

    for (int i = 0; i < v->n_workers; i++)
        n -= atomic_load_explicit(&v->seats[i].stats->closed,
                                  memory_order_relaxed);
    return (int)n;
}

/* False: it is our own turn, or there is no memory. */
static inline bool seat_deal(struct seat *seat, uint64_t turn, int fd)
{
    struct server *v = seat->server;
    struct seat *to = &v->seats[turn % (unsigned)v->n_workers];
    struct deal *deal = to == seat ? NULL : malloc(sizeof *deal);

    if (!deal)
        return false;
    deal->fd = fd;
    if (mpsc_push(&to->dealt, &deal->node))
        seat_wake(to);
    return true;
}

/* ---- what main does ---- */

/* Descriptors: every thread has a few of its own; connections get the rest.
 * A worker without a connection to have is not started. */
static inline void server_size(struct server *v)
{
    struct options *opt = &v->service.opt;
    int limit = (int)sysconf(_SC_OPEN_MAX);
    int n = opt->workers ? opt->workers : net_cpus();
    int most = limit - 16 - 6 * n;

    if (opt->workers > PARK_WORKERS)
        die_status(EX_USAGE, "stage6: --workers: at most %d", PARK_WORKERS);
    if (n > PARK_WORKERS)
        n = PARK_WORKERS;
    if (most < n)
        die("stage6: %d descriptors are too few for %d workers", limit, n);
    if (most > 1 << 24)
        most = 1 << 24; /* a place has 24 bits */
    if (opt->max_conns > most)
        opt->max_conns = most;
    v->n_workers = n < opt->max_conns ? n : opt->max_conns;
    if (v->n_workers == 1)
        v->own.steal = STEAL_OFF; /* from whom? */
    park_init(&v->park, v->n_workers);
    a_init(&v->serving, v->n_workers);
    a_init(&v->all_dealt, false);
    a_init(&v->over, false);
    a_init(&v->taken, 0);
    a_init(&v->sentinel.asleep, 0);
}

/* By hash every worker has a listener and a fixed share of --max-conns: a
 * common count would be a word that all write.  Else worker 0 accepts. */
static inline void server_listen(struct server *v)
{
    int most = v->service.opt.max_conns, n = v->n_workers;
    bool hash = v->own.place == PLACE_HASH;
    int fds[PARK_WORKERS];

    net_listen(v->service.opt.host, &v->service.opt.port, hash ? n : 1, fds);
    for (int i = 0; i < n; i++) {
        struct seat *seat = &v->seats[i];

        seat->n = i;
        seat->server = v;
        seat->listener = hash || i == 0 ? fds[i] : -1;
        seat->max_conns = hash ? most / n + (i < most % n) : most;
    }
}

/* A thread on the n-th cpu (modulo) if `pin`: it inherits the place of the one
 * that starts it.  Returns the cpu, or a negative number. */
static inline int thread_start(pthread_t *thread, bool pin, int n,
                               void *(*run)(void *), void *arg)
{
    int cpu = pin ? net_pin(n) : -1;
    int err = pthread_create(thread, NULL, run, arg);

    if (err)
        die("stage6: cannot start a thread: %s", strerror(err));
    return cpu;
}

static inline void server_start(struct server *v, void *(*run)(void *),
                                void *(*watch)(void *))
{
    cpu_set_t before;
    bool pin = !v->own.unpinned;

    sched_getaffinity(0, sizeof before, &before);
    sem_init(&v->up, 0, 0);
    pthread_barrier_init(&v->all, NULL, (unsigned)v->n_workers + 1);
    for (int i = 0; i < v->n_workers; i++) {
        struct seat *seat = &v->seats[i];

        seat->cpu = thread_start(&seat->thread, pin, i, run, seat);
        while (sem_wait(&v->up) != 0)
            ; /* a signal */
    }
    sched_setaffinity(0, sizeof before, &before); /* the sentinel: anywhere */
    v->sentinel.eventfd = eventfd(0, EFD_CLOEXEC);
    if (v->sentinel.eventfd < 0)
        die("stage6: eventfd: %s", strerror(errno));
    if (v->own.steal == STEAL_ALL)
        thread_start(&v->watch, false, 0, watch, v);
}

/* A line for each worker, then the ready line. */
static inline void server_describe(struct server *v)
{
    const struct own_choice *own = &v->own;

    for (int i = 0; i < v->n_workers; i++) {
        const struct seat *seat = &v->seats[i];

        fprintf(stderr, "stage6: worker %d: cpu ", i);
        fprintf(stderr, seat->cpu < 0 ? "any" : "%d", seat->cpu);
        fprintf(stderr, ", set %d, listener ", seat->epoll);
        fprintf(stderr, seat->listener < 0 ? "none\n" : "%d\n", seat->listener);
    }
    service_ready(&v->service,
                  "%d workers, place %s, steal %s, queue %s, submit %s, "
                  "taskrun %s, lines of %d",
                  v->n_workers, place_names[own->place],
                  steal_names[own->steal], queue_names[own->queue],
                  submit_names[own->submit], v->seats[0].taskrun, PAD);
}

/* Until all workers have ended.  Main is the thread that gets the signals, and
 * TSan runs a handler late in calls that it does not know to wait: a barrier is
 * one, a semaphore is none. */
static inline void server_sleep(struct server *v)
{
    for (int i = 0; i < v->n_workers; i++)
        while (sem_wait(&v->up) != 0)
            ;
}

/* From the sizes to the end of all workers. */
static inline void server_run(struct server *v, void *(*worker)(void *),
                              void *(*watch)(void *))
{
    bool whole = true;

    server_size(v);
    server_listen(v);
    server_start(v, worker, watch);
    server_describe(v);
    pthread_barrier_wait(&v->all);
    server_sleep(v);
    pthread_barrier_wait(&v->all);
    a_store(&v->over, true, seq_cst);
    eventfd_write(v->sentinel.eventfd, 1);
    if (v->own.steal == STEAL_ALL)
        pthread_join(v->watch, NULL);
    for (int i = 0; i < v->n_workers; i++) {
        pthread_join(v->seats[i].thread, NULL);
        whole &= v->seats[i].whole;
    }
    service_close(&v->service);
    if (!whole) /* the kernel is busy with a disk: leave over its head */
        _exit(0);
}

#endif
