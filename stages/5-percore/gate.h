/* gate.h - where the consumers of a queue without a lock sleep.
 *
 * No thread can wait in a lock-free queue, so it waits at a gate: a consumer
 * that finds the queue empty announces that it will sleep, looks once more,
 * and sleeps; a producer pushes, and then looks for sleepers.
 *
 *      consumer                           producer
 *      key = seq                          push
 *      sleepers + 1                       full fence
 *      full fence                         sleepers > woken?
 *      queue still empty?                   woken + 1, seq + 1, wake one
 *      sleep while seq == key
 *      sleepers - 1, woken - 1
 *
 * Why no wake-up is lost: of two threads that each write and then, after a full
 * fence, read what the other wrote, at least one sees the other's write.  So
 * either the producer sees the sleeper, or the sleeper sees the item.  Release
 * and acquire would not do: both reads may then be served before both writes.
 * And a sleeper that the producer has counted cannot miss its wake-up: its key
 * is older than the change of seq, so the kernel refuses to let it sleep.
 *
 * Why no sleeper is woken twice: woken counts the wake-ups under way.  Every
 * sleeper that leaves takes one off, and with woken >= sleepers all of them
 * are going to look at the queue after the push anyhow.  woken may be too low
 * (a needless wake-up), never too high.
 *
 * Source: an eventcount (Reed and Kanodia 1979) on a futex; the handshake is
 * Dekker's.
 */
#ifndef GATE_H
#define GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parts/atom.h"
#include "parts/pad.h"

#ifndef VERIFY /* the explorer has its own kernel */
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline void futex_wait(ATOMIC(uint32_t) * word, uint32_t val)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, val, NULL, NULL, 0);
}

static inline void futex_wake(ATOMIC(uint32_t) * word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
#endif

/* count holds both numbers, so that they change together. */
#define GATE_SLEEPERS(count) ((uint32_t)(count))
#define GATE_WOKEN(count) ((uint32_t)((count) >> 32))
#define GATE_COUNT(sleepers, woken) ((uint64_t)(woken) << 32 | (sleepers))

struct gate {
    PADDED ATOMIC(uint64_t) count; /* sleepers, woken */
    ATOMIC(uint32_t) seq;          /* changes with every wake-up */
};

static inline void gate_init(struct gate *g)
{
    a_init(&g->count, 0);
    a_init(&g->seq, 0);
}

/* Consumer, queue found empty: announces sleep.  Look at the queue again, then
 * call gate_sleep() with the key, or gate_leave() when there was something. */
static inline uint32_t gate_enter(struct gate *g)
{
    /* Before the count changes: a wake-up meant for us changes seq later.
     * acquire keeps it there. */
    uint32_t key = a_load(&g->seq, acquire);

    /* seq_cst and the fence: the handshake above.  A read-modify-write, so
     * that no two consumers undo each other. */
    a_add(&g->count, GATE_COUNT(1, 0), seq_cst);
    a_fence(&g->count);
    return key;
}

/* Consumer: awake again. */
static inline void gate_leave(struct gate *g)
{
    uint64_t old = a_load(&g->count, relaxed), woken;

    /* relaxed: the queue, which is looked at next, orders the items; count
     * only has to be exact, and a read-modify-write is. */
    do {
        /* Also without a sleep: the producer may have counted us. */
        woken = GATE_WOKEN(old) > 0;
    } while (
        !a_cas(&g->count, &old, old - GATE_COUNT(1, woken), relaxed, relaxed));
}

/* Sleeps, unless there was a wake-up since gate_enter().  May return early:
 * look at the queue in a loop. */
static inline void gate_sleep(struct gate *g, uint32_t key)
{
    futex_wait(&g->seq, key);
    gate_leave(g);
}

/* Producer, after a push (or several: one call then wakes one consumer). */
static inline void gate_wake(struct gate *g)
{
    uint64_t old;

    a_fence(&g->count); /* the push before, the look at count after */
    old = a_load(&g->count, relaxed);
    do {
        if (GATE_WOKEN(old) >= GATE_SLEEPERS(old))
            return; /* none sleeps, or all are being woken */
    } while (!a_cas(&g->count, &old, old + GATE_COUNT(0, 1), relaxed, relaxed));
    /* release: a consumer whose key is this value sees the push before it. */
    a_add(&g->seq, 1, release);
    futex_wake(&g->seq);
}

#endif
