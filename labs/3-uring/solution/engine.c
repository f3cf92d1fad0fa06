/* engine.c - lab 3: an engine that is almost right.  See engine.h.
 *
 *      accept --> conn_new --> conn_run --> conn_start: operation + timeout
 *                                 ^                          |
 *                                 '---- conn_done <----------'  two completions
 */
#include "engine.h"
#include "params.h"

#include <sys/queue.h>
#include <sys/socket.h>

/* Bytes of one send, at most: this course's number. */
enum { SEND_MOST = URING_SEND_MOST };

enum op { OP_NONE, OP_RECV, OP_SEND };

struct conn {
    struct session s;
    /* LAB-BEGIN */
    STAILQ_ENTRY(conn) waiting; /* for room in the SQ */
    /* LAB-END */
    struct __kernel_timespec deadline;
    int fd;
    enum op op;    /* the operation in flight */
    int in_flight; /* completions that are still to come */
    int res;       /* the operation's result, once it is there */
    uint8_t in[BUF_SIZE], out[BUF_SIZE];
};

static struct {
    struct engine_setup set;
    /* LAB-BEGIN */
    STAILQ_HEAD(, conn) waiting; /* found no room in the SQ */
    /* LAB-END */
    bool accepting; /* an accept is in flight */
    bool stopping;
} e;

/* The user_data: a connection's address, plus 1 for its timeout (addresses are
 * even); or this course's number of the accept, which is no address. */
enum { ACCEPT = URING_ACCEPT, TIMEOUT = 1 };

static void conn_run(struct conn *c);

/* ---- connections ---- */

static void conn_new(int fd)
{
    struct conn *c = conn_memory(sizeof *c);

    c->fd = fd;
    session_init(&c->s, e.set.app);
    buf_lend(&c->s.in, c->in, BUF_SIZE);
    buf_lend(&c->s.out, c->out, BUF_SIZE);
    conn_run(c);
}

static void conn_close(struct conn *c)
{
    sock_close(c->fd);
    session_end(&c->s);
    conn_release(c);
}

/* ---- operations ---- */

static struct io_uring_sqe *next_sqe(uintptr_t data)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(e.set.ring);

    CHECK(sqe); /* NULL: the SQ is full */
    sqe->user_data = data;
    return sqe;
}

/* LAB-BEGIN */
/* Makes room for so many SQEs.  False: the kernel takes nothing now. */
static bool make_room(unsigned n)
{
    if (io_uring_sq_space_left(e.set.ring) < n)
        io_uring_submit(e.set.ring);
    return io_uring_sq_space_left(e.set.ring) >= n;
}
/* LAB-END */

/* Arms the accept, when there is none and there should be. */
static void accept_start(void)
{
    if (e.accepting || e.stopping)
        return;
    /* LAB-BEGIN */
    if (!make_room(1))
        return;
    /* LAB-END */
    io_uring_prep_multishot_accept(next_sqe(ACCEPT), e.set.listener, NULL, NULL,
                                   0);
    e.accepting = true;
}

static void prep_recv(struct io_uring_sqe *sqe, struct conn *c)
{
    struct buf *in = &c->s.in;

    io_uring_prep_recv(sqe, c->fd, buf_tail(in), buf_room(in), 0);
}

static void prep_send(struct io_uring_sqe *sqe, struct conn *c)
{
    struct buf *out = &c->s.out;
    size_t n = buf_len(out) < SEND_MOST ? buf_len(out) : SEND_MOST;

    /* LAB-BEGIN short 1 of 2 */
    io_uring_prep_send(sqe, c->fd, buf_data(out), n, MSG_NOSIGNAL);
    /* LAB-ELSE
     * io_uring_prep_send(sqe, c->fd, out->mem, n, MSG_NOSIGNAL);
     */
    /* LAB-END */
}

