"""The figures, drawn by matplotlib from a loaded result set.

Every draw_ function gets a figure (or a part of a page) and a Data, and leaves
one picture with its units, its intervals and its servers in one order and one
colour each.  figures_of() says which pictures a result set can give.
"""

import math
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(
    os.path.dirname(os.path.abspath(__file__))), "bench"))

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import summary as summaries      # noqa: E402
import usl                       # noqa: E402

NAMES = summaries.NAMES

# Middle tones: each stands out on white and on near black, and neighbours
# differ in lightness too, for print and for the colour-blind.
COLOURS = {"stage1": "#a8761a", "stage2": "#2f7fd6", "stage3": "#12936f",
           "stage4": "#d2455e", "stage5": "#8b62d0", "stage6": "#d97316",
           "nginx": "#7d858c", "go": "#7d858c"}
MARKERS = {"stage1": "o", "stage2": "s", "stage3": "D", "stage4": "^",
           "stage5": "v", "stage6": "P", "nginx": "X", "go": "*"}
# The suites of uneven work: what is drawn is the latency of the fast class.
UNEVEN = ("show-sleep", "show-one", "show-hash")
SKEW = ("skew-work", "skew-sleep")
SPARE = ["#5b8c3a", "#b3478f", "#3a8fa3", "#8c6d5b"]

WIDTH = 4.5        # inches: at a phone's width the letters stay legible
APART = {"wspace": 0.12}
ROW = 0.30         # inches for each server


class Theme:
    """Colours of what is not data."""

    def __init__(self, ink, faint, ground):
        self.ink, self.faint, self.ground = ink, faint, ground


LIGHT = Theme("#1b1f23", "#c9ced3", "#ffffff")


class Data:
    """A result set with the look-ups that figures need."""

    def __init__(self, manifest, rows, summary, theme=LIGHT):
        self.manifest, self.rows, self.summary = manifest, rows, summary
        self.theme = theme
        self.order = [name for name, s in manifest["servers"].items()
                      if not s.get("skipped")]
        spare = [n for n in self.order if n not in COLOURS]
        self.colours = {**COLOURS, **{n: SPARE[i % len(SPARE)]
                                      for i, n in enumerate(spare)}}
        self.asked = "echo" if manifest.get("app") == "echo" else "GET /"
        self.suites = dict(summaries.suites_of(summary))
        if self.lead == "ladder":
            self.asked = "Keep-alive"

    def name(self, server):
        return NAMES.get(server, server)

    def marker(self, server):
        return MARKERS.get(server, "o")

    def entries(self, suite, cell):
        """The cell's servers, in order."""
        found = {e["server"]: e for e in self.summary["cells"]
                 if e["suite"] == suite and e["cell"] == cell}
        return [found[n] for n in self.order if n in found]

    def ratios(self, suite, cell, metric):
        return [c for c in self.summary["comparisons"]
                if (c["suite"], c["cell"], c["metric"])
                == (suite, cell, metric)]

    @property
    def lead(self):
        """The suite to lead with."""
        return "ladder" if "ladder" in self.suites else "keepalive"

    def headline(self):
        """Its cell to lead with: 64 connections and a handler of 5 us, or
        what comes nearest."""
        cells = self.suites.get(self.lead)
        if not cells:
            return None
        return min(cells, key=lambda c: (
            abs(c.get("connections", 64) - 64), abs(c.get("handler", 5) - 5)))


def value_text(value):
    if value >= 10000:
        return f"{value / 1000:,.0f} k" if value >= 99500 else \
            f"{value / 1000:.1f} k"
    return summaries.number(value)


def style(ax, data, grid="x"):
    ax.set_facecolor("none")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(data.theme.faint)
    ax.tick_params(colors=data.theme.ink, labelcolor=data.theme.ink,
                   color=data.theme.faint, labelsize=8, length=3)
    ax.xaxis.label.set_color(data.theme.ink)
    ax.yaxis.label.set_color(data.theme.ink)
    ax.xaxis.label.set_size(8)
    ax.yaxis.label.set_size(8)
    if grid:
        ax.grid(axis=grid, color=data.theme.faint, linewidth=0.5, alpha=0.6)
    ax.set_axisbelow(True)


