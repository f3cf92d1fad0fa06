"""One test under gdb, in the student's own terminal: make grade LAB=2
TEST=step1/echo GDB=1.

A linked lab's test runs under gdbserver, which Criterion starts for it.  A
server's pid must stay its own, because the tests look at it and send signals
to it: so it waits before it becomes the server (hold.py), and gdb attaches
to it.

There is no sandbox here, so this is for one's own code only.
"""

import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from . import sandbox

HOLD = os.path.join(sandbox.HERE, "hold.py")
SCALE = 1000.0      # of all time limits: a person thinks
PACKAGES = {"gdb": "gdb", "gdbserver": "gdbserver"}
QUIET = ["set pagination off", "set breakpoint pending on", "set sysroot /",
         "handle SIGCONT SIGTERM SIGUSR1 SIGUSR2 SIGPIPE nostop noprint pass"]


def gdb(*commands):
    words = ["gdb", "-q"]
    for command in QUIET + list(commands):
        words += ["-ex", command]
    return words


class Debugger(sandbox.Sandbox):
    """Runs as `none` does; once it is armed, with gdb beside it."""

    def __init__(self):
        super().__init__("none")
        missing = [p for t, p in PACKAGES.items() if not shutil.which(t)]
        if missing:
            raise sandbox.SandboxError("debugging needs the packages "
                                       + ", ".join(missing))
        self.armed = False

    def server_script(self, program, report_folder, limits):
        hold = shlex.join([sys.executable, HOLD, program])
        return f'#!/bin/sh\nexec {hold} "$@"\n'

    def run(self, argv, limits=sandbox.Limits(), ro=(), rw=(), cwd="/",
            env=None, staff=False):
        if not self.armed:
            return super().run(argv, limits, ro, rw, cwd, env, staff)
        argv, port = list(argv), free_port()
        if not staff:
            argv += ["--debug=gdb", f"--debug-transport=tcp:{port}"]
        began = time.monotonic()
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is gdb's
        with tempfile.TemporaryFile() as out:
            process = subprocess.Popen(
                self.command(argv, limits, ro, rw, cwd, env), stdout=out,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True)
            try:
                if staff:
                    attach(process)
                else:
                    subprocess.run(gdb(f"file {argv[0]}",
                                       f"target remote localhost:{port}"),
                                   check=False)
                process.wait(10)
            except subprocess.TimeoutExpired:
                pass        # the person has left gdb: the test ends, too
            finally:
                self._end(process)
                signal.signal(signal.SIGINT, before)
            out.seek(0)
            text = out.read().decode("utf-8", errors="replace")
        return sandbox.Outcome(process.returncode,
                               time.monotonic() - began, text)


def free_port():
    """One that the kernel hands out to nobody: seconds pass until gdbserver
    binds it."""
    with open("/proc/sys/net/ipv4/ip_local_port_range",
              encoding="ascii") as f:
        first = int(f.read().split()[0])
    for _ in range(100):
        port = random.randrange(5000, max(first, 32768))
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise sandbox.SandboxError("no port for gdbserver is free")


def held(pid):
    """Does it wait for a debugger?"""
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8",
                  errors="replace") as f:
            words = f.read().split("\0")
        return words[1:2] == [HOLD] and words[0] == sys.executable
    except OSError:
        return False


def attach(process):
    """gdb on each server that the test starts, one after the other."""
    while process.poll() is None:
        for pid in filter(held, sandbox.tree(process.pid)):
            subprocess.run(gdb(f"attach {pid}", "tcatch exec", "continue"),
                           check=False)
            if held(pid):       # gdb could not, and has said why
                os.kill(pid, signal.SIGKILL)
        time.sleep(sandbox.POLL_S)
