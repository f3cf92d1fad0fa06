"""The result set of a micro-benchmark, written by micro_run.py.

    DIR/manifest.json    the machine, the command, what disturbed it
    DIR/uring_ops.json   every row: group, batch, size, method, cost, ratio

load() reads both, or raises ResultError with the file and the reason.
"""

import os

import machine
import results

MANIFEST = "ioladder-micro/1"
NAME = "uring_ops"
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
    rows = os.path.join(directory, NAME + ".json")
    found = load_rows(rows)
    if machine.sha256(rows) != manifest["sha256"]:
        raise results.ResultError(f"{rows}: not the file that its manifest "
                                  f"was written for")
    return manifest, found


def is_set(directory):
    """Whether this is, or was meant to be, such a set."""
    if os.path.exists(os.path.join(directory, NAME + ".json")):
        return True
    text = machine.read(os.path.join(directory, "manifest.json"))
    return MANIFEST in (text or "")
