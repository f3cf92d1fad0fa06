"""The questions of bench/trace.py: what they make of a tracer's output, and
that each names a fault which is planted in a server."""
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import unittest
import xml.etree.ElementTree as ET
from contextlib import redirect_stderr
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"
sys.path[:0] = [str(BENCH), str(BENCH / "trace"), str(ROOT / "plots")]

import answers      # noqa: E402
import flame        # noqa: E402
import folded       # noqa: E402
import servers      # noqa: E402
import states       # noqa: E402

# The standard library has a module `trace` too.
_spec = importlib.util.spec_from_file_location("bench_trace",
                                               BENCH / "trace.py")
trace = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(trace)

SKIP, USAGE = 77, 64
SCRIPTS = sorted((BENCH / "trace").glob("*.bt"))


def run(*words, path=None):
    env = dict(os.environ)
    if path is not None:
        env["PATH"] = path
    return subprocess.run([sys.executable, BENCH / "trace.py", *words],
                          capture_output=True, text=True, timeout=240,
                          env=env, check=False)


class Usage(unittest.TestCase):
    def refused(self, status, why, *words, **more):
        done = run(*words, **more)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(why, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_wrong_usage_is_named(self):
        for why, *words in (
                ("one of --stage and --pid", "calls"),
                ("one of --stage and --pid", "calls", "--stage", "2",
                 "--pid", "1"),
                ("invalid choice", "nothing", "--stage", "2"),
                ("at most 60", "calls", "--stage", "2", "--seconds", "61"),
                ("above 0", "calls", "--stage", "2", "--seconds", "0"),
                ("twice", "calls", "calls", "--stage", "2"),
                ("--svg draws", "calls", "--stage", "2", "--svg", "x"),
                ("--folded is for", "states", "--stage", "2", "--folded",
                 "x")):
            with self.subTest(why):
                self.refused(USAGE, why, *words)

    def test_a_machine_that_cannot_says_why(self):
        with tempfile.TemporaryDirectory() as nothing:
            self.refused(SKIP, "for root only" if os.geteuid() else
                         "bpftrace is not installed", "calls", "--stage", "2",
                         path=nothing)
        self.assertIn("root only", trace.reason_not("sh", uid=1000))
        self.assertIn("mount -t tracefs",
                      trace.reason_not("sh", uid=0, tracefs="/nowhere"))
        self.assertIn("not installed", trace.reason_not("no-such", uid=0))

    def test_no_such_process_or_stage(self):
        why = trace.reason_not("bpftrace")
        if why:
            self.skipTest(why)
        self.refused(USAGE, "no process", "calls", "--pid", "4194304")
        self.refused(USAGE, "no stage or variant", "calls", "--stage", "9")


class Scripts(unittest.TestCase):
    def test_blocks_of_probes_that_a_stage_lacks_are_left_out(self):
        text = (BENCH / "trace" / "ready.bt").read_text()
        less = trace.program_for(text, {"run", "unpark"})
        self.assertNotIn("ioladder:ready", less)
        self.assertIn("usdt:*:ioladder:run", less)
        self.assertIn("END\n{", less)
        self.assertEqual(trace.program_for(text, {"run", "unpark", "ready"}),
                         text)

    def test_scripts_name_only_probes_that_there_are(self):
        header = (ROOT / "common" / "probe.h").read_text()
        names = [name for script in SCRIPTS for name in
                 re.findall(r"ioladder:(\w+)", script.read_text())]
        self.assertGreater(len(names), 10)
        for name in names:
            self.assertRegex(header, rf"\n \*      {name} ")

    def test_every_question_has_an_answer(self):
        self.assertEqual(set(answers.ANSWERS), set(trace.QUESTIONS))


class Stacks(unittest.TestCase):
    SAMPLES = """\
stage3 40 100.000000000: cpu-clock: \n\
\tffffffff81b73c1a _copy_to_user
\t           cf438 clock_gettime@@GLIBC_2.17
\t            911c burn
\t            4b22 conn_run.constprop.0
\t            48b0 _start

a name 41 100.100000000:     2004008 cpu-clock:pppH: \n\
\t            911c burn
\t            4b22 conn_run.isra.0.cold
"""
    SWITCHES = """\
stage3 40 5.000000000: sched:sched_switch: prev_comm=stage3 prev_pid=40 \
prev_prio=120 prev_state=S ==> next_comm=x next_pid=7 next_prio=120
\tffffffff821f8b58 __schedule
\tffffffff8220043e do_nanosleep
\t            57c9 cancel_sleep

x 7 5.100000000: sched:sched_switch: prev_comm=x prev_pid=7 prev_prio=120 \
prev_state=R ==> next_comm=stage3 next_pid=40 next_prio=120
\t            1111 other

stage3 40 5.200000000: sched:sched_switch: prev_comm=stage3 prev_pid=40 \
prev_prio=120 prev_state=R+ ==> next_comm=x next_pid=7 next_prio=120
\tffffffff821f8b58 __schedule
\t            911c burn

x 7 5.250000000: sched:sched_switch: prev_comm=x prev_pid=7 prev_prio=120 \
prev_state=S ==> next_comm=stage3 next_pid=40 next_prio=120
"""

    def test_samples_are_folded_from_outside_in(self):
        self.assertEqual(folded.fold(folded.samples(self.SAMPLES)), {
            "stage3;conn_run;burn;clock_gettime;_copy_to_user_[k]": 1,
            "a name;conn_run;burn": 1})

    def test_time_off_the_cpu_goes_to_the_stack_that_left_it(self):
        found = folded.off_cpu(folded.samples(self.SWITCHES), {40})
        self.assertEqual(found, {
            "stage3;cancel_sleep;do_nanosleep_[k]": 100000,
            "stage3;burn;preempted": 50000})

    def test_a_file_of_stacks_is_read_back(self):
        stacks = {"a;b c;d": 3, "a": 1}
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "x.folded"
            path.write_text(folded.text(stacks))
            self.assertEqual(folded.load(path), stacks)
            path.write_text("a;b 3\na;b x\n")
            with self.assertRaisesRegex(ValueError, ":2: not a folded"):
                folded.load(path)

    def test_flame_graph(self):
        now = {"s;main;send;tcp_[k]": 60, "s;main;<step>": 40}
        before = {"s;loop;send;tcp_[k]": 30, "s;loop;poll": 70}
        text = flame.picture(now, "3")
        ET.fromstring(text)
        self.assertIn("<title>tcp, kernel: 60.0 %, 60 samples</title>", text)
        self.assertIn("&lt;step&gt;: 40.0 %", text)
        text = flame.picture(now, "3", before, "stage 2")
        ET.fromstring(text)
        self.assertIn("in all 60.0 %, there 30.0 %", text)
        self.assertIn('class="m"', text)
        with self.assertRaises(ValueError):
            flame.picture({}, "3")

    def test_flame_program(self):
        with tempfile.TemporaryDirectory() as scratch:
            one, out = Path(scratch) / "stage3.folded", Path(scratch) / "o.svg"
            one.write_text("s;main 3\n")
            self.assertEqual(flame.main([str(one), str(out), str(one)]), 0)
            self.assertIn("beside stage 3", out.read_text())
            with redirect_stderr(io.StringIO()):
                self.assertEqual(flame.main([str(one)]), 64)


class States(unittest.TestCase):
    SAID = ["counting\n", "stay 10 0 3 0 25000000 7f00\n",
            "stay 11 1 1 10000000 40000000 0\n", "end 40000000\n"]
    SUMS = {"10,0,2,3": 4000000, "10,0,1,3": 9000000, "12,0,3,0": 1000000}

    def test_a_stay_is_spread_over_the_buckets_that_it_touches(self):
        told = states.timeline(self.SUMS, self.SAID, 10.0)
        first, second = told["threads"]
        self.assertEqual([b[2] for b in first["shares"]], [1, 1, 0.5, 0])
        self.assertEqual([b[0] for b in second["shares"]], [0, 1, 1, 1])
        # An overfull bucket is scaled; helper 12, which never parks, is out.
        self.assertAlmostEqual(sum(first["shares"][3]), 1)
        text = "\n".join(states.lines(told))
        self.assertRegex(text, r"worker 0 ###\.")
        self.assertIn("worker 0 ran one connection for 25.0 ms, from 0 ms on "
                      "(connection 7f00)", text)
        self.assertEqual(states.lines(states.timeline({}, [], 10.0)),
                         ["no worker was seen"])

    def test_picture(self):
        text = states.picture(states.timeline(self.SUMS, self.SAID, 10.0))
        ET.fromstring(text)
        self.assertIn("Longest run: worker 0, one connection, 25.0 ms", text)
        self.assertEqual(text.count("<title>worker 1"), 4)


def weight(stacks, part):
    """What those stacks weigh whose text holds `part`."""
    return sum(w for k, w in stacks.items() if part in k)


def longest(told):
    """Of the timelines in `told`: the longest run of one connection, ms."""
    return max((s["to_ms"] - s["from_ms"] for t in told["threads"]
                for s in t["stays"] if s["state"] == states.STATES[2]),
               default=0)


class Live(unittest.TestCase):
    """A server of ours with a fault in it; nothing here judges a time."""

    def ask(self, *words):
        for tool in ("bpftrace", "perf"):
            why = trace.reason_not(tool)
            if why:
                self.skipTest(why)
        with tempfile.TemporaryDirectory() as scratch:
            out, svg = Path(scratch) / "o.json", Path(scratch) / "o.svg"
            done = run(*words, "--json", out, "--svg", svg, "--seconds", "1.5")
            if done.returncode == SKIP:
                self.skipTest(done.stderr.strip())
            self.assertEqual(done.returncode, 0, done.stderr)
            ET.parse(svg)
            return json.loads(out.read_text()), done.stdout

    def ask_until(self, holds, *words):
        """Asks up to five times: a window of 1.5 s may hold no steal, and perf
        may lose the few records of a sleep."""
        for left in reversed(range(5)):
            told, text = self.ask(*words)
            try:
                holds(told, text)
                break
            except AssertionError:
                if not left:
                    raise

    def test_a_handler_that_sleeps(self):
        """All connections are worker 0's, which sleeps in /sleep/100000: so
        worker 1 has only what it rescues and steals."""
        self.ask_until(
            self.sleeps_and_steals,
            "calls", "cores", "batches", "ready", "steals", "states",
            "--stage", "6",
            "--server-args", "--workers 2 --place one", "--plant",
            "/sleep/100000", "--load", "--connections 8 --path /work/50")

    def sleeps_and_steals(self, told, text):
        calls = {r["call"]: r for r in told["calls"]["rows"]}
        self.assertGreater(calls["clock_nanosleep"]["slow"], 0)
        self.assertRegex(text, "slow, and no wait for events: .*nanosleep")
        self.assertGreater(calls["sendto"]["count"], 0)     # the control
        # Its workers are pinned.  That moves are seen, the next test shows.
        each = told["cores"]["threads"].values()
        self.assertGreaterEqual(sum(len(t["cpus"]) == 1 for t in each), 2)
        self.assertGreater(told["batches"]["waits"], 0)
        self.assertGreater(told["batches"]["events"], 0)
        self.assertGreater(told["batches"]["submitted"], 0)
        self.assertGreater(told["batches"]["completed"], 0)
        ways = told["ready"]["ways"]
        for way in ("local", "rescued"):
            self.assertIn(way, ways)
            self.assertGreater(ways[way]["runs"], 0)
        self.assertGreater(sum(told["steals"]["rescued"].values()), 0)
        self.assertGreater(sum(told["steals"]["taken"].values()), 0)
        self.assertEqual(set(told["steals"]["runs"]), {"0", "1"})
        # A sleep is never shorter than what was asked for.
        self.assertGreaterEqual(longest(told["states"]), 99)
        self.assertRegex(text, r"worker \d ran one connection for \d+")

    def test_a_process_that_is_moved(self):
        """By --pid; the test itself moves the server from cpu to cpu."""
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            self.skipTest("one cpu")
        why = trace.reason_not("bpftrace")
        if why:
            self.skipTest(why)
        known = servers.catalogue(str(ROOT), str(ROOT / "build"))
        server = known["stage2"].start(cpus)
        asker, over = trace.Asker(server.port, "/", 0.005), threading.Event()

        def move():
            turn = 0
            while not over.wait(0.02):
                turn += 1
                os.sched_setaffinity(server.pids[0], {cpus[turn % 2]})

        mover = threading.Thread(target=move)
        try:
            asker.start()
            mover.start()
            with tempfile.TemporaryDirectory() as scratch:
                out = Path(scratch) / "o.json"
                done = run("cores", "--pid", str(server.pids[0]), "--json",
                           out, "--seconds", "1")
                if done.returncode == SKIP:
                    self.skipTest(done.stderr.strip())
                self.assertEqual(done.returncode, 0, done.stderr)
                told = json.loads(out.read_text())["cores"]["threads"]
        finally:
            over.set()
            asker.over.set()
            mover.join()
            server.stop()
        if not told:
            self.skipTest("no thread of it was seen: another pid namespace")
        mine = told[str(server.pids[0])]
        self.assertGreater(mine["moves"], 0)
        self.assertEqual(len(mine["cpus"]), 2)

    def test_a_hot_loop_and_a_sleep_by_stack(self):
        self.ask_until(
            self.burns_and_sleeps, "offcpu", "flame", "--stage", "3",
            "--plant", "/sleep/100000", "--plant", "/work/20000", "--load", "")

    def burns_and_sleeps(self, told, text):
        on, off = told["flame"]["stacks"], told["offcpu"]["stacks"]
        self.assertGreater(weight(on, ";burn"), sum(on.values()) / 10, text)
        self.assertGreater(weight(off, "nanosleep"),
                           sum(off.values()) / 10, text)
        self.assertIn("burn", text)
        # The control: the loop's own wait is there as well, or the sleep is
        # all that there is.
        self.assertGreater(sum(off.values()), 0)


if __name__ == "__main__":
    unittest.main()
