/* test_measure.c - lab 8: recorded data of which the truth is known.
 *
 * The open loop runs on a wire without a socket and on a clock that moves only
 * when the loop sends, sleeps or asks: no test depends on the machine's speed.
 */
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "measure.h"
#include "plan.h"

#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

enum { COVER = MEASURE_COVER_PCT, BUSY = MEASURE_BUSY_PCT };

static uint32_t dice(void *self)
{
    uint64_t *state = self;

    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(*state >> 32);
}

/* low .. high; the seed of the course or of the tests decides which. */
static uint64_t drawn(uint64_t low, uint64_t high)
{
    static uint64_t state;
    const char *seed = getenv("SEED");
    uint64_t bits;

    if (state == 0)
        for (state = 1; seed && *seed; seed++)
            state = state * 31 + (unsigned char)*seed;
    bits = dice(&state);
    return low + (bits << 32 | dice(&state)) % (high - low + 1);
}

/* ---- step 1 ---- */

static void expect_time(uint64_t start, uint64_t i, uint64_t rate,
                        uint64_t wanted)
{
    uint64_t got = when_ns(start, i, rate);

    cr_assert_eq(got, wanted,
                 "when_ns(%llu, %llu, %llu): expected %llu, got %llu",
                 (unsigned long long)start, (unsigned long long)i,
                 (unsigned long long)rate, (unsigned long long)wanted,
                 (unsigned long long)got);
}

