/* stats.h - one list of counters: declared, summed, printed, exported from it.
 *
 * A struct stats has one writer, the thread that runs the connections; anybody
 * may read.  So an update is a relaxed load and a relaxed store: no lock
 * prefix, and no line is shared with another writer (aligned to 128 bytes).
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
    X(handed,        counter, "requests handed to another thread")             \
    X(wakes,         counter, "wake-ups sent to another thread")               \
    X(events,        counter, "events or completions those waits returned")    \
    X(enters,        counter, "batches given to the ring")                     \
    X(completions,   counter, "completions that those batches returned")       \
    X(runs,          counter, "turns that connections were given")             \
    X(injected,      counter, "connections queued by their own events")        \
    X(stolen,        counter, "connections taken from a sibling's queue")      \
    X(rescued,       counter, "events taken from the set of a stuck sibling")  \
    X(searches,      counter, "searches for work elsewhere")                   \
    X(parks,         counter, "sleeps for want of work anywhere")              \
    X(enobufs,       counter, "receives that found no buffer")                 \
    X(zc_copied,     counter, "zero-copy sends that the kernel copied")        \
    X(cq_overflow,   counter, "completions that overflowed the queue")

struct stats {
#define X(name, kind, help) _Atomic uint64_t name;
    _Alignas(128) STATS_LIST(X)
#undef X
    struct stats *next; /* registry */
    int worker;         /* label in /metrics */
};

#define STAT_ADD(st, name, n)                                                  \
    atomic_store_explicit(&(st)->name,                                         \
        atomic_load_explicit(&(st)->name, memory_order_relaxed) + (n),         \
        memory_order_relaxed)
/* clang-format on */

/* Zeroes *st and adds it to the process's registry, for good (lock-free push).
 * *st must live as long as the process. */
void stats_register(struct stats *st, int worker);

/* Writes whole lines of Prometheus text (version 0.0.4) to dst, as many as fit,
 * starting at *cursor (0 at first) and moving it.  Returns the bytes written,
 * 0: all done.  Names are ioladder_NAME_total (counter) or ioladder_NAME
 * (gauge), label worker.  dst must have room for 512 bytes. */
size_t stats_prometheus(uint32_t *cursor, char *dst, size_t cap);

/* One line of "name value" pairs, sums over all workers, zeros left out. */
size_t stats_line(char *dst, size_t cap);

#endif
