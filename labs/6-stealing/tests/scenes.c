/* scenes.c - lab 6 in the explorer: a victim and thieves, every order.
 *
 * Everything is in SCENE_VAR variables, which init() sets: see explore.h.
 */
#include <string.h>

#include "params.h"
#include "steal.h"
#include "worlds.h"

enum { MEMORY = 3 * 16384, TASKS = 4, WRITTEN = 100 };

SCENE_VAR _Alignas(128) unsigned char memory[MEMORY];
SCENE_VAR struct task tasks[TASKS];
SCENE_VAR uint64_t pushed;       /* tasks 0 .. pushed-1 */
SCENE_VAR uint64_t taken[TASKS]; /* how often */
SCENE_VAR uint64_t asks[VX_THREADS];

static struct worker *worker(int i)
{
    return (struct worker *)(memory + (size_t)i * work_bytes());
}

static void make(void)
{
    world_enter(WORLD_SETUP);
    memset(memory, 0, sizeof memory);
    memset(taken, 0, sizeof taken);
    memset(asks, 0, sizeof asks);
    pushed = 0;
    if (work_bytes() > MEMORY / 3)
        vx_fail("work_bytes: %zu, at most %d", work_bytes(), MEMORY / 3);
    for (int i = 0; i < VX_THREADS; i++)
        work_init(worker(i));
    for (int i = 0; i < TASKS; i++) {
        tasks[i] = (struct task){.cost = STEAL_LEAST};
        vx_name(&tasks[i].body, "task %d", i);
    }
    world_enter(WORLD_EXPLORED);
}

static void push(void)
{
    struct task *task = &tasks[pushed];

    plain_write(&task->body, WRITTEN + pushed);
    if (!work_push(worker(0), task))
        vx_fail("work_push: full, with %d tasks", (int)pushed);
    pushed++;
}

static int number(const char *what, const struct task *task)
{
    if ((uintptr_t)task < (uintptr_t)tasks || task >= tasks + TASKS)
        vx_fail("%s: this is no task", what);
    return (int)(task - tasks);
}

/* All that is in the queue of worker `who` is done there. */
static void run(int who)
{
    struct task *task;

    while ((task = work_pop(worker(who))) != NULL) {
        int i = number("work_pop", task);

        if (plain_read(&task->body) != WRITTEN + (uint64_t)i)
            vx_fail("task %d is run before it was written", i);
        if (++taken[i] > 1)
            vx_fail("task %d is run twice", i);
    }
}

static void ask(int who)
{
    asks[who] = work_ask(worker(who), worker(0));
}

static void look(int who)
{
    if (asks[who] && work_news(worker(who)) != NEWS_NONE) {
        asks[who] = 0;
        run(who);
    }
}

/* All threads have ended.  The victim looks a last time; then each request has
 * its answer, and every task is in one place. */
static void check(void)
{
    struct task *task;

    world_enter(WORLD_ALONE);
    work_serve(worker(0));
    for (int i = 1; i < VX_THREADS; i++)
        if (asks[i] && work_news(worker(i)) == NEWS_NONE)
            vx_fail("thief%d has asked, and is never answered", i);
    for (int i = 0; i < VX_THREADS; i++)
        while ((task = work_pop(worker(i))) != NULL)
            taken[number("work_pop", task)]++;
    for (uint64_t i = 0; i < pushed; i++)
        if (taken[i] != 1)
            vx_fail("task %d was run %d times", (int)i, (int)taken[i]);
}

/* ---- two: two thieves ask the same victim ---- */

static void two_victim(void)
{
    push();
    push();
    push();
    work_serve(worker(0));
    work_serve(worker(0));
}

static void thief1(void)
{
    ask(1);
    look(1);
    look(1);
}

static void thief2(void)
{
    ask(2);
    look(2);
    look(2);
}

/* ---- again: one thief, which asks again when it has an answer ---- */

static void again_victim(void)
{
    push();
    push();
    work_serve(worker(0));
    push();
    push();
    work_serve(worker(0));
}

static void ask_alone(void)
{
    if (asks[1])
        return;
    ask(1);
    if (!asks[1])
        vx_fail("work_ask: refused, and there is no other thief");
}

static void again_thief(void)
{
    for (int i = 0; i < 3; i++) {
        ask_alone();
        look(1);
    }
}

#define TWO                                                                    \
    make, {two_victim, thief1, thief2}, {"victim", "thief1", "thief2"}, check
#define AGAIN make, {again_victim, again_thief}, {"victim", "thief"}, check
SCENE(two_sc, "two-sc", TWO, VX_SC);
SCENE(two_tso, "two-tso", TWO, VX_TSO);
SCENE(two_c11, "two-c11", TWO, VX_C11);
SCENE(again_sc, "again-sc", AGAIN, VX_SC);
SCENE(again_tso, "again-tso", AGAIN, VX_TSO);
SCENE(again_c11, "again-c11", AGAIN, VX_C11);

const struct vx_scenario *const vx_scenarios[] = {
    &two_sc, &two_tso, &two_c11, &again_sc, &again_tso, &again_c11};
const int vx_nscenarios = sizeof vx_scenarios / sizeof vx_scenarios[0];
