#!/usr/bin/env python3
"""Runs every stage under valgrind for a few requests and a clean exit.

    .ci/valgrind_exit.py build/stage1 build/stage2 ...

A server passes when it answers, ends with status 0 on SIGTERM, made no invalid
access and left no memory lost.  From stage 3 on the kernel fills rings and
buffers behind valgrind's back, so there the use of undefined values is not
judged; everything else is.  It runs one thread at a time, and takes a wait in
a ring for running: from stage 5 on there is one worker, and it waits briefly.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

START_S, ANSWER_S, END_S = 60, 30, 60
BODY = b"x" * 100000
HTTP = [
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3, b"Hello, World!\n", 3),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"
     % (len(BODY), BODY), BODY, 1),
    (b"GET /bytes/200000 HTTP/1.1\r\nHost: a\r\n\r\n", b"abcdef", 7000),
    (b"GET /work/50 HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200", 1),
    (b"GET /sleep/50 HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200", 1),
    (b"GET /files/file HTTP/1.1\r\nHost: a\r\n\r\n", b"content\n", 1),
    (b"GET /metrics HTTP/1.0\r\n\r\n", b"ioladder_", 5),
    (b"nonsense\r\n\r\n", b" 400 ", 1),
]
ECHO = [(BODY, BODY, 1), (b"hello", b"hello", 1)]


def talk(port, request, wanted, times):
    """One connection: says the request, half-closes, reads to the end."""
    with socket.create_connection(("127.0.0.1", port), ANSWER_S) as peer:
        peer.sendall(request)
        peer.shutdown(socket.SHUT_WR)
        answer = b""
        while True:
            piece = peer.recv(65536)
            if not piece:
                break
            answer += piece
    if answer.count(wanted) < times:
        raise RuntimeError(f"answer to {request[:30]!r}: {answer[:80]!r}")


def command(binary, app, root):
    stage = int(re.search(r"stage(\d)$", binary).group(1))
    words = ["valgrind", "-q", "--error-exitcode=99", "--leak-check=full",
             "--errors-for-leak-kinds=definite,indirect"]
    if stage >= 3:
        words.append("--undef-value-errors=no")
    words += [binary, "--port", "0", "--app", app, "--root", root]
    if stage >= 5:
        words += ["--workers", "1", "--stats", "0.02"]
    return words


def run(binary, app, root):
    """(None or why it did not pass, what it wrote to stderr)."""
    with tempfile.TemporaryFile("w+") as err:
        server = subprocess.Popen(command(binary, app, root), stderr=err,
                                  stdout=subprocess.PIPE, text=True)
        reason = None
        try:
            signal.alarm(START_S + ANSWER_S)
            ready = re.search(r"listening on .*:(\d+)",
                              server.stdout.readline())
            if ready:
                port = int(ready.group(1))
                idle = socket.create_connection(("127.0.0.1", port), ANSWER_S)
                for exchange in HTTP if app == "http" else ECHO:
                    talk(port, *exchange)
                server.send_signal(signal.SIGTERM)
                idle.close()
            status = server.wait(END_S)
            if status == 99:
                reason = "valgrind has complaints"
            elif status == 77:
                reason = "skipped"
            elif status != 0 or not ready:
                reason = f"exit status {status}"
        except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
            reason = str(error)
        finally:
            signal.alarm(0)
            if server.poll() is None:
                server.kill()
                server.wait()
            server.stdout.close()
        err.seek(0)
        return reason, err.read()


def late(_signal, _frame):
    raise RuntimeError("no answer in time")


def main(binaries):
    if not binaries:
        print("usage: valgrind_exit.py build/stage1 ...", file=sys.stderr)
        return 64
    if not shutil.which("valgrind"):
        print("valgrind is not installed", file=sys.stderr)
        return 1
    signal.signal(signal.SIGALRM, late)
    failed = 0
    with tempfile.TemporaryDirectory() as root:
        with open(os.path.join(root, "file"), "w", encoding="ascii") as file:
            file.write("content\n")
        for binary in binaries:
            for app in ("http", "echo"):
                reason, text = run(binary, app, root)
                print(f"  {binary} {app}: {reason or 'clean'}")
                if reason:
                    print(text)
                failed += reason not in (None, "skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
