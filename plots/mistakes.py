"""The mistakes of docs/measuring.md, each with its figure from a set.

  limit      a ladder: where the generator was the limit, what could be decided
  states     any set: how far the machine's speed moved within its blocks
  slow       a set with calibrations: stretches in which the machine was slow
  sleeping   the suite of that name: what a sleeping generator costs a server
  intervals  what an interval covers, by the formula; takes nothing of the set
  many       any set: verdicts that hold alone and not in their table
"""

import os
import sys
from math import comb

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import stats_math                  # noqa: E402
import summary as summaries        # noqa: E402

DECIDED = (stats_math.LOWER, stats_math.HIGHER)
WORDS = {1: "lowest to highest", 2: "second lowest to second highest"}


class Missing(Exception):
    """What a set lacks for a figure."""


def neighbours(data, suite, cell):
    """The comparison of each stage with the one before it, by CPU time."""
    stages = [name for name in data.order if name.startswith("stage")]
    pairs = set(zip(stages[1:], stages))
    return [c for c in data.ratios(suite, cell, "cpu_us")
            if (c["server"], c["base"]) in pairs]


def span(values):
    low, high = min(values), max(values)
    return f"{low:.2f} to {high:.2f}" if high - low >= 0.005 else f"{low:.2f}"


def limit(data):
    """A line for each cell: how busy the generator was, and what followed."""
    cells = data.suites.get("ladder")
    if not cells:
        raise Missing("no suite ladder")
    body = []
    for cell in cells:
        entries = data.entries("ladder", cell)
        busy = [e["metrics"]["client_busy"][0] for e in entries
                if "client_busy" in e["metrics"]]
        slept = [e["metrics"]["client_sleeps"][0] for e in entries
                 if "client_sleeps" in e["metrics"]]
        limited = sum(e["notes"].get(summaries.LIMITED, 0) for e in entries)
        pairs = neighbours(data, "ladder", cell)
        told = sum(c["verdict"] in DECIDED for c in pairs)
        body.append([summaries.cell_text(cell), span(busy),
                     summaries.number(max(slept)) if slept else "-",
                     f"{limited} of {sum(e['slices'] for e in entries)}",
                     f"{told} of {len(pairs)}"])
    return summaries.table(
        ["cell", "generator busy", "its sleeps/request", "limited by it",
         "steps decided"], body)


def moved_of(data):
    found = sorted(row["moved_pct"] for row in data.rows
                   if row["kind"] == "block")
    if not found:
        raise Missing("no block has a calibration")
    return found


def states(data):
    """How the speed of both cores moved from the start of a block to its end.
    """
    found = moved_of(data)
    kept = sum(moved <= summaries.DRIFT_LIMIT for moved in found)
    middle, most = (stats_math.quantile(found, share) for share in (0.5, 1))
    return (f"From the start of a block to its end, the time of the fixed loop "
            f"changed by {middle:.1f} % (median of {len(found)} blocks), and "
            f"by {most:.1f} % at most. A rule that allows "
            f"{summaries.DRIFT_LIMIT:g} % would keep {kept} of them.")


def slow(data):
    """How much of the time the calibrations met a machine that hardly ran."""
    looks = [pair for row in data.rows if row["kind"] == "block"
             for pair in row.get("slow", ())]
    if not looks:
        raise Missing("no block looked for slow stretches")
    found = data.summary["slow"]
    met = sum(longest > 0 for _, longest in looks)
    return (f"The fixed loop was looked at {len(looks)} times. In {met} of "
            f"them it met such a stretch; they took {found['pct']:.1f} % of "
            f"the time, and the longest lasted "
            f"{summaries.number(found['longest_ms'])} ms.")


def sleeping(data):
    """Each server with a generator that sleeps, against one that polls."""
    cells = {cell["spin"]: cell for cell in data.suites.get("sleeping", ())}
    if set(cells) != {"on", "off"}:
        raise Missing("no suite sleeping with both ways")
    values = summaries.values_of(data.manifest, data.rows)
    body = []
    for server in data.order:
        both = {spin: data.entry("sleeping", cell, server)
                for spin, cell in cells.items()}
        if not all(both.values()):
            continue
        ratio = stats_math.compare(*(
            {block: m["cpu_us"] for block, m in values[
                "sleeping", summaries.cell_key(cells[spin])][server].items()}
            for spin in ("off", "on")))
        slept = both["off"]["metrics"].get("client_sleeps")
        body.append([data.name(server), summaries.ratio_text(ratio)]
                    + [summaries.number(both[spin]["metrics"]["cpu_us"][0])
                       for spin in ("on", "off")]
                    + [summaries.number(slept[0]) if slept else "-"])
    if not body:
        raise Missing("no server has both")
    return summaries.table(
        ["server", "CPU, sleeping / polling", "us/request, polling",
         "sleeping", "its sleeps/request"], body)


def bootstrap_coverage(n, level=stats_math.LEVEL):
    """Of the percentile bootstrap of a median of n (n odd), exactly.

    The median of a resample is at most the k-th lowest of n, when half of the
    n draws or more are among the k lowest: P(Binomial(n, k / n) > n / 2).  The
    two ends of the interval are order statistics of the sample, so what they
    cover is that of order statistics.
    """
    def at_most(k):
        return sum(comb(n, i) * (k / n) ** i * (1 - k / n) ** (n - i)
                   for i in range(n // 2 + 1, n + 1))
    tail = (1 - level) / 2
    k = next(k for k in range(1, n + 1) if at_most(k) >= tail)
    return stats_math.coverage(n, k)


def intervals(_data):
    """The exact interval of a median, and what the bootstrap covers."""
    body = []
    for n in (5, 7, 9, 13, 15, 21, 31):
        k = stats_math.order(n) or 1
        words = WORDS.get(k, f"{k}th lowest to {k}th highest")
        words = words.replace("3th", "3rd")
        body.append([str(n), words, f"{100 * stats_math.coverage(n, k):.1f} %",
                     f"{100 * bootstrap_coverage(n):.1f} %"])
    return summaries.table(["blocks", "the interval is from", "it covers",
                            "a percentile bootstrap covers"], body)


def many(data):
    """How many verdicts Holm's correction took back."""
    tests = [c for c in data.summary["comparisons"]
             if c["verdict"] != stats_math.FEW]
    if not tests:
        raise Missing("nothing was compared")
    alone = sum(c["low"] > 1 or c["high"] < 1 for c in tests)
    back = sum(c["verdict"] == stats_math.MANY for c in tests)
    return (f"This set has {len(tests):,} comparisons. {alone:,} of their "
            f"intervals do not hold 1; for {back:,} of these the correction "
            f"says \"{stats_math.MANY}\".")


FIGURES = {"limit": limit, "states": states, "slow": slow,
           "sleeping": sleeping,
           "intervals": intervals, "many": many}
