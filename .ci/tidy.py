#!/usr/bin/env python3
"""House rules for every file of the project that git knows or would add.

    .ci/tidy.py [ROOT]     exit 1 names each breach as PATH:LINE: reason

  - names at the top level are those that the layout gives;
  - no file over 1 MiB; the rows of a result set, 4: they are its evidence, and
    a run of all variants has a thousand;
  - no line that ends in blanks, a newline at the end;
  - no tabs in C and Python;
  - C lines have at most 80 columns;
  - no notes to oneself left in (the words are spelled in parts below);
  - no path of one machine: home folders, work folders;
  - no name of a fixed place in /tmp, which users share: tests ask temp_dir()
    or tempfile, which honour TMPDIR;
  - relative links in Markdown lead to a file, and their #anchors to a heading;
  - a local image or file that HTML in Markdown names is there;
  - each picture in docs/img/ is shown by a page;
  - scripts are executable exactly when they begin with #!.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

TOP = {"stages", "common", "labs", "bench", "plots", "docs", "Makefile",
       "README.md", "LICENSE", "CITATION.cff", "CONTRIBUTING.md"}
MAX_BYTES, MAX_ROWS = 1024 * 1024, 4 * 1024 * 1024
ROWS = re.compile(r"^bench/results/[^/]+/rows\.jsonl$")
NOTES = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
# A number or one letter after /work/ is a route of the servers, no folder.
MACHINE = re.compile(r"(?<![\w.<$}*-])(?:/(?:home|Users)/\w|/root/[\w.]"
                     r"|/work/[a-z]{2})[\w./-]*")
SHARED = re.compile(r"/tmp/[\w.$-]+")
LINK = re.compile(r"(?<!\\)!?\[[^\]\n]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)"
                  r"|\b(?:src|srcset|href)=\"([^\"]+)\"")
# Data made by programs, and inputs of fuzzers, are as they are.
RAW = re.compile(r"^common/tests/corpus/|^bench/results/|\.(svg|png|pdf|hgrm"
                 r"|json|csv|jsonl)$|/data/")


def project_files(root):
    lister = Path(__file__).resolve().parent / "files"
    done = subprocess.run([lister, root], capture_output=True, check=True)
    return list(dict.fromkeys(done.stdout.decode().splitlines()))


def anchors(text):
    """The #anchors that a Markdown page has, by the rule of its headings."""
    found, inside = set(), False
    for line in text.split("\n"):
        if line.startswith("```"):
            inside = not inside
        heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
        if heading and not inside:
            name = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1))
            name = re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-")
            unique, n = name, 0
            while unique in found:
                n += 1
                unique = f"{name}-{n}"
            found.add(unique)
    return found


def check_links(root, name, text):
    problems, inside = [], False
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("```"):
            inside = not inside
        if inside:
            continue
        for match in LINK.finditer(re.sub(r"`[^`]*`", "", line)):
            target = match.group(1) or match.group(2)
            if re.match(r"[a-z][a-z+.-]*:", target):
                continue
            path, _, anchor = target.partition("#")
            page = (root / name).parent / path if path else root / name
            if not page.exists():
                problems.append(f"{name}:{number}: link to {target}: "
                                "no such file")
            elif anchor and page.suffix == ".md" \
                    and anchor not in anchors(page.read_text()):
                problems.append(f"{name}:{number}: link to {target}: "
                                "no such heading")
    return problems


def check_lines(name, text):
    problems = []
    c_source = name.endswith((".c", ".h"))
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{name}:{number}"
        if line != line.rstrip():
            problems.append(f"{where}: blanks at the end of the line")
        if "\t" in line and (c_source or name.endswith(".py")):
            problems.append(f"{where}: a tab")
        if c_source and len(line) > 80:
            problems.append(f"{where}: {len(line)} columns")
        note = NOTES.search(line)
        if note:
            problems.append(f"{where}: '{note.group()}' left in")
        path = MACHINE.search(line)
        if path and not name.endswith("tests/test_tidy.py"):
            problems.append(f"{where}: path of one machine: {path.group()}")
        shared = SHARED.search(line)
        if shared and not name.endswith("tests/test_tidy.py"):
            problems.append(f"{where}: a name that users share: "
                            f"{shared.group()}")
    if text and not text.endswith("\n"):
        problems.append(f"{name}: no newline at the end")
    if text.endswith("\n\n"):
        problems.append(f"{name}: blank lines at the end")
    return problems


def check_file(root, name):
    path = root / name
    if path.is_symlink():
        return [f"{name}: a symbolic link"]
    problems = []
    data = path.read_bytes()
    limit = MAX_ROWS if ROWS.match(name) else MAX_BYTES
    if len(data) > limit:
        problems.append(f"{name}: {len(data)} bytes, at most {limit}")
    if data.startswith(b"#!") != os.access(path, os.X_OK):
        problems.append(f"{name}: executable and '#!' do not go together")
    if RAW.search(name) or b"\0" in data:
        return problems
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return problems + [f"{name}: not UTF-8"]
    problems += check_lines(name, text)
    if name.endswith(".md"):
        problems += check_links(root, name, text)
    return problems


def orphans(root, names):
    pages = "".join((root / n).read_text(errors="replace") for n in names
                    if n.endswith(".md"))
    return [f"{n}: no page shows it" for n in names
            if n.startswith("docs/img/") and Path(n).name not in pages]


def check(root):
    root = Path(root)
    names = project_files(root)
    problems = [f"{top}: not a name that the layout has" for top in
                sorted({n.split("/")[0] for n in names})
                if top not in TOP and not top.startswith(".")]
    for name in names:
        problems += check_file(root, name)
    return problems + orphans(root, names)


def main(argv):
    root = Path(argv[0]) if argv else Path(__file__).resolve().parent.parent
    problems = check(root)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print("tidy: the tree is in order")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
