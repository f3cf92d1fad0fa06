/* files.c - open a file below --root, and nothing else; see files.h. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <stdbool.h>

#include "check.h"

/* O_NONBLOCK: opening a FIFO must not wait for its other end. */
enum { OPEN_FLAGS = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK };

int files_root(const char *dir)
{
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        die("--root %s: %s", dir, strerror(errno));
    return fd;
}

static const char *content_type(const char *path)
{
    static const char *const types[][2] = {
        {"css", "text/css"},         {"csv", "text/csv"},
        {"gif", "image/gif"},        {"htm", "text/html"},
        {"html", "text/html"},       {"ico", "image/x-icon"},
        {"jpeg", "image/jpeg"},      {"jpg", "image/jpeg"},
        {"js", "text/javascript"},   {"json", "application/json"},
        {"md", "text/markdown"},     {"pdf", "application/pdf"},
        {"png", "image/png"},        {"svg", "image/svg+xml"},
        {"txt", "text/plain"},       {"wasm", "application/wasm"},
        {"webp", "image/webp"},      {"xml", "application/xml"},
    };
    const char *slash = strrchr(path, '/');
    const char *dot = strrchr(slash ? slash : path, '.');

    for (size_t i = 0; dot && i < sizeof types / sizeof types[0]; i++)
        if (strcasecmp(dot + 1, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

/* Neither an absolute path nor one with a ".." in it, even if it stays inside:
 * the answer must not depend on which of the two ways below is taken. */
static bool plain_path(const char *path)
{
    if (*path == '/')
        return false;
    for (;;) {
        size_t n = strcspn(path, "/");

        if (n == 2 && path[0] == '.' && path[1] == '.')
            return false;
        if (path[n] == '\0')
            return true;
        path += n + 1;
    }
}

/* Opens component by component, so that no symbolic link is ever followed: what
 * openat2() does at once where it is there and allowed. */
static int open_walking(int root, const char *path)
{
    char name[256]; /* NAME_MAX and its NUL */
    int dir = root, fd;

    for (;;) {
        size_t n = strcspn(path, "/");
        bool last = path[n] == '\0';

        if (n == 0 && !last) { /* "a//b" is "a/b" */
            path++;
            continue;
        }
        if (n >= sizeof name) {
            fd = -1;
            errno = ENAMETOOLONG;
        } else {
            memcpy(name, path, n);
            name[n] = '\0';
            fd = openat(dir, name, O_NOFOLLOW | (last ? OPEN_FLAGS
                        : O_PATH | O_DIRECTORY | O_CLOEXEC));
        }
        if (dir != root) {
            int err = errno;

            close(dir);
            errno = err;
        }
        if (fd < 0 || last)
            return fd;
        dir = fd;
        path += n + 1;
    }
}

static int open_below(int root, const char *path)
{
    struct open_how how = {
        .flags = OPEN_FLAGS,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
                   RESOLVE_NO_MAGICLINKS,
    };
    int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);

    /* Before Linux 5.6 the call is not there (ENOSYS); filters that do not
     * know it say EPERM, which no file of ours is a reason for. */
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = open_walking(root, path);
    return fd;
}

/* Only what a retry may cure is told apart: everything else is "not here",
 * so that an answer gives nothing away about what is outside or forbidden. */
static int reason(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOMEM || err == EIO
               ? -err : -ENOENT;
}

int files_open(int root, const char *path, struct file_info *info)
{
    struct stat st;
    int fd;

    if (!plain_path(path))
        return -ENOENT;
    fd = open_below(root, path);
    if (fd < 0)
        return reason(errno);
    /* O_NONBLOCK has done its work.  Left on, it would make io_uring give up
     * with EAGAIN on file systems that cannot read without blocking. */
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        fcntl(fd, F_SETFL, 0) < 0) {
        close(fd);
        return -ENOENT;
    }
    *info = (struct file_info){.size = (uint64_t)st.st_size,
                               .mtime = st.st_mtime,
                               .type = content_type(path)};
    return fd;
}
