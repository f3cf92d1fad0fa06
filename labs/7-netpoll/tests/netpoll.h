/* netpoll.h - tasks that look blocking, all on one thread.
 *
 * A task is a function with a stack of its own.  It runs until it waits; then
 * another task that is ready runs.  Nobody is preempted, and no task runs
 * before netpoll_run() is called.
 *
 *      task             netpoll                         kernel
 *      recv: EAGAIN
 *      netpoll_wait --> parks the task, runs others
 *                       nobody is ready: epoll_wait ---->
 *                       the task is ready again  <------ readable
 *      recv: 78 bytes <--
 *
 * Rules
 *  - A task tries its call first and waits only after EAGAIN.
 *  - At most one task waits for a descriptor at a time.
 *  - netpoll_close() is called before a descriptor that was waited for is
 *    closed, by a task that is not waiting for it.
 */
#ifndef NETPOLL_H
#define NETPOLL_H

#include <stdbool.h>
#include <stdint.h>

/* Before anything else; ends the process with a message when it cannot. */
void netpoll_open(void);

/* A new task; it is ready.  False: no memory, and nothing was started. */
bool netpoll_go(void (*run)(void *), void *arg);

/* Runs tasks until none is left.  It must not poll: while all tasks wait, the
 * thread sleeps in the kernel until the soonest event or timeout. */
void netpoll_run(void);

/* ---- called by a task ---- */

/* Parks the task until the descriptor is ready for one of the events (EPOLLIN,
 * EPOLLOUT), has failed or was hung up (then 0, too: the next call says why),
 * or timeout_ms have passed: -ETIMEDOUT.  timeout_ms < 0: no timeout.  Another
 * -errno: the descriptor cannot be waited for. */
int netpoll_wait(int fd, uint32_t events, int timeout_ms);

/* Lets all tasks run that are ready now. */
void netpoll_yield(void);

/* The descriptor is about to be closed: its number may come back. */
void netpoll_close(int fd);

#endif
