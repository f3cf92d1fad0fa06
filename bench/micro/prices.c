/* prices.c - what one system call, wake-up, copy ... costs on this machine.
 *
 *   prices [--json] [CPU [CPU]]     default: the first two cpus it may use
 *
 * The stages differ in how often they do these things for a request
 * (docs/model.md), so their order depends on what the things cost here.  A
 * price is the median of 21 batches in nanoseconds, with the 6th and the 16th
 * batch beside it: an interval that holds the true median in 97 of 100 runs
 * (exact, by order statistics).  Privileges are not needed; a price that
 * cannot be had is named with the reason.  It takes about 10 seconds.
 *
 *   half a round trip between two threads      what is in it
 *   ------------------------------------       -------------------------------
 *   same cpu       write, sleep, switch, read  wake_same
 *   two cpus       write, wake-up, read        wake_other
 *   both awake     one line changes its cpu    line_transfer
 *
 * The prices of receives and sends: prices_net.h.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "cancel.h"
#include "inherit.h"
#include "prices.h"
#include "prices_net.h"
#include "session.h"
#include "stats.h"

enum {
    BATCHES = 21,
    LOW = 5, /* of the sorted batches: the 6th and the 16th */
    HIGH = 15,
    PAGES = 2048, /* touched in a batch */
    PAGE = 4096,  /* bytes; a larger page of the system only counts less */
    COPY_MAX = 1 << 16,
};

/* ---- one thread: calls, clocks, copies, adds, faults ---- */

static double syscall_batch(int unused)
{
    enum { N = 5000 };
    int64_t begin = now_ns();

    (void)unused;
    for (int i = 0; i < N; i++)
        syscall(SYS_getppid);
    return (double)(now_ns() - begin) / N;
}

static double clock_batch(int unused)
{
    enum { N = 20000 };
    int64_t begin = now_ns();

    (void)unused;
    for (int i = 0; i < N; i++)
        clock_ns(CLOCK_MONOTONIC);
    return (double)(now_ns() - begin) / N;
}

static double copy_batch(int size)
{
    static char from[COPY_MAX], to[COPY_MAX];
    int n = 4 * COPY_MAX / size + 50;
    int64_t begin = now_ns();

    for (int i = 0; i < n; i++) {
        memcpy(to, from, (size_t)size);
        __asm__ volatile("" : : "r"(to), "r"(from) : "memory");
    }
    return (double)(now_ns() - begin) / n;
}

static double add_batch(int unused)
{
    enum { N = 200000 };
    static _Atomic uint64_t word;
    int64_t begin = now_ns();

    (void)unused;
    for (int i = 0; i < N; i++)
        atomic_fetch_add_explicit(&word, 1, memory_order_relaxed);
    return (double)(now_ns() - begin) / N;
}

static double fault_batch(int unused)
{
    char *memory = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int64_t begin;

    (void)unused;
    if (memory == MAP_FAILED)
        die("prices: mmap: %s", strerror(errno));
    madvise(memory, (size_t)PAGES * PAGE, MADV_NOHUGEPAGE);
    begin = now_ns();
    for (int i = 0; i < PAGES; i++)
        *(volatile char *)(memory + (size_t)i * PAGE) = 1;
    begin = now_ns() - begin;
    munmap(memory, (size_t)PAGES * PAGE);
    return (double)begin / PAGES;
}

/* ---- two threads ---- */

static void add_on(struct partner *p)
{
    while (!atomic_load_explicit(&p->end, memory_order_relaxed))
        atomic_fetch_add_explicit(&p->word, 1, memory_order_relaxed);
}

static double contended_batch(int unused)
{
    enum { N = 50000 };
    struct partner p = {.cpu = cpu_b, .play = add_on};
    pthread_t thread = partner_start(&p);
    int64_t begin = now_ns();

    (void)unused;
    for (int i = 0; i < N; i++)
        atomic_fetch_add_explicit(&p.word, 1, memory_order_relaxed);
    begin = now_ns() - begin;
    atomic_store(&p.end, true);
    pthread_join(thread, NULL);
    return (double)begin / N;
}

static void take_turns(struct partner *p, uint64_t parity)
{
    for (uint64_t t = parity; t < 2 * (uint64_t)p->rounds; t += 2) {
        while (atomic_load_explicit(&p->word, memory_order_acquire) != t)
            ;
        atomic_store_explicit(&p->word, t + 1, memory_order_release);
    }
}

