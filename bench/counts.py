"""What the programs that only count have in common: a server, a plain HTTP
client, and a set of counts on disk.

    DIR/counts.json     name, state, machine, command, and rows: server, block
                        and figures

steady.py, cycles.py, planted.py and tokens.py write such sets; claim_rules.py
reads them.  Counts need no quiet machine, so there are no slices and no
calibration.
"""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

import inherit
import machine
import results

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCHEMA = "ioladder-counts/1"
STAGES = tuple(f"stage{n}" for n in range(1, 7))
PATIENCE_S = 20
SKIP = 77


class Failed(Exception):
    """Nothing could be counted, and why."""

    status = 1


class Skipped(Failed):
    status = SKIP


class Server:
    """A server in a session of its own; `with` ends it."""

    def __init__(self, argv, env=None):
        self.err = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.proc = subprocess.Popen(
            [*argv, "--port", "0"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=self.err, text=True,
            start_new_session=True, env={**os.environ, **(env or {})})
        line = self.proc.stdout.readline()
        found = re.search(r"listening on \S*:(\d+)", line)
        if not found:
            status, said = self.proc.wait(PATIENCE_S), self.said().strip()
            self.__exit__()
            kind = Skipped if status == SKIP else Failed
            raise kind(f"{os.path.basename(argv[0])} did not start: "
                       f"{said.splitlines()[-1] if said else status}")
        self.pid, self.port = self.proc.pid, int(found[1])

    def said(self):
        self.err.seek(0)
        return self.err.read()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)

    def stop(self):
        """SIGTERM; the exit status, or None if it had to be killed."""
        self.proc.send_signal(signal.SIGTERM)
        try:
            return self.proc.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        self.proc.stdout.close()
        self.err.close()


def answer(sock):
    """One answer, whole: (status line, body).  Raises OSError where it ends
    before that."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = sock.recv(1 << 16)
        if not piece:
            raise OSError("the connection ended")
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    wanted = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    while len(body) < wanted:
        piece = sock.recv(1 << 16)
        if not piece:
            raise OSError("the connection ended")
        body += piece
    return head.split(b"\r\n")[0].decode(), body


def request(sock, path="/", body=None, more=""):
    """Asks, and waits for the answer."""
    sock.sendall(text_of(path, body, more))
    return answer(sock)


def text_of(path="/", body=None, more=""):
    head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: a\r\n{more}"
    if body:
        head += f"Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + (body or b"")


def binary(build, name, fault=False):
    path = os.path.join(build, "fault", name) if fault \
        else os.path.join(build, name)
    if not os.access(path, os.X_OK):
        raise Failed(f"{path} is not built (make test-build)")
    return path


def write(directory, name, args, rows):
    facts = machine.describe(ROOT, args.build, [0], [0])
    if facts["git"]["dirty"] and not args.draft:
        raise Failed("the tree has changes: commit them first, or say --draft")
    os.makedirs(directory, exist_ok=True)
    results.write_json(os.path.join(directory, "counts.json"), {
        "schema": SCHEMA, "name": name, "state": "complete",
        "draft": args.draft, "command": " ".join(
            [f"bench/{name}.py", *args.words]),
        "machine": facts, "rows": rows})


def main(name, text, rows_of, add=None, servers=STAGES):
    """The command line of such a program; `rows_of(args, server)` yields the
    rows of one server, `add` adds arguments."""
    inherit.clean()
    p = argparse.ArgumentParser(description=text.partition("\n\n")[0])
    p.add_argument("--out", metavar="DIR", help="writes a set of counts")
    p.add_argument("--build", default=os.path.join(ROOT, "build"))
    p.add_argument("--servers", default=",".join(servers), metavar="A,B")
    p.add_argument("--draft", action="store_true",
                   help="from a tree with changes; nothing may quote it")
    if add:
        add(p)
    args = p.parse_args()
    args.words = [w for w in sys.argv[1:] if w != "--draft"]
    rows, status = [], 0
    try:
        for server in args.servers.split(","):
            for row in rows_of(args, server):
                rows.append({"server": server, **row})
                print(server + ": " + ", ".join(
                    f"{k} {v:,g}" if isinstance(v, (int, float))
                    else f"{k} {v}" for k, v in row.items()), flush=True)
        if args.out:
            write(args.out, name, args, rows)
    except Skipped as err:
        print(f"{name}.py: skipped: {err}", file=sys.stderr)
        status = SKIP
    except (Failed, results.ResultError, OSError) as err:
        print(f"{name}.py: {err}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    return status