Test(step1, schedule)
{
    static const struct {
        uint64_t start, i, rate, wanted;
    } cases[] = {
        {0, 0, 1, 0},
        {5, 1, 1000, 1000005},
        {7, 1, 3000, 333340},
        {0, 2, 3000, 666666},
        {0, 3, 3000, 1000000},
        {1000, 3000000, 3000, 1000 * SECOND + 1000},
        {0, 7, 1000000000, 7},
        {0, 9999999999, 7, UINT64_C(1428571428428571428)},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_time(cases[i].start, cases[i].i, cases[i].rate, cases[i].wanted);
    for (int k = 0; k < 200; k++) {
        uint64_t start = drawn(0, 1000 * SECOND), i = drawn(0, 9999999999),
                 rate = drawn(1, 100000), whole = i / rate, rest = i % rate;

        if (whole < 1000000000)
            expect_time(start, i, rate,
                        start + whole * SECOND + rest * SECOND / rate);
    }
}

static void expect_percentile(const uint64_t *v, size_t n, uint32_t ppm,
                              uint64_t wanted)
{
    uint64_t got = percentile(v, n, ppm);

    cr_assert_eq(got, wanted,
                 "percentile of the %zu values %llu .. %llu at %u ppm: "
                 "expected %llu, got %llu",
                 n, (unsigned long long)v[0], (unsigned long long)v[n - 1], ppm,
                 (unsigned long long)wanted, (unsigned long long)got);
}

Test(step1, percentiles)
{
    static uint64_t v[1000];

    for (size_t i = 0; i < 1000; i++)
        v[i] = i + 1;
    expect_percentile(v, 1, 1, 1);
    expect_percentile(v, 1, 1000000, 1);
    expect_percentile(v, 2, 500000, 1);
    expect_percentile(v, 2, 500001, 2);
    expect_percentile(v, 10, 990000, 10);
    expect_percentile(v, 100, 990000, 99);
    expect_percentile(v, 101, 990000, 100);
    expect_percentile(v, 1000, 999000, 999);
    expect_percentile(v, 1000, 999001, 1000);
    expect_percentile(v, 1000, 500000, 500);
    expect_percentile(v, 999, 500000, 500);
    expect_percentile(v, 1000, 1, 1);
    for (int k = 0; k < 200; k++) {
        uint64_t n = drawn(1, 1000), ppm = drawn(1, 1000000), rank = 1;

        while (rank * 1000000 < n * ppm)
            rank++;
        expect_percentile(v, n, (uint32_t)ppm, rank);
    }
}

/* A server that stood still for 300 ms, at 100 requests a second. */
static size_t recorded(struct sample *s)
{
    uint64_t begin = 10 * MS * drawn(5, 50), end = begin + 300 * MS;

    for (size_t i = 0; i < 100; i++) {
        uint64_t at = 10 * MS * (i + 1);
        bool held = at >= begin && at < end;

        s[i] = (struct sample){at, at, held ? end : at + MS};
        if (held && at > begin) /* a client that waited for its answer */
            s[i].sent = end, s[i].done = end + MS;
    }
    return 100;
}

static void expect_latency(const struct sample *s, size_t i, uint64_t got,
                           uint64_t wanted)
{
    cr_assert_eq(got, wanted,
                 "request %zu: intended %llu, sent %llu, done %llu ms: "
                 "expected a latency of %llu us, got %llu",
                 i, (unsigned long long)(s[i].intended / MS),
                 (unsigned long long)(s[i].sent / MS),
                 (unsigned long long)(s[i].done / MS),
                 (unsigned long long)(wanted / 1000),
                 (unsigned long long)(got / 1000));
}

Test(step1, from_intended)
{
    struct sample s[100];
    uint64_t out[100];
    size_t n = recorded(s);

    latencies(s, n, 2 * SECOND, out);
    for (size_t i = 0; i < n; i++)
        expect_latency(s, i, out[i], s[i].done - s[i].intended);
}

Test(step1, unanswered)
{
    struct sample s[] = {
        {10 * MS, 10 * MS, 11 * MS}, {20 * MS, 20 * MS, 0}, {30 * MS, 0, 0}};
    uint64_t out[3];

    latencies(s, 3, 900 * MS, out);
    expect_latency(s, 0, out[0], MS);
    expect_latency(s, 1, out[1], 880 * MS);
    expect_latency(s, 2, out[2], 870 * MS);
}

/* ---- step 2: a wire and its clock ---- */

enum { REQUESTS = 400, RATE = 1000, NEVER = -1 };

/* Requests are served one after the other, 0.2 ms each.  During a pause none
 * is; while the wire is refused, none is taken. */
static struct {
    uint64_t now, free_at;
    uint64_t pause_begin, pause_end, refused_begin, refused_end;
    size_t lost_from; /* requests from this one on get no answer */
    bool reversed;    /* pairs of answers come in the other order */
    uint64_t done[REQUESTS + 1];
    bool taken[REQUESTS], read[REQUESTS];
    size_t next;
    bool refused;
    unsigned long waits, refusals, asked;
} t;

static uint64_t sim_now(void *self)
{
    cr_assert_eq(self, &t, "now() was not given the wire's self");
    cr_assert(++t.asked < 20 * REQUESTS,
              "now() was asked %lu times for %d requests: does it spin?",
              t.asked, REQUESTS);
    return t.now += 50;
}

static bool sim_send(void *self, size_t i)
{
    uint64_t at;

    cr_assert_eq(self, &t, "send() was not given the wire's self");
    cr_assert(i < REQUESTS && i == t.next,
              "send(%zu), and it is the turn of request %zu", i, t.next);
    t.now += 500;
    t.refused = t.now >= t.refused_begin && t.now < t.refused_end;
    if (t.refused) {
        cr_assert(++t.refusals < 50, "%lu sends into a wire that takes nothing",
                  t.refusals);
        return false;
    }
    at = t.now > t.free_at ? t.now : t.free_at;
    if (at >= t.pause_begin && at < t.pause_end)
        at = t.pause_end;
    t.free_at = at + MS / 5;
    t.done[i] = i < t.lost_from ? t.free_at : UINT64_MAX;
    if (t.reversed && i % 2 == 1) {
        t.done[i] = t.done[i - 1];
        t.done[i - 1] = t.free_at;
    }
    t.taken[i] = true;
    t.next++;
    return true;
}

static size_t soonest(void)
{
    size_t found = REQUESTS;

    for (size_t i = 0; i < REQUESTS; i++)
        if (t.taken[i] && !t.read[i] &&
            (found == REQUESTS || t.done[i] < t.done[found]))
            found = i;
    return found;
}

static size_t sim_wait(void *self, uint64_t until)
{
    size_t i = soonest();
    uint64_t at = i < REQUESTS ? t.done[i] : UINT64_MAX, end = until;

    cr_assert_eq(self, &t, "wait() was not given the wire's self");
    cr_assert(++t.waits < 5 * REQUESTS,
              "wait() was called %lu times for %d requests: does it spin?",
              t.waits, REQUESTS);
    cr_assert(until < 3600 * SECOND || at < until || t.refused,
              "wait() for a time that never comes, and no answer is due");
    if (t.refused && t.refused_end < end)
        end = t.refused_end;
    if (at <= end) {
        t.now = t.now > at ? t.now : at;
        t.read[i] = true;
        return i;
    }
    t.refused = t.refused && end < t.refused_end;
    t.now = (t.now > end ? t.now : end) + 1000;
    return NO_REPLY;
}

static struct sample samples[REQUESTS];

/* Runs it from 1 s on; the times in t are absolute too. */
static size_t drive(uint64_t end)
{
    struct wire w = {&t, sim_now, sim_send, sim_wait};

    t.now = SECOND - 5 * MS;
    if (!t.lost_from)
        t.lost_from = REQUESTS;
    for (size_t i = 0; i < REQUESTS; i++)
        samples[i] = (struct sample){1, 2, 3}; /* all of it is to be filled */
    return open_loop(&w, SECOND, RATE, REQUESTS, end, samples);
}

static void expect_times(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t meant = SECOND + i * SECOND / RATE;

        cr_assert_eq(samples[i].intended, meant,
                     "request %zu was meant for %llu us, the sample says %llu",
                     i, (unsigned long long)(meant / 1000),
                     (unsigned long long)(samples[i].intended / 1000));
        cr_assert(samples[i].sent >= meant,
                  "request %zu was sent %llu us early", i,
                  (unsigned long long)((meant - samples[i].sent) / 1000));
    }
}

