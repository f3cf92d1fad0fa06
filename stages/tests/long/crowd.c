/* crowd.c - one process that plays some hundred peers in one poll loop.
 *
 * Two clocks.  now() judges what the server may do to us: it closes a peer
 * that was too slow, also when that was because this process had been stopped
 * or had no core.  The awake clock stands still in such times and judges what
 * the server owes us: nothing moves for --patience seconds of it, and it is a
 * finding.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

enum { PIECE = 64 * 1024, NEW_A_TURN = 16 };

struct crowd {
    const struct run *run;
    struct tally *t;
    int number;
    uint64_t next;         /* number of the next peer */
    struct rng r;          /* of the weather */
    double storm_at;       /* when the next storm comes */
    int storm;             /* peers of it that have still to come */
    double at, awake;      /* the clocks, as of this turn */
    double paused_at;      /* the end of the last pause of this process */
    double closed_at;      /* connections are refused or stuck: not before */
    struct peer *peers;    /* MAX_PEERS places */
    struct pollfd *polled; /* the same */
    int n_live, top;       /* peers; places that were ever in use */
    char piece[PIECE + 1];
};

/* ==== findings ============================================================ */

__attribute__((format(printf, 3, 4))) static void
found(struct crowd *c, const struct peer *p, const char *fmt, ...)
{
    char text[600];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    COUNT(c->t, found, 1);
    if (c->t->found <= MAX_FOUND)
        fprintf(stderr,
                "FOUND at %.1f s: crowd %d, peer %llu (%s, %d asked, %u due, "
                "%llu said, %llu heard, %.2f s old): %s\n",
                c->at - c->run->start, c->number, (unsigned long long)p->number,
                manner_names[p->manner], p->begun, p->n_due,
                (unsigned long long)p->said, (unsigned long long)p->heard,
                c->at - p->opened, text);
}

/* ==== coming and going ==================================================== */

