/* fuzz_session.c - libFuzzer target: a session over arbitrary chunkings.
 *
 * The same bytes go through two sessions: one is fed and drained in large
 * pieces, the other in pieces that the input chooses, and with a smaller window
 * for its output.  What comes out must be the same, but for dates and interim
 * answers.
 *
 * Input: flags, n, n bytes of piece sizes, then the bytes of the connection.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "session.h"
#include "temp.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    KEPT = 128 * 1024, /* bytes of output that are compared; then we leave */
    ECHO = 1,          /* flags */
    SMALL_BODY = 2,
    DRAIN = 4,
    NO_ROOT = 8,
    LEAVE = 16,  /* the peer goes away in the middle of the output */
    REPEAT = 32, /* the bytes come 40 times: more than a window holds */
};

/* ======== the engine ===================================================== */

struct engine {
    const struct app *app;
    const uint8_t *in, *pieces;      /* no pieces: as large as they can be */
    size_t in_len, in_next, in_left; /* in_left bytes are still to come */
    size_t pieces_len, next_piece, enough; /* bytes of output */
    uint8_t *out;                          /* KEPT bytes */
    size_t out_len;
    struct session s;
};

static struct stats counters;
static int root_fd, spare_fd;
static char root_dir[TEMP_DIR];

/* How many of at most max bytes to move next: at least one. */
static size_t piece(struct engine *e, size_t max)
{
    size_t n = max;

    if (e->pieces_len > 0) {
        n = e->pieces[e->next_piece++ % e->pieces_len];
        n = n < 200 ? n + 1 : (n - 199) * 300;
    }
    return n < max ? n : max;
}

static void lend(struct buf *b, size_t cap)
{
    if (b->mem == NULL) {
        uint8_t *mem = malloc(cap);

        CHECK(mem);
        memset(mem, 0x5a, cap); /* not what the last owner left */
        buf_lend(b, mem, cap);
    }
}

/* An engine may take empty windows back whenever it has to wait.  This one
 * lends others, so that a session which counts on finding its bytes again is
 * caught. */
static void reclaim(struct engine *e)
{
    struct session *s = &e->s;

    if (e->pieces_len > 0 && buf_len(&s->in) == 0 && buf_len(&s->out) == 0) {
        free(buf_reclaim(&s->in));
        free(buf_reclaim(&s->out));
    }
    lend(&s->in, BUF_SIZE);
    lend(&s->out, SESSION_OUT_MIN + piece(e, BUF_SIZE - SESSION_OUT_MIN));
}

/* Receives; with nothing left that is the end of file. */
static void receive(struct engine *e)
{
    struct buf *in = &e->s.in;
    size_t n;

    CHECK(buf_len(&e->s.out) == 0);
    CHECK(!e->s.eof);
    if (e->in_left == 0) {
        e->s.eof = true;
        return;
    }
    CHECK(buf_room(in) > 0); /* making room is not the engine's business */
    n = piece(e, e->in_left < buf_room(in) ? e->in_left : buf_room(in));
    for (size_t i = 0; i < n; i++)
        buf_tail(in)[i] = e->in[e->in_next++ % e->in_len];
    buf_commit(in, n);
    e->in_left -= n;
}

/* A file system may return less than it was asked for. */
static void read_file(struct engine *e)
{
    struct session *s = &e->s;
    size_t want = session_file_want(s);

    CHECK(want > 0 && want <= buf_room(&s->out));
    CHECK(session_in_flight(s));
    session_file(s, pread(s->file.fd, buf_tail(&s->out), piece(e, want),
                          (off_t)s->file.off));
}

/* Takes bytes out of the window; a step in between changes nothing. */
static void drain(struct engine *e)
{
    struct buf *out = &e->s.out;

    CHECK(buf_len(out) > 0 && buf_len(out) <= BUF_SIZE);
    while (buf_len(out) > 0) {
        size_t n = piece(e, buf_len(out));
        size_t keep = n < KEPT - e->out_len ? n : KEPT - e->out_len;

        memcpy(e->out + e->out_len, buf_data(out), keep);
        e->out_len += keep;
        buf_consume(out, n);
        if (buf_len(out) > 0)
            CHECK(session_step(&e->s, &counters) == WANT_SEND);
    }
}

static void run(struct engine *e)
{
    struct session *s = &e->s;
    /* A step moves a byte at least, or ends a request that took bytes. */
    size_t steps = 0, limit = 8 * (e->in_left + KEPT) + 100;

    session_init(s, e->app);
    reclaim(e);
    for (bool open = true; open && e->out_len < e->enough;) {
        CHECK(++steps < limit);
        CHECK(s->body.len <= e->app->max_body);
        switch (session_step(s, &counters)) {
        case WANT_RECV:
            reclaim(e);
            receive(e);
            break;
        case WANT_SEND:
            drain(e);
            reclaim(e);
            break;
        case WANT_FILE:
            read_file(e);
            break;
        case WANT_WORK:
            CHECK(buf_len(&s->out) == 0);
            CHECK(session_in_flight(s));
            s->arg = 0; /* no time to wait for a whole second */
            session_work(s);
            break;
        case WANT_CLOSE:
            CHECK(buf_len(&s->out) == 0);
            open = false;
        }
    }
    session_end(s);
    free(buf_reclaim(&s->in));
    free(buf_reclaim(&s->out));
}

