"""The runner against fake servers and a fake generator: what it keeps, does
again, skips and leaves behind."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import types
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.dirname(HERE)
sys.path.insert(0, BENCH)

import machine          # noqa: E402
import results          # noqa: E402
import servers          # noqa: E402
import slices           # noqa: E402
import stats_math       # noqa: E402
import suites           # noqa: E402
import summary          # noqa: E402
import syscalls         # noqa: E402


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def count_lines(path):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read().count("\n")
    except OSError:
        return 0


class Bench(unittest.TestCase):
    """A build directory of fakes, and run.py on it."""

    stages = ("stage1", "stage2", "stage3")

    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(prefix="ioladder-test-")
        self.addCleanup(self.dir.cleanup)
        self.build = os.path.join(self.dir.name, "build")
        os.mkdir(self.build)
        for name in self.stages:
            os.symlink(os.path.join(HERE, "fake_server.py"),
                       os.path.join(self.build, name))
        os.symlink(os.path.join(HERE, "fake_loadgen.py"),
                   os.path.join(self.build, "loadgen"))
        os.mkdir(os.path.join(self.build, "micro"))
        os.symlink(os.path.join(HERE, "fake_calibrate.py"),
                   os.path.join(self.build, "micro", "calibrate"))
        self.out = os.path.join(self.dir.name, "out")
        self.log = os.path.join(self.dir.name, "log")
        self.plan, self.modes = {}, {}

    def command(self, *words):
        argv = [sys.executable, os.path.join(BENCH, "run.py"),
                "--build", self.build, "--seed", "7",
                # What a neighbour takes must not decide a test.  In a window
                # of a millisecond a tick of the clock is ten cpus.
                "--max-steal", "100", "--max-foreign", "1e9", *words]
        if "--turns" not in words:
            argv += ["--turns", "0"]
        if "--summarise" not in words and "--out" not in words:
            argv += ["--out", self.out]
        plan = os.path.join(self.dir.name, "plan.json")
        with open(plan, "w", encoding="utf-8") as f:
            json.dump(self.plan, f)
        env = {**os.environ, "FAKE_PLAN": plan, "FAKE_LOG": self.log,
               "FAKE_SERVER": json.dumps(self.modes)}
        return argv, env

    def run_py(self, *words, expect=0):
        argv, env = self.command(*words)
        done = subprocess.run(argv, env=env, capture_output=True, text=True,
                              timeout=120, check=False)
        self.assertEqual(done.returncode, expect,
                         done.stdout + done.stderr)
        return done

    def keepalive(self, *words, expect=0, blocks="2", trace=False):
        if not trace:   # attaching a tracer takes a second
            words = ("--no-trace", *words)
        servers = [] if "--servers" in words else \
            ["--servers", ",".join(self.stages)]
        return self.run_py("--suite", "keepalive", "--connections", "64",
                           "--blocks", blocks, "--seconds", "0.01",
                           "--warmup", "0", *servers, *words, expect=expect)

    def rows(self, kind="measure"):
        return [r for r in results.load_rows(self.out) if r["kind"] == kind]

    def server_pids(self):
        with open(self.log, encoding="utf-8") as f:
            return [int(line.split()[0]) for line in f]


class Turns(Bench):
    """A closed loop: all servers of a block are up and take turns."""

    def turns(self, word):
        with open(self.log + ".turns", encoding="ascii") as f:
            return [line.split()[1] for line in f if line[0] == word]

    def test_each_round_goes_there_and_back(self):
        self.plan = {"servers": {"stage2": {"cpu": 8.0}}}
        self.keepalive("--turns", "0.002", blocks="2")
        names = self.turns("m")
        self.assertEqual(len(names), 2 * 5 * 6)     # blocks, rounds, turns
        for at in range(0, len(names), 6):
            self.assertEqual(names[at:at + 3], names[at + 3:at + 6][::-1])
            self.assertEqual(set(names[at:at + 3]), set(self.stages))
        self.assertGreater(len({tuple(names[at:at + 3])
                                for at in range(0, len(names), 6)}), 1)
        rows = self.rows()
        self.assertEqual(len(rows), 2 * 3)
        self.assertEqual({row["turns"] for row in rows}, {10})
        self.assertEqual({row["exit"] for row in rows}, {0})
        found = summary.find(results.load_summary(self.out)["comparisons"],
                             metric="cpu_us", server="stage2", base="stage1")
        self.assertEqual((found["ratio"], found["pairs"]), (1.6, 2))
        self.assertFalse([p for p in self.server_pids() if alive(p)])

    def test_a_generator_that_fails_does_not_spoil_the_others(self):
        """Its block is done again, and in the end goes without it."""
        for wrong, reason in (("crash", "cannot connect"),
                              ("errors", "2 status, 1 lost"),
                              ("gone", "ended before its end")):
            with self.subTest(wrong):
                self.plan = {"calls": {"2": wrong}}
                self.out = os.path.join(self.dir.name, wrong)
                self.log = os.path.join(self.dir.name, "log-" + wrong)
                self.keepalive("--turns", "0.002", blocks="1")
                bad = [row for row in self.rows() if not row["valid"]]
                self.assertEqual(len(bad), 1)
                self.assertIn(reason, "; ".join(bad[0]["why"]))
                self.assertEqual([row["valid"] for row in self.rows("block")],
                                 [False, True])
                self.assertEqual(
                    {entry["n"] for entry
                     in results.load_summary(self.out)["cells"]}, {1})
                self.assertFalse([p for p in self.server_pids() if alive(p)])

    def test_a_server_that_never_works_is_left_out(self):
        self.plan = {"calls": {"1": "gone", "2": "gone"}}
        self.keepalive("--turns", "0.002", "--redo", "0", blocks="1")
        self.assertEqual([row["valid"] for row in self.rows("block")], [True])
        self.assertEqual(sorted(entry["n"] for entry in
                                results.load_summary(self.out)["cells"]),
                         [0, 0, 1])

    def test_wrong_arguments_end_the_plan(self):
        self.plan = {"calls": {"1": "usage"}}
        done = self.keepalive("--turns", "0.002", expect=1)
        self.assertIn("no such switch", done.stderr)
        self.assertFalse([p for p in self.server_pids() if alive(p)])

    def test_an_open_loop_has_slices(self):
        done = self.run_py("latency", "--plan", "--turns", "0.04", "--servers",
                           "stage1")
        more = self.run_py("latency", "--plan", "--turns", "0", "--servers",
                           "stage1")
        self.assertEqual(done.stdout, more.stdout)

    def test_bad_lengths(self):
        for text in ("0.001", "-1", "nan", "11"):
            self.run_py("keepalive", "--turns", text, expect=64)


class Engine(Bench):
    def used(self):
        with open(self.log + ".loadgen", encoding="utf-8") as f:
            return {"--engine uring" in line for line in f}

    def test_auto_is_one_engine_for_the_whole_set(self):
        self.keepalive("--engine", "auto", blocks="1")
        self.assertEqual(results.load_manifest(self.out)["engine"], "uring")
        self.assertEqual(self.used(), {True})

    def test_auto_without_a_ring(self):
        self.plan = {"ring": False}
        self.keepalive("--engine", "auto", blocks="1")
        self.assertEqual(results.load_manifest(self.out)["engine"], "epoll")
        self.assertEqual(self.used(), {False})

    def test_a_ring_that_is_not_there(self):
        self.plan = {"ring": False}
        done = self.keepalive("--engine", "uring", blocks="1", expect=77)
        self.assertIn("forbidden here", done.stderr)
        self.assertFalse(os.path.exists(self.out))


class Whole(Bench):
    def test_a_block_goes_there_and_back_in_a_random_order(self):
        self.keepalive(blocks="4")
        rows = self.rows()
        orders = []
        for block in range(4):
            ours = [r for r in rows if r["block"] == block]
            names = [r["server"] for r in ours]
            self.assertEqual(sorted(names[:3]), sorted(self.stages))
            self.assertEqual(names[3:], names[2::-1])
            self.assertEqual([r["visit"] for r in ours], [0] * 3 + [1] * 3)
            orders.append(tuple(names))
        self.assertGreater(len(set(orders)), 1)
        self.assertEqual([(r["block"], r["valid"])
                          for r in self.rows("block")],
                         [(n, True) for n in range(4)])
        manifest, _, found = results.load(self.out)
        self.assertEqual(manifest["state"], "complete")
        self.assertEqual(manifest["seed"], 7)
        self.assertEqual((found["redone"], found["lost"]), (0, 0))
        self.assertTrue(os.path.exists(
            os.path.join(self.out, "summary.md")))
        latest = os.path.join(self.build, "results", "latest")
        self.assertTrue(os.path.samefile(latest, self.out))

    def test_pairs_cancel_what_the_machine_does(self):
        self.plan = {"drift": 0.5, "drift_every": 6, "servers": {
            "stage1": {"cpu": 10.0}, "stage2": {"cpu": 6.0},
            "stage3": {"cpu": 6.0}}}
        done = self.keepalive(blocks="7")
        found = results.load_summary(self.out)
        by = {(c["server"], c["base"]): c for c in found["comparisons"]
              if c["metric"] == "cpu_us"}
        self.assertEqual(by["stage2", "stage1"]["verdict"], "lower")
        self.assertAlmostEqual(by["stage2", "stage1"]["ratio"], 0.6)
        self.assertEqual(by["stage3", "stage2"]["verdict"],
                         "not distinguishable")
        self.assertIn("40 % less than 1 threads", done.stdout)
        with open(os.path.join(self.out, "summary.md"),
                  encoding="utf-8") as f:
            self.assertIn("not distinguishable", f.read())

    def test_figures_reach_the_row(self):
        self.plan = {"servers": {"stage2": {"qps": 200000.0, "cpu": 4.5}}}
        self.keepalive("--servers", "stage2", "--seconds", "0.1")
        row = self.rows()[0]
        self.assertEqual(row["metrics"]["cpu_us"], 4.5)
        self.assertEqual(row["metrics"]["qps"], 200000.0)
        self.assertEqual(row["metrics"]["p99_us"], 300.0)
        self.assertEqual(row["metrics"]["header_bytes"], 120.0)
        self.assertEqual(row["metrics"]["client_busy"], 0.5)
        self.assertEqual(row["counters"]["recvs"], 600)
        self.assertEqual(row["metrics"]["events_per_wait"], 4.0)
        # 20,000 samples are enough for p99.9, and 1,000 are not.
        self.assertEqual(row["metrics"]["p999_us"], 900.0)
        self.assertIsNone(slices.percentile(
            {"latency_us": {"count": 1000, "p99.9": 900.0}}, "p99.9", 0.999))

    def test_pinned_apart(self):
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            self.skipTest("one cpu only")
        self.keepalive("--servers", "stage2", blocks="1")
        machine_ = results.load_manifest(self.out)["machine"]
        self.assertFalse(set(machine_["server_cpus"])
                         & set(machine_["client_cpus"]))
        with open(self.log + ".loadgen", encoding="utf-8") as f:
            words = f.readline().split()
        self.assertEqual(words[words.index("--cpu") + 1],
                         ",".join(map(str, machine_["client_cpus"])))

    def test_variant_gets_its_arguments(self):
        self.keepalive("--servers", "stage2", "--add",
                       "two=stage2 --send 'a b'", blocks="1")
        with open(self.log, encoding="utf-8") as f:
            started = [line.strip() for line in f]
        self.assertTrue(any(line.endswith("--send a b") for line in started),
                        started)
        self.assertEqual({r["server"] for r in self.rows()},
                         {"stage2", "two"})

    def test_a_suite_may_bring_variants(self):
        import run
        own = suites.Suite("own", "", {"connections": [64]}, [],
                           variants={"two": ("stage2", ["--x", "{y}"])})
        part = run.Part(own, {})
        other = run.Part(suites.SUITES["short"], {})
        args = run.parse_arguments(["--build", self.build, "--servers",
                                    "stage1"])
        known = run.catalogue(run.ROOT, self.build)
        chosen = run.choose_servers(args, known, [part, other])
        self.assertEqual(list(chosen), ["stage1", "two"])
        self.assertEqual(chosen["two"].args, ["--x", "{y}"])
        whole = run.Run(args, [part, other], chosen, None, None, None)
        self.assertEqual(whole.fitting(part), ["stage1", "two"])
        self.assertEqual(whole.fitting(other), ["stage1"])

    def test_variants_are_servers_that_must_be_named(self):
        import run
        import slices
        root = os.path.join(self.build, "root")
        os.makedirs(os.path.join(root, "stages", "variants"))
        with open(os.path.join(root, "stages", "variants", "4-x-y.patch"),
                  "w", encoding="utf-8"):
            pass
        known = run.catalogue(root, self.build)
        variant = known["4-x-y"]
        self.assertEqual(slices.stage_number(variant), 4)
        self.assertEqual(slices.stage_number(known["stage2"]), 2)
        self.assertEqual(slices.stage_number(known["nginx"]), 0)
        with self.assertRaisesRegex(run.Skipped, "make variants"):
            variant.available()
        args = run.parse_arguments(["--build", self.build])
        self.assertNotIn("4-x-y", run.choose_servers(args, known))
        args = run.parse_arguments(["--build", self.build, "--servers",
                                    "4-x-y,stage2"])
        self.assertEqual(list(run.choose_servers(args, known)),
                         ["4-x-y", "stage2"])
        self.assertTrue(variant.binary.endswith("/variants/4-x-y"))

    def test_open_loop_uses_the_lowest_capacity(self):
        self.plan = {"servers": {"stage1": {"qps": 5000.0},
                                 "stage2": {"qps": 20000.0}}}
        self.run_py("--suite", "latency", "--servers", "stage1,stage2",
                    "--blocks", "1", "--seconds", "0.1", "--warmup", "0",
                    "--set", "load=0.3,0.5")
        for row in self.rows():
            want = {0.3: "1500", 0.5: "2500"}[row["cell"]["load"]]
            self.assertEqual(row["args"][row["args"].index("--rate") + 1],
                             want)
        self.assertEqual(len(self.rows("capacity")), 6)

    def test_open_loop_at_a_share_of_each_ones_own(self):
        self.plan = {"servers": {"stage1": {"qps": 5000.0},
                                 "stage2": {"qps": 20000.0}}}
        self.run_py("--suite", "load", "--servers", "stage1,stage2",
                    "--blocks", "1", "--seconds", "0.1", "--warmup", "0",
                    "--set", "load=0.5")
        rates = {row["server"]: row["args"][row["args"].index("--rate") + 1]
                 for row in self.rows()}
        self.assertEqual(rates, {"stage1": "2500", "stage2": "10000"})

    def test_system_calls_per_request(self):
        self.keepalive("--servers", "stage2", blocks="1", trace=True)
        row = self.rows("trace")[0]
        self.assertTrue(row["valid"], row)
        self.assertIn(row["metrics"]["method"],
                      ("perf", "bpftrace", "strace", "own counters"))
        self.assertGreater(sum(row["metrics"]["syscalls"].values()), 0)

    def test_a_quick_run_fits_its_time(self):
        import run
        for count in (2, 4, 6, 8):
            args = run.parse_arguments(["--suite", "quick"])
            parts, budget = run.make_parts("quick", args)
            run.find_capacities(parts)
            names = run.catalogue(run.ROOT, self.build)
            names = {n: names[n] for n in list(names)[:count]}
            run.fit_budget(parts, budget, names)
            total, _ = run.planned(parts, names)
            self.assertLess(total, 180, count)


class Bad(Bench):
    def test_bad_slices_are_redone_and_counted(self):
        self.plan = {"calls": {"1": "errors", "4": "steal", "7": "cut",
                               "9": "crash"}}
        done = self.keepalive()
        found = results.load_summary(self.out)
        why = " ".join(w for r in self.rows() for w in r["why"])
        self.assertEqual((found["redone"], found["lost"]), (4, 0), why)
        for word in ("2 status", "1 lost", "steal 150.0", "no whole report",
                     "cannot connect"):
            self.assertIn(word, why)
        self.assertEqual(sum(r["valid"] for r in self.rows()), 12)
        self.assertIn("4 redone", done.stdout)

    def test_the_limit_of_steal_is_five_percent(self):
        import run
        self.assertEqual(run.parse_arguments([]).max_steal, 5.0)

    def test_a_slice_that_stays_bad_is_given_up(self):
        self.plan = {"calls": {str(n): "errors" for n in range(1, 400)}}
        done = self.keepalive("--redo", "1", blocks="1", expect=1)
        rows = self.rows()
        self.assertEqual(len(rows), 12)
        self.assertFalse(any(r["valid"] for r in rows))
        self.assertEqual(results.load_summary(self.out)["lost"], 6)
        self.assertIn("no slice could be used", done.stderr)

    def test_overflow_is_not_used(self):
        self.modes = {"stage3": "overflow"}
        self.keepalive("--redo", "0", blocks="1")
        rows = {r["server"]: r for r in self.rows()}
        self.assertTrue(rows["stage2"]["valid"])
        self.assertFalse(rows["stage3"]["valid"])
        self.assertIn("overflowed", rows["stage3"]["why"][0])

    def test_a_server_without_io_uring_is_skipped(self):
        self.modes = {"stage3": "skip"}
        done = self.keepalive("--peers", "--servers",
                              "stage1,stage3,stage6", blocks="1")
        self.assertIn("stage3: stage3: io_uring_setup: Operation not "
                      "permitted", done.stderr)
        found = results.load_summary(self.out)
        self.assertIn("not permitted", found["skipped"]["stage3"])
        self.assertIn("not built", found["skipped"]["stage6"])
        self.assertIn("stage3 skipped", " ".join(done.stdout.split()))
        self.assertNotIn("stage3", {r["server"] for r in self.rows()})

    def test_missing_peers_are_skipped(self):
        env = {**os.environ, "PATH": ""}
        code = ("import sys; sys.path.insert(0, sys.argv[1]);"
                "import peers; peers.SYSTEM_PATH = '';"
                "found = peers.peers(*sys.argv[2:4])\n"
                "for peer in found.values():\n"
                "  try: peer.available(); print('there')\n"
                "  except peers.Skipped as e: print(e)")
        done = subprocess.run(
            [sys.executable, "-c", code, BENCH, os.path.dirname(BENCH),
             self.build], env=env, capture_output=True, text=True,
            check=True)
        self.assertEqual(done.stdout.splitlines(),
                         ["nginx is not installed", "h2o is not installed",
                          "haproxy is not installed",
                          "lighttpd is not installed", "go is not installed",
                          "go is not installed",
                          "no C compiler is installed"])

    def test_nothing_can_run(self):
        self.modes = {name: "skip" for name in self.stages}
        done = self.keepalive(blocks="1", expect=77)
        self.assertIn("no server can run", done.stderr)
        self.assertFalse(os.path.exists(self.out))

    def test_a_server_that_dies_at_start(self):
        self.modes = {"stage2": "die"}
        done = self.keepalive(blocks="1", expect=1)
        self.assertIn("ended with status 3: stage2: no such thing",
                      done.stderr)
        self.assertIn("failed to start: stage2", done.stderr)
        # The others were measured all the same.
        self.assertEqual({r["server"] for r in self.rows() if r["valid"]},
                         {"stage1", "stage3"})

    def test_overflow_of_an_echo_server(self):
        """It has no /metrics: the line at its end tells."""
        self.modes = {"stage3": "overflow"}
        self.keepalive("--redo", "0", "--app", "echo", blocks="1")
        rows = {r["server"]: r for r in self.rows()}
        self.assertTrue(rows["stage2"]["valid"], rows["stage2"]["why"])
        self.assertEqual(rows["stage3"]["why"], ["7 completions overflowed"])

    def test_a_crash_at_the_end_is_not_used(self):
        self.modes = {"stage2": "crash"}
        self.keepalive("--redo", "0", blocks="1")
        rows = {r["server"]: r for r in self.rows()}
        self.assertTrue(rows["stage1"]["valid"], rows["stage1"]["why"])
        self.assertEqual(rows["stage2"]["why"],
                         ["server ended with status -11 when asked to end"])

    def test_ends(self):
        for kind, status, word in (("stage", 0, None), ("peer", -15, None),
                                   ("stage", -15, "status -15"),
                                   ("peer", -9, "did not end"),
                                   ("peer", 1, "status 1")):
            found = slices.bad_end(kind, status)
            self.assertEqual(found and word in found, word and True)

    def test_whatever_the_parent_left(self):
        """No standard descriptors, and SIGCHLD ignored: the end of a child
        would then read as status 0."""
        def odd():
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK,
                                   signal.valid_signals())
            os.closerange(0, 3)
        self.modes = {"stage2": "die"}
        argv, env = self.command(
            "--suite", "keepalive", "--connections", "64", "--blocks", "1",
            "--seconds", "0.01", "--warmup", "0", "--no-trace",
            "--servers", ",".join(self.stages))
        done = subprocess.run(argv, env=env, preexec_fn=odd, timeout=120,
                              check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual({r["server"] for r in self.rows() if r["valid"]},
                         {"stage1", "stage3"})

    def test_a_stubborn_server_is_killed(self):
        old = servers.STOP_S
        self.modes = {"stage2": "stubborn"}
        _, env = self.command()
        os.environ.update(env)
        stage = servers.Stage("stage2", os.path.join(self.build, "stage2"))
        run = stage.start(sorted(os.sched_getaffinity(0)))
        servers.stop_process(run.proc, patience=0.2)
        run.stop()
        self.assertFalse(alive(run.pids[0]))
        self.assertEqual(servers.STOP_S, old)

    def test_wrong_generator_stops_the_run(self):
        for wrong, word in (("version", "ioladder-loadgen/9"),
                            ("usage", "no such switch")):
            with self.subTest(wrong):
                self.plan = {"calls": {"2": wrong}}
                self.out = os.path.join(self.dir.name, wrong)
                self.log = os.path.join(self.dir.name, "log" + wrong)
                done = self.keepalive(expect=1)
                self.assertIn(word, done.stderr)
                manifest = results.load_manifest(self.out)
                self.assertEqual(manifest["state"], "failed")

    def test_wrong_usage(self):
        for words in (["--suite", "nonsense"], ["--blocks", "0"],
                      ["--blocks", "x"], ["--seconds", "-1"],
                      ["--servers", "stage9"], ["--set", "colour=3"],
                      ["--set", "connections"], ["--add", "nonsense"],
                      ["--redo", "-1"]):
            with self.subTest(words):
                done = self.run_py(*words, expect=64)
                self.assertIn("run.py: ", done.stderr)
                self.assertNotIn("Traceback", done.stderr)

    def test_missing_generator(self):
        done = self.run_py("--loadgen", "/nonexistent/loadgen", expect=64)
        self.assertIn("not built", done.stderr)

    def test_a_result_set_is_not_overwritten(self):
        self.keepalive(blocks="1")
        before = os.path.getsize(os.path.join(self.out, "rows.jsonl"))
        done = self.keepalive(blocks="1", expect=64)
        self.assertIn("holds a result set already", done.stderr)
        self.assertEqual(os.path.getsize(
            os.path.join(self.out, "rows.jsonl")), before)


class Interrupt(Bench):
    def interrupt(self, number, wanted=3):
        """Sends a signal after some rows; returns (status, stderr)."""
        self.plan = {"sleep": 0.15}
        argv, env = self.command(
            "--suite", "keepalive", "--connections", "64", "--blocks", "50",
            "--seconds", "0.01", "--warmup", "0", "--no-trace", "--servers",
            ",".join(self.stages))
        with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as proc:
            path = os.path.join(self.out, "rows.jsonl")
            end = time.monotonic() + 60
            while count_lines(path) < wanted and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(0.1)   # into the middle of a slice
            proc.send_signal(number)
            _, stderr = proc.communicate(timeout=60)
            return proc.returncode, stderr

    def test_ctrl_c_keeps_rows_and_leaves_no_server(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number):
                self.out = os.path.join(self.dir.name, f"out{number}")
                status, stderr = self.interrupt(number)
                self.assertEqual(status, 130, stderr)
                self.assertIn("rows so far are kept", stderr)
                manifest, rows, found = results.load(self.out)
                self.assertEqual(manifest["state"], "interrupted")
                self.assertGreaterEqual(len(rows), 3)
                self.assertEqual(found["rows"], len(rows))
                self.assertEqual([p for p in self.server_pids() if alive(p)],
                                 [])

    def test_even_a_killed_runner_leaves_no_server(self):
        status, _ = self.interrupt(signal.SIGKILL)
        self.assertEqual(status, -signal.SIGKILL)
        end = time.monotonic() + 20
        while any(map(alive, self.server_pids())) and time.monotonic() < end:
            time.sleep(0.02)
        self.assertEqual([p for p in self.server_pids() if alive(p)], [])
        # The rows are whole, and a summary can be made of them.
        done = self.run_py("--summarise", self.out)
        self.assertIn("Interrupted after", done.stdout)
        self.assertEqual(results.load(self.out)[0]["state"], "interrupted")


class Damaged(Bench):
    """Every way a result file can be broken has its message."""

    def setUp(self):
        super().setUp()
        self.keepalive("--servers", "stage1,stage2", blocks="2")

    def damage(self, name, change):
        path = os.path.join(self.out, name)
        with open(path, encoding="utf-8") as f:
            text = f.read()
        with open(path, "w", encoding="utf-8") as f:
            f.write(change(text))

    def refused(self, word):
        with self.assertRaises(results.ResultError) as caught:
            results.load(self.out)
        self.assertIn(word, str(caught.exception))

    def test_undamaged(self):
        self.assertEqual(len(results.load(self.out)[1]), 10)

    def test_empty(self):
        for name in ("rows.jsonl", "manifest.json", "summary.json"):
            with self.subTest(name):
                path = os.path.join(self.out, name)
                with open(path, encoding="utf-8") as f:
                    text = f.read()
                self.damage(name, lambda t: "")
                self.refused(f"{name}: the file is empty")
                self.damage(name, lambda t, text=text: text)

    def test_missing(self):
        os.unlink(os.path.join(self.out, "summary.json"))
        self.refused("no such file")

    def test_truncated_anywhere(self):
        path = os.path.join(self.out, "rows.jsonl")
        with open(path, encoding="utf-8") as f:
            text = f.read()
        rng = random.Random(1)
        for at in [1, len(text) - 1] + rng.sample(range(len(text)), 30):
            self.damage("rows.jsonl", lambda t, at=at: text[:at])
            self.refused("truncated")

    def test_truncated_at_a_line(self):
        self.damage("rows.jsonl",
                    lambda t: "".join(t.splitlines(True)[:-1]))
        self.refused("truncated")

    def test_other_version(self):
        for name, schema in (("rows.jsonl", "row"),
                             ("manifest.json", "results"),
                             ("summary.json", "summary")):
            with self.subTest(name):
                old, new = (f"ioladder-{schema}/{n}" for n in "12")
                self.damage(name, lambda t: t.replace(old, new))
                self.refused(f"version '{new}'")
                self.damage(name, lambda t: t.replace(new, old))

    def test_field_missing(self):
        self.damage("rows.jsonl", lambda t: t.replace('"block"', '"blick"'))
        self.refused("no field 'block'")

    def test_run_py_says_so_too(self):
        self.damage("rows.jsonl", lambda t: t[:-20])
        done = self.run_py("--summarise", self.out, expect=1)
        self.assertIn("truncated", done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        done = self.run_py("--summarise", self.dir.name + "/none", expect=1)
        self.assertIn("no such file", done.stderr)


class Maths(unittest.TestCase):
    def test_median(self):
        self.assertEqual(stats_math.median([3, 1, 2]), 2)
        self.assertEqual(stats_math.median([4, 1, 2, 3]), 2.5)
        self.assertRaises(ValueError, stats_math.median, [])

    def test_quantile(self):
        self.assertEqual(stats_math.quantile([0, 10], 0.25), 2.5)
        self.assertEqual(stats_math.quantile([5], 0.9), 5)

    def test_five_values_have_no_interval(self):
        """The lowest and the highest of five hold the median in 1 - 2/32 of
        cases, which is less than 95 %; of six in 1 - 2/64."""
        self.assertEqual(stats_math.median_interval([5, 1, 4, 2, 3]),
                         (3, None, None))
        self.assertEqual(stats_math.median_interval([5, 1, 4, 2, 3, 9]),
                         (3.5, 1, 9))
        self.assertAlmostEqual(stats_math.coverage(5, 1), 0.9375)
        self.assertAlmostEqual(stats_math.coverage(6, 1), 0.96875)

    def test_coverage_by_counting(self):
        """Of n values each lies above the median or below it: all 2^n ways,
        and in how many of them the interval holds it."""
        for n in range(1, 15):
            k = stats_math.order(n)
            held = 0
            for way in range(2 ** n):
                above = bin(way).count("1")
                held += k > 0 and k <= above <= n - k
            if k:
                self.assertEqual(held / 2 ** n, stats_math.coverage(n, k))
                self.assertGreaterEqual(held / 2 ** n, 0.95)
            # The next narrower one would not do.
            if 2 * (k + 1) <= n:
                self.assertLess(stats_math.coverage(n, k + 1), 0.95)

    def test_order_statistics_as_tables_have_them(self):
        # n: k, from the usual tables for a 95 % interval of a median.
        for n, k in ((6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (15, 4),
                     (17, 5), (20, 6), (25, 8), (31, 10), (50, 18)):
            self.assertEqual(stats_math.order(n), k, n)

    def test_the_sign_test_agrees_with_the_interval(self):
        rng = random.Random(3)
        for _ in range(2000):
            n = rng.randrange(6, 32)
            ratios = [rng.choice((0.9, 0.95, 1.0, 1.05, 1.1)) for _ in
                      range(n)]
            _, low, high = stats_math.median_interval(ratios)
            self.assertEqual(stats_math.sign_test(ratios) <= 0.05,
                             high < 1 or low > 1, ratios)

    def test_holm(self):
        self.assertEqual(stats_math.holm([0.01, 0.04, 0.03, 0.005]),
                         [True, False, False, True])
        self.assertEqual(stats_math.holm([0.02, 0.02]), [True, True])
        self.assertEqual(stats_math.holm([0.03, 0.03]), [False, False])
        self.assertEqual(stats_math.holm([]), [])

    def test_blocks_that_could_decide(self):
        for tests, blocks in ((1, 6), (5, 8), (8, 9), (13, 10)):
            self.assertEqual(stats_math.least_blocks(tests), blocks)
            self.assertLessEqual(2 / 2 ** blocks, 0.05 / tests)
            self.assertGreater(4 / 2 ** blocks, 0.05 / tests)

    def test_verdicts(self):
        ones = {b: 1.0 for b in range(7)}

        def compared(ratios):
            return stats_math.compare(dict(enumerate(ratios)), ones)

        def verdict(ratios):
            return compared(ratios)["verdict"]
        self.assertEqual(verdict([.9, .92, .91, .9, .93, .9, .9]), "lower")
        self.assertEqual(verdict([1.1, 1.2, 1.3, 1.1, 1.2, 1.1, 1.1]),
                         "higher")
        self.assertEqual(verdict([.9, 1.1, .98, .95, 1.05, .9, 1.2]),
                         "not distinguishable")
        found = compared([.5, .6, .7, .8, .9])
        self.assertEqual(summary.ratio_text(found),
                         "0.70 (0.50 to 0.90 covers 93.8 %), too few pairs")
        # Seven of seven is p = 1/64: enough alone, not among six.
        found = [compared([.9] * 7) for _ in range(6)]
        stats_math.correct(found)
        self.assertEqual({c["verdict"] for c in found},
                         {"not after correction"})

    def test_a_slight_difference_needs_many_blocks(self):
        for ratio, pairs, verdict in (
                (0.94, 9, "lower"), (0.97, 9, "under 5 %: needs 31 blocks"),
                (1.03, 30, "under 5 %: needs 31 blocks"),
                (1.03, 31, "higher"), (1.0, 31, "not distinguishable")):
            found = [stats_math.compare({n: ratio for n in range(pairs)},
                                        {n: 1.0 for n in range(pairs)})]
            stats_math.correct(found)
            self.assertEqual(found[0]["verdict"], verdict, (ratio, pairs))

    def test_pairs_need_both(self):
        self.assertEqual(stats_math.paired_ratios(
            {1: 2.0, 2: 4.0, 3: None}, {2: 2.0, 3: 1.0, 4: 1.0}), [2.0])
        self.assertIsNone(stats_math.compare({1: 1.0}, {2: 1.0}))

    def test_line(self):
        slope, at = stats_math.line_fit([(0, 5), (10, 25), (20, 45)])
        self.assertAlmostEqual(slope, 2)
        self.assertAlmostEqual(at, 5)
        self.assertIsNone(stats_math.line_fit([(3, 1), (3, 2)]))
        self.assertIsNone(stats_math.line_fit([(3, 1)]))


class Small(unittest.TestCase):
    def test_numbers(self):
        for value, text in ((118302, "118,000"), (5.9138, "5.91"),
                            (59.138, "59.1"), (0.148, "0.148"), (0, "0"),
                            (None, "-"), (99.96, "100.0"), (591.3, "591")):
            self.assertEqual(summary.number(value), text)

    def test_cpu_lists(self):
        self.assertEqual(machine.cpu_list("0-2,5"), [0, 1, 2, 5])

    def test_cpus_apart(self):
        def topo(*siblings):
            return [{"cpu": i, "siblings": s}
                    for i, s in enumerate(siblings)]
        self.assertEqual(machine.choose_cpus(topo("0", "1")), ([0], [1]))
        # Two threads a core: the client gets another core.
        self.assertEqual(machine.choose_cpus(
            topo("0-1", "0-1", "2-3", "2-3")), ([0], [2]))
        self.assertEqual(machine.choose_cpus(topo("0-1", "0-1")),
                         ([0], [1]))
        self.assertEqual(machine.choose_cpus(topo("0")), ([0], [0]))
        self.assertEqual(machine.choose_cpus(
            topo(*map(str, range(8))), 2), ([0, 1], [2, 3, 4, 5]))

    def test_cpu_clock_of_a_process(self):
        before = machine.process_cpu(os.getpid())
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
        self.assertGreater(machine.process_cpu(os.getpid()) - before, 0.04)
        self.assertIsNone(machine.process_cpu(2 ** 22 - 1))

    def test_cpu_quota(self):
        with tempfile.TemporaryDirectory() as top:
            def put(name, text):
                path = os.path.join(top, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="ascii") as f:
                    f.write(text)
            proc = os.path.join(top, "proc")
            self.assertEqual(machine.cpu_quota(proc, 7),
                             {"cpus": None, "throttled": 0})
            put("proc/self/mountinfo",
                "20 1 0:5 / /proc rw - proc proc rw\n"
                f"30 1 0:9 / {top}/v1 rw - cgroup cgroup rw,cpu,cpuacct\n"
                f"31 1 0:9 /box {top}/v2 rw - cgroup2 cgroup2 rw\n")
            put("proc/7/cgroup", "0::/box/in\n")
            put("v2/cpu.max", "150000 100000\n")
            put("v2/cpu.stat", "nr_throttled 5\n")
            put("v2/in/cpu.max", "max 100000\n")
            put("v2/in/cpu.stat", "nr_throttled 2\n")
            self.assertEqual(machine.cpu_quota(proc, 7),
                             {"cpus": 1.5, "throttled": 7})
            put("proc/7/cgroup", "4:cpuset:/\n3:cpu,cpuacct:/half\n")
            put("v1/half/cpu.cfs_quota_us", "50000\n")
            put("v1/half/cpu.cfs_period_us", "100000\n")
            put("v1/cpu.cfs_quota_us", "-1\n")
            put("v1/cpu.cfs_period_us", "100000\n")
            self.assertEqual(machine.cpu_quota(proc, 7),
                             {"cpus": 0.5, "throttled": 0})

    def test_a_throttled_slice_is_named(self):
        report = {"quota": {"client": {"cpus": 0.5, "throttled": 9,
                                       "throttled_s": 0.4},
                            "server": {"cpus": 0, "throttled": 0,
                                       "throttled_s": 0.0}}}
        self.assertEqual(slices.notes_of(report),
                         ["client throttled by a cpu quota"])
        outcome = slices.Outcome()
        outcome.report, outcome.end = report, 1.0
        found = slices.figures(outcome, 1, None, 2)
        self.assertEqual((found["client_quota_cpus"],
                          found["client_throttled"],
                          found["server_quota_cpus"],
                          found["server_throttled"]), (0.5, 9, None, 0))

    def test_shares_add_up_to_the_whole(self):
        """100,000 requests a second for 2 s on two cpus: 3 s busy of 4."""
        hz = os.sysconf("SC_CLK_TCK")
        first = slices.Sample(10.0, 0, 0, 0, 0, 5.0, 100, 200)
        last = slices.Sample(12.0, 3 * hz, 0, 4 * hz, hz // 10, 6.6,
                             100 + 40, 200 + 120)
        client = {"user_s": 0.4, "sys_s": 0.6, "spin_s": 0.3}
        server = {"per_request_us": 8.0, "total_s": 1.6}
        found = slices.shares((first, last), 1e5, client, server, 2.0, 2)
        self.assertAlmostEqual(found["system_cpu_us"], 15.0)
        self.assertAlmostEqual(found["server_user_us"], 2.0)
        self.assertAlmostEqual(found["server_sys_us"], 6.0)
        self.assertAlmostEqual(found["client_spin_us"], 1.5)
        self.assertAlmostEqual(found["spent_us"], 13.5)
        self.assertAlmostEqual(found["softirq_us"], 0.5)
        self.assertAlmostEqual(found["rest_us"], 2.0)    # 15 - 8 - 5
        # The clocks differ by some jiffies: what remains is never negative.
        server["per_request_us"] = 11.0
        found = slices.shares((first, last), 1e5, client, server, 2.0, 2)
        self.assertEqual(found["rest_us"], 0.0)

    def test_user_and_system_of_a_process(self):
        self.assertIsNone(machine.user_and_system(2 ** 22 - 1))
        self.assertEqual(len(machine.user_and_system(os.getpid())), 2)

    def test_perf_output(self):
        tool = syscalls.Perf.__new__(syscalls.Perf)
        text = ("# started\n\n300,,raw_syscalls:sys_enter,9,100.00,,\n"
                "200,,syscalls:sys_enter_recvfrom,9,100.00,,\n"
                "90,,syscalls:sys_enter_sendto,9,100.00,,\n"
                "0,,syscalls:sys_enter_read,9,100.00,,\n"
                "<not counted>,,syscalls:sys_enter_poll,0,100.00,,\n")
        self.assertEqual(tool.parse(text), {"recvfrom": 200, "sendto": 90,
                                            "other": 10})
        self.assertIsNone(tool.parse(""))

    def test_strace_output(self):
        tool = syscalls.Strace.__new__(syscalls.Strace)
        text = ("% time     seconds  usecs/call     calls    errors syscall\n"
                "------ ----------- ----------- --------- --------- ------\n"
                " 60.00    0.021978          26       841         2 recvfrom\n"
                " 40.00    0.021978          26       800           sendto\n"
                "100.00    0.021978          26      1641         2 total\n")
        self.assertEqual(tool.parse(text), {"recvfrom": 841, "sendto": 800})

    def test_a_window_ends_before_the_generator_does(self):
        """It takes a second to close an idle crowd, and that is no load."""
        outcome = slices.Outcome()
        outcome.samples = [types.SimpleNamespace(time=n / 10)
                           for n in range(100, 130)]
        outcome.end = 12.95
        for report, seconds, times in (
                ({"ended_s": 11.95}, 1.0, (11.0, 11.9)),
                ({"ended_s": 11.95}, 0.15, (11.8, 11.9)),
                ({"ended_s": 11.95}, 0.08, (11.8, 11.9)),
                ({}, 1.0, (12.0, 12.9))):
            outcome.report = report
            self.assertEqual(tuple(s.time for s in outcome.between(seconds)),
                             times)

    def test_a_generator_that_had_to_be_killed(self):
        import slices
        outcome = slices.Outcome()
        outcome.samples = [object(), object()]
        outcome.error = "generator did not end in time"
        self.assertIsNone(outcome.between(1.0))
        self.assertEqual(slices.complaints(outcome, None, None, 1.0),
                         [outcome.error])
        self.assertEqual(slices.crowd_of(["--idle", "500"]), 500)
        self.assertEqual(slices.crowd_of(["--rate", "20"]), 0)

    def test_own_counters(self):
        def own(binary, **moved):
            class Server:
                pass
            Server.binary = binary
            return slices.own_counters(Server, moved)
        moved = {"recvs": 10, "sends": 10, "waits": 3, "closed": 0}
        self.assertEqual(own("build/stage4", **moved), {"enter": 3})
        self.assertEqual(own("build/asan/stage2", **moved),
                         {"recv": 10, "send": 10, "wait": 3})
        # Of 20 receives and sends 12 went with the 2 batches.
        self.assertEqual(own("build/stage6", **moved, enters=2,
                             completions=12),
                         {"wait": 3, "enter": 2, "recv or send": 8})

    def test_totals_of_a_life(self):
        self.assertEqual(servers.totals_of(
            ["stage3: Linux", "stage3: done: waits 2 cq_overflow 9"]),
            {"waits": 2, "cq_overflow": 9})
        self.assertEqual(servers.totals_of(["stage3: done: "]), {})
        self.assertEqual(servers.totals_of([]), {})

    def test_suites_fill_in(self):
        for suite in suites.SUITES.values():
            self.assertGreaterEqual(suite.blocks, 5)
            for cell in suite.cells():
                values = {**cell, "rate": 1, "processes": 1, "sources": 1,
                          "file": "f", "root": "r"}
                for word in suite.loadgen + suite.server + suite.probe:
                    word.format(**values)
        for run in suites.RUNS.values():
            for name, cells, _ in run["parts"]:
                self.assertLessEqual(set(cells),
                                     set(suites.SUITES[name].params))


if __name__ == "__main__":
    unittest.main()
