"""The load generator against servers that answer wrongly, pause or vanish.

Run by `make test`; V=asan or V=tsan picks the build.
"""

import collections
import ctypes
import functools
import json
import math
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import bad_servers as bad  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(ROOT, "build", os.environ.get("V", ""))
LOADGEN = os.path.join(BUILD, "loadgen")
LIMIT_S = 60  # a run that takes longer hangs


ENGINE = []    # what class ByRing adds to every command
WINDOW = [1]   # what every duration is multiplied by: happens_in()


def command(port, *switches, duration=0.1, warmup=0):
    return [LOADGEN, "--port", str(port),
            "--duration", str(duration * WINDOW[0]),
            "--warmup", str(warmup), "--json", "-", "--quiet", *ENGINE,
            *map(str, switches)]


def forbid_uring():
    """In a child before it begins: a filter of system calls as containers
    have, io_uring_setup is not permitted."""
    setup, allow, errno_eperm = 425, 0x7fff0000, 0x00050001
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, setup), (0x06, 0, 0, errno_eperm),
            (0x06, 0, 0, allow)]
    raw = b"".join(struct.pack("HBBI", *line) for line in code)
    held = ctypes.create_string_buffer(raw)
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(held))
    libc = ctypes.CDLL(None)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
        os._exit(99)


@functools.cache
def no_ring():
    """Why --engine uring is refused here, or "".  Nobody listens there, so
    nothing is measured in any case."""
    done = subprocess.run([LOADGEN, "--port", "1", "--engine", "uring"],
                          timeout=LIMIT_S, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=False)
    return done.stderr if done.returncode == 77 else ""


class ByRing:
    """The tests of a class once more, with the other engine."""

    def setUp(self):
        if os.environ.get("V") == "tsan":
            self.skipTest("a ring belongs to one thread: nothing to race for")
        if no_ring():
            self.skipTest(no_ring())
        ENGINE[:] = ["--engine", "uring"]
        self.addCleanup(ENGINE.clear)
        super().setUp()


def load(port, *switches, **times):
    """Runs the generator: (exit status, the JSON or None, stderr)."""
    done = subprocess.run(command(port, *switches, **times), timeout=LIMIT_S,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    result = json.loads(done.stdout) if done.stdout else None
    return done.returncode, result, done.stderr


class NotYet(AssertionError):
    """What a test waits for did not happen while the generator ran."""


class Case(unittest.TestCase):
    maxDiff = None

    def happened(self, what):
        """In a class of happens_in()."""
        if not what:
            raise NotYet(f"not in {WINDOW[0]} times its window")

    def clean(self, outcome):
        """Measured, something answered, nothing wrong."""
        status, result, stderr = outcome
        self.happened("no reply in the measured window" not in stderr)
        self.assertEqual(status, 0, f"{stderr}{result and result['errors']}")
        self.assertEqual(result["errors"]["total"], 0)
        self.assertGreater(result["requests"], 0)
        return result

    def counted(self, outcome, **want):
        """Exactly these errors, and exit status 1."""
        status, result, stderr = outcome
        errors = {k: v for k, v in result["errors"].items()
                  if v and k != "total"}
        self.assertEqual(errors, want, stderr)
        self.assertEqual(result["errors"]["total"], sum(want.values()))
        self.assertEqual(status, 1)
        return result


def asked_again(case, error, longer, tries=5):
    """A class whose tests are run again after this error, each time with
    windows so many times as long."""
    def again(test):
        @functools.wraps(test)
        def run(self):
            self.addCleanup(WINDOW.__setitem__, 0, 1)
            for left in reversed(range(tries)):
                try:
                    return test(self)
                except error:
                    if not left:
                        raise
                    WINDOW[0] *= longer
        return run
    for name in [n for n in vars(case) if n.startswith("test_")]:
        setattr(case, name, again(vars(case)[name]))
    return case


def measures(case):
    """A class whose tests judge times: on a crowded machine somebody may get
    the core so late that what is measured is the crowd.  What is wrong in the
    generator is wrong in every try."""
    return asked_again(case, AssertionError, 1)


def happens_in(case):
    """A class whose tests need something to happen in a window: a crowded
    machine may give the generator no core meanwhile.  Not for a subTest(),
    which keeps the error to itself."""
    return asked_again(case, NotYet, 3)


@happens_in
class RightReplies(Case):
    """What is right must not be counted as wrong, however it arrives."""

    def test_plain(self):
        with bad.Server(bad.http(lambda *_: bad.reply())) as server:
            result = self.clean(load(server.port, "--connections", 4))
            # Nothing asked but not counted: replies after the end only.
            self.assertLessEqual(
                server.count["requests"] - result["requests"], 4)

    def test_a_byte_at_a_time(self):
        def serve(_server, conn, _number):
            for _ in bad.Requests(conn):
                for byte in bad.reply():
                    conn.sendall(bytes([byte]))
        with bad.Server(serve) as server:
            self.clean(load(server.port, "--connections", 2))

    def test_chunked(self):
        chunks = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                  b"5\r\nHello\r\n9\r\n, World!\n\r\n0\r\n\r\n")
        with bad.Server(bad.http(lambda *_: chunks)) as server:
            self.clean(load(server.port, "--connections", 2))

    def test_header_that_changes_each_time(self):
        def answer(server, *_):
            return bad.reply(extra=b"X-Count: %d\r\n" % server.add("n"))
        with bad.Server(bad.http(answer)) as server:
            self.clean(load(server.port, "--connections", 2))

    def test_pipelined_and_mixed(self):
        def answer(_server, _number, path, _body):
            return bad.reply(bad.letters(int(path.split("/")[2])))
        with bad.Server(bad.http(answer)) as server:
            self.clean(load(server.port, "--connections", 2, "--pipeline", 16,
                            "--pipeline-mix"))

    def test_a_name_of_several_addresses(self):
        """The server listens on one of them only, and not on the first."""
        with bad.Server(bad.http(lambda *_: bad.reply())) as server, \
                tempfile.TemporaryDirectory() as d:
            hosts = os.path.join(d, "hosts")
            with open(hosts, "w", encoding="ascii") as f:
                f.write("127.0.0.9 several.test\n::1 several.test\n"
                        "127.0.0.1 several.test\n")
            # A name of its own needs a mount namespace of its own.
            inside = ["unshare", "--map-root-user", "--mount", "sh", "-c",
                      'mount --bind "$0" /etc/hosts && exec "$@"', hosts]
            if subprocess.run([*inside, "true"], check=False,
                              stderr=subprocess.DEVNULL).returncode:
                self.skipTest("no mount namespace here")
            done = subprocess.run(
                [*inside, *command(server.port, "--connections", 2,
                                   "--host", "several.test")],
                capture_output=True, text=True, check=False, timeout=LIMIT_S)
            self.clean((done.returncode, json.loads(done.stdout or "{}"),
                        done.stderr))

    def test_brackets_of_a_url(self):
        done = load(1, "--host", "[::1]")
        self.assertEqual(done[0], 2)
        self.assertIn("cannot connect to ::1:1", done[2])

    def test_posts(self):
        with bad.Server(bad.http(lambda _s, _n, _p, b: bad.reply(b))) as server:
            for size in (0, 1, 16, 100000):
                self.clean(load(server.port, "--connections", 2, "--method",
                                "POST", "--size", size, duration=0.1))

    def test_expected_bodies(self):
        body = b"two\nlines \\ and more"
        with bad.Server(bad.http(lambda *_: bad.reply(body))) as server, \
                tempfile.NamedTemporaryFile() as file:
            file.write(body)
            file.flush()
            for how in (["--expect-body", r"two\nlines \\ and more"],
                        ["--expect-file", file.name], ["--expect-any"]):
                self.clean(load(server.port, "--connections", 1, *how,
                                duration=0.05))
            status, result, _ = load(server.port, "--connections", 1,
                                     "--expect-body", "two", duration=0.05)
            self.assertEqual((status, result["requests"]), (1, 0))

    def test_announced_close(self):
        """A server may end a connection when it says so first."""
        def serve(server, conn, _number):
            for n, _ in enumerate(bad.Requests(conn)):
                last = n == 4
                conn.sendall(bad.reply(
                    extra=b"Connection: close\r\n" if last else b""))
                if last:
                    server.add("closed")
                    bad.finish(conn)
                    return
        for rate in ([], ["--rate", 300]):
            with bad.Server(serve) as server:
                result = self.clean(load(server.port, "--connections", 2,
                                         "--pipeline", 4, *rate))
                self.happened(server.count["closed"] > 2)
                self.assertGreater(result["connects"], 2)

    def test_connection_per_request(self):
        def serve(server, conn, _number):
            for _ in bad.Requests(conn):
                server.add("requests")
                conn.sendall(bad.reply(extra=b"Connection: close\r\n"))
                return
        with bad.Server(serve) as server:
            result = self.clean(load(server.port, "--connections", 4,
                                     "--close", "--sources", 3))
            self.assertAlmostEqual(result["connects"], result["requests"],
                                   delta=4)
            peers = {peer[0] for _, peer in server.conns}
            self.assertLessEqual({"127.0.0.2", "127.0.0.3", "127.0.0.4"},
                                 peers)

    def test_body_that_ends_with_the_connection(self):
        def serve(_server, conn, _number):
            for _ in bad.Requests(conn):
                conn.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" +
                             bad.HELLO)
                return
        with bad.Server(serve) as server:
            self.clean(load(server.port, "--connections", 2, "--close"))
            self.clean(load(server.port, "--connections", 2))

    def test_echo(self):
        def serve(_server, conn, _number):
            while data := conn.recv(4096):
                conn.sendall(data)
        with bad.Server(serve) as server:
            for size in (1, 15, 16, 64, 9000):
                for depth in (1, 8):
                    self.clean(load(server.port, "--app", "echo",
                                    "--connections", 2, "--size", size,
                                    "--pipeline", depth, duration=0.05))

    def test_echo_in_single_bytes(self):
        def serve(_server, conn, _number):
            while data := conn.recv(4096):
                for byte in data:
                    conn.sendall(bytes([byte]))
        with bad.Server(serve) as server:
            self.clean(load(server.port, "--app", "echo", "--connections", 1,
                            "--size", 40, "--pipeline", 3, duration=0.2))


