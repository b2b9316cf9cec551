"""How large steps are: batch size that grows with tokens seen, and the learning rate.

Early gradients agree with each other, so small batches learn as much from each token and take more
steps for it; later noise decides, and larger batches use the machine better. That Kaiju's batches
warm up is reported; the sizes are not.
"""

import math
from typing import NamedTuple

from kernels.common import checks


class BatchWarmup(NamedTuple):
    """Sequences of a batch, from `first` to `last`, doubling on the way at equal shares of
    `tokens`."""

    first: int
    last: int
    tokens: float

    def at(self, seen: float) -> int:
        """The batch size after so many tokens."""
        if seen >= self.tokens or self.last <= self.first:
            return self.last
        doublings = math.ceil(math.log2(self.last / self.first))
        done = math.floor(seen / self.tokens * doublings)
        return min(self.last, self.first << done)

    def rate(self, seen: float) -> float:
        """What the learning rate is multiplied by: a batch that is n times smaller has sqrt(n)
        times the noise."""
        return math.sqrt(self.at(seen) / self.last)


def batch_warmup(first: int, last: int, tokens: float) -> BatchWarmup:
    """The schedule, checked: raises ValueError."""
    checks.number("first", first, 1, last)
    checks.number("tokens", tokens, 0.0, 1e18)
    return BatchWarmup(first, last, tokens)


def learning_rate(step: int, steps: int, peak: float, *, warmup: int, last: float = 0.1) -> float:
    """Linear up to `peak` in `warmup` steps, then a cosine down to `last` of it at `steps`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * done)))
