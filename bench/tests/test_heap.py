"""What docs/tuning.md says of uploads: their bodies come from a heap whose top
glibc gives back, so each new one takes page faults; kept, it takes none."""

import os
import socket
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))

import counts                       # noqa: E402
import machine                      # noqa: E402

SERVERS = [name for name in ("stage3", "stage4")
           if os.access(os.path.join(ROOT, "build", name), os.X_OK)]
KEEP = {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=16777216"}
PEERS, BEGIN, ROUNDS = 32, 16, 8
BODY = b"b" * 16384


def faults(name, env):
    """Page faults an upload.  All bodies of a round are held together, and
    all are freed at its end: then the top of the heap is free."""
    binary = os.path.join(ROOT, "build", name)
    text = counts.text_of("/echo", BODY)
    with counts.Server([binary], env) as server:
        peers = [server.connect() for _ in range(PEERS)]
        for sock in peers:          # the last byte must not wait
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(BEGIN + ROUNDS):
            if number == BEGIN:     # what a beginning costs does not count
                before = machine.page_faults(server.pid)
            for sock in peers:
                sock.sendall(text[:-1])
            for sock in peers:
                sock.sendall(text[-1:])
            for sock in peers:
                if counts.answer(sock)[1] != BODY:
                    raise AssertionError("another body came back")
        found = machine.page_faults(server.pid) - before
        for sock in peers:
            sock.close()
    return found / (PEERS * ROUNDS)


@unittest.skipUnless(SERVERS, "nothing is built: make")
class Heap(unittest.TestCase):
    def test_a_kept_heap_takes_no_page_faults(self):
        for name in SERVERS:
            with self.subTest(name):
                try:
                    given_back, kept = faults(name, {}), faults(name, KEEP)
                except counts.Skipped as why:
                    self.skipTest(str(why))
                self.assertGreater(given_back, 0.5)
                self.assertLess(kept, given_back / 3)


if __name__ == "__main__":
    unittest.main()
