/* atom.h - the atomic operations that these queues are written in.
 *
 * One thin layer, so that the same source runs in three worlds:
 *   a normal build   plain C11 <stdatomic.h>, nothing added;
 *   -DVERIFY         every operation stops at the explorer, which decides
 *                    which thread runs next and which store a load sees
 *                    (stages/tests/verify/);
 *   ThreadSanitizer  does not model stand-alone fences, so a fence becomes a
 *                    seq_cst read-modify-write of a variable of the protocol.
 *
 *   ATOMIC(T) x             declares; a_init(&x, v) before threads share it
 *   a_load(&x, order)       a_store(&x, v, order)
 *   a_xchg(&x, v, order)    a_add(&x, v, order)      both: the old value
 *   a_cas(&x, &old, v, order, order_if_it_fails)       strong; false: old = x
 *   a_fence(&x)             full fence; x: the word it protects (for TSan)
 *   a_slot_load(&x)         relaxed.  Its value counts only if the next
 *   a_slot_store(&x, v)     a_cas succeeds, and until then no store may reuse
 *                           the slot: the explorer checks just that
 *
 * Orders are the bare words: relaxed acquire release acq_rel seq_cst.
 */
#ifndef ATOM_H
#define ATOM_H

#ifdef VERIFY
#include "explore.h"
#else

#include <stdatomic.h>

#define ATOMIC(T) _Atomic(T)
#define a_init(p, v) atomic_init(p, v)
#define a_load(p, order) atomic_load_explicit(p, memory_order_##order)
#define a_store(p, v, order) atomic_store_explicit(p, v, memory_order_##order)
#define a_xchg(p, v, order) atomic_exchange_explicit(p, v, memory_order_##order)
#define a_add(p, v, order) atomic_fetch_add_explicit(p, v, memory_order_##order)
#define a_cas(p, old, v, order, fail)                                          \
    atomic_compare_exchange_strong_explicit(p, old, v, memory_order_##order,   \
                                            memory_order_##fail)
#define a_slot_load(p) a_load(p, relaxed)
#define a_slot_store(p, v) a_store(p, v, relaxed)

#if defined(__SANITIZE_THREAD__)
#define ATOM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ATOM_TSAN 1
#endif
#endif

#ifdef ATOM_TSAN
#define a_fence(p) ((void)atomic_fetch_add_explicit(p, 0, memory_order_seq_cst))
#else
#define a_fence(p) ((void)(p), atomic_thread_fence(memory_order_seq_cst))
#endif

#endif /* VERIFY */

/* A spinning thread tells its core so: it frees the sibling hyperthread. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
