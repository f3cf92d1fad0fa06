"""What a set says in sentences, computed; nothing is claimed that an interval
does not decide.

Each finding is a function that gets the sets of a report and gives a sentence,
or "" where no set can say it.  The first three that speak lead the report:
which stage wins when, and what it costs.
"""

import summary as summaries

from sets import amount, cell_words, decided, fast

LEADING = 3


def listed(parts):
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 \
        else "".join(parts)


def span(c, number=summaries.ratio_number):
    return f"{number(c['low'])} to {number(c['high'])}"


def than(c, what, other):
    """"18 % less CPU time than stage 2 (16 to 20)" for a ratio of 0.82."""
    if c["ratio"] >= 2:
        return (f"{summaries.ratio_number(c['ratio'])} times the {what} of "
                f"{other} ({span(c)})")
    change = 100 * (c["ratio"] - 1)
    ends = sorted((abs(100 * (c["low"] - 1)), abs(100 * (c["high"] - 1))))
    return (f"{abs(change):.0f} % {'less' if change < 0 else 'more'} {what} "
            f"than {other} ({ends[0]:.0f} to {ends[1]:.0f})")


def number_of(server):
    """"stage 3" in the middle of a sentence; a peer by its name."""
    return f"stage {server[-1]}" if server.startswith("stage") \
        else summaries.NAMES.get(server, server)


def capital(text):
    """For the head of a title; "p99" stays as it is."""
    return text if text[1:2].isdigit() else text[:1].upper() + text[1:]


def best(data, suite, cell, metric):
    """The stages that none of the others is known to beat: a list, the best
    median first.  Less is better, but for a rate."""
    stages = [e for e in data.entries(suite, cell) if metric in e["metrics"]
              and not data.is_peer(e["server"])]
    if not stages:
        return []
    pick = max if metric == "qps" else min
    first = pick(stages, key=lambda e: e["metrics"][metric][0])["server"]
    return [first] + [e["server"] for e in stages if e["server"] != first
                      and not beaten(data, suite, cell, metric, e["server"],
                                     first)]


def beaten(data, suite, cell, metric, server, first):
    """`server` is known to be worse than `first`: by a pair of the table, or
    since their intervals do not touch."""
    worse = ("higher", "lower") if metric != "qps" else ("lower", "higher")
    for one, other, want in ((server, first, worse[0]),
                             (first, server, worse[1])):
        c = data.ratio(suite, cell, metric, one, other)
        if c:
            return c["verdict"] == want
    ours, theirs = (data.entry(suite, cell, s)["metrics"][metric]
                    for s in (server, first))
    if None in (*ours[1:], *theirs[1:]):
        return False
    return ours[2] < theirs[1] if metric == "qps" else ours[1] > theirs[2]


def cheapest(sets):
    """Which stage needs the least CPU time, at each handler."""
    for data in sets:
        head = data.headline()
        if not head or len(data.order) < 2:
            continue
        cells = [c for c in data.suites[data.lead]
                 if c.get("connections") == head.get("connections")]
        parts = []
        for cell in sorted(cells, key=lambda c: c.get("handler", 0)):
            first = best(data, data.lead, cell, "cpu_us")
            if not first:
                continue
            value = amount(data.entry(data.lead, cell, first[0])["metrics"]
                           ["cpu_us"][0], "us")
            where = f" with a handler of {cell['handler']} us" \
                if "handler" in cell else ""
            apart = ", not told apart" * (len(first) > 1)
            parts.append(f"{plain_names(first)}{where} ({value}{apart})")
        if parts:
            return (f"The least CPU time a request takes, at "
                    f"{head.get('connections', 64)} connections: "
                    + "; ".join(parts) + ".")
    return ""


def plain_names(servers):
    """"stages 3, 4 and 5" """
    stages = sorted(s[-1] for s in servers if s.startswith("stage"))
    if len(stages) != len(servers):
        return listed([number_of(s) for s in servers])
    return f"stage{'s'[:len(stages) > 1]} {listed(stages)}"


def names(servers):
    """"stages 3, 4 and 5 (not told apart)" """
    return plain_names(servers) + " (not told apart)" * (len(servers) > 1)


def uneven(sets):
    """What happens to short requests beside long ones, with the rival."""
    for data in sets:
        for cell in data.suites.get("show-sleep", ()):
            entries = data.entries("show-sleep", cell)
            metric = fast(entries, "p99")
            values = {e["server"]: e["metrics"][metric][0] for e in entries
                      if metric in e["metrics"]}
            c = data.ratio("show-sleep", cell, metric, "stage6", "stage5")
            if not c or not {"stage5", "stage6"} <= set(values):
                continue
            text = (f"When one request in 200 takes 100 times longer, p99 of "
                    f"the others is {amount(values['stage5'], 'us')} with "
                    f"stage 5 and {amount(values['stage6'], 'us')} with stage "
                    f"6")
            text += "" if decided(c) else ", which the interval does not " \
                "tell apart"
            pools = [s for s in values if "mutex" in s or "spmc" in s]
            if pools:
                rival = min(pools, key=values.get)
                text += (f"; stage 5 with a pool ({data.name(rival)}) has "
                         f"{amount(values[rival], 'us')}")
            return text + "."
    return ""


