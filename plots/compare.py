"""Two sets side by side: do they agree on the ladder?

Slices of two sets are no pairs, so no ratio of A to B has an interval here;
what is compared are the ratios that each set found within itself.  The figures
of two machines differ by whatever the machines differ by, and that is said.
"""

import model
import results
import summary as summaries

import page as pages
import pictures
import rows
from page import esc
from sets import amount, cell_words, decided

COLOURS = ("#2f7fd6", "#d97316")
LETTERS = "AB"


def common_cells(a, b):
    """[(suite, cell)] that both sets have for two servers or more."""
    found = []
    for suite, cells in a.suites.items():
        for cell in cells:
            ours = {e["server"] for e in a.entries(suite, cell)}
            theirs = {e["server"] for e in b.entries(suite, cell)}
            if ours & theirs:
                found.append((suite, cell))
    return found


def same_machine(a, b):
    keys = ("cpu", "cpus", "kernel", "hypervisor", "memory_kib")
    ours, theirs = (d.manifest["machine"] for d in (a, b))
    return [k for k in keys if ours.get(k) != theirs.get(k)]


def warnings(a, b):
    """What a reader must know before reading on."""
    found, differ = [], same_machine(a, b)
    if differ:
        found.append(
            "The sets were made on machines that differ in "
            + ", ".join(k.replace("_", " ") for k in differ)
            + ": absolute figures differ for that reason alone. Compare the "
            "ratios.")
    else:
        found.append("Both sets name the same kind of machine; whether it was "
                     "the same host, nobody can tell. Compare the ratios.")
    one, two = (d.manifest["machine"]["git"]["revision"] for d in (a, b))
    if one != two:
        found.append(f"They measured two revisions: {(one or 'unknown')[:12]} "
                     f"and {(two or 'unknown')[:12]}.")
    methods = [d.summary.get("intervals", "bootstrap") for d in (a, b)]
    if methods[0] != methods[1]:
        found.append("The older one has bootstrap intervals, which are too "
                     "narrow, and no correction.")
    for letter, data in zip(LETTERS, (a, b)):
        if data.manifest.get("draft") or data.manifest["machine"]["git"][
                "dirty"]:
            found.append(f"{letter} was measured on a tree with changes.")
        if data.manifest["state"] != "complete":
            found.append(f"{letter} is {data.manifest['state']}.")
    return found


def comparisons(a, b, suite, cell, metric="cpu_us"):
    """[(server, base, A's comparison, B's)] of pairs that both sets have."""
    found = []
    for c in a.ratios(suite, cell, metric):
        other = b.ratio(suite, cell, metric, c["server"], c["base"])
        pair = c["server"], c["base"]
        if other and (pair[1], pair[0]) not in [f[:2] for f in found]:
            found.append((*pair, c, other))
    return found


def disagree(one, two):
    """Both are decided, and say the opposite."""
    return decided(one) and decided(two) \
        and one["verdict"] != two["verdict"]


def agreement(a, b, cells):
    """The sentence that leads: how often the two sets agree."""
    both = against = open_ = 0
    for suite, cell in cells:
        for _, _, one, two in comparisons(a, b, suite, cell):
            if decided(one) and decided(two):
                both += 1
                against += disagree(one, two)
            else:
                open_ += 1
    if not both:
        return (f"No ratio of CPU time is decided in both sets; {open_} are "
                f"open in one at least.")
    return (f"Of {both} ratios of CPU time that both sets decide, "
            f"{both - against} agree on which server needs less and {against} "
            f"do not; {open_} more are open in one set at least.")


def ratio_figure(a, b, suite, cell):
    found = []
    for server, base, *two in comparisons(a, b, suite, cell):
        for letter, colour, c in zip(LETTERS, COLOURS, two):
            found.append(rows.Row(
                server, f"{letter}: {a.name(server)} / {a.name(base)}",
                colour, "circle" if letter == "A" else "square",
                [c["ratio"], c["low"], c["high"]], (),
                summaries.ratio_number(c["ratio"]), not decided(c)))
    if not found:
        return None
    against = [s for s, _, one, two in comparisons(a, b, suite, cell)
               if disagree(one, two)]
    title = f"{suite}, {cell_words(cell)}: the ratios of both sets"
    if against:
        title = (f"{suite}, {cell_words(cell)}: the sets disagree about "
                 + ", ".join(a.name(s) for s in dict.fromkeys(against)))
    return pictures.Figure(
        "ratios", title, "CPU time of a request, paired within each set. "
        "Hollow: the interval does not decide it.", suite, [cell],
        lambda width: rows.draw(found, "", width, base=1))


def table(a, b, suite, cell):
    """Absolute figures beside each other."""
    body = []
    for e in a.entries(suite, cell):
        other = b.entry(suite, cell, e["server"])
        if not other:
            continue
        line = [a.name(e["server"])]
        for metric, unit in (("cpu_us", "us"), ("qps", "/s"),
                             ("p99_us", "us")):
            for entry in (e, other):
                triple = entry["metrics"].get(metric)
                line.append(amount(triple[0], unit) if triple else "-")
        body.append(line)
    return summaries.table(
        ["server", "CPU, A", "CPU, B", "rate, A", "rate, B", "p99, A",
         "p99, B"], body)


# --- what the model says of each machine ----------------------------------

def predictions(data):
    """{(suite, cell as text, server): the model's line}; {} and the reason
    where the set has no prices or no counts."""
    try:
        found = model.predict(data.manifest, data.rows, data.summary)
    except model.Missing as err:
        return {}, str(err)
    return {(f["suite"], summaries.cell_text(f["cell"]), f["server"]): f
            for f in found}, None


