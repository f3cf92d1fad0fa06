/* measure.c - lab 8: an open loop, its latencies, and a fair comparison. */
#include "measure.h"

#include <stdlib.h>

#include "params.h"

#define SECOND UINT64_C(1000000000)

/* ---- step 1 ---- */

uint64_t when_ns(uint64_t start_ns, uint64_t i, uint64_t rate)
{
    /* LAB-BEGIN */
    return start_ns + i * SECOND / rate;
    /* LAB-ELSE
     * (void)i;
     * (void)rate;
     * return start_ns;
     */
    /* LAB-END */
}

uint64_t percentile(const uint64_t *sorted, size_t n, uint32_t ppm)
{
    /* LAB-BEGIN */
    uint64_t rank = ((uint64_t)n * ppm + 999999) / 1000000;

    return sorted[rank - 1];
    /* LAB-ELSE
     * return sorted[(size_t)((double)(n - 1) * ppm / 1e6)];
     */
    /* LAB-END */
}

/* The starter counts from when a request was sent, as a closed loop does. */
void latencies(const struct sample *s, size_t n, uint64_t end_ns, uint64_t *out)
{
    /* LAB-BEGIN */
    for (size_t i = 0; i < n; i++)
        out[i] = (s[i].done ? s[i].done : end_ns) - s[i].intended;
    /* LAB-ELSE
     * (void)end_ns;
     * for (size_t i = 0; i < n; i++)
     *     out[i] = s[i].done ? s[i].done - s[i].sent : 0;
     */
    /* LAB-END */
}

/* ---- step 2 ---- */

size_t open_loop(const struct wire *w, uint64_t start_ns, uint64_t rate,
                 size_t n, uint64_t end_ns, struct sample *s)
{
    /* LAB-BEGIN */
    size_t sent = 0, answered = 0, i;
    uint64_t now, until;

    for (i = 0; i < n; i++)
        s[i] = (struct sample){.intended = when_ns(start_ns, i, rate)};
    while (answered < n && (now = w->now(w->self)) < end_ns) {
        bool due = sent < n && s[sent].intended <= now;

        if (due && w->send(w->self, sent)) {
            s[sent++].sent = now;
            continue;
        }
        until = sent < n && !due && s[sent].intended < end_ns ? s[sent].intended
                                                              : end_ns;
        i = w->wait(w->self, until);
        if (i != NO_REPLY) {
            s[i].done = w->now(w->self);
            answered++;
        }
    }
    return answered;
    /* LAB-ELSE
     * // A closed loop: the next request waits for the answer to the last.
     * for (size_t i = 0; i < n; i++)
     *     s[i] = (struct sample){.intended = when_ns(start_ns, i, rate)};
     * for (size_t i = 0; i < n; i++) {
     *     s[i].sent = w->now(w->self);
     *     if (s[i].sent >= end_ns || !w->send(w->self, i))
     *         return i;
     *     if (w->wait(w->self, end_ns) == NO_REPLY)
     *         return i;
     *     s[i].done = w->now(w->self);
     * }
     * return n;
     */
    /* LAB-END */
}

size_t add_missing(const uint64_t *latency, size_t n, uint64_t interval_ns,
                   uint64_t *out, size_t room)
{
    size_t found = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t l = latency[i];

        /* LAB-BEGIN */
        do {
            if (found < room)
                out[found] = l;
            found++;
            l = l > interval_ns ? l - interval_ns : 0;
        } while (l >= interval_ns);
        /* LAB-ELSE
         * (void)interval_ns;
         * if (found < room)
         *     out[found] = l;
         * found++;
         */
        /* LAB-END */
    }
    return found;
}

/* ---- step 4 ---- */

void block_order(unsigned servers, uint32_t (*random)(void *self), void *self,
                 unsigned *visits)
{
    for (unsigned i = 0; i < servers; i++)
        visits[i] = i;
    /* LAB-BEGIN */
    for (unsigned left = servers; left > 1; left--) {
        unsigned at = random(self) % left, kept = visits[left - 1];

        visits[left - 1] = visits[at];
        visits[at] = kept;
    }
    for (unsigned i = 0; i < servers; i++)
        visits[2 * servers - 1 - i] = visits[i];
    /* LAB-ELSE
     * (void)random;
     * (void)self;
     * for (unsigned i = 0; i < servers; i++)
     *     visits[servers + i] = visits[i];
     */
    /* LAB-END */
}

