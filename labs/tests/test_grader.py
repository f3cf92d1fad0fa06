"""The parts of the grader: labs that are malformed, markers, submissions that
are hostile, and each way of the sandbox against code that means harm."""

import ctypes
import dataclasses
import io
import os
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zipfile
from unittest import mock

LABS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, LABS)

import grade                                                # noqa: E402
from grader import build, lab as labs, markers, params, result     # noqa: E402
from grader import sandbox, submission                      # noqa: E402

GOOD = '''title = "T"
kind = "linked"
student = ["a.c"]
provides = ["f"]

[[test]]
id = "s/t"
points = 1
step = 1
why = "because"
'''


class Malformed(unittest.TestCase):
    def load(self, text):
        with tempfile.TemporaryDirectory() as top:
            os.mkdir(os.path.join(top, "0-x"))
            with open(os.path.join(top, "0-x", "grade.toml"), "w",
                      encoding="utf-8") as f:
                f.write(text)
            return labs.load("0-x", top)

    def test_good(self):
        self.assertEqual(self.load(GOOD).points, 1)

    def test_each_fault_is_named(self):
        for old, new, reason in (
                ('title = "T"\n', "", "title is missing"),
                ('"linked"', '"magic"', "'magic' is none of"),
                ('["a.c"]', '["../a.c"]', "no C file's name"),
                ('["a.c"]', "[1]", "not a list of strings"),
                ('provides = ["f"]\n', "", "needs provides"),
                ("points = 1", "points = 0", "out of range"),
                ("points = 1", 'points = "1"', "points is '1'"),
                ("points = 1", "points = true", "points is True"),
                ('"s/t"', '"st"', "suite/test"),
                ("step = 1", "step = 1\nextra = 2", "unknown key extra"),
                ("step = 1", 'step = 1\ntags = ["a b"]', "one word"),
                ('provides', 'rules = ["golden"]\nprovides',
                 "'golden' is none of"),
                ("step = 1", 'step = 1\nparent = "s/u"', "no parent"),
                ("because", 'x"\n[[shown]]\nid = "t/u"\nafter = "s/u',
                 "no test 's/u'"),
                ("because", 'x"\n[[shown]]\nid = "t/u', "after is missing"),
                ("step = 1", 'step = 1\nneeds = ["luck"]', "'luck' is none"),
                ('why = "because"\n', "", "why is missing"),
                ("[[test]]", "[[test", "line 6")):
            self.assertIn(old, GOOD)
            with self.assertRaises(labs.LabError, msg=new) as caught:
                self.load(GOOD.replace(old, new))
            self.assertIn(reason, str(caught.exception))

    def test_the_line_of_a_bad_test_is_named(self):
        with self.assertRaises(labs.LabError) as caught:
            self.load(GOOD.replace("points = 1", "points = 0"))
        self.assertIn("grade.toml:7", str(caught.exception))

    def test_twice(self):
        test = GOOD[GOOD.index("[[test]]"):]
        with self.assertRaises(labs.LabError) as caught:
            self.load(GOOD + test)
        self.assertIn("twice", str(caught.exception))

    def test_all_labs_load(self):
        for name in labs.names():
            lab = labs.load(name)
            self.assertEqual(lab.points, 100, name)
        self.assertEqual(grade.main(["77"]), 64)
        self.assertEqual(grade.main(["0", "--test", "no/such"]), 64)


