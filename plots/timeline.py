#!/usr/bin/python3
"""Draws a recorded timeline as SVG: timeline.py IN.json OUT.svg

IN.json comes from bench/trace/record_timeline.py.  On top stand the four
requests, each from the moment it was sent to the moment its reply arrived.
Below, every thread of the server has a lane: what it calls, when it waits, what
it hands to its ring and what comes back.  The picture follows the reader's
light or dark scheme, and its text is text.
"""

import json
import sys
from xml.sax.saxutils import escape

SCHEMA = "ioladder-timeline/1"
WIDTH, LEFT, RIGHT, TOP = 960, 92, 66, 46
ROW, LANE, BLOCK = 20, 62, 20
NEAR = 9            # pixels: marks closer than that share one label
LETTER = 9          # pixels: a block as wide as that has room for a letter

KINDS = (("recv", "receive"), ("send", "send"), ("enter", "enter the ring"),
         ("wait", "ask for readiness, wake a thread"), ("handler", "handler"),
         ("other", "other call"))
STYLE = """
 text{font:12px system-ui,sans-serif;fill:#1b1f23}
 .title{font-size:15px;font-weight:600} .small{font-size:11px;fill:#57606a}
 .in{fill:#fff;font-size:11px;font-weight:600}
 .axis{stroke:#c9ced3;stroke-width:1} .run{fill:#57606a}
 .off{stroke:#8c959f;stroke-width:1.5;stroke-dasharray:2 4}
 .req{fill:#c9ced3} .mark{fill:#8b62d0}
 .recv{fill:#2f7fd6} .send{fill:#12936f} .enter{fill:#8b62d0}
 .wait{fill:#8c959f} .handler{fill:#c2600c} .other{fill:#d2455e}
 @media (prefers-color-scheme:dark){text{fill:#e6edf3} .small{fill:#9198a1}
 .in{fill:#fff} .axis{stroke:#3d444d} .run{fill:#9198a1} .req{fill:#3d444d}}
"""


class Malformed(Exception):
    """Not a timeline that this program can draw."""


def load(path):
    try:
        with open(path, encoding="utf-8") as f:
            data = json.load(f)
    except (OSError, ValueError) as err:
        raise Malformed(f"{path}: {err}") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise Malformed(f"{path}: not of schema {SCHEMA}")
    return data


class Canvas:
    """SVG elements, and the scale of time."""

    def __init__(self, begin, end):
        self.begin, self.end, self.parts = begin, end, []
        self.last = ("", 0)     # the last letter that stood at a call

    def x(self, us):
        room = WIDTH - LEFT - RIGHT
        us = min(max(us, self.begin), self.end)
        return LEFT + (us - self.begin) / (self.end - self.begin) * room

    def text(self, x, y, text, kind="", anchor=""):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}"'
            + (f' class="{kind}"' if kind else "")
            + (f' text-anchor="{anchor}"' if anchor else "")
            + f">{escape(text)}</text>")

    def box(self, begin, end, y, height, kind, tip=""):
        x = self.x(begin)
        wide = max(self.x(end) - x, 1.5)
        tip = f"<title>{escape(tip)}</title>" if tip else ""
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" '
                          f'height="{height}" class="{kind}">{tip}</rect>')
        return x, wide

    def line(self, begin, end, y, kind):
        self.parts.append(f'<line x1="{self.x(begin):.1f}" y1="{y:.1f}" '
                          f'x2="{self.x(end):.1f}" y2="{y:.1f}" '
                          f'class="{kind}"/>')


def draw_requests(canvas, data, y):
    for request in data["requests"]:
        begin, end = request["sent_us"], request["answered_us"]
        canvas.text(LEFT - 8, y + 14, f"{request['name']}  {request['path']}",
                    anchor="end")
        canvas.box(begin, end, y + 4, ROW - 7, "req",
                   f"{request['name']}: sent at {begin:.0f} us, answered at "
                   f"{end:.0f} us")
        canvas.text(canvas.x(end) + 4, y + 14, f"{end - begin:.0f} us",
                    "small")
        y += ROW
    return y


def groups(canvas, marks):
    """[[x, letters], ...]: marks so near that one label must do for them."""
    found = []
    for at, _, _, conn in marks:
        x = canvas.x(at)
        if found and x - found[-1][2] < NEAR:
            found[-1][1] += conn
            found[-1][2] = x
        else:
            found.append([x, conn, x])
    return found


def draw_marks(canvas, lane, y):
    """Completions above the lane point down to it, submissions point away."""
    for what, tip, base in (("complete", y - 3, y - 9),
                            ("submit", y + BLOCK + 9, y + BLOCK + 3)):
        marks = [m for m in lane["marks"] if m[1] == what]
        for at, *_ in marks:
            x = canvas.x(at)
            canvas.parts.append(
                f'<path d="M{x - 3:.1f} {base}h6L{x:.1f} {tip}z" '
                f'class="mark"/>')
        for x, letters, last in groups(canvas, marks):
            middle = (x + last) / 2
            canvas.text(middle, base - 3 if what == "complete" else tip + 11,
                        letters, "small", "middle")


