"""The flame graphs of a set of bench/flames.py: each stage beside the one
before it."""

import base64
import glob
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))
sys.path.insert(0, os.path.join(ROOT, "bench", "trace"))

import folded           # noqa: E402
import results          # noqa: E402
import flame            # noqa: E402

FILE, SCHEMA = "flames.json", "ioladder-flames/1"
COMMAND = "bench/flames.py --out bench/results/DATE-flames"


def is_set(directory):
    return os.path.exists(os.path.join(directory, FILE))


def load(directory):
    """What FILE says; ResultError where it is not whole."""
    path = os.path.join(directory, FILE)
    found = results.load_object(path, SCHEMA)
    results.need(found, path, "load", "samples", "machine", "draft")
    return found


def newest(folder):
    """The newest set below a folder that may be quoted, or None."""
    found = [(load(d)["machine"]["when"], d)
             for d in glob.glob(os.path.join(folder, "*")) if is_set(d)
             and not load(d)["draft"]]
    return max(found)[1] if found else None


def stages_of(directory):
    return sorted(load(directory)["samples"])


def picture(directory, stage):
    """(title, SVG) of a stage, whose colours are the difference to the one
    before it."""
    number = int(stage.removeprefix("stage"))
    before = f"stage{number - 1}"
    with_before = before in stages_of(directory)

    def stacks(name):
        return folded.load(os.path.join(directory, f"{name}.folded"))
    title = f"Where stage {number} spends its CPU"
    if with_before:
        title += f", beside stage {number - 1}"
    return title, flame.picture(
        stacks(stage), str(number), stacks(before) if with_before else None,
        f"stage {number - 1}" if with_before else None)


def block(folder, root, stage, show):
    """For a document: show(image, picture, title) gives a link."""
    directory = newest(os.path.join(root, folder))
    if not directory:
        return f"Not recorded yet: `{COMMAND}`, as root."
    title, svg = picture(directory, f"stage{stage}")
    image = f"{os.path.basename(directory)}-stage{stage}.svg"
    return (show(os.path.join("docs", "img", image), svg, title)
            + f"\n\n{load(directory)['samples'][f'stage{stage}']:,} samples, "
            f"from `{os.path.relpath(directory, root)}`.")


def section_html(directory):
    """For the report.  As images: the style of one would reach the others."""
    found = load(directory)
    parts = [f"<p>GET /, {found['load'].removeprefix('--')}: samples of the "
             f"stacks, for {found['seconds']:g} s each.</p>"]
    for stage in stages_of(directory):
        title, svg = picture(directory, stage)
        data = base64.b64encode(svg.encode()).decode()
        parts.append(f"<figure><figcaption>{title}</figcaption>"
                     f'<img alt="{title}" style="width:100%" '
                     f'src="data:image/svg+xml;base64,{data}"></figure>')
    return "\n".join(parts)
