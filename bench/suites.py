"""The suites, as data: servers x parameters x arguments of the generator.

A suite is a grid: every combination of `params` is a cell, every cell runs on
every server once a block.  Words in braces are filled in from the cell, and
from what the runner knows: {root} (directory of the files), {rate} (requests
a second, from `load` and the measured capacity), {processes} and {sources}
(how an idle crowd of {idle} connections is spread).  A parameter `workers`
becomes --workers of stages 5 and 6; `variants` are stages with arguments of
their own that run in this suite only, {"steal-off": ("stage6", ["--steal",
"off"])}.  A stage may be a variant of stages/variants ("6-pad-0").

To add a suite, add an entry; nothing else needs to know its name.
"""

import glob
import os
from dataclasses import dataclass, field
from itertools import product

import claim_suites

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


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
    capacity_at: dict = field(default_factory=dict)   # in the cell, with this
    own_capacity: bool = False   # each server's own; else the lowest of all
    stairs: tuple = ()           # one start of each server for all of these
    #                              loads: stairs.py.  A cell gets its `step`
    #                              (1, 2 ...) and `load`; none is traced
    words: dict = field(default_factory=dict)     # param -> value -> its text
    cpus: str = ""               # "workers": a cpu for each worker
    reference: str = ""          # all others are compared with this server
    wakeups: bool = False        # count who wakes the server's threads
    threads: bool = False        # migrations and waits of its threads
    calls: bool = False          # system calls of every slice, as the server
    #                              itself counts them
    seconds: float = 2.0         # measured, per slice
    warmup: float = 0.5          # dropped, per slice
    blocks: int = 9
    app: str = "http"

    def cells(self):
        names = list(self.params)
        return [dict(zip(names, values))
                for values in product(*self.params.values())]