def server_axis(ax, data, servers, labels=True):
    ax.set_ylim(len(servers) - 0.4, -0.6)
    ax.set_yticks(range(len(servers)))
    ax.set_yticklabels([data.name(s) for s in servers] if labels
                       else [""] * len(servers))
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def dots(ax, data, entries, metric, unit, log=False, labels=True):
    """A dot for each server, its interval as a bar, its value beside it."""
    values = [(i, e["server"], e["metrics"][metric])
              for i, e in enumerate(entries) if metric in e["metrics"]]
    style(ax, data)
    server_axis(ax, data, [e["server"] for e in entries], labels)
    ax.set_xlabel(unit)
    if not values:
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes,
                ha="center", va="center", color=data.theme.ink, fontsize=8)
        return
    for place, server, (mid, low, high) in values:
        colour = data.colours[server]
        if low is not None:
            ax.plot([low, high], [place, place], color=colour, linewidth=4,
                    alpha=0.35, solid_capstyle="butt")
        ax.plot([mid], [place], marker=data.marker(server), color=colour,
                markersize=6)
    ends = [high or mid for _, _, (mid, _, high) in values]
    starts = [low or mid for _, _, (mid, low, _) in values]
    if log:
        ax.set_xscale("log")
        ax.set_xlim(min(starts) / 1.6, max(ends) * 4)
    else:
        ax.set_xlim(0, max(ends) * 1.32)
        ax.locator_params(axis="x", nbins=5)
    plain_ticks(ax.xaxis, log)
    for place, _, (mid, _, high) in values:
        ax.annotate(value_text(mid), (high or mid, place), xytext=(6, 0),
                    textcoords="offset points", va="center", fontsize=8,
                    color=data.theme.ink)


def plain_ticks(axis, log):
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
    axis.set_major_formatter(FuncFormatter(
        lambda v, _: f"{v / 1000:g} k" if abs(v) >= 10000 else f"{v:,g}"))
    if log:
        low, high = axis.get_view_interval()
        wide = low > 0 and high / low > 40    # 1, 2, 5 would overlap
        axis.set_major_locator(LogLocator(
            base=10, numticks=6, subs=(1,) if wide else (1, 2, 5)))
        axis.set_minor_formatter(NullFormatter())


def titled(fig, data, text):
    fig.suptitle(text, x=0.02, ha="left", fontsize=9.5, fontweight="bold",
                 color=data.theme.ink)


# --- uneven work ----------------------------------------------------------

def fast(entries, name):
    """The metric of the fast class, or of all where there are no classes."""
    ours = f"fast_{name}_us"
    return ours if any(ours in e["metrics"] for e in entries) \
        else f"{name}_us"


def draw_uneven(fig, data, suite, cell):
    """p50 and p99 of each server, and the paired ratio to the yardstick."""
    entries = data.entries(suite, cell)
    servers = [e["server"] for e in entries]
    left, right = fig.subplots(1, 2, gridspec_kw=APART)
    metric = fast(entries, "p99")
    which = "of the fast class" if metric.startswith("fast") else "of all"
    dots(left, data, entries, metric, f"p99 {which}, us", log=True)
    for place, e in enumerate(entries):
        p50 = e["metrics"].get(fast(entries, "p50"))
        if p50:
            left.plot([p50[0]], [place], marker="|", markersize=9,
                      color=data.colours[e["server"]])
            left.set_xlim(min(left.get_xlim()[0], p50[0] / 1.6), None)
    plain_ticks(left.xaxis, True)
    base = data.summary.get("yardsticks", {}).get(suite)
    ratio_dots(right, data, servers, [
        next((c for c in data.ratios(suite, cell, metric)
              if c["server"] == server and c["base"] == base), None)
        for server in servers], f"p99, ratio to {data.name(base)}")
    titled(fig, data, f"{cell_words(cell)} (tick: p50)")


