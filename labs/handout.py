#!/usr/bin/python3
"""What leaves the house: handout.py COMMAND ...

  lab LAB           writes the starter to labs/work/LAB, unless it is there
                    already, and the course's parameters to build/labs
  student LAB OUT   the tar that students get (make handout LAB=2)
  instructor OUT    the instructor's kit (make instructor-kit)

SEED names the course; without it, labs/course-seed does, or it is the public
one.  See labs/grader/bundle.py for what each tar holds.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from grader import build, bundle, lab as labs, markers, params  # noqa: E402


def make_lab(lab, seed):
    folder = os.path.join(labs.LABS, "work", lab.name)
    os.makedirs(folder, exist_ok=True)
    for name, text in bundle.starter(lab, seed).items():
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


def packed_to(packed, out, top):
    bundle.write_tar(packed, out, top)
    size = os.path.getsize(out)
    print(f"{out}: {len(packed)} files, {size // 1024} KiB, below {top}/")


def run(argv, seed):
    if argv[0] == "instructor":
        packed_to(bundle.kit(seed), argv[1], "ioladder-instructor")
        return
    lab = labs.load(labs.find(argv[1]))
    if argv[0] == "lab":
        make_lab(lab, seed)
    else:
        packed_to(bundle.handout(lab, seed), argv[2], f"ioladder-{lab.name}")


def main(argv):
    if [len(argv)] != [n for w, n in (("lab", 2), ("student", 3),
                                      ("instructor", 2)) if argv[:1] == [w]]:
        print("usage: handout.py lab LAB | student LAB OUT | instructor OUT",
              file=sys.stderr)
        return 64
    try:
        run(argv, params.course_seed())
    except (labs.LabError, markers.MarkerError, bundle.BundleError,
            build.StaffError, OSError) as err:
        print(f"handout: {err}", file=sys.stderr)
        return 64
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