def worker_counts(cpus):
    """1 to the number of cpus: all of them, from 8 on only some."""
    found = list(range(1, min(cpus, 8) + 1))
    while found[-1] < cpus:
        found.append(min(cpus, found[-1] * 3 // 2))
    return found


# One request in 200 takes long; the means are the same.  /sleep is slower by
# a factor of 20, since a sleep of 10 us lasts as long as the timer's slack.
WORK = {"const": "const:15", "exponential": "exp:15",
        "bimodal": "bimodal:0.005:10:1000"}
SLEEP = {"const": "const:300", "exponential": "exp:300",
         "bimodal": "bimodal:0.005:200:20000"}
OPEN = ["--connections", "{connections}", "--rate", "{rate}",
        "--arrivals", "poisson", "--pattern", "uniform"]

STAIRS = (0.10, 0.50, 0.90, 0.50, 0.10)


def _skew(name, title, kind, words, workers):
    """Uneven work on unevenly placed connections."""
    service = ["--service", "{service}", "--service-kind", kind]
    return Suite(
        name, title,
        {"workers": workers, "service": list(words),
         "place": ["hash", "rr", "one"], "connections": [4, 16, 64, 256],
         "load": [0.30, 0.50, 0.70, 0.90]},
        OPEN + service, server=["--place", "{place}"],
        only=("stage5", "stage6"), words={"service": words},
        load="--connections {connections} " + " ".join(service),
        capacity_at={"place": "rr"}, reference="stage5", trace=False,
        cpus="workers" if kind == "work" else "")


def _skew_suites():
    yield _skew("skew-work", "Uneven work, 2 workers on /work, open loop",
                "work", WORK, [2])
    yield _skew("skew-sleep", "Uneven work, 4 and 8 workers on /sleep "
                "(parallel queues without parallel cores), open loop",
                "sleep", SLEEP, [4, 8])
    yield Suite(
        "show-sleep", "8 workers, one request in 200 sleeps 100 times longer, "
        "open loop",
        {"workers": [8], "service": ["bimodal"], "connections": [512],
         "rate": [10000]},
        OPEN + ["--service", "{service}", "--service-kind", "sleep"],
        # As many threads for handlers: one worker feeds a pool of 8.
        variants={
            "5-spmc": ("stage5", ["--workers", "1", "--pool", "8"]),
            "5-mutex": ("variants/5-mutex-pool",
                        ["--workers", "1", "--pool", "8"]),
            "6-eager": ("stage6", ["--stuck-us", "20"]),
            "6-queue": ("stage6", ["--steal", "queue"]),
            "6-off": ("stage6", ["--steal", "off"])},
        only=("stage5", "stage6"), words={"service": SLEEP},
        reference="stage5", trace=False, seconds=3.0, blocks=9)
    yield Suite(
        "show-one", "/work/100, all connections on one of 2 workers, at 120 % "
        "of what it can, open loop",
        {"workers": [2], "place": ["one"], "connections": [64],
         "load": [1.20]},
        OPEN + ["--path", "/work/100"], server=["--place", "{place}"],
        only=("stage5", "stage6"),
        load="--connections {connections} --path /work/100",
        reference="stage5", trace=False, cpus="workers", blocks=9)
    yield Suite(
        "show-hash", "/work/100, 16 connections placed by hash on 2 workers, "
        "open loop",
        {"workers": [2], "place": ["hash"], "connections": [16],
         "load": [0.60]},
        OPEN + ["--path", "/work/100"], server=["--place", "{place}"],
        only=("stage5", "stage6"),
        load="--connections {connections} --path /work/100",
        capacity_at={"place": "rr"}, reference="stage5", trace=False,
        cpus="workers", blocks=21)
    yield Suite(
        "show-balanced", "GET /, connections placed evenly, closed loop",
        {"workers": [1, 2], "connections": [64, 256]},
        ["--connections", "{connections}"], server=["--place", "rr"],
        only=("stage5", "stage6", "nginx"), reference="stage5",
        cpus="workers", seconds=1.2, warmup=0.3, blocks=31)
    # What two hand-overs cost, and which way to wake the owner is cheaper.
    yield Suite(
        "show-pools", "Helpers of stage 5 and two ways to wake their owner, "
        "GET /, closed loop",
        {"workers": [1], "connections": [64]},
        ["--connections", "{connections}"],
        variants={
            "5-spmc": ("stage5", ["--pool", "1"]),
            "5-spmc-eventfd": ("variants/5-eventfd-wake", ["--pool", "1"]),
            "5-mutex": ("variants/5-mutex-pool", ["--pool", "1"])},
        only=("stage5",), reference="stage5", seconds=1.2, warmup=0.3,
        blocks=15)
    # By hash, since the other placements hand every connection over once.
    yield Suite(
        "show-wakeups", "Who wakes the threads of a server, GET /, closed loop",
        {"workers": [2], "connections": [64]},
        ["--connections", "{connections}"],
        variants={"5-pool": ("stage5", ["--pool", "1"])},
        only=("stage5", "stage6"), reference="stage5", cpus="workers",
        wakeups=True, seconds=0.5, warmup=0.2)
    yield Suite(
        "show-pads", "Words of different cores 0, 64 or 128 bytes apart, "
        "GET /, closed loop",
        {"workers": [2], "connections": [64]},
        ["--connections", "{connections}"], server=["--place", "rr"],
        variants={"pad0": ("6-pad-0", []), "pad64": ("6-pad-64", [])},
        only=("stage6",), reference="stage6", cpus="workers", trace=False,
        seconds=1.2, warmup=0.3, blocks=31)
    yield Suite(
        "scaling", "GET / with 1 worker to as many as there are cpus",
        {"workers": worker_counts(len(os.sched_getaffinity(0))),
         "connections": [256]},
        ["--connections", "{connections}"], server=["--place", "rr"],
        only=("stage5", "stage6", "nginx"), reference="stage5",
        cpus="workers")


def _simcheck(kind, workers, mean, rates, **more):
    return Suite(
        f"simcheck-{kind}-{workers}", f"For the simulator: {workers} workers, "
        f"/{kind} of {mean} us in the mean, exponential, open loop",
        {"workers": [workers], "service": ["exponential"],
         "connections": [64 * workers], "rate": rates},
        OPEN + ["--service", "{service}", "--service-kind", kind],
        words={"service": {"exponential": f"exp:{mean}"}},
        variants={
            # A run of several suites knows a server by its name.
            f"5-spmc-{workers}": ("stage5", ["--workers", "1", "--pool",
                                             str(workers)]),
            f"5-mutex-{workers}": ("variants/5-mutex-pool",
                                   ["--workers", "1", "--pool",
                                    str(workers)]),
            "6-queue": ("stage6", ["--steal", "queue"])},
        only=("stage5", "stage6"), reference="stage5", trace=False,
        seconds=1.2, warmup=0.3, **more)


def _simcheck_suites():
    """What bench/simulate.py compares the simulator with.  The rates are 30,
    50, 70 and 90 % of what the workers could handle at no cost."""
    yield _simcheck("sleep", 4, 1000, [1130, 1890, 2650, 3400])
    yield _simcheck("sleep", 8, 1000, [2270, 3780, 5300, 6810])
    yield _simcheck("work", 2, 500, [1200, 2000, 2800, 3600], cpus="workers")


# What is a switch needs no patch: name -> (stage, arguments, what the header
# of a patch would say: stages/variants.py).
SWITCHES = {
    "3-coop": ("stage3", ["--taskrun", "coop"], {
        "direction": "none, nothing is commonly said of it beside "
                     "DEFER_TASKRUN",
        "use it when": "several threads must enter one ring, which "
                       "DEFER_TASKRUN forbids, or the kernel is older than "
                       "6.1"}),
    "3-no-flags": ("stage3", ["--taskrun", "none"], {
        "commonly said": "completions that interrupt nobody are a noticeable "
                         "win in performance (io_uring: use "
                         "TWA_SIGNAL_NO_IPI, https://git.kernel.org/pub/scm/"
                         "linux/kernel/git/torvalds/linux.git/commit/"
                         "?id=e1169f06d5bbdbc2b22ae4e3083a4bf75ae5ecee)",
        "direction": "CPU more",
        "use it when": "never but on a kernel older than 5.19, which knows "
                       "no other mode"}),
    "5-unpinned": ("stage5", ["--pin", "off"], {
        "commonly said": "workers that are bound to cores avoid context "
                         "switches and cache misses (worker_cpu_affinity, "
                         "https://nginx101.com/directives/"
                         "worker_cpu_affinity/)",
        "direction": "CPU more",
        "use it when": "other programs need the same cpus, so that the "
                       "scheduler should move a worker out of their way"}),
}


def _what_if(name, title, stage, variants, loadgen=(), **more):
    """A stage and variants of it, under the load that decides them."""
    settings = {"params": {"connections": [64]}, "seconds": 0.7,
                "warmup": 0.15, **more}
    return Suite(f"whatif-{name}", title, loadgen=[
        "--connections", "{connections}", *loadgen], only=(stage,),
        variants={v: SWITCHES.get(v, (v, []))[:2] for v in variants},
        reference=stage, trace=False, calls=True, **settings)


def _what_if_suites():
    yield _what_if(
        "registration", "GET /: what epoll is asked for", "stage2",
        ["2-ctl-per-request", "2-edge", "2-quickack"])
    yield _what_if(
        "spin", "GET / at 2,000 a second: a loop that sleeps, or not",
        "stage2", ["2-busy-poll"],
        ["--rate", "{rate}", "--arrivals", "poisson"],
        params={"connections": [8], "rate": [2000]})
    yield _what_if(
        "arrivals", "A connection for each GET /: how peers come in",
        "stage2", ["2-defer-accept", "2-exclusive", "2-jemalloc"],
        ["--close", "--sources", "8"])
    yield _what_if(
        "download", "GET /bytes/1048576: what the kernel holds of it, and how "
        "it sends", "stage2", ["2-no-lowat", "2-bbr", "2-cubic"],
        ["--path", "/bytes/1048576"], params={"connections": [8]})
    yield _what_if(
        "accept", "A connection for each GET /: accepts of a ring",
        "stage3", ["3-accept-multishot"], ["--close", "--sources", "8"])
    yield _what_if(
        "enter", "GET /: how a loop enters the ring", "stage3",
        ["3-registered-wait", "3-sqpoll", "3-napi"])
    yield _what_if(
        "gather", "GET / at 20,000 a second: a minimum wait", "stage3",
        ["3-min-wait"], ["--rate", "{rate}", "--arrivals", "poisson"],
        params={"connections": [64], "rate": [20000]})
    yield _what_if(
        "taskrun", "GET /: when the kernel runs what completes", "stage3",
        ["3-coop", "3-no-flags"])
    yield _what_if(
        "receive", "GET /: how a receive names its memory and its socket",
        "stage4", ["4-direct", "4-recv-plain"])
    yield _what_if(
        "arrive", "GET /: how pieces are filled", "stage4",
        ["4-incremental", "4-recv-multishot"])
    yield _what_if(
        "bundle", "POST of 64 KiB: receives that fill several pieces",
        "stage4", ["4-recv-bundle"],
        ["--method", "POST", "--path", "/echo", "--size", "65536"])
    yield _what_if(
        "upload", "POST of 16 KiB: receives that fill a piece", "stage4",
        ["4-recv-fixed"],
        ["--method", "POST", "--path", "/echo", "--size", "16384"])
    yield _what_if(
        "send", "GET /bytes/16384: sends of a whole piece", "stage4",
        ["4-send-fixed", "4-send-zc"], ["--path", "/bytes/16384"])
    yield _what_if(
        "pool", "GET / through one helper", "stage5",
        ["5-eventfd-wake", "5-mutex-pool"], server=["--pool", "1"])
    yield _what_if(
        "place", "/work/100 on 2 workers and few connections, open loop",
        "stage5", ["5-place-one", "5-place-rr"],
        ["--rate", "{rate}", "--arrivals", "poisson", "--pattern", "uniform",
         "--path", "/work/100"],
        params={"workers": [2], "connections": [16], "rate": [5000]},
        cpus="workers")
    yield _what_if(
        "queue", "GET /: the queue of ready connections, and batches",
        "stage6", ["6-mutex-queue", "6-submit-single"])
    yield _what_if(
        "order", "/work/5 on many connections: what is run first", "stage6",
        ["6-chase-lev"], ["--path", "/work/5"],
        params={"connections": [256]})
    yield _what_if(
        "few", "GET / on two connections: a ring for one at a time", "stage6",
        ["6-submit-batch"], params={"connections": [2]})
    yield _what_if(
        "pads", "GET / on 2 workers: words of different cores 0, 64 or 128 "
        "bytes apart", "stage6", ["6-pad-0", "6-pad-64"],
        server=["--place", "rr"], params={"workers": [2], "connections": [64]},
        cpus="workers")


def _what_if_core_suites():
    """Stages 4 to 6: memory, files, which core gets what, and queues."""
    yield _what_if(
        "pages", "GET /bytes/1048576: copies out of the arena", "stage4",
        ["4-huge-pages"], ["--path", "/bytes/1048576"])
    yield _what_if(
        "files", "GET /files/ of 1 MiB, cached", "stage4", ["4-sendfile"],
        ["--path", "{file}"], server=["--root", "{root}"],
        params={"connections": [64], "size": [1048576], "cache": ["warm"]},
        evict=True)
    workers = {"params": {"workers": [2], "connections": [16]},
               "cpus": "workers"}
    yield _what_if(
        "steer", "/work/100 on 2 workers and few connections: which core gets "
        "a connection", "stage5",
        ["5-cbpf", "5-exclusive", "5-incoming-cpu", "5-unpinned"],
        ["--rate", "{rate}", "--arrivals", "poisson", "--path", "/work/100"],
        params={"workers": [2], "connections": [16], "rate": [5000]},
        cpus="workers")
    yield _what_if(
        "shared", "GET / on 2 workers: a ring for each, or one for both",
        "stage5", ["5-shared-ring"], **workers)
    yield _what_if(
        "inject", "/work/20 on 2 workers: ready connections queued together",
        "stage6", ["6-batch-inject"], ["--path", "/work/20"], **workers)
    yield _what_if(
        "global", "/work/20 on 2 workers: a queue for each, or one for both",
        "stage6", ["6-global-queue"], ["--path", "/work/20"], **workers)
    yield _what_if(
        "timers", "A connection for each GET / on 2 workers: a wheel for each, "
        "or one heap", "stage6", ["6-timer-heap"], ["--close", "--sources",
                                                    "8"], **workers)
    yield _what_if(
        "malloc", "GET / on 2 workers: windows kept, or from the heap",
        "stage6", ["6-malloc"], **workers)


def _all_what_if_suites():
    """Those above, and GET / for each variant that none of them names."""
    named = set()
    for suite in (*_what_if_suites(), *_what_if_core_suites()):
        named |= set(suite.variants)
        yield suite
    others = {}
    for path in sorted(glob.glob(os.path.join(ROOT, "stages", "variants",
                                              "*.patch"))):
        name = os.path.basename(path).removesuffix(".patch")
        if name not in named:
            others.setdefault(name[0], []).append(name)
    for number, names in others.items():
        yield _what_if(f"others-{number}", f"GET /: other variants of stage "
                       f"{number}", f"stage{number}", names)


def _suites():
    # With nothing to do for a request two cores of one speed cannot keep a
    # good server at its limit; with a few us of work they can.
    yield Suite(
        "ladder", "Keep-alive, handlers of 0 to 20 us, closed loop",
        {"handler": [0, 1, 5, 20], "connections": [16, 64, 256]},
        ["--connections", "{connections}", "--path", "{handler}"],
        words={"handler": {0: "/", 1: "/work/1", 5: "/work/5",
                           20: "/work/20"}},
        seconds=1.0, warmup=0.3, blocks=15)
    yield Suite(
        "keepalive", "Keep-alive, GET /, closed loop",
        {"connections": [1, 8, 64, 256, 1024]},
        ["--connections", "{connections}"], blocks=15)
    # What a generator that sleeps makes a server pay; see docs/measuring.md.
    yield Suite(
        "sleeping", "/work/5 asked by a generator that polls, and by one that "
        "sleeps, closed loop",
        {"spin": ["on", "off"], "connections": [16]},
        ["--connections", "{connections}", "--path", "/work/5",
         "--spin", "{spin}"], only=("stage2", "stage3"), seconds=0.5,
        warmup=0.1, blocks=15, trace=False)
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
        "load", "GET / at a share of each server's own capacity, open loop",
        {"connections": [64],
         "load": [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1]},
        ["--connections", "{connections}", "--rate", "{rate}",
         "--arrivals", "poisson"],
        load="--connections {connections}", own_capacity=True, trace=False)
    yield Suite(
        "idle", "Idle keep-alive connections",
        {"idle": [5000, 10000, 19000]},
        ["--connections", "1", "--rate", "20", "--idle", "{idle}",
         "--processes", "{processes}", "--sources", "{sources}"],
        memory=True, trace=False, slope="idle", seconds=2.0)
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
        memory=True, trace=False, seconds=5.0)
    # Of up to 8 blocks an interval ends at the worst: one lost request shows.
    yield Suite(
        "elastic", "Up and down a staircase with as many workers as the load "
        "needs: 1 to 4, by both rules, beside always 4 and always 1, GET /, "
        "open loop",
        {"workers": [4], "connections": [64]}, OPEN, stairs=STAIRS,
        variants={
            "max": ("stage6", []),
            "min": ("stage6", ["--workers", "1"]),
            "wait": ("stage6", ["--workers", "1:4"]),
            "load": ("stage6", ["--workers", "1:4", "--elastic", "load"])},
        load="--connections {connections} --pattern uniform",
        only=("max",), reference="max", trace=False, calls=True, warmup=0,
        blocks=8)
    # Every process of a front counts as the server, all on one cpu.
    yield Suite(
        "hop", "GET / through a front to two of stage 2, open loop",
        {"connections": [64], "rate": [2000, 8000]},
        ["--connections", "{connections}", "--rate", "{rate}",
         "--arrivals", "poisson"],
        only=("stage2", "haproxy-front", "nginx-front"), reference="stage2",
        trace=False, seconds=1.5)
    yield from claim_suites.make(Suite)
    yield from _skew_suites()
    yield from _simcheck_suites()
    yield from _all_what_if_suites()


