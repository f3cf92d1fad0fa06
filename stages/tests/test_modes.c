/* test_modes.c - the switches of a stage's own: each way must give the same
 * bytes.  They also lead to the fallbacks for kernels older than this one.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "tests/temp.h"

TestSuite(any_modes, .timeout = 300);
TestSuite(http_modes, .timeout = 300);

struct mode {
    int first, last; /* stages that have it */
    const char *args[7];
};

static const struct mode modes[] = {
    {3, 6, {"--taskrun", "coop"}},
    {3, 6, {"--taskrun", "none"}},
    {3, 6, {"--cq", "2"}}, /* overflows all the time */
    {3, 6, {"--cq", "2", "--taskrun", "none"}},
    {4, 4, {"--buffers", "2"}},
    {4, 4, {"--buffers", "8", "--taskrun", "coop"}},
    {5, 5, {"--pool", "1"}},
    {5, 5, {"--pool", "3", "--workers", "2"}},
    {5, 6, {"--place", "rr", "--workers", "3"}},
    {5, 5, {"--place", "rr", "--pool", "1"}},
    {5, 6, {"--place", "one", "--workers", "3"}},
    {5, 6, {"--pin", "off"}},
    {5, 5, {"--buffers", "2"}},
    {5, 5, {"--buffers", "2", "--pool", "1"}},
    {6, 6, {"--steal", "queue", "--workers", "3"}},
    {6, 6, {"--steal", "off", "--workers", "3"}},
};

enum { N_MODES = sizeof(modes) / sizeof(modes[0]) };

static bool applies(const struct mode *m)
{
    if (server_is("6-notify-ring") && strcmp(m->args[0], "--steal") == 0)
        return false; /* only off, which it is in any case */
    if (strcmp(m->args[0], "--place") == 0 && !server_places(m->args[1]))
        return false;
    return server_stage() >= m->first && server_stage() <= m->last;
}

static void must_apply_once(void)
{
    for (int i = 0; i < N_MODES; i++)
        if (applies(&modes[i]))
            return;
    cr_skip("this stage has no switches of its own");
}

static const char *name_of(const struct mode *m)
{
    static char text[128];
    char *to = text;

    for (int i = 0; m->args[i]; i++)
        to += sprintf(to, "%s ", m->args[i]);
    return text;
}

/* All speak at once, then all listen. */
static void crowd(const struct server *s, const char *mode)
{
    enum { N = 60 };
    struct client c[N];
    struct rng r = rng_start(40);

    for (int i = 0; i < N; i++)
        client_open(&c[i], s);
    for (int turn = 0; turn < 3; turn++)
        for (int i = 0; i < N; i++)
            cr_assert(client_ping(&c[i]), "%s: connection %d", mode, i);
    for (int i = 0; i < 3; i++)
        cr_assert(client_round(&c[i], &r), "%s: connection %d", mode, i);
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
}

static void try_mode(const struct mode *m)
{
    const char *mode = name_of(m);
    struct server s;
    int fds;

    server_launch(&s, &(struct launch){0}, m->args);
    fds = server_fds(&s);
    cr_assert(client_traffic(&s, 3) == 3, "%s: %s", mode, server_stderr(&s));
    crowd(&s, mode);
    cr_assert(EVENTUALLY(server_fds(&s) <= fds, 10), "%s: %d descriptors", mode,
              server_fds(&s));
    server_stop(&s);
}

Test(any_modes, same_bytes)
{
    must_apply_once();
    for (int i = 0; i < N_MODES; i++)
        if (applies(&modes[i]))
            try_mode(&modes[i]);
}

/* A peer that does not read holds what it was lent; the others must find more.
 */
static void stall_mode(const struct mode *m)
{
    enum { N = 40 };
    struct client stalled[N], c;
    struct rng r = rng_start(41);
    struct server s;

    server_launch(&s, &(struct launch){0}, m->args);
    for (int i = 0; i < N; i++)
        client_open_small(&stalled[i], &s);
    clients_stall(stalled, N, &s);
    client_open(&c, &s);
    for (int i = 0; i < 20; i++)
        cr_assert(client_ping(&c), "%s: request %d", name_of(m), i);
    cr_assert(client_round(&c, &r), "%s", name_of(m));
    client_close(&c);
    for (int i = 0; i < N; i++)
        client_close(&stalled[i]);
    cr_assert(server_answers(&s), "%s", name_of(m));
    server_stop(&s);
}

