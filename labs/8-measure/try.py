#!/usr/bin/python3
"""Lab 8, live: your measure.c against the server that pauses.

    try.py server [--port N]                  until Ctrl-C; says its port, pid
    try.py closed --port N [--seconds S]      what most scripts do
    try.py open --port N [--rate R] [--seconds S] [--connections C]
    try.py recordings                         writes the four recordings
    try.py compare FILE                       your compare() on one of them

Your file is labs/work/8-measure/measure.c (make lab LAB=8); --code FILE names
another.  SEED picks the course, as for make grade.
"""

import argparse
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from grader import build, lab as labs, params    # noqa: E402

LIBRARY = os.path.join("build", "common", "libcommon.a")


def parse(argv):
    p = argparse.ArgumentParser(
        description=__doc__.partition("\n\n")[0],
        usage=__doc__.split("\n\n")[1].strip())
    p.add_argument("what", choices=("server", "closed", "open", "recordings",
                                    "compare"))
    p.add_argument("file", nargs="?")
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--rate", type=int, default=200)
    p.add_argument("--seconds", type=int, default=20)
    p.add_argument("--connections", type=int, default=4)
    p.add_argument("--code", default=os.path.join(labs.LABS, "work",
                                                  "8-measure", "measure.c"))
    args = p.parse_args(argv)
    if args.what in ("closed", "open") and not args.port:
        p.error("--port is missing: the server says it")
    if (args.what == "compare") != (args.file is not None):
        p.error("compare needs a file, and nothing else takes one")
    return args


def compiled(name, work, sources, libraries=()):
    """The program, built from sources when one of them is newer."""
    program = os.path.join(work, name)
    lab = labs.load("8-measure")
    done = subprocess.run(
        [build.cc(), *build.FLAGS, *build.includes(lab, work), "-o", program,
         *sources, *libraries, "-lm"], check=False)
    if done.returncode != 0:
        sys.exit(1)
    return program


def server(work, port):
    subprocess.run(["make", "-s", "-C", labs.ROOT, "V=", LIBRARY], check=True)
    program = compiled("server", work,
                       [os.path.join(HERE, "staff", "server.c")],
                       [os.path.join(labs.ROOT, LIBRARY)])
    print(f"pid {os.getpid()}", flush=True)
    return [program, "--port", str(port)]


def client(work, args):
    program = compiled("live", work, [os.path.join(HERE, "staff", "live.c"),
                                      args.code])
    samples = os.path.join(work, "samples.csv")
    return [program, args.what] + {
        "closed": [str(args.port), str(args.seconds)],
        "open": [str(args.port), str(args.rate), str(args.seconds),
                 str(args.connections), samples],
        "recordings": [work],
        "compare": [args.file]}[args.what]


def main(argv):
    args = parse(argv)
    work, _ = build.parameters(labs.load("8-measure"),
                               params.course_seed())
    if args.what != "server" and not os.path.exists(args.code):
        print(f"{args.code} is not there; make lab LAB=8 puts the starter",
              file=sys.stderr)
        return 64
    words = server(work, args.port) if args.what == "server" \
        else client(work, args)
    os.execv(words[0], words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