SUITES = {suite.name: suite for suite in _suites()}

# A run made of several suites.  `budget_s` bounds the whole: slices are made
# shorter, down to `floor_s`, until the plan fits.
RUNS = {
    "quick": {
        "title": "Every stage, what three minutes can decide",
        # The handler of 5 us is where the server is the limit.
        "parts": [
            ("ladder", {"handler": [5], "connections": [64]}, {"blocks": 9}),
            ("show-sleep", {}, {"blocks": 6, "variants": False}),
            ("idle", {"idle": [500, 2000]}, {"blocks": 1}),
        ],
        "seconds": 0.6, "warmup": 0.1, "budget_s": 150, "floor_s": 0.2,
    },
    # Small enough for the repository: rows of less than a MiB.
    "contribute": {
        "title": "What make contribute measures, ten minutes",
        "parts": [
            ("ladder", {"handler": [0, 5, 20], "connections": [64]},
             {"blocks": 9}),
            ("scaling", {}, {"blocks": 3}),
            # What older sets have, of other machines.
            ("keepalive", {"connections": [256]}, {"blocks": 9}),
        ],
        "seconds": 1.0, "warmup": 0.2, "budget_s": 480, "floor_s": 0.3,
    },
    "skew": {
        "title": "Uneven work: the whole matrix takes hours, so cut it with "
                 "--only and --set",
        "parts": [("skew-work", {}, {}), ("skew-sleep", {}, {})],
    },
    "show4": {
        "title": "Stages 5 and 6: what stealing is for, and what it costs",
        # Not show-pools: its 5-spmc has one helper, that of show-sleep eight.
        "parts": [(name, {}, {}) for name in SUITES
                  if name.startswith("show-") and name != "show-pools"],
    },
    "simcheck": {
        "title": "What the simulator is checked against, four minutes",
        "parts": [(name, {}, {"blocks": 1}) for name in SUITES
                  if name.startswith("simcheck-")],
    },
    "whatif": {
        "title": "Every variant beside its stage, under the load that decides "
                 "it",
        "parts": [(name, {}, {}) for name in SUITES
                  if name.startswith("whatif-")],
    },
    "full": {
        "title": "Every suite but skew, show4, simcheck, whatif, claim, hop "
                 "and elastic; 40 minutes for each server",
        "parts": [(name, {}, {}) for name in SUITES
                  if not name.startswith(
                      ("skew-", "show-", "simcheck-", "whatif-", "claim-",
                       "hop", "elastic"))],
    },
}
