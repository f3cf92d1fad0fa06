"""One slice: a fresh server, the generator against it, a row of figures."""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections import namedtuple

import machine
import syscalls
import wakeups as trace_wakeups
from servers import Failed, Skipped, in_child, may_go_first

LOADGEN = "ioladder-loadgen/1"
TICK_S = 0.1
GRACE_S = 40        # beyond warm-up and window
SLOW_CONNECTS_PER_S = 250   # and for a crowd: on a busy machine
STEAL_LIMIT = 5.0   # percent; a slice with more is redone
FOREIGN_LIMIT = 10.0   # percent of the cpus, by others; the same
TAIL = 10           # samples that must lie beyond a percentile to quote it


# jiffies of the cpus (see machine.stat_cpus), seconds and jiffies of the server
Sample = namedtuple("Sample", "time busy steal total interrupts server_s "
                    "server_user server_system")


class Aborted(Exception):
    """The plan itself is wrong; no slice of it can work."""


class Outcome:
    """What a generator left behind: its report and our samples meanwhile."""

    def __init__(self):
        self.report, self.error = None, None
        self.samples = []   # each a Sample
        self.memory = {}
        self.end = None

    def between(self, seconds):
        """The first and last sample of the window; of a short one, the last
        two before its end.

        The generator says when it ended: until it leaves, an idle crowd of
        thousands may keep both cpus busy with closing.  An older one does not
        say it, and its own end has to do.  None: it had to be killed.
        """
        if self.end is None:
            return None
        end = (self.report or {}).get("ended_s") or self.end
        before = [s for s in self.samples if s.time <= end - 0.01]
        inside = [s for s in before if s.time >= end - seconds]
        if len(inside) < 2:
            inside = (before or self.samples)[-2:]
        return (inside[0], inside[-1]) if inside else None


def launch(argv, cpus, out, first=False):
    """Starts the generator; `first`: before all others on its cpus."""
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=in_child(cpus, first=first))


