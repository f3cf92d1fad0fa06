/* test_faults.c - the kernel says no, or not all of it, or not yet.
 *
 * The server is the one that was linked with fault_wrap.c.  Where nothing may
 * be lost, every byte is still right; where a connection may be lost, nothing
 * else is; and in both cases nothing spins, leaks or ends.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "tests/temp.h"

TestSuite(any_fault, .timeout = 300);
TestSuite(http_fault, .timeout = 300);

enum { PEERS = 6 };

/* ==== afterwards ========================================================== */

static void must_rest(struct server *s, int fds, int threads, const char *plan)
{
    cr_assert(server_alive(s), "%s ended it: %s", plan, server_stderr(s));
    cr_assert(EVENTUALLY(server_fds(s) <= fds, 10),
              "%s: %d descriptors, not %d", plan, server_fds(s), fds);
    cr_assert(EVENTUALLY(server_threads(s) <= threads, 10), "%s: %d threads",
              plan, server_threads(s));
    cr_assert(server_rests(s, 0.5, 0.1), "%s: spins", plan);
}

/* A rule that hit nothing tests nothing.  Calls that a stage need not make, or
 * makes at its start only, may go without. */
static void must_have_hit(struct server *s, const char *plan)
{
    static const char *const always[] = {"recv", "send", "accept4", "ring_",
                                         "preadv2"};
    bool needed = false;
    unsigned hit, seen;

    for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
        needed |= strncmp(plan, always[i], strlen(always[i])) == 0;
    if (server_stage() == 1 && strstr(plan, "EAGAIN"))
        needed = false; /* its calls block: EAGAIN would be a lie */
    if (strstr(server_stderr(s), "this kernel cannot"))
        needed = false; /* too old, or no memory left for a ring to try it */
    server_stop_faulty(s, &hit, &seen);
    cr_assert(hit > 0 || (!needed && seen < 30), "%s: hit %u of %u calls", plan,
              hit, seen);
}

static const char no_call[] = "it makes no such call";

/* Why a plan is left out, or NULL.  Does the stage make this call at all?
 * Stages from 3 on have a ring; 5 and 6 accept by plain calls all the same, and
 * 6 uses its ring beside others.  Its variants use one or the other: for a few
 * peers, the ring if 6-submit-batch. */
static const char *left_out(const char *plan)
{
    bool ring = strncmp(plan, "ring_", 5) == 0;
    bool plain = strncmp(plan, "recv", 4) == 0 || strncmp(plan, "send", 4) == 0;
    bool made = ring == (server_stage() >= 3);

    if (server_stage() == 5 && strstr(plan, "accept"))
        made = !ring;
    if (server_stage() == 6)
        made = strncmp(plan, "ring_accept", 11) != 0 &&
               strncmp(plan, "pthread_create", 14) != 0 &&
               (!ring || server_is("stage6") || server_is("6-submit-batch"));
    if (!made)
        return no_call;
    if (server_is("3-min-wait") || server_is("3-registered-wait"))
        return "it enters the ring by a call that is not replaced";
    if (server_is("4-sendfile") && strncmp(plan, "ring_read", 9) == 0)
        return "its files go by another call";
    if (server_is("6-submit-batch") && plain)
        return "it does all by the ring";
    if (server_is("6-notify-ring") && plain)
        return "no poll tells again of what such a call leaves";
    return NULL;
}

/* False: the plan is left out.  Why a variant leaves out what its stage does is
 * said, once a test. */
static bool applies(const char *plan)
{
    static const char *said;
    const char *why = left_out(plan);

    if (why && why != no_call && why != said)
        cr_log_warn("%s and the like are left out: %s", plan, said = why);
    return !why;
}

/* A test that would try none of its plans is skipped. */
static void must_apply_one(const char *const plans[], size_t n)
{
    const char *why = no_call;

    for (size_t i = 0; i < n; i++) {
        if (strstr(plans[i], "alloc") || applies(plans[i]))
            return;
        if (left_out(plans[i]) != no_call)
            why = left_out(plans[i]);
    }
    cr_skip("%s", why);
}

