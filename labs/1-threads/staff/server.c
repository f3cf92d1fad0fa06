/* server.c - lab 1: stage 1's conversation, on whatever thread it is called. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>

#include "container_of.h"
#include "lab_calls.h"
#include "net.h"
#include "pool.h"

enum { DEFAULT_WORKERS = 48 };

struct conn {
    struct peer peer;
    struct session s;
    struct stats *stats;
    int64_t recv_ms, send_ms; /* how long the socket lets a call sleep */
    bool answered;
    _Atomic bool busy; /* a request is in flight */
};

static struct service sv;
static pthread_mutex_t lending = PTHREAD_MUTEX_INITIALIZER;

struct peer *peer_new(int fd)
{
    struct conn *c = calloc(1, sizeof *c);

    if (c) {
        pthread_mutex_lock(&lending);
        c->stats = stats_lend();
        pthread_mutex_unlock(&lending);
    }
    if (!c || !c->stats) {
        free(c);
        net_close(fd);
        return NULL;
    }
    c->peer.fd = fd;
    session_init(&c->s, &sv.app);
    STAT_ADD(c->stats, accepted, 1);
    return &c->peer;
}

void peer_drop(struct peer *p)
{
    struct conn *c = container_of(p, struct conn, peer);

    net_close(p->fd);
    session_end(&c->s);
    STAT_ADD(c->stats, closed, 1);
    stats_give(c->stats);
    free(c);
}

/* The thread stores `busy` and then looks at the token, in conn_recv(); here
 * the token was raised first.  So at least one side sees the other. */
void peer_end(struct peer *p)
{
    if (!container_of(p, struct conn, peer)->busy)
        shutdown(p->fd, SHUT_RD);
}

void peer_cut(struct peer *p)
{
    shutdown(p->fd, SHUT_RDWR);
}

static bool conn_recv(struct conn *c)
{
    struct buf *in = &c->s.in;
    bool rests = c->answered && !c->busy && buf_len(in) == 0;
    ssize_t n;

    if (c->s.fin)
        shutdown(c->peer.fd, SHUT_WR);
    if (service_draining(&sv) && !c->busy)
        shutdown(c->peer.fd, SHUT_RD);
    net_limit(c->peer.fd, SO_RCVTIMEO, sv.opt.idle_ms, &c->recv_ms);
    if (rests)
        pool_rests(&c->peer);
    while ((n = recv(c->peer.fd, buf_tail(in), buf_room(in), 0)) < 0 &&
           errno == EINTR)
        ;
    if (rests)
        pool_wakes(&c->peer);
    if (n < 0)
        return false;
    c->s.eof |= n == 0;
    buf_commit(in, (size_t)n);
    STAT_ADD(c->stats, bytes_in, (uint64_t)n);
    return true;
}

static bool conn_send(struct conn *c)
{
    struct buf *out = &c->s.out;
    ssize_t n;

    net_limit(c->peer.fd, SO_SNDTIMEO, sv.opt.idle_ms, &c->send_ms);
    while ((n = send(c->peer.fd, buf_data(out), buf_len(out), MSG_NOSIGNAL)) <
               0 &&
           errno == EINTR)
        ;
    if (n < 0)
        return false;
    c->answered = true;
    buf_consume(out, (size_t)n);
    STAT_ADD(c->stats, bytes_out, (uint64_t)n);
    return true;
}

void peer_serve(struct peer *p)
{
    struct conn *c = container_of(p, struct conn, peer);
    uint8_t in[BUF_SIZE], out[BUF_SIZE];
    bool open = true;

    buf_lend(&c->s.in, in, sizeof in);
    buf_lend(&c->s.out, out, sizeof out);
    while (open) {
        enum want want = session_step(&c->s, c->stats);

        c->busy = session_in_flight(&c->s);
        switch (want) {
        case WANT_RECV:
            open = conn_recv(c);
            break;
        case WANT_SEND:
            open = conn_send(c);
            break;
        case WANT_WORK:
            service_work(&c->s, c->stats);
            break;
        case WANT_FILE: /* no file is ever opened, but bytes are made up */
            session_file(&c->s, -EIO);
            break;
        case WANT_CLOSE:
            open = false;
        }
    }
    pool_leaves(p);
    peer_drop(p);
}

int main(int argc, char **argv)
{
    struct pool_setup setup = {.sv = &sv};

    service_open(&sv, "lab1", "Lab 1: a pool of threads.", argc, argv, NULL,
                 NULL);
    if (sv.opt.workers == 0)
        sv.opt.workers = DEFAULT_WORKERS;
    if (sv.opt.workers > sv.opt.max_conns)
        sv.opt.workers = sv.opt.max_conns;
    net_listen(sv.opt.host, &sv.opt.port, 1, &setup.listener);
    service_ready(&sv, "at most %d threads of %d KiB stack", sv.opt.workers,
                  STACK_SIZE / 1024);
    pool_run(&setup);
    service_close(&sv);
    lab_calls_say();
    return 0;
}