class Markers(unittest.TestCase):
    TEXT = ("a\n/* LAB-BEGIN */\nsecret\n/* LAB-ELSE\n * stub;\n *     in;\n"
            " */\n/* LAB-END */\nb\n")

    def test_starter_and_answer(self):
        self.assertEqual(markers.starter(self.TEXT), "a\nstub;\n    in;\nb\n")
        self.assertEqual(markers.answer(self.TEXT), "a\nsecret\nb\n")

    def test_what_stands_before_the_star_stays(self):
        self.assertEqual(
            markers.starter("    /* LAB-BEGIN */\n    a();\n    /* LAB-ELSE\n"
                            "     * if (b)\n     *     c();\n     *\n"
                            "     */\n    /* LAB-END */"),
            "    if (b)\n        c();\n")

    def test_no_else(self):
        self.assertEqual(markers.starter(
            "a\n/* LAB-BEGIN */\nsecret\n/* LAB-END */\nb"), "a\nb")

    def test_a_seed_chooses_the_place(self):
        text = "".join(f"/* LAB-BEGIN bug {k} of 3 */\nright{k}\n"
                       f"/* LAB-ELSE\n * wrong{k}\n */\n/* LAB-END */\n"
                       for k in (1, 2, 3))
        seen = {markers.starter(text, seed=str(n)) for n in range(30)}
        self.assertEqual(seen, {"wrong1\nright2\nright3\n",
                                "right1\nwrong2\nright3\n",
                                "right1\nright2\nwrong3\n"})
        self.assertEqual(markers.answer(text), "right1\nright2\nright3\n")

    def test_faults(self):
        for text in ("/* LAB-BEGIN */\n", "/* LAB-END */", "/* LAB-ELSE\n",
                     "/* LAB-BEGIN */\n/* LAB-BEGIN */\n/* LAB-END */"):
            with self.assertRaises(markers.MarkerError):
                markers.starter(text)

    def test_no_starter_gives_the_answer_away(self):
        for name in labs.names():
            folder = os.path.join(LABS, name, "solution")
            for file in labs.load(name).student:
                with open(os.path.join(folder, file), encoding="utf-8") as f:
                    text = f.read()
                self.assertNotIn("LAB-", markers.starter(text))
                self.assertNotIn("LAB-", markers.answer(text))
                self.assertNotEqual(markers.starter(text),
                                    markers.answer(text))


class Words(unittest.TestCase):
    """What a linked lab's file may hold."""

    def reason(self, text):
        lab = labs.load("5-percore")
        try:
            build.check_source(lab, "a.c", text)
        except build.BuildError as err:
            return str(err)
        return ""

    def test_the_line_is_named(self):
        self.assertEqual(self.reason('#include "lend.h"\nint a;\n'), "")
        self.assertIn("a.c:2: `__atomic`",
                      self.reason("\n__atomic_load_n(&a, 0);\n"))
        self.assertIn("backslash", self.reason("__ato\\\nmic_load_n(&a, 0);\n"))

    def test_no_other_header(self):
        for text in ("#include <stdatomic.h>", "#  include/**/<stdatomic.h>",
                     "/* */ #include <stdatomic.h>", "#include MACRO",
                     "# /* \n */ include <stdatomic.h>"):
            self.assertIn("may include", self.reason(text), text)


class Objects(unittest.TestCase):
    """What an object may hold, whatever the source is called."""

    LAB = dataclasses.replace(labs.load("6-stealing"), provides=["f"],
                              allowed=["g"])
    CODE = "{0x0f, 0x05, 0xc3}"     # syscall; ret

    def reason(self, text):
        with tempfile.TemporaryDirectory() as top:
            path = os.path.join(top, "a.o")
            subprocess.run([build.cc(), "-O2", "-w", "-x", "c", "-", "-c",
                            "-o", path], input=text, text=True, check=True,
                           stderr=subprocess.DEVNULL)
            try:
                build.check_object(self.LAB, path)
            except build.BuildError as err:
                return str(err)
        return ""

    def test_constants_are_allowed(self):
        self.assertEqual("", self.reason(
            "int g(int);\nint f(int i) { static const char *const t[] = "
            '{"a", "b"}; return t[i & 1][0] + g(i); }'))

    def test_a_variable_in_a_section_of_its_own(self):
        self.assertIn("keeps variables", self.reason(
            "__attribute__((section(\"mine\"))) static int n;\n"
            "int f(void) { return n++; }"))

    def test_a_call_in_an_instruction(self):
        self.assertIn("system call", self.reason(
            "int f(void) { __asm__ volatile(\"syscall\"); return 0; }"))

    def test_a_call_in_data(self):
        for where in (".text", "mine,\\\"ax\\\",@progbits#"):
            self.assertIn("code is data", self.reason(
                f"__attribute__((section(\"{where}\"))) static const "
                f"unsigned char code[] = {self.CODE};\n"
                "int f(void) { return ((int (*)(void))code)(); }"), where)

    def test_code_on_the_stack(self):
        self.assertIn("stack", self.reason(
            "int g(int (*)(int));\nint f(int x) "
            "{ int h(int y) { return x + y; } return g(h); }"))

    def test_code_before_main(self):
        self.assertIn("outside of functions", self.reason(
            "__attribute__((constructor)) void f(void) {}"))
        self.assertIn("before main()", self.reason(
            "static int one(void) { return 1; }\n"
            "static int (*pick(void))(void) { return one; }\n"
            "static int h(void) __attribute__((ifunc(\"pick\")));\n"
            "int f(void) { return h(); }"))


