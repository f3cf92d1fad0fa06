/* io.h - what a connection's runner does with it, by plain calls.
 *
 * conn_run() steps the session and does what it wants until there is nothing
 * left to do now.  Sockets do not block, so nothing here waits for a peer.
 *
 * Invariant: an edge is told once.  So a connection is released only after a
 * receive that left the socket empty (`hears`), or a send that left no room in
 * it.  Who stops for any other reason goes back into the queue.
 */
#ifndef IO_H
#define IO_H

#include <errno.h>

#include "conn.h"

enum { SHARE = 16 }; /* windows a peer may move before others have their turn */

/* Its deadline has come.  True: its peer is late; its runner shuts it down, and
 * goes on to its end. */
static inline bool conn_expire(struct worker *w, struct conn *c)
{
    int64_t more = net_grace_ms(c->fd, c->hears, w->sv.opt.idle_ms, &c->acked);

    if (more > 0) {
        a_store(&c->due_ms, w->now_ms + more, relaxed);
        return false;
    }
    a_store(&c->due_ms, INT64_MAX, relaxed);
    shutdown(c->fd, SHUT_RDWR);
    STAT_ADD(&w->stats, timeouts, 1);
    return true;
}

/* Nothing to be had from the socket before its next event.  False: late. */
static inline bool conn_waits(struct worker *w, struct conn *c)
{
    if (a_load(&c->due_ms, relaxed) <= w->now_ms && conn_expire(w, c))
        return false;
    conn_release(w, c);
    return true;
}

/* A receive has ended: bytes, or -errno.  False: the connection is gone. */
static inline bool recv_done(struct worker *w, struct conn *c, int n)
{
    struct buf *in = &c->s.in;

    STAT_ADD(&w->stats, recvs, 1);
    c->hears = false;
    if (n < 0 && n != -EAGAIN && n != -EINTR) {
        conn_close(w, c);
        return false;
    }
    /* A short receive has emptied the socket: the next byte is an edge.  An end
     * that came together with the bytes is none, and at the mark of urgent data
     * a receive is short with bytes behind it. */
    c->readable =
        n == -EINTR ||
        (n > 0 && ((size_t)n == buf_room(in) || a_load(&c->unsure, relaxed)));
    if (n == 0)
        c->s.eof = true;
    if (n > 0) {
        buf_commit(in, (size_t)n);
        STAT_ADD(&w->stats, bytes_in, (uint64_t)n);
    }
    return true;
}

/* False: there is nothing to receive now, or the connection is gone. */
static inline bool conn_recv(struct worker *w, struct conn *c)
{
    ssize_t n;

    if (c->s.fin)
        shutdown(c->fd, SHUT_WR);
    if (service_draining(&w->sv) && !session_in_flight(&c->s)) {
        shutdown(c->fd, SHUT_RD);
        c->readable = true;
    }
    c->hears = !c->readable;
    if (c->hears && conn_waits(w, c))
        return false;
    if (c->share-- == 0) {
        conn_requeue(w, c);
        return false;
    }
    if (!piece_lend(&w->pieces, &c->s.in)) {
        conn_close(w, c);
        return false;
    }
    n = recv(c->fd, buf_tail(&c->s.in), buf_room(&c->s.in), 0);
    return recv_done(w, c, n < 0 ? -errno : (int)n);
}

/* The same for a send. */
static inline bool send_done(struct worker *w, struct conn *c, int n)
{
    STAT_ADD(&w->stats, sends, 1);
    if (n == -EAGAIN && conn_waits(w, c))
        return false;
    if (n < 0 && n != -EAGAIN && n != -EINTR) {
        conn_close(w, c);
        return false;
    }
    if (n > 0) {
        conn_touch(w, c);
        buf_consume(&c->s.out, (size_t)n);
        STAT_ADD(&w->stats, bytes_out, (uint64_t)n);
    }
    return true;
}

static inline bool conn_send(struct worker *w, struct conn *c)
{
    struct buf *out = &c->s.out;
    ssize_t n;

    if (c->share-- == 0) {
        conn_requeue(w, c);
        return false;
    }
    if (c->late)
        conn_expire(w, c);
    c->late = false;
    n = send(c->fd, buf_data(out), buf_len(out), MSG_NOSIGNAL);
    return send_done(w, c, n < 0 ? -errno : (int)n);
}

/* What is cached, at once; the rest by a thread of the kernel's (disk.h). */
static inline bool conn_file(struct worker *w, struct conn *c)
{
    ssize_t n = disk_cached(&c->s);

    STAT_ADD(&w->stats, reads, 1);
    if (n < 0 && disk_read(&w->seat->disk, &c->s, c))
        return false;
    if (n < 0)
        n = disk_wait(&c->s);
    session_file(&c->s, n);
    return true;
}

/* Left in the queue for whoever has time, us included.  To wait for a handler
 * is not to be idle, so its deadline stands still. */
static inline bool conn_work(struct worker *w, struct conn *c)
{
    c->work = true;
    c->rest_ms = a_load(&c->due_ms, relaxed) - w->now_ms;
    a_store(&c->due_ms, INT64_MAX, relaxed);
    conn_requeue(w, c);
    return false;
}

/* What the session wants, by plain calls.  False: that was all for now. */
static inline bool conn_act(struct worker *w, struct conn *c, enum want want)
{
    switch (want) {
    case WANT_RECV:
        return conn_recv(w, c);
    case WANT_SEND:
        return conn_send(w, c);
    case WANT_FILE:
        return conn_file(w, c);
    case WANT_WORK:
        return conn_work(w, c);
    case WANT_CLOSE:
        break;
    }
    conn_close(w, c);
    return false;
}

/* Leads the conversation on.  True: as far as a send that goes with a batch. */
static inline bool conn_run(struct worker *w, struct conn *c, bool batch)
{
    enum want want;

    do {
        if (!piece_lend(&w->pieces, &c->s.out)) {
            conn_close(w, c);
            return false;
        }
        want = session_step(&c->s, &w->stats);
        if (c->turn != c->s.turn)
            conn_touch(w, c);
        piece_reclaim(&w->pieces, &c->s.in);
        if (batch && want == WANT_SEND)
            return true;
    } while (conn_act(w, c, want));
    return false;
}

static inline void run_single(struct worker *w, struct conn *c)
{
    if (!c->hears || conn_recv(w, c))
        conn_run(w, c, false);
}

#endif