def ratio_dots(ax, data, servers, found, label):
    """Paired ratios on a logarithmic axis, hollow where not certain."""
    style(ax, data)
    server_axis(ax, data, servers, labels=False)
    ax.set_xscale("log")
    ax.axvline(1, color=data.theme.ink, linewidth=0.8)
    ax.set_xlabel(label)
    ends = [1.0]
    for place, (server, c) in enumerate(zip(servers, found)):
        if not c:
            continue
        clear = c["verdict"] in ("lower", "higher")
        colour = data.colours[server] if clear else data.theme.ink
        low, high = c["low"] or c["ratio"], c["high"] or c["ratio"]
        ends += [low, high]
        ax.plot([low, high], [place, place], color=colour, linewidth=4,
                alpha=0.35 if clear else 0.2, solid_capstyle="butt")
        ax.plot([c["ratio"]], [place], marker=data.marker(server),
                color=colour, markersize=6,
                markerfacecolor=colour if clear else "none")
        ax.annotate(f"{c['ratio']:.2f}", (high, place), xytext=(6, 0),
                    textcoords="offset points", va="center", fontsize=8,
                    color=data.theme.ink)
    ax.set_xlim(min(ends) / 1.5, max(ends) * 2.5)
    plain_ticks(ax.xaxis, True)


def without(cell, *names):
    return {k: v for k, v in cell.items() if k not in names}


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


def draw_load(fig, data, suite, cells):
    """p50 and p99 of the fast class over load, everything else the same."""
    entries = data.entries(suite, cells[0])
    top, bottom = fig.subplots(2, 1, sharex=True)
    for ax, name in ((top, "p50"), (bottom, "p99")):
        ends = lines(ax, data, suite, cells, "load", fast(entries, name), 100)
        ax.set_ylabel(f"{name}, us")
        name_ends(ax, data, ends)
    bottom.set_xlabel("load, % of the capacity when placed evenly")
    titled(fig, data, cell_words(without(cells[0], "load")))


def in_order(values, known):
    """Each value once: the known ones first, as they are listed."""
    values = list(dict.fromkeys(values))
    return [v for v in known if v in values] + [v for v in values
                                                if v not in known]


def draw_matrix(fig, data, suite, cells, workers):
    """The p99 ratio of stage 6 to 5 in all cells: services by placements."""
    cells = [c for c in cells if c.get("workers") == workers]
    rows = in_order((c["service"] for c in cells),
                    ["const", "exponential", "bimodal"])
    columns = in_order((c["place"] for c in cells), ["rr", "hash", "one"])
    axes = fig.subplots(len(rows), len(columns), squeeze=False, sharex=True,
                        sharey=True)
    for row, service in zip(axes, rows):
        for ax, place in zip(row, columns):
            style(ax, data, "y")
            ax.set_yscale("log")
            ax.axhline(1, color=data.theme.ink, linewidth=0.8)
            ax.set_title(f"{service}, {place}", fontsize=8, loc="left",
                         color=data.theme.ink)
            matrix_lines(ax, data, suite, [
                c for c in cells
                if (c["service"], c["place"]) == (service, place)])
    for row in axes:
        plain_ticks(row[0].yaxis, True)
    axes[0][-1].legend(fontsize=7, frameon=False, title="connections",
                       title_fontsize=7, labelcolor=data.theme.ink)
    for ax in axes[-1]:
        ax.set_xlabel("load, %")
    for row in axes:
        row[0].set_ylabel("p99, 6 / 5")
    titled(fig, data, f"Stage 6 to stage 5, p99 of the fast class, "
                      f"{workers} workers (hollow: not certain)")


def matrix_lines(ax, data, suite, cells):
    counts = sorted({c["connections"] for c in cells})
    for number, count in enumerate(counts):
        points = []
        for cell in cells:
            entries = data.entries(suite, cell)
            c = next((c for c in data.ratios(suite, cell,
                                             fast(entries, "p99"))
                      if (c["server"], c["base"]) == ("stage6", "stage5")),
                     None)
            if c and cell["connections"] == count:
                points.append((cell["load"] * 100, c["ratio"],
                               c["verdict"] in ("lower", "higher")))
        colour = SPARE[number % len(SPARE)]
        points.sort()
        ax.plot([p[0] for p in points], [p[1] for p in points],
                color=colour, linewidth=1, label=str(count))
        for x, y, clear in points:
            ax.plot([x], [y], marker="o", markersize=4, color=colour,
                    markerfacecolor=colour if clear else "none")


