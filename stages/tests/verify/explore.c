/* explore.c - runs 2 or 3 threads through all their interleavings.
 *
 * The lock-free headers are compiled with -DVERIFY: each of their operations
 * calls a function below.  Threads are coroutines of one process.  Before
 * every operation schedule() decides which thread goes on, and the operation
 * may have a choice of its own (which store a load sees, which sleeper a wake
 * wakes).  An execution is thus a list of choices; exploring is depth-first
 * search over that list: run, change the last choice that has an alternative
 * left, run again from the start.
 *
 *     choices   0 0 1 0 2    a first execution, to its end
 *               0 0 1 1      the same up to here, then something new
 *
 * A state seen before is not explored twice.  A state is each thread's stack
 * and registers, the scenario's variables, and the memory of the model.  The
 * number of executions below a state is kept, so that the total is exact
 * although most are never run.  (States are told apart by a 64-bit hash: with
 * a million of them, two collide with a chance of 1 in 37 million.)
 *
 * Three memory models, from strong to weak:
 *   sc    one memory, operations one after the other;
 *   tso   x86: a FIFO store buffer per thread; stores reach memory later, at
 *         any time; read-modify-writes, seq_cst stores and fences empty it;
 *   c11   every location keeps its stores in order.  A load may see any store
 *         that is not older than what the thread must know about; release and
 *         acquire hand that knowledge on, seq_cst operations and fences share
 *         it in one global order (views, as in the operational model of Kang
 *         et al., POPL 2017, without its promises).  So a missing release or
 *         acquire shows as a stale value or a data race, also when the
 *         machine at hand would never do it.
 * Not in the c11 model: a load that sees a store made later in the execution
 * (load buffering), and stores of one location ordered against time.  For the
 * one place where load buffering would matter, a slot that is overwritten
 * before the read of its old content is settled, a_slot_load/a_slot_store
 * check the ordering itself, as a race detector does.
 *
 * Searching for a planted bug goes by rising cost: first all schedules with no
 * surprise (a thread stopped where it could go on, an old value read), then
 * all with one, and so on.  So the schedule shown is the simplest that fails.
 */
#include "explore.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

enum { LOCS = 64, STORES = 96, BUFFER = 24, DEPTH = 4096, STEPS = 3000 };
enum { STACK = 64 * 1024, PEEKS = 8 };
enum model { SC, TSO, C11, MODELS };

static const char *const model_name[] = {"sc", "tso", "c11"};

/* ---- state of one execution ---- */

/* What a thread must know: of each location the oldest store it may still
 * see, of each thread how many of its plain accesses happened before. */
struct view {
    uint8_t at[LOCS];
    uint8_t clock[VX_THREADS];
};

struct store_rec {
    uint64_t val;
    struct view view; /* handed to whoever acquires it */
};

struct loc {
    char *addr;
    size_t size;
    char name[24];
    unsigned users, writers; /* threads, a bit each; over all executions */
    int n;                   /* stores so far, the initial one included */
    struct store_rec store[STORES];
    struct view kernel;         /* what futex calls on it hand on */
    int writer;                 /* plain and slot accesses: last writer, */
    uint8_t wclock;             /* its clock then, */
    uint8_t rclock[VX_THREADS]; /* and of each thread's last read */
};

struct pending {
    int loc;
    uint64_t val;
};

struct thread {
    jmp_buf base, at; /* start of its loop; where it stands */
    char *stack;
    enum { RUNS, WAITS, SLEEPS, ENDED } status;
    int waits_for;          /* location, for WAITS and SLEEPS */
    uint64_t regs[VX_REGS]; /* of its own code at its last operation, */
    uint64_t op;            /* which one that was, and its arguments */
    struct view cur, acq, rel;
    struct pending buf[BUFFER]; /* tso: stores not yet in memory */
    int nbuf;
    struct {
        int loc;
        uint8_t clock;
    } peek[PEEKS];
    int npeek;
};

struct choice {
    int pick, n;
    uint64_t state; /* hash of the state here; 0: a choice inside a step */
    double below;   /* executions found below so far */
};

struct trace {
    int who, loc, n; /* n: how many stores old the value was */
    const char *what, *order;
    uint64_t val, val2;
    struct vx_where where;
};

/* Why control came back to run_once(). */
enum ending { YIELD = 1, COMPLETE, SEEN, FAILED, RESTART };

static struct loc locs[LOCS];
static int nlocs;
static struct thread thr[VX_THREADS];
static struct view sc_view;
static int nthr, cur_thr, last_run;
static enum model model;
static const struct vx_scenario *scene;
static jmp_buf main_at;
static ucontext_t main_uc;
static bool starting;

static struct choice path[DEPTH];
static int npath, pos;
static int budget, cost; /* budget < 0: no bound */

static struct trace trace[STEPS], best[STEPS];
static int ntrace, nbest;
static char failure[160], best_failure[160];

/* ---- the table of states already explored ---- */

struct memo {
    uint64_t key;
    double below;
};
static struct memo *memo;
static size_t memo_cap, memo_used;
static bool no_memo; /* run every single execution: checks the counting */

