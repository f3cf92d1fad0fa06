/* switches.h - what stage 6 can be told beside the common command line.
 *
 * Each of its three parts can be left out, so that what it does can be shown:
 * --steal queue takes no readiness, --steal off takes nothing at all (and is
 * per-core epoll); --submit single makes no batches.
 */
#ifndef SWITCHES_H
#define SWITCHES_H

#include "parts/park.h"
#include "parts/uring.h"
#include "ready.h"

enum place_by { PLACE_HASH, PLACE_RR, PLACE_ONE };
enum steal_by { STEAL_OFF, STEAL_QUEUE, STEAL_ALL };
enum submit_by { SUBMIT_SINGLE, SUBMIT_BATCH, SUBMIT_HYBRID };

static const char *const place_names[] = {"hash", "rr", "one", NULL};
static const char *const steal_names[] = {"off", "queue", "all", NULL};
static const char *const queue_names[] = {"fifo", "chase-lev", "mutex", NULL};
static const char *const submit_names[] = {"single", "batch", "hybrid", NULL};
static const char *const on_off[] = {"on", "off", NULL};

struct own_choice {
    struct uring_options uring;
    int place, steal, queue, submit; /* enums of those names */
    int batch_at, sq_free;           /* connections; SQ entries */
    int64_t stuck_us, age_us;
    uint64_t depth; /* connections */
    bool unpinned;
};

static const struct argp_option own_choice_switches[] = {
    {"pin", 'P', "on|off", 0, "keep threads on their cpus (on)", 0},
    {"place", 'l', "HOW", 0, "connections: hash (default), rr or one", 0},
    {"steal", 's', "WHAT", 0, "off, queue or all (default): readiness too", 0},
    {"stuck-us", 'u', "US", 0,
     "in a handler for so long: siblings harvest its set (100)", 0},
    {"steal-age", 'a', "US", 0, "leave what is ready for less alone (0)", 0},
    {"steal-depth", 'd', "N", 0, "leave shorter queues alone (1)", 0},
    {"queue", 'k', "HOW", 0, "fifo (default), chase-lev or mutex", 0},
    {"submit", 'm', "HOW", 0,
     "calls: single, batch (by the ring) or hybrid (default)", 0},
    {"batch-at", 'b', "N", 0, "hybrid: a batch from so many ready on (4)", 0},
    {"sq-free", 'f', "N", 0, "a batch leaves so many SQ entries free (16)", 0},
    URING_SWITCHES,
    {0}};

static inline error_t steal_switch(int key, char *arg, struct argp_state *state,
                                   struct own_choice *own)
{
    switch (key) {
    case 's':
        own->steal = option_choice(state, "--steal", arg, steal_names);
        return 0;
    case 'u':
        own->stuck_us = option_int(state, "--stuck-us", arg, 1, 1000000);
        return 0;
    case 'a':
        own->age_us = option_int(state, "--steal-age", arg, 0, 1000000);
        return 0;
    case 'd':
        own->depth =
            (uint64_t)option_int(state, "--steal-depth", arg, 1, READY_SIZE);
        return 0;
    default:
        return uring_switch(key, arg, state, &own->uring);
    }
}

static inline error_t own_choice_switch(int key, char *arg,
                                        struct argp_state *state)
{
    struct own_choice *own = state->input;

    switch (key) {
    case 'P':
        own->unpinned = option_choice(state, "--pin", arg, on_off);
        return 0;
    case 'l':
        own->place = option_choice(state, "--place", arg, place_names);
        return 0;
    case 'k':
        own->queue = option_choice(state, "--queue", arg, queue_names);
        return 0;
    case 'm':
        own->submit = option_choice(state, "--submit", arg, submit_names);
        return 0;
    case 'b':
        own->batch_at = (int)option_int(state, "--batch-at", arg, 1, BATCH);
        return 0;
    case 'f':
        own->sq_free = (int)option_int(state, "--sq-free", arg, 0, SQ_ENTRIES);
        return 0;
    default:
        return steal_switch(key, arg, state, own);
    }
}

#endif