/* A source address of its own for each crowd: ports for all. */
static bool dial(const struct crowd *c, struct peer *p)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)c->run->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in from = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)c->number + 1)};
    int one = 1, size = 8 * 1024;

    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd < 0)
        return false;
    setsockopt(p->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (p->small) {
        setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        setsockopt(p->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
    if (bind(p->fd, (struct sockaddr *)&from, sizeof from) == 0 &&
        (connect(p->fd, (struct sockaddr *)&to, sizeof to) == 0 ||
         errno == EINPROGRESS))
        return true;
    close(p->fd);
    p->fd = -1;
    return false;
}

static void hang_up(struct crowd *c, struct peer *p, bool reset)
{
    struct linger l = {.l_onoff = 1, .l_linger = 0};

    if (reset)
        setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    close(p->fd);
    p->fd = -1;
    c->n_live--;
    COUNT(c->t, live, (uint64_t)-1);
}

static void end_well(struct crowd *c, struct peer *p)
{
    COUNT(c->t, ended, 1);
    if (p->cut == CUT_NOT && p->manner != VANDAL && p->manner != REFUSED)
        COUNT(c->t, said_whole, p->said);
    hang_up(c, p, false);
}

static void end_cut(struct crowd *c, struct peer *p, bool reset)
{
    COUNT(c->t, cut, 1);
    hang_up(c, p, reset);
}

static void end_found(struct crowd *c, struct peer *p)
{
    hang_up(c, p, true);
}

static void come(struct crowd *c)
{
    bool storm = c->storm > 0;
    struct peer *p = c->peers;

    while (p < c->peers + MAX_PEERS && p->fd >= 0)
        p++;
    if (p == c->peers + MAX_PEERS)
        return;
    script_plan(p, c->run, c->number, c->next++, storm);
    p->stirred = c->awake;
    if (!dial(c, p)) {
        c->closed_at = c->at + 0.1; /* no ports, no memory: a little later */
        return;
    }
    COUNT(c->t, begun, 1);
    COUNT(c->t, live, 1);
    c->n_live++;
    if (p - c->peers >= c->top)
        c->top = (int)(p - c->peers) + 1;
    c->storm -= storm;
}

/* ==== ends ================================================================ */

/* The moment from which on the server may have lost its patience with p: it
 * counts from the first byte of the request that is not answered, or from the
 * last answer.  What we know of both is when we caused them, which was not
 * after they happened. */
static double patience_from(const struct peer *p)
{
    if (p->manner == REFUSED && p->n_due == 0)
        return p->opened; /* dropping what it says on ends with a timeout */
    if (p->n_due > 0 || (p->manner == LORIS && p->begun > 0))
        return p->due[p->first].at;
    return p->last_said;
}

/* Its deadline may have passed, wherever the reason lies.  It never comes for a
 * reader that takes bytes all the time, unless this process did not run. */
static bool may_be_late(const struct crowd *c, const struct peer *p)
{
    if (p->manner == STEADY && p->n_due > 0)
        return c->at - c->paused_at < 2 * c->run->idle_s + 2;
    return c->at - patience_from(p) >= 0.9 * c->run->idle_s;
}

/* Whoever has said all and does nothing but listen is not late, however long it
 * takes: a server that closes then has lost sight of it.  Not so when this
 * process did not run for a while. */
static bool all_ears(const struct crowd *c, const struct peer *p)
{
    return p->connected && p->n_due > 0 && script_done(p) &&
           p->say_pause <= 0 && p->hear_pause <= 0 && c->at > p->hear_at &&
           p->manner != STALLED && p->manner != REFUSED &&
           patience_from(p) > c->paused_at;
}

/* One that is there to be closed at its deadline. */
static bool waits_for_it(const struct peer *p)
{
    return p->manner == LORIS || p->manner == STALLED ||
           (p->ending == END_STAY && p->n_due == 0 && script_done(p));
}

/* The answer that is due is the last, and nothing of ours is on its way. */
static bool all_is_said(const struct peer *p)
{
    return p->n_due <= 1 && script_done(p);
}

/* The server has ended the connection, by FIN or RST. */
static void ended(struct crowd *c, struct peer *p, int err)
{
    bool drain = mood_of(c->run) >= DRAIN, planned;

    reply_settle(p);
    planned = p->over || (p->n_due == 0 && p->fin && !reply_partial(p));
    if (planned && err == 0) {
        end_well(c, p);
    } else if (drain && (c->run->echo || !reply_partial(p) ||
                         (err && !all_is_said(p)))) {
        /* It may have closed before the request came, and a request that it
         * has not read turns its close into a reset.  A stream of --app echo
         * has no requests that could be in flight. */
        end_cut(c, p, false);
    } else if (waits_for_it(p) && may_be_late(c, p)) {
        COUNT(c->t, timed_out, 1);
        if (p->manner == STALLED || p->manner == LORIS)
            end_cut(c, p, false);
        else
            end_well(c, p);
    } else if (may_be_late(c, p) && !all_ears(c, p)) {
        COUNT(c->t, late, 1);
        hang_up(c, p, false);
    } else {
        found(c, p, "%s with %u answers due%s",
              err ? strerror(err) : "closed by the server", p->n_due,
              reply_partial(p) ? ", one of them begun" : "");
        end_found(c, p);
    }
}

/* Breaks off where the plan says so; true: p is gone. */
static bool cut_off(struct crowd *c, struct peer *p)
{
    bool by_heard = p->cut == CUT_HEARD_RESET || p->cut == CUT_HEARD_CLOSE;

    if (p->cut == CUT_NOT || p->fin || !p->connected ||
        (by_heard ? p->heard : p->said) < p->cut_at)
        return false;
    if (p->cut != CUT_SAID_FIN) {
        end_cut(c, p, p->cut == CUT_SAID_RESET || p->cut == CUT_HEARD_RESET);
        return true;
    }
    script_stop(p);
    shutdown(p->fd, SHUT_WR);
    p->fin = true;
    return false;
}

/* Nothing new.  Who waits for nothing leaves; true: p is gone. */
static bool wind_up(struct crowd *c, struct peer *p)
{
    enum mood mood = mood_of(c->run);

    if (mood != CALM && p->ending == END_STAY)
        p->ending = END_LEAVE;
    if (!p->winding) {
        p->winding = true;
        script_wind_up(p);
        if (p->ending < END_HALF)
            p->ending = END_LEAVE;
        if (p->manner == STEADY)
            p->until = 0;
        /* Not one that has begun to read: it is no longer late. */
        p->strict = p->manner == STALLED && mood == CALM && p->hear_at > c->at;
        if (p->strict)
            p->hear_at = c->at + c->run->idle_s + 1.5;
    }
    if ((mood != CALM && (p->manner == LORIS || p->manner == STALLED)) ||
        (mood >= DRAIN && !p->connected)) {
        end_cut(c, p, true);
        return true;
    }
    return false;
}

/* What is to be done when nothing is to be said or heard; true: p is gone. */
static bool settle(struct crowd *c, struct peer *p)
{
    reply_settle(p);
    if (cut_off(c, p))
        return true;
    if (mood_of(c->run) != FLOOD && wind_up(c, p))
        return true;
    if (p->manner == HOT && p->begun < p->asks && c->at > p->until)
        script_wind_up(p);
    if (p->manner == STEADY && c->at > p->until) { /* now as fast as it can */
        p->hear_piece = PIECE;
        p->hear_pause = 0;
    }
    if (p->manner == REFUSED && (script_done(p) || p->broken))
        p->hear_at = 0;
    if (script_done(p) && p->connected && !p->fin && p->ending == END_HALF) {
        shutdown(p->fd, SHUT_WR);
        p->fin = true;
    }
    if (script_done(p) && p->n_due == 0 && p->ending != END_HALF &&
        p->ending != END_STAY && !p->fin && !p->over && p->connected) {
        end_well(c, p);
        return true;
    }
    return false;
}

/* The server owes p something, if only the end; true: it has owed it too long,
 * and p is gone. */
static bool out_of_patience(struct crowd *c, struct peer *p)
{
    double limit = c->run->patience_s;
    bool owed = p->n_due > 0 || p->over || p->fin || !p->connected;

    if (p->manner == STALLED)
        limit += 2 * c->run->idle_s;
    else if (waits_for_it(p))
        limit += c->run->idle_s;
    else if (!owed)
        return false;
    if (c->awake - p->stirred < limit)
        return false;
    found(c, p, "nothing has moved for %.1f s%s%s%s", limit,
          p->connected ? "" : ": not connected",
          p->over || p->fin ? ": not closed" : "",
          waits_for_it(p) ? ": not closed at its deadline" : "");
    end_found(c, p);
    return true;
}

/* ==== bytes =============================================================== */

static bool connected(struct crowd *c, struct peer *p, int revents)
{
    int err = 0;
    socklen_t n = sizeof err;

    if (p->connected || !(revents & (POLLOUT | POLLERR | POLLHUP)))
        return p->connected;
    getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &n);
    if (err) {
        if (mood_of(c->run) < DRAIN)
            found(c, p, "connect: %s", strerror(err));
        end_found(c, p);
        return false;
    }
    p->connected = true;
    p->stirred = c->awake;
    p->last_said = c->at;
    COUNT(c->t, connects, 1);
    return true;
}

static void say(struct crowd *c, struct peer *p)
{
    size_t n;
    ssize_t sent;

    if (p->out_pos == p->out_len)
        script_fill(p, c->run, c->t, c->at);
    n = p->out_len - p->out_pos;
    if (p->cut >= CUT_SAID_RESET && p->cut <= CUT_SAID_FIN &&
        n > p->cut_at - p->said)
        n = (size_t)(p->cut_at - p->said);
    if (n == 0)
        return;
    sent = send(p->fd, p->out + p->out_pos, n, MSG_NOSIGNAL);
    if (sent < 0) {
        /* What it said before that is still to be heard. */
        p->broken = errno != EAGAIN;
        return;
    }
    p->out_pos += (size_t)sent;
    p->said += (uint64_t)sent;
    p->last_said = c->at;
    if (p->manner != LORIS) /* its bytes are no progress */
        p->stirred = c->awake;
    COUNT(c->t, said, (uint64_t)sent);
    if (p->say_pause > 0)
        p->say_at = c->at + p->say_pause;
}

/* False: p is gone. */
static bool hear(struct crowd *c, struct peer *p)
{
    size_t want = p->hear_piece < PIECE ? p->hear_piece : PIECE;
    ssize_t n = recv(p->fd, c->piece, want, 0);
    const char *no;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0) {
        ended(c, p, n < 0 ? errno : p->broken ? ECONNRESET : 0);
        return false;
    }
    c->piece[n] = '\0';
    p->heard += (uint64_t)n;
    p->stirred = c->awake;
    COUNT(c->t, heard, (uint64_t)n);
    if (p->hear_pause > 0)
        p->hear_at = c->at + p->hear_pause;
    no = reply_take(p, c->run, c->t, c->piece, (size_t)n);
    if (!no && p->manner == STALLED && p->n_due == 0) {
        p->ending = END_LEAVE;
        COUNT(c->t, spared, 1);
        if (p->strict)
            no = "a reader that slept past its deadline was waited for";
    }
    if (!no)
        return true;
    found(c, p, "%s", no);
    end_found(c, p);
    return false;
}

