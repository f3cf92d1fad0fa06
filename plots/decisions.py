"""The decision table of docs/tuning.md: from a symptom to a change, and to the
size of its effect.

    <!-- figure:decisions bench/results -->

Symptoms, counters and changes are words, and stand here.  Each size is taken
from the newest complete set of the folder that has it; a row whose size has no
set shows the command that measures it.  tables.py writes the table, or fails
where the document says anything else.
"""

import os
import re
import sys
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import claim_rules as rules            # noqa: E402
import stats_math                      # noqa: E402
import summary as summaries            # noqa: E402
from claim_list import what_if         # noqa: E402
from suites import SUITES              # noqa: E402

HEADS = ["you see", "counter, or command", "change", "measured size",
         "kernel", "no effect when"]
# As in the table of variants: docs/tuning.md says what they mean.
UNDECIDED, LIMITED = "~ ", " °"
WORDS = {"cpu_us": "CPU a request", "p99_us": "p99", "p50_us": "p50",
         "own_calls": "system calls a request", "ratio": "CPU an operation",
         "ns_per_update": "time of an update", "fast_p99_us":
         "p99 of short requests", "probe_p99_us": "p99 of `/` beside it",
         "faults": "page faults a request"}


@dataclass(frozen=True)
class Size:
    """The paired ratio of a figure, `ours` to `theirs`; without `theirs` the
    figure itself.  `of`: in which load."""

    suite: str
    ours: str
    theirs: str
    metric: str
    of: str
    cell: dict = field(default_factory=dict)

    def told(self, sets):
        """(text, set), or None: no set has it."""
        ours, theirs = (rules.Series(self.suite, server, self.metric,
                                     self.cell) if server else None
                        for server in (self.ours, self.theirs))
        answer = sets.answer(rules.Check("", ours, theirs, below=1))
        if not answer.found:
            return None
        mid, low, high = answer.found
        show = summaries.ratio_number if theirs else summaries.number
        text = show(mid)
        if low is None:
            text = f"{UNDECIDED}{text}, too few blocks"
        else:
            text += f" ({show(low)} to {show(high)})"
            if theirs and not (decided(sets, answer.source, ours, theirs)
                               and not low <= 1 <= high):
                text = UNDECIDED + text
                if limited(sets, answer.source, ours, theirs):
                    text += LIMITED
        pair = f"{self.ours} / {self.theirs}" if theirs else self.ours
        return f"{WORDS[self.metric]}, {pair}, {self.of}: {text}", \
            answer.source

    @property
    def how(self):
        if self.suite in SUITES:
            return f"`bench/run.py --suite {self.suite}`"
        return f"`bench/micro_run.py {self.suite}`"


@dataclass(frozen=True)
class Slope:
    """Bytes of a server's own memory for each idle connection."""

    server: str
    how = "`bench/run.py --suite idle`"

    def told(self, sets):
        for _, path, suites in sets.known:
            if "idle" not in suites:
                continue
            for found in sets.load(path).summary["slopes"]:
                if found["suite"] == "idle" and \
                        found["server"] == self.server:
                    text = summaries.with_interval(
                        [found["bytes"], found["low"], found["high"]])
                    return (f"bytes an idle connection, {self.server}: "
                            f"{text}"), sets.name(path)
        return None


@dataclass(frozen=True)
class Row:
    """`needs`: the kernel from which on the change can be made.  `how`: the
    command that measures what no set has; a size without one knows its own."""

    symptom: str
    counter: str
    change: str
    sizes: tuple
    needs: str
    idle: str
    how: str = ""


def whatif(variant, stage, metric, of):
    return Size(what_if(variant), variant, stage, metric, of)


def ops(group, batch, method, base, of, size=64):
    return Size("uring_ops", method, base, "ratio", of,
                {"group": group, "batch": batch, "size": size})


def pads(every, pad):
    return Size("padding", "0", pad, "ns_per_update",
                "two cores, one add after the other" if not every else
                f"one add in {every} ns", {"update": "add", "every_ns": every})


HANDLERS = {"handler": 0, "connections": 64}
SLEEPS = {"workers": 8}
COLD = {"cache": "cold", "size": 1 << 20}

