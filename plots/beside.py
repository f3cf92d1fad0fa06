"""Two sets of one suite side by side, for a document: what changed between
them, in a table and in sentences.

Slices of two sets are no pairs, so what a ratio of one to the other is has no
interval; the ratios within each set have theirs.
"""

import os
import re

import stats_math
import summary as summaries

import compare
from sets import decided


class Apart(Exception):
    """The sets have nothing in common, for people."""


def short_name(directory):
    """2026-11-29-veth -> veth"""
    name = os.path.basename(os.path.normpath(directory))
    return name.lstrip("0123456789-") or name


def names_of(a, b, directories):
    """What the sets are called: by their processors, if these differ."""
    cpus = [d.manifest["machine"]["cpu"] for d in (a, b)]
    if all(cpus) and cpus[0] != cpus[1]:
        return [re.sub(r"\(\w+\)| Processor| CPU| @.*", "", cpu).strip()
                for cpu in cpus]
    return [short_name(d) for d in directories]


def both_entries(a, b, suite, cell):
    """[(entry of A, entry of B)] of the servers that both have."""
    found = []
    for e in a.entries(suite, cell):
        other = b.entry(suite, cell, e["server"])
        if other and e["metrics"].get("cpu_us") \
                and other["metrics"].get("cpu_us"):
            found.append((e, other))
    return found


def to_the_row_above(data, suite, cell, server, above):
    return summaries.ratio_text(
        above and data.ratio(suite, cell, "cpu_us", server, above))


def table(a, b, names, suite, cells):
    body = []
    for cell in cells:
        above = None
        for one, two in both_entries(a, b, suite, cell):
            server = one["server"]
            us = [e["metrics"]["cpu_us"][0] for e in (one, two)]
            body.append([
                summaries.cell_text(cell), a.name(server),
                *(summaries.number(value) for value in us),
                f"{us[1] / us[0]:.2f}",
                *(to_the_row_above(data, suite, cell, server, above)
                  for data in (a, b))])
            above = server
    return summaries.table(
        ["cell", "server", *(f"CPU us, {name}" for name in names),
         f"{names[1]} / {names[0]}",
         *(f"to the row above, {name}" for name in names)], body)


def span(values, name):
    return (f"{min(values):.2f} to {max(values):.2f} times that in {name} "
            f"(median {stats_math.median(values):.2f})")


def growth(a, b, suite, cells, metric):
    """What B's figure is to A's, for every server of every cell."""
    return [two["metrics"][metric][0] / one["metrics"][metric][0]
            for cell in cells for one, two in both_entries(a, b, suite, cell)
            if one["metrics"].get(metric) and two["metrics"].get(metric)]


def neighbours(a, b, suite, cells):
    """How often both sets order a stage and the one before it alike."""
    same = against = open_ = 0
    for cell in cells:
        pairs = both_entries(a, b, suite, cell)
        for (above, _), (one, _) in zip(pairs, pairs[1:]):
            found = [data.ratio(suite, cell, "cpu_us", one["server"],
                                above["server"]) for data in (a, b)]
            if not all(decided(c) for c in found):
                open_ += 1
            elif compare.disagree(*found):
                against += 1
            else:
                same += 1
    return same, against, open_


def sentences(a, b, names, suite, cells):
    cpu = growth(a, b, suite, cells, "cpu_us")
    client = growth(a, b, suite, cells, "client_cpu_us")
    same, against, open_ = neighbours(a, b, suite, cells)
    found = [f"The server's CPU time of a request in {names[1]} is "
             f"{span(cpu, names[0])}."]
    if client:
        found.append(f"The client's is {span(client, names[0])}.")
    found.append(
        f"Of {same + against + open_} steps from one stage to the next both "
        f"sets decide {same + against}"
        + (f", and agree on {same}." if same + against else ".")
        + " The others are open in one of them at least.")
    return " ".join(found)