/* Starts an operation and, linked to it, its timeout. */
static void conn_start(struct conn *c, enum op op)
{
    struct io_uring_sqe *sqe;

    /* LAB-BEGIN */
    if (!make_room(2)) {
        STAILQ_INSERT_TAIL(&e.waiting, c, waiting);
        return;
    }
    /* LAB-END */
    sqe = next_sqe((uintptr_t)c);
    if (op == OP_RECV)
        prep_recv(sqe, c);
    else
        prep_send(sqe, c);
    sqe->flags |= IOSQE_IO_LINK;
    c->deadline.tv_sec = e.set.idle_ms / 1000;
    c->deadline.tv_nsec = e.set.idle_ms % 1000 * 1000000LL;
    sqe = next_sqe((uintptr_t)c + TIMEOUT);
    io_uring_prep_link_timeout(sqe, &c->deadline, 0);
    c->op = op;
    /* LAB-BEGIN close 2 of 2 */
    c->in_flight = 2;
    /* LAB-ELSE
     * c->in_flight = 1; // a timeout says nothing that we need
     */
    /* LAB-END */
}

/* Leads the conversation on. */
static void conn_run(struct conn *c)
{
    switch (session_step(&c->s, e.set.stats)) {
    case WANT_RECV:
        return conn_start(c, OP_RECV);
    case WANT_SEND:
        return conn_start(c, OP_SEND);
    default:
        return conn_close(c);
    }
}

static void recv_done(struct conn *c, int n)
{
    if (n == 0)
        c->s.eof = true;
    buf_commit(&c->s.in, (size_t)n);
}

static void send_done(struct conn *c, int n)
{
    /* LAB-BEGIN short 2 of 2 */
    buf_consume(&c->s.out, (size_t)n);
    /* LAB-ELSE
     * (void)n;
     * buf_consume(&c->s.out, buf_len(&c->s.out));
     */
    /* LAB-END */
}

/* ---- completions ---- */

/* Of an operation, or of its timeout. */
static void conn_done(struct conn *c, bool timeout, int res)
{
    c->in_flight--;
    if (!timeout)
        c->res = res;
    /* LAB-BEGIN close 1 of 2 */
    if (c->in_flight > 0)
        return;
    /* LAB-ELSE
     * if (timeout)
     *     return; // it says nothing that the operation does not say
     */
    /* LAB-END */
    if (c->res == -EINTR || c->res == -EAGAIN)
        ; /* nothing happened: the step asks for the same again */
    else if (c->res >= 0 && c->op == OP_RECV)
        recv_done(c, c->res);
    else if (c->res >= 0)
        send_done(c, c->res);
    else
        return conn_close(c);
    conn_run(c);
}

static void accept_done(const struct io_uring_cqe *cqe)
{
    /* LAB-BEGIN ended 2 of 2 */
    /* LAB-ELSE
     * if (cqe->res < 0) // that peer has left already
     *     return;
     */
    /* LAB-END */
    /* LAB-BEGIN ended 1 of 2 */
    if (!(cqe->flags & IORING_CQE_F_MORE))
        e.accepting = false;
    /* LAB-ELSE
     * if (cqe->res < 0)
     *     e.accepting = false;
     */
    /* LAB-END */
    if (cqe->res >= 0)
        conn_new(cqe->res);
}

/* ---- what the loop calls ---- */

void engine_open(const struct engine_setup *setup)
{
    e.set = *setup;
    /* LAB-BEGIN */
    STAILQ_INIT(&e.waiting);
    /* LAB-END */
}

void engine_turn(void)
{
    /* LAB-BEGIN */
    struct conn *c;

    /* LAB-END */
    accept_start();
    /* LAB-BEGIN */
    while ((c = STAILQ_FIRST(&e.waiting)) != NULL && make_room(2)) {
        STAILQ_REMOVE_HEAD(&e.waiting, waiting);
        conn_run(c);
    }
    /* LAB-END */
}

void engine_complete(const struct io_uring_cqe *cqe)
{
    uintptr_t data = (uintptr_t)cqe->user_data;

    if (data == ACCEPT)
        accept_done(cqe);
    /* LAB-BEGIN close 2 of 2 */
    /* LAB-ELSE
     * else if (data & TIMEOUT)
     *     return;
     */
    /* LAB-END */
    else
        conn_done((struct conn *)(data & ~(uintptr_t)TIMEOUT), data & TIMEOUT,
                  cqe->res);
}

void engine_stop(void)
{
    e.stopping = true;
}
