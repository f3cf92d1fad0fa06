/* disk.h - threads of the kernel read file pages that are not cached.
 *
 * A worker that waited for a disk would hold up everything in its queue.  Its
 * batch ring cannot do the read: only the owner of that ring may take its
 * completions, and the owner may be in a long handler then.  So there is a
 * second, plain ring (no SINGLE_ISSUER, no DEFER_TASKRUN).  Any thread that has
 * the lock may take its completions.  Its descriptor is in the readiness set:
 * the thread that harvests the set takes them.
 *
 *      runner:      disk_read(c)    c stays RUNNING, and no thread touches it
 *      kernel:      a thread of its own reads (IOSQE_ASYNC)
 *      any thread:  disk_take()     owns c from here on
 *
 * Invariant: between disk_read() and disk_take() no thread touches the
 * connection.  What the first thread wrote, the second one sees: the lock.
 */
#ifndef DISK_H
#define DISK_H

#include <pthread.h>
#include <stdbool.h>

#include "session.h"
#include "uring.h"

enum { DISK_READS = 256 }; /* of one worker in flight */

struct disk {
    pthread_mutex_t lock;
    struct io_uring ring;
    int reads; /* in flight; read and written with the lock */
    int most;  /* reads; 0: no more memory may be locked, so no ring */
};

/* Takes a part of lockable memory (lockable.h); where there is none left, every
 * disk_read() is false.  Exits with 77 and the reason when there is no io_uring
 * to be had. */
void disk_open(struct disk *d, const char *name);

/* Readable when a read is over; -1: there is no ring. */
int disk_fd(const struct disk *d);

/* Reads what is cached, at once: bytes or -errno; -EAGAIN: nothing is. */
ssize_t disk_read_cached(const struct session *s);

/* Reads, and waits for the disk: bytes or -errno. */
ssize_t disk_read_blocking(const struct session *s);

/* Starts to read what s wants; disk_take() returns c when it is over.  False:
 * too many reads are in flight. */
bool disk_read(struct disk *d, const struct session *s, void *c);

/* Any thread: takes a connection whose read is over, and its result: bytes or
 * -errno.  NULL: none, or another thread looks just now.  -ECANCELED: nothing
 * was read, as the kernel may start no thread for this process. */
void *disk_take(struct disk *d, int *res);

/* Returns how many reads are still in flight: the kernel may write to their
 * memory, so do not free it. */
int disk_close(struct disk *d);

#endif
