/* elastic.h - how many workers run, between MIN and MAX, and what a resting
 * worker leaves to others.
 *
 *      active = 2                 worker 2 rests        worker 3 rests
 *      worker 0     worker 1        asleep; no wake-up before it is called
 *         ^            ^             |                     |
 *         |            +-------------|---------------------+
 *         +--------------------------+
 *              their sets are in the sets of their keepers
 *
 * Workers 0 to active - 1 run, the others rest.  Workers below MIN never rest,
 * and worker n leaves its home (set, slots, timers, listener) to worker
 * n % MIN, its keeper.  So a keeper never rests, and no home is handed on.
 *
 *   owner                               keeper
 *   -----                               ------
 *   run until the queue is empty        an event tells that the set has some:
 *   home_hand(true)                       take them, as from any sibling's set
 *   set the keeper's bit, wake it       for each bit of kept:
 *   while elastic_rests(): sleep          home_enter?  then timers, slots,
 *   clear the bit                           listener; home_leave
 *   home_hand(false)
 *
 * Invariants
 *  - A worker rests only when it holds nothing: its queue is empty, it is no
 *    searcher (park.h), it waits for no permit (admit.h), and its home is away.
 *  - One thread at a time touches slots, timers and listener of a home: its
 *    owner while it is not away, else its keeper, between enter and leave.
 *    What one wrote, the other sees: the lock.  A stale bit of kept does no
 *    harm, as home_enter() looks again with the lock.
 *  - No event is lost.  The set of a resting worker is in its keeper's set,
 *    level-triggered: what is not taken is told again.  Any thread may take it.
 *  - No call is lost: the caller writes active, then posts the eventfd.  The
 *    resting worker clears the eventfd, then reads active, and sleeps only
 *    until the eventfd is posted.
 *
 * Two rules say how many shall run.  One worker takes a sample per period, in
 * passing, so no thread wakes up for it; a server without events changes
 * nothing, and costs nothing.
 *
 *   ELASTIC_LOAD   tasks (connections run) a worker, in 500 ms: under 200 the
 *                  number is multiplied by 0.8, to 600 by 1, to 1,200 by 1.5,
 *                  above by 2.  The band from 200 to 600 is the hysteresis: no
 *                  factor leads from one side of it to the other.
 *   ELASTIC_WAIT   a task is late when it was ready for LATE_US before it ran.
 *                  More than one late in 100, in LATE_SAMPLES one after the
 *                  other (a machine that stood still for a moment makes one):
 *                  a half more workers.  One fewer when, for CALM_PERIODS, few
 *                  were late and one fewer would have been awake for at most
 *                  FIT_PERCENT of the time.  Each change begins that time anew.
 *
 * Source of ELASTIC_LOAD: an article on Go servers that this project was asked
 * to check (docs/6-stealing.md says what came of it).
 */
#ifndef ELASTIC_H
#define ELASTIC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "parts/atom.h"
#include "parts/pad.h"

enum elastic_rule { ELASTIC_WAIT, ELASTIC_LOAD };

#ifndef ELASTIC_MOST
#define ELASTIC_MOST 64 /* workers, at most; a bit of a word for each */
#endif

enum {
    WAIT_US = 10000,    /* the period of ELASTIC_WAIT */
    LATE_US = 200,      /* ready for longer: late */
    LATE_SHARE = 100,   /* one late in so many: too many */
    LATE_SAMPLES = 2,   /* with too many, one after the other: more workers */
    CALM_PERIODS = 30,  /* before one worker fewer */
    FIT_PERCENT = 60,   /* those that are left may be awake for so long */
    TASKS_US = 500000,  /* the period of ELASTIC_LOAD, and of its counts: */
    TASKS_FEW = 200,    /* under: 0.8 */
    TASKS_ENOUGH = 600, /* to here: 1 */
    TASKS_MANY = 1200,  /* to here: 1.5; above: 2 */
    FEW_SAMPLES = 2,    /* with few tasks, before there are fewer workers */
};

/* One worker, as the others may see it. */
struct member {
    PADDED pthread_mutex_t lock;
    bool away;             /* with the lock: its keeper has its home */
    ATOMIC(uint64_t) kept; /* a bit for each worker whose home it keeps */
    int epoll, eventfd;    /* its set; it is woken by this */
    /* Its counts since the start: the worker writes, any thread reads. */
    ATOMIC(uint64_t) tasks, late;
    ATOMIC(int64_t) slept_us; /* without the sleep that it is in now */
    ATOMIC(int64_t) since_us; /* asleep since then; 0: awake */
};

