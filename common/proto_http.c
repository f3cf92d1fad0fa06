/* proto_http.c - HTTP/1.0 and 1.1: routes, bodies, answers.
 *
 * A connection is always in one phase, and a step moves it along until it needs
 * the engine.  A body is read to its end before its request is answered: a peer
 * that writes everything before it reads cannot lock up with us.
 */
#include <errno.h>
#include <limits.h>
#include <time.h>

#include "files.h"
#include "http_parse.h"
#include "session.h"

/* clang-format off */
enum phase {
    HEAD, BODY, CHUNK_END, CHUNK_SIZE, TRAILERS,    /* a request arrives */
    HANDLER, HANDLED,                               /* session_work() */
    SEND_ECHO, SEND_BYTES, SEND_FILE, SEND_METRICS, /* its answer leaves */
    BYE, OVER,                                      /* that was the last one */
};

/* From BYTES on a path is a prefix; max is the largest number after it. */
enum route { HOME, HEALTHZ, METRICS, ECHO, BYTES, WORK, SLEEP, FILES, NOWHERE };

static const struct {
    const char *path;
    uint32_t max;
} routes[] = {
    {"/", 0}, {"/healthz", 0}, {"/metrics", 0}, {"/echo", 0},
    {"/bytes/", 64 << 20}, {"/work/", 1000000}, {"/sleep/", 1000000},
    {"/files/", 0},
};

/* From the ninth byte on these are the bodies of errors, too. */
static const char *const statuses[] = {
    "HTTP/1.1 200 OK\n", "HTTP/1.1 400 Bad Request\n",
    "HTTP/1.1 404 Not Found\n", "HTTP/1.1 405 Method Not Allowed\n",
    "HTTP/1.1 413 Content Too Large\n", "HTTP/1.1 414 URI Too Long\n",
    "HTTP/1.1 417 Expectation Failed\n",
    "HTTP/1.1 431 Request Header Fields Too Large\n",
    "HTTP/1.1 501 Not Implemented\n", "HTTP/1.1 503 Service Unavailable\n",
    "HTTP/1.1 505 HTTP Version Not Supported\n",
};
/* clang-format on */

enum flags {
    OLD = 1,   /* HTTP/1.0 */
    KEEP = 2,  /* the connection stays open after this answer */
    QUIET = 4, /* HEAD: the header only */
    CHUNKED = 8,
    LINGER = 16, /* closing is our wish, so the peer may still be sending; or
                  * much of the answer may be under way when we close */
};

enum {
    GO_ON = -1,         /* beside enum want: look at the phase again */
    TYPE_MAX = 1024,    /* bytes of a Content-Type that /echo repeats */
    ANSWER_ROOM = 1536, /* any header with such a type, a short body, and a
                         * 100 Continue before them */
    FILE_ROOM = 4096,   /* a read this long may share a send with its header */
    PIECE_ROOM = 1024,  /* a line of /metrics and what frames it */
    LINGER_MAX = 64 << 20, /* bytes dropped so that the last answer is heard */
};

#define STR(literal) ((struct http_str){literal, sizeof literal - 1})

/* ======== headers ======================================================== */

static struct http_str status_line(int code)
{
    const char *const *line = statuses, *d;

    while (d = *line + 9, d[0] * 100 + d[1] * 10 + d[2] - 111 * '0' != code)
        CHECK(++line < statuses + sizeof statuses / sizeof statuses[0]);
    return (struct http_str){*line, strlen(*line)};
}

/* A header is a few short pieces whose room is known: memcpy, no printf. */
static inline char *put(char *p, struct http_str piece)
{
    memcpy(p, piece.p, piece.len);
    return p + piece.len;
}

static char *put_number(char *p, uint64_t n)
{
    char digits[20];
    size_t i = sizeof digits;

    do
        digits[--i] = (char)('0' + n % 10);
    while (n /= 10);
    return put(p, (struct http_str){digits + i, sizeof digits - i});
}

static time_t now_s(void)
{
    struct timespec now;

    /* Read from a page that the kernel shares with us: no system call. */
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return now.tv_sec;
}

