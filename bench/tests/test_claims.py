"""Verdicts follow from rows; make claims goes on where it was."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.dirname(HERE)
ROOT = os.path.dirname(BENCH)
sys.path.insert(0, BENCH)
sys.path.insert(0, os.path.join(ROOT, "plots"))
sys.path.insert(0, os.path.join(ROOT, "plots", "tests"))

import made_up                              # noqa: E402
import claim_rules as rules                 # noqa: E402
import claims_page                          # noqa: E402
import run                                  # noqa: E402
import stats_math                           # noqa: E402
import summary                              # noqa: E402
from claim_list import BY_ID, CLAIMS        # noqa: E402
from claim_rules import Check, Series       # noqa: E402
from claim_suites import THRESHOLDS         # noqa: E402
from fronts import catalogue                # noqa: E402
from suites import RUNS, SUITES             # noqa: E402

# A program that counts: writes a set, or does what FAKE says.
FAKE = """#!/usr/bin/python3
import json, os, sys, time
args = sys.argv[1:]
if "--plan" in args:
    print("x: 4 runs, about 1:05", file=sys.stderr)
    sys.exit()
if os.environ.get("FAKE") == "fail":
    sys.exit(1)
out = args[args.index("--out") + 1]
os.makedirs(out)
with open(os.environ["LOG"], "a") as f:
    f.write(os.path.basename(out) + "\\n")
found = {"schema": "ioladder-counts/1", "name": "steady", "draft": False,
         "state": "running", "machine": {"when": "2026-11-29T00:00:00Z"},
         "rows": [{"server": f"stage{n}", "block": b, "allocations": 0.0,
                   "faults": 0.0} for n in range(1, 7) for b in range(6)]}
def write():
    with open(os.path.join(out, "counts.json"), "w") as f:
        json.dump(found, f)
