"""The figures of measuring.md: each says what its set holds."""

import os
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "plots"))
sys.path.insert(0, os.path.join(ROOT, "plots", "tests"))

import made_up                             # noqa: E402
import mistakes                            # noqa: E402
import results                             # noqa: E402
import sets                                # noqa: E402
import stats_math                          # noqa: E402
import summary as summaries                # noqa: E402
import tables                              # noqa: E402


class Mistakes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory(prefix="ioladder-test-")
        cls.addClassCleanup(cls.dir.cleanup)
        path = made_up.write(
            os.path.join(cls.dir.name, "set"), ("ladder", "sleeping"),
            ("stage1", "stage2", "stage3"))
        cls.data = sets.Data(*results.load(path))

    def line(self, name, start):
        return next(line for line in tables.render(
            self.data, "mistake:" + name).splitlines()
            if line.startswith(start))

    def test_limit(self):
        line = self.line("limit", "| handler 0 us, connections 64")
        self.assertRegex(line, r"0\.80 \| +0 \| +60 of 90 ")
        line = self.line("limit", "| handler 5 us, connections 64")
        self.assertRegex(line, r" 0 of 90 \| +2 of 2 ")

    def test_states(self):
        text = tables.render(self.data, "mistake:states")
        self.assertIn("2.0 % (median of 165 blocks), and by 3.0 % at most",
                      text)
        self.assertIn("would keep 165 of them", text)
        self.data.rows[-1]["moved_pct"] = 70.0
        self.addCleanup(self.data.rows[-1].update, moved_pct=3.0)
        self.assertIn("would keep 164 of", tables.render(self.data,
                                                         "mistake:states"))

    def test_slow(self):
        block = next(r for r in self.data.rows if r["kind"] == "block")
        block["slow"] = [[0, 0], [9.5, 41.25], [0.25, 3], [0, 0]]
        self.addCleanup(block.pop, "slow")
        again = summaries.summarise(self.data.manifest, self.data.rows)
        self.data.summary["slow"] = again["slow"]
        self.addCleanup(self.data.summary.pop, "slow")
        self.assertIn("looked at 4 times. In 2 of them it met such a stretch; "
                      "they took 2.4 % of the time, and the longest lasted "
                      "41.2 ms.", tables.render(self.data, "mistake:slow"))

    def test_sleeping(self):
        self.assertRegex(self.line("sleeping", "| 2 epoll"),
                         r"\| +1\.\d\d \(1\.\d\d to 1\.\d\d\) \|")

    def test_intervals(self):
        self.assertRegex(self.line("intervals", "| 7 "),
                         r"98\.4 % \| +87\.5 %")
        self.assertRegex(self.line("intervals", "| 13 "), r" 90\.8 % \|$")

    def test_many(self):
        text = tables.render(self.data, "mistake:many")
        tests = [c for c in self.data.summary["comparisons"]
                 if c["verdict"] != stats_math.FEW]
        self.assertIn(f"has {len(tests)} comparisons", text)

    def test_what_is_missing(self):
        empty = sets.Data({"servers": {}, "plan": []}, [], {
            "cells": [], "comparisons": [], "slopes": []})
        for name in ("limit", "states", "slow", "sleeping", "many"):
            with self.assertRaises(mistakes.Missing):
                mistakes.FIGURES[name](empty)
        with self.assertRaisesRegex(tables.DocError, "only limit, states"):
            tables.render(empty, "mistake:none")


if __name__ == "__main__":
    unittest.main()
