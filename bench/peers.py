"""The servers that are measured beside the stages: what people use instead.

Each is configured to do what a stage does and no more: one worker pinned where
a stage is pinned, nothing logged, connections kept for as long as the client
likes, the same bytes for /.  What it is started with stands in bench/peers/
and, in full, in the manifest of every result set.

A program that is not installed is skipped with the reason; one that does not
start is an error.
"""

import os
import re
import resource
import shlex
import shutil
import socket
import subprocess
import tempfile
import time

import machine
import servers
from servers import Failed, Skipped, Stage

HELLO = "Hello, World!\n"
MAX_CONNECTIONS = 20000
SYSTEM_PATH = ":/usr/sbin:/usr/local/sbin"   # where servers are installed
GOCODE = "/usr/share/gocode"                 # Debian's Go libraries


def find(program):
    return shutil.which(program, path=os.environ.get("PATH", "")
                        + SYSTEM_PATH)


class Peer(Stage):
    """A program of others that prints no ready line."""

    kind = "peer"
    routes = ("/",)

    def __init__(self, name, source, binary):
        super().__init__(name, binary)
        self.source = source    # its configuration or its source file

    def configuration(self):
        """What it was started with: (file, text)."""
        with open(self.source, encoding="utf-8") as f:
            return os.path.basename(self.source), f.read()

    @staticmethod
    def speaks(app):
        if app != "http":
            raise Skipped(f"speaks no {app}")


def newer(binary, sources):
    """The binary is there and no source has changed since."""
    return os.path.exists(binary) and os.path.getmtime(binary) >= max(
        map(os.path.getmtime, sources))


class Compiled(Peer):
    """A small server of ours on somebody's library, built when it is needed.

    It prints a ready line as a stage does.
    """

    routes = ("/", "/work", "/sleep")

    def build_with(self, argv, missing, **how):
        os.makedirs(os.path.dirname(self.binary), exist_ok=True)
        new = f"{self.binary}.{os.getpid()}"
        done = subprocess.run([*argv, "-o", os.path.abspath(new)],
                              capture_output=True, text=True, check=False,
                              **how)
        if done.returncode != 0:
            words = done.stderr.strip().splitlines() or ["no message"]
            raise Failed(f"{self.name} does not compile: {words[-1]}")
        if not os.path.exists(new):
            raise Skipped(missing)
        os.replace(new, self.binary)

    def start(self, cpus, app="http", extra=(), root=None, workers=None):
        self.speaks(app)
        argv = [self.binary, "-port", "0"]
        if root and "/files" in self.routes:
            argv += ["-root", root]
        env = {**os.environ, "GOMAXPROCS": str(len(cpus))}
        run = servers.spawn(argv, cpus, env)
        try:
            servers.await_line(run, self.name)
        except BaseException:
            run.stop()
            raise
        return run


class Go(Compiled):
    """Go's net/http with as many threads as it has cpus (GOMAXPROCS)."""

    routes = ("/", "/work", "/sleep", "/echo", "/files")
    words = ()           # for go build
    flags = {}           # its environment
    library = None       # a folder that must be there

    def configuration(self):
        name, text = super().configuration()
        with open(os.path.join(os.path.dirname(self.source), "shared.go"),
                  encoding="utf-8") as f:
            return name, text + "\n" + f.read()

    def available(self):
        go = shutil.which("go")
        if not go:
            raise Skipped("go is not installed")
        if self.library and not os.path.isdir(self.library):
            raise Skipped("Go's fasthttp is not installed")
        folder = os.path.dirname(self.source)
        if newer(self.binary, [os.path.join(folder, f)
                               for f in os.listdir(folder)]):
            return
        self.build_with([go, "build", *self.words], "", cwd=folder, env={
            **os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0",
            "GOFLAGS": "-buildvcs=false", **self.flags})


class FastHttp(Go):
    """Go's fasthttp, from the library that the distribution has."""

    routes = ("/", "/work", "/sleep")
    words = ("-tags", "fasthttp")
    flags = {"GO111MODULE": "off", "GOPATH": GOCODE, "GOFLAGS": ""}
    library = os.path.join(GOCODE, "src", "github.com", "valyala", "fasthttp")


class Libevent(Compiled):
    """A server of ours on libevent's evhttp: one loop, as stage 2 is one."""

    def available(self):
        if newer(self.binary, [self.source]):
            return
        compiler = shutil.which("gcc") or shutil.which("cc")
        if not compiler:
            raise Skipped("no C compiler is installed")
        known = subprocess.run(
            [compiler, "-E", "-x", "c", "-"], text=True, check=False,
            input="#include <event2/http.h>\n", capture_output=True)
        if known.returncode != 0:
            raise Skipped("libevent is not installed")
        self.build_with([compiler, "-std=gnu17", "-O2", "-Wall", self.source,
                         "-levent"], "")


