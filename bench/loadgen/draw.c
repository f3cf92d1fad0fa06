/* draw.c - see draw.h. */
#include "draw.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* SplitMix64 spreads a small seed over the whole state. */
void rng_seed(struct rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15);

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        r->s[i] = z ^ (z >> 31);
    }
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

/* xoshiro256** of Blackman and Vigna: a few cycles, no visible pattern. */
uint64_t rng_next(struct rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

double rng_unit(struct rng *r)
{
    return (double)(rng_next(r) >> 11) * 0x1p-53;
}

double rng_exp(struct rng *r, double mean)
{
    return -mean * log1p(-rng_unit(r));
}

void schedule_init(struct schedule *s, double start_ns, double period_ns,
                   bool poisson, uint64_t seed)
{
    *s = (struct schedule){.start_ns = start_ns,
                           .period_ns = period_ns,
                           .next_ns = start_ns,
                           .poisson = poisson};
    rng_seed(&s->rng, seed);
    if (poisson)
        s->next_ns += rng_exp(&s->rng, period_ns);
}

void schedule_advance(struct schedule *s)
{
    s->count++;
    if (s->poisson)
        s->next_ns += rng_exp(&s->rng, s->period_ns);
    else /* a product, not a sum: no rounding piles up */
        s->next_ns = s->start_ns + (double)s->count * s->period_ns;
}

/* True when the whole of text was read by the format, which ends in %n. */
#define SCANNED(text, n, want, ...)                                            \
    (sscanf(text, __VA_ARGS__, &(n)) == (want) && (text)[n] == '\0')

bool service_parse(const char *text, struct service *s)
{
    double share = 0;
    unsigned a = 0, b = 0;
    int n = 0;

    if (strchr(text, '-'))
        return false;
    if (SCANNED(text, n, 1, "const:%u%n", &a))
        *s = (struct service){.kind = SERVICE_CONST, .us = a};
    else if (SCANNED(text, n, 1, "exp:%u%n", &a))
        *s = (struct service){.kind = SERVICE_EXP, .us = a};
    else if (SCANNED(text, n, 3, "bimodal:%lf:%u:%u%n", &share, &a, &b))
        *s = (struct service){SERVICE_BIMODAL, share, a, b};
    else
        return false;
    return a <= SERVICE_MAX_US && b <= SERVICE_MAX_US && share >= 0 &&
           share <= 1;
}

uint32_t service_draw(const struct service *s, struct rng *r, bool *slow)
{
    double us;

    *slow = false;
    switch (s->kind) {
    case SERVICE_EXP:
        us = rint(rng_exp(r, s->us));
        return us > SERVICE_MAX_US ? SERVICE_MAX_US : (uint32_t)us;
    case SERVICE_BIMODAL:
        *slow = rng_unit(r) < s->slow_share;
        return *slow ? s->slow_us : s->us;
    case SERVICE_NONE:
    case SERVICE_CONST:
        break;
    }
    return s->us;
}

bool pattern_parse(const char *text, struct pattern *p)
{
    int n = 0;

    if (strcmp(text, "any") == 0)
        *p = (struct pattern){.kind = PATTERN_ANY};
    else if (strcmp(text, "uniform") == 0)
        *p = (struct pattern){.kind = PATTERN_UNIFORM};
    else if (SCANNED(text, n, 1, "hot:%lf%n", &p->value) && p->value <= 1)
        p->kind = PATTERN_HOT;
    else if (SCANNED(text, n, 1, "zipf:%lf%n", &p->value) && p->value <= 10)
        p->kind = PATTERN_ZIPF;
    else
        return false;
    return p->value >= 0;
}

double pattern_weight(const struct pattern *p, int i, int n)
{
    switch (p->kind) {
    case PATTERN_HOT:
        if (n == 1)
            return 1;
        return i == 0 ? p->value : (1 - p->value) / (n - 1);
    case PATTERN_ZIPF:
        return pow(i + 1, -p->value);
    case PATTERN_ANY:
    case PATTERN_UNIFORM:
        break;
    }
    return 1.0 / n;
}

int pattern_pick(const double *cdf, int n, struct rng *r)
{
    double x = rng_unit(r) * cdf[n - 1];
    int low = 0, high = n - 1;

    while (low < high) {
        int mid = low + (high - low) / 2;

        if (x < cdf[mid])
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}
