"""What a student works with beside the grade: make watch, and one test under a
sanitizer or a debugger."""

import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

LABS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, LABS)

from grader import lab as labs, markers, sandbox     # noqa: E402

LAB = "0-proto"
TEST = "step1/reverse"      # the starter fails it
PATIENCE_S = 120


def solution(lab=LAB, name="line.c"):
    with open(os.path.join(LABS, lab, "solution", name),
              encoding="utf-8") as f:
        return markers.answer(f.read())


class Folder(unittest.TestCase):
    def setUp(self):
        try:
            sandbox.choose(own_machine=True)
        except sandbox.SandboxError as err:
            self.skipTest(str(err))
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = scratch.name

    def save(self, text, name="line.c"):
        with open(os.path.join(self.folder, name), "w",
                  encoding="utf-8") as f:
            f.write(text)


class Watch(Folder):
    def start(self, *words):
        process = subprocess.Popen(
            [sys.executable, os.path.join(LABS, "watch.py"), "0", self.folder,
             *words, "--test", TEST], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        lines = queue.Queue()
        threading.Thread(target=lambda: [lines.put(line) for line
                                         in process.stdout],
                         daemon=True).start()
        return process, lines

    def until(self, lines, end):
        """What was said up to a line that begins so."""
        said = []
        while not said or not said[-1].startswith(end):
            said.append(lines.get(timeout=PATIENCE_S))
        return "".join(said)

    def check(self, *words):
        self.save(markers.files(labs.load(LAB))["line.c"])
        process, lines = self.start(*words)
        said = self.until(lines, "watching")
        self.assertIn("0 of 5 points", said)
        self.save(solution())
        said = self.until(lines, "watching")
        self.assertIn(f"+ {TEST} passes now", said)
        self.assertIn("5 of 5 points, before 0", said)
        self.save("this is not C\n")
        said = self.until(lines, "watching")
        self.assertIn(f"- {TEST} fails now", said)
        self.assertIn("error:", said)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(PATIENCE_S), 0)

    def test_poll(self):
        self.check("--poll")

    def test_inotify(self):
        if not shutil.which("inotifywait"):
            self.skipTest("inotify-tools is not installed")
        self.check()

    def test_nothing_to_watch(self):
        done = subprocess.run(
            [sys.executable, os.path.join(LABS, "watch.py"), "0",
             os.path.join(self.folder, "none")], capture_output=True,
            text=True, check=False)
        self.assertEqual(done.returncode, 64)
        self.assertIn("make lab LAB=0", done.stderr)


class Machines(unittest.TestCase):
    """The container and the virtual machine have what the labs need."""

    def test_packages(self):
        root = os.path.dirname(LABS)
        listed = subprocess.run(
            [os.path.join(root, ".ci", "deps"), "--report", "build", "labs"],
            capture_output=True, text=True, check=True).stdout
        needed = {line.split()[1] for line in listed.splitlines()}
        self.assertIn("gcc", needed)
        for name in ("Dockerfile", "user-data"):
            with open(os.path.join(root, ".devcontainer", name),
                      encoding="utf-8") as f:
                words = set(f.read().split())
            self.assertEqual(needed - words, set(), name)


class OneTest(Folder):
    def grade(self, *words, lab="0", say=""):
        return subprocess.run(
            [sys.executable, os.path.join(LABS, "grade.py"), lab, self.folder,
             *words], input=say, capture_output=True, text=True, check=False,
            timeout=PATIENCE_S)

    def test_sanitizer(self):
        self.save(solution().replace(
            "while (len > 0)",
            "volatile char few[4];\n    few[len] = 1;\n    while (len > 0)"))
        done = self.grade("--test", TEST, "--sanitizer", "asan")
        self.assertIn("0 of 5 points", done.stdout)
        self.assertIn("runtime error", done.stdout)
        self.assertIn("line.c:", done.stdout)

    def test_race(self):
        """An order that is too weak is a race on any machine."""
        text = solution("5-percore", "lend.c")
        words = "--test", "step2/real_threads", "--sanitizer", "tsan"
        self.save(text, "lend.c")
        done = self.grade(*words, lab="5")
        self.assertIn("5 of 5 points", done.stdout)
        old = "a_load(&l->tail, relaxed) + n, release);"
        self.assertIn(old, text)
        self.save(text.replace(old, old.replace("release", "relaxed")),
                  "lend.c")
        done = self.grade(*words, lab="5")
        self.assertIn("0 of 5 points", done.stdout)
        self.assertIn("data race", done.stdout)

    def test_gdb(self):
        for tool in ("gdb", "gdbserver"):
            if not shutil.which(tool):
                self.skipTest(f"{tool} is not installed")
        self.save(solution())
        done = self.grade("--test", TEST, "--gdb",
                          say="break do_reverse\ncontinue\nbacktrace 1\n"
                              "delete\ncontinue\nquit\n")
        self.assertIn("do_reverse (", done.stdout)
        self.assertIn("5 of 5 points", done.stdout)

    def test_gdb_needs_a_test(self):
        self.assertEqual(self.grade("--gdb").returncode, 2)


if __name__ == "__main__":
    unittest.main()
