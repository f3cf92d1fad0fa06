/* long.h - the long run: one server, hundreds of peers, most of them rude.
 *
 *   main.c     starts the server, says what the weather is, samples, judges
 *   watch.c    the server seen from outside: /proc, /metrics, its end
 *   crowd.c    one process that plays some hundred peers in one poll loop
 *   script.c   what a peer will do, and the bytes that it says
 *   reply.c    whether what it hears is what is due
 *
 * Each peer's life follows from the seed, its crowd and its number.  No request
 * body or answer of any size is stored: byte i of a body is a function of the
 * request's token and of i, so a lost, doubled, altered or displaced byte
 * differs from what is due there, whatever the size.
 */
#ifndef LONG_H
#define LONG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    MAX_CROWDS = 16,
    MAX_PEERS = 1024, /* of one crowd, storms included */
    MAX_DUE = 32,     /* answers that one peer can wait for */
    N_FILES = 6,
    MAX_FOUND = 20, /* findings that are shown */
};

/* FLOOD: everything at once.  EBB: nobody new, the others come to their ends.
 * CALM: the same, but who is there to be closed at a deadline waits for it; the
 * loops of stages 2 to 4 do not count the time that handlers held them, so in a
 * flood their deadlines come late.  DRAIN: the server has been told to end.
 * OVER: the crowds end, too. */
enum mood { FLOOD, EBB, CALM, DRAIN, OVER };

/* What a crowd has done so far.  One writer each; the judge adds them up. */
#define TALLY(X)                                                               \
    X(connects)    /* connections made */                                      \
    X(asked)       /* requests of which a byte was made */                     \
    X(answered)    /* answers whose header section arrived */                  \
    X(works_asked) /* of those /work and /sleep */                             \
    X(works_done)                                                              \
    X(errors_asked) /* of those with an error for an answer */                 \
    X(errors_got)                                                              \
    X(said)       /* bytes the kernel took from us */                          \
    X(said_whole) /* the same, on connections that ended as planned */         \
    X(heard)      /* bytes received */                                         \
    X(ended)      /* connections that ended as planned */                      \
    X(cut)        /* connections that we broke off */                          \
    X(timed_out)  /* connections that the server closed at their deadline */   \
    X(spared)     /* those that it should have closed, in a flood */           \
    X(late)       /* closed by the server, but we had been slow ourselves */   \
    X(begun)      /* peers that began */                                       \
    X(live)       /* connections open now */                                   \
    X(found)      /* findings */

struct tally {
#define X(name) _Atomic uint64_t name;
    _Alignas(128) TALLY(X)
#undef X
};

#define COUNT(t, name, n)                                                      \
    atomic_store_explicit(                                                     \
        &(t)->name,                                                            \
        atomic_load_explicit(&(t)->name, memory_order_relaxed) + (n),          \
        memory_order_relaxed)

struct shared {
    _Atomic int mood;
    struct tally tally[MAX_CROWDS + 1]; /* the last one is the judge's own */
};

/* The same for all crowds; fixed before the first is started. */
struct run {
    struct shared *shared;
    int port;
    bool echo;
    uint64_t seed;
    int crowds, peers, storm;
    double seconds, idle_s, patience_s;
    int work_us;      /* the longest handler */
    const char *only; /* names of manners, or NULL */
    uint64_t file_token[N_FILES];
    size_t file_size[N_FILES];
    double start; /* now() */
    pid_t server; /* 0: not running */
    int out, err; /* its stdout and stderr */
};

/* splitmix64: a seed means the same bytes everywhere. */
struct rng {
    uint64_t state;
};

struct rng rng_start(uint64_t seed, uint64_t a, uint64_t b);
uint64_t rng_next(struct rng *r);
size_t rng_between(struct rng *r, size_t low, size_t high); /* inclusive */
double rng_real(struct rng *r, double low, double high);
bool rng_odds(struct rng *r, unsigned percent);

double now(void); /* seconds, CLOCK_MONOTONIC */

/* Bytes off to off + n of the body that belongs to a token; and of /bytes. */
void token_bytes(uint64_t token, uint64_t off, char *dst, size_t n);
void pattern_bytes(uint64_t off, char *dst, size_t n);

/* The life of one crowd; returns when the mood is OVER. */
void crowd_main(const struct run *run, int number);

/* ==== watch.c ============================================================= */

/* Starts argv and waits for its ready line; the exit status when there is none,
 * else 0. */
int server_start(struct run *run, char **argv);
int server_status(struct run *run); /* exit status; -1: it runs */
const char *server_stderr(const struct run *run);
long server_fds(const struct run *run);
long server_threads(const struct run *run);
long server_private_kib(const struct run *run);
double server_cpu(const struct run *run);
uint64_t listen_drops(void);

/* One request on a connection of its own, counted in *t; the body in a static
 * buffer, or NULL. */
const char *probe(const struct run *run, struct tally *t, const char *target);
uint64_t metric(const char *text, const char *name);

#endif
