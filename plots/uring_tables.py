"""What a result set of bench/micro_run.py gives to the documents.

tables.py asks here when a marker names such a set.  NAME is one of

  ops:GROUP        a table of echo, recv, recv-large, send, direct, once, setup
  verdicts         what the design expected, and what the intervals say
  machine          what it was measured on, and what disturbed it
  command          how to do it again
  image:ratios     the ratios over batch and over size

Words like "confirmed" are computed from the intervals; none is typed in.
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import micro_results               # noqa: E402
import stats_math                  # noqa: E402
import summary as summaries        # noqa: E402
import lines                       # noqa: E402
from pictures import Figure        # noqa: E402

EQUAL = 0.05     # a saving smaller than this does not count as one
COLOURS = ["#2f7fd6", "#12936f", "#d2455e", "#a8761a"]
MARKS = ["circle", "square", "diamond", "up"]


def size_text(n):
    for unit, word in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if n >= unit:
            return f"{n // unit} {word}"
    return f"{n} B"


def holds_one(row):
    return row["ratio"][1] <= 1 <= row["ratio"][2]


def ratio_text(row):
    mid, low, high = row["ratio"]
    near = "~ " if holds_one(row) else ""
    return f"{near}{mid:.2f} ({low:.2f} to {high:.2f})"


def measured(row):
    return "skipped" not in row


class Data:
    """A loaded set: what tables.py needs of one."""

    def __init__(self, directory):
        self.manifest, self.summary = micro_results.load(directory)
        self.rows = self.summary["rows"]

    def cells(self, group):
        """[(batch, size, [rows, the baseline first])] of a group."""
        found = {}
        for row in self.rows:
            if row["group"] == group:
                found.setdefault((row["batch"], row["size"]), []).append(row)
        return [(*key, rows) for key, rows in found.items()]

    def select(self, group, methods, where=lambda row: True):
        return [row for row in self.rows if row["group"] == group
                and row["method"] in methods and where(row)]


# --- one group ------------------------------------------------------------

def copied_text(rows):
    notified = sum(r["notified"] for r in rows if measured(r))
    copied = sum(r["copied"] for r in rows if measured(r))
    return f"{100 * copied / notified:.0f} %" if notified else "-"


def ops_table(data, group):
    """A row for each batch or size, a column for each method."""
    cells = data.cells(group)
    base, *others = [row["method"] for row in cells[0][2]]
    by_batch = len({batch for batch, _, _ in cells}) > 1
    zc = [m for m in others if m.startswith("SEND_ZC")]
    heads = ["completions an enter" if group == "echo" else
             "connections" if by_batch else "size", f"{base}, ns"]
    heads += [f"{m} / {base}" for m in others] + ["copied"] * bool(zc)
    body = []
    for batch, size, rows in cells:
        words = [str(batch) if by_batch else size_text(size)]
        first = rows[0]
        words.append(summaries.with_interval(first["ns"])
                     if measured(first) else "skipped")
        words += [ratio_text(r) if measured(r) else "skipped"
                  for r in rows[1:]]
        if zc:
            words.append(copied_text([r for r in rows if r["method"] in zc]))
        body.append(words)
    reasons = sorted({f"{r['method']}: {r['skipped']}" for _, _, rows in cells
                      for r in rows if not measured(r)})
    table = summaries.table(heads, body)
    return table + "".join(f"\n\nSkipped: {text}." for text in reasons)


# --- verdicts -------------------------------------------------------------

def direction(row, way):
    """Is the ratio on the expected side of 1?  way: "more" or "less"."""
    if holds_one(row):
        return "not distinguishable"
    return "confirmed" if (row["ratio"][1] > 1) == (way == "more") \
        else "refuted"


def not_cheaper(row, _):
    """Could it save more than EQUAL?  Then the copy may have gone."""
    if row["ratio"][1] > 1 - EQUAL:
        return "confirmed"
    return "refuted" if row["ratio"][2] < 1 - EQUAL else "not distinguishable"


def all_copied(row, _):
    if not row["notified"]:
        return "not distinguishable"
    return "confirmed" if row["copied"] == row["notified"] else "refuted"


def sized(row, span):
    """How the interval lies to the expected span: it meets it, or misses."""
    low, high = span
    if row["ratio"][2] < low:
        return "confirmed, but the ratio is smaller"
    return "confirmed, but the ratio is larger" if row["ratio"][1] > high \
        else "confirmed"


ORDER = ["confirmed", "confirmed, but the ratio is larger",
         "confirmed, but the ratio is smaller", "refuted",
         "not distinguishable"]


def places(rows, some):
    """Where some of the rows were measured: '64 B to 4 KiB, 1 MiB'."""
    key = "size" if len({r["size"] for r in rows}) > 1 else "batch"
    found = []
    for method in dict.fromkeys(r["method"] for r in some):
        have = [r for r in rows if r["method"] == method]
        inside = [r in some for r in have]
        names = [size_text(r[key]) if key == "size" else str(r[key])
                 for r in have]
        runs, number = [], 0
        while number < len(have):
            end = number
            while end < len(have) and inside[end]:
                end += 1
            if end - number > 2:
                runs.append(f"{names[number]} to {names[end - 1]}")
            else:
                runs += names[number:end]
            number = end + 1
        where = ", ".join(runs) if not all(inside) else ""
        if len({r["method"] for r in rows}) > 1:
            where = f"{method} {where}".strip()
        found.append(where)
    return " and ".join(found)


def gathered(rows, words):
    """One word where all agree, else each word with where it holds."""
    kinds = sorted(set(words), key=ORDER.index)
    if len(kinds) == 1:
        return kinds[0]
    return "; ".join(
        f"{kind}: " + places(rows, [r for r, w in zip(rows, words)
                                    if w == kind]) for kind in kinds)


def span_text(rows):
    """The median ratios: one with its interval, or the range of many."""
    if len(rows) == 1:
        return ratio_text(rows[0])
    rows = sorted(rows, key=lambda r: r["ratio"][0])
    return f"{rows[0]['ratio'][0]:.2f} to {rows[-1]['ratio'][0]:.2f}"


class Claim:
    """An expectation of the design and the rows that can tell."""

    def __init__(self, text, group, methods, way=None, span=None, where=None,
                 test=direction, show=span_text):
        self.text, self.group, self.methods = text, group, methods
        self.way, self.span, self.test, self.show = way, span, test, show
        self.where = where or (lambda row: True)

    def verdict(self, data):
        """(what was measured, the verdict)"""
        rows = [r for g in self.group.split(", ")
                for r in data.select(g, self.methods, self.where)]
        able = [r for r in rows if measured(r)]
        if not able:
            reason = rows[0]["skipped"] if rows else "no such rows"
            return "-", f"skipped: {reason}"
        shown = self.show(able)
        if data.manifest["quick"] or \
                data.summary["blocks"] < stats_math.MIN_PAIRS:
            return shown, "none: too few blocks, or a quick run"
        words = [self.test(r, self.way) for r in able]
        if self.span:
            words = [sized(r, self.span) if w == "confirmed" else w
                     for r, w in zip(able, words)]
        return shown, gathered(able, words)


class Growth(Claim):
    """The gain of io_uring grows with the completions per enter."""

    def __init__(self, text, group, method):
        super().__init__(text, group, [method])

    def verdict(self, data):
        rows = [r for r in data.select(self.group, self.methods)
                if measured(r) and r["batch"] in (1, 4, 64)]
        if len(rows) < 3:
            return "-", "skipped: not all of 1, 4 and 64 were measured"
        shown = "at 1, 4, 64: " + ", ".join(f"{r['ratio'][0]:.2f}"
                                            for r in rows)
        if data.manifest["quick"] or \
                data.summary["blocks"] < stats_math.MIN_PAIRS:
            return shown, "none: too few blocks, or a quick run"
        pairs = list(zip(rows, rows[1:]))
        if all(b["ratio"][2] < a["ratio"][1] for a, b in pairs):
            return shown, "confirmed"
        if any(b["ratio"][1] > a["ratio"][2] for a, b in pairs):
            return shown, "refuted"
        return shown, "not distinguishable"


class Spare(Claim):
    """Says something about a machine without a free core only."""

    def verdict(self, data):
        cpus = data.manifest["machine"]["cpus"]
        if cpus > 2:
            return "-", f"not measurable here: {cpus} cpus, so one is free"
        return super().verdict(data)


class Elsewhere:
    """What these measurements cannot decide, and why."""

    group = "-"

    def __init__(self, text, why):
        self.text, self.why = text, why

    def verdict(self, _):
        return "-", self.why


def copied_of(rows):
    return f"copied: {copied_text(rows)} of the notifications"


def batch(n):
    return lambda row: row["batch"] == n


def large(row):
    return row["size"] >= 65536


URING = "RECV, SEND by io_uring"
FIXED = ["READ_FIXED", "WRITE_FIXED"]
ZC = ["SEND_ZC", "SEND_ZC fixed"]

# The numbers below are what was expected, before anything was measured here.
CLAIMS = [
    Claim("At 1 completion an enter, io_uring costs about 19 % more than "
          "plain calls", "echo", [URING], "more", (1.14, 1.24), batch(1)),
    Claim("At 4 it costs about 11 % less", "echo", [URING], "less",
          (0.84, 0.94), batch(4)),
    Claim("At 64 it costs about 26 % less", "echo", [URING], "less",
          (0.69, 0.79), batch(64)),
    Growth("The gain grows with completions per enter", "echo", URING),
    Claim("Registered buffers do not remove the copy (no saving of "
          f"{EQUAL * 100:.0f} % or more from 64 KiB on)", "recv-large, send",
          FIXED, where=large, test=not_cheaper),
    Claim("READ_FIXED costs 2 to 7 % more than RECV", "recv, recv-large",
          ["READ_FIXED"], "more", (1.02, 1.07)),
    Claim("WRITE_FIXED costs 2 to 7 % more than SEND", "send",
          ["WRITE_FIXED"], "more", (1.02, 1.07)),
    Claim("On loopback SEND_ZC always copies", "send", ZC, test=all_copied,
          show=copied_of),
    Claim("There it costs 16 to 60 % more than SEND", "send", ZC, "more",
          (1.16, 1.60)),
    Elsewhere("On a network card SEND_ZC pays from about 3 KB on (Linux 6.10 "
              "and later)", "not measurable here: loopback only"),
    Claim("Without DEFER_TASKRUN a request costs 1.45 to 1.94 times as much",
          "setup", ["no flags"], "more", (1.45, 1.94)),
    Claim("DEFER_TASKRUN is cheaper than COOP_TASKRUN", "setup",
          ["COOP_TASKRUN"], "more"),
    Spare("SQPOLL loses when it has no core of its own", "setup", ["SQPOLL"],
          "more"),
    Claim("Multishot receives pay while data keeps coming", "recv",
          ["RECV multishot"], "less"),
    Claim("For one message a connection they cost 15 to 30 % more", "once",
          ["RECV multishot"], "more", (1.15, 1.30)),
    Claim("Direct descriptors save a few per cent", "direct",
          ["direct descriptor"], "less", (0.93, 0.99)),
    Elsewhere("Half the p99, and up to 10 % more requests a second, on small "
              "keep-alive HTTP", "not measured by this program: see "
              "[3-uring.md](3-uring.md)"),
    Elsewhere("Multishot accept gave invalid descriptors on Linux 6.6 to 6.8",
              "not measurable here: another kernel"),
    Elsewhere("A CQ overflow is slow; a ring with DEFER_TASKRUN is entered by "
              "its owner only", "not measured by this program: the servers "
              "are built for both, and tested"),
    Elsewhere("MSG_RING wakes another ring cheaply from Linux 6.11 on",
              "not measured by this program"),
]


def verdict_table(data):
    # Not padded: the last column is a sentence now and then.
    lines = ["| expected | group | measured | verdict |", "|---|---|---|---|"]
    for claim in CLAIMS:
        lines.append("| " + " | ".join([claim.text, claim.group,
                                        *claim.verdict(data)]) + " |")
    return "\n".join(lines)


# --- words ----------------------------------------------------------------

def machine_text(data):
    m, groups = data.manifest["machine"], data.manifest["groups"]
    text = (f"{m['cpu']}, {m['cpus']} cpus"
            + (f" ({m['hypervisor']} guest)" if m["hypervisor"] else "")
            + f", Linux {m['kernel']}, congestion control "
            f"{m['limits']['congestion_control']}, liburing {m['liburing']}, "
            f"{m['when'][:10]}, revision "
            f"{(m['git']['revision'] or 'unknown')[:12]}"
            f"{', with changes' if m['git']['dirty'] else ''}. "
            f"{data.summary['blocks']} blocks; at most "
            f"{max(g['steal_pct'] for g in groups):.1f} % steal and "
            f"{max(g['foreign_pct'] for g in groups):.0f} % of the cpus used "
            f"by other programs during a group; "
            f"groups done again: "
            f"{sum(g['attempts'] - 1 for g in groups)}.")
    if data.manifest["quick"]:
        text += " A quick run: not to be quoted."
    return text


# --- the picture ----------------------------------------------------------

def series(rows, key, place):
    """One method's ratios with their intervals."""
    rows = [r for r in rows if measured(r)]
    return lines.Series(
        None, rows[0]["method"] if rows else "", COLOURS[place], MARKS[place],
        [lines.Point(r[key] * 1.03 ** place, *r["ratio"],
                     f"{r['method']}: {ratio_text(r)}") for r in rows])


