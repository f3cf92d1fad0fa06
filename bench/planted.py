#!/usr/bin/python3
"""Is what was planted in a stage found by tracing it?

  planted.py [--servers stage3] [--out DIR]

A handler sleeps where it must not: `/sleep/2000` where system calls of over 50
us are asked for, `/sleep/100000` where those of over 5 ms are (a handler sleeps
in slices, so that a drain need not wait for it).  The script sees only the
process; its list must hold clock_nanosleep.  Without the sleep, and with as
many plain requests, it must not: that is the control.

Needs root and bpftrace; else it says so and ends with 77.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import counts
from syscalls import call_names

SCRIPTS = {"slow": (50, "/sleep/2000"), "sleep": (5000, "/sleep/100000")}
SLEEPS = {"clock_nanosleep", "nanosleep"}
LISTED = re.compile(r"^@slow\[(\d+)\]", re.M)
ATTACH_S, REQUESTS, BLOCKS = 20, 5, 6


class Trace:
    """bench/trace/calls.bt on one process; `with` starts and ends it."""

    def __init__(self, server, limit_us):
        script = os.path.join(counts.ROOT, "bench", "trace", "calls.bt")
        self.out = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.proc = subprocess.Popen(
            ["bpftrace", script, str(server.pid), str(limit_us)], text=True,
            stdin=subprocess.DEVNULL, stdout=self.out,
            stderr=subprocess.STDOUT, start_new_session=True)
        end = time.monotonic() + ATTACH_S
        while "seen" not in self.text():    # a call: all probes are there
            with server.connect() as sock:
                counts.request(sock)
            if self.proc.poll() is not None or time.monotonic() > end:
                said = self.text().strip()
                self.stop()
                raise counts.Skipped("bpftrace cannot trace here: "
                                     + (said.splitlines() or ["no word"])[-1])
            time.sleep(0.05)

    def text(self):
        self.out.seek(0)
        return self.out.read()

    def stop(self):
        """Ends it; the names of the calls that it lists."""
        self.proc.send_signal(signal.SIGINT)
        try:
            self.proc.wait(ATTACH_S)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        names, text = call_names(), self.text()
        self.out.close()
        return {names.get(int(n), n) for n in LISTED.findall(text)}


def listed(server, limit_us, path):
    trace = Trace(server, limit_us)
    try:
        with server.connect() as sock:
            for _ in range(REQUESTS):
                counts.request(sock, path)
    finally:
        found = trace.stop()
    return found


def rows_of(args, name):
    if os.geteuid() != 0 or not shutil.which("bpftrace"):
        raise counts.Skipped("it needs root and bpftrace")
    with counts.Server([counts.binary(args.build, name)]) as server:
        for script, (limit_us, path) in SCRIPTS.items():
            plain = listed(server, limit_us, "/")
            for block in range(args.blocks):
                found = listed(server, limit_us, path)
                yield {"block": block, "script": script,
                       "named": int(bool(SLEEPS & found)),
                       "named_without": int(bool(SLEEPS & plain))}


def add(parser):
    parser.add_argument("--blocks", type=int, default=BLOCKS, metavar="N")


if __name__ == "__main__":
    sys.exit(counts.main("planted", __doc__, rows_of, add))
