#!/usr/bin/python3
"""Records what docs/tracing.md shows: record_traces.py [NAME...]

Each example is a command that plants a fault in a server and asks it; what it
prints goes to docs/traces/NAME.txt, pictures to docs/img/.  As root, with
bpftrace and perf: make traces.
"""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT, IMG = ROOT / "docs" / "traces", ROOT / "docs" / "img"
LOAD = "--load '--connections 8 --path /work/50'"
EXAMPLES = {
    "calls": "calls --stage 2 --plant /sleep/100000",
    "batches": "batches --stage 3 --load '--connections 64'",
    "ready-2": f"ready --stage 2 --plant /work/20000 {LOAD}",
    "ready-6": "ready --stage 6 --server-args '--workers 2 --place one' "
               f"--plant /work/20000 {LOAD}",
    "steals": "steals --stage 6 --server-args '--workers 2 --place one' "
              f"--plant /sleep/100000 {LOAD}",
    "states": "states --stage 6 --server-args '--workers 2 --place one' "
              f"--plant /sleep/100000 {LOAD} --svg docs/img/trace-states.svg",
    "cores": "cores --stage 6 --server-args '--workers 2 --pin off' "
             f"{LOAD}",
    "offcpu": "offcpu --stage 3 --plant /sleep/100000",
    "flame": "flame --stage 3 --plant /work/20000 --seconds 3 "
             "--svg docs/img/trace-flame.svg",
}
# Of the same load: a picture of the difference.
DIFF = ("flame --stage 3 --seconds 5 --load '--connections 64' --folded {a}",
        "flame --stage 2 --seconds 5 --load '--connections 64' --folded {b}")


def said(argv):
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        sys.exit(f"record_traces.py: {' '.join(argv)}: status "
                 f"{done.returncode}: {done.stderr.strip()}")
    return done.stdout


def record(name, words):
    text = said([sys.executable, "bench/trace.py", *shlex.split(words)])
    lines = [f"$ bench/trace.py {words}"] + [
        line.rstrip() for line in text.splitlines()]
    (OUT / f"{name}.txt").write_text("\n".join(lines) + "\n")


def difference():
    build = ROOT / "build" / "flame"
    build.mkdir(parents=True, exist_ok=True)
    a, b = build / "stage3.folded", build / "stage2.folded"
    for words in DIFF:
        said([sys.executable, "bench/trace.py",
              *shlex.split(words.format(a=a, b=b))])
    said([sys.executable, "plots/flame.py", str(a),
          str(IMG / "trace-flame-diff.svg"), str(b)])


def machine():
    perf = said(["perf", "--version"]).strip()
    bpftrace = said(["bpftrace", "--version"]).strip()
    kernel = os.uname().release.split("-")[0]
    (OUT / "machine.txt").write_text(
        f"Linux {kernel}, {os.cpu_count()} cpus, {bpftrace}, {perf}, "
        f"{time.strftime('%Y-%m-%d')}\n")


def main(names):
    unknown = [n for n in names if n not in (*EXAMPLES, "difference")]
    if unknown:
        print(f"record_traces.py: no example {unknown[0]!r}: "
              f"{', '.join(EXAMPLES)}, difference", file=sys.stderr)
        return 64
    OUT.mkdir(exist_ok=True)
    for name, words in EXAMPLES.items():
        if not names or name in names:
            record(name, words)
    if not names or "difference" in names:
        difference()
    machine()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