static void memo_reset(void)
{
    memo_cap = 1 << 16;
    memo_used = 0;
    free(memo);
    memo = calloc(memo_cap, sizeof *memo);
    if (!memo)
        abort();
}

static struct memo *memo_find(uint64_t key)
{
    size_t i = key & (memo_cap - 1);

    while (memo[i].key && memo[i].key != key)
        i = (i + 1) & (memo_cap - 1);
    return &memo[i];
}

static void memo_add(uint64_t key, double below)
{
    struct memo *old = memo;
    size_t cap = memo_cap;

    if (2 * ++memo_used > memo_cap) {
        memo_cap *= 2;
        memo = calloc(memo_cap, sizeof *memo);
        if (!memo)
            abort();
        for (size_t i = 0; i < cap; i++)
            if (old[i].key)
                *memo_find(old[i].key) = old[i];
        free(old);
    }
    *memo_find(key) = (struct memo){key, below};
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

/* ---- views ---- */

static void view_join(struct view *into, const struct view *from)
{
    for (int i = 0; i < nlocs; i++)
        if (from->at[i] > into->at[i])
            into->at[i] = from->at[i];
    for (int i = 0; i < nthr; i++)
        if (from->clock[i] > into->clock[i])
            into->clock[i] = from->clock[i];
}

/* Stores older than what every live thread must know about can never be seen
 * again: states that differ only there are the same. */
static uint64_t view_hash(uint64_t h, const struct view *v, const int *base)
{
    for (int i = 0; i < nlocs; i++)
        h = mix(h, v->at[i] > base[i] ? (uint64_t)(v->at[i] - base[i]) : 0);
    for (int i = 0; i < nthr; i++)
        h = mix(h, v->clock[i]);
    return h;
}

static uint64_t hash_loc(uint64_t h, int i, const int *base)
{
    const struct loc *l = &locs[i];

    for (int k = base[i]; k < l->n; k++) {
        h = mix(h, l->store[k].val);
        if (model == C11)
            h = view_hash(h, &l->store[k].view, base);
    }
    if (model == C11) {
        h = view_hash(h, &l->kernel, base);
        h = mix(h, (uint64_t)l->writer << 8 | l->wclock);
        for (int t = 0; t < nthr; t++)
            h = mix(h, l->rclock[t]);
    }
    return mix(h, 77);
}

/* Where a thread stands, and its variables. */
static uint64_t hash_code(uint64_t h, const struct thread *t)
{
    const uint64_t *top = (uint64_t *)(t->stack + STACK);

    h = mix(h, t->status);
    if (t->status == ENDED)
        return h;
    h = mix(h, t->op);
    for (int i = 0; i < VX_REGS; i++)
        h = mix(h, t->regs[i]);
    for (const uint64_t *p = (uint64_t *)t->regs[VX_REGS - 1]; p < top; p++)
        h = mix(h, *p);
    return h;
}

extern const uint64_t __start_scene_vars[], __stop_scene_vars[];

static uint64_t state_hash(void)
{
    uint64_t h = mix(1, (uint64_t)nlocs);
    int base[LOCS] = {0};

    for (int i = 0; i < nlocs; i++) {
        base[i] = locs[i].n - 1;
        for (int t = 0; model == C11 && t < nthr; t++)
            if (thr[t].status != ENDED && thr[t].cur.at[i] < base[i])
                base[i] = thr[t].cur.at[i];
    }
    for (int t = 0; t < nthr; t++) {
        struct view acq = thr[t].acq; /* matters where it adds to cur */

        view_join(&acq, &thr[t].cur);
        h = hash_code(h, &thr[t]);
        for (int k = 0; k < thr[t].nbuf; k++)
            h = mix(mix(h, (uint64_t)thr[t].buf[k].loc), thr[t].buf[k].val);
        h = mix(h, (uint64_t)thr[t].nbuf);
        if (model == C11) {
            h = mix(h, (uint64_t)thr[t].npeek);
            for (int k = 0; k < thr[t].npeek; k++)
                h = mix(h, (uint64_t)thr[t].peek[k].loc << 8 |
                               thr[t].peek[k].clock);
            h = view_hash(h, &thr[t].cur, base);
            h = view_hash(h, &acq, base);
            h = view_hash(h, &thr[t].rel, base);
        }
    }
    if (model == C11)
        h = view_hash(h, &sc_view, base);
    for (int i = 0; i < nlocs; i++)
        h = hash_loc(h, i, base);
    for (const uint64_t *p = __start_scene_vars; p < __stop_scene_vars; p++)
        h = mix(h, *p);
    if (budget >= 0)
        h = mix(mix(h, (uint64_t)cost), (uint64_t)last_run);
    return h ? h : 1;
}

/* ---- choices and switching ---- */

static void end_execution(enum ending e)
{
    _longjmp(main_at, e);
}

static int choose(int n, uint64_t state)
{
    if (n == 1)
        return 0;
    if (pos == npath) {
        if (npath == DEPTH)
            abort();
        path[npath++] = (struct choice){.n = n, .state = state};
    }
    return path[pos++].pick;
}

static void store_now(int loc, uint64_t v, const struct view *view);

static void flush_one(int t)
{
    struct thread *me = &thr[t];
    struct pending p = me->buf[0];
    struct view none = {0};

    me->nbuf--;
    memmove(me->buf, me->buf + 1, (size_t)me->nbuf * sizeof me->buf[0]);
    store_now(p.loc, p.val, &none);
    if (ntrace < STEPS)
        trace[ntrace++] = (struct trace){.who = t,
                                         .loc = p.loc,
                                         .what = "reaches memory",
                                         .val = p.val,
                                         .order = ""};
}

static void flush_all(int t)
{
    while (thr[t].nbuf > 0)
        flush_one(t);
}

static bool can_run(int t)
{
    const struct thread *x = &thr[t];
    const struct loc *l = &locs[x->waits_for];

    return x->status == RUNS ||
           (x->status == WAITS && l->store[l->n - 1].val != 0);
}

/* Everything that can happen next: action t < nthr lets thread t go on,
 * nthr + t lets its oldest buffered store reach memory.  The thread that ran
 * last comes first; with the budget used up it is not stopped. */
static int list_actions(int *act)
{
    bool last_can = last_run >= 0 && can_run(last_run);
    int n = 0;

    if (last_can)
        act[n++] = last_run;
    if (!last_can || budget < 0 || cost < budget)
        for (int t = 0; t < nthr; t++)
            if (t != last_run && can_run(t))
                act[n++] = t;
    for (int t = 0; t < nthr; t++)
        if (thr[t].nbuf > 0)
            act[n++] = nthr + t;
    return n;
}

/* Called by a thread before each of its operations, and at its end.  Returns
 * when the operation is to be done now. */
static void schedule(void)
{
    if (_setjmp(thr[cur_thr].at) == 0)
        _longjmp(main_at, YIELD);
}

/* Picks who goes on, and goes there. */
__attribute__((noreturn)) static void resume_one(void)
{
    int act[2 * VX_THREADS], n, a;
    uint64_t state = 0;

    for (;;) {
        n = list_actions(act);
        if (n == 0)
            end_execution(COMPLETE);
        if (ntrace >= STEPS - BUFFER)
            vx_fail("no end after %d steps: a loop that makes no progress",
                    ntrace);
        if (n > 1 && pos == npath) {
            state = state_hash();
            if (!no_memo && memo_find(state)->key)
                end_execution(SEEN);
        }
        a = act[choose(n, state)];
        if (a < nthr)
            break;
        flush_one(a - nthr);
    }
    if (a != last_run && last_run >= 0 && can_run(last_run))
        cost++;
    last_run = cur_thr = a;
    _longjmp(thr[a].at, 1);
}

static void coroutine(void)
{
    int me = cur_thr;

    if (_setjmp(thr[me].base) == 0)
        _longjmp(main_at, 1);
    scene->thread[cur_thr]();
    if (starting)
        schedule();
    thr[cur_thr].status = ENDED;
    schedule();
    abort(); /* an ended thread never runs again */
}

/* ---- operations ---- */

uint64_t vx_regs[VX_REGS];

/* First thing in every operation: what the calling code is up to. */
static void enter(const void *from, uint64_t arg1, uint64_t arg2)
{
    struct thread *me = &thr[cur_thr];

    memcpy(me->regs, vx_regs, sizeof me->regs);
    me->op = mix(mix(mix(1, (uint64_t)(uintptr_t)from), arg1), arg2);
}

/* Last thing in every operation that was scheduled: clears the stack below the
 * scenario's code, where our own calls have left things that its next call
 * would take over as the content of variables it has not set yet. */
__attribute__((noinline)) static void leave(void)
{
    char below[1024];

    memset(below, 0, sizeof below);
    __asm__ volatile("" : : "r"(below) : "memory");
}

/* Where the calling code goes on; an operation made of others says so first. */
static const void *outer;

#define ENTER(a, b)                                                            \
    do {                                                                       \
        enter(outer ? outer : __builtin_return_address(0), a, b);              \
        outer = NULL;                                                          \
    } while (0)
#define ENTER_OUTER() (outer = __builtin_return_address(0))

void vx_outer(const void *pc)
{
    outer = pc;
}

/* Who uses a location and who writes it, over all executions: learnt on the
 * way, and when something is learnt, exploring starts afresh.  True: it has
 * been scheduled already. */
static bool learn(struct loc *l, bool write)
{
    unsigned users = l->users | 1u << cur_thr;
    unsigned writers = write ? l->writers | 1u << cur_thr : l->writers;
    bool first = starting; /* the thread's first operation: it waits here */
    bool news = users != l->users || writers != l->writers;

    l->users = users;
    l->writers = writers;
    if (first)
        schedule();
    if (news)
        end_execution(RESTART);
    return first;
}

/* Before an operation on a location.  When nobody else ever uses it, or the
 * operation reads what only the thread itself writes, then it makes no
 * difference when it happens, and nobody needs to be asked. */
static void point(int loc, bool write)
{
    struct loc *l = &locs[loc];
    unsigned me = 1u << cur_thr;

    if (learn(l, write))
        return;
    if ((l->users != me && (write || (l->writers & ~me))) ||
        (write && thr[cur_thr].nbuf > 0)) /* which it will empty */
        schedule();
}

static int find_loc(const void *p)
{
    int i;

    for (i = 0; i < nlocs; i++)
        if (locs[i].addr == p)
            return i;
    if (nlocs == LOCS)
        abort();
    nlocs++;
    memset(&locs[i], 0, sizeof locs[i]);
    locs[i].addr = (char *)p;
    snprintf(locs[i].name, sizeof locs[i].name, "word %d", i);
    return i;
}

/* Its number; in an execution's first use its first value is read. */
static int loc_of(const void *p, size_t size)
{
    int i = find_loc(p);

    if (locs[i].n == 0) {
        locs[i].size = size;
        locs[i].n = 1;
        locs[i].store[0] = (struct store_rec){0};
        memcpy(&locs[i].store[0].val, p, size); /* little-endian */
    }
    return i;
}

static void store_now(int loc, uint64_t v, const struct view *view)
{
    struct loc *l = &locs[loc];

    if (model != C11)
        l->n = 0; /* one memory: only the newest store exists */
    if (l->n == STORES)
        vx_fail("more than %d stores to %s", STORES, l->name);
    l->store[l->n].val = v;
    l->store[l->n].view = *view;
    l->store[l->n].view.at[loc] = (uint8_t)l->n;
    l->n++;
    memcpy(l->addr, &v, l->size);
}

static void note(const char *what, int loc, uint64_t v, uint64_t v2, int order,
                 struct vx_where w)
{
    static const char *const name[] = {"relaxed", "acquire", "release",
                                       "acq_rel", "seq_cst", ""};

    if (ntrace < STEPS)
        trace[ntrace++] = (struct trace){.who = cur_thr,
                                         .loc = loc,
                                         .what = what,
                                         .order = name[order],
                                         .val = v,
                                         .val2 = v2,
                                         .where = w};
}

static bool acquires(enum vx_order o)
{
    return o == vx_acquire || o == vx_acq_rel || o == vx_seq_cst;
}

static bool releases(enum vx_order o)
{
    return o == vx_release || o == vx_acq_rel || o == vx_seq_cst;
}

/* The thread has seen store k of the location. */
static void observe(int loc, int k, enum vx_order o)
{
    struct thread *me = &thr[cur_thr];

    if (me->cur.at[loc] < k)
        me->cur.at[loc] = (uint8_t)k;
    view_join(&me->acq, &locs[loc].store[k].view);
    if (acquires(o))
        view_join(&me->cur, &locs[loc].store[k].view);
}

/* The oldest store that the thread may see. */
static int oldest(int loc, enum vx_order o)
{
    int k = thr[cur_thr].cur.at[loc];

    if (model != C11)
        return locs[loc].n - 1;
    return o == vx_seq_cst && sc_view.at[loc] > k ? sc_view.at[loc] : k;
}

/* Which store does it see?  The newest comes first; an old one is a surprise,
 * and costs.  A compare-and-swap that fails may see any old value, too, but
 * never the one it expects (skip). */
static int pick_store(int loc, enum vx_order o, const uint64_t *skip)
{
    int k[STORES], n = 0;

    for (int i = locs[loc].n - 1; i >= oldest(loc, o); i--)
        if (i == locs[loc].n - 1 || !skip || locs[loc].store[i].val != *skip)
            k[n++] = i;
    if (budget >= 0 && cost >= budget)
        n = 1;
    n = choose(n, 0);
    cost += n > 0;
    return k[n];
}

static void fresh_note(int loc, int k)
{
    if (ntrace > 0)
        trace[ntrace - 1].n = locs[loc].n - 1 - k;
}

/* tso: a thread sees its own stores before memory does. */
static uint64_t buffered(int loc)
{
    const struct thread *me = &thr[cur_thr];

    for (int i = me->nbuf - 1; i >= 0; i--)
        if (me->buf[i].loc == loc)
            return me->buf[i].val;
    return locs[loc].store[0].val;
}

uint64_t vx_load(const void *p, size_t size, enum vx_order o, struct vx_where w)
{
    int loc = loc_of(p, size), k;
    uint64_t v;

    ENTER(0, 0);
    point(loc, false);
    if (model == TSO) {
        v = buffered(loc);
        note("reads", loc, v, 0, o, w);
        leave();
        return v;
    }
    k = pick_store(loc, o, NULL);
    v = locs[loc].store[k].val;
    note("reads", loc, v, 0, o, w);
    fresh_note(loc, k);
    if (model == C11)
        observe(loc, k, o);
    leave();
    return v;
}

static void append_store(int loc, uint64_t v, enum vx_order o)
{
    struct thread *me = &thr[cur_thr];

    if (model == C11)
        me->cur.at[loc] = (uint8_t)locs[loc].n;
    store_now(loc, v, releases(o) ? &me->cur : &me->rel);
    if (o == vx_seq_cst)
        sc_view.at[loc] = (uint8_t)(locs[loc].n - 1);
}

void vx_store(void *p, size_t size, uint64_t v, enum vx_order o,
              struct vx_where w)
{
    struct thread *me;
    int loc = loc_of(p, size);

    ENTER(v, 0);
    if (model == TSO && o != vx_seq_cst) {
        learn(&locs[loc], true);
        me = &thr[cur_thr]; /* nobody can tell when: no choice here */
        if (me->nbuf == BUFFER)
            flush_one(cur_thr);
        me->buf[me->nbuf++] = (struct pending){loc, v};
        note("writes", loc, v, 0, o, w);
        leave();
        return;
    }
    point(loc, true);
    flush_all(cur_thr);
    note("writes", loc, v, 0, o, w);
    append_store(loc, v, o);
    leave();
}

/* The second half of every read-modify-write: it sees the newest store, and
 * carries on what that store handed out (a release sequence). */
static void modify(int loc, uint64_t v, enum vx_order o)
{
    struct view before = locs[loc].store[locs[loc].n - 1].view;

    observe(loc, locs[loc].n - 1, o);
    append_store(loc, v, o);
    if (model == C11)
        view_join(&locs[loc].store[locs[loc].n - 1].view, &before);
}

static uint64_t newest(int loc)
{
    return locs[loc].store[locs[loc].n - 1].val;
}

static uint64_t cut(uint64_t v, size_t size)
{
    return size < 8 ? v & ((UINT64_C(1) << 8 * size) - 1) : v;
}

uint64_t vx_xchg(void *p, size_t size, uint64_t v, enum vx_order o,
                 struct vx_where w)
{
    int loc = loc_of(p, size);
    uint64_t old;

    ENTER(v, 0);
    point(loc, true);
    flush_all(cur_thr);
    old = newest(loc);
    note("exchanges", loc, old, v, o, w);
    modify(loc, v, o);
    leave();
    return old;
}

uint64_t vx_add(void *p, size_t size, uint64_t v, enum vx_order o,
                struct vx_where w)
{
    int loc = loc_of(p, size);
    uint64_t old;

    ENTER(v, 0);
    point(loc, true);
    flush_all(cur_thr);
    old = newest(loc);
    note("adds to", loc, old, cut(old + v, size), o, w);
    modify(loc, cut(old + v, size), o);
    leave();
    return old;
}

static void settle_peeks(bool taken)
{
    struct thread *me = &thr[cur_thr];

    for (int i = 0; taken && i < me->npeek; i++)
        locs[me->peek[i].loc].rclock[cur_thr] = me->peek[i].clock;
    me->npeek = 0;
}

bool vx_cas(void *p, size_t size, uint64_t *old, uint64_t v, enum vx_order o,
            enum vx_order fail, struct vx_where w)
{
    int loc = loc_of(p, size), k;
    uint64_t want = cut(*old, size);

    ENTER(v, want);
    point(loc, true);
    flush_all(cur_thr);
    k = pick_store(loc, fail, &want);
    *old = locs[loc].store[k].val;
    if (*old != want) {
        note("fails to swap", loc, *old, want, fail, w);
        fresh_note(loc, k);
        observe(loc, k, fail);
        settle_peeks(false);
        leave();
        return false;
    }
    note("swaps", loc, *old, cut(v, size), o, w);
    modify(loc, cut(v, size), o);
    settle_peeks(true);
    leave();
    return true;
}

void vx_fence(struct vx_where w)
{
    struct thread *me = &thr[cur_thr];

    ENTER(0, 0);
    if (starting || model == C11 || (model == TSO && me->nbuf > 0))
        schedule();
    flush_all(cur_thr);
    note("full fence", -1, 0, 0, vx_seq_cst, w);
    view_join(&me->cur, &me->acq);
    view_join(&me->cur, &sc_view);
    sc_view = me->cur;
    me->rel = me->cur;
    leave();
}

/* ---- plain memory and slots: race detection ---- */

static uint8_t tick(void)
{
    struct thread *me = &thr[cur_thr];

    if (me->cur.clock[cur_thr] == UINT8_MAX)
        vx_fail("too many plain accesses");
    return ++me->cur.clock[cur_thr];
}

static void check_write(int loc, const char *what)
{
    const struct view *know = &thr[cur_thr].cur;
    struct loc *l = &locs[loc];

    for (int t = 0; t < nthr; t++)
        if (t != cur_thr && l->rclock[t] > know->clock[t])
            vx_fail("%s: %s is overwritten while %s may still read it", what,
                    l->name, scene->who[t]);
    if (l->wclock && l->writer != cur_thr && l->wclock > know->clock[l->writer])
        vx_fail("%s: two threads write %s at once", what, l->name);
    l->writer = cur_thr;
    l->wclock = tick();
}

uint64_t vx_plain_read(const uint64_t *p, struct vx_where w)
{
    struct loc *l;
    uint64_t v;
    int loc;

    ENTER(0, 0);
    if (starting)
        schedule();
    loc = loc_of(p, sizeof *p);
    l = &locs[loc];
    v = model == TSO ? buffered(loc) : *p;
    note("reads plain", loc, v, 0, 5, w);
    if (model != C11) {
        leave();
        return v; /* at once: later it could only be newer */
    }
    if (l->wclock && l->writer != cur_thr &&
        l->wclock > thr[cur_thr].cur.clock[l->writer])
        vx_fail("data race: %s read while %s may still write it", l->name,
                scene->who[l->writer]);
    l->rclock[cur_thr] = tick();
    leave();
    return *p;
}

void vx_plain_write(uint64_t *p, uint64_t v, struct vx_where w)
{
    int loc;

    if (model == TSO) {
        ENTER_OUTER();
        vx_store(p, sizeof *p, v, vx_relaxed, w);
        return;
    }
    ENTER(v, 0);
    if (starting)
        schedule();
    loc = loc_of(p, sizeof *p);
    note("writes plain", loc, v, 0, 5, w);
    if (model == C11)
        check_write(loc, "data race");
    *p = v;
    leave();
}

uint64_t vx_slot_load(const void *p, size_t size, struct vx_where w)
{
    struct thread *me;
    uint64_t v;

    ENTER_OUTER();
    v = vx_load(p, size, vx_relaxed, w);
    me = &thr[cur_thr];

    if (model == C11) {
        if (me->npeek == PEEKS)
            abort();
        me->peek[me->npeek].loc = loc_of(p, size);
        me->peek[me->npeek++].clock = tick();
    }
    return v;
}

void vx_slot_store(void *p, size_t size, uint64_t v, struct vx_where w)
{
    ENTER_OUTER();
    vx_store(p, size, v, vx_relaxed, w);
    if (model == C11)
        check_write(loc_of(p, size), "slot reused too early");
}

/* ---- sleeping ---- */

void vx_post(uint64_t *p, struct vx_where w)
{
    ENTER_OUTER();
    vx_add(p, sizeof *p, 1, vx_acq_rel, w);
}

void vx_wait(uint64_t *p, struct vx_where w)
{
    int loc = loc_of(p, sizeof *p), me = cur_thr;

    ENTER(0, 0);
    learn(&locs[loc], true);
    if (thr[me].nbuf > 0)
        schedule();
    flush_all(me);
    thr[me].status = WAITS;
    thr[me].waits_for = loc;
    schedule();
    thr[me].status = RUNS;
    note("wakes up by", loc, newest(loc), 0, 5, w);
    modify(loc, 0, vx_acq_rel);
    leave();
}

/* A futex call takes a lock in the kernel: it hands knowledge on. */
static void kernel_lock(int loc)
{
    view_join(&thr[cur_thr].cur, &locs[loc].kernel);
    view_join(&locs[loc].kernel, &thr[cur_thr].cur);
}

void vx_futex_wait(uint32_t *p, uint32_t val, struct vx_where w)
{
    int loc = loc_of(p, sizeof *p), me = cur_thr;

    ENTER(val, 0);
    schedule();
    flush_all(me);
    kernel_lock(loc);
    note(newest(loc) == val ? "sleeps on" : "does not sleep on", loc,
         newest(loc), 0, 5, w);
    observe(loc, locs[loc].n - 1, vx_relaxed); /* the kernel read it for us */
    if (newest(loc) != val) {
        leave();
        return;
    }
    thr[me].status = SLEEPS;
    thr[me].waits_for = loc;
    thr[me].op++; /* the second half */
    schedule();
    kernel_lock(loc);
    note("wakes up on", loc, newest(loc), 0, 5, w);
    leave();
}

void vx_futex_wake(uint32_t *p, struct vx_where w)
{
    int loc = loc_of(p, sizeof *p), who[VX_THREADS], n = 0;

    ENTER(0, 0);
    schedule();
    flush_all(cur_thr);
    kernel_lock(loc);
    for (int t = 0; t < nthr; t++)
        if (thr[t].status == SLEEPS && thr[t].waits_for == loc)
            who[n++] = t;
    note("wakes a sleeper of", loc, (uint64_t)n, 0, 5, w);
    if (n > 0)
        thr[who[choose(n, 0)]].status = RUNS;
    leave();
}

bool vx_asleep(int i)
{
    return thr[i].status != ENDED;
}

bool vx_anyone_asleep(void)
{
    for (int t = 0; t < nthr; t++)
        if (vx_asleep(t))
            return true;
    return false;
}

void vx_name(const void *p, const char *fmt, ...)
{
    va_list ap;
    int loc;

    loc = find_loc(p);
    va_start(ap, fmt);
    vsnprintf(locs[loc].name, sizeof locs[loc].name, fmt, ap);
    va_end(ap);
}

void vx_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(failure, sizeof failure, fmt, ap);
    va_end(ap);
    end_execution(FAILED);
    abort();
}

