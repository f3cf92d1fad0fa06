#!/usr/bin/python3
"""Grades the grader: selftest.py [options] [LAB ...]

For each lab: the solution gets full points, N times in a row; the starter
builds and loses exactly what grade.toml calls its steps beyond what it can do;
each wrong solution of wrong.toml loses exactly the tests it names, or is
refused with the reason it names.  Exit 1 when anything differs.

  --repeat N        of the solution
  --repeat-wrong N  of the starter and of each wrong solution
  --short           only the first wrong solutions of a lab
  --csv FILE        a row for each: points expected and got, how often graded.
                    Rows of other labs that stand in FILE already are kept
"""

import argparse
import concurrent.futures
import csv
import itertools
import os
import shutil
import sys
import tempfile
import tomllib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import grade                                       # noqa: E402
from grader import build, lab as labs, markers     # noqa: E402
from grader import params, sandbox                 # noqa: E402


SHORT = 3


def submit(lab, files, args, box):
    """The result of a made-up submission."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(text)
        return grade.grade(lab, folder, args, box)


def submit_here(lab, files, args, way):
    """The same in a process of its own: a sandbox ends what its process
    started, and has the process's own user."""
    return submit(lab, files, args, sandbox.Sandbox(way))


def jobs():
    """So many submissions at once: tests of servers wait most of their time,
    and those of other labs a part of it."""
    return 3 * len(os.sched_getaffinity(0))


def solution(lab, seed=params.PUBLIC_SEED):
    files = {}
    for name in lab.student:
        path = os.path.join(lab.folder, "solution", name)
        with open(path, encoding="utf-8") as f:
            files[name] = params.fill(f.read(), seed)
    return files


def lost(result):
    return {t["id"] for t in result["tests"] if t["status"] == "failed"}


def replaced(lab, files, wrong):
    """The solution with one piece replaced, which must be there once; or what
    was handed in in a course with another seed."""
    if "seed" in wrong:
        files = solution(lab, wrong["seed"])
        return {n: params.literal(markers.answer(t), lab.literal, wrong["seed"])
                for n, t in files.items()}
    name = wrong.get("file") or next(iter(files))
    text = files[name]
    if text.count(wrong["old"]) != 1:
        raise ValueError(f"{wrong['name']}: the piece to replace is there "
                         f"{text.count(wrong['old'])} times")
    text = text.replace(wrong["old"], wrong["new"])
    for old, new in wrong.get("also", []):
        if text.count(old) != 1:
            raise ValueError(f"{wrong['name']}: {old!r} is there "
                             f"{text.count(old)} times")
        text = text.replace(old, new)
    return dict(files, **{name: text})


COLUMNS = ("lab", "submission", "expected", "got", "graded", "as expected")


class Report:
    """What was expected and what came: lines, and rows of a table."""

    def __init__(self):
        self.bad = 0
        self.rows = []

    def line(self, what, expected, got, detail=""):
        right = expected == got
        self.bad += not right
        print(f"  {'ok' if right else 'WRONG':<6}{what}")
        if not right:
            print(f"        expected {expected}\n        got      {got}"
                  f"\n{detail}")
        return right

    def row(self, lab, what, expected, got, right):
        """expected: (least, most) points; got: points, each time."""
        self.rows.append((lab.name, what, span(*expected),
                          span(min(got), max(got)), len(got), right))

    def write(self, path, chosen):
        kept = []
        if os.path.exists(path):
            with open(path, encoding="utf-8", newline="") as f:
                kept = [tuple(row) for row in csv.reader(f)][1:]
        kept = [row for row in kept if row[0] not in chosen] + self.rows
        with open(path, "w", encoding="utf-8", newline="") as f:
            csv.writer(f).writerows([COLUMNS] + sorted(
                kept, key=lambda row: row[0]))


def span(least, most):
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"


def names(idents):
    return ", ".join(sorted(idents)) or "nothing"


