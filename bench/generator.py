#!/usr/bin/python3
"""What the load generator costs: its two engines beside wrk, and beside the
servers that they are to hold at their limit.

Both parts start a server on one cpu and the clients, one after the other, on
another, in one random order and then in the reverse one.

  generator.py cost   CPU a request of each client, from the kernel's account
                      of the process; all sleep when there is nothing to do
  generator.py hold   the share of its core that each engine needs (a search
                      in vain counts as idle), and the share of the server's

  generator.py cost --servers stage2 --connections 64 --pairs 15
  generator.py hold --servers stage2,stage3,stage5,nginx --connections 64,256
"""

import argparse
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import inherit                                              # noqa: E402
import machine                                              # noqa: E402
import stats_math                                           # noqa: E402
from fronts import catalogue                                # noqa: E402
from servers import Failed, Skipped, in_child               # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCHEMA = "ioladder-generator/1"
USAGE, SKIP = 64, 77
ENGINES = ("epoll", "uring")
PATIENCE_S = 30


class Failure(Exception):
    """A client that did not measure."""


def timed(argv, cpus):
    """(stdout, seconds of CPU) of a client."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(argv, capture_output=True, text=True, check=False,
                          timeout=PATIENCE_S, preexec_fn=in_child(cpus))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode == SKIP:
        raise Skipped(done.stderr.strip())
    if done.returncode != 0:
        raise Failure(f"{os.path.basename(argv[0])} ended with status "
                      f"{done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout, (after.ru_utime + after.ru_stime
                         - before.ru_utime - before.ru_stime)


def wrk_slice(args, run, connections):
    out, cpu_s = timed(
        [args.wrk, "-t1", f"-c{connections}", f"-d{args.seconds:g}s",
         f"http://127.0.0.1:{run.port}{args.path}"], args.client_cpus)
    requests = int(re.search(r"(\d+) requests in", out)[1])
    rate = float(re.search(r"Requests/sec: *([\d.]+)", out)[1])
    return {"qps": rate, "cpu_us": cpu_s / requests * 1e6}


def our_command(args, run, connections, engine, *more):
    return [args.loadgen, "--port", str(run.port), "--engine", engine,
            "--connections", str(connections), "--path", args.path,
            "--duration", f"{args.seconds:g}", "--quiet", "--json", "-",
            *more]


def our_slice(args, run, connections, engine):
    """Without a warm-up, so that all CPU belongs to the requests counted."""
    out, cpu_s = timed(our_command(args, run, connections, engine,
                                   "--warmup", "0", "--spin", "off"),
                       args.client_cpus)
    report = json.loads(out)
    return {"qps": report["qps"], "cpu_us": cpu_s / report["requests"] * 1e6}


def hold_slice(args, run, connections, engine):
    out, _ = timed(our_command(
        args, run, connections, engine, "--warmup", "0.2",
        "--cpu", ",".join(map(str, args.client_cpus)),
        "--server-pid", ",".join(map(str, run.pids))), args.client_cpus)
    report = json.loads(out)
    return {"qps": report["qps"],
            "cpu_us": report["client_cpu"]["per_request_us"],
            "client_busy": report["client_cpu"]["busy"],
            "server_busy": report["server_cpu"]["busy"],
            "server_us": report["server_cpu"]["per_request_us"]}


def visits(clients, pairs, rng):
    """Names in the order they are measured in: there and back again."""
    for _ in range(pairs):
        names = list(clients)
        rng.shuffle(names)
        yield from names
        yield from reversed(names)


def measure(args, server, connections, rng):
    """{client: [slice, ...]} of one server."""
    run = server.start(args.server_cpus)
    found = {name: [] for name in args.clients}
    try:
        for name in visits(args.clients, args.pairs, rng):
            if name == "wrk":
                found[name].append(wrk_slice(args, run, connections))
            else:
                one = hold_slice if args.what == "hold" else our_slice
                found[name].append(one(args, run, connections, name))
    finally:
        run.stop()
    return found


def ratios(found):
    """Each engine's CPU a request in that of wrk, and the ring's in that of
    epoll: a block is two visits of each."""
    def blocks(name):
        values = [s["cpu_us"] for s in found[name]]
        return [(a + b) / 2 for a, b in zip(values[::2], values[1::2])]
    pairs = [(a, b) for a, b in (("epoll", "wrk"), ("uring", "wrk"),
                                 ("uring", "epoll"))
             if a in found and b in found]
    result = {}
    for ours, theirs in pairs:
        paired = [a / b for a, b in zip(blocks(ours), blocks(theirs))]
        mid, low, high = stats_math.median_interval(paired)
        result[f"{ours}/{theirs}"] = {"ratio": mid, "low": low, "high": high,
                                      "n": len(paired)}
    return result


def middle(slices, name):
    return stats_math.median([s[name] for s in slices])


def tell(args, cell):
    print(f"{cell['server']}, {cell['connections']} connections, "
          f"{args.path}")
    for name, slices in cell["clients"].items():
        text = (f"  {name:6} {middle(slices, 'qps'):9,.0f}/s "
                f"{middle(slices, 'cpu_us'):6.2f} us a request")
        if "client_busy" in slices[0]:
            text += (f"  client {middle(slices, 'client_busy') * 100:3.0f} % "
                     f"busy, server {middle(slices, 'server_busy') * 100:3.0f}"
                     f" %, {middle(slices, 'server_us'):.2f} us")
        print(text)
    for name, r in cell["ratios"].items():
        span = ("" if r["low"] is None
                else f" ({r['low']:.3f} to {r['high']:.3f})")
        print(f"  {name:12} {r['ratio']:.3f}{span}, {r['n']} pairs")
    sys.stdout.flush()


def numbers(text):
    return [int(n) for n in text.split(",")]


def parse(argv):
    p = argparse.ArgumentParser(
        description=__doc__.partition("\n\n")[0].replace("\n", " "))
    p.error = lambda why: (print(f"generator.py: {why}", file=sys.stderr),
                           sys.exit(USAGE))
    p.add_argument("what", choices=["cost", "hold"])
    p.add_argument("--servers", default="stage2", metavar="A,B")
    p.add_argument("--connections", type=numbers, default=[64],
                   metavar="N,M")
    p.add_argument("--path", default="/")
    p.add_argument("--clients", metavar="A,B",
                   help="wrk, epoll, uring (all that there are)")
    p.add_argument("--pairs", type=int, default=9, metavar="N",
                   help="two visits of each client (9)")
    p.add_argument("--seconds", type=float, default=1.0, metavar="S",
                   help="of a visit; wrk knows whole ones only (1)")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--json", metavar="FILE", help="all slices, too")
    p.add_argument("--build", default=os.path.join(ROOT, "build"))
    args = p.parse_args(argv)
    args.loadgen = os.path.join(args.build, "loadgen")
    args.wrk = shutil.which("wrk")
    known = ENGINES if args.what == "hold" else ("wrk", *ENGINES)
    if args.clients:
        args.clients = args.clients.split(",")
    else:
        args.clients = [c for c in known if c != "wrk" or args.wrk]
    for name in args.clients:
        if name not in known:
            p.error(f"client {name!r} is none of {', '.join(known)}")
    if "wrk" in args.clients and not args.wrk:
        p.error("wrk is not installed")
    if args.pairs < 1 or args.seconds <= 0 or min(args.connections) < 1:
        p.error("--pairs, --seconds and --connections begin at 1")
    if "wrk" in args.clients and args.seconds != int(args.seconds):
        p.error("wrk measures whole seconds")
    if not os.access(args.loadgen, os.X_OK):
        p.error(f"{args.loadgen} is not built (make)")
    servers = catalogue(ROOT, args.build)
    for name in args.servers.split(","):
        if name not in servers:
            p.error(f"server {name!r} is none of {', '.join(servers)}")
    args.servers = {n: servers[n] for n in args.servers.split(",")}
    args.server_cpus, args.client_cpus = machine.choose_cpus(
        machine.topology())
    args.client_cpus = args.client_cpus[:1]
    if args.server_cpus == args.client_cpus:
        p.error("one cpu: server and client cannot be kept apart")
    return args


def drop_uring(args):
    """Without a ring there is one engine to measure, and that is said."""
    done = subprocess.run(
        [args.loadgen, "--port", "1", "--engine", "uring", "--quiet"],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    if done.returncode == SKIP and "uring" in args.clients:
        print(done.stderr.strip(), file=sys.stderr)
        args.clients.remove("uring")


def main(argv=None):
    inherit.clean()
    args = parse(argv)
    drop_uring(args)
    if not args.clients:
        return SKIP
    rng = random.Random(args.seed)
    cells = []
    for name, server in args.servers.items():
        try:
            server.available()
            for connections in args.connections:
                found = measure(args, server, connections, rng)
                cells.append({"server": name, "connections": connections,
                              "path": args.path, "clients": found,
                              "ratios": ratios(found)})
                tell(args, cells[-1])
        except Skipped as err:
            print(f"skipped: {name}: {err}", file=sys.stderr)
        except (Failed, Failure) as err:
            print(f"generator.py: {name}: {err}", file=sys.stderr)
            return 1
    if args.json:
        facts = {"cpu": machine.cpu_model(), "git": machine.git(ROOT),
                 "server_cpus": args.server_cpus,
                 "client_cpus": args.client_cpus}
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"schema": SCHEMA, "what": args.what, "seed": args.seed,
                       "seconds": args.seconds, "machine": facts,
                       "cells": cells}, f, indent=1)
            f.write("\n")
    return 0 if cells else SKIP


if __name__ == "__main__":
    sys.exit(main())
