/* launch.c - see launch.h. */

#include "parts/launch.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "cpus.h"
#include "net.h"
#include "quota.h"

enum { SPARE_FDS = 16 /* stdin, --root, the signals' eventfd, files ... */ };

const char *const deal_names[] = {"hash", "rr", "one", NULL};

/* ---- threads ---- */

/* A thread that is started with attr will run on that cpu only. */
static int attr_pin(pthread_attr_t *attr, int cpu)
{
    size_t size = CPU_ALLOC_SIZE((size_t)cpu + 1);
    cpu_set_t *one = CPU_ALLOC((size_t)cpu + 1);
    int err = ENOMEM;

    if (one) {
        CPU_ZERO_S(size, one);
        CPU_SET_S((size_t)cpu, size, one);
        err = pthread_attr_setaffinity_np(attr, size, one);
        CPU_FREE(one);
    }
    return err;
}

/* SIGTERM and SIGINT are for the main thread: the mask is inherited. */
static int thread_start(pthread_t *thread, const pthread_attr_t *attr,
                        void *(*run)(void *), void *arg)
{
    sigset_t ends, before;
    int err;

    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, &before);
    err = pthread_create(thread, attr, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

int team_thread(struct team *t, pthread_t *thread, int n, void *(*run)(void *),
                void *arg)
{
    int cpu = t->unpinned || n < 0 ? -1 : cpus_number(n);
    int err = EINVAL;
    pthread_attr_t attr;

    pthread_attr_init(&attr);
    if (cpu >= 0 && attr_pin(&attr, cpu) == 0)
        err = thread_start(thread, &attr, run, arg);
    pthread_attr_destroy(&attr);
    if (err == 0)
        return cpu;
    err = thread_start(thread, NULL, run, arg); /* on any */
    if (err)
        die("%s: cannot start a thread: %s", t->service->name, strerror(err));
    return -1;
}

void *aligned_zeroed(size_t align, size_t size)
{
    void *mem;

    if (posix_memalign(&mem, align, size) != 0)
        die("no memory for threads");
    return memset(mem, 0, size);
}

/* ---- main ---- */

void team_size(struct team *t, int most, int afford, int fds)
{
    struct options *opt = &t->service->opt;
    const char *name = t->service->name;
    int limit = (int)sysconf(_SC_OPEN_MAX);
    int n = opt->workers, left;

    CHECK(most <= TEAM_MOST && afford > 0);
    if (n > most)
        die_status(EX_USAGE,
                   "%s: --workers: at most %d: each of them is a bit of a word "
                   "in which they say that they wait",
                   name, most);
    if (n == 0) { /* connections shall have half of the descriptors */
        n = quota_threads(cpus_allowed());
        n = n < most ? n : most;
        n = n < afford ? n : afford;
        while (n > 1 && n * fds > limit / 2 - SPARE_FDS)
            n--;
    }
    left = limit - SPARE_FDS - fds * n;
    if (left < n)
        die("%s: %d descriptors are too few for %d workers", name, limit, n);
    if (opt->max_conns > left)
        opt->max_conns = left;
    t->n_workers = n < opt->max_conns ? n : opt->max_conns;
    admit_init(&t->admit, opt->max_conns);
}

void team_listen(struct team *t)
{
    struct options *opt = &t->service->opt;
    int n = t->deal == DEAL_HASH ? t->n_workers : 1;
    int fds[TEAM_MOST];

    net_listen(opt->host, &opt->port, n, fds);
    a_init(&t->open, n);
    for (int i = 0; i < t->n_workers; i++) {
        struct seat *seat = &t->seats[i];

        seat->team = t;
        seat->n = i;
        seat->listener = i < n ? fds[i] : -1;
        seat->shut = i >= n;
        seat->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (seat->eventfd < 0)
            die("%s: eventfd: %s", t->service->name, strerror(errno));
        mpsc_init(&seat->dealt);
    }
}

/* Waits until a worker is up, or has ended.  Main gets the signals, so it waits
 * on a semaphore: at a barrier, TSan would run a signal handler too late. */
static void team_wait(struct team *t)
{
    while (sem_wait(&t->there) != 0)
        CHECK(errno == EINTR);
}

void team_start(struct team *t, void *(*run)(void *))
{
    sem_init(&t->there, 0, 0);
    pthread_barrier_init(&t->all, NULL, (unsigned)t->n_workers + 1);
    for (int i = 0; i < t->n_workers; i++) {
        struct seat *seat = &t->seats[i];

        seat->cpu = team_thread(t, &seat->thread, i, run, seat);
        team_wait(t);
    }
}

void team_run(struct team *t)
{
    pthread_barrier_wait(&t->all);
    for (int i = 0; i < t->n_workers; i++)
        team_wait(t);
}

bool team_join(struct team *t)
{
    bool whole = true;

    pthread_barrier_wait(&t->all);
    for (int i = 0; i < t->n_workers; i++) {
        struct seat *seat = &t->seats[i];

        pthread_join(seat->thread, NULL);
        whole = whole && !seat->in_use;
        for (struct mpsc_node *list = seat_take_dealt(seat); list;)
            net_close(dealt_next(&list)); /* the drain was over first */
        close(seat->eventfd);
        net_unlisten(&seat->listener);
    }
    return whole;
}

/* ---- a worker ---- */

void seat_service(const struct seat *seat, struct service *sv)
{
    *sv = *seat->team->service;
    cancel_init(&sv->stop, &seat->team->service->stop);
    if (seat->n > 0)
        sv->opt.stats_ms = 0;
}

void seat_begin(struct seat *seat)
{
    sem_post(&seat->team->there);
    pthread_barrier_wait(&seat->team->all);
}

void seat_end(struct seat *seat)
{
    seat_begin(seat); /* does the same: posts, then waits for all */
}

void seat_wake(struct seat *seat)
{
    eventfd_write(seat->eventfd, 1);
}

void seat_clear_wake(struct seat *seat)
{
    eventfd_t n;

    eventfd_read(seat->eventfd, &n);
}

static void team_wake(struct team *t, int worker)
{
    if (worker >= 0)
        seat_wake(&t->seats[worker]);
}

void team_leave(struct team *t)
{
    team_wake(t, admit_give(&t->admit));
}

/* One descriptor on its way to another worker. */
struct deal {
    struct mpsc_node node; /* first */
    int fd;
};

bool seat_deal(struct seat *seat, int fd)
{
    struct team *t = seat->team;
    struct seat *to = seat;
    struct deal *deal;

    if (t->deal == DEAL_RR)
        to = &t->seats[t->dealt++ % (unsigned)t->n_workers];
    deal = to == seat ? NULL : malloc(sizeof *deal);
    if (!deal)
        return false;
    deal->fd = fd;
    if (mpsc_push(&to->dealt, &deal->node))
        seat_wake(to);
    return true;
}

int seat_accept(struct seat *seat, bool nonblocking)
{
    if (seat->shut)
        return -EAGAIN;
    while (seat_admit(seat)) {
        int fd = net_accept(seat->listener, nonblocking);

        if (fd < 0)
            team_leave(seat->team);
        if (fd < 0 || !seat_deal(seat, fd))
            return fd;
    }
    return -EBUSY;
}

struct mpsc_node *seat_take_dealt(struct seat *seat)
{
    return mpsc_take(&seat->dealt);
}

int dealt_next(struct mpsc_node **list)
{
    struct deal *deal = (struct deal *)*list;
    int fd;

    if (!deal)
        return -1;
    fd = deal->fd;
    *list = deal->node.next;
    free(deal);
    return fd;
}

void seat_unwait(struct seat *seat)
{
    struct team *t = seat->team;

    admit_clear(&t->admit, (uint32_t)seat->n);
    team_wake(t, admit_pick(&t->admit));
}

void seat_shut(struct seat *seat)
{
    struct team *t = seat->team;

    if (seat->shut)
        return;
    seat->shut = true;
    net_shut(seat->listener);
    a_add(&t->open, -1, release);
    seat_unwait(seat);
}
