/* cppcheck.h - what cppcheck must know of the headers that it does not read:
 * lint only, never compiled. */
#define LIST_HEAD(name, type)                                                  \
    struct name {                                                              \
        struct type *lh_first;                                                 \
    }
#define LIST_ENTRY(type)                                                       \
    struct {                                                                   \
        struct type *le_next;                                                  \
        struct type **le_prev;                                                 \
    }
#define LIST_FIRST(head) ((head)->lh_first)
#define LIST_FOREACH(var, head, field)                                         \
    for ((var) = (head)->lh_first; (var); (var) = (var)->field.le_next)
#define STAILQ_HEAD(name, type)                                                \
    struct name {                                                              \
        struct type *stqh_first;                                               \
        struct type **stqh_last;                                               \
    }
#define STAILQ_ENTRY(type)                                                     \
    struct {                                                                   \
        struct type *stqe_next;                                                \
    }
#define STAILQ_FIRST(head) ((head)->stqh_first)
