#!/usr/bin/python3
"""Writes a result as another system reads it: export.py FORMAT FILE [OUT]

  gradescope|classroom50|autolab|junit RESULT [OUT]   RESULT: grade.py --json
  classroom LAB [OUT]     the tests of a lab for GitHub Classroom (legacy)
  autograder LAB OUT.zip  what is uploaded to Gradescope

Without OUT it goes to standard output.  classroom50 takes names and addresses
from the environment that its runner sets.  Exit status: 64 usage or input.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from grader import bundle, export, lab as labs, params    # noqa: E402
from grader import result as results                      # noqa: E402

OF_RESULT = {"gradescope": export.gradescope, "autolab": export.autolab,
             "junit": export.junit,
             "classroom50": lambda r: export.classroom50(r, os.environ)}


def text_of(form, given):
    if form == "classroom":
        return export.classroom(labs.load(labs.find(given)))
    return OF_RESULT[form](results.load(given))


def main(argv):
    known = (*OF_RESULT, "classroom", "autograder")
    if len(argv) not in (2, 3) or argv[0] not in known \
            or (argv[0] == "autograder" and len(argv) != 3):
        print(__doc__.partition("\n\nW")[0], file=sys.stderr)
        return 64
    try:
        if argv[0] == "autograder":
            bundle.autograder(labs.load(labs.find(argv[1])), argv[2],
                              params.course_seed())
            print(f"{argv[2]}: written")
            return 0
        text = text_of(argv[0], argv[1])
        if len(argv) == 2:
            sys.stdout.write(text)
        else:
            results.write_text(text, argv[2])
    except (export.ExportError, labs.LabError, bundle.BundleError, OSError,
            ValueError, KeyError) as err:
        print(f"export: {err}", file=sys.stderr)
        return 64
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
