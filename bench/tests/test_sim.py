"""The simulator beside the formulas of queueing theory, and beside itself."""

import json
import math
import os
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
SIM = os.path.join(ROOT, "build", "sim")


def run(policy, service="exp:1000", load=0.7, cores=1, requests=150000,
        **more):
    words = [SIM, "--policy", policy, "--service", service, "--load",
             str(load), "--cores", str(cores), "--requests", str(requests)]
    for name, value in more.items():
        if value is False:
            continue
        words += ["--" + name.replace("_", "-")] \
            + ([] if value is True else [str(value)])
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def erlang_c(cores, load):
    """The share of requests that wait in M/M/c (A. K. Erlang, 1917)."""
    offered = cores * load
    top = offered**cores / math.factorial(cores) / (1 - load)
    return top / (sum(offered**k / math.factorial(k)
                      for k in range(cores)) + top)


class Formulas(unittest.TestCase):
    """A seed fixes a run, so nothing here is left to chance."""

    def mean(self, expected, *args, within=0.03, **more):
        more.setdefault("connections", 1000000)   # none waits for another
        got = run(*args, **more)["latency_us"]["mean"]
        self.assertAlmostEqual(got / expected, 1, delta=within)

    def test_m_m_1(self):
        for load in (0.3, 0.7, 0.9):
            for policy in ("one", "hash", "steal", "rescue"):
                self.mean(1000 / (1 - load), policy, load=load, within=0.05,
                          at_once=True)

    def test_connections_of_a_single_core_change_no_mean(self):
        """One core always has something to do, whichever waits."""
        self.mean(1000 / (1 - 0.8), "one", load=0.8, connections=8,
                  within=0.05)

    def test_late_sleeps_have_a_tail(self):
        found = run("one", "const:1000", load=0.01, cores=8, late_us=50,
                    late_90_us=200, late_99_us=3000)["latency_us"]
        for name, late in (("p50", 50), ("p90", 200), ("p99", 3000)):
            self.assertAlmostEqual(found[name] / (1000 + late), 1, delta=0.03)

    def test_percentiles_of_m_m_1(self):
        """The time in an M/M/1 is exponential itself."""
        found = run("one", load=0.7, requests=1000000)["latency_us"]
        for name, p in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
            self.assertAlmostEqual(
                found[name] / (-math.log(1 - p) * 1000 / 0.3), 1, delta=0.04)

    def test_m_m_c(self):
        for cores, load in ((2, 0.5), (4, 0.7), (16, 0.9)):
            waits = erlang_c(cores, load) * 1000 / (cores * (1 - load))
            self.mean(1000 + waits, "one", cores=cores, load=load)

    def test_m_g_1(self):
        """Pollaczek and Khinchine: the wait grows with the second moment."""
        for service, mean, square in (
                ("const:1000", 1000, 1000**2),
                ("bimodal:0.1:500:5500", 1000,
                 0.9 * 500**2 + 0.1 * 5500**2)):
            rate = 0.6 / mean
            wait = rate * square / (2 * (1 - 0.6))
            self.mean(mean + wait, "one", service=service, load=0.6,
                      requests=1000000)

    def test_a_lock_is_a_server_too(self):
        """Two passes of 1 us a request: no more than half a million."""
        found = run("mutex", service="const:1", cores=64, load=0.9,
                    lock_us=1, requests=100000, connections=100000)
        self.assertAlmostEqual(found["throughput"] / 500000, 1, delta=0.01)
        self.assertGreater(found["waited_us"], 100)


