"""What each variant changes against its stage, from a set of run.py whatif;
what is commonly said of it, and whether the set agrees."""

import os
import sys
from pathlib import Path

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))
sys.path.insert(0, os.path.join(ROOT, "stages"))

import stats_math                  # noqa: E402
import suites                      # noqa: E402
import summary as summaries        # noqa: E402
import variants                    # noqa: E402

HEADS = ["variant", "lines", "load", "CPU a request", "whole system's CPU",
         "p99", "system calls", "what is said", "use it when"]
METRICS = ("cpu_us", "spent_us", "p99_us", "own_calls")
WORDS = {metric: word for word, metric in variants.METRICS.items()}
AGREES, CONTRADICTS, OPEN = "agrees", "contradicts", "not decided"
ALIKE_SHARE = 0.05      # "the same" is so much, either way
DECIDED = (stats_math.LOWER, stats_math.HIGHER)
UNJUDGED = "not judged yet: its patch lacks this line"
# Behind a figure, in the tables; docs/tuning.md says what they mean.
UNDECIDED, LIMITED, FAULTS = "~ ", " °", " †"


class Incomplete(Exception):
    """What the set or a patch lacks, for people."""


class Line:
    """A variant in a set: its suite and cell, and what its header says."""

    def __init__(self, data, part, name):
        self.data, self.suite, self.name = data, part["suite"], name
        self.base = part["reference"]
        self.load = part["title"].partition(":")[0]
        cells = data.suites.get(self.suite, [])
        if len(cells) != 1:
            raise Incomplete(f"{self.suite} is {len(cells)} cells")
        self.cell = cells[0]
        self.header = _header(name)

    def ratio(self, metric):
        return summaries.find(self.data.summary["comparisons"],
                              suite=self.suite, cell=self.cell,
                              metric=metric, server=self.name, base=self.base)

    def claim(self):
        return variants.claim_of(self.header[variants.DIRECTION])

    def faulty(self):
        """Whether the difference in CPU time is gone without the price of the
        page faults: then they, and not the change, are what was measured."""
        found, bare = self.ratio("cpu_us"), self.without_faults()
        return bool(found and bare and found["verdict"] in DECIDED
                    and bare["verdict"] != found["verdict"])

    def values(self, server):
        """{block: figures} of a server under this load."""
        key = self.suite, summaries.cell_key(self.cell)
        return summaries.values_of(self.data.manifest, self.data.rows).get(
            key, {}).get(server, {})

    def without_faults(self):
        """The ratio of CPU time a request without that price, or None."""
        price = self.price()
        if price is None:
            return None
        ours, theirs = ({
            block: m["cpu_us"] - price * m["faults"]
            for block, m in self.values(server).items()
            if m.get("cpu_us") and m.get("faults") is not None}
            for server in (self.name, self.base))
        return stats_math.compare(ours, theirs)

    def price(self):
        """Of a page fault on that machine, in us; None: not known."""
        prices = self.data.manifest.get("machine", {}).get("prices") or {}
        ns = prices.get("prices", {}).get("page_fault", {}).get("ns")
        return ns / 1000 if ns else None

    def judged(self):
        """AGREES, CONTRADICTS or OPEN; None where nothing is said."""
        claim = self.claim()
        if not claim:
            return None
        if claim[0] == "cpu_us" and self.faulty():
            return OPEN
        return judge(claim, self.ratio(claim[0]))


def _header(name):
    if name in suites.SWITCHES:
        found = {"lines": "switch", **suites.SWITCHES[name][2]}
    else:
        try:
            found = variants.describe(Path(ROOT) / "stages", name)
        except variants.Bad as bad:
            raise Incomplete(str(bad)) from None
    if variants.DIRECTION not in found:
        raise Incomplete(f"{name}.patch has no line '{variants.DIRECTION}: '")
    found.setdefault(variants.WHEN, UNJUDGED)
    why = variants.doubt(found[variants.DIRECTION], variants.SAID in found)
    if why:
        raise Incomplete(f"{name}: {why}")
    return found


def judge(claim, found):
    """A claim (figure, way, least size) by a comparison with its interval.
    What is said without a size is decided by the side of 1."""
    _, way, size = claim
    if not found or found["low"] is None or \
            found["verdict"] in (stats_math.FEW, stats_math.CLIENT):
        return OPEN
    low, high = found["low"], found["high"]
    if way == variants.ALIKE:
        bound = size or ALIKE_SHARE
        if 1 - bound < low and high < 1 + bound:
            return AGREES
        return CONTRADICTS if high < 1 - bound or low > 1 + bound else OPEN
    if not size and found["verdict"] not in DECIDED:
        return OPEN
    if way == variants.LESS:
        low, high, bound = 1 / high, 1 / low, 1 / (1 - size)
    else:
        bound = 1 + size
    return AGREES if low > bound else CONTRADICTS if high < bound else OPEN


