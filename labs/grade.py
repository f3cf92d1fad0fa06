#!/usr/bin/python3
"""Grades one submission of one lab: grade.py LAB [SUBMISSION] [options]

LAB is a number or a name (0, 0-proto).  SUBMISSION is a folder, a tar or zip
archive or a single file; without it, labs/work/LAB is graded (make lab LAB=0
puts a starter there).  Exit status: 0 the submission was graded (whatever its
points), 1 it was graded below full points and --strict was given, 64 usage or
a malformed lab, 69 nothing can be graded on this machine.

The staff's tests and headers are used, never the submission's.  See
labs/grader/sandbox.py for how student code is kept in.
"""

import argparse
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from grader import beside, build, bundle, debug, lab as labs      # noqa: E402
from grader import params, result as results, sandbox             # noqa: E402
from grader import submission                                     # noqa: E402

SANITIZER_SCALE = 5.0
HANGS = 3           # in a row, then the rest is not run


def parse(argv):
    p = argparse.ArgumentParser(
        usage="grade.py LAB [SUBMISSION] [options]",
        description=__doc__.partition("\n\n")[0])
    p.add_argument("lab")
    p.add_argument("submission", nargs="?")
    p.add_argument("--test", help="only this test (suite/test)")
    p.add_argument("--json", metavar="FILE", help="where the result goes")
    p.add_argument("--seed", default=params.course_seed(),
                   help="of the course's parameters")
    p.add_argument("--test-seed", type=int, metavar="N",
                   help="other data in the tests than students have seen")
    p.add_argument("--tests", metavar="FOLDER",
                   help="other tests than the public ones (instructor)")
    p.add_argument("--sandbox", choices=sandbox.WAYS)
    p.add_argument("--sanitizer", choices=("asan", "tsan"), default="")
    p.add_argument("--gdb", action="store_true",
                   help="the test under gdb, without a sandbox; needs --test")
    p.add_argument("--strict", action="store_true")
    p.add_argument("--points-only", action="store_true",
                   help="without what is shown for no points")
    p.add_argument("--others-code", action="store_true",
                   help="never run without a sandbox")
    args = p.parse_args(argv)
    try:
        args.scale = float(os.environ.get("TIME_SCALE") or 1)
    except ValueError:
        p.error("TIME_SCALE is not a number")
    if args.sanitizer:
        args.scale *= SANITIZER_SCALE
    if args.gdb and (not args.test or args.others_code):
        p.error("--gdb needs --test, and code of one's own")
    if args.gdb:
        args.scale *= debug.SCALE
    return args


def entry(test, status, points=0, output="", seconds=0.0):
    return {"id": test.id, "step": test.step, "points": points,
            "max": test.points, "status": status, "output": output,
            "why": test.why, "hint": test.hint,
            "visibility": test.visibility, "tags": test.tags,
            "seconds": round(seconds, 3)}


def ending(status):
    """An exit status in words."""
    if status < 0 or status > 128:
        number = -status if status < 0 else status - 128
        try:
            return f"signal {signal.Signals(number).name}"
        except ValueError:
            pass
    return f"status {status}"


def said(text):
    """What a test says, without what Criterion puts around it."""
    rows = []
    for row in text.split("\n"):
        row = re.sub(r"^\[(?:----|FAIL|ERR )\] ?", "", row).rstrip()
        row = re.sub(r"^(?:\.{0,2}/)*\S*/(\w+\.[ch]:\d+): ", r"\1: ", row)
        if row and not row.startswith("[====]"):
            rows.append(row)
    return "\n".join(rows)


def verdict(outcome, where):
    """(passed, what the student reads) of one Criterion run.

    The report is written by the test program when all is over.  A program that
    ends earlier has not passed, whatever its exit status says.
    """
    if outcome.killed:
        return False, f"the test {outcome.killed}"
    if not where:           # under ThreadSanitizer: see build.NO_CRITERION
        return outcome.status == 0, said(outcome.output)
    try:
        with open(where, encoding="utf-8", errors="replace") as f:
            text = f.read()
    except OSError:
        text = ""
    if not text:
        return False, ("the program ended before the test did, with "
                       f"{ending(outcome.status)}\n{said(outcome.output)}")
    try:
        report = json.loads(text)
    except ValueError:      # Criterion does not escape a failure's newlines
        report = {}
    if outcome.status == 0 and report.get("passed") == 1 \
            and not report.get("failed") and not report.get("errored"):
        return True, ""
    return False, said(outcome.output)


