"""Runs student code where it can do no harm.

Three ways, the first that works here is taken, and the result says which:

  bubblewrap   bwrap: new user, mount, pid, net and ipc namespaces
  namespaces   root only: unshare, a small root of its own, setpriv
  user         root only: another user id, and a kill by that id.  It shares
               the network and sees what everybody may read
  none         the student's own machine, with the student's own code

In the first two ways the program sees the system's libraries, the paths that
it is given and an empty /tmp, has no network but a loopback of its own, and
everything that it started ends with it.  In all of them limits hold for
processor time, processes, file size and memory.
"""

import ctypes
import functools
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from .result import plain

HERE = os.path.dirname(os.path.abspath(__file__))
WAYS = ("bubblewrap", "namespaces", "user", "none")
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32",
          "/etc/ld.so.cache", "/etc/alternatives")
FIRST_UID = 61184           # of systemd's range for users without a name
UIDS = 4000
PATH = "/usr/local/bin:/usr/bin:/bin"
POLL_S = 0.02
OUTPUT_BYTES = 1 << 16      # of what a program printed, from its end
FILES = 10000               # that a program makes
PR_SET_CHILD_SUBREAPER = 36
# Where Criterion keeps what a test and its runner share.
MAKE_SHARED = 'f=$(mktemp /dev/shm/ioladder.XXXXXX) && rm -f "$f"'

_libc = ctypes.CDLL(None, use_errno=True)


class SandboxError(Exception):
    """No way to run student code here, and why."""


@dataclass(frozen=True)
class Limits:
    """What one program may use.  It is killed at the first that it exceeds."""

    seconds: float = 10.0
    processes: int = 64
    memory: int = 1 << 30       # bytes, of all its processes together
    file: int = 64 << 20        # bytes, of one file; also of its /tmp
    files: int = 4096           # descriptors of one process


ASK = Limits(seconds=60)        # for a question about the machine


@dataclass
class Outcome:
    """How a program ended."""

    status: int                 # exit status, or -signal
    seconds: float
    output: str                 # stdout and stderr together, the last of it
    killed: str = ""            # by the sandbox, and why


def _prlimit(limits, others=0):
    """others: processes of the same user that are none of the program's."""
    return ["prlimit", f"--fsize={limits.file}", "--core=0",
            f"--nofile={limits.files}",
            f"--cpu={max(1, int(limits.seconds * 2))}",
            f"--nproc={limits.processes + others}", "--"]


def _threads_of_user():
    count = 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and \
                    os.stat(f"/proc/{name}").st_uid == os.geteuid():
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            pass
    return count


@functools.cache
def own_uid(pid):
    """A user id that no other grader on this machine uses, for one process.
    An abstract socket holds it: that has one owner, and is gone with it."""
    for i in range(UIDS):
        uid = FIRST_UID + (pid + i) % UIDS
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0ioladder-grade-{uid}")
            except OSError:
                continue
            claim.detach()
            return uid
    raise SandboxError("every user id for student code is in use")


