/* uring_ops - what one socket operation costs, by system call and by io_uring.
 *
 * Every comparison is paired: in each block all methods of a group run once, in
 * random order, on the same connections; what is reported is the median over
 * the blocks and the median of the ratios to the group's first method, with
 * bootstrap 95 % intervals.  The cost is CPU time of the measuring thread (for
 * `setup`: of the process less the feeding thread, so that an SQPOLL thread
 * counts), less the cost of reading the clock.  Every byte is compared.
 *
 * Loopback: a sender's system call also does the receiver's TCP work.  Feeding
 * and draining are not timed.
 *
 * uring_ops [--blocks N] [--quick] [--only GROUP] [--json FILE] [--spoil]
 *           [--peer HOST:PORT]
 * uring_ops --serve ADDR:PORT
 * Exit: 0; 1 wrong bytes, no peer; 64 usage; 77 no io_uring.  --spoil plants a
 * wrong byte, so that a test can see the check fail.  With --peer the other
 * ends of all connections are on another machine, where --serve runs until a
 * signal ends it: then packets pass a card, and there is one more group, napi.
 */
#include "uring_ops.h"
#include "inherit.h"
#include "uring_serve.h"

enum { REGISTER_NAPI = 27, NAPI_US = 50 };

/* ---- the methods: each does one batch and returns CPU nanoseconds ---- */

static uint64_t timed(struct rig *r, void (*op)(struct rig *, struct method *),
                      struct method *m)
{
    uint64_t begin = cpu_ns();

    op(r, m);
    begin = cpu_ns() - begin;
    return begin > r->clock_ns ? begin - r->clock_ns : 0;
}

static void sys_echo(struct rig *r, struct method *m)
{
    for (int i = 0; i < m->batch; i++) {
        must_be(recv(r->our[i], r->in[i], BUF, 0), m->size);
        must_be(send(r->our[i], r->in[i], (size_t)m->size, 0), m->size);
    }
}

static void ring_batch(struct rig *r, struct method *m, bool sending)
{
    for (int i = 0; i < m->batch; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(r->ring);

        if (sending)
            io_uring_prep_send(sqe, r->our[i], r->in[i], (size_t)m->size, 0);
        else
            io_uring_prep_recv(sqe, r->our[i], r->in[i], BUF, 0);
        if (m->how == DIRECT) {
            sqe->fd = i;
            sqe->flags |= IOSQE_FIXED_FILE;
        }
        sqe->user_data = (uint64_t)i;
    }
    reap(r, m->batch, m->size);
}

static void ring_echo(struct rig *r, struct method *m)
{
    ring_batch(r, m, false);
    ring_batch(r, m, true);
}

/* One receive for each connection, by the method's operation. */
static void ring_recv(struct rig *r, struct method *m)
{
    for (int i = 0; i < m->batch && m->how != MULTISHOT; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(r->ring);

        if (m->how == FIXED)
            io_uring_prep_read_fixed(sqe, r->our[i], r->in[i], BUF, 0, 0);
        else
            io_uring_prep_recv(sqe, r->our[i], r->in[i], BUF, 0);
        if (m->how == CHOSEN) {
            io_uring_prep_recv(sqe, r->our[i], NULL, BUF, 0);
            sqe->flags |= IOSQE_BUFFER_SELECT;
            sqe->buf_group = GROUP;
        }
        sqe->user_data = (uint64_t)i;
    }
    reap(r, m->batch, m->size);
}

/* ---- one slice: many batches of one method ---- */

static void echo_slice(struct rig *r, struct method *m)
{
    uint64_t ns = 0;

    for (int k = 0; k < m->rounds; k++) {
        feed(r, m->batch, m->size);
        ns += timed(r, m->how == SYSCALL ? sys_echo : ring_echo, m);
        drain(r, m->batch, m->size);
    }
    m->ns = (double)ns / m->rounds / m->batch;
}

static void recv_slice(struct rig *r, struct method *m)
{
    uint64_t ns = 0;

    if (m->how == MULTISHOT)
        multishot_arm(r, m->batch);
    for (int k = 0; k < m->rounds; k++) {
        feed(r, m->batch, m->size);
        ns += timed(r, ring_recv, m);
        check_received(r, m);
    }
    if (m->how == MULTISHOT)
        multishot_stop(r, m->batch);
    m->ns = (double)ns / m->rounds / m->batch;
}

/* A fresh connection for every message: arm, receive, end. */
static void once_slice(struct rig *r, struct method *m)
{
    uint64_t ns = 0;

    for (int k = 0; k < m->rounds; k++) {
        rig_reconnect(r, 0);
        ns += timed(r, once_arm, m);
        feed(r, 1, m->size);
        ns += timed(r, once_finish, m);
        check_received(r, m);
    }
    rig_reconnect(r, 0);
    m->ns = (double)ns / m->rounds;
}

