"""A row for each server: every slice a faint dot, its median in front."""

import summary as summaries

import svg
from sets import amount, tick

ROW = 30
DOT = 2.2


class Row:
    """`triple`: median and interval, or None; `dots`: the slices; `hollow`:
    what it says is not certain."""

    def __init__(self, server, name, colour, marker, triple, dots=(), text="",
                 hollow=False):
        self.server, self.name, self.colour = server, name, colour
        self.marker, self.triple, self.dots = marker, triple, list(dots)
        self.text, self.hollow = text, hollow

    def values(self):
        found = [v for v in self.triple or () if v is not None]
        return found + self.dots


def rows_of(data, suite, cell, metric, unit):
    """The rows of a cell's servers, with the slices behind them."""
    found = []
    for e in data.entries(suite, cell):
        server, triple = e["server"], e["metrics"].get(metric)
        dots = [r["metrics"][metric] for r in data.slices(suite, cell, server)
                if r["metrics"].get(metric) is not None]
        found.append(Row(server, data.name(server), data.colours[server],
                         data.marker(server), triple, dots,
                         amount(triple[0], unit) if triple
                         else "not resolved"))
    return found


def tip_of(row, unit):
    if not row.triple or row.triple[1] is None:
        return f"{row.name}: {row.text}"
    low, high = (amount(v, unit) for v in row.triple[1:])
    return f"{row.name}: {row.text} (95 %: {low} to {high})"


def clip(values, share=8.0):
    """The highest value that the axis shows: one wild slice must not squeeze
    all the others together."""
    middle = sorted(values)[len(values) // 2]
    return max(min(max(values), middle * share), middle)


def draw(rows, unit, width, log=False, base=None):
    """`base`: a line there, as 1 for ratios."""
    left = max(svg.wide(r.name) for r in rows) + 12
    right = max(svg.wide(r.text) for r in rows) + 16
    medians = [r.triple[0] for r in rows if r.triple]
    seen = [v for r in rows for v in r.values()] + ([base] if base else [])
    pic = svg.Picture(width, 12 + ROW * len(rows) + 26)
    bottom = 6 + ROW * len(rows)
    if not medians:
        pic.label(left, 24, "not measured", style="soft")
        return pic
    if log:
        seen = [v for v in seen if v > 0]
        x = svg.log_scale(seen, left + 8, width - right)
    elif base:
        spread = max([0.05, *(abs(v - base) for v in seen)])
        x = svg.Linear(base - 1.05 * spread, base + 1.05 * spread, left + 8,
                       width - right)
    else:
        top = max(max(medians), clip(seen))
        x = svg.Linear(0, top * 1.03, left, width - right)
    count = max(3 if base else 2, int((width - left - right) / 62))
    pic.grid_x(x, 6, bottom, lambda v: tick(v, unit), count)
    if base:
        pic.down(x(base), 4, bottom, "one")
    for place, row in enumerate(rows):
        draw_row(pic, row, 6 + ROW * (place + 0.5), x, unit, left, width)
    return pic


def draw_row(pic, row, y, x, unit, left, width):
    pic.open(row.server)
    pic.label(left - 8, y + 4, row.name, "end")
    high = x.high
    for number, value in enumerate(row.dots):
        aside = ((number * 7) % 5 - 2) * 2.2     # so that equals are seen
        if x.low <= value <= high:
            pic.mark("circle", x(value), y + aside, DOT, row.colour,
                     fill_opacity=0.35)
        elif value > high:
            pic.mark("diamond", x.b + 3, y + aside, DOT, row.colour,
                     f"{row.name}: a slice at {amount(value, unit)}")
    if row.triple:
        mid, low, top = row.triple
        if low is not None:
            pic.across(x(max(low, x.low)), x(min(top, high)), y, "",
                       stroke=row.colour, stroke_width=5, stroke_opacity=0.4)
        pic.mark(row.marker, x(min(mid, high)), y, 5, row.colour,
                 tip_of(row, unit), row.hollow)
    pic.label(width, y + 4, row.text, "end")
    pic.close()


def ratio_rows(data, pairs):
    """[(server, name, comparison)] -> rows that say how certain they are."""
    found = []
    for server, name, c in pairs:
        sure = c["verdict"] in ("lower", "higher")
        found.append(Row(server, name, data.colours[server],
                         data.marker(server),
                         [c["ratio"], c["low"], c["high"]], (),
                         summaries.ratio_number(c["ratio"]), not sure))
    return found