def predicted_cell(both, suite, cell):
    """[(server, A's line or None, B's)] of the servers that one of them
    predicts."""
    where, found = (suite, summaries.cell_text(cell)), []
    servers = dict.fromkeys(key[2] for known in both for key in known
                            if key[:2] == where)
    for server in servers:
        found.append((server, *(known.get((*where, server))
                                for known in both)))
    return found


def prediction_table(a, lines):
    body = []
    for server, *two in lines:
        row = [a.name(server)]
        for f in two:
            row += ["-"] * 3 if f is None else [
                amount(f["measured_us"], "us"), amount(f["predicted_us"],
                                                       "us"),
                f"{f['error_pct']:+.0f} %"]
        body.append(row)
    return summaries.table(
        ["server", "A, measured", "A, predicted", "error", "B, measured",
         "B, predicted", "error"], body)


def prediction_figure(a, suite, cell, lines):
    """Measured, and hollow as the model predicts, on both machines."""
    found = []
    for server, *two in lines:
        for letter, colour, f in zip(LETTERS, COLOURS, two):
            if f is None:
                continue
            mark = "circle" if letter == "A" else "square"
            found.append(rows.Row(
                server, f"{letter}: {a.name(server)}", colour, mark,
                [f["measured_us"], None, None], (),
                amount(f["measured_us"], "us")))
            found.append(rows.Row(
                server, "predicted", colour, mark,
                [f["predicted_us"], None, None], (),
                f"{amount(f['predicted_us'], 'us')} "
                f"({f['error_pct']:+.0f} %)", True))
    errors = [abs(f["error_pct"]) for _, *two in lines for f in two if f]
    return pictures.Figure(
        "predicted", f"{suite}, {cell_words(cell)}: the model is at most "
        f"{max(errors):.0f} % off", "CPU time of a request; hollow: what the "
        "counts of each stage times the prices of its machine say.", suite,
        [cell], lambda width: rows.draw(found, "us", width))


PRICES = ("syscall", "context_switch", "wake_other", "line_transfer",
          "echo_calls", "echo_armed_1", "echo_armed_16", "copy_4096")


def price_table(a, b):
    """The prices that decide most, where both sets have a list."""
    lists = [(d.manifest["machine"].get("prices") or {}).get("prices")
             for d in (a, b)]
    if not all(lists):
        return None
    body = []
    for name in PRICES:
        one, two = ((known.get(name) or {}).get("ns") for known in lists)
        if one and two:
            body.append([name.replace("_", " "), f"{one:.0f}", f"{two:.0f}",
                         f"{two / one:.2f}"])
    return body and summaries.table(["price, ns", "A", "B", "B / A"], body)


def prediction_section(page, a, b, cells):
    """Figures and tables of what the model says, or why it says nothing."""
    both, text, drawn = [], "", []
    for letter, data in zip(LETTERS, (a, b)):
        known, why = predictions(data)
        both.append(known)
        if why:
            text += f"<p>{letter} has no prediction: {esc(why)}</p>"
    prices = price_table(a, b)
    if prices:
        text += pages.table_html(prices, "Prices of both machines")
    for number, (suite, cell) in enumerate(cells, 1):
        lines = predicted_cell(both, suite, cell)
        if not lines:
            continue
        figure = prediction_figure(a, suite, cell, lines)
        figure.name += f"-{number}"
        drawn.append(figure)
        text += pages.table_html(prediction_table(a, lines),
                                 f"{suite}, {summaries.cell_text(cell)}")
    page.section("model", "What the model says of each machine",
                 page.figures(a, drawn) + text)


def build(a, b):
    """The page of a comparison, or ResultError: nothing can be compared."""
    if a.manifest.get("set") and a.manifest["set"] == b.manifest.get("set") \
            or a.manifest == b.manifest:
        raise results.ResultError("--compare: both are the same set")
    cells = common_cells(a, b)
    if not cells:
        raise results.ResultError(
            f"--compare: the sets {a.manifest['name']} and "
            f"{b.manifest['name']} have no cell with a server in common")
    lead = f'<ol class="findings"><li>{esc(agreement(a, b, cells))}</li></ol>'
    lead += "".join(f'<p class="warn">{esc(w)}</p>' for w in warnings(a, b))
    for letter, data in zip(LETTERS, (a, b)):
        lead += (f"<p>{letter}: {esc(data.manifest['name'])}, "
                 f"{esc(pages.machine_line(data.manifest))} "
                 f"{esc(summaries.state_text(data.manifest, data.summary))}"
                 f"</p>")
    page = pages.Page("ioladder: two sets", "Two sets, side by side", lead,
                      [])
    drawn = []
    for number, (suite, cell) in enumerate(cells, 1):
        figure = ratio_figure(a, b, suite, cell)
        if figure:
            figure.name += f"-{number}"
            drawn.append(figure)
    page.section("ratios", "Ratios within each set",
                 page.figures(a, drawn))
    page.section("tables", "Absolute figures", "".join(
        pages.table_html(table(a, b, suite, cell),
                         f"{suite}, {summaries.cell_text(cell)}")
        for suite, cell in cells))
    prediction_section(page, a, b, cells)
    for letter, data in zip(LETTERS, (a, b)):
        page.section(f"machine-{letter}", f"The machine of {letter}",
                     pages.facts_html(data.manifest))
    return page
