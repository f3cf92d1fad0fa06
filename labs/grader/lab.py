"""What a lab asks, read from its grade.toml and checked in full.

    title      for people
    student    the files that a student hands in; nothing else is taken.  The
               tests of a linked lab find them in the folder $SOURCE
    kind       "linked": the student's object is linked into the test program
               "server": the student's file becomes a server, and the tests
               talk to it
    libraries  what is linked, e.g. ["uring"]
    parts      server: the files of stages/parts it may use, e.g. ["uring"]
    staff      server: sources of ours that are built with the student's;
               linked: sources of ours that are built with the tests
    wrap       functions whose calls those sources catch (ld --wrap)
    literal    parameters that the starter holds as numbers (params.py)
    suites     server: tests of stages/tests that can be graded with, too, e.g.
               ["test_http"]
    provides   linked: the names that the object gives to the tests
    allowed    the functions that the student's object may call; a server lab
               without this list allows all
    forbidden  linked: text that the student's files may not hold
    includes   linked: the only headers that they may include, if not empty
    rules      linked: "stateless": the object has no variables of its own
    [[test]]   id = "suite/test" of Criterion, points, step, and if they differ
               from the defaults below: visibility, timeout, needs, parent,
               tags (words for those who sort results: Gradescope shows them);
               why and hint are what a student reads when it fails.  A test
               of the suite "hidden" stands in tests/hidden/, which no student
               gets: there it is skipped
    [[shown]]  linked: id of a test that prints figures (beside.py) and has no
               points; after = the graded test without which it is not run

A lab that is malformed raises LabError with the file and the reason, before
anything is graded.
"""

import os
import re
import tomllib
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
LABS = os.path.join(ROOT, "labs")
KINDS = ("linked", "server")
RULES = ("stateless",)
VISIBILITIES = ("visible", "hidden", "after_due_date", "after_published")
NEEDS = ("io_uring",)       # each has a probe, labs/support/NAME.c
HIDDEN = "hidden"
TIMEOUT_S = 10.0


class LabError(Exception):
    """A lab that cannot be graded with, and why."""


@dataclass
class Test:
    """One graded test."""

    id: str
    points: int
    step: int
    why: str
    hint: str = ""
    visibility: str = "visible"
    timeout: float = TIMEOUT_S      # seconds, before TIME_SCALE
    # Where the machine lacks one of them the test is skipped, and its points
    # are taken out of the lab's sum.
    needs: list = field(default_factory=list)
    parent: str = ""                # fails with it
    tags: list = field(default_factory=list)

    @property
    def hidden(self):
        return self.id.startswith(HIDDEN + "/")


@dataclass
class Shown:
    """A test whose figures are shown beside the starter's."""

    id: str
    after: str


@dataclass
class Lab:
    """A lab as its grade.toml describes it."""

    name: str                       # of its folder: 0-proto
    title: str
    kind: str
    student: list
    tests: list
    libraries: list
    parts: list
    staff: list
    wrap: list
    literal: list
    suites: list
    provides: list
    allowed: list
    forbidden: list
    includes: list
    rules: list
    shown: list

    @property
    def folder(self):
        return os.path.join(LABS, self.name)

    @property
    def points(self):
        return sum(test.points for test in self.tests)

    def test(self, ident):
        return next((t for t in self.tests if t.id == ident), None)


def names():
    """The labs there are, in order."""
    return sorted(n for n in os.listdir(LABS)
                  if re.fullmatch(r"\d+-[a-z]+", n)
                  and os.path.exists(os.path.join(LABS, n, "grade.toml")))


def find(word):
    """The name of a lab from its number or its name."""
    for name in names():
        if word in (name, name.split("-")[0]):
            return name
    raise LabError(f"no lab {word!r}; there are {', '.join(names())}")


class Table:
    """The keys of a TOML table, taken one by one; what is left is unknown."""

    def __init__(self, where, values):
        self.where, self.values = where, dict(values)

    def take(self, name, kind, default=None):
        if name not in self.values:
            if default is None:
                raise LabError(f"{self.where}: {name} is missing")
            return default
        value = self.values.pop(name)
        if isinstance(value, bool) or not isinstance(value, kind):
            raise LabError(f"{self.where}: {name} is {value!r}")
        return value

    def strings(self, name, default=None):
        value = self.take(name, list, default)
        if not all(isinstance(v, str) for v in value):
            raise LabError(f"{self.where}: {name} is not a list of strings")
        return value

    def end(self):
        if self.values:
            raise LabError(f"{self.where}: unknown key "
                           f"{', '.join(sorted(self.values))}")


