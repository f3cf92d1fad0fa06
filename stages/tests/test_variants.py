"""variants.py: what a patch may be, what is said of one that is not, and that
open and save lose nothing."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import variants     # noqa: E402

TOOL = Path(__file__).resolve().parents[1] / "variants.py"
SERVER = "".join(f"line {i}\n" for i in range(1, 60))
PAD = "#define PAD 128\n"
DIRECTION = "direction: none, nothing is commonly said of it\n"
WHEN = "use it when: never\n"
HEADER = ("question: Why?\nlook for: line 7\nexpect: nothing\n" + DIRECTION
          + WHEN)
PATCH = HEADER + """--- a/4-fixed/server.c
+++ b/4-fixed/server.c
@@ -6,3 +6,3 @@
 line 6
-line 7
+line seven
 line 8
@@ -40,2 +40,3 @@
 line 40
+line 40 and a half
 line 41
"""


class Variants(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name)
        self.root = self.top / "stages"
        for name, text in (("4-fixed/server.c", SERVER),
                           ("parts/pad.h", PAD)):
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (self.root / "variants").mkdir()

    def patch(self, text, name="4-try"):
        path = self.root / "variants" / f"{name}.patch"
        path.write_text(text)
        return path

    def run_tool(self, *args):
        return subprocess.run([sys.executable, str(TOOL), "--root",
                               str(self.root), *args], capture_output=True,
                              text=True, check=False)

    def ok(self, *args):
        done = self.run_tool(*args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def bad(self, wanted, *args):
        done = self.run_tool(*args)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(wanted, done.stderr)

    def unpacked(self):
        self.ok("unpack", "4-try", str(self.top / "out"))
        return (self.top / "out/4-fixed/server.c").read_text()

    def test_a_patch_is_applied_to_a_copy(self):
        self.patch(PATCH)
        self.ok("check")
        text = self.unpacked()
        self.assertEqual(text, SERVER.replace("line 7\n", "line seven\n")
                         .replace("line 40\n",
                                  "line 40\nline 40 and a half\n"))
        self.assertEqual((self.root / "4-fixed/server.c").read_text(), SERVER)
        self.assertEqual((self.top / "out/parts/pad.h").read_text(), PAD)
        self.assertIn("| `4-try` | 3 | Why? |", self.ok("list"))

    def test_hunks_may_have_moved(self):
        self.patch(PATCH)
        (self.root / "4-fixed/server.c").write_text("new\n" * 9 + SERVER)
        self.assertIn("line 6\nline seven\nline 8", self.unpacked())

    def test_a_hunk_that_does_not_fit_is_named(self):
        self.patch(PATCH)
        (self.root / "4-fixed/server.c").write_text(
            SERVER.replace("line 41\n", "line forty-one\n"))
        self.bad("4-try.patch:13: hunk 2 (4-fixed/server.c, @@ -40,2 +40,3 @@"
                 "): its old lines are not in the file", "check")

    def test_hunks_keep_their_order(self):
        parts = PATCH.split("@@ -")
        self.patch(parts[0] + "@@ -" + parts[2] + "@@ -" + parts[1])
        self.bad("hunk 2", "check")

    def test_more_than_80_lines_are_too_many(self):
        def patch(n):
            return (HEADER + "--- a/4-fixed/server.c\n+++ b/4-fixed/server.c\n"
                    f"@@ -1,1 +1,{n + 1} @@\n line 1\n"
                    + "".join(f"+new {i}\n" for i in range(n)))

        self.patch(patch(80))
        self.ok("check")
        self.patch(patch(81))
        self.bad("81 changed lines, at most 80; the largest is "
                 "4-try.patch:8: hunk 1", "check")

    def test_the_header_has_three_lines(self):
        for old, new in (("question: Why?\n", ""), ("Why?", ""),
                         ("nothing", "..."), ("look for", "see")):
            self.patch(PATCH.replace(old, new, 1))
            self.bad("4-try.patch:", "check")
        self.patch(HEADER)
        self.bad("changes nothing", "check")

    def test_the_last_line_says_when_to_use_it(self):
        self.patch(PATCH.replace(WHEN, ""))
        self.bad("4-try.patch: has no line 'use it when: '", "check")
        self.assertIn("line 6\nline seven", self.unpacked())
        self.patch(PATCH.replace(WHEN, "use it when:\n"))
        self.bad("4-try.patch:5: expected 'use it when: '", "check")

    def test_what_is_commonly_said_has_a_source_and_a_direction(self):
        opinion = "commonly said: it is faster (A Page, https://a.test/b)\n"
        both = opinion + "direction: CPU less\n"
        self.patch(PATCH.replace(DIRECTION, both))
        self.ok("check")
        self.assertIn("line 6\nline seven", self.unpacked())
        self.patch(PATCH.replace(DIRECTION, both.replace(", https",
                                                         " https")))
        self.bad("4-try.patch:4: ends with its source", "check")
        self.patch(PATCH.replace(DIRECTION,
                                 both.replace("CPU less", "cpu less")))
        self.bad("4-try.patch:5: 'cpu less' is not", "check")

    def test_a_direction_is_a_figure_and_a_way(self):
        for words in ("less", "CPU", "CPU less by 10", "none", "none, ",
                      "CPU less by much %", "CPU less, p99 more"):
            self.assertIn("is not METRIC", variants.doubt(words, True))
            self.assertIsNone(variants.claim_of(words))
        for words, wanted in (
                ("requests more by 10 %", ("qps", "more", 0.1)),
                ("p99 same", ("p99_us", "same", 0)),
                ("calls less", ("own_calls", "less", 0)),
                ("none, the set has no such figure", None)):
            self.assertEqual(variants.doubt(words, True), "")
            self.assertEqual(variants.claim_of(words), wanted)

    def test_every_variant_has_a_direction(self):
        self.patch(PATCH.replace(DIRECTION, ""))
        self.bad("4-try.patch: has no line 'direction: '", "check")
        self.patch(PATCH.replace(DIRECTION, "direction: CPU less\n"))
        self.bad("4-try.patch:4: a direction without 'commonly said: '",
                 "check")

    def test_other_stages_are_left_alone(self):
        self.patch(PATCH.replace("/4-fixed/server.c", "/../Makefile"))
        self.bad("is not of 4-fixed/", "check")
        self.patch(PATCH.replace("4-fixed", "5-percore"))
        self.bad("5-percore/server.c is not of 4-fixed/", "check")

    def test_names(self):
        for name in ("fixed", "4-", "4-Recv", "4-a/b", "../4-a"):
            self.bad("is not a name such as", "open", name)
        self.bad("there is no stage 7", "open", "7-new")
        self.bad("no such variant", "unpack", "4-none", str(self.top / "x"))

    def test_a_patch_that_is_cut_off(self):
        self.patch(PATCH[:PATCH.index(" line 41")])
        self.bad("hunk 2", "check")
        self.patch(HEADER + "--- a/x\nline\n")
        self.bad("expected '+++ b/FILE'", "check")
        self.patch(HEADER + "words\n")
        self.bad("neither a file nor a hunk", "check")

    def test_open_edit_save(self):
        work = self.top / "build/variants/work/4-new"
        self.assertIn("make variant-save NAME=4-new", self.ok("open", "4-new"))
        self.bad("is there already", "open", "4-new")
        self.bad("expected 'question: '", "save", "4-new")
        (work / "header").write_text(HEADER)
        self.bad("changes nothing", "save", "4-new")
        path = work / "4-fixed/server.c"
        path.write_text(path.read_text().replace("line 9\n", "line nine\n"))
        (work / "parts/pad.h").write_text("#define PAD 0\n")
        (work / "4-fixed/extra.h").write_text("\nnew\n")
        self.ok("save", "4-new")
        self.ok("check")
        patch = self.root / "variants/4-new.patch"
        saved = patch.read_text()
        self.assertFalse([line for line in saved.split("\n")
                          if line != line.rstrip()])
        self.ok("unpack", "4-new", str(self.top / "out"))
        for file in ("4-fixed/server.c", "parts/pad.h", "4-fixed/extra.h"):
            self.assertEqual((self.top / "out" / file).read_text(),
                             (work / file).read_text())
        subprocess.run(["rm", "-r", str(work)], check=True)
        self.ok("open", "4-new")
        self.ok("save", "4-new")
        self.assertEqual(patch.read_text(), saved)

    def test_what_is_too_large_is_not_saved(self):
        work = self.top / "build/variants/work/4-new"
        self.bad("is not open", "save", "4-new")
        self.ok("open", "4-new")
        (work / "header").write_text(HEADER)
        (work / "4-fixed/server.c").write_text("other\n" * 50)
        self.bad("at most 80: not saved", "save", "4-new")
        self.assertEqual(list((self.root / "variants").iterdir()), [])


class ThisRepository(unittest.TestCase):
    def test_variants_apply(self):
        done = subprocess.run([sys.executable, str(TOOL), "check"],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
