/* scenes.c - the scenarios: small enough to be explored to the end. */
#include "explore.h"

#include <string.h>

#include "../../5-percore/mpsc.h"
#include "../../5-percore/spmc_ring.h"

enum { TOKENS = 8 };

static uint64_t body[TOKENS]; /* what an item points to; plain memory */
static int taken[TOKENS];     /* how often, counted by check() */
static int got[VX_THREADS][TOKENS], ngot[VX_THREADS];
static int pushed;

static void *token(int i) { return &body[i]; }
static int token_id(void *p) { return (int)((uint64_t *)p - body); }

static void tokens_init(void)
{
    memset(body, 0, sizeof body);
    memset(taken, 0, sizeof taken);
    memset(ngot, 0, sizeof ngot);
    pushed = 0;
    for (int i = 0; i < TOKENS; i++)
        vx_name(&body[i], "item %d", i);
}

static void take(int who, void *p)
{
    int id;

    if ((uint64_t *)p < body || (uint64_t *)p >= body + TOKENS)
        vx_fail("a slot without an item was taken");
    id = token_id(p);
    if (plain_read(&body[id]) != (uint64_t)id + 100)
        vx_fail("item %d was taken before it was written", id);
    got[who][ngot[who]++] = id;
}

static void tokens_count(bool ordered)
{
    for (int t = 0; t < VX_THREADS; t++)
        for (int i = 0; i < ngot[t]; i++) {
            taken[got[t][i]]++;
            if (ordered && i > 0 && got[t][i] <= got[t][i - 1])
                vx_fail("item %d came after %d", got[t][i], got[t][i - 1]);
        }
}

static void tokens_check(void)
{
    for (int i = 0; i < TOKENS; i++) {
        if (taken[i] > 1)
            vx_fail("item %d was taken %d times", i, taken[i]);
        if (taken[i] != (i < pushed))
            vx_fail("item %d was lost", i);
    }
}

/* ---- spmc_ring.h: a full ring, two consumers ---- */

static struct spmc_ring ring;

static void ring_init(void)
{
    tokens_init();
    spmc_init(&ring);
    vx_name(&ring.head, "head");
    vx_name(&ring.tail, "tail");
    for (int i = 0; i < SPMC_SIZE; i++)
        vx_name(&ring.slot[i], "slot %d", i);
}

static void ring_producer(void)
{
    for (int tries = 0; tries < 4 && pushed < 3; tries++) {
        plain_write(&body[pushed], (uint64_t)pushed + 100);
        if (spmc_push(&ring, token(pushed)))
            pushed++;
    }
}

static void ring_pop(int who, int n)
{
    while (n-- > 0) {
        void *p = spmc_pop(&ring);

        if (p)
            take(who, p);
    }
}

static void ring_consumer1(void) { ring_pop(1, 2); }
static void ring_consumer2(void) { ring_pop(2, 2); }

static void ring_check(void)
{
    tokens_count(true);
    for (uint64_t i = ring.head; i != ring.tail; i++)
        taken[token_id(ring.slot[i % SPMC_SIZE])]++;
    tokens_check();
}

/* ---- mpsc.h: two helpers return, the owner sleeps in between ---- */

struct ret {
    struct mpsc_node node;
    uint64_t body;
};

static struct mpsc list;
static struct ret ret[TOKENS];
static uint64_t list_event;

static void mpsc_scene_init(void)
{
    tokens_init();
    memset(ret, 0, sizeof ret);
    mpsc_init(&list);
    list_event = 0;
    vx_name(&list.head, "head");
    vx_name(&list_event, "eventfd");
    for (int i = 0; i < TOKENS; i++)
        vx_name(&ret[i].body, "node %d", i);
}

static void mpsc_return(int first, int n)
{
    for (int i = first; i < first + n; i++) {
        plain_write(&ret[i].body, (uint64_t)i + 100);
        if (mpsc_push(&list, &ret[i].node))
            event_post(&list_event);
    }
}

static void mpsc_helper1(void) { mpsc_return(0, 2); }
static void mpsc_helper2(void) { mpsc_return(2, 1); }

static void mpsc_owner(void)
{
    while (ngot[2] < 3) {
        struct mpsc_node *n;

        event_wait(&list_event);
        for (n = mpsc_take(&list); n; n = n->next) {
            struct ret *r = (struct ret *)n;

            if (plain_read(&r->body) != (uint64_t)(r - ret) + 100)
                vx_fail("node %d was taken before it was written",
                        (int)(r - ret));
            got[2][ngot[2]++] = (int)(r - ret);
        }
    }
}

static void mpsc_check(void)
{
    int last = -1;

    for (int i = 0; i < ngot[2]; i++)
        if (got[2][i] < 2) {
            if (got[2][i] < last)
                vx_fail("node 1 came before node 0 of the same helper");
            last = got[2][i];
        }
    pushed = 3;
    tokens_count(false);
    tokens_check();
}

const struct vx_scenario vx_scenarios[] = {
    {"ring", ring_init, {ring_producer, ring_consumer1, ring_consumer2},
     {"producer", "consumer1", "consumer2"}, ring_check},
    {"mpsc", mpsc_scene_init, {mpsc_helper1, mpsc_helper2, mpsc_owner},
     {"helper1", "helper2", "owner"}, mpsc_check},
};
const int vx_nscenarios = sizeof vx_scenarios / sizeof vx_scenarios[0];
