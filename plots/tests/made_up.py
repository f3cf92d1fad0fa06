"""A made-up result set that has everything: each suite that the report draws,
enough blocks to decide, a server that saturates, a cell that the generator
limits.  The same seed gives the same set."""

import random
import sys
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import results          # noqa: E402
import suites           # noqa: E402
import summary          # noqa: E402

# CPU time of a request that asks for nothing, us; system calls of it.
SERVERS = {"stage1": (8.4, 2.0), "stage2": (6.9, 2.05), "stage3": (5.9, 0.4),
           "stage4": (5.8, 0.4), "stage5": (5.7, 0.4), "stage6": (6.4, 0.9),
           "nginx": (7.3, 2.1), "h2o": (7.6, 3.2), "haproxy": (8.1, 2.2),
           "lighttpd": (9.0, 4.1), "go": (14.0, 3.0), "fasthttp": (9.9, 2.9),
           "libevent": (12.0, 3.0)}
PLAN = {"ladder": {"handler": [0, 5, 20], "connections": [16, 64, 256]},
        "latency": {"connections": [64],
                    "load": [0.1, 0.3, 0.5, 0.7, 0.9, 1.1]},
        "load": {"connections": [64], "load": [0.2, 0.6, 0.9, 1.1]},
        "idle": {"idle": [500, 2000]},
        "show-sleep": {"workers": [8], "service": ["bimodal"],
                       "connections": [512], "rate": [10000]},
        "scaling": {"workers": [1, 2, 3, 4], "connections": [256]},
        "pipeline": {"connections": [64], "depth": [1, 4, 16]},
        "short": {"connections": [64]},
        "sleeping": {"spin": ["on", "off"], "connections": [16]}}
BLOCKS = 15
# ns; "echo" is a receive and a send.
PRICES = {"session": 300.0, "syscall": 880.0, "context_switch": 1500.0,
          "wake_call": 2000.0, "echo_calls": 5600.0, "epoll_event": 60.0,
          **{f"echo_{kind}_{n}": 4000.0 + 1500.0 / n
             for kind in ("ring", "armed") for n in (1, 16, 64)}}
COUNTERS = {"requests": 1000, "recvs": 1000, "sends": 1000, "waits": 50,
            "events": 2000, "enters": 50, "completions": 2000}
NO_WORK = ("nginx", "h2o", "haproxy", "lighttpd")
RIVALS = {"5-mutex": 650.0, "stage5": 39400.0, "stage6": 730.0}


def machine(cpu="A made-up processor"):
    return {
        "when": "2026-11-29T12:00:00Z", "cpu": cpu, "cpus": 2,
        "hypervisor": "KVM", "memory_kib": 1 << 22, "server_cpus": [0],
        "client_cpus": [1], "core_to_core": {"pairs": [
            {"a": 0, "b": 1, "ns": 110.0}]},
        "prices": {"prices": {name: {"ns": ns} for name, ns in
                              PRICES.items()}}, "kernel": "6.18",
        "os": "Debian", "liburing": "2.3",
        "peers": {"nginx": "nginx 1.22"},
        "git": {"revision": "0" * 40, "dirty": False}, "mitigations": {},
        "limits": {"nofile": [20000, 20000], "memlock_bytes": [8 << 20] * 2,
                   "congestion_control": "bbr"}}


def plan(wanted, blocks):
    return [{"suite": name, "title": suites.SUITES[name].title,
             "params": PLAN[name], "blocks": blocks, "seconds": 1.0,
             "warmup": 0.3, "loadgen": [], "server": [],
             "slope": suites.SUITES[name].slope, "load": "",
             "reference": suites.SUITES[name].reference}
            for name in wanted]


def cells(name):
    found = [{}]
    for key, values in PLAN[name].items():
        found = [{**c, key: v} for c in found for v in values]
    return found


def latency(p50, tail):
    """A histogram's percentiles, each the tail's factor above the last."""
    names = ("p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99")
    return {"count": 100000, "mean": p50 * 1.1, "max": p50 * tail ** 7,
            **{n: p50 * tail ** i for i, n in enumerate(names)}}


