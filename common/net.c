/* net.c - what all stages do with sockets in the same way. */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h> /* the C library's tcp_info knows no bytes_acked */
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "check.h"
#include "door.h"

enum {
    BACKLOG = 4096,
    PORT_TRIES = 100,
    DISCARD_MAX = 256 * 1024,
    DISCARD_PIECE = 8 * 1024,
    UNSENT_MAX = 128 * 1024, /* bytes that the kernel holds and cannot send */
    LOOK_AGAIN_MS = 100,
    LIMIT_OFF_MS = 10,
};

char *net_host(char *text)
{
    size_t n = strlen(text);

    if (n < 2 || text[0] != '[' || text[n - 1] != ']')
        return text;
    text[n - 1] = '\0';
    return text + 1;
}

/* Prints "127.0.0.1:80" or "[::1]:80". */
static char *format_addr(const char *host, int port, char *dst, size_t cap)
{
    snprintf(dst, cap, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
    return dst;
}

/* Exits with the reason when err is an errno, negated or not. */
static void check_listen(int err, const char *host, int port)
{
    char buf[512];

    if (err != 0)
        die("cannot listen on %s: %s", format_addr(host, port, buf, sizeof buf),
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

static int set_to(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value);
}

static int set_on(int fd, int level, int option)
{
    return set_to(fd, level, option, 1);
}

/* Where to listen: the addresses of one name. */
struct where {
    const struct addrinfo *at[DOOR_LISTENERS];
    int n;
    int each; /* sockets that share the port at each */
};

static in_port_t *port_of(struct sockaddr *a)
{
    /* Lies in the same place for both families. */
    return &((struct sockaddr_in *)(void *)a)->sin_port;
}

/* /etc/hosts may have an address in several lines. */
static void where_add(struct where *w, const struct addrinfo *ai)
{
    for (int i = 0; i < w->n; i++)
        if (w->at[i]->ai_addrlen == ai->ai_addrlen &&
            memcmp(w->at[i]->ai_addr, ai->ai_addr, ai->ai_addrlen) == 0)
            return;
    if (w->n == DOOR_LISTENERS)
        die("cannot listen: a name of more than %d addresses", w->n);
    w->at[w->n++] = ai;
}

/* The socket, or -errno.  An IPv6 address takes IPv4 peers too if it is the
 * only address. */
static int listen_on(const struct addrinfo *ai, bool reuse, bool only)
{
    int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int fd = socket(ai->ai_family, type, ai->ai_protocol), err;

    if (fd < 0)
        return -errno;
    if (set_on(fd, SOL_SOCKET, SO_REUSEADDR) == 0 &&
        (!reuse || set_on(fd, SOL_SOCKET, SO_REUSEPORT) == 0) &&
        (only || ai->ai_family != AF_INET6 ||
         set_on(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0) &&
        set_on(fd, IPPROTO_TCP, TCP_NODELAY) == 0 &&
        set_on(fd, SOL_SOCKET, SO_OOBINLINE) == 0 &&
        set_to(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_MAX) == 0 &&
        bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    err = errno;
    close(fd);
    return -err;
}

static void close_all(const int fds[], int n)
{
    while (n-- > 0)
        close(fds[n]);
}

/* The sockets for one address, on *port; *port gets the number when it was 0.
 * 0, or -errno and none is open.
 *
 * The first socket listens without SO_REUSEPORT, which fails if another
 * socket listens there; only then is the port opened to the others.  Two
 * servers that start at the same moment cannot both get past that. */
static int listen_at(const struct where *w, int i, int *port, int fds[])
{
    const struct addrinfo *ai = w->at[i];
    socklen_t len = ai->ai_addrlen;
    int n, err = 0;

    *port_of(ai->ai_addr) = htons((uint16_t)*port);
    for (n = 0; n < w->each && err == 0; n++) {
        fds[n] = listen_on(ai, n > 0, w->n == 1);
        if (fds[n] < 0) {
            close_all(fds, n);
            return fds[n];
        }
        if (n == 0 && getsockname(fds[0], ai->ai_addr, &len) != 0)
            err = -errno;
        if (n == 0 && w->each > 1 &&
            set_on(fds[0], SOL_SOCKET, SO_REUSEPORT) != 0)
            err = -errno;
    }
    if (err)
        close_all(fds, n);
    *port = ntohs(*port_of(ai->ai_addr));
    return err;
}

/* All addresses, on one port: w->each sockets for the first, then for the next.
 * Returns how many addresses there are, or -errno and no socket is open. */
static int listen_all(const struct where *w, int *port, int fds[])
{
    int n = 0, err = 0, old = *port;

    for (int i = 0; i < w->n; i++) {
        err = listen_at(w, i, port, fds + n * w->each);
        if (err == 0) {
            n++;
        } else if (err != -EAFNOSUPPORT && err != -EADDRNOTAVAIL) {
            /* A name may stand for addresses that this machine cannot use.  Any
             * other reason is final: the next address would hide it. */
            close_all(fds, n * w->each);
            *port = old;
            return err;
        }
    }
    return n > 0 ? n : err;
}

/* The ready line names one address; stderr lists all of them. */
static void say_where(const char *host, int port, int n, int each,
                      const int fds[])
{
    fprintf(stderr, "%s stands for", host);
    for (int i = 0; i < n; i++) {
        struct sockaddr_storage a = {0};
        socklen_t len = sizeof a;
        char name[INET6_ADDRSTRLEN + IF_NAMESIZE] = "?", text[512];

        getsockname(fds[i * each], (struct sockaddr *)&a, &len);
        getnameinfo((struct sockaddr *)&a, len, name, sizeof name, NULL, 0,
                    NI_NUMERICHOST);
        fprintf(stderr, "%s %s", i ? "," : "",
                format_addr(name, port, text, sizeof text));
    }
    fputc('\n', stderr);
}

/* The i-th sockets of all n addresses become one door. */
static void make_doors(const struct where *w, int n, const int from[],
                       int fds[])
{
    int listeners[DOOR_LISTENERS];

    for (int i = 0; i < w->each; i++) {
        for (int k = 0; k < n; k++)
            listeners[k] = from[k * w->each + i];
        fds[i] = door_open(listeners, n);
        if (fds[i] < 0)
            die("cannot listen at several addresses: %s", strerror(-fds[i]));
    }
}

void net_listen(const char *host, int *port, int n, int fds[])
{
    struct addrinfo *list = resolve(host, *port);
    struct where w = {.each = n};
    int *all, got, tries = 0;

    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
        where_add(&w, ai);
    CHECK(w.n > 0 && n > 0); /* a name that is found has an address */
    all = calloc((size_t)w.n * (size_t)n, sizeof *all);
    if (!all)
        die("cannot listen on %s: no memory", host);
    /* The port that the kernel picked may be taken at the next address. */
    do
        got = listen_all(&w, port, all);
    while (got == -EADDRINUSE && *port == 0 && ++tries < PORT_TRIES);
    check_listen(got < 0 ? got : 0, host, *port);
    if (got == 1) {
        memcpy(fds, all, (size_t)n * sizeof *all);
    } else {
        make_doors(&w, got, all, fds);
        say_where(host, *port, got, n, all);
    }
    free(all);
    freeaddrinfo(list);
}

bool net_several(void)
{
    return door_any();
}

static int line_at(int listener)
{
    struct tcp_info info;
    socklen_t len = sizeof info;

    fcntl(listener, F_SETFL, O_NONBLOCK);
    /* For a listener, Linux puts the length of its queue here. */
    if (getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return BACKLOG;
    return (int)info.tcpi_unacked;
}

int net_last(int listener)
{
    int n = 0;

    if (listener < 0)
        return 0;
    if (!door_is(listener))
        return line_at(listener);
    for (int i = 0; i < door_size(listener); i++)
        n += line_at(door_listener(listener, i));
    return n;
}

void net_shut(int listener)
{
    if (door_is(listener))
        door_shut(listener);
    else if (listener >= 0)
        shutdown(listener, SHUT_RDWR);
}

void net_unlisten(int *fd)
{
    if (*fd < 0)
        return;
    net_shut(*fd);
    door_close(*fd);
    *fd = -1;
}

void net_ready(const char *stage, const char *host, int port)
{
    char buf[512];

    printf("%s: listening on %s\n", stage,
           format_addr(host, port, buf, sizeof buf));
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
        fd = door_is(listener) ? door_accept(listener, flags)
                               : accept4(listener, NULL, NULL, flags);
    while (fd < 0 && peer_left(errno));
    return fd < 0 ? -errno : fd;
}

bool net_accept_later(int err)
{
    err = err < 0 ? -err : err;
    return err != EAGAIN && !peer_left(err);
}

/* The kernel sends new bytes when the peer has made room for them, so its last
 * send tells when the peer last read.  But it also repeats old bytes to a peer
 * that is gone: then none was acknowledged since the last look. */
int64_t net_grace_ms(int fd, bool hears, int64_t idle_ms, uint64_t *acked)
{
    struct tcp_info t = {0};
    socklen_t len = sizeof t;
    int unread = 0;
    bool moved;

    if (hears && ioctl(fd, FIONREAD, &unread) == 0 && unread > 0)
        return LOOK_AGAIN_MS;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &t, &len) < 0)
        return 0;
    if (t.tcpi_unacked == 0 && t.tcpi_notsent_bytes == 0)
        return hears ? 0 : LOOK_AGAIN_MS;
    moved = t.tcpi_bytes_acked != *acked;
    *acked = t.tcpi_bytes_acked;
    return moved && t.tcpi_last_data_sent < idle_ms
               ? idle_ms - t.tcpi_last_data_sent
               : 0;
}

void net_limit(int fd, int option, int64_t ms, int64_t *known_ms)
{
    struct timeval limit;

    ms = ms > 1 ? ms : 1;
    if (ms >= *known_ms - LIMIT_OFF_MS && ms <= *known_ms + LIMIT_OFF_MS)
        return;
    limit = (struct timeval){ms / 1000, ms % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, option, &limit, sizeof limit);
    *known_ms = ms;
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
