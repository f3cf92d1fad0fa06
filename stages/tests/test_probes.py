"""The static probes: what common/probe.h says is what the stages have."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / os.environ.get("V", "")
HEADER = (ROOT / "common" / "probe.h").read_text()
TABLE = re.compile(r"^ \*      (\w+) +((?:\w+, )*\w+) {3,}\S", re.M)


def documented():
    """{probe: how many arguments it has}"""
    head = HEADER.partition("The probes of provider")[2]
    head = head.partition(" *      worker ")[0]
    return {name: len(words.split(", ")) for name, words in TABLE.findall(head)}


def used(folder):
    """[(probe, how many arguments)] in the sources of a stage"""
    text = "".join(p.read_text() for p in sorted(folder.glob("*.c")))
    return [(name, 1 + arguments.count(","))
            for name, arguments in re.findall(
                r"\bPROBE\((\w+), ((?:[^()]|\([^()]*\))*)\)", text)]


def notes(binary):
    """[(probe, how many arguments)] that a file tells a tracer of"""
    done = subprocess.run(["readelf", "-n", binary], capture_output=True,
                          text=True, check=True)
    return [(name, len(arguments.split())) for name, arguments in re.findall(
        r"Provider: ioladder\s+Name: (\w+)\s+Location:.*\s+Arguments: (.*)",
        done.stdout)]


class Probes(unittest.TestCase):
    def setUp(self):
        self.stages = sorted((ROOT / "stages").glob("[1-6]-*"))

    def test_the_table_names_all_probes_and_their_arguments(self):
        table, seen = documented(), set()
        self.assertIn("run", table)
        for folder in self.stages:
            for name, count in used(folder):
                self.assertEqual(table.get(name), count,
                                 f"{name} in {folder.name}")
                seen.add(name)
            mine = {name for name, _ in used(folder)}
            self.assertLessEqual({"conn_open", "conn_close", "run", "park",
                                  "unpark"}, mine, folder.name)
        self.assertEqual(seen, set(table))

    def test_what_is_built_has_them(self):
        if not shutil.which("readelf"):
            self.skipTest("readelf is not installed")
        table = documented()
        for folder in self.stages:
            found = notes(BUILD / f"stage{folder.name[0]}")
            if not found:
                self.skipTest("built without probes: no <sys/sdt.h>")
            self.assertEqual({n for n, _ in found},
                             {n for n, _ in used(folder)}, folder.name)
            for name, count in found:
                self.assertEqual(table[name], count, folder.name)

    def test_without_probes_nothing_is_left_of_them(self):
        """Switched off, no argument is computed: steal() asks for none."""
        cc = os.environ.get("CC") or shutil.which("gcc") or "cc"
        with tempfile.TemporaryDirectory() as scratch:
            out = os.path.join(scratch, "server.o")
            subprocess.run(
                [*cc.split(), "-std=gnu17", "-O2", "-D_GNU_SOURCE", "-Wall",
                 "-Wextra", "-Werror", "-DIOLADDER_PROBES=0", "-Icommon",
                 "-Istages", "-c", "-o", out, "stages/6-stealing/server.c"],
                cwd=ROOT, check=True)
            self.assertNotIn(b"ioladder\0", Path(out).read_bytes())


if __name__ == "__main__":
    unittest.main()
