#!/usr/bin/python3 -S
"""Stands in for a stage in the runner's tests: ready line, /metrics, SIGTERM.

What it does wrong comes from FAKE_SERVER, a JSON object by its own name:
"skip" (leaves with 77), "die" (leaves with 3), "overflow" (a completion
overflows in every slice), "stubborn" (ignores SIGTERM), "plain" (knows no
--place), "crash" (ends with SIGSEGV when it is asked to end).
"""
import json
import os
import signal
import socket
import sys

name = os.path.basename(sys.argv[0])
mode = json.loads(os.environ.get("FAKE_SERVER", "{}")).get(name, "")
if mode == "skip":
    print(f"{name}: starting", file=sys.stderr)
    print(f"{name}: io_uring_setup: Operation not permitted", file=sys.stderr)
    sys.exit(77)
if mode == "die":
    print(f"{name}: no such thing", file=sys.stderr)
    sys.exit(3)
if mode == "plain" and "--place" in sys.argv:
    print(f"{name}: --place: no such switch", file=sys.stderr)
    sys.exit(64)


def leave(_number, _frame):
    """As a stage does it: the counters of its life, and status 0."""
    if mode == "crash":
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
    print(f"{name}: done: waits 100 events 400"
          + (" cq_overflow 7" if mode == "overflow" else ""),
          file=sys.stderr, flush=True)
    os._exit(0)


signal.signal(signal.SIGTERM,
              signal.SIG_IGN if mode == "stubborn" else leave)

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(16)
print(f"{name}: listening on 127.0.0.1:{listener.getsockname()[1]}",
      flush=True)
with open(os.environ["FAKE_LOG"], "a", encoding="utf-8") as f:
    f.write(f"{os.getpid()} {name} {' '.join(sys.argv[1:])}\n")

scrapes = 0
while True:
    peer, _ = listener.accept()
    peer.recv(4096)
    overflows = scrapes if mode == "overflow" else 0
    body = "# HELP ioladder_waits_total waits\n" + "".join(
        f'ioladder_{key}_total{{worker="{w}"}} {value}\n' for w in (0, 1)
        for key, value in (("waits", 100 * scrapes), ("events", 400 * scrapes),
                           ("recvs", 300 * scrapes), ("sends", 300 * scrapes),
                           ("requests", 200 * scrapes),
                           ("grows", scrapes), ("cq_overflow", overflows)))
    body += "".join(f'ioladder_active{{worker="{w}"}} 1\n' for w in (0, 1))
    scrapes += 1
    peer.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n"
                 f"Connection: close\r\n\r\n{body}".encode())
    peer.close()
