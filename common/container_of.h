/* container_of.h - from a member to the struct that it is in. */
#ifndef CONTAINER_OF_H
#define CONTAINER_OF_H

#include <stddef.h>

/* The `type` whose member `member` ptr points to; ptr is not NULL. */
/* clang-format off */
#define container_of(ptr, type, member)                                        \
    ((type *)((char *)(ptr) - offsetof(type, member)))
/* clang-format on */

#endif
