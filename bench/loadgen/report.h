/* report.h - the result, as JSON and as a few lines for people.
 *
 * limited_by says whether the figures describe the server at all:
 *
 *  quota      a cpu quota stopped one of the sides for over 1 % of the window.
 *  generator  closed loop: its busiest thread used over 90 % of a cpu, whatever
 *             the server did: what such a server has to spare is eaten by
 *             smaller batches, and all servers look alike.
 *             open loop: sends were late by more than 10 % of the latency (both
 *             at p99), or the generator's own delays make up more than half of
 *             the time of the slowest 1 %.  With fewer than 1,000 requests the
 *             sends are judged alone, at the percentile that ten of them lie
 *             beyond, or at the median.
 *  server     its cpus were over 90 % busy, or, in the open loop, fewer than
 *             99 % of the intended requests were answered in the window, and
 *             the generator was not to blame.
 *  none       neither: latency is what limits a closed loop then.
 *
 * tail tells, for the slowest 1 % and 0.1 % and the slowest of all, the share
 * of their time that the generator may have cost, and who has the larger part.
 * A rare pause of either side is named there, when it is too rare to
 * spoil the run.
 */
#ifndef REPORT_H
#define REPORT_H

#include "crowd.h"
#include "load.h"
#include "quota.h"

struct result {
    const struct config *cf;
    double duration_s, qps, achieved_rate;
    int64_t end_ns;       /* of the window, by CLOCK_MONOTONIC */
    struct tally sum;     /* of all threads, in the window */
    uint64_t warm_errors; /* of all kinds, before it */
    uint64_t errors;      /* of all kinds, in it */
    uint64_t unfinished, arrivals;
    struct marks *marks;          /* merged */
    double user_s, sys_s, spin_s; /* spin: polling with nothing to do */
    double busy_max; /* of the busiest thread, without spin: 0 to 1 */
    bool spins;
    int64_t sleeps; /* of all threads, in the window */
    bool have_server;
    double server_s, server_cpus;
    struct server_status before, base,
        after; /* no load yet; window's borders */
    double steal_pct;
    struct crowd_counts idle;
    struct quota quota[2][2]; /* window's borders; the generator's, server's */
    int stopped_by;           /* the signal that cut the window short, or 0 */
    const char *limited_by;
};

void report_json(const struct result *r, FILE *f);
void report_text(const struct result *r, FILE *f);

/* Fills limited_by from the rest. */
void report_judge(struct result *r);

/* The generator's share, 0 to 1, of the time of the slowest requests: those at
 * or above percentile p. */
double report_blame(const struct marks *m, double p);

#endif
