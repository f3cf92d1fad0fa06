"""Small servers that answer wrongly on purpose, for the load generator's tests.

A server here is a function that is called with each connection in a thread of
its own.  What it did wrong it counts itself, so that a test compares two counts
and not a guess.
"""

import collections
import re
import socket
import struct
import threading

HELLO = b"Hello, World!\n"


def reply(body=HELLO, status=b"200 OK", extra=b"", length=None):
    """One reply as bytes; length overrides what Content-Length says."""
    length = len(body) if length is None else length
    return (b"HTTP/1.1 " + status + b"\r\n" + extra +
            b"Content-Length: %d\r\n\r\n" % length + body)


def letters(n):
    """The body of /bytes/N."""
    return (b"abcdefghijklmnopqrstuvwxyz" * (n // 26 + 1))[:n]


class Server:
    """Listens on a free loopback port and calls serve(self, conn, number)."""

    def __init__(self, serve, backlog=512):
        self.serve = serve
        self.count = collections.Counter()
        self.lock = threading.Lock()
        self.conns = []
        self.stopping = False
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while not self.stopping:
            try:
                conn, peer = self.listener.accept()
            except OSError:
                return
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                number = len(self.conns)
                self.conns.append((conn, peer))
            threading.Thread(target=self._run, args=(conn, number),
                             daemon=True).start()

    def _run(self, conn, number):
        try:
            self.serve(self, conn, number)
        except OSError:
            pass  # the generator left: that is its right
        finally:
            conn.close()

    def add(self, name, n=1):
        """Counts; returns the new count."""
        with self.lock:
            self.count[name] += n
            return self.count[name]

    def close(self):
        self.stopping = True
        # Wakes accept(), which close() alone would not do.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for conn, _ in self.conns:
            conn.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Requests:
    """Iterates over the requests that arrive: (path, body)."""

    def __init__(self, conn):
        self.conn = conn
        self.data = b""

    def fill(self):
        more = self.conn.recv(65536)
        self.data += more
        return bool(more)

    def ready(self):
        """The next one has arrived already."""
        head, blank, rest = self.data.partition(b"\r\n\r\n")
        found = re.search(rb"content-length: *(\d+)", head, re.I)
        return bool(blank) and len(rest) >= int(found[1] if found else 0)

    def __iter__(self):
        return self

    def __next__(self):
        while b"\r\n\r\n" not in self.data:
            if not self.fill():
                raise StopIteration
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        found = re.search(rb"content-length: *(\d+)", head, re.I)
        need = int(found.group(1)) if found else 0
        while len(self.data) < need:
            if not self.fill():
                raise StopIteration
        body, self.data = self.data[:need], self.data[need:]
        return head.split(b" ")[1].decode(), body


def http(answer):
    """A keep-alive server; answer(server, number, path, body) gives the bytes,
    or None to end the connection."""
    def serve(server, conn, number):
        for path, body in Requests(conn):
            server.add("requests")
            data = answer(server, number, path, body)
            if data is None:
                return
            conn.sendall(data)
    return serve


def every(n, name, bad, good=None):
    """Like http(), with every n-th answer (over all connections) bad."""
    good = good if good is not None else reply()

    def answer(server, _number, _path, _body):
        if server.add("turn") % n:
            return good
        server.add(name)
        return bad
    return http(answer)


def finish(conn):
    """Ends a connection as a server should: what it has not read does not turn
    the end into a reset."""
    conn.shutdown(socket.SHUT_WR)
    while conn.recv(65536):
        pass


def abort(conn):
    """Ends a connection with RST."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack("ii", 1, 0))
    conn.close()


class Messages:
    """Iterates over echo messages of a known size."""

    def __init__(self, conn, size):
        self.conn = conn
        self.size = size
        self.data = b""

    def ready(self):
        """The next one has arrived already."""
        return len(self.data) >= self.size

    def __iter__(self):
        return self

    def __next__(self):
        while not self.ready():
            more = self.conn.recv(65536)
            if not more:
                raise StopIteration
            self.data += more
        message, self.data = self.data[:self.size], self.data[self.size:]
        return message
