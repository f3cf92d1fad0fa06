/* engine_uring.c - the engine that asks the kernel seldom; see engine.h.
 *
 *   deliver: replies checked, connections marked ->  wait: 16 sends, one call
 *        ^                                                  |
 *        +---- completions: what came, sends that failed <--+
 *
 *  - A connection has one receive in the kernel for its whole life (multishot,
 *    Linux 6.0).  The kernel takes a buffer of ours when bytes come, and gets
 *    it back as soon as they are checked.
 *  - Sends of a turn leave together, and say something only when they failed.
 *    MSG_DONTWAIT: a socket that is full is ours to wait for.  So each send is
 *    over when the call returns, and its bytes may go.
 *  - Task work is deferred (6.1), and a flag in shared memory says that there
 *    is some: a thread that polls calls the kernel only then.
 *  - Nothing is prepared outside of wait(): no operation can be left behind for
 *    a descriptor that was closed meanwhile and now is another socket.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "check.h"
#include "conn.h"
#include "engine.h"
#include "parts/uring.h"

enum {
    BATCH = 16, /* sends that one call makes, and one reading of the clock */
    ENTRIES = 256,
    CQ_ENTRIES = 16384,
    FEW_BYTES = 1024, /* of a buffer, when replies are short */
    MANY_BYTES = 16384,
    LINE = 64,   /* between them, so that they share no sets of the caches */
    FEWEST = 64, /* buffers; a power of two */
    MOST = 1024,
    OUT_SIZE = 1 << 20, /* bytes of requests that are built a turn */
    GROUP = 0,
};

enum { NEEDS_SEND = 1, NEEDS_WATCH = 2, LISTED = 4 };
enum kind { KIND_RECV, KIND_SEND, KIND_POLL };

struct own {
    struct io_uring ring;
    struct io_uring_buf_ring *pieces;
    unsigned n_pieces, piece;   /* buffers; bytes of each */
    char *mem, *out;            /* of the buffers; requests as they are sent */
    size_t used;                /* of out, in this turn */
    int prepared;               /* sends that no call has made yet */
    struct conn **todo, **done; /* lists of those that want something */
    int n_todo;
};

/* ---- the ring ---- */

static int ring_open(struct io_uring *ring, unsigned cq)
{
    struct io_uring_params p = {
        .flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG,
        .cq_entries = cq,
    };

    return io_uring_queue_init_params(ENTRIES, ring, &p);
}

