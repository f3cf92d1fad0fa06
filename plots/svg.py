"""Drawing in SVG: scales, axes, marks and labels that keep apart.

A picture is a function of its data: the same data give the same bytes.  What
is a reader's choice (light or dark, which servers) is left to classes: `ink`,
`soft`, `faint` for what is no data, data-server for what belongs to a server.
Text stays text.  A mark with data-tip says what it is to a pointer, to the
arrow keys and to a screen reader (page.js).
"""

import math
from xml.sax.saxutils import escape, quoteattr

FONT = 12           # pixels at the width that a picture is drawn for
EDGE = 10           # around a picture that is a file
STYLE = """
 text{font:12px system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;
 fill:#1b1f23} .soft{fill:#57606a} .title{font-size:16px;font-weight:600}
 .axis{stroke:#afb8c1;fill:none} .grid{stroke:#d8dee4;fill:none}
 .one{stroke:#57606a;fill:none} .none{fill:#9aa4ad} .shade{fill:#8c959f22}
 @media (prefers-color-scheme:dark){text{fill:#e6edf3} .soft{fill:#9198a1}
 .axis{stroke:#57606a} .grid{stroke:#30363d} .one{stroke:#9198a1}}
"""

# Widths in parts of the font size, of the widest of the usual fonts.
NARROW, WIDE = set("il.,:;|!'()[]/ ftrI-1"), set("mwMW%@")


def wide(text, size=FONT):
    """About how many pixels a text takes; rather too many."""
    return size * sum(0.42 if c in NARROW else 0.95 if c in WIDE else
                      0.72 if c.isupper() else 0.62 for c in text)


def wrapped(text, room, size=FONT):
    """The text in lines of at most `room` pixels."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if line and wide(longer, size) > room:
            lines.append(line)
            line = word
        else:
            line = longer
    return lines + [line] if line else lines


class Linear:
    """Values from low to high at pixels from a to b."""

    log = False

    def __init__(self, low, high, a, b):
        self.low, self.a, self.b = low, a, b
        self.high = high if high > low else low + 1

    def __call__(self, value):
        return self.a + (self.b - self.a) * (value - self.low) \
            / (self.high - self.low)

    def ticks(self, count=5):
        step = (self.high - self.low) / count
        size = 10 ** math.floor(math.log10(step))
        step = next(s * size for s in (1, 2, 5, 10) if s * size >= step)
        first = math.ceil(self.low / step - 1e-9)
        return [round(i * step, 12) for i in range(
            first, math.floor(self.high / step + 1e-9) + 1)]


class Log(Linear):
    log = True

    def __call__(self, value):
        value = max(value, self.low)
        return self.a + (self.b - self.a) * math.log(value / self.low) \
            / math.log(self.high / self.low)

    def ticks(self, count=5):
        decades = range(math.floor(math.log10(self.low)),
                        math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            found = [s * 10.0 ** d for d in decades for s in steps
                     if self.low * 0.999 <= s * 10.0 ** d
                     <= self.high * 1.001]
            if len(found) <= count + 2:
                return found
        # Whole decades are still too many: some of them.
        return found[::math.ceil(len(found) / (count + 1))]


def log_scale(values, a, b, room=1.25):
    low, high = min(values), max(values)
    return Log(low / room, max(high * room, low * 1.5), a, b)


def spread(places, gap, low=-math.inf, high=math.inf):
    """Moves positions apart until neighbours are a gap away, inside of low
    and high as far as they fit."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = [places[i] for i in order]
    for _ in range(300):
        pushed = False
        for i in range(len(moved) - 1):
            short = gap - (moved[i + 1] - moved[i])
            if short > 1e-6:
                moved[i] -= short / 2
                moved[i + 1] += short / 2
                pushed = True
        if moved and moved[0] < low - 1e-6:
            moved[0], pushed = low, True
        if moved and moved[-1] > high + 1e-6:
            moved[-1], pushed = high, True
        if not pushed:
            break
    result = [0.0] * len(places)
    for i, place in zip(order, moved):
        result[i] = place
    return result


