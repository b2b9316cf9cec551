"""How sure the persona gate can be: errors of its score, the difference it can see, its curve.

Turns of one conversation are alike: with the intra-class correlation r, n conversations of m turns
are worth n m / (1 + (m - 1) r) independent turns (Kish 1965, the design effect). On top come the
error of the calibration, the same for every conversation, and the judge's drift since it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import Any

from kaiju_sim.evals.persona.scale import spreads_of
from kaiju_sim.scenario.parts.evals import PersonaGate

CONFIDENCE = 0.95
"""Of the one-sided comparison with the bar."""
POWER = 0.8
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Errors:
    """Standard errors of a calibrated mean score."""

    sampling: float
    """Of the judge's mean, from the conversations drawn."""
    calibration: float
    """Of the judge's bias, from the examples that people rated."""
    drift: float
    """Of what the bias has moved since."""

    @property
    def total(self) -> float:
        """All together."""
        return math.hypot(self.sampling, self.calibration, self.drift)


def effective_turns(conversations: int, turns: int, r: float) -> float:
    """Independent turns that are worth as much."""
    return conversations * turns / (1 + (turns - 1) * r)


def planned_errors(gate: PersonaGate) -> Errors:
    """What the assumed spreads make of the gate's sizes."""
    spreads = spreads_of(gate)
    worth = effective_turns(gate.conversations, gate.turns, spreads.correlation)
    variance = spreads.between + spreads.within
    return Errors(
        math.sqrt(variance / worth), math.sqrt(spreads.apart / gate.rated), drift_error(gate)
    )


def drift_error(gate: PersonaGate) -> float:
    """Drift since the last calibration, half an interval ago: a random walk."""
    return gate.judge_drift.value * math.sqrt(gate.calibration_months / 2)


def detectable(error: float) -> float:
    """Smallest difference that a one-sided test at 95 % sees with a power of 80 %."""
    return (_NORMAL.inv_cdf(CONFIDENCE) + _NORMAL.inv_cdf(POWER)) * error


def chance(quality: float, gate: PersonaGate) -> float:
    """Probability that a candidate of this quality is promoted (its own spread near 5 included)."""
    return promoted(quality, error_at(quality, gate), gate.promote)


def promoted(quality: float, error: float, bar: float) -> float:
    """The same for a score with this error."""
    return _NORMAL.cdf((quality - bar) / error) if error else float(quality >= bar)


def error_at(quality: float, gate: PersonaGate) -> float:
    """Standard error of the score of a candidate of this quality."""
    value = gate.quality.model_copy(update={"value": quality})
    return planned_errors(gate.model_copy(update={"quality": value})).total


def drop_seen(drop: float, error: float) -> float:
    """Probability that a one-sided test at 95 % sees a drop, if its difference has this error."""
    if not error:
        return float(drop > 0)
    return _NORMAL.cdf(drop / error - _NORMAL.inv_cdf(CONFIDENCE))


def plan(gate: PersonaGate) -> dict[str, Any]:
    """What the gate can tell apart, from its sizes and the assumed spreads."""
    errors = planned_errors(gate)
    r = spreads_of(gate).correlation
    worth = effective_turns(gate.conversations, gate.turns, r)
    curve = [round(3.5 + 0.1 * i, 1) for i in range(13)]
    return {
        "intra_conversation_correlation": r,
        "design_effect": gate.conversations * gate.turns / worth,
        "effective_turns": worth,
        "errors": errors_as_json(errors),
        "detectable_against_bar": detectable(errors.total),
        "detectable_between_candidates": detectable(errors.sampling * math.sqrt(2)),
        "detectable_without_human_ratings_error": detectable(errors.sampling),
        "error_if_never_calibrated": math.hypot(
            gate.judge_bias.value, gate.judge_drift.value * math.sqrt(12)
        ),
        "operating_curve": [{"quality": q, "promoted": chance(q, gate)} for q in curve],
        "promoted_at_objective": chance(gate.objective, gate),
    }


def errors_as_json(errors: Errors) -> dict[str, float]:
    """The errors by name."""
    return {
        "sampling": errors.sampling,
        "calibration": errors.calibration,
        "drift": errors.drift,
        "total": errors.total,
    }


def observed_correlation(scores: Sequence[Sequence[float]]) -> float | None:
    """Intra-class correlation of scores, by the analysis of variance (ICC(1)); None if undefined.

    Conversations of different lengths count with their mean length.
    """
    means = [fmean(turns) for turns in scores]
    m = fmean(len(turns) for turns in scores)
    if len(scores) < 2 or m <= 1:
        return None
    spread = sum((x - fmean(turns)) ** 2 for turns in scores for x in turns)
    within = spread / sum(len(turns) - 1 for turns in scores)
    between = m * stdev(means) ** 2
    whole = between + (m - 1) * within
    return (between - within) / whole if whole > 0 else None
