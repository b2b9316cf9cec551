"""Shards come and go: when they serve, what they are given, and that nothing is lost."""

import numpy as np
import pytest
from elastic_runs import (
    LOADING_S,
    PROVISIONING_S,
    RAMP_S,
    SHADOW_S,
    change,
    changing,
)
from fleet_runs import cells_of, columns, constant, same

from kaiju_sim.metrics.result import RunResult
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate

READY_S = PROVISIONING_S + LOADING_S
CENTRAL = {"queue": "central", "policy": "least_loaded"}
TARGET = {"target": 4.0, "min": 1, "max": 6, "interval": 1.0, "scale_in_delay": 3.0}
FLEETS: dict[str, Scenario] = {
    "add, drain, scale": changing(
        2,
        change(2.0, "add_shards", count=2),
        change(8.0, "drain_shards", shards=[0]),
        change(12.0, "scale", replicas=4),
    ),
    "shadow": changing(
        2, change(2.0, "add_shards", count=2, warm="shadow"), change(14.0, "drain_shards", count=1)
    ),
    "shadow, two replicas a shard": changing(
        4, change(2.0, "add_shards", count=1, warm="shadow"), fleet={"shard_replicas": 2}
    ),
    "shadow by rendezvous": changing(
        2, change(2.0, "add_shards", count=1, warm="shadow"), router={"policy": "rendezvous"}
    ),
    "removed while it is warmed": changing(
        2, change(2.0, "add_shards", count=2, warm="shadow"), change(7.5, "scale", replicas=2)
    ),
    "taken back while it drains": changing(
        3, change(5.0, "scale", replicas=1), change(5.05, "scale", replicas=3)
    ),
    "central queue": changing(
        2, change(2.0, "scale", replicas=4), change(8.0, "scale", replicas=1), router=CENTRAL
    ),
    "two choices": changing(
        2, change(2.0, "scale", replicas=4), router={"policy": "power_of_two"}, fleet={"cells": 2}
    ),
    "prefix aware": changing(
        3, change(6.0, "drain_shards", count=1), router={"policy": "prefix_aware"}
    ),
    "table relearned": changing(3, change(5.0, "lose_table")),
    "table stored": changing(
        3,
        change(5.0, "lose_table"),
        router={"recovery": "stored", "snapshot_interval": 1.5, "recovery_delay": 1.0},
    ),
    "table rebuilt": changing(
        3, change(5.0, "lose_table"), router={"recovery": "rebuild", "recovery_delay": 1.0}
    ),
    "autoscaled": changing(1, fleet={"autoscale": TARGET}),
    "autoscaled by memory, shadow": changing(
        1, fleet={"autoscale": {**TARGET, "metric": "kv", "target": 0.3, "warm": "shadow"}}
    ),
    "autoscaled by waiting": changing(
        1, fleet={"autoscale": {**TARGET, "metric": "waiting", "target": 0.5}}
    ),
    "groups": changing(
        4,
        fleet={
            "groups": [
                {"replicas": 2},
                {"replicas": 2, "gpu": "A100-80GB", "memory_utilisation": 0.5},
            ],
        },
        kv={"block_tokens": 4, "global_blocks": "auto", "local_windows": "auto"},
        router={"policy": "least_loaded"},
    ),
}


@pytest.mark.parametrize("name", FLEETS)
def test_the_fast_loop_agrees_with_the_reference(name: str) -> None:
    scenario = FLEETS[name]
    same(simulate(scenario), simulate(scenario, engine="reference"))


@pytest.mark.parametrize("name", FLEETS)
def test_nothing_is_lost(name: str) -> None:
    """All messages complete, and at the end no replica holds memory for anyone."""
    scenario = FLEETS[name]
    summary = simulate(scenario).summary
    assert summary["requests.completed"] == summary["requests.arrived"] > 300
    for cell in cells_of(scenario):
        caches, replicas = cell.states["caches"], cell.states["replicas"]
        assert not replicas["load"].any()
        used = [i for i, r in enumerate(replicas) if r["steps"] > 0]
        assert len(used) > 1
        assert (replicas["arrived"] == replicas["done"]).all()
        if scenario.kv.global_blocks != "auto":
            assert (caches["free"] + caches["idle"] == scenario.kv.global_blocks).all()
        off = (replicas["active"] == 0) & (replicas["wipe"] == 0)
        for row in cell.billed:
            if row.stop_ns < 0:  # still draining when the run ended
                size = scenario.fleet.shard_replicas
                off[row.shard * size : (row.shard + 1) * size] = False
        assert not caches["idle"][off].any()
        assert not caches["windows_kept"][off].any()


def arrivals(result: RunResult, replica: int) -> np.ndarray:
    """When the messages that a replica served arrived."""
    c = columns(result.requests)
    return np.sort(c["arrival_s"][c["replica"] == replica])


def told(result: RunResult, subject: str) -> dict[str, float]:
    """Events of a subject by what they say: when (the last time)."""
    rows = result.events.to_pylist()
    return {row["detail"]: row["time_s"] for row in rows if row["subject"] == subject}


