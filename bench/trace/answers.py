"""What the tracers of trace.py found, as data and as lines to read."""

import json

import flame
import folded
import states
import syscalls

WAYS = ("local", "rescued", "global", "stolen", "no queue")
IDLE_CALLS = {"epoll_wait", "epoll_pwait", "epoll_pwait2", "io_uring_enter",
              "poll", "ppoll", "accept4", "recvfrom"}
STACKS_SHOWN, FRAMES_SHOWN, CALLS_SHOWN = 8, 6, 12


def objects(text):
    """The lines of `bpftrace -f json`, as (type, data)."""
    found = []
    for line in text.splitlines():
        try:
            data = json.loads(line)
        except ValueError:
            continue
        if isinstance(data, dict) and "type" in data:
            found.append((data["type"], data.get("data")))
    return found


def maps(found):
    """{map: its data}, whatever kind it is."""
    result = {}
    for kind, data in found:
        if kind in ("map", "hist", "lhist", "stats") and isinstance(data, dict):
            result.update(data)
    return result


def printed(found):
    return [data for kind, data in found if kind == "printf"]


def bound(buckets, share):
    """A value that at least this share of a histogram does not exceed."""
    total = sum(b["count"] for b in buckets)
    seen = 0
    for b in buckets:
        seen += b["count"]
        if total and seen >= share * total:
            return b.get("max", b.get("min", 0))
    return 0


# ------------------------------------------------------------------- answers

def calls(found, _args):
    data, names = maps(found), syscalls.call_names()
    rows = []
    for number, stats in data.get("@calls", {}).items():
        rows.append({
            "call": names.get(int(number), f"call_{number}"),
            "count": stats["count"], "total_us": stats["total"],
            "most_us": data["@most"][number],
            "p99_us": bound(data["@hist"][number], 0.99),
            "slow": data.get("@slow", {}).get(number, 0)})
    return {"rows": sorted(rows, key=lambda r: -r["total_us"])}


def tell_calls(told, args):
    if not told["rows"]:
        return ["no system call was seen"]
    lines = [f"{'call':20}{'calls':>9}{'mean us':>10}{'99 % below':>12}"
             f"{'longest':>10}  over {args.slow_us} us"]
    for r in told["rows"][:CALLS_SHOWN]:
        note = "  (waits for events)" if r["call"] in IDLE_CALLS else ""
        lines.append(
            f"{r['call']:20}{r['count']:9,}{r['total_us'] / r['count']:10.1f}"
            f"{r['p99_us']:12,}{r['most_us']:10,}  {r['slow']:,}{note}")
    slow = [r["call"] for r in told["rows"]
            if r["slow"] and r["call"] not in IDLE_CALLS]
    lines.append("slow, and no wait for events: "
                 + (", ".join(slow) if slow else "none"))
    return lines


def cores(found, _args):
    data, threads = maps(found), {}
    for key, count in data.get("@on", {}).items():
        tid, cpu = key.split(",")
        threads.setdefault(tid, {"cpus": {}})["cpus"][int(cpu)] = count
    for tid, each in threads.items():
        waits = data.get("@waits", {}).get(tid, {})
        each.update({
            "moves": data.get("@moves", {}).get(tid, 0),
            "waits": waits.get("count", 0), "mean_us": waits.get("average", 0),
            "p99_us": bound(data.get("@hist", {}).get(tid, []), 0.99),
            "most_us": data.get("@most", {}).get(tid, 0)})
    return {"threads": threads}


def tell_cores(told, _args):
    if not told["threads"]:
        return ["no thread of it was seen"]
    lines = [f"{'thread':>8}{'moved':>8}{'waits for a cpu':>17}{'mean us':>9}"
             f"{'99 % below':>12}{'longest':>10}  times on cpu"]
    for tid, t in sorted(told["threads"].items(), key=lambda kv: int(kv[0])):
        where = ", ".join(f"{cpu}: {n:,}" for cpu, n in
                          sorted(t["cpus"].items()))
        lines.append(f"{tid:>8}{t['moves']:8,}{t['waits']:17,}"
                     f"{t['mean_us']:9,}{t['p99_us']:12,}{t['most_us']:10,}"
                     f"  {where}")
    return lines


def batches(found, _args):
    data = maps(found)
    waits = data.get("@per_wait") or {}
    return {"waits": data.get("@waits", 0), "events": waits.get("total", 0),
            "submitted": data.get("@submitted", 0),
            "completed": data.get("@completed", 0),
            "histogram": [[b.get("min", 0), b.get("max", 0), b["count"]]
                          for b in data.get("@hist", [])]}


def tell_batches(told, _args):
    if not told["waits"]:
        return ["no wait was seen"]
    lines = [f"{told['waits']:,} waits brought {told['events']:,} events: "
             f"{told['events'] / told['waits']:.2f} a wait"]
    for low, high, count in told["histogram"]:
        span = f"{low}" if low == high else f"{low} to {high}"
        lines.append(f"{span:>14}{count:10,} waits")
    lines.append(f"operations submitted {told['submitted']:,}, completed "
                 f"{told['completed']:,}" if told["submitted"] else
                 "no operation goes through a ring here")
    return lines


