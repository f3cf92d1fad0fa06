/* test_launch.c - cpus, sizes, the begin and the end of a team, permits.
 *
 * sched_getaffinity() is defined here and so takes the place of the C
 * library's in this program: a machine of many cpus can be put in front of it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpus.h"
#include "parts/launch.h"

TestSuite(launch, .timeout = 60);
TestSuite(admit, .timeout = 60);

static int many; /* cpus that the kernel is said to have; 0: as it is */

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
    long n;

    if (many > 0) {
        if (size * 8 < (size_t)many) {
            errno = EINVAL;
            return -1;
        }
        CPU_ZERO_S(size, set);
        for (int i = 0; i < many; i += 3)
            CPU_SET_S((size_t)i, size, set);
        return 0;
    }
    memset(set, 0, size);
    n = syscall(SYS_sched_getaffinity, pid, size, set);
    return n < 0 ? -1 : 0;
}

/* ---- a team of threads that do nothing ---- */

static struct service service;
static struct team team;
static _Atomic int begun, went_on;
static int began_early;
static struct mpsc_node *got[4];

static void set_up(enum deal_by deal, int workers, int max_conns)
{
    service.name = "test";
    service.opt = (struct options){
        .host = "127.0.0.1", .workers = workers, .max_conns = max_conns};
    cancel_init(&service.stop, NULL);
    memset(&team, 0, sizeof team);
    team.service = &service;
    team.deal = deal;
    team_size(&team, 8, 8, 4);
    team_listen(&team);
}

static void *idle(void *arg)
{
    struct seat *seat = arg;

    began_early += atomic_load(&begun) > 0;
    seat->worker = seat;
    seat_begin(seat);
    atomic_fetch_add(&begun, 1);
    seat_shut(seat);
    while (!team_shut(seat->team))
        sched_yield();
    got[seat->n] = seat_take_dealt(seat);
    seat_end(seat);
    atomic_fetch_add(&went_on, 1);
    return NULL;
}

Test(launch, all_begin_and_all_end)
{
    set_up(DEAL_HASH, 3, 100);
    team_start(&team, idle);
    cr_assert(atomic_load(&begun) == 0);
    for (int i = 0; i < 3; i++) {
        cr_assert(team.seats[i].n == i && team.seats[i].worker);
        cr_assert(team.seats[i].listener >= 0);
    }
    team_run(&team);
    cr_assert(atomic_load(&begun) == 3 && began_early == 0);
    cr_assert(atomic_load(&went_on) == 0);
    cr_assert(team_join(&team));
    cr_assert(atomic_load(&went_on) == 3);
    cr_assert(fcntl(team.seats[0].listener, F_GETFD) < 0, "it is closed");
}

Test(launch, a_stuck_worker_is_told)
{
    set_up(DEAL_HASH, 2, 100);
    team_start(&team, idle);
    team.seats[1].in_use = true;
    team_run(&team);
    cr_assert(!team_join(&team));
}

/* A worker without a connection to have is not started. */
Test(launch, no_more_workers_than_connections)
{
    set_up(DEAL_HASH, 6, 2);
    cr_assert(team.n_workers == 2);
}

/* ---- dealing ---- */

Test(launch, deals_in_turn)
{
    int fds[8];

    set_up(DEAL_RR, 3, 100);
    cr_assert(team.seats[1].listener == -1);
    for (int i = 0; i < 8; i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM, 0);
        cr_assert(seat_deal(&team.seats[0], fds[i]) == (i % 3 != 0));
    }
    team_start(&team, idle);
    team_run(&team);
    for (int n = 1; n < 3; n++) {
        uint64_t posted = 0;

        cr_assert(read(team.seats[n].eventfd, &posted, 8) == 8 && posted == 1,
                  "one wake-up for all");
        for (int i = n; i < 8; i += 3)
            cr_assert(dealt_next(&got[n]) == fds[i], "oldest first");
        cr_assert(dealt_next(&got[n]) == -1);
    }
    cr_assert(team_join(&team));
}

Test(launch, one_keeps_all)
{
    set_up(DEAL_ONE, 3, 100);
    for (int i = 0; i < 4; i++)
        cr_assert(!seat_deal(&team.seats[0], i));
}

/* What nobody took before the end is closed. */
Test(launch, closes_what_was_dealt_too_late)
{
    int pair[2];
    char c;

    set_up(DEAL_RR, 2, 100);
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    team_start(&team, idle);
    team_run(&team);
    cr_assert(!seat_deal(&team.seats[0], -1));
    cr_assert(seat_deal(&team.seats[0], pair[0]));
    cr_assert(team_join(&team));
    cr_assert(recv(pair[1], &c, 1, MSG_DONTWAIT) == 0);
}