def test_a_drained_shard_gets_nothing_and_finishes_what_it_has() -> None:
    result = simulate(changing(3, change(8.0, "drain_shards", shards=[1])))
    assert arrivals(result, 1).max() < 8.0
    c = columns(result.requests)
    mine = c["replica"] == 1
    ends = c["arrival_s"][mine] + c["e2e_s"][mine]
    late = ends.max()
    assert late > 8.0  # something was under way
    events = told(result, "cell 0 shard 1")
    assert events["drains"] == 8.0
    assert late <= events["released"] <= late + 0.1 + 1e-9  # by the end of that epoch
    rows = columns(result.replicas)
    assert rows["time_s"][rows["replica"] == 1].max() <= np.ceil(events["released"])
    assert rows["completed"].sum() == c["e2e_s"].size


def test_added_shards_serve_after_both_delays_and_no_sooner() -> None:
    result = simulate(changing(2, change(4.0, "add_shards", count=1)))
    first = arrivals(result, 2).min()
    assert 4.0 + READY_S <= first < 4.0 + READY_S + 0.5
    events = told(result, "cell 0 shard 2")
    assert events == {"ordered (cold)": 4.0, "serves": pytest.approx(4.0 + READY_S)}
    rows = columns(result.replicas)
    mine = rows["replica"] == 2
    assert rows["time_s"][mine].min() == 4.0  # from the tick at which it is ordered
    assert rows["steps"][mine & (rows["time_s"] <= 4.0 + READY_S)].sum() == 0


def test_shadows_reach_a_new_shard_before_users_do_and_users_by_a_ramp() -> None:
    result = simulate(changing(2, change(2.0, "add_shards", count=1, warm="shadow")))
    times = arrivals(result, 2)
    ready = 2.0 + READY_S
    assert times.min() >= ready + SHADOW_S
    rows = columns(result.replicas)
    mine = (rows["replica"] == 2) & (rows["time_s"] <= ready + SHADOW_S)
    assert rows["steps"][mine].sum() > 20
    for name in ("arrived", "completed", "output_tokens", "prompt_tokens"):
        assert rows[name][mine].sum() == 0, name
    halves = np.histogram(times, ready + SHADOW_S + RAMP_S * np.array([0, 0.5, 1, 1.5]))[0]
    assert 0 < halves[0] < halves[2]
    shadows = result.summary["realised.shadow_messages"]
    assert shadows > 20
    assert result.requests.num_rows < shadows + result.requests.num_rows  # not among them
    assert result.summary["requests.arrived"] == result.summary["requests.completed"]


def test_users_are_the_same_whether_there_are_shadows_or_not() -> None:
    """Common random numbers: the same dialogues say the same, wherever they are answered."""
    runs = [
        simulate(changing(2, change(2.0, "add_shards", count=1, warm=warm)))
        for warm in ("cold", "shadow")
    ]
    said = [
        {(r["session"], r["turn"]): r["output_tokens"] for r in run.requests.to_pylist()}
        for run in runs
    ]
    both = said[0].keys() & said[1].keys()
    assert len(both) > 0.9 * len(said[0])
    assert all(said[0][key] == said[1][key] for key in both)


def test_the_last_shard_that_serves_is_kept() -> None:
    """One serves, one is on its way; both are asked for at once."""
    result = simulate(
        changing(1, change(2.0, "add_shards", count=1), change(2.1, "drain_shards", shards=[0]))
    )
    assert told(result, "cell 0 shard 0") == {"not drained: no other shard serves": 2.1}
    assert result.summary["requests.completed"] == result.summary["requests.arrived"]


def test_a_shard_that_is_ordered_again_comes_up_once_and_cold() -> None:
    """Ordered, cancelled and ordered again within its delay: it serves after the second order."""
    result = simulate(
        changing(
            1,
            change(2.0, "scale", replicas=2),
            change(2.5, "scale", replicas=1),
            change(2.8, "scale", replicas=2),
        )
    )
    details = [e["detail"] for e in result.events.to_pylist() if e["subject"] == "cell 0 shard 1"]
    assert details == ["ordered (cold)", "cancelled", "ordered (cold)", "serves"]
    assert arrivals(result, 1).min() >= 2.8 + READY_S


def test_a_change_that_never_comes_changes_nothing() -> None:
    """A fleet with spare slots that are never used is the fixed fleet, figure for figure."""
    fixed = simulate(changing(2))
    spare = simulate(changing(2, change(1000.0, "scale", replicas=5)))
    different = {k for k, v in fixed.summary.items() if v != spare.summary[k]}
    assert different == set()
    assert fixed.requests.equals(spare.requests)
    assert fixed.replicas.equals(spare.replicas)


def test_what_waits_centrally_is_pulled_the_moment_a_replica_serves() -> None:
    """The queue is never empty: the new replica starts its first step when it is ready."""
    flood = {"messages_per_s": 400.0, "sessions": {"live": 0, "turns": constant(1)}}
    scenario = changing(
        1,
        change(2.0, "add_shards", count=1),
        router=CENTRAL,
        traffic=flood,
        run={"horizon": 6.0},
        steptime={"kind": "constant", "step": 0.05},
    )
    result = simulate(scenario)
    same(result, simulate(scenario, engine="reference"))
    c = columns(result.requests)
    mine = c["replica"] == 1
    pulled = (c["arrival_s"] + c["queue_s"])[mine]
    assert pulled.min() == pytest.approx(2.0 + READY_S, abs=1e-9)
