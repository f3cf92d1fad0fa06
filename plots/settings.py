"""Pictures look the same whatever the user has set.

What a program draws with is also told by start-up files (~/.gnuplot) and by
the environment (PYTHONPATH, PYTHONWARNINGS, the locale, GNUTERM, ...).  None of
it reaches a picture here.
"""

import os
import sys

# Nothing else yet: until alone() has done its work, a module of the library
# may be found in the user's PYTHONPATH.

# -E: no PYTHONPATH, PYTHONWARNINGS and the like.  UTF-8 in every locale.
ALONE = ["-E", "-X", "utf8"]


def alone():
    """For a script's first lines: it begins again without the user's settings
    of Python, unless it has."""
    if not (sys.flags.ignore_environment and sys.flags.utf8_mode):
        site = ["-S"] if sys.flags.no_site else []
        os.execv(sys.executable, [sys.executable, *site, *ALONE, *sys.argv])


def gnuplot_environment():
    """Without what names terminals, fonts and languages; gnuplot itself is
    started with -d, which leaves ~/.gnuplot alone."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("GNU", "GDFONT", "FIT_", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C.UTF-8", "COLUMNS": "80"}
