#!/usr/bin/env python3
"""Variants: a stage with one thing changed, kept as the difference only.

    variants.py list             name, changed lines, question
    variants.py check            every rule below; exit 1 names what is broken
    variants.py unpack NAME DIR  the changed sources below DIR, for the build
    variants.py open NAME        a working copy below build/variants/work
    variants.py save NAME        writes the working copy's difference back

stages/variants/N-what.patch changes stage N.  It begins with three lines:

    question: what one wants to know
    look for: what the reader of the difference should see
    expect: what the measurement is expected to show

then, where there is a common opinion, one that names it and its source

    commonly said: the opinion (title of the source, https://...)

one that says what this opinion expects of the variant beside its stage, so
that a measurement can agree with it or contradict it

    direction: CPU less          METRIC WAY, of the words below
    direction: requests more by 10 %         and by how much at least
    direction: none, the reason  no opinion, or none that a figure decides

and the last one

    use it when: where the variant is the better choice, or that it never is

which follows from the measurement (bench/run.py whatif), and until there is
one, from what the difference does.  A patch without it can be built and
measured, but check refuses it.

After them comes a unified difference over the stage's folder and over parts/
(paths as 4-fixed/server.c and parts/pad.h, after a/ and b/).

  applies   Each hunk's old lines stand in the file, after those of the hunk
            before.  They may have moved.
  size      At most 80 changed lines (removed + added, blank lines left out);
            the few that may have more stand in MOST_OF.
  place     A variant changes its own stage and parts/, nothing else.
"""
import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "bench"))
import inherit  # noqa: E402 (the path comes first)

MOST = 80
# With its reason in its header.
MOST_OF = {"4-recv-bundle": 120, "4-recv-multishot": 140, "5-shared-ring": 90,
           "6-notify-ring": 100, "6-timer-heap": 120}
HEADER = ["question", "look for", "expect"]
SAID = "commonly said"
DIRECTION = "direction"
WHEN = "use it when"
# Of a direction: the figure that a result set has for it, in a request.
METRICS = {"CPU": "cpu_us", "requests": "qps", "p50": "p50_us",
           "p99": "p99_us", "calls": "own_calls"}
LESS, MORE, ALIKE = "less", "more", "same"
CLAIM = re.compile(rf"({'|'.join(METRICS)}) ({LESS}|{MORE}|{ALIKE})"
                   r"(?: by (\d+) %)?")
NO_CLAIM = re.compile(r"none, \S.*")
HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
SOURCE = re.compile(r" \((\S.*), (https://[^\s)]+)\)$")
NAME = re.compile(r"(\d)-[a-z0-9]+(?:-[a-z0-9]+)*")


class Bad(Exception):
    """What is wrong with a variant, for people."""


class Hunk:
    def __init__(self, where, first, old, new):
        self.where, self.first, self.old, self.new = where, first, old, new


def parent_of(root, name):
    """The folder of the stage that a variant changes."""
    match = NAME.fullmatch(name)
    if not match:
        raise Bad(f"'{name}' is not a name such as 4-recv-plain")
    found = sorted(root.glob(f"{match.group(1)}-*/server.c"))
    if not found:
        raise Bad(f"{name}: there is no stage {match.group(1)}")
    return found[0].parent


def patch_path(root, name):
    return root / "variants" / f"{name}.patch"


def names(root):
    return sorted(p.stem for p in (root / "variants").glob("*.patch"))


def read_patch(path):
    """(header lines, [(file, [Hunk])]) of a patch file."""
    label = path.name
    if not path.exists():
        raise Bad(f"{label}: there is no such variant")
    lines = path.read_text().split("\n")[:-1]
    keys = list(HEADER)
    for key in (SAID, DIRECTION, WHEN):
        if lines[len(keys):] and lines[len(keys)].startswith(key):
            keys.append(key)
    header, rest = lines[:len(keys)], lines[len(keys):]
    for number, (line, key) in enumerate(zip(header, keys), 1):
        if not re.fullmatch(rf"{key}: \S.*", line) or line.endswith("..."):
            raise Bad(f"{label}:{number}: expected '{key}: ' and a sentence")
        if key == SAID and not SOURCE.search(line):
            raise Bad(f"{label}:{number}: ends with its source: "
                      "(title, https://...)")
        if key == DIRECTION:
            why = doubt(line.partition(": ")[2], SAID in keys)
            if why:
                raise Bad(f"{label}:{number}: {why}")
    if len(header) < len(HEADER):
        raise Bad(f"{label}: the header has three lines: {', '.join(HEADER)}")
    return header, parse(label, rest, len(keys))