ROWS = (
    Row("about two system calls a request",
        "`recvs`, `sends` and `waits` over `requests`; "
        "`bench/trace.py calls --pid P`",
        "submit to a ring: stage 3 in place of stage 2",
        (Size("ladder", "stage3", "stage2", "cpu_us",
              "`GET /` on 64 connections", HANDLERS),
         ops("echo", 64, "RECV, SEND by io_uring", "recv, send",
             "64 completions an enter")),
        "5.19", "one connection is ready at a time"),
    Row("a ring is no faster than epoll",
        "`events` over `waits` is near 1; `bench/trace.py batches --pid P`",
        "stay with plain calls (stage 2, or stage 6 for few connections)",
        (ops("echo", 1, "RECV, SEND by io_uring", "recv, send",
             "1 completion an enter"),
         ops("echo", 4, "RECV, SEND by io_uring", "recv, send",
             "4 completions an enter")),
        "any", "four or more connections are ready at a time"),
    Row("a request costs much more with io_uring than the tables say",
        "the server's first lines: `taskrun coop` or `none`; "
        "`uname -r` before 6.1",
        "a kernel with DEFER_TASKRUN",
        (ops("setup", 16, "no flags", "DEFER_TASKRUN",
             "16 connections, requests arrive while it waits"),
         whatif("3-no-flags", "stage3", "cpu_us", "`GET /`")),
        "6.1", "operations complete while they are submitted"),
    Row("p99 is high while cpus are idle",
        "`works` grows, few `stolen` and `rescued`; "
        "`bench/trace.py ready states --pid P`",
        "stage 6 (`--steal all`), or helpers for handlers that block "
        "(stage 5, `--pool N`)",
        (Size("show-sleep", "stage6", "stage5", "fast_p99_us",
              "one request in 200 sleeps 100 times longer", SLEEPS),
         Size("show-sleep", "5-spmc", "stage5", "fast_p99_us", "the same",
              SLEEPS)),
        "5.19", "all handlers are short and alike"),
    Row("one worker is busy, others are idle",
        "`requests` by `worker`; `bench/trace.py steals --pid P`",
        "stage 6, or deal connections in turn (`--place rr`)",
        (Size("show-one", "stage6", "stage5", "p99_us",
              "all connections on one of 2 workers", {"workers": 2}),
         Size("show-hash", "stage6", "stage5", "p99_us",
              "16 connections by the kernel's hash", {"workers": 2})),
        "5.19", "each worker has thirty connections or more, and all are "
        "alike"),
    Row("helpers cost more CPU than they save",
        "`handed` and `wakes` over `requests`",
        "`--pool 0`: run handlers on the worker",
        (Size("show-pools", "5-spmc", "stage5", "cpu_us",
              "`GET /` through one helper", {"workers": 1}),),
        "any", "handlers block"),
    Row("receives fail with ENOBUFS",
        "`enobufs` grows under the usual load",
        "more pieces: `--buffers`, a power of two", (),
        "5.19", "fewer connections have bytes at a time than there are "
        "pieces",
        "`bench/run.py --suite keepalive --connections 1024 --servers stage4 "
        "--add 'few=stage4 --buffers 64'`"),
    Row("idle connections take much memory",
        "`grep Private /proc/P/smaps_rollup` over open connections "
        "(`accepted` less `closed`)",
        "lend buffers only while bytes move: stage 4 or later",
        (Slope("stage3"), Slope("stage4")),
        "5.19", "all connections are busy; and the kernel's own part, some "
        "KiB for each socket, stays"),
    Row("a server with little to do takes CPU",
        "`parks` and `searches` grow faster than `requests`; `active`",
        "let workers rest: stage 6, `--workers MIN:MAX`",
        (Size("elastic", "wait", "max", "cpu_us", "at 10 % load",
              {"load": 0.1}),
         Size("elastic", "wait", "max", "p99_us", "at 90 % load",
              {"load": 0.9})),
        "5.19", "workers are few, or always busy", "`make claims CLAIM=A12`"),
    Row("latency at low load is high: each request wakes a loop that sleeps",
        "`voluntary_ctxt_switches` in `/proc/P/task/*/status` grows as fast "
        "as `requests`",
        "spin before the sleep (`2-busy-poll`)",
        (whatif("2-busy-poll", "stage2", "p50_us", "2,000 requests a second"),
         whatif("2-busy-poll", "stage2", "cpu_us", "the same")),
        "any", "the load is full: the loop never sleeps"),
    Row("the SQ is full: more enters than turns",
        "`bench/trace.py batches --pid P`: 512 operations submitted at once",
        "SQ_ENTRIES in `stages/parts/uring.h`, and `make`", (),
        "5.19", "a turn has fewer than 512 operations",
        "`make variant NAME=3-more`, change the number there, `make "
        "variant-save NAME=3-more`, `make variants`, `bench/run.py --suite "
        "keepalive --connections 1024 --servers stage3,3-more`"),
    Row("completions overflow their queue",
        "`cq_overflow` is not 0",
        "leave `--cq` alone, or a higher `ulimit -l`", (),
        "5.19", "it is 0",
        "`bench/run.py --suite keepalive --connections 1024 --servers stage3 "
        "--add 'small=stage3 --cq 64'`"),
    Row("downloads of cached files take much CPU",
        "`bench/trace.py flame --pid P`: copies; `reads` over `requests`",
        "hand pages to the socket: `4-sendfile`",
        (whatif("4-sendfile", "stage4", "cpu_us", "cached files of 1 MiB"),),
        "any", "answers are small; never where a disk is slow, since all "
        "others wait for it"),
    Row("all requests stall when a file is not in the cache",
        "`bench/trace.py calls --pid P`: slow `pread64`",
        "reads that complete like sockets: stage 3 or later",
        (Size("files", "stage4", "stage2", "p99_us", "cold files of 1 MiB",
              COLD),
         Size("files", "stage4", "stage2", "probe_p99_us", "the same",
              COLD)),
        "5.6", "all files are cached"),
    Row("big downloads are slow to far peers",
        "`ss -ti`: a small `cwnd`, many `retrans`",
        "another congestion control (`2-bbr`, `2-cubic`)",
        (whatif("2-bbr", "stage2", "cpu_us", "1 MiB over loopback"),),
        "4.9", "peers are near and nothing is lost, as here"),
    Row("new connections come in bursts, or one for each request",
        "`accepted` over `requests`; `nstat -az TcpExtListenOverflows`",
        "`net.core.somaxconn`; one accept for all peers "
        "(`3-accept-multishot`); accept with the request (`2-defer-accept`)",
        (whatif("3-accept-multishot", "stage3", "cpu_us",
                "a connection a request"),
         whatif("2-defer-accept", "stage2", "cpu_us", "the same")),
        "5.19, but not 6.6 to 6.8", "connections stay open"),
    Row("zero-copy sends do not pay",
        "`zc_copied` grows as fast as `sends`",
        "plain sends: stage 4 in place of `4-send-zc`",
        (whatif("4-send-zc", "stage4", "cpu_us", "answers of 16 KiB"),),
        "6.0", "a card takes the bytes from your pages, and answers have "
        "many KiB"),
    Row("uploads take system time that no call explains",
        "`perf stat -e minor-faults -p P sleep 5` over `requests`",
        "keep freed memory: `GLIBC_TUNABLES="
        "glibc.malloc.trim_threshold=16777216`",
        (Size(what_if("4-recv-fixed"), "stage4", "", "faults",
              "POST of 16 KiB"),),
        "any", "requests have no body: then nothing is allocated",
        "`bench/run.py --suite whatif-upload`, then with GLIBC_TUNABLES "
        "set"),
    Row("a core slows down when another one writes (false sharing)",
        "`perf c2c record -p P`, on bare metal",
        "words of different cores on lines of their own: PAD (128)",
        (pads(0, "128"), pads(500, "128"),
         Size("show-pads", "pad0", "stage6", "cpu_us", "`GET /` on 2 "
              "workers", {"workers": 2})),
        "any", "such a word is written a few times a request"),
)


