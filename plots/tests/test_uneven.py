"""The figures of stages 5 and 6: uneven work, scaling, queues and padding."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "plots"))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import blocks_tables    # noqa: E402
import machine          # noqa: E402
import micro_results    # noqa: E402
import pictures         # noqa: E402
import results          # noqa: E402
import sets             # noqa: E402
import summary          # noqa: E402
import tables           # noqa: E402
import usl              # noqa: E402

MACHINE = {"cpu": "A cpu", "cpus": 2, "hypervisor": None, "kernel": "6.18",
           "liburing": "2.3", "when": "2026-11-24T00:00:00Z", "os": "An OS",
           "server_cpus": [0], "client_cpus": [1], "mitigations": None,
           "peers": {}, "git": {"revision": "1" * 40, "dirty": False},
           "core_to_core": {"pairs": [{"a": 0, "b": 1, "ns": 71.6}]},
           "limits": {"congestion_control": "bbr", "nofile": [1, 2],
                      "memlock_bytes": [1, 2]}}
SLEEP = {"workers": 8, "service": "bimodal", "connections": 512,
         "rate": 10000}
# server -> p50, p90, p99 of the fast class
FAST = {"stage5": (450, 12000, 33000), "stage6": (380, 600, 4000),
        "6-off": (450, 11800, 33500)}


def measured(suite, cell, server, block, **metrics):
    return {"schema": results.ROW, "kind": "measure", "suite": suite,
            "cell": cell, "server": server, "block": block, "valid": True,
            "metrics": {"notes": [], **metrics}}


def uneven_rows(suite="show-sleep", cell=None, blocks=7, fast=None):
    rows = []
    for block in range(blocks):
        drift = 1 + 0.1 * (block % 3)
        for server, (p50, p90, p99) in (fast or FAST).items():
            # A few percent of their own, beside the drift that all share.
            own = drift * (1 + 0.01 * ((block + len(server)) % 4))
            rows.append(measured(
                suite, cell or SLEEP, server, block, qps=9990.0,
                cpu_us=28 * drift, fast_p50_us=p50 * own,
                fast_p90_us=p90 * own, fast_p99_us=p99 * own,
                p99_us=p99 * own * 1.1))
    return rows


def plan(suite, params):
    return {"suite": suite, "title": f"About {suite}", "params": params,
            "blocks": 7, "seconds": 1, "warmup": 0, "loadgen": [],
            "server": [], "slope": "", "load": "", "reference": "stage5"}


class Scratch(unittest.TestCase):
    def setUp(self):
        d = tempfile.TemporaryDirectory(prefix="ioladder-uneven-")
        self.addCleanup(d.cleanup)
        self.dir = d.name
        self.set = os.path.join(d.name, "bench", "results", "one")
        os.makedirs(self.set)

    def write(self, rows, servers, plans):
        manifest = {
            "schema": results.MANIFEST, "name": "one", "state": "complete",
            "suite": "show4", "seed": 1, "app": "http", "machine": MACHINE,
            "plan": plans, "servers": {
                n: {"kind": "peer" if n == "nginx" else "stage"}
                for n in servers}}
        results.write_json(os.path.join(self.set, "manifest.json"), manifest)
        with open(os.path.join(self.set, "rows.jsonl"), "w",
                  encoding="utf-8") as f:
            f.writelines(json.dumps(row) + "\n" for row in rows)
        results.write_json(os.path.join(self.set, "summary.json"),
                           summary.summarise(manifest, rows))
        return sets.Data(*results.load(self.set))

    @staticmethod
    def draw(figure):
        return figure.draw(400).text(figure.title)


class Uneven(Scratch):
    def data(self, **more):
        return self.write(uneven_rows(**more), FAST,
                          [plan("show-sleep", {})])

    def test_the_yardstick_is_stage_5_for_all(self):
        data = self.data()
        c = summary.find(data.summary["comparisons"], suite="show-sleep",
                         metric="fast_p99_us", server="6-off", base="stage5")
        self.assertAlmostEqual(c["ratio"], 33500 / 33000, delta=0.03)
        c = summary.find(data.summary["comparisons"], suite="show-sleep",
                         metric="fast_p90_us", server="stage6",
                         base="stage5")
        self.assertEqual(c["verdict"], "lower")
        self.assertAlmostEqual(c["ratio"], 0.05, delta=0.002)

    def test_table_shows_the_fast_class_and_both_ratios(self):
        text = tables.render(self.data(), "show-sleep")
        head = text.splitlines()[0]
        self.assertIn("p90 ratio to stage5", head)
        self.assertIn("p99 ratio to stage5", head)
        line = next(x for x in text.splitlines() if "| stage6" in x)
        cells = [c.strip() for c in line.strip("|").split("|")]
        self.assertRegex(cells[1], r"^0\.05\d? \(0\.0\d+ to 0\.0\d+\)$")
        self.assertRegex(cells[2], r"^0\.12 \(")
        off = next(x for x in text.splitlines() if "| 6-off" in x)
        self.assertRegex(off, r"^\|[^|]*\|[^|]*\| +1\.0\d \(")   # to stage5
        base = next(x for x in text.splitlines() if "| stage5" in x)
        self.assertRegex(base, r"^\|[^|]*\| +- \| +- \|")
        ratios = tables.render(self.data(), "ratios:show-sleep")
        self.assertIn("6 stealing / 5 per-core", ratios)
        self.assertIn("fast p99", ratios)

    def test_figure_by_server(self):
        data = self.data()
        figure = next(f for f in pictures.figures_of(data)
                      if f.name == "skew")
        text = self.draw(figure)
        for word in ("5 per-core", "6 stealing", "6, --steal off",
                     "p99 of the short requests falls from"):
            self.assertIn(word, text)
        self.assertEqual(figure.title, "p99 of the short requests falls from "
                         "37.0 ms (5 per-core) to 4.49 ms (6 stealing)")
        # A mark for each slice, and one for each median.
        self.assertEqual(text.count("<circle"), 3 * 7 + 1)

    def test_in_the_terminal(self):
        if not shutil.which("gnuplot"):
            self.skipTest("gnuplot is not installed")
        self.data()
        done = subprocess.run(
            [sys.executable, os.path.join(ROOT, "plots", "draw.py"),
             self.set, "--preview"], capture_output=True, text=True,
            check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        for word in ("5 per-core", "6 stealing", "p99 of the short requests",
                     "8 workers, bimodal, 512 connections"):
            self.assertIn(word, done.stdout)

    def test_one_class_is_shown_as_all(self):
        rows = uneven_rows("show-one", {"workers": 2, "load": 1.2})
        for row in rows:
            for name in ("fast_p50_us", "fast_p90_us", "fast_p99_us"):
                row["metrics"].pop(name)
            row["metrics"]["p50_us"] = 100.0
        data = self.write(rows, FAST, [plan("show-one", {})])
        figure = next(f for f in pictures.figures_of(data)
                      if f.name == "skew-one")
        self.assertIn("p99 of all", figure.title)

    def cells(self, places=("hash", "one"), services=("const", "bimodal")):
        return [{"workers": 2, "service": s, "place": p, "connections": c,
                 "load": x} for s in services for p in places
                for c in (4, 64) for x in (0.9, 0.3, 0.5)]

    def test_matrix_and_load(self):
        fast = {"stage5": (20, 100, 800), "stage6": (20, 60, 200)}
        rows = [r for cell in self.cells() for r in uneven_rows(
            "skew-work", cell, 5, fast)]
        data = self.write(rows, fast, [plan("skew-work", {})])
        found = {f.name: f for f in pictures.figures_of(data)}
        self.assertEqual(list(found), ["skew-work-2", "skew-work-2-load"])
        text = self.draw(found["skew-work-2"])
        for word in (">const, hash, 4<", "30 %",
                     ">bimodal, one, 64<",
                     "bimodal, placed by hash, 4 connections, 90 % load: 0.25"):
            self.assertIn(word, text)
        self.assertEqual(text.count('class="mark"'), len(self.cells()))
        text = self.draw(found["skew-work-2-load"])
        self.assertIn("6 stealing", text)
        groups = pictures.load_groups(self.cells())
        self.assertEqual(len(groups), 8)
        self.assertEqual([c["load"] for c in groups[0]], [0.3, 0.5, 0.9])

    def test_one_load_makes_no_lines(self):
        cells = [c for c in self.cells() if c["load"] == 0.3]
        self.assertEqual(pictures.load_groups(cells), [])

    def test_wake_ups_have_a_column(self):
        rows = uneven_rows("show-balanced", {"workers": 2})
        for server, far in (("stage5", 0.0), ("stage6", 0.0123)):
            rows.append({**measured("show-balanced", {"workers": 2}, server,
                                    0), "kind": "trace", "metrics": {
                "method": "perf", "requests": 1, "syscalls": {"recvfrom": 1},
                "wakeups": {"own near": 0.5, "own far": far}}})
        data = self.write(rows, FAST, [plan("show-balanced", {})])
        text = tables.render(data, "show-balanced").splitlines()
        head = [c.strip() for c in text[0].strip("|").split("|")]
        at = head.index("cross-core wake-ups/request")
        said = {c[0]: c[at] for c in (
            [c.strip() for c in line.strip("|").split("|")]
            for line in text[2:])}
        self.assertEqual(said, {"stage5": "0", "stage6": "0.0123",
                                "6-off": "-"})


class Law(Scratch):
    def points(self, law, counts):
        return [(n, usl.throughput(law, n)) for n in counts]

    def test_it_finds_what_the_points_were_made_with(self):
        law = usl.Law(1000.0, 0.05, 0.002)
        found = usl.fit(self.points(law, (1, 2, 4, 8, 16)))
        self.assertAlmostEqual(found.one, 1000, places=6)
        self.assertAlmostEqual(found.contention, 0.05, places=8)
        self.assertAlmostEqual(found.crosstalk, 0.002, places=8)
        self.assertAlmostEqual(usl.peak(found), (0.95 / 0.002) ** 0.5)

    def test_beside_another_least_squares(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("numpy is not installed")
        points = [(1, 950.0), (2, 1850.0), (3, 2500.0), (4, 3200.0),
                  (6, 4100.0), (8, 4700.0)]
        terms = numpy.array([[x / n, (n - 1) * x / n, (n - 1) * x]
                             for n, x in points])
        want = numpy.linalg.lstsq(terms, numpy.ones(len(points)),
                                  rcond=None)[0]
        found = usl.fit(points)
        self.assertGreater(min(want), 0)    # else nothing is compared
        self.assertAlmostEqual(found.one, 1 / want[0], places=6)
        self.assertAlmostEqual(found.contention, want[1] / want[0])
        self.assertAlmostEqual(found.crosstalk, want[2] / want[0])

    def test_three_points_are_no_law(self):
        law = usl.Law(1000.0, 0.05, 0.002)
        self.assertIsNone(usl.fit(self.points(law, (1, 2, 3))))
        self.assertIsNone(usl.fit(self.points(law, (1, 2, 2, 2, 1))))
        self.assertIsNone(usl.fit([(1, 5.0), (2, 0.0), (3, 9.0), (4, 9.0)]))

    def test_no_negative_cost(self):
        # Better than linear: the unbounded fit would have contention < 0.
        law = usl.fit([(1, 100.0), (2, 205.0), (3, 320.0), (4, 450.0)])
        self.assertGreaterEqual(law.contention, 0)
        self.assertGreaterEqual(law.crosstalk, 0)
        self.assertIsNone(usl.peak(usl.Law(1, 0.5, 0)))

    def made_up(self, seed, counts=(1, 2, 4, 8, 16, 32), noise=0.03):
        rng = random.Random(seed)
        return [(n, x * (1 + rng.gauss(0, noise))) for n, x in
                self.points(usl.Law(1000.0, 0.05, 0.001), counts)]

    def test_an_interval_holds_what_the_points_were_made_with(self):
        inside = narrow = 0
        for seed in range(20):
            _, ends = usl.interval(self.made_up(seed), draws=100)
            low, high = ends["contention"]
            inside += low <= 0.05 <= high
            _, ends = usl.interval(self.made_up(seed, noise=0.003), draws=100)
            narrow += ends["contention"][1] - ends["contention"][0] \
                < (high - low) / 2
        self.assertGreaterEqual(inside, 15)
        self.assertEqual(narrow, 20)

    def test_a_seed_fixes_an_interval(self):
        points = self.made_up(1)
        self.assertEqual(usl.interval(points), usl.interval(points))
        self.assertIsNone(usl.interval(points[:3]))
        self.assertEqual(usl.words(points[:3]), "not fitted: 3 points")

    def test_a_law_without_a_peak(self):
        text = usl.words([(n, 100.0 * n) for n in (1, 2, 4, 8)])
        self.assertTrue(text.endswith("no peak"), text)

    def scaling(self, counts):
        law = usl.Law(50000.0, 0.04, 0.001)
        rows = [measured("scaling", {"workers": n, "connections": 256},
                         server, block, cpu_us=5.0,
                         qps=usl.throughput(law, n) * (1 + 0.01 * block))
                for n in counts for server in ("stage5", "stage6")
                for block in range(5)]
        return self.write(rows, ["stage5", "stage6"],
                          [plan("scaling", {"workers": counts})])

    def test_two_points_are_drawn_without_a_law(self):
        data = self.scaling([1, 2])
        self.assertEqual(pictures.law_text(data, "stage6"),
                         "not fitted: 2 points")
        figure, = pictures.figures_of(data)
        self.assertEqual(figure.name, "scaling")
        self.assertNotIn("stroke-dasharray", self.draw(figure))
        self.assertIn("not fitted: 2 points",
                      tables.render(data, "law:scaling"))

    def test_four_points_are_fitted_and_drawn(self):
        data = self.scaling([1, 2, 4, 8])
        text = pictures.law_text(data, "stage5")
        self.assertIn("contention 0.0400 (0.0400 to 0.0400)", text)
        self.assertIn("crosstalk 0.001 (0.001 to 0.001)", text)
        self.assertIn("most at 31 workers", text)
        figure, = pictures.figures_of(data)
        self.assertIn("stroke-dasharray", self.draw(figure))


def queue_rows(blocks=7, mutex=3.0):
    rows = []
    for block in range(blocks):
        for wait in ("spin", "park"):
            for load in ("paced", "flat"):
                for queue, cost in (("spmc", 1.0), ("mutex", mutex),
                                    ("ck", 1.1)):
                    ns = 200 * cost * (1 + block % 3)
                    rows.append({
                        "block": block, "wait": wait, "load": load,
                        "queue": queue, "mean_ns": ns, "p50_ns": ns,
                        "p99_ns": 5 * ns, "p99.9_ns": 9 * ns,
                        "due_mean_ns": ns, "due_p99_ns": ns,
                        "tasks_per_s": 1e6})
    return rows


def padding_rows(blocks=7):
    return [{"block": block, "update": update, "every_ns": every, "pad": pad,
             "ns_per_update": (1.5 + every) * (
                 4.0 if pad == 0 and every == 0 else 1.0)
             * (1 + block % 2)}
            for block in range(blocks) for update in ("add", "store")
            for every in (0, 50) for pad in (0, 64, 128)]


class Blocks(Scratch):
    def write_micro(self, program, rows, blocks=7, quick=False, **more):
        path = os.path.join(self.set, program + ".json")
        results.write_json(path, {
            "schema": micro_results.BLOCKS[program][0], "blocks": blocks,
            "rate": 1e6, "rows": rows, **more})
        results.write_json(os.path.join(self.set, "manifest.json"), {
            "schema": micro_results.MANIFEST, "state": "complete",
            "program": program, "command": f"python3 {program}",
            "quick": quick, "sha256": machine.sha256(path),
            "machine": MACHINE, "groups": [
                {"steal_pct": 1, "foreign_pct": 2, "attempts": 1}]})

    def test_queues(self):
        self.write_micro("queues", queue_rows())
        data = tables.load(self.set, {})
        text = tables.render(data, "queues:paced,spin")
        mutex = next(x for x in text.splitlines() if "mutex queue" in x)
        self.assertIn("0.33 (0.33 to 0.33)", mutex)
        self.assertEqual(text.count("ck_ring"), 1)
        self.assertNotIn("Chase-Lev", text)
        whole = tables.render(data, "queues")
        self.assertIn("1,000,000 tasks a second, consumers parked:", whole)
        self.assertIn("Flat out, consumers spinning:", whole)
        self.assertIn("python3 queues", tables.render(data, "command"))
        for what in ("queues:slow,spin", "padding:add", "moon"):
            with self.assertRaises(tables.DocError):
                tables.render(data, what)
        figure = tables.find_figure(data, "queues")
        text = self.draw(figure)
        self.assertIn("consumers parked", text)
        self.assertIn("ring of stage 5", text)

    def test_quick_runs_have_no_intervals_for_ratios(self):
        self.write_micro("queues", queue_rows(), quick=True)
        text = tables.render(tables.load(self.set, {}), "queues:flat,park")
        self.assertIn("0.33 (a quick run)", text)

    def test_padding(self):
        self.write_micro("padding", padding_rows())
        data = tables.load(self.set, {})
        text = tables.render(data, "padding:add")
        tight = next(x for x in text.splitlines() if x.startswith("| 0 "))
        self.assertIn("4.00 (4.00 to 4.00)", tight)
        c2c = tables.render(data, "c2c").splitlines()
        self.assertIn("72", c2c[2])
        self.assertEqual(len(c2c), 4)
        self.assertIn("PAD 128",
                      self.draw(tables.find_figure(data, "padding")))

    def test_no_matrix_says_why(self):
        self.write_micro("padding", padding_rows())
        data = tables.load(self.set, {})
        data.manifest["machine"] = {**MACHINE, "core_to_core": {
            "missing": "micro/c2c is not built"}}
        self.assertEqual(blocks_tables.c2c_table(data),
                         "Not measured: micro/c2c is not built.")

    def test_what_is_not_whole_is_refused(self):
        rows = queue_rows()
        for bad, word in ((rows[1:], "block 0 is not whole"),
                          (rows + rows[:1], "block 0 is not whole"),
                          (rows[:-12], "block 6 is not whole"),
                          ([{**rows[0], "block": 9}] + rows[1:],
                           "no block 9"),
                          ([{**rows[0], "p99_ns": 0}] + rows[1:], "p99_ns"),
                          ([7] + rows[1:], "row 1")):
            with self.subTest(word):
                self.write_micro("queues", bad)
                with self.assertRaises(results.ResultError) as caught:
                    micro_results.load(self.set)
                self.assertIn(word, str(caught.exception))

    def test_a_report_with_more_sets(self):
        micro = os.path.join(self.dir, "micro")
        run, self.set = self.set, micro
        os.mkdir(micro)
        self.write_micro("queues", queue_rows())
        self.set = run
        self.write(uneven_rows(), FAST, [plan("show-sleep", {})])
        out = os.path.join(self.dir, "report")
        argv = [sys.executable, os.path.join(ROOT, "plots", "report.py"),
                run, "--out", out]
        done = subprocess.run([*argv, "--also", micro, "--also", run],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(os.path.join(out, "index.html"), encoding="utf-8") as f:
            page = f.read()
        for word in ("Micro-benchmark: queues", 'id="micro1-queues"',
                     'id="set1-skew"', 'id="skew"', "ring of stage 5",
                     "p99 of the short requests"):
            self.assertIn(word, page)
        ids = [x.partition('"')[0] for x in page.split(' id="')[1:]]
        self.assertEqual(len(ids), len(set(ids)))
        with open(os.path.join(micro, "queues.json"), "a",
                  encoding="utf-8") as f:
            f.write(" ")
        done = subprocess.run([*argv, "--also", micro], capture_output=True,
                              text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("not the file", done.stderr)


if __name__ == "__main__":
    unittest.main()
