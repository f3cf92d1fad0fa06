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
 * The peers of the echo prices send and receive on the second cpu, as a client
 * does: their lines must come over.  That part is not timed.
 */
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cancel.h"
#include "check.h"
#include "inherit.h"
#include "session.h"
#include "stats.h"

enum {
    BATCHES = 21,
    LOW = 5, /* of the sorted batches: the 6th and the 16th */
    HIGH = 15,
    PAIRS = 64,   /* connections of the echo prices */
    MESSAGE = 64, /* bytes of their requests and replies */
    PAGES = 2048, /* touched in a batch */
    PAGE = 4096,  /* bytes; a larger page of the system only counts less */
    COPY_MAX = 1 << 16,
};

static int cpu_a, cpu_b = -1; /* cpu_b < 0: there is only one */

static int64_t clock_ns(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static void pin(int cpu)
{
    size_t size = CPU_ALLOC_SIZE(cpu + 1);
    cpu_set_t *set = CPU_ALLOC((size_t)cpu + 1);

    CPU_ZERO_S(size, set);
    CPU_SET_S((size_t)cpu, size, set);
    if (sched_setaffinity(0, size, set) != 0)
        die("prices: cannot run on cpu %d: %s", cpu, strerror(errno));
    CPU_FREE(set);
}

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

struct partner {
    _Alignas(256) _Atomic uint64_t word; /* added to, or handed to and fro */
    _Alignas(256) _Atomic bool begun, end;
    int cpu, rounds;
    int to, from; /* eventfds */
    void (*play)(struct partner *);
};

static void *partner_main(void *arg)
{
    struct partner *p = arg;

    pin(p->cpu);
    atomic_store(&p->begun, true);
    p->play(p);
    return NULL;
}

static pthread_t partner_start(struct partner *p)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, partner_main, p) != 0)
        die("prices: cannot start a thread");
    while (!atomic_load(&p->begun))
        sched_yield();
    return thread;
}

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

static void event_write(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof one) != (ssize_t)sizeof one)
        die("prices: eventfd: %s", strerror(errno));
}

