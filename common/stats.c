/* stats.c - the registry of counters and what is printed from it. */
#include "stats.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* A cursor is the metric and, below it, 0 for the two comment lines or the
 * first worker still to be printed plus 1. */
enum { WORKER_BITS = 20, MAX_WORKER = (1 << WORKER_BITS) - 2 };

#define X(name, kind, help) +1
enum { COMMON = STATS_LIST(X), MOST = COMMON + STATS_OWN_MAX };
#undef X

static struct metric {
    const char *name, *kind, *help;
    size_t offset;
} metrics[MOST] = {
#define X(name, kind, help) {#name, #kind, help, offsetof(struct stats, name)},
    STATS_LIST(X)
#undef X
};

static unsigned n_metrics = COMMON;

static struct stats *_Atomic registry; /* newest first; never shrinks */

void stats_own(const struct own_metric *list, int n)
{
    CHECK(n <= STATS_OWN_MAX);
    for (int i = 0; i < n; i++)
        metrics[COMMON + i] = (struct metric){
            list[i].name, list[i].kind, list[i].help,
            offsetof(struct stats, own) + (size_t)i * sizeof(uint64_t)};
    n_metrics = COMMON + (unsigned)n;
}

void stats_register(struct stats *st, int worker)
{
    struct stats *head;

    CHECK(worker >= 0 && worker <= MAX_WORKER);
#define X(name, kind, help) atomic_init(&st->name, 0);
    STATS_LIST(X)
#undef X
    for (int i = 0; i < STATS_OWN_MAX; i++)
        atomic_init(&st->own[i], 0);
    st->worker = worker;
    head = atomic_load_explicit(&registry, memory_order_relaxed);
    do {
        st->next = head;
    } while (!atomic_compare_exchange_weak_explicit(
        &registry, &head, st, memory_order_release, memory_order_relaxed));
}

static struct stats *_Atomic spare;

/* One thread takes from the stack, so its top cannot be taken and put back
 * meanwhile: the plain exchange is enough. */
struct stats *stats_lend(void)
{
    struct stats *st = atomic_load_explicit(&spare, memory_order_acquire);

    while (st && !atomic_compare_exchange_weak_explicit(&spare, &st, st->rest,
                                                        memory_order_acquire,
                                                        memory_order_acquire))
        ;
    if (st)
        return st;
    st = aligned_alloc(_Alignof(struct stats), sizeof *st);
    if (st)
        stats_register(st, 0);
    return st;
}

void stats_give(struct stats *st)
{
    st->rest = atomic_load_explicit(&spare, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(
        &spare, &st->rest, st, memory_order_release, memory_order_relaxed))
        ;
}

static uint64_t value(const struct stats *st, const struct metric *m)
{
    const void *p = (const char *)st + m->offset;

    return atomic_load_explicit((const _Atomic uint64_t *)p,
                                memory_order_relaxed);
}

/* The sum of m over the entries of the first worker from `from` on, which is
 * returned; -1 when there is none.  Several entries may be one worker's. */
static int sum_worker(const struct metric *m, int from, uint64_t *sum)
{
    int first = -1;

    *sum = 0;
    for (const struct stats *st = atomic_load(&registry); st; st = st->next) {
        if (st->worker < from || (first >= 0 && st->worker > first))
            continue;
        if (st->worker != first)
            *sum = 0;
        first = st->worker;
        *sum += value(st, m);
    }
    return first;
}

size_t stats_prometheus(uint32_t *cursor, char *dst, size_t cap)
{
    size_t len = 0;

    while (*cursor >> WORKER_BITS < n_metrics) {
        const struct metric *m = &metrics[*cursor >> WORKER_BITS];
        const char *end = strcmp(m->kind, "counter") == 0 ? "_total" : "";
        uint32_t next = *cursor & ((1u << WORKER_BITS) - 1);
        uint64_t sum;
        int worker = -1, n = 0;

        if (next == 0) {
            n = snprintf(dst + len, cap - len,
                         "# HELP ioladder_%s%s %s\n# TYPE ioladder_%s%s %s\n",
                         m->name, end, m->help, m->name, end, m->kind);
        } else if ((worker = sum_worker(m, (int)next - 1, &sum)) >= 0) {
            n = snprintf(dst + len, cap - len,
                         "ioladder_%s%s{worker=\"%d\"} %" PRIu64 "\n", m->name,
                         end, worker, sum);
        }
        if ((size_t)n >= cap - len)
            break; /* did not fit whole: the next call starts with it */
        len += (size_t)n;
        if (next != 0 && worker < 0)
            *cursor += (1u << WORKER_BITS) - next;
        else
            *cursor += (uint32_t)(worker + 2) - next; /* 1 after comments */
    }
    return len;
}

size_t stats_line(char *dst, size_t cap)
{
    size_t len = 0;

    if (cap > 0)
        *dst = '\0';
    for (const struct metric *m = metrics; m < metrics + n_metrics; m++) {
        uint64_t sum = 0;
        int n;

        for (struct stats *st = atomic_load(&registry); st; st = st->next)
            sum += value(st, m);
        if (sum == 0)
            continue;
        n = snprintf(dst + len, cap - len, "%s%s %" PRIu64, len ? " " : "",
                     m->name, sum);
        if ((size_t)n >= cap - len) {
            dst[len] = '\0'; /* whole pairs only */
            break;
        }
        len += (size_t)n;
    }
    return len;
}
