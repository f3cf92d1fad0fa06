/* probe.c - what the io_uring of the running machine can do.
 *
 *      build/micro/probe [--json]
 *
 * Every line is found by asking the kernel: a feature bit, its list of
 * operations, or a set-up call that it takes or refuses.  The release in which
 * a thing came is printed for orientation and never used for a decision.
 * Ends with 77 and the reason where there is no io_uring.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sysexits.h>

#include "check.h"
#include "inherit.h"
#include "parts/uring.h"

enum probe_kind { BY_FEATURE, BY_OPCODE, BY_FLAG, BY_TRYING };

struct probe_item {
    const char *name, *since, *use; /* since: Linux release */
    enum probe_kind kind;
    unsigned what; /* feature bit, opcode, set-up flag or enum below */
};

enum { TRY_RING_FD, TRY_BUF_RING, TRY_FILES, TRY_BUFFERS };

/* Numbers that liburing 2.3 has no names for yet are those of the kernel's
 * io_uring.h. */
static const struct probe_item probe_items[] = {
    {"NODROP", "5.5", "no completion is lost", BY_FEATURE, IORING_FEAT_NODROP},
    {"FAST_POLL", "5.7", "sockets wait without a thread", BY_FEATURE,
     IORING_FEAT_FAST_POLL},
    {"EXT_ARG", "5.11", "a wait with a timeout", BY_FEATURE,
     IORING_FEAT_EXT_ARG},
    {"CQE_SKIP", "5.17", "no completion on success", BY_FEATURE,
     IORING_FEAT_CQE_SKIP},
    {"RECVSEND_BUNDLE", "6.10", "many buffers an operation", BY_FEATURE,
     1U << 14},
    {"MIN_TIMEOUT", "6.12", "wait for a batch, up to a time", BY_FEATURE,
     1U << 15},
    {"ACCEPT", "5.5", "stages 3 to 5", BY_OPCODE, IORING_OP_ACCEPT},
    {"RECV, SEND", "5.6", "stages 3 to 6", BY_OPCODE, IORING_OP_RECV},
    {"READ", "5.6", "files", BY_OPCODE, IORING_OP_READ},
    {"MSG_RING", "5.18", "wake another ring", BY_OPCODE, IORING_OP_MSG_RING},
    {"SOCKET (and POLL_FIRST)", "5.19", "steering of receives", BY_OPCODE,
     IORING_OP_SOCKET},
    {"SEND_ZC", "6.0", "variant 4-send-zc", BY_OPCODE, IORING_OP_SEND_ZC},
    {"READ_MULTISHOT", "6.7", "not used", BY_OPCODE, 49},
    {"EPOLL_WAIT", "6.15", "not used", BY_OPCODE, 59},
    {"SQPOLL", "5.1", "a kernel thread submits", BY_FLAG, IORING_SETUP_SQPOLL},
    {"COOP_TASKRUN", "5.19", "--taskrun coop", BY_FLAG,
     IORING_SETUP_COOP_TASKRUN},
    {"SINGLE_ISSUER", "6.0", "one thread submits", BY_FLAG,
     IORING_SETUP_SINGLE_ISSUER},
    {"DEFER_TASKRUN", "6.1", "--taskrun defer", BY_FLAG,
     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN},
    {"registered ring fd", "5.18", "saves a look-up", BY_TRYING, TRY_RING_FD},
    {"provided-buffer ring", "5.19", "receives of stage 4", BY_TRYING,
     TRY_BUF_RING},
    {"direct descriptors", "5.19", "variant 4-direct", BY_TRYING, TRY_FILES},
    {"registered buffers", "5.1", "files of stage 4", BY_TRYING, TRY_BUFFERS},
};

/* A ring of 8 buffers that is never used. */
static bool try_buf_ring(struct io_uring *ring)
{
    struct io_uring_buf_reg reg = {.ring_entries = 8, .bgid = 1};
    void *mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool has;

    if (mem == MAP_FAILED)
        return false;
    reg.ring_addr = (uintptr_t)mem;
    has = io_uring_register_buf_ring(ring, &reg, 0) == 0;
    if (has)
        io_uring_unregister_buf_ring(ring, 1);
    munmap(mem, 4096);
    return has;
}

static bool probe_try(struct io_uring *ring, unsigned what)
{
    static char piece[4096];
    struct iovec all = {piece, sizeof piece};

    switch (what) {
    case TRY_RING_FD:
        return io_uring_register_ring_fd(ring) == 1;
    case TRY_FILES:
        return io_uring_register_files_sparse(ring, 8) == 0;
    case TRY_BUF_RING:
        return try_buf_ring(ring);
    default:
        return io_uring_register_buffers(ring, &all, 1) == 0;
    }
}

static bool probe_has(struct io_uring *ring, const struct probe_item *i)
{
    struct io_uring_params p = {.flags = i->what};
    struct io_uring other;

    switch (i->kind) {
    case BY_FEATURE:
        return ring->features & i->what;
    case BY_OPCODE:
        return uring_has(ring, (int)i->what);
    case BY_FLAG:
        if (io_uring_queue_init_params(4, &other, &p) < 0)
            return false;
        io_uring_queue_exit(&other);
        return true;
    default:
        return probe_try(ring, i->what);
    }
}

/* The table, as JSON or as text. */
static void probe_print(bool json)
{
    size_t n = sizeof probe_items / sizeof *probe_items;
    struct rlimit lock = {0, 0};
    struct utsname un;
    struct io_uring ring;
    int err = io_uring_queue_init(8, &ring, 0);

    if (err < 0)
        die_status(EX_SKIP, "probe: no io_uring: %s", uring_reason(err));
    uname(&un);
    getrlimit(RLIMIT_MEMLOCK, &lock);
    printf(json ? "{\"kernel\": \"%s\", \"memlock_bytes\": %lld,\n"
                  " \"features\": [\n"
                : "Linux %s, %lld bytes may be locked (-1: any)\n\n"
                  "feature                    here  since  for\n",
           un.release,
           lock.rlim_cur == RLIM_INFINITY ? -1LL : (long long)lock.rlim_cur);
    for (size_t k = 0; k < n; k++) {
        const struct probe_item *i = &probe_items[k];
        bool has = probe_has(&ring, i);

        if (json)
            printf("  {\"name\": \"%s\", \"here\": %s, \"since\": \"%s\"}%s\n",
                   i->name, has ? "true" : "false", i->since,
                   k + 1 < n ? "," : "\n ]}");
        else
            printf("%-26s %-5s %-6s %s\n", i->name, has ? "yes" : "no",
                   i->since, i->use);
    }
    io_uring_queue_exit(&ring);
}

int main(int argc, char **argv)
{
    bool json = argc == 2 && strcmp(argv[1], "--json") == 0;

    inherit_clean();
    if (argc > 1 && !json)
        die_status(EX_USAGE, "usage: probe [--json]");
    probe_print(json);
    return 0;
}
