/* client.h - a plain blocking client that can also behave badly. */
#ifndef TEST_CLIENT_H
#define TEST_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "server.h"

/* What has been received and not yet used is kept in buf. */
struct client {
    int fd; /* -1: not connected */
    char *buf;
    size_t head, len; /* bytes used; bytes held from there on */
    bool eof;         /* the peer said FIN */
    int err;          /* errno of the call that failed (ECONNRESET ...) */
};

enum { REPLY_HEAD = 20 * 1024 };

struct reply {
    int status;
    char head[REPLY_HEAD]; /* status line and fields, NUL-terminated */
    int64_t length;        /* Content-Length, or -1 */
    bool chunked;
    bool close; /* said Connection: close */
    char *body; /* client_reply only; free with reply_free() */
    size_t len;
};

/* Connects, with 20 s (scaled) as the limit of every call; fails the test when
 * the connection is refused. */
void client_open(struct client *c, const struct server *s);
bool client_try(struct client *c, int port); /* false: errno in c->err */
/* With small kernel buffers, so that hundreds of stalled ones cost little. */
void client_open_small(struct client *c, const struct server *s);

void clients_open(struct client c[], int n, const struct server *s);
void clients_close(struct client c[], int n);

void client_close(struct client *c);
void client_reset(struct client *c);                   /* RST */
void client_fin(struct client *c);                     /* half-close */
void client_timeout(struct client *c, double seconds); /* unscaled */

/* False when the peer is gone: see c->err. */
bool client_send(struct client *c, const void *p, size_t n);
bool client_text(struct client *c, const char *text);
__attribute__((format(printf, 2, 3))) bool client_printf(struct client *c,
                                                         const char *fmt, ...);

/* The same bytes in pieces of random sizes, at most max_piece. */
bool client_send_pieces(struct client *c, const void *p, size_t n,
                        struct rng *r, size_t max_piece);

/* Up to n bytes; 0 at the end or on an error. */
size_t client_read(struct client *c, void *p, size_t n);
bool client_read_all(struct client *c, void *p, size_t n);

/* Discards what comes until the connection ends; true when it ended by FIN. */
bool client_ends(struct client *c);
/* The same, and nothing came before the end. */
bool client_ends_silently(struct client *c);
/* True when it ended at all, by FIN or RST. */
bool client_gone(struct client *c);

/* The header section of the next reply; false: none came, or malformed. */
bool client_head(struct client *c, struct reply *r);
/* And its body, by Content-Length, chunks or the end. */
bool client_reply(struct client *c, struct reply *r);
void reply_free(struct reply *r);

/* The field's value in a static buffer, or NULL. */
const char *reply_field(const struct reply *r, const char *name);

/* One request and its reply; false when either failed. */
bool client_get(struct client *c, const char *target, struct reply *r);

/* The route /bytes/N: is this what lies at that offset? */
bool pattern_is(const char *p, size_t n, uint64_t offset);
/* Reads a body of n pattern bytes; returns how many were right in a row. */
uint64_t client_pattern(struct client *c, uint64_t from, uint64_t n);

/* One exchange in whatever protocol APP says; true when it was right. */
bool client_ping(struct client *c);
/* The same on a connection with an idle timeout, last used at *last.  A test
 * that did not get the core for half of that time may have lost it, and opens
 * another one. */
bool client_keeps(struct client *c, const struct server *s, double *last,
                  double timeout);
/* Waits until the server has taken all that was sent from its socket; false
 * when it does not. */
bool client_is_heard(const struct client *c);
/* A new connection, one exchange, close. */
bool server_answers(const struct server *s);

/* The reply is there and says 200; i: the connection, for the message. */
void client_must_be_ok(struct client *c, int i);
/* There are bytes to read. */
bool client_hears(const struct client *c);

/* The counter or gauge NAME in /metrics: of that worker, or of all (-1). */
long client_sample(struct client *c, const char *name, int worker);
/* The same by a connection of its own, which is counted, too. */
long server_sample(const struct server *s, const char *name, int worker);

/* A pipeline of small and large requests (echo: 100 KB in random pieces), every
 * byte of the answers checked; false when the connection ended before the end
 * or an answer was 500 or above. */
enum { ROUND = 100000 }; /* bytes of the large ones */
bool client_round(struct client *c, struct rng *r);
/* Two rounds on each of n connections, one after the other; returns how many
 * of those came through whole. */
int client_traffic(const struct server *s, int n);

/* Starts something large and reads nothing: GET /bytes/64 MiB, which the server
 * has taken then, or for echo sends until the server no longer takes. */
void client_stall(struct client *c, const struct server *s);
/* All at the same time; the server need not have heard of all GETs. */
void clients_stall(struct client c[], int n, const struct server *s);

#endif
