"""What several figures rest on: each assumed value at both ends of its range, one at a time.

A tornado of many figures at once, for what is not a run's money: eval gates, the safety gate.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kaiju_sim.scenario.assumed import Assumed

Figures = Mapping[str, float | None]
"""Figures by name; None where there is none (a queue that grows without end)."""
Evaluate = Callable[[Mapping[str, float]], Figures]
"""Figures for a number for each assumption."""
Row = dict[str, Any]


def rows_of(prefix: str, found: Mapping[str, Assumed], evaluate: Evaluate) -> list[Row]:
    """A row for each range that has a width: its ends, grade and source, the figures at both.

    `prefix`: what stands before the names in the rows ("evals.persona.").
    """
    stated = {name: item.value for name, item in found.items()}
    return [
        {
            "assumed": f"{prefix}{name}",
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


def _ends(figures: Figures, end: str) -> dict[str, float | None]:
    return {f"{name}_at_{end}": value for name, value in figures.items()}


def widest_first(rows: Sequence[Row], figure: str) -> list[Row]:
    """Rows by how far the figure's two ends are apart; one that has no end comes first."""
    return sorted(rows, key=lambda row: -_width(row, figure))


def _width(row: Row, figure: str) -> float:
    low, high = row[f"{figure}_at_low"], row[f"{figure}_at_high"]
    if low is None or high is None:
        return 0.0 if low is high else float("inf")
    return abs(float(high) - float(low))


def tornados(
    found: Mapping[str, Assumed], evaluate: Evaluate, figures: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """For each figure: as stated, and the assumptions that move it, the widest first."""
    rows = rows_of("", found, evaluate)
    stated = evaluate({name: item.value for name, item in found.items()})
    return {
        name: {
            "stated": stated[name],
            "tornado": [_bar(row, name) for row in widest_first(rows, name) if _moves(row, name)],
        }
        for name in figures
    }


def _moves(row: Row, figure: str) -> bool:
    return bool(row[f"{figure}_at_low"] != row[f"{figure}_at_high"])


def _bar(row: Row, figure: str) -> Row:
    ends = {f"at_{end}": row[f"{figure}_at_{end}"] for end in ("low", "high")}
    return {"name": row["assumed"], "low": row["low"], "high": row["high"], **ends}