class Sandbox:
    """One way of running programs."""

    def __init__(self, way, hidden=()):
        self.way = way
        self.hidden = hidden    # "user" only: what must not be readable
        self.uid = None
        if os.geteuid() == 0 and way != "none":
            self.uid = own_uid(os.getpid())

    def _drop(self):
        """As root: the rest is run by a user that nobody else is."""
        if self.uid is None:
            return []
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}",
                "--clear-groups", "--inh-caps=-all", "--no-new-privs", "--"]

    def _bubblewrap(self, argv, limits, ro, rw, cwd, env):
        words = ["bwrap", "--unshare-all", "--die-with-parent",
                 "--new-session", "--cap-drop", "ALL", "--clearenv",
                 "--proc", "/proc", "--dev", "/dev"]
        for path in ("/tmp", "/dev/shm"):
            words += ["--size", str(limits.file), "--tmpfs", path]
        for path in SYSTEM:
            words += ["--ro-bind-try", path, path]
        for path in ro:
            words += ["--ro-bind", path, path]
        for path in rw:
            words += ["--bind", path, path]
        # Without this both are memory that nothing limits.
        words += ["--remount-ro", "/dev", "--remount-ro", "/"]
        for name, value in env.items():
            words += ["--setenv", name, value]
        # Inside, so that only processes of this user namespace count: outside
        # the kernel gives back some of the counts late or never.
        return self._drop() + words + ["--chdir", cwd, "--"] + \
            _prlimit(limits) + argv

    def _namespaces(self, argv, limits, ro, rw, cwd, env, drop=True):
        inside = [sys.executable, os.path.join(HERE, "inside.py"),
                  str(limits.file), cwd]
        for path in SYSTEM + tuple(ro):
            inside += ["--ro", path]
        for path in rw:
            inside += ["--rw", path]
        clean = ["env", "-i"] + [f"{n}={v}" for n, v in env.items()]
        return (["unshare", "--mount", "--pid", "--net", "--ipc", "--uts",
                 "--fork", "--kill-child"] + inside + ["--"]
                + (self._drop() + _prlimit(limits) if drop else [])
                + clean + argv)

    def _user(self, argv, limits, ro, rw, cwd, env, drop=True):
        clean = ["env", "-i", "-C", cwd] + [f"{n}={v}" for n, v in env.items()]
        return (self._drop() + _prlimit(limits) if drop else []) + clean + argv

    def _none(self, argv, limits, ro, rw, cwd, env):
        clean = ["env", "-C", cwd] + [f"{n}={v}" for n, v in env.items()]
        return _prlimit(limits, _threads_of_user()) + clean + argv

    def command(self, argv, limits, ro=(), rw=(), cwd="/", env=None,
                staff=False):
        """The whole command line.  staff: the program is ours, and starts
        student code by a script of server_script() only."""
        env = {"PATH": PATH, "HOME": "/tmp", "LANG": "C.UTF-8", **(env or {})}
        build = {"bubblewrap": self._bubblewrap, "user": self._user,
                 "namespaces": self._namespaces, "none": self._none}[self.way]
        more = {"drop": False} if staff and self.way in ("namespaces", "user") \
            else {}
        return build(list(argv), limits, ro, rw, cwd, env, **more)

    def server_script(self, program, report_folder, limits):
        """Text of a script that becomes the student's server by exec, so that
        its pid is the server's.  It cannot reach the folder of the tests'
        report: it is another user, or that folder is covered for it."""
        words = _prlimit(limits) if self.way != "none" else []
        if self.way == "bubblewrap":
            cover = ('mount -t tmpfs -o size=4k tmpfs "$0" && exec setpriv '
                     "--ambient-caps=-all --inh-caps=-all --bounding-set=-all "
                     '--no-new-privs -- "$@"')
            words = ["unshare", "--user", "--map-root-user", "--mount", "sh",
                     "-c", cover, report_folder] + words
        elif self.way in ("namespaces", "user"):
            words = self._drop() + words
        line = " ".join(shlex.quote(w) for w in words + [program])
        return f'#!/bin/sh\nunset SEED\nexec {line} "$@"\n'

    def lend(self, folder):
        """A folder becomes one that the program may write to."""
        if self.uid is not None:
            os.chown(folder, self.uid, self.uid)

    def take_back(self, folder):
        """And is no longer one, nor anything in it."""
        if self.uid is not None:
            for here, folders, files in os.walk(folder):
                for name in [here] + [os.path.join(here, n)
                                      for n in folders + files]:
                    os.chown(name, 0, 0, follow_symlinks=False)

    def _spilled(self, rw=()):
        """What the program has written; in the last way also where everybody
        may write."""
        shared = ("/tmp", "/var/tmp", "/dev/shm") if self.way == "user" else ()
        uid = os.geteuid() if self.uid is None else self.uid
        return spilled(uid, (*rw, *shared))

    def run(self, argv, limits=Limits(), ro=(), rw=(), cwd="/", env=None,
            staff=False):
        """Runs it to its end or to a limit.  Nothing of it is left then."""
        command = self.command(argv, limits, ro, rw, cwd, env, staff)
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        began, killed = time.monotonic(), ""
        # Its tools are the system's, also where the grader's PATH names a
        # folder that is out of reach inside.
        tools = f"{PATH}:/usr/sbin:/sbin:{os.environ.get('PATH', '')}"
        with tempfile.TemporaryFile() as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=subprocess.STDOUT,
                                       env={**os.environ, "PATH": tools},
                                       start_new_session=True)
            try:
                while process.poll() is None and not killed:
                    killed = self._exceeded(process.pid, limits, began,
                                            out, rw)
                    time.sleep(0 if killed else POLL_S)
            finally:
                self._end(process)
            seconds = time.monotonic() - began
            size = out.seek(0, os.SEEK_END)
            out.seek(max(0, size - OUTPUT_BYTES))
            text = plain(out.read(OUTPUT_BYTES).decode("utf-8",
                                                       errors="replace"))
        return Outcome(process.returncode, seconds, text, killed)

    def _exceeded(self, pid, limits, began, out, rw):
        if time.monotonic() - began > limits.seconds:
            return f"ran longer than {limits.seconds:g} s"
        if os.fstat(out.fileno()).st_size > limits.file:
            return f"printed more than {limits.file} bytes"
        spilt, family = self._spilled(rw), [pid] + tree(pid)
        if sum(size for _, size in spilt) > limits.file * 2:
            return f"wrote more than {limits.file * 2} bytes"
        if memory_of(family) > limits.memory:
            return f"used more than {limits.memory >> 20} MiB of memory"
        # An empty file is memory of the kernel's, and nobody's account.
        if len(spilt) + files_of(family) > FILES:
            return f"made more than {FILES} files"
        return ""

    def _end(self, process):
        """Kills the program and all that it has started."""
        descendants = tree(process.pid)
        for pid in [process.pid] + descendants:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()
        self._kill_rest()
        if self.way == "user":
            for path, _ in self._spilled():
                remove(path)

    def _kill_rest(self):
        """Waits until nothing of it is left.  What lost its parent is a child
        of this process now (a subreaper): the first process of a pid namespace
        ends after all others of it; without one they are killed one by one."""
        for _ in range(500):
            if self.way == "user":
                subprocess.run(["setpriv", f"--reuid={self.uid}",
                                "--clear-groups", "kill", "-9", "--", "-1"],
                               stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, check=False)
            left = [p for p in tree(os.getpid()) if self._is_its(p)]
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, os.WNOHANG)
                except (ProcessLookupError, ChildProcessError,
                        PermissionError):
                    pass
            if not left:
                return
            time.sleep(POLL_S)

    def _is_its(self, pid):
        """The grader itself starts nothing that runs beside student code."""
        if self.way == "user":
            try:
                return os.stat(f"/proc/{pid}").st_uid == self.uid
            except OSError:
                return False
        if self.way == "none":
            return _stat(pid)[3] != os.getsid(0)
        return True


