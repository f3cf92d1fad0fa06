"""The one result in the forms that other systems read.

    gradescope   results.json
    classroom50  result.json, schema classroom50/result/v1
    autolab      the last line of standard output
    junit        XML, for anything that shows JUnit reports
    classroom    autograding.json of GitHub Classroom: of a lab, not of a result

Each function takes a result of result.py and returns text.  Points of tests
that could not run here are no part of the sum: a form that knows one total
gets the scaled one, the others get both sums without them.
"""

import json
import re
from xml.sax.saxutils import escape, quoteattr

SHOWN = ("visible",)            # where everybody reads what is exported
CLASSROOM50 = "classroom50/result/v1"
CLASSROOM50_ENV = {"classroom": "CLASSROOM", "assignment": "ASSIGNMENT",
                   "submission": "SUBMISSION_TAG", "commit": "COMMIT_URL",
                   "release": "RELEASE_URL"}


class ExportError(Exception):
    """What is missing for this form."""


def explained(test):
    """What a student reads about one test."""
    if test["status"] == "passed":
        return "passed"
    rows = [test["output"]] if test["output"] else []
    if test["status"] == "skipped":
        return "\n".join(rows or ["could not be tested here"])
    rows.append(f"why: {test['why']}")
    if test["hint"]:
        rows.append(f"hint: {test['hint']}")
    return "\n".join(rows)


def gradescope(result):
    """A skipped test has no status in this form: it stands without points."""
    tests = []
    for number, test in enumerate(result["tests"], 1):
        entry = {"name": test["id"], "number": f"{test['step']}.{number}",
                 "output": explained(test), "output_format": "text",
                 "visibility": test["visibility"],
                 "tags": [f"step{test['step']}", *test.get("tags", [])]}
        if test["status"] == "skipped":
            entry["output"] = "SKIPPED: " + entry["output"]
            entry["tags"].append("skipped")
        else:
            entry.update(score=test["points"], max_score=test["max"],
                         status=test["status"])
        tests.append(entry)
    said = [result["message"]] if result["message"] else []
    if result["skipped"]:
        said.append(f"{result['skipped']} points could not be tested here; "
                    f"{result['score']} of {result['max']} make "
                    f"{result['score_scaled']:g} of {result['max_scaled']}.")
    whole = {"score": result["score_scaled"],
             "execution_time": round(sum(t["seconds"]
                                         for t in result["tests"])),
             "output": "\n".join(said), "output_format": "text",
             "test_output_format": "text", "visibility": "visible",
             "stdout_visibility": "hidden",
             "extra_data": {"sandbox": result["sandbox"],
                            "seed": result["seed"],
                            "fingerprint": result["fingerprint"]},
             "tests": tests}
    return json.dumps(whole, indent=1) + "\n"


def classroom50(result, env):
    """env: what the runner gives to its script."""
    missing = [name for name in CLASSROOM50_ENV.values() if not env.get(name)]
    if missing:
        raise ExportError("classroom50's runner sets these, and they are not "
                          f"set: {', '.join(missing)}")
    kind = env.get("ASSIGNMENT_TYPE") or "individual"
    if kind not in ("individual", "group"):
        raise ExportError(f"ASSIGNMENT_TYPE is {kind!r}")
    whole = {"schema": CLASSROOM50}
    whole.update({key: env[name] for key, name in CLASSROOM50_ENV.items()})
    whole.update({
        "assignment_type": kind,
        "owner": env.get("OWNER") or env.get("USERNAME") or "",
        "review": env.get("REVIEW_URL") or env["COMMIT_URL"],
        "datetime": result["when"], "score": result["score"],
        "max-score": result["max"],
        "tests": [{"test-name": t["id"], "passed": t["status"] == "passed",
                   "score": t["points"], "max-score": t["max"],
                   "output": explained(t) if t["visibility"] in SHOWN else ""}
                  for t in result["tests"] if t["status"] != "skipped"]})
    return json.dumps(whole, indent=1) + "\n"


def autolab(result):
    """Two lines: what Autolab shows step by step, and the scores.  A problem
    of the assignment is a step of the lab."""
    scores, stages = {}, {}
    for test in result["tests"]:
        step = f"step{test['step']}"
        scores[step] = scores.get(step, 0) + test["points"]
        hint = "" if test["status"] == "passed" else \
            (test["hint"] or test["why"])
        name = test["id"].split("/")[1]
        if test["status"] == "skipped":
            hint = "could not be tested here"
        if test["visibility"] in SHOWN:
            stages.setdefault(step, {})[name] = {
                "passed": test["status"] == "passed", "hint": hint}
    shown = {"_presentation": "semantic", "stages": list(stages), **stages}
    return json.dumps(shown) + "\n" + json.dumps({
        "scores": scores, "scoreboard": [result["score_scaled"]]}) + "\n"


def clean(text):
    """XML knows no control characters but these three."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]",
                  "?", text)


def junit(result):
    cases, failures, skipped = [], 0, 0
    for test in result["tests"]:
        suite, name = test["id"].split("/")
        head = (f"  <testcase classname={quoteattr(suite)} "
                f"name={quoteattr(name)} time=\"{test['seconds']:.3f}\"")
        text = escape(clean(explained(test)))
        if test["status"] == "failed":
            failures += 1
            lost = f"{test['max'] - test['points']} points lost"
            head += f">\n    <failure message={quoteattr(lost)}>{text}" \
                    "</failure>\n  </testcase>"
        elif test["status"] == "skipped":
            skipped += 1
            why = quoteattr(clean(explained(test)))
            head += f">\n    <skipped message={why}/>\n  </testcase>"
        else:
            head += "/>"
        cases.append(head)
    seconds = sum(t["seconds"] for t in result["tests"])
    out = ["<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
           f"<testsuite name={quoteattr(result['lab'])} "
           f"tests=\"{len(cases)}\" failures=\"{failures}\" errors=\"0\" "
           f"skipped=\"{skipped}\" time=\"{seconds:.3f}\">",
           "  <properties>",
           f"    <property name=\"score\" value=\"{result['score']}\"/>",
           f"    <property name=\"max\" value=\"{result['max']}\"/>",
           "  </properties>", *cases]
    if result["message"]:
        out.append("  <system-out>" + escape(clean(result["message"]))
                   + "</system-out>")
    return "\n".join(out + ["</testsuite>", ""])


def classroom(lab, seconds_to_build=60):
    """The tests of a lab as GitHub Classroom's own file: one command each, and
    a limit in whole minutes."""
    number = lab.name.split("-")[0]
    tests = []
    for test in lab.tests:
        tests.append({
            "name": test.id, "setup": f"make lab LAB={number}",
            "run": f"python3 labs/grade.py {number} --test {test.id} --strict",
            "input": "", "output": "", "comparison": "included",
            "timeout": 1 + int((test.timeout + seconds_to_build) // 60),
            "points": test.points})
    return json.dumps({"tests": tests}, indent=1) + "\n"
