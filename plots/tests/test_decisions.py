"""The decision table: what each row must have, and where its sizes are from."""

import glob
import os
import re
import shlex
import sys
import unittest
from types import SimpleNamespace

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))

import decisions                    # noqa: E402
import claim_rules as rules         # noqa: E402
import suites                       # noqa: E402

NOT_OURS = ("voluntary_ctxt_switches", "cwnd", "retrans", "worker",
            "none")
COUNTER = re.compile(r"^ *\+? *X\((\w+), +(?:counter|gauge),", re.M)


class Set:
    """One set with one figure, or a slope."""

    root = None

    def __init__(self, found=None, limited=False, verdict="lower"):
        self.found, self.is_limited = found, limited
        self.known = [("2026", "some/set", ["idle"])]
        self.manifest = {"machine": {"kernel": "6.18.44-x"}}
        self.summary = {
            "comparisons": [
                {"suite": "ladder", "metric": "cpu_us", "server": "stage3",
                 "base": "stage2", "cell": {"connections": 64, "handler": 0},
                 "verdict": verdict}],
            "slopes": [{"suite": "idle", "server": "stage4", "bytes": 208.0,
                        "low": 200.0, "high": 210.0}]}

    def answer(self, check):
        judged = check.judge(self.found)
        return rules.Answer(check, self.found, judged, "some/set", 9)

    def load(self, _):
        return self

    def limited(self, _):
        return self.is_limited

    def name(self, path):
        return path


def told(sets, **more):
    return decisions.Size("ladder", "stage3", "stage2", "cpu_us", "a load",
                          **more).told(sets)


class Sizes(unittest.TestCase):
    def test_the_interval_decides(self):
        for found, limited, wanted in (
                ((0.9, 0.8, 0.95), False, "0.90 (0.80 to 0.95)"),
                ((0.9, 0.8, 0.95), True, "0.90 (0.80 to 0.95)"),
                ((1.0, 0.8, 1.2), False, "~ 1.00 (0.80 to 1.20)"),
                ((1.0, 0.8, 1.2), True, "~ 1.00 (0.80 to 1.20) °"),
                ((0.9, None, None), False, "~ 0.90, too few blocks")):
            self.assertEqual(told(Set(found, limited)), (
                f"CPU a request, stage3 / stage2, a load: {wanted}",
                "some/set"))
        self.assertIsNone(told(Set()))

    def test_the_set_knows_its_other_comparisons(self):
        for verdict, cell, wanted in (
                ("not after correction", {"handler": 0}, "~ 0.90 (0.80"),
                ("not after correction", {"handler": 5}, "0.90 (0.80"),
                ("lower", {"handler": 0}, "0.90 (0.80")):
            self.assertIn(f"a load: {wanted}", told(
                Set((0.9, 0.8, 0.95), verdict=verdict), cell=cell)[0])

    def test_a_slope_has_its_interval(self):
        self.assertEqual(decisions.Slope("stage4").told(Set()), (
            "bytes an idle connection, stage4: 208 (200 to 210)", "some/set"))
        self.assertIsNone(decisions.Slope("stage1").told(Set()))

    def test_what_has_no_set_has_a_command(self):
        row = next(r for r in decisions.ROWS if not r.sizes)
        text, kernels = decisions.size_of(row, Set())
        self.assertEqual((text, kernels), (f"no set yet: {row.how}", []))
        size = decisions.Size("ladder", "stage3", "stage2", "cpu_us", "load")
        row = decisions.Row("a", "b", "c", (size,), "6.1", "d")
        text, kernels = decisions.size_of(row, Set((0.9, 0.8, 0.95)))
        self.assertRegex(text, r"0.90 \(0.80 to 0.95\) \(`set`\)$")
        self.assertEqual(kernels, ["6.18"])
        self.assertEqual(decisions.size_of(row, Set()), (
            "no set yet: `bench/run.py --suite ladder`", []))


class Rows(unittest.TestCase):
    def test_the_counters_exist(self):
        names = set()
        for pattern in ("common/stats.h", "stages/*/*.[ch]",
                        "stages/variants/*.patch"):
            for path in glob.glob(os.path.join(ROOT, pattern)):
                with open(path, encoding="utf-8") as f:
                    names.update(COUNTER.findall(f.read()))
        self.assertIn("enobufs", names)
        seen = 0
        for row in decisions.ROWS:
            for word in re.findall(r"`([a-z_]+)`", row.counter):
                if word in NOT_OURS:
                    continue
                seen += 1
                self.assertIn(word, names, row.symptom)
        self.assertGreater(seen, 15)

    def test_each_row_is_whole(self):
        self.assertTrue(12 <= len(decisions.ROWS) <= 20)
        symptoms = [row.symptom for row in decisions.ROWS]
        self.assertEqual(len(symptoms), len(set(symptoms)))
        for row in decisions.ROWS:
            self.assertTrue(row.sizes or row.how, row.symptom)
            self.assertTrue(row.counter and row.change and row.idle)
            self.assertNotIn("|", "".join((row.symptom, row.counter,
                                           row.change, row.idle, row.how)))

    def test_the_suites_exist(self):
        programs = ("uring_ops", "padding")
        for row in decisions.ROWS:
            for size in row.sizes:
                if not isinstance(size, decisions.Slope):
                    self.assertIn(size.suite, (*suites.SUITES, *programs))
            for command in re.findall(r"`(bench/run.py [^`]*)`", row.how):
                words = shlex.split(command)
                self.assertIn(words[words.index("--suite") + 1],
                              suites.SUITES)

    def test_the_table_has_them_all(self):
        sets = SimpleNamespace(
            known=[], root=None,
            answer=lambda check: Set((0.9, 0.8, 0.95)).answer(check),
            load=lambda path: Set(), name=lambda path: path)
        lines = decisions.render(sets).splitlines()
        self.assertEqual(len(lines), 2 + len(decisions.ROWS))
        self.assertRegex(lines[2], r"two system calls.*from 5.19; here 6.18")


if __name__ == "__main__":
    unittest.main()