def add_uneven(data, add):
    names = {"show-sleep": "skew", "show-one": "skew-one",
             "show-hash": "skew-hash"}
    for suite in UNEVEN:
        for number, cell in enumerate(data.suites.get(suite, ()), 1):
            add(names[suite] + (f"-{number}" if number > 1 else ""),
                data_title(data, suite), suite,
                _rows_height(len(data.entries(suite, cell))),
                lambda fig, s=suite, c=cell: draw_uneven(fig, data, s, c),
                [cell])
    for suite in SKEW:
        cells = data.suites.get(suite, [])
        for workers in dict.fromkeys(c.get("workers") for c in cells):
            ours = [c for c in cells if c.get("workers") == workers]
            groups = load_groups(ours)
            if len(groups) > 1:
                add(f"{suite}-{workers}", data_title(data, suite), suite,
                    1.2 + 1.3 * len({c["service"] for c in ours}),
                    lambda fig, s=suite, c=ours, w=workers: draw_matrix(
                        fig, data, s, c, w), ours)
            for number, group in enumerate(groups[:1]):
                add(f"{suite}-{workers}-load", data_title(data, suite),
                    suite, 4.3, lambda fig, s=suite, g=group: draw_load(
                        fig, data, s, g), group)


# --- scaling --------------------------------------------------------------

def scaling_points(data, server):
    """[(workers, [median, low, high] of requests/s)]"""
    found = []
    for cell in data.suites.get("scaling", ()):
        for e in data.entries("scaling", cell):
            if e["server"] == server and "qps" in e["metrics"]:
                found.append((cell["workers"], e["metrics"]["qps"]))
    return sorted(found)


def law_text(data, server):
    """The Universal Scalability Law through a server's points, in words."""
    points = scaling_points(data, server)
    law = usl.fit([(n, x[0]) for n, x in points])
    if not law:
        return f"not fitted: {len(points)} point{'s'[:len(points) != 1]}"
    peak = usl.peak(law)
    return (f"one worker {summaries.number(law.one)}/s, contention "
            f"{law.contention:.3f}, crosstalk {law.crosstalk:.5f}, "
            + (f"most at {peak:.0f} workers" if peak else "no peak"))


def draw_scaling(fig, data):
    left, right = fig.subplots(1, 2)
    servers = [s for s in data.order if scaling_points(data, s)]
    for ax, metric, label in ((left, "qps", "requests/s"),
                              (right, "cpu_us", "server CPU, us a request")):
        style(ax, data, "y")
        for number, server in enumerate(servers):
            points = []
            for cell in data.suites["scaling"]:
                for e in data.entries("scaling", cell):
                    if e["server"] == server and metric in e["metrics"]:
                        points.append((cell["workers"],
                                       *e["metrics"][metric]))
            points.sort()
            colour = data.colours[server]
            aside = (number - (len(servers) - 1) / 2) * 0.04
            for n, _, low, high in points:
                if low is not None:
                    ax.plot([n + aside] * 2, [low, high], color=colour,
                            linewidth=3, alpha=0.35)
            ax.plot([p[0] + aside for p in points], [p[1] for p in points],
                    color=colour, marker=data.marker(server), markersize=4.5,
                    linewidth=1.2, label=data.name(server))
            if metric == "qps":
                draw_law(ax, points, colour)
        ax.set_ylim(0, None)
        ax.set_xticks(sorted({c["workers"] for c in data.suites["scaling"]}))
        ax.set_xlabel("workers")
        ax.set_ylabel(label)
        plain_ticks(ax.yaxis, False)
    right.legend(fontsize=7, frameon=False, labelcolor=data.theme.ink)
    titled(fig, data, "Over the number of workers")


def draw_law(ax, points, colour):
    law = usl.fit([(p[0], p[1]) for p in points])
    if not law:
        return
    low, high = points[0][0], points[-1][0]
    xs = [low + (high - low) * i / 60 for i in range(61)]
    ax.plot(xs, [usl.throughput(law, x) for x in xs], color=colour,
            linewidth=0.9, linestyle="--")


