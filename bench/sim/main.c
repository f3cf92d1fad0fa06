/* main.c - the command line of the simulator; what it does: sim.h.
 *
 *   build/sim --policy rescue --cores 64 --load 0.7 --service bimodal:...
 *
 * One JSON object on stdout; times in microseconds.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static const char *const policy_names[POLICIES] = {"one",  "hash",  "mutex",
                                                   "ring", "steal", "rescue"};

static double us_at(const struct hist *h, double p)
{
    return (double)hist_percentile(h, p) / 1e3;
}

static void print_hist(const char *name, const struct hist *h)
{
    double n = (double)h->count;

    printf("  \"%s\": {\"count\": %.0f, \"mean\": %.3f, \"p50\": %.3f, "
           "\"p90\": %.3f, \"p99\": %.3f, \"p99.9\": %.3f, \"max\": %.3f},\n",
           name, n, n > 0 ? (double)h->sum / n / 1e3 : 0, us_at(h, 50),
           us_at(h, 90), us_at(h, 99), us_at(h, 99.9), us_at(h, 100));
}

static void print(const struct config *cf, const char *service,
                  const struct found *f)
{
    printf("{\"schema\": \"ioladder-sim/1\", \"simulated\": true,\n"
           "  \"policy\": \"%s\", \"cores\": %d, \"load\": %.4f, "
           "\"rate\": %.1f, \"service\": \"%s\", \"seed\": %llu,\n",
           policy_names[cf->policy], cf->cores, f->load, f->rate, service,
           (unsigned long long)cf->seed);
    print_hist("latency_us", &f->all);
    print_hist("fast_us", &f->fast);
    printf("  \"throughput\": %.1f, \"busy\": %.4f, \"search\": %.5f, "
           "\"sentinel\": %.5f,\n  \"steals\": %llu, \"rescues\": %llu, "
           "\"wakes\": %llu, \"waited_us\": %.4f}\n",
           f->throughput, f->busy, f->search, f->sentinel,
           (unsigned long long)f->steals, (unsigned long long)f->rescues,
           (unsigned long long)f->wakes, f->waited_us);
}

static double number(const char *name, const char *text, double low,
                     double high)
{
    char *end;
    double v = strtod(text, &end);

    if (end == text || *end || !(v >= low && v <= high)) {
        fprintf(stderr, "sim: --%s %s: not a number from %g to %g\n", name,
                text, low, high);
        exit(64);
    }
    return v;
}

static enum policy policy_of(const char *text)
{
    for (int i = 0; i < POLICIES; i++)
        if (strcmp(text, policy_names[i]) == 0)
            return (enum policy)i;
    fprintf(stderr,
            "sim: --policy %s: one, hash, mutex, ring, steal or "
            "rescue\n",
            text);
    exit(64);
}

/* Options with a number: where it goes, and its bounds. */
struct numeric {
    const char *name;
    double *to, low, high;
};

/* What the numbers below are, before they are whole ones. */
struct counts {
    double cores, cpus, helpers, connections, requests, seed;
};

static void service_of(const char *text, struct config *cf)
{
    if (service_parse(text, &cf->service))
        return;
    fprintf(stderr,
            "sim: --service %s: const:US, exp:US or bimodal:SHARE:US:SLOW_US\n",
            text);
    exit(64);
}

static const char *options_read(int argc, char **argv, struct config *cf,
                                struct counts *n)
{
    const struct numeric all[] = {
        {"cores", &n->cores, 1, MAX_CORES},
        {"cpus", &n->cpus, 0, MAX_CORES},
        {"helpers", &n->helpers, 1, MAX_CORES},
        {"connections", &n->connections, 0, 1e7},
        {"requests", &n->requests, 100, 1e9},
        {"seed", &n->seed, 0, 1e15},
        {"load", &cf->load, 1e-6, 10},
        {"rate", &cf->rate, 1e-3, 1e12},
        {"io-us", &cf->io_us, 0, 1e6},
        {"io-many-us", &cf->io_many_us, 0, 1e6},
        {"hand-us", &cf->hand_us, 0, 1e6},
        {"late-us", &cf->late_us, 0, 1e6},
        {"late-90-us", &cf->late_90_us, 0, 1e7},
        {"late-99-us", &cf->late_99_us, 0, 1e7},
        {"wake-us", &cf->wake_us, 0, 1e6},
        {"steal-us", &cf->steal_us, 0, 1e6},
        {"look-at-us", &cf->look_at_us, 0, 1e6},
        {"stuck-us", &cf->stuck_us, 1, 1e9},
        {"look-us", &cf->look_us, 1, 1e9},
        {"base-us", &cf->base_us, 0, 1e6},
        {"lock-us", &cf->lock_us, 0, 1e6},
        {"line-us", &cf->line_us, 0, 1e6},
    };
    enum { N = sizeof all / sizeof *all };
    struct option options[N + 4] = {{"policy", required_argument, NULL, 'p'},
                                    {"service", required_argument, NULL, 's'},
                                    {"at-once", no_argument, NULL, 'o'}};
    const char *service = "exp:1000";
    int found;

    for (int i = 0; i < N; i++)
        options[i + 3] =
            (struct option){all[i].name, required_argument, NULL, 256 + i};
    while ((found = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (found == 'p')
            cf->policy = policy_of(optarg);
        else if (found == 's')
            service = optarg;
        else if (found == 'o')
            cf->at_once = true;
        else if (found == '?')
            exit(64);
        else
            *all[found - 256].to =
                number(all[found - 256].name, optarg, all[found - 256].low,
                       all[found - 256].high);
    }
    if (optind < argc) {
        fprintf(stderr, "sim: only options, see the head of main.c\n");
        exit(64);
    }
    service_of(service, cf);
    if (cf->late_99_us > 0 &&
        (cf->late_90_us < cf->late_us || cf->late_99_us < cf->late_90_us)) {
        fprintf(stderr, "sim: --late-us, --late-90-us and --late-99-us have to "
                        "grow\n");
        exit(64);
    }
    return service;
}

int main(int argc, char **argv)
{
    static struct found f;
    struct config cf = {.policy = ONE, .load = 0.7, .stuck_us = 100};
    struct counts n = {.cores = 2, .helpers = 8, .requests = 1e6, .seed = 1};
    const char *service = options_read(argc, argv, &cf, &n);

    cf.cores = (int)n.cores;
    cf.cpus = (int)n.cpus;
    cf.helpers = (int)n.helpers;
    cf.connections = n.connections > 0 ? (int)n.connections : 64 * cf.cores;
    cf.requests = (uint64_t)n.requests;
    cf.warmup = cf.requests / 10;
    cf.seed = (uint64_t)n.seed;
    simulate(&cf, &f);
    print(&cf, service, &f);
    return 0;
}
