/* test_files.c - files below --root, and nothing else. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "tests/temp.h"

TestSuite(http_files, .timeout = 300);

enum { BIG = 5 << 20 };

/* A directory of its own for each test:
 *   top/secret.txt  top/root/{hello.txt,empty,page.html,"a b.txt",big,...} */
struct tree {
    char top[TEMP_DIR], root[TEMP_PATH];
};

static void put(const struct tree *t, const char *name, const void *p, size_t n)
{
    char path[TEMP_PATH];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", t->top, name);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    cr_assert(fd >= 0 && write(fd, p, n) == (ssize_t)n, "%s", path);
    close(fd);
}

static const char *in_tree(const struct tree *t, const char *name)
{
    static char path[2][TEMP_PATH];
    static int turn;

    turn = !turn;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", t->top, name);
    return path[turn];
}

/* Not by bind(), whose names have at most 107 bytes: TMPDIR may be longer. */
static void put_socket(const struct tree *t, const char *name)
{
    cr_assert(mknod(in_tree(t, name), S_IFSOCK | 0755, 0) == 0);
}

static void tree_make(struct tree *t)
{
    char *big = malloc(BIG);

    cr_assert(temp_dir(t->top, "files"));
    cr_assert(chmod(t->top, 0755) == 0);
    snprintf(t->root, sizeof(t->root), "%s/root", t->top);
    cr_assert(mkdir(t->root, 0755) == 0);
    cr_assert(mkdir(in_tree(t, "root/sub"), 0755) == 0);
    put(t, "secret.txt", "SECRET", 6);
    put(t, "root/hello.txt", "Hello, file!\n", 13);
    put(t, "root/empty", "", 0);
    put(t, "root/page.html", "<p>hi</p>\n", 10);
    put(t, "root/a b.txt", "blank", 5);
    put(t, "root/100%.txt", "percent", 7);
    put(t, "root/sub/deep.txt", "deep", 4);
    for (int i = 0; i < BIG; i++)
        big[i] = (char)('a' + i % 26);
    put(t, "root/big", big, BIG);
    free(big);
    cr_assert(symlink("../secret.txt", in_tree(t, "root/link")) == 0);
    cr_assert(symlink(in_tree(t, "secret.txt"), in_tree(t, "root/abs")) == 0);
    cr_assert(symlink("hello.txt", in_tree(t, "root/inner")) == 0);
    cr_assert(symlink("..", in_tree(t, "root/up")) == 0);
    cr_assert(symlink("/", in_tree(t, "root/slash")) == 0);
    cr_assert(symlink("loop", in_tree(t, "root/loop")) == 0);
    cr_assert(mkfifo(in_tree(t, "root/fifo"), 0666) == 0);
    put_socket(t, "root/socket");
}

