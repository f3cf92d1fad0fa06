"""What leaves the house, each time from a list of what may: the handout of a
lab, the tree that another machine grades with, the instructor's kit.

A path is packed because a pattern below names it.  Nothing is packed because
it happens to be there: an answer that somebody left in a folder stays there.
"""

import glob
import io
import os
import re
import secrets
import tarfile
import zipfile

from . import markers, params
from .lab import ROOT, names

# What builds the library, the parts and the staff's side of every lab.
BUILDS = ("Makefile", "LICENSE", "common/*.[ch]", "stages/parts/*.[ch]",
          "common/tests/tsan/*.c", "common/tests/tsan/criterion/*.h",
          "stages/tests/*.[ch]", "stages/tests/verify/explore.[ch]",
          "labs/support/*.[ch]", ".ci/deps", ".ci/files",
          ".ci/doctor", "labs/doctor.py", "labs/grade.py",
          "labs/grader/__init__.py", "labs/grader/beside.py",
          "labs/grader/build.py", "labs/grader/bundle.py",
          "labs/grader/debug.py", "labs/grader/hold.py",
          "labs/grader/inside.py", "labs/grader/lab.py",
          "labs/grader/markers.py", "labs/grader/params.py",
          "labs/grader/result.py", "labs/grader/sandbox.py",
          "labs/grader/submission.py")
OF_LAB = ("grade.toml", "tests/*.[ch]", "staff/*.[ch]", "support/*",
          "tests/*.py", "staff/*.py", "*.py")
HIDDEN = ("tests/hidden/*.[ch]",)      # for those who grade
TO_READ = ("README.md", "*.md")
STUDENT = ("labs/handout.py", "labs/watch.py", "docs/students.md",
           ".devcontainer/*")
CLASS = ("labs/grade_all.py", "labs/export.py", "labs/grader/*.py")
KIT = ("README.md", "CONTRIBUTING.md", "labs/*.py", "labs/README.md",
       "labs/grader/*.py", "labs/tests/*.py", "labs/instructor/*",
       "labs/*/wrong.toml", "labs/*/solution/*", "stages/README.md",
       "stages/*/README.md", "stages/[0-9]-*/*.[ch]", "docs/*.md",
       "docs/img/*")
# Pages that a lab's text may lead to.
LINKED = ("docs/", "common/", "stages/")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s#]+)(?:#[^)\s]*)?\)"
                  r"|\b(?:src|srcset|href)=\"([^\"#]+)\"")
PACKAGES = ("bubblewrap", "gcc", "libc6-dev", "libcriterion-dev",
            "liburing-dev", "make", "python3", "util-linux")


WELCOME = """\
# {title}

What to do stands in [labs/{lab}/README.md](labs/{lab}/README.md). The commands,
in this folder:

    make lab LAB={number}       # once: your files, in labs/work/{lab}/
    make grade LAB={number}     # builds them, runs the tests, shows your points
    make watch LAB={number}     # the same again whenever a file is saved
    make grade LAB={number} TEST=suite/test
    make doctor          # when something is missing on this machine

Hand in the files in labs/work/{lab}/.
"""


class BundleError(Exception):
    """Why it was not packed."""


def matching(patterns, below="", root=ROOT):
    """The regular files that the patterns name, as names from the root."""
    found = set()
    for pattern in patterns:
        for path in glob.glob(os.path.join(root, below, pattern)):
            if os.path.isfile(path) and not os.path.islink(path):
                found.add(os.path.relpath(path, root))
    return found


def linked(page, root=ROOT):
    """The files that a page leads to, pictures of those pages included."""
    found = set()
    with open(os.path.join(root, page), encoding="utf-8") as f:
        text = f.read()
    for match in LINK.finditer(text):
        target = match.group(1) or match.group(2)
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        name = os.path.normpath(os.path.join(os.path.dirname(page), target))
        if name.startswith(LINKED) and \
                os.path.isfile(os.path.join(root, name)):
            found.add(name)
    return found


def contents(files):
    """{name: (bytes, executable)}"""
    packed = {}
    for name in sorted(files):
        path = os.path.join(ROOT, name)
        with open(path, "rb") as f:
            packed[name] = (f.read(), os.access(path, os.X_OK))
    return packed


def grading(lab, more=(), hidden=HIDDEN):
    """What a machine needs to grade one lab, as contents()."""
    folder = f"labs/{lab.name}"
    files = matching(BUILDS + tuple(more)) | matching(OF_LAB + hidden, folder)
    files |= {name for name in lab.staff
              if os.path.isfile(os.path.join(ROOT, name))}
    return contents(files)


def starter(lab, seed):
    """{file name: text}: what a student begins with.  A handout holds it as
    files; here it is made from the solution."""
    folder = os.path.join(lab.folder, "starter")
    if not os.path.isdir(folder):
        return markers.files(lab, seed)
    files = {}
    for name in lab.student:
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            files[name] = f.read()
    return files


