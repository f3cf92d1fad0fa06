/* test_session.c - the seam itself, and what the tests of the protocols share:
 * the transcript and the counter of allocations. */
#include <signal.h>
#include <time.h>

#include "talk.h"

/* ======== the transcript ================================================= */

const char *talk_heard(struct talk *t)
{
    static const char mark[] = "\r\nDate: ";
    char *to = t->said, *from = t->said;

    if (t->len == 0)
        return "";
    for (char *date; (date = strstr(from, mark)) != NULL;) {
        size_t n = (size_t)(date - from) + sizeof mark - 1;
        struct tm tm = {0};
        char again[40], *end;
        time_t when;

        memmove(to, from, n);
        to += n;
        from += n;
        end = strptime(from, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        cr_assert(end == from + 29, "not a date: %.40s", from);
        strftime(again, sizeof again, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        cr_assert(memcmp(again, from, 29) == 0, "not strict: %.40s", from);
        when = timegm(&tm);
        cr_assert(when >= time(NULL) - 20 && when <= time(NULL) + 1);
        *to++ = '*';
        from = end;
    }
    memmove(to, from, strlen(from) + 1);
    t->len = 0;
    return t->said;
}

/* ======== counting allocations =========================================== */

/* Volatile: a compiler takes malloc() for a function that changes nothing
 * else. */
static _Thread_local volatile long allocations, live, fail_in;

#ifdef SANITIZED

/* The sanitizers own malloc; they tell of calls, but none can be made to fail.
 * Declared here because not every compiler brings its header. */
int __sanitizer_install_malloc_and_free_hooks(
    void (*on_malloc)(const volatile void *, size_t),
    void (*on_free)(const volatile void *));

static void on_malloc(const volatile void *p, size_t n)
{
    (void)p, (void)n;
    allocations++;
    live++;
}

static void on_free(const volatile void *p)
{
    live -= p != NULL;
}

__attribute__((constructor)) static void hook(void)
{
    __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
}

bool alloc_fail(long n)
{
    (void)n;
    return false;
}

#else

/* The C library's own functions, under the names it exports for this. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

static bool granted(void)
{
    allocations++;
    return fail_in == 0 || --fail_in > 0;
}

static void *counted(void *p)
{
    live += p != NULL;
    return p;
}

void *malloc(size_t n)
{
    return granted() ? counted(__libc_malloc(n)) : NULL;
}

void *calloc(size_t n, size_t size)
{
    return granted() ? counted(__libc_calloc(n, size)) : NULL;
}

void *realloc(void *p, size_t n)
{
    void *q = granted() ? __libc_realloc(p, n) : NULL;

    return p ? q : counted(q);
}

void free(void *p)
{
    live -= p != NULL;
    __libc_free(p);
}

bool alloc_fail(long n)
{
    fail_in = n;
    return true;
}

#endif

long alloc_count(void)
{
    return allocations;
}

long alloc_live(void)
{
    return live;
}

TestSuite(session, .fini = talk_end);

Test(session, allocations_are_counted)
{
    long before = alloc_count(), live_before = alloc_live();
    void *volatile p = malloc(10);

    cr_assert_eq(alloc_count(), before + 1);
    cr_assert_eq(alloc_live(), live_before + 1);
    p = realloc(p, 100000);
    cr_assert_eq(alloc_live(), live_before + 1);
    free(p);
    cr_assert_eq(alloc_live(), live_before);
    if (!alloc_fail(2))
        return;
    p = malloc(10);
    cr_assert_not_null(p);
    free(p);
    p = malloc(10);
    cr_assert_null(p, "the second one was to fail");
    p = malloc(10);
    cr_assert_not_null(p);
    free(p);
}

/* ======== a protocol that notes how it is called ========================= */

static unsigned steps, works, files;
static ssize_t file_result;
static enum want answer;

static enum want spy_step(struct session *s, struct stats *st)
{
    (void)s, (void)st;
    steps++;
    return answer;
}

static void spy_work(struct session *s)
{
    (void)s;
    works++;
}

static void spy_file(struct session *s, ssize_t n)
{
    (void)s;
    files++;
    file_result = n;
}

static bool spy_in_flight(const struct session *s)
{
    return buf_len(&s->in) == 3;
}

static const struct proto spy = {.name = "spy",
                                 .step = spy_step,
                                 .work = spy_work,
                                 .file = spy_file,
                                 .in_flight = spy_in_flight};

/* ======== the seam ======================================================= */

Test(session, fits_in_two_cache_lines)
{
    cr_assert_leq(sizeof(struct session), 128);
}

Test(session, begins_empty_and_ends_safely)
{
    struct talk *t = talk_new(&spy);

    cr_assert_eq(t->s.file.fd, -1);
    cr_assert_null(t->s.body.mem);
    cr_assert(!t->s.eof && !t->s.fin);
    cr_assert_eq(t->s.restarts, 0);
    session_end(&t->s);
    session_end(&t->s);
}

Test(session, passes_on_what_the_protocol_wants)
{
    struct talk *t = talk_new(&spy);

    talk_lend(t);
    for (answer = WANT_RECV; answer <= WANT_CLOSE; answer++)
        cr_assert_eq(session_step(&t->s, &t->st), answer);
    cr_assert_eq(steps, 5);
    session_work(&t->s);
    cr_assert_eq(works, 1);
    cr_assert(!session_in_flight(&t->s));
    buf_append(&t->s.in, "abc", 3);
    cr_assert(session_in_flight(&t->s));
}

Test(session, output_first)
{
    struct talk *t = talk_new(&spy);

    answer = WANT_RECV;
    talk_lend(t);
    buf_append(&t->s.in, "more to do", 10);
    buf_append(&t->s.out, "ab", 2);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_SEND);
    buf_consume(&t->s.out, 1);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_SEND);
    t->s.eof = true;
    cr_assert_eq(session_step(&t->s, &t->st), WANT_SEND);
    cr_assert_eq(steps, 0, "the protocol waits until all is sent");
    buf_consume(&t->s.out, 1);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_RECV);
    cr_assert_eq(steps, 1);
}