enum { DATE_LEN = 29 }; /* "Mon, 23 Nov 2026 20:40:43 GMT" */

/* The C library reads the time zone once per process, at the first call. */
static void format_time(char text[DATE_LEN + 1], time_t t)
{
    struct tm tm;

    strftime(text, DATE_LEN + 1, "%a, %d %b %Y %T GMT", gmtime_r(&t, &tm));
}

/* Every thread writes it anew once a second, for itself. */
static char *put_date(char *p)
{
    static _Thread_local char text[DATE_LEN + 1];
    static _Thread_local time_t second;
    time_t now = now_s();

    if (now != second) {
        format_time(text, now);
        second = now;
    }
    return put(p, (struct http_str){text, DATE_LEN});
}

/* True unless another request is already here, up to its body. */
static bool last_request(const struct session *s)
{
    const struct buf *in = &s->in;
    struct http_req r;

    return buf_len(in) == 0 ||
           http_parse_head((const char *)buf_data(in), buf_len(in), &r) == 0;
}

/* `more` is whole lines; length < 0: not known yet. */
static void header(struct session *s, struct stats *st, struct http_str type,
                   int64_t length, struct http_str more)
{
    struct http_str line = status_line(s->status);
    char *start = (char *)buf_tail(&s->out), *p = start;

    STAT_ADD(st, requests, 1);
    STAT_ADD(st, client_errors, s->status / 100 == 4);
    STAT_ADD(st, server_errors, s->status / 100 == 5);
    if ((s->flags & KEEP) && cancel_level(s->app->cancel) >= CANCEL_DRAIN &&
        last_request(s))
        s->flags = (uint8_t)((s->flags & ~KEEP) | LINGER);
    if (length > BUF_SIZE)
        s->flags |= LINGER;
    line.len--;
    p = put_date(put(put(p, line), STR("\r\nDate: ")));
    if (!(s->flags & KEEP))
        p = put(p, STR("\r\nConnection: close"));
    else if (s->flags & OLD)
        p = put(p, STR("\r\nConnection: keep-alive"));
    if (type.len > 0)
        p = put(put(p, STR("\r\nContent-Type: ")), type);
    if (length >= 0)
        p = put_number(put(p, STR("\r\nContent-Length: ")), (uint64_t)length);
    else if (!(s->flags & OLD))
        p = put(p, STR("\r\nTransfer-Encoding: chunked"));
    p = put(put(put(p, STR("\r\n")), more), STR("\r\n"));
    buf_commit(&s->out, (size_t)(p - start));
}

/* ======== answers ======================================================== */

/* The whole answer is in `out`. */
static int answered(struct session *s)
{
    s->restarts++;
    s->phase = s->flags & KEEP ? HEAD : BYE;
    s->flags &= LINGER;
    return GO_ON;
}

static int answer_text(struct session *s, struct stats *st,
                       struct http_str text, struct http_str more)
{
    header(s, st, STR("text/plain"), (int64_t)text.len, more);
    if (!(s->flags & QUIET))
        buf_append(&s->out, text.p, text.len);
    return answered(s);
}

static int answer_error(struct session *s, struct stats *st, int status)
{
    struct http_str text = status_line(status), allow = STR("");

    session_drop(s);
    s->status = (uint16_t)status;
    if (status == 405)
        allow = s->route == ECHO ? STR("Allow: POST\r\n")
                                 : STR("Allow: GET, HEAD\r\n");
    text.p += 9;
    text.len -= 9;
    return answer_text(s, st, text, allow);
}

/* An error that leaves open where the next request would begin. */
static int fail(struct session *s, struct stats *st, int status)
{
    s->flags = (uint8_t)((s->flags & ~KEEP) | LINGER);
    return answer_error(s, st, status);
}

static int send_echo(struct session *s)
{
    if (s->body.left > 0) { /* an empty body has no memory to point into */
        const uint8_t *end = s->body.mem + s->body.note + s->body.len;

        s->body.left -=
            (uint32_t)buf_append(&s->out, end - s->body.left, s->body.left);
    }
    if (s->body.left > 0)
        return WANT_SEND;
    session_drop(s);
    return answered(s);
}

