#!/usr/bin/python3
"""Records four requests in one stage: record_timeline.py STAGE OUT.json

Four connections A to D are open and idle.  Then their requests are sent at
once: `/`, `/sleep/500`, `/`, `/`.  What every thread of the server does until
the last reply has arrived is recorded: system calls, waits, operations handed
to a ring and their completions, handlers.

perf records it from tracepoints of the kernel where that is allowed; else
strace does, which stops the server twice a call (right order, wrong length of
calls, no completions).  The file says which.  The burst is repeated, and the
one with the median length is kept.  Times are microseconds after the first
request was sent.  plots/timeline.py draws the file.
"""

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))

import inherit            # noqa: E402
import machine            # noqa: E402
import servers            # noqa: E402
import syscalls           # noqa: E402

SCHEMA = "ioladder-timeline/1"
PATHS = (("A", "/"), ("B", "/sleep/500"), ("C", "/"), ("D", "/"))
BURSTS = 21
PAUSE_S = 0.02      # between bursts: everything has come to rest
ANSWER_S = 5.0
EVENTS = ("raw_syscalls:sys_enter,raw_syscalls:sys_exit,sched:sched_switch,"
          "io_uring:io_uring_submit_req,io_uring:io_uring_complete")

# What the picture calls a system call; all others are "other".
KINDS = {"recvfrom": "recv", "read": "recv", "recvmsg": "recv",
         "sendto": "send", "write": "send", "sendmsg": "send",
         "epoll_wait": "wait", "epoll_pwait": "wait", "epoll_pwait2": "wait",
         "poll": "wait", "ppoll": "wait", "futex": "wait",
         "io_uring_enter": "enter", "clock_nanosleep": "handler"}


class Refused(Exception):
    """It cannot be recorded here; the text says why."""


# ------------------------------------------------------------------- client

class Client:
    """Four connections, and the clock of what was sent and answered."""

    def __init__(self, port, clock):
        self.clock = clock
        self.socks = {name: socket.create_connection(("127.0.0.1", port),
                                                     ANSWER_S)
                      for name, _ in PATHS}
        for sock in self.socks.values():
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @staticmethod
    def request(path):
        return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()

    def alone(self, name):
        """One request on one connection: (from, to) on the clock."""
        begin = self.clock()
        self.socks[name].sendall(self.request("/"))
        self.answer(name)
        return begin, self.clock()

    def answer(self, name):
        data = self.socks[name].recv(65536)
        while data and b"\r\n\r\n" not in data:
            data += self.socks[name].recv(65536)
        if not data.startswith(b"HTTP/1.1 200"):
            raise Refused(f"connection {name} was answered {data[:40]!r}")

    def burst(self):
        """{name: [sent, answered]} on the clock."""
        times = {}
        wanted = [(name, self.request(path)) for name, path in PATHS]
        for name, data in wanted:
            times[name] = [self.clock(), None]
            self.socks[name].send(data)
        waiting = select.epoll()
        for name, sock in self.socks.items():
            waiting.register(sock, select.EPOLLIN)
        names = {s.fileno(): name for name, s in self.socks.items()}
        left = set(times)
        while left:
            ready = waiting.poll(ANSWER_S)
            now = self.clock()
            if not ready:
                raise Refused(f"no answer on {', '.join(sorted(left))}")
            for fd, _ in ready:
                times[names[fd]][1] = now
                self.answer(names[fd])
                left.discard(names[fd])
        waiting.close()
        return times


# ------------------------------------------------------------------ tracers

def threads_of(pid):
    """{tid: name} of a process."""
    found = {}
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{tid}/comm", encoding="utf-8") as f:
                found[int(tid)] = f.read().strip()
        except OSError:
            pass
    return found


