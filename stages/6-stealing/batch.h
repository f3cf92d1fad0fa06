/* batch.h - many connections, two system calls.
 *
 * Whoever runs many connections at once puts their receives on its own ring,
 * enters the kernel once, steps all sessions and sends the answers in the same
 * way.  Every operation carries MSG_DONTWAIT, so it completes while it is being
 * submitted: none is in flight when a connection is given away.
 */
#ifndef BATCH_H
#define BATCH_H

#include "io.h"

/* Submits n operations and waits for them: one system call, as none of them
 * waits for its peer.  Each connection gets its result. */
static inline void batch_call(struct worker *w, int n)
{
    while (n > 0) {
        int err = io_uring_submit_and_wait(&w->ring, (unsigned)n);

        OWN_ADD(&w->stats, enters, 1);
        if (err < 0 && err != -EINTR && err != -EAGAIN && err != -EBUSY)
            die("stage6: io_uring_enter: %s", strerror(-err));
        OWN_ADD(&w->stats, cq_overflow, uring_overflows(&w->ring));
        for (; io_uring_cq_ready(&w->ring) > 0; n--) {
            struct io_uring_cqe cqe = uring_take(&w->ring);
            struct conn *c = io_uring_cqe_get_data(&cqe);

            c->res = cqe.res;
            OWN_ADD(&w->stats, completions, 1);
        }
    }
}

/* Receives from all who are due to say something, then answers them all.  c is
 * used up: first it holds who received, then who sends. */
static inline void run_batch(struct worker *w, struct conn **c, int n)
{
    int receiving = 0, sending = 0;

    for (int i = 0; i < n; i++) {
        struct buf *in = &c[i]->s.in;

        /* The others do not wait for bytes: they go by themselves. */
        if (!c[i]->hears || c[i]->s.fin || service_draining(&w->sv) ||
            !piece_lend(&w->pieces, in)) {
            run_single(w, c[i]);
            continue;
        }
        struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

        io_uring_prep_recv(sqe, c[i]->fd, buf_tail(in), buf_room(in),
                           MSG_DONTWAIT);
        io_uring_sqe_set_data(sqe, c[i]);
        c[receiving++] = c[i];
    }
    batch_call(w, receiving);
    for (int i = 0; i < receiving; i++)
        if (recv_done(w, c[i], c[i]->res) && conn_run(w, c[i], true))
            c[sending++] = c[i];
    for (int i = 0; i < sending; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);
        const struct buf *out = &c[i]->s.out;

        io_uring_prep_send(sqe, c[i]->fd, buf_data(out), buf_len(out),
                           MSG_NOSIGNAL | MSG_DONTWAIT);
        io_uring_sqe_set_data(sqe, c[i]);
    }
    batch_call(w, sending);
    for (int i = 0; i < sending; i++)
        if (send_done(w, c[i], c[i]->res))
            conn_run(w, c[i], false);
}

#endif
