"""A simulated safety classifier: a score per message, normal by set and age tier, and a threshold.

Binormal scores are the usual model of a classifier's ROC curve; with equal spreads, the area under
it is Phi(distance / sqrt 2).
"""

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

from kaiju_sim.evals.protocols import AGE_TIERS, AgeTier, Example
from kaiju_sim.scenario.parts.evals import SafetySets, SetScores

_SCORES = 1303


def scores_of(gate: SafetySets, tier: AgeTier) -> SetScores:
    """The assumed scores of an age tier."""
    return gate.adult if tier == "adult" else gate.teen


def true_rate(scores: SetScores, adversarial: bool) -> float:
    """The share of a set that the simulated classifier blocks in the long run."""
    mean = (scores.adversarial if adversarial else scores.benign_intense).value
    return NormalDist().cdf(mean - scores.threshold.value)


class SimulatedClassifier:
    """Blocks what scores above its tier's threshold; a function of seed and example."""

    def __init__(self, gate: SafetySets, seed: int) -> None:
        self.gate = gate
        self.seed = seed

    def __call__(self, example: Example) -> bool:
        """Whether it is blocked. Only the simulated one knows the set: it draws the score by it."""
        scores = scores_of(self.gate, example.age_tier)
        mean = (scores.adversarial if example.adversarial else scores.benign_intense).value
        key = (self.seed, _SCORES, example.id, AGE_TIERS.index(example.age_tier))
        draw = np.random.default_rng((*key, int(example.adversarial))).standard_normal()
        return bool(mean + draw > scores.threshold.value)


def made_up_examples(gate: SafetySets) -> Iterator[Example]:
    """Both sets for both tiers, without words."""
    for tier in AGE_TIERS:
        for adversarial in (True, False):
            for i in range(gate.examples):
                yield Example(i, "", tier, adversarial)