def left(lab, gone, skipped):
    """The points of a submission that loses these tests."""
    return sum(t.points for t in lab.tests
               if t.id not in set(gone) | skipped)


def judge(lab, wrong, graded, report):
    """One wrong solution, or the starter: as often as it was graded."""
    all_tests, got, right = {t.id for t in lab.tests}, [], 0
    for result in graded:
        got.append(result["score"])
        skipped = {t["id"] for t in result["tests"]
                   if t["status"] == "skipped"}
        if "refused" in wrong:
            refused = wrong["refused"] in result["message"] \
                and len(lost(result)) == len(lab.tests)
            expected = 0, 0
            right += report.line(wrong["name"] + ": refused", True, refused,
                                 result["message"])
            continue
        loses = all_tests if wrong["loses"] == "all" else set(wrong["loses"])
        # A descriptor number comes back, or does not: it may lose more.
        may = set(wrong.get("may_lose", []))
        right += report.line(
            wrong["name"], names((loses | lost(result) & may) - skipped),
            names(lost(result)), result["message"])
        expected = left(lab, loses | may, skipped), left(lab, loses, skipped)
    report.row(lab, wrong["name"], expected, got, right)


def begin(name, given, way, pool):
    """Gives the submissions of one lab to the pool: (lab, starter and wrong
    solutions, results in order)."""
    args = grade.parse([name, "--others-code"])
    lab = labs.load(name)
    files = solution(lab, args.seed)
    with open(os.path.join(lab.folder, "wrong.toml"), "rb") as f:
        table = tomllib.load(f)
    starter = {"name": "starter", "loses": {t.id for t in lab.tests}
               - set(table["starter_passes"])}
    wrongs = [starter] + table["wrong"][:SHORT if given.short else None]
    made = [files] * given.repeat
    for wrong in wrongs:
        text = markers.files(lab, args.seed) if wrong is starter \
            else replaced(lab, files, wrong)
        made += [text] * given.repeat_wrong
    build.prepare(lab, args.seed, grade.tests_of(lab, args))
    return lab, wrongs, pool.map(submit_here, [lab] * len(made), made,
                                 [args] * len(made), [way] * len(made))


def check_lab(lab, wrongs, graded, given, report):
    print(f"{lab.name}: {lab.points} points")
    got, right = [], 0
    for i in range(given.repeat):
        result = next(graded)
        right += report.line(f"solution, {i + 1}: full points", "nothing",
                             names(lost(result)), grade.results.table(result))
        got.append(result["score"])
    if got:
        report.row(lab, "solution", (result["max"], result["max"]), got, right)
    for wrong in wrongs:
        judge(lab, wrong, itertools.islice(graded, given.repeat_wrong), report)


def main(argv):
    p = argparse.ArgumentParser(
        usage="selftest.py [options] [LAB ...]",
        description=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("labs", nargs="*")
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--repeat-wrong", type=int, default=1)
    p.add_argument("--short", action="store_true")
    p.add_argument("--csv")
    p.add_argument("--sandbox", choices=sandbox.WAYS)
    given = p.parse_args(argv)
    if given.repeat < 0 or given.repeat_wrong < 1:
        p.error("--repeat or --repeat-wrong is too small")
    report = Report()
    try:
        chosen = [labs.find(n) for n in given.labs] or labs.names()
        way = sandbox.choose(given.sandbox).way
        with concurrent.futures.ProcessPoolExecutor(jobs()) as pool:
            begun = [begin(name, given, way, pool) for name in chosen]
            for lab, wrongs, graded in begun:
                check_lab(lab, wrongs, graded, given, report)
        if given.csv:
            report.write(given.csv, chosen)
    except (labs.LabError, sandbox.SandboxError, ValueError, OSError) as err:
        print(f"selftest: {err}", file=sys.stderr)
        return 64
    print(f"{report.bad} wrong" if report.bad else "all as expected")
    shutil.rmtree(os.path.join(labs.LABS, "__pycache__"), ignore_errors=True)
    return 1 if report.bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