/* ---- exploring ---- */

static void start_threads(void)
{
    starting = true;
    for (volatile int t = 0; t < nthr; t++) {
        thr[t].status = RUNS;
        thr[t].nbuf = thr[t].npeek = 0;
        memset(&thr[t].cur, 0, sizeof thr[t].cur);
        memset(&thr[t].acq, 0, sizeof thr[t].acq);
        memset(&thr[t].rel, 0, sizeof thr[t].rel);
        cur_thr = t;
        if (_setjmp(main_at) == 0)
            _longjmp(thr[t].base, 1); /* up to its first operation */
    }
    starting = false;
}

static enum ending run_once(void)
{
    int how;

    for (int i = 0; i < nlocs; i++) {
        locs[i].n = 0;
        locs[i].writer = 0;
        locs[i].wclock = 0;
        memset(locs[i].rclock, 0, sizeof locs[i].rclock);
        memset(&locs[i].kernel, 0, sizeof locs[i].kernel);
    }
    memset(&sc_view, 0, sizeof sc_view);
    pos = ntrace = cost = 0;
    scene->init();
    for (int i = 0; i < nlocs; i++) /* first values, before anybody writes */
        if (locs[i].size)
            loc_of(locs[i].addr, locs[i].size);
    start_threads();
    last_run = -1;
    how = _setjmp(main_at);
    if (how == 0 || how == YIELD)
        resume_one();
    if (how == COMPLETE) {
        how = _setjmp(main_at); /* check() may fail, too */
        if (how == 0) {
            scene->check();
            how = COMPLETE;
        }
    }
    return (enum ending)how;
}