/* Stage 6 does little by its ring for a few peers, so what concerns the ring
 * happens to its variant that does all by the ring. */
static const char *binary_for(const char *plan)
{
    static char ring[4096];
    const char *fault = fault_path();
    int dir = (int)(strrchr(fault, '/') - fault);

    if (!server_is("stage6") || strncmp(plan, "ring_", 5) != 0)
        return fault;
    snprintf(ring, sizeof(ring), "%.*s/../variants/fault/6-submit-batch", dir,
             fault);
    cr_assert(access(ring, X_OK) == 0, "%s is missing", ring);
    return ring;
}

/* The plans for epoll_ctl begin when two workers have made their sets.  One
 * multishot accept does for all peers, so only the first can fail; with little
 * room the variant accepts them one by one. */
static const char *plan_switch(const char *plan)
{
    if (server_is("3-accept-multishot") &&
        strncmp(plan, "ring_accept", 11) == 0)
        return strstr(plan, ":first=") ? NULL : "--max-conns=1000";
    if (server_stage() != 6)
        return NULL;
    if (strncmp(plan, "epoll_ctl", 9) == 0)
        return "--workers=2";
    return NULL;
}

/* ==== nothing may be lost ================================================= */

static const char *const in_pieces[] = {
    "recv:short:first=3000",
    "recv:short:most=1:every=2:first=3000",
    "send:short:first=3000",
    "recv:short:most=100,send:short:most=100",
    "epoll_wait:short:most=1",
    "ring_recv:short:first=3000",
    "ring_send:short:first=3000",
    "ring_recv:short:most=100,ring_send:short:most=100",
};

static const char *const again[] = {
    "recv:EINTR:every=2",
    "send:EINTR:every=2",
    "recv:EAGAIN:every=2",
    "send:EAGAIN:every=2",
    ("recv:EINTR:every=3,recv:EAGAIN:every=4,recv:short:most=500,"
     "send:EINTR:every=3,send:EAGAIN:every=4,send:short:most=500"),
    "epoll_wait:EINTR:every=2",
    "poll:EINTR:every=2",
    "ring_recv:EINTR:every=2",
    "ring_send:EINTR:every=2",
    "ring_recv:EAGAIN:every=3",
    "ring_send:EAGAIN:every=3",
    ("ring_recv:EINTR:every=3,ring_send:EINTR:every=3,"
     "ring_recv:short:most=500,ring_send:short:most=500,ring_enter:EINTR:every="
     "5"),
    "ring_enter:EINTR:every=2",
    "ring_enter:EAGAIN:every=3",
    "ring_enter:EBUSY:every=3",
};

static const char *const at_the_door[] = {
    "accept4:EINTR:every=2",
    "accept4:EAGAIN:every=2",
    "accept4:ECONNABORTED:every=2",
    "accept4:EPROTO:every=3",
    "accept4:EMFILE:first=2",
    "accept4:ENFILE:first=2",
    "accept4:ENOBUFS:first=2",
    "accept4:ENOMEM:first=2",
    "accept4:EMFILE:every=5",
    "ring_accept:EINTR:every=2",
    "ring_accept:ECONNABORTED:every=2",
    "ring_accept:EMFILE:first=10",
    "ring_accept:ENFILE:first=2",
    "ring_accept:ENOMEM:first=2",
    "ring_accept:EMFILE:every=5",
};

static void must_lose_nothing(const char *plan)
{
    struct launch how = {.binary = binary_for(plan), .fault = plan};
    struct server s;
    int fds, threads, whole;

    if (!applies(plan))
        return;
    server_start_as(&s, &how, plan_switch(plan), NULL);
    fds = server_fds(&s);
    threads = server_threads(&s) + sanitizer_threads();
    whole = client_traffic(&s, PEERS);
    cr_assert(whole == PEERS, "%s: %d of %d came through: %s", plan, whole,
              PEERS, server_stderr(&s));
    must_rest(&s, fds, threads, plan);
    must_have_hit(&s, plan);
}

