"""Who defines main() in the runners of the C tests: Criterion, and only it.

A runner with a main() of its own passes with Criterion 2.4.1 and aborts in
every test with 2.4.2 (Ubuntu 24.04): there the test process runs the runner's
main() again.
"""
import subprocess
import unittest
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / "build"
RUNNERS = ["test_common", "test_bench", "test_lockfree", "test_servers"]


class Runners(unittest.TestCase):
    def test_main_is_the_librarys(self):
        for name in RUNNERS:
            with self.subTest(name):
                self.assertTrue((BUILD / name).exists(), "make test-build")
                symbols = subprocess.run(
                    ["nm", "--defined-only", BUILD / name], text=True,
                    capture_output=True, check=True).stdout.split("\n")
                self.assertEqual([s for s in symbols if s.endswith(" main")],
                                 [])


if __name__ == "__main__":
    unittest.main()
