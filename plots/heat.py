"""Squares of paired ratios.

Blue is less, orange is more, the stronger the further from 1; grey is what the
interval does not decide, hatched where the generator was the limit.
"""

import math

import stats_math
import summary as summaries

import svg
from sets import cell_words, decided, fast, without

TALL, HEAD, LEAST = 30, 18, 32
LESS, MORE, GREY = (47, 127, 214), (217, 115, 22), "#8c959f"


class Squares:
    """`rows` and `columns`: [(label, key)]; `found`: {(row key, column key):
    (what it is, comparison or None)}; `servers`: whose a row is."""

    def __init__(self, name, rows, columns, found, servers=None):
        self.name, self.rows, self.columns = name, rows, columns
        self.found, self.servers = found, servers or {}

    def turned(self):
        return Squares(self.name, self.columns, self.rows,
                       {(c, r): what for (r, c), what in self.found.items()},
                       self.servers)

    def comparisons(self):
        return [c for _, c in self.found.values() if c]


def colour(ratio):
    """(fill, opacity) of a decided ratio; a factor of 2 is full."""
    strength = min(1.0, abs(math.log2(ratio))) if ratio > 0 else 1.0
    r, g, b = LESS if ratio < 1 else MORE
    return f"rgb({r},{g},{b})", 0.25 + 0.65 * strength


def pairs(data):
    """Neighbours among the stages: (server, base)."""
    stages = [s for s in data.order if s.startswith("stage")]
    return list(zip(stages[1:], stages))


def steps(data, suite, metric):
    """Each stage to the one before it, in every cell over connections."""
    cells = sorted((c for c in data.suites[suite] if "connections" in c),
                   key=lambda c: (c.get("handler", 0), c["connections"]))
    columns = [((f"{c['handler']} us, " if "handler" in c else "")
                + f"{c['connections']:,}", summaries.cell_key(c))
               for c in cells]
    rows = [(f"{server[-1]} / {base[-1]}", server)
            for server, base in pairs(data)]
    found = {(server, summaries.cell_key(c)): (
        f"{data.name(server)} / {data.name(base)}, {summaries.cell_text(c)}",
        data.ratio(suite, c, metric, server, base))
        for server, base in pairs(data) for c in cells}
    return Squares(f"{suite}-{metric}", rows, columns, found,
                   {server: server for _, server in rows})


def uneven(data, suite, cells):
    """p99 of stage 6 to stage 5: a row for each kind of work and place, a
    column for each load."""
    rows, loads, found = {}, {}, {}
    told = [name for name in cells[0] if name != "load"
            and len({str(c.get(name)) for c in cells}) > 1]
    for cell in cells:
        key = summaries.cell_key(without(cell, "load"))
        rows[key] = ", ".join(str(cell[name]) for name in told) or "p99"
        loads[cell["load"]] = True
        metric = fast(data.entries(suite, cell), "p99")
        found[key, cell["load"]] = (
            f"stage 6 / stage 5, {cell_words(cell)}",
            data.ratio(suite, cell, metric, "stage6", "stage5"))
    return Squares(suite, [(words, key) for key, words in rows.items()],
                   [(f"{100 * load:.0f} %", load) for load in sorted(loads)],
                   found)


def room_of(squares, width):
    """(width of the rows' labels, of a column, what a column has to spare)"""
    left = max(svg.wide(label) for label, _ in squares.rows) + 10
    room = (width - left) / len(squares.columns)
    texts = [label for label, _ in squares.columns] + [
        summaries.ratio_number(c["ratio"]) for c in squares.comparisons()]
    return left, room, room - max(LEAST, 4 + max(map(svg.wide, texts)))


def draw(squares, width):
    """Turned where the columns would be too narrow for their numbers."""
    each = max((squares, squares.turned()), key=lambda s: min(
        0, room_of(s, width)[2]))
    left, room, _ = room_of(each, width)
    pic = svg.Picture(width, HEAD + 6 + TALL * len(each.rows) + 4)
    pic.add(f'<defs><pattern id="hatch-{each.name}" width="6" height="6" '
            'patternTransform="rotate(45)" patternUnits="userSpaceOnUse">'
            f'<rect width="3" height="6" fill="{GREY}"/></pattern></defs>')
    for place, (label, _) in enumerate(each.columns):
        pic.label(left + room * (place + 0.5), HEAD, label, "middle", "soft")
    for row, (label, of_row) in enumerate(each.rows):
        y = HEAD + 6 + TALL * row
        pic.label(0, y + TALL / 2 + 4, label)
        for place, (_, of_column) in enumerate(each.columns):
            pic.open(each.servers.get(of_row) or each.servers.get(of_column))
            square(pic, each, (of_row, of_column), left + room * place, y,
                   room)
            pic.close()
    return pic


def square(pic, squares, key, x, y, room):
    name, c = squares.found.get(key, ("", None))
    frame = x + 1, y + 1, room - 2, TALL - 2
    if not c:
        pic.box(*frame, f"{name}: not measured" if name else "", fill="none",
                stroke=GREY, stroke_opacity=0.4)
        return
    tip = f"{name}: {summaries.ratio_text(c)}"
    if decided(c):
        paint, opacity = colour(c["ratio"])
        pic.box(*frame, tip, fill=paint, fill_opacity=f"{opacity:.2f}")
    else:
        limited = c["verdict"] == stats_math.CLIENT
        pic.box(*frame, tip, fill=f"url(#hatch-{squares.name})" if limited
                else GREY, fill_opacity=0.35)
    pic.label(x + room / 2, y + TALL / 2 + 4,
              summaries.ratio_number(c["ratio"]), "middle")
