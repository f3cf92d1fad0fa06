#!/usr/bin/python3
"""The report of a result set: one HTML page that needs nothing else.

  report.py [RESULTSET] [--out DIR]      build/results/latest, build/report
  report.py RESULTSET --also DIR ...     further sets, each in its own part;
                                         also of bench/micro_run.py
  report.py --compare A B                what two sets agree on

Print it from a browser for a paper.  Everything in it comes from the files of
the sets, but the ideas and sizes of the steps: those are of this tree.
"""

import os
import sys

import settings

if __name__ == "__main__":
    settings.alone()

import argparse

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))
sys.path.insert(0, os.path.join(ROOT, "plots"))

import inherit                     # noqa: E402
import micro_results               # noqa: E402
import results                     # noqa: E402
import summary as summaries        # noqa: E402
import compare                     # noqa: E402
import findings                    # noqa: E402
import flame_sets                  # noqa: E402
import page as pages               # noqa: E402
import pictures                    # noqa: E402
import steps                       # noqa: E402
from page import esc               # noqa: E402
from sets import Data              # noqa: E402

# Which pictures stand where; what is in none of them comes last.
SECTIONS = (
    ("latency", "Latency against load", ("latency",)),
    ("cost", "What a request costs", (
        "cpu", "steps", "heat", "paid", "predicted", "handlers", "connections",
        "syscalls")),
    ("speed", "How fast, and how slow the slowest", (
        "ladder", "p99", "tails")),
    ("uneven", "When work is uneven", ("skew",)),
    ("idle", "Idle connections", ("idle",)),
)


def section_of(name):
    for key, _, names in SECTIONS:
        if any(name == n or name.startswith(n + "-") for n in names):
            return key
    return "more"


def legend_of(sets):
    """Every server once, in the order of the sets."""
    found = {}
    for data in sets:
        for server in data.order:
            found.setdefault(server, (server, data.name(server),
                                      data.colours[server],
                                      data.marker(server)))
    return list(found.values())


def state_html(data):
    """The machine, and how the run went; what speaks against it stands out.
    """
    against = []
    if data.manifest.get("draft"):
        against.append("It is not to be quoted.")
    elif data.manifest["machine"]["git"]["dirty"]:
        against.append("The tree had changes that are not in the revision.")
    cls = "warn" if against or data.manifest["state"] != "complete" \
        else "soft"
    words = " ".join([summaries.state_text(data.manifest, data.summary),
                      *against])
    return (f"<p>{esc(pages.machine_line(data.manifest))}</p>"
            f'<p class="{cls}">{esc(words)}</p>')


def lead_html(sets):
    found = "".join(f"<li>{esc(text)}</li>" for text in
                    findings.leading(sets))
    return (f'<ol class="findings">{found}</ol>{state_html(sets[0])}'
            f'<p class="soft">{esc(summaries.method_text(sets[0].summary))} '
            f"Absolute figures belong to this machine on this day; CPU time "
            f"of a request and paired ratios are what carries over.</p>")


def fill(page, data, out, prefix=""):
    """The sections of a set; of a further one only its head is listed."""
    drawable, listed = pictures.figures_of(data), not prefix

    def add(name, heading, inside):
        page.section(prefix + name, heading, inside, listed)
    for key, heading, _ in SECTIONS:
        ours = [f for f in drawable if section_of(f.name) == key]
        add("part-" + key, heading, page.figures(data, ours, prefix))
        if key == "latency":
            add("steps-of-the-ladder", "The steps, one by one",
                pages.cards_html(steps.cards(data), data, out))
    rest = [f for f in drawable if section_of(f.name) == "more"]
    add("part-more", "More", page.figures(data, rest, prefix))
    add("tables", "All tables", pages.tables_html(data))
    add("peers", "What the peers were started with",
        pages.peers_html(data, out))


def heading_of(data):
    return (f"{data.title(next(iter(data.suites)))}: what was measured on "
            f"{data.manifest['machine']['when'][:10]}")


def build(sets, micro, out, burning=()):
    """The page of some sets, the first of which leads."""
    first = sets[0]
    page = pages.Page(
        "ioladder: " + first.manifest["name"],
        heading_of(first), lead_html(sets), legend_of(sets))
    fill(page, first, out)
    for number, data in enumerate(sets[1:], 1):
        prefix = f"set{number}-"
        page.section(prefix + "head", heading_of(data),
                     f"<p>Set {esc(data.manifest['name'])}.</p>"
                     + state_html(data))
        fill(page, data, out, prefix)
    for number, data in enumerate(micro, 1):
        micro_section(page, data, number)
    for number, directory in enumerate(burning):
        page.section("flames" + str(number or ""), "Where each stage spends "
                     "its CPU", flame_sets.section_html(directory))
    page.section("machine", "The machine and the build",
                 pages.facts_html(first.manifest))
    return page


def micro_section(page, data, number):
    """A set of micro-benchmarks: its picture and its tables."""
    import blocks_tables
    import uring_tables
    inside = f"<p>{esc(uring_tables.machine_text(data))}</p>"
    inside += page.figures(data, blocks_tables.figures_of(data),
                           f"micro{number}-")
    inside += "\n".join(
        f"<details><summary>{esc(head)}</summary>"
        f"{pages.table_html(text, head)}</details>"
        for head, text in blocks_tables.sections(data)
        if text.startswith("|"))
    page.section(f"micro{number}", f"Micro-benchmark: {data.program}", inside)


def load_set(path):
    if micro_results.is_set(path):
        raise results.ResultError(f"{path}: a set of micro-benchmarks; "
                                  f"--also takes it")
    loaded = results.load(path)
    if not loaded[2]["cells"]:
        raise results.ResultError(f"{path}: no measured cell")
    return Data(*loaded)


def load_micro(path):
    import blocks_tables
    manifest, _ = micro_results.load(path)
    if manifest["program"] not in micro_results.BLOCKS:
        raise results.ResultError(f"{path}: the report has no section for "
                                  f"{manifest['program']}")
    return blocks_tables.Data(path)


def write(page, out):
    os.makedirs(out, exist_ok=True)
    path = os.path.join(out, "index.html")
    results.write_text(path, page.text())
    print("report:", os.path.relpath(path))
    return 1 if page.lost else 0


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    p.add_argument("resultset", nargs="?",
                   default=results.default_directory(ROOT))
    p.add_argument("--out", default=os.path.join(ROOT, "build", "report"))
    p.add_argument("--also", action="append", default=[], metavar="DIR",
                   help="another result set, in sections of its own")
    p.add_argument("--compare", nargs=2, metavar=("A", "B"),
                   help="two result sets, side by side")
    args = p.parse_args(argv)
    try:
        if args.compare:
            page = compare.build(*map(load_set, args.compare))
        else:
            burning = [d for d in args.also if flame_sets.is_set(d)]
            sets = [load_set(args.resultset)] + [
                load_set(d) for d in args.also
                if d not in burning and not micro_results.is_set(d)]
            page = build(sets, [load_micro(d) for d in args.also
                                if micro_results.is_set(d)], args.out, burning)
        return write(page, args.out)
    except results.ResultError as err:
        print(f"report.py: {err}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    inherit.end_with_reader()
    sys.exit(main())
