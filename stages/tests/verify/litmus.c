/* litmus.c - is the explorer right?  The classic small programs, and exactly
 * the outcomes that each memory model allows for them.
 *
 * An outcome is what two loads saw, r1 and r2, each 0 or 1; a set of outcomes
 * has bit 2 * r1 + r2.
 */
#include "parts/atom.h"

enum { O00 = 1, O01 = 2, O10 = 4, O11 = 8, ALL = 15 };

SCENE_VAR uint64_t x, y, r1, r2;

static void init(void)
{
    x = y = r1 = r2 = 0;
    vx_name(&x, "x");
    vx_name(&y, "y");
}

static void check(void)
{
    vx_outcome((unsigned)(2 * r1 + r2));
}

/* Store buffering: each writes one and reads the other. */
static void sb1(void)
{
    a_store(&x, 1, relaxed);
    r1 = a_load(&y, relaxed);
}
static void sb2(void)
{
    a_store(&y, 1, relaxed);
    r2 = a_load(&x, relaxed);
}
static void sbra1(void)
{
    a_store(&x, 1, release);
    r1 = a_load(&y, acquire);
}
static void sbra2(void)
{
    a_store(&y, 1, release);
    r2 = a_load(&x, acquire);
}
static void sbsc1(void)
{
    a_store(&x, 1, seq_cst);
    r1 = a_load(&y, seq_cst);
}
static void sbsc2(void)
{
    a_store(&y, 1, seq_cst);
    r2 = a_load(&x, seq_cst);
}

static void sbf1(void)
{
    a_store(&x, 1, relaxed);
    a_fence(&x);
    r1 = a_load(&y, relaxed);
}

static void sbf2(void)
{
    a_store(&y, 1, relaxed);
    a_fence(&y);
    r2 = a_load(&x, relaxed);
}

/* Message passing: x is the message, y the flag. */
static void mp1(void)
{
    a_store(&x, 1, relaxed);
    a_store(&y, 1, relaxed);
}
static void mp2(void)
{
    r1 = a_load(&y, relaxed);
    r2 = a_load(&x, relaxed);
}
static void mpra1(void)
{
    a_store(&x, 1, relaxed);
    a_store(&y, 1, release);
}
static void mpra2(void)
{
    r1 = a_load(&y, acquire);
    r2 = a_load(&x, relaxed);
}

/* The same with a third thread that adds to the flag: a release sequence. */
static void rs_add(void)
{
    uint64_t one = 1;

    a_cas(&y, &one, 2, relaxed, relaxed);
}

static void rs_read(void)
{
    r1 = a_load(&y, acquire) == 2;
    r2 = a_load(&x, relaxed);
}

/* One location read twice: never backwards. */
static void co1(void)
{
    a_store(&x, 1, relaxed);
}
static void co2(void)
{
    r1 = a_load(&x, relaxed);
    r2 = a_load(&x, relaxed);
}

/* Load buffering: C11 allows 11, this explorer does not know it. */
static void lb1(void)
{
    r1 = a_load(&y, relaxed);
    a_store(&x, 1, relaxed);
}
static void lb2(void)
{
    r2 = a_load(&x, relaxed);
    a_store(&y, 1, relaxed);
}

/* Two additions: both count. */
static void add1(void)
{
    r1 = a_add(&x, 1, relaxed);
}
static void add2(void)
{
    r2 = a_add(&x, 1, relaxed);
}

#define LITMUS(title, one, two, three, sc, tso, c11)                           \
    {                                                                          \
        {title, init, {one, two, three}, {"T1", "T2", "T3"}, check, 0},        \
            {sc, tso, c11},                                                    \
    }
#define NO_SB (O01 | O10 | O11)
#define NO_MP (ALL & ~O10)

const struct vx_litmus vx_litmus[] = {
    LITMUS("SB relaxed", sb1, sb2, NULL, NO_SB, ALL, ALL),
    LITMUS("SB release/acquire", sbra1, sbra2, NULL, NO_SB, ALL, ALL),
    LITMUS("SB seq_cst", sbsc1, sbsc2, NULL, NO_SB, NO_SB, NO_SB),
    LITMUS("SB fences", sbf1, sbf2, NULL, NO_SB, NO_SB, NO_SB),
    LITMUS("SB one fence", sbf1, sb2, NULL, NO_SB, ALL, ALL),
    LITMUS("MP relaxed", mp1, mp2, NULL, NO_MP, NO_MP, ALL),
    LITMUS("MP release", mpra1, mp2, NULL, NO_MP, NO_MP, ALL),
    LITMUS("MP acquire", mp1, mpra2, NULL, NO_MP, NO_MP, ALL),
    LITMUS("MP release/acquire", mpra1, mpra2, NULL, NO_MP, NO_MP, NO_MP),
    LITMUS("release sequence", mpra1, rs_add, rs_read, NO_MP, NO_MP, NO_MP),
    LITMUS("no release sequence", mp1, rs_add, rs_read, NO_MP, NO_MP, ALL),
    LITMUS("coherence", co1, co2, NULL, NO_MP, NO_MP, NO_MP),
    LITMUS("LB (not modelled)", lb1, lb2, NULL, ALL & ~O11, ALL & ~O11,
           ALL & ~O11),
    LITMUS("additions", add1, add2, NULL, O01 | O10, O01 | O10, O01 | O10),
};
const int vx_nlitmus = sizeof vx_litmus / sizeof vx_litmus[0];
