/* test_steal.c - lab 6: workers that give half of what waits.
 *
 * One thread plays all workers, and a model beside them says what each call
 * must do.  Then a load that begins at one worker, turn by turn; real threads;
 * and the explorer (scenes.c).
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "params.h"
#include "steal.h"
#include "worlds.h"

enum { WORKERS = 4, EACH = 16384, MEMORY = WORKERS * EACH, LINE = 128 };
enum { TASKS = 1024, NOBODY = -1, UNANSWERED = -1 };

/* What the model knows of a worker. */
struct model {
    struct task *queue[STEAL_TASKS]; /* oldest first */
    int n;
    int asker;    /* who has asked it */
    int victim;   /* whom it has asked */
    int answered; /* tasks in the answer, at gift; UNANSWERED */
    struct task *gift[STEAL_TASKS];
};

static struct {
    _Alignas(4096) unsigned char memory[MEMORY];
    unsigned char before[MEMORY];
    const char *note;
    struct model of[WORKERS];
    struct task task[TASKS];
    int next; /* where to look for a task that is nowhere */
} t;

static struct worker *worker(int i)
{
    return (struct worker *)(t.memory + (size_t)i * work_bytes());
}

static void begin(void)
{
    world_seed();
    t.note = "";
    cr_assert(work_bytes() <= EACH, "work_bytes: %zu, at most %d", work_bytes(),
              EACH);
    world_enter(WORLD_ALONE);
    memset(t.memory, 0x77, sizeof t.memory); /* as malloc leaves it */
    for (int i = 0; i < WORKERS; i++) {
        t.of[i].asker = t.of[i].victim = NOBODY;
        t.of[i].answered = UNANSWERED;
        work_init(worker(i));
    }
}

/* ---- calls, with what is to be seen of them ---- */

/* The bytes of all workers. */
static size_t used(void)
{
    return WORKERS * work_bytes();
}

static int owner(size_t byte)
{
    return (int)(byte / work_bytes());
}

static void blame(const char *what, int who, size_t byte)
{
    cr_assert_fail("%s, called by worker %d, changes byte %zu of worker %d's "
                   "struct without an atomic operation",
                   what, who, byte % work_bytes(), owner(byte));
}

static uint64_t cost_of(struct task *const *task, int n)
{
    uint64_t sum = 0;

    for (int i = 0; i < n; i++)
        sum += task[i]->cost;
    return sum;
}

/* The costs of tasks, oldest first, as text. */
static const char *costs(struct task *const *task, int n)
{
    static char text[2][128];
    static int next;
    char *begin = text[next++ % 2], *p = begin;

    *p = '\0';
    for (int i = 0; i < n && p < begin + 110; i++)
        p += sprintf(p, "%s%llu", i ? " " : "",
                     (unsigned long long)task[i]->cost);
    if (p >= begin + 110)
        sprintf(p, " ...");
    return begin;
}

static void waiting(int who)
{
    uint64_t got, wanted = cost_of(t.of[who].queue, t.of[who].n);

    got = work_waiting(worker(who));
    cr_assert_eq(got, wanted,
                 "work_waiting of worker %d: %llu, expected %llu: the costs "
                 "there are %s%s",
                 who, (unsigned long long)got, (unsigned long long)wanted,
                 costs(t.of[who].queue, t.of[who].n), t.note);
}

/* A task that is nowhere; its body says where one is. */
static struct task *new_task(uint64_t cost)
{
    while (t.task[t.next].body)
        t.next = (t.next + 1) % TASKS;
    t.task[t.next].cost = cost;
    return &t.task[t.next];
}

static void push(int who, uint64_t cost)
{
    struct model *m = &t.of[who];
    struct task *task = new_task(cost);
    bool fits = m->n < STEAL_TASKS, pushed;

    world_call(who);
    pushed = work_push(worker(who), task);
    world_called(who, "work_push");
    cr_assert_eq(pushed, fits, "work_push: %s, with %d tasks queued of %d%s",
                 pushed ? "true" : "false", m->n, STEAL_TASKS, t.note);
    if (fits) {
        m->queue[m->n++] = task;
        task->body = 1;
    }
    waiting(who);
}

/* False: there was none. */
static bool pop(int who)
{
    struct model *m = &t.of[who];
    struct task *wanted = m->n > 0 ? m->queue[0] : NULL, *task;

    world_call(who);
    task = work_pop(worker(who));
    world_called(who, "work_pop");
    cr_assert(task == wanted,
              "work_pop of worker %d: %s, expected %s%s\n  the costs there are "
              "%s, oldest first",
              who, task ? "a task" : "NULL", wanted ? "the oldest one" : "NULL",
              t.note, costs(m->queue, m->n));
    if (!wanted)
        return false;
    task->body = 0;
    memmove(m->queue, m->queue + 1, (size_t)--m->n * sizeof m->queue[0]);
    waiting(who);
    return true;
}

