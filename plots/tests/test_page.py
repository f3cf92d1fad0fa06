"""The report as a reader meets it: its words, and in a browser its looks."""

import html
import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RESULTS = os.path.join(ROOT, "bench", "results")
sys.path[:0] = [os.path.join(ROOT, "plots"), os.path.join(ROOT, "bench"),
                HERE]

import compare          # noqa: E402
import findings         # noqa: E402
import made_up          # noqa: E402
import results          # noqa: E402
import sets             # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FEW = ("stage1", "stage2", "stage3", "stage4", "stage5", "stage6", "nginx",
       "go", "fasthttp", "libevent")


def report(*words):
    return subprocess.run(
        [sys.executable, os.path.join(ROOT, "plots", "report.py"), *words],
        capture_output=True, text=True, timeout=180, check=False)


class Page(html.parser.HTMLParser):
    """What a page holds, and whether every element was closed."""

    VOID = {"meta", "br", "img", "link", "path", "rect", "circle"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.links, self.open = {}, [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.links += [v for k, v in attrs if k in ("href", "src")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.VOID:
            return
        if not self.open or self.open.pop() != tag:
            raise AssertionError(f"</{tag}> closes nothing")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_data(self, data):
        self.words.append(data)


PAGES, SCRATCH = {}, ""


def setUpModule():
    """The pages that the tests look at, made once."""
    global SCRATCH
    scratch = tempfile.TemporaryDirectory(prefix="ioladder-page-")
    unittest.addModuleCleanup(scratch.cleanup)
    SCRATCH = scratch.name
    one = made_up.write(os.path.join(SCRATCH, "one"), servers=FEW, blocks=13)
    two = made_up.write(os.path.join(SCRATCH, "two"), ("ladder",),
                        FEW[:6], seed=2, cpu="Another processor", blocks=9)
    old = os.path.join(RESULTS, "2026-11-24-ladder")
    also = [word for name in ("2026-11-29-idle", "2026-11-24-skew",
                              "2026-11-24-skew-work", "2026-11-24-queues-2",
                              "2026-11-24-padding")
            for word in ("--also", os.path.join(RESULTS, name))]
    for name, words in (("new", [one]), ("old", [old, *also]),
                        ("compared", ["--compare", one, two])):
        out = os.path.join(SCRATCH, "page-" + name)
        done = report(*words, "--out", out)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        with open(os.path.join(out, "index.html"), encoding="utf-8") as f:
            PAGES[name] = f.read()


class Words(unittest.TestCase):
    def test_pages_are_whole(self):
        for name, text in PAGES.items():
            with self.subTest(name):
                page = Page(text)
                self.assertEqual(page.open, [])
                self.assertGreaterEqual(page.tags["svg"], 5)
                self.assertLess(len(text), 1_500_000)
                ids = re.findall(r'\bid="([^"]+)"', text)
                self.assertEqual(len(ids), len(set(ids)))

    def test_pages_need_nothing_else(self):
        for name, text in PAGES.items():
            with self.subTest(name):
                ids = re.findall(r'\bid="([^"]+)"', text)
                out = os.path.join(SCRATCH, "page-" + name)
                for link in Page(text).links:
                    if link.startswith("#"):
                        self.assertIn(link[1:], ids)
                    else:     # of this tree: a stage, a chapter
                        self.assertTrue(os.path.exists(
                            os.path.join(out, link)), link)
                self.assertNotRegex(re.sub(
                    r"<pre>.*?</pre>|<td>.*?</td>", "", text, flags=re.S),
                    r"https?://")
                self.assertIn("default-src 'none'", text)
                self.assertNotIn("@import", text)

    def test_three_sentences_lead(self):
        lead = PAGES["new"].partition('<ol class="findings">')[2]
        lead = lead.partition("</ol>")[0]
        self.assertEqual(lead.count("<li>"), 3)
        for words in ("The least CPU time a request takes, at 64 connections:",
                      "p99 of the others is 39", "with stage 6; stage 5 with",
                      "Where there is nothing to steal, stage 6 costs"):
            self.assertIn(words, lead)

    def test_what_stands_under_a_picture(self):
        figure = PAGES["new"].partition('<figure id="heat"')[2]
        figure = figure.partition("</figure>")[0]
        self.assertIn("limited by the generator", figure)
        self.assertIn("python3 bench/run.py --suite ladder --servers "
                      "stage1,stage2", figure)
        self.assertIn("--blocks 13", figure)
        self.assertIn("2 epoll / 1 threads, handler 5 us", figure)

    def test_a_card_for_each_step(self):
        text = PAGES["new"]
        self.assertEqual(text.count('<article class="card"'), 5)
        card = text.partition("<h3>2 epoll to 3 io_uring</h3>")[2]
        card = card.partition("</article>")[0]
        for words in ("lines differ", "handler 5 us: 0.9", "2.05 before",
                      "1.65 fewer calls at 0.88 us each are 1.45 us",
                      "stages/3-uring/server.c", "docs/3-uring.md"):
            self.assertIn(words, card)

    def test_prediction_stands_beside_measurement(self):
        figure = PAGES["new"].partition('<figure id="predicted"')[2]
        figure = figure.partition("</figure>")[0]
        self.assertEqual(figure.count(">predicted</text>"), 6)
        self.assertRegex(figure, r"predicted: [\d.]+ us \([+-]\d+ %\)")
        self.assertIn("By prices alone:", figure)
        # A set without prices has no such picture.
        self.assertNotIn('<figure id="predicted"', PAGES["old"])

    def test_saturation_is_marked(self):
        figure = PAGES["new"].partition('<figure id="latency"')[2]
        self.assertIn("Go net/http at 99 k/s: p99",
                      figure.replace("99.0 k/s", "99 k/s"))
        self.assertRegex(figure, r'data-tip="Go net/http[^"]*, saturated"')
        self.assertNotRegex(figure.partition("</figure>")[0],
                            r'data-tip="3 io_uring at 11[^"]*, saturated"')

    def test_the_known_faults_are_gone(self):
        for name, text in PAGES.items():
            with self.subTest(name):
                words = " ".join(Page(text).words)
                self.assertNotRegex(words, r"\d k us\b|\(tic\b")
                self.assertNotRegex(words, r"\b0\.00 (?:of|times)")
                self.assertNotRegex(words, r"^\s*\| .* \|$")
                self.assertNotRegex(text, r"<h[123][^>]*>2026-")

    def test_peers_configurations(self):
        self.assertIn("In this tree".lower(), PAGES["old"].lower())
        self.assertIn('<section aria-labelledby="peers">', PAGES["new"])

    def test_a_page_has_text_for_every_picture(self):
        for name, text in PAGES.items():
            for figure in re.findall(r"<figure .*?</figure>", text, re.S):
                with self.subTest(name + figure[:40]):
                    self.assertRegex(figure, r'aria-label="[^"]{8,}')
                    self.assertIn("<h3>", figure)
                    self.assertIn("The values in words", figure)


class Findings(unittest.TestCase):
    def data(self, **more):
        with tempfile.TemporaryDirectory(prefix="ioladder-set-") as folder:
            path = made_up.write(os.path.join(folder, "set"), **more)
            return sets.Data(*results.load(path))

    def test_nothing_is_claimed_of_two_blocks(self):
        data = self.data(wanted=("ladder",), servers=FEW[:3], blocks=2)
        text = " ".join(findings.leading([data]))
        self.assertNotIn("% less", text)
        self.assertIn("not told apart", text)

    def test_a_set_of_one_server(self):
        data = self.data(wanted=("ladder",), servers=("stage2",), blocks=7)
        self.assertEqual(findings.leading([data]), [
            "This set decides nothing: its figures are below."])

    def test_a_large_ratio_is_told_as_times(self):
        c = {"ratio": 2.4, "low": 2.2, "high": 2.6}
        self.assertEqual(findings.than(c, "CPU time", "stage 5"),
                         "2.40 times the CPU time of stage 5 (2.20 to 2.60)")
        c = {"ratio": 0.82, "low": 0.8, "high": 0.84}
        self.assertEqual(findings.than(c, "CPU time", "stage 2"),
                         "18 % less CPU time than stage 2 (16 to 20)")


class Compare(unittest.TestCase):
    def test_another_machine_is_said(self):
        self.assertIn("machines that differ in cpu", PAGES["compared"])
        self.assertIn("Compare the ratios", PAGES["compared"])
        self.assertRegex(PAGES["compared"],
                         r"ratios of CPU time that both sets decide, \d+ agree")

    def test_prices_and_predictions_of_both_machines(self):
        words = " ".join(Page(PAGES["compared"]).words)
        self.assertIn("What the model says of each machine", words)
        self.assertIn("Prices of both machines", words)
        self.assertRegex(words, r"the model is at most \d+ % off")
        self.assertNotIn("has no prediction", words)

    def test_a_set_without_prices_says_so(self):
        old, older = (sets.Data(*results.load(os.path.join(RESULTS, name)))
                      for name in ("2026-11-24-ladder", "2026-11-23-ladder"))
        text = compare.build(old, older).text()
        self.assertIn("A has no prediction", text)
        self.assertIn("B has no prediction", text)
        self.assertNotIn("the model is at most", text)

    def test_what_cannot_be_compared(self):
        one = os.path.join(SCRATCH, "one")
        cut = os.path.join(SCRATCH, "cut")
        shutil.copytree(one, cut)
        with open(os.path.join(cut, "rows.jsonl"), "r+b") as f:
            f.truncate(5000)
        newer = os.path.join(SCRATCH, "newer")
        shutil.copytree(one, newer)
        path = os.path.join(newer, "manifest.json")
        with open(path, encoding="utf-8") as f:
            text = f.read().replace("ioladder-results/1", "ioladder-results/2")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        mixed = os.path.join(SCRATCH, "mixed")
        shutil.copytree(one, mixed)
        shutil.copy(os.path.join(RESULTS, "2026-11-24-ladder",
                                 "summary.json"), mixed)
        empty = os.path.join(SCRATCH, "empty")
        os.mkdir(empty)
        for other, word in (
                (one, "both are the same set"),
                (os.path.join(RESULTS, "2026-11-30-claim-burst"),
                 "no cell"),
                (os.path.join(RESULTS, "2026-11-24-queues-2"),
                 "micro-benchmark"),
                (cut, "truncated"), (newer, "version 'ioladder-results/2'"),
                (mixed, "of another result set"), (empty, "no such file"),
                (os.path.join(SCRATCH, "nowhere"), "no such result set")):
            with self.subTest(word):
                out = os.path.join(SCRATCH, "refused")
                done = report("--compare", one, other, "--out", out)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertTrue(done.stderr.startswith("report.py: "))
                self.assertIn(word, done.stderr)
                self.assertNotIn("Traceback", done.stderr)
                self.assertFalse(os.path.exists(out))


class Looks(unittest.TestCase):
    """In a browser: each page at the widths of a phone and of a desk."""

    maxDiff = None

    def frames(self, widths):
        with open(os.path.join(HERE, "looks.js"), encoding="utf-8") as f:
            script = f.read()
        frames = "".join(
            f'<iframe title="{name} at {width}" srcdoc="{html.escape(text)}" '
            f'style="width:{width}px;height:900px"></iframe>'
            for name, text in PAGES.items() for width in widths)
        path = os.path.join(SCRATCH, "frames.html")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f'<!DOCTYPE html><meta charset="utf-8"><body>{frames}'
                    f"<script>{script}</script>")
        return path

    def browse(self, path):
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if not browser:
            self.skipTest("no Chromium is installed (apt-get install "
                          "chromium)")
        with tempfile.TemporaryDirectory(prefix="ioladder-web-") as folder:
            done = subprocess.run(
                [browser, "--headless", "--no-sandbox", "--disable-gpu",
                 "--disable-dev-shm-usage", "--no-first-run",
                 "--host-resolver-rules=MAP * ~NOTFOUND",
                 "--enable-logging=stderr", "--virtual-time-budget=4000",
                 "--window-size=1700,1000", "--user-data-dir=" + folder,
                 "--dump-dom", "file://" + path],
                capture_output=True, text=True, timeout=170, check=False,
                env={**os.environ, "HOME": folder})
        if "<html" not in done.stdout:
            self.skipTest(f"{browser} shows no page here: "
                          f"{done.stderr.strip()[-200:]}")
        said = re.search(r"<pre>(.*?)</pre>", done.stdout, re.S)
        self.assertTrue(said, done.stderr[-2000:] + done.stdout[:500])
        return json.loads(html.unescape(said.group(1))), [
            line for line in done.stderr.splitlines() if "CONSOLE" in line]

    def test_nothing_is_clipped_or_overlaps(self):
        found, console = self.browse(self.frames((390, 1280)))
        self.assertEqual("\n".join(found["faults"]), "")
        self.assertEqual(console, [])
        self.assertGreater(found["pictures"], 40)
        self.assertGreater(found["texts"], 1000)


if __name__ == "__main__":
    unittest.main()
