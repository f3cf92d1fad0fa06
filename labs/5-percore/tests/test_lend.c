/* test_lend.c - lab 5: jobs lent in batches.
 *
 * One thread plays worker and helpers, and a model beside it says what each
 * call must return.  Then real threads, and the explorer (scenes.c).
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lend.h"
#include "params.h"
#include "worlds.h"

enum { MEMORY = 4096, OUT = 12, ANSWER = 0x5a5a };

struct batch {
    struct slot *first;
    uint32_t n;
};

/* The model: what is where.  Slots are counted from the start. */
static struct {
    _Alignas(128) unsigned char memory[MEMORY];
    bool hides;
    const char *note;
    struct slot *base;
    uint32_t slots;
    uint64_t collected, borrowed, published;
    bool back[LEND_SLOTS];
    struct batch out[OUT]; /* lent, oldest first */
    int nout;
} t;

enum { WORKER, HELPER };

static struct lend *lend(void)
{
    return (struct lend *)t.memory;
}

static uint64_t job_of(uint64_t i)
{
    return i * 7 + 1;
}

static void begin(void)
{
    world_seed();
    t.note = "";
}

/* ---- calls, with what is to be seen of them ---- */

/* All that is no atomic word is the worker's. */
static int owner(size_t byte)
{
    (void)byte;
    return WORKER;
}

static void blame(const char *what, int who, size_t byte)
{
    (void)who;
    cr_assert_fail("%s changes byte %zu of the struct without an atomic "
                   "operation.\nIt is a helper's call: other threads read "
                   "there at the same time.",
                   what, byte);
}

static const struct world_guard guard = {t.memory, MEMORY, owner, blame};

/* A run that a call returned, against the one that is right. */
static void expect(const char *what, const struct slot *s, uint32_t n,
                   uint64_t at, uint32_t wanted)
{
    long first = s ? (long)(s - t.base) : -1;

    if (wanted == 0)
        cr_assert(!s && n == 0,
                  "%s: %u slots from slot %ld, expected none\n"
                  "  of %u slots: %llu published, %llu borrowed, %llu collected"
                  "%s",
                  what, n, first, t.slots, (unsigned long long)t.published,
                  (unsigned long long)t.borrowed,
                  (unsigned long long)t.collected, t.note);
    else
        cr_assert(s && n == wanted && first == (long)(at % t.slots),
                  "%s: %u slots from slot %ld, expected %u from slot %llu\n"
                  "  of %u slots: %llu published, %llu borrowed, %llu collected"
                  "%s",
                  what, n, first, wanted, (unsigned long long)at % t.slots,
                  t.slots, (unsigned long long)t.published,
                  (unsigned long long)t.borrowed,
                  (unsigned long long)t.collected, t.note);
}

static uint32_t to_end(uint64_t at)
{
    return t.slots - (uint32_t)(at % t.slots);
}

static void make(uint32_t slots)
{
    cr_assert(lend_bytes() <= MEMORY, "lend_bytes: %zu, at most %d",
              lend_bytes(), MEMORY);
    world_enter(WORLD_ALONE);
    memset(t.memory, 0x77, sizeof t.memory); /* as malloc leaves it */
    world_guard(t.hides ? &guard : NULL);
    memset(t.back, 0, sizeof t.back);
    t.slots = slots;
    t.collected = t.borrowed = t.published = 0;
    t.nout = 0;
    lend_init(lend(), slots);
    t.base = NULL;
}

/* The worker fills as much as it may, or `most`; returns how many. */
static uint32_t fill(uint32_t most)
{
    uint32_t n = 99, room = t.slots - (uint32_t)(t.published - t.collected);
    struct slot *s;

    if (room > to_end(t.published))
        room = to_end(t.published);
    world_call(WORKER);
    s = lend_room(lend(), &n);
    world_called(WORKER, "lend_room");
    if (!t.base) /* a new one: this is slot 0 */
        t.base = s;
    expect("lend_room", s, n, t.published, room);
    n = n < most ? n : most;
    if (n == 0)
        return 0;
    for (uint32_t i = 0; i < n; i++)
        s[i] = (struct slot){.job = job_of(t.published + i)};
    world_call(WORKER);
    lend_publish(lend(), n);
    world_called(WORKER, "lend_publish");
    t.published += n;
    return n;
}

static uint32_t least(uint64_t a, uint64_t b)
{
    return (uint32_t)(a < b ? a : b);
}

