"""The page of claims: a verdict on each claim of the article, from sets.

    <!-- figure:claims bench/results -->      every claim, with its picture
    <!-- figure:headline bench/results -->    the table of claim A13
    <!-- figure:thresholds bench/results -->  the thresholds of claim A10

The claims are data (bench/claim_list.py); the verdicts follow from the newest
complete sets of the folder by one rule (bench/claim_rules.py).  tables.py
writes them, or fails where a document says anything else.
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import claim_rules as rules            # noqa: E402
import summary as summaries            # noqa: E402
from claim_list import BY_ID, CLAIMS   # noqa: E402
from claim_suites import (OUR_THRESHOLDS, THEIR_THRESHOLDS,  # noqa: E402
                          THRESHOLDS)
from svg import Log, Picture           # noqa: E402

IMAGES = os.path.join("docs", "img")
WIDTH, LEFT, RIGHT, ROW = 740, 430, 16, 24
FARTHEST = 100.0     # from the bound; what lies further is drawn there
COLOURS = {rules.HOLDS: "#12936f", rules.OPEN: "#7d858c",
           rules.CONTRADICTED: "#d2455e"}
ORDER = (rules.HOLDS, rules.CONTRADICTED, rules.OPEN, rules.MISSING)
# The article's own, of 32 cores: requests/s and p99 of all accelerators to
# those of a global pool.
ARTICLE = (("qps", "68,900 / 42,700", 1.61), ("p99_us", "286 / 493", 0.58))
HEADLINE = ("one-worker", "global-pool", "accelerators")


def needed(check):
    word, bound = ("<", check.below) if check.above is None \
        else (">", check.above)
    unit = f" {check.unit}" if check.unit else ""
    return f"{word} {bound:,g}{unit}"


def measured(answer):
    if not answer.found:
        return "-"
    mid, low, high = answer.found
    text = summaries.number(mid)
    if low is not None:
        text += f" ({summaries.number(low)} to {summaries.number(high)})"
    return text + (f", {answer.best}" if answer.best else "")


def distance(check, value):
    """How many times over a value lies on the claimed side of the bound."""
    value, bound = abs(value), abs(check.bound)
    up = value / bound if bound else FARTHEST if value else 1.0
    if check.above is None:
        up = 1 / up if up else FARTHEST
    return min(FARTHEST, max(1 / FARTHEST, up))


def picture(claim, found):
    """The answered checks of a claim, one below the other."""
    shown = [a for a in found if a.found]
    places = [distance(a.check, v) for a in shown for v in a.found
              if v is not None]
    bottom = ROW * len(shown) + 6
    drawn = Picture(WIDTH, bottom + 26)
    scale = Log(min([0.5, *places]) / 1.1, max([2.0, *places]) * 1.1, LEFT,
                WIDTH - RIGHT)
    drawn.grid_x(scale, 0, bottom, lambda v: f"{v:g}×")
    drawn.down(scale(1), 0, bottom, "one", stroke_width="2")
    for number, answer in enumerate(shown):
        y = ROW * number + ROW / 2 + 2
        colour = COLOURS[answer.judged]
        text = answer.check.text
        drawn.label(0, y + 4, text if len(text) < 59 else text[:57] + "…",
                    style="soft", size=11)
        drawn.label(LEFT - 12, y + 4, needed(answer.check), "end", size=11)
        mid, low, high = answer.found
        if low is not None:
            ends = sorted(scale(distance(answer.check, v))
                          for v in (low, high))
            drawn.across(*ends, y, "", stroke=colour, stroke_width="3")
        drawn.mark("circle", scale(distance(answer.check, mid)), y, 4.5,
                   colour, hollow=low is None)
    return drawn.file(
        f"{claim.id}: {rules.verdict_of(found)}",
        "How many times over each figure lies on the claimed side of its "
        "bound (the line): right of it the check holds.")


def image_name(claim):
    return os.path.join(IMAGES, f"claim-{claim.id.lower()}.svg")


def tally(found):
    """"3 checks hold, 1 is contradicted"."""
    judged = [a.judged for a in found if not a.check.control]
    words = {rules.HOLDS: ("holds", "hold"),
             rules.CONTRADICTED: ("is contradicted", "are contradicted"),
             rules.OPEN: ("is open", "are open"),
             rules.MISSING: ("is not measured yet", "are not measured yet")}
    parts = []
    for kind in ORDER:
        n = judged.count(kind)
        if n:
            check = f" check{'s'[:n != 1]}" if not parts else ""
            parts.append(f"{n}{check} {words[kind][n != 1]}")
    failed = [a for a in found if a.check.control
              and a.judged == rules.CONTRADICTED]
    return ", ".join(parts) + (
        "; a control failed, so nothing is decided" if failed else "")


def command(claim):
    return f"`make claims CLAIM={claim.id}`"


def sources(found):
    names = list(dict.fromkeys(a.source for a in found if a.source))
    return ", ".join(f"`{name}`" for name in names)


def section(claim, found, show):
    """`show(image, picture, title)` gives a link to a picture."""
    verdict = rules.verdict_of(found)
    out = [f"## {claim.id}: {claim.title}", "",
           f"The article: {claim.says}", ""]
    told = tally(found)
    out += [f"**{verdict[0].upper() + verdict[1:]}**"
            + (f": {told}." if told else "."), ""]
    if any(a.found for a in found):
        out += [show(image_name(claim), picture(claim, found),
                     f"{claim.id}, {verdict}: how far each check lies from "
                     f"its bound"), ""]
    if found:
        out += [summaries.table(
            ["check", "must be", "measured", "blocks", ""],
            [[a.check.text + (" (control)" if a.check.control else ""),
              needed(a.check), measured(a), str(a.blocks or "-"),
              a.judged + ": the generator was the limit" * a.limited]
             for a in found]), ""]
    if sources(found):
        out += [f"From {sources(found)}.", ""]
    if claim.limits:
        out += [f"Not tested here: {claim.limits}", ""]
    out += [f"Measure it: {command(claim)}", ""]
    return "\n".join(out)


def anchor(claim):
    title = f"{claim.id}: {claim.title}".lower()
    return "".join(c for c in title if c.isalnum() or c in " -_") \
        .replace(" ", "-")


def render(sets, show):
    """All claims: a table of the verdicts, and a section for each."""
    rows, parts = [], []
    for claim in CLAIMS:
        found = rules.answers(claim, sets)
        rows.append([f"[{claim.id}](#{anchor(claim)})", claim.title,
                     rules.verdict_of(found), tally(found) or "-"])
        parts.append(section(claim, found, show))
    return "\n".join([summaries.table(
        ["", "claim", "verdict", "checks"], rows) + "\n", *parts]).rstrip()


def headline(sets):
    """The table of claim A13, and the article's ratios beside ours."""
    claim = BY_ID["A13"]
    cell = {"connections": 5000}
    body = []
    for server in HEADLINE:
        row = [server.replace("-", " ")]
        for metric in ("qps", "mean_us", "p99_us", "cpu_us"):
            row.append(measured(sets.answer(rules.Check(
                "", rules.Series("claim-article", server, metric, cell),
                above=0))))
        body.append(row)
    if all(text == "-" for row in body for text in row[1:]):
        return f"Not measured yet: {command(claim)}."
    lines = [summaries.table(["", "requests/s", "mean, us", "p99, us",
                              "CPU a request, us"], body), ""]
    for metric, theirs, number in ARTICLE:
        words = "requests/s" if metric == "qps" else "p99"
        found = sets.answer(rules.Check(
            "", rules.Series("claim-article", "accelerators", metric, cell),
            rules.Series("claim-article", "global-pool", metric, cell),
            above=0))
        lines.append(f"- {words}, all accelerators / global pool: "
                     f"{measured(found)}; the article's {theirs} is {number}")
    if any(sets.answer(check).limited for check in claim.checks):
        lines.append("- the generator was the limit: rates and latencies are "
                     "its own, and decide nothing; CPU time a request is the "
                     "servers'")
    return "\n".join(lines)


