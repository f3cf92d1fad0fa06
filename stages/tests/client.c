/* client.c - a plain blocking client that can also behave badly. */
#include "client.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUF = 64 * 1024 };

/* ==== connection ========================================================== */

void client_timeout(struct client *c, double seconds)
{
    struct timeval t = {
        .tv_sec = (time_t)seconds,
        .tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6),
    };

    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

static bool connect_with(struct client *c, int port, int buffer)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int one = 1;

    *c = (struct client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    cr_assert(c->fd >= 0, "socket: %s", strerror(errno));
    client_timeout(c, scaled(20));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (buffer > 0) {
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
        setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
    }
    if (connect(c->fd, (struct sockaddr *)&a, sizeof(a)) == 0)
        return true;
    c->err = errno;
    close(c->fd);
    c->fd = -1;
    return false;
}

bool client_try(struct client *c, int port)
{
    return connect_with(c, port, 0);
}

void client_open(struct client *c, const struct server *s)
{
    cr_assert(connect_with(c, s->port, 0), "connect: %s", strerror(c->err));
}

void client_open_small(struct client *c, const struct server *s)
{
    cr_assert(connect_with(c, s->port, 16 * 1024), "connect: %s",
              strerror(c->err));
}

void client_close(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    free(c->buf);
    *c = (struct client){.fd = -1};
}

void clients_open(struct client c[], int n, const struct server *s)
{
    for (int i = 0; i < n; i++)
        client_open(&c[i], s);
}

void clients_close(struct client c[], int n)
{
    for (int i = 0; i < n; i++)
        client_close(&c[i]);
}

void client_reset(struct client *c)
{
    struct linger l = {.l_onoff = 1, .l_linger = 0};

    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    client_close(c);
}

void client_fin(struct client *c)
{
    shutdown(c->fd, SHUT_WR);
}

/* ==== bytes =============================================================== */

bool client_send(struct client *c, const void *p, size_t n)
{
    const char *from = p;

    while (n > 0) {
        ssize_t sent = send(c->fd, from, n, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0) {
            c->err = errno;
            return false;
        }
        from += sent;
        n -= (size_t)sent;
    }
    return true;
}

bool client_text(struct client *c, const char *text)
{
    return client_send(c, text, strlen(text));
}

bool client_printf(struct client *c, const char *fmt, ...)
{
    char text[8192];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    cr_assert(n >= 0 && n < (int)sizeof(text));
    return client_send(c, text, (size_t)n);
}

bool client_send_pieces(struct client *c, const void *p, size_t n,
                        struct rng *r, size_t max_piece)
{
    const char *from = p;

    while (n > 0) {
        size_t piece = rng_between(r, 1, max_piece < n ? max_piece : n);

        if (!client_send(c, from, piece))
            return false;
        from += piece;
        n -= piece;
    }
    return true;
}

