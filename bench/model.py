#!/usr/bin/python3
"""What a request should cost: counts times prices, beside what was measured.

A stage does a few things for each request, and does them so many times:
receives and sends by calls or by a ring, waits, switches.  How often, a result
set says (the server's own counters); what one of them costs, the price list of
its manifest says (micro/prices).  docs/model.md explains the terms.

  model.py RESULTSET           prediction beside measurement, cell by cell
  model.py --terms RESULTSET   the terms of each stage too
  model.py --advise            the prices of this machine, what each stage
                               should cost here, and what follows from that
"""

import argparse
import glob
import json
import math
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import inherit                      # noqa: E402
import machine                      # noqa: E402
import results                      # noqa: E402
import stats_math                   # noqa: E402
import summary as summaries         # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STAGES = tuple(f"stage{n}" for n in range(1, 7))
SUITES = ("ladder", "keepalive")
NEEDED = ("session", "syscall", "context_switch", "wake_call", "echo_calls",
          "echo_ring_1", "echo_ring_16", "echo_ring_64", "echo_armed_1",
          "echo_armed_16", "echo_armed_64", "epoll_event")
LATER = ("echo_threads", "work_over")     # prices that older lists lack
BATCHES = (1, 16, 64)
ANCHOR = "stage2"
AIM = 10.0            # percent that a prediction may be off
HANDLERS = (0, 5)     # of the advice, us
TYPICAL = 64          # connections of the advice
USAGE = 64


class Missing(Exception):
    """What a set or a price list lacks, for people."""


# --- prices ---------------------------------------------------------------

def prices_of(found, where):
    """{name: nanoseconds} of what micro/prices reported."""
    if not isinstance(found, dict) or "prices" not in found:
        why = found.get("missing") if isinstance(found, dict) else None
        why = why or "none in it"
        raise Missing(f"{where}: no price list ({why})")
    prices = {}
    for name in NEEDED:
        price = found["prices"].get(name)
        if price is None:
            raise Missing(f"{where}: the price list has no {name!r}: it was "
                          f"measured by another version of micro/prices")
        if "missing" in price:
            prices[name] = None     # not here; whoever needs it says so
            continue
        if not isinstance(price.get("ns"), (int, float)) or price["ns"] < 0:
            raise Missing(f"{where}: the price of {name!r} is no number")
        prices[name] = float(price["ns"])
    return {**{name: p["ns"] for name, p in found["prices"].items()
               if isinstance(p, dict) and "ns" in p}, **prices}


def price(prices, name):
    if prices.get(name) is None:
        raise Missing(f"{name!r} could not be measured on that machine")
    return prices[name]


def by_batch(prices, kind, batch):
    """The price of one recv and one send by a ring that completes `batch`
    operations an enter: between those measured, a line over the logarithm."""
    known = [(n, price(prices, f"echo_{kind}_{n}")) for n in BATCHES]
    batch = min(max(batch, BATCHES[0]), BATCHES[-1])
    for (low, a), (high, b) in zip(known, known[1:]):
        if batch <= high:
            part = math.log(batch / low) / math.log(high / low)
            return a + part * (b - a)
    return known[-1][1]


# --- counts ---------------------------------------------------------------

COUNTERS = ("recvs", "sends", "waits", "events", "enters", "completions")


def counts_of(rows, suite, cell, server):
    """What happens for a request, by the server's own counters: medians over
    the slices of a cell that may be used."""
    found = []
    for row in rows:
        moved = row.get("counters") or {}
        if (row["kind"], row["suite"], row["cell"], row["server"]) != (
                "measure", suite, cell, server) or not row["valid"]:
            continue
        if not moved.get("requests"):
            continue
        metrics = row["metrics"]
        found.append({
            **{name: moved.get(name, 0) / moved["requests"]
               for name in COUNTERS},
            "switches": metrics.get("ctx_per_request") or 0.0,
            "sleeps": metrics.get("server_sleeps") or 0.0,
            "client_sleeps": metrics.get("client_sleeps") or 0.0})
    if not found:
        return None
    return {name: stats_math.median([f[name] for f in found])
            for name in found[0]}


def ratio(part, whole):
    return part / whole if whole else 1.0


# --- the model ------------------------------------------------------------

def by_calls(prices, operations):
    return ("receives and sends by calls", operations / 2,
            price(prices, "echo_calls"))


def by_ring(prices, kind, operations, batch):
    text = {"ring": "by the ring", "armed": "by the ring, waiting in it"}[kind]
    return (f"receives and sends {text}, {batch:.1f} an enter",
            operations / 2, by_batch(prices, kind, batch))


def waiting(prices, counts):
    return [("waits of epoll", counts["waits"], price(prices, "syscall")),
            ("events of them", counts["events"],
             price(prices, "epoll_event"))]


