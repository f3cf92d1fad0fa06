/* scene_state.c - state.h: two threads harvest events of one connection and
 * run it, a third only runs it.  No event may be lost, the connection may be
 * in one queue only and under one thread only.  And events that come after the
 * slot has been reused must do nothing.
 */
#include "scene.h"

#include "6-stealing/state.h"

enum { GEN = 7 };

SCENE_VAR struct state state;
SCENE_VAR uint64_t conn;     /* the connection's fields: plain memory */
SCENE_VAR uint64_t bytes[2]; /* what arrives on its socket */
SCENE_VAR uint64_t queue;    /* how often it is queued, in all queues */
SCENE_VAR uint64_t seen[2];  /* part of the connection */
SCENE_VAR bool reused;

static void init(void)
{
    reused = false;
    conn = queue = 0;
    bytes[0] = bytes[1] = seen[0] = seen[1] = 0;
    state.word = state_word(GEN, CONN_IDLE);
    vx_name(&state.word, "state");
    vx_name(&conn, "conn");
    vx_name(&queue, "queue");
    vx_name(&bytes[0], "bytes 0");
    vx_name(&bytes[1], "bytes 1");
    vx_name(&seen[0], "seen 0");
    vx_name(&seen[1], "seen 1");
}

static void push(void)
{
    if (a_add(&queue, 1, relaxed) > 0)
        vx_fail("the connection is in two queues");
}

/* The queue is relaxed on purpose: the state word alone must order all. */
static bool pop(void)
{
    uint64_t one = 1;

    return a_cas(&queue, &one, 0, relaxed, relaxed);
}

static void event(int i)
{
    a_store(&bytes[i], 1, relaxed);
    if (state_event(&state, GEN, STATE_NEWS))
        push();
}

static uint64_t claim(void)
{
    uint64_t marks;

    if (!state_claim(&state, &marks))
        vx_fail("a queued connection could not be claimed");
    plain_write(&conn, plain_read(&conn) + 1);
    return marks;
}

/* A receive, if a mark says that it is worth one.  True: it brought bytes. */
static bool receive(uint64_t marks)
{
    bool any = false;

    for (int i = 0; i < 2 && marks & STATE_NEWS; i++)
        if (a_load(&bytes[i], relaxed) && !plain_read(&seen[i])) {
            plain_write(&seen[i], 1);
            any = true;
        }
    return any;
}

static void run(void)
{
    if (!pop())
        return;
    receive(claim());
    if (state_release(&state))
        push();
}

static void harvester0(void)
{
    event(0);
    run();
}
static void harvester1(void)
{
    event(1);
    run();
}
static void runner(void)
{
    run();
}

static void check(void)
{
    enum conn_state st = state_of_word(state.word);

    if (st != (queue ? CONN_READY : CONN_IDLE))
        vx_fail("state %d at the end, %d queued", st, (int)queue);
    if (st == CONN_IDLE && !(seen[0] && seen[1]))
        vx_fail("lost event: bytes arrived, nobody will look");
}

const struct vx_scenario scene_state = {
    "state",
    init,
    {harvester0, harvester1, runner},
    {"harvester0", "harvester1", "runner"},
    check,
    0,
};

/* ---- a reply: a worker receives a request, and its reply goes into the queue,
 * from which a thief may take it; another request comes at any time ---- */

SCENE_VAR uint64_t reply; /* part of the connection: it waits to be sent */

static void reply_init(void)
{
    init();
    reply = 0;
    bytes[0] = 1;
    state.word = state_word(GEN, CONN_READY) | STATE_NEWS;
    queue = 1;
    vx_name(&reply, "reply");
}

/* What stage 6 does with a connection from a queue: a receive, whose reply is
 * queued; or a send, after which only a mark makes it look at the socket. */
static void turns(int n)
{
    for (int i = 0; i < n; i++) {
        uint64_t marks;

        vx_forget();
        if (!pop())
            continue;
        marks = claim();
        if (!plain_read(&reply) && receive(marks)) {
            plain_write(&reply, 1);
            state_requeue(&state);
            push();
            continue;
        }
        if (plain_read(&reply)) {
            plain_write(&reply, 0);
            if (receive(marks)) /* it is worth a receive: at once */
                plain_write(&reply, 1);
        }
        if (plain_read(&reply))
            state_requeue(&state);
        else if (!state_release(&state))
            continue;
        push();
    }
}

static void second_request(void)
{
    event(1);
}
static void replier(void)
{
    turns(2);
}
static void reply_thief(void)
{
    turns(2);
}

static void reply_check(void)
{
    check();
    if (state_of_word(state.word) == CONN_IDLE && reply)
        vx_fail("a reply is forgotten");
}

const struct vx_scenario scene_reply = {
    "reply",
    reply_init,
    {second_request, replier, reply_thief},
    {"harvester", "worker", "thief"},
    reply_check,
    0,
};

/* ---- reuse: closed twice while an event of the first life is on its way,
 * and handed on once in its last life ---- */

static void generation_init(void)
{
    init();
    state.word = state_word(GEN, CONN_READY);
    queue = 1;
}

static void closer(void)
{
    if (!pop())
        return;
    claim();
    reused = true;
    plain_write(&conn, 1);
    state_close(&state);
    state_close(&state);   /* a second connection came and went */
    plain_write(&conn, 2); /* the third is being set up, nobody knows it */
}

static void late_event(void)
{
    if (state_event(&state, GEN, STATE_NEWS))
        push();
}

static void late_runner(void)
{
    if (!pop())
        return;
    claim();
    state_requeue(&state);
    push();
}

static void generation_check(void)
{
    if (reused && state.word != state_word(GEN + 2, CONN_IDLE))
        vx_fail("a late event changed the state of a new connection");
}

const struct vx_scenario scene_generation = {
    "generation",
    generation_init,
    {closer, late_event, late_runner},
    {"closer", "harvester", "runner"},
    generation_check,
    0,
};
