#!/usr/bin/python3
"""Start, fault and stop, thousands of times: what a server has left.

  cycles.py [--cycles N] [--servers stage3,stage4] [--out DIR]

A cycle is a connection that begins something and goes wrong: reset at once, in
the middle of a head, a body, a download or a handler, garbage, a half-closed
stream.  The server is the build whose own calls fail too (build/fault): every
seventh receive is reset, every eleventh send finds nobody.  After the cycles,
when the last connection is gone, it must hold as many threads and descriptors
as before the first one, and no more memory than after the window of cycles
before.

And once in 50 cycles a server is started, given work, and ended in the middle
of it: it must leave with 0 and leave no process behind.
"""

import os
import re
import socket
import struct
import sys
import time

import counts
import machine

RESET = struct.pack("ii", 1, 0)      # SO_LINGER: close() sends RST
PLAN = ("recv:ECONNRESET:every=7,send:EPIPE:every=11,"
        "accept4:ECONNABORTED:every=13,ring_recv:ECONNRESET:every=7,"
        "ring_send:EPIPE:every=11,ring_accept:ECONNABORTED:every=13")
SETTLE_S, RESTART_EVERY = 30, 50


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def at_once(sock):
    reset(sock)


def in_a_head(sock):
    sock.sendall(b"GET / HTTP/1.1\r\nHo")
    reset(sock)


def in_a_body(sock):
    sock.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9000"
                 b"\r\n\r\nbegun")
    sock.close()


def in_a_download(sock):
    sock.sendall(counts.text_of("/bytes/1000000"))
    sock.recv(1)
    reset(sock)


def in_a_handler(sock):
    sock.sendall(counts.text_of("/sleep/500"))
    reset(sock)


def garbage(sock):
    sock.sendall(b"\x00\x01 no request\r\n\r\n")
    while sock.recv(4096):
        pass
    sock.close()


def half_closed(sock):
    sock.sendall(counts.text_of() * 3)
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(4096):
        pass
    sock.close()


KINDS = (at_once, in_a_head, in_a_body, in_a_download, in_a_handler, garbage,
         half_closed)


def held(pid):
    """(threads, descriptors) of a process."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        threads = int(re.search(r"^Threads:\s+(\d+)", f.read(), re.M)[1])
    return threads, len(os.listdir(f"/proc/{pid}/fd"))


def settled(pid, before, patience_s=SETTLE_S):
    """What it holds when it holds no more than before, or does not come back
    to it in time."""
    end = time.monotonic() + patience_s
    while True:
        now = held(pid)
        if all(n <= b for n, b in zip(now, before)) or \
                time.monotonic() > end:
            return now
        time.sleep(0.02)


def one_fault(server, number):
    """A connection that goes wrong; the server may be the one that ends it."""
    try:
        sock = server.connect()
    except OSError:
        return
    try:
        KINDS[number % len(KINDS)](sock)
    except OSError:
        pass
    finally:
        sock.close()


def windows(server, cycles, blocks, patience_s=SETTLE_S):
    """Yields what the server keeps after each window of so many cycles:
    threads and descriptors more than before the first of them, and bytes a
    cycle of that window.  The first window is for what is made once."""
    for number in range(len(KINDS)):
        one_fault(server, number)
    time.sleep(0.05)
    before, memory = held(server.pid), None
    for _ in range(blocks + 1):
        for number in range(cycles):
            one_fault(server, number)
        now = settled(server.pid, before, patience_s)
        last, memory = memory, machine.memory_map(server.pid)["private_kib"]
        if last is not None:
            yield {"threads": max(0, now[0] - before[0]),
                   "descriptors": max(0, now[1] - before[1]),
                   "bytes_a_cycle": max(0, memory - last) * 1024 / cycles}


def group(pid):
    """The processes of its session that are still there."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def bad_end(argv):
    """1 if a server that is ended in the middle of its work ends badly."""
    with counts.Server(argv) as server:
        socks = [server.connect() for _ in range(3)]
        socks[0].sendall(counts.text_of("/bytes/4000000"))
        socks[1].sendall(counts.text_of("/sleep/20000"))
        socks[2].sendall(b"GET / HTTP/1.1\r\n")
        socks[0].recv(1)
        reset(socks[0])
        status = server.stop()
        for sock in socks[1:]:
            sock.close()
    return int(status != 0 or group(server.pid))


def rows_of(args, name, blocks=6):
    """Six windows: an interval needs as many."""
    binary = counts.binary(args.build, name, fault=True)
    plain = [counts.binary(args.build, name), "--drain-timeout", "2"]
    cycles = max(len(KINDS), args.cycles // (blocks + 1))
    with counts.Server([binary, "--idle-timeout", "5", "--max-conns", "64"],
                       {"FAULT_PLAN": PLAN}) as server:
        found = list(windows(server, cycles, blocks))
        failed = int(server.stop() != 0)
    for block, row in enumerate(found):
        ends = sum(bad_end(plain) for _ in range(
            max(1, cycles // RESTART_EVERY)))
        yield {"block": block, "cycles": cycles, **row,
               "bad_ends": ends + failed}


def add(parser):
    parser.add_argument("--cycles", type=int, default=10000, metavar="N",
                        help="of each server (10000)")


if __name__ == "__main__":
    sys.exit(counts.main("cycles", __doc__, rows_of, add))
