#!/usr/bin/env python3
"""Keeps the stages diffable: what a student reads is the step between two.

    stage_diff.py check          every rule below; exit 1 names what is broken
    stage_diff.py show 2-3       the diff between two folders, for people
    stage_diff.py matrix         which function is in which stage, as Markdown
    stage_diff.py table          sizes, and changed lines of each neighbour pair
    stage_diff.py equal          functions that are equal without saying so

What is counted is what must be read: stages/N-name/*.[ch] (the folder), and the
folder with all the parts that it includes, each with its .c file (the closure).
common/ is left out.

  limits    server.c, folder and closure have at most the lines that BUDGET
            allows; so has the step between two folders.  Changed lines are
            those that a minimal diff takes away plus those that it adds; blank
            lines and the marks of copies count for nothing, comments count.  A
            file of one side alone counts whole.
  copies    /* same as 3-uring */ right above a function, struct or enum: its
            text, from its first line to the closing brace, is the same there.
  includes  No stage includes a file of another stage.
  common    Code of common/ names no ring, epoll set, thread or pool; comments
            may.  One file is excepted: see COMMON_MAY.
  sections  The banners stand in the same order in every server.c.
  size      Functions, columns and the share of comment stay within the limits
            that BUDGET sets.  The share is that of the lines with a comment on
            them among the lines of server.c that are not blank.
"""
import argparse
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "bench"))
import inherit  # noqa: E402 (the path comes first)

SECTIONS = ["includes", "connection", "engine", "worker", "main"]
LIMITS = {
    "function-lines": 60,
    "columns": 80,
    "comment-percent-min": 20,
    "comment-percent-max": 30,
}
PLACES = ["server", "folder", "closure"]
ENGINE = re.compile(r"\b(?:(?:lib|io_)?uring|epoll|pthread|thrd|threads\.h|"
                    r"mpsc|spmc|\w+_pool|pool_)\w*", re.I)
# A name may stand for several addresses: one descriptor for all of them.
COMMON_MAY = {"door.c": "epoll"}
NO_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)
INCLUDE = re.compile(r'#include "([^"]+)"')
BANNER = re.compile(r"/\* -{4,} ([a-z][a-z ]*?)(?: -+)? \*/$")
SAME_AS = re.compile(r"\bsame as (\d+-[a-z]+)\b")
MARK = re.compile(r"(?:\n \*)?[ ]*\(same as \d+-[a-z]+\)")
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


class Source:
    """A C file with its functions and types."""

    def __init__(self, path):
        self.path = Path(path)
        self.lines = self.path.read_text().split("\n")
        if self.lines and self.lines[-1] == "":
            self.lines.pop()
        self.comment = comment_lines(self.lines)
        self.items = find_items(self.lines, self.comment)
        self.includes = [m.group(1) for m in map(INCLUDE.match, self.lines)
                         if m]