def kill(proc):
    if proc is None:
        return
    try:
        os.killpg(proc.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    proc.wait()
    if proc.stderr:
        proc.stderr.close()


def read_report(text, status, stderr):
    """(report, error) of a generator that has ended."""
    last = stderr.strip().splitlines()[-1] if stderr.strip() else "no message"
    if status == 64:
        raise Aborted(f"the generator refuses its arguments: {last}")
    if status not in (0, 1):
        return None, f"generator ended with status {status}: {last}"
    try:
        report = json.loads(text)
    except json.JSONDecodeError:
        return None, "generator wrote no whole report"
    if not isinstance(report, dict) or report.get("schema") != LOADGEN:
        found = report.get("schema") if isinstance(report, dict) else None
        raise Aborted(f"the generator reports version {found!r}, this runner "
                      f"reads {LOADGEN!r}")
    return report, None


def calibrator(build):
    return os.path.join(build, "micro", "calibrate")


def calibrate(build, cpus, ms=0):
    """{cpu: {"round_ns": of a fixed loop, "slow_pct": of the time in which it
    was more than twice as slow, "slow_ms": the longest such stretch}}, all
    cpus at the same time, for `ms` or for some rounds."""
    found, procs = {}, []
    try:
        for cpu in dict.fromkeys(cpus):
            procs.append((cpu, subprocess.Popen(
                [calibrator(build), str(cpu), str(ms)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True,
                start_new_session=True, preexec_fn=in_child([cpu]))))
        for cpu, proc in procs:
            out, err = proc.communicate(timeout=GRACE_S)
            if proc.returncode != 0:
                raise Aborted(f"no calibration of cpu {cpu}: {err.strip()}")
            said = json.loads(out)
            found[str(cpu)] = {name: said[name] for name in
                               ("round_ns", "slow_pct", "slow_ms")}
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as err:
        raise Aborted(f"no calibration: {err}") from None
    finally:
        for _, proc in procs:
            kill(proc)
            proc.stdout.close()
    return found


class Rig:
    """What all slices of a run share: cpus, generator, limits."""

    topology = ()
    counts_calls = False    # of every slice, by the server's own counters

    def __init__(self, loadgen, server_cpus, client_cpus, seed):
        self.loadgen = loadgen
        self.server_cpus, self.client_cpus = server_cpus, client_cpus
        self.seed = seed
        self.both = sorted(set(server_cpus) | set(client_cpus))
        self.shared = bool(set(server_cpus) & set(client_cpus))

    def for_workers(self, workers):
        """The same where each worker is to have a cpu of its own."""
        server, client = machine.cpus_for_workers(self.topology, workers)
        return Rig(self.loadgen, server, client, self.seed)

    def step_aside(self):
        """Off the server's cpu; children are pinned one by one."""
        os.sched_setaffinity(0, self.client_cpus)

    def calibrate(self, build, ms):
        """How fast the first cpu of each side is now."""
        return calibrate(build, [self.server_cpus[0], self.client_cpus[0]], ms)

    def describe(self, root, build):
        """(the machine, what else the manifest says)."""
        return machine.describe(root, build, self.server_cpus,
                                self.client_cpus), {}

    def complete(self, row, outcome):
        """What else belongs into a row."""

    def threads_of(self, args):
        """One thread, moved about by the scheduler, where both sides share
        cpus; it must not poll there, which would take them from the server.
        Else a thread pinned to each cpu."""
        if self.shared:
            polls = "--rate" in args and "--spin" not in args
            return ["--spin", "off"] if polls else []
        argv = ["--cpu", ",".join(map(str, self.client_cpus))]
        threads = len(self.client_cpus)
        if "--threads" not in args and threads > 1:
            argv += ["--threads", str(min(threads, connections_of(args)))]
        return argv

    def goes_first(self, args):
        """Where an open loop shares cpus, the send times hold only when the
        generator need not wait for a handler that burns its time slice."""
        return self.shared and "--rate" in args

    def command(self, run, args, seconds, warmup, seed, out="-"):
        return [self.loadgen, "--port", str(run.port),
                "--duration", f"{seconds:g}", "--warmup", f"{warmup:g}",
                "--server-pid", ",".join(map(str, run.pids)),
                "--seed", str(seed), "--quiet", "--json", out, *args,
                *self.threads_of(args)]

    def sample(self, run):
        used = [machine.process_cpu(pid) for pid in run.pids]
        split = [machine.user_and_system(pid) for pid in run.pids]
        gone = None in used or None in split
        return Sample(time.monotonic(), *machine.stat_cpus(self.both),
                      None if gone else sum(used),
                      None if gone else sum(user for user, _ in split),
                      None if gone else sum(system for _, system in split))

    def load(self, run, args, seconds, warmup, seed, memory=False, each=None):
        """Runs the generator to its end; samples the machine meanwhile."""
        outcome = Outcome()
        argv = self.command(run, args, seconds, warmup, seed)
        limit = time.monotonic() + warmup + seconds + GRACE_S \
            + crowd_of(args) / SLOW_CONNECTS_PER_S
        proc = None
        with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
            try:
                proc = launch(argv, self.client_cpus, out,
                              self.goes_first(args))
                turn = 0
                while True:
                    outcome.samples.append(self.sample(run))
                    if memory and turn % 3 == 0:
                        outcome.memory = self.measure_memory(
                            run, outcome.memory)
                    if each:
                        each()
                    turn += 1
                    try:
                        proc.wait(0.01 if each else TICK_S)
                        break
                    except subprocess.TimeoutExpired:
                        pass
                    if time.monotonic() > limit:
                        outcome.error = "generator did not end in time"
                        return outcome
                outcome.end = time.monotonic()
                outcome.samples.append(self.sample(run))
                stderr = proc.stderr.read().decode(errors="replace")
                out.seek(0)
                outcome.report, outcome.error = read_report(
                    out.read(), proc.returncode, stderr)
            except OSError as err:
                raise Aborted(f"{self.loadgen}: {err.strerror}") from None
            finally:
                kill(proc)
        return outcome

    @staticmethod
    def measure_memory(run, highest):
        """The most the server has held so far: the crowd is open by then."""
        now = [machine.memory_map(pid) for pid in run.pids]
        if not all(now):
            return highest
        total = {key: sum(m[key] for m in now) for key in now[0]}
        if total["private_kib"] >= highest.get("private_kib", 0):
            return total
        return highest


def connections_of(args):
    if "--connections" in args:
        return int(args[args.index("--connections") + 1])
    return 64


def crowd_of(args):
    return int(args[args.index("--idle") + 1]) if "--idle" in args else 0


def kernel_counts(pids, threads=False):
    """What the kernel counts of the server: page faults, and of its threads,
    migrations and waits for a cpu; only what it counts of all of them."""
    sums = {}
    for number, pid in enumerate(pids):
        found = {"page_faults": machine.page_faults(pid),
                 **(machine.scheduling(pid) if threads else {})}
        if None in found.values() or (number and set(found) != set(sums)):
            return {}
        sums = {name: sums.get(name, 0) + n for name, n in found.items()}
    return sums


def kernel_figures(before, after, report, moved):
    """Of the whole slice: faults for each connection of a crowd; migrations
    and waits for each request."""
    found, idle = {}, (report or {}).get("idle") or {}
    by = {name: after[name] - before[name] for name in after
          if name in before}
    if idle.get("open") and idle.get("opening_s"):
        found["connects_per_s"] = idle["open"] / idle["opening_s"]
        if "page_faults" in by:
            found["connect_faults"] = by["page_faults"] / idle["open"]
    requests = (moved or {}).get("requests")
    if requests and "migrations" in by:
        found["migrations"] = by["migrations"] / requests
        found["run_wait_us"] = by["run_wait_us"] / requests
    return found


def counted(before, after):
    """What the server's own counters moved by, whole numbers."""
    if before is None or after is None:
        return None
    return {name: int(value - before.get(name, 0))
            for name, value in after.items() if value != before.get(name, 0)}


def steal_percent(outcome, seconds):
    """By our samples and by the generator's own, whichever is worse."""
    found = [0.0]
    window = outcome.between(seconds)
    if window:
        first, last = window
        if last.total > first.total:
            found.append(100 * (last.steal - first.steal)
                         / (last.total - first.total))
    host = (outcome.report or {}).get("host") or {}
    found.append(host.get("steal_pct") or 0.0)
    return max(found)


def percentile(report, name, share):
    """A percentile of the report, or None with too few samples beyond it."""
    latency = report.get("latency_us") or {}
    if latency.get("count", 0) * (1 - share) < TAIL:
        return None
    return latency.get(name)


def fast_class(report):
    """The latencies of the requests that ask for little; where all ask for
    the same, or nothing tells them apart, of all."""
    for found in report.get("classes") or ():
        if found.get("name") == "fast":
            return {"latency_us": found.get("latency_us") or {}}
    return report


def notes_of(report):
    notes = []
    if report.get("limited_by") == "generator":
        notes.append("limited by the generator")
    for side, quota in (report.get("quota") or {}).items():
        if quota.get("throttled"):
            notes.append(f"{side} throttled by a cpu quota")
    intended = report.get("intended_rate")
    if intended and report.get("achieved_rate", 0) < 0.99 * intended:
        notes.append("rate not reached")
    lateness = (report.get("lateness_us") or {}).get("p99")
    p99 = (report.get("latency_us") or {}).get("p99")
    if intended and lateness and p99 and lateness > 0.1 * p99:
        notes.append("generator late by over 10 % of p99")
    return notes


def foreign_percent(busy_cpus, server, client, window, cpus):
    """What ran on these cpus besides server and generator, in percent.

    Clock ticks against exact clocks: a few percent either way mean nothing.
    """
    ours = (server.get("total_s") or 0) / window
    ours += ((client.get("user_s") or 0) + (client.get("sys_s") or 0)) / window
    return max(0.0, 100 * (busy_cpus - ours) / cpus)


def fast_figures(report):
    fast = fast_class(report)
    return {f"fast_{name}_us": percentile(fast, key, share)
            for name, key, share in (("p50", "p50", 0.5), ("p90", "p90", 0.9),
                                     ("p99", "p99", 0.99),
                                     ("p999", "p99.9", 0.999))}


def shares(ends, per_s, client, server, window, cpus):
    """Whose CPU time a request takes, us: server, client, the rest.

    The kernel counts the parts in jiffies; what a process took in all is known
    to the nanosecond, and is divided as its jiffies are.  softirq_us is no
    further part: an interrupt is charged to the process that it came upon.
    """
    first, last = ends
    span = last.time - first.time
    us = 1e6 / span / per_s                     # seconds -> us a request
    busy = (last.busy - first.busy) / os.sysconf("SC_CLK_TCK")
    interrupts = (last.interrupts - first.interrupts) \
        / os.sysconf("SC_CLK_TCK")
    found = {"system_cpu_us": busy * us, "foreign_pct": foreign_percent(
        busy / span, server, client, window, cpus)}
    ours = server.get("per_request_us")
    if None not in (first.server_s, last.server_s):
        if ours is None:
            ours = (last.server_s - first.server_s) * us
            found["cpu_us"] = ours
        user = last.server_user - first.server_user
        system = last.server_system - first.server_system
        if user + system:
            found["server_user_us"] = ours * user / (user + system)
            found["server_sys_us"] = ours * system / (user + system)
    theirs = [(client.get(name) or 0) / window / per_s * 1e6
              for name in ("user_s", "sys_s", "spin_s")]
    found["client_spin_us"] = theirs[2]
    found["spent_us"] = max(0.0, busy * us - theirs[2])
    found["softirq_us"] = interrupts * us
    found["rest_us"] = max(0.0, busy * us - (ours or 0) - theirs[0]
                           - theirs[1])
    return found


def figures(outcome, seconds, moved, cpus):
    """The flat figures of a slice that the summary works on."""
    report = outcome.report
    requests = report.get("requests") or 0
    window = report.get("duration_s") or seconds
    client = report.get("client_cpu") or {}
    server = report.get("server_cpu") or {}
    status = report.get("server") or {}
    latency = report.get("latency_us") or {}
    found = {
        "qps": report.get("qps"),
        "cpu_us": server.get("per_request_us"),
        "client_cpu_us": client.get("per_request_us"),
        "client_busy": client.get("busy"),
        "p50_us": percentile(report, "p50", 0.5),
        "p90_us": percentile(report, "p90", 0.9),
        "p99_us": percentile(report, "p99", 0.99),
        "p999_us": percentile(report, "p99.9", 0.999),
        "mean_us": latency.get("mean"),
        "max_us": latency.get("max"),
        "threads": status.get("threads"),
        "rss_kib": outcome.memory.get("rss_kib", status.get("rss_kib")),
        "private_kib": outcome.memory.get("private_kib"),
        "server_busy": server.get("busy"),
        "header_bytes": report.get("header_bytes_mean"),
        "steal_pct": steal_percent(outcome, seconds),
        "notes": notes_of(report),
    }
    ends = outcome.between(seconds)
    if ends and requests and ends[1].time > ends[0].time:
        found.update(shares(ends, requests / window, client, server, window,
                            cpus))
    for side, quota in (report.get("quota") or {}).items():
        found[f"{side}_quota_cpus"] = quota.get("cpus") or None
        found[f"{side}_throttled"] = quota.get("throttled")
        found[f"{side}_throttled_s"] = quota.get("throttled_s")
    for side, sleeps in (("client", client.get("sleeps")),
                         ("server", status.get("vol_ctx"))):
        if requests and sleeps is not None:
            found[f"{side}_sleeps"] = sleeps / requests
    switches = [status.get("vol_ctx"), status.get("invol_ctx")]
    if requests and None not in switches:
        found["ctx_per_request"] = sum(switches) / requests
    if requests and status.get("minor_faults") is not None:
        found["faults"] = status["minor_faults"] / requests
    beats = (report.get("idle") or {}).get("heartbeat_us") or {}
    if beats:
        found["beat_p50_us"] = percentile({"latency_us": beats}, "p50", 0.5)
        found["beat_p99_us"] = percentile({"latency_us": beats}, "p99", 0.99)
    if moved and moved.get("waits"):
        found["events_per_wait"] = moved.get("events", 0) / moved["waits"]
    rounds = [(moved or {}).get(f"rounds_{why}", 0)
              for why in ("single", "ready", "free")]
    if sum(rounds):
        found["ring_rounds"] = 1 - rounds[0] / sum(rounds)
    return found


def bad_end(kind, status):
    """What is wrong with how a server ended that was asked to; None: nothing.

    Ours leave with 0.  A peer may leave the answer to the signal."""
    if status == 0 or (kind != "stage" and status == -signal.SIGTERM):
        return None
    if status == -signal.SIGKILL:
        return "server did not end when asked"
    return f"server ended with status {status} when asked to end"


def complaints(outcome, moved, server_status, seconds, errors_spoil=True):
    """Why a slice must be redone; empty when it may be used."""
    found = []
    if outcome.error:
        found.append(outcome.error)
    if server_status is not None:
        found.append(f"server ended with status {server_status} meanwhile")
    report = outcome.report
    if report:
        errors = report.get("errors") or {}
        if errors.get("total") and errors_spoil:
            kinds = [f"{n} {k}" for k, n in errors.items()
                     if k != "total" and n]
            found.append("errors: " + (", ".join(kinds)
                                       or str(errors["total"])))
        idle = report.get("idle") or {}
        for kind, word in (("lost", "idle connections lost"),
                           ("failed", "idle connections not opened"),
                           ("heartbeat_errors", "heartbeats failed")):
            if idle.get(kind):
                found.append(f"{idle[kind]} {word}")
        if not report.get("requests"):
            found.append("no request was answered")
    if moved and moved.get("cq_overflow"):
        found.append(f"{moved['cq_overflow']} completions overflowed")
    steal = steal_percent(outcome, seconds)
    if steal > STEAL_LIMIT:
        found.append(f"steal {steal:.1f} %")
    return found


def judge_foreign(rig, args, row):
    """Other programs on these cpus spoil a slice.  Where both sides share the
    cpus the clock ticks cannot tell them apart: then it is a note."""
    if not row["metrics"]:
        return
    foreign = row["metrics"].get("foreign_pct") or 0
    if rig.shared:
        row["metrics"]["notes"].append(shared_note(rig, args))
        if foreign > FOREIGN_LIMIT:
            row["metrics"]["notes"].append(
                f"other programs took over {FOREIGN_LIMIT:g} % of the cpus")
    elif foreign > FOREIGN_LIMIT:
        row["why"].append(f"other programs took {foreign:.0f} % of the cpus")
        row["valid"] = False


def shared_note(rig, args):
    if not rig.goes_first(args):
        return "client on the server's cpus"
    return "client on the server's cpus, " + (
        "before it" if may_go_first() else "without right of way")


def row_of(rig, server, args, outcome, seconds, life, errors_spoil=True):
    """The fields of a row; `life`: how the server began, what its counters
    moved by, whether it died meanwhile, and how it ended.  `errors_spoil`: a
    slice with requests that failed is of no use."""
    # echo has no /metrics: what it says at its end
    moved = life["totals"] or None if life["moved"] is None else life["moved"]
    why = complaints(outcome, moved, life["died"], seconds, errors_spoil)
    if life["died"] is None and bad_end(server.kind, life["ended"]):
        why.append(bad_end(server.kind, life["ended"]))
    row = {"valid": not why, "why": why, "started": life["started"],
           "exit": life["ended"], "args": args,
           "cpus": {"server": rig.server_cpus, "client": rig.client_cpus},
           "metrics": {}, "counters": moved, "report": outcome.report}
    if outcome.report:
        row["metrics"] = figures(outcome, seconds, moved,
                                 len(rig.both))
        if "--service" in args:
            row["metrics"].update(fast_figures(outcome.report))
    return row


def measure(rig, server, start, args, seconds, warmup, seed, *,
            memory=False, probe=None, each=None, threads=False):
    """Starts the server, loads it, stops it: the fields of a row."""
    clock = time.time()
    try:
        run = server.start(rig.server_cpus, **start)
    except (Failed, Skipped) as err:
        return {"valid": False, "why": [str(err)], "metrics": {},
                "started": clock}
    beside, beside_out = None, tempfile.TemporaryFile("w+", encoding="utf-8")
    try:
        ours = server.kind == "stage" and start.get("app") == "http"
        before = run.scrape() if ours else None
        kernel = kernel_counts(run.pids, threads)
        if probe:
            # Two generators on one cpu must not keep it from each other.
            args = args + ["--spin", "off"]
            beside = launch(rig.command(run, probe + ["--spin", "off"],
                                        seconds, warmup, seed),
                            rig.client_cpus, beside_out)
        outcome = rig.load(run, args, seconds, warmup, seed, memory, each)
        beside_report = None
        if beside:
            stderr = beside.communicate(timeout=GRACE_S)[1]
            beside_out.seek(0)
            beside_report, error = read_report(
                beside_out.read(), beside.returncode,
                stderr.decode(errors="replace"))
            if error:
                outcome.error = outcome.error or "probe: " + error
        after = run.scrape() if ours else None
        moved = counted(before, after)
        kernel = kernel, kernel_counts(run.pids, threads)
        died = run.proc.poll()
    except subprocess.TimeoutExpired:
        return {"valid": False, "why": ["probe did not end in time"],
                "metrics": {}, "started": clock}
    finally:
        kill(beside)
        beside_out.close()
        ended = run.stop()
    row = row_of(rig, server, args, outcome, seconds, {
        "started": clock, "moved": moved, "died": died, "ended": ended,
        "totals": run.totals})
    if outcome.report:
        row["metrics"].update(kernel_figures(*kernel, outcome.report, moved))
    judge_foreign(rig, args, row)
    if beside_report:
        row["probe"] = beside_report
        row["metrics"]["probe_p50_us"] = percentile(beside_report, "p50", 0.5)
        row["metrics"]["probe_p99_us"] = percentile(beside_report, "p99",
                                                    0.99)
    rig.complete(row, outcome)
    return row


# The server's own counters as system calls, where nothing may trace: what is
# added up for each call.  A ring's receives and sends are none, but those of
# stage 6 that did not go with a batch are; which of the two they were it does
# not count.  Every close is shutdown, close and a receive of what was left.
# What starting a thread costs (stage 1, a connection per request) is not in.
_CLOSING = {"shutdown": ("closed",), "close": ("closed",)}
_PLAIN = {"recv": ("recvs", "closed"), "send": ("sends",),
          "read": ("reads",), "accept": ("accepted",), **_CLOSING}
_RING = {"enter": ("waits",), "recv": ("closed",), **_CLOSING}
OWN_CALLS = {
    1: _PLAIN,
    2: {"wait": ("waits", "spins"), "epoll_ctl": ("accepted", "changes"),
        "setsockopt": ("quickacks",), **_PLAIN},
    3: _RING, 4: _RING, 5: {"wake": ("wakes",), **_RING},
    6: {"wait": ("waits",), "enter": ("enters",), "wake": ("wakes",),
        "recv or send": ("recvs", "sends", "closed", "-completions"),
        "read": ("reads",), "accept": ("accepted",),
        "epoll_ctl": ("accepted",), **_CLOSING},
}


# /work looks at the clock of its thread until its time is over.  That is the
# handler's affair, and no two runs do it equally often.
HANDLER_CALLS = ("clock_gettime",)


def stage_number(server):
    """3 for stage 3 and its variants; 0 for what is no stage."""
    name = os.path.basename(getattr(server, "binary", None) or "")
    found = re.fullmatch(r"stage(\d)|(\d)-[a-z0-9-]+", name)
    return int(found[1] or found[2]) if found else 0


def own_counters(server, moved):
    if not moved:
        return None
    found = {call: sum(-moved.get(name[1:], 0) if name[0] == "-"
                       else moved.get(name, 0) for name in names)
             for call, names in OWN_CALLS.get(stage_number(server),
                                              {}).items()}
    return {call: n for call, n in found.items() if n > 0}


def own_calls(server, moved):
    """System calls a request, by the server's own counters."""
    calls, requests = own_counters(server, moved), (moved or {}).get("requests")
    return sum(calls.values()) / requests if calls and requests else None


def trace(rig, server, start, args, seconds, seed, wakeups=False):
    """System calls per request, by name, in a run that is not timed; and who
    woke the server's threads."""
    clock = time.time()
    tracer = waker = woken = None
    try:
        run = server.start(rig.server_cpus, **start)
    except (Failed, Skipped) as err:
        return {"valid": False, "why": [str(err)], "metrics": {},
                "started": clock}
    try:
        ours = server.kind == "stage" and start.get("app") == "http"
        before = run.scrape() if ours else None
        if wakeups and len(run.pids) == 1:
            waker = trace_wakeups.attach(run.pids)
        tracer = syscalls.attach(run.pids)
        outcome = rig.load(run, args, seconds, 0, seed)
        calls, method = None, "own counters"
        if tracer:
            method = tracer.name
            calls, tracer = tracer.stop(), None
        if waker:
            woken, waker = waker.stop(), None
        after = run.scrape() if ours else None
        if calls is None:
            calls, method = own_counters(server, counted(before, after)), \
                "own counters"
    finally:
        for tool in (tracer, waker):
            if tool:
                tool.stop()
        run.stop()
    requests = (outcome.report or {}).get("requests")
    if not calls or not requests:
        return {"valid": False, "started": clock, "metrics": {},
                "why": [outcome.error or "nothing could count system calls"]}
    handler = sum(calls.pop(name, 0) for name in HANDLER_CALLS)
    found = {"method": method, "requests": requests,
             "handler_calls": handler / requests,
             "syscalls": {name: n / requests for name, n in
                          sorted(calls.items(), key=lambda kv: -kv[1])}}
    if woken is not None:
        found["wakeups"] = {name: n / requests for name, n in woken.items()}
    return {"valid": True, "why": [], "started": clock, "metrics": found}
