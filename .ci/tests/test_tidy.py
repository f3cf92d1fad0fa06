"""tidy.py finds each breach that is planted, and nothing else."""
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import tidy  # noqa: E402 (the path comes first)


@unittest.skipUnless(shutil.which("git"), "git is not installed")
class Tidy(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.root = Path(self.dir.name)
        subprocess.run(["git", "init", "-q", "."], cwd=self.root, check=True)
        self.put("README.md", "# Start here\n\nSee [x](docs/x.md#two-words).\n")
        self.put("docs/x.md", "# X\n\n## Two words\n\n[up](../README.md)\n")
        self.put("common/a.c", "int a;\n")
        self.put(".ci/run", "#!/bin/sh\n", 0o755)

    def put(self, name, text, mode=0o644):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)

    def only(self, *words):
        found = tidy.check(self.root)
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])

    def test_clean(self):
        self.assertEqual(tidy.check(self.root), [])

    def test_what_git_ignores_is_not_looked_at(self):
        self.put(".gitignore", "build/\n")
        self.put("build/x", "no newline  ")
        self.assertEqual(tidy.check(self.root), [])

    def test_top_level(self):
        self.put("src/a.c", "int a;\n")
        self.only("src", "layout")

    def test_lines(self):
        for text, word in (("int a; \n", "blanks"), ("int\ta;\n", "tab"),
                           ("int a;", "no newline"),
                           ("int a;\n\n", "blank lines"),
                           ("// TO" "DO: b\n", "left in"),
                           ("/* " + "x" * 78 + "*/\n", "83 columns"),
                           ("// see /home/joe/x\n", "/home/joe"),
                           ("// in /work/here\n", "/work/here"),
                           ('open("/tmp/a.lock");\n', "/tmp/a.lock"),
                           (b"// \xff\n", "UTF-8")):
            self.put("common/a.c", text)
            self.only("common/a.c", word)

    def test_route_is_no_path_of_a_machine(self):
        self.put("common/a.c", '// GET /work/US, "/work/200", /roots\n')
        self.assertEqual(tidy.check(self.root), [])

    def test_size(self):
        self.put("bench/results/a.json", "x" * (1024 * 1024 + 1))
        self.only("1048577 bytes")

    def test_rows_are_larger(self):
        self.put("bench/results/a/rows.jsonl", "x" * (4 << 20))
        self.assertEqual(tidy.check(self.root), [])
        self.put("bench/results/a/rows.jsonl", "x" * ((4 << 20) + 1))
        self.only("4194305 bytes")

    def test_raw_data_is_left_alone(self):
        self.put("common/tests/corpus/a/1", "GET / \t\r\n ")
        self.assertEqual(tidy.check(self.root), [])

    def test_modes(self):
        self.put(".ci/run", "#!/bin/sh\n", 0o644)
        self.only(".ci/run", "executable")
        self.put(".ci/run", "echo\n", 0o755)
        self.only(".ci/run", "executable")

    def test_links(self):
        for text, word in (("[a](docs/y.md)", "no such file"),
                           ("[a](docs/x.md#three)", "no such heading"),
                           ("[a](#nowhere)", "no such heading"),
                           ("![a](docs/x.png)", "no such file"),
                           ('<img src="docs/x.png">', "no such file")):
            self.put("README.md", f"# A\n\n{text}\n")
            self.only("README.md:3", word)

    def test_a_picture_that_no_page_shows(self):
        self.put("docs/img/a.svg", "<svg/>\n")
        self.only("docs/img/a.svg", "no page shows it")
        self.put("README.md", "# A\n\n![a](docs/img/a.svg)\n")
        self.assertEqual(tidy.check(self.root), [])

    def test_links_that_are_none_of_ours(self):
        self.put("README.md", "# A b\n\n[a](https://example.org/x) "
                 "[b](#a-b) `[c](nowhere)`\n\n```\n[d](nowhere)\n```\n")
        self.assertEqual(tidy.check(self.root), [])

    def test_symbolic_link(self):
        (self.root / "docs" / "y.md").symlink_to("x.md")
        self.only("symbolic")


if __name__ == "__main__":
    unittest.main()