class Perf:
    """Tracepoints by perf, on CLOCK_MONOTONIC."""

    name = "perf"

    @staticmethod
    def clock():
        return time.monotonic_ns() / 1000

    def __init__(self, pid, tids):
        self.data = tempfile.NamedTemporaryFile(suffix=".perf")
        mine = " || ".join(f"common_pid == {t}" for t in tids)
        seen = " || ".join(f"prev_pid == {t} || next_pid == {t}" for t in tids)
        command = ["perf", "record", "-q", "-a", "-k", "CLOCK_MONOTONIC",
                   "-m", "2048", "-o", self.data.name]
        for event in EVENTS.split(","):
            command += ["-e", event, "--filter",
                        seen if "sched" in event else mine]
        self.names = syscalls.call_names()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)
        time.sleep(1.0)     # perf says nothing when it has begun
        if self.process.poll() is not None:
            text = self.process.stderr.read().decode(errors="replace").strip()
            raise Refused(f"perf: {text.splitlines()[-1] if text else 'ended'}")

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=30)

    def lines(self):
        done = subprocess.run(
            ["perf", "script", "-i", self.data.name, "--ns", "-F",
             "trace:comm,tid,time,event,trace"], capture_output=True,
            text=True, errors="replace", check=False)
        return done.stdout.splitlines()

    LINE = re.compile(r"\s*.*?\s(\d+)\s+(\d+\.\d+):\s+\w+:(\w+):\s*(.*)$")

    def events(self):
        """(us, tid, what, detail), in order; see parse_events()."""
        found = []
        for line in self.lines():
            match = self.LINE.match(line)
            if not match:
                continue
            tid, at = int(match.group(1)), float(match.group(2)) * 1e6
            what, rest = match.group(3), match.group(4)
            found += self.event(at, tid, what, rest)
        return sorted(found, key=lambda e: e[0])

    def event(self, at, tid, what, rest):
        if what == "sys_enter":
            call = re.match(r"NR (\d+) \(([^)]*)\)", rest)
            args = call.group(2).split(", ")
            name = self.names.get(int(call.group(1)), call.group(1))
            return [(at, tid, "enter", (name, args))]
        if what == "sys_exit":
            return [(at, tid, "exit", int(rest.rsplit("= ", 1)[1]))]
        if what == "sched_switch":
            out = int(re.search(r"prev_pid=(\d+)", rest).group(1))
            into = int(re.search(r"next_pid=(\d+)", rest).group(1))
            state = re.search(r"prev_state=(\S+)", rest).group(1)
            return [(at, out, "off", state), (at, into, "on", None)]
        key = re.search(r"user_data (\S+),", rest).group(1)
        if what == "io_uring_submit_req":
            op = re.search(r"opcode (\w+)", rest).group(1)
            return [(at, tid, "submit", (op, key))]
        result = int(re.search(r"result (-?\d+)", rest).group(1))
        return [(at, tid, "complete", (key, result))]


