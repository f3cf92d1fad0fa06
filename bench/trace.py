#!/usr/bin/python3
"""Asks a running server a question: trace.py QUESTION... --stage N | --pid P

  calls     how long do its system calls take, and which are slow?   (bpftrace)
  cores     on which cpus do its threads run, how long do they wait for one?
                                                                 (bpftrace)
  batches   how much does one wait bring, one enter complete?        (probes)
  ready     how long is a connection ready before it runs, by path?  (probes)
  steals    which worker takes connections from which?               (probes)
  states    what does each worker do, over time?  --svg draws it     (probes)
  offcpu    where does it sleep, by stack?                           (perf)
  flame     where does it spend CPU, by stack?  --svg draws it       (perf)

With --stage (a number, or a variant's name) the server is started, and load
runs beside it; --plant PATH adds a connection that asks for PATH all the time.
With --pid it watches a server of ours that has its own load.  Several questions
are asked at the same time.  docs/tracing.md shows what is seen.

Needs root, tracefs, and bpftrace or perf; the questions about probes a build
with <sys/sdt.h>.  What is missing is said, and the exit status is 77.
"""

import argparse
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(HERE, "trace"), os.path.join(ROOT, "plots")]

import answers                                              # noqa: E402
import inherit                                              # noqa: E402
import servers                                              # noqa: E402
import folded                                        # noqa: E402

USAGE, SKIP = 64, 77
QUESTIONS = ("calls", "cores", "batches", "ready", "steals", "states",
             "offcpu", "flame")
BY_PERF = ("offcpu", "flame")
MOST_S = 60.0
BEGIN_S = 30.0      # until a tracer has attached, at most
SETTLE_S = 0.3      # from its first event until all its probes are there
BLOCK = re.compile(r"^usdt:\*:ioladder:(\w+)\n(?:/.*/\n)?\{\n(?:.*\n)*?\}\n",
                   re.M)


class Refused(Exception):
    """It cannot be asked here; the text says why."""


# ------------------------------------------------------------------ tracers

def reason_not(tool, uid=None, tracefs="/sys/kernel/tracing"):
    """Why this tool cannot trace here; None: it may."""
    if (os.geteuid() if uid is None else uid) != 0:
        return f"{tool} may trace for root only"
    if not shutil.which(tool):
        return f"{tool} is not installed (make deps-trace)"
    if not os.path.isdir(os.path.join(tracefs, "events")):
        return ("no tracefs: mount -t tracefs nodev /sys/kernel/tracing")
    return None


def probes_of(binary):
    """The names of the static probes in a file."""
    done = subprocess.run(
        ["bpftrace", "-l", f"usdt:{binary}:ioladder:*"], capture_output=True,
        text=True, check=False)
    return {line.rsplit(":", 1)[1] for line in done.stdout.split()
            if ":ioladder:" in line}


def program_for(text, probes):
    """A script without the blocks of probes that the server does not have."""
    return BLOCK.sub(lambda m: m.group() if m.group(1) in probes else "", text)


