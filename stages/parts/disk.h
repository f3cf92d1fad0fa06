/* disk.h - file pages that are not cached, read by threads of the kernel's.
 *
 * A worker that waited for a disk would hold up everything in its queue.  Its
 * batch ring cannot wait for it either: only its owner may take completions
 * from that one, and the owner may be in a long handler by then.  So there is a
 * second, plain ring (no SINGLE_ISSUER, no DEFER_TASKRUN).  Any thread that has
 * the lock may take its completions.  Its descriptor is in the readiness set:
 * the thread that harvests the set takes them.
 *
 *      runner:      disk_read(c)    c stays RUNNING, and no thread touches it
 *      kernel:      a thread of its own reads (IOSQE_ASYNC)
 *      any thread:  disk_take()     owns c from here on
 *
 * Invariant: between the two no thread touches the connection; the lock hands
 * what the one wrote to the other.
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
    int reads; /* in flight; with the lock */
    int most;  /* of them; 0: no more memory may be locked, so no ring */
};

/* Takes a part of lockable memory (lockable.h); where there is none left, every
 * disk_read() is false.  Exits with 77 and the reason when there is no io_uring
 * to be had. */
void disk_open(struct disk *d, const char *name);

/* Readable when a read is over; -1: there is no ring. */
int disk_fd(const struct disk *d);

/* What is cached, at once: the bytes read, or -errno; -EAGAIN: it is not. */
ssize_t disk_cached(const struct session *s);

/* Waits for the disk: bytes or -errno. */
ssize_t disk_wait(const struct session *s);

/* Starts to read what s wants, for c.  False: too many are in flight. */
bool disk_read(struct disk *d, const struct session *s, void *c);

/* Any thread: a connection whose read is over, and its result; NULL: none, or
 * another thread is looking.  -ECANCELED: the kernel may start no thread for
 * this process, so nothing was read. */
void *disk_take(struct disk *d, int *res);

/* Reads still in flight: their memory is the kernel's. */
int disk_close(struct disk *d);

#endif
