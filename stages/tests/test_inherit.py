"""What a parent leaves behind: every program serves and stops all the same.

A parent may leave signals blocked or ignored, descriptors closed, limits low,
its folder removed ...  Each row of ODD is one of these; every server is
started under each, asked, and told to stop.
"""
import http.client
import os
import resource
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / os.environ.get("V", "")
STAGES = sorted(BUILD.glob("stage[1-9]"))
LOADGEN = BUILD / "loadgen"
MICRO = sorted(p.stem for p in (ROOT / "bench" / "micro").glob("*.c"))
SOON_S = 20
LISTEN = "0A"   # in /proc/net/tcp
MANY = 200      # descriptors that nobody closed


def no_cwd():
    gone = tempfile.mkdtemp(prefix="ioladder-gone-")
    os.chdir(gone)
    os.rmdir(gone)


def close_fds(*fds):
    for fd in fds:
        os.close(fd)


def ignore_all():
    for sig in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(sig, signal.SIG_IGN)


def open_many():
    """A low one, a high one, and many in the middle, all inherited."""
    null = os.open(os.devnull, os.O_RDWR)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for fd in [*range(300, 300 + MANY), soft - 1]:
        os.dup2(null, fd)


def limit(which, value):
    return lambda: resource.setrlimit(which, (value, value))


def broken_pipes():
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    os.dup2(writer, 2)


ODD = {
    "nothing odd": lambda: None,
    "every signal blocked": lambda: signal.pthread_sigmask(
        signal.SIG_SETMASK, signal.valid_signals()),
    "every signal ignored": ignore_all,
    "SIGPIPE as it is by default": lambda: signal.signal(signal.SIGPIPE,
                                                         signal.SIG_DFL),
    "stdin closed": lambda: close_fds(0),
    "stdout closed": lambda: close_fds(1),
    "stderr closed": lambda: close_fds(2),
    "0, 1 and 2 closed": lambda: close_fds(0, 1, 2),
    "nobody reads 1 and 2": broken_pipes,
    "many descriptors open": open_many,
    "96 descriptors": limit(resource.RLIMIT_NOFILE, 96),
    "files may not grow": limit(resource.RLIMIT_FSIZE, 0),
    "stacks of 64 KiB": limit(resource.RLIMIT_STACK, 64 << 10),
    "stacks without a limit": limit(resource.RLIMIT_STACK, -1),
    "no locked memory": limit(resource.RLIMIT_MEMLOCK, 0),
    "no queued signals": limit(resource.RLIMIT_SIGPENDING, 0),
    "umask 0777": lambda: os.umask(0o777),
    "folder removed": no_cwd,
    "one cpu": lambda: os.sched_setaffinity(
        0, {max(os.sched_getaffinity(0))}),
    "environment empty": None,      # see start()
    "nice 19": lambda: os.nice(19),
    "a session of its own": os.setsid,
}


# stdout leads nowhere there, so the ready line is not to be had.
MUTE = {"stdout closed", "0, 1 and 2 closed", "nobody reads 1 and 2"}


def standard_fds(pid):
    """Where 0, 1 and 2 of a process lead."""
    found = []
    for fd in range(3):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            found.append("closed")
    return found


def listening_port(pid):
    """The port it listens on, from /proc: stdout may be closed.  Or None."""
    try:
        inodes = {os.readlink(f"/proc/{pid}/fd/{fd}")
                  for fd in os.listdir(f"/proc/{pid}/fd")}
        table = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except FileNotFoundError:
        return None
    for row in (line.split() for line in table):
        if row[3] == LISTEN and f"socket:[{row[9]}]" in inodes:
            return int(row[1].split(":")[1], 16)
    return None


