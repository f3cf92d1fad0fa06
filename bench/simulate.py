#!/usr/bin/env python3
"""Simulated sets: what build/sim says with the prices of a machine.

  simulate.py check SET ... --queues QUEUESET --out DIR
        each cell of `run.py simcheck` simulated as it was measured, with the
        prices in the manifest of its set; SET may hold some of the suites
  simulate.py policies --prices SET --queues QUEUESET --out DIR
        the policies on 1 to 256 cores
  simulate.py policies --quick ...      a few short runs of each kind

A set is one file, DIR/simulated.json: the inputs, the revision, the command,
and a row for each run.  Seeds are fixed, so the same binary gives the same set.
Exit: 0; 1 not made, with the reason; 64 usage.
"""

import argparse
import concurrent.futures
import json
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import inherit                      # noqa: E402
import machine                      # noqa: E402
import micro_results                # noqa: E402
import model                        # noqa: E402
import results                      # noqa: E402
import stats_math                   # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCHEMA = "ioladder-simulated/1"
NAME = "simulated.json"
SUITE = "simcheck-"
# Which policy a server of the suite is; the order is that of the tables.
SERVERS = {"stage5": "hash", "5-mutex": "mutex", "5-spmc": "ring",
           "6-queue": "steal", "stage6": "rescue"}
POLICIES = ("one", "hash", "mutex", "ring", "steal", "rescue")
STEALS = ("steal", "rescue")
POOLS = ("mutex", "ring")
SEEDS = 41              # runs of each cell that was measured
FEWER = 11              # of each without a part of the model
DRAWS = 1000            # of as many of them as were measured
STUCK_US = 100          # stage 6's own
MOST_FOREIGN = 10.0     # percent of the cpus that other programs may take
USAGE = 64

# What the simulator would miss without: the options that take it away.
WITHOUT = {"turns": {"at_once": True},
           "late sleeps": {"late_us": 0, "late_90_us": 0, "late_99_us": 0},
           "wake-ups": {"wake_us": 0}, "shared cpu": {"cpus": 0},
           "own cpu": {"io_us": 0, "io_many_us": 0, "hand_us": 0}}


class Failed(Exception):
    """No set, and why."""


def policy_of(server):
    """The policy of a server of the suite, or None: 5-mutex-8 is 5-mutex with
    8 helpers."""
    return SERVERS.get(server) or SERVERS.get(server.rpartition("-")[0])


# --- costs ----------------------------------------------------------------

def lock_us_of(directory):
    """One pass through the lock of the mutex queue: half of a task, when
    consumers spin and tasks come as fast as they are taken."""
    _, found = micro_results.load(directory)
    rates = [row["tasks_per_s"] for row in found["rows"]
             if (row.get("queue"), row.get("load"), row.get("wait"))
             == ("mutex", "flat", "spin")]
    if not rates:
        raise Failed(f"{directory}: no rows of the mutex queue, flat out")
    return 1e6 / stats_math.median(rates) / 2


def prices_of(directory):
    """{name: us} from the price list in a set's manifest."""
    path = os.path.join(directory, "manifest.json")
    try:
        with open(path, encoding="utf-8") as f:
            found = json.load(f)["machine"].get("prices")
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise Failed(f"{path}: {err}") from None
    try:
        return {name: ns / 1000 for name, ns in
                model.prices_of(found, path).items() if ns is not None}
    except model.Missing as err:
        raise Failed(str(err)) from None


def price(prices, name):
    if name not in prices:
        raise Failed(f"the price list has no {name!r}: it was measured by an "
                     f"older micro/prices, or on one cpu")
    return prices[name]


def lateness(prices):
    """How late sleeps end; lists of before have the mean only."""
    if "sleep_late_50" not in prices:
        return {"late_us": price(prices, "sleep_late")}
    return {"late_us": prices["sleep_late_50"],
            "late_90_us": price(prices, "sleep_late_90"),
            "late_99_us": price(prices, "sleep_late_99")}


