/* prices_net.h - the prices of a receive and a send on loopback: by calls, by
 * a thread for each connection, by a ring.  Only prices.c includes it.
 *
 * The peers are on the second cpu and do what a client does that polls: while
 * the replies are made, they take them.  So the lines of the sockets are needed
 * on both cpus, as they are in a measurement.  What the peers spend is not
 * timed.
 */
#ifndef PRICES_NET_H
#define PRICES_NET_H

#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "prices.h"

/* The connections of the calls and of the ring, and after them those that have
 * a thread each. */
enum { ALL_CONNS = 2 * CONNS, MESSAGE = 64 };

static struct {
    int ours[ALL_CONNS], theirs[ALL_CONNS];
    char in[ALL_CONNS][MESSAGE];
    pthread_t threads[CONNS];
    struct io_uring ring;
    int ring_error; /* of making the ring; 0: it is there */
    int epoll, peers_epoll;
    bool open;
    struct partner peer; /* on the second cpu, for good, if there is one */
    void (*peers_do)(int n);
    int peers_n;
    int rest; /* written to: the peers' rest is over */
    int told; /* written to: the threads have answered */
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

/* Lets the peers do it meanwhile; with one cpu they do it afterwards. */
static void peers_begin(void (*what)(int n), int n)
{
    net.peers_do = what;
    net.peers_n = n;
    if (cpu_b >= 0)
        atomic_fetch_add(&net.peer.word, 1);
}

static void peers_await(void)
{
    if (cpu_b < 0)
        net.peers_do(net.peers_n);
    for (int i = 0; cpu_b >= 0 && atomic_load(&net.peer.word) % 2; i++)
        if (i > 20000)
            sched_yield();
}

static void peers(void (*what)(int n), int n)
{
    peers_begin(what, n);
    peers_await();
}

static int new_epoll(void)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);

    if (fd < 0)
        die("prices: epoll: %s", strerror(errno));
    return fd;
}

static void watch(int epoll, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
        die("prices: epoll: %s", strerror(errno));
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
    watch(net.peers_epoll, net.theirs[i]);
    if (i < CONNS)
        watch(net.epoll, net.ours[i]);
}

static void must_be(ssize_t got, ssize_t wanted)
{
    if (got != wanted)
        die("prices: %zd bytes instead of %zd: %s", got, wanted,
            strerror(got < 0 ? errno : 0));
}

/* The thread of one connection, as stage 1 has it. */
static void *answer_one(void *arg)
{
    int i = (int)(intptr_t)arg;

    pin(cpu_a);
    for (;;) {
        must_be(recv(net.ours[i], net.in[i], MESSAGE, 0), MESSAGE);
        must_be(send(net.ours[i], net.in[i], MESSAGE, 0), MESSAGE);
    }
    return NULL;
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
        listen(listener, ALL_CONNS) < 0 ||
        getsockname(listener, (struct sockaddr *)&addr, &len) < 0)
        die("prices: cannot listen on loopback: %s", strerror(errno));
    net.epoll = new_epoll();
    net.peers_epoll = new_epoll();
    net.rest = new_event();
    net.told = new_event();
    for (int i = 0; i < ALL_CONNS; i++)
        pair_open(listener, &addr, i);
    close(listener);
    net.ring_error = io_uring_queue_init_params(2 * CONNS, &net.ring, &params);
    if (net.ring_error == -EINVAL) /* before Linux 6.1 */
        net.ring_error = io_uring_queue_init(2 * CONNS, &net.ring, 0);
    for (int i = 0; i < CONNS; i++)
        if (pthread_create(&net.threads[i], NULL, answer_one,
                           (void *)(intptr_t)(CONNS + i)) != 0)
            die("prices: cannot start a thread");
    net.peer = (struct partner){.cpu = cpu_b, .play = peers_take_turns};
    if (cpu_b >= 0)
        partner_start(&net.peer);
    net.open = true;
}

/* ---- what the peers do ---- */

/* They sleep between two prices: other prices need their cpu. */
static void peers_rest(int unused)
{
    (void)unused;
    event_read(net.rest);
}

static void net_begin(void)
{
    if (!net.open) {
        net_open();
    } else if (cpu_b >= 0) {
        event_write(net.rest);
        peers_await();
    }
}