/* A helper borrows; false: there was nothing. */
static bool borrow(uint32_t most)
{
    uint64_t waiting = t.published - t.borrowed;
    uint32_t n = 99,
             wanted = (uint32_t)((waiting + LEND_SHARE - 1) / LEND_SHARE);
    char what[64];
    struct slot *s;

    wanted = least(least(wanted, LEND_MOST), least(most, to_end(t.borrowed)));
    snprintf(what, sizeof what, "lend_borrow, most = %u, %llu waiting", most,
             (unsigned long long)waiting);
    world_call(HELPER);
    s = lend_borrow(lend(), most, &n);
    world_called(HELPER, "lend_borrow");
    expect(what, s, n, t.borrowed, wanted);
    if (n == 0)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        cr_assert_eq(s[i].job, job_of(t.borrowed + i),
                     "lend_borrow: not the job that was published there%s",
                     t.note);
        s[i].answer = s[i].job ^ ANSWER;
    }
    t.borrowed += n;
    t.out[t.nout++] = (struct batch){s, n};
    return true;
}

/* The helper that has the i-th of the lent batches gives it back. */
static void give_back(int i)
{
    struct batch b = t.out[i];

    t.nout--;
    memmove(&t.out[i], &t.out[i + 1], (size_t)(t.nout - i) * sizeof t.out[0]);
    world_call(HELPER);
    lend_give_back(lend(), b.first, b.n);
    world_called(HELPER, "lend_give_back");
    for (uint32_t k = 0; k < b.n; k++)
        t.back[b.first - t.base + k] = true;
}

/* The worker collects; returns how many. */
static uint32_t collect(void)
{
    uint32_t at = (uint32_t)(t.collected % t.slots), wanted = 0, n = 99;
    struct slot *s;

    while (at + wanted < t.slots && t.back[at + wanted])
        t.back[at + wanted++] = false;
    world_call(WORKER);
    s = lend_collect(lend(), &n);
    world_called(WORKER, "lend_collect");
    expect("lend_collect", s, n, t.collected, wanted);
    for (uint32_t i = 0; i < n; i++)
        cr_assert_eq(s[i].answer, job_of(t.collected + i) ^ ANSWER,
                     "lend_collect: slot %u is not answered%s", at + i, t.note);
    t.collected += n;
    return n;
}

/* Many calls in any order; batches come back in any order, or in that in which
 * they were lent. */
static void play(uint32_t slots, int turns, bool any_order)
{
    make(slots);
    fill(0);
    for (int i = 0; i < turns; i++)
        switch (world_any(4)) {
        case 0:
            fill(world_any(slots) + 1);
            break;
        case 1:
            if (t.nout < OUT)
                borrow(world_any(LEND_MOST + 2) + 1);
            break;
        case 2:
            if (t.nout > 0)
                give_back(any_order ? (int)world_any((uint32_t)t.nout) : 0);
            break;
        default:
            collect();
        }
}

/* ---- step 1: one helper ---- */

Test(step1, first, .init = begin)
{
    make(4);
    cr_assert_eq(fill(1), 1u);
    collect();
    cr_assert(borrow(8));
    collect();
    give_back(0);
    cr_assert_eq(collect(), 1u);
    cr_assert_not(borrow(8));
}

Test(step1, share, .init = begin)
{
    make(LEND_SLOTS);
    fill(LEND_SLOTS);
    while (borrow(LEND_SLOTS)) /* what waits becomes less and less */
        give_back(0);
    collect();
    fill(LEND_SLOTS);
    while (borrow(2))
        give_back(0);
}

Test(step1, full, .init = begin)
{
    make(3);
    fill(3);
    fill(1); /* no room */
    borrow(1);
    fill(1); /* still none: it is lent */
    give_back(0);
    fill(1); /* still none: nobody has read the answer */
    collect();
    cr_assert_eq(fill(3), 1u);
}

Test(step1, comes_round, .init = begin)
{
    static const uint32_t sizes[] = {1, 2, 5, 7, LEND_SLOTS};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        play(sizes[i], 3000, false);
}

/* ---- step 2: many helpers ---- */

Test(step2, any_order, .init = begin)
{
    static const uint32_t sizes[] = {2, 5, 16, LEND_SLOTS};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        play(sizes[i], 3000, true);
}

Test(step2, no_side_door, .init = begin)
{
    t.note = "\nAtomic words are hidden here: who reads or writes one past the "
             "a_ operations sees nonsense;\nand so are, while a helper is "
             "called, the words that the worker writes without an operation.";
    t.hides = true;
    for (uint32_t slots = 2; slots <= 8; slots += 3) {
        world_hide();
        play(slots, 300, false);
        world_show();
    }
}

