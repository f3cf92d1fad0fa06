/* io_uring.c - a probe: is there an io_uring with rings of buffers (Linux 5.19)
 * where student code runs?  Exit status 0, or 1 and the reason on stdout. */
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    static struct io_uring_buf memory[4096 / sizeof(struct io_uring_buf)]
        __attribute__((aligned(4096)));
    struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)memory,
                                   .ring_entries = 4};
    struct io_uring ring;
    int err = io_uring_queue_init(4, &ring, 0);

    if (err < 0) {
        printf("no io_uring: %s%s\n", strerror(-err),
               err == -EPERM
                   ? " (EPERM: a seccomp filter, as containers have, or the "
                     "sysctl kernel.io_uring_disabled)"
                   : "");
        return 1;
    }
    err = io_uring_register_buf_ring(&ring, &reg, 0);
    if (err < 0)
        printf("io_uring without rings of buffers (Linux 5.19): %s\n",
               strerror(-err));
    io_uring_queue_exit(&ring);
    return err < 0;
}
