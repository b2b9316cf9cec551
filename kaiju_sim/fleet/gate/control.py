"""What the control plane may do to a gate between two advances of the data plane.

It acts on messages that arrive from then on; who is at the gate already has his verdict. These are
the places for faults: a classifier that drifts, a threshold set wrongly, servers that are down.
"""

from collections.abc import Sequence

from kaiju_sim.fleet.gate.build import log_odds
from kaiju_sim.fleet.gate.records import ADULT, BENIGN, INTENSE, MESSAGES, TEEN, VIOLATING, Gate

EVERYBODY = (ADULT, TEEN)
EVERYTHING = (BENIGN, INTENSE, VIOLATING)


def shift_scores(
    gate: Gate,
    shift: float,
    *,
    stage: int = MESSAGES,
    ages: Sequence[int] = EVERYBODY,
    classes: Sequence[int] = EVERYTHING,
) -> None:
    """Scores of these classes and age tiers are off by so much in log-odds; 0 ends it."""
    for age in ages:
        for kind in classes:
            gate.shift[stage, age, kind] = shift


def set_threshold(
    gate: Gate, score: float, *, stage: int = MESSAGES, ages: Sequence[int] = EVERYBODY
) -> None:
    """Scores from this one on are blocked (0: everything, 1: nothing)."""
    for age in ages:
        gate.limit[stage, age] = log_odds(score)


def take_down(gate: Gate, *, down: bool) -> None:
    """The servers give no verdicts (messages go by `safety.pool.failure`), or do so again."""
    gate.state["down"] = int(down)