@happens_in
class WrongReplies(Case):
    """Each fault is counted, as often as it happened, in its own class."""

    def check(self, serve, error, *switches, name="bad", **times):
        with bad.Server(serve) as server:
            outcome = load(server.port, "--connections", 4, *switches, **times)
            self.happened(server.count[name])
            return self.counted(outcome, **{error: server.count[name]})

    def test_bytes(self):
        for body in (b"Hello, World!\r", b"hello, World!\n"):
            self.check(bad.every(10, "bad", bad.reply(body)), "bytes")

    def test_length(self):
        for body in (bad.HELLO[:-1], bad.HELLO + b"\n", b""):
            self.check(bad.every(10, "bad", bad.reply(body)), "length")

    def test_status(self):
        wrong = bad.reply(b"no\n", status=b"503 Busy")
        self.check(bad.every(10, "bad", wrong), "status")

    def test_malformed(self):
        wrong = b"HTTP/1.1 200 OK\r\nContent-Length 14\r\n\r\n" + bad.HELLO
        self.check(bad.every(10, "bad", wrong), "malformed")

    def test_extra(self):
        self.check(bad.every(10, "bad", bad.reply() + b"more"), "extra")

    def test_two_replies_to_one_request(self):
        self.check(bad.every(10, "bad", bad.reply() * 2), "extra")

    def test_body_cut_off(self):
        def serve(server, conn, _number):
            for _ in bad.Requests(conn):
                if server.add("turn") % 10:
                    conn.sendall(bad.reply())
                    continue
                server.add("bad")
                conn.sendall(bad.reply(bad.HELLO[:5], length=14))
                return
        self.check(serve, "length")

    def test_lost(self):
        def serve(server, conn, _number):
            for _ in bad.Requests(conn):
                if server.add("turn") % 10 == 0:
                    server.add("bad")
                    return
                conn.sendall(bad.reply())
        self.check(serve, "lost")

    def test_reset(self):
        def serve(server, conn, _number):
            for _ in bad.Requests(conn):
                if server.add("turn") % 10 == 0:
                    server.add("bad")
                    bad.abort(conn)
                    return
                conn.sendall(bad.reply())
        self.check(serve, "reset")

    def test_silence(self):
        """No answer, and the connection stays open: found after the end too."""
        def serve(server, conn, _number):
            for _ in bad.Requests(conn):
                if server.add("turn") % 50 == 0:
                    server.add("bad")
                    continue
                conn.sendall(bad.reply())
        with bad.Server(serve) as server:
            outcome = load(server.port, "--connections", 4, "--timeout", 2)
            self.happened(server.count["bad"])
            self.counted(outcome, timeout=server.count["bad"])

    def test_connecting_without_end(self):
        """One slot in the backlog, taken by the first try: the others hang."""
        with socket.create_server(("127.0.0.1", 0), backlog=0) as s:
            outcome = load(s.getsockname()[1], "--close", "--connections", 3,
                           "--timeout", 0.2)
            self.counted(outcome, timeout=3)

    def test_lost_behind_others(self):
        """Of a batch of eight the server answers three and ends."""
        def serve(server, conn, number):
            for n, _ in enumerate(bad.Requests(conn)):
                if number >= 2:  # behave from the third connection on
                    conn.sendall(bad.reply())
                elif n == 7:
                    conn.sendall(bad.reply() * 3)
                    conn.shutdown(socket.SHUT_WR)
                    server.add("bad", 5)
                elif n > 7:  # asked for when the three had come
                    server.add("bad")
            server.add("ended")
        with bad.Server(serve) as server:
            outcome = load(server.port, "--connections", 2, "--pipeline", 8)
            while server.count["ended"] < len(server.conns):
                time.sleep(0.01)
            self.happened(server.count["bad"] >= 10)
            self.counted(outcome, lost=server.count["bad"])

    def test_close_that_does_not_come(self):
        def serve(server, conn, _number):
            for _ in bad.Requests(conn):
                server.add("bad")
                conn.sendall(bad.reply())
        with bad.Server(serve) as server:
            status, result, _ = load(server.port, "--connections", 2,
                                     "--close", "--timeout", 0.2)
            self.happened(server.count["bad"])
            self.assertEqual(status, 1)
            self.assertGreater(result["errors"]["timeout"], 0)
            self.assertEqual(result["errors"]["timeout"],
                             result["errors"]["total"])

    def test_swapped(self):
        """Two neighbours of a pipeline trade places."""
        def serve(server, conn, _number):
            held = None
            requests = bad.Requests(conn)
            for path, body in requests:
                if path.startswith("/bytes/"):
                    body = bad.letters(int(path.split("/")[2]))
                data = bad.reply(body)
                if held is None and requests.ready() and \
                        server.add("turn") % 20 == 0:
                    held = data
                    continue
                if held:  # before the client can count it
                    server.add("bad")
                conn.sendall(data + (held or b""))
                held = None
        for switches in (["--pipeline-mix"],
                         ["--method", "POST", "--size", 50]):
            with bad.Server(serve) as server:
                outcome = load(server.port, "--connections", 2, "--pipeline",
                               4, *switches)
                self.happened(server.count["bad"])
                self.counted(outcome, order=server.count["bad"])

    def test_first_answer_of_another_connection(self):
        kept = []

        def answer(server, number, _path, body):
            if number == 0:
                kept.append(body)
            if number == 1 and kept and server.add("turn") == 20:
                return bad.reply(kept[0])
            return bad.reply(body)
        with bad.Server(bad.http(answer)) as server:
            outcome = load(server.port, "--connections", 2, "--method", "POST",
                           "--size", 64)
            self.happened(server.count["turn"] >= 20)
            self.counted(outcome, order=1)

    def test_post_body_byte(self):
        def answer(server, _number, _path, body):
            if server.add("turn") % 10 == 0:
                server.add("bad")
                return bad.reply(body[:30] + b"!" + body[31:])
            return bad.reply(body)
        self.check(bad.http(answer), "bytes", "--method", "POST", "--size", 64)


