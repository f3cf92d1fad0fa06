/* real_peers.h - peers with real sockets in the thread of the test: between two
 * turns of the student's code each of them says and hears what it can. */
#ifndef REAL_PEERS_H
#define REAL_PEERS_H

#include <stdbool.h>
#include <stddef.h>

enum { PEERS = 64 };

struct peer {
    int fd;
    size_t said, heard, all; /* bytes; it says `all` and hears an echo */
    bool ended;              /* the server has closed the connection */
};

extern struct peer peers[PEERS];

/* A listener for them.  send_buffer: SO_SNDBUF of what it accepts, or 0. */
int peers_listener(int send_buffer);

/* The first n connect. */
void peers_open(int n, size_t bytes);

/* Peer i says what it can, and reads up to `most` bytes (0: it does not read).
 * A wrong byte fails the test. */
void peer_step(int i, size_t most);

bool peers_have_all(int n);

/* Call it at each turn: true once nothing has changed for a long time, that is
 * for hundreds of turns and for seconds.  `left`: what must change. */
bool peers_are_stuck(size_t left);

/* They leave, every second one with a reset. */
void peers_vanish(int n);

#endif
