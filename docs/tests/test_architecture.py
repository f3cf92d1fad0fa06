"""architecture.md: what it draws is there, and all of the runner is drawn."""
import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"


def imported(path, found):
    """The modules of bench/ that a program needs, itself included."""
    found.add(path.name)
    for name in re.findall(r"^(?:import|from) (\w+)", path.read_text(), re.M):
        other = BENCH / f"{name}.py"
        if other.exists() and other.name not in found:
            imported(other, found)
    return found


class Drawings(unittest.TestCase):
    def test_the_modules_of_the_runner(self):
        text = (ROOT / "docs" / "architecture.md").read_text()
        drawing = next(block for block in text.split("```")
                       if "|-- suites.py" in block)
        drawn = set(re.findall(r"\w+\.py", drawing))
        there = {path.name for path in BENCH.glob("*.py")}
        needed = imported(BENCH / "run.py", set())
        self.assertIn("stats_math.py", needed)
        self.assertEqual(drawn - there, set(), "drawn and not there")
        self.assertEqual(needed - drawn, set(), "needed and not drawn")


if __name__ == "__main__":
    unittest.main()