class Stage:
    """A folder: server.c and what stands beside it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.name = self.folder.name
        self.number = int(self.name.split("-")[0])
        self.sources = [Source(p) for p in sorted(self.folder.glob("*.[ch]"))]
        self.server = next(s for s in self.sources
                           if s.path.name == "server.c")
        self.parts = self.find_parts()

    def find_parts(self):
        """The parts that the folder includes, and those that they include,
        each with its .c file."""
        found, seen = [], set()
        left = [name for s in self.sources for name in s.includes]
        while left:
            name = left.pop(0)
            path = self.folder.parent / name
            if name in seen or not name.startswith("parts/") \
                    or not path.exists():
                continue
            seen.add(name)
            for file in (path, path.with_suffix(".c")):
                if file.exists():
                    found.append(Source(file))
                    left += found[-1].includes
        return found

    def size(self, place):
        count = {"server": [self.server], "folder": self.sources,
                 "closure": self.sources + self.parts}[place]
        return sum(len(source.lines) for source in count)

    def where(self, source):
        return f"{self.name}/{source.path.name}"

    def find(self, name):
        return next((i for s in self.sources for i in s.items
                     if i.name == name), None)

    @property
    def functions(self):
        first = [self.server] + [s for s in self.sources
                                 if s is not self.server]
        return [i for s in first for i in s.items if i.kind == "function"]


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


def counted_lines(lines):
    """Without blank lines, and without the marks of copies: a mark says that
    there is nothing new to read."""
    unmarked = MARK.sub("", "\n".join(lines)).split("\n")
    return [line for line in unmarked if line.strip() not in ("", "/* */")]


def changed_lines(old, new):
    """(removed, added) lines of a minimal diff."""
    a, b = counted_lines(old), counted_lines(new)
    row = [0] * (len(b) + 1)
    for x in a:
        previous = 0
        for k, y in enumerate(b, 1):
            kept = row[k]
            row[k] = previous + 1 if x == y else max(row[k], row[k - 1])
            previous = kept
    common = row[len(b)]
    return len(a) - common, len(b) - common


def folder_change(a, b, lines=lambda source: source.lines):
    """(removed, added) lines of a step, file by file."""
    old = {s.path.name: lines(s) for s in a.sources}
    new = {s.path.name: lines(s) for s in b.sources}
    each = [changed_lines(old.get(name, []), new.get(name, []))
            for name in old | new]
    return sum(e[0] for e in each), sum(e[1] for e in each)


def code_only(source):
    return [line for line, comment in zip(source.lines, source.comment)
            if comment != 2]


def read_budget(path):
    """BUDGET: 'name number' a line; '#' begins a remark.  Returns the limits
    for all stages, the allowed changed lines by pair, and the allowed lines by
    (place, stage)."""
    limits, pairs, sizes = dict(LIMITS), {}, {}
    for number, line in enumerate(Path(path).read_text().split("\n"), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        where = f"{Path(path).name}:{number}"
        if len(words) != 2 or not words[1].isdigit():
            raise ValueError(f"{where}: expected 'name number'")
        key, value = words[0], int(words[1])
        place, _, stage = key.partition("-")
        if re.fullmatch(r"\d+-\d+", key):
            pairs[tuple(map(int, key.split("-")))] = value
        elif place in PLACES and stage.isdigit():
            sizes[place, int(stage)] = value
        elif key in LIMITS:
            limits[key] = value
        else:
            raise ValueError(f"{where}: unknown limit '{key}'")
    return limits, pairs, sizes


def load(root):
    paths = sorted(Path(root).glob("[0-9]*-*/server.c"),
                   key=lambda p: int(p.parent.name.split("-")[0]))
    return [Stage(p.parent) for p in paths]


def neighbours(stages):
    return list(zip(stages, stages[1:]))


def check_budget(stages, pairs, sizes):
    problems = []
    for s in stages:
        for place in PLACES:
            n, most = s.size(place), sizes.get((place, s.number))
            if most is None:
                problems.append(f"BUDGET: no line for {place}-{s.number} "
                                f"({n} lines now)")
            elif n > most:
                problems.append(f"{s.name}: {place} has {n} lines, at most "
                                f"{most}")
    for a, b in neighbours(stages):
        total = sum(folder_change(a, b))
        allowed = pairs.get((a.number, b.number))
        if allowed is None:
            problems.append(f"BUDGET: no line for {a.number}-{b.number} "
                            f"({total} changed lines now)")
        elif total > allowed:
            problems.append(f"{b.name}: {total} changed lines from {a.name}, "
                            f"BUDGET allows {allowed}")
    return problems


def marks(item):
    return SAME_AS.findall("\n".join(item.above))


def check_copies(stages):
    problems = []
    by_name = {s.name: s for s in stages}
    for stage, source in ((s, f) for s in stages for f in s.sources):
        attached = 0
        for item in source.items:
            for other_name in marks(item):
                attached += 1
                where = f"{stage.where(source)}:{item.first + 1}: {item.name}"
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
                      in zip(source.lines, source.comment) if comment == 2)
        if written != attached:
            problems.append(f"{stage.where(source)}: {written - attached} "
                            "'same as' not right above a function or type")
    return problems


def check_includes(stages):
    problems = []
    for stage, source in ((s, f) for s in stages for f in s.sources):
        for name in source.includes:
            path = (source.path.parent / name).resolve()
            beside = path.parent == source.path.parent.resolve()
            other = re.search(r"(^|/)\d-[a-z]+/", name) or ".." in name
            if other and not beside:
                problems.append(f"{stage.where(source)}: includes {name}, which"
                                " is not of this stage")
    return problems


def check_common(root):
    """What belongs to the stages must not be known to what they share."""
    problems = []
    for path in sorted((root.parent / "common").glob("*.[ch]")):
        text = NO_CODE.sub(lambda m: "\n" * m.group().count("\n"),
                           path.read_text())
        for number, line in enumerate(text.split("\n"), 1):
            for word in ENGINE.findall(line):
                if not word.lower().startswith(
                        COMMON_MAY.get(path.name, "\n")):
                    problems.append(f"common/{path.name}:{number}: {word} "
                                    "belongs to a stage or a part")
    return problems


def equal(stages):
    """Functions that have the same text as in an earlier stage, and are not
    marked as copies: (name, earlier stage, later stage)."""
    found = []
    for n, stage in enumerate(stages):
        for f in stage.functions:
            for earlier in reversed(stages[:n]):
                other = earlier.find(f.name)
                if other and other.text == f.text:
                    if earlier.name not in marks(f):
                        found.append((f.name, earlier.name, stage.name))
                    break
    return found


def check_sections(stages):
    problems = []
    for stage in stages:
        where = stage.where(stage.server)
        lines = stage.server.lines
        found = [m.group(1) for m in map(BANNER.match, lines) if m]
        if found != SECTIONS:
            problems.append(f"{where}: sections are "
                            f"{', '.join(found) or 'missing'}; expected "
                            f"{', '.join(SECTIONS)}")
        if not lines or not lines[0].startswith("/* "):
            problems.append(f"{where}: does not begin with the lesson header")
    return problems


def comment_percent(source):
    written = sum(1 for line in source.lines if line.strip())
    return 100.0 * sum(1 for c in source.comment if c) / max(1, written)


def check_source(where, source, limits):
    problems = []
    for f in source.items:
        if f.kind == "function" and len(f.lines) > limits["function-lines"]:
            problems.append(f"{where}:{f.first + 1}: {f.name} has "
                            f"{len(f.lines)} lines, at most "
                            f"{limits['function-lines']}")
    for number, line in enumerate(source.lines, 1):
        if len(line.expandtabs(8)) > limits["columns"]:
            problems.append(f"{where}:{number}: over "
                            f"{limits['columns']} columns")
    return problems


def check_sizes(stages, limits):
    problems = []
    parts = {p.path: p for s in stages for p in s.parts}
    for part in parts.values():
        problems += check_source(f"parts/{part.path.name}", part, limits)
    for stage in stages:
        for source in stage.sources:
            problems += check_source(stage.where(source), source, limits)
        share = comment_percent(stage.server)
        low = limits["comment-percent-min"]
        high = limits["comment-percent-max"]
        if not low <= share <= high:
            problems.append(f"{stage.where(stage.server)}: {share:.1f} % of "
                            f"the lines are comment, wanted {low} to {high} %")
    return problems


def check(root):
    root = Path(root)
    stages = load(root)
    if not stages:
        return [f"no stages below {root.name}"]
    try:
        limits, pairs, sizes = read_budget(root / "BUDGET")
    except (OSError, ValueError) as error:
        return [str(error)]
    return (check_budget(stages, pairs, sizes) + check_copies(stages)
            + check_includes(stages) + check_common(root)
            + check_sections(stages)
            + check_sizes(stages, limits))


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


def table(stages, pairs, sizes):
    def cell(stage, place):
        return f"{stage.size(place)} of {sizes.get((place, stage.number), '')}"

    rows = ["| stage | server.c | folder | folder and parts | functions "
            "| longest | comment |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for s in stages:
        longest = max((len(f.lines) for f in s.functions), default=0)
        rows.append(f"| {s.name} | " + " | ".join(cell(s, place)
                                                  for place in PLACES)
                    + f" | {len(s.functions)} | {longest} | "
                    f"{comment_percent(s.server):.0f} % |")
    rows += ["", "| step | removed | added | changed | code alone | server.c "
             "| limit |", "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for a, b in neighbours(stages):
        removed, added = folder_change(a, b)
        code = sum(folder_change(a, b, code_only))
        alone = sum(changed_lines(a.server.lines, b.server.lines))
        allowed = pairs.get((a.number, b.number), "")
        rows.append(f"| {a.name} to {b.name} | {removed} | {added} | "
                    f"{removed + added} | {code} | {alone} | {allowed} |")
    n = len(equal(stages))
    return rows + ["", f"{n} functions are equal in two stages without saying "
                   "so: stage_diff.py equal"]


def show(stages, pair):
    match = re.fullmatch(r"(\d+)-(\d+)", pair)
    by_number = {s.number: s for s in stages}
    if not match or any(int(n) not in by_number for n in match.groups()):
        have = ", ".join(str(n) for n in sorted(by_number))
        print(f"stage_diff.py: '{pair}' is not a pair of stages such as 2-3 "
              f"(stages here: {have})", file=sys.stderr)
        return 64
    a, b = (by_number[int(n)] for n in match.groups())
    removed, added = folder_change(a, b)
    print(f"{a.name} to {b.name}: {removed} lines go, {added} come", flush=True)
    color = "always" if sys.stdout.isatty() else "never"
    # server.c first: the lesson is there.
    names = sorted({s.path.name for s in a.sources + b.sources},
                   key=lambda name: (name != "server.c", name))
    for name in names:
        status = subprocess.run(
            ["diff", "-u", "-d", "-B", "-N", f"--color={color}",
             "--show-function-line=^[a-z].*[({]$\\|^[a-z].*(.*[,)]$",
             "--label", f"{a.name}/{name}", "--label", f"{b.name}/{name}",
             str(a.folder / name), str(b.folder / name)],
            check=False).returncode
        if status == -13:   # the reader had enough (head, less): SIGPIPE
            return 0
        if status not in (0, 1):
            return 1
    return 0


def main(argv):
    parser = argparse.ArgumentParser(
        description="Neighbour diffs of the stages, and the rules for them.")
    parser.add_argument("--root", default=str(HERE), help="folder of stages")
    parser.add_argument("command", choices=["check", "show", "matrix", "table",
                                            "equal"])
    parser.add_argument("pair", nargs="?", help="for show: 2-3")
    args = parser.parse_args(argv)
    stages = load(args.root)
    if args.command == "show":
        return show(stages, args.pair or "")
    if args.command == "matrix":
        print("\n".join(matrix(stages)))
        return 0
    if args.command == "table":
        _, pairs, sizes = read_budget(Path(args.root) / "BUDGET")
        print("\n".join(table(stages, pairs, sizes)))
        return 0
    if args.command == "equal":
        for name, earlier, later in equal(stages):
            print(f"{later}: {name} is as in {earlier}")
        return 0
    problems = check(args.root)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"stage_diff: {len(stages)} stages in order")
    return 1 if problems else 0


if __name__ == "__main__":
    inherit.end_with_reader()
    sys.exit(main(sys.argv[1:]))
