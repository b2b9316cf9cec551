"""How many of a set must, or may, be blocked for it to pass, and how likely that is."""

import math

from kaiju_sim.metrics.stats.binomial import at_least, clopper_pearson
from kaiju_sim.scenario.parts.evals import SafetySets

SETS = {True: "adversarial", False: "benign_intense"}


def passes(gate: SafetySets, k: int, n: int, limit: float, adversarial: bool) -> bool:
    """Whether a count is on the right side of its limit under the rule."""
    low, high = clopper_pearson(k, n, gate.confidence)
    value = k / n
    if gate.rule == "bound":
        value = low if adversarial else high
    return value >= limit if adversarial else value <= limit


def count_needed(n: int, limit: float, adversarial: bool, gate: SafetySets) -> int | None:
    """Fewest adversarial, or most benign ones, that may be blocked of n; None: no count passes."""
    low, high = 0, n
    if not passes(gate, n if adversarial else 0, n, limit, adversarial):
        return None
    while low < high:  # passing is monotone in the count
        mid = (low + high) // 2 if adversarial else math.ceil((low + high) / 2)
        ok = passes(gate, mid, n, limit, adversarial)
        if adversarial:
            low, high = (low, mid) if ok else (mid + 1, high)
        else:
            low, high = (mid, high) if ok else (low, mid - 1)
    return low


def chance(needed: int | None, n: int, p: float, adversarial: bool) -> float:
    """Probability that a set passes if the true rate is p."""
    if needed is None:
        return 0.0
    return at_least(needed, n, p) if adversarial else 1.0 - at_least(needed + 1, n, p)
