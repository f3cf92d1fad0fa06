#!/usr/bin/python3
"""The gnuplot pictures of a result set.

  draw.py [RESULTSET] --preview          in the terminal, as characters
  draw.py [RESULTSET] --out DIR          DIR/*.svg and DIR/*.png

It writes the columns that the *.gp scripts read (DIR/*.dat) and runs them.
A result set that cannot be read whole gives an error and no picture.
"""

import os
import sys

import settings

if __name__ == "__main__":
    settings.alone()

import argparse
import math
import shutil
import subprocess
import tempfile
import textwrap

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HERE = os.path.join(ROOT, "plots")
sys.path.insert(0, os.path.join(ROOT, "bench"))
sys.path.insert(0, HERE)

import inherit              # noqa: E402
import results              # noqa: E402
import sets                 # noqa: E402


def triple(values):
    if not values:
        return ["NaN"] * 3
    mid, low, high = values
    return [f"{mid:g}", f"{mid if low is None else low:g}",
            f"{mid if high is None else high:g}"]


def quoted(data, server):
    return f'"{data.name(server)}"'


def ladder_lines(data, cell):
    for e in data.entries(data.lead, cell):
        m = e["metrics"]
        yield " ".join([quoted(data, e["server"])]
                       + triple(m.get("qps")) + triple(m.get("p99_us"))
                       + triple(m.get("cpu_us")))


def syscall_lines(data, cell):
    entries = [e for e in data.entries(data.lead, cell)
               if e.get("syscalls")]
    sets.call_kinds(entries)
    for e in entries:
        yield " ".join([quoted(data, e["server"])] + [
            f"{e['kinds'].get(kind, 0):g}" for kind in sets.CALL_COLOURS])


def latency_blocks(data, cells):
    for server in data.order:
        lines = []
        for cell in cells:
            for e in data.entries("latency", cell):
                if e["server"] == server and "p99_us" in e["metrics"]:
                    m = e["metrics"]
                    lines.append(" ".join(
                        [f"{cell['load'] * 100:g}"] + triple(m.get("p50_us"))
                        + triple(m["p99_us"])))
        if lines:
            yield "\n".join([quoted(data, server), *lines]) + "\n"


def idle_lines(data):
    for s in data.summary["slopes"]:
        if s["suite"] == "idle" and s["bytes"] > 0:
            yield " ".join([quoted(data, s["server"])]
                           + triple([s["bytes"], s["low"], s["high"]]))


def skew_lines(data, cell):
    entries = data.entries("show-sleep", cell)
    metric = sets.fast(entries, "p99")
    for e in entries:
        if metric in e["metrics"]:
            yield " ".join([quoted(data, e["server"])]
                           + triple(e["metrics"][metric]))


def bounded(script, heading, lines):
    """A picture on a logarithmic axis, which must be told its ends."""
    values = [float(line.rsplit(None, 3)[1]) for line in lines]
    return (script, heading, "\n".join(lines), len(lines),
            {"least": min(values), "most": max(values)})


def pictures(data):
    """[(script, heading, lines, number of rows, more variables)]"""
    found, head = [], data.headline()
    if head:
        lines = list(ladder_lines(data, head))
        where = f"{data.asked}, {sets.cell_words(head)}, closed loop"
        for script in ("ladder", "p99", "cpu"):
            found.append((script, where, "\n".join(lines), len(lines), {}))
        calls = list(syscall_lines(data, head))
        if calls:
            found.append(("syscalls", where, "\n".join(calls), len(calls),
                          {}))
    load = data.suites.get("latency", ())
    blocks = list(latency_blocks(data, load))
    if blocks:
        found.append(("latency", "Latency from the intended send time",
                      "\n\n".join(blocks), len(blocks), {}))
    idle = list(idle_lines(data))
    if idle:
        found.append(bounded("idle", "Memory of an idle connection", idle))
    for cell in data.suites.get("show-sleep", ())[:1]:
        skew = list(skew_lines(data, cell))
        if skew:
            found.append(bounded("skew", sets.cell_words(cell), skew))
    return found


