"""Nothing left after faults; nothing allocated for a request: by counts."""

import argparse
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.dirname(HERE)
ROOT = os.path.dirname(BENCH)
sys.path.insert(0, BENCH)

import counts     # noqa: E402
import cycles     # noqa: E402
import steady     # noqa: E402

BUILD = os.path.join(ROOT, "build")
WINDOW = 49

# Keeps a thread, a descriptor and 16 KiB of every connection.
LEAKS = """
import os, socket, threading
door = socket.create_server(("127.0.0.1", 0))
print("listening on 127.0.0.1:%d" % door.getsockname()[1], flush=True)
kept = []
while True:
    sock, _ = door.accept()
    kept.append((os.dup(sock.fileno()), bytearray(os.urandom(16384))))
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    try:
        sock.send(b"x")
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    sock.close()
"""


def each_stage(test):
    """Runs a test for every stage that can run here."""
    def run(self):
        for name in counts.STAGES:
            with self.subTest(stage=name):
                try:
                    test(self, name)
                except counts.Skipped as err:
                    self.skipTest(str(err))
    return run


class Cycles(unittest.TestCase):
    @each_stage
    def test_nothing_is_left(self, name):
        binary = counts.binary(BUILD, name, fault=True)
        with counts.Server([binary, "--idle-timeout", "5", "--max-conns",
                            "64"], {"FAULT_PLAN": cycles.PLAN}) as server:
            found = list(cycles.windows(server, WINDOW, 1))[0]
            self.assertEqual(server.stop(), 0)
            said = server.said()
        self.assertEqual((found["threads"], found["descriptors"]), (0, 0))
        self.assertRegex(said, r"(RESET|PIPE): [1-9]\d* of ")
        self.assertEqual(cycles.bad_end([counts.binary(BUILD, name)]), 0)

    def test_a_leak_is_seen(self):
        with counts.Server([sys.executable, "-c", LEAKS]) as server:
            found = list(cycles.windows(server, WINDOW, 1, patience_s=1))[0]
        self.assertGreater(found["threads"], WINDOW)
        self.assertGreater(found["descriptors"], WINDOW)
        self.assertGreater(found["bytes_a_cycle"], 8192)

    def test_a_bad_end_is_seen(self):
        """A server that SIGTERM kills did not leave by itself."""
        self.assertEqual(cycles.bad_end([sys.executable, "-c", LEAKS]), 1)


class Steady(unittest.TestCase):
    @each_stage
    def test_a_request_allocates_nothing(self, name):
        plain, body = steady.one_of_each(counts.binary(BUILD, name,
                                                       fault=True))
        self.assertGreater(body, 0.9)      # the counter counts
        self.assertLess(abs(plain), 0.05)

    @each_stage
    def test_a_request_faults_no_page_in(self, name):
        binary = counts.binary(BUILD, name)
        if name == "stage1":       # a thread has a stack: the counter counts
            self.assertGreater(steady.faults_of_fresh_connections(binary), 0)
        found = steady.fault_series(binary, blocks=3)
        self.assertLess(sorted(found)[1], 0.05)


class Set(unittest.TestCase):
    def test_not_from_a_tree_with_changes(self):
        args = argparse.Namespace(build=BUILD, draft=False, words=[])
        dirty = {"git": {"dirty": True}}
        real, counts.machine.describe = counts.machine.describe, \
            lambda *_: dirty
        try:
            with self.assertRaisesRegex(counts.Failed, "commit them first"):
                counts.write(os.devnull, "steady", args, [])
        finally:
            counts.machine.describe = real

    def test_what_is_not_built_is_named(self):
        with self.assertRaisesRegex(counts.Failed, "make test-build"):
            counts.binary(BUILD, "stage9")


if __name__ == "__main__":
    unittest.main()
