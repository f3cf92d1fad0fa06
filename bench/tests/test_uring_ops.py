"""The micro-benchmark of socket operations: every group is measured or says
why not, a wrong byte is seen in each, and a result set is whole or absent."""

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.dirname(HERE)
ROOT = os.path.dirname(BENCH)
BUILD = os.path.join(ROOT, "build")
PROGRAM = os.path.join(BUILD, "micro", "uring_ops")
LAUNCHER = os.path.join(BUILD, "test_servers")
sys.path.insert(0, BENCH)

import machine          # noqa: E402
import micro_results    # noqa: E402
import results          # noqa: E402

QUICK = [PROGRAM, "--quick", "--blocks", "3"]


def run(*argv):
    return subprocess.run(argv, capture_output=True, text=True, timeout=120,
                          check=False)


def setUpModule():
    made = run("make", "-s", "-C", ROOT, "V=", "build/micro/uring_ops")
    if made.returncode != 0:
        raise RuntimeError(made.stderr)


class Scratch(unittest.TestCase):
    def setUp(self):
        d = tempfile.TemporaryDirectory(prefix="ioladder-ops-")
        self.addCleanup(d.cleanup)
        self.dir = d.name
        self.set = os.path.join(self.dir, "set")

    def needs_uring(self):
        done = run(*QUICK, "--only", "direct")
        if done.returncode == 77:
            self.skipTest(done.stderr.strip())
        self.assertEqual(done.returncode, 0, done.stderr)


