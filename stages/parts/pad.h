/* pad.h - keep words written by different cores on different cache lines.
 *
 * A core that writes a word takes the whole line away from the others.  Two
 * words that two cores write therefore must not share a line, or each write
 * costs a transfer between the cores (some 60 ns one way) for no reason:
 *
 *      PAD 0     | head tail |            one line, two writers: it bounces
 *      PAD 128   | head ... | tail ... |  one writer each
 *
 * 64 bytes is the line of x86 and most Arm cores; 128 is the default because
 * prefetchers fetch lines in pairs and some Arm cores have 128-byte lines.
 * Build with -DPAD=0 (or 64, 256) to measure what it buys.
 *
 * A struct with PADDED members is itself aligned: get it from static storage
 * or aligned_alloc(), malloc() promises 16 bytes only.
 */
#ifndef PAD_H
#define PAD_H

#ifndef PAD
#define PAD 128
#endif

#if PAD == 0
#define PADDED
#elif PAD == 64 || PAD == 128 || PAD == 256
#define PADDED _Alignas(PAD)
#else
#error "PAD is 0, 64, 128 or 256"
#endif

/* For layout checks: do two members start on different padded lines? */
#define PAD_APART(type, a, b)                                                  \
    (PAD == 0 || offsetof(type, a) / (PAD ? PAD : 1) !=                        \
                     offsetof(type, b) / (PAD ? PAD : 1))

#endif
