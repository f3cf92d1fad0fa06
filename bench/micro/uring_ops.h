/* uring_ops.h - the rig of uring_ops.c: connections, threads, statistics. */
#ifndef URING_OPS_H
#define URING_OPS_H

#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "cpu_set.h"
#include "parts/compat.h"
#include "parts/uring.h"

enum {
    CONNS = 256,
    BUF = 16384,
    BIG = 1 << 20, /* the largest send */
    SLOTS = 4,     /* send buffers in flight */
    PERIOD = 64,   /* of the pattern; every size is a multiple */
    GROUP = 0,     /* of provided buffers */
    PIECES = 512,  /* in it */
    MAX_BLOCKS = 101,
    MAX_METHODS = 5,
    MAX_GROUPS = 40,
    RESAMPLES = 2000,
};

enum how {
    SYSCALL,
    RING,
    CHOSEN,
    FIXED,
    MULTISHOT,
    DIRECT,
    ZC,
    ZC_FIXED,
    NAPI
};

struct method {
    const char *name;
    enum how how;
    int batch, size, rounds; /* completions an enter, bytes, batches a slice */
    unsigned flags;          /* of io_uring_setup, group `setup` */
    const char *skipped;     /* the reason, or NULL */
    double ns;               /* per operation, of the last slice */
    uint64_t copied, notified, copied_sum, notified_sum;
    double sample[MAX_BLOCKS];
    double med, lo, hi, ratio, ratio_lo, ratio_hi;
};

struct rig;

struct group {
    const char *name, *title;
    void (*slice)(struct rig *, struct method *);
    int n;
    struct method method[MAX_METHODS]; /* the first is the baseline */
};

struct config {
    int blocks;
    bool quick, spoil;
    const char *only, *json;
    const char *peer, *serve; /* HOST:PORT; see uring_peer.h */
};

struct rig {
    struct io_uring *ring;
    struct io_uring main_ring;
    struct io_uring_buf_ring *pieces;
    uint8_t *piece_mem;
    int our[CONNS], peer[CONNS];
    uint8_t *in[CONNS];   /* BUF bytes each, registered as buffer 0 */
    uint8_t *slot[SLOTS]; /* BIG bytes each, registered as buffer 1 */
    uint8_t *pattern;     /* BIG bytes of it: what is sent */
    int got[CONNS];       /* bytes of the last receive, and where they are */
    uint8_t *at[CONNS];
    int pinned[SLOTS]; /* notifications to come */
    bool fixed, spoil;
    uint64_t clock_ns, seed, fed_at;
    double ops;                  /* a slice */
    int out, sink, source, feed; /* our and the threads' ends */
    pthread_t sink_thread, source_thread, pinger;
    _Atomic uint64_t sunk, to_feed, pinger_ns;
    _Atomic bool stop;
    sem_t wanted; /* there is something to feed */
    struct method *pinging;
    int control;            /* the other end's orders; -1: it is in here */
    struct addrinfo *where; /* the other end listens */
};

/* ---- clocks, chance, checks ---- */

