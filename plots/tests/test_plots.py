"""Pictures, page, paper and tables from a small fixed result set: the files
open and show something, and a damaged set gives an error and no file."""

import contextlib
import glob
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
import xml.etree.ElementTree as xml
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ROWS = os.path.join(ROOT, "bench", "tests", "data", "fixture")
sys.path.insert(0, os.path.join(ROOT, "plots"))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import figures      # noqa: E402
import results      # noqa: E402
import stats_math   # noqa: E402
import summary      # noqa: E402
import tables       # noqa: E402

try:
    from matplotlib import image
except ImportError:
    image = None


FIXTURE = ""


def setUpModule():
    """The fixture is rows; its summary is what they give today."""
    global FIXTURE
    scratch = tempfile.TemporaryDirectory(prefix="ioladder-fixture-")
    unittest.addModuleCleanup(scratch.cleanup)
    FIXTURE = os.path.join(scratch.name, "fixture")
    shutil.copytree(ROWS, FIXTURE)
    results.write_json(
        os.path.join(FIXTURE, "summary.json"),
        summary.summarise(results.load_manifest(ROWS),
                          results.load_rows(ROWS)))


def script(name, *words, cwd=ROOT, **env):
    return subprocess.run(
        [sys.executable, os.path.join(ROOT, "plots", name), *words],
        capture_output=True, text=True, timeout=180, check=False, cwd=cwd,
        env={**os.environ, **env})


