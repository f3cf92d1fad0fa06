#!/usr/bin/env python3
"""Keeps the stages diffable: what a student reads is the step between two.

    stage_diff.py check          every rule below; exit 1 names what is broken
    stage_diff.py show 2-3       the diff between two stages, for people
    stage_diff.py matrix         which function is in which stage, as Markdown
    stage_diff.py table          changed lines of each neighbour pair

Rules for stages/N-name/server.c:

  budget    A neighbour pair has at most the changed lines that BUDGET allows.
            Changed lines are the lines that a minimal diff takes away plus
            those that it adds; blank lines count for nothing, comments count.
  copies    /* same as 3-uring */ right above a function, struct or enum: its
            text, from its first line to the closing brace, is the same there.
  sections  The banners stand in the same order in every stage.
  size      Files, functions, columns and the share of comment stay within the
            limits that BUDGET sets.  The share is that of the lines with a
            comment on them among the lines that are not blank.
"""
import argparse
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECTIONS = ["includes", "connection", "engine", "worker", "main"]
LIMITS = {
    "file-lines": 450,
    "function-lines": 60,
    "columns": 80,
    "comment-percent-min": 20,
    "comment-percent-max": 30,
}
BANNER = re.compile(r"/\* -{4,} ([a-z][a-z ]*?)(?: -+)? \*/$")
SAME_AS = re.compile(r"\bsame as (\d+-[a-z]+)\b")
TYPE_HEAD = re.compile(r"(?:static |const |typedef )*(struct|union|enum)\s+"
                       r"(\w+)\s*\{$")
FUNC_NAME = re.compile(r"\b(\w+)\s*\(")


class Item:
    """A function or a type definition at file level."""

    def __init__(self, kind, name, first, lines, above):
        self.kind, self.name, self.first = kind, name, first
        self.lines, self.above = lines, above

    @property
    def text(self):
        return "\n".join(self.lines)


class Stage:
    def __init__(self, path):
        self.path = Path(path)
        self.name = self.path.parent.name
        self.number = int(self.name.split("-")[0])
        self.lines = self.path.read_text().split("\n")
        if self.lines and self.lines[-1] == "":
            self.lines.pop()
        self.comment = comment_lines(self.lines)
        self.items = find_items(self.lines, self.comment)

    def find(self, name):
        return next((i for i in self.items if i.name == name), None)

    @property
    def functions(self):
        return [i for i in self.items if i.kind == "function"]


def comment_lines(lines):
    """For each line: 0 no comment, 1 code and comment, 2 only comment."""
    result, inside = [], False
    for line in lines:
        code, rest = "", line
        was_inside = inside
        while rest:
            if inside:
                end = rest.find("*/")
                if end < 0:
                    break
                inside, rest = False, rest[end + 2:]
                continue
            token = re.search(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|/\*|//',
                              rest)
            if not token:
                code += rest
                break
            code += rest[:token.start()]
            if token.group() == "//":
                was_inside = True
                break
            if token.group() == "/*":
                inside = was_inside = True
            else:
                code += token.group()
            rest = rest[token.end():]
        commented = was_inside and bool(line.strip())
        result.append((1 if code.strip() else 2) if commented else 0)
    return result


def comment_above(lines, comment, first):
    """The comment that ends right above a line, banners excluded."""
    start = first
    while start > 0 and comment[start - 1] == 2:
        start -= 1
    text = lines[start:first]
    return [line for line in text if not BANNER.match(line)]


def item_end(lines, first):
    """The last line of what begins in column 0 at `first`, and the line that
    holds its opening brace (None: a declaration)."""
    for k in range(first, len(lines)):
        line = lines[k]
        if line.endswith("{"):
            end = next((e for e in range(k + 1, len(lines))
                        if lines[e].startswith("}")), len(lines) - 1)
            return end, k
        if k == first and line.endswith("}") and " { " in line:
            return k, k
        if line.endswith(";") or not line.strip():
            return k, None
    return len(lines) - 1, None


def find_items(lines, comment):
    """File-level functions and types, by the layout that clang-format makes:
    what begins in column 0 ends at the next brace in column 0."""
    items, i = [], 0
    while i < len(lines):
        line = lines[i]
        if comment[i] == 2 or not line or line[0] in " \t#}/{":
            i += 1
            continue
        end, brace = item_end(lines, i)
        kind = TYPE_HEAD.match(line)
        name = None
        if kind:
            name = kind.group(2)
        elif brace is not None and "=" not in "".join(lines[i:brace + 1]):
            head = re.sub(r"__attribute__\(\(.*?\)\)\s*", "",
                          " ".join(lines[i:brace + 1]))
            called = FUNC_NAME.search(head)
            name = called.group(1) if called else None
        if name:
            items.append(Item("type" if kind else "function", name, i,
                              lines[i:end + 1],
                              comment_above(lines, comment, i)))
        i = end + 1
    return items


