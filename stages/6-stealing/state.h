/* state.h - who may touch a connection: one atomic word.
 *
 * Any worker may learn that a connection is ready, any worker may run it, and
 * both at the same time.  The word decides:
 *
 *      IDLE      no thread has it; the next event queues it
 *      READY     it is in exactly one queue
 *      RUNNING   exactly one thread owns it: session, buffers, descriptor
 *
 *             event              claim
 *      IDLE ---------> READY ------------> RUNNING
 *        ^             ^   ^                |  |
 *        |             |   +--- requeue ----+  |
 *        |             +-- release, marked ----+
 *        +--------- release, not marked -------+
 *
 * Beside the state the word has two marks.  An event sets them in every state,
 * claim takes them away and returns them:
 *
 *      NEWS      something has happened: the socket is worth a receive.  A
 *                runner that finds no mark, and has emptied the socket before,
 *                need not look "to be sure"
 *      TAIL      and after the bytes there is more to receive, although no
 *                event will tell of it: the peer's end, or urgent data
 *
 * Invariants:
 *   - in READY exactly one queue holds it, in the other states none does: the
 *     thread that makes it READY queues it, once;
 *   - claim succeeds for one thread only, and that thread alone leaves RUNNING.
 *     All fields of the connection are its own until then;
 *   - an event is never lost.  Its mark is set before a claim, which returns
 *     it, or after the last claim, and then release finds it and makes the
 *     connection READY instead of IDLE.  So IDLE has no marks.
 *
 * The word also holds the generation of the slot.  An event carries the
 * generation it was registered with.  After a close the slot counts one up, so
 * an event that was harvested before and is handled late does nothing.  32
 * bits: wrong only if one slot is reused 4,294,967,296 times while one event
 * is on its way.
 *
 *      | generation (32) | unused | TAIL | NEWS | state (2) |
 *
 * Every transition is a read-modify-write, even where nothing changes (an event
 * that finds its mark already set): so the next claim sees all that happened
 * before the event, and an event never acts on an old value.
 */
#ifndef STATE_H
#define STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "parts/atom.h"

enum conn_state { CONN_IDLE, CONN_READY, CONN_RUNNING };

enum {
    STATE_BITS = 3, /* mask of the state */
    STATE_NEWS = 4,
    STATE_TAIL = 8,
};

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
    return (enum conn_state)(word & STATE_BITS);
}

/* A slot that was never used. */
static inline void state_init(struct state *s)
{
    a_init(&s->word, state_word(0, CONN_IDLE));
}

/* The generation now: exact while the slot cannot change, as it is free, or
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

    /* release: the connection, to the thread that its first event makes its
     * owner. */
    a_xchg(&s->word, state_word(gen, CONN_IDLE), release);
    return gen;
}

/* Something happened to the connection that was registered with gen; marks:
 * STATE_NEWS, or both.  True: the caller must queue it.  False: it is taken
 * care of, or it is gone. */
static inline bool state_event(struct state *s, uint32_t gen, uint64_t marks)
{
    uint64_t old = a_load(&s->word, relaxed), next;

    do {
        if (state_word_gen(old) != gen)
            return false;
        next = old | marks;
        if (state_of_word(old) == CONN_IDLE)
            next += CONN_READY - CONN_IDLE;
        /* acq_rel: release what happened before the event to the thread that
         * will run it; acquire what the last one left, for when we are that
         * thread ourselves. */
    } while (!a_cas(&s->word, &old, next, acq_rel, relaxed));
    return state_of_word(old) == CONN_IDLE;
}

/* The caller has taken it from a queue and owns it from now on.  *marks: those
 * of all events since the last claim.  False is a bug: two queues held it. */
static inline bool state_claim(struct state *s, uint64_t *marks)
{
    uint64_t old = a_load(&s->word, relaxed), next;

    do {
        next = state_word(state_word_gen(old), CONN_RUNNING);
        /* acquire: all that earlier owners and events have done. */
    } while (!a_cas(&s->word, &old, next, acquire, relaxed));
    *marks = old & (STATE_NEWS | STATE_TAIL);
    return state_of_word(old) == CONN_READY;
}

/* Owner: done for now, waiting for an event.  True: there was one already; the
 * caller must queue it. */
static inline bool state_release(struct state *s)
{
    uint64_t old = a_load(&s->word, relaxed), next;

    do {
        next = old & STATE_NEWS ? old - CONN_RUNNING + CONN_READY
                                : old - CONN_RUNNING + CONN_IDLE;
        /* release: all that we have done, to the next owner. */
    } while (!a_cas(&s->word, &old, next, release, relaxed));
    return state_of_word(next) == CONN_READY;
}

/* Owner: not done, but another thread may go on.  The caller must queue it.
 * Marks stay: the next claim returns them. */
static inline void state_requeue(struct state *s)
{
    /* An addition, not a store, so that the events' releases stay on the way
     * to the next owner. */
    a_add(&s->word, (uint64_t)CONN_READY - CONN_RUNNING, release);
}

/* Owner: the descriptor is closed, the slot is free.  Events of the old
 * generation do nothing from here on. */
static inline void state_close(struct state *s)
{
    a_xchg(&s->word, state_word(state_gen(s) + 1, CONN_IDLE), release);
}

#endif