Test(session, reads_no_more_of_a_file_than_is_owed_and_fits)
{
    struct talk *t = talk_new(&spy);

    talk_lend(t);
    t->s.file.fd = some_fd();
    t->s.file.left = 10;
    cr_assert_eq(session_file_want(&t->s), 10);
    session_file(&t->s, 10);
    cr_assert_eq(file_result, 10);
    t->s.file.left = UINT64_MAX;
    cr_assert_eq(session_file_want(&t->s), BUF_SIZE);
    buf_append(&t->s.out, "header", 6);
    cr_assert_eq(session_file_want(&t->s), BUF_SIZE - 6);
    session_file(&t->s, -EIO);
    cr_assert_eq(file_result, -EIO);
    cr_assert_eq(files, 2);
    session_end(&t->s);
}

Test(session, end_frees_all_and_empties_the_windows)
{
    struct talk *t = talk_new(&spy);
    int fd = some_fd();
    long live_before;

    talk_lend(t);
    buf_append(&t->s.in, "abc", 3);
    buf_append(&t->s.out, "abc", 3);
    t->s.file.fd = fd;
    live_before = alloc_live();
    t->s.body.mem = malloc(100);
    session_end(&t->s);
    cr_assert_eq(alloc_live(), live_before);
    cr_assert_eq(dup2(fd, fd), -1, "the file is closed");
    cr_assert_eq(errno, EBADF);
    cr_assert_null(t->s.body.mem);
    cr_assert_eq(buf_reclaim(&t->s.in), t->in);
    cr_assert_eq(buf_reclaim(&t->s.out), t->out);
}

Test(session, step_needs_a_window_to_write_to, .signal = SIGABRT)
{
    struct talk *t = talk_new(&spy);

    session_step(&t->s, &t->st);
}

Test(session, engine_cannot_read_too_much, .signal = SIGABRT)
{
    struct talk *t = talk_new(&spy);

    talk_lend(t);
    t->s.file.fd = 0;
    t->s.file.left = 10;
    session_file(&t->s, 11);
}

Test(session, no_file_answer_without_a_file, .signal = SIGABRT)
{
    struct talk *t = talk_new(&spy);

    talk_lend(t);
    t->s.file.left = 10;
    session_file(&t->s, 1);
}

Test(session, echo_has_no_work, .signal = SIGABRT)
{
    struct talk *t = talk_new(&proto_echo);

    session_work(&t->s);
}
