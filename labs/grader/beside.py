"""What a submission does beside what the starter does, for no points.

grade.toml's [[shown]] names tests that judge nothing and print lines

    figure: NAME NUMBER

Submission and starter run them in turn, on the same machine and a few times,
so what slows the machine down slows both; only the ratio is shown.  It has a
word only if all pairs agree, and by far: a count is the same in each pair, a
time is not.
"""

import re
import statistics

PAIRS = 5
FAR = 1.25          # a ratio nearer to 1 than that says nothing
FIGURE = re.compile(r"^figure: (\w[\w ]*) ([0-9]+(?:\.[0-9]+)?)$", re.M)


def figures(text):
    """{name: number} of what one run has printed."""
    return {name: float(number) for name, number in FIGURE.findall(text)}


def in_turn(run, mine, starter, pairs):
    """[(figures of mine, of the starter)]; each begins every second pair.
    run(x) returns figures, {} when there are none: then there is no pair."""
    found = []
    for i in range(pairs):
        order = (mine, starter) if i % 2 else (starter, mine)
        got = [run(one) for one in order]
        if not all(got):
            return []
        found.append(tuple(got if i % 2 else got[::-1]))
    return found


def word(least, most):
    if most * FAR < 1:
        return "less"
    if least > FAR:
        return "more"
    return "no clear difference"


def ratios(found):
    """What result.py keeps: an entry for each figure that both have."""
    shown = []
    for name in found[0][1] if found else ():
        values = [mine[name] / starter[name] for mine, starter in found
                  if name in mine and starter.get(name)]
        if len(values) == len(found):
            shown.append({"figure": name, "ratio": statistics.median(values),
                          "least": min(values), "most": max(values),
                          "pairs": len(values),
                          "word": word(min(values), max(values))})
    return shown