def ask(port, method, path, body=None):
    """(status, body) of one request, on a connection of its own."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=SOON_S)
    try:
        link.request(method, path, body)
        reply = link.getresponse()
        return reply.status, reply.read()
    finally:
        link.close()


class Inherit(unittest.TestCase):
    def setUp(self):
        top = tempfile.TemporaryDirectory(prefix="ioladder-inherit-")
        self.addCleanup(top.cleanup)
        self.top = Path(top.name)
        (self.top / "file").write_bytes(b"x" * 1000)
        self.err = self.top / "stderr"

    def start(self, argv, odd, group=None):
        """stderr goes to a file, which is shown when something fails."""
        env = {} if ODD[odd] is None else os.environ

        def prepare():
            if group:
                group.write_text(str(os.getpid()))
            if ODD[odd]:
                ODD[odd]()
        with open(self.err, "a", encoding="utf-8") as err:
            run = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=err,
                                   env=env, preexec_fn=prepare)
        self.addCleanup(run.stdout.close)
        self.addCleanup(run.wait)
        self.addCleanup(run.kill)
        return run

    def wait_for(self, run, look):
        end = time.monotonic() + SOON_S
        while time.monotonic() < end and run.poll() is None:
            found = look(run.pid)
            if found:
                return found
            time.sleep(0.005)
        if run.returncode == 77:
            self.skipTest(self.err.read_text())
        self.fail(f"{run.args}: status {run.poll()}, "
                  f"{self.err.read_text()}")

    def port_of(self, run, odd):
        line = b"" if odd in MUTE else run.stdout.readline()
        if b"listening on " in line:
            return int(line.rpartition(b":")[2])
        return self.wait_for(run, listening_port)

    def serves_and_stops(self, binary, odd):
        run = self.start([binary, "--port", "0", "--root", self.top], odd)
        port = self.port_of(run, odd)
        self.assertEqual(ask(port, "GET", "/")[0], 200)
        self.assertEqual(ask(port, "POST", "/echo", b"abc"), (200, b"abc"))
        self.assertEqual(ask(port, "GET", "/files/file"),
                         (200, b"x" * 1000))
        if odd != "nobody reads 1 and 2":
            for name in standard_fds(run.pid):
                self.assertRegex(name, f"/dev/null|{self.err}|pipe:")
        run.send_signal(signal.SIGTERM)
        try:
            status = run.wait(SOON_S)
        except subprocess.TimeoutExpired:
            self.fail("it does not stop on SIGTERM")
        self.assertEqual(status, 0, self.err.read_text())

    def test_servers(self):
        self.assertEqual(len(STAGES), 6)
        for binary in STAGES:
            for odd in ODD:
                with self.subTest(binary=binary.name, odd=odd):
                    self.serves_and_stops(binary, odd)

    def test_cpu_quota(self):
        """Half a cpu keeps one worker busy, whatever there are of cpus."""
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("one cpu")
        group = self.half_a_cpu()
        for binary in STAGES[4:]:
            run = self.start([binary, "--port", "0"], "nothing odd",
                             group / "cgroup.procs")
            self.port_of(run, "nothing odd")
            self.assertIn("1 workers", self.err.read_text())
            self.assertIn("a quota of 0.50", self.err.read_text())
            run.terminate()
            self.assertEqual(run.wait(SOON_S), 0)
            self.err.unlink()

    def half_a_cpu(self):
        """A control group of that kind, where one may be made."""
        for top, name in (("cpu", "cpu.cfs_quota_us"), (".", "cpu.max")):
            group = Path("/sys/fs/cgroup", top, f"ioladder-{os.getpid()}")
            try:
                group.mkdir()
            except OSError:
                continue
            self.addCleanup(group.rmdir)
            try:
                if (group / name).exists():
                    (group / name).write_text(
                        "50000" if name == "cpu.cfs_quota_us"
                        else "50000 100000")
                    return group
            except OSError:
                continue
        self.skipTest("no control group with a cpu limit can be made here")

    def test_loadgen(self):
        """With an idle crowd too: those are processes that it waits for."""
        server = self.start([STAGES[0], "--port", "0"], "nothing odd")
        port = self.port_of(server, "nothing odd")
        runs = {}
        for odd in ODD:     # all at once: it takes as long as one
            out = self.top / f"{odd}.json"
            out.touch(0o600)
            runs[odd] = self.start([LOADGEN, "--port", str(port),
                                    "--connections", "2", "--idle", "2",
                                    "--duration", "2", "--warmup", "0",
                                    "--json", out, "--quiet"], odd), out
        for odd, (run, out) in runs.items():
            with self.subTest(odd=odd):
                status = run.wait(SOON_S)
                if odd == "files may not grow":
                    self.assertEqual(status, 2)
                    continue
                self.assertEqual(status, 0, self.err.read_text())
                self.assertIn('"requests":', out.read_text())

    def test_loadgen_can_be_stopped(self):
        server = self.start([STAGES[0], "--port", "0"], "nothing odd")
        port = self.port_of(server, "nothing odd")
        for odd in ("every signal blocked", "every signal ignored"):
            with self.subTest(odd=odd):
                run = self.start([LOADGEN, "--port", str(port),
                                  "--duration", "60"], odd)
                time.sleep(0.2)
                run.send_signal(signal.SIGTERM)
                self.assertNotEqual(run.wait(SOON_S), 0)

    def test_micro_tools_have_standard_descriptors(self):
        for name in MICRO:
            with self.subTest(name=name):
                run = self.start([BUILD / "micro" / name],
                                 "0, 1 and 2 closed")
                end = time.monotonic() + SOON_S
                while run.poll() is None and time.monotonic() < end:
                    if standard_fds(run.pid) == [os.devnull] * 3:
                        break
                    time.sleep(0.002)
                else:   # over so soon that nobody saw it at work
                    self.assertIn(run.poll(), (0, 64, 77))


if __name__ == "__main__":
    unittest.main()