def _stat(pid):
    """(state, parent, group, session), or zeros when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii",
                  errors="replace") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return fields[0], int(fields[1]), int(fields[2]), int(fields[3])
    except (OSError, IndexError):
        return "", 0, 0, 0


def tree(root):
    """The descendants of a process."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            children.setdefault(_stat(name)[1], []).append(int(name))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def memory_of(family):
    """Bytes of memory that processes hold: their own, what they share (the
    most of one process), and files that are memory only."""
    own, shared, files = 0, 0, {}
    for pid in family:
        try:
            with open(f"/proc/{pid}/status", encoding="ascii",
                      errors="replace") as f:
                found = dict(re.findall(r"^Rss(Anon|Shmem):\s+(\d+) kB",
                                        f.read(), re.MULTILINE))
            own += int(found.get("Anon", 0))
            shared = max(shared, int(found.get("Shmem", 0)))
            files.update(memory_files(pid))
        except OSError:
            pass
    return (own + max(shared, sum(files.values()) // 1024)) * 1024


def memory_files(pid):
    """{inode: bytes} of memfd_create()'s files: they stand in no folder, and
    what is not mapped is in no process' account."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        try:
            if os.readlink(path).startswith("/memfd:"):
                what = os.stat(path)
                found[what.st_ino] = what.st_blocks * 512
        except OSError:
            pass
    return found


def files_of(family):
    """How many files there are in a /tmp and a /dev/shm that are not ours."""
    most = {}
    for pid in family:
        for folder in ("/tmp", "/dev/shm"):
            try:
                path = f"/proc/{pid}/root{folder}"
                if os.stat(path).st_dev != os.stat(folder).st_dev:
                    system = os.statvfs(path)
                    most[folder] = max(most.get(folder, 0),
                                       system.f_files - system.f_ffree)
            except OSError:
                pass
    return sum(most.values())


def spilled(uid, folders):
    """(path, bytes) of what a user has in these folders, at any depth."""
    found, todo = [], list(folders)
    while todo:
        try:
            entries = list(os.scandir(todo.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                what = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if what.st_uid == uid:
                found.append((entry.path, what.st_blocks * 512))
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
    return found


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)


def _tools(way):
    return {"bubblewrap": ("bwrap", "prlimit", "setpriv"),
            "namespaces": ("unshare", "setpriv", "prlimit"),
            "user": ("setpriv", "prlimit"), "none": ("prlimit",)}[way]


def refusal(way, hidden=()):
    """Why this way does not work here; "" when it does."""
    missing = [t for t in _tools(way) if not shutil.which(t)]
    if missing:
        return f"{', '.join(missing)} not installed"
    if way in ("namespaces", "user") and os.geteuid() != 0:
        return "needs root"
    box = Sandbox(way, hidden)
    if way == "user":
        for path in hidden:
            seen = box.run(["ls", path], ASK)
            if seen.status == 0:
                return f"others may read {path}; chmod 700 it"
    # Without it each test ends before it begins, with 0 points.
    if way in ("user", "none") and \
            box.run(["sh", "-c", MAKE_SHARED], ASK).status != 0:
        return "tests need /dev/shm, and others may not write there; as " \
               "root: chmod 1777 /dev/shm"
    # With our own folder: a clone below a private folder is out of reach for
    # the user that bwrap runs as; root's own namespaces bind it all the same.
    ro = (HERE,) if way in ("bubblewrap", "namespaces") else ()
    done = box.run(["true"], ASK, ro=ro)
    if done.status != 0:
        return (done.output.strip().splitlines() or [done.killed])[-1]
    return ""


def out_of_reach(way):
    """Why this way cannot build with the files of the staff; "" when it can:
    the last way mounts nothing, so its user has to be able to read them."""
    if way == "user" and Sandbox(way).run(
            ["ls", HERE], ASK).status != 0:
        return f"another user cannot read {HERE}: a folder above is private"
    return ""


def choose(wanted=None, own_machine=False, hidden=()):
    """The sandbox to use.  SandboxError when none is allowed here."""
    reasons = []
    for way in WAYS:
        if (wanted and way != wanted) or \
                (way == "none" and not own_machine and not wanted):
            continue
        reason = refusal(way, hidden) or out_of_reach(way)
        if not reason:
            return Sandbox(way, hidden)
        reasons.append(f"{way}: {reason}")
    raise SandboxError("student code cannot be run safely here: "
                       + "; ".join(reasons))
