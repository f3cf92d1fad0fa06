/* server.c - lab 2: what stands around the student's loop. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lab_calls.h"
#include "loop.h"
#include "net.h"
#include "params.h"

int main(int argc, char **argv)
{
    static struct service sv;
    static struct stats stats;
    struct loop_setup setup = {.sv = &sv, .stats = &stats};

    service_open(&sv, "lab2", "Lab 2: one epoll loop.", argc, argv, NULL, NULL);
    service_one_loop(&sv);
    net_listen(sv.opt.host, &sv.opt.port, 1, &setup.listener);
    setup.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (setup.epoll < 0)
        die("lab2: epoll_create1: %s", strerror(errno));
    stats_register(&stats, 0);
    service_ready(&sv, "turns of %d bytes, headers within %d ms",
                  LOOP_TURN_BYTES, LOOP_HEADER_MS);
    loop_run(&setup);
    service_close(&sv);
    lab_calls_say();
    return 0;
}