def doubt(direction, said):
    """Why a direction cannot be used; "" when it can.  `said`: whether there
    is an opinion."""
    if NO_CLAIM.fullmatch(direction):
        return ""
    if not CLAIM.fullmatch(direction):
        return (f"'{direction}' is not METRIC {LESS}, {MORE} or {ALIKE}, of "
                f"{', '.join(METRICS)}; nor 'none, ' and the reason")
    return "" if said else f"a direction without '{SAID}: '"


def claim_of(direction):
    """(figure of a result set, way, least size as a share) of a direction;
    None where it is none."""
    found = CLAIM.fullmatch(direction)
    return found and (METRICS[found[1]], found[2], int(found[3] or 0) / 100)


def parse(label, lines, before):
    files, i, count = [], 0, 0
    while i < len(lines):
        line, where = lines[i], f"{label}:{before + i + 1}"
        if line.startswith("--- ") and i + 1 < len(lines):
            target = re.fullmatch(r"\+\+\+ b/([\w./-]+)", lines[i + 1])
            if not target:
                raise Bad(f"{where}: expected '+++ b/FILE' below")
            files.append((target.group(1), []))
            i += 2
            continue
        match = HUNK.match(line)
        if not match or not files:
            if line.strip():
                raise Bad(f"{where}: neither a file nor a hunk: {line[:40]}")
            i += 1
            continue
        count += 1
        first = int(match.group(1))
        left = [int(match.group(2) or 1), int(match.group(4) or 1)]
        hunk = Hunk(f"{where}: hunk {count} ({files[-1][0]}, {line})", first,
                    [], [])
        while left[0] > 0 or left[1] > 0:
            i += 1
            body = lines[i] if i < len(lines) else ""  # a blank line, cut
            kind, text = body[:1] or " ", body[1:]
            if kind not in " +-":
                raise Bad(f"{hunk.where}: ends too early")
            if kind != "+":
                hunk.old.append(text)
                left[0] -= 1
            if kind != "-":
                hunk.new.append(text)
                left[1] -= 1
        files[-1][1].append(hunk)
        i += 1
    if not files:
        raise Bad(f"{label}: changes nothing")
    return files


def changed(path):
    """Changed lines of a patch, blank ones left out."""
    body = path.read_text().split("\n")[len(HEADER):]
    return sum(1 for line in body if line[:1] in ("+", "-") and
               line[1:].strip() and not re.match(r"(---|\+\+\+) ", line))


def apply(lines, hunks):
    """The lines of a file after its hunks, which may have moved."""
    done, at = [], 0
    for hunk in hunks:
        last = len(lines) - len(hunk.old)
        fits = [k for k in range(at, last + 1)
                if lines[k:k + len(hunk.old)] == hunk.old]
        if not fits:
            raise Bad(f"{hunk.where}: its old lines are not in the file")
        k = min(fits, key=lambda n: abs(n - (hunk.first - 1)))
        done += lines[at:k] + hunk.new
        at = k + len(hunk.old)
    return done + lines[at:]


def copy_parent(root, parent, target):
    for folder in (parent, root / "parts"):
        into = target / folder.name
        into.mkdir(parents=True, exist_ok=True)
        for source in sorted(folder.glob("*.[ch]")):
            shutil.copyfile(source, into / source.name)


def unpack(root, name, target):
    """The parent's sources with the patch applied, below a fresh folder."""
    parent = parent_of(root, name)
    _, files = read_patch(patch_path(root, name))
    shutil.rmtree(target, ignore_errors=True)
    copy_parent(root, parent, target)
    for file, hunks in files:
        if Path(file).parts[0] not in (parent.name, "parts") \
                or ".." in Path(file).parts:
            raise Bad(f"{name}.patch: {file} is not of {parent.name}/ or "
                      "parts/")
        path = target / file
        lines = path.read_text().split("\n") if path.exists() else [""]
        path.write_text("\n".join(apply(lines, hunks)))


