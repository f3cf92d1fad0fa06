#!/usr/bin/env python3
"""Keeps what the docs quote equal to what they quote from.

    check_snippets.py            compare; exit 1 names every stale quotation
    check_snippets.py --write    bring the quotations up to date

A quotation is a comment in a Markdown file and the fenced block that follows:

    <!-- snippet: stages/2-epoll/server.c#wait -->    lines between the markers
    <!-- snippet: stages/2-epoll/server.c@conn_new --> a whole function or type
    <!-- snippet: bench/suites.py -->                 a whole file
    <!-- output: build/stage2 --help -->              what a command prints

Markers in the source stand on lines of their own and are not quoted:

    /* [snip wait] */ ... /* [/snip wait] */          C
    # [snip wait] ... # [/snip wait]                  Python, shell, make

A snippet that has more indentation than its place needs is moved left.  Output
that is not the same everywhere says so, and is then only checked for being
there:  <!-- output varies: build/micro/probe -->
Commands run in the root of the project, without a shell.
"""
import argparse
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "stages"))
import stage_diff  # noqa: E402 (the path comes first)
from stage_diff import inherit  # noqa: E402

NOTE = re.compile(r"^<!-- (snippet|output|output varies): (.+?) -->$")
FENCE = re.compile(r"^(`{3,})(.*)$")
MARK = re.compile(r"^\s*(?:/\*|#|//) \[(/?)snip ([\w-]+)\](?: \*/)?$")
SECONDS = 60


class Stale(Exception):
    """A quotation that cannot be made: the reason."""


def marked(lines, name, where):
    """The lines between [snip name] and [/snip name]."""
    found, inside = None, False
    for line in lines:
        mark = MARK.match(line)
        if mark and mark.group(2) == name:
            if (mark.group(1) == "/") != inside:
                raise Stale(f"{where}: markers of '{name}' do not pair up")
            if not inside and found is not None:
                raise Stale(f"{where}: '{name}' is there twice")
            if not inside:
                found = []
            inside = not inside
        elif inside and not mark:
            found.append(line)
    if inside:
        raise Stale(f"{where}: '{name}' does not end")
    if found is None:
        raise Stale(f"{where}: no '[snip {name}]' there")
    return found


def item(lines, name, where):
    for found in stage_diff.find_items(lines, stage_diff.comment_lines(lines)):
        if found.name == name:
            return [line for line in found.lines if not MARK.match(line)]
    raise Stale(f"{where}: no function or type '{name}'")


def snippet(root, what):
    path, name = re.fullmatch(r"([^#@]+)(?:[#@](.+))?", what).groups()
    try:
        lines = (root / path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Stale(f"{path}: {error}") from error
    if name is None:
        lines = [line for line in lines if not MARK.match(line)]
    elif "#" in what:
        lines = marked(lines, name, path)
    else:
        lines = item(lines, name, path)
    return textwrap.dedent("\n".join(lines)).strip("\n").split("\n")


def environment():
    """A terminal of 80 columns that speaks English, wherever this runs."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("LC_", "LANG", "PYTHON"))}
    return {**kept, "LC_ALL": "C.UTF-8", "COLUMNS": "80", "TZ": "UTC"}


def output(root, command):
    try:
        done = subprocess.run(shlex.split(command), cwd=root, text=True,
                              env=environment(), encoding="utf-8",
                              capture_output=True, timeout=SECONDS,
                              stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Stale(f"{command}: {error}") from error
    if done.returncode != 0:
        raise Stale(f"{command}: exit status {done.returncode}: "
                    f"{done.stderr.strip()}")
    return done.stdout.rstrip("\n").split("\n")


def wanted(root, kind, what):
    return snippet(root, what) if kind == "snippet" else output(root, what)


def refresh(root, path):
    """(problems, new text) of one Markdown file."""
    lines = path.read_text().split("\n")
    problems, result, i = [], [], 0
    shown = path.relative_to(root)
    fence = None
    while i < len(lines):
        line = lines[i]
        result.append(line)
        i += 1
        if fence:  # a note inside a block is an example, not a quotation
            if line.strip() == fence:
                fence = None
            continue
        opening = FENCE.match(line)
        if opening:
            fence = opening.group(1)
            continue
        note = NOTE.match(line)
        if not note:
            continue
        where = f"{shown}:{i}"
        opening = FENCE.match(lines[i]) if i < len(lines) else None
        if not opening:
            problems.append(f"{where}: no fenced block after the note")
            continue
        try:
            end = lines.index(opening.group(1), i + 1)
        except ValueError:
            problems.append(f"{where}: the fenced block does not end")
            continue
        old = lines[i + 1:end]
        try:
            new = wanted(root, note.group(1), note.group(2))
        except Stale as reason:
            problems.append(f"{where}: {reason}")
            new = old
        if note.group(1) == "output varies" and any(s.strip() for s in old):
            pass  # another machine's words: present is enough
        elif new != old:
            problems.append(f"{where}: differs from {note.group(2)}")
        result += [lines[i]] + new + [lines[end]]
        i = end + 1
    return problems, "\n".join(result)


def pages(root):
    skip = {"build", ".git"}
    return sorted(p for p in root.rglob("*.md")
                  if not skip & set(p.relative_to(root).parts))


def main(argv, root=ROOT):
    parser = argparse.ArgumentParser(description="Quoted code in the docs.")
    parser.add_argument("--write", action="store_true",
                        help="bring the quotations up to date")
    args = parser.parse_args(argv)
    problems, written = [], 0
    for path in pages(root):
        found, text = refresh(root, path)
        if args.write and text != path.read_text():
            path.write_text(text)
            written += 1
            found = [f for f in found if ": differs from " not in f]
        problems += found
    for problem in problems:
        print(problem, file=sys.stderr)
    if args.write:
        print(f"check_snippets: {written} pages written")
    elif not problems:
        print("check_snippets: all quotations are up to date")
    if any(": differs from " in p for p in problems):
        print("`make snippets` brings them up to date", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    inherit.end_with_reader()
    sys.exit(main(sys.argv[1:]))
