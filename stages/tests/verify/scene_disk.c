/* scene_disk.c - disk.c and state.h: a runner hands a connection to the kernel
 * for a read.  Two workers that harvest the set look for reads that are over.
 * One of them gets the connection, and sees all that the runner and the kernel
 * have written; meanwhile an event may come.
 */
#include "scene.h"

/* Before what disk.c calls means something else. */
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <sys/uio.h>
#include <unistd.h>

#include "6-stealing/state.h"
#include "parts/disk.h"

enum { GEN = 7 };

SCENE_VAR uint64_t lock; /* 1: free, as an eventfd that one thread may take */
SCENE_VAR uint64_t sq;   /* reads that the kernel has been told of */
SCENE_VAR uint64_t cq;   /* reads that are over */
SCENE_VAR uint64_t told; /* the kernel's own wait */
SCENE_VAR uint64_t conn, piece; /* plain memory: its fields, its window */

static int lock_try(void)
{
    uint64_t one = 1;

    return a_cas(&lock, &one, 0, acquire, relaxed) ? 0 : 1;
}

static void lock_leave(void)
{
    event_post(&lock);
}

static struct io_uring_sqe entry;
static struct io_uring_cqe over;

static void no_ring(int status, ...)
{
    (void)status;
    vx_fail("no ring");
}

static int submit(void)
{
    a_store(&sq, 1, release); /* the ring's own order */
    event_post(&told);
    return 1;
}

static int peek(struct io_uring_cqe **to)
{
    over.user_data = (uintptr_t)&conn;
    *to = &over;
    return a_load(&cq, acquire) ? 0 : -EAGAIN;
}

#define io_uring_get_sqe(ring) (&entry)
#define io_uring_submit(ring) submit()
#define io_uring_peek_cqe(ring, to) peek(to)
#define io_uring_cqe_seen(ring, cqe) a_store(&cq, 0, release)
#define pthread_mutex_lock(m) event_wait(&lock)
#define pthread_mutex_trylock(m) lock_try()
#define pthread_mutex_unlock(m) lock_leave()
#define die_status(...) no_ring(__VA_ARGS__)
#define uring_fit(n) (n)
#define io_uring_queue_init(n, ring, flags) 0
#define io_uring_queue_exit(ring) ((void)(ring))
#define uring_reason(err) (err)
#include "parts/disk.c"

SCENE_VAR struct disk disk;
SCENE_VAR struct session session;
SCENE_VAR struct state state;
SCENE_VAR int taken;
static uint8_t window[BUF_SIZE];

size_t session_file_want(const struct session *s)
{
    (void)s;
    return 1;
}

static void init(void)
{
    lock = 1;
    sq = cq = told = conn = piece = 0;
    taken = 0;
    disk.reads = 0;
    disk.most = 1;
    memset(&session, 0, sizeof session);
    session.out = (struct buf){.mem = window, .cap = BUF_SIZE};
    state.word = state_word(GEN, CONN_RUNNING);
    vx_name(&lock, "lock");
    vx_name(&sq, "sq");
    vx_name(&cq, "cq");
    vx_name(&told, "kernel");
    vx_name(&conn, "conn");
    vx_name(&piece, "piece");
    vx_name(&state.word, "state");
}

static void take(void)
{
    uint64_t marks;
    int res;

    if (!disk_take(&disk, &res))
        return;
    taken++;
    if (plain_read(&piece) != 1)
        vx_fail("the read is over, and its bytes are not there");
    plain_write(&conn, plain_read(&conn) + 1);
    state_requeue(&state);
    if (!state_claim(&state, &marks))
        vx_fail("a queued connection could not be claimed");
    plain_write(&conn, plain_read(&conn) + 1);
    state_release(&state);
}

/* It runs the connection, and later harvests its own set. */
static void runner(void)
{
    plain_write(&conn, 1);
    if (!disk_read(&disk, &session, &conn))
        vx_fail("one read is too many");
    take();
}

static void kernel(void)
{
    event_wait(&told);
    plain_write(&piece, 1);
    a_store(&cq, 1, release);
}

static void thief(void)
{
    if (state_event(&state, GEN, STATE_NEWS) && taken == 0)
        vx_fail("an event queues a connection that the kernel has");
    take();
    take();
}

static void check(void)
{
    if (taken > 1 || conn != 1 + 2 * (uint64_t)taken)
        vx_fail("one read was taken %d times", taken);
    if (taken == 0 && (!cq || disk.reads != 1))
        vx_fail("the read is lost");
}

const struct vx_scenario scene_disk = {
    "disk", init, {runner, kernel, thief}, {"runner", "kernel", "thief"},
    check,  0,
};
