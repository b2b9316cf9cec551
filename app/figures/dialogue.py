"""Prompts and hit rate in closed form: the mean dialogue, walked turn by turn.

Every length is its mean, nothing is evicted, every definition and answer is cached, each dialogue
stays on one replica. So it is what caching can give at best, and the simulation gives less.
Truncation as in docs/model.md, section 3: when a prompt is over the limit, whole steps of the
oldest history go, and all that came behind them is computed anew.
"""

import math
from dataclasses import dataclass

from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.workload.laws import mean_of

MOST_TURNS = 2000
"""Turns that are walked at most."""
LEAST = 1e-6
"""Share of the dialogues that live on, below which nobody is walked any further."""


@dataclass(frozen=True)
class MeanPrompt:
    """The mean message of a scenario, in tokens."""

    prompt: float
    uncached: float
    output: float

    @property
    def hit_rate(self) -> float:
        """Share of the prompt tokens found in caches."""
        return 1.0 - self.uncached / self.prompt


def mean_prompt(s: Scenario) -> MeanPrompt:
    """Means over all messages; turns of a dialogue are taken as geometric with the stated mean."""
    head = s.prompt.date_tokens + mean_of(s.characters.definition_tokens)
    own = s.prompt.persona_tokens
    user, output = mean_of(s.traffic.sessions.user_tokens), mean_of(s.traffic.output_tokens)
    turns = mean_of(s.traffic.sessions.turns) if s.traffic.kind == "sessions" else 1.0
    step, limit = float(s.prompt.truncation_step), float(s.prompt.limit)
    goes_on = 1.0 - 1.0 / max(1.0, turns)
    history = mean_of(s.traffic.sessions.initial_history)
    weight, weights, prompts, missed = 1.0, 0.0, 0.0, 0.0
    new = own + history + user
    for _ in range(MOST_TURNS):
        over = max(0.0, head + own + history + user - limit)
        history = max(0.0, history - math.ceil(over / step) * step)
        rest = own + history + user
        weights += weight
        prompts += weight * (head + rest)
        missed += weight * (rest if over else min(new, rest))
        history, new, weight = history + user + output, user, weight * goes_on
        if weight < LEAST:
            break
    return MeanPrompt(prompts / weights, missed / weights, output * s.engine.candidates)
