#!/usr/bin/env python3
"""What an idle connection costs the kernel, for each stage.

  kernel_memory.py --out DIR      about a minute; writes a result set
  kernel_memory.py --stages 2,4   prints, and writes nothing

The memory of the process is read beside it, page by page, so that a set has
both parts of every stage.

The resident memory of a process leaves out what the kernel keeps for it: the
socket, its file and inode, an armed receive, a thread's kernel stack.  Here
the machine's Slab, KernelStack and PageTables (/proc/meminfo) are read with
few and with many idle connections; the difference, divided by the
connections, is the slope.  Both ends of a connection are on this machine; a
run without any server gives the price of a pair of ends, and half of it is
taken off.

The whole machine is measured, so it has to be quiet: each stage is measured
several times, and all slopes are kept.
"""

import argparse
import contextlib
import os
import resource
import socket
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import inherit                     # noqa: E402
import machine                     # noqa: E402
import results                     # noqa: E402

SCHEMA = "ioladder-kernel-memory/1"
NAME = "kernel_memory.json"
FIELDS = ("Slab", "KernelStack", "PageTables")
SETTLE_S = 0.5


class Failed(Exception):
    """Nothing could be measured, and why."""


def kernel_bytes():
    """What the kernel holds, of the kinds that grow with connections."""
    with open("/proc/meminfo", encoding="ascii") as f:
        lines = dict(line.split(":") for line in f)
    return sum(int(lines[name].split()[0]) * 1024 for name in FIELDS)


def connect(port, number, held):
    for _ in range(number):
        sock = held.enter_context(socket.socket())
        sock.connect(("127.0.0.1", port))


def process_bytes(pid):
    """What only this process has of its memory; 0: there is no process."""
    found = machine.memory_map(pid) if pid else {"private_kib": 0}
    if not found:
        raise Failed(f"process {pid} has ended")
    return 1024 * found["private_kib"]


def settled(pid):
    time.sleep(SETTLE_S)
    return kernel_bytes(), process_bytes(pid)


def slope(grow, few, many, pid=None):
    """Bytes for each one more, between few and many of them: (of the kernel,
    of the process)."""
    grow(few)
    low = settled(pid)
    grow(many - few)
    return tuple((b - a) / (many - few) for a, b in zip(low, settled(pid)))


def pair_slope(few, many):
    """Both ends of a connection, held by this process."""
    with contextlib.ExitStack() as held:
        door = held.enter_context(
            socket.create_server(("127.0.0.1", 0), backlog=128))
        port = door.getsockname()[1]

        def grow(number):
            for _ in range(number):
                connect(port, 1, held)
                held.enter_context(door.accept()[0])
        return slope(grow, few, many)[0]


def start(binary):
    """The server and its port."""
    if not os.access(binary, os.X_OK):
        raise Failed(f"{binary} is not there: make")
    server = subprocess.Popen(
        [binary, "--port", "0", "--idle-timeout", "600"], text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    line = server.stdout.readline()
    if "listening on" not in line:
        said = server.communicate()[1]
        raise Failed(f"{os.path.basename(binary)} did not start: "
                     f"{said.strip().splitlines()[-1] if said else 'silent'}")
    return server, int(line.rsplit(":", 1)[1])


def stage_slope(binary, few, many):
    server, port = start(binary)
    try:
        with contextlib.ExitStack() as held:
            return slope(lambda n: connect(port, n, held), few, many,
                         server.pid)
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()
        server.stderr.close()


def room(wanted):
    """Raises the limit of descriptors: a pair takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = 2 * wanted + 64
    if hard != resource.RLIM_INFINITY and hard < need:
        raise Failed(f"{wanted} connections need {need} descriptors, the hard "
                     f"limit is {hard}: fewer with --connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))


def measure(build, stages, few, many, repeats):
    """({"pair": [bytes, ...], "stage1": [...], ...} of the kernel, {"stage1":
    [...], ...} of the processes); order mixed by repeat."""
    kernel = {name: [] for name in ("pair", *(f"stage{n}" for n in stages))}
    process = {f"stage{n}": [] for n in stages}
    for number in range(repeats):
        names = list(kernel)
        for name in names if number % 2 == 0 else names[::-1]:
            if name == "pair":
                each, own = pair_slope(few, many), None
            else:
                each, own = stage_slope(os.path.join(build, name), few, many)
                process[name].append(round(own, 1))
            kernel[name].append(round(each, 1))
            print(f"{number + 1}/{repeats} {name}: {each:,.0f} bytes"
                  + (f", process {own:,.0f}" if own is not None else ""),
                  file=sys.stderr)
    return kernel, process


def of_stage(found, name):
    """(median, lowest, highest) of the server's own end."""
    client = statistics.median(found["slopes"]["pair"]) / 2
    own = [value - client for value in found["slopes"][name]]
    return statistics.median(own), min(own), max(own)


def of_process(found, name):
    """Bytes of the process a connection, or None: not read in that set."""
    values = found.get("process", {}).get(name)
    return statistics.median(values) if values else None


def load(directory):
    path = os.path.join(directory, NAME)
    found = results.load_object(path, SCHEMA)
    results.need(found, path, "slopes", "connections")
    slopes = found["slopes"]
    if not isinstance(slopes, dict) or not slopes.get("pair"):
        raise results.ResultError(f"{path}: no slope of a pair of ends")
    for name, values in [*slopes.items(),
                         *found.get("process", {}).items()]:
        if not values or not all(isinstance(v, (int, float)) for v in values):
            raise results.ResultError(f"{path}: {name} is {values!r}")
    return found


def write(directory, build, found):
    """A set is there whole or not at all."""
    manifest = {"schema": SCHEMA, "date": time.strftime("%Y-%m-%d"),
                "machine": machine.describe(ROOT, build, [], [])}
    os.makedirs(directory, exist_ok=True)
    results.write_json(os.path.join(directory, "manifest.json"), manifest)
    results.write_json(os.path.join(directory, NAME), found)


def main(argv=None):
    inherit.clean()
    p = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    p.add_argument("--stages", default="1,2,3,4,5,6", metavar="N,M")
    p.add_argument("--connections", type=int, default=8000, metavar="N")
    p.add_argument("--repeats", type=int, default=5, metavar="N")
    p.add_argument("--build", default=os.path.join(ROOT, "build"))
    p.add_argument("--out", metavar="DIR", help="a directory that is not there")
    args = p.parse_args(argv)
    few = args.connections // 4
    if few < 1 or args.repeats < 1:
        p.error("at least 4 connections and 1 repeat")
    if args.out and os.path.exists(args.out):
        p.error(f"{args.out} is there already")
    try:
        room(args.connections)
        slopes, process = measure(args.build, args.stages.split(","), few,
                                  args.connections, args.repeats)
    except (Failed, OSError) as err:
        print(f"kernel_memory.py: {err}", file=sys.stderr)
        return 1
    found = {"schema": SCHEMA, "connections": [few, args.connections],
             "slopes": slopes, "process": process}
    for name in process:
        print("{}: {:,.0f} bytes of the kernel a connection ({:,.0f} to "
              "{:,.0f}), {:,.0f} of the process".format(
                  name, *of_stage(found, name), of_process(found, name)))
    if args.out:
        write(args.out, args.build, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
