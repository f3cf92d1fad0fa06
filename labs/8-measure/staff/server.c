/* server.c - lab 8: an HTTP server that now and then stands still.
 *
 * A thread for every connection, as in stage 1, and one thing more: each
 * request is written into a log, and once in a while the log is flushed.  How
 * long that takes, when, for whom and in which call is the course's own secret
 * (tests/plan.h).
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"
#include "plan.h"
#include "service.h"
#include "timer_wheel.h"

/* Connections are dealt to the logs in restarts. */
struct log {
    pthread_mutex_t lock; /* held during a flush, too */
    bool flushes;
};

struct conn {
    struct session s;
    struct stats *stats;
    struct log *log;
    int fd;
};

static struct {
    struct service sv;
    struct plan plan;
    struct log logs[2];
    _Atomic uint64_t answered;
    uint64_t next; /* flush at this time (ms) or number; by the one that does */
    unsigned n_conns;
    int listener, epoll, silent; /* a socket on which nothing ever arrives */
} v;

/* ---- the log ---- */

static void sleep_in_a_call(unsigned ms)
{
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    struct timeval limit = {ms / 1000, (long)(ms % 1000) * 1000};
    struct epoll_event ev;
    sigset_t none;
    char byte[1];
    struct iovec piece = {byte, sizeof byte};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

    switch (v.plan.call) {
    case 0:
        clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
        break;
    case 1:
        select(0, NULL, NULL, NULL, &limit);
        break;
    case 2:
        epoll_wait(v.epoll, &ev, 1, (int)ms);
        break;
    case 3:
        sigemptyset(&none);
        sigtimedwait(&none, NULL, &time);
        break;
    default:
        setsockopt(v.silent, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        (void)recvmsg(v.silent, &message, 0);
    }
}

/* One more request was answered. */
static void log_request(struct log *log)
{
    uint64_t number = atomic_fetch_add(&v.answered, 1) + 1, at;

    pthread_mutex_lock(&log->lock);
    at = v.plan.by_requests ? number : (uint64_t)clock_ms();
    if (log->flushes && at >= v.next) {
        v.next = at + v.plan.every;
        sleep_in_a_call(v.plan.length_ms);
    }
    pthread_mutex_unlock(&log->lock);
}

/* ---- a connection ---- */

static bool conn_recv(struct conn *c)
{
    struct buf *in = &c->s.in;
    ssize_t n;

    if (c->s.fin)
        shutdown(c->fd, SHUT_WR);
    do
        n = recv(c->fd, buf_tail(in), buf_room(in), 0);
    while (n < 0 && errno == EINTR);
    c->s.eof = n == 0;
    buf_commit(in, n > 0 ? (size_t)n : 0);
    return n >= 0;
}

static bool conn_send(struct conn *c)
{
    struct buf *out = &c->s.out;
    ssize_t n;

    do
        n = send(c->fd, buf_data(out), buf_len(out), MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    buf_consume(out, n > 0 ? (size_t)n : 0);
    return n > 0;
}

static void *conn_run(void *arg)
{
    struct conn *c = arg;
    uint8_t in[BUF_SIZE], out[BUF_SIZE];
    bool open = true;

    buf_lend(&c->s.in, in, sizeof in);
    buf_lend(&c->s.out, out, sizeof out);
    while (open) {
        uint32_t restarts = c->s.restarts;
        enum want want = session_step(&c->s, c->stats);

        for (; restarts != c->s.restarts; restarts++)
            log_request(c->log);
        if (want == WANT_RECV)
            open = conn_recv(c);
        else if (want == WANT_SEND)
            open = conn_send(c);
        else if (want == WANT_FILE)
            session_file(&c->s, -EIO); /* this server has no files */
        else if (want == WANT_WORK)
            service_work(&c->s, c->stats);
        else
            open = false;
    }
    net_close(c->fd);
    session_end(&c->s);
    stats_give(c->stats);
    free(c);
    return NULL;
}

static void conn_new(int fd)
{
    struct conn *c = calloc(1, sizeof *c);
    struct stats *stats = c ? stats_lend() : NULL;
    pthread_t thread;

    if (stats) {
        c->fd = fd;
        c->stats = stats;
        c->log = &v.logs[v.plan.half ? v.n_conns % 2 : 1];
        session_init(&c->s, &v.sv.app);
        if (pthread_create(&thread, NULL, conn_run, c) == 0) {
            pthread_detach(thread);
            v.n_conns++;
            return;
        }
        session_end(&c->s);
        stats_give(stats);
    }
    free(c);
    net_close(fd);
}

/* ---- the server ---- */

static void accept_loop(void)
{
    struct pollfd fds[] = {{.fd = v.sv.signal, .events = POLLIN},
                           {.fd = v.listener, .events = POLLIN}};

    while (!service_draining(&v.sv)) {
        int fd = net_accept(v.listener, false);

        if (fd >= 0)
            conn_new(fd);
        else if (fd == -EAGAIN)
            poll(fds, 2, -1);
        else
            poll(fds, 1, RETRY_MS);
    }
}

int main(int argc, char **argv)
{
    service_open(&v.sv, "measure", "Lab 8: a server that pauses.", argc, argv,
                 NULL, NULL);
    v.plan = plan_read();
    v.next = v.plan.every + (v.plan.by_requests ? 0 : (uint64_t)clock_ms());
    v.logs[1].flushes = true;
    for (int i = 0; i < 2; i++)
        pthread_mutex_init(&v.logs[i].lock, NULL);
    v.epoll = epoll_create1(EPOLL_CLOEXEC);
    v.silent = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (v.epoll < 0 || v.silent < 0)
        die("measure: %s", strerror(errno));
    net_listen(v.sv.opt.host, &v.sv.opt.port, 1, &v.listener);
    service_ready(&v.sv, "a thread for every connection");
    accept_loop();
    _exit(0); /* connections end with it */
}
