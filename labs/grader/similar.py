"""Submissions that look alike: a hint for a person, never a grade.

sim_c (Debian: similarity-tester) compares tokens: names, numbers, strings,
comments and layout do not count, so renaming hides nothing.  Lines that stand
in the starter are taken out first: everybody has those.
"""

import os
import re
import shutil
import subprocess
import tempfile

PERCENT = 70
SECONDS = 300
LINE = re.compile(r"(\d+)/\S+ consists for (\d+) % of (\d+)/\S+ material")


def own_lines(text, starter):
    """Without what the starter has."""
    given = {row.strip() for row in starter.split("\n")}
    return "\n".join(row for row in text.split("\n")
                     if row.strip() not in given) + "\n"


def pairs(files, starter, percent=PERCENT):
    """[(percent, key, key)] of {key: {name: bytes}}, most alike first; None
    when the tool is not there."""
    if not shutil.which("sim_c"):
        return None
    keys = list(files)
    with tempfile.TemporaryDirectory() as top:
        paths = []
        for number, key in enumerate(keys):
            os.mkdir(os.path.join(top, str(number)))
            text = "".join(own_lines(data.decode("utf-8", errors="replace"),
                                     starter.get(name, ""))
                           for name, data in sorted(files[key].items())
                           if name.endswith((".c", ".h")))
            path = os.path.join(str(number), "all.c")
            with open(os.path.join(top, path), "w", encoding="utf-8") as f:
                f.write(text)
            paths.append(path)
        try:
            done = subprocess.run(
                ["sim_c", "-a", "-e", "-p", "-T", f"-t{percent}", "-i"],
                input="\n".join(paths) + "\n", capture_output=True, text=True,
                errors="replace", cwd=top, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return None
    best = {}
    for line in done.stdout.split("\n"):
        match = LINE.search(line)
        if match:
            a, b = sorted((int(match[1]), int(match[3])))
            if a != b:
                best[a, b] = max(best.get((a, b), 0), int(match[2]))
    return sorted(((p, keys[a], keys[b]) for (a, b), p in best.items()),
                  reverse=True)
