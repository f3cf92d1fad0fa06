#!/usr/bin/python3 -S
"""Stands in for ssh: runs the command here.  What is wrong with a host is its
name, up to a dot: "refuses", "hangs", "bare" (no python3), "other" (another
architecture), "builds-not", "greets" (prints a line first, as a login shell
may), "dies" (the connection ends at the second slice) and "stops" (from then
on nothing comes back).
"""
import json
import os
import shutil
import subprocess
import sys
import time

words = sys.argv[1:]
while words and words[0].startswith("-"):
    words = words[2 if words[0] in ("-o", "-F") else 1:]
mode, command = words[0].partition(".")[0], " ".join(words[1:])
os.environ["SSH_CONNECTION"] = "127.0.0.1 1 127.0.0.1 22"
here = os.environ["FAKE_SSH_DIR"]
os.environ["TMPDIR"] = here


def path_with(**scripts):
    """A PATH of its own, with the tools that the first script needs."""
    folder = os.path.join(here, mode)
    os.makedirs(folder, exist_ok=True)
    for name in ("sh", "mktemp", "tar", "gzip", "rm", "getconf", "grep",
                 "tail", *(["python3"] if mode != "bare" else [])):
        link = os.path.join(folder, name)
        if not os.path.lexists(link):
            os.symlink(shutil.which(name), link)
    for name, text in scripts.items():
        with open(os.path.join(folder, name), "w", encoding="ascii") as f:
            f.write("#!/bin/sh\n" + text)
        os.chmod(os.path.join(folder, name), 0o755)
    os.environ["PATH"] = folder


if mode == "refuses":
    print("ssh: connect to host refuses port 22: Connection refused",
          file=sys.stderr)
    sys.exit(255)
if mode == "hangs":
    time.sleep(600)
if mode == "bare":
    path_with()
if mode == "builds-not":
    path_with(make="echo 'x.c:1: fatal error: liburing.h: No such file'\n"
                   "exit 2\n")
if mode == "greets":
    print("Welcome to this machine", flush=True)
argv = ["sh", "-c", command]
if mode == "other":
    argv = ["setarch", "i686", *argv]
if mode not in ("dies", "stops") or "far_end" not in command:
    os.execvp(argv[0], argv)

slices = 0
with subprocess.Popen(argv, stdin=subprocess.PIPE) as child:
    for line in sys.stdin.buffer:
        slices += json.loads(line)["order"] == "go"
        if slices == 2 and mode == "stops":
            time.sleep(600)
        if slices == 2:
            child.kill()
            print("Connection to dies closed by remote host.",
                  file=sys.stderr)
            sys.exit(255)
        child.stdin.write(line)
        child.stdin.flush()
