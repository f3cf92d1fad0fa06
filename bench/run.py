#!/usr/bin/python3
"""The matrix runner: suites x servers x blocks -> a result set.

Server and client are pinned apart.  A block of a cell visits every server in
one random order and then in the reverse one, so that a drift of the machine
cancels; what is compared are the ratios inside a block.  Before and after each
block a fixed loop is timed.  Where the load is a closed loop, all servers of a
block are up and take turns of some hundredths of a second (turns.py); on a
staircase they take turns at each step (stairs.py); elsewhere each has a slice
of its own, and a block in which the machine changed is done again.  Every slice
has a fresh server, but all steps of a staircase have one.  A slice with errors,
overflowed completions, stolen time or other programs beside it is kept in the
rows, marked, and done again.

  run.py --suite quick
  run.py --suite keepalive --servers stage2,stage3 --peers --blocks 31
  run.py --suite keepalive --add 'plain=stage4 --recv plain' --servers stage4
  run.py skew --only skew-work --set service=bimodal --set place=one
  run.py all --peers --out DIR --resume
  run.py --list
"""

import argparse
import dataclasses
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import ending                                               # noqa: E402
import inherit                                              # noqa: E402
import machine                                              # noqa: E402
import remote                                               # noqa: E402
import results                                              # noqa: E402
import sittings                                             # noqa: E402
import slices                                               # noqa: E402
import stairs                                               # noqa: E402
import stats_math                                           # noqa: E402
import summary as summaries                                 # noqa: E402
import turns                                                # noqa: E402
from fronts import catalogue, fronts                        # noqa: E402
from peers import peers                                     # noqa: E402
from servers import (Failed, Skipped, Stage,                # noqa: E402
                     own_server)
from suites import RUNS, SUITES                             # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OVERHEAD_S = 0.45     # of a slice, until measured: start, connect, stop
TRACE_S = 0.6
ATTACH_S, WAKEUPS_S = 0.5, 3.0   # until a tracer counts
CAPACITY_BLOCKS = 3
VISITS = 2            # of each server, a block: there and back again
CALIBRATION_S = 0.12  # until measured
STALE_S = 3.0         # a calibration older than that says nothing
LOOK_MS = 500         # a calibration around slices: their p99 is looked at
MAX_DRIFT = summaries.DRIFT_LIMIT     # that it may move in a block
CONNECTS_PER_S = 4000
CROWD_PER_PROCESS = 15000
CROWD_PER_SOURCE = 20000
USAGE, SKIP, INTERRUPTED = 64, 77, 130


# --- the plan -------------------------------------------------------------

class Part:
    """One suite of a run, with its cells and what the command line changed."""

    def __init__(self, suite, settings):
        if settings.get("variants") is False:
            suite = dataclasses.replace(suite, variants={})
        self.suite = suite
        self.params = dict(suite.params)
        self.blocks = settings.get("blocks", suite.blocks)
        self.seconds = settings.get("seconds", suite.seconds)
        self.warmup = settings.get("warmup", suite.warmup)
        self.trace = settings.get("trace", suite.trace) and not suite.stairs
        self.turn_s = settings.get("turn_s", 0)     # 0: no turns
        self.capacity = {}   # cell_key(capacity_cell) -> requests/s
        for name, values in settings.get("params", {}).items():
            if name in self.params:
                self.params[name] = values

    def cells(self):
        names = list(self.params)
        found = [{}]
        for name in names:
            found = [{**c, name: v} for c in found for v in self.params[name]]
        return found

    def steps(self, cell):
        """The cells that one start of a server is measured in."""
        return [{**cell, "step": number, "load": load} for number, load in
                enumerate(self.suite.stairs, 1)] or [cell]

    def visits(self):
        """How many slices of a server a block has; in turns it is one."""
        return 1 if self.turn_s or self.suite.stairs else VISITS

    def capacity_cell(self, cell):
        """Where the capacity is measured that `load` is a share of."""
        found = {name: v for name, v in cell.items()
                 if name not in ("load", "step")}
        return {**found, **{name: v for name, v in
                            self.suite.capacity_at.items() if name in found}}

    def capacity_cells(self):
        cells = {}
        for cell in self.cells():
            at = self.capacity_cell(cell)
            cells[summaries.cell_key(at)] = at
        return list(cells.values())

    def describe(self, app):
        title = self.suite.title
        if app == "echo":
            title = title.replace("GET /", "echo")
        more = {name: value for name, value in
                (("capacity_at", self.suite.capacity_at),
                 ("reference", self.suite.reference),
                 ("cpus", self.suite.cpus), ("words", self.suite.words),
                 ("stairs", self.suite.stairs),
                 ("variants", self.suite.variants)) if value}
        return {"suite": self.suite.name, "title": title,
                "params": self.params, "blocks": self.blocks,
                "seconds": self.seconds, "warmup": self.warmup,
                "loadgen": self.suite.loadgen, "server": self.suite.server,
                "slope": self.suite.slope, "load": self.suite.load, **more,
                **({"turn_s": self.turn_s} if self.turn_s else {})}

    def measured_s(self):
        """Of a row: in turns it holds both visits."""
        return self.seconds * (VISITS if self.turn_s else 1)

    def slice_s(self, overhead):
        """A slice of average cost: a crowd takes time to connect."""
        crowds = self.params.get("idle", [0])
        return (self.measured_s() + self.warmup + overhead
                + sum(crowds) / len(crowds) / CONNECTS_PER_S)

    def count(self, servers):
        """(measured slices, traced slices, capacity slices)"""
        cells = len(self.cells()) * len(self.steps({}))
        capacity = len(self.capacity_cells()) if self.needs_capacity else 0
        return (cells * servers * self.blocks * self.visits(),
                cells * servers if self.trace else 0,
                capacity * servers * CAPACITY_BLOCKS)

    needs_capacity = False

    def trace_s(self):
        return (TRACE_S + OVERHEAD_S + ATTACH_S
                + (WAKEUPS_S if self.suite.wakeups else 0))

    def estimate(self, servers, overhead):
        measured, traced, capacity = self.count(servers)
        return ((measured + capacity) * self.slice_s(overhead)
                + len(self.cells()) * self.blocks * CALIBRATION_S
                + traced * self.trace_s())

    def takes(self, servers, other):
        """The servers that belong here: the suite's own variants, and of
        `other`, the variants of all parts, none else."""
        only = self.suite.only
        return [name for name, server in servers.items()
                if name in self.suite.variants or name not in other
                and (not only or name in only or server.added)]


