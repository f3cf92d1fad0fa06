"""The page of claims: what stands in it follows from the sets alone."""

import json
import os
import sys
import tempfile
import unittest
from xml.dom import minidom

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import claims_page           # noqa: E402
from claims_page import CLAIMS, rules, summaries    # noqa: E402


class Page(unittest.TestCase):
    def setUp(self):
        found = tempfile.TemporaryDirectory(prefix="ioladder-test-")
        self.addCleanup(found.cleanup)
        self.root, self.drawn = found.name, {}

    def put(self, bad_ends):
        """A set of A9, with a stage 3 that ends badly so often."""
        where = os.path.join(self.root, "sets", "cycles")
        os.makedirs(where, exist_ok=True)
        rows = [{"server": f"stage{n}", "block": b, "threads": 0,
                 "descriptors": 0, "bytes_a_cycle": 0.0,
                 "bad_ends": bad_ends if n == 3 else 0}
                for n in range(1, 7) for b in range(6)]
        with open(os.path.join(where, "counts.json"), "w",
                  encoding="utf-8") as f:
            json.dump({"schema": rules.SCHEMA, "name": "cycles",
                       "state": "complete", "draft": False,
                       "machine": {"when": "2026-11-29T00:00:00Z"},
                       "rows": rows}, f)

    def page(self):
        def show(image, picture, title):
            self.drawn[image] = picture
            return f"![{title}]({image})"
        return claims_page.block("claims", "sets", self.root, show)

    def section(self, name):
        return self.page().partition(f"## {name}: ")[2].partition("\n## ")[0]

    def test_without_a_set_nothing_is_claimed(self):
        text = self.page()
        self.assertEqual(text.count("\n## A"), len(CLAIMS))
        self.assertEqual(text.count("**Not measured yet**"), len(CLAIMS))
        for claim in CLAIMS:
            self.assertIn(f"`make claims CLAIM={claim.id}`", text)
        self.assertEqual(self.drawn, {})
        self.assertEqual(claims_page.block("headline", "sets", self.root,
                                           None),
                         "Not measured yet: `make claims CLAIM=A13`.")

    def test_other_rows_another_verdict(self):
        self.put(bad_ends=0)
        text = self.section("A9")
        self.assertIn("**Confirmed**: 24 checks hold.", text)
        self.assertIn("From `sets/cycles`.", text)
        self.assertRegex(text, r"stage3: ends that failed +\| +< 0.5 \| +"
                               r"0 \(0 to 0\) \| +6 \| +holds")
        self.put(bad_ends=2)
        self.assertIn("**Partly**: 23 checks hold, 1 is contradicted.",
                      self.section("A9"))

    def test_the_picture_is_whole_and_the_same_again(self):
        self.put(bad_ends=1)
        self.page()
        (name, first), = self.drawn.items()
        self.assertEqual(name, os.path.join("docs", "img", "claim-a9.svg"))
        root = minidom.parseString(first).documentElement
        marks = [e for kind in ("circle", "path")
                 for e in root.getElementsByTagName(kind)
                 if e.getAttribute("fill").startswith("#")]
        self.assertEqual(len(marks), 24)
        self.page()
        self.assertEqual(self.drawn[name], first)

    def test_a_bound_is_the_line(self):
        below = rules.Check("", None, below=2)
        above = rules.Check("", None, above=2)
        for check, value, wanted in ((below, 1, 2), (below, 4, 0.5),
                                     (above, 4, 2), (above, 1, 0.5),
                                     (below, 0, claims_page.FARTHEST)):
            self.assertEqual(claims_page.distance(check, value), wanted)

    def test_links_lead_to_headings(self):
        text = self.page()
        for claim in CLAIMS:
            self.assertIn(f"(#{claims_page.anchor(claim)})", text)
        self.assertTrue(summaries)


if __name__ == "__main__":
    unittest.main()
