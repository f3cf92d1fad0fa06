/* atoms.h - the atomic operations of a lab: atom.h's, as calls into the tests.
 *
 *   ATOMIC(T) x             declares a word of 4 or 8 bytes
 *   a_init(&x, v)           before threads share it
 *   a_load(&x, order)       a_store(&x, v, order)
 *   a_xchg(&x, v, order)    a_add(&x, v, order)      both: the old value
 *   a_cas(&x, &old, v, order, order_if_it_fails)     strong; false: old = x
 *   a_fence(&x)             full fence; x: the word that it protects
 *   a_name(&x, "name")      what printed schedules call it; call it once, next
 *                           to a_init()
 *
 * Orders are the bare words: relaxed acquire release acq_rel seq_cst.
 *
 * Your object is built once, and it cannot tell which of these it runs in:
 *   alone          one thread; the tests see each operation, and count them;
 *   real threads   the operations are C11's, and threads lose the core in the
 *                  middle of your functions;
 *   the explorer   every order in which they can happen is tried
 *                  (stages/tests/verify/README.md).
 */
#ifndef ATOMS_H
#define ATOMS_H

#define VERIFY /* atom.h then is explore.h, whose macros say where they stand */
#include "atom.h"

uint64_t atoms_load(const void *p, size_t size, enum vx_order o,
                    struct vx_where w);
void atoms_store(void *p, size_t size, uint64_t v, enum vx_order o,
                 struct vx_where w);
uint64_t atoms_xchg(void *p, size_t size, uint64_t v, enum vx_order o,
                    struct vx_where w);
uint64_t atoms_add(void *p, size_t size, uint64_t v, enum vx_order o,
                   struct vx_where w);
bool atoms_cas(void *p, size_t size, uint64_t *old, uint64_t v, enum vx_order o,
               enum vx_order fail, struct vx_where w);
void atoms_fence(struct vx_where w);
void atoms_name(const void *p, const char *name);

#undef a_load
#undef a_store
#undef a_xchg
#undef a_add
#undef a_cas
#undef a_fence
#define a_load(p, o) ((VX_TYPE(p))atoms_load(p, sizeof *(p), vx_##o, VX_HERE))
#define a_store(p, v, o)                                                       \
    atoms_store(p, sizeof *(p), VX_BITS(p, v), vx_##o, VX_HERE)
#define a_xchg(p, v, o)                                                        \
    ((VX_TYPE(p))atoms_xchg(p, sizeof *(p), VX_BITS(p, v), vx_##o, VX_HERE))
#define a_add(p, v, o)                                                         \
    ((VX_TYPE(p))atoms_add(p, sizeof *(p), VX_BITS(p, v), vx_##o, VX_HERE))
#define a_cas(p, old, v, o, f)                                                 \
    ({                                                                         \
        uint64_t old_ = (uint64_t) * (old);                                    \
        bool ok_ = atoms_cas(p, sizeof *(p), &old_, VX_BITS(p, v), vx_##o,     \
                             vx_##f, VX_HERE);                                 \
        *(old) = (VX_TYPE(p))old_;                                             \
        ok_;                                                                   \
    })
#define a_fence(p) ((void)(p), atoms_fence(VX_HERE))
#define a_name(p, name) atoms_name(p, name)

#endif