static int pieces_open(struct own *o)
{
    struct io_uring_buf_reg reg = {.ring_entries = o->n_pieces, .bgid = GROUP};
    void *mem =
        mmap(NULL, o->n_pieces * sizeof(struct io_uring_buf),
             PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int err;

    if (mem == MAP_FAILED)
        return -ENOMEM;
    reg.ring_addr = (uintptr_t)mem;
    err = io_uring_register_buf_ring(&o->ring, &reg, 0);
    if (err < 0) {
        munmap(mem, o->n_pieces * sizeof(struct io_uring_buf));
        return err;
    }
    o->pieces = mem;
    io_uring_buf_ring_init(o->pieces);
    return 0;
}

static void close_both(struct own *o)
{
    io_uring_queue_exit(&o->ring);
    munmap(o->pieces, o->n_pieces * sizeof(struct io_uring_buf));
}

/* Opens both; 0, or -errno and what was missing. */
static int open_both(struct own *o, const char **what)
{
    int err = -ENOMEM;

    *what = "no ring";
    for (unsigned cq = CQ_ENTRIES; cq >= ENTRIES && err == -ENOMEM; cq /= 2)
        err = ring_open(&o->ring, cq);
    if (err == -EINVAL)
        *what = "no ring that defers task work (Linux 6.1)";
    if (err < 0)
        return err;
    *what = "no ring of buffers (Linux 5.19)";
    err = pieces_open(o);
    if (err < 0)
        io_uring_queue_exit(&o->ring);
    return err;
}

static const char *complaint(const char *what, int err)
{
    static char text[256];

    snprintf(text, sizeof(text), "%s: %s", what,
             err == -EINVAL ? strerror(EINVAL) : uring_reason(err));
    return text;
}

const char *engine_no_uring(void)
{
    struct own o = {.n_pieces = FEWEST};
    const char *what;
    int err = open_both(&o, &what);

    if (err < 0)
        return complaint(what, err);
    close_both(&o);
    return NULL;
}

static char *piece_at(const struct own *o, unsigned n)
{
    return o->mem + (size_t)n * (o->piece + LINE);
}

static void give_piece(struct own *o, unsigned n)
{
    io_uring_buf_ring_add(o->pieces, piece_at(o, n), o->piece,
                          (unsigned short)n,
                          io_uring_buf_ring_mask(o->n_pieces), 0);
    io_uring_buf_ring_advance(o->pieces, 1);
}

/* The kernel uses all buffers in turn, so few and small ones stay in the
 * caches: one for each connection, as large as what it waits for. */
static void size_pieces(struct own *o, const struct load *l)
{
    const struct plan *p = l->plan;
    uint64_t reply = p->kind == PLAN_ECHO ? 0 : FEW_BYTES / 4; /* its head */

    reply += p->kind == PLAN_MIX ? p->mix : p->reply_len;
    o->piece =
        reply * (uint64_t)l->cf->depth <= FEW_BYTES ? FEW_BYTES : MANY_BYTES;
    o->n_pieces = FEWEST;
    while (o->n_pieces < (unsigned)l->n_conns && o->n_pieces < MOST)
        o->n_pieces *= 2;
}

static void uring_start(struct load *l)
{
    struct own *o = calloc(1, sizeof(*o));
    const char *what;
    int err;

    if (!o)
        die("loadgen: out of memory");
    size_pieces(o, l);
    err = open_both(o, &what);
    if (err < 0)
        die_status(EX_SKIP, "loadgen: --engine uring: %s",
                   complaint(what, err));
    o->mem = malloc((size_t)o->n_pieces * (o->piece + LINE));
    o->out = malloc(OUT_SIZE);
    o->todo = calloc((size_t)l->n_conns + 1, sizeof(struct conn *));
    o->done = calloc((size_t)l->n_conns + 1, sizeof(struct conn *));
    if (!o->mem || !o->out || !o->todo || !o->done)
        die("loadgen: out of memory");
    for (unsigned i = 0; i < o->n_pieces; i++)
        give_piece(o, i);
    l->own = o;
}

static void uring_stop(struct load *l)
{
    struct own *o = l->own;

    close_both(o);
    free(o->mem);
    free(o->out);
    free(o->todo);
    free(o->done);
    free(o);
    l->own = NULL;
}

/* ---- what a connection wants, until the next wait ---- */

static void mark(struct load *l, struct conn *c, uint8_t what)
{
    struct own *o = l->own;

    if (!(c->todo & LISTED))
        o->todo[o->n_todo++] = c;
    c->todo |= what | LISTED;
}

static int uring_watch_socket(struct load *l, struct conn *c)
{
    c->receives = false;
    mark(l, c, NEEDS_WATCH);
    return 0;
}

/* It stays in the list, and wants nothing.  A receive in the kernel holds the
 * socket open: it is told that no more will come. */
static void uring_forget(struct load *l, struct conn *c)
{
    (void)l;
    c->todo &= LISTED;
    if (c->receives)
        shutdown(c->fd, SHUT_RDWR);
}

static void write_now(struct load *l, struct conn *c)
{
    conn_write(l, c);
    if (c->rest_len > 0)
        mark(l, c, NEEDS_WATCH);
}

/* A fresh connection is written to at once: it may have connected already. */
static void uring_flush(struct load *l, struct conn *c)
{
    if (c->state == CONN_CONNECTING) {
        write_now(l, c);
    } else if (!(c->todo & NEEDS_SEND)) {
        c->todo_ns = l->now_ns;
        mark(l, c, NEEDS_SEND);
    }
}

/* ---- waiting ---- */

static void entered(int err)
{
    if (err < 0 && err != -ETIME && err != -EINTR && err != -EAGAIN &&
        err != -EBUSY)
        die_status(2, "loadgen: io_uring_enter: %s", strerror(-err));
}

/* Makes the call for what is prepared; what follows is sent later than it. */
static void submit(struct load *l)
{
    struct own *o = l->own;

    entered(io_uring_submit(&o->ring));
    o->prepared = 0;
    load_clock(l);
}

static uint64_t data_of(const struct load *l, const struct conn *c,
                        enum kind kind)
{
    return (uint64_t)kind << 60 | (uint64_t)(c - l->conns) << 32 |
           c->generation;
}

static struct io_uring_sqe *room(struct load *l)
{
    struct own *o = l->own;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&o->ring);

    if (!sqe) {
        submit(l);
        sqe = io_uring_get_sqe(&o->ring);
    }
    if (!sqe)
        die_status(2, "loadgen: the kernel takes no more operations");
    return sqe;
}