static uint64_t clock_of(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t cpu_ns(void)
{
    return clock_of(CLOCK_THREAD_CPUTIME_ID);
}

static uint64_t process_ns(void)
{
    return clock_of(CLOCK_PROCESS_CPUTIME_ID);
}

static uint64_t chance(struct rig *r) /* xorshift, Marsaglia 2003 */
{
    r->seed ^= r->seed << 13;
    r->seed ^= r->seed >> 7;
    r->seed ^= r->seed << 17;
    return r->seed;
}

static void shuffle(struct rig *r, int *order, int n)
{
    for (int i = 0; i < n; i++) {
        int j = (int)(chance(r) % (uint64_t)(i + 1));

        order[i] = order[j];
        order[j] = i;
    }
}

static void must_be(ssize_t got, int wanted)
{
    if (got != wanted)
        die("uring_ops: %zd bytes moved, %d wanted: %s", got, wanted,
            got < 0 ? strerror(errno) : "short");
}

static void same(const void *got, const void *wanted, size_t n)
{
    if (memcmp(got, wanted, n) != 0)
        die("uring_ops: wrong bytes");
}

static uint64_t wall_ns(void)
{
    return clock_of(CLOCK_MONOTONIC);
}

static void pin(int cpu)
{
    struct cpus set;

    cpus_clear(&set);
    cpus_add(&set, cpu % (int)sysconf(_SC_NPROCESSORS_ONLN));
    cpus_pin(&set); /* refused: then unpinned */
}

/* ---- connections ---- */

#include "uring_peer.h"

static void pair(int *a, int *b)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int one = 1, l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (l < 0 || *a < 0 || bind(l, (void *)&addr, sizeof addr) < 0 ||
        listen(l, 1) < 0 || getsockname(l, (void *)&addr, &len) < 0 ||
        connect(*a, (void *)&addr, sizeof addr) < 0)
        die("uring_ops: no connection: %s", strerror(errno));
    *b = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    CHECK(*b >= 0);
    close(l);
    setsockopt(*a, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(*b, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* Abortive, so that ten thousand rounds leave no TIME_WAIT behind. */
static void rig_reconnect(struct rig *r, int i)
{
    struct linger none = {.l_onoff = 1};

    setsockopt(r->our[i], SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(r->our[i]);
    if (r->control >= 0) {
        r->our[i] = dial_as(r, i);
        return;
    }
    close(r->peer[i]);
    pair(&r->our[i], &r->peer[i]);
}

static void feed(struct rig *r, int n, int size)
{
    if (r->control >= 0) {
        order(r, ORDER_FEED, n, size, 0);
        arrived(r, n, size);
        return;
    }
    for (int i = 0; i < n; i++)
        must_be(send(r->peer[i], r->pattern, (size_t)size, 0), size);
}

static void drain(struct rig *r, int n, int size)
{
    static uint8_t back[BUF];

    if (r->control >= 0) {
        order(r, ORDER_DRAIN, n, size, 0);
        answered(r);
        return;
    }
    for (int i = 0; i < n; i++) {
        must_be(recv(r->peer[i], back, (size_t)size, MSG_WAITALL), size);
        back[0] ^= r->spoil;
        same(back, r->pattern, (size_t)size);
    }
}

/* ---- one ring ---- */

static int ring_open(struct io_uring *ring, unsigned flags)
{
    struct io_uring_params p = {.flags = flags | IORING_SETUP_CQSIZE |
                                         IORING_SETUP_CLAMP,
                                .cq_entries = 4 * CONNS,
                                .sq_thread_idle = 50};

    return io_uring_queue_init_params(CONNS, ring, &p);
}

static void piece_back(struct rig *r, unsigned piece)
{
    io_uring_buf_ring_add(r->pieces, r->piece_mem + (size_t)piece * BUF, BUF,
                          (unsigned short)piece, io_uring_buf_ring_mask(PIECES),
                          0);
    io_uring_buf_ring_advance(r->pieces, 1);
}

/* One enter submits what was prepared and brings n completions. */
static void reap(struct rig *r, int n, int size)
{
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;

    for (int left = n; left > 0; left -= (int)seen, seen = 0) {
        io_uring_submit_and_wait(r->ring, (unsigned)left);
        io_uring_for_each_cqe (r->ring, head, cqe) {
            int i = (int)cqe->user_data;
            unsigned piece = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

            if (cqe->res < 0)
                errno = -cqe->res;
            must_be(cqe->res < 0 ? -1 : cqe->res, size);
            r->at[i] = r->in[i];
            if (cqe->flags & IORING_CQE_F_BUFFER) {
                r->at[i] = r->piece_mem + (size_t)piece * BUF;
                piece_back(r, piece); /* read before the next enter */
            }
            seen++;
        }
        io_uring_cq_advance(r->ring, seen);
    }
}

static void check_received(struct rig *r, struct method *m)
{
    for (int i = 0; i < m->batch; i++) {
        r->at[i][0] ^= r->spoil;
        same(r->at[i], r->pattern, (size_t)m->size);
        r->at[i][0] = 0;
    }
}

static struct io_uring_sqe *multishot(struct rig *r, int i)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(r->ring);

    io_uring_prep_recv_multishot(sqe, r->our[i], NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    sqe->user_data = (uint64_t)i;
    return sqe;
}

static void multishot_arm(struct rig *r, int n)
{
    for (int i = 0; i < n; i++)
        multishot(r, i);
    io_uring_submit_and_get_events(r->ring);
}

/* Each ends with one more completion, without F_MORE; so does the cancel. */
static void multishot_stop(struct rig *r, int n)
{
    struct io_uring_cqe *cqe;

    for (int i = 0; i < n; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(r->ring);

        io_uring_prep_cancel64(sqe, (uint64_t)i, 0);
        sqe->user_data = CONNS;
    }
    io_uring_submit(r->ring);
    for (int i = 0; i < 2 * n; i++) {
        if (io_uring_wait_cqe(r->ring, &cqe) < 0)
            die("uring_ops: a multishot receive does not end");
        io_uring_cqe_seen(r->ring, cqe);
    }
}

static void once_arm(struct rig *r, struct method *m)
{
    struct io_uring_sqe *sqe;

    if (m->how == MULTISHOT) {
        multishot(r, 0);
    } else {
        sqe = io_uring_get_sqe(r->ring);
        io_uring_prep_recv(sqe, r->our[0], NULL, BUF, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = GROUP;
        sqe->user_data = 0;
    }
    io_uring_submit_and_get_events(r->ring);
}

/* The message, and then the end of the connection: a multishot receive is still
 * armed and has to complete once more. */
static void once_finish(struct rig *r, struct method *m)
{
    struct io_uring_cqe *cqe;

    reap(r, 1, m->size);
    shutdown(r->our[0], SHUT_RDWR);
    if (m->how == MULTISHOT) {
        io_uring_wait_cqe(r->ring, &cqe);
        if (cqe->flags & IORING_CQE_F_BUFFER)
            piece_back(r, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        io_uring_cqe_seen(r->ring, cqe);
    }
}

/* ---- large sends and receives: a thread at the other end ---- */

static void *sink_main(void *arg)
{
    struct rig *r = arg;
    uint8_t *mem = malloc(BIG);
    uint64_t at = 0;
    ssize_t n;

    CHECK(mem);
    pin(1);
    while ((n = recv(r->sink, mem, BIG - PERIOD, 0)) > 0) {
        mem[0] ^= r->spoil;
        same(mem, r->pattern + at % PERIOD, (size_t)n);
        at += (uint64_t)n;
        atomic_store(&r->sunk, at);
    }
    free(mem);
    return NULL;
}

static void drained(struct rig *r, uint64_t n)
{
    static uint64_t want;

    if (r->control >= 0) {
        order(r, ORDER_SUNK, (int)n, 0, 0);
        answered(r);
        return;
    }
    for (want += n; atomic_load(&r->sunk) < want;)
        sched_yield();
}

static void *source_main(void *arg)
{
    struct rig *r = arg;

    pin(1);
    while (sem_wait(&r->wanted) == 0 && !atomic_load(&r->stop)) {
        uint64_t left = atomic_exchange(&r->to_feed, 0);

        while (left > 0) {
            ssize_t n = send(r->source, r->pattern, left < BIG ? left : BIG,
                             MSG_NOSIGNAL);

            if (n <= 0)
                return NULL;
            left -= (uint64_t)n;
        }
    }
    return NULL;
}

static void fed(struct rig *r, uint64_t n)
{
    if (r->control >= 0) {
        order(r, ORDER_SOURCE, (int)n, 0, 0);
        return;
    }
    atomic_store(&r->to_feed, n);
    sem_post(&r->wanted);
}

/* Whatever the pieces are that it arrives in, the stream has one pattern. */
static int big_recv(struct rig *r, struct method *m, int want)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(r->ring);
    struct io_uring_cqe *cqe;
    int n;

    if (m->how == FIXED)
        io_uring_prep_read_fixed(sqe, r->feed, r->slot[0], (unsigned)want, 0,
                                 1);
    else
        io_uring_prep_recv(sqe, r->feed, r->slot[0], (size_t)want, 0);
    io_uring_submit_and_wait(r->ring, 1);
    io_uring_wait_cqe(r->ring, &cqe);
    n = cqe->res;
    io_uring_cqe_seen(r->ring, cqe);
    if (n <= 0)
        die("uring_ops: receive: %s", strerror(-n));
    r->slot[0][0] ^= r->spoil;
    same(r->slot[0], r->pattern + r->fed_at % PERIOD, (size_t)n);
    r->fed_at += (uint64_t)n;
    return n;
}

static void send_prep(struct rig *r, struct method *m, int slot, size_t done)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(r->ring);
    size_t n = (size_t)m->size - done;
    uint8_t *p = r->slot[slot] + done;

    if (m->how == RING)
        io_uring_prep_send(sqe, r->out, p, n, 0);
    else if (m->how == FIXED)
        io_uring_prep_write_fixed(sqe, r->out, p, (unsigned)n, 0, 1);
    else
        io_uring_prep_send_zc(sqe, r->out, p, n, 0,
                              IORING_SEND_ZC_REPORT_USAGE);
    if (m->how == ZC_FIXED) {
        sqe->ioprio |= IORING_RECVSEND_FIXED_BUF;
        sqe->buf_index = 1;
    }
    sqe->user_data = (uint64_t)slot;
}

/* Takes completions until the send's own is there, and returns its bytes; with
 * `notice`, until a notification is.  -ENOMEM: the pages may not be locked. */
static int send_reap(struct rig *r, struct method *m, int notice)
{
    for (;;) {
        struct io_uring_cqe *cqe;
        int res, slot;
        unsigned flags;

        io_uring_submit_and_wait(r->ring, 1);
        if (io_uring_wait_cqe(r->ring, &cqe) < 0)
            die("uring_ops: send: no completion");
        res = cqe->res;
        flags = cqe->flags;
        slot = (int)cqe->user_data;
        io_uring_cqe_seen(r->ring, cqe);
        if (flags & IORING_CQE_F_NOTIF) {
            r->pinned[slot]--;
            m->notified++;
            m->copied += ((unsigned)res & IORING_NOTIF_USAGE_ZC_COPIED) != 0;
            if (notice)
                return 0;
            continue;
        }
        r->pinned[slot] += (flags & IORING_CQE_F_MORE) != 0;
        if (res == -ENOMEM && m->how == ZC)
            return res;
        if (res <= 0)
            die("uring_ops: send: %s", strerror(-res));
        return res;
    }
}

/* ---- set-up flags: requests that arrive while the ring is waited for ---- */

static void *pinger_main(void *arg)
{
    struct rig *r = arg;
    struct method *m = r->pinging;

    pin(1);
    for (int k = 0; k < m->rounds; k++) {
        feed(r, m->batch, m->size);
        drain(r, m->batch, m->size);
    }
    atomic_store(&r->pinger_ns, cpu_ns());
    return NULL;
}

static void pinger_start(struct rig *r, struct method *m)
{
    atomic_store(&r->pinger_ns, 0);
    if (r->control >= 0) {
        order(r, ORDER_PING, m->batch, m->size, m->rounds);
        return;
    }
    r->pinging = m;
    if (pthread_create(&r->pinger, NULL, pinger_main, r) != 0)
        die("uring_ops: no thread");
}

static void pinger_join(struct rig *r)
{
    if (r->control >= 0) {
        order(r, ORDER_PONG, 0, 0, 0);
        answered(r);
        return;
    }
    pthread_join(r->pinger, NULL);
}

static void setup_prep(struct rig *r, int i, bool sending, int size)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(r->ring);

    while (!sqe) { /* an SQPOLL thread may lag behind */
        io_uring_submit(r->ring);
        sqe = io_uring_get_sqe(r->ring);
    }
    if (sending)
        io_uring_prep_send(sqe, r->our[i], r->in[i], (size_t)size, 0);
    else
        io_uring_prep_recv(sqe, r->our[i], r->in[i], BUF, 0);
    sqe->user_data = (uint64_t)i << 1 | sending;
}

/* One turn of an echo loop; returns the echoes that it finished. */
static uint64_t setup_turn(struct rig *r, struct method *m)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;
    uint64_t done = 0;

    io_uring_submit_and_wait(r->ring, 1);
    io_uring_for_each_cqe (r->ring, head, cqe) {
        int i = (int)(cqe->user_data >> 1);

        must_be(cqe->res, m->size);
        setup_prep(r, i, !(cqe->user_data & 1), m->size);
        done += cqe->user_data & 1;
        n++;
    }
    io_uring_cq_advance(r->ring, n);
    return done;
}

/* ---- statistics ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Median of n samples and its bootstrap 95 % interval (percentile method). */
static void interval(struct rig *r, const double *sample, int n, double out[3])
{
    static double meds[RESAMPLES];
    double v[MAX_BLOCKS];

    for (int k = 0; k < RESAMPLES; k++) {
        for (int i = 0; i < n; i++)
            v[i] = sample[chance(r) % (uint64_t)n];
        meds[k] = median(v, n);
    }
    memcpy(v, sample, (size_t)n * sizeof *v);
    out[0] = median(v, n);
    qsort(meds, RESAMPLES, sizeof *meds, by_value);
    out[1] = meds[RESAMPLES / 40];
    out[2] = meds[RESAMPLES - 1 - RESAMPLES / 40];
}

static void group_sum(struct rig *r, struct group *g, int blocks)
{
    for (int i = 0; i < g->n; i++) {
        struct method *m = &g->method[i];
        double ratio[MAX_BLOCKS], out[3];

        if (g->method[0].skipped && !m->skipped)
            m->skipped = "what it is compared with was skipped";
        if (m->skipped)
            continue;
        interval(r, m->sample, blocks, out);
        m->med = out[0], m->lo = out[1], m->hi = out[2];
        for (int b = 0; b < blocks; b++)
            ratio[b] = m->sample[b] / g->method[0].sample[b];
        interval(r, ratio, blocks, out);
        m->ratio = out[0], m->ratio_lo = out[1], m->ratio_hi = out[2];
    }
}

static void group_print(const struct group *g)
{
    printf("\n%s, batch %d, %d B\n", g->title, g->method[0].batch,
           g->method[0].size);
    for (int i = 0; i < g->n; i++) {
        const struct method *m = &g->method[i];

        if (m->skipped)
            printf("  %-24s skipped: %s\n", m->name, m->skipped);
        else
            printf("  %-24s %9.0f ns  %.3f (%.3f to %.3f)\n", m->name, m->med,
                   m->ratio, m->ratio_lo, m->ratio_hi);
    }
    fflush(stdout);
}

/* ---- what else there is to measure, and what cannot be ---- */

static void group_skip(const struct rig *r, struct group *g)
{
    for (int i = 0; i < g->n; i++) {
        struct method *m = &g->method[i];

        if ((m->how == FIXED || m->how == ZC_FIXED) && !r->fixed)
            m->skipped = "the limit on locked memory is too low";
        if ((m->how == CHOSEN || m->how == MULTISHOT) && !r->pieces)
            m->skipped = "this kernel has no buffer rings";
    }
}

static void add(struct group *g, const char *name, enum how how, int batch,
                int size, int rounds, unsigned flags)
{
    CHECK(g->n < MAX_METHODS);
    g->method[g->n++] = (struct method){.name = name,
                                        .how = how,
                                        .batch = batch,
                                        .size = size,
                                        .rounds = rounds,
                                        .flags = flags};
}

/* ---- beginning and end ---- */

static struct config config_parse(int argc, char **argv)
{
    static const struct option opts[] = {
        {"blocks", 1, NULL, 'b'}, {"quick", 0, NULL, 'q'},
        {"only", 1, NULL, 'o'},   {"json", 1, NULL, 'j'},
        {"spoil", 0, NULL, 's'},  {"peer", 1, NULL, 'p'},
        {"serve", 1, NULL, 'S'},  {0}};
    struct config c = {.blocks = 21};
    char *end;
    int key;

    while ((key = getopt_long(argc, argv, "", opts, NULL)) != -1) {
        if (key == 'b') {
            c.blocks = (int)strtol(optarg, &end, 10);
            c.blocks = *end ? 0 : c.blocks;
        } else if (key == 'q')
            c.quick = true;
        else if (key == 'o')
            c.only = optarg;
        else if (key == 'j')
            c.json = optarg;
        else if (key == 's')
            c.spoil = true;
        else if (key == 'p')
            c.peer = optarg;
        else if (key == 'S')
            c.serve = optarg;
        else
            exit(EX_USAGE);
    }
    if (optind < argc || c.blocks < 3 || c.blocks > MAX_BLOCKS)
        die_status(EX_USAGE, "uring_ops: --blocks from 3 to %d, no arguments",
                   MAX_BLOCKS);
    return c;
}

static uint8_t *memory(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                   -1, 0);

    if (p == MAP_FAILED)
        die("uring_ops: no memory");
    return memset(p, 'a', n);
}

static uint8_t *pattern_new(void)
{
    uint8_t *p = memory(BIG);

    for (int i = 0; i < BIG; i++)
        p[i] = (uint8_t)(' ' + i % PERIOD);
    return p;
}

static void rig_register(struct rig *r)
{
    struct iovec iov[2] = {{r->in[0], (size_t)CONNS * BUF},
                           {r->slot[0], (size_t)SLOTS * BIG}};
    struct io_uring_buf_reg reg = {.ring_entries = PIECES, .bgid = GROUP};
    uint8_t *mem = memory(PIECES * sizeof(struct io_uring_buf));

    r->fixed = io_uring_register_buffers(r->ring, iov, 2) == 0;
    if (io_uring_register_files(r->ring, r->our, CONNS) < 0)
        die("uring_ops: cannot register files");
    reg.ring_addr = (uintptr_t)mem;
    r->piece_mem = memory((size_t)PIECES * BUF);
    if (io_uring_register_buf_ring(r->ring, &reg, 0) == 0) {
        r->pieces = (void *)mem;
        io_uring_buf_ring_init(r->pieces);
        for (unsigned i = 0; i < PIECES; i++)
            piece_back(r, i);
    }
}

/* The two connections of the large sends and receives. */
static void large_open(struct rig *r)
{
    if (r->control >= 0) {
        r->out = dial_as(r, SINK);
        r->feed = dial_as(r, SOURCE);
        return;
    }
    sem_init(&r->wanted, 0, 0);
    pair(&r->out, &r->sink);
    pair(&r->source, &r->feed);
    if (pthread_create(&r->sink_thread, NULL, sink_main, r) != 0 ||
        pthread_create(&r->source_thread, NULL, source_main, r) != 0)
        die("uring_ops: no thread");
}

static void rig_open(struct rig *r, const struct config *c)
{
    uint8_t *in = memory((size_t)CONNS * BUF);
    uint8_t *slots = memory((size_t)SLOTS * BIG);
    double best = 1e9;
    int err;

    r->spoil = c->spoil;
    r->ops = c->quick ? 64 : 8192;
    r->seed = 0x9e3779b97f4a7c15;
    r->ring = &r->main_ring;
    err = ring_open(r->ring,
                    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (err == -EINVAL)
        err = ring_open(r->ring, 0);
    if (err < 0)
        die_status(EX_SKIP, "uring_ops: no io_uring: %s", uring_reason(err));
    pin(0);
    r->pattern = pattern_new();
    r->control = -1;
    if (c->peer)
        peer_open(r, c);
    for (int i = 0; i < CONNS; i++) {
        r->in[i] = in + (size_t)i * BUF;
        if (c->peer)
            r->our[i] = dial_as(r, i);
        else
            pair(&r->our[i], &r->peer[i]);
    }
    for (int i = 0; i < SLOTS; i++)
        r->slot[i] = memcpy(slots + (size_t)i * BIG, r->pattern, BIG);
    rig_register(r);
    large_open(r);
    for (int i = 0; i < 1000; i++) {
        uint64_t begin = cpu_ns();
        double took = (double)(cpu_ns() - begin);

        best = took < best ? took : best;
    }
    r->clock_ns = (uint64_t)best;
}

static void rig_close(struct rig *r)
{
    atomic_store(&r->stop, true);
    sem_post(&r->wanted);
    close(r->out);
    if (r->control >= 0) {
        close(r->control); /* the other end's session is over */
        freeaddrinfo(r->where);
        io_uring_queue_exit(r->ring);
        return;
    }
    pthread_join(r->sink_thread, NULL);
    pthread_join(r->source_thread, NULL);
    io_uring_queue_exit(r->ring);
}

static void json_write(const struct rig *r, const struct config *c,
                       const struct group *all, int n)
{
    FILE *f = strcmp(c->json, "-") == 0 ? stdout : fopen(c->json, "w");
    const char *comma = "";
    struct utsname un;

    if (!f)
        die("uring_ops: %s: %s", c->json, strerror(errno));
    uname(&un);
    fprintf(f,
            "{\"schema\": \"ioladder-uring-ops/1\", \"kernel\": \"%s\",\n"
            " \"blocks\": %d, \"clock_ns\": %llu, \"wire\": %s, "
            "\"rows\": [",
            un.release, c->blocks, (unsigned long long)r->clock_ns,
            c->peer ? "true" : "false");
    for (int i = 0; i < n; i++) {
        const struct group *g = &all[i];

        for (int k = 0; k < g->n; k++) {
            const struct method *m = &g->method[k];

            if (c->only && strcmp(c->only, g->name) != 0)
                continue;
            fprintf(f,
                    "%s\n  {\"group\": \"%s\", \"batch\": %d, \"size\": %d, "
                    "\"method\": \"%s\", \"baseline\": \"%s\"",
                    comma, g->name, m->batch, m->size, m->name,
                    g->method[0].name);
            comma = ",";
            if (m->skipped)
                fprintf(f, ", \"skipped\": \"%s\"}", m->skipped);
            else
                fprintf(f,
                        ", \"ns\": [%.1f, %.1f, %.1f], "
                        "\"ratio\": [%.4f, %.4f, %.4f], "
                        "\"notified\": %llu, \"copied\": %llu}",
                        m->med, m->lo, m->hi, m->ratio, m->ratio_lo,
                        m->ratio_hi, (unsigned long long)m->notified_sum,
                        (unsigned long long)m->copied_sum);
        }
    }
    fprintf(f, "\n]}\n");
    if (f != stdout && fclose(f) != 0)
        die("uring_ops: %s: %s", c->json, strerror(errno));
}

#endif