def way(data, name):
    """How the slices of a set met the machine."""
    turns = [part.get("turn_s") for part in data.manifest["plan"]]
    if all(turns):
        return (f"in {name} the servers of a block took turns of "
                f"{1000 * turns[0]:.0f} ms")
    return (f"in {name} they ran one after the other, so the drift of the "
            f"machine stands in its intervals")


def caveats(a, b, names, suite, cells):
    found = [f"Caveats: {way(a, names[0])}; {way(b, names[1])}."]
    one, two = (d.manifest["machine"]["git"]["revision"] for d in (a, b))
    if one != two:
        found.append(f"They measured two revisions, {(one or 'unknown')[:12]} "
                     f"and {(two or 'unknown')[:12]}.")
    found.append("No ratio of one set to the other has an interval.")
    for data, name in zip((a, b), names):
        found.append(f"{name}: "
                     + summaries.state_text(data.manifest, data.summary))
        note = summaries.notes_text(data.summary, suite, cells)
        if note:
            found.append(note)
    return " ".join(found)


def text(a, b, directories, suite):
    """The whole block; A is the set that is known, B the one beside it."""
    names = names_of(a, b, directories)
    cells = [cell for cell in a.suites.get(suite, [])
             if both_entries(a, b, suite, cell)]
    if not cells:
        raise Apart(f"the sets have no cell of {suite} with a server in "
                    f"common")
    return "\n\n".join([table(a, b, names, suite, cells),
                        sentences(a, b, names, suite, cells),
                        caveats(a, b, names, suite, cells)])


# --- within one set: what a server adds to the reference of its suite ------

ADDED = (("cpu_us", "CPU us"), ("p50_us", "p50 us"), ("p99_us", "p99 us"))


def more_than(ours, base, metric):
    """The median of the blocks' differences, with its interval."""
    found = [ours[b][metric] - base[b][metric] for b in sorted(ours)
             if b in base and None not in (ours[b].get(metric),
                                           base[b].get(metric))]
    return stats_math.median_interval(found) if found else None


def signed(triple):
    if not triple:
        return "-"
    middle, low, high = (None if v is None else
                         f"{'+' if v >= 0 else '-'}{summaries.number(abs(v))}"
                         for v in triple)
    return middle if low is None else f"{middle} ({low} to {high})"


def added(data, suite, cells):
    """A line for each server and cell: what it adds to the reference."""
    base = data.summary.get("yardsticks", {}).get(suite)
    blocks, body = summaries.values_of(data.manifest, data.rows), []
    for cell in cells:
        valid = blocks[suite, summaries.cell_key(cell)]
        for server in data.order:
            if server != base and valid.get(server) and valid.get(base):
                body.append([
                    summaries.cell_text(cell), data.name(server),
                    *(signed(more_than(valid[server], valid[base], metric))
                      for metric, _ in ADDED)])
    if not body:
        raise Apart(f"{suite}: no server beside a reference")
    return summaries.table(
        ["cell", "server", *(f"{words} added to {data.name(base)}"
                             for _, words in ADDED)], body)


# --- within one set: a stage beside the same one built another way ---------

TWIN = re.compile(r"([0-9]+)-off")     # of stage 3: 3-off


def twins(data, suite, cells):
    """A line for each stage and cell: its CPU time by that of its twin."""
    blocks, body = summaries.values_of(data.manifest, data.rows), []
    for cell in cells:
        valid = blocks[suite, summaries.cell_key(cell)]
        for twin in data.order:
            found = TWIN.fullmatch(twin)
            stage = found and "stage" + found[1]
            if stage and valid.get(twin) and valid.get(stage):
                ratio = stats_math.compare(*(
                    {b: m["cpu_us"] for b, m in valid[name].items()}
                    for name in (stage, twin)))
                body.append([summaries.cell_text(cell), data.name(stage),
                             summaries.ratio_text(ratio)])
    if not body:
        raise Apart(f"{suite}: no stage with a twin")
    return summaries.table(["cell", "server", "CPU, as built / without"], body)
