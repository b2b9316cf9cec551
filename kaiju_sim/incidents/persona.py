"""Persona scores of a running fleet: what a panel of judged conversations makes of them, and which
answers are out of character.

The model is that of the persona gate (`evals.persona`): conversations and turns differ, the judge
errs, its bias is taken off by examples that people have rated, and has drifted since.
"""

from bisect import bisect_right
from functools import cache
from typing import NamedTuple

import numpy as np

from kaiju_sim import rng
from kaiju_sim.engine.layout import Arr
from kaiju_sim.evals.persona.gate import calibrated
from kaiju_sim.evals.persona.judge import SimulatedJudge, made_up_ratings
from kaiju_sim.evals.persona.scale import LOWEST, latent_mean
from kaiju_sim.evals.protocols import Conversation
from kaiju_sim.fleet.control import CellRun
from kaiju_sim.scenario.parts.evals import PersonaGate
from kaiju_sim.scenario.parts.incidents import Detection

EXACT = 1e-9
"""Smaller drops of the score are rounding."""


def lower(gate: PersonaGate, drop: float) -> PersonaGate:
    """The gate's assumptions with a served model that is so many points worse."""
    value = max(LOWEST, gate.quality.value - drop)
    quality = gate.quality.model_copy(update={"value": value, "low": LOWEST})
    return gate.model_copy(update={"quality": quality})


class Panel:
    """Judges some conversations of a cell at each look: as many in a window as the gate does.

    A conversation is one replica's, drawn by what each has answered since the last look, and all of
    its turns are of the checkpoint that the replica has now.
    """

    def __init__(self, control: CellRun, rule: Detection) -> None:
        s = control.plant.scenario
        self.control, self.gate, self.seed = control, s.evals.persona, s.seed
        self.each_look = self.gate.conversations * rule.interval / rule.window
        people = made_up_ratings(self.gate, s.seed)
        self.bias = calibrated(SimulatedJudge(self.gate, s.seed), people)[0]
        self.due, self.points, self.judged = 0.0, 0.0, 0
        self.done = np.zeros(self._done().size, np.int64)
        self.judge = cache(self._judge)

    def look(self) -> tuple[float, int]:
        """Sum of the calibrated scores so far, and how many conversations they are of."""
        done = self._done()
        answers = np.cumsum(done - self.done)
        self.done = done
        if answers[-1] > 0:
            self.due += self.each_look
        while self.due >= 1.0:
            self.due -= 1.0
            self.points += self._score(answers)
            self.judged += 1
        return self.points, self.judged

    def _score(self, answers: Arr) -> float:
        """The mean score of one more conversation, the judge's bias taken off."""
        who = ((self.control.index + 1) << 32) | self.judged
        answer = rng.uniform(self.seed, rng.PANEL, who, 0) * int(answers[-1])
        drop = self.control.persona_drops.get(bisect_right(answers, answer), 0.0)
        scores = self.judge(drop)(Conversation(who, ("",) * self.gate.turns))
        return sum(scores) / len(scores) - self.bias

    def _judge(self, drop: float) -> SimulatedJudge:
        gate = lower(self.gate, drop)
        return SimulatedJudge(gate, self.seed, gate.calibration_months / 2)

    def _done(self) -> Arr:
        return np.array(self.control.cell.world.engine.replicas["done"], np.int64)


class Slips(NamedTuple):
    """Answers that are under a limit with one checkpoint, and would not be with the other."""

    seed: int
    before: float
    """Mean of the true scores, before the ends of the scale act."""
    after: float
    own_sd: float
    turn_sd: float
    limit: float

    def among(self, log: Arr) -> Arr:
        """Which of these messages' answers slip; a function of dialogue, turn and seed alone."""
        who: Arr = log["session"].astype(np.int64)
        what: Arr = log["turn"].astype(np.int64) + (log["swipe"].astype(np.int64) << 32)
        own = self.own_sd * normal(self.seed, rng.PERSONA_OWN, who, np.zeros_like(who))
        score = own + self.turn_sd * normal(self.seed, rng.PERSONA_TURN, who, what)
        return np.asarray((self.after + score < self.limit) & (self.before + score >= self.limit))


def slips(gate: PersonaGate, drop: float, limit: float, seed: int) -> Slips:
    """What a checkpoint does that is so many points worse."""
    own, turn = gate.conversation_sd.value, gate.turn_sd.value
    return Slips(seed, latent_mean(gate), latent_mean(lower(gate, drop)), own, turn, limit)


def normal(seed: int, stream: int, who: Arr, what: Arr) -> Arr:
    """Standard normal draws of these keys (Box-Muller)."""
    size, angle = (uniform(seed, stream, who, what + (part << 60)) for part in (0, 1))
    return np.asarray(np.sqrt(-2.0 * np.log(size)) * np.cos(2.0 * np.pi * angle))


def uniform(seed: int, stream: int, who: Arr, what: Arr) -> Arr:
    """Uniform draws of these keys: `rng.uniform` is arithmetic that arrays have too."""
    return np.asarray(rng.uniform(seed, stream, who, what))  # type: ignore[arg-type]
