/* elastic.c - see elastic.h. */

#include "parts/elastic.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

void elastic_init(struct elastic *e, int64_t now_us)
{
    if (e->period_us == 0)
        e->period_us = e->rule == ELASTIC_LOAD ? TASKS_US : WAIT_US;
    a_init(&e->active, e->min);
    a_init(&e->due_us, now_us + e->period_us);
    e->sampled_us = e->calm_us = now_us;
    e->last = e->min;
}

static int within(const struct elastic *e, int n)
{
    n = n > e->min ? n : e->min;
    return n < e->max ? n : e->max;
}

/* The article's factors, as fifths and halves: fewer is rounded down, more is
 * rounded up. */
static int by_load(struct elastic *e, int n, uint64_t tasks, int64_t past_us)
{
    uint64_t each = tasks * TASKS_US / (uint64_t)past_us / (uint64_t)n;

    e->few = each < TASKS_FEW ? e->few + 1 : 0;
    if (e->few >= FEW_SAMPLES) {
        e->few = 0;
        return n * 4 / 5;
    }
    if (each <= TASKS_ENOUGH)
        return n;
    return each <= TASKS_MANY ? (n * 3 + 1) / 2 : n * 2;
}

/* awake_us: of all active workers together. */
static int by_wait(struct elastic *e, int n, int64_t now_us, uint64_t tasks,
                   uint64_t late, int64_t past_us, int64_t awake_us)
{
    bool crowded = late * LATE_SHARE > tasks;
    bool fits = awake_us * 100 <= past_us * (n - 1) * FIT_PERCENT;

    e->crowded = crowded ? e->crowded + 1 : 0;
    if (crowded || !fits || n != e->last)
        e->calm_us = now_us;
    if (e->crowded >= LATE_SAMPLES)
        return (n * 3 + 1) / 2;
    if (now_us - e->calm_us < CALM_PERIODS * e->period_us)
        return n;
    e->calm_us = now_us;
    return n - 1;
}

int elastic_judge(struct elastic *e, int64_t now_us,
                  const struct elastic_load *load)
{
    int64_t past_us = now_us - e->sampled_us, awake_us = 0;
    uint64_t tasks = load->tasks - e->tasks, late = load->late - e->late;
    int n = elastic_active(e), wanted;

    if (past_us <= 0)
        return n;
    for (int i = 0; i < e->max; i++) {
        int64_t awake = past_us - (load->slept_us[i] - e->slept_us[i]);

        awake = awake > 0 ? awake : 0;
        awake_us += i < n ? (awake < past_us ? awake : past_us) : 0;
        e->slept_us[i] = load->slept_us[i];
    }
    e->sampled_us = now_us;
    e->tasks = load->tasks;
    e->late = load->late;
    wanted = e->rule == ELASTIC_LOAD
                 ? by_load(e, n, tasks, past_us)
                 : by_wait(e, n, now_us, tasks, late, past_us, awake_us);
    e->last = n;
    return within(e, wanted);
}

struct member *elastic_join(struct elastic *e, int n, int epoll, int eventfd)
{
    struct member *m = &e->member[n];

    pthread_mutex_init(&m->lock, NULL);
    m->epoll = epoll;
    m->eventfd = eventfd;
    return m;
}

void elastic_resize(struct elastic *e, int from, int to)
{
    int low = from < to ? from : to, high = from < to ? to : from;

    if (from == to || !elastic_change(e, from, to))
        return;
    for (int i = low; i < high; i++)
        eventfd_write(e->member[i].eventfd, 1);
}

void elastic_sample(struct elastic *e, int64_t now_us)
{
    struct elastic_load load = {0};
    int n = elastic_active(e);

    for (int i = 0; i < e->max; i++) {
        load.tasks += a_load(&e->member[i].tasks, relaxed);
        load.late += a_load(&e->member[i].late, relaxed);
        load.slept_us[i] = note_slept(&e->member[i], now_us);
    }
    elastic_resize(e, n, elastic_judge(e, now_us, &load));
    /* release: what we have noted, to the next turn. */
    a_store(&e->due_us, now_us + e->period_us, release);
}

bool elastic_rest(struct elastic *e, int n, uint64_t number, int signal)
{
    struct member *m = &e->member[n];
    struct member *keeper = &e->member[elastic_keeper(e, n)];
    struct epoll_event ev = {.events = EPOLLIN,
                             .data.u64 = number + (uint64_t)n};
    struct pollfd p[] = {{.fd = m->eventfd, .events = POLLIN},
                         {.fd = signal, .events = POLLIN}};
    eventfd_t posts;

    if (epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, m->epoll, &ev) != 0)
        return false;
    home_hand(m, true);
    a_add(&keeper->kept, UINT64_C(1) << n, release);
    eventfd_write(keeper->eventfd, 1); /* it sleeps for our timers, too */
    while (elastic_rests(e, n) && !p[1].revents) {
        poll(p, 2, -1);
        eventfd_read(m->eventfd, &posts);
    }
    a_add(&keeper->kept, -(UINT64_C(1) << n), release);
    home_hand(m, false);
    epoll_ctl(keeper->epoll, EPOLL_CTL_DEL, m->epoll, NULL);
    return true;
}
