"""Two stages behind a proxy: a rolling restart loses nothing; and the files
that Prometheus and Grafana take name only counters that a stage has."""

import json
import os
import re
import shutil
import subprocess
import sys
import unittest
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))

import fronts           # noqa: E402
import servers          # noqa: E402
from servers import Failed, Skipped     # noqa: E402

BUILD = os.path.join(ROOT, "build")
CPUS = sorted(os.sched_getaffinity(0))
MONITORING = os.path.join(ROOT, "docs", "monitoring")


class Fronts(unittest.TestCase):
    def each(self):
        found = []
        for name, front in fronts.fronts(ROOT, BUILD).items():
            try:
                front.available()
                found.append(front)
            except Skipped as why:
                print(f"skipped: {name}: {why}")
        return found

    def test_a_rolling_restart_loses_nothing(self):
        for front in self.each():
            report, ended = fronts.rolling_restart(
                front, CPUS, [os.path.join(BUILD, "loadgen")], rate=300)
            self.assertEqual(ended, [0, 0])
            self.assertGreater(report["requests"], 50)
            self.assertEqual(report["errors"]["total"], 0, report["errors"])

    def test_both_stages_get_requests_and_one_does_for_both(self):
        for front in self.each():
            run = front.start(CPUS)
            try:
                url = f"http://127.0.0.1:{run.port}/"

                def ask(n):
                    for _ in range(n):
                        with urllib.request.urlopen(url, timeout=20) as reply:
                            self.assertEqual(reply.read(), b"Hello, World!\n")
                ask(8)
                first = run.backends.pop(0)
                first.stop()
                ask(4)
                second = run.backends[0]
            finally:
                run.stop()
            # A front of several processes deals out in each of them anew.
            self.assertGreaterEqual(first.totals["requests"], 1)
            self.assertGreaterEqual(second.totals["requests"], 4 + 1)

    def test_what_it_says_when_it_cannot_start(self):
        """No stage stays behind."""
        front = next(iter(fronts.fronts(ROOT, BUILD).values()))
        if not front.proxy.binary:
            self.skipTest("HAProxy is not installed")
        front.proxy.source = os.path.join(MONITORING, "rules.yml")
        started = []
        start = front.start_backend

        def noted(*args):
            started.append(start(*args))
            return started[-1]
        front.start_backend = noted
        with self.assertRaisesRegex(Failed, "haproxy-front: ended with"):
            front.start(CPUS)
        self.assertEqual(len(started), 2)
        for run in started:
            self.assertIsNotNone(run.proc.poll())


class Monitoring(unittest.TestCase):
    """The counters of stage 6, which has them all."""

    @classmethod
    def setUpClass(cls):
        run = servers.catalogue(ROOT, BUILD)["stage6"].start(CPUS)
        try:
            with urllib.request.urlopen(
                    f"http://127.0.0.1:{run.port}/metrics",
                    timeout=20) as reply:
                cls.metrics = reply.read().decode()
        finally:
            run.stop()

    @staticmethod
    def text(name):
        with open(os.path.join(MONITORING, name), encoding="utf-8") as f:
            return f.read()

    def known(self, text):
        wanted = set(re.findall(r"\bioladder_\w+", text))
        self.assertGreater(len(wanted), 5)
        have = set(re.findall(r"^(ioladder_\w+)\{", self.metrics, re.M))
        self.assertEqual(wanted - have, set())

    def test_the_rules_name_what_there_is(self):
        self.known(self.text("rules.yml"))

    def test_the_dashboard_names_what_there_is(self):
        board = json.loads(self.text("grafana.json"))
        self.known("\n".join(t["expr"] for p in board["panels"]
                             for t in p["targets"]))
        places = [(p["gridPos"]["x"], p["gridPos"]["y"])
                  for p in board["panels"]]
        self.assertEqual(len(places), len(set(places)))

    def test_promtool_accepts_them(self):
        promtool = shutil.which("promtool")
        if not promtool:
            self.skipTest("promtool is not installed (package prometheus)")
        subprocess.run([promtool, "check", "config",
                        os.path.join(MONITORING, "prometheus.yml")],
                       check=True, capture_output=True)
        done = subprocess.run([promtool, "check", "metrics"], text=True,
                              input=self.metrics, capture_output=True,
                              check=False)
        self.assertEqual((done.returncode, done.stdout + done.stderr),
                         (0, ""))


if __name__ == "__main__":
    unittest.main()