/* ==== the loop ============================================================ */

/* What p waits for; *wake: when it wants to be looked at again. */
static short wants(const struct crowd *c, const struct peer *p, double *wake)
{
    bool more = p->out_pos < p->out_len || script_ready(p, c->at);
    short events = 0;

    if (!p->connected)
        return POLLOUT;
    if (more && !p->broken && !p->fin) {
        if (c->at >= p->say_at)
            events |= POLLOUT;
        else if (p->say_at < *wake)
            *wake = p->say_at;
    } else if (p->ask_at > c->at && p->ask_at < *wake) {
        *wake = p->ask_at;
    }
    if (c->at >= p->hear_at)
        events |= POLLIN;
    else if (p->hear_at < *wake)
        *wake = p->hear_at;
    return events;
}

static void play(struct crowd *c, struct peer *p, int revents)
{
    if (revents && !connected(c, p, revents))
        return;
    if (revents & (POLLIN | POLLHUP | POLLERR) && c->at >= p->hear_at &&
        !hear(c, p))
        return;
    if (revents & POLLOUT && !p->broken && !p->fin && c->at >= p->say_at)
        say(c, p);
    if (!settle(c, p))
        out_of_patience(c, p);
}

static void watch_clocks(struct crowd *c)
{
    double at = now(), passed = at - c->at;

    c->awake += passed < 0.2 ? passed : 0.2;
    c->at = at;
    if (passed > 0.3)
        c->paused_at = at;
}

