"""The suites, as data: servers x parameters x arguments of the generator.

A suite is a grid: every combination of `params` is a cell, every cell runs on
every server once a block.  Words in braces are filled in from the cell, and
from what the runner knows: {root} (directory of the files), {rate} (requests
a second, from `load` and the measured capacity), {processes} and {sources}
(how an idle crowd of {idle} connections is spread).  A parameter `workers`
becomes --workers of stages 5 and 6; `variants` are stages with arguments of
their own that run in this suite only, {"steal-off": ("stage6", ["--steal",
"off"])}.

To add a suite, add an entry; nothing else needs to know its name.
"""

from dataclasses import dataclass, field
from itertools import product


@dataclass
class Suite:
    name: str
    title: str
    params: dict                 # name -> list of values
    loadgen: list                # arguments of the generator
    server: list = field(default_factory=list)   # arguments of a stage
    variants: dict = field(default_factory=dict)  # name -> (stage, arguments)
    only: tuple = ()             # servers it makes sense for; (): all
    probe: list = field(default_factory=list)    # a second generator beside
    evict: bool = False          # cell has `cache`: cold or warm files
    memory: bool = False         # read the server's exact memory map
    trace: bool = True           # count system calls, in a run of its own
    slope: str = ""              # fit memory against this parameter
    load: str = ""               # the cell's `load` is a share of capacity,
    #                              measured closed loop with these arguments
    seconds: float = 2.0         # measured, per slice
    warmup: float = 0.5          # dropped, per slice
    blocks: int = 7
    app: str = "http"

    def cells(self):
        names = list(self.params)
        return [dict(zip(names, values))
                for values in product(*self.params.values())]


def _suites():
    yield Suite(
        "keepalive", "Keep-alive, GET /, closed loop",
        {"connections": [1, 8, 64, 256, 1024]},
        ["--connections", "{connections}"], blocks=15)
    yield Suite(
        "short", "A connection per request, GET /, closed loop",
        {"connections": [64]},
        ["--connections", "{connections}", "--close", "--sources", "8"])
    yield Suite(
        "pipeline", "Pipelined GET /, closed loop",
        {"connections": [64], "depth": [1, 4, 16]},
        ["--connections", "{connections}", "--pipeline", "{depth}"])
    yield Suite(
        "latency", "GET / at a fixed rate, open loop",
        {"connections": [64], "load": [0.30, 0.50, 0.70, 0.85]},
        ["--connections", "{connections}", "--rate", "{rate}",
         "--arrivals", "poisson"],
        load="--connections {connections}", trace=False, seconds=3.0)
    yield Suite(
        "idle", "Idle keep-alive connections",
        {"idle": [5000, 10000, 19000]},
        ["--connections", "1", "--rate", "20", "--idle", "{idle}",
         "--processes", "{processes}", "--sources", "{sources}"],
        memory=True, trace=False, slope="idle", seconds=2.0, blocks=5)
    yield Suite(
        "files", "GET /files/, with GET / beside it",
        {"connections": [64], "size": [4096, 1048576],
         "cache": ["warm", "cold"]},
        ["--connections", "{connections}", "--path", "{file}"],
        server=["--root", "{root}"],
        probe=["--connections", "8", "--rate", "600"],
        evict=True, seconds=3.0)
    yield Suite(
        "heartbeat", "Many connections, a small request each period",
        {"idle": [2000], "period": [5]},
        ["--connections", "8", "--rate", "400", "--idle", "{idle}",
         "--heartbeat", "{period}",
         "--processes", "{processes}", "--sources", "{sources}"],
        memory=True, trace=False, seconds=5.0, blocks=5)


SUITES = {suite.name: suite for suite in _suites()}

# A run made of several suites.  `budget_s` bounds the whole: slices are made
# shorter, down to `floor_s`, until the plan fits.
RUNS = {
    "quick": {
        "title": "Every stage, the main figures, under three minutes",
        "parts": [
            ("keepalive", {"connections": [64]}, {"blocks": 5}),
            ("short", {"connections": [64]}, {"blocks": 5, "trace": False}),
            ("latency", {"connections": [64], "load": [0.30, 0.70]},
             {"blocks": 5}),
            ("idle", {"idle": [500, 2000]}, {"blocks": 1}),
        ],
        "seconds": 1.0, "warmup": 0.2, "budget_s": 160, "floor_s": 0.2,
    },
    "full": {
        "title": "Every suite as it stands; half an hour for each server",
        "parts": [(name, {}, {}) for name in SUITES],
    },
}
