"""The Universal Scalability Law, fitted by least squares.

    throughput(n) = one * n / (1 + contention (n - 1) + crosstalk n (n - 1))

n / throughput is a parabola in n, so no search is needed.  A fit of three
parameters says nothing with three points or fewer: then there is none.

N. J. Gunther, Guerrilla Capacity Planning (2007), gives the law.  The interval
is a bootstrap of the relative residuals (B. Efron, 1979), each made larger by
sqrt(points / (points - parameters)), since a fit lies closer to its points than
the law does.  It holds if the law does and if the errors of the points are
alike and independent; no more is said.
"""

import random
from collections import namedtuple

MIN_POINTS = 4
DRAWS = 400
LEVEL = 0.95

Law = namedtuple("Law", "one contention crosstalk")


def solve(rows):
    """Gauss with pivots: [[coefficients..., right side], ...]; None where the
    rows do not determine the unknowns."""
    rows = [list(map(float, row)) for row in rows]
    size = len(rows)
    for i in range(size):
        pivot = max(range(i, size), key=lambda r: abs(rows[r][i]))
        if abs(rows[pivot][i]) < 1e-12 * max(map(abs, rows[pivot])):
            return None
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for r in range(i + 1, size):
            share = rows[r][i] / rows[i][i]
            rows[r] = [a - share * b for a, b in zip(rows[r], rows[i])]
    found = [0.0] * size
    for i in reversed(range(size)):
        rest = sum(rows[i][k] * found[k] for k in range(i + 1, size))
        found[i] = (rows[i][size] - rest) / rows[i][i]
    return found


def least_squares(terms, values):
    """The coefficients of terms (a row for each value) that fit best."""
    size = len(terms[0])
    return solve([[sum(t[i] * t[k] for t in terms) for k in range(size)]
                  + [sum(t[i] * v for t, v in zip(terms, values))]
                  for i in range(size)])


def fit(points):
    """Law through [(workers, requests a second)], or None.

    Neither cost can be negative: one that comes out so is taken as 0, and
    the rest fitted again.  Each equation is divided by its value, so that it
    is the relative error that is made small.
    """
    if len({n for n, _ in points}) < MIN_POINTS \
            or any(x <= 0 for _, x in points):
        return None
    kinds = [lambda n: 1.0, lambda n: n - 1.0, lambda n: n * (n - 1.0)]
    best = None
    for used in ((0, 1, 2), (0, 1), (0, 2), (0,)):
        terms = [[kinds[k](n) * x / n for k in used] for n, x in points]
        found = least_squares(terms, [1.0] * len(points))
        if not found or found[0] <= 0 or min(found) < 0:
            continue
        full = [0.0, 0.0, 0.0]
        for k, value in zip(used, found):
            full[k] = value
        law = Law(1 / full[0], full[1] / full[0], full[2] / full[0])
        error = sum((throughput(law, n) / x - 1) ** 2 for n, x in points)
        if best is None or error < best[0]:
            best = error, law
    return best and best[1]


def throughput(law, n):
    return law.one * n / (1 + law.contention * (n - 1)
                          + law.crosstalk * n * (n - 1))


def peak(law):
    """The number of workers with the most throughput; None: ever more."""
    if law.crosstalk <= 0:
        return None
    return max(1.0, (max(0.0, 1 - law.contention) / law.crosstalk) ** 0.5)


def _used(law):
    return 1 + (law.contention > 0) + (law.crosstalk > 0)


def _ends(values):
    """The middle LEVEL of them."""
    values = sorted(values)
    cut = int(len(values) * (1 - LEVEL) / 2)
    return values[cut], values[-1 - cut]


def interval(points, draws=DRAWS, seed=1):
    """(law, {"one", "contention", "crosstalk", "peak": (low, high)}), or None
    where there is no law.  A high peak of None: in one draw of forty or more
    the law has none.  The seed fixes all draws."""
    law = fit(points)
    if not law:
        return None
    free = len(points) - _used(law)
    wider = (len(points) / free) ** 0.5 if free > 0 else 1.0
    errors = [(x / throughput(law, n) - 1) * wider for n, x in points]
    rng, found = random.Random(seed), []
    while len(found) < draws:
        drawn = [(n, throughput(law, n) * max(0.05, 1 + errors[
            int(rng.random() * len(errors))])) for n, _ in points]
        other = fit(drawn)
        if other:
            found.append(other)
    ends = {name: _ends([getattr(f, name) for f in found])
            for name in Law._fields}
    peaks = [peak(f) or float("inf") for f in found]
    low, high = _ends(peaks)
    ends["peak"] = (None if low == float("inf") else low,
                    None if high == float("inf") else high)
    return law, ends


def words(points):
    """The law through points with its interval, in words."""
    found = interval(points)
    if not found:
        return f"not fitted: {len(points)} point{'s'[:len(points) != 1]}"
    law, ends = found
    top, (low, high) = peak(law), ends["peak"]
    text = (f"contention {law.contention:.4f} ({ends['contention'][0]:.4f} to "
            f"{ends['contention'][1]:.4f}), crosstalk {law.crosstalk:.2g} "
            f"({ends['crosstalk'][0]:.2g} to {ends['crosstalk'][1]:.2g}), ")
    if low is None:
        return text + "no peak"
    return (text + (f"most at {top:.0f} workers" if top else "no peak")
            + f" ({low:.0f} to " + (f"{high:.0f})" if high else "no peak)"))