/* Sent within 20 us of the time; only the answers in between cost any. */
static void expect_prompt(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        cr_assert(samples[i].sent - samples[i].intended < 20000,
                  "request %zu was sent %llu us late: it must not wait for the "
                  "answers of others",
                  i,
                  (unsigned long long)(samples[i].sent - samples[i].intended) /
                      1000);
}

static void expect_answers(size_t n)
{
    for (size_t i = 0; i < n; i++)
        cr_assert(samples[i].done >= t.done[i] &&
                      samples[i].done < t.done[i] + 400 * 1000,
                  "request %zu was answered at %llu us, the sample says %llu",
                  i, (unsigned long long)(t.done[i] / 1000),
                  (unsigned long long)(samples[i].done / 1000));
}

Test(step2, prompt)
{
    t.reversed = true;
    cr_assert_eq(drive(10 * SECOND), REQUESTS, "not all were answered");
    expect_times(REQUESTS);
    expect_prompt(0, REQUESTS);
    cr_assert_eq(t.next, REQUESTS, "%zu of %d requests were sent", t.next,
                 REQUESTS);
}

Test(step2, through_a_pause)
{
    size_t first = drawn(50, 150); /* request, and ms */
    uint64_t took;

    t.pause_begin = SECOND + first * MS;
    t.pause_end = t.pause_begin + 200 * MS;
    cr_assert_eq(drive(10 * SECOND), REQUESTS, "not all were answered");
    expect_times(REQUESTS);
    /* During the pause nothing comes back, and the requests go on. */
    expect_prompt(0, first + 199);
    took = samples[first + 1].done - samples[first + 1].intended;
    cr_assert(took > 190 * MS, "a request of the pause took %llu us",
              (unsigned long long)took / 1000);
    expect_answers(REQUESTS);
}

Test(step2, refused_wire)
{
    size_t first = drawn(50, 150); /* request, and ms */

    t.refused_begin = SECOND + first * MS;
    t.refused_end = t.refused_begin + 100 * MS;
    cr_assert_eq(drive(10 * SECOND), REQUESTS,
                 "not all were answered: %zu were sent", t.next);
    expect_times(REQUESTS);
    expect_prompt(0, first);
    /* Those that are late go at once, with the time that was meant for them. */
    cr_assert(samples[first + 99].sent < t.refused_end + 5 * MS,
              "the wire takes bytes again at %zu ms; request %zu went at %llu",
              first + 100, first + 99,
              (unsigned long long)((samples[first + 99].sent - SECOND) / MS));
    expect_prompt(first + 110, REQUESTS);
}

