/* Counters: the text is held against a strict reader of Prometheus text, at
 * every size of buffer, and while other threads count and register. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "race.h"
#include "stats.h"

enum { MAX_METRICS = 64, MAX_WORKERS = 16, TEXT_MAX = 256 * 1024 };

/* What the reader has read. */
struct text {
    int metrics;
    struct read_metric {
        char name[64];
        bool counter;
        int workers;
        int worker[MAX_WORKERS];
        uint64_t value[MAX_WORKERS];
    } metric[MAX_METRICS];
};

static const char *take(const char *p, const char *what)
{
    size_t n = strlen(what);

    cr_assert_eq(strncmp(p, what, n), 0, "expected '%s' at '%.60s'", what, p);
    return p + n;
}

static const char *take_name(const char *p, char *dst, size_t cap)
{
    size_t n = 0;

    for (; isalnum((unsigned char)p[n]) || p[n] == '_'; n++) {
        cr_assert_lt(n + 1, cap);
        dst[n] = p[n];
    }
    cr_assert(n > 0 && !isdigit((unsigned char)*dst), "no name: '%.60s'", p);
    dst[n] = '\0';
    return p + n;
}

static const char *take_number(const char *p, uint64_t *value)
{
    char *end;

    cr_assert(isdigit((unsigned char)*p), "no number: '%.60s'", p);
    *value = strtoull(p, &end, 10);
    return end;
}

static const char *read_metric(const char *p, struct read_metric *m)
{
    char name[64];
    uint64_t n;

    p = take_name(take(p, "# HELP "), m->name, sizeof m->name);
    p = take(p, " ");
    cr_assert(isalpha((unsigned char)*p), "no help: '%.60s'", p);
    for (; *p != '\n'; p++)
        cr_assert(isprint((unsigned char)*p) && *p != '\\', "'%.60s'", p);
    p = take_name(take(p, "\n# TYPE "), name, sizeof name);
    cr_assert_str_eq(name, m->name);
    m->counter = strncmp(p, " counter", 8) == 0;
    p = take(take(p, m->counter ? " counter" : " gauge"), "\n");
    for (; strncmp(p, "# ", 2) != 0 && *p; m->workers++) {
        cr_assert_lt(m->workers, MAX_WORKERS);
        p = take_name(p, name, sizeof name);
        cr_assert_str_eq(name, m->name);
        p = take_number(take(p, "{worker=\""), &n);
        m->worker[m->workers] = (int)n;
        p = take_number(take(p, "\"} "), &m->value[m->workers]);
        p = take(p, "\n");
        for (int i = 0; i < m->workers; i++)
            cr_assert_neq(m->worker[i], (int)n, "two samples of one series");
    }
    return p;
}

static void read_text(const char *p, struct text *t)
{
    *t = (struct text){0};
    for (; *p; t->metrics++) {
        cr_assert_lt(t->metrics, MAX_METRICS);
        p = read_metric(p, &t->metric[t->metrics]);
        for (int i = 0; i < t->metrics; i++)
            cr_assert_str_neq(t->metric[i].name, t->metric[t->metrics].name);
    }
}

/* All of it through a buffer of cap bytes; every piece is of whole lines. */
static const char *whole(size_t cap, char *dst)
{
    char piece[8192 + 1];
    uint32_t cursor = 0;
    size_t n, len = 0;

    cr_assert_leq(cap, sizeof piece - 1);
    for (;;) {
        memset(piece, '#', sizeof piece);
        n = stats_prometheus(&cursor, piece, cap);
        cr_assert_leq(n, cap);
        for (size_t i = cap; i < sizeof piece; i++)
            cr_assert_eq(piece[i], '#', "wrote past the end");
        if (n == 0)
            break;
        cr_assert_eq(piece[n - 1], '\n', "a line is cut");
        cr_assert_lt(len + n, TEXT_MAX);
        memcpy(dst + len, piece, n);
        len += n;
    }
    cr_assert_eq(stats_prometheus(&cursor, piece, cap), 0, "it goes on");
    dst[len] = '\0';
    return dst;
}