static void ask(int thief, int victim)
{
    bool free_ = t.of[victim].asker == NOBODY, asked;

    world_call(thief);
    asked = work_ask(worker(thief), worker(victim));
    world_called(thief, "work_ask");
    cr_assert_eq(asked, free_, "work_ask: %s, expected %s: %s%s",
                 asked ? "true" : "false", free_ ? "true" : "false",
                 free_ ? "nobody else has asked there"
                       : "another thief's request is there",
                 t.note);
    if (free_) {
        t.of[victim].asker = thief;
        t.of[thief].victim = victim;
    }
}

/* How many tasks are half, by the rules of README.md. */
static int half(const struct model *m)
{
    uint64_t sum = cost_of(m->queue, m->n);
    int n = 0;

    if (sum < STEAL_LEAST)
        return 0;
    while (n < STEAL_GIFT && n < m->n - 1 && 2 * cost_of(m->queue, n) < sum)
        n++;
    return n;
}

static void serve(int who)
{
    struct model *m = &t.of[who];

    world_call(who);
    work_serve(worker(who));
    world_called(who, "work_serve");
    if (m->asker != NOBODY) {
        struct model *thief = &t.of[m->asker];
        int gives = half(m);
        uint64_t left = cost_of(m->queue + gives, m->n - gives);

        cr_assert_eq(work_waiting(worker(who)), left,
                     "work_serve, with a request and these costs queued, "
                     "oldest first: %s\n  expected %d tasks given, and a cost "
                     "of %llu left; work_waiting() says %llu%s",
                     costs(m->queue, m->n), gives, (unsigned long long)left,
                     (unsigned long long)work_waiting(worker(who)), t.note);
        thief->answered = gives;
        memcpy(thief->gift, m->queue,
               (size_t)thief->answered * sizeof m->queue[0]);
        m->n -= thief->answered;
        memmove(m->queue, m->queue + thief->answered,
                (size_t)m->n * sizeof m->queue[0]);
        m->asker = NOBODY;
    }
    waiting(who);
}

/* What the queue of a worker holds, checked by taking all of it. */
static void drain(int who)
{
    while (pop(who))
        ;
}

static enum news news(int who)
{
    static const char *const name[] = {"NEWS_NONE", "NEWS_REFUSED", "NEWS_GOT"};
    struct model *m = &t.of[who];
    enum news wanted = m->answered == UNANSWERED ? NEWS_NONE
                       : m->answered == 0        ? NEWS_REFUSED
                                                 : NEWS_GOT,
              got;

    world_call(who);
    got = work_news(worker(who));
    world_called(who, "work_news");
    cr_assert_eq(got, wanted, "work_news: %s, expected %s%s%s%s",
                 got <= NEWS_GOT ? name[got] : "none of its values",
                 name[wanted], wanted == NEWS_GOT ? " with costs " : "",
                 wanted == NEWS_GOT ? costs(m->gift, m->answered) : "", t.note);
    if (wanted == NEWS_NONE)
        return got;
    memcpy(m->queue + m->n, m->gift, (size_t)m->answered * sizeof m->gift[0]);
    m->n += m->answered;
    m->answered = UNANSWERED;
    m->victim = NOBODY;
    waiting(who);
    return got;
}

/* Tasks of these costs wait at worker 0, and worker 1 steals. */
static void steal_from(const char *text)
{
    char *end;

    for (uint64_t cost; (cost = strtoull(text, &end, 10)) > 0; text = end)
        push(0, cost);
    ask(1, 0);
    serve(0);
    news(1);
    drain(1);
    drain(0);
}

/* Many calls of all workers, in any order. */
static void play(int turns)
{
    for (int i = 0; i < turns; i++) {
        int who = (int)world_any(WORKERS), other = (int)world_any(WORKERS);
        struct model *m = &t.of[who];

        switch (world_any(6)) {
        case 0:
        case 1:
            if (m->n < STEAL_TASKS - 2 * STEAL_GIFT)
                push(who, world_any(8) ? 1 + world_any(5) : 20 + world_any(40));
            break;
        case 2:
            while (pop(who) && world_any(4))
                ;
            break;
        case 3:
            if (m->victim == NOBODY && other != who &&
                m->n < STEAL_TASKS - 2 * STEAL_GIFT)
                ask(who, other);
            break;
        case 4:
            serve(who);
            break;
        default:
            news(who);
        }
    }
}

