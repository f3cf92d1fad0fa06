/* model_ring.c - see model_ring.h. */
#include "model_ring.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON ASAN_POISON_MEMORY_REGION
#define UNPOISON ASAN_UNPOISON_MEMORY_REGION
#else
#define POISON(p, n) ((void)0)
#define UNPOISON(p, n) ((void)0)
#endif

#include <criterion/criterion.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SQ_MOST = 1024,
    OPS = 2 * MODEL_SOCKS,
    CQES = 4 * MODEL_SOCKS,
    GROUPS = 4,
    BLOCKS = 1024,
    MODEL_BUFFERS = 1024, /* of one group */
    REAL_OPS = 4096,
    LINES = 24,
    COLUMNS = 120,
    STUCK = 1000000, /* turns, then nothing will come of it */
};

struct sock {
    bool open, fin, reset, stalled;
    uint8_t *in, *out; /* said by the peer, and sent to it */
    size_t in_len, in_at, out_len;
    int fail; /* the next operation's result, or 0 */
};

/* An operation that was taken.  Its linked timeout is part of it. */
struct op {
    bool used, expired, expired_late;
    struct io_uring_sqe sqe;
    uint64_t timeout; /* user_data of the timeout */
    bool has_timeout;
};

struct queued {
    struct io_uring_cqe cqe;
    int fd; /* what it belongs to */
};

struct block {
    uint8_t *mem;
    size_t n;
    bool live;
};

/* A ring of buffers. */
struct group {
    unsigned id, n, size;
    struct io_uring_buf_ring *ring;
    uint8_t *memory;
    uint16_t head, seen; /* taken up to here; looked at up to here */
    bool held[MODEL_BUFFERS];
};

struct model model;
unsigned real_enters;

static struct {
    struct io_uring *ring;
    unsigned head, tail, mask, entries, flags, dropped;
    struct io_uring_sqe sqes[SQ_MOST];
    struct sock socks[MODEL_SOCKS];
    int n_socks, next_peer; /* the first that was not accepted yet */
    struct op ops[OPS];
    int order[OPS], n_ops;
    struct queued cqes[CQES], held[CQES];
    int n_cqes, n_held;
    struct group groups[GROUPS];
    int n_groups;
    struct block blocks[BLOCKS];
    int n_blocks;
    char lines[LINES][COLUMNS], story[LINES * COLUMNS];
    unsigned n_lines;
    unsigned turns;
    uint64_t real[REAL_OPS]; /* user_data of what a real ring has in flight */
    int n_real;
} k;

/* ==== telling ============================================================= */

void model_note(const char *what, ...)
{
    va_list ap;

    va_start(ap, what);
    vsnprintf(k.lines[k.n_lines++ % LINES], COLUMNS, what, ap);
    va_end(ap);
}

const char *model_story(void)
{
    unsigned first = k.n_lines > LINES ? k.n_lines - LINES : 0;
    size_t n = (size_t)snprintf(k.story, sizeof k.story, "%s",
                                k.n_lines ? "the last events:" : "");

    for (unsigned i = first; i < k.n_lines && n < sizeof k.story; i++)
        n += (size_t)snprintf(k.story + n, sizeof k.story - n, "\n  %s",
                              k.lines[i % LINES]);
    return k.story;
}

void model_broken(const char *how, ...)
{
    char text[300];
    va_list ap;

    va_start(ap, how);
    vsnprintf(text, sizeof text, how, ap);
    va_end(ap);
    cr_assert_fail("%s\n%s", text, model_story());
    abort(); /* not reached */
}

static const char *op_name(const struct io_uring_sqe *sqe)
{
    switch (sqe->opcode) {
    case IORING_OP_RECV:
        return "recv";
    case IORING_OP_SEND:
        return "send";
    case IORING_OP_ACCEPT:
        return "accept";
    case IORING_OP_LINK_TIMEOUT:
        return "timeout";
    default:
        return "?";
    }
}

/* ==== sockets ============================================================= */

static struct sock *sock_of(int fd)
{
    if (fd < MODEL_FD || fd > MODEL_FD + k.n_socks ||
        (fd > MODEL_FD && !k.socks[fd - MODEL_FD - 1].open))
        model_broken("descriptor %d is not open", fd);
    return fd == MODEL_FD ? NULL : &k.socks[fd - MODEL_FD - 1];
}

/* The same for the test, which also asks after the end. */
static struct sock *peer_of(int fd)
{
    return &k.socks[fd - MODEL_FD - 1];
}

