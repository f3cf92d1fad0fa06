"""What each worker did over time: rows of text, or a picture.

A timeline is {"bucket_ms", "end_ms", "threads": [{"tid", "worker", "shares":
[[asleep, awake, running], ...] a bucket, "stays": [{"state", "from_ms",
"to_ms", "conn"}, ...]}]}; it comes from the output of bench/trace/states.bt.
"""

import math
import re
from xml.sax.saxutils import escape

import svg

STATES = ("asleep", "awake, no connection", "runs a connection")
SIGNS = ".+#"
STAY = re.compile(r"stay (\d+) (\d+) (\d+) (\d+) (\d+) ([0-9a-f]+)")
END = re.compile(r"end (\d+)")
ROWS_SHOWN, COLUMNS_SHOWN, STAYS_SHOWN = 32, 100, 5
ROW, GAP, WIDTH = 26, 6, 900
COLOURS = ("#c9ced3", "#e3b341", "#2f7fd6")
DARK = ("#30363d", "#bb8009", "#539bf5")


# ------------------------------------------------------------------ the data

def spread(shares, begin, end, state, bucket):
    """Adds a stay to the buckets that it touches; all in nanoseconds."""
    first, last = int(begin // bucket), int(end // bucket)
    for i in range(first, min(last, len(shares) - 1) + 1):
        part = min(end, (i + 1) * bucket) - max(begin, i * bucket)
        shares[i][state] += max(0, part)


def timeline(sums, said, bucket_ms):
    """sums: {"tid,worker,state,bucket": ns}; said: what was printed."""
    bucket, rows, stays, end = bucket_ms * 1e6, {}, [], 0
    for text in said:
        match = STAY.search(text)
        if match:
            stays.append([int(n) for n in match.groups()[:5]]
                         + [match.group(6)])
        elif END.search(text):
            end = int(END.search(text).group(1))
    short = [[int(n) for n in key.split(",")] + [ns]
             for key, ns in sums.items()]
    columns = max([math.ceil(end / bucket)] + [k[3] + 1 for k in short]
                  + [math.ceil(s[4] / bucket) for s in stays] + [1])

    def row(tid, worker):
        return rows.setdefault(tid, {
            "tid": tid, "worker": worker, "stays": [],
            "shares": [[0, 0, 0] for _ in range(columns)]})

    for tid, worker, state, at, ns in short:
        if 1 <= state <= 3:
            row(tid, worker)["shares"][at][state - 1] += ns
    for tid, worker, state, begin, until, conn in stays:
        if 1 <= state <= 3:
            each = row(tid, worker)
            spread(each["shares"], begin, until, state - 1, bucket)
            each["stays"].append({"state": STATES[state - 1], "conn": conn,
                                  "from_ms": begin / 1e6,
                                  "to_ms": until / 1e6})
    for each in rows.values():
        # A stay that began in the bucket before may make it overfull.
        each["shares"] = [[ns / max(bucket, sum(b)) for ns in b]
                          for b in each["shares"]]
    # A helper of a pool never parks: it has no states to show.
    order = [r for r in sorted(rows.values(),
                               key=lambda r: (r["worker"], r["tid"]))
             if any(b[0] or b[1] for b in r["shares"])]
    return {"bucket_ms": bucket_ms, "end_ms": end / 1e6, "threads": order}


def sign(shares):
    """The state of most of a bucket; a blank: not known."""
    most = max(range(3), key=lambda i: shares[i])
    return SIGNS[most] if sum(shares) > 0.05 else " "


def label(thread):
    return f"worker {thread['worker']}"


def longest_runs(told):
    """(thread, stay), the longest first: one connection, or one handler."""
    found = [(t, s) for t in told["threads"] for s in t["stays"]
             if s["state"] == STATES[2]]
    return sorted(found, key=lambda p: p[1]["from_ms"] - p[1]["to_ms"])


# ------------------------------------------------------------------ as text

def lines(told):
    if not told["threads"]:
        return ["no worker was seen"]
    found = [f"{told['bucket_ms']:g} ms a sign: "
             + ", ".join(f"{s} {name}" for s, name in zip(SIGNS, STATES))]
    for thread in told["threads"][:ROWS_SHOWN]:
        found.append(f"{label(thread):>10} " + "".join(
            map(sign, thread["shares"][:COLUMNS_SHOWN])))
    for thread in told["threads"][:ROWS_SHOWN]:
        parts = [sum(b[i] for b in thread["shares"]) for i in range(3)]
        known = sum(parts) or 1.0
        found.append(f"{label(thread):>10} " + ", ".join(
            f"{name} {100 * part / known:.0f} %" for name, part in
            zip(STATES, parts)))
    for thread, stay in longest_runs(told)[:STAYS_SHOWN]:
        found.append(
            f"{label(thread)} ran one connection for "
            f"{stay['to_ms'] - stay['from_ms']:.1f} ms, from "
            f"{stay['from_ms']:.0f} ms on (connection {stay['conn']})")
    return found


# --------------------------------------------------------------- as picture

def style():
    light = "".join(f".s{i}{{fill:{c}}}" for i, c in enumerate(COLOURS))
    dark = "".join(f".s{i}{{fill:{c}}}" for i, c in enumerate(DARK))
    return f"{light} @media (prefers-color-scheme:dark){{{dark}}}"


def cell(pic, told, thread, at, frame):
    """One bucket of one worker: its states as parts of a column."""
    x, y, wide = frame
    shares, top = thread["shares"][at], y + ROW
    tip = (f"{label(thread)}, {at * told['bucket_ms']:g} ms: " + ", ".join(
        f"{name} {100 * part:.0f} %" for name, part in zip(STATES, shares)))
    pic.add(f"<g><title>{escape(tip)}</title>")
    for state in (0, 1, 2):
        high = ROW * shares[state]
        top -= high
        if high > 0.05:
            pic.add(f'<rect x="{svg.num(x)}" y="{svg.num(top)}" '
                    f'width="{svg.num(wide + 0.2)}" height="{svg.num(high)}" '
                    f'class="s{state}"/>')
    pic.close()


def picture(told):
    """The heat map as an SVG file: time across, a row for each worker."""
    rows = told["threads"][:ROWS_SHOWN]
    left = 80
    columns = max([len(t["shares"]) for t in rows] + [1])
    scale = svg.Linear(0, columns * told["bucket_ms"], left, WIDTH - 10)
    wide = (WIDTH - 10 - left) / columns
    pic = svg.Picture(WIDTH, 26 + len(rows) * (ROW + GAP) + 30)
    pic.add(f"<style>{style()}</style>")
    x = left
    for i, name in enumerate(STATES):
        pic.add(f'<rect x="{svg.num(x)}" y="2" width="12" height="12" '
                f'class="s{i}"/>')
        pic.label(x + 17, 12, name, style="soft")
        x += 40 + svg.wide(name)
    for i, thread in enumerate(rows):
        y = 26 + i * (ROW + GAP)
        pic.label(0, y + ROW / 2 + 4, label(thread))
        for at in range(len(thread["shares"])):
            cell(pic, told, thread, at, (left + at * wide, y, wide))
    bottom = 26 + len(rows) * (ROW + GAP)
    pic.grid_x(scale, 22, bottom, lambda ms: f"{ms:g} ms", 8)
    longest = longest_runs(told)
    what = "From bottom to top: the shares of the states in each step of time."
    if longest:
        thread, stay = longest[0]
        what += (f" Longest run: {label(thread)}, one connection, "
                 f"{stay['to_ms'] - stay['from_ms']:.1f} ms.")
    return pic.file("What each worker does, over time", what)
