/* stats.h - counters: one list declares, sums, prints and exports them.
 *
 * A struct stats has one writer, the thread that runs the connections; any
 * thread may read.  So an update is a relaxed load and a relaxed store: no lock
 * prefix, and no line is shared with another writer (aligned to 128 bytes).
 *
 * STATS_LIST holds what all stages count.  A stage that counts more has a list
 * of its own in the same form:
 *
 *      #define OWN_LIST(X) X(enobufs, counter, "receives without a buffer")
 *      STATS_OWN(OWN_LIST);
 *      stats_own(own_metrics, OWN_COUNTERS);       first thing in main
 *      OWN_ADD(&w->stats, enobufs, 1);
 */
#ifndef STATS_H
#define STATS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* clang-format off */
/*        name           kind     help, for people and Prometheus */
#define STATS_LIST(X)                                                          \
    X(accepted,      counter, "connections accepted")                          \
    X(closed,        counter, "connections closed")                            \
    X(refused,       counter, "accepts that failed for want of descriptors")   \
    X(timeouts,      counter, "connections closed at a deadline")              \
    X(requests,      counter, "requests answered")                             \
    X(client_errors, counter, "answers with a status of 400 to 499")           \
    X(server_errors, counter, "answers with a status of 500 to 599")           \
    X(bytes_in,      counter, "bytes received")                                \
    X(bytes_out,     counter, "bytes sent")                                    \
    X(recvs,         counter, "receive operations")                            \
    X(sends,         counter, "send operations")                               \
    X(reads,         counter, "file read operations")                          \
    X(works,         counter, "handlers that may take long")                   \
    X(waits,         counter, "waits for events (epoll_wait, enter)")          \
    X(events,        counter, "events or completions those waits returned")

enum { STATS_OWN_MAX = 18 }; /* counters of a stage's own */

struct stats {
#define X(name, kind, help) _Atomic uint64_t name;
    _Alignas(128) STATS_LIST(X)
#undef X
    _Atomic uint64_t own[STATS_OWN_MAX];
    struct stats *next; /* registry */
    struct stats *rest; /* the next one that was given back */
    int worker;         /* label in /metrics */
};

#define STAT_ADD(st, name, n)                                                  \
    atomic_store_explicit(&(st)->name,                                         \
        atomic_load_explicit(&(st)->name, memory_order_relaxed) + (n),         \
        memory_order_relaxed)
#define OWN_ADD(st, name, n) STAT_ADD(st, own[OWN_##name], n)

/* Of a stage's list: an enum of indexes, and the texts for stats_own(). */
#define STATS_OWN_INDEX(name, kind, help) OWN_##name,
#define STATS_OWN_TEXT(name, kind, help) {#name, #kind, help},
#define STATS_OWN(LIST)                                                        \
    enum { LIST(STATS_OWN_INDEX) OWN_COUNTERS };                               \
    static const struct own_metric own_metrics[] = {LIST(STATS_OWN_TEXT)}
/* clang-format on */

struct own_metric {
    const char *name, *kind, *help;
};

/* From here on these are counted too, at most STATS_OWN_MAX of them.  Once,
 * before there is another thread. */
void stats_own(const struct own_metric *list, int n);

/* Zeroes *st and adds it to the process's registry, for good (lock-free push).
 * *st must live as long as the process. */
void stats_register(struct stats *st, int worker);

/* A registered block of counters for what lives shorter than the process, or
 * NULL: no memory.  A counter must not go down, so a block that comes back
 * keeps its counts, and the next borrower goes on from them.  One thread
 * borrows; any thread gives back. */
struct stats *stats_lend(void);
void stats_give(struct stats *st);

/* Writes whole lines of Prometheus text (version 0.0.4) to dst, as many as fit,
 * starting at *cursor (0 at first) and moving it.  Returns the bytes written,
 * 0: all done.  Names are ioladder_NAME_total (counter) or ioladder_NAME
 * (gauge), label worker.  dst must have room for 512 bytes. */
size_t stats_prometheus(uint32_t *cursor, char *dst, size_t cap);

/* One line of "name value" pairs, sums over all workers, zeros left out. */
size_t stats_line(char *dst, size_t cap);

#endif
