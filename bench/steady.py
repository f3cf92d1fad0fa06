#!/usr/bin/python3
"""Allocations and page faults of a request in steady state, for each stage.

  steady.py [--servers stage3,stage4] [--out DIR]

Allocations: a build whose malloc, calloc, realloc and aligned_alloc are counted
(build/fault) answers 200, 400 ... requests and says at its end how often they
were called.  What starting it takes is the same in each run, so the difference
of two runs divided by the requests is the figure.  A request with a body is the
positive control: it allocates, so the counter can be seen to move.

Page faults: the kernel's own count of the process, over windows of requests
after 500 of them.  A fresh connection for every request is what shows that
this one moves; what it costs differs by stage and is printed.
"""

import re
import sys

import counts
import machine

CONNECTIONS, STEP, BLOCKS = 8, 200, 6
CALLS = ("malloc", "calloc", "realloc", "aligned_alloc")
# A rule that never hits: calls are counted, none is made to fail.
PLAN = ",".join(f"{call}:ENOMEM:after=4000000000" for call in CALLS)
SEEN = re.compile(r"fault: (\w+) ENOMEM: \d+ of (\d+)")
BODY = b"b" * 2000


def ask(connections, times, **what):
    for number in range(times):
        status, _ = counts.request(connections[number % len(connections)],
                                   **what)
        if " 200 " not in status + " ":
            raise counts.Failed(f"the answer was {status}")


def connected(server):
    return [server.connect() for _ in range(CONNECTIONS)]


def close(connections):
    for sock in connections:
        sock.close()


def allocations(binary, times, **what):
    """Calls of the allocator by a server that answers so many requests."""
    with counts.Server([binary], {"FAULT_PLAN": PLAN}) as server:
        connections = connected(server)
        ask(connections, times, **what)
        close(connections)
        if server.stop() != 0:
            raise counts.Failed(f"{binary} did not end as asked")
        found = dict(SEEN.findall(server.said()))
    if set(found) != set(CALLS):
        raise counts.Failed(f"{binary} counts no allocations")
    return sum(map(int, found.values()))


def allocation_series(binary, blocks=BLOCKS, **what):
    """Allocations a request, one figure for each pair of runs."""
    runs = [allocations(binary, STEP * (n + 1), **what)
            for n in range(blocks + 1)]
    return [(more - less) / STEP for less, more in zip(runs, runs[1:])]


def fault_series(binary, blocks=BLOCKS, warmup=500):
    """Page faults a request, one figure for each window."""
    with counts.Server([binary]) as server:
        connections = connected(server)
        ask(connections, warmup)
        found = [machine.page_faults(server.pid)]
        for _ in range(blocks):
            ask(connections, STEP)
            found.append(machine.page_faults(server.pid))
        close(connections)
    return [(more - less) / STEP for less, more in zip(found, found[1:])]


def faults_of_fresh_connections(binary):
    """Page faults of a server that begins: what a request must not cost."""
    with counts.Server([binary]) as server:
        before = machine.page_faults(server.pid)
        connections = connected(server)
        ask(connections, CONNECTIONS)
        after = machine.page_faults(server.pid)
        close(connections)
    return (after - before) / CONNECTIONS


def one_of_each(binary):
    """(allocations a request, a request with a body), from three runs."""
    less, more, bodies = (
        allocations(binary, STEP), allocations(binary, 2 * STEP),
        allocations(binary, STEP, path="/echo", body=BODY))
    return (more - less) / STEP, (bodies - less) / STEP


def rows_of(args, name, blocks=BLOCKS):
    plain = counts.binary(args.build, name)
    counted = counts.binary(args.build, name, fault=True)
    made = allocation_series(counted, blocks)
    bodies = allocation_series(counted, blocks, path="/echo", body=BODY)
    faults = fault_series(plain, blocks)
    first = faults_of_fresh_connections(plain)
    for block in range(blocks):
        yield {"block": block, "allocations": made[block],
               "body_allocations": bodies[block], "faults": faults[block],
               "first_faults": first}


if __name__ == "__main__":
    sys.exit(counts.main("steady", __doc__, rows_of))
