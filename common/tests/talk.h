/* talk.h - an engine without sockets: drives a session over bytes in memory.
 *
 * It moves bytes in pieces of any size, holds the session to the rules of the
 * seam at every step, and writes down all that the session says.
 */
#ifndef TALK_H
#define TALK_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "session.h"

/* Sanitizers own malloc, and make system calls of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

struct talk {
    struct talk *next;
    struct cancel stop;
    struct stats st;
    struct app app;
    struct session s;
    uint8_t in[BUF_SIZE], out[BUF_SIZE];
    size_t in_piece, out_piece; /* bytes a receive or send moves; 0: all */
    bool borrow;     /* windows only while there are bytes for them */
    bool drip_file;  /* files are read in pieces of out_piece too */
    const char *src; /* what the peer still sends */
    size_t left;
    bool open;  /* the peer does not end after that */
    char *said; /* what the session sent */
    size_t len, cap;
    unsigned recvs, sends, works, reads;
};

static struct talk *talks; /* of this test: a test is a process */

static inline struct talk *talk_new(const struct proto *proto)
{
    struct talk *t = calloc(1, sizeof *t);

    cr_assert(t != NULL);
    cancel_init(&t->stop, NULL);
    t->app = (struct app){
        .proto = proto, .cancel = &t->stop, .root_fd = -1, .max_body = 1 << 20};
    session_init(&t->s, &t->app);
    t->next = talks;
    talks = t;
    return t;
}

static inline void talk_free(struct talk *t)
{
    struct talk **at = &talks;

    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    session_end(&t->s);
    if (t->app.root_fd >= 0)
        close(t->app.root_fd);
    free(t->said);
    free(t);
}

/* At the end of every test: what is not free after this, a session lost. */
static inline void talk_end(void)
{
    while (talks)
        talk_free(talks);
}

/* A new connection to the same server. */
static inline void talk_again(struct talk *t)
{
    session_end(&t->s);
    buf_reclaim(&t->s.in);
    buf_reclaim(&t->s.out);
    session_init(&t->s, &t->app);
    t->len = 0;
    t->recvs = t->sends = t->works = t->reads = 0;
}

static inline void talk_lend(struct talk *t)
{
    if (!t->s.in.mem)
        buf_lend(&t->s.in, t->in, BUF_SIZE);
    if (!t->s.out.mem)
        buf_lend(&t->s.out, t->out, BUF_SIZE);
}

/* Takes empty windows back and fills them with junk: whatever the session left
 * in them shows. */
static inline void talk_reclaim(struct talk *t)
{
    if (!t->borrow || buf_len(&t->s.in) > 0 || buf_len(&t->s.out) > 0)
        return;
    buf_reclaim(&t->s.in);
    buf_reclaim(&t->s.out);
    memset(t->in, 0xa5, sizeof t->in);
    memset(t->out, 0xa5, sizeof t->out);
}

static inline void talk_recv(struct talk *t)
{
    size_t n = t->left, room;

    talk_lend(t);
    room = buf_room(&t->s.in);
    cr_assert_gt(room, 0, "WANT_RECV without room");
    cr_assert_eq(buf_len(&t->s.out), 0, "WANT_RECV with output waiting");
    cr_assert(!t->s.eof, "WANT_RECV after the end");
    if (t->in_piece > 0 && n > t->in_piece)
        n = t->in_piece;
    if (n > room)
        n = room;
    if (n > 0)
        memcpy(buf_tail(&t->s.in), t->src, n);
    else
        t->s.eof = true;
    buf_commit(&t->s.in, n);
    t->src += n;
    t->left -= n;
    t->recvs++;
}

static inline void talk_send(struct talk *t)
{
    size_t n = buf_len(&t->s.out);

    cr_assert_gt(n, 0, "WANT_SEND with nothing to send");
    if (t->out_piece > 0 && n > t->out_piece)
        n = t->out_piece;
    if (t->len + n + 1 > t->cap) {
        t->cap = 2 * t->cap + n + 4096;
        t->said = realloc(t->said, t->cap);
        cr_assert(t->said != NULL);
    }
    memcpy(t->said + t->len, buf_data(&t->s.out), n);
    t->len += n;
    t->said[t->len] = '\0';
    buf_consume(&t->s.out, n);
    t->sends++;
}

static inline void talk_file(struct talk *t)
{
    size_t n = session_file_want(&t->s);
    ssize_t got;

    cr_assert_gt(n, 0, "WANT_FILE without room");
    if (t->drip_file && t->out_piece > 0 && n > t->out_piece)
        n = t->out_piece;
    got = pread(t->s.file.fd, buf_tail(&t->s.out), n, (off_t)t->s.file.off);
    t->reads++;
    session_file(&t->s, got < 0 ? -errno : got);
}

/* Steps until the session needs something that is not there: bytes from a peer
 * that is still open, or nothing any more (WANT_CLOSE). */
static inline enum want talk_run(struct talk *t)
{
    for (;;) {
        enum want want;

        talk_lend(t);
        want = session_step(&t->s, &t->st);
        if (want == WANT_RECV && t->left == 0 && t->open) {
            talk_reclaim(t);
            return want;
        }
        switch (want) {
        case WANT_RECV:
            talk_reclaim(t);
            talk_recv(t);
            break;
        case WANT_SEND:
            talk_send(t);
            break;
        case WANT_FILE:
            talk_file(t);
            break;
        case WANT_WORK:
            cr_assert_eq(buf_len(&t->s.out), 0, "WANT_WORK with output");
            session_work(&t->s);
            t->works++;
            break;
        case WANT_CLOSE:
            cr_assert_eq(buf_len(&t->s.out), 0, "WANT_CLOSE with output");
            return want;
        }
    }
}

/* The peer sends these bytes and then waits (talk_say) or ends (talk_all). */
static inline enum want talk_bytes(struct talk *t, const void *src, size_t n,
                                   bool open)
{
    t->src = src;
    t->left = n;
    t->open = open;
    return talk_run(t);
}

static inline enum want talk_say(struct talk *t, const char *text)
{
    return talk_bytes(t, text, strlen(text), true);
}

static inline enum want talk_all(struct talk *t, const char *text)
{
    return talk_bytes(t, text, strlen(text), false);
}

/* A descriptor to lose or to find again: the lowest that is free. */
static inline int some_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    cr_assert_geq(fd, 0);
    return fd;
}

/* What was said since the last call, with every Date made "*", checked for its
 * form and closeness to now: it must not depend on when the test runs. */
const char *talk_heard(struct talk *t);

/* Allocations of this thread so far, and how many of them are not free yet.
 * After alloc_fail(n) the n-th next one fails (1: the very next; 0: none);
 * false where that cannot be arranged. */
long alloc_count(void);
long alloc_live(void);
bool alloc_fail(long n);

#endif
