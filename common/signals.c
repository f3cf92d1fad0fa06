/* signals.c - see signals.h. */
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { NS_PER_MS = 1000 * 1000 };

/* For the handler below; written before it is installed. */
static struct cancel *to_stop;
static int64_t drain_ns;
static int event;

static void on_signal(int signo)
{
    static _Atomic int64_t first_ns; /* 0: none yet */
    int saved = errno;
    struct timespec now;
    int64_t now_ns, first = 0;

    clock_gettime(CLOCK_MONOTONIC, &now);
    now_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    if (!atomic_compare_exchange_strong(&first_ns, &first, now_ns)) {
        if (now_ns - first >= SIGNALS_APART_MS * (int64_t)NS_PER_MS)
            _exit(128 + signo);
    } else {
        cancel_request(to_stop, CANCEL_DRAIN);
        cancel_deadline(to_stop, now_ns + drain_ns);
        eventfd_write(event, 1);
    }
    errno = saved;
}

int signals_open(struct cancel *stop, int64_t drain_ms)
{
    /* SA_RESTART: a blocking call elsewhere takes no notice. */
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    to_stop = stop;
    drain_ns = drain_ms * NS_PER_MS;
    event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (event < 0)
        die("eventfd: %s", strerror(errno));
    signal(SIGPIPE, SIG_IGN);
    sigaddset(&sa.sa_mask, SIGTERM);
    sigaddset(&sa.sa_mask, SIGINT);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    sigprocmask(SIG_UNBLOCK, &sa.sa_mask, NULL);
    return event;
}
