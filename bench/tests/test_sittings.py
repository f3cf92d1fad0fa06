"""run.py all: every suite, over several sittings, with fakes."""

import json
import os
import signal
import subprocess
import time
import unittest

import test_run
from test_run import Bench

results = test_run.results


class Sittings(Bench):
    def all(self, *words, expect=0):
        return self.run_py(*self.words(*words), expect=expect)

    def words(self, *words):
        return ("all", "--only", "short,keepalive", "--draft", "--blocks",
                "1", "--seconds", "0.01", "--warmup", "0", "--connections",
                "64", "--servers", "stage1,stage2", "--no-trace", "--out",
                self.out, *words)

    def state(self, name):
        return results.load_manifest(os.path.join(self.out, name))["state"]

    def calls(self):
        return test_run.count_lines(self.log + ".loadgen")

    def test_sittings(self):
        """To the end; again, which is nothing; and again after a cut."""
        done = self.all()
        self.assertRegex(done.stderr, "all: 2 suites left, about 0:0")
        self.assertEqual([self.state(n) for n in ("keepalive", "short")],
                         ["complete", "complete"])
        calls = self.calls()
        self.assertIn("--resume goes on there", self.all(expect=64).stderr)
        self.assertIn("all: 0 suites left", self.all("--resume").stderr)
        self.assertEqual(self.calls(), calls)

        path = os.path.join(self.out, "short", "manifest.json")
        with open(path, encoding="utf-8") as f:
            manifest = json.load(f)
        results.write_json(path, {**manifest, "state": "interrupted"})
        self.all("--resume")
        self.assertEqual(self.calls(), calls + calls // 2)
        self.assertEqual(self.state("short"), "complete")
        self.assertEqual(self.state("short.cut-1"), "interrupted")
        self.refuses_what_does_not_fit()

    def refuses_what_does_not_fit(self):
        path = os.path.join(self.out, "state.json")
        with open(path, encoding="utf-8") as f:
            state = json.load(f)
        for name, value in (("revision", "abc"), ("kernel", "2.4")):
            results.write_json(path, {**state, "here": {
                **state["here"], name: value}})
            said = self.all("--resume", expect=64).stderr
            self.assertIn(f"was begun with {name} '{value}'", said)
        results.write_json(path, state)
        said = self.all("--resume", "--redo", "1", expect=64).stderr
        self.assertRegex(said, r"was begun with .* and this is .*--redo 1\b")
        with open(path, "w", encoding="utf-8") as f:
            f.write('{"schema": "ioladder')
        self.assertIn("truncated", self.all("--resume", expect=1).stderr)

    def test_a_signal_keeps_the_rows_and_says_how_to_go_on(self):
        self.plan = {"sleep": 0.3}
        argv, env = self.command(*self.words("--blocks", "50"))
        proc = subprocess.Popen(argv, env=env, stderr=subprocess.PIPE,
                                stdout=subprocess.DEVNULL, text=True)
        end = time.monotonic() + 60
        rows = os.path.join(self.out, "keepalive", "rows.jsonl")
        while not test_run.count_lines(rows) and time.monotonic() < end:
            time.sleep(0.05)
        proc.send_signal(signal.SIGINT)
        _, said = proc.communicate(timeout=60)
        self.assertEqual(proc.returncode, 130, said)
        self.assertIn("all: stopped in keepalive; --resume", said)
        self.assertEqual(self.state("keepalive"), "interrupted")
        self.assertGreater(test_run.count_lines(rows), 0)
        self.assertFalse(os.path.exists(os.path.join(self.out, "short")))
        self.assertFalse(any(map(test_run.alive, self.server_pids())))

    def test_usage(self):
        said = self.all("--only", "short,none", expect=64).stderr
        self.assertIn("--only none", said)
        said = self.run_py("keepalive", "--resume", expect=64).stderr
        self.assertIn("--resume is for all", said)
        said = self.all("--plan").stderr
        self.assertIn("keepalive", said)
        self.assertFalse(os.path.exists(self.out))


del Bench    # its tests run where it is made

if __name__ == "__main__":
    unittest.main()
