/* files.c - open a file below --root, and nothing else; see files.h. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

/* O_NONBLOCK: opening a FIFO must not wait for its other end. */
enum {
    FILE_FLAGS = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
    DIR_FLAGS = O_PATH | O_DIRECTORY | O_CLOEXEC,
};

int files_root(const char *dir)
{
    int fd = open(dir, DIR_FLAGS);

    if (fd < 0)
        die("--root %s: %s", dir, strerror(errno));
    return fd;
}

static const char *content_type(const char *path)
{
    /* clang-format off */
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
    /* clang-format on */
    const char *dot = strrchr(path, '.');

    for (size_t i = 0; dot && i < sizeof types / sizeof types[0]; i++)
        if (strcasecmp(dot + 1, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

/* No absolute path, and none with a ".." in it even if it stays inside: the
 * answer must not depend on which of the two ways below is taken. */
static bool plain_path(const char *path)
{
    size_t n;

    if (*path == '/')
        return false;
    for (;; path += n + 1) {
        n = strcspn(path, "/");
        if (n > NAME_MAX || (n == 2 && memcmp(path, "..", 2) == 0))
            return false;
        if (path[n] == '\0')
            return true;
    }
}

/* Opens component by component and follows no symbolic link.  It stands in for
 * openat2() where that call is missing or forbidden. */
static int open_walking(int root, const char *path)
{
    int dir = root, fd, err;
    bool last;

    do {
        char name[NAME_MAX + 1];
        size_t n;

        path += strspn(path, "/");
        n = strcspn(path, "/");
        last = path[n] == '\0';
        memcpy(name, path, n);
        name[n] = '\0';
        fd = openat(dir, name, O_NOFOLLOW | (last ? FILE_FLAGS : DIR_FLAGS));
        err = errno;
        if (dir != root)
            close(dir);
        dir = fd;
        path += n;
    } while (fd >= 0 && !last);
    errno = err;
    return fd;
}

static int open_below(int root, const char *path)
{
    struct open_how how = {
        .flags = FILE_FLAGS,
        .resolve =
            RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);

    /* Before Linux 5.6 the call is not there (ENOSYS); filters that do not
     * know it say EPERM, which our files never cause. */
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = open_walking(root, path);
    return fd;
}

int files_open(int root, const char *path, struct file_info *info)
{
    struct stat st;
    int fd;

    if (!plain_path(path))
        return -ENOENT;
    fd = open_below(root, path);
    /* Errors that a retry may cure keep their names.  All others mean "not
     * here": the answer must not tell what is outside or forbidden. */
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
        return -errno;
    if (fd < 0)
        return -ENOENT;
    /* O_NONBLOCK has done its work.  Left on, a read that the kernel does for
     * us would give up with EAGAIN where no read is without blocking. */
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