/* Byte i is 'a' + i % 26.  What is copied doubles and stays whole periods. */
static int send_bytes(struct session *s)
{
    static const char twice[] =
        "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";
    size_t n = session_file_want(s), done = n < 26 ? n : 26;
    uint8_t *dst = buf_tail(&s->out);

    memcpy(dst, twice + s->file.off % 26, done);
    for (size_t more; done < n; done += more) {
        more = done < n - done ? done : n - done;
        memcpy(dst + done, dst, more);
    }
    buf_commit(&s->out, n);
    s->file.off += n;
    s->file.left -= n;
    return s->file.left > 0 ? WANT_SEND : answered(s);
}

static int answer_file(struct session *s, struct stats *st,
                       struct http_str path)
{
    char name[PATH_MAX],
        line[] = "Last-Modified: Mon, 23 Nov 2026 20:40:43 GMT\r\n";
    struct file_info info;
    int fd = -ENOENT;
    time_t now = now_s();

    if (s->app->root_fd >= 0 && path.len < sizeof name) {
        *put(name, path) = '\0';
        fd = files_open(s->app->root_fd, name, &info);
    }
    session_drop(s); /* the path, when a body came after it */
    if (fd < 0)
        return answer_error(s, st, fd == -ENOENT ? 404 : 503);
    /* A time that is yet to come must not be claimed (RFC 9110 8.8.2.1). */
    info.mtime = info.mtime < 0 ? 0 : info.mtime < now ? info.mtime : now;
    format_time(line + 15, info.mtime);
    memcpy(line + 15 + DATE_LEN, "\r\n", 2);
    header(s, st, (struct http_str){info.type, strlen(info.type)},
           (int64_t)info.size, STR(line));
    s->file.fd = fd;
    s->file.off = 0;
    s->file.left = s->flags & QUIET ? 0 : info.size;
    s->phase = SEND_FILE;
    return GO_ON;
}

static int send_file(struct session *s)
{
    if (s->file.left == 0) {
        session_drop(s);
        return answered(s);
    }
    /* An empty window gets no larger, however small it is. */
    return buf_len(&s->out) > 0 && buf_room(&s->out) < FILE_ROOM &&
                   buf_room(&s->out) < s->file.left
               ? WANT_SEND
               : WANT_FILE;
}

static void http_file(struct session *s, ssize_t n)
{
    if (n <= 0) {
        /* The length is announced and cannot be kept: only the end of the
         * connection can tell the peer. */
        session_drop(s);
        s->phase = OVER;
        return;
    }
    buf_commit(&s->out, (size_t)n);
    s->file.off += (uint64_t)n;
    s->file.left -= (uint64_t)n;
}

/* The length is not known in advance, so the answer goes out in chunks.
 * HTTP/1.0 has none: there the end of the connection ends it. */
static int answer_metrics(struct session *s, struct stats *st)
{
    if (s->flags & OLD)
        s->flags = (uint8_t)((s->flags & ~KEEP) | LINGER);
    header(s, st, STR("text/plain; version=0.0.4"), -1, STR(""));
    s->arg = 0;
    s->phase = SEND_METRICS;
    return s->flags & QUIET ? answered(s) : GO_ON;
}

static int send_metrics(struct session *s)
{
    size_t room = buf_room(&s->out), frame = s->flags & OLD ? 0 : 5, n;
    char *p = (char *)buf_tail(&s->out), size[8];

    if (room < PIECE_ROOM)
        return WANT_SEND;
    n = stats_prometheus(&s->arg, p + frame,
                         (room > 0xfff ? 0xfff : room) - 2 * frame);
    buf_commit(&s->out, frame + n);
    if (frame > 0) {
        /* A piece of no bytes is the last chunk; there are no trailers. */
        snprintf(size, sizeof size, "%03zx\r\n", n);
        memcpy(p, size, frame);
        buf_append(&s->out, "\r\n", 2);
    }
    return n > 0 ? GO_ON : answered(s);
}

/* The request is whole: makes its answer.  The note is what the answer needs of
 * the header section: the type for /echo, the path for /files. */
