"""What the sets of bench/micro_run.py queues and padding give.

tables.py asks here when a marker names such a set.  NAME is one of

  queues               all the tables of a set of queues, or the one of a
  queues:paced,spin    load (paced, flat) and a way to wait (spin, park)
  padding:add          cost of an update by padding: add, store
  c2c                  the core-to-core matrix of the machine
  machine              what it was measured on, and what disturbed it
  command              how to do it again
  image:queues         mean and p99 of each queue, paced
  image:padding        what padding saves, by the time between two updates

Every block is in the set; the ratios are made here, within a block.
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import micro_results               # noqa: E402
import stats_math                  # noqa: E402
import summary as summaries        # noqa: E402
import lines                       # noqa: E402
import rows                        # noqa: E402
import svg                         # noqa: E402
import uring_tables                # noqa: E402
from pictures import Figure        # noqa: E402
from sets import amount            # noqa: E402

QUEUES = {"spmc": "ring of stage 5", "mutex": "mutex queue",
          "ck": "ck_ring (spmc)", "deque": "ready queue of stage 6",
          "chase-lev": "Chase-Lev deque"}
LOADS = {"paced": "paced", "flat": "flat out"}
WAITS = {"spin": "spinning", "park": "parked"}
RING = "spmc"
COLOURS = dict(zip(QUEUES, ["#8b62d0", "#7d858c", "#2f7fd6", "#d97316",
                            "#12936f"]))
MARKS = dict(zip(QUEUES, ["down", "cross", "square", "plus", "diamond"]))


class Data:
    """A loaded set: what tables.py and report.py need of one."""

    def __init__(self, directory):
        self.manifest, self.summary = micro_results.load(directory)
        self.program = self.manifest["program"]
        self.rows = self.summary["rows"]
        self.colours = COLOURS
        self.order = [q for q in QUEUES if self.by_block(queue=q)]

    def by_block(self, metric=None, **wanted):
        """{block: the figure of the one row that is meant}"""
        return {row["block"]: row[metric] if metric else row
                for row in self.rows
                if all(row.get(k) == v for k, v in wanted.items())}

    def values(self, name):
        """The values of a field, in the order of the rows."""
        return list(dict.fromkeys(row.get(name) for row in self.rows))


def interval(values):
    return stats_math.median_interval(list(values.values()))


def ratios(data, pairs):
    """The texts of one column: each pair compared, all corrected together."""
    found = [ours and theirs and stats_math.compare(ours, theirs)
             for ours, theirs in pairs]
    stats_math.correct(found)
    if data.manifest["quick"]:
        found = [c and {**c, "low": None, "verdict": "a quick run"}
                 for c in found]
    return [summaries.ratio_text(c) for c in found]


# --- queues ---------------------------------------------------------------

def queues_table(data, load, wait):
    metrics = ("mean_ns", "p50_ns", "p99_ns", "p99.9_ns", "tasks_per_s")
    cells = {queue: {m: data.by_block(m, load=load, wait=wait, queue=queue)
                     for m in metrics} for queue in data.order}
    cells = {queue: mine for queue, mine in cells.items() if mine["mean_ns"]}
    ring = cells.get(RING, {})
    others = [queue for queue in cells if queue != RING]
    columns = {m: dict(zip(others, ratios(data, [
        (ring.get(m), cells[q][m]) for q in others])))
        for m in ("mean_ns", "p99_ns")}
    body = []
    for queue, mine in cells.items():
        line = [QUEUES[queue]]
        line += [columns[m].get(queue, "-") for m in ("mean_ns", "p99_ns")]
        line += [summaries.with_interval(interval(mine["mean_ns"])),
                 summaries.number(interval(mine["p50_ns"])[0]),
                 summaries.with_interval(interval(mine["p99_ns"])),
                 summaries.number(interval(mine["p99.9_ns"])[0]),
                 summaries.number(interval(mine["tasks_per_s"])[0])]
        body.append(line)
    return summaries.table(
        ["queue", "ring's mean / its", "ring's p99 / its", "mean ns",
         "p50 ns", "p99 ns", "p99.9 ns", "tasks/s"], body)


def load_words(data, load):
    rate = data.summary.get("rate")
    return f"{rate:,.0f} tasks a second" if load == "paced" and rate \
        else LOADS[load]


def all_queues(data):
    parts = []
    for load in LOADS:
        for wait in WAITS:
            if data.by_block(load=load, wait=wait):
                words = load_words(data, load)
                parts += [f"{words[0].upper()}{words[1:]}, consumers "
                          f"{WAITS[wait]}:", queues_table(data, load, wait)]
    return "\n\n".join(parts)


def queue_rows(data, wait, metric):
    found = []
    for queue in data.order:
        values = data.by_block(metric, load="paced", wait=wait, queue=queue)
        triple = interval(values) if values else None
        found.append(rows.Row(
            queue, QUEUES[queue], COLOURS[queue], MARKS[queue], triple,
            list(values.values()), amount(triple[0], "ns") if triple
            else "not measured"))
    return found


def draw_queues(data, width):
    return svg.stacked(width, [
        (f"{words} from producer to consumer, consumers {WAITS[wait]}",
         rows.draw(queue_rows(data, wait, metric), "ns", width, log=True))
        for wait in WAITS if data.by_block(load="paced", wait=wait)
        for words, metric in (("mean", "mean_ns"), ("p99", "p99_ns"))])


# --- padding --------------------------------------------------------------

def pad_cell(data, update, every, pad):
    return data.by_block("ns_per_update", update=update, every_ns=every,
                         pad=pad)


def padding_table(data, update):
    pads, spans = data.values("pad"), data.values("every_ns")
    cells = {(every, pad): pad_cell(data, update, every, pad)
             for every in spans for pad in pads}
    wider = [pad for pad in pads if pad]
    columns = [ratios(data, [(cells[every, 0], cells[every, pad])
                             for every in spans]) for pad in wider]
    body = []
    for place, every in enumerate(spans):
        body.append([f"{every:,}"] + [column[place] for column in columns]
                    + [summaries.number(interval(cells[every, pad])[0])
                       for pad in pads])
    return summaries.table(
        ["an update every ns"] + [f"PAD 0 / {pad}" for pad in wider]
        + [f"PAD {pad}, ns" for pad in pads], body)


def pad_series(data, update, place, pad):
    points = []
    for x, every in enumerate(data.values("every_ns")):
        c = stats_math.compare(pad_cell(data, update, every, 0),
                               pad_cell(data, update, every, pad))
        points.append(lines.Point(
            x + 0.06 * (place - 0.5), c["ratio"], c["low"], c["high"],
            f"PAD {pad}, an update every {every} ns: "
            f"{summaries.ratio_text(c)}"))
    return lines.Series(None, f"PAD {pad}", uring_tables.COLOURS[place],
                        uring_tables.MARKS[place], points)


def draw_padding(data, width):
    words = {"add": "atomic add", "store": "load and store"}
    spans = data.values("every_ns")
    axis = lines.Axis("ns between two updates", lambda x: f"{spans[x]:,g}",
                      ticks=range(len(spans)))
    return lines.draw([
        (f"{words.get(update, update)}: cost at PAD 0, as a ratio",
         [pad_series(data, update, place, pad) for place, pad in enumerate(
             p for p in data.values("pad") if p)],
         lines.Axis("", lambda v: f"{v:g}", base=1))
        for update in data.values("update")], axis, width)


# --- both -----------------------------------------------------------------

def c2c_table(data):
    """Round trips of a cache line; a table of cpus by cpus."""
    found = data.manifest["machine"].get("core_to_core") or {}
    pairs = {}
    for p in found.get("pairs") or ():
        pairs[p["a"], p["b"]] = pairs[p["b"], p["a"]] = p["ns"]
    if not pairs:
        return f"Not measured: {found.get('missing', 'one cpu only')}."
    cpus = sorted({cpu for pair in pairs for cpu in pair})
    return summaries.table(
        ["ns, to and fro"] + [f"cpu {cpu}" for cpu in cpus],
        [[f"cpu {a}"] + ["-" if (a, b) not in pairs else
                         "not measured" if pairs[a, b] < 0 else
                         f"{pairs[a, b]:.0f}" for b in cpus] for a in cpus])


def figures_of(data):
    if data.program == "queues":
        if not data.by_block(load="paced"):
            return []
        return [Figure("queues", "Latency of the queues at "
                       + load_words(data, "paced"),
                       "Dots are blocks, marks their medians; log scales.",
                       "queues", [], lambda width: draw_queues(data, width))]
    return [Figure("padding", "Two cores, two words: side by side, or apart",
                   "Medians of paired ratios with 95 % intervals.", "padding",
                   [], lambda width: draw_padding(data, width))]


def sections(data):
    """[(heading, Markdown)] for the report."""
    if data.program == "queues":
        return [(f"{load_words(data, load)}, consumers {WAITS[wait]}",
                 queues_table(data, load, wait))
                for load in LOADS for wait in WAITS
                if data.by_block(load=load, wait=wait)]
    return [(f"update by {update}", padding_table(data, update))
            for update in data.values("update")] + [
                ("a cache line between cpus", c2c_table(data))]


def render(data, what):
    """The Markdown for one NAME, or None: there is no such."""
    kind, _, rest = what.partition(":")
    if what == "machine":
        return uring_tables.machine_text(data)
    if what == "command":
        return f"    {data.manifest['command']} --out DIR"
    if what == "c2c":
        return c2c_table(data)
    if data.program == "queues" and what == "queues":
        return all_queues(data)
    if data.program == "queues" and kind == "queues":
        load, _, wait = rest.partition(",")
        return queues_table(data, load, wait) \
            if data.by_block(load=load, wait=wait) else None
    if data.program == "padding" and kind == "padding":
        return padding_table(data, rest) \
            if data.by_block(update=rest) else None
    return None
