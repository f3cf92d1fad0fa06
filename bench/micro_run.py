#!/usr/bin/python3
"""A result set from a micro-benchmark: measured, described, whole or absent.

  micro_run.py uring_ops [--blocks 31] --out bench/results/NAME
  micro_run.py queues [--blocks 75] [--consumers N] --out bench/results/NAME
  micro_run.py padding [--blocks 31] --out bench/results/NAME

Each group is run by itself: the operations that belong together, or some
blocks of all queues or paddings.  A group during which the hypervisor took more
than 5 % of the two cpus is run again, at most twice, and that is counted.
DIR appears when everything is there; until then there is nothing.
Exit: 0; 1 the program failed; 2 not measured, with the reason; 64 usage;
77 no io_uring.
"""

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import inherit
import machine
import micro_results
import results

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CPUS = [0, 1]       # where the program pins itself: it, and the other end
ATTEMPTS = 3


class Refused(Exception):
    """No result set, the reason and the exit status."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        print(f"micro_run.py: {message}", file=sys.stderr)
        sys.exit(64)


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def disturbance(before, after, ours):
    """(steal, foreign): percent of both cpus between two readings."""
    total = max(1, after[2] - before[2])
    tick = os.sysconf("SC_CLK_TCK")
    foreign = 100 * (after[0] - before[0] - ours * tick) / total
    return (round(100 * (after[1] - before[1]) / total, 2),
            round(max(0.0, foreign), 1))


def run_once(argv, group):
    """One run of one group: (steal, foreign, seconds)."""
    before, cpu = machine.stat_cpus(CPUS), children_cpu()
    start = time.monotonic()
    done = subprocess.run(argv, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - start
    if done.returncode != 0:
        status = done.returncode if done.returncode == 77 else 1
        raise Refused(status, f"{group}: exit status {done.returncode}: "
                              f"{done.stderr.strip()}")
    return (*disturbance(before, machine.stat_cpus(CPUS),
                         children_cpu() - cpu), round(seconds, 1))


class Operations:
    """uring_ops: a group is some operations, with all of its blocks."""

    def __init__(self, args):
        self.args = args

    def groups(self):
        return micro_results.GROUPS

    def command(self, group, path):
        args = self.args
        return [args.program, "--blocks", str(args.blocks), "--only", group,
                "--json", path] + (["--quick"] if args.quick else [])

    def read(self, group, path):
        return micro_results.load_rows(path, [group])

    @staticmethod
    def join(whole, found):
        whole["rows"] += found["rows"]


class Blocks:
    """queues, padding: a group is some blocks, with everything in each."""

    STEP = {"queues": 15, "padding": 8}

    def __init__(self, args):
        self.args = args

    def groups(self):
        step = self.STEP[self.args.name]
        last = self.args.blocks
        return [f"blocks {first} to {min(first + step - 1, last)}"
                for first in range(1, last + 1, step)]

    def command(self, group, path):
        _, first, _, last = group.split()
        argv = [self.args.program, "--blocks",
                str(int(last) - int(first) + 1), "--json", path]
        if self.args.consumers:
            argv += ["--consumers", str(self.args.consumers)]
        return argv + (["--seconds", "0.002"] if self.args.quick else [])

    def read(self, group, path):
        return micro_results.load_blocks(path, self.args.name)

    @staticmethod
    def join(whole, found):
        for row in found["rows"]:
            row["block"] += whole["blocks"]
        whole["rows"] += found["rows"]
        whole["blocks"] += found["blocks"]


def run_group(args, kind, group, path):
    """The rows of a group and what disturbed it."""
    argv = kind.command(group, path)
    for attempt in range(1, ATTEMPTS + 1):
        steal, foreign, seconds = run_once(argv, group)
        print(f"{group}: {seconds} s, steal {steal} %, others {foreign} % of "
              f"cpus {','.join(map(str, CPUS))}", flush=True)
        if steal <= args.max_steal:
            return kind.read(group, path), {
                "group": group, "seconds": seconds, "steal_pct": steal,
                "foreign_pct": foreign, "attempts": attempt}
    raise Refused(2, f"{group}: {ATTEMPTS} times more than {args.max_steal} "
                     f"% of steal: measure in a quieter hour, or say "
                     f"--max-steal")


def measure(args, work):
    whole, groups = None, []
    kind = (Operations if args.name == micro_results.NAME else Blocks)(args)
    for group in kind.groups():
        path = os.path.join(work, "group.json")
        found, note = run_group(args, kind, group, path)
        os.unlink(path)
        groups.append(note)
        if whole is None:
            whole = found
        else:
            kind.join(whole, found)
    return whole, groups


def manifest(args, groups, rows):
    command = (f"python3 bench/micro_run.py {args.name} --blocks "
               f"{args.blocks}" + (f" --consumers {args.consumers}"
                                   if args.consumers else "")
               + (" --quick" if args.quick else ""))
    return {
        "schema": micro_results.MANIFEST, "state": "complete",
        "program": args.name, "command": command, "quick": args.quick,
        "sha256": machine.sha256(rows),
        "binary": {"sha256": machine.sha256(args.program),
                   "compiler": machine.compiled_with(args.program)},
        "groups": groups,
        "machine": machine.describe(ROOT, args.build, CPUS[:1], CPUS[1:]),
    }


def write_set(args, work):
    whole, groups = measure(args, work)
    rows = os.path.join(work, args.name + ".json")
    results.write_json(rows, whole)
    results.write_json(os.path.join(work, "manifest.json"),
                       manifest(args, groups, rows))
    micro_results.load(work)      # what the reader refuses is not written
    os.chmod(work, 0o755)
    os.rename(work, args.out)


def parse(argv):
    p = Parser(description=__doc__.partition("\n\n")[0])
    p.add_argument("name", choices=micro_results.PROGRAMS)
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--blocks", type=int, metavar="N",
                   help="31; queues: 75")
    p.add_argument("--consumers", type=int, metavar="N",
                   help="queues only: threads that take (from the cpus)")
    p.add_argument("--quick", action="store_true",
                   help="for trying it out; nothing may quote the figures")
    p.add_argument("--max-steal", type=float, default=5.0, metavar="PERCENT")
    p.add_argument("--build", default=os.path.join(ROOT, "build"))
    args = p.parse_args(argv)
    args.program = os.path.join(args.build, "micro", args.name)
    if args.blocks is None:
        args.blocks = 75 if args.name == "queues" else 31
    if not 3 <= args.blocks <= 101:
        p.error("--blocks is from 3 to 101")
    if args.consumers is not None and (args.name != "queues" or
                                       not 1 <= args.consumers <= 16):
        p.error("--consumers is for queues, from 1 to 16")
    return args


def main(argv=None):
    inherit.clean()
    args = parse(argv)
    try:
        if os.path.exists(args.out):
            raise Refused(2, f"{args.out} is there already")
        if not os.access(args.program, os.X_OK):
            raise Refused(2, f"{args.program} is not built: make")
        if not set(CPUS) <= os.sched_getaffinity(0):
            raise Refused(2, "cpus 0 and 1 are needed, and may not be used")
        out = os.path.abspath(args.out)
        os.makedirs(os.path.dirname(out), exist_ok=True)
        work = tempfile.mkdtemp(prefix=".micro-", dir=os.path.dirname(out))
    except (Refused, OSError) as err:
        print(f"micro_run.py: {err}", file=sys.stderr)
        return getattr(err, "status", 2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Also where a shell started us in the background and so had it ignored.
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    try:
        write_set(args, work)
    except (Refused, results.ResultError, OSError) as err:
        print(f"micro_run.py: {err}; {args.out} was not written",
              file=sys.stderr)
        return getattr(err, "status", 2)
    except KeyboardInterrupt:
        print(f"micro_run.py: interrupted; {args.out} was not written",
              file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{args.out}: complete")
    return 0


if __name__ == "__main__":
    sys.exit(main())
