/* scene_slot.c - a slot of stage 6 ends under one worker, comes home through
 * mpsc.h, and is used again, while home sweeps its slots and an event of the
 * first connection is handled late.  state.h and mpsc.h together: nothing may
 * touch the second connection for a reason of the first one, and nothing that
 * the closer did may come after what home does with the slot.
 */
#include "scene.h"

#include "6-stealing/state.h"
#include "parts/mpsc.h"

enum { GEN = 7 };

SCENE_VAR struct mpsc returns;
SCENE_VAR struct slot {
    struct mpsc_node node;
    struct state state;
    uint64_t body; /* the connection: plain memory */
    uint32_t gen;  /* home's */
} slot;
SCENE_VAR bool used_again;

static void init(void)
{
    mpsc_init(&returns);
    slot.node.next = NULL;
    slot.state.word = state_word(GEN, CONN_RUNNING);
    slot.body = 0;
    slot.gen = GEN;
    used_again = false;
    vx_name(&returns.head, "returns");
    vx_name(&slot.state.word, "state");
    vx_name(&slot.body, "body");
}

static void close_slot(void)
{
    state_close(&slot.state);
    mpsc_push(&returns, &slot.node);
}

/* The runner of the first connection. */
static void closer(void)
{
    plain_write(&slot.body, 1);
    close_slot();
}

/* Poked as home does it in a drain and at a deadline. */
static void sweep(void)
{
    uint64_t marks;

    if (!state_event(&slot.state, slot.gen, STATE_NEWS))
        return;
    if (!used_again)
        vx_fail("home queues a connection that has ended");
    if (!state_claim(&slot.state, &marks))
        vx_fail("a queued connection could not be claimed");
    plain_write(&slot.body, 3);
    state_release(&slot.state);
}

static void home(void)
{
    for (int i = 0; i < 2; i++) {
        vx_forget();
        sweep();
        if (!mpsc_take(&returns))
            continue;
        plain_write(&slot.body, 2);
        slot.gen = state_open(&slot.state);
        used_again = true;
    }
}

/* The same, and the registration of the second connection fails. */
static void home_failing(void)
{
    home();
    if (!used_again)
        return;
    close_slot();
    used_again = false;
    sweep();
}

static void late_event(void)
{
    if (state_event(&slot.state, GEN, STATE_NEWS))
        vx_fail("a late event queues a connection");
}

static void check(void)
{
    uint64_t gen = state_word_gen(slot.state.word);

    if (gen < GEN + 1 || state_of_word(slot.state.word) != CONN_IDLE ||
        (gen == GEN + 1 && slot.state.word != state_word(GEN + 1, CONN_IDLE)))
        vx_fail("the slot holds what came for the first connection");
}

const struct vx_scenario scene_slot = {
    "slot", init, {closer, home, late_event}, {"closer", "home", "harvester"},
    check,  0,
};

const struct vx_scenario scene_slot_fails = {
    "slot-fails",
    init,
    {closer, home_failing, late_event},
    {"closer", "home", "harvester"},
    check,
    0,
};
