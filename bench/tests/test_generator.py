"""generator.py: what the generator costs, on a real server, in short slices."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PROGRAM = os.path.join(ROOT, "bench", "generator.py")


def run(*words):
    return subprocess.run([sys.executable, PROGRAM, *words], timeout=120,
                          capture_output=True, text=True, check=False)


class Generator(unittest.TestCase):
    def measured(self, what, *clients):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "found.json")
            done = run(what, "--pairs", "1", "--seconds", "0.1",
                       "--clients", ",".join(clients), "--json", path)
            if "one cpu" in done.stderr:
                self.skipTest(done.stderr)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(path, encoding="utf-8") as f:
                found = json.load(f)
        self.assertEqual(found["schema"], "ioladder-generator/1")
        cell, = found["cells"]
        if "uring" in clients and "uring" not in cell["clients"]:
            self.skipTest(done.stderr)    # no ring here, and it says so
        self.assertEqual(set(cell["clients"]), set(clients))
        for slices in cell["clients"].values():
            self.assertEqual(len(slices), 2)    # there and back again
            for one in slices:
                self.assertGreater(one["qps"], 0)
        return cell, done.stdout

    def test_cost(self):
        cell, text = self.measured("cost", "epoll", "uring")
        self.assertEqual(list(cell["ratios"]), ["uring/epoll"])
        self.assertEqual(cell["ratios"]["uring/epoll"]["n"], 1)
        self.assertIn("us a request", text)

    def test_hold(self):
        cell, text = self.measured("hold", "epoll")
        for one in cell["clients"]["epoll"]:
            self.assertGreaterEqual(one["server_busy"], 0)
        self.assertIn("client", text)

    def test_wrong_usage_is_named(self):
        for words, why in ((["cost", "--clients", "ab"], "'ab'"),
                           (["hold", "--servers", "stage9"], "'stage9'"),
                           (["cost", "--pairs", "0"], "begin at 1"),
                           (["guess"], "invalid choice")):
            done = run(*words)
            self.assertEqual(done.returncode, 64, done.stderr)
            self.assertIn(why, done.stderr)

    def test_peers_are_known_too(self):
        done = run("hold", "--servers", "stage9")
        self.assertIn("nginx", done.stderr)


if __name__ == "__main__":
    unittest.main()
