/* pieces.h - memory for windows: a stack of pieces for every worker.
 *
 * A connection borrows a piece while it has bytes, as in stage 4.  It borrows
 * from the worker that runs it, and may give the piece back to another one.  So
 * no worker owns a piece: pieces come from the heap, and a worker keeps those
 * that it gets back, at most PIECES.  It lends the newest first, because that
 * one is still in the cache.  No two threads share anything here; the heap has
 * its own lock.
 */
#ifndef PIECES_H
#define PIECES_H

#include <stdlib.h>

#include "buf.h"

enum { PIECES = 512 }; /* kept by a worker: 8 MiB */

struct pieces {
    void *mem[PIECES];
    int n;
};

/* A window for b, unless it has one.  False: no memory. */
static inline bool piece_lend(struct pieces *p, struct buf *b)
{
    void *mem;

    if (b->mem)
        return true;
    mem = p->n > 0 ? p->mem[--p->n] : malloc(BUF_SIZE);
    if (mem)
        buf_lend(b, mem, BUF_SIZE);
    return mem != NULL;
}

/* Takes back a window that holds nothing. */
static inline void piece_reclaim(struct pieces *p, struct buf *b)
{
    if (!b->mem || buf_len(b) > 0)
        return;
    if (p->n < PIECES)
        p->mem[p->n++] = buf_reclaim(b);
    else
        free(buf_reclaim(b));
}

/* Takes a window back and drops its bytes: the connection ends. */
static inline void piece_drop(struct pieces *p, struct buf *b)
{
    buf_consume(b, buf_len(b));
    piece_reclaim(p, b);
}

static inline void pieces_free(struct pieces *p)
{
    while (p->n > 0)
        free(p->mem[--p->n]);
}

#endif
