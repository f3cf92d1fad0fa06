/* fault_wrap.c - calls that fail on schedule.
 *
 * Linked into build/fault/stageN with -Wl,--wrap=NAME, so that the server's own
 * calls come here first.  The schedule is in the environment:
 *
 *      FAULT_PLAN=recv:EINTR:every=3,send:short,accept4:EMFILE:first=20
 *
 *      CALL:WHAT[:every=N][:first=N][:after=N][:most=N]
 *
 * CALL is a name of the list below; WHAT an errno by name, or "short": fewer
 * bytes (at most `most`, 7 if not given) than were asked for.  Of the calls
 * after the first `after`, every N-th is hit, until `first` calls have passed.
 *
 * Only what a kernel may do is done.  EAGAIN comes from non-blocking calls
 * only; an epoll that is told "nothing there" gets its edge again.  The
 * operations of a ring are hit where they are submitted: a short one asks the
 * kernel for less; a failing one becomes a NOP that completes with the error.
 * preadv2 is looked at where it may not wait (RWF_NOWAIT).
 *
 * Beside the schedule, FAULT_HOSTS=ADDRESS,ADDRESS... is what the name
 * "several.test" stands for.
 *
 * At exit stderr gets a line for each rule: "fault: recv EINTR: 40 of 120".
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* ==== the schedule ======================================================== */

/* clang-format off */
#define CALLS(X)                                                               \
    X(recv) X(send) X(accept4) X(epoll_wait) X(epoll_ctl) X(poll)              \
    X(pthread_create) X(read) X(pread) X(preadv2) X(write) X(openat2)          \
    X(malloc) X(calloc) X(realloc) X(aligned_alloc)                            \
    X(ring_enter) X(ring_recv) X(ring_send) X(ring_read) X(ring_accept)
/* clang-format on */

#define X(name) CALL_##name,
enum call { CALLS(X) N_CALLS };
#undef X

#define X(name) #name,
static const char *const call_names[] = {CALLS(X)};
#undef X

enum { SHORT = -1, MAX_RULES = 16 };

struct rule {
    enum call call;
    int what; /* an errno, or SHORT */
    char name[24];
    unsigned every, first, after, most;
    _Atomic unsigned seen, hit;
};

static struct rule rules[MAX_RULES];
static int n_rules;

static const struct {
    const char *name;
    int value;
} errors[] = {
    {"short", SHORT},
    {"EINTR", EINTR},
    {"EAGAIN", EAGAIN},
    {"EMFILE", EMFILE},
    {"ENFILE", ENFILE},
    {"ENOMEM", ENOMEM},
    {"ENOBUFS", ENOBUFS},
    {"ENOSPC", ENOSPC},
    {"ECANCELED", ECANCELED},
    {"ECONNABORTED", ECONNABORTED},
    {"ECONNRESET", ECONNRESET},
    {"EPROTO", EPROTO},
    {"EIO", EIO},
    {"EPERM", EPERM},
    {"ENOSYS", ENOSYS},
    {"EBUSY", EBUSY},
    {"EPIPE", EPIPE},
};

/* The test made a mistake: better no server than one without the fault. */
static void bad_plan(const char *what)
{
    fprintf(stderr, "FAULT_PLAN: %s is not understood\n", what);
    _exit(3);
}

static void rule_option(struct rule *r, const char *word)
{
    const char *value = strchr(word, '=');
    unsigned n = value ? (unsigned)strtoul(value + 1, NULL, 10) : 0;

    if (n == 0)
        bad_plan(word);
    if (strncmp(word, "every=", 6) == 0)
        r->every = n;
    else if (strncmp(word, "first=", 6) == 0)
        r->first = n;
    else if (strncmp(word, "after=", 6) == 0)
        r->after = n;
    else if (strncmp(word, "most=", 5) == 0)
        r->most = n;
    else
        bad_plan(word);
}

static void rule_parse(struct rule *r, char *text)
{
    char *save = NULL, *word = strtok_r(text, ":", &save);
    size_t i;

    r->every = 1;
    r->most = 7;
    for (i = 0; i < N_CALLS && word && strcmp(word, call_names[i]); i++)
        ;
    if (!word || i == N_CALLS)
        bad_plan(word ? word : "an empty rule");
    r->call = (enum call)i;
    word = strtok_r(NULL, ":", &save);
    for (i = 0; word && i < sizeof(errors) / sizeof(errors[0]); i++)
        if (strcmp(word, errors[i].name) == 0)
            r->what = errors[i].value;
    if (r->what == 0)
        bad_plan(word ? word : "a rule without an error");
    snprintf(r->name, sizeof(r->name), "%s", word);
    while ((word = strtok_r(NULL, ":", &save)) != NULL)
        rule_option(r, word);
}

