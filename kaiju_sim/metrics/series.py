"""Time series of the fleet, of its cells and of their shards, from the ticks of the replicas.

A cell that has finished its last message is idle from then on; the last tick, which may be shorter
in one cell than in another, ends with the cell that finished last.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kaiju_sim.engine.layout import Arr
from kaiju_sim.metrics.result import SERIES_COLUMNS, table_schema

if TYPE_CHECKING:
    import pyarrow as pa

Columns = dict[str, Arr]
LEVELS = FLEET, CELL, SHARD = "fleet", "cell", "shard"

SUMMED = (
    "waiting",
    "prefilling",
    "running",
    "kv_global_used",
    "kv_global_blocks",
    "kv_local_used",
    "kv_local_windows",
    "busy_s",
    "steps",
    "arrived",
    "completed",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
)


class Ticks:
    """The rows of all replicas and ticks of a run, to be added up by tick and part of the fleet."""

    def __init__(self, cells: Sequence[Any], tick_s: float) -> None:
        self.rows = [(c.cell, row) for c in cells for row in c.ticks]
        ends = np.array([row["time_s"][0] for _, row in self.rows])
        place = np.ceil(ends / tick_s - 1e-6).astype(np.int64) - 1
        self.count = int(place.max()) + 1 if place.size else 0
        self.tick_of_row = place
        self.time_s = np.zeros(self.count)
        np.maximum.at(self.time_s, place, ends)
        self.tick_s = np.diff(self.time_s, prepend=0.0)

    def summed(self, parts: int, part_of: Any) -> Columns:
        """Each column by (tick, part); `part_of(cell, replicas)`: the part of each replica."""
        keys = [
            tick * parts + part_of(cell, row["replica"])
            for tick, (cell, row) in zip(self.tick_of_row, self.rows, strict=True)
        ]
        key = np.concatenate(keys) if keys else np.zeros(0, np.int64)
        found = {name: self._grid(key, parts, name) for name in SUMMED}
        found["replicas"] = self._present(key, parts)
        return found

    def _grid(self, key: Arr, parts: int, name: str) -> Arr:
        values = [row[name] for _, row in self.rows]
        weights = np.concatenate(values) if values else np.zeros(0)
        return np.bincount(key, weights, self.count * parts).reshape(self.count, parts)

    def _present(self, key: Arr, parts: int) -> Arr:
        """Replicas of each part: as many as ever reported in one tick."""
        seen = np.bincount(key, minlength=self.count * parts).reshape(self.count, parts)
        most = seen.max(axis=0) if self.count else np.zeros(parts, np.int64)
        return np.broadcast_to(most, seen.shape)

    def central(self, cells: int) -> Arr:
        """Messages in each cell's central queue, by (tick, cell)."""
        grid = np.zeros((self.count, cells), np.int64)
        for tick, (cell, row) in zip(self.tick_of_row, self.rows, strict=True):
            grid[tick, cell] = row["central"]
        return grid


def fleet_columns(cells: Sequence[Any], tick_s: float) -> tuple[Arr, Columns]:
    """End of each tick, and each column's sum over the fleet."""
    ticks = Ticks(cells, tick_s)
    sums = ticks.summed(1, lambda cell, replicas: np.zeros(replicas.size, np.int64))
    sums["waiting"] += ticks.central(len(cells)).sum(axis=1, keepdims=True)
    return ticks.time_s, {name: values[:, 0] for name, values in sums.items()}


def divided(part: Arr, whole: Arr) -> Arr:
    """part / whole, NaN where the whole is 0."""
    out = np.full(part.shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def shown(sums: Columns, tick_s: Arr) -> Columns:
    """The columns of series.parquet from sums by (tick, part)."""
    length = tick_s[:, None]
    return {
        "replicas": sums["replicas"],
        "arrived_per_s": sums["arrived"] / length,
        "completed_per_s": sums["completed"] / length,
        "prompt_tokens_per_s": sums["prompt_tokens"] / length,
        "output_tokens_per_s": sums["output_tokens"] / length,
        "waiting": sums["waiting"],
        "prefilling": sums["prefilling"],
        "running": sums["running"],
        "kv_global_utilisation": divided(sums["kv_global_used"], sums["kv_global_blocks"]),
        "kv_local_utilisation": divided(sums["kv_local_used"], sums["kv_local_windows"]),
        "prefix_hit_rate": divided(sums["cached_tokens"], sums["prompt_tokens"]),
        "busy": divided(sums["busy_s"], length * sums["replicas"]),
        "steps": sums["steps"],
    }


def levels(
    cells: Sequence[Any], ticks: Ticks, shard_replicas: int
) -> Iterator[tuple[str, Arr, Arr, Columns]]:
    """Level, cell and shard of each part (-1: all), and the sums of each level."""
    per_cell = max((row["replica"].size for _, row in ticks.rows), default=0) // shard_replicas
    central = ticks.central(len(cells))
    everything = ticks.summed(1, lambda cell, replicas: 0 * replicas)
    everything["waiting"] += central.sum(axis=1, keepdims=True)
    none = np.full(1, -1)
    yield FLEET, none, none, everything
    by_cell = ticks.summed(len(cells), lambda cell, replicas: 0 * replicas + cell)
    by_cell["waiting"] += central
    index = np.arange(len(cells))
    yield CELL, index, np.full(index.size, -1), by_cell
    parts = per_cell * len(cells)
    by_shard = ticks.summed(
        parts, lambda cell, replicas: cell * per_cell + replicas // shard_replicas
    )
    yield SHARD, np.arange(parts) // max(per_cell, 1), np.arange(parts), by_shard


def series_table(cells: Sequence[Any], tick_s: float, shard_replicas: int) -> "pa.Table":
    """One row per tick and part of the fleet: the whole, each cell, each shard."""
    import pyarrow as pa

    schema = table_schema(SERIES_COLUMNS)
    ticks = Ticks(cells, tick_s)
    if ticks.count == 0:
        return schema.empty_table()
    found: dict[str, list[Arr]] = {name: [] for name in schema.names}
    for level, cell, shard, sums in levels(cells, ticks, shard_replicas):
        size = (ticks.count, cell.size)
        columns = shown(sums, ticks.tick_s) | {
            "replication": np.zeros(size, np.int32),
            "time_s": np.broadcast_to(ticks.time_s[:, None], size),
            "level": np.full(size, LEVELS.index(level)),
            "cell": np.broadcast_to(cell, size),
            "shard": np.broadcast_to(shard, size),
        }
        for name, values in columns.items():
            found[name].append(values.ravel())
    merged = {name: np.concatenate(parts) for name, parts in found.items()}
    order = np.lexsort((merged["shard"], merged["cell"], merged["level"], merged["time_s"]))
    arrays = [column(merged[f.name][order], f) for f in schema]
    return pa.table(arrays, schema)


def column(values: Arr, field: Any) -> "pa.Array":
    """One column: NaN and -1 (no such part) as null, levels by name."""
    import pyarrow as pa

    if field.name == "level":
        return pa.array(np.array(LEVELS, object)[values], pa.string())
    none = np.isnan(values) if values.dtype.kind == "f" else values < 0
    return pa.array(values, mask=none).cast(field.type)
