/* lend.c - one worker lends jobs to its helpers, in batches.
 *
 * Slots are counted from the start, in 64 bits: slot i lies at i % slots.
 *
 *      collected <= head <= tail <= collected + slots
 *
 *   collected .. head-1   lent, or back and not collected yet
 *   head .. tail-1        waiting: the next helper borrows from head on
 *   tail ..               free
 */
#include "lend.h"
#include "params.h"

enum { SHARE = LEND_SHARE, MOST = LEND_MOST };

/* LAB-BEGIN */
/* Invariants:
 *  - only the worker writes tail, collected, and jobs;
 *  - head moves by compare-and-swap: each slot has one borrower;
 *  - back[i] is 0, or the length of a batch that begins at slot i and has come
 *    back.  Its borrower sets it, once; the worker zeroes it before the slot
 *    is published again.
 */
struct lend {
    PADDED ATOMIC(uint64_t) head; /* helpers */
    PADDED ATOMIC(uint64_t) tail; /* worker */
    uint64_t collected;           /* worker; nobody else reads it */
    PADDED uint32_t slots;        /* never changes */
    PADDED ATOMIC(uint32_t) back[LEND_SLOTS];
    PADDED struct slot slot[LEND_SLOTS];
};
/* LAB-ELSE
 * // What is atomic, who writes it, and what lies on a line with what?
 * struct lend {
 *     uint64_t head;
 *     uint64_t tail;
 *     uint64_t collected;
 *     uint32_t slots;
 *     struct slot slot[LEND_SLOTS];
 * };
 */
/* LAB-END */

size_t lend_bytes(void)
{
    return sizeof(struct lend);
}

void lend_init(struct lend *l, uint32_t slots)
{
    /* LAB-BEGIN */
    a_init(&l->head, 0);
    a_name(&l->head, "head");
    a_init(&l->tail, 0);
    a_name(&l->tail, "tail");
    for (uint32_t i = 0; i < LEND_SLOTS; i++)
        a_init(&l->back[i], 0);
    /* LAB-ELSE
     * l->head = l->tail = 0;
     */
    /* LAB-END */
    l->collected = 0;
    l->slots = slots;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

struct slot *lend_room(struct lend *l, uint32_t *n)
{
    /* LAB-BEGIN */
    /* relaxed: our own last store. */
    uint64_t tail = a_load(&l->tail, relaxed);
    uint32_t at = (uint32_t)(tail % l->slots);

    *n = least(l->slots - (uint32_t)(tail - l->collected), l->slots - at);
    return *n > 0 ? &l->slot[at] : NULL;
    /* LAB-ELSE
     * // Right until the last slot has been used once.
     * *n = l->slots - (uint32_t)l->tail;
     * return *n > 0 ? &l->slot[l->tail] : NULL;
     */
    /* LAB-END */
}

void lend_publish(struct lend *l, uint32_t n)
{
    /* LAB-BEGIN */
    /* release: a helper that sees the new tail sees the jobs, and that back[]
     * of these slots is 0. */
    a_store(&l->tail, a_load(&l->tail, relaxed) + n, release);
    /* LAB-ELSE
     * l->tail += n;
     */
    /* LAB-END */
}

/* LAB-BEGIN */
/* What one helper may borrow of the slots head .. tail-1. */
static uint32_t batch(const struct lend *l, uint64_t head, uint64_t tail,
                      uint32_t most)
{
    uint32_t n = (uint32_t)((tail - head + SHARE - 1) / SHARE);

    n = least(n, least(most, MOST));
    return least(n, l->slots - (uint32_t)(head % l->slots));
}
/* LAB-END */

struct slot *lend_borrow(struct lend *l, uint32_t most, uint32_t *n)
{
    /* LAB-BEGIN */
    /* relaxed, here and below: head only counts.  What a slot holds comes with
     * tail, and an old head makes the swap fail. */
    uint64_t head = a_load(&l->head, relaxed);

    for (;;) {
        /* acquire: pairs with the release in lend_publish(). */
        uint64_t tail = a_load(&l->tail, acquire);

        *n = 0;
        if (head >= tail) /* head may be news to us that tail is not yet */
            return NULL;
        *n = batch(l, head, tail, most);
        if (a_cas(&l->head, &head, head + *n, relaxed, relaxed))
            return &l->slot[head % l->slots];
    }
    /* LAB-ELSE
     * (void)least;
     * (void)most;
     * *n = l->head < l->tail;
     * return *n > 0 ? &l->slot[l->head++] : NULL;
     */
    /* LAB-END */
}

void lend_give_back(struct lend *l, struct slot *first, uint32_t n)
{
    /* LAB-BEGIN */
    /* release: the worker that sees it sees the answers, and we have read the
     * jobs before it writes new ones. */
    a_store(&l->back[first - l->slot], n, release);
    /* LAB-ELSE
     * (void)l;
     * (void)first;
     * (void)n;
     */
    /* LAB-END */
}

struct slot *lend_collect(struct lend *l, uint32_t *n)
{
    /* LAB-BEGIN */
    uint32_t at = (uint32_t)(l->collected % l->slots), len;

    *n = 0;
    /* acquire: pairs with the release in lend_give_back(). */
    while (at + *n < l->slots &&
           (len = a_load(&l->back[at + *n], acquire)) > 0) {
        /* relaxed: seen by whoever sees these slots published again. */
        a_store(&l->back[at + *n], 0, relaxed);
        *n += len;
    }
    l->collected += *n;
    return *n > 0 ? &l->slot[at] : NULL;
    /* LAB-ELSE
     * (void)l;
     * *n = 0;
     * return NULL;
     */
    /* LAB-END */
}
