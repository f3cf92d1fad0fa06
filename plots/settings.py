"""Pictures look the same whatever the user has set.

What a program draws with is also told by start-up files (matplotlibrc, styles,
~/.gnuplot) and by the environment (MPLBACKEND, PYTHONPATH, PYTHONWARNINGS,
the locale, GNUTERM, ...).  None of it reaches a picture here.
"""

import os
import sys

# Nothing else yet: until alone() has done its work, a module of the library
# may be found in the user's PYTHONPATH.

MARK = "IOLADDER_PLOTS_PYTHON"  # which interpreter was found, once
# -E: no PYTHONPATH, PYTHONWARNINGS and the like.  UTF-8 in every locale.
ALONE = ["-E", "-X", "utf8"]


def alone():
    """For a script's first lines: it begins again without the user's settings
    of Python, unless it has."""
    if not (sys.flags.ignore_environment and sys.flags.utf8_mode):
        site = ["-S"] if sys.flags.no_site else []
        os.execv(sys.executable, [sys.executable, *site, *ALONE, *sys.argv])


def with_matplotlib():
    """matplotlib as it is without settings; goes on in the first interpreter
    that has it.

    The python3 that is first in PATH is often one without it, while the
    system's own has it from a package.
    """
    os.environ.pop("MPLBACKEND", None)  # a wrong one breaks the import
    try:
        import matplotlib
    except ImportError:
        find_matplotlib()
    matplotlib.use("Agg")
    matplotlib.rcdefaults()
    matplotlib.rcParams.update({
        "font.size": 8, "font.family": ["DejaVu Sans", "sans-serif"],
        # Text stays text in an SVG: small, and words can be searched for.  In
        # a PDF fonts are embedded as outlines that every reader shows.
        "svg.fonttype": "none", "pdf.fonttype": 42,
        "svg.hashsalt": "ioladder"})
    return matplotlib


def find_matplotlib():
    import shutil
    import subprocess
    seen = ["/usr/bin/python3", "/usr/local/bin/python3"]
    seen += [shutil.which("python3", path=d) or ""
             for d in os.environ.get("PATH", "").split(os.pathsep)]
    for python in dict.fromkeys(filter(None, seen)):
        if MARK in os.environ or not os.access(python, os.X_OK):
            continue
        test = subprocess.run([python, *ALONE, "-c", "import matplotlib"],
                              capture_output=True, check=False)
        if test.returncode == 0:
            os.environ[MARK] = python
            os.execv(python, [python, *ALONE, *sys.argv])
    sys.exit(f"{os.path.basename(sys.argv[0])}: no Python here has matplotlib "
             "(apt-get install python3-matplotlib)")


def svg_of(fig, **how):
    """A figure as SVG, without what no eye can see: the program's name, the
    digits behind a hundredth of a point, a family's ten substitutes."""
    import io
    import re
    out = io.StringIO()
    fig.savefig(out, format="svg", metadata={"Date": None}, **how)
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", out.getvalue(),
                  flags=re.S)
    text = re.sub(r"\d+\.\d{3,}", lambda n: f"{float(n[0]):.2f}", text)
    text = re.sub(r'\bd="[^"]*"', lambda d: " ".join(d[0].split()), text)
    text = re.sub(r"('DejaVu Sans'), .*?(sans-serif)", r"\1, \2", text)
    return re.sub(r' transform="rotate\(-0 [^"]*"', "", text)


def gnuplot_environment():
    """Without what names terminals, fonts and languages; gnuplot itself is
    started with -d, which leaves ~/.gnuplot alone."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("GNU", "GDFONT", "FIT_", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C.UTF-8", "COLUMNS": "80"}
