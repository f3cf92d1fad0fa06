#!/usr/bin/python3
"""What run.py has done on another machine: one of these is started there by
ssh for each host, and ends with the connection.

It reads orders from stdin, an object a line, and answers each with a line:
{"ok": ...} or {"error": kind, "text": why}.  Nothing it started is left when
stdin ends: neither a server, nor a generator, nor the folder it was put into.

Times.  "Begin in N ms" is counted from the moment in which the order is read,
in this machine's own monotonic clock.  No time of day and no clock of another
machine is looked at, so clocks that differ do not matter.
"""

import hashlib
import json
import os
import platform
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
BUILD = os.path.join(ROOT, "build")
sys.path.insert(0, HERE)

import inherit                              # noqa: E402
import machine                              # noqa: E402
import results                              # noqa: E402
import servers                              # noqa: E402
import slices                               # noqa: E402

PROTOCOL = 1
QUIET_S = 900        # without an order: whoever gave them is gone
CONNECT_S = 30       # until a generator is connected, and for a crowd more


class Ended(Exception):
    """Stdin has ended."""


class Orders:
    """Lines from stdin, and whether it has ended."""

    def __init__(self):
        self.text, self.ended = b"", False

    def fill(self, seconds):
        """Reads what is there, waiting that long for the first of it."""
        if self.ended or not select.select([0], [], [], seconds)[0]:
            return
        piece = os.read(0, 65536)
        self.ended = not piece
        self.text += piece

    def next(self):
        until = time.monotonic() + QUIET_S
        while b"\n" not in self.text:
            if self.ended or time.monotonic() > until:
                raise Ended
            self.fill(until - time.monotonic())
        line, _, self.text = self.text.partition(b"\n")
        return json.loads(line)


