/* ops.h - the ways to receive, to send and to read that stage 4 compares.
 *
 *                    --recv             --send              a file
 *      ring, plain   RECV, piece chosen SEND                READ
 *                    by the kernel
 *      fixed         READ_FIXED         WRITE_FIXED         READ_FIXED
 *      plain         RECV               SEND
 *      zc                               SEND_ZC
 *
 * "Fixed" needs memory that is registered; a window that is not falls back to
 * the plain operation, so every mix is correct.  What each costs is measured in
 * docs/tuning.md; on TCP, fixed is not faster than plain.
 */
#ifndef OPS_H
#define OPS_H

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "parts/arena.h"
#include "parts/uring.h"
#include "probe.h"
#include "session.h"

enum recv_by { RECV_RING, RECV_FIXED, RECV_PLAIN };
enum send_by { SEND_PLAIN, SEND_FIXED, SEND_ZC };

struct own_options {
    struct uring_options uring;
    unsigned buffers; /* pieces of the arena */
    unsigned leave;   /* that many of them are not to be registered */
    int recv;         /* enum recv_by */
    int send;         /* enum send_by */
    int direct;       /* sockets are named by their place in the ring's table */
    bool poll_first;  /* the kernel knows IORING_RECVSEND_POLL_FIRST */
    unsigned report;  /* IORING_SEND_ZC_REPORT_USAGE, if the kernel knows it */
    unsigned copying; /* sends to come that copy: too little may be locked */
    bool told;        /* stderr has heard of that */
};

enum { COPY_FOR = 64 }; /* sends, before another one tries without a copy */

static const char *const recv_names[] = {"ring", "fixed", "plain", NULL};
static const char *const send_names[] = {"plain", "fixed", "zc", NULL};
static const char *const file_names[] = {"normal", "direct", NULL};

static const struct argp_option own_switches[] = {
    {"buffers", 'b', "N", 0, "pieces of 16 KiB, a power of two (1024)", 0},
    {"recv", 'R', "HOW", 0, "ring (default), fixed or plain", 0},
    {"send", 'S', "HOW", 0, "plain (default), fixed or zc", 0},
    {"files", 'F', "HOW", 0, "descriptors: normal (default) or direct", 0},
    {"probe", 'B', "text|json", 0, "print what this io_uring can do, leave", 0},
    URING_SWITCHES,
    {0}};

static inline unsigned option_buffers(struct argp_state *state, const char *arg)
{
    unsigned n = (unsigned)option_int(state, "--buffers", arg, 2, MOST_PIECES);

    if (n & (n - 1))
        argp_error(state, "--buffers: %s is not a power of two", arg);
    return n;
}

static inline error_t own_switch(int key, char *arg, struct argp_state *state)
{
    static const char *const formats[] = {"text", "json", NULL};
    struct own_options *own = state->input;

    if (key == 'b') {
        own->buffers = option_buffers(state, arg);
    } else if (key == 'R') {
        own->recv = option_choice(state, "--recv", arg, recv_names);
    } else if (key == 'S') {
        own->send = option_choice(state, "--send", arg, send_names);
    } else if (key == 'F') {
        own->direct = option_choice(state, "--files", arg, file_names);
    } else if (key == 'B') {
        probe_print(option_choice(state, "--probe", arg, formats));
    } else {
        return uring_switch(key, arg, state, &own->uring);
    }
    return 0;
}

/* IORING_SEND_ZC_REPORT_USAGE (6.2) has no probe of its own.  A send to no
 * socket tells: flags that are not known are refused before its descriptor is.
 * In a ring of its own, whose completions nobody else will meet. */
static inline bool zc_reports(void)
{
    struct io_uring ring;
    struct io_uring_cqe *cqe;
    bool known;

    if (io_uring_queue_init(4, &ring, 0) < 0)
        return false;
    io_uring_prep_send_zc(io_uring_get_sqe(&ring), -1, "", 0, 0,
                          IORING_SEND_ZC_REPORT_USAGE);
    known = io_uring_submit_and_wait(&ring, 1) == 1 &&
            io_uring_peek_cqe(&ring, &cqe) == 0 && cqe->res == -EBADF;
    io_uring_queue_exit(&ring);
    return known;
}

/* What the kernel lacks is left out; the start line says what is left.  slots:
 * places in the ring's table of files.  False: no memory. */
static inline bool own_init(struct own_options *own, struct arena *a,
                            struct io_uring *ring, int slots)
{
    if (!arena_init(a, ring, own->buffers, own->leave, own->recv == RECV_RING))
        return false;
    if (own->recv == RECV_RING && !a->ring)
        own->recv = RECV_PLAIN;
    if (own->send == SEND_ZC && !uring_has(ring, IORING_OP_SEND_ZC))
        own->send = SEND_PLAIN;
    if (own->direct && io_uring_register_files_sparse(ring, (unsigned)slots))
        own->direct = 0;
    own->poll_first = uring_has_poll_first(ring);
    if (own->send == SEND_ZC && zc_reports())
        own->report = IORING_SEND_ZC_REPORT_USAGE;
    return true;
}

/* For the start line; static, one thread. */
static inline const char *own_chosen(const struct own_options *own,
                                     const struct arena *a)
{
    static char text[200];

    snprintf(text, sizeof text,
             "taskrun %s, CQ %u, POLL_FIRST %s, recv %s, send %s, files %s, "
             "%u of %u buffers registered",
             own->uring.taskrun, own->uring.cq, own->poll_first ? "yes" : "no",
             recv_names[own->recv], send_names[own->send],
             file_names[own->direct], a->n_fixed, a->n);
    return text;
}