static void net_end(void)
{
    if (cpu_b >= 0)
        peers_begin(peers_rest, 0);
}

static void send_from(int first, int n)
{
    char message[MESSAGE];

    memset(message, 'x', sizeof message);
    for (int i = first; i < first + n; i++)
        must_be(send(net.theirs[i], message, MESSAGE, 0), MESSAGE);
}

static void peers_send(int n)
{
    send_from(0, n);
}

/* As a client that polls: replies are taken while the next ones are made. */
static void peers_take(int n)
{
    struct epoll_event ev[CONNS];
    char message[MESSAGE];

    while (n > 0) {
        int got = epoll_wait(net.peers_epoll, ev, CONNS, 0);

        for (int i = 0; i < got; i++, n--)
            must_be(recv(ev[i].data.fd, message, MESSAGE, 0), MESSAGE);
    }
}

static void peers_ask_threads(int n)
{
    send_from(CONNS, n);
    peers_take(n);
    event_write(net.told);
}

/* ---- what is timed ---- */

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

/* So many rounds that a batch takes about as long for each n; one more comes
 * first and is not timed, since other prices have had the caches. */
static int rounds_of(int n)
{
    return n == 1 ? 200 : 8;
}

/* CPU time of one recv and one send; n > 0: of n connections in two enters of
 * the ring; 0: by calls. */
static double echo_batch(int n)
{
    int rounds = rounds_of(n), wide = n ? n : CONNS;
    int64_t spent = 0;

    if (n && net.ring_error)
        return -1;
    for (int k = -1; k < rounds; k++) {
        int64_t begin, end;

        peers(peers_send, wide);
        peers_begin(peers_take, wide);
        begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        if (n) {
            ring_pass(n, false);
            ring_pass(n, true);
        } else {
            echo_calls(wide);
        }
        end = spent_since(begin);
        spent += k < 0 ? 0 : end;
        peers_await();
    }
    return (double)spent / rounds / wide;
}

/* The same, but the receives wait in the ring before there are bytes: three
 * enters, since nobody sends while we wait. */
static double armed_batch(int n)
{
    int rounds = rounds_of(n);
    int64_t spent = 0;

    if (net.ring_error)
        return -1;
    for (int k = -1; k < rounds; k++) {
        int64_t begin = clock_ns(CLOCK_THREAD_CPUTIME_ID), armed;

        ring_prepare(n, false);
        io_uring_submit(&net.ring);
        armed = spent_since(begin);
        peers(peers_send, n);
        peers_begin(peers_take, n);
        begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        ring_complete(n);
        ring_pass(n, true);
        armed += spent_since(begin);
        spent += k < 0 ? 0 : armed;
        peers_await();
    }
    return (double)spent / rounds / n;
}

static int64_t threads_ns(void)
{
    int64_t sum = 0;

    for (int i = 0; i < CONNS; i++) {
        clockid_t id;

        if (pthread_getcpuclockid(net.threads[i], &id) != 0)
            die("prices: a thread has no clock");
        sum += clock_ns(id);
    }
    return sum;
}

/* The same by n threads, each of which sleeps in its recv before there are
 * bytes: so their switches are in it. */
static double threads_batch(int n)
{
    enum { ROUNDS = 16 };
    int64_t begin = 0;

    for (int k = -1; k < ROUNDS; k++) {
        if (k == 0)
            begin = threads_ns();
        peers_begin(peers_ask_threads, n);
        if (cpu_b < 0)
            peers_await();
        event_read(net.told);
        if (cpu_b >= 0)
            peers_await();
    }
    return (double)(threads_ns() - begin) / ROUNDS / n;
}

/* One event of an epoll_wait that returns n of them. */
static double event_of_batch(int n)
{
    struct epoll_event ev[CONNS];
    int rounds = rounds_of(n);
    int64_t spent = 0;

    for (int k = -1; k < rounds; k++) {
        int64_t begin, end;

        peers(peers_send, n);
        begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        while (epoll_wait(net.epoll, ev, CONNS, 0) < n)
            ; /* a packet may still be on its way */
        end = spent_since(begin);
        spent += k < 0 ? 0 : end;
        peers_begin(peers_take, n);
        echo_calls(n);
        peers_await();
    }
    return (double)spent / rounds / n;
}

#endif