static void tree_remove(const struct tree *t)
{
    static const char *const names[] = {
        "root/hello.txt", "root/empty",  "root/page.html",    "root/a b.txt",
        "root/100%.txt",  "root/big",    "root/link",         "root/inner",
        "root/abs",       "root/up",     "root/slash",        "root/loop",
        "root/fifo",      "root/socket", "root/sub/deep.txt", "secret.txt",
        "root/huge",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(in_tree(t, names[i]));
    rmdir(in_tree(t, "root/sub"));
    rmdir(t->root);
    cr_assert(rmdir(t->top) == 0, "%s: %s", t->top, strerror(errno));
}

static const struct {
    const char *target, *body, *type;
} served[] = {
    {"/files/hello.txt", "Hello, file!\n", "text/plain"},
    {"/files/empty", "", NULL},
    {"/files/page.html", "<p>hi</p>\n", "text/html"},
    {"/files/a%20b.txt", "blank", "text/plain"},
    {"/files/100%25.txt", "percent", NULL},
    {"/files/sub/deep.txt", "deep", NULL},
    {"/files/sub%2Fdeep.txt", "deep", NULL},
    {"/files/%68ello.txt?q=1", "Hello, file!\n", NULL},
    {"http://test/files/hello.txt", "Hello, file!\n", NULL},
};

Test(http_files, served)
{
    struct tree t;
    struct client c;
    struct server s;
    struct reply a;
    int fds;

    tree_make(&t);
    server_start(&s, "--root", t.root, NULL);
    fds = server_fds(&s);
    client_open(&c, &s);
    for (size_t i = 0; i < sizeof(served) / sizeof(served[0]); i++) {
        const char *type;

        cr_assert(client_get(&c, served[i].target, &a), "%s", served[i].target);
        cr_expect(a.status == 200 && a.length == (int64_t)a.len &&
                      a.len == strlen(served[i].body) &&
                      memcmp(a.body, served[i].body, a.len) == 0,
                  "%s: %s%s", served[i].target, a.head, a.body);
        type = reply_field(&a, "Content-Type");
        cr_expect(type &&
                      (!served[i].type || strncmp(type, served[i].type,
                                                  strlen(served[i].type)) == 0),
                  "%s: %s", served[i].target, a.head);
        reply_free(&a);
    }
    cr_assert(client_ping(&c));
    client_close(&c);
    cr_assert(EVENTUALLY(server_fds(&s) <= fds, 5), "a file stays open");
    server_stop(&s);
    tree_remove(&t);
}

Test(http_files, last_modified_and_head)
{
    struct timespec when[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    struct tree t;
    struct client c;
    struct server s;
    struct reply a;
    const char *text;

    tree_make(&t);
    cr_assert(utimensat(AT_FDCWD, in_tree(&t, "root/big"), when, 0) == 0);
    server_start(&s, "--root", t.root, NULL);
    client_open(&c, &s);
    client_text(&c, "HEAD /files/big HTTP/1.1\r\nHost: a\r\n\r\n");
    cr_assert(client_head(&c, &a) && a.status == 200 && a.length == BIG, "%s",
              a.head);
    text = reply_field(&a, "Last-Modified");
    cr_assert(text && strcmp(text, "Sun, 09 Sep 2001 01:46:40 GMT") == 0, "%s",
              a.head);
    cr_assert(client_ping(&c), "HEAD had a body");
    client_close(&c);
    server_stop(&s);
    tree_remove(&t);
}

Test(http_files, large_and_pipelined)
{
    struct tree t;
    struct client c;
    struct server s;
    struct reply a;

    tree_make(&t);
    server_start(&s, "--root", t.root, NULL);
    client_open(&c, &s);
    for (int i = 0; i < 3; i++)
        client_text(&c, "GET /files/big HTTP/1.1\r\nHost: a\r\n\r\n"
                        "GET /files/hello.txt HTTP/1.1\r\nHost: a\r\n\r\n"
                        "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    client_fin(&c);
    for (int i = 0; i < 3; i++) {
        cr_assert(client_head(&c, &a) && a.length == BIG, "%s", a.head);
        cr_assert(client_pattern(&c, 0, BIG) == BIG);
        cr_assert(client_reply(&c, &a) && a.len == 13);
        reply_free(&a);
        cr_assert(client_reply(&c, &a) && a.status == 404);
        reply_free(&a);
    }
    cr_assert(client_ends_silently(&c));
    client_close(&c);
    server_stop(&s);
    tree_remove(&t);
}

Test(http_files, many_readers_at_once)
{
    enum { N = 40 };
    struct client c[N];
    struct tree t;
    struct server s;
    struct reply a;

    tree_make(&t);
    server_start(&s, "--root", t.root, NULL);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &s);
        client_text(&c[i], "GET /files/big HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for (int i = N - 1; i >= 0; i--) {
        cr_assert(client_head(&c[i], &a) && a.length == BIG);
        cr_assert(client_pattern(&c[i], 0, BIG) == BIG, "reader %d", i);
        client_close(&c[i]);
    }
    server_stop(&s);
    tree_remove(&t);
}

/* ==== what is not served ================================================== */

static const char *const hidden[] = {
    "/files/",
    "/files",
    "/files/.",
    "/files/..",
    "/files/sub",
    "/files/sub/",
    "/files/nothing",
    "/files/hello.txt/",
    "/files/hello.txt/x",
    "/files/../secret.txt",
    "/files/sub/../../secret.txt",
    "/files/%2e%2e/secret.txt",
    "/files/%2E%2E%2Fsecret.txt",
    "/files/..%2fsecret.txt",
    "/files/.%2e/secret.txt",
    "/files/%252e%252e/secret.txt",
    "/files/sub/..%2f..%2fsecret.txt",
    "/files//etc/passwd",
    "/files/%2fetc%2fpasswd",
    "/files/%2Fetc/passwd",
    "/files/..\\secret.txt",
    "/files/%5c..%5csecret.txt",
    "/files/link",
    "/files/inner",
    "/files/abs",
    "/files/up/secret.txt",
    "/files/loop",
    "/files/slash/etc/passwd",
    "/files/up/root/up/secret.txt",
    "/files/fifo",
    "/files/socket",
    "/files/hello.txt%00",
    "/files/%00",
    "/files/hello.txt%00.html",
    "/files/../../../../../../../../etc/passwd",
    "/files/%c0%ae%c0%ae/secret.txt",
    "/files/....//secret.txt",
    "/files/./../secret.txt",
    "/filesx/hello.txt",
    "/../secret.txt",
    "/files/sub/%2e%2e/%2e%2e/secret.txt",
    "//files/../secret.txt",
    "http://test/files/../secret.txt",
    "/files/proc/self/root/etc/passwd",
};

/* 404, or 400 where the target itself is bad; never a byte of what lies
 * outside, never a wait for the other end of a FIFO. */
static void must_be_hidden(const struct tree *t, const struct launch *how)
{
    char absolute[TEMP_PATH];
    struct server s;
    int fds;

    snprintf(absolute, sizeof(absolute), "/files/%s/secret.txt", t->top);
    server_start_as(&s, how, "--root", t->root, NULL);
    fds = server_fds(&s);
    for (size_t i = 0; i <= sizeof(hidden) / sizeof(hidden[0]); i++) {
        const char *target =
            i < sizeof(hidden) / sizeof(hidden[0]) ? hidden[i] : absolute;
        struct client c;
        struct reply a;

        client_open(&c, &s);
        cr_assert(client_get(&c, target, &a), "%s: no answer", target);
        cr_expect(a.status == 404 || a.status == 400, "%s: %d", target,
                  a.status);
        cr_expect(!strstr(a.body, "SECRET") && !strstr(a.body, "root:"),
                  "%s: %s", target, a.body);
        reply_free(&a);
        client_close(&c);
    }
    cr_assert(server_answers(&s));
    cr_assert(EVENTUALLY(server_fds(&s) <= fds, 5), "a file stays open");
    server_stop(&s);
}

Test(http_files, nothing_outside_the_root)
{
    struct tree t;

    tree_make(&t);
    must_be_hidden(&t, &(struct launch){0});
    tree_remove(&t);
}

/* Where openat2 is missing or forbidden, a walk by components takes its place;
 * it has to know all the same tricks. */
static void without_openat2(const char *plan)
{
    struct launch how = {.binary = fault_path(), .fault = plan};
    struct tree t;
    struct client c;
    struct server s;
    struct reply a;
    unsigned hit, seen;

    tree_make(&t);
    must_be_hidden(&t, &how);
    server_start_as(&s, &how, "--root", t.root, NULL);
    client_open(&c, &s);
    for (size_t i = 0; i < sizeof(served) / sizeof(served[0]); i++) {
        cr_assert(client_get(&c, served[i].target, &a));
        cr_expect(a.status == 200 && strcmp(a.body, served[i].body) == 0,
                  "%s: %s%s", served[i].target, a.head, a.body);
        reply_free(&a);
    }
    client_close(&c);
    server_stop_faulty(&s, &hit, &seen);
    cr_assert(hit > 0 && hit == seen, "%u of %u were refused", hit, seen);
    tree_remove(&t);
}

Test(http_files, the_same_where_openat2_is_unknown)
{
    without_openat2("openat2:ENOSYS");
}

Test(http_files, the_same_where_openat2_is_forbidden)
{
    without_openat2("openat2:EPERM");
}

/* A file that the server's user may not read is not there. */
Test(http_files, unreadable)
{
    struct launch how = {.uid = getuid() == 0 ? 65534 : 0};
    struct tree t;
    struct client c;
    struct server s;
    struct reply a;

    tree_make(&t);
    cr_assert(chmod(in_tree(&t, "root/page.html"), 0) == 0);
    server_start_as(&s, &how, "--root", t.root, NULL);
    client_open(&c, &s);
    cr_assert(client_get(&c, "/files/page.html", &a));
    cr_expect(a.status == 404 || a.status == 403, "%s", a.head);
    reply_free(&a);
    cr_assert(client_get(&c, "/files/hello.txt", &a) && a.status == 200);
    reply_free(&a);
    client_close(&c);
    server_stop(&s);
    tree_remove(&t);
}

/* ==== files that change =================================================== */

enum { HUGE_SIZE = 64 << 20 };

/* The length was promised: a file that shrinks ends the connection, and what
 * was sent is shorter than promised.  Others do not notice. */
Test(http_files, shrinks_while_it_is_sent)
{
    struct tree t;
    struct client c;
    struct server s;
    struct reply a;
    char piece[4096];
    uint64_t got = 0;
    int fds;

    tree_make(&t);
    put(&t, "root/huge", "", 0);
    cr_assert(truncate(in_tree(&t, "root/huge"), HUGE_SIZE) == 0);
    server_start(&s, "--root", t.root, NULL);
    fds = server_fds(&s);
    client_open_small(&c, &s);
    client_text(&c, "GET /files/huge HTTP/1.1\r\nHost: a\r\n\r\n"
                    "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    cr_assert(client_head(&c, &a) && a.length == HUGE_SIZE, "%s", a.head);
    cr_assert(client_read_all(&c, piece, sizeof(piece)));
    cr_assert(truncate(in_tree(&t, "root/huge"), 1000) == 0);
    cr_assert(server_answers(&s));
    for (size_t n; (n = client_read(&c, piece, sizeof(piece))) > 0; got += n)
        cr_assert(piece[0] == '\0', "something else was sent in its place");
    cr_assert(c.eof || c.err == ECONNRESET, "%s", strerror(c.err));
    cr_assert(got < HUGE_SIZE - sizeof(piece), "it did not shrink in time");
    client_close(&c);
    cr_assert(EVENTUALLY(server_fds(&s) <= fds, 5), "the file stays open");
    server_stop(&s);
    tree_remove(&t);
}

/* One that grows is cut at the length that was promised. */
Test(http_files, grows_while_it_is_sent)
{
    struct tree t;
    struct client c;
    struct server s;
    struct reply a;

    tree_make(&t);
    server_start(&s, "--root", t.root, NULL);
    client_open_small(&c, &s);
    client_text(&c, "GET /files/big HTTP/1.1\r\nHost: a\r\n\r\n");
    cr_assert(client_head(&c, &a) && a.length == BIG);
    cr_assert(truncate(in_tree(&t, "root/big"), BIG + 100000) == 0);
    cr_assert(client_pattern(&c, 0, BIG) == BIG);
    cr_assert(client_ping(&c), "more was sent than promised");
    client_close(&c);
    server_stop(&s);
    tree_remove(&t);
}

/* The peer leaves in the middle: the file is closed. */
Test(http_files, reader_leaves)
{
    struct tree t;
    struct server s;
    int fds;

    tree_make(&t);
    put(&t, "root/huge", "", 0);
    cr_assert(truncate(in_tree(&t, "root/huge"), HUGE_SIZE) == 0);
    server_start(&s, "--root", t.root, NULL);
    fds = server_fds(&s);
    for (int i = 0; i < 30; i++) {
        struct client c;
        char byte;

        client_open_small(&c, &s);
        client_text(&c, "GET /files/huge HTTP/1.1\r\nHost: a\r\n\r\n");
        cr_assert(client_read(&c, &byte, 1) == 1);
        if (i % 2)
            client_reset(&c);
        else
            client_close(&c);
    }
    cr_assert(EVENTUALLY(server_fds(&s) <= fds, 10), "%d descriptors, not %d",
              server_fds(&s), fds);
    cr_assert(server_answers(&s));
    server_stop(&s);
    tree_remove(&t);
}
