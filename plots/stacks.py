"""Bars of parts: who pays for a request, and its system calls by kind."""

import svg
from sets import CALL_COLOURS, amount, call_kinds, tick

ROW = 34

# metric, words, colour; what is divided comes from a row's own clocks.
PARTS = (("server_user_us", "server, in its own code", "#2f7fd6"),
         ("server_sys_us", "server, in the kernel", "#7fb2e8"),
         ("server", "server", "#2f7fd6"),
         ("client_cpu_us", "client", "#12936f"),
         ("client_spin_us", "client, waiting in a spin", "#8fd0bb"),
         ("rest_us", "all other programs", "#a0a7ae"))


class Stack:
    """A row: `parts` are (words, colour, value); `below`: a thin bar of what
    is a part of all this in another sense."""

    def __init__(self, server, name, parts, text, below=None):
        self.server, self.name, self.parts = server, name, parts
        self.text, self.below = text, below

    @property
    def total(self):
        return sum(value for _, _, value in self.parts)


def median(entry, metric):
    triple = entry["metrics"].get(metric)
    return triple[0] if triple else None


def paid(data, suite, cell):
    """Who pays: the rows of a cell; [] where the set does not say it."""
    found = []
    for e in data.entries(suite, cell):
        whole, server = median(e, "system_cpu_us"), median(e, "cpu_us")
        if whole is None or server is None:
            continue
        values = {m: median(e, m) for m, _, _ in PARTS if m != "server"}
        divided = values["server_user_us"] is not None
        if not divided:
            values["server"] = server
        if values["rest_us"] is None:    # a set from before it was recorded
            values["rest_us"] = max(0.0, whole - server
                                    - (values["client_cpu_us"] or 0))
        parts = [(words, colour, values[m]) for m, words, colour in PARTS
                 if values.get(m)]
        found.append(Stack(e["server"], data.name(e["server"]), parts,
                           amount(sum(v for _, _, v in parts), "us"),
                           median(e, "softirq_us")))
    return found


def calls(data, suite, cell):
    """System calls of a request by kind."""
    entries = [e for e in data.entries(suite, cell) if e.get("syscalls")]
    kinds = call_kinds(entries)
    return [Stack(e["server"], data.name(e["server"]),
                  [(kind, CALL_COLOURS[kind], e["kinds"][kind])
                   for kind in kinds if e["kinds"].get(kind)],
                  amount(e["syscalls_per_request"], ""))
            for e in entries]


def keys(pic, stacks, width):
    """The legend of the parts; returns the y below it."""
    seen = dict((words, colour) for s in stacks for words, colour, _
                in s.parts)
    if any(s.below for s in stacks):
        seen["of this in interrupts"] = "#d97316"
    x, y = 0, 12
    for words, colour in seen.items():
        long = svg.wide(words) + 26
        if x and x + long > width:
            x, y = 0, y + 18
        pic.box(x, y - 9, 10, 10, fill=colour)
        pic.label(x + 15, y, words, style="soft")
        x += long
    return y + 12


def draw(stacks, unit, width):
    pic = svg.Picture(width)
    top = keys(pic, stacks, width)
    left = max(svg.wide(s.name) for s in stacks) + 12
    right = max(svg.wide(s.text) for s in stacks) + 12
    x = svg.Linear(0, max(max(s.total, s.below or 0) for s in stacks), left,
                   width - right)
    bottom = top + ROW * len(stacks)
    count = max(2, int((width - left - right) / 62))
    pic.grid_x(x, top, bottom, lambda v: tick(v, unit), count)
    for place, one in enumerate(stacks):
        y, end = top + ROW * place, 0.0
        pic.open(one.server)
        pic.label(left - 8, y + ROW / 2 + 4, one.name, "end")
        for words, colour, value in one.parts:
            pic.box(x(end), y + 6, x(end + value) - x(end), ROW - 15,
                    f"{one.name}: {words} {amount(value, unit)}", fill=colour)
            end += value
        if one.below:
            pic.box(left, y + ROW - 8, x(one.below) - left, 4,
                    f"{one.name}: {amount(one.below, unit)} of this in "
                    f"interrupts", fill="#d97316")
        pic.label(x(end) + 6, y + ROW / 2 + 4, one.text)
        pic.close()
    pic.height = bottom + 26
    return pic
