"""A loaded result set with the look-ups that tables and pictures need."""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import summary as summaries      # noqa: E402

NAMES = summaries.NAMES

# Middle tones: each stands out on white and on near black, and neighbours
# differ in lightness too, for print and for the colour-blind.
COLOURS = {"stage1": "#a8761a", "stage2": "#2f7fd6", "stage3": "#12936f",
           "stage4": "#d2455e", "stage5": "#8b62d0", "stage6": "#d97316",
           "nginx": "#7d858c", "h2o": "#3a8fa3", "haproxy": "#b3478f",
           "lighttpd": "#8c6d5b", "go": "#5b8c3a", "fasthttp": "#6575b5",
           "libevent": "#96903a"}
MARKERS = {"stage1": "circle", "stage2": "square", "stage3": "diamond",
           "stage4": "up", "stage5": "down", "stage6": "plus"}
SPARE = ["#5b8c3a", "#b3478f", "#3a8fa3", "#8c6d5b"]
PEER_MARKER = "cross"

# The suites of uneven work: what is shown is the latency of the fast class.
UNEVEN = ("show-sleep", "show-one", "show-hash")
SKEW = ("skew-work", "skew-sleep")
PLACES = {"hash": "placed by hash", "rr": "placed evenly",
          "one": "all on one worker"}


class Data:
    """A result set: its servers in one order, with one colour each."""

    def __init__(self, manifest, rows, summary):
        self.manifest, self.rows, self.summary = manifest, rows, summary
        self.order = [name for name, s in manifest["servers"].items()
                      if not s.get("skipped")]
        spare = [n for n in self.order if n not in COLOURS]
        self.colours = {**COLOURS, **{n: SPARE[i % len(SPARE)]
                                      for i, n in enumerate(spare)}}
        self.suites = dict(summaries.suites_of(summary))
        self.asked = "echo" if manifest.get("app") == "echo" else "GET /"
        if self.lead == "ladder":
            self.asked = "Keep-alive"
        self._slices = None

    @staticmethod
    def name(server):
        return NAMES.get(server, server)

    def marker(self, server):
        kind = self.manifest["servers"][server].get("kind")
        return MARKERS.get(server, PEER_MARKER if kind == "peer"
                           else "circle")

    def is_peer(self, server):
        return self.manifest["servers"][server].get("kind") == "peer"

    def entries(self, suite, cell):
        """The cell's servers, in order."""
        found = {e["server"]: e for e in self.summary["cells"]
                 if e["suite"] == suite and e["cell"] == cell}
        return [found[n] for n in self.order if n in found]

    def entry(self, suite, cell, server):
        return next((e for e in self.entries(suite, cell)
                     if e["server"] == server), None)

    def ratios(self, suite, cell, metric):
        return [c for c in self.summary["comparisons"]
                if (c["suite"], c["cell"], c["metric"])
                == (suite, cell, metric)]

    def ratio(self, suite, cell, metric, server, base):
        """The paired comparison of two servers, or None."""
        return summaries.find(self.summary["comparisons"], suite=suite,
                              cell=cell, metric=metric, server=server,
                              base=base)

    def slices(self, suite, cell, server):
        """The rows of the slices that are in use."""
        if self._slices is None:
            self._slices = {}
            steady = {(r["suite"], summaries.cell_key(r["cell"]), r["block"],
                       r["try"]) for r in self.rows
                      if r["kind"] == "block" and r["valid"]}
            for row in self.rows:
                if row["kind"] != "measure" or not row["valid"]:
                    continue
                key = row["suite"], summaries.cell_key(row["cell"])
                if steady and (*key, row["block"],
                               row.get("try", 0)) not in steady:
                    continue
                self._slices.setdefault((*key, row["server"]),
                                        []).append(row)
        return self._slices.get((suite, summaries.cell_key(cell), server),
                                [])

    def title(self, suite):
        return next((p["title"] for p in self.manifest["plan"]
                     if p["suite"] == suite), suite)

    @property
    def lead(self):
        """The suite to lead with."""
        return "ladder" if "ladder" in self.suites else "keepalive"

    def headline(self):
        """Its cell to lead with: 64 connections and a handler of 5 us, or
        what comes nearest."""
        cells = self.suites.get(self.lead)
        if not cells:
            return None
        return min(cells, key=lambda c: (
            abs(c.get("connections", 64) - 64), abs(c.get("handler", 5) - 5)))


