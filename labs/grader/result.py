"""The one result of one submission: a dictionary, written as JSON.

    schema, lab, title, submission, fingerprint, seed, when, sandbox
    score, max       points; skipped tests are taken out of both, then the
                     score is scaled to the lab's full points: score_scaled
    message          why nothing was graded, or what the compiler said
    tests[]          id, step, points, max, status (passed, failed, skipped),
                     output, why, hint, visibility, tags, seconds
    shown[]          for no points, beside the starter: figure, ratio (the
                     median of pairs), least, most, pairs, word.  [] where it
                     was not asked for

Only the grader writes it, after the student's code has ended.
"""

import json
import os
import tempfile

SCHEMA = "ioladder-grade/1"


def finish(result):
    """Adds the sums."""
    counted = [t for t in result["tests"] if t["status"] != "skipped"]
    full = sum(t["max"] for t in result["tests"])
    reachable = sum(t["max"] for t in counted)
    score = sum(t["points"] for t in counted)
    result["score"], result["max"] = score, reachable
    result["skipped"] = full - reachable
    result["score_scaled"] = round(score * full / reachable, 2) \
        if reachable else 0
    result["max_scaled"] = full
    return result


def write_text(text, path):
    """All of it or nothing: a reader never sees half a file."""
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False,
                                     encoding="utf-8") as f:
        f.write(text)
    os.chmod(f.name, 0o644)
    os.replace(f.name, path)


def write(result, path):
    write_text(json.dumps(result, indent=1) + "\n", path)


def load(path):
    with open(path, encoding="utf-8") as f:
        value = json.load(f)
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise ValueError(f"{path}: not a result of this grader")
    return value


def plain(text):
    """Without what moves a terminal's cursor or hides a line: a submission
    decides what is printed."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?"
                   for c in text.replace("\r\n", "\n"))


def shorten(text, lines=30):
    """One screen: the first lines and the last."""
    rows = [row.rstrip() for row in text.strip().split("\n")]
    if len(rows) <= lines:
        return "\n".join(rows)
    half = lines // 2
    return "\n".join(rows[:half] + [f"... {len(rows) - 2 * half} lines ..."]
                     + rows[-half:])


def beside(shown):
    """Lines on the figures that cost no points."""
    out = ["\nBeside the starter, in turn with it; for no points"] \
        if shown else []
    for one in shown:
        out.append(f"  {one['figure']:<40}{one['ratio']:.2f} of the starter's"
                   f" ({one['least']:.2f} to {one['most']:.2f}, "
                   f"{one['pairs']} pairs): {one['word']}")
    return out


def table(result):
    """What a person reads in the terminal."""
    out = [f"{result['title']}: {plain(result['submission'])}"]
    if result["message"]:
        out += ["", shorten(result["message"])]
    step = None
    for test in result["tests"]:
        if test["step"] != step:
            step = test["step"]
            out.append(f"\nStep {step}")
        out.append(f"  {test['status']:<8}{test['points']:>3} of "
                   f"{test['max']:<3} {test['id']}")
        if test["status"] == "passed":
            continue
        if test["output"]:
            out += ["           " + row for row in
                    shorten(test["output"]).split("\n")]
        if test["status"] == "failed":
            out.append(f"           why: {test['why']}")
            if test["hint"]:
                out.append(f"           hint: {test['hint']}")
            if test.get("repeat"):
                out.append(f"           again: {test['repeat']}")
    out += beside(result.get("shown", []))
    out.append(f"\n{result['score']} of {result['max']} points"
               + (f", {result['skipped']} points could not be tested here: "
                  f"that makes {result['score_scaled']:g} of "
                  f"{result['max_scaled']}" if result["skipped"] else ""))
    out.append(f"sandbox: {result['sandbox']}")
    return "\n".join(out)
