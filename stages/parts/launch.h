/* launch.h - the threads of a server of several workers, from start to end.
 *
 *      main                        worker 0              worker 1 ...
 *      ----                        --------              --------
 *      team_size, team_listen
 *      team_start
 *        starts worker 0  ------>  makes its own
 *        starts worker 1  ------- when that one is up -->  makes its own
 *      service_ready
 *      team_run  |===================== all begin =====================|
 *        sleeps                    runs                  runs
 *                |== all have ended: no connection is run any more ====|
 *      team_join |============== now rings may be closed ==============|
 *        joins them                frees its own         frees its own
 *
 * The workers start one after the other: if one cannot start, the process ends
 * before any worker runs.  From "all begin" to the end, members that are not
 * atomic are only read.
 *
 * Three things that workers share, and none of them is written for a request:
 *  - the number of connections (admit.h);
 *  - with DEAL_RR, lists of descriptors that worker 0 deals out (mpsc.h);
 *  - an eventfd for each worker, which wakes it for one of these two.
 */
#ifndef LAUNCH_H
#define LAUNCH_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>

#include "admit.h"
#include "mpsc.h"
#include "service.h"

enum { TEAM_MOST = ADMIT_WORKERS }; /* workers */

/* Which worker gets a new connection.  By hash the kernel decides
 * (SO_REUSEPORT), and each worker has a listener; else only worker 0 has one,
 * and deals its connections out in turn, or keeps all.  Stage 6 has a switch
 * for it (--place); stage 5 has a variant for each but the hash. */
enum deal_by { DEAL_HASH, DEAL_RR, DEAL_ONE };
extern const char *const deal_names[]; /* as the switch has them; NULL ends */

struct team;

/* One worker, as the others may see it. */
struct seat {
    struct mpsc dealt; /* descriptors for this worker */
    struct team *team;
    void *worker; /* the stage's; set before seat_begin() */
    int n;        /* 0 to n_workers - 1 */
    int cpu;      /* where it is pinned; negative: anywhere */
    int listener; /* non-blocking; or -1.  Open until team_join() */
    int eventfd;  /* non-blocking: call seat_take_dealt(), and accept */
    bool in_use;  /* set it: the kernel may still write to its memory */
    bool shut;    /* no listener, or it refuses peers; its own worker's */
    pthread_t thread;
};

struct team {
    /* The stage sets these before team_size(). */
    struct service *service;
    enum deal_by deal;
    bool unpinned;
    /* The rest is of this part. */
    int n_workers;
    unsigned dealt;        /* worker 0's: dealt % n_workers gets the next */
    sem_t there;           /* a worker is up, or has ended */
    pthread_barrier_t all; /* the workers and main */
    struct admit admit;
    PADDED ATOMIC(int) open; /* listeners that may still bring a connection */
    struct seat seats[TEAM_MOST];
};

/* ---- main ---- */

/* How many workers: --workers, or one for each cpu (fewer
 * where a control group has a smaller quota), but at most `most` (which
 * is what the stage can have, at most TEAM_MOST), and by default at most
 * `afford`.  Each needs `fds` descriptors of its own; connections get the rest,
 * so --max-conns may become less.  Wrong usage ends the process with 64, too
 * few descriptors with 1, and the reason. */
void team_size(struct team *t, int most, int afford, int fds);

/* Opens the listeners.  Dies with the reason. */
void team_listen(struct team *t);

/* Starts the workers: run(struct seat *), on the n-th cpu (modulo).  Returns
 * when all are in seat_begin(). */
void team_start(struct team *t, void *(*run)(void *));

/* All begin; returns when all are in seat_end(). */
void team_run(struct team *t);

/* Lets the workers leave seat_end(), joins them, closes the listeners.  False:
 * the memory of one is in_use, so exit without freeing it. */
bool team_join(struct team *t);

/* A thread on the n-th cpu (modulo) of those that the process may use, if the
 * team is pinned and n is not negative.  Returns that cpu, or a negative
 * number.  Dies with the reason when there is no thread to be had. */
int team_thread(struct team *t, pthread_t *thread, int n, void *(*run)(void *),
                void *arg);

/* Zeroed memory that shares no cache line with anything else; align: that of
 * the type.  For as long as the process lives.  Dies with the reason. */
void *aligned_zeroed(size_t align, size_t size);

/* ---- a worker, in its own thread ---- */

/* Copies the service for this worker, so that what each request reads lies on
 * no cache line that another thread writes.  Only worker 0 prints --stats. */
void seat_service(const struct seat *seat, struct service *sv);

void seat_begin(struct seat *seat);
void seat_end(struct seat *seat);

/* Posts the worker's eventfd, which wakes it.  The eventfd stays readable until
 * the worker calls seat_clear_wake(). */
void seat_wake(struct seat *seat);
void seat_clear_wake(struct seat *seat);

/* Accepts a peer at this seat's listener for this worker.  With DEAL_RR it
 * deals peers to the other workers, until this worker gets the next.  The peer
 * has one of the --max-conns permits, which team_leave() gives back.  -EAGAIN:
 * no peer waits.  -EBUSY: the server is full; the worker is woken when a permit
 * may be free, and must try again then, as that wakes the next worker.  Another
 * -errno: pause before you accept again. */
int seat_accept(struct seat *seat, bool nonblocking);

/* The two halves, for a worker that calls accept itself.  seat_admit() takes a
 * permit; false: as -EBUSY.  seat_deal() gets the descriptor; true: it went to
 * another worker. */
static inline bool seat_admit(struct seat *seat)
{
    return admit_take(&seat->team->admit, (uint32_t)seat->n);
}
bool seat_deal(struct seat *seat, int fd);

/* The worker waits for no permit any more: a wake-up for it goes to the next
 * worker. */
void seat_unwait(struct seat *seat);

/* Gives a permit back: a connection has ended, or there was none to accept. */
void team_leave(struct team *t);

/* Takes the descriptors that were dealt to this seat; any thread may do that.
 * Each has its permit already. */
struct mpsc_node *seat_take_dealt(struct seat *seat);

/* Takes the first descriptor off that list; -1: none is left. */
int dealt_next(struct mpsc_node **list);

/* Shuts the listener: further peers are refused.  First accept those that are
 * in the accept queue. */
void seat_shut(struct seat *seat);

/* True when no listener will bring a connection any more.  Some may have been
 * dealt before that: call seat_take_dealt() once more. */
static inline bool team_shut(struct team *t)
{
    return a_load(&t->open, acquire) == 0;
}

/* True when no permit is taken: no connection is left, nor on its way. */
static inline bool team_empty(struct team *t)
{
    return a_load(&t->admit.conns, acquire) == 0;
}

#endif
