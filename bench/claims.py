#!/usr/bin/python3
"""make claims: measures what each claim of the article needs, and judges it.

  claims.py --out DIR              all claims; again, it goes on where it was
  claims.py A8 A13 --out DIR       some of them
  claims.py --plan --out DIR       what there is to do, and how long it takes
  claims.py --judge --out DIR      only the verdicts, from what is there
  claims.py --keep --out DIR       copies whole sets into bench/results/

DIR/state.json holds the revision and the machine: sets of two revisions are
not mixed.  DIR/NAME/ is the result set of a measurement; what was finished
stays, and what was cut short is measured again as a whole.  A claim whose
server or program is not built yet is named and left out.
Exit: 0; 1 a measurement failed; 64 usage; 130 interrupted.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import claim_rules as rules                  # noqa: E402
import inherit                               # noqa: E402
import results                               # noqa: E402
import sittings                              # noqa: E402
from claim_list import BY_ID, CLAIMS         # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KEPT = os.path.join(ROOT, "bench", "results")
USAGE, SKIP, INTERRUPTED = 64, 77, 130
ABOUT = re.compile(r"\d+ runs, about ((?:\d+:)?\d+:\d+)")
NO_DRAFT = ("micro_run.py",)      # it has no such switch


def clock_text(seconds):
    seconds = max(0, round(seconds))
    return f"{seconds // 60}:{seconds % 60:02}"


def seconds_in(text):
    """"1:02:03" -> 3723"""
    total = 0
    for part in text.split(":"):
        total = 60 * total + int(part)
    return total


def steps_of(claims):
    """Every step once, in the order of the claims."""
    found = {}
    for claim in claims:
        for step in claim.steps:
            found.setdefault(step.name, step)
    return list(found.values())


class Rig:
    """How the steps are run, and where their sets go."""

    def __init__(self, args):
        self.args, self.out = args, args.out

    def directory(self, step):
        return os.path.join(self.out, step.name)

    def words(self, step):
        words = [*step.words, *self.args.more]
        if step.program == "run.py":
            words += ["--build", self.args.build]
            words += ["--draft"] if self.args.draft else []
        elif step.program not in NO_DRAFT and self.args.draft:
            words += ["--draft"]
        return words

    def program(self, step):
        return os.path.join(self.args.programs, step.program)

    def done(self, step):
        return self.state(self.directory(step)) == sittings.DONE

    @staticmethod
    def state(directory):
        """"complete" ...; None: not begun."""
        if not os.path.isdir(directory):
            return None
        try:
            for name in ("counts.json", "manifest.json"):
                path = os.path.join(directory, name)
                if os.path.exists(path):
                    with open(path, encoding="utf-8") as f:
                        return json.load(f)["state"]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return "broken"

    def seconds(self, step):
        """What a step takes; None: it cannot run here."""
        if step.program != "run.py":
            return step.seconds
        done = subprocess.run(
            [sys.executable, self.program(step), *self.words(step), "--plan"],
            capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL)
        found = ABOUT.search(done.stderr)
        if done.returncode or not found:
            return None
        return seconds_in(found[1])

    def run(self, step):
        return sittings.run_suite(self.program(step), None,
                                  self.words(step), self.directory(step))


def judge(claims, rig):
    """A line for each claim, from what was measured here; its exit status."""
    sets = rules.Sets(rig.out)
    for claim in claims:
        found = rules.answers(claim, sets)
        told = [a.judged for a in found if not a.check.control]
        counts = ", ".join(f"{told.count(kind)} {kind}" for kind in (
            rules.HOLDS, rules.CONTRADICTED, rules.OPEN, rules.MISSING)
            if kind in told)
        print(f"{claim.id:4} {rules.verdict_of(found):18} {claim.title}"
              + (f" ({counts})" if counts else ""))


def keep(rig):
    """Copies every whole set to where documents quote it from."""
    copied = 0
    for name in sorted(os.listdir(rig.out)):
        source = os.path.join(rig.out, name)
        found = rules.names_of(source) if os.path.isdir(source) else None
        if not found or ".cut-" in name:
            continue
        target = os.path.join(rig.args.keep, f"{found[0][:10]}-{name}")
        if os.path.exists(target):
            print(f"{target} is there already", file=sys.stderr)
            continue
        shutil.copytree(source, target)
        print(target)
        copied += 1
    print(f"{copied} sets; now plots/tables.py --write")
    return 0


def tell(left, times):
    for step in left:
        took = times[step.name]
        print(f"  {step.name:24} "
              f"{'cannot run here yet' if took is None else clock_text(took)}",
              file=sys.stderr)
    print(f"claims: {len(left)} measurements left, about "
          f"{clock_text(sum(t or 0 for t in times.values()))}",
          file=sys.stderr)


def measure(claims, rig):
    """Every step that is not complete; the exit status."""
    for claim in claims:
        if not claim.steps:
            print(f"{claim.id}: nothing that measures it is built yet",
                  file=sys.stderr)
    left = [step for step in steps_of(claims) if not rig.done(step)]
    times = {step.name: rig.seconds(step) for step in left}
    tell(left, times)
    if rig.args.plan:
        return 0
    failed = []
    rest, began = sum(t or 0 for t in times.values()), time.monotonic()
    for number, step in enumerate(left, 1):
        if times[step.name] is None:
            continue
        spent = time.monotonic() - began
        print(f"claims: [{number}/{len(left)}] {step.name}, "
              f"{clock_text(spent)} so far, about {clock_text(rest)} left",
              file=sys.stderr)
        if os.path.exists(rig.directory(step)):
            sittings.put_aside(rig.directory(step))
        status = rig.run(step)
        rest -= times[step.name]
        if status == INTERRUPTED or status < 0:
            print(f"claims: stopped in {step.name}; the same command goes on "
                  f"there", file=sys.stderr)
            return INTERRUPTED
        if status not in (0, SKIP):
            failed.append(step.name)
    if failed:
        print(f"claims: failed: {', '.join(failed)}; the same command tries "
              f"these again", file=sys.stderr)
    return 1 if failed else 0


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"claims.py: {message}\n")


def parse(argv):
    p = Parser(description=__doc__.partition("\n\n")[0])
    p.add_argument("claims", nargs="*", metavar="CLAIM", help="A1 ... A20")
    p.add_argument("--out", default=os.path.join(ROOT, "build", "claims"),
                   metavar="DIR")
    p.add_argument("--plan", action="store_true",
                   help="say what is left, and stop")
    p.add_argument("--judge", action="store_true",
                   help="measure nothing; verdicts from what is there")
    p.add_argument("--keep", nargs="?", const=KEPT, metavar="DIR",
                   help="copy the whole sets into bench/results/")
    p.add_argument("--draft", action="store_true",
                   help="from a tree with changes; nothing may quote it")
    p.add_argument("--build", default=os.path.join(ROOT, "build"),
                   metavar="DIR", help="where the binaries are")
    p.add_argument("--programs", default=os.path.join(ROOT, "bench"),
                   help=argparse.SUPPRESS)
    p.add_argument("--more", action="append", default=[], metavar="WORD",
                   help="one more word for each measurement")
    args = p.parse_args(argv)
    for name in args.claims:
        if name not in BY_ID:
            p.error(f"there is no claim {name}; A1 to A20")
    return args


def main(argv=None):
    inherit.clean()
    args = parse(argv)
    claims = [BY_ID[name] for name in args.claims] or list(CLAIMS)
    rig = Rig(args)
    try:
        if args.keep:
            return keep(rig)
        if args.plan:
            return measure(claims, rig)
        status = 0
        if not args.judge:
            here = sittings.fingerprint(ROOT)
            if here["dirty"] and not args.draft:
                raise ValueError("the tree has changes, so nobody could "
                                 "measure this again; commit them first, or "
                                 "say --draft")
            sittings.open_state(args.out, here, args.more, resume=True)
            status = measure(claims, rig)
        if status != INTERRUPTED:
            judge(claims, rig)
        return status
    except results.ResultError as err:
        print(f"claims.py: {err}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as err:
        print(f"claims.py: {err}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("claims.py: interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