def within(answer):
    """A sentence on thresholds beside the best ones."""
    n = answer.check.ours.cell["connections"]
    whose = "the stage's" if answer.check.ours.server == OUR_THRESHOLDS \
        else "the article's"
    words = {rules.HOLDS: "within 3 % of the best",
             rules.CONTRADICTED: "not within 3 % of the best"}.get(
        answer.judged, "whether within 3 % of the best is open")
    return (f"- {n:,} connections, {whose} thresholds: {words}; CPU to that of "
            f"the best: {measured(answer)}")


def threshold_row(sets, server, connections):
    def figure(metric, *servers):
        return measured(sets.answer(rules.Check("", *(
            rules.Series("claim-thresholds", name, metric,
                         {"connections": connections})
            for name in servers), above=0)))
    ratios = ["-", "-"] if server == OUR_THRESHOLDS else [
        figure(metric, server, OUR_THRESHOLDS)
        for metric in ("cpu_us", "p99_us")]
    return [batch_words(server), *ratios, figure("ring_rounds", server),
            figure("own_calls", server)]


def thresholds(sets):
    """What each threshold costs beside the stage's, and the verdicts."""
    checks = [c for c in BY_ID["A10"].checks
              if c.ours.suite == "claim-thresholds" and not c.control]
    found = [a for a in map(sets.answer, checks) if a.found]
    if not found:
        return f"Not measured yet: {command(BY_ID['A10'])}."
    parts = []
    for n in sorted({a.check.ours.cell["connections"] for a in found}):
        parts += [f"{n:,} connections:", "", summaries.table(
            ["a batch", "CPU to that of 4 ready", "p99 to that",
             "rounds by the ring", "calls a request"],
            [threshold_row(sets, server, n)
             for server in (*THRESHOLDS, "stage5")]), ""]
    return "\n".join([*parts, *map(within, found), "",
                      f"From {sources(found)}."])


def batch_words(server):
    """"ready-8-free-16" -> "8 ready or 16 free"."""
    fixed = {"single": "never", "ready-1": "always",
             OUR_THRESHOLDS: "4 ready: the stage",
             THEIR_THRESHOLDS: "8 ready or 16 free: the article",
             "stage5": "stage 5: a ring alone"}
    word, _, n = server.partition("-")
    return fixed.get(server) or (
        f"{n} ready" if word == "ready" else f"4 ready or {n} free")


def block(what, folder, root, show):
    sets = rules.Sets(os.path.join(root, folder), root=root)
    if what == "claims":
        return render(sets, show)
    return {"headline": headline, "thresholds": thresholds}[what](sets)