/* ---- step 1 ---- */

Test(step1, queue, .init = begin)
{
    pop(0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < STEAL_TASKS + 1; i++) /* the last does not fit */
            push(0, 1 + world_any(9));
        for (int i = 0; i < STEAL_TASKS / 2 + round; i++)
            pop(0);
    }
    drain(0);
}

Test(step1, ask, .init = begin)
{
    serve(0); /* nobody asks */
    news(1);
    ask(1, 0);
    ask(2, 0); /* somebody asks already */
    news(1);
    serve(0); /* with nothing */
    news(1);
    news(1);
    push(0, 50);
    ask(2, 0);
    serve(0); /* the last task stays */
    news(2);
    ask(2, 0);
    serve(0);
    news(2);
    drain(0);
}

Test(step1, half, .init = begin)
{
    char many[4 * STEAL_TASKS] = "";

    steal_from("10 10 10 10");
    steal_from("10 10 10 10 10");
    steal_from("90 1 1"); /* the first is half, and more */
    steal_from("1 1 90"); /* the last one stays */
    steal_from("1 1");    /* less than STEAL_LEAST */
    steal_from("30 10 10 20 9 1 40");
    for (int i = 0; i < 3 * STEAL_GIFT; i++)
        strcat(many, "7 ");
    steal_from(many); /* half is more than STEAL_GIFT */
    play(20000);
    for (int i = 0; i < WORKERS; i++)
        drain(i);
}

/* ---- step 2: lines ---- */

enum { OWN = 1, THIEF = 2, GIVER = 4 };

static unsigned char written[MEMORY]; /* by whom, each byte */
static int caller, caller_is;

static void see_op(const void *p, size_t size, bool reads, bool writes)
{
    size_t at = (size_t)((const unsigned char *)p - t.memory);

    (void)reads;
    if (writes && at < used())
        for (size_t i = at; i < at + size; i++)
            written[i] |= owner(i) == caller ? OWN : (unsigned char)caller_is;
}

static void see_plain(void)
{
    for (size_t i = 0; i < used(); i++)
        if (t.memory[i] != t.before[i])
            written[i] |= owner(i) == caller ? OWN : (unsigned char)caller_is;
    memcpy(t.before, t.memory, used());
}

/* Every worker does everything, and what they write is written down. */
static void watch(void)
{
    memcpy(t.before, t.memory, used());
    world_seen = see_op;
    for (int i = 0; i < 400; i++) {
        int thief = i % WORKERS, victim = i / WORKERS % WORKERS;

        caller = victim;
        for (int k = 1 + i % 40; k > 0; k--)
            work_push(worker(victim), new_task(1 + world_any(9)));
        see_plain();
        if (thief != victim) {
            caller = thief, caller_is = THIEF;
            work_ask(worker(thief), worker(victim));
            see_plain();
            caller = victim, caller_is = GIVER;
            work_serve(worker(victim));
            see_plain();
            caller = thief;
            work_news(worker(thief));
            see_plain();
        }
        for (caller = 0; caller < WORKERS; caller++) {
            for (int k = (int)world_any(40); k > 0; k--)
                work_pop(worker(caller));
            see_plain();
        }
    }
    world_seen = NULL;
}

/* Who else writes this byte. */
static int kind(size_t i)
{
    return written[i] & (THIEF | GIVER);
}

static const char *by(size_t i)
{
    static const char *const name[] = {"its own worker only", "thieves",
                                       "a victim that it asked",
                                       "thieves and victims"};

    return name[kind(i) / THIEF];
}

/* The words of one line, for a failure. */
static const char *line_text(size_t line)
{
    static char text[2048];
    char *p = text;
    size_t i = line, end = line + LINE;

    while (i < end && p < text + 1900) {
        size_t from = i;

        while (i < end && !written[i])
            i++;
        for (from = i; i < end && written[i] && kind(i) == kind(from) &&
                       owner(i) == owner(from);
             i++)
            ;
        if (i > from)
            p += sprintf(p, "  worker %d, bytes %zu to %zu: written by %s\n",
                         owner(from), from % work_bytes(),
                         (i - 1) % work_bytes(), by(from));
    }
    return text;
}

/* The first line on which two workers' bytes meet, or two kinds of one; NULL:
 * there is none. */
