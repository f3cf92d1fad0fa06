"""The servers beside the stages: each that is installed answers / with the
same bytes, and one that does not start says why."""

import http.client
import os
import socket
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))

import peers            # noqa: E402
from servers import Failed, Skipped     # noqa: E402

CPUS = sorted(os.sched_getaffinity(0))[:1]
BUILD = os.path.join(ROOT, "build")


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        first = connection.getresponse()
        found = first.status, first.read()
        # The second request shows that the first left the connection open.
        connection.auto_open = 0
        connection.request("GET", path)
        again = connection.getresponse()
        return [found, (again.status, again.read())]
    finally:
        connection.close()


class Peers(unittest.TestCase):
    def test_each_answers_with_the_bytes_of_the_stages(self):
        for name, peer in peers.peers(ROOT, BUILD).items():
            with self.subTest(name):
                try:
                    peer.available()
                except Skipped as why:
                    print(f"skipped: {name}: {why}")
                    continue
                run = peer.start(CPUS, root=HERE)
                try:
                    for path in peer.routes:
                        if path in ("/", "/work", "/sleep"):
                            path += "" if path == "/" else "/1"
                            self.assertEqual(get(run.port, path), 2 * [
                                (200, b"Hello, World!\n")], path)
                    if "/files" in peer.routes:
                        with open(__file__, "rb") as f:
                            self.assertEqual(
                                get(run.port, "/files/test_peers.py"),
                                2 * [(200, f.read())])
                    self.assertTrue(set(run.pids), run.pids)
                finally:
                    run.stop()
                with socket.socket() as s:
                    self.assertNotEqual(
                        s.connect_ex(("127.0.0.1", run.port)), 0)

    def test_a_configuration_that_it_refuses(self):
        """Any of them will do: what it says is what is told."""
        for name, peer in peers.peers(ROOT, BUILD).items():
            if not isinstance(peer, peers.Configured) or not peer.binary:
                continue
            with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
                f.write("no such directive @PORT@;\n")
                f.flush()
                peer.source = f.name
                with self.assertRaisesRegex(
                        Failed, f"{name}: ended with status .*: .+"):
                    peer.start(CPUS)
            return
        self.skipTest("no peer is installed")

    def test_no_peer_speaks_echo(self):
        for peer in peers.peers(ROOT, BUILD).values():
            with self.assertRaisesRegex(Skipped, "speaks no echo"):
                peer.start(CPUS, app="echo")

    def test_routes(self):
        known = peers.catalogue(ROOT, BUILD)
        self.assertTrue(known["stage2"].answers("/work/5"))
        self.assertTrue(known["nginx"].answers("/"))
        self.assertTrue(known["nginx"].answers("/files/4096.bin"))
        self.assertFalse(known["nginx"].answers("/work/5"))
        self.assertTrue(known["libevent"].answers("/work/5"))
        self.assertFalse(known["libevent"].answers("/workers"))

    def test_the_configuration_is_recorded(self):
        for name, peer in peers.peers(ROOT, BUILD).items():
            file, text = peer.configuration()
            self.assertTrue(file and len(text) > 300, name)


if __name__ == "__main__":
    unittest.main()