def num(value):
    """A coordinate: a tenth of a pixel is enough."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


SHAPES = {
    "square": "M{l} {t}H{r}V{b}H{l}Z",
    "diamond": "M{x} {T}L{R} {y}L{x} {B}L{L} {y}Z",
    "up": "M{x} {T}L{R} {b}H{L}Z", "down": "M{x} {B}L{R} {t}H{L}Z",
    "plus": "M{i} {T}H{j}V{k}H{R}V{m}H{j}V{B}H{i}V{m}H{L}V{k}H{i}Z",
    "cross": "M{L} {t}L{l} {T}L{x} {k}L{r} {T}L{R} {t}L{j} {y}L{R} {b}"
             "L{r} {B}L{x} {m}L{l} {B}L{L} {b}L{i} {y}Z",
}


def shape(kind, x, y, size):
    """The path of a marker; None: a circle."""
    if kind not in SHAPES:
        return None
    s, big, slim = size * 0.88, size * 1.18, size * 0.4
    points = {"x": x, "y": y, "l": x - s, "r": x + s, "t": y - s, "b": y + s,
              "L": x - big, "R": x + big, "T": y - big, "B": y + big,
              "i": x - slim, "j": x + slim, "k": y - slim, "m": y + slim}
    return SHAPES[kind].format(**{k: num(v) for k, v in points.items()})


def stacked(width, parts, gap=14):
    """One picture of several: [(heading, Picture)], one below the other."""
    whole, y = Picture(width), 0
    for heading, part in parts:
        whole.label(0, y + 12, heading, style="soft")
        whole.add(f'<g transform="translate(0 {num(y + 18)})">')
        whole.parts += part.parts
        whole.close()
        y += 18 + part.height + gap
    whole.height = y - gap
    return whole


class Picture:
    """Elements one after the other; `text()` gives the whole."""

    def __init__(self, width, height=0):
        self.width, self.height, self.parts = width, height, []

    def add(self, text):
        self.parts.append(text)

    def open(self, server=None):
        """A group of what belongs to a server; close() ends it."""
        self.add(f"<g data-server={quoteattr(server)}>" if server else "<g>")

    def close(self):
        self.add("</g>")

    def label(self, x, y, text, anchor="start", style="", size=None):
        cls = f' class="{style}"' if style else ""
        at = "" if anchor == "start" else f' text-anchor="{anchor}"'
        big = f' style="font-size:{size}px"' if size else ""
        self.add(f'<text x="{num(x)}" y="{num(y)}"{at}{cls}{big}>'
                 f"{escape(text)}</text>")

    def path(self, d, cls="", **attributes):
        more = "".join(f' {k.replace("_", "-")}={quoteattr(str(v))}'
                       for k, v in attributes.items())
        kind = f' class="{cls}"' if cls else ""
        self.add(f'<path d="{d}"{kind}{more}/>')

    def across(self, x1, x2, y, cls, **attributes):
        self.path(f"M{num(x1)} {num(y)}H{num(x2)}", cls, **attributes)

    def down(self, x, y1, y2, cls, **attributes):
        self.path(f"M{num(x)} {num(y1)}V{num(y2)}", cls, **attributes)

    def box(self, x, y, w, h, tip="", cls="", **attributes):
        more = "".join(f' {k.replace("_", "-")}={quoteattr(str(v))}'
                       for k, v in attributes.items())
        kind = " ".join(filter(None, (cls, "mark" if tip else "")))
        self.add(f'<rect x="{num(x)}" y="{num(y)}" width="{num(w)}" '
                 f'height="{num(h)}"' + (f' class="{kind}"' if kind else "")
                 + more + self.tip(tip) + "/>")

    @staticmethod
    def tip(text):
        return f" data-tip={quoteattr(text)}" if text else ""

    def mark(self, kind, x, y, size, colour, tip="", hollow=False, **more):
        """A marker; a hollow one stands for what is not certain."""
        paint = f'fill="none" stroke="{colour}" stroke-width="1.6"' if hollow \
            else f'fill="{colour}"'
        extra = "".join(f' {k.replace("_", "-")}={quoteattr(str(v))}'
                        for k, v in more.items())
        cls = ' class="mark"' if tip else ""
        d = shape(kind, x, y, size)
        head = f'<path d="{d}"' if d else \
            f'<circle cx="{num(x)}" cy="{num(y)}" r="{num(size)}"'
        self.add(f"{head} {paint}{cls}{extra}{self.tip(tip)}/>")

    def grid_x(self, scale, top, bottom, text, count=5):
        """Vertical lines with their numbers below; those that would touch
        the number before are left out."""
        end = -math.inf
        for tick in scale.ticks(count):
            x, words = scale(tick), text(tick)
            self.down(x, top, bottom, "grid")
            half = wide(words) / 2
            if x - half > end + 4 and x + half < self.width:
                self.label(x, bottom + FONT + 4, words, "middle", "soft")
                end = x + half

    def grid_y(self, scale, left, right, text, count=5):
        for tick in scale.ticks(count):
            y = scale(tick)
            self.across(left, right, y, "grid")
            self.label(left - 6, y + 4, text(tick), "end", "soft")

    def text(self, title):
        """The whole, as a part of a page."""
        return (f'<svg viewBox="0 0 {num(self.width)} {num(self.height)}" '
                f'role="img" tabindex="0" aria-label={quoteattr(title)}>'
                + "".join(self.parts) + "</svg>")

    def file(self, title, what=""):
        """The whole, as a file with styles, title and explanation."""
        y, head = 6, []
        for line in wrapped(title, self.width, 17):
            y += 22
            head.append(f'<text x="{EDGE}" y="{y}" class="title">'
                        f"{escape(line)}</text>")
        for line in wrapped(what, self.width):
            y += 17
            head.append(f'<text x="{EDGE}" y="{y}" class="soft">'
                        f"{escape(line)}</text>")
        wide_, high = num(self.width + 2 * EDGE), num(self.height + y + 20)
        return (f'<svg xmlns="http://www.w3.org/2000/svg" role="img" '
                f'viewBox="0 0 {wide_} {high}" width="{wide_}" '
                f'height="{high}" aria-label={quoteattr(title)}>\n'
                f"<style>{STYLE}</style>\n" + "\n".join(head)
                + f'<g transform="translate({EDGE} {y + 12})">\n'
                + "\n".join(self.parts) + "\n</g></svg>\n")
