/* script.c - what a peer will do, and the bytes that it says. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "peer.h"

const char *const manner_names[N_MANNERS] = {
#define X(id, name, weight) name,
    MANNERS(X)
#undef X
};

/* ==== chance ============================================================== */

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

struct rng rng_start(uint64_t seed, uint64_t a, uint64_t b)
{
    return (struct rng){mix(mix(mix(seed + 1) ^ (a + 1)) ^ (b + 1))};
}

uint64_t rng_next(struct rng *r)
{
    return mix(r->state += 0x9e3779b97f4a7c15);
}

size_t rng_between(struct rng *r, size_t low, size_t high)
{
    return low + rng_next(r) % (high - low + 1);
}

double rng_real(struct rng *r, double low, double high)
{
    return low + (high - low) * (double)(rng_next(r) >> 11) * 0x1p-53;
}

bool rng_odds(struct rng *r, unsigned percent)
{
    return rng_next(r) % 100 < percent;
}

/* ==== bodies ============================================================== */

void token_bytes(uint64_t token, uint64_t off, char *dst, size_t n)
{
    while (n > 0) {
        uint64_t word = mix(token + (off / 8) * 0x9e3779b97f4a7c15);
        size_t from = off % 8, part = 8 - from < n ? 8 - from : n;

        memcpy(dst, (char *)&word + from, part);
        dst += part;
        off += part;
        n -= part;
    }
}

void pattern_bytes(uint64_t off, char *dst, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = (char)('a' + (off + i) % 26);
}

/* ==== plans =============================================================== */

static bool allowed(const char *only, const char *name)
{
    const char *at = only ? strstr(only, name) : name;
    size_t n = strlen(name);

    return at && (!only || ((at == only || at[-1] == ',') &&
                            (at[n] == ',' || at[n] == '\0')));
}

static enum manner draw_manner(struct rng *r, const struct run *run)
{
    static const unsigned weights[N_MANNERS] = {
#define X(id, name, weight) weight,
        MANNERS(X)
#undef X
    };
    unsigned sum = 0, at;
    int m;

    for (m = 0; m < N_MANNERS; m++)
        sum += allowed(run->only, manner_names[m]) ? weights[m] : 0;
    if (sum == 0)
        return TALKER;
    at = (unsigned)rng_between(r, 0, sum - 1);
    for (m = 0; m < N_MANNERS; m++) {
        unsigned w = allowed(run->only, manner_names[m]) ? weights[m] : 0;

        if (at < w)
            break;
        at -= w;
    }
    return (enum manner)m;
}

static void plan_cut(struct peer *p)
{
    struct rng *r = &p->r;

    if (p->manner == VANDAL || p->manner == STEADY || p->manner == REFUSED ||
        !rng_odds(r, 18))
        return;
    p->cut = (enum cut)rng_between(r, CUT_SAID_RESET, CUT_HEARD_CLOSE);
    p->cut_at = rng_between(r, 1, rng_odds(r, 50) ? 300 : 30000);
}

static enum ending draw_ending(struct rng *r, bool echo)
{
    size_t at = rng_between(r, 0, 99);

    if (echo)
        return at < 60 ? END_HALF : at < 97 ? END_LEAVE : END_STAY;
    return at < 30   ? END_ASK
           : at < 40 ? END_OLD
           : at < 65 ? END_HALF
           : at < 98 ? END_LEAVE
                     : END_STAY;
}

/* Slow ones are done within a second or so, well before any deadline: with a
 * deadline in sight nobody could tell a fault from a penalty. */
static void plan_slow(struct peer *p, size_t bytes)
{
    size_t pieces = rng_between(&p->r, 8, 50);
    size_t piece = bytes / pieces + 1;
    double pause = 0.8 / (double)pieces;

    if (p->manner == SLOW_WRITER) {
        p->say_piece = piece;
        p->say_pause = pause;
    } else {
        p->hear_piece = piece;
        p->hear_pause = pause;
        p->small = true;
    }
}

/* More than a send buffer holds.  Some of it is taken all the time, so no
 * deadline comes, however long that goes on.  But a kernel tells of room for a
 * part of its buffer at a time: a large one needs a rate at which that part is
 * read well within --idle. */
enum { STEADY_SIZE = 6 << 20 };

static void plan_steady(struct peer *p, double idle)
{
    p->small = rng_odds(&p->r, 50);
    p->hear_pause = 0.05;
    p->hear_piece = p->small ? rng_between(&p->r, 1000, 3000)
                             : rng_between(&p->r, 7500, 15000);
    p->until = p->opened + 2.5 * idle;
    p->asks = 1;
    p->ending = p->ending == END_STAY ? END_LEAVE : p->ending;
}

