"""A staircase: servers that stay up while the load goes up and down in steps.

All servers of a block are started together.  At each step they are loaded one
after the other, in a random order, so what is compared lies seconds apart; a
server that waits for its next step has nothing to do.  Each step has a
generator, and so connections, of its own.  A step is measured from its first
request on: what a change of the load costs is a part of it.

A request without an answer does not spoil a step here: it is a figure.
"""

import contextlib
import time
from collections import namedtuple

import slices
from servers import Failed, Skipped

Step = namedtuple("Step", "started args outcome before after died")


def unanswered(report):
    """Requests that failed, or that no answer came to."""
    return ((report.get("errors") or {}).get("total") or 0) \
        + (report.get("warmup_errors") or 0) + (report.get("unfinished") or 0)


class Climb:
    """One server, from its start through all steps to its end."""

    def __init__(self, rig, name, server, start):
        self.rig, self.name, self.server, self.start = rig, name, server, start
        self.run = self.ended = self.last = None
        self.steps = []

    def begin(self, stack):
        """Starts it; raises Failed or Skipped."""
        self.run = self.server.start(self.rig.server_cpus, **self.start)
        stack.callback(self.end)
        self.last = self.scrape()

    def end(self):
        self.ended = self.run.stop()

    def scrape(self):
        if self.server.kind == "stage" and self.start.get("app") == "http":
            return self.run.scrape()
        return None

    def step(self, args, seconds, warmup, seed):
        started, before = time.time(), self.last
        outcome = self.rig.load(self.run, args, seconds, warmup, seed)
        self.last = self.scrape()
        self.steps.append(Step(started, args, outcome, before, self.last,
                               self.run.proc.poll()))

    def rows(self, seconds):
        """The fields of a row for each step, after the end."""
        lost = 0
        for step in self.steps:
            moved = slices.counted(step.before, step.after)
            row = slices.row_of(
                self.rig, self.server, step.args, step.outcome, seconds, {
                    "started": step.started, "moved": moved,
                    "died": step.died, "ended": self.ended, "totals": None},
                errors_spoil=False)
            if row["metrics"]:
                lost += unanswered(step.outcome.report)
                row["metrics"].update(workers_of(moved, step.after), lost=lost)
            slices.judge_foreign(self.rig, step.args, row)
            self.rig.complete(row, step.outcome)
            yield row


def workers_of(moved, after):
    """How many workers run at the end of a step, and how often that changed
    in it; nothing of a server that does not say."""
    if moved is None or "active" not in after:
        return {}
    return {"active": after["active"],
            "changes": moved.get("grows", 0) + moved.get("shrinks", 0)}


def measure(rig, works, seconds, warmup, rng):
    """{name: [fields of the row of each step]}; works: [(name, server, start,
    [args of each step])], seconds: of a step."""
    climbs, failed = [], {}
    with contextlib.ExitStack() as stack:
        for name, server, start, steps in works:
            climb = Climb(rig, name, server, start)
            try:
                climb.begin(stack)
            except (Failed, Skipped) as err:
                failed[name] = [{"valid": False, "why": [str(err)],
                                 "metrics": {}, "started": time.time()}
                                for _ in steps]
            else:
                climbs.append((climb, steps))
        for number in range(len(works[0][3])):
            rng.shuffle(climbs)
            seed = rng.randrange(1, 1 << 30)    # the same arrivals for all
            for climb, steps in climbs:
                climb.step(steps[number], seconds, warmup, seed)
    return failed | {climb.name: list(climb.rows(seconds))
                     for climb, _ in climbs}