def changed_lines(old, new):
    """(removed, added) lines of a minimal diff, blank lines left out."""
    a = [line for line in old if line.strip()]
    b = [line for line in new if line.strip()]
    row = [0] * (len(b) + 1)
    for x in a:
        previous = 0
        for k, y in enumerate(b, 1):
            kept = row[k]
            row[k] = previous + 1 if x == y else max(row[k], row[k - 1])
            previous = kept
    common = row[len(b)]
    return len(a) - common, len(b) - common


def code_only(stage):
    return [line for line, comment in zip(stage.lines, stage.comment)
            if comment != 2]


def read_budget(path):
    """BUDGET: 'name number' a line; '#' begins a remark.  Returns the limits
    and the allowed changed lines by pair."""
    limits, pairs = dict(LIMITS), {}
    for number, line in enumerate(Path(path).read_text().split("\n"), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        where = f"{Path(path).name}:{number}"
        if len(words) != 2 or not words[1].isdigit():
            raise ValueError(f"{where}: expected 'name number'")
        key, value = words[0], int(words[1])
        if re.fullmatch(r"\d+-\d+", key):
            pairs[tuple(map(int, key.split("-")))] = value
        elif key in LIMITS:
            limits[key] = value
        else:
            raise ValueError(f"{where}: unknown limit '{key}'")
    return limits, pairs


def load(root):
    paths = sorted(Path(root).glob("[0-9]*-*/server.c"),
                   key=lambda p: int(p.parent.name.split("-")[0]))
    return [Stage(p) for p in paths]


def neighbours(stages):
    return list(zip(stages, stages[1:]))


def check_budget(stages, pairs):
    problems = []
    for a, b in neighbours(stages):
        total = sum(changed_lines(a.lines, b.lines))
        allowed = pairs.get((a.number, b.number))
        if allowed is None:
            problems.append(f"BUDGET: no line for {a.number}-{b.number} "
                            f"({total} changed lines now)")
        elif total > allowed:
            problems.append(f"{b.name}: {total} changed lines from {a.name}, "
                            f"BUDGET allows {allowed}")
    return problems


def check_copies(stages):
    problems = []
    by_name = {s.name: s for s in stages}
    for stage in stages:
        attached = 0
        for item in stage.items:
            for other_name in SAME_AS.findall("\n".join(item.above)):
                attached += 1
                where = f"{stage.name}/server.c:{item.first + 1}: {item.name}"
                other = by_name.get(other_name)
                copy = other.find(item.name) if other else None
                if other is stage:
                    problems.append(f"{where} is named a copy of itself")
                elif copy is None:
                    problems.append(f"{where} is named a copy, but "
                                    f"{other_name} has no {item.name}")
                elif copy.text != item.text:
                    problems.append(f"{where} differs from the one in "
                                    f"{other_name}")
        written = sum(len(SAME_AS.findall(line)) for line, comment
                      in zip(stage.lines, stage.comment) if comment == 2)
        if written != attached:
            problems.append(f"{stage.name}/server.c: {written - attached} "
                            "'same as' not right above a function or type")
    return problems


def check_sections(stages):
    problems = []
    for stage in stages:
        found = [m.group(1) for m in map(BANNER.match, stage.lines) if m]
        if found != SECTIONS:
            problems.append(f"{stage.name}/server.c: sections are "
                            f"{', '.join(found) or 'missing'}; expected "
                            f"{', '.join(SECTIONS)}")
        if not stage.lines or not stage.lines[0].startswith("/* "):
            problems.append(f"{stage.name}/server.c: does not begin with the "
                            "lesson header")
    return problems


def comment_percent(stage):
    written = sum(1 for line in stage.lines if line.strip())
    return 100.0 * sum(1 for c in stage.comment if c) / max(1, written)


def check_sizes(stages, limits):
    problems = []
    for stage in stages:
        where = f"{stage.name}/server.c"
        if len(stage.lines) > limits["file-lines"]:
            problems.append(f"{where}: {len(stage.lines)} lines, at most "
                            f"{limits['file-lines']}")
        for f in stage.functions:
            if len(f.lines) > limits["function-lines"]:
                problems.append(f"{where}:{f.first + 1}: {f.name} has "
                                f"{len(f.lines)} lines, at most "
                                f"{limits['function-lines']}")
        for number, line in enumerate(stage.lines, 1):
            if len(line.expandtabs(8)) > limits["columns"]:
                problems.append(f"{where}:{number}: over "
                                f"{limits['columns']} columns")
        share = comment_percent(stage)
        low = limits["comment-percent-min"]
        high = limits["comment-percent-max"]
        if not low <= share <= high:
            problems.append(f"{where}: {share:.1f} % of the lines are comment, "
                            f"wanted {low} to {high} %")
    return problems


def check(root):
    root = Path(root)
    stages = load(root)
    if not stages:
        return [f"no stages below {root.name}"]
    try:
        limits, pairs = read_budget(root / "BUDGET")
    except (OSError, ValueError) as error:
        return [str(error)]
    return (check_budget(stages, pairs) + check_copies(stages)
            + check_sections(stages) + check_sizes(stages, limits))


def matrix(stages):
    """Rows in the order in which functions first appear."""
    names = []
    for stage in stages:
        for f in stage.functions:
            if f.name not in names:
                names.append(f.name)
    head = "| function | " + " | ".join(s.name for s in stages) + " |"
    rows = [head, "| --- " * (len(stages) + 1) + "|"]
    for name in names:
        cells, last = [], None
        for stage in stages:
            f = stage.find(name)
            if f is None or f.kind != "function":
                cells.append("")
                continue
            cells.append("new" if last is None
                         else "same" if last == f.text else "changed")
            last = f.text
        rows.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return rows


def table(stages, pairs):
    rows = ["| step | removed | added | changed | code alone | budget |",
            "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for a, b in neighbours(stages):
        removed, added = changed_lines(a.lines, b.lines)
        code = sum(changed_lines(code_only(a), code_only(b)))
        allowed = pairs.get((a.number, b.number), "")
        rows.append(f"| {a.name} to {b.name} | {removed} | {added} | "
                    f"{removed + added} | {code} | {allowed} |")
    rows += ["", "| stage | lines | functions | longest | comment lines |",
             "| --- | ---: | ---: | ---: | ---: |"]
    for s in stages:
        longest = max((len(f.lines) for f in s.functions), default=0)
        rows.append(f"| {s.name} | {len(s.lines)} | {len(s.functions)} | "
                    f"{longest} | {comment_percent(s):.0f} % |")
    return rows


def show(stages, pair):
    match = re.fullmatch(r"(\d+)-(\d+)", pair)
    by_number = {s.number: s for s in stages}
    if not match or any(int(n) not in by_number for n in match.groups()):
        have = ", ".join(str(n) for n in sorted(by_number))
        print(f"stage_diff.py: '{pair}' is not a pair of stages such as 2-3 "
              f"(stages here: {have})", file=sys.stderr)
        return 64
    a, b = (by_number[int(n)] for n in match.groups())
    removed, added = changed_lines(a.lines, b.lines)
    print(f"{a.name} to {b.name}: {removed} lines go, {added} come", flush=True)
    color = "always" if sys.stdout.isatty() else "never"
    status = subprocess.run(
        ["diff", "-u", "-d", "-B", f"--color={color}",
         "--show-function-line=^[a-z].*[({]$\\|^[a-z].*(.*[,)]$",
         "--label", f"{a.name}/server.c", "--label", f"{b.name}/server.c",
         str(a.path), str(b.path)], check=False).returncode
    # A reader that had enough (head, less) ends diff by SIGPIPE.
    return 0 if status in (0, 1, -13) else 1


def main(argv):
    parser = argparse.ArgumentParser(
        description="Neighbour diffs of the stages, and the rules for them.")
    parser.add_argument("--root", default=str(HERE), help="folder of stages")
    parser.add_argument("command", choices=["check", "show", "matrix", "table"])
    parser.add_argument("pair", nargs="?", help="for show: 2-3")
    args = parser.parse_args(argv)
    stages = load(args.root)
    if args.command == "show":
        return show(stages, args.pair or "")
    if args.command == "matrix":
        print("\n".join(matrix(stages)))
        return 0
    if args.command == "table":
        _, pairs = read_budget(Path(args.root) / "BUDGET")
        print("\n".join(table(stages, pairs)))
        return 0
    problems = check(args.root)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"stage_diff: {len(stages)} stages in order")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