static uint64_t *counter_at(struct text *t, const char *name, int worker)
{
    for (int i = 0; i < t->metrics; i++)
        for (int k = 0; k < t->metric[i].workers; k++)
            if (strcmp(t->metric[i].name, name) == 0 &&
                t->metric[i].worker[k] == worker)
                return &t->metric[i].value[k];
    return NULL;
}

static struct stats st[40];
static char text[TEXT_MAX];
static struct text got;

/* What a stage may count beside the common list. */
/* clang-format off */
#define OWN_LIST(X)                                                            \
    X(baked, counter, "loaves that came out of the oven")                      \
    X(rising, gauge, "loaves that are not there yet")                          \
    X(eaten, counter, "loaves that are gone")
/* clang-format on */
STATS_OWN(OWN_LIST);

/* A value for each counter and entry that no other has. */
static uint64_t unlike(int metric, int entry)
{
    return (uint64_t)(metric + 1) * 1000003 * (uint64_t)(entry + 1);
}

static void count_unlike(int entry)
{
    int metric = 0;

#define X(name, kind, help) STAT_ADD(&st[entry], name, unlike(metric++, entry));
    STATS_LIST(X)
#undef X
#define X(name, kind, help) OWN_ADD(&st[entry], name, unlike(metric++, entry));
    OWN_LIST(X)
#undef X
}

/* The metric at that place of the text, for workers 0, 3, 6, 9, 12. */
static void check_metric(int metric, const char *name, const char *kind,
                         const char *help)
{
    bool counter = strcmp(kind, "counter") == 0;
    char full[64], line[256];

    snprintf(full, sizeof full, "ioladder_%s%s", name, counter ? "_total" : "");
    snprintf(line, sizeof line, "# HELP %s %s\n", full, help);
    cr_assert_str_eq(got.metric[metric].name, full);
    cr_assert_eq(got.metric[metric].counter, counter);
    cr_assert_not_null(strstr(text, line));
    cr_assert_eq(got.metric[metric].workers, 5);
    for (int i = 0; i < 5; i++) {
        uint64_t *v = counter_at(&got, full, i * 3);

        cr_assert_not_null(v, "%s of worker %d", full, i * 3);
        cr_assert_eq(*v, unlike(metric, i), "%s", full);
    }
}

Test(stats, each_counter_of_each_worker_is_there_with_its_value)
{
    int metric = 0;

    stats_own(own_metrics, OWN_COUNTERS);
    for (int i = 0; i < 5; i++) {
        memset(&st[i], 0xa5, sizeof st[i]); /* register zeroes it */
        stats_register(&st[i], i * 3);
        count_unlike(i);
    }
    read_text(whole(8192, text), &got);
#define X(name, kind, help) check_metric(metric++, #name, #kind, help);
    STATS_LIST(X)
    OWN_LIST(X)
#undef X
    cr_assert_eq(got.metrics, metric);
}

Test(stats, own_counters_are_not_there_unasked)
{
    stats_register(&st[0], 0);
    OWN_ADD(&st[0], eaten, 3);
    read_text(whole(8192, text), &got);
    cr_assert_null(strstr(text, "eaten"));
    stats_own(own_metrics, OWN_COUNTERS);
    stats_line(text, sizeof text);
    cr_assert_str_eq(text, "eaten 3");
}

Test(stats, entries_with_one_worker_are_one_series)
{
    for (int i = 0; i < 40; i++) {
        stats_register(&st[i], (i * 7) % 4);
        STAT_ADD(&st[i], requests, 1u << (i % 4 + i * 7 % 4));
    }
    read_text(whole(8192, text), &got);
    for (int w = 0; w < 4; w++) {
        uint64_t sum = 0;
        uint64_t *v = counter_at(&got, "ioladder_requests_total", w);

        for (int i = 0; i < 40; i++)
            if (st[i].worker == w)
                sum += st[i].requests;
        cr_assert_not_null(v);
        cr_assert_eq(*v, sum);
    }
}

