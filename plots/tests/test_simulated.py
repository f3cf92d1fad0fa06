"""The sets of bench/simulate.py: made, read and drawn."""

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "plots"))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import results          # noqa: E402
import simulate         # noqa: E402
import simulated        # noqa: E402
import suites           # noqa: E402
import summary          # noqa: E402
import tables           # noqa: E402

NS = {"session": 200, "syscall": 140, "context_switch": 1700,
      "wake_same": 2200, "wake_other": 6500, "wake_call": 2200,
      "line_transfer": 96, "sleep_late": 57000, "echo_calls": 4900,
      "echo_ring_1": 6400, "echo_ring_16": 4500, "echo_ring_64": 4700,
      "echo_armed_1": 7400, "echo_armed_16": 5300, "echo_armed_64": 5400,
      "epoll_event": 370}
PRICES = {name: ns / 1000 for name, ns in NS.items()}
QUEUE = {"queue": "mutex", "load": "flat", "wait": "spin"}
CELL = {"workers": 2, "service": "exponential", "connections": 128,
        "rate": 600}


class Scratch(unittest.TestCase):
    def setUp(self):
        d = tempfile.TemporaryDirectory(prefix="ioladder-simulated-")
        self.addCleanup(d.cleanup)
        self.dir = d.name

    def path(self, name):
        return os.path.join(self.dir, name)

    def measured(self, rows, prices=NS):
        """A set of the suite, with these rows."""
        os.makedirs(self.path("one"))
        suite = suites.SUITES["simcheck-sleep-4"]
        part = {"suite": suite.name, "title": suite.title, "blocks": 1,
                "params": suite.params, "seconds": 1.2, "warmup": 0.3,
                "loadgen": suite.loadgen, "server": [], "slope": "",
                "load": "", "reference": "stage5", "words": suite.words}
        manifest = {
            "schema": results.MANIFEST, "name": "one", "state": "complete",
            "suite": "simcheck", "seed": 1, "app": "http", "plan": [part],
            "machine": {"prices": {"prices": {
                n: {"ns": ns, "low": ns, "high": ns}
                for n, ns in prices.items()}}},
            "servers": {s: {"kind": "stage"} for s in simulate.SERVERS}}
        results.write_json(self.path("one/manifest.json"), manifest)
        with open(self.path("one/rows.jsonl"), "w", encoding="utf-8") as f:
            f.writelines(json.dumps(row) + "\n" for row in rows)
        results.write_json(self.path("one/summary.json"),
                           summary.summarise(manifest, rows))
        return self.path("one")

    @staticmethod
    def row(server, p99=5000.0, valid=True, foreign=1.0):
        return {"schema": results.ROW, "kind": "measure", "block": 0,
                "suite": "simcheck-sleep-4", "cell": CELL, "server": server,
                "valid": valid, "metrics": {
                    "notes": [], "qps": 600.0, "p50_us": 900.0,
                    "p99_us": p99, "foreign_pct": foreign}}


class Costs(unittest.TestCase):
    def test_they_follow_from_prices(self):
        found = simulate.costs("hash", "work", PRICES, 0.1)
        self.assertAlmostEqual(found["io_us"], 7.6)
        self.assertAlmostEqual(found["io_many_us"], 5.5)
        self.assertNotIn("late_us", found)
        sleeps = simulate.costs("rescue", "sleep", PRICES, 0.1)
        self.assertEqual(sleeps["late_us"], 57)
        self.assertEqual(sleeps["look_us"], 457)
        self.assertEqual(sleeps["cpus"], 1)
        self.assertIn("hand_us", simulate.costs("ring", "work", PRICES, 0.1))

    def test_a_price_that_is_missing_is_named(self):
        older = {k: v for k, v in PRICES.items() if k != "sleep_late"}
        with self.assertRaisesRegex(simulate.Failed, "sleep_late"):
            simulate.costs("hash", "sleep", older, 0.1)

    def test_a_lock_is_half_of_a_task(self):
        rows = [{**QUEUE, "tasks_per_s": x} for x in (1e6, 2e6, 9e6)]
        rows.append({**QUEUE, "wait": "park", "tasks_per_s": 1})
        with mock.patch.object(simulate.micro_results, "load",
                               return_value=({}, {"rows": rows})):
            self.assertAlmostEqual(simulate.lock_us_of("x"), 0.25)
            rows[:3] = []
            with self.assertRaisesRegex(simulate.Failed, "mutex"):
                simulate.lock_us_of("x")

    def test_sleeps_have_a_tail_where_the_list_has_it(self):
        tail = {"sleep_late_50": 60, "sleep_late_90": 90,
                "sleep_late_99": 4000}
        found = simulate.costs("ring", "sleep", {**PRICES, **tail}, 0.1)
        self.assertEqual(
            [found[f"late_{name}us"] for name in ("", "90_", "99_")],
            [60, 90, 4000])
        found = simulate.costs("ring", "sleep", PRICES, 0.1)
        self.assertNotIn("late_99_us", found)
        self.assertNotIn("late_us", simulate.costs("ring", "work", PRICES,
                                                   0.1))

    def test_all_policies_have_as_many_cores_and_the_same_rate(self):
        known = {"cores": 90, "policy": "mutex"}
        options = {"service": "exp:100", "load": 0.5, "requests": 100}
        pool = simulate.full_plan(known, options, PRICES, 0.1)
        self.assertEqual((pool["cores"], pool["helpers"]), (80, 8))
        hashed = simulate.full_plan({**known, "policy": "hash"}, options,
                                    PRICES, 0.1)
        self.assertEqual((hashed["cores"], hashed["rate"]),
                         (90, pool["rate"]))


