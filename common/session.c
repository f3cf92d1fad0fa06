/* session.c - what all protocols have in common; see session.h. */
#include "session.h"

#include <unistd.h>

void session_init(struct session *s, const struct app *app)
{
    *s = (struct session){.app = app, .file.fd = -1};
}

enum want session_step(struct session *s, struct stats *st)
{
    /* Output first: a peer that does not read is not read from. */
    if (buf_len(&s->out) > 0)
        return WANT_SEND;
    CHECK(buf_room(&s->out) >= SESSION_OUT_MIN);
    return s->app->proto->step(s, st);
}

void session_work(struct session *s)
{
    CHECK(s->app->proto->work);
    s->app->proto->work(s);
}

size_t session_file_want(const struct session *s)
{
    size_t room = buf_room(&s->out);

    return s->file.left < room ? (size_t)s->file.left : room;
}

void session_file(struct session *s, ssize_t n)
{
    CHECK(s->file.fd >= 0);
    CHECK(n <= (ssize_t)session_file_want(s));
    s->app->proto->file(s, n);
}

bool session_in_flight(const struct session *s)
{
    return s->app->proto->in_flight(s);
}

void session_drop(struct session *s)
{
    if (s->file.fd >= 0)
        close(s->file.fd);
    s->file.fd = -1;
    free(s->body.mem);
    s->body.mem = NULL;
    s->body.cap = 0;
}

void session_end(struct session *s)
{
    session_drop(s);
    /* Drops what is still held, so that the windows can be reclaimed. */
    buf_consume(&s->in, buf_len(&s->in));
    buf_consume(&s->out, buf_len(&s->out));
}
