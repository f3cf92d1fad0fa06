/* Several addresses of one name: one port, one descriptor to wait for.
 *
 * getaddrinfo() and bind() are defined here and so take the place of the C
 * library's in this test program: "several.test" is a name of two addresses,
 * and a port can be taken at the second of them. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "door.h"
#include "net.h"

enum { SOON_MS = 10000 };

static const char *const addresses[] = {"127.0.0.1", "127.0.0.2", "127.0.0.1"};

static struct {
    int taken; /* so many times the port is taken at 127.0.0.2 */
    int binds; /* there */
} script;

typedef int lookup_fn(const char *, const char *, const struct addrinfo *,
                      struct addrinfo **);

int getaddrinfo(const char *restrict host, const char *restrict service,
                const struct addrinfo *restrict hints,
                struct addrinfo **restrict list)
{
    lookup_fn *real = (lookup_fn *)dlsym(RTLD_NEXT, "getaddrinfo");

    if (!host || strcmp(host, "several.test") != 0)
        return real(host, service, hints, list);
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        cr_assert_eq(real(addresses[i], service, hints, list), 0);
        list = &(*list)->ai_next; /* it gave one for each */
    }
    return 0;
}

static bool is_second(const struct sockaddr *a)
{
    return a->sa_family == AF_INET &&
           ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr ==
               inet_addr("127.0.0.2");
}

int bind(int fd, const struct sockaddr *a, socklen_t len)
{
    if (is_second(a) && ++script.binds <= script.taken) {
        errno = EADDRINUSE;
        return -1;
    }
    return (int)syscall(SYS_bind, fd, a, len);
}

static int dial(const char *text, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = inet_addr(text)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -errno;
}

static bool readable(int fd, int ms)
{
    struct pollfd p = {fd, POLLIN, 0};

    return poll(&p, 1, ms) == 1;
}

Test(door, looks_like_one_listener)
{
    int port = 0, door, set = epoll_create1(EPOLL_CLOEXEC), peers[6], fd;
    struct epoll_event ev = {.events = EPOLLIN};

    net_listen("several.test", &port, 1, &door);
    cr_assert(net_several() && door_is(door) && door_size(door) == 2);
    cr_assert(fcntl(door, F_GETFD) & FD_CLOEXEC);
    cr_assert(!readable(door, 0));
    cr_assert_eq(net_accept(door, true), -EAGAIN);
    cr_assert_eq(epoll_ctl(set, EPOLL_CTL_ADD, door, &ev), 0);
    cr_assert_eq(epoll_wait(set, &ev, 1, 0), 0);
    for (int i = 0; i < 6; i++)
        peers[i] = dial(addresses[i % 2], port);
    cr_assert(readable(door, SOON_MS));
    cr_assert_eq(epoll_wait(set, &ev, 1, SOON_MS), 1);
    cr_assert_eq(net_last(door), 6);
    for (int i = 0; i < 6; i++) {
        fd = net_accept(door, true);
        cr_assert_geq(fd, 0);
        cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
        close(fd);
        close(peers[i]);
    }
    cr_assert_eq(net_accept(door, true), -EAGAIN);
    close(set);
    net_unlisten(&door);
}

/* Whoever waits for the door hears of its end, and nobody is let in later. */
Test(door, shut)
{
    int port = 0, door;

    net_listen("several.test", &port, 1, &door);
    net_shut(door);
    cr_assert(readable(door, SOON_MS));
    cr_assert_eq(net_accept(door, true), -EINVAL);
    net_unlisten(&door);
    cr_assert_eq(door, -1);
    net_unlisten(&door);
    net_shut(door);
    cr_assert_eq(dial("127.0.0.1", port), -ECONNREFUSED);
    cr_assert_eq(dial("127.0.0.2", port), -ECONNREFUSED);
}

Test(door, one_for_each_of_several_workers)
{
    enum { N = 3, DIALS = 120 };
    int port = 0, doors[N], peers[DIALS], total = 0, fd;

    net_listen("several.test", &port, N, doors);
    for (int i = 0; i < DIALS; i++) {
        peers[i] = dial(addresses[i % 2], port);
        cr_assert_geq(peers[i], 0);
    }
    for (int i = 0; i < N; i++) {
        int got = 0;

        for (; (fd = net_accept(doors[i], true)) >= 0; got++)
            close(fd);
        cr_assert_gt(got, 0, "door %d", i);
        total += got;
    }
    cr_assert_eq(total, DIALS);
    for (int i = 0; i < DIALS; i++)
        close(peers[i]);
}

/* The kernel's choice of a port is for the first address only. */
Test(door, another_port_when_the_second_address_has_it_in_use)
{
    int port = 0, door;

    script.taken = 5;
    net_listen("several.test", &port, 1, &door);
    cr_assert_eq(script.binds, 6);
    close(dial("127.0.0.1", port));
    close(dial("127.0.0.2", port));
    cr_assert_eq(net_last(door), 2);
}

Test(door, brackets)
{
    char text[][8] = {"[::1]", "::1", "[", "[]", "a", "", "[x", "x]"};
    const char *want[] = {"::1", "::1", "[", "", "a", "", "[x", "x]"};

    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        cr_assert_str_eq(net_host(text[i]), want[i]);
}