class Linked:
    """A test program with the student's object in it: all of it in the box."""

    def __init__(self, box, lab, source, out, args):
        objects, work = build.staff(lab, args.seed, tests_of(lab, args),
                                    args.sanitizer)
        box.lend(out)
        self.box, self.out, self.source = box, out, source
        self.program, self.text = build.linked(box, lab, source, out, objects,
                                               work, args.sanitizer)

    def run(self, words, limits, env):
        return self.box.run([self.program, *words], limits,
                            ro=(self.source,), rw=(self.out,), cwd=self.out,
                            env=dict(env, SOURCE=self.source))


class Server:
    """The staff's test program, and the student's server beside it."""

    def __init__(self, box, lab, source, out, args):
        # Criterion and ThreadSanitizer do not go together: see the Makefile.
        plain = args.sanitizer.replace("tsan", "")
        objects, work = build.staff(lab, args.seed, tests_of(lab, args), plain)
        self.runner = build.staff_runner(lab, objects, work, plain)
        self.box, self.out, self.given = box, out, args.test_seed
        self.built = os.path.join(out, "built")
        self.report = os.path.join(out, "report")
        for folder in (self.built, self.report):
            os.mkdir(folder)
        box.lend(self.built)
        program, self.text = build.server(box, lab, source, self.built, work,
                                          args.sanitizer)
        box.take_back(self.built)
        if box.way == "bubblewrap":
            box.lend(self.report)
        # The tests know a sanitized server by its path.
        folder = os.path.join(out, args.sanitizer or "plain")
        os.mkdir(folder)
        self.script = os.path.join(folder, os.path.basename(program))
        with open(self.script, "w", encoding="utf-8") as f:
            f.write(box.server_script(program, self.report, sandbox.Limits()))
        os.chmod(self.script, 0o755)

    def run(self, words, limits, env):
        env = dict(env, SERVER=self.script, APP="http")
        if not self.given:
            env.pop("SEED")
        return self.box.run([self.runner, *words], limits,
                            ro=(os.path.dirname(self.runner), self.script,
                                self.built),
                            rw=(self.report,), cwd=self.report, env=env,
                            staff=True)


def tests_of(lab, args):
    return args.tests or os.path.join(lab.folder, "tests")


def run_test(target, lab, test, args):
    """The entry of one test."""
    where = os.path.join(getattr(target, "report", target.out), "report.json")
    words = ["--filter", test.id, "--json=" + where, "-j1", "--color=never"]
    if build.without_criterion(lab, args.sanitizer):
        where, words = "", [test.id]
    elif os.path.lexists(where):
        os.unlink(where)
    limits = sandbox.Limits(seconds=test.timeout * args.scale)
    if args.gdb:
        target.box.armed = True
    outcome = target.run(
        words, limits, {"TIME_SCALE": f"{args.scale:g}",
                        "SEED": str(args.test_seed or args.seed)})
    passed, text = verdict(outcome, where)
    return entry(test, "passed" if passed else "failed",
                 test.points if passed else 0, text, outcome.seconds)


def lacking(lab, box):
    """{need: why not} of what the tests need and this machine does not have.
    It is asked by a program of ours: what the student's code says of it does
    not count."""
    reasons = {}
    for need in {n for test in lab.tests for n in test.needs}:
        program = build.probe(need)
        done = box.run([program], sandbox.Limits(seconds=10), ro=(program,))
        if done.status != 0:
            reasons[need] = done.output.strip() or done.killed or "?"
    return reasons


def run_tests(target, lab, args):
    """All of them; a program that hangs again and again is left alone."""
    done, hung = {}, 0
    reasons = lacking(lab, target.box)
    for test in lab.tests:
        if args.test and test.id != args.test:
            continue
        why_not = [reasons[n] for n in test.needs if n in reasons]
        if test.hidden and not os.path.isdir(
                os.path.join(tests_of(lab, args), labs.HIDDEN)):
            why_not = ["only your instructor has this test"]
        if why_not:
            done[test.id] = entry(test, "skipped", output=why_not[0])
            continue
        parent = done.get(test.parent)
        if parent and parent["status"] == "failed":
            done[test.id] = entry(test, "failed",
                                  output=f"not run: {test.parent} fails")
            continue
        if hung == HANGS:
            done[test.id] = entry(test, "failed", output="not run: "
                                  f"{HANGS} tests in a row ran too long")
            continue
        done[test.id] = run_test(target, lab, test, args)
        late = done[test.id]["seconds"] > test.timeout * args.scale
        hung = hung + 1 if late else 0
        if done[test.id]["status"] == "failed" and not args.others_code:
            done[test.id]["repeat"] = \
                f"make grade LAB={lab.name.split('-')[0]} TEST={test.id}"
    return list(done.values())