#define EACH(plans, check)                                                     \
    must_apply_one(plans, sizeof(plans) / sizeof((plans)[0]));                 \
    for (size_t i = 0; i < sizeof(plans) / sizeof((plans)[0]); i++)            \
    check((plans)[i])

Test(any_fault, a_few_bytes_at_a_time)
{
    EACH(in_pieces, must_lose_nothing);
}

Test(any_fault, interrupted_and_not_yet)
{
    EACH(again, must_lose_nothing);
}

Test(any_fault, accept_fails_for_a_while)
{
    EACH(at_the_door, must_lose_nothing);
}

/* ==== connections may be lost, and nothing else =========================== */

static const char *const harmful[] = {
    "recv:ENOMEM:every=7",
    "recv:ECONNRESET:every=7",
    "send:ENOBUFS:every=7",
    "send:ENOMEM:every=7",
    "send:EPIPE:every=7",
    "epoll_ctl:ENOMEM:every=4:after=12",
    "epoll_ctl:ENOSPC:every=4:after=12",
    "pthread_create:EAGAIN:every=3",
    "malloc:ENOMEM:every=3:after=10",
    "aligned_alloc:ENOMEM:every=3",
    "realloc:ENOMEM:every=3",
    "ring_recv:ENOMEM:every=7",
    "ring_recv:ECONNRESET:every=7",
    "ring_send:ENOBUFS:every=7",
    "ring_send:ENOMEM:every=7",
    "ring_send:EPIPE:every=7",
};

/* A ping and, for HTTP, a body that needs memory; true: both were answered. */
static bool small_talk(const struct server *s)
{
    static const char post[] = "POST /echo HTTP/1.1\r\nHost: a\r\n"
                               "Content-Length: 2000\r\n\r\n";
    static const char body[2000] = "body";
    struct client c;
    struct reply a = {0};
    bool ok;

    client_open(&c, s);
    ok = client_ping(&c);
    if (ok && app_is_http()) {
        ok = client_text(&c, post) && client_send(&c, body, sizeof(body)) &&
             client_reply(&c, &a);
        if (ok && a.status == 200)
            cr_assert(a.len == sizeof(body) &&
                      memcmp(a.body, body, sizeof(body)) == 0);
        else if (ok)
            cr_assert(a.status >= 500, "%s", a.head);
        ok = ok && a.status == 200;
        reply_free(&a);
    }
    client_close(&c);
    return ok;
}

static void must_survive(const char *plan)
{
    struct launch how = {.binary = binary_for(plan), .fault = plan};
    struct server s;
    int fds, threads, whole = 0;

    if (!applies(plan) && !strstr(plan, "alloc"))
        return;
    server_start_as(&s, &how, plan_switch(plan), NULL);
    fds = server_fds(&s);
    threads = server_threads(&s) + sanitizer_threads();
    for (int i = 0; i < 40; i++)
        whole += small_talk(&s);
    cr_assert(whole > 0, "%s: nothing came through: %s", plan,
              server_stderr(&s));
    must_rest(&s, fds, threads, plan);
    must_have_hit(&s, plan);
}

Test(any_fault, only_connections_are_lost)
{
    EACH(harmful, must_survive);
}

/* ==== and each of them once =============================================== */

/* How many peers come before the request, and how many at most while it is in
 * flight, up to the first that meets the fault: its slot is not used again. */
