"""One HTML page of everything: it needs no other file and no network."""

import html
import os
import re
import shlex
import sys

import summary as summaries

import svg
from sets import ROOT

NARROW, BROAD = 400, 1180
HERE = os.path.dirname(os.path.abspath(__file__))

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>
{css}{toggles}</style>
</head>
<body>
<header>
<h1>{heading}</h1>
{lead}
</header>
{legend}
<main>
{main}
</main>
<div id="tip" role="status" aria-live="polite" hidden></div>
<script>
{script}</script>
</body>
</html>
"""


def esc(text):
    return html.escape(str(text))


def own(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return f.read()


class Page:
    """What grows into a page: sections with an entry in the contents each."""

    def __init__(self, title, heading, lead, servers):
        """`servers`: [(server, name, colour, marker)] for the legend."""
        self.title, self.heading, self.lead = title, heading, lead
        self.servers, self.sections, self.lost = servers, [], []

    def section(self, name, heading, inside, listed=True):
        """`listed`: it stands in the contents."""
        if inside:
            self.sections.append((name, heading, inside, listed))

    def figures(self, data, drawable, prefix=""):
        """A grid of pictures; one that cannot be drawn costs no other."""
        parts = []
        for figure in drawable:
            try:
                parts.append(figure_html(figure, data, prefix))
            except Exception as reason:  # whatever it is, it is one picture
                name = prefix + figure.name
                self.lost.append(name)
                words = f"The picture {name} could not be drawn: {reason!r}"
                print(f"report.py: {words}", file=sys.stderr)
                parts.append(f'<figure id="{esc(name)}"><p>{esc(words)}</p>'
                             f"</figure>")
        if not parts:
            return ""
        return '<div class="cards">' + "\n".join(parts) + "</div>"

    def text(self):
        contents = "<nav aria-label=\"Contents\">" + "".join(
            f'<a href="#{name}">{esc(heading)}</a>'
            for name, heading, _, listed in self.sections
            if listed) + "</nav>"
        main = "\n".join(
            f'<section aria-labelledby="{name}"><h2 id="{name}">'
            f"{esc(heading)}</h2>\n{inside}</section>"
            for name, heading, inside, _ in self.sections)
        toggles = "".join(
            f'body.off-s{i} [data-server="{esc(server)}"] {{ display: none; '
            f"}}\n" for i, (server, *_) in enumerate(self.servers))
        return PAGE.format(
            title=esc(self.title), heading=esc(self.heading),
            lead=self.lead + contents, css=own("page.css"), toggles=toggles,
            legend=self.legend(), main=main, script=own("page.js"))

    def legend(self):
        if not self.servers:
            return ""
        buttons = []
        for i, (_, name, colour, marker) in enumerate(self.servers):
            pic = svg.Picture(14, 14)
            pic.mark(marker, 7, 7, 5, colour)
            icon = pic.text("").replace(' role="img" tabindex="0" '
                                        'aria-label=""', ' aria-hidden="true"')
            buttons.append(f'<button type="button" aria-pressed="true" '
                           f'data-of="s{i}">{icon}{esc(name)}</button>')
        return ('<div class="legend" role="group" aria-label="Show or hide '
                'servers">' + "".join(buttons) + "</div>")


def unique(text, name):
    """Ids are unique in a picture only; the pictures become one page."""
    text = re.sub(r'\bid="', f'id="{name}-', text)
    return text.replace("url(#", f"url(#{name}-")


def figure_html(figure, data, prefix=""):
    name = prefix + figure.name
    narrow = unique(figure.draw(NARROW).text(figure.title), name)
    pictures = narrow
    if figure.wide:
        broad = unique(figure.draw(BROAD).text(figure.title), name + "-broad")
        pictures = broad.replace("<svg ", '<svg class="broad" ', 1) + narrow
    tips = [html.unescape(t) for t in re.findall(r'data-tip="([^"]*)"',
                                                 narrow)]
    notes = summaries.notes_text(data.summary, figure.suite, figure.cells) \
        if "cells" in data.summary else ""
    parts = [f"<h3>{esc(figure.title)}</h3>", pictures,
             f'<p class="what">{esc(figure.what)}</p>']
    if notes:
        parts.append(f'<p class="notes">{esc(notes)}</p>')
    if tips:
        parts.append("<details><summary>The values in words</summary><ul>"
                     + "".join(f"<li>{esc(t)}</li>" for t in tips)
                     + "</ul></details>")
    again = repeat_words(data, figure)
    if again:
        parts.append(f"<details><summary>Repeat this</summary><p><code>"
                     f"{esc(again)}</code></p></details>")
    return (f'<figure id="{esc(name)}"{" class=wide" * figure.wide}>'
            + "".join(parts) + "</figure>")


def repeat_words(data, figure):
    """The command that measures a suite again as this set did."""
    part = next((p for p in data.manifest.get("plan", ())
                 if p["suite"] == figure.suite), None)
    if not part:
        return ""
    own_variants = part.get("variants") or {}
    servers = [n for n in data.order if n not in own_variants]
    words = ["python3", "bench/run.py", "--suite", figure.suite, "--servers",
             ",".join(servers), "--blocks", str(part["blocks"]), "--seconds",
             f"{part['seconds']:g}", "--warmup", f"{part['warmup']:g}"]
    for name, values in part["params"].items():
        words += ["--set", name + "=" + ",".join(map(str, values))]
    return " ".join(map(shlex.quote, words))


# --- tables and facts -----------------------------------------------------

def table_html(markdown, caption_text, cls=""):
    """A table of summary.py as HTML."""
    lines = [[c.strip() for c in line.strip("|").split("|")]
             for line in markdown.splitlines()]
    head, body = lines[0], lines[2:]
    out = [f'<div class="scroll" tabindex="0" role="region" '
           f'aria-label="{esc(caption_text)}"><table><caption>'
           f"{esc(caption_text)}</caption><thead><tr>"]
    out += [f'<th scope="col">{esc(c)}</th>' for c in head]
    out.append("</tr></thead><tbody>")
    for row in body:
        out.append("<tr>" + "".join(f"<td>{esc(c)}</td>" for c in row)
                   + "</tr>")
    out.append("</tbody></table></div>")
    return "".join(out)


def tables_html(data):
    """Every table of a set, folded."""
    out = []
    for suite, cells in data.suites.items():
        out.append(f"<details><summary>{esc(data.title(suite))}</summary>")
        for cell in cells:
            out.append(table_html(
                summaries.cell_table(data.summary, suite, cell),
                f"{suite}, {summaries.cell_text(cell)}"))
        slope = summaries.slope_table(data.summary, suite)
        if slope:
            out.append(table_html(slope, "memory for each connection"))
        notes = summaries.notes_text(data.summary, suite)
        if notes:
            out.append(f'<p class="notes">{esc(notes)}</p>')
        out.append("</details>")
    return "\n".join(out)


def facts(manifest):
    """[(name, text)] of what the figures depend on."""
    m, limits = manifest["machine"], manifest["machine"]["limits"]
    pairs = (m["core_to_core"] or {}).get("pairs") or []
    prices = (m.get("prices") or {}).get("prices") or {}
    found = [
        ("Date", m["when"]), ("CPU", m["cpu"]),
        ("Guest of", m["hypervisor"] or "none seen"),
        ("CPUs", f"{m['cpus']}; server {m['server_cpus']}, "
                 f"client {m['client_cpus']}"),
        ("A system call", f"{prices['syscall']['ns']:.0f} ns"
         if "ns" in prices.get("syscall", {}) else ""),
        ("Cache line, round trip", ", ".join(
            f"cpu {p['a']} and {p['b']}: {p['ns']:.0f} ns" for p in pairs)
            or (m["core_to_core"] or {}).get("missing", "not measured")),
        ("Kernel", f"Linux {m['kernel']}, {m['os']}"),
        ("Congestion control", limits["congestion_control"]),
        ("Descriptor limit", str(limits["nofile"][1])),
        ("Locked memory limit", str(limits["memlock_bytes"][0])),
        ("liburing", m["liburing"] or "none"),
        ("Peers", ", ".join(v for k, v in m["peers"].items()
                            if v and k in manifest["servers"])),
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
    rows = "".join(f'<tr><th scope="row">{esc(k)}</th><td>{esc(v)}</td></tr>'
                   for k, v in facts(manifest))
    return (f'<div class="scroll"><table class="facts"><tbody>{rows}</tbody>'
            f"</table></div>")


def peers_html(data, out):
    """What each peer was started with, from the set; of a set that does not
    hold it, the file."""
    parts = []
    for name in data.order:
        entry = data.manifest["servers"][name]
        if entry.get("kind") != "peer":
            continue
        heading = f"<summary>{esc(data.name(name))}</summary>"
        if "configuration" in entry:
            inside = f"<pre>{esc(entry['configuration'])}</pre>"
        else:
            folder = os.path.join("bench", "peers")
            inside = (f"<p>This set does not hold it; in this tree it is in "
                      f"{link(folder + '/', folder, out)}.</p>")
        parts.append(f"<details>{heading}{inside}</details>")
    return "".join(parts)


def link(words, path, out):
    """To a file of the tree, from a page in the folder `out`."""
    where = os.path.relpath(os.path.join(ROOT, path), out)
    return f'<a href="{esc(where)}">{esc(words)}</a>'


def machine_line(manifest):
    m = manifest["machine"]
    return (f"{m['cpu']}, {m['cpus']} cpus"
            + (f", {m['hypervisor']} guest" if m["hypervisor"] else "")
            + f", Linux {m['kernel']}, {m['when'][:10]}. Server on cpu "
            f"{', '.join(map(str, m['server_cpus']))}, client on cpu "
            f"{', '.join(map(str, m['client_cpus']))}, over loopback.")


def cards_html(cards, data, out):
    """A card for each step of the ladder."""
    found = []
    for card in cards:
        rows = "".join(f"<dt>{esc(k)}</dt><dd>{esc(v)}</dd>"
                       for k, v in card.facts)
        links = " ".join(link(words, path, out) for words, path in card.links
                         if os.path.exists(os.path.join(ROOT, path)))
        found.append(
            f'<article class="card" data-server="{esc(card.server)}">'
            f"<h3>{esc(data.name(card.base))} to "
            f"{esc(data.name(card.server))}</h3>"
            + (f"<p>{esc(card.idea)}</p>" if card.idea else "")
            + f"<dl>{rows}</dl><p>{links}</p></article>")
    return f'<div class="cards">{"".join(found)}</div>' if found else ""
