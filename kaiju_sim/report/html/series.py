"""From the tables of a run to the few hundred numbers that a chart shows.

Pure functions from Arrow tables to NumPy arrays. Nothing here changes what is reported in the
summary: a chart of a sampled run shows the sample.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
MAX_POINTS = 600
"""Points of one line at most; more are averaged in groups."""

_SUMMED = (
    "waiting",
    "prefilling",
    "running",
    "kv_global_used",
    "kv_global_cached",
    "kv_global_blocks",
    "kv_local_used",
    "kv_local_cached",
    "kv_local_windows",
    "busy_s",
    "arrived",
    "completed",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
)


@dataclass(frozen=True)
class FleetSeries:
    """The whole fleet over time: one value per (grouped) tick."""

    time_s: Floats
    """End of each tick."""
    tick_s: Floats
    """Length of each tick."""
    replicas: Floats
    """Replicas that report in each tick."""
    totals: dict[str, Floats]
    """Column -> sum over replicas: state at the end of the tick, or total of the tick."""

    def rate(self, column: str) -> Floats:
        """A total of the tick per second."""
        return self.totals[column] / self.tick_s

    def ratio(self, part: str, whole: str) -> Floats:
        """One total over another; NaN where the whole is 0."""
        return _divide(self.totals[part], self.totals[whole])

    def busy(self) -> Floats:
        """Mean fraction of time that a replica spends in engine steps."""
        return _divide(self.totals["busy_s"], self.tick_s * self.replicas)


@dataclass(frozen=True)
class Heat:
    """One value per replica and tick."""

    time_s: Floats
    replica: list[str]
    values: Floats
    """Shape (replicas, times)."""


def fleet_series(replicas: "pa.Table", max_points: int = MAX_POINTS) -> FleetSeries:
    """Sum the replicas of each tick and group ticks so that at most `max_points` remain."""
    times, place = _ticks(replicas)
    tick_s = np.diff(times, prepend=0.0)
    totals = {
        name: np.bincount(place, _column(replicas, name), times.size).astype(float)
        for name in _SUMMED
    }
    present = np.bincount(place, minlength=times.size).astype(float)
    edges = _groups(times.size, max_points)
    last = np.append(edges[1:], times.size)[: edges.size] - 1
    return FleetSeries(
        times[last],
        _group(tick_s, edges, "sum"),
        _group(present, edges, "mean"),
        {name: _group(v, edges, _grouping(name)) for name, v in totals.items()},
    )


def load_heat(replicas: "pa.Table", max_points: int = 240, max_rows: int = 100) -> Heat:
    """Messages on each replica (waiting, prefilling, running) over time, both axes grouped."""
    times, place = _ticks(replicas)
    keys = _column(replicas, "cell") * 1e6 + _column(replicas, "replica")
    names, row = np.unique(keys, return_inverse=True)
    load = sum(_column(replicas, name) for name in ("waiting", "prefilling", "running"))
    grid = np.zeros((names.size, times.size))
    np.add.at(grid, (row, place), load)
    columns, rows = _groups(times.size, max_points), _groups(names.size, max_rows)
    grid = np.apply_along_axis(_group, 1, grid, columns, "mean") if grid.size else grid
    grid = np.apply_along_axis(_group, 0, grid, rows, "mean") if grid.size else grid
    labels = [f"{int(key // 1e6)}/{int(key % 1e6)}" for key in names[rows]]
    return Heat(times[columns] if times.size else times, labels, grid)


@dataclass(frozen=True)
class Spread:
    """The least, the mean and the most of a figure over the shards, over time."""

    time_s: Floats
    low: Floats
    mean: Floats
    high: Floats


def first_run(table: "pa.Table") -> "pa.Table":
    """The rows of replication 0."""
    return table.filter(_column(table, "replication") == 0)


def shard_spread(series: "pa.Table", name: str, max_points: int = MAX_POINTS) -> Spread | None:
    """Spread over shards of a column, or of `load`: messages per replica; None below two shards."""
    levels = np.array(series["level"].to_pylist(), dtype=object)
    shards = series.filter(levels == "shard")
    times, place = _ticks(shards)
    parts = shards.num_rows // max(times.size, 1)
    if parts < 2:
        return None
    if name == "load":
        held = sum(_column(shards, column) for column in ("waiting", "prefilling", "running"))
        values = _divide(np.asarray(held), _column(shards, "replicas"))
    else:
        values = _column(shards, name)
    grid = values[np.argsort(place, kind="stable")].reshape(times.size, parts)
    known = ~np.isnan(grid).all(axis=1)
    grid, times = grid[known], times[known]
    starts = _groups(times.size, max_points)
    if not starts.size:
        return None
    return Spread(
        times[np.append(starts[1:], times.size) - 1],
        np.minimum.reduceat(np.nanmin(grid, axis=1), starts),
        _group(np.nanmean(grid, axis=1), starts, "mean"),
        np.maximum.reduceat(np.nanmax(grid, axis=1), starts),
    )


def latency_cdf(
    requests: "pa.Table", column: str, points: int = 400
) -> tuple[Floats, Floats, int, int]:
    """Values, cumulative fractions, cohort size, and how many of the cohort never got there.

    Over the measured cohort; those that never got there keep the curve from reaching 1. For the
    time per output token, completed messages of one token have no value and do not count.
    """
    measured = _column(requests, "measured") > 0
    values = _column(requests, column)[measured]
    cohort = values.size
    if column == "tpot_s":
        single = _completed(requests) & (_column(requests, "output_tokens") <= 1)
        cohort -= int(np.sum(single[measured] & np.isnan(values)))
    reached = np.sort(values[~np.isnan(values)])
    if not reached.size:
        return reached, reached, cohort, cohort
    rank = np.unique(np.linspace(0, reached.size - 1, points).round().astype(int))
    return reached[rank], (rank + 1) / cohort, cohort, cohort - reached.size


def _completed(requests: "pa.Table") -> NDArray[np.bool_]:
    import pyarrow.compute as pc

    equal = pc.equal(requests["status"], "completed")
    return np.asarray(equal.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _column(table: "pa.Table", name: str) -> Floats:
    """A column as floats, nulls as NaN."""
    values = table[name].cast("float64") if name != "measured" else table[name].cast("uint8")
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def _ticks(replicas: "pa.Table") -> tuple[Floats, NDArray[np.intp]]:
    times, place = np.unique(_column(replicas, "time_s"), return_inverse=True)
    return times, place.reshape(-1)


def _groups(size: int, most: int) -> NDArray[np.intp]:
    """Starts of at most `most` even groups of `size` things."""
    return np.unique(np.linspace(0, size, min(size, most), endpoint=False).astype(np.intp))


def _group(values: Floats, starts: NDArray[np.intp], how: str) -> Floats:
    if not starts.size:
        return values
    sums = np.add.reduceat(values, starts)
    return sums if how == "sum" else sums / np.diff(starts, append=values.size)


def _grouping(name: str) -> str:
    totals = ("busy_s", "arrived", "completed", "prompt_tokens", "cached_tokens", "output_tokens")
    return "sum" if name in totals else "mean"


def _divide(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