static const struct {
    const char *plan;
    int before, beside;
} once[] = {
    {"recv:ECONNRESET:first=3", 24, 0},
    {"recv:ENOMEM:first=3", 24, 0},
    {"send:EPIPE:first=3", 24, 0},
    {"accept4:EMFILE:first=2", 24, 0},
    {"epoll_ctl:ENOMEM:first=3:after=12", 24, 0},
    {"epoll_ctl:ENOMEM:first=1:after=14", 0, 12},
    {"pthread_create:EAGAIN:first=3", 24, 0},
    {"pthread_create:EAGAIN:first=1:after=1", 0, 4},
    {"malloc:ENOMEM:first=5:after=10", 24, 0},
    {"aligned_alloc:ENOMEM:first=3", 24, 0},
    {"realloc:ENOMEM:first=3", 24, 0},
    {"ring_recv:ECONNRESET:first=3", 24, 0},
    {"ring_send:EPIPE:first=3", 24, 0},
    {"ring_accept:EMFILE:first=10", 24, 0},
};

/* "NAME N" in the summary at the end. */
static unsigned summed(const struct server *s, const char *name)
{
    const char *p = strstr(server_stderr(s), ": done: ");
    size_t n = strlen(name);

    while (p && (p = strstr(p + 1, name)) != NULL)
        if (p[-1] == ' ' && p[n] == ' ')
            return (unsigned)strtoul(p + n, NULL, 10);
    return 0;
}

/* Connections that a fault has ended, then a drain with a request in flight:
 * what was freed is not ended once more, and no other in its place. */
static void must_close_once(const char *plan, int before, int beside)
{
    enum { ALL = 8 << 20, FIRST = 1 << 20 };
    struct launch how = {.binary = fault_path(), .fault = plan};
    struct client c;
    struct server s;
    struct reply a;

    if (!applies(plan) && !strstr(plan, "alloc"))
        return;
    /* Of the heap, these take pieces for a download only, which would fail. */
    if (strncmp(plan, "malloc", 6) == 0 &&
        (server_stage() == 4 || server_stage() == 5))
        return;
    server_start_as(&s, &how, plan_switch(plan), NULL);
    for (int i = 0; i < before; i++)
        small_talk(&s);
    client_open(&c, &s);
    cr_assert(client_text(&c, "GET /bytes/8388608 HTTP/1.1\r\n"
                              "Host: a\r\n\r\n"));
    cr_assert(client_head(&c, &a) && a.status == 200, "%s", plan);
    cr_assert(client_pattern(&c, 0, FIRST) == FIRST, "%s", plan);
    for (int i = 0; i < beside && small_talk(&s); i++)
        ;
    server_signal(&s, SIGTERM);
    pause_s(0.05);
    cr_assert(client_pattern(&c, FIRST, ALL - FIRST) == ALL - FIRST,
              "%s: the download is cut off: %s", plan, strerror(c.err));
    client_close(&c);
    cr_assert(server_wait(&s, scaled(15)) == 0, "%s: %s", plan,
              server_stderr(&s));
    cr_assert(summed(&s, "accepted") > 0 &&
                  summed(&s, "accepted") == summed(&s, "closed"),
              "%s: %u accepted, %u closed", plan, summed(&s, "accepted"),
              summed(&s, "closed"));
}

Test(http_fault, every_connection_ends_once)
{
    for (size_t i = 0; i < sizeof(once) / sizeof(once[0]); i++)
        /* Stage 2 changes a registration in the middle of a download. */
        if (once[i].beside == 0 || server_stage() != 2)
            must_close_once(once[i].plan, once[i].before, once[i].beside);
}

/* ==== it never works again ================================================ */

static const char *const forever[] = {
    "accept4:EMFILE:after=1",        "accept4:ENFILE:after=1",
    "accept4:ENOMEM:after=1",        "accept4:EPERM:after=1",
    "pthread_create:EAGAIN:after=1", "epoll_ctl:ENOMEM:after=12",
    "ring_accept:EMFILE:after=1",    "ring_accept:ENFILE:after=1",
    "ring_accept:ENOMEM:after=1",
};

/* Peers knock and are not let in: the server waits instead of spinning, says
 * nothing, and still goes when it is told to. */
