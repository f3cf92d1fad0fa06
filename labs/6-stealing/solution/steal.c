/* steal.c - workers that ask for work, and get half of what waits. */
#include "steal.h"
#include "params.h"

enum { GIFT = STEAL_GIFT, LEAST = STEAL_LEAST };

/* LAB-BEGIN */
/* Three kinds of words, by who else writes them; each on lines of its own. */
struct worker {
    /* Nobody else writes these: the queue, and what is told of it. */
    PADDED struct task *queue[STEAL_TASKS]; /* head .. tail-1, % STEAL_TASKS */
    uint64_t head, tail;
    uint64_t cost; /* of what is queued */
    ATOMIC(uint64_t) waiting;
    /* Thieves: who asks.  NULL: nobody. */
    PADDED ATOMIC(struct worker *) asked;
    /* A victim that we have asked: 0, or 1 + how many tasks are in the box. */
    PADDED ATOMIC(uint32_t) reply;
    ATOMIC(struct task *) box[GIFT];
};
/* LAB-ELSE
 * // Who writes each of these, and which of them share a line of 128 bytes?
 * struct worker {
 *     ATOMIC(struct worker *) asked; // by a thief; NULL: nobody asks
 *     uint64_t head, tail;           // of the queue
 *     ATOMIC(uint32_t) reply;        // by the victim: 0, or 1 + tasks in box
 *     uint64_t cost;                 // of what is queued
 *     ATOMIC(uint64_t) waiting;      // the same, for others to read
 *     ATOMIC(struct task *) box[GIFT];
 *     struct task *queue[STEAL_TASKS];
 * };
 */
/* LAB-END */

size_t work_bytes(void)
{
    return sizeof(struct worker);
}

void work_init(struct worker *w)
{
    w->head = w->tail = w->cost = 0;
    a_init(&w->waiting, 0);
    a_name(&w->waiting, "waiting");
    a_init(&w->asked, NULL);
    a_name(&w->asked, "asked");
    a_init(&w->reply, 0);
    a_name(&w->reply, "reply");
    for (int i = 0; i < GIFT; i++)
        a_init(&w->box[i], NULL);
}

/* relaxed: a hint, which orders nothing. */
static void tell(struct worker *w)
{
    a_store(&w->waiting, w->cost, relaxed);
}

bool work_push(struct worker *w, struct task *task)
{
    if (w->tail - w->head == STEAL_TASKS)
        return false;
    w->queue[w->tail++ % STEAL_TASKS] = task;
    w->cost += task->cost;
    tell(w);
    return true;
}

static struct task *oldest(struct worker *w)
{
    struct task *task = w->queue[w->head++ % STEAL_TASKS];

    w->cost -= task->cost;
    return task;
}

struct task *work_pop(struct worker *w)
{
    struct task *task;

    if (w->head == w->tail)
        return NULL;
    task = oldest(w);
    tell(w);
    return task;
}

uint64_t work_waiting(struct worker *w)
{
    return a_load(&w->waiting, relaxed);
}

bool work_ask(struct worker *thief, struct worker *victim)
{
    struct worker *nobody = NULL;

    /* LAB-BEGIN */
    /* release: the victim answers into a box that we have read to its end. */
    return a_cas(&victim->asked, &nobody, thief, release, relaxed);
    /* LAB-ELSE
     * return a_cas(&victim->asked, &nobody, thief, relaxed, relaxed);
     */
    /* LAB-END */
}

/* LAB-BEGIN */
/* How many of its oldest tasks w gives away: as few as make half of the cost,
 * but not the last one. */
static uint32_t half(const struct worker *w)
{
    uint64_t given = 0;
    uint32_t n = 0;

    if (w->cost < LEAST)
        return 0;
    while (n < GIFT && n + 1 < w->tail - w->head && 2 * given < w->cost)
        given += w->queue[(w->head + n++) % STEAL_TASKS]->cost;
    return n;
}
/* LAB-END */

void work_serve(struct worker *w)
{
    /* LAB-BEGIN */
    /* acquire: pairs with the release in work_ask(). */
    struct worker *thief = a_load(&w->asked, acquire);
    uint32_t n;

    if (!thief)
        return;
    n = half(w);
    /* relaxed, here and below: what the thief must see comes with reply. */
    for (uint32_t i = 0; i < n; i++)
        a_store(&thief->box[i], oldest(w), relaxed);
    if (n > 0)
        tell(w);
    /* First: a thief that has its answer may ask again. */
    a_store(&w->asked, NULL, relaxed);
    /* release: the box, and what the tasks point to. */
    a_store(&thief->reply, n + 1, release);
    /* LAB-ELSE
     * // One task an answer.  Which orders does this need?
     * struct worker *thief = a_load(&w->asked, relaxed);
     * uint32_t n = w->tail - w->head > 1;
     *
     * (void)LEAST;
     * if (!thief)
     *     return;
     * if (n > 0)
     *     a_store(&thief->box[0], work_pop(w), relaxed);
     * a_store(&w->asked, NULL, relaxed);
     * a_store(&thief->reply, n + 1, relaxed);
     */
    /* LAB-END */
}

enum news work_news(struct worker *w)
{
    /* LAB-BEGIN */
    /* acquire: pairs with the release in work_serve(). */
    uint32_t reply = a_load(&w->reply, acquire);
    /* LAB-ELSE
     * uint32_t reply = a_load(&w->reply, relaxed);
     */
    /* LAB-END */

    if (reply == 0)
        return NEWS_NONE;
    /* relaxed: nobody writes here until we ask again. */
    a_store(&w->reply, 0, relaxed);
    for (uint32_t i = 0; i + 1 < reply; i++)
        work_push(w, a_load(&w->box[i], relaxed));
    return reply > 1 ? NEWS_GOT : NEWS_REFUSED;
}
