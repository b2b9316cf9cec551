"""Normal scores on a scale that ends at 1 and 5, and what the ends do to their mean and spread.

Nobody gives more than 5, so a candidate near it has a lower and less spread score than the normal
law behind. Moments of a cut normal variable are closed forms; what depends on another normal
variable (a conversation's own mean) is averaged by Gauss-Hermite quadrature.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from kaiju_sim.scenario.parts.evals import PersonaGate

LOWEST, HIGHEST = 1.0, 5.0
_NORMAL = NormalDist()
_NODES = 64


def cut_moments(mean: float, sd: float) -> tuple[float, float]:
    """Mean and variance of a normal variable cut to 1 .. 5 (both ends keep what lies beyond)."""
    if sd == 0:
        return min(HIGHEST, max(LOWEST, mean)), 0.0
    a, b = (LOWEST - mean) / sd, (HIGHEST - mean) / sd
    below, above = _NORMAL.cdf(a), 1 - _NORMAL.cdf(b)
    inside, fa, fb = 1 - below - above, _NORMAL.pdf(a), _NORMAL.pdf(b)
    first = LOWEST * below + HIGHEST * above + mean * inside + sd * (fa - fb)
    second = LOWEST**2 * below + HIGHEST**2 * above + mean**2 * inside
    second += 2 * mean * sd * (fa - fb) + sd**2 * (inside + a * fa - b * fb)
    return first, max(0.0, second - first**2)


def mean_before(quality: float, sd: float) -> float:
    """The normal mean whose cut mean is the quality, by bisection."""
    low, high = LOWEST - 10 * sd - 1, HIGHEST + 10 * sd + 1
    for _ in range(80):
        mid = (low + high) / 2
        low, high = (mid, high) if cut_moments(mid, sd)[0] < quality else (low, mid)
    return (low + high) / 2


def averaged(f: Callable[[float], float], mean: float, sd: float) -> float:
    """Mean of f over a normal variable."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    values = [f(mean + sd * float(x)) for x in nodes]
    return float(np.dot(weights, values) / weights.sum())


@dataclass(frozen=True)
class Spreads:
    """Variances of scores as they are given."""

    between: float
    """Of conversations' own mean judge scores."""
    within: float
    """Of the judge's scores around them."""
    apart: float
    """Of the judge's score of a turn less people's."""

    @property
    def correlation(self) -> float:
        """Of the judge's scores of two turns of one conversation."""
        total = self.between + self.within
        return self.between / total if total else 0.0


def latent_mean(gate: PersonaGate) -> float:
    """The mean before the ends of the scale act, of which people's scores have the quality."""
    spreads = (gate.conversation_sd, gate.turn_sd, gate.human_sd)
    return mean_before(gate.quality.value, math.hypot(*(s.value for s in spreads)))


def spreads_of(gate: PersonaGate) -> Spreads:
    """The spreads that the gate's assumptions come to."""
    mean, bias = latent_mean(gate), gate.judge_bias.value
    own, turn = gate.conversation_sd.value, gate.turn_sd.value
    judge, human = gate.judge_sd.value, gate.human_sd.value
    inner = math.hypot(turn, judge)
    whole, total = cut_moments(mean + bias, math.hypot(own, inner))
    between = averaged(lambda x: (cut_moments(x + bias, inner)[0] - whole) ** 2, mean, own)
    mean_apart = whole - gate.quality.value

    def apart(x: float) -> float:
        (mj, vj), (mh, vh) = cut_moments(x + bias, judge), cut_moments(x, human)
        return vj + vh + (mj - mh - mean_apart) ** 2

    return Spreads(between, total - between, averaged(apart, mean, math.hypot(own, turn)))
