"""What each variant changes against its stage, from a set of run.py whatif."""

import os
import sys
from pathlib import Path

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))
sys.path.insert(0, os.path.join(ROOT, "stages"))

import suites                      # noqa: E402
import summary as summaries        # noqa: E402
import variants                    # noqa: E402

HEADS = ["variant", "lines", "load", "CPU a request", "whole system's CPU",
         "p99", "system calls", "use it when"]
METRICS = ("cpu_us", "spent_us", "p99_us", "own_calls")


class Incomplete(Exception):
    """What the set or a patch lacks, for people."""


def _described(name):
    if name in suites.SWITCHES:
        return {"lines": "switch",
                variants.MEASURED: suites.SWITCHES[name][2]}
    try:
        found = variants.describe(Path(ROOT) / "stages", name)
    except variants.Bad as bad:
        raise Incomplete(str(bad)) from None
    if variants.MEASURED not in found:
        raise Incomplete(f"{name}.patch has no line '{variants.MEASURED}: '")
    return found


def _rows(data, part):
    suite, base = part["suite"], part["reference"]
    cells = data.suites.get(suite, [])
    if len(cells) != 1:
        raise Incomplete(f"{suite} is {len(cells)} cells")
    for name in part["variants"]:
        if name not in data.order:
            continue
        ratios = [summaries.find(data.summary["comparisons"], suite=suite,
                                 cell=cells[0], metric=metric, server=name,
                                 base=base) for metric in METRICS]
        found = _described(name)
        load = part["title"].partition(":")[0]
        yield [f"`{name}`", str(found["lines"]), load,
               *map(summaries.ratio_text, ratios),
               found[variants.MEASURED]]


def table(data):
    """Markdown: a line for each variant that was measured."""
    rows = [row for part in data.manifest["plan"]
            if part["suite"].startswith("whatif-") for row in _rows(data, part)]
    if not rows:
        raise Incomplete("the result set has no suite of whatif")
    return summaries.table(HEADS, sorted(rows))


def notes(data):
    """What must stand below the table."""
    found = []
    for part in data.manifest["plan"]:
        text = summaries.notes_text(data.summary, part["suite"])
        if part["suite"].startswith("whatif-") and text:
            found.append(f"{part['suite']}: {text.removeprefix('Note: ')}")
    return " ".join(found)
