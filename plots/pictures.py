"""Every picture that a set has the rows for, in reading order.

A title is a finding where the interval allows one; otherwise it says what is
shown.  `what` says how to read the picture; the notes of the slices and the
command that repeats them are added by whoever shows it.
"""

import summary as summaries

import findings
import heat
import lines
import predicted
import rows
import stacks
import usl
from sets import (SKEW, UNEVEN, amount, cell_words, decided, fast, tick,
                  without)

PERCENTILES = (("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p95", 0.95),
               ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999))
TAIL = 10      # samples that must lie beyond a percentile to show it
DOTS = ("A faint dot is a slice, the mark their median, the band its 95 % "
        "interval.")


class Figure:
    """A picture to be: draw(width) gives it; `wide`: it can use the width of
    a page."""

    def __init__(self, name, title, what, suite, cells, draw, wide=False):
        self.name, self.title, self.what = name, title, what
        self.suite, self.cells = suite, cells
        self.draw, self.wide = draw, wide


def value_axis(label, unit, log=False, zero=False):
    return lines.Axis(label, lambda v: tick(v, unit), log, zero=zero)


def plain(value):
    return f"{value:,g}"


# --- one cell, a row for each server --------------------------------------

def one_cell(data, name, suite, cell, metric, unit, words, log=False):
    title = findings.best_title(data, suite, cell, metric, unit, words)
    found = rows.rows_of(data, suite, cell, metric, unit)
    if not any(r.triple for r in found):
        return None
    return Figure(name, title or f"{findings.capital(words)}, by server",
                  f"{data.title(suite)}; {cell_words(cell)}: {words}"
                  f"{', log scale' if log else ''}. {DOTS}", suite, [cell],
                  lambda width: rows.draw(found, unit, width, log))


def steps_figure(data, suite, cell, metric, words):
    """Each server's paired ratio to the row above."""
    pairs = []
    for base, server in zip(data.order, data.order[1:]):
        c = data.ratio(suite, cell, metric, server, base)
        if c:
            pairs.append((server, f"{data.name(server)} / {data.name(base)}",
                          c))
    if not pairs:
        return None
    sure = sum(decided(c) for _, _, c in pairs)
    return Figure("steps", f"{sure} of {len(pairs)} steps are decided",
                  f"{findings.capital(words)}, {cell_words(cell)}: ratio to "
                  f"the server above, paired within a block. Hollow: the "
                  f"interval does not decide it.", suite, [cell],
                  lambda width: rows.draw(rows.ratio_rows(data, pairs), "",
                                          width, base=1))


# --- over a parameter -----------------------------------------------------

def over(data, suite, cells, param, metric, scale=1.0):
    """A line for each server: the metric over a parameter of the cells."""
    def points(server):
        found = []
        for cell in cells:
            e = data.entry(suite, cell, server)
            triple = e and e["metrics"].get(metric)
            if triple:
                found.append(lines.Point(
                    cell[param] * scale, *triple,
                    f"{data.name(server)}, {cell_words(cell)}: "
                    f"{amount(triple[0], unit_of(metric))}"))
        return found if len(found) > 1 else []
    return lines.of_servers(data, points)


def unit_of(metric):
    return "/s" if metric == "qps" else "B" if metric.endswith("bytes") \
        else "us" if metric.endswith("_us") else ""


def sweep(data, name, title, suite, cells, param, label):
    values = sorted({c[param] for c in cells})
    log = values[0] > 0 and values[-1] / values[0] > 16
    axis = lines.Axis(label, plain, log, values)
    panels = [(heading, over(data, suite, cells, param, metric),
               value_axis("", unit, True))
              for heading, metric, unit in (
                  ("CPU time of a request", "cpu_us", "us"),
                  ("requests a second", "qps", "/s"))]
    return Figure(name, title, f"{data.title(suite)}. Log scales; bands are "
                  f"95 % intervals.", suite, cells,
                  lambda width: lines.draw(panels, axis, width))


