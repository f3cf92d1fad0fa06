#!/usr/bin/env python3
"""Two stages behind HAProxy or nginx.

  fronts.py                         rolling restart behind each, under load
  fronts.py --front haproxy --stage stage4 --rate 5000
  run.py hop                        what the hop costs

A rolling restart ends one stage with SIGTERM, starts it again at the same
port, and then does the same with the other; meanwhile requests come at a
fixed rate.  None may fail.  The configurations are bench/peers/front-*.conf.
"""

import argparse
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import inherit                     # noqa: E402
import peers                       # noqa: E402
import servers                     # noqa: E402
from servers import Failed, Skipped  # noqa: E402

BACKENDS = ("A", "B")
CHECK_S = 0.5       # several of HAProxy's checks


class Behind(servers.Running):
    """A front and the stages behind it, measured as one server."""

    def __init__(self, front, backends):
        super().__init__(front.proc, front.log, front.directory)
        self.port, self.backends = front.port, backends
        self.front_pids = front.pids
        self.pids = front.pids + [p for b in backends for p in b.pids]

    def stop(self):
        """The front first, so that no client sees a stage end."""
        try:
            status = super().stop()
        finally:
            ended = [backend.stop() for backend in self.backends]
        return status or next((s for s in ended if s), 0)


class _Proxy(peers.Configured):
    """The program in front, told where the stages are."""

    ports = {}

    def configuration(self):
        name, text = super().configuration()
        for letter, port in self.ports.items():
            text = text.replace(f"@BACKEND_{letter}@", str(port))
        return name, text


class _NginxProxy(_Proxy):
    workers_are_children = True


PROXIES = {
    "haproxy": (_Proxy, "haproxy -db -f @CONF@"),
    "nginx": (_NginxProxy, "nginx -p @DIR@ -c @CONF@ -e @DIR@/error.log"),
}


class Front(servers.Stage):
    """A name for run.py: a front and two of one stage."""

    kind = "peer"

    def __init__(self, name, root, stage):
        kind, words = PROXIES[name]
        self.proxy = kind(f"{name}-front", os.path.join(
            root, "bench", "peers", f"front-{name}.conf"), words)
        super().__init__(f"{name}-front", self.proxy.binary)
        self.stage = stage

    def available(self):
        self.proxy.available()
        self.stage.available()

    def configuration(self):
        return self.proxy.configuration()

    def start_backend(self, cpus, port=0):
        return self.stage.start(cpus, extra=["--port", str(port)])

    def start(self, cpus, app="http", extra=(), root=None, workers=None):
        self.proxy.speaks(app)
        backends = []
        try:
            for _ in BACKENDS:
                backends.append(self.start_backend(cpus))
            self.proxy.ports = {letter: b.port
                                for letter, b in zip(BACKENDS, backends)}
            return Behind(self.proxy.start(cpus), backends)
        except BaseException:
            for backend in backends:
                backend.stop()
            raise


def fronts(root, build, stage="stage2"):
    """{name: front} over two of a stage."""
    behind = servers.catalogue(root, build)[stage]
    found = [Front(name, root, behind) for name in PROXIES]
    return {front.name: front for front in found}


def catalogue(root, build):
    """{name: server} of everything that can be named on the command line."""
    return {**peers.catalogue(root, build), **fronts(root, build)}


def restart(front, run, index, cpus):
    """Ends one stage and starts it again; the exit status of the first."""
    old = run.backends[index]
    status = old.stop()
    run.backends[index] = front.start_backend(cpus, old.port)
    time.sleep(CHECK_S)
    return status


def rolling_restart(front, cpus, loadgen, rate, connections=32):
    """(the generator's report, exit statuses of the stages that drained)."""
    run = front.start(cpus)
    try:
        time.sleep(CHECK_S)
        with subprocess.Popen(
                [*loadgen, "--port", str(run.port), "--rate", str(rate),
                 "--connections", str(connections), "--duration", "600",
                 "--warmup", "0", "--quiet", "--json", "-"],
                stdout=subprocess.PIPE, text=True) as load:
            try:
                time.sleep(CHECK_S)
                ended = [restart(front, run, i, cpus)
                         for i in range(len(BACKENDS))]
            finally:
                load.terminate()        # it then reports what it has
            report = json.loads(load.communicate()[0])
        return report, ended
    finally:
        run.stop()


def main(argv=None):
    inherit.clean()
    p = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    p.add_argument("--front", choices=PROXIES, action="append")
    p.add_argument("--stage", default="stage2", metavar="NAME")
    p.add_argument("--rate", type=int, default=2000, metavar="N")
    p.add_argument("--build", default=os.path.join(ROOT, "build"))
    args = p.parse_args(argv)
    if args.stage not in servers.catalogue(ROOT, args.build):
        p.error(f"no server {args.stage!r}")
    cpus = sorted(os.sched_getaffinity(0))
    bad = 0
    found = fronts(ROOT, args.build, args.stage)
    for name in args.front or PROXIES:
        front = found[f"{name}-front"]
        try:
            front.available()
            report, ended = rolling_restart(
                front, cpus, [os.path.join(args.build, "loadgen")], args.rate)
        except Skipped as why:
            print(f"{name}: skipped: {why}")
            continue
        except (Failed, OSError, ValueError) as err:
            print(f"fronts.py: {name}: {err}", file=sys.stderr)
            return 1
        failed = report["errors"]["total"]
        bad += failed != 0 or any(ended)
        print(f"{name}: two of {args.stage} restarted under "
              f"{args.rate}/s: {report['requests']} answered, {failed} "
              f"failed; p99 {report['latency_us']['p99']:.0f} us, max "
              f"{report['latency_us']['max']:.0f} us; the stages ended with "
              f"{' and '.join(map(str, ended))}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
