/* test_files.c - opening below the root, with openat2 and without it.
 *
 * Every case runs twice: as the kernel is, and with a filter that refuses
 * openat2() the way old kernels and container filters do.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files.h"
#include "temp.h"

static char top[TEMP_DIR];
static int root = -1;

static const char *at(const char *name)
{
    static char path[2][TEMP_PATH];
    static int turn;

    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", top, name);
    return path[turn];
}

static void make(const char *name, size_t size)
{
    int fd = open(at(name), O_CREAT | O_WRONLY, 0644);

    cr_assert_geq(fd, 0, "%s", name);
    cr_assert_eq(ftruncate(fd, (off_t)size), 0);
    close(fd);
}

/* top/secret.txt is outside, top/root/... is inside. */
static void make_tree(void)
{
    cr_assert(temp_dir(top, "files"));
    cr_assert_eq(mkdir(at("root"), 0755), 0);
    cr_assert_eq(mkdir(at("root/dir"), 0755), 0);
    cr_assert_eq(mkdir(at("root/dir/deep"), 0755), 0);
    make("secret.txt", 5);
    make("root/page.html", 1234);
    make("root/empty", 0);
    make("root/dir/in.txt", 7);
    make("root/dir/deep/x.y.JSON", 3);
    make("root/..name", 2);
    make("root/...", 4);
    cr_assert_eq(symlink("page.html", at("root/to-file")), 0);
    cr_assert_eq(symlink("../secret.txt", at("root/out")), 0);
    cr_assert_eq(symlink("..", at("root/up")), 0);
    cr_assert_eq(symlink("dir", at("root/to-dir")), 0);
    cr_assert_eq(symlink("/etc", at("root/etc")), 0);
    cr_assert_eq(mkfifo(at("root/pipe"), 0644), 0);
    /* Not by bind(): its names have at most 107 bytes, and TMPDIR more. */
    cr_assert_eq(mknod(at("root/socket"), S_IFSOCK | 0755, 0), 0);
    root = files_root(at("root"));
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_tree(void)
{
    nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(files, .init = make_tree, .fini = remove_tree);

/* From here on this process gets `err` from openat2(). */
static void refuse_openat2(int err)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = 4, .filter = code};
    struct open_how how = {.flags = O_RDONLY};

    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
    cr_assert_eq(syscall(SYS_openat2, root, "page.html", &how, sizeof how), -1);
    cr_assert_eq(errno, err, "the filter works");
}

static void served(const char *path, uint64_t size, const char *type)
{
    struct file_info info = {.size = 99999};
    struct stat st;
    int fd = files_open(root, path, &info);

    cr_assert_geq(fd, 0, "%s: %s", path, strerror(-fd));
    cr_assert_eq(info.size, size, "%s", path);
    cr_assert_str_eq(info.type, type);
    cr_assert_eq(fstat(fd, &st), 0);
    cr_assert_eq(info.mtime, st.st_mtime);
    cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    cr_assert_eq(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_RDONLY,
                 "reads may wait for the disk");
    close(fd);
}

static void all_that_is_served(void)
{
    served("page.html", 1234, "text/html");
    served("empty", 0, "application/octet-stream");
    served("dir/in.txt", 7, "text/plain");
    served("dir//in.txt", 7, "text/plain");
    served("./dir/./in.txt", 7, "text/plain");
    served("dir/deep/x.y.JSON", 3, "application/json");
    served("..name", 2, "application/octet-stream");
    served("...", 4, "application/octet-stream");
}

