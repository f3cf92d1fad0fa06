/* config.h - the load generator's command line. */
#ifndef CONFIG_H
#define CONFIG_H

#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "draw.h"

enum { CONFIG_MAX_CPUS = 64, CONFIG_MAX_PIDS = 64, CONFIG_MAX_DEPTH = 4096 };

enum method { METHOD_GET, METHOD_HEAD, METHOD_POST };
enum spin { SPIN_AUTO, SPIN_ON, SPIN_OFF };
enum engine_kind { ENGINE_EPOLL, ENGINE_URING, ENGINE_AUTO };

struct config {
    /* where to */
    const char *host; /* as given; goes into the Host field */
    int port;
    struct sockaddr_storage addr; /* the one in use, of those below */
    socklen_t addr_len;
    struct addrinfo *addrs; /* all that the host's name stands for */
    int sources;            /* 127.0.0.2 and on; 0: let the kernel choose */

    /* what */
    bool echo; /* raw echo instead of HTTP */
    enum method method;
    const char *path;
    int64_t size;       /* bytes of an echo message or POST body; -1: default */
    const char *expect; /* the body that must come; NULL: by the path */
    int64_t expect_len; /* bytes of it */
    bool expect_any;    /* the body may be anything that its framing says */
    int expect_status;
    struct service service;
    bool service_sleep; /* /sleep/US instead of /work/US */
    bool mix;           /* /bytes/k, k of each request different */

    /* how */
    int connections, threads, depth;
    bool close;  /* a connection per request */
    double rate; /* requests a second, 0: closed loop */
    bool poisson;
    struct pattern pattern;
    enum spin spin;          /* see run.spins */
    enum engine_kind engine; /* see engine.h; auto only until it is chosen */
    int64_t duration_ns, warmup_ns, timeout_ns, connect_timeout_ns;
    int64_t turn_ns; /* the window comes in turns of this length; 0: whole */
    bool hold;       /* the warm-up begins when stdin says */
    uint64_t seed;

    /* beside it */
    int idle, processes; /* the crowd */
    int64_t heartbeat_ns;

    /* what to note */
    int cpus[CONFIG_MAX_CPUS], cpu_count; /* thread i runs on cpus[i % count] */
    int pids[CONFIG_MAX_PIDS], pid_count; /* the server's processes */
    double server_cpus; /* that it may use; 0: ask the kernel */
    const char *json, *hgrm;
    bool cells; /* the whole histograms in the JSON, too */
    bool quiet;

    /* tests only: the generator itself sleeps in the measured window */
    int64_t pause_at_ns, pause_ns;
};

/* Leaves with 64 and the reason on wrong usage. */
void config_parse(struct config *cf, int argc, char **argv);

/* From here on connections go to this one of cf->addrs. */
void config_address(struct config *cf, const struct addrinfo *ai);

#endif
