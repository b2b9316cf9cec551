"""The persona score of the served model, as a service level of a run."""

from typing import Any

from kaiju_sim.evals.persona.gate import simulated_gate
from kaiju_sim.scenario.schema import Scenario


def persona_level(scenario: Scenario) -> dict[str, Any]:
    """`slo.persona` of the summary: one evaluation by the run's seed, where it is asked for."""
    gate = scenario.evals.persona
    if not gate.served:
        return {}
    return {"slo.persona": simulated_gate(gate, "served", scenario.seed).figures["score"]}
