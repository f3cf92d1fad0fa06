/* worlds.c - see worlds.h and atoms.h. */
#include "worlds.h"

#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atoms.h"

enum { HIDDEN = 512, NONSENSE = 0xa5 };

struct world_count world_count;
void (*world_seen)(const void *p, size_t size, bool reads, bool writes);

static enum world world;

void world_enter(enum world w)
{
    world = w;
    memset(&world_count, 0, sizeof world_count);
}

/* ---- words that are hidden ---- */

static struct {
    const void *p; /* NULL: the end of the table */
    size_t size;
    uint64_t value; /* little-endian: a smaller word lies at its start */
} hidden[HIDDEN + 1];
static bool hiding;

void world_hide(void)
{
    hiding = true;
}

void world_show(void)
{
    for (int i = 0; hidden[i].p; i++)
        memcpy((void *)hidden[i].p, &hidden[i].value, hidden[i].size);
    memset(hidden, 0, sizeof hidden);
    hiding = false;
}

bool world_hides(const void *byte)
{
    uintptr_t at = (uintptr_t)byte;

    for (int i = 0; hidden[i].p; i++)
        if (at - (uintptr_t)hidden[i].p < hidden[i].size)
            return true;
    return false;
}

/* Where the value of a word lies. */
static void *place(const void *p, size_t size)
{
    int i = 0;

    if (!hiding)
        return (void *)p;
    while (hidden[i].p && hidden[i].p != p)
        i++;
    cr_assert(i < HIDDEN, "more than %d atomic words", HIDDEN);
    if (!hidden[i].p) {
        hidden[i].p = p;
        hidden[i].size = size;
        memcpy(&hidden[i].value, p, size);
        memset((void *)p, NONSENSE, size);
    }
    return &hidden[i].value;
}

/* ---- memory with owners ---- */

static const struct world_guard *guard;
static unsigned char before[WORLD_GUARDED];
static bool plain[WORLD_GUARDED]; /* its owner writes it without an operation */

void world_guard(const struct world_guard *g)
{
    cr_assert(!g || g->size <= WORLD_GUARDED);
    memset(plain, 0, sizeof plain);
    guard = g;
}

void world_call(int who)
{
    unsigned char *p = guard ? guard->memory : NULL;

    if (!p)
        return;
    for (size_t i = 0; i < guard->size; i++)
        if (plain[i] && guard->owner(i) != who && !world_hides(p + i))
            p[i] ^= 0xff;
    memcpy(before, p, guard->size);
}

void world_called(int who, const char *what)
{
    unsigned char *p = guard ? guard->memory : NULL;

    for (size_t i = 0; p && i < guard->size; i++) {
        bool changed = p[i] != before[i], own = guard->owner(i) == who;

        if ((!changed && !plain[i]) || world_hides(p + i))
            continue;
        if (changed && !own)
            guard->blame(what, who, i);
        plain[i] |= changed;
        if (!own)
            p[i] ^= 0xff;
    }
}

/* ---- numbers ---- */

static uint64_t number;

void world_seed(void)
{
    const char *seed = getenv("SEED");

    for (number = 1; seed && *seed; seed++)
        number = number * 31 + (unsigned char)*seed;
}

uint32_t world_any(uint32_t n)
{
    number = number * 6364136223846793005 + 1442695040888963407;
    return (uint32_t)(number >> 33) % n;
}

/* ---- the operations of one thread, and of real ones ---- */

/* A thread loses the core at any moment: the windows in which wrong code goes
 * wrong are a few nanoseconds long. */
static void stumble(void)
{
    static _Thread_local unsigned seed;

    if (seed == 0) /* another one for each thread, and each run */
        seed = (unsigned)((uintptr_t)&seed >> 4) | 1;
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    if (seed % 64 == 0)
        sched_yield();
}

static void *seen(const void *p, size_t size, bool reads, bool writes)
{
    if (size != 4 && size != 8)
        cr_assert_fail("an atomic word of %zu bytes", size);
    if (world == WORLD_THREADS) {
        stumble();
        return (void *)p;
    }
    world_count.loads += reads && !writes;
    world_count.stores += writes && !reads;
    world_count.swaps += reads && writes;
    if (world_seen)
        world_seen(p, size, reads, writes);
    return place(p, size);
}

/* The order has to be a constant where the operation is, or the compiler takes
 * the strongest. */
#define LOAD(T, p, o)                                                          \
    ((o) == vx_relaxed   ? __atomic_load_n((const T *)(p), __ATOMIC_RELAXED)   \
     : (o) == vx_acquire ? __atomic_load_n((const T *)(p), __ATOMIC_ACQUIRE)   \
                         : __atomic_load_n((const T *)(p), __ATOMIC_SEQ_CST))

