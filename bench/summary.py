"""From rows to medians, intervals, comparisons and tables."""

import json
import math

import results
import stats_math

# What a server is called in tables, pictures and sentences.
NAMES = {"stage1": "1 threads", "stage2": "2 epoll", "stage3": "3 io_uring",
         "stage4": "4 fixed", "stage5": "5 per-core", "stage6": "6 stealing",
         "nginx": "nginx", "h2o": "h2o", "haproxy": "HAProxy",
         "lighttpd": "lighttpd", "go": "Go net/http",
         "fasthttp": "Go fasthttp", "libevent": "libevent",
         "haproxy-front": "behind HAProxy", "nginx-front": "behind nginx",
         "5-pool": "5, spmc pool",
         "5-spmc": "5, spmc pool", "5-mutex": "5, mutex pool",
         "5-spmc-eventfd": "5, spmc pool, eventfd",
         "5-mutex-eventfd": "5, mutex pool, eventfd",
         "6-eager": "6, --stuck-us 20",
         "6-queue": "6, --steal queue", "6-off": "6, --steal off",
         "pad0": "6, PAD 0", "pad64": "6, PAD 64"}

# What is summarised of every measured run, with the words for a table head.
METRICS = {
    "qps": "requests/s",
    "cpu_us": "server CPU us/request",
    "client_cpu_us": "client CPU us/request",
    "client_busy": "client cpu busy",
    "client_sleeps": "sleeps of the client/request",
    "server_sleeps": "sleeps of the server/request",
    "system_cpu_us": "whole system CPU us/request",
    "spent_us": "whole system CPU us/request, without the client's spinning",
    "server_user_us": "of that the server, user",
    "server_sys_us": "of that the server, system",
    "client_spin_us": "of that the client, waiting in a spin",
    "softirq_us": "of that interrupts, in whatever they came upon",
    "rest_us": "of that all other programs",
    "mean_us": "mean us",
    "p50_us": "p50 us",
    "p90_us": "p90 us",
    "p99_us": "p99 us",
    "p999_us": "p99.9 us",
    "max_us": "max us",
    "fast_p50_us": "p50 of the fast class, us",
    "fast_p90_us": "p90 of the fast class, us",
    "fast_p99_us": "p99 of the fast class, us",
    "fast_p999_us": "p99.9 of the fast class, us",
    "beat_p50_us": "p50 of the heartbeats, us",
    "beat_p99_us": "p99 of the heartbeats, us",
    "threads": "threads of the server",
    "faults": "page faults of the server/request",
    "connects_per_s": "connections of the crowd opened/s",
    "connect_faults": "page faults of the server/connection of the crowd",
    "migrations": "migrations of the server's threads/request",
    "run_wait_us": "wait of the server's threads for a cpu, us/request",
    "probe_p50_us": "p50 of / beside it, us",
    "probe_p99_us": "p99 of / beside it, us",
    "rss_kib": "resident KiB",
    "private_kib": "private KiB",
    "server_busy": "server cpus busy",
    "ctx_per_request": "context switches/request",
    "events_per_wait": "events per wait",
    "ring_rounds": "share of the rounds that the ring did",
    "own_calls": "system calls/request, by the server's counters",
    "active": "workers that run at the end",
    "changes": "changes of the number of workers",
    "lost": "requests without an answer since the server's start",
    "header_bytes": "header bytes of an answer",
    "steal_pct": "steal %",
    "foreign_pct": "other programs, % of the cpus",
}

# Compared in pairs.  CPU per request first: it holds still where the others
# drift with the machine.
COMPARED = ("cpu_us", "qps", "p50_us", "p99_us", "probe_p99_us",
            "system_cpu_us", "spent_us", "fast_p50_us", "fast_p90_us",
            "fast_p99_us",
            "own_calls")
REFERENCES = ("stage2", "nginx", "go")
LIMITED = "limited by the generator"
# Percent; see run.py and slices.py.
DRIFT_LIMIT, FOREIGN_LIMIT, STEAL_LIMIT = 5.0, 10.0, 5.0
SLOW_LIMIT = 1.0      # percent of the time: from there on a p99 is made of it


def cell_key(cell):
    return json.dumps(cell, sort_keys=True)


