"""Pictures of one number for each server: the finding is the title.

    bars:cost,SUITE[,FILTER]   CPU time a request, a bar for each server
    bars:tail,SUITE[,FILTER]   p99 of the short requests, on a log scale
    bars:idle,SUITE            bytes that an idle connection holds
    bars:held,SUITE,SET        the same with the kernel's part on top; SET is
                               of bench/kernel_memory.py, in bench/results/

A title states a number only where the paired interval decides it; otherwise it
says what is shown.  Thin lines are 95 % intervals.  The picture follows the
reader's light or dark scheme and its text is text, so it is as sharp on a phone
as on a wall.  The same data give the same bytes.
"""

import math
from xml.sax.saxutils import escape

from sets import SKEW, UNEVEN, amount, summaries    # it finds bench/

import kernel_memory

WIDTH, LEFT, RIGHT, TOP, ROW = 760, 170, 170, 62, 30
STYLE = """
 text{font:13px system-ui,sans-serif;fill:#1b1f23}
 .title{font-size:16px;font-weight:600} .small{font-size:12px;fill:#57606a}
 .axis{stroke:#d0d7de} .whisker{stroke:#1b1f23;stroke-width:1.5}
 @media (prefers-color-scheme:dark){text{fill:#e6edf3} .small{fill:#9198a1}
 .axis{stroke:#3d444d} .whisker{stroke:#e6edf3}}
"""


def spread(value, low, high):
    """The same, where there is no interval with both ends at the value."""
    return (value, value, value) if low is None else (value, low, high)


class Row:
    """One bar: a server's median and its interval, or the median alone where
    too few blocks give none; what is behind `solid` is drawn pale."""

    def __init__(self, name, colour, triple, text, solid=None):
        self.name, self.colour, self.text = name, colour, text
        self.value, self.low, self.high = spread(*triple)
        self.solid = self.value if solid is None else solid


def rows_of(data, suite, cell, metric, unit):
    found = []
    for entry in data.entries(suite, cell):
        triple = entry["metrics"].get(metric)
        if triple:
            name = entry["server"]
            found.append(Row(data.name(name), data.colours[name], triple,
                             amount(triple[0], unit)))
    return found


def decided(data, suite, cell, metric, base):
    """[(ratio, server)] to a base whose intervals lie below 1, best first."""
    return sorted((c["ratio"], c["server"]) for c in
                  data.ratios(suite, cell, metric)
                  if c["base"] == base and c["high"] is not None
                  and c["high"] < 1
                  and data.manifest["servers"][c["server"]]["kind"] != "peer")


def cost(data, suite, cell):
    rows = rows_of(data, suite, cell, "cpu_us", "us")
    first = data.entries(suite, cell)[0]["server"]
    better = decided(data, suite, cell, "cpu_us", first)
    title = f"CPU time a request, {summaries.cell_text(cell)}"
    if better:
        ratio, server = better[0]
        title = (f"{data.name(server)} answers a request with "
                 f"{ratio:.2f} of the CPU time of {data.name(first)}")
    return title, rows, "CPU time a request, " + summaries.cell_text(cell), \
        False


def tail(data, suite, cell):
    metric = "fast_p99_us" if suite in UNEVEN + SKEW \
        else "p99_us"
    rows = rows_of(data, suite, cell, metric, "us")
    title = "p99 of the short requests when work is uneven"
    first = data.entries(suite, cell)[0]["server"]
    better = decided(data, suite, cell, metric, first)
    if better:
        worst = next(r for r in rows if r.name == data.name(first))
        best = next(r for r in rows if r.name == data.name(better[0][1]))
        title = (f"When work is uneven, p99 falls from {worst.text} to "
                 f"{best.text}")
    return title, rows, ("p99 of the short requests, "
                         + summaries.cell_text(cell) + "; log scale"), True


def idle_title(rows):
    least = min(rows, key=lambda r: r.value)
    most = max(rows, key=lambda r: r.value)
    return (f"An idle connection holds {least.text} in {least.name}, "
            f"{most.text} in {most.name}")


