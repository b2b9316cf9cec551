"""The points of a sweep as one table: what was set, what came out, who is on the front."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kaiju_sim.metrics.stats.replications import is_number
from kaiju_sim.report.glossary import ordered
from kaiju_sim.scenario.base import find_field, quantity_of
from kaiju_sim.scenario.loader import ROOT
from kaiju_sim.scenario.reading.reader import number_of
from kaiju_sim.sweep.front import broken, pareto
from kaiju_sim.sweep.run import Measured

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Row:
    """A point as it is shown."""

    number: int
    values: Mapping[str, str]
    status: str
    """done, or infeasible."""
    problem: str
    breaks: Sequence[str]
    """Objectives that it breaks."""
    on_front: bool
    summary: Mapping[str, Any]
    intervals: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The row for programs."""
        return {
            "point": self.number,
            "values": {path: plain(path, text) for path, text in self.values.items()},
            "status": self.status,
            "problem": self.problem or None,
            "breaks": list(self.breaks),
            "on_front": self.on_front,
            "summary": dict(self.summary),
            "intervals": dict(self.intervals),
        }


def make_rows(measured: Sequence[Measured]) -> list[Row]:
    """A row for each point, in order."""
    front = pareto([found.summary for found in measured])
    return [
        Row(
            found.point.number,
            found.point.values,
            "infeasible" if found.problem else "done",
            found.problem,
            broken(found.summary, found.point.scenario),
            on_front,
            found.summary,
            found.intervals,
        )
        for found, on_front in zip(measured, front, strict=True)
    ]


def plain(path: str, text: str) -> float | int | str:
    """A value as a number where it is one, quantities in SI, else its text."""
    field = find_field(ROOT, path.split("."))
    quantity = quantity_of(field)
    if quantity is not None:
        try:
            return quantity.parse(text.strip('"'))
        except ValueError:
            return text
    try:
        number = number_of(text)
    except ValueError:
        number = None
    return text if number is None else number


def as_table(rows: Sequence[Row]) -> "pa.Table":
    """One row per point: `point`, `set.PATH`, status, front, each figure, half widths."""
    import pyarrow as pa

    columns: dict[str, Any] = {"point": pa.array([row.number for row in rows], pa.int32())}
    for path in rows[0].values:
        columns[f"set.{path}"] = _column([plain(path, row.values[path]) for row in rows])
    columns |= {
        "status": pa.array([row.status for row in rows], pa.string()),
        "problem": pa.array([row.problem or None for row in rows], pa.string()),
        "breaks": pa.array([", ".join(row.breaks) for row in rows], pa.string()),
        "on_front": pa.array([row.on_front for row in rows], pa.bool_()),
    }
    for key in ordered({key: None for row in rows for key in row.summary}):
        columns[key] = _column([row.summary.get(key) for row in rows])
    for key in ordered({key: None for row in rows for key in row.intervals}):
        halves = [row.intervals.get(key, {}).get("half_width") for row in rows]
        columns[f"{key}.half_width"] = pa.array(halves, pa.float64())
    return pa.table(columns)


def parquet_bytes(rows: Sequence[Row]) -> bytes:
    """The table as a Parquet file; same rows, same bytes."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(as_table(rows), buffer, version="2.6", compression="zstd", store_schema=False)
    return buffer.getvalue()


def _column(values: Sequence[Any]) -> "pa.Array":
    """Numbers as float64, anything else as text."""
    import pyarrow as pa

    if all(value is None or is_number(value) for value in values):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())
