/* test_main.c - what the runner does besides running tests: it decides which
 * of them belong to this run, and it becomes a server ("@launch").
 *
 * Suites are named any_*, echo_* and http_*: APP decides which of the latter
 * two run beside the first.  A server that cannot run on this machine (exit
 * status 77) is reported once, with its reason, and its tests are skipped.
 */
#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <criterion/options.h>
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
 * seems to be missing: for scripts, and for people. */
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

/* Runs before main(), to which glibc gives the same arguments.  main() itself
 * is Criterion's: with Criterion 2.4.2 a main() written here would run again in
 * every test process. */
__attribute__((constructor)) static void before_main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "@launch") == 0)
        launch_main(argc - 2, argv + 2);
    if (argc > 3 && strcmp(argv[1], "@deny") == 0)
        deny_main(argv + 2);
    /* A --filter on the command line takes the place of this one. */
    criterion_options.pattern =
        app_is_http() ? "@(any|http)_*/*" : "@(any|echo)_*/*";
}

/* Once a run, in the runner itself. */
ReportHook(PRE_ALL)(struct criterion_test_set *tests)
{
    (void)tests;
    if (!getenv("SERVER")) {
        fprintf(stderr, "set SERVER to the binary under test\n");
        exit(64);
    }
    raise_nofile();
    report_unable();
}
