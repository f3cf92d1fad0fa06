#!/usr/bin/python3 -S
"""Stands in for the load generator in the runner's tests.

FAKE_PLAN names a JSON file: {"servers": {NAME: {"qps", "cpu", "p99"}},
"calls": {N: what the N-th call does wrong}, "sleep": seconds a call takes}.
With --turns it answers each turn, and does what is wrong in its third.  Wrong
can be: "errors", "steal", "hang", "cut", "version", "crash", "usage", "gone".
"ring": false means that there is none for --engine uring.
"""
import json
import os
import socket
import sys
import time

args = sys.argv[1:]


def option(name, default=None):
    return args[args.index(name) + 1] if name in args else default


with open(os.environ["FAKE_PLAN"], encoding="utf-8") as f:
    plan = json.load(f)
if option("--port") == "1":    # what the runner asks before it measures
    if plan.get("ring", True):
        sys.exit("loadgen: cannot connect")
    print("loadgen: --engine uring: it is forbidden here", file=sys.stderr)
    sys.exit(77)
log = os.environ["FAKE_LOG"] + ".loadgen"
with open(log, "a+", encoding="utf-8") as f:
    f.write(" ".join(args) + "\n")
    f.seek(0)
    call = len(f.readlines())
pid = int(option("--server-pid").partition(",")[0])
with open(f"/proc/{pid}/cmdline", encoding="utf-8") as f:
    words = f.read().split("\0")
name = next(os.path.basename(w) for w in words
            if not w.startswith("-") and "python" not in w)
wrong = plan.get("calls", {}).get(str(call), "")
me = plan.get("servers", {}).get(name, {})
qps, cpu = me.get("qps", 1000.0), me.get("cpu", 5.0)
p99 = me.get("p99", 300.0)
# A drift that pairs must cancel: the machine changes every few calls.
turn = (call - 1) // plan.get("drift_every", 1)
drift = 1 + plan.get("drift", 0) * (turn % 7)
time.sleep(plan.get("sleep", 0.02))
if "--turns" in args:
    line = socket.socket(fileno=0)
    for turn in range(1 << 30):
        word = line.recv(1)
        if not word or turn == 2 and wrong in ("usage", "crash", "gone"):
            break
        with open(os.environ["FAKE_LOG"] + ".turns", "a",
                  encoding="ascii") as f:
            f.write(f"{word.decode()} {name}\n")
        if turn == 2 and wrong == "hang":
            time.sleep(600)
        line.send(word)
elif wrong == "hang":
    time.sleep(600)
if wrong == "usage":
    print("loadgen: --wrong: no such switch", file=sys.stderr)
    sys.exit(64)
if wrong == "crash":
    print("loadgen: cannot connect", file=sys.stderr)
    sys.exit(2)

rate = option("--rate")
seconds = float(option("--duration"))
requests = int(float(rate) * seconds) if rate else int(qps * seconds)
errors = {"total": 0, "status": 0, "lost": 0}
if wrong == "errors":
    errors = {"total": 3, "status": 2, "lost": 1}
report = {
    "schema": "ioladder-loadgen/9" if wrong == "version"
              else "ioladder-loadgen/1",
    "mode": "open" if rate else "closed", "duration_s": seconds,
    "requests": requests, "qps": requests / seconds / drift,
    "header_bytes_mean": 120.0, "errors": errors,
    "latency_us": {"count": requests, "mean": 110.0, "p50": 100.0 * drift,
                   "p75": 120.0, "p90": 150.0, "p99": p99 * drift,
                   "p99.9": 900.0, "p99.99": 1000.0, "max": 1200.0},
    "intended_rate": float(rate) if rate else None,
    "achieved_rate": float(rate) if rate else None,
    "client_cpu": {"per_request_us": 4.0, "busy": me.get("client", 0.5),
                   "sleeps": 0},
    "server_cpu": {"per_request_us": cpu * drift, "busy": 0.8},
    "server": {"rss_kib": 2000, "vol_ctx": 10, "invol_ctx": 5},
    "limited_by": "generator" if me.get("client", 0) > 0.9 else "server",
    "idle": {"wanted": 0, "open": 0, "lost": 0},
    "host": {"steal_pct": 150.0 if wrong == "steal" else 0.0},
}
if "bimodal" in option("--service", ""):
    # The slow class is one in two hundred, and slow.
    report["classes"] = [
        {"name": name, "latency_us": {
            "count": requests // share, "p50": 50.0 * slow, "p90": 60.0 * slow,
            "p99": p99 / 2 * slow, "p99.9": 70.0 * slow}}
        for name, share, slow in (("fast", 1, 1), ("slow", 200, 40))]
text = json.dumps(report)
print(text[:40] if wrong == "cut" else text)
sys.exit(1 if wrong == "errors" else 0)
