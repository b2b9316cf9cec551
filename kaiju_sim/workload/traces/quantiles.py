"""From data to the quantile law of a scenario."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def quantile_law(data: NDArray[Any], knots: int, unit: str = "") -> dict[str, Any]:
    """The law, as written in YAML, that is piecewise linear between `knots` quantiles of the data.

    The first and last piece end where their mean is the data's, not at the smallest and largest
    value: between two knots a long tail would otherwise become a straight line to its end.
    """
    ranked = np.sort(np.asarray(data, dtype=np.float64))
    if ranked[0] == ranked[-1]:
        return {"kind": "constant", "value": _shown(ranked[0], unit)}
    # Few values stand for themselves: a line between two of them would be made-up data.
    at = np.linspace(0, 1, knots)
    few = len(ranked) < 2 * knots
    values = np.quantile(ranked, at, method="inverted_cdf") if few else np.quantile(ranked, at)
    above = ranked[math.ceil(len(ranked) * (knots - 2) / (knots - 1)) :]
    below = ranked[: len(ranked) // (knots - 1)]
    if len(above):
        values[-1] = np.clip(2 * above.mean() - values[-2], values[-2], ranked[-1])
    if len(below):
        values[0] = np.clip(2 * below.mean() - values[1], ranked[0], values[1])
    return {"kind": "quantiles", "values": [_shown(value, unit) for value in values]}


def _shown(value: float, unit: str) -> Any:
    """Four digits; whole numbers as such."""
    rounded = float(f"{value:.4g}") if value < 1e4 else float(round(value))
    number = int(rounded) if rounded == int(rounded) else rounded
    return f"{number}{unit}" if unit else number
