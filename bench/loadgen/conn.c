/* conn.c - see conn.h. */
#include "conn.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "engine.h"
#include "source.h"

enum { RETRY_NS = 100000000 }; /* after a connect that failed */

static struct pending *slot(struct conn *c, uint64_t seq)
{
    return &c->ring[seq & c->mask];
}

void conn_init(struct conn *c, uint32_t id, int depth)
{
    uint32_t size = 1;

    while (size < (uint32_t)depth)
        size *= 2;
    *c = (struct conn){.fd = -1, .id = id, .mask = size - 1};
    c->ring = calloc(size, sizeof(*c->ring));
    if (!c->ring)
        die("loadgen: out of memory");
}

void conn_free(struct conn *c)
{
    if (c->fd >= 0)
        close(c->fd);
    reply_free(&c->reply);
    free(c->ring);
    free(c->rest);
    free(c->queue.at);
}

/* ---- opening and closing ---- */

static void connected(struct load *l, struct conn *c)
{
    if (c->state == CONN_CONNECTING)
        l->connecting--;
    c->state = CONN_UP;
    c->free_ns = l->now_ns;
    l->up++;
    l->t->connects++;
}

static void connect_failed(struct load *l, struct conn *c, int err)
{
    l->connect_errno = err;
    load_error(l, ERROR_connect, 1);
    conn_drop(l, c);
    c->retry_ns = l->now_ns + RETRY_NS;
}

