"""The fewest GPUs of a scenario: a search over fleets of its own kind, and what they are like."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kaiju_sim.metrics.stats.intervals import as_json
from kaiju_sim.planner import part
from kaiju_sim.planner.objectives import Ratios, binding, passes
from kaiju_sim.planner.search import FRESH, Found, Grid, Judged, Tell, fewest
from kaiju_sim.planner.sequential import PASSES, Rule
from kaiju_sim.planner.trial import Bench
from kaiju_sim.scenario.schema import Scenario

MOST_TIMES = 64
"""A fleet that misses an objective at so many times the replicas that the scenario states
misses it however large it is: one message alone takes too long."""
SHOWN = ("ttft_s.p99", "tpot_s.p99", "prefix_hit_rate", "cost.usd_per_message")
"""Figures of the answer that are shown with their intervals."""


@dataclass(frozen=True)
class Sized:
    """The fewest replicas that a scenario needs, and what is known of them."""

    scenario: Scenario
    found: Found
    figures: dict[str, Any]
    """Of the answer: mean, interval and values of what is shown, over its replications."""
    binds: str
    """The objective that the next smaller fleet misses most often (of none: the nearest one)."""
    limited_by: str
    """What limits that fleet then, by the run's own rule (docs/economics.md)."""
    worst: Ratios
    """Each objective over its limit, the median of the smaller fleet's replications."""
    step_times: str
    """Source and id of the step times."""

    @property
    def gpus(self) -> int | None:
        """GPUs of the answer; None where no fleet meets the objectives."""
        return self.gpus_of(self.found.count)

    def gpus_of(self, replicas: int | None) -> int | None:
        """GPUs of so many replicas."""
        ranks = self.scenario.fleet.tensor_parallel
        return None if replicas is None else replicas * ranks

    @property
    def least(self) -> int | None:
        """Lower end of what the answer may be: the smallest fleet of the grey zone, or itself."""
        return self.gpus_of(min((*self.found.grey, self.found.count))) if self.found.count else None


def grid_of(s: Scenario, resolution: float, most_rate: float = part.MOST_RATE) -> Grid:
    """The fleets that there are: whole shards in every cell, up to MOST_TIMES the one stated."""
    unit = part.unit_of(s)
    most = min(part.most_replicas(s, most_rate), MOST_TIMES * s.fleet.replicas)
    return Grid(unit, max(unit, most), resolution)


def size(
    bench: Bench,
    rule: Rule,
    *,
    start: int | None = None,
    resolution: float = 0.0,
    batch: int = 1,
    below: int = 2,
    verify: bool = True,
    tell: Tell = lambda count, what: None,
) -> Sized:
    """The fewest replicas that meet the scenario's objectives; see `search` and `sequential`.

    UserError for a scenario without an objective or with a fleet that changes.
    """
    s = bench.scenario
    part.check(s)
    grid = grid_of(s, resolution, bench.most_rate)
    first = s.fleet.replicas if start is None else start
    found = fewest(
        bench.probe, first, grid, rule, batch=batch, below=below, verify=verify, tell=tell
    )
    return described(bench, found)


def described(bench: Bench, found: Found) -> Sized:
    """The search's answer with its figures, from replications that have been simulated."""
    smaller = found.below if found.count is not None else max(found.screened)
    shown = smaller if smaller is not None else found.count
    assert shown is not None, "a search looks at one fleet at least"
    judged = found.of(shown)
    seen = range(1 if judged is None else judged.tally.trials)
    figures, met = bench.figures(shown, seen), bench.ratios(shown, seen)
    missed = [i for i in seen if not passes(met[i])] or list(seen)
    return Sized(
        scenario=bench.scenario,
        found=found,
        figures={} if found.count is None else of_answer(bench, found),
        binds=usual([binding(met[i]) for i in missed]),
        limited_by=usual([str(figures[i]["bottleneck"]) for i in missed]),
        worst=middle(met),
        step_times=f"{figures[0]['profile.source']}: {figures[0]['profile.id']}",
    )


def of_answer(bench: Bench, found: Found) -> dict[str, Any]:
    """Means, intervals and values of the answer's figures, over the seeds that verified it."""
    assert found.count is not None
    judged = found.of(found.count, fresh=True) or found.of(found.count)
    assert isinstance(judged, Judged)
    assert judged.verdict == PASSES
    first = FRESH if judged.fresh else 0
    rows = bench.figures(found.count, range(first, first + judged.tally.trials))
    return {key: as_json([row[key] for row in rows]) for key in SHOWN}


def middle(found: Sequence[Ratios]) -> Ratios:
    """The median of each objective's ratio (of an even number the upper one)."""
    return {name: sorted(r[name] for r in found)[len(found) // 2] for name in found[0]}


def usual(words: Sequence[str]) -> str:
    """The word that stands there most often, the first of several."""
    return max(dict.fromkeys(words), key=words.count)
