/* test_start.c - start-up, the command line, and the ways not to start. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

TestSuite(any_start, .timeout = 300);

static const struct launch usual;

Test(any_start, ready_line_is_all_of_stdout)
{
    char expected[64];
    struct server s;
    size_t before;

    server_start(&s, NULL);
    snprintf(expected, sizeof(expected), "listening on 127.0.0.1:%d\n", s.port);
    cr_assert(strstr(s.ready, expected), "%s", s.ready);
    cr_assert(strlen(server_stderr(&s)) > 0, "nothing said on stderr");
    before = strlen(server_stderr(&s));
    cr_assert(server_answers(&s));
    server_stop(&s); /* which reads the rest of stdout: there is none */
    cr_assert(before > 0);
}

Test(any_start, summary_at_exit_is_one_line)
{
    const char *text;
    struct server s;
    size_t before;

    server_start(&s, NULL);
    cr_assert(server_answers(&s));
    before = strlen(server_stderr(&s));
    server_signal(&s, SIGTERM);
    cr_assert(server_wait(&s, scaled(15)) == 0, "%s", server_stderr(&s));
    text = server_stderr(&s) + before;
    cr_assert(strchr(text, '\n') && strchr(text, '\n')[1] == '\0',
              "not one line: \"%s\"", text);
    /* server_signal() may have sent a peer of its own, which counts too. */
    cr_assert(strstr(text, "accepted 1") ||
                  (sanitizer_threads() && strstr(text, "accepted 2")),
              "does not count: %s", text);
    cr_assert(*server_stdout(&s) == '\0', "%s", server_stdout(&s));
}

Test(any_start, stats_lines_come_every_period)
{
    struct server s;

    server_start(&s, "--stats", "0.1", NULL);
    cr_assert(EVENTUALLY(strlen(server_stderr(&s)) > 0, 5));
    cr_assert(server_answers(&s));
    cr_assert(EVENTUALLY(strstr(server_stderr(&s), "accepted 1"), 5), "%s",
              server_stderr(&s));
    server_stop(&s);
}

/* A switch or its value that makes no sense. */
static const char *const wrong[][4] = {
    {"--no-such-switch"},
    {"stray"},
    {"--port", "0", "stray"},
    {"--app", "gopher"},
    {"--app", ""},
    {"--app"},
    {"--port", "65536"},
    {"--port", "-1"},
    {"--port", "http"},
    {"--port", "80x"},
    {"--port", ""},
    {"--workers", "0"},
    {"--workers", "-4"},
    {"--workers", "many"},
    {"--workers", "99999999999999999999"},
    {"--max-body", "-1"},
    {"--max-body", "1x"},
    {"--max-conns", "0"},
    {"--max-conns", "two"},
    {"--idle-timeout", "-1"},
    {"--idle-timeout", "soon"},
    {"--drain-timeout", "-0.5"},
    {"--drain-timeout", "nan"},
    {"--stats", "x"},
};

Test(any_start, wrong_usage_is_64)
{
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct server s;
        int status = server_run_argv(&s, &usual, wrong[i]);

        cr_expect(status == 64, "%s %s: status %d", wrong[i][0],
                  wrong[i][1] ? wrong[i][1] : "", status);
        cr_expect(strlen(server_stderr(&s)) > 10, "%s: no reason given",
                  wrong[i][0]);
        cr_expect(
            strstr(server_stderr(&s), wrong[i][2] ? wrong[i][2] : wrong[i][0]),
            "%s is not named: %s", wrong[i][0], server_stderr(&s));
        close(s.out);
        close(s.err);
    }
}

Test(any_start, help_names_every_switch)
{
    static const char *const names[] = {
        "--app",           "--host",     "--port",      "--workers",
        "--root",          "--max-body", "--max-conns", "--idle-timeout",
        "--drain-timeout", "--stats",
    };
    struct server s;
    const char *text;

    cr_assert(server_run(&s, &usual, "--help", NULL) == 0);
    text = server_stdout(&s);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        cr_expect(strstr(text, names[i]), "--help misses %s", names[i]);
}

/* ==== a port that is taken ================================================ */

