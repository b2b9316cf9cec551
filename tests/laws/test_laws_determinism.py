"""Same scenario, same seed, same bytes: again, in other processes, beside other cells."""

from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from fleet_runs import columns, same, scenario_of
from hypothesis import HealthCheck, given, settings
from random_scenarios import fleet, scenarios

from kaiju_sim.engine.layout import Arr
from kaiju_sim.engine.policy.routing import POLICIES
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import CellTask, build_plant, run_cell, simulate

LOOK_S = 0.0137
"""Falls inside epochs."""


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(scenario=scenarios())
def test_a_second_run_is_the_same(trace_folder: Path, scenario: Scenario) -> None:
    """Every figure and every table."""
    first = simulate(scenario, base_dir=trace_folder)
    same(first, simulate(scenario, base_dir=trace_folder))


@pytest.mark.parametrize("policy", POLICIES)
def test_how_often_one_looks_does_not_matter(trace_folder: Path, policy: str) -> None:
    """A look cuts the epoch in hand. For who reads caches it comes where an epoch begins."""
    fleets = (fleet(number) for number in count())
    of_policy = (s for s in fleets if s.router.policy == policy and s.run.warm_up != "auto")
    for scenario in islice((s for s in of_policy if s.run.epoch > LOOK_S), 12):
        often_s = scenario.run.epoch if policy == "prefix_aware" else LOOK_S
        seldom = log_of(scenario, trace_folder, 10_000 * scenario.run.epoch)
        often = log_of(scenario, trace_folder, often_s)
        assert np.array_equal(np.sort(seldom), np.sort(often))


def test_looks_inside_epochs_would_matter_to_who_reads_caches(trace_folder: Path) -> None:
    """So a scenario may not have them (`Scenario._looked_at`)."""
    s = scenario_of(
        {
            "run": {"epoch": 0.3, "horizon": 3.0, "start": "cold"},
            "traffic": {"kind": "poisson", "messages_per_s": 40.0},
            "router": {"policy": "prefix_aware", "load_tokens": 1.0},
            "characters": {"count": 30},
            "fleet": {"replicas": 4},
            "results": {"tick": 0.3},
        }
    )
    once, often, inside = (np.sort(log_of(s, trace_folder, t)) for t in (3.0, 0.3, LOOK_S))
    assert np.array_equal(once, often)
    assert not np.array_equal(once, inside)


def log_of(s: Scenario, folder: Path, tick_s: float) -> Arr:
    """All messages of the first cell."""
    results = s.results.model_copy(update={"tick": tick_s})
    changed = s.model_copy(
        update={"results": results, "run": s.run.model_copy(update={"drain": 60.0})}
    )
    return run_cell(CellTask(build_plant(changed, folder), 0, "compiled")).log


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