def cell_text(cell):
    """{"connections": 64, "load": 0.3} -> "connections 64, load 30 %"."""
    words = []
    for name, value in cell.items():
        if name == "load":
            words.append(f"load {value * 100:.0f} %")
        elif name == "handler":
            words.append(f"handler {value} us")
        else:
            words.append(f"{name} {value:,}" if isinstance(value, int)
                         else f"{name} {value}")
    return ", ".join(words)


def references(server, order, more=None):
    """Who a server is compared with: the one before it, and the yardsticks;
    `more`: what its suite is about."""
    place = order.index(server)
    found = [order[place - 1]] if place else []
    found += [r for r in (*REFERENCES, more) if r in order and r != server]
    return list(dict.fromkeys(found))


def pairs_of(order, more=None):
    """How many comparisons a table of these servers holds, each once."""
    return len({frozenset((server, base)) for server in order
                for base in references(server, order, more)})


class _Cell:
    """All rows of one cell of one suite, by server."""

    def __init__(self, suite, cell):
        self.suite, self.cell = suite, cell
        self.visits = {}    # (server, block, try) -> [metrics]
        self.steady = {}    # block -> the try in which the machine held still
        self.valid = {}     # server -> {block: metrics}
        self.slices = {}    # server -> count of those in use
        self.rejected = {}  # server -> count
        self.trace = {}     # server -> metrics of the traced run
        self.turns = False  # a block visits each server once, in turns

    def add(self, row):
        server = row["server"]
        if row["kind"] == "block":
            if row["valid"]:
                self.steady[row["block"]] = row["try"]
        elif row["kind"] == "trace":
            if row["valid"]:
                self.trace[server] = row["metrics"]
        elif row["valid"]:
            key = server, row["block"], row.get("try", 0)
            self.turns = self.turns or bool(row.get("turns"))
            self.visits.setdefault(key, []).append(row["metrics"])
        else:
            self.rejected[server] = self.rejected.get(server, 0) + 1

    def settle(self, visits, calibrated):
        """Makes one value a block of a server's visits to it: their mean, in
        which a drift cancels.  Only of blocks that are whole and steady."""
        visits = 1 if self.turns else visits
        for (server, block, attempt), found in self.visits.items():
            if calibrated and self.steady.get(block) != attempt:
                continue
            if len(found) == visits:
                self.valid.setdefault(server, {})[block] = _mean(found)
                self.slices[server] = self.slices.get(server, 0) + visits


def _mean(visits):
    """The figures of one block; None where a visit has none."""
    if len(visits) == 1:
        return visits[0]
    found = {}
    for name in dict.fromkeys(name for m in visits for name in m):
        values = [m.get(name) for m in visits]
        if name == "notes":
            found[name] = [note for notes in values for note in notes or ()]
        elif all(isinstance(v, (int, float)) for v in values):
            found[name] = math.fsum(values) / len(values)
        else:
            found[name] = None
    return found


def _gather(rows, method):
    cells = {}
    for row in rows:
        if row["kind"] not in ("measure", "trace", "block"):
            continue
        key = row["suite"], cell_key(row["cell"])
        if key not in cells:
            cells[key] = _Cell(row["suite"], row["cell"])
        cells[key].add(row)
    for cell in cells.values():
        cell.settle(method.get("visits", 1), "max_drift_pct" in method)
    return list(cells.values())


def values_of(manifest, rows):
    """{(suite, cell_key): {server: {block: metrics}}} of the blocks that are
    in use: what medians, ratios and verdicts are made of."""
    return {(cell.suite, cell_key(cell.cell)): cell.valid
            for cell in _gather(rows, manifest.get("method") or {})}


def _values(by_block, metric):
    return {block: m[metric] for block, m in by_block.items()
            if m.get(metric) is not None}


def _notes(by_block):
    """What a reader must know before quoting the figures."""
    counts = {}
    for metrics in by_block.values():
        for note in metrics.get("notes", ()):
            counts[note] = counts.get(note, 0) + 1
    return counts


