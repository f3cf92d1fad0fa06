/* talk.c - many conversations at once, each of which proves its own bytes. */
#include "talk.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ==== what is said ======================================================== */

static char *say(struct talk *t, const void *p, size_t n)
{
    char *at;

    t->out = realloc(t->out, t->n_out + n + 1);
    cr_assert(t->out);
    at = t->out + t->n_out;
    if (p)
        memcpy(at, p, n);
    t->n_out += n;
    return at;
}

static void say_random(struct talk *t, struct rng *r, size_t n)
{
    rng_fill(r, say(t, NULL, n), n);
}

static void say_chunks(struct talk *t, struct rng *r, size_t n)
{
    while (n > 0) {
        size_t piece = rng_between(r, 1, n);
        char line[32];

        say(t, line, (size_t)snprintf(line, sizeof(line), "%zx\r\n", piece));
        say_random(t, r, piece);
        say(t, "\r\n", 2);
        n -= piece;
    }
    say(t, "0\r\n\r\n", 5);
}

static void say_request(struct talk *t, struct rng *r, enum item_kind kind,
                        size_t size, bool last)
{
    struct item *i = &t->item[t->n_items++];
    const char *end = last ? "Connection: close\r\n\r\n" : "\r\n";
    char head[256];
    int n;

    cr_assert(t->n_items <= TALK_ITEMS);
    *i = (struct item){.kind = kind, .size = size};
    if (kind == ITEM_HELLO)
        n = snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: a\r\n%s",
                     end);
    else if (kind == ITEM_BYTES)
        n = snprintf(head, sizeof(head),
                     "GET /bytes/%zu HTTP/1.1\r\nHost: a\r\n%s", size, end);
    else if (kind == ITEM_POST)
        n = snprintf(head, sizeof(head),
                     "POST /echo HTTP/1.1\r\nHost: a\r\n"
                     "Content-Length: %zu\r\n%s",
                     size, end);
    else
        n = snprintf(head, sizeof(head),
                     "POST /echo HTTP/1.1\r\nHost: a\r\n"
                     "Transfer-Encoding: chunked\r\n%s",
                     end);
    say(t, head, (size_t)n);
    if (kind == ITEM_POST)
        say_random(t, r, size);
    else if (kind == ITEM_CHUNKED)
        say_chunks(t, r, size);
}

void talk_make(struct talk *t, struct rng *r, int n, size_t most)
{
    *t = (struct talk){.fd = -1};
    for (int i = 0; i < n; i++) {
        size_t size = rng_between(r, 1, most);

        if (app_is_http())
            say_request(t, r, (enum item_kind)rng_between(r, 0, 3), size,
                        i + 1 == n);
        else
            say_random(t, r, size);
    }
    t->half = !app_is_http();
}

void talk_make_one(struct talk *t, struct rng *r, enum item_kind kind,
                   size_t size)
{
    *t = (struct talk){.fd = -1, .half = !app_is_http()};
    if (app_is_http())
        say_request(t, r, kind, size, true);
    else
        say_random(t, r, size);
}

/* ==== playing ============================================================= */

static void talk_open(struct talk *t, const struct server *s)
{
    struct client c;

    if (t->small)
        client_open_small(&c, s);
    else
        client_open(&c, s);
    t->fd = c.fd;
    cr_assert(fcntl(t->fd, F_SETFL, O_NONBLOCK) == 0);
}

static bool talk_over(const struct talk *t)
{
    return t->eof || t->reset;
}

static void talk_send(struct talk *t)
{
    size_t n = t->n_out - t->sent;
    ssize_t sent;

    if (t->pause > 0 && t->sent <= t->pause_at && t->pause_at < t->n_out &&
        n > t->pause_at - t->sent)
        n = t->pause_at - t->sent;
    if (n == 0 && t->pause > 0 && t->sent < t->n_out) {
        t->start = now() + t->pause;
        t->pause = 0;
        return;
    }
    if (t->most_sent && n > t->most_sent)
        n = t->most_sent;
    sent = send(t->fd, t->out + t->sent, n, MSG_NOSIGNAL);
    if (sent > 0)
        t->sent += (size_t)sent;
    else if (errno != EAGAIN)
        t->sent = t->n_out; /* gone: what was heard is still to be read */
    if (t->sent == t->n_out && t->half)
        shutdown(t->fd, SHUT_WR);
}

static void talk_read(struct talk *t)
{
    size_t want = t->most_read ? t->most_read : 64 * 1024;
    ssize_t n;

    if (t->cap - t->n_in < want) {
        t->cap = 2 * t->cap + want;
        t->in = realloc(t->in, t->cap);
        cr_assert(t->in);
    }
    n = recv(t->fd, t->in + t->n_in, want, 0);
    if (n > 0)
        t->n_in += (size_t)n;
    t->eof = n == 0;
    t->reset = n < 0 && errno != EAGAIN;
}

