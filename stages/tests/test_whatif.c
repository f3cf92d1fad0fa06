/* test_whatif.c - what a variant of stages 2 to 4 changes does happen: counted
 * by the variant itself, or seen in the kernel's own books.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client.h"

TestSuite(any_whatif, .timeout = 300);

static void only(const char *variant)
{
    if (!server_is(variant))
        cr_skip("%s: not %s", server_path(), variant);
}

/* One connection asks n times, and each time only when the server sleeps: it
 * has done all that follows the answer before. */
static void ask_slowly(const struct server *s, int n)
{
    struct client c;

    client_open(&c, s);
    for (int i = 0; i < n; i++) {
        cr_assert(client_ping(&c), "request %d", i);
        cr_assert(EVENTUALLY(server_sleeps(s), 20), "request %d", i);
    }
    client_close(&c);
}

/* Many connections, all at once. */
static void ask_together(const struct server *s, int n, int turns)
{
    struct client *c = calloc((size_t)n, sizeof(*c));

    clients_open(c, n, s);
    for (int turn = 0; turn < turns; turn++)
        for (int i = 0; i < n; i++)
            cr_assert(client_ping(&c[i]), "turn %d, connection %d", turn, i);
    clients_close(c, n);
    free(c);
}

/* ==== counted by the variant ============================================== */

struct counted {
    const char *variant, *counter;
    int least; /* of it, for ASKED requests of one connection */
};

enum { ASKED = 20 };

static const struct counted counted[] = {
    {"2-ctl-per-request", "changes", ASKED},
    {"2-edge", "recvs", 2 * ASKED},
    {"2-busy-poll", "spins", ASKED},
    {"2-quickack", "quickacks", ASKED},
    {"3-registered-wait", "registered", ASKED},
    {"4-incremental", "shared", ASKED - 1},
};

enum { N_COUNTED = sizeof(counted) / sizeof(counted[0]) };

Test(any_whatif, each_request_is_counted)
{
    for (int i = 0; i < N_COUNTED; i++) {
        unsigned long n;
        struct server s;

        if (!server_is(counted[i].variant))
            continue;
        server_start(&s, NULL);
        ask_slowly(&s, ASKED);
        n = server_stop_counted(&s, counted[i].counter);
        cr_assert(n >= (unsigned)counted[i].least, "%lu %s", n,
                  counted[i].counter);
        return;
    }
    cr_skip("%s: counts nothing for each request", server_path());
}

/* One accept for all; near --max-conns one for each, and never one more. */
Test(any_whatif, one_accept_for_many_peers)
{
    enum { MANY = 120, FEW = 20 };
    struct client c[FEW + 5];
    struct server s;
    unsigned long n;

    only("3-accept-multishot");
    server_start(&s, "--max-conns", "5000", NULL);
    ask_together(&s, MANY, 1);
    n = server_stop_counted(&s, "arms");
    cr_assert(n > 0 && n < MANY / 4, "%lu armed", n);

    /* Room for 92 more than it needs, so it is stopped on the way. */
    server_start(&s, "--max-conns", "4700", NULL);
    for (int i = 0; i < 600; i++) /* each place of the SQ has been used */
        cr_assert(server_answers(&s), "%d", i);
    ask_together(&s, MANY, 8);
    n = server_stop_counted(&s, "arms");
    cr_assert(n > 1 && n < MANY, "%lu armed", n);

    server_start(&s, "--max-conns", "20", NULL);
    for (int i = 0; i < FEW + 5; i++)
        client_open(&c[i], &s);
    for (int i = 0; i < FEW; i++)
        cr_assert(client_ping(&c[i]), "connection %d", i);
    clients_close(c, FEW + 5);
    n = server_stop_counted(&s, "arms");
    cr_assert(n >= FEW, "%lu armed", n);
}

/* One receive for all requests of a connection; and no more than 64 KiB and a
 * piece of a peer that sends and does not read. */
