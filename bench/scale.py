#!/usr/bin/env python3
"""A capacity plan from the figures of committed result sets: docs/scale.md.

  scale.py                               the plan of the document
  scale.py --connections 1e6 --requests 2e5 --regions 2 --cores 32
  scale.py --inputs                      every input with its source

Nothing here is measured at that size.  What is measured is one connection and
one request on one core; the rest is arithmetic, and each table says what it
leaves out.
"""

import argparse
import math
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import inherit                     # noqa: E402
import kernel_memory               # noqa: E402
import results                     # noqa: E402
from summary import number, table  # noqa: E402

STAGES = ("stage1", "stage2", "stage3", "stage4", "stage5", "stage6")
SETS = {                           # from the repository's root
    "memory": "bench/results/2026-11-29-memory",
    "cost": "bench/results/2026-11-29-ladder",
}
COST = ("ladder", {"handler": 0, "connections": 64})

# What a site decides, with the default of docs/scale.md.
SITE = {
    "connections": (10e6, "idle keep-alive connections in all"),
    "requests": (5e6, "requests a second in all, GET / without work"),
    "regions": (3, "regions; the others carry the load of one that is lost"),
    "cores": (64, "cores of one machine"),
    "memory_gib": (256, "memory of one machine"),
    "nic_gbit": (25, "speed of its network card"),
    "busy": (0.6, "share of a core that is planned for; the rest is for "
                  "peaks and for what was not measured"),
    "memory_share": (0.7, "share of the memory that connections may take"),
    "heartbeat_s": (60, "seconds between two small requests of an idle "
                        "connection"),
    "reconnect_s": (60, "seconds over which the clients of a lost region "
                        "spread their return"),
    "request_bytes": (400, "bytes of a request, headers included"),
    "reply_bytes": (1200, "bytes of a reply, headers included"),
    "proxy_sources": (4, "addresses that a proxy connects from"),
}

# What others state; the source is printed beside it.
FACTS = {
    "ports": (28232, "net.ipv4.ip_local_port_range as shipped, 32768 to 60999",
              "kernel, Documentation/networking/ip-sysctl.rst"),
    "conntrack_bytes": (
        256 + 64, "an entry of the table of connections that a firewall "
        "follows: struct nf_conn in its slab of 256 bytes, and extensions",
        "kernel, net/netfilter/nf_conntrack_core.c; /proc/slabinfo"),
    "frame_bytes": (
        78, "Ethernet with preamble and gap 38, IPv4 20, TCP 20",
        "IEEE 802.3, RFC 791, RFC 9293"),
    "segment_bytes": (1448, "bytes of a full segment with timestamps",
                      "RFC 7323 at an MTU of 1,500"),
    "queue_pps": (
        1e6, "packets a second that one receive queue and its core handle in "
        "the kernel's stack", "an assumption: measure it on your card"),
    "handshake_requests": (
        3, "a new connection counts as so many requests",
        "an assumption: bench/run.py short beside keepalive gives yours"),
}


class Inputs:
    """Figures of the result sets: memory and CPU, for the stages that all of
    the sets have."""

    def __init__(self, root=ROOT, sets=None):
        sets = sets or SETS
        memory = kernel_memory.load(os.path.join(root, sets["memory"]))
        cost = results.load(os.path.join(root, sets["cost"]))[2]
        self.sets = sets
        self.user = {name: kernel_memory.of_process(memory, name)
                     for name in STAGES}
        self.cpu_us = {c["server"]: c["metrics"]["cpu_us"][0]
                       for c in cost["cells"]
                       if (c["suite"], c["cell"]) == COST}
        self.stages = [name for name in STAGES
                       if self.user[name] is not None
                       and name in memory["slopes"] and name in self.cpu_us]
        if "stage4" not in self.stages:
            raise results.ResultError(
                f"{', '.join(sets.values())}: stage4 is not in all of them")
        self.kernel = {name: kernel_memory.of_stage(memory, name)[0]
                       for name in self.stages}