def check(root, scratch):
    problems = []
    for name in names(root):
        try:
            unpack(root, name, scratch / name)
        except Bad as bad:
            problems.append(str(bad))
            continue
        finally:
            shutil.rmtree(scratch / name, ignore_errors=True)
        found = describe(root, name)
        problems += [f"{name}.patch: has no line '{key}: '"
                     for key in (DIRECTION, WHEN) if key not in found]
        n = changed(patch_path(root, name))
        most = MOST_OF.get(name, MOST)
        if n > most:
            largest = max((h for _, hs in read_patch(patch_path(root, name))[1]
                           for h in hs), key=lambda h: len(h.old + h.new))
            problems.append(f"{name}.patch: {n} changed lines, at most {most};"
                            f" the largest is {largest.where}")
    return problems


def difference(root, parent, work):
    """The unified difference between the parent and a working copy."""
    text = ""
    for folder in (parent, root / "parts"):
        both = {p.name for d in (folder, work / folder.name)
                for p in d.glob("*.[ch]")}
        for file in sorted(both):
            path = f"{folder.name}/{file}"
            done = subprocess.run(
                ["diff", "-U2", "-d", "-N", "--label", f"a/{path}", "--label",
                 f"b/{path}", str(folder / file), str(work / path)],
                capture_output=True, text=True, check=False)
            if done.returncode > 1:
                raise Bad(f"diff: {done.stderr.strip()}")
            text += re.sub(r"[ \t]+$", "", done.stdout, flags=re.M)
    return text.rstrip("\n") + "\n"   # one newline: .ci/tidy.py wants that


def open_work(root, name, work):
    parent = parent_of(root, name)
    if work.exists():
        raise Bad(f"{work} is there already: save it, or remove it")
    patch = patch_path(root, name)
    if patch.exists():
        header = read_patch(patch)[0]
        unpack(root, name, work)
    else:
        header = [f"{key}: ..." for key in (*HEADER, DIRECTION)]
        copy_parent(root, parent, work)
    (work / "header").write_text("\n".join(header) + "\n")
    print(f"{work}: edit {parent.name}/, parts/ and header, then "
          f"make variant-save NAME={name}")


def save_work(root, name, work):
    parent = parent_of(root, name)
    if not work.exists():
        raise Bad(f"{name} is not open: make variant NAME={name}")
    patch = patch_path(root, name)
    new = work / patch.name
    new.write_text((work / "header").read_text()
                   + difference(root, parent, work))
    try:
        read_patch(new)
        n, most = changed(new), MOST_OF.get(name, MOST)
        if n > most:
            raise Bad(f"{name}: {n} changed lines, at most {most}: not saved")
        patch.parent.mkdir(exist_ok=True)
        shutil.copyfile(new, patch)
    finally:
        new.unlink(missing_ok=True)
    print(f"{patch}: {n} changed lines")


def describe(root, name):
    """{"question": .., "lines": N, ...} of a variant."""
    path = patch_path(root, name)
    found = dict(line.split(": ", 1) for line in read_patch(path)[0])
    return {**found, "lines": changed(path)}


def table(root):
    rows = ["| variant | lines | question |", "| --- | ---: | --- |"]
    for name in names(root):
        found = describe(root, name)
        rows.append(f"| `{name}` | {found['lines']} | {found['question']} |")
    return rows


def opinion(text):
    """(what is said, the source as a link) of such a line."""
    source = SOURCE.search(text)
    return text[:source.start()], f"[{source[1]}]({source[2]})"


def main(argv):
    parser = argparse.ArgumentParser(
        description="Variants of the stages, kept as differences.")
    parser.add_argument("--root", default=str(HERE), help="folder of stages")
    parser.add_argument("command",
                        choices=["list", "check", "unpack", "open", "save"])
    parser.add_argument("name", nargs="?")
    parser.add_argument("target", nargs="?", help="for unpack: the folder")
    args = parser.parse_args(argv)
    root = Path(args.root)
    build = root.parent / "build" / "variants"
    if args.command not in ("list", "check") and not args.name:
        parser.error(f"{args.command} needs a NAME")
    if args.command == "unpack" and not args.target:
        parser.error("unpack needs a folder")
    try:
        if args.command == "list":
            print("\n".join(table(root)))
        elif args.command == "unpack":
            unpack(root, args.name, Path(args.target))
        elif args.command == "open":
            open_work(root, args.name, build / "work" / args.name)
        elif args.command == "save":
            save_work(root, args.name, build / "work" / args.name)
        else:
            problems = check(root, build / "check")
            for problem in problems:
                print(problem, file=sys.stderr)
            return 1 if problems else 0
    except Bad as bad:
        print(f"variants.py: {bad}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    inherit.end_with_reader()
    sys.exit(main(sys.argv[1:]))
