/* test_main.c - the runner: which tests belong to this run, and the launcher.
 *
 * Suites are named any_*, echo_* and http_*: APP decides which of the latter
 * two run beside the first.  A server that cannot run on this machine (exit
 * status 77) is reported once, with its reason, and its tests are skipped.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "deny_uring.h"
#include "server.h"

/* The servers raise their limit of descriptors; so must their client. */
static void raise_nofile(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void report_unable(void)
{
    struct server s;

    /* A bad address ends every server that gets as far as the listener. */
    if (server_run(&s, &(struct launch){0}, "--port", "0", "--host",
                   "192.0.2.1", NULL) == 77)
        fprintf(stderr, "[SKIP] %s cannot run here: %s\n", server_path(),
                server_stderr(&s));
}

/* `test_servers @deny EPERM|ENOSYS COMMAND...` runs a command where io_uring
 * seems to be missing: for scripts, and for whoever wants to see it. */
static _Noreturn void deny_main(char **argv)
{
    int err = deny_uring(strcmp(argv[0], "ENOSYS") == 0 ? ENOSYS : EPERM);

    if (err < 0) {
        fprintf(stderr, "@deny: seccomp: %s\n", strerror(-err));
        exit(1);
    }
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    exit(127);
}

int main(int argc, char **argv)
{
    struct criterion_test_set *tests;
    int status = 0;

    if (argc > 1 && strcmp(argv[1], "@launch") == 0)
        launch_main(argc - 2, argv + 2);
    if (argc > 3 && strcmp(argv[1], "@deny") == 0)
        deny_main(argv + 2);
    tests = criterion_initialize();
    criterion_options.pattern =
        app_is_http() ? "@(any|http)_*/*" : "@(any|echo)_*/*";
    if (criterion_handle_args(argc, argv, true)) {
        if (!getenv("SERVER")) {
            fprintf(stderr, "set SERVER to the binary under test\n");
            return 64;
        }
        raise_nofile();
        report_unable();
        status = !criterion_run_all_tests(tests);
    }
    criterion_finalize(tests);
    return status;
}