def parse_values(text):
    return [results.number_or_word(word) for word in text.split(",") if word]


def make_parts(name, args):
    """The parts of a run, by the suite's name and the command line."""
    override = {key: getattr(args, key) for key in
                ("blocks", "seconds", "warmup")
                if getattr(args, key) is not None}

    def part_of(suite, settings):
        turn_s = args.turns if turns.possible(suite, args.loadgen_arg) else 0
        return Part(suite, {**settings, "turn_s": turn_s})

    if args.no_trace:
        override["trace"] = False
    params = dict(args.set)
    if name in SUITES:
        return [part_of(SUITES[name], {**override, "params": params})], None
    run = RUNS[name]
    kept = args.only.split(",") if args.only else None
    names = [part[0] for part in run["parts"]]
    for wanted in kept or ():
        if wanted not in names:
            raise ValueError(f"--only {wanted}: {name} is made of "
                             f"{', '.join(names)}")
    base = {key: run[key] for key in ("seconds", "warmup") if key in run}
    parts = [part_of(SUITES[suite],
                     {**base, **settings, **override,
                      "params": {**cells, **params}})
             for suite, cells, settings in run["parts"]
             if not kept or suite in kept]
    shaped = {"blocks", "seconds", "warmup"} & set(override)
    return parts, run if "budget_s" in run and not shaped else None


PLAIN = "--connections {connections}"   # what the suite keepalive measures


def find_capacities(parts):
    """Marks the parts that must measure capacity themselves."""
    measured = set()
    for part in parts:
        if part.suite.load:
            wanted = set(part.params.get("connections", [64]))
            part.needs_capacity = (part.suite.load != PLAIN
                                   or not wanted <= measured)
        if part.suite.name == "keepalive":
            measured |= set(part.params["connections"])


def fit_budget(parts, run, servers):
    """Shortens the slices until the whole fits into the run's budget."""
    if not run:
        return
    other = variants_of(parts)
    counts = [(p, len(p.takes(servers, other))) for p in parts]
    total = sum(p.estimate(n, OVERHEAD_S) for p, n in counts)
    fixed = total - sum((sum(p.count(n)) - p.count(n)[1]) * p.measured_s()
                        for p, n in counts)
    if total <= run["budget_s"]:
        return
    share = max(0.0, (run["budget_s"] - fixed) / (total - fixed))
    for part in parts:
        part.seconds = max(run["floor_s"], round(part.seconds * share, 2))


# --- files that are served ------------------------------------------------

class Fixtures:
    """The directory behind /files/: one file for each size, made once."""

    def __init__(self, build):
        os.makedirs(build, exist_ok=True)
        # Under build/, not in /tmp: that may be memory and is never cold.
        self.root = tempfile.mkdtemp(prefix="files-", dir=build)
        os.chmod(self.root, 0o755)

    def path(self, size):
        full = os.path.join(self.root, f"{size}.bin")
        if not os.path.exists(full):
            with open(full, "wb") as f:
                f.write(os.urandom(size))
                f.flush()
                os.fsync(f.fileno())   # only clean pages can be dropped
        return full

    def evict(self, size):
        fd = os.open(self.path(size), os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)

    def remove(self):
        shutil.rmtree(self.root, ignore_errors=True)


# --- progress -------------------------------------------------------------

