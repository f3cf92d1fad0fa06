/* engine.h - lab 3: connections on one ring, each operation with its deadline.
 *
 *      loop (ours)                    engine.c (yours)            the ring
 *      engine_turn()             -->  writes operations    -->    SQ
 *      io_uring_submit_and_wait                                   ...
 *      engine_complete(cqe)      <-----------------------------   CQ
 *
 * The protocol is echo, as a session (common/session.h): the engine moves
 * bytes, the session says what they mean.
 *
 * What the engine promises
 *  - One operation at a time for a connection, and each is two SQEs: a receive
 *    or a send with IOSQE_IO_LINK, and behind it a linked timeout of idle_ms.
 *    Both are in one submission.  So each operation has two completions, which
 *    come in either order:
 *
 *        operation   its timeout
 *        bytes       -ECANCELED   it was done in time
 *        -ECANCELED  -ETIME       it was late: the connection is closed
 *        bytes       -ETIME       both at the same moment: the bytes count
 *
 *  - The next operation starts, and the connection ends, when both have come
 *    back.  Its memory is released then and not before.
 *  - A send is short at any time: what is left goes with the next one.  A send
 *    asks for at most SEND_MOST bytes, and for that much if there is that much.
 *  - -EINTR and -EAGAIN mean that nothing has happened: the same again.  Every
 *    other error, and the end of the peer once all is answered, close the
 *    connection.
 *  - The accept is multishot.  Without IORING_CQE_F_MORE a completion is its
 *    last one, whatever its result is; then engine_turn() arms another, unless
 *    engine_stop() was called.  There is never more than one.  Its user_data is
 *    ACCEPT, a number of this course: traces of the ring show it.
 *  - The SQ may be small, and io_uring_submit() may take nothing (-EBUSY) until
 *    completions have been taken.  What finds no room in the SQ even after a
 *    submission waits, and is written by a later engine_turn(), in order.  A
 *    submission that need not be is not made: the loop makes one each turn.
 */
#ifndef ENGINE_H
#define ENGINE_H

#include <errno.h>
#include <liburing.h>

#include "session.h"

struct engine_setup {
    struct io_uring *ring;
    int listener;
    int idle_ms; /* 1 or more */
    const struct app *app;
    struct stats *stats;
};

/* Once, before all others. */
void engine_open(const struct engine_setup *setup);

/* Before each submission of the loop. */
void engine_turn(void);

/* One completion. */
void engine_complete(const struct io_uring_cqe *cqe);

/* No accept is armed from now on; the loop ends the one in flight. */
void engine_stop(void);

/* ---- you call these instead of malloc(), free() and close() ---- */

void *conn_memory(size_t n); /* zeros; never NULL */
void conn_release(void *mem);
void sock_close(int fd);

#endif
