"""Random draws of the design, all from one seeded generator."""

import math
from random import Random

SEED = 20261122
"""Of every list; the parts of the design add their own name to it."""


def generator(part: str, seed: int = SEED) -> Random:
    """A generator for one part of the design: no part's draws depend on another's."""
    return Random(f"{part}-{seed}")


def log_uniform(rng: Random, low: int, high: int) -> int:
    """A whole number from low to high, its logarithm uniform."""
    value = math.exp(rng.uniform(math.log(low), math.log(high + 1)))
    return min(max(int(value), low), high)


def near(rng: Random, scale: int, low: int, high: int, spread: float = 0.35) -> int:
    """A whole number near `scale`: its logarithm is normal with that standard deviation."""
    return min(max(round(scale * math.exp(rng.gauss(0.0, spread))), low), high)
