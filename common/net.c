/* net.c - sockets, as far as all stages do the same with them. */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

enum {
    BACKLOG = 4096,
    DISCARD_MAX = 256 * 1024,
    DISCARD_PIECE = 8 * 1024,
};

/* Prints "127.0.0.1:80" or "[::1]:80". */
static char *place(const char *host, int port, char *dst, size_t cap)
{
    snprintf(dst, cap, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
    return dst;
}

/* Leaves when err is an errno, negated or not. */
static void need(int err, const char *host, int port)
{
    char buf[512];

    if (err != 0)
        die("cannot listen on %s: %s", place(host, port, buf, sizeof buf),
            strerror(abs(err)));
}

static struct addrinfo *resolve(const char *host, int port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list;
    char service[16];
    int err;

    snprintf(service, sizeof service, "%d", port);
    err = getaddrinfo(host, service, &hints, &list);
    if (err)
        die("cannot listen on %s: %s", host, gai_strerror(err));
    return list;
}

static int set_on(int fd, int level, int option)
{
    return setsockopt(fd, level, option, &(int){1}, sizeof(int));
}

/* The socket, or -errno. */
static int listen_on(const struct addrinfo *ai, bool share)
{
    int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int fd = socket(ai->ai_family, type, ai->ai_protocol), err;

    if (fd < 0)
        return -errno;
    if (set_on(fd, SOL_SOCKET, SO_REUSEADDR) == 0 &&
        (!share || set_on(fd, SOL_SOCKET, SO_REUSEPORT) == 0) &&
        set_on(fd, IPPROTO_TCP, TCP_NODELAY) == 0 &&
        bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    err = errno;
    close(fd);
    return -err;
}

/* The first socket listens without SO_REUSEPORT, which fails if anybody else
 * listens there; only then is the port opened to the others.  Two servers that
 * start at the same moment cannot both get past that. */
void net_listen(const char *host, int *port, int n, int fds[])
{
    struct addrinfo *list = resolve(host, *port), *ai = list;

    fds[0] = listen_on(ai, false);
    /* A name may stand for addresses that this machine cannot use.  Any other
     * reason is final: the next address would hide it. */
    while ((fds[0] == -EAFNOSUPPORT || fds[0] == -EADDRNOTAVAIL) &&
           (ai = ai->ai_next) != NULL)
        fds[0] = listen_on(ai, false);
    need(fds[0] < 0 ? fds[0] : 0, host, *port);

    /* Where the kernel picked the port, the others need its number. */
    getsockname(fds[0], ai->ai_addr, &ai->ai_addrlen);
    *port = ntohs(((struct sockaddr_in *)(void *)ai->ai_addr)->sin_port);
    if (n > 1 && set_on(fds[0], SOL_SOCKET, SO_REUSEPORT) != 0)
        need(errno, host, *port);
    for (int i = 1; i < n; i++) {
        fds[i] = listen_on(ai, true);
        need(fds[i] < 0 ? fds[i] : 0, host, *port);
    }
    freeaddrinfo(list);
}

int net_last(int listener)
{
    struct tcp_info info;
    socklen_t len = sizeof info;

    if (listener < 0)
        return 0;
    fcntl(listener, F_SETFL, O_NONBLOCK);
    /* Of a listener, Linux gives the length of its line in this field. */
    if (getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return BACKLOG;
    return (int)info.tcpi_unacked;
}

void net_unlisten(int *fd)
{
    if (*fd < 0)
        return;
    shutdown(*fd, SHUT_RDWR);
    close(*fd);
    *fd = -1;
}

void net_ready(const char *stage, const char *host, int port)
{
    char buf[512];

    printf("%s: listening on %s\n", stage, place(host, port, buf, sizeof buf));
    fflush(stdout);
}

/* What accept passes on from a connection that is gone already: accept(2),
 * "Error handling". */
static bool peer_left(int err)
{
    switch (err) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
        return true;
    default:
        return false;
    }
}

int net_accept(int listener, bool nonblocking)
{
    int flags = SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0);
    int fd;

    do
        fd = accept4(listener, NULL, NULL, flags);
    while (fd < 0 && peer_left(errno));
    return fd < 0 ? -errno : fd;
}

bool net_accept_later(int err)
{
    return !peer_left(err < 0 ? -err : err);
}

void net_close(int fd)
{
    char piece[DISCARD_PIECE];
    ssize_t left = DISCARD_MAX, n;

    shutdown(fd, SHUT_WR);
    do {
        n = recv(fd, piece, sizeof piece, MSG_DONTWAIT);
        left -= n > 0 ? n : 0;
    } while ((n > 0 && left > 0) || (n < 0 && errno == EINTR));
    close(fd);
}

/* The cpus at the first call: a thread inherits the mask of the one that made
 * it, so a pinned thread cannot tell any longer what the process may use. */
static cpu_set_t cpus;
static int cpus_err;

static void find_cpus(void)
{
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0)
        cpus_err = errno;
}

int net_cpus(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int n;

    pthread_once(&once, find_cpus);
    n = CPU_COUNT(&cpus);
    return n > 0 ? n : 1;
}

int net_pin(int n)
{
    unsigned left = (unsigned)n % (unsigned)net_cpus();
    cpu_set_t one;
    int cpu = 0, err;

    if (cpus_err)
        return -cpus_err;
    while (!CPU_ISSET(cpu, &cpus) || left-- > 0)
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    err = pthread_setaffinity_np(pthread_self(), sizeof one, &one);
    return err ? -err : cpu;
}
