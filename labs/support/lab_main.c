/* lab_main.c - the runner of a lab whose tests talk to a server.
 *
 * The tests use stages/tests/server.h and client.h.  SERVER names a script of
 * the grader's, which becomes the student's server by exec: its pid is the
 * server's.
 */
#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "server.h"

/* Runs before main(), to which glibc gives the same arguments. */
__attribute__((constructor)) static void before_main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "@launch") == 0)
        launch_main(argc - 2, argv + 2);
}

ReportHook(PRE_ALL)(struct criterion_test_set *tests)
{
    struct rlimit limit;

    (void)tests;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}
