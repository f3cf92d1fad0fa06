"""System calls by a stage's own counters, beside those that strace counts."""

import json
import os
import shutil
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.dirname(HERE)
BUILD = os.path.join(os.path.dirname(BENCH), "build")
sys.path.insert(0, BENCH)

import servers          # noqa: E402
import slices           # noqa: E402
import syscalls         # noqa: E402

# What a handler calls is its own affair: /work looks at the clock, and so
# does the thread that looks after stage 6.
CLOCKS = ("clock_gettime", "clock_nanosleep", "restart_syscall")

# The sentinel of stage 6 looks after handlers that take long, and under strace
# all do: what it calls then goes by time, not by request.  Without stealing it
# does not.
SWITCHES = {6: ["--steal", "off"]}


class Own(unittest.TestCase):
    def counted(self, number, *load):
        """(requests, own counters, strace's counts)"""
        stage = servers.Stage(f"stage{number}",
                              os.path.join(BUILD, f"stage{number}"),
                              SWITCHES.get(number, ()))
        loadgen = os.path.join(BUILD, "loadgen")
        if not (os.access(stage.binary, os.X_OK)
                and os.access(loadgen, os.X_OK)):
            self.skipTest(f"stage{number} and loadgen are not built")
        try:
            run = stage.start(sorted(os.sched_getaffinity(0))[:1],
                              workers=2 if number >= 5 else None)
        except servers.Skipped as err:
            self.skipTest(str(err))
        try:
            before = run.scrape()
            tracer = syscalls.attach(run.pids, ("strace",))
            if not tracer:
                self.skipTest("strace may not trace here")
            try:
                out = subprocess.run(
                    [loadgen, "--port", str(run.port), "--duration", "0.4",
                     "--warmup", "0", "--quiet", "--json", "-",
                     "--connections", "16", *load], check=True,
                    stdout=subprocess.PIPE, timeout=60).stdout
            finally:
                calls = tracer.stop()
            moved = slices.counted(before, run.scrape())
        finally:
            run.stop()
        return (json.loads(out)["requests"],
                slices.own_counters(stage, moved), calls)

    def compare(self, number, *load):
        requests, own, traced = self.counted(number, *load)
        ours = sum(own.values()) / requests
        theirs = sum(n for name, n in traced.items()
                     if name not in CLOCKS) / requests
        # Connecting costs calls too (threads, memory), and which of the last
        # ones strace has seen is chance: less than ten a connection.
        self.assertAlmostEqual(ours, theirs,
                               delta=0.03 * theirs + 160 / requests,
                               msg=f"stage {number}: {own}, {traced}")

    def test_each_stage(self):
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        for number in range(1, 7):
            for load in ((), ("--path", "/work/5")):
                with self.subTest(stage=number, load=load):
                    self.compare(number, *load)


if __name__ == "__main__":
    unittest.main()