int model_listener(void)
{
    return MODEL_FD;
}

int model_peer(void)
{
    int fd = MODEL_FD + ++k.n_socks;

    cr_assert(k.n_socks < MODEL_SOCKS, "too many peers in one test");
    model_note("peer %d connects", fd);
    return fd;
}

/* Memory is had in steps that double. */
static void more(uint8_t **to, size_t *len, const void *bytes, size_t n)
{
    size_t cap = 4096;

    while (cap < *len)
        cap *= 2;
    if (*to == NULL || *len + n > cap) {
        while (cap < *len + n)
            cap *= 2;
        *to = realloc(*to, cap);
        cr_assert(*to != NULL);
    }
    if (n > 0)
        memcpy(*to + *len, bytes, n);
    *len += n;
}

void model_say(int fd, const void *bytes, size_t n)
{
    struct sock *s = peer_of(fd);

    model_note("peer %d says %zu bytes", fd, n);
    more(&s->in, &s->in_len, bytes, n);
}

void model_fin(int fd)
{
    model_note("peer %d has said all (FIN)", fd);
    peer_of(fd)->fin = true;
}

void model_reset(int fd)
{
    model_note("peer %d is gone (RST)", fd);
    peer_of(fd)->reset = true;
}

void model_stall(int fd, bool on)
{
    model_note("peer %d %s", fd, on ? "reads nothing" : "reads again");
    peer_of(fd)->stalled = on;
}

const uint8_t *model_heard(int fd, size_t *n)
{
    *n = peer_of(fd)->out_len;
    return peer_of(fd)->out;
}

bool model_is_closed(int fd)
{
    return fd - MODEL_FD <= k.next_peer && !peer_of(fd)->open;
}

void model_fail(int fd, int res)
{
    peer_of(fd)->fail = res;
}

/* ==== memory and descriptors ============================================== */

void *conn_memory(size_t n)
{
    struct block *b = &k.blocks[k.n_blocks++ % BLOCKS];

    cr_assert(!b->live, "more than %d connections at a time", BLOCKS);
    UNPOISON(b->mem, b->n);
    free(b->mem);
    *b = (struct block){.mem = calloc(1, n), .n = n, .live = true};
    cr_assert(b->mem != NULL);
    model.blocks++;
    return b->mem;
}

static bool within(const struct block *b, uint64_t p)
{
    return p - (uintptr_t)b->mem < b->n;
}

/* Is there a completion still to come that leads here? */
static void must_be_done_with(const struct block *b)
{
    for (int i = 0; i < k.n_ops; i++) {
        const struct op *op = &k.ops[k.order[i]];

        if (within(b, op->sqe.user_data) || within(b, op->sqe.addr))
            model_broken("the memory of a connection was released while its "
                         "%s on %d is in flight",
                         op_name(&op->sqe), op->sqe.fd);
    }
    for (int i = 0; i < k.n_cqes; i++)
        if (within(b, k.cqes[i].cqe.user_data))
            model_broken("the memory of a connection was released while a "
                         "completion of its own (%d, for descriptor %d) is "
                         "still to come",
                         k.cqes[i].cqe.res, k.cqes[i].fd);
    for (int i = 0; i < k.n_held; i++)
        if (within(b, k.held[i].cqe.user_data))
            model_broken("the memory of a connection was released while a "
                         "completion of its own (%d, for descriptor %d) is "
                         "still to come",
                         k.held[i].cqe.res, k.held[i].fd);
}

static void must_be_done_with_for_real(const struct block *b)
{
    for (int i = 0; i < k.n_real; i++)
        if (within(b, k.real[i]))
            model_broken("the memory of a connection was released while one of "
                         "its completions is still to come");
}

void conn_release(void *mem)
{
    for (int i = 0; i < BLOCKS; i++) {
        struct block *b = &k.blocks[i];

        if (!mem || b->mem != mem)
            continue;
        if (!b->live)
            model_broken("the memory of a connection was released twice");
        must_be_done_with(b);
        must_be_done_with_for_real(b);
        memset(b->mem, 0xDB, b->n);
        POISON(b->mem, b->n);
        b->live = false;
        model.blocks--;
        return;
    }
    model_broken("conn_release() of memory that is not from conn_memory()");
}

