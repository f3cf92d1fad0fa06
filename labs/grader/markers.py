"""A starter from a solution, by markers in its comments.

    /* LAB-BEGIN */  ...the answer...
    /* LAB-ELSE
     * ...what the starter has there: it stands in a comment, so the solution
     * compiles; each line loses its leading " * "...
     */
    /* LAB-END */

Between BEGIN and END the starter has what ELSE holds, or nothing.  Markers
stand alone on their lines and do not nest.
"""

import re

BEGIN, ELSE, END = "/* LAB-BEGIN */", "/* LAB-ELSE", "/* LAB-END */"


class MarkerError(Exception):
    """Markers that do not fit together."""


def starter(text, where="solution"):
    """The starter's text."""
    out, state = [], "text"
    for number, line in enumerate(text.split("\n"), 1):
        word = line.strip()
        if word == BEGIN and state == "text":
            state = "answer"
        elif word == ELSE and state == "answer":
            state = "else"
        elif word == "*/" and state == "else":
            state = "closed"
        elif word == END and state in ("answer", "closed"):
            state = "text"
        elif word in (BEGIN, ELSE, END):
            raise MarkerError(f"{where}:{number}: {word} has no place here")
        elif state == "text":
            out.append(line)
        elif state == "else":
            out.append(re.sub(r"^\s*\* ?", "", line))
        elif state == "closed":
            raise MarkerError(f"{where}:{number}: text between the starter's "
                              "part and LAB-END")
    if state != "text":
        raise MarkerError(f"{where}: a marker is not closed")
    return "\n".join(out)


def answer(text):
    """The solution as people read it: no markers, no starter's part."""
    text = re.sub(r"[ \t]*/\* LAB-ELSE\n(?:[ \t]*\*(?!/).*\n)*[ \t]*\*/\n",
                  "", text)
    return re.sub(r"[ \t]*/\* LAB-(?:BEGIN|END) \*/\n", "", text)
