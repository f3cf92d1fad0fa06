/* plan.h - what was planted in the server and in the recordings of a course.
 *
 * To read it is to read the answers.  The server and the tests must know them,
 * so they cannot be locked away; what you would miss is the lab.
 */
#ifndef PLAN_H
#define PLAN_H

#include "measure.h"
#include "params.h"

enum { RECORDINGS = 4, RECORDED_BLOCKS = 24, RECORDED_MOST = 128 };

struct plan {
    unsigned length_ms;     /* of a pause */
    unsigned every;         /* ms or requests from pause to pause */
    bool by_requests, half; /* half: every second connection only */
    unsigned call;          /* which call it sleeps in */
    enum verdict recorded[RECORDINGS];
};

/* params.py packs the fields from the low bits on, then multiplies. */
static inline struct plan plan_read(void)
{
    uint64_t bits = MEASURE_PLAN * UINT64_C(0xf1de83e19937733d);
    struct plan p = {.length_ms = bits & 4095,
                     .every = bits >> 12 & 16383,
                     .by_requests = bits >> 26 & 1,
                     .half = bits >> 27 & 1,
                     .call = bits >> 28 & 7};
    unsigned order = bits >> 31 & 31, left[RECORDINGS] = {0, 1, 2, 3};

    for (unsigned i = 0, n = RECORDINGS; n > 0; i++, n--) {
        unsigned at = order % n;

        order /= n;
        p.recorded[i] = left[at];
        for (unsigned k = at; k + 1 < n; k++)
            left[k] = left[k + 1];
    }
    return p;
}

/* Numbers of [-1, 1) that a place decides. */
static inline double plan_noise(uint64_t place)
{
    uint64_t x = (place + 1) * UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 31) * UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 29;
    return (double)(x >> 11) / (double)(1ULL << 52) - 1;
}

/* The slices of a recording in which server 0 stands to server 1 as said; at
 * most RECORDED_MOST.  The machine has a slow state, which hits whole blocks
 * and in which visits of one server are missing more often, and it gets slower
 * within a block. */
static inline size_t plan_record(enum verdict v, struct slice *s)
{
    double ratio = v == VERDICT_LESS ? 0.93 : v == VERDICT_MORE ? 1.07 : 1;
    unsigned lost = v == VERDICT_LESS || v == VERDICT_EQUAL; /* server */
    size_t n = 0;

    for (unsigned block = 0; block < RECORDED_BLOCKS; block++) {
        bool slow = block / 3 % 2, swap = block % 2;
        uint64_t place = MEASURE_PLAN % 1000003 + block * 64 + v * 4096;

        for (unsigned visit = 0; visit < 4; visit++) {
            unsigned server = (visit == 1 || visit == 2) != swap;
            double cost = (slow ? 7.9 : 5.2) * (1 + 0.02 * visit);

            if (slow && block % 3 < 2 && server == lost)
                continue;
            /* Some blocks lie above the ratio, as many below it. */
            cost *= 1 + 0.012 * plan_noise(place + visit) +
                    (server == 0 ? (block % 4 < 2 ? 0.02 : -0.02) : 0);
            s[n++] =
                (struct slice){block, server, server == 0 ? cost * ratio : cost,
                               (v == VERDICT_CLIENT ? 0.97 : 0.6) +
                                   0.01 * plan_noise(place + 32 + visit)};
        }
    }
    return n;
}

#endif
