"""A simulated judge and the people who calibrate it.

A turn's true score is normal around its conversation's mean, and that around the candidate's. Judge
and people see it with errors of their own; the judge is biased, and the bias drifts. Nobody gives
less than 1 or more than 5, which pulls a mean near 5 down: the mean before that is chosen so that
people's scores have the stated mean.
"""

import math
from collections.abc import Sequence

import numpy as np

from kaiju_sim.evals.persona.scale import HIGHEST, LOWEST, latent_mean
from kaiju_sim.evals.protocols import Conversation, Rated
from kaiju_sim.scenario.parts.evals import PersonaGate

_SCORES, _DRIFT = 1301, 1302
RATED_FROM = 1_000_000
"""Ids of rated examples begin here: they are not among the judged conversations."""


class SimulatedJudge:
    """Scores by the assumed model; a conversation's are a function of seed and id."""

    def __init__(self, gate: PersonaGate, seed: int, months: float = 0.0) -> None:
        """`months`: since the calibration; the bias has moved by then."""
        self.gate = gate
        self.seed = seed
        self.mean = latent_mean(gate)
        walk = gate.judge_drift.value * math.sqrt(months)
        moved = np.random.default_rng((seed, _DRIFT)).standard_normal()
        self.bias = gate.judge_bias.value + walk * float(moved)

    def __call__(self, conversation: Conversation) -> Sequence[float]:
        """The judge's score of each turn."""
        true, draws = self._true(conversation)
        noise = self.gate.judge_sd.value * draws.standard_normal(true.size)
        return [float(x) for x in np.clip(true + self.bias + noise, LOWEST, HIGHEST)]

    def rate(self, conversation: Conversation) -> float:
        """What people give it, on average over its turns."""
        true, draws = self._true(conversation)
        draws.standard_normal(true.size)  # the judge's errors, which are not theirs
        noise = self.gate.human_sd.value * draws.standard_normal(true.size)
        return float(np.clip(true + noise, LOWEST, HIGHEST).mean())

    def _true(self, conversation: Conversation) -> tuple[np.ndarray, np.random.Generator]:
        draws = np.random.default_rng((self.seed, _SCORES, conversation.id))
        own = self.mean + self.gate.conversation_sd.value * draws.standard_normal()
        turns = max(1, len(conversation.turns))
        return own + self.gate.turn_sd.value * draws.standard_normal(turns), draws


def made_up_conversations(gate: PersonaGate) -> list[Conversation]:
    """As many conversations as the gate judges, without words."""
    return [Conversation(i, ("",) * gate.turns) for i in range(gate.conversations)]


def made_up_ratings(gate: PersonaGate, seed: int) -> list[Rated]:
    """As many rated examples of one turn, rated when the judge was calibrated."""
    people = SimulatedJudge(gate, seed)
    examples = [Conversation(RATED_FROM + i, ("",)) for i in range(gate.rated)]
    return [Rated(example, people.rate(example)) for example in examples]
