"""What users of a scenario do, as the numbers and laws that the data plane draws from."""

import math
from collections.abc import Sequence

from kaiju_sim.scenario.parts.laws import Constant, Distribution
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.workload.habits import Habits


def session_laws(s: Scenario) -> Sequence[Distribution]:
    """Distributions in the order of `workload.sessions`."""
    behaviour = s.traffic.sessions
    turns = behaviour.turns if s.traffic.kind == "sessions" else Constant(value=1.0)
    return (
        turns,
        behaviour.think,
        behaviour.user_tokens,
        s.traffic.output_tokens,
        behaviour.initial_history,
        behaviour.swipe_delay,
    )


def make_habits(s: Scenario) -> Habits:
    """What users do besides reading and replying."""
    client = s.traffic.client
    return Habits(
        swipe_rate=float(s.traffic.sessions.swipe_rate),
        leave_rate=float(s.traffic.sessions.abandon_rate),
        retries=client.retries,
        backoff_s=float(client.backoff),
        backoff_factor=float(client.backoff_factor),
        jitter=float(client.jitter),
        retry_budget=math.inf if client.retry_budget is None else float(client.retry_budget),
    )
