/* model_ring.h - a ring without a kernel: what the test says happens, happens.
 *
 *      student's code      struct io_uring      the model
 *      get_sqe, prep  ---> SQ in plain memory
 *      io_uring_submit  -------------------->   takes the SQEs
 *      completion     <----------------------   model_turn() hands CQEs over
 *
 * The inline functions of liburing work on memory, so the student's code is the
 * same with a real ring.  io_uring_submit() is caught (ld --wrap).  The model
 * knows accept (multishot), recv, send and linked timeouts; sockets are numbers
 * above 1023.  Bytes move when an operation completes, never before: memory
 * that was used for something else meanwhile is seen.
 *
 * A broken rule ends the test with the last events.  One model per process.
 */
#ifndef MODEL_RING_H
#define MODEL_RING_H

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MODEL_FD = 1100, MODEL_SOCKS = 256, MODEL_STARTED = 4096 };

struct model {
    /* What the test wants; it may change at any time. */
    unsigned deadline_ms; /* of every receive and send; 0: they have none */
    unsigned send_limit;  /* of one send, in bytes, as the lab demands: so much
                           * or all there is to echo; 0: any */
    uint64_t accept_data; /* user_data that an accept must have */
    unsigned send_most;   /* bytes of a send that are taken; 0: all */
    int busy;             /* so many submissions take nothing: -EBUSY */
    bool timeout_first;   /* of the two completions of a pair */
    bool hold_second;     /* the second one waits for model_release() */
    bool accept_ends;     /* the next accepted peer ends the accept */

    /* What has happened. */
    unsigned taken;        /* SQEs */
    unsigned submits;      /* calls of io_uring_submit() by the student */
    unsigned sends, recvs; /* taken */
    unsigned largest_send; /* bytes asked for */
    unsigned accepts;      /* taken */
    int accepting;         /* in flight */
    unsigned blocks;       /* of conn_memory(), not released */
    unsigned closed;       /* sockets */
    unsigned no_buffers;   /* receives that ended with -ENOBUFS */
    /* Of the receives, in order: descriptors, and groups of buffers. */
    int started[MODEL_STARTED];
    unsigned group[MODEL_STARTED];
};

extern struct model model;

/* A ring with so many entries in its SQ, a power of two. */
void model_open(struct io_uring *ring, unsigned sq_entries);

/* A listener; it is given to the student. */
int model_listener(void);

/* A peer connects; it waits until it is accepted.  Returns the descriptor that
 * it will have. */
int model_peer(void);

void model_say(int fd, const void *bytes, size_t n); /* and it arrives */
void model_fin(int fd);                              /* the peer says no more */
void model_reset(int fd);                            /* the peer is gone */
void model_stall(int fd, bool on); /* it reads nothing, until it does again */

/* What was sent to the peer so far. */
const uint8_t *model_heard(int fd, size_t *n);
bool model_is_closed(int fd);

/* The deadline of the operation in flight passes.  with_bytes: at the moment at
 * which it completes all the same. */
void model_expire(int fd, bool with_bytes);

/* The next operation on this socket completes with this result (-EINTR ...). */
void model_fail(int fd, int res);

/* The accept in flight ends with an error. */
void model_end_accept(int res);

/* The second completions that were held come with the next turn. */
void model_release(void);

/* What io_uring_submit_and_wait() and the loop behind it do: takes the SQEs,
 * does what can be done, hands over the completions.  Returns how many. */
unsigned model_turn(void (*complete)(const struct io_uring_cqe *cqe));

/* A ring of buffers, as io_uring_register_buf_ring() tells it to the kernel: n
 * entries, a power of two.  Buffer i has `size` bytes at memory + i * size. */
void model_buffers(unsigned group, struct io_uring_buf_ring *ring, unsigned n,
                   uint8_t *memory, unsigned size);

/* Looks at what was put into the rings since the last time.  A buffer that is
 * there already, or is none, ends the test; the others lose their bytes. */
void model_buffers_look(void);

/* How many buffers the kernel holds there. */
unsigned model_buffers_held(unsigned group);

/* A rule is broken: ends the test. */
_Noreturn __attribute__((format(printf, 1, 2))) void
model_broken(const char *how, ...);

/* A line for the story. */
__attribute__((format(printf, 1, 2))) void model_note(const char *what, ...);

/* The last events, one a line, for the message of a test that fails. */
const char *model_story(void);

/* ---- what the student's code calls (each lab's header says it) ---- */

void *conn_memory(size_t n);
void conn_release(void *mem);
void sock_close(int fd);

/* ---- a real ring in the same program ---- */

/* Calls of io_uring_enter that submitted something, in this process. */
extern unsigned real_enters;

/* Of real sockets and memory; the model's are not counted here. */
int __real_io_uring_submit(struct io_uring *ring);

/* Submits and waits up to ms, then hands over the completions. */
unsigned real_turn(struct io_uring *ring, int ms,
                   void (*complete)(const struct io_uring_cqe *cqe));

#endif
