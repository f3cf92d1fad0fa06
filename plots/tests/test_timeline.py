"""The recorder of timelines on text of both tracers and on a live server; the
picture on a recording."""

import json
import os
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "plots"))
sys.path.insert(0, os.path.join(ROOT, "bench", "trace"))
import record_timeline as recorder         # noqa: E402
import timeline as picture                 # noqa: E402

HEAD = " stage 3  77  1.0000"
PERF = "\n".join((
    HEAD + "10000:  raw_syscalls:sys_enter: NR 426 (0, 1, 1, 19, 7f, 18)",
    HEAD + "12000:  io_uring:io_uring_submit_req: ring 0xf, req 0xe, "
           "user_data 0xaa, opcode RECV, flags 0x0, sq_thread 0",
    HEAD + "13000:  sched:sched_switch: prev_comm=stage 3 prev_pid=77 "
           "prev_prio=120 prev_state=S ==> next_comm=idle next_pid=0",
    " idle     0  1.000050000:  sched:sched_switch: prev_comm=idle prev_pid=0 "
    "prev_prio=120 prev_state=R ==> next_comm=stage 3 next_pid=77",
    HEAD + "52000:  io_uring:io_uring_complete: ring 0xf, req 0xe, "
           "user_data 0xaa, result 78, cflags 0x0 extra1 0 extra2 0",
    HEAD + "53000:  raw_syscalls:sys_exit: NR 426 = 1"))
STRACE = "\n".join((
    "77    1.000010 epoll_wait(3,  <unfinished ...>",
    "77    1.000050 <... epoll_wait resumed>[], 512, -1) = 1 <0.000040>",
    '77    1.000055 recvfrom(5, "GET / HT"..., 16384, 0) = 36 <0.000004>',
    '77    1.000070 sendto(5, "HTTP", 4, 0, NULL, 0) = 4 <0.000010>'))
RECORDING = {
    "schema": picture.SCHEMA, "stage": 3, "tool": "perf", "kernel": "6.1",
    "bursts": 3, "length_us": 100.0,
    "requests": [{"name": n, "path": p, "sent_us": 0.0, "answered_us": 90.0}
                 for n, p in recorder.PATHS],
    "lanes": [
        {"thread": "stage3",
         "spans": [[-500.0, 10.0, "enter", "io_uring_enter", "",
                    [[-490.0, 8.0]]],
                   [20.0, 60.0, "handler", "clock_nanosleep", "",
                    [[21.0, 59.0]]],
                   [62.0, 70.0, "recv", "recvfrom", "A", []]],
         "marks": [[9.0, "complete", "", "A"], [9.5, "complete", "", "B"],
                   [65.0, "submit", "SEND", "<C>"]]},
        {"thread": "asleep", "spans": [], "marks": []}]}


def parsed(kind, text):
    """What a tracer makes of text, without running it."""
    tracer = kind.__new__(kind)
    if kind is recorder.Perf:
        tracer.names = {426: "io_uring_enter"}
        tracer.lines = text.splitlines
        return tracer.events()
    with tempfile.NamedTemporaryFile("w+") as out:
        out.write(text)
        out.flush()
        tracer.out = out
        return tracer.events()


class Parsing(unittest.TestCase):
    def test_perf(self):
        events = parsed(recorder.Perf, PERF)
        mine = [e for e in events if e[1] == 77]
        self.assertEqual([e[2] for e in mine],
                         ["enter", "submit", "off", "on", "complete", "exit"])
        spans, marks = recorder.spans_of(mine, {"op 0xaa": "A"}, 1e6, 1e6 + 99)
        self.assertEqual(len(spans), 1)
        begin, end, kind, name, conn, off = spans[0]
        self.assertEqual((kind, name, conn), ("enter", "io_uring_enter", ""))
        self.assertAlmostEqual(begin, 10, 2)
        self.assertAlmostEqual(end, 53, 2)
        self.assertAlmostEqual(off[0][0], 13, 2)
        self.assertAlmostEqual(off[0][1], 50, 2)
        self.assertEqual([m[1:] for m in marks], [["submit", "RECV", "A"],
                                                  ["complete", "", "A"]])

    def test_strace(self):
        events = parsed(recorder.Strace, STRACE)
        spans, marks = recorder.spans_of(events, {"fd 5": "B"}, 1e6, 1e6 + 99)
        self.assertEqual([(s[2], s[4]) for s in spans],
                         [("wait", ""), ("recv", "B"), ("send", "B")])
        self.assertAlmostEqual(spans[0][1], 50, 2)
        self.assertAlmostEqual(spans[2][1], 80, 2)
        self.assertEqual(marks, [])

    def test_connections_are_learned_from_single_requests(self):
        events = parsed(recorder.Strace, STRACE)
        known = recorder.learn(events, {"C": (1e6 + 40, 1e6 + 90)})
        self.assertEqual(known, {"fd 5": "C"})
        self.assertEqual(recorder.learn(events, {"C": (0, 1)}), {})


class Recording(unittest.TestCase):
    def record(self, tool):
        try:
            return recorder.record(2, tool)
        except recorder.Refused as err:
            self.skipTest(str(err))

    def test_live(self):
        """Stage 2 is one loop: behind the handler all others wait."""
        for tool in ("perf", "strace"):
            with self.subTest(tool):
                found = self.record(tool)
                spans = [s for lane in found["lanes"] for s in lane["spans"]]
                kinds = {s[2] for s in spans}
                self.assertLessEqual({"recv", "send", "handler"}, kinds)
                letters = {s[4] for s in spans if s[2] == "send"}
                self.assertEqual(letters & set("ABCD"), set("ABCD"))
                sleep = next(s for s in spans if s[2] == "handler")
                self.assertGreaterEqual(sleep[1] - sleep[0], 500)
                picture.draw(found)

    def test_usage(self):
        self.assertEqual(recorder.main(["9", "x"]), 64)
        self.assertEqual(recorder.main(["1"]), 64)


class Picture(unittest.TestCase):
    def test_what_is_drawn(self):
        text = picture.draw(RECORDING)
        root = ElementTree.fromstring(text)
        words = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("AB", words)              # near marks share a label
        self.assertIn("<C>", words)             # and are escaped
        self.assertIn("thread 1", words)
        self.assertNotIn("thread 2", words)     # it did nothing
        self.assertTrue(any("1 more thread only waited" in w for w in words))
        self.assertIn("prefers-color-scheme:dark", text)

    def test_nothing_leaves_the_picture(self):
        root = ElementTree.fromstring(picture.draw(RECORDING))
        for box in root.iter("{http://www.w3.org/2000/svg}rect"):
            x, wide = float(box.get("x")), float(box.get("width"))
            self.assertGreaterEqual(x, picture.LEFT - 0.1)
            self.assertLessEqual(x + wide, picture.WIDTH)

    def test_bad_input(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "in.json")
            for text in ("", "[]", '{"schema": "other/2"}'):
                with open(path, "w", encoding="utf-8") as f:
                    f.write(text)
                with self.assertRaises(picture.Malformed):
                    picture.load(path)
            with open(path, "w", encoding="utf-8") as f:
                json.dump(RECORDING, f)
            out = os.path.join(folder, "no", "such", "folder.svg")
            self.assertEqual(picture.main([path, out]), 1)
            self.assertEqual(picture.main([path]), 64)


if __name__ == "__main__":
    unittest.main()
