"""Bars: a title states what an interval decides, and nothing else."""

import os
import sys
import unittest
import xml.etree.ElementTree as ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "plots"))
import bars                                # noqa: E402
import sets                                # noqa: E402

CELL = {"connections": 64}
SVG = "{http://www.w3.org/2000/svg}"


def data(high=0.7, name="stage2"):
    """Two servers; the second has 0.6 of the first's cost, up to `high`."""
    entries = [{"suite": "keepalive", "cell": CELL, "server": server, "n": 9,
                "metrics": {"cpu_us": [value, value * 0.9, value * 1.1],
                            "p99_us": [value * 1000, value, value * 2000]}}
               for server, value in (("stage1", 10.0), (name, 6.0))]
    comparisons = [{"suite": "keepalive", "cell": CELL, "metric": metric,
                    "server": name, "base": "stage1", "ratio": 0.6,
                    "low": 0.5, "high": high, "verdict": "lower"}
                   for metric in ("cpu_us", "p99_us")]
    slopes = [{"suite": "idle", "server": "stage1", "bytes": 17164.0,
               "low": 17000.0, "high": 17300.0},
              {"suite": "idle", "server": name, "bytes": 208.0, "low": 208.0,
               "high": 209.0}]
    return sets.Data(
        {"servers": {"stage1": {"kind": "stage"}, name: {"kind": "stage"}}},
        [], {"cells": entries, "comparisons": comparisons, "slopes": slopes})


def words(svg):
    return [t.text for t in ElementTree.fromstring(svg).iter(SVG + "text")]


class Bars(unittest.TestCase):
    def test_a_decided_ratio_is_the_title(self):
        title, svg = bars.make(data(), "cost", "keepalive", CELL)
        self.assertEqual(title, "2 epoll answers a request with 0.60 of the "
                                "CPU time of 1 threads")
        self.assertIn(title, words(svg))
        self.assertIn("6.00 us", words(svg))
        self.assertIn("prefers-color-scheme:dark", svg)

    def test_an_undecided_ratio_is_not(self):
        title, _ = bars.make(data(high=1.01), "cost", "keepalive", CELL)
        self.assertEqual(title, "CPU time a request, connections 64")
        title, _ = bars.make(data(high=1.01), "tail", "keepalive", CELL)
        self.assertNotIn("falls", title)

    def test_tail_and_idle(self):
        title, svg = bars.make(data(), "tail", "keepalive", CELL)
        self.assertEqual(title, "When work is uneven, p99 falls from 10.0 "
                                "ms to 6.00 ms")
        self.assertNotIn("<rect", svg)      # no bars on a log scale
        title, svg = bars.make(data(), "idle", "idle", None)
        self.assertEqual(title, "An idle connection holds 208 B in 2 epoll, "
                                "16.8 KiB in 1 threads")

    def test_what_the_kernel_holds_stands_on_top(self):
        kernel = {"slopes": {"pair": [2000.0], "stage1": [29672.0],
                             "stage2": [5000.0, 5000.0, 6000.0]}}
        title, svg = bars.make(data(), "held", "idle", kernel)
        self.assertEqual(title, "An idle connection holds 4.1 KiB in 2 epoll, "
                                "44.8 KiB in 1 threads")
        boxes = list(ElementTree.fromstring(svg).iter(SVG + "rect"))
        self.assertEqual(len(boxes), 4)     # solid and pale, twice
        for solid, pale in (boxes[:2], boxes[2:]):
            self.assertAlmostEqual(
                float(solid.get("x")) + float(solid.get("width")),
                float(pale.get("x")), delta=0.2)

    def test_too_few_blocks_for_an_interval(self):
        few = data(high=None)
        for entry in few.summary["cells"]:
            for triple in entry["metrics"].values():
                triple[1:] = [None, None]
        for slope in few.summary["slopes"]:
            slope["low"] = slope["high"] = None
        kernel = {"slopes": {"pair": [2000.0], "stage1": [29672.0],
                             "stage2": [5000.0]}}
        for kind, suite, more in (("cost", "keepalive", CELL),
                                  ("tail", "keepalive", CELL),
                                  ("idle", "idle", None),
                                  ("held", "idle", kernel)):
            with self.subTest(kind):
                title, svg = bars.make(few, kind, suite, more)
                ElementTree.fromstring(svg)
                self.assertNotIn("of the CPU time", title)

    def test_names_are_escaped_and_the_same_data_give_the_same_bytes(self):
        one = bars.make(data(name="<a&b>"), "cost", "keepalive", CELL)
        self.assertIn("<a&b>", words(one[1]))
        self.assertEqual(one, bars.make(data(name="<a&b>"), "cost",
                                        "keepalive", CELL))

    def test_nothing_leaves_the_picture(self):
        for kind, suite in (("cost", "keepalive"), ("tail", "keepalive"),
                            ("idle", "idle")):
            _, svg = bars.make(data(), kind, suite, CELL)
            for box in ElementTree.fromstring(svg).iter(SVG + "rect"):
                right = float(box.get("x")) + float(box.get("width"))
                self.assertLessEqual(right, bars.WIDTH - bars.RIGHT + 1)


if __name__ == "__main__":
    unittest.main()
