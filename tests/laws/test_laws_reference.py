"""The compiled loop is the reference loop, to the nanosecond, in whole fleets."""

from pathlib import Path

import pytest
from fleet_runs import cells_of, same, scenario_of
from twins import compare

from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate

PARTS, EACH = 20, 50
"""A thousand random workloads, in parts; `python tests/laws/twins.py` runs ten thousand."""


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_compiled_equals_reference(trace_folder: Path, part: int) -> None:
    """Every figure and every table of a run, over random workloads."""
    for number in range(part * EACH, (part + 1) * EACH):
        compare(number, trace_folder)


def pressed(policy: str, queue: str) -> Scenario:
    """Dialogues with long answers and edits on two replicas whose KV memory is far too small."""
    return scenario_of(
        {
            "run": {"horizon": 6.0},
            "traffic": {
                "kind": "sessions",
                "messages_per_s": 40.0,
                "sessions": {
                    "live": 20,
                    "turns": {"kind": "geometric", "mean": 4},
                    "think": {"kind": "exponential", "mean": 0.3},
                    "user_tokens": {"kind": "uniform", "min": 1, "max": 20},
                },
                "output_tokens": {"kind": "geometric", "mean": 40},
            },
            "characters": {
                "count": 3,
                "definition_tokens": {"kind": "constant", "value": 20},
                "edits_per_hour": 3600.0,
                "pinning": "none",
            },
            "prompt": {"limit": 150, "truncation_step": 40},
            "fleet": {"replicas": 2},
            "router": {"queue": queue},
            "engine": {
                "policy": policy,
                "max_seqs": 16,
                "token_budget": 48,
                "max_context": 240,
            },
            "kv": {"block_tokens": 4, "global_blocks": 100, "local_windows": 12},
        }
    )


def test_compiled_equals_reference_under_memory_pressure() -> None:
    """Both policies and both queues, with preemptions, evictions, edits and waits for memory."""
    for policy in ("decode_first", "prefill_first"):
        for queue in ("replica", "central"):
            scenario = pressed(policy, queue)
            result = simulate(scenario)
            assert result.summary["realised.preemptions"] > 20
            caches = cells_of(scenario)[0].states["caches"]
            assert caches["evicted"].sum() > 100
            assert caches["windows_evicted"].sum() > 10
            assert result.events.num_rows > 3
            same(result, simulate(scenario, engine="reference"))
