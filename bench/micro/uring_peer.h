/* uring_peer.h - the other end of uring_ops' connections on another machine.
 *
 * `uring_ops --serve` there and `uring_ops --peer` here speak by orders of four
 * numbers over a connection of their own; only what they move is measured.
 * An order that has to be over is answered with one byte.  The other end
 * compares every byte that it gets, and ends when one is wrong; then the answer
 * does not come, and this end says so.
 */
#ifndef URING_PEER_H
#define URING_PEER_H

#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>

enum order_kind {
    ORDER_HELLO,  /* version, spoil */
    ORDER_OPEN,   /* the next connection is this one: index, SINK or SOURCE */
    ORDER_FEED,   /* n connections, bytes on each */
    ORDER_DRAIN,  /* the same, received and compared; answered */
    ORDER_SUNK,   /* bytes that the sink has to get; answered when it has */
    ORDER_SOURCE, /* bytes to send on the source */
    ORDER_PING,   /* connections, bytes, rounds of feed and drain */
    ORDER_PONG,   /* answered when these are over */
};

enum { ORDER_VERSION = 1, SINK = CONNS, SOURCE, ENDS };

struct order {
    uint32_t kind, a, b, c;
};

static void order(struct rig *r, enum order_kind kind, int a, int b, int c)
{
    struct order o = {htonl(kind), htonl((uint32_t)a), htonl((uint32_t)b),
                      htonl((uint32_t)c)};

    ssize_t n;

    do /* a ring without DEFER_TASKRUN interrupts calls for its completions */
        n = send(r->control, &o, sizeof o, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof o)
        die("uring_ops: --peer: the other end is gone: %s", strerror(errno));
}

static void answered(struct rig *r)
{
    char byte;
    ssize_t n;

    do
        n = recv(r->control, &byte, 1, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        die("uring_ops: --peer: no answer: %s", strerror(errno));
    if (n == 0)
        die("uring_ops: --peer: the other end has ended; it says why");
}

/* "HOST:PORT" or "[::1]:PORT"; `flags`: AI_PASSIVE for one's own. */
static struct addrinfo *resolve(const char *text, int flags)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *found;
    char *host = strdup(text), *port = host ? strrchr(host, ':') : NULL;
    char *name = host;
    int err;

    if (!host || !port || port == host)
        die_status(EX_USAGE, "uring_ops: '%s' is not HOST:PORT", text);
    *port++ = '\0';
    if (name[0] == '[' && port[-2] == ']') {
        port[-2] = '\0';
        name++;
    }
    err = getaddrinfo(name, port, &hints, &found);
    if (err != 0)
        die_status(EX_USAGE, "uring_ops: %s: %s", text, gai_strerror(err));
    free(host);
    return found;
}

/* connect(), which goes on by itself when a signal interrupts it. */
static int connect_whole(int fd, const struct addrinfo *ai)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int err = 0;
    socklen_t len = sizeof err;

    if (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
        return 0;
    if (errno != EINTR)
        return -1;
    while (poll(&p, 1, -1) < 0 && errno == EINTR)
        ;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0)
        errno = err;
    return errno == 0 ? 0 : -1;
}

static int dial(const struct rig *r)
{
    const struct addrinfo *ai = r->where;
    int one = 1, fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect_whole(fd, ai) < 0)
        die("uring_ops: --peer: no connection: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* A connection that the other end knows by its index. */
static int dial_as(struct rig *r, int index)
{
    int fd;

    order(r, ORDER_OPEN, index, 0, 0);
    fd = dial(r);
    answered(r);
    return fd;
}

static void peer_open(struct rig *r, const struct config *c)
{
    struct timeval limit = {.tv_sec = 60};

    r->where = resolve(c->peer, 0);
    r->control = dial(r);
    setsockopt(r->control, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    order(r, ORDER_HELLO, ORDER_VERSION, c->spoil, 0);
    answered(r);
}

/* What was ordered has to be there before the clock starts.  A receive that is
 * armed may take it at once; so after a while it is not waited for. */
static void arrived(struct rig *r, int n, int size)
{
    uint64_t limit = clock_of(CLOCK_MONOTONIC) + 300000000;

    for (int i = 0; i < n; i++) {
        int there = 0;

        while (ioctl(r->our[i], FIONREAD, &there) == 0 && there < size &&
               clock_of(CLOCK_MONOTONIC) < limit)
            sched_yield();
    }
}

#endif
