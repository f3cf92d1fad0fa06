/* door.c - see door.h. */
#include "door.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* The list grows only before threads are started.  Of a door in it only `fd`
 * changes, when the worker that owns the door closes it. */
static struct door {
    struct door *next;
    _Atomic int fd; /* -1: closed */
    int n, listeners[DOOR_LISTENERS];
} * doors;

static struct door *door_of(int fd)
{
    struct door *d = doors;

    while (d && (fd < 0 || atomic_load(&d->fd) != fd))
        d = d->next;
    return d;
}

int door_open(const int listeners[], int n)
{
    struct door *d = malloc(sizeof *d);
    int set = epoll_create1(EPOLL_CLOEXEC), err;

    if (!d || set < 0)
        goto fail;
    d->n = n;
    for (int i = 0; i < n; i++) {
        struct epoll_event ev = {.events = EPOLLIN, .data.fd = listeners[i]};

        d->listeners[i] = listeners[i];
        if (epoll_ctl(set, EPOLL_CTL_ADD, listeners[i], &ev) != 0)
            goto fail;
    }
    atomic_init(&d->fd, set);
    d->next = doors;
    doors = d;
    return set;

fail:
    err = d ? errno : ENOMEM;
    free(d);
    if (set >= 0)
        close(set);
    return -err;
}

bool door_any(void)
{
    return doors != NULL;
}

bool door_is(int fd)
{
    return door_of(fd) != NULL;
}

int door_size(int fd)
{
    const struct door *d = door_of(fd);

    return d ? d->n : 0;
}

int door_listener(int fd, int i)
{
    return door_of(fd)->listeners[i];
}

/* The kernel goes round the listeners at which peers wait, so no address waits
 * long for another. */
int door_accept(int fd, int flags)
{
    struct epoll_event ev;

    while (epoll_wait(fd, &ev, 1, 0) > 0) {
        int got = accept4(ev.data.fd, NULL, NULL, flags);

        if (got >= 0 || errno != EAGAIN)
            return got; /* EAGAIN: another thread was faster */
    }
    errno = EAGAIN;
    return -1;
}

void door_shut(int fd)
{
    const struct door *d = door_of(fd);

    for (int i = 0; d && i < d->n; i++)
        shutdown(d->listeners[i], SHUT_RDWR);
}

void door_close(int fd)
{
    struct door *d = door_of(fd);

    if (d)
        atomic_store(&d->fd, -1);
    close(fd);
}
