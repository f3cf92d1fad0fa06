#!/usr/bin/python3
"""What students get: handout.py lab LAB

  lab LAB   writes the starter to labs/work/LAB, unless it is there already,
            and the course's parameters to build/labs
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from grader import build, lab as labs, markers, params    # noqa: E402


def make_lab(lab, seed):
    folder = os.path.join(labs.LABS, "work", lab.name)
    os.makedirs(folder, exist_ok=True)
    for name, text in markers.files(lab, seed).items():
        path = os.path.join(folder, name)
        shown = os.path.relpath(path, labs.ROOT)
        if os.path.exists(path):
            print(f"{shown}: is there, and stays as it is")
            continue
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        print(f"{shown}: written")
    build.parameters(lab, seed)
    print(f"labs/{lab.name}/README.md says what to do; "
          f"make grade LAB={lab.name.split('-')[0]}")


def main(argv):
    if len(argv) != 2 or argv[0] != "lab":
        print("usage: handout.py lab LAB", file=sys.stderr)
        return 64
    try:
        make_lab(labs.load(labs.find(argv[1])),
                 os.environ.get("SEED") or params.PUBLIC_SEED)
    except (labs.LabError, markers.MarkerError, OSError) as err:
        print(f"handout: {err}", file=sys.stderr)
        return 64
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