def costs(policy, kind, prices, lock_us):
    """The options of build/sim.  `kind`: work, or sleep, where all threads of
    the server share one cpu and each handler ends with a switch."""
    calls = price(prices, "echo_calls")
    io = many = price(prices, "session")
    if policy in STEALS:     # two harvests; few by calls, many by the ring
        io += calls + price(prices, "epoll_event") \
            + 2 * price(prices, "syscall")
        many += price(prices, "echo_ring_16") + price(prices, "epoll_event")
    else:
        io += price(prices, "echo_armed_1")
        many += price(prices, "echo_armed_16")
    found = {"base_us": calls, "wake_us": price(prices, "wake_other"),
             "line_us": price(prices, "line_transfer"), "lock_us": lock_us,
             "look_at_us": price(prices, "line_transfer"),
             "steal_us": 4 * price(prices, "line_transfer"),
             "stuck_us": STUCK_US}
    if kind == "sleep":
        io += 2 * price(prices, "context_switch")
        many += 2 * price(prices, "context_switch")
        found |= {**lateness(prices), "cpus": 1}
        if policy == "rescue":   # the sentinel's pause is a sleep, too
            found["look_us"] = 4 * STUCK_US + found["late_us"]
    if policy in POOLS:
        found["hand_us"] = price(prices, "wake_same") \
            + price(prices, "context_switch")
    return {**found, "io_us": io, "io_many_us": many}


# --- runs -----------------------------------------------------------------

