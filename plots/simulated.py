"""What the sets of bench/simulate.py give: nothing here was measured, but for
the columns that say so.

tables.py asks here when a marker names such a set.  NAME is one of

  check               each cell that was measured, beside its simulation
  check:short         how far off they are, in sentences
  check:without       how far off p99 would be without each part of the model
  laws                the Universal Scalability Law through the policies
  stops               where more cores stop helping
  crossover           from how many cores on stealing serves more than a pool
  pays                where stealing begins to pay
  article             32 cores, beside the figures of the article
  inputs              prices and revision
  image:beside        p99, measured and simulated, over the load
  image:load          p99 over the load, 4 to 256 cores
  image:scaling       requests a second over the cores
  image:pays          p99 against that of a queue for each core
  image:search        what searching and the sentinel cost
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import simulate                    # noqa: E402
import stats_math                  # noqa: E402
import summary as summaries        # noqa: E402
import lines                       # noqa: E402
import usl                         # noqa: E402
from pictures import Figure, plain, value_axis    # noqa: E402
from sets import amount            # noqa: E402

NAMES = {"one": "one queue, free", "hash": "queue per core",
         "mutex": "mutex pool", "ring": "pools of workers",
         "steal": "queues stolen", "rescue": "readiness too"}
COLOURS = {"one": "#7d858c", "hash": "#8b62d0", "mutex": "#d2455e",
           "ring": "#2f7fd6", "steal": "#12936f", "rescue": "#d97316"}
MARKERS = {"one": "cross", "hash": "down", "mutex": "up", "ring": "square",
           "steal": "diamond", "rescue": "plus"}
WAS = {"hash": "stage 5", "mutex": "5-mutex-pool", "ring": "stage 5 --pool",
       "steal": "stage 6 --steal queue", "rescue": "stage 6"}
AIM_P99, AIM_RATE = 25.0, 10.0     # percent that a simulation may be off
JUDGED = (0.4, 0.8)                # the loads that the aim is for: 50 and 70 %
STOPS = 1.1                        # twice the cores, less than so much more
CROSSINGS = (4, 16, 64, 256, 1024)
SHORT_OF = 0.97                    # of the rate: what came could not be done
# What the article has for 32 cores: requests a second.
ARTICLE = {(1, "hash"): 8240, (32, "mutex"): 42700, (32, "rescue"): 68900}


class Data:
    """A loaded set: what tables.py needs of one."""

    def __init__(self, directory):
        self.found = simulate.load(directory)
        self.parts = self.found["parts"]
        self.manifest = {"draft": self.found["draft"],
                         "name": simulate.base_name(directory)}

    def rows(self, part, **wanted):
        return [row for row in self.parts.get(part, ())
                if all(row.get(k) == v for k, v in wanted.items())]

    def values(self, part, name):
        return sorted({row[name] for row in self.rows(part)})


def error(row, name):
    """How far the simulation is off, in percent of what was measured."""
    return 100 * (row["simulated"][name] / row["measured"][name] - 1)


# --- beside what was measured ---------------------------------------------

def judged(row):
    return JUDGED[0] < row["load"] < JUDGED[1]


def by_chance(row):
    """(lowest, highest) error of p99, in percent, that a simulator without
    any fault would show in 95 of 100 measurements of as many slices."""
    found = row["simulated"]
    return tuple(100 * (found["p99"] / found[end] - 1)
                 for end in ("p99_high", "p99_low"))


def explained(row):
    low, high = by_chance(row)
    return low <= error(row, "p99") <= high


def check_table(data):
    body = []
    for row in data.rows("check"):
        ours, found = row["measured"], row["simulated"]
        low, high = by_chance(row)
        body.append([
            f"{row['workers']} on /{row['kind']}", f"{row['load']:.0%}",
            WAS[row["policy"]],
            amount(ours["p50"], "us"), f"{error(row, 'p50'):+.0f} %",
            amount(ours["p99"], "us"), amount(found["p99"], "us"),
            f"{error(row, 'p99'):+.0f} %", f"{low:+.0f} to {high:+.0f} %",
            f"{error(row, 'throughput'):+.1f} %"])
    return summaries.table(
        ["workers", "load", "server", "p50 measured", "p50 error",
         "p99 measured", "p99 simulated", "p99 error", "by chance alone",
         "throughput error"], body)


def sentence(rows, name, aim, words):
    errors = [abs(error(row, name)) for row in rows]
    inside = sum(e <= aim for e in errors)
    return (f"{words}: {inside} of {len(errors)} within {aim:.0f} %, median "
            f"error {stats_math.median(errors):.1f} %, largest "
            f"{max(errors):.1f} %.")


def check_short(data):
    rows, found = data.rows("check"), []
    both = [row for row in rows if judged(row)]
    if both:
        found.append(sentence(both, "p99", AIM_P99, "p99 at 50 and 70 % load"))
        found.append(
            f"Chance alone explains {sum(explained(r) for r in both)} of "
            f"these {len(both)} errors of p99.")
        found.append(sentence(both, "p50", AIM_P99, "p50 there"))
    found.append(sentence(rows, "throughput", AIM_RATE,
                          "Throughput at all loads"))
    few = min(row["slices"] for row in rows)
    found.append(f"Each cell has {few} slice{'s'[:few != 1]} or more of "
                 f"{rows[0]['seconds']:g} s, in which other programs took up "
                 f"to {max(row['foreign'] for row in rows):.1f} % of the "
                 f"cpus.")
    return " ".join(found)


def check_without(data):
    """The median error of p99 below 80 % load, by policy and by what the
    model is without."""
    parts = ["", *simulate.WITHOUT]
    rows = [row for row in data.rows("check") if row["load"] < JUDGED[1]]
    body = []
    for policy in NAMES:
        ours = [row for row in rows if row["policy"] == policy]
        if not ours:
            continue
        line = [WAS[policy]]
        for part in parts:
            errors = [abs(100 * ((row["without"][part] if part
                                  else row["simulated"])["p99"]
                                 / row["measured"]["p99"] - 1))
                      for row in ours]
            line.append(f"{stats_math.median(errors):.0f} %")
        body.append(line)
    return summaries.table(
        ["p99, median error", "whole model"]
        + [f"without {part}" for part in parts[1:]], body)


def beside(data):
    """p99 of each server over the load, measured and simulated."""
    panels = []
    for suite in data.values("check", "suite"):
        series = []
        for policy in NAMES:
            rows = data.rows("check", suite=suite, policy=policy)
            if not rows:
                continue
            for kind, dashed in (("measured", False), ("simulated", True)):
                series.append(lines.Series(
                    f"{policy}-{kind}", "" if dashed else WAS[policy],
                    COLOURS[policy], MARKERS[policy],
                    [lines.Point(100 * r["load"], r[kind]["p99"])
                     for r in rows], dashed))
        first = data.rows("check", suite=suite)[0]
        panels.append((f"{first['workers']} workers on /{first['kind']}, "
                       f"{first['service']} us: p99", series,
                       value_axis("", "us", True)))
    rows = [row for row in data.rows("check") if judged(row)]
    errors = [abs(error(row, "p99")) for row in rows]
    title = f"Simulated beside measured: p99 is {max(errors):.0f} % off at " \
        f"most at 50 and 70 % load" if errors else \
        "Simulated beside measured: p99 over the load"
    axis = lines.Axis("load, % of what the handlers alone allow", plain)
    return Figure("beside", title, "Marks and lines: measured; dashed: "
                  "simulated. Log scale.", "check", [],
                  lambda width: lines.draw(panels, axis, width))


# --- the policies on more cores -------------------------------------------

def series_of(data, part, x, y, policies=NAMES, scale=1.0, **wanted):
    """A line for each policy; hollow where the rate was not reached."""
    found = []
    for policy in policies:
        rows = data.rows(part, policy=policy, **wanted)
        points = [lines.Point(
            row[x] * scale, row[y], tip=f"{NAMES[policy]}, simulated",
            hollow=part == "load"
            and row["throughput"] < SHORT_OF * row["rate"]) for row in rows]
        if points:
            found.append(lines.Series(policy, NAMES[policy], COLOURS[policy],
                                      MARKERS[policy], points))
    return found


def load_figure(data):
    cores = data.values("load", "cores")
    panels = [(f"{n} cores, simulated: p99",
               series_of(data, "load", "load", "p99", scale=100, cores=n),
               value_axis("", "us", True)) for n in cores]
    parts = []
    for n in cores:
        ours = {p: data.rows("load", cores=n, policy=p, load=0.7)
                for p in ("hash", "rescue")}
        if all(ours.values()):
            times = ours["hash"][0]["p99"] / ours["rescue"][0]["p99"]
            parts.append(f"{times:.1f} on {n}")
    axis = lines.Axis("load, %", plain)
    return Figure(
        "load", "Simulated: p99 of a queue per core to that of stealing, at 70 "
        "% load: " + ", ".join(parts) + " cores",
        "Handlers of 100 us in the mean, exponential, 64 connections a core, "
        "placed by chance. Hollow: some core had more than it could do. Log "
        "scale.", "load", [], lambda width: lines.draw(panels, axis, width))


def points_of(data, mean, policy):
    return [(row["cores"], row["throughput"])
            for row in data.rows("scaling", mean=mean, policy=policy)]


def stops_at(points):
    """The last number of cores before twice as many give less than a tenth
    more; None: none of these."""
    for (n, x), (_, more) in zip(points, points[1:]):
        if more < STOPS * x:
            return n
    return None


def stop_words(points):
    n = stops_at(points)
    return f"at {n:,} cores" if n else f"beyond {points[-1][0]:,} cores"


def scaling_figure(data):
    means = data.values("scaling", "mean")
    policies = ("hash", "mutex", "ring", "rescue")
    panels = []
    for mean in means:
        series = series_of(data, "scaling", "cores", "throughput", policies,
                           mean=mean)
        panels.append((f"handlers of {mean} us, simulated: requests a second",
                       series, value_axis("", "/s", True)))
    words = ", ".join(f"{stop_words(points_of(data, mean, 'mutex'))} with "
                      f"{mean} us" for mean in means)
    axis = lines.Axis("cores", plain, True, data.values("scaling", "cores"))
    return Figure(
        "scaling", f"Simulated: the mutex pool stops scaling {words}",
        "All cores have more to do than they can; handlers exponential. A "
        "pool's workers are among the cores. Log scales.", "scaling", [],
        lambda width: lines.draw(panels, axis, width))


def stops_table(data):
    policies = ("hash", "mutex", "ring", "rescue")
    return summaries.table(
        ["handler, us"] + [NAMES[p] for p in policies],
        [[str(mean)] + [stop_words(points_of(data, mean, p))
                        for p in policies]
         for mean in data.values("scaling", "mean")])


def crossover_table(data):
    """What stealing serves to what the mutex pool serves, on as many cores."""
    body = []
    for mean in data.values("scaling", "mean"):
        pool = dict(points_of(data, mean, "mutex"))
        times = [(n, x / pool[n]) for n, x in points_of(data, mean, "rescue")
                 if n in pool]
        first = next((n for n, ratio in times if ratio >= STOPS), None)
        body.append([str(mean), f"{first:,} cores" if first else "none",
                     *(f"{ratio:.2f}" for n, ratio in times
                       if n in CROSSINGS)])
    shown = [n for n, _ in times if n in CROSSINGS]
    return summaries.table(
        ["handler, us", "a tenth more from",
         *(f"on {n:,} cores" for n in shown)], body)


def laws_table(data):
    return summaries.table(
        ["handler, us", "policy", "Universal Scalability Law"],
        [[str(mean), NAMES[policy], usl.words(points_of(data, mean, policy))]
         for mean in data.values("scaling", "mean")
         for policy in ("mutex", "ring", "rescue")])


def ratio_of(data, spread, mean, policy, name="p99"):
    """Median over the seeds of the ratio to a queue for each core."""
    base = {r["seed"]: r for r in data.rows("pays", spread=spread, mean=mean,
                                            policy="hash")}
    return stats_math.median(
        [r[name] / base[r["seed"]][name]
         for r in data.rows("pays", spread=spread, mean=mean, policy=policy)])


def pays_figure(data):
    means, panels = data.values("pays", "mean"), []
    for spread in simulate.SPREADS:
        series = [lines.Series(
            policy, NAMES[policy], COLOURS[policy], MARKERS[policy],
            [lines.Point(m, ratio_of(data, spread, m, policy))
             for m in means]) for policy in ("ring", "steal", "rescue")]
        panels.append((f"{spread}, simulated: p99 to that of a queue per core",
                       series, lines.Axis("", lambda v: f"{v:g}", True,
                                          base=1)))
    axis = lines.Axis("mean of the handler (bimodal: of the short ones), us",
                      plain, True, means)
    ratios = [ratio_of(data, s, m, "rescue") for s in simulate.SPREADS
              for m in means]
    return Figure(
        "pays", f"Simulated: stealing queues and readiness leaves "
        f"{min(ratios):.2f} to {max(ratios):.2f} of the p99 of a queue per "
        f"core",
        "16 cores at 70 % load, 64 connections a core placed by chance; "
        "medians over the seeds. Bimodal: one handler in 200 takes 100 times "
        "as long. Log scales.", "pays", [],
        lambda width: lines.draw(panels, axis, width))


def pays_table(data):
    body = []
    for spread in simulate.SPREADS:
        for mean in data.values("pays", "mean"):
            body.append([spread, str(mean)] + [
                f"{ratio_of(data, spread, mean, policy):.2f}"
                for policy in ("ring", "steal", "rescue")] + [
                f"{ratio_of(data, spread, mean, 'rescue', 'busy'):.2f}"])
    return summaries.table(
        ["spread", "handler, us", f"p99, {NAMES['ring']}",
         f"p99, {NAMES['steal']}", f"p99, {NAMES['rescue']}",
         f"cpu, {NAMES['rescue']}"], body)


def search_figure(data):
    panels = []
    for name, words in (("search", "searching, % of the cores' time"),
                        ("sentinel", "the sentinel, % of one core")):
        series = []
        for load, colour, mark in ((0.3, "#2f7fd6", "square"),
                                   (0.7, "#d97316", "plus")):
            rows = data.rows("search", load=load)
            series.append(lines.Series(
                f"{load}", f"{load:.0%} load", colour, mark,
                [lines.Point(r["cores"], max(100 * r[name], 0.001))
                 for r in rows]))
        panels.append((f"{words}, simulated", series,
                       lines.Axis("", lambda v: f"{v:g} %", True)))
    last = max(data.rows("search"), key=lambda r: (r["cores"], r["load"]))
    axis = lines.Axis("cores", plain, True, data.values("search", "cores"))
    return Figure(
        "search", f"Simulated: on {last['cores']} cores the search takes "
        f"{100 * last['search']:.0f} % of the cores' time at "
        f"{last['load']:.0%} load, the sentinel {100 * last['sentinel']:.0f} "
        f"% of one",
        "Stealing of queues and readiness; one handler in 200 takes 10 ms, "
        "the others 100 us. A look at another core costs the transfer of a "
        "cache line. Log scales.", "search", [],
        lambda width: lines.draw(panels, axis, width))


def article_table(data):
    """Requests a second; with 5,000 at a time the mean follows from them."""
    rows = {(r["cores"], r["policy"]): r for r in data.rows("article")}
    base = rows[1, "hash"]["throughput"]
    body = []
    for key, row in rows.items():
        theirs = ARTICLE.get(key)
        body.append([
            str(key[0]), NAMES[key[1]],
            f"{theirs:,}" if theirs else "-",
            f"{theirs / ARTICLE[1, 'hash']:.1f}" if theirs else "-",
            summaries.number(row["throughput"]),
            f"{row['throughput'] / base:.1f}",
            amount(5000 / row["throughput"] * 1e6, "us")])
    return summaries.table(
        ["cores", "policy", "article, requests/s", "of one core",
         "simulated, requests/s", "of one core", "simulated mean"], body)


def inputs_text(data):
    found = data.found
    return (f"Simulated by `{found['command']}`, revision "
            f"{(found['revision'] or 'unknown')[:12]}, with the prices of "
            f"{', '.join(found['sets'])} and a lock of "
            f"{1000 * found['lock_us']:.0f} ns ({found['queues']}).")


FIGURES = {"check": (beside,), "load": (load_figure,),
           "scaling": (scaling_figure,), "pays": (pays_figure,),
           "search": (search_figure,)}
TABLES = {"check": (check_table, "check"), "check:short": (check_short,
                                                           "check"),
          "check:without": (check_without, "check"),
          "laws": (laws_table, "scaling"), "stops": (stops_table, "scaling"),
          "crossover": (crossover_table, "scaling"),
          "pays": (pays_table, "pays"),
          "article": (article_table, "article")}


def figures_of(data):
    return [make(data) for part, makers in FIGURES.items()
            if data.rows(part) for make in makers]


def render(data, what):
    """The Markdown for one NAME, or None: there is no such."""
    if what == "inputs":
        return inputs_text(data)
    make, part = TABLES.get(what, (None, None))
    return make(data) if make and data.rows(part) else None
