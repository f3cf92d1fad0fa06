/* pool.c - a pool of threads, each of which serves one peer at a time. */
#include "pool.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <time.h>

#include "net.h"
#include "params.h"
#include "timer_wheel.h" /* clock_ms(), and nothing else */

/* The numbers of this course. */
enum {
    LEAST = POOL_LEAST,       /* threads that stay, once they are there */
    SPARE_MS = POOL_SPARE_MS, /* then a thread that has no peer ends */
};

TAILQ_HEAD(peers, peer);

/* LAB-BEGIN */
/* Invariants, all under the lock
 *  - A thread is free or has a peer.  It becomes free in pool_leaves(): it does
 *    nothing any more that takes long.
 *  - A peer is on `handed` or on `live`; when it leaves it is on neither.  So
 *    whoever finds one on a list may call peer_end() for it.
 *  - The main thread accepts only what a thread can take at once: n_free counts
 *    more than n_handed, or one more thread may be started.
 */
enum { FULL_MS = 100 }; /* how often a full server looks for SIGTERM */
/* LAB-END */

static struct {
    struct service *sv;
    int listener;
    int64_t retry_ms;      /* when to accept again, after it failed */
    pthread_attr_t thread; /* of a detached thread with a small stack */
    pthread_mutex_t lock;  /* guards what follows */
    /* LAB-BEGIN */
    pthread_cond_t work;   /* threads: a peer was handed over, or all is over */
    pthread_cond_t change; /* the main thread: one is free, or rests, or left */
    struct peers handed, live, resting; /* those that rest: longest first */
    int n_threads, n_free, n_handed, n_peers;
    int n_ending;      /* peers that were ended to make room */
    int64_t thread_ms; /* when to try again to start one */
    bool over;
    /* LAB-END */
} pool = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    /* LAB-BEGIN */
    .work = PTHREAD_COND_INITIALIZER,
    .change = PTHREAD_COND_INITIALIZER,
    .handed = TAILQ_HEAD_INITIALIZER(pool.handed),
    .live = TAILQ_HEAD_INITIALIZER(pool.live),
    .resting = TAILQ_HEAD_INITIALIZER(pool.resting),
    /* LAB-END */
};

/* ----------------------------------------------------------------- peers */

/* LAB-BEGIN */
static void stop_resting(struct peer *p)
{
    if (p->resting)
        TAILQ_REMOVE(&pool.resting, p, rest);
    p->resting = false;
}

void pool_rests(struct peer *p)
{
    pthread_mutex_lock(&pool.lock);
    p->resting = !p->ended;
    if (p->resting)
        TAILQ_INSERT_TAIL(&pool.resting, p, rest);
    pthread_cond_signal(&pool.change);
    pthread_mutex_unlock(&pool.lock);
}

void pool_wakes(struct peer *p)
{
    pthread_mutex_lock(&pool.lock);
    stop_resting(p);
    pthread_mutex_unlock(&pool.lock);
}

void pool_leaves(struct peer *p)
{
    pthread_mutex_lock(&pool.lock);
    TAILQ_REMOVE(&pool.live, p, link);
    pool.n_ending -= p->ended;
    pool.n_peers--;
    pool.n_free++;
    pthread_cond_signal(&pool.change);
    pthread_mutex_unlock(&pool.lock);
}

/* ---------------------------------------------------------------- threads */

/* With the lock held: sleeps until the condition is signalled, for ms at most;
 * ms < 0: for good.  0, or ETIMEDOUT. */
static int sleep_on(pthread_cond_t *cond, int ms)
{
    struct timespec until;

    if (ms < 0)
        return pthread_cond_wait(cond, &pool.lock);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_cond_clockwait(cond, &pool.lock, CLOCK_MONOTONIC, &until);
}

/* With the lock held: the next peer, or NULL when this thread is to end. */
static struct peer *next_peer(void)
{
    struct peer *p;
    int err = 0;

    while (!(p = TAILQ_FIRST(&pool.handed))) {
        bool spare = pool.n_threads > LEAST;

        if (pool.over || (spare && err == ETIMEDOUT))
            return NULL;
        err = sleep_on(&pool.work, spare ? SPARE_MS : -1);
    }
    TAILQ_REMOVE(&pool.handed, p, link);
    TAILQ_INSERT_TAIL(&pool.live, p, link);
    pool.n_handed--;
    pool.n_free--;
    return p;
}

static void *thread_main(void *unused)
{
    struct peer *p;

    pthread_mutex_lock(&pool.lock);
    while ((p = next_peer()) != NULL) {
        pthread_mutex_unlock(&pool.lock);
        peer_serve(p);
        pthread_mutex_lock(&pool.lock);
    }
    pool.n_free--;
    pool.n_threads--;
    pthread_cond_signal(&pool.change);
    pthread_mutex_unlock(&pool.lock);
    return unused;
}

/* ------------------------------------------------------- the main thread */

/* What follows is called with the lock held, up to accept_one(). */

static bool may_start(void)
{
    return pool.n_threads < pool.sv->opt.workers &&
           clock_ms() >= pool.thread_ms;
}

static bool room(void)
{
    return pool.n_free > pool.n_handed || may_start();
}

/* Somebody waits and there is no room: the peer that rests longest goes, one
 * for each that waits. */
