"""The model: counts times prices, on a made-up set whose sums are known."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.dirname(HERE)
sys.path.insert(0, BENCH)
sys.path.insert(0, os.path.join(os.path.dirname(BENCH), "plots"))

import model                        # noqa: E402
import results                      # noqa: E402
import summary as summaries         # noqa: E402
import tables                       # noqa: E402

PRICES = {"session": 200, "syscall": 100, "context_switch": 1000,
          "wake_call": 3000, "wake_other": 5000, "echo_calls": 4000,
          "echo_ring_1": 5000, "echo_ring_16": 3400, "echo_ring_64": 3000,
          "echo_armed_1": 6000, "echo_armed_16": 4000, "echo_armed_64": 3500,
          "epoll_event": 150, "atomic_add": 10, "atomic_add_contended": 60}
MOVED = {    # of 1,000 requests
    "stage1": {"requests": 1000, "recvs": 1000, "sends": 1000},
    "stage2": {"requests": 1000, "recvs": 1000, "sends": 1000,
               "waits": 100, "events": 1000},
    "stage3": {"requests": 1000, "recvs": 1000, "sends": 1000,
               "waits": 125, "events": 2000},
    "stage6": {"requests": 1000, "recvs": 1000, "sends": 1000, "waits": 50,
               "events": 1000, "enters": 100, "completions": 1600}}
SWITCHES = {"stage1": 1.0}
# By hand: session, then what the stage does, in microseconds.
WANTED = {
    "stage1": 0.2 + 4.0 + 1.0,
    "stage2": 0.2 + 4.0 + 0.1 * 0.1 + 0.15,
    "stage3": 0.2 + 4.0 - 0.1 / 16,
    "stage6": 0.2 + 0.2 * 4.0 + 0.8 * 3.4 + 0.05 * 0.1 + 0.15}
MEASURED = {"stage1": 6.0, "stage2": 5.0, "stage3": 4.5, "stage6": 5.0}


def listed(prices):
    return {"unit": "ns", "prices": {
        name: {"ns": ns, "low": ns, "high": ns}
        for name, ns in prices.items()}}


def make(directory, prices=None, handlers=(0,), moved=None, suite="ladder"):
    """A result set of one block."""
    moved = moved or MOVED
    manifest = {
        "schema": results.MANIFEST, "set": "ab", "name": "made-up",
        "state": "complete", "seed": 1, "suite": suite,
        "plan": [{"suite": suite, "title": "", "params": {}}],
        "servers": {name: {"kind": "stage"} for name in moved},
        "machine": {"prices": prices or listed(PRICES)}}
    writer = results.Writer(directory, "ab")
    for handler in handlers:
        for name, counters in moved.items():
            writer.add({
                "kind": "measure", "suite": suite, "server": name,
                "cell": {"handler": handler, "connections": 64},
                "block": 0, "valid": True, "counters": counters,
                "metrics": {"cpu_us": MEASURED.get(name, 5.0) + handler,
                            "ctx_per_request": SWITCHES.get(name, 0.0)}})
    writer.close()
    rows = results.load_rows(directory)
    results.write_json(os.path.join(directory, "manifest.json"), manifest)
    results.write_json(os.path.join(directory, "summary.json"),
                       summaries.summarise(manifest, rows))


class Made(unittest.TestCase):
    def setUp(self):
        d = tempfile.TemporaryDirectory(prefix="ioladder-model-")
        self.addCleanup(d.cleanup)
        self.dir = d.name

    def run_it(self, *words, expect=0):
        done = subprocess.run(
            [sys.executable, os.path.join(BENCH, "model.py"), *words],
            capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, expect, done.stderr)
        return done


class Predictions(Made):
    def test_each_term_is_a_count_times_a_price(self):
        make(self.dir)
        for found in model.predict(*results.load(self.dir)):
            name = found["server"]
            self.assertAlmostEqual(found["predicted_us"], WANTED[name], 6,
                                   name)
            self.assertAlmostEqual(
                found["error_pct"],
                100 * (WANTED[name] / MEASURED[name] - 1), 6)
            rest = MEASURED["stage2"] - WANTED["stage2"]
            if name == "stage2":
                self.assertIsNone(found["anchored_us"])
            else:
                self.assertAlmostEqual(found["anchored_us"],
                                       WANTED[name] + rest, 6)

    def test_a_handler_is_added_as_it_is(self):
        make(self.dir, handlers=(0, 5))
        found = model.predict(*results.load(self.dir))
        without, with_it = found[:4], found[4:]
        for a, b in zip(without, with_it):
            self.assertAlmostEqual(b["predicted_us"] - a["predicted_us"], 5.0)

    def test_what_a_handler_burns_beyond_its_word(self):
        make(self.dir, listed({**PRICES, "work_over": 1500}), handlers=(0, 5))
        found = model.predict(*results.load(self.dir))
        for a, b in zip(found[:4], found[4:]):
            self.assertAlmostEqual(b["predicted_us"] - a["predicted_us"], 6.5)

    def test_threads_that_sleep_have_a_price_with_their_switches(self):
        prices = {**PRICES, "echo_threads": 7000}
        counts = {"recvs": 1.0, "sends": 1.0, "switches": 1.1, "sleeps": 0.75,
                  "client_sleeps": 0.0}
        self.assertAlmostEqual(
            model.total_us(model.terms("stage1", prices, counts)),
            0.2 + 0.75 * 7.0 + 0.25 * 4.0 + 0.35 * 1.0)
        counts["sleeps"] = 1.3      # no more often than it receives
        self.assertAlmostEqual(
            model.total_us(model.terms("stage1", prices, counts)),
            0.2 + 7.0 + 0.1 * 1.0)

    def test_batches_between_those_that_were_priced(self):
        for batch, want in ((0.5, 6000), (1, 6000), (4, 5000), (16, 4000),
                            (32, 3750), (64, 3500), (500, 3500)):
            self.assertAlmostEqual(model.by_batch(PRICES, "armed", batch),
                                   want)

    def test_what_is_printed(self):
        make(self.dir)
        out = self.run_it("--terms", self.dir).stdout
        self.assertIn("receives and sends by the ring, waiting in it, 16.0 an "
                      "enter", out)
        self.assertRegex(out, r"\| *3 io_uring \| *4.50 \| *4.19 \| *-6.8 % ")
        self.assertIn("By prices alone: ", out)
        found = json.loads(self.run_it("--json", self.dir).stdout)
        self.assertEqual(found["schema"], "ioladder-model/1")
        self.assertEqual(len(found["cells"]), 4)

    def test_a_list_that_lacks_a_price_is_named(self):
        make(self.dir, listed({**PRICES, "work_over": 1500}))
        found = results.load(self.dir)
        self.assertIn("list is older than `echo_threads`: what",
                      model.markdown(*found))
        found[0]["machine"]["prices"]["prices"]["echo_threads"] = {"ns": 1}
        self.assertNotIn("is older", model.markdown(*found))

    def test_a_document_shows_the_same(self):
        make(self.dir)
        data = tables.load(self.dir, {})
        self.assertEqual(tables.render(data, "model"),
                         model.markdown(*results.load(self.dir)))
        data.manifest["machine"]["prices"] = None
        with self.assertRaisesRegex(tables.DocError, "no price list"):
            tables.render(data, "model")


class Refused(Made):
    def reason(self):
        return self.run_it(self.dir, expect=1).stderr

    def test_a_price_that_is_missing(self):
        make(self.dir, {"prices": {n: p for n, p in
                                   listed(PRICES)["prices"].items()
                                   if n != "epoll_event"}})
        self.assertIn("made-up: the price list has no 'epoll_event'",
                      self.reason())

    def test_a_price_that_could_not_be_had(self):
        found = listed(PRICES)
        found["prices"]["echo_armed_16"] = {"missing": "no ring here"}
        make(self.dir, found)
        self.assertIn("'echo_armed_16' could not be measured", self.reason())

    def test_a_price_that_is_no_number(self):
        found = listed(PRICES)
        found["prices"]["session"]["ns"] = "much"
        make(self.dir, found)
        self.assertIn("the price of 'session' is no number", self.reason())

    def test_no_list_at_all(self):
        for found, why in (({"missing": "micro/prices is not built"},
                            "not built"), ([], "none in it")):
            with self.assertRaisesRegex(model.Missing, why):
                model.prices_of(found, "a set")

    def test_truncated_and_newer_sets(self):
        make(self.dir)
        path = os.path.join(self.dir, "rows.jsonl")
        with open(path, "rb+") as f:
            f.truncate(os.path.getsize(path) - 20)
        self.assertIn("truncated", self.reason())
        path = os.path.join(self.dir, "manifest.json")
        with open(path, encoding="utf-8") as f:
            text = f.read()
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace(results.MANIFEST, "ioladder-results/2"))
        self.assertIn("ioladder-results/2", self.reason())

    def test_nothing_to_predict(self):
        make(self.dir, suite="short")
        self.assertIn("no stage in ladder or keepalive", self.reason())

    def test_no_counters(self):
        make(self.dir, moved={"stage1": {}})
        self.assertIn("no counters of stage1", self.reason())

    def test_usage(self):
        for words in ((), ("--advise", "x"), ("--wrong",)):
            self.run_it(*words, expect=64)


class Advice(Made):
    def setUp(self):
        super().setUp()
        at = os.path.join(self.dir, "bench", "results", "2026-01-01-made")
        os.makedirs(at)
        moved = {**MOVED, "stage4": MOVED["stage3"],
                 "stage5": MOVED["stage3"]}
        make(at, handlers=(0, 5), moved=moved)
        self.list = os.path.join(self.dir, "prices.json")

    def advice(self, expect=0, **more):
        with open(self.list, "w", encoding="utf-8") as f:
            json.dump(listed({**PRICES, **more}), f)
        return self.run_it("--advise", "--prices", self.list, "--root",
                           self.dir, expect=expect)

    def test_what_follows_from_prices(self):
        out = self.advice().stdout
        self.assertIn("2026-01-01-made", out)
        self.assertIn("6 stealing should be cheapest, 3.88 us", out)
        self.assertIn("cheaper than calls from about 13 completions", out)
        self.assertIn("takes 5.0 us: shorter handlers", out)
        self.assertIn("pay 6.0 times as much", out)

    def test_counts_are_those_of_one_host(self):
        newer = os.path.join(self.dir, "bench", "results", "2026-01-02-wire")
        shutil.copytree(newer.replace("02-wire", "01-made"), newer)
        self.assertIn("2026-01-02-wire", self.advice().stdout)
        path = os.path.join(newer, "manifest.json")
        with open(path, encoding="utf-8") as f:
            found = json.load(f)
        results.write_json(path, {**found, "hosts": {"machines": 1}})
        self.assertIn("2026-01-01-made", self.advice().stdout)

    def test_dear_rings(self):
        out = self.advice(echo_armed_1=9000, echo_armed_16=9000,
                          echo_armed_64=9000).stdout
        self.assertIn("A ring never gets cheaper than calls here", out)

    def test_a_list_that_is_cut_off(self):
        with open(self.list, "w", encoding="utf-8") as f:
            f.write('{"prices": {"sess')
        done = self.run_it("--advise", "--prices", self.list, "--root",
                           self.dir, expect=1)
        self.assertIn("prices.json: truncated or not JSON", done.stderr)

    def test_no_set_with_counters(self):
        os.rename(os.path.join(self.dir, "bench"),
                  os.path.join(self.dir, "gone"))
        self.assertIn("no set holds the counters",
                      self.advice(expect=1).stderr)


if __name__ == "__main__":
    unittest.main()
