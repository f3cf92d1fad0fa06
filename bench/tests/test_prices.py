"""The price list: every price is there, in order, or says why it is not."""

import json
import os
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench"))
import machine                             # noqa: E402

PRICES = os.path.join(ROOT, "build", "micro", "prices")
ALONE = {"syscall", "clock", "context_switch", "wake_same", "atomic_add",
         "copy_64", "copy_1024", "copy_4096", "copy_65536", "session",
         "page_fault", "work_over", "echo_calls", "echo_threads",
         "echo_ring_1", "echo_ring_16",
         "echo_ring_64", "echo_armed_1", "echo_armed_16", "echo_armed_64",
         "epoll_event", "sleep_late", "sleep_late_50", "sleep_late_90",
         "sleep_late_99"}
PAIR = {"wake_other", "wake_call", "line_transfer", "atomic_add_contended"}


def run(*words, **more):
    return subprocess.run([PRICES, *words], capture_output=True, text=True,
                          timeout=120, check=False, **more)


@unittest.skipUnless(os.access(PRICES, os.X_OK), "micro/prices is not built")
class Prices(unittest.TestCase):
    def check(self, prices, wanted):
        for name in wanted:
            price = prices[name]
            if "missing" in price:      # no io_uring here
                self.assertIn("ring", name)
                continue
            self.assertLessEqual(price["low"], price["ns"])
            self.assertLessEqual(price["ns"], price["high"])
            # A switch is what a difference leaves, and may be little.
            self.assertGreaterEqual(price["low"],
                                    0 if name == "context_switch" else 0.1)

    def test_all_of_them(self):
        cpus = sorted(os.sched_getaffinity(0))[:2]
        found = machine.price_list(os.path.join(ROOT, "build"), cpus)
        self.assertEqual(set(found["prices"]), ALONE | PAIR)
        self.check(found["prices"], ALONE)
        if len(cpus) > 1:
            self.check(found["prices"], PAIR)
        copies = [found["prices"][f"copy_{n}"]["ns"] for n in (64, 65536)]
        self.assertLess(*copies)        # a longer copy costs more
        late = [found["prices"][f"sleep_late_{n}"]["ns"] for n in (50, 90, 99)]
        self.assertEqual(late, sorted(late))

    def test_one_cpu(self):
        cpu = min(os.sched_getaffinity(0))
        prices = json.loads(run("--json", str(cpu)).stdout)["prices"]
        self.check(prices, ALONE)
        for name in PAIR:
            self.assertEqual(prices[name], {"missing": "needs a second cpu"})

    def test_usage(self):
        self.assertEqual(run("x").returncode, 64)
        self.assertEqual(run("1", "1").returncode, 64)
        self.assertEqual(run("0", "1", "2").returncode, 64)

    def test_not_built(self):
        self.assertIn("missing", machine.price_list("no-such-folder", [0]))


if __name__ == "__main__":
    unittest.main()
