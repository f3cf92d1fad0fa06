"""What leaves the house: no answer in it, and all that is needed."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import unittest
import zipfile
from unittest import mock

LABS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, LABS)

import handout                                              # noqa: E402
from grader import bundle, lab as labs, markers, params     # noqa: E402

# Run in an unpacked handout: each staff source of each lab there finds what it
# includes.  Nothing is compiled.
PREPROCESS = """
import os, subprocess, sys
sys.path.insert(0, "labs")
from grader import build, lab
def check(argv):
    if "-c" in argv:
        argv = [a for a in argv if a != "-c"]
        at = argv.index("-o")
        del argv[at:at + 2]
        done = subprocess.run([*argv, "-M"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
build._staff = check
for name in lab.names():
    one = lab.load(name)
    build.prepare(one, "public", os.path.join(one.folder, "tests"))
    for path in [*one.staff, *(f"stages/parts/{p}.c" for p in one.parts)]:
        assert os.path.exists(path), path
"""


class Bundle(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp()
        os.chmod(self.top, 0o755)
        self.addCleanup(shutil.rmtree, self.top, ignore_errors=True)

    def run_in(self, folder, *words, **env):
        """With an environment that knows nothing of this tree."""
        clean = {"PATH": os.environ["PATH"], "HOME": self.top,
                 "TMPDIR": tempfile.gettempdir(), **env}
        return subprocess.run(words, cwd=folder, env=clean, text=True,
                              capture_output=True, timeout=300, check=False)

    def unpack(self, packed, folder):
        for name, (data, executable) in packed.items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                f.write(data)
            os.chmod(path, bundle.mode(executable))


class Handout(Bundle):
    def test_no_answer(self):
        for name in labs.names():
            lab = labs.load(name)
            packed = bundle.handout(lab, "a-course")
            self.assertIn(f"labs/{name}/grade.toml", sorted(packed))
            for file in lab.student:
                starter = packed[f"labs/{name}/starter/{file}"][0].decode()
                self.assertEqual(starter,
                                 markers.files(lab, "a-course")[file])
                self.assertNotIn("LAB-", starter)
            for path in packed:
                self.assertNotRegex(path, r"solution|wrong\.toml|selftest|"
                                    r"instructor|labs/tests|/work/|hidden")

    def test_an_answer_left_in_the_wrong_place_is_found(self):
        lab = labs.load("0-proto")
        packed = bundle.handout(lab, "x")
        with open(os.path.join(lab.folder, "solution", "line.c"), "rb") as f:
            data = f.read()
        for name, text in (
                ("labs/0-proto/tests/old.c", data),
                ("labs/0-proto/notes.md", markers.answer(
                    data.decode()).encode()),
                ("labs/0-proto/solution/x", b""),
                ("labs/0-proto/tests/hidden/x", b""),
                ("labs/0-proto/wrong.toml", b"")):
            with self.assertRaises(bundle.BundleError, msg=name):
                bundle.check_no_answer(lab, {**packed, name: (text, False)},
                                       "x")

    def test_what_it_leads_to_is_there(self):
        for name in labs.names():
            packed = bundle.handout(labs.load(name), "x")
            page = f"labs/{name}/README.md"
            text = packed[page][0].decode()
            for match in bundle.LINK.finditer(text):
                target = match.group(1) or match.group(2)
                if ":" in target:
                    continue
                path = os.path.normpath(os.path.join(f"labs/{name}", target))
                self.assertTrue(
                    path in packed or any(p.startswith(path + "/")
                                          for p in packed), (name, target))

    def test_nothing_is_missing(self):
        for name in labs.names():
            self.unpack(bundle.handout(labs.load(name), "x"), self.top)
        self.assertEqual(len(os.listdir(os.path.join(self.top, "labs"))) > 3,
                         True)
        done = self.run_in(self.top, sys.executable, "-c", PREPROCESS)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_from_the_tar_to_points(self):
        """Outside of the repository, and with no git."""
        out = os.path.join(self.top, "h.tar.gz")
        with mock.patch.dict(os.environ, SEED="cs-2027"):
            self.assertEqual(handout.main(["student", "0", out]), 0)
        with tarfile.open(out) as archive:
            archive.extractall(self.top)
        folder = os.path.join(self.top, "ioladder-0-proto")
        done = self.run_in(folder, "make", "lab", "LAB=0")
        self.assertEqual(done.returncode, 0, done.stderr)
        result = os.path.join(self.top, "r.json")
        done = self.run_in(folder, sys.executable, "labs/grade.py", "0",
                           "--json", result, "--others-code")
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(result, encoding="utf-8") as f:
            graded = json.load(f)
        self.assertEqual(graded["seed"], "cs-2027")
        with open(os.path.join(LABS, "0-proto", "wrong.toml"), "rb") as f:
            passes = tomllib.load(f)["starter_passes"]
        self.assertEqual([t["id"] for t in graded["tests"]
                          if t["status"] == "passed"], passes)
        hidden = [t for t in graded["tests"]
                  if t["id"].startswith("hidden/")]
        self.assertEqual({(t["status"], t["output"]) for t in hidden},
                         {("skipped", "only your instructor has this test")})
        self.assertEqual(graded["skipped"], sum(t["max"] for t in hidden))

    def test_the_same_files_make_the_same_tar(self):
        made = []
        for name in ("a", "b"):
            path = os.path.join(self.top, name)
            bundle.write_tar({"x/y": (b"z", True)}, path, "top")
            with tarfile.open(path) as archive:
                made.append([(m.name, m.mode, m.mtime)
                             for m in archive.getmembers()])
        self.assertEqual(made[0], made[1])
        self.assertEqual(made[0], [("top/x/y", 0o755, 0)])


class Kit(Bundle):
    def test_it_has_what_only_instructors_have(self):
        packed = bundle.kit("s")
        for name in labs.names():
            lab = labs.load(name)
            self.assertIn(f"labs/{name}/wrong.toml", sorted(packed))
            for file in lab.student:
                self.assertIn(f"labs/{name}/solution/{file}", sorted(packed))
                answer = packed[f"answers/{name}/{file}"][0].decode()
                self.assertNotIn("LAB-", answer)
            self.check_hidden(lab, packed)
        for text in ("plans.md", "questions.md", "rubric.md", "slides.md"):
            self.assertIn(f"labs/instructor/{text}", sorted(packed))
        seed = int(packed["labs/test-seed"][0])
        self.assertNotEqual(seed, int(bundle.kit("s")["labs/test-seed"][0]))
        self.assertEqual(packed["labs/course-seed"][0], b"s\n")
        self.assertFalse([p for p in packed if "/work/" in p
                          or p.startswith("build/")])

    def check_hidden(self, lab, packed):
        """The hidden tests that grade.toml names are those that are there, and
        whoever grades has them."""
        folder = f"labs/{lab.name}/tests/hidden/"
        for files in (packed, bundle.grading(lab)):
            text = b"".join(data for path, (data, _) in files.items()
                            if path.startswith(folder)).decode()
            found = re.findall(r"^Test\(hidden, (\w+)", text, re.M)
            self.assertEqual({f"hidden/{name}" for name in found},
                             {t.id for t in lab.tests if t.hidden}, lab.name)


class Autograder(Bundle):
    def test_gradescope(self):
        """The zip, unpacked as Gradescope does, grades a submission."""
        path = os.path.join(self.top, "a.zip")
        lab = labs.load("0-proto")
        bundle.autograder(lab, path, "cs-2027")
        where = os.path.join(self.top, "autograder")
        for name in ("source", "submission", "results"):
            os.makedirs(os.path.join(where, name))
        with zipfile.ZipFile(path) as archive:
            self.assertLessEqual({"setup.sh", "run_autograder"},
                                 set(archive.namelist()))
            self.assertFalse([n for n in archive.namelist()
                              if "solution" in n or "wrong.toml" in n])
            for member in archive.infolist():
                mode = member.external_attr >> 16
                to = archive.extract(member, where + "/source")
                os.chmod(to, mode & 0o777)
        for name in ("setup.sh", "run_autograder"):
            subprocess.run(["bash", "-n", f"{where}/source/{name}"],
                           check=True)
            if shutil.which("shellcheck"):
                subprocess.run(["shellcheck", f"{where}/source/{name}"],
                               check=True)
        shutil.copy(os.path.join(lab.folder, "solution", "line.c"),
                    where + "/submission")
        done = self.run_in(where, f"{where}/source/run_autograder",
                           AUTOGRADER=where)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(where + "/results/results.json", encoding="utf-8") as f:
            result = json.load(f)
        self.assertEqual(result["score"], 100, done.stdout)
        self.assertEqual(os.listdir(where + "/results"), ["results.json"])

    def test_a_grader_that_stops_leaves_a_result(self):
        text = bundle.RUN.format(lab=0, test_seed=1)
        first = text.index("results.json")
        self.assertLess(first, text.index("grade.py"))
        line = next(r for r in text.split("\n") if r.startswith("echo "))
        self.assertEqual(json.loads(line.split("'")[1])["score"], 0)


class Commands(unittest.TestCase):
    def test_usage(self):
        with mock.patch("sys.stderr", io.StringIO()):
            for words in ([], ["student", "0"], ["lab"], ["instructor"],
                          ["student", "77", "x"], ["nothing", "0"]):
                self.assertEqual(handout.main(words), 64, words)

    def test_the_course_seed(self):
        with mock.patch.dict(os.environ, SEED=""), \
                tempfile.TemporaryDirectory() as top:
            path = os.path.join(top, "course-seed")
            with mock.patch.object(params, "COURSE", path):
                self.assertEqual(params.course_seed(), params.PUBLIC_SEED)
                with open(path, "w", encoding="ascii") as f:
                    f.write("mine\n")
                self.assertEqual(params.course_seed(), "mine")
                os.environ["SEED"] = "env"
                self.assertEqual(params.course_seed(), "env")


if __name__ == "__main__":
    unittest.main()