static const char *shared_line(bool two_workers)
{
    for (size_t line = 0; line < used(); line += LINE) {
        size_t first = MEMORY;

        for (size_t i = line; i < line + LINE; i++) {
            if (!written[i])
                continue;
            if (first == MEMORY)
                first = i;
            if (two_workers
                    ? owner(i) != owner(first)
                    : owner(i) == owner(first) && kind(i) != kind(first))
                return line_text(line);
        }
    }
    return NULL;
}

Test(step2, apart, .init = begin)
{
    const char *found;

    watch();
    found = shared_line(false);
    cr_assert(!found,
              "one line of %d bytes has words of two kinds:\n%sa write to one "
              "of them takes the line away from who uses the others",
              LINE, found ? found : "");
}

Test(step2, neighbours, .init = begin)
{
    const char *found;

    watch();
    found = shared_line(true);
    cr_assert(!found,
              "two workers share a line of %d bytes (work_bytes() is %zu):\n%s",
              LINE, work_bytes(), found ? found : "");
}

Test(step2, no_waste)
{
    size_t arrays = STEAL_TASKS * sizeof(void *) +
                    (STEAL_GIFT * sizeof(void *) + LINE - 1) / LINE * LINE,
           most = arrays + 4 * LINE;

    cr_assert(work_bytes() <= most,
              "work_bytes: %zu, at most %zu: %zu for a queue of %d and a box "
              "of %d, and 4 lines",
              work_bytes(), most, arrays, STEAL_TASKS, STEAL_GIFT);
}

/* ---- step 3 ---- */

Test(step3, no_side_door, .init = begin)
{
    const struct world_guard guard = {t.memory, used(), owner, blame};

    t.note = "\nAtomic words are hidden here: who reads or writes one past the "
             "a_ operations sees nonsense;\nand so are the words that another "
             "worker writes without an operation.";
    world_guard(&guard);
    world_hide();
    play(2000);
    world_show();
    world_guard(NULL);
}

Test(step3, explored)
{
    world_explore("two-sc");
    world_explore("again-sc");
    world_explore("two-tso");
    world_explore("again-tso");
}

Test(step3, orders)
{
    world_explore("two-c11");
    world_explore("again-c11");
}

/* ---- a load that begins at one worker ---- */

enum { LOAD = 240 };

struct load {
    uint64_t work, done, turns, most; /* most: of one worker */
    unsigned steals, refusals;
};

struct seat {
    uint64_t left, done; /* of the task that runs; of all */
    unsigned steals, refusals;
    bool asked;
};

static struct seat seat[WORKERS];

static void look_for_work(int me)
{
    int victim = NOBODY;
    uint64_t most = 0;

    if (seat[me].asked) {
        enum news n = work_news(worker(me));

        seat[me].asked = n == NEWS_NONE;
        seat[me].steals += n == NEWS_GOT;
        seat[me].refusals += n == NEWS_REFUSED;
        return;
    }
    for (int i = 0; i < WORKERS; i++)
        if (i != me && work_waiting(worker(i)) > most) {
            most = work_waiting(worker(i));
            victim = i;
        }
    if (victim != NOBODY)
        seat[me].asked = work_ask(worker(me), worker(victim));
}

/* One turn of one worker; the work that it did. */
static uint64_t turn(int me)
{
    struct task *task;

    work_serve(worker(me));
    if (seat[me].left == 0 && (task = work_pop(worker(me))) != NULL)
        seat[me].left = task->cost;
    if (seat[me].left == 0) {
        look_for_work(me);
        return 0;
    }
    seat[me].left--;
    seat[me].done++;
    return 1;
}

/* All of it begins at worker 0. */
static struct load play_load(void)
{
    struct load l = {0};

    for (int i = 0; i < LOAD; i++) {
        t.task[i].cost = world_any(8) ? 1 + world_any(5) : 20 + world_any(10);
        l.work += t.task[i].cost;
        cr_assert(work_push(worker(0), &t.task[i]));
    }
    for (; l.done < l.work && l.turns < 2 * l.work; l.turns++)
        for (int i = 0; i < WORKERS; i++)
            l.done += turn(i);
    for (int i = 0; i < WORKERS; i++) {
        l.steals += seat[i].steals;
        l.refusals += seat[i].refusals;
        if (seat[i].done > l.most)
            l.most = seat[i].done;
    }
    return l;
}