static bool ring_can_inject(void);

__attribute__((constructor)) static void plan_read(void)
{
    static char text[1024];
    const char *plan = getenv("FAULT_PLAN");
    char *save = NULL;

    if (!plan)
        return;
    snprintf(text, sizeof(text), "%s", plan);
    for (char *rule = strtok_r(text, ",", &save); rule;
         rule = strtok_r(NULL, ",", &save)) {
        if (n_rules == MAX_RULES)
            bad_plan(rule);
        rule_parse(&rules[n_rules], rule);
        if (rules[n_rules].call > CALL_ring_enter &&
            rules[n_rules].what != SHORT && !ring_can_inject())
            fprintf(stderr, "fault: %s: this kernel cannot\n",
                    call_names[rules[n_rules].call]);
        else
            n_rules++;
    }
}

__attribute__((destructor)) static void plan_report(void)
{
    for (int i = 0; i < n_rules; i++)
        fprintf(stderr, "fault: %s %s: %u of %u\n", call_names[rules[i].call],
                rules[i].name, rules[i].hit, rules[i].seen);
}

/* Counts a call.  The rule that hits it, or NULL. */
static struct rule *plan(enum call call, bool may_wait)
{
    struct rule *hit = NULL;

    for (int i = 0; i < n_rules; i++) {
        struct rule *r = &rules[i];
        unsigned n;

        if (r->call != call || (r->what == EAGAIN && !may_wait))
            continue;
        n = atomic_fetch_add(&r->seen, 1);
        if (hit || n < r->after || (r->first && n - r->after >= r->first) ||
            (n - r->after) % r->every != r->every - 1)
            continue;
        atomic_fetch_add(&r->hit, 1);
        hit = r;
    }
    return hit;
}

static size_t shorter(const struct rule *r, size_t n)
{
    size_t most = 1 + atomic_load(&r->seen) % r->most;

    return n < most ? n : most;
}

/* -1 and errno when the plan says so; a short count lowers *n. */
static int plan_count(enum call call, bool may_wait, size_t *n)
{
    const struct rule *r = plan(call, may_wait);

    if (!r)
        return 0;
    if (r->what == SHORT) {
        *n = shorter(r, *n);
        return 0;
    }
    errno = r->what;
    return -1;
}

/* ==== edges =============================================================== */

/* What epoll was told about a descriptor.  A call that was kept from the kernel
 * has not used the edge up: asking for the same again brings it back. */
static struct {
    _Atomic int epfd; /* plus 1; 0: none */
    _Atomic uint32_t events;
    _Atomic uint64_t data; /* any thread may open what another has closed */
} watched[1 << 16];

/* Not every fault build wraps every call: what is missing is NULL. */
#define REAL(type, name, ...)                                                  \
    extern type __real_##name(__VA_ARGS__) __attribute__((weak));              \
    extern type __wrap_##name(__VA_ARGS__)

REAL(int, epoll_ctl, int epfd, int op, int fd, struct epoll_event *ev);
REAL(int, epoll_wait, int epfd, struct epoll_event *ev, int max, int ms);
REAL(ssize_t, recv, int fd, void *p, size_t n, int flags);
REAL(ssize_t, send, int fd, const void *p, size_t n, int flags);
REAL(ssize_t, read, int fd, void *p, size_t n);
REAL(ssize_t, pread, int fd, void *p, size_t n, off_t at);
REAL(ssize_t, preadv2, int fd, const struct iovec *v, int n, off_t at,
     int flags);
REAL(ssize_t, write, int fd, const void *p, size_t n);
REAL(int, accept4, int fd, struct sockaddr *a, socklen_t *len, int flags);
REAL(int, getaddrinfo, const char *host, const char *service,
     const struct addrinfo *hints, struct addrinfo **list);
REAL(int, poll, struct pollfd *p, nfds_t n, int ms);
REAL(int, pthread_create, pthread_t *t, const pthread_attr_t *attr,
     void *(*run)(void *), void *arg);
REAL(long, syscall, long nr, ...);
REAL(void *, malloc, size_t n);
REAL(void *, calloc, size_t n, size_t size);
REAL(void *, realloc, void *p, size_t n);
REAL(void *, aligned_alloc, size_t align, size_t n);

static void edge_again(int fd)
{
    int epfd =
        fd >= 0 && fd < 1 << 16 ? atomic_load(&watched[fd].epfd) - 1 : -1;

    if (epfd < 0 || !__real_epoll_ctl)
        return;

    struct epoll_event ev = {.events = watched[fd].events,
                             .data.u64 = watched[fd].data};

    if (ev.events & EPOLLET)
        __real_epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &ev);
}

