"""The folder that make contribute writes: whole, and without names."""

import contextlib
import getpass
import io
import os
import re
import socket
import sys
import tempfile
import unittest
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "bench"))
sys.path.insert(0, os.path.join(ROOT, "plots", "tests"))

import contribute       # noqa: E402
import made_up          # noqa: E402
import model            # noqa: E402
import results          # noqa: E402
import suites           # noqa: E402

BUILD = os.path.join(ROOT, "build")
KNOWN = [("green-box-7.lab.example", "HOST"), ("green-box-7", "HOST"),
         ("mary", "USER"), ("/opt/mary/ioladder", "PATH")]
CLEAN = {"revision": "1" * 40, "dirty": False}


class Names(unittest.TestCase):
    def test_they_are_replaced_as_whole_words(self):
        known = sorted(KNOWN, key=lambda pair: -len(pair[0]))
        text, count = contribute.without_names(
            "on green-box-7.lab.example, green-box-7: "
            "/opt/mary/ioladder/build/stage1 of mary, rosemary, mary-ann",
            known)
        self.assertEqual(text, "on HOST, HOST: PATH/build/stage1 of USER, "
                               "rosemary, mary-ann")
        self.assertEqual(count, 4)

    def test_common_words_are_no_names(self):
        with mock.patch.object(socket, "gethostname", return_value="server"), \
                mock.patch.object(socket, "getfqdn",
                                  return_value="box.example.org"), \
                mock.patch.object(getpass, "getuser", return_value="root"):
            found = dict(contribute.names())
        self.assertNotIn("server", found)
        self.assertNotIn("root", found)
        self.assertEqual(found["box.example.org"], "HOST")
        self.assertEqual(found[ROOT], "PATH")

    def test_a_folder_is_named_by_its_machine(self):
        found = {"cpu": "Intel(R) Xeon(R) Processor @ 2.70GHz", "cpus": 2,
                 "architecture": "x86_64", "hypervisor": "KVM"}
        self.assertEqual(contribute.slug(found, "2026-11-29"),
                         "2026-11-29-intel-xeon-2cpus-kvm")
        found |= {"cpu": None, "hypervisor": None}
        self.assertEqual(contribute.slug(found, "2026-11-29"),
                         "2026-11-29-x86-64-2cpus-metal")


class Answers(unittest.TestCase):
    def test_a_stage_that_runs_and_one_that_is_not_there(self):
        self.assertEqual(contribute.answers(BUILD, "stage2", "http"), "ok")
        self.assertIn("skipped: ",
                      contribute.answers(BUILD, "stage9", "http"))

    def test_no_stage_at_all(self):
        with tempfile.TemporaryDirectory() as empty, \
                self.assertRaisesRegex(contribute.Refused, "not built"):
            contribute.checks(empty)


class Folder(unittest.TestCase):
    def setUp(self):
        d = tempfile.TemporaryDirectory(prefix="ioladder-contribute-")
        self.addCleanup(d.cleanup)
        self.dir = d.name
        self.out = os.path.join(d.name, "machines", "one")
        os.mkdir(os.path.join(d.name, "build"))

    def run_it(self, git=None, known=(), measure=None):
        """contribute() with a made-up set: (status, what it says)."""
        def made(_, directory):
            made_up.write(directory, ("ladder",), model.STAGES, blocks=5,
                          cpu="The cpu of mary")
        checks = {"schema": contribute.SCHEMA,
                  "stages": {"stage1": {"http": "ok", "echo": "ok"}}}
        err, out = io.StringIO(), io.StringIO()
        with mock.patch.object(contribute, "measure", measure or made), \
                mock.patch.object(contribute, "checks",
                                  return_value=checks), \
                mock.patch.object(contribute.machine, "git",
                                  return_value=git or CLEAN), \
                mock.patch.object(contribute, "names",
                                  return_value=list(known)), \
                contextlib.redirect_stderr(err), \
                contextlib.redirect_stdout(out):
            status = contribute.main(
                ["--out", self.out, "--build",
                 os.path.join(self.dir, "build")])
        return status, err.getvalue()

    def test_it_is_whole_and_has_no_names(self):
        status, said = self.run_it(known=KNOWN)
        self.assertEqual(status, 0, said)
        self.assertEqual(sorted(os.listdir(self.out)), [
            "checks.json", "manifest.json", "rows.jsonl", "summary.json",
            "summary.md"])
        for name in os.listdir(self.out):
            with open(os.path.join(self.out, name), encoding="utf-8") as f:
                self.assertIsNone(re.search(r"\bmary\b", f.read()), name)
        self.assertIn("manifest.json: 1 names replaced", said)
        manifest, rows, summary = results.load(self.out)
        self.assertEqual(manifest["machine"]["cpu"], "The cpu of USER")
        self.assertEqual(manifest["name"], "one")      # as the folder
        self.assertTrue(model.predict(manifest, rows, summary))

    def test_what_is_refused_leaves_nothing(self):
        status, said = self.run_it(git={"revision": "1", "dirty": True})
        self.assertEqual(status, 1)
        self.assertIn("the tree has changes", said)

        def large(_, directory):
            made_up.write(directory, ("ladder",), ("stage2",), blocks=5)
            with open(os.path.join(directory, "more"), "wb") as f:
                f.write(b"x" * (contribute.MOST + 1))
        status, said = self.run_it(measure=large)
        self.assertEqual(status, 1)
        self.assertIn("more has 1,048,577 bytes", said)
        self.assertFalse(os.path.exists(self.out))
        self.assertEqual(os.listdir(os.path.join(self.dir, "build")), [])

    def test_a_folder_that_is_there_is_kept(self):
        os.makedirs(self.out)
        with self.assertRaises(SystemExit) as done:
            self.run_it()
        self.assertEqual(done.exception.code, 64)

    def test_ten_minutes_are_planned(self):
        run = suites.RUNS["contribute"]
        self.assertLessEqual(run["budget_s"], 600)
        self.assertEqual([name for name, _, _ in run["parts"]],
                         ["ladder", "scaling", "keepalive"])


if __name__ == "__main__":
    unittest.main()