def handout(lab, seed):
    """What a student gets, as contents(): with the starter, without answers.
    """
    packed = grading(lab, STUDENT, ())
    number = lab.name.split("-")[0]
    packed["README.md"] = (WELCOME.format(
        title=lab.title, lab=lab.name, number=number).encode(), False)
    folder = f"labs/{lab.name}"
    pages = matching(TO_READ, folder)
    for page in sorted(pages):
        pages |= linked(page)
    for page in sorted(p for p in pages if p.startswith("docs/")
                       and p.endswith(".md")):
        pages |= {p for p in linked(page) if p.startswith("docs/img/")}
    packed.update(contents(pages))
    for name, text in starter(lab, seed).items():
        packed[f"{folder}/starter/{name}"] = (text.encode(), False)
    packed["labs/course-seed"] = (f"{seed}\n".encode(), False)
    check_no_answer(lab, packed, seed)
    return packed


def pieces(text):
    """The lines of an answer that no other file can hold by chance."""
    return {line.strip() for line in text.split("\n")
            if len(line.strip()) >= 30}


def check_no_answer(lab, packed, seed):
    """A second look, at the bytes: BundleError when an answer is among them.
    """
    answers = set()
    for name in lab.student:
        path = os.path.join(lab.folder, "solution", name)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                text = f.read()
            text = params.fill(text, seed)
            answers |= pieces(markers.answer(text)) - \
                pieces(markers.starter(text, path, seed))
    for name, (data, _) in packed.items():
        text = data.decode("utf-8", errors="replace")
        if name.endswith((".c", ".h")) and "LAB-BEGIN" in text:
            raise BundleError(f"{name} has markers in it")
        if "/solution/" in name or "/tests/hidden/" in name \
                or name.endswith("wrong.toml"):
            raise BundleError(f"{name} is not for students")
        if not name.startswith("labs/"):
            continue        # the stages are open to all, and hold no answer
        told = sorted(answers & pieces(text))
        if len(told) > 3:
            raise BundleError(f"{name} holds lines of the answer: {told[0]}")


def kit(seed):
    """The instructor's: labs with answers, texts, and a seed for tests that
    no student knows."""
    packed = {}
    for name in names():
        packed.update(contents(matching(OF_LAB + HIDDEN + TO_READ,
                                        f"labs/{name}")))
    packed.update(contents(matching(BUILDS + CLASS + KIT)))
    from .lab import load
    for name in names():
        lab = load(name)
        for file in lab.student:
            path = os.path.join(lab.folder, "solution", file)
            with open(path, encoding="utf-8") as f:
                text = f.read()
            packed[f"answers/{name}/{file}"] = (
                params.fill(markers.answer(text), seed).encode(), False)
    packed["labs/course-seed"] = (f"{seed}\n".encode(), False)
    packed["labs/test-seed"] = (f"{secrets.randbelow(10**9) + 1}\n".encode(),
                                False)
    return packed


def mode(executable):
    return 0o755 if executable else 0o644


def write_tar(packed, path, top):
    """All below one folder, with no owner and no date: the same files make the
    same archive."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, (data, executable) in sorted(packed.items()):
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mode = len(data), mode(executable)
            archive.addfile(member, io.BytesIO(data))


def write_zip(packed, path):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (data, executable) in sorted(packed.items()):
            member = zipfile.ZipInfo(name)
            member.external_attr = (0o100000 | mode(executable)) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, data)


SETUP = """#!/bin/bash
# Runs once, as root, when Gradescope makes the image.
set -e
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\
    {packages}
python3 -c 'import tomllib' 2>/dev/null || {{
    echo "Choose an image with Python 3.11 or later (Ubuntu 24.04)." >&2
    exit 1
}}
cd "${{AUTOGRADER:-/autograder}}/source/ioladder"
python3 labs/grade_all.py prepare {lab}
"""

RUN = """#!/bin/bash
# Runs for each submission, as root.  The first result stands if the machine
# is stopped before the last.
top=${{AUTOGRADER:-/autograder}}
chmod 700 "$top/results" "$top/submission"
echo '{{"score": 0, "output": "The grader was stopped before its end."}}' \\
    >"$top/results/results.json"
cd "$top/source/ioladder" || exit 1
python3 labs/grade.py {lab} "$top/submission" --others-code \\
    --test-seed {test_seed} --json "$top/results/ioladder.json" &&
    python3 labs/export.py gradescope "$top/results/ioladder.json" \\
        "$top/results/results.json"
status=$?
rm -f "$top/results/ioladder.json"
exit $status
"""


def autograder(lab, path, seed):
    """The zip that Gradescope takes: setup.sh and run_autograder in its root.
    """
    packed = {f"ioladder/{name}": value
              for name, value in grading(lab, CLASS).items()}
    packed["ioladder/labs/course-seed"] = (f"{seed}\n".encode(), False)
    number = lab.name.split("-")[0]
    packed["setup.sh"] = (SETUP.format(
        lab=number, packages=" ".join(PACKAGES)).encode(), True)
    packed["run_autograder"] = (RUN.format(
        lab=number, test_seed=secrets.randbelow(10**9) + 1).encode(), True)
    write_zip(packed, path)
