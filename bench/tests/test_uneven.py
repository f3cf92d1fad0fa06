"""The suites of stages 5 and 6: capacities, cpus, classes, wake-ups; and the
sets of queues and padding."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.dirname(HERE)
ROOT = os.path.dirname(BENCH)
BUILD = os.path.join(ROOT, "build")
sys.path.insert(0, BENCH)
sys.path.insert(0, HERE)

import machine          # noqa: E402
import micro_results    # noqa: E402
import micro_run        # noqa: E402
import results          # noqa: E402
import peers            # noqa: E402
import run              # noqa: E402
import servers          # noqa: E402
import slices           # noqa: E402
import suites           # noqa: E402
import test_run         # noqa: E402
import wakeups          # noqa: E402


class Uneven(test_run.Bench):
    """run.py on fakes of stages 5 and 6."""

    stages = ("stage5", "stage6")

    def setUp(self):
        super().setUp()
        os.mkdir(os.path.join(self.build, "variants"))
        for name in ("5-place-one", "5-place-rr"):
            os.symlink(os.path.join(HERE, "fake_server.py"),
                       os.path.join(self.build, "variants", name))

    def run_suite(self, *words, expect=0):
        return self.run_py(*words, "--seconds", "0.1", "--warmup", "0",
                           expect=expect)

    def started(self):
        """[(name, arguments)] of every server start."""
        with open(self.log, encoding="utf-8") as f:
            return [(line.split()[1], line.split()[2:]) for line in f]

    def asked(self):
        with open(self.log + ".loadgen", encoding="utf-8") as f:
            return [line.split() for line in f]

    def test_load_is_a_share_of_the_balanced_capacity(self):
        self.plan = {"servers": {"5-place-rr": {"qps": 8000.0},
                                 "stage6": {"qps": 9000.0}}}
        self.run_suite("skew-work", "--blocks", "1", "--set",
                       "service=bimodal", "--set", "place=one,hash", "--set",
                       "connections=4", "--set", "load=0.5,0.9")
        capacity = self.rows("capacity")
        self.assertEqual(len(capacity), 6)     # one cell, not two
        for row in capacity:
            self.assertEqual(row["cell"], {
                "workers": 2, "service": "bimodal", "place": "rr",
                "connections": 4})
        rows = self.rows()
        self.assertEqual(len(rows), 16)
        for row in rows:
            words = row["args"]
            self.assertEqual(words[words.index("--rate") + 1],
                             {0.5: "4000", 0.9: "7200"}[row["cell"]["load"]])
            self.assertEqual(words[words.index("--service") + 1],
                             "bimodal:0.005:10:1000")
        places = {a[a.index("--place") + 1] for name, a in self.started()
                  if "--place" in a and name == "stage6"}
        self.assertEqual(places, {"rr", "hash", "one"})
        self.assertTrue(all(a[a.index("--workers") + 1] == "2"
                            for _, a in self.started() if "--workers" in a))

    def test_stage_5_places_by_variants(self):
        self.run_suite("skew-work", "--blocks", "1", "--set",
                       "service=const", "--set", "place=one,hash", "--set",
                       "connections=4", "--set", "load=0.5")
        started = self.started()
        self.assertFalse([a for name, a in started
                          if name != "stage6" and "--place" in a])
        self.assertEqual({name for name, _ in started},
                         {"stage5", "stage6", "5-place-one", "5-place-rr"})
        placed = results.load_manifest(self.out)["servers"]["stage5"]["placed"]
        self.assertEqual(set(placed), {"5-place-one", "5-place-rr"})
        os.unlink(os.path.join(self.build, "variants", "5-place-one"))
        self.out += "-again"
        done = self.run_suite("show-one", "--blocks", "1")
        self.assertIn("skipped: stage5: 5-place-one is not built (make "
                      "variants)", done.stderr)

    def test_what_if_has_every_variant_and_counts_calls(self):
        named = [v for s in suites.SUITES.values()
                 if s.name.startswith("whatif-") for v in s.variants
                 if v not in suites.SWITCHES]
        self.assertEqual(sorted(named), sorted(
            name.removesuffix(".patch") for name in os.listdir(
                os.path.join(ROOT, "stages", "variants"))
            if name.endswith(".patch")))
        self.run_suite("whatif", "--only", "whatif-place", "--blocks", "1")
        for row in self.rows():     # the fakes count 1 wait for 2 requests
            self.assertEqual(row["metrics"]["own_calls"], 0.5)
        found = results.load_summary(self.out)
        self.assertEqual(
            [c["ratio"] for c in found["comparisons"]
             if c["metric"] == "own_calls" and c["base"] == "stage5"], [1, 1])

    def test_a_distribution_of_ones_own(self):
        self.run_suite("skew-sleep", "--blocks", "1", "--set",
                       "service=const:77", "--set", "place=rr", "--set",
                       "connections=4", "--set", "load=0.5", "--set",
                       "workers=4")
        for row in self.rows():
            self.assertIn("const:77", row["args"])
            # One class only: the fast one is all.
            self.assertEqual(row["metrics"]["fast_p99_us"],
                             row["metrics"]["p99_us"])

    def test_the_fast_class_alone(self):
        self.plan = {"servers": {"stage6": {"p99": 120.0}}}
        self.run_suite("show-sleep", "--blocks", "1")
        for row in self.rows():
            want = 60.0 if "6" in row["server"] else 150.0
            self.assertEqual(row["metrics"]["fast_p99_us"], want)
            self.assertEqual(row["metrics"]["fast_p90_us"], 60.0)
            self.assertNotEqual(row["metrics"]["p99_us"], want)
        found = results.load_summary(self.out)
        self.assertEqual(found["yardsticks"], {"show-sleep": "stage5"})
        c = [c for c in found["comparisons"] if c["server"] == "6-off"
             and c["base"] == "stage5" and c["metric"] == "fast_p99_us"]
        self.assertEqual([x["ratio"] for x in c], [60 / 150])

    def test_variants_have_their_switches(self):
        self.run_suite("show-sleep", "--blocks", "1", "--without",
                       "5-mutex,6-off,6-eager")
        self.assertEqual({r["server"] for r in self.rows()},
                         {"stage5", "stage6", "5-spmc", "6-queue"})
        lines = [" ".join(args) for name, args in self.started()]
        self.assertTrue(any("--workers 8 --workers 1 --pool 8" in line
                            for line in lines), lines)
        self.assertTrue(any("--steal queue" in line for line in lines))
        self.assertFalse(any("mutex" in line for line in lines))

    def test_what_is_not_built_is_skipped_by_name(self):
        os.unlink(os.path.join(self.build, "stage6"))
        done = self.run_suite("show4", "--only", "show-sleep", "--blocks",
                              "1")
        for name in ("stage6", "6-eager", "6-queue", "6-off"):
            self.assertIn(f"skipped: {name}: stage6 is not built",
                          done.stderr)
        self.assertIn("skipped: 5-mutex: 5-mutex-pool is not built",
                      done.stderr)
        found = results.load_summary(self.out)
        self.assertIn("not built", found["skipped"]["stage6"])
        self.assertEqual({r["server"] for r in self.rows()},
                         {"stage5", "5-spmc"})

    def test_nothing_that_the_suite_is_for(self):
        for name in self.stages:
            os.unlink(os.path.join(self.build, name))
        done = self.run_suite("show-sleep", expect=77)
        self.assertIn("no server can run here", done.stderr)
        self.assertFalse(os.path.exists(self.out))

    def test_pads_are_binaries_of_their_own(self):
        os.symlink(os.path.join(HERE, "fake_server.py"),
                   os.path.join(self.build, "variants", "6-pad-0"))
        done = self.run_suite("show-pads", "--blocks", "1")
        self.assertIn("pad64: 6-pad-64 is not built", done.stderr)
        self.assertEqual({r["server"] for r in self.rows()},
                         {"stage6", "pad0"})
        manifest = results.load_manifest(self.out)
        self.assertEqual(manifest["servers"]["pad0"]["binary"],
                         "variants/6-pad-0")

    def test_a_server_without_the_switch_is_left_out_at_once(self):
        self.modes = {"stage6": "plain"}
        done = self.run_suite("show-hash", "--blocks", "1", expect=1)
        self.assertIn("skipped: stage6: failed: stage6: ended with status "
                      "64: stage6: --place: no such switch", done.stderr)
        self.assertEqual({r["server"] for r in self.rows()}, {"stage5"})

    def test_an_added_server_is_meant_for_every_suite(self):
        self.run_suite("show-hash", "--blocks", "1", "--add",
                       "mine=stage6 --steal off")
        self.assertEqual({r["server"] for r in self.rows()},
                         {"stage5", "stage6", "mine"})

    def test_plan_says_how_long_and_writes_nothing(self):
        done = self.run_suite("skew", "--plan")
        self.assertRegex(done.stdout, r"skew-work: 144 cells, 9 blocks, "
                                      r"stage5, stage6: \d+ runs, about \d")
        self.assertIn("skew-sleep: 288 cells", done.stdout)
        self.assertFalse(os.path.exists(self.out))
        done = self.run_suite("skew", "--plan", "--only", "skew-work")
        self.assertNotIn("skew-sleep", done.stdout)

    def test_wrong_words(self):
        for words in (["skew", "--only", "skew-moon"],
                      ["show-sleep", "--without", "stage3"]):
            with self.subTest(words):
                done = self.run_suite(*words, expect=64)
                self.assertIn(words[2], done.stderr)

    def two_cpus(self):
        if len(os.sched_getaffinity(0)) != 2:
            self.skipTest("not two cpus")

    def test_two_workers_on_two_cpus_share_them_with_the_client(self):
        self.two_cpus()
        cpus = sorted(os.sched_getaffinity(0))
        self.run_suite("show-one", "--blocks", "1")
        for row in self.rows():
            self.assertEqual(row["cpus"], {"server": cpus, "client": cpus})
            self.assertIn("client on the server's cpus",
                          " ".join(row["metrics"]["notes"]))
        for words in self.asked():
            self.assertNotIn("--cpu", words)
            self.assertEqual("--spin" in words, "--rate" in words)

    def test_one_name_is_one_server_in_a_run_of_several_suites(self):
        for whole, spec in suites.RUNS.items():
            meant = {}
            for part in spec["parts"]:
                for name, what in suites.SUITES[part[0]].variants.items():
                    self.assertEqual(meant.setdefault(name, what), what,
                                     f"{whole}: {name}")

    def test_eight_sleepers_on_one_cpu_do_not(self):
        self.two_cpus()
        self.run_suite("show-sleep", "--blocks", "1", "--without",
                       "5-mutex,5-spmc,6-eager,6-off,6-queue")
        for row in self.rows():
            self.assertFalse(set(row["cpus"]["server"])
                             & set(row["cpus"]["client"]))
        for words in self.asked():
            self.assertIn("--cpu", words)
            self.assertNotIn("--spin", words)


class Pieces(unittest.TestCase):
    def topo(self, count, threads=1):
        return [{"cpu": i, "siblings": str(i // threads)}
                for i in range(count)]

    def test_a_cpu_for_each_worker(self):
        for count, workers, want in (
                (2, 1, ([0], [1])), (2, 2, ([0, 1], [0, 1])),
                (4, 2, ([0, 1], [2, 3])), (4, 3, ([0, 1, 2], [3])),
                (4, 4, ([0, 1, 2, 3], [0, 1, 2, 3])), (1, 1, ([0], [0]))):
            with self.subTest(f"{workers} of {count}"):
                self.assertEqual(machine.cpus_for_workers(
                    self.topo(count), workers), want)

    def test_workers_up_to_the_cpus(self):
        self.assertEqual(suites.worker_counts(2), [1, 2])
        self.assertEqual(suites.worker_counts(5), [1, 2, 3, 4, 5])
        many = suites.worker_counts(32)
        self.assertEqual((many[:8], many[-1]), (list(range(1, 9)), 32))
        self.assertEqual(many, sorted(set(many)))

    def test_means_of_the_services_agree(self):
        for words, mean in ((suites.WORK, 15), (suites.SLEEP, 300)):
            self.assertEqual(words["const"], f"const:{mean}")
            self.assertEqual(words["exponential"], f"exp:{mean}")
            _, share, low, high = words["bimodal"].split(":")
            share = float(share)
            self.assertAlmostEqual(
                (1 - share) * float(low) + share * float(high), mean,
                delta=0.01 * mean)

    def test_nginx_gets_a_cpu_for_each_worker(self):
        self.assertEqual(peers.nginx_masks([0, 1]),
                         "worker_cpu_affinity 01 10;")
        self.assertEqual(peers.nginx_masks([0, 2]),
                         "worker_cpu_affinity 001 100;")

    def test_wake_ups_are_read(self):
        tool = wakeups.Wakeups()
        counting = json.dumps({"type": "printf", "data": "counting\n"})
        found = json.dumps({"type": "map", "data": {"@wakeups": {
            "own,far": 7, "other,near": 9}}})
        self.assertEqual(tool.parse(counting + "\n\n" + found), {
            "own near": 0, "own far": 7, "other near": 9, "other far": 0})
        self.assertEqual(sum(tool.parse(counting).values()), 0)
        self.assertIsNone(tool.parse(found))    # it had not begun
        self.assertIsNone(tool.parse(counting + "\n" + found.replace(
            "own,far", "me,there")))

    def test_wake_ups_between_threads_are_seen(self):
        """Stage 1 hands connections to threads: its own wake-ups."""
        stage = servers.Stage("stage1", os.path.join(BUILD, "stage1"))
        loadgen = os.path.join(BUILD, "loadgen")
        if not (os.access(stage.binary, os.X_OK)
                and os.access(loadgen, os.X_OK)):
            self.skipTest("stage1 and loadgen are not built")
        cpus = sorted(os.sched_getaffinity(0))
        server = stage.start(cpus)
        try:
            tool = wakeups.attach(server.pids)
            if not tool:
                self.skipTest("bpftrace may not trace here")
            subprocess.run([loadgen, "--port", str(server.port), "--close",
                            "--connections", "4", "--duration", "0.5",
                            "--warmup", "0", "--quiet"], check=True,
                           timeout=60)
            counts = tool.stop()
        finally:
            server.stop()
        if counts is None:
            self.skipTest("bpftrace did not begin in time")
        self.assertGreater(counts["other near"] + counts["other far"], 100)
        self.assertGreater(counts["own near"] + counts["own far"], 0)

    def test_capacity_cells(self):
        part = run.Part(suites.SUITES["skew-work"], {"params": {
            "connections": [4, 16], "service": ["const"], "load": [0.3]}})
        part.needs_capacity = True
        self.assertEqual(len(part.cells()), 6)
        self.assertEqual([c["connections"] for c in part.capacity_cells()],
                         [4, 16])
        self.assertEqual(part.count(2)[2], 12)

    def test_shared_cpus_and_the_right_of_way(self):
        shared = slices.Rig("loadgen", [0, 1], [0, 1], 1)
        apart = slices.Rig("loadgen", [0], [1], 1)
        self.assertTrue(shared.goes_first(["--rate", "5"]))
        self.assertFalse(shared.goes_first(["--connections", "5"]))
        self.assertFalse(apart.goes_first(["--rate", "5"]))
        self.assertEqual(shared.threads_of(["--rate", "5"]),
                         ["--spin", "off"])
        self.assertEqual(apart.threads_of(["--rate", "5"]), ["--cpu", "1"])


class Blocks(unittest.TestCase):
    """micro_run.py with the real programs, for a moment."""

    @classmethod
    def setUpClass(cls):
        made = subprocess.run(
            ["make", "-s", "-C", ROOT, "V=", "build/micro/queues",
             "build/micro/padding"], capture_output=True, text=True,
            check=False)
        if made.returncode != 0:
            raise RuntimeError(made.stderr)

    def setUp(self):
        if not {0, 1} <= os.sched_getaffinity(0):
            self.skipTest("needs cpus 0 and 1")
        d = tempfile.TemporaryDirectory(prefix="ioladder-blocks-")
        self.addCleanup(d.cleanup)
        self.set = os.path.join(d.name, "set")

    def micro_run(self, *words):
        return subprocess.run(
            [sys.executable, os.path.join(BENCH, "micro_run.py"), *words,
             "--out", self.set], capture_output=True, text=True,
            timeout=120, check=False)

    def test_whole_sets(self):
        """In groups of two blocks, as groups of 15 would take long."""
        short = (f"import sys; sys.path.insert(0, {BENCH!r})\n"
                 "import micro_run\n"
                 "micro_run.Blocks.STEP = {'queues': 2, 'padding': 2}\n"
                 "sys.exit(micro_run.main(sys.argv[1:]))\n")
        for program, cases in (("queues", 16), ("padding", 32)):
            with self.subTest(program):
                self.set += program
                done = subprocess.run(
                    [sys.executable, "-c", short, program, "--quick",
                     "--blocks", "3", "--max-steal", "100", "--out",
                     self.set], capture_output=True, text=True, timeout=120,
                    check=False)
                self.assertEqual(done.returncode, 0, done.stderr)
                manifest, found = micro_results.load(self.set)
                self.assertEqual(manifest["program"], program)
                self.assertEqual(len(manifest["groups"]), 2)
                self.assertEqual(found["blocks"], 3)
                self.assertEqual({r["block"] for r in found["rows"]},
                                 set(range(3)))
                self.assertGreaterEqual(len(found["rows"]), cases * 3)

    def test_too_much_steal_is_no_set(self):
        done = self.micro_run("padding", "--quick", "--blocks", "3",
                              "--max-steal", "-1")
        self.assertEqual(done.returncode, 2)
        self.assertIn("quieter hour", done.stderr)
        self.assertFalse(os.path.exists(self.set))

    def test_consumers(self):
        queues = os.path.join(BUILD, "micro", "queues")
        path = self.set + ".json"
        subprocess.run([queues, "--consumers", "2", "--only", "deque",
                        "--blocks", "1", "--seconds", "0.002", "--json", path],
                       check=True, timeout=120)
        with open(path, encoding="utf-8") as f:
            self.assertEqual(json.load(f)["consumers"], 2)
        args = micro_run.parse(["queues", "--consumers", "2", "--out", "x"])
        self.assertEqual(micro_run.Blocks(args).command("blocks 1 to 1", "f")
                         [-2:], ["--consumers", "2"])
        done = self.micro_run("padding", "--consumers", "2")
        self.assertEqual(done.returncode, 64)

    def test_groups(self):
        for name, blocks, want in (
                ("queues", 31, ["blocks 1 to 15", "blocks 16 to 30",
                                "blocks 31 to 31"]),
                ("padding", 8, ["blocks 1 to 8"])):
            args = micro_run.parse([name, "--blocks", str(blocks), "--out",
                                    "x"])
            self.assertEqual(micro_run.Blocks(args).groups(), want)
        kind = micro_run.Blocks(args)
        self.assertEqual(kind.command("blocks 4 to 6", "f")[1:],
                         ["--blocks", "3", "--json", "f"])
        whole = {"blocks": 3, "rows": [{"block": 2}]}
        kind.join(whole, {"blocks": 2, "rows": [{"block": 0}, {"block": 1}]})
        self.assertEqual([r["block"] for r in whole["rows"]], [2, 3, 4])
        self.assertEqual(whole["blocks"], 5)

    def test_defaults(self):
        for name, blocks in (("queues", 75), ("padding", 31),
                             ("uring_ops", 31)):
            self.assertEqual(micro_run.parse([name, "--out", "x"]).blocks,
                             blocks)


if __name__ == "__main__":
    unittest.main()
