/* engine.h - how a thread of the generator waits, receives and sends.
 *
 * There are two.  What is asked, checked and counted is the same code for both
 * (load.c, conn.c); they differ in how often they call the kernel:
 *
 *   epoll   a wait for many connections, then a recv() and a send() for each
 *   uring   one call for up to 16 sends, for what came and for the wait; one
 *           that looks in vain makes no call at all
 *
 * An engine belongs to one thread, which calls open() first.  Each socket is
 * told to it by watch() before it has connected, and by forget() before it is
 * closed.  In between the engine calls conn_writable(), conn_bytes(),
 * conn_ended() and conn_broke(), and load_feed() when it has given everything
 * that had come.
 */
#ifndef ENGINE_H
#define ENGINE_H

#include "load.h"

struct engine {
    const char *name;
    void (*open)(struct load *l);
    void (*close)(struct load *l);

    /* 0 or an errno. */
    int (*watch)(struct load *l, struct conn *c);
    void (*forget)(struct load *l, struct conn *c);

    /* The connection has requests to send: sends them, or does so when the
     * thread waits next. */
    void (*flush)(struct load *l, struct conn *c);

    /* Waits `ns` nanoseconds at most, 0 and less: looks only.  How much has
     * happened; 0: nothing, and nothing was done. */
    int (*wait)(struct load *l, int64_t ns);

    /* Calls for everything that wait() found. */
    void (*deliver)(struct load *l);
};

/* Turns cf->engine from auto into one that this machine has.  Where a ring was
 * asked for and there is none: leaves with 77 and the reason. */
void engine_choose(struct config *cf);

/* The one that was chosen. */
const struct engine *engine_of(const struct config *cf);

extern const struct engine engine_epoll, engine_uring;

/* NULL, or why this machine cannot have a ring as the generator needs it. */
const char *engine_no_uring(void);

#endif
