#!/usr/bin/python3
"""System calls of a process by name: syscalls.py PID SECONDS

Tried in this order, the first that works is used and named in the result:
  perf      tracepoints counted in the kernel, under 2 % of slow-down
  bpftrace  the same through trace/syscalls.bt
  strace    stops the process twice a call: right counts, wrong speed
What none of them may do (no tracefs, no ptrace) the runner replaces by the
server's own counters from /metrics.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import inherit

HERE = os.path.dirname(os.path.abspath(__file__))

# Counted by name; all others together are "other".  Each costs an event for
# each thread, so it is the list of what a server may do, not of all calls.
NAMES = """read write readv writev pread64 pwrite64 recvfrom sendto recvmsg
sendmsg sendfile64 splice epoll_wait epoll_pwait epoll_pwait2 epoll_ctl poll
ppoll select accept accept4 close shutdown setsockopt openat openat2 newfstat
newfstatat statx fcntl futex clone clone3 mmap munmap madvise mprotect
clock_gettime clock_nanosleep nanosleep sched_yield tgkill rt_sigprocmask
io_uring_enter io_uring_register""".split()


def tracepoints():
    """The names above that this kernel has as tracepoints."""
    if not shutil.which("perf"):
        return []
    done = subprocess.run(["perf", "list", "--no-desc", "syscalls:sys_enter_*"],
                          capture_output=True, text=True, check=False)
    known = set(re.findall(r"syscalls:sys_enter_(\w+)", done.stdout))
    return [name for name in NAMES if name in known]


def call_names():
    """{number: name} from the compiler's headers; {} without a compiler."""
    cc = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not cc:
        return {}
    done = subprocess.run(
        [cc, "-E", "-dM", "-include", "sys/syscall.h", "-xc", os.devnull],
        capture_output=True, text=True, check=False)
    return {int(number): name for name, number in
            re.findall(r"^#define __NR_(\w+) (\d+)$", done.stdout, re.M)}


class Tool:
    """A tracer that is started, left alone, and ended with SIGINT."""

    name = ""
    attach_s = 5.0   # at most, until it has attached

    def command(self, pids, out):
        raise NotImplementedError

    def parse(self, text):
        raise NotImplementedError

    def start(self, pids):
        self.out = tempfile.NamedTemporaryFile(prefix="ioladder-trace-")
        try:
            self.proc = subprocess.Popen(
                self.command(pids, self.out.name), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True)
        except OSError:
            self.out.close()
            return False
        end = time.monotonic() + self.attach_s
        while self.proc.poll() is None and time.monotonic() < end:
            if self.attached(pids):
                return True
            time.sleep(0.05)
        # It ended at once (not allowed, or no such event), or never began.
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        self.out.close()
        return False

    def attached(self, pids):
        """True once it counts: a call before that would be missed."""
        raise NotImplementedError

    def stop(self):
        """{name: calls}, or None."""
        self.proc.send_signal(signal.SIGINT)
        try:
            self.proc.wait(10)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        with self.out, open(self.out.name, encoding="utf-8",
                            errors="replace") as f:
            return self.parse(f.read()) or None


class Perf(Tool):
    name = "perf"

    def __init__(self):
        self.names = tracepoints()
        self.opened = 0

    def attached(self, pids):
        # It opens an event a thread and enables them when all are open: so
        # when their number has stopped growing.
        before, self.opened = self.opened, 0
        fds = f"/proc/{self.proc.pid}/fd"
        try:
            for fd in os.listdir(fds):
                target = os.readlink(os.path.join(fds, fd))
                self.opened += "perf_event" in target
        except OSError:
            return False
        return self.opened > len(self.names) and self.opened == before

    def command(self, pids, out):
        events = ["raw_syscalls:sys_enter"]
        events += [f"syscalls:sys_enter_{name}" for name in self.names]
        return ["perf", "stat", "-x,", "-o", out, "-e", ",".join(events),
                "-p", ",".join(map(str, pids))]

    def parse(self, text):
        calls, total = {}, None
        for line in text.splitlines():
            fields = line.split(",")
            if len(fields) < 3 or not fields[0].isdigit():
                continue
            count, event = int(fields[0]), fields[2]
            if event == "raw_syscalls:sys_enter":
                total = count
            elif count:
                calls[event.replace("syscalls:sys_enter_", "")] = count
        if not total:
            return None
        other = total - sum(calls.values())
        if other > 0:
            calls["other"] = other
        return calls


class Bpftrace(Tool):
    name = "bpftrace"

    def start(self, pids):
        self.began = time.monotonic()
        return super().start(pids)

    def attached(self, pids):
        # It does not say when; it compiles its program first.
        return time.monotonic() > self.began + 2.5

    def command(self, pids, out):
        return ["bpftrace", "-q", "-f", "json", "-o", out,
                os.path.join(HERE, "trace", "syscalls.bt"), str(pids[0])]

    def parse(self, text):
        names = call_names()
        for line in text.splitlines():
            try:
                found = json.loads(line).get("data", {}).get("@calls")
            except (json.JSONDecodeError, AttributeError):
                continue
            if found:
                return {names.get(int(n), f"call_{n}"): count
                        for n, count in found.items()}
        return None


class Strace(Tool):
    name = "strace"

    def attached(self, pids):
        for pid in pids:
            with open(f"/proc/{pid}/status", encoding="ascii") as f:
                if re.search(r"^TracerPid:\s*0$", f.read(), re.M):
                    return False
        return True

    def command(self, pids, out):
        argv = ["strace", "-c", "-f", "-q", "-o", out]
        for pid in pids:
            argv += ["-p", str(pid)]
        return argv

    def parse(self, text):
        calls = {}
        for line in text.splitlines():
            match = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?"
                             r"(\w+)$", line)
            if match and match.group(2) != "total":
                calls[match.group(2)] = int(match.group(1))
        return calls


TOOLS = {"perf": Perf, "bpftrace": Bpftrace, "strace": Strace}


def attach(pids, order=("perf", "bpftrace", "strace")):
    """A started tracer, or None when none may trace these processes."""
    for name in order:
        if not shutil.which(name):
            continue
        tool = TOOLS[name]()
        if tool.start(pids):
            return tool
    return None


def tool_main(usage, attach_to, refused, show):
    """PID SECONDS: a tool's whole program.  show(tool, counts, seconds)."""
    inherit.clean()
    if len(sys.argv) != 3 or not sys.argv[1].isdigit():
        print(usage, file=sys.stderr)
        return 64
    try:
        seconds = float(sys.argv[2])
    except ValueError:
        print("SECONDS is not a number", file=sys.stderr)
        return 64
    if not os.path.isdir(f"/proc/{sys.argv[1]}"):
        print(f"no process {sys.argv[1]}", file=sys.stderr)
        return 1
    tool = attach_to([int(sys.argv[1])])
    if not tool:
        print(refused, file=sys.stderr)
        return 77
    try:
        time.sleep(seconds)
    finally:
        counts = tool.stop()
    show(tool, counts or {}, seconds)
    return 0


def show_calls(tool, calls, seconds):
    for name, count in sorted(calls.items(), key=lambda kv: -kv[1]):
        print(f"{count:12d}  {name}")
    print(f"counted by {tool.name} for {seconds:g} s", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(tool_main(__doc__.strip().splitlines()[0], attach,
                       "neither perf, bpftrace nor strace may trace it",
                       show_calls))