# --- the figures ----------------------------------------------------------

def draw_ladder(fig, data, cell):
    entries = data.entries(data.lead, cell)
    left, right = fig.subplots(1, 2, gridspec_kw=APART)
    dots(left, data, entries, "qps", "requests/s (more is better)")
    dots(right, data, entries, "p99_us", "p99, us (less is better)",
         labels=False)
    titled(fig, data, f"{data.asked} on {cell_words(cell)}, closed loop")


def draw_cpu(fig, data, suite, cell):
    entries = data.entries(suite, cell)
    left, right = fig.subplots(1, 2, gridspec_kw=APART)
    dots(left, data, entries, "cpu_us", "server CPU, us a request")
    draw_ratios(right, data, suite, cell, [e["server"] for e in entries])
    titled(fig, data, f"CPU time of a request, {suite}, {cell_words(cell)}")


def draw_ratios(ax, data, suite, cell, servers):
    """The paired ratio of each server to the row above, around 1."""
    style(ax, data)
    server_axis(ax, data, servers, labels=False)
    ax.axvline(1, color=data.theme.ink, linewidth=0.8)
    ax.set_xlabel("ratio to the row above")
    spread = 0.1
    for place, server in enumerate(servers):
        found = place and next(
            (c for c in data.ratios(suite, cell, "cpu_us")
             if c["server"] == server and c["base"] == servers[place - 1]),
            None)
        if not found:
            continue
        clear = found["verdict"] in ("lower", "higher")
        colour = data.colours[server] if clear else data.theme.ink
        if found["low"] is not None:
            ax.plot([found["low"], found["high"]], [place, place],
                    color=colour, linewidth=4, alpha=0.35 if clear else 0.2,
                    solid_capstyle="butt")
            spread = max(spread, 1 - found["low"], found["high"] - 1)
        ax.plot([found["ratio"]], [place], marker=data.marker(server),
                color=colour, markersize=6,
                markerfacecolor=colour if clear else "none")
        ax.annotate(f"{found['ratio']:.2f}",
                    (found["high"] or found["ratio"], place),
                    xytext=(6, 0), textcoords="offset points", va="center",
                    fontsize=8, color=data.theme.ink)
    ax.set_xlim(1 - 1.1 * min(spread, 0.9), 1 + 1.5 * spread)
    ax.locator_params(axis="x", nbins=5)


def draw_syscalls(fig, data, suite, cell):
    entries = [e for e in data.entries(suite, cell) if e.get("syscalls")]
    ax = fig.subplots()
    style(ax, data)
    server_axis(ax, data, [e["server"] for e in entries])
    ax.set_xlabel("system calls a request")
    most = max(e["syscalls_per_request"] for e in entries)
    kinds = call_kinds(entries)
    for place, e in enumerate(entries):
        start = 0
        for kind in kinds:
            width = e["kinds"].get(kind, 0)
            ax.barh(place, width, left=start, height=0.6,
                    color=CALL_COLOURS[kind], label=kind)
            start += width
        ax.annotate(summaries.number(start), (start, place), xytext=(5, 0),
                    textcoords="offset points", va="center", fontsize=8,
                    color=data.theme.ink)
    ax.set_xlim(0, most * 1.18)
    handles, labels = ax.get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    ax.legend(unique.values(), unique.keys(), ncol=4, frameon=False,
              fontsize=7.5, loc="lower left", bbox_to_anchor=(-0.02, 1.0),
              labelcolor=data.theme.ink, handlelength=1, columnspacing=1)
    titled(fig, data, f"System calls of a request, {suite}, "
                      f"{cell_words(cell)}")


CALL_KINDS = {
    "receive": "recvfrom recvmsg read readv recv".split(),
    "send": "sendto sendmsg write writev send sendfile64".split(),
    "wait": "epoll_wait epoll_pwait epoll_pwait2 poll ppoll select wait "
            "io_uring_enter".split(),
}
CALL_COLOURS = {"receive": "#2f7fd6", "send": "#12936f", "wait": "#d2455e",
                "other": "#7d858c"}