class Parameters(unittest.TestCase):
    def test_a_seed_decides(self):
        self.assertEqual(params.header("a"), params.header("a"))
        self.assertNotEqual(params.header("a"), params.header("b"))

    def test_a_starter_may_hold_numbers(self):
        text = ('#include "params.h"\n'
                'enum { MOST = LINE_LIMIT, X = LINE_LIMITS };')
        limit = params.values("a")["LINE_LIMIT"]
        self.assertEqual(params.literal(text, ["LINE_LIMIT"], "a"),
                         f"enum {{ MOST = {limit}, X = LINE_LIMITS }};")
        self.assertEqual(params.literal(text, [], "a"), text)

    def test_letters_differ(self):
        for seed in range(50):
            found = params.letters(seed, "x", 4)
            self.assertEqual(len(set(found)), 4)


class Submissions(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.top)

    def path(self, name):
        return os.path.join(self.top, name)

    def tar(self, members):
        path = self.path("s.tar")
        with tarfile.open(path, "w") as archive:
            for name, kind, data in members:
                member = tarfile.TarInfo(name)
                member.type = kind
                member.size = len(data) if kind == tarfile.REGTYPE else 0
                member.linkname = "/etc/passwd"
                archive.addfile(member, io.BytesIO(data))
        return path

    def refused(self, path, reason):
        with self.assertRaises(submission.SubmissionError) as caught:
            submission.read(path, ["a.c"])
        self.assertIn(reason, str(caught.exception))

    def test_folder_tar_zip_and_file(self):
        os.makedirs(self.path("d/my work"))
        for name in ("d/my work/a.c", "d/Makefile", "one.c"):
            with open(self.path(name), "w", encoding="ascii") as f:
                f.write("x")
        tar = self.tar([("s/a.c", tarfile.REGTYPE, b"x"),
                        ("s/Makefile", tarfile.REGTYPE, b"all: evil")])
        with zipfile.ZipFile(self.path("s.zip"), "w") as archive:
            archive.writestr("s/with a blank/a.c", "x")
        for path in (self.path("d"), tar, self.path("s.zip"),
                     self.path("one.c")):
            self.assertEqual(submission.read(path, ["a.c"]), {"a.c": b"x"})

    def test_hostile(self):
        os.mkdir(self.path("links"))
        os.symlink("/etc/passwd", self.path("links/a.c"))
        os.mkdir(self.path("empty"))
        os.mkdir(self.path("pipe"))
        os.mkfifo(self.path("pipe/a.c"))
        with open(self.path("noise"), "wb") as f:
            f.write(os.urandom(2000))
        with open(self.path("none.zip"), "wb") as f:
            f.write(b"PK\3\4" + bytes(50))
        for path, reason in (
                (self.path("links"), "not a regular file"),
                (self.path("pipe"), "not a regular file"),
                (self.path("empty"), "holds none of a.c"),
                (self.path("nowhere"), "not there"),
                (self.path("noise"), "neither a folder"),
                (self.path("none.zip"), "")):
            self.refused(path, reason)

    def test_hostile_tar(self):
        regular = tarfile.REGTYPE
        for members, reason in (
                ([("../a.c", regular, b"x")], "leads out"),
                ([("/etc/a.c", regular, b"x")], "leads out"),
                ([("a.c", tarfile.SYMTYPE, b"")], "not a regular file"),
                ([("a.c", tarfile.CHRTYPE, b"")], "not a regular file"),
                ([("a.c", regular, bytes(submission.FILE_BYTES + 1))],
                 "larger than"),
                ([(f"f{i}", regular, b"") for i in range(2001)],
                 "more than")):
            self.refused(self.tar(members), reason)

    def test_zip_bomb(self):
        path = self.path("bomb.zip")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.c", bytes(64 << 20))
        self.refused(path, "larger than")

    def test_the_fingerprint_sees_every_byte(self):
        one = submission.fingerprint({"a.c": b"xy", "b.c": b""})
        two = submission.fingerprint({"a.c": b"x", "b.c": b"y"})
        self.assertNotEqual(one, two)


