/* state.h - which thread may touch a connection: one atomic word.
 *
 * Any worker may take an event of a connection, and any worker may run the
 * connection, both at the same time.  The word decides:
 *
 *      IDLE      no thread has it; a thread that takes an event queues it
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
 * Beside the state the word has two marks.  An event sets them, whatever the
 * state is; a claim clears them and returns what they were:
 *
 *      NEWS      there was an event: the socket may have bytes, or room.  A
 *                runner without this mark that has emptied the socket before
 *                saves one receive
 *      TAIL      after the bytes comes the peer's end, or urgent data, and no
 *                further event will tell of that
 *
 * Invariants:
 *   - in READY exactly one queue holds the connection, in the other states no
 *     queue does: the thread that makes it READY queues it, once;
 *   - claim succeeds for one thread only, the runner, and only the runner ends
 *     RUNNING.  Until then no other thread touches the connection's fields;
 *   - no event is lost.  If its mark is set before a claim, that claim returns
 *     it.  If it is set after the last claim, the release finds it and makes
 *     the connection READY instead of IDLE.  So IDLE has no marks.
 *
 * The word also holds the generation of the slot.  An event carries the
 * generation it was registered with.  A close adds one to the generation, so
 * an event that was taken before the close and is handled after it does
 * nothing.  32 bits are enough, unless a slot is reused 4,294,967,296 times
 * between the two.
 *
 *      | generation (32) | unused | TAIL | NEWS | state (2) |
 *
 * Every transition is a read-modify-write, also when the value stays the same
 * (an event that finds its mark already set).  So the next claim sees all that
 * happened before the event, and no event acts on an old value.
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

/* The generation now.  Only for a caller that owns the slot, or knows that it
 * is free: else it may have changed already. */
static inline uint32_t state_gen(struct state *s)
{
    return state_word_gen(a_load(&s->word, relaxed));
}

/* Opens a free slot for a new connection, whose fields are written already.
 * Returns the generation to register it with. */
static inline uint32_t state_open(struct state *s)
{
    uint32_t gen = state_gen(s);

    /* release: the fields, to the thread that takes the first event. */
    a_xchg(&s->word, state_word(gen, CONN_IDLE), release);
    return gen;
}

/* An event of the connection that was registered with gen; marks: STATE_NEWS,
 * or both.  True: the caller must queue the connection.  False: another thread
 * has it and will see the marks, or it is closed. */
static inline bool state_event(struct state *s, uint32_t gen, uint64_t marks)
{
    uint64_t old = a_load(&s->word, relaxed), next;

    do {
        if (state_word_gen(old) != gen)
            return false;
        next = old | marks;
        if (state_of_word(old) == CONN_IDLE)
            next += CONN_READY - CONN_IDLE;
        /* acq_rel: the next runner sees what happened before the event
         * (release); if we are that runner, we see what the last one wrote
         * (acquire). */
    } while (!a_cas(&s->word, &old, next, acq_rel, relaxed));
    return state_of_word(old) == CONN_IDLE;
}

/* The caller has taken the connection from a queue, and owns it from now on.
 * *marks: those of all events since the last claim.  False: a bug, two queues
 * held it. */
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

/* The owner lets go, to wait for an event.  True: there was an event already,
 * so the caller must queue the connection. */
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

/* The owner lets go, though there is more to do.  The caller must queue the
 * connection.  Marks stay: the next claim returns them. */
static inline void state_requeue(struct state *s)
{
    /* An addition, not a store: a store would cut off the next owner from what
     * events have released. */
    a_add(&s->word, (uint64_t)CONN_READY - CONN_RUNNING, release);
}

/* The owner has closed the descriptor: the slot is free.  From here on, events
 * of the old generation do nothing. */
static inline void state_close(struct state *s)
{
    a_xchg(&s->word, state_word(state_gen(s) + 1, CONN_IDLE), release);
}

#endif
