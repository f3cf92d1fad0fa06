#!/usr/bin/python3
"""Figures for the docs, taken from committed result sets and from nowhere else.

  tables.py RESULTSET --what NAME ...    prints Markdown
  tables.py --write [FILE ...]           fills the docs' markers
  tables.py --check [FILE ...]           fails where a doc says anything else

In a document, between

  <!-- figure:NAME RESULTSET -->
  <!-- /figure -->

stands what RESULTSET (from the repository's root) gives for NAME:

  keepalive                    the tables of a suite, one for each cell
  keepalive,connections=64     the table of one cell
  ratios:keepalive,connections=64    every paired comparison of that cell
  step:keepalive,stage2/stage1  one step of the ladder, a row for each cell
  slope:idle                   memory for each connection
  law:scaling                  the Universal Scalability Law, where it fits
  whatif                       a line for each variant, against its stage
  said                         what is said of it, and whether the set agrees
  faults:4-recv-fixed          page faults of a variant, and CPU without them
  decisions                    the decision table, from the newest sets of a
                               folder: decisions.py
  machine                      what it was measured on
  model                        predicted from prices, beside what was measured
  image:cpu                    a picture of the report, as docs/img/SET-cpu.svg:
                               cpu, heat, paid, latency, tails, syscalls, ...
  bars:cost,SUITE,FILTER       a picture with its finding as title: cost, tail
                               (of one cell), idle or held (see bars.py)
  timeline:3                   the recording of stage 3: make timeline
  flame:3                      stacks of stage 3 beside stage 2, from the newest
                               set of bench/flames.py in a folder
  scale:memory                 a table of bench/scale.py
  beside:ladder,SET            the suite, beside the same one of another set
  added:hop                    what each server adds to the reference
  twins:SUITE                  each stage N beside N-off, built without a part
  mistake:limit                what a mistake of measuring.md does: mistakes.py
  claims, headline, thresholds
                               from the newest sets of a folder: claims_page.py

A set of bench/micro_run.py gives what uring_tables.py or blocks_tables.py
says, one of bench/simulate.py what simulated.py says.
"""

import os
import sys

import settings

if __name__ == "__main__":
    settings.alone()

import argparse
import glob
import re

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))
sys.path.insert(0, os.path.join(ROOT, "plots"))

import inherit                     # noqa: E402
import micro_results               # noqa: E402
import model                       # noqa: E402
import results                     # noqa: E402
import scale                       # noqa: E402
import simulate                    # noqa: E402
import summary as summaries        # noqa: E402
import bars                        # noqa: E402
import beside                      # noqa: E402
import blocks_tables               # noqa: E402
import claims_page                 # noqa: E402
import decisions                   # noqa: E402
import flame_sets                  # noqa: E402
import kernel_memory               # noqa: E402
import mistakes                    # noqa: E402
import pictures                    # noqa: E402
import simulated                   # noqa: E402
import timeline                    # noqa: E402
import uring_tables                # noqa: E402
import whatif                      # noqa: E402
from sets import Data              # noqa: E402

OPEN = re.compile(r"^<!-- figure:(\S+) (\S+) -->$")
CLOSE = "<!-- /figure -->"
IMAGES = os.path.join("docs", "img")
IMAGE_WIDTH = 740


class DocError(Exception):
    """A marker that cannot be filled, and why."""


def select(data, what):
    """'keepalive,connections=64' -> (suite, [cells])"""
    suite, *filters = what.split(",")
    if suite not in data.suites:
        raise DocError(f"the result set has no suite {suite!r}")
    cells = data.suites[suite]
    for text in filters:
        name, _, value = text.partition("=")
        value = results.number_or_word(value)
        cells = [c for c in cells if c.get(name) == value]
    if not cells:
        raise DocError(f"no cell of {suite} is {','.join(filters)}")
    return suite, cells


def worth_a_row(data, server, base):
    """Each pair once: stages over peers, later stages over earlier ones."""
    peers = [data.manifest["servers"][n]["kind"] == "peer"
             for n in (server, base)]
    if peers[0] != peers[1]:
        return peers[1]
    return data.order.index(server) > data.order.index(base)


