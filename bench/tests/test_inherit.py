"""A program whose stdout nobody reads any more ends, and says nothing."""

import os
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# Whatever is begun by its name, and says something of itself.
PROGRAMS = sorted(
    path for folder in ("bench", "bench/trace", "stages", "docs")
    for path in (ROOT / folder).glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8"))
NO_READER = 141     # what a shell says of a process that SIGPIPE has ended


def begin(stdout, *words):
    return subprocess.Popen([sys.executable, *map(str, words)], stdout=stdout,
                            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                            text=True)


class Reader(unittest.TestCase):
    def closed(self):
        """A pipe whose reader is gone."""
        reader, writer = os.pipe()
        os.close(reader)
        self.addCleanup(os.close, writer)
        return writer

    def test_no_program_minds_its_end(self):
        self.assertGreater(len(PROGRAMS), 20)
        out = self.closed()
        began = [(path, begin(out, path, "--help")) for path in PROGRAMS]
        for path, process in began:
            said = process.communicate(timeout=120)[1]
            self.assertNotIn("Traceback", said, path)
            self.assertNotIn("BrokenPipe", said, path)

    def test_it_ends_at_once_and_its_status_tells(self):
        process = begin(self.closed(), ROOT / "bench" / "run.py", "--list")
        self.assertEqual(process.communicate(timeout=60)[1], "")
        self.assertEqual(process.returncode, NO_READER)

    def test_what_is_read_is_whole(self):
        process = begin(subprocess.PIPE, ROOT / "bench" / "run.py", "--list")
        said, wrong = process.communicate(timeout=60)
        self.assertEqual((process.returncode, wrong), (0, ""))
        self.assertIn("\nclaim-burst ", said)

    def test_a_full_disk_is_told(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        with open("/dev/full", "w", encoding="utf-8") as full:
            process = begin(full, ROOT / "bench" / "run.py", "--list")
            said = process.communicate(timeout=60)[1]
        self.assertEqual((process.returncode, said),
                         (1, "stdout: No space left on device\n"))


if __name__ == "__main__":
    unittest.main()
