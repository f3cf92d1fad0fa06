"""Lab 8's server does what its plan says: who stands still, when, for how long
at least, and in which call.  Nothing here fails because a machine is slow: what
is compared are lower bounds, and which of two answers came first."""

import os
import platform
import re
import select
import socket
import subprocess
import sys
import tempfile
import time
import unittest

LABS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(LABS)
sys.path.insert(0, LABS)

from grader import build, params                     # noqa: E402

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LENGTH_MS = 300
# Of x86-64: clock_nanosleep, pselect6, epoll_wait, rt_sigtimedwait, recvmsg.
NUMBERS = (230, 270, 232, 128, 47)


def plan(call, every, by_requests, half):
    bits = LENGTH_MS | every << 12 | by_requests << 26 | half << 27 \
        | call << 28
    return bits * params.MIX % (1 << 64)


class Peer:
    """One connection."""

    def __init__(self, test, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        test.addCleanup(self.socket.close)

    def send(self):
        self.socket.sendall(REQUEST)

    def answer(self):
        text = b""
        while b"\r\n\r\n" not in text:
            text += self.more()
        head, _, body = text.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
        while len(body) < length:
            body += self.more()

    def more(self):
        data = self.socket.recv(4096)
        if not data:
            raise ConnectionError("the server has closed")
        return data

    def ask(self):
        """How long the answer took, in ms."""
        before = time.monotonic()
        self.send()
        self.answer()
        return (time.monotonic() - before) * 1000


class Pauses(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        subprocess.run(["make", "-s", "-C", ROOT, "V=",
                        "build/common/libcommon.a"], check=True)
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.top = scratch.name
        # The plan becomes a variable that the environment sets.
        with open(os.path.join(cls.top, "params.h"), "w",
                  encoding="ascii") as f:
            f.write("#include <stdlib.h>\n#define MEASURE_PLAN "
                    'strtoull(getenv("PLAN"), NULL, 10)\n')
        cls.program = os.path.join(cls.top, "server")
        subprocess.run(
            [build.cc(), *build.FLAGS, "-Werror", f"-I{cls.top}",
             f"-I{ROOT}/common", f"-I{LABS}/8-measure/tests", "-o",
             cls.program, f"{LABS}/8-measure/staff/server.c",
             f"{ROOT}/build/common/libcommon.a"], check=True)

    def start(self, *words):
        """(process, port) of a server with this plan."""
        process = subprocess.Popen(
            [self.program, "--port", "0"], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
            env=dict(os.environ, PLAN=str(plan(*words))))
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        port = re.search(r":(\d+)$", process.stdout.readline().strip())
        return process, int(port[1])

    def test_after_so_many_requests(self):
        _, port = self.start(0, 50, 1, 0)
        peers = [Peer(self, port), Peer(self, port)]
        took = [peers[i % 2].ask() for i in range(100)]
        for number in (50, 100):
            self.assertGreaterEqual(took[number - 1], LENGTH_MS - 1)

    def test_after_so_much_time(self):
        _, port = self.start(1, 700, 0, 0)
        peer, began, slow = Peer(self, port), time.monotonic(), []
        while len(slow) < 2 and time.monotonic() - began < 60:
            if peer.ask() >= LENGTH_MS - 1:
                slow.append(time.monotonic())
        self.assertGreaterEqual(slow[1] - slow[0], 0.65)

    def pausing(self, half):
        """Two connections, the second of which has just begun a pause."""
        _, port = self.start(4, 10, 1, half)
        peers = [Peer(self, port), Peer(self, port)]
        peers[0].ask()
        for _ in range(8):
            peers[1].ask()
        peers[1].send()
        time.sleep(0.1)     # it holds the lock by now
        return peers

    @staticmethod
    def has_answer(peer):
        return select.select([peer.socket], [], [], 0)[0] != []

    def test_half_go_on(self):
        for _ in range(5):      # a machine may lose a third of a second
            peers = self.pausing(1)
            for _ in range(50):
                peers[0].ask()
            if not self.has_answer(peers[1]):
                return
        self.fail("the other half stood still as well")

    def test_all_stand_still(self):
        for _ in range(5):
            peers = self.pausing(0)
            before = time.monotonic()
            peers[0].send()
            peers[0].answer()
            if time.monotonic() - before > LENGTH_MS / 2000:
                return
        self.fail("the others went on")

    def test_in_the_call_of_the_plan(self):
        if platform.machine() != "x86_64":
            self.skipTest("the numbers of calls are those of x86-64")
        for call, number in enumerate(NUMBERS):
            process, port = self.start(call, 1, 1, 0)
            peer, seen = Peer(self, port), set()
            began = time.monotonic()
            while number not in seen and time.monotonic() - began < 20:
                peer.send()
                time.sleep(0.05)
                seen |= self.calls(process.pid)
                peer.answer()
            self.assertIn(number, seen, params.CALLS[call])

    def calls(self, pid):
        """The numbers of the calls in which its threads sleep now."""
        found = set()
        for thread in os.listdir(f"/proc/{pid}/task"):
            try:
                with open(f"/proc/{pid}/task/{thread}/syscall",
                          encoding="ascii") as f:
                    word = f.read().split()[0]
            except OSError as err:
                self.skipTest(f"calls cannot be seen here: {err}")
            if word.isdigit():
                found.add(int(word))
        return found


class Recordings(unittest.TestCase):
    """What a seed plants, the solution finds, whatever the course's limits."""

    DRIVER = r'''
#include <stdio.h>
#include "measure.h"
#include "params.h"
static uint64_t planted;
#define MEASURE_PLAN planted
#include "plan.h"
int main(void)
{
    unsigned long long number;

    while (scanf("%llu", &number) == 1) {
        planted = number;
        struct plan p = plan_read();

        printf("%u %u %d %d %u", p.length_ms, p.every, p.by_requests, p.half,
               p.call);
        for (int i = 0; i < RECORDINGS; i++) {
            struct slice s[RECORDED_MOST];
            size_t n = plan_record(p.recorded[i], s);

            printf(" %d %d", p.recorded[i],
                   n <= RECORDED_MOST ? (int)compare(s, n, 0, 1).verdict : -1);
        }
        puts("");
    }
}
'''

    def test_many_seeds(self):
        seeds = [f"course {i}" for i in range(300)]
        plans = [params.measure(seed) for seed in seeds]
        for cover, busy in ((90, 80), (97, 94)):
            with tempfile.TemporaryDirectory() as top:
                got = self.driven(top, cover, busy, plans)
            for (_, answers), row in zip(plans, got):
                self.assertEqual(row, self.expected(answers))

    def driven(self, top, cover, busy, plans):
        for name, text in (
                ("params.h", f"#define MEASURE_COVER_PCT {cover}\n"
                             f"#define MEASURE_BUSY_PCT {busy}\n"),
                ("driver.c", self.DRIVER)):
            with open(os.path.join(top, name), "w", encoding="ascii") as f:
                f.write(text)
        program = os.path.join(top, "driver")
        subprocess.run(
            [build.cc(), *build.FLAGS, f"-I{top}",
             f"-I{LABS}/8-measure/tests", "-o", program,
             os.path.join(top, "driver.c"),
             f"{LABS}/8-measure/solution/measure.c"], check=True)
        done = subprocess.run([program], check=True, text=True,
                              capture_output=True,
                              input="\n".join(str(p) for p, _ in plans))
        return [[int(w) for w in row.split()]
                for row in done.stdout.splitlines()]

    @staticmethod
    def expected(answers):
        row = [int(answers["length_ms"]), int(answers["every"]),
               answers["comes_by"] == "requests", answers["stops"] == "half",
               params.CALLS.index(answers["call"])]
        for i in range(1, 5):
            row += [params.VERDICTS.index(answers[f"recording_{i}"])] * 2
        return row


if __name__ == "__main__":
    unittest.main()
