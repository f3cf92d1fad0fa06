/* test_slow.c - peers that are late: readers that take little, and those that
 * take nothing; and what had come in time when the process was stopped.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "tests/temp.h"

TestSuite(any_slow, .timeout = 300);

/* ==== readers ============================================================= */

enum {
    LONG = 8 << 20,   /* bytes of an answer; more than a socket holds */
    METRICS = 400,    /* requests in a pipeline: the same */
    FOR_EVER = 1000,  /* tenths of a second */
    TICKS = 60,       /* of a tenth: three times the timeout */
    STEPS_A_TICK = 10 /* a step every hundredth of a second */
};

#define TIMEOUT 2.0 /* seconds, as in "--idle-timeout 2" */

struct kind {
    const char *name;
    const char *path; /* NULL: echo */
    int times;        /* requests in the pipeline */
    int rcvbuf;       /* bytes; 0: the kernel's choice */
    size_t rate;      /* bytes a tenth of a second */
    int until;        /* tenths of a second; then it takes nothing more */
    size_t body;      /* of each answer; 0: see the last bytes */
};

struct reader {
    struct kind is;
    int fd;
    bool over; /* it has heard the end */
    size_t sent, got;
    char head[2048], tail[8];
};

/* At the rates that are given.  The kernel of the reader tells of room when a
 * large part of its buffer is free: with one of its own choice and segments as
 * long as on loopback that is after some 108,000 bytes. */
static const struct kind http_readers[] = {
    {"300 kB/s", "/bytes/8388608", 1, 0, 30000, FOR_EVER, LONG},
    {"300 kB/s of a file", "/files/big", 1, 0, 30000, FOR_EVER, LONG},
    {"1 kB/s, small buffer", "/bytes/8388608", 1, 1, 100, FOR_EVER, LONG},
    {"1 kB/s of a file, small", "/files/big", 1, 1, 100, FOR_EVER, LONG},
    {"1 kB/s of metrics, small", "/metrics", METRICS, 1, 100, FOR_EVER, 0},
    {"nothing", "/bytes/8388608", 1, 0, 0, 0, LONG},
    {"nothing of a file, small", "/files/big", 1, 1, 0, 0, LONG},
    {"first something, then nothing", "/bytes/8388608", 1, 0, 30000, 25, LONG},
};

static const struct kind echo_readers[] = {
    {"300 kB/s", NULL, 1, 0, 30000, FOR_EVER, 0},
    {"1 kB/s, small buffer", NULL, 1, 1, 100, FOR_EVER, 0},
    {"nothing", NULL, 1, 0, 0, 0, 0},
    {"nothing, small buffer", NULL, 1, 1, 0, 0, 0},
    {"first something, then nothing", NULL, 1, 0, 30000, 25, 0},
};

