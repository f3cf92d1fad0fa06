/* netpoll.c - park and ready: a small netpoller on ucontext and epoll.
 *
 * Invariants
 *  - A task is in exactly one place: running, in the queue of ready tasks, or
 *    parked at one descriptor (and then perhaps in the timer wheel too).
 *  - A task leaves the place where it is parked before it becomes ready: so it
 *    is never made ready twice, by its event and by its timeout.
 *  - A descriptor is registered once, for edges.  No edge is lost: a task has
 *    seen EAGAIN before it parks, and a later edge is still in the kernel.
 */
#include "netpoll.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <ucontext.h>
#include <unistd.h>

#include "check.h"
#include "container_of.h"
#include "timer_wheel.h"

enum {
    STACK = 128 * 1024, /* bytes of a task, its guard page included */
    MAX_EVENTS = 256,
    SPARE_MOST = 256, /* stacks that are kept for the next tasks */
};

struct task {
    STAILQ_ENTRY(task) link; /* in the queue, or among the spare ones */
    ucontext_t context;
    void (*run)(void *);
    void *arg, *stack;
    struct timer timer;
    int fd;          /* where it is parked; -1: nowhere */
    uint32_t events; /* what it waits for there */
    int result;      /* of its wait */
    bool done;
};

/* What is known of a descriptor. */
struct place {
    struct task *parked;
    bool registered;
};

STAILQ_HEAD(tasks, task);

static struct {
    int epoll;
    struct tasks ready, spare;
    int n_tasks, n_spare;
    struct task *running;
    ucontext_t loop;
    struct place *places; /* by descriptor */
    int n_places;
    struct timer_wheel wheel;
} np;

void netpoll_open(void)
{
    np.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (np.epoll < 0)
        die("netpoll: epoll_create1: %s", strerror(errno));
    STAILQ_INIT(&np.ready);
    STAILQ_INIT(&np.spare);
    wheel_init(&np.wheel, clock_ms());
}

/* ---- tasks ---- */

static void task_main(void)
{
    struct task *t = np.running;

    t->run(t->arg);
    t->done = true;
    setcontext(&np.loop);
}

static struct task *task_new(void)
{
    struct task *t = STAILQ_FIRST(&np.spare);

    /* LAB-BEGIN */
    if (t) {
        STAILQ_REMOVE_HEAD(&np.spare, link);
        np.n_spare--;
        return t;
    }
    /* LAB-ELSE
     * // Every task gets a new stack: what does that cost with 5,000 of them?
     */
    /* LAB-END */
    t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (t->stack == MAP_FAILED) {
        free(t);
        return NULL;
    }
    mprotect(t->stack, (size_t)sysconf(_SC_PAGESIZE), PROT_NONE);
    return t;
}

static void task_free(struct task *t)
{
    np.n_tasks--;
    /* LAB-BEGIN */
    if (np.n_spare < SPARE_MOST) {
        STAILQ_INSERT_HEAD(&np.spare, t, link);
        np.n_spare++;
        return;
    }
    munmap(t->stack, STACK);
    free(t);
    /* LAB-ELSE
     * (void)t;
     */
    /* LAB-END */
}

bool netpoll_go(void (*run)(void *), void *arg)
{
    struct task *t = task_new();

    if (!t)
        return false;
    t->run = run;
    t->arg = arg;
    t->done = false;
    t->fd = -1;
    getcontext(&t->context);
    t->context.uc_stack.ss_sp = t->stack;
    t->context.uc_stack.ss_size = STACK;
    t->context.uc_link = NULL;
    makecontext(&t->context, task_main, 0);
    STAILQ_INSERT_TAIL(&np.ready, t, link);
    np.n_tasks++;
    return true;
}

/* ---- park and ready ---- */

/* Back to the loop; returns when the task is run again. */
static void switch_away(void)
{
    struct task *t = np.running;

    swapcontext(&t->context, &np.loop);
}

/* LAB-BEGIN */
/* Takes a task from where it is parked into the queue. */
static void ready(struct task *t, int result)
{
    if (t->fd >= 0)
        np.places[t->fd].parked = NULL;
    t->fd = -1;
    wheel_cancel(&np.wheel, &t->timer);
    t->result = result;
    STAILQ_INSERT_TAIL(&np.ready, t, link);
}

