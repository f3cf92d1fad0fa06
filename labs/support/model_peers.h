/* model_peers.h - peers of a model ring's echo server that check each byte, and
 * turns until nothing happens. */
#ifndef MODEL_PEERS_H
#define MODEL_PEERS_H

#include <stddef.h>

/* Of each lab's tests: one turn of the student's loop, then one of the model.
 * Returns how many completions it brought. */
unsigned turn(void);

/* Turns until three of them bring nothing; too many fail the test. */
void run(void);

/* A new peer that the server has accepted; its descriptor. */
int connected(void);

/* The peer says n more bytes. */
void say(int fd, size_t n);

/* The peer has got back what it said, all of it and nothing else. */
void must_hear_all(int fd);

/* A real ring: steps of both sides until the first n peers of real_peers.h have
 * heard what they said.  Each of them reads up to `most` bytes a step. */
void talk(int n, size_t most, void (*step)(int ms));

/* A real ring: steps until the server has no connection left. */
void must_have_no_connection(void (*step)(int ms));

#endif