def idle(data, suite):
    slopes = {s["server"]: s for s in data.summary["slopes"]
              if s["suite"] == suite}
    rows = [Row(data.name(n), data.colours[n],
                (slopes[n]["bytes"], slopes[n]["low"], slopes[n]["high"]),
                amount(slopes[n]["bytes"], "B"))
            for n in data.order if n in slopes]
    return idle_title(rows), rows, \
        "user memory for each idle connection; log scale", True


def held(data, suite, kernel):
    """Process and kernel; the thin line is from the lowest sum of both to the
    highest."""
    rows = []
    for slope in data.summary["slopes"]:
        name = slope["server"]
        if slope["suite"] != suite or name not in kernel["slopes"]:
            continue
        whole = [own + more for own, more in zip(
            spread(slope["bytes"], slope["low"], slope["high"]),
            kernel_memory.of_stage(kernel, name))]
        rows.append(Row(data.name(name), data.colours[name], whole,
                        f"{whole[0] / 1024:.1f} KiB", slope["bytes"]))
    return idle_title(rows), rows, (
        "memory for each idle connection: of the process, and pale, of the "
        "kernel"), False, "the lowest and the highest of all repeats"


def scale(rows, log):
    """value -> pixels."""
    high = max(r.high for r in rows) * 1.02
    low = min(min(r.low for r in rows) / 2, high / 10) if log else 0

    def x(value):
        room = WIDTH - LEFT - RIGHT
        if log:
            return LEFT + room * math.log(max(value, low) / low) \
                / math.log(high / low)
        return LEFT + room * value / high
    return x


def bar(x, y, row):
    solid, end = x(row.solid), x(row.value)
    pale = (f'<rect x="{solid:.1f}" y="{y + 6}" width="{end - solid:.1f}" '
            f'height="{ROW - 12}" fill="{row.colour}" fill-opacity="0.4"/>')
    return (f'<rect x="{LEFT}" y="{y + 6}" width="{solid - LEFT:.1f}" '
            f'height="{ROW - 12}" fill="{row.colour}"/>'
            + (pale if end > solid else ""))


def draw(title, rows, axis, log, lines="95 % intervals"):
    """The picture as text."""
    x, y = scale(rows, log), TOP
    height = TOP + ROW * len(rows) + 34
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" role="img" '
           f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
           f'height="{height}" aria-label="{escape(title)}">'
           f"<style>{STYLE}</style>",
           f'<text x="14" y="26" class="title">{escape(title)}</text>',
           f'<text x="14" y="46" class="small">{escape(axis)}</text>']
    for row in rows:
        middle = y + ROW / 2
        end, low, high = x(row.value), x(row.low), x(row.high)
        out += [
            f'<text x="{LEFT - 10}" y="{middle + 4:.1f}" '
            f'text-anchor="end">{escape(row.name)}</text>',
            # A bar's length means nothing on a log scale: a dot, then.
            f'<path d="M{LEFT} {middle}H{end:.1f}" class="axis"/>'
            f'<circle cx="{end:.1f}" cy="{middle}" r="6" '
            f'fill="{row.colour}"/>' if log else
            bar(x, y, row),
            f'<path d="M{low:.1f} {middle}H{high:.1f}" class="whisker"/>',
            f'<text x="{max(end, high) + 12:.1f}" y="{middle + 4:.1f}">'
            f"{escape(row.text)}</text>"]
        y += ROW
    out.append(f'<path d="M{LEFT} {TOP}V{y}" class="axis"/>')
    out.append(f'<text x="{LEFT}" y="{y + 22}" class="small">thin lines: '
               f"{lines}</text></svg>\n")
    return "\n".join(out)


def make(data, kind, suite, more):
    """(title, SVG) of one kind of bars; more: a cell, or what the kernel
    holds."""
    if kind == "idle":
        found = idle(data, suite)
    elif kind == "held":
        found = held(data, suite, more)
    else:
        found = {"cost": cost, "tail": tail}[kind](data, suite, more)
    return found[0], draw(*found)
