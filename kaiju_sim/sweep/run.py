"""Simulates the points of a sweep that are not in the store yet, on any executor."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from kaiju_sim.errors import UserError
from kaiju_sim.executor.seam import Executor, InProcess
from kaiju_sim.metrics.stats.replications import intervals_of, mean_summary
from kaiju_sim.report.rundir import summary_text
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.store import Figures, Store
from kaiju_sim.sweep.points import Point, Variant

Tell = Callable[[int, float], None]
"""Told how many simulations of this call have ended, and the share of their work."""


@dataclass(frozen=True)
class Measured:
    """What came of a point."""

    point: Point
    summary: Mapping[str, Any]
    """Means over the replications; empty where the point is infeasible."""
    intervals: Mapping[str, Any]
    """With replications: as in intervals.json."""
    problem: str = ""
    """Why it is infeasible."""


def missing(points: Sequence[Point], store: Store) -> dict[str, Variant]:
    """Simulations that the store does not have, by digest, the longest first."""
    wanted = {variant.digest: variant for point in points for variant in point.variants}
    left = [variant for digest, variant in wanted.items() if store.get(digest) is None]
    return {variant.digest: variant for variant in sorted(left, key=lambda v: -work(v.scenario))}


def run_missing(
    left: Mapping[str, Variant], store: Store, executor: Executor, tell: Tell | None = None
) -> None:
    """Simulate and keep; each is kept as it ends, so whatever stops this loses only what ran."""
    if left and not isinstance(executor, InProcess):
        from kaiju_sim.simulation import warm_up

        warm_up()
    total = sum(work(variant.scenario) for variant in left.values()) or 1.0
    done = 0.0
    with closing(executor.map(figures_of, left)) as found:
        for count, (digest, figures) in enumerate(found, 1):
            store.put(digest, figures)
            done += work(left[digest].scenario)
            if tell is not None:
                tell(count, done / total)


def work(scenario: Scenario) -> float:
    """Messages that a simulation is about, near enough to order and to estimate."""
    return (scenario.traffic.messages_per_s or 1.0) * scenario.run.horizon


def figures_of(variant: Variant) -> Figures:
    """Simulate one: its summary's flat keys, or why the scenario's parts do not go together."""
    from kaiju_sim.simulation import simulate

    try:
        result = simulate(variant.scenario, base_dir=variant.base_dir)
    except UserError as error:
        return {"error": str(error)}
    summary: dict[str, Any] = json.loads(summary_text(result.summary))
    flat = {key: value for key, value in summary.items() if not isinstance(value, list | dict)}
    return {"summary": flat}


def gather(points: Sequence[Point], store: Store) -> list[Measured]:
    """What came of each point, all of them being in the store."""
    return [_measured(point, store) for point in points]


def _measured(point: Point, store: Store) -> Measured:
    if point.problem:
        return Measured(point, {}, {}, point.problem)
    figures = [store.get(variant.digest) or {} for variant in point.variants]
    problem = next((str(f["error"]) for f in figures if "error" in f), "")
    if problem:
        return Measured(point, {}, {}, problem)
    summaries = [f["summary"] for f in figures]
    if len(summaries) == 1:
        return Measured(point, summaries[0], {})
    return Measured(point, mean_summary(summaries), intervals_of(summaries))