static void reader_open(struct reader *r, const struct server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)s->port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[256];

    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (r->is.rcvbuf > 0)
        setsockopt(r->fd, SOL_SOCKET, SO_RCVBUF, &r->is.rcvbuf, sizeof(int));
    cr_assert(connect(r->fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    for (int i = 1; r->is.path && i <= r->is.times; i++) {
        int n = snprintf(text, sizeof(text),
                         "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", r->is.path,
                         i == r->is.times ? "Connection: close\r\n" : "");

        cr_assert(send(r->fd, text, (size_t)n, MSG_NOSIGNAL) == n);
    }
}

/* Echo: says as much as the server takes, up to LONG. */
static void reader_talk(struct reader *r)
{
    static char piece[64 * 1024];
    ssize_t n = 1;

    while (!r->is.path && r->sent < LONG && n > 0) {
        n = send(r->fd, piece,
                 LONG - r->sent < sizeof(piece) ? LONG - r->sent
                                                : sizeof(piece),
                 MSG_NOSIGNAL | MSG_DONTWAIT);
        r->sent += n > 0 ? (size_t)n : 0;
    }
}

/* Takes up to n bytes if they are there.  False: there is no more. */
static bool reader_take(struct reader *r, size_t n, int flags)
{
    static char piece[64 * 1024];
    ssize_t got =
        recv(r->fd, piece, n < sizeof(piece) ? n : sizeof(piece), flags);

    for (ssize_t i = 0; i < got; i++, r->got++) {
        if (r->got < sizeof(r->head) - 1)
            r->head[r->got] = piece[i];
        if (got - i <= (ssize_t)sizeof(r->tail))
            r->tail[sizeof(r->tail) - (size_t)(got - i)] = piece[i];
    }
    return got > 0 || (got < 0 && (flags & MSG_DONTWAIT) && errno == EAGAIN);
}

/* All of it came, and then the end. */
static bool reader_has_all(const struct reader *r)
{
    const char *body = strstr(r->head, "\r\n\r\n");

    if (!r->is.path)
        return r->got == LONG;
    if (r->is.body == 0)
        return memcmp(r->tail + 3, "0\r\n\r\n", 5) == 0 &&
               r->got > METRICS * 1000;
    return body && r->got == (size_t)(body + 4 - r->head) + r->is.body;
}

/* Those that took something read what is left as fast as they can, side by
 * side: none of them may look idle meanwhile. */
static void readers_finish(struct reader *r, int n)
{
    double since = now();
    int left = n;

    while (left > 0 && in_time(since, 60)) {
        left = 0;
        for (int i = 0; i < n; i++) {
            if (r[i].is.until != FOR_EVER || r[i].over)
                continue;
            reader_talk(&r[i]);
            r[i].over = !reader_take(&r[i], LONG, MSG_DONTWAIT) ||
                        (!r[i].is.path && r[i].got == LONG);
            left++;
        }
        pause_s(0.0001);
    }
}

/* How long after the first came it was seen that ... were connected. */
struct seen {
    double all, live; /* all of them; more than those that shall stay */
    double gap;       /* the longest that we ourselves did not run */
};

static struct seen readers_play(struct reader *r, int n, int live,
                                const struct server *s, int base, double since)
{
    double last = now(), next = last;
    struct seen seen = {0};

    for (int tick = 0; tick < TICKS * STEPS_A_TICK; tick++) {
        int open = server_sockets(s) - base;

        for (int i = 0; i < n; i++) {
            size_t step = r[i].is.rate / STEPS_A_TICK;

            reader_talk(&r[i]);
            if (tick < r[i].is.until * STEPS_A_TICK && step > 0)
                reader_take(&r[i], step, MSG_DONTWAIT);
        }
        if (open == n)
            seen.all = now() - since;
        if (open > live)
            seen.live = now() - since;
        next += 0.1 / STEPS_A_TICK;
        if (next > now())
            pause_s(next - now());
        seen.gap = now() - last > seen.gap ? now() - last : seen.gap;
        last = now();
    }
    return seen;
}

/* Those that take something stay, those that take nothing go, and not before
 * their time.  False: we did not get the core often enough to tell; or the
 * server did not, perhaps: a reader that lost bytes decides at the last try. */
static bool readers_are_told_apart(const struct server *s,
                                   const struct kind *kind, int n, bool last)
{
    struct reader *r = calloc((size_t)n, sizeof(*r));
    int base = server_sockets(s), live = 0;
    double since = now();
    struct seen seen;
    bool told;

    cr_assert(r);
    for (int i = 0; i < n; i++) {
        r[i].is = kind[i];
        reader_open(&r[i], s);
    }
    cr_assert(EVENTUALLY(server_sockets(s) == base + n, 20));
    for (int i = 0; i < n; i++)
        live += r[i].is.until == FOR_EVER;
    seen = readers_play(r, n, live, s, base, since);
    told = seen.gap < TIMEOUT / 4;
    if (told)
        readers_finish(r, n);
    for (int i = 0; i < n && !last; i++)
        told = told && (r[i].is.until != FOR_EVER || reader_has_all(&r[i]));
    for (int i = 0; told && i < n; i++)
        if (r[i].is.until == FOR_EVER)
            cr_expect(reader_has_all(&r[i]), "%s: %zu bytes came", r[i].is.name,
                      r[i].got);
    if (told) {
        cr_expect(seen.all > 0.9 * TIMEOUT, "one left after %.1f s", seen.all);
        cr_expect(seen.all < scaled(1.6 * TIMEOUT),
                  "one that takes nothing left after %.1f s", seen.all);
        cr_expect(seen.live < 2.5 + scaled(1.6 * TIMEOUT),
                  "one that stopped left after %.1f s", seen.live);
    }
    for (int i = 0; i < n; i++)
        close(r[i].fd);
    cr_assert(EVENTUALLY(server_sockets(s) <= base, 20));
    free(r);
    return told;
}

Test(any_slow, readers_that_take_little_and_that_take_nothing)
{
    char root[TEMP_DIR], big[TEMP_PATH];
    struct server s;
    bool told = false;
    int fd;

    cr_assert(temp_dir(root, "slow"));
    snprintf(big, sizeof(big), "%s/big", root);
    fd = open(big, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    cr_assert(fd >= 0 && ftruncate(fd, LONG) == 0);
    close(fd);
    server_start(&s, "--idle-timeout", "2", "--root", root, NULL);
    for (int i = 0; i < 5 && !told; i++)
        told = app_is_http()
                   ? readers_are_told_apart(&s, http_readers, 8, i == 4)
                   : readers_are_told_apart(&s, echo_readers, 5, i == 4);
    cr_expect(told, "the machine was too busy to tell");
    server_stop(&s);
    unlink(big);
    rmdir(root);
}

/* ==== stopped and continued =============================================== */

static bool answered(struct client *c)
{
    struct reply a = {0};
    char byte;
    bool ok;

    if (!app_is_http())
        return client_read_all(c, &byte, 1) && client_read_all(c, &byte, 1);
    ok = client_reply(c, &a) && a.status == 200 && a.len == 14;
    reply_free(&a);
    return ok;
}

/* False: deadlines were near before the process was stopped. */
static bool stop_in_time(double timeout)
{
    enum { N = 600 };
    static const char *const half[] = {"GET / HTTP/1.1\r\n",
                                       "Host: test\r\n\r\n"};
    struct client *c = calloc(N, sizeof(*c)), reader, silent;
    struct server s;
    struct reply a;
    char idle[16];
    double since;
    bool told;
    size_t got = 0;
    int lost = 0;

    snprintf(idle, sizeof(idle), "%g", timeout);
    server_start(&s, "--idle-timeout", idle, NULL);
    since = now();
    client_open(&silent, &s);
    client_open(&reader, &s);
    for (int i = 0; i < N; i++)
        client_open(&c[i], &s);
    for (int i = 0; i < N; i += 2)
        client_text(&c[i], app_is_http() ? half[0] : "");
    if (app_is_http()) {
        client_text(&reader, "GET /bytes/8388608 HTTP/1.1\r\nHost: a\r\n\r\n");
        cr_assert(client_head(&reader, &a) && a.status == 200);
    }
    cr_assert(server_answers(&s));
    server_signal(&s, SIGSTOP);
    told = now() - since < 0.7 * timeout;
    for (int i = 0; i < N; i++) {
        client_text(&c[i], app_is_http() && i % 2 ? half[0] : "");
        client_text(&c[i], app_is_http() ? half[1] : "ab");
    }
    if (app_is_http()) {
        client_timeout(&reader, 0.1);
        got = client_pattern(&reader, 0, LONG); /* all there is for now */
        client_timeout(&reader, scaled(20));
        reader.err = 0;
    }
    pause_s(1.5 * timeout);
    server_signal(&s, SIGCONT);
    for (int i = 0; i < N; i++)
        lost += !answered(&c[i]);
    cr_expect(!told || lost == 0, "%d of %d were not answered", lost, N);
    if (app_is_http()) {
        got += client_pattern(&reader, got, LONG - got);
        cr_expect(!told || got == LONG, "the reader got %zu bytes", got);
    }
    cr_expect(client_ends_silently(&silent), "one that says nothing stays");
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
    client_close(&reader);
    client_close(&silent);
    free(c);
    server_stop(&s);
    return told;
}

/* A request that came in time is answered, also when the process was stopped
 * until all its deadlines had passed (SIGSTOP, a lid that closes, a machine
 * that moves).  More peers than any loop hears of at once.  A reader that took
 * all there was stays too; a peer that said nothing goes. */
Test(any_slow, what_came_while_it_was_stopped_came_in_time)
{
    bool told = false;

    for (int i = 0; i < 5 && !told; i++)
        told = stop_in_time(scaled(0.4) * (1 << i));
    cr_expect(told, "the machine was too busy to tell");
}

/* The deadline of a new peer begins when it comes, also where the server had
 * slept for longer than that. */
Test(any_slow, peer_of_a_server_that_slept)
{
    enum { N = 16 };
    struct client c[N];
    struct server s;
    int lost = 0;

    server_start(&s, "--idle-timeout", "0.5", NULL);
    pause_s(1.2);
    for (int i = 0; i < N; i++)
        client_open(&c[i], &s);
    pause_s(0.15); /* one that is late by mistake is gone by now */
    for (int i = 0; i < N; i++)
        lost += !client_ping(&c[i]);
    cr_expect(lost == 0, "%d of %d were sent away", lost, N);
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
    server_stop(&s);
}
