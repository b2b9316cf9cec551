"""Ranges of what must be simulated to be moved: one run at each end.

`economics.ranges` states them; every assumed value that a run depends on (a classifier's threshold,
a fault's length) is one too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kaiju_sim.scenario.assumed import assumed_in
from kaiju_sim.scenario.explain import flow
from kaiju_sim.scenario.schema import Scenario

Ends = tuple[str, str]
"""Both ends of a range, as YAML has them."""


@dataclass(frozen=True)
class SimulatedBar:
    """Figures of the runs at both ends of a range."""

    name: str
    low: str
    high: str
    at_low: Sequence[float]
    at_high: Sequence[float]


def ranges_of(scenario: Scenario) -> dict[str, Ends]:
    """Dotted path and ends of all that is to be simulated."""
    stated = {path: (flow(low), flow(high)) for path, (low, high) in _stated(scenario).items()}
    own = {
        f"{path}.value": (flow(item.low), flow(item.high))
        for path, item in assumed_in(scenario)
        if _moves(scenario, path) and item.low < item.high
    }
    return own | stated


def _moves(scenario: Scenario, path: str) -> bool:
    """Whether what is assumed there changes what is simulated."""
    part, _, rest = path.partition(".")
    if part in ("economics", "evals"):  # money after the run, and gates before a change ships
        return False
    if part.startswith("incidents["):  # churn is money after the run, too
        number = int(part.removeprefix("incidents[").rstrip("]"))
        return scenario.incidents[number].enabled and not rest.startswith("churn.")
    return part != "safety" or scenario.safety.acts(rest)


def _stated(scenario: Scenario) -> Mapping[str, Sequence[Any]]:
    return scenario.economics.ranges


def simulated_bars(
    ranges: Mapping[str, Ends], run: Callable[[str], Sequence[float]]
) -> list[SimulatedBar]:
    """`run("path=value")` at both ends of each range."""
    return [
        SimulatedBar(path, low, high, run(f"{path}={low}"), run(f"{path}={high}"))
        for path, (low, high) in ranges.items()
    ]
