"""Bills in the future and their spread: draws from every assumption's range.

A range [low, value, high] is taken as a triangular distribution. Draws are by Latin hypercube:
each assumption's range is cut into as many equal parts as there are draws, and every part is used
once. Seeded, so the same scenario gives the same figures.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaiju_sim.scenario.assumed import Assumed

Floats = NDArray[np.float64]
Evaluate = Callable[[Mapping[str, float]], float]
DRAWS = 1000
PERCENTILES = (10, 50, 90)


def triangular(u: Floats, item: Assumed) -> Floats:
    """Quantiles of the triangular distribution from low over value to high."""
    low, mode, high = item.low, item.value, item.high
    width = high - low
    if width == 0:
        return np.full_like(u, mode)
    left = low + np.sqrt(u * width * (mode - low))
    right = high - np.sqrt((1.0 - u) * width * (high - mode))
    return np.where(u < (mode - low) / width, left, right)


def draws(
    found: Mapping[str, Assumed], count: int = DRAWS, seed: int = 1
) -> list[dict[str, float]]:
    """Values of all assumptions together, so many times."""
    rng = np.random.Generator(np.random.PCG64(seed))
    columns = {}
    for name, item in found.items():
        u = (rng.permutation(count) + rng.random(count)) / count
        columns[name] = triangular(u, item)
    return [{name: float(column[i]) for name, column in columns.items()} for i in range(count)]


@dataclass(frozen=True)
class Spread:
    """A figure as stated, and its percentiles over the draws."""

    stated: float
    p10: float
    p50: float
    p90: float


def spread(stated: float, values: Sequence[float]) -> Spread:
    """The percentiles of some draws."""
    p10, p50, p90 = (float(p) for p in np.percentile(np.asarray(values), PERCENTILES))
    return Spread(stated, p10, p50, p90)


@dataclass(frozen=True)
class Ahead:
    """A month of the forecast."""

    month: int
    """0 is now."""
    messages_per_s: Spread
    gpus: Spread
    usd_per_month: Spread


@dataclass(frozen=True)
class Today:
    """What a forecast starts from, for one set of values."""

    messages_per_s: float
    gpus: float
    gpu_usd: float
    """A month's GPUs, at the prices of today."""
    fixed_usd: float
    """What does not grow: training."""
    other_usd: float
    """What grows with the messages."""
    growth: float
    """A month."""
    decline: float
    """Of GPU prices, a month."""


def ahead(today: Today, month: int) -> tuple[float, int, float]:
    """Messages/s, GPUs and bill after so many months: whole GPUs, at the prices of then."""
    scale = (1.0 + today.growth) ** month
    cheaper = (1.0 - today.decline) ** month
    gpus = int(np.ceil(today.gpus * scale - 1e-9))
    each = today.gpu_usd / today.gpus if today.gpus else 0.0
    usd = gpus * each * cheaper + today.other_usd * scale + today.fixed_usd
    return today.messages_per_s * scale, gpus, usd


def forecast(stated: Today, drawn: Sequence[Today], months: int) -> list[Ahead]:
    """Month by month, from now (0) on."""
    found = []
    for month in range(months + 1):
        here = ahead(stated, month)
        columns = list(zip(*(ahead(today, month) for today in drawn), strict=True))
        spreads = [spread(own, column) for own, column in zip(here, columns, strict=True)]
        found.append(Ahead(month, *spreads))
    return found
