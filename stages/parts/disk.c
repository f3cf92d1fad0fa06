/* disk.c - see disk.h. */

#include "parts/disk.h"

#include <sched.h>
#include <sys/uio.h>
#include <unistd.h>

void disk_open(struct disk *d, const char *name)
{
    unsigned n = uring_fit(2 * DISK_READS) / 2;
    int err = -ENOMEM;

    if (n > 0)
        err = io_uring_queue_init(n, &d->ring, IORING_SETUP_CLAMP);
    if (err == -ENOMEM)
        n = 0;
    else if (err < 0)
        die_status(EX_SKIP, "%s: no io_uring: %s", name, uring_reason(err));
    pthread_mutex_init(&d->lock, NULL);
    d->reads = 0;
    d->most = (int)n;
}

int disk_fd(const struct disk *d)
{
    return d->most > 0 ? d->ring.ring_fd : -1;
}

ssize_t disk_read_cached(const struct session *s)
{
    struct iovec to = {buf_tail(&s->out), session_file_want(s)};
    ssize_t n = preadv2(s->file.fd, &to, 1, (off_t)s->file.off, RWF_NOWAIT);

    return n < 0 ? -errno : n;
}

ssize_t disk_read_blocking(const struct session *s)
{
    ssize_t n = pread(s->file.fd, buf_tail(&s->out), session_file_want(s),
                      (off_t)s->file.off);

    return n < 0 ? -errno : n;
}

bool disk_read(struct disk *d, const struct session *s, void *c)
{
    struct io_uring_sqe *sqe = NULL;

    pthread_mutex_lock(&d->lock);
    if (d->reads < d->most)
        sqe = io_uring_get_sqe(&d->ring);
    if (sqe) {
        d->reads++;
        io_uring_prep_read(sqe, s->file.fd, buf_tail(&s->out),
                           (unsigned)session_file_want(s), s->file.off);
        io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
        io_uring_sqe_set_data(sqe, c);
        /* It fails when it is interrupted, or the kernel is short of memory for
         * now.  The CQ has room for all reads, so it succeeds in the end. */
        while (io_uring_submit(&d->ring) < 1)
            sched_yield();
    }
    pthread_mutex_unlock(&d->lock);
    return sqe != NULL;
}

void *disk_take(struct disk *d, int *res)
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

int disk_close(struct disk *d)
{
    int reads = d->reads;

    if (d->most > 0)
        io_uring_queue_exit(&d->ring);
    pthread_mutex_destroy(&d->lock);
    return reads;
}
