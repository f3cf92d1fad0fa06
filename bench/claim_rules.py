"""From result sets to a verdict: the rule, and nothing about any one claim.

A claim is a list of checks.  A check is a figure and a bound that the figure
must stay below, or rise above.  The figure is the median of one server's
values, or the median of its paired ratios to another server, each with an
exact interval of at least 95 % (stats_math.py).  Where there are several other
servers the figure is the ratio to the best of them: to the one to which it is
highest.  Any of them may be that one by chance, so the lower end of the
interval is the highest of their lower ends at Bonferroni's level.  And so:

    holds          the whole interval lies on the claimed side of the bound
    contradicted   the whole interval lies on the other side
    open           the interval holds the bound; or too few blocks for one;
                   or the generator was the limit: then rates and latencies are
                   its own, and a ratio of CPU time is nearer to 1 than it is,
                   so that only what would be farther from 1 is decided
    not measured   no complete set has the figure

    confirmed      every check holds
    partly         some hold, and some do not
    refuted        none holds, and at least one is contradicted
    undecided      none holds and none is contradicted
    not measured yet, not testable here    no check was measured; there is none

A control is a check that decides nothing: it shows that the figure can be seen
at all.  Where it is contradicted, the claim is undecided.

Nobody types a verdict: other rows give another one.
"""

import glob
import os
from dataclasses import dataclass, field, replace

import micro_results
import results
import stats_math
import summary as summaries

HOLDS, CONTRADICTED, OPEN, MISSING = \
    "holds", "contradicted", "open", "not measured"
CONFIRMED, PARTLY, REFUTED, UNDECIDED, UNMEASURED, UNTESTABLE = (
    "confirmed", "partly", "refuted", "undecided", "not measured yet",
    "not testable here")
VERDICTS = (CONFIRMED, PARTLY, REFUTED, UNDECIDED, UNMEASURED, UNTESTABLE)
# What a generator that is the limit decides, wholly or in part.
LIMITS = ("qps", "mean_us", "p50_us", "p90_us", "p99_us", "p999_us", "cpu_us")
SCHEMA = "ioladder-counts/1"    # a set of one file of counts: counts.json


@dataclass(frozen=True)
class Series:
    """One figure of one server: a value for each block of a set.

    `suite` is one of run.py, a program of micro_run.py, or the name of a set
    of counts.  A cell that has more than `cell` names is a match too; the
    first one in the order of the set is taken.  `times` converts a unit."""

    suite: str
    server: str
    metric: str
    cell: dict = field(default_factory=dict)
    times: float = 1.0


@dataclass(frozen=True)
class Check:
    """`text`: what is measured.  Exactly one of `below` and `above`."""

    text: str
    ours: Series
    theirs: Series = None       # or several, of which the best one counts
    below: float = None
    above: float = None
    unit: str = ""              # of the figure; none for a ratio
    control: bool = False       # shows that the figure can be seen at all

    @property
    def bound(self):
        return self.above if self.below is None else self.below

    @property
    def others(self):
        return self.theirs if isinstance(self.theirs, tuple) \
            else (self.theirs,) if self.theirs else ()

    def judge(self, found):
        """`found`: (median, low, high), low and high None with too few
        values; or None."""
        if found is None:
            return MISSING
        _, low, high = found
        if low is None:
            return OPEN
        if self.below is not None:
            return HOLDS if high < self.below else \
                CONTRADICTED if low >= self.below else OPEN
        return HOLDS if low > self.above else \
            CONTRADICTED if high <= self.above else OPEN


@dataclass(frozen=True)
class Step:
    """A measurement: run.py with these words, or another program."""

    name: str                   # of its folder
    words: tuple                # the command line after the program
    program: str = "run.py"
    seconds: float = 60.0       # where the program cannot say it


@dataclass(frozen=True)
class Claim:
    """One claim of the article.  `says`: in our words.  `limits`: what is not
    tested on this kind of machine, and why."""

    id: str
    title: str
    says: str
    checks: tuple = ()
    limits: str = ""
    steps: tuple = ()


@dataclass(frozen=True)
class Answer:
    check: Check
    found: tuple                # (median, low, high) or None
    judged: str
    source: str = ""            # the set, from the root
    blocks: int = 0
    limited: bool = False       # by the generator, and open because of it
    best: str = ""              # of several others, the best one


def verdict(judged, controls=()):
    """One word for the judgements of all checks of a claim."""
    if CONTRADICTED in controls:
        return UNDECIDED
    if not judged:
        return UNTESTABLE
    if all(j == MISSING for j in judged):
        return UNMEASURED
    holds = judged.count(HOLDS)
    if holds == len(judged):
        return CONFIRMED
    if holds:
        return PARTLY
    return REFUTED if CONTRADICTED in judged else UNDECIDED


# --- sets ------------------------------------------------------------------

class _Run:
    """A set of run.py."""

    def __init__(self, directory):
        self.manifest, rows, self.summary = results.load(directory)
        self.values = summaries.values_of(self.manifest, rows)

    def series(self, wanted):
        for (suite, key), servers in self.values.items():
            cell = results.json.loads(key)
            if suite == wanted.suite and wanted.server in servers and all(
                    cell.get(name) == v for name, v in wanted.cell.items()):
                return {block: m.get(wanted.metric) for block, m in
                        servers[wanted.server].items()}
        return {}

    def limited(self, wanted):
        """Whether the generator was the limit in most of its blocks."""
        if not wanted or wanted.metric not in LIMITS:
            return False
        notes = self.series(replace(wanted, metric="notes")).values()
        return 2 * sum(summaries.LIMITED in (found or ())
                       for found in notes) > len(notes)


