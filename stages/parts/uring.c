/* uring.c - see uring.h. */

#include "parts/uring.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "lockable.h"

error_t uring_switch(int key, char *arg, struct argp_state *state,
                     struct uring_options *o)
{
    static const char *const modes[] = {"defer", "coop", "none", NULL};

    if (key == 't')
        o->taskrun = modes[option_choice(state, "--taskrun", arg, modes)];
    else if (key == 'q')
        o->cq = (unsigned)option_int(state, "--cq", arg, 2, 65536);
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

bool uring_has(struct io_uring *ring, int opcode)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool has = probe && io_uring_opcode_supported(probe, opcode);

    io_uring_free_probe(probe);
    return has;
}

const char *uring_reason(int err)
{
    switch (-err) {
    case ENOSYS:
        return "this kernel has none (ENOSYS); use stage 1 or 2";
    case EPERM:
    case EACCES:
        return "it is forbidden here (EPERM): a seccomp filter, as containers "
               "have, or the sysctl kernel.io_uring_disabled; allow it, or use "
               "stage 1 or 2";
    case ENOMEM:
        return "no memory for the ring (ENOMEM): raise the locked-memory limit "
               "(ulimit -l), or use stage 1 or 2";
    default:
        return strerror(-err);
    }
}

/* What a ring takes, about: two regions of whole pages. */
static size_t ring_bytes(size_t cq)
{
    size_t sq = cq < SQ_ENTRIES ? cq : SQ_ENTRIES, page = 4096;
    size_t queues = 320 + cq * 16 + sq * 4, sqes = sq * 64;

    return (queues + page - 1) / page * page + (sqes + page - 1) / page * page;
}

unsigned uring_fit(unsigned cq)
{
    size_t part = lockable_part();

    while (cq > CQ_FEWEST && ring_bytes(cq) > part)
        cq /= 2;
    return ring_bytes(cq) > part ? 0 : cq;
}

size_t uring_rest(const struct io_uring *ring)
{
    size_t most = lockable_each();
    size_t used = ring_bytes(*ring->cq.kring_entries);

    return most > used ? most - used : 0;
}

int uring_afford(int rings)
{
    size_t n = lockable() / (ring_bytes(CQ_FEWEST) * (size_t)rings);

    return n < 1 ? 1 : n < INT_MAX ? (int)n : INT_MAX;
}

/* The first thing that every ring stage needs and this ring lacks, or NULL. */
static const char *uring_missing(struct io_uring *ring)
{
    static const struct {
        int opcode;
        const char *name;
    } needed[] = {
        {IORING_OP_ACCEPT, "IORING_OP_ACCEPT"},
        {IORING_OP_RECV, "IORING_OP_RECV"},
        {IORING_OP_SEND, "IORING_OP_SEND"},
        {IORING_OP_READ, "IORING_OP_READ"},
        {IORING_OP_POLL_ADD, "IORING_OP_POLL_ADD"},
    };

    if (!(ring->features & IORING_FEAT_NODROP))
        return "IORING_FEAT_NODROP (Linux 5.5)";
    if (!(ring->features & IORING_FEAT_FAST_POLL))
        return "IORING_FEAT_FAST_POLL (Linux 5.7)";
    if (!(ring->features & IORING_FEAT_EXT_ARG))
        return "IORING_FEAT_EXT_ARG (Linux 5.11)";
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!uring_has(ring, needed[i].opcode))
            return needed[i].name;
    return NULL;
}

/* Rings count as locked memory on some kernels; where that is scarce the queues
 * are halved until they fit.  A CQ that overflows is slow, not wrong.  The SQ
 * may not be larger than the CQ. */
static int uring_set_up(struct io_uring *ring, struct io_uring_params *p)
{
    for (unsigned cq = p->cq_entries;; cq /= 2) {
        struct io_uring_params got = *p;
        int err;

        got.cq_entries = cq;
        err = io_uring_queue_init_params(cq < SQ_ENTRIES ? cq : SQ_ENTRIES,
                                         ring, &got);
        if (err == -ENOMEM && cq > CQ_FEWEST)
            continue;
        *p = got;
        return err;
    }
}

/* SINGLE_ISSUER: one thread submits, so the kernel locks less (6.0).
 * DEFER_TASKRUN: completions run when the owner enters, and do not interrupt
 * it in the middle of a request (6.1).  COOP_TASKRUN: at its next system call,
 * whichever (5.19).  SUBMIT_ALL: one bad operation does not hold up others. */
void uring_open(struct io_uring *ring, const char *name,
                struct uring_options *o, int max_conns)
{
    static const struct {
        const char *name;
        unsigned flags;
    } modes[] = {
        {"defer", IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                      IORING_SETUP_SUBMIT_ALL},
        {"coop", IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL},
        {"none", 0},
    };
    unsigned all = (unsigned)max_conns + ACCEPTS + 1;
    struct io_uring_params p;
    const char *missing;
    size_t i = 0;
    int err;

    while (strcmp(modes[i].name, o->taskrun) != 0)
        i++;
    do {
        o->taskrun = modes[i].name;
        p = (struct io_uring_params){.cq_entries = o->cq};
        if (p.cq_entries == 0)
            p.cq_entries = uring_fit(all < CQ_LEAST ? CQ_LEAST : all);
        if (p.cq_entries == 0)
            p.cq_entries =
                CQ_FEWEST; /* more than its part, but no less will do */
        p.flags = modes[i].flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
        err = uring_set_up(ring, &p);
    } while (err == -EINVAL && ++i < sizeof modes / sizeof *modes);
    if (err < 0)
        die_status(EX_SKIP, "%s: no io_uring: %s", name, uring_reason(err));
    missing = uring_missing(ring);
    if (missing)
        die_status(EX_SKIP, "%s: this kernel lacks %s", name, missing);
    o->cq = p.cq_entries;
    /* No probe of its own; it came with IORING_OP_SOCKET (5.19). */
    o->poll_first = uring_has(ring, IORING_OP_SOCKET);
    io_uring_register_ring_fd(ring); /* saves a look-up; may be refused */
}

void uring_watch(struct io_uring *ring, int *fd)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

    io_uring_prep_poll_add(sqe, *fd, POLLIN);
    io_uring_sqe_set_data(sqe, fd);
}

void uring_entered(const char *name, int err)
{
    if (err < 0 && err != -ETIME && err != -EINTR && err != -EAGAIN &&
        err != -EBUSY)
        die("%s: io_uring_enter: %s", name, strerror(-err));
}
