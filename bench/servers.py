"""Starting and stopping what is measured: our stages, and peers beside them.

Every server is started afresh for every slice, pinned, in a session of its
own (so that Ctrl-C in the terminal reaches only the runner, which then stops
it in order), and dies with the runner even if that is killed outright.
"""

import ctypes
import functools
import glob
import http.client
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

READY = re.compile(rb"listening on (?:\S*:)?(\d+)\s")
START_S = 10.0
STOP_S = 7.0   # longer than the servers' own drain time
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class Skipped(Exception):
    """The server cannot run on this machine; the text says why."""


class Failed(Exception):
    """The server should have run and did not."""


@functools.lru_cache(maxsize=1)
def may_go_first():
    """Whether this process may ask for real-time priority."""
    test = ("import os; os.sched_setscheduler(0, os.SCHED_FIFO, "
            "os.sched_param(1))")
    return subprocess.run([sys.executable, "-S", "-c", test], check=False,
                          capture_output=True).returncode == 0


def in_child(cpus, death_signal=signal.SIGKILL, first=False):
    """What to do between fork and exec: pin, and be bound to the parent.

    first: a priority above all ordinary threads, where that is allowed.
    """
    parent = os.getpid()

    def prepare():
        _libc.prctl(PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:   # it died before the line above
            os._exit(1)
        os.sched_setaffinity(0, cpus)
        if first:
            try:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            except OSError:
                pass    # the row says so: shared_note() in slices.py
    return prepare


def stop_process(proc, patience=STOP_S):
    """SIGTERM, then SIGKILL to its whole group; returns the exit status."""
    if proc.poll() is None:
        proc.send_signal(signal.SIGTERM)
        try:
            proc.wait(patience)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(proc.pid, signal.SIGKILL)   # its pid is its group's
    except (ProcessLookupError, PermissionError):
        pass
    return proc.wait()


class Running:
    """One server process, ready to be measured."""

    def __init__(self, proc, log, directory=None):
        self.proc, self.log, self.directory = proc, log, directory
        self.port, self.address = None, "127.0.0.1"
        self.pids = [proc.pid]
        self.totals = {}    # its counters over its whole life, at its end

    def scrape(self):
        return scrape(self.port, self.address)

    def lines(self):
        """What it wrote to stderr."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace").strip().splitlines()

    def reason(self):
        """The last line of it."""
        lines = self.lines()
        return lines[-1].strip() if lines else "no message"

    def stop(self):
        """Ends it; returns its exit status."""
        try:
            status = stop_process(self.proc)
            self.totals = totals_of(self.lines())
            return status
        finally:
            if self.proc.stdout:
                self.proc.stdout.close()
            self.log.close()
            if self.directory:
                self.directory.cleanup()


def scrape(port, address="127.0.0.1"):
    """/metrics as {name: sum over the workers}; None if it cannot be had."""
    connection = http.client.HTTPConnection(address, port, timeout=3)
    try:
        connection.request("GET", "/metrics", headers={"Connection": "close"})
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        if response.status != 200:
            return None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    sums = {}
    for line in text.splitlines():
        if line.startswith("ioladder_"):
            name, _, value = line.rpartition(" ")
            name = name.partition("{")[0][len("ioladder_"):]
            if name.endswith("_total"):
                name = name[:-len("_total")]
            try:
                sums[name] = sums.get(name, 0) + float(value)
            except ValueError:
                return None
    return sums


def totals_of(lines):
    """{counter: value} of the line that a stage writes when it is done."""
    for line in reversed(lines):
        words = line.partition(": done:")[2].split()
        if words and all(w.isdigit() for w in words[1::2]):
            return dict(zip(words[::2], map(int, words[1::2])))
    return {}


def spawn(argv, cpus, env=None, stdout=subprocess.PIPE, death=signal.SIGKILL,
          directory=None):
    log = tempfile.TemporaryFile()
    try:
        proc = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=log,
            env=env, start_new_session=True,
            preexec_fn=in_child(cpus, death))
    except OSError as err:
        log.close()
        raise Failed(f"{os.path.basename(argv[0])}: {err.strerror}") from None
    return Running(proc, log, directory)


def await_line(run, name):
    """Reads the ready line; sets run.port."""
    fd = run.proc.stdout.fileno()
    os.set_blocking(fd, False)
    end, seen = time.monotonic() + START_S, b""
    while time.monotonic() < end:
        try:
            piece = os.read(fd, 4096)
        except BlockingIOError:
            piece = None
        if piece:
            seen += piece
        match = READY.search(seen)
        if match:
            run.port = int(match.group(1))
            return
        if piece == b"":
            break
        time.sleep(0.005)
    status = run.proc.poll() if piece != b"" else run.proc.wait(START_S)
    if status == 77:
        raise Skipped(run.reason())
    if status is None:
        raise Failed(f"{name}: not ready within {START_S:.0f} s")
    raise Failed(f"{name}: ended with status {status}: {run.reason()}")


class Stage:
    """One of our servers: a stage or a variant of one, with arguments."""

    kind = "stage"
    added = False    # on the command line, so meant for every suite
    variant = False  # of stages/variants: measured where it is named
    routes = ("",)   # what it answers: these paths, and all below them

    def __init__(self, name, binary, args=()):
        self.name, self.binary, self.args = name, binary, list(args)

    def available(self):
        if not os.access(self.binary, os.X_OK):
            raise Skipped(f"{os.path.basename(self.binary)} is not built "
                          f"(make{' variants' if self.variant else ''})")

    def answers(self, path):
        return any(path == route or path.startswith(route + "/")
                   for route in self.routes)

    def placed(self, words):
        """(binary, words) for words that may hold --place HOW.  Stage 6 has
        that switch; stage 5 has a variant for each HOW but hash."""
        if os.path.basename(self.binary) != "stage5" or \
                "--place" not in words:
            return self.binary, words
        at = words.index("--place")
        how, rest = words[at + 1], words[:at] + words[at + 2:]
        if how == "hash":
            return self.binary, rest
        binary = os.path.join(os.path.dirname(self.binary), "variants",
                              f"5-place-{how}")
        if not os.access(binary, os.X_OK):
            raise Skipped(f"5-place-{how} is not built (make variants)")
        return binary, rest

    def start(self, cpus, app="http", extra=(), root=None, workers=None):
        binary, words = self.placed([*self.args, *extra])
        argv = [binary, "--port", "0", "--app", app]
        if workers is not None:
            argv += ["--workers", str(workers)]
        argv += words
        run = spawn(argv, cpus)
        try:
            await_line(run, self.name)
        except BaseException:
            run.stop()
            raise
        return run


def catalogue(root, build):
    """{name: server}: the stages and their variants."""
    found = {}
    for number in range(1, 7):
        binary = os.path.join(build, f"stage{number}")
        source = os.path.join(root, "stages", f"{number}-*", "server.c")
        if os.path.exists(binary) or glob.glob(source):
            found[f"stage{number}"] = Stage(f"stage{number}", binary)
    for patch in sorted(glob.glob(os.path.join(root, "stages", "variants",
                                               "*.patch"))):
        name = os.path.basename(patch).removesuffix(".patch")
        found[name] = Stage(name, os.path.join(build, "variants", name))
        found[name].variant = True
    return found


def own_server(spec, catalogue_):
    """NAME=STAGE ARGS... or NAME=PATH ARGS...: a variant to compare."""
    name, _, command = spec.partition("=")
    words = shlex.split(command)
    if not re.fullmatch(r"[A-Za-z0-9_.+-]+", name) or not words:
        raise ValueError(f"{spec!r} is not NAME=STAGE ARGS")
    base = catalogue_.get(words[0])
    binary = base.binary if isinstance(base, Stage) else words[0]
    return Stage(name, binary, words[1:])