static int answer(struct session *s, struct stats *st, struct http_str note)
{
    struct http_str binary = STR("application/octet-stream");

    if (s->status != 200)
        return answer_error(s, st, s->status);
    switch (s->route) {
    case HOME:
        return answer_text(s, st, STR("Hello, World!\n"), STR(""));
    case HEALTHZ:
        return answer_text(s, st, STR("ok\n"), STR(""));
    case METRICS:
        return answer_metrics(s, st);
    case ECHO:
        header(s, st, note, s->body.len, STR(""));
        s->body.left = s->body.len;
        s->phase = SEND_ECHO;
        return GO_ON;
    case BYTES:
        header(s, st, binary, s->arg, STR(""));
        s->file.off = 0;
        s->file.left = s->flags & QUIET ? 0 : s->arg;
        s->phase = SEND_BYTES;
        return GO_ON;
    case FILES:
        return answer_file(s, st, note);
    default: /* WORK, SLEEP */
        s->phase = HANDLER;
        return GO_ON;
    }
}

/* ======== handlers that take long ======================================== */

/* Measured in this thread's CPU time: while it does not run, nothing counts, so
 * the work is the same on a crowded machine. */
static enum cancel_level burn(const struct cancel *c, uint32_t us)
{
    enum cancel_level level;
    struct timespec start, t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    do {
        for (int i = 0; i < 500; i++)
            __asm__ volatile("" ::: "memory");
        level = cancel_level(c);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    } while (level < CANCEL_NOW && (t.tv_sec - start.tv_sec) * 1000000000 +
                                           t.tv_nsec - start.tv_nsec <
                                       (int64_t)us * 1000);
    return level;
}

static void http_work(struct session *s)
{
    const struct cancel *c = s->app->cancel;

    CHECK(s->phase == HANDLER);
    s->phase = HANDLED;
    if ((s->route == WORK ? burn : cancel_sleep)(c, s->arg) >= CANCEL_NOW)
        s->status = 503; /* perhaps given up half-way */
}

/* ======== requests ======================================================= */

/* Digits only, at least one, at most max. */
static bool number(struct http_str text, uint32_t max, uint32_t *n)
{
    *n = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned char)text.p[i] - '0';

        if (digit > 9 || (*n = *n * 10 + digit) > max)
            return false;
    }
    return text.len > 0;
}

/* Finds the route and the status that the header section alone decides. */
static int route(struct session *s, const struct http_req *r,
                 struct http_str path, struct http_str *note)
{
    struct http_str rest = {0};

    for (s->route = HOME; s->route < NOWHERE; s->route++) {
        size_t len = strlen(routes[s->route].path);

        if ((s->route < BYTES ? path.len == len : path.len >= len) &&
            memcmp(path.p, routes[s->route].path, len) == 0) {
            rest = (struct http_str){path.p + len, path.len - len};
            break;
        }
    }
    if (r->method == HTTP_OTHER && !r->known)
        return 501;
    if (s->route == NOWHERE)
        return 404;
    if (s->route == ECHO ? r->method != HTTP_POST
                         : r->method != HTTP_GET && r->method != HTTP_HEAD)
        return 405;
    if (routes[s->route].max > 0)
        return number(rest, routes[s->route].max, &s->arg) ? 200 : 400;
    *note = s->route == ECHO ? r->content_type : rest;
    return s->route == ECHO && note->len > TYPE_MAX ? 431 : 200;
}

/* All that has arrived is used: asks for more, or for the end. */
static int receive(struct session *s)
{
    if (buf_len(&s->out) > 0)
        return WANT_SEND;
    /* A peer that cut its request off waits for no answer (RFC 9112 8). */
    if (s->eof)
        return WANT_CLOSE;
    if (buf_room(&s->in) < s->in.cap / 2)
        buf_compact(&s->in);
    return WANT_RECV;
}

/* Notes how much has been seen.  False: the new bytes end no line, so there is
 * nothing to parse.  Without this a peer that sends single bytes would have all
 * of them parsed again for each. */
