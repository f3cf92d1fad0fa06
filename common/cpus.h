/* cpus.h - the cpus that this process may run on. */
#ifndef CPUS_H
#define CPUS_H

/* How many, at least 1; and the number of the n-th of them (modulo), or -1 when
 * the kernel does not tell.  The first call reads the mask and keeps it, since
 * a thread that is pinned later has a smaller one.  options_parse() makes that
 * call, before there are other threads.  There may be any number of cpus. */
int cpus_allowed(void);
int cpus_number(int n);

#endif
