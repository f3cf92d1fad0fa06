/* test_elastic.c - --workers MIN:MAX: the number of workers changes (stage 6).
 *
 * Where a test needs a certain number it asks for the rule `load`, which counts
 * tasks: whether a task was late depends on what else the machine does.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

TestSuite(any_elastic, .timeout = 300);
TestSuite(http_elastic, .timeout = 300);

#define GET(target) "GET " target " HTTP/1.1\r\nHost: test\r\n\r\n"

enum { FEW = 1, MANY = 4, CROWD = 32 };

static void must_be_elastic(void)
{
    if (server_stage() != 6 || server_is("6-notify-ring"))
        cr_skip("the number of workers is fixed");
}

/* ==== usage =============================================================== */

static const struct launch usual;

static void must_refuse(const char *workers, const char *more, const char *with,
                        const char *why)
{
    struct server s;
    int status = server_run(&s, &usual, "--port", "0", "--workers", workers,
                            more, with, NULL);

    cr_expect(status == 64, "%s: status %d", workers, status);
    cr_expect(strstr(server_stderr(&s), why), "%s: %s", workers,
              server_stderr(&s));
}

Test(any_elastic, wrong_usage_is_64)
{
    if (server_stage() == 0 || server_is("6-notify-ring"))
        cr_skip("not a stage, or one that refuses more");
    must_refuse("3:1", NULL, NULL, "MIN 3 is more than MAX 1");
    must_refuse("0:2", NULL, NULL, "0 is not a number from 1");
    must_refuse("1:", NULL, NULL, "1: is not MIN:MAX");
    must_refuse(":2", NULL, NULL, ":2 is not MIN:MAX");
    must_refuse("1:x", NULL, NULL, "x is not a number from 1");
    if (server_stage() != 6) {
        must_refuse("1:2", NULL, NULL, "--workers");
        return;
    }
    must_refuse("1:57", NULL, NULL, "at most 56");
    must_refuse("1:2", "--steal", "queue", "needs --steal all");
    must_refuse("1:2", "--place", "rr", "--place hash or one");
    must_refuse("1:2", "--elastic", "up", "is not one of: wait, load");
    must_refuse("1:2", "--elastic-ms", "0", "is not a number from 1");
}

/* ==== more and fewer ====================================================== */

/* `asks` is a connection that is open already: no other is opened. */
static bool runs(struct client *asks, long workers)
{
    return client_sample(asks, "active", -1) == workers;
}

/* All of them say something, and hear the answer. */
static void speak(struct client c[], int n)
{
    for (int i = 0; i < n; i++)
        cr_assert(client_text(&c[i], GET("/")));
    for (int i = 0; i < n; i++)
        client_must_be_ok(&c[i], i);
}

static void must_shrink(struct client *c)
{
    cr_assert(EVENTUALLY(runs(c, FEW), 30), "it never shrank");
}

/* By the rule `load`: many tasks until all run. */
static void must_grow(struct client c[], int n)
{
    double since = now();

    must_shrink(&c[0]); /* from the start, at which all run */
    while (!runs(&c[0], MANY)) {
        cr_assert(in_time(since, 30), "it never grew");
        for (int i = 0; i < 20; i++)
            speak(c, n);
    }
}

/* Tasks with a number of context switches of their own: `n` of them. */
static int switches(const struct server *s, long found[], int n)
{
    char path[300], line[200];
    struct dirent *d;
    int tasks = 0;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/task", s->pid);
    dir = opendir(path);
    cr_assert(dir);
    while ((d = readdir(dir)) != NULL && tasks < n) {
        FILE *f;

        if (d->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", s->pid,
                 d->d_name);
        f = fopen(path, "r");
        cr_assert(f);
        found[tasks] = 0;
        while (fgets(line, sizeof line, f)) {
            const char *at = strstr(line, "voluntary_ctxt_switches:");

            if (at)
                found[tasks] += atol(strchr(at, ':') + 1);
        }
        fclose(f);
        tasks++;
    }
    closedir(dir);
    return tasks;
}

/* How many threads have not run while worker 0 served. */
static int still_ones(const struct server *s, struct client c[], int *n)
{
    enum { TASKS = 16 };
    long before[TASKS], after[TASKS];
    int still = 0;

    *n = switches(s, before, TASKS);
    for (int i = 0; i < 10; i++) {
        pause_s(0.1);
        speak(c, 4);
    }
    cr_assert(switches(s, after, TASKS) == *n && *n >= MANY + 1);
    for (int i = 0; i < *n; i++)
        still += after[i] == before[i];
    return still;
}

/* While worker 0 serves, the others do not wake up once: main, the sentinel and
 * they have as many context switches as before.  On a busy machine one of them
 * may not have come to rest yet: then another try. */
