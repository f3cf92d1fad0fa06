/* rows.h - what programs that measure in blocks share: numbers on the command
 * line, and the JSON file of their rows.
 */
#ifndef MICRO_ROWS_H
#define MICRO_ROWS_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* The value of option `name`; leaves with 64 unless it is from min to max. */
static inline double number(const char *name, const char *arg, double min,
                            double max)
{
    char *end;
    double v = arg ? strtod(arg, &end) : 0;

    if (!arg || *end || !(v >= min && v <= max))
        die_status(64, "%s: a number from %g to %g", name, min, max);
    return v;
}

/* The file that --json names, "-" for stdout; leaves with 1 if it cannot be
 * opened, or at its end cannot be written. */
static inline FILE *json_open(const char *path)
{
    FILE *f = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");

    if (!f)
        die("%s: %s", path, strerror(errno));
    return f;
}

static inline void json_close(FILE *f, const char *path)
{
    if ((f == stdout ? fflush(f) : fclose(f)) != 0)
        die("%s: %s", path, strerror(errno));
}

/* A table for people, unless stdout has the JSON. */
static inline int wants_table(const char *path)
{
    return !path || strcmp(path, "-") != 0;
}

#endif
