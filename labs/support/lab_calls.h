/* lab_calls.h - what a lab's server asks of the kernel, counted from outside.
 *
 * lab_calls.c is linked with the student's server: the linker leads the calls
 * that grade.toml names under `wrap` through it.  It counts them, lets
 * fault_wrap.c make some fail, and keeps the student's hands off the counts:
 * the line that reports them begins with a number that only the tests know.
 *
 * A turn is what happens between two returns of epoll_wait().
 */
#ifndef LAB_CALLS_H
#define LAB_CALLS_H

struct server;

#define LAB_NONCE "LAB_NONCE" /* its name in the environment */

struct counts {
    unsigned long recvs, sends, accepts, polls, threads; /* pthread_create */
    unsigned long waits, ctls;       /* epoll_wait, epoll_ctl */
    unsigned long most_in, most_out; /* bytes of a descriptor in one turn */
    unsigned long early;             /* it was used in the turn that accepted
                                        * it, before epoll had reported it */
    unsigned long gone;              /* EBADF: it was closed already */
    unsigned long dry;               /* receives that found nothing */
    unsigned long switches;          /* swapcontext */
};

/* The server's side, when all is over. */
void lab_calls_say(void);

/* The tests' side: SIGTERM, exit status 0, and what the server had counted; or
 * the test fails and shows what the server said. */
struct counts lab_counts(struct server *s);

/* SIGSTOP, and it has stopped when this returns.  A server that is stopped a
 * moment later may have fetched an event before it. */
void lab_stop(const struct server *s);

#endif