static int listener(int *port, bool reuseport)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    if (reuseport)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
    cr_assert(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    cr_assert(listen(fd, 8) == 0);
    cr_assert(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
    *port = ntohs(a.sin_port);
    return fd;
}

/* Status 1, and the reason names the port; 77 where it cannot run at all. */
static void must_refuse(int port)
{
    char text[16];
    struct server s;
    int status;

    snprintf(text, sizeof(text), "%d", port);
    status = server_run(&s, &usual, "--port", text, NULL);
    if (status == 77)
        cr_skip("%s", server_stderr(&s));
    cr_assert(status == 1, "status %d: %s", status, server_stderr(&s));
    cr_assert(strstr(server_stderr(&s), text), "no port in: %s",
              server_stderr(&s));
    cr_assert(strstr(server_stderr(&s), "in use"), "no reason in: %s",
              server_stderr(&s));
    cr_assert(*server_stdout(&s) == '\0');
}

Test(any_start, port_in_use)
{
    int port, fd = listener(&port, false);

    must_refuse(port);
    close(fd);
}

Test(any_start, port_shared_by_somebody_else)
{
    int port, fd = listener(&port, true);

    must_refuse(port);
    close(fd);
}

Test(any_start, port_held_by_the_same_server)
{
    struct server first;

    server_start(&first, NULL);
    must_refuse(first.port);
    cr_assert(server_answers(&first), "the first one suffered");
    server_stop(&first);
}

/* ==== other refusals ====================================================== */

Test(any_start, address_of_another_machine)
{
    struct server s;
    int status =
        server_run(&s, &usual, "--port", "0", "--host", "192.0.2.1", NULL);

    if (status == 77)
        cr_skip("%s", server_stderr(&s));
    cr_assert(status == 1, "status %d: %s", status, server_stderr(&s));
    cr_assert(strstr(server_stderr(&s), "192.0.2.1"), "%s", server_stderr(&s));
}

Test(any_start, root_that_is_none)
{
    struct server s;
    int status = server_run(&s, &usual, "--port", "0", "--root",
                            "/nowhere/at/all", NULL);

    if (status == 77)
        cr_skip("%s", server_stderr(&s));
    cr_assert(status == 1, "status %d: %s", status, server_stderr(&s));
    cr_assert(strstr(server_stderr(&s), "/nowhere/at/all"), "%s",
              server_stderr(&s));
}

/* Stages 1 and 2 do not notice; the others say why and what to do, with 77. */
static void without_uring(int err)
{
    struct launch how = {.deny = err};
    struct server s;
    int status;

    if (server_stage() == 1 || server_stage() == 2) {
        server_start_as(&s, &how, NULL);
        cr_assert(server_answers(&s));
        server_stop(&s);
        return;
    }
    status = server_run(&s, &how, "--port", "0", NULL);
    cr_assert(status == 77, "status %d: %s", status, server_stderr(&s));
    cr_assert(strstr(server_stderr(&s), "io_uring"), "%s", server_stderr(&s));
    cr_assert(*server_stdout(&s) == '\0');
}

Test(any_start, io_uring_forbidden)
{
    without_uring(EPERM);
}

Test(any_start, io_uring_unknown)
{
    without_uring(ENOSYS);
}

/* ==== little is allowed =================================================== */

Test(any_start, runs_as_nobody)
{
    struct launch how = {.memlock = 8 << 20};
    struct server s;

    how.uid = getuid() == 0 ? 65534 : 0;
    server_start_as(&s, &how, NULL);
    cr_assert(server_answers(&s));
    server_stop(&s);
}

Test(any_start, runs_without_locked_memory)
{
    struct launch how = {.memlock = -1};
    struct server s;

    how.uid = getuid() == 0 ? 65534 : 0;
    server_start_as(&s, &how, NULL);
    cr_assert(server_answers(&s));
    server_stop(&s);
}

/* What may be locked is counted by user: two servers of one that share what two
 * rings of the smallest kind take, 8 KiB each, or with a ring of buffers 12.
 * Stages 1 and 2 need none. */
Test(any_start, two_share_little_locked_memory)
{
    bool arena = server_stage() == 4 || server_stage() == 5;
    struct launch how = {.memlock = (arena ? 24 : 16) << 10,
                         .uid = 20000 + (int)getpid() % 40000};
    struct server a, b;
    int status;

    if (getuid() != 0)
        cr_skip("only root has users to spare");
    if (server_is("6-notify-ring"))
        cr_skip("each has three rings");
    server_start(&a, NULL); /* is there any io_uring? */
    server_stop(&a);
    status = server_try(&a, &how, NULL);
    cr_assert(status == 0, "first: %d, %s", status, server_stderr(&a));
    status = server_try(&b, &how, NULL);
    cr_assert(status == 0, "second: %d, %s", status, server_stderr(&b));
    cr_assert(client_traffic(&a, 4) == 4 && client_traffic(&b, 4) == 4);
    server_stop(&b);
    server_stop(&a);
}

/* The limit of a stage is named, and its reason. */
Test(any_start, too_many_workers)
{
    struct server s;

    if (server_stage() < 5)
        cr_skip("one loop, or a thread for each connection");
    cr_assert(server_run(&s, &usual, "--workers", "257", NULL) == 64);
    cr_assert(strstr(server_stderr(&s),
                     server_stage() == 6 ? "at most 56" : "at most 256"),
              "%s", server_stderr(&s));
    cr_assert(strstr(server_stderr(&s), ": each of them is"), "no reason: %s",
              server_stderr(&s));
}

Test(any_start, interrupt_is_like_terminate)
{
    struct server s;

    server_start(&s, NULL);
    cr_assert(server_answers(&s));
    server_signal(&s, SIGINT);
    cr_assert(server_wait(&s, scaled(15)) == 0, "%s", server_stderr(&s));
}

Test(any_start, terminate_before_any_connection)
{
    struct server s;

    server_start(&s, "--drain-timeout", "30", NULL);
    server_signal(&s, SIGTERM);
    cr_assert(server_wait(&s, scaled(10)) == 0, "%s", server_stderr(&s));
}
