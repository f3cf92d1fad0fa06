"""A line for each server over a parameter, its name at its end."""

import math

import svg

GAP = 13.5           # pixels between two names
TALL, BROAD = 190, 800


class Point:
    """`open`: a point that the server (or the generator) did not reach."""

    def __init__(self, x, mid, low=None, high=None, tip="", hollow=False):
        self.x, self.mid, self.low, self.high = x, mid, low, high
        self.tip, self.hollow = tip, hollow


class Series:
    """A line of a server; one without a name is a curve behind the others."""

    def __init__(self, server, name, colour, marker, points, dashed=False):
        self.server, self.name, self.colour = server, name, colour
        self.marker, self.dashed = marker, dashed
        self.points = sorted(points, key=lambda p: p.x)


class Axis:
    """What stands at an axis, and how its numbers are told; `base`: a line
    there, as 1 for ratios."""

    def __init__(self, label, text, log=False, ticks=None, zero=False,
                 base=None):
        self.label, self.text, self.log = label, text, log
        self.ticks, self.zero, self.base = ticks, zero, base


def y_scale(series, axis, top, bottom):
    mids = [p.mid for s in series for p in s.points]
    ends = [v for s in series for p in s.points for v in (p.low, p.high)
            if v is not None] + [axis.base] * (axis.base is not None)
    if axis.log:
        # An interval may run out of the picture, a median may not.
        low = max(min(mids + ends), min(mids) / 4)
        high = min(max(mids + ends), max(mids) * 4)
        return svg.log_scale([max(low, 1e-9), high], bottom, top)
    low = 0 if axis.zero else min(mids + ends)
    high = max(mids + ends)
    room = 0.06 * ((high - low) or high)
    return svg.Linear(low if axis.zero else low - room, high + room, bottom,
                      top)


def x_scale(series, axis, left, right):
    xs = [p.x for s in series for p in s.points] + list(axis.ticks or ())
    low, high = min(xs), max(xs)
    if axis.log:
        return svg.Log(low, max(high, low * 1.5), left + 8, right - 8)
    room = 0.0 if axis.zero else 0.03 * ((high - low) or high)
    return svg.Linear(0 if axis.zero else low - room, high + room, left + 6,
                      right - 6)


def draw(panels, x_axis, width, names=True):
    """`panels`: [(heading, [Series], Axis)], one below the other, over the
    same x; a panel with a fourth member has that x axis of its own."""
    everyone = [s for panel in panels for s in panel[1] if s.points]
    pic = svg.Picture(width)
    if not everyone:
        pic.height = 30
        pic.label(0, 20, "not measured", style="soft")
        return pic
    right = width - (max(svg.wide(s.name) for s in everyone) + 22
                     if names else 8)
    tall = max(TALL * (1.4 if width > BROAD else 1),
               GAP * max(len(panel[1]) for panel in panels) + 10)
    left = max(left_of(panel[1], panel[2]) for panel in panels
               if any(s.points for s in panel[1]))
    top = 4
    for number, (heading, series, y_axis, *own) in enumerate(panels):
        series, x = [s for s in series if s.points], own[0] if own else x_axis
        if not series:
            continue
        pic.label(0, top + 12, heading, style="soft")
        panel(pic, series, x, y_axis,
              (left, right, top + 22, top + 22 + tall), names)
        top += tall + 22 + 24
        if own or number == len(panels) - 1:
            pic.label(right, top + 12, x.label, "end", "soft")
            top += 20
    pic.height = top
    return pic


def left_of(series, axis):
    """The room that the numbers of a y axis take."""
    y = y_scale([s for s in series if s.points], axis, 0, TALL)
    return max([30] + [svg.wide(axis.text(t)) for t in y.ticks(5)]) + 10


def panel(pic, series, x_axis, y_axis, frame, names):
    left, right, top, bottom = frame
    y = y_scale(series, y_axis, top, bottom)
    x = x_scale(series, x_axis, left, right)
    pic.grid_y(y, left, right, y_axis.text)
    pic.path(f"M{svg.num(left)} {svg.num(bottom)}H{svg.num(right)}", "axis")
    draw_ticks(pic, x, x_axis, bottom)
    if y_axis.base is not None:
        pic.across(left, right, y(y_axis.base), "one")
    for one in series:
        draw_series(pic, one, x, y)
    if names:
        name_ends(pic, [s for s in series if s.name], x, y, right, top,
                  bottom)


def draw_ticks(pic, x, axis, bottom):
    ticks = axis.ticks or x.ticks(5)
    end = -math.inf
    for tick in ticks:
        at, words = x(tick), axis.text(tick)
        pic.down(at, bottom, bottom + 4, "axis")
        half = svg.wide(words) / 2
        if at - half > end + 4:
            pic.label(at, bottom + 17, words, "middle", "soft")
            end = at + half


def draw_series(pic, one, x, y):
    pic.open(one.server)
    low, high = min(y.a, y.b), max(y.a, y.b)

    def inside(value):
        return min(max(y(value), low), high)
    for p in one.points:
        if p.low is not None and p.high is not None:
            pic.down(x(p.x), inside(p.low), inside(p.high), "",
                     stroke=one.colour, stroke_width=4, stroke_opacity=0.3)
    d = "M" + "L".join(f"{svg.num(x(p.x))} {svg.num(inside(p.mid))}"
                       for p in one.points)
    more = {"stroke_dasharray": "4 3"} if one.dashed else {}
    pic.path(d, "", stroke=one.colour, stroke_width=1.6, fill="none", **more)
    for p in one.points if one.name else ():
        pic.mark(one.marker, x(p.x), inside(p.mid), 4, one.colour, p.tip,
                 p.hollow)
    pic.close()


def name_ends(pic, series, x, y, right, top, bottom):
    places = [min(max(y(s.points[-1].mid), top), bottom) for s in series]
    for one, at, place in zip(series, places, svg.spread(
            places, GAP, top + 4, bottom)):
        pic.open(one.server)
        end = x(one.points[-1].x)
        pic.path(f"M{svg.num(end + 5)} {svg.num(at)}L{svg.num(right + 2)} "
                 f"{svg.num(place)}", "", stroke=one.colour, fill="none",
                 stroke_opacity=0.5)
        pic.mark(one.marker, right + 8, place, 3.5, one.colour)
        pic.label(right + 15, place + 4, one.name)
        pic.close()


def of_servers(data, make):
    """Series of the servers for which make(server) gives points."""
    found = []
    for server in data.order:
        points = make(server)
        if points:
            found.append(Series(server, data.name(server),
                                data.colours[server], data.marker(server),
                                points, data.is_peer(server)))
    return found