class Policies(unittest.TestCase):
    SKEWED = {"service": "bimodal:0.005:200:20000", "cores": 8, "load": 0.5,
              "connections": 4000}

    def test_who_may_help_decides_the_tail(self):
        p99 = {policy: run(policy, **self.SKEWED)["fast_us"]["p99"]
               for policy in ("one", "ring", "rescue", "steal", "hash")}
        self.assertLess(p99["one"], 500)
        self.assertEqual(p99["ring"], p99["one"])   # eight helpers, no cost
        self.assertLess(p99["rescue"], 1500)
        self.assertGreater(p99["steal"], 10000)
        self.assertGreater(p99["hash"], p99["steal"])

    def test_stealing_is_counted_where_it_happens(self):
        for policy, steals, rescues in (("hash", False, False),
                                        ("steal", True, False),
                                        ("rescue", True, True)):
            found = run(policy, **self.SKEWED)
            self.assertEqual(found["steals"] > 0, steals, policy)
            self.assertEqual(found["rescues"] > 0, rescues, policy)

    def test_a_sentinel_that_never_looks_is_none(self):
        never = run("rescue", stuck_us=1e9, **self.SKEWED)
        self.assertEqual(never["rescues"], 0)
        self.assertAlmostEqual(
            never["fast_us"]["p99"]
            / run("steal", **self.SKEWED)["fast_us"]["p99"], 1, delta=0.1)

    def test_replies_wait_for_the_end_of_a_turn(self):
        """Two requests of a turn: the first reply leaves with the second."""
        for policy in ("hash", "steal"):
            turn, once = (run(policy, load=0.7, at_once=how)
                          ["latency_us"]["mean"] for how in (False, True))
            self.assertGreater(turn, 1.2 * once, policy)

    def test_few_connections_wait_for_each_other(self):
        """Eight cores and four connections: four cores are never used."""
        few = run("one", cores=8, load=0.4, connections=4)
        many = run("one", cores=8, load=0.4, connections=4000)
        self.assertGreater(few["latency_us"]["mean"],
                           2 * many["latency_us"]["mean"])

    def test_what_each_cost_adds(self):
        plain = {"service": "const:100", "cores": 4, "load": 0.2,
                 "connections": 1000}
        base = run("hash", **plain)["latency_us"]["p50"]
        for option, adds in (("base_us", 40), ("late_us", 40),
                             ("wake_us", 40), ("io_us", 40)):
            found = run("hash", **plain, **{option: 40})["latency_us"]["p50"]
            self.assertAlmostEqual(found - base, adds, delta=4, msg=option)

    def test_receives_done_together_cost_less(self):
        options = {"service": "const:20", "cores": 1, "load": 0.9,
                   "rate": 40000, "io_us": 8}
        self.assertLess(run("hash", io_many_us=2, **options)["busy"],
                        run("hash", **options)["busy"])

    def test_one_cpu_is_a_limit(self):
        """10 us of cpu a request: no more than 100,000 a second."""
        found = run("hash", service="const:100", cores=64, load=1, cpus=1,
                    io_us=10, requests=100000)
        self.assertAlmostEqual(found["throughput"] / 100000, 1, delta=0.03)

    def test_a_search_costs_what_cores_there_are(self):
        shares = [run("rescue", load=0.7, cores=n, look_at_us=0.1,
                      requests=50000)["search"] for n in (4, 16, 64)]
        self.assertEqual(shares, sorted(shares))
        self.assertGreater(shares[2], 2 * shares[0])

    def test_the_same_seed_is_the_same_run(self):
        one, again, other = (run("rescue", seed=seed, requests=20000,
                                 **self.SKEWED) for seed in (1, 1, 2))
        self.assertEqual(one, again)
        self.assertNotEqual(one["latency_us"], other["latency_us"])

    def test_all_come_out(self):
        for policy in ("one", "hash", "mutex", "ring", "steal", "rescue"):
            for more in ({}, {"at_once": True}, {"cpus": 1}):
                found = run(policy, cores=5, load=0.8, requests=10000,
                            helpers=2, connections=7, wake_us=5, io_us=3,
                            io_many_us=2, hand_us=1, late_us=2, lock_us=0.1,
                            look_at_us=0.1, steal_us=0.2, **more)
                self.assertEqual(found["latency_us"]["count"], 9000, policy)


class BadInput(unittest.TestCase):
    def test_is_named(self):
        for words, why in ((["--cores", "0"], "--cores"),
                           (["--load", "nan"], "--load"),
                           (["--load", "1x"], "--load"),
                           (["--policy", "best"], "--policy best"),
                           (["--late-99-us", "5", "--late-us", "9"], "grow"),
                           (["--service", "exp:"], "--service"),
                           (["more"], "only options")):
            done = subprocess.run([SIM, *words], capture_output=True,
                                  text=True, check=False)
            self.assertEqual(done.returncode, 64, words)
            self.assertIn(why, done.stderr)


if __name__ == "__main__":
    unittest.main()