/* ======== comparing ====================================================== */

/* How much of p[0..len) is the line before a chunk of *n bytes; 0: none. */
static size_t chunk_line(const uint8_t *p, size_t len, size_t *n)
{
    static const char digits[] = "0123456789abcdef";
    const char *digit;
    size_t i = 0;

    *n = 0;
    for (; i < len && p[i] && i < 8 && (digit = strchr(digits, p[i])); i++)
        *n = *n * 16 + (size_t)(digit - digits);
    return i > 0 && len - i >= 2 && memcmp(p + i, "\r\n", 2) == 0 ? i + 2 : 0;
}

/* Takes the lines out from between the pieces of a chunked body, which begins
 * at *from and moves to *to; both move on. */
static void join_chunks(uint8_t *p, size_t len, size_t *from, size_t *to)
{
    size_t n, line;

    while ((line = chunk_line(p + *from, len - *from, &n)) > 0) {
        bool last = n == 0;

        *from += line;
        n = n < len - *from ? n : len - *from;
        memmove(p + *to, p + *from, n);
        *to += n;
        *from += n;
        if (len - *from >= 2)
            *from += 2;
        if (last)
            break;
    }
}

/* Takes out what may differ: the second, "100 Continue", which is said only
 * while the body is still awaited, and where a body was cut into chunks, which
 * depends on the room for them. */
static size_t normalise(uint8_t *p, size_t len)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    static const char date[] = "\r\nDate: ";
    static const char chunked[] = "\r\nTransfer-Encoding: chunked\r\n\r\n";
    const size_t interim_len = sizeof(interim) - 1, date_len = sizeof(date) - 1,
                 chunked_len = sizeof(chunked) - 1;
    size_t to = 0;

    for (size_t i = 0; i < len;) {
        if (len - i >= interim_len &&
            memcmp(p + i, interim, interim_len) == 0) {
            i += interim_len;
        } else if (len - i >= date_len + 29 &&
                   memcmp(p + i, date, date_len) == 0) {
            memcpy(p + to, date, date_len);
            to += date_len;
            i += date_len + 29;
        } else if (len - i >= chunked_len &&
                   memcmp(p + i, chunked, chunked_len) == 0) {
            memcpy(p + to, chunked, chunked_len);
            to += chunked_len;
            i += chunked_len;
            join_chunks(p, len, &i, &to);
        } else {
            p[to++] = p[i++];
        }
    }
    return to;
}

static void compare(struct engine *a, struct engine *b)
{
    bool cut = a->out_len >= a->enough || b->out_len >= b->enough;
    size_t a_len = normalise(a->out, a->out_len);
    size_t b_len = normalise(b->out, b->out_len);
    size_t both = a_len < b_len ? a_len : b_len;

    /* At the cut half a date may stand. */
    if (cut)
        both = both > 64 ? both - 64 : 0;
    else
        CHECK(a_len == b_len);
    CHECK(memcmp(a->out, b->out, both) == 0);
}

/* ======== the target ===================================================== */

static void put_file(const char *name, size_t len)
{
    int fd = openat(root_fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

    CHECK(fd >= 0);
    CHECK(ftruncate(fd, (off_t)len) == 0);
    close(fd);
}

static void remove_root(void)
{
    unlinkat(root_fd, "a", 0);
    unlinkat(root_fd, "b", 0);
    unlinkat(root_fd, "c", 0);
    rmdir(root_dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    CHECK(temp_dir(root_dir, "fuzz"));
    root_fd = open(root_dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    CHECK(root_fd >= 0);
    put_file("a", 3);
    put_file("b", 40000);
    put_file("c", 0);
    atexit(remove_root);
    /* The lowest free number: it stays that when no run leaks a file. */
    spare_fd = dup(root_fd);
    CHECK(spare_fd >= 0);
    close(spare_fd);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t whole[KEPT], pieces[KEPT];
    struct engine a = {.out = whole}, b = {.out = pieces};
    struct cancel cancel;
    struct app app = {.cancel = &cancel};
    size_t n;
    int fd;

    if (size < 3 || (n = data[1]) == 0 || size < n + 2)
        return 0;
    app.proto = data[0] & ECHO ? &proto_echo : &proto_http;
    app.max_body = data[0] & SMALL_BODY ? 300 : 1 << 20;
    app.root_fd = data[0] & NO_ROOT ? -1 : root_fd;
    cancel_init(&cancel, NULL);
    if (data[0] & DRAIN)
        cancel_request(&cancel, CANCEL_DRAIN);
    a.app = b.app = &app;
    a.in = b.in = data + 2 + n;
    a.in_len = b.in_len = size - 2 - n;
    a.in_left = b.in_left = a.in_len * (data[0] & REPEAT ? 40 : 1);
    b.pieces = data + 2;
    b.pieces_len = n;
    a.enough = b.enough = data[0] & LEAVE ? 256 * (size_t)data[2] + 1 : KEPT;
    run(&a);
    run(&b);
    /* How many requests a drain still sees depends on what has arrived. */
    if (!(data[0] & DRAIN))
        compare(&a, &b);
    fd = dup(root_fd);
    CHECK(fd == spare_fd);
    close(fd);
    return 0;
}