static void take_odd_turns(struct partner *p)
{
    take_turns(p, 1);
}

static double transfer_batch(int unused)
{
    struct partner p = {.cpu = cpu_b, .play = take_odd_turns, .rounds = 5000};
    pthread_t thread = partner_start(&p);
    int64_t begin = now_ns();

    (void)unused;
    take_turns(&p, 0);
    begin = now_ns() - begin;
    pthread_join(thread, NULL);
    return (double)begin / (2 * p.rounds);
}

static void answer(struct partner *p)
{
    for (int i = 0; i < p->rounds; i++) {
        event_read(p->to);
        event_write(p->from);
    }
}

/* Half a round trip between two threads that sleep for each other. */
static double wake_batch(int cpu)
{
    struct partner p = {.cpu = cpu, .play = answer, .rounds = 1000};
    pthread_t thread;
    int64_t begin;

    p.to = new_event();
    p.from = new_event();
    thread = partner_start(&p);
    begin = now_ns();
    for (int i = 0; i < p.rounds; i++) {
        event_write(p.to);
        event_read(p.from);
    }
    begin = now_ns() - begin;
    pthread_join(thread, NULL);
    close(p.to);
    close(p.from);
    return (double)begin / (2 * p.rounds);
}

static void listen_on(struct partner *p)
{
    for (int i = 0; i < p->rounds; i++) {
        event_read(p->to);
        atomic_fetch_add(&p->word, 1);
    }
}

/* What the waker pays: a write to a thread that sleeps on another cpu. */
static double wake_call_batch(int unused)
{
    enum { ASLEEP_NS = 50000 };
    struct partner p = {.cpu = cpu_b, .play = listen_on, .rounds = 200};
    pthread_t thread;
    int64_t spent = 0;

    (void)unused;
    p.to = new_event();
    thread = partner_start(&p);
    for (int i = 0; i < p.rounds; i++) {
        int64_t begin = now_ns();

        while (now_ns() - begin < ASLEEP_NS ||
               atomic_load(&p.word) < (unsigned)i)
            ;
        begin = now_ns();
        event_write(p.to);
        spent += now_ns() - begin;
    }
    pthread_join(thread, NULL);
    close(p.to);
    return (double)spent / p.rounds;
}

/* A write and a read that make nobody wait. */
static double event_batch(int unused)
{
    enum { N = 2000 };
    int fd = new_event();
    int64_t begin = now_ns();

    (void)unused;
    for (int i = 0; i < N; i++) {
        event_write(fd);
        event_read(fd);
    }
    begin = now_ns() - begin;
    close(fd);
    return (double)begin / N;
}

static double wake_same_batch(int unused)
{
    (void)unused;
    return wake_batch(cpu_a);
}

static double wake_other_batch(int unused)
{
    (void)unused;
    return wake_batch(cpu_b);
}

/* What is left of a wake-up on one cpu without its write and its read. */
static double switch_batch(int unused)
{
    double left = wake_batch(cpu_a) - event_batch(unused);

    return left > 0 ? left : 0;
}

/* ---- the protocol: what all stages share ---- */

static struct {
    struct app app;
    struct cancel stop;
    struct stats stats;
    struct session s[CONNS];
    uint8_t in[CONNS][BUF_SIZE], out[CONNS][BUF_SIZE];
} http;

static void http_open(void)
{
    http.app =
        (struct app){.proto = &proto_http, .cancel = &http.stop, .root_fd = -1};
    for (int i = 0; i < CONNS; i++) {
        session_init(&http.s[i], &http.app);
        buf_lend(&http.s[i].in, http.in[i], BUF_SIZE);
        buf_lend(&http.s[i].out, http.out[i], BUF_SIZE);
    }
}

/* Bytes in, parsed, handled, answered, bytes out. */
static void answer_request(struct session *s, const char *request, size_t len)
{
    enum want want;

    memcpy(buf_tail(&s->in), request, len);
    buf_commit(&s->in, len);
    want = session_step(s, &http.stats);
    if (want == WANT_WORK) {
        session_work(s);
        want = session_step(s, &http.stats);
    }
    if (want != WANT_SEND)
        die("prices: the session does not answer");
    buf_consume(&s->out, buf_len(&s->out));
    if (session_step(s, &http.stats) != WANT_RECV)
        die("prices: the session does not go on");
}