Test(step2, ends)
{
    size_t got;

    t.lost_from = 390;
    got = drive(SECOND + 700 * MS);
    cr_assert_eq(got, 390, "expected 390 answers, got %zu", got);
    cr_assert(t.now < SECOND + 701 * MS, "it went on after its end");
    for (size_t i = 390; i < REQUESTS; i++)
        cr_assert_eq(samples[i].done, 0,
                     "request %zu was never answered, and done is not 0", i);
    memset(&t, 0, sizeof t);
    got = drive(SECOND + 100 * MS);
    cr_assert(t.next >= 98 && t.next <= 101,
              "%zu requests were sent in 100 ms at %d a second", t.next, RATE);
    for (size_t i = t.next; i < REQUESTS; i++)
        cr_assert(samples[i].sent == 0 && samples[i].done == 0,
                  "request %zu was never sent, and its sample says it was", i);
}

Test(step2, sleeps)
{
    unsigned long most = 3 * REQUESTS;

    t.pause_begin = SECOND + 100 * MS;
    t.pause_end = SECOND + 300 * MS;
    drive(10 * SECOND);
    cr_assert_eq(t.next, REQUESTS, "%zu of %d requests were sent", t.next,
                 REQUESTS);
    cr_assert(t.waits <= most && t.waits >= REQUESTS,
              "%lu calls of wait() for %d requests and their answers", t.waits,
              REQUESTS);
}

Test(step2, missing)
{
    static const uint64_t latency[] = {3, 10, 11, 20, 45};
    static const uint64_t wanted[] = {3, 10, 11, 20, 10, 45, 35, 25, 15};
    enum { N = sizeof wanted / sizeof *wanted };
    uint64_t out[N + 1] = {0};
    size_t n = add_missing(latency, 5, 10, out, N);

    cr_assert_eq(n, N, "expected %d values, got %zu", (int)N, n);
    for (size_t i = 0; i < N; i++)
        cr_assert_eq(out[i], wanted[i], "value %zu: expected %llu, got %llu", i,
                     (unsigned long long)wanted[i], (unsigned long long)out[i]);
    memset(out, 0, sizeof out);
    n = add_missing(latency, 5, 10, out, 6);
    cr_assert_eq(n, N, "with little room: expected %d, got %zu", (int)N, n);
    cr_assert_eq(out[6], 0, "it wrote behind the room that it was given");
}

/* ---- step 3: the answers ---- */

/* The value of a key of answers.txt. */
static const char *answer(const char *key)
{
    static char line[512], value[512], found[512];
    const char *path = getenv("SOURCE");
    int times = 0;
    FILE *f;

    snprintf(line, sizeof line, "%s/answers.txt", path ? path : ".");
    f = fopen(line, "r");
    cr_assert(f, "answers.txt cannot be read");
    while (fgets(line, sizeof line, f)) {
        char name[64];

        if (sscanf(line, " %63[a-z_0-9] = %511[^\n]", name, value) != 2 ||
            strcmp(name, key) != 0)
            continue;
        strcpy(found, value);
        times++;
    }
    fclose(f);
    cr_assert(times > 0, "answers.txt has no line \"%s = ...\"", key);
    cr_assert(times == 1, "answers.txt answers %s %d times", key, times);
    for (size_t n = strlen(found);
         n > 0 && isspace((unsigned char)found[n - 1]);)
        found[--n] = '\0';
    return found;
}

static bool is_one_of(const char *word, const char *words)
{
    size_t n = strlen(word);

    for (const char *p = words; n > 0 && (p = strstr(p, word)) != NULL; p++)
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    return false;
}

/* known: the words that are answers at all; right: those that are true. */
static void expect_word(const char *key, const char *known, const char *right)
{
    const char *word = answer(key);

    if (known)
        cr_assert(is_one_of(word, known), "%s = %s: expected one of: %s", key,
                  word, known);
    cr_assert(is_one_of(word, right), "%s = %s is not what happens", key, word);
}

static void expect_number(const char *key, double right)
{
    const char *text = answer(key);
    char *end;
    double value = strtod(text, &end);

    cr_assert(end > text && *end == '\0', "%s = %s: expected a number alone",
              key, text);
    cr_assert(value > right / 1.5 && value < right * 1.5,
              "%s = %s: the truth is a number that differs by more than half",
              key, text);
}

