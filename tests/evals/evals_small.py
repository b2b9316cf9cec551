"""A small fleet for the eval gates: 8 replicas, 40 messages/s, the baseline's prompts."""

from pathlib import Path
from typing import Any

from kaiju_sim.fleet.setup.build import Plant
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import build_plant


def small(requests: int = 250, **parts: Any) -> Scenario:
    """The scenario; `parts` replace whole parts of it."""
    return Scenario.model_validate(
        {
            "schema_version": 1,
            "name": "small",
            "run": {"warm_up": 60.0, "horizon": 600.0},
            "traffic": {
                "messages_per_s": 40.0,
                "sessions": {
                    "live": 1600,
                    "turns": {"kind": "geometric", "mean": 10.0},
                    "think": {"kind": "exponential", "mean": 30.0},
                    "user_tokens": {"kind": "constant", "value": 40.0},
                },
                "output_tokens": {"kind": "constant", "value": 200.0},
            },
            "characters": {"count": 60, "definition_tokens": {"kind": "constant", "value": 1000.0}},
            "prompt": {"date_tokens": 16, "persona_tokens": 100, "limit": 4096},
            "fleet": {"replicas": 8},
            "evals": {"cache": {"requests": requests, "replicas": 4}},
            "slo": {"ttft": 2.5, "tpot": 0.05},
        }
        | parts
    )


def plant(scenario: Scenario) -> Plant:
    """What its cells are built from."""
    return build_plant(scenario, Path())