class Page(html.parser.HTMLParser):
    """What a page holds, and whether every element was closed."""

    VOID = {"meta", "br", "img", "link", "path", "use", "rect", "g"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.links, self.open = {}, [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.links += [v for k, v in attrs if k in ("href", "src",
                                                    "xlink:href")]
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


def naive(values):
    total = 0.0
    for value in values:
        total += value
    return total


def compensated(values, start=0):
    """What sum() does since Python 3.12 (Neumaier)."""
    total, lost = float(start), 0.0
    for value in values:
        step = total + value
        big, small = ((total, value) if abs(total) >= abs(value)
                      else (value, total))
        lost += (big - step) + small
        total = step
    return total + lost


def plain(value):
    return json.loads(json.dumps(value))


class Scratch(unittest.TestCase):
    def setUp(self):
        d = tempfile.TemporaryDirectory(prefix="ioladder-plots-")
        self.addCleanup(d.cleanup)
        self.dir = d.name

    def shows_something(self, path, colours=12, share=0.005):
        """A picture with several colours, and not nearly all ground."""
        if image is None:
            self.skipTest("matplotlib is not installed")
        pixels = image.imread(path)
        flat = (pixels[..., :3] * 255).astype("uint32").reshape(-1, 3)
        codes = flat[:, 0] << 16 | flat[:, 1] << 8 | flat[:, 2]
        counts = {}
        for code in codes.tolist():
            counts[code] = counts.get(code, 0) + 1
        self.assertGreater(len(counts), colours, path)
        self.assertGreater(1 - max(counts.values()) / len(codes), share,
                           path)


class Report(unittest.TestCase):
    """One report, looked at from several sides."""

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="ioladder-rep-")
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.dir = cls.temporary.name
        cls.done = script("report.py", FIXTURE, "--out", cls.dir)
        if cls.done.returncode == 0:
            with open(os.path.join(cls.dir, "index.html"),
                      encoding="utf-8") as f:
                cls.text = f.read()

    def setUp(self):
        self.assertEqual(self.done.returncode, 0, self.done.stderr)
        self.page = Page(self.text)

    def test_names_its_files(self):
        self.assertIn("index.html", self.done.stdout)
        self.assertIn("report.pdf", self.done.stdout)

    def test_page_is_whole_and_not_blank(self):
        self.assertEqual(self.page.open, [])
        self.assertGreaterEqual(self.page.tags["svg"], 8)
        self.assertGreater(self.page.tags["path"], 200)
        self.assertGreaterEqual(self.page.tags["table"], 10)
        words = " ".join(self.page.words)
        for word in ("1 threads", "2 epoll", "4 fixed", "requests/s",
                     "p99, us", "not distinguishable", "stage3 skipped"):
            self.assertIn(word, words)
        self.assertLess(len(self.text), 1_500_000)

    def test_notes_stand_under_their_picture(self):
        """What slices were limited by, for each picture that shows them."""
        data = figures.Data(*results.load(FIXTURE))
        for figure in figures.figures_of(data):
            notes = summary.notes_text(data.summary, figure.suite,
                                       figure.cells)
            shown = self.text.partition(f'<figure id="{figure.name}">')[2]
            shown = shown.partition("</figure>")[0]
            self.assertIn(html.escape(notes), shown)
            if notes:
                return
        self.fail("the fixture has no note")

    def test_page_needs_nothing_else(self):
        for link in self.page.links:
            self.assertTrue(link.startswith("#"), link)
        outside = set(re.findall(r"https?://[^\s\"'<]+", self.text))
        self.assertLessEqual(outside, {"http://www.w3.org/2000/svg",
                                       "http://www.w3.org/1999/xlink"})
        self.assertNotIn("<script", self.text)
        self.assertNotIn("@import", self.text)

    def test_page_is_for_phones_and_for_the_dark(self):
        self.assertIn('name="viewport"', self.text)
        self.assertIn("prefers-color-scheme: dark", self.text)
        # No drawing keeps a fixed width or a stand-in colour.
        for svg in re.findall(r"<svg[^>]*>", self.text):
            self.assertNotRegex(svg, r'\swidth="')
            self.assertIn("viewBox", svg)
        self.assertNotIn("#010203", self.text)
        self.assertNotIn("#040506", self.text)
        self.assertIn("var(--ink)", self.text)

    def test_ids_are_unique(self):
        ids = re.findall(r'\bid="([^"]+)"', self.text)
        self.assertEqual(len(ids), len(set(ids)))
        for link in self.page.links:
            self.assertIn(link[1:], ids)

    def test_pdf_opens(self):
        path = os.path.join(self.dir, "report.pdf")
        with open(path, "rb") as f:
            data = f.read()
        self.assertTrue(data.startswith(b"%PDF-"))
        self.assertIn(b"%%EOF", data[-32:])
        self.assertGreater(len(data), 20_000)
        self.assertLess(len(data), 2_000_000)
        self.assertGreaterEqual(len(re.findall(rb"/Type /Page\b", data)), 4)

    def test_pdf_pages_are_not_blank(self):
        if not shutil.which("pdftoppm"):
            self.skipTest("pdftoppm is not installed (poppler-utils)")
        with tempfile.TemporaryDirectory() as directory:
            subprocess.run(["pdftoppm", "-r", "40", "-png",
                            os.path.join(self.dir, "report.pdf"),
                            os.path.join(directory, "p")], check=True)
            pages = sorted(glob.glob(os.path.join(directory, "*.png")))
            self.assertGreaterEqual(len(pages), 4)
            for path in pages:
                Scratch.shows_something(self, path)


class Gnuplot(Scratch):
    def setUp(self):
        super().setUp()
        if not shutil.which("gnuplot"):
            self.skipTest("gnuplot is not installed")

    def test_svg_and_png(self):
        done = script("draw.py", FIXTURE, "--out", self.dir)
        self.assertEqual(done.returncode, 0, done.stderr)
        names = ["ladder", "p99", "cpu", "syscalls", "latency", "idle"]
        for name in names:
            with self.subTest(name):
                svg = os.path.join(self.dir, name + ".svg")
                root = xml.parse(svg).getroot()
                texts = "".join(root.itertext())
                self.assertIn("2 epoll", texts)
                shapes = [e for e in root.iter() if e.tag.endswith(
                    ("path", "use", "polygon"))]
                self.assertGreater(len(shapes), 8)
                png = os.path.join(self.dir, name + ".png")
                self.assertGreater(os.path.getsize(png), 4000)
                self.shows_something(png)

    def test_preview_is_text(self):
        done = script("draw.py", FIXTURE, "--preview", "--only", "ladder")
        self.assertEqual(done.returncode, 0, done.stderr)
        for word in ("1 threads", "2 epoll", "4 fixed", "*",
                     "requests a second"):
            self.assertIn(word, done.stdout)
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 80)

    def test_the_blank_check_can_fail(self):
        path = os.path.join(self.dir, "blank.png")
        subprocess.run(["gnuplot", "-e", "set terminal pngcairo; "
                        f"set output '{path}'; unset border; unset tics; "
                        "plot [0:1] 2 notitle, NaN notitle"],
                       check=False, capture_output=True)
        with self.assertRaises(AssertionError):
            self.shows_something(path)


