"""Two sets side by side in a document: the same figures, half as many again."""

import copy
import os
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import made_up          # noqa: E402
import beside           # noqa: E402
import results          # noqa: E402
import tables           # noqa: E402
from sets import Data   # noqa: E402

NAMES = ["loopback", "wire"]


class Beside(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory(prefix="ioladder-beside-")
        cls.addClassCleanup(cls.dir.cleanup)
        path = made_up.write(os.path.join(cls.dir.name, "2026-01-01-wire"),
                             ("ladder",), ("stage1", "stage2", "stage3"),
                             blocks=9)
        cls.made = results.load(path)

    def setUp(self):
        self.a, self.b = (Data(*copy.deepcopy(self.made)) for _ in NAMES)
        self.a.manifest["plan"][0]["turn_s"] = 0.04
        self.b.manifest["machine"]["git"]["revision"] = "1" * 40
        for entry in self.b.summary["cells"]:
            for metric, factor in (("cpu_us", 1.5), ("client_cpu_us", 2)):
                entry["metrics"][metric] = [
                    factor * v for v in entry["metrics"][metric]]

    def text(self):
        return beside.text(self.a, self.b, NAMES, "ladder")

    def test_what_changed_is_said(self):
        text = self.text()
        self.assertIn("CPU time of a request in wire is 1.50 to 1.50 times "
                      "that in loopback (median 1.50).", text)
        self.assertIn("client's is 2.00 to 2.00 times", text)
        self.assertEqual(text.count(" 1.50 |"), 3 * 3 * 3)
        self.assertRegex(text, r"Of 18 steps from one stage to the next both "
                               r"sets decide (\d+), and agree on \1\.")

    def test_one_that_disagrees_is_counted(self):
        both = [c for c in self.b.summary["comparisons"]
                if c["metric"] == "cpu_us" and c["verdict"] == "lower"
                and (c["server"], c["base"]) == ("stage2", "stage1")]
        both[0]["verdict"] = "higher"
        with_it, without = (
            beside.neighbours(self.a, other, "ladder",
                              self.a.suites["ladder"])
            for other in (self.b, self.a))
        self.assertEqual(with_it[1], 1)
        self.assertEqual(without[1], 0)

    def test_what_it_must_not_be_quoted_without(self):
        text = self.text()
        self.assertIn("in loopback the servers of a block took turns of 40 "
                      "ms; in wire they ran one after the other", text)
        self.assertIn("two revisions, 000000000000 and 111111111111", text)
        self.assertIn("No ratio of one set to the other has an interval",
                      text)
        self.assertIn("limited by the generator", text)
        self.a.manifest["plan"][0]["turn_s"] = 0
        self.assertIn("in loopback they ran one after the other", self.text())

    def test_what_a_server_adds(self):
        """Differences are made within the blocks."""
        ours = {0: {"p50_us": 9.0}, 1: {"p50_us": 5.0}, 2: {"p50_us": None}}
        base = {0: {"p50_us": 1.0}, 1: {"p50_us": 2.0}, 2: {"p50_us": 2.0},
                3: {"p50_us": 2.0}}
        self.assertEqual(beside.more_than(ours, base, "p50_us"),
                         (5.5, None, None))
        self.assertEqual(beside.signed((5.5, None, None)), "+5.50")
        self.assertEqual(beside.signed((0.5, -1.0, 12.25)),
                         "+0.500 (-1.00 to +12.2)")
        self.a.summary["yardsticks"] = {"ladder": "stage2"}
        lines = beside.added(self.a, "ladder", self.a.suites["ladder"])
        self.assertEqual(len(lines.splitlines()), 2 + 9 * 2)
        self.assertNotIn("| 2 epoll |", lines)
        self.a.summary["yardsticks"] = {}
        with self.assertRaisesRegex(beside.Apart, "no server beside"):
            beside.added(self.a, "ladder", self.a.suites["ladder"])

    def test_a_stage_beside_its_twin(self):
        cells = self.a.suites["ladder"]
        with self.assertRaisesRegex(beside.Apart, "no stage with a twin"):
            beside.twins(self.a, "ladder", cells)
        for row in self.a.rows:
            if row.get("server") == "stage3":
                row["server"] = "2-off"
        self.a.order[:] = [{"stage3": "2-off"}.get(s, s)
                           for s in self.a.order]
        lines = beside.twins(self.a, "ladder", cells).splitlines()
        self.assertEqual(len(lines), 2 + 9)
        self.assertRegex(lines[2], r"\| +2 epoll \| +\d\.\d+ \(")

    def test_other_machines_are_called_by_their_processors(self):
        self.a.manifest["machine"]["cpu"] = "Intel(R) Xeon(R) CPU E5 @ 2 GHz"
        self.b.manifest["machine"]["cpu"] = "AMD EPYC Processor"
        self.assertIn("| AMD EPYC / Intel Xeon E5 |", self.text())

    def test_nothing_in_common(self):
        self.b.suites = {}
        with self.assertRaisesRegex(beside.Apart, "no cell of ladder"):
            beside.text(self.b, self.a, NAMES, "ladder")

    def test_in_a_document(self):
        doc = os.path.join(self.dir.name, "a.md")
        for what, why in (("beside:ladder", "names no second set"),
                          ("beside:idle,2026-01-01-wire", "no cell of idle")):
            with open(doc, "w", encoding="utf-8") as f:
                f.write(f"<!-- figure:{what} 2026-01-01-wire -->\n"
                        f"{tables.CLOSE}\n")
            with self.assertRaisesRegex(tables.DocError, why):
                tables.filled(doc, self.dir.name, False, {})
        with open(doc, "w", encoding="utf-8") as f:
            f.write("<!-- figure:beside:ladder,2026-01-01-wire "
                    f"2026-01-01-wire -->\n{tables.CLOSE}\n")
        self.assertIn("| wire / wire |",
                      tables.filled(doc, self.dir.name, False, {}))


if __name__ == "__main__":
    unittest.main()