class Check(Scratch):
    def check(self, *rows):
        return simulate.check(os.path.join(ROOT, "build"),
                              [self.measured(rows)], 0.1)

    def test_a_cell_is_simulated_as_it_was_measured(self):
        with contextlib.redirect_stderr(io.StringIO()):
            parts, prices = self.check(self.row("stage5"), self.row("stage6"))
        self.assertEqual(prices["one"]["sleep_late"], 57)
        first, second = parts["check"]
        self.assertEqual((first["policy"], second["policy"]),
                         ("hash", "rescue"))
        self.assertEqual((first["load"], first["slices"]), (0.3, 1))
        found = first["simulated"]
        self.assertLess(1000, found["p50"])
        self.assertLess(found["p50"], found["p99"])
        self.assertLess(found["p99_low"], found["p99_high"])
        # What is left out makes it faster.
        self.assertLess(first["without"]["late sleeps"]["p50"],
                        found["p50"] - 30)
        self.assertLess(first["without"]["turns"]["p99"], found["p99"])

    def test_what_chance_does_to_a_median(self):
        """Of more slices it lies in a narrower range, always the same one."""
        tails = list(range(100, 141))
        one, nine = (simulate.by_chance(tails, n) for n in (1, 9))
        self.assertEqual(one, simulate.by_chance(tails, 1))
        self.assertLess(one[0], nine[0])
        self.assertLess(nine[1], one[1])
        self.assertLess(nine[0], 120)
        self.assertLess(120, nine[1])

    def test_what_others_disturbed_is_left_out(self):
        rows = [self.row("stage5"), self.row("stage5", 9e5, foreign=45.0),
                self.row("stage5", 9e5, valid=False),
                self.row("stage5", None)]     # too few requests for a p99
        cell, = simulate.measured_cells(self.measured(rows))
        self.assertEqual((cell["measured"]["p99"], cell["slices"]), (5000, 1))

    def test_no_slice_is_said(self):
        with self.assertRaisesRegex(simulate.Failed, "no slice"):
            self.check(self.row("stage5", valid=False))

    def test_how_far_off_in_words(self):
        cell = {"suite": "s", "kind": "sleep", "workers": 4, "load": 0.5,
                "policy": "hash", "slices": 2, "seconds": 1.2, "foreign": 2.5,
                "service": "exp:9",
                "measured": {"p50": 100, "p99": 1000, "throughput": 50},
                "simulated": {"p50": 100, "p99": 1200, "throughput": 50,
                              "p99_low": 900, "p99_high": 1300},
                "without": {name: {"p99": 500}
                            for name in simulate.WITHOUT}}
        data = mock.Mock(spec=simulated.Data)
        data.rows.return_value = [cell, {**cell, "load": 0.9, "measured": {
            "p50": 100, "p99": 9000, "throughput": 50}}]
        text = simulated.check_short(data)
        self.assertIn("p99 at 50 and 70 % load: 1 of 1 within 25 %, median "
                      "error 20.0 %", text)
        self.assertIn("at all loads: 2 of 2 within 10 %", text)
        lines = simulated.check_table(data).splitlines()
        self.assertIn("+20 %", lines[2])
        # 1,200 to 1,300 and 900: so far off a perfect one may seem, too.
        self.assertIn(" -8 to +33 % |", lines[2])
        self.assertIn("explains 1 of these 1 errors", text)
        self.assertIn("of 1.2 s, in which other programs took up to 2.5 %",
                      text)
        self.assertFalse(simulated.explained(data.rows.return_value[1]))
        self.assertIn("50 %", simulated.check_without(data))


