/* steal.h - lab 6: workers that ask for work, and get half of what waits.
 *
 * In stage 6 a thief reaches into the queue of another worker, so that queue
 * needs a compare-and-swap for every connection, also when nobody steals.  Here
 * a queue is its worker's alone.  A thief asks, and the worker that is asked
 * answers when it next looks:
 *
 *      thief                                  victim
 *      work_ask(thief, victim)  -- asked -->
 *        ... serves and looks in turn ...     work_serve(victim)
 *      work_news(thief)  <-- box, reply --      half of its queue, or nothing
 *
 * A worker's functions are called by its own thread only; work_ask() by the
 * thief's, work_waiting() by any.  No function waits for another thread.
 */
#ifndef STEAL_H
#define STEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atoms.h"
#include "pad.h"

enum { STEAL_TASKS = 256 }; /* the queue of one worker holds so many */

struct task {
    uint64_t cost; /* at least 1; does not change while the task is queued */
    uint64_t body; /* the caller's */
};

struct worker; /* yours */

enum news {
    NEWS_NONE,    /* not answered yet, or nothing was asked */
    NEWS_REFUSED, /* answered with nothing */
    NEWS_GOT      /* what came is in the queue, behind what was there */
};

/* The bytes of one, at most 16384.  Workers lie next to each other, the first
 * on a line of 128 bytes. */
size_t work_bytes(void);

/* Makes one with an empty queue.  Nobody else uses it yet. */
void work_init(struct worker *w);

/* Adds a task.  False: the queue is full, nothing was added. */
bool work_push(struct worker *w, struct task *task);

/* Takes the oldest task.  NULL: there is none. */
struct task *work_pop(struct worker *w);

/* The cost of all tasks in the queue, a moment ago. */
uint64_t work_waiting(struct worker *w);

/* The thief asks the victim, another worker, for work.  False: another thief's
 * request is there, and nothing was asked.  A thief that has asked asks nobody
 * until it has the answer; then the same victim can be asked again at once.
 * Before, and until the answer is there, the thief's queue has room for the
 * most that a victim gives. */
bool work_ask(struct worker *thief, struct worker *victim);

/* Answers the request, if there is one; README.md says with what. */
void work_serve(struct worker *w);

/* The answer to what w has asked.  Each answer is news once. */
enum news work_news(struct worker *w);

#endif
