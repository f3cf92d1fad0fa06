/* stumble.h - include before the queues: threads lose the core at any moment.
 *
 * The windows in which a wrong queue goes wrong are a few nanoseconds long.  So
 * here every atomic operation of the headers is preceded, now and then, by
 * giving the core away: in the middle of a push, a take, a theft.
 */
#ifndef STUMBLE_H
#define STUMBLE_H

#include <sched.h>
#include <stdint.h>

#include "parts/atom.h"

static _Thread_local unsigned stumble_seed;

static inline void stumble(void)
{
    if (stumble_seed == 0) /* another one for each thread, and each run */
        stumble_seed = (unsigned)((uintptr_t)&stumble_seed >> 4) | 1;
    stumble_seed ^= stumble_seed << 13;
    stumble_seed ^= stumble_seed >> 17;
    stumble_seed ^= stumble_seed << 5;
    if (stumble_seed % 64 == 0)
        sched_yield();
}

#undef a_load
#undef a_store
#undef a_xchg
#undef a_add
#undef a_cas
#define a_load(p, order)                                                       \
    (stumble(), atomic_load_explicit(p, memory_order_##order))
#define a_store(p, v, order)                                                   \
    (stumble(), atomic_store_explicit(p, v, memory_order_##order))
#define a_xchg(p, v, order)                                                    \
    (stumble(), atomic_exchange_explicit(p, v, memory_order_##order))
#define a_add(p, v, order)                                                     \
    (stumble(), atomic_fetch_add_explicit(p, v, memory_order_##order))
#define a_cas(p, old, v, order, fail)                                          \
    (stumble(), atomic_compare_exchange_strong_explicit(                       \
                    p, old, v, memory_order_##order, memory_order_##fail))

#endif
