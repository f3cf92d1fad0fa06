"""A card for each step of the ladder: its idea, its size, what it changed.

What was measured comes from the set; the idea and the size of the difference
are those of the tree that this program stands in.
"""

import os
import re
import sys

import summary as summaries

from sets import ROOT, decided, without

sys.path.insert(0, os.path.join(ROOT, "stages"))

IDEA = re.compile(r"The one (?:new )?idea[:,] (.*?)(?:\n\s*\n|\Z)", re.S)
SHORT = 40
LEAST_CALLS = 0.1     # of a request: fewer explain nothing


class Step:
    """`facts`: [(name, words)]; `links`: [(words, path from the root)]."""

    def __init__(self, server, base, folder):
        self.server, self.base, self.folder = server, base, folder
        self.idea, self.facts, self.links = "", [], []


def folder_of(server):
    """stages/3-uring of "stage3"; None where the tree has no such."""
    number = server[len("stage"):]
    found = [n for n in sorted(os.listdir(os.path.join(ROOT, "stages")))
             if n.startswith(number + "-")]
    return found[0] if found and number else None


def idea_of(folder):
    """The sentence of the header of server.c that names the idea."""
    path = os.path.join(ROOT, "stages", folder, "server.c")
    with open(path, encoding="utf-8") as f:
        head = f.read().partition("*/")[0]
    text = re.sub(r"\n \* ?", "\n", head)
    found = IDEA.search(text)
    if not found:
        return ""
    # "Readiness." alone says little: then the next sentence, too.
    one, *more = re.split(r"(?<=\.)\s+(?=[A-Z])", found.group(1).strip())
    words = " ".join(" ".join([one, *more[:len(one) < SHORT]]).split())
    return words[:1].upper() + words[1:]


def sizes():
    """{folder: "183 changed lines (125 added, 58 removed)"} of each step."""
    import stage_diff
    found = {}
    for a, b in stage_diff.neighbours(stage_diff.load(
            os.path.join(ROOT, "stages"))):
        removed, added = stage_diff.folder_change(a, b)
        found[b.name] = (f"{removed + added:,} lines differ ({added:,} "
                         f"added, {removed:,} removed)")
    return found


def change_words(data, suite, cell, server, base):
    """CPU time of a request, to the stage before, in each cell beside it."""
    cells = [c for c in data.suites[suite]
             if without(c, "handler") == without(cell, "handler")]
    parts = []
    for each in sorted(cells, key=lambda c: c.get("handler", 0)):
        c = data.ratio(suite, each, "cpu_us", server, base)
        if c:
            where = f"handler {each['handler']} us: " \
                if "handler" in each else ""
            parts.append(where + summaries.ratio_text(c))
    return "; ".join(parts)


def figure(data, suite, cell, server, metric):
    """A median of an entry, or what stands in the entry itself."""
    e = data.entry(suite, cell, server) or {}
    triple = e.get("metrics", {}).get(metric)
    return triple[0] if triple else e.get(metric)


def calls_words(data, suite, cell, server, base):
    old, new = (figure(data, suite, cell, s, "syscalls_per_request")
                for s in (base, server))
    if None in (old, new):
        return ""
    return f"{summaries.number(old)} before, {summaries.number(new)} now"


def why_words(data, suite, cell, server, base):
    """What the counts say about the change: calls times their price, and
    sleeps."""
    prices = (data.manifest["machine"].get("prices") or {}).get("prices") or {}
    price = (prices.get("syscall") or {}).get("ns")
    calls = [figure(data, suite, cell, s, "syscalls_per_request")
             for s in (base, server)]
    cpu = [figure(data, suite, cell, s, "cpu_us") for s in (base, server)]
    parts = []
    if price and None not in (*calls, *cpu):
        saved, less = calls[0] - calls[1], cpu[0] - cpu[1]
        if abs(saved) >= LEAST_CALLS:
            parts.append(
                f"{abs(saved):.2f} {'fewer' if saved > 0 else 'more'} calls "
                f"at {price / 1000:.2f} us each are "
                f"{abs(saved) * price / 1000:.2f} us; the request takes "
                f"{abs(less):.2f} us {'less' if less > 0 else 'more'}")
    switches = [figure(data, suite, cell, s, "ctx_per_request")
                for s in (base, server)]
    if None not in switches and abs(switches[0] - switches[1]) > 0.05:
        parts.append(f"{switches[0]:.2f} context switches a request before, "
                     f"{switches[1]:.2f} now")
    return "; ".join(parts)


def cards(data):
    """The steps between stages that the set has both of."""
    head, suite, found = data.headline(), data.lead, []
    if not head or not os.path.isdir(os.path.join(ROOT, "stages")):
        return []
    stages = [s for s in data.order if re.fullmatch(r"stage\d", s)]
    changed = sizes()
    for base, server in zip(stages, stages[1:]):
        folder = folder_of(server)
        if not folder or not data.ratio(suite, head, "cpu_us", server, base):
            continue
        step = Step(server, base, folder)
        step.idea = idea_of(folder)
        c = data.ratio(suite, head, "cpu_us", server, base)
        step.facts = [(name, words) for name, words in (
            ("To read", changed.get(folder, "")),
            (f"CPU time, to {data.name(base)}",
             change_words(data, suite, head, server, base)),
            ("System calls a request",
             calls_words(data, suite, head, server, base)),
            ("Why", why_words(data, suite, head, server, base)
             if decided(c) else "")) if words]
        step.links = [("code", f"stages/{folder}/server.c"),
                      ("what to look for", f"stages/{folder}/README.md"),
                      ("chapter", f"docs/{folder}.md")]
        found.append(step)
    return found