def call_kinds(entries):
    """Adds e["kinds"]; returns the kinds that occur."""
    seen = set()
    for e in entries:
        e["kinds"] = {}
        for call, share in e["syscalls"].items():
            kind = next((k for k, calls in CALL_KINDS.items()
                         if call in calls), "other")
            e["kinds"][kind] = e["kinds"].get(kind, 0) + share
            seen.add(kind)
    return [k for k in CALL_COLOURS if k in seen]


def spread_labels(places, gap):
    """Moves label positions apart until neighbours are gap away."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = [places[i] for i in order]
    for _ in range(200):
        pushed = False
        for i in range(len(moved) - 1):
            short = gap - (moved[i + 1] - moved[i])
            if short > 1e-9:
                moved[i] -= short / 2
                moved[i + 1] += short / 2
                pushed = True
        if not pushed:
            break
    result = [0.0] * len(places)
    for i, place in zip(order, moved):
        result[i] = place
    return result


def lines(ax, data, suite, cells, param, metric, scale=1.0, log_y=True):
    """A line for each server over a parameter; returns the lines' ends.

    The servers stand a little apart at each place, so that their intervals
    can be told from each other.
    """
    ends, tops, lows = [], [], []
    for number, server in enumerate(data.order):
        points = []
        for place, cell in enumerate(cells):
            e = next((e for e in data.entries(suite, cell)
                      if e["server"] == server), None)
            if e and metric in e["metrics"]:
                aside = (number - (len(data.order) - 1) / 2) * 0.05
                points.append((place + aside, *e["metrics"][metric]))
        if not points:
            continue
        colour = data.colours[server]
        for x, _, low, high in points:
            if low is not None:
                ax.plot([x, x], [low, high], color=colour, linewidth=3,
                        alpha=0.35, solid_capstyle="butt")
                lows.append(low)
        ax.plot([p[0] for p in points], [p[1] for p in points],
                color=colour, linewidth=1.2, marker=data.marker(server),
                markersize=4.5)
        tops += [p[1] for p in points]
        lows += [p[1] for p in points]
        ends.append((server, points[-1][0], points[-1][1]))
    style(ax, data, grid="y")
    if log_y and tops:
        ax.set_yscale("log")
        # One wild slice must not squeeze all the others together: an
        # interval may run out of the picture, a median may not.
        ax.set_ylim(max(min(lows), min(tops) / 4) / 1.3,
                    min(ax.get_ylim()[1], max(tops) * 4) * 1.1)
    plain_ticks(ax.yaxis, log_y)
    ax.set_xlim(-0.3, len(cells) - 0.7)
    ax.set_xticks(range(len(cells)))
    ax.set_xticklabels([f"{c[param] * scale:,.0f}" for c in cells])
    return ends


def name_ends(ax, data, ends, log_y=True):
    """The servers' names to the right of their lines, without overlap."""
    if not ends:
        return
    low, high = ax.get_ylim()
    change = math.log10 if log_y else float
    span = change(high) - change(low)
    places = [(change(y) - change(low)) / span for _, _, y in ends]
    for (server, _, _), place in zip(ends, spread_labels(places, 0.085)):
        ax.annotate(data.name(server), (1.02, place),
                    xycoords="axes fraction", va="center", fontsize=8,
                    color=data.colours[server], annotation_clip=False)


def draw_latency(fig, data, cells):
    top, bottom = fig.subplots(2, 1, sharex=True)
    for ax, metric, word in ((top, "p50_us", "p50"),
                             (bottom, "p99_us", "p99")):
        ends = lines(ax, data, "latency", cells, "load", metric, 100)
        ax.set_ylabel(f"{word}, us")
        name_ends(ax, data, ends)
    bottom.set_xlabel("load, % of the lowest capacity")
    titled(fig, data, "Latency from the intended send time, "
                      f"{cells[0].get('connections', '')} connections")


def draw_sweep(fig, data, suite, cells, param, word):
    top, bottom = fig.subplots(2, 1, sharex=True)
    for ax, metric, label in ((top, "cpu_us", "CPU, us a request"),
                              (bottom, "qps", "requests/s")):
        ends = lines(ax, data, suite, cells, param, metric, log_y=True)
        ax.set_ylabel(label)
        name_ends(ax, data, ends)
    bottom.set_xlabel(word)
    titled(fig, data, f"{suite.capitalize()} over {word}")