Test(step3, stops)
{
    expect_word("stops", "all half", plan_read().half ? "half" : "all");
}

Test(step3, length)
{
    expect_number("length_ms", plan_read().length_ms);
}

Test(step3, every)
{
    expect_word("comes_by", "clock requests",
                plan_read().by_requests ? "requests" : "clock");
    expect_number("every", plan_read().every);
}

Test(step3, call)
{
    /* The C library and the kernel have several names for some. */
    static const char *const calls[] = {
        "clock_nanosleep nanosleep", "pselect6 pselect select",
        "epoll_wait epoll_pwait epoll_pwait2",
        "rt_sigtimedwait rt_sigtimedwait_time64 sigtimedwait", "recvmsg"};

    expect_word("call", NULL, calls[plan_read().call]);
}

/* ---- step 4 ---- */

Test(step4, order)
{
    enum { N = 5, BLOCKS = 2000 };
    unsigned firsts[N] = {0}, ascents = 0;
    uint64_t state = drawn(1, 1000000);

    for (int b = 0; b < BLOCKS; b++) {
        unsigned v[2 * N + 1] = {0}, seen = 0;

        v[2 * N] = 77;
        block_order(N, dice, &state, v);
        cr_assert_eq(v[2 * N], 77, "it wrote more than 2 * servers numbers");
        for (int i = 0; i < N; i++) {
            cr_assert(v[i] < N, "server %u of %d", v[i], N);
            seen |= 1U << v[i];
            cr_assert_eq(v[i], v[2 * N - 1 - i],
                         "visit %d is server %u, visit %d is %u: the way back "
                         "is not the way there",
                         i, v[i], 2 * N - 1 - i, v[2 * N - 1 - i]);
        }
        cr_assert_eq(seen, (1U << N) - 1, "a server was not visited");
        firsts[v[0]]++;
        ascents += v[0] < v[1];
    }
    for (int i = 0; i < N; i++)
        cr_assert(firsts[i] > BLOCKS / N / 2,
                  "server %d was the first in %u of %d blocks", i, firsts[i],
                  BLOCKS);
    cr_assert(ascents > BLOCKS / 3 && ascents < BLOCKS * 2 / 3,
              "a lower number comes before a higher in %u of %d blocks",
              ascents, BLOCKS);
}

/* By addition alone, as in Pascal's triangle: another way than the one of the
 * lab, and slower. */
static unsigned rank_by_triangle(unsigned n, double *covered)
{
    static long double row[512];
    long double below = 0;

    memset(row, 0, sizeof row);
    row[0] = 1;
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = i + 2; k-- > 0;)
            row[k] = (row[k] + (k > 0 ? row[k - 1] : 0)) / 2;
    *covered = 0;
    for (unsigned k = 0; k < n / 2; k++) {
        below += row[k];
        if (1 - 2 * below < COVER / 100.0L)
            return k;
        *covered = (double)(1 - 2 * below);
    }
    return n / 2;
}

Test(step4, rank)
{
    for (unsigned n = 0; n <= 500; n++) {
        double covered = -1, right;
        unsigned wanted = rank_by_triangle(n, &right),
                 k = median_rank(n, &covered);

        cr_assert_eq(k, wanted,
                     "%u values, at least %d %%: expected rank %u, got %u", n,
                     COVER, wanted, k);
        cr_assert(covered > right - 1e-9 && covered < right + 1e-9,
                  "%u values: rank %u covers %.6f, not %.6f", n, wanted, right,
                  covered);
    }
}

static void expect_comparison(const char *what, struct comparison got,
                              struct comparison wanted)
{
    static const char *const words[] = {"less", "more", "equal", "client",
                                        "few"};
    bool same = got.blocks == wanted.blocks && got.verdict == wanted.verdict &&
                got.median - wanted.median < 1e-9 &&
                wanted.median - got.median < 1e-9 &&
                got.low - wanted.low < 1e-9 && wanted.low - got.low < 1e-9 &&
                got.high - wanted.high < 1e-9 && wanted.high - got.high < 1e-9;