def ready(found, _args):
    data, ways = maps(found), {}
    for number, stats in data.get("@ways", {}).items():
        ways[WAYS[int(number)]] = {
            "runs": stats["count"], "mean_us": stats["average"],
            "p50_us": bound(data["@hist"][number], 0.5),
            "p99_us": bound(data["@hist"][number], 0.99),
            "most_us": data["@most"][number],
            "within_50_us": data.get("@quick", {}).get(number, 0),
            "from_200_us": data.get("@late", {}).get(number, 0)}
    return {"ways": ways}


def tell_ready(told, _args):
    if not told["ways"]:
        return ["no connection was run"]
    lines = [f"{'path':10}{'runs':>10}{'mean us':>9}{'half below':>12}"
             f"{'99 % below':>12}{'longest':>10}{'<= 50 us':>10}"
             f"{'>= 200 us':>11}"]
    for way in WAYS:
        w = told["ways"].get(way)
        if w:
            lines.append(
                f"{way:10}{w['runs']:10,}{w['mean_us']:9,}{w['p50_us']:12,}"
                f"{w['p99_us']:12,}{w['most_us']:10,}"
                f"{100 * w['within_50_us'] / w['runs']:8.1f} %"
                f"{100 * w['from_200_us'] / w['runs']:9.1f} %")
    return lines


def steals(found, _args):
    data = maps(found)
    return {"runs": data.get("@runs", {}), "steals": data.get("@steals", {}),
            "taken": data.get("@taken", {}),
            "rescued": data.get("@rescued", {})}


def tell_steals(told, _args):
    workers = sorted(set(map(int, told["runs"]))
                     | {int(n) for key in told["taken"]
                        for n in key.split(",")})
    if not workers:
        return ["no connection was run"]
    lines = ["connections taken by (row) from (column)",
             f"{'':12}" + "".join(f"{f'worker {w}':>12}" for w in workers)
             + f"{'rescued':>12}{'runs':>12}"]
    for thief in workers:
        cells = "".join(
            f"{'-' if thief == w else told['taken'].get(f'{thief},{w}', 0):>12}"
            for w in workers)
        lines.append(f"{f'worker {thief}':12}{cells}"
                     f"{told['rescued'].get(str(thief), 0):12,}"
                     f"{told['runs'].get(str(thief), 0):12,}")
    times = sum(told["steals"].values())
    taken = sum(told["taken"].values())
    lines.append(f"{times:,} steals took {taken:,} connections"
                 + (f": {taken / times:.1f} a steal" if times else ""))
    return lines


def state_answer(found, args):
    return states.timeline(maps(found).get("@ns", {}), printed(found),
                           args.bucket_ms)


def tell_states(told, args):
    if args.svg:
        with open(args.svg, "w", encoding="utf-8") as f:
            f.write(states.picture(told))
    return states.lines(told)


def stacks(found, _args):
    return {"stacks": found}


def own_frames(key):
    """The name of the thread, and the innermost frames of a stack."""
    comm, *frames = key.split(";")
    user = [f for f in frames if not f.endswith("_[k]")][-FRAMES_SHOWN:]
    return comm, " < ".join(reversed(user or frames[-FRAMES_SHOWN:]))


def by_frames(found):
    """Stacks with the same frames of the program, added up."""
    sums = {}
    for key, weight in found.items():
        comm, frames = own_frames(key)
        sums[comm, frames] = sums.get((comm, frames), 0) + weight
    return sorted(sums.items(), key=lambda kv: -kv[1])


def tell_stacks(told, args, unit):
    found = told["stacks"]
    total = sum(found.values())
    if not total:
        return ["no sample was taken: the server was idle, or perf may not "
                "sample here"]
    if args.folded:
        with open(args.folded, "w", encoding="utf-8") as f:
            f.write(folded.text(found))
    lines = [f"{unit(total)} in all; innermost function first"]
    for (comm, frames), weight in by_frames(found)[:STACKS_SHOWN]:
        lines.append(f"{100 * weight / total:5.1f} % {unit(weight):>12}  "
                     f"{comm}: {frames}")
    return lines


def tell_offcpu(told, args):
    return tell_stacks(told, args, lambda us: f"{us / 1000:,.1f} ms")


def tell_flame(told, args):
    if args.svg and told["stacks"]:
        with open(args.svg, "w", encoding="utf-8") as f:
            f.write(flame.picture(told["stacks"], args.stage or args.pid))
    return tell_stacks(told, args, lambda n: f"{n:,} samples")


ANSWERS = {"calls": (calls, tell_calls), "cores": (cores, tell_cores),
           "batches": (batches, tell_batches),
           "ready": (ready, tell_ready), "steals": (steals, tell_steals),
           "states": (state_answer, tell_states),
           "offcpu": (stacks, tell_offcpu), "flame": (stacks, tell_flame)}


def understand(name, found, args):
    return ANSWERS[name][0](found, args)


def tell(name, told, args):
    return ANSWERS[name][1](told, args)