def clock_text(seconds):
    seconds = max(0, int(seconds + 0.5))
    if seconds >= 3600:
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{seconds // 60}:{seconds % 60:02}"


class Progress:
    """A line that is rewritten on a terminal, or a line a block elsewhere."""

    def __init__(self, slices_left_s, count, stream=None):
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.left_s, self.count, self.done = slices_left_s, count, 0
        self.began = time.monotonic()
        self.planned = slices_left_s
        self.block = None

    def step(self, cost_s, block, text):
        self.done += 1
        self.left_s -= cost_s
        elapsed = time.monotonic() - self.began
        spent = self.planned - self.left_s
        # The plan's estimate, corrected by how it has held so far.
        eta = self.left_s * (elapsed / spent if spent > 0 else 1)
        line = (f"[{self.done:3}/{self.count}] {text}  "
                f"ETA {clock_text(eta)}")
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write("\r\033[K" + line[:width])
        elif block != self.block:
            self.stream.write(line + "\n")
        self.block = block
        self.stream.flush()

    def say(self, text):
        if self.live:
            self.stream.write("\r\033[K")
        self.stream.write(text + "\n")
        self.stream.flush()

    def end(self):
        if self.live:
            self.stream.write("\r\033[K")
            self.stream.flush()


# --- the run --------------------------------------------------------------

class Run:
    def __init__(self, args, parts, servers, rig, writer, fixtures):
        self.args, self.parts, self.servers = args, parts, servers
        self.rig, self.writer, self.fixtures = rig, writer, fixtures
        self.rng = random.Random(args.seed)
        self.rigs = {}
        self.progress = None
        self.number = 0
        self.calibration = None     # (when, slices.calibrate(), rig)

    def everything(self):
        total, count = planned(self.parts, self.servers)
        self.progress = Progress(total, count)
        for part in self.parts:
            self.run_part(part)
        self.progress.end()

    def run_part(self, part):
        if part.suite.load:
            self.find_capacity(part)
        cells = [c for c in part.cells() if self.feasible(part, c)]
        for block in range(part.blocks):
            order = list(cells)
            self.rng.shuffle(order)
            for cell in order:
                self.run_block(part, cell, block)
        if part.trace:
            for cell in cells:
                for name in self.fitting(part):
                    if self.answers(part, cell, name, "measure"):
                        self.trace(part, cell, name)

    def fitting(self, part):
        return part.takes(self.servers, variants_of(self.parts))

    def answers(self, part, cell, name, kind):
        """Whether a peer has the route that a cell asks for."""
        suite = part.suite
        templates = suite.loadgen if kind == "measure" else suite.load.split()
        path = "/"
        for word, value in zip(templates, templates[1:]):
            if word == "--path":
                path = self.arguments(part, {**cell, "load": 0} if "load"
                                      in cell else cell, [value])[0]
            elif word == "--service-kind":
                path = f"/{value}/1"
        return self.servers[name].answers(path)

    def rig_of(self, part, cell):
        """The cpus of a cell: as for all, unless each worker is to have one.
        """
        args = self.args
        if (part.suite.cpus != "workers" or "workers" not in cell
                or args.server_cpus or args.client_cpus):
            return self.rig
        if cell["workers"] not in self.rigs:
            self.rigs[cell["workers"]] = self.rig.for_workers(
                cell["workers"])
        return self.rigs[cell["workers"]]

    def feasible(self, part, cell):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard != resource.RLIM_INFINITY and \
                cell.get("idle", 0) + 500 > hard:
            self.progress.say(
                f"{part.suite.name}: {cell['idle']} connections left out, the "
                f"descriptor limit is {hard}")
            return False
        return True

    def find_capacity(self, part):
        """The lowest capacity of all servers, the same rates for all; or that
        of each, where the suite asks for it."""
        for cell in part.capacity_cells():
            if part.needs_capacity:
                for block in range(CAPACITY_BLOCKS):
                    self.run_servers(part, cell, block, "capacity")
            found = {}
            for row in self.writer.rows:
                same = row["suite"] == (
                    part.suite.name if part.needs_capacity else "keepalive")
                kind = "capacity" if part.needs_capacity else "measure"
                if same and row["kind"] == kind and row["valid"] \
                        and row["cell"] == cell:
                    found.setdefault(row["server"], []).append(
                        row["metrics"]["qps"])
            if not found:
                raise slices.Aborted(
                    f"{part.suite.name}: no capacity could be measured")
            medians = {n: stats_math.median(v) for n, v in found.items()}
            part.capacity[summaries.cell_key(cell)] = {
                name: medians.get(name, min(medians.values()))
                if part.suite.own_capacity else min(medians.values())
                for name in self.servers}

    def run_servers(self, part, cell, block, kind, attempt=0):
        """Every server, in one random order; to measure, then in reverse."""
        names = [name for name in self.fitting(part)
                 if self.answers(part, cell, name, kind)]
        self.rng.shuffle(names)
        visits = [names, names[::-1]] if kind == "measure" else [names]
        for visit, found in enumerate(visits):
            for order, name in enumerate(found):
                self.run_slice(part, cell, name, kind, {
                    "block": block, "try": attempt, "visit": visit,
                    "order": order})

    def in_turns(self, part, cell):
        """Whether all servers are up; short turns are for one generator's
        thread."""
        return bool(part.suite.stairs) or part.turn_s > 0 and \
            len(self.rig_of(part, cell).client_cpus) == 1

    def run_block(self, part, cell, block):
        """One block, done again while the machine does not hold still; in
        turns that cancels, and it is done again while a server fails."""
        takes_turns = self.in_turns(part, cell)
        for attempt in range(self.args.redo + 1):
            last = attempt == self.args.redo
            before = self.calibrated(part, cell)
            if takes_turns:
                whole = self.run_turns(part, cell, block, attempt, last)
            else:
                self.run_servers(part, cell, block, "measure", attempt)
            self.calibration = None
            after = self.calibrated(part, cell)
            ns = [{cpu: found["round_ns"] for cpu, found in end.items()}
                  for end in (before, after)]
            moved = max(100 * abs(ns[1][c] / ns[0][c] - 1) for c in ns[0])
            row = {"block": block, "try": attempt,
                   "calibration": ns, "moved_pct": moved,
                   "slow": [[found["slow_pct"], found["slow_ms"]]
                            for end in (before, after)
                            for found in end.values()],
                   "metrics": {}, "valid": whole or last if takes_turns
                   else moved <= self.args.max_drift, "turns": takes_turns}
            if not row["valid"]:
                row["last_try"] = last
                why = "a server could not be used" if takes_turns else \
                    f"the machine changed by {moved:.1f} %"
                self.progress.say(
                    f"{part.suite.name} {summaries.cell_text(cell)} block "
                    f"{block + 1}: {why}: "
                    + ("given up" if last else "again"))
            for step in part.steps(cell):
                self.writer.add({**self.common(part, step, None, "block"),
                                 **row})
            if row["valid"]:
                break

    def run_turns(self, part, cell, block, attempt, last):
        """A block in turns; whether all of it may be used."""
        steps = part.steps(cell)
        found, count = self.measured_turns(part, cell, steps)
        for order, (name, rows) in enumerate(found.items()):
            for step, fields in zip(steps, rows):
                if part.suite.calls and fields["metrics"]:
                    fields["metrics"]["own_calls"] = slices.own_calls(
                        self.servers[name], fields.get("counters"))
                row = {**self.common(part, step, name, "measure"),
                       "block": block, "try": attempt, "visit": 0,
                       "order": order, "turns": count, "attempt": attempt,
                       **fields}
                if not row["valid"]:
                    row["last_try"] = last
                    self.progress.say(
                        f"{part.suite.name} {summaries.cell_text(step)} "
                        f"{name} block {block + 1}: {'; '.join(row['why'])}")
                self.writer.add(row)
                self.tell(part, step, name, block, "measure", row)
        return all(fields["valid"] for rows in found.values()
                   for fields in rows)

    def measured_turns(self, part, cell, steps):
        """({server: [fields of the row of each step]}, turns of each row)"""
        rig = self.rig_of(part, cell)
        works = [(name, self.servers[name],
                  self.starting(part, cell, self.servers[name]),
                  [self.loadgen_words(part, step, name, part.suite.loadgen)
                   for step in steps])
                 for name in self.fitting(part)
                 if self.answers(part, cell, name, "measure")]
        if part.suite.stairs:
            return stairs.measure(rig, works, part.seconds, part.warmup,
                                  self.rng), 1
        found = turns.measure(rig, [(*work[:3], work[3][0]) for work in works],
                              part.measured_s(), part.warmup, part.turn_s,
                              self.rng)
        return ({name: [fields] for name, fields in found.items()},
                VISITS * turns.rounds(part.measured_s(), part.turn_s))

    def loadgen_words(self, part, cell, name, templates):
        args = self.arguments(part, cell, templates, name) \
            + self.args.loadgen_arg
        return args + (["--app", "echo"] if self.args.app == "echo" else [])

    def calibrated(self, part, cell):
        """How fast the cpus of both sides are: the end of one block is the
        beginning of the next, unless something took its time between them."""
        rig = self.rig_of(part, cell)
        if (not self.calibration or self.calibration[2] is not rig
                or time.monotonic() - self.calibration[0] > STALE_S):
            self.calibration = None
            found = rig.calibrate(self.args.build, 0 if self.in_turns(
                part, cell) else LOOK_MS)
            self.calibration = time.monotonic(), found, rig
        return self.calibration[1]

    def arguments(self, part, cell, templates, name=None):
        """`name`: the server, where the rate may be its own."""
        values = {name: part.suite.words.get(name, {}).get(value, value)
                  for name, value in cell.items()}
        if "load" in cell:
            capacity = part.capacity[
                summaries.cell_key(part.capacity_cell(cell))]
            values["rate"] = max(1, round(cell["load"] * capacity.get(
                name, min(capacity.values()))))
        if "idle" in cell:
            crowd = cell["idle"]
            values["processes"] = crowd // CROWD_PER_PROCESS + 1
            values["sources"] = crowd // CROWD_PER_SOURCE + 1
        if "size" in cell:
            values["file"] = f"/files/{cell['size']}.bin"
        if self.fixtures:
            values["root"] = self.fixtures.root
        return [word.format(**values) for word in templates]

    def starting(self, part, cell, server):
        start = {"app": self.args.app or part.suite.app}
        if server.kind == "stage":
            start["extra"] = self.arguments(part, cell, part.suite.server)
        if self.fixtures:
            start["root"] = self.fixtures.root
        if slices.stage_number(server) >= 5:
            start["workers"] = cell.get("workers",
                                        len(self.rig.server_cpus))
        return start

    def common(self, part, cell, name, kind):
        self.number += 1
        return {"kind": kind, "suite": part.suite.name, "cell": cell,
                "server": name, "number": self.number}

    def run_slice(self, part, cell, name, kind, place):
        """One slice, done again while it must not be used; `place`: where in
        the block it is."""
        server, suite = self.servers[name], part.suite
        templates = suite.loadgen if kind == "measure" else suite.load.split()
        args = self.loadgen_words(part, cell, name, templates)
        each = None
        if suite.evict and cell.get("cache") == "cold":
            def each():
                self.fixtures.evict(cell["size"])
        if suite.evict:
            self.fixtures.path(cell["size"])
        probe = self.arguments(part, cell, suite.probe)
        for attempt in range(self.args.redo + 1):
            fields = slices.measure(
                self.rig_of(part, cell), server,
                self.starting(part, cell, server), args, part.seconds,
                part.warmup, self.rng.randrange(1, 1 << 30),
                memory=suite.memory, probe=probe, each=each,
                threads=suite.threads)
            if suite.calls or self.rig.counts_calls:
                fields["metrics"]["own_calls"] = slices.own_calls(
                    server, fields.get("counters"))
            row = {**self.common(part, cell, name, kind), **place,
                   "attempt": attempt, **fields}
            if not row["valid"]:
                row["last_try"] = attempt == self.args.redo
                self.progress.say(
                    f"{suite.name} {summaries.cell_text(cell)} {name} block "
                    f"{place['block'] + 1}: {'; '.join(row['why'])}"
                    + (": given up" if row["last_try"] else ": again"))
            self.writer.add(row)
            if row["valid"]:
                break
        self.tell(part, cell, name, place["block"], kind, row)

    def tell(self, part, cell, name, block, kind, row):
        m = row["metrics"]
        text = (f"{part.suite.name} {summaries.cell_text(cell)} "
                f"{'capacity ' if kind == 'capacity' else ''}"
                f"block {block + 1} {name}")
        if m.get("qps"):
            text += f" {m['qps']:,.0f}/s"
        if m.get("cpu_us"):
            text += f" {m['cpu_us']:.2f} us"
        self.progress.step(part.slice_s(OVERHEAD_S),
                           (part.suite.name, kind, block), text)

    def trace(self, part, cell, name):
        server = self.servers[name]
        args = self.loadgen_words(part, cell, name, part.suite.loadgen)
        if part.suite.evict:
            self.fixtures.path(cell["size"])
        fields = slices.trace(
            self.rig_of(part, cell), server,
            self.starting(part, cell, server),
            args, TRACE_S,
            self.rng.randrange(1, 1 << 30), wakeups=part.suite.wakeups)
        row = {**self.common(part, cell, name, "trace"), "block": 0,
               **fields}
        if not row["valid"]:
            row["last_try"] = True
        self.writer.add(row)
        self.progress.step(part.trace_s(),
                           (part.suite.name, "trace", 0),
                           f"{part.suite.name} system calls {name}")


# --- servers that can run -------------------------------------------------

def variants_of(parts):
    return {name for part in parts for name in part.suite.variants}


def planned(parts, servers):
    """(seconds, runs) that the parts take."""
    other = variants_of(parts)
    counts = [(p, len(p.takes(servers, other))) for p in parts]
    return (sum(p.estimate(n, OVERHEAD_S) for p, n in counts),
            sum(sum(p.count(n)) for p, n in counts))


def choose_servers(args, known, parts=()):
    """The names to run, in the order they are compared in."""
    own = {}
    for part in parts:
        for name, (stage, words) in part.suite.variants.items():
            base = known.get(stage) or Stage(stage, os.path.join(args.build,
                                                                 stage))
            own[name] = Stage(name, base.binary, words)
    for spec in args.add:
        server = own_server(spec, known)
        server.added = True
        own[server.name] = server
    if args.servers:
        names = [n for n in args.servers.split(",") if n]
    else:
        names = default_names(known, parts, args.build)
    if args.peers:
        names += [n for n in peers(ROOT, args.build) if n not in names]
    names += [n for n in own if n not in names]
    unknown = [n for n in names if n not in known and n not in own]
    for name in list(unknown):
        # A stage that does not exist yet is skipped like one not built.
        if name.startswith("stage") and name[5:] in "123456" and name[5:]:
            known[name] = Stage(name, os.path.join(args.build, name))
            unknown.remove(name)
    if unknown:
        raise ValueError(f"unknown server {', '.join(unknown)}; known: "
                         f"{', '.join([*known, *own])}")
    if not names:
        raise ValueError("no server to run: build one (make), or --servers")
    without = [n for n in (args.without or "").split(",") if n]
    for name in without:
        if name not in names:
            raise ValueError(f"--without {name}: it would not run anyway")
    names = [n for n in names if n not in without]
    return {name: own.get(name) or known[name] for name in names}


def default_names(known, parts, build):
    """All stages; what the parts are for, where they all say."""
    if parts and all(part.suite.only for part in parts):
        wanted = {name for part in parts for name in part.suite.only}
        # A stage that is not built is asked for all the same: it is skipped,
        # with the reason.
        order = [*(f"stage{n}" for n in range(1, 7)), *peers(ROOT, build),
                 *fronts(ROOT, build)]
        for name in wanted - set(known):
            known[name] = Stage(name, os.path.join(build, name))
        return [name for name in order if name in wanted]
    return [n for n, s in known.items()
            if s.kind == "stage" and not s.variant]


def words_of(part):
    """What the part gives a stage at its start, each list once; none where
    that is not known before the run."""
    try:
        found = [[word.format(**cell) for word in part.suite.server]
                 for cell in part.cells() + part.capacity_cells()]
    except KeyError:
        return []
    return [words for n, words in enumerate(found)
            if words and words not in found[:n]]


def preflight(servers, cpus, app, parts=()):
    """Starts each one once: ({name: reason} of those that cannot run here,
    the names of those that should run and do not)."""
    skipped, broken, other = {}, [], variants_of(parts)
    for name, server in servers.items():
        try:
            server.available()
            server.start(cpus, app=app).stop()
            for part in parts:
                if server.kind != "stage" \
                        or name not in part.takes(servers, other):
                    continue
                for words in words_of(part):
                    server.start(cpus, app=app, extra=words).stop()
        except Skipped as err:
            skipped[name] = str(err)
        except Failed as err:
            skipped[name] = f"failed: {err}"
            broken.append(name)
    return skipped, broken


def placements(server, parts):
    """{variant: sha256} of those that run in the server's stead."""
    found = {}
    if server.kind != "stage":
        return found
    for words in (words for part in parts for words in words_of(part)):
        binary = server.placed(words)[0]
        if binary != server.binary:
            found[os.path.basename(binary)] = machine.sha256(binary)
    return found


def describe_servers(servers, skipped, build, parts):
    found = {}
    for name, server in servers.items():
        entry = {"kind": server.kind}
        if name in skipped:
            entry["skipped"] = skipped[name]
        elif server.kind == "stage" or server.binary.startswith(build):
            entry["binary"] = os.path.relpath(server.binary, build)
            entry["args"] = server.args
            entry["sha256"] = machine.sha256(server.binary)
            entry["compiled_with"] = machine.compiled_with(server.binary)
            placed = placements(server, parts)
            if placed:
                entry["placed"] = placed
        if name not in skipped and server.kind == "peer":
            entry["file"], entry["configuration"] = server.configuration()
        found[name] = entry
    return found


# --- the command line -----------------------------------------------------

def parse_setting(text):
    name, equals, values = text.partition("=")
    if not equals or not parse_values(values):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE,...")
    return name, parse_values(values)


def positive(kind):
    def parse(text):
        value = kind(text)
        if value <= 0:
            raise ValueError
        return value
    parse.__name__ = f"positive {kind.__name__}"
    return parse


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def parse_arguments(argv):
    p = Parser(description=__doc__.partition("\n\n")[0],
               epilog="suites: " + ", ".join([*RUNS, *SUITES]))
    p.add_argument("name", nargs="?", metavar="SUITE",
                   choices=["all", *RUNS, *SUITES],
                   help="what to run (quick); all: every suite, see --resume")
    p.add_argument("--suite", choices=[*RUNS, *SUITES], metavar="NAME",
                   help="the same")
    p.add_argument("--resume", action="store_true",
                   help="of all: goes on with --out DIR where it stopped")
    p.add_argument("--list", action="store_true",
                   help="the suites and their cells")
    p.add_argument("--plan", action="store_true",
                   help="say how long it would take, and stop")
    p.add_argument("--servers", metavar="A,B",
                   help="stage1 ... stage6, variants, peers (all stages)")
    p.add_argument("--peers", action="store_true",
                   help="in the same blocks: "
                        + ", ".join(peers(ROOT, "build")))
    p.add_argument("--add", action="append", default=[], metavar="NAME=CMD",
                   help="a variant: 'plain=stage4 --recv plain'")
    p.add_argument("--without", metavar="A,B",
                   help="servers to leave out, variants of a suite too")
    p.add_argument("--only", metavar="SUITE,SUITE",
                   help="these suites of a run that is made of several")
    p.add_argument("--blocks", type=positive(int), metavar="N")
    p.add_argument("--seconds", type=positive(float), metavar="S",
                   help="measured, per slice")
    p.add_argument("--warmup", type=float, metavar="S",
                   help="dropped, per slice")
    p.add_argument("--turns", type=float, metavar="S",
                   default=turns.TURN_S,
                   help="closed loops: the servers of a block take turns of "
                        "this length; 0: one after the other, a whole slice "
                        f"each ({turns.TURN_S:g})")
    p.add_argument("--connections", metavar="N,M",
                   help="the same as --set connections=N,M")
    p.add_argument("--set", action="append", default=[], type=parse_setting,
                   metavar="PARAM=V,W", help="other values of a parameter")
    p.add_argument("--app", choices=["http", "echo"])
    p.add_argument("--redo", type=int, default=2, metavar="N",
                   help="times a bad slice is done again (2)")
    p.add_argument("--max-steal", type=float, metavar="PERCENT",
                   default=slices.STEAL_LIMIT,
                   help="a slice with more is done again (5)")
    p.add_argument("--max-foreign", type=float, metavar="PERCENT",
                   default=slices.FOREIGN_LIMIT,
                   help="the same for the time of other programs (10)")
    p.add_argument("--max-drift", type=float, metavar="PERCENT",
                   default=MAX_DRIFT,
                   help="a block in which the calibration moved by more is "
                        "done again (5)")
    p.add_argument("--draft", action="store_true",
                   help="into bench/results from a tree with changes; such a "
                        "set cannot be quoted")
    p.add_argument("--workers", type=positive(int), default=1, metavar="N",
                   help="cpus of the server (1)")
    p.add_argument("--no-trace", action="store_true",
                   help="leave out the runs that count system calls")
    p.add_argument("--server-cpus", type=machine.cpu_list,
                   metavar="LIST")
    p.add_argument("--client-cpus", type=machine.cpu_list, metavar="LIST")
    p.add_argument("--seed", type=int, metavar="X")
    p.add_argument("--out", metavar="DIR",
                   help="result set (build/results/DATE-SUITE)")
    p.add_argument("--summarise", metavar="DIR",
                   help="make the summary of an existing result set again")
    p.add_argument("--build", default=os.path.join(ROOT, "build"),
                   metavar="DIR", help="where the binaries are")
    p.add_argument("--loadgen", metavar="PATH")
    p.add_argument("--engine", choices=["auto", "uring", "epoll"],
                   default="epoll",
                   help="the generator's: auto takes a ring where there is "
                        "one; a set has one engine only (epoll)")
    p.add_argument("--loadgen-arg", action="append", default=[],
                   metavar="ARG", help="one more argument of the generator")
    remote.add_arguments(p)
    args = p.parse_args(argv)
    args.suite = args.suite or args.name or "quick"
    if args.connections:
        args.set.append(parse_setting("connections=" + args.connections))
    if args.redo < 0 or (args.warmup is not None and args.warmup < 0):
        p.error("--redo and --warmup cannot be negative")
    if args.turns and not 0.002 <= args.turns <= 10:
        p.error("--turns is 0, or 0.002 to 10 seconds")
    known = {name for s in SUITES.values() for name in s.params}
    for name, _ in args.set:
        if name not in known:
            p.error(f"no suite has a parameter {name!r}")
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1, 1 << 31)
    args.loadgen = args.loadgen or os.path.join(args.build, "loadgen")
    return args


