/* lend.h - lab 5: one worker lends jobs to its helpers, in batches.
 *
 * The jobs lie in slots that never move.  A helper does not take a job out: it
 * borrows slots, writes the answers into them, and gives them back.
 *
 *        collected            borrowed up to       published
 *            |                      |                  |
 *       | .. | a | a | L | L | L | a | w | w | w | w | w |    |    |
 *              \___/   \_______/   |   \_______________/
 *             answered,  lent to   |     waiting
 *             to be      a helper  answered, but what
 *             collected            stands before it is not
 *
 * One worker, any number of helpers.  No function waits for another thread, and
 * none may be delayed by a thread that stands still in the middle of one.
 */
#ifndef LEND_H
#define LEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atoms.h"
#include "pad.h"

enum { LEND_SLOTS = 32 }; /* of one struct lend, at most */

struct slot {
    uint64_t job;    /* written by the worker */
    uint64_t answer; /* written by a helper */
};

struct lend; /* yours */

/* The bytes of one; at most 4096. */
size_t lend_bytes(void);

/* Makes an empty one of `slots` slots, 1 to LEND_SLOTS, in lend_bytes() of
 * memory that starts on a line of 128 bytes.  Nobody else uses it yet. */
void lend_init(struct lend *l, uint32_t slots);

/* Worker.  The free slots behind the published ones that lie next to each
 * other, up to the last slot or the first that is not free: the first of them,
 * and their number in *n.  NULL and 0: there is none.  A slot is free until it
 * is published, and again when it has been collected. */
struct slot *lend_room(struct lend *l, uint32_t *n);

/* Worker.  The first n of lend_room() hold jobs now: helpers may borrow them.
 * n is 1 to what lend_room() said. */
void lend_publish(struct lend *l, uint32_t n);

/* Any helper.  The oldest waiting slots become the caller's, until it gives
 * them back.  Returns the first of them; how many, see README.md, in *n.  NULL
 * and 0: nothing waits. */
struct slot *lend_borrow(struct lend *l, uint32_t most, uint32_t *n);

/* A helper gives back what one lend_borrow() returned, all of it, with the
 * answers in it.  Batches come back in any order. */
void lend_give_back(struct lend *l, struct slot *first, uint32_t n);

/* Worker.  The slots behind the collected ones that have come back and lie next
 * to each other, up to the last slot or the first that is not back.  They are
 * the worker's, and free.  NULL and 0: there is none. */
struct slot *lend_collect(struct lend *l, uint32_t *n);

#endif