def offered(data, suite, cell, server):
    """(rate that was asked for, it was reached) of a server in a cell."""
    found = [r["report"] for r in data.slices(suite, cell, server)
             if r.get("report")]
    rates = sorted(r.get("intended_rate") or 0 for r in found)
    short = sum("rate not reached" in (r["metrics"].get("notes") or ())
                for r in data.slices(suite, cell, server))
    return (rates[len(rates) // 2] if rates else 0,
            2 * short <= len(found))


def latency(data, suite, cells):
    """Latency against load, from the intended send time."""
    panels = []
    for word, metric in (("p50", "p50_us"), ("p99", "p99_us"),
                         ("p99.9", "p999_us")):
        def points(server, metric=metric, word=word):
            found = []
            for cell in cells:
                e = data.entry(suite, cell, server)
                triple = e and e["metrics"].get(metric)
                rate, reached = offered(data, suite, cell, server)
                if triple and rate:
                    found.append(lines.Point(
                        rate, *triple, f"{data.name(server)} at "
                        f"{amount(rate, '/s')}: {word} "
                        f"{amount(triple[0], 'us')}"
                        + ("" if reached else ", saturated"), not reached))
            return found
        series = lines.of_servers(data, points)
        if series:
            panels.append((word, series, value_axis("", "us", True)))
    axis = lines.Axis("requests a second that were asked for",
                      lambda v: tick(v, "/s"), zero=True)
    return Figure(
        "latency" if suite == "latency" else f"latency-{suite}",
        latency_title(data, suite, cells),
        f"{data.title(suite)}. Each request counts from when it was meant to "
        f"be sent, so that a stall shows; log scale. A hollow mark: the "
        f"server was saturated, the rate was not reached.", suite, cells,
        lambda width: lines.draw(panels, axis, width), wide=True)


def latency_title(data, suite, cells):
    """At the highest load that all stages reach, who has the lowest p99."""
    for cell in sorted(cells, key=lambda c: -c.get("load", 0)):
        entries = [e for e in data.entries(suite, cell)
                   if not data.is_peer(e["server"])]
        if entries and all(offered(data, suite, cell, e["server"])[1]
                           for e in entries):
            title = findings.best_title(data, suite, cell, "p99_us", "us",
                                        f"p99 at {cell_words(cell)}")
            if title:
                return title
    return "Latency against load"


def tails(data, suite, cell):
    """p50 to p99.99, a line for each server."""
    def points(server):
        reports = [r["report"]["latency_us"] for r in
                   data.slices(suite, cell, server)
                   if (r.get("report") or {}).get("latency_us")]
        found = []
        for place, (name, share) in enumerate(PERCENTILES):
            values = sorted(r[name] for r in reports if r.get(name)
                            and r.get("count", 0) * (1 - share) >= TAIL)
            if values and 2 * len(values) > len(reports):
                middle = values[len(values) // 2]
                found.append(lines.Point(
                    place, middle, tip=f"{data.name(server)}: {name} "
                    f"{amount(middle, 'us')}"))
        return found
    series = lines.of_servers(data, points)
    if not series:
        return None
    axis = lines.Axis("percentile", lambda v: PERCENTILES[int(v)][0][1:],
                      ticks=range(len(PERCENTILES)))
    return Figure(
        f"tails-{suite}" if suite != data.lead else "tails",
        f"The slowest requests, {cell_words(cell)}",
        f"{data.title(suite)}: latency from the 50th to the 99.99th "
        f"percentile, medians over the slices; a percentile with fewer than "
        f"{TAIL} requests beyond it is not shown.", suite, [cell],
        lambda width: lines.draw([("latency", series,
                                   value_axis("", "us", True))], axis, width))


# --- what the ladder gives ------------------------------------------------

def ladder(data):
    head, suite = data.headline(), data.lead
    if not head:
        return
    yield one_cell(data, "cpu", suite, head, "cpu_us", "us",
                   "CPU time of a request")
    yield steps_figure(data, suite, head, "cpu_us", "CPU time of a request")
    if heat.pairs(data) and len(data.suites[suite]) > 1:
        squares = heat.steps(data, suite, "cpu_us")
        found = squares.comparisons()
        yield Figure(
            "heat", f"{sum(map(decided, found))} of {len(found)} steps are "
            f"decided, over all cells",
            "CPU time of a request, each stage to the one before it, by the "
            "handler's time and the connections. Blue is less, orange more, "
            "grey not decided, hatched: the generator was the limit.", suite,
            data.suites[suite], lambda width: heat.draw(squares, width))
    yield paid_figure(data, suite, head)
    yield predicted_figure(data, suite, head)
    yield one_cell(data, "ladder", suite, head, "qps", "/s",
                   "requests a second")
    yield one_cell(data, "p99", suite, head, "p99_us", "us", "p99", log=True)
    yield tails(data, suite, head)
    same = [c for c in data.suites[suite] if "handler" in c
            and without(c, "handler") == without(head, "handler")]
    if len(same) > 1:
        yield sweep(data, "handlers", "What a longer handler leaves of it",
                    suite, same, "handler", "time of the handler, us")
    same = [c for c in data.suites[suite] if "connections" in c
            and without(c, "connections") == without(head, "connections")]
    if len(same) > 1:
        yield sweep(data, "connections", "Over the number of connections",
                    suite, same, "connections", "connections")


def paid_figure(data, suite, cell):
    found = stacks.paid(data, suite, cell)
    if not found:
        return None
    sleeps = [(e["server"], e["metrics"]["client_sleeps"][0])
              for e in data.entries(suite, cell)
              if "client_sleeps" in e["metrics"]]
    asleep = max((s for _, s in sleeps), default=None)
    words = "" if asleep is None else (
        f" The client slept {summaries.number(asleep)} times a request at "
        f"most." if asleep >= 0.01 else
        " The client slept less than once in 100 requests.")
    return Figure(
        "paid" if suite == data.lead else f"paid-{suite}",
        "Who pays for a request",
        f"{data.title(suite)}; {cell_words(cell)}: CPU time of both sides' "
        f"cpus, a request. An interrupt is charged to whatever it comes upon: "
        f"the thin bar is how much of all this they are.{words}", suite,
        [cell], lambda width: stacks.draw(found, "us", width))


def predicted_figure(data, suite, cell):
    found = predicted.of_cell(data, suite, cell)
    if not found:
        return None
    both, words = found
    return Figure("predicted", "Predicted from prices, beside what was "
                  "measured", words, suite, [cell],
                  lambda width: rows.draw(both, "us", width))


def calls_figure(data):
    head = data.headline()
    for suite in (data.lead, "short", "pipeline"):
        traced = [c for c in data.suites.get(suite, ())
                  if any(e.get("syscalls") for e in data.entries(suite, c))]
        if traced:
            cell = head if head in traced else traced[-1]
            found = stacks.calls(data, suite, cell)
            return Figure(
                "syscalls", calls_title(data, suite, cell),
                f"{data.title(suite)}; {cell_words(cell)}: system calls of "
                f"the server, a request, counted in a run of its own.",
                suite, [cell], lambda width: stacks.draw(found, "", width))
    return None


def calls_title(data, suite, cell):
    counts = {e["server"]: e["syscalls_per_request"]
              for e in data.entries(suite, cell) if e.get("syscalls")
              and not data.is_peer(e["server"])}
    if len(counts) < 2:
        return "System calls of a request"
    low, high = min(counts, key=counts.get), max(counts, key=counts.get)
    return (f"{summaries.number(counts[high], 2)} system calls a request in "
            f"{findings.number_of(high)}, "
            f"{summaries.number(counts[low], 2)} in "
            f"{findings.number_of(low)}")


# --- the other suites -----------------------------------------------------

def idle(data):
    slopes = {s["server"]: s for s in data.summary["slopes"]
              if s["suite"] == "idle"}
    found = []
    for server in (n for n in data.order if n in slopes):
        s = slopes[server]
        clear = s["bytes"] > 0 and (s["low"] or 0) > 0
        found.append(rows.Row(
            server, data.name(server), data.colours[server],
            data.marker(server),
            [s["bytes"], s["low"] if clear else None,
             s["high"] if clear else None] if s["bytes"] > 0 else None, (),
            amount(s["bytes"], "B") if s["bytes"] > 0 else "too small to see"))
    if not found:
        return None
    return Figure("idle", findings.idle([data])[:-1]
                  or "Memory of an idle connection",
                  "User memory of the server for one more idle connection, "
                  "by a line through the crowds; log scale. Bands are 95 % "
                  "intervals.", "idle", data.suites.get("idle", []),
                  lambda width: rows.draw(found, "B", width, log=True))


def uneven(data, suite, cell, name):
    entries = data.entries(suite, cell)
    metric = fast(entries, "p99")
    found = rows.rows_of(data, suite, cell, metric, "us")
    if not any(r.triple for r in found):
        return None
    which = "the short requests" if metric.startswith("fast") else "all"
    base = data.summary.get("yardsticks", {}).get(suite)
    better = sorted((c["ratio"], c["server"]) for c in
                    data.ratios(suite, cell, metric)
                    if c["base"] == base and decided(c) and c["ratio"] < 1)
    title = f"p99 of {which}, {cell_words(cell)}"
    if better:
        values = {e["server"]: e["metrics"][metric][0] for e in entries
                  if metric in e["metrics"]}
        title = (f"p99 of {which} falls from {amount(values[base], 'us')} "
                 f"({data.name(base)}) to "
                 f"{amount(values[better[0][1]], 'us')} "
                 f"({data.name(better[0][1])})")
    return Figure(name, title, f"{data.title(suite)}: p99 of {which}, log "
                  f"scale. {DOTS}", suite, [cell],
                  lambda width: rows.draw(found, "us", width, log=True))


def load_groups(cells):
    """[cells that differ in nothing but the load], two loads at least."""
    found = []
    for cell in cells:
        for group in found:
            if without(group[0], "load") == without(cell, "load"):
                group.append(cell)
                break
        else:
            found.append([cell])
    return [sorted(g, key=lambda c: c["load"]) for g in found if len(g) > 1]


def over_load(data, suite, cells, name):
    """p50 and p99 of the fast class over load, all else the same."""
    entries = data.entries(suite, cells[0])
    axis = lines.Axis("load, % of the capacity when placed evenly", plain,
                      ticks=[100 * c["load"] for c in cells])
    panels = [(word, over(data, suite, cells, "load", fast(entries, word),
                          100), value_axis("", "us", True))
              for word in ("p50", "p99")]
    return Figure(name, f"Uneven work, {cell_words(without(cells[0], 'load'))}",
                  f"{data.title(suite)}: latency of the short requests over "
                  f"load, log scale; bands are 95 % intervals.", suite, cells,
                  lambda width: lines.draw(panels, axis, width))


def matrix(data, suite, cells, workers):
    """p99 of stage 6 to stage 5 in every cell."""
    squares = heat.uneven(data, suite, cells)
    found = squares.comparisons()
    if not found:
        return None
    sure = [c for c in found if decided(c)]
    less = sum(c["ratio"] < 1 for c in sure)
    return Figure(
        f"{suite}-{workers}", f"Stage 6 has the lower p99 in {less} of "
        f"{len(found)} cells, the higher in {len(sure) - less}",
        f"{data.title(suite)}: p99 of the short requests, stage 6 / stage 5, "
        f"{workers} workers, by load (across) and by what else differs: the "
        f"work, where the connections are, how many. Blue is less, orange "
        f"more, grey not decided.", suite, cells,
        lambda width: heat.draw(squares, width))


def skew(data):
    for suite in SKEW:
        cells = data.suites.get(suite, [])
        for workers in dict.fromkeys(c.get("workers") for c in cells):
            ours = [c for c in cells if c.get("workers") == workers]
            groups = load_groups(ours)
            if len(ours) > 1:
                yield matrix(data, suite, ours, workers)
            for group in groups[:1]:
                yield over_load(data, suite, group, f"{suite}-{workers}-load")


def scaling_points(data, server):
    """[(workers, [median, low, high] of requests/s)]"""
    found = []
    for cell in data.suites.get("scaling", ()):
        e = data.entry("scaling", cell, server)
        if e and "qps" in e["metrics"]:
            found.append((cell["workers"], e["metrics"]["qps"]))
    return sorted(found)


def law_text(data, server):
    """The Universal Scalability Law through a server's points, in words."""
    points = [(n, x[0]) for n, x in scaling_points(data, server)]
    law = usl.fit(points)
    one = f"one worker {summaries.number(law.one)}/s, " if law else ""
    return one + usl.words(points)


def law_curves(data):
    """The law of each server to which one could be fitted."""
    for server in data.order:
        points = scaling_points(data, server)
        law = usl.fit([(n, x[0]) for n, x in points])
        if law:
            low, high = points[0][0], points[-1][0]
            xs = [low + (high - low) * i / 40 for i in range(41)]
            yield lines.Series(server, "", data.colours[server], None, [
                lines.Point(x, usl.throughput(law, x)) for x in xs], True)


def scaling(data):
    cells = data.suites.get("scaling")
    if not cells:
        return None
    axis = lines.Axis("workers", plain, ticks=sorted(
        {c["workers"] for c in cells}))
    rates = over(data, "scaling", cells, "workers", "qps")
    panels = [("requests a second", rates + list(law_curves(data)),
               value_axis("", "/s", zero=True)),
              ("CPU time of a request",
               over(data, "scaling", cells, "workers", "cpu_us"),
               value_axis("", "us", zero=True))]
    laws = "; ".join(f"{data.name(s)}: {law_text(data, s)}"
                     for s in data.order if scaling_points(data, s))
    return Figure("scaling", "Over the number of workers",
                  f"{data.title('scaling')}. Universal Scalability Law: "
                  f"{laws}.", "scaling", cells,
                  lambda width: lines.draw(panels, axis, width))


def files(data):
    for number, cell in enumerate(data.suites.get("files", ()), 1):
        for name, metric, unit, words in (
                (f"files-{number}", "qps", "/s", "files a second"),
                (f"files-beside-{number}", "probe_p99_us", "us",
                 "p99 of / beside them")):
            yield one_cell(data, name, "files", cell, metric, unit, words,
                           log=unit == "us")


def others(data, shown):
    """Whatever has no picture of its own: throughput and CPU time."""
    for suite, cells in data.suites.items():
        if suite in shown:
            continue
        for number, cell in enumerate(cells, 1):
            end = f"-{number}" if len(cells) > 1 else ""
            if "idle" in cell:     # a crowd: the rate is given
                yield one_cell(data, f"{suite}{end}", suite, cell, "p99_us",
                               "us", "p99")
                continue
            yield one_cell(data, f"{suite}{end}", suite, cell, "cpu_us",
                           "us", "CPU time of a request")
            yield one_cell(data, f"{suite}-rate{end}", suite, cell, "qps",
                           "/s", "requests a second")


def figures_of(data):
    """Every figure this set has the rows for."""
    found = []
    for suite in ("load", "latency"):
        for group in load_groups(data.suites.get(suite, ())):
            figure = latency(data, suite, group)
            figure.name += f"-{len(found)}" if figure.name in [
                f.name for f in found] else ""
            found.append(figure)
    found += [*ladder(data), calls_figure(data), idle(data)]
    names = {"show-sleep": "skew", "show-one": "skew-one",
             "show-hash": "skew-hash"}
    for suite in UNEVEN:
        for number, cell in enumerate(data.suites.get(suite, ()), 1):
            found.append(uneven(data, suite, cell, names[suite]
                                + (f"-{number}" if number > 1 else "")))
    found += [*skew(data), scaling(data)]
    depth = data.suites.get("pipeline", ())
    if len(depth) > 1:
        for connections in dict.fromkeys(c["connections"] for c in depth):
            ours = [c for c in depth if c["connections"] == connections]
            found.append(sweep(
                data, f"pipeline-{connections}", "Pipelining", "pipeline",
                ours, "depth", "requests in flight on each connection"))
    found += files(data)
    shown = {data.lead, "latency", "load", "idle", "files", "scaling",
             *UNEVEN, *SKEW}
    if len(depth) > 1:
        shown.add("pipeline")
    found += others(data, shown)
    return [figure for figure in found if figure]