struct result {
    double total;  /* executions there are */
    uint64_t runs; /* executions run */
    size_t states;
    double seconds, first; /* all; until the first failure */
    bool failed;
    int cost;
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Moves on to the next list of choices; false: there is none. */
static bool next_path(double below)
{
    while (npath > 0) {
        struct choice *c = &path[npath - 1];

        c->below += below;
        if (++c->pick < c->n)
            return true;
        below = c->below;
        if (c->state && !no_memo)
            memo_add(c->state, below);
        npath--;
    }
    path[0].below = below; /* the total, for explore() */
    return false;
}

static double state_below(void)
{
    struct memo *m = memo_find(state_hash());

    return m->key ? m->below : 1;
}

/* Explores everything within the budget.  A failure is remembered if it is
 * the shortest yet; without a budget the first one ends the search. */
static void explore(struct result *r, double start)
{
    double below;
    enum ending e;

    memo_reset();
    npath = 0;
    path[0] = (struct choice){0};
    do {
        e = run_once();
        r->runs++;
        if (e == RESTART) {
            memo_reset();
            npath = 0;
            path[0] = (struct choice){0};
        }
        below = e == SEEN ? state_below() : 1;
        if (e == FAILED) {
            if (!r->failed)
                r->first = now() - start;
            if (!r->failed || ntrace < nbest) {
                memcpy(best, trace, sizeof(struct trace) * (size_t)ntrace);
                memcpy(best_failure, failure, sizeof failure);
                nbest = ntrace;
            }
            r->failed = true;
            if (budget < 0)
                break;
        }
    } while (e == RESTART || next_path(below));
    r->total += path[0].below;
    r->states += memo_used;
}

static void make_threads(void)
{
    if (thr[0].stack)
        return;
    for (volatile int t = 0; t < VX_THREADS; t++) {
        ucontext_t uc;

        thr[t].stack = malloc(STACK);
        if (!thr[t].stack || getcontext(&uc) != 0)
            abort();
        uc.uc_stack.ss_sp = thr[t].stack;
        uc.uc_stack.ss_size = STACK;
        uc.uc_link = &main_uc;
        makecontext(&uc, coroutine, 0);
        cur_thr = t;
        if (_setjmp(main_at) == 0)
            setcontext(&uc);
    }
}

static void begin(const struct vx_scenario *s, enum model m)
{
    scene = s;
    model = m;
    nlocs = 0;
    memset(locs, 0, sizeof locs);
    for (nthr = 0; nthr < VX_THREADS && s->thread[nthr]; nthr++)
        ;
}

/* The value, or the name of what it points to. */
static int print_value(char *dst, size_t cap, uint64_t v)
{
    for (int i = 0; i < nlocs; i++)
        if ((uint64_t)(uintptr_t)locs[i].addr == v)
            return snprintf(dst, cap, "%s", locs[i].name);
    return snprintf(dst, cap, v > 99999 ? "%#llx" : "%lld", (long long)v);
}

static void print_step(int i, const struct trace *t)
{
    const char *file = t->where.file ? strrchr(t->where.file, '/') : NULL;
    char what[96];
    int n;

    n = snprintf(what, sizeof what, "%s %s", t->what,
                 t->loc >= 0 ? locs[t->loc].name : "");
    if (t->loc >= 0) {
        n += snprintf(what + n, sizeof what - (size_t)n, ": ");
        n += print_value(what + n, sizeof what - (size_t)n, t->val);
    }
    if (strcmp(t->what, "swaps") == 0 || strcmp(t->what, "adds to") == 0 ||
        strcmp(t->what, "exchanges") == 0) {
        n += snprintf(what + n, sizeof what - (size_t)n, " -> ");
        n += print_value(what + n, sizeof what - (size_t)n, t->val2);
    }
    if (strcmp(t->what, "fails to swap") == 0) {
        n += snprintf(what + n, sizeof what - (size_t)n, ", expected ");
        n += print_value(what + n, sizeof what - (size_t)n, t->val2);
    }
    if (t->n > 0)
        snprintf(what + n, sizeof what - (size_t)n, " (%d store%s old)", t->n,
                 t->n > 1 ? "s" : "");
    printf("    %2d  %-9s %-44s %-8s %s", i + 1, scene->who[t->who], what,
           t->order,
           file            ? file + 1
           : t->where.file ? t->where.file
                           : "");
    if (t->where.file)
        printf(":%d", t->where.line);
    printf("\n");
}

static void print_failure(void)
{
    enum { SHOWN = 60 };

    printf("    %s\n", best_failure);
    if (nbest > SHOWN)
        printf("    (the last %d of %d steps)\n", SHOWN, nbest);
    for (int i = nbest > SHOWN ? nbest - SHOWN : 0; i < nbest; i++)
        print_step(i, &best[i]);
}

/* Looks for the simplest failing schedule, by rising cost. */
static struct result hunt(const struct vx_scenario *s, enum model m, int max)
{
    struct result r = {0};
    double start = now();

