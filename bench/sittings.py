"""run.py all: every suite, one after the other, over several sittings.

    OUT/state.json     the revision, the machine, and what was asked for
    OUT/SUITE/         a result set for each suite, as run.py makes it alone

What was finished stays.  --resume goes on at the first suite that is not
complete; the rows of one that was cut short are kept beside it, as
SUITE.cut-1, and it is measured again as a whole: its blocks belong together.
Sets of two revisions or two machines are not mixed.
"""

import os
import signal
import subprocess
import sys

import machine
import results

STATE = "ioladder-sittings/1"
# What tells most comes first; the last one takes hours.
ORDER = ("ladder", "keepalive", "load", "idle", "short", "pipeline", "files",
         "latency", "heartbeat", "hop", "elastic", "scaling", "show4",
         "show-pools", "whatif", "skew")
SKIP, INTERRUPTED = 77, 130
DONE = "complete"


def fingerprint(root):
    """What must be the same in all sittings."""
    git = machine.git(root)
    return {"revision": git["revision"], "dirty": git["dirty"],
            "cpu": machine.cpu_model(), "cpus": len(os.sched_getaffinity(0)),
            "kernel": machine.platform.release(),
            "hypervisor": machine.hypervisor()}


def names_of(only):
    """The suites that are wanted, in our order."""
    if not only:
        return list(ORDER)
    wanted = only.split(",")
    for name in wanted:
        if name not in ORDER:
            raise ValueError(f"--only {name}: all is made of "
                             f"{', '.join(ORDER)}")
    return [name for name in ORDER if name in wanted]


def state_of(directory):
    """"complete", "interrupted" ... of a suite's set; None: not begun."""
    if not os.path.exists(os.path.join(directory, "manifest.json")):
        return None
    return results.load_manifest(directory)["state"]


def open_state(out, here, words, resume):
    """Reads or writes OUT/state.json; raises where sittings do not fit."""
    path = os.path.join(out, "state.json")
    if not os.path.exists(path):
        os.makedirs(out, exist_ok=True)
        results.write_json(path, {"schema": STATE, "here": here,
                                  "words": words})
        return
    state = results.load_object(path, STATE)
    results.need(state, path, "here", "words")
    if not resume:
        raise ValueError(f"{out} was begun already; --resume goes on there")
    for name, value in here.items():
        if state["here"].get(name) != value:
            raise ValueError(
                f"{out} was begun with {name} {state['here'].get(name)!r}, "
                f"and this is {value!r}: sets must not be mixed")
    if state["words"] != words:
        raise ValueError(f"{out} was begun with {' '.join(state['words'])!r}, "
                         f"and this is {' '.join(words)!r}")


def put_aside(directory):
    """Keeps the rows of a suite that was cut short."""
    number = 1
    while os.path.exists(f"{directory}.cut-{number}"):
        number += 1
    os.rename(directory, f"{directory}.cut-{number}")


def run_suite(program, name, words, directory):
    """run.py on one suite; its exit status.  What ends us ends it, and it
    then writes down what it has."""
    child = subprocess.Popen(
        [sys.executable, program, *([name] if name else []), *words, "--out",
         directory], start_new_session=True)

    def pass_on(number, _frame):
        child.send_signal(number)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    return child.wait()


def tell(left, times, text):
    for name in left:
        took = times.get(name)
        print(f"  {name:12} "
              f"{'cannot run here' if took is None else text(took)}",
              file=sys.stderr)
    whole = sum(t for t in times.values() if t)
    print(f"all: {len(left)} suites left, about {text(whole)}",
          file=sys.stderr)


def run(program, root, args, words, seconds_of, text):
    """`args`: run.py's; `words`: those of them that each suite gets;
    `seconds_of(name)`: how long a suite takes, None where it cannot run;
    `text`: seconds for people."""
    names, out = names_of(args.only), args.out
    if not args.plan:
        open_state(out, fingerprint(root), words, args.resume)
    states = {name: state_of(os.path.join(out, name)) for name in names}
    left = [name for name in names if states[name] != DONE]
    tell(left, {name: seconds_of(name) for name in left}, text)
    if args.plan:
        return 0
    failed = []
    for name in left:
        directory = os.path.join(out, name)
        if os.path.exists(directory):
            put_aside(directory)
        status = run_suite(program, name, words, directory)
        if status == INTERRUPTED or status < 0:
            print(f"all: stopped in {name}; --resume goes on there",
                  file=sys.stderr)
            return INTERRUPTED
        if status not in (0, SKIP):
            failed.append(name)
    if failed:
        print(f"all: failed: {', '.join(failed)}; --resume tries these again",
              file=sys.stderr)
        return 1
    print(f"all: complete: {out}", file=sys.stderr)
    return 0
