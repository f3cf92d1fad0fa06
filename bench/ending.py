"""How a run ends: one screen.

A picture of the ladder, at most five sentences computed from the set, what
could not be decided and how long it would take to decide it.  The tables are
in summary.md and in the report.
"""

import math
import os
import shutil
import subprocess
import sys

import stats_math
import summary as summaries

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# The suites that a picture may be of, best first, with the cell to prefer.
PICTURES = (("ladder", {"handler": 5, "connections": 64}),
            ("keepalive", {"connections": 64}))
SENTENCES = 5
DOUBTS = 3           # undecided pairs that are told one by one
SLICE_S = 0.45       # start, connect and stop of a slice, about
NEVER_BLOCKS = 2000  # more than that is said to be "no time"


def name(server):
    return summaries.NAMES.get(server, server)


def listed(parts):
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 \
        else "".join(parts)


# --- the picture ----------------------------------------------------------

def leading(summary):
    """(suite, cell) of the picture; None for a set without cells."""
    found = dict(summaries.suites_of(summary))
    for suite, wanted in PICTURES:
        for cell in found.get(suite, ()):
            if all(cell.get(k) == v for k, v in wanted.items()):
                return suite, cell
    return next(((suite, cells[-1]) for suite, cells in found.items()), None)


def by_gnuplot(directory, width):
    """The picture of a set as gnuplot draws it in a terminal; [] where it
    cannot."""
    script = os.path.join(ROOT, "plots", "draw.py")
    done = subprocess.run(
        [sys.executable, script, directory, "--preview", "--only", "cpu",
         "--columns", str(width)], capture_output=True, text=True,
        check=False)
    return done.stdout.rstrip().splitlines() if done.returncode == 0 else []


def columns():
    return min(80, max(40, shutil.get_terminal_size((80, 24)).columns))


def picture(summary, suite, cell, width):
    """A bar for each server: CPU time of a request, or the suite's figure."""
    metric = summaries.LEAD.get(suite, "cpu_us")
    bars = [(name(e["server"]), e["metrics"][metric][0])
            for e in summary["cells"]
            if (e["suite"], e["cell"]) == (suite, cell)
            and metric in e["metrics"]]
    if not bars:
        return []
    label = max(len(word) for word, _ in bars)
    most = max(value for _, value in bars) or 1
    room = max(8, width - label - 11)
    lines = [f"{summaries.METRICS[metric]}, {suite}, "
             f"{summaries.cell_text(cell)}"[:width]]
    for word, value in bars:
        lines.append(f"{word:{label}} {'#' * round(room * value / most)} "
                     f"{summaries.number(value)}")
    return lines


# --- the sentences --------------------------------------------------------

def neighbours(summary, suite, cell, metric):
    """[(server, the one before it, their comparison)]"""
    servers = [e["server"] for e in summary["cells"]
               if (e["suite"], e["cell"]) == (suite, cell)]
    found = []
    for base, server in zip(servers, servers[1:]):
        c = summaries.find(summary["comparisons"], suite=suite, cell=cell,
                           metric=metric, server=server, base=base)
        if c:
            found.append((server, base, c))
    return found


def decided(c):
    return c["verdict"] in (stats_math.LOWER, stats_math.HIGHER)


def steps_sentence(summary, suite, cell):
    parts = []
    for server, base, c in neighbours(summary, suite, cell, "cpu_us"):
        if decided(c):
            change = 100 * (c["ratio"] - 1)
            ends = sorted((abs(100 * (c["low"] - 1)),
                           abs(100 * (c["high"] - 1))))
            parts.append(f"{name(server)} {abs(change):.0f} % "
                         f"{'less' if change < 0 else 'more'} than "
                         f"{name(base)} ({ends[0]:.0f} to {ends[1]:.0f})")
    return f"CPU time of a request: {listed(parts)}." if parts else ""


def idle_sentence(summary):
    parts = [f"{name(s['server'])} {s['bytes'] / 1024:.1f}"
             for s in summary["slopes"] if s["bytes"] > 0]
    return f"An idle connection costs, in KiB: {listed(parts)}." \
        if parts else ""


def uneven_sentence(summary):
    for c in summary["comparisons"]:
        if (c["suite"], c["metric"], c["server"], c["base"]) == (
                "show-sleep", "fast_p99_us", "stage6", "stage5"):
            if not decided(c):
                return ("When one request in 200 takes 100 times longer, the "
                        "others' p99 of stages 5 and 6 could not be told "
                        "apart.")
            return ("When one request in 200 takes 100 times longer, the "
                    f"others' p99 with {name('stage6')} is "
                    f"{c['ratio']:.2g} of that with {name('stage5')} "
                    f"({c['low']:.2g} to {c['high']:.2g}).")
    return ""