class Program(Scratch):
    def test_every_group_is_measured_or_says_why_not(self):
        self.needs_uring()
        path = os.path.join(self.dir, "ops.json")
        done = run(*QUICK, "--json", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = micro_results.load_rows(path)
        self.assertEqual(found["blocks"], 3)
        seen = {}
        for row in found["rows"]:
            seen.setdefault((row["group"], row["batch"], row["size"]),
                            []).append(row)
        for rows in seen.values():
            self.assertEqual(rows[0]["method"], rows[0]["baseline"])
            self.assertGreaterEqual(len(rows), 2)
            for row in rows:
                if "skipped" not in row:
                    self.assertLess(row["copied"], row["notified"] + 1)
        batches = [b for g, b, _ in seen if g == "echo"]
        self.assertEqual(batches, [1, 4, 16, 64, 256])
        sizes = [s for g, _, s in seen if g == "send"]
        self.assertEqual((sizes[0], sizes[-1]), (64, 1 << 20))

    def test_one_group_alone_is_json_too(self):
        self.needs_uring()
        for group in micro_results.GROUPS:
            with self.subTest(group):
                path = os.path.join(self.dir, "one.json")
                done = run(*QUICK, "--only", group, "--json", path)
                self.assertEqual(done.returncode, 0, done.stderr)
                found = micro_results.load_rows(path, [group])
                self.assertEqual({r["group"] for r in found["rows"]},
                                 {group})

    def test_a_wrong_byte_is_seen_in_every_group(self):
        self.needs_uring()
        for group in micro_results.GROUPS:
            with self.subTest(group):
                done = run(*QUICK, "--only", group, "--spoil")
                self.assertEqual(done.returncode, 1)
                self.assertIn("wrong bytes", done.stderr)

    def test_wrong_switches(self):
        for words in (["--nothing"], ["word"], ["--blocks", "2"],
                      ["--blocks", "102"], ["--blocks", "5x"],
                      ["--blocks"], ["--only", "moon"]):
            with self.subTest(words):
                done = run(PROGRAM, "--quick", *words)
                if "moon" in words and done.returncode == 77:
                    continue      # without io_uring it does not get so far
                self.assertEqual(done.returncode, 64)
                self.assertTrue(done.stderr.strip())

    def test_locked_memory_is_too_little(self):
        self.needs_uring()
        path = os.path.join(self.dir, "ops.json")
        if os.geteuid() != 0 or not shutil.which("setpriv"):
            self.skipTest("cannot become another user here")
        copy = os.path.join(self.dir, "uring_ops")
        shutil.copy(PROGRAM, copy)
        os.chmod(self.dir, 0o777)
        done = run("prlimit", "--memlock=1048576", "setpriv",
                   "--reuid=65534", "--clear-groups", copy, "--quick",
                   "--blocks", "3", "--only", "send", "--json", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = micro_results.load_rows(path, ["send"])["rows"]
        fixed = [r for r in rows if r["method"] == "WRITE_FIXED"]
        large = [r for r in rows if r["method"] == "SEND_ZC"][-1:]
        self.assertEqual(len(fixed), 7)
        for each in fixed + large:
            self.assertIn("locked memory", each["skipped"])
        for each in rows:
            self.assertTrue(each["method"] != "SEND" or "ns" in each)

    def test_no_io_uring(self):
        if not os.access(LAUNCHER, os.X_OK):
            self.skipTest("build/test_servers is not built")
        for err in ("EPERM", "ENOSYS"):
            with self.subTest(err):
                done = run(LAUNCHER, "@deny", err, *QUICK)
                self.assertEqual(done.returncode, 77, done.stderr)
                self.assertIn("no io_uring", done.stderr)


class Wire(Scratch):
    """The other end of each connection in another process, as on another
    machine."""

    def setUp(self):
        super().setUp()
        self.needs_uring()
        self.far = subprocess.Popen(
            [PROGRAM, "--serve", "127.0.0.1:0"], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.far.stderr.close)
        self.addCleanup(self.far.stdout.close)
        self.addCleanup(self.far.wait)
        self.addCleanup(self.far.kill)
        line = self.far.stdout.readline()
        self.peer = ["--peer", line.split()[-1]]

    def test_every_group_over_a_wire_and_one_session_after_the_other(self):
        path = os.path.join(self.dir, "ops.json")
        done = run(*QUICK, *self.peer, "--json", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = micro_results.load_rows(path)
        self.assertTrue(found["wire"])
        groups = {row["group"] for row in found["rows"]}
        self.assertEqual(groups, {*micro_results.GROUPS, "napi"})
        for row in found["rows"]:
            if "skipped" not in row:
                self.assertGreater(row["ns"][0], 0, row)
        done = run(*QUICK, *self.peer, "--only", "once")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_wrong_byte_is_seen_at_either_end(self):
        # Received here: recv; received there: echo, send.
        for group in ("recv", "echo", "send"):
            with self.subTest(group):
                done = run(*QUICK, *self.peer, "--only", group, "--spoil")
                self.assertEqual(done.returncode, 1, done.stderr)
        self.far.kill()
        words = self.far.stderr.read()
        self.assertEqual(words.count("wrong bytes"), 2, words)

    def test_what_is_not_ours_ends_its_session_only(self):
        host, _, port = self.peer[1].rpartition(":")
        for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 16,
                     struct.pack("!4I", 0, 1, 0, 0)
                     + struct.pack("!4I", 2, 1 << 20, 64, 0), b""):
            with socket.create_connection((host, int(port)), 10) as s:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                s.settimeout(30)
                with contextlib.suppress(ConnectionError):
                    while s.recv(64):
                        pass
        done = run(*QUICK, *self.peer, "--only", "direct")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_no_peer(self):
        self.far.kill()
        self.far.wait()
        done = run(*QUICK, *self.peer, "--only", "direct")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no connection", done.stderr)
        for words in (["--peer", "nothing"], ["--peer", ":1"],
                      ["--serve", "127.0.0.1"]):
            with self.subTest(words):
                done = run(PROGRAM, *words)
                self.assertEqual(done.returncode, 64)
                self.assertIn("not HOST:PORT", done.stderr)


class Runner(Scratch):
    """micro_run.py on a script that stands for the program."""

    def fake(self, text):
        os.makedirs(os.path.join(self.dir, "build", "micro"), exist_ok=True)
        path = os.path.join(self.dir, "build", "micro", "uring_ops")
        with open(path, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\n" + text)
        os.chmod(path, 0o755)

    def command(self, *words):
        return [sys.executable, os.path.join(BENCH, "micro_run.py"),
                "uring_ops", "--out", self.set, *words]

    def micro_run(self, *words):
        return run(*self.command("--build", os.path.join(self.dir, "build"),
                                 *words))

    def nothing_left(self):
        self.assertEqual([n for n in os.listdir(self.dir) if n != "build"],
                         [])

    def two_cpus(self):
        if not set((0, 1)) <= os.sched_getaffinity(0):
            self.skipTest("cpus 0 and 1 may not be used")

    def test_a_whole_set(self):
        self.two_cpus()
        self.needs_uring()
        done = run(*self.command("--quick", "--blocks", "3", "--max-steal",
                                 "100"))
        self.assertEqual(done.returncode, 0, done.stderr)
        manifest, found = micro_results.load(self.set)
        self.assertTrue(manifest["quick"])
        self.assertEqual([g["group"] for g in manifest["groups"]],
                         list(micro_results.GROUPS))
        self.assertGreater(len(found["rows"]), 50)
        self.assertNotIn(ROOT, json.dumps(manifest))
        again = run(*self.command("--quick"))
        self.assertEqual(again.returncode, 2)
        self.assertIn("there already", again.stderr)

    def test_no_half_of_a_set(self):
        self.two_cpus()
        for text, status, word in (
                ("exit 1", 1, "exit status 1"),
                ("echo why >&2; exit 77", 77, "why"),
                ("exit 0", 2, "no such file"),
                ('while [ "$1" != --json ]; do shift; done; '
                 'printf "{\\"schema\\": " > "$2"', 2, "truncated")):
            with self.subTest(text):
                self.fake(text)
                done = self.micro_run()
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn(word, done.stderr)
                self.assertIn("was not written", done.stderr)
                self.assertNotIn("Traceback", done.stderr)
                self.nothing_left()

    def test_an_interrupt_leaves_nothing(self):
        self.two_cpus()
        self.fake("exec sleep 30")
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number):
                proc = subprocess.Popen(
                    self.command("--build", os.path.join(self.dir, "build")),
                    stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                end = time.monotonic() + 10
                while not [n for n in os.listdir(self.dir)
                           if n.startswith(".micro-")]:
                    self.assertLess(time.monotonic(), end)
                    time.sleep(0.02)
                time.sleep(0.2)
                proc.send_signal(number)
                self.assertNotEqual(proc.wait(timeout=20), 0)
                self.nothing_left()

    def test_steal_over_the_limit(self):
        self.two_cpus()
        self.needs_uring()
        done = run(*self.command("--quick", "--blocks", "3", "--max-steal",
                                 "-1"))
        self.assertEqual(done.returncode, 2)
        self.assertIn("quieter hour", done.stderr)
        self.assertEqual(os.listdir(self.dir), [])

    def test_wrong_switches(self):
        for words in (["--blocks", "2"], ["--blocks", "many"], ["--moon"]):
            with self.subTest(words):
                self.assertEqual(self.micro_run(*words).returncode, 64)
        self.assertEqual(self.micro_run().returncode, 2)    # not built


def row(group, method="A", batch=1, size=64, ratio=(1, 1, 1), **more):
    return {"group": group, "batch": batch, "size": size, "method": method,
            "baseline": "A", "ns": [10.0, 9.0, 11.0], "ratio": list(ratio),
            "notified": 0, "copied": 0, **more}


class Reading(Scratch):
    def write(self, rows, text=None, **manifest):
        os.makedirs(self.set, exist_ok=True)
        path = os.path.join(self.set, "uring_ops.json")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text if text is not None else json.dumps(
                {"schema": micro_results.ROWS, "kernel": "6", "blocks": 31,
                 "rows": rows}))
        results.write_json(
            os.path.join(self.set, "manifest.json"),
            {"schema": micro_results.MANIFEST, "state": "complete",
             "program": "uring_ops", "command": "", "quick": False,
             "machine": {}, "groups": [], "sha256": machine.sha256(path),
             **manifest})

    def refused(self, word):
        with self.assertRaises(results.ResultError) as caught:
            micro_results.load(self.set)
        self.assertIn(word, str(caught.exception))

    def test_what_cannot_be_used_is_refused(self):
        good = [row(g) for g in micro_results.GROUPS]
        self.write(good)
        micro_results.load(self.set)
        whole = json.dumps({"schema": micro_results.ROWS, "kernel": "6",
                            "blocks": 31, "rows": good})
        for text, word in (("", "empty"), (whole[:-40], "truncated"),
                           ("[]", "not a JSON object"),
                           (whole.replace("ops/1", "ops/2"), "version"),
                           (whole.replace("blocks", "block"), "blocks")):
            with self.subTest(word):
                self.write(None, text)
                self.refused(word)
        for rows, word in ((good[1:], "no rows for echo"),
                           ([row("echo", ratio=(2, 3, 4))] + good, "ratio"),
                           ([row("echo", ratio=(0, 0, 0))] + good, "ratio"),
                           ([row("echo", skipped="")] + good, "reason"),
                           ([{"group": "echo"}] + good, "batch"),
                           ([7] + good, "row 1")):
            with self.subTest(word):
                self.write(rows)
                self.refused(word)
        self.write(good, state="running")
        self.refused("not complete")
        self.write(good, schema="ioladder-micro/0")
        self.refused("version")
        self.write(good, sha256="0")
        self.refused("not the file")
        os.unlink(os.path.join(self.set, "uring_ops.json"))
        self.refused("no such")


if __name__ == "__main__":
    unittest.main()
