"""check_citation.py: the project's file is valid; broken ones are not."""
import sys
import unittest
from pathlib import Path

CI = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CI))
import check_citation  # noqa: E402 (the path comes first)

GOOD = (CI.parent / "CITATION.cff").read_text()


class Citation(unittest.TestCase):
    def fails(self, old, new, word):
        self.assertIn(old, GOOD)
        found = check_citation.check(GOOD.replace(old, new))
        self.assertTrue(any(word in f for f in found), found)

    def test_ours_is_valid(self):
        self.assertEqual(check_citation.check(GOOD), [])

    def test_required_keys(self):
        for key in ("title: ", "message: ", "cff-version: "):
            line = next(s for s in GOOD.split("\n") if s.startswith(key))
            self.fails(line + "\n", "", "missing: " + key[:-2])
        self.fails('  - name: "the ioladder authors"\n', "", "missing: auth")

    def test_values(self):
        self.fails("cff-version: 1.2.0", "cff-version: 1.1.0", "1.2.0")
        self.fails("type: software", "type: book", "type")
        self.fails("license: MIT", "licence: MIT", "unknown key: licence")
        self.fails("date-released: 2026-11-23", "date-released: 23.11.2026",
                   "date-released")
        self.fails("  - benchmark\n", "  - epoll\n", "keywords")
        self.fails("  - name: ", "  - nom: ", "unknown key nom")
        self.fails("license: MIT", "license: MIT\nurl: here", "not a URL")

    def test_yaml_it_cannot_read(self):
        self.fails("license: MIT", "license: {a: b}", "cannot read")
        self.fails("license: MIT", "license MIT", "expected 'key: value'")
        self.fails("license: MIT", "license:\tMIT", "tab")
        self.fails("license: MIT", "license: MIT\n  - x", "has a value")
        self.fails("license: MIT", "license: MIT\ntitle: b", "twice")


if __name__ == "__main__":
    unittest.main()