def price_sentence(manifest, summary, suite, cell):
    """What a system call costs here, and what that says about stage 3."""
    prices = (manifest["machine"].get("prices") or {}).get("prices") or {}
    ns = (prices.get("syscall") or {}).get("ns")
    if not ns:
        return ""
    text = f"A system call costs {ns / 1000:.2f} us here"
    found = {e["server"]: e for e in summary["cells"]
             if (e["suite"], e["cell"]) == (suite, cell)}
    two, three = found.get("stage2", {}), found.get("stage3", {})
    calls = [e.get("syscalls_per_request") for e in (two, three)]
    cpu = [e.get("metrics", {}).get("cpu_us") for e in (two, three)]
    if None in calls or None in cpu:
        return text + "."
    fewer = calls[0] - calls[1]
    return (f"{text}; stage 3 makes {fewer:.2f} fewer a request than stage 2, "
            f"which alone would be {fewer * ns / 1000:.2f} us: measured were "
            f"{cpu[0][0] - cpu[1][0]:.2f}.")


def limit_sentence(summary):
    cells = {}
    for e in summary["cells"]:
        key = e["suite"], summaries.cell_key(e["cell"])
        limited = 2 * e["notes"].get(summaries.LIMITED, 0) \
            > e.get("slices", e["n"])
        cells[key] = cells.get(key, False) or limited
    count = sum(cells.values())
    if not count:
        return ""
    return (f"In {count} of {len(cells)} cells the generator was the limit of "
            f"a server: what is equal there may not be.")


def sentences(manifest, summary, suite, cell):
    found = [steps_sentence(summary, suite, cell), idle_sentence(summary),
             uneven_sentence(summary),
             price_sentence(manifest, summary, suite, cell),
             limit_sentence(summary)]
    return [text for text in found if text][:SENTENCES]


# --- what is open ---------------------------------------------------------

def blocks_to_decide(c, tests):
    """About how many blocks would tell these two apart, if the ratio is what
    it looks like; None: so many that nobody will."""
    effect = abs(math.log(c["ratio"])) if c["ratio"] > 0 else 0
    least = stats_math.least_blocks(tests)
    if not effect:
        return None
    half = (math.log(c["high"]) - math.log(c["low"])) / 2 \
        if c["low"] > 0 else math.inf
    # The width of an interval falls with the root of the number of blocks.
    wanted = c["pairs"] * (1.2 * half / effect) ** 2
    if wanted > NEVER_BLOCKS:
        return None
    # As many again at least: so many did not decide it.
    if abs(c["ratio"] - 1) < stats_math.SLIGHT_SHARE:
        least = max(least, stats_math.SLIGHT_PAIRS)
    return max(least, 2 * c["pairs"], math.ceil(wanted))


def doubts(manifest, summary, suite, cell):
    """A line for each neighbour that could not be told from the other."""
    part = next((p for p in manifest["plan"] if p["suite"] == suite), {})
    visits = (manifest.get("method") or {}).get("visits", 1)
    block_s = 2 * visits * (part.get("seconds", 1) + part.get("warmup", 0)
                            + SLICE_S)
    pairs = neighbours(summary, suite, cell, "cpu_us")
    lines = []
    for server, base, c in pairs:
        if decided(c) or c["low"] is None:
            continue
        text = (f"Not decided: {name(server)} / {name(base)}, "
                f"{c['ratio']:.3f} ({c['low']:.3f} to {c['high']:.3f}): ")
        blocks = blocks_to_decide(c, 1)
        if c["verdict"] == stats_math.CLIENT:
            text += "the generator was the limit; a longer handler tells."
        elif blocks is None:
            text += "equal, or nearer than any time here would tell."
        else:
            text += (f"about {max(1, round(blocks * block_s / 60))} min more "
                     f"would (--servers {base},{server} --blocks {blocks}).")
        lines.append(text)
    if len(lines) > DOUBTS:
        lines[DOUBTS:] = [f"{len(lines) - DOUBTS} more pairs are open; see "
                          f"the report."]
    return lines


def wrapped(text, width):
    """The text in lines of at most `width`, further ones set in."""
    lines, line = [], ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = "  " + word
        else:
            line = f"{line} {word}" if line else word
    return lines + [line]


def screen(manifest, summary, width=None, drawn=()):
    """All of it, as text; `drawn`: the picture, if there is one."""
    width = width or columns()
    lines, found = [], leading(summary)
    if found:
        lines += list(drawn) or picture(summary, *found, width)
        lines.append("")
        for text in sentences(manifest, summary, *found):
            lines += wrapped(text, width)
        for text in doubts(manifest, summary, *found):
            lines += wrapped(text, width)
    lines += wrapped(summaries.state_text(manifest, summary), width)
    return "\n".join(lines)