    cr_assert(same,
              "%s:\n  expected %u blocks, %.4f, %.4f to %.4f: %s\n"
              "  got      %u blocks, %.4f, %.4f to %.4f: %s",
              what, wanted.blocks, wanted.median, wanted.low, wanted.high,
              words[wanted.verdict], got.blocks, got.median, got.low, got.high,
              got.verdict <= VERDICT_FEW ? words[got.verdict] : "no verdict");
}

/* One visit of each server in n blocks; the ratios are 1 + step * (block + 1),
 * so their order is known. */
static size_t ladder(struct slice *s, unsigned n, double step, double busy)
{
    for (unsigned b = 0; b < n; b++) {
        unsigned place = (b * 7 + 3) % n; /* not in order */

        s[2 * b] =
            (struct slice){b, 4, (1 + step * (place + 1)) * (b + 1), busy};
        s[2 * b + 1] = (struct slice){b, 2, b + 1, busy};
    }
    return 2 * n;
}

Test(step4, comparison)
{
    enum { N = 31 };
    static struct slice s[2 * N + 4];
    double covered, idle = BUSY / 100.0 - 0.1, full = BUSY / 100.0 + 0.02;
    unsigned k = rank_by_triangle(N, &covered);
    size_t n = ladder(s, N, 0.01, idle);
    struct comparison c = {N, 1.16, 1 + 0.01 * k, 1 + 0.01 * (N + 1 - k),
                           VERDICT_MORE};

    expect_comparison("a ladder", compare(s, n, 4, 2), c);
    n = ladder(s, N, -0.01, idle);
    c = (struct comparison){N, 0.84, 1 - 0.01 * (N + 1 - k), 1 - 0.01 * k,
                            VERDICT_LESS};
    expect_comparison("downwards", compare(s, n, 4, 2), c);
    /* Other servers, blocks without a partner, and visits of which the mean
     * counts: nothing changes. */
    s[n++] = (struct slice){N + 1, 4, 100, full};
    s[n++] = (struct slice){N + 2, 2, 100, full};
    s[n++] = (struct slice){0, 3, 100, full};
    s[n++] = (struct slice){1, 2, s[3].cost, idle};
    expect_comparison("with others", compare(s, n, 4, 2), c);
}

Test(step4, limits)
{
    enum { N = 30 };
    static struct slice s[2 * N];
    double covered, idle = BUSY / 100.0 - 0.1, full = BUSY / 100.0 + 0.02;
    unsigned k = rank_by_triangle(N, &covered);
    size_t n = ladder(s, N, 0.01, full);
    struct comparison c = {N, 1.155, 1 + 0.01 * k, 1 + 0.01 * (N + 1 - k),
                           VERDICT_MORE};

    expect_comparison("a busy client, yet they differ", compare(s, n, 4, 2), c);
    for (size_t i = 0; i < n; i++) /* half of the ratios below 1 */
        if (s[i].server == 4)
            s[i].cost -= 0.155 * (s[i].block + 1);
    c = (struct comparison){N, 1, 1 + 0.01 * k - 0.155,
                            1 + 0.01 * (N + 1 - k) - 0.155, VERDICT_CLIENT};
    expect_comparison("a busy client", compare(s, n, 4, 2), c);
    for (size_t i = 0; i < n; i++)
        s[i].client_busy = idle;
    c.verdict = VERDICT_EQUAL;
    expect_comparison("no limit", compare(s, n, 4, 2), c);
    s[17].client_busy = full;
    c.verdict = VERDICT_CLIENT;
    expect_comparison("busy in one visit", compare(s, n, 4, 2), c);
    c = (struct comparison){2, 1.015, 0, 0, VERDICT_FEW};
    n = ladder(s, 2, 0.01, idle);
    expect_comparison("two blocks", compare(s, n, 4, 2), c);
    expect_comparison("none", compare(s, 0, 4, 2),
                      (struct comparison){.verdict = VERDICT_FEW});
}

Test(step4, report)
{
    static const char *const words[] = {"less", "more", "equal", "client"};
    struct plan plan = plan_read();

    for (int i = 0; i < RECORDINGS; i++) {
        char key[32];

        snprintf(key, sizeof key, "recording_%d", i + 1);
        expect_word(key, "less more equal client few", words[plan.recorded[i]]);
    }
}
