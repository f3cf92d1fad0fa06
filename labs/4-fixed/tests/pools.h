/* pools.h - lab 4: buffers of two sizes, in two rings, chosen per connection.
 *
 *      echo.c (ours)              pools.c (yours)            the kernel
 *      before a receive    -->    pools_choose: which ring
 *      recv, buffer select -------------------------------->  takes a buffer
 *                                                             when bytes come
 *      its completion      -->    pools_received: which buffer, or in line
 *      nothing left of it  -->    pools_back  ------------->  in the ring again
 *      once a turn         -->    pools_turn, pools_next: which may try again
 *
 * What the pools promise
 *  - pools_open() puts every buffer into its ring, once.  From then on a buffer
 *    is either in its ring or held by one reader, and no buffer is ever lost.
 *  - A new reader receives into small buffers.  A receive that fills a small
 *    buffer to its last byte shows that it needs a large one: so does the next
 *    receive.  After CALM receives in a row into large buffers that would have
 *    fit a small one (their size or less), the next one is small again.
 *  - A receive that ends with -ENOBUFS puts its reader in line for a buffer of
 *    that pool.  A buffer that comes back, whoever brings it, lets the first in
 *    line try again: in each turn as many readers as there are buffers in the
 *    ring, no more, and each pool by itself.
 *  - A reader that tried again and found nothing (another one was faster) goes
 *    back to its place: none that came later is before it.
 *  - A reader that tries again and has nothing to receive blocks no other: in
 *    the next turn the next in line may try.
 *
 * One thread; nothing here waits or allocates.
 */
#ifndef POOLS_H
#define POOLS_H

#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum { SMALL, LARGE, POOLS };

/* Buffers of one size.  The ring is registered with the kernel, and empty. */
struct pool {
    struct io_uring_buf_ring *ring;
    uint8_t *memory; /* n * size bytes: buffer i begins at i * size */
    unsigned n;      /* buffers, and entries of the ring; a power of two */
    unsigned size;   /* bytes of one */
};

/* Of a connection.  All fields are yours; they begin as zeros. */
struct reader {
    STAILQ_ENTRY(reader) line;
    bool in_line;
    bool holds;      /* a buffer: */
    uint16_t id;     /* this one */
    uint8_t from;    /* of this pool, SMALL or LARGE */
    uint8_t next;    /* pool of its next receive */
    unsigned calm;   /* see CALM */
    uint64_t ticket; /* its place in line; 0: none */
};

/* Once, before all others. */
void pools_open(const struct pool given[POOLS]);

/* The buffer group of the receive that is about to be written: SMALL_GROUP or
 * LARGE_GROUP, numbers of this course. */
unsigned pools_choose(struct reader *r);

/* That receive has completed, with this result and these flags.  Returns the
 * buffer that holds its bytes; NULL: it brought none (no buffer, the peer's
 * end, an error). */
uint8_t *pools_received(struct reader *r, int res, unsigned flags);

/* Nothing is left in the buffer that r holds: the kernel may have it.  Without
 * one this does nothing. */
void pools_back(struct reader *r);

/* A turn begins. */
void pools_turn(void);

/* The next reader that may try again in this turn; NULL: there is none. */
struct reader *pools_next(void);

/* The connection ends, wherever its reader is.  Nothing of it is in flight. */
void pools_leave(struct reader *r);

#endif
