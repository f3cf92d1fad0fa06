#!/usr/bin/python3
"""Says which labs this machine can grade, and how: a part of make doctor.

Compiles a few small programs below build/, changes nothing else.
"""

import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

CRITERION = "#include <criterion/criterion.h>\nTest(a, b) {}\n"


def say(what, text):
    print(f"  {what:<22} {text}", flush=True)


def links(source, library):
    """Why a program with this library cannot be built; "" when it can."""
    try:
        done = subprocess.run(
            [os.environ.get("CC") or "gcc", "-x", "c", "-", "-o", os.devnull,
             f"-l{library}"], input=source, capture_output=True, text=True,
            check=False)
    except OSError as err:
        return str(err)
    return "" if done.returncode == 0 else \
        (done.stderr.strip().splitlines() or ["it fails"])[0]


def sandboxes(sandbox):
    """The way that make grade takes; None: not even the last."""
    taken = None
    for way in sandbox.WAYS:
        reason = sandbox.refusal(way)
        if not reason and not taken:
            taken = sandbox.Sandbox(way)
            note = "works, and is the one that is taken"
            if way == "none":
                note = "your own code on your own machine only"
        else:
            note = reason or "works"
        say(f"sandbox {way}", note)
    return taken


def each_lab(box):
    import grade
    from grader import build, lab as labs

    for name in labs.names():
        try:
            lab = labs.load(name)
            lacking = grade.lacking(lab, box)
        except labs.LabError as err:
            say(f"lab {name}", str(err))
            continue
        except build.StaffError as err:
            say(f"lab {name}", "cannot tell: " + str(err).splitlines()[0])
            continue
        left = sum(t.points for t in lab.tests
                   if not set(t.needs) & set(lacking))
        say(f"lab {name}", f"{left} of {lab.points} points"
            + "".join(f"; {need}: {why}" for need, why in lacking.items()))


def tools():
    found = [t for t in ("gdb", "gdbserver") if shutil.which(t)]
    say("make grade GDB=1", "works" if len(found) == 2 else
        "needs the packages gdb and gdbserver")
    say("make watch", "sleeps in inotifywait" if shutil.which("inotifywait")
        else "looks once a second (inotify-tools is not installed)")
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope",
                  encoding="ascii") as f:
            scope = int(f.read())
    except (OSError, ValueError):
        scope = 0
    say("strace -p, gdb -p", {0: "your own processes", 1: "with sudo only "
        "(kernel.yama.ptrace_scope=1)"}.get(
            0 if os.geteuid() == 0 and scope < 3 else scope,
            f"not for you (kernel.yama.ptrace_scope={scope})"))


def main():
    if sys.version_info < (3, 11):
        say("python", "%d.%d; the grader needs 3.11 (Debian 12, Ubuntu 24.04)"
            % sys.version_info[:2])
        return
    from grader import sandbox

    say("python", "%d.%d" % sys.version_info[:2])
    reason = links(CRITERION, "criterion")
    say("criterion", reason or "a program with it can be built")
    box = sandboxes(sandbox)
    if box and not reason:
        each_lab(box)
    tools()


if __name__ == "__main__":
    main()
