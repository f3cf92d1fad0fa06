"""Server and generators on machines of their own, reached by OpenSSH.

    run.py ladder --server-host H --client-hosts A,B

Each host gets a folder with the binaries of this build (or, with
--remote-build, the sources, and builds them), and one ssh session in which
far_end.py waits for orders.  A slice begins on all of them by the same order,
"in N ms", that each counts in its own clock; the answers bound how far apart
they began (`edge_ms` of the row).  Reports are merged by merge.py.  Both ends
end with the connection: a host that dies or hangs ends the run with its name
and a reason, and the rows before it stay.
"""

import contextlib
import io
import json
import os
import select
import shlex
import subprocess
import tarfile
import tempfile
import time

import far_end
import machine
import merge
import servers
import slices
from servers import Failed, Skipped

LEAD_MS = 150       # from the order until the warm-up begins
UNPACK_S, BUILD_S = 60, 1800
GREET_S, ANSWER_S, DESCRIBE_S, CLOSE_S = 30, 30, 180, 10
EDGE_LIMIT = 10.0   # percent of the window that machines may begin apart
SSH = ("ssh -T -o BatchMode=yes -o ConnectTimeout=10 "
       "-o ServerAliveInterval=5 -o ServerAliveCountMax=3")
MODULES = ("far_end", "inherit", "machine", "results", "servers", "slices",
           "syscalls", "wakeups")
# What cannot be done over a wire, and why.
LOCAL = {"files": "its files lie on the server's machine"}
UNPACK = """set -e
command -v python3 >/dev/null || { echo "python3 is missing" >&2; exit 1; }
umask 077
d=$(mktemp -d "${TMPDIR:-/tmp}"/ioladder-far.XXXXXXXX)
echo "ioladder-folder $d"
tar -xzf - -C "$d" || { rm -rf "$d"; exit 1; }
%s"""
MAKE = """cd "$d"
make -s -j"$(getconf _NPROCESSORS_ONLN)" %s >build.log 2>&1 || {
    grep -m1 -iE "error|not found" build.log >&2 || tail -n1 build.log >&2
    cd / && rm -rf "$d"; exit 1; }
"""


class Broken(slices.Aborted):
    """A host that cannot be worked with, and why."""


def add_arguments(parser):
    group = parser.add_argument_group("other machines, by ssh")
    group.add_argument("--server-host", metavar="HOST",
                       help="the server runs there: anything that ssh knows")
    group.add_argument("--client-hosts", metavar="A,B",
                       help="the generators run there, and share the load")
    group.add_argument("--server-address", metavar="ADDR",
                       help="where the generators reach it (the address that "
                            "ssh reached)")
    group.add_argument("--remote-build", action="store_true",
                       help="build there: another architecture, other "
                            "libraries (copies this build)")
    group.add_argument("--ssh", metavar="CMD", default="ssh",
                       help="another command for ssh, with its switches")
    group.add_argument("--max-edge", type=float, metavar="PERCENT",
                       default=EDGE_LIMIT,
                       help="a slice is done again whose machines may have "
                            "begun further apart, of its length (10)")


def fleet_of(args, root, parts):
    """A context: the hosts that were asked for, or None for this machine
    alone.  Raises ValueError for what cannot be done."""
    if not args.server_host and not args.client_hosts:
        return contextlib.nullcontext()
    if not args.server_host or not args.client_hosts:
        raise ValueError("--server-host and --client-hosts go together")
    for host in [args.server_host, *args.client_hosts.split(",")]:
        if not host or host.startswith("-"):
            raise ValueError(f"{host!r} is not the name of a host")
    for part in parts:
        why = LOCAL.get(part.suite.name)
        if why:
            raise ValueError(f"{part.suite.name}: {why}; --only leaves it out")
    words = args.loadgen_arg
    uneven = [w for w in words if w.startswith(("hot:", "zipf:", "--pattern="))]
    if uneven and "," in args.client_hosts:
        raise ValueError(f"{uneven[0]}: uneven connections need one client "
                         f"host")
    return Fleet(args, root)


