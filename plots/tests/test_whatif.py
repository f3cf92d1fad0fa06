"""The table of variants: a line for each, and what it must not do without."""

import os
import sys
import unittest
from types import SimpleNamespace

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import whatif   # noqa: E402

CELL = {"connections": 64}


def ratio(server, metric, value):
    return {"suite": "whatif-send", "cell": CELL, "metric": metric,
            "server": server, "base": "stage4", "ratio": value,
            "low": value - 0.01, "high": value + 0.01, "verdict": "higher"}


def data(*names, cells=(CELL,)):
    return SimpleNamespace(
        manifest={"plan": [
            {"suite": "ladder", "title": "another"},
            {"suite": "whatif-send", "title": "GET /bytes/1: all of it",
             "reference": "stage4", "variants": {n: [n, []] for n in names}}]},
        suites={"whatif-send": list(cells)}, order=["stage4", *names],
        summary={
            "cells": [{"suite": "whatif-send", "cell": CELL, "n": 9,
                       "server": names[0], "notes": {"late": 2}}],
            "comparisons": [ratio(n, m, v) for n in names for m, v in (
                ("cpu_us", 1.5), ("spent_us", 1.75), ("p99_us", 1.25),
                ("own_calls", 2.0))]})


class Table(unittest.TestCase):
    def test_a_line_for_each_variant(self):
        found = data("4-send-zc", "4-send-fixed")
        lines = whatif.table(found).splitlines()
        self.assertEqual(len(lines), 4)
        self.assertRegex(lines[2], r"`4-send-fixed` *\| *11 \| +GET /bytes/1 "
                                   r"\| 1.50 \(1.49 to 1.51\)[^|]*\| 1.75 "
                                   r"[^|]*\| 1.25 [^|]*\| 2.00 [^|]*\| +\w")
        self.assertIn("`4-send-zc`", lines[3])
        self.assertEqual(whatif.notes(found),
                         "whatif-send: late: 4-send-zc in 2 of 9.")

    def test_a_switch_has_no_patch(self):
        line = whatif.table(data("3-coop")).splitlines()[2]
        self.assertRegex(line, r"`3-coop` *\| switch \|.*\| several threads")

    def test_what_was_not_measured_is_left_out(self):
        found = data("4-send-zc", "4-send-fixed")
        found.order.remove("4-send-zc")
        self.assertNotIn("4-send-zc", whatif.table(found))

    def test_what_is_missing_is_named(self):
        for found, wanted in (
                (data("4-none"), "4-none.patch: there is no such variant"),
                (data("4-send-zc", cells=()), "whatif-send is 0 cells")):
            with self.assertRaisesRegex(whatif.Incomplete, wanted):
                whatif.table(found)
        found = data("4-send-zc")
        found.manifest["plan"].pop()
        with self.assertRaisesRegex(whatif.Incomplete, "no suite of whatif"):
            whatif.table(found)


if __name__ == "__main__":
    unittest.main()
