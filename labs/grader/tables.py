"""The tables of a class: one for people, one for Canvas, one for Moodle.

Canvas matches a row by ID, else by login, and needs the row of possible points
for a column that it does not know.  Moodle's grading worksheet matches by its
Identifier and takes a row only with the date of the last change; the feedback
column must not be the first.
"""

import csv
import io
import os

from .result import shorten

COLUMNS = ("student", "id", "status", "points", "max", "steps", "lost",
           "message", "similar", "seconds", "sandbox", "fingerprint",
           "source")
CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
MOODLE = ("Identifier", "Full name", "Grade", "Maximum Grade",
          "Last modified (grade)", "Feedback comments")


def cell(text):
    """A cell that no spreadsheet takes for a formula."""
    text = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    return "'" + text if text[:1] in ("=", "+", "-", "@") else text


def text_of(rows):
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue()


def status(result):
    if result is None:
        return "not graded"
    return "graded" if result["sandbox"] else "refused"


def steps(result):
    """1:30/30 2:10/25, and what could not be tested."""
    sums = {}
    for test in result["tests"]:
        got = sums.setdefault(test["step"], [0, 0])
        if test["status"] != "skipped":
            got[0] += test["points"]
            got[1] += test["max"]
    words = [f"{n}:{a}/{b}" for n, (a, b) in sorted(sums.items())]
    return " ".join(words)


def people(rows):
    """rows: (submission, result or None, reason, similar)."""
    out = [COLUMNS]
    for one, result, reason, similar in rows:
        source = ", ".join(os.path.basename(p) for p, _ in one.files)
        source = os.fsencode(source).decode("utf-8", errors="replace")
        line = [cell(one.name), cell(one.ident), status(result)]
        if result is None:
            line += ["", "", "", "", cell(reason), similar, "", "", ""]
        else:
            lost = [t["id"] for t in result["tests"]
                    if t["status"] == "failed"]
            seconds = sum(t["seconds"] for t in result["tests"])
            line += [f"{result['score_scaled']:g}", result["max_scaled"],
                     steps(result), " ".join(lost),
                     cell(shorten(result["message"], 4)), similar,
                     f"{seconds:.1f}", result["sandbox"],
                     result["fingerprint"][:12]]
        out.append(line + [cell(source)])
    return text_of(out)


def canvas(rows, title, points):
    out = [(*CANVAS, title),
           ("    Points Possible", "", "", "", "", points)]
    for one, result, _, _ in rows:
        known = one.system == "canvas"
        out.append((cell(one.name), one.ident if known else "", "",
                    "" if known else cell(one.ident), "",
                    "" if result is None else f"{result['score_scaled']:g}"))
    return text_of(out)


def feedback(result):
    lines = [result["message"]] if result["message"] else []
    lines += [f"{t['points']}/{t['max']} {t['id']}"
              + (f": {t['why']}" if t["status"] == "failed" else "")
              for t in result["tests"] if t["visibility"] == "visible"]
    return shorten("\n".join(lines), 40)


def moodle(rows, points):
    out = [MOODLE]
    for one, result, _, _ in rows:
        ident = f"Participant {one.ident}" if one.system == "moodle" \
            else one.ident
        graded = result is not None
        out.append((cell(ident), cell(one.name),
                    f"{result['score_scaled']:g}" if graded else "", points,
                    "-", cell(feedback(result)) if graded else ""))
    return text_of(out)
