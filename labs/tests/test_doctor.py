"""What make doctor says of the ways to run student code."""

import os
import subprocess
import sys
import unittest

LABS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, LABS)

from grader import sandbox                              # noqa: E402

ASK = """
import sys
sys.path.insert(0, sys.argv[1])
import doctor
from grader import sandbox
doctor.sandboxes(sandbox)
"""


class SharedMemory(unittest.TestCase):
    """Criterion needs /dev/shm, and says nothing where it has none."""

    def says(self, mode):
        """{way: what is said} where /dev/shm has this mode: in a mount
        namespace of its own."""
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c",
             f'mount -t tmpfs -o mode={mode} none /dev/shm && exec "$@"', "sh",
             sys.executable, "-c", ASK, LABS], capture_output=True, text=True,
            timeout=300, check=False)
        if done.returncode != 0:
            self.skipTest(done.stderr.strip())
        lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
        return {words[1]: words[2] for words in lines
                if words[0] == "sandbox"}

    def test_others_may_not_write_there(self):
        if os.geteuid() != 0 or sandbox.refusal("user"):
            self.skipTest("no other user can be had here")
        self.assertIn("chmod 1777 /dev/shm", self.says("755")["user"])
        self.assertTrue(self.says("1777")["user"].startswith("works"))


if __name__ == "__main__":
    unittest.main()