Test(any_modes, stalled_readers_starve_nobody)
{
    must_apply_once();
    for (int i = 0; i < N_MODES; i++)
        if (applies(&modes[i]))
            stall_mode(&modes[i]);
}

/* Nothing may be locked in memory: nothing is registered, and all works. */
Test(any_modes, without_locked_memory)
{
    struct launch how = {.memlock = -1, .uid = getuid() == 0 ? 65534 : 0};

    must_apply_once();
    for (int i = 0; i < N_MODES; i++) {
        struct server s;

        if (!applies(&modes[i]))
            continue;
        server_launch(&s, &how, modes[i].args);
        cr_assert(client_traffic(&s, 1) == 1, "%s: %s", name_of(&modes[i]),
                  server_stderr(&s));
        server_stop(&s);
    }
}

static void file_mode(const struct mode *m, const char *dir)
{
    const char *args[10] = {"--root", dir};
    struct client c;
    struct server s;
    struct reply a;

    for (int i = 0; m->args[i]; i++)
        args[2 + i] = m->args[i];
    server_launch(&s, &(struct launch){0}, args);
    client_open(&c, &s);
    for (int i = 0; i < 3; i++) {
        cr_assert(client_get(&c, "/files/file", &a), "%s", name_of(m));
        cr_assert(a.status == 200 && a.len == ROUND &&
                      pattern_is(a.body, a.len, 0),
                  "%s: %s", name_of(m), a.head);
        reply_free(&a);
    }
    client_close(&c);
    server_stop(&s);
}

Test(http_modes, files)
{
    char dir[TEMP_DIR], path[TEMP_PATH];
    FILE *f;

    must_apply_once();
    cr_assert(temp_dir(dir, "modes") && chmod(dir, 0755) == 0);
    snprintf(path, sizeof(path), "%s/file", dir);
    f = fopen(path, "w");
    cr_assert(f);
    for (int i = 0; i < ROUND; i++)
        fputc('a' + i % 26, f);
    fclose(f);
    for (int i = 0; i < N_MODES; i++)
        if (applies(&modes[i]))
            file_mode(&modes[i], dir);
    unlink(path);
    rmdir(dir);
}

/* What a stage's own switches do not take. */
Test(any_modes, wrong_values_are_64)
{
    static const struct mode wrong[] = {
        {3, 6, {"--taskrun", "never"}}, {3, 6, {"--taskrun"}},
        {3, 6, {"--cq", "0"}},          {3, 6, {"--cq", "many"}},
        {4, 4, {"--recv", "plain"}}, /* variants have no switch */
        {5, 5, {"--place", "rr"}},      {4, 4, {"--buffers", "3"}},
        {4, 4, {"--buffers", "0"}},     {4, 4, {"--buffers", "-8"}},
        {5, 5, {"--pool", "threads"}},  {5, 5, {"--pool", "65"}},
        {6, 6, {"--place", "two"}},     {5, 5, {"--pool", "-1"}},
        {5, 6, {"--pin", "yes"}},       {5, 5, {"--buffers", "3"}},
        {6, 6, {"--steal", "some"}},    {6, 6, {"--stuck-us", "0"}},
        {6, 6, {"--stuck-us", "1s"}},   {6, 6, {"--workers", "57"}},
    };
    int tried = 0;

    must_apply_once();
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct server s;
        int status;

        if (!applies(&wrong[i]))
            continue;
        status = server_run_argv(&s, &(struct launch){0}, wrong[i].args);
        cr_expect(status == 64, "%s: status %d", name_of(&wrong[i]), status);
        cr_expect(strstr(server_stderr(&s), wrong[i].args[0]), "%s: %s",
                  name_of(&wrong[i]), server_stderr(&s));
        close(s.out);
        close(s.err);
        tried++;
    }
    cr_assert(tried > 0);
}