static bool begin_parse(struct session *s)
{
    size_t n = buf_len(&s->in), seen = s->scanned;

    if (n == 0 || (seen > 0 && n < 2 * seen && n < s->in.cap && !s->eof &&
                   !memchr(buf_data(&s->in) + seen, '\n', n - seen)))
        return false;
    s->scanned = (uint16_t)(n < UINT16_MAX ? n : UINT16_MAX);
    return true;
}

/* Consumes the n bytes that a parser understood.  False: n is 0 or an error,
 * and *next says how to go on. */
static bool end_parse(struct session *s, struct stats *st, int n, int *next)
{
    if (n == 0 && buf_len(&s->in) < s->in.cap) {
        *next = receive(s);
        return false;
    }
    s->scanned = 0;
    if (n <= 0) {
        *next = fail(s, st, n < 0 ? -n : 431);
        return false;
    }
    buf_consume(&s->in, (size_t)n);
    return true;
}

/* Makes room for n more bytes behind what is held, within the limit. */
static bool reserve(struct session *s, size_t n)
{
    size_t need = s->body.note + s->body.len + n, cap = 2 * (size_t)s->body.cap;
    size_t limit = s->body.note + (size_t)s->app->max_body;
    uint8_t *mem;

    if (need <= s->body.cap)
        return true;
    cap = cap > limit ? limit : cap;
    cap = cap < need ? need : cap;
    mem = cap <= UINT32_MAX ? realloc(s->body.mem, cap) : NULL;
    if (!mem)
        return false;
    s->body.mem = mem;
    s->body.cap = (uint32_t)cap;
    return true;
}