def _one_cell(cell, server):
    by_block = cell.valid.get(server, {})
    entry = {"suite": cell.suite, "cell": cell.cell, "server": server,
             "n": len(by_block), "slices": cell.slices.get(server, 0),
             "rejected": cell.rejected.get(server, 0),
             "metrics": {}, "notes": _notes(by_block)}
    for metric in METRICS:
        values = list(_values(by_block, metric).values())
        # A percentile that half of the slices could not resolve is none.
        if values and 2 * len(values) > len(by_block):
            entry["metrics"][metric] = stats_math.median_interval(values)
    trace = cell.trace.get(server)
    if trace:
        entry["syscalls"] = trace["syscalls"]
        entry["syscalls_by"] = trace["method"]
        entry["syscalls_per_request"] = math.fsum(
            trace["syscalls"].values())
        if "wakeups" in trace:
            entry["wakeups"] = trace["wakeups"]
    return entry


def _limited(cell, server):
    """The generator was the limit in most of its slices."""
    notes = _notes(cell.valid.get(server, {}))
    return 2 * notes.get(LIMITED, 0) > cell.slices.get(server, 0)


def _comparisons(cell, order, more=None):
    """Every pair of a cell; Holm's correction goes over those of one metric,
    a pair that is told from both sides counting once."""
    told = []
    for metric in COMPARED:
        pairs = {}
        for server in order:
            for base in references(server, order, more):
                found = stats_math.compare(
                    _values(cell.valid.get(server, {}), metric),
                    _values(cell.valid.get(base, {}), metric))
                if found:
                    pairs[server, base] = found
        once = [(server, base) for server, base in pairs
                if (base, server) not in pairs
                or order.index(server) > order.index(base)]
        stats_math.correct([pairs[pair] for pair in once])
        for (server, base), found in pairs.items():
            mirror = pairs[base, server] if (server, base) not in once \
                else found
            if mirror["verdict"] in (stats_math.MANY, stats_math.SLIGHT):
                found["verdict"] = mirror["verdict"]
            if found["verdict"] in (stats_math.SAME, stats_math.MANY,
                                    stats_math.SLIGHT) and \
                    (_limited(cell, server) or _limited(cell, base)):
                found["verdict"] = stats_math.CLIENT
            told.append({"suite": cell.suite, "cell": cell.cell,
                         "metric": metric, "server": server, "base": base,
                         **found})
    told.sort(key=lambda c: (order.index(c["server"]), references(
        c["server"], order, more).index(c["base"])))
    return told


def _slopes(cells, plan, order):
    """Bytes of the server's memory for each unit of the slope parameter."""
    for part in plan:
        name = part.get("slope")
        ours = [c for c in cells if c.suite == part["suite"]]
        if not name or len({c.cell[name] for c in ours}) < 2:
            continue
        for server in order:
            points = {}
            for cell in ours:
                for block, m in cell.valid.get(server, {}).items():
                    if m.get("private_kib"):
                        points.setdefault(block, []).append(
                            (cell.cell[name], m["private_kib"] * 1024))
            fits = [stats_math.line_fit(p) for p in points.values()]
            fits = [fit for fit in fits if fit]
            if not fits:
                continue
            mid, low, high = stats_math.median_interval(
                [slope for slope, _ in fits])
            yield {"suite": part["suite"], "server": server, "per": name,
                   "bytes": mid, "low": low, "high": high,
                   "base_kib": stats_math.median(
                       [at / 1024 for _, at in fits]),
                   "n": len(fits)}


def summarise(manifest, rows):
    """The summary of a result set; also of one that was cut short."""
    order = [name for name, s in manifest["servers"].items()
             if not s.get("skipped")]
    cells = _gather(rows, manifest.get("method") or {})
    slices = [r for r in rows if r["kind"] != "block"]
    blocks = [r for r in rows if r["kind"] == "block"]
    summary = {
        "schema": results.SUMMARY, "set": manifest.get("set"),
        "rows": len(rows),
        "intervals": "order statistics",
        "runs": sum(r["kind"] == "measure" and r["valid"] for r in rows),
        "redone": sum(not r["valid"] and not r.get("last_try")
                      for r in slices),
        "lost": sum(not r["valid"] and bool(r.get("last_try"))
                    for r in slices),
        "blocks": len(blocks),
        "blocks_redone": sum(not r["valid"] and not r.get("last_try")
                             and not r.get("turns") for r in blocks),
        "blocks_lost": sum(not r["valid"] and bool(r.get("last_try"))
                           for r in blocks),
        "moved_max_pct": max((r.get("moved_pct", 0) for r in blocks
                              if r["valid"]
                              and not r.get("turns")), default=0),
        "skipped": {name: s["skipped"] for name, s in
                    manifest["servers"].items() if s.get("skipped")},
        "cells": [], "comparisons": [], "slopes": [],
    }
    yardsticks = {part["suite"]: part["reference"] for part in
                  manifest["plan"] if part.get("reference")}
    if yardsticks:
        summary["yardsticks"] = yardsticks
    slow = [pair for r in blocks for pair in r.get("slow", ())]
    if slow:
        summary["slow"] = {"pct": sum(pct for pct, _ in slow) / len(slow),
                           "longest_ms": max(ms for _, ms in slow)}
    for cell in cells:
        for server in order:
            if server in cell.valid or server in cell.rejected:
                summary["cells"].append(_one_cell(cell, server))
        summary["comparisons"] += _comparisons(
            cell, order, yardsticks.get(cell.suite))
    summary["slopes"] = list(_slopes(cells, manifest["plan"], order))
    return summary


