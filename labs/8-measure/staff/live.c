/* live.c - lab 8: measure.c on a real clock, real sockets and recorded files.
 *
 *      live closed PORT SECONDS
 *      live open PORT RATE SECONDS CONNECTIONS CSV
 *      live recordings FOLDER
 *      live compare CSV
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "plan.h"

enum { CONNS_MOST = 64, WAITING_MOST = 1 << 16 };

static const char request[] = "GET / HTTP/1.1\r\nHost: lab\r\n\r\n";

/* One connection; its answers come in the order of its requests. */
struct peer {
    int fd;
    size_t numbers[WAITING_MOST]; /* a ring of what waits for an answer */
    size_t first, end;
    char held[8192]; /* of an answer that is not whole yet */
    size_t n_held;
};

static struct peer peers[CONNS_MOST];
static unsigned n_peers;
static bool refused; /* the last send was */

__attribute__((noreturn, format(printf, 1, 2))) static void
give_up(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("live: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static unsigned long number(const char *text, unsigned long most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (end == text || *end || value < 1 || value > most)
        give_up("%s is not a number from 1 to %lu", text, most);
    return value;
}

static uint64_t clock_ns(void *unused)
{
    struct timespec t;

    (void)unused;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- the wire ---- */

static void connect_peers(unsigned n, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;

    for (n_peers = 0; n_peers < n; n_peers++) {
        struct peer *p = &peers[n_peers];

        p->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&to, sizeof to) < 0)
            give_up("port %d: %s", port, strerror(errno));
        setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(p->fd, F_SETFL, O_NONBLOCK);
    }
}

/* A request is short: it goes whole, or the socket is as good as full. */
static bool wire_send(void *unused, size_t i)
{
    struct peer *p = &peers[i % n_peers];
    ssize_t n = -1;

    (void)unused;
    if (p->end - p->first < WAITING_MOST)
        n = send(p->fd, request, sizeof request - 1, MSG_NOSIGNAL);
    refused = n != sizeof request - 1;
    if (n > 0 && refused)
        give_up("a request of %zu bytes went in two pieces",
                sizeof request - 1);
    if (n < 0 && errno != EAGAIN)
        give_up("send: %s", strerror(errno));
    if (!refused)
        p->numbers[p->end++ % WAITING_MOST] = i;
    return !refused;
}

/* The first whole answer that is held, taken away; 0: none is whole. */
static size_t answer_held(struct peer *p)
{
    char *body, *length;
    size_t n;

    p->held[p->n_held] = '\0';
    body = strstr(p->held, "\r\n\r\n");
    if (!body)
        return 0;
    length = strcasestr(p->held, "\r\nContent-Length:");
    if (!length || length > body)
        give_up("an answer without a length");
    n = (size_t)(body + 4 - p->held) + strtoul(length + 17, NULL, 10);
    if (n >= sizeof p->held)
        give_up("an answer of %zu bytes", n);
    if (n > p->n_held)
        return 0;
    p->n_held -= n;
    memmove(p->held, p->held + n, p->n_held);
    return n;
}

static size_t peer_answer(struct peer *p)
{
    for (;;) {
        ssize_t n;

        if (p->n_held > 0 && answer_held(p)) {
            if (p->first == p->end)
                give_up("an answer that nobody asked for");
            return p->numbers[p->first++ % WAITING_MOST];
        }
        n = recv(p->fd, p->held + p->n_held, sizeof p->held - 1 - p->n_held, 0);
        if (n == 0)
            give_up("the server has closed a connection");
        if (n < 0 && errno == EAGAIN)
            return NO_REPLY;
        if (n < 0)
            give_up("recv: %s", strerror(errno));
        p->n_held += (size_t)n;
    }
}

/* poll() counts in ms: the last of them is spun away, so that a request does
 * not go late. */
static size_t wire_wait(void *unused, uint64_t until_ns)
{
    static unsigned turn;
    struct pollfd fds[CONNS_MOST];

    for (;;) {
        uint64_t now = clock_ns(unused);
        int ms = now >= until_ns ? 0 : (int)((until_ns - now) / 1000000);

        for (unsigned i = 0; i < n_peers; i++) {
            size_t found = peer_answer(&peers[turn++ % n_peers]);

            if (found != NO_REPLY)
                return found;
        }
        for (unsigned i = 0; i < n_peers; i++)
            fds[i] = (struct pollfd){peers[i].fd,
                                     refused ? POLLIN | POLLOUT : POLLIN, 0};
        if (now >= until_ns || (poll(fds, n_peers, ms) > 0 && refused))
            return NO_REPLY;
    }
}

/* ---- what is printed ---- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void show(const char *what, uint64_t *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    if (n > 0)
        printf("%-24s %8zu %10.3f %10.3f %10.3f %10.3f\n", what, n,
               (double)percentile(v, n, 500000) / 1e6,
               (double)percentile(v, n, 990000) / 1e6,
               (double)percentile(v, n, 999000) / 1e6, (double)v[n - 1] / 1e6);
}

static void head(void)
{
    printf("%-24s %8s %10s %10s %10s %10s\n", "latency, ms", "n", "p50", "p99",
           "p99.9", "most");
}

static void *memory(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);

    if (!p)
        give_up("no memory");
    return p;
}

/* ---- the commands ---- */