int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
    size_t unused = 0;

    /* To forget a descriptor takes no memory. */
    if (op != EPOLL_CTL_DEL && plan_count(CALL_epoll_ctl, false, &unused) < 0)
        return -1;
    if (fd >= 0 && fd < 1 << 16) {
        if (op != EPOLL_CTL_DEL) {
            watched[fd].events = ev->events;
            watched[fd].data = ev->data.u64;
        }
        atomic_store(&watched[fd].epfd, op == EPOLL_CTL_DEL ? 0 : epfd + 1);
    }
    return __real_epoll_ctl(epfd, op, fd, ev);
}

int __wrap_epoll_wait(int epfd, struct epoll_event *ev, int max, int ms)
{
    size_t n = (size_t)max;

    if (plan_count(CALL_epoll_wait, false, &n) < 0)
        return -1;
    return __real_epoll_wait(epfd, ev, (int)n, ms);
}

/* ==== plain calls ========================================================= */

static bool nonblocking(int fd, int flags)
{
    return flags & MSG_DONTWAIT || fcntl(fd, F_GETFL) & O_NONBLOCK;
}

ssize_t __wrap_recv(int fd, void *p, size_t n, int flags)
{
    size_t asked = n;
    bool kept = plan_count(CALL_recv, nonblocking(fd, flags), &n) < 0;
    ssize_t got = kept ? -1 : __real_recv(fd, p, n, flags);

    if (kept || n < asked) {
        int saved = errno;

        edge_again(fd);
        errno = saved;
    }
    return got;
}

ssize_t __wrap_send(int fd, const void *p, size_t n, int flags)
{
    if (plan_count(CALL_send, nonblocking(fd, flags), &n) < 0) {
        int saved = errno;

        edge_again(fd);
        errno = saved;
        return -1;
    }
    return __real_send(fd, p, n, flags);
}

ssize_t __wrap_read(int fd, void *p, size_t n)
{
    return plan_count(CALL_read, false, &n) < 0 ? -1 : __real_read(fd, p, n);
}

ssize_t __wrap_pread(int fd, void *p, size_t n, off_t at)
{
    return plan_count(CALL_pread, false, &n) < 0 ? -1
                                                 : __real_pread(fd, p, n, at);
}

ssize_t __wrap_preadv2(int fd, const struct iovec *v, int n, off_t at,
                       int flags)
{
    size_t unused = 0;

    if (flags & RWF_NOWAIT && plan_count(CALL_preadv2, true, &unused) < 0)
        return -1;
    return __real_preadv2(fd, v, n, at, flags);
}

ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    return plan_count(CALL_write, false, &n) < 0 ? -1 : __real_write(fd, p, n);
}

int __wrap_accept4(int fd, struct sockaddr *a, socklen_t *len, int flags)
{
    size_t unused = 0;

    if (plan_count(CALL_accept4, nonblocking(fd, 0), &unused) < 0) {
        int saved = errno;

        edge_again(fd);
        errno = saved;
        return -1;
    }
    return __real_accept4(fd, a, len, flags);
}

int __wrap_poll(struct pollfd *p, nfds_t n, int ms)
{
    size_t unused = 0;

    return plan_count(CALL_poll, false, &unused) < 0 ? -1
                                                     : __real_poll(p, n, ms);
}

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr,
                          void *(*run)(void *), void *arg)
{
    const struct rule *r = plan(CALL_pthread_create, true);

    return r ? r->what : __real_pthread_create(t, attr, run, arg);
}

/* A list of what each of the addresses gives: the C library frees lists one
 * element at a time. */
int __wrap_getaddrinfo(const char *host, const char *service,
                       const struct addrinfo *hints, struct addrinfo **list)
{
    const char *given = getenv("FAULT_HOSTS");
    char text[256], *save = NULL;
    int err = 0;

    if (!given || strcmp(host, "several.test") != 0)
        return __real_getaddrinfo(host, service, hints, list);
    snprintf(text, sizeof text, "%s", given);
    for (char *word = strtok_r(text, ",", &save); word && err == 0;
         word = strtok_r(NULL, ",", &save)) {
        err = __real_getaddrinfo(word, service, hints, list);
        while (err == 0 && *list)
            list = &(*list)->ai_next;
    }
    return err;
}

/* Only openat2, which has no wrapper in the C library, is looked at.  Most
 * calls have fewer than six arguments; the others are read and mean nothing. */