def decided(comparison):
    """The interval lies on one side of 1, and counts."""
    return bool(comparison) and comparison["verdict"] in ("lower", "higher")


def fast(entries, name):
    """The metric of the fast class, or of all where there are no classes."""
    ours = f"fast_{name}_us"
    return ours if any(ours in e["metrics"] for e in entries) \
        else f"{name}_us"


def without(cell, *names):
    return {k: v for k, v in cell.items() if k not in names}


def cell_words(cell):
    """{"connections": 64} -> "64 connections"."""
    words = []
    for name, value in cell.items():
        if name == "load":
            words.append(f"{value * 100:.0f} % load")
        elif name == "handler":
            words.append(f"handler of {value} us")
        elif name == "size":
            words.append(f"{value // 1024:,} KiB")
        elif name in ("connections", "workers"):
            words.append(f"{value:,} {name[:-1]}{'s'[:value != 1]}")
        elif name == "rate":
            words.append(f"{value:,} requests/s")
        elif name == "place":
            words.append(PLACES.get(value, str(value)))
        elif isinstance(value, int):
            words.append(f"{name} {value:,}")
        else:
            words.append(str(value))
    return ", ".join(words)


def amount(value, unit):
    """A number as people say it: 39 ms instead of 39,000 us."""
    if value is None:
        return "-"
    if unit == "us" and value >= 1e6:
        return f"{summaries.number(value / 1e6, 3)} s"
    if unit == "us" and value >= 1000:
        return f"{summaries.number(value / 1000, 3)} ms"
    if unit == "B" and value >= 10000:
        return f"{summaries.number(value / 1024, 3)} KiB"
    if unit == "/s" and value >= 10000:
        return f"{summaries.number(value / 1000, 3)} k/s"
    return summaries.number(value) + (unit if unit in ("/s", "%")
                                      else f" {unit}" if unit else "")


def tick(value, unit):
    """A number at an axis: 20 us, 100 ms, 50 k/s; no digits that say nothing.
    """
    for least, factor, words in {
            "us": ((1e6, 1e6, " s"), (1e3, 1e3, " ms"), (0, 1, " us")),
            "B": ((1 << 20, 1 << 20, " MiB"), (10240, 1024, " KiB"),
                  (0, 1, " B")),
            "/s": ((1e6, 1e6, " M/s"), (1e4, 1e3, " k/s"), (0, 1, "/s")),
            }.get(unit, ((0, 1, unit),)):
        if abs(value) >= least:
            return f"{value / factor:,.6g}{words}" if value else "0"
    return f"{value:,.6g}"


CALL_KINDS = {
    "receive": "recvfrom recvmsg read readv recv".split(),
    "send": "sendto sendmsg write writev send sendfile64".split(),
    "wait": "epoll_wait epoll_pwait epoll_pwait2 poll ppoll select wait "
            "io_uring_enter enter".split(),
}
CALL_COLOURS = {"receive": "#2f7fd6", "send": "#12936f", "wait": "#d2455e",
                "other": "#7d858c"}


def call_kinds(entries):
    """Adds e["kinds"]; returns the kinds that occur."""
    seen = set()
    for e in entries:
        e["kinds"] = {}
        for call, share in e["syscalls"].items():
            kind = next((k for k, calls in CALL_KINDS.items()
                         if call in calls), "other")
            e["kinds"][kind] = e["kinds"].get(kind, 0) + share
            seen.add(kind)
    return [k for k in CALL_COLOURS if k in seen]
