/* test_hist.c - the histogram against sorted samples. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "draw.h"
#include "hist.h"

enum { SAMPLES = 200000 };

static const double points[] = {0,  1,    25,    50,     75, 90,
                                99, 99.9, 99.99, 99.999, 100};

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static struct hist *new_hist(void)
{
    struct hist *h = malloc(sizeof(*h));

    cr_assert_not_null(h);
    hist_reset(h);
    return h;
}

/* A latency-like value: most are tens of microseconds, some are seconds. */
static uint64_t sample(struct rng *r, int shape)
{
    switch (shape) {
    case 0:
        return rng_next(r) % 3000; /* cells of one value, and the first
                                        * wider ones */
    case 1:
        return (uint64_t)rng_exp(r, 50000);
    case 2:
        return rng_unit(r) < 0.99 ? 20000 + rng_next(r) % 1000
                                  : 200000000 + rng_next(r) % 1000;
    default:
        return (uint64_t)exp2(rng_unit(r) * 42);
    }
}

static uint64_t exact(const uint64_t *sorted, size_t n, double p)
{
    size_t rank = (size_t)ceil(p / 100 * (double)n - 1e-6);

    return sorted[rank == 0 ? 0 : rank - 1];
}

Test(hist, percentiles_are_those_of_the_sorted_samples)
{
    uint64_t *all = malloc(SAMPLES * sizeof(*all));
    struct rng r;

    rng_seed(&r, 11);
    for (int shape = 0; shape < 4; shape++) {
        struct hist *h = new_hist();
        double sum = 0;

        for (size_t i = 0; i < SAMPLES; i++) {
            all[i] = sample(&r, shape);
            sum += (double)all[i];
            hist_add(h, all[i]);
        }
        qsort(all, SAMPLES, sizeof(*all), by_value);
        for (size_t i = 0; i < sizeof(points) / sizeof(*points); i++) {
            uint64_t want = exact(all, SAMPLES, points[i]);
            uint64_t got = hist_percentile(h, points[i]);

            cr_assert(got >= want && got - want <= want / 1024,
                      "shape %d, p%g: %llu, exact %llu", shape, points[i],
                      (unsigned long long)got, (unsigned long long)want);
        }
        cr_assert_eq(h->max, all[SAMPLES - 1]);
        cr_assert_eq(h->min, all[0]);
        cr_assert_eq(hist_percentile(h, 100), all[SAMPLES - 1]);
        cr_assert_float_eq(hist_mean(h), sum / SAMPLES, sum / SAMPLES * 1e-9);
        free(h);
    }
    free(all);
}

Test(hist, rank_is_exact_where_binary_fractions_are_not)
{
    struct hist *h = new_hist();

    for (uint64_t v = 1; v <= 1000; v++)
        hist_add(h, v);
    cr_assert_eq(hist_percentile(h, 99.9), 999);
    cr_assert_eq(hist_percentile(h, 99), 990);
    cr_assert_eq(hist_percentile(h, 50), 500);
    cr_assert_eq(hist_percentile(h, 50.05), 501);
    free(h);
}

Test(hist, empty_and_single)
{
    struct hist *h = new_hist();

    cr_assert_eq(hist_percentile(h, 99), 0);
    cr_assert_eq(hist_mean(h), 0);
    cr_assert_eq(hist_stddev(h), 0);
    hist_add(h, 123456789);
    for (size_t i = 0; i < sizeof(points) / sizeof(*points); i++)
        cr_assert_eq(hist_percentile(h, points[i]), 123456789);
    free(h);
}

Test(hist, cells_meet_without_gap_or_overlap)
{
    for (unsigned i = 0; i + 1 < HIST_CELLS; i++) {
        uint64_t top = hist_cell_top(i);

        cr_assert_eq(hist_cell(top), i);
        cr_assert_eq(hist_cell(top + 1), i + 1);
    }
    cr_assert_eq(hist_cell(0), 0);
    cr_assert_eq(hist_cell(UINT64_MAX), HIST_CELLS - 1);
}

Test(hist, values_beyond_the_last_cell_keep_count_and_maximum)
{
    struct hist *h = new_hist();
    uint64_t huge = (uint64_t)1 << 50;

    hist_add(h, 10);
    hist_add(h, huge);
    cr_assert_eq(h->count, 2);
    cr_assert_eq(hist_percentile(h, 100), huge);
    cr_assert_eq(hist_percentile(h, 50), 10);
    free(h);
}

