#!/usr/bin/python3
"""Grades again whenever a file is saved: watch.py LAB [FOLDER] [options]

FOLDER holds the files to hand in, labs/work/LAB unless it is given.  Options
(--test, --sanitizer, --seed) are those of grade.py.  After the first time only
what has changed is shown, and the first test that fails.  Ctrl-C ends it.

It sleeps in inotifywait (package inotify-tools) where that is installed, and
looks once a second where it is not, or with --poll.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from grader import lab as labs, result as results    # noqa: E402

POLL_S = 1.0
SETTLE_S = 0.1      # an editor may write a file in several steps


class WatchError(Exception):
    """Nothing to watch, and why."""


def contents(folder, names):
    """{name: bytes} of the files that are there."""
    found = {}
    for name in names:
        try:
            with open(os.path.join(folder, name), "rb") as f:
                found[name] = f.read()
        except OSError:
            pass
    return found


def wait_for_event(folder, poll):
    """Returns when something may have happened in the folder, or after a short
    while: what was saved before the wait began makes no event."""
    tool = None if poll else shutil.which("inotifywait")
    if not tool or subprocess.run(
            [tool, "-qq", "-t", "2", "-e", "close_write,moved_to,delete",
             folder], check=False).returncode not in (0, 2):
        time.sleep(POLL_S)


def wait_for_change(folder, names, before, poll):
    """(what the files hold now, the names that differ); what was saved while
    the tests ran is seen, too."""
    while True:
        now = contents(folder, names)
        if now != before:
            time.sleep(SETTLE_S)
            if contents(folder, names) == now:
                return now, [n for n in names if now.get(n) != before.get(n)]
        else:
            wait_for_event(folder, poll)


def grade(name, folder, options):
    """The result, or None when grade.py said why there is none."""
    with tempfile.TemporaryDirectory() as top:
        path = os.path.join(top, "result.json")
        done = subprocess.run(
            [sys.executable, os.path.join(labs.LABS, "grade.py"), name, folder,
             "--json", path, "--points-only", *options],
            stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            print(done.stdout, end="")
            return None
        with open(path, encoding="utf-8") as f:
            return json.load(f)


def states(result):
    return {t["id"]: t["status"] for t in result["tests"]}


def changes(before, now):
    """Lines about the tests that have changed."""
    old, lines = states(before), []
    for ident, status in states(now).items():
        if status != old.get(ident):
            word = {"passed": "passes", "failed": "fails"}.get(
                status, "is skipped")
            lines.append(f"  {'+' if status == 'passed' else '-'} {ident} "
                         f"{word} now")
    return lines or ["  no test has changed"]


def shown(before, now):
    """What a person reads after a change."""
    lines = changes(before, now)
    if now["message"]:
        lines += ["", results.shorten(now["message"], 12)]
    failed = next((t for t in now["tests"] if t["status"] == "failed"), None)
    if failed and not (now["message"] and not failed["output"]):
        lines += ["", f"  the first that fails: {failed['id']}"]
        lines += ["    " + row for row in
                  results.shorten(failed["output"], 12).split("\n")]
    lines += ["", f"{now['score']} of {now['max']} points, before "
                  f"{before['score']}"]
    return "\n".join(lines)


def watch(name, folder, names, options, poll):
    held, before = contents(folder, names), None
    while True:
        now = grade(name, folder, options)
        if now:
            print(shown(before, now) if before else results.table(now))
            before = now
        print(f"watching {', '.join(names)}; Ctrl-C ends it", flush=True)
        held, saved = wait_for_change(folder, names, held, poll)
        print(f"\n{time.strftime('%H:%M:%S')}  {', '.join(saved)}", flush=True)


def main(argv):
    poll = "--poll" in argv
    argv = [w for w in argv if w != "--poll"]
    if not argv or argv[0].startswith("-"):
        print("usage: watch.py LAB [FOLDER] [options]", file=sys.stderr)
        return 64
    try:
        lab = labs.load(labs.find(argv[0]))
        given = len(argv) > 1 and not argv[1].startswith("-")
        folder = argv[1] if given else os.path.join(labs.LABS, "work",
                                                    lab.name)
        if not os.path.isdir(folder):
            raise WatchError(f"no folder {folder}; make lab LAB={argv[0]} "
                             "makes it")
        watch(lab.name, folder, lab.student, argv[2 if given else 1:], poll)
    except (labs.LabError, WatchError) as err:
        print(f"watch: {err}", file=sys.stderr)
        return 64
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
