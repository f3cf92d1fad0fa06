"""hold.py PROGRAM WORDS...: waits until a debugger has attached, then becomes
PROGRAM.  Its pid stays the same, and any process of its user may attach."""

import ctypes
import os
import sys
import time

PR_SET_PTRACER = 0x59616d61


def traced():
    with open("/proc/self/status", encoding="ascii") as f:
        return "\nTracerPid:\t0\n" not in f.read()


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    while not traced():
        time.sleep(0.05)
    os.execv(sys.argv[1], sys.argv[1:])
