/* buf.h - a byte window over borrowed memory.
 *
 *      mem            head          tail            cap
 *       |  consumed    |  bytes held  |  free room   |
 *
 * A window never allocates and never frees: the engine lends it memory with
 * buf_lend() and takes it back with buf_reclaim().  A window without memory
 * has cap 0: it holds nothing and has no room.  Not thread safe; the session
 * that owns the window is run by one thread at a time.
 */
#ifndef BUF_H
#define BUF_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "check.h"

enum { BUF_SIZE = 16 * 1024 }; /* bytes; one full header section fits */

struct buf {
    uint8_t *mem;
    uint32_t head, tail, cap; /* bytes; head <= tail <= cap */
};

static inline size_t buf_len(const struct buf *b)
{
    return b->tail - b->head;
}
static inline size_t buf_room(const struct buf *b)
{
    return b->cap - b->tail;
}
static inline uint8_t *buf_data(const struct buf *b)
{
    return b->mem + b->head;
}
static inline uint8_t *buf_tail(const struct buf *b)
{
    return b->mem + b->tail;
}

static inline void buf_lend(struct buf *b, void *mem, size_t cap)
{
    CHECK(buf_len(b) == 0);
    *b = (struct buf){.mem = mem, .cap = (uint32_t)cap};
}

/* The memory, or NULL when none was lent.  Only an empty window gives back. */
static inline void *buf_reclaim(struct buf *b)
{
    void *mem = b->mem;

    CHECK(buf_len(b) == 0);
    *b = (struct buf){0};
    return mem;
}

/* n bytes were written at buf_tail(). */
static inline void buf_commit(struct buf *b, size_t n)
{
    CHECK(n <= buf_room(b));
    b->tail += (uint32_t)n;
}

/* The first n bytes held are done with. */
static inline void buf_consume(struct buf *b, size_t n)
{
    CHECK(n <= buf_len(b));
    b->head += (uint32_t)n;
    if (b->head == b->tail)
        b->head = b->tail = 0;
}

/* Moves the bytes held to the front, so that all free room is in one piece. */
static inline void buf_compact(struct buf *b)
{
    size_t n = buf_len(b);

    if (b->head == 0)
        return;
    memmove(b->mem, buf_data(b), n);
    b->head = 0;
    b->tail = (uint32_t)n;
}

/* Appends as much of src as fits; returns how much that was. */
static inline size_t buf_append(struct buf *b, const void *src, size_t n)
{
    if (n > buf_room(b))
        n = buf_room(b);
    if (n > 0)
        memcpy(buf_tail(b), src, n);
    buf_commit(b, n);
    return n;
}

#endif