void sock_close(int fd)
{
    if (fd < MODEL_FD || k.ring == NULL) {
        close(fd); /* a real one */
        return;
    }
    struct sock *s = sock_of(fd);

    if (!s)
        model_broken("the listener was closed");
    for (int i = 0; i < k.n_ops; i++)
        if (k.ops[k.order[i]].sqe.fd == fd)
            model_broken("descriptor %d was closed with its %s in flight", fd,
                         op_name(&k.ops[k.order[i]].sqe));
    s->open = false;
    model.closed++;
    model_note("%d is closed", fd);
}

/* ==== the submission queue ================================================ */

void model_open(struct io_uring *ring, unsigned sq_entries)
{
    cr_assert(sq_entries <= SQ_MOST);
    memset(ring, 0, sizeof *ring);
    k.ring = ring;
    k.mask = sq_entries - 1;
    k.entries = sq_entries;
    ring->ring_fd = -1;
    ring->sq = (struct io_uring_sq){.khead = &k.head,
                                    .ktail = &k.tail,
                                    .kring_mask = &k.mask,
                                    .kring_entries = &k.entries,
                                    .kflags = &k.flags,
                                    .kdropped = &k.dropped,
                                    .sqes = k.sqes,
                                    .ring_mask = k.mask,
                                    .ring_entries = k.entries};
}

static struct op *op_new(const struct io_uring_sqe *sqe)
{
    int i = 0;

    while (i < OPS && k.ops[i].used)
        i++;
    cr_assert(i < OPS, "too many operations in flight");
    k.ops[i] = (struct op){.used = true, .sqe = *sqe};
    k.order[k.n_ops++] = i;
    return &k.ops[i];
}

static void op_end(int at)
{
    k.ops[k.order[at]].used = false;
    memmove(&k.order[at], &k.order[at + 1],
            (size_t)(--k.n_ops - at) * sizeof k.order[0]);
}

static void take_timeout(struct op *op, const struct io_uring_sqe *sqe)
{
    const struct __kernel_timespec *ts =
        (const struct __kernel_timespec *)(uintptr_t)sqe->addr;

    if (!op)
        model_broken("a linked timeout went out alone: its operation was not "
                     "in the same submission, or has no IOSQE_IO_LINK");
    if (ts->tv_sec * 1000 + ts->tv_nsec / 1000000 != model.deadline_ms)
        model_broken("the deadline of a %s is %lld.%09lld s, not %u ms",
                     op_name(&op->sqe), (long long)ts->tv_sec,
                     (long long)ts->tv_nsec, model.deadline_ms);
    op->timeout = sqe->user_data;
    op->has_timeout = true;
}

static void take_send(const struct io_uring_sqe *sqe, const struct sock *s)
{
    size_t held = s->in_at - s->out_len; /* an echo */

    model.sends++;
    if (sqe->len > model.largest_send)
        model.largest_send = sqe->len;
    if (sqe->len == 0)
        model_broken("a send of no bytes on %d", sqe->fd);
    if (model.send_limit && held > model.send_limit)
        held = model.send_limit;
    if (model.send_limit && sqe->len != held)
        model_broken("a send of %u bytes on %d: it should have %zu, for there "
                     "are %zu to send, and this course's limit is %u",
                     sqe->len, sqe->fd, held, s->in_at - s->out_len,
                     model.send_limit);
}

static void take_recv(const struct io_uring_sqe *sqe)
{
    model.group[model.recvs % MODEL_STARTED] = sqe->buf_group;
    model.started[model.recvs++ % MODEL_STARTED] = sqe->fd;
    if (!(sqe->flags & IOSQE_BUFFER_SELECT) && sqe->len == 0)
        model_broken("a receive of no bytes on %d", sqe->fd);
}

static void must_be_accept(const struct io_uring_sqe *sqe)
{
    if (sqe->user_data != model.accept_data)
        model_broken("the user_data of the accept is %llu; in this course it "
                     "is %llu",
                     (unsigned long long)sqe->user_data,
                     (unsigned long long)model.accept_data);
}

/* An operation begins; returns it when the next SQE must be its timeout. */
static struct op *take(const struct io_uring_sqe *sqe)
{
    bool linked = sqe->flags & IOSQE_IO_LINK;
    struct sock *s;
    struct op *op;

