/* disk.h - file pages that are not cached, read by threads of the kernel's.
 *
 * A worker that waited for a disk would hold up everybody in its queue.  Its
 * batch ring cannot wait for it either: only the owner may take completions
 * from that one, and the owner may be in a long handler by then.  So there is a
 * second, plain ring (no SINGLE_ISSUER, no DEFER_TASKRUN) whose completions
 * anybody may take who has the lock.  Its descriptor is in the readiness set:
 * whoever harvests the set takes them.
 *
 *      runner:  disk_read(c)    c stays RUNNING, and nobody's, meanwhile
 *      kernel:  a thread of its own reads (IOSQE_ASYNC)
 *      whoever: disk_take()     owns c from here on
 *
 * Invariant: between the two nobody touches the connection; the lock hands what
 * the one wrote to the other.
 */
#ifndef DISK_H
#define DISK_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/uio.h>
#include <unistd.h>

#include "parts/uring.h"
#include "session.h"

enum { DISK_READS = 256 }; /* of one worker in flight */

struct disk {
    pthread_mutex_t lock;
    struct io_uring ring;
    int reads; /* in flight; with the lock */
};

/* Returns 0 or -errno. */
static inline int disk_open(struct disk *d)
{
    pthread_mutex_init(&d->lock, NULL);
    d->reads = 0;
    return io_uring_queue_init(DISK_READS, &d->ring, IORING_SETUP_CLAMP);
}

/* What is cached, at once: the bytes read, or -errno; -EAGAIN: it is not. */
static inline ssize_t disk_cached(const struct session *s)
{
    struct iovec to = {buf_tail(&s->out), session_file_want(s)};
    ssize_t n = preadv2(s->file.fd, &to, 1, (off_t)s->file.off, RWF_NOWAIT);

    return n < 0 ? -errno : n;
}

/* For want of anything better: waits. */
static inline ssize_t disk_wait(const struct session *s)
{
    ssize_t n = pread(s->file.fd, buf_tail(&s->out), session_file_want(s),
                      (off_t)s->file.off);

    return n < 0 ? -errno : n;
}

/* The worker whose disk it is.  False: there are too many. */
static inline bool disk_read(struct disk *d, const struct session *s, void *c)
{
    struct io_uring_sqe *sqe = NULL;

    pthread_mutex_lock(&d->lock);
    if (d->reads < DISK_READS)
        sqe = io_uring_get_sqe(&d->ring);
    if (sqe) {
        d->reads++;
        io_uring_prep_read(sqe, s->file.fd, buf_tail(&s->out),
                           (unsigned)session_file_want(s), s->file.off);
        io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
        io_uring_sqe_set_data(sqe, c);
        /* Interrupted, or the kernel is short of memory just now.  The CQ has
         * room for all, so it takes the entry in the end. */
        while (io_uring_submit(&d->ring) < 1)
            sched_yield();
    }
    pthread_mutex_unlock(&d->lock);
    return sqe != NULL;
}

/* Anybody: a connection whose read is over, and its result; NULL: none, or
 * somebody else is looking. */
static inline void *disk_take(struct disk *d, int *res)
{
    struct io_uring_cqe *cqe;
    void *c = NULL;

    if (pthread_mutex_trylock(&d->lock) != 0)
        return NULL;
    if (d->reads > 0 && io_uring_peek_cqe(&d->ring, &cqe) == 0) {
        c = io_uring_cqe_get_data(cqe);
        *res = cqe->res;
        io_uring_cqe_seen(&d->ring, cqe);
        d->reads--;
    }
    pthread_mutex_unlock(&d->lock);
    return c;
}

/* Reads still in flight: their memory is not ours to free. */
static inline int disk_close(struct disk *d)
{
    int reads = d->reads;

    io_uring_queue_exit(&d->ring);
    pthread_mutex_destroy(&d->lock);
    return reads;
}

#endif