write()
if os.environ.get("FAKE") == "hang":
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(130)
found["state"] = "complete"
write()
"""


class Folder(unittest.TestCase):
    def setUp(self):
        found = tempfile.TemporaryDirectory(prefix="ioladder-test-")
        self.addCleanup(found.cleanup)
        self.dir = found.name


def counts(directory, name, rows, when="2026-11-29T00:00:00Z", **more):
    os.makedirs(directory)
    with open(os.path.join(directory, "counts.json"), "w",
              encoding="utf-8") as f:
        json.dump({"schema": rules.SCHEMA, "name": name, "state": "complete",
                   "draft": False, "machine": {"when": when}, "rows": rows,
                   **more}, f)


def values(*found, server="a"):
    return [{"server": server, "block": b, "figure": v}
            for b, v in enumerate(found)]


class Rule(Folder):
    below = Check("", Series("s", "a", "figure"), below=5)
    above = Check("", Series("s", "a", "figure"), above=5)

    def test_a_check_by_its_interval(self):
        for found, wanted in (((4, 3, 4.9), rules.HOLDS),
                              ((4, 3, 5.1), rules.OPEN),
                              ((6, 5, 7), rules.CONTRADICTED),
                              ((4, None, None), rules.OPEN),
                              (None, rules.MISSING)):
            self.assertEqual(self.below.judge(found), wanted, found)
        for found, wanted in (((6, 5.1, 7), rules.HOLDS),
                              ((6, 4.9, 7), rules.OPEN),
                              ((4, 3, 5), rules.CONTRADICTED)):
            self.assertEqual(self.above.judge(found), wanted, found)

    def test_a_verdict_by_its_checks(self):
        yes, no, open_, missing = (rules.HOLDS, rules.CONTRADICTED,
                                   rules.OPEN, rules.MISSING)
        for judged, wanted in (
                ([yes, yes], rules.CONFIRMED), ([yes, no], rules.PARTLY),
                ([yes, open_], rules.PARTLY), ([yes, missing], rules.PARTLY),
                ([no, open_], rules.REFUTED), ([no, missing], rules.REFUTED),
                ([open_, missing], rules.UNDECIDED),
                ([missing, missing], rules.UNMEASURED),
                ([], rules.UNTESTABLE)):
            self.assertEqual(rules.verdict(judged), wanted, judged)
        self.assertEqual(rules.verdict([yes], [yes]), rules.CONFIRMED)
        self.assertEqual(rules.verdict([yes], [no]), rules.UNDECIDED)

    def answer(self, check):
        return rules.Sets(self.dir).answer(check)

    def test_the_newest_set_that_may_be_quoted(self):
        def put(name, number, when, **more):
            counts(os.path.join(self.dir, name), "s", values(*[number] * 6),
                   f"2026-11-{when}T00:00:00Z", **more)
        put("b", 4, 20)
        self.assertEqual(self.answer(self.below).judged, rules.HOLDS)
        put("a", 6, 21)
        self.assertEqual(self.answer(self.below).judged, rules.CONTRADICTED)
        put("draft", 4, 22, draft=True)
        put("cut", 4, 23, state="interrupted")
        put("quick", 4, 24, quick=True)
        put("wire", 4, 25, hosts={"machines": 2})
        found = self.answer(self.below)
        self.assertEqual(found.judged, rules.CONTRADICTED)
        self.assertEqual(found.source, os.path.join(self.dir, "a"))
        other = Check("", Series("s", "b", "figure"), below=5)
        self.assertEqual(self.answer(other).judged, rules.MISSING)

    def test_too_few_blocks_decide_nothing(self):
        counts(os.path.join(self.dir, "a"), "s", values(1, 1, 1, 1, 1))
        self.assertEqual(self.answer(self.below).judged, rules.OPEN)

    def test_rows_decide(self):
        """A copy of a committed set: another verdict with other rows."""
        kept = os.path.join(BENCH, "results", "2026-11-24-pads")
        ours = os.path.join(self.dir, "pads")
        shutil.copytree(kept, ours)
        check = next(c for c in BY_ID["A5"].checks if c.above == 1
                     and c.ours.suite == "show-pads")
        self.assertEqual(self.answer(check).judged, rules.OPEN)
        path = os.path.join(ours, "rows.jsonl")
        with open(path, encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
        for factor, wanted in ((0.5, rules.HOLDS), (4, rules.CONTRADICTED)):
            for row in rows:
                if row["server"] == "pad0" and row["metrics"].get("qps"):
                    row["metrics"]["qps"] *= factor
            with open(path, "w", encoding="utf-8") as f:
                f.writelines(json.dumps(row) + "\n" for row in rows)
            self.assertEqual(self.answer(check).judged, wanted)

    def test_the_generators_limit_decides_nothing(self):
        """Of a made-up ladder, in which it limits handlers of 0 us."""
        made_up.write(os.path.join(self.dir, "set"), ("ladder",),
                      ("stage1", "stage2"), blocks=9)
        sets = rules.Sets(self.dir)

        def judged(handler, metric, above=0, below=None):
            cell = {"handler": handler, "connections": 64}
            found = sets.answer(Check("", *(
                Series("ladder", server, metric, cell)
                for server in ("stage1", "stage2")),
                above=above if below is None else None, below=below))
            return found.judged, found.limited
        self.assertEqual(judged(0, "qps"), (rules.OPEN, True))
        self.assertEqual(judged(5, "qps"), (rules.HOLDS, False))
        self.assertEqual(judged(0, "p99_us"), (rules.OPEN, True))
        # CPU time is nearer to 1 than it is: what is decided all the same
        # holds, what falls short of a size does not.
        self.assertEqual(judged(0, "cpu_us", 1), (rules.HOLDS, False))
        self.assertEqual(judged(0, "cpu_us", 5), (rules.OPEN, True))
        self.assertEqual(judged(5, "cpu_us", 5), (rules.CONTRADICTED, False))
        # 1.2 or more: over 1.1 it is in any case, under 1.3 perhaps not.
        self.assertEqual(judged(0, "cpu_us", below=1.1),
                         (rules.CONTRADICTED, False))
        self.assertEqual(judged(0, "cpu_us", below=1.3), (rules.OPEN, True))
        self.assertEqual(judged(5, "cpu_us", below=1.3), (rules.HOLDS, False))

    def test_the_best_of_several_others(self):
        several = Check("", Series("s", "a", "figure"), tuple(
            Series("s", other, "figure") for other in "bc"), below=1.03)

        def judged(blocks, **costs):
            shutil.rmtree(self.dir)
            counts(os.path.join(self.dir, "a"), "s", [
                row for server, cost in costs.items() for row in values(
                    *[cost * (1 + 0.001 * (n % 3)) for n in range(blocks)],
                    server=server)])
            found = self.answer(several)
            return found.judged, found.best
        self.assertEqual(judged(15, a=1, b=1, c=1.1), (rules.HOLDS, "b"))
        self.assertEqual(judged(15, a=1, b=1.1, c=1), (rules.HOLDS, "c"))
        self.assertEqual(judged(15, a=1, b=0.9, c=1),
                         (rules.CONTRADICTED, "b"))
        # Six are enough for one other, but not for the better of two.
        self.assertEqual(judged(6, a=1, b=1, c=1.1), (rules.OPEN, "b"))
        self.assertEqual(judged(15, a=1, b=0.9), (rules.MISSING, ""))

    def test_one_of_several_is_best_by_chance(self):
        """The interval is wider than that of any one of them."""
        noise = {"b": [0.98, 1.0, 1.02], "c": [0.97, 1.0, 1.04]}
        found = rules.highest({s: 5 * v for s, v in noise.items()})[0]
        self.assertEqual(found, (1.0, 0.98, 1.04))
        alone = rules.highest({"b": 5 * noise["b"]})[0]
        self.assertEqual(alone, (1.0, 0.98, 1.02))

    def test_thresholds_decide(self):
        """The rows of the set turned around turn the verdict around."""
        def judged(costs, ring=1):
            shutil.rmtree(self.dir)
            counts(os.path.join(self.dir, "a"), "claim-thresholds", [
                {"server": server, "block": block, "connections": n,
                 "cpu_us": costs.get(server, 7) + 0.01 * (block % 2),
                 "ring_rounds": ring if server == "ready-1" else 0}
                for n in (64, 1024) for server in THRESHOLDS
                for block in range(15)])
            answers = rules.answers(BY_ID["A10"], rules.Sets(self.dir))
            return rules.verdict_of(answers), [
                a.judged for a in answers
                if a.check.ours.server == "ready-4"]
        self.assertEqual(judged({}), (rules.PARTLY, 2 * [rules.HOLDS]))
        self.assertEqual(judged({"ready-4": 8, "ready-8-free-16": 8}),
                         (rules.REFUTED, 2 * [rules.CONTRADICTED]))
        self.assertEqual(judged({"free-64": 5}), (rules.PARTLY, [
            rules.HOLDS, rules.CONTRADICTED]))
        said = claims_page.thresholds(rules.Sets(self.dir))
        self.assertIn("- 64 connections, the stage's thresholds: within 3 %",
                      said)
        self.assertIn("- 1,024 connections, the stage's thresholds: not "
                      "within 3 % of the best; CPU to that of the best: 1.40 "
                      "(1.40 to 1.40), free-64", said)
        self.assertIn("| 8 ready or 16 free: the article |", said)
        self.assertEqual(judged({}, ring=0.5)[0], rules.UNDECIDED)

    def test_a_set_that_is_cut_off_is_no_set(self):
        with open(os.path.join(self.dir, "x"), "w", encoding="utf-8"):
            pass
        os.mkdir(os.path.join(self.dir, "a"))
        with open(os.path.join(self.dir, "a", "counts.json"), "w",
                  encoding="utf-8") as f:
            f.write('{"schema": "ioladder-cou')
        self.assertEqual(self.answer(self.below).judged, rules.MISSING)


class Data(unittest.TestCase):
    def test_twenty_claims(self):
        self.assertEqual(list(BY_ID), [f"A{n}" for n in range(1, 21)])
        for claim in CLAIMS:
            self.assertTrue(claim.checks or claim.limits, claim.id)
            for check in claim.checks:
                self.assertNotEqual(check.below is None, check.above is None,
                                    check.text)

    def test_each_step_is_there(self):
        for claim in CLAIMS:
            for step in claim.steps:
                self.assertTrue(os.access(os.path.join(BENCH, step.program),
                                          os.X_OK), step)
                if step.program == "run.py":
                    self.assertIn(step.words[0], {**SUITES, **RUNS})

    def test_each_plan_can_decide(self):
        plans = [step.words for claim in CLAIMS for step in claim.steps
                 if step.program == "run.py"]
        plans += [(name,) for name in SUITES if name.startswith("claim-")]
        self.assertGreater(len(plans), 20)
        for words in plans:
            args = run.parse_arguments(list(words))
            parts, _ = run.make_parts(args.suite, args)
            servers = run.choose_servers(args, catalogue(ROOT, args.build),
                                         parts)
            for part in parts:
                pairs = summary.pairs_of(
                    part.takes(servers, run.variants_of(parts)),
                    part.suite.reference or None)
                self.assertGreaterEqual(part.blocks,
                                        stats_math.least_blocks(pairs), words)


class Program(Folder):
    def setUp(self):
        super().setUp()
        self.programs = os.path.join(self.dir, "programs")
        os.mkdir(self.programs)
        for name in {s.program for c in CLAIMS for s in c.steps}:
            path = os.path.join(self.programs, name)
            with open(path, "w", encoding="utf-8") as f:
                f.write(FAKE)
        self.out = os.path.join(self.dir, "out")
        self.log = os.path.join(self.dir, "log")

    def start(self, *words, fake=""):
        return subprocess.Popen(
            [sys.executable, os.path.join(BENCH, "claims.py"), "--draft",
             "--out", self.out, "--programs", self.programs, *words],
            env={**os.environ, "FAKE": fake, "LOG": self.log}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run_it(self, *words, expect=0, fake=""):
        proc = self.start(*words, fake=fake)
        out, err = proc.communicate(timeout=60)
        self.assertEqual(proc.returncode, expect, out + err)
        return out + err

    def ran(self):
        if not os.path.exists(self.log):
            return []
        with open(self.log, encoding="utf-8") as f:
            return f.read().split()

    def test_to_the_end_and_again(self):
        said = self.run_it("A9", "A19")
        self.assertEqual(self.ran(), ["cycles", "steady", "claim-burst"])
        self.assertRegex(said, r"\[2/3\] steady, 0:0\d so far, about 1:\d\d "
                               r"left")
        self.assertRegex(said, r"A19 +partly +Pooled objects \(10 holds")
        self.run_it("A9", "A19")
        self.assertEqual(len(self.ran()), 3)
        kept = os.path.join(self.dir, "kept")
        self.assertIn("3 sets", self.run_it("--keep", kept))
        self.assertEqual(sorted(os.listdir(kept)), [
            "2026-11-29-claim-burst", "2026-11-29-cycles",
            "2026-11-29-steady"])

    def test_goes_on_after_a_cut(self):
        proc = self.start("A9", fake="hang")
        end = time.monotonic() + 30
        while not self.ran() and time.monotonic() < end:
            time.sleep(0.05)
        proc.send_signal(signal.SIGINT)
        _, said = proc.communicate(timeout=60)
        self.assertEqual(proc.returncode, 130, said)
        self.assertIn("the same command goes on there", said)
        self.run_it("A9")
        self.assertEqual(self.ran(), ["cycles", "cycles"])
        self.assertIn("cycles.cut-1", os.listdir(self.out))

    def test_what_fails_is_named(self):
        said = self.run_it("A9", expect=1, fake="fail")
        self.assertIn("claims: failed: cycles", said)
        self.assertRegex(said, "A9 +not measured yet")

    def test_usage(self):
        self.assertIn("no claim A21", self.run_it("A21", expect=64))
        said = self.run_it("--plan")
        self.assertRegex(said, "claim-article +1:05")
        self.assertFalse(os.path.exists(self.out))
        self.run_it("A9")
        path = os.path.join(self.out, "state.json")
        with open(path, encoding="utf-8") as f:
            state = json.load(f)
        state["here"]["kernel"] = "2.4"
        with open(path, "w", encoding="utf-8") as f:
            json.dump(state, f)
        self.assertIn("begun with kernel", self.run_it("A9", expect=64))


if __name__ == "__main__":
    unittest.main()
