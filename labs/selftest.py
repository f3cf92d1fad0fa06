#!/usr/bin/python3
"""Grades the grader: selftest.py [--repeat N] [--short] [LAB ...]

For each lab: the solution gets full points, N times in a row; the starter
builds and loses exactly what grade.toml calls its steps beyond what it can do;
each wrong solution of wrong.toml loses exactly the tests it names, or is
refused with the reason it names.  Exit 1 when anything differs.
"""

import argparse
import concurrent.futures
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


def side_by_side(lab, made, args, box):
    """The results, in order.  A server's tests wait most of their time."""
    jobs = 6 if lab.kind == "server" else 2
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(submit_here, [lab] * len(made), made,
                            [args] * len(made), [box.way] * len(made))


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


class Report:
    """Lines of what was expected and what came."""

    def __init__(self):
        self.bad = 0

    def line(self, what, expected, got, detail=""):
        right = expected == got
        self.bad += not right
        print(f"  {'ok' if right else 'WRONG':<6}{what}")
        if not right:
            print(f"        expected {expected}\n        got      {got}"
                  f"\n{detail}")


def names(idents):
    return ", ".join(sorted(idents)) or "nothing"


def check_lab(name, repeat, short, args, box, report):
    lab = labs.load(name)
    print(f"{name}: {lab.points} points")
    files = solution(lab, args.seed)
    with open(os.path.join(lab.folder, "wrong.toml"), "rb") as f:
        table = tomllib.load(f)
    wrongs = table["wrong"][:SHORT if short else None]
    made = [files] * repeat + [markers.files(lab, args.seed)] \
        + [replaced(lab, files, wrong) for wrong in wrongs]
    build.prepare(lab, args.seed, grade.tests_of(lab, args))
    graded = side_by_side(lab, made, args, box)
    for i in range(repeat):
        result = next(graded)
        report.line(f"solution, {i + 1}: full points", "nothing",
                    names(lost(result)), grade.results.table(result))
    skipped = {t["id"] for t in result["tests"] if t["status"] == "skipped"}
    result = next(graded)
    report.line("starter", names({t.id for t in lab.tests} - skipped
                                 - set(table["starter_passes"])),
                names(lost(result)), result["message"])
    for wrong, result in zip(wrongs, graded):
        if "refused" in wrong:
            refused = wrong["refused"] in result["message"] \
                and len(lost(result)) == len(lab.tests)
            report.line(wrong["name"] + ": refused", True, refused,
                        result["message"])
        else:
            loses = {t.id for t in lab.tests} if wrong["loses"] == "all" \
                else wrong["loses"]
            # A descriptor number comes back, or does not: it may lose more.
            more = lost(result) & set(wrong.get("may_lose", []))
            report.line(wrong["name"], names((set(loses) | more) - skipped),
                        names(lost(result)), result["message"])


def main(argv):
    p = argparse.ArgumentParser(
        usage="selftest.py [--repeat N] [--short] [LAB ...]")
    p.add_argument("labs", nargs="*")
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--short", action="store_true",
                   help=f"only the first {SHORT} wrong solutions of a lab")
    p.add_argument("--sandbox", choices=sandbox.WAYS)
    given = p.parse_args(argv)
    report = Report()
    try:
        chosen = [labs.find(n) for n in given.labs] or labs.names()
        box = sandbox.choose(given.sandbox)
        for name in chosen:
            args = grade.parse([name, "--others-code"])
            check_lab(name, given.repeat, given.short, args, box,
                      report)
    except (labs.LabError, sandbox.SandboxError, ValueError) as err:
        print(f"selftest: {err}", file=sys.stderr)
        return 64
    print(f"{report.bad} wrong" if report.bad else "all as expected")
    shutil.rmtree(os.path.join(labs.LABS, "__pycache__"), ignore_errors=True)
    return 1 if report.bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