def ratio_table(data, suite, cell):
    words = {"cpu_us": "CPU", "qps": "requests/s", "p50_us": "p50",
             "p99_us": "p99", "probe_p99_us": "p99 of /",
             "system_cpu_us": "whole system CPU",
             "spent_us": "whole system CPU without the client's spinning",
             "fast_p50_us": "fast p50",
             "fast_p90_us": "fast p90", "fast_p99_us": "fast p99"}
    body, pairs = [], []
    for c in data.summary["comparisons"]:
        if c["suite"] == suite and c["cell"] == cell:
            pair = c["server"], c["base"]
            if pair not in pairs and worth_a_row(data, *pair):
                pairs.append(pair)
    shown = ["cpu_us", "qps", "p99_us"]
    if suite == "files":
        shown.append("probe_p99_us")
    if any(c["metric"] == "fast_p99_us" and c["suite"] == suite
           for c in data.summary["comparisons"]):
        shown = ["fast_p50_us", "fast_p90_us", "fast_p99_us", "cpu_us"]
    for server, base in pairs:
        body.append([f"{data.name(server)} / {data.name(base)}"] + [
            summaries.ratio_text(summaries.find(
                data.summary["comparisons"], suite=suite, cell=cell,
                metric=m, server=server, base=base)) for m in shown])
    if not body:
        raise DocError(f"{suite}: nothing was compared")
    return summaries.table(["paired ratio"] + [words[m] for m in shown],
                           body)


def step_table(data, what):
    """One step of the ladder: 'keepalive,stage2/stage1'."""
    suite, _, pair = what.rpartition(",")
    server, slash, base = pair.partition("/")
    suite, cells = select(data, suite)
    body = []
    for cell in cells:
        row = [summaries.cell_text(cell)]
        for metric in ("cpu_us", "qps", "p99_us"):
            row.append(summaries.ratio_text(summaries.find(
                data.summary["comparisons"], suite=suite, cell=cell,
                metric=metric, server=server, base=base)))
        body.append(row)
    if not slash or all(c == "-" for row in body for c in row[1:]):
        raise DocError(f"{suite}: {pair!r} was not compared")
    return with_notes(data, summaries.table(
        [f"{data.name(server)} / {data.name(base)}", "CPU", "requests/s",
         "p99"], body), suite, cells)


def law_table(data):
    servers = [s for s in data.order if pictures.scaling_points(data, s)]
    if not servers:
        raise DocError("the result set has no suite 'scaling'")
    return summaries.table(
        ["server", "Universal Scalability Law"],
        [[data.name(s), pictures.law_text(data, s)] for s in servers])


def machine_text(data):
    m = data.manifest["machine"]
    dirty = ", with changes" if m["git"]["dirty"] else ""
    return (f"{m['cpu']}, {m['cpus']} cpus"
            + (f" ({m['hypervisor']} guest)" if m["hypervisor"] else "")
            + f", Linux {m['kernel']}, congestion control "
            f"{m['limits']['congestion_control']}, "
            f"liburing {m['liburing']}, {m['when'][:10]}, revision "
            f"{(m['git']['revision'] or 'unknown')[:12]}{dirty}. "
            + summaries.state_text(data.manifest, data.summary))


def module_of(data):
    """Who knows the tables and pictures of this kind of set."""
    for module in (uring_tables, blocks_tables, simulated):
        if isinstance(data, module.Data):
            return module
    return None


def find_figure(data, name):
    source = module_of(data) or pictures
    drawable = {f.name: f for f in source.figures_of(data)}
    if name not in drawable:
        raise DocError(f"the result set gives no picture {name!r}; it gives "
                       f"{', '.join(drawable)}")
    return drawable[name]


def image_path(directory, name):
    base = os.path.basename(os.path.normpath(directory))
    return os.path.join(IMAGES, f"{base}-{name}.svg")


def image_text(figure):
    """A picture as a file: its title is its finding."""
    return figure.draw(IMAGE_WIDTH).file(figure.title, figure.what)


def with_notes(data, text, suite, cells):
    """What a figure must not be quoted without stands under it."""
    notes = summaries.notes_text(data.summary, suite, cells)
    return f"{text}\n\n{notes}" if notes else text


def render(data, what):
    """The Markdown for one NAME that is no picture."""
    kind, _, rest = what.partition(":")
    if module_of(data):
        text = module_of(data).render(data, what)
        if text is None:
            raise DocError(f"the result set gives no {what!r}")
        return text
    if what == "machine":
        return machine_text(data)
    if what == "model":
        try:
            return model.markdown(data.manifest, data.rows, data.summary)
        except model.Missing as err:
            raise DocError(str(err)) from None
    if what == "law:scaling":
        return law_table(data)
    if what in ("whatif", "said") or kind == "faults":
        return what_if_text(data, kind, rest)
    if kind == "step":
        return step_table(data, rest)
    if kind == "mistake":
        return mistake_text(data, rest)
    if kind == "slope":
        table = summaries.slope_table(data.summary, rest)
        if not table:
            raise DocError(f"no slope in {rest!r}")
        return with_notes(data, table, rest, None)
    if kind in ("added", "twins"):
        suite, cells = select(data, rest)
        write = beside.added if kind == "added" else beside.twins
        try:
            return with_notes(data, write(data, suite, cells), suite, cells)
        except beside.Apart as err:
            raise DocError(str(err)) from None
    suite, cells = select(data, rest if kind == "ratios" else what)
    parts = []
    for cell in cells:
        if len(cells) > 1:
            parts.append(summaries.cell_text(cell) + ":")
        parts.append(ratio_table(data, suite, cell) if kind == "ratios"
                     else summaries.cell_table(data.summary, suite, cell))
    return with_notes(data, "\n\n".join(parts), suite, cells)


