/* scenes.c - lab 5 in the explorer: a worker and two helpers, every order.
 *
 * Everything is in SCENE_VAR variables, which init() sets: see explore.h.
 */
#include <string.h>

#include "lend.h"
#include "params.h"
#include "worlds.h"

enum { MEMORY = 4096, JOBS = 12, NEVER = 0, FIRST_JOB = 100, ANSWERED = 1000 };

SCENE_VAR _Alignas(128) unsigned char memory[MEMORY];
SCENE_VAR struct slot *base;    /* slot 0 */
SCENE_VAR uint64_t slots;       /* how many there are */
SCENE_VAR uint64_t made;        /* jobs published so far */
SCENE_VAR uint64_t collected;   /* answers that came back */
SCENE_VAR uint64_t taken[JOBS]; /* job i was borrowed so often */

static struct lend *lend(void)
{
    return (struct lend *)memory;
}

/* What a function returned is a run of slots that are there. */
static void check_run(const char *what, const struct slot *s, uint32_t n)
{
    if ((s == NULL) != (n == 0))
        vx_fail("%s: %u slots, and the pointer is %sNULL", what, n,
                s ? "not " : "");
    if (s && ((uintptr_t)s < (uintptr_t)base || s + n > base + slots))
        vx_fail("%s: slots that are not there", what);
}

/* ---- worker ---- */

static void publish_one(void)
{
    uint32_t n;
    struct slot *s = lend_room(lend(), &n);

    check_run("lend_room", s, n);
    if (!s)
        return;
    plain_write(&s->job, FIRST_JOB + made);
    plain_write(&s->answer, NEVER);
    lend_publish(lend(), 1);
    made++;
}

static void collect(void)
{
    uint32_t n;
    struct slot *s = lend_collect(lend(), &n);

    check_run("lend_collect", s, n);
    for (uint32_t i = 0; i < n; i++, collected++)
        if (plain_read(&s[i].answer) != ANSWERED + FIRST_JOB + collected)
            vx_fail("lend_collect: slot %d is not answered, or not its turn",
                    (int)(s + i - base));
}

/* ---- helpers ---- */

static void answer(struct slot *s, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t job = plain_read(&s[i].job) - FIRST_JOB;

        if (job >= JOBS)
            vx_fail("lend_borrow: slot %d holds no job", (int)(s + i - base));
        if (++taken[job] > 1)
            vx_fail("lend_borrow: job %d has two borrowers", (int)job);
        plain_write(&s[i].answer, ANSWERED + FIRST_JOB + job);
    }
}

/* True: it got something. */
static bool help(uint32_t most)
{
    uint32_t n;
    struct slot *s = lend_borrow(lend(), most, &n);

    check_run("lend_borrow", s, n);
    if (!s)
        return false;
    if (n > most)
        vx_fail("lend_borrow: %u slots, and %u are wanted", n, most);
    answer(s, n);
    lend_give_back(lend(), s, n);
    return true;
}

/* ---- before and after ---- */

static void make(uint32_t of)
{
    uint32_t n;

    world_enter(WORLD_SETUP);
    memset(memory, 0, sizeof memory);
    memset(taken, 0, sizeof taken);
    made = collected = 0;
    slots = of;
    lend_init(lend(), of);
    base = lend_room(lend(), &n);
    if (!base || n != of)
        vx_fail("lend_room: %u slots in a new one of %u", n, of);
    for (uint32_t i = 0; i < of; i++) {
        vx_name(&base[i].job, "job of slot %u", i);
        vx_name(&base[i].answer, "answer %u", i);
    }
}

/* Jobs that wait before the threads begin. */
static void make_waiting(uint32_t jobs)
{
    for (uint32_t i = 0; i < jobs; i++)
        base[i].job = FIRST_JOB + i;
    made = jobs;
    if (jobs > 0)
        lend_publish(lend(), jobs);
    world_enter(WORLD_EXPLORED);
}

/* All threads have ended.  What waits still can be borrowed now, and all that
 * was published comes back, in order. */
static void check(void)
{
    uint32_t n;
    struct slot *s;

    world_enter(WORLD_ALONE);
    while ((s = lend_borrow(lend(), JOBS, &n)) != NULL) {
        check_run("lend_borrow", s, n);
        for (uint32_t i = 0; i < n; i++) {
            uint64_t job = s[i].job - FIRST_JOB;

            if (job >= JOBS || ++taken[job] > 1)
                vx_fail("at the end: slot %d is borrowed twice",
                        (int)(s + i - base));
            s[i].answer = ANSWERED + FIRST_JOB + job;
        }
        lend_give_back(lend(), s, n);
    }
    while ((s = lend_collect(lend(), &n)) != NULL) {
        check_run("lend_collect", s, n);
        for (uint32_t i = 0; i < n; i++, collected++)
            if (s[i].answer != ANSWERED + FIRST_JOB + collected)
                vx_fail("at the end: slot %d is not answered, or not its turn",
                        (int)(s + i - base));
    }
    for (uint64_t i = 0; i < made; i++)
        if (taken[i] != 1)
            vx_fail("job %d was lost", (int)i);
    if (collected != made)
        vx_fail("%d jobs were published and answered, %d came back", (int)made,
                (int)collected);
}

/* ---- batches: two helpers reach for the same jobs ---- */

static void batches_init(void)
{
    make(LEND_SHARE + 3);
    make_waiting(LEND_SHARE + 1); /* so the first to come gets two */
}

static void batches_worker(void)
{
    publish_one();
    collect();
}

static void help_two(void)
{
    help(2);
}

/* ---- round: slots are used again ---- */

static void round_init(void)
{
    make(2);
    make_waiting(0);
}

static void round_worker(void)
{
    publish_one();
    publish_one();
    collect();
    publish_one();
}

static void help_twice(void)
{
    help(1);
    help(1);
}

static void help_once(void)
{
    help(1);
}

/* ---- enough: there is a job for each, so each gets one ---- */

static void enough_init(void)
{
    make(LEND_SHARE + 3);
    make_waiting(2);
}

static void enough_helper(void)
{
    if (!help(1))
        vx_fail("lend_borrow: nothing, but 2 jobs waited all the time, and the "
                "other helper asked for 1");
}

static void enough_worker(void)
{
    uint32_t n;

    publish_one();
    collect();
    if (!lend_room(lend(), &n))
        vx_fail("lend_room: nothing, but %d slots were never used",
                (int)slots - 3);
}

#define WHO                                                                    \
    {                                                                          \
        "worker", "helper1", "helper2"                                         \
    }
#define BATCHES batches_init, {batches_worker, help_two, help_two}, WHO, check
#define ROUND round_init, {round_worker, help_twice, help_once}, WHO, check

SCENE(batches_sc, "batches-sc", BATCHES, VX_SC);
SCENE(batches_tso, "batches-tso", BATCHES, VX_TSO);
SCENE(batches_c11, "batches-c11", BATCHES, VX_C11);
SCENE(round_sc, "round-sc", ROUND, VX_SC);
SCENE(round_tso, "round-tso", ROUND, VX_TSO);
SCENE(round_c11, "round-c11", ROUND, VX_C11);
static const struct vx_scenario enough = {
    "enough", enough_init, {enough_worker, enough_helper, enough_helper},
    WHO,      check,       VX_SC};

const struct vx_scenario *const vx_scenarios[] = {
    &batches_sc, &batches_tso, &batches_c11, &round_sc,
    &round_tso,  &round_c11,   &enough};
const int vx_nscenarios = sizeof vx_scenarios / sizeof vx_scenarios[0];