static void make_room(void)
{
    struct peer *p = TAILQ_FIRST(&pool.resting);

    if (!p || pool.n_ending > 0)
        return;
    stop_resting(p);
    p->ended = true;
    pool.n_ending++;
    peer_end(p);
}

/* False: there is no thread at all, and none can be started. */
static bool hand_over(struct peer *p)
{
    pthread_t t;

    if (pool.n_free == pool.n_handed) {
        if (pthread_create(&t, &pool.thread, thread_main, NULL) == 0) {
            pool.n_threads++;
            pool.n_free++;
        } else {
            pool.thread_ms = clock_ms() + RETRY_MS;
        }
    }
    if (pool.n_threads == 0)
        return false;
    TAILQ_INSERT_TAIL(&pool.handed, p, link);
    pool.n_handed++;
    pool.n_peers++;
    pthread_cond_signal(&pool.work);
    return true;
}

static void end_all(void (*end)(struct peer *))
{
    struct peer *p;

    TAILQ_FOREACH (p, &pool.live, link)
        end(p);
    TAILQ_FOREACH (p, &pool.handed, link)
        end(p);
}

/* Without the lock, from here on.  A peer waits: sleeps until it can be served.
 * False: it cannot, because the server is to stop. */
static bool await_room(bool draining)
{
    bool found;

    pthread_mutex_lock(&pool.lock);
    while (!(found = room()) && !service_over(pool.sv) &&
           service_draining(pool.sv) == draining) {
        make_room();
        sleep_on(&pool.change, FULL_MS);
    }
    pthread_mutex_unlock(&pool.lock);
    return found;
}

static void accept_one(void)
{
    int fd = net_accept(pool.listener, false);
    struct peer *p = fd >= 0 ? peer_new(fd) : NULL;
    bool handed;

    if (fd == -EAGAIN)
        return;
    pthread_mutex_lock(&pool.lock);
    handed = p && hand_over(p);
    pthread_mutex_unlock(&pool.lock);
    if (handed)
        return;
    if (p)
        peer_drop(p);
    pool.retry_ms = clock_ms() + RETRY_MS;
}

/* Idle peers first: those in the accept queue may need their threads. */
static void drain(void)
{
    pthread_mutex_lock(&pool.lock);
    end_all(peer_end);
    pthread_mutex_unlock(&pool.lock);
    for (int n = net_last(pool.listener); n > 0 && await_room(true); n--)
        accept_one();
    net_unlisten(&pool.listener);
    pthread_mutex_lock(&pool.lock);
    while (pool.n_peers > 0 && !service_over(pool.sv))
        sleep_on(&pool.change, DRAIN_TICK_MS);
    end_all(peer_cut);
    pool.over = true;
    pthread_cond_broadcast(&pool.work);
    for (int i = 0; pool.n_threads > 0 && i < 100; i++)
        sleep_on(&pool.change, DRAIN_TICK_MS);
    pthread_mutex_unlock(&pool.lock);
}
/* LAB-ELSE
 * void pool_rests(struct peer *p)
 * {
 *     (void)p;
 * }
 *
 * void pool_wakes(struct peer *p)
 * {
 *     (void)p;
 * }
 *
 * void pool_leaves(struct peer *p)
 * {
 *     (void)p;
 * }
 *
 * // ---------------------------------------------------------------- threads
 *
 * static void *thread_main(void *arg)
 * {
 *     peer_serve(arg);
 *     return NULL;
 * }
 *
 * // ------------------------------------------------------- the main thread
 *
 * // A thread for every peer, however many there are.
 * static void accept_one(void)
 * {
 *     int fd = net_accept(pool.listener, false);
 *     struct peer *p = fd >= 0 ? peer_new(fd) : NULL;
 *     pthread_t t;
 *
 *     if (fd == -EAGAIN ||
 *         (p && pthread_create(&t, &pool.thread, thread_main, p) == 0))
 *         return;
 *     if (p)
 *         peer_drop(p);
 *     pool.retry_ms = clock_ms() + RETRY_MS;
 * }
 */
/* LAB-END */

void pool_run(struct pool_setup *setup)
{
    struct pollfd fds[] = {{.fd = setup->sv->signal, .events = POLLIN},
                           {.events = POLLIN}};

    pool.sv = setup->sv;
    pool.listener = setup->listener;
    pthread_attr_init(&pool.thread);
    pthread_attr_setstacksize(&pool.thread, STACK_SIZE);
    pthread_attr_setdetachstate(&pool.thread, PTHREAD_CREATE_DETACHED);
    while (!service_draining(pool.sv)) {
        int64_t now_ms = clock_ms();

        fds[1].fd = pool.retry_ms > now_ms ? -1 : pool.listener;
        fds[1].revents = 0;
        poll(fds, 2, service_wait_ms(pool.sv, now_ms, -1, pool.retry_ms));
        /* LAB-BEGIN */
        if (fds[1].revents && await_room(false))
            accept_one();
        /* LAB-ELSE
         *         if (fds[1].revents)
         *             accept_one();
         */
        /* LAB-END */
        service_tick(pool.sv);
    }
    /* LAB-BEGIN */
    drain();
    /* LAB-ELSE
     *     // What runs is not finished, and the accept queue is lost.
     *     net_unlisten(&pool.listener);
     */
    /* LAB-END */
}
