/* check.h - stop with a reason.
 *
 * CHECK(expr) is for what can only fail through a bug of ours: it stays in
 * every build, names the place and aborts.  die() is for what the world may do
 * to us at start-up (a port in use, no memory): message on stderr, exit 1.
 * Neither is for what a peer may do: a peer can end its own connection only.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(expr) ((expr) ? (void)0 : check_failed(#expr, __FILE__, __LINE__))

__attribute__((noreturn, cold)) static inline void
check_failed(const char *expr, const char *file, int line)
{
    fprintf(stderr, "%s:%d: CHECK(%s) failed\n", file, line, expr);
    abort();
}

/* die_status() leaves with a status of the caller's choice: 64 wrong usage,
 * 77 this machine cannot run it; die() leaves with 1.  One line, no newline
 * needed. */
__attribute__((noreturn, cold, format(printf, 2, 3))) static inline void
die_status(int status, const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(status);
}

#define die(...) die_status(1, __VA_ARGS__)

#endif