static void weather(struct crowd *c)
{
    const struct run *run = c->run;

    if (mood_of(run) != FLOOD) {
        c->storm = 0;
        return;
    }
    if (c->at >= c->storm_at) {
        if (c->storm_at > 0 && run->storm > 0)
            c->storm = (int)rng_between(&c->r, 1, (size_t)run->storm);
        c->storm_at = c->at + rng_real(&c->r, 0.3, 2);
    }
    if (c->at < c->closed_at)
        return;
    for (int i = 0; i < (c->storm > 0 ? run->storm : NEW_A_TURN); i++)
        if (c->n_live < run->peers || c->storm > 0)
            come(c);
}

static void turn(struct crowd *c)
{
    double wake = c->at + 0.05;
    int wait;

    for (int i = 0; i < c->top; i++) {
        struct peer *p = &c->peers[i];
        short events = p->fd >= 0 ? wants(c, p, &wake) : 0;

        /* Without events it must not be polled: an end would wake us. */
        c->polled[i] =
            (struct pollfd){.fd = events ? p->fd : -1, .events = events};
    }
    wait = (int)((wake - c->at) * 1000 + 1);
    poll(c->polled, (nfds_t)c->top, wait > 0 ? wait : 0);
    watch_clocks(c);
    for (int i = 0; i < c->top; i++)
        if (c->peers[i].fd >= 0)
            play(c, &c->peers[i],
                 c->polled[i].fd >= 0 ? c->polled[i].revents : 0);
}

void crowd_main(const struct run *run, int number)
{
    static struct crowd crowd;
    struct crowd *c = &crowd;

    c->run = run;
    c->t = &run->shared->tally[number];
    c->number = number;
    c->r = rng_start(run->seed, (uint64_t)number, UINT64_MAX);
    c->at = now();
    c->peers = calloc(MAX_PEERS, sizeof *c->peers);
    c->polled = calloc(MAX_PEERS, sizeof *c->polled);
    if (!c->peers || !c->polled)
        abort();
    for (int i = 0; i < MAX_PEERS; i++)
        c->peers[i].fd = -1;
    while (mood_of(run) != OVER) {
        weather(c);
        turn(c);
    }
}