def none_pass(lab, args):
    return [entry(t, "failed") for t in lab.tests
            if not args.test or t.id == args.test]


def empty(lab, path, args, way, message=""):
    """A result in which nothing has passed."""
    return {"schema": results.SCHEMA, "lab": lab.name, "title": lab.title,
            "submission": os.path.basename(os.path.normpath(path)),
            "fingerprint": "", "seed": args.seed, "sandbox": way,
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "message": message, "tests": none_pass(lab, args), "shown": []}


def put(folder, files):
    os.mkdir(folder)
    for name, data in files.items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)


def figures_of(target, shown, args):
    """What one test of [[shown]] prints, as beside.figures()."""
    done = target.run(["--filter", shown.id, "-j1", "--color=never"],
                      sandbox.Limits(seconds=labs.TIMEOUT_S * args.scale),
                      {"TIME_SCALE": f"{args.scale:g}",
                       "SEED": str(args.test_seed or args.seed)})
    return beside.figures(done.output) if done.status == 0 else {}


def beside_starter(target, lab, tests, top, args):
    """The entries of [[shown]] whose graded test has passed."""
    passed = {t["id"] for t in tests if t["status"] == "passed"}
    chosen = [s for s in lab.shown if s.after in passed]
    if not chosen:
        return []
    source, out = os.path.join(top, "starter"), os.path.join(top, "beside")
    put(source, {name: text.encode() for name, text in
                 bundle.starter(lab, args.seed).items()})
    put(out, {})
    starter = Linked(target.box, lab, source, out, args)
    found = []
    for shown in chosen:
        found += beside.ratios(beside.in_turn(
            lambda t, shown=shown: figures_of(t, shown, args), target, starter,
            beside.PAIRS))
    return found


def grade(lab, path, args, box):
    """The result of one submission."""
    result = empty(lab, path, args, box.way)
    top = tempfile.mkdtemp(prefix="ioladder-grade-")
    os.chmod(top, 0o755)
    try:
        files = submission.read_apart(path, lab.student)
        result["fingerprint"] = submission.fingerprint(files)
        source, out = os.path.join(top, "source"), os.path.join(top, "out")
        put(source, files)
        put(out, {})
        kind = {"linked": Linked, "server": Server}[lab.kind]
        target = kind(box, lab, source, out, args)
        result["message"] = target.text.strip()
        result["tests"] = run_tests(target, lab, args)
        if not (args.points_only or args.others_code or args.test
                or args.sanitizer):
            result["shown"] = beside_starter(target, lab, result["tests"],
                                             top, args)
    except (submission.SubmissionError, build.BuildError) as err:
        result["message"] = str(err)
    finally:
        shutil.rmtree(top, ignore_errors=True)
    result["message"] = result["message"].replace(top + "/source/", "")
    return results.finish(result)


def stop(number, frame):
    """Leaves by the way on which what was started is ended."""
    raise SystemExit(128 + number)


def main(argv):
    signal.signal(signal.SIGTERM, stop)
    args = parse(argv)
    try:
        lab = labs.load(labs.find(args.lab))
    except labs.LabError as err:
        print(f"grade: {err}", file=sys.stderr)
        return 64
    if args.test and not lab.test(args.test):
        print(f"grade: lab {lab.name} has no test {args.test!r}",
              file=sys.stderr)
        return 64
    path = args.submission or os.path.join(labs.LABS, "work", lab.name)
    try:
        box = debug.Debugger() if args.gdb else \
            sandbox.choose(args.sandbox, not args.others_code)
        result = grade(lab, path, args, box)
    except (sandbox.SandboxError, build.StaffError) as err:
        print(f"grade: {err}", file=sys.stderr)
        return 69
    print(results.table(result))
    if args.json:
        results.write(result, args.json)
        print(f"result: {args.json}")
    return 1 if args.strict and result["score"] < result["max"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
