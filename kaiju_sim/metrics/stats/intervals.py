"""Confidence intervals over independent replications, and of the difference of paired ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, fmean, stdev
from typing import Any

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """Mean of independent values and half the width of its 95 % Student-t interval."""

    mean: float
    half_width: float
    values: tuple[float, ...]

    @property
    def low(self) -> float:
        """Lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper end."""
        return self.mean + self.half_width


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval of at least two independent values (Student 1908)."""
    n = len(values)
    if n < 2:
        raise ValueError("an interval needs two values or more")
    spread = 0.0 if min(values) == max(values) else stdev(values)
    width = t_quantile((1 + CONFIDENCE) / 2, n - 1) * spread / math.sqrt(n)
    mean = values[0] if spread == 0 else fmean(values)
    return Interval(mean, width, tuple(values))


def paired_difference(a: Sequence[float], b: Sequence[float]) -> Interval:
    """Mean of b - a and its interval, replication by replication.

    Replication i of two scenarios with one seed has the same users (common random numbers), so what
    these do to both cancels: the interval is narrower than that of independent runs, as far as the
    two are correlated.
    """
    if len(a) != len(b):
        raise ValueError(f"pairs need as many replications on each side: {len(a)} and {len(b)}")
    return interval([y - x for x, y in zip(a, b, strict=True)])


def as_json(values: Sequence[float | None]) -> dict[str, Any]:
    """One figure's entry of intervals.json; null in any replication is null in all but `values`."""
    known = [value for value in values if value is not None]
    found = interval(known) if len(known) == len(values) else None
    return {
        "mean": found and found.mean,
        "low": found and found.low,
        "high": found and found.high,
        "half_width": found and found.half_width,
        "nulls": len(values) - len(known),
        "values": list(values),
    }


@cache
def t_quantile(p: float, dof: int) -> float:
    """The p-quantile (0.5 <= p < 1) of Student's t with a whole number of degrees of freedom.

    Newton's method on the distribution function, which is a finite sum. Good to 1e-9 of its value
    for p up to 0.9999 (tested against SciPy).
    """
    if dof == 1:
        return math.tan(math.pi * (p - 0.5))
    t = NormalDist().inv_cdf(p)  # below the quantile, where the function is concave: no overshoot
    for _ in range(200):
        step = (p - t_cdf(t, dof)) / t_density(t, dof)
        t += step
        if abs(step) <= 1e-13 * max(t, 1e-3):
            break
    return t


def t_cdf(t: float, dof: int) -> float:
    """Distribution function of Student's t for t >= 0 (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(dof))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = dof % 2
    term = total = 0.0
    if dof > 1:
        term = total = cosine if odd else 1.0
    for k in range(2 + odd, dof, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + inside / 2


def t_density(t: float, dof: int) -> float:
    """Density of Student's t."""
    log = math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2) - 0.5 * math.log(dof * math.pi)
    return math.exp(log - (dof + 1) / 2 * math.log1p(t * t / dof))
