"""What a figure depends on: a tornado, one assumption at a time, and Sobol indices, all together.

The tornado evaluates the figure with one value at the low end of its range, then at the high end,
all others as stated: it is exact for one change and says nothing of two. Sobol's indices divide the
variance over all ranges at once: *first* is what a value does by itself, *total* what it does with
all its interactions. Where the first ones add up to nearly 1, the tornado tells the whole story.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaiju_sim.economics.plan.forecast import triangular
from kaiju_sim.scenario.assumed import Assumed

Evaluate = Callable[[Mapping[str, float]], float]
EvaluateAll = Callable[[Mapping[str, float]], Sequence[float]]
"""Several figures at once."""
Floats = NDArray[np.float64]
BASE_DRAWS = 2048


@dataclass(frozen=True)
class Bar:
    """A figure at both ends of one range."""

    name: str
    low: float
    """End of the range."""
    high: float
    at_low: float
    """The figure there."""
    at_high: float

    @property
    def swing(self) -> float:
        """How far the two are apart."""
        return abs(self.at_high - self.at_low)


def tornado(evaluate: Evaluate, found: Mapping[str, Assumed]) -> list[Bar]:
    """One bar for each range, the longest first; ranges of no width have none."""
    stated = {name: item.value for name, item in found.items()}
    bars = [
        Bar(
            name,
            item.low,
            item.high,
            evaluate(stated | {name: item.low}),
            evaluate(stated | {name: item.high}),
        )
        for name, item in found.items()
        if item.low < item.high
    ]
    return sorted(bars, key=lambda bar: -bar.swing)


@dataclass(frozen=True)
class Index:
    """Shares of the variance of a figure."""

    name: str
    first: float
    """By this value alone."""
    total: float
    """With all its interactions."""


def sobol(
    evaluate: EvaluateAll,
    found: Mapping[str, Assumed],
    vary: Sequence[str],
    *,
    count: int = BASE_DRAWS,
    seed: int = 1,
) -> list[list[Index]]:
    """For each figure, indices of the ranges to vary, the largest total first.

    `count` x (ranges + 2) evaluations. Saltelli et al. (2010), Computer Physics Communications
    181, table 2: first order (b), total order (f, Jansen). All 0 where nothing varies. They are
    estimates: with 2,048 draws good to about 0.05.
    """
    stated = {name: item.value for name, item in found.items()}
    rng = np.random.Generator(np.random.PCG64(seed))
    one, two = (_sample(rng, found, vary, count) for _ in range(2))

    def of(rows: Floats) -> Floats:
        return np.array([evaluate(stated | dict(zip(vary, row, strict=True))) for row in rows])

    of_one, of_two = of(one), of(two)
    mixed = []
    for place in range(len(vary)):
        rows = one.copy()
        rows[:, place] = two[:, place]
        mixed.append(of(rows))
    return [
        _indices(vary, of_one[:, k], of_two[:, k], [m[:, k] for m in mixed])
        for k in range(of_one.shape[1])
    ]


def _indices(
    names: Sequence[str], one: Floats, two: Floats, mixed: Sequence[Floats]
) -> list[Index]:
    variance = float(np.var(np.concatenate([one, two])))
    found = [
        _index(name, one, two, both, variance) for name, both in zip(names, mixed, strict=True)
    ]
    return sorted(found, key=lambda index: -index.total)


def _index(name: str, one: Floats, two: Floats, mixed: Floats, variance: float) -> Index:
    if variance == 0:
        return Index(name, 0.0, 0.0)
    centred = two - two.mean()
    first = float(np.mean(centred * (mixed - one))) / variance
    return Index(name, first, float(np.mean((one - mixed) ** 2)) / (2.0 * variance))


def _sample(
    rng: np.random.Generator, found: Mapping[str, Assumed], names: Sequence[str], count: int
) -> Floats:
    """Latin hypercube rows of the ranges' triangular distributions."""
    columns = []
    for name in names:
        u = (rng.permutation(count) + rng.random(count)) / count
        columns.append(triangular(u, found[name]))
    return np.stack(columns, axis=1) if columns else np.zeros((count, 0))
