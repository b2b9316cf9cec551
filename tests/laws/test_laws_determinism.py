"""Same scenario, same seed, same bytes: again, in other processes, beside other cells."""

from pathlib import Path

import pytest
from fleet_runs import columns, same, scenario_of
from hypothesis import HealthCheck, given, settings
from random_scenarios import scenarios

from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(scenario=scenarios())
def test_a_second_run_is_the_same(trace_folder: Path, scenario: Scenario) -> None:
    """Every figure and every table."""
    first = simulate(scenario, base_dir=trace_folder)
    same(first, simulate(scenario, base_dir=trace_folder))


def test_processes_do_not_matter() -> None:
    """Three cells in this process, or spread over two spawned ones."""
    scenario = scenario_of(
        {
            "fleet": {"cells": 3, "replicas": 6},
            "traffic": {"kind": "sessions", "sessions": {"live": 90}, "messages_per_s": 3.0},
            "characters": {"edits_per_hour": 900.0},
        }
    )
    alone = simulate(scenario)
    assert alone.requests.num_rows > 20
    same(alone, simulate(scenario, workers=2))


def test_request_rows_sample_whole_dialogues_and_change_nothing_else() -> None:
    """A smaller table holds rows of the full one, whole dialogues; counts and means are equal."""
    change = {
        "run": {"horizon": 200.0},
        "traffic": {"kind": "sessions", "sessions": {"live": 60}, "messages_per_s": 3.0},
        "fleet": {"replicas": 2},
    }
    full = simulate(scenario_of(change))
    part = simulate(scenario_of(change, {"results": {"request_rows": 200}}))
    a, b = columns(full.requests), columns(part.requests)
    kept = set(b["session"].tolist())
    assert 0 < len(kept) < len(set(a["session"].tolist()))
    assert part.requests.equals(full.requests.filter([s in kept for s in a["session"].tolist()]))
    for key, value in full.summary.items():
        if key.endswith((".mean", ".count_inf")) or key.startswith(("requests.", "cost.")):
            assert part.summary[key] == value, key
    for name in ("ttft_s", "e2e_s", "queue_s"):
        for q in ("p50", "p90", "p99"):
            close = part.summary["quantile_rel_error"]
            assert part.summary[f"{name}.{q}"] == pytest.approx(
                full.summary[f"{name}.{q}"], rel=2 * close, abs=1e-6
            )