    if (sqe->opcode != IORING_OP_ACCEPT && sqe->opcode != IORING_OP_RECV &&
        sqe->opcode != IORING_OP_SEND)
        model_broken("operation %d is none of this lab's", sqe->opcode);
    s = sock_of(sqe->fd);
    if ((s == NULL) != (sqe->opcode == IORING_OP_ACCEPT))
        model_broken("a %s on %d, which is %s", op_name(sqe), sqe->fd,
                     s ? "no listener" : "the listener");
    op = op_new(sqe);
    if (sqe->opcode == IORING_OP_ACCEPT) {
        model.accepts++;
        if (++model.accepting > 1)
            model_broken("a second accept was armed while one is in flight");
        if (!(sqe->ioprio & IORING_ACCEPT_MULTISHOT))
            model_broken("an accept that is not multishot");
        must_be_accept(sqe);
        return NULL;
    }
    if (sqe->opcode == IORING_OP_SEND)
        take_send(sqe, s);
    else
        take_recv(sqe);
    if (linked != (model.deadline_ms > 0))
        model_broken("a %s on %d %s", op_name(sqe), sqe->fd,
                     linked ? "is linked to something"
                            : "without a linked timeout: it may wait for ever");
    return linked ? op : NULL;
}

/* All that is in the SQ, or nothing. */
static int submit(void)
{
    struct io_uring_sq *sq = &k.ring->sq;
    unsigned n = sq->sqe_tail - k.head;
    struct op *link = NULL;

    if (model.busy > 0) {
        model.busy--;
        if (n > 0)
            model_note("io_uring_submit: -EBUSY, %u SQEs stay there", n);
        return -EBUSY;
    }
    for (unsigned i = 0; i < n; i++) {
        const struct io_uring_sqe *sqe = &k.sqes[(k.head + i) & k.mask];

        if (link && sqe->opcode != IORING_OP_LINK_TIMEOUT)
            model_broken("the SQE behind a linked %s on %d is no timeout",
                         op_name(&link->sqe), link->sqe.fd);
        if (sqe->opcode == IORING_OP_LINK_TIMEOUT) {
            take_timeout(link, sqe);
            link = NULL;
            continue;
        }
        link = take(sqe);
        model_note("%s on %d is submitted", op_name(sqe), sqe->fd);
    }
    if (link)
        model_broken("a %s on %d was submitted without its timeout: both must "
                     "be in one submission",
                     op_name(&link->sqe), link->sqe.fd);
    k.head += n;
    model.taken += n;
    sq->sqe_head = sq->sqe_tail;
    return (int)n;
}

/* ==== the kernel ========================================================== */

static void complete(int fd, uint64_t data, int res, unsigned flags, bool hold)
{
    struct queued q = {.cqe = {.user_data = data, .res = res, .flags = flags},
                       .fd = fd};

    cr_assert(k.n_cqes < CQES && k.n_held < CQES);
    if (hold)
        k.held[k.n_held++] = q;
    else
        k.cqes[k.n_cqes++] = q;
}

/* An operation's end, and its timeout's. */
static void finish(int at, int res, unsigned flags)
{
    struct op op = k.ops[k.order[at]];
    int late = op.expired ? -ETIME : -ECANCELED;

    op_end(at);
    model.no_buffers += res == -ENOBUFS;
    model_note("%s on %d: %d%s", op_name(&op.sqe), op.sqe.fd, res,
               op.has_timeout && op.expired ? ", and its deadline has passed"
                                            : "");
    if (op.has_timeout && model.timeout_first)
        complete(op.sqe.fd, op.timeout, late, 0, false);
    complete(op.sqe.fd, op.sqe.user_data, res, flags,
             op.has_timeout && model.timeout_first && model.hold_second);
    if (op.has_timeout && !model.timeout_first)
        complete(op.sqe.fd, op.timeout, late, 0, model.hold_second);
}

static struct group *group_of(unsigned id)
{
    for (int i = 0; i < k.n_groups; i++)
        if (k.groups[i].id == id)
            return &k.groups[i];
    model_broken("there is no group %u of buffers", id);
}

/* One entry that was added to a ring. */
static void look(struct group *g, const struct io_uring_buf *buf)
{
    if (buf->bid >= g->n)
        model_broken("buffer %u was put into group %u, which has %u", buf->bid,
                     g->id, g->n);
    if (buf->addr != (uintptr_t)g->memory + (size_t)buf->bid * g->size ||
        buf->len != g->size)
        model_broken("buffer %u of group %u was put into its ring with another "
                     "address, or with %u bytes instead of %u",
                     buf->bid, g->id, buf->len, g->size);
    if (g->held[buf->bid])
        model_broken("buffer %u of group %u was put into its ring twice",
                     buf->bid, g->id);
    g->held[buf->bid] = true;
    memset((void *)(uintptr_t)buf->addr, 0xEE, g->size);
}