/* What is known of a descriptor; NULL: no memory. */
static struct place *place_of(int fd)
{
    if (fd >= np.n_places) {
        int n = np.n_places ? np.n_places : 64;
        struct place *more;

        while (n <= fd)
            n *= 2;
        more = realloc(np.places, (size_t)n * sizeof *more);
        if (!more)
            return NULL;
        memset(more + np.n_places, 0, (size_t)(n - np.n_places) * sizeof *more);
        np.places = more;
        np.n_places = n;
    }
    return &np.places[fd];
}
/* LAB-END */

int netpoll_wait(int fd, uint32_t events, int timeout_ms)
{
    /* LAB-BEGIN */
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP |
                                       (uint32_t)EPOLLET,
                             .data.fd = fd};
    struct place *p = place_of(fd);
    struct task *t = np.running;

    if (!p)
        return -ENOMEM;
    CHECK(!p->parked);
    if (!p->registered && epoll_ctl(np.epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
        return -errno;
    p->registered = true;
    p->parked = t;
    t->fd = fd;
    t->events = events;
    if (timeout_ms >= 0)
        wheel_set(&np.wheel, &t->timer, clock_ms() + timeout_ms);
    switch_away();
    return t->result;
    /* LAB-ELSE
     * struct epoll_event ev = {.events = events}, got;
     * int n;
     *
     * // Right for one task: the whole thread waits with it.
     * epoll_ctl(np.epoll, EPOLL_CTL_ADD, fd, &ev);
     * n = epoll_wait(np.epoll, &got, 1, timeout_ms);
     * epoll_ctl(np.epoll, EPOLL_CTL_DEL, fd, NULL);
     * return n == 0 ? -ETIMEDOUT : 0;
     */
    /* LAB-END */
}

void netpoll_yield(void)
{
    STAILQ_INSERT_TAIL(&np.ready, np.running, link);
    switch_away();
}

void netpoll_close(int fd)
{
    /* LAB-BEGIN */
    struct place *p = fd < np.n_places ? &np.places[fd] : NULL;

    if (!p || !p->registered)
        return;
    CHECK(!p->parked);
    p->registered = false; /* closing it takes it out of the epoll set */
    /* LAB-ELSE
     * (void)fd;
     */
    /* LAB-END */
}

/* ---- the loop ---- */

/* LAB-BEGIN */
/* Whoever an event concerns is ready, if it waits for that. */
static void event(const struct epoll_event *ev)
{
    int fd = ev->data.fd;
    struct task *t = np.places[fd].parked;
    uint32_t wanted = EPOLLHUP | EPOLLERR | EPOLLRDHUP;

    if (t && (ev->events & (wanted | t->events)))
        ready(t, 0);
}

static void poll_events(void)
{
    struct epoll_event evs[MAX_EVENTS];
    int wait =
        STAILQ_EMPTY(&np.ready) ? wheel_wait_ms(&np.wheel, clock_ms()) : 0;
    int n = epoll_wait(np.epoll, evs, MAX_EVENTS, wait);
    struct timer *timer;

    for (int i = 0; i < n; i++)
        event(&evs[i]);
    while ((timer = wheel_expired(&np.wheel, clock_ms())) != NULL)
        ready(container_of(timer, struct task, timer), -ETIMEDOUT);
}
/* LAB-END */

/* Those that are ready now; whoever becomes ready meanwhile runs in the next
 * round, after the events. */
static void run_ready(void)
{
    struct tasks now = STAILQ_HEAD_INITIALIZER(now);

    STAILQ_CONCAT(&now, &np.ready);
    while ((np.running = STAILQ_FIRST(&now)) != NULL) {
        STAILQ_REMOVE_HEAD(&now, link);
        swapcontext(&np.loop, &np.running->context);
        if (np.running->done)
            task_free(np.running);
    }
}

void netpoll_run(void)
{
    while (np.n_tasks > 0) {
        run_ready();
        /* LAB-BEGIN */
        if (np.n_tasks > 0)
            poll_events();
        /* LAB-END */
    }
}
