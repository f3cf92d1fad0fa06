"""Stacks of `perf script`, folded: one a line, from the outside in, with its
weight.  This is the format that flame graph tools read:

    stage3;main;conn_run;service_work;burn 120

A frame of the kernel ends in `_[k]`.
"""

import os
import re

HEAD = re.compile(r"^(\S.*?)\s+(\d+)\s+(\d+\.\d+):\s+(?:\d+\s+)?(\S+?):"
                  r"(?:\s+(.*))?$")
FRAME = re.compile(r"^\s+([0-9a-f]+) (.+)$")
SWITCH = re.compile(r"prev_pid=(\d+) .*prev_state=(\S+) ==> .*next_pid=(\d+)")
# What is below main, or belongs to the compiler, says nothing.
BORING = re.compile(r"^(_start|__libc_start.*|__clone3?|clone3?|start_thread|"
                    r"\[unknown\])$")
CLONE = re.compile(r"(\.(constprop|isra|part|cold|lto_priv)(\.\d+)?)+$")
KERNEL = 1 << 47


def threads_of(pid):
    """{tid: name} of a process; {} when it is gone."""
    found = {}
    try:
        for tid in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{tid}/comm", encoding="utf-8") as f:
                found[int(tid)] = f.read().strip()
    except OSError:
        pass
    return found


def frame(address, name):
    """A function as a reader knows it: without versions and clones."""
    name = CLONE.sub("", name.split("@")[0].split("+0x")[0])
    return name + ("_[k]" if int(address, 16) >= KERNEL else "")


def samples(text):
    """(name, tid, seconds, event, rest of the line, frames from outside in)"""
    found, now = [], None
    for line in text.splitlines():
        head = HEAD.match(line)
        if head:
            comm, tid, at, event, rest = head.groups()
            now = (comm, int(tid), float(at), event, rest or "", [])
            found.append(now)
            continue
        inside = FRAME.match(line)
        if now and inside:
            address, name = inside.groups()
            name = frame(address, name)
            if not BORING.match(name.removesuffix("_[k]")):
                now[5].insert(0, name)
    return found


def fold(found):
    """{stack: samples} of cpu-clock samples."""
    stacks = {}
    for comm, _, _, _, _, frames in found:
        key = ";".join([comm, *frames])
        stacks[key] = stacks.get(key, 0) + 1
    return stacks


def off_cpu(found, tids):
    """{stack: microseconds off the cpu} of sched_switch samples; a thread that
    did not sleep but lost the cpu has the last frame `preempted`."""
    stacks, since = {}, {}
    for comm, _, at, _, rest, frames in found:
        switch = SWITCH.search(rest)
        if not switch:
            continue
        out, state, into = switch.groups()
        if int(into) in tids and int(into) in since:
            began, key = since.pop(int(into))
            stacks[key] = stacks.get(key, 0) + round((at - began) * 1e6)
        if int(out) in tids:
            mine = [name for name in frames
                    if name not in ("__schedule_[k]", "schedule_[k]")]
            if state.startswith("R"):
                mine = [name for name in mine if not name.endswith("_[k]")]
                mine.append("preempted")
            since[int(out)] = at, ";".join([comm, *mine])
    return stacks


def text(stacks):
    return "".join(f"{key} {weight}\n" for key, weight
                   in sorted(stacks.items()))


def load(path):
    """{stack: weight} of a file; ValueError names the line that is not one."""
    stacks = {}
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            key, _, weight = line.rstrip("\n").rpartition(" ")
            if not key or not weight.isdigit():
                raise ValueError(f"{path}:{number}: not a folded stack")
            stacks[key] = stacks.get(key, 0) + int(weight)
    return stacks
