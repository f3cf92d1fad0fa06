/* door.h - several listeners that look like one.
 *
 * A name may stand for several addresses (localhost: 127.0.0.1 and ::1), and
 * each of them needs a listener of its own.  A loop that knows one listener
 * need not care: one descriptor, the door, stands for all of them.  It is
 * readable while a peer waits at any of them, and net_accept() takes the first.
 * Only an accept that waits in the kernel must know of doors: net_several().
 */
#ifndef DOOR_H
#define DOOR_H

#include <stdbool.h>

enum { DOOR_LISTENERS = 16 };

/* The door to n non-blocking listeners, or -errno.  It owns them.  Call it
 * before any thread is started; what follows is for any thread. */
int door_open(const int listeners[], int n);

bool door_any(void);   /* this process has a door */
bool door_is(int fd);  /* fd is one */
int door_size(int fd); /* how many listeners; 0: no door */
int door_listener(int fd, int i);

/* Like accept4(), on a listener at which a peer waits. */
int door_accept(int fd, int flags);

/* Ends every wait for this door: from here on it stays readable, and accept
 * fails with EINVAL.  The listeners stay open, but listen no more: a poll that
 * is in flight looks at them once more, and must find them. */
void door_shut(int fd);

/* Forgets the door and closes it. */
void door_close(int fd);

#endif