def gib(count):
    return count / 2**30


def memory_of(inputs, stage):
    """Bytes of an idle connection, the kernel's part included."""
    return inputs.user[stage] + inputs.kernel[stage]


def memory_table(inputs, site):
    rows = []
    for stage in inputs.stages:
        each = memory_of(inputs, stage)
        total = gib(each * site["connections"])
        rows.append([stage, number(inputs.user[stage]),
                     number(inputs.kernel[stage]), number(total),
                     machines_for_memory(inputs, site, stage)])
    return table(["server", "process, bytes", "kernel, bytes",
                  "all connections, GiB", "machines"], rows)


def machines_for_memory(inputs, site, stage):
    room = site["memory_gib"] * 2**30 * site["memory_share"]
    return math.ceil(site["connections"] * memory_of(inputs, stage) / room)


def request_rate(site):
    """Requests and heartbeats a second."""
    return site["requests"] + site["connections"] / site["heartbeat_s"]


def cores_for(inputs, site, stage, rate):
    return rate * inputs.cpu_us[stage] / 1e6 / site["busy"]


def cpu_table(inputs, site):
    rows = []
    for stage in inputs.stages:
        cores = cores_for(inputs, site, stage, request_rate(site))
        rows.append([stage, number(inputs.cpu_us[stage]), number(cores),
                     math.ceil(cores / site["cores"])])
    return table(["server", "CPU a request, us", "cores", "machines"], rows)


def packets(size):
    return math.ceil(size / FACTS["segment_bytes"][0])


def wire(site):
    """(bits a second in, out; packets a second in, out) of all machines: a
    reply carries the acknowledgement of its request, and is acknowledged."""
    rate, frame = request_rate(site), FACTS["frame_bytes"][0]
    into, out = packets(site["request_bytes"]) + 1, packets(
        site["reply_bytes"])
    return (8 * rate * (site["request_bytes"] + into * frame),
            8 * rate * (site["reply_bytes"] + out * frame),
            rate * into, rate * out)


def machines_for_wire(site):
    room = site["nic_gbit"] * 1e9 * site["busy"]
    return math.ceil(max(wire(site)[:2]) / room)


def wire_table(site):
    bits_in, bits_out, in_pps, out_pps = wire(site)
    queues = in_pps / FACTS["queue_pps"][0]
    return table(["direction", "Gbit/s", "million packets/s",
                  "receive queues"],
                 [["in", number(bits_in / 1e9), number(in_pps / 1e6),
                   math.ceil(queues)],
                  ["out", number(bits_out / 1e9), number(out_pps / 1e6), ""],
                  ["machines for it", machines_for_wire(site), "", ""]])


def names_table(site):
    """What has a limited number of names or places."""
    connections = site["connections"]
    pairs = connections / FACTS["ports"][0]
    return table(["what", "needed", "why"], [
        ["pairs of source and destination address between a proxy and "
         "servers", math.ceil(pairs),
         f"{FACTS['ports'][0]:,} ports for each pair"],
        ["destination addresses behind one proxy of "
         f"{site['proxy_sources']:.0f} source addresses",
         math.ceil(pairs / site["proxy_sources"]), "the same"],
        ["conntrack entries, GiB",
         number(gib(connections * FACTS["conntrack_bytes"][0])),
         "none with NOTRACK, which is the better answer"],
    ])


def whole(inputs, site, stage):
    """Machines, whatever runs out first, and what that is."""
    needs = {
        "memory": machines_for_memory(inputs, site, stage),
        "CPU": math.ceil(cores_for(inputs, site, stage, request_rate(site)) /
                         site["cores"]),
        "network": machines_for_wire(site),
    }
    most = max(needs.values())
    return most, " and ".join(k for k, v in needs.items() if v == most)


def with_one_lost(machines, regions):
    """Machines of all regions, when any one may be lost."""
    each = math.ceil(machines / (regions - 1))
    return each * regions