# --- tables ---------------------------------------------------------------

def number(value, digits=3):
    """Three significant digits, thousands apart: 118,302 -> 118,000."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, places):,.{max(0, places)}f}"


def with_interval(triple):
    """[5.91, 5.8, 6.0] -> "5.91 (5.80 to 6.00)"."""
    if not triple:
        return "-"
    mid, low, high = triple
    if low is None:
        return number(mid)
    return f"{number(mid)} ({number(low)} to {number(high)})"


def ratio_number(value):
    """Two digits behind the point, or two that say something: 0.95, 0.0017."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def ratio_text(found):
    if not found:
        return "-"
    ratio = ratio_number(found["ratio"])
    if found["low"] is None:
        return f"{ratio} ({found['verdict']})"
    span = f"{ratio_number(found['low'])} to {ratio_number(found['high'])}"
    if found["verdict"] == stats_math.FEW and "coverage" in found:
        return (f"{ratio} ({span} covers {found['coverage'] * 100:.1f} %), "
                f"{stats_math.FEW}")
    text = f"{ratio} ({span})"
    if found["verdict"] not in (stats_math.LOWER, stats_math.HIGHER):
        text += f", {found['verdict']}"
    return text


def table(heads, body):
    """A Markdown table, columns aligned so that it reads as plain text."""
    rows = [heads, *body]
    widths = [max(len(str(r[i])) for r in rows) for i in range(len(heads))]
    lines = []
    for index, row in enumerate(rows):
        cells = [str(x).ljust(w) if i == 0 else str(x).rjust(w)
                 for i, (x, w) in enumerate(zip(row, widths))]
        lines.append("| " + " | ".join(cells) + " |")
        if index == 0:
            lines.append("|" + "|".join(
                "-" * (w + 2) if i == 0 else "-" * (w + 1) + ":"
                for i, w in enumerate(widths)) + "|")
    return "\n".join(lines)


def find(comparisons, **wanted):
    for c in comparisons:
        if all(c[k] == v for k, v in wanted.items()):
            return c
    return None


UNEVEN = [("p50 us", "fast_p50_us"), ("p90 us", "fast_p90_us"),
          ("p99 us", "fast_p99_us"), ("p99 of all us", "p99_us"),
          ("CPU us/request", "cpu_us")]
PLACED = [("requests/s", "qps"), ("p50 us", "p50_us"), ("p99 us", "p99_us"),
          ("CPU us/request", "cpu_us")]

