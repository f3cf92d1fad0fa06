/* temp.h - a folder of a test's own, below TMPDIR. */
#ifndef TEST_TEMP_H
#define TEST_TEMP_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for the folder's name, and for that of a file in it. */
enum { TEMP_DIR = 1024, TEMP_PATH = TEMP_DIR + 256 };

/* Makes a folder that nobody had before, mode 0700, below TMPDIR (/tmp when
 * that is unset or empty), and writes its name, which holds `what`, to
 * path[TEMP_DIR].  False: errno says why there is none. */
static inline bool temp_dir(char *path, const char *what)
{
    const char *top = getenv("TMPDIR");

    snprintf(path, TEMP_DIR, "%s/ioladder-%s-XXXXXX",
             top && *top ? top : "/tmp", what);
    return mkdtemp(path) != NULL; /* a name that was cut ends in no X: EINVAL */
}

#endif