@measures
class Silence(Case):
    def test_does_not_hold_a_connection(self):
        """Each connection goes silent several times, and is given up."""
        def serve(server, conn, _number):
            for n, _ in enumerate(bad.Requests(conn)):
                if n == 3:
                    server.add("bad")
                    continue
                conn.sendall(bad.reply())
        with bad.Server(serve) as server:
            outcome = load(server.port, "--connections", 2, "--timeout", 0.2,
                           duration=1)
            self.assertGreater(server.count["bad"], 4)
            self.counted(outcome, timeout=server.count["bad"])


@happens_in
class WrongEchoes(Case):
    def run_echo(self, change, *switches):
        """change(server, messages) gives what is sent for each message."""
        def serve(server, conn, _number):
            for out in change(server, bad.Messages(conn, 64)):
                conn.sendall(out)
        with bad.Server(serve) as server:
            outcome = load(server.port, "--app", "echo", "--size", 64,
                           "--connections", 2, "--timeout", 2, *switches)
            self.happened(server.count["bad"] or server.count["turn"] > 100)
            return server, outcome

    def test_byte(self):
        def change(server, messages):
            for m in messages:
                if server.add("turn") % 20 == 0:
                    server.add("bad")
                    m = m[:-1] + b"!"
                yield m
        for depth in (1, 8):
            server, outcome = self.run_echo(change, "--pipeline", depth)
            self.counted(outcome, bytes=server.count["bad"])

    def test_swapped(self):
        def change(server, messages):
            held = b""
            for m in messages:
                if not held and messages.ready() and \
                        server.add("turn") % 20 == 0:
                    held = m
                    continue
                server.add("bad", bool(held))
                yield m + held
                held = b""
        server, outcome = self.run_echo(change, "--pipeline", 8)
        self.happened(server.count["bad"])
        self.counted(outcome, order=server.count["bad"])

    def test_twice(self):
        def change(server, messages):
            for m in messages:
                if server.add("turn") % 20 == 0:
                    server.add("bad")
                    m = m * 2
                yield m
        for depth in (1, 8):
            server, outcome = self.run_echo(change, "--pipeline", depth)
            # The surplus ends the connection, so the server may have doubled
            # messages that were never looked at.
            status, result, _ = outcome
            self.assertEqual(status, 1)
            self.assertGreater(result["errors"]["duplicate"], 0)
            self.assertEqual(result["errors"]["duplicate"],
                             result["errors"]["total"])

    def test_dropped(self):
        """One message is left out: those behind it come too early."""
        def change(server, messages):
            for m in messages:
                if server.add("turn") == 100:
                    continue
                yield m
        server, outcome = self.run_echo(change, "--pipeline", 4)
        status, result, _ = outcome
        self.assertEqual(status, 1)
        self.assertEqual(result["errors"]["timeout"], 1)
        self.assertEqual(result["errors"]["order"], 3)

    def test_byte_lost(self):
        def change(server, messages):
            for m in messages:
                yield m[1:] if server.add("turn") == 100 else m
        server, outcome = self.run_echo(change, "--pipeline", 4)
        self.counted(outcome, bytes=1)


