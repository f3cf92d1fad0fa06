/* test_lend_hidden.c - lab 5: what no student has seen: a helper that wants
 * more than there can be. */
#include <criterion/criterion.h>

#include "lend.h"
#include "params.h"
#include "worlds.h"

static _Alignas(128) unsigned char memory[4096];

Test(hidden, wants_all)
{
    static const uint32_t most[] = {UINT32_MAX, 1u << 31, INT32_MAX, 1u << 30};
    uint32_t share = (LEND_SLOTS + LEND_SHARE - 1) / LEND_SHARE, n;
    uint32_t wanted = share < LEND_MOST ? share : LEND_MOST;

    for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
        struct lend *l = (struct lend *)memory;
        struct slot *s;

        world_enter(WORLD_ALONE);
        lend_init(l, LEND_SLOTS);
        s = lend_room(l, &n);
        cr_assert(s && n == LEND_SLOTS);
        s->job = 1;
        lend_publish(l, LEND_SLOTS);
        s = lend_borrow(l, most[i], &n);
        cr_assert(s && n == wanted && s->job == 1,
                  "%u slots wait, and a helper that wants %u got %u, expected "
                  "%u",
                  LEND_SLOTS, most[i], n, wanted);
    }
}