def one_run(build, options):
    """What build/sim prints for these options."""
    words = [os.path.join(build, "sim")]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is not False:
            words += [flag, f"{value:.10g}" if isinstance(value, float)
                      else str(value)]
    try:
        done = subprocess.run(words, capture_output=True, text=True,
                              timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise Failed(f"{words[0]}: {err}") from None
    if done.returncode != 0:
        raise Failed(f"{' '.join(words)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def run_all(build, plans):
    """The output of each plan, in order; as many at a time as cpus."""
    cpus = len(os.sched_getaffinity(0))
    with concurrent.futures.ThreadPoolExecutor(cpus) as pool:
        jobs = [pool.submit(one_run, build, plan) for plan in plans]
        try:
            return [job.result() for job in jobs]
        except BaseException:
            for job in jobs:
                job.cancel()
            raise


# --- beside what was measured ---------------------------------------------

def measured_cells(directory):
    """[{suite, kind, workers, mean_us, rate, connections, server, slices,
    measured}] of a set, and how long a slice was."""
    manifest, rows, _ = results.load(directory)
    plans = {part["suite"]: part for part in manifest["plan"]
             if part["suite"].startswith(SUITE)}
    if not plans:
        raise Failed(f"{directory}: no suite of simcheck in it")
    cells = {}
    for row in rows:
        if row["kind"] == "measure" and row["suite"] in plans \
                and policy_of(row["server"]) and row["valid"] \
                and row["metrics"].get("p99_us") is not None \
                and (row["metrics"].get("foreign_pct") or 0) <= MOST_FOREIGN:
            key = row["suite"], row["cell"]["rate"], row["server"]
            cells.setdefault(key, []).append(row)
    for (suite, rate, server), found in sorted(cells.items()):
        part, cell = plans[suite], found[0]["cell"]
        service = part["words"]["service"][cell["service"]]
        yield {"suite": suite, "kind": suite.split("-")[1],
               "workers": cell["workers"], "service": service, "rate": rate,
               "connections": cell["connections"], "server": server,
               "policy": policy_of(server), "slices": len(found),
               "seconds": part["seconds"], "warmup": part["warmup"],
               "measured": {name: stats_math.median(
                   [r["metrics"][metric] for r in found])
                   for name, metric in (("p50", "p50_us"), ("p99", "p99_us"),
                                        ("throughput", "qps"))},
               "p99s": [r["metrics"]["p99_us"] for r in found],
               "foreign": max(r["metrics"].get("foreign_pct") or 0
                              for r in found)}


def capacity(cell):
    """Requests a second if nothing but the handlers took time."""
    return 1e6 * cell["workers"] / float(cell["service"].split(":")[1])


def plan_of(cell, prices, lock_us, seed, changed):
    """A run as long as a slice: its tail has as few requests."""
    requests = int(cell["rate"] * (cell["seconds"] + cell["warmup"]))
    found = costs(cell["policy"], cell["kind"], prices, lock_us)
    if cell["kind"] == "work":   # the generator has no cpu of its own
        found["io_us"] += found["base_us"]
        found["io_many_us"] += found["base_us"]
    return {"policy": cell["policy"], "service": cell["service"],
            "cores": cell["workers"], "helpers": cell["workers"],
            "connections": cell["connections"], "rate": float(cell["rate"]),
            "requests": requests, "seed": 100 * seed, **found, **changed}


def middle(runs):
    return {"p50": stats_math.median([r["latency_us"]["p50"] for r in runs]),
            "p99": stats_math.median([r["latency_us"]["p99"] for r in runs]),
            "throughput": stats_math.median([r["throughput"] for r in runs])}


def by_chance(tails, slices):
    """(low, high): where the median of so many slices lies in 95 of 100
    measurements, if the simulated ones are true."""
    rng = random.Random(1)
    found = sorted(stats_math.median(rng.choices(tails, k=slices))
                   for _ in range(DRAWS))
    return found[DRAWS // 40], found[-1 - DRAWS // 40]


def check_cell(build, cell, prices, lock_us):
    """The cell with what was simulated for it, and without each part."""
    variants = {"": {}, **WITHOUT}
    plans = [(name, plan_of(cell, prices, lock_us, seed, changed))
             for name, changed in variants.items()
             for seed in range(1, (FEWER if name else SEEDS) + 1)]
    runs = run_all(build, [plan for _, plan in plans])
    parts = {name: [run for (of, _), run in zip(plans, runs) if of == name]
             for name in variants}
    tails = [r["latency_us"]["p99"] for r in parts[""]]
    low, high = by_chance(tails, cell["slices"])
    return {**cell, "load": round(cell["rate"] / capacity(cell), 2),
            "simulated": {**middle(parts[""]), "p99_low": low,
                          "p99_high": high},
            "without": {name: middle(found) for name, found in parts.items()
                        if name}}


def check(build, directories, lock_us):
    rows, prices = [], {}
    for directory in directories:
        ours = prices_of(directory)
        prices[os.path.basename(os.path.normpath(directory))] = ours
        for cell in measured_cells(directory):
            rows.append(check_cell(build, cell, ours, lock_us))
            print(f"{cell['suite']} {cell['rate']}/s {cell['server']}",
                  file=sys.stderr)
    if not rows:
        raise Failed("no slice of these sets could be used")
    return {"check": rows}, prices


# --- policies on more cores -----------------------------------------------

CORES = (4, 16, 64, 256)
LOADS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
DOUBLED = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
MEANS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
SPREADS = {"const": "const:{mean}", "exponential": "exp:{mean}",
           "bimodal": "bimodal:0.005:{mean}:{slow}"}
LUCK = 5               # seeds where the placement of connections decides
ARTICLE_US = 121       # a request of one core there: 8,240 a second
MOST_HELPERS = 8
FULL = 1.3             # load that no policy can carry


def sweeps(quick):
    """{part: [(what it is, options)]}"""
    many = 3000 if quick else 100000
    cores = CORES[:1] if quick else CORES
    doubled = DOUBLED[:3] if quick else DOUBLED
    means = MEANS[::4] if quick else MEANS
    found = {"load": [
        ({"cores": n, "load": load, "policy": policy},
         {"service": "exp:100", "requests": many})
        for n in cores for load in LOADS for policy in POLICIES]}
    found["scaling"] = [
        ({"cores": n, "mean": mean, "policy": policy},
         {"service": f"exp:{mean}", "load": FULL, "requests": many})
        for mean in (5, 20, 100) for n in doubled
        for policy in ("hash", "mutex", "ring", "rescue")]
    found["pays"] = [
        ({"spread": spread, "mean": mean, "policy": policy, "seed": seed},
         {"cores": 16, "load": 0.7, "requests": many // 2,
          "service": SPREADS[spread].format(mean=mean, slow=100 * mean)})
        for spread in SPREADS for mean in means
        for policy in ("hash", "ring", "steal", "rescue")
        for seed in range(1, 2 if quick else LUCK + 1)]
    found["search"] = [
        ({"cores": n, "load": load, "policy": "rescue"},
         {"service": "bimodal:0.005:100:10000", "requests": many})
        for load in (0.3, 0.7) for n in doubled if n <= CORES[-1]]
    found["article"] = [
        ({"cores": n, "policy": policy},
         {"service": f"exp:{ARTICLE_US}", "load": FULL, "connections": 5000,
          "requests": many}) for n, policy in (
              (1, "hash"), (32, "hash"), (32, "mutex"), (32, "ring"),
              (32, "rescue"))]
    return found


def mean_of(service):
    kind, *numbers = service.split(":")
    numbers = [float(n) for n in numbers]
    if kind == "bimodal":
        share, fast, slow = numbers
        return (1 - share) * fast + share * slow
    return numbers[0]


def helpers_of(plan, mean):
    """How many helpers a worker can feed."""
    fed = (mean + plan["hand_us"]) / plan["io_us"]
    return min(MOST_HELPERS, max(1, round(fed)))


def full_plan(known, options, prices, lock_us):
    """With the costs.  All policies have as many cores, those of the workers
    of a pool included, and the same rate: `load` is the share of what the
    cores could do if only handlers, receives and replies took time."""
    policy = known["policy"]
    plan = {"seed": 1, **costs(policy, "work", prices, lock_us), **known,
            **options}
    for name in ("spread", "mean"):
        plan.pop(name, None)
    mean = mean_of(plan["service"])
    io = costs("hash", "work", prices, lock_us)["io_us"]
    plan["rate"] = plan.pop("load") * 1e6 * plan["cores"] / (io + mean)
    plan.setdefault("connections", 64 * plan["cores"])
    if policy in POOLS:
        helpers = helpers_of(plan, mean)
        plan["helpers"] = helpers
        plan["cores"] = max(1, round(plan["cores"] * helpers / (helpers + 1)))
    return plan


KEPT = ("throughput", "busy", "search", "sentinel", "waited_us", "rate",
        "steals", "rescues")


def kept(known, run):
    return {**known, **{name: run[name] for name in KEPT},
            "p50": run["latency_us"]["p50"], "p99": run["latency_us"]["p99"],
            "mean_us": run["latency_us"]["mean"],
            "fast_p99": run["fast_us"]["p99"]}


def policies(build, prices, lock_us, quick):
    found = {}
    for part, runs in sweeps(quick).items():
        print(f"{part}: {len(runs)} runs", file=sys.stderr)
        done = run_all(build, [full_plan(known, options, prices, lock_us)
                               for known, options in runs])
        found[part] = [kept(known, run) for (known, _), run
                       in zip(runs, done)]
    return found


# --- sets -----------------------------------------------------------------

def load(directory):
    """A simulated set, or ResultError."""
    path = os.path.join(directory, NAME)
    found = results.load_object(path, SCHEMA)
    results.need(found, path, "parts", "prices", "lock_us", "revision",
                 "command", "queues", "draft")
    for part, rows in found["parts"].items():
        if not isinstance(rows, list) or not rows:
            raise results.ResultError(f"{path}: no rows in {part!r}")
        for row in rows:
            results.need(row, f"{path}: {part}", "policy")
    return found


def is_set(directory):
    return os.path.exists(os.path.join(directory, NAME))


def base_name(directory):
    return os.path.basename(os.path.normpath(directory))


def write(args, parts, prices, lock_us):
    """There whole, or not at all."""
    git = machine.git(ROOT)
    draft = bool(git["dirty"]) or args.quick
    found = {"schema": SCHEMA, "simulated": True, "draft": draft,
             "revision": git["revision"],
             "command": " ".join(["bench/simulate.py", args.what]),
             "sets": [base_name(d) for d in args.sets or [args.prices]],
             "queues": base_name(args.queues), "lock_us": round(lock_us, 4),
             "prices": prices, "parts": parts}
    os.makedirs(args.out)
    results.write_json(os.path.join(args.out, NAME), found)


def arguments(argv):
    p = argparse.ArgumentParser(
        description=__doc__.partition("\n\n")[0],
        usage="simulate.py check SET ... | policies --prices SET  "
              "--queues QUEUESET --out DIR")
    p.error = lambda why: (print(f"simulate.py: {why}", file=sys.stderr),
                           sys.exit(USAGE))
    p.add_argument("what", choices=("check", "policies"))
    p.add_argument("sets", nargs="*", metavar="SET")
    p.add_argument("--prices", metavar="SET", help="whose price list is used")
    p.add_argument("--queues", metavar="SET", required=True,
                   help="of micro_run.py queues: what a lock costs")
    p.add_argument("--out", metavar="DIR", required=True)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--build", default=os.path.join(ROOT, "build"))
    args = p.parse_args(argv)
    if args.what == "check" and (not args.sets or args.prices):
        p.error("check: result sets, and their own prices")
    if args.what == "policies" and (args.sets or not args.prices):
        p.error("policies: --prices, and no other set")
    if os.path.exists(args.out):
        p.error(f"{args.out} is there already")
    return args


def main(argv=None):
    inherit.clean()
    args = arguments(argv)
    try:
        lock_us = lock_us_of(args.queues)
        if args.what == "check":
            parts, prices = check(args.build, args.sets, lock_us)
        else:
            prices = prices_of(args.prices)
            parts = policies(args.build, prices, lock_us, args.quick)
        write(args, parts, prices, lock_us)
    except (Failed, results.ResultError, OSError) as err:
        print(f"simulate.py: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
