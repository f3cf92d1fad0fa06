/* explore.h - atom.h's operations when built with -DVERIFY, and what a
 * scenario needs.  explore.c explains how the exploring is done.
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VX_THREADS = 3 };

enum vx_order { vx_relaxed, vx_acquire, vx_release, vx_acq_rel, vx_seq_cst };

/* Where in the headers an operation stands, for the printed schedule. */
struct vx_where {
    const char *file;
    int line;
};

uint64_t vx_load(const void *p, size_t size, enum vx_order o,
                 struct vx_where w);
void vx_store(void *p, size_t size, uint64_t v, enum vx_order o,
              struct vx_where w);
uint64_t vx_xchg(void *p, size_t size, uint64_t v, enum vx_order o,
                 struct vx_where w);
uint64_t vx_add(void *p, size_t size, uint64_t v, enum vx_order o,
                struct vx_where w);
bool vx_cas(void *p, size_t size, uint64_t *old, uint64_t v, enum vx_order o,
            enum vx_order fail, struct vx_where w);
void vx_fence(struct vx_where w);
uint64_t vx_slot_load(const void *p, size_t size, struct vx_where w);
void vx_slot_store(void *p, size_t size, uint64_t v, struct vx_where w);

#define VX_HERE ((struct vx_where){__FILE__, __LINE__})
#define VX_TYPE(p) __typeof__(*(p))
#define VX_BITS(p, v) ((uint64_t)(VX_TYPE(p))(v))

#define ATOMIC(T) T
#define a_init(p, v) ((void)(*(p) = (v)))
#define a_load(p, o) ((VX_TYPE(p))vx_load(p, sizeof *(p), vx_##o, VX_HERE))
#define a_store(p, v, o)                                                       \
    vx_store(p, sizeof *(p), VX_BITS(p, v), vx_##o, VX_HERE)
#define a_xchg(p, v, o)                                                        \
    ((VX_TYPE(p))vx_xchg(p, sizeof *(p), VX_BITS(p, v), vx_##o, VX_HERE))
#define a_add(p, v, o)                                                         \
    ((VX_TYPE(p))vx_add(p, sizeof *(p), VX_BITS(p, v), vx_##o, VX_HERE))
#define a_cas(p, old, v, o, f)                                                 \
    ({                                                                         \
        uint64_t old_ = (uint64_t)*(old);                                      \
        bool ok_ = vx_cas(p, sizeof *(p), &old_, VX_BITS(p, v), vx_##o,        \
                          vx_##f, VX_HERE);                                    \
        *(old) = (VX_TYPE(p))old_;                                             \
        ok_;                                                                   \
    })
#define a_fence(p) ((void)(p), vx_fence(VX_HERE))
#define a_slot_load(p) ((VX_TYPE(p))vx_slot_load(p, sizeof *(p), VX_HERE))
#define a_slot_store(p, v)                                                     \
    vx_slot_store(p, sizeof *(p), VX_BITS(p, v), VX_HERE)

/* ---- for scenarios ---- */

struct vx_scenario {
    const char *name;
    void (*init)(void);                /* before every execution */
    void (*thread[VX_THREADS])(void);  /* NULL: not used */
    const char *who[VX_THREADS];
    void (*check)(void);               /* when nobody can run any more */
};

extern const struct vx_scenario vx_scenarios[];
extern const int vx_nscenarios;

/* This execution is wrong: stops it, and the schedule is shown. */
__attribute__((noreturn, format(printf, 1, 2))) void vx_fail(const char *fmt,
                                                             ...);

/* A name for an address in printed schedules (call from init). */
__attribute__((format(printf, 2, 3))) void vx_name(const void *p,
                                                   const char *fmt, ...);

/* Memory that is not atomic: two accesses, one of them a write, must be
 * ordered by the protocol under test, or it is a data race. */
uint64_t vx_plain_read(const uint64_t *p, struct vx_where w);
void vx_plain_write(uint64_t *p, uint64_t v, struct vx_where w);
#define plain_read(p) vx_plain_read(p, VX_HERE)
#define plain_write(p, v) vx_plain_write(p, v, VX_HERE)

/* An eventfd: post adds one; wait sleeps until it is not 0, and zeroes it. */
void vx_post(uint64_t *p, struct vx_where w);
void vx_wait(uint64_t *p, struct vx_where w);
#define event_post(p) vx_post(p, VX_HERE)
#define event_wait(p) vx_wait(p, VX_HERE)

/* A futex word, as in futex(2): wait returns at once when *p is not val. */
void vx_futex_wait(uint32_t *p, uint32_t val, struct vx_where w);
void vx_futex_wake(uint32_t *p, struct vx_where w);
#define futex_wait(p, val) vx_futex_wait(p, val, VX_HERE)
#define futex_wake(p) vx_futex_wake(p, VX_HERE)

/* In check(): did thread i end, or does it sleep for good? */
bool vx_asleep(int i);

#endif
