"""Burn rates of an error budget over two windows, when an alert fires, and how often in vain.

An alert fires at the end of a bin if the bad share over the long window and over the short one are
both at least `burn` times the budget (1 - target): Beyer et al., *The Site Reliability Workbook*,
2018, chapter 5. A window reaches back to the run's start at most. A window without messages does
not burn.
"""

import math
from collections.abc import Iterator

import numpy as np

from kaiju_sim.engine.layout import Arr
from kaiju_sim.metrics.stats.binomial import at_least

_NEGLIGIBLE = 1e-18


def bad_share(total: Arr, bad: Arr, bins: int) -> Arr:
    """Bad share over the last `bins` bins, at the end of each bin; 0 of nothing."""
    seen = over(total, bins)
    return np.divide(over(bad, bins), seen, out=np.zeros(total.size), where=seen > 0)


def over(values: Arr, bins: int) -> Arr:
    """Sums of the last `bins` values."""
    sums = np.concatenate([[0], np.cumsum(values)])
    return np.asarray(sums[1:] - sums[np.maximum(0, np.arange(values.size) + 1 - bins)])


def firing(total: Arr, bad: Arr, long: int, short: int, threshold: float) -> Arr:
    """Whether the alert fires at the end of each bin; windows in bins, threshold as a bad share."""
    least = threshold * (1 - 1e-12)
    return np.asarray(
        (bad_share(total, bad, long) >= least) & (bad_share(total, bad, short) >= least)
    )


def episodes(fires: Arr) -> int:
    """How often an alert begins to fire."""
    return int((fires & ~np.concatenate([[False], fires[:-1]])).sum())


def false_alarm(short: float, long: float, p: float, threshold: float) -> float:
    """Probability that an evaluation fires if each message is bad with probability p by itself.

    `short`, `long`: messages in the windows, the short one being the end of the long one. It is
    also the share of evaluations at which it fires in the long run, however they overlap.
    """
    n, rest = round(short), round(long) - round(short)
    if n < 1:
        return 0.0
    first, need = count_of(threshold, n), count_of(threshold, n + rest)
    total = 0.0
    for x, chance in counts_from(first, n, p):
        total += chance * at_least(need - x, rest, p)
    return min(1.0, total)


def count_of(threshold: float, n: int) -> int:
    """Fewest bad of n that reach the threshold."""
    return math.ceil(threshold * n - 1e-9)


def counts_from(first: int, n: int, p: float) -> Iterator[tuple[int, float]]:
    """Binomial counts from `first` on with their probabilities, until the rest is negligible."""
    if first > n or p <= 0:
        return
    if p >= 1:
        yield n, 1.0
        return
    odds = p / (1 - p)
    log = math.lgamma(n + 1) - math.lgamma(first + 1) - math.lgamma(n - first + 1)
    chance = math.exp(log + first * math.log(p) + (n - first) * math.log1p(-p))
    for x in range(first, n + 1):
        yield x, chance
        if chance < _NEGLIGIBLE and x > n * p:
            return
        chance *= odds * (n - x) / (x + 1)
