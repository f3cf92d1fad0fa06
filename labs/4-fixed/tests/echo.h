/* echo.h - lab 4: an echo server without a loop, on the student's pools.
 *
 * Read it: it is the only code that calls pools.h.  One operation at a time for
 * a connection.  What is received lies in a buffer of the pools; the answer
 * leaves through a window of ANSWER bytes, so a large buffer is held for
 * several sends.
 */
#ifndef ECHO_H
#define ECHO_H

#include "pools.h"
#include "session.h"

enum { ANSWER = 2048, ACCEPTS_DATA = 1 };

void echo_open(struct io_uring *ring, int listener, const struct app *app,
               struct stats *stats);

/* Before each submission. */
void echo_turn(void);

void echo_complete(const struct io_uring_cqe *cqe);

/* Ends a connection of which nothing is in flight: it waits in line. */
void echo_drop(int fd);

#endif
