/* signals.h - SIGTERM and SIGINT become a token and a descriptor. */
#ifndef SIGNALS_H
#define SIGNALS_H

#include <stdint.h>

#include "cancel.h"

/* A supervisor may deliver one order twice, to the process and to its group:
 * a second signal counts from so long after the first one on. */
enum { SIGNALS_APART_MS = 200 };

/* The first SIGTERM or SIGINT raises *stop to CANCEL_DRAIN, gives it a deadline
 * drain_ms away, and makes the returned eventfd readable for good.  A second
 * one, at least SIGNALS_APART_MS later, ends the process at once with status
 * 128 + signal, also while a handler runs.  SIGPIPE is ignored.  What the
 * parent process has blocked or ignored of these changes nothing.  Blocking
 * calls go on.  Call it before anything else may run beside it; dies with the
 * reason when there is no descriptor left. */
int signals_open(struct cancel *stop, int64_t drain_ms);

#endif