class Host:
    """One machine: its ssh, and the orders that go through it."""

    def __init__(self, label, name, ssh):
        self.label, self.name = label, name
        self.argv = [*shlex.split(SSH.replace("ssh", ssh, 1)), name]
        self.proc, self.log = None, tempfile.TemporaryFile()
        self.text, self.facts, self.folder = b"", {}, None
        self.owed = 0       # orders that have no answer yet

    def __str__(self):
        return f"{self.label} ({self.name})"

    def spawn(self, script, **pipes):
        # In a session of its own: Ctrl-C reaches run.py, which ends it.
        return subprocess.Popen(
            [*self.argv, f"sh -c {shlex.quote(script)}"],
            start_new_session=True, stderr=self.log, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=servers.in_child(os.sched_getaffinity(0)), **pipes)

    def said(self):
        """The last line that ssh, or what it ran, wrote to stderr."""
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "no message"

    def unpack(self, archive, make):
        script = UNPACK % (MAKE % make if make else "")
        limit = BUILD_S if make else UNPACK_S
        proc = self.spawn(script)
        try:
            out, _ = proc.communicate(archive, timeout=limit)
        except subprocess.TimeoutExpired:
            raise Broken(f"{self}: nothing came back within {limit} s") \
                from None
        finally:
            slices.kill(proc)
            for pipe in (proc.stdin, proc.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()
        words = [line.split(" ", 1)[1] for line in out.decode().splitlines()
                 if line.startswith("ioladder-folder ")]
        if proc.returncode or not words:
            raise Broken(f"{self}: {'built' if make else 'copied'} in vain: "
                         f"{self.said()} (status {proc.returncode})")
        self.folder = words[-1]

    def greet(self):
        self.proc = self.spawn(
            f"exec python3 -u {shlex.quote(self.folder)}/bench/far_end.py")
        os.set_blocking(self.proc.stdout.fileno(), False)
        self.facts = self.ask("hello", GREET_S)
        if self.facts.get("protocol") != far_end.PROTOCOL:
            raise Broken(f"{self}: another version of ioladder is there")

    def send(self, order, **words):
        line = json.dumps({"order": order, **words}) + "\n"
        try:
            self.proc.stdin.write(line.encode())
            self.proc.stdin.flush()
        except OSError:
            raise self.lost() from None
        self.owed += 1

    def lost(self):
        try:
            status = self.proc.wait(2)
        except subprocess.TimeoutExpired:
            status = "none yet"
        return Broken(f"{self}: the connection ended: {self.said()} "
                      f"(status {status})")

    def receive(self, seconds=ANSWER_S):
        """The answer to the oldest order that has none."""
        fd, until = self.proc.stdout.fileno(), time.monotonic() + seconds
        while True:
            line, end, rest = self.text.partition(b"\n")
            if end:
                self.text = rest
                if line.startswith(b"{"):    # else a greeting of its shell
                    self.owed -= 1
                    return self.opened(json.loads(line))
                continue
            left = until - time.monotonic()
            if left <= 0:
                raise Broken(f"{self}: no answer within {seconds:g} s")
            if not select.select([fd], [], [], left)[0]:
                continue
            piece = os.read(fd, 65536)
            if not piece:
                raise self.lost()
            self.text += piece

    def opened(self, found):
        if "ok" in found:
            return found["ok"]
        kind = {"skipped": Skipped, "failed": Failed}.get(found["error"],
                                                          slices.Aborted)
        raise kind(f"{self.label}: {found['text']}")

    def ask(self, order, seconds=ANSWER_S, **words):
        while self.owed:    # where another host has ended a slice
            with contextlib.suppress(Failed, Skipped):
                self.receive()
        self.send(order, **words)
        return self.receive(seconds)

    def close(self):
        """Its end of stdin ends the far end; one that does not is left to
        its own patience."""
        proc, self.proc = self.proc, None
        if proc:
            try:
                proc.stdin.close()
                proc.wait(CLOSE_S)
            except (OSError, subprocess.TimeoutExpired):
                pass
            slices.kill(proc)
            proc.stdout.close()
        self.log.close()


class FarRunning:
    """A server on another machine: what slices.measure() needs of it."""

    def __init__(self, host, found):
        self.host, self.port = host, found["port"]
        self.pids, self.totals = [], {}     # no process of this machine
        self.proc = self

    def poll(self):
        return self.host.ask("poll")

    def scrape(self):
        return self.host.ask("scrape")

    def stop(self):
        found = self.host.ask("stop")
        self.totals = found["totals"]
        return found["status"]


class FarServer:
    """One of our servers, started on another machine."""

    def __init__(self, server, host, build, built_there):
        self.server, self.host, self.built_there = server, host, built_there
        self.address = None      # known when the host is
        self.path = os.path.relpath(server.binary or "", build)

    def __getattr__(self, name):
        return getattr(self.server, name)

    def available(self):
        if self.server.kind != "stage":
            raise Skipped("its configuration listens on loopback only")
        if self.path.startswith(".."):
            raise Skipped("only what lies in the build folder is copied")
        if not self.built_there:     # what is not here is not copied
            self.server.available()

    def start(self, cpus, **start):
        self.available()
        return FarRunning(self.host, self.host.ask(
            "start", address=self.address, cpus=cpus, server={
                "name": self.name, "binary": self.path,
                "args": self.server.args}, **start))


def switch(args, name, default=None):
    return args[args.index(name) + 1] if name in args else default


def changed(args, name, value):
    """The arguments with another value of a switch, or without it."""
    if name in args:
        at = args.index(name)
        args = args[:at] + args[at + 2:]
    return args if value is None else [*args, name, str(value)]


def parts_of(whole, count):
    """A whole number in parts that differ by one at most."""
    return [whole // count + (n < whole % count) for n in range(count)]


def split(args, count, seed):
    """The arguments of each generator: together they ask for the same.

    Connections, idle ones and the rate are divided.  --sources goes: those
    are addresses of loopback."""
    connections = int(switch(args, "--connections", 64))
    count = max(1, min(count, connections))
    rate, idle = switch(args, "--rate"), switch(args, "--idle")
    found = []
    for n, mine in enumerate(parts_of(connections, count)):
        own = changed(changed(args, "--sources", None), "--connections", mine)
        if rate:
            own = changed(own, "--rate",
                          f"{float(rate) * mine / connections:.6f}")
        if idle:
            own = changed(own, "--idle", parts_of(int(idle), count)[n])
        found.append([*own, "--seed", str(seed + n)])
    return found


class FarOutcome(slices.Outcome):
    edge_ms, clients, hosts = None, None, None

    def between(self, seconds):
        return tuple(self.samples) if len(self.samples) == 2 else None

    def add(self, found):
        """The samples of all hosts, each over its own window, as one."""
        own = [sum(values) for values in zip(*(f["own"] for f in found))]
        server = found[0]
        self.samples = [
            slices.Sample(0.0, 0, 0, 0, 0, 0.0, 0, 0),
            slices.Sample(server["span_s"], *own, server["total_s"],
                          *server["split"])]
        self.memory = server["memory"]
        self.hosts = found


class FarRig(slices.Rig):
    """Cpus and hosts of a run: the server's, and those of the clients."""

    def __init__(self, fleet, server_cpus, client_cpus, seed):
        super().__init__(None, server_cpus, client_cpus[0], seed)
        self.fleet, self.each = fleet, client_cpus
        self.counts_calls = True
        self.own = [server_cpus, *client_cpus]
        if fleet.one_machine:    # a cpu that two hosts have counts once
            self.own = [[c for c in cpus if c not in sum(self.own[:n], [])]
                        for n, cpus in enumerate(self.own)]
        self.both = sum(self.own, [])
        clients = sum(client_cpus, [])
        self.shared = fleet.one_machine and bool(
            set(server_cpus) & set(clients))
        # A generator that polls would take the cpu from the other one.
        self.crowded = fleet.one_machine and len(set(clients)) < len(clients)

    def for_workers(self, workers):
        return self.fleet.rig(self.seed, workers=workers)

    def goes_first(self, args):
        return False

    def step_aside(self):
        if self.fleet.one_machine:    # is it this one?  Then it matters
            os.sched_setaffinity(0, set(sum(self.each, [])) & os
                                 .sched_getaffinity(0)
                                 or os.sched_getaffinity(0))

    def calibrate(self, _build, ms):
        """{host:cpu: what slices.calibrate() says}: the first cpu of each
        side."""
        pairs = [(self.fleet.server, self.server_cpus)] + list(
            zip(self.fleet.clients, self.each))
        for host, cpus in pairs:
            host.send("calibrate", cpus=cpus[:1], ms=ms)
        return {f"{host.label}:{cpu}": found for host, _ in pairs
                for cpu, found in host.receive(2 * ANSWER_S).items()}

    def words(self, run, args, seconds, warmup, cpus):
        found = ["--host", self.fleet.address, "--port", str(run.port),
                 "--duration", f"{seconds:g}", "--warmup", f"{warmup:g}",
                 "--quiet", "--json", "-", "--hold", "--cells", *args]
        if (self.shared or self.crowded) and "--spin" not in args:
            found += ["--spin", "off"]
        if self.shared:
            return found
        found += ["--cpu", ",".join(map(str, cpus))]
        if "--threads" not in args and len(cpus) > 1:
            found += ["--threads", str(min(len(cpus), int(
                switch(args, "--connections", 64))))]
        return found

    def load(self, run, args, seconds, warmup, seed, memory=False, each=None):
        outcome = FarOutcome()
        own = split(args, len(self.fleet.clients), seed)
        clients = self.fleet.clients[:len(own)]
        crowd_s = slices.crowd_of(args) / slices.SLOW_CONNECTS_PER_S
        for host, cpus, words in zip(clients, self.each, own):
            host.send("prepare", cpus=cpus, crowd_s=crowd_s, args=self.words(
                run, words, seconds, warmup, cpus))
        ready = True
        for host in clients:
            ready &= self.connected(host, outcome, crowd_s)
        if not ready:
            for host in clients:
                host.ask("drop")
            return outcome
        self.begin(clients, outcome, seconds, warmup, memory)
        self.gather(clients, outcome, seconds + warmup + slices.GRACE_S)
        return outcome

    @staticmethod
    def connected(host, outcome, crowd_s):
        """Whether a generator is; what it said instead is in the outcome."""
        try:
            left = host.receive(far_end.CONNECT_S + crowd_s + ANSWER_S)
        except Failed as err:
            outcome.error = outcome.error or str(err)
            return False
        if left is not None:
            _, why = slices.read_report(left["stdout"], left["status"],
                                        left["stderr"])
            outcome.error = outcome.error or f"{host.label}: {why}"
        return left is None

    def begin(self, clients, outcome, seconds, warmup, memory):
        """The common edge: all get the order, then all are heard."""
        hosts = [self.fleet.server, *clients]
        began = time.monotonic()
        for n, host in enumerate(hosts):
            host.send("go", in_ms=LEAD_MS, warmup=warmup, seconds=seconds,
                      cpus=self.own[n], memory=memory and n == 0)
        for host in hosts:
            host.receive()
        outcome.edge_ms = (time.monotonic() - began) * 1e3

    def gather(self, clients, outcome, within_s):
        hosts, found, reports = [self.fleet.server, *clients], [], []
        for host in hosts:
            host.send("collect", within_s=within_s)
        for host in hosts:
            try:
                left = host.receive(within_s + ANSWER_S)
            except Failed as err:
                outcome.error = outcome.error or str(err)
                continue
            found.append(left["sample"])
            if host is self.fleet.server:
                continue
            report, why = slices.read_report(left["stdout"], left["status"],
                                             left["stderr"])
            reports.append(report)
            if why:
                outcome.error = outcome.error or f"{host.label}: {why}"
        if outcome.error:
            return
        if None in found:
            outcome.error = "the server ended in the window"
            return
        outcome.add(found)
        try:
            outcome.report = merge.merge(reports, found[0])
        except merge.Mismatch as err:
            outcome.error = str(err)
        outcome.clients = [{k: v for k, v in r.items() if k != "histograms"}
                           for r in reports]

    def describe(self, _root, _build):
        return self.fleet.describe(self)

    def complete(self, row, outcome):
        """What only a row of several machines has."""
        row["cpus"]["clients"] = self.each
        row["edge_ms"], row["clients"] = outcome.edge_ms, outcome.clients
        if outcome.hosts and row["metrics"].get("qps"):
            self.whole_machines(row["metrics"], outcome.hosts)
        limit = self.fleet.max_edge / 100 * 1e3 * (
            outcome.hosts[0]["span_s"] if outcome.hosts else 0)
        if outcome.hosts and outcome.edge_ms > limit:
            row["why"].append("the machines may have begun "
                              f"{outcome.edge_ms:.0f} ms apart")
            row["valid"] = False

    def whole_machines(self, metrics, found):
        """A card interrupts any cpu, so all of a machine's cpus count; where
        the hosts are one machine, only those that were given out."""
        if self.fleet.one_machine:
            return
        us = 1e6 / found[0]["span_s"] / metrics["qps"] / os.sysconf(
            "SC_CLK_TCK")
        ours = (metrics.get("cpu_us") or 0) + (
            metrics.get("client_cpu_us") or 0) + (
            metrics.get("client_spin_us") or 0)
        metrics["system_cpu_us"] = sum(f["all"][0] for f in found) * us
        metrics["softirq_us"] = sum(f["all"][3] for f in found) * us
        metrics["rest_us"] = max(0.0, metrics["system_cpu_us"] - ours)


class Fleet:
    """All hosts of a run."""

    def __init__(self, args, root):
        self.args, self.root, self.build = args, root, args.build
        self.max_edge = args.max_edge
        self.server = Host("server", args.server_host, args.ssh)
        self.clients = [Host(f"client {n}", name, args.ssh) for n, name in
                        enumerate(args.client_hosts.split(","), 1)]
        self.hosts = [self.server, *self.clients]
        self.address, self.one_machine = None, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for host in self.hosts:
            host.close()

    def wrap(self, chosen):
        """{name: server}: the same ones, started on the server's host."""
        return {name: FarServer(server, self.server, self.build,
                                self.args.remote_build)
                for name, server in chosen.items()}

    def open(self, chosen):
        """Brings the binaries there and greets all.  Returns the servers as
        they are to be started, and chooses the generators' engine."""
        chosen = self.wrap(chosen)
        if self.args.remote_build:
            archive, make = self.sources(), "all" + (
                " variants" if any(s.variant or "variants" in s.path
                                   for s in chosen.values()) else "")
        else:
            archive, make = None, None
        for host in self.hosts:
            host.unpack(archive or self.binaries(
                chosen if host is self.server else {}), make)
            host.greet()
        self.address = self.args.server_address or \
            self.server.facts["address"]
        if not self.address:
            raise Broken(f"{self.server}: ssh does not say which address it "
                         f"has; --server-address does")
        for server in chosen.values():
            server.address = self.address
        machines = {h.facts["machine"] for h in self.hosts}
        self.one_machine = len(machines) == 1
        self.try_programs(chosen)
        self.choose_engine()
        return chosen

    def try_programs(self, chosen):
        here = machine.platform.machine()
        for host in self.hosts:
            there = host.facts["architecture"]
            if there != here and not self.args.remote_build:
                raise Broken(f"{host}: its architecture is {there}, and this "
                             f"build is for {here}: --remote-build")
            paths = ["loadgen"] + ([s.path for s in chosen.values()
                                    if self.has(s)]
                                   if host is self.server else [])
            for path in paths[:2]:    # a stage needs more than the generator
                try:
                    host.ask("try", path=path)
                except (Failed, Skipped) as err:
                    raise Broken(f"{err}; --remote-build builds there") \
                        from None
            if self.args.remote_build:
                continue
            for path, digest in host.ask("sha256", paths=paths).items():
                if digest != machine.sha256(os.path.join(self.build, path)):
                    raise Broken(f"{host}: {path} is not what was copied")

    def has(self, server):
        return server.kind == "stage" and not server.path.startswith("..") \
            and (self.args.remote_build or os.access(server.binary, os.X_OK))

    def binaries(self, chosen):
        """A tar: this build as far as it is needed, and what obeys orders."""
        paths = {"loadgen", "micro/calibrate", "micro/c2c", "micro/prices"}
        for server in chosen.values():
            if not self.has(server):
                continue
            paths.add(server.path)
            if os.path.basename(server.path) == "stage5":
                paths |= {f"variants/5-place-{how}" for how in ("one", "rr")}
        return self.pack([(os.path.join(self.build, path), f"build/{path}")
                          for path in sorted(paths)] + [
            (os.path.join(self.root, "bench", f"{name}.py"),
             f"bench/{name}.py") for name in MODULES])

    def sources(self):
        names = subprocess.run(
            [os.path.join(self.root, ".ci", "files"), self.root],
            capture_output=True, text=True, check=True).stdout.split("\n")
        skip = ("bench/results/", "docs/img/", "labs/")
        return self.pack([(os.path.join(self.root, name), name)
                          for name in names
                          if name and not name.startswith(skip)])

    @staticmethod
    def pack(files):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1,
                          dereference=True) as tar:
            for path, name in files:
                if os.path.exists(path):
                    tar.add(path, name, filter=nobody)
        return out.getvalue()

    def choose_engine(self):
        """One for all generators; raises Skipped."""
        asked = self.args.engine
        if asked == "epoll":
            return
        without = [f"{host.label}: {why}" for host in self.clients
                   for why in [host.ask("engine", 60)] if why]
        if without and asked == "uring":
            raise Skipped("; ".join(without))
        self.args.engine = "epoll" if without else "uring"
        if not without:
            self.args.loadgen_arg[:0] = ["--engine", "uring"]

    def rig(self, seed, workers=None):
        """Who runs on which cpus.  On machines of their own: the server on
        the first cores, each client on all.  On one machine: apart."""
        args, wanted = self.args, workers or self.args.workers
        topology = self.server.facts["topology"]
        if not self.one_machine:
            server, client = cores_of(topology)[:wanted], []
        elif workers:
            server, client = machine.cpus_for_workers(topology, wanted)
        else:
            server, client = machine.choose_cpus(topology, wanted)
        server = args.server_cpus or server
        each = []
        for n, host in enumerate(self.clients):
            own = cores_of(host.facts["topology"])
            if self.one_machine:
                own = client[n::len(self.clients)] or client
            each.append(args.client_cpus or own)
        for host, cpus in zip(self.hosts, [server, *each]):
            known = {t["cpu"] for t in host.facts["topology"]}
            if not set(cpus) <= known:
                raise ValueError(f"{host}: cpu "
                                 f"{','.join(map(str, cpus))} is not there")
            host.ask("stay_off", cpus=server if self.one_machine else cpus)
        rig = FarRig(self, server, each, seed)
        rig.topology = self.server.facts["topology"]
        return rig

    def describe(self, rig):
        """(the server's machine, what else the manifest says)."""
        for host, cpus in zip(self.hosts, [rig.server_cpus, *rig.each]):
            host.send("describe", whole=host is self.server,
                      server_cpus=rig.server_cpus if host is self.server
                      else [], client_cpus=[] if host is self.server
                      else cpus)
        found = [host.receive(DESCRIBE_S) for host in self.hosts]
        facts = {**found[0], "git": machine.git(self.root),
                 "client_cpus": rig.each[0]}
        return facts, {"hosts": {
            "machines": len({h.facts["machine"] for h in self.hosts}),
            "binaries": "built there" if self.args.remote_build
            else "copied", "lead_ms": LEAD_MS, "max_edge_pct": self.max_edge,
            "clients": [{name: facts_[name] for name in (
                "cpu", "cpus", "kernel", "architecture", "hypervisor",
                "client_cpus", "limits", "memory_kib")}
                for facts_ in found[1:]]}}


def cores_of(topology):
    """The first cpu of each core."""
    return sorted(set(sum(machine.choose_cpus(topology, 10**6), [])))


def nobody(info):
    """No name of this machine's user goes into the archive."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info