class OneThread:
    """A server with one thread, so that a pause stops everybody."""

    def __init__(self, pause_at=None, pause_s=0.2, each_s=0.0):
        import selectors
        self.selectors = selectors
        self.pause_at, self.pause_s, self.each_s = pause_at, pause_s, each_s
        self.parent, self.child = socket.socketpair()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.serve()
            finally:
                os._exit(0)
        self.listener.close()
        self.child.close()

    def serve(self):
        self.parent.close()
        sel = self.selectors.DefaultSelector()
        sel.register(self.listener, self.selectors.EVENT_READ)
        sel.register(self.child, self.selectors.EVENT_READ)
        began = None
        while True:
            for key, _ in sel.select():
                sock = key.fileobj
                if sock is self.child:
                    return
                if sock is self.listener:
                    conn, _ = sock.accept()
                    sel.register(conn, self.selectors.EVENT_READ)
                    continue
                try:
                    data = sock.recv(65536)
                    n = data.count(b"\r\n\r\n")
                    began = began or time.monotonic()
                    if self.pause_at and \
                            time.monotonic() - began > self.pause_at:
                        self.pause_at = None
                        time.sleep(self.pause_s)
                    if self.each_s:
                        time.sleep(self.each_s * n)
                    sock.sendall(bad.reply() * n)
                except OSError:
                    data = b""
                if not data:
                    sel.unregister(sock)
                    sock.close()

    def close(self):
        self.parent.close()  # which ends the child
        os.waitpid(self.pid, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class RightRepliesByRing(ByRing, RightReplies):
    # What is before the first byte is not the engine's.
    test_a_name_of_several_addresses = test_brackets_of_a_url = None


class WrongRepliesByRing(ByRing, WrongReplies):
    test_silence = None    # as SilenceByRing


class SilenceByRing(ByRing, Silence):
    pass


class WrongEchoesByRing(ByRing, WrongEchoes):
    test_dropped = None    # as WrongRepliesByRing.test_lost_behind_others


class SlowReaders(Case):
    """A server that reads slowly: sends take a part, or nothing."""

    def slow(self, conn):
        """An echo server of POST that looks away between its reads."""
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        held = b""
        while True:
            time.sleep(0.002)
            data = conn.recv(50000)
            if not data:
                return
            held += data
            while b"\r\n\r\n" in held:
                head, _, rest = held.partition(b"\r\n\r\n")
                size = int(re.search(rb"Content-Length: (\d+)", head)[1])
                if len(rest) < size:
                    break
                conn.sendall(bad.reply(rest[:size]))
                held = rest[size:]

    def ask(self, *switches):
        """All that was asked is answered, though perhaps after the window."""
        def serve(_server, conn, _number):
            self.slow(conn)
        with bad.Server(serve) as server:
            _, result, stderr = load(server.port, "--method", "POST",
                                     "--connections", 1, "--timeout", 30,
                                     "--rate", 2000, *switches, duration=0.1)
        self.assertEqual(result["errors"]["total"], 0, stderr)
        self.assertEqual(result["unfinished"], 0, stderr)
        self.assertEqual(result["latency_us"]["count"], result["arrivals"])
        self.assertGreater(result["arrivals"], 2)

    def test_more_than_the_sockets_hold(self):
        self.ask("--pipeline", 256, "--size", 60000)

    def test_bodies_that_no_turn_has_room_for(self):
        self.ask("--size", 1200000, "--rate", 40)


class SlowReadersByRing(ByRing, SlowReaders):
    pass


class OfTheRing(ByRing, Case):
    """What only this engine has: buffers that can run out, and receives that
    hold a socket open."""

    def test_more_bytes_than_buffers(self):
        """It looks away while more comes than its buffers hold."""
        server = subprocess.Popen(
            [os.path.join(BUILD, "stage2"), "--port", "0"],
            stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        port = int(server.stdout.readline().rsplit(":", 1)[1])
        _, result, stderr = load(
            port, "--connections", 256, "--path", "/bytes/200000",
            "--timeout", 30, "--test-pause", "0:400", duration=0.5)
        self.assertEqual(result["errors"]["total"], 0, stderr)

    def test_a_connection_that_is_given_up_is_closed(self):
        """The server has no more open than the generator has."""
        def serve(server, conn, _number):
            most = server.add("open")
            server.count["most"] = max(server.count["most"], most)
            for _ in bad.Requests(conn):
                conn.sendall(b"this is not HTTP\r\n\r\n")
            server.add("open", -1)
        with bad.Server(serve) as server:
            _, result, _ = load(server.port, "--connections", 2)
            most = server.count["most"]
        self.assertGreater(result["errors"]["malformed"], 0)
        if result["errors"]["malformed"] > 40:   # else too slow to show it
            self.assertLess(most, 20)


@happens_in
class Engines(Case):
    """Which engine it was, and the open loop by both."""

    def test_each_is_named(self):
        with bad.Server(bad.http(lambda *_: bad.reply())) as server:
            for asked, got in (("epoll", "epoll"), (None, "epoll"),
                               ("auto", "epoll" if no_ring() else "uring")):
                words = ["--engine", asked] if asked else []
                result = self.clean(load(server.port, *words, duration=0.1))
                self.assertEqual(result["engine"], got, asked)

    def test_no_such_engine(self):
        status, _, stderr = load(1, "--engine", "poll")
        self.assertEqual(status, 64)
        self.assertIn("--engine", stderr)

    def test_a_ring_that_is_forbidden(self):
        """77 and the reason; auto takes the other engine."""
        with bad.Server(bad.http(lambda *_: bad.reply())) as server:
            for asked, want in (("uring", 77), ("auto", 0)):
                done = subprocess.run(
                    command(server.port, "--engine", asked, duration=0.1),
                    timeout=LIMIT_S, capture_output=True, text=True,
                    check=False, preexec_fn=forbid_uring)
                self.assertEqual(done.returncode, want, done.stderr)
                if want == 0:
                    self.assertEqual(json.loads(done.stdout)["engine"],
                                     "epoll")
                else:
                    self.assertRegex(done.stderr, "--engine uring: .*EPERM")

    def open_loop(self, *switches):
        """Requests at their intended times: a pause of the server of 200 ms
        is in the latency of some, and no request is lost or made up."""
        with OneThread(pause_at=0.3, pause_s=0.2) as server:
            result = self.clean(load(
                server.port, "--connections", 4, "--rate", 2000, *switches,
                duration=1))
        self.assertGreaterEqual(result["latency_us"]["max"], 190000)
        self.assertEqual(result["arrivals"], result["latency_us"]["count"])
        self.assertAlmostEqual(result["arrivals"], 2000, delta=1)

    def test_open_loop_by_ring(self):
        if no_ring():
            self.skipTest(no_ring())
        self.open_loop("--engine", "uring")
        self.open_loop("--engine", "uring", "--spin", "on",
                       "--pattern", "zipf:1", "--pipeline", 8)


@happens_in
class InTurns(Case):
    """--turns: told from outside when to work, and quiet in between."""

    def pair(self, server, words, *switches, before=lambda turn: None):
        """Plays the words; (outcome, requests that the server had got when
        each turn was answered)."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(LIMIT_S)
            proc = subprocess.Popen(
                command(server.port, "--turns", 0.03 * WINDOW[0], *switches),
                stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True)
            theirs.close()
            seen = []
            for turn, word in enumerate(words):
                before(turn)
                ours.send(word)
                if ours.recv(1) != word:
                    break
                seen.append(server.count["requests"])
            time.sleep(0.1)     # it is quiet
            if seen:
                self.assertEqual(server.count["requests"], seen[-1])
            ours.shutdown(socket.SHUT_WR)
            out, err = proc.communicate(timeout=LIMIT_S)
        return (proc.returncode, json.loads(out) if out else None, err), seen

    def test_counts_what_was_answered_in_turns_that_count(self):
        def one(server, conn, _number):
            for _ in bad.Requests(conn):
                server.add("requests")
                conn.sendall(bad.reply(extra=b"Connection: close\r\n"))
                return
        many = bad.http(lambda *_: bad.reply())
        for serve, *switches in ((many,), (one, "--close"),
                                 (many, "--pipeline", 4)):
            with bad.Server(serve) as server:
                outcome, seen = self.pair(server, [b"w", b"m", b"w", b"m"],
                                          "--connections", 3, *switches)
                result = self.clean(outcome)
                steps = [b - a for a, b in zip([0, *seen], seen)]
                self.happened(all(steps))
                self.assertEqual(result["requests"], steps[1] + steps[3])
                self.assertGreaterEqual(result["duration_s"], 0.06)
                self.assertLessEqual(result["latency_us"]["count"],
                                     result["requests"])

    def test_switches_before_the_first_that_counts_do_not(self):
        serve = bad.http(lambda *_: bad.reply())
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, bufsize=0,
                              stdout=subprocess.PIPE) as cat, \
                bad.Server(serve) as server:
            def slept():
                with open(f"/proc/{cat.pid}/status", encoding="ascii") as f:
                    return int(re.search(r"^voluntary\D+(\d+)", f.read(),
                                         re.M)[1])

            def sleeps(turn):
                while turn == 1 and slept() < 100:
                    cat.stdin.write(b"x")    # wakes it, and it sleeps again
                    cat.stdout.read(1)

            outcome, _ = self.pair(server, [b"w", b"w", b"m"], "--connections",
                                   2, "--server-pid", cat.pid, before=sleeps)
            self.assertLess(self.clean(outcome)["server"]["vol_ctx"], 50)
            cat.stdin.close()

    def test_an_error_ends_it(self):
        with bad.Server(bad.every(5, "bad", bad.reply(b"no"))) as server:
            outcome, seen = self.pair(server, [b"m"], "--connections", 1)
            self.assertEqual(len(seen), 1)
            self.happened(server.count["bad"])
            self.counted(outcome, length=server.count["bad"])

    def test_no_answer_ends_it(self):
        def serve(server, conn, _number):
            for number, _ in enumerate(bad.Requests(conn)):
                if number < 3:
                    conn.sendall(bad.reply())
                else:
                    server.add("silent")
        with bad.Server(serve) as server:
            outcome, seen = self.pair(server, [b"m"], "--connections", 1,
                                      "--timeout", "0.2")
            self.happened(server.count["silent"])
            self.assertLessEqual(len(seen), 1)
            self.assertEqual(outcome[0], 1)
            self.assertGreater(outcome[1]["errors"]["timeout"], 0)

    def test_not_told_anything(self):
        with bad.Server(bad.http(lambda *_: bad.reply())) as server:
            outcome, _ = self.pair(server, [], "--connections", 2)
            self.assertEqual(outcome[0], 2)
            self.assertIn("no reply", outcome[2])

    def test_what_has_no_pause(self):
        for switches in (["--rate", 10], ["--idle", 3], ["--threads", 2]):
            done = load(1, "--turns", 1, "--connections", 4, *switches)
            self.assertEqual(done[0], 64)
            self.assertIn("--turns", done[2])


class InTurnsByRing(ByRing, InTurns):
    pass


@measures
class Pauses(Case):
    """A pause of 200 ms shows in the open loop, and whose it was."""

    SWITCHES = ["--connections", 8, "--rate", 1000]

    def shown(self, outcome, who):
        result = self.clean(outcome)
        # Of a second of intended times, a fifth fell into the pause.
        self.assertGreater(result["latency_us"]["p99.9"], 150000)
        self.assertGreater(result["latency_us"]["p99"], 100000)
        self.assertEqual(result["tail"]["p99.9"]["blame"], who, result)
        self.assertEqual(result["tail"]["p99"]["blame"], who, result)
        return result

    def test_of_the_server(self):
        for arrivals in ("fixed", "poisson"):
            with OneThread(pause_at=0.3) as server:
                result = self.shown(load(
                    server.port, *self.SWITCHES, "--arrivals", arrivals,
                    duration=1), "server")
                # Seen from the actual send times the pause nearly vanishes:
                # only the requests that were under way have it.
                self.assertLess(result["uncorrected_latency_us"]["p90"],
                                result["latency_us"]["max"] / 2)

    def test_of_the_server_with_each_pattern(self):
        for pattern in ("uniform", "zipf:1"):
            with OneThread(pause_at=0.3) as server:
                self.shown(load(server.port, *self.SWITCHES, "--pattern",
                                pattern, duration=1), "server")

    def test_of_the_generator(self):
        for spin in ("auto", "on", "off"):
            with OneThread() as server:
                result = self.shown(load(
                    server.port, *self.SWITCHES, "--test-pause", "0.3:200",
                    "--spin", spin, duration=1), "generator")
                self.assertEqual(result["limited_by"], "generator")
                self.assertGreater(result["lateness_us"]["max"], 150000)

    def test_of_a_server_that_was_stopped(self):
        """SIGSTOP, as a laptop's lid does it."""
        with OneThread() as server:
            child = subprocess.Popen(
                command(server.port, *self.SWITCHES, duration=1.2),
                stdout=subprocess.PIPE, text=True)
            time.sleep(0.6)
            os.kill(server.pid, signal.SIGSTOP)
            time.sleep(0.2)
            os.kill(server.pid, signal.SIGCONT)
            out, _ = child.communicate(timeout=LIMIT_S)
            self.shown((child.returncode, json.loads(out), ""), "server")

    def test_low_rates_are_not_the_generators_limit(self):
        """A handful of requests: one late one decides nothing.  A reply takes
        20 ms, so that a slow machine's wake-ups are no tenth of it."""
        with OneThread(each_s=0.02) as server:
            for rate in (3, 7.5):
                result = self.clean(load(
                    server.port, "--rate", rate, "--connections", 4,
                    "--test-pause", "0.5:400", duration=2))
                self.assertEqual(result["limited_by"], "none", result)

    def test_of_a_generator_that_was_stopped(self):
        with OneThread() as server:
            child = subprocess.Popen(
                command(server.port, *self.SWITCHES, duration=1.2),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            time.sleep(0.6)
            child.send_signal(signal.SIGSTOP)
            time.sleep(0.2)
            child.send_signal(signal.SIGCONT)
            out, err = child.communicate(timeout=LIMIT_S)
            self.shown((child.returncode, json.loads(out), err), "generator")

    def test_replies_that_nobody_read(self):
        """The generator pauses after a send and before the next: no send is
        late, but a reply that took 100 ms is seen after 200."""
        def answer(*_):
            time.sleep(0.1)
            return bad.reply()
        with bad.Server(bad.http(answer)) as server:
            result = self.clean(load(
                server.port, "--connections", 4, "--rate", 4, "--test-pause",
                "0.51:200", duration=1))
        self.assertGreater(result["latency_us"]["max"], 130000)
        self.assertLess(result["lateness_us"]["max"], 50000)
        self.assertEqual(result["tail"]["max"]["blame"], "generator")

    def test_closed_loop_hides_it(self):
        """Why the open loop is there: the same pause, and the p99 of a closed
        loop does not move."""
        with OneThread(pause_at=0.3) as server:
            result = self.clean(load(server.port, "--connections", 8,
                                     duration=1))
            self.assertGreater(result["latency_us"]["max"], 150000)
            self.assertLess(result["latency_us"]["p99"], 100000)


@measures
class Arithmetic(Case):
    def test_littles_law(self):
        """Connections = rate * time each request is under way."""
        def answer(*_):
            time.sleep(0.01)
            return bad.reply()
        for switches, inside in ((["--connections", 8], 8),
                                 (["--connections", 4, "--threads", 2], 4)):
            with bad.Server(bad.http(answer)) as server:
                result = self.clean(load(server.port, *switches, duration=1,
                                         warmup=0.2))
                mean_s = result["latency_us"]["mean"] / 1e6
                self.assertAlmostEqual(result["qps"] * mean_s, inside,
                                       delta=0.1 * inside)

    def test_rate_and_counts_agree(self):
        began = time.monotonic()
        with OneThread() as server:
            result = self.clean(load(server.port, "--connections", 8, "--rate",
                                     400, duration=1, warmup=0.2))
        self.assertLess(began + 1.2, result["ended_s"])
        self.assertLess(result["ended_s"], time.monotonic())
        self.assertAlmostEqual(result["arrivals"], 400, delta=1)
        self.assertEqual(result["latency_us"]["count"], result["arrivals"])
        self.assertAlmostEqual(result["qps"],
                               result["requests"] / result["duration_s"],
                               delta=0.5)
        self.assertAlmostEqual(result["duration_s"], 1, delta=0.2)
        self.assertEqual(result["lateness_us"]["count"], result["arrivals"])

    def test_threads_add_up(self):
        with OneThread() as server:
            result = self.clean(load(server.port, "--connections", 9, "--rate",
                                     600, "--threads", 4, duration=1))
        self.assertAlmostEqual(result["arrivals"], 600, delta=4)
        self.assertEqual(result["latency_us"]["count"], result["arrivals"])

    def test_classes_add_up(self):
        def answer(server, _number, path, _body):
            server.add(path)
            time.sleep(int(path.split("/")[2]) / 1e6)
            return bad.reply(b"")
        with bad.Server(bad.http(answer)) as server:
            result = self.clean(load(
                server.port, "--connections", 8, "--service",
                "bimodal:0.2:1000:20000", "--service-kind", "sleep", "--rate",
                200, duration=1))
            self.assertEqual(set(server.count), {
                "requests", "/sleep/1000", "/sleep/20000"})
            slow = server.count["/sleep/20000"]
        fast_class, slow_class = result["classes"]
        self.assertEqual(slow_class["latency_us"]["count"], slow)
        self.assertEqual(fast_class["latency_us"]["count"] + slow,
                         result["latency_us"]["count"])
        self.assertGreater(slow_class["latency_us"]["p50"], 20000)
        self.assertGreater(fast_class["latency_us"]["p50"], 1000)

    def test_a_seed_fixes_what_is_asked(self):
        def asked(seed):
            paths = []

            def answer(_server, _number, path, _body):
                paths.append(path)
                return bad.reply(b"")
            with bad.Server(bad.http(answer)) as server:
                self.clean(load(server.port, "--connections", 1, "--service",
                                "exp:300", "--seed", seed, duration=0.2))
            return paths[:100]
        first = asked(5)
        self.assertEqual(len(first), 100)
        self.assertEqual(first, asked(5))
        self.assertNotEqual(first, asked(6))

    def test_hot_connection(self):
        for rate in ([], ["--rate", 2000]):
            counts = collections.Counter()

            def answer(_server, number, _path, _body, counts=counts):
                counts[number] += 1
                return bad.reply()
            with bad.Server(bad.http(answer)) as server:
                self.clean(load(server.port, "--connections", 8, "--pattern",
                                "hot:0.5", *rate, duration=0.5))
            share = max(counts.values()) / sum(counts.values())
            self.assertAlmostEqual(share, 0.5, delta=0.1)
            self.assertEqual(len(counts), 8)

    def test_overload_is_the_servers(self):
        """200 a second at most, 400 wanted: what is not answered still counts
        by its age, and the server was the limit."""
        with OneThread(each_s=0.005) as server:
            status, result, _ = load(server.port, "--connections", 4, "--rate",
                                     400, "--timeout", 0.5, duration=1)
        self.assertEqual(status, 0)
        self.assertEqual(result["limited_by"], "server")
        self.assertGreater(result["unfinished"], 0)
        self.assertEqual(result["latency_us"]["count"], result["arrivals"])
        self.assertGreater(result["latency_us"]["p90"], 300000)
        self.assertLess(result["achieved_rate"], 250)


@measures
class Crowd(Case):
    def test_holds_and_spreads(self):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with bad.Server(bad.http(lambda *_: bad.reply())) as server:
            status, result, stderr = load(
                server.port, "--connections", 0, "--idle", 30, "--processes",
                3, "--sources", 5, "--heartbeat", 0.2, duration=1)
            self.assertEqual(status, 0, stderr)
            peers = collections.Counter(p[0] for _, p in server.conns)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # It slept between its requests: here it takes 0.03 s of a cpu, and
        # more than a second when it does not.
        self.assertLess(after.ru_utime + after.ru_stime
                        - before.ru_utime - before.ru_stime, 0.5)
        idle = result["idle"]
        self.assertEqual((idle["wanted"], idle["open"], idle["lost"],
                          idle["failed"]), (30, 30, 0, 0))
        self.assertGreater(idle["opening_s"], 0)
        # Each connection had its turn about every 0.2 s.
        self.assertGreater(idle["heartbeats"], 90)
        self.assertLess(idle["heartbeats"], 260)
        self.assertGreater(idle["heartbeat_us"]["count"], 90)
        self.assertEqual(len(peers), 6)  # one probe from 127.0.0.1
        self.assertEqual(peers["127.0.0.6"], 6)

    def test_sees_what_is_lost(self):
        def serve(_server, conn, number):
            if number % 3:
                conn.recv(1)  # until the generator leaves
            else:
                time.sleep(0.3)
        with bad.Server(serve) as server:
            status, result, _ = load(server.port, "--connections", 0, "--idle",
                                     11, duration=1)
        self.assertEqual(status, 1)
        self.assertEqual(result["idle"]["open"] + result["idle"]["lost"], 11)
        self.assertIn(result["idle"]["lost"], (3, 4))  # the probe is one

    def test_sees_wrong_heartbeats(self):
        with bad.Server(bad.http(lambda *_: bad.reply(b"no"))) as server:
            status, result, _ = load(server.port, "--connections", 0, "--idle",
                                     5, "--heartbeat", 0.1, duration=0.5)
        self.assertEqual(status, 1)
        self.assertGreater(result["idle"]["heartbeat_errors"], 5)

    def test_leaves_nobody_behind(self):
        with bad.Server(bad.http(lambda *_: bad.reply())) as server:
            child = subprocess.Popen(
                command(server.port, "--connections", 1, "--idle", 4,
                        "--processes", 2, duration=20),
                stdout=subprocess.DEVNULL)
            for _ in range(500):
                if len(server.conns) >= 5:
                    break
                time.sleep(0.01)
            path = f"/proc/{child.pid}/task/{child.pid}/children"
            with open(path, encoding="ascii") as f:
                crowd = f.read().split()
            child.kill()
            child.wait()
            for _ in range(500):
                left = [p for p in crowd if alive(p)]
                if not left:
                    break
                time.sleep(0.01)
            for pid in left:
                os.kill(int(pid), signal.SIGKILL)
            self.assertEqual((len(crowd), left), (2, []))


def alive(pid):
    """Running, and not a zombie that nobody has collected yet."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@happens_in
class Interface(Case):
    def test_wrong_usage(self):
        for switches in (
                ["--nonsense"], ["--port", "0"], ["--port", "70000"],
                ["--duration", "x"], ["--duration", "nan"], ["--rate", "-1"],
                ["--app", "ftp"], ["--service", "const:"], ["stray"],
                ["--pattern", "hot:2"], ["--method", "PUT"],
                ["--close", "--pipeline", "2"], ["--size", "3"],
                ["--service", "const:1", "--path", "/x"],
                ["--app", "echo", "--path", "/"], ["--path", "x"],
                ["--connections", "0"], ["--heartbeat", "1"],
                ["--expect-file", "/nonexistent"], ["--cpu", "1,x"],
                ["--host", "no such host"], ["--test-pause", "1"]):
            status, result, stderr = load(1, *switches)
            self.assertEqual((status, result), (64, None), switches)
            self.assertTrue(stderr.strip(), switches)
        done = subprocess.run([LOADGEN], stderr=subprocess.PIPE, text=True,
                              check=False)
        self.assertEqual(done.returncode, 64)
        self.assertIn("--port", done.stderr)

    def test_nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            port = s.getsockname()[1]
        for switches in ([], ["--close"], ["--connections", 0, "--idle", 3],
                         ["--rate", 10], ["--threads", 3]):
            status, result, stderr = load(port, *switches)
            self.assertEqual((status, result), (2, None), switches)
            self.assertIn("refused", stderr)

    def test_nobody_accepts(self):
        """A full backlog: connecting takes as long as it may, and no longer."""
        with socket.create_server(("127.0.0.1", 0), backlog=0) as s:
            began = time.monotonic()
            status, _, stderr = load(s.getsockname()[1], "--connections", 20,
                                     "--connect-timeout", 0.3)
            self.assertEqual(status, 2)
            self.assertIn("timed out", stderr)
            self.assertLess(time.monotonic() - began, 10)

    def test_server_that_dies(self):
        server = OneThread()
        child = subprocess.Popen(
            command(server.port, "--connections", 4, duration=1),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(0.2 * WINDOW[0])
        server.close()
        out, err = child.communicate(timeout=LIMIT_S)
        self.happened("cannot connect" not in err)
        self.assertEqual(child.returncode, 1, err)
        result = json.loads(out)
        self.assertGreater(result["errors"]["connect"], 0)
        self.assertLess(result["errors"]["total"], 200)  # it does not storm

    def test_no_such_process(self):
        child = subprocess.Popen(["true"])
        child.wait()
        with OneThread() as server:
            status, result, stderr = load(server.port, "--server-pid",
                                          child.pid)
        self.assertEqual((status, result), (2, None))
        self.assertIn("--server-pid", stderr)

    def test_output_that_cannot_be_written(self):
        with OneThread() as server:
            for switch in ("--json", "--hgrm"):
                status, _, stderr = load(server.port, switch, "/dev/full",
                                         duration=0.05)
                self.assertEqual(status, 2, switch)
                self.assertIn("/dev/full", stderr)

    def test_output_is_tried_before_the_measurement(self):
        with OneThread() as server:
            for switch in ("--json", "--hgrm"):
                began = time.monotonic()
                status, _, stderr = load(server.port, switch, "/none/a",
                                         duration=20)
                self.assertEqual(status, 2, switch)
                self.assertIn("/none/a", stderr)
                self.assertLess(time.monotonic() - began, 10)

    def test_an_output_keeps_what_it_held_until_the_end(self):
        with tempfile.NamedTemporaryFile("w+") as f:
            f.write("old" * 1000)
            f.flush()
            status, _, _ = load(1, "--json", f.name)    # nobody there
            f.seek(0)
            self.assertEqual((status, f.read()), (2, "old" * 1000))
            with OneThread() as server:
                load(server.port, "--json", f.name, duration=0.05)
            f.seek(0)
            self.happened(json.load(f)["requests"] > 0)

    def test_two_outputs_to_one_place(self):
        for name in ("-", "/dev/null"):
            status, result, stderr = load(1, "--json", name, "--hgrm", name)
            self.assertEqual((status, result), (64, None))
            self.assertIn("a place each", stderr)

    def test_a_path_that_is_not_utf8(self):
        with OneThread() as server:
            for path, shown in ((b"/a\xff\xc3(\xed\xa0\x80b",
                                 "/a%FF%C3(%ED%A0%80b"),
                                ("/\u00e9\u20ac\U0001f600".encode(),
                                 "/\u00e9\u20ac\U0001f600"),
                                (b'/q"\\\t', '/q"\\\t')):
                done = subprocess.run(
                    [*map(str.encode, command(server.port, duration=0.05,
                                              *["--expect-any"])),
                     b"--path", path], stdout=subprocess.PIPE, check=True,
                    timeout=LIMIT_S)
                self.assertEqual(json.loads(done.stdout)["path"], shown)

    def interrupted(self, signals, *switches, **times):
        """(status, result, stderr, seconds) of a run that is signalled."""
        began = time.monotonic()
        # A shell starts what goes into the background with SIGINT ignored.
        child = subprocess.Popen(
            command(*switches, **times), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        time.sleep(0.3 * WINDOW[0])
        for number in signals:
            child.send_signal(number)
        out, err = child.communicate(timeout=LIMIT_S)
        # One that came before the generator knows signals ends it.
        self.happened(len(signals) > 1 or child.returncode != -signals[0])
        return (child.returncode, json.loads(out) if out else None, err,
                time.monotonic() - began)

    def test_ctrl_c_gives_what_was_measured(self):
        for number, *how in ((signal.SIGINT,),
                             (signal.SIGTERM, "--threads", 2),
                             (signal.SIGINT, "--rate", 500),
                             (signal.SIGINT, "--idle", 3)):
            with OneThread() as server:
                status, result, _, took = self.interrupted(
                    [number], server.port, "--connections", 4, *how,
                    duration=30)
                self.assertEqual(status, 128 + number)
                self.happened(result and result["requests"] > 10)
                self.assertTrue(result["interrupted"])
                self.assertLess(result["duration_s"], took)
                self.assertGreater(result["duration_s"], 0)
                self.assertAlmostEqual(
                    result["qps"], result["requests"] / result["duration_s"],
                    delta=0.2 * result["qps"])
                self.assertLess(took, 15)

    def test_ctrl_c_before_the_window(self):
        with OneThread() as server:
            status, result, stderr, _ = self.interrupted(
                [signal.SIGINT], server.port, warmup=30)
        self.assertEqual((status, result), (130, None))
        self.assertIn("interrupted before", stderr)

    def test_a_second_ctrl_c_does_not_wait(self):
        """A server that answers nothing: the first waits for replies."""
        def serve(_server, conn, _number):
            for n, _ in enumerate(bad.Requests(conn)):
                if n < 20:
                    conn.sendall(bad.reply())
        with bad.Server(serve) as server:
            status, _, _, took = self.interrupted(
                [signal.SIGINT, signal.SIGTERM], server.port, duration=30)
        self.assertIn(status, (-signal.SIGINT, -signal.SIGTERM, 130, 143))
        self.assertLess(took, 10)

    def test_files(self):
        with OneThread() as server, tempfile.TemporaryDirectory() as d:
            names = [os.path.join(d, n) for n in ("a.json", "a.hgrm")]
            done = subprocess.run(
                [LOADGEN, "--port", str(server.port), "--duration", "0.2",
                 "--warmup", "0", "--json", names[0], "--hgrm", names[1]],
                stdout=subprocess.PIPE, text=True, check=False,
                timeout=LIMIT_S)
            self.assertEqual(done.returncode, 0)
            self.assertIn("limited by", done.stdout)
            with open(names[0], encoding="ascii") as f:
                result = json.load(f)
            with open(names[1], encoding="ascii") as f:
                rows = [r.split() for r in f if not r.startswith("#")]
        self.assertEqual(result["schema"], "ioladder-loadgen/1")
        self.assertEqual(rows[0][0], "Value")
        self.assertEqual(int(rows[-1][2]), result["latency_us"]["count"])
        self.assertAlmostEqual(float(rows[-1][0]), result["latency_us"]["max"],
                               delta=0.01)

    def test_polls_on_a_cpu_of_its_own(self):
        """It then never sleeps, in either loop; else it does."""
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            self.skipTest("one cpu only")
        own = ["--cpu", cpus[1]]
        with OneThread() as server:
            os.sched_setaffinity(server.pid, cpus[:1])
            pid = ["--server-pid", server.pid]
            for spins, switches in (
                    (True, own + pid), (True, own),
                    (True, [*own, *pid, "--rate", 200]),
                    (False, pid), (False, []),
                    (False, [*own, *pid, "--spin", "off"]),
                    (False, ["--cpu", cpus[0], *pid]),
                    (False, [*own, *pid, "--threads", 2]),
                    (False, [*own, *pid, "--idle", 2, "--heartbeat", 1])):
                cpu = self.clean(load(server.port, "--connections", 2,
                                      *switches, duration=0.2))["client_cpu"]
                self.assertEqual(cpu["spins"], spins, switches)
                self.assertEqual(cpu["sleeps"] == 0, spins, switches)
                self.assertEqual(cpu["spin_s"] > 0, spins, (switches, cpu))
                if "--rate" in switches:    # 40 requests: nearly all is spin
                    self.assertGreater(cpu["spin_s"],
                                       (cpu["user_s"] + cpu["sys_s"]) / 2)

    def test_samples_the_server(self):
        with OneThread() as server:
            result = self.clean(load(server.port, "--connections", 2,
                                     "--server-pid", server.pid, duration=0.5))
        self.assertGreater(result["server_cpu"]["total_s"], 0.005)
        self.assertLess(result["server_cpu"]["busy"], 1.2)
        self.assertAlmostEqual(
            result["server_cpu"]["per_request_us"],
            result["server_cpu"]["total_s"] / result["requests"] * 1e6,
            delta=0.01 * result["server_cpu"]["per_request_us"])
        self.assertGreater(result["server"]["rss_kib"], 1000)
        self.assertEqual(result["server"]["threads"], 1)
        self.assertGreater(result["server"]["vol_ctx"] +
                           result["server"]["invol_ctx"], 0)


@measures
class Quota(Case):
    """A control group with a twentieth of a cpu, where one may be made."""

    def setUp(self):
        self.group = None
        for top, name, text in (
                ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "5000"),
                ("/sys/fs/cgroup", "cpu.max", "5000 100000")):
            group = os.path.join(top, f"ioladder-test-{os.getpid()}")
            try:
                os.mkdir(group)
            except OSError:
                continue
            self.addCleanup(os.rmdir, group)
            try:
                with open(os.path.join(group, name), "r+",
                          encoding="ascii") as f:
                    f.write(text)
                self.group = group
                return
            except OSError:
                continue
        self.skipTest("no control group with a cpu limit can be made here")

    def joined(self):
        with open(os.path.join(self.group, "cgroup.procs"), "w",
                  encoding="ascii") as f:
            f.write(str(os.getpid()))

    def test_a_throttled_side_is_named(self):
        for side in ("client", "server"):
            with OneThread() as server:
                if side == "server":
                    with open(os.path.join(self.group, "cgroup.procs"), "w",
                              encoding="ascii") as f:
                        f.write(str(server.pid))
                done = subprocess.run(
                    command(server.port, "--connections", 16,
                            "--server-pid", server.pid, duration=1.5),
                    stdout=subprocess.PIPE, check=True, timeout=LIMIT_S,
                    preexec_fn=self.joined if side == "client" else None)
            result = json.loads(done.stdout)
            self.assertEqual(result["limited_by"], "quota", result)
            found = result["quota"][side]
            self.assertAlmostEqual(found["cpus"], 0.05)
            self.assertGreater(found["throttled"], 3)
            self.assertGreater(found["throttled_s"], 0.3)


class AgainstWrk(Case):
    """Beside wrk on one server, in interleaved slices of a second."""

    SLICES = 7
    ROUNDS = 3  # a busy machine gets two more chances, on all slices together

    def setUp(self):
        self.wrk = shutil.which("wrk")
        stage = os.path.join(BUILD, "stage2")
        if not self.wrk:
            self.skipTest("wrk is not installed")
        if os.environ.get("V"):
            self.skipTest("timing means nothing under a sanitizer")
        if not os.path.exists(stage):
            self.skipTest("build/stage2 does not exist")
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            self.skipTest("one cpu: server and client cannot be kept apart")
        self.client_cpu = cpus[1]
        server = subprocess.Popen(
            ["taskset", "-c", str(cpus[0]), stage, "--port", "0"],
            stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        self.port = int(server.stdout.readline().rsplit(":", 1)[1])

    def timed(self, argv):
        """Runs it on the client's cpu: (output, seconds of CPU)."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            ["taskset", "-c", str(self.client_cpu), *argv], text=True,
            check=True, stdout=subprocess.PIPE, timeout=LIMIT_S)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return done.stdout, (after.ru_utime + after.ru_stime -
                             before.ru_utime - before.ru_stime)

    def slice_of_wrk(self, path, connections):
        """(requests a second, microseconds of CPU a request)"""
        out, cpu_s = self.timed(
            [self.wrk, "-t1", f"-c{connections}", "-d1s",
             f"http://127.0.0.1:{self.port}{path}"])
        requests = int(re.search(r"(\d+) requests in", out)[1])
        rate = float(re.search(r"Requests/sec: *([\d.]+)", out)[1])
        return rate, cpu_s / requests * 1e6

    def slice_of_ours(self, path, connections):
        out, cpu_s = self.timed(command(
            self.port, "--connections", connections, "--path", path,
            duration=1))
        result = json.loads(out)
        self.assertEqual(result["errors"]["total"], 0)
        return result["qps"], cpu_s / result["requests"] * 1e6

    def compare(self, what, path, connections, within):
        """Ours / wrk's: the median of the pairs, until `within` likes it, and
        the interval that holds the true one in 95 of 100 cases (order
        statistics: no assumption about the noise of a shared machine)."""
        pairs = []
        for _ in range(self.ROUNDS):
            for _ in range(self.SLICES):
                theirs = self.slice_of_wrk(path, connections)[what]
                pairs.append((self.slice_of_ours(path, connections)[what],
                              theirs))
            ratios = sorted(a / b for a, b in pairs)
            if within(statistics.median(ratios)):
                break
        out = int((len(ratios) - 1.96 * math.sqrt(len(ratios))) / 2)
        low, high = ratios[out], ratios[-1 - out]
        ours, theirs = (statistics.median(p) for p in zip(*pairs))
        return low, high, (f"ours {ours:.5g}, wrk's {theirs:.5g}: "
                           f"{statistics.median(ratios):.3f} "
                           f"({low:.3f} to {high:.3f})")

    def test_same_rate(self):
        """The server burns 40 us a request, so that it is the limit in both:
        within 10 %, or too noisy to say that it is not."""
        low, high, text = self.compare(0, "/work/40", 16,
                                       lambda r: abs(r - 1) <= 0.1)
        print("\nclosed loop, requests a second:", text, file=sys.stderr)
        self.assertLessEqual(low, 1.1, text)
        self.assertGreaterEqual(high, 0.9, text)

    def test_no_dearer(self):
        """Of the machine that both share, ours takes no more than wrk does."""
        low, _, text = self.compare(1, "/", 64, lambda r: r <= 1)
        print("\nclient CPU a request, us:", text, file=sys.stderr)
        self.assertLessEqual(low, 1, text)


if __name__ == "__main__":
    unittest.main()
