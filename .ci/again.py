#!/usr/bin/env python3
"""Runs tests; with AGAIN set, asks twice more for each one that failed.

    .ci/again.py BINARY ARG...              a test program of Criterion
    .ci/again.py --python FILE FILE...      files of unittest, one after another

Without AGAIN in the environment a failure is a failure.  Where AGAIN names a
file, as in .ci/run, a test that failed runs alone, twice: when it passes both
times it is unsteady, a line with its name goes to that file, and it counts as
passed.  A machine that other people use stops a test for seconds, and a test
cannot tell that from a fault; a fault that is there is there alone too.

Three kinds of failure are never asked again: a crash, what a sanitizer found,
and more failures than LIMIT in one program, because those are no noise.
"""
import os
import re
import signal
import subprocess
import sys
import unittest
from pathlib import Path

LIMIT = 4
TIMES = 2
FAILED = re.compile(r"^\[FAIL\] ([\w-]+)::([\w-]+)", re.M)
# 1 and 66 are how a program ends in which a sanitizer found something.
NO_NOISE = re.compile(r"Sanitizer|runtime error:|CRASH|Unexpected signal"
                      r"|\bstatus (1|66|134|139)\b")


def say(text):
    print(text, flush=True)


def note(name):
    """The name of an unsteady test, for the summary of the whole run."""
    say(f"unsteady: {name} failed, then passed {TIMES} times alone")
    with open(os.environ["AGAIN"], "a", encoding="utf-8") as out:
        out.write(name + "\n")


def run_and_keep(argv):
    """Runs a program, shows what it says, and returns status and text."""
    said = []
    with subprocess.Popen(argv, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True,
                          errors="replace") as child:
        for line in child.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            said.append(line)
    return child.returncode, "".join(said)


def without_filter(argv):
    """The arguments that do not choose tests, and not how many run at once."""
    left, skip = [], False
    for arg in argv:
        if skip:
            skip = False
        elif arg == "--filter":
            skip = True
        elif not arg.startswith(("--filter=", "-j")):
            left.append(arg)
    return left


def criterion(argv):
    status, text = run_and_keep(argv)
    names = sorted(set(FAILED.findall(text)))
    if status == 0 or "AGAIN" not in os.environ:
        return status
    if not names or len(names) > LIMIT or NO_NOISE.search(text):
        return status
    title = os.environ.get("SERVER", argv[0])
    alone = without_filter(argv)
    for suite, test in names:
        say(f"== again, alone: {suite}/{test}")
        for _ in range(TIMES):
            status, text = run_and_keep(
                alone + ["-j1", "--filter", f"{suite}/{test}"])
            # A pattern that chose nothing has passed nothing.
            if status or not re.search(r"Tested: +[^|]*\b1\b", text):
                return status or 1
        note(f"{title} {os.environ.get('APP', '')} {suite}/{test}")
    return 0


def tests_of(suite):
    for each in suite:
        if isinstance(each, unittest.TestSuite):
            yield from tests_of(each)
        else:
            yield each


def load(path):
    return unittest.TestLoader().discover(str(path.parent), path.name)


def python(path):
    """One file of unittest; True if it passed."""
    result = unittest.TextTestRunner(stream=sys.stdout).run(load(path))
    bad = result.failures + result.errors
    if not bad or "AGAIN" not in os.environ:
        return result.wasSuccessful()
    if result.unexpectedSuccesses or any(NO_NOISE.search(t) for _, t in bad):
        return False
    # What failed in a subTest is asked for as its whole test.
    names = {getattr(test, "test_case", test).id() for test, _ in bad}
    # A class or a file that could not be set up has no test of that name.
    if len(names) > LIMIT or len(names & ids(path)) < len(names):
        return False
    for name in sorted(names):
        say(f"== again, alone: {name}")
        for _ in range(TIMES):
            suite = unittest.TestSuite(
                t for t in tests_of(load(path)) if t.id() == name)
            if not unittest.TextTestRunner(stream=sys.stdout).run(
                    suite).wasSuccessful():
                return False
        note(name)
    return True


def ids(path):
    return {test.id() for test in tests_of(load(path))}


def files(paths):
    """Each file in a process of its own: one cannot disturb the next."""
    passed = True
    for path in paths:
        say(f"== python, {path}")
        done = subprocess.run([sys.executable, __file__, "--one", path],
                              check=False)
        passed = passed and done.returncode == 0
    return 0 if passed else 1


def main(argv):
    sys.path[0] = os.getcwd()       # as with python3 -m unittest
    # A shell lets what it runs in the background ignore Ctrl-C, and children
    # would inherit that: some tests send it to what they started.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not argv or argv == ["--python"]:
        print(__doc__, file=sys.stderr)
        return 64
    if argv[0] == "--python":
        return files(argv[1:])
    if argv[0] == "--one":
        return 0 if python(Path(argv[1])) else 1
    return criterion(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