/* CPU time of one request, of n on all connections in turn. */
static double requests_take(const char *path, int n)
{
    char request[128];
    int len = snprintf(request, sizeof request,
                       "GET %s HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", path);
    int64_t begin;

    if (!http.app.proto)
        http_open();
    begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < n; i++)
        answer_request(&http.s[i % CONNS], request, (size_t)len);
    return (double)spent_since(begin) / n;
}

static double session_batch(int unused)
{
    (void)unused;
    return requests_take("/", 32 * CONNS);
}

/* How much longer than it is told to a handler of /work burns CPU time: it has
 * to look at its clock. */
static double work_batch(int us)
{
    char path[32];

    snprintf(path, sizeof path, "/work/%d", us);
    return requests_take(path, CONNS) - requests_take("/", CONNS) - 1000.0 * us;
}

/* ---- a sleep ---- */

/* When a sleep is over, the cpu may belong to another program for a slice of
 * the scheduler, or to another guest of the host: for milliseconds.  So the
 * tail counts, of all sleeps but those of the first batch. */
enum { SLEEPS = 50, ALL_SLEEPS = SLEEPS * BATCHES };

static double sleeps[ALL_SLEEPS + SLEEPS];
static int slept;

/* How late a sleep of 200 us ends: what `/sleep` adds to each handler. */
static double sleep_batch(int unused)
{
    enum { NS = 200000 };
    double sum = 0;

    (void)unused;
    for (int i = 0; i < SLEEPS; i++) {
        int64_t end = now_ns() + NS;
        struct timespec ts = {end / 1000000000, end % 1000000000};

        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
        sleeps[slept] = (double)(now_ns() - end);
        sum += sleeps[slept++];
    }
    return sum / SLEEPS;
}

/* ---- the list ---- */

enum needs { ALONE, PAIR, NET }; /* a second cpu; the connections */

static const struct price {
    const char *name;
    double (*batch)(int);
    int argument;
    enum needs needs;
    const char *what;
} prices[] = {
    {"syscall", syscall_batch, 0, ALONE, "a system call that does nothing"},
    {"clock", clock_batch, 0, ALONE, "reading the clock"},
    {"context_switch", switch_batch, 0, ALONE,
     "from thread to thread, one cpu"},
    {"wake_same", wake_same_batch, 0, ALONE, "waking a thread, same cpu"},
    {"wake_other", wake_other_batch, 0, PAIR, "waking a thread, other cpu"},
    {"sleep_late", sleep_batch, 0, ALONE, "a sleep of 200 us ends later by"},
    {"sleep_late_50", NULL, 50, ALONE, "half of all sleeps by more than"},
    {"sleep_late_90", NULL, 90, ALONE, "1 sleep in 10 by more than"},
    {"sleep_late_99", NULL, 99, ALONE, "1 in 100 by more than"},
    {"wake_call", wake_call_batch, 0, PAIR, "what the waker pays of that"},
    {"line_transfer", transfer_batch, 0, PAIR, "a cache line changes its cpu"},
    {"atomic_add", add_batch, 0, ALONE, "an atomic add, alone"},
    {"atomic_add_contended", contended_batch, 0, PAIR, "the same, two cpus"},
    {"copy_64", copy_batch, 64, ALONE, "a copy of 64 bytes, cached"},
    {"copy_1024", copy_batch, 1024, ALONE, "1 KiB"},
    {"copy_4096", copy_batch, 4096, ALONE, "4 KiB"},
    {"copy_65536", copy_batch, 65536, ALONE, "64 KiB"},
    {"page_fault", fault_batch, 0, ALONE, "first touch of a page"},
    {"session", session_batch, 0, ALONE, "the protocol's part of `GET /`"},
    {"work_over", work_batch, 20, ALONE, "a handler of 20 us takes longer by"},
    {"echo_calls", echo_batch, 0, NET, "recv + send of 64 bytes, by calls"},
    {"echo_threads", threads_batch, CONNS, NET, "the same by 64 threads"},
    {"echo_ring_1", echo_batch, 1, NET, "the same by a ring, 1 an enter"},
    {"echo_ring_16", echo_batch, 16, NET, "16 an enter"},
    {"echo_ring_64", echo_batch, 64, NET, "64 an enter"},
    {"echo_armed_1", armed_batch, 1, NET, "receives that wait in the ring"},
    {"echo_armed_16", armed_batch, 16, NET, "the same, 16 an enter"},
    {"echo_armed_64", armed_batch, 64, NET, "64 an enter"},
    {"epoll_event", event_of_batch, CONNS, NET, "an event of a wait of 64"},
};
enum { PRICES = sizeof prices / sizeof *prices };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double price_once(const struct price *p)
{
    double value;