struct elastic {
    PADDED ATOMIC(int) active; /* workers 0 to active - 1 shall run */
    PADDED
    ATOMIC(int64_t) due_us; /* the next sample; INT64_MAX: one is taken */
    enum elastic_rule rule; /* set by the stage, like the next three */
    int min, max;           /* workers; equal: never change */
    int64_t period_us;      /* 0: elastic_init() takes the rule's own */
    /* From here on, of the thread that takes a sample. */
    int64_t sampled_us, calm_us;
    uint64_t tasks, late;
    int64_t slept_us[ELASTIC_MOST];
    int few, crowded; /* samples in a row: with few tasks, with many late */
    int last;         /* active at the last sample */
    struct member member[ELASTIC_MOST];
};

/* What elastic_judge() looks at: all workers' counts since the start. */
struct elastic_load {
    uint64_t tasks, late;
    int64_t slept_us[ELASTIC_MOST]; /* of each worker, up to now */
};

/* Begins with min workers.  Rule and limits are set. */
void elastic_init(struct elastic *e, int64_t now_us);

/* Worker n is up, with this set and this eventfd.  Call it before all begin. */
struct member *elastic_join(struct elastic *e, int n, int epoll, int eventfd);

/* Another number of workers: from, as it was read, to `to`.  Those between the
 * two are woken.  Does nothing when another thread was faster. */
void elastic_resize(struct elastic *e, int from, int to);

/* After elastic_turn() was true: takes the sample, and changes the number by
 * the rule. */
void elastic_sample(struct elastic *e, int64_t now_us);

/* Worker n, which holds nothing but its home, sleeps until it is called or
 * `signal` is readable.  Its set is in its keeper's, as event number + n.
 * False: there was no memory for that, so it did not sleep. */
bool elastic_rest(struct elastic *e, int n, uint64_t number, int signal);

/* How many workers shall run, by the rule: the part of elastic_sample() that
 * changes nothing but e's notes. */
int elastic_judge(struct elastic *e, int64_t now_us,
                  const struct elastic_load *load);

static inline int elastic_active(struct elastic *e)
{
    return a_load(&e->active, acquire);
}

/* Worker n shall rest. */
static inline bool elastic_rests(struct elastic *e, int n)
{
    return n >= elastic_active(e);
}

/* The worker that looks after the home of worker n while n rests. */
static inline int elastic_keeper(const struct elastic *e, int n)
{
    return n % e->min;
}

/* True: a sample is due, and the caller is the one to take it. */
static inline bool elastic_turn(struct elastic *e, int64_t now_us)
{
    int64_t due = a_load(&e->due_us, relaxed);

    /* acquire: what the last one has noted. */
    return now_us >= due &&
           a_cas(&e->due_us, &due, INT64_MAX, acquire, relaxed);
}

/* True: this number follows that one; it was `from` when it was read. */
static inline bool elastic_change(struct elastic *e, int from, int to)
{
    return a_cas(&e->active, &from, to, acq_rel, relaxed);
}

/* The owner leaves its home to the keeper, or takes it back. */
static inline void home_hand(struct member *m, bool away)
{
    pthread_mutex_lock(&m->lock);
    m->away = away;
    pthread_mutex_unlock(&m->lock);
}

/* The keeper: true when the home is away, and stays so until home_leave(). */
static inline bool home_enter(struct member *m)
{
    pthread_mutex_lock(&m->lock);
    if (m->away)
        return true;
    pthread_mutex_unlock(&m->lock);
    return false;
}

static inline void home_leave(struct member *m)
{
    pthread_mutex_unlock(&m->lock);
}

/* A worker falls asleep, and wakes up. */
static inline void note_sleep(struct member *m, int64_t now_us)
{
    a_store(&m->since_us, now_us, relaxed);
}

static inline void note_awake(struct member *m, int64_t now_us)
{
    int64_t since = a_load(&m->since_us, relaxed);

    a_store(&m->slept_us, a_load(&m->slept_us, relaxed) + now_us - since,
            relaxed);
    a_store(&m->since_us, 0, relaxed);
}

/* A task that became ready at ready_us runs now. */
static inline void note_run(struct member *m, int64_t now_us, int64_t ready_us)
{
    a_store(&m->tasks, a_load(&m->tasks, relaxed) + 1, relaxed);
    if (now_us - ready_us > LATE_US)
        a_store(&m->late, a_load(&m->late, relaxed) + 1, relaxed);
}

/* Any thread: how long the worker has slept up to now.  A look between two of
 * its stores is off by one sleep; elastic_judge() bounds what comes of it. */
static inline int64_t note_slept(struct member *m, int64_t now_us)
{
    int64_t since = a_load(&m->since_us, relaxed);

    return a_load(&m->slept_us, relaxed) +
           (since != 0 && since < now_us ? now_us - since : 0);
}

#endif