def slept(stage, prices, c):
    """How often a thread of a connection slept in its receive: the switches
    of that are in the price.  Lists of before have no such price."""
    if stage != "stage1" or prices.get("echo_threads") is None:
        return 0.0
    return min(c["sleeps"], (c["recvs"] + c["sends"]) / 2)


def by_threads(prices, c):
    asleep = slept("stage1", prices, c)
    found = [by_calls(prices, c["recvs"] + c["sends"] - 2 * asleep)]
    if asleep:
        found.append(("receives and sends by threads that sleep", asleep,
                      price(prices, "echo_threads")))
    return found


def own_terms(stage, prices, c):
    """What only this stage does, or does its own way."""
    if stage == "stage1":
        return by_threads(prices, c)
    if stage == "stage2":
        return [by_calls(prices, c["recvs"] + c["sends"]),
                *waiting(prices, c)]
    if stage == "stage6":
        plain = max(0.0, c["recvs"] + c["sends"] - c["completions"])
        return [by_calls(prices, plain),
                by_ring(prices, "ring", c["completions"],
                        ratio(c["completions"], c["enters"])),
                *waiting(prices, c)]
    batch = ratio(c["events"], c["waits"])
    return [by_ring(prices, "armed", c["recvs"] + c["sends"], batch),
            # The price has three enters for two passes, the stage has two.
            ("enters that the price has and the stage has not",
             -1 / max(1.0, batch), price(prices, "syscall"))]


def terms(stage, prices, counts, handler_us=0):
    """[(what, how often a request, nanoseconds each)]"""
    found = [("the protocol", 1.0, price(prices, "session")),
             *own_terms(stage, prices, counts),
             ("switches of a thread",
              max(0.0, counts["switches"] - slept(stage, prices, counts)),
              price(prices, "context_switch"))]
    if counts["client_sleeps"]:
        found.append(("waking the client", counts["client_sleeps"],
                      price(prices, "wake_call")))
    if handler_us:
        found.append(("the handler", 1.0, 1000.0 * handler_us))
        if prices.get("work_over") is not None:   # not in lists of before
            found.append(("what it burns beyond that", 1.0,
                          prices["work_over"]))
    return found


def total_us(found):
    return math.fsum(count * ns for _, count, ns in found) / 1000


# --- a result set ---------------------------------------------------------

def cells_of(manifest, summary):
    """[(suite, cell)] that the model is made for."""
    known = {part["suite"] for part in manifest["plan"]}
    return [(suite, cell) for suite, cells in summaries.suites_of(summary)
            if suite in SUITES and suite in known for cell in cells]


def predict(manifest, rows, summary):
    """[{"suite", "cell", "server", "counts", "terms", "predicted_us",
    "measured_us", "error_pct", "anchored_us", "anchored_pct"}], the stages of
    each cell in their order."""
    where = manifest.get("name") or "the result set"
    prices = prices_of(manifest["machine"].get("prices"), where)
    found = []
    for suite, cell in cells_of(manifest, summary):
        for entry in summary["cells"]:
            server = entry["server"]
            measured = entry["metrics"].get("cpu_us")
            if (entry["suite"], entry["cell"]) != (suite, cell) \
                    or server not in STAGES or not measured:
                continue
            counts = counts_of(rows, suite, cell, server)
            if counts is None:
                raise Missing(f"{where}: no counters of {server} in {suite}, "
                              f"{summaries.cell_text(cell)}")
            parts = terms(server, prices, counts, cell.get("handler", 0))
            guess = total_us(parts)
            found.append({"suite": suite, "cell": cell, "server": server,
                          "counts": counts, "terms": parts,
                          "predicted_us": guess, "measured_us": measured[0],
                          "error_pct": 100 * (guess / measured[0] - 1)})
    if not found:
        raise Missing(f"{where}: no stage in {' or '.join(SUITES)} was "
                      f"measured")
    for suite, cell in cells_of(manifest, summary):
        anchor([f for f in found if (f["suite"], f["cell"]) == (suite, cell)])
    return found


def anchor(cell):
    """What no price explains is about the same for all stages: loop, timers,
    packets.  What it is, the measurement of one stage says."""
    base = next((f for f in cell if f["server"] == ANCHOR), None)
    for f in cell:
        f["anchored_us"] = f["anchored_pct"] = None
        if base and f is not base:
            f["anchored_us"] = (f["predicted_us"] + base["measured_us"]
                                - base["predicted_us"])
            f["anchored_pct"] = 100 * (f["anchored_us"] / f["measured_us"] - 1)


def neighbours(found):
    """[(one, the one before it in its cell)]"""
    return [(b, a) for a, b in zip(found, found[1:])
            if (a["suite"], a["cell"]) == (b["suite"], b["cell"])]