def lines(data):
    """A Line for each variant that was measured, in the order of names."""
    found = [Line(data, part, name) for part in data.manifest["plan"]
             if part["suite"].startswith("whatif-")
             for name in part["variants"] if name in data.order]
    if not found:
        raise Incomplete("the result set has no suite of whatif")
    return sorted(found, key=lambda line: (line.name, line.suite))


def ratio_text(found):
    """A ratio with its interval and marks."""
    if not found:
        return "-"
    text = summaries.ratio_number(found["ratio"])
    if found["low"] is not None:
        span = (f"{summaries.ratio_number(found['low'])} to "
                f"{summaries.ratio_number(found['high'])}")
        if found["verdict"] == stats_math.FEW:
            span += f" covers {found.get('coverage', 0) * 100:.0f} %"
        text += f" ({span})"
    mark = "" if found["verdict"] in DECIDED else UNDECIDED
    return mark + text + LIMITED * (found["verdict"] == stats_math.CLIENT)


def table(data):
    """Markdown: a line for each variant."""
    body = []
    for line in lines(data):
        cells = [ratio_text(line.ratio(metric)) for metric in METRICS]
        cells[0] += FAULTS * line.faulty()
        body.append([f"`{line.name}`", str(line.header["lines"]), line.load,
                     *cells, line.judged() or "-",
                     line.header[variants.WHEN]])
    return summaries.table(HEADS, body)


def notes(data):
    """What disturbed the measurement, folded away."""
    found = []
    for part in data.manifest["plan"]:
        text = summaries.notes_text(data.summary, part["suite"])
        if part["suite"].startswith("whatif-") and text:
            found.append(f"- {part['suite']}: {text.removeprefix('Note: ')}")
    if not found:
        return ""
    return "\n".join(["<details><summary>What disturbed the measurement"
                      "</summary>", "", *found, "", "</details>"])


def named(found):
    return ", ".join(f"`{line.name}`" for line in found) or "none"


def said(data):
    """Markdown: how many lines contradict what is said of them, and each
    opinion with its source and its mark."""
    every = lines(data)
    told = [line for line in every if variants.SAID in line.header]
    by = {mark: [line for line in told if line.judged() == mark]
          for mark in (AGREES, CONTRADICTS, OPEN)}
    ask = sum(len(found) for found in by.values())
    out = [f"Of {len(every)} lines, {len(told)} have a common opinion with a "
           f"source, and {ask} of these opinions say how one figure of the "
           f"table should move. **{len(by[CONTRADICTS])} lines contradict "
           f"what is said** ({named(by[CONTRADICTS])}), {len(by[AGREES])} "
           f"agree with it ({named(by[AGREES])}), and {len(by[OPEN])} do not "
           "decide it.", ""]
    body = []
    for line in told:
        text, link = variants.opinion(line.header[variants.SAID])
        claim = line.claim()
        if not claim:
            why = line.header[variants.DIRECTION].partition(", ")[2]
            wanted, figure, mark = "-", "-", why
        else:
            wanted = line.header[variants.DIRECTION]
            figure = ratio_text(line.ratio(claim[0]))
            faulty = claim[0] == "cpu_us" and line.faulty()
            figure += FAULTS * faulty
            mark = line.judged()
        body.append([f"`{line.name}`", text, link, wanted, figure, mark])
    out.append(summaries.table(["variant", "commonly said", "source",
                                "so it expects", "measured", "here"], body))
    return "\n".join(out)


def faults(data, name):
    """Sentences: the page faults of a variant and its stage, and the ratio of
    CPU time without their price."""
    line = next((x for x in lines(data) if x.name == name), None)
    bare = line and line.without_faults()
    if not bare:
        raise Incomplete(f"{name}: no page faults, or no price of one")
    ours, theirs = (summaries.with_interval(stats_math.median_interval(
        [m["faults"] for m in line.values(server).values()
         if m.get("faults") is not None])) for server in (name, line.base))
    return (f"Page faults a request: `{name}` {ours}, {line.base} {theirs}. "
            f"The price of one on that machine: {line.price():.2f} us. CPU a "
            f"request, `{name}` / {line.base}: "
            f"{ratio_text(line.ratio('cpu_us'))}; without the price of the "
            f"page faults: {ratio_text(bare)}.")
