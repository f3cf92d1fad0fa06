"""architecture.md: what it draws is there, and all of it is drawn."""
import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Drawings(unittest.TestCase):
    def test_every_module_of_the_runner(self):
        text = (ROOT / "docs" / "architecture.md").read_text()
        drawing = next(block for block in text.split("```")
                       if "|-- suites.py" in block)
        self.assertEqual(sorted(set(re.findall(r"\w+\.py", drawing))),
                         sorted(p.name for p in (ROOT / "bench").glob("*.py")))


if __name__ == "__main__":
    unittest.main()