#define STORE(T, p, v, o)                                                      \
    ((o) == vx_relaxed ? __atomic_store_n((T *)(p), (T)(v), __ATOMIC_RELAXED)  \
     : (o) == vx_release                                                       \
         ? __atomic_store_n((T *)(p), (T)(v), __ATOMIC_RELEASE)                \
         : __atomic_store_n((T *)(p), (T)(v), __ATOMIC_SEQ_CST))

#define CHANGE(what, T, p, v, o)                                               \
    ((o) == vx_relaxed   ? what((T *)(p), (T)(v), __ATOMIC_RELAXED)            \
     : (o) == vx_acquire ? what((T *)(p), (T)(v), __ATOMIC_ACQUIRE)            \
     : (o) == vx_release ? what((T *)(p), (T)(v), __ATOMIC_RELEASE)            \
     : (o) == vx_acq_rel ? what((T *)(p), (T)(v), __ATOMIC_ACQ_REL)            \
                         : what((T *)(p), (T)(v), __ATOMIC_SEQ_CST))

#define SWAP_AS(T, p, old, v, order, fail)                                     \
    __atomic_compare_exchange_n((T *)(p), old, (T)(v), false, order, fail)
#define SWAP(T, p, old, v, o)                                                  \
    ((o) == vx_relaxed                                                         \
         ? SWAP_AS(T, p, old, v, __ATOMIC_RELAXED, __ATOMIC_RELAXED)           \
     : (o) == vx_acquire                                                       \
         ? SWAP_AS(T, p, old, v, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)           \
     : (o) == vx_release                                                       \
         ? SWAP_AS(T, p, old, v, __ATOMIC_RELEASE, __ATOMIC_RELAXED)           \
     : (o) == vx_acq_rel                                                       \
         ? SWAP_AS(T, p, old, v, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)           \
         : SWAP_AS(T, p, old, v, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))

/* The explorer is told where the student's code goes on, not we. */
#define EXPLORED()                                                             \
    (world == WORLD_EXPLORED && (vx_outer(__builtin_return_address(0)), true))

uint64_t atoms_load(const void *p, size_t size, enum vx_order o,
                    struct vx_where w)
{
    if (EXPLORED())
        return vx_load(p, size, o, w);
    p = seen(p, size, true, false);
    return size == 4 ? LOAD(uint32_t, p, o) : LOAD(uint64_t, p, o);
}

void atoms_store(void *p, size_t size, uint64_t v, enum vx_order o,
                 struct vx_where w)
{
    if (EXPLORED()) {
        vx_store(p, size, v, o, w);
        return;
    }
    p = seen(p, size, false, true);
    if (size == 4)
        STORE(uint32_t, p, v, o);
    else
        STORE(uint64_t, p, v, o);
}

uint64_t atoms_xchg(void *p, size_t size, uint64_t v, enum vx_order o,
                    struct vx_where w)
{
    if (EXPLORED())
        return vx_xchg(p, size, v, o, w);
    p = seen(p, size, true, true);
    return size == 4 ? CHANGE(__atomic_exchange_n, uint32_t, p, v, o)
                     : CHANGE(__atomic_exchange_n, uint64_t, p, v, o);
}

uint64_t atoms_add(void *p, size_t size, uint64_t v, enum vx_order o,
                   struct vx_where w)
{
    if (EXPLORED())
        return vx_add(p, size, v, o, w);
    p = seen(p, size, true, true);
    return size == 4 ? CHANGE(__atomic_fetch_add, uint32_t, p, v, o)
                     : CHANGE(__atomic_fetch_add, uint64_t, p, v, o);
}

bool atoms_cas(void *p, size_t size, uint64_t *old, uint64_t v, enum vx_order o,
               enum vx_order fail, struct vx_where w)
{
    uint32_t narrow = (uint32_t)*old;
    bool done;

    if (EXPLORED())
        return vx_cas(p, size, old, v, o, fail, w);
    p = seen(p, size, true, true);
    if (size == 8)
        return SWAP(uint64_t, p, old, v, o);
    done = SWAP(uint32_t, p, &narrow, v, o);
    *old = narrow;
    return done;
}

void atoms_fence(struct vx_where w)
{
    if (EXPLORED())
        vx_fence(w);
    else
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    world_count.fences += world == WORLD_ALONE;
}

void atoms_name(const void *p, const char *name)
{
    if (world == WORLD_SETUP)
        vx_name(p, "%s", name);
}

/* ---- the explorer ---- */

const struct vx_scenario *const vx_small[1];
const int vx_nsmall = 0;
const struct vx_litmus vx_litmus[1];
const int vx_nlitmus = 0;

void world_explore(const char *scenario)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    cr_assert_fail("the explorer does not run with a sanitizer: run this test "
                   "(%s) without one",
                   scenario);
#endif
    bool right = vx_explore(scenario);

    fflush(stdout);
    cr_assert(right, "%s: the schedule above goes wrong", scenario);
}