/* ---- cpus ---- */

static void *where(void *arg)
{
    cpu_set_t *set = arg;

    CPU_ZERO(set);
    syscall(SYS_sched_getaffinity, 0, sizeof *set, set);
    return NULL;
}

static int thread_on(int n, cpu_set_t *set)
{
    pthread_t thread;
    int cpu = team_thread(&team, &thread, n, where, set);

    pthread_join(thread, NULL);
    return cpu;
}

Test(launch, threads_sit_on_the_cpus_that_are_allowed)
{
    cpu_set_t all, set;
    int n, last = -1, first = -1;

    cr_assert(sched_getaffinity(0, sizeof all, &all) == 0);
    n = CPU_COUNT(&all);
    team.service = &service;
    cr_assert(cpus_allowed() == n);
    for (int i = 0; i < 2 * n; i++) {
        int cpu = thread_on(i, &set);

        cr_assert(cpu >= 0 && CPU_ISSET(cpu, &all));
        cr_assert(CPU_COUNT(&set) == 1 && CPU_ISSET(cpu, &set));
        first = i == 0 ? cpu : first;
        cr_assert(i % n == 0 ? cpu == first : cpu > last);
        last = cpu;
    }
    cr_assert(thread_on(-1, &set) < 0 && CPU_EQUAL(&set, &all));
    team.unpinned = true;
    cr_assert(thread_on(0, &set) < 0 && CPU_EQUAL(&set, &all));
    cr_assert(sched_getaffinity(0, sizeof set, &set) == 0 &&
                  CPU_EQUAL(&set, &all),
              "the caller stays where it was");
}

/* Each third of 5,000, most of which this machine has not: a thread that cannot
 * be pinned runs anywhere. */
Test(launch, more_cpus_than_a_set_has_bits)
{
    cpu_set_t set;

    many = 5000;
    team.service = &service;
    cr_assert(cpus_allowed() == 1667);
    cr_assert(thread_on(1666, &set) < 0, "cpu 4998 is not here");
    cr_assert(CPU_COUNT(&set) >= 1);
    cr_assert(thread_on(1667, &set) == 0, "round to the first");
}

/* ---- permits ---- */

enum { PERMITS = 3, TAKERS = 4, TURNS = 20000 };

static struct admit permits;
static _Atomic int inside, most;
static _Atomic int wake[TAKERS];

static void give(void)
{
    int worker = admit_give(&permits);

    if (worker >= 0)
        atomic_fetch_add(&wake[worker], 1);
}

static void *taker(void *arg)
{
    int me = (int)(intptr_t)arg;

    for (int i = 0; i < TURNS; i++) {
        int n;

        while (!admit_take(&permits, (uint32_t)me)) {
            while (atomic_load(&wake[me]) == 0)
                sched_yield(); /* for good, if a wake-up was lost */
            atomic_store(&wake[me], 0);
        }
        n = atomic_fetch_add(&inside, 1) + 1;
        if (n > atomic_load(&most))
            atomic_store(&most, n);
        atomic_fetch_sub(&inside, 1);
        give();
    }
    return NULL;
}

Test(admit, nobody_waits_beside_a_free_permit)
{
    pthread_t threads[TAKERS];

    admit_init(&permits, PERMITS);
    for (intptr_t i = 0; i < TAKERS; i++)
        pthread_create(&threads[i], NULL, taker, (void *)i);
    for (int i = 0; i < TAKERS; i++)
        pthread_join(threads[i], NULL);
    cr_assert(atomic_load(&most) <= PERMITS);
    cr_assert(permits.conns == 0);
}

/* Those that wait are woken in a circle, once each. */
Test(admit, wakes_in_a_circle)
{
    static const uint32_t who[] = {200, 3, 64, 63};
    static const int order[] = {3, 63, 64, 200, -1};

    admit_init(&permits, 5);
    for (int i = 0; i < 5; i++)
        cr_assert(admit_take(&permits, 0));
    for (int i = 0; i < 4; i++) {
        cr_assert(!admit_take(&permits, who[i]));
        cr_assert(!admit_take(&permits, who[i]), "and again");
    }
    for (int i = 0; i < 5; i++)
        cr_assert(admit_give(&permits) == order[i]);
    cr_assert(admit_take(&permits, 3) && admit_give(&permits) == -1);
}