def figures(server, name, cell, rng):
    """(metrics, the part of the generator's report that pictures use)."""
    base, _ = SERVERS.get(server, (8.0, 1.0))
    cpu = (base + cell.get("handler", 0)) * rng.gauss(1, 0.02)
    rate, wanted, notes = 1e6 / cpu, 0, []
    queue = 64 / rate * 1e6
    if name in ("latency", "load"):
        wanted = round(cell["load"] * (110000 if name == "latency"
                                       else 1e6 / base))
        busy = wanted * cpu / 1e6
        queue = 40 / max(0.03, 1 - busy) * rng.gauss(1, 0.05)
        if busy > 1:
            rate, queue = 1e6 / cpu, 8e4 * busy
            notes.append("rate not reached")
        else:
            rate = wanted
    if cell.get("spin") == "off":
        cpu *= 1.5
    if name == "ladder" and cell["handler"] == 0 and server != "stage1":
        notes.append(summary.LIMITED)
    if name == "scaling":
        rate *= cell["workers"] ** 0.9
    found = latency(queue * rng.gauss(1, 0.03), 1.35)
    if server in RIVALS and name == "show-sleep":
        found = latency(RIVALS[server] / 1.35 ** 4 * rng.gauss(1, 0.05), 1.35)
    metrics = {
        "qps": rate, "cpu_us": cpu, "client_cpu_us": 4.0,
        "client_busy": 0.8, "client_sleeps": 0.0, "p50_us": found["p50"],
        "p90_us": found["p90"], "p99_us": found["p99"],
        "p999_us": found["p99.9"], "max_us": found["max"],
        "server_user_us": cpu * 0.3, "server_sys_us": cpu * 0.7,
        "client_spin_us": 1.0, "softirq_us": 2.0, "rest_us": 0.3,
        "system_cpu_us": cpu + 5.3, "rss_kib": 3000, "private_kib":
        1000 + cell.get("idle", 0) * base / 4, "server_busy": 0.97,
        "ctx_per_request": 1.0 if server == "stage1" else 0.01,
        "steal_pct": 0.0, "foreign_pct": 1.0, "notes": notes}
    if name == "show-sleep":
        metrics.update({f"fast_{p}_us": metrics[f"{p}_us"]
                        for p in ("p50", "p90", "p99", "p999")})
    return metrics, {"latency_us": found, "intended_rate": wanted}


def servers_of(name, servers):
    only = suites.SUITES[name].only
    found = [s for s in servers if not only or s in only]
    return found + ["5-mutex"] * (name == "show-sleep")


def rows(wanted, servers, seed, blocks=BLOCKS):
    rng, found = random.Random(seed), []
    for name in wanted:
        for cell in cells(name):
            for block in range(blocks):
                common = {"schema": results.ROW,
                          "suite": name, "cell": cell, "block": block,
                          "try": 0}
                for server in servers_of(name, servers):
                    if server in NO_WORK and cell.get("handler"):
                        continue
                    for visit in range(2):
                        metrics, report = figures(server, name, cell, rng)
                        found.append({
                            **common, "kind": "measure", "server": server,
                            "visit": visit, "valid": True, "why": [],
                            "metrics": metrics, "report": report,
                            "counters": COUNTERS})
                found.append({**common, "kind": "block", "server": None,
                              "valid": True, "metrics": {},
                              "moved_pct": 1.0 + block % 3})
            if suites.SUITES[name].trace:
                found += traces(name, cell, servers_of(name, servers))
    return found


def traces(name, cell, servers):
    return [{"schema": results.ROW, "kind": "trace",
             "suite": name, "cell": cell, "server": s, "block": 0,
             "valid": True, "metrics": {"method": "strace", "syscalls": {
                 "recvfrom": SERVERS[s][1] / 2, "sendto": SERVERS[s][1] / 4,
                 "epoll_wait": SERVERS[s][1] / 4}}}
            for s in servers if s in SERVERS
            and not (s in NO_WORK and cell.get("handler"))]


def write(directory, wanted=tuple(PLAN), servers=tuple(SERVERS), seed=1,
          cpu="A made-up processor", blocks=BLOCKS):
    """The set as run.py leaves it."""
    os.makedirs(directory)
    manifest = {
        "schema": results.MANIFEST, "set": f"made-up-{seed}", "draft": False,
        "method": {"visits": 2, "max_drift_pct": 5.0,
                   "intervals": "order statistics", "correction": "Holm"},
        "name": os.path.basename(directory), "state": "complete",
        "suite": "all", "seed": seed, "plan": plan(wanted, blocks),
        "servers": {s: {"kind": "stage" if s[:5] == "stage" else "peer"}
                    for s in servers}, "machine": machine(cpu)}
    if "show-sleep" in wanted:
        manifest["servers"]["5-mutex"] = {"kind": "stage"}
    found = rows(wanted, servers, seed, blocks)
    results.write_json(os.path.join(directory, "manifest.json"), manifest)
    results.write_json(os.path.join(directory, "summary.json"),
                       summary.summarise(manifest, found))
    writer = results.Writer(directory, manifest["set"])
    for row in found:
        writer.add(row)
    writer.close()
    return directory


if __name__ == "__main__":
    write(sys.argv[1])
