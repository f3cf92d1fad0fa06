/* lockable.c - see lockable.h. */
#include "lockable.h"

#include <linux/capability.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static size_t n_workers = 1, n_parts = 1;

size_t lockable(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct cap[_LINUX_CAPABILITY_U32S_3] = {{0}};
    struct rlimit limit;

    syscall(SYS_capget, &head, cap);
    if (cap[0].effective & 1U << CAP_IPC_LOCK ||
        getrlimit(RLIMIT_MEMLOCK, &limit) < 0 ||
        limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    return limit.rlim_cur / 2;
}

void lockable_divide(int workers, int parts)
{
    n_workers = (size_t)workers;
    n_parts = (size_t)parts;
}

size_t lockable_each(void)
{
    return lockable() / n_workers;
}

size_t lockable_part(void)
{
    return lockable_each() / n_parts;
}
