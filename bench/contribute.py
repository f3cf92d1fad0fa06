#!/usr/bin/env python3
"""One folder with what this machine measures: for bench/results/machines/.

  contribute.py                     ten minutes: make contribute
  contribute.py --suite RUN         another run of run.py --list
  contribute.py --clean DIR         takes names of people and machines out of a
                                    folder, and says what it took out

It asks each stage for a few bytes first, by both protocols; what cannot run is
noted with the reason.  Then it measures the ladder and the scaling of stages 5
and 6, with the price list in the manifest.  The folder appears when all of it
is there, named by date, cpu and kind of machine.  Names of the host and the
user and paths of this machine are replaced in it by HOST, USER and PATH.
Exit: 0; 1 nothing was written, with the reason; 64 usage.
"""

import argparse
import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import inherit                      # noqa: E402
import machine                      # noqa: E402
import results                      # noqa: E402
import suites                       # noqa: E402
import summary as summaries         # noqa: E402
from model import STAGES            # noqa: E402
from servers import Failed, Skipped, Stage    # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MACHINES = os.path.join("bench", "results", "machines")
CHECKS = "checks.json"
SCHEMA = "ioladder-checks/1"
MOST = 1 << 20          # bytes of a file in the repository
# Names that stand for no person and no machine, and are words of the files.
COMMON = {"root", "user", "localhost", "admin", "debian", "ubuntu", "linux",
          "server", "client", "host", "test", "stage", "runner"}
USAGE = 64


class Refused(Exception):
    """No folder, and why."""


# --- names that must not be in it -----------------------------------------

def names():
    """[(what is replaced, by what)] the longest first."""
    found = {}
    host = socket.gethostname()
    for name in (host, host.partition(".")[0], socket.getfqdn()):
        found[name] = "HOST"
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = ""
    for name in (user, os.environ.get("SUDO_USER", "")):
        found[name] = "USER"
    for path in (ROOT, os.path.expanduser("~"), tempfile.gettempdir()):
        found[path] = "PATH"
    return sorted(((name, word) for name, word in found.items()
                   if len(name) > 2 and name.lower() not in COMMON),
                  key=lambda pair: -len(pair[0]))


def without_names(text, known):
    """(text, how many were replaced); a name counts as a whole word only."""
    count = 0
    for name, word in known:
        text, n = re.subn(rf"(?<![\w-]){re.escape(name)}(?![\w-])", word, text)
        count += n
    return text, count


def clean(directory, known):
    """Replaces the names in each file; {file: how many}."""
    found = {}
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        with open(path, encoding="utf-8") as f:
            text, count = without_names(f.read(), known)
        if count:
            results.write_text(path, text)
            found[name] = count
    return found


# --- what runs at all -----------------------------------------------------

def answers(build, stage, app):
    """"ok", or why a stage does not answer with the right bytes."""
    server = Stage(stage, os.path.join(build, stage))
    try:
        server.available()
        run = server.start(sorted(os.sched_getaffinity(0)), app)
    except Skipped as err:
        return f"skipped: {err}"
    except Failed as err:
        return f"failed: {err}"
    try:
        done = subprocess.run(
            [os.path.join(build, "loadgen"), f"--port={run.port}",
             f"--app={app}", "--connections=8", "--duration=0.2",
             "--warmup=0.05", "--json=-"], capture_output=True, text=True,
            timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as err:
        return f"failed: {err}"
    finally:
        run.stop()
    return "ok" if done.returncode == 0 else \
        f"failed: {(done.stderr.strip() or 'wrong bytes').splitlines()[-1]}"


def checks(build):
    found = {stage: {app: answers(build, stage, app)
                     for app in ("http", "echo")} for stage in STAGES}
    if not any(how == "ok" for apps in found.values()
               for how in apps.values()):
        raise Refused("no stage answers here: "
                      + next(iter(found.values()))["http"])
    return {"schema": SCHEMA, "stages": found}


# --- the folder -----------------------------------------------------------

def slug(found, date):
    """The folder's name: no name of a host is in it."""
    words = [date, found["cpu"] or found["architecture"],
             f"{found['cpus']}cpus", found["hypervisor"] or "metal"]
    text = "-".join(words).lower()
    text = re.sub(r"\((r|tm)\)|\bprocessor\b|\bcpu\b|@.*?ghz", " ", text)
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")[:80]


def measure(args, directory):
    words = [sys.executable, os.path.join(ROOT, "bench", "run.py"),
             args.suite, "--servers", ",".join(STAGES), "--build", args.build,
             "--out", directory]
    if subprocess.run(words, check=False).returncode != 0:
        raise Refused(f"run.py {args.suite} did not end well")


def rename(directory, manifest, summary, name):
    """It was measured before its name was known."""
    manifest["name"] = name
    results.write_json(os.path.join(directory, "manifest.json"), manifest)
    results.write_text(os.path.join(directory, "summary.md"),
                       summaries.markdown(manifest, summary))


def check_size(directory):
    for name in os.listdir(directory):
        size = os.path.getsize(os.path.join(directory, name))
        if size > MOST:
            raise Refused(f"{name} has {size:,} bytes, the repository takes "
                          f"{MOST:,}: measure fewer cells")


def contribute(args):
    git = machine.git(ROOT)
    if git["dirty"]:
        raise Refused("the tree has changes: a set must say which revision "
                      "was measured; commit or stash them")
    found = checks(args.build)
    for stage, apps in found["stages"].items():
        print(f"{stage}: " + ", ".join(f"{app} {how}" for app, how
                                       in apps.items()), file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=args.build) as scratch:
        directory = os.path.join(scratch, "set")
        measure(args, directory)
        results.write_json(os.path.join(directory, CHECKS), found)
        manifest, _, summary = results.load(directory)
        out = args.out or os.path.join(ROOT, MACHINES, slug(
            manifest["machine"], time.strftime("%Y-%m-%d")))
        rename(directory, manifest, summary, os.path.basename(out))
        taken = clean(directory, names())
        check_size(directory)
        results.load(directory)       # still a set that can be read
        if os.path.exists(out):
            raise Refused(f"{out} is there already")
        os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
        shutil.move(directory, out)
    for name, count in taken.items():
        print(f"{name}: {count} names replaced", file=sys.stderr)
    print(os.path.relpath(out))


def main(argv=None):
    inherit.clean()
    p = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    p.error = lambda why: (print(f"contribute.py: {why}", file=sys.stderr),
                           sys.exit(USAGE))
    p.add_argument("--suite", default="contribute", metavar="RUN",
                   choices=[*suites.RUNS, *suites.SUITES])
    p.add_argument("--out", metavar="DIR", help="a folder that is not there "
                   f"({MACHINES}/DATE-CPU)")
    p.add_argument("--clean", metavar="DIR")
    p.add_argument("--build", default=os.path.join(ROOT, "build"))
    args = p.parse_args(argv)
    if args.out and os.path.exists(args.out):
        p.error(f"{args.out} is there already")
    try:
        if args.clean:
            for name, count in clean(args.clean, names()).items():
                print(f"{name}: {count} names replaced")
        else:
            contribute(args)
    except (Refused, results.ResultError, OSError, ValueError) as err:
        print(f"contribute.py: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
