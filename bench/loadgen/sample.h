/* sample.h - what the server and the machine have used up.
 *
 * The server's CPU clock is read by a load thread in the very turn in which it
 * passes a border of the measured window: that costs a microsecond.  All else
 * is read from /proc by the main thread, near the border.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"

/* The kernel adds what a running thread has used since its last tick only when
 * it next accounts for it, so a reading may be up to a tick (1 to 4 ms) old. */
struct server_clock {
    int64_t cpu_ns; /* all its processes and threads, ended ones included */
    int64_t at_ns;
};

struct server_status {
    int64_t rss_kib, anon_kib;  /* resident, and of that anonymous */
    int64_t vol_ctx, invol_ctx; /* switches of threads that are alive */
    int64_t minor_faults;
    int threads;
};

struct host_clock {
    int64_t total, steal; /* ticks of all cpus */
};

/* 0, or -1 when a process is gone. */
int server_clock_read(const struct config *cf, struct server_clock *s);
int server_status_read(const struct config *cf, struct server_status *s);
void host_clock_read(struct host_clock *h);

/* The generator's cpus are its own: one for each thread, and none that a thread
 * of the server may run on.  False when nobody said which they are. */
bool cpus_are_ours(const struct config *cf);

/* How many cpus the server can use: those its threads are allowed on, and no
 * more than it has threads. */
double server_cpus(const struct config *cf);

#endif
