"""Where a run's transient ends, found in its own time series by MSER-5.

MSER (K. P. White, Simulation 69(6), 1997) cuts a series where the squared standard error of the
mean of what remains is least: it weighs the bias that early values bring against the values that
are thrown away. MSER-5 (K. P. White, M. J. Cobb, S. C. Spratt, WSC 2000) applies it to means of
five values. As is usual (K. Hoad, S. Robinson, R. Davies, J. Oper. Res. Soc. 61, 2010) the last
five means are no candidates, since the least may fall there by chance, and a cut in the second half
says that the series has not settled.

Two series of the fleet are looked at, one value a tick: messages in the system and the prefix hit
rate; the later cut counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kaiju_sim.engine.layout import Arr
from kaiju_sim.metrics.series import Ticks, divided
from kaiju_sim.scenario.schema import Scenario

BATCH = 5
LAST = 5
LEAST_VALUES = 50
"""A series of fewer ticks is not tested; one of less than twice as many is taken as it is, value
by value."""

SETTLED, LATE, NOT_SETTLED, NOT_TESTED = "settled", "settles later", "not settled", "not tested"


@dataclass(frozen=True)
class WarmUp:
    """What the time series says of the transient."""

    word: str
    """settled, settles later (than the measured time begins), not settled, or not tested."""
    detected_s: float | None
    """Where it ends; None: nowhere in the first half, or not tested."""

    def figures(self, scenario: Scenario) -> dict[str, Any]:
        """Its keys of the summary, for the scenario whose warm-up has been resolved."""
        return {
            "run.warm_up_s": scenario.run.measured_from,
            "run.warm_up_detected_s": self.detected_s,
            "run.steady_state": self.word,
        }


def mser(values: Arr) -> int:
    """Index of the first mean to keep: the least squared standard error of the mean of the rest.

    Rounding (values that are equal but for their last bits) must not decide, so differences below
    1e-9 of the largest value count as none.
    """
    centred = values - values.mean()
    centred[np.abs(centred) <= 1e-9 * np.abs(values).max()] = 0.0
    rest = np.arange(values.size, 0, -1)
    total = np.cumsum(centred[::-1])[::-1]
    squares = np.cumsum(centred[::-1] ** 2)[::-1]
    score = np.maximum(squares - total**2 / rest, 0.0) / rest**2
    return int(np.argmin(score[: values.size - LAST]))


def cut_of(values: Arr) -> int | None:
    """Values to leave out at the start of a series; None when it does not settle in its half."""
    batch = BATCH if values.size >= 2 * LEAST_VALUES else 1
    means = values[: values.size // batch * batch].reshape(-1, batch).mean(axis=1)
    cut = mser(means)
    return None if cut > means.size // 2 else cut * batch


def filled(values: Arr) -> Arr:
    """Gaps (NaN) take the value before them, those at the start the first one; all gaps: zeros."""
    known = np.flatnonzero(~np.isnan(values))
    if known.size == 0:
        return np.zeros(values.size)
    last = np.searchsorted(known, np.arange(values.size), side="right") - 1
    return np.asarray(values[known[np.maximum(last, 0)]])


def transient_s(cells: Sequence[Any], scenario: Scenario) -> float | None:
    """Seconds until the fleet's series have settled, or None if they do not."""
    ticks = Ticks(cells, scenario.results.tick, scenario.fleet.shard_replicas)
    inside = ticks.time_s <= scenario.run.horizon * (1 + 1e-9)
    hits = filled(divided(ticks.fleet("cached_tokens"), ticks.fleet("prompt_tokens")))
    in_system = ticks.fleet("waiting") + ticks.fleet("prefilling") + ticks.fleet("running")
    cuts = [cut_of(series[inside]) for series in (in_system, hits)]
    known = [cut for cut in cuts if cut is not None]
    if len(known) < len(cuts):
        return None
    return float(ticks.time_s[max(known) - 1]) if max(known) else 0.0


def testable(scenario: Scenario) -> bool:
    """Whether there is a steady state to look for, and enough ticks to find it."""
    ticks = int(scenario.run.horizon / scenario.results.tick + 1e-9)
    return scenario.traffic.diurnal is None and ticks >= LEAST_VALUES


def detect(cells: Sequence[Any], scenario: Scenario) -> WarmUp:
    """What the run's time series says of its warm-up."""
    if not testable(scenario):
        return WarmUp(NOT_TESTED, None)
    found = transient_s(cells, scenario)
    if found is None:
        return WarmUp(NOT_SETTLED, None)
    late = scenario.run.warm_up != "auto" and found > scenario.run.measured_from
    return WarmUp(LATE if late else SETTLED, found)


def resolved(
    scenario: Scenario, cells: Sequence[Any], found: WarmUp
) -> tuple[Scenario, Sequence[Any]]:
    """Scenario and cells, the cohort of which begins where the warm-up ends.

    A detected end is rounded up to the edge of a segment; where there is none, the second half is
    measured.
    """
    if scenario.run.warm_up != "auto":
        return scenario, cells
    edges = np.array([edge.time_ns for edge in cells[0].edges[:-1]]) * 1e-9
    at = scenario.run.horizon / 2 if found.detected_s is None else found.detected_s
    first = min(int(np.searchsorted(edges, at * (1 - 1e-9))), edges.size - 1)
    run = scenario.run.model_copy(update={"warm_up": float(edges[first])})
    event = [(float(edges[first]), "window", f"cell {c.cell}", "warm-up ends") for c in cells]
    later = [
        replace(c, first=first, events=sorted([*c.events, e], key=lambda row: row[0]))
        for c, e in zip(cells, event, strict=True)
    ]
    return scenario.model_copy(update={"run": run}), later
