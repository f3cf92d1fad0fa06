"""Figures beside the starter's: what they say, and lab 6's own."""

import os
import shutil
import sys
import tempfile
import unittest
from unittest import mock

LABS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, LABS)

import grade                                                # noqa: E402
import selftest                                             # noqa: E402
from grader import beside, lab as labs, params, result      # noqa: E402
from grader import sandbox                                  # noqa: E402


class Ratios(unittest.TestCase):
    def test_figures(self):
        self.assertEqual(beside.figures(
            "x\nfigure: a b 12\nfigure: c 0.5\nfigure: d -1\n figure: e 1\n"),
            {"a b": 12, "c": 0.5})

    def test_each_begins_every_second_pair(self):
        order = []

        def run(name):
            order.append(name)
            return {"x": len(order)}

        found = beside.in_turn(run, "mine", "starter", 3)
        self.assertEqual(order, ["starter", "mine", "mine", "starter",
                                 "starter", "mine"])
        self.assertEqual([(m["x"], s["x"]) for m, s in found],
                         [(2, 1), (3, 4), (6, 5)])
        self.assertEqual(beside.in_turn(lambda _: {}, 1, 2, 3), [])

    def word(self, *pairs):
        shown = beside.ratios([({"x": m}, {"x": s}) for m, s in pairs])
        return [one["word"] for one in shown]

    def test_a_word_only_if_all_pairs_agree_by_far(self):
        self.assertEqual(self.word((1, 2), (3, 4)), ["less"])
        self.assertEqual(self.word((1, 2), (9, 10)), ["no clear difference"])
        self.assertEqual(self.word((1, 2), (2, 1)), ["no clear difference"])
        self.assertEqual(self.word((3, 2), (4, 3)), ["more"])
        self.assertEqual(self.word((1, 0)), [])
        self.assertEqual(beside.ratios([]), [])

    def test_what_a_person_reads(self):
        shown = beside.ratios([({"turns": 1}, {"turns": 4})])
        self.assertIn("0.25 of the starter's (0.25 to 0.25, 1 pairs): less",
                      "\n".join(result.beside(shown)))
        self.assertEqual(result.beside([]), [])


class Lab6(unittest.TestCase):
    """Counts are the same in each run; a time is only there."""

    def test_solution(self):
        try:
            box = sandbox.choose(own_machine=True)
        except sandbox.SandboxError as err:
            self.skipTest(str(err))
        top = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, top, ignore_errors=True)
        os.chmod(top, 0o755)
        lab, args = labs.load("6-stealing"), grade.parse(["6"])
        source, out = os.path.join(top, "source"), os.path.join(top, "out")
        grade.put(source, {n: t.encode() for n, t in selftest.solution(
            lab, params.course_seed()).items()})
        grade.put(out, {})
        target = grade.Linked(box, lab, source, out, args)
        passed = [{"id": s.after, "status": "passed"} for s in lab.shown]
        with mock.patch.object(beside, "PAIRS", 1):
            shown = {s["figure"]: s for s in grade.beside_starter(
                target, lab, passed, top, args)}
        self.assertLess(shown["turns of a skewed load"]["ratio"], 1)
        self.assertEqual(shown["thefts of a skewed load"]["word"], "less")
        self.assertGreater(shown["ns a task while a thief is refused"]
                           ["ratio"], 0)
        failed = [dict(t, status="failed") for t in passed]
        self.assertEqual(grade.beside_starter(target, lab, failed, top, args),
                         [])


if __name__ == "__main__":
    unittest.main()
