/* probe.h - static probes: places that a tracer can name and stop at.
 *
 * A probe is one `nop` in the code, and a note in the file: where the nop is,
 * and where its arguments are (a register, a word of memory, a constant).  No
 * code is run for it until a tracer replaces the nop, as perf, bpftrace and
 * gdb do; its arguments are values that the code has at hand.  `readelf
 * -n` lists the notes, bench/trace.py asks questions with them.
 *
 * The probes of provider `ioladder`; a stage has those that it has a place for:
 *
 *      conn_open   worker, conn, fd        a connection begins
 *      conn_close  worker, conn            it ends
 *      ready       worker, conn, path      it waits for a thread from here on
 *      run         worker, conn            a thread runs it from here on
 *      steal       worker, victim, count   connections come from another queue
 *      park        worker, wait_ms         the worker asks for events
 *      unpark      worker, count           it has them, or time is up
 *      submit      conn                    an operation is handed to the kernel
 *      complete    conn, result            its result: bytes, or -errno
 *
 *      worker      number of the worker, from 0.  In stage 1, where every
 *                  connection has its thread, the descriptor stands for it;
 *                  stage 5 gives that of a helper's worker, too
 *      conn        address of the connection: the same in all probes from
 *                  conn_open to conn_close, and the user_data of its operations
 *      fd          its descriptor
 *      path        enum probe_path: how it came into the queue.  It was stolen
 *                  when `worker` of `run` is another one than that of `ready`
 *      victim      number of the worker whose queue had them
 *      count       connections; events
 *      wait_ms     how long it may sleep, milliseconds; negative: no limit, 0:
 *                  it only looks
 *
 * There are no probes without <sys/sdt.h> (Debian: systemtap-sdt-dev) or with
 * -DIOLADDER_PROBES=0; then the arguments are not even computed.
 *
 * Source of the format: SystemTap, UserSpaceProbeImplementation.
 */
#ifndef PROBE_H
#define PROBE_H

enum probe_path {
    PATH_LOCAL,   /* by its own events, or because it has more to do */
    PATH_RESCUED, /* its event was taken from the set of a stuck worker */
    PATH_GLOBAL,  /* the queue is that of all workers */
};

#ifndef IOLADDER_PROBES
#if defined __has_include && __has_include(<sys/sdt.h>)
#define IOLADDER_PROBES 1
#else
#define IOLADDER_PROBES 0
#endif
#endif

/* PROBE(name, argument, ...): one to three arguments, integers or pointers. */
#if IOLADDER_PROBES
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#define PROBE(name, ...) STAP_PROBEV(ioladder, name, __VA_ARGS__)
#else
static inline void probe_none(int n, ...)
{
    (void)n;
}
#define PROBE(name, ...)                                                       \
    do {                                                                       \
        if (0)                                                                 \
            probe_none(0, __VA_ARGS__);                                        \
    } while (0)
#endif

#endif
