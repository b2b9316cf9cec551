"""Under every fault both loops agree to the last bit, and nothing is lost but what dies."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleet_runs import columns, same
from incidents_runs import FAULTS, incident, tiny

from kaiju_sim.fleet.control import CellResult
from kaiju_sim.fleet.setup.build import Plant
from kaiju_sim.metrics.result import RunResult
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import (
    CellTask,
    EngineName,
    build_plant,
    result_of,
    run_cell,
    simulate,
)

SHORT = {"run": {"horizon": 14.0, "warm_up": 1.0}}
ENGINES: tuple[EngineName, EngineName] = ("compiled", "reference")
FLEETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "central queue": {"router": {"queue": "central", "policy": "least_loaded"}},
    "little memory, candidates": {
        "kv": {"global_blocks": 100},
        "engine": {"candidates": 2, "chunk_tokens": 4, "policy": "prefill_first"},
    },
    "pressed": {
        "engine": {"policy": "ttft_aware", "queue_limit": 5},
        "kv": {"global_blocks": 120},
        "traffic": {
            "client": {"timeout": 0.5, "retries": 2},
            "messages_per_s": 60.0,
            "paid_share": 0.3,
        },
    },
    "shards of two, host memory": {
        "fleet": {"shard_replicas": 2},
        "kv": {"global_blocks": 120, "host_memory": 50_000_000, "link_replicas": 2},
    },
}


def struck(kind: str, fleet: str) -> Scenario:
    """A tiny fleet with one fault, and dialogues without pinned versions."""
    more = {"characters": {"pinning": "none"}, **SHORT, **FLEETS[fleet]}
    return tiny(incident(kind), **more)


def can(kind: str, fleet: str) -> bool:
    """Only affinity has a table."""
    return not (kind == "table_loss" and fleet == "central queue")


@pytest.mark.parametrize("fleet", FLEETS)
@pytest.mark.parametrize("kind", FAULTS)
def test_both_loops_agree_under_every_fault(kind: str, fleet: str) -> None:
    if not can(kind, fleet):
        pytest.skip("no table there")
    scenario = struck(kind, fleet)
    result, cells = twins(scenario)
    assert "fault" in result.events["kind"].to_pylist()
    if kind in ("replica_loss", "cold_restart"):
        assert result.summary["requests.failed"] > 0
    check_conserved(scenario, result, cells)


def twins(scenario: Scenario, plant: Plant | None = None) -> tuple[RunResult, list[CellResult]]:
    """The run as it is, without those that its ledgers need, after both loops agree on it."""
    plant = build_plant(scenario, Path()) if plant is None else plant
    cells, others = ([run_cell(CellTask(plant, 0, engine))] for engine in ENGINES)
    result = result_of(plant, cells)
    same(result, result_of(plant, others))
    assert [cell.notes for cell in cells] == [cell.notes for cell in others]
    return result, cells


def check_conserved(scenario: Scenario, result: RunResult, cells: list[CellResult]) -> None:
    """Each message has one fate, each block a place, after whatever has happened."""
    c, s = columns(result.requests), result.summary
    fates = ("completed", "failed", "in_flight", "shed", "cancelled", "blocked_pre", "blocked_post")
    assert s["requests.arrived"] == c["measured"].sum()
    assert s["requests.arrived"] == sum(s[f"requests.{fate}"] for fate in fates)
    assert s["requests.in_flight"] == 0
    for fate in ("completed", "failed", "shed", "cancelled"):
        assert s[f"requests.{fate}"] == (c["measured"] & (c["status"] == fate)).sum()
    for cell in cells:
        r, caches = cell.states["replicas"], cell.states["caches"]
        assert not r["load"].any()
        assert (caches["free"] + caches["idle"] == scenario.kv.global_blocks).all()
        assert (caches["windows_free"] + caches["windows_kept"] == 40).all()
    total = {
        name: sum(int(cell.states["replicas"][name].sum()) for cell in cells)
        for name in ("arrived", "done", "turned", "lost")
    }
    assert total["lost"] == (c["status"] == "failed").sum()
    assert total["done"] == (c["status"] == "completed").sum()
    withdrawn = int(((c["status"] == "cancelled") & (c["replica"] >= 0)).sum())
    assert total["arrived"] == total["done"] + total["turned"] + total["lost"] + withdrawn
    check_answers(c)


def check_answers(c: dict[str, np.ndarray[Any, Any]]) -> None:
    """Whoever was answered got all of it; whoever was lost got no whole answer."""
    ended = c["status"] == "completed"
    assert (c["output_tokens"][ended] > 0).all()
    assert not c["output_tokens"][~ended].any()
    assert np.isnan(c["e2e_s"][~ended]).all()


PAIRS = [
    ("replica_loss", "cold_restart"),
    ("replica_loss", "replica_loss"),
    ("table_loss", "replica_loss"),
    ("bad_rollout", "cold_restart"),
    ("bad_rollout", "bad_rollout"),
    ("viral", "edit_storm"),
    ("midnight", "table_loss"),
    ("false_positives", "cold_restart"),
    ("persona_drift", "int8_drift"),
    ("persona_drift", "persona_drift"),
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_incidents_at_once(first: str, second: str) -> None:
    """Both are told, both have a ledger, and the fleet is itself again after both."""
    scenario = tiny(incident(first), incident(second, at=6.35), **SHORT)
    result, cells = twins(scenario)
    check_conserved(scenario, result, cells)
    entries = simulate(scenario).summary["incidents"]
    assert [entry["fault"] for entry in entries] == [first, second]
    assert all(entry["ledger"]["total_usd"] >= 0 for entry in entries)


def test_a_fleet_that_changes_and_breaks() -> None:
    """Shards are drained, added and lost in the same seconds."""
    changes = [
        {"at": 6.0, "action": "drain_shards", "count": 1},
        {"at": 6.2, "action": "add_shards", "count": 2},
    ]
    for at in (5.95, 6.05, 6.3, 6.9):
        loss = incident("replica_loss", at=at, fault={"replicas": 3, "fence": 0.6})
        scenario = tiny(loss, fleet={"changes": changes})
        check_conserved(scenario, *twins(scenario))


def busy_after_steps(scenario: Scenario, seconds: float) -> Plant:
    """The plant, with an engine that is busy with itself for so long after each step."""
    plant = build_plant(scenario, Path())
    engine = np.array([1e5, seconds * 1e9, 1e5, 1e5])
    (group,) = plant.groups
    step = replace(group.step_time, curves=group.step_time.curves._replace(engine=engine))
    return replace(plant, groups=(replace(group, step_time=step),))


@pytest.mark.parametrize("kind", ["cold_restart", "replica_loss", "bad_rollout"])
def test_what_follows_a_step_ends_with_its_replica(kind: str) -> None:
    """Replicas die in a step, and in what the engine does after one; a slow build takes longer."""
    for at in (6.03, 6.07):
        scenario = tiny(incident(kind, at=at), replicas=6, **SHORT)
        result, cells = twins(scenario, busy_after_steps(scenario, 0.02))
        check_conserved(scenario, result, cells)
        replicas = cells[0].states["replicas"]
        assert (replicas["busy"] <= replicas["ended"] + replicas["rest"]).all()
        assert (replicas["busy"] > 0).all()
