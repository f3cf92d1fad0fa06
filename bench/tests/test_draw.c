/* test_draw.c - arrivals, service times and connections. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "draw.h"

enum { DRAWS = 200000 };

Test(draw, fixed_arrivals_are_on_the_grid)
{
    struct schedule s;

    schedule_init(&s, 1e18, 1e9 / 3000, false, 1);
    for (int i = 0; i < 3000000; i++)
        schedule_advance(&s);
    /* A thousand seconds later, at a time in nanoseconds that has 19 digits. */
    cr_assert(llabs(schedule_next(&s) - (int64_t)(1e18 + 1e12)) <= 256);
}

Test(draw, poisson_arrivals_have_their_mean_and_spread)
{
    double mean = 20000, last = 0, sum = 0, squares = 0;
    struct schedule s;

    schedule_init(&s, 0, mean, true, 42);
    for (int i = 0; i < DRAWS; i++) {
        double gap = s.next_ns - last;

        cr_assert(gap >= 0);
        sum += gap;
        squares += gap * gap;
        last = s.next_ns;
        schedule_advance(&s);
    }
    cr_assert_float_eq(sum / DRAWS, mean, 0.02 * mean);
    /* Exponential gaps: the deviation equals the mean. */
    cr_assert_float_eq(sqrt(squares / DRAWS - pow(sum / DRAWS, 2)), mean,
                       0.03 * mean);
}

Test(draw, a_seed_fixes_all)
{
    struct schedule a, b, other;
    int same = 0;

    schedule_init(&a, 0, 1000, true, 7);
    schedule_init(&b, 0, 1000, true, 7);
    schedule_init(&other, 0, 1000, true, 8);
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(a.next_ns, b.next_ns);
        same += a.next_ns == other.next_ns;
        schedule_advance(&a);
        schedule_advance(&b);
        schedule_advance(&other);
    }
    cr_assert_eq(same, 0);
}

Test(draw, service_parses_strictly)
{
    static const char *const bad[] = {
        "",          "const",           "const:",       "const:-1",
        "const:1x",  "const:1000001",   "exp:",         "exp:1.5",
        "bimodal:1", "bimodal:2:1:1",   "bimodal:.5:1", "bimodal:-.1:1:1",
        "fixed:10",  "bimodal:.1:1:2:3"};
    struct service s;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert_not(service_parse(bad[i], &s), "'%s'", bad[i]);
    cr_assert(service_parse("const:50", &s));
    cr_assert(s.kind == SERVICE_CONST && s.us == 50);
    cr_assert(service_parse("exp:200", &s));
    cr_assert(s.kind == SERVICE_EXP && s.us == 200);
    cr_assert(service_parse("bimodal:0.005:200:20000", &s));
    cr_assert(s.kind == SERVICE_BIMODAL && s.us == 200 && s.slow_us == 20000);
    cr_assert_float_eq(s.slow_share, 0.005, 1e-12);
}

Test(draw, service_times_follow_their_distribution)
{
    struct service s;
    struct rng r;
    double sum = 0;
    int slows = 0;
    bool slow;

    rng_seed(&r, 1);
    cr_assert(service_parse("exp:200", &s));
    for (int i = 0; i < DRAWS; i++)
        sum += service_draw(&s, &r, &slow);
    cr_assert_float_eq(sum / DRAWS, 200, 4);
    cr_assert(service_parse("bimodal:0.05:10:2000", &s));
    for (int i = 0; i < DRAWS; i++) {
        uint32_t us = service_draw(&s, &r, &slow);

        cr_assert_eq(us, slow ? 2000 : 10);
        slows += slow;
    }
    cr_assert_float_eq((double)slows / DRAWS, 0.05, 0.005);
}

/* How often connection i of n was picked. */
static void count_picks(const char *pattern, int n, int *count)
{
    struct pattern p = {0};
    double cdf[64], sum = 0;
    struct rng r;

    cr_assert(pattern_parse(pattern, &p));
    rng_seed(&r, 9);
    for (int i = 0; i < n; i++) {
        cdf[i] = sum += pattern_weight(&p, i, n);
        count[i] = 0;
    }
    for (int i = 0; i < DRAWS; i++)
        count[pattern_pick(cdf, n, &r)]++;
}

Test(draw, patterns_weigh_connections)
{
    int count[10];

    count_picks("uniform", 10, count);
    for (int i = 0; i < 10; i++)
        cr_assert_float_eq(count[i], DRAWS / 10.0, DRAWS * 0.01);
    count_picks("hot:0.5", 10, count);
    cr_assert_float_eq(count[0], DRAWS / 2.0, DRAWS * 0.01);
    for (int i = 1; i < 10; i++)
        cr_assert_float_eq(count[i], DRAWS / 18.0, DRAWS * 0.01);
    count_picks("zipf:1", 10, count);
    for (int i = 1; i < 10; i++) /* rank 1 to 10: shares as 1/rank */
        cr_assert_float_eq((double)count[0] / count[i], i + 1, 0.15 * (i + 1));
    count_picks("hot:1", 10, count);
    cr_assert_eq(count[0], DRAWS);
}

Test(draw, patterns_parse_strictly)
{
    static const char *const bad[] = {"",        "hot",     "hot:",   "hot:2",
                                      "hot:-.1", "zipf:-1", "zipf:x", "even",
                                      "zipf:11", "hot:.5x", "hot:nan"};
    struct pattern p;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert_not(pattern_parse(bad[i], &p), "'%s'", bad[i]);
}