    begin(s, m);
    if (m != C11) { /* it may well not show there: find that out first */
        budget = -1;
        explore(&r, start);
        r.seconds = now() - start;
        if (!r.failed)
            return r;
        r = (struct result){0};
    }
    for (budget = 0; budget <= max && !r.failed; budget++) {
        r.cost = budget;
        r.total = 0;
        explore(&r, start);
    }
    budget = -1;
    if (!r.failed) {
        r.total = 0;
        explore(&r, start);
    }
    r.seconds = now() - start;
    return r;
}

static struct result verify(const struct vx_scenario *s, enum model m)
{
    struct result r = {0};
    double start = now();

    begin(s, m);
    budget = -1;
    explore(&r, start);
    r.seconds = now() - start;
    return r;
}

static unsigned outcomes;

void vx_outcome(unsigned n)
{
    outcomes |= 1u << n;
}

/* Does the table of states leave out nothing?  Runs the executions one by one,
 * without it, and counts. */
static int miscounted(const struct vx_scenario *s, enum model m)
{
    double total = verify(s, m).total, all;

    no_memo = true;
    all = verify(s, m).total;
    no_memo = false;
    if (total == all)
        return 0;
    printf("%s under %s: %.0f interleavings, one by one %.0f\n", s->name,
           model_name[m], total, all);
    return 1;
}

/* Checks the explorer itself. */
static bool litmus_all(void)
{
    int wrong = 0;

    for (int i = 0; i < vx_nlitmus; i++)
        for (int m = 0; m < MODELS; m++) {
            const struct vx_litmus *l = &vx_litmus[i];

            outcomes = 0;
            verify(&l->scene, (enum model)m);
            if (outcomes != l->allowed[m]) {
                printf("litmus %s under %s: outcomes %#x, expected %#x\n",
                       l->scene.name, model_name[m], outcomes, l->allowed[m]);
                wrong++;
            }
            wrong += miscounted(&l->scene, (enum model)m);
        }
    for (int i = 0; i < vx_nsmall; i++)
        for (int m = 0; m < MODELS; m++)
            wrong += miscounted(vx_small[i], (enum model)m);
    printf("%d litmus tests under %d models, counted twice: %d wrong\n",
           vx_nlitmus, MODELS, wrong);
    return wrong == 0;
}

bool vx_explore(const char *only)
{
    bool good;

    make_threads();
    good = only || litmus_all();
    printf("%-14s %-5s %14s %10s %10s %8s\n", "scenario", "model",
           "interleavings", "states", "executed", "seconds");
    for (int i = 0; i < vx_nscenarios; i++)
        for (int m = 0; m < MODELS; m++) {
            const struct vx_scenario *s = vx_scenarios[i];
            struct result r;

            if ((only && strcmp(only, s->name) != 0) ||
                (s->models && !(s->models & 1u << m)))
                continue;
            r = verify(s, m);
            printf("%-14s %-5s %14.6g %10zu %10llu %8.2f%s\n", s->name,
                   model_name[m], r.total, r.states, (unsigned long long)r.runs,
                   r.seconds, r.failed ? "  FAILED" : "");
            fflush(stdout);
            if (r.failed) {
                good = false;
                r = hunt(s, m, 3);
                print_failure();
            }
        }
    return good;
}

bool vx_hunt(const char *only)
{
    bool found = false, good = true;

    make_threads();
    for (int i = 0; i < vx_nscenarios; i++)
        for (int m = 0; m < MODELS; m++) {
            const struct vx_scenario *s = vx_scenarios[i];
            struct result r;

            if (strcmp(only, s->name) != 0 ||
                (s->models && !(s->models & 1u << m)))
                continue;
            r = hunt(s, m, 6);
            if (!r.failed) {
                good = good && !found; /* weaker models show more */
                printf("  %-4s cannot show it: all %.6g interleavings pass "
                       "(%.2f s)\n",
                       model_name[m], r.total, r.seconds);
                continue;
            }
            printf(
                "  %-4s found in %.2f ms, execution %llu; simplest schedule: "
                "%d steps, %d surprise%s\n",
                model_name[m], r.first * 1e3, (unsigned long long)r.runs, nbest,
                r.cost, r.cost == 1 ? "" : "s");
            if (!found)
                print_failure();
            found = true;
        }
    return found && good;
}
