/* cancel.h - drain and deadline tokens: atomics, no lock, no allocation.
 *
 * A token interrupts nothing: code that may block reads it before and after.
 * A child is cancelled when any of its parents is; parents outlive children.
 * Levels only rise: NONE -> DRAIN (finish what is in flight) -> NOW (give up).
 */
#ifndef CANCEL_H
#define CANCEL_H

#include <stdatomic.h>
#include <stdint.h>

enum cancel_level { CANCEL_NONE, CANCEL_DRAIN, CANCEL_NOW };

struct cancel {
    const struct cancel *parent; /* NULL: a root */
    _Atomic int level;
    _Atomic int64_t deadline_ns; /* CLOCK_MONOTONIC; 0: none.  Past: NOW */
};

void cancel_init(struct cancel *c, const struct cancel *parent);

/* Raises the level (never lowers it).  Async-signal-safe, any thread. */
void cancel_request(struct cancel *c, enum cancel_level level);

/* At that instant the token turns to CANCEL_NOW; an earlier deadline stays. */
void cancel_deadline(struct cancel *c, int64_t monotonic_ns);

/* The highest level on the way to the root.  The clock is read only when a
 * deadline is set somewhere on that way. */
enum cancel_level cancel_level(const struct cancel *c);

/* Sleeps until us microseconds have passed or the token says CANCEL_NOW
 * (noticed within 10 ms).  Returns the level. */
enum cancel_level cancel_sleep(const struct cancel *c, uint32_t us);

#endif
