/* uring.h - opens a ring, says why there is none, makes room for operations.
 *
 * The floor is liburing 2.3 (Debian 12).  The kernel may be newer or older: ask
 * it what it can do, and never compare version strings.  Distributions backport
 * features, and filters forbid them.
 *
 * A ring belongs to the thread that opened it.  Nothing here is thread-safe.
 */
#ifndef URING_H
#define URING_H

#include <argp.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "check.h"
#include "net.h"
#include "options.h"
#include "session.h"
#include "stats.h"

enum {
    EX_SKIP = 77,     /* exit status: this machine cannot run it */
    SQ_ENTRIES = 512, /* operations submitted by one system call */
    CQ_LEAST = 4096,  /* unless --cq or the limit on locked memory says less */
    CQ_FEWEST = 64,   /* no ring rather than a smaller one */
    ACCEPTS = 8,      /* armed at a time: so many a turn can be accepted */
    GRACE_TURNS = 10, /* for the last completions when a drain is over */
};

/* --taskrun and --cq force the fallbacks, so that tests reach them.  Once the
 * ring is open, the options say what it got. */
struct uring_options {
    const char *taskrun; /* defer, coop or none: the best mode to try */
    unsigned cq;         /* entries; 0: one for each connection */
    bool poll_first;     /* the kernel knows IORING_RECVSEND_POLL_FIRST */
};

#define URING_SWITCHES                                                         \
    {"taskrun", 't', "MODE", 0, "defer (default), coop or none", 0},           \
    {                                                                          \
        "cq", 'q', "N", 0, "completion queue entries (default: all fit)", 0    \
    }

/* A stage's parser ends with this one.  Keys 't' and 'q' are taken.  Returns 0
 * or ARGP_ERR_UNKNOWN; a wrong value ends the process with 64. */
error_t uring_switch(int key, char *arg, struct argp_state *state,
                     struct uring_options *o);

/* How many entries, at most cq, a completion queue may have so that its ring
 * fits into one part (lockable.h); 0: not even CQ_FEWEST fit. */
unsigned uring_fit(unsigned cq);

/* Bytes that the worker may lock (lockable.h) and its ring does not use. */
size_t uring_rest(const struct io_uring *ring);

/* How many workers can have `rings` small rings each: at least 1. */
int uring_afford(int rings);

/* Why io_uring_setup failed (-errno), and what can be done about it. */
const char *uring_reason(int err);

/* Does the kernel know this IORING_OP_*? */
bool uring_has(struct io_uring *ring, int opcode);

/* Opens a ring in the first mode that this kernel knows, from o->taskrun down;
 * *o then says what it got.  The CQ gets an entry for one completion of every
 * connection.  Without io_uring the process ends: status 77, and the reason on
 * stderr, after `name`. */
void uring_open(struct io_uring *ring, const char *name,
                struct uring_options *o, int max_conns);

/* One completion, whose data is `fd`, when *fd becomes readable.  For a ring
 * that was just opened: it has room. */
void uring_watch(struct io_uring *ring, int *fd);

/* Ends the process unless a loop goes on after this result of io_uring_enter: a
 * number, a timeout, a signal, or a CQ that must be emptied first. */
void uring_entered(const char *name, int err);

/* True while completions wait outside the CQ for want of room in it.  The next
 * enter that waits brings them in, so look before it. */
static inline bool uring_overflows(struct io_uring *ring)
{
    return IO_URING_READ_ONCE(*ring->sq.kflags) & IORING_SQ_CQ_OVERFLOW;
}

/* Takes the next completion, which must be there, out of the CQ before it is
 * handled: handling it may submit, and what completes then finds room. */
static inline struct io_uring_cqe uring_take(struct io_uring *ring)
{
    struct io_uring_cqe *cqe, copy;

    CHECK(io_uring_peek_cqe(ring, &cqe) == 0);
    copy = *cqe;
    io_uring_cqe_seen(ring, cqe);
    return copy;
}

/* The result of a read of a file.  To wait for a disk the kernel may need a
 * thread of its own; where the process may start none (RLIMIT_NPROC, pids.max)
 * the kernel gives the read up with ECANCELED.  Then we read here and now. */
static inline int uring_file(const struct session *s, int res)
{
    ssize_t n;

    if (res != -ECANCELED)
        return res;
    n = pread(s->file.fd, buf_tail(&s->out), session_file_want(s),
              (off_t)s->file.off);
    return n < 0 ? -errno : (int)n;
}

/* How many accepts to arm at a time. */
static inline int uring_accepts(void)
{
    return net_several() ? 1 : ACCEPTS;
}

/* Asks for the next peer: an accept that waits in the kernel.  Where --host has
 * several addresses it is a poll of all their listeners: an accept armed at one
 * of them would hold a permit of --max-conns while a peer waits at another. */
static inline void uring_accept(struct io_uring_sqe *sqe, int listener)
{
    if (net_several())
        io_uring_prep_poll_add(sqe, listener, POLLIN);
    else
        io_uring_prep_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
}

/* The result of uring_accept(): a socket or -errno.  A poll says only that a
 * peer waits: it is accepted here.  -ECANCELED: the listener is closed (-1). */
static inline int uring_accepted(int listener, int res)
{
    if (!net_several() || res < 0)
        return res;
    return listener < 0 ? -ECANCELED : net_accept(listener, false);
}

/* Makes room for one more operation: submits a full SQ.  False: the kernel
 * takes nothing more before we have taken completions. */
static inline bool uring_make_room(struct io_uring *ring, struct stats *st)
{
    if (io_uring_sq_space_left(ring) == 0) {
        io_uring_submit(ring);
        STAT_ADD(st, waits, 1);
    }
    return io_uring_sq_space_left(ring) > 0;
}

#endif
