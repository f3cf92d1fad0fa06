"""A starter from a solution, by markers in its comments.

    /* LAB-BEGIN */  ...the answer...      or /* LAB-BEGIN short 1 of 2 */
    /* LAB-ELSE
     * ...what the starter has there: it stands in a comment, so the solution
     * compiles; each line loses its " * ", and keeps what stands before...
     */
    /* LAB-END */

Between BEGIN and END the starter has what ELSE holds, or nothing.  Markers
stand alone on their lines and do not nest.

Behind BEGIN a name and "K of N" make it one of N places: the seed of the course
chooses which of them has its ELSE in the starter; the others keep the answer.
"""

import os
import re

from . import params

ELSE, END = "/* LAB-ELSE", "/* LAB-END */"
BEGIN = re.compile(r"/\* LAB-BEGIN(?: (\w+) (\d+) of (\d+))? \*/")


class MarkerError(Exception):
    """Markers that do not fit together."""


def chosen(begin, seed):
    """Is this the place that the seed chooses?"""
    name, place, places = begin.groups()
    return not name or \
        params.number(seed, f"place {name}", 1, int(places)) == int(place)


def starter(text, where="solution", seed=params.PUBLIC_SEED):
    """The starter's text."""
    out, state, keep = [], "text", False
    for number, line in enumerate(text.split("\n"), 1):
        word = line.strip()
        begin = BEGIN.fullmatch(word)
        if begin and state == "text":
            state, keep = "answer", not chosen(begin, seed)
        elif word == ELSE and state == "answer":
            state = "else"
        elif word == "*/" and state == "else":
            state = "closed"
        elif word == END and state in ("answer", "closed"):
            state = "text"
        elif begin or word in (ELSE, END):
            raise MarkerError(f"{where}:{number}: {word} has no place here")
        elif state == "text" or (state == "answer" and keep):
            out.append(line)
        elif state == "else" and not keep:
            out.append(re.sub(r"^(\s*?) ?\* ?", r"\1", line).rstrip())
        elif state == "closed":
            raise MarkerError(f"{where}:{number}: text between the starter's "
                              "part and LAB-END")
    if state != "text":
        raise MarkerError(f"{where}: a marker is not closed")
    # Where an answer was cut out, one blank line is left.
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out))


def answer(text):
    """The solution as people read it: no markers, no starter's part."""
    text = re.sub(r"[ \t]*/\* LAB-ELSE\n(?:[ \t]*\*(?!/).*\n)*[ \t]*\*/\n",
                  "", text)
    return re.sub(r"[ \t]*/\* LAB-(?:BEGIN.*|END) \*/\n", "", text)


def files(lab, seed=params.PUBLIC_SEED):
    """{name: text} of a lab's starter."""
    found = {}
    for name in lab.student:
        path = os.path.join(lab.folder, "solution", name)
        with open(path, encoding="utf-8") as f:
            text = starter(f.read(), path, seed)
        found[name] = params.literal(text, lab.literal, seed)
    return found
