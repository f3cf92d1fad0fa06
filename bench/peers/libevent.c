/*
 * A server on libevent's evhttp, beside the stages: what many C programs use.
 *
 * One loop over epoll, as stage 2; the library parses, keeps the connections
 * and writes the headers.  The runner pins the process.  evhttp has no limit
 * on the requests of a connection; its timeout is set to an hour.
 *
 *   libevent [-port N]        0, the default: the kernel picks
 *
 * It answers / and, to cost what a handler costs, /work/US and /sleep/US.
 */
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { HOUR_S = 3600, MAX_US = 1000000, BACKLOG = 4096 };

static const char hello[] = "Hello, World!\n";

static long clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static void burn(long us)
{
    long end = clock_us() + us;
    while (clock_us() < end)
        ;
}

/* The number behind `prefix` in `path`; -1: none, or too large. */
static long micros(const char *path, const char *prefix)
{
    size_t length = strlen(prefix);
    if (strncmp(path, prefix, length) != 0)
        return -1;
    char *end;
    long us = strtol(path + length, &end, 10);
    return end > path + length && !*end && us >= 0 && us <= MAX_US ? us : -1;
}

static void answer(struct evhttp_request *request, void *unused)
{
    (void)unused;
    const char *path = evhttp_request_get_uri(request);
    long work = micros(path, "/work/"), sleeps = micros(path, "/sleep/");
    if (work < 0 && sleeps < 0 && strcmp(path, "/") != 0) {
        evhttp_send_error(request, HTTP_NOTFOUND, NULL);
        return;
    }
    if (work >= 0)
        burn(work);
    if (sleeps >= 0)
        usleep((useconds_t)sleeps);
    struct evbuffer *body = evbuffer_new();
    if (!body ||
        evbuffer_add_reference(body, hello, sizeof(hello) - 1, NULL, NULL)) {
        evhttp_send_error(request, HTTP_SERVUNAVAIL, NULL);
    } else {
        evhttp_add_header(evhttp_request_get_output_headers(request),
                          "Content-Type", "text/plain");
        evhttp_send_reply(request, HTTP_OK, "OK", body);
    }
    if (body)
        evbuffer_free(body);
}

static void leave(int number)
{
    (void)number;
    _exit(0);
}

/* Listens on the loopback address and says where; 0, or -1: it cannot. */
static int listen_at(struct evhttp *http, int port)
{
    struct evhttp_bound_socket *bound =
        evhttp_bind_socket_with_handle(http, "127.0.0.1", (uint16_t)port);
    if (!bound)
        return -1;
    int fd = (int)evhttp_bound_socket_get_fd(bound);
    struct sockaddr_in at = {0};
    socklen_t size = sizeof(at);
    /* The library's own queue holds 128. */
    if (listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &size) != 0)
        return -1;
    printf("libevent: listening on 127.0.0.1:%d\n", ntohs(at.sin_port));
    return fflush(stdout);
}

int main(int argc, char **argv)
{
    int port = argc == 3 && strcmp(argv[1], "-port") == 0 ? atoi(argv[2]) : 0;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, leave);
    signal(SIGINT, leave);
    struct event_base *base = event_base_new();
    struct evhttp *http = base ? evhttp_new(base) : NULL;
    if (!http || listen_at(http, port) != 0) {
        perror("libevent: cannot listen");
        return 1;
    }
    evhttp_set_timeout(http, HOUR_S);
    evhttp_set_gencb(http, answer, NULL);
    event_base_dispatch(base);
    return 1;
}