# suite -> (head, metric) columns after the server's name
COLUMNS = {
    "skew-work": UNEVEN, "skew-sleep": UNEVEN, "show-sleep": UNEVEN,
    "show-one": PLACED, "show-hash": PLACED,
    "idle": [("resident KiB", "rss_kib"), ("private KiB", "private_kib"),
             ("server busy", "server_busy"), ("p50 us", "p50_us"),
             ("max us", "max_us")],
    "heartbeat": [("p50 us", "p50_us"), ("p99 us", "p99_us"),
                  ("private KiB", "private_kib"),
                  ("server busy", "server_busy")],
    "latency": [("p50 us", "p50_us"), ("p99 us", "p99_us"),
                ("p99.9 us", "p999_us"), ("CPU us/request", "cpu_us")],
    "claim-thresholds": [("requests/s", "qps"), ("p99 us", "p99_us"),
                         ("CPU us/request", "cpu_us"),
                         ("rounds by the ring", "ring_rounds"),
                         ("calls/request", "own_calls")],
    "files": [("requests/s", "qps"), ("p99 us", "p99_us"),
              ("CPU us/request", "cpu_us"),
              ("p99 of / us", "probe_p99_us")],
    "elastic": [("p99 us", "p99_us"), ("CPU us/request", "cpu_us"),
                ("workers at the end", "active"), ("changes", "changes"),
                ("lost so far", "lost")],
}
DEFAULT_COLUMNS = [("requests/s", "qps"), ("p50 us", "p50_us"),
                   ("p99 us", "p99_us"), ("CPU us/request", "cpu_us")]
LEAD = {"latency": "p99_us", "files": "probe_p99_us", "heartbeat": "p99_us",
        "skew-work": "fast_p99_us", "skew-sleep": "fast_p99_us",
        "show-sleep": "fast_p99_us", "show-one": "p99_us",
        "show-hash": "p99_us"}
RATIO_WORDS = {"cpu_us": "CPU", "p99_us": "p99", "fast_p99_us": "p99",
               "fast_p90_us": "p90", "probe_p99_us": "p99 of /"}


def ratio_columns(suite, lead, yardstick):
    """[(head, metric)] of the paired ratios at the end of a line."""
    metrics = ["fast_p90_us", lead] if lead == "fast_p99_us" else [lead]
    metrics += ["p99_us"] if suite == "elastic" else []
    base = yardstick or "the row above"
    return [] if suite == "idle" else [
        (f"{RATIO_WORDS[m]} ratio to {base}", m) for m in metrics]


def cell_table(summary, suite, cell):
    """One cell as a table: a line for each server."""
    entries = [e for e in summary["cells"]
               if e["suite"] == suite and e["cell"] == cell]
    columns = COLUMNS.get(suite, DEFAULT_COLUMNS)
    lead = LEAD.get(suite, "cpu_us")
    yardstick = summary.get("yardsticks", {}).get(suite)
    ratios = ratio_columns(suite, lead, yardstick)
    traced = any("syscalls" in e for e in entries)
    woken = any("wakeups" in e for e in entries)
    heads = ["server"] + [head for head, _ in ratios]
    heads += [head for head, _ in columns]
    heads += ["calls/request"] * traced
    heads += ["cross-core wake-ups/request"] * woken
    body, above = [], None
    for e in entries:
        base = yardstick or above
        line = [e["server"]]
        line += [ratio_text(base and find(
            summary["comparisons"], suite=suite, cell=cell, metric=metric,
            server=e["server"], base=base)) for _, metric in ratios]
        for _, metric in columns:
            value = e["metrics"].get(metric)
            line.append(with_interval(value) if metric == lead
                        else number(value[0]) if value else "-")
        if traced:
            line.append(number(e.get("syscalls_per_request")))
        if woken:
            line.append(number(e.get("wakeups", {}).get("own far")))
        body.append(line)
        above = e["server"]
    return table(heads, body)


def notes_text(summary, suite, cells=None):
    """What to know about the slices of a suite, or of some cells of it, one
    clause for each kind."""
    kinds, slices = {}, {}
    for e in summary["cells"]:
        if e["suite"] != suite or cells and e["cell"] not in cells:
            continue
        slices[e["server"]] = (slices.get(e["server"], 0)
                               + e.get("slices", e["n"]))
        for note, count in e["notes"].items():
            by = kinds.setdefault(note, {})
            by[e["server"]] = by.get(e["server"], 0) + count
    if not kinds:
        return ""
    return "Note: " + "; ".join(
        f"{note}: " + ", ".join(f"{server} in {count} of {slices[server]}"
                                for server, count in by.items())
        for note, by in kinds.items()) + "."


def slope_table(summary, suite):
    slopes = [s for s in summary["slopes"] if s["suite"] == suite]
    if not slopes:
        return ""
    body = [[s["server"], number(s["base_kib"]),
             with_interval([s["bytes"], s["low"], s["high"]])]
            for s in slopes]
    return table(["server", "KiB without any", "bytes a connection"], body)