def draw_span(canvas, span, y):
    begin, end, kind, name, conn, off = span
    tip = f"{name}{' on ' + conn if conn else ''}: {end - begin:.0f} us"
    if kind == "handler":
        x, wide = canvas.box(begin, end, y, BLOCK, kind, tip)
        if wide > 100:
            canvas.text(x + wide / 2, y + 14, "handler", "in", "middle")
        return
    at, widest = begin, (0, 0)
    for out, back in off + [[end, end]]:
        if out > at:
            x, wide = canvas.box(at, out, y, BLOCK, kind, tip)
            widest = max(widest, (wide, x))
        if back > out:
            canvas.line(out, back, y + BLOCK / 2, "off")
        at = back
    middle = widest[1] + widest[0] / 2
    if conn and widest[0] >= LETTER:
        canvas.text(middle, y + 14, conn, "in", "middle")
    elif conn and widest[0] and (canvas.last[0] != conn
                                 or middle - canvas.last[1] > 2 * NEAR):
        canvas.text(middle, y - 3, conn, "small", "middle")
    canvas.last = (conn, middle)


def draw_lane(canvas, lane, label, y):
    canvas.text(LEFT - 8, y + 14, label, anchor="end")
    canvas.last = ("", 0)
    spans = sorted(lane["spans"])
    # Between two calls the thread runs its own code.
    for one, two in zip(spans, spans[1:]):
        if two[0] > one[1]:
            canvas.box(one[1], two[0], y + BLOCK / 2 - 2, 4, "run")
    for span in spans:
        if span[1] > canvas.begin and span[0] < canvas.end:
            draw_span(canvas, span, y)
    draw_marks(canvas, lane, y)


def clipped(span, begin, end):
    """A span that leaves the picture ends at its edge."""
    first, last, kind, name, conn, off = span
    inside = [[max(a, begin), min(b, end)] for a, b in off
              if b > begin and a < end]
    return [max(first, begin), min(last, end), kind, name, conn, inside]


def busy_lanes(data, begin, end):
    """The threads that did something, and how many only waited."""
    lanes, silent = [], 0
    for lane in data["lanes"]:
        spans = [clipped(s, begin, end) for s in lane["spans"]
                 if s[1] > begin and s[0] < end]
        if any(s[1] - s[0] > sum(b - a for a, b in s[5]) + 0.2
               for s in spans) and len(spans) > 1:
            lanes.append(dict(lane, spans=spans))
        else:
            silent += 1
    return lanes, silent


def draw_axis(canvas, y):
    canvas.line(canvas.begin, canvas.end, y, "axis")
    step = next(s for s in (20, 50, 100, 200, 500, 1000, 2000, 5000, 10 ** 9)
                if (canvas.end - canvas.begin) / s <= 12)
    at = 0
    while at <= canvas.end:
        x = canvas.x(at)
        canvas.parts.append(f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" '
                            f'y2="{y + 4}" class="axis"/>')
        canvas.text(x, y + 16, f"{at} us" if at == 0 else str(at), "small",
                    "middle")
        at += step
    return y + 24


def draw_legend(canvas, lanes, y):
    used = {s[2] for lane in lanes for s in lane["spans"]}
    entries = [(k, n, 12) for k, n in KINDS if k in used] + [
        ("run", "own code", 4)]
    x = LEFT
    for kind, name, height in entries:
        canvas.parts.append(f'<rect x="{x}" y="{y + 6 - height / 2}" '
                            f'width="12" height="{height}" class="{kind}"/>')
        canvas.text(x + 16, y + 10, name, "small")
        x += 30 + 6.2 * len(name)
    canvas.parts.append(f'<line x1="{x}" y1="{y + 6}" x2="{x + 18}" '
                        f'y2="{y + 6}" class="off"/>')
    canvas.text(x + 22, y + 10, "waits, without a processor", "small")
    if any(lane["marks"] for lane in lanes):
        y += 18
        for x, path, name in (
                (LEFT, "h6l-3 6z", "above a lane: a completion"),
                (LEFT + 190, "h6l-3 6z", "below a lane: handed to the ring")):
            canvas.parts.append(f'<path d="M{x} {y + 3}{path}" class="mark"/>')
            canvas.text(x + 12, y + 10, name, "small")
    return y + 18


def title_of(data):
    return (f"Stage {data['stage']}: four requests at once, "
            f"answered in {data['length_us']:.0f} us")


def draw(data):
    """The whole picture as text."""
    begin, end = -0.02 * data["length_us"], 1.02 * data["length_us"]
    canvas = Canvas(begin, end)
    lanes, silent = busy_lanes(data, begin, end)
    title = title_of(data)
    canvas.text(14, 24, title, "title")
    y = draw_requests(canvas, data, TOP) + 26
    for number, lane in enumerate(lanes, 1):
        draw_lane(canvas, lane, f"thread {number}", y)
        y += LANE
    y = draw_axis(canvas, y - 12) + 4
    y = draw_legend(canvas, lanes, y) + 6
    note = f"Recorded by {data['tool']} on Linux {data['kernel']}; the " \
        f"median of {data['bursts']} bursts. Recording costs time too."
    if silent:
        note += f" {silent} more thread{'s' if silent > 1 else ''} only waited."
    canvas.text(LEFT, y + 6, note, "small")
    height = y + 18
    return (f'<svg xmlns="http://www.w3.org/2000/svg" role="img" '
            f'viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
            f'height="{height:.0f}" aria-label="{escape(title)}">'
            f"<style>{STYLE}</style>\n" + "\n".join(canvas.parts)
            + "\n</svg>\n")


def main(argv):
    if len(argv) != 2:
        print("usage: timeline.py IN.json OUT.svg", file=sys.stderr)
        return 64
    try:
        picture = draw(load(argv[0]))
        with open(argv[1], "w", encoding="utf-8") as f:
            f.write(picture)
    except (Malformed, OSError) as err:
        print(f"timeline: {err}", file=sys.stderr)
        return 1
    print(argv[1])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
