/* cancel.c - tokens of common/cancel.h beside tokens with a lock.
 *
 *   cancel [--blocks N] [--json FILE]     default: 15 blocks; FILE "-": stdout
 *
 * A token that asks its parents (atomics, no allocation) costs little to make,
 * and its check walks to the root.  A token with a lock is told by its parent:
 * it is allocated and entered into the parent's list under the parent's lock,
 * and its check is one look at its own level.  That is how contexts work that
 * tell their children; source: package context of Go.
 *
 *      atomic: child -> parent -> root         locked: root -> list of children
 *              the check walks up                      a request walks down
 *
 * For depths 1 to 16 of the parent's chain, ns: "make" is to make a child of
 * the deepest token and to end it, "check" to ask that child for its level.
 * Blocks run all cases in random order; printed are the medians.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <time.h>

#include "cancel.h"
#include "inherit.h"
#include "rows.h"

enum { ROUNDS = 2000, MAX_BLOCKS = 99, DEEPEST = 16 };

/* ---- with a lock ---- */

struct locked {
    pthread_mutex_t lock;
    struct locked *parent;
    LIST_HEAD(, locked) children;
    LIST_ENTRY(locked) link; /* in the parent's list; the parent's lock */
    enum cancel_level level;
};

static long allocated;

static struct locked *locked_new(struct locked *parent)
{
    struct locked *t = malloc(sizeof *t);

    if (!t)
        die("cancel: no memory");
    allocated++;
    pthread_mutex_init(&t->lock, NULL);
    t->parent = parent;
    LIST_INIT(&t->children);
    t->level = CANCEL_NONE;
    if (parent) {
        pthread_mutex_lock(&parent->lock);
        t->level = parent->level;
        LIST_INSERT_HEAD(&parent->children, t, link);
        pthread_mutex_unlock(&parent->lock);
    }
    return t;
}

static void locked_end(struct locked *t)
{
    if (t->parent) {
        pthread_mutex_lock(&t->parent->lock);
        LIST_REMOVE(t, link);
        pthread_mutex_unlock(&t->parent->lock);
    }
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the tokens are */
static void locked_request(struct locked *t, enum cancel_level level)
{
    struct locked *child;

    pthread_mutex_lock(&t->lock);
    if (t->level < level)
        t->level = level;
    LIST_FOREACH (child, &t->children, link)
        locked_request(child, level);
    pthread_mutex_unlock(&t->lock);
}

static enum cancel_level locked_level(struct locked *t)
{
    enum cancel_level level;

    pthread_mutex_lock(&t->lock);
    level = t->level;
    pthread_mutex_unlock(&t->lock);
    return level;
}

/* ---- the measurement ---- */

static struct cancel atoms[DEEPEST + 1]; /* [1] is the root */
static struct locked *locks[DEEPEST + 1];
static long sum; /* of all levels: 0, and the compiler cannot know it */

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void make_atomic(int depth)
{
    for (int i = 0; i < ROUNDS; i++) {
        struct cancel c;

        cancel_init(&c, &atoms[depth]);
        __asm__ volatile("" : : "r"(&c) : "memory"); /* it is used */
    }
}

static void make_locked(int depth)
{
    for (int i = 0; i < ROUNDS; i++)
        locked_end(locked_new(locks[depth]));
}

static void check_atomic(int depth)
{
    struct cancel c;

    cancel_init(&c, &atoms[depth]);
    for (int i = 0; i < ROUNDS; i++)
        sum += cancel_level(&c);
}

static void check_locked(int depth)
{
    struct locked *t = locked_new(locks[depth]);

    for (int i = 0; i < ROUNDS; i++)
        sum += locked_level(t);
    locked_end(t);
}

static const struct {
    const char *what, *how;
    void (*run)(int depth);
} programs[] = {{"make", "atomic", make_atomic},
                {"make", "locked", make_locked},
                {"check", "atomic", check_atomic},
                {"check", "locked", check_locked}};

enum { PROGRAMS = sizeof programs / sizeof *programs };

static const int depths[] = {1, 2, 4, 8, 12, 16};

enum { DEPTHS = sizeof depths / sizeof *depths, CASES = PROGRAMS * DEPTHS };

/* What both kinds promise: a request at the root reaches the deepest. */
static void must_reach(void)
{
    cancel_request(&atoms[1], CANCEL_DRAIN);
    locked_request(locks[1], CANCEL_DRAIN);
    if (cancel_level(&atoms[DEEPEST]) != CANCEL_DRAIN ||
        locked_level(locks[DEEPEST]) != CANCEL_DRAIN)
        die("cancel: a request at the root did not reach the deepest token");
}

static void measure(double ns[CASES][MAX_BLOCKS], int blocks)
{
    unsigned seed = 1;
    int order[CASES];

    for (int b = 0; b < blocks; b++) {
        random_order(order, CASES, &seed);
        for (int i = 0; i < CASES; i++) {
            int k = order[i], depth = depths[k % DEPTHS];
            int64_t start;

            programs[k / DEPTHS].run(depth); /* warm */
            start = now_ns();
            programs[k / DEPTHS].run(depth);
            ns[k][b] = (double)(now_ns() - start) / ROUNDS;
        }
    }
}

static void print(double ns[CASES][MAX_BLOCKS], int blocks, const char *json)
{
    FILE *f = json ? json_open(json) : NULL;

    if (wants_table(json))
        printf("%-6s %-7s %5s %9s %12s\n", "what", "how", "depth", "ns",
               "allocations");
    if (f)
        fprintf(f,
                "{\"format\": \"ioladder-cancel/1\", \"blocks\": %d, "
                "\"rows\": [",
                blocks);
    for (int k = 0; k < CASES; k++) {
        int p = k / DEPTHS, depth = depths[k % DEPTHS];
        double median = median_of(ns[k], blocks);
        long before = allocated, each;

        programs[p].run(depth);
        each = strcmp(programs[p].what, "make") == 0
                   ? (allocated - before) / ROUNDS
                   : 0;
        if (wants_table(json))
            printf("%-6s %-7s %5d %9.1f %12ld\n", programs[p].what,
                   programs[p].how, depth, median, each);
        if (f)
            fprintf(f,
                    "%s\n{\"what\": \"%s\", \"how\": \"%s\", \"depth\": %d, "
                    "\"ns\": %.2f, \"allocations\": %ld}",
                    k ? "," : "", programs[p].what, programs[p].how, depth,
                    median, each);
    }
    if (f) {
        fprintf(f, "\n]}\n");
        json_close(f, json);
    }
}

int main(int argc, char **argv)
{
    static double ns[CASES][MAX_BLOCKS];
    const char *json = NULL;
    int blocks = 15;

    inherit_clean();
    for (int i = 1; i < argc; i += 2) {
        if (strcmp(argv[i], "--blocks") == 0)
            blocks = (int)number(argv[i], argv[i + 1], 1, MAX_BLOCKS);
        else if (strcmp(argv[i], "--json") == 0 && argv[i + 1])
            json = argv[i + 1];
        else
            die_status(64, "usage: cancel [--blocks N] [--json FILE]");
    }
    for (int d = 1; d <= DEEPEST; d++) {
        cancel_init(&atoms[d], d > 1 ? &atoms[d - 1] : NULL);
        locks[d] = locked_new(d > 1 ? locks[d - 1] : NULL);
    }
    measure(ns, blocks);
    print(ns, blocks, json);
    must_reach();
    for (int d = DEEPEST; d >= 1; d--)
        locked_end(locks[d]);
    return sum == 0 ? 0 : 1;
}