class Ways(unittest.TestCase):
    """What every way must keep from student code."""

    WAYS = ("bubblewrap", "namespaces", "user")
    PRIVATE = ("bubblewrap", "namespaces")

    def setUp(self):
        self.top = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.top)
        os.chmod(self.top, 0o755)

    def boxes(self, ways=WAYS):
        found = [sandbox.Sandbox(w) for w in ways if not sandbox.refusal(w)]
        if not found:
            self.skipTest("; ".join(f"{w}: {sandbox.refusal(w)}"
                                    for w in ways))
        return found

    def run_sh(self, box, script, **limits):
        limits.setdefault("seconds", 60)
        out = os.path.join(self.top, "out")
        os.makedirs(out, exist_ok=True)
        box.lend(out)
        return box.run(["sh", "-c", script], sandbox.Limits(**limits),
                       rw=(out,), cwd=out)

    def test_it_runs(self):
        for box in self.boxes():
            done = self.run_sh(box, "echo hello; touch mine; exit 3")
            self.assertEqual((done.status, done.output, done.killed),
                             (3, "hello\n", ""))
            os.unlink(os.path.join(self.top, "out", "mine"))

    def test_what_it_prints_moves_no_cursor(self):
        for box in self.boxes():
            done = self.run_sh(box, r"printf 'a\033[2J\tb\r\nc\rd\n\342'")
            self.assertEqual(done.output, "a?[2J\tb\nc?d\n\ufffd")

    def test_a_hidden_test_is_not_quoted_by_the_compiler(self):
        """Its text would stand in what the student reads."""
        lab = labs.load("0-proto")
        where = os.path.join(lab.folder, "tests", "hidden")
        self.assertTrue(os.listdir(where))
        with open(os.path.join(self.top, "line.c"), "w",
                  encoding="ascii") as f:
            f.write(f'#include "hidden/{os.listdir(where)[0]}"\n')
        work, _ = build.parameters(lab, params.PUBLIC_SEED)
        for box in self.boxes(self.PRIVATE):
            out = tempfile.mkdtemp(dir=self.top)
            box.lend(out)
            with self.assertRaisesRegex(build.BuildError, "No such file"):
                build.linked(box, lab, self.top, out, [], work)

    def test_a_staff_file_is_neither_read_nor_written(self):
        secret = os.path.join(self.top, "secret")
        with open(secret, "w", encoding="ascii") as f:
            f.write("answer")
        os.chmod(secret, 0o600)
        for box in self.boxes():
            done = self.run_sh(box, f"cat {secret}; echo lie > {secret}; "
                                    f"rm -f {secret}")
            self.assertNotIn("answer", done.output)
            with open(secret, encoding="ascii") as f:
                self.assertEqual(f.read(), "answer")

    def test_the_repository_cannot_be_seen(self):
        for box in self.boxes(self.PRIVATE):
            done = self.run_sh(box, f"ls {LABS}")
            self.assertNotEqual(done.status, 0)

    def test_user_refuses_where_others_may_read(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        self.assertIn("chmod 700", sandbox.refusal("user", (self.top,)))
        os.chmod(self.top, 0o700)
        self.assertEqual(sandbox.refusal("user", (self.top,)), "")

    def test_user_is_not_chosen_where_it_cannot_read_the_staffs_files(self):
        if os.geteuid() != 0 or sandbox.refusal("user"):
            self.skipTest("no other user can be had here")
        os.chmod(self.top, 0o700)
        with mock.patch.object(sandbox, "HERE", self.top), \
                self.assertRaisesRegex(sandbox.SandboxError, "is private"):
            sandbox.choose("user")

    def test_no_network_but_loopback(self):
        for box in self.boxes(self.PRIVATE):
            done = self.run_sh(box, "grep : /proc/net/dev | grep -vc ' lo:'")
            self.assertEqual(done.output.strip(), "0")

    def test_nothing_outlives_it(self):
        marker = f"7{os.getpid()}"
        for box in self.boxes():
            for script in (f"sleep {marker} & exit 0",
                           f"setsid sleep {marker} & exit 0",
                           f"(setsid sleep {marker} &) & sleep {marker}"):
                self.run_sh(box, script, seconds=1)
                self.assertFalse([p for p in self.commands()
                                  if p == ["sleep", marker]],
                                 (box.way, script))

    @staticmethod
    def commands():
        found = []
        for name in os.listdir("/proc"):
            try:
                with open(f"/proc/{name}/cmdline", encoding="utf-8",
                          errors="replace") as f:
                    found.append(f.read().split("\0")[:-1])
            except OSError:
                pass
        return found

    def test_it_cannot_kill_the_grader(self):
        for box in self.boxes():
            done = self.run_sh(box, f"kill -9 {os.getpid()}; kill -9 -1; "
                                    f"kill -9 $PPID; echo alive")
            self.assertIsNotNone(done)      # and so are we

    def test_limits(self):
        for box in self.boxes():
            for script, limits, reason in (
                    ("sleep 60", {"seconds": 0.5}, "ran longer"),
                    ("i=0; while [ $i -lt 100 ]; do sleep 3 & i=$((i+1)); "
                     "done; echo all", {"processes": 40}, None),
                    ("head -c 90000000 /dev/zero > big; wc -c < big",
                     {"file": 1 << 20}, None),
                    ("exec python3 -c 'x = bytearray(400 << 20)\n"
                     "import time\ntime.sleep(90)'",
                     {"memory": 100 << 20}, "memory")):
                done = self.run_sh(box, script, **limits)
                if reason:
                    self.assertIn(reason, done.killed)
                self.assertNotIn("all", done.output)
                self.assertNotIn("90000000", done.output)

    def test_no_way_is_an_error(self):
        with self.assertRaises(sandbox.SandboxError):
            sandbox.choose("no such way")


def deny_rings():
    """From now on io_uring_setup fails with EPERM, as in a container."""
    code = [(0x20, 0, 0, 0),                # load the number of the call
            (0x15, 0, 1, 425),              # io_uring_setup?
            (0x06, 0, 0, 0x00050000 | 1),   # then EPERM
            (0x06, 0, 0, 0x7FFF0000)]       # else it is allowed
    text = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *c) for c in code))
    program = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(code), ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