/* --files direct: from here on `place` in the ring's table names fd; -1:
 * nothing.  False: it could not be entered. */
static inline bool own_name(const struct own_options *own,
                            struct io_uring *ring, unsigned place, int fd)
{
    return !own->direct ||
           io_uring_register_files_update(ring, place, &fd, 1) == 1;
}

/* After the prep call, which sets fd and flags: the socket by its place. */
static inline void own_direct(const struct own_options *own,
                              struct io_uring_sqe *sqe, unsigned place)
{
    if (!own->direct)
        return;
    sqe->fd = (int)place;
    sqe->flags |= IOSQE_FIXED_FILE;
}

/* Receive into the window, or into a piece that the kernel takes when there are
 * bytes.  `more`: the socket was not empty after the last receive; if it was,
 * trying at once would only fail, and POLL_FIRST skips the attempt. */
static inline void prep_recv(const struct own_options *own, struct arena *a,
                             struct io_uring_sqe *sqe, int fd, struct buf *in,
                             bool more)
{
    if (arena_fixed(a, in->mem)) {
        io_uring_prep_read_fixed(sqe, fd, buf_tail(in), (unsigned)buf_room(in),
                                 0, 0);
        return;
    }
    io_uring_prep_recv(sqe, fd, NULL, BUF_SIZE, 0);
    if (in->mem) {
        sqe->addr = (uintptr_t)buf_tail(in);
        sqe->len = (unsigned)buf_room(in);
    } else {
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = BUF_GROUP;
    }
    if (own->poll_first && !more)
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
}

/* From a piece goes what fits at once (MSG_DONTWAIT, RWF_NOWAIT): the rest is
 * spilled and waits from memory of its own.  True: a zero-copy send, which
 * completes twice. */
static inline bool prep_send(struct own_options *own, struct arena *a,
                             struct io_uring_sqe *sqe, int fd, struct buf *out)
{
    bool lent = arena_has(a, out->mem), fixed = arena_fixed(a, out->mem);
    int flags = MSG_NOSIGNAL | (lent ? MSG_DONTWAIT : 0);
    bool zc = lent && own->send == SEND_ZC && !arena_low(a);

    if (zc && !fixed && own->copying > 0) {
        own->copying--;
        zc = false;
    }
    if (fixed && own->send == SEND_FIXED) {
        io_uring_prep_write_fixed(sqe, fd, buf_data(out),
                                  (unsigned)buf_len(out), 0, 0);
        sqe->rw_flags = RWF_NOWAIT;
    } else if (zc) {
        io_uring_prep_send_zc(sqe, fd, buf_data(out), buf_len(out), flags,
                              own->report);
        if (fixed)
            sqe->ioprio |= IORING_RECVSEND_FIXED_BUF;
    } else {
        io_uring_prep_send(sqe, fd, buf_data(out), buf_len(out), flags);
    }
    return zc;
}

/* The result of a zero-copy send.  Pages pinned for a send count against the
 * user's limit on locked memory, unless they are registered: when that is used
 * up, sends copy for a while.  Whoever measures has to know, so it is said. */
static inline int zc_result(struct own_options *own,
                            const struct io_uring_cqe *cqe)
{
    if (cqe->res != -ENOBUFS && cqe->res != -ENOMEM)
        return cqe->res;
    if (!own->told)
        fprintf(stderr, "stage4: --send zc: no more memory may be locked "
                        "(ulimit -l): some sends copy\n");
    own->told = true;
    own->copying = COPY_FOR;
    return -EINTR;
}

/* Of a notification: was the zero-copy send copied after all? */
static inline bool zc_copied(const struct io_uring_cqe *cqe)
{
    return (unsigned)cqe->res & IORING_NOTIF_USAGE_ZC_COPIED;
}

static inline void prep_file(struct arena *a, struct io_uring_sqe *sqe,
                             struct session *s)
{
    unsigned n = (unsigned)session_file_want(s);
    void *to = buf_tail(&s->out);

    if (arena_fixed(a, s->out.mem))
        io_uring_prep_read_fixed(sqe, s->file.fd, to, n, s->file.off, 0);
    else
        io_uring_prep_read(sqe, s->file.fd, to, n, s->file.off);
}

/* Both windows to memory of their own: their peer lets them wait. */
static inline bool windows_spill(struct arena *a, struct session *s)
{
    return arena_spill(a, &s->in) && arena_spill(a, &s->out);
}

/* After a step: windows that hold nothing go back; a piece whose peer is waited
 * for is spilled, and so are those that wait for a disk when pieces are few.
 * False: no memory for that. */
static inline bool windows_settle(const struct own_options *own,
                                  struct arena *a, struct session *s,
                                  enum want want)
{
    if (buf_len(&s->in) == 0 && own->recv == RECV_RING)
        arena_reclaim(a, &s->in);
    if (want == WANT_FILE && arena_low(a))
        return windows_spill(a, s);
    if (want != WANT_RECV)
        return true;
    arena_reclaim(a, &s->out);
    if (own->recv == RECV_RING)
        return arena_spill(a, &s->in);
    /* For comparison: a window of its own before the bytes are there. */
    if (own->recv == RECV_FIXED && !arena_half(a))
        return arena_lend(a, &s->in);
    return s->in.mem || buf_own(&s->in);
}

#endif
