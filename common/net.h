/* net.h - what all stages do with sockets in the same way. */
#ifndef NET_H
#define NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A listening TCP socket (close-on-exec, non-blocking) on host:port; *port gets
 * the number when it was 0.  Accepted sockets inherit TCP_NODELAY, SO_OOBINLINE
 * (urgent data is data like any other) and TCP_NOTSENT_LOWAT (the kernel holds
 * little more than 128 KiB that it could not send yet).  Dies with the reason
 * when that fails, also when another process shares the port by SO_REUSEPORT.
 * With n > 1, n sockets share the port (SO_REUSEPORT).
 *
 * When host is a name of several addresses, it listens at all that this machine
 * has, on one port, and fds are doors (door.h).  The functions below take
 * listeners and doors.  Call it before any thread is started. */
void net_listen(const char *host, int *port, int n, int fds[]);

/* The listeners are doors.  Wait for readiness of one as for that of a
 * listener; but the kernel cannot accept from it by itself. */
bool net_several(void);

/* An address as a URL has it, [::1], without its brackets; changes the text. */
char *net_host(char *text);

/* For a drain: how many peers wait in the accept queue (0 when listener is -1).
 * The server accepts these before it closes the listener, because a close
 * resets them and loses the requests that they have sent.  The call also makes
 * the listener non-blocking: later accepts do not wait. */
int net_last(int listener);

/* Ends the accepts that wait on a listener; later ones fail with EINVAL.  Does
 * nothing when it is -1. */
void net_shut(int listener);

/* The same, closes it, and *fd becomes -1. */
void net_unlisten(int *fd);

/* The ready line: "listening on 127.0.0.1:43121" on stdout, flushed. */
void net_ready(const char *stage, const char *host, int port);

/* accept4(): a close-on-exec socket, or -errno; blocking only if asked.  EINTR
 * and a peer that left already (ECONNABORTED, EPROTO and the network errors
 * that accept passes on) are tried again.  So -EAGAIN: no peer is waiting;
 * -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM: stop accepting for a while. */
int net_accept(int listener, bool nonblocking);

/* After accept's -errno.  True: accepting again at once would fail again
 * (descriptors, memory, a firewall, an unknown error), so pause.  False: the
 * peer left before it was accepted, or none was there, so wait for the next. */
bool net_accept_later(int err);

/* A peer's deadline has come: returns how many ms more it has; 0: it is late.
 * Call it only then: two system calls are too much for every request.
 *
 *  - Bytes that wait in the socket are no silence: this process may have been
 *    stopped meanwhile.  hears: the connection waits for bytes.
 *  - A peer that is owed bytes has idle_ms from when it last took some.  A send
 *    that finds no room says nothing about that: Linux reports room only when
 *    a good part of the buffer is free.  So the kernel is asked what the peer
 *    has acknowledged; the answer to a window probe acknowledges no byte.
 *  - A connection that waits for neither waits for us: its peer is not late.
 *
 * *acked: bytes acknowledged when it was last asked; 0 for a new connection. */
int64_t net_grace_ms(int fd, bool hears, int64_t idle_ms, uint64_t *acked);

/* Lets the next recv (SO_RCVTIMEO) or send (SO_SNDTIMEO) of a blocking socket
 * sleep for ms, then fail with EAGAIN; at most 10 ms later or earlier.
 * *known_ms: the limit that the socket has, 0 for a new one.  The kernel is
 * called only when that is off by more, so not at every request. */
void net_limit(int fd, int option, int64_t ms, int64_t *known_ms);

/* Closes without losing the answer: close() with unread input sends RST, which
 * can destroy bytes the peer has not read.  Shuts the sending side down and
 * discards what has arrived, at most 256 KiB, never waiting. */
void net_close(int fd);

#endif
