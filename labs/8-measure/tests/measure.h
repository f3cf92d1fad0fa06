/* measure.h - lab 8: what you write, in measure.c.
 *
 * Times are ns of one monotonic clock, latencies are ns.  No function here
 * allocates, prints or knows a socket: the grader runs them on recorded data
 * and on a clock of its own, and labs/8-measure/try.py on a real server.
 */
#ifndef MEASURE_H
#define MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- step 1: latency from the time that was meant ---- */

struct sample {
    uint64_t intended; /* when it was meant to be sent */
    uint64_t sent;     /* when it was sent; 0: never */
    uint64_t done;     /* when its answer was there; 0: never */
};

/* When request i (0, 1, ...) is meant to be sent: rate requests a second, the
 * first at start_ns.  Rounded down once, so that no error adds up over a run.
 * i < 10^10, rate > 0. */
uint64_t when_ns(uint64_t start_ns, uint64_t i, uint64_t rate);

/* The smallest of n sorted values that at least ppm parts in a million of all
 * values do not exceed (the nearest rank): 990000 asks for the p99.  n > 0,
 * 0 < ppm <= 1000000.  The rank is exact: no floating point. */
uint64_t percentile(const uint64_t *sorted, size_t n, uint32_t ppm);

/* out[i]: the latency of s[i] from its intended time.  A request without an
 * answer has waited until end_ns at least, and counts with that. */
void latencies(const struct sample *s, size_t n, uint64_t end_ns,
               uint64_t *out);

/* ---- step 2: an open loop ---- */

#define NO_REPLY SIZE_MAX

/* What the loop is driven with.  Each function gets self. */
struct wire {
    void *self;
    uint64_t (*now)(void *self);

    /* Sends request i.  False: the wire takes no more now; try again later. */
    bool (*send)(void *self, size_t i);

    /* Sleeps until an answer is there, until the wire takes more after a send
     * that was refused, or until until_ns.  Returns the number of the request
     * that was answered, or NO_REPLY.  Answers may come in any order. */
    size_t (*wait)(void *self, uint64_t until_ns);
};

/* Sends n requests at when_ns(start_ns, i, rate), never early, in order,
 * whether or not earlier ones have been answered.  A request that could not be
 * sent in time keeps its intended time and is sent as soon as the wire takes
 * it; none is left out.  Ends when all are answered, or at end_ns.  Fills
 * s[0..n) and returns how many were answered.  Sleeps in wait() whenever there
 * is nothing to send. */
size_t open_loop(const struct wire *w, uint64_t start_ns, uint64_t rate,
                 size_t n, uint64_t end_ns, struct sample *s);

/* The correction after the fact, for latencies of a closed loop that meant to
 * send a request every interval_ns: behind a latency L > interval_ns belong
 * the requests that were not sent meanwhile, with L - interval_ns,
 * L - 2 interval_ns, ... as long as that is interval_ns or more.  Writes each
 * latency and those behind it, in this order, as far as room goes, and returns
 * how many there are in all.  interval_ns > 0. */
size_t add_missing(const uint64_t *latency, size_t n, uint64_t interval_ns,
                   uint64_t *out, size_t room);

/* ---- step 4: a fair comparison ---- */

/* The order of visits in one block, 2 * servers numbers: all servers in an
 * order that random decides, each order as likely as any other, and then the
 * same backwards.  random(self) gives 32 random bits; servers <= 16. */
void block_order(unsigned servers, uint32_t (*random)(void *self), void *self,
                 unsigned *visits);

/* The exact interval of a median: the largest k for which the k-th lowest and
 * the k-th highest of n values hold the true median between them with at least
 * MEASURE_COVER_PCT percent, 1 - 2 P(Binomial(n, 1/2) < k).  *covered: that
 * probability.  0, and *covered 0, when there is no such k.  n <= 500. */
unsigned median_rank(unsigned n, double *covered);

/* One measured window of one server.  Visits of one block are neighbours. */
struct slice {
    unsigned block, server;
    double cost;        /* CPU time of a request */
    double client_busy; /* share of its core that the client used, 0 to 1 */
};

enum verdict {
    VERDICT_LESS,   /* a costs less than b */
    VERDICT_MORE,   /* a costs more than b */
    VERDICT_EQUAL,  /* not distinguishable */
    VERDICT_CLIENT, /* not distinguishable, and the client was the limit */
    VERDICT_FEW,    /* too few blocks for an interval */
};

struct comparison {
    unsigned blocks; /* that counted */
    double median, low, high;
    enum verdict verdict;
};

enum { BLOCKS_MOST = 200 }; /* block numbers are below it */

/* Server a beside server b.  The ratio of a block is the mean cost of a's
 * visits in it over the mean of b's; a block without visits of both does not
 * count.  median: of the ratios, the mean of the middle two when their number
 * is even.  low, high: see median_rank(); the verdict is less or more when 1
 * lies outside of them.  The client was the limit when its busy share was above
 * MEASURE_BUSY_PCT percent in any visit of a block that counts; that forbids to
 * call two servers equal, and nothing else.  With too few blocks low and high
 * are 0; without any, median too. */
struct comparison compare(const struct slice *s, size_t n, unsigned a,
                          unsigned b);

#endif
