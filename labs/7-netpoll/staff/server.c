/* server.c - lab 7: stage 1's conversation on the student's netpoller.
 *
 * A task for every connection; it reads like a thread of stage 1, and there is
 * one thread.  lab_calls.c counts what the netpoller calls.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "lab_calls.h"
#include "net.h"
#include "netpoll.h"
#include "service.h"

enum { SENDS_A_TURN = 16 };

struct conn {
    LIST_ENTRY(conn) link;
    struct session s;
    int fd;
    uint8_t in[BUF_SIZE], out[BUF_SIZE];
};

static struct {
    struct service sv;
    struct stats stats;
    LIST_HEAD(, conn) live;
    int listener, n_conns;
} v;

/* A stack needs memory and a guard page, and no code in it. */
void *__real_mmap(void *p, size_t n, int prot, int flags, int fd, off_t at);
void *__wrap_mmap(void *p, size_t n, int prot, int flags, int fd, off_t at);
void *__wrap_mmap(void *p, size_t n, int prot, int flags, int fd, off_t at)
{
    return __real_mmap(p, n, prot & ~PROT_EXEC, flags, fd, at);
}

int __real_mprotect(void *p, size_t n, int prot);
int __wrap_mprotect(void *p, size_t n, int prot);
int __wrap_mprotect(void *p, size_t n, int prot)
{
    return __real_mprotect(p, n, prot & ~PROT_EXEC);
}

/* ---- a connection ---- */

static bool conn_wait(struct conn *c, uint32_t events)
{
    return netpoll_wait(c->fd, events, v.sv.opt.idle_ms) == 0;
}

static bool conn_recv(struct conn *c)
{
    struct buf *in = &c->s.in;
    ssize_t n;

    if (c->s.fin)
        shutdown(c->fd, SHUT_WR);
    if (service_draining(&v.sv) && !session_in_flight(&c->s))
        shutdown(c->fd, SHUT_RD);
    while ((n = recv(c->fd, buf_tail(in), buf_room(in), 0)) < 0)
        if ((errno != EAGAIN && errno != EINTR) || !conn_wait(c, EPOLLIN))
            return false;
    c->s.eof = n == 0;
    buf_commit(in, (size_t)n);
    return true;
}

static bool conn_send(struct conn *c, int *sends)
{
    struct buf *out = &c->s.out;
    ssize_t n;

    if (++*sends % SENDS_A_TURN == 0)
        netpoll_yield();
    while ((n = send(c->fd, buf_data(out), buf_len(out), MSG_NOSIGNAL)) < 0)
        if ((errno != EAGAIN && errno != EINTR) || !conn_wait(c, EPOLLOUT))
            return false;
    buf_consume(out, (size_t)n);
    return true;
}

static void conn_main(void *arg)
{
    struct conn *c = arg;
    bool open = true;
    int sends = 0;

    while (open)
        switch (session_step(&c->s, &v.stats)) {
        case WANT_RECV:
            open = conn_recv(c);
            break;
        case WANT_SEND:
            open = conn_send(c, &sends);
            break;
        case WANT_WORK:
            service_work(&c->s, &v.stats);
            break;
        case WANT_FILE: /* no file is ever opened, but bytes are made up */
            session_file(&c->s, -EIO);
            break;
        case WANT_CLOSE:
            open = false;
        }
    LIST_REMOVE(c, link);
    v.n_conns--;
    netpoll_close(c->fd);
    net_close(c->fd);
    session_end(&c->s);
    free(c);
}

static void conn_new(int fd)
{
    struct conn *c = malloc(sizeof *c);

    if (c) {
        memset(c, 0, offsetof(struct conn, in));
        c->fd = fd;
        session_init(&c->s, &v.sv.app);
        buf_lend(&c->s.in, c->in, BUF_SIZE);
        buf_lend(&c->s.out, c->out, BUF_SIZE);
        LIST_INSERT_HEAD(&v.live, c, link);
        v.n_conns++;
        if (netpoll_go(conn_main, c))
            return;
        LIST_REMOVE(c, link);
        v.n_conns--;
        free(c);
    }
    net_close(fd);
}

/* ---- the server ---- */

static void accept_main(void *unused)
{
    (void)unused;
    while (!service_draining(&v.sv)) {
        int fd = net_accept(v.listener, true);

        if (fd >= 0)
            conn_new(fd);
        else if (netpoll_wait(v.listener, EPOLLIN,
                              fd == -EAGAIN ? -1 : RETRY_MS) == -ENOMEM)
            break;
    }
}

static void drain_main(void *unused)
{
    struct conn *c;

    (void)unused;
    netpoll_wait(v.sv.signal, EPOLLIN, -1);
    net_shut(v.listener);
    LIST_FOREACH (c, &v.live, link)
        if (!session_in_flight(&c->s))
            shutdown(c->fd, SHUT_RD);
}

int main(int argc, char **argv)
{
    service_open(&v.sv, "netpoll", "Lab 7: tasks on one thread.", argc, argv,
                 NULL, NULL);
    net_listen(v.sv.opt.host, &v.sv.opt.port, 1, &v.listener);
    stats_register(&v.stats, 0);
    netpoll_open();
    if (!netpoll_go(accept_main, NULL) || !netpoll_go(drain_main, NULL))
        die("netpoll: no memory");
    service_ready(&v.sv, "one thread");
    netpoll_run();
    if (v.n_conns > 0)
        die("netpoll: %d tasks did not end", v.n_conns);
    lab_calls_say();
    return 0;
}
