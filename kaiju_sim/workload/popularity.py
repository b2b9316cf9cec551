"""Character popularity: Zipf with a head cap, drawn exactly by the alias method.

Alias method: M. D. Vose, "A linear algorithm for generating random numbers with a given
distribution", 1991: one uniform draw picks a column and one of its two outcomes.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def zipf_shares(count: int, exponent: float, head_cap: float) -> Floats:
    """Shares of ranks 1..count proportional to rank^-exponent, none above `head_cap`.

    What the cap takes from the head is spread over the other ranks in proportion.
    """
    share = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    share /= share.sum()
    cap = max(head_cap, 1.0 / count)
    for _ in range(count):
        over = share > cap * (1 + 1e-12)
        if not over.any():
            break
        fixed = share >= cap * (1 - 1e-12)
        share[fixed] = cap
        rest = share[~fixed].sum()
        if rest > 0:
            share[~fixed] *= (1.0 - cap * fixed.sum()) / rest
    return share


def alias_table(share: Floats) -> tuple[Floats, NDArray[np.int32]]:
    """Threshold and alias of each column."""
    n = share.size
    scaled = (share * n).tolist()
    alias = list(range(n))
    small = [i for i, x in enumerate(scaled) if x < 1.0]
    large = [i for i, x in enumerate(scaled) if x >= 1.0]
    while small and large:
        low, high = small.pop(), large[-1]
        alias[low] = high
        scaled[high] -= 1.0 - scaled[low]
        if scaled[high] < 1.0:
            small.append(large.pop())
    for i in small + large:
        scaled[i] = 1.0
    return np.array(scaled), np.array(alias, np.int32)


def pick(threshold: Floats, alias: NDArray[np.int32], u: float) -> int:
    """The rank (from 0) that a uniform draw picks."""
    x = u * threshold.size
    i = int(x)
    return i if x - i < threshold[i] else int(alias[i])