def place(sets, source):
    """The folder of a set that is named from the root."""
    return os.path.join(sets.root, source) if sets.root else source


def decided(sets, source, ours, theirs):
    """What the tables of the set itself say of this ratio; only they know how
    many others it was looked at with (Holm)."""
    told = getattr(sets.load(place(sets, source)), "summary", {})
    for found in told.get("comparisons", ()):
        if (found["suite"], found["metric"], found["server"], found["base"]) \
                == (ours.suite, ours.metric, ours.server, theirs.server) and \
                all(found["cell"].get(k) == v for k, v in ours.cell.items()):
            return found["verdict"] in (stats_math.LOWER, stats_math.HIGHER)
    return True


def limited(sets, source, *series):
    """Whether the generator was the limit of one of them."""
    asked = getattr(sets.load(place(sets, source)), "limited", None)
    return bool(asked) and any(asked(one) for one in series)


def kernel_of(sets, source):
    """"6.18" of the machine of a set."""
    machine = sets.load(place(sets, source)).manifest["machine"]
    found = re.match(r"\d+\.\d+", machine.get("kernel", ""))
    return found[0] if found else "?"


def size_of(row, sets):
    """(what was measured, the kernels it was measured on)"""
    parts, kernels, missing = [], [], []
    for size in row.sizes:
        told = size.told(sets)
        if told:
            text, source = told
            parts.append(f"{text} (`{os.path.basename(source)}`)")
            kernels.append(kernel_of(sets, source))
        else:
            missing.append(row.how or size.how)
    if row.how and not missing:
        missing.append(row.how)
    parts += [f"no set yet: {how}" for how in dict.fromkeys(missing)]
    return "<br>".join(parts), list(dict.fromkeys(kernels))


def render(sets):
    body = []
    for row in ROWS:
        text, kernels = size_of(row, sets)
        kernel = f"from {row.needs}" if row.needs[0].isdigit() else row.needs
        if kernels:
            kernel += f"; here {', '.join(kernels)}"
        body.append([row.symptom, row.counter, row.change, text, kernel,
                     row.idle])
    return summaries.table(HEADS, body)


def block(folder, root):
    return render(rules.Sets(os.path.join(root, folder), root=root))
