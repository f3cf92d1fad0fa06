"""A class: what a folder of submissions holds, the tables, what is alike, and
`make grade-all` over good, broken and hostile ones."""

import csv
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

LABS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, LABS)
sys.path.insert(0, os.path.join(LABS, "tests"))

import grade_all                                            # noqa: E402
import make_class                                           # noqa: E402
from grader import lab as labs, markers, result, roster     # noqa: E402
from grader import similar, submission, tables              # noqa: E402

# Read, and found wanting, without a compiler: they cost nothing.
REFUSED = ("empty-folder", "link-out", "one-gib", "dotdot.tar.gz", "bomb.zip",
           "long-name.tar.gz", "a-pipe", "noise.zip")
GRADED = ("with\nnewline", "own Makefile", "broken-build",
          "eveadams_LATE_815_99_line-2.c")


class Folder(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.top)

    def put(self, name, data=b"x"):
        path = os.path.join(self.top, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
        return path


class Roster(Folder):
    def test_names(self):
        for name in ("annlee_12_34_a.c", "annlee_12_35_b-3.c",
                     "bo_LATE_7_8_w.zip", "plain.c", "two.tar.gz", "two.zip",
                     ".hidden", "Eva Ö_9_assignsubmission_file_/a.c",
                     "Eva Ö_10_assignsubmission_file_a.c"):
            self.put(name)
        found = {(o.system, o.ident): o for o in roster.find(self.top)}
        self.assertEqual(set(found), {
            ("canvas", "12"), ("canvas", "7"), ("", "plain"), ("", "two"),
            ("", "two.zip"), ("moodle", "9"), ("moodle", "10")})
        self.assertEqual(found["canvas", "12"].name, "annlee")
        self.assertEqual(roster.read(found["canvas", "12"], ["a.c", "b.c"]),
                         {"a.c": b"x", "b.c": b"x"})
        self.assertEqual(roster.read(found["moodle", "9"], ["a.c"]),
                         {"a.c": b"x"})
        self.assertEqual(len({o.key for o in found.values()}), 7)

    def test_a_name_that_is_no_utf8(self):
        with open(os.path.join(os.fsencode(self.top), b"\xff.c"), "wb") as f:
            f.write(b"x")
        one, = roster.find(self.top)
        self.assertEqual(roster.read(one, ["a.c"]), {"a.c": b"x"})
        tables.people([(one, None, "why", "")]).encode()

    def test_loose_files_are_looked_at_too(self):
        self.put("ann_1_2_a.c", bytes(submission.FILE_BYTES + 1))
        self.put("ann_1_3_b.c")
        self.put("bob_2_2_a.c")
        self.put("bob_2_3_notes.txt")
        os.symlink("/etc/passwd", os.path.join(self.top, "cia_3_1_a.c"))
        self.put("cia_3_2_b.c")
        for one, reason in zip(roster.find(self.top),
                               ("larger than", "b.c missing", "regular")):
            with self.assertRaises(submission.SubmissionError) as caught:
                roster.read(one, ["a.c", "b.c"])
            self.assertIn(reason, str(caught.exception))

    def test_bombs(self):
        """What is passed over counts too, and so does memory."""
        path = os.path.join(self.top, "t.tar.gz")
        make_class.put_tar(path, {"big": "x" * 600, "more": "x" * 600,
                                  "a.c": "x"})
        self.assertEqual(submission.read(path, ["a.c"]), {"a.c": b"x"})
        with mock.patch.object(submission, "ALL_BYTES", 1000), \
                self.assertRaises(submission.SubmissionError) as caught:
            submission.read(path, ["a.c"])
        self.assertIn("more than 1000 bytes", str(caught.exception))
        make_class.put_long_name(path, {})
        with self.assertRaises(submission.SubmissionError) as caught:
            submission.read_apart(path, ["a.c"])
        self.assertIn("MiB to read", str(caught.exception))

    def test_reading_is_given_up(self):
        path = self.put("a.c")
        with self.assertRaises(submission.SubmissionError) as caught:
            submission.read_apart(path, ["a.c"], seconds=0)
        self.assertIn("took longer", str(caught.exception))


def a_result(name, status="failed", message=""):
    test = {"id": "step1/a", "step": 1, "points": 0, "max": 100,
            "status": status, "output": "", "why": "because", "hint": "",
            "visibility": "visible", "seconds": 1}
    return result.finish({"submission": name, "sandbox": "user",
                          "message": message, "fingerprint": "0" * 64,
                          "tests": [test]})


class Tables(unittest.TestCase):
    def setUp(self):
        ann = roster.Submission("ann", "ann", "", [("x/ann", "ann")])
        bob = roster.Submission("bob", "42", "canvas", [("x/b.c", "b.c")])
        eve = roster.Submission("=cmd()", "7", "moodle", [("x/e", "e")])
        self.rows = [(ann, a_result("ann", message="no,\n\"way\"\0"), "", ""),
                     (bob, None, "the machine burns", ""),
                     (eve, a_result("eve"), "", "90 % ann")]

    @staticmethod
    def parsed(text):
        return list(csv.reader(text.splitlines(keepends=True), strict=True))

    def test_people(self):
        head, ann, bob, eve = self.parsed(tables.people(self.rows))
        self.assertEqual(head[:5], ["student", "id", "status", "points",
                                    "max"])
        self.assertEqual(ann[2:5], ["graded", "0", "100"])
        self.assertEqual(bob[2:5], ["not graded", "", ""])
        self.assertIn("burns", bob[7])
        self.assertEqual(eve[0], "'=cmd()")
        self.assertEqual({len(row) for row in (head, ann, bob, eve)},
                         {len(tables.COLUMNS)})

    def test_canvas(self):
        rows = self.parsed(tables.canvas(self.rows, "Lab 0", 100))
        self.assertEqual(rows[0], ["Student", "ID", "SIS User ID",
                                   "SIS Login ID", "Section", "Lab 0"])
        self.assertEqual(rows[1][0].strip(), "Points Possible")
        self.assertEqual(rows[1][5], "100")
        self.assertEqual(rows[2], ["ann", "", "", "ann", "", "0"])
        self.assertEqual(rows[3], ["bob", "42", "", "", "", ""])

    def test_moodle(self):
        rows = self.parsed(tables.moodle(self.rows, 100))
        for column in ("Identifier", "Grade", "Last modified (grade)"):
            self.assertIn(column, rows[0])
        self.assertGreater(rows[0].index("Feedback comments"), 0)
        eve = dict(zip(rows[0], rows[3]))
        self.assertEqual(eve["Identifier"], "Participant 7")
        self.assertEqual(eve["Grade"], "0")
        self.assertIn("step1/a: because", eve["Feedback comments"])
        self.assertEqual(dict(zip(rows[0], rows[2]))["Grade"], "")


class Similar(unittest.TestCase):
    def test_renaming_hides_nothing(self):
        lab = labs.load("0-proto")
        with open(os.path.join(lab.folder, "solution", "line.c"),
                  encoding="utf-8") as f:
            text = f.read()
        starter = markers.starter(text)
        answer = markers.answer(text)
        other = answer.replace("held", "x1").replace("next_line", "go") \
            .replace("    ", "\t").replace("sum", "q")
        other_work = "\n".join(f"int f{i}(int a) {{ return a << {i}; }}"
                               for i in range(60))
        found = similar.pairs({
            "a": {"line.c": answer.encode()}, "b": {"line.c": other.encode()},
            "starter": {"line.c": starter.encode()},
            "c": {"line.c": (starter + other_work).encode()},
            "none": {"line.c": b""}, "noise": {"line.c": b"\0\xff'\""}},
            {"line.c": starter})
        if found is None:
            self.skipTest("sim_c is not installed")
        self.assertEqual([(a, b) for _, a, b in found], [("a", "b")])
        self.assertGreater(found[0][0], 90)

    def test_without_the_tool(self):
        with mock.patch("shutil.which", return_value=None):
            self.assertIsNone(similar.pairs({}, {}))


class GradeAll(Folder):
    """With data for the tests that no run before has used: nothing is known
    from earlier."""

    def setUp(self):
        super().setUp()
        self.folder = os.path.join(self.top, "in")
        self.csv = os.path.join(self.top, "out.csv")
        self.seed = str(random.randrange(1, 10**9))
        self.lab = labs.load("0-proto")
        self.addCleanup(self.forget)

    def forget(self):
        work = os.path.join(labs.ROOT, grade_all.work_folder(self.lab))
        for name in os.listdir(os.path.join(work, "results")):
            path = os.path.join(work, "results", name)
            if os.path.getmtime(path) >= self.began:
                os.unlink(path)

    def words(self, *more):
        return [sys.executable, os.path.join(LABS, "grade_all.py"), "0",
                self.folder, "--csv", self.csv, "--test-seed", self.seed,
                *more]

    def run_it(self, *more, **env):
        return subprocess.run(self.words(*more), text=True, check=False,
                              capture_output=True, timeout=300,
                              env=dict(os.environ, **env))

    def table(self, path=None):
        with open(path or self.csv, encoding="utf-8", newline="") as f:
            return {row["student"]: row for row in csv.DictReader(f)}

    began = 0

    def make(self, names):
        self.began = time.time() - 1
        return make_class.make(self.lab, self.folder, 40, names)

    def test_a_class(self):
        made = self.make(REFUSED + GRADED)
        self.assertEqual(len(made), len(REFUSED + GRADED))
        done = self.run_it()
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = self.table()
        self.assertEqual(len(rows), len(made))
        for name, reason in made:
            one = next(r for r in rows.values() if r["source"] == name)
            if reason is None:
                self.assertEqual(one["points"], "100", name)
            else:
                self.assertEqual(one["points"], "0", name)
                self.assertRegex(one["message"], f"{reason}|more than 512",
                                 name)
        self.assertEqual(rows["eveadams"]["id"], "815")
        self.again_and_changed(rows)

    def again_and_changed(self, rows):
        """Nothing is graded twice; what has changed is."""
        before = self.results()
        done = self.run_it()
        self.assertNotIn("about", done.stderr)
        self.assertEqual(self.table(), rows)
        self.assertEqual(self.results(), before)
        path = os.path.join(self.folder, "own Makefile", "line.c")
        with open(path, "a", encoding="utf-8") as f:
            f.write("void no_such_place;\n")
        with mock.patch.dict(os.environ, PATH=self.path_without_parallel()):
            done = self.run_it()
        self.assertIn("GNU parallel is not installed", done.stderr)
        self.assertEqual(self.table()["own Makefile"]["points"], "0")
        self.assertIn("error:", self.table()["own Makefile"]["message"])
        self.assertEqual(len(self.results() - before), 1)

    def results(self):
        folder = os.path.join(labs.ROOT, grade_all.work_folder(self.lab),
                              "results")
        return {(n, os.path.getmtime(os.path.join(folder, n)))
                for n in os.listdir(folder)
                if os.path.getmtime(os.path.join(folder, n)) >= self.began}

    def path_without_parallel(self):
        """A PATH that has all programs but this one."""
        folder = os.path.join(self.top, "bin")
        os.mkdir(folder)
        for where in ("/bin", "/sbin", "/usr/sbin", "/usr/bin"):
            for name in os.listdir(where):
                path = os.path.join(folder, name)
                if name != "parallel" and not os.path.lexists(path):
                    os.symlink(os.path.join(where, name), path)
        return folder

    def test_stopped_and_gone_on(self):
        """Ctrl-C after the first result: nothing stays behind, and that one
        result is kept."""
        self.make(("ann", "with\nnewline"))
        with subprocess.Popen(self.words("--jobs", "1"), text=True,
                              stderr=subprocess.PIPE) as process:
            for line in process.stderr:
                if " of 2 " in line:
                    process.send_signal(signal.SIGINT)
                    break
            rest = process.stderr.read()
            self.assertEqual(process.wait(60), 130, rest)
        self.assertIn("of 2 are graded", rest)
        self.assertFalse(os.path.exists(self.csv))
        until = time.monotonic() + 60       # they end what they have started
        while self.left_behind() and time.monotonic() < until:
            time.sleep(0.1)
        self.assertEqual(self.left_behind(), [])
        kept = len(self.results())
        self.assertIn(kept, (1, 2))
        done = self.run_it()
        self.assertIn(f"{kept} of them", done.stderr)
        self.assertEqual({r["points"] for r in self.table().values()},
                         {"100"})

    def left_behind(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", encoding="utf-8",
                          errors="replace") as f:
                    words = f.read()
            except OSError:
                continue
            if self.seed in words.split("\0"):
                found.append(words)
        return found

    def test_on_another_machine(self):
        """Two other machines are this one in another folder, whose user has a
        shell that runs nothing; a third has gone.  The first job fails on one
        of them, and the other one does it."""
        ssh, home = self.machines()
        self.make(("ann", "one-gib"))
        done = self.run_it("--hosts", "near,far,gone", "--jobs", "1",
                           PARALLEL_SSH=ssh, SHELL="/bin/false",
                           PARALLEL="--no-such-option")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("gone is left out: status 255", done.stderr)
        self.assertTrue(os.path.isdir(f"{home}.failed"))
        ann = self.table()["ann"]
        self.assertEqual(ann["points"], "100", (ann, done.stderr))
        self.assertEqual(self.table()["one-gib"]["points"], "0")
        self.assertEqual(os.listdir(home), [".parallel"]
                         if os.path.exists(home + "/.parallel") else [])

    def machines(self):
        """(a program in place of ssh, the home of all of its machines)"""
        if not shutil.which("parallel"):
            self.skipTest("GNU parallel is not installed")
        home = os.path.join(self.top, "home")
        os.mkdir(home)
        os.chmod(self.top, 0o755)
        ssh = os.path.join(self.top, "ssh")
        with open(ssh, "w", encoding="ascii") as f:
            f.write("#!/bin/sh\nhost=$1\nshift\n"
                    "[ \"$1\" != -- ] || shift\n"
                    "case $host,$* in gone,*) exit 255;;\n"
                    "*,mkdir*|*,rm*) ;;\n"
                    f"*) mkdir {home}.failed 2>/dev/null && exit 9;; esac\n"
                    f"cd {home}\nHOME={home} exec sh -c \"$*\"\n")
        os.chmod(ssh, 0o755)
        return ssh, home

    def test_a_job_that_ends_early(self):
        """The row says how, and what it said last."""
        self.make(("ann",))
        folder = self.path_without_parallel()
        python = os.path.join(folder, "python3")
        os.unlink(python)
        with open(python, "w", encoding="ascii") as f:
            f.write("#!/bin/sh\nseq 90\necho 'it burns' >&2\nexit 9\n")
        os.chmod(python, 0o755)
        for tool in (None, shutil.which("parallel")):
            if tool:
                os.symlink(tool, os.path.join(folder, "parallel"))
            done = self.run_it(PATH=folder)
            self.assertEqual(done.returncode, 1, done.stderr)
            ann = self.table()["ann"]
            self.assertEqual((ann["status"], ann["points"]),
                             ("not graded", ""))
            for words in (ann["message"], done.stderr):
                self.assertRegex(words, "no result, status 9\n87\n88\n89\n"
                                 "90\nit burns")

    def test_slurm(self):
        self.make(("ann", "it's \"quoted\" $HOME;", "link-out"))
        script = os.path.join(self.top, "class.sh")
        done = self.run_it("--slurm", script)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse(os.path.exists(self.csv))
        subprocess.run(["bash", "-n", script], check=True)
        with open(script, encoding="utf-8") as f:
            text = f.read()
        self.assertIn("#SBATCH --array=1-2%", text)
        if shutil.which("shellcheck"):
            subprocess.run(["shellcheck", script], check=True)
        for task in ("1", "2"):
            subprocess.run(["bash", script], check=True, timeout=120,
                           env=dict(os.environ, SLURM_ARRAY_TASK_ID=task))
        done = self.run_it()
        self.assertNotIn("about", done.stderr)
        self.assertEqual(sorted(r["points"] for r in self.table().values()),
                         ["0", "100", "100"])

    def test_a_malformed_lab(self):
        bad = os.path.join(self.top, "labs", "0-x")
        os.makedirs(bad)
        with open(os.path.join(bad, "grade.toml"), "w",
                  encoding="utf-8") as f:
            f.write('title = "T"\nkind = "linked"\nstudent = ["a.c"]\n'
                    'provides = ["f"]\n[[test]]\nid = "s/t"\npoints = 0\n'
                    'step = 1\nwhy = "w"\n')
        self.make(("ann",))
        load = labs.load
        with mock.patch.object(labs, "load", lambda name: load(
                "0-x", os.path.dirname(bad))), \
                mock.patch.object(grade_all, "say") as said:
            self.assertEqual(grade_all.main(self.words()[2:]), 64)
        self.assertIn("grade.toml:6", said.call_args[0][0])
        self.assertFalse(os.path.exists(self.csv))
        self.assertEqual(self.results(), set())

    def test_a_grader_that_cannot(self):
        """No points, and no zero either: the row says why."""
        self.make(("ann", "one-gib"))
        with mock.patch.object(grade_all, "run"):
            self.assertEqual(grade_all.main(self.words()[2:]), 1)
        self.assertEqual(self.table()["ann"]["status"], "not graded")
        self.assertEqual(self.table()["ann"]["points"], "")
        self.assertEqual(self.table()["one-gib"]["points"], "0")
        mode = os.stat(self.csv).st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o644)


if __name__ == "__main__":
    unittest.main()
