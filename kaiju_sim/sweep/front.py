"""Which points nobody beats: cost, time to first token, and interactivity, all at once."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kaiju_sim.scenario.schema import Scenario

COST: Final = "cost.usd_per_message"
TTFT: Final = "ttft_s.p99"
INTERACTIVITY: Final = "slo.stream_tokens_per_s"
"""Output tokens per second that a user sees: 1 / median time per output token."""

GOALS: Final = ((COST, 1.0), (TTFT, 1.0), (INTERACTIVITY, -1.0))
"""What the front is made of; -1 for more is better."""

_OBJECTIVES: Final = (("ttft", TTFT), ("tpot", "tpot_s.p99"), ("e2e", "e2e_s.p99"))


def pareto(summaries: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Whether no other point is as good in every goal and better in one.

    A point without a figure (a p99 that falls among messages that never got there) is on no front.
    """
    values = np.array([[_goal(s, key, sign) for key, sign in GOALS] for s in summaries])
    known = np.isfinite(values).all(axis=1) if len(summaries) else np.zeros(0, bool)
    return [bool(known[i]) and not _beaten(values[i], values[known]) for i in range(len(summaries))]


def _goal(summary: Mapping[str, Any], key: str, sign: float) -> float:
    value = summary.get(key)
    return float("nan") if value is None else sign * float(value)


def _beaten(mine: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    as_good = (others <= mine).all(axis=1)
    better = (others < mine).any(axis=1)
    return bool((as_good & better).any())


def broken(summary: Mapping[str, Any], scenario: Scenario | None) -> list[str]:
    """Objectives that a point breaks: a p99 over it, or a fleet that does not keep up."""
    if scenario is None or not summary:
        return []
    found = []
    for name, key in _OBJECTIVES:
        most, value = getattr(scenario.slo, name), summary.get(key)
        if most is not None and (value is None or value > most):
            found.append(f"slo.{name}")
    verdict = summary.get("verdict")
    return found if verdict == "stable" else [*found, str(verdict)]