Test(stats, any_buffer_of_512_bytes_or_more_gives_the_same_text)
{
    static char reference[TEXT_MAX];

    for (int i = 0; i < 9; i++) {
        stats_register(&st[i], i);
        STAT_ADD(&st[i], bytes_out, UINT64_MAX - (unsigned)i); /* 20 digits */
    }
    whole(8192, reference);
    read_text(reference, &got);
    for (size_t cap = 512; cap <= 8192; cap += cap < 1400 ? 1 : 97)
        cr_assert_str_eq(whole(cap, text), reference, "cap %zu", cap);
}

Test(stats, without_workers_there_are_only_comments)
{
    read_text(whole(512, text), &got);
    cr_assert_gt(got.metrics, 10);
    for (int i = 0; i < got.metrics; i++)
        cr_assert_eq(got.metric[i].workers, 0);
}

Test(stats, the_line_has_sums_and_no_zeros)
{
    char line[1024], cut[64];
    size_t len;

    memset(line, '#', sizeof line);
    cr_assert_eq(stats_line(line, sizeof line), 0);
    cr_assert_str_eq(line, "");
    stats_register(&st[0], 0);
    stats_register(&st[1], 1);
    cr_assert_eq(stats_line(line, sizeof line), 0);
    STAT_ADD(&st[0], accepted, 2);
    STAT_ADD(&st[1], accepted, 40);
    STAT_ADD(&st[1], bytes_out, 7);
    STAT_ADD(&st[0], events, 1);
    len = stats_line(line, sizeof line);
    cr_assert_str_eq(line, "accepted 42 bytes_out 7 events 1");
    cr_assert_eq(len, strlen(line));
    /* Too small: whole pairs, terminated, nothing past the end. */
    for (size_t cap = 1; cap <= len; cap++) {
        memset(cut, '#', sizeof cut);
        cr_assert_eq(stats_line(cut, cap), strlen(cut));
        cr_assert_lt(strlen(cut), cap);
        cr_assert_eq(cut[cap], '#');
        cr_assert_eq(strncmp(cut, line, strlen(cut)), 0);
        if (strlen(cut) == 0)
            continue;
        cr_assert(line[strlen(cut)] == ' ', "cut to '%s'", cut);
        cr_assert(isdigit((unsigned char)cut[strlen(cut) - 1]));
    }
}

/* Writers count, one thread registers more entries, readers read. */

enum { WRITERS = 3, COUNTS = 60000 };

static _Atomic bool stop;

static void *write_counts(void *arg)
{
    struct stats *mine = arg;

    for (int i = 0; i < COUNTS; i++) {
        STAT_ADD(mine, requests, 1);
        STAT_ADD(mine, bytes_in, 3);
    }
    return NULL;
}

static void *register_more(void *arg)
{
    for (int i = WRITERS; i < 40; i++) {
        stats_register(&st[i], i % 7);
        STAT_ADD(&st[i], closed, 1);
    }
    return arg;
}

static void *read_counts(void *arg)
{
    uint32_t cursor;
    char piece[700];
    uint64_t *line_seen = arg;

    do { /* at least once, however late this thread gets a core */
        size_t n;

        cursor = 0;
        while ((n = stats_prometheus(&cursor, piece, sizeof piece)) > 0)
            *line_seen += piece[n - 1] == '\n';
        stats_line(piece, sizeof piece);
    } while (!atomic_load(&stop));
    return NULL;
}

