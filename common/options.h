/* options.h - one command line for all six servers (argp). */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

struct options {
    bool echo;         /* --app echo; default http */
    const char *host;  /* --host, a numeric address or a name */
    int port;          /* --port; 0: the kernel picks */
    int workers;       /* --workers; 0: not given, the stage's default */
    int workers_min;   /* MIN of --workers MIN:MAX; 0: one number was given */
    const char *root;  /* --root or NULL */
    uint32_t max_body; /* bytes */
    int max_conns;     /* default RLIMIT_NOFILE (raised to its hard limit)
                        * less 64, or half of it when it is under 128 */
    int64_t idle_ms;   /* --idle-timeout */
    int64_t drain_ms;  /* --drain-timeout */
    int64_t stats_ms;  /* --stats; 0: off */
};

/* Fills *o from the defaults and the command line.  A stage's own switches come
 * as its argp (may be NULL) with own_input as their parser's state->input; they
 * follow the common ones in --help.  Leaves with 64 and a message on wrong
 * usage, 0 after --help.  Raises the descriptor limit to its hard value. */
void options_parse(struct options *o, int argc, char **argv, const char *doc,
                   const struct argp *own, void *own_input);

/* One line on stderr: what this process found and chose: kernel, cpus,
 * descriptors, memlock, app, then `chosen`, the stage's own words. */
void options_report(const struct options *o, const char *stage,
                    const char *chosen);

/* For a stage's own parser: the number in arg, or argp_error() (leaves with 64)
 * naming the switch and the range. */
int64_t option_int(struct argp_state *state, const char *name, const char *arg,
                   int64_t min, int64_t max);

/* The same for a word: its index in names (NULL ends them), or argp_error(). */
int option_choice(struct argp_state *state, const char *name, const char *arg,
                  const char *const names[]);

#endif
