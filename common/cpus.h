/* cpus.h - the cpus that this process may run on. */
#ifndef CPUS_H
#define CPUS_H

/* How many, at least 1, and the number of the n-th of them (modulo), or -1:
 * nothing is known of them.  What holds is the mask at the first call, as what
 * is pinned later cannot tell any more.  options_parse() makes that call, when
 * nothing runs beside it yet.  There is no limit to their number. */
int cpus_allowed(void);
int cpus_number(int n);

#endif