class Damaged(Scratch):
    """Every reader refuses a set that is not whole, and leaves no file."""

    def setUp(self):
        super().setUp()
        self.set = os.path.join(self.dir, "set")
        shutil.copytree(FIXTURE, self.set)

    def refused(self, word):
        out = os.path.join(self.dir, "out")
        for name, words in (("report.py", ["--out", out]),
                            ("draw.py", ["--out", out]),
                            ("draw.py", ["--preview"]),
                            ("tables.py", ["--what", "keepalive"])):
            with self.subTest(f"{name} {words}"):
                if name == "draw.py" and not shutil.which("gnuplot"):
                    continue
                done = script(name, self.set, *words)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertIn(f"{name}: ", done.stderr)
                self.assertIn(word, done.stderr)
                self.assertNotIn("Traceback", done.stderr)
                self.assertEqual(done.stdout, "")
        self.assertEqual(glob.glob(os.path.join(out, "*")), [])

    def change(self, name, change):
        path = os.path.join(self.set, name)
        with open(path, encoding="utf-8") as f:
            text = f.read()
        with open(path, "w", encoding="utf-8") as f:
            f.write(change(text))

    def test_truncated(self):
        self.change("rows.jsonl", lambda t: t[:len(t) // 2])
        self.refused("truncated")

    def test_lines_missing(self):
        self.change("rows.jsonl",
                    lambda t: "".join(t.splitlines(True)[:-3]))
        self.refused("truncated")

    def test_empty(self):
        self.change("summary.json", lambda t: "")
        self.refused("summary.json: the file is empty")

    def test_other_version(self):
        self.change("manifest.json", lambda t: t.replace(
            "ioladder-results/1", "ioladder-results/2"))
        self.refused("version 'ioladder-results/2'")

    def test_not_there(self):
        shutil.rmtree(self.set)
        self.refused("no such result set")


class Settings(Scratch):
    """What a user has set neither changes a picture nor breaks it."""

    def setUp(self):
        super().setUp()
        home = os.path.join(self.dir, "home")
        for name, text in (
                (".gnuplot", "set datafile separator ','\nset logscale y\n"
                 "set terminal qt\nset decimalsign ','\n"),
                (".config/matplotlib/matplotlibrc",
                 "text.usetex: True\nlines.linewidth: 9\n"),
                ("matplotlibrc", "text.usetex: True\nsavefig.dpi: 7\n"),
                ("modules/random.py", "raise ImportError('not that one')\n"),
                ("modules/matplotlib.py", "raise OSError('nor this')\n")):
            path = os.path.join(home, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        self.theirs = {
            "HOME": home, "GNUTERM": "qt", "GDFONTPATH": home,
            "XDG_CONFIG_HOME": os.path.join(home, ".config"),
            "MPLBACKEND": "no_such", "PYTHONWARNINGS": "error",
            "PYTHONPATH": os.path.join(home, "modules"),
            "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "LANG": "tr_TR",
            "TZ": "Asia/Kathmandu", "COLUMNS": "20"}

    def test_gnuplot(self):
        if not shutil.which("gnuplot"):
            self.skipTest("gnuplot is not installed")
        seen = []
        for name, env in (("ours", {}), ("theirs", self.theirs)):
            out = os.path.join(self.dir, name)
            done = script("draw.py", FIXTURE, "--out", out, "--only", "ladder",
                          cwd=os.path.join(self.dir, "home"), **env)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            with open(os.path.join(out, "ladder.svg"), "rb") as f:
                seen.append(f.read())
            done = script("draw.py", FIXTURE, "--preview", "--only", "p99",
                          **env)
            seen[-1] += done.stdout.encode()
        self.assertEqual(seen[0], seen[1])

    def test_matplotlib(self):
        if image is None:
            self.skipTest("matplotlib is not installed")
        shutil.copytree(FIXTURE, os.path.join(self.dir, "one"))
        page = os.path.join(self.dir, "README.md")
        picture = os.path.join(self.dir, "docs", "img", "one-ladder.svg")
        seen = []
        for env in ({}, self.theirs):
            with open(page, "w", encoding="utf-8") as f:
                f.write("<!-- figure:image:ladder one -->\n"
                        "<!-- /figure -->\n")
            done = script("tables.py", "--write", "--root", self.dir,
                          cwd=os.path.join(self.dir, "home"), **env)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            with open(picture, "rb") as f:
                seen.append(f.read())
        self.assertEqual(seen[0], seen[1])


class Lost(Scratch):
    """A picture that cannot be drawn, and everything beside it."""

    def small_set(self):
        """The fixture with one cell, which two pictures show."""
        manifest, rows, _ = results.load(FIXTURE)
        rows = [r for r in rows if r["suite"] == "keepalive"
                and r["cell"] == {"connections": 64}]
        path = os.path.join(self.dir, "set")
        os.mkdir(path)
        results.write_json(os.path.join(path, "manifest.json"), manifest)
        results.write_json(os.path.join(path, "summary.json"),
                           summary.summarise(manifest, rows))
        with open(os.path.join(path, "rows.jsonl"), "w",
                  encoding="utf-8") as f:
            f.writelines(json.dumps(row) + "\n" for row in rows)
        return path

    def test_the_report_goes_on(self):
        if image is None:
            self.skipTest("matplotlib is not installed")
        code = (f"import sys; sys.path.insert(0, {ROOT!r} + '/plots')\n"
                "import report, figures\n"
                "figures.draw_cpu = lambda *words: 1 / 0\n"
                "sys.exit(report.main(sys.argv[1:]))\n")
        out = os.path.join(self.dir, "out")
        done = subprocess.run([sys.executable, "-c", code, self.small_set(),
                               "--out", out], capture_output=True, text=True,
                              timeout=180, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("picture cpu could not be drawn", done.stderr)
        with open(os.path.join(out, "index.html"), encoding="utf-8") as f:
            text = f.read()
        self.assertIn("picture cpu could not be drawn: ZeroDivision", text)
        self.assertEqual(Page(text).open, [])
        self.assertGreaterEqual(Page(text).tags["svg"], 1)
        with open(os.path.join(out, "report.pdf"), "rb") as f:
            self.assertTrue(f.read().rstrip().endswith(b"%%EOF"))

    def test_gnuplots_other_pictures_are_drawn(self):
        stub = os.path.join(self.dir, "gnuplot")
        with open(stub, "w", encoding="utf-8") as f:
            f.write('#!/bin/sh\ncase "$*" in *p99.gp) exit 1 ;; esac\n')
        os.chmod(stub, 0o755)
        done = script("draw.py", FIXTURE, "--out", self.dir,
                      PATH=self.dir + os.pathsep + os.environ["PATH"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("gnuplot p99.gp", done.stderr)
        self.assertNotIn("p99.svg", done.stdout)
        self.assertIn("cpu.svg", done.stdout)


class OtherPython(Scratch):
    def test_report_finds_an_interpreter_with_matplotlib(self):
        """Started by a Python that cannot import it, the report goes on in
        one that can."""
        if image is None:
            self.skipTest("matplotlib is not installed")
        # -I -S: no site-packages, so no matplotlib.
        bare = subprocess.run([sys.executable, "-S", "-c",
                               "import matplotlib"], capture_output=True,
                              check=False)
        if bare.returncode == 0:
            self.skipTest("matplotlib is not in site-packages here")
        done = subprocess.run(
            [sys.executable, "-S", os.path.join(ROOT, "plots", "report.py"),
             FIXTURE, "--out", self.dir], capture_output=True, text=True,
            check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(os.path.exists(os.path.join(self.dir,
                                                    "index.html")))


class Tables(Scratch):
    """Documents that quote a result set, and what happens when they drift."""

    def setUp(self):
        super().setUp()
        self.set = os.path.join(self.dir, "bench", "results", "one")
        shutil.copytree(FIXTURE, self.set)
        os.mkdir(os.path.join(self.dir, "docs"))
        self.doc = os.path.join(self.dir, "docs", "page.md")

    def write(self, *names):
        text = "# A page\n\n"
        for name in names:
            text += (f"<!-- figure:{name} bench/results/one -->\n"
                     f"<!-- /figure -->\n\nWords.\n\n")
        with open(self.doc, "w", encoding="utf-8") as f:
            f.write(text)

    def tables(self, mode):
        return script("tables.py", mode, "--root", self.dir)

    def read(self):
        with open(self.doc, encoding="utf-8") as f:
            return f.read()

    def test_write_then_check(self):
        self.write("keepalive,connections=64", "slope:idle", "machine",
                   "ratios:keepalive,connections=64")
        self.assertEqual(self.tables("--check").returncode, 1)
        done = self.tables("--write")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.tables("--check").returncode, 0)
        text = self.read()
        self.assertIn("| stage2 |", text)
        self.assertIn("2 epoll / 1 threads", text)
        self.assertIn("Words.", text)
        # What stands there is what the tables of the result set say.
        data = figures.Data(*results.load(self.set))
        self.assertIn(summary.cell_table(data.summary, "keepalive",
                                         {"connections": 64}), text)

    def test_a_changed_digit_is_found(self):
        self.write("keepalive,connections=64")
        self.tables("--write")
        text = self.read()
        digit = re.search(r"\| stage2 .*?(\d)", text).start(1)
        old = text[digit]
        with open(self.doc, "w", encoding="utf-8") as f:
            f.write(text[:digit] + str((int(old) + 1) % 10)
                    + text[digit + 1:])
        done = self.tables("--check")
        self.assertEqual(done.returncode, 1)
        self.assertIn("docs/page.md: differs", done.stderr)

    def test_an_image_knows_its_data(self):
        if image is None:
            self.skipTest("matplotlib is not installed")
        self.write("image:ladder")
        self.assertIn("missing", self.tables("--check").stderr)
        done = self.tables("--write")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.tables("--check").returncode, 0)
        self.assertIn("](img/one-ladder.svg)", self.read())
        picture = os.path.join(self.dir, "docs", "img", "one-ladder.svg")
        drawn = xml.parse(picture).getroot()
        self.assertGreater(len(list(drawn.iter())), 50)
        # Text is text: to be searched, read out, and small.
        self.assertIn("2 epoll", [e.text for e in drawn.iter()])
        self.assertLess(os.path.getsize(picture), 20000)
        # Another measurement, the same picture: that must be noticed.
        path = os.path.join(self.set, "summary.json")
        with open(path, encoding="utf-8") as f:
            found = json.load(f)
        found["cells"][0]["metrics"]["qps"][0] *= 2
        with open(path, "w", encoding="utf-8") as f:
            json.dump(found, f)
        done = self.tables("--check")
        self.assertEqual(done.returncode, 1)
        self.assertIn("drawn from other data", done.stderr)

    def test_wrong_markers(self):
        for text, word in (
                ("<!-- figure:keepalive bench/results/one -->\n",
                 "no <!-- /figure --> follows"),
                ("<!-- figure:keepalive -->\n<!-- /figure -->\n", "not '<!--"),
                ("<!-- figure:nothing bench/results/one -->\n"
                 "<!-- /figure -->\n", "no suite 'nothing'"),
                ("<!-- figure:keepalive,connections=7 bench/results/one -->\n"
                 "<!-- /figure -->\n", "no cell of keepalive"),
                ("<!-- figure:image:moon bench/results/one -->\n"
                 "<!-- /figure -->\n", "no picture 'moon'"),
                ("<!-- figure:keepalive bench/results/two -->\n"
                 "<!-- /figure -->\n", "no such result set")):
            with self.subTest(word):
                with open(self.doc, "w", encoding="utf-8") as f:
                    f.write(text)
                done = self.tables("--check")
                self.assertEqual(done.returncode, 1)
                self.assertIn(word, done.stderr)
                self.assertNotIn("Traceback", done.stderr)

    def test_documents_without_markers(self):
        with open(self.doc, "w", encoding="utf-8") as f:
            f.write("Nothing here.\n")
        self.assertEqual(self.tables("--check").returncode, 0)

    def test_printing(self):
        done = script("tables.py", FIXTURE, "--what", "keepalive", "machine")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("connections 64:", done.stdout)


class Details(unittest.TestCase):
    def test_labels_do_not_overlap(self):
        placed = figures.spread_labels([0.5, 0.5, 0.51, 0.1], 0.1)
        ordered = sorted(placed)
        for low, high in zip(ordered, ordered[1:]):
            self.assertGreaterEqual(high - low, 0.0999)
        self.assertEqual(placed.index(min(placed)), 3)

    def test_the_summary_is_that_of_any_python(self):
        """Since 3.12 sum() adds floats with compensation, and so gives other
        last digits: no figure may come from it."""
        manifest, rows, _ = results.load(FIXTURE)
        rows = [r for r in rows if r["suite"] in ("pipeline", "idle")]
        found = plain(summary.summarise(manifest, rows))
        with contextlib.ExitStack() as patches:
            for module in (summary, stats_math):
                patches.enter_context(mock.patch.object(
                    module, "sum", compensated, create=True))
            self.assertTrue(plain(summary.summarise(manifest, rows)) == found)
            patches.enter_context(mock.patch("math.fsum", naive))
            self.assertFalse(plain(summary.summarise(manifest, rows)) == found,
                             "no sum here that rounding changes")

    def test_the_summary_has_these_figures(self):
        _, _, found = results.load(FIXTURE)
        rates = {c["server"]: round(c["metrics"]["qps"][0])
                 for c in found["cells"] if c["suite"] == "keepalive"
                 and c["cell"] == {"connections": 64}}
        self.assertEqual(rates, {"stage1": 29320, "stage2": 44460,
                                 "stage4": 50600})
        pair = summary.find(found["comparisons"], suite="keepalive",
                            cell={"connections": 64}, metric="cpu_us",
                            server="stage1", base="stage2")
        self.assertAlmostEqual(pair["ratio"], 1.77375, 5)
        idle = next(e for e in found["slopes"] if e["server"] == "stage1")
        self.assertAlmostEqual(idle["bytes"], 15199.57, 2)

    def test_pairs_are_listed_once(self):
        data = figures.Data(*results.load(FIXTURE))
        self.assertTrue(tables.worth_a_row(data, "stage2", "stage1"))
        self.assertFalse(tables.worth_a_row(data, "stage1", "stage2"))


if __name__ == "__main__":
    unittest.main()
