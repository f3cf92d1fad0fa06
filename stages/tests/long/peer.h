/* peer.h - one connection of a crowd: its plan and where it stands. */
#ifndef PEER_H
#define PEER_H

#include "long.h"

/* clang-format off */
#define MANNERS(X) /* name, how many in a hundred or so */                     \
    X(TALKER, "talker", 26)           /* asks, waits, thinks, asks */          \
    X(PIPELINER, "pipeliner", 14)     /* asks many times before it reads */    \
    X(SLOW_WRITER, "slow-writer", 8)  /* a few bytes at a time */              \
    X(SLOW_READER, "slow-reader", 8)  /* the same, with small buffers */       \
    X(STEADY, "steady", 2)            /* slowly, long past a deadline */  \
    X(REFUSED, "refused", 3)          /* says too large a body, then reads */  \
    X(BIG, "big", 6)                  /* large bodies, both ways at once */    \
    X(HOT, "hot", 3)                  /* asks as fast as it can for seconds */ \
    X(BUSY, "busy", 8)                /* mostly /work and /sleep */            \
    X(IDLER, "idler", 8)              /* connects, asks much later */          \
    X(SILENT, "silent", 2)            /* never says a word: is closed */       \
    X(LORIS, "loris", 2)              /* never ends its request: is closed */  \
    X(STALLED, "stalled", 2)          /* never reads its answer: is closed */  \
    X(VANDAL, "vandal", 6)            /* ends with a malformed request */      \
    X(TOUCH, "touch", 30)             /* comes and goes */
/* clang-format on */

enum manner {
#define X(id, name, weight) id,
    MANNERS(X)
#undef X
        N_MANNERS
};

enum ask {
    ASK_HELLO,
    ASK_HEALTH,
    ASK_HEAD, /* HEAD /bytes/N */
    ASK_BYTES,
    ASK_POST,
    ASK_CHUNKED,
    ASK_WORK,
    ASK_SLEEP,
    ASK_FILE,
    ASK_METRICS,
    ASK_MISSING, /* 404 */
    ASK_WRONG,   /* 405, with a body to skip */
    ASK_BAD,     /* malformed: an error, and the end */
    ASK_RAW,     /* --app echo: a stream that comes back */
};

/* What happens after the last answer. */
enum ending {
    END_ASK,   /* the last request says Connection: close */
    END_OLD,   /* the last request is HTTP/1.0 */
    END_HALF,  /* FIN right behind the last request, before its answer */
    END_LEAVE, /* we close */
    END_STAY,  /* we wait for the server to lose its patience */
};

/* What goes wrong before that, at a number of bytes. */
enum cut {
    CUT_NOT,
    CUT_SAID_RESET,  /* RST */
    CUT_SAID_CLOSE,  /* close(), whatever is still to be read */
    CUT_SAID_FIN,    /* half-close within a request; the others are answered */
    CUT_HEARD_RESET, /* RST in the middle of an answer */
    CUT_HEARD_CLOSE,
};

struct due {
    enum ask ask;
    int status;
    uint64_t token;  /* of the body, and in Content-Type */
    uint64_t size;   /* of the body that comes */
    uint64_t length; /* as announced */
    uint64_t ends;   /* bytes said up to the end of the request */
    double at;       /* when its first byte was made */
    bool close;      /* the answer says so, and is the last */
    bool keep;       /* HTTP/1.0 with keep-alive */
    bool may_go_on;  /* a 100 Continue is due first, */
    bool held;       /* and the body waits for it */
};

enum { TEXT = 1024, OUT = 20 * 1024, HEAD = 2048 };

enum body_part { NO_BODY, BODY, CHUNK_LINE, CHUNK_DATA, CHUNK_END, LAST_END };

struct peer {
    int fd; /* -1: this place is free */
    uint64_t number;
    struct rng r;
    /* the plan */
    enum manner manner;
    int asks, depth;
    double ask_at, think; /* no request before; and from answer to request */
    size_t say_piece, hear_piece;
    double say_pause, hear_pause;
    enum ending ending;
    enum cut cut;
    uint64_t cut_at;
    double until; /* HOT: asks until then; STEADY: reads slowly */
    bool small;   /* small kernel buffers */
    bool winding; /* EBB: the plan was cut short, */
    bool strict;  /* and now it must be closed at its deadline */
    /* saying */
    bool connected, hold, fin, broken;
    int begun;
    char text[TEXT]; /* what comes next, and then ... */
    size_t text_len, text_pos;
    uint64_t token, off, run; /* ... a run of the body's bytes, */
    uint64_t rest;            /* ... more chunks, */
    bool chunked;             /* ... and the end of the last one */
    char out[OUT];
    size_t out_pos, out_len;
    uint64_t made, said;
    struct due due[MAX_DUE];
    unsigned first, n_due;
    /* hearing */
    char head[HEAD];
    size_t n_head;
    enum body_part part;
    uint64_t body_off, body_left, heard;
    bool over; /* the server said that this was its last answer */
    /* clocks */
    double opened, say_at, hear_at, last_said;
    double stirred; /* the crowd's awake clock, when something last moved */
};

extern const char *const manner_names[N_MANNERS];

/* Draws the plan of peer `number`.  A storm is made of short visits. */
void script_plan(struct peer *p, const struct run *run, int crowd,
                 uint64_t number, bool storm);

/* Would script_fill() make a byte now? */
bool script_ready(const struct peer *p, double at);
/* All is said that will ever be. */
bool script_done(const struct peer *p);
/* Makes the next piece in p->out. */
void script_fill(struct peer *p, const struct run *run, struct tally *t,
                 double at);
/* Finishes the request at hand and begins no other. */
void script_wind_up(struct peer *p);
/* Forgets what was not said by now, and the answers to it. */
void script_stop(struct peer *p);

/* Takes n bytes that arrived; why they are wrong, or NULL. */
const char *reply_take(struct peer *p, const struct run *run, struct tally *t,
                       const char *from, size_t n);
/* An answer has begun and has not ended. */
bool reply_partial(const struct peer *p);
/* The stream of --app echo has no end of its own: is it all back? */
void reply_settle(struct peer *p);

static inline struct due *due_first(struct peer *p)
{
    return &p->due[p->first];
}

static inline enum mood mood_of(const struct run *run)
{
    return (enum mood)atomic_load_explicit(&run->shared->mood,
                                           memory_order_relaxed);
}

#endif
