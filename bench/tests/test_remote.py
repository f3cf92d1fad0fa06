"""Server and generators on other machines: what is merged, what a host that
is wrong does to a run, and the whole of it between network namespaces."""

import contextlib
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.dirname(HERE)
ROOT = os.path.dirname(BENCH)
BUILD = os.path.join(ROOT, "build")
sys.path.insert(0, BENCH)

import merge            # noqa: E402
import remote           # noqa: E402
import results          # noqa: E402
import servers          # noqa: E402
import slices           # noqa: E402

LIMIT_S = 120
# What a busy machine does must not decide a test.
LENIENT = ["--max-steal", "100", "--max-foreign", "1e9", "--max-drift",
           "1000", "--max-edge", "10000"]


def processes(word):
    """Command lines of this machine that have the word."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                text = f.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in text:
            found.append(text)
    return found


class Scratch(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ioladder-remote-")
        self.addCleanup(folder.cleanup)
        self.dir = folder.name
        self.out = os.path.join(self.dir, "out")
        self.far = os.path.join(self.dir, "far")
        os.mkdir(self.far)

    def build_folder(self):
        """The build without the probes, which take seconds."""
        path = os.path.join(self.dir, "build")
        os.makedirs(os.path.join(path, "micro"), exist_ok=True)
        for name in ("loadgen", "stage2", "stage3", "micro/calibrate"):
            link = os.path.join(path, name)
            if not os.path.lexists(link):
                os.symlink(os.path.join(BUILD, name), link)
        return path

    def command(self, *words):
        return [sys.executable, os.path.join(BENCH, "run.py"), *words,
                "--build", self.build_folder(), "--out", self.out, "--seed",
                "5", *LENIENT]

    def run_py(self, *words, expect=0):
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True,
            timeout=LIMIT_S, check=False,
            env={**os.environ, "FAKE_SSH_DIR": self.far})
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done

    def keepalive(self, clients, *words, server="server", expect=0):
        return self.run_py(
            "keepalive", "--connections", "8", "--servers", "stage2",
            "--blocks", "1", "--seconds", "0.1", "--warmup", "0.1", *words,
            "--server-host", server, "--client-hosts", clients, "--ssh",
            shlex.join([sys.executable, os.path.join(HERE, "fake_ssh.py")]),
            expect=expect)

    def measured(self):
        return [r for r in results.load_rows(self.out)
                if r["kind"] == "measure"]

    def nothing_left(self):
        until = time.monotonic() + 30
        while time.monotonic() < until:    # the far ends look every 0.2 s
            left = [n for n in os.listdir(self.far) if n.startswith("iol")]
            left += processes(self.far)
            if not left:
                return
            time.sleep(0.1)
        self.fail(f"left behind: {left}")


class Merging(Scratch):
    """One run of the generator, its histograms taken apart and put together
    again: every figure is the one that the generator itself reported."""

    @classmethod
    def setUpClass(cls):
        run = servers.Stage("stage2", os.path.join(BUILD, "stage2")).start(
            os.sched_getaffinity(0))
        try:
            done = subprocess.run(
                [os.path.join(BUILD, "loadgen"), "--port", str(run.port),
                 "--rate", "5000", "--service", "bimodal:0.05:1:300",
                 "--duration", "0.4", "--warmup", "0.1", "--quiet", "--json",
                 "-", "--cells"], capture_output=True, text=True,
                timeout=LIMIT_S, check=True)
        finally:
            run.stop()
        cls.report = json.loads(done.stdout)

    def apart(self, name, count):
        """The samples of a histogram, each given to one of `count`."""
        rng, found = random.Random(3), [merge.Hist() for _ in range(count)]
        whole = self.report["histograms"][name]
        for cell, n in zip(whole["cells"][::2], whole["cells"][1::2]):
            for _ in range(n):
                part = rng.choice(found)
                part.cells[cell] = part.cells.get(cell, 0) + 1
                part.count += 1
        found[0].min, found[0].max = whole["min"], whole["max"]
        found[0].sum = whole["sum"] if whole["count"] else 0
        return found

    def test_merged_histograms_are_those_of_one_run(self):
        figures = {"latency": self.report["latency_us"],
                   "uncorrected": self.report["uncorrected_latency_us"],
                   "lateness": self.report["lateness_us"],
                   **{c["name"]: c["latency_us"]
                      for c in self.report["classes"]}}
        self.assertEqual(len(figures), 5)
        for name, wanted in figures.items():
            with self.subTest(name):
                self.assertGreater(wanted["count"], 50)
                whole = merge.Hist()
                for part in self.apart(name, 3):
                    if part.min is None:
                        part.min, part.max = whole.min, whole.max
                    whole.add(part)
                self.assertEqual(whole.figures(), wanted)

    def test_two_reports_are_one_with_twice_the_requests(self):
        server = {"total_s": 0.1, "cpus": 1, "status": {}, "quota": {}}
        twice = merge.merge([self.report, self.report], server)
        one = self.report
        for name in ("requests", "qps", "arrivals", "intended_rate",
                     "bytes_in", "connections"):
            self.assertAlmostEqual(twice[name], 2 * one[name], 2, name)
        for name in ("p50", "p99", "p99.9", "min", "max"):
            self.assertEqual(twice["latency_us"][name],
                             one["latency_us"][name], name)
        self.assertEqual(twice["latency_us"]["count"],
                         2 * one["latency_us"]["count"])
        self.assertAlmostEqual(twice["client_cpu"]["sys_s"],
                               2 * one["client_cpu"]["sys_s"])
        self.assertAlmostEqual(twice["client_cpu"]["busy"],
                               one["client_cpu"]["busy"])
        self.assertAlmostEqual(twice["server_cpu"]["per_request_us"],
                               0.1e6 / (2 * one["requests"]))

    def test_what_does_not_belong_together(self):
        server = {"total_s": 0.1, "cpus": 1, "status": {}, "quota": {}}
        for change in ({"schema": "ioladder-loadgen/9"}, {"path": "/x"},
                       {"histograms": None},
                       {"histograms": {"latency": {"cells": [1, 2],
                                                   "count": 3, "sum": 0,
                                                   "min": 0, "max": 0}}}):
            with self.assertRaises(merge.Mismatch):
                merge.merge([self.report, {**self.report, **change}], server)

    def test_who_was_the_limit(self):
        def said(*words, busy=0.5):
            return merge.limited_by([{"limited_by": w, "requests": 10}
                                     for w in words], busy)
        self.assertEqual(said("none", "generator"), "generator")
        self.assertEqual(said("quota", "generator"), "quota")
        self.assertEqual(said("none", "none"), "none")
        self.assertEqual(said("none", "none", busy=0.95), "server")


class Sharing(unittest.TestCase):
    def test_the_load_is_divided(self):
        args = ["--connections", "7", "--rate", "1000", "--idle", "5",
                "--sources", "8", "--path", "/x"]
        found = remote.split(args, 3, 40)
        self.assertEqual([remote.switch(a, "--connections") for a in found],
                         ["3", "2", "2"])
        self.assertEqual([remote.switch(a, "--idle") for a in found],
                         ["2", "2", "1"])
        self.assertAlmostEqual(sum(float(remote.switch(a, "--rate"))
                                   for a in found), 1000, 3)
        self.assertEqual(len({remote.switch(a, "--seed") for a in found}), 3)
        for words in found:
            self.assertNotIn("--sources", words)
            self.assertEqual(remote.switch(words, "--path"), "/x")

    def test_fewer_connections_than_hosts(self):
        self.assertEqual(len(remote.split(["--connections", "2"], 3, 1)), 2)
        self.assertEqual(len(remote.split(["--connections", "0", "--idle",
                                           "9"], 3, 1)), 1)


class Whole(Scratch):
    """All hosts are this machine, and ssh is a script."""

    def test_two_clients_and_a_server(self):
        self.keepalive("a,greets.b")
        manifest = results.load_manifest(self.out)
        self.assertEqual(manifest["state"], "complete")
        self.assertEqual(manifest["hosts"]["machines"], 1)
        self.assertEqual(len(manifest["hosts"]["clients"]), 2)
        for row in self.measured():
            self.assertTrue(row["valid"], row["why"])
            both = row["clients"]
            self.assertEqual([c["connections"] for c in both], [4, 4])
            self.assertEqual(sum(c["requests"] for c in both),
                             row["report"]["requests"])
            self.assertEqual(row["report"]["latency_us"]["count"],
                             row["report"]["requests"])
            self.assertGreaterEqual(row["counters"]["requests"],
                                    row["report"]["requests"])
            self.assertGreater(row["edge_ms"], 0)
            for name in ("cpu_us", "own_calls", "system_cpu_us", "rss_kib"):
                self.assertGreater(row["metrics"][name], 0, name)
        for name in ("manifest.json", "rows.jsonl", "summary.json"):
            with open(os.path.join(self.out, name), encoding="utf-8") as f:
                text = f.read()
            for secret in ("greets", self.dir, "histograms"):
                self.assertNotIn(secret, text)
        self.nothing_left()

    def test_a_client_dies_and_the_rows_before_stay(self):
        done = self.keepalive("a,dies.b", expect=1)
        self.assertIn("client 2 (dies.b): the connection ended", done.stderr)
        self.assertIn("closed by remote host", done.stderr)
        self.assertEqual(len(self.measured()), 1)
        self.assertTrue(self.measured()[0]["valid"])
        self.assertEqual(results.load_manifest(self.out)["state"], "failed")
        results.load(self.out)      # whole enough to be read
        self.nothing_left()

    def test_hosts_that_cannot_be_used(self):
        for host, more, text in (
                ("refuses", [], "Connection refused"),
                ("bare", [], "python3 is missing"),
                ("other", [], "its architecture is i686"),
                ("builds-not", ["--remote-build"], "liburing.h: No such")):
            with self.subTest(host):
                if host == "other" and not shutil.which("setarch"):
                    continue
                # The server's host is the first to be asked.
                done = self.keepalive("a", *more, server=f"{host}.x",
                                      expect=1)
                self.assertIn(f"server ({host}.x)", done.stderr)
                self.assertIn(text, done.stderr)
                self.assertFalse(os.path.exists(self.out))
                self.nothing_left()

    def test_words_that_do_not_fit(self):
        for words, text in (
                (["keepalive", "--server-host", "h"], "go together"),
                (["keepalive", "--client-hosts", "h"], "go together"),
                (["files", "--server-host", "h", "--client-hosts", "a"],
                 "files lie on"),
                (["keepalive", "--server-host", "-oProxyCommand=x",
                  "--client-hosts", "a"], "not the name of a host"),
                (["all", "--server-host", "h", "--client-hosts", "a"],
                 "for one machine"),
                (["keepalive", "--server-host", "h", "--client-hosts", "a,b",
                  "--loadgen-arg=--pattern", "--loadgen-arg=hot:0.5"],
                 "one client host")):
            with self.subTest(words):
                # --server-host=-o... is what argparse would let through.
                words = " ".join(words).replace(
                    "--server-host ", "--server-host=").split()
                done = self.run_py(*words, expect=64)
                self.assertIn(text, done.stderr)


class Hanging(Scratch):
    """Hosts that do not answer: with limits of a second, in this process."""

    def setUp(self):
        super().setUp()
        before = os.environ.get("FAKE_SSH_DIR")
        os.environ["FAKE_SSH_DIR"] = self.far
        self.addCleanup(lambda: os.environ.pop("FAKE_SSH_DIR")
                        if before is None else
                        os.environ.__setitem__("FAKE_SSH_DIR", before))

    def host(self, name):
        host = remote.Host("client 1", name, shlex.join(
            [sys.executable, os.path.join(HERE, "fake_ssh.py")]))
        limit, remote.CLOSE_S = remote.CLOSE_S, 0.5
        self.addCleanup(setattr, remote, "CLOSE_S", limit)
        self.addCleanup(host.close)
        return host

    def archive(self):
        return remote.Fleet.pack([
            (os.path.join(BENCH, f"{name}.py"), f"bench/{name}.py")
            for name in remote.MODULES])

    def test_ssh_that_hangs(self):
        limit, remote.UNPACK_S = remote.UNPACK_S, 0.5
        self.addCleanup(setattr, remote, "UNPACK_S", limit)
        with self.assertRaisesRegex(remote.Broken, r"client 1 \(hangs\): "
                                    r"nothing came back within 0.5 s"):
            self.host("hangs").unpack(self.archive(), None)

    def test_a_host_that_stops_answering(self):
        host = self.host("stops")
        host.unpack(self.archive(), None)
        host.greet()
        slice_ = {"in_ms": 1, "warmup": 0, "seconds": 0.01, "cpus": []}
        host.send("go", **slice_)
        host.receive()
        host.send("go", **slice_)
        with self.assertRaisesRegex(remote.Broken, "no answer within 0.5 s"):
            host.receive(0.5)

    def test_it_ends_when_nobody_is_there_any_more(self):
        host = self.host("good")
        host.unpack(self.archive(), None)
        host.greet()
        self.assertTrue(processes(host.folder))
        host.proc.stdin.close()     # no goodbye: as a runner that was killed
        self.nothing_left()


class Veth(Scratch):
    """Three namespaces with an sshd each: real ssh, real addresses."""

    def test_three_hosts_with_slow_links(self):
        if os.geteuid():
            self.skipTest("namespaces with addresses need root")
        if not shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin"):
            self.skipTest("openssh-server is not installed")
        place = os.path.join(self.dir, "veth")
        done = subprocess.run(
            [sys.executable, os.path.join(BENCH, "veth.py"), "run", place,
             "--clients", "2", "--rate", "1gbit", *self.command(
                 "ladder", "--servers", "stage2,stage3", "--blocks", "1",
                 "--set", "handler=5", "--set", "connections=8",
                 "--seconds", "0.1", "--warmup", "0.1")[2:]],
            capture_output=True, text=True, timeout=LIMIT_S, check=False)
        if done.returncode == 77:
            self.skipTest(done.stderr.strip())
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertFalse(os.path.exists(place))
        rows = self.measured()
        self.assertEqual({r["server"] for r in rows}, {"stage2", "stage3"})
        for row in rows:
            self.assertTrue(row["valid"], row["why"])
            self.assertEqual(len(row["clients"]), 2)
            self.assertEqual(row["report"]["errors"]["total"], 0)
        self.assertEqual(results.load_manifest(self.out)["hosts"]["machines"],
                         1)

    def test_without_root_it_says_so(self):
        if os.geteuid() == 0:
            os.chmod(self.dir, 0o755)
            words = ["setpriv", "--reuid=65534", "--clear-groups"]
            if not shutil.which(words[0]):
                self.skipTest("cannot become another user here")
        else:
            words = []
        # The text of the program by stdin: its folder may be private.
        with open(os.path.join(BENCH, "veth.py"), encoding="utf-8") as f:
            done = subprocess.run(
                [*words, "/usr/bin/python3", "-", "up", "x"],
                stdin=f, capture_output=True, text=True, check=False,
                timeout=LIMIT_S, cwd="/")
        self.assertEqual(done.returncode, 77, done.stderr)
        self.assertIn("need root", done.stderr)


class Held(unittest.TestCase):
    """The generator waits, connected, until it is told when to begin."""

    def test_the_start_comes_from_stdin(self):
        run = servers.Stage("stage2", os.path.join(BUILD, "stage2")).start(
            os.sched_getaffinity(0))
        self.addCleanup(run.stop)
        loadgen = [os.path.join(BUILD, "loadgen"), "--port", str(run.port),
                   "--connections", "2", "--duration", "0.1", "--warmup", "0",
                   "--quiet", "--json", "-", "--hold"]
        proc = subprocess.Popen(loadgen, stdin=subprocess.PIPE, text=True,
                                stdout=subprocess.PIPE)
        with contextlib.closing(proc.stdout):
            self.assertEqual(proc.stdout.readline(), "connected\n")
            self.assertEqual(slices.counted({}, run.scrape()).get(
                "requests", 0), 1)    # that of the question itself
            start = time.monotonic_ns() + 2 * 10**9
            proc.stdin.write(f"{start}\n")
            proc.stdin.close()
            report = json.loads(proc.stdout.read())
            ended = time.monotonic_ns()
        self.assertEqual(proc.wait(LIMIT_S), 0)
        self.assertGreaterEqual(ended, start + 10**8)
        self.assertGreater(report["requests"], 0)
        for text, why in (("", "no start came"), ("soon\n", "no time"),
                          ("5\n", "is over"), ("9e99\n", "no time"),
                          (f"{2**63 - 1}\n", "no time")):
            with self.subTest(text):
                done = subprocess.run(loadgen, input=text, text=True,
                                      capture_output=True, timeout=LIMIT_S,
                                      check=False)
                self.assertEqual(done.returncode, 2)
                self.assertIn(why, done.stderr)


if __name__ == "__main__":
    unittest.main()
