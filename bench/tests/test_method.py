"""The method: blocks, calibration, intervals, corrections, the end of a run,
and everything that can go wrong with a set on its way."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.dirname(HERE)
sys.path.insert(0, BENCH)
sys.path.insert(0, HERE)

import ending           # noqa: E402
import results          # noqa: E402
import run              # noqa: E402
import slices           # noqa: E402
import stats_math       # noqa: E402
import summary          # noqa: E402
import test_run         # noqa: E402


def manifest_of(servers, **method):
    return {"state": "complete", "seed": 1, "set": "a", "name": "a",
            "machine": {}, "method": {"visits": 2, "max_drift_pct": 5.0,
                                      **method},
            "plan": [{"suite": "keepalive", "seconds": 1.0, "warmup": 0.2}],
            "servers": {name: {"kind": "stage"} for name in servers}}


def slice_row(server, block, visit, cpu, cell=0, attempt=0, **metrics):
    return {"kind": "measure", "suite": "keepalive", "cell": {"n": cell},
            "server": server, "block": block, "try": attempt, "visit": visit,
            "valid": True, "metrics": {"cpu_us": cpu, **metrics}}


def block_row(block, cell=0, attempt=0, valid=True):
    return {"kind": "block", "suite": "keepalive", "cell": {"n": cell},
            "server": None, "block": block, "try": attempt, "valid": valid,
            "metrics": {}}


def simulated(rng, servers, blocks, cells, noise=0.04):
    """Rows of an unquiet machine: two states that change within blocks, a
    drift, noise of its own for every slice, and now and then a bad one."""
    rows = []
    for cell in range(cells):
        for block in range(blocks):
            state = rng.choice((1.0, 1.3))
            slope = rng.uniform(-0.1, 0.1)
            order = list(servers)
            rng.shuffle(order)
            for visit, names in enumerate((order, order[::-1])):
                for place, name in enumerate(names):
                    at = visit * len(order) + place
                    value = servers[name] * state * rng.lognormvariate(
                        0, noise) * (1 + slope * at / (2 * len(order)))
                    if rng.random() < 0.05:
                        value *= 1.4
                    rows.append(slice_row(name, block, visit, value, cell))
            rows.append(block_row(block, cell))
    return rows


class Path(unittest.TestCase):
    """From rows to a verdict."""

    def test_the_interval_holds_the_truth(self):
        """For every number of blocks that is allowed, over the whole path."""
        rng, held, asked, exact = random.Random(11), 0, 0, 0.0
        servers = {"stage1": 7.0, "stage2": 7.0 / 1.2}
        for n in range(6, 32):
            found = summary.summarise(manifest_of(servers), simulated(
                rng, servers, n, 60))
            ours = [c for c in found["comparisons"] if c["metric"] == "cpu_us"
                    and c["server"] == "stage1"]
            self.assertEqual(len(ours), 60)
            hits = sum(c["low"] <= 1.2 <= c["high"] for c in ours)
            want = stats_math.coverage(n, stats_math.order(n))
            self.assertEqual({c["coverage"] for c in ours}, {want})
            self.assertGreaterEqual(want, 0.95)
            # Of 60, at a true 0.95, fewer than 50 happen in 1 of 2,000.
            self.assertGreater(hits, 49, n)
            held, asked, exact = held + hits, asked + 60, exact + 60 * want
        # All together: within three standard deviations of the formula.
        self.assertLess(abs(held - exact),
                        3 * (exact * (1 - exact / asked)) ** 0.5)

    def test_five_blocks_decide_nothing(self):
        servers = {"stage1": 7.0, "stage2": 5.0}
        found = summary.summarise(manifest_of(servers), simulated(
            random.Random(1), servers, 5, 3))
        for c in found["comparisons"]:
            self.assertEqual(c["verdict"], "too few pairs")
            self.assertEqual(c["coverage"], 0.9375)
        for e in found["cells"]:
            self.assertIsNone(e["metrics"]["cpu_us"][1])

    def test_equal_servers_are_seldom_told_apart(self):
        """A table of eight comparisons is wrong in at most 5 % of cases."""
        servers = {f"stage{n}": 5.0 for n in range(1, 7)}
        wrong, alone, cells = 0, 0, 120
        rng = random.Random(5)
        found = summary.summarise(manifest_of(servers), simulated(
            rng, servers, 9, cells))
        for n in range(cells):
            ours = [c for c in found["comparisons"] if c["cell"] == {"n": n}
                    and c["metric"] == "cpu_us"]
            wrong += any(c["verdict"] in ("lower", "higher") for c in ours)
            alone += any(c["high"] < 1 or c["low"] > 1 for c in ours)
        self.assertLessEqual(wrong, 12)      # 6 would be 5 %
        self.assertGreater(alone, wrong)     # without Holm it is more

    def test_a_pair_counts_once_and_has_one_verdict(self):
        servers = {"stage1": 7.0, "stage2": 5.0, "stage3": 4.9}
        found = summary.summarise(manifest_of(servers), simulated(
            random.Random(2), servers, 9, 1))
        by = {(c["server"], c["base"]): c["verdict"]
              for c in found["comparisons"] if c["metric"] == "cpu_us"}
        self.assertEqual(by["stage2", "stage1"], "lower")
        self.assertEqual(by["stage1", "stage2"], "higher")

    def test_a_drift_cancels_in_a_block(self):
        """There and back: a machine that slows down by half meets both."""
        rows = []
        for block in range(9):
            for at, (name, visit) in enumerate((
                    ("stage1", 0), ("stage2", 0), ("stage2", 1),
                    ("stage1", 1))):
                rows.append(slice_row(name, block, visit, 5 * (1 + at / 6)))
            rows.append(block_row(block))
        found = summary.summarise(manifest_of(["stage1", "stage2"]), rows)
        for c in found["comparisons"]:
            self.assertAlmostEqual(c["ratio"], 1)

    def test_only_whole_and_steady_blocks_count(self):
        rows = []
        for block in range(8):
            for visit in (0, 1):
                for name, cpu in (("stage1", 6.0), ("stage2", 3.0)):
                    rows.append(slice_row(name, block, visit, cpu))
            rows.append(block_row(block, valid=block != 3))
        for visit in (0, 1):      # block 3 again, and now it held still
            for name, cpu in (("stage1", 6.0), ("stage2", 4.0)):
                rows.append(slice_row(name, 3, visit, cpu, attempt=1))
        rows.append(block_row(3, attempt=1))
        del rows[0]               # a slice that was given up
        rows += [slice_row("stage1", 8, 0, 99.0)]   # cut short
        found = summary.summarise(manifest_of(["stage1", "stage2"]), rows)
        n = {e["server"]: (e["n"], e["slices"]) for e in found["cells"]}
        self.assertEqual(n, {"stage1": (7, 14), "stage2": (8, 16)})
        top = [e["metrics"]["cpu_us"] for e in found["cells"]]
        self.assertEqual(top[0][2], 6.0)
        self.assertEqual(top[1], (3.0, 3.0, 4.0))
        self.assertEqual((found["blocks"], found["blocks_redone"]), (9, 1))

    def test_a_limited_generator_makes_nothing_equal(self):
        notes = [summary.LIMITED]
        rows = []
        for block in range(9):
            for visit in (0, 1):
                rows += [slice_row("stage1", block, visit, 9.0),
                         slice_row("stage2", block, visit, 5 + block % 2,
                                   notes=notes),
                         slice_row("stage3", block, visit, 5.5,
                                   notes=notes)]
            rows.append(block_row(block))
        found = summary.summarise(
            manifest_of(["stage1", "stage2", "stage3"]), rows)
        by = {(c["server"], c["base"]): c["verdict"]
              for c in found["comparisons"]}
        self.assertEqual(by["stage3", "stage2"], "limited by the generator")
        self.assertEqual(by["stage2", "stage1"], "lower")
        self.assertNotIn("not distinguishable", by.values())
        self.assertIn("stage2 in 18 of 18",
                      summary.notes_text(found, "keepalive"))

    def test_ratios_come_first(self):
        servers = {"stage1": 7.0, "stage2": 5.0}
        found = summary.summarise(manifest_of(servers), simulated(
            random.Random(1), servers, 9, 1))
        head = summary.cell_table(found, "keepalive", {"n": 0}).split("|")
        self.assertIn("ratio", head[2])

    def test_small_ratios_are_numbers(self):
        self.assertEqual([summary.ratio_number(v) for v in
                          (0.953, 1.2, 0.0324, 0.0017)],
                         ["0.95", "1.20", "0.032", "0.0017"])


class Ending(unittest.TestCase):
    def set_of(self, servers, blocks=9):
        manifest = manifest_of(servers)
        manifest["machine"] = {"prices": {"prices": {
            "syscall": {"ns": 330.0}}}}
        return manifest, summary.summarise(manifest, simulated(
            random.Random(4), servers, blocks, 1, noise=0.01))

    def test_one_screen(self):
        servers = {"stage1": 14.0, "stage2": 9.0, "stage3": 7.0,
                   "stage4": 7.0, "stage5": 7.0, "stage6": 6.9}
        manifest, found = self.set_of(servers)
        for width in (40, 80):
            text = ending.screen(manifest, found, width)
            lines = text.splitlines()
            self.assertLessEqual(max(map(len, lines)), width)
            self.assertLess(len(lines), 24 if width == 80 else 40)
        self.assertIn("2 epoll 3", text)
        self.assertIn("less than 1 threads", text)
        self.assertIn("A system call costs 0.33 us here.", text)
        self.assertIn("Not decided: 4 fixed / 3 io_uring", text)
        self.assertNotIn("|", text)
        bars = [line.count("#") for line in lines[1:7]]
        self.assertEqual(bars[0], max(bars))
        self.assertAlmostEqual(bars[1] / bars[0], 9 / 14, delta=0.2)

    def test_how_long_it_would_take(self):
        c = {"pairs": 9, "ratio": 0.98, "low": 0.95, "high": 1.01}
        blocks = ending.blocks_to_decide(c, 1)
        self.assertTrue(31 <= blocks < 40, blocks)
        self.assertGreater(ending.blocks_to_decide(
            {**c, "ratio": 0.99}, 1), 2 * blocks)
        self.assertIsNone(ending.blocks_to_decide({**c, "ratio": 1.0}, 1))
        self.assertEqual(ending.blocks_to_decide(
            {"pairs": 4, "ratio": 0.5, "low": 0.49, "high": 0.51}, 8), 9)
        self.assertEqual(ending.blocks_to_decide(
            {"pairs": 9, "ratio": 0.5, "low": 0.49, "high": 0.51}, 1), 18)

    def test_nothing_measured(self):
        manifest = manifest_of([])
        self.assertIn("0 runs", ending.screen(
            manifest, summary.summarise(manifest, [])))


class Calls(test_run.Bench):
    def test_a_handler_that_looks_at_the_clock(self):
        class Tracer:
            name = "perf"

            @staticmethod
            def stop():
                return {"recvfrom": 40, "clock_gettime": 400}
        old = slices.syscalls.attach
        slices.syscalls.attach = lambda _pids: Tracer
        _, env = self.command()
        saved = dict(os.environ)
        os.environ.update(env)
        try:
            stage = run.Stage("stage2", os.path.join(self.build, "stage2"))
            cpus = sorted(os.sched_getaffinity(0))
            rig = slices.Rig(os.path.join(self.build, "loadgen"), cpus, cpus,
                             1)
            row = slices.trace(rig, stage, {"app": "http"}, [], 0.02, 1)
        finally:
            slices.syscalls.attach = old
            os.environ.clear()
            os.environ.update(saved)
        self.assertEqual(row["metrics"]["syscalls"], {"recvfrom": 2.0})
        self.assertEqual(row["metrics"]["handler_calls"], 20.0)


class Machine(test_run.Bench):
    """What run.py does when the machine does not hold still."""

    stages = ("stage1", "stage2")

    def test_a_block_in_which_the_machine_changed_is_done_again(self):
        # Calibrations: before block 1, after it (6 % more), after its second
        # try (nothing), and so on.
        self.plan = {"calibration": [1000, 1060, 1060, 1060]}
        done = self.keepalive(blocks="2")
        blocks = self.rows("block")
        self.assertEqual([(r["block"], r["try"], r["valid"])
                          for r in blocks],
                         [(0, 0, False), (0, 1, True), (1, 0, True)])
        self.assertAlmostEqual(blocks[0]["moved_pct"], 6)
        self.assertEqual(len(self.rows()), 12)
        found = results.load_summary(self.out)
        self.assertEqual((found["blocks_redone"], found["blocks_lost"]),
                         (1, 0))
        self.assertIn("the machine changed by 6.0 %: again", done.stderr)
        self.assertEqual({e["n"] for e in found["cells"]}, {2})

    def test_that_has_an_end(self):
        self.plan = {"calibration": [1000 * 2 ** n for n in range(40)]}
        done = self.keepalive("--redo", "1", blocks="2", expect=1)
        self.assertIn("no block could be used", done.stderr)
        self.assertEqual([r["valid"] for r in self.rows("block")],
                         [False] * 4)
        found = results.load_summary(self.out)
        self.assertEqual((found["blocks_redone"], found["blocks_lost"]),
                         (2, 2))
        self.assertEqual(found["cells"], [])

    def test_other_programs_spoil_a_slice(self):
        rig = slices.Rig("loadgen", [0], [1], 1)
        for foreign, valid in ((9, True), (12, False)):
            row = {"valid": True, "why": [],
                   "metrics": {"foreign_pct": foreign, "notes": []}}
            slices.judge_foreign(rig, [], row)
            self.assertEqual(row["valid"], valid)
        self.assertIn("12 %", row["why"][0])
        row = {"valid": True, "why": [],
               "metrics": {"foreign_pct": 12, "notes": []}}
        slices.judge_foreign(slices.Rig("loadgen", [0], [0], 1), [], row)
        self.assertTrue(row["valid"])
        self.assertIn("other programs", row["metrics"]["notes"][1])

    def test_what_was_allowed_is_said(self):
        """A set that bore more than others do says so, and only such a one."""
        self.plan = {"calibration": [1000, 1060, 1200]}
        done = self.keepalive("--max-drift", "100", blocks="1")
        self.assertIn("moved by up to 6 % within", " ".join(
            done.stdout.split()))
        self.out = os.path.join(self.dir.name, "strict")
        self.log = os.path.join(self.dir.name, "log-strict")
        self.plan = {}
        done = self.keepalive(blocks="1")
        self.assertNotIn("moved by up to", " ".join(done.stdout.split()))

    def test_slow_stretches_are_said(self):
        """What makes a p99 and no median: only where there is enough."""
        for slow, said in (([7.3, 51.2], True), ([0.9, 2], False)):
            self.out = os.path.join(self.dir.name, f"set-{slow[0]}")
            self.log = os.path.join(self.dir.name, f"log-{slow[0]}")
            self.plan = {"slow": slow}
            done = self.keepalive(blocks="1")
            self.assertEqual({tuple(pair) for r in self.rows("block")
                              for pair in r["slow"]}, {tuple(slow)})
            words = " ".join(done.stdout.split())
            self.assertEqual("half their speed in 7.3 % of the time that was "
                             "looked at, up to 51.2 ms in a row" in words, said)
            self.assertEqual("half their speed" in words, said)

    def test_no_calibration_is_no_run(self):
        os.unlink(os.path.join(self.build, "micro", "calibrate"))
        done = self.keepalive(expect=64)
        self.assertIn("micro/calibrate is not built", done.stderr)

    def test_a_server_that_goes_missing(self):
        """There when the run begins, gone in its middle."""
        self.plan = {"sleep": 0.1}
        argv, env = self.command(
            "keepalive", "--connections", "64", "--blocks", "8", "--seconds",
            "0.01", "--warmup", "0", "--no-trace", "--redo", "0",
            "--servers", "stage1,stage2")
        with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as proc:
            path = os.path.join(self.out, "rows.jsonl")
            end = time.monotonic() + 60
            while test_run.count_lines(path) < 3 and time.monotonic() < end:
                time.sleep(0.02)
            os.unlink(os.path.join(self.build, "stage2"))
            _, stderr = proc.communicate(timeout=120)
        self.assertEqual(proc.returncode, 0, stderr)
        self.assertNotIn("Traceback", stderr)
        bad = [r for r in self.rows() if not r["valid"]]
        self.assertEqual({r["server"] for r in bad}, {"stage2"})
        self.assertIn("No such file", bad[0]["why"][0])


class Plans(unittest.TestCase):
    def test_pairs(self):
        self.assertEqual(summary.pairs_of(["stage1", "stage2"]), 1)
        self.assertEqual(summary.pairs_of(
            [f"stage{n}" for n in range(1, 7)]), 8)
        self.assertEqual(summary.pairs_of(["stage5", "stage6"], "stage5"), 1)
        self.assertEqual(summary.pairs_of(["stage5"]), 0)

    def test_what_cannot_decide_says_so(self):
        for blocks, said in (("8", True), ("9", False)):
            done = subprocess.run(
                [sys.executable, os.path.join(BENCH, "run.py"), "ladder",
                 "--plan", "--blocks", blocks, "--servers",
                 ",".join(f"stage{n}" for n in range(1, 7)), "--build",
                 os.path.join(run.ROOT, "build")],
                capture_output=True, text=True, check=False, timeout=60)
            if done.returncode:
                self.skipTest("the stages are not built")
            if "skipped" in done.stderr:
                self.skipTest("not every stage can run here")
            self.assertEqual("8 blocks can decide none of 8 comparisons; 9 "
                             "could" in done.stderr, said, done.stderr)


class Drafts(unittest.TestCase):
    def test_a_tree_with_changes_makes_no_set_to_keep(self):
        kept = os.path.join(run.ROOT, "bench", "results", "x")
        old = run.machine.git
        try:
            for dirty in (True, False):
                run.machine.git = lambda _root, d=dirty: {
                    "revision": "1", "dirty": d}
                for words, refused in (
                        (["--out", kept], dirty),
                        (["--out", kept, "--draft"], False),
                        (["--out", "/elsewhere/x"], False), ([], False)):
                    args = run.parse_arguments(words)
                    if refused:
                        with self.assertRaises(ValueError) as caught:
                            run.refuse_draft(args)
                        self.assertIn("--draft", str(caught.exception))
                    else:
                        run.refuse_draft(args)
        finally:
            run.machine.git = old


class Disks(test_run.Bench):
    stages = ("stage1",)

    def test_a_full_disk_keeps_what_is_whole(self):
        """A limit on the size of files, in the middle of a row."""
        argv, env = self.command(
            "keepalive", "--connections", "64", "--blocks", "30", "--seconds",
            "0.01", "--warmup", "0", "--no-trace", "--servers", "stage1")
        done = subprocess.run(
            argv, env=env, capture_output=True, text=True, timeout=120,
            check=False, preexec_fn=lambda: resource.setrlimit(
                resource.RLIMIT_FSIZE, (20000, 20000)))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, r"rows\.jsonl: cannot be written: "
                                      r"(File too large|No space left)")
        self.assertNotIn("Traceback", done.stderr)
        rows = results.load_rows(self.out)
        self.assertGreater(len(rows), 3)
        self.assertLess(len(rows), 30)
        self.assertEqual(results.load_manifest(self.out)["state"], "failed")
        self.assertEqual([p for p in self.server_pids()
                          if test_run.alive(p)], [])

    def test_a_place_that_cannot_be_written(self):
        done = self.run_py("keepalive", "--servers", "stage1", "--out",
                           "/proc/none", expect=1)
        self.assertIn("/proc/none", done.stderr)
        self.assertNotIn("Traceback", done.stderr)


class Mixed(test_run.Bench):
    """Files of two sets in one folder."""

    stages = ("stage1", "stage2")

    def setUp(self):
        super().setUp()
        for self.out in (os.path.join(self.dir.name, n) for n in "ab"):
            self.keepalive("--servers", "stage1", blocks="1")

    def other(self, name):
        return os.path.join(self.dir.name, "a", name)

    def test_each_file_is_missed(self):
        for name in ("manifest.json", "rows.jsonl", "summary.json"):
            with self.subTest(name):
                path = os.path.join(self.out, name)
                with open(path, "rb") as f:
                    own = f.read()
                with open(self.other(name), "rb") as f:
                    theirs = f.read()
                with open(path, "wb") as f:
                    f.write(theirs)
                with self.assertRaises(results.ResultError) as caught:
                    results.load(self.out)
                self.assertIn("another result set", str(caught.exception))
                with open(path, "wb") as f:
                    f.write(own)
                results.load(self.out)

    def test_what_the_manifest_does_not_have(self):
        path = os.path.join(self.out, "rows.jsonl")
        with open(path, encoding="utf-8") as f:
            text = f.read()
        for old, new in (("stage1", "stage9"), ("keepalive", "moonlight")):
            with open(path, "w", encoding="utf-8") as f:
                f.write(text.replace(old, new))
            with self.assertRaises(results.ResultError) as caught:
                results.load(self.out)
            self.assertIn(new, str(caught.exception))


class Anywhere(test_run.Bench):
    """A signal at any moment of a run."""

    stages = ("stage1", "stage2")

    def test_leaves_whole_files_and_no_server(self):
        rng = random.Random(9)
        for turn in range(6):
            self.out = os.path.join(self.dir.name, f"out{turn}")
            self.log = os.path.join(self.dir.name, f"log{turn}")
            self.plan = {"sleep": 0.05}
            argv, env = self.command(
                "keepalive", "--connections", "64", "--blocks", "40",
                "--seconds", "0.01", "--warmup", "0", "--no-trace",
                "--servers", "stage1,stage2")
            with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True) as proc:
                # Not before it listens: then it is Python that is ended.
                end = time.monotonic() + 30
                while not os.path.exists(self.log) and \
                        time.monotonic() < end:
                    time.sleep(0.01)
                time.sleep(rng.uniform(0, 1.2))
                for number in (signal.SIGINT, signal.SIGTERM,
                               signal.SIGINT)[:1 + turn % 3]:
                    proc.send_signal(number)
                    time.sleep(rng.uniform(0, 0.1))
                _, stderr = proc.communicate(timeout=60)
            self.assertEqual(proc.returncode, 130, stderr)
            self.assertIn("interrupted", stderr)
            self.assertNotIn("Traceback", stderr)
            self.assertEqual([p for p in self.server_pids()
                              if test_run.alive(p)], [])
            path = os.path.join(self.out, "rows.jsonl")
            if os.path.exists(path) and os.path.getsize(path):
                _, rows, found = results.load(self.out)
                self.assertEqual(found["rows"], len(rows))


class Clock(unittest.TestCase):
    def test_a_step_of_the_clock_changes_no_figure(self):
        """Time of day is a date in a row; all spans are by other clocks."""
        code = ("import sys, time; sys.path[:0] = sys.argv[1:3]\n"
                "import itertools, io, run\n"
                "steps = itertools.cycle((0, 1e6, -1e6))\n"
                "time.time = lambda: 1e9 + next(steps)\n"
                "p = run.Progress(10, 10, io.StringIO())\n"
                "p.step(1, 1, 'x'); print(p.stream.getvalue())\n")
        done = subprocess.run([sys.executable, "-c", code, BENCH, HERE],
                              capture_output=True, text=True, check=True)
        self.assertRegex(done.stdout, r"ETA 0:0\d")
        for name in ("run.py", "slices.py", "servers.py", "syscalls.py",
                     "wakeups.py"):
            with open(os.path.join(BENCH, name), encoding="utf-8") as f:
                for line in f:
                    if "time.time()" in line:
                        self.assertIn("clock = time.time()", line)


if __name__ == "__main__":
    unittest.main()