def everything(args, argv):
    """run.py all: every suite by a run of its own, in sittings."""
    if args.server_host:
        raise ValueError("all is for one machine; with other hosts, name a "
                         "suite")
    if not args.out:
        raise ValueError("all needs --out DIR: where to begin, and to go on")
    if not args.draft and not args.plan and machine.git(ROOT)["dirty"]:
        raise ValueError("the tree has changes, so nobody could measure this "
                         "again; commit them first, or say --draft")
    if args.servers is None and not args.peers:
        print("all: without --peers no other server is beside the stages",
              file=sys.stderr)

    def seconds_of(name):
        alone = argparse.Namespace(**{**vars(args), "suite": name,
                                      "only": None})
        parts, budget = make_parts(name, alone)
        servers = choose_servers(alone, catalogue(ROOT, args.build), parts)
        able = {n: s for n, s in servers.items() if can_start(s)}
        parts = [p for p in parts if p.takes(able, variants_of(parts))]
        find_capacities(parts)
        fit_budget(parts, budget, able)
        return planned(parts, able)[0] if parts else None

    return sittings.run(os.path.abspath(__file__), ROOT, args,
                        rest_of(argv), seconds_of, clock_text)


def can_start(server):
    try:
        server.available()
    except (Skipped, Failed):
        return False
    return True


