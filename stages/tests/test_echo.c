/* test_echo.c - every byte back, however it is cut. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "client.h"

TestSuite(echo_stream, .timeout = 300);

/* What one direction may do in one call. */
static size_t piece(struct rng *r, size_t max, size_t left)
{
    size_t n = rng_between(r, 1, max);

    return n < left ? n : left;
}

/* Sends n bytes and receives them back at the same time, both in pieces of
 * random sizes; true when what came back is what was sent. */
static bool exchange(struct client *c, const uint8_t *said, uint8_t *heard,
                     size_t n, struct rng *r, size_t max)
{
    size_t sent = 0, got = 0;
    double since = now();

    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    while (got < n && in_time(since, 60)) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        ssize_t k;

        p.events |= sent < n ? POLLOUT : 0;
        poll(&p, 1, 1000);
        if (p.revents & POLLOUT) {
            k = send(c->fd, said + sent, piece(r, max, n - sent), MSG_NOSIGNAL);
            sent += k > 0 ? (size_t)k : 0;
        }
        if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
            k = recv(c->fd, heard + got, piece(r, max, n - got), 0);
            if (k == 0 || (k < 0 && errno != EAGAIN))
                break;
            got += k > 0 ? (size_t)k : 0;
        }
    }
    fcntl(c->fd, F_SETFL, 0);
    return got == n && memcmp(said, heard, n) == 0;
}

static void round_trip(const struct server *s, struct client *c, size_t n,
                       size_t max, struct rng *r)
{
    uint8_t *said = malloc(n), *heard = malloc(n);

    cr_assert(said && heard);
    rng_fill(r, said, n);
    cr_assert(exchange(c, said, heard, n, r, max),
              "%zu bytes in pieces of at most %zu, seed %llu: %s", n, max,
              (unsigned long long)seed_of_run(), server_stderr(s));
    free(said);
    free(heard);
}

static const size_t sizes[] = {
    1,     2,     3,     100,       4096,          16383,
    16384, 16385, 32769, 64 * 1024, (1 << 20) + 1, 8 << 20,
};

Test(echo_stream, random_segments)
{
    struct rng r = rng_start(1);
    struct client c;
    struct server s;

    cr_log_info("seed %llu", (unsigned long long)seed_of_run());
    server_start(&s, NULL);
    client_open(&c, &s);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        round_trip(&s, &c, sizes[i], sizes[i] > 200000 ? 65536 : 1500, &r);
    /* Small pieces, and pieces larger than anything the server holds. */
    round_trip(&s, &c, 5000, 1, &r);
    round_trip(&s, &c, 40000, 7, &r);
    round_trip(&s, &c, 8 << 20, 1 << 20, &r);
    for (int i = 0; i < 20; i++)
        round_trip(&s, &c, rng_between(&r, 1, (size_t)1 << (i + 1)),
                   rng_between(&r, 1, 20000), &r);
    client_close(&c);
    server_stop(&s);
}

Test(echo_stream, half_close_brings_every_byte_back)
{
    static const size_t lengths[] = {0, 1, 16384, 16385, 100000};
    struct rng r = rng_start(2);
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        size_t n = lengths[i];
        uint8_t *said = malloc(n + 1), *heard = malloc(n + 1);
        struct client c;

        rng_fill(&r, said, n);
        client_open(&c, &s);
        cr_assert(client_send(&c, said, n));
        client_fin(&c);
        cr_assert(client_read_all(&c, heard, n), "%zu bytes", n);
        cr_assert(memcmp(said, heard, n) == 0, "%zu bytes", n);
        cr_assert(client_ends_silently(&c), "no FIN after %zu bytes", n);
        client_close(&c);
        free(said);
        free(heard);
    }
    server_stop(&s);
}

/* Several megabytes queue up in both directions before the first is read: the
 * server stops reading, forgets nothing, and goes on when it can. */
Test(echo_stream, backpressure_loses_nothing)
{
    enum { PIECE = 64 * 1024, MOST = 64 << 20 };
    struct rng r = rng_start(3), again = r;
    static uint8_t said[PIECE], heard[PIECE];
    size_t sent = 0, partial = 0;
    struct client c;
    struct server s;
    long before;
    ssize_t n;

    server_start(&s, NULL);
    before = server_rss_kib(&s);
    client_open(&c, &s);
    client_timeout(&c, 0.3);
    while (partial == 0 && sent < MOST) {
        rng_fill(&r, said, PIECE);
        n = send(c.fd, said, PIECE, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        partial = n == PIECE ? 0 : 1;
    }
    cr_assert(sent < MOST, "the server takes without end");
    cr_assert(server_rss_kib(&s) - before < memory_bound(64 * 1024));
    client_fin(&c);
    client_timeout(&c, scaled(20));
    for (size_t got = 0; got < sent; got += PIECE) {
        size_t k = sent - got < PIECE ? sent - got : PIECE;

        rng_fill(&again, said, PIECE);
        cr_assert(client_read_all(&c, heard, k), "%zu of %zu came", got, sent);
        cr_assert(memcmp(said, heard, k) == 0, "wrong after %zu", got);
    }
    cr_assert(client_ends_silently(&c));
    client_close(&c);
    server_stop(&s);
}

Test(echo_stream, connections_do_not_mix)
{
    enum { N = 50 };
    struct client c[N];
    struct server s;
    char said[64], heard[64];

    server_start(&s, NULL);
    for (int i = 0; i < N; i++)
        client_open(&c[i], &s);
    for (int turn = 0; turn < 20; turn++) {
        for (int i = 0; i < N; i++) {
            memset(said, 'A' + (i + turn) % 60, sizeof(said));
            cr_assert(client_send(&c[i], said, sizeof(said)));
        }
        for (int i = N - 1; i >= 0; i--) {
            memset(said, 'A' + (i + turn) % 60, sizeof(said));
            cr_assert(client_read_all(&c[i], heard, sizeof(heard)));
            cr_assert(memcmp(said, heard, sizeof(said)) == 0);
        }
    }
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
    server_stop(&s);
}