void model_buffers_look(void)
{
    for (int i = 0; i < k.n_groups; i++) {
        struct group *g = &k.groups[i];

        for (; g->seen != g->ring->tail; g->seen++) {
            if ((uint16_t)(g->seen - g->head) >= g->n)
                model_broken("more than %u buffers were put into the ring of "
                             "group %u",
                             g->n, g->id);
            look(g, &g->ring->bufs[g->seen & (g->n - 1)]);
        }
    }
}

/* The buffer that a receive with buffer selection gets; NULL: none is left. */
static void *choose_buffer(const struct io_uring_sqe *sqe, uint32_t *len,
                           unsigned *id)
{
    struct group *g = group_of(sqe->buf_group);
    struct io_uring_buf *buf;

    model_buffers_look();
    if (g->head == g->seen)
        return NULL;
    buf = &g->ring->bufs[g->head++ & (g->n - 1)];
    *len = sqe->len && sqe->len < buf->len ? sqe->len : buf->len;
    *id = buf->bid;
    g->held[buf->bid] = false;
    return (void *)(uintptr_t)buf->addr;
}

static bool do_recv(int at, struct op *op, struct sock *s)
{
    uint32_t room = op->sqe.len;
    void *to = (void *)(uintptr_t)op->sqe.addr;
    size_t n = s->in_len - s->in_at;
    unsigned flags = 0, id = 0;

    if (s->reset)
        return finish(at, -ECONNRESET, 0), true;
    if (n == 0 && !s->fin)
        return false;
    if (n > 0 && op->sqe.flags & IOSQE_BUFFER_SELECT) {
        to = choose_buffer(&op->sqe, &room, &id);
        if (!to)
            return finish(at, -ENOBUFS, 0), true;
        flags = IORING_CQE_F_BUFFER | id << IORING_CQE_BUFFER_SHIFT;
    }
    if (n > room)
        n = room;
    if (n > 0)
        memcpy(to, s->in + s->in_at, n);
    s->in_at += n;
    return finish(at, (int)n, flags), true;
}

static bool do_send(int at, struct op *op, struct sock *s)
{
    size_t n = op->sqe.len;

    if (s->reset)
        return finish(at, -EPIPE, 0), true;
    if (s->stalled)
        return false;
    if (model.send_most && n > model.send_most)
        n = model.send_most;
    more(&s->out, &s->out_len, (const void *)(uintptr_t)op->sqe.addr, n);
    return finish(at, (int)n, 0), true;
}

static bool do_accept(int at)
{
    struct op op = k.ops[k.order[at]];
    int fd = MODEL_FD + k.next_peer + 1;
    bool ends = model.accept_ends;

    if (k.next_peer == k.n_socks)
        return false;
    k.socks[k.next_peer++].open = true;
    model_note("accept: %d%s", fd, ends ? ", and no IORING_CQE_F_MORE" : "");
    complete(MODEL_FD, op.sqe.user_data, fd, ends ? 0 : IORING_CQE_F_MORE,
             false);
    if (ends) {
        model.accept_ends = false;
        model.accepting--;
        op_end(at);
    }
    return true;
}

/* True: something has happened. */
static bool do_op(int at)
{
    struct op *op = &k.ops[k.order[at]];
    struct sock *s;
    int res;

    if (op->sqe.opcode == IORING_OP_ACCEPT)
        return do_accept(at);
    s = peer_of(op->sqe.fd);
    if (s->fail) {
        res = s->fail;
        s->fail = 0;
        return finish(at, res, 0), true;
    }
    if (op->expired && !op->expired_late)
        return finish(at, -ECANCELED, 0), true;
    return op->sqe.opcode == IORING_OP_RECV ? do_recv(at, op, s)
                                            : do_send(at, op, s);
}

void model_expire(int fd, bool with_bytes)
{
    for (int i = 0; i < k.n_ops; i++) {
        struct op *op = &k.ops[k.order[i]];

        if (op->sqe.fd != fd || !op->has_timeout)
            continue;
        model_note("the deadline of the %s on %d passes", op_name(&op->sqe),
                   fd);
        op->expired = true;
        op->expired_late = with_bytes;
        return;
    }
    model_broken("nothing with a deadline is in flight on %d", fd);
}

void model_end_accept(int res)
{
    for (int i = 0; i < k.n_ops; i++) {
        struct op op = k.ops[k.order[i]];

        if (op.sqe.opcode != IORING_OP_ACCEPT)
            continue;
        model_note("accept: %d, and no IORING_CQE_F_MORE", res);
        complete(MODEL_FD, op.sqe.user_data, res, 0, false);
        model.accepting--;
        op_end(i);
        return;
    }
    model_broken("no accept is in flight");
}

