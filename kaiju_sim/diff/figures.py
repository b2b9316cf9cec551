"""Differences of figures with their intervals, and which of them are more than noise.

Where the seeds agree, replication i of both sides has the same users (common random numbers), and
the differences are taken pair by pair; else the two are independent (Welch 1947). Of some sixty
figures three would leave a 95 % interval by chance: which differences count is decided for all
together, so that of those called a difference at most one in twenty is none in the mean (Benjamini
and Hochberg 1995, J. R. Stat. Soc. B 57).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Any, Final, Literal

from kaiju_sim.diff.sides import Side
from kaiju_sim.metrics.stats.intervals import CONFIDENCE, paired_difference, t_cdf, t_quantile
from kaiju_sim.metrics.stats.replications import is_number
from kaiju_sim.report.glossary import METRICS, Metric

FALSE_SHARE: Final = 1.0 - CONFIDENCE
"""Share of what is called a difference that may be none."""
Pairing = Literal["paired", "independent", "single"]
Verdict = Literal["equal", "no difference", "higher", "lower", "changed", "not known"]
_NOT_FIGURES: Final = ("run.replications", "results.sample_share", "quantile_rel_error")


@dataclass(frozen=True)
class Delta:
    """A figure on both sides, and how far apart it is."""

    metric: Metric
    a: Any
    b: Any
    delta: float | None
    """b - a, mean over the replications."""
    half_width: float | None
    """Of its 95 % interval; None with one replication a side."""
    p: float | None
    """Chance of such a difference, or a larger one, between equals."""
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """The row for programs."""
        known = self.delta is not None and self.half_width is not None
        return {
            "key": self.metric.key,
            "unit": self.metric.unit,
            "a": self.a,
            "b": self.b,
            "delta": self.delta,
            "low": (self.delta or 0.0) - (self.half_width or 0.0) if known else None,
            "high": (self.delta or 0.0) + (self.half_width or 0.0) if known else None,
            "p": self.p,
            "verdict": self.verdict,
        }


def pairing(a: Side, b: Side) -> Pairing:
    """How the replications of two sides belong together."""
    count = min(len(a.seeds), len(b.seeds))
    if count < 2:
        return "single"
    return "paired" if list(a.seeds[:count]) == list(b.seeds[:count]) else "independent"


def deltas(a: Side, b: Side) -> list[Delta]:
    """Every figure that a side has, in the glossary's order, with a verdict."""
    how = pairing(a, b)
    found = [
        _delta(metric, a, b, how)
        for metric in METRICS
        if metric.key in a.summary or metric.key in b.summary
        if metric.key not in _NOT_FIGURES
    ]
    most = _threshold([row.p for row in found if row.p is not None])
    coarse = max(float(side.summary.get("quantile_rel_error") or 0.0) for side in (a, b))
    return [_judged(row, most, coarse) for row in found]


def _delta(metric: Metric, a: Side, b: Side, how: Pairing) -> Delta:
    """One figure; its verdict is final where it needs no interval."""
    x, y = a.summary.get(metric.key), b.summary.get(metric.key)
    if not (is_number(x) and is_number(y)):
        return Delta(metric, x, y, None, None, None, _of_others(x, y))
    many_a, many_b = _all_known(a.values.get(metric.key)), _all_known(b.values.get(metric.key))
    if how == "single" or many_a is None or many_b is None:
        verdict: Verdict = "equal" if x == y else "not known"
        return Delta(metric, x, y, float(y or 0) - float(x or 0), None, None, verdict)
    mean, half, p = _difference(many_a, many_b, how)
    same = half == 0.0 and mean == 0.0
    return Delta(metric, x, y, mean, half, p, "equal" if same else "no difference")


def _of_others(x: Any, y: Any) -> Verdict:
    """Texts are the same or not; a figure against none says nothing of noise."""
    if x == y:
        return "equal"
    return "changed" if isinstance(x, str) and isinstance(y, str) else "not known"


def _all_known(values: Sequence[float | None] | None) -> list[float] | None:
    """The values, if every replication has one."""
    known = [float(value) for value in values or () if value is not None]
    return known if values is not None and len(known) == len(values) else None


def _difference(x: Sequence[float], y: Sequence[float], how: Pairing) -> tuple[float, float, float]:
    """Mean of y - x, half the width of its interval, and p."""
    if how == "paired":
        count = min(len(x), len(y))
        found = paired_difference(x[:count], y[:count])
        return found.mean, found.half_width, _chance(found.mean, found.half_width, count - 1)
    return welch(x, y)


def welch(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Mean of y - x of independent values, half its 95 % interval, p (Welch 1947).

    The degrees of freedom are rounded down: the interval is a little too wide.
    """
    vx, vy = variance(x) / len(x), variance(y) / len(y)
    mean = fmean(y) - fmean(x)
    if vx + vy == 0.0:
        return mean, 0.0, _chance(mean, 0.0, 1)
    dof = (vx + vy) ** 2 / (vx**2 / (len(x) - 1) + vy**2 / (len(y) - 1))
    whole = max(1, math.floor(dof + 1e-9))
    half = t_quantile((1 + CONFIDENCE) / 2, whole) * math.sqrt(vx + vy)
    return mean, half, _chance(mean, half, whole)


def _chance(mean: float, half_width: float, dof: int) -> float:
    """Two-sided p of a mean whose 95 % interval has this half width."""
    if half_width == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    t = abs(mean) / half_width * t_quantile((1 + CONFIDENCE) / 2, dof)
    return 2.0 * (1.0 - t_cdf(t, dof))


def _threshold(chances: Sequence[float]) -> float:
    """The largest p that still counts as a difference (Benjamini and Hochberg's step up)."""
    ranked = sorted(chances)
    kept = [p for i, p in enumerate(ranked, 1) if p <= FALSE_SHARE * i / len(ranked)]
    return max(kept, default=-1.0)


def _judged(row: Delta, most: float, coarse: float) -> Delta:
    """The row with its verdict; what is within the sketch's resolution is no difference."""
    if row.p is None or row.verdict == "equal" or row.p > most or row.delta is None:
        return row
    statistic = row.metric.key.rpartition(".")[2]
    quantile = statistic[:1] == "p" and statistic[1:].isdigit()
    if quantile and abs(row.delta) <= coarse * max(abs(row.a), abs(row.b)):
        return row
    verdict: Verdict = "higher" if row.delta > 0 else "lower"
    return Delta(row.metric, row.a, row.b, row.delta, row.half_width, row.p, verdict)