class Configured(Peer):
    """A program that is told by a file what to do, and says nothing when it
    is ready: its port is asked."""

    workers_are_children = False

    def __init__(self, name, source, words, routes=("/",)):
        """`words`: its command line; @CONF@ and @DIR@ are filled in."""
        super().__init__(name, source, find(words.split()[0]))
        self.words, self.routes = words, routes

    def available(self):
        if not self.binary:
            raise Skipped(f"{self.words.split()[0]} is not installed")

    def start(self, cpus, app="http", extra=(), root=None, workers=None):
        self.speaks(app)
        last = None
        for _ in range(3):   # somebody may take the port before it does
            try:
                return self._start(cpus, root)
            except Failed as err:
                last = err
        raise last

    def _start(self, cpus, root):
        directory = tempfile.TemporaryDirectory(prefix=f"ioladder-{self.name}-")
        path, port = directory.name, free_port()
        os.chmod(path, 0o755)
        os.mkdir(os.path.join(path, "www"))
        with open(os.path.join(path, "www", "hello.txt"), "w",
                  encoding="utf-8") as f:
            f.write(HELLO)
        words = fill_in(self.words, {"CONF": os.path.join(path, "conf"),
                                     "DIR": path})
        with open(os.path.join(path, "conf"), "w", encoding="utf-8") as f:
            f.write(fill_in(self.configuration()[1],
                            values(path, port, cpus, root)))
        # SIGTERM at the runner's death: a master then stops its workers.
        run = servers.spawn([self.binary, *shlex.split(words)[1:]], cpus,
                            stdout=subprocess.DEVNULL, death=15,
                            directory=directory)
        try:
            self._await_port(run, port, len(cpus))
        except BaseException:
            run.stop()
            raise
        return run

    def _await_port(self, run, port, workers):
        end = time.monotonic() + servers.START_S
        while time.monotonic() < end:
            if run.proc.poll() is not None:
                raise Failed(f"{self.name}: ended with status "
                             f"{run.proc.returncode}: {run.reason()}")
            found = machine.children(run.proc.pid) \
                if self.parent_waits(workers) else [run.proc.pid]
            if len(found) >= (workers if self.parent_waits(workers) else 1) \
                    and listening(port):
                run.port, run.pids = port, found
                return
            time.sleep(0.01)
        raise Failed(f"{self.name}: not ready within "
                     f"{servers.START_S:.0f} s")

    def parent_waits(self, workers):
        """Its children are the workers that are measured: the master sleeps.
        """
        return self.workers_are_children


class Nginx(Configured):
    workers_are_children = True


class Lighttpd(Configured):
    """It works itself, unless there is to be more than one worker."""

    def parent_waits(self, workers):
        return workers > 1


def values(path, port, cpus, root):
    """What is filled in between at signs."""
    many, is_root = len(cpus) > 1, os.geteuid() == 0
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    room = MAX_CONNECTIONS if limit == resource.RLIM_INFINITY \
        else min(MAX_CONNECTIONS, (limit - 200) // 2)
    return {
        "PORT": port, "DIR": path, "ROOT": root or path,
        "WORKERS": len(cpus), "MORE_WORKERS": len(cpus) if many else 0,
        "CONNECTIONS": room,
        "REUSEPORT": "reuseport" if many else "",
        "NGINX_AFFINITY": nginx_masks(cpus) if many else "",
        "HAPROXY_AFFINITY": "cpu-map auto:1/1-%d %s" % (
            len(cpus), " ".join(map(str, cpus))) if many else "",
        "NGINX_USER": "user root;" if is_root else "",
        "H2O_USER": "user: root" if is_root else "",
    }


def fill_in(text, words):
    return re.sub(r"@([A-Z0-9_]+)@", lambda m: str(words[m[1]]), text)


def nginx_masks(cpus):
    """nginx's way to give each worker a cpu: [0, 2] -> a line of 001 100."""
    return "worker_cpu_affinity " + " ".join(
        f"{1 << cpu:0{max(cpus) + 1}b}" for cpu in cpus) + ";"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listening(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def peers(root, build):
    """{name: peer} in the order in which they are shown."""
    def at(*names):
        return os.path.join(root, "bench", "peers", *names)

    def built(name):
        return os.path.join(build, "peers", name)

    found = [
        Nginx("nginx", at("nginx.conf"),
              "nginx -p @DIR@ -c @CONF@ -e @DIR@/error.log", ("/", "/files")),
        Configured("h2o", at("h2o.conf"), "h2o -m worker -c @CONF@",
                   ("/", "/files")),
        Configured("haproxy", at("haproxy.conf"), "haproxy -db -f @CONF@"),
        Lighttpd("lighttpd", at("lighttpd.conf"), "lighttpd -D -f @CONF@",
                 ("/", "/files")),
        Go("go", at("go", "nethttp.go"), built("go-nethttp")),
        FastHttp("fasthttp", at("go", "fasthttp.go"), built("go-fasthttp")),
        Libevent("libevent", at("libevent.c"), built("libevent")),
    ]
    return {peer.name: peer for peer in found}


def catalogue(root, build):
    """{name: server} of everything that can be named on the command line."""
    return {**servers.catalogue(root, build), **peers(root, build)}