void model_release(void)
{
    for (int i = 0; i < k.n_held; i++)
        k.cqes[k.n_cqes++] = k.held[i];
    k.n_held = 0;
}

void model_buffers(unsigned group, struct io_uring_buf_ring *ring, unsigned n,
                   uint8_t *memory, unsigned size)
{
    cr_assert(k.n_groups < GROUPS && n <= MODEL_BUFFERS);
    k.groups[k.n_groups++] = (struct group){
        .id = group, .n = n, .size = size, .ring = ring, .memory = memory};
}

unsigned model_buffers_held(unsigned group)
{
    const struct group *g = group_of(group);

    model_buffers_look();
    return (uint16_t)(g->seen - g->head);
}

unsigned model_turn(void (*take_cqe)(const struct io_uring_cqe *cqe))
{
    static struct queued now[CQES];
    int n;

    if (++k.turns > STUCK)
        model_broken("%d turns, and no end", STUCK);
    (void)submit();
    for (int at = 0; at < k.n_ops;)
        at = do_op(at) ? 0 : at + 1;
    n = k.n_cqes;
    memcpy(now, k.cqes, (size_t)n * sizeof now[0]);
    for (int i = 0; i < n; i++) {
        k.n_cqes--;
        memmove(k.cqes, k.cqes + 1, (size_t)k.n_cqes * sizeof k.cqes[0]);
        take_cqe(&now[i].cqe);
    }
    return (unsigned)n;
}

/* ==== a real ring ========================================================= */

int __wrap_io_uring_submit(struct io_uring *ring);

/* A ring can open and write files: what is submitted must be of the lab. */
static void check_real(struct io_uring *ring)
{
    for (unsigned i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++) {
        const struct io_uring_sqe *sqe = &ring->sq.sqes[i & ring->sq.ring_mask];

        if (sqe->opcode != IORING_OP_ACCEPT && sqe->opcode != IORING_OP_RECV &&
            sqe->opcode != IORING_OP_SEND &&
            sqe->opcode != IORING_OP_LINK_TIMEOUT)
            model_broken("operation %d is none of this lab's", sqe->opcode);
        if (sqe->opcode == IORING_OP_ACCEPT)
            must_be_accept(sqe);
        if (sqe->opcode == IORING_OP_SEND && model.send_limit &&
            sqe->len > model.send_limit)
            model_broken("a send of %u bytes; this course's limit is %u",
                         sqe->len, model.send_limit);
    }
}

/* Notes what the ring took: its SQEs from here on. */
static void note_real(const struct io_uring *ring, unsigned from)
{
    for (; from != *ring->sq.khead; from++) {
        cr_assert(k.n_real < REAL_OPS, "too many operations in flight");
        k.real[k.n_real++] = ring->sq.sqes[from & ring->sq.ring_mask].user_data;
    }
}

static void done_real(const struct io_uring_cqe *cqe)
{
    int i = 0;

    if (cqe->flags & IORING_CQE_F_MORE)
        return;
    while (i < k.n_real && k.real[i] != cqe->user_data)
        i++;
    if (i < k.n_real)
        k.real[i] = k.real[--k.n_real];
}

int __wrap_io_uring_submit(struct io_uring *ring)
{
    unsigned from;
    int n;

    model.submits++;
    if (ring == k.ring)
        return submit();
    check_real(ring);
    real_enters++;
    from = *ring->sq.khead;
    n = __real_io_uring_submit(ring);
    note_real(ring, from);
    return n;
}

unsigned real_turn(struct io_uring *ring, int ms,
                   void (*take_cqe)(const struct io_uring_cqe *cqe))
{
    struct __kernel_timespec ts = {ms / 1000, ms % 1000 * 1000000LL};
    struct io_uring_cqe *cqe, copy;
    unsigned n = 0, from = *ring->sq.khead;
    int err;

    check_real(ring);
    real_enters++;
    err = io_uring_submit_and_wait_timeout(ring, &cqe, 1, &ts, NULL);
    note_real(ring, from);
    if (err < 0 && err != -ETIME && err != -EINTR && err != -EAGAIN &&
        err != -EBUSY)
        model_broken("io_uring_enter: %s", strerror(-err));
    while (io_uring_peek_cqe(ring, &cqe) == 0) {
        copy = *cqe;
        io_uring_cqe_seen(ring, cqe);
        done_real(&copy);
        take_cqe(&copy);
        n++;
    }
    return n;
}
