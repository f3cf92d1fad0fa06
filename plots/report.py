#!/usr/bin/python3
"""The report of a result set: one HTML page that needs nothing else, and a PDF.

  report.py [RESULTSET] [--out DIR]      build/results/latest, build/report
  report.py RESULTSET --also DIR ...     the figures of more sets, also of
                                         bench/micro_run.py queues, padding

The pictures are drawn once, in colours that the page's style sheet replaces,
so that the same drawing is light or dark with the reader's system.
"""

import os
import sys

import settings

if __name__ == "__main__":
    settings.alone()
    settings.with_matplotlib()

import argparse
import html
import re

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))
sys.path.insert(0, os.path.join(ROOT, "plots"))

import micro_results               # noqa: E402
import results                     # noqa: E402
import summary as summaries        # noqa: E402

# Stand-ins that no drawing uses otherwise; the style sheet gets them.
INK, FAINT = "#010203", "#040506"
CSS_OF = {INK: "var(--ink)", FAINT: "var(--line)"}
A4 = (8.27, 11.69)

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ --ink: #1b1f23; --soft: #5a636b; --line: #c9ced3;
  --ground: #ffffff; --raised: #f5f6f7; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e4e7ea; --soft: #9aa4ad; --line: #454d55;
    --ground: #14171a; --raised: #1d2125; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; padding: 1rem; max-width: 66rem;
  background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }}
h1 {{ font-size: 1.5rem; line-height: 1.2; margin: 0.5rem 0; }}
h2 {{ font-size: 1.1rem; margin: 1.5rem 0 0.3rem; }}
p {{ margin: 0.4rem 0; }}
.soft, figcaption {{ color: var(--soft); font-size: 0.9rem; }}
.figures {{ columns: 2 26rem; column-gap: 1.2rem; margin: 1.2rem 0; }}
figure {{ margin: 0 0 1.2rem; padding: 0.9rem;
  break-inside: avoid; background: var(--raised);
  border-radius: 6px; min-width: 0; }}
figure svg {{ display: block; width: 100%; height: auto; }}
figcaption {{ margin-top: 0.6rem; }}
details {{ margin-top: 0.5rem; }}
summary {{ cursor: pointer; font-size: 0.9rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 0.82rem; margin: 0.5rem 0;
  font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; font-weight: 600; padding: 0.2rem 0; }}
th, td {{ padding: 0.2rem 0.6rem; text-align: right;
  border-bottom: 1px solid var(--line); white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; }}