def stealing_costs(sets):
    """What stage 6 costs where there is nothing to steal."""
    for data in sets:
        for suite in (data.lead, "show-balanced", "scaling"):
            for cell in data.suites.get(suite, ()):
                c = data.ratio(suite, cell, "cpu_us", "stage6", "stage5")
                if decided(c) and (suite != data.lead
                                   or cell == data.headline()):
                    return (f"Where there is nothing to steal, stage 6 costs "
                            f"{than(c, 'CPU time', 'stage 5')}: "
                            f"{cell_words(cell)}.")
    return ""


def idle(sets):
    for data in sets:
        found = [s for s in data.summary["slopes"] if s["bytes"] > 0
                 and s["suite"] == "idle" and s["low"] is not None]
        found = found or [s for s in data.summary["slopes"]
                          if s["bytes"] > 0 and s["suite"] == "idle"]
        if len(found) > 1:
            low = min(found, key=lambda s: s["bytes"])
            high = max(found, key=lambda s: s["bytes"])
            return (f"An idle connection holds {amount(low['bytes'], 'B')} in "
                    f"{number_of(low['server'])} and "
                    f"{amount(high['bytes'], 'B')} in "
                    f"{number_of(high['server'])}.")
    return ""


def steps(sets):
    """What each step changed in the CPU time of a request."""
    for data in sets:
        head, parts = data.headline(), []
        if not head:
            continue
        for base, server in zip(data.order, data.order[1:]):
            c = data.ratio(data.lead, head, "cpu_us", server, base)
            if decided(c) and not data.is_peer(server):
                parts.append(f"{number_of(server)} needs "
                             + than(c, "CPU time",
                                    number_of(base)))
        if parts:
            return (f"CPU time of a request, {cell_words(head)}: "
                    f"{listed(parts)}.")
    return ""


def peers(sets):
    """The best stage beside the best peer."""
    for data in sets:
        head = data.headline()
        if not head:
            continue
        cells = [c for c in data.suites[data.lead] if any(
            data.is_peer(e["server"]) for e in data.entries(data.lead, c))]
        cells.sort(key=lambda c: c != head)
        for cell in cells[:1]:
            entries = [e for e in data.entries(data.lead, cell)
                       if "cpu_us" in e["metrics"]]
            two = {kind: min(
                (e for e in entries if data.is_peer(e["server"]) == kind),
                key=lambda e: e["metrics"]["cpu_us"][0], default=None)
                for kind in (True, False)}
            if None in two.values():
                continue
            ours, theirs = (two[k]["metrics"]["cpu_us"][0]
                            for k in (False, True))
            ends = [two[k]["metrics"]["cpu_us"] for k in (False, True)]
            apart = None not in (*ends[0], *ends[1]) and (
                ends[0][2] < ends[1][1] or ends[1][2] < ends[0][1])
            return (f"The cheapest stage ({number_of(two[False]['server'])}) "
                    f"needs {amount(ours, 'us')} of CPU time a request, the "
                    f"cheapest peer ({data.name(two[True]['server'])}) "
                    f"{amount(theirs, 'us')} ({cell_words(cell)}"
                    f"{'' if apart else '; not told apart'}).")
    return ""


def placed(sets):
    """Sets without a ladder: the paired ratios of their own question."""
    for data in sets:
        for suite, cells in data.suites.items():
            for cell in cells:
                found = [c for c in data.ratios(suite, cell, "cpu_us")
                         if decided(c)]
                if found:
                    c = max(found, key=lambda c: abs(c["ratio"] - 1))
                    return (f"{data.name(c['server'])} needs "
                            f"{than(c, 'CPU time', data.name(c['base']))}: "
                            f"{cell_words(cell)}.")
    return ""


FINDINGS = (cheapest, uneven, stealing_costs, idle, steps, peers, placed)


def leading(sets):
    found = []
    for finding in FINDINGS:
        text = finding(sets)
        if text:
            found.append(text)
    return found[:LEADING] or ["This set decides nothing: its figures are "
                               "below."]


def best_title(data, suite, cell, metric, unit, words):
    """The finding of a figure of one cell, or ""."""
    first = best(data, suite, cell, metric)
    others = [e for e in data.entries(suite, cell)
              if metric in e["metrics"] and not data.is_peer(e["server"])
              and e["server"] not in first]
    if not first or not others or len(first) > 3:
        return ""
    value = amount(data.entry(suite, cell, first[0])["metrics"][metric][0],
                   unit)
    return (f"{capital(names(first))}: the "
            f"{'most' if metric == 'qps' else 'lowest'} {words}, {value}")
