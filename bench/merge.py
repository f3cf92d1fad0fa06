"""The reports of several generators that ran at the same time, as one.

Histograms are merged cell by cell, as threads of one generator are (hist.h):
nothing is lost, and the percentiles are those that one generator would have
reported that had sent everything.  CPU, requests, rates and errors are sums.
No time of one machine is compared with that of another.
"""

import math

HALF, MAX_SHIFT = 1024, 32      # as in loadgen/hist.h
CELLS = HALF * (MAX_SHIFT + 2)
POINTS = (("p50", 50), ("p75", 75), ("p90", 90), ("p95", 95), ("p99", 99),
          ("p99.9", 99.9), ("p99.99", 99.99))
WORST = ("quota", "generator", "server", "none")


class Mismatch(ValueError):
    """Reports that do not belong together, or hold no histogram."""


class Hist:
    """A histogram of nanoseconds: hist.h in Python, for what is merged."""

    def __init__(self, found=None):
        """`found`: the object that the generator writes with --cells."""
        self.count = self.max = self.sum = 0
        self.min = None
        self.cells = {}
        if found is None:
            return
        flat = found["cells"]
        self.cells = dict(zip(flat[::2], flat[1::2]))
        self.count, self.sum = found["count"], found["sum"]
        if self.count:
            self.min, self.max = found["min"], found["max"]
        if sum(self.cells.values()) != self.count or len(flat) % 2:
            raise Mismatch("a histogram whose cells are not its count")

    def add(self, other):
        for cell, count in other.cells.items():
            self.cells[cell] = self.cells.get(cell, 0) + count
        self.count += other.count
        self.sum += other.sum
        if other.count:
            self.max = max(self.max, other.max)
            self.min = other.min if self.min is None \
                else min(self.min, other.min)

    def value(self, cell):
        """The highest value that a cell may hold, and that was seen."""
        shift = 0 if cell < 2 * HALF else cell // HALF - 1
        top = ((cell - HALF * shift + 1) << shift) - 1
        return self.max if cell == CELLS - 1 else min(top, self.max)

    def percentile(self, p):
        if not self.count:
            return 0
        rank = max(1, math.ceil(p / 100 * self.count - 1e-6))
        seen = 0
        for cell in sorted(self.cells):
            seen += self.cells[cell]
            if seen >= min(rank, self.count):
                return self.value(cell)
        return self.max

    def figures(self):
        """In microseconds, as in the generator's own report."""
        mean = self.sum / self.count if self.count else 0
        found = {"count": self.count, "mean": mean, "min": self.min or 0,
                 **{name: self.percentile(p) for name, p in POINTS},
                 "max": self.max}
        return {name: value if name == "count" else round(value / 1e3, 3)
                for name, value in found.items()}


def merged_hist(reports, name):
    whole = Hist()
    for report in reports:
        try:
            whole.add(Hist(report["histograms"][name]))
        except (KeyError, TypeError) as err:
            raise Mismatch(f"a report without histograms: {err}") from None
    return whole


def total(reports, *path):
    """The sum of a number that each report has."""
    found = 0
    for report in reports:
        for name in path:
            report = report.get(name) or 0
            if not report:
                break
        found += report
    return found


def sums(reports, name):
    """An object of numbers, added member by member."""
    found = {}
    for report in reports:
        for key, value in (report.get(name) or {}).items():
            if isinstance(value, (int, float)):
                found[key] = found.get(key, 0) + value
    return found


def mean_header(reports):
    requests = total(reports, "requests")
    return sum(r.get("header_bytes_mean", 0) * r.get("requests", 0)
               for r in reports) / requests if requests else 0


def client_cpu(reports):
    found = sums(reports, "client_cpu")
    parts = [r["client_cpu"] for r in reports]
    own = found["user_s"] + found["sys_s"] - found["spin_s"]
    requests = total(reports, "requests")
    found["per_request_us"] = own / requests * 1e6 if requests else 0
    found["busy"] = max(p["busy"] for p in parts)   # the busiest thread of all
    found["spins"] = all(p["spins"] for p in parts)
    return found


def limited_by(reports, server_busy):
    """The generator, if any of them was; the server's part is ours to say,
    since no generator saw it."""
    found = {r["limited_by"] for r in reports}
    if found & {"quota", "generator"}:
        return next(word for word in WORST if word in found)
    arrivals = total(reports, "arrivals")
    behind = arrivals and total(reports, "requests") < 0.99 * arrivals
    return "server" if behind or server_busy >= 0.9 else "none"


def merge(reports, server):
    """One report.  `server`: what its own machine saw of it in the window:
    {"total_s", "cpus", "status", "quota"}, see far_end.py."""
    first = reports[0]
    for report in reports[1:]:
        for name in ("schema", "mode", "app", "path", "pipeline", "close",
                     "engine"):
            if report.get(name) != first.get(name):
                raise Mismatch(f"the generators differ in {name}: "
                               f"{first.get(name)!r}, {report.get(name)!r}")
    requests, window = total(reports, "requests"), first["duration_s"]
    busy = server["total_s"] / window
    found = {name: first.get(name) for name in
             ("schema", "mode", "app", "path", "pipeline", "close", "engine",
              "seed", "duration_s")}
    found.update({name: total(reports, name) for name in
                  ("connections", "threads", "requests", "qps", "bytes_in",
                   "bytes_out", "connects", "warmup_errors", "abandoned",
                   "retried", "unfinished", "achieved_rate", "intended_rate",
                   "arrivals")})
    found["header_bytes_mean"] = mean_header(reports)
    found["errors"] = sums(reports, "errors")
    found["latency_us"] = merged_hist(reports, "latency").figures()
    if first.get("classes"):
        found["classes"] = [
            {"name": name, "latency_us": merged_hist(reports, name).figures()}
            for name in ("fast", "slow")]
    if first["mode"] == "open":
        for name in ("uncorrected", "lateness"):
            key = "lateness_us" if name == "lateness" \
                else "uncorrected_latency_us"
            found[key] = merged_hist(reports, name).figures()
    found["client_cpu"] = client_cpu(reports)
    found["server_cpu"] = {
        "total_s": server["total_s"], "busy": busy, "cpus": server["cpus"],
        "per_request_us": server["total_s"] / requests * 1e6 if requests
        else 0}
    found["server"] = server["status"]
    found["idle"] = sums(reports, "idle")
    if "opening_s" in found["idle"]:     # they open at the same time
        found["idle"]["opening_s"] = max(r["idle"]["opening_s"]
                                         for r in reports)
    found["quota"] = {
        "client": {name: total(reports, "quota", "client", name)
                   for name in ("throttled", "throttled_s")},
        "server": server["quota"]}
    found["interrupted"] = any(r.get("interrupted") for r in reports)
    found["limited_by"] = limited_by(
        reports, busy / server["cpus"] if server["cpus"] else 0)
    found["host"] = {"steal_pct": max(
        (r.get("host") or {}).get("steal_pct", 0) for r in reports)}
    return found
