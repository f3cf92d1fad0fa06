"""numbers.py finds each number that is planted without a source."""
import importlib.util
import tempfile
import unittest
from pathlib import Path

# By its path: the standard library has a module of that name.
_spec = importlib.util.spec_from_file_location(
    "document_numbers", Path(__file__).resolve().parent.parent / "numbers.py")
numbers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(numbers)


class Numbers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "bench" / "results" / "set-1").mkdir(parents=True)
        self.put("README.md", "# Start\n\nNothing is measured here.\n")
        self.put("docs/x.md", "# X\n\nIt takes a moment.\n")
        self.put("stages/1-a/README.md", "# One\n")
        self.put(".ci/numbers", "# FILE: NUMBER: KIND WHAT\n")

    def put(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def problems(self):
        return numbers.check(str(self.root))[0]

    def test_clean(self):
        self.assertEqual(self.problems(), [])

    def test_a_planted_number_is_found(self):
        for text, number in (
                ("a call takes 5.3 us here", "5.3 us"),
                ("it holds 12 KiB", "12 KiB"), ("it saves 30 %", "30 %"),
                ("180,000 requests/s", "180,000 requests/s"),
                ("answers 90,000 a second", "90,000 a second"),
                ("it is 3 times faster", "3 times"),
                ("2.5 x as much", "2.5 x as"),
                ("from 9 to 12 us", "9 to 12 us"),
                ("lower by a factor of 20", "20"),
                ("a ratio of 0.95 to nginx", "0.95"),
                ("between 0.91 to 0.99.", "0.91 to 0.99"),
                ("a line that breaks before 7\nms", "7 ms"),
                ("| a | table with 8 ns |", "8 ns")):
            for name in ("README.md", "docs/x.md", "stages/1-a/README.md"):
                with self.subTest(text, name=name):
                    before = (self.root / name).read_text()
                    self.put(name, f"{before}\nSome words. {text}\n")
                    found = self.problems()
                    self.assertEqual(len(found), 1, found)
                    self.assertIn(f"{name}:", found[0])
                    self.assertIn(f" {number}: no source", found[0])
                    self.put(name, before)

    def test_what_is_no_statement_of_ours(self):
        self.put("docs/x.md", """# X

<!-- figure:keepalive bench/results/set-1 -->
| stage1 | 5.3 us |
<!-- /figure -->

```
takes 9 us
```

    curl --max-time 5 s

The switch `--stuck-us 100 us` and [a link](x.md#5-ms), Linux 6.10,
Python 3.11, chapter 3, 6 stages, port 8080.
""")
        self.assertEqual(self.problems(), [])

    def test_a_marker_names_the_set(self):
        self.put("docs/x.md", "It takes 5 us.\n"
                 "<!-- from: bench/results/set-1 -->\n\nAnd then 6 us.\n")
        found = self.problems()
        self.assertEqual(len(found), 1, found)
        self.assertIn("6 us", found[0])
        self.put("docs/x.md", "It takes 5 us.\n"
                 "<!-- from: bench/results/set-2 -->\n")
        self.assertIn("no such result set", self.problems()[0])

    def test_a_line_of_the_list(self):
        self.put("docs/x.md", "It waits 5 s.\n")
        for source in ("option --drain-timeout", "set set-1",
                       "code docs/x.md", "source RFC 9112, 9.6"):
            with self.subTest(source):
                self.put(".ci/numbers", f"docs/x.md: 5 s: {source}\n")
                self.assertEqual(self.problems(), [])
        for source, why in (("set set-2", "no result set"),
                            ("code common/none.c", "no file"),
                            ("option drain", "no switch"),
                            ("hearsay", "KIND WHAT"), ("set", "KIND WHAT")):
            with self.subTest(source):
                self.put(".ci/numbers", f"docs/x.md: 5 s: {source}\n")
                found = self.problems()
                self.assertEqual(len(found), 1, found)
                self.assertIn(why, found[0])

    def test_the_list_holds_nothing_else(self):
        self.put(".ci/numbers", "docs/x.md: 5 s: set set-1\n")
        self.assertEqual(self.problems(), [])
        self.assertIn("not there any more",
                      numbers.check(str(self.root))[2][0])
        self.put("docs/x.md", "It waits 5 s.\n")
        self.put(".ci/numbers", "docs/x.md: 5 s: set set-1\n" * 2)
        self.assertIn("twice", self.problems()[0])
        self.put(".ci/numbers", "docs/x.md 5 s\n")
        self.assertIn("not FILE: NUMBER: KIND WHAT", self.problems()[0])


if __name__ == "__main__":
    unittest.main()
