"""A staircase: one start of each server for all steps, and what is counted."""

import os
import random
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.dirname(HERE)
sys.path.insert(0, BENCH)
sys.path.insert(0, HERE)

import claim_rules      # noqa: E402
import results          # noqa: E402
import run              # noqa: E402
import stairs           # noqa: E402
import suites           # noqa: E402
import test_run         # noqa: E402
from claim_list import BY_ID    # noqa: E402

NAMES = ["max", "min", "wait", "load"]
CAPACITY = 3 * len(NAMES)       # calls of the generator before the first block
STEPS = len(suites.STAIRS)


class Staircase(test_run.Bench):
    stages = ("stage6",)

    def setUp(self):
        super().setUp()
        self.plan = {"servers": {"stage6": {"qps": 200000.0}}}

    def climb(self):
        self.run_py("elastic", "--blocks", "2", "--seconds", "0.1")

    def of(self, server, **wanted):
        return [row for row in self.rows() if row["server"] == server
                and all(row[name] == v for name, v in wanted.items())]

    def calls(self):
        """The generator's words, call by call."""
        with open(self.log + ".loadgen", encoding="utf-8") as f:
            return [line.split() for line in f]

    def test_one_start_for_all_steps(self):
        self.climb()
        for name in NAMES:
            rows = self.of(name, block=0)
            self.assertEqual([row["cell"] for row in rows], [
                {"workers": 4, "connections": 64, "step": n, "load": load}
                for n, load in enumerate(suites.STAIRS, 1)])
            self.assertEqual(
                [int(row["args"][row["args"].index("--rate") + 1])
                 for row in rows],
                [round(200000 * load) for load in suites.STAIRS])
            # Two workers, and each says at each look that it was called once
            # more.
            self.assertEqual({(row["metrics"]["active"],
                               row["metrics"]["changes"],
                               row["metrics"]["lost"]) for row in rows},
                             {(2, 2, 0)})
        found = results.load_summary(self.out)
        self.assertEqual({entry["n"] for entry in found["cells"]}, {2})
        self.assertEqual(len(found["cells"]), STEPS * len(NAMES))
        self.assertEqual(found["blocks"], 2 * STEPS)
        self.all_climb_a_step_before_the_next()
        data = claim_rules.Sets(self.dir.name).load(self.out)
        for check in BY_ID["A12"].checks:
            found, blocks, *_ = claim_rules.figure(data, check)
            self.assertEqual(blocks, 2, check.text)
            self.assertIsNotNone(found, check.text)

    def all_climb_a_step_before_the_next(self):
        calls = self.calls()[CAPACITY:]
        self.assertEqual(len(calls), 2 * STEPS * len(NAMES))
        self.assertEqual(len({call[call.index("--server-pid") + 1]
                              for call in calls}), 2 * len(NAMES))
        steps = [calls[at:at + len(NAMES)]
                 for at in range(0, len(calls), len(NAMES))]
        for step in steps:
            for word in ("--rate", "--seed"):
                self.assertEqual(
                    len({call[call.index(word) + 1] for call in step}), 1)
            self.assertEqual(len({call[call.index("--port") + 1]
                                  for call in step}), len(NAMES))

    def test_what_goes_wrong(self):
        """A request without an answer is a figure; after a step that fails the
        block is done again."""
        first = CAPACITY + len(NAMES) + 1
        self.plan["calls"] = {str(first): "errors",
                              str(first + STEPS * len(NAMES)): "crash"}
        self.climb()
        lost = sorted([row["metrics"]["lost"] for row in self.of(name, block=0)]
                      for name in NAMES)
        self.assertEqual(lost, [[0] * STEPS] * 3 + [[0] + [3] * (STEPS - 1)])
        self.assertTrue(all(row["valid"] for row in self.rows()
                            if row["block"] == 0))
        self.assertEqual([row["valid"] for row in self.rows("block")],
                         [True] * STEPS + [False] * STEPS + [True] * STEPS)
        self.assertEqual({entry["n"] for entry in
                          results.load_summary(self.out)["cells"]}, {2})
        self.assertFalse([p for p in self.server_pids() if test_run.alive(p)])

    def test_unanswered(self):
        self.assertEqual(stairs.unanswered(
            {"errors": {"total": 1}, "warmup_errors": 2, "unfinished": 4}), 7)

    def test_a_server_that_does_not_start(self):
        """It has a row for each step, and the others go on."""
        class Broken(run.Stage):
            def start(self, *_, **__):
                raise run.Failed("no such thing")

        class Rig:
            server_cpus = client_cpus = both = [0]
        works = [("a", Broken("a", "a"), {}, [[], []])]
        found = stairs.measure(Rig(), works, 1, 0, random.Random(1))
        self.assertEqual([row["why"] for row in found["a"]],
                         [["no such thing"]] * 2)

    def test_the_plan_counts_the_steps(self):
        done = self.run_py("elastic", "--plan", "--blocks", "2")
        self.assertIn(f"elastic: 1 cells, 2 blocks, {', '.join(NAMES)}: "
                      f"{2 * STEPS * len(NAMES) + CAPACITY} runs", done.stdout)


if __name__ == "__main__":
    unittest.main()