/* Sends the next request when the answer is there: what most scripts do. */
static int run_closed(int port, unsigned seconds)
{
    enum { MOST = 1 << 22 };
    uint64_t *v = memory(MOST, sizeof *v), end, before;
    size_t n = 0;

    connect_peers(1, port);
    end = clock_ns(NULL) + seconds * 1000000000ULL;
    while (n < MOST && (before = clock_ns(NULL)) < end) {
        wire_send(NULL, n);
        while (wire_wait(NULL, UINT64_MAX) == NO_REPLY)
            ;
        v[n++] = clock_ns(NULL) - before;
    }
    head();
    show("closed loop", v, n);
    return 0;
}

static void write_samples(const char *path, const struct sample *s, size_t n)
{
    FILE *f = fopen(path, "w");

    if (!f)
        give_up("%s: %s", path, strerror(errno));
    fputs("request,connection,intended_ms,sent_ms,done_ms\n", f);
    for (size_t i = 0; i < n; i++) {
        fprintf(f, "%zu,%zu,%.3f,", i, i % n_peers,
                (double)(s[i].intended - s[0].intended) / 1e6);
        if (s[i].sent)
            fprintf(f, "%.3f", (double)(s[i].sent - s[0].intended) / 1e6);
        fputc(',', f);
        if (s[i].done)
            fprintf(f, "%.3f", (double)(s[i].done - s[0].intended) / 1e6);
        fputc('\n', f);
    }
    if (fclose(f) != 0)
        give_up("%s: %s", path, strerror(errno));
}

static int run_open(int port, unsigned rate, unsigned seconds, unsigned conns,
                    const char *csv)
{
    size_t n = (size_t)rate * seconds, answered, k = 0;
    struct sample *s = memory(n, sizeof *s);
    uint64_t *v = memory(n, sizeof *v), start, end;
    struct wire w = {NULL, clock_ns, wire_send, wire_wait};

    connect_peers(conns, port);
    start = clock_ns(NULL) + 1000000;
    end = start + (seconds + 3) * 1000000000ULL;
    answered = open_loop(&w, start, rate, n, end, s);
    for (size_t i = 0; i < n; i++)
        if (s[i].sent && s[i].done)
            v[k++] = s[i].done - s[i].sent;
    head();
    show("from when it was sent", v, k);
    latencies(s, n, end, v);
    show("from when it was meant", v, n);
    if (answered < n)
        printf("%zu requests were not answered\n", n - answered);
    write_samples(csv, s, n);
    printf("each request: %s\n", csv);
    return 0;
}

static int write_recordings(const char *folder)
{
    struct plan plan = plan_read();

    for (int i = 0; i < RECORDINGS; i++) {
        struct slice s[RECORDED_MOST];
        size_t n = plan_record(plan.recorded[i], s);
        char path[4096];
        FILE *f;

        snprintf(path, sizeof path, "%s/recording_%d.csv", folder, i + 1);
        f = fopen(path, "w");
        if (!f)
            give_up("%s: %s", path, strerror(errno));
        fputs("block,server,cost_us,client_busy\n", f);
        for (size_t k = 0; k < n; k++)
            fprintf(f, "%u,%u,%.4f,%.4f\n", s[k].block, s[k].server, s[k].cost,
                    s[k].client_busy);
        if (fclose(f) != 0)
            give_up("%s: %s", path, strerror(errno));
        puts(path);
    }
    return 0;
}

static int run_compare(const char *path)
{
    static const char *const words[] = {"less", "more", "equal", "client",
                                        "few"};
    struct slice s[RECORDED_MOST];
    struct comparison c;
    char line[256];
    size_t n = 0;
    FILE *f = fopen(path, "r");

    if (!f || !fgets(line, sizeof line, f))
        give_up("%s cannot be read", path);
    while (n < RECORDED_MOST && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%u,%u,%lf,%lf", &s[n].block, &s[n].server, &s[n].cost,
                   &s[n].client_busy) != 4 ||
            s[n].block >= BLOCKS_MOST)
            give_up("%s:%zu: not a slice", path, n + 2);
        n++;
    }
    fclose(f);
    c = compare(s, n, 0, 1);
    printf("%u blocks, median ratio %.4f, interval %.4f to %.4f: %s\n",
           c.blocks, c.median, c.low, c.high,
           c.verdict <= VERDICT_FEW ? words[c.verdict] : "no verdict");
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";

    if (argc == 4 && strcmp(what, "closed") == 0)
        return run_closed((int)number(argv[2], 65535),
                          (unsigned)number(argv[3], 3600));
    if (argc == 7 && strcmp(what, "open") == 0)
        return run_open((int)number(argv[2], 65535),
                        (unsigned)number(argv[3], 20000),
                        (unsigned)number(argv[4], 300),
                        (unsigned)number(argv[5], CONNS_MOST), argv[6]);
    if (argc == 3 && strcmp(what, "recordings") == 0)
        return write_recordings(argv[2]);
    if (argc == 3 && strcmp(what, "compare") == 0)
        return run_compare(argv[2]);
    give_up("closed PORT SECONDS | open PORT RATE SECONDS CONNECTIONS CSV | "
            "recordings FOLDER | compare CSV");
}
