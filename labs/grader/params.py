"""The parameters of a course, from its seed: params.h.

Two courses with two seeds ask for other letters, limits and numbers, so an
answer that was copied from last year fails.  The same seed gives the same file
everywhere: the numbers come from SHA-256, not from a library's generator.
"""

import hashlib
import re

PUBLIC_SEED = "ioladder"


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


def values(seed):
    """{macro: C text} for all labs."""
    line = letters(seed, "line", 4)
    return {
        "LINE_ECHO": f"'{line[0]}'", "LINE_REVERSE": f"'{line[1]}'",
        "LINE_SUM": f"'{line[2]}'", "LINE_QUIT": f"'{line[3]}'",
        "LINE_LIMIT": str(number(seed, "line limit", 400, 900)),
        "LINE_NUMBERS": str(number(seed, "line numbers", 5, 12)),
        "URING_SEND_MOST": str(number(seed, "uring send most", 2500, 7000)),
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
