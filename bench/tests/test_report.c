/* test_report.c - who was the limit, and whose pause it was. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "report.h"

enum { US = 1000, MS = 1000000 };

/* A run of one second, all cpus half busy, and nothing late. */
static struct result calm(struct config *cf, double rate)
{
    struct result r = {.cf = cf, .duration_s = 1, .busy_max = 0.5};

    *cf = (struct config){.rate = rate};
    r.have_server = true;
    r.server_s = 0.5;
    r.server_cpus = 1;
    r.marks = calloc(1, sizeof(*r.marks));
    cr_assert_not_null(r.marks);
    hist_reset(&r.marks->latency);
    hist_reset(&r.marks->lateness);
    r.sum.requests = r.arrivals = 1000;
    return r;
}

static void add(struct result *r, int n, uint64_t latency, uint64_t late,
                uint64_t blame)
{
    for (int i = 0; i < n; i++) {
        hist_add(&r->marks->latency, latency);
        hist_add(&r->marks->lateness, late);
        r->marks->blame[hist_cell(latency)] += blame;
    }
}

static void judged(struct result *r, const char *want)
{
    report_judge(r);
    cr_assert_str_eq(r->limited_by, want);
    free(r->marks);
}

Test(report, closed_loop)
{
    struct config cf;
    struct result r = calm(&cf, 0);

    judged(&r, "none");
    r = calm(&cf, 0);
    r.busy_max = 0.91;
    judged(&r, "generator");
    r = calm(&cf, 0);
    r.busy_max = 0.99;
    r.server_s = 0.99; /* what it has to spare, smaller batches have eaten */
    judged(&r, "generator");
    r = calm(&cf, 0);
    r.busy_max = 0.89;
    r.server_s = 0.91;
    judged(&r, "server");
    r = calm(&cf, 0);
    r.server_s = 1.2; /* of four cpus */
    r.server_cpus = 4;
    judged(&r, "none");
    r = calm(&cf, 0);
    r.have_server = false; /* unknown: only the generator's own is known */
    r.server_s = 0;
    r.busy_max = 0.99;
    judged(&r, "generator");
}

Test(report, open_loop)
{
    struct config cf;
    struct result r = calm(&cf, 1000);

    add(&r, 1000, 500 * US, 1 * US, 1 * US);
    judged(&r, "none");

    r = calm(&cf, 1000); /* a tenth of the p99 is the most it may be late */
    add(&r, 1000, 500 * US, 60 * US, 60 * US);
    judged(&r, "generator");

    r = calm(&cf, 1000); /* late so rarely that p99 does not see it */
    add(&r, 995, 500 * US, 1 * US, 1 * US);
    add(&r, 5, 600 * US, 100 * US, 100 * US);
    judged(&r, "none");

    r = calm(&cf, 1000); /* sent in time, and read late */
    add(&r, 980, 500 * US, 1 * US, 1 * US);
    add(&r, 20, 9 * MS, 1 * US, 8 * MS);
    judged(&r, "generator");

    r = calm(&cf, 1000); /* the same, and it was the server */
    add(&r, 980, 500 * US, 1 * US, 1 * US);
    add(&r, 20, 9 * MS, 1 * US, 1 * US);
    judged(&r, "none");

    r = calm(&cf, 1000); /* behind, and not for want of sending */
    add(&r, 1000, 900 * MS, 1 * US, 1 * US);
    r.sum.requests = 980;
    judged(&r, "server");

    r = calm(&cf, 1000); /* behind because nothing was sent in time */
    add(&r, 1000, 900 * MS, 800 * MS, 800 * MS);
    r.sum.requests = 980;
    judged(&r, "generator");
}

Test(report, few_requests_are_judged_by_their_middle)
{
    struct config cf;
    struct result r = calm(&cf, 7.5);

    r.sum.requests = r.arrivals = 15; /* one of them late: it is its p99 */
    add(&r, 14, 120 * US, 4 * US, 4 * US);
    add(&r, 1, 2400 * US, 2300 * US, 2300 * US);
    judged(&r, "none");

    r = calm(&cf, 100); /* more than ten late ones count */
    r.sum.requests = r.arrivals = 200;
    add(&r, 185, 120 * US, 4 * US, 4 * US);
    add(&r, 15, 2400 * US, 2300 * US, 2300 * US);
    judged(&r, "generator");

    r = calm(&cf, 3); /* all of them late */
    r.sum.requests = r.arrivals = 6;
    add(&r, 6, 200 * US, 60 * US, 60 * US);
    judged(&r, "generator");
}

Test(report, a_quota_is_named)
{
    struct config cf;

    for (int side = 0; side < 2; side++) {
        struct result r = calm(&cf, 0);

        r.busy_max = 0.99;
        r.quota[0][side] = (struct quota){0.5, 100, 7.0};
        r.quota[1][side] = (struct quota){0.5, 110, 7.5};
        judged(&r, "quota");
    }
    struct result r = calm(&cf, 0);

    r.quota[0][0] = (struct quota){0.5, 100, 7.0};
    r.quota[1][0] = (struct quota){0.5, 101, 7.005}; /* once, and shortly */
    judged(&r, "none");
}

Test(report, blame_is_that_of_the_slowest)
{
    struct config cf;
    struct result r = calm(&cf, 1000);

    add(&r, 9900, 1 * MS, 0, 0);
    add(&r, 90, 100 * MS, 0, 0);        /* the server's */
    add(&r, 10, 200 * MS, 0, 190 * MS); /* ours */
    cr_assert_float_eq(report_blame(r.marks, 100), 0.95, 0.001);
    cr_assert_float_eq(report_blame(r.marks, 99.95), 0.95, 0.001);
    cr_assert_float_eq(report_blame(r.marks, 99.5), 1900.0 / 11000, 0.001);
    cr_assert_float_eq(report_blame(r.marks, 50), 1900.0 / 20900, 0.001);
    free(r.marks);
}
