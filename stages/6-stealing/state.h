/* state.h - who may touch a connection: one atomic word.
 *
 * Any worker may learn that a connection is ready, any worker may run it, and
 * both at the same time.  The word decides:
 *
 *      IDLE      nobody has it; the next event queues it
 *      READY     it is in exactly one queue
 *      RUNNING   exactly one thread owns it: session, buffers, descriptor
 *      AGAIN     RUNNING, and an event came meanwhile: look once more
 *
 *               event               claim                event
 *      IDLE ------------> READY ------------> RUNNING ------------> AGAIN
 *        ^                 ^  ^                 |  |                  |
 *        |                 |  +---- requeue ----+  |                  |
 *        +-----------------|------- release -------+                  |
 *                          +-------------- release -------------------+
 *
 * Invariants:
 *   - in READY exactly one queue holds it, in the other states none does:
 *     whoever makes it READY queues it, once;
 *   - claim succeeds for one thread only, and that thread alone leaves RUNNING
 *     and AGAIN.  All fields of the connection are its own until then;
 *   - an event is never lost: it queues the connection, or finds it queued and
 *     not yet claimed, or leaves AGAIN, which release turns into READY.
 *
 * The word also holds the generation of the slot.  An event carries the
 * generation it was registered with; after a close the slot counts one up, so
 * an event that was harvested before and is handled late does nothing.  32
 * bits: wrong only if one slot is reused 4,294,967,296 times while one event
 * is on its way.
 *
 *      | generation (32) | unused | state (2) |
 *
 * Every transition is a read-modify-write, even where nothing changes (an
 * event that finds READY or AGAIN): so the runner's next one sees all that
 * happened before the event, and an event never acts on an old value.
 */
#ifndef STATE_H
#define STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "parts/atom.h"

enum conn_state { CONN_IDLE, CONN_READY, CONN_RUNNING, CONN_AGAIN };

struct state {
    ATOMIC(uint64_t) word;
};

static inline uint64_t state_word(uint32_t gen, enum conn_state st)
{
    return (uint64_t)gen << 32 | st;
}

static inline uint32_t state_word_gen(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

static inline enum conn_state state_of_word(uint64_t word)
{
    return (enum conn_state)(word & 3);
}

/* Once per slot, before anybody shares it; reuse keeps counting. */
static inline void state_init(struct state *s)
{
    a_init(&s->word, state_word(0, CONN_IDLE));
}

/* The generation to register a new connection with.  The slot must be free, or
 * the caller's. */
static inline uint32_t state_gen(struct state *s)
{
    return state_word_gen(a_load(&s->word, relaxed));
}

/* A new connection in a free slot, all of it written: returns the generation to
 * register it with. */
static inline uint32_t state_open(struct state *s)
{
    uint32_t gen = state_gen(s);

    /* release: the connection, to whoever the first event makes its owner. */
    a_xchg(&s->word, state_word(gen, CONN_IDLE), release);
    return gen;
}

/* Something happened to the connection that was registered with gen.  True:
 * the caller must queue it.  False: it is taken care of, or it is gone. */
static inline bool state_event(struct state *s, uint32_t gen)
{
    uint64_t old = a_load(&s->word, relaxed), next;

    do {
        if (state_word_gen(old) != gen)
            return false;
        next = state_of_word(old) == CONN_RUNNING ? state_word(gen, CONN_AGAIN)
               : state_of_word(old) == CONN_IDLE  ? state_word(gen, CONN_READY)
                                                  : old;
        /* acq_rel: release what happened before the event to the thread that
         * will run it; acquire what the last one left, for when we are that
         * thread ourselves. */
    } while (!a_cas(&s->word, &old, next, acq_rel, relaxed));
    return state_of_word(old) == CONN_IDLE;
}

/* The caller has taken it from a queue and owns it from now on.  False is a bug
 * of somebody's: two queues held it. */
static inline bool state_claim(struct state *s)
{
    /* acquire: all that earlier owners and events have done.  An addition, as
     * it can be nothing but READY -> RUNNING, and sees the newest value. */
    uint64_t old = a_add(&s->word, CONN_RUNNING - CONN_READY, acquire);

    return state_of_word(old) == CONN_READY;
}

/* Owner: done for now, waiting for an event.  True: there was one already; the
 * caller must queue it. */
static inline bool state_release(struct state *s)
{
    uint64_t old = a_load(&s->word, relaxed), next;

    do {
        next = state_word(state_word_gen(old), state_of_word(old) == CONN_AGAIN
                                                   ? CONN_READY
                                                   : CONN_IDLE);
        /* release: all that we have done, to the next owner. */
    } while (!a_cas(&s->word, &old, next, release, relaxed));
    return state_of_word(next) == CONN_READY;
}

/* Owner: not done, but somebody else may go on.  The caller must queue it.
 * AGAIN is dropped: whoever runs it next looks anyhow. */
static inline void state_requeue(struct state *s)
{
    /* An exchange, not a store, so that the events' releases stay on the way
     * to the next owner.  Only its owner changes the generation. */
    a_xchg(&s->word, state_word(state_gen(s), CONN_READY), release);
}

/* Owner: the descriptor is closed, the slot is free.  Events of the old
 * generation do nothing from here on. */
static inline void state_close(struct state *s)
{
    a_xchg(&s->word, state_word(state_gen(s) + 1, CONN_IDLE), release);
}

#endif
