/* switches.h - the switches of stage 5, beside the common ones. */
#ifndef SWITCHES_H
#define SWITCHES_H

#include "parts/launch.h"
#include "parts/uring.h"

struct server {
    struct service service;
    struct team team; /* --pin */
    struct uring_options uring;
    unsigned buffers; /* --buffers: pieces of a worker's arena */
    int helpers;      /* --pool: of each worker; 0: it runs the requests */
};

extern const struct argp switches_argp; /* its input is a struct server */

#endif