th {{ font-weight: 600; }}
.facts th {{ text-align: left; padding-left: 0; }}
.facts td {{ text-align: left; white-space: normal;
  overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{machine}</p>
<p>{state}</p>
<p class="soft">A mark is the median over the blocks, the band around it its
95&nbsp;% interval. {method} Absolute figures belong to this machine on this
day; CPU time of a request and paired ratios are what carries over.</p>
<div class="figures">
{figures}
</div>
{tables}
{more}
<h2>The machine and the build</h2>
<div class="wide">{facts}</div>
</body>
</html>
"""


def svg_of(figure, data, pyplot):
    """One figure as inline SVG whose greys are the page's."""
    fig = pyplot.figure(figsize=(figures.WIDTH, figure.height),
                        layout="constrained")
    figure.draw(fig)
    text = settings.svg_of(fig, transparent=True)
    pyplot.close(fig)
    text = text[text.index("<svg"):]
    # The page scales it: the size in points must not be a fixed one.
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    head += f' role="img" aria-label="{html.escape(figure.title)}"'
    text = head + ">" + rest
    for colour, css in CSS_OF.items():
        text = text.replace(colour, css)
    # Ids are unique in a file only; these files become one page.
    text = re.sub(r'\bid="', f'id="{figure.name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{figure.name}-", text)
    return text


def caption(figure, data):
    metric = {"latency": "p99_us", "files": "probe_p99_us"}.get(
        figure.suite, "cpu_us")
    if figure.name == "ladder":
        metric = "p99_us"
    if figure.suite in (*figures.UNEVEN, *figures.SKEW):
        metric = figures.fast(data.entries(figure.suite, figure.cells[-1]),
                              "p99")
    if figure.suite == "scaling":
        return "Universal Scalability Law: " + "; ".join(
            f"{data.name(s)}: {figures.law_text(data, s)}"
            for s in data.order if figures.scaling_points(data, s)) + "."
    if figure.suite == "idle" or figure.name == "syscalls":
        return ""
    cell = figure.cells[-1]
    if figure.suite == "files":   # where waiting for the disk shows
        cell = next((c for c in reversed(figure.cells)
                     if c.get("cache") == "cold"), cell)
    text = figures.sentence(data, figure.suite, cell, metric)
    if not text:
        return ""
    word = {"p99_us": "p99", "probe_p99_us": "p99 of /",
            "fast_p99_us": "p99 of the fast class",
            "cpu_us": "CPU time of a request"}[metric]
    if "idle" in cell:   # a crowd's few requests: their p99 is the question
        return ""
    where = f" at {figures.cell_words(cell)}" if len(figure.cells) > 1 else ""
    return f"{word}{where}: {text}"


def table_html(markdown, caption_text):
    """A table of summary.py as HTML."""
    lines = [[c.strip() for c in line.strip("|").split("|")]
             for line in markdown.splitlines()]
    head, body = lines[0], lines[2:]
    out = [f'<div class="wide"><table><caption>{html.escape(caption_text)}'
           f"</caption><thead><tr>"]
    out += [f"<th>{html.escape(c)}</th>" for c in head]
    out.append("</tr></thead><tbody>")
    for row in body:
        out.append("<tr>" + "".join(f"<td>{html.escape(c)}</td>"
                                    for c in row) + "</tr>")
    out.append("</tbody></table></div>")
    return "".join(out)


def tables_html(data):
    out = []
    for suite, cells in data.suites.items():
        out.append(f"<details><summary>Table: {html.escape(suite)}</summary>")
        for cell in cells:
            out.append(table_html(
                summaries.cell_table(data.summary, suite, cell),
                summaries.cell_text(cell)))
        slope = summaries.slope_table(data.summary, suite)
        if slope:
            out.append(table_html(slope, "memory for each connection"))
        notes = summaries.notes_text(data.summary, suite)
        if notes:
            out.append(f'<p class="soft">{html.escape(notes)}</p>')
        out.append("</details>")
    return "\n".join(out)


def facts(manifest):
    """[(name, text)] of what the figures depend on."""
    m, limits = manifest["machine"], manifest["machine"]["limits"]
    pairs = (m["core_to_core"] or {}).get("pairs") or []
    found = [
        ("Date", m["when"]), ("CPU", m["cpu"]),
        ("Guest of", m["hypervisor"] or "none seen"),
        ("CPUs", f"{m['cpus']}; server {m['server_cpus']}, "
                 f"client {m['client_cpus']}"),
        ("Cache line, round trip", ", ".join(
            f"cpu {p['a']} and {p['b']}: {p['ns']:.0f} ns" for p in pairs)
            or (m["core_to_core"] or {}).get("missing", "not measured")),
        ("Kernel", f"Linux {m['kernel']}, {m['os']}"),
        ("Congestion control", limits["congestion_control"]),
        ("Descriptor limit", str(limits["nofile"][1])),
        ("Locked memory limit", str(limits["memlock_bytes"][0])),
        ("liburing", m["liburing"] or "none"),
        ("Peers", ", ".join(v for v in m["peers"].values() if v)),
        ("Revision", f"{m['git']['revision'] or 'unknown'}"
                     + (", with changes" if m["git"]["dirty"] else "")),
        ("Mitigations", "; ".join(f"{k}: {v}" for k, v in
                                  (m["mitigations"] or {}).items())),
        ("Seed", str(manifest["seed"])),
    ]
    built = {s.get("compiled_with") for s in manifest["servers"].values()
             if s.get("compiled_with")}
    found += [("Compiled with", text) for text in sorted(built)]
    return [(k, v) for k, v in found if v]


def facts_html(manifest):
    rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td>"
                   f"</tr>" for k, v in facts(manifest))
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


def machine_line(manifest):
    m = manifest["machine"]
    return (f"{m['cpu']}, {m['cpus']} cpus"
            + (f", {m['hypervisor']} guest" if m["hypervisor"] else "")
            + f", Linux {m['kernel']}, {m['when'][:10]}. Server on cpu "
            f"{', '.join(map(str, m['server_cpus']))}, client on cpu "
            f"{', '.join(map(str, m['client_cpus']))}, over loopback.")


lost = []  # the names of pictures that could not be drawn


def not_drawn(name, reason):
    """The report goes on without a picture; says so, returns the words."""
    lost.append(name)
    words = f"The picture {name} could not be drawn: {reason!r}"
    print(f"report.py: {words}", file=sys.stderr)
    return words


def with_notes(figure, data):
    """What is seen, and what it must not be quoted without."""
    notes = summaries.notes_text(data.summary, figure.suite, figure.cells)
    return " ".join(filter(None, (caption(figure, data), notes)))


def figures_html(data, pyplot, prefix=""):
    parts = []
    for figure in drawable(data):
        name = prefix + figure.name
        try:
            text = "" if is_blocks(data) else with_notes(figure, data)
            figure.name = name
            inside = svg_of(figure, data, pyplot)
        except Exception as reason:  # whatever it is, it is one picture
            text, inside = not_drawn(name, reason), ""
        parts.append(f"<figure id=\"{name}\">{inside}"
                     + (f"<figcaption>{html.escape(text)}</figcaption>"
                        if text else "") + "</figure>")
    return "\n".join(parts)


def is_blocks(data):
    return isinstance(data, blocks_tables.Data)


def drawable(data):
    return (blocks_tables if is_blocks(data) else figures).figures_of(data)


def more_html(data, number, pyplot):
    """A further result set: its own machine line, figures and tables."""
    if is_blocks(data):
        title = f"micro-benchmark: {data.program}"
        words = uring_tables.machine_text(data)
        tables = "\n".join(
            f"<details><summary>Table: {html.escape(head)}</summary>"
            f"{table_html(text, head)}</details>"
            for head, text in blocks_tables.sections(data)
            if text.startswith("|"))
    else:
        title = data.manifest["name"]
        words = machine_line(data.manifest) + " " + summaries.state_text(
            data.manifest, data.summary)
        tables = tables_html(data)
    return (f"<h2>{html.escape(title)}</h2><p>{html.escape(words)}</p>"
            f'<div class="figures">'
            f'{figures_html(data, pyplot, f"set{number}-")}</div>{tables}')


def write_html(path, data, pyplot, more=()):
    page = PAGE.format(
        title=html.escape("ioladder: " + data.manifest["name"]),
        machine=html.escape(machine_line(data.manifest)),
        state=html.escape(summaries.state_text(data.manifest, data.summary)),
        method=html.escape(summaries.method_text(data.summary)),
        figures=figures_html(data, pyplot), tables=tables_html(data),
        more="\n".join(more_html(d, n, pyplot)
                       for n, d in enumerate(more, 1)),
        facts=facts_html(data.manifest))
    with open(path + ".tmp", "w", encoding="utf-8") as f:
        f.write(page)
    os.replace(path + ".tmp", path)


def page_of(page, rest, pyplot):
    """Figures on a sheet of paper, drawn as far as that can fail."""
    fig = pyplot.figure(figsize=A4, layout="constrained")
    heights = [1.25 * f.height + 0.3 for f in page]
    subs = fig.subfigures(len(page) + 1, 1, squeeze=False,
                          height_ratios=heights + [rest + 0.4], hspace=0.06)
    for sub, figure in zip(subs[:, 0], page):
        figure.draw(sub)
    fig.get_layout_engine().set(rect=(0.07, 0.03, 0.86, 0.94))
    fig.draw_without_rendering()
    return fig


def pages_drawn(drawn, pyplot):
    """A page with a picture that fails comes without that one."""
    for page, rest in pages_of(drawn):
        try:
            yield page_of(page, rest, pyplot)
            continue
        except Exception:
            pass
        for figure in page:
            try:
                yield page_of([figure], 10.0, pyplot)
            except Exception as reason:
                not_drawn(figure.name, reason)


def pages_of(drawn):
    """Groups figures into pages of paper, in order."""
    page, used, room = [], 0, 10.0
    for figure in drawn:
        tall = 1.25 * figure.height + 0.3
        if page and used + tall > room:
            yield page, room - used
            page, used = [], 0
        page.append(figure)
        used += tall
    if page:
        yield page, room - used


def write_pdf(path, data, pyplot, more=()):
    from matplotlib.backends.backend_pdf import PdfPages
    with PdfPages(path + ".tmp", metadata={
            "Title": "ioladder: " + data.manifest["name"]}) as pdf:
        text_page(pdf, pyplot, data, front_text(data), 8)
        drawn = [f for d in (data, *more) for f in drawable(d)]
        for fig in pages_drawn(drawn, pyplot):
            pdf.savefig(fig)
            pyplot.close(fig)
        for text in table_pages(data):
            text_page(pdf, pyplot, data, text, 6)
        for each in more:
            for text in blocks_pages(each) if is_blocks(each) \
                    else table_pages(each):
                text_page(pdf, pyplot, each, text, 6)
    os.replace(path + ".tmp", path)


def blocks_pages(data):
    yield "\n".join(line for head, text in blocks_tables.sections(data)
                    for line in (head, "", *text.splitlines(), "", ""))


def front_text(data):
    out = [machine_line(data.manifest), "",
           summaries.state_text(data.manifest, data.summary), ""]
    out += [f"{k}: {v}" for k, v in facts(data.manifest)]
    return "\n".join(out)


def table_pages(data, limit=88):
    """The tables as text, a page at a time."""
    page = []
    for suite, cells in data.suites.items():
        for cell in cells:
            block = [f"{suite}, {summaries.cell_text(cell)}", ""]
            block += summaries.cell_table(data.summary, suite,
                                          cell).splitlines() + ["", ""]
            if page and len(page) + len(block) > limit:
                yield "\n".join(page)
                page = []
            page += block
        slope = summaries.slope_table(data.summary, suite)
        if slope:
            page += ["memory for each connection", "",
                     *slope.splitlines(), "", ""]
    if page:
        yield "\n".join(page)


def text_page(pdf, pyplot, data, text, size):
    import textwrap
    fig = pyplot.figure(figsize=A4)
    name = data.manifest.get("name") or data.manifest["program"]
    fig.text(0.07, 0.955, "ioladder: " + name, fontsize=13,
             fontweight="bold", va="top")
    wide = int(900 / size)
    lines = [w for line in text.splitlines()
             for w in (textwrap.wrap(line, wide, subsequent_indent="  ",
                                     drop_whitespace=False)
                       if len(line) > wide else [line])]
    fig.text(0.07, 0.92, "\n".join(lines), fontsize=size, va="top",
             family="monospace", linespacing=1.35)
    pdf.savefig(fig)
    pyplot.close(fig)


def load_more(path, theme):
    if not micro_results.is_set(path):
        return figures.Data(*results.load(path), theme)
    manifest, _ = micro_results.load(path)
    if manifest["program"] not in micro_results.BLOCKS:
        raise results.ResultError(f"{path}: the report has no section for "
                                  f"{manifest['program']}")
    return blocks_tables.Data(path, theme)


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    p.add_argument("resultset", nargs="?",
                   default=results.default_directory(ROOT))
    p.add_argument("--out", default=os.path.join(ROOT, "build", "report"))
    p.add_argument("--also", action="append", default=[], metavar="DIR",
                   help="another result set, in sections of its own")
    args = p.parse_args(argv)
    try:
        loaded = results.load(args.resultset)
    except results.ResultError as err:
        print(f"report.py: {err}", file=sys.stderr)
        return 1
    if not loaded[2]["cells"]:
        print(f"report.py: {args.resultset}: no measured cell",
              file=sys.stderr)
        return 1
    settings.with_matplotlib()
    from matplotlib import pyplot
    global figures, blocks_tables, uring_tables
    import blocks_tables
    import figures
    import uring_tables
    os.makedirs(args.out, exist_ok=True)
    page = os.path.join(args.out, "index.html")
    paper = os.path.join(args.out, "report.pdf")
    css = figures.Theme(INK, FAINT, "none")
    try:
        more = [[load_more(path, theme) for path in args.also]
                for theme in (css, figures.LIGHT)]
    except results.ResultError as err:
        print(f"report.py: {err}", file=sys.stderr)
        return 1
    write_html(page, figures.Data(*loaded, css), pyplot, more[0])
    write_pdf(paper, figures.Data(*loaded), pyplot, more[1])
    for path in (page, paper):
        print("report:", os.path.relpath(path))
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