def rest_of(argv):
    """The words that are for each suite: all but those about the whole."""
    rest, words = [], iter(argv)
    for word in words:
        if word in ("--out", "--only", "--suite"):
            next(words, None)
        elif word not in ("all", "--resume", "--plan") and \
                not word.startswith(("--out=", "--only=")):
            rest.append(word)
    return rest


def list_suites():
    for name, run in RUNS.items():
        print(f"{name:12} {run['title']}")
        print(f"{'':12} " + ", ".join(part[0] for part in run["parts"]))
    for suite in SUITES.values():
        print(f"{suite.name:12} {suite.title}")
        for param, values in suite.params.items():
            print(f"{'':12} {param}: {', '.join(map(str, values))}")


def tell_too_few(parts, servers):
    """A plan that can decide nothing says so before it takes an hour."""
    other = variants_of(parts)
    for part in parts:
        order = part.takes(servers, other)
        pairs = summaries.pairs_of(order, part.suite.reference or None)
        least = stats_math.least_blocks(pairs)
        if pairs and part.blocks < least and not part.suite.slope:
            print(f"{part.suite.name}: {part.blocks} blocks can decide none of "
                  f"{pairs} comparisons; {least} could", file=sys.stderr)


def tell_plan(parts, servers):
    other = variants_of(parts)
    for part in parts:
        names = part.takes(servers, other)
        print(f"{part.suite.name}: {len(part.cells())} cells, "
              f"{part.blocks} blocks, {', '.join(names)}: "
              f"{sum(part.count(len(names)))} runs, about "
              f"{clock_text(part.estimate(len(names), OVERHEAD_S))}")