unsigned median_rank(unsigned n, double *covered)
{
    /* LAB-BEGIN */
    /* term = P(Binomial = k), below = P(Binomial < k) */
    double term = 1, below = 0;
    unsigned k = 0;

    for (unsigned i = 0; i < n; i++)
        term /= 2;
    *covered = 0;
    for (; n > 0 && k < n / 2; k++) {
        below += term;
        if (1 - 2 * below < MEASURE_COVER_PCT / 100.0)
            break;
        *covered = 1 - 2 * below;
        term = term * (n - k) / (k + 1);
    }
    return k;
    /* LAB-ELSE
     * (void)n;
     * *covered = 0;
     * return 0;
     */
    /* LAB-END */
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* LAB-BEGIN */
/* The ratios of the blocks that count, and whether the client was the limit in
 * one of them. */
static unsigned ratios(const struct slice *s, size_t n, unsigned a, unsigned b,
                       double *ratio, bool *limit)
{
    struct {
        double cost[2], busy;
        unsigned visits[2];
    } block[BLOCKS_MOST] = {0};
    unsigned found = 0;

    for (size_t i = 0; i < n; i++) {
        int side = s[i].server == a ? 0 : 1;

        if (s[i].server != a && s[i].server != b)
            continue;
        block[s[i].block].cost[side] += s[i].cost;
        block[s[i].block].visits[side]++;
        if (s[i].client_busy > block[s[i].block].busy)
            block[s[i].block].busy = s[i].client_busy;
    }
    for (unsigned i = 0; i < BLOCKS_MOST; i++) {
        if (!block[i].visits[0] || !block[i].visits[1])
            continue;
        if (block[i].busy > MEASURE_BUSY_PCT / 100.0)
            *limit = true;
        ratio[found++] = block[i].cost[0] / block[i].visits[0] /
                         (block[i].cost[1] / block[i].visits[1]);
    }
    return found;
}
/* LAB-END */

struct comparison compare(const struct slice *s, size_t n, unsigned a,
                          unsigned b)
{
    /* LAB-BEGIN */
    struct comparison c = {.verdict = VERDICT_FEW};
    double ratio[BLOCKS_MOST], covered;
    bool limit = false;
    unsigned k;

    c.blocks = ratios(s, n, a, b, ratio, &limit);
    if (c.blocks == 0)
        return c;
    qsort(ratio, c.blocks, sizeof *ratio, by_value);
    c.median = (ratio[c.blocks / 2] + ratio[(c.blocks - 1) / 2]) / 2;
    k = median_rank(c.blocks, &covered);
    if (k == 0)
        return c;
    c.low = ratio[k - 1];
    c.high = ratio[c.blocks - k];
    if (c.high < 1)
        c.verdict = VERDICT_LESS;
    else if (c.low > 1)
        c.verdict = VERDICT_MORE;
    else
        c.verdict = limit ? VERDICT_CLIENT : VERDICT_EQUAL;
    return c;
    /* LAB-ELSE
     * // The median of a beside the median of b, whatever the blocks.
     * struct comparison c = {0};
     * double cost[2][4 * BLOCKS_MOST];
     * size_t k[2] = {0};
     *
     * for (size_t i = 0; i < n; i++)
     *     if (s[i].server == a || s[i].server == b) {
     *         int side = s[i].server == a ? 0 : 1;
     *
     *         if (k[side] < 4 * BLOCKS_MOST)
     *             cost[side][k[side]++] = s[i].cost;
     *     }
     * for (int side = 0; side < 2; side++)
     *     qsort(cost[side], k[side], sizeof **cost, by_value);
     * if (k[0] == 0 || k[1] == 0)
     *     return c;
     * c.median = cost[0][k[0] / 2] / cost[1][k[1] / 2];
     * c.verdict = c.median < 1 ? VERDICT_LESS : VERDICT_MORE;
     * return c;
     */
    /* LAB-END */
}
