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

/* What a thread's code holds in registers when it calls us, and its stack
 * pointer: with the stack itself, that is all it knows. */
#if defined(__x86_64__)
#define VX_REGS 7
extern uint64_t vx_regs[VX_REGS];
__attribute__((always_inline)) static inline void vx_capture(void)
{
    uint64_t *to = vx_regs;

    /* The clobbers leave no other register for a value that is needed later. */
    __asm__ volatile("movq %%rbx, 0(%0)\n\tmovq %%rbp, 8(%0)\n\t"
                     "movq %%r12, 16(%0)\n\tmovq %%r13, 24(%0)\n\t"
                     "movq %%r14, 32(%0)\n\tmovq %%r15, 40(%0)\n\t"
                     "movq %%rsp, 48(%0)"
                     : "+a"(to)
                     :
                     : "memory", "cc", "rcx", "rdx", "rsi", "rdi", "r8", "r9",
                       "r10", "r11");
}
#define vx_forget()                                                            \
    __asm__ volatile("xor %%ebx, %%ebx\n\txor %%r12d, %%r12d\n\t"              \
                     "xor %%r13d, %%r13d\n\txor %%r14d, %%r14d\n\t"            \
                     "xor %%r15d, %%r15d" ::                                   \
                         : "rbx", "r12", "r13", "r14", "r15", "cc")
#elif defined(__aarch64__)
#define VX_REGS 12
extern uint64_t vx_regs[VX_REGS];
__attribute__((always_inline)) static inline void vx_capture(void)
{
    register uint64_t sp __asm__("x0");
    register uint64_t *to __asm__("x1") = vx_regs;

    __asm__ volatile("stp x19, x20, [%1]\n\tstp x21, x22, [%1, 16]\n\t"
                     "stp x23, x24, [%1, 32]\n\tstp x25, x26, [%1, 48]\n\t"
                     "stp x27, x28, [%1, 64]\n\tmov %0, sp"
                     : "=r"(sp), "+r"(to)
                     :
                     : "memory", "cc", "x2", "x3", "x4", "x5", "x6", "x7", "x8",
                       "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
                       "x17");
    vx_regs[VX_REGS - 1] = sp;
}
/* Wipes what an earlier turn of a loop has left in registers: states that
 * differ in nothing else are the same.  Call at the head of a loop. */
#define vx_forget()                                                            \
    __asm__ volatile("mov x19, 0\n\tmov x20, 0\n\tmov x21, 0\n\t"              \
                     "mov x22, 0\n\tmov x23, 0\n\tmov x24, 0\n\t"              \
                     "mov x25, 0\n\tmov x26, 0\n\tmov x27, 0\n\t"              \
                     "mov x28, 0" ::                                           \
                         : "x19", "x20", "x21", "x22", "x23", "x24", "x25",    \
                           "x26", "x27", "x28")
#else
#error "explore.h needs to know the registers that a call preserves"
#endif

#define VX_HERE (vx_capture(), (struct vx_where){__FILE__, __LINE__})
#define VX_TYPE(p) __typeof__(*(p))
#define VX_BITS(p, v) ((uint64_t)(VX_TYPE(p))(v))

#define ATOMIC(T) T
#define a_init(p, v) ((void)(*(p) = (v)))
#define a_load(p, o) ((VX_TYPE(p))vx_load(p, sizeof *(p), vx_##o, VX_HERE))
#define a_store(p, v, o)                                                       \
    vx_store(p, sizeof *(p), VX_BITS(p, v), vx_##o, VX_HERE)
#define a_xchg(p, v, o)                                                        \
    ({                                                                         \
        uint64_t was_ =                                                        \
            vx_xchg(p, sizeof *(p), VX_BITS(p, v), vx_##o, VX_HERE);           \
        (VX_TYPE(p)) was_;                                                     \
    })
#define a_add(p, v, o)                                                         \
    ({                                                                         \
        uint64_t was_ =                                                        \
            vx_add(p, sizeof *(p), VX_BITS(p, v), vx_##o, VX_HERE);            \
        (VX_TYPE(p)) was_;                                                     \
    })
#define a_cas(p, old, v, o, f)                                                 \
    ({                                                                         \
        uint64_t old_ = (uint64_t) * (old);                                    \
        bool ok_ = vx_cas(p, sizeof *(p), &old_, VX_BITS(p, v), vx_##o,        \
                          vx_##f, VX_HERE);                                    \
        *(old) = (VX_TYPE(p))old_;                                             \
        ok_;                                                                   \
    })
#define a_fence(p) ((void)(p), vx_fence(VX_HERE))
#define a_slot_load(p) ((VX_TYPE(p))vx_slot_load(p, sizeof *(p), VX_HERE))
#define a_slot_store(p, v) vx_slot_store(p, sizeof *(p), VX_BITS(p, v), VX_HERE)

/* ---- for scenarios ---- */

enum { VX_SC = 1, VX_TSO = 2, VX_C11 = 4 };

struct vx_scenario {
    const char *name;
    void (*init)(void);               /* before every execution */
    void (*thread[VX_THREADS])(void); /* NULL: not used */
    const char *who[VX_THREADS];
    void (*check)(void); /* when nobody can run any more */
    unsigned models;     /* VX_SC ...; 0: all */
};

extern const struct vx_scenario *const vx_scenarios[];
extern const int vx_nscenarios;
/* Small enough to run all executions one by one: checks the counting. */
extern const struct vx_scenario *const vx_small[];
extern const int vx_nsmall;

/* A litmus test: the outcomes (bits 0 to 31) that sc, tso and c11 allow, all of
 * which must be seen, and no others.  check() calls vx_outcome(). */
struct vx_litmus {
    struct vx_scenario scene;
    unsigned allowed[3];
};
extern const struct vx_litmus vx_litmus[];
extern const int vx_nlitmus;
void vx_outcome(unsigned n);

/* This execution is wrong: stops it, and the schedule is shown. */
__attribute__((noreturn, format(printf, 1, 2))) void vx_fail(const char *fmt,
                                                             ...);

/* Every variable of a scenario is declared with this, so that the explorer
 * finds it; init() sets all of them. */
#define SCENE_VAR static __attribute__((section("scene_vars")))

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

/* Before an operation, by a function that was called to do it: `pc` is where
 * its caller goes on.  That place is part of the state. */
void vx_outer(const void *pc);

/* In check(): did thread i end, or does it sleep for good? */
bool vx_asleep(int i);
bool vx_anyone_asleep(void);

/* ---- for the program ---- */

/* Explores the scenario of this name, or all of them (NULL; and checks the
 * explorer first).  Prints one line each, and a schedule that fails.  True: all
 * is right. */
bool vx_explore(const char *only);

/* The scenario of this name has a planted bug: says which models show it, how
 * soon, and how.  True: it was found. */
bool vx_hunt(const char *only);

#endif
