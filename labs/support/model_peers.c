/* model_peers.c - see model_peers.h. */
#include "model_peers.h"

#include <criterion/criterion.h>

#include "model_ring.h"
#include "real_peers.h"

enum { MOST_TURNS = 20000, SAID = 131072 };

static char said[MODEL_SOCKS][SAID]; /* by each peer */
static size_t len[MODEL_SOCKS];

void run(void)
{
    for (int quiet = 0, n = 0; quiet < 3; n++) {
        unsigned taken = model.taken;
        bool busy = turn() > 0 || model.taken != taken || model.busy > 0;

        quiet = busy ? 0 : quiet + 1;
        cr_assert(n < MOST_TURNS, "%d turns without an end\n%s", n,
                  model_story());
    }
}

int connected(void)
{
    int fd = model_peer();

    run();
    return fd;
}

void say(int fd, size_t n)
{
    int peer = fd - MODEL_FD;
    char *to = said[peer] + len[peer];

    cr_assert(len[peer] + n <= SAID);
    for (size_t i = 0; i < n; i++)
        to[i] = (char)('a' + (fd * 7 + len[peer] + i) % 26);
    len[peer] += n;
    model_say(fd, to, n);
}

void must_hear_all(int fd)
{
    const char *wanted = said[fd - MODEL_FD];
    size_t n, want = len[fd - MODEL_FD], i = 0;
    const uint8_t *heard = model_heard(fd, &n);

    while (i < n && i < want && heard[i] == (uint8_t)wanted[i])
        i++;
    cr_assert(i == n || i == want,
              "peer %d: byte %zu of the answer is 0x%02x, not '%c' (0xee: from "
              "a buffer that was given back)\n%s",
              fd, i, heard[i], wanted[i], model_story());
    cr_assert(n == want, "peer %d said %zu bytes and heard %zu\n%s", fd, want,
              n, model_story());
}

void talk(int n, size_t most, void (*step)(int ms))
{
    while (!peers_have_all(n)) {
        for (int i = 0; i < n; i++)
            peer_step(i, most);
        step(1);
        cr_assert(!peers_are_stuck(0),
                  "peer 0 said %zu of %zu bytes and heard %zu", peers[0].said,
                  peers[0].all, peers[0].heard);
    }
}

void must_have_no_connection(void (*step)(int ms))
{
    while (model.blocks > 0) {
        step(1);
        cr_assert(!peers_are_stuck(model.blocks),
                  "%u connections are left after their peers have gone",
                  model.blocks);
    }
}