static void must_wait(const char *plan)
{
    struct launch how = {.binary = binary_for(plan), .fault = plan};
    struct client c[20];
    struct server s;

    if (!applies(plan))
        return;
    server_start_as(&s, &how, plan_switch(plan), NULL);
    for (int i = 0; i < 20; i++)
        client_open(&c[i], &s);
    cr_assert(server_rests(&s, 0.5, 0.5), "%s: spins", plan);
    cr_assert(server_alive(&s), "%s ended it: %s", plan, server_stderr(&s));
    for (int i = 0; i < 20; i++)
        client_close(&c[i]);
    must_have_hit(&s, plan);
}

Test(any_fault, nobody_can_be_let_in)
{
    EACH(forever, must_wait);
}

/* ==== files =============================================================== */

static const char *const file_plans[] = {
    "pread:short:most=5000",       "pread:EIO:every=3",
    "ring_read:short:most=5000",   "ring_read:EIO:every=3",
    "ring_read:ECANCELED:every=2", "openat2:EMFILE:every=2",
    "openat2:ENOMEM:every=2",      "openat2:EIO:every=2",
    "openat2:EINTR:every=2",
};

/* Stage 6 asks its ring only for what is not cached. */
static const char *const cold_plans[] = {
    "preadv2:EAGAIN",
    "preadv2:EAGAIN:every=2",
    "preadv2:EINTR:every=3",
    "preadv2:EAGAIN,ring_read:short:most=5000",
    "preadv2:EAGAIN,ring_read:EINTR:every=2",
    "preadv2:EAGAIN,ring_read:EIO:every=3",
    "preadv2:EAGAIN,ring_read:ECANCELED:every=2",
    "preadv2:EAGAIN,ring_enter:EAGAIN:every=2",
    "preadv2:ENOSYS",
};

/* A file comes whole, or it is refused by a status, or the connection ends in
 * the middle; what comes is right. */
static void files_under(const char *plan, const char *dir)
{
    struct launch how = {.binary = fault_path(), .fault = plan};
    struct server s;
    int fds, threads, whole = 0;

    server_start_as(&s, &how, "--root", dir, NULL);
    fds = server_fds(&s);
    threads = server_threads(&s) + sanitizer_threads();
    for (int i = 0; i < 20; i++) {
        struct client c;
        struct reply a;

        client_open(&c, &s);
        if (client_get(&c, "/files/file", &a)) {
            cr_assert(a.status != 200 ||
                          (a.len == ROUND && pattern_is(a.body, a.len, 0)),
                      "%s: wrong bytes", plan);
            cr_assert(a.status == 200 || a.status == 404 || a.status >= 500,
                      "%s: %s", plan, a.head);
            whole += a.status == 200;
        }
        reply_free(&a);
        client_close(&c);
    }
    cr_assert(whole > 0 || strstr(plan, "EIO"), "%s: nothing came", plan);
    cr_assert(whole == 20 ||
                  (!strstr(plan, "short") && !strstr(plan, "ECANCELED")),
              "%s: %d of 20", plan, whole);
    must_rest(&s, fds, threads, plan);
    must_have_hit(&s, plan);
}

Test(http_fault, files)
{
    char dir[TEMP_DIR], path[TEMP_PATH];
    FILE *f;

    fault_path();
    cr_assert(temp_dir(dir, "fault") && chmod(dir, 0755) == 0);
    snprintf(path, sizeof(path), "%s/file", dir);
    f = fopen(path, "w");
    cr_assert(f);
    for (int i = 0; i < ROUND; i++)
        fputc('a' + i % 26, f);
    fclose(f);
    for (size_t i = 0; i < sizeof(file_plans) / sizeof(file_plans[0]); i++)
        if (strncmp(file_plans[i], "open", 4) == 0 ||
            (server_stage() != 6 && applies(file_plans[i])))
            files_under(file_plans[i], dir);
    for (size_t i = 0; i < sizeof(cold_plans) / sizeof(cold_plans[0]); i++)
        if (server_stage() == 6)
            files_under(cold_plans[i], dir);
    unlink(path);
    rmdir(dir);
}