static void plan_by_manner(struct peer *p, double idle)
{
    struct rng *r = &p->r;

    switch (p->manner) {
    case PIPELINER:
        p->asks = (int)rng_between(r, 2, 40);
        p->depth = (int)rng_between(r, 2, MAX_DUE);
        break;
    case SLOW_WRITER:
    case SLOW_READER:
        p->asks = (int)rng_between(r, 1, 3);
        p->depth = MAX_DUE;
        break;
    case STEADY:
        plan_steady(p, idle);
        break;
    case REFUSED:
        p->asks = 1;
        p->ending = END_ASK;
        p->hear_at = p->opened + 1e6; /* settle() says when */
        break;
    case HOT:
        p->asks = INT32_MAX;
        p->depth = (int)rng_between(r, 1, MAX_DUE);
        p->until = p->opened + rng_real(r, 0.5, 4);
        break;
    case IDLER:
        p->asks = (int)rng_between(r, 0, 3);
        p->ask_at = p->opened + rng_real(r, 0.1, 0.5 * idle);
        p->think = rng_real(r, 0, 0.5 * idle);
        break;
    case SILENT:
        p->asks = 0;
        p->ending = END_STAY;
        break;
    case LORIS:
        p->say_piece = 4;
        p->say_pause = 0.1;
        p->asks = 1;
        p->ending = END_STAY;
        p->cut = CUT_NOT;
        break;
    case STALLED:
        p->asks = 1;
        p->ending = END_STAY;
        p->small = true;
        p->cut = CUT_NOT;
        p->hear_at = p->opened + 2 * idle;
        break;
    case TOUCH:
        p->asks = 0;
        p->ending = rng_odds(r, 30) ? END_HALF : END_LEAVE;
        p->cut = rng_odds(r, 40) ? CUT_SAID_RESET : CUT_NOT;
        p->cut_at = 0;
        break;
    default:
        p->asks = (int)rng_between(r, 1, p->manner == BIG ? 4 : 12);
        p->depth = (int)rng_between(r, 1, 8);
        p->think = rng_odds(r, 30) ? rng_real(r, 0, 0.1) : 0;
    }
}

void script_plan(struct peer *p, const struct run *run, int crowd,
                 uint64_t number, bool storm)
{
    struct rng r = rng_start(run->seed, (uint64_t)crowd, number);
    size_t all;

    memset(p, 0, offsetof(struct peer, text));
    memset(&p->text_len, 0,
           offsetof(struct peer, out) - offsetof(struct peer, text_len));
    memset(&p->out_pos, 0, sizeof *p - offsetof(struct peer, out_pos));
    p->fd = -1;
    p->number = number;
    p->r = r;
    p->opened = p->last_said = now();
    p->depth = 1;
    p->say_piece = OUT;
    p->hear_piece = 64 * 1024;
    p->manner = storm ? (rng_odds(&p->r, 50) ? TOUCH : TALKER)
                      : draw_manner(&p->r, run);
    if (run->echo && (p->manner == VANDAL || p->manner == LORIS ||
                      p->manner == BUSY || p->manner == REFUSED))
        p->manner = TALKER;
    p->ending = draw_ending(&p->r, run->echo);
    plan_cut(p);
    plan_by_manner(p, run->idle_s);
    if (storm && p->asks > 1)
        p->asks = 1;
    if (p->ending == END_STAY && p->asks > 4)
        p->asks = 4;
    if (p->manner == VANDAL)
        p->ending = END_ASK;
    else if (p->asks == 0 && p->ending < END_HALF)
        p->ending = END_LEAVE;
    if (run->echo && p->asks > 0)
        p->asks = 1; /* a stream of everything */
    all = run->echo ? 40000 : (size_t)p->asks * 20000;
    if (p->manner == SLOW_WRITER || p->manner == SLOW_READER)
        plan_slow(p, all);
}

/* ==== requests ============================================================ */