def failover_table(inputs, site):
    rows = []
    back = site["connections"] / site["regions"] / site["reconnect_s"]
    for stage in inputs.stages:
        machines, why = whole(inputs, site, stage)
        total = with_one_lost(machines, int(site["regions"]))
        storm = cores_for(inputs, site, stage, request_rate(site) +
                          back * FACTS["handshake_requests"][0])
        left = total - total // int(site["regions"])
        rows.append([stage, machines, why, total,
                     number(storm * site["busy"] / (left * site["cores"]))])
    return table(["server", "machines", "what runs out first",
                  "with one region to lose",
                  "busy share of the others while its clients return"], rows)


def settings_table(inputs, site):
    """Settings of one machine of the plan, for stage 4."""
    machines = whole(inputs, site, "stage4")[0]
    total = with_one_lost(machines, int(site["regions"]))
    left = total - total // int(site["regions"])
    each = math.ceil(site["connections"] / left)
    back = site["connections"] / site["regions"] / site["reconnect_s"] / left
    return table(["setting", "at least", "because"], [
        ["fs.nr_open, RLIMIT_NOFILE", f"{each + 1000:,}",
         "a descriptor for each connection, with one region lost"],
        ["fs.file-max", f"{2 * each:,}", "the same, and room"],
        ["net.core.somaxconn, listen()", f"{math.ceil(back):,}",
         "connections that return in one second, were accept() to stop for "
         "as long"],
        ["net.ipv4.tcp_max_syn_backlog", f"{math.ceil(back):,}", "the same"],
        ["net.ipv4.tcp_mem, third value, pages",
         f"{math.ceil(each * 0.01 * 2 * 65536 / 4096):,}",
         "one connection in 100 with 64 KiB in each direction"],
    ])


def inputs_table(inputs):
    rows = [[f"`{name}`", number(value), text, "decided by the site"]
            for name, (value, text) in SITE.items()]
    rows += [[f"`{name}`", number(value), text, source]
             for name, (value, text, source) in FACTS.items()]
    rows += [["CPU a request", "", "GET /, 64 connections, loopback",
              inputs.sets["cost"]],
             ["memory of the process", "", "a connection, slope",
              inputs.sets["memory"]],
             ["memory of the kernel", "", "a connection, slope",
              inputs.sets["memory"]]]
    return table(["input", "value", "what it is", "source"], rows)


def defaults():
    return {name: value for name, (value, _) in SITE.items()}


TABLES = {
    "memory": memory_table,
    "cpu": cpu_table,
    "wire": lambda _, site: wire_table(site),
    "names": lambda _, site: names_table(site),
    "failover": failover_table,
    "settings": settings_table,
    "inputs": lambda inputs, _: inputs_table(inputs),
}


def render(what, root=ROOT, site=None):
    """A table of the document; KeyError where there is none of that name."""
    return TABLES[what](Inputs(root), site or defaults())


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    for name, (value, text) in SITE.items():
        p.add_argument("--" + name.replace("_", "-"), type=float,
                       default=float(value), metavar="N",
                       help=f"{text} ({number(value)})")
    p.add_argument("--inputs", action="store_true",
                   help="every input with its source")
    args = p.parse_args(argv)
    site = {name: getattr(args, name) for name in SITE}
    for name, value in site.items():
        if not 0 < value < float("inf"):
            p.error(f"--{name.replace('_', '-')} has to be more than 0")
    for name in ("busy", "memory_share"):
        if site[name] > 1:
            p.error(f"--{name.replace('_', '-')} is a share: at most 1")
    if site["regions"] < 2 or site["regions"] % 1:
        p.error("--regions: two or more, a whole number")
    return args, site


def main(argv=None):
    inherit.clean()
    args, site = parse(argv)
    try:
        inputs = Inputs()
    except results.ResultError as err:
        print(f"scale.py: {err}", file=sys.stderr)
        return 1
    for name, make in TABLES.items():
        if (name == "inputs") == args.inputs:
            print(f"{name}:\n\n{make(inputs, site)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
