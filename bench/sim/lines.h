/* lines.h - what the simulator is made of: lines of requests, and a heap of
 * events.
 */
#ifndef LINES_H
#define LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is done next for a request. */
enum phase { RECEIVE, HANDLE, REPLY };

struct request {
    struct request *next;
    double came;    /* us */
    double service; /* us, its handler alone */
    int connection, home;
    enum phase phase;
    bool slow;
};

/* First in, first out.  line_init() comes first: a line points to itself. */
struct line {
    struct request *first, **last;
    int n;
};

void line_init(struct line *l);
void line_push(struct line *l, struct request *r);
struct request *line_pop(struct line *l); /* NULL: it is empty */
void line_move(struct line *to, struct line *from, int n);

enum kind { ARRIVE, SEEN, VISIBLE, DONE, TURN, WOKEN, LOOK };

struct event {
    double at;       /* us */
    uint64_t number; /* events of one moment keep their order */
    enum kind kind;
    int core;
    struct request *request;
};

/* A binary heap, the next event at its root. */
struct heap {
    struct event *all;
    size_t n, room;
    uint64_t number;
};

void heap_add(struct heap *h, struct event e); /* sets e.number */
struct event heap_take(struct heap *h);        /* h is not empty */
void heap_free(struct heap *h);

#endif
