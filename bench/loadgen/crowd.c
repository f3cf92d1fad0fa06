/* crowd.c - see crowd.h. */
#include "crowd.h"

#include <stddef.h>

#include "check.h"

/* This version cannot hold a crowd and says so. */
struct crowd *crowd_start(const struct config *cf)
{
    if (cf->idle > 0)
        die_status(2, "loadgen: --idle is not supported in this version");
    return NULL;
}

void crowd_begin(struct crowd *c) { (void)c; }
void crowd_stop(struct crowd *c) { (void)c; }

void crowd_read(const struct crowd *c, struct crowd_counts *sum)
{
    (void)c;
    (void)sum;
}