static const struct {
    int status;
    const char *text;
} bad[] = {
    {400, "GET / HTTP/1.1\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
    {400, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
          "Content-Length: 3\r\n\r\n0\r\n\r\n"},
    {400, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1a\r\n\r\nx"},
    {400, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
          "\r\n4\r\nabcd\r\nzz\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n"},
    {400, "GET / HTTP/1.1\nHost: a\n\n"},
    {501, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"},
    {505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
    {413, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n"},
    {400, "\x16\x03\x01\x02\x01\x01\xfd\r\n\r\n"},
};

enum { N_BAD = sizeof bad / sizeof *bad };

static enum ask draw_ask(struct rng *r, enum manner m)
{
    static const struct {
        enum ask ask;
        unsigned weight, busy;
    } odds[] = {
        {ASK_HELLO, 18, 4},  {ASK_HEALTH, 3, 0},  {ASK_HEAD, 5, 0},
        {ASK_BYTES, 14, 4},  {ASK_POST, 24, 14},  {ASK_CHUNKED, 10, 4},
        {ASK_WORK, 5, 30},   {ASK_SLEEP, 5, 40},  {ASK_FILE, 8, 2},
        {ASK_METRICS, 1, 0}, {ASK_MISSING, 3, 2}, {ASK_WRONG, 4, 0},
    };
    unsigned at = (unsigned)rng_between(r, 0, 99);

    for (size_t i = 0; i < sizeof odds / sizeof *odds; i++) {
        unsigned w = m == BUSY ? odds[i].busy : odds[i].weight;

        if (at < w)
            return odds[i].ask;
        at -= w;
    }
    return ASK_POST;
}

static uint64_t draw_size(struct peer *p)
{
    struct rng *r = &p->r;

    if (p->manner == BIG)
        return rng_between(r, 50000, 1 << 20);
    if (p->manner == SLOW_WRITER || p->manner == SLOW_READER)
        return rng_between(r, 0, 20000);
    return rng_between(r, 0,
                       rng_odds(r, 8)    ? 60000
                       : rng_odds(r, 20) ? 0
                                         : 1500);
}

/* One handler in thirty takes up to twenty times as long as the others. */
static uint64_t draw_us(struct rng *r, int most)
{
    return rng_between(r, 0, (size_t)(rng_odds(r, 3) ? most : most / 20));
}

static void put(struct peer *p, const char *text)
{
    size_t n = strlen(text);

    memcpy(p->text + p->text_len, text, n);
    p->text_len += n;
}

/* Draws what is asked for and what has to come back. */
static void draw_due(struct peer *p, const struct run *run, struct due *d)
{
    d->ask = p->manner == STALLED || p->manner == STEADY
                 ? ASK_BYTES
                 : draw_ask(&p->r, p->manner);
    d->status = 200;
    d->token = rng_next(&p->r);
    /* The last files are too large for those who are slow on purpose. */
    if (p->manner == SLOW_READER || p->manner == SLOW_WRITER)
        d->token -= d->token % N_FILES > 3 ? 2 : 0;
    d->length = draw_size(p);
    switch (d->ask) {
    case ASK_HELLO:
        d->length = 14;
        break;
    case ASK_HEALTH:
        d->length = 3;
        break;
    case ASK_BYTES:
        if (p->manner == BIG)
            d->length *= 3;
        break;
    case ASK_WORK:
    case ASK_SLEEP:
        d->length = 5;
        break;
    case ASK_FILE:
        d->length = run->file_size[d->token % N_FILES];
        break;
    case ASK_MISSING:
        d->status = 404;
        d->length = strlen("404 Not Found\n");
        break;
    case ASK_WRONG:
        d->status = 405;
        d->length = strlen("405 Method Not Allowed\n");
        break;
    default:
        break;
    }
    if (p->manner == STALLED)
        d->length = 48 << 20; /* more than the kernel will hold */
    if (p->manner == STEADY)
        d->length = STEADY_SIZE;
    d->size = d->ask == ASK_HEAD ? 0 : d->length;
}

/* The request line's method and target. */
static void target(const struct run *run, const struct due *d, struct rng *r,
                   char *to, size_t n)
{
    switch (d->ask) {
    case ASK_HELLO:
        snprintf(to, n, "GET /");
        break;
    case ASK_HEALTH:
        snprintf(to, n, "GET /healthz");
        break;
    case ASK_HEAD:
        snprintf(to, n, "HEAD /bytes/%" PRIu64, d->length);
        break;
    case ASK_BYTES:
        snprintf(to, n, "GET /bytes/%" PRIu64, d->length);
        break;
    case ASK_WORK:
        snprintf(to, n, "GET /work/%" PRIu64, draw_us(r, run->work_us));
        break;
    case ASK_SLEEP:
        snprintf(to, n, "GET /sleep/%" PRIu64, draw_us(r, run->work_us));
        break;
    case ASK_FILE:
        snprintf(to, n, "GET /files/%d", (int)(d->token % N_FILES));
        break;
    case ASK_METRICS:
        snprintf(to, n, "GET /metrics");
        break;
    case ASK_MISSING:
        snprintf(to, n, "GET /nothing/%016" PRIx64, d->token);
        break;
    case ASK_WRONG:
        snprintf(to, n, "POST /healthz");
        break;
    default:
        snprintf(to, n, "POST /echo");
    }
}

static void ask_body(struct peer *p, struct due *d, size_t skip)
{
    char line[200];

    p->off = 0;
    p->token = d->token;
    if (d->ask == ASK_POST || d->ask == ASK_CHUNKED) {
        snprintf(line, sizeof line, "Content-Type: t/%016" PRIx64 "\r\n",
                 d->token);
        put(p, line);
        d->may_go_on = d->length > 0 && p->cut == CUT_NOT &&
                       p->manner != LORIS && rng_odds(&p->r, 10);
        if (d->may_go_on)
            put(p, "Expect: 100-continue\r\n");
        d->held = d->may_go_on && rng_odds(&p->r, 60);
    }
    if (d->ask == ASK_POST || d->ask == ASK_WRONG) {
        p->run = d->ask == ASK_POST ? d->length : skip;
        snprintf(line, sizeof line, "Content-Length: %" PRIu64 "\r\n", p->run);
        put(p, line);
    } else if (d->ask == ASK_CHUNKED) {
        p->rest = d->length;
        p->chunked = true;
        put(p, "Transfer-Encoding: chunked\r\n");
    }
    /* An interim answer is due only when a body follows. */
    if (d->ask == ASK_CHUNKED && d->length == 0)
        d->may_go_on = d->held = false;
    p->hold = d->held;
}

static bool bodiless(enum ask ask)
{
    return ask != ASK_POST && ask != ASK_CHUNKED && ask != ASK_WRONG;
}

static void ask_http(struct peer *p, const struct run *run, struct due *d,
                     bool last)
{
    char line[100];
    bool old;

    draw_due(p, run, d);
    if (p->manner == LORIS) {
        put(p, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
        p->run = UINT64_MAX;
        return;
    }
    old = bodiless(d->ask) && d->ask != ASK_METRICS &&
          (last ? p->ending == END_OLD : rng_odds(&p->r, 3));
    target(run, d, &p->r, line, sizeof line);
    put(p, line);
    put(p, old ? " HTTP/1.0\r\n" : " HTTP/1.1\r\nHost: localhost\r\n");
    d->keep = old && !last;
    d->close = last && (old || p->ending == END_ASK || p->ending == END_OLD);
    if (d->keep)
        put(p, "Connection: keep-alive\r\n");
    else if (d->close && !old)
        put(p, "Connection: close\r\n");
    ask_body(p, d, rng_between(&p->r, 1, 3000));
    put(p, "\r\n");
}

static void ask_bad(struct peer *p, struct due *d)
{
    size_t i = rng_between(&p->r, 0, N_BAD - 1);

    *d = (struct due){.ask = ASK_BAD, .status = bad[i].status, .close = true};
    put(p, bad[i].text);
}

/* Above the --max-body that the server has when nobody says anything. */
static void ask_refused(struct peer *p, struct due *d)
{
    *d = (struct due){.ask = ASK_BAD, .status = 413, .close = true};
    p->token = rng_next(&p->r);
    p->off = 0;
    p->run = rng_between(&p->r, 1200000, 5000000);
    p->text_len = (size_t)snprintf(p->text, TEXT,
                                   "POST /echo HTTP/1.1\r\nHost: a\r\n"
                                   "Content-Length: %" PRIu64 "\r\n\r\n",
                                   p->run);
}

static void ask_raw(struct peer *p, struct due *d)
{
    uint64_t size = p->manner == BIG ? rng_between(&p->r, 1 << 18, 1 << 22)
                    : p->manner == STALLED ? 64 << 20
                    : p->manner == STEADY  ? STEADY_SIZE
                                           : rng_between(&p->r, 1, 40000);

    *d = (struct due){.ask = ASK_RAW, .token = rng_next(&p->r)};
    d->size = d->length = p->manner == HOT ? UINT64_MAX : size;
    p->token = d->token;
    p->off = 0;
    p->run = d->size;
}

static void ask(struct peer *p, const struct run *run, struct tally *t,
                double at)
{
    struct due *d = &p->due[(p->first + p->n_due) % MAX_DUE];
    bool last = p->begun + 1 == p->asks;

    *d = (struct due){0};
    p->text_len = p->text_pos = 0;
    p->begun++;
    if (run->echo)
        ask_raw(p, d);
    else if (p->manner == REFUSED)
        ask_refused(p, d);
    else if (p->manner == VANDAL && last)
        ask_bad(p, d);
    else
        ask_http(p, run, d, last);
    /* With no other answer due, the server's patience counts from the last. */
    d->at = p->n_due > 0 ? at : p->last_said;
    d->ends = UINT64_MAX;
    COUNT(t, asked, 1);
    COUNT(t, works_asked, d->ask == ASK_WORK || d->ask == ASK_SLEEP);
    COUNT(t, errors_asked, d->status >= 400);
    if (p->manner != LORIS)
        p->n_due++;
}

/* ==== saying ============================================================== */

/* Something of the request at hand is still to be made. */
static bool within(const struct peer *p)
{
    return p->text_pos < p->text_len || p->run > 0 || p->chunked;
}

bool script_ready(const struct peer *p, double at)
{
    if (p->fin || p->broken)
        return false;
    if (p->hold) /* its body waits for the 100 Continue */
        return p->text_pos < p->text_len;
    if (within(p))
        return true;
    return p->begun < p->asks && p->n_due < (unsigned)p->depth &&
           at >= p->ask_at;
}

bool script_done(const struct peer *p)
{
    return !within(p) && !p->hold && p->begun >= p->asks &&
           p->out_pos == p->out_len;
}

/* Between the chunks: a line with the next one's size, or the end. */
static void next_chunk(struct peer *p)
{
    uint64_t n = p->rest ? rng_between(&p->r, 1, p->rest) : 0;
    const char *before = p->off > 0 ? "\r\n" : "";

    p->text_pos = 0;
    if (n > 0)
        p->text_len =
            (size_t)snprintf(p->text, TEXT, "%s%" PRIx64 "%s\r\n", before, n,
                             rng_odds(&p->r, 10) ? ";a=b" : "");
    else
        p->text_len =
            (size_t)snprintf(p->text, TEXT, "%s0\r\n%s\r\n", before,
                             rng_odds(&p->r, 10) ? "Trailer-Field: 1\r\n" : "");
    p->run = n;
    p->rest -= n;
    p->chunked = n > 0;
}

/* Some bytes of the request at hand; fewer than `room` at its joints. */
static size_t make(struct peer *p, char *to, size_t room)
{
    size_t n = p->text_len - p->text_pos;

    if (n > 0) {
        n = n < room ? n : room;
        memcpy(to, p->text + p->text_pos, n);
        p->text_pos += n;
        return n;
    }
    if (p->run > 0) {
        n = p->run < room ? (size_t)p->run : room;
        if (p->manner == LORIS)
            memset(to, 'x', n);
        else
            token_bytes(p->token, p->off, to, n);
        p->off += n;
        p->run -= n;
    } else if (p->chunked) {
        next_chunk(p);
    }
    return n;
}

void script_fill(struct peer *p, const struct run *run, struct tally *t,
                 double at)
{
    size_t want = p->say_piece < OUT ? p->say_piece : OUT;

    p->out_pos = p->out_len = 0;
    while (p->out_len < want) {
        size_t n;

        if (!within(p)) {
            if (!script_ready(p, at))
                break;
            ask(p, run, t, at);
        }
        if (p->hold && p->text_pos == p->text_len)
            break;
        n = make(p, p->out + p->out_len, want - p->out_len);
        p->out_len += n;
        p->made += n;
        if (!within(p) && p->n_due > 0)
            p->due[(p->first + p->n_due - 1) % MAX_DUE].ends = p->made;
    }
}

void script_wind_up(struct peer *p)
{
    struct due *d = due_first(p);

    p->asks = p->begun;
    if (p->n_due > 0 && d->ask == ASK_RAW) {
        p->run = 0;
        d->size = d->ends = p->made;
    }
}

void script_stop(struct peer *p)
{
    struct due *d = due_first(p);

    if (p->n_due > 0 && d->ask == ASK_RAW)
        d->size = d->ends = p->said;
    while (p->n_due > 0 &&
           p->due[(p->first + p->n_due - 1) % MAX_DUE].ends > p->said)
        p->n_due--;
    p->asks = p->begun;
    p->made = p->said;
    p->text_pos = p->text_len;
    p->run = p->rest = 0;
    p->out_pos = p->out_len = 0;
    p->chunked = p->hold = false;
}
