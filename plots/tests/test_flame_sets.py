"""A set of flame graphs: each stage beside the one before it."""

import json
import os
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "plots"))

import flame_sets as flames   # noqa: E402
import results          # noqa: E402

STACKS = {"stage1": "stage1;main;recv 60\nstage1;main;send 40\n",
          "stage2": "stage2;main;epoll_wait 20\nstage2;main;recv 80\n"}


class Flames(unittest.TestCase):
    def setUp(self):
        found = tempfile.TemporaryDirectory(prefix="ioladder-flames-")
        self.addCleanup(found.cleanup)
        self.root = found.name

    def put(self, name, when, **more):
        directory = os.path.join(self.root, "sets", name)
        os.makedirs(directory)
        for stage, text in STACKS.items():
            with open(os.path.join(directory, f"{stage}.folded"), "w",
                      encoding="utf-8") as f:
                f.write(text)
        with open(os.path.join(directory, flames.FILE), "w",
                  encoding="utf-8") as f:
            json.dump({"schema": flames.SCHEMA, "draft": False, "seconds": 8,
                       "load": "--connections 64", "machine": {"when": when},
                       "samples": {"stage1": 100, "stage2": 100}, **more}, f)
        return directory

    def block(self, stage):
        shown = []
        text = flames.block("sets", self.root, stage, lambda *words:
                            shown.append(words) or "PICTURE")
        return text, shown

    def test_the_newest_that_may_be_quoted(self):
        os.mkdir(os.path.join(self.root, "sets"))
        self.assertIn("Not recorded yet", self.block("1")[0])
        self.put("a-flames", "2026-11-29T10:00:00Z")
        self.put("b-flames", "2026-11-29T11:00:00Z", draft=True)
        self.put("c-flames", "2026-11-29T09:00:00Z")
        text, [(image, svg, title)] = self.block("2")
        self.assertEqual(text, "PICTURE\n\n100 samples, from `sets/a-flames`.")
        self.assertEqual(image, "docs/img/a-flames-stage2.svg")
        self.assertEqual(title, "Where stage 2 spends its CPU, beside stage 1")
        # A larger share than in stage 1, and a function that it has not.
        self.assertIn("recv: 80.0 %, 80 samples; in all 80.0 %, there 60.0 %",
                      svg)
        self.assertIn("epoll_wait: 20.0 %, 20 samples; in all 20.0 %, there "
                      "0.0 %", svg)

    def test_the_first_stage_has_none_beside_it(self):
        self.put("a", "2026-11-29T10:00:00Z")
        _, [(_, svg, title)] = self.block("1")
        self.assertEqual(title, "Where stage 1 spends its CPU")
        self.assertNotIn("there", svg)

    def test_the_report_has_all_of_them(self):
        text = flames.section_html(self.put("a", "2026-11-29T10:00:00Z"))
        self.assertEqual(text.count("data:image/svg+xml;base64,"), 2)
        self.assertIn("beside stage 1</figcaption>", text)

    def test_a_set_that_is_cut_off(self):
        directory = self.put("a", "2026-11-29T10:00:00Z")
        with open(os.path.join(directory, flames.FILE), "w",
                  encoding="utf-8") as f:
            f.write('{"schema": "ioladder-fl')
        with self.assertRaises(results.ResultError):
            flames.load(directory)


if __name__ == "__main__":
    unittest.main()
