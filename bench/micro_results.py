"""The result set of a micro-benchmark, written by micro_run.py.

    DIR/manifest.json    the machine, the command, what disturbed it
    DIR/uring_ops.json   every row: group, batch, size, method, cost, ratio
    DIR/queues.json      every row: block, wait, load, queue, its latencies
    DIR/padding.json     every row: block, update, period, padding, cost

The first has medians and ratios, made by the program; the others have every
block, and the readers make the ratios.  load() reads a manifest and the rows,
or raises ResultError with the file and the reason.
"""

import os

import machine
import results

MANIFEST = "ioladder-micro/1"
NAME = "uring_ops"
PROGRAMS = (NAME, "queues", "padding")
ROWS = "ioladder-uring-ops/1"
GROUPS = ("echo", "recv", "recv-large", "send", "direct", "once", "setup")


def _triple(value):
    """[median, low, high] of something that cannot be 0."""
    return (isinstance(value, list) and len(value) == 3
            and all(isinstance(v, (int, float)) for v in value)
            and 0 < value[1] <= value[0] <= value[2] < float("inf"))


def check_row(row, where):
    if not isinstance(row, dict):
        raise results.ResultError(f"{where}: not a JSON object")
    results.need(row, where, "group", "batch", "size", "method", "baseline")
    if "skipped" in row:
        if not row["skipped"]:
            raise results.ResultError(f"{where}: skipped without a reason")
        return
    results.need(row, where, "ns", "ratio", "notified", "copied")
    for name in ("ns", "ratio"):
        if not _triple(row[name]):
            raise results.ResultError(f"{where}: {name} is {row[name]!r}, "
                                      f"not [median, low, high]")


def load_rows(path, groups=GROUPS):
    """The object in a file of uring_ops, with all of these groups."""
    found = results.load_object(path, ROWS)
    results.need(found, path, "kernel", "blocks", "rows")
    for number, row in enumerate(found["rows"], 1):
        check_row(row, f"{path}: row {number}")
    have = {row["group"] for row in found["rows"]}
    missing = [g for g in groups if g not in have]
    if missing:
        raise results.ResultError(f"{path}: no rows for {', '.join(missing)}")
    return found


# The programs that write every block: what tells their rows apart, and what
# must be a number greater than 0.
BLOCKS = {
    "queues": ("ioladder-queues/1", ("wait", "load", "queue"),
               ("mean_ns", "p50_ns", "p99_ns", "p99.9_ns", "due_mean_ns",
                "due_p99_ns", "tasks_per_s")),
    "padding": ("ioladder-padding/1", ("update", "every_ns", "pad"),
                ("ns_per_update",)),
}


def _same_in_all(rows, keys, blocks, path):
    """Every block has the same cases, each once: a ratio needs both."""
    seen = {block: [] for block in range(blocks)}
    for row in rows:
        if row["block"] not in seen:
            raise results.ResultError(f"{path}: there is no block "
                                      f"{row['block']!r}")
        seen[row["block"]].append(tuple(row[key] for key in keys))
    every = {case for cases in seen.values() for case in cases}
    for block, cases in seen.items():
        if not cases or sorted(cases) != sorted(every):
            raise results.ResultError(f"{path}: block {block} is not whole")


def load_blocks(path, program):
    """The object in a file of queues or padding, every block whole."""
    schema, keys, numbers = BLOCKS[program]
    found = results.load_object(path, schema)
    results.need(found, path, "blocks", "rows")
    for number, row in enumerate(found["rows"], 1):
        where = f"{path}: row {number}"
        if not isinstance(row, dict):
            raise results.ResultError(f"{where}: not a JSON object")
        results.need(row, where, "block", *keys, *numbers)
        for name in numbers:
            value = row[name]
            if not isinstance(value, (int, float)) \
                    or not 0 < value < float("inf"):
                raise results.ResultError(f"{where}: {name} is {value!r}")
    _same_in_all(found["rows"], keys, found["blocks"], path)
    return found


def load_program(path, program):
    return load_rows(path) if program == NAME else load_blocks(path, program)


def load(directory):
    """(manifest, rows object) of a whole set."""
    if not os.path.isdir(directory):
        raise results.ResultError(f"{directory}: no such result set")
    path = os.path.join(directory, "manifest.json")
    manifest = results.load_object(path, MANIFEST)
    results.need(manifest, path, "state", "program", "command", "quick",
                 "machine", "groups", "sha256")
    if manifest["state"] != "complete":
        raise results.ResultError(f"{path}: the run is "
                                  f"{manifest['state']!r}, not complete")
    if manifest["program"] not in PROGRAMS:
        raise results.ResultError(f"{path}: no program is called "
                                  f"{manifest['program']!r}")
    rows = os.path.join(directory, manifest["program"] + ".json")
    found = load_program(rows, manifest["program"])
    if machine.sha256(rows) != manifest["sha256"]:
        raise results.ResultError(f"{rows}: not the file that its manifest "
                                  f"was written for")
    return manifest, found


def is_set(directory):
    """Whether this is, or was meant to be, such a set."""
    if any(os.path.exists(os.path.join(directory, name + ".json"))
           for name in PROGRAMS):
        return True
    text = machine.read(os.path.join(directory, "manifest.json"))
    return MANIFEST in (text or "")