class Bpftrace:
    """One script of trace/, which prints `seen` at its first event."""

    def __init__(self, name, pid, args):
        self.name, self.pid = name, pid
        script = os.path.join(HERE, "trace", f"{name}.bt")
        with open(script, encoding="utf-8") as f:
            text = f.read()
        argv = ["bpftrace", "-q", "-f", "json"]
        if "usdt:" in text:
            binary = os.path.realpath(f"/proc/{pid}/exe")
            probes = probes_of(binary)
            needed = {"steals": "steal", "ready": "run"}.get(name, "park")
            if not probes:
                raise Refused(f"{binary} was built without probes: make deps, "
                              "make clean, make")
            if needed not in probes:
                raise Refused(f"{name}: this stage has no probe {needed}")
            text = program_for(text, probes)
            argv += ["-p", str(pid)]
        self.program = tempfile.NamedTemporaryFile("w", suffix=".bt")
        self.program.write(text)
        self.program.flush()
        self.out = tempfile.NamedTemporaryFile()
        self.log = tempfile.TemporaryFile()
        words = {"calls": [str(pid), str(args.slow_us)],
                 "cores": [str(pid)],
                 "states": [str(int(args.bucket_ms * 1000))]}.get(name, [])
        self.process = subprocess.Popen(
            [*argv, "-o", self.out.name, self.program.name, *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=self.log, start_new_session=True,
            env={**os.environ, "BPFTRACE_MAP_KEYS_MAX": "65536"},
            preexec_fn=servers.in_child(os.sched_getaffinity(0)))

    def says(self, word):
        if self.process.poll() is not None:
            raise Refused(f"{self.name}: {self.last_words()}")
        with open(self.out.name, encoding="utf-8", errors="replace") as f:
            return word in f.read()

    def last_words(self):
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").splitlines()
        told = [line for line in lines if "RLIMIT_MEMLOCK" not in line]
        wrong = [line for line in told if "ERROR" in line.upper()] or told
        return f"bpftrace: {wrong[0] if wrong else 'it ended'}"

    def attached(self):
        return self.says("counting")

    def seen(self):
        return self.says("seen")

    def stop(self):
        """The lines that it wrote, as objects."""
        end_process(self.process)
        with self.out, open(self.out.name, encoding="utf-8",
                            errors="replace") as f:
            return answers.objects(f.read())


class Perf:
    """perf record, for one process; its stacks are unwound afterwards."""

    def __init__(self, name, pid, args):
        self.name, self.pid = name, pid
        self.data = tempfile.NamedTemporaryFile(suffix=".perf")
        argv = ["perf", "record", "-q", "--call-graph", "dwarf,4096",
                "-m", "1024", "-o", self.data.name]
        if name == "flame":
            argv += ["-e", "cpu-clock", "-F", str(args.hertz), "-p", str(pid)]
        else:
            names = sorted(set(folded.threads_of(pid).values()))
            argv += ["-a", "-e", "sched:sched_switch", "--filter",
                     " || ".join(f'prev_comm == "{n}" || next_comm == "{n}"'
                                 for n in names)]
        self.tids = set(folded.threads_of(pid))
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=self.log, start_new_session=True,
            preexec_fn=servers.in_child(os.sched_getaffinity(0)))

    def attached(self):
        if self.process.poll() is not None:
            self.log.seek(0)
            text = self.log.read().decode(errors="replace").strip()
            raise Refused(f"{self.name}: perf: "
                          f"{text.splitlines()[-1] if text else 'it ended'}")
        return os.path.getsize(self.data.name) > 0

    def seen(self):
        return True     # it says nothing; no sample at all is told at the end

    def stop(self):
        """{stack: weight}"""
        self.tids |= set(folded.threads_of(self.pid))
        end_process(self.process)
        done = subprocess.run(
            ["perf", "script", "-i", self.data.name, "--no-inline", "--ns",
             "-F", "comm,tid,time,event,ip,sym"
             + (",trace" if self.name == "offcpu" else "")],
            capture_output=True, text=True, errors="replace", check=False)
        self.data.close()
        samples = folded.samples(done.stdout)
        if self.name == "flame":
            return folded.fold(samples)
        return folded.off_cpu(samples, self.tids)


def end_process(process):
    process.send_signal(signal.SIGINT)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# ------------------------------------------------------------- server, load

class Asker(threading.Thread):
    """One connection that asks for a path again and again."""

    def __init__(self, port, path, pause_s=0.0):
        super().__init__(daemon=True)
        self.port, self.path, self.pause_s = port, path, pause_s
        self.over = threading.Event()
        self.answered = 0

    def run(self):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self.over.is_set():
            try:
                conn.request("GET", self.path)
                conn.getresponse().read()
                self.answered += 1
            except (OSError, http.client.HTTPException):
                conn.close()
                self.over.wait(0.1)
            self.over.wait(self.pause_s)
        conn.close()


class Scene:
    """A server of ours with load, or a process that is there already."""

    def __init__(self, args):
        self.args, self.run, self.load, self.askers = args, None, None, []
        self.pid = args.pid
        if args.stage:
            known = servers.catalogue(ROOT, args.build)
            name = f"stage{args.stage}" if args.stage.isdigit() else args.stage
            if name not in known:
                raise ValueError(f"no stage or variant {args.stage!r}")
            known[name].available()
            self.run = known[name].start(os.sched_getaffinity(0),
                                         extra=args.server_args)
            self.pid = self.run.pids[0]
        elif not os.path.isdir(f"/proc/{args.pid}"):
            raise ValueError(f"no process {args.pid}")

    def ask(self, path, pause_s):
        if self.run:
            self.askers.append(Asker(self.run.port, path, pause_s))
            self.askers[-1].start()

    def begin(self):
        """The load, and what is planted; `/` all the time, to be seen."""
        self.ask("/", 0.02)
        for path in self.args.plant:
            self.ask(path, 0.0)

    def watch(self):
        """For the seconds that were asked for; the load ends before the tracer
        does, so that all of a request is counted or nothing."""
        end = time.monotonic() + self.args.seconds
        if self.run and self.args.load:
            self.load = subprocess.Popen(
                [os.path.join(self.args.build, "loadgen"), "--quiet",
                 "--port", str(self.run.port), "--warmup", "0",
                 "--duration", f"{self.args.seconds:g}",
                 *self.args.load],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                preexec_fn=servers.in_child(os.sched_getaffinity(0)))
        time.sleep(max(0.0, end - time.monotonic()))
        if self.load:
            try:
                self.load.wait(10)
            except subprocess.TimeoutExpired:
                pass    # end() sees to it

    def end(self):
        for asker in self.askers:
            asker.over.set()
        if self.load:
            if self.load.poll() is None:
                self.load.terminate()
            self.load.wait()
        if self.run:
            self.run.stop()