def gnuplot(script, variables):
    text = "; ".join(f"{k} = {v!r}" if isinstance(v, str) else f"{k} = {v}"
                     for k, v in variables.items())
    done = subprocess.run(
        ["gnuplot", "-d", "-e", text, os.path.join(HERE, script + ".gp")],
        capture_output=True, text=True, check=False,
        env=settings.gnuplot_environment())
    if done.returncode != 0:
        raise RuntimeError(f"gnuplot {script}.gp: {done.stderr.strip()}")
    return done.stdout


def draw_one(script, variables, directory):
    for term in ("svg", "png"):
        out = os.path.join(directory, f"{script}.{term}")
        gnuplot(script, {**variables, "term": term, "out": out})
        print("figure:", os.path.relpath(out))


def draw(data, directory, only):
    """One that fails costs no other; returns how many have failed."""
    failed = 0
    for script, heading, text, rows, more in pictures(data):
        if only and script not in only:
            continue
        path = os.path.join(directory, script + ".dat")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text + "\n")
        variables = {"data": path, "rows": rows, "heading": heading,
                     "here": HERE + "/", **more}
        try:
            draw_one(script, variables, directory)
        except RuntimeError as err:
            print(f"draw.py: {err}", file=sys.stderr)
            failed += 1
    return failed


# --- in the terminal ------------------------------------------------------

# picture -> what it shows, column of its lines (after the name), unit
IN_TERMINAL = {"cpu": ("CPU time of a request", 6, "us"),
               "ladder": ("requests a second", 0, "/s"),
               "p99": ("p99", 3, "us"),
               "syscalls": ("system calls a request", None, ""),
               "idle": ("", 0, "B"),
               "skew": ("p99 of the short requests", 0, "us")}


def terminal_rows(script, text):
    """[(name, value)] of a picture's lines."""
    column, found = IN_TERMINAL[script][1], []
    for line in text.splitlines():
        _, name, values = line.split('"')
        values = [float(v) for v in values.split()]
        value = sum(values) if column is None else values[column]
        if not math.isnan(value):
            found.append((name, value))
    return found


def in_terminal(script, heading, text, wide):
    """A picture as lines of characters."""
    words, _, unit = IN_TERMINAL[script]
    rows = terminal_rows(script, text)
    labels = [(name, sets.amount(value, unit)) for name, value in rows]
    names, numbers = (max(map(len, column)) for column in zip(*labels))
    values = [value for _, value in rows]
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "rows.dat")
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(
                f'"{name:{names}} {number:>{numbers}}" {value:g}\n'
                for (name, number), value in zip(labels, values))
        title = ", ".join(filter(None, (words, heading)))
        lines = gnuplot("terminal", {
            "data": path, "rows": len(rows), "wide": wide,
            "margin": names + numbers + 3,
            "log": int(script in ("idle", "skew")), "least": min(values),
            "most": max(values)}).splitlines()
    return textwrap.wrap(title, wide) + [
        line.rstrip() for line in lines if line.strip(" |")]


def preview(data, only, wide):
    failed = 0
    for script, heading, text, _, _ in pictures(data):
        if script not in IN_TERMINAL or only and script not in only:
            continue
        try:
            print("\n".join(in_terminal(script, heading, text, wide)) + "\n")
        except RuntimeError as err:
            print(f"draw.py: {err}", file=sys.stderr)
            failed += 1
    return failed


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    p.add_argument("resultset", nargs="?",
                   default=results.default_directory(ROOT))
    p.add_argument("--out", default=os.path.join(ROOT, "build", "figures"))
    p.add_argument("--preview", action="store_true")
    p.add_argument("--only", action="append", metavar="NAME",
                   help="ladder, p99, cpu, syscalls, latency, idle, skew")
    p.add_argument("--columns", type=int, metavar="N", default=min(80, max(
        40, shutil.get_terminal_size((80, 24)).columns)),
                   help="width of the preview (that of the terminal)")
    args = p.parse_args(argv)
    if not shutil.which("gnuplot"):
        print("draw.py: gnuplot is not installed (apt-get install "
              "gnuplot-nox)", file=sys.stderr)
        return 1
    try:
        data = sets.Data(*results.load(args.resultset))
        if args.preview:
            failed = preview(data, args.only, args.columns)
        else:
            os.makedirs(args.out, exist_ok=True)
            failed = draw(data, args.out, args.only)
    except results.ResultError as err:
        print(f"draw.py: {err}", file=sys.stderr)
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    inherit.end_with_reader()
    sys.exit(main())
