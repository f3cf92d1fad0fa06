/* switches.h - what stage 5 can be told beside the common command line. */
#ifndef SWITCHES_H
#define SWITCHES_H

#include "ops.h"
#include "pool.h"

enum { MAX_WORKERS = 256, MAX_HELPERS = 64 /* of one worker */ };
enum place_by { PLACE_HASH, PLACE_RR, PLACE_ONE };

static const char *const pool_names[] = {"inline", "spmc", "mutex", NULL};
static const char *const wake_names[] = {"msg", "eventfd", NULL};
static const char *const place_names[] = {"hash", "rr", "one", NULL};
static const char *const on_off[] = {"on", "off", NULL};

struct own_choice {
    struct own_options io; /* as in stage 4 */
    int pool, wake, place; /* enum pool_by, wake_by, place_by */
    int helpers;           /* --pool-threads: of one worker */
    bool unpinned;
};

static const struct argp_option own_choice_switches[] = {
    {"pool", 'p', "HOW", 0, "inline (default), spmc or mutex", 0},
    {"pool-threads", 'n', "N", 0, "helpers a worker (1)", 0},
    {"pin", 'P', "on|off", 0, "keep threads on their cpus (on)", 0},
    {"place", 'l', "HOW", 0, "connections: hash (default), rr or one", 0},
    {"wake", 'w', "HOW", 0, "the owner, by msg (default) or eventfd", 0},
    {"buffers", 'b', "N", 0, "pieces of 16 KiB a worker (1024)", 0},
    URING_SWITCHES,
    {0}};

static inline error_t own_choice_switch(int key, char *arg,
                                        struct argp_state *state)
{
    struct own_choice *own = state->input;
    struct arena a;

    switch (key) {
    case 'p':
        own->pool = option_choice(state, "--pool", arg, pool_names);
        return 0;
    case 'n':
        own->helpers =
            (int)option_int(state, "--pool-threads", arg, 1, MAX_HELPERS);
        return 0;
    case 'P':
        own->unpinned = option_choice(state, "--pin", arg, on_off);
        return 0;
    case 'l':
        own->place = option_choice(state, "--place", arg, place_names);
        return 0;
    case 'w':
        own->wake = option_choice(state, "--wake", arg, wake_names);
        return 0;
    case 'b':
        arena_switch(arg, state, &a);
        own->io.buffers = a.n;
        return 0;
    default:
        return uring_switch(key, arg, state, &own->io.uring);
    }
}

#endif
