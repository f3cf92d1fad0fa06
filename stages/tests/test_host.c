/* test_host.c - a host that is a name of several addresses.
 *
 * Which names a machine knows is not for a test to say, so getaddrinfo() is
 * taken over in the fault builds: "several.test" is what FAULT_HOSTS says. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

TestSuite(any_host, .timeout = 300);

/* One twice, as in an /etc/hosts with two lines for it. */
#define SEVERAL "127.0.0.3,127.0.0.1,::1,127.0.0.3,192.0.2.1"

enum { PLACES = 3 };

static const char *const places[PLACES] = {"127.0.0.3", "127.0.0.1", "::1"};

static socklen_t address(struct sockaddr_storage *a, const char *text, int port)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)a;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)a;

    memset(a, 0, sizeof(*a));
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port); /* lies in the same place in both */
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
        return sizeof(*v4);
    v6->sin6_family = AF_INET6;
    cr_assert(inet_pton(AF_INET6, text, &v6->sin6_addr) == 1);
    return sizeof(*v6);
}

/* A socket that is bound there, on any port; -1: no such address here. */
static int bound(const char *text, int *port)
{
    struct sockaddr_storage a;
    socklen_t len = address(&a, text, *port);
    int fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&a, len) < 0) {
        close(fd);
        return -1;
    }
    cr_assert(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
    *port = ntohs(((struct sockaddr_in *)&a)->sin_port);
    return fd;
}

static bool is_here(const char *text)
{
    int port = 0, fd = bound(text, &port);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void client_at(struct client *c, const char *text, int port)
{
    struct sockaddr_storage a;
    socklen_t len = address(&a, text, port);

    *c = (struct client){.fd = socket(a.ss_family, SOCK_STREAM, 0)};
    client_timeout(c, scaled(20));
    cr_assert(connect(c->fd, (struct sockaddr *)&a, len) == 0, "%s: %s", text,
              strerror(errno));
}

/* With one worker a place is any peer's in stages 5 and 6 too. */
static void start_at_several(struct server *s, const char *conns, bool one)
{
    struct launch how = {.binary = fault_path()};

    setenv("FAULT_HOSTS", SEVERAL, 1);
    server_start_as(s, &how, "--host", "several.test", "--max-conns", conns,
                    one && server_stage() > 4 ? "--workers" : NULL, "1", NULL);
}

/* A place is free for any peer, at any address, in any order. */
Test(any_host, every_address_is_served)
{
    int n = is_here("::1") ? PLACES : PLACES - 1;
    struct client c[PLACES];
    struct server s;

    start_at_several(&s, "3", true);
    cr_assert(strstr(s.ready, "listening on several.test:"), "%s", s.ready);
    cr_assert(strstr(server_stderr(&s), "127.0.0.3:"), "%s", server_stderr(&s));
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < n; i++)
            client_at(&c[i], places[(i * (round % 2) + round) % n], s.port);
        for (int i = n; i-- > 0;)
            cr_assert(client_ping(&c[i]), "round %d, peer %d", round, i);
        for (int i = 0; i < n; i++)
            client_close(&c[i]);
    }
    server_stop(&s);
}

/* A peer that stands in line when the server is told to stop is served. */
Test(any_host, every_line_is_served_at_the_end)
{
    enum { N = 12 };
    int n = is_here("::1") ? PLACES : PLACES - 1;
    struct client c[N];
    struct server s;
    char text[64];

    start_at_several(&s, "1000", false);
    cr_assert(server_answers(&s));
    server_signal(&s, SIGSTOP);
    for (int i = 0; i < N; i++) {
        client_at(&c[i], places[i % n], s.port);
        client_text(&c[i], app_is_http() ? "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
                                         : "hello");
    }
    server_signal(&s, SIGTERM);
    server_signal(&s, SIGCONT);
    for (int i = 0; i < N; i++) {
        cr_assert(client_read(&c[i], text, 5) == 5, "peer %d", i);
        client_fin(&c[i]);
        client_close(&c[i]);
    }
    cr_assert(server_wait(&s, scaled(15)) == 0, "%s", server_stderr(&s));
}

/* Another program has one of them: then none is taken. */
Test(any_host, one_address_in_use)
{
    struct launch how = {.binary = fault_path()};
    struct server s;
    char text[16];
    int port = 0, fd = bound("127.0.0.1", &port), status;

    cr_assert(fd >= 0 && listen(fd, 8) == 0);
    snprintf(text, sizeof(text), "%d", port);
    setenv("FAULT_HOSTS", SEVERAL, 1);
    status =
        server_run(&s, &how, "--host", "several.test", "--port", text, NULL);
    if (status == 77)
        cr_skip("%s", server_stderr(&s));
    cr_assert(status == 1, "status %d: %s", status, server_stderr(&s));
    cr_assert(strstr(server_stderr(&s), "in use"), "%s", server_stderr(&s));
    close(fd);
}

Test(any_host, brackets_of_a_url)
{
    struct client c;
    struct server s;

    if (!is_here("::1"))
        cr_skip("no IPv6 on this machine");
    server_start(&s, "--host", "[::1]", NULL);
    cr_assert(strstr(s.ready, "listening on [::1]:"), "%s", s.ready);
    client_at(&c, "::1", s.port);
    cr_assert(client_ping(&c));
    client_close(&c);
    server_stop(&s);
}

Test(any_host, localhost)
{
    struct addrinfo *found;
    struct server s;

    /* A bare folder of a system has no /etc/hosts. */
    if (getaddrinfo("localhost", NULL, NULL, &found) != 0)
        cr_skip("this system does not know localhost");
    freeaddrinfo(found);
    server_start(&s, "--host", "localhost", NULL);
    cr_assert(server_answers(&s), "not at 127.0.0.1: %s", server_stderr(&s));
    server_stop(&s);
}
