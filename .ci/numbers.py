#!/usr/bin/env python3
"""Every number with a unit that a document states has a source.

    .ci/numbers.py [ROOT]          exit 1 names each that has none
    .ci/numbers.py --list [ROOT]   all that were found, with their sources

Looked at are README.md, docs/*.md and the READMEs of the stages, without code
and without what is generated from a result set (<!-- figure ... -->).  Looked
for are numbers with a unit, factors, and ratios with two decimals.  A number
may have its source in two ways:

  - a comment in its paragraph: <!-- from: bench/results/NAME -->;
  - a line in .ci/numbers, FILE: NUMBER: KIND WHAT.  It covers that number
    everywhere in the file.  KIND and WHAT say where it can be looked up:

      set NAME        a committed result set, bench/results/NAME
      option --NAME   the default or the range of a switch
      code PATH       a constant or a limit there
      method PATH     a rule of how we measure, and where it is carried out
      example TEXT    worked out on the spot from what the reader is given
      formula TEXT    follows from a formula that is named
      source TEXT     a standard, a manual page, a paper, kernel documentation
      order TEXT      an order of magnitude, and why more is not claimed
      once TEXT       seen on one machine and kept in no set; says when

A line for a number that is no longer there is named, and does no harm.
"""
import glob
import os
import re
import sys

LIST = os.path.join(".ci", "numbers")
UNIT = (r"(?:ns|us|µs|ms|seconds?|minutes?|hours?|milliseconds?|"
        r"microseconds?|nanoseconds?|%|per cent|percent|KiB|MiB|GiB|TiB|kB|KB|"
        r"MB|GB|TB|bytes?|B|s|requests/s|a second|requests a second|"
        r"times|x as|x|calls? a request|cycles|/s)")
NUMBER = re.compile(
    r"(?<![\w.,/#-])(\d[\d,]*(?:\.\d+)?(?:(?: to |-| and | or |, )\d[\d,]*"
    r"(?:\.\d+)?)*)[  ]?(" + UNIT + r")(?![\w/])")
FACTOR = re.compile(r"\b(?:factor of|ratio of|by)\s(\d[\d,.]*\d|\d)()(?![\w%])")
RATIO = re.compile(r"(?<![\w./])(?<!Linux )(?<!Python )(?<!liburing )"
                   r"(\d\.\d\d+(?: to \d\.\d\d+)?)()(?![\w%]|\.\d| ?"
                   + UNIT + r"\b)")
MARKER = re.compile(r"<!--\s*from:\s*(\S+)\s*-->")
KINDS = ("set", "option", "code", "method", "example", "formula", "source",
         "order", "once")


def pages(root):
    return sorted(os.path.relpath(p, root) for pattern in
                  ("README.md", "docs/*.md", "stages/*/README.md")
                  for p in glob.glob(os.path.join(root, pattern)))


def paragraphs(text):
    """(line number, text) of each paragraph, without what is not read."""
    inside = generated = False
    found, start, words = [], 0, []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.lstrip().startswith("```"):
            inside = not inside
            line = ""
        elif line.startswith("<!-- figure:"):
            generated = True
        elif line.startswith("<!-- /figure"):
            generated, line = False, ""
        blank = not line.strip()
        if inside or generated or (line.startswith("    ") and not words):
            line = ""
            blank = True
        if blank:
            if words:
                found.append((start, "\n".join(words)))
            words = []
            continue
        if not words:
            start = number
        words.append(line)
    return found


def plain(text):
    """Without code and addresses; each line keeps its place."""
    text = re.sub(r"`[^`]*`", lambda m: "`" + "\n" * m[0].count("\n"), text)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    return re.sub(r"\]\([^)]*\)", "]", text)


def numbers_of(text):
    """[(line of the paragraph, "5 %")] of a paragraph."""
    found, text = set(), plain(text)
    for pattern in (NUMBER, FACTOR, RATIO):
        for match in pattern.finditer(text.replace("\n", " ")):
            line = text.count("\n", 0, match.start())
            words = f"{match[1]} {match[2]}".strip()
            found.add((line, re.sub(r"\s+", " ", words)))
    return sorted(found)


def read_list(root):
    """{(file, number): source}, and what is wrong with the list."""
    found, problems = {}, []
    try:
        with open(os.path.join(root, LIST), encoding="utf-8") as f:
            lines = f.read().splitlines()
    except FileNotFoundError:
        lines = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split(": ", 2)
        where = f"{LIST}:{number}"
        if len(parts) != 3:
            problems.append(f"{where}: not FILE: NUMBER: KIND WHAT")
            continue
        why = doubt(root, parts[2])
        if why:
            problems.append(f"{where}: {why}")
        if tuple(parts[:2]) in found:
            problems.append(f"{where}: {parts[1]} stands here twice")
        found[parts[0], parts[1]] = parts[2]
    return found, problems


def doubt(root, source):
    """Why a source cannot be looked up; "" when it can."""
    kind, _, what = source.partition(" ")
    if kind not in KINDS or not what.strip():
        return f"{source!r} is not KIND WHAT, of {', '.join(KINDS)}"
    first = what.split()[0].rstrip(",;")
    if kind == "set" and not os.path.isdir(
            os.path.join(root, "bench", "results", first)):
        return f"no result set {first}"
    if kind in ("code", "method") and not os.path.exists(
            os.path.join(root, first)):
        return f"no file {first}"
    if kind == "option" and not first.startswith("--"):
        return f"{first} is no switch"
    return ""


def check(root):
    """(problems, [(file, line, number, source)], lines of no use)"""
    sources, problems = read_list(root)
    found, used = [], set()
    for page in pages(root):
        with open(os.path.join(root, page), encoding="utf-8") as f:
            text = f.read()
        for start, words in paragraphs(text):
            marks = MARKER.findall(words)
            for mark in marks:
                if not os.path.isdir(os.path.join(root, mark)):
                    problems.append(f"{page}:{start}: from {mark}: no such "
                                    "result set")
            for line, number in numbers_of(words):
                source = ", ".join(marks) or sources.get((page, number))
                used.add((page, number))
                found.append((page, start + line, number, source))
                if not source:
                    problems.append(f"{page}:{start + line}: {number}: no "
                                    f"source: a line in {LIST}, or <!-- from: "
                                    "bench/results/NAME --> in the paragraph")
    gone = [f"{LIST}: {page}: {number}: not there any more"
            for page, number in sorted(set(sources) - used)]
    return problems, found, gone


def main(argv):
    listing = argv[:1] == ["--list"]
    rest = argv[1:] if listing else argv
    root = rest[0] if rest else os.path.dirname(os.path.dirname(
        os.path.abspath(__file__)))
    problems, found, gone = check(root)
    if listing:
        for page, line, number, source in found:
            print(f"{page}:{line}: {number}: {source or 'NONE'}")
    for problem in problems + gone:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"numbers: each of {len(found)} has a source")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
