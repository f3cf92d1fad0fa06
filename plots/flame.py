#!/usr/bin/python3
"""Draws folded stacks as a flame graph: flame.py IN.folded OUT.svg [BASE]

Each box is a function, as wide as its share of all samples; above it stand the
functions that it calls.  A pointer on a box shows its name and share, also
without scripts.  With BASE the colours are the difference: orange is a function
with a larger share than in BASE, blue one with a smaller.  What is compared is
a function's share wherever it was called from, since two programs with other
loops reach the same work by other ways.

Source of the form: Brendan Gregg, "The Flame Graph" (CACM 59(6), 2016).
"""

import os
import sys
from xml.sax.saxutils import escape

import svg

WIDTH, HIGH, LEAST = 1000, 17, 0.6      # pixels; narrower boxes are left out
STYLE = """
 .u{fill:#e8904a} .k{fill:#f0c9a4} .p{fill:#c9ced3}
 .m{fill:#d97316} .l{fill:#2f7fd6} .e{fill:#d8dee4}
 rect{stroke:#fff;stroke-width:.5} .f{font-size:11px;fill:#1b1f23}
 g:hover>rect{stroke:#1b1f23;stroke-width:1}
 @media (prefers-color-scheme:dark){.u{fill:#b5651d} .k{fill:#6e4a2a}
 .p{fill:#484f58} .e{fill:#3d444d} rect{stroke:#0d1117}
 .f{fill:#e6edf3} g:hover>rect{stroke:#e6edf3}}
"""


class Frame:
    """A function below those that called it."""

    def __init__(self, name):
        self.name, self.weight, self.inside = name, 0, {}

    def add(self, names, weight):
        self.weight += weight
        if names:
            inner = self.inside.setdefault(names[0], Frame(names[0]))
            inner.add(names[1:], weight)

    def depth(self):
        return 1 + max((f.depth() for f in self.inside.values()), default=0)


def tree(stacks):
    root = Frame("all")
    for key, weight in stacks.items():
        root.add(key.split(";")[1:], weight)    # without the thread's name
    return root


def by_name(stacks):
    """{function: its share of the samples, wherever it stands in a stack}"""
    total = sum(stacks.values()) or 1
    shares = {"all": 1.0}
    for key, weight in stacks.items():
        for name in set(key.split(";")[1:]):
            shares[name] = shares.get(name, 0) + weight / total
    return shares


class Paint:
    """The class of a box, and what its tip says of the difference."""

    def __init__(self, stacks, before=None):
        self.before = by_name(before) if before else None
        self.now = by_name(stacks) if before else None

    def of(self, name):
        """(class, strength from 0 to 1, words)"""
        if self.before is None:
            return ("k" if name.endswith("_[k]") else
                    "p" if name == "preempted" else "u"), 1.0, ""
        now, before = self.now[name], self.before.get(name, 0.0)
        change = now - before
        words = f"; in all {100 * now:.1f} %, there {100 * before:.1f} %"
        if abs(change) < 0.005:
            return "e", 1.0, words
        return "m" if change > 0 else "l", min(1.0, 0.3 + 4 * abs(change)), \
            words


def boxes(pic, frame, paint, place, total):
    """The box of a frame, and above it what it calls, sorted by name."""
    x, y, per = place
    wide = frame.weight * per
    if wide < LEAST:
        return
    colour, strength, more = paint.of(frame.name)
    fade = f' fill-opacity="{strength:.2f}"' if strength < 1 else ""
    name = frame.name.removesuffix("_[k]")
    where = ", kernel" if name != frame.name else ""
    pic.add(f"<g><title>{escape(name)}{where}: "
            f"{100 * frame.weight / total:.1f} %, "
            f"{frame.weight:,} samples{more}</title>"
            f'<rect x="{svg.num(x)}" y="{svg.num(y)}" '
            f'width="{svg.num(wide)}" height="{HIGH - 1}" '
            f'class="{colour}"{fade}/>')
    letters = int((wide - 6) / 6.6)
    if letters >= 3:
        text = name if len(name) <= letters else name[:letters - 1] + "…"
        pic.add(f'<text x="{svg.num(x + 3)}" y="{svg.num(y + 12)}" '
                f'class="f">{escape(text)}</text>')
    pic.close()
    for inner in sorted(frame.inside.values(), key=lambda f: f.name):
        boxes(pic, inner, paint, (x, y - HIGH, per), total)
        x += inner.weight * per


def picture(stacks, name, before=None, before_name=None):
    """An SVG file; `before`: the stacks to compare with."""
    root = tree(stacks)
    if not root.weight:
        raise ValueError("no sample in it")
    pic = svg.Picture(WIDTH, root.depth() * HIGH + 4)
    pic.add(f"<style>{STYLE}</style>")
    boxes(pic, root, Paint(stacks, before),
          (0, (root.depth() - 1) * HIGH, WIDTH / root.weight), root.weight)
    title = f"Where stage {name} spends its CPU" if str(name)[:1].isdigit() \
        else f"Where {name} spends its CPU"
    what = (f"{root.weight:,} samples. A box is a function, its width the "
            "share of samples in it; above it stands what it calls.")
    if before:
        title += f", beside {before_name}"
        what += (" Orange: a function that has a larger share than there, "
                 "wherever it is called; blue: a smaller one; grey: the same.")
    else:
        what += " Paler: in the kernel."
    return pic.file(title, what)


def plain_name(path):
    name = os.path.basename(path).removesuffix(".folded")
    return name.removeprefix("stage") or name


def main(argv):
    if len(argv) not in (2, 3):
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 64
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
        os.path.abspath(__file__))), "bench", "trace"))
    import folded
    try:
        stacks = folded.load(argv[0])
        before = folded.load(argv[2]) if len(argv) == 3 else None
        text = picture(stacks, plain_name(argv[0]), before,
                       f"stage {plain_name(argv[2])}" if before else None)
        with open(argv[1], "w", encoding="utf-8") as f:
            f.write(text)
    except (OSError, ValueError) as err:
        print(f"flame.py: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
