"""Whom a safety gate blocks, from its laws of scores and its thresholds alone.

Log-odds of scores are normal, so each rate is a value of the normal distribution; candidates of one
answer share a part of theirs, and that all are dropped is an integral over this part. Someone who
says it in other words is judged anew. Left out: users who leave write less, so their classes are
rarer than stated (a second-order effect), queues that are full, verdicts that come too late.
"""

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from kaiju_sim.scenario.parts.safety import AnswerRisk, Safety, ScoreLaw, Scores, Tier

VIOLATING = 2
_NORMAL = NormalDist()
_NODES = 64


@dataclass(frozen=True)
class Rates:
    """Shares of the messages that are sent, each way of saying it counted."""

    blocked: float
    """Blocked, before the model or after it."""
    wrongly: float
    """Blocked although neither the message (before) nor the answer (after) violates."""
    detected: float
    """Of violating messages (no gate before the model: of violating answers) those blocked."""
    left: float
    """Messages after which a refused user leaves."""
    sent: float
    """Messages sent for each one that is meant: 1, and what is said in other words."""


def rates(s: Safety, candidates: int) -> Rates:
    """The rates of a gate whose model makes so many candidates for an answer."""
    sent = blocked = wrongly = seen = caught = 0.0
    for share, tier, age in (
        (1.0 - s.teen_share.value, s.adult, 0),
        (s.teen_share.value, s.teen, 1),
    ):
        before, after = message_chances(s, tier, age), answer_chances(s, tier, age, candidates)
        for kind, part in enumerate(class_shares(tier)):
            stop, harmless = stopped(s.post.risk, before, after, kind)
            weight = share * part / (1.0 - s.refused.reword.value * stop)
            sent += weight
            blocked += weight * stop
            wrongly += weight * harmless
            violating = weight * (kind == VIOLATING)
            if s.pre == "none":
                violating = weight * risk_of(s.post.risk, kind)
            seen += violating
            caught += violating * (after if s.pre == "none" else before)[VIOLATING]
    detected = caught / seen if seen else 0.0
    left = s.refused.leave.value * blocked / sent
    return Rates(blocked / sent, wrongly / sent, detected, left, sent)


def stopped(
    risk: AnswerRisk, before: list[float], after: list[float], kind: int
) -> tuple[float, float]:
    """Chance that a message of this class is blocked, and that this is wrong."""
    bad, calm = risk_of(risk, kind), min(kind, 1)
    passed = 1.0 - before[kind]
    wrongly_after = passed * (1.0 - bad) * after[calm]
    rightly_after = passed * bad * after[VIOLATING]
    wrongly = (before[kind] if kind < VIOLATING else 0.0) + wrongly_after
    return before[kind] + wrongly_after + rightly_after, wrongly


def risk_of(risk: AnswerRisk, kind: int) -> float:
    """Chance that the answer to a message of this class violates."""
    return (risk.benign, risk.intense, risk.violating)[kind].value


def class_shares(tier: Tier) -> tuple[float, float, float]:
    """Shares of benign, intense and violating messages."""
    intense, violating = tier.classes.intense.value, tier.classes.violating.value
    return max(0.0, 1.0 - intense - violating), intense, violating


def message_chances(s: Safety, tier: Tier, age: int) -> list[float]:
    """Chance by class that a message is blocked before the model (or beside it)."""
    if s.pre == "none":
        return [0.0, 0.0, 0.0]
    threshold = (s.thresholds.adult, s.thresholds.teen)[age]
    return [above(law, threshold) for law in laws_of(tier.messages)]


def answer_chances(s: Safety, tier: Tier, age: int, candidates: int) -> list[float]:
    """Chance by class that an answer is blocked: all its candidates are."""
    if s.post.kind == "none":
        return [0.0, 0.0, 0.0]
    threshold = (s.answer_thresholds.adult, s.answer_thresholds.teen)[age]
    count = candidates if s.post.kind == "head" else 1
    likeness = s.post.likeness.value
    return [all_above(law, threshold, count, likeness) for law in laws_of(tier.answers)]


def laws_of(scores: Scores) -> tuple[ScoreLaw, ScoreLaw, ScoreLaw]:
    """By class."""
    return scores.benign, scores.intense, scores.violating


def distance(law: ScoreLaw, threshold: float) -> float:
    """Log-odds of the median above the threshold's."""
    median = law.median.value
    if not 0.0 < median < 1.0:
        return math.inf if median >= 1.0 else -math.inf
    return math.log(median / (1 - median)) - math.log(threshold / (1 - threshold))


def above(law: ScoreLaw, threshold: float) -> float:
    """P(score >= threshold)."""
    away, spread = distance(law, threshold), law.spread.value
    if not spread or math.isinf(away):
        return float(away >= 0)
    return _NORMAL.cdf(away / spread)


def all_above(law: ScoreLaw, threshold: float, count: int, likeness: float) -> float:
    """P(the scores of all `count` candidates >= threshold), log-odds with this correlation."""
    away, spread = distance(law, threshold), law.spread.value
    if count == 1 or likeness >= 1.0 or not spread or math.isinf(away):
        return above(law, threshold)
    nodes, weights = quadrature()
    common, own = math.sqrt(likeness), math.sqrt(1.0 - likeness)
    each = (_NORMAL.cdf((away / spread + common * z) / own) ** count for z in nodes)
    return sum(w * x for w, x in zip(weights, each, strict=True)) / sum(weights)


@cache
def quadrature() -> tuple[list[float], list[float]]:
    """Nodes and weights of Gauss and Hermite for means over a standard normal variable."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return nodes.tolist(), weights.tolist()
