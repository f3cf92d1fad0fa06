"""A test that failed is asked again only where noise may be the reason."""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

AGAIN = Path(__file__).resolve().parents[1] / "again.py"
# Stands in for a test program: fails as often as the file `left` says.
PROGRAM = """#!/bin/sh
echo "$*" >>calls
left=$(cat left)
if [ "$left" = 0 ]; then
    echo "[====] Synthesis: Tested: 1 | Passing: 1 | Failing: 0"
    exit 0
fi
echo $((left - 1)) >left
echo "$SAYS"
i=0
while [ $i -lt "$MANY" ]; do
    echo "[FAIL] any_line::number_$i: (0.10s)"
    i=$((i + 1))
done
exit 1
"""
FILE = """
import pathlib, unittest
class T(unittest.TestCase):
    def test_it(self):
        left = int(pathlib.Path("left").read_text())
        pathlib.Path("left").write_text(str(max(left - 1, 0)))
        with self.subTest("a part"):
            self.assertEqual(left, 0, {says!r})
    def test_other(self):
        pass
"""


class Again(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.at = Path(scratch.name)

    def ask(self, *argv, left=1, says="", many=1, again=True):
        (self.at / "left").write_text(f"{left}\n")
        (self.at / "program").write_text(PROGRAM)
        (self.at / "program").chmod(0o755)
        (self.at / "test_t.py").write_text(FILE.format(says=says))
        for name in ("calls", "unsteady"):
            (self.at / name).unlink(missing_ok=True)
        env = {k: v for k, v in os.environ.items() if k != "AGAIN"}
        env |= {"SAYS": says, "MANY": str(many), "SERVER": "stage9",
                "APP": "http"} | ({"AGAIN": "unsteady"} if again else {})
        return subprocess.run([sys.executable, AGAIN, *argv], env=env,
                              cwd=self.at, check=False, text=True,
                              stdout=subprocess.PIPE).returncode

    def said(self, name):
        path = self.at / name
        return path.read_text().splitlines() if path.exists() else []

    def test_a_program(self):
        argv = ["./program", "-j6", "--filter", "any_*/*"]
        self.assertEqual(self.ask(*argv), 0)
        self.assertEqual(self.said("unsteady"),
                         ["stage9 http any_line/number_0"])
        alone = "-j1 --filter any_line/number_0"
        self.assertEqual(self.said("calls"),
                         ["-j6 --filter any_*/*", alone, alone])
        self.assertEqual(self.ask(*argv, left=0), 0)
        self.assertEqual(self.said("unsteady"), [])
        # It fails again alone, at once or the second time.
        self.assertNotEqual(self.ask(*argv, left=2), 0)
        self.assertEqual(self.said("unsteady"), [])

    def test_a_program_that_is_not_asked_again(self):
        argv = ["./program", "-j6"]
        for why, how in {
                "nobody wants it": {"again": False},
                "more than noise": {"many": 5},
                "no test was named": {"many": 0},
                "a sanitizer": {"says": "ERROR: AddressSanitizer: x"},
                "the status of one": {"says": "ended with status 66: "},
                "a crash": {"says": "any_line::x: CRASH!"}}.items():
            with self.subTest(why):
                self.assertNotEqual(self.ask(*argv, **how), 0)
                self.assertEqual(self.said("calls"), ["-j6"])
                self.assertEqual(self.said("unsteady"), [])

    def test_a_file(self):
        argv = ["--python", "test_t.py"]
        self.assertEqual(self.ask(*argv), 0)
        self.assertEqual(self.said("unsteady"), ["test_t.T.test_it"])
        self.assertEqual(self.ask(*argv, left=0), 0)
        self.assertEqual(self.said("unsteady"), [])
        for how in ({"again": False}, {"left": 2},
                    {"says": "WARNING: ThreadSanitizer: data race"}):
            with self.subTest(how):
                self.assertNotEqual(self.ask(*argv, **how), 0)
                self.assertEqual(self.said("unsteady"), [])

    def test_a_shell_lets_a_job_in_the_background_ignore_ctrl_c(self):
        (self.at / "test_v.py").write_text(
            "import signal, unittest\n"
            "class T(unittest.TestCase):\n"
            "    def test_it(self):\n"
            "        self.assertNotEqual(signal.getsignal(signal.SIGINT),\n"
            "                            signal.SIG_IGN)\n")
        self.assertEqual(subprocess.run(
            ["sh", "-c", "'%s' '%s' --python test_v.py & wait $!"
             % (sys.executable, AGAIN)], cwd=self.at, check=False,
            stdout=subprocess.DEVNULL).returncode, 0)

    def test_a_file_that_cannot_be_loaded(self):
        (self.at / "test_u.py").write_text("import nothing_of_that_name\n")
        self.assertNotEqual(self.ask("--python", "test_u.py"), 0)
        self.assertNotEqual(self.ask("--python", "test_t.py", "test_u.py",
                                     left=0), 0)


if __name__ == "__main__":
    unittest.main()