def suites_of(summary):
    """[(suite, [cells])] in the order of the run."""
    found = {}
    for e in summary["cells"]:
        cells = found.setdefault(e["suite"], [])
        if e["cell"] not in cells:
            cells.append(e["cell"])
    # The cells of a block come in random order; a table wants them sorted.
    for cells in found.values():
        cells.sort(key=lambda c: [(str(type(v)), v) for v in c.values()])
    return list(found.items())


def markdown(manifest, summary):
    """summary.md: every table, and what to know when reading it."""
    titles = {p["suite"]: p["title"] for p in manifest["plan"]}
    m = manifest["machine"]
    out = [f"# {manifest['name']}", "",
           f"{m['cpu']}, {m['cpus']} cpus"
           + (f", {m['hypervisor']} guest" if m["hypervisor"] else "")
           + f", Linux {m['kernel']}, {m['when'][:10]}. "
           + f"Server on cpu {', '.join(map(str, m['server_cpus']))}, "
           + f"client on cpu {', '.join(map(str, m['client_cpus']))}.",
           "", state_text(manifest, summary), ""]
    for suite, cells in suites_of(summary):
        out += [f"## {suite}: {titles.get(suite, '')}", ""]
        for cell in cells:
            out += [f"{cell_text(cell)}:", "",
                    cell_table(summary, suite, cell), ""]
        notes = notes_text(summary, suite)
        if notes:
            out += [notes, ""]
        slope = slope_table(summary, suite)
        if slope:
            out += ["Memory for each connection, by a line through the "
                    "crowds:", "", slope, ""]
    out += [method_text(summary)]
    return "\n".join(out) + "\n"


def method_text(summary):
    """How to read the tables and pictures of a set."""
    if summary.get("intervals") != "order statistics":
        return ("Medians over the blocks, in brackets 95 % bootstrap "
                "intervals; ratios are medians of paired slices. Where an "
                "interval holds 1 the two are not distinguishable.")
    return ("Ratios are medians over the blocks, paired within a block; in "
            "brackets is what holds the true median in at least 95 % of "
            "cases, by order statistics. Where it holds 1 the two are not "
            "distinguishable; where it does not but would in a table of so "
            "many, it says \"not after correction\" (Holm). A difference of "
            "less than 5 % is called one from 31 blocks on. Of a cell in "
            "which the generator was the limit no ratio is called equal.")


def allowed(method, summary):
    """What a set was told to bear that others are not."""
    if method.get("max_drift_pct", 0) > DRIFT_LIMIT \
            and summary.get("moved_max_pct", 0) > DRIFT_LIMIT:
        yield (f"the speed of the machine moved by up to "
               f"{summary['moved_max_pct']:.0f} % within the blocks that were "
               f"kept")
    if method.get("max_foreign_pct", 0) > FOREIGN_LIMIT:
        yield "other programs ran beside it"


def state_text(manifest, summary):
    words = [f"{summary['runs']} runs"]
    if manifest["state"] != "complete":
        words[0] = f"{manifest['state']} after {words[0]}"
    words.append(f"{summary['redone']} redone, {summary['lost']} lost to "
                 f"errors, overflow or steal"
                 + (" or other programs" if "blocks" in summary else ""))
    if summary.get("blocks"):
        words.append(f"{summary['blocks']} blocks, "
                     f"{summary['blocks_redone']} redone and "
                     f"{summary['blocks_lost']} lost because the machine "
                     f"changed")
    words += allowed(manifest.get("method") or {}, summary)
    if manifest.get("max_steal_pct", 0) > STEAL_LIMIT:
        words.append(f"a slice was kept if the host took no more than "
                     f"{manifest['max_steal_pct']:g} % of it")
    slow = summary.get("slow")
    if slow and slow["pct"] >= SLOW_LIMIT:
        words.append(f"the cpus ran at less than half their speed in "
                     f"{slow['pct']:.1f} % of the time that was looked at, up "
                     f"to {number(slow['longest_ms'])} ms in a row: so much of "
                     f"a p99 is the machine's")
    if manifest.get("draft"):
        words.append("a draft: the tree had changes")
    for name, reason in summary["skipped"].items():
        words.append(f"{name} skipped: {reason}")
    text = "; ".join(words)
    return text[0].upper() + text[1:] + "."
