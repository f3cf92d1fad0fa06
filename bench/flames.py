#!/usr/bin/python3
"""Where each stage spends its CPU at the same load: flames.py --out DIR

Stages 1 to 6 run one after the other; perf takes samples of their stacks
(trace.py flame).  DIR/stageN.folded holds them, DIR/flames.json the machine,
the load and the number of samples.  Shares of one stage can be compared with
those of another; the number of samples says how fine.  As root, with perf.

    bench/flames.py --out bench/results/2026-11-30-flames
    plots/tables.py --write         # into the chapters
    plots/report.py SET --also bench/results/2026-11-30-flames
"""

import argparse
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "trace"))

import folded        # noqa: E402
import inherit       # noqa: E402
import machine       # noqa: E402
import results       # noqa: E402

ROOT = os.path.dirname(HERE)
SCHEMA, FILE = "ioladder-flames/1", "flames.json"
LOAD = "--connections 64"
STAGES = range(1, 7)
FEWEST = 100        # samples: with less nothing can be compared
SKIP = 77


def record(args, stage):
    """Writes the stacks of one stage; (exit status, samples)."""
    path = os.path.join(args.out, f"stage{stage}.folded")
    status = subprocess.run(
        [sys.executable, os.path.join(HERE, "trace.py"), "flame", "--stage",
         str(stage), "--seconds", f"{args.seconds:g}", "--load", LOAD,
         "--build", args.build, "--folded", path],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        check=False).returncode
    return status, 0 if status else sum(folded.load(path).values())


def main():
    inherit.clean()
    p = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    p.add_argument("--out", metavar="DIR", required=True)
    p.add_argument("--seconds", type=float, default=8.0, metavar="S",
                   help="of each stage (8)")
    p.add_argument("--build", default=os.path.join(ROOT, "build"))
    p.add_argument("--draft", action="store_true",
                   help="from a tree with changes; nothing may quote it")
    args = p.parse_args()
    facts = machine.describe(ROOT, args.build, [0], [0])
    if facts["git"]["dirty"] and not args.draft:
        print("flames.py: the tree has changes: commit them first, or say "
              "--draft", file=sys.stderr)
        return 1
    os.makedirs(args.out, exist_ok=True)
    samples = {}
    for stage in STAGES:
        status, samples[f"stage{stage}"] = record(args, stage)
        if status:
            return status
        print(f"stage{stage}: {samples[f'stage{stage}']:,} samples",
              flush=True)
        if samples[f"stage{stage}"] < FEWEST:
            print(f"flames.py: stage {stage} has too few samples: "
                  f"--seconds {2 * args.seconds:g}", file=sys.stderr)
            return 1
    results.write_json(os.path.join(args.out, FILE), {
        "schema": SCHEMA, "state": "complete", "draft": args.draft,
        "command": " ".join(["bench/flames.py", *sys.argv[1:]]),
        "load": LOAD, "seconds": args.seconds, "samples": samples,
        "machine": facts})
    return 0


if __name__ == "__main__":
    sys.exit(main())