__attribute__((no_sanitize("address"))) long __wrap_syscall(long nr, ...)
{
    size_t unused = 0;
    long arg[6];
    va_list ap;

    va_start(ap, nr);
    for (int i = 0; i < 6; i++)
        arg[i] = va_arg(ap, long);
    va_end(ap);
    if (nr == SYS_openat2 && plan_count(CALL_openat2, false, &unused) < 0)
        return -1;
    return __real_syscall(nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

/* ==== memory ============================================================== */

static bool no_memory(enum call call)
{
    size_t unused = 0;

    return plan_count(call, true, &unused) < 0;
}

void *__wrap_malloc(size_t n)
{
    return no_memory(CALL_malloc) ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return no_memory(CALL_calloc) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return no_memory(CALL_realloc) ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    return no_memory(CALL_aligned_alloc) ? NULL
                                         : __real_aligned_alloc(align, n);
}

/* ==== rings =============================================================== */

#define NOP_INJECT_RESULT 1U /* IORING_NOP_INJECT_RESULT of Linux 6.11 */

/* Stages 1 and 2 come without liburing. */
#pragma weak io_uring_queue_init
#pragma weak io_uring_queue_exit
#pragma weak io_uring_submit_and_wait

REAL(int, io_uring_submit, struct io_uring *ring);
REAL(int, io_uring_submit_and_wait, struct io_uring *ring, unsigned n);
REAL(int, io_uring_submit_and_wait_timeout, struct io_uring *ring,
     struct io_uring_cqe **cqe, unsigned n, struct __kernel_timespec *ts,
     sigset_t *mask);

static void sqe_fail(struct io_uring_sqe *sqe, int err)
{
    uint64_t data = sqe->user_data;

    memset(sqe, 0, sizeof(*sqe));
    sqe->opcode = IORING_OP_NOP;
    sqe->fd = -1;
    sqe->rw_flags = (int)NOP_INJECT_RESULT;
    sqe->len = (uint32_t)-err;
    sqe->user_data = data;
}

/* Older kernels take the NOP and answer 0, which would be a lie. */
static bool ring_can_inject(void)
{
    struct io_uring ring;
    struct io_uring_cqe *cqe;
    struct io_uring_sqe *sqe;
    bool ok = false;

    if (!io_uring_queue_init || !io_uring_submit_and_wait ||
        !io_uring_queue_exit || io_uring_queue_init(4, &ring, 0) < 0)
        return false;
    sqe = &ring.sq.sqes[0];
    memset(sqe, 0, sizeof(*sqe));
    sqe_fail(sqe, ENOBUFS);
    ring.sq.sqe_tail = 1;
    if (io_uring_submit_and_wait(&ring, 1) == 1) {
        cqe = &ring.cq.cqes[*ring.cq.khead & *ring.cq.kring_mask];
        ok = cqe->res == -ENOBUFS;
    }
    io_uring_queue_exit(&ring);
    return ok;
}

static bool is_socket(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static enum call sqe_call(const struct io_uring_sqe *sqe)
{
    switch (sqe->opcode) {
    case IORING_OP_RECV:
        return CALL_ring_recv;
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC:
    case IORING_OP_WRITE_FIXED:
        return CALL_ring_send;
    case IORING_OP_READ_FIXED:
        return is_socket(sqe->fd) ? CALL_ring_recv : CALL_ring_read;
    case IORING_OP_READ:
        return CALL_ring_read;
    case IORING_OP_ACCEPT:
        return CALL_ring_accept;
    default:
        return N_CALLS;
    }
}

static void sqe_plan(struct io_uring_sqe *sqe)
{
    enum call call = sqe_call(sqe);
    const struct rule *r = call == N_CALLS ? NULL : plan(call, true);

    if (r && (call == CALL_ring_recv || r->what == EAGAIN))
        edge_again(sqe->fd);
    if (r && r->what != SHORT)
        sqe_fail(sqe, r->what);
    else if (r && call != CALL_ring_accept)
        sqe->len = (uint32_t)shorter(r, sqe->len ? sqe->len : UINT32_MAX);
}

/* Every operation that has been written since the last submission. */
static void ring_plan(struct io_uring *ring)
{
    for (unsigned i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++)
        sqe_plan(&ring->sq.sqes[i & *ring->sq.kring_mask]);
}

int __wrap_io_uring_submit(struct io_uring *ring)
{
    const struct rule *r = plan(CALL_ring_enter, true);

    if (r)
        return -r->what;
    ring_plan(ring);
    return __real_io_uring_submit(ring);
}

int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned n)
{
    const struct rule *r = plan(CALL_ring_enter, true);

    if (r)
        return -r->what;
    ring_plan(ring);
    return __real_io_uring_submit_and_wait(ring, n);
}

int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring,
                                            struct io_uring_cqe **cqe,
                                            unsigned n,
                                            struct __kernel_timespec *ts,
                                            sigset_t *mask)
{
    const struct rule *r = plan(CALL_ring_enter, true);

    if (r)
        return -r->what;
    ring_plan(ring);
    return __real_io_uring_submit_and_wait_timeout(ring, cqe, n, ts, mask);
}
