"""Several replications of a scenario as one result: means, intervals, tables with a column more."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kaiju_sim import rng
from kaiju_sim.metrics.result import RunResult
from kaiju_sim.metrics.stats.intervals import as_json
from kaiju_sim.metrics.stats.sampling import SHARE, thinned_to

if TYPE_CHECKING:
    import pyarrow as pa

COUNT = "run.replications"
WORST_FIRST = (
    ("overloaded", "backlogged", "stable"),
    ("not settled", "settles later", "settled", "not tested"),
)
"""Of texts that differ between replications, the worst one is shown."""


def replication_seeds(seed: int, count: int) -> list[int]:
    """Seeds of the replications: the scenario's own, then hashes of it, all different.

    Replication i has the same seed however many there are, so that more of them only add.
    """
    seeds = [seed]
    draw = 0
    while len(seeds) < count:
        draw += 1
        derived = rng.hash_of(seed, rng.REPLICATION, draw, 0) & 0x7FFFFFFF
        if derived not in seeds:
            seeds.append(derived)
    return seeds


def joined(results: Sequence[RunResult], seeds: Sequence[int]) -> RunResult:
    """One result of all replications; each must have kept its share of the rows."""
    share = min(r.summary[SHARE] for r in results)
    requests = [thinned_to(share, r.requests, seed) for r, seed in zip(results, seeds, strict=True)]
    summaries = [r.summary for r in results]
    return replace(
        results[0],
        summary=mean_summary(summaries) | {COUNT: len(results), SHARE: share},
        requests=stacked(requests),
        replicas=stacked([r.replicas for r in results]),
        series=stacked([r.series for r in results]),
        events=stacked([r.events for r in results]),
        intervals=intervals_of(summaries),
    )


def mean_summary(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Every figure's mean over the replications; null where one of them has none."""
    return {key: mean_of([s.get(key) for s in summaries]) for key in summaries[0]}


def mean_of(values: Sequence[Any]) -> Any:
    """The value that all share; else the mean of numbers, the worst of texts, null with a null."""
    if all(value == values[0] for value in values):
        return values[0]
    if any(value is None for value in values):
        return None
    if isinstance(values[0], str):
        return worst(values)
    return as_json(values)["mean"]


def worst(words: Sequence[str]) -> str:
    """The worst of some texts, the first where none is worse."""
    ranks = {word: place for order in WORST_FIRST for place, word in enumerate(order)}
    return min(words, key=lambda word: ranks.get(word, 0))


def intervals_of(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """intervals.json: an entry for each figure that is a number in some replication."""
    found = {}
    for key in summaries[0]:
        values = [s.get(key) for s in summaries]
        if key not in (COUNT, SHARE) and any(is_number(value) for value in values):
            found[key] = as_json(values)
    return found


def is_number(value: Any) -> bool:
    """Whether a value of the summary is a figure."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def stacked(tables: Sequence["pa.Table"]) -> "pa.Table":
    """Tables below each other, the first column saying from which replication a row is."""
    import pyarrow as pa

    numbered = []
    for i, table in enumerate(tables):
        field = table.schema.field(0)
        column = pa.array(np.full(table.num_rows, i, np.int32), field.type)
        numbered.append(table.set_column(0, field, column))
    return pa.concat_tables(numbered)
