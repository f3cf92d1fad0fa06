/* files.h - open a file below --root, and nothing else. */
#ifndef FILES_H
#define FILES_H

#include <stdint.h>
#include <time.h>

struct file_info {
    uint64_t size; /* bytes */
    time_t mtime;
    const char *type; /* Content-Type by extension; static */
};

/* The directory as an O_PATH descriptor; dies with the reason. */
int files_root(const char *dir);

/* Opens path (relative, NUL-terminated, already decoded) below root for
 * reading, without blocking: openat2 with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
 * | RESOLVE_NO_MAGICLINKS, and where the kernel or a filter refuses openat2, a
 * walk by components with O_NOFOLLOW.  Returns a descriptor of a regular file,
 * whose reads may block again, and fills *info, or -errno: -ENOENT for what
 * is not to be served, -EMFILE and its like when the server is out of
 * resources. */
int files_open(int root, const char *path, struct file_info *info);

#endif
