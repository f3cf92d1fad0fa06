/* switches.c - see switches.h. */

#include "switches.h"

#include "parts/arena.h"

enum { MAX_HELPERS = 64 }; /* of one worker */

static const struct argp_option switches[] = {
    {"pool", 'p', "N", 0, "helpers a worker: they run its requests (0)", 0},
    {"pin", 'P', "on|off", 0, "keep threads on their cpus (on)", 0},
    ARENA_SWITCH,
    URING_SWITCHES,
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    static const char *const on_off[] = {"on", "off", NULL};
    struct server *v = state->input;
    struct arena a = {0};

    switch (key) {
    case 'p':
        v->helpers = (int)option_int(state, "--pool", arg, 0, MAX_HELPERS);
        return 0;
    case 'P':
        v->team.unpinned = option_choice(state, "--pin", arg, on_off);
        return 0;
    case 'b':
        arena_switch(arg, state, &a);
        v->buffers = a.n;
        return 0;
    default:
        return uring_switch(key, arg, state, &v->uring);
    }
}

const struct argp switches_argp = {.options = switches, .parser = parse};
