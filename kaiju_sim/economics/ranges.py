"""Ranges of what must be simulated to be moved: one run at each end.

`economics.ranges` states them; every assumed value that a run depends on (a classifier's threshold,
a fault's length) is one too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kaiju_sim.economics.cost.gpus import number
from kaiju_sim.scenario.assumed import assumed_in
from kaiju_sim.scenario.explain import flow
from kaiju_sim.scenario.schema import Scenario

SERVICE = ("ttft_s.p50", "ttft_s.p99", "slo.attainment", "prefix_hit_rate")
GATE = ("safety.pre.stay_s.mean", "safety.wrongly_share", "requests.blocked_share")
"""What a simulated range moves besides money: keys of the summary, and shares of the arrived."""
Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class SimulatedBar:
    """Figures of the runs at both ends of a range."""

    name: str
    low: str
    high: str
    grade: str
    source: str
    at_low: Figures
    at_high: Figures


@dataclass(frozen=True)
class Range:
    """A range that is to be simulated; it unpacks into its two ends."""

    low: str
    """As YAML has it."""
    high: str
    grade: str
    """P primary, R reported, I inferred, U unsupported."""
    source: str

    def __iter__(self) -> Iterator[str]:
        """Both ends."""
        return iter((self.low, self.high))


NOT_SAID = "not said by the scenario"


def ranges_of(scenario: Scenario) -> dict[str, Range]:
    """Dotted path and range of all that is to be simulated."""
    own = {
        f"{path}.value": Range(flow(item.low), flow(item.high), item.grade, item.source)
        for path, item in assumed_in(scenario)
        if _moves(scenario, path) and item.low < item.high
    }
    return own | {path: _stated(ends) for path, ends in scenario.economics.ranges.items()}


def _stated(ends: Sequence[Any]) -> Range:
    low, high, grade, source = (*ends, "U", NOT_SAID)[:4]
    return Range(flow(low), flow(high), str(grade), str(source))


def _moves(scenario: Scenario, path: str) -> bool:
    """Whether what is assumed there changes what is simulated."""
    part, _, rest = path.partition(".")
    if part in ("economics", "evals"):  # money after the run, and gates before a change ships
        return False
    return part != "safety" or scenario.safety.acts(rest)


def service_figures(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """`SERVICE`, and `GATE` where there is a safety gate."""
    found = {key: summary.get(key) for key in SERVICE}
    wrongly, arrived = summary.get("safety.wrongly"), number(summary, "requests.arrived")
    if wrongly is None or not arrived:
        return found
    blocked = sum(number(summary, f"requests.blocked_{stage}") for stage in ("pre", "post"))
    shares = (summary.get(GATE[0]), wrongly / arrived, blocked / arrived)
    return found | dict(zip(GATE, shares, strict=True))


def simulated_bars(
    ranges: Mapping[str, Range], run: Callable[[str], Figures]
) -> list[SimulatedBar]:
    """`run("path=value")` at both ends of each range."""
    return [
        SimulatedBar(
            path,
            *(found.low, found.high, found.grade, found.source),
            run(f"{path}={found.low}"),
            run(f"{path}={found.high}"),
        )
        for path, found in ranges.items()
    ]
