"""The table of errors, with the spread of repeated runs beside each."""

from collections.abc import Mapping, Sequence
from typing import Any

from calibrate.fidelity.compare.figures import Figures

Row = dict[str, Any]


def rows_of(
    recipe: Mapping[str, Any], measured: Sequence[Figures], simulated: Sequence[Figures]
) -> list[Row]:
    """A row for each metric and statistic that all runs and simulations have: the mean of the runs
    against the mean of their simulations (which differ only if the engines did)."""
    keys = [key for key in simulated[0] if all(key in one for one in (*measured, *simulated))]
    return [
        _row(recipe, key, [one[key] for one in measured], _mean([one[key] for one in simulated]))
        for key in keys
    ]


def _mean(values: Sequence[float]) -> float:
    """Of equal values that very value."""
    return values[0] if len(set(values)) == 1 else sum(values) / len(values)


def _row(
    recipe: Mapping[str, Any], key: tuple[str, str], values: Sequence[float], simulated: float
) -> Row:
    mean = _mean(values)
    spread = (max(values) - min(values)) / mean if len(values) > 1 and mean else None
    return {
        "workload": recipe["name"], "load": recipe["load"], "metric": key[0], "statistic": key[1],
        "measured": mean, "simulated": simulated,
        "rel_error": simulated / mean - 1 if mean else None, "repeat_spread": spread,
        "runs": list(values),
    }  # fmt: skip