static void prepare_watch(struct load *l, struct conn *c)
{
    struct io_uring_sqe *sqe;

    if (c->state == CONN_CONNECTING || c->rest_len > 0) {
        sqe = room(l);
        io_uring_prep_poll_add(sqe, c->fd, POLLOUT);
        sqe->user_data = data_of(l, c, KIND_POLL);
    }
    if (c->state >= CONN_UP && !c->receives) {
        sqe = room(l);
        io_uring_prep_recv_multishot(sqe, c->fd, NULL, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = GROUP;
        sqe->user_data = data_of(l, c, KIND_RECV);
        c->receives = true;
    }
}

static void prepare_send(struct load *l, struct conn *c)
{
    const struct plan *p = l->plan;
    struct own *o = l->own;
    struct io_uring_sqe *sqe;
    size_t need = 0, len;

    if (c->state < CONN_UP || c->rest_len > 0 || c->built == c->tail)
        return;
    if (p->kind != PLAN_SAME)
        need = (size_t)(c->tail - c->built) * p->max_len;
    if (o->prepared == BATCH)
        submit(l);
    conn_held_up(l, c, c->todo_ns);
    if (need > OUT_SIZE - o->used) {
        write_now(l, c);
        return;
    }
    sqe = room(l);
    c->flying = conn_build(l, c, o->out + o->used, OUT_SIZE - o->used, &len);
    c->flying_len = len;
    io_uring_prep_send(sqe, c->fd, c->flying, len,
                       MSG_DONTWAIT | MSG_NOSIGNAL | MSG_WAITALL);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = data_of(l, c, KIND_SEND);
    if (need > 0)
        o->used += len;
    l->t->bytes_out += len;
    o->prepared++;
}

/* Prepares all that is wanted; how much it was. */
static int prepare_all(struct load *l)
{
    struct own *o = l->own;
    int all = 0;

    o->used = 0; /* the sends of the last turn are over */
    while (o->n_todo > 0) {
        struct conn **list = o->todo;
        int n = o->n_todo;

        o->todo = o->done;
        o->done = list;
        o->n_todo = 0;
        all += n;
        for (int i = 0; i < n; i++) {
            uint8_t todo = list[i]->todo;

            list[i]->todo = 0;
            if (todo & NEEDS_WATCH)
                prepare_watch(l, list[i]);
            if (todo & NEEDS_SEND)
                prepare_send(l, list[i]);
        }
    }
    return all;
}

static int uring_await(struct load *l, int64_t ns)
{
    struct __kernel_timespec ts = {ns / 1000000000, ns % 1000000000};
    struct own *o = l->own;
    struct io_uring_cqe *cqe;
    int did = prepare_all(l);
    unsigned flags = IO_URING_READ_ONCE(*o->ring.sq.kflags);

    if (ns > 0)
        entered(io_uring_submit_and_wait_timeout(&o->ring, &cqe, 1, &ts, NULL));
    else if (io_uring_sq_ready(&o->ring) > 0 ||
             flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
        entered(io_uring_submit_and_get_events(&o->ring));
    o->prepared = 0;
    return did + (int)io_uring_cq_ready(&o->ring);
}

/* ---- what has happened ---- */

static void received(struct load *l, struct conn *c, struct io_uring_cqe *cqe)
{
    struct own *o = l->own;

    c->receives = cqe->flags & IORING_CQE_F_MORE;
    if (cqe->res == 0) {
        conn_ended(l, c);
        return;
    }
    if (cqe->res < 0 && cqe->res != -ENOBUFS && cqe->res != -EINTR) {
        conn_broke(l, c, -cqe->res);
        return;
    }
    if (cqe->res > 0 &&
        !conn_bytes(l, c, piece_at(o, cqe->flags >> IORING_CQE_BUFFER_SHIFT),
                    (size_t)cqe->res))
        return;
    if (!c->receives)
        mark(l, c, NEEDS_WATCH);
    /* More bytes, or the end, come with the next completion. */
    if (cqe->res > 0 && !(cqe->flags & IORING_CQE_F_SOCK_NONEMPTY))
        load_feed(l, c);
}

/* A send that did not take everything, or failed. */
static void sent(struct load *l, struct conn *c, int res)
{
    uint32_t taken = res > 0 ? (uint32_t)res : 0;

    if (res < 0 && res != -EAGAIN && res != -EINTR) {
        conn_broke(l, c, -res);
        return;
    }
    l->t->bytes_out -= c->flying_len - taken;
    conn_keep(c, c->flying + taken, c->flying_len - taken);
    mark(l, c, NEEDS_WATCH);
}

static void completed(struct load *l, struct io_uring_cqe *cqe)
{
    uint64_t data = cqe->user_data;
    struct conn *c = load_conn(l, data >> 32 & 0xfffffff, (uint32_t)data);
    struct own *o = l->own;

    switch ((enum kind)(data >> 60)) {
    case KIND_RECV:
        if (c)
            received(l, c, cqe);
        if (cqe->flags & IORING_CQE_F_BUFFER)
            give_piece(o, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        break;
    case KIND_SEND:
        if (c)
            sent(l, c, cqe->res);
        break;
    case KIND_POLL:
        if (!c)
            break;
        conn_writable(l, c);
        if (c->generation == (uint32_t)data && c->state >= CONN_UP)
            mark(l, c, NEEDS_WATCH);
        break;
    }
}

static void uring_deliver(struct load *l)
{
    struct own *o = l->own;
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    io_uring_for_each_cqe (&o->ring, head, cqe) {
        completed(l, cqe);
        n++;
    }
    io_uring_cq_advance(&o->ring, n);
}

const struct engine engine_uring = {
    .name = "uring",
    .open = uring_start,
    .close = uring_stop,
    .watch = uring_watch_socket,
    .forget = uring_forget,
    .flush = uring_flush,
    .wait = uring_await,
    .deliver = uring_deliver,
};
