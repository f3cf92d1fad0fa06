"""scale.py and kernel_memory.py: arithmetic that can be done by hand, and bad
input."""

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import kernel_memory               # noqa: E402
import results                     # noqa: E402
import scale                       # noqa: E402

STAGES = scale.STAGES


class Known(scale.Inputs):
    """1,000 bytes here and there, 10 us a request."""

    def __init__(self):         # pylint: disable=super-init-not-called
        self.sets = scale.SETS
        self.stages = list(STAGES)
        self.kernel = dict.fromkeys(STAGES, 1000)
        self.user = dict.fromkeys(STAGES, 1000)
        self.cpu_us = dict.fromkeys(STAGES, 10)


def site(**changes):
    return {**scale.defaults(), **changes}


class Arithmetic(unittest.TestCase):
    def test_memory(self):
        # 2^20 connections of 2,000 bytes in machines of 1 GiB, half of it.
        one = site(connections=2**20, memory_gib=1, memory_share=0.5)
        self.assertEqual(scale.machines_for_memory(Known(), one, "stage2"), 4)

    def test_cpu(self):
        one = site(requests=1e6, connections=0, heartbeat_s=60, busy=0.5)
        self.assertAlmostEqual(scale.cores_for(
            Known(), one, "stage1", scale.request_rate(one)), 20)
        self.assertEqual(scale.request_rate(site(
            requests=7, connections=100, heartbeat_s=10)), 17)

    def test_packets(self):
        self.assertEqual([scale.packets(n) for n in (1, 1448, 1449, 2897)],
                         [1, 1, 2, 3])

    def test_wire(self):
        # 1,000 a second: two frames in with a request of 44 bytes, one out.
        one = site(requests=1000, connections=0, request_bytes=44,
                   reply_bytes=122)
        self.assertEqual(scale.wire(one), (
            8 * 1000 * (44 + 2 * 78), 8 * 1000 * (122 + 78), 2000, 1000))

    def test_a_lost_region_fits_into_the_others(self):
        for machines in range(1, 50):
            for regions in range(2, 7):
                total = scale.with_one_lost(machines, regions)
                self.assertEqual(total % regions, 0)
                self.assertGreaterEqual(total - total // regions, machines)
                each = total // regions
                self.assertLess((each - 1) * (regions - 1), machines)

    def test_what_runs_out_first(self):
        memory = site(memory_gib=0.01, requests=1)
        self.assertEqual(scale.whole(Known(), memory, "stage4")[1], "memory")
        network = site(nic_gbit=0.001)
        self.assertEqual(scale.whole(Known(), network, "stage4")[1], "network")

    def test_every_table_is_made(self):
        for name, make in scale.TABLES.items():
            lines = make(Known(), site()).splitlines()
            self.assertGreater(len(lines), 3, name)
            self.assertEqual({line.count("|") for line in lines},
                             {lines[0].count("|")}, name)

    def test_every_input_has_a_source(self):
        rows = scale.TABLES["inputs"](Known(), site()).splitlines()[2:]
        self.assertEqual(len(rows), len(scale.SITE) + len(scale.FACTS) + 3)
        for row in rows:
            self.assertTrue(row.split("|")[-2].strip(), row)


class BadInput(unittest.TestCase):
    def refused(self, *argv):
        said = io.StringIO()
        with contextlib.redirect_stderr(said), \
                self.assertRaises(SystemExit) as end:
            scale.parse(argv)
        self.assertEqual(end.exception.code, 2)
        return said.getvalue()

    def test_of_the_command_line(self):
        for argv in (("--connections", "0"), ("--connections", "nan"),
                     ("--cores", "-1"), ("--requests", "inf")):
            self.assertIn(argv[0], self.refused(*argv))
        self.assertIn("share", self.refused("--busy", "1.5"))
        self.assertIn("two or more", self.refused("--regions", "1"))
        self.assertIn("whole", self.refused("--regions", "2.5"))

    def test_of_a_set(self):
        with tempfile.TemporaryDirectory() as d:
            for text, why in (
                    ("", "empty"), ("{", "truncated"),
                    ('{"schema": "ioladder-kernel-memory/2"}', "version"),
                    (json.dumps({"schema": kernel_memory.SCHEMA,
                                 "connections": [1, 2],
                                 "slopes": {"stage1": [1]}}), "pair"),
                    (json.dumps({"schema": kernel_memory.SCHEMA,
                                 "connections": [1, 2],
                                 "slopes": {"pair": [1], "stage1": ["x"]}}),
                     "stage1"),
                    (json.dumps({"schema": kernel_memory.SCHEMA,
                                 "connections": [1, 2],
                                 "slopes": {"pair": [1]},
                                 "process": {"stage3": []}}), "stage3")):
                path = os.path.join(d, kernel_memory.NAME)
                with open(path, "w", encoding="utf-8") as f:
                    f.write(text)
                with self.assertRaisesRegex(results.ResultError, why):
                    kernel_memory.load(d)


class KernelMemory(unittest.TestCase):
    def test_half_of_a_pair_is_the_clients(self):
        found = {"slopes": {"pair": [8, 10, 12], "stage2": [9, 7, 30]}}
        self.assertEqual(kernel_memory.of_stage(found, "stage2"), (4, 2, 25))

    def test_a_set_may_lack_the_processes(self):
        found = {"slopes": {"pair": [8]}, "process": {"stage2": [5, 1, 3]}}
        self.assertEqual(kernel_memory.of_process(found, "stage2"), 3)
        self.assertIsNone(kernel_memory.of_process(found, "stage3"))
        self.assertIsNone(kernel_memory.of_process({}, "stage2"))

    def test_a_process_that_has_ended_is_named(self):
        with self.assertRaisesRegex(kernel_memory.Failed, "has ended"):
            kernel_memory.process_bytes(2**22 + 1)

    def test_a_server_that_does_not_start_is_named(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "stage2")
            with self.assertRaisesRegex(kernel_memory.Failed, "not there"):
                kernel_memory.start(path)
            with open(path, "w", encoding="utf-8") as f:
                f.write("#!/bin/sh\necho no luck >&2\nexit 1\n")
            os.chmod(path, 0o755)
            with self.assertRaisesRegex(kernel_memory.Failed,
                                        "stage2 did not start: no luck"):
                kernel_memory.start(path)

    def test_what_is_held_is_seen(self):
        """A pair of sockets is at least two of what a socket takes."""
        self.assertGreater(kernel_memory.pair_slope(200, 2000), 2 * 1000)


if __name__ == "__main__":
    unittest.main()