def raise_descriptor_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_result_set(args):
    if not args.out:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        args.out = os.path.join(args.build, "results",
                                f"{stamp}-{args.suite}")
    if os.path.exists(os.path.join(args.out, "rows.jsonl")):
        raise ValueError(f"{args.out} holds a result set already")
    try:
        os.makedirs(args.out, exist_ok=True)
        return results.Writer(args.out, f"{random.getrandbits(64):016x}")
    except OSError as err:
        raise results.ResultError(f"{args.out}: {err.strerror}") from None


def refuse_draft(args):
    """What is committed was made from one revision."""
    kept = os.path.join(ROOT, "bench", "results")
    inside = args.out and os.path.commonpath(
        [os.path.realpath(args.out), os.path.realpath(kept)]) == \
        os.path.realpath(kept)
    if inside and not args.draft and machine.git(ROOT)["dirty"]:
        raise ValueError(f"{args.out}: the tree has changes, so nobody could "
                         f"measure this again; commit them first, or say "
                         f"--draft")


def point_latest(args):
    """build/results/latest names the newest complete or cut-short set."""
    link = os.path.join(args.build, "results", "latest")
    os.makedirs(os.path.dirname(link), exist_ok=True)
    tmp = link + f".{os.getpid()}"
    os.symlink(os.path.abspath(args.out), tmp)
    os.replace(tmp, link)


