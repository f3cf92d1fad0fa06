/* hist.h - a log-linear histogram of nanoseconds, three significant digits.
 *
 * Values below 2048 have a cell each.  Above, every power of two is cut into
 * 1024 cells, so a cell is never wider than 1/1024 of its values: percentiles
 * are exact in rank and at most 0.1 % high in value, because a cell reports the
 * highest value it may hold, as HdrHistogram does.  Minimum, maximum, sum and
 * count are exact.
 *
 * Flat, no pointers: it may lie in shared memory, and two histograms are merged
 * by adding their cells, which loses nothing.  Not thread safe: each thread has
 * its own and they are merged at the end.
 */
#ifndef HIST_H
#define HIST_H

#include <stdint.h>
#include <stdio.h>

enum {
    HIST_HALF = 1024,    /* cells in each power of two */
    HIST_MAX_SHIFT = 32, /* 2^43 ns, 2.4 hours; larger values share a cell */
    HIST_CELLS = HIST_HALF * (HIST_MAX_SHIFT + 2),
};

struct hist {
    uint64_t count, min, max, sum;
    uint64_t cell[HIST_CELLS];
};

static inline unsigned hist_cell(uint64_t v)
{
    unsigned shift = 0;

    if (v >= 2 * HIST_HALF) {
        shift = 53 - (unsigned)__builtin_clzll(v);
        if (shift > HIST_MAX_SHIFT)
            return HIST_CELLS - 1;
    }
    return HIST_HALF * shift + (unsigned)(v >> shift);
}

/* The highest value that falls into a cell. */
uint64_t hist_cell_top(unsigned cell);

static inline void hist_add(struct hist *h, uint64_t v)
{
    h->cell[hist_cell(v)]++;
    h->count++;
    h->sum += v;
    if (v > h->max)
        h->max = v;
    if (v < h->min)
        h->min = v;
}

void hist_reset(struct hist *h);
void hist_merge(struct hist *into, const struct hist *from);

/* The smallest reported value that at least p percent of the samples do not
 * exceed, 0 <= p <= 100; 0 when there are no samples. */
uint64_t hist_percentile(const struct hist *h, double p);
double hist_mean(const struct hist *h);
double hist_stddev(const struct hist *h);

/* Percentile distribution in the text format that HdrHistogram's tools read,
 * in microseconds.  Returns 0, or -1 when writing failed. */
int hist_write_hgrm(const struct hist *h, FILE *f);

#endif