class WithoutRings(unittest.TestCase):
    """A lab that needs io_uring is graded where there is none."""

    def test_at_least_70_points_are_left(self):
        folder = os.path.join(LABS, "3-uring", "solution")
        with tempfile.TemporaryDirectory() as top:
            path = os.path.join(top, "r.json")
            done = subprocess.run([sys.executable,
                                   os.path.join(LABS, "grade.py"), "3", folder,
                                   "--json", path], preexec_fn=deny_rings,
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            graded = result.load(path)
        self.assertEqual((graded["score"], graded["score_scaled"]), (75, 100),
                         done.stdout)
        self.assertIn("EPERM", "".join(t["output"] for t in graded["tests"]))
        for name in labs.names():
            lab = labs.load(name)
            kept = sum(t.points for t in lab.tests
                       if not t.needs and not t.hidden)
            self.assertGreaterEqual(kept, 0.7 * lab.points, name)


class Results(unittest.TestCase):
    def entry(self, status, points, full):
        return {"id": "s/t", "step": 1, "points": points, "max": full,
                "status": status, "output": "", "why": "w", "hint": "",
                "visibility": "visible", "seconds": 0}

    def test_skipped_points_are_scaled_away(self):
        done = result.finish({"tests": [self.entry("passed", 30, 30),
                                        self.entry("failed", 0, 30),
                                        self.entry("skipped", 0, 40)]})
        self.assertEqual((done["score"], done["max"], done["skipped"]),
                         (30, 60, 40))
        self.assertEqual((done["score_scaled"], done["max_scaled"]), (50, 100))

    def test_all_or_nothing_on_disk(self):
        with tempfile.TemporaryDirectory() as top:
            path = os.path.join(top, "deep", "r.json")
            result.write({"schema": result.SCHEMA, "tests": []}, path)
            self.assertEqual(result.load(path)["tests"], [])
            self.assertEqual(os.listdir(os.path.dirname(path)), ["r.json"])
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o644)
            with open(path, "w", encoding="ascii") as f:
                f.write('{"schema": "other"}')
            self.assertRaises(ValueError, result.load, path)

    def test_one_screen(self):
        self.assertLess(len(result.shorten("x\n" * 500).split("\n")), 35)


if __name__ == "__main__":
    unittest.main()