Test(step3, skewed, .init = begin)
{
    struct load l = play_load();
    uint64_t ideal = l.work / WORKERS + 1;

    cr_assert(l.done == l.work && 4 * l.turns <= 5 * ideal &&
                  4 * l.most <= 5 * ideal && l.steals <= LOAD / 6,
              "%d tasks began at one of %d workers: %llu turns, %llu steps of "
              "%llu done, %u thefts, %u refusals; the busiest did %llu\n"
              "  expected all of it in at most %llu turns with at most %d "
              "thefts, and at most %llu for one",
              LOAD, WORKERS, (unsigned long long)l.turns,
              (unsigned long long)l.done, (unsigned long long)l.work, l.steals,
              l.refusals, (unsigned long long)l.most,
              (unsigned long long)ideal * 5 / 4, LOAD / 6,
              (unsigned long long)ideal * 5 / 4);
}

/* ---- real threads ---- */

enum { RUNS = 20000, PATIENCE_S = 20 };

static struct task many[RUNS];
static _Atomic int runs_of[RUNS], runs;
static _Atomic bool over;
static _Atomic int strange; /* tasks whose body was not there yet */

static bool run_one(int me)
{
    struct task *task = work_pop(worker(me));

    if (!task)
        return false;
    if (task->body != (uint64_t)(task - many) + 1)
        strange++;
    /* relaxed: the order has to come from the calls under test. */
    atomic_fetch_add_explicit(&runs_of[task - many], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&runs, 1, memory_order_relaxed);
    return true;
}

/* Worker 0 makes all tasks, and runs some. */
static void make_some(int *next)
{
    for (int i = 0; i < 3 && *next < RUNS; i++) {
        struct task *task = &many[*next];

        task->cost = 1 + (unsigned)*next % 7;
        task->body = (uint64_t)*next + 1;
        if (!work_push(worker(0), task))
            return;
        ++*next;
    }
}

static void *worker_main(void *arg)
{
    int me = (int)(intptr_t)arg, next = 0;

    while (!over) {
        if (me == 0)
            make_some(&next);
        work_serve(worker(me));
        if (!run_one(me)) {
            look_for_work(me);
            sched_yield();
        } else if (me == 0) {
            sched_yield(); /* or it does all of it on a machine of one core */
        }
    }
    return NULL;
}

Test(step3, threads, .init = begin)
{
    pthread_t thread[WORKERS];
    time_t moved = time(NULL);
    int once = 0, before = 0;

    world_enter(WORLD_THREADS);
    for (intptr_t i = 0; i < WORKERS; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, worker_main, (void *)i),
                     0);
    while (runs < RUNS && time(NULL) - moved < PATIENCE_S) {
        struct timespec nap = {.tv_nsec = 1000000};

        nanosleep(&nap, NULL);
        if (runs != before)
            moved = time(NULL);
        before = runs;
    }
    over = true;
    for (int i = 0; i < WORKERS; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < RUNS; i++)
        once += runs_of[i] == 1;
    cr_assert_eq((int)runs, RUNS, "nothing moved for %d s: %d of %d tasks ran",
                 PATIENCE_S, (int)runs, RUNS);
    cr_assert(once == RUNS && strange == 0,
              "of %d tasks %d ran once; %d ran before they were written", RUNS,
              once, (int)strange);
}

/* ---- shown beside the starter, for no points ---- */

Test(shown, skewed, .init = begin)
{
    struct load l = play_load();

    cr_assert_eq(l.done, l.work);
    printf("figure: turns of a skewed load %llu\n"
           "figure: thefts of a skewed load %u\n",
           (unsigned long long)l.turns, l.steals);
    fflush(stdout);
}

static _Atomic bool begun; /* the thief that is refused */

/* Another thief has asked already, so this one is refused again and again. */
static void *refused_main(void *unused)
{
    (void)unused;
    while (!over) {
        if (work_ask(worker(2), worker(0)))
            strange++;
        begun = true;
    }
    return NULL;
}

static double now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return 1e9 * (double)at.tv_sec + (double)at.tv_nsec;
}

/* What a thief writes costs the victim nothing, unless it lies on a line that
 * the victim needs for each task. */
Test(shown, refused, .init = begin)
{
    enum { DONE = 200000 };
    pthread_t thief;
    double since;

    cr_assert(work_ask(worker(1), worker(0)));
    t.task[0].cost = 1;
    world_enter(WORLD_THREADS);
    cr_assert_eq(pthread_create(&thief, NULL, refused_main, NULL), 0);
    while (!begun)
        sched_yield();
    since = now_ns();
    for (int i = 0; i < DONE; i++)
        if (!work_push(worker(0), &t.task[0]) || !work_pop(worker(0)))
            strange++;
    printf("figure: ns a task while a thief is refused %.2f\n",
           (now_ns() - since) / DONE);
    over = true;
    pthread_join(thief, NULL);
    cr_assert_eq((int)strange, 0);
    fflush(stdout);
}
