"""micro/cancel: every case is there, and the counts are what they must be."""
import json
import os
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
PROGRAM = os.path.join(ROOT, "build", os.environ.get("V", ""), "micro",
                       "cancel")


def run(*args):
    return subprocess.run([PROGRAM, *args], capture_output=True, text=True,
                          check=False)


class Cancel(unittest.TestCase):
    def test_rows_and_allocations(self):
        done = run("--blocks", "2", "--json", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = json.loads(done.stdout)["rows"]
        self.assertEqual(
            {(r["what"], r["how"], r["depth"]) for r in rows},
            {(what, how, depth) for what in ("make", "check")
             for how in ("atomic", "locked")
             for depth in (1, 2, 4, 8, 12, 16)})
        for row in rows:
            self.assertEqual(row["allocations"],
                             (row["what"], row["how"]) == ("make", "locked"))
            self.assertGreater(row["ns"], 0)

    def test_wrong_usage(self):
        for args in (["--blocks", "0"], ["--blocks"], ["--json"], ["16"]):
            done = run(*args)
            self.assertEqual(done.returncode, 64, args)
            self.assertTrue(done.stderr)


if __name__ == "__main__":
    unittest.main()
