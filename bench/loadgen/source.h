/* source.h - connecting from several loopback addresses.
 *
 * One source address has about 28,000 ports towards one server.  All of
 * 127.0.0.0/8 is loopback, so more addresses cost nothing but a bind(); the
 * port is left to connect() (IP_BIND_ADDRESS_NO_PORT), which may then share it
 * between destinations.
 */
#ifndef SOURCE_H
#define SOURCE_H

#include "config.h"

/* Binds to the source for number n, if sources are wanted, and connects.  0, or
 * an errno; a connect in progress is 0. */
int source_connect(const struct config *cf, int fd, uint32_t n);

#endif
