/* uring_serve.h - uring_ops --serve: the other end, see uring_peer.h.
 *
 * One session at a time, each in a process of its own, which ends with its
 * control connection or with the first wrong byte.
 */
#ifndef URING_SERVE_H
#define URING_SERVE_H

#include <sys/wait.h>

enum { ACCEPT_S = 20 };

/* The next connection from the machine that gives the orders; others are
 * closed.  -1: none came in time. */
static int accept_from(int listener, const struct sockaddr_storage *whom)
{
    const struct sockaddr_in *a = (const void *)whom;
    const struct sockaddr_in6 *a6 = (const void *)whom;
    int one = 1;

    for (;;) {
        struct sockaddr_storage from = {0};
        const struct sockaddr_in *b = (const void *)&from;
        const struct sockaddr_in6 *b6 = (const void *)&from;
        socklen_t len = sizeof from;
        int fd = accept4(listener, (void *)&from, &len, SOCK_CLOEXEC);

        if (fd < 0 && errno == EINTR)
            continue;
        if (fd < 0)
            return -1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (from.ss_family == whom->ss_family &&
            (from.ss_family == AF_INET
                 ? a->sin_addr.s_addr == b->sin_addr.s_addr
                 : memcmp(&a6->sin6_addr, &b6->sin6_addr,
                          sizeof a6->sin6_addr) == 0))
            return fd;
        close(fd);
    }
}

/* The end that an order opens, in the place of one that was there. */
static void serve_open(struct rig *r, int listener,
                       const struct sockaddr_storage *whom, uint32_t index)
{
    int fd = accept_from(listener, whom);

    if (fd < 0)
        die("uring_ops: --serve: no connection came: %s", strerror(errno));
    if (index == SINK || index == SOURCE) {
        *(index == SINK ? &r->sink : &r->source) = fd;
        if (pthread_create(index == SINK ? &r->sink_thread : &r->source_thread,
                           NULL, index == SINK ? sink_main : source_main,
                           r) != 0)
            die("uring_ops: no thread");
        return;
    }
    if (r->peer[index] > 0)
        close(r->peer[index]);
    r->peer[index] = fd;
}

/* Numbers out of range are not ours: the session ends. */
static bool order_fits(const struct order *o)
{
    switch (o->kind) {
    case ORDER_HELLO:
        return o->a == ORDER_VERSION;
    case ORDER_OPEN:
        return o->a < ENDS;
    case ORDER_FEED:
    case ORDER_DRAIN:
    case ORDER_PING:
        return o->a <= CONNS && o->b <= BUF && o->c <= 1 << 24;
    default:
        return o->kind <= ORDER_PONG;
    }
}

/* True when the order is to be answered. */
static bool obey(struct rig *r, struct method *m, const struct order *o)
{
    int n = (int)o->a, size = (int)o->b;

    switch (o->kind) {
    case ORDER_HELLO:
        r->spoil = o->b != 0;
        return true;
    case ORDER_FEED:
        feed(r, n, size);
        return false;
    case ORDER_DRAIN:
        drain(r, n, size);
        return true;
    case ORDER_SUNK:
        drained(r, o->a);
        return true;
    case ORDER_SOURCE:
        fed(r, o->a);
        return false;
    case ORDER_PING:
        *m = (struct method){.batch = n, .size = size, .rounds = (int)o->c};
        pinger_start(r, m);
        return false;
    default:
        pinger_join(r);
        return true;
    }
}

static void session(int listener, int control,
                    const struct sockaddr_storage *whom)
{
    static struct rig r;
    struct method m = {0};
    struct order o;

    r.control = -1;
    r.pattern = pattern_new();
    sem_init(&r.wanted, 0, 0);
    while (recv(control, &o, sizeof o, MSG_WAITALL) == (ssize_t)sizeof o) {
        o = (struct order){ntohl(o.kind), ntohl(o.a), ntohl(o.b), ntohl(o.c)};
        if (!order_fits(&o))
            die("uring_ops: --serve: another version gives the orders");
        if (o.kind == ORDER_OPEN)
            serve_open(&r, listener, whom, o.a);
        if ((o.kind == ORDER_OPEN || obey(&r, &m, &o)) &&
            send(control, "k", 1, MSG_NOSIGNAL) != 1)
            break;
    }
}

static int listen_at(const char *text)
{
    struct addrinfo *ai = resolve(text, AI_PASSIVE);
    struct timeval limit = {.tv_sec = ACCEPT_S};
    int one = 1, fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 got = {0}; /* the port is where that of version 4 is */
    socklen_t len = sizeof got;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 ||
        listen(fd, CONNS) < 0 || getsockname(fd, (void *)&got, &len) < 0)
        die("uring_ops: --serve %s: %s", text, strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    printf("uring_ops: listening on %.*s:%d\n",
           (int)(strrchr(text, ':') - text), text, ntohs(got.sin6_port));
    fflush(stdout);
    freeaddrinfo(ai);
    return fd;
}

/* Until a signal ends it. */
static void serve(const char *text)
{
    int listener = listen_at(text), one = 1, seconds = 10;

    for (;;) {
        struct sockaddr_storage whom = {0};
        socklen_t len = sizeof whom;
        int control = accept4(listener, (void *)&whom, &len, SOCK_CLOEXEC);
        pid_t pid;

        if (control < 0) /* nobody came within the limit of the listener */
            continue;
        setsockopt(control, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
        setsockopt(control, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof one);
        setsockopt(control, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        pid = fork();
        if (pid == 0) {
            session(listener, control, &whom);
            _exit(0);
        }
        close(control);
        if (pid > 0)
            waitpid(pid, NULL, 0);
    }
}

#endif
