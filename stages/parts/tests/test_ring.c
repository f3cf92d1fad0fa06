/* test_ring.c - uring: opening, the reasons for not opening, room in the SQ. */
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "parts/uring.h"

TestSuite(uring, .timeout = 30);

Test(uring, reasons_say_what_to_do)
{
    cr_assert(strstr(uring_reason(-ENOSYS), "use stage 1 or 2"));
    cr_assert(strstr(uring_reason(-EPERM), "io_uring_disabled"));
    cr_assert(strstr(uring_reason(-EACCES), "io_uring_disabled"));
    cr_assert(strstr(uring_reason(-ENOMEM), "ulimit -l"));
    cr_assert(strcmp(uring_reason(-EMFILE), strerror(EMFILE)) == 0);
}

static bool has_rings(void)
{
    struct io_uring ring;

    if (io_uring_queue_init(4, &ring, 0) < 0)
        return false;
    io_uring_queue_exit(&ring);
    return true;
}

/* The mode that it says is the mode that it got, and never a better one than
 * was asked for. */
Test(uring, opens_in_the_mode_asked_for)
{
    static const char *const modes[] = {"defer", "coop", "none"};

    for (int k = 0; has_rings() && k < 3; k++) {
        struct uring_options o = {.taskrun = modes[k], .cq = 128};
        struct io_uring ring;
        bool defer;

        uring_open(&ring, "test", &o, 10);
        defer = ring.flags & IORING_SETUP_DEFER_TASKRUN;
        cr_assert(defer == (strcmp(o.taskrun, "defer") == 0));
        cr_assert(!(k > 0 && defer) && o.cq == 128, "%s, %u", o.taskrun, o.cq);
        cr_assert(uring_has(&ring, IORING_OP_NOP) && !uring_has(&ring, 255));
        io_uring_queue_exit(&ring);
    }
}

/* One completion for each connection fits, and the default is the least. */
Test(uring, completion_queue_holds_one_for_all)
{
    struct uring_options o = {.taskrun = "none"}, big = o;
    struct io_uring ring;

    if (!has_rings())
        return;
    uring_open(&ring, "test", &o, 10);
    cr_assert(*ring.cq.kring_entries == CQ_LEAST && o.cq == CQ_LEAST);
    io_uring_queue_exit(&ring);
    uring_open(&ring, "test", &big, 6000);
    cr_assert(*ring.cq.kring_entries >= 6000 + ACCEPTS, "%u", big.cq);
    io_uring_queue_exit(&ring);
}

/* A descriptor that is watched completes once, and the data is its address. */
Test(uring, watches_a_descriptor)
{
    struct uring_options o = {.taskrun = "none"};
    struct io_uring ring;
    struct io_uring_cqe cqe;
    int fds[2];

    if (!has_rings())
        return;
    uring_open(&ring, "test", &o, 10);
    cr_assert(pipe(fds) == 0);
    uring_watch(&ring, &fds[0]);
    cr_assert(io_uring_submit(&ring) == 1 && io_uring_cq_ready(&ring) == 0);
    cr_assert(write(fds[1], "x", 1) == 1);
    uring_entered("test", io_uring_submit_and_wait(&ring, 1));
    cqe = uring_take(&ring);
    cr_assert(io_uring_cqe_get_data(&cqe) == &fds[0] && cqe.res > 0);
    io_uring_queue_exit(&ring);
}

Test(uring, goes_on_after_what_is_no_failure)
{
    uring_entered("test", 0);
    uring_entered("test", -ETIME);
    uring_entered("test", -EINTR);
    uring_entered("test", -EAGAIN);
    uring_entered("test", -EBUSY);
}

/* A test whose process ends by exit() leaves some bytes of the library's own
 * behind in the runner; they are none of ours. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libcriterion";
}

Test(uring, ends_after_a_failure, .exit_code = 1)
{
    uring_entered("test", -EBADF);
}

/* A full SQ is submitted on the way; all that was written arrives, once. */
Test(uring, room_is_made)
{
    enum { MANY = 3 * SQ_ENTRIES };
    struct uring_options o = {.taskrun = "none"};
    struct stats st = {0};
    struct io_uring ring;
    unsigned char seen[MANY] = {0};

    if (!has_rings())
        return;
    uring_open(&ring, "test", &o, 10);
    for (uint64_t i = 0; i < MANY; i++) {
        struct io_uring_sqe *sqe;

        cr_assert(uring_make_room(&ring, &st));
        sqe = io_uring_get_sqe(&ring);
        io_uring_prep_nop(sqe);
        sqe->user_data = i;
    }
    cr_assert(io_uring_submit(&ring) == SQ_ENTRIES);
    while (io_uring_cq_ready(&ring) > 0)
        seen[uring_take(&ring).user_data]++;
    for (int i = 0; i < MANY; i++)
        cr_assert(seen[i] == 1, "operation %d: %d completions", i, seen[i]);
    io_uring_queue_exit(&ring);
}
