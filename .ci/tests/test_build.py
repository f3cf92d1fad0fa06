"""The build and its scripts where a tree or a machine is not like ours: flags
from the command line, a cross compiler, an archive without git, core.autocrlf,
an exported CDPATH."""
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISTER = ROOT / ".ci" / "files"
ME = ("-c", "user.name=t", "-c", "user.email=t@t", "-c",
      "init.defaultBranch=main")


def run(*words, cwd=ROOT, **more):
    env = {**os.environ, **more}
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        env.pop(name, None)
    return subprocess.run(words, cwd=cwd, env=env, text=True, timeout=120,
                          capture_output=True, check=False,
                          stdin=subprocess.DEVNULL)


class Scratch(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.dir = Path(scratch.name).resolve()

    def put(self, name, text, mode=0o644):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    def git(self, *words, cwd=None):
        done = run("git", *ME, *words, cwd=cwd or self.dir)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout


class Make(Scratch):
    def test_cppflags_are_added_to_ours(self):
        done = run("make", f"B={self.dir}", "CPPFLAGS=-DNDEBUG=1",
                   f"{self.dir}/bench/loadgen/main.o")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("-DNDEBUG=1", (self.dir / "flags").read_text())

    def test_a_library_of_another_machine_is_none(self):
        """A cross compiler finds ck_ring.h of the host, and no libck."""
        cc = self.put("bin/cross-gcc", "#!/bin/sh\ncat >/dev/null\n"
                      "case \" $* \" in *' -lck '*) exit 1 ;; esac\n", 0o755)
        done = run("make", "-n", "Q=", f"B={self.dir}", f"CC={cc}",
                   f"{self.dir}/micro/queues")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("micro/queues.c", done.stdout)
        self.assertIn("-DHAVE_CK=0", done.stdout)
        self.assertNotIn("-lck", done.stdout)
        cc.write_text("#!/bin/sh\ncat >/dev/null\n")
        done = run("make", "-n", "Q=", f"B={self.dir}", f"CC={cc}",
                   f"{self.dir}/micro/queues")
        self.assertIn("-DHAVE_CK=1", done.stdout)
        self.assertIn("-lck", done.stdout)


class Archive(Scratch):
    """No .git, as a download has it; also in a folder that git ignores."""

    def setUp(self):
        super().setUp()
        self.put("x/Makefile", (ROOT / "Makefile").read_text())
        self.put("x/.ci/files", LISTER.read_text(), 0o755)
        self.put("x/common/a b.c", "int a;\n")
        self.put("x/common/a.h", "int a;\n")
        self.put("x/tool", "#!/bin/bash\n", 0o755)
        self.put("x/build/b.c", "int b;\n")
        self.root = self.dir / "x"

    def names(self, *patterns):
        done = run(LISTER, self.root, *patterns)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.splitlines()

    def test_files_are_found(self):
        self.assertEqual(self.names("*.c", "*.h"),
                         ["common/a b.c", "common/a.h"])
        self.assertIn("tool", self.names())

    @unittest.skipUnless(shutil.which("git"), "git is not installed")
    def test_files_are_those_of_no_other_tree(self):
        self.put(".gitignore", "x/\n")
        self.git("init", "-q")
        self.assertEqual(self.names("*.h"), ["common/a.h"])

    @unittest.skipUnless(shutil.which("git"), "git is not installed")
    def test_a_clone_has_what_git_knows(self):
        self.put("x/.gitignore", "build/\n*.h\n")
        self.git("init", "-q", cwd=self.root)
        self.assertEqual(self.names("*.[ch]"), ["common/a b.c"])
        self.git("add", ".", cwd=self.root)
        (self.root / "common" / "a b.c").unlink()
        self.assertEqual(self.names("*.[ch]"), [])

    def test_the_linters_look(self):
        (self.root / "common" / "a b.c").unlink()
        for tool in ("clang-format", "shellcheck"):
            self.put(f"bin/{tool}", '#!/bin/sh\necho "looks at $*, 14.0.6"\n',
                     0o755)
        done = run("make", "-s", "lint-format", "lint-shell", cwd=self.root,
                   CLANG_FORMAT="clang-format",
                   PATH=f"{self.dir}/bin:{os.environ['PATH']}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"looks at .*common/a\.h")
        self.assertRegex(done.stdout, r"looks at .* tool")

    def test_another_version_does_not_judge(self):
        for tool in ("clang-format", "clang-tidy", "cppcheck"):
            self.put(f"bin/{tool}", '#!/bin/sh\necho "$0 version 19.1.7"\n'
                     '[ "$1" = --version ]\n', 0o755)
        done = run("make", "-s", "lint-format", "lint-clang-tidy",
                   "lint-cppcheck", cwd=self.root, CLANG_FORMAT="clang-format",
                   CLANG_TIDY="clang-tidy",
                   PATH=f"{self.dir}/bin:{os.environ['PATH']}")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count("is 19.1, the rules are"), 3)

    @unittest.skipUnless(shutil.which("git"), "git is not installed")
    def test_run_says_what_it_needs(self):
        self.put("x/.ci/run", (ROOT / ".ci/run").read_text(), 0o755)
        done = run(".ci/run", cwd=self.root)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no clone", done.stderr)


@unittest.skipUnless(shutil.which("git"), "git is not installed")
class Clone(Scratch):
    def test_autocrlf_changes_no_byte(self):
        lines = b"#!/bin/bash\necho\n"
        self.put("from/.gitattributes", (ROOT / ".gitattributes").read_text())
        self.put("from/.ci/deps", lines, 0o755)
        source = self.dir / "from"
        self.git("init", "-q", cwd=source)
        self.git("add", ".", cwd=source)
        self.git("commit", "-qm", "all", cwd=source)
        self.git("clone", "-q", "-c", "core.autocrlf=true", str(source), "to")
        self.assertEqual((self.dir / "to/.ci/deps").read_bytes(), lines)


class Cdpath(Scratch):
    """An exported CDPATH makes cd print, and go elsewhere."""

    def test_run(self):
        self.put("x/.ci/run", (ROOT / ".ci/run").read_text(), 0o755)
        self.put("x/.git/HEAD", "")
        self.put("decoy/.ci/x", "")
        self.put("bin/git", '#!/bin/sh\nprintf "<%s>" "$@"\nexit 1\n', 0o755)
        done = run(".ci/run", cwd=self.dir / "x", CDPATH=f"{self.dir}/decoy",
                   PATH=f"{self.dir}/bin:{os.environ['PATH']}")
        self.assertIn(f"<-q><{self.dir}/x>", done.stdout)

    def test_doctor(self):
        self.put("x/.ci/doctor", (ROOT / ".ci/doctor").read_text(), 0o755)
        self.put("x/.ci/deps", "#!/bin/sh\necho the right place\n", 0o755)
        self.put("decoy/.ci/deps", "#!/bin/sh\necho elsewhere\n", 0o755)
        done = run(".ci/doctor", cwd=self.dir / "x",
                   CDPATH=f"{self.dir}/decoy")
        self.assertIn("the right place", done.stdout)

    def test_explorer(self):
        """It stops at its first compiler call, which names the folder."""
        cc = self.put("bin/cc", '#!/bin/sh\necho "$*"\nexit 1\n', 0o755)
        self.put("decoy/stages/tests/verify/x", "")
        done = run("stages/tests/verify/run.sh", str(self.dir / "out"),
                   CC=str(cc), CDPATH=f"{self.dir}/decoy")
        self.assertIn(f"-I {ROOT}/stages/tests/verify", done.stdout)


class Fresh(Scratch):
    """.ci/fresh without an archive: stand-ins for apt and debootstrap."""

    def fresh(self, *words, archive=""):
        self.put("bin/apt-get", f"#!/bin/sh\necho '{archive}'\n", 0o755)
        self.put("bin/debootstrap", '#!/bin/sh\necho "$*" >&2\nexit 1\n',
                 0o755)
        return run(".ci/fresh", *words, TMPDIR=str(self.dir),
                   PATH=f"{self.dir}/bin:{os.environ['PATH']}")

    def test_usage(self):
        self.assertEqual(self.fresh("solaris-9").returncode, 64)
        self.assertEqual(self.fresh("--mirror").returncode, 64)

    @unittest.skipUnless(os.geteuid() == 0, "only root can make a system")
    def test_what_is_not_reached_is_named(self):
        done = self.fresh("ubuntu-24.04",
                          archive="Debian bookworm http://a.invalid/debian")
        self.assertIn("skipped  ubuntu-24.04: apt knows no", done.stdout)
        done = self.fresh("debian-13",
                          archive="Debian bookworm-updates http://b.invalid\n"
                          "Debian bookworm http://a.invalid/debian")
        self.assertRegex(done.stdout, "trixie .* http://a.invalid/debian ")
        self.assertIn("skipped  debian-13: debootstrap failed", done.stdout)
        self.assertEqual(os.listdir(self.dir), ["bin"])


if __name__ == "__main__":
    unittest.main()