Test(step2, explored)
{
    world_explore("batches-sc");
    world_explore("round-sc");
    world_explore("batches-tso");
    world_explore("round-tso");
}

Test(step2, never_turned_away)
{
    world_explore("enough");
}

/* ---- real threads ---- */

enum { JOBS = 20000, HELPERS = 4, PATIENCE_S = 20 };

static _Atomic int lent[JOBS]; /* how often each job was borrowed */
static _Atomic bool over;
static _Atomic int strange; /* slots that held no job */

static void *helper_main(void *arg)
{
    uint32_t most = 1 + (uint32_t)(intptr_t)arg, n;

    while (!over) {
        struct slot *s = lend_borrow(lend(), most, &n);

        for (uint32_t i = 0; s && i < n; i++) {
            uint64_t job = (s[i].job - 1) / 7;

            if (job < JOBS && s[i].job == job_of(job))
                /* relaxed: the order has to come from the calls under test. */
                atomic_fetch_add_explicit(&lent[job], 1, memory_order_relaxed);
            else
                strange++;
            s[i].answer = s[i].job ^ ANSWER;
        }
        if (s)
            lend_give_back(lend(), s, n);
        else
            sched_yield();
    }
    return NULL;
}

/* One turn of the worker; false: nothing moved. */
static bool worker_turn(uint64_t *wrong)
{
    uint32_t n, room = 0;
    struct slot *s = t.published < JOBS ? lend_room(lend(), &room) : NULL;

    for (n = 0; s && n < room && n < 5 && t.published < JOBS; n++)
        s[n].job = job_of(t.published++);
    if (n > 0)
        lend_publish(lend(), n);
    room = n;
    s = lend_collect(lend(), &n);
    for (uint32_t i = 0; s && i < n; i++)
        *wrong += s[i].answer != (job_of(t.collected++) ^ ANSWER);
    return room + n > 0;
}

Test(step2, real_threads, .init = begin)
{
    pthread_t helper[HELPERS];
    uint64_t wrong = 0;
    time_t moved = time(NULL);
    int once = 0;

    make(8);
    world_enter(WORLD_THREADS);
    for (intptr_t i = 0; i < HELPERS; i++)
        cr_assert_eq(pthread_create(&helper[i], NULL, helper_main, (void *)i),
                     0);
    while (t.collected < JOBS && time(NULL) - moved < PATIENCE_S)
        if (worker_turn(&wrong))
            moved = time(NULL);
        else
            sched_yield();
    over = true;
    for (int i = 0; i < HELPERS; i++)
        pthread_join(helper[i], NULL);
    for (int i = 0; i < JOBS; i++)
        once += lent[i] == 1;
    cr_assert_eq(t.collected, JOBS,
                 "nothing moved for %d s: %llu of %d jobs came back",
                 PATIENCE_S, (unsigned long long)t.collected, JOBS);
    cr_assert(once == JOBS && wrong == 0 && strange == 0,
              "of %d jobs %d were borrowed once; %llu answers were wrong, and "
              "%d borrowed slots held no job",
              JOBS, once, (unsigned long long)wrong, (int)strange);
}

/* ---- step 3 ---- */

Test(step3, orders)
{
    world_explore("batches-c11");
    world_explore("round-c11");
}

/* No more operations than these since the last look. */
static void cost(const char *what, unsigned n, unsigned loads, unsigned writes,
                 unsigned swaps)
{
    struct world_count c = world_count;

    cr_assert(c.loads <= loads && c.stores + c.swaps <= writes &&
                  c.swaps <= swaps && c.fences == 0,
              "%s, %u slots: %u loads, %u stores, %u swaps and %u fences\n"
              "  expected at most %u loads and %u that write, of which %u may "
              "be swaps; no fence",
              what, n, c.loads, c.stores, c.swaps, c.fences, loads, writes,
              swaps);
    memset(&world_count, 0, sizeof world_count);
}

Test(step3, counts, .init = begin)
{
    unsigned batches = 0;

    make(LEND_SLOTS);
    for (int turn = 0; turn < 50; turn++) {
        memset(&world_count, 0, sizeof world_count);
        cost("lend_room and lend_publish", fill(LEND_SLOTS), 4, 1, 0);
        for (batches = 0; borrow(LEND_MOST); batches++) {
            unsigned n = t.out[0].n;

            cost("lend_borrow", n, 4, 1, 1);
            give_back(0);
            cost("lend_give_back", n, 1, 1, 0);
        }
        cost("lend_borrow, of nothing,", 0, 4, 0, 0);
        cost("lend_collect", collect(), 2 * batches + 2, batches + 1, 0);
    }
}
