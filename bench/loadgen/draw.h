/* draw.h - what chance decides: arrivals, service times, connections.
 *
 * A seed fixes all draws: two runs with the same seed, threads and options ask
 * for the same things at the same intended times, whatever the server does.
 */
#ifndef DRAW_H
#define DRAW_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
double rng_unit(struct rng *r); /* in [0, 1) */
double rng_exp(struct rng *r, double mean);

/* ---- intended send times ---- */

/* One arrival process.  The next time never depends on how late the last one
 * was served: that is what makes the loop open. */
struct schedule {
    double start_ns, period_ns; /* period: the mean, when poisson */
    double next_ns;
    uint64_t count; /* arrivals taken */
    bool poisson;
    struct rng rng;
};

void schedule_init(struct schedule *s, double start_ns, double period_ns,
                   bool poisson, uint64_t seed);
void schedule_advance(struct schedule *s);
static inline int64_t schedule_next(const struct schedule *s)
{
    return (int64_t)s->next_ns;
}

/* ---- service times ---- */

struct service {
    enum { SERVICE_NONE, SERVICE_CONST, SERVICE_EXP, SERVICE_BIMODAL } kind;
    double slow_share;    /* bimodal: 0 to 1 */
    uint32_t us, slow_us; /* const value, exp mean or fast; slow */
};

enum { SERVICE_MAX_US = 1000000 }; /* what the servers' routes allow */

/* "const:US", "exp:MEAN_US", "bimodal:SHARE_SLOW:FAST_US:SLOW_US".  False when
 * it is not one of these. */
bool service_parse(const char *text, struct service *s);

/* Microseconds to ask for; *slow says which class of a bimodal one it is. */
uint32_t service_draw(const struct service *s, struct rng *r, bool *slow);

/* ---- which connection ---- */

struct pattern {
    enum {
        PATTERN_ANY,     /* whichever is free, longest free first */
        PATTERN_UNIFORM, /* each request belongs to one, drawn evenly */
        PATTERN_HOT,     /* connection 0 gets a share, the rest evenly */
        PATTERN_ZIPF,    /* weight 1 / rank^s */
    } kind;
    double value; /* the share, or s */
};

/* "any", "uniform", "hot:SHARE", "zipf:S".  False when it is not one. */
bool pattern_parse(const char *text, struct pattern *p);

/* The weight of connection i of n; the sum over all is 1 only for hot. */
double pattern_weight(const struct pattern *p, int i, int n);

/* Picks by cumulated weights: cdf[i] grows to cdf[n - 1]. */
int pattern_pick(const double *cdf, int n, struct rng *r);

#endif
