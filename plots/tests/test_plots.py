"""Pictures, page, paper and tables from a small fixed result set: the files
open and show something, and a damaged set gives an error and no file."""

import contextlib
import glob
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

import results      # noqa: E402
import sets         # noqa: E402
import stats_math   # noqa: E402
import summary      # noqa: E402
import svg          # noqa: E402
import tables       # noqa: E402

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

    def test_preview_is_text(self):
        for wide in (40, 80):
            done = script("draw.py", FIXTURE, "--preview", "--columns",
                          str(wide))
            self.assertEqual(done.returncode, 0, done.stderr)
            for word in ("1 threads", "2 epoll", "4 fixed", "----",
                         "requests a second", "Memory of an idle"):
                self.assertIn(word, done.stdout.replace("\n", " "))
            lines = done.stdout.splitlines()
            self.assertLessEqual(max(map(len, lines)), wide)
            # No name runs into its neighbour: each has a line of its own.
            for line in lines:
                self.assertLessEqual(len(re.findall(
                    r"\d (?:threads|epoll|fixed)\b", line)), 1, line)

    def test_the_end_of_a_run(self):
        import ending
        lines = ending.by_gnuplot(FIXTURE, 60)
        self.assertIn("CPU time of a request", lines[0])
        self.assertTrue(any("2 epoll" in line and "---" in line
                            for line in lines), lines)
        self.assertEqual(ending.by_gnuplot(self.dir, 60), [])


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
                ("modules/random.py", "raise ImportError('not that one')\n"),
                ("modules/html.py", "raise OSError('nor this')\n")):
            path = os.path.join(home, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        self.theirs = {
            "HOME": home, "GNUTERM": "qt", "GDFONTPATH": home,
            "XDG_CONFIG_HOME": os.path.join(home, ".config"),
            "PYTHONWARNINGS": "error",
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
                          "--columns", "80", **env)
            seen[-1] += done.stdout.encode()
        self.assertEqual(seen[0], seen[1])

    def test_pictures_of_documents(self):
        shutil.copytree(FIXTURE, os.path.join(self.dir, "one"))
        page = os.path.join(self.dir, "README.md")
        picture = os.path.join(self.dir, "docs", "img", "one-cpu.svg")
        seen = []
        for env in ({}, self.theirs):
            with open(page, "w", encoding="utf-8") as f:
                f.write("<!-- figure:image:cpu one -->\n"
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
        code = (f"import sys; sys.path.insert(0, {ROOT!r} + '/plots')\n"
                "import report, pictures\n"
                "pictures.stacks.draw = lambda *words: 1 / 0\n"
                "sys.exit(report.main(sys.argv[1:]))\n")
        out = os.path.join(self.dir, "out")
        done = subprocess.run([sys.executable, "-c", code, self.small_set(),
                               "--out", out], capture_output=True, text=True,
                              timeout=180, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("picture syscalls could not be drawn", done.stderr)
        with open(os.path.join(out, "index.html"), encoding="utf-8") as f:
            text = f.read()
        self.assertIn("picture syscalls could not be drawn: ZeroDivision",
                      text)
        self.assertIn('<figure id="cpu"', text)
        self.assertIn("</html>", text)

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
        data = sets.Data(*results.load(self.set))
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
        self.write("image:cpu")
        self.assertIn("missing", self.tables("--check").stderr)
        done = self.tables("--write")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.tables("--check").returncode, 0)
        self.assertIn("](img/one-cpu.svg)", self.read())
        picture = os.path.join(self.dir, "docs", "img", "one-cpu.svg")
        drawn = xml.parse(picture).getroot()
        # Text is text: to be searched, read out, and small.
        self.assertIn("2 epoll", [e.text for e in drawn.iter()])
        self.assertLess(os.path.getsize(picture), 20000)
        with open(picture, encoding="utf-8") as f:
            self.assertIn("prefers-color-scheme:dark", f.read())
        # Another measurement: that must be noticed.
        path = os.path.join(self.set, "summary.json")
        with open(path, encoding="utf-8") as f:
            found = json.load(f)
        for entry in found["cells"]:
            if entry["suite"] == "keepalive":
                entry["metrics"]["cpu_us"][0] *= 2
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
        placed = svg.spread([50, 50, 51, 10], 10, 0, 100)
        ordered = sorted(placed)
        for low, high in zip(ordered, ordered[1:]):
            self.assertGreaterEqual(high - low, 9.99)
        self.assertEqual(placed.index(min(placed)), 3)

    def test_ticks_are_few_and_inside(self):
        for low, high in ((300, 40000), (90, 210), (0.7, 3), (1, 1e7)):
            ticks = svg.Log(low, high, 0, 100).ticks()
            self.assertLessEqual(len(ticks), 8, (low, high))
            self.assertGreaterEqual(len(ticks), 1, (low, high))
            self.assertTrue(all(low <= t <= high for t in ticks))
            self.assertLessEqual(len(svg.Linear(low, high, 0, 1).ticks()), 7)

    def test_numbers_as_people_say_them(self):
        for value, unit, words in (
                (39400, "us", "39.4 ms"), (732, "us", "732 us"),
                (1.1e6, "us", "1.10 s"), (17164, "B", "16.8 KiB"),
                (208, "B", "208 B"), (187536, "/s", "188 k/s"),
                (0.4, "", "0.400"), (None, "us", "-")):
            self.assertEqual(sets.amount(value, unit), words)
        for value, unit, words in ((20, "us", "20 us"), (0, "us", "0"),
                                   (5e4, "/s", "50 k/s"), (1.2, "", "1.2")):
            self.assertEqual(sets.tick(value, unit), words)

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
        data = sets.Data(*results.load(FIXTURE))
        self.assertTrue(tables.worth_a_row(data, "stage2", "stage1"))
        self.assertFalse(tables.worth_a_row(data, "stage1", "stage2"))


if __name__ == "__main__":
    unittest.main()
