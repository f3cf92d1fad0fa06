"""Exports: each against the fields that its system documents, written down here
a second time."""

import contextlib
import io
import json
import os
import re
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ET

LABS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, LABS)

import export as command                                    # noqa: E402
from grader import export, lab as labs, result              # noqa: E402

NUMBER, TEXT = (int, float), str
GRADESCOPE = {"score": NUMBER, "execution_time": NUMBER, "output": TEXT,
              "output_format": TEXT, "test_output_format": TEXT,
              "test_name_format": TEXT, "visibility": TEXT,
              "stdout_visibility": TEXT, "extra_data": dict, "tests": list,
              "leaderboard": list}
GRADESCOPE_TEST = {"score": NUMBER, "max_score": NUMBER, "status": TEXT,
                   "name": TEXT, "name_format": TEXT, "number": TEXT,
                   "output": TEXT, "output_format": TEXT, "tags": list,
                   "visibility": TEXT, "extra_data": dict}
VISIBILITY = {"hidden", "after_due_date", "after_published", "visible"}
FORMATS = {"text", "html", "simple_format", "md", "ansi"}
CLASSROOM50 = {"schema": TEXT, "classroom": TEXT, "assignment": TEXT,
               "assignment_type": TEXT, "owner": TEXT, "submission": TEXT,
               "commit": TEXT, "release": TEXT, "review": TEXT,
               "datetime": TEXT, "score": int, "max-score": int,
               "tests": list}
AUTOGRADING = {"name": TEXT, "setup": TEXT, "run": TEXT, "input": TEXT,
               "output": TEXT, "comparison": TEXT, "timeout": int,
               "points": int}
ENV = {"CLASSROOM": "net", "ASSIGNMENT": "lab0", "SUBMISSION_TAG": "submit/1",
       "COMMIT_URL": "https://example.org/c", "USERNAME": "ann",
       "RELEASE_URL": "https://example.org/r"}


def entry(ident, step, status, points, full, **more):
    return dict({"id": ident, "step": step, "points": points, "max": full,
                 "status": status, "output": "", "why": "because",
                 "hint": "look", "visibility": "visible", "tags": ["counts"],
                 "seconds": 0.25},
                **more)


def sample():
    return result.finish({
        "schema": result.SCHEMA, "lab": "0-proto", "title": "Lab 0",
        "submission": "ann", "fingerprint": "f" * 64, "seed": "s",
        "sandbox": "bubblewrap", "when": "2027-01-02T03:04:05Z",
        "message": "a <warning> & more", "tests": [
            entry("step1/a", 1, "passed", 30, 30),
            entry("step1/b", 1, "failed", 0, 30,
                  output="sent \"x\"\ngot <\0\x1b&> ]]>"),
            entry("step2/c", 2, "failed", 0, 10, visibility="hidden"),
            entry("step2/d", 2, "skipped", 0, 30, output="no io_uring")]})


