"""build/micro/probe: its two forms say the same, and nothing is left out."""
import json
import os
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
PROBE = os.path.join(ROOT, "build", "micro", "probe")
FEATURES = ["NODROP", "FAST_POLL", "EXT_ARG", "ACCEPT", "RECV, SEND", "READ",
            "SEND_ZC", "MSG_RING", "COOP_TASKRUN", "DEFER_TASKRUN",
            "SINGLE_ISSUER", "provided-buffer ring", "direct descriptors",
            "registered buffers", "SOCKET (and POLL_FIRST)", "SQPOLL"]


def probe(*args):
    return subprocess.run([PROBE, *args], capture_output=True, text=True,
                          check=False, timeout=30)


@unittest.skipUnless(os.path.exists(PROBE), "build/micro/probe is not built")
class Probe(unittest.TestCase):
    def setUp(self):
        self.text = probe()
        if self.text.returncode == 77:
            self.assertIn("no io_uring", self.text.stderr)
            self.skipTest(self.text.stderr)

    def test_both_forms_agree(self):
        self.assertEqual(self.text.returncode, 0, self.text.stderr)
        found = json.loads(probe("--json").stdout)
        self.assertTrue(self.text.stdout.startswith(
            f"Linux {found['kernel']}, {found['memlock_bytes']} bytes"))
        names = [item["name"] for item in found["features"]]
        self.assertEqual(len(names), len(set(names)))
        self.assertFalse(set(FEATURES) - set(names))
        for item in found["features"]:
            line = next(line for line in self.text.stdout.split("\n")
                        if line.startswith(f"{item['name']:26} "))
            self.assertEqual(line[27:30].strip(),
                             "yes" if item["here"] else "no")

    def test_wrong_usage(self):
        for args in (["--xml"], ["--json", "--json"]):
            done = probe(*args)
            self.assertEqual(done.returncode, 64)
            self.assertIn("usage", done.stderr)


if __name__ == "__main__":
    unittest.main()