class _Micro:
    """A set of micro_run.py; `server` is a queue, a padding or a method."""

    OF = {"queues": "queue", "padding": "pad"}

    def __init__(self, directory):
        self.manifest, self.rows = micro_results.load(directory)

    def series(self, wanted):
        name = self.OF.get(wanted.suite)
        return {row["block"]: row.get(wanted.metric)
                for row in self.rows["rows"]
                if name and str(row[name]) == wanted.server and all(
                    row.get(k, self.rows.get(k)) == v
                    for k, v in wanted.cell.items())}

    def triple(self, wanted):
        """uring_ops has medians with intervals already."""
        for row in self.rows["rows"]:
            if self.manifest["program"] == micro_results.NAME and \
                    row["method"] == wanted.server and "ratio" in row and all(
                        row.get(k) == v for k, v in wanted.cell.items()):
                if wanted.metric == "copied_share":
                    return (row["copied"] / max(1, row["notified"]),) * 3
                return tuple(row[wanted.metric])
        return None


class _Counts:
    """A set of counts: every row has a server, a block and figures."""

    def __init__(self, directory):
        path = os.path.join(directory, "counts.json")
        self.manifest = results.load_object(path, SCHEMA)
        results.need(self.manifest, path, "name", "state", "machine", "rows")

    def series(self, wanted):
        return {row["block"]: row.get(wanted.metric)
                for row in self.manifest["rows"]
                if row["server"] == wanted.server and all(
                    row.get(k) == v for k, v in wanted.cell.items())}


def names_of(directory):
    """(when, suites) of a set that may be quoted; None of any other.  What
    claims are about was measured on one host."""
    try:
        counts = os.path.join(directory, "counts.json")
        if os.path.exists(counts):
            found = results.load_object(counts, SCHEMA)
            names = [found["name"]]
        elif micro_results.is_set(directory):
            found = micro_results.load(directory)[0]
            names = [found["program"]]
        else:
            found = results.load_manifest(directory)
            names = [part["suite"] for part in found["plan"]]
        if found["state"] != "complete" or found.get("draft") \
                or found.get("quick") or found.get("hosts"):
            return None
        return found["machine"]["when"], names
    except (results.ResultError, KeyError, TypeError):
        return None


class Sets:
    """All sets below some folders, the newest first."""

    def __init__(self, *folders, root=None):
        self.root, self.loaded, self.known = root, {}, []
        for folder in folders:
            for path in sorted(glob.glob(os.path.join(folder, "*", ""))):
                found = names_of(path)
                if found:
                    self.known.append((found[0], path.rstrip(os.sep),
                                       found[1]))
        self.known.sort(reverse=True)

    def load(self, path):
        if path not in self.loaded:
            kind = _Counts if os.path.exists(
                os.path.join(path, "counts.json")) else _Micro \
                if micro_results.is_set(path) else _Run
            self.loaded[path] = kind(path)
        return self.loaded[path]

    def name(self, path):
        return os.path.relpath(path, self.root) if self.root else path

    def answer(self, check):
        """By the newest set that has the figure."""
        for _, path, suites in self.known:
            if check.ours.suite not in suites:
                continue
            found, blocks, best = figure(self.load(path), check)
            if found:
                judged = check.judge(found)
                limited = doubted(self.load(path), check, judged, found)
                return Answer(check, found, OPEN if limited else judged,
                              self.name(path), blocks, limited, best)
        return Answer(check, None, MISSING)


def doubted(data, check, judged, found):
    """Whether a judgement is the generator's and not the servers'."""
    if judged == OPEN or not isinstance(data, _Run) \
            or check.ours.metric == "cpu_us" and away(check, judged, found):
        return False
    return any(data.limited(s) for s in (check.ours, *check.others))


def away(check, judged, found):
    """Whether the judgement stays where the figure moves away from 1."""
    _, low, high = found
    lower = (judged == HOLDS) == (check.above is None)
    return high <= 1 if lower else low >= 1


def figure(data, check):
    """((median, low, high), blocks, the best of the others) of a check, by one
    set; None: not there."""
    if isinstance(data, _Micro):
        found = data.triple(check.ours)
        if found:
            return found, data.rows["blocks"], ""
    ours = data.series(check.ours)
    if check.theirs is None:
        values = [v * check.ours.times for v in ours.values()
                  if v is not None]
        return (stats_math.median_interval(values), len(values), "") \
            if values else (None, 0, "")
    ratios = {}
    for theirs in check.others:
        found = stats_math.paired_ratios(ours, data.series(theirs))
        ratios[theirs.server] = [r * check.ours.times / theirs.times
                                 for r in found]
    if not all(ratios.values()):
        return None, 0, ""
    return highest(ratios)


def highest(ratios):
    """The same, of {server: its ratios}."""
    level = 1 - (1 - stats_math.LEVEL) / len(ratios)
    found = {server: stats_math.median_interval(values)
             for server, values in ratios.items()}
    ends = [stats_math.median_interval(values, level)[1]
            for values in ratios.values()] + [f[2] for f in found.values()]
    best = max(found, key=lambda server: found[server][0])
    mid, blocks = found[best][0], min(map(len, ratios.values()))
    named = best if len(ratios) > 1 else ""
    if None in ends:
        return (mid, None, None), blocks, named
    return (mid, max(ends[:len(ratios)]), max(ends[len(ratios):])), blocks, \
        named


def answers(claim, sets):
    return [sets.answer(check) for check in claim.checks]


def verdict_of(found):
    return verdict([a.judged for a in found if not a.check.control],
                   [a.judged for a in found if a.check.control])