def finish(args, manifest, rows):
    """The summary of what there is; prints it."""
    summary = summaries.summarise(manifest, rows)
    text = summaries.markdown(manifest, summary)
    results.write_json(os.path.join(args.out, "manifest.json"), manifest)
    results.write_json(os.path.join(args.out, "summary.json"), summary)
    results.write_text(os.path.join(args.out, "summary.md"), text)
    wide = ending.columns()
    drawn = ending.by_gnuplot(args.out, wide) if sys.stdout.isatty() else ()
    print(ending.screen(manifest, summary, wide, drawn))
    return summary


def make_manifest(args, parts, servers, skipped, rig, name):
    facts, more = rig.describe(ROOT, args.build)
    return {
        "schema": results.MANIFEST, "set": name,
        "draft": bool(facts["git"]["dirty"]),
        "method": {"visits": VISITS, "max_drift_pct": args.max_drift,
                   "turn_s": args.turns,
                   "max_foreign_pct": args.max_foreign,
                   "intervals": "order statistics", "correction": "Holm"},
        "name": os.path.basename(os.path.normpath(args.out)),
        "state": "running", "suite": args.suite, "seed": args.seed,
        "redo": args.redo,
        "max_steal_pct": args.max_steal, "app": args.app or "http",
        "loadgen_args": args.loadgen_arg, "engine": args.engine,
        "loadgen": {"sha256": machine.sha256(args.loadgen),
                    "compiled_with": machine.compiled_with(args.loadgen)},
        "plan": [p.describe(args.app) for p in parts],
        "servers": describe_servers(servers, skipped, args.build, parts),
        "machine": facts, **more,
    }


def summarise_again(args):
    args.out = args.summarise
    manifest = results.load_manifest(args.out)
    rows = results.load_rows(args.out, manifest)
    if manifest["state"] == "running":
        manifest["state"] = "interrupted"
    finish(args, manifest, rows)
    return 0


def choose_engine(args):
    """Turns auto into one engine, for the whole set, and has the generator use
    it.  Raises Skipped where a ring was asked for and there is none."""
    if args.engine == "epoll":
        return
    # Nobody listens at port 1, so this measures nothing in any case.
    asked = subprocess.run(
        [args.loadgen, "--engine", "uring", "--port", "1", "--quiet"],
        capture_output=True, text=True, check=False, timeout=30,
        stdin=subprocess.DEVNULL)
    if asked.returncode == SKIP and args.engine == "uring":
        raise Skipped(asked.stderr.strip())
    args.engine = "epoll" if asked.returncode == SKIP else "uring"
    if args.engine == "uring":
        args.loadgen_arg[:0] = ["--engine", "uring"]


