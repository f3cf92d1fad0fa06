/* proto_echo.c - every byte back: what a server costs without a protocol. */
#include "session.h"

static enum want echo_step(struct session *s, struct stats *st)
{
    struct buf *in = &s->in;

    /* `out` is empty here, and as large as `in`: all of it fits. */
    if (buf_len(in) > 0) {
        buf_consume(in, buf_append(&s->out, buf_data(in), buf_len(in)));
        STAT_ADD(st, requests, 1);
        s->restarts++;
        return WANT_SEND;
    }
    return s->eof ? WANT_CLOSE : WANT_RECV;
}

/* Bytes received and not yet sent back. */
static bool echo_in_flight(const struct session *s)
{
    return buf_len(&s->in) > 0 || buf_len(&s->out) > 0;
}

const struct proto proto_echo = {
    .name = "echo",
    .step = echo_step,
    .in_flight = echo_in_flight,
};
