"""The table of variants: a line for each, and what it must not do without."""

import os
import sys
import unittest
from types import SimpleNamespace
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import whatif   # noqa: E402
import suites   # noqa: E402

CELL = {"connections": 64}
PRICES = {"prices": {"prices": {"page_fault": {"ns": 2000.0}}}}


def ratio(server, metric, value, verdict="higher", spread=0.01):
    return {"suite": "whatif-send", "cell": CELL, "metric": metric,
            "server": server, "base": "stage4", "ratio": value,
            "low": value - spread, "high": value + spread,
            "coverage": 0.96, "verdict": verdict}


def rows(**cpu_and_faults):
    """Nine blocks of each server: (CPU a request in us, page faults)."""
    return [{"kind": "measure", "suite": "whatif-send", "cell": CELL,
             "server": server.replace("_", "-"), "block": block, "valid": True,
             "metrics": {"cpu_us": cpu + 0.01 * block, "faults": faults}}
            for server, (cpu, faults) in cpu_and_faults.items()
            for block in range(9)]


def data(*names, cells=(CELL,), told=(), found=()):
    return SimpleNamespace(
        manifest={"machine": PRICES, "plan": [
            {"suite": "ladder", "title": "another"},
            {"suite": "whatif-send", "title": "GET /bytes/1: all of it",
             "reference": "stage4", "variants": {n: [n, []] for n in names}}]},
        suites={"whatif-send": list(cells)}, order=["stage4", *names],
        rows=list(found),
        summary={
            "cells": [{"suite": "whatif-send", "cell": CELL, "n": 9,
                       "server": names[0], "notes": {"late": 2}}],
            "comparisons": list(told) or [
                ratio(n, m, v) for n in names for m, v in (
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
                         "<details><summary>What disturbed the measurement"
                         "</summary>\n\n- whatif-send: late: 4-send-zc in 2 "
                         "of 9.\n\n</details>")

    def test_a_switch_has_no_patch(self):
        line = whatif.table(data("3-coop")).splitlines()[2]
        self.assertRegex(line, r"`3-coop` *\| switch \|.*\| several threads")

    def test_what_was_not_measured_is_left_out(self):
        found = data("4-send-zc", "4-send-fixed")
        found.order.remove("4-send-zc")
        self.assertNotIn("4-send-zc", whatif.table(found))

    def test_a_figure_that_decides_nothing_is_marked(self):
        for verdict, wanted in (
                ("lower", "0.90 (0.89 to 0.91)"),
                ("not distinguishable", "~ 0.90 (0.89 to 0.91)"),
                ("limited by the generator", "~ 0.90 (0.89 to 0.91) °"),
                ("too few pairs", "~ 0.90 (0.89 to 0.91 covers 96 %)")):
            self.assertEqual(whatif.ratio_text(
                ratio("4-send-zc", "cpu_us", 0.9, verdict)), wanted)
        self.assertEqual(whatif.ratio_text(None), "-")

    def test_every_line_has_a_direction(self):
        names = [name for suite in suites.SUITES.values()
                 if suite.name.startswith("whatif-")
                 for name in suite.variants]
        self.assertGreater(len(names), 40)
        for line in whatif.lines(data(*names)):
            self.assertIn("direction", line.header)
            self.assertTrue(line.claim() or
                            line.header["direction"].startswith("none, "))

    def test_what_nobody_judged_yet_says_so(self):
        header = {"lines": 3, "direction": "none, it is new"}
        with mock.patch.object(whatif.variants, "describe",
                               lambda *_: dict(header)):
            self.assertIn(whatif.UNJUDGED, whatif.table(data("4-send-zc")))

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

    def test_a_switch_without_a_direction_is_named(self):
        stage, words, header = suites.SWITCHES["3-coop"]
        left = {k: v for k, v in header.items() if k != "direction"}
        with mock.patch.dict(suites.SWITCHES, {"3-coop": (stage, words,
                                                          left)}):
            with self.assertRaisesRegex(whatif.Incomplete, "'direction: '"):
                whatif.table(data("3-coop"))


class Said(unittest.TestCase):
    def test_an_opinion_is_judged_by_the_interval(self):
        less, more, size, same = (
            ("cpu_us", "less", 0), ("cpu_us", "more", 0),
            ("cpu_us", "more", 0.1), ("cpu_us", "same", 0))
        for claim, value, verdict, wanted in (
                (less, 0.9, "lower", whatif.AGREES),
                (less, 1.1, "higher", whatif.CONTRADICTS),
                (less, 0.9, "not after correction", whatif.OPEN),
                (less, 0.9, "too few pairs", whatif.OPEN),
                (more, 1.1, "higher", whatif.AGREES),
                (more, 0.9, "lower", whatif.CONTRADICTS),
                (size, 1.2, "higher", whatif.AGREES),
                (size, 1.05, "higher", whatif.CONTRADICTS),
                (size, 1.0, "not distinguishable", whatif.CONTRADICTS),
                (size, 1.0, "limited by the generator", whatif.OPEN),
                (size, 1.1, "higher", whatif.OPEN),
                (same, 1.0, "not distinguishable", whatif.AGREES),
                (same, 1.05, "higher", whatif.OPEN),
                (same, 1.2, "higher", whatif.CONTRADICTS)):
            self.assertEqual(whatif.judge(claim, ratio(
                "4-send-zc", "cpu_us", value, verdict)), wanted,
                (claim, value, verdict))
        self.assertEqual(whatif.judge(less, None), whatif.OPEN)

    def test_the_lines_are_counted(self):
        text = whatif.said(data("4-send-zc", "4-recv-plain", "4-sendfile",
                                told=[ratio("4-send-zc", "cpu_us", 1.5),
                                      ratio("4-sendfile", "cpu_us", 0.5,
                                            "lower")]))
        self.assertIn("Of 3 lines, 2 have a common opinion", text)
        self.assertIn("**1 lines contradict what is said** (`4-send-zc`), 1 "
                      "agree with it (`4-sendfile`), and 0 do not", text)
        self.assertRegex(text, r"`4-send-zc` .*lwn.net.*CPU less \| +1.50 "
                               r"\(1.49 to 1.51\) \| +contradicts")
        self.assertNotIn("`4-recv-plain`", text)

    def test_page_faults_are_not_the_change(self):
        told = [ratio("4-recv-fixed", "cpu_us", 0.8, "lower")]
        faulty = data("4-recv-fixed", told=told,
                      found=rows(stage4=(25.0, 3.0), **{
                          "4_recv_fixed": (20.0, 0.5)}))
        line = whatif.lines(faulty)[0]
        self.assertTrue(line.faulty())
        self.assertEqual(line.judged(), whatif.OPEN)
        self.assertIn("0.80 (0.79 to 0.81) †", whatif.table(faulty))
        self.assertRegex(whatif.faults(faulty, "4-recv-fixed"),
                         r"`4-recv-fixed` 0.500 .*, stage4 3.00 .*one on that "
                         r"machine: 2.00 us.* 0.80 \(0.79 to 0.81\); without "
                         r"the price of the page faults: ~ 1.00 ")
        few = data("4-recv-fixed", told=told,
                   found=rows(stage4=(25.0, 0.1), **{
                       "4_recv_fixed": (20.0, 0.1)}))
        line = whatif.lines(few)[0]
        self.assertFalse(line.faulty())
        self.assertEqual(line.judged(), whatif.AGREES)
        for nothing in (data("4-recv-fixed", told=told), data("4-direct")):
            with self.assertRaisesRegex(whatif.Incomplete, "no page faults"):
                whatif.faults(nothing, "4-recv-fixed")


if __name__ == "__main__":
    unittest.main()