Test(any_whatif, one_receive_for_many_requests)
{
    enum { FLOOD = 4 << 20, MOST = 80 << 10 };
    char *flood = calloc(1, FLOOD);
    struct client c;
    struct server s;
    unsigned long n;

    only("4-recv-multishot");
    server_start(&s, NULL);
    ask_slowly(&s, ASKED);
    n = server_stop_counted(&s, "recvs");
    cr_assert(n > 0 && n < ASKED / 4, "%lu armed", n);

    server_start(&s, NULL);
    client_open_small(&c, &s);
    if (app_is_http())
        cr_assert(client_text(&c, "GET /bytes/67108864 HTTP/1.1\r\n"
                                  "Host: a\r\n\r\n"));
    client_timeout(&c, 0.5);
    cr_assert(!client_send(&c, flood, FLOOD), "all of it was taken");
    client_reset(&c);
    n = server_stop_counted(&s, "early");
    /* Of echo's answers, some reach the peer: then more may come. */
    cr_assert(n > 0 && (n <= MOST || !app_is_http()), "%lu bytes came early",
              n);
    free(flood);
}

/* What waits in the socket comes by one receive, in several pieces. */
Test(any_whatif, one_receive_fills_several_pieces)
{
    enum { BODY = 40000 };
    char *said = calloc(1, BODY), *heard = calloc(1, BODY);
    struct client c;
    struct reply a;
    struct server s;
    unsigned long n;

    only("4-recv-bundle");
    server_start(&s, NULL);
    client_open(&c, &s);
    for (int i = 0; i < 5; i++) {
        struct rng r = rng_start((uint64_t)i);

        rng_fill(&r, said, BODY);
        server_signal(&s, SIGSTOP);
        if (app_is_http())
            client_printf(&c,
                          "POST /echo HTTP/1.1\r\nHost: a\r\n"
                          "Content-Length: %d\r\n\r\n",
                          BODY);
        cr_assert(client_send(&c, said, BODY));
        pause_s(0.02);
        server_signal(&s, SIGCONT);
        if (app_is_http()) {
            cr_assert(client_reply(&c, &a) && a.len == BODY);
            memcpy(heard, a.body, BODY);
            reply_free(&a);
        } else {
            cr_assert(client_read_all(&c, heard, BODY));
        }
        cr_assert(memcmp(said, heard, BODY) == 0, "wrong bytes");
    }
    client_close(&c);
    n = server_stop_counted(&s, "bundles");
    cr_assert(n > 0, "each receive filled one piece");
    free(said);
    free(heard);
}

Test(any_whatif, waits_ask_for_several)
{
    struct server s;
    unsigned long n;

    only("3-min-wait");
    server_start(&s, NULL);
    ask_together(&s, 40, 3);
    n = server_stop_counted(&s, "batches");
    cr_assert(n > 0, "none");
}

/* ==== threads ============================================================= */

Test(any_whatif, several_loops)
{
    struct server s;

    only("2-exclusive");
    server_start(&s, NULL);
    cr_assert_eq(server_threads(&s), 2);
    ask_together(&s, 30, 3);
    server_stop(&s);

    server_start(&s, "--workers", "5", "--max-conns", "7", NULL);
    cr_assert_eq(server_threads(&s), 5);
    ask_together(&s, 7, 3);
    server_stop(&s);

    cr_assert_eq(server_run(&s, &(struct launch){0}, "--workers", "65", NULL),
                 64);
    cr_assert(strstr(server_stderr(&s), "--workers"), "%s", server_stderr(&s));
    close(s.out);
    close(s.err);
}

/* Does a thread of the server have a name that begins like this? */
static bool has_thread(const struct server *s, const char *begin)
{
    char path[300], name[64];
    bool found = false;
    struct dirent *e;
    DIR *dir;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)s->pid);
    dir = opendir(path);
    cr_assert(dir);
    while ((e = readdir(dir)) != NULL) {
        snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", (int)s->pid,
                 e->d_name);
        f = *e->d_name == '.' ? NULL : fopen(path, "re");
        if (!f)
            continue;
        found |= fgets(name, sizeof(name), f) &&
                 strncmp(name, begin, strlen(begin)) == 0;
        fclose(f);
    }
    closedir(dir);
    return found;
}

Test(any_whatif, a_thread_of_the_kernel_submits)
{
    struct server s;

    only("3-sqpoll");
    server_start(&s, NULL);
    cr_assert(EVENTUALLY(has_thread(&s, "iou-sqp"), 20));
    ask_slowly(&s, ASKED);
    server_stop(&s);
}

/* ==== options of sockets, as the kernel has them ========================== */

static bool is_listener(int fd)
{
    int on = 0;
    socklen_t len = sizeof(on);

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on;
}