def spread(errors):
    """How far off predictions were, in words."""
    errors = [abs(e) for e in errors]
    inside = sum(e <= AIM for e in errors)
    return (f"{inside} of {len(errors)} within {AIM:.0f} %, median error "
            f"{stats_math.median(errors):.1f} %, largest {max(errors):.1f} %")


def errors_text(found):
    text = f"By prices alone: {spread([f['error_pct'] for f in found])}."
    anchored = [f["anchored_pct"] for f in found
                if f["anchored_pct"] is not None]
    if anchored:
        text += (f" With what {summaries.NAMES[ANCHOR]} leaves over: "
                 f"{spread(anchored)}.")
    right = [(b["predicted_us"] < a["predicted_us"])
             == (b["measured_us"] < a["measured_us"])
             for b, a in neighbours(found)]
    if right:
        text += (f" Which of two neighbours is cheaper: right in "
                 f"{sum(right)} of {len(right)}.")
    return text


def table(found):
    """Markdown: prediction beside measurement, a line for each stage."""
    body = []
    for f in found:
        body.append([
            summaries.cell_text(f["cell"]),
            summaries.NAMES.get(f["server"], f["server"]),
            f"{f['measured_us']:.2f}", f"{f['predicted_us']:.2f}",
            f"{f['error_pct']:+.1f} %",
            "-" if f["anchored_us"] is None else f"{f['anchored_us']:.2f}",
            "-" if f["anchored_pct"] is None
            else f"{f['anchored_pct']:+.1f} %"])
    return summaries.table(
        ["cell", "stage", "measured us", "by prices alone", "error",
         "with what stage 2 leaves over", "error"], body)


def terms_text(f):
    lines = [f"{f['server']}, {f['suite']}, "
             f"{summaries.cell_text(f['cell'])}:"]
    for what, count, ns in f["terms"]:
        lines.append(f"  {count * ns / 1000:7.3f} us  {count:6.3f} x "
                     f"{ns:8.1f} ns  {what}")
    lines.append(f"  {f['predicted_us']:7.3f} us  predicted; measured "
                 f"{f['measured_us']:.3f} us")
    return "\n".join(lines)


def markdown(manifest, rows, summary):
    """What a document shows of a set: the table and how far off it was."""
    found = predict(manifest, rows, summary)
    notes = [summaries.notes_text(summary, suite) for suite in
             dict.fromkeys(f["suite"] for f in found)]
    lacks = [f"`{name}`" for name in LATER
             if name not in manifest["machine"]["prices"]["prices"]]
    if lacks:
        notes.append(f"Its price list is older than {' and '.join(lacks)}: "
                     f"what these are the prices of is missing above.")
    return "\n\n".join([table(found), errors_text(found),
                        *(n for n in notes if n)])


# --- advice for a machine -------------------------------------------------

def wanted_cell(summary, manifest, handler):
    """The cell of 64 connections with this handler, or nearly."""
    cells = cells_of(manifest, summary)
    fits = [(s, c) for s, c in cells if c.get("connections") == TYPICAL
            and c.get("handler", 0) == handler]
    return fits[0] if fits else None


def counts_from(root):
    """(name of a committed set, {handler: {stage: counts}}): the newest of one
    host that has all stages at 64 connections."""
    for path in sorted(glob.glob(os.path.join(root, "bench", "results", "*")),
                       reverse=True):
        if not os.path.exists(os.path.join(path, "rows.jsonl")):
            continue
        try:
            manifest, rows, summary = results.load(path)
        except results.ResultError:
            continue      # of an older or newer kind
        if manifest.get("hosts"):
            continue
        found = {}
        for handler in HANDLERS:
            at = wanted_cell(summary, manifest, handler)
            counts = {stage: counts_of(rows, *at, stage) if at else None
                      for stage in STAGES}
            if all(counts.values()):
                found[handler] = counts
        if found:
            return os.path.basename(path), found
    raise Missing("bench/results: no set holds the counters of all six stages "
                  f"at {TYPICAL} connections; measure one: bench/run.py "
                  f"ladder")


def quiet(counts):
    """The counts without a client that sleeps: that is the generator's."""
    return {**counts, "client_sleeps": 0.0}


def ladder_here(prices, counts, handler):
    return {stage: total_us(terms(stage, prices, quiet(c), handler))
            for stage, c in counts.items()}


def break_even(prices):
    """Completions an enter from which a ring is cheaper than calls; None:
    never, on this machine."""
    calls = price(prices, "echo_calls") + price(prices, "epoll_event")
    for batch in range(1, BATCHES[-1] + 1):
        if by_batch(prices, "armed", batch) \
                - price(prices, "syscall") / batch < calls:
            return batch
    return None