    if (!p->batch || (p->needs == PAIR && cpu_b < 0))
        return -1;
    pin(cpu_a);
    if (p->needs == NET)
        net_begin();
    value = p->batch(p->argument);
    if (p->needs == NET)
        net_end();
    return value;
}

/* As if it had batches: the quantile of all sleeps, with the ends of its
 * interval of 97 %. */
static void late_quantile(double *v, int percent)
{
    double n = ALL_SLEEPS, q = percent / 100.0;
    double half = 2.2 * sqrt(n * q * (1 - q));

    for (int k = 0; k < BATCHES; k++) {
        double at = n * q + (k <= LOW ? -half : k >= HIGH ? half : 0);

        v[k] = sleeps[SLEEPS + (int)fmin(at, n - 1)];
    }
}

/* One batch of each price after the other, and again: so all of them have met
 * the same machine, whose speed may change.  The first round warms up. */
static void prices_measure(double values[][BATCHES])
{
    for (int k = -1; k < BATCHES; k++)
        for (int i = 0; i < PRICES; i++) {
            double value = price_once(&prices[i]);

            if (k >= 0)
                values[i][k] = value;
        }
    for (int i = 0; i < PRICES; i++)
        qsort(values[i], BATCHES, sizeof **values, by_value);
    qsort(sleeps + SLEEPS, ALL_SLEEPS, sizeof *sleeps, by_value);
    for (int i = 0; i < PRICES; i++)
        if (!prices[i].batch)
            late_quantile(values[i], prices[i].argument);
}

static void price_print(const struct price *p, const double *v, bool json,
                        bool first)
{
    const char *comma = first ? "" : ",";
    const char *missing =
        p->needs == PAIR ? "needs a second cpu" : strerror(-net.ring_error);

    if (json && v[BATCHES - 1] < 0)
        printf("%s\n  \"%s\": {\"missing\": \"%s\"}", comma, p->name, missing);
    else if (json)
        printf("%s\n  \"%s\": {\"ns\": %.2f, \"low\": %.2f, \"high\": %.2f}",
               comma, p->name, v[BATCHES / 2], v[LOW], v[HIGH]);
    else if (v[BATCHES - 1] < 0)
        printf("%-21s not measured: %s\n", p->name, missing);
    else
        printf("%-21s %9.1f ns  (%.1f to %.1f)  %s\n", p->name, v[BATCHES / 2],
               v[LOW], v[HIGH], p->what);
}

/* The first two cpus of those allowed, also beyond 1,024. */
static void cpus_choose(void)
{
    for (size_t n = 1024; n <= 1 << 20; n *= 2) {
        size_t size = CPU_ALLOC_SIZE(n);
        cpu_set_t *set = CPU_ALLOC(n);
        int found = 0;

        CPU_ZERO_S(size, set);
        if (sched_getaffinity(0, size, set) == 0) {
            for (size_t cpu = 0; cpu < n && found < 2; cpu++)
                if (CPU_ISSET_S(cpu, size, set))
                    *(found++ ? &cpu_b : &cpu_a) = (int)cpu;
            CPU_FREE(set);
            return;
        }
        CPU_FREE(set);
    }
    die("prices: sched_getaffinity: %s", strerror(errno));
}

static int cpu_number(const char *word)
{
    char *end;
    long cpu = strtol(word, &end, 10);

    if (*end != '\0' || end == word || cpu < 0 || cpu > 1 << 20)
        die_status(64, "usage: prices [--json] [CPU [CPU]]");
    return (int)cpu;
}

int main(int argc, char **argv)
{
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
    static double values[PRICES][BATCHES];

    inherit_clean();
    argv += json;
    argc -= json;
    if (argc > 3)
        die_status(64, "usage: prices [--json] [CPU [CPU]]");
    cpus_choose();
    if (argc > 1) {
        cpu_a = cpu_number(argv[1]);
        cpu_b = argc > 2 ? cpu_number(argv[2]) : -1;
    }
    if (cpu_a == cpu_b)
        die_status(64, "prices: the two cpus are one");
    if (json)
        printf("{\"unit\": \"ns\", \"batches\": %d, \"prices\": {", BATCHES);
    prices_measure(values);
    for (int i = 0; i < PRICES; i++)
        price_print(&prices[i], values[i], json, i == 0);
    if (json)
        printf("}}\n");
    return 0;
}
