/* ops.h - how stage 5 receives, sends and reads: as stage 4 does. */
#ifndef OPS_H
#define OPS_H

#include <sys/socket.h>

#include "parts/arena.h"
#include "parts/uring.h"

struct own_options {
    struct uring_options uring;
    unsigned buffers; /* pieces of the arena */
    unsigned leave;   /* that many of them are not to be registered */
};

/* For the start line; static, one thread. */
static inline const char *own_chosen(const struct own_options *own,
                                     const struct arena *a)
{
    static char text[200];

    snprintf(text, sizeof text,
             "taskrun %s, CQ %u, POLL_FIRST %s, %u of %u pieces fixed",
             own->uring.taskrun, own->uring.cq,
             own->uring.poll_first ? "yes" : "no", a->n_fixed, a->n);
    return text;
}

/* Receive into the window, or into a piece that the kernel takes when there are
 * bytes.  `more`: the socket was not empty after the last receive. */
static inline void prep_recv(const struct own_options *own,
                             struct io_uring_sqe *sqe, int fd, struct buf *in,
                             bool more)
{
    if (in->mem) {
        io_uring_prep_recv(sqe, fd, buf_tail(in), buf_room(in), 0);
    } else {
        io_uring_prep_recv(sqe, fd, NULL, BUF_SIZE, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = BUF_GROUP;
    }
    if (own->uring.poll_first && !more)
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
}

/* From a piece goes what fits at once; the rest is spilled and waits from
 * memory of its own. */
static inline void prep_send(struct arena *a, struct io_uring_sqe *sqe, int fd,
                             struct buf *out)
{
    bool lent = arena_has(a, out->mem);

    io_uring_prep_send(sqe, fd, buf_data(out), buf_len(out),
                       MSG_NOSIGNAL | (lent ? MSG_DONTWAIT : 0));
}

/* As in stage 4. */
static inline bool windows_settle(struct arena *a, struct session *s,
                                  enum want want)
{
    if (buf_len(&s->in) == 0)
        arena_reclaim(a, &s->in);
    if (want == WANT_RECV)
        arena_reclaim(a, &s->out);
    if (want == WANT_RECV || (want == WANT_FILE && arena_low(a)))
        return arena_spill(a, s);
    return true;
}

#endif
