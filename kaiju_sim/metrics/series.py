"""Time series of the fleet, of its cells and of their shards, from the ticks of the replicas.

A cell that has finished its last message is idle from then on; the last tick, which may be shorter
in one cell than in another, ends with the cell that finished last.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kaiju_sim.engine.layout import Arr
from kaiju_sim.metrics.result import SERIES_COLUMNS, table_schema

if TYPE_CHECKING:
    import pyarrow as pa

Columns = dict[str, Arr]
LEVELS = ("fleet", "cell", "shard")


class Ticks:
    """The ticks of all replicas of a run, to be added up by tick and part of the fleet.

    Shards are added up from the replicas, cells from their shards, the fleet from its cells.
    """

    def __init__(self, cells: Sequence[Any], tick_s: float, shard_replicas: int) -> None:
        self.cells = len(cells)
        self.rows = [c.ticks for c in cells]
        ends = [np.array([row["time_s"][0] for row in rows]) for rows in self.rows]
        self.place = [np.ceil(at / tick_s - 1e-6).astype(np.int64) - 1 for at in ends]
        self.count = max((int(at.max()) + 1 for at in self.place if at.size), default=0)
        self.time_s = np.zeros(self.count)
        for place, at in zip(self.place, ends, strict=True):
            np.maximum.at(self.time_s, place, at)
        self.tick_s = np.diff(self.time_s, prepend=0.0)
        self.per_cell = cells[0].states["replicas"].size // shard_replicas
        self.shard_replicas = shard_replicas
        pairs = zip(self.place, self.rows, strict=True)
        self.keys = [self._keys(place, rows) for place, rows in pairs]

    def _keys(self, place: Arr, rows: Sequence[Columns]) -> Arr:
        """Tick and shard of each replica of each row of a cell, as one number."""
        ticks = zip(place, rows, strict=True)
        keys = [at * self.per_cell + row["replica"] // self.shard_replicas for at, row in ticks]
        return np.concatenate(keys)

    def shards(self, name: str) -> Arr:
        """A column's sums by (tick, shard), the shards numbered through the fleet."""
        parts = []
        for key, rows in zip(self.keys, self.rows, strict=True):
            values = np.concatenate([row[name] for row in rows])
            parts.append(self._grid(np.bincount(key, values, self.count * self.per_cell)))
        return np.hstack(parts)

    def present(self) -> Arr:
        """Replicas of each shard by tick; a cell that has finished keeps those of its last."""
        parts = []
        for key, place in zip(self.keys, self.place, strict=True):
            grid = self._grid(np.bincount(key, minlength=self.count * self.per_cell))
            grid[place.max() + 1 :] = grid[place.max()]
            parts.append(grid)
        return np.hstack(parts)

    def _grid(self, sums: Arr) -> Arr:
        return sums.reshape(self.count, self.per_cell)

    def by_part(self, name: str) -> Arr:
        """A column's sums by (tick, part): the fleet, each cell, each shard."""
        shards = self.present() if name == "replicas" else self.shards(name)
        cells = shards.reshape(self.count, self.cells, self.per_cell).sum(axis=2)
        if name == "waiting":
            for cell, (place, rows) in enumerate(zip(self.place, self.rows, strict=True)):
                cells[place, cell] += [row["central"][0] for row in rows]
        return np.hstack([cells.sum(axis=1, keepdims=True), cells, shards])

    def fleet(self, name: str) -> Arr:
        """A column's sums by tick."""
        return np.asarray(self.by_part(name)[:, 0])

    def places(self, name: str) -> Arr:
        """Level (an index), cell or shard (-1 above theirs) of each part."""
        cell, shard = np.arange(self.cells), np.arange(self.cells * self.per_cell)
        found = {
            "level": (0, 0 * cell + 1, 0 * shard + 2),
            "cell": (-1, cell, shard // max(self.per_cell, 1)),
            "shard": (-1, 0 * cell - 1, shard),
        }
        return np.hstack(found[name])


def divided(part: Arr, whole: Arr) -> Arr:
    """part / whole, NaN where the whole is 0."""
    out = np.full(part.shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


RATIOS = {
    "kv_global_utilisation": ("kv_global_used", "kv_global_blocks"),
    "kv_local_utilisation": ("kv_local_used", "kv_local_windows"),
    "prefix_hit_rate": ("cached_tokens", "prompt_tokens"),
}


def values_of(name: str, ticks: Ticks) -> Arr:
    """A column of series.parquet by (tick, part)."""
    length = ticks.tick_s[:, None]
    if name in ("level", "cell", "shard"):
        return np.tile(ticks.places(name), (ticks.count, 1))
    if name == "replication":
        return np.tile(0 * ticks.places("cell"), (ticks.count, 1))
    if name == "time_s":
        return np.repeat(ticks.time_s[:, None], ticks.places("cell").size, axis=1)
    if name in RATIOS:
        part, whole = RATIOS[name]
        return divided(ticks.by_part(part), ticks.by_part(whole))
    if name == "busy":
        return divided(ticks.by_part("busy_s"), length * ticks.by_part("replicas"))
    if name.endswith("_per_s"):
        return np.asarray(ticks.by_part(name.removesuffix("_per_s")) / length)
    return ticks.by_part(name)


def series_table(cells: Sequence[Any], tick_s: float, shard_replicas: int) -> "pa.Table":
    """One row per tick and part of the fleet: the whole, each cell, each shard."""
    import pyarrow as pa

    schema = table_schema(SERIES_COLUMNS)
    ticks = Ticks(cells, tick_s, shard_replicas)
    if ticks.count == 0:
        return schema.empty_table()
    arrays = [column(values_of(field.name, ticks).ravel(), field) for field in schema]
    return pa.table(arrays, schema)


def column(values: Arr, field: Any) -> "pa.Array":
    """One column: NaN and -1 (no such part) as null, levels by name."""
    import pyarrow as pa

    if field.name == "level":
        return pa.array(LEVELS).take(pa.array(values))
    none = np.isnan(values) if field.type == pa.float64() else values < 0
    return pa.array(values, mask=none).cast(field.type)