def panel(data, key, heading, base, picks):
    """Ratios to `base` over the sizes or the batches."""
    points = sorted({r[key] for groups, _ in picks for g in groups
                     for r in data.select(g, [base])})
    axis = lines.Axis("size" if key == "size" else "completions an enter",
                      size_text if key == "size" else str, True, points)
    found = [series([r for g in groups for r in data.select(g, [method])],
                    key, place)
             for place, (groups, method) in enumerate(picks)]
    return (f"{heading}: CPU, ratio to {base}", found,
            lines.Axis("", lambda v: f"{v:g}", base=1), axis)


def draw_ratios(data, width):
    return lines.draw([
        panel(data, "batch", "recv + send of 64 B", "recv, send",
              [(["echo"], URING)]),
        panel(data, "size", "receives", "RECV",
              [(["recv"], "RECV, buffer ring"),
               (["recv", "recv-large"], "READ_FIXED"),
               (["recv"], "RECV multishot")]),
        panel(data, "size", "sends", "SEND",
              [(["send"], m) for m in ("WRITE_FIXED", *ZC)])], None, width)


def figures_of(data):
    return [Figure("ratios", "CPU of an operation, as a ratio",
                   "Medians with 95 % intervals.", "uring_ops", [],
                   lambda width: draw_ratios(data, width))]


def render(data, what):
    """The Markdown for one NAME, or None: there is no such."""
    kind, _, rest = what.partition(":")
    if kind == "ops" and rest in micro_results.GROUPS:
        return ops_table(data, rest)
    if what == "verdicts":
        return verdict_table(data)
    if what == "machine":
        return machine_text(data)
    if what == "command":
        return f"    {data.manifest['command']} --out DIR"
    return None