/* One turn for all; how many are not at their end. */
static int talk_turn(struct talk t[], int n, struct pollfd *p)
{
    double at = now();
    int open = 0, sleepers = 0;

    for (int i = 0; i < n; i++) {
        bool says = t[i].sent < t[i].n_out && at >= t[i].start;
        bool hears = at >= t[i].deaf;

        p[i] = (struct pollfd){.fd = talk_over(&t[i]) ? -1 : t[i].fd};
        open += !talk_over(&t[i]);
        sleepers += !talk_over(&t[i]) && (at < t[i].start || !hears);
        p[i].events = (short)((says ? POLLOUT : 0) | (hears ? POLLIN : 0));
        if (p[i].events == 0)
            p[i].fd = -1;
    }
    poll(p, (nfds_t)n, sleepers ? 2 : 100);
    for (int i = 0; i < n; i++) {
        if (p[i].fd >= 0 && p[i].revents & POLLOUT)
            talk_send(&t[i]);
        if (p[i].fd >= 0 && p[i].revents & (POLLIN | POLLHUP | POLLERR))
            talk_read(&t[i]);
    }
    return open;
}

bool talk_all(struct talk t[], int n, const struct server *s, double seconds)
{
    struct pollfd *p = calloc((size_t)n, sizeof(*p));
    double since = now();
    bool done = false;

    cr_assert(p);
    for (int i = 0; i < n; i++)
        talk_open(&t[i], s);
    while (!(done = talk_turn(t, n, p) == 0) && in_time(since, seconds))
        ;
    free(p);
    return done;
}

void talk_free(struct talk *t)
{
    if (t->fd >= 0)
        close(t->fd);
    free(t->out);
    free(t->in);
    *t = (struct talk){.fd = -1};
}

/* ==== what was heard ====================================================== */

static const char *echo_wrong(const struct talk *t, bool all)
{
    if (t->n_in > t->n_out || memcmp(t->in, t->out, t->n_in) != 0)
        return "other bytes than were said";
    return all && t->n_in < t->n_out ? "not all bytes came back" : NULL;
}

/* Is p[0..n) the beginning of what the server echoes for a POST? */
static bool is_body(const struct item *i, const char *said, const char *p,
                    size_t n)
{
    while (n > 0) {
        char *end;
        size_t piece;

        if (i->kind == ITEM_POST)
            return memcmp(said, p, n) == 0;
        piece = strtoul(said, &end, 16);
        said = end + 2;
        if (piece > n)
            piece = n;
        if (memcmp(said, p, piece) != 0)
            return false;
        said += piece + 2;
        p += piece;
        n -= piece;
    }
    return true;
}

static bool item_right(const struct item *i, const char *said, const char *p,
                       size_t n)
{
    if (i->kind == ITEM_HELLO)
        return memcmp("Hello, World!\n", p, n) == 0;
    if (i->kind == ITEM_BYTES)
        return pattern_is(p, n, 0);
    return is_body(i, said, p, n);
}

/* Where the body of the request at p begins, and the next request. */
static const char *request_body(const char *p)
{
    return strstr(p, "\r\n\r\n") + 4;
}

static const char *request_end(const struct item *i, const char *body)
{
    if (i->kind == ITEM_POST)
        return body + i->size;
    while (i->kind == ITEM_CHUNKED) {
        char *end;
        size_t n = strtoul(body, &end, 16);

        body = end + 2 + n + 2;
        if (n == 0)
            break;
    }
    return body;
}

static const char *http_wrong(const struct talk *t, bool all)
{
    const char *said = t->out, *p = t->in, *end = t->in + t->n_in;

    for (int k = 0; k < t->n_items; k++) {
        const struct item *i = &t->item[k];
        size_t due = i->kind == ITEM_HELLO ? 14 : i->size, n;
        const char *body = request_body(said);
        char length[64];
        char *head_end;

        head_end = p < end ? memmem(p, (size_t)(end - p), "\r\n\r\n", 4) : NULL;
        if (!head_end)
            return all ? "an answer is missing" : NULL;
        if (strncmp(p, "HTTP/1.1 200 ", 13) != 0)
            return "a status other than 200";
        snprintf(length, sizeof(length), "Content-Length: %zu\r\n", due);
        if (!memmem(p, (size_t)(head_end + 2 - p), length, strlen(length)))
            return "a length other than was asked for";
        p = head_end + 4;
        n = (size_t)(end - p) < due ? (size_t)(end - p) : due;
        if (!item_right(i, body, p, n))
            return "wrong bytes in a body";
        if (n < due)
            return all ? "a body is cut off" : NULL;
        p += n;
        said = request_end(i, body);
    }
    return p < end ? "more than was asked for" : NULL;
}

static const char *wrong(const struct talk *t, bool all)
{
    t->out[t->n_out] = '\0';
    return app_is_http() ? http_wrong(t, all) : echo_wrong(t, all);
}

const char *talk_wrong(const struct talk *t)
{
    if (!t->eof)
        return t->reset ? "reset" : "no end";
    return wrong(t, true);
}

const char *talk_wrong_so_far(const struct talk *t)
{
    return wrong(t, false);
}
