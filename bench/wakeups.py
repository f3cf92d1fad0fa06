#!/usr/bin/python3
"""Who wakes a server's threads: wakeups.py PID SECONDS

Four counts by trace/wakeups.bt: woken by the process's own threads or by
others, from the sleeper's cpu (near) or from another one (far).  run.py
divides them by the requests of the run (suite show-wakeups).
"""

import json
import os
import shutil
import sys
import time

import syscalls

KINDS = ("own near", "own far", "other near", "other far")


class Wakeups(syscalls.Tool):
    name = "bpftrace"
    attach_s = 20.0     # it compiles its program first

    def attached(self, pids):
        with open(self.out.name, encoding="utf-8", errors="replace") as f:
            if "counting" not in f.read():
                return False
        time.sleep(0.2)     # it attaches to the rest right after saying so
        return True

    def command(self, pids, out):
        return ["bpftrace", "-q", "-f", "json", "-o", out,
                os.path.join(syscalls.HERE, "trace", "wakeups.bt"),
                str(pids[0])]

    def parse(self, text):
        """{kind: wake-ups}; None when the output is not what is meant."""
        found, began = {}, False
        for line in text.splitlines():
            try:
                data = json.loads(line)["data"]
            except (ValueError, KeyError, TypeError):
                continue
            began = began or data == "counting\n"
            if isinstance(data, dict):
                for key, count in data.get("@wakeups", {}).items():
                    found[key.replace(",", " ")] = count
        if not began or not set(found) <= set(KINDS):
            return None
        return {kind: found.get(kind, 0) for kind in KINDS}


def attach(pids):
    """A started tracer, or None where it may not trace."""
    if not shutil.which("bpftrace"):
        return None
    tool = Wakeups()
    return tool if tool.start(pids) else None


def show(_tool, counts, _seconds):
    for kind in KINDS:
        print(f"{counts.get(kind, 0):12d}  {kind}")


if __name__ == "__main__":
    sys.exit(syscalls.tool_main(
        __doc__.strip().splitlines()[0], attach,
        "bpftrace is not there, or may not trace it", show))