def what_if_text(data, kind, name):
    try:
        if kind == "said":
            return whatif.said(data)
        if kind == "faults":
            return whatif.faults(data, name)
        text, notes = whatif.table(data), whatif.notes(data)
    except whatif.Incomplete as err:
        raise DocError(str(err)) from None
    return f"{text}\n\n{notes}" if notes else text


def mistake_text(data, name):
    if name not in mistakes.FIGURES:
        raise DocError(f"mistakes.py has no {name!r}, only "
                       f"{', '.join(mistakes.FIGURES)}")
    try:
        return mistakes.FIGURES[name](data)
    except mistakes.Missing as err:
        raise DocError(f"mistake {name}: the set has {err}") from None


def load_micro(directory):
    manifest, _ = micro_results.load(directory)
    if manifest["program"] == micro_results.NAME:
        return uring_tables.Data(directory)
    return blocks_tables.Data(directory)


def load(directory, cache):
    if directory not in cache and micro_results.is_set(directory):
        cache[directory] = load_micro(directory)
    elif directory not in cache and simulate.is_set(directory):
        cache[directory] = simulated.Data(directory)
    elif directory not in cache:
        cache[directory] = Data(*results.load(directory))
    return cache[directory]


def filled(path, root, write, cache):
    """The text of a document with every block as its result set has it."""
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    out, number = [], 0
    while number < len(lines):
        line = lines[number]
        out.append(line)
        number += 1
        match = OPEN.match(line)
        if not match:
            if line.startswith("<!-- figure:"):
                raise DocError(f"line {number}: not '<!-- figure:NAME "
                               f"RESULTSET -->'")
            continue
        start = number
        while number < len(lines) and lines[number] != CLOSE:
            number += 1
        if number == len(lines):
            raise DocError(f"line {start}: no {CLOSE} follows")
        what, directory = match.groups()
        try:
            out.append(block(path, root, what, directory, write, cache))
        except DocError as err:
            raise DocError(f"line {start}: {err}") from None
    return "\n".join(out)


def own_picture(path, root, image, picture, title, write):
    """A picture that is a function of its data: written, or compared."""
    there = None
    if os.path.exists(image):
        with open(image, encoding="utf-8") as f:
            there = f.read()
    if write and there != picture:
        os.makedirs(os.path.dirname(image), exist_ok=True)
        with open(image, "w", encoding="utf-8") as f:
            f.write(picture)
    elif there is None:
        raise DocError(f"{os.path.relpath(image, root)} is missing")
    elif there != picture:
        raise DocError(f"{os.path.relpath(image, root)} was drawn from other "
                       f"data")
    link = os.path.relpath(image, os.path.dirname(path) or ".")
    return f"![{title}]({link})"


def timeline_block(path, root, stage, directory, write):
    """The recording of one stage."""
    try:
        data = timeline.load(os.path.join(root, directory,
                                          f"stage{stage}.json"))
    except timeline.Malformed as err:
        raise DocError(str(err)) from None
    image = os.path.join(root, image_path(directory, f"stage{stage}"))
    return own_picture(path, root, image, timeline.draw(data),
                       timeline.title_of(data), write)


def bars_block(path, root, what, directory, write, data):
    """'cost,keepalive,connections=64', 'tail,show-sleep', 'idle,idle' or
    'held,idle,SET'."""
    kind, _, rest = what.partition(",")
    if kind not in ("cost", "tail", "idle", "held"):
        raise DocError(f"no bars {kind!r}; there are cost, tail, idle and held")
    more = None
    if kind == "held":
        rest, _, kernel = rest.partition(",")
        more = kernel_memory.load(os.path.join(root, "bench", "results",
                                               kernel))
    suite, cells = select(data, rest)
    if kind in ("cost", "tail"):
        if len(cells) != 1:
            raise DocError(f"{rest!r} is {len(cells)} cells; bars show one")
        more = cells[0]
    title, picture = bars.make(data, kind, suite, more)
    name = "bars-" + re.sub(r"[^\w]+", "-", what)
    return own_picture(path, root, os.path.join(root, image_path(
        directory, name)), picture, title, write)