/* Makes sure that at least one byte is held; false at the end. */
static bool fill(struct client *c)
{
    ssize_t n;

    if (c->len > 0)
        return true;
    if (c->eof || c->err)
        return false;
    if (!c->buf)
        c->buf = malloc(BUF);
    cr_assert(c->buf);
    c->head = 0;
    do
        n = recv(c->fd, c->buf, BUF, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        c->err = errno;
    c->eof = n == 0;
    c->len = n > 0 ? (size_t)n : 0;
    return n > 0;
}

size_t client_read(struct client *c, void *p, size_t n)
{
    if (!fill(c))
        return 0;
    if (n > c->len)
        n = c->len;
    memcpy(p, c->buf + c->head, n);
    c->head += n;
    c->len -= n;
    return n;
}

bool client_read_all(struct client *c, void *p, size_t n)
{
    char *to = p;

    while (n > 0) {
        size_t got = client_read(c, to, n);

        if (got == 0)
            return false;
        to += got;
        n -= got;
    }
    return true;
}

bool client_gone(struct client *c)
{
    while (fill(c))
        c->len = 0;
    return c->eof || c->err == ECONNRESET || c->err == EPIPE;
}

bool client_ends(struct client *c)
{
    return client_gone(c) && c->eof;
}

bool client_ends_silently(struct client *c)
{
    return !fill(c) && c->eof;
}

/* ==== HTTP ================================================================ */

/* One line into dst, without its CRLF; false: none, too long, a bare LF. */
static bool read_line(struct client *c, char *dst, size_t cap)
{
    size_t n = 0;

    while (n + 1 < cap && client_read(c, dst + n, 1) == 1) {
        if (dst[n++] != '\n')
            continue;
        if (n < 2 || dst[n - 2] != '\r')
            return false;
        dst[n - 2] = '\0';
        return true;
    }
    return false;
}

static void read_field(struct reply *r, const char *line)
{
    if (strncasecmp(line, "Content-Length:", 15) == 0)
        r->length = strtoll(line + 15, NULL, 10);
    else if (strncasecmp(line, "Transfer-Encoding: chunked", 26) == 0)
        r->chunked = true;
    else if (strncasecmp(line, "Connection: close", 17) == 0)
        r->close = true;
}

/* Nothing has been heard yet. */
static void reply_start(struct reply *r)
{
    r->status = 0;
    r->length = -1;
    r->chunked = r->close = false;
    r->body = NULL;
    r->len = 0;
    r->head[0] = '\0';
}

bool client_head(struct client *c, struct reply *r)
{
    size_t used = 0;

    reply_start(r);
    for (;;) {
        char *line = r->head + used;

        if (!read_line(c, line, REPLY_HEAD - used - 1))
            return false;
        if (used == 0) {
            if (strncmp(line, "HTTP/1.", 7) != 0 || strlen(line) < 12 ||
                line[8] != ' ')
                return false;
            r->status = atoi(line + 9);
        } else if (*line == '\0') {
            return true;
        } else if (!strchr(line, ':')) {
            return false;
        }
        read_field(r, line);
        used += strlen(line);
        r->head[used++] = '\n';
        r->head[used] = '\0';
    }
}

static void body_grow(struct reply *r, size_t n)
{
    r->body = realloc(r->body, r->len + n + 1);
    cr_assert(r->body);
}

static bool read_sized(struct client *c, struct reply *r, size_t n)
{
    body_grow(r, n);
    if (!client_read_all(c, r->body + r->len, n))
        return false;
    r->len += n;
    r->body[r->len] = '\0';
    return true;
}

static bool read_chunks(struct client *c, struct reply *r)
{
    char line[64], *end;

    for (;;) {
        size_t n;

        if (!read_line(c, line, sizeof(line)))
            return false;
        n = strtoul(line, &end, 16);
        if (end == line || *end)
            return false;
        if (n > 0 && !read_sized(c, r, n))
            return false;
        if (!read_line(c, line, sizeof(line)) || *line)
            return false;
        if (n == 0)
            return true;
    }
}

bool client_reply(struct client *c, struct reply *r)
{
    if (!client_head(c, r))
        return false;
    if (r->chunked)
        return read_chunks(c, r);
    if (r->length >= 0)
        return read_sized(c, r, (size_t)r->length);
    while (fill(c)) {
        if (!read_sized(c, r, c->len))
            return false;
    }
    return c->eof;
}

void reply_free(struct reply *r)
{
    free(r->body);
    r->body = NULL;
    r->len = 0;
}

const char *reply_field(const struct reply *r, const char *name)
{
    static char value[1024];
    size_t n = strlen(name);

    for (const char *p = strchr(r->head, '\n'); p && p[1];
         p = strchr(p, '\n')) {
        p++;
        if (strncasecmp(p, name, n) == 0 && p[n] == ':') {
            p += n + 1;
            p += strspn(p, " ");
            snprintf(value, sizeof(value), "%.*s", (int)strcspn(p, "\n"), p);
            return value;
        }
    }
    return NULL;
}

bool client_get(struct client *c, const char *target, struct reply *r)
{
    reply_start(r); /* to be freed also when not even the request leaves */
    return client_printf(c, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", target) &&
           client_reply(c, r);
}

/* ==== what both protocols can do ========================================== */

bool pattern_is(const char *p, size_t n, uint64_t offset)
{
    unsigned letter = (unsigned)(offset % 26);

    for (size_t i = 0; i < n; i++) {
        if (p[i] != (char)('a' + letter))
            return false;
        letter = letter == 25 ? 0 : letter + 1;
    }
    return true;
}

uint64_t client_pattern(struct client *c, uint64_t from, uint64_t n)
{
    uint64_t done = 0;
    char piece[32 * 1024];

    while (done < n) {
        size_t want =
            n - done < sizeof(piece) ? (size_t)(n - done) : sizeof(piece);
        size_t got = client_read(c, piece, want);

        if (got == 0 || !pattern_is(piece, got, from + done))
            break;
        done += got;
    }
    return done;
}

bool client_ping(struct client *c)
{
    char said[24], heard[24];
    struct reply r;
    bool ok;

    if (app_is_http()) {
        ok = client_get(c, "/", &r) && r.status == 200 && r.len == 14 &&
             memcmp(r.body, "Hello, World!\n", 14) == 0;
        reply_free(&r);
        return ok;
    }
    snprintf(said, sizeof(said), "ping %016lx..", (unsigned long)(now() * 1e9));
    return client_send(c, said, sizeof(said)) &&
           client_read_all(c, heard, sizeof(heard)) &&
           memcmp(said, heard, sizeof(said)) == 0;
}

bool client_keeps(struct client *c, const struct server *s, double *last,
                  double timeout)
{
    bool ok = client_ping(c);

    if (!ok && now() - *last > timeout / 2) {
        client_close(c);
        client_open(c, s);
        ok = client_ping(c);
    }
    *last = now();
    return ok;
}

/* Bytes in the server's socket for the client of that port; -1: no such socket.
 */
static long unread(int server, int client)
{
    FILE *f = fopen("/proc/net/tcp", "r");
    unsigned local, remote, bytes;
    char line[512];
    long n = -1;

    cr_assert(f);
    while (n < 0 && fgets(line, sizeof(line), f))
        if (sscanf(line, "%*d: %*x:%x %*x:%x %*x %*x:%x", &local, &remote,
                   &bytes) == 3 &&
            (int)local == server && (int)remote == client)
            n = (long)bytes;
    fclose(f);
    return n;
}

static int port_of(int (*name)(int, struct sockaddr *, socklen_t *), int fd)
{
    struct sockaddr_in a;
    socklen_t len = sizeof(a);

    cr_assert(name(fd, (struct sockaddr *)&a, &len) == 0);
    return ntohs(a.sin_port);
}

/* On a busy machine also loopback takes its time: what has not been confirmed
 * may not have arrived. */
static bool has_arrived(const struct client *c)
{
    int left = 0;

    return ioctl(c->fd, TIOCOUTQ, &left) == 0 && left == 0;
}

bool client_is_heard(const struct client *c)
{
    int server = port_of(getpeername, c->fd);
    int client = port_of(getsockname, c->fd);

    return EVENTUALLY(has_arrived(c) && unread(server, client) == 0, 20);
}

bool server_answers(const struct server *s)
{
    struct client c;
    bool ok;

    if (!client_try(&c, s->port))
        return false;
    ok = client_ping(&c);
    client_close(&c);
    return ok;
}

void client_must_be_ok(struct client *c, int i)
{
    struct reply a;

    cr_assert(client_reply(c, &a), "no answer to %d: %s", i, strerror(c->err));
    cr_assert(a.status == 200, "connection %d: %s", i, a.head);
    reply_free(&a);
}

bool client_hears(const struct client *c)
{
    char byte;

    return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

long client_sample(struct client *c, const char *name, int worker)
{
    struct reply a;
    char key[64];
    long sum = 0;
    int found = 0;

    cr_assert(client_get(c, "/metrics", &a));
    snprintf(key, sizeof(key), "\nioladder_%s", name);
    for (const char *p = a.body; (p = strstr(p, key)) != NULL;) {
        static const char total[] = "_total", label[] = "{worker=\"";
        char *end;
        long number;

        p += strlen(key);
        if (strncmp(p, total, strlen(total)) == 0) /* else it is a gauge */
            p += strlen(total);
        if (strncmp(p, label, strlen(label)) != 0)
            continue;
        number = strtol(p += strlen(label), &end, 10);
        if (worker < 0 || number == worker) {
            sum += strtol(end + strlen("\"} "), NULL, 10);
            found++;
        }
    }
    cr_assert(found > 0, "no %s in /metrics", name);
    reply_free(&a);
    return sum;
}

long server_sample(const struct server *s, const char *name, int worker)
{
    struct client c;
    long value;

    client_open(&c, s);
    value = client_sample(&c, name, worker);
    client_close(&c);
    return value;
}

/* As much as each takes; false when none took anything. */
static bool echo_fill(struct client c[], int n)
{
    static const char piece[64 * 1024];
    bool progress = false;

    for (int i = 0; i < n; i++)
        while (send(c[i].fd, piece, sizeof(piece),
                    MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
            progress = true;
    return progress;
}

/* Until nothing has moved for longer than TCP holds an ACK back, and not for
 * want of a core: the server was seen asleep meanwhile. */
static void echo_stall(struct client c[], int n, const struct server *s)
{
    double since = now();
    int asleep = 0;

    while (now() - since < 0.25 || asleep < 5) {
        if (echo_fill(c, n)) {
            since = now();
            asleep = 0;
        }
        asleep += server_sleeps(s);
        cr_assert(in_time(since, 20), "takes nothing and does not sleep");
        pause_s(0.005);
    }
}

void clients_stall(struct client c[], int n, const struct server *s)
{
    if (!app_is_http())
        echo_stall(c, n, s);
    for (int i = 0; i < n && app_is_http(); i++)
        cr_assert(client_text(&c[i], "GET /bytes/67108864 HTTP/1.1\r\n"
                                     "Host: test\r\n\r\n"));
}

void client_stall(struct client *c, const struct server *s)
{
    clients_stall(c, 1, s);
    cr_assert(!app_is_http() || client_is_heard(c));
}

/* ==== traffic that proves its own bytes =================================== */

static bool echo_round(struct client *c, struct rng *r)
{
    char said[4096], heard[4096];

    for (int i = 0; i < ROUND / 4096; i++) {
        size_t n = rng_between(r, 1, sizeof(said));

        rng_fill(r, said, n);
        if (!client_send_pieces(c, said, n, r, n) ||
            !client_read_all(c, heard, n))
            return false;
        cr_assert(memcmp(said, heard, n) == 0, "wrong bytes");
    }
    return true;
}

/* What comes is what was asked for, in order; false when the connection ends
 * before that.  An answer of 500 and above is a loss too, but a said one. */
static bool http_round(struct client *c, struct rng *r)
{
    static char body[ROUND];
    struct reply a;
    bool ok = true;

    rng_fill(r, body, sizeof(body));
    if (!client_text(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
                        "GET /bytes/100000 HTTP/1.1\r\nHost: a\r\n\r\n"
                        "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
                        "POST /echo HTTP/1.1\r\nHost: a\r\n"
                        "Content-Length: 100000\r\n\r\n") ||
        !client_send_pieces(c, body, sizeof(body), r, 20000))
        return false;
    for (int i = 0; i < 4; i++) {
        if (!client_reply(c, &a)) {
            reply_free(&a);
            return false;
        }
        cr_assert(a.status == 200 || a.status >= 500, "answer %d: %s", i,
                  a.head);
        if (a.status >= 500)
            ok = false;
        else if (i == 0)
            cr_assert(a.len == 14 &&
                      memcmp(a.body, "Hello, World!\n", 14) == 0);
        else if (i == 1)
            cr_assert(a.len == ROUND && pattern_is(a.body, a.len, 0));
        else if (i == 3)
            cr_assert(a.len == ROUND && memcmp(a.body, body, ROUND) == 0);
        reply_free(&a);
    }
    return ok;
}

bool client_round(struct client *c, struct rng *r)
{
    return app_is_http() ? http_round(c, r) : echo_round(c, r);
}

int client_traffic(const struct server *s, int n)
{
    struct rng r = rng_start(30);
    int whole = 0;

    for (int i = 0; i < n; i++) {
        struct client c;

        client_open(&c, s);
        whole += client_round(&c, &r) && client_round(&c, &r);
        client_close(&c);
    }
    return whole;
}
