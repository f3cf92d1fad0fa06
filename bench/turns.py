"""A block in turns: all servers are up, and each works for a moment in turn.

The speed of a shared machine moves within tenths of a second, so servers that
are measured one after the other meet different machines.  Here every server
of the block is started at once, each with a generator of its own; one pair at
a time runs, for some hundredths of a second, from quiet to quiet, and the
others sleep.  A round goes through all of them in a random order and back, so
that in the sum all have met the same machine.  (loadgen --turns.)
"""

import contextlib
import os
import socket
import subprocess
import tempfile
import time

import machine
import slices
from servers import Failed, Skipped, in_child

TURN_S = 0.04
PATIENCE_S = 8.0      # beyond a turn: longer than an answer may take
CONNECT_S = 30.0


def possible(suite, args):
    """Whether a suite's load is one that can pause: a closed loop, alone."""
    words = [*suite.loadgen, *args]
    return not (suite.probe or suite.evict or suite.memory
                or {"--rate", "--idle", "--threads"} & set(words))


class Duty:
    """One server and its generator."""

    def __init__(self, rig, name, server, start, args):
        self.rig, self.name, self.server = rig, name, server
        self.start, self.args = start, args
        self.run = self.proc = self.line = None
        self.outcome = slices.Outcome()
        self.life = {"started": time.time(), "moved": None, "died": None,
                     "ended": None, "totals": None}
        self.before = None
        self.gone = False   # the generator has ended before its time
        self.used = []      # seconds of CPU of the pair: before, after
        self.sum = [0.0] * len(slices.Sample._fields)   # over its turns

    def begin(self, turn_s, seed, stack):
        """Starts both; raises Failed or Skipped."""
        self.run = self.server.start(self.rig.server_cpus, **self.start)
        stack.callback(self.end)
        if self.server.kind == "stage" and self.start.get("app") == "http":
            self.before = self.run.scrape()
        self.out = stack.enter_context(
            tempfile.TemporaryFile("w+", encoding="utf-8"))
        self.line, theirs = socket.socketpair()
        stack.callback(self.line.close)
        argv = self.rig.command(self.run, self.args, 1, 0, seed)
        with theirs:
            self.proc = subprocess.Popen(
                argv + ["--turns", f"{turn_s:g}"], stdin=theirs,
                stdout=self.out, stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=in_child(self.rig.client_cpus))
        self.line.settimeout(CONNECT_S)

    def measured_turn(self):
        """With what the machine did meanwhile."""
        first = self.rig.sample(self.run)
        self.turn(b"m")
        last = self.rig.sample(self.run)
        self.sum = [None if None in (a, b, have) else have + b - a
                    for have, a, b in zip(self.sum, first, last)]

    def turn(self, word):
        """One turn; after a failed one there is none."""
        if self.gone or self.outcome.error:
            return
        try:
            self.line.send(word)
            self.gone = self.line.recv(1) != word
        except TimeoutError:
            self.outcome.error = "generator did not end a turn in time"
        except OSError:
            self.gone = True
        self.line.settimeout(PATIENCE_S)

    def note(self):
        """What the pair has used up to now."""
        used = [machine.process_cpu(pid)
                for pid in [*self.run.pids, self.proc.pid]]
        self.used.append(None if None in used else sum(used))

    def finish(self):
        """The generator's report, and the server's counters."""
        self.line.close()
        if self.outcome.error:
            slices.kill(self.proc)
        self.read()
        slices.kill(self.proc)
        if self.before is not None:
            self.life["moved"] = slices.counted(self.before,
                                                self.run.scrape())
        self.life["died"] = self.run.proc.poll()
        self.end()

    def read(self):
        outcome = self.outcome
        if outcome.error:
            return
        try:
            stderr = self.proc.communicate(timeout=PATIENCE_S)[1]
        except subprocess.TimeoutExpired:
            outcome.error = "generator did not end in time"
            return
        self.out.seek(0)
        outcome.report, outcome.error = slices.read_report(
            self.out.read(), self.proc.returncode,
            stderr.decode(errors="replace"))
        if self.gone and not outcome.error and not self.has_errors():
            outcome.error = "generator ended before its end"

    def has_errors(self):
        return ((self.outcome.report or {}).get("errors") or {}).get("total")

    def end(self):
        if self.proc and self.proc.poll() is None:
            slices.kill(self.proc)
        if self.life["ended"] is None:
            self.life["ended"] = self.run.stop()
            self.life["totals"] = self.run.totals

    def row(self, seconds, foreign_pct):
        self.outcome.end = self.sum[0]
        self.outcome.samples = [
            slices.Sample(*(None if value is None else 0
                            for value in self.sum)), slices.Sample(*self.sum)]
        row = slices.row_of(self.rig, self.server, self.args, self.outcome,
                            seconds, self.life)
        if row["metrics"]:
            row["metrics"]["foreign_pct"] = foreign_pct
        slices.judge_foreign(self.rig, self.args, row)
        return row


def foreign(duties, before, after, seconds, cpus):
    """Percent of the cpus that went to others meanwhile."""
    ours = [duty.used[-1] - duty.used[0] for duty in duties
            if None not in (duty.used[0], duty.used[-1])]
    busy = (after[0] - before[0]) / os.sysconf("SC_CLK_TCK")
    return max(0.0, 100 * (busy - sum(ours)) / seconds / cpus)


def rounds(seconds, turn_s):
    return max(1, round(seconds / turn_s / 2))


def measure(rig, works, seconds, warmup, turn_s, rng):
    """{name: fields of its row}; works: [(name, server, start, args)], seconds:
    what each of them runs in all."""
    duties, failed = [], {}
    with contextlib.ExitStack() as stack:
        for name, server, start, args in works:
            duty = Duty(rig, name, server, start, args)
            try:
                duty.begin(turn_s, rng.randrange(1, 1 << 30), stack)
            except (Failed, Skipped) as err:
                failed[name] = {"valid": False, "why": [str(err)],
                                "metrics": {}, "started": time.time()}
            else:
                duties.append(duty)
        for _ in range(max(1, round(warmup / turn_s))):
            for duty in duties:
                duty.turn(b"w")
        for duty in duties:
            duty.note()
        clock, before = time.monotonic(), machine.stat_cpus(rig.both)
        for _ in range(rounds(seconds, turn_s)):
            rng.shuffle(duties)
            for duty in duties + duties[::-1]:
                duty.measured_turn()
        clock, after = time.monotonic() - clock, machine.stat_cpus(rig.both)
        for duty in duties:
            duty.note()
        share = foreign(duties, before, after, clock, len(rig.both))
        for duty in duties:
            duty.finish()
    return failed | {duty.name: duty.row(seconds, share) for duty in duties}