def beside_block(root, what, directory, data, cache):
    """'ladder,SET': SET, from the same folder on, is the one that is known."""
    suite, _, other = what.partition(",")
    if not other:
        raise DocError(f"beside:{what} names no second set")
    known = os.path.join(os.path.dirname(directory), other)
    try:
        return beside.text(load(os.path.join(root, known), cache), data,
                           (known, directory), suite)
    except beside.Apart as err:
        raise DocError(str(err)) from None


def scale_block(root, name, directory):
    """Made from the sets that scale.py names; the marker names the first."""
    if name not in scale.TABLES:
        raise DocError(f"scale.py has no table {name!r}, only "
                       f"{', '.join(scale.TABLES)}")
    if directory != scale.SETS["memory"]:
        raise DocError(f"scale.py reads {scale.SETS['memory']}")
    return scale.render(name, root) + "\n"


def block(path, root, what, directory, write, cache):
    if what.startswith("timeline:"):
        return timeline_block(path, root, what.partition(":")[2], directory,
                              write)
    if what.startswith("scale:"):
        return scale_block(root, what.partition(":")[2], directory)
    if what == "decisions":
        return decisions.block(directory, root)

    def show(image, picture, title):
        return own_picture(path, root, os.path.join(root, image), picture,
                           title, write)
    if what in ("claims", "headline", "thresholds"):
        return claims_page.block(what, directory, root, show)
    if what.startswith("flame:"):
        return flame_sets.block(directory, root, what.partition(":")[2], show)
    data = load(os.path.join(root, directory), cache)
    if data.manifest.get("draft"):
        raise DocError(f"{directory} is a draft: it was measured on a tree "
                       f"with changes")
    if what.startswith("beside:"):
        return beside_block(root, what.partition(":")[2], directory, data,
                            cache)
    if what.startswith("bars:"):
        return bars_block(path, root, what.partition(":")[2], directory, write,
                          data)
    if what.startswith("image:"):
        name = what.partition(":")[2]
        found = find_figure(data, name)
        text = own_picture(path, root, os.path.join(root, image_path(
            directory, name)), image_text(found), found.title, write)
        return text if module_of(data) else with_notes(
            data, text, found.suite, found.cells)
    return render(data, what)


def default_files(root):
    found = [os.path.join(root, "README.md")]
    for pattern in ("docs/*.md", "stages/*/README.md", "bench/*.md"):
        found += sorted(glob.glob(os.path.join(root, pattern)))
    return [path for path in found if os.path.exists(path)]


def over_documents(files, root, write):
    bad, cache = 0, {}
    for path in files:
        name = os.path.relpath(path, root)
        try:
            text = filled(path, root, write, cache)
        except (DocError, results.ResultError, OSError) as err:
            print(f"tables.py: {name}: {err}", file=sys.stderr)
            bad += 1
            continue
        with open(path, encoding="utf-8") as f:
            old = f.read()
        if text == old:
            continue
        if write:
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            print(f"tables.py: {name}: filled")
        else:
            print(f"tables.py: {name}: differs from its result set; run "
                  f"plots/tables.py --write", file=sys.stderr)
            bad += 1
    return 1 if bad else 0


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0],
                                usage="tables.py RESULTSET --what NAME ... | "
                                      "--write | --check [FILE ...]")
    p.add_argument("names", nargs="*", metavar="RESULTSET or FILE")
    p.add_argument("--what", nargs="+", metavar="NAME")
    p.add_argument("--write", action="store_true")
    p.add_argument("--check", action="store_true")
    p.add_argument("--root", default=ROOT, help="the repository's root")
    args = p.parse_args(argv)
    if args.write or args.check:
        if args.what or args.write == args.check:
            p.error("--write, --check and --what exclude each other")
        files = args.names or default_files(args.root)
        return over_documents(files, args.root, args.write)
    if len(args.names) != 1 or not args.what:
        p.error("a result set and --what, or --write, or --check")
    try:
        data = load(args.names[0], {})
        for what in args.what:
            if what.startswith("image:"):
                print(image_text(find_figure(data, what[6:])))
            else:
                print(render(data, what) + "\n")
    except (DocError, results.ResultError) as err:
        print(f"tables.py: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    inherit.end_with_reader()
    sys.exit(main())
