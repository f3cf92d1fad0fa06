/* real_peers.c - see real_peers.h. */
#include "real_peers.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"
#include "timer_wheel.h"

enum { SLOW_TURNS = 100, STUCK_TURNS = 300, STUCK_MS = 2000 };

struct peer peers[PEERS];
static int port;

int peers_listener(int send_buffer)
{
    int fd = -1;

    net_listen("127.0.0.1", &port, 1, &fd);
    fcntl(fd, F_SETFL, 0); /* a non-blocking accept does not wait in a ring */
    if (send_buffer)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    return fd;
}

void peers_open(int n, size_t bytes)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    for (int i = 0; i < n; i++) {
        peers[i] =
            (struct peer){.fd = socket(AF_INET, SOCK_STREAM, 0), .all = bytes};
        cr_assert(connect(peers[i].fd, (void *)&to, sizeof to) == 0,
                  "connect: %s", strerror(errno));
        fcntl(peers[i].fd, F_SETFL, O_NONBLOCK);
    }
}

static uint8_t byte_of(int peer, size_t at)
{
    return (uint8_t)(at * 31 + at / 251 + (size_t)peer * 7);
}

void peer_step(int i, size_t most)
{
    static uint8_t buf[8192];
    struct peer *p = &peers[i];
    size_t n = p->all - p->said < sizeof buf ? p->all - p->said : sizeof buf;
    ssize_t got;

    for (size_t k = 0; k < n; k++)
        buf[k] = byte_of(i, p->said + k);
    got = n > 0 ? send(p->fd, buf, n, MSG_NOSIGNAL) : 0;
    p->said += got > 0 ? (size_t)got : 0;
    if (most == 0)
        return;
    got = recv(p->fd, buf, most < sizeof buf ? most : sizeof buf, 0);
    p->ended = got == 0;
    for (ssize_t k = 0; k < got; k++, p->heard++)
        cr_assert(buf[k] == byte_of(i, p->heard),
                  "peer %d: byte %zu of the answer is wrong", i, p->heard);
}

bool peers_have_all(int n)
{
    for (int i = 0; i < n; i++)
        if (peers[i].heard < peers[i].all)
            return false;
    return true;
}

bool peers_are_stuck(size_t left)
{
    static size_t seen, turns;
    static int64_t since;
    size_t now = left;

    for (int i = 0; i < PEERS; i++)
        now += peers[i].heard;
    if (now != seen || turns == 0) {
        seen = now;
        turns = 0;
        since = clock_ms();
    }
    if (turns > SLOW_TURNS)
        usleep(5000); /* a machine with other work to do gets on with it */
    return ++turns > STUCK_TURNS && clock_ms() - since > STUCK_MS;
}

void peers_vanish(int n)
{
    struct linger rst = {.l_onoff = 1};

    for (int i = 0; i < n; i++) {
        if (i % 2)
            setsockopt(peers[i].fd, SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
        close(peers[i].fd);
    }
}
