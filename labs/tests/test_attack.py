"""A student's server that attacks the grader, in each way of the sandbox."""

import dataclasses
import os
import shutil
import socket
import sys
import tempfile
import time
import unittest
from unittest import mock

LABS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, LABS)

import grade                                                # noqa: E402
import selftest                                             # noqa: E402
from grader import lab as labs, params, sandbox             # noqa: E402

TEST = "step1/one_connection"
MEMORY = 200 << 20


class Attacks:
    """The same for each way; see below."""

    WAY = ""

    @classmethod
    def setUpClass(cls):
        reason = sandbox.refusal(cls.WAY) or sandbox.out_of_reach(cls.WAY)
        if reason:
            raise unittest.SkipTest(f"{cls.WAY}: {reason}")
        cls.top = tempfile.mkdtemp()
        os.chmod(cls.top, 0o755)
        cls.addClassCleanup(shutil.rmtree, cls.top, ignore_errors=True)
        source, out = cls.top + "/source", cls.top + "/out"
        for path in (source, out):
            os.mkdir(path)
        # It may call anything: only the sandbox is in the way.
        cls.lab = dataclasses.replace(labs.load("7-netpoll"), allowed=[])
        with open(os.path.join(LABS, "tests", "attack.c"),
                  encoding="ascii") as f:
            attack = f.read()
        for name, text in selftest.solution(
                cls.lab, params.course_seed()).items():
            with open(f"{source}/{name}", "w", encoding="utf-8") as f:
                f.write(text + attack)
        cls.args = grade.parse(["7", "--others-code"])
        cls.target = grade.Server(sandbox.Sandbox(cls.WAY), cls.lab, source,
                                  out, cls.args)
        with open(cls.target.script, encoding="utf-8") as f:
            cls.script = f.read()

    def attack(self, what, aim="", seconds=3, **limits):
        """(passed, what the grader says, outcome)"""
        with open(self.target.script, "w", encoding="utf-8") as f:
            f.write(self.script.replace(
                "unset SEED\n",
                f"unset SEED\nexport ATTACK={what} AIM='{aim}'\n"))
        where = os.path.join(self.target.report, "report.json")
        if os.path.lexists(where):
            os.unlink(where)
        outcome = self.target.run(
            ["--filter", TEST, "--json=" + where, "-j1", "--color=never"],
            sandbox.Limits(seconds=seconds, **limits),
            {"TIME_SCALE": "1", "SEED": "1"})
        return (*grade.verdict(outcome, where), outcome)

    def fails(self, what, aim="", **more):
        passed, text, _ = self.attack(what, aim, **more)
        self.assertFalse(passed, text)
        return text

    def test_without_an_attack_it_serves(self):
        passed, text, _ = self.attack("none", seconds=20)
        self.assertTrue(passed, text)

    def test_forging(self):
        self.fails("forge", self.target.report)
        self.fails("exit")

    def test_killing(self):
        self.fails("kill", os.getpid())

    def test_sleeping_and_bombing(self):
        began = time.monotonic()
        self.fails("sleep", seconds=1)
        self.fails("bomb", seconds=1)
        self.assertLess(time.monotonic() - began, 60)

    def test_staff_files(self):
        """The answer, the tests, the grader: not read, not written."""
        secret = os.path.join(self.top, "secret")
        with open(secret, "w", encoding="ascii") as f:
            f.write("the answer")
        os.chmod(secret, 0o600)
        self.fails("read", secret)
        self.fails("write", secret)
        for path in (self.target.script, self.target.runner,
                     os.path.join(self.target.built, "server7")):
            self.fails("write", path)
            self.assertNotEqual(os.path.getsize(path), 69, path)
        self.fails("seed")

    def test_memory(self):
        for what in ("memory", "shared", "memfd"):
            self.assertIn("of memory", self.fails(
                what, seconds=30, memory=MEMORY), what)

    def test_disk(self):
        before = shutil.disk_usage(self.top).used
        self.fails("disk", self.target.built, seconds=20, file=8 << 20)
        for path in ("/tmp", "/var/tmp", "/dev/shm", self.target.built):
            self.assertFalse(os.path.exists(path + "/fill0"), path)
        self.assertLess(shutil.disk_usage(self.top).used - before, 1 << 30)

    def test_files_without_end(self):
        for aim in ("/tmp", self.target.built):     # then /dev/shm
            with mock.patch.object(sandbox, "FILES", 500):
                text = self.fails("files", aim, seconds=90)
            self.assertIn("made more than 500 files", text, aim)
        for path in ("/tmp", "/dev/shm", self.target.built):
            self.assertFalse(os.path.exists(path + "/many0"), path)

    def test_nothing_stays_behind(self):
        name = f"8{os.getpid()}"
        self.attack("leave", name, seconds=10)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", encoding="utf-8",
                          errors="replace") as f:
                    self.assertNotIn(name, f.read().split("\0"))
            except OSError:
                pass


class Private(Attacks):
    """Ways that have a network and files of their own."""

    def test_the_house(self):
        for path in (os.path.join(self.lab.folder, "solution", "netpoll.c"),
                     os.path.join(self.lab.folder, "tests", "test_netpoll.c"),
                     os.path.join(LABS, "grade.py")):
            self.fails("read", path)

    def test_the_network(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.fails("network", listener.getsockname()[1])


class Bubblewrap(Private, unittest.TestCase):
    WAY = "bubblewrap"


class Namespaces(Private, unittest.TestCase):
    WAY = "namespaces"


class User(Attacks, unittest.TestCase):
    WAY = "user"


if __name__ == "__main__":
    unittest.main()