/* Sends to a thread that drains on another cpu.  Zero-copy sends have up to
 * SLOTS buffers out, and nobody waits for one notification. */
static void send_slice(struct rig *r, struct method *m)
{
    uint64_t begin;

    for (int i = 0; i < SLOTS; i++) /* a receive may have used them */
        memcpy(r->slot[i], r->pattern, BIG);
    begin = cpu_ns();
    m->copied = m->notified = 0;
    for (int k = 0; k < m->rounds; k++) {
        size_t done = 0;

        while (r->pinned[k % SLOTS] > 0)
            send_reap(r, m, 1);
        while (done < (size_t)m->size) {
            int n;

            send_prep(r, m, k % SLOTS, done);
            n = send_reap(r, m, 0);
            if (n < 0) { /* the stream must go on where it stopped */
                m->skipped = "the limit on locked memory is too low";
                m->how = RING;
                continue;
            }
            done += (size_t)n;
        }
    }
    m->ns = (double)(cpu_ns() - begin) / m->rounds;
    for (int i = 0; i < SLOTS; i++)
        while (r->pinned[i] > 0)
            send_reap(r, m, 1);
    drained(r, (uint64_t)m->rounds * (uint64_t)m->size);
}

/* Large receives: a thread on another cpu keeps the socket full. */
static void big_slice(struct rig *r, struct method *m)
{
    uint64_t begin;

    fed(r, (uint64_t)m->rounds * (uint64_t)m->size);
    begin = cpu_ns();
    for (int k = 0; k < m->rounds; k++)
        for (int done = 0; done < m->size;)
            done += big_recv(r, m, m->size - done);
    m->ns = (double)(cpu_ns() - begin) / m->rounds;
}

/* The ring polls the card's queue for a while before it sleeps (Linux 6.9). */
static int napi_on(struct io_uring *ring)
{
    struct {
        uint32_t busy_poll_us;
        uint8_t prefer, pad[3];
        uint64_t reserved;
    } napi = {.busy_poll_us = NAPI_US, .prefer = 1};

    return (int)syscall(SYS_io_uring_register, ring->ring_fd, REGISTER_NAPI,
                        &napi, 1);
}

/* Requests arrive while the loop waits, as they do in a server. */
static void arriving(struct rig *r, struct method *m, uint64_t (*clock)(void))
{
    struct rig own = *r;
    struct io_uring ring;
    uint64_t begin;

    if (ring_open(&ring, m->flags) < 0) {
        m->skipped = "this kernel refuses the set-up flags";
        return;
    }
    if (m->how == NAPI && napi_on(&ring) < 0) {
        m->skipped = "this kernel's rings do not poll cards";
        io_uring_queue_exit(&ring);
        return;
    }
    own.ring = &ring;
    pinger_start(&own, m);
    begin = clock() - atomic_load(&own.pinger_ns);
    for (int i = 0; i < m->batch; i++)
        setup_prep(&own, i, false, m->size);
    for (uint64_t left = (uint64_t)m->rounds * (uint64_t)m->batch; left > 0;)
        left -= setup_turn(&own, m);
    pinger_join(&own);
    m->ns = (double)(clock() - begin - atomic_load(&own.pinger_ns)) /
            m->rounds / m->batch;
    io_uring_queue_exit(&ring);
}

static void setup_slice(struct rig *r, struct method *m)
{
    arriving(r, m, process_ns);
}

/* Polling costs CPU to save time, so here time is what counts. */
static void napi_slice(struct rig *r, struct method *m)
{
    arriving(r, m, wall_ns);
}

/* ---- groups ---- */

static void group_run(struct rig *r, struct group *g, int blocks)
{
    for (int b = 0; b < blocks; b++) {
        int order[MAX_METHODS] = {0};

        shuffle(r, order, g->n);
        for (int i = 0; i < g->n; i++) {
            struct method *m = &g->method[order[i]];

            if (m->skipped)
                continue;
            g->slice(r, m);
            m->sample[b] = m->ns;
            m->copied_sum += m->copied;
            m->notified_sum += m->notified;
        }
    }
}

static struct group *group(struct group *all, int *n, const char *name,
                           const char *title,
                           void (*slice)(struct rig *, struct method *))
{
    struct group *g = &all[(*n)++];

    CHECK(*n <= MAX_GROUPS);
    *g = (struct group){.name = name, .title = title, .slice = slice};
    return g;
}

/* About the same time for every slice, whatever a round costs. */
static int rounds_for(const struct rig *r, int batch, int size)
{
    int cost = batch + size / 2048;
    int n = (int)(r->ops / cost);

    return n < 2 ? 2 : n;
}

