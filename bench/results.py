"""A result set on disk, written by run.py and read by everything else.

    DIR/manifest.json   the machine, the build, the plan; `state` says whether
                        the run is complete
    DIR/rows.jsonl      one run per line, appended as it finishes
    DIR/summary.json    medians, intervals and comparisons, from the rows
    DIR/summary.md      the same as tables

load() reads all of it or raises ResultError with the file and the reason.
There is no half-loaded result set, so there is no half plot.
"""

import errno
import json
import os

MANIFEST = "ioladder-results/1"
ROW = "ioladder-row/1"
SUMMARY = "ioladder-summary/1"


class ResultError(Exception):
    """A result set that cannot be used, and why."""


def number_or_word(text):
    """A cell's value as one writes it: 64, 0.3 or hash."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _read(path):
    try:
        with open(path, encoding="utf-8") as f:
            text = f.read()
    except FileNotFoundError:
        raise ResultError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as err:
        raise ResultError(f"{path}: {err}") from None
    if not text.strip():
        raise ResultError(f"{path}: the file is empty")
    return text


def _object(text, where, schema):
    try:
        value = json.loads(text)
    except json.JSONDecodeError as err:
        raise ResultError(
            f"{where}: truncated or not JSON ({err.msg} at character "
            f"{err.pos})") from None
    if not isinstance(value, dict):
        raise ResultError(f"{where}: not a JSON object")
    found = value.get("schema")
    if found != schema:
        raise ResultError(f"{where}: version {found!r}, this program reads "
                          f"{schema!r}")
    return value


def load_object(path, schema):
    """The one object of a file, or ResultError."""
    return _object(_read(path), path, schema)


def need(value, where, *names):
    """Every name must be a key of value."""
    for name in names:
        if name not in value:
            raise ResultError(f"{where}: no field {name!r}")


def load_manifest(directory):
    path = os.path.join(directory, "manifest.json")
    manifest = _object(_read(path), path, MANIFEST)
    need(manifest, path, "state", "plan", "machine", "servers", "seed")
    return manifest


def _belongs(row, where, manifest):
    """A row of another set must not be taken for one of this."""
    if row.get("set") != manifest.get("set"):
        raise ResultError(f"{where}: a row of another result set")
    plan = {part["suite"] for part in manifest["plan"]}
    if row["suite"] not in plan:
        raise ResultError(f"{where}: suite {row['suite']!r}, which the "
                          f"manifest does not have")
    if row["server"] is not None and row["server"] not in manifest["servers"]:
        raise ResultError(f"{where}: server {row['server']!r}, which the "
                          f"manifest does not have")


def load_rows(directory, manifest=None):
    path = os.path.join(directory, "rows.jsonl")
    text = _read(path)
    if not text.endswith("\n"):
        raise ResultError(f"{path}: truncated: the last line has no end")
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{path}:{number}"
        row = _object(line, where, ROW)
        need(row, where, "kind", "suite", "cell", "server", "block", "valid",
             "metrics")
        if manifest:
            _belongs(row, where, manifest)
        rows.append(row)
    return rows


def load_summary(directory):
    path = os.path.join(directory, "summary.json")
    summary = _object(_read(path), path, SUMMARY)
    need(summary, path, "rows", "cells", "comparisons", "slopes", "redone")
    return summary


def load(directory):
    """(manifest, rows, summary) of a whole result set, or ResultError."""
    if not os.path.isdir(directory):
        raise ResultError(f"{directory}: no such result set")
    manifest = load_manifest(directory)
    rows = load_rows(directory, manifest)
    summary = load_summary(directory)
    if summary.get("set") != manifest.get("set"):
        raise ResultError(f"{directory}/summary.json: of another result set")
    if summary["rows"] != len(rows):
        raise ResultError(
            f"{directory}/rows.jsonl: {len(rows)} rows, but the summary was "
            f"made from {summary['rows']}: truncated, or summarise again "
            f"with run.py --summarise")
    return manifest, rows, summary


def write_json(path, value):
    """Whole or not at all: a reader never sees half of it."""
    write_text(path, json.dumps(value, indent=1, sort_keys=False) + "\n")


def write_text(path, text):
    """The same for any file."""
    tmp = path + ".tmp"
    try:
        with open(tmp, "w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(tmp, path)
    except OSError as err:
        if os.path.exists(tmp):
            os.unlink(tmp)
        raise ResultError(f"{path}: cannot be written: {err.strerror}") \
            from None


class Writer:
    """Appends rows; every row is on disk before the next run starts."""

    def __init__(self, directory, name=None):
        """`name` stands in every row, so that no other set's is taken for
        one."""
        self.path = os.path.join(directory, "rows.jsonl")
        self.rows, self.name = [], name
        self._file = open(self.path, "xb", buffering=0)

    def add(self, row):
        row = {"schema": ROW, **({"set": self.name} if self.name else {}),
               **row}
        line = json.dumps(row, separators=(",", ":")).encode() + b"\n"
        end = self._file.tell()
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as err:
            # Half a row would make the file unreadable: those before stay.
            self._file.truncate(end)
            raise ResultError(f"{self.path}: cannot be written: "
                              f"{err.strerror}") from None
        self.rows.append(row)

    def close(self):
        self._file.close()


def default_directory(root):
    """The newest result set under build/results."""
    return os.path.join(root, "build", "results", "latest")