static void all_that_is_not(void)
{
    static const char *const paths[] = {
        "",
        ".",
        "/",
        "nothing",
        "dir",
        "dir/",
        "dir/deep",
        "page.html/",
        "page.html/x",
        "nothing/x",
        "..",
        "../",
        "../secret.txt",
        "../root/page.html",
        "dir/../page.html",
        "dir/../../secret.txt",
        "dir/deep/../in.txt",
        "dir/..",
        "/etc/passwd",
        "//etc/passwd",
        "/page.html",
        "to-file",
        "out",
        "up/secret.txt",
        "up",
        "to-dir/in.txt",
        "etc/passwd",
        "pipe",
        "socket",
        "./../secret.txt",
        "dir/deep/",
    };
    char name[5000];
    struct file_info info;

    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        cr_assert_eq(files_open(root, paths[i], &info), -ENOENT, "%s",
                     paths[i]);
    memset(name, 'n', sizeof name);
    name[300] = '\0';
    cr_assert_eq(files_open(root, name, &info), -ENOENT);
    name[300] = 'n';
    name[sizeof name - 1] = '\0';
    cr_assert_eq(files_open(root, name, &info), -ENOENT);
}

static int open_now(void)
{
    int n = 0;

    for (int fd = 0; fd < 200; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void both(void)
{
    int before = open_now();

    all_that_is_served();
    all_that_is_not();
    cr_assert_eq(open_now(), before, "descriptors are left open");
}

Test(files, below_the_root)
{
    both();
}

Test(files, below_the_root_without_openat2)
{
    refuse_openat2(ENOSYS);
    both();
}

Test(files, below_the_root_with_openat2_filtered)
{
    refuse_openat2(EPERM);
    both();
}

static void out_of_descriptors(void)
{
    struct rlimit old, none;
    struct file_info info;

    getrlimit(RLIMIT_NOFILE, &old);
    none = (struct rlimit){0, old.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    cr_assert_eq(files_open(root, "page.html", &info), -EMFILE);
    cr_assert_eq(files_open(root, "dir/in.txt", &info), -EMFILE);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    served("page.html", 1234, "text/html");
}

Test(files, no_descriptor_is_told_apart)
{
    out_of_descriptors();
    refuse_openat2(ENOSYS);
    out_of_descriptors();
}

Test(files, a_fifo_is_not_waited_for, .timeout = 60)
{
    struct file_info info;

    cr_assert_eq(files_open(root, "pipe", &info), -ENOENT);
    refuse_openat2(ENOSYS);
    cr_assert_eq(files_open(root, "pipe", &info), -ENOENT);
}

Test(files, root_moves_with_its_directory)
{
    cr_assert_eq(rename(at("root"), at("moved")), 0);
    served("page.html", 1234, "text/html");
}

static void typed(const char *name, const char *type)
{
    char path[100];

    snprintf(path, sizeof path, "root/%s", name);
    make(path, 1);
    served(name, 1, type);
}

Test(files, types)
{
    typed("a.htm", "text/html");
    typed("a.css", "text/css");
    typed("a.csv", "text/csv");
    typed("a.js", "text/javascript");
    typed("a.json", "application/json");
    typed("a.xml", "application/xml");
    typed("a.svg", "image/svg+xml");
    typed("a.png", "image/png");
    typed("a.gif", "image/gif");
    typed("a.jpg", "image/jpeg");
    typed("a.jpeg", "image/jpeg");
    typed("a.webp", "image/webp");
    typed("a.ico", "image/x-icon");
    typed("a.pdf", "application/pdf");
    typed("a.wasm", "application/wasm");
    typed("a.md", "text/markdown");
    typed("A.PNG", "image/png");
    typed("a.tar.txt", "text/plain");
    typed("a.unheard-of", "application/octet-stream");
    typed("a.", "application/octet-stream");
    typed("txt", "application/octet-stream");
    typed("dir/html", "application/octet-stream");
    cr_assert_eq(mkdir(at("root/d.html"), 0755), 0);
    typed("d.html/plain", "application/octet-stream");
}

/* These leave the process, so they make nothing that has to be removed. */

Test(files_root, that_is_a_file, .exit_code = 1)
{
    files_root("/etc/passwd");
}

Test(files_root, that_is_missing, .exit_code = 1)
{
    files_root("/nothing/of/that/name");
}