static void define_rest(struct rig *r, struct group *all, int *n)
{
    static const unsigned defer =
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    struct group *g = group(all, n, "direct", "recv + send, 64 B", echo_slice);
    int k = rounds_for(r, 64, 64);

    add(g, "by descriptor", RING, 64, 64, k, 0);
    add(g, "direct descriptor", DIRECT, 64, 64, k, 0);
    g = group(all, n, "once", "receive, one message a connection", once_slice);
    k = rounds_for(r, 16, 64);
    add(g, "RECV one-shot", CHOSEN, 1, 64, k, 0);
    add(g, "RECV multishot", MULTISHOT, 1, 64, k, 0);
    for (int batch = 16; batch <= 64; batch *= 4) {
        g = group(all, n, "setup", "echo, arriving", setup_slice);
        k = rounds_for(r, batch, 64);
        add(g, "DEFER_TASKRUN", RING, batch, 64, k, defer);
        add(g, "COOP_TASKRUN", RING, batch, 64, k, IORING_SETUP_COOP_TASKRUN);
        add(g, "no flags", RING, batch, 64, k, 0);
        add(g, "SQPOLL", RING, batch, 64, k, IORING_SETUP_SQPOLL);
    }
    if (r->control < 0) /* loopback has no card that could be polled */
        return;
    for (int batch = 1; batch <= 16; batch *= 16) {
        g = group(all, n, "napi", "echo, arriving, time", napi_slice);
        k = rounds_for(r, batch, 64);
        add(g, "DEFER_TASKRUN", RING, batch, 64, k, defer);
        add(g, "the same, NAPI", NAPI, batch, 64, k, defer);
    }
}

static int define(struct rig *r, struct group *all)
{
    static const int batches[] = {1, 4, 16, 64, 256};
    static const int small[] = {64, 1024, 4096, 16384};
    static const int sends[] = {64, 1024, 4096, 16384, 65536, 262144, 1048576};
    int n = 0;

    for (size_t i = 0; i < 5; i++) {
        int b = batches[i], k = rounds_for(r, b, 64);
        struct group *g =
            group(all, &n, "echo", "recv + send of 64 B", echo_slice);

        add(g, "recv, send", SYSCALL, b, 64, k, 0);
        add(g, "RECV, SEND by io_uring", RING, b, 64, k, 0);
    }
    for (size_t i = 0; i < 4; i++) {
        int k = rounds_for(r, 64, small[i] * 16);
        struct group *g = group(all, &n, "recv", "receive", recv_slice);

        add(g, "RECV", RING, 64, small[i], k, 0);
        add(g, "RECV, buffer ring", CHOSEN, 64, small[i], k, 0);
        add(g, "READ_FIXED", FIXED, 64, small[i], k, 0);
        add(g, "RECV multishot", MULTISHOT, 64, small[i], k, 0);
    }
    for (size_t i = 4; i < 7; i++) {
        int k = rounds_for(r, 1, sends[i]);
        struct group *g =
            group(all, &n, "recv-large", "receive, fed", big_slice);

        add(g, "RECV", RING, 1, sends[i], k, 0);
        add(g, "READ_FIXED", FIXED, 1, sends[i], k, 0);
    }
    for (size_t i = 0; i < 7; i++) {
        int k = rounds_for(r, 1, sends[i]);
        struct group *g = group(all, &n, "send", "send, drained", send_slice);

        add(g, "SEND", RING, 1, sends[i], k, 0);
        add(g, "WRITE_FIXED", FIXED, 1, sends[i], k, 0);
        add(g, "SEND_ZC", ZC, 1, sends[i], k, 0);
        add(g, "SEND_ZC fixed", ZC_FIXED, 1, sends[i], k, 0);
    }
    define_rest(r, all, &n);
    return n;
}

int main(int argc, char **argv)
{
    static struct group all[MAX_GROUPS];
    static struct rig r;
    struct config c;
    bool any = false;
    int n;

    inherit_clean();
    c = config_parse(argc, argv);
    if (c.serve)
        serve(c.serve);
    rig_open(&r, &c);
    n = define(&r, all);
    for (int i = 0; i < n; i++) {
        struct group *g = &all[i];

        if (c.only && strcmp(c.only, g->name) != 0)
            continue;
        any = true;
        group_skip(&r, g);
        group_run(&r, g, c.blocks);
        group_sum(&r, g, c.blocks);
        group_print(g);
    }
    if (!any)
        die_status(EX_USAGE, "uring_ops: no group is named %s", c.only);
    if (c.json)
        json_write(&r, &c, all, n);
    rig_close(&r);
    return 0;
}
