"""The arithmetic of the comparison: medians, pairs, exact intervals, Holm.

Why medians: one slice in ten on a shared machine is hit by a neighbour, and a
mean carries that slice into the answer.  Why pairs: the machine drifts within
minutes, but slices of one block lie seconds apart, so their ratio holds still
while both of them move.

Why order statistics: of n values, each lies above the true median with
probability 1/2, whatever their distribution.  So the number of those above it
is binomial, and the k-th lowest and k-th highest value hold the true median
between them with a probability that is known exactly:

    coverage(n, k) = 1 - 2 P(Binomial(n, 1/2) < k)

(W. J. Conover, Practical Nonparametric Statistics, section 3.2.)  A percentile
bootstrap of the same median covers 87.5 % for n = 7 where it says 95.

Why Holm: of twenty comparisons of equal servers, one lies outside its 95 %
interval by chance.  Within a table the smallest p-value is held against
alpha / m, the next against alpha / (m - 1), and so on until one fails
(S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979).
"""

from functools import lru_cache
from math import comb, fsum

LEVEL = 0.95

# What is not the same in two servers besides the servers (where the code lies
# in memory, which port it got) is a per cent or two, and does not average out
# within few starts.
SLIGHT_SHARE, SLIGHT_PAIRS = 0.05, 31

# With five pairs even the whole range from the lowest to the highest covers
# the true median only in 93.75 % of cases; with six it does in 96.9 %.
MIN_PAIRS = 6

LOWER, HIGHER = "lower", "higher"
SAME = "not distinguishable"           # the interval holds 1
MANY = "not after correction"          # it does not, but Holm's does
FEW = "too few pairs"
SLIGHT = "under 5 %: needs 31 blocks"
CLIENT = "limited by the generator"    # what it would have been, is unknown


def median(values):
    """The middle value, or the mean of the two middle ones."""
    if not values:
        raise ValueError("median of nothing")
    ordered = sorted(values)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2


def quantile(ordered, q):
    """The q-quantile of a sorted list, linear between neighbours."""
    if not ordered:
        raise ValueError("quantile of nothing")
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@lru_cache(maxsize=None)
def tail(n, k):
    """P(Binomial(n, 1/2) < k)"""
    return sum(comb(n, i) for i in range(k)) / 2 ** n


def coverage(n, k):
    """Of the interval from the k-th lowest to the k-th highest of n."""
    return 1 - 2 * tail(n, k)


@lru_cache(maxsize=None)
def order(n, level=LEVEL):
    """The largest k whose interval covers `level`; 0 when none does."""
    k = 0
    while coverage(n, k + 1) >= level and 2 * (k + 1) <= n:
        k += 1
    return k


def median_interval(values, level=LEVEL):
    """(median, low, high): an interval that holds the true median in at least
    `level` of cases.  low and high are None when there are too few values for
    any such interval (fewer than six for 95 %)."""
    mid, k = median(values), order(len(values), level)
    if k == 0:
        return mid, None, None
    ordered = sorted(values)
    return mid, ordered[k - 1], ordered[-k]


def sign_test(ratios):
    """Two-sided p-value that the true median is 1; a tie is no evidence.

    It is at most 0.05 exactly when the 95 % interval does not hold 1."""
    n = len(ratios)
    most = max(sum(r > 1 for r in ratios), sum(r < 1 for r in ratios))
    return min(1.0, 2 * tail(n, n - most + 1))


def paired_ratios(ours, theirs):
    """{block: value} twice -> the ratios of the blocks that both have."""
    both = sorted(set(ours) & set(theirs))
    return [ours[b] / theirs[b] for b in both
            if ours[b] is not None and theirs[b]]


def compare(ours, theirs):
    """One paired comparison, with a verdict in words, before Holm's correction.

    LOWER and HIGHER only where the interval of the median ratio lies wholly on
    one side of 1.  With too few pairs low and high are the whole range, and
    "coverage" is what that covers.
    """
    ratios = paired_ratios(ours, theirs)
    if not ratios:
        return None
    n = len(ratios)
    mid, low, high = median_interval(ratios)
    found = {"pairs": n, "ratio": mid, "low": low, "high": high,
             "coverage": coverage(n, order(n)), "p": sign_test(ratios)}
    if low is None:
        return {**found, "low": min(ratios), "high": max(ratios),
                "coverage": coverage(n, 1) if n > 1 else 0.0, "verdict": FEW}
    verdict = LOWER if high < 1 else HIGHER if low > 1 else SAME
    return {**found, "verdict": verdict}


def holm(p_values, alpha=1 - LEVEL):
    """[whether each holds] when all are looked at together."""
    ranked = sorted(range(len(p_values)), key=lambda i: p_values[i])
    holds = [False] * len(p_values)
    for rank, i in enumerate(ranked):
        if p_values[i] > alpha / (len(p_values) - rank):
            break
        holds[i] = True
    return holds


def correct(comparisons):
    """Changes the verdicts of one table that do not hold after Holm's
    correction, or claim a slight difference from few blocks.  Those with too
    few pairs were never tests."""
    tests = [c for c in comparisons if c and c["verdict"] != FEW]
    for c, holds in zip(tests, holm([c["p"] for c in tests])):
        if c["verdict"] not in (LOWER, HIGHER):
            continue
        if not holds:
            c["verdict"] = MANY
        elif abs(c["ratio"] - 1) < SLIGHT_SHARE and c["pairs"] < SLIGHT_PAIRS:
            c["verdict"] = SLIGHT


def least_blocks(comparisons):
    """So many blocks are needed before one of so many comparisons in a table
    can be decided at all."""
    n = MIN_PAIRS
    while 2 * tail(n, 1) > (1 - LEVEL) / max(1, comparisons):
        n += 1
    return n


def line_fit(points):
    """Least squares through [(x, y)]: (slope, intercept), or None when all x
    are the same."""
    n = len(points)
    if n < 2:
        return None
    mean_x = fsum(x for x, _ in points) / n
    mean_y = fsum(y for _, y in points) / n
    spread = fsum((x - mean_x) ** 2 for x, _ in points)
    if spread == 0:
        return None
    slope = fsum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return slope, mean_y - slope * mean_x
