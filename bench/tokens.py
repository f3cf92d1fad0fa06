#!/usr/bin/python3
"""Cancel tokens by depth: what one costs to make, to check, and to allocate.

  tokens.py [--out DIR]

Seven runs of build/micro/cancel: tokens that ask their parents (atomic) beside
tokens that their parent tells (locked), each of these a block.
"""

import json
import os
import subprocess
import sys

import counts

RUNS, BLOCKS = 7, 5


def rows_of(args, _name):
    program = os.path.join(args.build, "micro", "cancel")
    if not os.access(program, os.X_OK):
        raise counts.Skipped(f"{program} is not built (make)")
    for block in range(RUNS):
        done = subprocess.run(
            [program, "--blocks", str(BLOCKS), "--json", "-"], text=True,
            capture_output=True, check=False, stdin=subprocess.DEVNULL,
            timeout=60)
        if done.returncode:
            raise counts.Failed(done.stderr.strip())
        for row in json.loads(done.stdout)["rows"]:
            yield {"server": row["how"], "block": block, "what": row["what"],
                   "depth": row["depth"], "ns": row["ns"],
                   "allocations": row["allocations"]}


if __name__ == "__main__":
    sys.exit(counts.main("tokens", __doc__, rows_of, servers=("cancel",)))