def one_of(where, name, value, known):
    if value not in known:
        raise LabError(f"{where}: {name} {value!r} is none of "
                       f"{', '.join(known)}")
    return value


def read_test(where, values, line):
    ident = values.get("id", "")
    where = f"{where}{line(ident)}: test {ident!r}"
    table = Table(where, values)
    test = Test(id=table.take("id", str), points=table.take("points", int),
                step=table.take("step", int), why=table.take("why", str),
                hint=table.take("hint", str, ""),
                visibility=table.take("visibility", str, "visible"),
                timeout=float(table.take("timeout", (int, float), TIMEOUT_S)),
                needs=table.strings("needs", []),
                parent=table.take("parent", str, ""),
                tags=table.strings("tags", []))
    table.end()
    if not re.fullmatch(r"\w+/\w+", test.id):
        raise LabError(f"{where}: not of the form suite/test")
    if not all(re.fullmatch(r"[\w-]+", tag) for tag in test.tags):
        raise LabError(f"{where}: a tag is one word")
    if test.points < 1 or not 0 < test.timeout <= 300:
        raise LabError(f"{where}: points or timeout out of range")
    one_of(where, "visibility", test.visibility, VISIBILITIES)
    for need in test.needs:
        one_of(where, "needs", need, NEEDS)
    return test


def read_shown(where, values, tests):
    table = Table(f"{where}: shown", values)
    one = Shown(id=table.take("id", str), after=table.take("after", str))
    table.end()
    if one.after not in [t.id for t in tests]:
        raise LabError(f"{where}: shown {one.id!r}: no test {one.after!r}")
    return one


def check_tests(where, tests):
    idents = [t.id for t in tests]
    for ident in idents:
        if idents.count(ident) > 1:
            raise LabError(f"{where}: test {ident!r} is there twice")
    for test in tests:
        if test.parent and test.parent not in idents:
            raise LabError(f"{where}: test {test.id!r}: no parent "
                           f"{test.parent!r}")
        if test.parent and idents.index(test.parent) >= idents.index(test.id):
            raise LabError(f"{where}: test {test.id!r} stands before its "
                           "parent")


def load(name, labs=LABS):
    """The lab, or LabError."""
    path = os.path.join(labs, name, "grade.toml")
    where = os.path.relpath(path, os.path.dirname(labs))
    try:
        with open(path, encoding="utf-8") as f:
            text = f.read()
        values = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise LabError(f"{where}: {err}") from None

    def line(ident):
        """:N of a test, so that the reader of an error finds it."""
        for number, row in enumerate(text.split("\n"), 1):
            if ident and row.replace(" ", "") == f'id="{ident}"':
                return f":{number}"
        return ""

    table = Table(where, values)
    tests = [read_test(where, t, line) for t in table.take("test", list)]
    lab = Lab(name=name, title=table.take("title", str),
              kind=one_of(where, "kind", table.take("kind", str), KINDS),
              student=table.strings("student"),
              libraries=table.strings("libraries", []),
              parts=table.strings("parts", []),
              staff=table.strings("staff", []),
              wrap=table.strings("wrap", []),
              literal=table.strings("literal", []),
              suites=table.strings("suites", []),
              provides=table.strings("provides", []),
              allowed=table.strings("allowed", []),
              forbidden=table.strings("forbidden", []),
              includes=table.strings("includes", []),
              rules=table.strings("rules", []), tests=tests,
              shown=[read_shown(where, s, tests)
                     for s in table.take("shown", list, [])])
    table.end()
    for rule in lab.rules:
        one_of(where, "rules", rule, RULES)
    if lab.kind != "linked" and lab.shown:
        raise LabError(f"{where}: only a linked lab has something shown")
    if lab.kind == "linked" and not lab.provides:
        raise LabError(f"{where}: a linked lab needs provides")
    if not tests or not lab.student:
        raise LabError(f"{where}: no tests, or no files to hand in")
    for file in lab.student:
        if os.path.basename(file) != file \
                or not file.endswith((".c", ".h", ".txt")):
            raise LabError(f"{where}: student: {file!r} is no C file's name")
    check_tests(where, tests)
    return lab
