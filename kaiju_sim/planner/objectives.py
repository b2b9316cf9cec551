"""Whether a fleet met its objectives, and by how much, from a run's summary.

Each objective is a figure over its limit: 1 or less is met, infinity was never reached.

- TTFT p99, TPOT p99, end-to-end p99: of the whole cohort, what is lost counting as infinite, over
  `slo.ttft`, `slo.tpot`, `slo.e2e`; TTFT p99 of the paid tier over `slo.paid_ttft`
- lost messages: shed, failed and given up of those that were to be answered, over 1 %
- keeps up: the run's verdict is stable
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaiju_sim.errors import UserError
from kaiju_sim.scenario.schema import Scenario

MOST_LOST = 0.01
"""Share of the messages that may be lost: what a 99 % quantile leaves out anyway."""
TTFT, TPOT, E2E, PAID, LOST, KEEPS_UP = (
    "TTFT p99",
    "TPOT p99",
    "end-to-end p99",
    "TTFT p99 of the paid tier",
    "lost messages",
    "keeps up",
)
_LOST_KEYS = ("requests.shed", "requests.failed", "requests.cancelled")
_BLOCKED_KEYS = ("requests.blocked_pre", "requests.blocked_post")

Figures = Mapping[str, Any]
Ratios = dict[str, float]


@dataclass(frozen=True)
class Limit:
    """One latency objective."""

    name: str
    key: str
    """Key of the summary."""
    limit_s: float


def limits_of(scenario: Scenario) -> list[Limit]:
    """The latency objectives that the scenario states; UserError if it states none."""
    slo = scenario.slo
    stated = (
        (TTFT, "ttft_s.p99", slo.ttft),
        (PAID, "ttft_s.paid.p99", slo.paid_ttft if scenario.traffic.paid_share > 0 else None),
        (TPOT, "tpot_s.p99", slo.tpot),
        (E2E, "e2e_s.p99", slo.e2e),
    )
    found = [Limit(name, key, limit) for name, key, limit in stated if limit is not None]
    if not found:
        raise UserError(
            "slo: the fewest GPUs need an objective: give slo.ttft, slo.tpot or slo.e2e"
        )
    return found


def ratios(figures: Figures, scenario: Scenario) -> Ratios:
    """Each objective's figure over its limit."""
    found = {x.name: _over(figures.get(x.key), x.limit_s) for x in limits_of(scenario)}
    due = figures["requests.arrived"] - sum(figures[key] for key in _BLOCKED_KEYS)
    lost = sum(figures[key] for key in _LOST_KEYS)
    found[LOST] = lost / (MOST_LOST * max(1, due))
    found[KEEPS_UP] = 0.0 if figures["verdict"] == "stable" else math.inf
    return found


def passes(found: Ratios) -> bool:
    """Whether all objectives are met."""
    return max(found.values()) <= 1.0


def binding(found: Ratios) -> str:
    """The objective that is nearest to its limit, or furthest beyond it.

    Of several that were never reached the first, latencies before what follows from them.
    """
    return max(found, key=lambda name: found[name])


def _over(value: float | None, limit: float) -> float:
    return math.inf if value is None else value / limit