class Exports(unittest.TestCase):
    def fits(self, value, fields, required=()):
        self.assertLessEqual(set(value), set(fields))
        self.assertLessEqual(set(required), set(value))
        for key, kind in fields.items():
            if key in value:
                self.assertIsInstance(value[key], kind, key)
                self.assertNotEqual(isinstance(value[key], bool), True, key)

    def test_gradescope(self):
        whole = json.loads(export.gradescope(sample()))
        self.fits(whole, GRADESCOPE, ("score", "tests"))
        self.assertIn(whole["visibility"], VISIBILITY)
        self.assertIn(whole["stdout_visibility"], VISIBILITY)
        for test in whole["tests"]:
            self.fits(test, GRADESCOPE_TEST, ("name", "output"))
            self.assertIn(test["visibility"], VISIBILITY)
            self.assertIn(test["output_format"], FORMATS)
            self.assertRegex(test["number"], r"^\d+\.\d+$")
            if "status" in test:
                self.assertIn(test["status"], ("passed", "failed"))
        # 30 of the 70 points that could be tested, of 100 in all.
        self.assertEqual(whole["score"], 42.86)
        self.assertEqual(whole["tests"][0]["tags"], ["step1", "counts"])
        skipped = whole["tests"][3]
        self.assertNotIn("max_score", skipped)
        self.assertIn("SKIPPED: no io_uring", skipped["output"])
        self.assertIn("30 points could not", whole["output"])

    def test_classroom50(self):
        whole = json.loads(export.classroom50(sample(), ENV))
        self.fits(whole, CLASSROOM50, CLASSROOM50)
        self.assertEqual(whole["schema"], "classroom50/result/v1")
        self.assertRegex(whole["datetime"],
                         r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        for key, total in (("score", 30), ("max-score", 70)):
            self.assertEqual(sum(t[key] for t in whole["tests"]), total)
            self.assertEqual(whole[key], total)
        for test in whole["tests"]:
            self.assertLessEqual({"test-name", "passed", "score", "max-score"},
                                 set(test))
            self.assertIsInstance(test["passed"], bool)
        self.assertEqual(whole["tests"][2]["output"], "")       # hidden
        self.assertEqual(whole["owner"], "ann")
        with self.assertRaises(export.ExportError) as caught:
            export.classroom50(sample(), {})
        self.assertIn("SUBMISSION_TAG", str(caught.exception))

    def test_autolab(self):
        text = export.autolab(sample())
        self.assertTrue(text.endswith("\n"))
        shown, last = [json.loads(row) for row in text.splitlines()]
        self.assertEqual(set(last), {"scores", "scoreboard"})
        self.assertEqual(last["scores"], {"step1": 30, "step2": 0})
        self.assertEqual(shown["_presentation"], "semantic")
        self.assertEqual(set(shown), {"_presentation", "stages",
                                      *shown["stages"]})
        for stage in shown["stages"]:
            for case in shown[stage].values():
                self.assertEqual(set(case), {"passed", "hint"})
        self.assertNotIn("c", shown["step2"])                   # hidden

    def test_junit(self):
        tree = ET.fromstring(export.junit(sample()).encode())
        self.assertEqual(tree.tag, "testsuite")
        cases = tree.findall("testcase")
        self.assertEqual([int(tree.get(k)) for k in
                          ("tests", "failures", "skipped", "errors")],
                         [4, 2, 1, 0])
        self.assertEqual(len(cases), 4)
        self.assertEqual(len(tree.findall("testcase/failure")), 2)
        self.assertEqual(len(tree.findall("testcase/skipped")), 1)
        for case in cases:
            self.assertTrue(case.get("name") and case.get("classname"))
            float(case.get("time"))
        self.assertIn("got <?", cases[1].find("failure").text)

    def test_classroom(self):
        for name in labs.names():
            lab = labs.load(name)
            whole = json.loads(export.classroom(lab))
            self.assertEqual(set(whole), {"tests"})
            self.assertEqual(sum(t["points"] for t in whole["tests"]),
                             lab.points)
            for test in whole["tests"]:
                self.fits(test, AUTOGRADING, AUTOGRADING)
                self.assertIn(test["comparison"],
                              ("included", "exact", "regex"))
                self.assertGreaterEqual(test["timeout"], 1)     # minutes

    def test_the_command(self):
        with tempfile.TemporaryDirectory() as top:
            given, out = os.path.join(top, "r.json"), os.path.join(top, "o")
            result.write(sample(), given)
            self.assertEqual(command.main(["gradescope", given, out]), 0)
            with open(out, encoding="utf-8") as f:
                self.assertEqual(json.load(f)["score"], 42.86)
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                self.assertEqual(command.main(["autolab", given]), 0)
            self.assertIn("scores", json.loads(
                printed.getvalue().splitlines()[-1]))
            wrong = io.StringIO()
            with contextlib.redirect_stderr(wrong):
                for words in (["no-format", given], ["junit", given + "x"],
                              ["junit", out], ["classroom", "77"], []):
                    self.assertEqual(command.main(words), 64, words)
            self.assertTrue(re.search("not a result", wrong.getvalue()))


if __name__ == "__main__":
    unittest.main()