static int begin_body(struct session *s, struct stats *st,
                      const struct http_req *r, struct http_str note)
{
    /* A final answer now saves the peer the body.  But the body may still
     * come, so the connection cannot go on after it. */
    if (r->expect_continue && s->status != 200)
        return fail(s, st, s->status);
    if (s->status == 200 && note.len > 0) {
        if (!reserve(s, note.len))
            return fail(s, st, 503);
        put((char *)s->body.mem, note);
        s->body.note = (uint16_t)note.len;
    }
    if (r->expect_continue)
        buf_append(&s->out, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    s->body.left = r->chunked ? 0 : (uint32_t)r->content_length;
    s->phase = r->chunked ? CHUNK_SIZE : BODY;
    return GO_ON;
}

static int read_head(struct session *s, struct stats *st)
{
    char path[HTTP_MAX_TARGET];
    struct http_str note = {0};
    struct http_req r;
    int n, next;

    if (buf_room(&s->out) < ANSWER_ROOM)
        return WANT_SEND;
    if (s->scanned == 0 && buf_len(&s->in) > 0)
        s->restarts++; /* the first bytes of a request */
    if (!begin_parse(s))
        return receive(s);
    /* What r points to stays in place until the engine receives again. */
    n = http_parse_head((char *)buf_data(&s->in), buf_len(&s->in), &r);
    if (!end_parse(s, st, n, &next))
        return next;
    s->flags = (uint8_t)((r.keep_alive ? KEEP : 0) | (r.minor ? 0 : OLD) |
                         (r.method == HTTP_HEAD ? QUIET : 0) |
                         (r.chunked ? CHUNKED : 0));
    s->body.len = 0;
    s->body.note = 0;
    if (r.content_length > (int64_t)s->app->max_body)
        return fail(s, st, 413);
    if (memchr(r.target.p, '%', r.target.len)) {
        n = http_decode(r.target, path, sizeof path);
        if (n < 0)
            return fail(s, st, 400);
        r.target = (struct http_str){path, (size_t)n};
    }
    s->status = (uint16_t)route(s, &r, r.target, &note);
    return r.chunked || r.content_length > 0 ? begin_body(s, st, &r, note)
                                             : answer(s, st, note);
}

static int end_body(struct session *s, struct stats *st)
{
    return answer(s, st, (struct http_str){(char *)s->body.mem, s->body.note});
}

/* Consumes what has arrived; only /echo keeps it. */
static int read_body(struct session *s, struct stats *st)
{
    size_t n = buf_len(&s->in) < s->body.left ? buf_len(&s->in) : s->body.left;

    if (s->route == ECHO && s->status == 200 && n > 0) {
        if (!reserve(s, n))
            return fail(s, st, 503);
        memcpy(s->body.mem + s->body.note + s->body.len, buf_data(&s->in), n);
    }
    buf_consume(&s->in, n);
    s->body.len += (uint32_t)n;
    s->body.left -= (uint32_t)n;
    if (s->body.left > 0)
        return receive(s);
    s->phase = CHUNK_END;
    return s->flags & CHUNKED ? GO_ON : end_body(s, st);
}

/* What stands between the bytes of a chunked body: a line with the size before
 * each chunk, CRLF after it, and trailers, which are checked and dropped. */
static int read_framing(struct session *s, struct stats *st)
{
    size_t len = buf_len(&s->in);
    uint64_t size = 0;
    const char *p;
    int n, next;

    if (!begin_parse(s)) /* `in` may have no window */
        return receive(s);
    p = (char *)buf_data(&s->in);
    if (s->phase == CHUNK_SIZE)
        n = http_parse_chunk(p, len, &size);
    else if (s->phase == TRAILERS)
        n = http_parse_trailers(p, len);
    else if (memcmp(p, "\r\n", len < 2 ? len : 2) != 0)
        n = -400;
    else
        n = len < 2 ? 0 : 2;
    if (!end_parse(s, st, n, &next))
        return next;
    if (s->phase == TRAILERS)
        return end_body(s, st);
    if (size > s->app->max_body - s->body.len)
        return fail(s, st, 413);
    s->body.left = (uint32_t)size;
    if (s->phase == CHUNK_END)
        s->phase = CHUNK_SIZE;
    else
        s->phase = size > 0 ? BODY : TRAILERS;
    return GO_ON;
}

/* ======== the end of a connection ======================================== */

/* The last answer is sent.  Then what arrives is discarded until the peer ends:
 * the kernel answers bytes for a closed socket with RST, and a RST destroys the
 * part of the answer that the peer has not read.  Many clients send a whole
 * upload before they read that it was refused, so up to LINGER_MAX bytes are
 * dropped, until --idle-timeout at most. */
static int say_bye(struct session *s)
{
    size_t n = buf_len(&s->in);

    if (buf_len(&s->out) > 0)
        return WANT_SEND;
    /* A peer that asked for the close has sent all that it wants to: no RST
     * can overtake an answer of one window. */
    if (s->eof || (!(s->flags & LINGER) && !s->fin && n == 0))
        return WANT_CLOSE;
    if (!s->fin)
        s->body.left = LINGER_MAX;
    s->fin = true;
    buf_consume(&s->in, n);
    s->body.left -= n < s->body.left ? (uint32_t)n : s->body.left;
    return s->body.left > 0 ? WANT_RECV : WANT_CLOSE;
}

static int advance(struct session *s, struct stats *st)
{
    switch ((enum phase)s->phase) {
    case HEAD:
        return read_head(s, st);
    case BODY:
        return read_body(s, st);
    case CHUNK_END:
    case CHUNK_SIZE:
    case TRAILERS:
        return read_framing(s, st);
    case HANDLER: /* earlier answers need not wait for it */
        return buf_len(&s->out) > 0 ? WANT_SEND : WANT_WORK;
    case HANDLED:
        return s->status == 200 ? answer_text(s, st, STR("done\n"), STR(""))
                                : fail(s, st, s->status);
    case SEND_ECHO:
        return send_echo(s);
    case SEND_BYTES:
        return send_bytes(s);
    case SEND_FILE:
        return send_file(s);
    case SEND_METRICS:
        return send_metrics(s);
    case BYE:
        return say_bye(s);
    case OVER:
        break;
    }
    return WANT_CLOSE;
}

static enum want http_step(struct session *s, struct stats *st)
{
    int next;

    do
        next = advance(s, st);
    while (next == GO_ON);
    return (enum want)next;
}

static bool http_in_flight(const struct session *s)
{
    return buf_len(&s->out) > 0 || (s->phase != HEAD && !s->fin);
}

const struct proto proto_http = {
    .name = "http",
    .step = http_step,
    .work = http_work,
    .file = http_file,
    .in_flight = http_in_flight,
};
