"""The parameters of a course, from its seed: params.h.

Two courses with two seeds ask for other letters, limits and numbers, so an
answer that was copied from last year fails.  The same seed gives the same file
everywhere: the numbers come from SHA-256, not from a library's generator.
"""

import hashlib
import os
import re

PUBLIC_SEED = "ioladder"
COURSE = os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "course-seed")


def course_seed():
    """From SEED, or from the file that stands in a course's handout."""
    if os.environ.get("SEED"):
        return os.environ["SEED"]
    try:
        with open(COURSE, encoding="utf-8") as f:
            return f.read().strip() or PUBLIC_SEED
    except OSError:
        return PUBLIC_SEED


def number(seed, name, low, high):
    """A number of [low, high] that seed and name decide."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return low + int.from_bytes(digest[:8], "big") % (high - low + 1)


def letters(seed, name, count, alphabet="BCDFGHJKLMNPQRSTVWXZ"):
    """Different letters."""
    left, found = list(alphabet), []
    for i in range(count):
        found.append(left.pop(number(seed, f"{name}{i}", 0, len(left) - 1)))
    return found


CALLS = ("clock_nanosleep", "pselect6", "epoll_wait", "rt_sigtimedwait",
         "recvmsg")
VERDICTS = ("less", "more", "equal", "client")
MIX = 0x9e3779b97f4a7c15    # 8-measure/tests/plan.h multiplies by its inverse


def measure(seed):
    """(what is planted in lab 8, the answers to that)."""
    def pick(name, low, high):
        return number(seed, f"measure {name}", low, high)

    length = 20 * pick("length", 8, 40)
    by_requests, half = pick("by", 0, 1), pick("half", 0, 1)
    every = 50 * pick("every", 8, 30) if by_requests else \
        length + 100 * pick("every", 10, 40)
    call, order = pick("call", 0, len(CALLS) - 1), pick("order", 0, 23)
    plan = length | every << 12 | by_requests << 26 | half << 27 \
        | call << 28 | order << 31 | pick("salt", 0, (1 << 28) - 1) << 36
    left = list(VERDICTS)
    recorded = []
    while left:
        order, at = divmod(order, len(left))
        recorded.append(left.pop(at))
    answers = {"stops": "half" if half else "all", "length_ms": str(length),
               "comes_by": "requests" if by_requests else "clock",
               "every": str(every), "call": CALLS[call]}
    answers.update((f"recording_{i}", word)
                   for i, word in enumerate(recorded, 1))
    return plan * MIX % (1 << 64), answers


def fill(text, seed):
    """A solution's text with the answers of a course in it: @name@."""
    answers = measure(seed)[1]
    return re.sub(r"@(\w+)@", lambda m: answers.get(m[1], m[0]), text)


def values(seed):
    """{macro: C text} for all labs."""
    line = letters(seed, "line", 4)
    return {
        "LINE_ECHO": f"'{line[0]}'", "LINE_REVERSE": f"'{line[1]}'",
        "LINE_SUM": f"'{line[2]}'", "LINE_QUIT": f"'{line[3]}'",
        "LINE_LIMIT": str(number(seed, "line limit", 400, 900)),
        "LINE_NUMBERS": str(number(seed, "line numbers", 5, 12)),
        "STEAL_GIFT": str(number(seed, "steal gift", 12, 20)),
        "STEAL_LEAST": str(number(seed, "steal least", 3, 6)),
        "LEND_SHARE": str(number(seed, "lend share", 2, 4)),
        "LEND_MOST": str(number(seed, "lend most", 5, 9)),
        "URING_ACCEPT": str(number(seed, "uring accept", 16, 4000)),
        "POOL_CALM": str(number(seed, "pool calm", 3, 7)),
        "POOL_SMALL_GROUP": str(number(seed, "pool small", 100, 999)),
        "POOL_LARGE_GROUP": str(number(seed, "pool large", 1000, 9999)),
        "URING_SEND_MOST": str(number(seed, "uring send most", 2500, 7000)),
        "MEASURE_PLAN": f"UINT64_C({measure(seed)[0]:#x})",
        "MEASURE_BUSY_PCT": str(number(seed, "measure busy", 80, 94)),
        "MEASURE_COVER_PCT": str(number(seed, "measure cover", 90, 97)),
        "POOL_LEAST": str(number(seed, "pool least", 2, 5)),
        "POOL_SPARE_MS": str(50 * number(seed, "pool spare", 4, 9)),
        "LOOP_HEADER_MS": str(20 * number(seed, "header ms", 20, 32)),
        "LOOP_TURN_BYTES": str(1024 * number(seed, "turn bytes", 18, 30)),
    }


def literal(text, names, seed):
    """A student's file that holds these parameters as numbers, and no longer
    needs params.h for them: copied into another course it is wrong."""
    if not names:
        return text
    for name in names:
        text = re.sub(rf"\b{name}\b", values(seed)[name], text)
    return text.replace('#include "params.h"\n', "")


def header(seed):
    lines = ["/* The parameters of this course; made by labs/grade.py. */",
             "#ifndef PARAMS_H", "#define PARAMS_H", ""]
    lines += [f"#define {name} {text}" for name, text in values(seed).items()]
    return "\n".join(lines + ["", "#endif", ""])
