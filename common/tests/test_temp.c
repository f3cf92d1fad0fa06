/* test_temp.c - a test's folder is its own, and lies where TMPDIR says. */
#include <criterion/criterion.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "temp.h"

Test(temp, private_and_below_tmpdir)
{
    char top[TEMP_DIR], a[TEMP_DIR], b[TEMP_DIR];
    struct stat st;

    unsetenv("TMPDIR");
    cr_assert(temp_dir(top, "temp"));
    cr_assert(strncmp(top, "/tmp/", 5) == 0, "%s", top);
    setenv("TMPDIR", top, 1);
    cr_assert(temp_dir(a, "x") && temp_dir(b, "x"));
    cr_assert(strncmp(a, top, strlen(top)) == 0, "%s", a);
    cr_assert(strcmp(a, b) != 0);
    cr_assert(stat(a, &st) == 0 && (st.st_mode & 07777) == 0700);
    cr_assert(rmdir(a) == 0 && rmdir(b) == 0 && rmdir(top) == 0);
}

Test(temp, none_to_be_had)
{
    char path[TEMP_DIR], far[TEMP_DIR + 1];

    setenv("TMPDIR", "/dev/null", 1);
    cr_assert(!temp_dir(path, "x") && errno == ENOTDIR);
    memset(far, 'a', TEMP_DIR);
    far[TEMP_DIR] = '\0';
    setenv("TMPDIR", far, 1);
    cr_assert(!temp_dir(path, "x") && errno == EINVAL);
}