def follows(prices, ladders):
    """Sentences: which stage, and which variants are worth a look here."""
    lines = []
    for handler, us in ladders.items():
        best = min(us, key=us.get)
        rest = sorted(v for k, v in us.items() if k != best)
        lines.append(
            f"Handler of {handler} us, {TYPICAL} connections: "
            f"{summaries.NAMES[best]} should be cheapest, {us[best]:.2f} us; "
            f"the next one {rest[0]:.2f}, {summaries.NAMES['stage1']} "
            f"{us['stage1']:.2f}."
            + (" That is nearer than the model's error: measure them."
               if rest[0] < us[best] * (1 + AIM / 100) else ""))
    batch, switch = break_even(prices), price(prices, "context_switch") / 1000
    lines.append(
        "A ring never gets cheaper than calls here: stage 2." if batch is None
        else f"A ring is cheaper than calls from about {batch} "
             f"completion{'s' if batch > 1 else ''} an enter on: stages 3 to "
             f"5 where that many are ready at a time, stage 2 where not.")
    lines.append(
        f"A thread that blocks pays {switch:.2f} us for a switch: with "
        f"handlers of {10 * switch:.0f} us and more that is under a tenth, "
        f"and stage 1 is simple.")
    if prices.get("wake_other"):
        lines.append(
            f"Waking a thread on another cpu takes "
            f"{prices['wake_other'] / 1000:.1f} us: shorter handlers are done "
            f"before help comes, so a pool (stage 5 --pool) and stealing "
            f"(stage 6) are for longer ones. Compare 5-eventfd-wake and "
            f"5-mutex-pool.")
    if prices.get("atomic_add_contended") and prices.get("atomic_add"):
        times = prices["atomic_add_contended"] / prices["atomic_add"]
        lines.append(
            f"Two cpus that add to one line pay {times:.1f} times as much: "
            + ("6-pad-0 against 6-pad-64 shows it, where it is done often."
               if times > 2 else "padding will hardly show (6-pad-0)."))
    return lines


def read_list(path):
    """What micro/prices --json wrote into a file."""
    try:
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    except OSError as err:
        raise Missing(f"{path}: {err.strerror}") from None
    except ValueError as err:
        raise Missing(f"{path}: truncated or not JSON ({err})") from None


def advise(args):
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if args.prices:
        found = read_list(args.prices)
    else:
        found = machine.price_list(args.build, cpus)
    prices = prices_of(found, args.prices or "micro/prices")
    name, counts = counts_from(args.root)
    print("Prices of this machine, in nanoseconds:")
    for key, entry in found["prices"].items():
        if "missing" in entry:
            print(f"  {key:22} not measured: {entry['missing']}")
        else:
            print(f"  {key:22} {entry['ns']:9.1f}  ({entry['low']:.1f} to "
                  f"{entry['high']:.1f})")
    ladders = {h: ladder_here(prices, c, h) for h, c in counts.items()}
    print(f"\nCPU time of a request that follows, us (how often each stage "
          f"does what: {name}):")
    for handler, us in ladders.items():
        print(f"  handler {handler:2} us  " + "  ".join(
            f"{summaries.NAMES[s]} {v:.2f}" for s, v in us.items()))
    print("\nWhat follows:")
    for line in follows(prices, ladders):
        print(f"- {line}")
    return 0


# --- the command line -----------------------------------------------------

def show(args):
    manifest, rows, summary = results.load(args.set)
    found = predict(manifest, rows, summary)
    if args.json:
        print(json.dumps({"schema": "ioladder-model/1", "set":
                          manifest.get("set"), "cells": found}, indent=1))
        return 0
    if args.terms:
        for f in found:
            print(terms_text(f) + "\n")
    print(markdown(manifest, rows, summary))
    return 0


def main(argv=None):
    inherit.clean()
    p = argparse.ArgumentParser(
        description=__doc__.partition("\n\n")[0],
        usage="model.py [--terms] [--json] RESULTSET | --advise")
    p.error = lambda why: (print(f"model.py: {why}", file=sys.stderr),
                           sys.exit(USAGE))
    p.add_argument("set", nargs="?", metavar="RESULTSET")
    p.add_argument("--terms", action="store_true",
                   help="the terms of each stage, too")
    p.add_argument("--json", action="store_true")
    p.add_argument("--advise", action="store_true",
                   help="for the machine that this runs on")
    p.add_argument("--prices", metavar="FILE",
                   help="another machine's list: micro/prices --json")
    p.add_argument("--build", default=os.path.join(ROOT, "build"))
    p.add_argument("--root", default=ROOT, help="the repository's root")
    args = p.parse_args(argv)
    if bool(args.set) == args.advise:
        p.error("a result set, or --advise")
    try:
        return advise(args) if args.advise else show(args)
    except (Missing, results.ResultError) as err:
        print(f"model.py: {err}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
