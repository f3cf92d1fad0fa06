/* run.c - runs the unit tests one by one, a process for each: see criterion.h.
 *
 *   run [SUITE[/TEST]]
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FAILED = 101 }; /* exit status of a test with failed assertions */

static struct cr_test *tests, **last = &tests;
static int failures; /* in this test's process */

void cr_register(struct cr_test *t)
{
    *last = t;
    last = &t->next;
}

void cr_fail(const char *file, int line, const char *what, bool stop,
             const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s:%d: assertion failed: %s:", file, line, what);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    failures++;
    if (stop)
        _exit(FAILED);
}

/* A test's own options win over those of its suite. */
static struct cr_options options_of(const struct cr_test *t)
{
    struct cr_options o = t->options;

    for (const struct cr_test *s = tests; s; s = s->next) {
        if (s->name || strcmp(s->suite, t->suite) != 0)
            continue;
        o.init = o.init ? o.init : s->options.init;
        o.fini = o.fini ? o.fini : s->options.fini;
        o.signal = o.signal ? o.signal : s->options.signal;
        o.exit_code = o.exit_code ? o.exit_code : s->options.exit_code;
        o.timeout = o.timeout > 0 ? o.timeout : s->options.timeout;
        o.disabled |= s->options.disabled;
    }
    return o;
}

static _Noreturn void child(const struct cr_test *t, const struct cr_options *o)
{
    if (o->timeout > 0)
        alarm((unsigned)ceil(o->timeout));
    if (o->init)
        o->init();
    t->run();
    if (o->fini)
        o->fini();
    exit(failures ? FAILED : 0); /* exit(): a race found late has its say */
}

static bool passes(const struct cr_test *t, const struct cr_options *o)
{
    pid_t pid;
    int status;

    fflush(NULL);
    pid = fork();
    if (pid == 0)
        child(t, o);
    if (pid < 0)
        return false;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    if (WIFSIGNALED(status)
            ? WTERMSIG(status) == o->signal
            : o->signal == 0 && WEXITSTATUS(status) == o->exit_code)
        return true;
    fprintf(stderr, "[FAIL] %s::%s: %s %d\n", t->suite, t->name,
            WIFSIGNALED(status) ? "signal" : "exit status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return false;
}

static bool selected(const struct cr_test *t, const char *pattern)
{
    size_t n = strlen(t->suite);

    if (!t->name)
        return false;
    if (!pattern)
        return true;
    return strncmp(pattern, t->suite, n) == 0 &&
           (pattern[n] == '\0' ||
            (pattern[n] == '/' && strcmp(pattern + n + 1, t->name) == 0));
}

int main(int argc, char **argv)
{
    int tested = 0, failing = 0;

    for (const struct cr_test *t = tests; t; t = t->next) {
        struct cr_options o = options_of(t);

        if (!selected(t, argc > 1 ? argv[1] : NULL) || o.disabled)
            continue;
        tested++;
        failing += !passes(t, &o);
    }
    fprintf(stderr,
            "[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | "
            "Crashing: 0 (under ThreadSanitizer, without Criterion)\n",
            tested, tested - failing, failing);
    return failing > 0 || tested == 0;
}
