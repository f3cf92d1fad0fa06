"""check_snippets.py: stale quotations are found, and --write mends them."""
import contextlib
import io
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import check_snippets  # noqa: E402 (the path comes first)

SOURCE = """\
int before;

int f(void)
{
    /* [snip body] */
    int x = 1;

        x++;
    /* [/snip body] */
    return x;
}
"""
BODY = "int x = 1;\n\n    x++;"


class Snippets(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.root = Path(self.dir.name)
        self.source = self.root / "a.c"
        self.source.write_text(SOURCE)
        self.page = self.root / "page.md"

    def run_main(self, *argv):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = check_snippets.main(list(argv), self.root)
        return status, err.getvalue()

    def quote(self, what, text, kind="snippet"):
        self.page.write_text(
            f"# A\n\n<!-- {kind}: {what} -->\n```c\n{text}\n```\nend\n")

    def passes(self):
        self.assertEqual(self.run_main(), (0, ""))

    def fails(self, word):
        status, err = self.run_main()
        self.assertEqual(status, 1)
        self.assertIn(word, err)

    def test_equal_passes(self):
        self.quote("a.c#body", BODY)
        self.passes()

    def test_changed_source_fails_and_is_mended(self):
        self.quote("a.c#body", BODY)
        self.source.write_text(SOURCE.replace("x++", "x--"))
        self.fails("page.md:3: differs from a.c#body")
        self.assertEqual(self.run_main("--write")[0], 0)
        self.assertIn("    x--;\n```\nend\n", self.page.read_text())
        self.passes()

    def test_blank_at_the_end_of_a_quoted_line_fails(self):
        self.quote("a.c#body", BODY + " ")
        self.fails("differs")

    def test_whole_function_without_markers(self):
        text = SOURCE[SOURCE.index("int f"):].rstrip("\n")
        kept = [s for s in text.split("\n") if "snip" not in s]
        self.quote("a.c@f", "\n".join(kept))
        self.passes()

    def test_missing_things(self):
        for what, word in (("a.c#soul", "no '[snip soul]'"),
                           ("b.c#body", "b.c"), ("a.c@g", "no function")):
            self.quote(what, BODY)
            self.fails(word)
            before = self.page.read_text()
            self.assertEqual(self.run_main("--write")[0], 1)
            self.assertEqual(self.page.read_text(), before)

    def test_broken_markers(self):
        self.quote("a.c#body", BODY)
        self.source.write_text(SOURCE.replace("/* [/snip body] */", ""))
        self.fails("does not end")
        self.source.write_text(SOURCE.replace("/* [snip body] */", ""))
        self.fails("do not pair up")
        self.source.write_text(SOURCE + SOURCE)
        self.fails("twice")

    def test_page_without_block(self):
        self.page.write_text("<!-- snippet: a.c#body -->\ntext\n")
        self.fails("no fenced block")
        self.page.write_text("<!-- snippet: a.c#body -->\n```c\nint x;\n")
        self.fails("does not end")

    def test_example_in_a_block_is_not_a_quotation(self):
        self.page.write_text("```\n<!-- snippet: nowhere.c -->\n```\n")
        self.passes()

    def test_output(self):
        self.quote("echo one two", "one two", "output")
        self.passes()
        self.quote("echo one two", "one", "output")
        self.fails("differs from echo")
        self.run_main("--write")
        self.passes()

    def test_output_does_not_depend_on_the_terminal(self):
        (self.root / "tool.py").write_text(
            "import os, time\nprint(os.environ['COLUMNS'], time.timezone)\n")
        self.quote("python3 tool.py", "80 0", "output")
        with mock.patch.dict(os.environ, COLUMNS="20", TZ="Asia/Kathmandu",
                             PYTHONPATH="/none", LANG="tr_TR"):
            self.passes()

    def test_command_that_fails(self):
        self.quote("false", "", "output")
        self.fails("exit status 1")
        self.quote("no-such-command", "", "output")
        self.fails("no-such-command")

    def test_varying_output_must_only_be_there(self):
        self.quote("echo here", "there", "output varies")
        self.passes()
        self.quote("echo here", "", "output varies")
        self.fails("differs")
        self.run_main("--write")
        self.assertIn("```c\nhere\n```", self.page.read_text())


if __name__ == "__main__":
    unittest.main()