static bool is_peer_of(int fd, const struct client *c)
{
    struct sockaddr_in ours = {0}, theirs = {0};
    socklen_t len = sizeof(ours);

    return getsockname(c->fd, (struct sockaddr *)&ours, &len) == 0 &&
           getpeername(fd, (struct sockaddr *)&theirs, &len) == 0 &&
           ours.sin_port == theirs.sin_port;
}

/* A copy of the server's socket that is connected to the client, or of its
 * listener (NULL). */
static int take_socket(const struct server *s, const struct client *c)
{
    int process = (int)syscall(SYS_pidfd_open, s->pid, 0), fd = -1;

    if (process < 0)
        cr_skip("pidfd_open: %s", strerror(errno));
    for (int i = 3; i < 64; i++) {
        fd = (int)syscall(SYS_pidfd_getfd, process, i, 0);
        if (fd < 0 && errno != EBADF)
            cr_skip("pidfd_getfd: %s", strerror(errno));
        if (fd >= 0 && (c ? is_peer_of(fd, c) : is_listener(fd)))
            break;
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    close(process);
    cr_assert(fd >= 0, "the server has no such socket");
    return fd;
}

static int tcp_number(int fd, int option)
{
    int n = -1;
    socklen_t len = sizeof(n);

    cr_assert(getsockopt(fd, IPPROTO_TCP, option, &n, &len) == 0, "%s",
              strerror(errno));
    return n;
}

Test(any_whatif, congestion_control_is_as_named)
{
    const char *slash = strrchr(server_path(), '/');
    char name[16] = "";
    socklen_t len = sizeof(name);
    struct client c;
    struct server s;
    int fd;

    if (!server_is("2-bbr") && !server_is("2-cubic"))
        cr_skip("%s: as the system has it", server_path());
    server_start(&s, NULL);
    client_open(&c, &s);
    cr_assert(client_ping(&c));
    fd = take_socket(&s, &c);
    cr_assert(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0);
    cr_assert_str_eq(name, slash + strlen("/2-"));
    close(fd);
    client_close(&c);
    server_stop(&s);
}

/* Stage 2 is the control: it has the limit. */
Test(any_whatif, unsent_bytes_have_no_limit)
{
    struct client c;
    struct server s;
    int fd;

    if (!server_is("2-no-lowat") && !server_is("stage2"))
        cr_skip("%s: not 2-no-lowat", server_path());
    server_start(&s, NULL);
    client_open(&c, &s);
    cr_assert(client_ping(&c));
    fd = take_socket(&s, &c);
    cr_assert_eq(tcp_number(fd, TCP_NOTSENT_LOWAT),
                 server_is("stage2") ? 128 << 10 : 0);
    close(fd);
    client_close(&c);
    server_stop(&s);
}

Test(any_whatif, accepts_are_deferred)
{
    struct server s;
    int fd;

    only("2-defer-accept");
    server_start(&s, NULL);
    fd = take_socket(&s, NULL);
    cr_assert(tcp_number(fd, TCP_DEFER_ACCEPT) > 0);
    close(fd);
    ask_together(&s, 20, 2);
    server_stop(&s);
}

/* ==== files of the process ================================================ */

/* Does a line of /proc/PID/NAME hold this text? */
static bool proc_says(const struct server *s, const char *name,
                      const char *text)
{
    char path[300], line[512];
    bool found = false;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)s->pid, name);
    f = fopen(path, "re");
    while (f && !found && fgets(line, sizeof(line), f))
        found = strstr(line, text) != NULL;
    if (f)
        fclose(f);
    return found;
}

/* The ring's own page in /proc says what is registered. */
Test(any_whatif, napi_is_registered)
{
    char name[32];
    bool found = false;
    struct server s;

    only("3-napi");
    server_start(&s, NULL);
    cr_assert(strstr(server_stderr(&s), "NAPI 50 us"));
    for (int i = 3; i < 64 && !found; i++) {
        snprintf(name, sizeof(name), "fdinfo/%d", i);
        found = proc_says(&s, name, "NAPI:\tenabled") ||
                proc_says(&s, name, "napi_busy_poll_dt:\t50");
    }
    cr_assert(found, "no ring says so");
    ask_together(&s, 20, 2);
    server_stop(&s);
}

Test(any_whatif, the_other_allocator_is_loaded)
{
    struct server s;

    only("2-jemalloc");
    server_start(&s, NULL);
    cr_assert(proc_says(&s, "maps", "libjemalloc"));
    ask_together(&s, 20, 2);
    server_stop(&s);
}
