/* container_of.h - from a member to the struct that it is in. */
#ifndef CONTAINER_OF_H
#define CONTAINER_OF_H

#include <stddef.h>

/* ptr, not NULL, points to this member of a `type`: returns the `type`. */
/* clang-format off */
#define container_of(ptr, type, member)                                        \
    ((type *)((char *)(ptr) - offsetof(type, member)))
/* clang-format on */

#endif