def draw_idle(fig, data):
    slopes = {s["server"]: s for s in data.summary["slopes"]
              if s["suite"] == "idle"}
    entries = []
    for server in (n for n in data.order if n in slopes):
        s = slopes[server]
        certain = (s["low"] or 0) > 0
        bar = [s["bytes"], s["low"] if certain else None,
               s["high"] if certain else None]
        entries.append({"server": server, "metrics":
                        {"bytes": bar} if s["bytes"] > 0 else {}})
    ax = fig.subplots()
    dots(ax, data, entries, "bytes",
         "bytes of server memory for one more connection", log=True)
    for place, e in enumerate(entries):
        if not e["metrics"]:
            ax.annotate("too small to see between these crowds",
                        (0.02, place), va="center", fontsize=8,
                        xycoords=("axes fraction", "data"),
                        color=data.theme.ink)
    titled(fig, data, "Memory of an idle connection")


def draw_plain(fig, data, suite, cell):
    """Any other cell: throughput and CPU, or latency and memory."""
    entries = data.entries(suite, cell)
    left, right = fig.subplots(1, 2, gridspec_kw=APART)
    if "idle" in cell:   # a crowd: the rate is given, memory is the question
        dots(left, data, entries, "p99_us", "p99, us (less is better)")
        dots(right, data, entries, "private_kib", "server memory, KiB",
             labels=False)
    else:
        dots(left, data, entries, "qps", "requests/s (more is better)")
        dots(right, data, entries, "cpu_us", "server CPU, us a request",
             labels=False)
    titled(fig, data, f"{suite}, {cell_words(cell)}")


def draw_files(fig, data, cells):
    axes = fig.subplots(len(cells), 2, squeeze=False)
    for (left, right), cell in zip(axes, cells):
        entries = data.entries("files", cell)
        dots(left, data, entries, "qps", "files/s")
        dots(right, data, entries, "probe_p99_us",
             "p99 of / beside them, us", log=True, labels=False)
        left.set_title(cell_words(cell), fontsize=8, loc="left",
                       color=data.theme.ink)
    titled(fig, data, "Files, and what they do to GET / beside them")


PLACES = {"hash": "placed by hash", "rr": "placed evenly",
          "one": "all on one worker"}


def cell_words(cell):
    """{"connections": 64} -> "64 connections"."""
    words = []
    for name, value in cell.items():
        if name == "load":
            words.append(f"{value * 100:.0f} % load")
        elif name == "handler":
            words.append(f"handler of {value} us")
        elif name == "size":
            words.append(f"{value // 1024:,} KiB")
        elif name in ("connections", "workers"):
            words.append(f"{value:,} {name[:-1]}{'s'[:value != 1]}")
        elif name == "rate":
            words.append(f"{value:,} requests/s")
        elif name == "place":
            words.append(PLACES.get(value, str(value)))
        elif isinstance(value, int):
            words.append(f"{name} {value:,}")
        else:
            words.append(str(value))
    return ", ".join(words)


class Figure:
    """A picture to be: its name, its height, and how it is drawn."""

    def __init__(self, name, title, suite, height, draw, cells):
        self.name, self.title, self.suite = name, title, suite
        self.height, self.draw, self.cells = height, draw, cells


def _rows_height(count, extra=0.95):
    return extra + ROW * max(count, 2)