def answer(value):
    sys.stdout.write(json.dumps(value, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def switches(pid):
    """(voluntary, involuntary, threads) of the threads that are alive."""
    found = [0, 0, 0]
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for task in tasks:
        text = machine.read(f"/proc/{pid}/task/{task}/status") or ""
        for n, word in enumerate(("voluntary", "nonvoluntary")):
            match = re.search(rf"^{word}_ctxt_switches:\s+(\d+)", text, re.M)
            found[n] += int(match[1]) if match else 0
        found[2] += 1
    return found


def resident_kib(pid):
    text = machine.read(f"/proc/{pid}/status") or ""
    match = re.search(r"^VmRSS:\s+(\d+)", text, re.M)
    return int(match[1]) if match else 0


class Sampler(threading.Thread):
    """Reads the clocks of this machine at the borders of the window."""

    def __init__(self, begin_ns, seconds, cpus, everywhere, pids=(),
                 memory=False):
        super().__init__(daemon=True)
        self.begin_ns, self.seconds = begin_ns, seconds
        self.cpus, self.pids, self.memory = cpus, pids, memory
        self.everywhere = everywhere
        self.found, self.most = None, {}

    @staticmethod
    def sleep_until(ns):
        time.sleep(max(0, (ns - time.monotonic_ns()) / 1e9))

    def read(self):
        cpu = [machine.process_cpu(pid) for pid in self.pids]
        split = [machine.user_and_system(pid) for pid in self.pids]
        if None in cpu or None in split:
            return None
        many = [switches(pid) for pid in self.pids]
        return {"time": time.monotonic(), "server_s": sum(cpu),
                "server": [sum(s) for s in zip(*split)] or [0, 0],
                "own": machine.stat_cpus(self.cpus),
                "all": machine.stat_cpus(self.everywhere),
                "switches": [sum(m) for m in zip(*many)] or [0, 0, 0],
                "throttled": machine.cpu_quota(
                    pid=self.pids[0] if self.pids else "self")}

    def run(self):
        self.sleep_until(self.begin_ns)
        first = self.read()
        end = self.begin_ns + int(self.seconds * 1e9)
        while self.memory and time.monotonic_ns() < end - 300_000_000:
            now = slices.Rig.measure_memory(self, self.most)
            self.most = now or self.most
            time.sleep(0.3)
        self.sleep_until(end)
        last = self.read()
        if first and last:
            self.found = self.difference(first, last)

    def difference(self, a, b):
        def less(name):
            return [y - x for x, y in zip(a[name], b[name])]
        vol, invol, _ = less("switches")
        quota = b["throttled"]
        return {
            "span_s": b["time"] - a["time"],
            "total_s": b["server_s"] - a["server_s"], "split": less("server"),
            "own": less("own"), "all": less("all"),
            "n_own": len(self.cpus), "n_all": len(self.everywhere),
            "cpus": min(len(self.cpus), b["switches"][2]) or len(self.cpus),
            "memory": self.most,
            "status": {"vol_ctx": vol, "invol_ctx": invol,
                       "threads": b["switches"][2],
                       "rss_kib": sum(map(resident_kib, self.pids))},
            "quota": {"cpus": quota["cpus"] or 0, "throttled":
                      quota["throttled"] - a["throttled"]["throttled"]}}


class FarEnd:
    def __init__(self, orders):
        self.orders = orders
        self.run = self.generator = self.sampler = None
        self.all_cpus = os.sched_getaffinity(0)

    # --- about this machine ---

    def hello(self):
        boot = machine.read("/proc/sys/kernel/random/boot_id") or ""
        address = os.environ.get("SSH_CONNECTION", "").split()
        return {"protocol": PROTOCOL, "architecture": platform.machine(),
                "machine": hashlib.sha256(boot.encode()).hexdigest()[:16],
                "address": address[2] if len(address) == 4 else None,
                "topology": machine.topology()}

    @staticmethod
    def try_program(path):
        """Whether a program that was copied runs here; else why not."""
        full = os.path.join(BUILD, path)
        try:
            done = subprocess.run([full, "--help"], capture_output=True,
                                  text=True, timeout=20, check=False,
                                  stdin=subprocess.DEVNULL, errors="replace")
        except (OSError, subprocess.TimeoutExpired) as err:
            raise servers.Failed(f"{path} does not run: {err}") from None
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines()
            raise servers.Failed(f"{path} does not run: "
                                 f"{words[-1] if words else done.returncode}")

    @staticmethod
    def sha256(paths):
        return {path: machine.sha256(os.path.join(BUILD, path))
                for path in paths}

    def describe(self, server_cpus, client_cpus, whole):
        build = BUILD if whole else os.devnull    # the probes take a while
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.all_cpus)
        try:
            return machine.describe(ROOT, build, server_cpus, client_cpus)
        finally:
            os.sched_setaffinity(0, mine)

    def stay_off(self, cpus):
        """This process keeps away from what is measured, where it can."""
        os.sched_setaffinity(0, self.all_cpus - set(cpus) or self.all_cpus)

    @staticmethod
    def calibrate(cpus, ms):
        return slices.calibrate(BUILD, cpus, ms)

    @staticmethod
    def engine():
        """None, or why this machine has no ring for the generator."""
        asked = subprocess.run(
            [os.path.join(BUILD, "loadgen"), "--engine", "uring", "--port",
             "1", "--quiet"], capture_output=True, text=True, check=False,
            timeout=30, stdin=subprocess.DEVNULL)
        return asked.stderr.strip() if asked.returncode == 77 else None

    # --- the server ---

    def start(self, server, address, cpus, **start):
        self.stop_server()
        stage = servers.Stage(server["name"],
                              os.path.join(BUILD, server["binary"]),
                              [*server["args"], "--host", address])
        stage.available()
        self.run = stage.start(cpus, **start)
        self.run.address = address
        return {"port": self.run.port, "pids": self.run.pids}

    def scrape(self):
        return self.run.scrape()

    def poll(self):
        return self.run.proc.poll()

    def stop_server(self):
        run, self.run = self.run, None
        if run:
            return {"status": run.stop(), "totals": run.totals}
        return None

    # --- a slice ---

    def prepare(self, args, cpus, crowd_s=0):
        """Starts a generator and lets it connect.  None; or what is left of
        one that ended instead."""
        self.drop()
        self.generator = subprocess.Popen(
            [os.path.join(BUILD, "loadgen"), *args], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, preexec_fn=servers.in_child(cpus))
        line = self.read_line(CONNECT_S + crowd_s)
        if line == b"connected":
            return None
        return self.remains(line + b"\n")

    def read_line(self, seconds):
        """The generator's first line, byte by byte: what follows stays."""
        out, line = self.generator.stdout.fileno(), b""
        until = time.monotonic() + seconds
        while not line.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0:
                raise servers.Failed("the generator was not connected within "
                                     f"{seconds:.0f} s")
            self.look()
            if select.select([out], [], [], min(left, 0.5))[0]:
                byte = os.read(out, 1)
                if not byte:
                    break
                line += byte
        return line.rstrip(b"\n")

    def look(self):
        """Ends all when nobody listens any more."""
        self.orders.fill(0)
        if self.orders.ended:
            raise Ended

    def go(self, in_ms, warmup, seconds, cpus, memory=False):
        start_ns = time.monotonic_ns() + int(in_ms * 1e6)
        if self.generator:
            try:
                self.generator.stdin.write(f"{start_ns}\n".encode())
                self.generator.stdin.flush()
            except OSError:
                pass    # it has ended; collect() says how
        self.sampler = Sampler(start_ns + int(warmup * 1e9), seconds, cpus,
                               sorted(self.all_cpus),
                               self.run.pids if self.run else (), memory)
        self.sampler.start()

    def collect(self, within_s):
        """What the slice left: the generator's words and our samples."""
        found, until = {}, time.monotonic() + within_s
        while self.sampler.is_alive():
            self.look()
            self.sampler.join(0.2)
        if self.generator:
            found = self.remains(b"", until)
        return {**found, "sample": self.sampler.found}

    def remains(self, seen, until=None):
        proc, got = self.generator, None
        while got is None:
            self.look()
            try:
                got = proc.communicate(timeout=0.2)
            except subprocess.TimeoutExpired:
                if until and time.monotonic() > until:
                    self.drop()
                    raise servers.Failed(
                        "generator did not end in time") from None
        self.generator = None
        return {"stdout": (seen + got[0]).decode(errors="replace"),
                "stderr": got[1].decode(errors="replace"),
                "status": proc.returncode}

    def drop(self):
        proc, self.generator = self.generator, None
        if proc:
            slices.kill(proc)
            proc.stdout.close()
            proc.stdin.close()

    # --- all ---

    def obey(self, order):
        word = order.pop("order")
        return {"hello": self.hello, "try": self.try_program,
                "sha256": self.sha256, "describe": self.describe,
                "stay_off": self.stay_off, "calibrate": self.calibrate,
                "engine": self.engine, "start": self.start,
                "scrape": self.scrape, "poll": self.poll,
                "stop": self.stop_server, "prepare": self.prepare,
                "go": self.go, "collect": self.collect,
                "drop": self.drop}[word](**order)

    def end(self):
        self.drop()
        self.stop_server()


def main():
    inherit.clean()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))    # by way of finally
    here = FarEnd(Orders())
    try:
        while True:
            order = here.orders.next()
            try:
                answer({"ok": here.obey(order)})
            except servers.Skipped as err:
                answer({"error": "skipped", "text": str(err)})
            except (servers.Failed, results.ResultError) as err:
                answer({"error": "failed", "text": str(err)})
            except slices.Aborted as err:
                answer({"error": "aborted", "text": str(err)})
            except OSError as err:
                answer({"error": "failed", "text": str(err)})
    except (Ended, KeyboardInterrupt):
        pass
    finally:
        here.end()
        # Only what was unpacked for this run, by its name.
        if os.path.basename(ROOT).startswith("ioladder-far."):
            shutil.rmtree(ROOT, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
