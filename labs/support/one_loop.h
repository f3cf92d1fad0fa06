/* one_loop.h - what every server with one loop must do: tests of several labs.
 *
 * Each of them fails the calling test, and leaves the server running.
 */
#ifndef ONE_LOOP_H
#define ONE_LOOP_H

#include "client.h"

/* n connections at the same time, at most 200: each asks `rounds` times, all
 * say nothing for `silent` seconds, and all close. */
void loop_asked(const struct server *s, int n, int rounds, double silent);

/* n conversations at the same time, each of six exchanges of up to `most`
 * bytes, all of which are checked.  At most 200. */
void loop_talked(const struct server *s, int n, size_t most);

/* The server has --idle-timeout 1: it closes a peer that has asked once and one
 * that has said nothing, and keeps a third that asks now and then. */
void loop_ends_idle(const struct server *s);

/* The same server: the number of a descriptor comes back for another
 * connection, and nothing that the old ones left behind hits that. */
void loop_reuses_numbers(const struct server *s);

/* n peers that ask for much and take nothing. */
void loop_stalled(struct client c[], int n, const struct server *s);

#endif