def figures_of(data):
    """Every figure this result set has the rows for, in reading order."""
    found, count = [], len(data.order)
    height = _rows_height(count)

    def add(name, title, suite, tall, draw, cells):
        found.append(Figure(name, title, suite, tall, draw, cells))

    head = data.headline()
    if head:
        add("ladder", "Requests a second and p99", data.lead, height,
            lambda fig: draw_ladder(fig, data, head), [head])
        add("cpu", "CPU time of a request", data.lead, height,
            lambda fig: draw_cpu(fig, data, data.lead, head), [head])
        handlers = [c for c in data.suites[data.lead] if "handler" in c
                    and without(c, "handler") == without(head, "handler")]
        if len(handlers) > 1:
            add("handlers", "Over the cost of the handler", data.lead, 4.3,
                lambda fig: draw_sweep(fig, data, data.lead, handlers,
                                       "handler", "the handler's us"),
                handlers)
    for suite in (data.lead, "short", "pipeline"):
        traced = [c for c in data.suites.get(suite, ())
                  if any(e.get("syscalls") for e in data.entries(suite, c))]
        if traced:
            cell = head if head in traced else traced[-1]
            add("syscalls", "System calls of a request", suite, height + 0.2,
                lambda fig, s=suite, c=cell: draw_syscalls(fig, data, s, c),
                [cell])
            break
    sweep = data.suites.get("keepalive", ())
    if len(sweep) > 1:
        add("connections", "Over the number of connections", "keepalive",
            4.3, lambda fig: draw_sweep(fig, data, "keepalive", sweep,
                                        "connections",
                                        "the number of connections"), sweep)
    load = data.suites.get("latency", ())
    if load:
        add("latency", "Latency against load", "latency", 4.3,
            lambda fig: draw_latency(fig, data, load), load)
    if any(s["suite"] == "idle" for s in data.summary["slopes"]):
        add("idle", "Memory of an idle connection", "idle", height,
            lambda fig: draw_idle(fig, data), data.suites["idle"])
    depth = data.suites.get("pipeline", ())
    if len(depth) > 1:
        add("pipeline", "Pipelining", "pipeline", 4.3,
            lambda fig: draw_sweep(fig, data, "pipeline", depth, "depth",
                                   "requests in flight on each connection"),
            depth)
    files = data.suites.get("files", ())
    if files:
        add("files", "Files", "files", 0.5 + len(files) * (height - 0.2),
            lambda fig: draw_files(fig, data, files), files)
    add_uneven(data, add)
    if data.suites.get("scaling"):
        add("scaling", "Over the number of workers", "scaling", 2.6,
            lambda fig: draw_scaling(fig, data), data.suites["scaling"])
    shown = {"ladder", "keepalive", "latency", "idle", "files", "scaling",
             *UNEVEN, *SKEW}
    if len(depth) > 1:
        shown.add("pipeline")
    for suite, cells in data.suites.items():
        if suite not in shown:
            for i, cell in enumerate(cells):
                add(suite + (f"-{i + 1}" if len(cells) > 1 else ""),
                    data_title(data, suite), suite, height,
                    lambda fig, s=suite, c=cell: draw_plain(fig, data, s, c),
                    [cell])
    return found


def data_title(data, suite):
    return next((p["title"] for p in data.manifest["plan"]
                 if p["suite"] == suite), suite)


def sentence(data, suite, cell, metric):
    """The paired comparisons of neighbours, or with the suite's yardstick, in
    words."""
    parts, servers = [], [e["server"] for e in data.entries(suite, cell)]
    base = data.summary.get("yardsticks", {}).get(suite)
    pairs = [(base, s) for s in servers if s != base] if base \
        else zip(servers, servers[1:])
    for above, server in pairs:
        c = next((c for c in data.ratios(suite, cell, metric)
                  if c["server"] == server and c["base"] == above), None)
        if not c:
            continue
        if c["low"] is None:
            span = f"{c['ratio']:.2f}"
        else:
            span = f"{c['ratio']:.2f}, {c['low']:.2f} to {c['high']:.2f}"
        a, b = data.name(server), data.name(above)
        if c["verdict"] in ("lower", "higher"):
            parts.append(f"{a} is at {span.partition(',')[0]} of {b}"
                         + (f" ({span.partition(', ')[2]})"
                            if "," in span else ""))
        elif c["verdict"] == "too few pairs":
            parts.append(f"{a} to {b} {span} (too few pairs for a verdict)")
        elif c["verdict"] == "not distinguishable":
            parts.append(f"{a} and {b} are not distinguishable ({span})")
        else:
            parts.append(f"{a} to {b} {span} ({c['verdict']})")
    return "; ".join(parts) + "." if parts else ""
