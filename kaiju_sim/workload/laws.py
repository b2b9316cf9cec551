"""Distributions as numbers and tables, drawn by one function in plain Python, numpy and compiled.

Constant, exponential and geometric laws are drawn exactly; the others by linear interpolation in a
table of 1024 steps of the quantile function, scaled so that the table's mean is the stated one.
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kaiju_sim import rng
from kaiju_sim.scenario.parts.laws import (
    Constant,
    Distribution,
    Exponential,
    Geometric,
    Lognormal,
    Quantiles,
    Uniform,
)

STEPS = 1024
CONSTANT, EXPONENTIAL, GEOMETRIC, TABLE = range(4)
Floats = NDArray[np.float64]


class Laws(NamedTuple):
    """Several distributions: kind and parameter of each, and its quantile table."""

    kind: NDArray[np.int64]
    value: Floats
    """Constant: the value. Exponential: the mean. Geometric: ln(1 - 1/mean)."""
    table: Floats
    """(laws, STEPS + 1) quantiles."""


def draw(laws: Laws, which: int, u: float) -> float:
    """The quantile of law `which` at u in (0, 1)."""
    kind = laws.kind[which]
    if kind == 0:
        return float(laws.value[which])
    if kind == 1:
        return float(-laws.value[which] * math.log(u))
    if kind == 2:
        return 1.0 + float(math.floor(math.log(u) / laws.value[which]))
    x = u * 1024.0
    i = int(x)
    low = laws.table[which, i]
    return float(low + (laws.table[which, i + 1] - low) * (x - i))


def draw_count(laws: Laws, which: int, u: float) -> int:
    """The same, rounded to a whole number."""
    return int(draw(laws, which, u) + 0.5)


def gamma(seed: int, who: int, shape: float) -> float:
    """A gamma variate of this shape and scale 1, exact but for the grid of the uniforms.

    Marsaglia and Tsang (2000): a cubed normal is accepted or drawn again (over 95 % are accepted);
    the k-th try has keys of its own. Below shape 1, a variate of shape + 1 times u^(1/shape).
    """
    boost = 1.0
    if shape < 1.0:
        boost = math.exp(math.log(rng.uniform(seed, rng.GAMMA, who, 3)) / shape)
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    k = 0
    while True:
        size = math.sqrt(-2.0 * math.log(rng.uniform(seed, rng.GAMMA, who, k)))
        x = size * math.cos(2.0 * math.pi * rng.uniform(seed, rng.GAMMA, who, k + 1))
        v = (1.0 + c * x) * (1.0 + c * x) * (1.0 + c * x)
        least = math.log(rng.uniform(seed, rng.GAMMA, who, k + 2))
        if v > 0.0 and least < 0.5 * x * x + d - d * v + d * math.log(v):
            return boost * d * v
        k += 4


def draws(laws: Laws, which: int, u: Floats) -> Floats:
    """`draw` on an array."""
    kind = laws.kind[which]
    if kind == CONSTANT:
        return np.full(u.shape, laws.value[which])
    if kind == EXPONENTIAL:
        return np.asarray(-laws.value[which] * np.log(u))
    if kind == GEOMETRIC:
        return np.asarray(1.0 + np.floor(np.log(u) / laws.value[which]))
    table = laws.table[which]
    x = u * STEPS
    i = x.astype(np.int64)
    low = table[i]
    return np.asarray(low + (table[i + 1] - low) * (x - i))


def table_mean(table: Floats) -> float:
    """Mean of the law that interpolates a quantile table."""
    return float((table[:-1] + table[1:]).mean() / 2)


def lognormal_table(law: Lognormal) -> Floats:
    """Quantiles of the cut log-normal, its mean restored by scaling the median."""
    normal = NormalDist()
    u = (np.arange(STEPS + 1) + 0.5) / (STEPS + 1)
    shape = np.exp(law.sigma * np.array([normal.inv_cdf(float(p)) for p in u]))
    high = math.inf if law.max is None else law.max
    median = law.mean * math.exp(-(law.sigma**2) / 2)
    for _ in range(60):
        table = np.clip(median * shape, law.min, high)
        median *= law.mean / table_mean(table)
    return table


def as_law(law: Distribution) -> tuple[int, float, Floats]:
    """Kind, parameter and table of one distribution."""
    nothing = np.zeros(STEPS + 1)
    grid = np.arange(STEPS + 1) / STEPS
    match law:
        case Constant():
            return CONSTANT, law.value, nothing
        case Exponential():
            return EXPONENTIAL, law.mean, nothing
        case Geometric():
            if law.mean == 1:
                return CONSTANT, 1.0, nothing
            return GEOMETRIC, math.log1p(-1 / law.mean), nothing
        case Lognormal():
            return TABLE, law.mean, lognormal_table(law)
        case Uniform():
            return TABLE, 0.0, law.min + (law.max - law.min) * grid
        case Quantiles():
            values = np.array(law.values)
            at = np.linspace(0.0, 1.0, values.size)
            return TABLE, 0.0, np.interp(grid, at, values)


def make_laws(distributions: Sequence[Distribution]) -> Laws:
    """The distributions, in order, as arrays."""
    rows = [as_law(d) for d in distributions]
    return Laws(
        kind=np.array([r[0] for r in rows], np.int64),
        value=np.array([r[1] for r in rows]),
        table=np.array([r[2] for r in rows]),
    )


def mean_of(law: Distribution) -> float:
    """Mean of a distribution as it is drawn."""
    kind, value, table = as_law(law)
    if kind == GEOMETRIC:
        return 1 / -math.expm1(value)
    return table_mean(table) if kind == TABLE else value


def size_biased(
    laws: Laws, which: int, u: Floats, weight_of: Callable[[Floats], Floats] | None = None
) -> Floats:
    """Draws of the law weighted by the value itself (the dialogue that one meets at random).

    Or by another weight of the value.
    """
    grid = draws(laws, which, (np.arange(65536) + 0.5) / 65536)
    order = np.sort(grid)
    weight = np.cumsum(order if weight_of is None else weight_of(order))
    if weight[-1] == 0:
        return np.zeros(u.shape)
    return np.asarray(order[np.searchsorted(weight, u * weight[-1])])