class Policies(unittest.TestCase):
    """One small set for all of them: its runs take most of the time."""

    @classmethod
    def setUpClass(cls):
        d = tempfile.TemporaryDirectory(prefix="ioladder-simulated-")
        cls.addClassCleanup(d.cleanup)
        cls.dir = os.path.join(d.name, "small")
        with mock.patch.object(simulate, "prices_of", return_value=PRICES), \
                mock.patch.object(simulate, "lock_us_of", return_value=0.1), \
                contextlib.redirect_stderr(io.StringIO()):
            cls.status = simulate.main(
                ["policies", "--quick", "--prices", "a", "--queues", "b",
                 "--out", cls.dir])
        cls.data = tables.load(cls.dir, {})

    def test_it_is_a_draft_that_no_document_takes(self):
        self.assertEqual(self.status, 0)
        with self.assertRaisesRegex(tables.DocError, "draft"):
            tables.block("x.md", "/", "laws", self.dir, False, {})

    def test_each_picture_says_that_it_is_simulated(self):
        figures = tables.module_of(self.data).figures_of(self.data)
        self.assertEqual([f.name for f in figures],
                         ["load", "scaling", "pays", "search"])
        for figure in figures:
            self.assertTrue(figure.title.startswith("Simulated"))
            text = figure.draw(700).text(figure.title)
            headings = [line for line in text.split("<text")
                        if "imulated<" in line or "simulated:" in line]
            self.assertGreaterEqual(len(headings), 1, figure.name)
            self.assertNotIn("nan", text)

    def test_tables(self):
        laws = tables.render(self.data, "laws").splitlines()
        self.assertEqual(len(laws), 2 + 3 * 3)
        self.assertIn("not fitted: 3 points", laws[2])
        self.assertIn("8,240", tables.render(self.data, "article"))
        self.assertIn("cores", tables.render(self.data, "stops"))
        crossing = tables.render(self.data, "crossover").splitlines()
        self.assertIn("| on 4 cores |", crossing[0])
        self.assertRegex(crossing[2], r"\| 5 .*\| +\d cores \|")
        self.assertIn("bimodal", tables.render(self.data, "pays"))
        self.assertIn("lock of 100 ns", tables.render(self.data, "inputs"))
        with self.assertRaises(tables.DocError):
            tables.render(self.data, "check")

    def test_a_set_that_is_not_whole(self):
        with open(os.path.join(self.dir, simulate.NAME),
                  encoding="utf-8") as f:
            found = json.load(f)
        with tempfile.TemporaryDirectory() as other:
            for change in ({"parts": {"load": []}}, {"schema": "other/1"},
                           {"parts": {"load": [{}]}}):
                results.write_json(os.path.join(other, simulate.NAME),
                                   {**found, **change})
                with self.assertRaises(results.ResultError):
                    simulate.load(other)

    def test_where_it_stops(self):
        self.assertEqual(simulated.stops_at(
            [(1, 10.0), (2, 19.0), (4, 20.0), (8, 20.1)]), 2)
        self.assertIsNone(simulated.stops_at([(1, 10.0), (2, 19.0)]))


class BadInput(unittest.TestCase):
    def test_is_named(self):
        for words in (["check", "--queues", "q", "--out", "o"],
                      ["policies", "--queues", "q", "--out", "o"],
                      ["check", "a", "--out", "o"],
                      ["check", "a", "--queues", "q", "--out", HERE],
                      ["other", "--queues", "q", "--out", "o"]):
            err = io.StringIO()
            with self.assertRaises(SystemExit) as done, \
                    contextlib.redirect_stderr(err):
                simulate.main(words)
            self.assertEqual(done.exception.code, 64, words)
            self.assertIn("simulate.py: ", err.getvalue())

    def test_a_set_that_is_not_there(self):
        err = io.StringIO()
        with tempfile.TemporaryDirectory() as d, \
                contextlib.redirect_stderr(err):
            status = simulate.main(["policies", "--prices", d, "--queues", d,
                                    "--out", os.path.join(d, "o")])
            self.assertEqual(os.listdir(d), [])
        self.assertEqual(status, 1)
        self.assertIn("manifest.json", err.getvalue())


if __name__ == "__main__":
    unittest.main()