class Strace:
    """System calls by strace, on CLOCK_REALTIME."""

    name = "strace"

    @staticmethod
    def clock():
        return time.time_ns() / 1000

    def __init__(self, pid, tids):
        self.out = tempfile.NamedTemporaryFile(suffix=".strace")
        self.process = subprocess.Popen(
            ["strace", "-f", "-q", "-p", str(pid), "-o", self.out.name,
             "--absolute-timestamps=format:unix,precision:us",
             "--syscall-times=us"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 10
        while not all(self.traced(t) for t in tids):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                text = self.process.communicate()[1].decode(errors="replace")
                raise Refused(f"strace: {text.strip() or 'does not attach'}")
            time.sleep(0.05)

    @staticmethod
    def traced(tid):
        try:
            with open(f"/proc/{tid}/status", encoding="utf-8") as f:
                return "TracerPid:\t0\n" not in f.read()
        except OSError:
            return True

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=30)

    LINE = re.compile(r"(\d+)\s+(\d+\.\d+) (.*)$")
    CALL = re.compile(r"(\w+)\((.*?)(?:\)\s+= (-?\w+).*<([\d.]+)>| <unfin.*)$")
    REST = re.compile(r"<\.\.\. (\w+) resumed>.*= (-?\w+).*<([\d.]+)>$")

    def events(self):
        found = []
        with open(self.out.name, encoding="utf-8", errors="replace") as f:
            lines = f.read().splitlines()
        for line in lines:
            match = self.LINE.match(line)
            if match:
                found += self.event(int(match.group(1)),
                                    float(match.group(2)) * 1e6,
                                    match.group(3))
        return sorted(found, key=lambda e: e[0])

    def event(self, tid, at, text):
        rest = self.REST.match(text)
        if rest:
            return [(at, tid, "exit", self.number(rest.group(2)))]
        call = self.CALL.match(text)
        if not call:
            return []
        name, args = call.group(1), call.group(2).split(", ")
        events = [(at, tid, "enter", (name, args))]
        if call.group(3) is not None:
            took = float(call.group(4)) * 1e6
            events.append((at + took, tid, "exit", self.number(call.group(3))))
        return events

    @staticmethod
    def number(text):
        try:
            return int(text, 0)
        except ValueError:
            return 0


# ------------------------------------------------------------------- events

def learn(events, windows):
    """{descriptor or user_data: connection}, from requests sent one by one."""
    known = {}
    for at, _, what, detail in events:
        name = next((n for n, (a, b) in windows.items() if a <= at <= b), None)
        if not name:
            continue
        if what == "enter" and KINDS.get(detail[0]) in ("recv", "send"):
            known.setdefault("fd " + detail[1][0].split("<")[0], name)
        elif what == "submit" and detail[0] in ("RECV", "SEND", "READ_FIXED"):
            known.setdefault("op " + detail[1], name)
    return known


def spans_of(events, known, begin, end):
    """(spans, marks) of one thread between two times, relative to begin.

    A span is a system call or a handler: [from, to, kind, name, connection,
    [[off, on], ...]]; the last are the times without a processor.  Calls of
    the thread's own clock in a row are a handler that computes.
    """
    spans, marks, call, off = [], [], None, None
    for at, _, what, detail in events:
        us = at - begin
        if what == "enter":
            name, args = detail
            kind = KINDS.get(name, "other")
            conn = known.get("fd " + args[0].split("<")[0], "") \
                if kind in ("recv", "send") else ""
            if name in ("read", "write") and not conn:
                kind = "wait"       # an eventfd: a thread wakes another one
            call = [us, None, kind, name, conn, []]
        elif what == "exit" and call:
            if off is not None:
                call[5].append([off, us])
                off = None
            call[1] = us
            spans.append(call)
            call = None
        elif what == "off" and call and detail[0] in "SD":
            off = us
        elif what == "on" and off is not None:
            if call:
                call[5].append([off, us])
            off = None
        elif what == "submit":
            marks.append([us, "submit", detail[0],
                          known.get("op " + detail[1], "")])
        elif what == "complete":
            marks.append([us, "complete", "", known.get("op " + detail[0], "")])
    if call:            # it has not come back: it waits to the end
        if off is not None:
            call[5].append([off, end - begin])
        call[1] = end - begin
        spans.append(call)
    inside = [s for s in spans if s[1] >= -20 and s[0] <= end - begin]
    if not marks and not any(s[4] for s in spans):
        for span in inside:         # no connection ever runs here
            span[2] = "wait" if span[2] == "handler" else span[2]
    return (inside, [m for m in marks if 0 <= m[0] <= end - begin])


def rounded(value):
    if isinstance(value, float):
        return round(value, 1)
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return value


def timeline(events, threads, windows, bursts):
    """The burst of median length, as the file holds it."""
    known = learn(events, windows)
    length = sorted(bursts, key=lambda b: max(t[1] for t in b.values())
                    - b["A"][0])
    times = length[len(length) // 2]
    begin = times["A"][0]
    end = max(t[1] for t in times.values())
    lanes = []
    for tid, name in sorted(threads.items()):
        spans, marks = spans_of([e for e in events if e[1] == tid], known,
                                begin, end)
        lanes.append({"thread": name, "spans": rounded(spans),
                      "marks": rounded(marks)})
    return {
        "requests": [{"name": n, "path": p,
                      "sent_us": round(times[n][0] - begin, 1),
                      "answered_us": round(times[n][1] - begin, 1)}
                     for n, p in PATHS],
        "length_us": round(end - begin, 1),
        "lanes": lanes}


# --------------------------------------------------------------------- main

def server_of(stage):
    """The command of a stage; stages of several workers get two."""
    binary = os.path.join(ROOT, "build", f"stage{stage}")
    if not os.access(binary, os.X_OK):
        raise Refused(f"build/stage{stage} is not there: make builds it")
    command = [binary, "--port", "0"]
    return command + (["--workers", "2"] if stage >= 5 else [])


def start(stage):
    process = subprocess.Popen(server_of(stage), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE,
                               preexec_fn=servers.in_child(
                                   os.sched_getaffinity(0)))
    ready = servers.READY.search(process.stdout.readline())
    if not ready:
        raise Refused(process.communicate()[1].decode().strip())
    return process, int(ready.group(1))


def tracer_for(pid, tids, wanted):
    """The first tracer that works here."""
    reasons = []
    for kind in (Perf, Strace):
        if wanted and kind.name != wanted:
            continue
        if not shutil.which(kind.name):
            reasons.append(f"{kind.name}: not installed")
            continue
        try:
            return kind(pid, tids)
        except Refused as err:
            reasons.append(str(err))
    raise Refused("; ".join(reasons))


def record(stage, wanted=None):
    process, port = start(stage)
    socks = []
    try:
        client = Client(port, time.monotonic)
        socks += client.socks.values()
        for name, _ in PATHS:       # the first request of all reads files
            client.alone(name)
        threads = threads_of(process.pid)
        tracer = tracer_for(process.pid, list(threads), wanted)
        client.clock = tracer.clock
        try:
            windows = {}
            for name, _ in PATHS:
                windows[name] = client.alone(name)
                time.sleep(PAUSE_S)
            bursts = []
            for _ in range(BURSTS):
                bursts.append(client.burst())
                time.sleep(PAUSE_S)
        finally:
            tracer.stop()
    finally:
        for sock in socks:
            sock.close()
        process.terminate()
        process.communicate(timeout=10)
    found = timeline(tracer.events(), threads, windows, bursts)
    if not any(lane["spans"] for lane in found["lanes"]):
        raise Refused(f"{tracer.name} recorded nothing")
    return {"schema": SCHEMA, "stage": stage, "tool": tracer.name,
            "kernel": os.uname().release, "cpu": machine.cpu_model(),
            "when": time.strftime("%Y-%m-%d", time.gmtime()),
            "git": machine.git(ROOT), "bursts": BURSTS, **found}


def main(argv):
    if len(argv) not in (2, 3) or not re.fullmatch("[1-6]", argv[0]) \
            or (len(argv) == 3 and argv[2] not in ("perf", "strace")):
        print("usage: record_timeline.py STAGE OUT.json [perf|strace]",
              file=sys.stderr)
        return 64
    try:
        found = record(int(argv[0]), argv[2] if len(argv) == 3 else None)
    except Refused as err:
        print(f"timeline: {err}", file=sys.stderr)
        return 77
    folder = os.path.dirname(argv[1])
    if folder:
        os.makedirs(folder, exist_ok=True)
    with open(argv[1], "w", encoding="utf-8") as f:
        json.dump(found, f, indent=1)
        f.write("\n")
    print(f"{argv[1]}: stage {argv[0]}, {found['length_us']:.0f} us, "
          f"by {found['tool']}")
    return 0


if __name__ == "__main__":
    inherit.clean()
    sys.exit(main(sys.argv[1:]))
