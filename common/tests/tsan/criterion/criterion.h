/* criterion.h - as much of Criterion as our unit tests use, for V=tsan only.
 *
 * Criterion shares memory with its test processes at an address that it draws
 * itself, and ThreadSanitizer has claimed the range that it draws from: the
 * real runner cannot start there.  So under ThreadSanitizer the same tests are
 * compiled against this header and run by run.c: a process for every test,
 * signals, exit codes and time limits as Criterion has them.
 */
#ifndef TSAN_CRITERION_H
#define TSAN_CRITERION_H

#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cr_options {
    void (*init)(void);
    void (*fini)(void);
    int signal;     /* the test must end by it */
    int exit_code;  /* the test must exit with it */
    double timeout; /* seconds; 0: none */
    bool disabled;
};

struct cr_test {
    const char *suite, *name; /* name NULL: the options of a whole suite */
    void (*run)(void);
    struct cr_options options;
    struct cr_test *next;
};

void cr_register(struct cr_test *t);

/* Counts a failure in the running test; stop: the test ends here. */
void cr_fail(const char *file, int line, const char *what, bool stop,
             const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#define CR_ENTER_(id, suite_, name_, run_, ...)                                \
    __attribute__((constructor)) static void id##_enter(void)                  \
    {                                                                          \
        static struct cr_test t = {suite_, name_, run_, {__VA_ARGS__}, NULL};  \
        cr_register(&t);                                                       \
    }
#define Test(suite, name, ...)                                                 \
    static void suite##_##name##_run(void);                                    \
    CR_ENTER_(suite##_##name, #suite, #name, suite##_##name##_run,             \
              __VA_ARGS__)                                                     \
    static void suite##_##name##_run(void)
#define TestSuite(suite, ...)                                                  \
    CR_ENTER_(suite##_suite, #suite, NULL, NULL, __VA_ARGS__)

/* The message is optional: a blank goes in front of it. */
#define CR_CHECK_(ok, what, stop, ...)                                         \
    ((ok) ? (void)0 : cr_fail(__FILE__, __LINE__, what, stop, " " __VA_ARGS__))
#define CR_BINARY_(stop, a, op, b, ...)                                        \
    CR_CHECK_((a)op(b), #a " " #op " " #b, stop, __VA_ARGS__)

#define cr_assert(c, ...) CR_CHECK_((c), #c, true, __VA_ARGS__)
#define cr_assert_not(c, ...) CR_CHECK_(!(c), "not " #c, true, __VA_ARGS__)
#define cr_assert_null(p, ...) CR_BINARY_(true, p, ==, NULL, __VA_ARGS__)
#define cr_assert_not_null(p, ...) CR_BINARY_(true, p, !=, NULL, __VA_ARGS__)
#define cr_assert_eq(a, b, ...) CR_BINARY_(true, a, ==, b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...) CR_BINARY_(true, a, !=, b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...) CR_BINARY_(true, a, <, b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...) CR_BINARY_(true, a, <=, b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) CR_BINARY_(true, a, >, b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...) CR_BINARY_(true, a, >=, b, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)                                            \
    CR_CHECK_(strcmp(a, b) == 0, #a " is " #b, true, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...)                                           \
    CR_CHECK_(strcmp(a, b) != 0, #a " is not " #b, true, __VA_ARGS__)
#define cr_assert_str_empty(a, ...)                                            \
    CR_CHECK_(*(a) == '\0', #a " is empty", true, __VA_ARGS__)
#define cr_assert_str_not_empty(a, ...)                                        \
    CR_CHECK_(*(a) != '\0', #a " is not empty", true, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...)                                         \
    CR_CHECK_(memcmp(a, b, n) == 0, #a " equals " #b, true, __VA_ARGS__)
#define cr_assert_float_eq(a, b, e, ...)                                       \
    CR_CHECK_(fabs((double)(a) - (double)(b)) <= (e), #a " near " #b, true,    \
              __VA_ARGS__)
#define cr_assert_fail(...) CR_CHECK_(false, "fail", true, __VA_ARGS__)
#define cr_expect(c, ...) CR_CHECK_((c), #c, false, __VA_ARGS__)
#define cr_expect_not(c, ...) CR_CHECK_(!(c), "not " #c, false, __VA_ARGS__)
#define cr_expect_eq(a, b, ...) CR_BINARY_(false, a, ==, b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...) CR_BINARY_(false, a, !=, b, __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...)                                            \
    CR_CHECK_(strcmp(a, b) == 0, #a " is " #b, false, __VA_ARGS__)

#endif
