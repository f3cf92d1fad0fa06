"""Tables and verdicts of a set of operation costs: the words follow from the
intervals, and a damaged set gives an error and no table."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "plots"))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import machine          # noqa: E402
import micro_results    # noqa: E402
import results          # noqa: E402
import uring_tables     # noqa: E402

METHODS = {
    "echo": ("recv, send", "RECV, SEND by io_uring"),
    "recv": ("RECV", "RECV, buffer ring", "READ_FIXED", "RECV multishot"),
    "recv-large": ("RECV", "READ_FIXED"),
    "send": ("SEND", "WRITE_FIXED", "SEND_ZC", "SEND_ZC fixed"),
    "direct": ("by descriptor", "direct descriptor"),
    "once": ("RECV one-shot", "RECV multishot"),
    "setup": ("DEFER_TASKRUN", "COOP_TASKRUN", "no flags", "SQPOLL")}
CELLS = {"echo": [(b, 64) for b in (1, 4, 16, 64, 256)],
         "recv": [(64, 64), (64, 1024), (64, 4096), (64, 16384)],
         "recv-large": [(1, 65536), (1, 1 << 20)],
         "send": [(1, 64), (1, 4096), (1, 65536)], "direct": [(64, 64)],
         "once": [(1, 64)], "setup": [(16, 64), (64, 64)]}


def rows_of(ratio=lambda group, method, batch, size: 1.0, wide=0.01):
    """Every group; ratio() is the middle of the intervals."""
    rows = []
    for group, methods in METHODS.items():
        for batch, size in CELLS[group]:
            for method in methods:
                mid = 1.0 if method == methods[0] else \
                    ratio(group, method, batch, size)
                row = {"group": group, "batch": batch, "size": size,
                       "method": method, "baseline": methods[0]}
                zc = 10 if method.startswith("SEND_ZC") else 0
                row.update(skipped="no reason given") if mid is None else \
                    row.update(ns=[1000 * mid, 900 * mid, 1100 * mid],
                               ratio=[mid, mid - wide, mid + wide],
                               notified=zc, copied=zc)
                rows.append(row)
    return rows


class Scratch(unittest.TestCase):
    def setUp(self):
        d = tempfile.TemporaryDirectory(prefix="ioladder-uring-")
        self.addCleanup(d.cleanup)
        self.dir = d.name
        self.set = os.path.join(d.name, "bench", "results", "ops")
        os.makedirs(self.set)
        os.mkdir(os.path.join(d.name, "docs"))

    def write(self, rows, blocks=31, quick=False, cpus=2):
        path = os.path.join(self.set, "uring_ops.json")
        results.write_json(path, {
            "schema": micro_results.ROWS, "kernel": "6.18", "rows": rows,
            "blocks": blocks})
        results.write_json(os.path.join(self.set, "manifest.json"), {
            "schema": micro_results.MANIFEST, "state": "complete",
            "program": "uring_ops", "command": "python3 it", "quick": quick,
            "sha256": machine.sha256(path),
            "groups": [{"steal_pct": 1.25, "foreign_pct": 3, "attempts": 2}],
            "machine": {"cpu": "A cpu", "cpus": cpus, "hypervisor": None,
                        "kernel": "6.18", "liburing": "2.3",
                        "when": "2026-11-23T00:00:00Z",
                        "limits": {"congestion_control": "cubic"},
                        "git": {"revision": None, "dirty": False}}})
        return uring_tables.Data(self.set)

    def verdict(self, data, words):
        lines = [line for line in
                 uring_tables.render(data, "verdicts").split("\n")
                 if words in line]
        self.assertEqual(len(lines), 1, words)
        return lines[0].strip("| ").split(" | ")[-1]


class Verdicts(Scratch):
    def at(self, value, wide=0.01):
        return self.write(rows_of(lambda *_: value, wide))

    def test_direction_and_size_follow_the_interval(self):
        for value, wide, word in (
                (1.19, 0.01, "confirmed"), (0.9, 0.01, "refuted"),
                (1.0, 0.01, "not distinguishable"),
                (1.19, 0.30, "not distinguishable"),
                (1.50, 0.01, "confirmed, but the ratio is larger"),
                (1.05, 0.01, "confirmed, but the ratio is smaller")):
            with self.subTest(value=value, wide=wide):
                self.assertEqual(self.verdict(self.at(value, wide),
                                              "At 1 completion"), word)
        self.assertEqual(self.verdict(self.at(0.89), "At 4 it"), "confirmed")
        self.assertEqual(self.verdict(self.at(1.2), "At 4 it"), "refuted")

    def test_growth(self):
        word = "gain grows"
        falls = rows_of(lambda g, m, b, s: {1: 1.2, 4: 0.9}.get(b, 0.7))
        self.assertEqual(self.verdict(self.write(falls), word), "confirmed")
        rises = rows_of(lambda g, m, b, s: {1: 0.7, 4: 0.9}.get(b, 1.2))
        self.assertEqual(self.verdict(self.write(rises), word), "refuted")
        self.assertEqual(self.verdict(self.at(1.0), word),
                         "not distinguishable")

    def test_a_removed_copy_would_show(self):
        word = "do not remove the copy"
        self.assertEqual(self.verdict(self.at(1.0), word), "confirmed")
        self.assertEqual(self.verdict(self.at(0.7), word), "refuted")

    def test_a_send_that_was_not_copied(self):
        rows = rows_of()
        self.assertEqual(self.verdict(self.write(rows), "always copies"),
                         "confirmed")
        for row in rows:
            if row["method"] == "SEND_ZC" and row["size"] == 65536:
                row["copied"] = 9
        self.assertIn("refuted: SEND_ZC 64 KiB",
                      self.verdict(self.write(rows), "always copies"))

    def test_places_where_sizes_disagree(self):
        data = self.write(rows_of(
            lambda g, m, b, s: 0.8 if g == "recv" and s < 16384 else 1.2))
        self.assertEqual(self.verdict(data, "Multishot receives pay"),
                         "confirmed: 64 B to 4 KiB; refuted: 16 KiB")

    def test_nothing_is_claimed_from_too_little(self):
        for data in (self.write(rows_of(), blocks=4),
                     self.write(rows_of(), quick=True)):
            for words in ("At 1 completion", "gain grows", "always copies"):
                self.assertIn("none", self.verdict(data, words))

    def test_skipped_and_elsewhere(self):
        data = self.write(rows_of(
            lambda g, m, b, s: None if m == "SQPOLL" else 1.0))
        self.assertEqual(self.verdict(data, "SQPOLL loses"),
                         "skipped: no reason given")
        self.assertIn("loopback only", self.verdict(data, "network card"))
        data = self.write(rows_of(), cpus=8)
        self.assertIn("not measurable here: 8 cpus",
                      self.verdict(data, "SQPOLL loses"))
        self.assertIn("Skipped: SQPOLL: no reason given.",
                      uring_tables.render(self.write(rows_of(
                          lambda g, m, b, s: None if m == "SQPOLL" else 1.0)),
                          "ops:setup"))


class Documents(Scratch):
    def tables(self, mode):
        return subprocess.run(
            [sys.executable, os.path.join(ROOT, "plots", "tables.py"), mode,
             "--root", self.dir], capture_output=True, text=True,
            timeout=180, check=False)

    def page(self, *names):
        self.doc = os.path.join(self.dir, "docs", "page.md")
        with open(self.doc, "w", encoding="utf-8") as f:
            for name in names:
                f.write(f"<!-- figure:{name} bench/results/ops -->\n"
                        f"<!-- /figure -->\n\n")

    def test_write_then_check(self):
        self.write(rows_of(lambda *_: 1.25))
        self.page("verdicts", "machine", "command",
                  *("ops:" + g for g in micro_results.GROUPS))
        self.assertEqual(self.tables("--check").returncode, 1)
        done = self.tables("--write")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.tables("--check").returncode, 0)
        with open(self.doc, encoding="utf-8") as f:
            text = f.read()
        for word in ("| 256 ", "1.25 (1.24 to 1.26)", "| 4 KiB ", "100 %",
                     "A cpu, 2 cpus", "1.2 % steal", "groups done again: 1",
                     "python3 it --out DIR"):
            self.assertIn(word, text)
        with open(self.doc, "w", encoding="utf-8") as f:
            f.write(text.replace("1.25 (1.24", "1.25 (1.23", 1))
        self.assertIn("differs", self.tables("--check").stderr)

    def test_an_interval_that_holds_one_is_marked(self):
        text = uring_tables.render(self.write(rows_of()), "ops:direct")
        self.assertIn("~ 1.00 (0.99 to 1.01)", text)

    def test_the_picture(self):
        self.write(rows_of(lambda *_: 1.25))
        self.page("image:ratios")
        self.assertIn("missing", self.tables("--check").stderr)
        done = self.tables("--write")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.tables("--check").returncode, 0)
        path = os.path.join(self.dir, "docs", "img", "ops-ratios.svg")
        self.assertGreater(len(list(xml.parse(path).iter())), 60)
        self.write(rows_of(lambda *_: 1.26))
        self.assertIn("drawn from other data", self.tables("--check").stderr)

    def test_errors_name_the_file(self):
        self.write(rows_of())
        path = os.path.join(self.set, "uring_ops.json")
        with open(path, encoding="utf-8") as f:
            whole = f.read()
        for text, word in (("", "empty"), (whole[:-30], "truncated"),
                           (whole.replace("ops/1", "ops/9"), "version"),
                           (whole.replace("6.18", "6.19"), "not the file")):
            with self.subTest(word):
                with open(path, "w", encoding="utf-8") as f:
                    f.write(text)
                self.page("ops:echo")
                done = self.tables("--check")
                self.assertEqual(done.returncode, 1)
                self.assertIn("uring_ops.json: ", done.stderr)
                self.assertIn(word, done.stderr)
                self.assertNotIn("Traceback", done.stderr)
        os.unlink(path)
        self.assertIn("no such file", self.tables("--check").stderr)
        self.write(json.loads(whole)["rows"])
        self.page("ops:moon")
        self.assertIn("gives no 'ops:moon'", self.tables("--check").stderr)


if __name__ == "__main__":
    unittest.main()
