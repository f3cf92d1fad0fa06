/* lockable.h - how much memory this process may lock, and for what.
 *
 * What a process and the kernel both write to counts as locked memory, on most
 * kernels.  All processes of a user share one limit: a process that takes all
 * of it keeps the next one from starting.
 */
#ifndef LOCKABLE_H
#define LOCKABLE_H

#include <stddef.h>

/* Bytes: half of RLIMIT_MEMLOCK, the other half being for other processes.
 * SIZE_MAX: there is no limit. */
size_t lockable(void);

/* Divides that among so many workers, and what each of them gets into parts,
 * one for each thing of a worker that locks memory.  Call it before any of
 * these is made; without that call there is one worker, and one part. */
void lockable_divide(int workers, int parts);

size_t lockable_each(void); /* bytes of a worker */
size_t lockable_part(void); /* bytes of a part of it */

#endif
