"""A made-up run's figures, and scenarios to go with them, for tests of money."""

from typing import Any

from kaiju_sim.economics.values import assumptions, values_of
from kaiju_sim.scenario.schema import Scenario

BASE: dict[str, Any] = {
    "schema_version": 1,
    "name": "money",
    "traffic": {"kind": "sessions", "messages_per_s": 100.0, "sessions": {"live": 5000}},
    "fleet": {"replicas": 8},
}
SUMMARY: dict[str, Any] = {
    "verdict": "stable",
    "profile.source": "measured",
    "profile.rel_error_low": -0.03,
    "profile.rel_error_high": 0.04,
    "fleet.gpus": 8,
    "fleet.replicas": 8,
    "fleet.replicas_mean": 8.0,
    "cost.usd_per_hour": 8 * 2.35,
    "cost.usd_per_message": 8 * 2.35 / 3600 / 100,
    "cost.input_share": 0.4,
    "throughput.messages_per_s": 100.0,
    "throughput.output_tokens_per_s": 14_000.0,
    "throughput.generated_tokens_per_s": 14_000.0,
    "throughput.prompt_tokens_per_s": 560_000.0,
    "throughput.cached_tokens_per_s": 500_000.0,
    "realised.live_sessions": 5000.0,
    "ttft_s.p99": 0.5,
}


def scenario(**economics: Any) -> Scenario:
    """The scenario with such economics."""
    return Scenario.model_validate(BASE | {"economics": economics})


def values(of: Scenario, **changes: float) -> dict[str, float]:
    """The values that it states, with changes; `a__b` is the name a.b."""
    found = values_of(assumptions(of, SUMMARY))
    changed = {name.replace("__", "."): value for name, value in changes.items()}
    assert changed.keys() <= found.keys()
    return found | changed
