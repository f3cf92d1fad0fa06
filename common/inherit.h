/* inherit.h - what a process takes over from its parent, put in order. */
#ifndef INHERIT_H
#define INHERIT_H

/* Call it first in main(), before a thread is started or anything opened:
 *
 *  - Descriptors 0 to 2 that are closed become /dev/null.  The next file or
 *    socket would get such a number, and log lines would go into it.
 *  - No signal is blocked: a parent that blocks SIGTERM would make the process
 *    impossible to stop.
 *  - SIGTERM and SIGCHLD do what they do by default.  SIGINT and SIGHUP stay
 *    ignored if they are: that is how a shell keeps them from a background job.
 *  - SIGXFSZ is ignored: a log that may not grow (RLIMIT_FSIZE) is an error of
 *    one write, not the end of the process.
 *
 * Exits with 1 when /dev/null is needed and cannot be opened. */
void inherit_clean(void);

#endif