# --------------------------------------------------------------------- main

def await_all(tools, ready, what):
    end = time.monotonic() + BEGIN_S
    while not all(ready(tool) for tool in tools):
        if time.monotonic() > end:
            raise Refused(what)
        time.sleep(0.05)


def ask(args):
    """{question: what its tool found}"""
    for name in args.questions:
        why = reason_not("perf" if name in BY_PERF else "bpftrace")
        if why:
            raise Refused(f"{name}: {why}")
    scene, tools = Scene(args), []
    try:
        scene.begin()
        for name in args.questions:
            make = Perf if name in BY_PERF else Bpftrace
            tools.append(make(name, scene.pid, args))
        await_all(tools, lambda tool: tool.attached(),
                  f"no tracer attached in {BEGIN_S:g} s")
        if scene.run:
            await_all(tools, lambda tool: tool.seen(),
                      "attached, and no request of our own was seen: in a "
                      "container, the kernel knows the server by another pid")
        time.sleep(SETTLE_S)
        scene.watch()
        found = {tool.name: tool.stop() for tool in tools}
        tools = []
        return found
    finally:
        for tool in tools:
            end_process(tool.process)
        scene.end()


def parse(argv):
    p = argparse.ArgumentParser(
        description=__doc__.partition("\n\n")[2], usage=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    p.error = lambda why: (print(f"trace.py: {why}", file=sys.stderr),
                           sys.exit(USAGE))
    p.add_argument("questions", nargs="+", choices=QUESTIONS,
                   metavar="QUESTION")
    p.add_argument("--stage", metavar="N")
    p.add_argument("--pid", type=int, metavar="P")
    p.add_argument("--seconds", type=float, default=2.0, metavar="S",
                   help=f"to watch, at most {MOST_S:g} (2)")
    p.add_argument("--load", type=shlex.split, metavar="ARGS",
                   default=["--connections", "16"],
                   help="for build/loadgen ('--connections 16'); '' is none")
    p.add_argument("--server-args", type=shlex.split, default=[],
                   metavar="ARGS", help="for the server")
    p.add_argument("--plant", action="append", default=[], metavar="PATH")
    p.add_argument("--slow-us", type=int, default=1000, metavar="US",
                   help="calls: what counts as slow (1000)")
    p.add_argument("--bucket-ms", type=float, default=20.0, metavar="MS",
                   help="states: the width of a column (20)")
    p.add_argument("--hertz", type=int, default=499, metavar="HZ",
                   help="flame: samples a second and cpu (499)")
    p.add_argument("--svg", metavar="FILE", help="states, flame: the picture")
    p.add_argument("--folded", metavar="FILE",
                   help="offcpu, flame: stacks, one a line with its weight")
    p.add_argument("--json", metavar="FILE", help="what was found")
    p.add_argument("--build", default=os.path.join(ROOT, "build"))
    args = p.parse_args(argv)
    if bool(args.stage) == bool(args.pid):
        p.error("one of --stage and --pid is needed")
    if not 0 < args.seconds <= MOST_S:
        p.error(f"--seconds is above 0, and at most {MOST_S:g}")
    if args.bucket_ms < 1 or args.slow_us < 1 or not 1 <= args.hertz <= 5000:
        p.error("--bucket-ms and --slow-us are at least 1, --hertz at most "
                "5000")
    if len(set(args.questions)) < len(args.questions):
        p.error("a question is there twice")
    if args.svg and len({"states", "flame"} & set(args.questions)) != 1:
        p.error("--svg draws one of states and flame")
    if args.folded and len(set(BY_PERF) & set(args.questions)) != 1:
        p.error("--folded is for one of offcpu and flame")
    return args


def main(argv):
    args = parse(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        found = ask(args)
    except (Refused, servers.Skipped) as why:
        print(f"trace.py: {why}", file=sys.stderr)
        return SKIP
    except (ValueError, servers.Failed) as why:
        print(f"trace.py: {why}", file=sys.stderr)
        return USAGE if isinstance(why, ValueError) else 1
    told = {}
    for name in args.questions:
        told[name] = answers.understand(name, found[name], args)
        print(f"{name}:")
        print("\n".join("  " + line if line else "" for line in
                        answers.tell(name, told[name], args)))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(told, f, indent=1)
    return 0


if __name__ == "__main__":
    inherit.clean()
    sys.exit(main(sys.argv[1:]))
