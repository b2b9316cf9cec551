"""What a gate's figures rest on: each assumed value at both ends of its range, one at a time.

A tornado of several figures at once: exact for one change, and silent about two together.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kaiju_sim.scenario.assumed import Assumed

Figures = Mapping[str, float]
Evaluate = Callable[[Mapping[str, float]], Figures]
"""Figures of a gate, by name, for a number for each assumption."""
Row = dict[str, Any]


def rows_of(prefix: str, found: Mapping[str, Assumed], evaluate: Evaluate) -> list[Row]:
    """A row for each range that has a width: its ends, grade and source, the figures at both.

    `prefix`: the scenario's path to the names of `found`.
    """
    stated = {name: item.value for name, item in found.items()}
    return [
        {
            "assumed": f"{prefix}.{name}",
            "grade": item.grade,
            "source": item.source,
            "low": item.low,
            "high": item.high,
            **_ends(evaluate(stated | {name: item.low}), "low"),
            **_ends(evaluate(stated | {name: item.high}), "high"),
        }
        for name, item in found.items()
        if item.low < item.high
    ]


def _ends(figures: Figures, end: str) -> dict[str, float]:
    return {f"{name}_at_{end}": value for name, value in figures.items()}


def widest_first(rows: list[Row], figure: str) -> list[Row]:
    """Rows by how far the figure's two ends are apart."""
    return sorted(rows, key=lambda row: -abs(row[f"{figure}_at_high"] - row[f"{figure}_at_low"]))


def with_values(found: Mapping[str, Assumed], values: Mapping[str, float]) -> dict[str, Assumed]:
    """The assumptions with these values in place of their own; ranges stay."""
    return {name: item.model_copy(update={"value": values[name]}) for name, item in found.items()}
