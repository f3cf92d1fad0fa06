/* rows.h - what programs that measure in blocks share: numbers on the command
 * line, a random order, medians, and the JSON file of their rows.
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

/* Fills order[] with 0 to n - 1, in an order that seed decides (Fisher and
 * Yates). */
static inline void random_order(int order[], int n, unsigned *seed)
{
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int i = n - 1; i > 0; i--) {
        int k = rand_r(seed) % (i + 1), t = order[i];

        order[i] = order[k];
        order[k] = t;
    }
}

static inline int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts v[]; n > 0. */
static inline double median_of(double v[], int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return (v[(n - 1) / 2] + v[n / 2]) / 2;
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
