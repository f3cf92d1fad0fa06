/* engine.c - see engine.h. */
#include "engine.h"

#include "check.h"

enum { EXIT_SKIP = 77 }; /* as the stages: this machine cannot run it */

void engine_choose(struct config *cf)
{
    const char *why;

    if (cf->engine == ENGINE_EPOLL)
        return;
    why = engine_no_uring();
    if (why && cf->engine == ENGINE_URING)
        die_status(EXIT_SKIP, "loadgen: --engine uring: %s", why);
    cf->engine = why ? ENGINE_EPOLL : ENGINE_URING;
}

const struct engine *engine_of(const struct config *cf)
{
    return cf->engine == ENGINE_URING ? &engine_uring : &engine_epoll;
}