Test(stats, readers_registrations_and_writers_at_once)
{
    pthread_t writer[WRITERS], reader[2], adder;
    uint64_t seen[2] = {0}, last = 0;

    for (int i = 0; i < WRITERS; i++)
        stats_register(&st[i], i);
    for (int i = 0; i < 2; i++)
        pthread_create(&reader[i], NULL, read_counts, &seen[i]);
    for (int i = 0; i < WRITERS; i++)
        pthread_create(&writer[i], NULL, write_counts, &st[i]);
    pthread_create(&adder, NULL, register_more, NULL);
    for (int round = 0; round < 50; round++) {
        uint64_t sum = 0;

        read_text(whole(600, text), &got);
        for (int w = 0; w < WRITERS; w++)
            sum += *counter_at(&got, "ioladder_requests_total", w);
        cr_assert_geq(sum, last, "a counter went down");
        last = sum;
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writer[i], NULL);
    pthread_join(adder, NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(reader[i], NULL);
    cr_assert(seen[0] > 0 && seen[1] > 0);
    read_text(whole(600, text), &got);
    cr_assert_eq(*counter_at(&got, "ioladder_requests_total", 0), COUNTS);
    cr_assert_eq(*counter_at(&got, "ioladder_bytes_in_total", 2), 3 * COUNTS);
    stats_line(text, sizeof text);
    cr_assert_str_eq(text, "closed 37 requests 180000 bytes_in 540000");
}

static struct stats many[2][RACE_STEPS];

static void register_one(int me, int i)
{
    stats_register(&many[me][i], 1);
    STAT_ADD(&many[me][i], accepted, 1);
}

Test(stats, no_registration_is_lost_in_a_race)
{
    char line[64], expect[64];

    race(register_one);
    stats_line(line, sizeof line);
    snprintf(expect, sizeof expect, "accepted %d", 2 * RACE_STEPS);
    cr_assert_str_eq(line, expect);
}

/* What is given back is lent again, with its counts; a counter never falls. */
Test(stats, lent_blocks_keep_their_counts)
{
    struct stats *a = stats_lend(), *b = stats_lend();
    char line[64];

    cr_assert(a && b && a != b);
    cr_assert_eq((uintptr_t)a % 128, 0);
    STAT_ADD(a, requests, 3);
    STAT_ADD(b, requests, 4);
    stats_give(a);
    stats_give(b);
    cr_assert_eq(stats_lend(), b, "not the one given back last");
    cr_assert_eq(stats_lend(), a);
    STAT_ADD(a, requests, 1);
    stats_line(line, sizeof line);
    cr_assert_str_eq(line, "requests 8");
    for (int i = 0; i < 5; i++) {
        struct stats *c = stats_lend();

        cr_assert(c && c != a && c != b);
        stats_give(c);
        cr_assert_eq(stats_lend(), c);
    }
}

static struct stats *_Atomic lent;

static void *give_back(void *arg)
{
    (void)arg;
    for (int i = 0; i < COUNTS; i++) {
        struct stats *mine;

        while (!(mine = atomic_exchange(&lent, NULL)))
            ;
        STAT_ADD(mine, works, 1);
        stats_give(mine);
    }
    return NULL;
}

/* Two threads count and give back what this one lends. */
Test(stats, no_count_is_lost_between_two_borrowers)
{
    pthread_t t[2];
    char line[64], expect[64];

    for (int i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, give_back, NULL);
    for (int i = 0; i < 2 * COUNTS; i++) {
        struct stats *next = stats_lend(), *none = NULL;

        while (!atomic_compare_exchange_weak(&lent, &none, next))
            none = NULL;
    }
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    stats_line(line, sizeof line);
    snprintf(expect, sizeof expect, "works %d", 2 * COUNTS);
    cr_assert_str_eq(line, expect);
}

/* A bigger struct, or one whose neighbour shares a line, would be a bug. */
Test(stats, writers_share_no_line)
{
    cr_assert_eq(sizeof(struct stats) % 128, 0);
    cr_assert_eq((uintptr_t)&st[1] % 128, 0);
}