Test(hist, merging_equals_adding_to_one)
{
    struct hist *parts[3] = {new_hist(), new_hist(), new_hist()};
    struct hist *all = new_hist(), *sum = new_hist();
    struct rng r;

    rng_seed(&r, 5);
    for (int i = 0; i < 30000; i++) {
        uint64_t v = sample(&r, i % 4);

        hist_add(parts[i % 3], v);
        hist_add(all, v);
    }
    for (int i = 0; i < 3; i++)
        hist_merge(sum, parts[i]);
    cr_assert_eq(memcmp(sum, all, sizeof(*all)), 0);
    hist_reset(parts[0]);
    hist_merge(sum, parts[0]); /* an empty one changes nothing */
    cr_assert_eq(memcmp(sum, all, sizeof(*all)), 0);
    for (int i = 0; i < 3; i++)
        free(parts[i]);
    free(all);
    free(sum);
}

Test(hist, deviation_of_known_values)
{
    struct hist *h = new_hist();

    for (int i = 0; i < 4; i++)
        hist_add(h, (uint64_t[]){2, 4, 4, 6}[i]);
    cr_assert_float_eq(hist_stddev(h), sqrt(2), 1e-9);
    free(h);
}

/* Reads what hist_write_hgrm() wrote, line by line, as a plotter would. */
static void check_hgrm(const struct hist *h, const char *text)
{
    char line[256], name[32];
    double value, p, above, last_value = -1, last_p = -1;
    unsigned long long total, last_total = 0;
    int rows = 0, footers = 0;
    FILE *f = fmemopen((void *)text, strlen(text), "r");

    cr_assert_not_null(fgets(line, sizeof(line), f));
    cr_assert_eq(sscanf(line, " Value Percentile TotalCount %31s", name), 1);
    cr_assert_str_eq(name, "1/(1-Percentile)");
    cr_assert_not_null(fgets(line, sizeof(line), f));
    cr_assert_str_eq(line, "\n");
    while (fgets(line, sizeof(line), f)) {
        int n = sscanf(line, "%lf %lf %llu %lf", &value, &p, &total, &above);

        if (line[0] == '#') {
            footers++;
            continue;
        }
        cr_assert_eq(footers, 0);
        cr_assert(n == 4 || (n == 3 && p == 1), "row: %s", line);
        cr_assert(value >= last_value && p > last_p && total >= last_total);
        cr_assert(p * (double)h->count <= (double)total + 1e-3);
        cr_assert_float_eq(value, (double)hist_percentile(h, p * 100) / 1000,
                           value * 2e-3 + 1e-3);
        if (n == 4)
            cr_assert_float_eq(above, 1 / (1 - p), 0.01 * above + 0.01);
        last_value = value;
        last_p = p;
        last_total = total;
        rows++;
    }
    fclose(f);
    cr_assert(rows > 20);
    cr_assert_eq(footers, 3);
    cr_assert_eq(last_p, 1);
    cr_assert_eq(last_total, h->count);
}

Test(hist, hgrm_reads_back)
{
    struct hist *h = new_hist();
    char *text = NULL;
    size_t len = 0;
    struct rng r;
    FILE *f;

    rng_seed(&r, 3);
    for (int i = 0; i < 100000; i++)
        hist_add(h, sample(&r, i % 2 ? 1 : 2));
    f = open_memstream(&text, &len);
    cr_assert_eq(hist_write_hgrm(h, f), 0);
    fclose(f);
    check_hgrm(h, text);
    cr_assert_not_null(strstr(text, "#[Mean    = "));
    cr_assert_not_null(strstr(text, "Total count    =       100000]"));
    free(text);
    free(h);
}

Test(hist, hgrm_reports_a_failed_write)
{
    struct hist *h = new_hist();
    FILE *f = fopen("/dev/full", "w");

    cr_assert_not_null(f);
    setvbuf(f, NULL, _IONBF, 0);
    hist_add(h, 1);
    cr_assert_eq(hist_write_hgrm(h, f), -1);
    fclose(f);
    free(h);
}