def pick_cpus(args):
    server, client = machine.choose_cpus(machine.topology(), args.workers)
    server = args.server_cpus or server
    client = args.client_cpus or client
    for cpu in server + client:
        if cpu not in os.sched_getaffinity(0):
            raise ValueError(f"cpu {cpu} is not available")
    if set(server) & set(client):
        print("server and client share a cpu: figures mean little",
              file=sys.stderr)
    return server, client


def run_plan(args, parts, servers, rig, writer, manifest):
    """Runs it all and writes the summary, whatever ends it."""
    needs_files = any(p.suite.server or p.suite.evict for p in parts)
    fixtures = Fixtures(args.build) if needs_files else None
    status, state = 0, "complete"
    run = Run(args, parts, servers, rig, writer, fixtures)
    try:
        run.everything()
    except KeyboardInterrupt:
        status, state = INTERRUPTED, "interrupted"
        run.progress.say("interrupted: the rows so far are kept")
    except (slices.Aborted, results.ResultError) as err:
        status, state = 1, "failed"
        run.progress.say(f"run.py: {err}")
    finally:
        if fixtures:
            fixtures.remove()
        writer.close()
    deaf()    # from here on another signal must not cut a file in half
    manifest["state"] = state
    results.write_json(os.path.join(args.out, "manifest.json"), manifest)
    if not writer.rows:
        print("run.py: nothing was measured", file=sys.stderr)
        return status or 1
    summary = finish(args, manifest, writer.rows)
    point_latest(args)
    print(f"result set: {args.out}")
    if status == 0 and not any(
            r["valid"] for r in writer.rows if r["kind"] == "measure"):
        print("run.py: no slice could be used", file=sys.stderr)
        return 1
    if status == 0 and not any(e["n"] for e in summary["cells"]):
        print("run.py: no block could be used: other programs or the machine "
              "itself disturbed all of them (see above).  Try again when it "
              "is quiet; --max-foreign 1000 --max-drift 1000 keeps them all",
              file=sys.stderr)
        return 1
    return status


def local_rig(args):
    """Both sides on this machine."""
    choose_engine(args)
    rig = slices.Rig(args.loadgen, *pick_cpus(args), args.seed)
    rig.topology = machine.topology()   # all cpus: soon this process has less
    return rig


def benchmark(args):
    for needed in (args.loadgen, slices.calibrator(args.build)):
        if not os.access(needed, os.X_OK) and not args.remote_build:
            raise ValueError(f"{needed} is not built (make)")
    raise_descriptor_limit()
    refuse_draft(args)
    slices.STEAL_LIMIT = args.max_steal
    slices.FOREIGN_LIMIT = args.max_foreign
    if args.server_host:
        args.no_trace, args.turns = True, 0    # see remote.py
    parts, budget = make_parts(args.suite, args)
    servers = choose_servers(args, catalogue(ROOT, args.build), parts)
    try:
        with remote.fleet_of(args, ROOT, parts) as fleet:
            if fleet:
                servers = fleet.open(servers)
            rig = fleet.rig(args.seed) if fleet else local_rig(args)
            return measure_on(args, rig, parts, budget, servers)
    except Skipped as err:
        print(f"run.py: {err}", file=sys.stderr)
        return SKIP


def measure_on(args, rig, parts, budget, servers):
    server_cpus, client_cpus = rig.server_cpus, rig.client_cpus
    skipped, broken = preflight(servers, server_cpus,
                                args.app or parts[0].suite.app, parts)
    for name, reason in skipped.items():
        print(f"skipped: {name}: {reason}", file=sys.stderr)
    able = {n: s for n, s in servers.items() if n not in skipped}
    if not able:
        print("run.py: no server can run here", file=sys.stderr)
        return 1 if broken else SKIP
    find_capacities(parts)
    parts = [p for p in parts if p.takes(able, variants_of(parts))]
    fit_budget(parts, budget, able)
    if not parts:
        print(f"run.py: {args.suite} is for none of the servers that can run",
              file=sys.stderr)
        return 1 if broken else SKIP
    total, count = planned(parts, able)
    print(f"{args.suite}: {', '.join(able)}; server on cpu "
          f"{','.join(map(str, server_cpus))}, client on cpu "
          f"{','.join(map(str, client_cpus))}; {count} runs, about "
          f"{clock_text(total)}", file=sys.stderr)
    tell_too_few(parts, able)
    if args.plan:
        tell_plan(parts, able)
        return 0
    writer = open_result_set(args)
    manifest = make_manifest(args, parts, servers, skipped, rig, writer.name)
    results.write_json(os.path.join(args.out, "manifest.json"), manifest)
    rig.step_aside()
    status = run_plan(args, parts, able, rig, writer, manifest)
    if broken and status == 0:
        # Not able is a reason to go without; broken is not.
        print(f"run.py: failed to start: {', '.join(broken)}",
              file=sys.stderr)
        return 1
    return status


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def deaf():
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def stop_on_signal(_number, _frame):
    deaf()    # what is to be put in order now takes a few seconds at most
    raise KeyboardInterrupt


def main(argv=None):
    inherit.clean()
    args = parse_arguments(argv)
    if args.list:
        list_suites()
        return 0
    # SIGINT too: a shell starts its background jobs with it ignored.
    for number in SIGNALS:
        signal.signal(number, stop_on_signal)
    try:
        if args.summarise:
            return summarise_again(args)
        if args.suite == "all":
            return everything(args, sys.argv[1:] if argv is None else argv)
        if args.resume:
            raise ValueError("--resume is for all")
        return benchmark(args)
    except (results.ResultError, slices.Aborted) as err:
        print(f"run.py: {err}", file=sys.stderr)
        return 1
    except ValueError as err:
        print(f"run.py: {err}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("run.py: interrupted before the first run", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
