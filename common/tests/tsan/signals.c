/* signals.c - linked into every server of the ThreadSanitizer flavour.
 *
 * The runtime makes room for a thread's pending signals at its first blocking
 * call.  A signal that arrives in the middle of that is noted in a place which
 * is then forgotten, and never delivered: a server that is told to end right
 * after its ready line would sleep for good in its first poll().  So the main
 * thread, which takes the signals, makes that call before there are any.
 */
#include <poll.h>
#include <stddef.h>

static __attribute__((constructor)) void block_once(void)
{
    poll(NULL, 0, 0);
}
