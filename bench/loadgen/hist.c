/* hist.c - see hist.h. */
#include "hist.h"

#include <math.h>
#include <string.h>

enum {
    HGRM_TICKS = 5, /* lines for every halving of what is left above */
};

void hist_reset(struct hist *h)
{
    memset(h, 0, sizeof(*h));
    h->min = UINT64_MAX;
}

uint64_t hist_cell_top(unsigned cell)
{
    unsigned shift = cell < 2 * HIST_HALF ? 0 : cell / HIST_HALF - 1;

    return (((uint64_t)cell - HIST_HALF * shift + 1) << shift) - 1;
}

void hist_merge(struct hist *into, const struct hist *from)
{
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max)
        into->max = from->max;
    if (from->min < into->min)
        into->min = from->min;
    for (unsigned i = 0; i < HIST_CELLS; i++)
        into->cell[i] += from->cell[i];
}

/* The last cell has no upper end, and no cell may report more than was seen. */
static uint64_t cell_value(const struct hist *h, unsigned cell)
{
    uint64_t top = hist_cell_top(cell);

    return cell == HIST_CELLS - 1 || top > h->max ? h->max : top;
}

uint64_t hist_percentile(const struct hist *h, double p)
{
    /* 99.9 % of 1000 is 999, whatever binary fractions make of it. */
    double want = ceil(p / 100 * (double)h->count - 1e-6);
    uint64_t rank = want < 1 ? 1 : (uint64_t)want;
    uint64_t seen = 0;

    if (h->count == 0)
        return 0;
    if (rank > h->count)
        rank = h->count;
    for (unsigned i = 0; i < HIST_CELLS; i++) {
        seen += h->cell[i];
        if (seen >= rank)
            return cell_value(h, i);
    }
    return h->max;
}

double hist_mean(const struct hist *h)
{
    return h->count == 0 ? 0 : (double)h->sum / (double)h->count;
}

/* From the middle of each cell: good to the three digits that cells have. */
double hist_stddev(const struct hist *h)
{
    double mean = hist_mean(h), squares = 0;

    if (h->count == 0)
        return 0;
    for (unsigned i = 0; i < HIST_CELLS; i++) {
        unsigned shift = i < 2 * HIST_HALF ? 0 : i / HIST_HALF - 1;
        double width = (double)((uint64_t)1 << shift);
        double off = (double)hist_cell_top(i) - (width - 1) / 2 - mean;

        squares += (double)h->cell[i] * off * off;
    }
    return sqrt(squares / (double)h->count);
}

/* The next percentile to print: 5 steps to half way up to 100, 5 more to half
 * of what is left then, and so on, so that the tail gets as many lines as the
 * body. */
static double hgrm_next(double p)
{
    double halvings = floor(log2(100 / (100 - p))) + 1;

    return p + 100 / (HGRM_TICKS * exp2(halvings));
}

static void hgrm_line(FILE *f, uint64_t ns, double p, uint64_t seen)
{
    double above = 1 - p / 100;

    fprintf(f, "%12.3f %14.12f %10llu", (double)ns / 1000, p / 100,
            (unsigned long long)seen);
    if (above > 0)
        fprintf(f, " %14.2f", 1 / above);
    fputc('\n', f);
}

int hist_write_hgrm(const struct hist *h, FILE *f)
{
    uint64_t seen = 0;
    double p = 0;

    fprintf(f, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
            "1/(1-Percentile)");
    for (unsigned i = 0; i < HIST_CELLS && seen < h->count; i++) {
        if (h->cell[i] == 0)
            continue;
        seen += h->cell[i];
        if (seen == h->count) /* the last line says 1.0 and ends the table */
            hgrm_line(f, h->max, 100, seen);
        while (p <= 100 * (double)seen / (double)h->count && seen < h->count) {
            hgrm_line(f, cell_value(h, i), p, seen);
            p = hgrm_next(p);
        }
    }
    fprintf(f, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n",
            hist_mean(h) / 1000, hist_stddev(h) / 1000);
    fprintf(f, "#[Max     = %12.3f, Total count    = %12llu]\n",
            (double)h->max / 1000, (unsigned long long)h->count);
    fprintf(f, "#[Buckets = %12d, SubBuckets     = %12d]\n", HIST_MAX_SHIFT + 1,
            2 * HIST_HALF);
    return ferror(f) ? -1 : 0;
}
