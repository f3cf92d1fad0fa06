/* echo.c - see echo.h. */
#include "echo.h"

#include <sys/socket.h>

#include "container_of.h"
#include "model_ring.h"

struct conn {
    struct session s;
    struct reader reader;
    LIST_ENTRY(conn) link;
    int fd;
    bool sends, waits; /* the operation in flight; in line for a buffer */
    uint8_t out[ANSWER];
};

static struct {
    struct io_uring *ring;
    int listener;
    const struct app *app;
    struct stats *stats;
    LIST_HEAD(, conn) live;
    bool accepting;
} e;

static struct io_uring_sqe *next_sqe(uintptr_t data)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(e.ring);

    if (!sqe) {
        io_uring_submit(e.ring);
        sqe = io_uring_get_sqe(e.ring);
    }
    CHECK(sqe);
    sqe->user_data = data;
    return sqe;
}

static void conn_recv(struct conn *c)
{
    struct io_uring_sqe *sqe = next_sqe((uintptr_t)c);

    io_uring_prep_recv(sqe, c->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = (uint16_t)pools_choose(&c->reader);
    c->sends = false;
}

static void conn_send(struct conn *c)
{
    struct buf *out = &c->s.out;

    io_uring_prep_send(next_sqe((uintptr_t)c), c->fd, buf_data(out),
                       buf_len(out), MSG_NOSIGNAL);
    c->sends = true;
}

static void conn_close(struct conn *c)
{
    pools_leave(&c->reader);
    LIST_REMOVE(c, link);
    sock_close(c->fd);
    session_end(&c->s);
    conn_release(c);
}

static void conn_run(struct conn *c)
{
    enum want want = session_step(&c->s, e.stats);

    if (buf_len(&c->s.in) == 0 && c->s.in.mem) {
        buf_reclaim(&c->s.in);
        pools_back(&c->reader);
        model_buffers_look();
    }
    if (want == WANT_RECV)
        conn_recv(c);
    else if (want == WANT_SEND)
        conn_send(c);
    else
        conn_close(c);
}

static void conn_new(int fd)
{
    struct conn *c = conn_memory(sizeof *c);

    c->fd = fd;
    session_init(&c->s, e.app);
    buf_lend(&c->s.out, c->out, ANSWER);
    LIST_INSERT_HEAD(&e.live, c, link);
    conn_run(c);
}

static void received(struct conn *c, const struct io_uring_cqe *cqe)
{
    uint8_t *mem = pools_received(&c->reader, cqe->res, cqe->flags);

    if (cqe->res == -ENOBUFS) {
        c->waits = true;
        return;
    }
    if (cqe->res < 0 && cqe->res != -EINTR)
        return conn_close(c);
    if (cqe->res == 0)
        c->s.eof = true;
    if (cqe->res > 0) {
        if (!mem)
            model_broken("pools_received() returned no buffer for %d bytes",
                         cqe->res);
        buf_lend(&c->s.in, mem, (size_t)cqe->res);
        buf_commit(&c->s.in, (size_t)cqe->res);
    }
    conn_run(c);
}

void echo_open(struct io_uring *ring, int listener, const struct app *app,
               struct stats *stats)
{
    e.ring = ring;
    e.listener = listener;
    e.app = app;
    e.stats = stats;
    LIST_INIT(&e.live);
}

void echo_turn(void)
{
    struct reader *r;

    if (!e.accepting) {
        io_uring_prep_multishot_accept(next_sqe(ACCEPTS_DATA), e.listener, NULL,
                                       NULL, 0);
        e.accepting = true;
    }
    pools_turn();
    while ((r = pools_next()) != NULL) {
        struct conn *c = container_of(r, struct conn, reader);

        if (!c->waits)
            model_broken("pools_next() returned a reader that is not in line");
        c->waits = false;
        conn_recv(c);
    }
}

void echo_complete(const struct io_uring_cqe *cqe)
{
    struct conn *c = (struct conn *)(uintptr_t)cqe->user_data;

    if (cqe->user_data == ACCEPTS_DATA) {
        e.accepting = cqe->flags & IORING_CQE_F_MORE;
        if (cqe->res >= 0)
            conn_new(cqe->res);
    } else if (!c->sends) {
        received(c, cqe);
    } else if (cqe->res < 0) {
        conn_close(c);
    } else {
        buf_consume(&c->s.out, (size_t)cqe->res);
        conn_run(c);
    }
}

void echo_drop(int fd)
{
    struct conn *c;

    LIST_FOREACH (c, &e.live, link)
        if (c->fd == fd)
            break;
    if (!c || !c->waits)
        model_broken("connection %d is not in line for a buffer", fd);
    conn_close(c);
}