static void event_read(int fd)
{
    uint64_t value;

    if (read(fd, &value, sizeof value) != (ssize_t)sizeof value)
        die("prices: eventfd: %s", strerror(errno));
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

    p.to = eventfd(0, EFD_CLOEXEC);
    p.from = eventfd(0, EFD_CLOEXEC);
    if (p.to < 0 || p.from < 0)
        die("prices: eventfd: %s", strerror(errno));
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
    p.to = eventfd(0, EFD_CLOEXEC);
    if (p.to < 0)
        die("prices: eventfd: %s", strerror(errno));
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
    int fd = eventfd(0, EFD_CLOEXEC);
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

/* ---- recv and send on loopback ---- */

static struct {
    int ours[PAIRS], theirs[PAIRS];
    char in[PAIRS][MESSAGE];
    struct io_uring ring;
    int ring_error; /* of making the ring; 0: it is there */
    int epoll;
    bool open;
    struct partner peer; /* on the second cpu, for good, if there is one */
    void (*peers_do)(int n);
    int peers_n;
} net;

/* Waits for its turn, which is an odd word, and gives it back.  It goes to
 * sleep when nothing is wanted for long, and a bit of its time is not timed. */
static void peers_take_turns(struct partner *p)
{
    for (uint64_t turn = 1;; turn += 2) {
        for (int i = 0; atomic_load(&p->word) != turn; i++)
            if (i > 20000)
                usleep(50);
        net.peers_do(net.peers_n);
        atomic_store(&p->word, turn + 1);
    }
}

/* Has the peers do it, and waits for them. */
static void peers(void (*what)(int n), int n)
{
    uint64_t turn = atomic_load(&net.peer.word) + 1;

    if (cpu_b < 0) {
        what(n);
        return;
    }
    net.peers_do = what;
    net.peers_n = n;
    atomic_store(&net.peer.word, turn);
    for (int i = 0; atomic_load(&net.peer.word) == turn; i++)
        if (i > 20000)
            sched_yield();
}

static void pair_open(int listener, const struct sockaddr_in *addr, int i)
{
    int one = 1;

    net.theirs[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (net.theirs[i] < 0 ||
        connect(net.theirs[i], (const struct sockaddr *)addr, sizeof *addr) < 0)
        die("prices: connect: %s", strerror(errno));
    net.ours[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (net.ours[i] < 0)
        die("prices: accept: %s", strerror(errno));
    setsockopt(net.theirs[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(net.ours[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void net_open(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (listener < 0 || bind(listener, (struct sockaddr *)&addr, len) < 0 ||
        listen(listener, PAIRS) < 0 ||
        getsockname(listener, (struct sockaddr *)&addr, &len) < 0)
        die("prices: cannot listen on loopback: %s", strerror(errno));
    for (int i = 0; i < PAIRS; i++)
        pair_open(listener, &addr, i);
    close(listener);
    net.ring_error = io_uring_queue_init_params(2 * PAIRS, &net.ring, &params);
    if (net.ring_error == -EINVAL) /* before Linux 6.1 */
        net.ring_error = io_uring_queue_init(2 * PAIRS, &net.ring, 0);
    net.epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < PAIRS; i++) {
        struct epoll_event ev = {.events = EPOLLIN};

        if (epoll_ctl(net.epoll, EPOLL_CTL_ADD, net.ours[i], &ev) < 0)
            die("prices: epoll: %s", strerror(errno));
    }
    net.peer = (struct partner){.cpu = cpu_b, .play = peers_take_turns};
    if (cpu_b >= 0)
        partner_start(&net.peer);
    net.open = true;
}

static void must_be(ssize_t got, ssize_t wanted)
{
    if (got != wanted)
        die("prices: %zd bytes instead of %zd: %s", got, wanted,
            strerror(got < 0 ? errno : 0));
}

/* The peers send before and receive after what is timed. */
static void peers_send(int n)
{
    char message[MESSAGE];

    memset(message, 'x', sizeof message);
    for (int i = 0; i < n; i++)
        must_be(send(net.theirs[i], message, MESSAGE, 0), MESSAGE);
}

static void peers_receive(int n)
{
    char message[MESSAGE];

    for (int i = 0; i < n; i++)
        must_be(recv(net.theirs[i], message, MESSAGE, MSG_WAITALL), MESSAGE);
}

static void echo_calls(int n)
{
    for (int i = 0; i < n; i++) {
        must_be(recv(net.ours[i], net.in[i], MESSAGE, 0), MESSAGE);
        must_be(send(net.ours[i], net.in[i], MESSAGE, 0), MESSAGE);
    }
}

static void ring_prepare(int n, bool sending)
{
    for (int i = 0; i < n; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&net.ring);

        if (sending)
            io_uring_prep_send(sqe, net.ours[i], net.in[i], MESSAGE, 0);
        else
            io_uring_prep_recv(sqe, net.ours[i], net.in[i], MESSAGE, 0);
    }
}

static void ring_complete(int n)
{
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;

    while (seen < (unsigned)n) {
        unsigned got = 0;

        io_uring_submit_and_wait(&net.ring, (unsigned)n - seen);
        io_uring_for_each_cqe (&net.ring, head, cqe) {
            errno = cqe->res < 0 ? -cqe->res : 0;
            must_be(cqe->res, MESSAGE);
            got++;
        }
        io_uring_cq_advance(&net.ring, got);
        seen += got;
    }
}

static void ring_pass(int n, bool sending)
{
    ring_prepare(n, sending);
    ring_complete(n);
}

/* Nanoseconds of CPU since `begin`, without what looking at the clock takes. */
static int64_t spent_since(int64_t begin)
{
    int64_t end = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    int64_t clock = clock_ns(CLOCK_THREAD_CPUTIME_ID) - end;

    return end - begin - clock;
}

/* So many rounds that a batch takes about as long for each n. */
static int rounds_of(int n)
{
    return n == 1 ? 200 : 8;
}

/* CPU time of one recv and one send; n > 0: of n connections in two enters of
 * the ring; 0: by calls. */
static double echo_batch(int n)
{
    int rounds = rounds_of(n), wide = n ? n : PAIRS;
    int64_t spent = 0;

    if (!net.open)
        net_open();
    if (n && net.ring_error)
        return -1;
    for (int k = 0; k < rounds; k++) {
        int64_t begin;

        peers(peers_send, wide);
        begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        if (n) {
            ring_pass(n, false);
            ring_pass(n, true);
        } else {
            echo_calls(wide);
        }
        spent += spent_since(begin);
        peers(peers_receive, wide);
    }
    return (double)spent / rounds / wide;
}

/* The same, but the receives wait in the ring before there are bytes: three
 * enters, since nobody sends while we wait. */
static double armed_batch(int n)
{
    int rounds = rounds_of(n);
    int64_t spent = 0;

    if (!net.open)
        net_open();
    if (net.ring_error)
        return -1;
    for (int k = 0; k < rounds; k++) {
        int64_t begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);

        ring_prepare(n, false);
        io_uring_submit(&net.ring);
        spent += spent_since(begin);
        peers(peers_send, n);
        begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        ring_complete(n);
        ring_pass(n, true);
        spent += spent_since(begin);
        peers(peers_receive, n);
    }
    return (double)spent / rounds / n;
}

/* One event of an epoll_wait that returns n of them. */
static double event_of_batch(int n)
{
    struct epoll_event ev[PAIRS];
    int rounds = rounds_of(n);
    int64_t spent = 0;

    if (!net.open)
        net_open();
    for (int k = 0; k < rounds; k++) {
        int64_t begin;

        peers(peers_send, n);
        begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        while (epoll_wait(net.epoll, ev, PAIRS, 0) < n)
            ; /* a packet may still be on its way */
        spent += spent_since(begin);
        echo_calls(n);
        peers(peers_receive, n);
    }
    return (double)spent / rounds / n;
}

/* ---- the protocol: what all stages share ---- */

/* One `GET /` through the session: bytes in, parsed, answered, bytes out. */
static double session_batch(int unused)
{
    enum { N = 2000 };
    static const char request[] =
        "GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";
    static uint8_t in[16384], out[16384];
    static struct cancel stop;
    struct app app = {.proto = &proto_http, .cancel = &stop, .root_fd = -1};
    struct session s;
    struct stats stats = {0};
    int64_t begin;

    (void)unused;
    session_init(&s, &app);
    buf_lend(&s.in, in, sizeof in);
    buf_lend(&s.out, out, sizeof out);
    begin = now_ns();
    for (int i = 0; i < N; i++) {
        memcpy(buf_tail(&s.in), request, sizeof request - 1);
        buf_commit(&s.in, sizeof request - 1);
        if (session_step(&s, &stats) != WANT_SEND)
            die("prices: the session does not answer");
        buf_consume(&s.out, buf_len(&s.out));
        if (session_step(&s, &stats) != WANT_RECV)
            die("prices: the session does not go on");
    }
    begin = now_ns() - begin;
    session_end(&s);
    return (double)begin / N;
}

/* ---- a sleep ---- */

/* How late a sleep of 200 us ends: what `/sleep` adds to each handler. */
static double sleep_batch(int unused)
{
    enum { N = 20, NS = 200000 };
    int64_t late = 0;

    (void)unused;
    for (int i = 0; i < N; i++) {
        int64_t end = now_ns() + NS;
        struct timespec ts = {end / 1000000000, end % 1000000000};

        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
        late += now_ns() - end;
    }
    return (double)late / N;
}

/* ---- the list ---- */

static const struct price {
    const char *name;
    double (*batch)(int);
    int argument;
    bool pair; /* needs two cpus */
    const char *what;
} prices[] = {
    {"syscall", syscall_batch, 0, false, "a system call that does nothing"},
    {"clock", clock_batch, 0, false, "reading the clock"},
    {"context_switch", switch_batch, 0, false,
     "from thread to thread, one cpu"},
    {"wake_same", wake_same_batch, 0, false, "waking a thread, same cpu"},
    {"wake_other", wake_other_batch, 0, true, "waking a thread, other cpu"},
    {"sleep_late", sleep_batch, 0, false, "a sleep of 200 us ends later by"},
    {"wake_call", wake_call_batch, 0, true, "what the waker pays of that"},
    {"line_transfer", transfer_batch, 0, true, "a cache line changes its cpu"},
    {"atomic_add", add_batch, 0, false, "an atomic add, alone"},
    {"atomic_add_contended", contended_batch, 0, true, "the same, two cpus"},
    {"copy_64", copy_batch, 64, false, "a copy of 64 bytes, cached"},
    {"copy_1024", copy_batch, 1024, false, "1 KiB"},
    {"copy_4096", copy_batch, 4096, false, "4 KiB"},
    {"copy_65536", copy_batch, 65536, false, "64 KiB"},
    {"session", session_batch, 0, false, "the protocol's part of `GET /`"},
    {"page_fault", fault_batch, 0, false, "first touch of a page"},
    {"echo_calls", echo_batch, 0, false, "recv + send of 64 bytes, by calls"},
    {"echo_ring_1", echo_batch, 1, false, "the same by a ring, 1 an enter"},
    {"echo_ring_16", echo_batch, 16, false, "16 an enter"},
    {"echo_ring_64", echo_batch, 64, false, "64 an enter"},
    {"echo_armed_1", armed_batch, 1, false, "receives that wait in the ring"},
    {"echo_armed_16", armed_batch, 16, false, "the same, 16 an enter"},
    {"echo_armed_64", armed_batch, 64, false, "64 an enter"},
    {"epoll_event", event_of_batch, PAIRS, false, "an event of a wait of 64"},
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* NULL: values[] holds the batches in order; else why there are none. */
static const char *price_measure(const struct price *p, double *values)
{
    if (p->pair && cpu_b < 0)
        return "needs a second cpu";
    pin(cpu_a);
    for (int i = -1; i < BATCHES; i++) { /* the first one warms up */
        double value = p->batch(p->argument);

        if (value < 0)
            return strerror(-net.ring_error);
        if (i >= 0)
            values[i] = value;
    }
    qsort(values, BATCHES, sizeof *values, by_value);
    return NULL;
}

static void price_print(const struct price *p, const char *missing,
                        const double *v, bool json, bool first)
{
    const char *comma = first ? "" : ",";

    if (json && missing)
        printf("%s\n  \"%s\": {\"missing\": \"%s\"}", comma, p->name, missing);
    else if (json)
        printf("%s\n  \"%s\": {\"ns\": %.2f, \"low\": %.2f, \"high\": %.2f}",
               comma, p->name, v[BATCHES / 2], v[LOW], v[HIGH]);
    else if (missing)
        printf("%-21s not measured: %s\n", p->name, missing);
    else
        printf("%-21s %9.1f ns  (%.1f to %.1f)  %s\n", p->name, v[BATCHES / 2],
               v[LOW], v[HIGH], p->what);
    fflush(stdout);
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
    double values[BATCHES] = {0};

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
    for (size_t i = 0; i < sizeof prices / sizeof *prices; i++) {
        const char *missing = price_measure(&prices[i], values);

        price_print(&prices[i], missing, values, json, i == 0);
    }
    if (json)
        printf("}}\n");
    return 0;
}
