/* lines.c - see lines.h. */

#include "lines.h"

#include <stdlib.h>

#include "check.h"

void line_init(struct line *l)
{
    *l = (struct line){.last = &l->first};
}

void line_push(struct line *l, struct request *r)
{
    r->next = NULL;
    *l->last = r;
    l->last = &r->next;
    l->n++;
}

struct request *line_pop(struct line *l)
{
    struct request *r = l->first;

    if (!r)
        return NULL;
    l->first = r->next;
    if (!l->first)
        l->last = &l->first;
    l->n--;
    return r;
}

void line_move(struct line *to, struct line *from, int n)
{
    while (n-- > 0)
        line_push(to, line_pop(from));
}

static bool before(const struct event *a, const struct event *b)
{
    return a->at < b->at || (a->at == b->at && a->number < b->number);
}

void heap_add(struct heap *h, struct event e)
{
    size_t i;

    e.number = h->number++;
    if (h->n == h->room) {
        h->room = h->room ? 2 * h->room : 1024;
        h->all = realloc(h->all, h->room * sizeof *h->all);
        CHECK(h->all);
    }
    for (i = h->n++; i > 0 && before(&e, &h->all[(i - 1) / 2]); i = (i - 1) / 2)
        h->all[i] = h->all[(i - 1) / 2];
    h->all[i] = e;
}

struct event heap_take(struct heap *h)
{
    struct event top = h->all[0], last = h->all[--h->n];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child + 1 < h->n && before(&h->all[child + 1], &h->all[child]))
            child++;
        if (child >= h->n || !before(&h->all[child], &last))
            break;
        h->all[i] = h->all[child];
        i = child;
    }
    h->all[i] = last;
    return top;
}

void heap_free(struct heap *h)
{
    free(h->all);
    *h = (struct heap){0};
}
