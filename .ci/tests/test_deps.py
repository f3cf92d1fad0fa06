"""`.ci/deps` beside a package manager that is busy, or a source that is gone:
a stand-in for apt-get says what the real one says."""
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

DEPS = Path(__file__).resolve().parent.parent / "deps"
TOOLS = ("bash", "dirname", "mkdir", "tail", "env", "grep", "wc", "id", "cat",
         "touch")
# The n-th call reads line n of the plan: what it says before it fails, or
# "ok"; a call that installs leaves a mark for dpkg-query.
APT_GET = r"""#!/bin/bash
here=${0%/*}
echo "$*" >>"$here/calls"
n=$(wc -l <"$here/calls")
said=$(tail -n "+$n" "$here/plan" | { read -r line; echo "$line"; })
if [ "${said:-ok}" != ok ]; then echo "$said" >&2; exit 100; fi
[ "$1" != install ] || touch "$here/done"
"""
DPKG_QUERY = """#!/bin/bash
[ ! -e "${0%/*}/done" ] || echo installed
"""
LISTS = ("E: Could not get lock /var/lib/apt/lists/lock. "
         "It is held by process 4711 (apt-get)")
DPKG = ("E: Could not get lock /var/lib/dpkg/lock-frontend. "
        "It is held by process 4711 (unattended-upgr)")
GONE = "E: Failed to fetch the index of a source"


class Deps(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)
        self.bin = self.root / "bin"
        (self.root / ".ci").mkdir()
        self.bin.mkdir()
        shutil.copy(DEPS, self.root / ".ci" / "deps")
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        for name, text in (("apt-get", APT_GET), ("dpkg-query", DPKG_QUERY),
                           ("sudo", '#!/bin/bash\nexec "$@"\n'),
                           ("sleep", "#!/bin/bash\n")):
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)

    def deps(self, *plan, wait="60"):
        (self.bin / "plan").write_text("\n".join(plan) + "\n")
        done = subprocess.run(
            [self.root / ".ci" / "deps", "base"], text=True, timeout=60,
            capture_output=True, check=False,
            env={"PATH": str(self.bin), "DEPS_WAIT": wait})
        calls = (self.bin / "calls").read_text().split("\n")[:-1]
        return done, [call.split()[0] for call in calls]

    def test_waits_for_the_lock_and_says_so(self):
        done, calls = self.deps(LISTS, "ok", DPKG, "ok")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(calls, ["update", "update", "install", "install"])
        self.assertIn("Another package manager is at work", done.stdout)

    def test_does_not_wait_for_ever(self):
        done, calls = self.deps("ok", DPKG, wait="0")
        self.assertEqual(done.returncode, 1)
        self.assertIn("lock-frontend", done.stderr)
        self.assertEqual(calls, ["update", "install"])

    def test_goes_on_without_one_source(self):
        done, calls = self.deps(GONE, "ok")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(calls, ["update", "install"])
        self.assertIn("could not be refreshed", done.stdout)
        self.assertIn(GONE, (self.root / "build" / "deps.log").read_text())

    def test_what_cannot_be_installed_is_an_error(self):
        done, calls = self.deps(GONE, "E: Unable to locate package gcc")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(calls, ["update", "install"])
        self.assertIn("Unable to locate package", done.stderr)

    def test_exported_cdpath(self):
        """A folder that CDPATH finds first is not gone into."""
        decoy = self.root / "elsewhere" / ".ci"
        decoy.mkdir(parents=True)
        (self.bin / "done").touch()
        done = subprocess.run(
            [".ci/deps", "--report", "base"], cwd=self.root, text=True,
            capture_output=True, check=False,
            env={"PATH": str(self.bin), "CDPATH": str(decoy.parent)})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("elsewhere", done.stdout)


if __name__ == "__main__":
    unittest.main()