Test(http_elastic, a_resting_worker_does_not_wake_up)
{
    struct client c[CROWD];
    struct server s;
    int n = 0, still = 0, tries = 0;

    must_be_elastic();
    server_start(&s, "--workers", "1:4", "--elastic", "load", NULL);
    clients_open(c, CROWD, &s);
    must_shrink(&c[0]);
    pause_s(0.1);
    do {
        still = still_ones(&s, c, &n);
    } while (still < n - 1 - sanitizer_threads() && ++tries < 5);
    cr_assert(still >= n - 1 - sanitizer_threads(), "%d of %d are still", still,
              n);
    cr_assert(runs(&c[0], FEW));
    clients_close(c, CROWD);
    server_stop(&s);
}

/* Four workers, of which three rest again; all of them have some of `late`. */
static void start_and_rest(struct server *s, struct client *crowd,
                           struct client *late, const char *name,
                           const char *value)
{
    must_be_elastic();
    server_start(s, "--workers", "1:4", "--elastic", "load", "--elastic-ms",
                 "50", name, value, NULL);
    clients_open(crowd, CROWD, s);
    must_grow(crowd, CROWD);
    clients_open(late, CROWD, s);
    speak(late, CROWD);
    must_shrink(&crowd[0]);
}

/* Connections of workers that rest, and what their keeper does for them: what
 * they say is heard, late ones are closed, and a drain ends them. */
Test(http_elastic, a_keeper_looks_after_the_connections)
{
    struct client crowd[CROWD], late[CROWD];
    struct server s;

    start_and_rest(&s, crowd, late, "--idle-timeout", "3");
    speak(late, CROWD);
    cr_assert(client_sample(&crowd[0], "adopted", -1) > 0);
    cr_assert(client_sample(&crowd[0], "grows", -1) >= MANY - FEW);
    cr_assert(client_sample(&crowd[0], "shrinks", -1) >= MANY - FEW);
    for (int i = 1; i < CROWD; i++)
        client_close(&crowd[i]);
    must_shrink(&crowd[0]); /* their ends were tasks, too */
    cr_assert(EVENTUALLY(client_sample(&crowd[0], "timeouts", -1) >= CROWD, 30),
              "%ld of %d were closed", client_sample(&crowd[0], "timeouts", -1),
              CROWD);
    for (int i = 0; i < CROWD; i++)
        cr_assert(client_gone(&late[i]), "connection %d", i);
    clients_close(late, CROWD);
    client_close(&crowd[0]);
    server_stop(&s);
}

/* The end comes while three rest and have connections, one of them with a
 * request in flight. */
Test(http_elastic, a_drain_calls_all)
{
    struct client crowd[CROWD], late[CROWD];
    struct server s;

    start_and_rest(&s, crowd, late, "--drain-timeout", "60");
    for (int i = 0; i < CROWD; i += 8)
        cr_assert(client_text(&late[i], GET("/sleep/300000")));
    for (int i = 0; i < CROWD; i += 8)
        cr_assert(client_is_heard(&late[i]));
    server_signal(&s, SIGTERM);
    for (int i = 0; i < CROWD; i++) {
        if (i % 8 == 0)
            client_must_be_ok(&late[i], i);
        cr_assert(client_gone(&late[i]), "connection %d", i);
    }
    cr_assert(server_wait(&s, scaled(20)) == 0, "%s", server_stderr(&s));
    clients_close(late, CROWD);
    clients_close(crowd, CROWD);
}

/* ==== changes all the time ================================================ */

/* Handlers that block bring more workers, and quiet ones fewer; meanwhile
 * connections come, ask for large and small things, and go.  Every byte is
 * checked. */
static void surge(const struct server *s, struct client c[], struct rng *r)
{
    enum { BLOCKED = 12 };
    struct client fresh[4];

    for (int i = 0; i < BLOCKED; i++)
        cr_assert(client_text(&c[i], GET("/sleep/2000")));
    clients_open(fresh, 4, s);
    for (int i = 0; i < 4; i++)
        cr_assert(client_round(&fresh[i], r), "a new connection");
    clients_close(fresh, 4);
    for (int i = BLOCKED; i < CROWD; i++)
        cr_assert(client_ping(&c[i]), "connection %d", i);
    for (int i = 0; i < BLOCKED; i++)
        client_must_be_ok(&c[i], i);
}

/* With a sample each millisecond the rule `load` changes the number with nearly
 * each request. */
static void must_lose_nothing(const char *rule)
{
    enum { CHANGES = 12 };
    struct client c[CROWD];
    struct rng r = rng_start(6);
    struct server s;
    double since = now();
    long changes = 0;

    server_start(&s, "--workers", "1:4", "--elastic", rule, "--elastic-ms", "1",
                 NULL);
    clients_open(c, CROWD, &s);
    while (now() - since < 1 || changes < CHANGES) {
        cr_assert(in_time(since, 60), "%s: %ld changes", rule, changes);
        surge(&s, c, &r);
        for (int i = 0; i < 60 && !runs(&c[i % CROWD], FEW); i++)
            pause_s(0.002);
        changes = client_sample(&c[0], "grows", -1);
    }
    clients_close(c, CROWD);
    server_stop(&s);
}

Test(http_elastic, nothing_is_lost_while_the_number_changes)
{
    must_be_elastic();
    must_lose_nothing("wait");
    must_lose_nothing("load");
}
