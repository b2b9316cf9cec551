"""How sure a median is: an interval that assumes nothing of the distribution.

The median of n repetitions lies between the k-th smallest and the k-th largest with probability
1 - 2 P(Binomial(n, 1/2) < k). k is the largest that keeps 93.75 %, which n = 5 reaches with its
smallest and largest (k = 1).
"""

import math
from collections.abc import Sequence
from statistics import median

LEVEL = 0.9375
NARROW = 0.004
"""Half the interval's width over the median, below which a shape needs no more repetitions."""


def rank_of(n: int) -> int:
    """k of n repetitions; 0 where even the extremes do not reach the level (n below 5)."""
    outside, k = 0.0, 0
    while k < n / 2:
        outside += 2 * math.comb(n, k) / 2**n
        if outside > 1 - LEVEL + 1e-12:
            break
        k += 1
    return k


def half_width(seconds: Sequence[float]) -> float:
    """Half the interval's width over the median; infinite for too few repetitions."""
    k = rank_of(len(seconds))
    if k == 0:
        return math.inf
    ranked = sorted(seconds)
    return (ranked[-k] - ranked[k - 1]) / 2 / max(median(ranked), 1e-12)


def is_narrow(seconds: Sequence[float]) -> bool:
    """Whether more repetitions would hardly move the median."""
    return half_width(seconds) <= NARROW
