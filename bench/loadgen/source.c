/* source.c - see source.h. */
#include "source.h"

#include <arpa/inet.h>
#include <errno.h>

enum { FIRST_SOURCE = 0x7f000002 }; /* 127.0.0.2 */

static int bind_source(int fd, uint32_t n)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(FIRST_SOURCE + n),
    };
    int one = 1;

    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    return bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? errno : 0;
}

int source_connect(const struct config *cf, int fd, uint32_t n)
{
    int err = 0;

    if (cf->sources > 0)
        err = bind_source(fd, n % (uint32_t)cf->sources);
    if (err == 0 &&
        connect(fd, (const struct sockaddr *)&cf->addr, cf->addr_len) < 0 &&
        errno != EINPROGRESS)
        err = errno;
    return err;
}
