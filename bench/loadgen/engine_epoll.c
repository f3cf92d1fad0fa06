/* engine_epoll.c - the engine that every Linux has; see engine.h.
 *
 * A socket is registered once, edge-triggered, for everything: a request costs
 * one send(), its reply one recv(), and no epoll_ctl().  A receive that fills
 * less than its buffer has drained the socket; what comes later is a new edge.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "check.h"
#include "conn.h"
#include "engine.h"

enum { MAX_EVENTS = 512, IN_SIZE = 256 * 1024 };

struct own {
    int epfd, n; /* n: events of the last wait */
    struct epoll_event ev[MAX_EVENTS];
    char in[IN_SIZE];
};

static void epoll_open(struct load *l)
{
    struct own *o = calloc(1, sizeof(*o));

    if (!o)
        die("loadgen: out of memory");
    o->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (o->epfd < 0)
        die_status(2, "loadgen: epoll_create1: %s", strerror(errno));
    l->own = o;
}

static void epoll_close(struct load *l)
{
    struct own *o = l->own;

    close(o->epfd);
    free(o);
    l->own = NULL;
}

static int epoll_watch(struct load *l, struct conn *c)
{
    struct own *o = l->own;
    struct epoll_event ev = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.u64 = (uint64_t)(c - l->conns) << 32 | c->generation};

    return epoll_ctl(o->epfd, EPOLL_CTL_ADD, c->fd, &ev) < 0 ? errno : 0;
}

/* Closing it takes it out of the set: no other descriptor stands for it. */
static void epoll_forget(struct load *l, struct conn *c)
{
    (void)l;
    (void)c;
}

static int epoll_await(struct load *l, int64_t ns)
{
    struct timespec ts = {ns / 1000000000, ns % 1000000000};
    struct own *o = l->own;

    if (ns <= 0) {
        o->n = epoll_wait(o->epfd, o->ev, MAX_EVENTS, 0);
    } else {
        o->n = epoll_pwait2(o->epfd, o->ev, MAX_EVENTS, &ts, NULL);
        if (o->n < 0 && errno == ENOSYS) /* before Linux 5.11 */
            o->n = epoll_wait(o->epfd, o->ev, MAX_EVENTS, (int)(ns / 1000000));
    }
    return o->n;
}

static void readable(struct load *l, struct conn *c, uint32_t events)
{
    bool last = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    struct own *o = l->own;
    ssize_t n;

    do {
        n = recv(c->fd, o->in, IN_SIZE, 0);
        if (n > 0) {
            if (!conn_bytes(l, c, o->in, (size_t)n))
                return;
        } else if (n == 0) {
            conn_ended(l, c);
            return;
        } else if (errno != EAGAIN && errno != EINTR) {
            conn_broke(l, c, errno);
            return;
        }
    } while (n == IN_SIZE || (n > 0 && last) || (n < 0 && errno == EINTR));
    load_feed(l, c);
}

static void epoll_deliver(struct load *l)
{
    struct own *o = l->own;

    for (int i = 0; i < o->n; i++) {
        uint64_t data = o->ev[i].data.u64;
        uint32_t events = o->ev[i].events;
        struct conn *c = load_conn(l, (uint32_t)(data >> 32), (uint32_t)data);

        if (!c)
            continue;
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
            conn_writable(l, c);
        if (events & ~(uint32_t)EPOLLOUT && c->state >= CONN_UP)
            readable(l, c, events);
    }
}

const struct engine engine_epoll = {
    .name = "epoll",
    .open = epoll_open,
    .close = epoll_close,
    .watch = epoll_watch,
    .forget = epoll_forget,
    .flush = conn_write,
    .wait = epoll_await,
    .deliver = epoll_deliver,
};