static int make_socket(struct load *l)
{
    const struct config *cf = l->cf;
    int one = 1, family = cf->addr.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    /* A single request on a fresh connection never waits for Nagle. */
    if (!cf->close)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

bool conn_open(struct load *l, struct conn *c)
{
    int fd = make_socket(l), err = fd < 0 ? -fd : 0;

    c->generation++;
    c->fd = fd < 0 ? -1 : fd;
    if (err == 0)
        err = source_connect(l->cf, fd, c->id + c->generation);
    if (err == 0)
        err = l->engine->watch(l, c);
    if (err != 0) {
        connect_failed(l, c, err);
        return false;
    }
    c->state = CONN_CONNECTING;
    c->connect_ns = l->now_ns;
    l->connecting++;
    return true;
}

void conn_drop(struct load *l, struct conn *c)
{
    if (c->fd >= 0) {
        l->engine->forget(l, c);
        close(c->fd);
    }
    if (c->state == CONN_CONNECTING)
        l->connecting--;
    else if (c->state != CONN_DOWN)
        l->up--;
    l->outstanding -= conn_in_flight(c);
    c->fd = -1;
    c->state = CONN_DOWN;
    c->head = c->built = c->tail;
    c->rest_len = c->rest_off = 0;
    reply_reset(&c->reply);
}

/* Requests that may be asked again go back to where wishes come from.  In a
 * closed loop the next connection asks anyway. */
static void give_back(struct load *l, struct conn *c, uint64_t from)
{
    if (l->cf->rate == 0 && !l->cdf)
        return;
    for (; from < c->tail; from++) {
        struct pending *p = slot(c, from);
        struct wish w = {p->intended_ns, p->arg, p->slow};

        if (p->answered)
            continue;
        queue_push(l->cdf ? &c->queue : &l->again, w);
        l->queued++;
    }
}

static void reopen(struct load *l, struct conn *c)
{
    conn_drop(l, c);
    if (!load_wants(l) || l->run->crowd)
        return;
    if (l->cf->close) {
        c->free_ns = l->now_ns;
        load_feed(l, c);
    } else {
        conn_open(l, c);
    }
}

static uint64_t unanswered(struct conn *c)
{
    uint64_t n = 0;

    for (uint64_t i = c->head; i < c->built; i++)
        n += !slot(c, i)->answered;
    return n;
}

/* Ends a connection on which `kind` happened to the oldest request; the fate of
 * those behind it is unknown because we leave. */
static void fail(struct load *l, struct conn *c, enum error kind)
{
    uint64_t owed = unanswered(c);

    load_error(l, kind, 1);
    if (owed > 0) {
        if (kind == ERROR_timeout)
            load_unfinished(l, slot(c, c->head));
        l->t->abandoned += owed - 1;
    }
    give_back(l, c, c->built);
    reopen(l, c);
}

/* ---- sending ---- */

void conn_push(struct load *l, struct conn *c, struct wish w, int64_t lag)
{
    CHECK(conn_in_flight(c) <= c->mask);
    if (l->plan->kind == PLAN_MIX)
        w.arg = request_arg(l->plan, NULL, c->id, c->tail, &w.slow);
    *slot(c, c->tail) = (struct pending){.intended_ns = w.intended_ns,
                                         .lag_ns = lag,
                                         .arg = w.arg,
                                         .slow = w.slow};
    c->tail++;
    l->outstanding++;
}

/* Sends; the bytes taken, 0 when none were, -1 when the connection is gone. */
static ssize_t send_some(struct load *l, struct conn *c, const char *p,
                         size_t n)
{
    ssize_t sent;

    do
        sent = send(c->fd, p, n, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        l->t->bytes_out += (uint64_t)sent;
        if (c->state == CONN_CONNECTING)
            connected(l, c);
        return sent;
    }
    if (errno == EAGAIN)
        return 0;
    return -1;
}

void conn_keep(struct conn *c, const char *p, size_t n)
{
    if (n > c->rest_cap) {
        free(c->rest);
        c->rest = malloc(n);
        if (!c->rest)
            die("loadgen: out of memory");
        c->rest_cap = n;
    }
    memcpy(c->rest, p, n);
    c->rest_off = 0;
    c->rest_len = n;
}

const char *conn_build(struct load *l, struct conn *c, char *room, size_t cap,
                       size_t *len)
{
    const struct plan *p = l->plan;
    uint64_t from = c->built;
    size_t n = 0;

    if (p->kind == PLAN_SAME) {
        n = (size_t)(c->tail - c->built) * p->same_len;
        c->built = c->tail;
    }
    while (c->built < c->tail && n + p->max_len <= cap) {
        n +=
            request_build(p, room + n, c->id, c->built, slot(c, c->built)->arg);
        c->built++;
    }
    for (; from < c->built; from++)
        slot(c, from)->sent_ns = l->now_ns;
    *len = n;
    return p->kind == PLAN_SAME ? p->same : room;
}

void conn_held_up(const struct load *l, struct conn *c, int64_t since)
{
    for (uint64_t i = c->built; i < c->tail; i++)
        slot(c, i)->lag_ns += l->now_ns - since;
}

void conn_broke(struct load *l, struct conn *c, int err)
{
    uint64_t owed = unanswered(c);

    if (c->state == CONN_CONNECTING) {
        connect_failed(l, c, err);
        return;
    }
    if (owed > 0 || c->state == CONN_UP)
        load_error(l, ERROR_reset, owed > 0 ? owed : 1);
    give_back(l, c, c->built);
    reopen(l, c);
}

void conn_write(struct load *l, struct conn *c)
{
    ssize_t sent;

    if (c->rest_len > 0) {
        sent = send_some(l, c, c->rest + c->rest_off, c->rest_len);
        if (sent < 0) {
            conn_broke(l, c, errno);
            return;
        }
        c->rest_off += (size_t)sent;
        c->rest_len -= (size_t)sent;
    }
    while (c->rest_len == 0 && c->built < c->tail) {
        size_t len;
        const char *p = conn_build(l, c, l->scratch, l->scratch_len, &len);

        sent = send_some(l, c, p, len);
        if (sent < 0) {
            conn_broke(l, c, errno);
            return;
        }
        if ((size_t)sent < len)
            conn_keep(c, p + sent, len - (size_t)sent);
    }
}

/* ---- receiving ---- */

/* Whose reply is it, when it is not the oldest request's?  False when that
 * cannot be told. */
static bool whose(struct load *l, struct conn *c, const struct expect *e,
                  enum verdict v, struct tag *t)
{
    uint64_t back = (uint64_t)l->cf->depth, seq;
    bool slow;

    if (e->body == BODY_TAGGED && v == REPLY_BYTES && e->len >= TAG_SIZE)
        return tag_read(c->reply.tag, TAG_SIZE, t) &&
               (t->conn != c->id || t->seq != c->head);
    if (l->plan->kind != PLAN_MIX || v != REPLY_LENGTH)
        return false;
    for (seq = c->head > back ? c->head - back : 0; seq < c->built; seq++) {
        *t = (struct tag){.conn = c->id, .seq = seq};
        if (request_arg(l->plan, NULL, c->id, seq, &slow) == c->reply.got)
            return true;
    }
    return false;
}

/* Names what is wrong with a reply, and says whether the oldest request is done
 * with.  It is not when another one's reply has come: that one is marked. */
static enum error misplaced(struct load *l, struct conn *c,
                            const struct expect *e, enum verdict v, bool *done)
{
    struct tag t;

    *done = true;
    if (v == REPLY_STATUS)
        return ERROR_status;
    if (!whose(l, c, e, v, &t))
        return v == REPLY_LENGTH ? ERROR_length : ERROR_bytes;
    if (t.conn != c->id || t.seq >= c->built)
        return ERROR_order;
    *done = false;
    if (t.seq < c->head || slot(c, t.seq)->answered)
        return ERROR_duplicate;
    slot(c, t.seq)->answered = true;
    return ERROR_order;
}

/* The oldest request is done with, and those behind it that were answered out
 * of turn. */
static void advance(struct load *l, struct conn *c)
{
    if (conn_in_flight(c) == (uint64_t)l->cf->depth)
        c->free_ns = l->attended_ns - slot(c, c->head)->lag_ns;
    do {
        c->head++;
        l->outstanding--;
    } while (c->head < c->built && slot(c, c->head)->answered);
}

/* A reply is complete.  False when the connection went with it. */
static bool answered(struct load *l, struct conn *c, const struct expect *e,
                     enum verdict v)
{
    bool closing = c->reply.head.close, done = true;
    uint64_t owed;

    l->t->header_bytes += c->reply.head_len;
    l->t->headers++;
    if (v == REPLY_OK)
        load_record(l, slot(c, c->head));
    else
        load_error(l, misplaced(l, c, e, v, &done), 1);
    reply_reset(&c->reply);
    if (done)
        advance(l, c);
    if (l->cf->close) {
        c->state = CONN_ENDING;
        c->connect_ns = l->now_ns; /* since when the end is awaited */
    } else if (closing) {
        owed = unanswered(c);
        l->t->retried += owed;
        give_back(l, c, c->head);
        reopen(l, c);
        return false;
    }
    return true;
}

static bool http_bytes(struct load *l, struct conn *c, const char *p, size_t n)
{
    struct expect e;
    enum verdict v;
    size_t used;

    while (n > 0) {
        if (c->head == c->built) {
            fail(l, c, ERROR_extra);
            return false;
        }
        request_expect(l->plan, &e, c->id, c->head, slot(c, c->head)->arg);
        used = reply_feed(&c->reply, &l->cache, &e, p, n, &v);
        p += used;
        n -= used;
        if (v == REPLY_MALFORMED) {
            fail(l, c, ERROR_malformed);
            return false;
        }
        if (v != REPLY_MORE && !answered(l, c, &e, v))
            return false;
    }
    return true;
}

/* Which request an echoed message answers: by its tag, when it has one.  False
 * when it answers none, and *kind says why. */
static bool echo_find(struct conn *c, uint64_t *seq, enum error *kind)
{
    struct tag t;

    if (!tag_read(c->reply.tag, TAG_SIZE, &t)) {
        *kind = ERROR_bytes;
        return false;
    }
    *seq = t.seq;
    if (t.conn != c->id || t.seq >= c->built)
        *kind = ERROR_order;
    else if (t.seq < c->head || slot(c, t.seq)->answered)
        *kind = ERROR_duplicate;
    else
        return true;
    return false;
}

/* Bytes that answer nothing: perhaps a message that came twice. */
static enum error echo_surplus(const struct conn *c, const char *p, size_t n)
{
    struct tag t;

    return tag_read(p, n, &t) && t.conn == c->id && t.seq < c->head
               ? ERROR_duplicate
               : ERROR_extra;
}

/* A message is complete; `seq` is the request it answers. */
static void echo_answered(struct load *l, struct conn *c, uint64_t seq)
{
    if (c->reply.mismatch)
        load_error(l, ERROR_bytes, 1);
    else if (seq != c->head)
        load_error(l, ERROR_order, 1);
    else
        load_record(l, slot(c, seq));
    reply_reset(&c->reply);
    if (seq == c->head)
        advance(l, c);
    else
        slot(c, seq)->answered = true;
}

/* Echo has no framing but the size of what was sent, so a message that cannot
 * be recognised ends the connection: where the next begins is unknown. */
static bool echo_bytes(struct load *l, struct conn *c, const char *p, size_t n)
{
    size_t size = l->plan->body_len, tag = size < TAG_SIZE ? 0 : TAG_SIZE;
    struct reply *r = &c->reply;

    while (n > 0) {
        uint64_t seq = c->head;
        enum error kind = ERROR_bytes;
        struct expect e;
        size_t part = size - (size_t)r->got;

        if (c->head == c->built) {
            fail(l, c, echo_surplus(c, p, n));
            return false;
        }
        if (r->got < tag)
            part = tag - (size_t)r->got;
        if (part > n)
            part = n;
        if (r->got < tag)
            memcpy(r->tag + r->got, p, part);
        if (r->got + part >= tag && tag > 0 && !echo_find(c, &seq, &kind)) {
            fail(l, c, kind);
            return false;
        }
        request_expect(l->plan, &e, c->id, seq, 0);
        if (r->got >= tag && !expect_match(&e, r->got, p, part))
            r->mismatch = true;
        r->got += part;
        r->phase = 1; /* started */
        p += part;
        n -= part;
        if (r->got == size)
            echo_answered(l, c, seq);
    }
    return true;
}

bool conn_bytes(struct load *l, struct conn *c, const char *p, size_t n)
{
    load_clock(l);
    l->t->bytes_in += n;
    if (l->plan->kind == PLAN_ECHO)
        return echo_bytes(l, c, p, n);
    return http_bytes(l, c, p, n);
}

void conn_ended(struct load *l, struct conn *c)
{
    struct expect e;
    enum verdict v;
    uint64_t owed;

    if (c->head < c->built && l->plan->kind != PLAN_ECHO) {
        request_expect(l->plan, &e, c->id, c->head, slot(c, c->head)->arg);
        v = reply_eof(&c->reply, &e);
        if (v != REPLY_MORE && !answered(l, c, &e, v))
            return;
    }
    owed = unanswered(c);
    if (owed > 0 && reply_started(&c->reply)) {
        load_error(l, ERROR_length, 1);
        owed--;
    }
    load_error(l, ERROR_lost, owed);
    give_back(l, c, c->built);
    reopen(l, c);
}

void conn_flush(struct load *l, struct conn *c)
{
    l->engine->flush(l, c);
}

void conn_writable(struct load *l, struct conn *c)
{
    int err = 0;
    socklen_t len = sizeof(err);

    if (c->state != CONN_CONNECTING) {
        if (c->rest_len > 0)
            conn_write(l, c);
        return;
    }
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
    if (err != 0) {
        connect_failed(l, c, err);
        return;
    }
    connected(l, c);
    conn_flush(l, c);
    if (c->state == CONN_UP)
        load_feed(l, c);
}

void conn_sweep(struct load *l, struct conn *c)
{
    int64_t timeout = l->cf->timeout_ns;

    switch (c->state) {
    case CONN_DOWN:
        if (!load_wants(l) || l->run->crowd || l->now_ns < c->retry_ns)
            break;
        if (l->cf->close)
            load_feed(l, c);
        else
            conn_open(l, c);
        break;
    case CONN_CONNECTING:
        if (l->now_ns - c->connect_ns > l->cf->connect_timeout_ns)
            connect_failed(l, c, ETIMEDOUT);
        break;
    case CONN_UP:
        if (c->head < c->built &&
            l->now_ns - slot(c, c->head)->sent_ns > timeout)
            fail(l, c, ERROR_timeout);
        break;
    case CONN_ENDING:
        if (l->now_ns - c->connect_ns > timeout)
            fail(l, c, ERROR_timeout);
        break;
    }
}
